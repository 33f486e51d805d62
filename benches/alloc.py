"""benches/run alloc: what a request costs that can be counted: instructions and allocations. It measures no time."""

import glob
import itertools
import json
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile

import machine
from callgrind import Profile
from machine import Failed, Process, ask, say, wait_for
from peers.contenders import fill_in
from peers.keys import first_key

# The most that `--check`, and with it tests/run, allows of each figure for a request: what was measured (x86-64, Rust 1.95) and 3 %,
# of allocations a half. All threads together; instructions without those of SHA-256, for which see benches/README.md.
FIGURES = ("instructions", "sha256_instructions", "allocations", "bytes")
LIMITS = {
    "GET": (46_500, 3_480, 14.5, 18_800),
    "POST 1 KiB": (55_000, 3_480, 15.5, 19_050),
    "wrong key": (20_250, 3_480, 7.5, 9_700),
    "POST 64 KiB": (60_200, 3_480, 18.5, 145_750),
}

CONNECTIONS = 16
# Enough to fill the pool of upstream connections and to have every buffer at its size.
WARM_ROUNDS = 30
# What mimalloc is asked by; one that grows memory counts like one that gives it.
ALLOCATING = ("mi_malloc_aligned", "mi_zalloc_aligned", "mi_realloc_aligned")
SOFTWARE_SHA256 = "sha2::sha256::"
# On some processors the C library copies by an instruction that valgrind counts once for each byte. Never, here.
ONE_WAY_TO_COPY = "GLIBC_TUNABLES=glibc.cpu.x86_rep_movsb_threshold=1073741824:glibc.cpu.x86_rep_stosb_threshold=1073741824"


# The load --------------------------------------------------------------------------------------------------------------


class Load:
    """Requests of one kind, and the status and the body that each of them gets."""

    def __init__(self, name, method, path, size, keys, status, reaches):
        self.name, self.status, self.reaches = name, status, reaches
        body = b'{"series":[' + b" " * (size - 13) + b"]}" if size else b""
        head = f"{method} {path} HTTP/1.1\r\nHost: bench\r\nUser-Agent: keygate-bench\r\n"
        if size:
            head += f"Content-Type: application/json\r\nContent-Length: {size}\r\n"
        self.requests = itertools.cycle([f"{head}DD-API-KEY: {key}\r\n\r\n".encode() + body for key in keys])


def loads(key):
    chance = random.Random(1)
    wrong = [f"{chance.getrandbits(128):032x}" for _ in range(1000)]
    return [
        Load("GET", "GET", "/bench", 0, [key], 200, True),
        Load("POST 1 KiB", "POST", "/api/v2/series", 1024, [key], 200, True),
        Load("wrong key", "GET", "/bench", 0, wrong, 403, False),
        Load("POST 64 KiB", "POST", "/api/v2/logs", 65536, [key], 200, True),
    ]


class Clients:
    """Connections that are kept. A round sends one request on each of them before it reads the first answer."""

    def __init__(self, address):
        host, _, port = address.partition(":")
        self.connections = [socket.create_connection((host, int(port)), timeout=60) for _ in range(CONNECTIONS)]
        for connection in self.connections:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, load, rounds):
        for _ in range(rounds):
            for connection in self.connections:
                connection.sendall(next(load.requests))
            for connection in self.connections:
                answer = _answer(connection)
                if not answer.startswith(b"HTTP/1.1 %d " % load.status):
                    raise Failed(f"{load.name}: not {load.status}: {answer[:300]!r}")

    def close(self):
        for connection in self.connections:
            connection.close()


def _answer(connection):
    answer, length = b"", None
    while length is None or len(answer) < length:
        part = connection.recv(65536)
        if not part:
            raise Failed(f"a connection was closed after {answer[:300]!r}")
        answer += part
        head, end, _ = answer.partition(b"\r\n\r\n")
        if end:
            said = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
            if not said:
                raise Failed(f"an answer without a length: {head!r}")
            length = len(head) + 4 + int(said.group(1))
    return answer


# The gateway -----------------------------------------------------------------------------------------------------------


class Gateway:
    """A gateway on a data folder of its own, started by `command` with its configuration's path at the end."""

    def __init__(self, name, command, keygate, upstream, scratch, stop, sink="file", **pipes):
        self.folder = f"{scratch}/{name}"
        os.makedirs(f"{self.folder}/data", 0o700)
        port, admin = machine.free_port(), machine.free_port()
        words = {"DIR": self.folder, "PORT": port, "ADMIN": admin, "UPSTREAM": upstream, "SINK": sink}
        config = fill_in("keygate.toml", f"{self.folder}/keygate.toml", words)
        self.key = first_key(keygate, f"{self.folder}/data")
        cores = ",".join(str(core) for core in sorted(os.sched_getaffinity(0)))
        self.process = Process(name, [*command, config], cores, f"{self.folder}/errors", **pipes)
        stop.append(self.process)
        wait_for(f"{name} to be ready", lambda: ask(f"127.0.0.1:{admin}", "GET", "/readyz")[0] == 200, 120, self.process)
        self.address, self.sink, self.upstream = f"127.0.0.1:{port}", sink, upstream

    def records(self):
        with open(f"{self.folder}/record.log", "rb") as file:
            return sum(1 for _ in file)


def drive(gateway, rounds, times, mark):
    """Every load so many times, and `mark(load, number)` after each; number 0 is for what went before."""
    clients = Clients(gateway.address)
    sent = reached = 0
    for load in loads(gateway.key):
        for number in range(times + 1):
            many = WARM_ROUNDS if number == 0 else rounds
            clients.send(load, many)
            sent += many * CONNECTIONS
            reached += many * CONNECTIONS * load.reaches
            if gateway.sink == "file":
                wait_for("the records", lambda: gateway.records() == sent, 20, gateway.process)
            mark(load, number)
    clients.close()
    return reached


# Instructions ----------------------------------------------------------------------------------------------------------


def instructions(options, keygate, upstream, scratch, stop):
    """{load: {figure: [each time]}} of the release binary, and {load: {worker or others: profile}} of the last time."""
    folder = f"{scratch}/dumps"
    os.mkdir(folder)
    command = ["env", ONE_WAY_TO_COPY, "valgrind", "--tool=callgrind", "--separate-threads=yes"]
    command += [f"--callgrind-out-file={folder}/callgrind.out"]
    gateway = Gateway("keygate-in-valgrind", [*command, keygate, "serve", "-c"], keygate, upstream, scratch, stop)
    version = machine.first_line(["valgrind", "--version"])
    say(f"counting instructions ({version})")
    found, profiles, worker, part = {}, {}, None, 0
    requests = options.rounds * CONNECTIONS

    def mark(load, number):
        nonlocal part, worker
        part += 1
        done = subprocess.run(
            ["vgdb", f"--pid={gateway.process.pid}", "dump", f"{load.name}, {number}"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False,
        )  # fmt: skip
        dumps = {path.rpartition("-")[2]: path for path in glob.glob(f"{folder}/callgrind.out.{part}-*")}
        if done.returncode or not dumps:
            raise Failed(f"valgrind wrote no dump: {done.stdout.strip()}")
        if number == 0:
            return
        threads = {thread: Profile(path) for thread, path in dumps.items()}
        # One worker, so it is the thread that does most.
        worker = worker or max(threads, key=lambda thread: threads[thread].total)
        both = {"worker": threads[worker], "others": Profile(*(path for thread, path in dumps.items() if thread != worker))}
        profiles[load.name] = both
        sha256 = sum(profile.own_of(SOFTWARE_SHA256) for profile in both.values())
        row = {
            "instructions": both["worker"].total + both["others"].total - sha256,
            "sha256_instructions": sha256,
            "worker_instructions": both["worker"].total - both["worker"].own_of(SOFTWARE_SHA256),
            "release_allocations": sum(profile.calls_of(ALLOCATING) for profile in both.values()),
            "release_worker_allocations": both["worker"].calls_of(ALLOCATING),
        }
        for figure, count in row.items():
            found.setdefault(load.name, {}).setdefault(figure, []).append(count / requests)

    seen_before = seen(upstream)
    reached = drive(gateway, options.rounds, options.times, mark)
    gateway.process.stop()
    check_upstream(upstream, seen_before, reached)
    if options.dumps:
        shutil.copytree(folder, options.dumps, dirs_exist_ok=True)
    return found, profiles


def seen(upstream):
    return json.loads(ask(upstream, "GET", "/__counts")[2])["requests"]


def check_upstream(upstream, before, reached):
    got = seen(upstream) - before
    if got != reached:
        raise Failed(f"the upstream saw {got} requests instead of {reached}")


# Allocations -----------------------------------------------------------------------------------------------------------


def allocations(options, keygate, counting, upstream, scratch, stop):
    """{load: {figure: [each time]}}: without a record's writer what the worker does, then with it."""
    found = {}
    requests = options.rounds * CONNECTIONS
    for sink, prefix in (("off", "worker_"), ("file", "")):
        say(f"counting allocations, record {sink}")
        pipe = subprocess.PIPE
        gateway = Gateway(f"allocations-{sink}", [counting], keygate, upstream, scratch, stop, sink, stdin=pipe, stdout=pipe)

        def mark(load, number, child=gateway.process.child, prefix=prefix):
            child.stdin.write(b"%s, %d\n" % (load.name.encode(), number))
            child.stdin.flush()
            line = child.stdout.readline()
            if not line:
                raise Failed("the counting gateway says no more")
            if number:
                told = json.loads(line)
                for figure in ("allocations", "bytes"):
                    found.setdefault(load.name, {}).setdefault(prefix + figure, []).append(told[figure] / requests)

        seen_before = seen(upstream)
        reached = drive(gateway, options.rounds, options.times, mark)
        gateway.process.stop()
        check_upstream(upstream, seen_before, reached)
    return found


# What is told ----------------------------------------------------------------------------------------------------------


def least(values):
    """What is done at times of its own (a sweep, an idle thread that looks) only ever adds, so the least is the truest."""
    return min(values)


def table(found):
    def cell(values, digits):
        low, high = min(values), max(values)
        spread = f" (+{100 * (high - low) / low:.1f} %)" if low and high - low > low / 1000 else ""
        return f"{low:,.{digits}f}{spread}"

    columns = [
        ("instructions", "instructions", 0), ("the worker's", "worker_instructions", 0), ("SHA-256 besides", "sha256_instructions", 0),
        ("allocations", "allocations", 2), ("the worker's", "worker_allocations", 2),
        ("bytes", "bytes", 0), ("the worker's", "worker_bytes", 0),
    ]  # fmt: skip
    body = [[name, *(cell(of[figure], digits) for _, figure, digits in columns)] for name, of in found.items()]
    return machine.markdown(["load", *(title for title, _, _ in columns)], body)


def check(found):
    """Prints each figure beside its limit; how many are within it, and how many are not."""
    verdicts = []
    for load, limits in LIMITS.items():
        for figure, limit in zip(FIGURES, limits):
            value = least(found[load][figure])
            verdicts.append(value <= limit)
            print(f"{'ok' if value <= limit else 'FAILED':<6} {load}: {value:,.1f} {figure.replace('_', ' ')}, at most {limit:,}")
    print(f"costs: {verdicts.count(True)} passed, {verdicts.count(False)} failed")
    return all(verdicts)


def doubts(found):
    for name, of in found.items():
        for figure in ("allocations", "worker_allocations"):
            counted, called = least(of[figure]), least(of[f"release_{figure}"])
            if abs(counted - called) > 0.2:
                what = figure.replace("_", " ")
                yield f"{name}: {counted:.2f} {what} were counted, but the release binary called the allocator {called:.2f} times"


# The command -----------------------------------------------------------------------------------------------------------


def parse():
    parser = machine.Parser(prog="benches/run alloc", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few requests, once")
    parser.add_argument("--json", metavar="FILE", help="write every figure there as well")
    parser.add_argument("--keygate", metavar="BINARY", help="count the instructions of this keygate instead of building one")
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--profile", action="store_true", help="print where the instructions of GET and POST 1 KiB go, and count no allocations")
    either.add_argument("--check", action="store_true", help="end with 1 if a figure is over its limit")
    parser.add_argument("--dumps", metavar="FOLDER", help="keep there what callgrind wrote, for callgrind_annotate or KCachegrind")
    options = parser.parse_args()
    options.rounds, options.times = (25, 1) if options.quick else (125, 3)
    return options


def main():
    options = parse()
    machine.stop_on_signals(3600)
    # Counts do not suffer from another load; that one's figures would, from this.
    lock = None if options.check else machine.only_one_load()
    machine.need({"valgrind": "valgrind", "cc": "gcc", "taskset": "util-linux", "setpriv": "util-linux"})
    facts = machine.describe()
    keygate = os.path.abspath(options.keygate) if options.keygate else machine.build_keygate()
    # Not in release: what is allocated is the same, and the libraries need not be built once more.
    counting = None if options.profile else machine.build(["--bench", "allocations"], "allocations", release=False)
    scratch = tempfile.mkdtemp(prefix="keygate-bench-")
    stop = []
    try:
        _, upstream = machine.start_upstream(scratch, min(os.sched_getaffinity(0)), stop)
        found, profiles = instructions(options, keygate, upstream, scratch, stop)
        if counting:
            for name, of in allocations(options, keygate, counting, upstream, scratch, stop).items():
                found[name].update(of)
    finally:
        for process in reversed(stop):
            process.stop()
        shutil.rmtree(scratch, ignore_errors=True)
        if lock:
            lock.close()

    warnings = [] if options.profile else list(doubts(found))
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"machine": facts, "doubts": warnings, "limits": LIMITS, "found": found}, file, indent=1)
            file.write("\n")
    requests = options.rounds * CONNECTIONS
    if options.profile:
        for name in ("GET", "POST 1 KiB"):
            for who, profile in profiles[name].items():
                print(f"\n{name}, {who}: {profile.total / requests:,.0f} instructions for each of {requests} requests, SHA-256 included")
                print(profile.tables(requests))
        return True
    print(f"{facts['processor']}, Linux {facts['kernel']}; for each request, the least of {options.times} times {requests} requests")
    print()
    print(table(found))
    for warning in warnings:
        print(f"\ndoubt: {warning}")
    if options.check:
        print()
        return check(found)
    return True


if __name__ == "__main__":
    try:
        sys.exit(0 if main() else 1)
    except Failed as failure:
        say(f"benches/run alloc: {failure}")
        sys.exit(1)
