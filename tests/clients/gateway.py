"""A running `keygate demo` and what a test asks of it: management commands and the records of what arrived. No tests here."""

import atexit
import http.client
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from contextlib import contextmanager
from unittest import TestCase

PATIENCE_S = 15.0  # How long anything may take before the test that waits for it fails.


def binary():
    """The program under test, as tests/run names it."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return os.environ.get("KEYGATE_BIN") or os.path.join(root, "target", "debug", "keygate")


def folder(what):
    """A new temporary folder, gone at the end at the latest."""
    made = tempfile.mkdtemp(prefix=f"keygate-{what}-")
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


class Lines:
    """What a program prints, kept as it comes, for tests that wait until a line is there."""

    def __init__(self, stream, stderr=lambda: ""):
        self._stderr = stderr
        self.all = []
        self.ended = False
        self._news = threading.Condition()
        self._stream = stream
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self._stream:
            with self._news:
                self.all.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self.ended = True
            self._news.notify_all()

    def wait(self, find, what, patience_s=PATIENCE_S):
        """The first truthy `find(lines)`; an AssertionError that shows the lines when none comes in time."""
        deadline = time.monotonic() + patience_s
        with self._news:
            while True:
                found = find(self.all)
                if found:
                    return found
                left = deadline - time.monotonic()
                if left <= 0 or self.ended:
                    why = "the program ended" if self.ended else f"waited {patience_s:.0f} s"
                    tail = "\n  ".join(self.all[-12:] + self._stderr().splitlines()[-12:])
                    raise AssertionError(f"no {what} ({why}); what it said last:\n  {tail}")
                self._news.wait(left)

    def close(self):
        self._reader.join(PATIENCE_S)
        self._stream.close()


class Demo:
    """One `keygate demo` process. `output="text"` gives the program as a person sees it."""

    def __init__(self, *args, output="json", data_dir=None):
        # A folder for all that it calls temporary, so that leftovers show.
        self.tmp = folder("demo")
        self.stderr_path = os.path.join(self.tmp, "stderr")
        self.tmpdir = os.path.join(self.tmp, "tmp")
        os.mkdir(self.tmpdir)
        command = [binary(), "demo", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--control", "127.0.0.1:0", *args]
        if data_dir:
            command += ["--data-dir", data_dir]
        if output != "text":
            command += ["--output", output]
        with open(self.stderr_path, "w") as stderr:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, text=True,
                env={**os.environ, "TMPDIR": self.tmpdir},
            )
        # Also when the tests are cut short, nothing that they started may go on.
        atexit.register(self.close)
        self.lines = Lines(self.process.stdout, self.stderr)

    def stderr(self):
        with open(self.stderr_path) as file:
            return file.read()

    def interrupt(self):
        """Ctrl-C; the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(PATIENCE_S)

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.lines.close()
        shutil.rmtree(self.tmp, ignore_errors=True)


class Gateway:
    """A demo with `--output json`: its address, its three secrets, its records, its commands."""

    def __init__(self, *args, data_dir=None):
        self._own_dir = None if data_dir else folder("store")
        self.data_dir = data_dir or self._own_dir
        self.demo = Demo(*args, data_dir=self.data_dir)
        try:
            first = self.demo.lines.wait(lambda lines: lines[:1], "first line of keygate demo")[0]
            self.hello = json.loads(first)
        except BaseException:
            self.close()
            raise
        self.address = self.hello["address"]
        self.url = f"http://{self.address}"
        self.pages = f"http://{self.hello['control']}"
        self.org_id = self.hello["org_id"]
        self.user_id = self.hello["user_id"]
        self.api_key = self.hello["api_key"]
        self.application_key = self.hello["application_key"]
        self.client_token = self.hello["client_token"]
        # Every secret that went through, to look for where none may be.
        self.secrets = {self.api_key, self.application_key, self.client_token}
        self.api_key_id = self._id_of("keys", self.api_key)
        self.application_key_id = self._id_of("apps", self.application_key)
        self.client_token_id = self._id_of("tokens", self.client_token)

    def close(self):
        self.demo.close()
        if self._own_dir:
            shutil.rmtree(self._own_dir, ignore_errors=True)

    # -- commands

    def run(self, *args, stdin=""):
        """One management command, as a CompletedProcess."""
        return subprocess.run(
            [binary(), *args, "--data-dir", self.data_dir, "--output", "json"],
            input=stdin, capture_output=True, text=True, timeout=PATIENCE_S,
        )

    def cli(self, *args, stdin=""):
        """What the management command printed, which must succeed."""
        done = self.run(*args, stdin=stdin)
        if done.returncode != 0:
            raise AssertionError(f"keygate {' '.join(args)} exited {done.returncode}: {done.stderr}{done.stdout}")
        made = json.loads(done.stdout) if done.stdout.strip() else None
        if isinstance(made, dict) and made.get("secret"):
            self.secrets.add(made["secret"])
        return made

    def _id_of(self, noun, secret):
        listed = self.cli(noun, "list", "--org", self.org_id)
        ids = [key["id"] for key in listed if key["last4"] == secret[-4:]]
        if len(ids) != 1:
            raise AssertionError(f"`{noun} list` does not show the key of the demo: {listed}")
        return ids[0]

    def new_org(self, name):
        """An org beside the one of the demo, with an API key whose secret we know."""
        org = self.cli("orgs", "create", name)
        return org["id"], self.cli("keys", "create", "--org", org["id"], "--name", "agents")

    def new_user(self, org_id, email, role="standard"):
        """A user and an application key of theirs."""
        user = self.cli("users", "create", "--org", org_id, "--email", email, "--role", role)
        return user["id"], self.cli("apps", "create", "--owner", user["id"], "--name", "scripts")

    # -- requests and records

    def mark(self):
        """The place in the records from which on a test looks for its own."""
        return len(self.demo.lines.all)

    def records(self, mark, find, count):
        """The first `count` records after `mark` for which `find` is true."""

        def look(lines):
            found = [record for record in map(json.loads, lines[max(mark, 1):]) if find(record)]
            return found[:count] if len(found) >= count else None

        return self.demo.lines.wait(look, f"{count} records")

    def record(self, mark, find):
        """The first record after `mark` for which `find` is true."""
        return self.records(mark, find, 1)[0]

    def request(self, method, target, headers=None, body=None):
        """A request as written here, nothing added by a client library: (status, headers, body)."""
        connection = http.client.HTTPConnection(self.address, timeout=PATIENCE_S)
        try:
            connection.request(method, target, body=body, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()


_shared = None


def shared():
    """The one gateway of all tests that leave the demo's org as it was."""
    global _shared
    if _shared is None:
        _shared = Gateway()
    return _shared


class GatewayCase(TestCase):
    """A test with a gateway. A class that needs its own sets `gateway` in its setUpClass."""

    gateway = None

    @classmethod
    def setUpClass(cls):
        if cls.gateway is None:
            cls.gateway = shared()
        g = cls.gateway
        # What the record of an allowed request says, by what the request presented.
        cls.by_api_key = {
            "auth.decision": "allowed", "auth.kind": "api_key", "org.id": g.org_id, "auth.key_id": g.api_key_id, "user.id": None,
        }
        cls.by_pair = {
            "auth.decision": "allowed", "auth.kind": "pair", "org.id": g.org_id, "auth.key_id": g.api_key_id,
            "auth.app_key_id": g.application_key_id, "user.id": g.user_id,
        }
        cls.by_client_token = {
            "auth.decision": "allowed", "auth.kind": "client_token", "org.id": g.org_id, "auth.key_id": g.client_token_id,
            "user.id": None,
        }

    @contextmanager
    def recorded(self, path, expected, method=None):
        """What is sent inside leaves a record of `path` that says `expected` (None: the record is silent about it).

        Every request of every test goes through here: a record may come a moment after its answer, and one that nobody
        waited for would be taken for that of the next test.
        """
        mark = self.gateway.mark()
        yield
        record = self.gateway.record(
            mark, lambda r: r.get("url.path") == path and method in (None, r.get("http.request.method"))
        )
        self.assertEqual({field: record.get(field) for field in expected}, expected, f"in the record {record}")
