"""Plots as SVG, written by hand: a few lines over numbers of nodes, or bars in groups. It measures nothing and knows no benchmark."""

import math
import statistics

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


# Bars are looked at in light and in dark; where a viewer knows of no such thing, in light.
STYLE = (
    "<style>.paper{fill:#fff}.ink{fill:#222}.soft{fill:#555}.grid{stroke:#ddd}.range{stroke:#222}"
    "@media(prefers-color-scheme:dark){.paper{fill:#0d1117}.ink{fill:#e6edf3}.soft{fill:#a5adb6}.grid{stroke:#30363d}.range{stroke:#e6edf3}}</style>"
)
# One for each series, of much the same lightness on white and on black.
BAR_COLOURS = ["#8b949e", "#2f9e44", "#d9730d", "#9065d8", "#1c7ed6", "#15aabf"]
BARS_WIDTH, BARS_LEFT, BARS_TOP, BARS_BOTTOM = 900, 60, 86, 48


def bars(title, y_title, series, note=""):
    """An SVG of {name: {group: [values]}}: for each group a bar of each series, as high as the median, with the range. A "\\n" parts a group's two lines."""
    groups = list(dict.fromkeys(group for values in series.values() for group in values))
    most = max((max(values) for of in series.values() for values in of.values()), default=0)
    if not groups or most <= 0:
        return ""
    step = _step(most)
    top = step * math.ceil(most / step)

    def at_y(value):
        return HEIGHT - BARS_BOTTOM - value / top * (HEIGHT - BARS_TOP - BARS_BOTTOM)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {BARS_WIDTH} {HEIGHT}" width="{BARS_WIDTH}" height="{HEIGHT}" role="img">',
        f"<title>{_text(title)}</title>",
        STYLE,
        f'<rect class="paper" width="{BARS_WIDTH}" height="{HEIGHT}"/>',
        f'<text class="ink" x="{BARS_LEFT}" y="22" {FONT} font-size="15">{_text(title)}, {_text(y_title)}</text>',
        f'<text class="soft" x="{BARS_LEFT}" y="40" {FONT} font-size="11">{_text(note)}</text>',
    ]
    for number in range(int(round(top / step)) + 1):
        y = at_y(number * step)
        out.append(f'<line class="grid" x1="{BARS_LEFT}" y1="{y:.1f}" x2="{BARS_WIDTH - 20}" y2="{y:.1f}"/>')
        out.append(f'<text class="soft" x="{BARS_LEFT - 8}" y="{y + 4:.1f}" {FONT} font-size="11" text-anchor="end">{number * step:g}</text>')
    x = BARS_LEFT
    for number, name in enumerate(series):
        out.append(f'<rect x="{x:.1f}" y="54" width="11" height="11" fill="{BAR_COLOURS[number % len(BAR_COLOURS)]}"/>')
        out.append(f'<text class="ink" x="{x + 16:.1f}" y="64" {FONT} font-size="12">{_text(name)}</text>')
        x += 40 + 7 * len(name)
    room = (BARS_WIDTH - 20 - BARS_LEFT) / len(groups)
    for place, group in enumerate(groups):
        # A series that has nothing here leaves no gap.
        here = [(number, name, of[group]) for number, (name, of) in enumerate(series.items()) if group in of]
        wide = min(34, room * 0.82 / len(here))
        x = BARS_LEFT + room * (place + 0.5) - wide * len(here) / 2
        for number, name, values in here:
            middle = statistics.median(values)
            y, low, high, centre = at_y(middle), at_y(min(values)), at_y(max(values)), x + wide / 2
            told = f"{name}: {middle:.3g} ({min(values):.3g}..{max(values):.3g})"
            colour = BAR_COLOURS[number % len(BAR_COLOURS)]
            out.append(f'<rect x="{x + 1:.1f}" y="{y:.1f}" width="{wide - 2:.1f}" height="{at_y(0) - y:.1f}" fill="{colour}"><title>{_text(told)}</title></rect>')
            out.append(f'<line class="range" x1="{centre:.1f}" y1="{low:.1f}" x2="{centre:.1f}" y2="{high:.1f}"/>')
            if wide >= 24:
                out.append(f'<text class="ink" x="{centre:.1f}" y="{high - 4:.1f}" {FONT} font-size="10" text-anchor="middle">{middle:.3g}</text>')
            x += wide
        for number, line in enumerate(group.split("\n")):
            middle = BARS_LEFT + room * (place + 0.5)
            out.append(f'<text class="ink" x="{middle:.1f}" y="{HEIGHT - BARS_BOTTOM + 18 + 15 * number}" {FONT} font-size="12" text-anchor="middle">{_text(line)}</text>')
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
