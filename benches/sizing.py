"""The tables, plots and numbers of machines that follow from what `fleet` measured. It measures nothing."""

import math
import os
import statistics

import machine
import plot
from stage import spread


def scale_table(found):
    head = ["nodes", "read from", "changes/s", "seen after ms: p50", "p99", "most", "missed", "Redis CPU, no changes", "with changes", "probes/s", "bytes per change and node: read; probes too", "Redis CPU µs per change: read; probes too"]
    body = []
    for row in found["rows"] + found["replica_rows"]:
        figures = row["followed"]["propagation"] or {}

        def ms(name, figures=figures):
            return f"{figures[name]:.1f}" if figures else "-"

        body.append([
            f"{row['clients']:,}", "a replica" if len(row["servers"]) > 1 else "the master", f"{row['changes_per_second']:.0f}", ms("p50_ms"), ms("p99_ms"), ms("max_ms"),
            row["followed"]["missed"], " + ".join(f"{q['cpu']:.1%}" for q in row["quiet"]), " + ".join(f"{b['cpu']:.1%}" for b in row["busy"]),
            f"{row['probes_per_second']:,.0f}", f"{row['read_only']['bytes_per_change_and_node']:.0f}; {row['bytes_per_change_and_node']:.0f}",
            f"{row['read_only']['cpu_us_per_change']:.0f}; {row['cpu_us_per_change']:.0f}",
        ])  # fmt: skip
    return machine.markdown(head, body)


def facts_table(found):
    body = [["Redis memory for a key, indexes, orgs and users included", f"{found['memory_per_key']:.0f} bytes"]]
    if "scale" in found:
        scale = found["scale"]
        reading = [run for run in scale["load"] if not run["applied"]]
        applying = [run for run in scale["load"] if run["applied"]]
        million = 1e6 / found["keys"]
        per = slopes(scale["rows"], found["rate"])
        body += [
            ["Redis CPU for a node while nothing changes, each second", f"{per['idle']:.0f} µs"],
            ["Redis CPU for a change", f"{per['once']:.0f} µs, and for each node {per['each']:.1f} µs: {per['reading']:.1f} µs to read it, the rest for probes after revocations"],
            ["Redis sends to a node while nothing changes, each second", f"{per['idle_bytes']:.0f} bytes"],
            ["Redis memory for a change that is kept", f"{scale['stream_bytes_per_change']:.0f} bytes"],
            ["a node reads 1M keys (Redis's part)", f"{spread([run['seconds'] * million for run in reading])} s"],
            ["a node reads, proves and holds 1M keys", f"{spread([run['seconds'] * million for run in applying])} s"],
            ["Redis CPU of that", f"{spread([run['redis_cpu_seconds'] * million for run in scale['load']], 2)} s"],
        ]
    if "nodes" in found:
        nodes = found["nodes"]
        body += [
            [f"memory of a node, {found['keys']:,} keys", f"{spread(nodes['rss_mib'], 0)} MiB"],
            [f"start of a node with an empty folder, {found['keys']:,} keys, until ready", f"{spread(nodes['ready_seconds'])} s"],
            [f"start from the replica with Redis away, {found['keys']:,} keys, until the first good answer", f"{spread(nodes['cold']['seconds'], 2)} s"],
            ["the replica's file", f"{spread(nodes['cold']['replica_mib'], 0)} MiB"],
        ]
    return machine.markdown(["what", "figure"], body)


def trials_table(nodes):
    head = ["under load, on each node", "p50 ms", "p99 ms", "most ms", "on the last node: p50", "p99", "most", "failed"]
    body = []
    for name, words in (("revoked", "revoked, to the first refusal"), ("created", "made, to the first acceptance")):
        got = nodes["trials"][name]
        each = [node for node in got["nodes"] if node]
        last = got["last_node"] or {}
        cells = [spread([node[figure] for node in each]) if each else "-" for figure in ("p50_ms", "p99_ms", "max_ms")]
        body.append([words, *cells, *(f"{last.get(figure, float('nan')):.1f}" for figure in ("p50_ms", "p99_ms", "max_ms")), got["failed"]])
    return machine.markdown(head, body)


def slopes(rows, rate):
    """How Redis's work grows: µs of CPU a second for each node while nothing changes; µs for a change, and for each node that
    reads it; bytes a second for each node while nothing changes, and for a change and node."""
    # From those that left the server room: beyond that, several changes share one answer and each looks cheaper.
    fair = [row for row in rows if row["busy"][0]["cpu"] < 0.8 and row["changes_per_second"] > 0.9 * rate] or rows[:1]
    few, many = fair[0], fair[-1]

    def slope(figure):
        if many["clients"] == few["clients"]:
            return figure(few) / few["clients"]
        return max(0.0, (figure(many) - figure(few)) / (many["clients"] - few["clients"]))

    idle = slope(lambda row: row["quiet"][0]["cpu"] * 1e6)
    each = slope(lambda row: row["cpu_us_per_change"])
    reading = min(each, slope(lambda row: row["read_only"]["cpu_us_per_change"]))
    idle_bytes = slope(lambda row: row["quiet"][0]["out_bytes"] / row["quiet"][0]["seconds"])
    return {
        "idle": idle, "once": max(0.0, few["cpu_us_per_change"] - each * few["clients"]), "each": each, "reading": reading,
        "idle_bytes": idle_bytes, "bytes": statistics.median(row["bytes_per_change_and_node"] for row in fair),
    }  # fmt: skip


def sizing_table(found):
    """What numbers of nodes and keys need, from the slopes; a row that was measured says so."""
    rows = found["scale"]["rows"]
    per = slopes(rows, found["rate"])
    body = []
    for nodes in (10, 100, 1000):
        for changes in (1, 10, 100):
            cpu = (nodes * per["idle"] + changes * (per["once"] + nodes * per["each"])) / 1e6
            # Replicas take the reading away, and nothing else.
            reading = nodes * changes * per["reading"] / 1e6
            master, out = cpu - reading, nodes * (per["idle_bytes"] + changes * per["bytes"]) / 1e6
            if cpu < 0.5:
                advice = "one Redis"
            else:
                # One that would take little away is not worth its trouble.
                replicas = math.ceil(reading / 0.5) if reading > 0.2 * cpu else 0
                advice = f"{replicas} replica{'s' if replicas > 1 else ''} to read from, the master at {master:.0%}" if replicas else "a Cluster"
            measured = [row["busy"][0]["cpu"] for row in rows if row["clients"] == nodes and abs(row["changes_per_second"] - changes) < 0.03 * changes]
            shown = f"{cpu:.1%}" if cpu < 1 else f"{cpu:.1f} cores"
            body.append([f"{nodes:,}", changes, shown + (f" (measured: {measured[0]:.1%})" if measured else ""), f"{out:.2f} MB/s", advice])
    first = machine.markdown(["nodes", "changes/s", "Redis CPU", "Redis sends", "that is"], body)
    body = []
    for keys in (100_000, 1_000_000, 10_000_000):
        memory = keys * found["memory_per_key"] + 160_000 * found["scale"]["stream_bytes_per_change"]
        seconds = statistics.median(run["seconds"] for run in found["scale"]["load"] if run["applied"]) * keys / found["keys"]
        cpu = statistics.median(run["redis_cpu_seconds"] for run in found["scale"]["load"]) * keys / found["keys"]
        node = statistics.median(found["nodes"]["rss_mib"]) * keys / found["keys"] if "nodes" in found else None
        body.append([
            f"{keys:,}", f"{memory / 1e9:.2f} GB", f"{node * (1 << 20) / 1e9:.2f} GB" if node else "-", f"{seconds:.1f} s", f"{cpu:.1f} s",
        ])  # fmt: skip
    second = machine.markdown(["keys", "Redis memory", "memory of a node", "first load of a node", "Redis CPU of a load"], body)
    return f"{first}\n\n{second}"


def draw(found, folder):
    rows = found["scale"]["rows"]
    note = f"{found['keys']:,} keys, {rows[-1]['changes_per_second']:.0f} changes a second, one Redis and all clients on one core each"

    def of(pick, rows=rows):
        return [(row["clients"], pick(row)) for row in rows if row["followed"]["propagation"]]

    seen = {name: of(lambda row, figure=figure: row["followed"]["propagation"][figure]) for name, figure in (("p50", "p50_ms"), ("p99", "p99_ms"), ("most", "max_ms"))}
    if found["scale"]["replica_rows"]:
        seen["p99, replica"] = of(lambda row: row["followed"]["propagation"]["p99_ms"], found["scale"]["replica_rows"])
    cpu = {
        "with changes": of(lambda row: 100 * row["busy"][0]["cpu"]),
        "without": of(lambda row: 100 * row["quiet"][0]["cpu"]),
    }
    for row in found["scale"]["replica_rows"]:
        cpu["master, read elsewhere"] = [(row["clients"], 100 * row["busy"][0]["cpu"])]
        cpu["its replica"] = [(row["clients"], 100 * row["busy"][1]["cpu"])]
    os.makedirs(folder, exist_ok=True)
    for name, picture in (
        ("propagation.svg", plot.lines("From the call that makes a change until a node sees it", "nodes", "milliseconds", seen, note, y_is_log=True)),
        ("redis_cpu.svg", plot.lines("CPU of Redis", "nodes", "percent of a core", cpu, note)),
    ):
        with open(os.path.join(folder, name), "w") as file:
            file.write(picture)
