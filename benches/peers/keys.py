"""The keys that every contender holds: a keygate store with so many of them, and the secrets to ask with. It starts no contender."""

import concurrent.futures
import http.client
import json
import os
import random
import shutil
import socket
import subprocess
import threading
from contextlib import ExitStack

import machine
import stage
from machine import Failed, Process, ask, say, wait_for
from peers.contenders import fill_in

# Beyond this they are made in a Redis, in bulk, and moved into the file: the server confirms each change by itself, a thousand a second.
ONE_BY_ONE_MAX = 50_000
WRITERS = 16


class Store:
    """A data folder with keys in it that nobody uses, and the secrets: `keys` are all that the peers are given, `asked` those that are asked for."""

    def __init__(self, binary, data, keys, asked):
        self.binary, self.data, self.keys, self.asked = binary, data, keys, asked

    def copy(self, folder):
        os.makedirs(folder, mode=0o700)
        if self.data:
            shutil.copytree(self.data, f"{folder}/data", ignore=shutil.ignore_patterns("*.sock"))


def some_keys(many):
    return [f"{random.getrandbits(128):032x}" for _ in range(many)]


def make(options, folder, many, cores, stop):
    """A store with `many` keys; without keygate among the contenders only the secrets."""
    if not any(name.startswith("keygate") for name in options.contenders):
        keys = some_keys(many)
        return Store(None, None, keys, keys)
    binary = os.path.abspath(options.keygate) if options.keygate else machine.build_keygate()
    say(f"making {many:,} keys")
    os.makedirs(f"{folder}/filled", mode=0o700)
    return (in_bulk if many > ONE_BY_ONE_MAX else one_by_one)(options, binary, f"{folder}/filled", many, cores, stop)


def first_key(binary, data):
    """Makes a store with one org in it; its API key's secret."""
    command = [binary, "init", "--org", "bench", "--user", "bench@example.com", "--data-dir", data, "--output", "json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    if done.returncode:
        raise Failed(f"`keygate init` ended with {done.returncode}: {done.stderr.strip()}")
    return json.loads(done.stdout)["api_key"]["secret"]


class _Control(http.client.HTTPConnection):
    """A connection to a server's control socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def one_by_one(options, binary, folder, many, cores, stop):
    """One org with one API key for each, made through the running server, as an operator would."""
    admin = machine.free_port()
    os.mkdir(f"{folder}/data", 0o700)
    words = {"DIR": folder, "PORT": machine.free_port(), "ADMIN": admin, "UPSTREAM": "127.0.0.1:1", "SINK": "off"}
    config = fill_in("keygate.toml", f"{folder}/keygate.toml", words)
    keys = [first_key(binary, f"{folder}/data")]
    process = Process("keygate", [binary, "serve", "-c", config], cores, f"{folder}/error.log")
    stop.append(process)
    wait_for("keygate to be ready", lambda: ask(f"127.0.0.1:{admin}", "GET", "/readyz")[0] == 200, 20, process)
    stopped = threading.Event()

    def create(numbers):
        made = []
        connection = _Control(f"{folder}/data/control.sock")
        for number in numbers:
            if stopped.is_set():
                break
            body = json.dumps({"op": "create_org", "name": f"bench-{number}"})
            connection.request("POST", "/v1", body, {"Content-Type": "application/json"})
            reply = connection.getresponse()
            text = reply.read()
            if reply.status != 200:
                raise Failed(f"keygate made no org: {reply.status} {text[:200]!r}")
            made.append(json.loads(text)["org"]["api_key"]["secret"])
        connection.close()
        return made

    with ExitStack() as stack:
        pool = stack.enter_context(concurrent.futures.ThreadPoolExecutor(WRITERS))
        # Runs before the pool waits for its threads.
        stack.callback(stopped.set)
        for made in pool.map(create, [range(first, many - 1, WRITERS) for first in range(WRITERS)]):
            keys += made
    process.stop()
    stop.remove(process)
    return Store(binary, f"{folder}/data", keys, keys)


def in_bulk(options, binary, folder, many, cores, stop):
    """`many` keys of all kinds, five to an org, by the filler of `benches/run fleet`. Those asked for are one API key of each org;
    the peers are given as many others besides as keygate holds."""
    clients = os.path.abspath(options.clients) if options.clients else machine.build(["--bench", "fleet_clients"], "fleet_clients")
    machine.need({"redis-server": "redis-server"})
    redis = stage.Redis(folder, "redis", cores, stop)
    redis.start()
    node = stage.Node("node", folder, stage.root_key(), redis.address, "127.0.0.1:1", cores, binary, stop)
    secrets = f"{folder}/secrets"
    words = ["fill", "-c", node.config, "--keys", str(many), "--secrets", secrets, "--give", str(many)]
    filled = stage.run(clients, words, cores, f"{folder}/fill.log")
    copied, complaint = node.says("store", "migrate", "--to-file", seconds=stage.SAY_SECONDS_MAX)
    if complaint or not copied or copied["faults"] or filled["keys"] < many:
        raise Failed(f"the store was not filled: {filled}, {copied}, {complaint}")
    redis.kill()
    os.mkdir(f"{folder}/data", 0o700)
    for name in ("keygate.redb", "root.key"):
        os.rename(f"{node.folder}/{name}", f"{folder}/data/{name}")
    with open(secrets) as file:
        asked = [line.split()[1] for line in file]
    return Store(binary, f"{folder}/data", asked + some_keys(filled["keys"] - len(asked)), asked)
