"""What the benchmarks need of the machine: packages, cores, pinned processes, their CPU time and memory. It knows no contender."""

import argparse
import fcntl
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TICKS = os.sysconf("SC_CLK_TCK")
# Debian puts nginx into sbin, which is not in every user's PATH.
os.environ["PATH"] += ":/usr/sbin:/sbin"


class Failed(Exception):
    """A benchmark that cannot give a true figure says why and gives none."""


class Parser(argparse.ArgumentParser):
    """Usage errors end with 64, as keygate's own do."""

    def error(self, message):
        self.print_usage(sys.stderr)
        self.exit(64, f"{self.prog}: {message}\n")


def say(text):
    print(text, file=sys.stderr, flush=True)


def stop_on_signals(seconds_max):
    """Ctrl-C, SIGTERM and the time limit all unwind, so that every `finally` stops what it started."""

    def unwind(number, _frame):
        for again in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
            signal.signal(again, signal.SIG_IGN)
        raise Failed(f"stopped by {signal.Signals(number).name}")

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, unwind)
    signal.alarm(seconds_max)


def only_one_load():
    """Two loads at once make both figures worthless; the lock lasts as long as this process."""
    lock = open(os.path.join(tempfile.gettempdir(), "keygate-bench.lock"), "a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise Failed("another benchmark is running on this machine")
    return lock


# What Debian would start on installing: {package: where it says that it runs}.
SERVICES = {"nginx": "/run/nginx.pid", "haproxy": "/run/haproxy.pid"}


def need(programs):
    """Installs the packages of the programs that are missing: {program: package}."""
    packages = sorted({package for program, package in programs.items() if not shutil.which(program)})
    if packages:
        install(packages)


def install(packages):
    """Installs packages of Debian, without starting what is in them."""
    say(f"installing {' '.join(packages)}")
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    # Debian starts a service when it installs it. This file is its own way to say no; one that exists is respected.
    policy = "/usr/sbin/policy-rc.d"
    ours = not os.path.exists(policy)
    ran = {package for package, pid_file in SERVICES.items() if os.path.exists(pid_file)}
    try:
        if ours:
            write = f"printf '#!/bin/sh\\nexit 101\\n' > {policy} && chmod 755 {policy}"
            subprocess.run(sudo + ["sh", "-c", write], check=True)
        quiet = {"stdout": subprocess.DEVNULL, "check": True, "timeout": 600}
        subprocess.run(sudo + ["apt-get", "update", "-qq"], **quiet)
        command = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "-qq", "--no-install-recommends"]
        subprocess.run(sudo + command + packages, **quiet)
    except subprocess.SubprocessError as error:
        raise Failed(f"could not install {' '.join(packages)}: {error}")
    finally:
        if ours:
            subprocess.run(sudo + ["rm", "-f", policy], check=False)
    for package, pid_file in SERVICES.items():
        if package in packages and package not in ran and os.path.exists(pid_file):
            subprocess.run(sudo + ["service", package, "stop"], stdout=subprocess.DEVNULL, check=False)


def cores():
    """(proxy's core, load's core, whether they may be two threads of one core)."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise Failed("two cores are needed: one for the proxy, one for the load")
    proxy = allowed[0]
    try:
        with open(f"/sys/devices/system/cpu/cpu{proxy}/topology/thread_siblings_list") as file:
            siblings = set()
            for part in file.read().strip().split(","):
                first, _, last = part.partition("-")
                siblings.update(range(int(first), int(last or first) + 1))
    except OSError:
        siblings = {proxy}
    apart = [core for core in allowed if core not in siblings]
    return (proxy, apart[-1], False) if apart else (proxy, allowed[-1], True)


def allow_many_files():
    """512 connections on both sides need more than the usual 1,024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    want = 16384 if hard == resource.RLIM_INFINITY else min(16384, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (want, hard))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Process:
    """A server pinned to a core (or to several, "0,1") in a session of its own, so that Ctrl-C reaches us first and we stop it in order."""

    def __init__(self, name, command, core, log, stdout=None, stdin=subprocess.DEVNULL):
        self.name, self.log = name, log
        # setpriv: the server goes when this script is killed without a chance to clean up.
        pinned = ["taskset", "-c", str(core), "setpriv", "--pdeathsig", "TERM", "--"] + command
        with open(log, "ab") as out:
            self.child = subprocess.Popen(
                pinned, stdin=stdin, stdout=stdout or out, stderr=out, start_new_session=True
            )
        self.pid = self.child.pid

    def must_run(self):
        if self.child.poll() is not None:
            with open(self.log, errors="replace") as file:
                tail = file.read()[-2000:]
            raise Failed(f"{self.name} ended with {self.child.returncode}:\n{tail}")

    def stop(self):
        if self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(5)
            except subprocess.TimeoutExpired:
                pass
        self.kill()

    def kill(self):
        """Without a chance to end in order."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.child.wait()

    def signal(self, number):
        os.kill(self.pid, number)

    def pids(self):
        """The process and everything below it: nginx does its work in a child."""
        children = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    children.setdefault(int(_stat(entry)[1]), []).append(int(entry))
                except OSError:
                    continue
        found = [self.pid]
        for pid in found:
            found.extend(children.get(pid, []))
        return found

    def cpu_seconds(self):
        """User and system time. The kernel scales their sum to the scheduler's own count, so 10 ms is its resolution."""
        total = 0
        for pid in self.pids():
            fields = _stat(pid)
            total += int(fields[11]) + int(fields[12])
        return total / TICKS

    def memory_kib(self):
        """(RSS, PSS): what is resident, and the same with shared pages divided among those who share them."""
        sums = {"Rss:": 0, "Pss:": 0}
        for pid in self.pids():
            with open(f"/proc/{pid}/smaps_rollup") as file:
                for line in file:
                    field = line.split()
                    if field[0] in sums:
                        sums[field[0]] += int(field[1])
        return sums["Rss:"], sums["Pss:"]


def _stat(pid):
    """/proc/PID/stat from the state on: the name before it may contain anything."""
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()


def busy_seconds(core):
    """How long a core has not been idle, whoever used it."""
    with open("/proc/stat") as file:
        for line in file:
            field = line.split()
            if field[0] == f"cpu{core}":
                numbers = [int(number) for number in field[1:9]]
                return (sum(numbers) - numbers[3] - numbers[4]) / TICKS
    return 0.0


def wait_for(what, condition, seconds, process=None):
    end = time.monotonic() + seconds
    while True:
        if process:
            process.must_run()
        try:
            if condition():
                return
        except OSError:
            pass
        if time.monotonic() > end:
            raise Failed(f"waited {seconds} s in vain for {what}")
        time.sleep(0.02)


def ask(address, method, path, headers=None, body=None):
    """(status, headers, body) of one request; never by a proxy of the environment."""
    request = urllib.request.Request(f"http://{address}{path}", data=body, headers=headers or {}, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=5) as reply:
            return reply.status, reply.headers, reply.read()
    except urllib.error.HTTPError as reply:
        return reply.code, reply.headers, reply.read()


def first_line(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return (done.stdout.splitlines() or [""])[0].strip()


def describe():
    """What a reader needs to judge the figures. No host name."""
    model = "unknown"
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "kernel": os.uname().release,
        "commit": first_line(["git", "-C", ROOT, "describe", "--always", "--dirty"]),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def build(words, name, release=True):
    """The path of what cargo built under this name, up to date."""
    command = ["cargo", "build", *(["--release"] if release else []), "--locked", *words, "--message-format=json-render-diagnostics"]
    say(f"building {name} ({'release' if release else 'debug'})")
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise Failed(f"{name} does not build")
    for line in done.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == name:
            return message["executable"]
    raise Failed(f"cargo named no {name}")


def build_keygate():
    """The path of the release binary."""
    return build(["--bin", "keygate"], "keygate")


def compile_c(name, folder):
    """The path of benches/NAME.c, compiled into a folder."""
    binary = f"{folder}/{name}"
    if not os.path.exists(binary):
        done = subprocess.run(["cc", "-O2", "-o", binary, os.path.join(ROOT, "benches", f"{name}.c")], check=False)
        if done.returncode:
            raise Failed(f"benches/{name}.c does not compile")
    return binary


def port_from(process):
    """The port that one of our C programs says on its first line."""
    port = process.child.stdout.readline().strip()
    if not port:
        process.child.wait(5)
        process.must_run()
    return int(port)


def start_upstream(folder, core, stop):
    """What stands behind the gateways: cheaper than any of them, so it never is the limit. Its process and its address."""
    process = Process("upstream", [compile_c("upstream", folder)], core, f"{folder}/upstream.log", stdout=subprocess.PIPE)
    stop.append(process)
    return process, f"127.0.0.1:{port_from(process)}"


def markdown(head, body):
    """A table whose columns stand below each other."""
    rows = [[str(text) for text in line] for line in [head, *body]]
    widths = [max(len(line[column]) for line in rows) for column in range(len(head))]
    out = ["| " + " | ".join(text.ljust(width) for text, width in zip(line, widths)) + " |" for line in rows]
    out.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(out)
