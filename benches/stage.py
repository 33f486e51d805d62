"""What `fleet` and `outage` have in common: a Redis of their own, keygate nodes on it, and the Rust half that loads both. No figures."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time

import machine
from machine import Failed, Process, ask, say, wait_for

HERE = os.path.dirname(os.path.abspath(__file__))
SAY_SECONDS_MAX = 900


class Redis:
    """One redis-server with a folder of its own. It outlives its process, which can be killed and started again."""

    def __init__(self, folder, name, core, stop):
        self.name, self.folder, self.core, self.stop = name, f"{folder}/{name}", core, stop
        self.port = machine.free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.process = None
        os.makedirs(f"{self.folder}/data")

    def start(self, appendonly=False):
        """Returns as soon as it answers, with all that is in its folder."""
        words = ["redis-server", "--bind", "127.0.0.1", "--port", str(self.port), "--dir", f"{self.folder}/data", "--save", ""]
        words += ["--appendonly", "yes" if appendonly else "no", "--appendfsync", "everysec", "--repl-diskless-sync-delay", "0"]
        # The benchmark says when, or the rewriting would be in some figures and not in others.
        words += ["--auto-aof-rewrite-percentage", "0"]
        self.process = Process(self.name, words, self.core, f"{self.folder}/log")
        self.stop.append(self.process)
        wait_for(f"{self.name} to answer", self._is_ready, 60, self.process)

    def _is_ready(self):
        try:
            return self("PING") == "PONG"
        except Failed:
            # It is still loading.
            return False

    def kill(self):
        self.process.kill()
        self.stop.remove(self.process)

    def empty(self):
        shutil.rmtree(f"{self.folder}/data")
        os.mkdir(f"{self.folder}/data")

    def copy(self, to):
        """What it has on disk, as of one moment."""
        self.process.signal(signal.SIGSTOP)
        try:
            shutil.copytree(f"{self.folder}/data", to)
        finally:
            self.process.signal(signal.SIGCONT)

    def put(self, copy):
        shutil.rmtree(f"{self.folder}/data")
        shutil.copytree(copy, f"{self.folder}/data")

    def __call__(self, *words):
        """The answer to one command, on a connection of its own."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            parts = [str(word).encode() for word in words]
            connection.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts))
            with connection.makefile("rb") as stream:
                return _answer(stream)

    def info(self):
        """All of INFO, numbers as numbers."""
        found = {}
        for line in self("INFO", "everything").splitlines():
            name, colon, value = line.partition(":")
            if colon:
                try:
                    found[name] = float(value) if "." in value else int(value)
                except ValueError:
                    found[name] = value
        return found

    def keep_on_disk(self):
        """Turns the append-only file on, as deploy/redis.conf has it, after a filling that did not need it."""
        self("CONFIG", "SET", "appendonly", "yes")
        wait_for("the append-only file", lambda: self.info()["aof_rewrite_in_progress"] == 0 and self.info()["aof_rewrite_scheduled"] == 0, 300)

    def replicate(self, master):
        self("REPLICAOF", "127.0.0.1", master.port)
        wait_for("the replica", lambda: self.info()["master_link_status"] == "up", 300)


def _answer(stream):
    line = stream.readline()
    kind, rest = line[:1], line[1:].strip()
    if kind == b"+":
        return rest.decode()
    if kind == b":":
        return int(rest)
    if kind == b"-":
        raise Failed(f"Redis says {rest.decode()}")
    if kind == b"$":
        if int(rest) < 0:
            return None
        return stream.read(int(rest) + 2)[:-2].decode(errors="replace")
    if kind == b"*":
        return [_answer(stream) for _ in range(int(rest))]
    raise ConnectionError("the connection to Redis ended")


class Talker:
    """A part of the Rust half that runs: one object of JSON a line, both ways."""

    def __init__(self, clients, words, core, log, stop):
        pipe = subprocess.PIPE
        self.process = Process(f"fleet_clients {words[0]}", [clients, *words], core, log, stdout=pipe, stdin=pipe)
        stop.append(self.process)
        self.stop = stop

    def hear(self):
        line = self.process.child.stdout.readline()
        if not line:
            self.process.child.wait(30)
            self.process.must_run()
            raise Failed(f"{self.process.name} says no more")
        return json.loads(line)

    def say(self, what, **words):
        self.process.child.stdin.write(json.dumps({"do": what, **words}).encode() + b"\n")
        self.process.child.stdin.flush()
        return self.hear()

    def end(self):
        self.process.child.stdin.close()
        try:
            self.process.child.wait(60)
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.process.name} does not end")
        self.stop.remove(self.process)
        if self.process.child.returncode:
            self.process.must_run()


def run(clients, words, core, log):
    """A part of the Rust half that runs once and says one thing."""
    command = ["taskset", "-c", str(core), clients, *words]
    with open(log, "ab") as errors:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=errors, timeout=SAY_SECONDS_MAX, check=False)
    if done.returncode:
        with open(log, errors="replace") as file:
            raise Failed(f"fleet_clients {words[0]} ended with {done.returncode}:\n{file.read()[-2000:]}")
    return json.loads(done.stdout)


class Node:
    """One keygate: its folder, its configuration, its process."""

    def __init__(self, name, folder, root_key, redis_address, upstream, core, binary, stop, read_from=""):
        self.name, self.folder, self.core, self.binary, self.stop = name, f"{folder}/{name}", core, binary, stop
        self.address = f"127.0.0.1:{machine.free_port()}"
        self.admin = f"127.0.0.1:{machine.free_port()}"
        self.process = None
        os.mkdir(self.folder, 0o700)
        with open(f"{self.folder}/root.key", "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(root_key + "\n")
        words = {"PORT": self.address.split(":")[1], "ADMIN": self.admin.split(":")[1], "DIR": self.folder, "REDIS": redis_address}
        words |= {"READ_FROM": f'"redis://{read_from}"' if read_from else "", "NAME": name, "UPSTREAM": upstream}
        with open(os.path.join(HERE, "fleet", "keygate.toml")) as file:
            text = file.read()
        for word, value in words.items():
            text = text.replace(f"@{word}@", value)
        self.config = f"{self.folder}/keygate.toml"
        with open(self.config, "w") as file:
            file.write(text)

    def start(self):
        self.process = Process(self.name, [self.binary, "serve", "-c", self.config], self.core, f"{self.folder}/log")
        self.stop.append(self.process)

    def wait_ready(self, seconds=120):
        begun = time.monotonic()
        wait_for(f"{self.name} to be ready", lambda: ask(self.admin, "GET", "/readyz")[0] == 200, seconds, self.process)
        return time.monotonic() - begun

    def end(self):
        self.process.stop()
        self.stop.remove(self.process)

    def metric(self, name):
        """A figure of its metrics, or None."""
        try:
            text = ask(self.admin, "GET", "/metrics")[2].decode()
        except OSError:
            return None
        for line in text.splitlines():
            if line.startswith(f"{name} "):
                return float(line.split()[1])
        return None

    def says(self, *words, seconds=120):
        """What a command prints as JSON (or None), and what it complains of."""
        command = [self.binary, *words, "-c", self.config, "--output", "json"]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=seconds, check=False)
        if done.returncode:
            return None, done.stderr.strip() or f"exit {done.returncode}"
        try:
            return json.loads(done.stdout or "null"), ""
        except ValueError:
            return done.stdout.strip(), ""

    def rss_mib(self):
        return self.process.memory_kib()[0] / 1024


def all_cores():
    return ",".join(str(core) for core in sorted(os.sched_getaffinity(0)))


def root_key():
    return secrets.token_hex(32)


def binaries(options):
    """(keygate, its Rust half), built unless they are given."""
    # In this order: building the half builds keygate besides, with what only tests need in its libraries.
    clients = os.path.abspath(options.clients) if options.clients else machine.build(["--bench", "fleet_clients"], "fleet_clients")
    keygate = os.path.abspath(options.keygate) if options.keygate else machine.build_keygate()
    return keygate, clients


def binary_options(parser):
    parser.add_argument("--keygate", metavar="BINARY", help="use this keygate instead of building one")
    parser.add_argument("--clients", metavar="BINARY", help="use this fleet_clients instead of building one")


NEEDS = {"redis-server": "redis-server", "cc": "gcc", "taskset": "util-linux", "setpriv": "util-linux"}


def driver(nodes, secrets_file, rate, folder, clients, core, stop):
    """The load on these nodes: `rate` requests a second to each."""
    plan = {
        "nodes": [{"address": node.address, "control": control(node)} for node in nodes],
        "keys": secrets_file, "rate": rate, "connections": 2,
    }  # fmt: skip
    with open(f"{folder}/plan.json", "w") as file:
        json.dump(plan, file)
    talker = Talker(clients, ["drive", f"{folder}/plan.json"], core, f"{folder}/drive.log", stop)
    talker.hear()
    return talker


def control(node):
    """The node's control socket, in its data folder."""
    return f"{node.folder}/control.sock"


def spread(values, digits=1):
    """Median, and least and most where there is more than one."""
    ordered = sorted(values)
    middle = ordered[len(ordered) // 2] if len(ordered) % 2 else (ordered[len(ordered) // 2 - 1] + ordered[len(ordered) // 2]) / 2
    if len(ordered) == 1:
        return f"{middle:.{digits}f}"
    return f"{middle:.{digits}f} ({ordered[0]:.{digits}f}..{ordered[-1]:.{digits}f})"


def told(text):
    say(f"{time.strftime('%H:%M:%S')}  {text}")
