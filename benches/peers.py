"""benches/run peers: keygate beside nginx on one core each in turn. Figures only; benches/README.md says how to read them."""

import concurrent.futures
import json
import os
import random
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import machine
from machine import Failed, Process, ask, say, wait_for

HERE = os.path.dirname(os.path.abspath(__file__))
FILL_SECONDS_MAX = 300

# What nginx does with a request's body; benches/README.md says what each costs it.
NGINX_BODY = {
    "streamed": "proxy_request_buffering off;",
    "memory": "client_body_buffer_size 128k;",
    "default": "client_body_buffer_size 16k;",
}

# name, method, path, body bytes, right key?, distinct requests, at one number of connections only?
SCENARIOS = [
    ("GET", "GET", "/bench", 0, True, 10_000, False),
    ("POST 1 KiB", "POST", "/api/v2/series", 1024, True, 10_000, False),
    ("POST 64 KiB", "POST", "/api/v2/logs", 65536, True, 64, False),
    ("wrong key", "GET", "/bench", 0, False, 10_000, True),
]


class Contender:
    """A proxy that runs: where it listens, where it logs, how many keys it holds."""

    def __init__(self, name, version, process, address, log, keys):
        self.name, self.version, self.process = name, version, process
        self.address, self.log, self.keys = address, log, keys


def fill_in(template, to, words):
    with open(os.path.join(HERE, "peers", template)) as file:
        text = file.read()
    for word, value in words.items():
        text = text.replace(f"@{word}@", str(value))
    with open(to, "w") as file:
        file.write(text)
    return to


# keygate ---------------------------------------------------------------------------------------------------------------


def api_keys_in(value):
    """Every API key's secret in the JSON that a command printed, wherever it stands."""
    if isinstance(value, list):
        return [key for item in value for key in api_keys_in(item)]
    if not isinstance(value, dict):
        return []
    found = []
    for name, item in value.items():
        if name in ("secret", "api_key") and isinstance(item, str) and re.fullmatch("[0-9a-f]{32}", item):
            found.append(item)
        else:
            found += api_keys_in(item)
    return found


def keygate_says(binary, folder, *words):
    """The JSON that a management command prints."""
    command = [binary, *words, "--data-dir", f"{folder}/data", "--output", "json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    if done.returncode:
        raise Failed(f"`keygate {' '.join(words)}` ended with {done.returncode}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def fill(binary, folder, many):
    """`many` more keys, one org each, made through the running server. Fewer if it takes too long; the table says how many."""
    end = time.monotonic() + FILL_SECONDS_MAX

    def create(number):
        if time.monotonic() > end:
            return []
        return api_keys_in(keygate_says(binary, folder, "orgs", "create", f"bench-{number}"))

    keys = []
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        try:
            for made in pool.map(create, range(many)):
                keys += made
                if keys and len(keys) % 1000 == 0:
                    say(f"  {len(keys)} keys")
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return keys


def start_keygate(options, folder, upstream, core, stop):
    binary = os.path.abspath(options.keygate) if options.keygate else machine.build_keygate()
    port, admin = machine.free_port(), machine.free_port()
    os.mkdir(f"{folder}/data", 0o700)
    words = {"DIR": folder, "PORT": port, "ADMIN": admin, "UPSTREAM": upstream}
    config = fill_in("keygate.toml", f"{folder}/keygate.toml", words)
    keys = api_keys_in(keygate_says(binary, folder, "init", "--org", "bench", "--user", "bench@example.com"))
    if not keys:
        raise Failed("`keygate init` printed no API key")
    process = Process("keygate", [binary, "serve", "-c", config], core, f"{folder}/keygate-error.log")
    stop.append(process)
    wait_for("keygate to be ready", lambda: ask(f"127.0.0.1:{admin}", "GET", "/readyz")[0] == 200, 20, process)
    say(f"making {options.keys - 1} more keys, {FILL_SECONDS_MAX} s at most")
    keys += fill(binary, folder, options.keys - 1)
    version = machine.first_line([binary, "--version"])
    return Contender("keygate", version, process, f"127.0.0.1:{port}", f"{folder}/keygate.log", len(keys)), keys


# nginx -----------------------------------------------------------------------------------------------------------------


def start_nginx(options, folder, upstream, core, stop, keys):
    port = machine.free_port()
    with open(f"{folder}/keys.map", "w") as file:
        for number, key in enumerate(keys):
            file.write(f'"{key}" "00000000-0000-4000-8000-{number:012x}";\n')
    words = {"DIR": folder, "PORT": port, "UPSTREAM": upstream, "USER": nginx_user()}
    # Its best: the log buffered, as keygate's is. `plain` is one write for each request, nginx's own default.
    words["LOG_BUFFER"] = " buffer=64k flush=1s" if options.nginx_log == "buffered" else ""
    fill_in("forward.conf", f"{folder}/forward.conf", words)
    words["BODY"] = NGINX_BODY[options.nginx_body]
    config = fill_in("nginx.conf", f"{folder}/nginx.conf", words)
    command = ["nginx", "-p", folder, "-e", f"{folder}/nginx-error.log", "-c", config]
    process = Process("nginx", command, core, f"{folder}/nginx-error.log")
    stop.append(process)
    wait_for("nginx to answer", lambda: ask(f"127.0.0.1:{port}", "GET", "/bench")[0] == 403, 20, process)
    return Contender("nginx", machine.first_line(["nginx", "-v"]), process, f"127.0.0.1:{port}", f"{folder}/nginx.log", len(keys))


def nginx_user():
    """Started as root, nginx would change to a user who may not enter our folder; started as anyone else it ignores the line."""
    return "root" if os.geteuid() == 0 else "nobody"


# The upstream ----------------------------------------------------------------------------------------------------------


def seen(upstream):
    """What the upstream has counted: requests, body_bytes, connections, refused."""
    return json.loads(ask(upstream, "GET", "/__counts")[2])


# Checks ----------------------------------------------------------------------------------------------------------------


def check_same_answers(contenders, upstream, keys, wrong):
    """Right, wrong and missing keys, each on each path: the contenders must agree before anything is measured."""
    expected = {
        ("/bench", "right"): 200, ("/bench", "wrong"): 403, ("/bench", "missing"): 403,
        ("/api/v2/series", "right"): 200, ("/api/v2/series", "wrong"): 403, ("/api/v2/series", "missing"): 403,
        ("/api/v2/logs", "right"): 200, ("/api/v2/logs", "wrong"): 403, ("/api/v2/logs", "missing"): 401,
    }  # fmt: skip
    sent = {"right": [keys[0], keys[-1]], "wrong": [wrong[0]], "missing": [None]}
    for contender in contenders:
        for _, method, path, size, _, _, once in SCENARIOS:
            if once:
                continue
            for kind, values in sent.items():
                for value in values:
                    headers = {"DD-API-KEY": value} if value else {}
                    body = None
                    if size:
                        headers["Content-Type"] = "application/json"
                        body = b'{"series":[' + b" " * (size - 13) + b"]}"
                    before = seen(upstream)
                    status, _, text = ask(contender.address, method, path, headers, body)
                    after = seen(upstream)
                    what = f"{contender.name}: {method} {path} with the {kind} key"
                    if status != expected[path, kind]:
                        raise Failed(f"{what}: {status} instead of {expected[path, kind]}: {text[:200]!r}")
                    reached = (after["requests"] - before["requests"], after["body_bytes"] - before["body_bytes"])
                    if reached != ((1, size) if kind == "right" else (0, 0)):
                        raise Failed(f"{what}: the upstream saw {reached[0]} requests and {reached[1]} body bytes")
                    if kind == "right" and text != b'{"status":"ok"}':
                        raise Failed(f"{what}: not the upstream's body: {text[:200]!r}")


# One run ---------------------------------------------------------------------------------------------------------------


def wrk(contender, scenario, connections, seconds, folder, core, stop):
    """One wrk run; what its `done` printed. Any error but the expected refusals ends the benchmark."""
    name, method, path, size, right, most, _ = scenario
    environment = dict(
        os.environ, BENCH_METHOD=method, BENCH_PATH=path, BENCH_BODY=str(size), BENCH_REQUESTS=str(most),
        BENCH_KEYS=f"{folder}/{'right' if right else 'wrong'}.keys",
    )  # fmt: skip
    command = ["taskset", "-c", str(core), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "5s"]
    command += ["-s", os.path.join(HERE, "wrk", "peers.lua"), f"http://{contender.address}"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    child = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
    try:
        output, _ = child.communicate(timeout=seconds + 30)
    except subprocess.TimeoutExpired:
        raise Failed(f"wrk did not end against {contender.name}, {name}")
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    line = next((line for line in output.splitlines() if line.startswith("BENCH ")), None)
    if child.returncode or not line:
        raise Failed(f"wrk against {contender.name}, {name}:\n{output}")
    got = json.loads(line[6:])
    got["cpu"] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    for error in ("connect", "read", "write", "timeout"):
        if got[error]:
            raise Failed(f"{contender.name}, {name}, {connections} connections: {got[error]} {error} errors")
    refused = 0 if right else got["requests"]
    if got["status"] != refused or not got["requests"]:
        raise Failed(f"{contender.name}, {name}: {got['status']} of {got['requests']} answers were refusals, not {refused}")
    return got


def lines(path):
    count = 0
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            count += block.count(b"\n")
    return count


def one_run(contender, scenario, connections, options, folder, upstream, upstream_process, proxy_core, load_core, stop):
    right = scenario[4]
    os.truncate(contender.log, 0)
    # Not measured: fills the pool of upstream connections, the branch predictors and the page cache of the log.
    warm = wrk(contender, scenario, connections, options.warm, folder, load_core, stop)
    counted, ours, all_of_core = seen(upstream), contender.process.cpu_seconds(), machine.busy_seconds(proxy_core)
    upstream_cpu = upstream_process.cpu_seconds()
    got = wrk(contender, scenario, connections, options.seconds, folder, load_core, stop)
    cpu = contender.process.cpu_seconds() - ours
    foreign = machine.busy_seconds(proxy_core) - all_of_core - cpu
    load = got["cpu"] + upstream_process.cpu_seconds() - upstream_cpu
    rss, pss = contender.process.memory_kib()
    reached = {name: value - counted[name] for name, value in seen(upstream).items()}
    contender.process.must_run()

    # A request in flight when wrk stops is seen by the upstream and not by wrk: at most one for each connection.
    least, most = (got["requests"], got["requests"] + 2 * connections) if right else (0, 0)
    if not least <= reached["requests"] <= most or reached["refused"]:
        raise Failed(f"{contender.name}, {scenario[0]}: wrk had {got['requests']} answers, the upstream {reached}")

    # Both say one line for each request. What is written late is waited for; what never comes was lost, and is told.
    wanted = warm["requests"] + got["requests"]
    end = time.monotonic() + 3
    while (written := lines(contender.log)) < wanted and time.monotonic() < end:
        time.sleep(0.1)
    seconds = got["microseconds"] / 1e6
    return {
        "contender": contender.name,
        "scenario": scenario[0],
        "connections": connections,
        "requests": got["requests"],
        "seconds": seconds,
        "cpu_us_per_request": cpu * 1e6 / got["requests"],
        "requests_per_second": got["requests"] / seconds,
        "p50_ms": got["p50"] / 1000,
        "p99_ms": got["p99"] / 1000,
        "p999_ms": got["p999"] / 1000,
        "rss_kib": rss,
        "pss_kib": pss,
        "proxy_core_busy": cpu / seconds,
        "load_core_busy": load / seconds,
        "foreign_on_proxy_core": max(0.0, foreign / seconds),
        "upstream_connections_opened": reached["connections"],
        "log_lines_lost": max(0, wanted - written),
    }


# The table -------------------------------------------------------------------------------------------------------------


def spread(values, digits):
    middle = statistics.median(values)
    return f"{middle:.{digits}f} ({min(values):.{digits}f}..{max(values):.{digits}f})"


def ratios(runs, cell, contender, base, field):
    """contender / base, each within its round: the machine drifts from round to round, both alike."""
    by_round = {}
    for run in runs:
        if (run["scenario"], run["connections"]) == cell:
            by_round.setdefault(run["round"], {})[run["contender"]] = run[field]
    return [both[contender] / both[base] for both in by_round.values() if contender in both and base in both and both[base]]


def summarise(runs, contenders):
    """Medians, least and most of every figure, by scenario, connections and contender."""
    cells = list(dict.fromkeys((run["scenario"], run["connections"]) for run in runs))
    rows = []
    for cell in cells:
        for contender in contenders:
            of = [run for run in runs if (run["scenario"], run["connections"], run["contender"]) == (*cell, contender.name)]
            if not of:
                continue
            row = {"scenario": cell[0], "connections": cell[1], "contender": contender.name, "keys": contender.keys}
            for field in ("cpu_us_per_request", "requests_per_second", "p50_ms", "p99_ms", "p999_ms", "rss_kib", "pss_kib"):
                values = [run[field] for run in of]
                row[field] = {"median": statistics.median(values), "min": min(values), "max": max(values)}
            row["cpu_over_nginx"] = ratios(runs, cell, contender.name, "nginx", "cpu_us_per_request")
            row["log_lines_lost"] = sum(run["log_lines_lost"] for run in of)
            rows.append(row)
    return rows


def table(rows):
    head = ["load", "conns", "proxy", "keys", "CPU µs/request", "CPU / nginx", "requests/s", "p50 ms", "p99 ms", "p99.9 ms", "RSS MiB", "PSS MiB"]
    body = []
    for row in rows:

        def cell(field, digits, scale=1.0, row=row):
            value = row[field]
            return spread([value["median"] * scale, value["min"] * scale, value["max"] * scale], digits)

        ratio = spread(row["cpu_over_nginx"], 2) if row["cpu_over_nginx"] and row["contender"] != "nginx" else "-"
        body.append([
            row["scenario"], str(row["connections"]), row["contender"], str(row["keys"]), cell("cpu_us_per_request", 1), ratio,
            cell("requests_per_second", 0), cell("p50_ms", 2), cell("p99_ms", 2), cell("p999_ms", 2),
            f"{row['rss_kib']['median'] / 1024:.1f}", f"{row['pss_kib']['median'] / 1024:.1f}",
        ])  # fmt: skip
    return machine.markdown(head, body)


def doubts(runs, siblings):
    """Why a reader should not believe the figures, if there is a reason."""
    found = []
    if siblings:
        found.append("proxy and load ran on two threads of one core: they slowed each other")
    noisy = [run for run in runs if run["foreign_on_proxy_core"] > 0.05]
    if noisy:
        worst = max(run["foreign_on_proxy_core"] for run in noisy)
        found.append(f"others used the proxy's core in {len(noisy)} of {len(runs)} runs, up to {worst:.0%} of it")
    idle = [run for run in runs if run["proxy_core_busy"] < 0.85]
    if idle:
        names = sorted({f"{run['scenario']}/{run['connections']}/{run['contender']}" for run in idle})
        found.append(f"the proxy was not the limit, so requests/s and latency are the load's (CPU per request holds): {', '.join(names)}")
    lost = [run for run in runs if run["log_lines_lost"]]
    for run in lost:
        found.append(f"{run['contender']} lost {run['log_lines_lost']} log lines: {run['scenario']}, round {run['round']}")
    return found


# The whole -------------------------------------------------------------------------------------------------------------


def parse():
    parser = machine.Parser(prog="benches/run peers", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2 short rounds, 64 connections, 200 keys: shows that it works, not how fast")
    parser.add_argument("--json", metavar="FILE", help="write every run and the medians there")
    parser.add_argument("--rounds", type=int, help="interleaved rounds (5; quick 2)")
    parser.add_argument("--seconds", type=int, help="length of one measured run (5; quick 2)")
    parser.add_argument("--keys", type=int, help="keys that every proxy holds (10000; quick 200)")
    parser.add_argument("--connections", type=int, nargs="+", metavar="N", help="connections (64 512; quick 64)")
    parser.add_argument("--contenders", default="nginx,keygate", help="which to run (nginx,keygate)")
    parser.add_argument("--keygate", metavar="BINARY", help="measure this binary instead of building one")
    parser.add_argument("--nginx-log", choices=["buffered", "plain"], default="buffered", help="nginx's log in 64 KiB writes, or one write a request")
    parser.add_argument("--nginx-body", choices=list(NGINX_BODY), default="streamed", help="streamed as keygate does, collected in memory, or nginx's default")
    options = parser.parse_args()
    quick = options.quick
    options.rounds = options.rounds or (2 if quick else 5)
    options.seconds = options.seconds or (2 if quick else 5)
    options.warm = 1
    options.keys = options.keys or (200 if quick else 10_000)
    options.connections = options.connections or ([64] if quick else [64, 512])
    options.contenders = options.contenders.split(",")
    if not options.contenders or set(options.contenders) - {"nginx", "keygate"}:
        parser.error("contenders are nginx and keygate")
    return options


def measure(options, folder, stop):
    proxy_core, load_core, siblings = machine.cores()
    machine.allow_many_files()
    upstream_process, upstream = machine.start_upstream(folder, load_core, stop)
    contenders = []
    keys = [f"{random.getrandbits(128):032x}" for _ in range(options.keys)]
    if "keygate" in options.contenders:
        contender, keys = start_keygate(options, folder, upstream, proxy_core, stop)
        contenders.append(contender)
    if "nginx" in options.contenders:
        contenders.insert(0, start_nginx(options, folder, upstream, proxy_core, stop, keys))
    wrong = [f"{random.getrandbits(128):032x}" for _ in range(10_000)]
    check_same_answers(contenders, upstream, keys, wrong)
    say("same answers for the right, the wrong and the missing key")
    random.shuffle(keys)
    for name, content in (("right", keys), ("wrong", wrong)):
        with open(f"{folder}/{name}.keys", "w") as file:
            file.write("\n".join(content) + "\n")
    # This script's own work between the runs belongs to the load's core.
    os.sched_setaffinity(0, {load_core})

    runs = []
    for number in range(options.rounds):
        for scenario in SCENARIOS:
            for connections in options.connections[:1] if scenario[6] else options.connections:
                # Who goes first alternates, so that neither always has the quieter or the warmer half of a round.
                for contender in contenders if number % 2 == 0 else contenders[::-1]:
                    run = one_run(contender, scenario, connections, options, folder, upstream, upstream_process, proxy_core, load_core, stop)
                    run["round"] = number + 1
                    runs.append(run)
                    say(
                        f"round {number + 1}/{options.rounds}  {scenario[0]:<11} {connections:>4}  {contender.name:<8}"
                        f" {run['cpu_us_per_request']:7.1f} µs/request {run['requests_per_second']:8.0f}/s"
                        f"  busy: proxy {run['proxy_core_busy']:.0%}, load {run['load_core_busy']:.0%}, others {run['foreign_on_proxy_core']:.0%}"
                    )
    return contenders, runs, siblings


def main():
    options = parse()
    cells = len(SCENARIOS) * len(options.connections) * len(options.contenders) * options.rounds
    # The plan twice over, and half an hour to install, to build and to make keys.
    machine.stop_on_signals(1800 + 2 * cells * (options.seconds + options.warm + 4))
    lock = machine.only_one_load()
    programs = {"nginx": "nginx", "wrk": "wrk", "cc": "gcc", "taskset": "util-linux", "setpriv": "util-linux"}
    if "nginx" not in options.contenders:
        del programs["nginx"]
    machine.need(programs)
    facts = machine.describe()
    folder = tempfile.mkdtemp(prefix="keygate-bench-")
    stop = []
    try:
        contenders, runs, siblings = measure(options, folder, stop)
    finally:
        for process in reversed(stop):
            process.stop()
        shutil.rmtree(folder, ignore_errors=True)
        lock.close()

    facts.update({contender.name: contender.version for contender in contenders})
    rows = summarise(runs, contenders)
    print(f"{facts['processor']}, {facts['cores']} cores, Linux {facts['kernel']}; {', '.join(c.version for c in contenders)}")
    print(f"medians (least..most) of {options.rounds} rounds of {options.seconds} s; nginx: JSON log {options.nginx_log}, bodies {options.nginx_body}; ratios within a round")
    print()
    print(table(rows))
    warnings = doubts(runs, siblings)
    for warning in warnings:
        print(f"\ndoubt: {warning}")
    if options.json:
        settings = {name: value for name, value in vars(options).items() if name != "json"}
        with open(options.json, "w") as file:
            json.dump({"machine": facts, "settings": settings, "doubts": warnings, "medians": rows, "runs": runs}, file, indent=1)
            file.write("\n")


if __name__ == "__main__":
    try:
        main()
    except Failed as failure:
        say(f"benches/run peers: {failure}")
        sys.exit(1)
