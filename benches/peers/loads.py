"""What is asked of a contender: the loads, the programs that make them, and one measured run. It compares nobody."""

import json
import os
import resource
import subprocess
import time

import machine
from machine import Failed, ask
from peers.contenders import BENCHES, NAMES

LOG_SECONDS_MAX = 3


class Load:
    """One kind of request. With a `rate` it is asked for so often, and otherwise as often as answers come."""

    def __init__(self, name, method, path, body=0, right=True, rate=None, widely=True, by_relay=True, without_record=False, with_many_keys=False):
        self.name, self.method, self.path, self.body, self.right, self.rate = name, method, path, body, right, rate
        # At every number of connections, or at the first only?
        self.widely = widely
        self.by_relay, self.without_record, self.with_many_keys = by_relay, without_record, with_many_keys

    def meets(self, contender, connections, first_keys, first_connections):
        """Whether this load is put on that contender. A full run has to end before the machine is another one."""
        if connections != first_connections and not self.widely or not first_keys and not (self.with_many_keys and connections == first_connections):
            return False
        if contender.name == "relay":
            return self.by_relay and first_keys and connections == first_connections
        return contender.name != "keygate-no-record" or self.without_record and first_keys


LOADS = [
    Load("GET", "GET", "/bench", without_record=True, with_many_keys=True),
    Load("POST 1 KiB", "POST", "/api/v2/series", 1024, without_record=True, with_many_keys=True),
    Load("POST 64 KiB", "POST", "/api/v2/logs", 65536),
    Load("wrong key", "GET", "/bench", right=False, widely=False, by_relay=False, with_many_keys=True),
    Load("GET, 5,000/s", "GET", "/bench", rate=5000, widely=False),
]


class Bench:
    """What all runs have in common: where the load runs, and what it asks with."""

    def __init__(self, options, keys, folder, upstream, upstream_process, proxy_core, load_core):
        self.options, self.keys, self.folder, self.upstream, self.upstream_process = options, keys, folder, upstream, upstream_process
        self.proxy_core, self.load_core = proxy_core, load_core

    def seen(self):
        """What the upstream has counted: requests, body_bytes, connections, refused, keyed, named."""
        return json.loads(ask(self.upstream, "GET", "/__counts")[2])

    def give_keys(self, right, wrong):
        for name, keys in (("right", right), ("wrong", wrong)):
            with open(f"{self.folder}/{name}.keys", "w") as file:
                file.write("\n".join(keys) + "\n")

    def distinct(self, load):
        """Requests that differ. Large ones are few, or the load's memory would be what is measured."""
        return 64 if load.body > 4096 else 10_000 if load.body else 100_000


def program(bench, contender, load, connections, seconds):
    if load.rate:
        return [machine.compile_c("pace", bench.folder), str(contender.port), str(load.rate), str(seconds), str(connections)]
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "5s"]
    return command + ["-s", os.path.join(BENCHES, "wrk", "peers.lua"), f"http://{contender.address}"]


def ask_for(bench, contender, load, connections, seconds):
    """What wrk or pace has to say of so many seconds. Any error but the expected refusals ends the benchmark."""
    environment = dict(
        os.environ, BENCH_METHOD=load.method, BENCH_PATH=load.path, BENCH_BODY=str(load.body), BENCH_REQUESTS=str(bench.distinct(load)),
        BENCH_KEYS=f"{bench.folder}/{'right' if load.right else 'wrong'}.keys",
    )  # fmt: skip
    what = f"{NAMES[contender.name]}, {load.name}, {connections} connections"
    command = ["taskset", "-c", str(bench.load_core)] + program(bench, contender, load, connections, seconds)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    child = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
    try:
        output, _ = child.communicate(timeout=seconds + 30)
    except subprocess.TimeoutExpired:
        raise Failed(f"{what}: the load did not end")
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    line = next((line for line in output.splitlines() if line.startswith("BENCH ")), None)
    if child.returncode or not line:
        raise Failed(f"{what}:\n{output}")
    got = json.loads(line[6:])
    got["cpu"] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    for error in ("connect", "read", "write", "timeout"):
        if got.get(error):
            raise Failed(f"{what}: {got[error]} {error} errors")
    refused = 0 if load.right else got["requests"]
    if got["status"] != refused or not got["requests"]:
        raise Failed(f"{what}: {got['status']} of {got['requests']} answers were refusals, not {refused}")
    return got


def lines(path):
    count = 0
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            count += block.count(b"\n")
    return count


def check_upstream(what, contender, load, connections, answers, reached):
    """A request under way when wrk stops is seen by the upstream and not by wrk: at most one for each connection."""
    least, most = (answers, answers + 2 * connections) if load.right else (0, 0)
    good = least <= reached["requests"] <= most and not reached["refused"]
    # Heads are counted before their bodies, so of those under way one may be counted and the other not.
    if contender.is_proxy:
        good = good and not reached["keyed"] and abs(reached["named"] - reached["requests"]) <= 2 * connections
    if not good:
        raise Failed(f"{what}: {answers} answers, but the upstream has seen {reached}")


def check_log(what, contender, wanted):
    """One line for each request. What is written late is waited for; what never comes was lost, and the figures are of somebody who did less.
    keygate may lose none. Of a peer, whose figures it flatters, the share that was lost is returned, and told as a doubt."""
    if not contender.log:
        return 0.0
    end = time.monotonic() + LOG_SECONDS_MAX
    while (written := lines(contender.log)) < wanted:
        if time.monotonic() > end:
            if written and not contender.name.startswith("keygate"):
                return 1 - written / wanted
            raise Failed(f"{what}: {wanted - written} of {wanted} requests are not in its log")
        time.sleep(0.1)
    return 0.0


def one_run(bench, contender, load, connections):
    options, process = bench.options, contender.process
    what = f"{NAMES[contender.name]}, {load.name}, {connections} connections"
    if contender.log:
        os.truncate(contender.log, 0)
    # Not measured: fills the pool of upstream connections, the branch predictors and the page cache of the log.
    warm = ask_for(bench, contender, load, connections, options.warm)
    counted, ours, all_of_core = bench.seen(), process.cpu_seconds(), machine.busy_seconds(bench.proxy_core)
    upstream_cpu = bench.upstream_process.cpu_seconds()
    got = ask_for(bench, contender, load, connections, max(options.seconds, options.paced_seconds) if load.rate else options.seconds)
    cpu = process.cpu_seconds() - ours
    foreign = machine.busy_seconds(bench.proxy_core) - all_of_core - cpu
    busy = got["cpu"] + bench.upstream_process.cpu_seconds() - upstream_cpu
    rss, pss = process.memory_kib()
    reached = {name: value - counted[name] for name, value in bench.seen().items()}
    process.must_run()
    check_upstream(what, contender, load, connections, got["requests"], reached)
    unlogged = check_log(what, contender, warm["requests"] + got["requests"])
    seconds = got["microseconds"] / 1e6
    return {
        "contender": contender.name,
        "load": load.name,
        "connections": connections,
        "keys": bench.keys,
        "requests": got["requests"],
        "seconds": seconds,
        "cpu_us_per_request": cpu * 1e6 / got["requests"],
        "requests_per_second": got["requests"] / seconds,
        "p50_ms": got["p50"] / 1000,
        "p99_ms": got["p99"] / 1000,
        "p999_ms": got["p999"] / 1000,
        # Of the fixed rate: how much later than due requests left, at the 99th percentile.
        "late_ms": got["late"] / 1000 if load.rate else None,
        "rss_kib": rss,
        "pss_kib": pss,
        "proxy_core_busy": cpu / seconds,
        "load_core_busy": busy / seconds,
        "foreign_on_proxy_core": max(0.0, foreign / seconds),
        "upstream_connections_opened": reached["connections"],
        "unlogged": unlogged,
    }


# Checks before ---------------------------------------------------------------------------------------------------------

# What each has to answer; it is what the senders of these paths need.
ANSWERS = {
    ("/bench", "right"): 200, ("/bench", "wrong"): 403, ("/bench", "missing"): 403,
    ("/api/v2/series", "right"): 200, ("/api/v2/series", "wrong"): 403, ("/api/v2/series", "missing"): 403,
    ("/api/v2/logs", "right"): 200, ("/api/v2/logs", "wrong"): 403, ("/api/v2/logs", "missing"): 401,
}  # fmt: skip


def check_same_answers(bench, contenders, right, wrong):
    """Right, wrong and missing keys, each on each path: all must agree before anything is measured. The relay only passes right ones."""
    sent = {"right": [right[0], right[-1]], "wrong": [wrong[0]], "missing": [None]}
    for contender in contenders:
        asked = 0
        for load in LOADS:
            if load.rate or not load.right:
                continue
            for kind, values in sent.items():
                for value in values if contender.is_proxy or kind == "right" else []:
                    check_answer(bench, contender, load, kind, value)
                    asked += 1
        if contender.log:
            check_log(f"{NAMES[contender.name]}, before the loads", contender, asked)


def check_answer(bench, contender, load, kind, key):
    headers, body = {"DD-API-KEY": key} if key else {}, None
    if load.body:
        headers["Content-Type"] = "application/json"
        body = b'{"series":[' + b" " * (load.body - 13) + b"]}"
    before = bench.seen()
    status, _, text = ask(contender.address, load.method, load.path, headers, body)
    after = bench.seen()
    what = f"{NAMES[contender.name]}: {load.method} {load.path} with the {kind} key"
    if status != ANSWERS[load.path, kind]:
        raise Failed(f"{what}: {status} instead of {ANSWERS[load.path, kind]}: {text[:200]!r}")
    reached = {name: after[name] - before[name] for name in ("requests", "body_bytes", "keyed", "named")}
    passes = int(kind == "right")
    # A proxy removes the key and says whose it was.
    of_proxy = {"keyed": 0, "named": passes} if contender.is_proxy else {"keyed": 1, "named": 0}
    if reached != {"requests": passes, "body_bytes": passes * load.body} | of_proxy:
        raise Failed(f"{what}: the upstream has seen {reached}")
    if kind == "right" and text != b'{"status":"ok"}':
        raise Failed(f"{what}: not the upstream's body: {text[:200]!r}")
