"""What the runs come to: medians and ranges, ratios within rounds, what was to be shown, and why a reader should doubt it. It prints nothing."""

import statistics

from peers.contenders import NAMES

FIELDS = ("cpu_us_per_request", "requests_per_second", "p50_ms", "p99_ms", "p999_ms", "rss_kib", "pss_kib")
HTTP_PEERS = ("nginx", "haproxy", "envoy")
SMALL, LARGE, WRONG, PACED = ("GET", "POST 1 KiB"), ("POST 64 KiB",), ("wrong key",), ("GET, 5,000/s",)

# What is compared, keygate's figure over whose, under which loads, and the most that it may be.
TARGETS = [
    ("CPU per request", "cpu_us_per_request", "nginx", SMALL, 0.85),
    ("CPU per request", "cpu_us_per_request", "haproxy", SMALL, 0.80),
    ("CPU per request", "cpu_us_per_request", "envoy", SMALL, 0.32),
    ("CPU per request", "cpu_us_per_request", "nginx", LARGE, 0.65),
    ("CPU per request", "cpu_us_per_request", "nginx", WRONG, 0.95),
    ("p99", "p99_ms", "the best", PACED, 1.0),
    ("CPU per request", "cpu_us_per_request", "keygate-no-record", SMALL, 1.05),
]
SYSCALLS_MOST = 4.5


def spread(values, digits):
    """Median, and least and most where there is more than one."""
    middle = f"{statistics.median(values):.{digits}f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.{digits}f}..{max(values):.{digits}f})"


def cell_of(run):
    return run["load"], run["connections"], run["keys"]


def cells(runs):
    return list(dict.fromkeys(cell_of(run) for run in runs))


def ratios(runs, cell, contender, base, field):
    """contender / base, each within its round: the machine drifts from round to round, both alike."""
    by_round = {}
    for run in runs:
        if cell_of(run) == cell:
            by_round.setdefault(run["round"], {})[run["contender"]] = run[field]
    return [both[contender] / both[base] for both in by_round.values() if contender in both and base in both and both[base]]


def summarise(runs):
    """Medians, least and most of every figure, and ratios to each peer, by load, connections, keys and contender."""
    rows = []
    for cell in cells(runs):
        for name in NAMES:
            of = [run for run in runs if cell_of(run) == cell and run["contender"] == name]
            if not of:
                continue
            row = {"load": cell[0], "connections": cell[1], "keys": cell[2], "contender": name}
            row |= {field: [run[field] for run in of] for field in FIELDS}
            row |= {f"cpu_over_{peer}": ratios(runs, cell, name, peer, "cpu_us_per_request") for peer in HTTP_PEERS}
            rows.append(row)
    return rows


def best_peer(rows, cell, field):
    """The HTTP peer whose median is least. Not the least of each round, which would be nobody's."""
    of = {row["contender"]: statistics.median(row[field]) for row in rows if cell_of(row) == cell and row["contender"] in HTTP_PEERS}
    return min(of, key=of.get, default=None)


def targets(runs, rows, syscalls):
    """(what, most, measured, met?) of what keygate has to show here; what was not run is not among them."""
    found = []
    for what, field, whose, loads, most in TARGETS:
        for cell in cells(runs):
            base = best_peer(rows, cell, field) if whose == "the best" else whose
            values = ratios(runs, cell, "keygate", base, field) if cell[0] in loads and base else []
            if values:
                over = f"the best peer, {NAMES[base]}" if whose == "the best" else NAMES[base]
                load = f"{cell[0]}, {cell[1]} connections, {cell[2]:,} keys"
                found.append((f"{what} over {over}: {load}", f"{most:.2f}", spread(values, 2), statistics.median(values) <= most))
    for row in syscalls:
        if row["contender"] == "keygate":
            values = row["per_request"]
            what = f"system calls per request: {row['load']}, {row['connections']} connections"
            found.append((what, f"{SYSCALLS_MOST:.2f}", spread(values, 2), statistics.median(values) <= SYSCALLS_MOST))
    return found


def doubts(options, runs, siblings):
    """Why a reader should not believe the figures, if there is a reason."""
    found = []
    if siblings:
        found.append("proxy and load ran on two threads of one core: they slowed each other")
    if options.rounds < 5:
        found.append(f"too few rounds ({options.rounds}); a full run has 5")
    noisy = [run for run in runs if run["foreign_on_proxy_core"] > 0.05]
    if noisy:
        worst = max(run["foreign_on_proxy_core"] for run in noisy)
        found.append(f"others used the proxy's core in {len(noisy)} of {len(runs)} runs, up to {worst:.0%} of it")
    idle = [run for run in runs if run["late_ms"] is None and run["proxy_core_busy"] < 0.85]
    if idle:
        names = {}
        for run in idle:
            names.setdefault(f"{run['load']} at {run['connections']}", {})[NAMES[run["contender"]]] = True
        listed = "; ".join(f"{load}: {', '.join(who)}" for load, who in names.items())
        found.append(f"the proxy was not the limit, so requests/s and latency are the load's (CPU per request holds): {listed}")
    unlogged = [run for run in runs if run["unlogged"]]
    for name in sorted({NAMES[run["contender"]] for run in unlogged}):
        shares = [run["unlogged"] for run in unlogged if NAMES[run["contender"]] == name]
        found.append(f"{name} lost lines of its log in {len(shares)} runs, up to {max(shares):.0%} of them: it did less than the others")
    late = [run for run in runs if run["late_ms"] and run["late_ms"] > 0.1]
    if late:
        worst = max(run["late_ms"] for run in late)
        found.append(f"requests of the fixed rate left late in {len(late)} runs, 1 % of them by {worst:.2f} ms and more: part of the latency is the load's, or a proxy took all connections")
    return found
