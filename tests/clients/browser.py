"""Headless Chromium, driven by chromedriver over plain HTTP, and a site of its own that loads the browser SDKs. No tests here."""

import atexit
import http.client
import json
import os
import re
import shutil
import subprocess
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from gateway import PATIENCE_S, Lines, folder

# As root Chromium needs --no-sandbox; the rest keeps it from calling its maker's servers.
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]

# Wraps what the SDK sends with. What the page itself could read of each answer is kept in the page: a blocked answer makes
# fetch reject. That something was sent at all is kept where the next page of the site finds it, since a page may send as it goes.
PAGE = """<!doctype html><meta charset="utf-8"><title>shop</title>
<script>
  const seen = [], waiting = [];
  const note = (it) => { seen.push(it); while (waiting.length) waiting.pop()(); };
  const sent = (it) => { sessionStorage.sent = JSON.stringify([...JSON.parse(sessionStorage.sent || "[]"), it]); };
  const realFetch = window.fetch;
  window.fetch = (...args) => {
    const url = String(args[0] && args[0].url || args[0]);
    sent({ url, by: "fetch" });
    const answer = realFetch.apply(window, args);
    answer.then(async (r) => note({ url, status: r.status, type: r.type, body: await r.clone().text() }),
                (e) => note({ url, blocked: String(e) }));
    return answer;
  };
  const realBeacon = navigator.sendBeacon.bind(navigator);
  navigator.sendBeacon = (url, data) => {
    const queued = realBeacon(url, data);
    if (queued) sent({ url: String(url), by: "beacon" });
    return queued;
  };
  window.answerOf = async (part) => {
    for (;;) {
      const found = seen.find((it) => it.url.includes(part));
      if (found) return found;
      await new Promise((resolve) => waiting.push(resolve));
    }
  };
</script>
<script src="/sdk/%s.js"></script>
"""


class Answering(BaseHTTPRequestHandler):
    """What handlers of sites have in common: a whole answer at once, and no log."""

    def answer(self, kind, body):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Site:
    """What a handler answers, at a port of this machine under this name."""

    def __init__(self, handler, host):
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        Thread(target=self._server.serve_forever, daemon=True).start()
        self.origin = f"http://{host}:{self._server.server_port}"

    def close(self):
        self._server.shutdown()
        self._server.server_close()


class Shop(Site):
    """Pages that load the SDKs at http://localhost: another origin than any gateway's, which are at 127.0.0.1."""

    def __init__(self):
        sdks = os.environ.get("BROWSER_SDKS", "")

        class Handler(Answering):
            def do_GET(self):
                sdk = re.fullmatch(r"/sdk/(v\d+)\.js", self.path)
                page = re.fullmatch(r"/page/(v\d+)", self.path)
                if sdk:
                    with open(os.path.join(sdks, f"browser-logs-{sdk[1]}", "bundle", "datadog-logs.js"), "rb") as file:
                        self.answer("text/javascript", file.read())
                elif page:
                    self.answer("text/html", (PAGE % page[1]).encode())
                else:
                    self.answer("text/html", b"<!doctype html><title>elsewhere</title>")

        super().__init__(Handler, "localhost")


class Browser:
    """One Chromium with one window. `logs` says what chromedriver keeps of what happens in it, to be read with `log`."""

    def __init__(self, logs=None):
        self._profile = folder("chromium")
        self._driver = subprocess.Popen(
            ["chromedriver", "--port=0"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        self._session = None
        atexit.register(self.close)
        self._lines = Lines(self._driver.stdout)
        try:
            started = re.compile(r"started successfully on port (\d+)")
            self._port = self._lines.wait(lambda lines: next(filter(None, map(started.search, lines)), None), "port of chromedriver")[1]
            options = {"binary": shutil.which("chromium"), "args": [*FLAGS, f"--user-data-dir={self._profile}"]}
            wanted = {"browserName": "chrome", "goog:chromeOptions": options, "timeouts": {"script": int(PATIENCE_S * 1000)}}
            if logs:
                wanted["goog:loggingPrefs"] = logs
            self._session = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
        except BaseException:
            self.close()
            raise

    def _call(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", int(self._port), timeout=4 * PATIENCE_S)
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None, {"Content-Type": "application/json"})
            value = json.loads(connection.getresponse().read())["value"]
        finally:
            connection.close()
        if isinstance(value, dict) and "error" in value:
            raise AssertionError(f"chromedriver: {value['error']}: {value['message']}")
        return value

    def ask(self, method, path, body=None):
        """What chromedriver answers to a command of this session."""
        return self._call(method, f"/session/{self._session}{path}", body if body is not None or method != "POST" else {})

    def cdp(self, command, **parameters):
        """What Chromium answers to a command of its own protocol."""
        return self.ask("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def log(self, kind):
        """What was kept since it was last asked for."""
        return self.ask("POST", "/se/log", {"type": kind})

    def go(self, url):
        self.ask("POST", "/url", {"url": url})

    def run(self, script, *args):
        """What `script`, the body of an async function with `args`, returns."""
        wrapped = (
            "const done = arguments[arguments.length - 1];"
            f"(async (...args) => {{ {script} }})(...arguments).then((value) => done({{ value }}), (e) => done({{ threw: String(e) }}));"
        )
        answer = self._call("POST", f"/session/{self._session}/execute/async", {"script": wrapped, "args": list(args)})
        if "threw" in answer:
            raise AssertionError(f"the page threw {answer['threw']}")
        return answer.get("value")

    def close(self):
        session, self._session = self._session, None
        if session:
            self._call("DELETE", f"/session/{session}")
        self._driver.terminate()
        self._driver.wait(PATIENCE_S)
        self._lines.close()
        shutil.rmtree(self._profile, ignore_errors=True)
