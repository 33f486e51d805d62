"""benches/run fleet: many nodes on one Redis. What a change costs and how soon it is everywhere; benches/README.md says how to read it."""

import json
import os
import shutil
import sys
import tempfile
import time

import machine
import sizing
import stage
from machine import Failed, ask, say
from stage import Node, Redis, Talker, told

PARTS = ["scale", "replica", "nodes"]
# What the trials must show; the figures are in milliseconds.
PROMISES = {"revoked": {"p50_ms": 10, "p99_ms": 100, "max_ms": 1000}, "created": {"p99_ms": 100}}


# Redis, seen from outside ----------------------------------------------------------------------------------------------


class Meter:
    """What a server did between two moments. Replication is left out of its bytes: it is another server's doing."""

    def __init__(self, redis):
        self.redis = redis
        self.start()

    def start(self):
        self.before, self.at = self.redis.info(), time.monotonic()

    def read(self):
        after, seconds = self.redis.info(), time.monotonic() - self.at
        # Its own account is exact to the microsecond, that of /proc to 10 ms. Children, which rewrite its file, are not in it.
        cpu = sum(after[name] - self.before[name] for name in ("used_cpu_user", "used_cpu_sys"))

        def moved(way):
            both, replication = f"total_net_{way}_bytes", f"total_net_repl_{way}_bytes"
            return after[both] - self.before[both] - after.get(replication, 0) + self.before.get(replication, 0)

        return {"seconds": seconds, "cpu_seconds": cpu, "cpu": cpu / seconds, "out_bytes": moved("output"), "in_bytes": moved("input")}


# Scale -----------------------------------------------------------------------------------------------------------------


def measure_load(options, node, redis, clients, core, folder):
    """A full reading by one client, as a node does that has no replica."""
    runs = []
    for number in range(options.loads):
        for words in ([], ["--apply"]):
            meter = Meter(redis)
            got = stage.run(clients, ["load", "-c", node.config, *words], core, f"{folder}/load.log")
            got |= {"applied": bool(words), "redis_cpu_seconds": meter.read()["cpu_seconds"]}
            runs.append(got)
        told(f"full load {number + 1}/{options.loads}: {got['records']} records in {got['seconds']:.1f} s, Redis {got['redis_cpu_seconds']:.2f} s of CPU")
    return runs


def measure_changes(options, talker, meters, quiet, many, probe_again):
    for meter in meters:
        meter.start()
    ours, at = talker.process.cpu_seconds(), time.monotonic()
    got = talker.say("changes", rate=options.rate, seconds=options.seconds, probe_again=probe_again)
    busy = [meter.read() for meter in meters]
    clients_cpu = (talker.process.cpu_seconds() - ours) / (time.monotonic() - at)
    probes = talker.say("probes")
    # An entry is a change that reached a client, those that are left out of the times included.
    entries = max(1, got["entries"])

    def added(figure):
        """What came on top of the quiet time, for each entry."""
        return sum(b[figure] - q[figure] * b["seconds"] / q["seconds"] for b, q in zip(busy, quiet)) / entries

    return {
        "followed": got, "busy": busy, "probes": probes, "clients_cpu": clients_cpu, "changes_per_second": got["changes"] / max(got["seconds"], options.seconds),
        "probes_per_second": (probes["probes"]["count"] if probes["probes"] else 0) / busy[0]["seconds"],
        "bytes_per_change_and_node": added("out_bytes"), "asked_bytes_per_change_and_node": added("in_bytes"),
        # A change's cost: its writing, once, and what each node does upon it.
        "cpu_us_per_change": added("cpu_seconds") * 1e6 * many,
    }  # fmt: skip


def measure_followers(options, many, node, servers, core, folder, clients, stop):
    """`many` clients: a quiet time, then changes. The servers are measured, each for itself; the first takes the writes."""
    # Those who followed before are gone; whoever connects reads the list of nodes.
    servers[0]("DEL", "{keygate:0}:nodes")
    talker = Talker(clients, ["follow", "-c", node.config, "--clients", str(many), *options.follow], core, f"{folder}/follow.log", stop)
    talker.hear()
    time.sleep(2)
    meters = [Meter(server) for server in servers]
    time.sleep(options.quiet)
    quiet = [meter.read() for meter in meters]
    talker.say("probes")
    # Nodes probe again after a revocation. First without that: so it is known what the reading costs, and what those probes do.
    read_only = measure_changes(options, talker, meters, quiet, many, False)
    row = measure_changes(options, talker, meters, quiet, many, True)
    talker.end()
    row |= {"clients": many, "servers": [server.name for server in servers], "quiet": quiet, "read_only": read_only}
    got, busy = row["followed"], row["busy"]
    if got["failed"]:
        say(f"  {got['failed']} changes failed: {got['why']}")
    figures = got["propagation"] or dict.fromkeys(("p50_ms", "p99_ms", "max_ms"), float("nan"))
    told(
        f"{many:>5} clients, {row['changes_per_second']:.0f} changes/s: {figures['p50_ms']:.1f} ms, p99 {figures['p99_ms']:.1f}, most {figures['max_ms']:.1f};"
        f" Redis {' + '.join(format(b['cpu'], '.0%') for b in busy)} of a core"
        f" (quiet {' + '.join(format(q['cpu'], '.0%') for q in quiet)}), clients {row['clients_cpu']:.0%}; missed {got['missed']}"
    )
    return row


def scale(options, folder, redis, node, clients, cores, stop):
    """The rows of one server, and of one behind a replica; and what one full load costs."""
    redis_core, load_core = cores
    found = {"load": measure_load(options, node, redis, clients, load_core, folder), "rows": [], "replica_rows": []}
    for many in options.followers:
        found["rows"].append(measure_followers(options, many, node, [redis], load_core, folder, clients, stop))
    entries = sum(redis("XLEN", f"{{keygate:{partition}}}:changes") for partition in range(16))
    held = sum(redis("MEMORY", "USAGE", f"{{keygate:{partition}}}:changes", "SAMPLES", "0") for partition in range(16))
    found["stream_bytes_per_change"] = held / max(1, entries)
    if "replica" in options.parts:
        replica = Redis(folder, "redis-replica", redis_core, stop)
        replica.start()
        replica.replicate(redis)
        behind = Node("behind", folder, options.root_key, redis.address, "127.0.0.1:1", load_core, "", stop, read_from=replica.address)
        for many in options.followers[-1:]:
            found["replica_rows"].append(measure_followers(options, many, behind, [redis, replica], load_core, folder, clients, stop))
        replica.kill()
    return found


# Nodes -----------------------------------------------------------------------------------------------------------------


def measure_nodes(options, folder, redis, keygate, clients, secrets_file, stop):
    """Four real nodes under load: how soon each refuses what was revoked and takes what was made; what they need."""
    everywhere = stage.all_cores()
    _, upstream = machine.start_upstream(folder, everywhere, stop)
    nodes = [
        Node(f"node-{number + 1}", folder, options.root_key, redis.address, upstream, everywhere, keygate, stop) for number in range(options.nodes)
    ]
    ready = []
    for node in nodes:
        node.start()
        ready.append(node.wait_ready())
        told(f"{node.name} is ready after {ready[-1]:.1f} s: {node.metric('keygate_keys') or 0:.0f} keys, {node.rss_mib():.0f} MiB")
    drive = stage.driver(nodes, secrets_file, options.load, folder, clients, everywhere, stop)
    drive.say("phase", name="quiet")
    time.sleep(options.quiet)
    drive.say("phase", name="trials")
    meter, begun = Meter(redis), [node.process.cpu_seconds() for node in nodes]
    told(f"{options.trials} trials")
    trials = drive.say("trials", count=options.trials, orgs=64)
    redis_cpu = meter.read()
    cpu = [(node.process.cpu_seconds() - before) / redis_cpu["seconds"] for node, before in zip(nodes, begun)]
    load = {row["phase"]: row for row in drive.say("report")}
    drive.end()
    rss = [node.rss_mib() for node in nodes]
    # The replica of a view is at most a second behind it.
    time.sleep(2)
    cold = cold_starts(options, nodes, redis, secrets_file)
    return {"trials": trials, "load": load, "ready_seconds": ready, "rss_mib": rss, "node_cpu": cpu, "redis_cpu": redis_cpu["cpu"], "cold": cold}


def cold_starts(options, nodes, redis, secrets_file):
    """Redis is gone, and a node starts from its own file: when does it first let a valid key pass?"""
    with open(secrets_file) as file:
        key = file.readlines()[-1].split()[1]
    for node in nodes:
        node.end()
    redis.kill()
    seconds, sizes = [], []
    for number in range(options.cold_starts):
        node = nodes[number % len(nodes)]
        sizes.append(os.path.getsize(f"{node.folder}/replica.redb") / (1 << 20))
        begun = time.monotonic()
        node.start()
        machine.wait_for("the first good answer", lambda: ask(node.address, "GET", "/bench", {"DD-API-KEY": key})[0] == 200, 120, node.process)
        seconds.append(time.monotonic() - begun)
        told(f"cold start of {node.name} without Redis: first good answer after {seconds[-1]:.2f} s")
        node.end()
    return {"seconds": seconds, "replica_mib": sizes}


# What was promised ---------------------------------------------------------------------------------------------------


def promises(nodes):
    """(what, figure, kept?) of what the trials must show; the worst node counts."""
    found = []
    for name, limits in PROMISES.items():
        got = nodes["trials"][name]
        for figure, most in limits.items():
            worst = max((node[figure] for node in got["nodes"] if node), default=float("inf"))
            found.append((f"{name}, {figure[:-3]} on the worst node <= {most} ms", f"{worst:.1f} ms", worst <= most and not got["failed"]))
    worst = max(nodes["cold"]["seconds"], default=0.0)
    found.append(("cold start with Redis away, first good answer <= 3 s", f"{worst:.2f} s", worst <= 3))
    lost = sum(row["lost"] for row in nodes["load"].values())
    found.append(("valid requests lost meanwhile = 0", str(lost), lost == 0))
    return found


def doubts(options, found):
    """Why a reader should not believe the figures, if there is a reason."""
    said = []
    for row in found.get("scale", {}).get("rows", []) + found.get("scale", {}).get("replica_rows", []):
        got = row["followed"]
        what = f"{row['clients']} clients{' behind a replica' if len(row['servers']) > 1 else ''}"
        if row["clients_cpu"] > 0.85:
            said.append(f"{what}: the clients used {row['clients_cpu']:.0%} of their core, so part of the time is theirs; real nodes have cores of their own")
        if sum(busy["cpu"] for busy in row["busy"]) > 0.85:
            said.append(f"{what}: Redis used {sum(busy['cpu'] for busy in row['busy']):.0%} of its core; several changes shared an answer, so each looks cheaper than it is")
        if row["changes_per_second"] < 0.97 * options.rate:
            said.append(f"{what}: only {row['changes_per_second']:.0f} of {options.rate} changes a second were made")
        if row["probes"]["reopened"]:
            said.append(f"{what}: {row['probes']['reopened']} connections broke: {row['probes']['why']}")
        if got["missed"] or got["gaps"]:
            said.append(f"{what}: {got['missed']} changes were not seen in time, {got['gaps']} did not follow upon the one before")
        if got["failed"]:
            said.append(f"{what}: {got['failed']} changes failed: {got['why']}")
    if found.get("siblings"):
        said.append("Redis and the clients ran on two threads of one core: they slowed each other")
    return said


# The whole -------------------------------------------------------------------------------------------------------------


def parse():
    parser = machine.Parser(prog="benches/run fleet", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="50,000 keys, 100 clients, short: shows that it works, not how fast")
    parser.add_argument("--json", metavar="FILE", help="write everything measured there")
    parser.add_argument("--plots", metavar="FOLDER", help="write the plots there (benches/fleet; quick: nowhere)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="which parts (all)")
    parser.add_argument("--keys", type=int, help="keys in the store (1000000; quick 50000)")
    parser.add_argument("--followers", type=int, nargs="+", metavar="N", help="numbers of clients (10 100 1000; quick 10 100)")
    parser.add_argument("--rate", type=int, default=100, help="changes a second (100)")
    parser.add_argument("--seconds", type=int, help="how long changes are made (30; quick 5)")
    parser.add_argument("--quiet", type=int, help="how long nothing is changed, before (10; quick 3)")
    parser.add_argument("--loads", type=int, help="full loads (3; quick 1)")
    parser.add_argument("--nodes", type=int, default=4, help="real nodes (4)")
    parser.add_argument("--trials", type=int, help="keys made and revoked (1000; quick 50)")
    parser.add_argument("--load", type=int, help="requests a second to each node (250; quick 100)")
    parser.add_argument("--cold-starts", type=int, help="starts with Redis away (4; quick 1)")
    parser.add_argument("--follow", nargs="+", default=[], metavar="WORD", help="further words for `fleet_clients follow`")
    stage.binary_options(parser)
    options = parser.parse_args()
    quick = options.quick
    options.keys = options.keys or (50_000 if quick else 1_000_000)
    options.followers = sorted(options.followers or ([10, 100] if quick else [10, 100, 1000]))
    options.seconds = options.seconds or (5 if quick else 30)
    options.quiet = options.quiet or (3 if quick else 10)
    options.loads = options.loads or (1 if quick else 3)
    options.trials = options.trials or (50 if quick else 1000)
    options.load = options.load or (100 if quick else 250)
    options.cold_starts = options.cold_starts or (1 if quick else 4)
    options.plots = options.plots or (None if quick else os.path.join(stage.HERE, "fleet"))
    options.root_key = stage.root_key()
    return options


def measure(options, folder, stop):
    keygate, clients = stage.binaries(options)
    redis_core, load_core, siblings = machine.cores()
    machine.allow_many_files()
    redis = Redis(folder, "redis", redis_core, stop)
    redis.start()
    empty = redis.info()["used_memory"]
    node = Node("client", folder, options.root_key, redis.address, "127.0.0.1:1", load_core, keygate, stop)
    secrets_file = f"{folder}/keys"
    told(f"filling Redis with {options.keys:,} keys")
    filled = stage.run(clients, ["fill", "-c", node.config, "--keys", str(options.keys), "--secrets", secrets_file], load_core, f"{folder}/fill.log")
    info = redis.info()
    found = {
        "rate": options.rate, "keys": filled["keys"], "records": filled["records"], "fill_seconds": filled["seconds"], "siblings": siblings,
        "memory_per_key": (info["used_memory"] - empty) / filled["keys"], "redis_rss_mib": info["used_memory_rss"] / (1 << 20),
    }  # fmt: skip
    told(f"{filled['keys']:,} keys ({filled['records']:,} records) in {filled['seconds']:.0f} s, {found['memory_per_key']:.0f} bytes a key")
    redis.keep_on_disk()
    if "scale" in options.parts or "replica" in options.parts:
        found["scale"] = scale(options, folder, redis, node, clients, (redis_core, load_core), stop)
    if "nodes" in options.parts:
        found["nodes"] = measure_nodes(options, folder, redis, keygate, clients, secrets_file, stop)
        found["version"] = machine.first_line([keygate, "--version"])
    return found


def main():
    options = parse()
    # The plan twice over, and an hour to install, to build and to fill.
    machine.stop_on_signals(3600 + 2 * ((options.seconds + options.quiet + 90) * (len(options.followers) + 1) + options.trials))
    lock = machine.only_one_load()
    machine.need(stage.NEEDS)
    facts = machine.describe()
    folder = tempfile.mkdtemp(prefix="keygate-bench-")
    stop = []
    try:
        found = measure(options, folder, stop)
    finally:
        for process in reversed(stop):
            process.stop()
        shutil.rmtree(folder, ignore_errors=True)
        lock.close()

    facts["redis"] = machine.first_line(["redis-server", "--version"])
    facts["keygate"] = found.get("version", "")
    said = doubts(options, found)
    kept = promises(found["nodes"]) if "nodes" in found else []
    print("<!-- fleet: measured -->")
    print(f"{facts['processor']}, {facts['cores']} cores, Linux {facts['kernel']}; Redis {facts['redis'].split('v=')[-1].split()[0]}; {found['keys']:,} keys in {found['records']:,} records; {facts['time'][:10]}, {facts['commit']}")
    if "scale" in found:
        print(f"\nFollowing one store, {options.rate} changes a second asked for over {options.seconds} s:\n\n{sizing.scale_table(found['scale'])}")
    if "nodes" in found:
        print(f"\n{options.nodes} nodes and their Redis on the same {facts['cores']} cores, {options.load} requests/s to each, {options.trials} trials (range over the nodes):\n\n{sizing.trials_table(found['nodes'])}")
    print(f"\nWhat it takes (median, least..most):\n\n{sizing.facts_table(found)}")
    if "scale" in found:
        print(f"\nWorked out from these:\n\n{sizing.sizing_table(found)}")
    print("<!-- fleet: end -->")
    for what, figure, is_kept in kept:
        print(f"\n{'kept' if is_kept else 'BROKEN'}: {what}: {figure}")
    for doubt in said:
        print(f"\ndoubt: {doubt}")
    if options.plots and "scale" in found:
        sizing.draw(found, options.plots)
    if options.json:
        settings = {name: value for name, value in vars(options).items() if name not in ("json", "root_key")}
        with open(options.json, "w") as file:
            json.dump({"machine": facts, "settings": settings, "doubts": said, "promises": kept, "found": found}, file, indent=1)
            file.write("\n")
    if not all(is_kept for _, _, is_kept in kept) and not options.quick:
        raise Failed("a promise is broken")


if __name__ == "__main__":
    try:
        main()
    except Failed as failure:
        say(f"benches/run fleet: {failure}")
        sys.exit(1)
