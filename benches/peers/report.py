"""How the figures are shown: Markdown for the terminal and the README, and plots. It works nothing out."""

import os

import machine
import plot
from machine import Failed
from peers.contenders import NAMES
from peers.figures import HTTP_PEERS, PACED, spread

BEGIN, END = "<!-- peers: measured -->", "<!-- peers: end -->"
CPU_PLOT, P99_PLOT = "cpu.svg", "p99.svg"


def targets_table(found):
    body = [[what, f"<= {most}", figure, "yes" if is_met else "**no**"] for what, most, figure, is_met in found]
    return machine.markdown(["keygate's", "wanted", "median (range)", "met"], body)


def table(rows):
    head = ["load", "connections", "keys", "proxy", "CPU µs/request", *(f"CPU / {NAMES[peer]}" for peer in HTTP_PEERS)]
    head += ["requests/s", "p50 ms", "p99 ms", "p99.9 ms", "RSS MiB", "PSS MiB"]
    body = []
    for row in rows:
        over = [spread(row[f"cpu_over_{peer}"], 2) if row[f"cpu_over_{peer}"] and row["contender"] != peer else "-" for peer in HTTP_PEERS]
        memory = [spread([kib / 1024 for kib in row[field]], 0) for field in ("rss_kib", "pss_kib")]
        body.append([
            row["load"], str(row["connections"]), f"{row['keys']:,}", NAMES[row["contender"]], spread(row["cpu_us_per_request"], 1), *over,
            spread(row["requests_per_second"], 0), spread(row["p50_ms"], 2), spread(row["p99_ms"], 2), spread(row["p999_ms"], 2), *memory,
        ])  # fmt: skip
    return machine.markdown(head, body)


def syscalls_table(rows):
    loads = list(dict.fromkeys(row["load"] for row in rows))
    body = []
    for name in NAMES:
        of = {row["load"]: spread(row["per_request"], 2) for row in rows if row["contender"] == name}
        if of:
            body.append([NAMES[name], *(of.get(load, "-") for load in loads)])
    return machine.markdown([f"system calls per request, {rows[0]['connections']} connections", *loads], body)


def markdown(options, facts, rows, found, syscalls, left_out, doubts, plots=None):
    """All that was found, as it is printed and as it stands in the README."""
    versions = ", ".join(facts["versions"].values())
    out = [
        f"{facts['processor']}, {facts['cores']} cores, Linux {facts['kernel']}; {versions}; {facts['time'][:10]}, {facts['commit']}. "
        f"Medians (least..most) over rounds ({options.rounds}, {options.seconds} s a run); ratios are within a round. "
        f"Logs: nginx {options.nginx_log}, HAProxy {options.haproxy_log}; nginx's request bodies {options.nginx_body}."
    ]
    if found:
        out.append(targets_table(found))
    if plots:
        out.append(f"![CPU per request]({plots}/{CPU_PLOT}) ![p99 at 5,000 requests/s]({plots}/{P99_PLOT})")
    if syscalls:
        out.append(syscalls_table(syscalls))
    out += [f"Left out: {sentence}." for sentence in left_out]
    out += [f"Doubt: {doubt}." for doubt in doubts]
    if plots:
        out.append("<details><summary>All figures</summary>")
        out.append(table(rows))
        out.append("</details>")
    else:
        out.append(table(rows))
    return "\n\n".join(out)


def around(path):
    """What stands before and behind the marks of a README."""
    try:
        with open(path) as file:
            before, begin, rest = file.read().partition(BEGIN)
    except OSError as error:
        raise Failed(f"{path}: {error.strerror}")
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise Failed(f"{path} has no {BEGIN} and {END}")
    return before, after


def write_readme(path, text):
    """Puts the text between the marks, and leaves the rest as it is."""
    before, after = around(path)
    with open(path, "w") as file:
        file.write(f"{before}{BEGIN}\n{text}\n{END}{after}")


def draw(rows, folder):
    """The two plots, of what was measured with the first number of keys."""
    os.makedirs(folder, exist_ok=True)
    keys = rows[0]["keys"]

    def bars(of, field):
        return {
            NAMES[name]: {group: row[field] for group, row in of if row["contender"] == name}
            for name in NAMES
            if any(row["contender"] == name for _, row in of)
        }

    shown = [row for row in rows if row["keys"] == keys]
    busy = [(f"{row['load']}\n{row['connections']}", row) for row in shown if row["load"] not in PACED]
    note = f"median and range over rounds ({len(rows[0]['cpu_us_per_request'])}); {keys:,} keys; below each load its connections; less is better"
    pictures = {CPU_PLOT: plot.bars("CPU per request", "µs", bars(busy, "cpu_us_per_request"), note)}
    paced = [row for row in shown if row["load"] in PACED]
    if paced:
        quantiles = [(f"{title}\n", row | {"shown": row[field]}) for title, field in (("p50", "p50_ms"), ("p99", "p99_ms")) for row in paced]
        note = f"from when a request was due; median and range over rounds ({len(paced[0]['p99_ms'])}); {keys:,} keys; less is better"
        pictures[P99_PLOT] = plot.bars("Latency at 5,000 requests/s", "ms", bars(quantiles, "shown"), note)
    for name, picture in pictures.items():
        with open(os.path.join(folder, name), "w") as file:
            file.write(picture)


def line(run, rounds):
    """One run, while it goes on."""
    return (
        f"round {run['round']}/{rounds}  {run['load']:<13} {run['connections']:>4}  {NAMES[run['contender']]:<17}"
        f" {run['cpu_us_per_request']:7.1f} µs/request {run['requests_per_second']:8.0f}/s  p99 {run['p99_ms']:8.2f} ms"
        f"  busy: proxy {run['proxy_core_busy']:.0%}, load {run['load_core_busy']:.0%}, others {run['foreign_on_proxy_core']:.0%}"
    )
