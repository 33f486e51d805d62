"""Signing in by the word of an OpenID provider that is not ours, by HTTP and in Chromium. Forged words are tried in Rust."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.parse
from unittest import TestCase

import browser
from gateway import PATIENCE_S, Lines, binary, folder
from pages import ask

ANN, BOB, CAT = "ann@acme.example", "bob@acme.example", "cat@acme.example"
PEOPLE = (
    {"sub": "ann", "email": ANN, "email_verified": True},
    # Whoever can write any address into their account would be Ann.
    {"sub": "mallory", "email": ANN, "email_verified": False},
    {"sub": "silent", "email": ANN},
    {"sub": "stranger", "email": "stranger@elsewhere.example", "email_verified": True},
    {"sub": "bob", "email": BOB, "email_verified": True},
)
CONFIG = """
[listen]
address = "127.0.0.1:0"
workers = 1
[admin]
address = "127.0.0.1:0"
[control]
address = "127.0.0.1:0"
sign_in_attempts = 1000
[control.oidc]
issuer = "{issuer}"
client_id = "keygate"
client_secret = "not so secret"
org = "acme"
[store]
data_dir = "{data}"
[upstreams.default]
url = "http://127.0.0.1:9"
"""


class Provider:
    """The provider, on a port of its own; to a browser another site than the pages."""

    def __init__(self):
        people = [word for person in PEOPLE for word in ("--user-claims", json.dumps(person))]
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-u", "-m", "oidc_provider_mock", "--port", "0", "--require-nonce", "true", *people],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        self._lines = Lines(self._process.stdout)
        running = re.compile(r"http://[^\s:]+:(\d+)")
        try:
            found = self._lines.wait(lambda lines: next(filter(None, map(running.search, lines)), None), "port of the provider")
        except BaseException:
            self.close()
            raise
        self.issuer = f"http://localhost:{found[1]}"

    def close(self):
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(PATIENCE_S)
        self._lines.close()


class Pages:
    """keygate with that provider, and an org of two people of which one is disabled."""

    def __init__(self, issuer):
        home = folder("oidc")
        self._config = os.path.join(home, "keygate.toml")
        with open(self._config, "w") as file:
            file.write(CONFIG.format(issuer=issuer, data=os.path.join(home, "data")))
        # What keygate is called by the tests is no setting of its own.
        self._env = {name: value for name, value in os.environ.items() if not name.startswith("KEYGATE_")}
        self._process = subprocess.Popen(
            [binary(), "serve", "--config", self._config],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self._env,
        )
        self._lines = Lines(self._process.stdout)
        try:
            self._lines.wait(lambda lines: any("serving on" in line for line in lines), "line that says that it serves")
            # Its answer has the address of the pages.
            link = self.cli("init", "--org", "acme", "--user", ANN)["link"]["url"]
            self.address = urllib.parse.urlsplit(link).netloc
            for person, role in ((BOB, "admin"), (CAT, "standard")):
                self.cli("users", "create", "--org", "acme", "--email", person, "--role", role)
            self.cli("users", "disable", BOB)
        except BaseException:
            self.close()
            raise

    def cli(self, *args):
        done = subprocess.run(
            [binary(), *args, "--config", self._config, "--output", "json"],
            capture_output=True, text=True, timeout=PATIENCE_S, env=self._env,
        )
        if done.returncode != 0:
            raise AssertionError(f"keygate {' '.join(args)} exited {done.returncode}: {done.stderr}{done.stdout}")
        return json.loads(done.stdout) if done.stdout.strip() else None

    def close(self):
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(PATIENCE_S)
        self._lines.close()


class Person:
    """A browser without a script that follows no redirect by itself."""

    def __init__(self):
        self.cookies = {}

    def request(self, method, url, form=None):
        """(status, where it leads or None, text)"""
        parts = urllib.parse.urlsplit(url)
        own = self.cookies.setdefault(parts.netloc, {})
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        answer, text = ask(parts.netloc, method, target, own, form)
        to = answer.headers.get("Location")
        return answer.status, urllib.parse.urljoin(url, to) if to else None, text


class OidcCase(TestCase):
    @classmethod
    def setUpClass(cls):
        cls.provider = Provider()
        cls.addClassCleanup(cls.provider.close)
        cls.pages = Pages(cls.provider.issuer)
        cls.addClassCleanup(cls.pages.close)
        cls.url = f"http://{cls.pages.address}"

    def there(self, person, next_page="/account"):
        """Leads somebody to the provider; the address they are led to."""
        status, to, text = person.request("GET", f"{self.url}/oidc/start?next={urllib.parse.quote(next_page)}")
        self.assertEqual(status, 303, text)
        self.assertTrue(to.startswith(self.provider.issuer), to)
        return to

    def back(self, person, there, sub):
        """Has the provider vouch for somebody; the address they come back to."""
        status, to, text = person.request("POST", there, {"sub": sub})
        self.assertEqual(status, 302, text)
        self.assertTrue(to.startswith(f"{self.url}/oidc/callback?"), to)
        return to

    def is_in(self, person):
        return person.request("GET", f"{self.url}/account")[0] == 200

    def test_who_is_known_here_and_vouched_for_is_in(self):
        person = Person()
        self.assertIn("/oidc/start", person.request("GET", f"{self.url}/sign-in")[2])
        there = self.there(person)
        asked = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(there).query))
        self.assertEqual((asked["response_type"], asked["code_challenge_method"]), ("code", "S256"))
        self.assertTrue({"openid", "email"} <= set(asked["scope"].split()))
        self.assertTrue(all(len(asked[name]) >= 20 for name in ("state", "nonce", "code_challenge")))
        callback = self.back(person, there, "ann")
        status, to, text = person.request("GET", callback)
        self.assertEqual((status, to), (303, f"{self.url}/account"), text)
        self.assertIn(ANN, person.request("GET", to)[2])
        self.assertNotIn("keygate_oidc", person.cookies[self.pages.address])
        # The same answer once more opens nothing, in this browser or another.
        for other in (person, Person()):
            self.assertEqual(other.request("GET", callback)[0], 403)

    def test_who_is_not_vouched_for_or_not_known_is_not_in(self):
        tries = {
            "mallory": "not verified", "silent": "not verified", "stranger": "no active user", "bob": "no active user",
        }
        for sub, why in tries.items():
            with self.subTest(sub):
                person = Person()
                status, _, text = person.request("GET", self.back(person, self.there(person), sub))
                self.assertEqual(status, 403)
                self.assertIn(why, text)
                self.assertFalse(self.is_in(person))

    def test_an_answer_to_another_question_opens_nothing(self):
        ann, victim = Person(), Person()
        anns = self.back(ann, self.there(ann), "ann")
        # The attacker's answer in the victim's browser: without a question, and with one of its own.
        self.assertEqual(victim.request("GET", anns)[0], 403)
        self.there(victim)
        self.assertEqual(victim.request("GET", anns)[0], 403)
        self.assertFalse(self.is_in(victim))

        person = Person()
        callback = self.back(person, self.there(person), "ann")
        kept = person.cookies[self.pages.address]["keygate_oidc"]
        for changed in (kept[:-1] + ("0" if kept[-1] != "0" else "1"), "x" + kept, kept.replace(".", "..", 1), "", "a.b.c"):
            with self.subTest(changed):
                person.cookies[self.pages.address]["keygate_oidc"] = changed
                self.assertEqual(person.request("GET", callback)[0], 403)
                self.assertFalse(self.is_in(person))
        for junk in ("", "?", "?code=x", "?state=x&error=access_denied", "?code=%ff&state=%ff"):
            with self.subTest(junk):
                self.assertEqual(Person().request("GET", f"{self.url}/oidc/callback{junk}")[0], 403)

    def test_a_provider_that_says_no_is_told_as_such(self):
        person = Person()
        there = self.there(person)
        state = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(there).query))["state"]
        query = urllib.parse.urlencode({"error": "access_denied", "error_description": "<script>", "state": state})
        status, _, text = person.request("GET", f"{self.url}/oidc/callback?{query}")
        self.assertEqual(status, 403)
        self.assertIn("the provider said no", text)
        self.assertNotIn("<script>", text.replace('<script src="/assets', ""))

    def test_it_leads_to_no_other_host(self):
        for next_page in ("//evil.example", "https://evil.example", "/\\evil.example", "/sign-out"):
            with self.subTest(next_page):
                person = Person()
                status, to, _ = person.request("GET", self.back(person, self.there(person, next_page), "ann"))
                self.assertEqual((status, to), (303, f"{self.url}/"))

    def test_chromium_comes_back_from_another_site_and_is_in(self):
        chromium = browser.Browser()
        self.addCleanup(chromium.close)
        chromium.go(f"{self.url}/sign-in?next=/account")
        self.assertTrue(chromium.run("document.querySelector('a[href^=\"/oidc/start\"]').click(); return true;"))
        self.until(chromium, "location.host !== args[0]", self.pages.address)
        chromium.run(
            "const form = document.createElement('form'); form.method = 'post'; form.action = location.href;"
            "const field = document.createElement('input'); field.name = 'sub'; field.value = 'ann';"
            "form.append(field); document.body.append(form); form.submit();"
        )
        self.until(chromium, "location.host === args[0] && location.pathname === '/account'", self.pages.address)
        self.assertIn(ANN, chromium.run("return document.body.textContent"))

    def until(self, chromium, holds, *args):
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            try:
                if chromium.run(f"return {holds};", *args):
                    return
            except AssertionError:
                pass  # Between two pages.
            time.sleep(0.05)
        self.fail(f"waited {PATIENCE_S:.0f} s for {holds}: {chromium.run('return location.href + document.body.innerText')}")
