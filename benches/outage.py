"""benches/run outage: what clients of a fleet notice while its Redis is in trouble. Ends with 1 when a promise is broken; benches/README.md says how to read it."""

import json
import shutil
import signal
import sys
import tempfile
import time

import machine
import stage
from link import Link
from machine import Failed, say, wait_for
from stage import Node, Redis, told

FAULTS = ["killed", "emptied", "slow", "partitioned", "older"]
WORDS = {
    "killed": "killed, and started again with all it had",
    "emptied": "killed, and started with nothing",
    "slow": "each answer 200 ms late",
    "partitioned": "connections stay and carry nothing",
    "older": "replaced by an older copy",
}
# During which of them a revocation must still be possible, and within what time on every node.
REVOKES_WITHIN_MS = {"emptied": 1000, "slow": 3000, "older": 1000}
SLOW_SECONDS = 0.2
IN_STEP_SECONDS_MAX = 60
# A view of this age is one in step: a node asks once a second.
IN_STEP_AGE = 2.5


class Fleet:
    """Redis behind a link, the nodes, the load, and the keys that were revoked so far."""

    def __init__(self, options, folder, stop):
        self.options, self.folder, self.stop = options, folder, stop
        keygate, clients = stage.binaries(options)
        everywhere = stage.all_cores()
        machine.allow_many_files()
        self.keygate = keygate
        self.redis = Redis(folder, "redis", everywhere, stop)
        self.redis.start()
        self.link = Link(self.redis.port)
        root_key = stage.root_key()
        _, upstream = machine.start_upstream(folder, everywhere, stop)
        self.nodes = [
            Node(f"node-{number + 1}", folder, root_key, self.link.address, upstream, everywhere, keygate, stop) for number in range(options.nodes)
        ]
        keys = f"{folder}/keys"
        direct = Node("direct", folder, root_key, self.redis.address, upstream, everywhere, keygate, stop)
        told(f"filling Redis with {options.keys:,} keys")
        filled = stage.run(clients, ["fill", "-c", direct.config, "--keys", str(options.keys), "--secrets", keys], everywhere, f"{folder}/fill.log")
        self.keys = filled["keys"]
        self.redis.keep_on_disk()
        for node in self.nodes:
            node.start()
        for node in self.nodes:
            node.wait_ready()
        self.drive = stage.driver(self.nodes, keys, options.load, folder, clients, everywhere, stop)
        self.turn = 0

    def ages(self):
        return [node.metric("keygate_view_age_seconds") for node in self.nodes]

    def next_node(self):
        self.turn += 1
        return self.turn % len(self.nodes)

    def make(self):
        """A key that every node takes."""
        got = self.drive.say("create", node=self.next_node(), org=f"bench-{self.turn % 64}")
        if got["error"] or not got["id"] or None in got["nodes_ms"]:
            raise Failed(f"a key could not be made while all was well: {got}")
        return got["id"]

    def revoke(self, key):
        """What came of a revocation: its time on the last node, or why not."""
        got = self.drive.say("revoke", node=self.next_node(), id=key)
        times = got["nodes_ms"]
        everywhere = not got["error"] and None not in times
        return {"error": got["error"], "answered_ms": got["answered_ms"], "nodes_ms": times, "everywhere_ms": max(times) if everywhere else None}

    def in_step(self):
        """Seconds until every node's view is in step again; None when one's is not for too long."""
        begun = time.monotonic()
        try:
            wait_for("the views", lambda: all(age is not None and age < IN_STEP_AGE for age in self.ages()), IN_STEP_SECONDS_MAX)
        except Failed:
            return None
        return time.monotonic() - begun

    def phase(self, name, seconds):
        """Counts what is sent from now on under this name, for so long, with what is to be done meanwhile."""
        self.drive.say("phase", name=name)
        self.until = time.monotonic() + seconds

    def rest(self):
        while (left := self.until - time.monotonic()) > 0:
            for node in self.nodes:
                node.process.must_run()
            time.sleep(min(left, 1.0))


# Faults: how each begins and how it ends. What an operator would do about it is the end. -------------------------------


def begin(fleet, fault, copy):
    redis = fleet.redis
    if fault == "killed":
        redis.kill()
    elif fault == "emptied":
        redis.kill()
        redis.empty()
        redis.start(appendonly=True)
    elif fault == "slow":
        fleet.link.delay = SLOW_SECONDS
    elif fault == "partitioned":
        fleet.link.hole(True)
    elif fault == "older":
        redis.kill()
        redis.put(copy)
        redis.start(appendonly=True)


def end(fleet, fault, good):
    """Returns what the operator was told, where a command was needed."""
    if fault == "killed":
        fleet.redis.start(appendonly=True)
    elif fault == "slow":
        fleet.link.delay = 0.0
    elif fault == "partitioned":
        fleet.link.hole(False)
    elif fault in ("emptied", "older"):
        # What nodes hold goes back into Redis.
        begun = time.monotonic()
        _, complaint = fleet.nodes[0].says(*fleet.options.restore, seconds=600)
        seconds = time.monotonic() - begun
        complaint = (complaint.splitlines() or [""])[0]
        if complaint:
            # A broken promise; the faults that follow are still to begin with a good store.
            fleet.redis.kill()
            fleet.redis.put(good)
            fleet.redis.start(appendonly=True)
        return {"restore_seconds": seconds, "complaint": complaint}
    return {}


def measure(fleet, fault):
    """One fault, with a quiet time before it and one after it."""
    options, row = fleet.options, {"fault": fault}
    copy, good = f"{fleet.folder}/older-{fault}", f"{fleet.folder}/good-{fault}"
    fleet.phase(f"{fault}: before", options.quiet)
    victims = [fleet.make() for _ in range(2)]
    if fault == "older":
        # Valid in the copy, revoked since: what the copy says of it must not count.
        old = fleet.make()
        time.sleep(1.5)
        fleet.redis.copy(copy)
        row["revoked_after_the_copy"] = fleet.revoke(old)
    fleet.rest()
    fleet.redis.copy(good)

    told(f"{fault}: begins, for {options.seconds:.0f} s")
    fleet.phase(f"{fault}: during", options.seconds)
    begin(fleet, fault, copy)
    time.sleep(options.seconds / 4)
    row["revoked_during"] = fleet.revoke(victims[0])
    fleet.rest()
    row["ages_at_end"] = fleet.ages()
    row["ready_at_end"] = [machine.ask(node.admin, "GET", "/readyz")[0] == 200 for node in fleet.nodes]

    fleet.phase(f"{fault}: return", 0)
    row |= end(fleet, fault, good)
    row["in_step_seconds"] = fleet.in_step()
    fleet.phase(f"{fault}: after", options.quiet)
    # What could not be revoked then is revoked now; and another key, as on any day.
    later = victims[1:] if row["revoked_during"]["everywhere_ms"] is not None else victims
    row["revoked_after"] = [fleet.revoke(key) for key in later]
    fleet.rest()
    row["ages_after"] = fleet.ages()
    during = row["revoked_during"]
    done = f"revoked on every node after {during['everywhere_ms']:.0f} ms" if during["everywhere_ms"] is not None else f"not revoked: {during['error']}"
    after = "not in step after its end" if row["in_step_seconds"] is None else f"in step {row['in_step_seconds']:.1f} s after its end"
    told(f"{fault}: {done}; {after}")
    return row


# The table -------------------------------------------------------------------------------------------------------------


def judge(options, rows, phases):
    """Adds the counts to each row, and says which promises were broken."""
    broken = []
    for row in rows:
        fault = row["fault"]
        counted = {name: phases.get(f"{fault}: {name}") for name in ("before", "during", "return", "after")}
        row["phases"] = counted
        row["lost"] = sum(phase["lost"] for phase in counted.values() if phase)
        row["sent"] = sum(phase["sent"] for phase in counted.values() if phase)
        row["accepted_again"] = sum(phase["revoked_accepted"] for phase in counted.values() if phase)
        row["revoked_asked"] = sum(phase["revoked_asked"] for phase in counted.values() if phase)
        p99 = {name: phase["took"]["p99_ms"] for name, phase in counted.items() if phase and phase["took"]}
        row["p99_ms"] = p99
        row["p99_ratio"] = p99["during"] / p99["before"]
        if row["lost"]:
            first = [lost for phase in counted.values() if phase for lost in phase["lost_first"]]
            broken.append(f"{fault}: {row['lost']} valid requests were lost, such as {first[:2]}")
        if row["accepted_again"]:
            broken.append(f"{fault}: revoked keys were accepted {row['accepted_again']} times")
        # The machine's own quiet times differ; only what exceeds both is the fault's.
        if not options.quick and p99["during"] > (1 + options.added_p99) * max(p99["before"], p99.get("after", 0)):
            broken.append(f"{fault}: p99 was {p99['during']:.2f} ms, before {p99['before']:.2f}, after {p99.get('after', 0):.2f}")
        within = REVOKES_WITHIN_MS.get(fault)
        during = row["revoked_during"]
        if within and (during["everywhere_ms"] is None or during["everywhere_ms"] > within):
            broken.append(f"{fault}: a revocation took {during['everywhere_ms']} ms, not {within}: {during['error']}")
        for came in row["revoked_after"]:
            if came["everywhere_ms"] is None:
                broken.append(f"{fault}: a key could not be revoked after its end: {came['error']}")
        if not all(row["ready_at_end"]):
            broken.append(f"{fault}: a node said it was not ready")
        if row.get("complaint"):
            broken.append(f"{fault}: keygate {' '.join(options.restore)} said: {row['complaint']}")
        if row["in_step_seconds"] is None:
            broken.append(f"{fault}: a view was not in step {IN_STEP_SECONDS_MAX} s after its end: {row['ages_after']} s old")
    return broken


def table(rows):
    head = ["Redis was", "requests", "lost", "p99 ms before", "during", "ratio", "revoked asked", "accepted again", "a revocation meanwhile", "view age at the end", "in step again after"]
    body = []
    for row in rows:
        during = row["revoked_during"]
        if during["everywhere_ms"] is not None:
            revoked = f"on every node after {during['everywhere_ms']:.0f} ms"
        else:
            revoked = f"refused after {during['answered_ms']:.0f} ms, done after the end in {row['revoked_after'][0]['everywhere_ms'] or float('nan'):.0f} ms"
        ages = [age for age in row["ages_at_end"] if age is not None]
        after = row["in_step_seconds"]
        body.append([
            WORDS[row["fault"]], f"{row['sent']:,}", row["lost"], f"{row['p99_ms']['before']:.2f}", f"{row['p99_ms']['during']:.2f}", f"{row['p99_ratio']:.2f}",
            f"{row['revoked_asked']:,}", row["accepted_again"], revoked, f"{max(ages, default=float('nan')):.1f} s", "not" if after is None else f"{after:.1f} s",
        ])  # fmt: skip
    return machine.markdown(head, body)


# The whole -------------------------------------------------------------------------------------------------------------


def parse():
    parser = machine.Parser(prog="benches/run outage", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="5 s of each fault, 5,000 keys: shows that it works, and judges no p99")
    parser.add_argument("--json", metavar="FILE", help="write everything counted there")
    parser.add_argument("--minutes", type=float, help="how long each fault lasts (2; quick 5 s)")
    parser.add_argument("--faults", nargs="+", choices=FAULTS, default=FAULTS, help="which (all)")
    parser.add_argument("--keys", type=int, help="keys in the store (100000; quick 5000)")
    parser.add_argument("--nodes", type=int, default=4, help="nodes (4)")
    parser.add_argument("--load", type=int, help="requests a second to each node (250; quick 100)")
    parser.add_argument("--added-p99", type=float, default=0.05, metavar="SHARE", help="how much larger p99 may be than in the quiet times (0.05)")
    parser.add_argument("--restore", nargs="+", default=["store", "restore"], metavar="WORD", help="the command that puts keys back into Redis")
    parser.add_argument("--verify", nargs="+", default=["store", "verify"], metavar="WORD", help="the command that looks for what is wrong in Redis, run at the end")
    parser.add_argument("--keep", action="store_true", help="leave the folders and logs where they are")
    stage.binary_options(parser)
    options = parser.parse_args()
    options.keys = options.keys or (5_000 if options.quick else 100_000)
    options.load = options.load or (100 if options.quick else 250)
    options.seconds = options.minutes * 60 if options.minutes else (5 if options.quick else 120)
    options.quiet = max(4, options.seconds / 2)
    return options


def main():
    options = parse()
    machine.stop_on_signals(3600 + int(len(options.faults) * (2 * options.seconds + 2 * options.quiet + 700)))
    lock = machine.only_one_load()
    machine.need(stage.NEEDS)
    facts = machine.describe()
    folder = tempfile.mkdtemp(prefix="keygate-bench-")
    stop, rows = [], []
    try:
        fleet = Fleet(options, folder, stop)
        fleet.phase("warm", 3)
        fleet.rest()
        for fault in options.faults:
            rows.append(measure(fleet, fault))
        phases = {phase["phase"]: phase for phase in fleet.drive.say("report")}
        _, complaint = fleet.nodes[-1].says(*options.verify, seconds=600)
        fleet.drive.end()
        fleet.link.close()
        facts["keygate"] = machine.first_line([fleet.keygate, "--version"])
    finally:
        for process in reversed(stop):
            if process.child.poll() is None:
                # One that was frozen cannot end.
                process.signal(signal.SIGCONT)
            process.stop()
        if options.keep:
            say(f"what they wrote is in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
        lock.close()

    facts["redis"] = machine.first_line(["redis-server", "--version"])
    broken = judge(options, rows, phases)
    if complaint:
        broken.append(f"at the end, keygate {' '.join(options.verify)} said: {complaint.splitlines()[0]}")
    print("<!-- outage: measured -->")
    print(
        f"{facts['processor']}, {facts['cores']} cores, Linux {facts['kernel']}; Redis {facts['redis'].split('v=')[-1].split()[0]}; {facts['time'][:10]}, {facts['commit']}."
        f" {options.nodes} nodes, {fleet.keys:,} keys, {options.load} requests/s to each, {options.seconds:.0f} s of each:\n"
    )
    print(table(rows))
    print("<!-- outage: end -->")
    for what in broken:
        print(f"\nBROKEN: {what}")
    if options.json:
        settings = {name: value for name, value in vars(options).items() if name != "json"}
        with open(options.json, "w") as file:
            json.dump({"machine": facts, "settings": settings, "broken": broken, "rows": rows, "phases": phases}, file, indent=1)
            file.write("\n")
    if broken:
        raise Failed(f"{len(broken)} promises are broken")


if __name__ == "__main__":
    try:
        main()
    except Failed as failure:
        say(f"benches/run outage: {failure}")
        sys.exit(1)
