"""Line plots as SVG, written by hand: a few lines over numbers of nodes. It measures nothing and knows no benchmark."""

import math

WIDTH, HEIGHT = 640, 380
LEFT, RIGHT, TOP, BOTTOM = 70, 150, 58, 52
COLOURS = ["#0b6e99", "#d9730d", "#6940a5", "#0f7b6c", "#ad1a72", "#64473a"]
FONT = 'font-family="system-ui, sans-serif"'


def lines(title, x_title, y_title, series, note="", y_is_log=False):
    """An SVG of {name: [(x, y), ...]} over a logarithmic x."""
    points = [point for line in series.values() for point in line]
    if not points:
        return ""
    xs = sorted({x for x, _ in points})
    low_x, high_x = math.log10(min(xs)), math.log10(max(xs))
    ys = [y for _, y in points]
    if y_is_log:
        low_y = math.floor(math.log10(max(min(ys), 1e-3)))
        high_y = max(math.ceil(math.log10(max(*ys, 1e-2))), low_y + 1)
        ticks = [10.0**power for power in range(low_y, high_y + 1)]
    else:
        step = _step(max(ys))
        low_y, high_y = 0, step * max(1, math.ceil(max(ys) / step))
        ticks = [step * number for number in range(int(round(high_y / step)) + 1)]

    def at_x(x):
        share = (math.log10(x) - low_x) / (high_x - low_x) if high_x > low_x else 0.5
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def at_y(y):
        value = math.log10(max(y, 10.0**low_y)) if y_is_log else y
        return HEIGHT - BOTTOM - (value - low_y) / (high_y - low_y) * (HEIGHT - TOP - BOTTOM)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img">',
        f"<title>{_text(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="22" {FONT} font-size="15" fill="#222">{_text(title)}</text>',
        f'<text x="{LEFT}" y="38" {FONT} font-size="11" fill="#666">{_text(note)}</text>',
    ]
    for tick in ticks:
        y = at_y(tick)
        out.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#ddd"/>')
        out.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" {FONT} font-size="11" fill="#444" text-anchor="end">{tick:g}</text>')
    for x in xs:
        out.append(f'<text x="{at_x(x):.1f}" y="{HEIGHT - BOTTOM + 18}" {FONT} font-size="11" fill="#444" text-anchor="middle">{x:,}</text>')
    middle = (TOP + HEIGHT - BOTTOM) / 2
    out.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 12}" {FONT} font-size="12" fill="#222" text-anchor="middle">{_text(x_title)}</text>')
    out.append(f'<text x="18" y="{middle}" {FONT} font-size="12" fill="#222" text-anchor="middle" transform="rotate(-90 18 {middle})">{_text(y_title)}</text>')
    labels = []
    for number, (name, line) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        line = sorted(line)
        path = " ".join(f"{at_x(x):.1f},{at_y(y):.1f}" for x, y in line)
        if len(line) > 1:
            out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out += [f'<circle cx="{at_x(x):.1f}" cy="{at_y(y):.1f}" r="3.5" fill="{colour}"><title>{x:,}: {y:.3g}</title></circle>' for x, y in line]
        if line:
            labels.append((at_y(line[-1][1]), name, colour))
    # Names stand at the ends of their lines, pushed apart where they would cover each other.
    last = -100.0
    for y, name, colour in sorted(labels):
        last = max(y + 4, last + 15)
        out.append(f'<text x="{WIDTH - RIGHT + 10}" y="{last:.1f}" {FONT} font-size="12" fill="{colour}">{_text(name)}</text>')
    out.append("</svg>")
    return "\n".join(out) + "\n"


def _step(most):
    """1, 2 or 5 times a power of ten, so that there are four to ten of them."""
    if most <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(most))
    for step in (0.1, 0.2, 0.5, 1.0):
        if most / (step * power) <= 8:
            return step * power
    return 2 * power


def _text(text):
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
