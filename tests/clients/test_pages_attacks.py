"""What somebody with bad intentions tries on the pages, in Chromium and by hand: none of it works."""

import json
import re
import urllib.parse
from unittest import TestCase

import gateway
from browser import Answering, Site
from pages import PASSWORD, Person, Visitor

# Breaks out of a text, an attribute, a title and a script, if anything lets it; and would be seen if a template were filled in twice.
HOSTILE = "\"'></title></textarea></script><script>pwned=1</script><img src=x onerror=pwned=1>{{7*7}}"
HOSTILE_LINK = "javascript:pwned=1//\"><svg onload=pwned=1>"


class Elsewhere(Site):
    """A site of somebody else: what it serves is what was last put on it."""

    def __init__(self, host):
        site = self
        self.page = ""

        class Handler(Answering):
            def do_GET(self):
                self.answer("text/html; charset=utf-8", site.page.encode())

        super().__init__(Handler, host)


class AttackCase(TestCase):
    @classmethod
    def setUpClass(cls):
        cls.gateway = gateway.shared()
        cls.origin = cls.gateway.pages
        cls.org, made = cls.gateway.new_org("Target")
        cls.api_key = made["secret"]
        cls.api_key_id = made["id"]
        cls.ann = Person(cls.origin)
        cls.addClassCleanup(cls.ann.close)
        cls.user("ann@target.example", "Ann", "admin")
        cls.ann.go(cls.link("ann@target.example"))
        cls.ann.fill("New password", PASSWORD)
        cls.ann.fill("The same again", PASSWORD)
        cls.ann.press("Set password and sign in")

    @classmethod
    def user(cls, email, name, role="standard", *more):
        return cls.gateway.cli("users", "create", "--org", cls.org, "--email", email, "--name", name, "--role", role, *more)["id"]

    @classmethod
    def link(cls, email):
        users = cls.gateway.cli("users", "list", "--org", cls.org)
        return cls.gateway.cli("users", "link", next(user["id"] for user in users if user["handle"] == email))["url"]

    def keys(self):
        return {key["name"] for key in self.gateway.cli("keys", "list", "--org", self.org)}

    def same_cookies(self):
        """Somebody with the cookies of Ann's browser, who speaks HTTP by hand."""
        visitor = Visitor(self.origin)
        cookies = self.ann.cdp("Network.getCookies", urls=[self.origin])["cookies"]
        visitor.cookies = {cookie["name"]: cookie["value"] for cookie in cookies}
        return visitor

    def setUp(self):
        self.ann.open("/account")
        self.assertEqual(self.ann.here, "/account", "Ann is signed in")
        self.ann.note()
        self.ann.complaints.clear()

    # -- markup in what people enter

    def test_what_people_enter_is_never_markup(self):
        ann = self.ann
        org = self.gateway.cli("orgs", "create", f"Org {HOSTILE}")["id"]
        made = self.gateway.cli("keys", "create", "--org", org, "--name", f"first {HOSTILE}")
        user = self.gateway.cli(
            "users", "create", "--org", org, "--email", "eve@target.example", "--name", f"Eve {HOSTILE}", "--title", HOSTILE, "--role", "admin",
        )
        eve = Person(self.origin)
        self.addCleanup(eve.close)
        eve.set_password(self.gateway.cli("users", "link", user["id"])["url"])
        made_by_page = {}
        for kind, create in (("api-keys", "Create API key"), ("application-keys", "Create Application Key"), ("client-tokens", "Create Client Token")):
            eve.open(f"/{kind}/new")
            # What is refused is shown again.
            for label in ("Allowed addresses", "Allowed origins", "Other scopes"):
                if eve.all(f"//label[starts-with(., '{label}')]"):
                    eve.fill(label, HOSTILE)
            eve.fill("Name", f"{kind} {HOSTILE}")
            once = eve.value("//input[@name='once']")
            eve.js(f"document.querySelector('[name=once]').value = {json.dumps(HOSTILE)}")
            eve.press(create)
            self.is_clean(eve)
            eve.js(f"document.querySelector('[name=once]').value = {json.dumps(once)}")
            for label in ("Allowed addresses", "Allowed origins", "Other scopes"):
                if eve.all(f"//label[starts-with(., '{label}')]"):
                    eve.fill(label, "")
            eve.press(create)
            self.is_clean(eve)
            made_by_page[kind] = eve.value("//*[@id='secret']")
            self.gateway.secrets.add(made_by_page[kind])
        for path, create in (("/users/new", "Create user"), ("/service-accounts/new", "Create service account")):
            eve.open(path)
            eve.fill("Name", f"Mallory {HOSTILE}")
            eve.fill("E-mail", HOSTILE)
            eve.tick("Standard")
            eve.press(create)
            self.is_clean(eve)
            eve.fill("E-mail", "mallory@target.example")
            eve.press(create)
            self.is_clean(eve)
        # Senders have a say in what is shown, too: of a key that is looked at closely.
        self.gateway.cli("keys", "shadow-revoke", made["id"])
        headers = {"DD-API-KEY": made["secret"], "User-Agent": HOSTILE, "X-Forwarded-For": HOSTILE, "X-Request-ID": HOSTILE}
        eve.until(lambda: self.gateway.request("POST", "/api/v2/series", headers, b"{}")[0] == 202, "the key to work")
        eve.until(lambda: (eve.open(f"/usage/api-keys/{made['id']}"), "onerror=pwned" in eve.text)[1], "the sender to be shown")

        query = urllib.parse.urlencode({name: HOSTILE for name in (
            "q", "show", "owner", "sort", "page", "next", "actor", "action", "object", "from", "until", "after", "done", "signed_out", "link",
        )})
        todo = [f"{path}?{query}" for path in (
            "/api-keys", "/application-keys", "/application-keys/new", "/client-tokens", "/users", "/service-accounts", "/audit", "/usage", "/fleet", "/account", f"/api-keys/{made['id']}",
        )]
        hostile_path = urllib.parse.quote(HOSTILE, safe="")
        todo += [f"/api-keys/{hostile_path}", f"/users/{hostile_path}", f"/{hostile_path}", f"/welcome/{hostile_path}", f"/usage/api-keys/{hostile_path}"]
        todo += ["/", "/application-keys", "/client-tokens", "/users", "/service-accounts", "/audit", "/usage"]
        seen = set()
        for path in todo:
            if path in seen or len(seen) > 90:
                continue
            seen.add(path)
            eve.open(path)
            self.is_clean(eve)
            # Every page that leads from here, once; of a list sorted in many ways one is enough.
            for link in eve.js("[...document.links].filter((it) => !it.download).map((it) => it.getAttribute('href'))"):
                self.assertRegex(link, "^(/(?!/)|#)", "a link leads elsewhere")
                if link.startswith("/") and "sort=" not in link and link not in todo:
                    todo.append(link)
        self.assertGreater(len(seen), 50)
        # A stranger sees what the address says.
        eve.forget()
        for path in (f"/sign-in?{query}", f"/welcome/{hostile_path}", f"/oidc/callback?{query}"):
            eve.open(path)
            self.is_clean(eve)
        eve.open("/sign-in")
        eve.fill("Login name", HOSTILE)
        eve.fill("Password", "wrong wrong wrong")
        eve.fill("Org", HOSTILE)
        eve.press("Sign in")
        self.is_clean(eve)
        self.assertEqual(eve.value("//input[@name='handle']"), HOSTILE)
        eve.note()
        # That a date of the filters is none is the browser's remark about what was entered.
        complaints = [said for said in eve.complaints if "does not conform to the required format" not in said]
        self.assertEqual(complaints, [], "the content security policy had to stop something")
        self.assertEqual(eve.hosts, {self.origin})

    def is_clean(self, person):
        """Nothing hostile became an element, an attribute or a link, and nothing ran."""
        found = person.js(
            "[typeof pwned, document.querySelectorAll('script:not([src]), [onerror], [onload], img[src=x], svg[onload], a[href^=javascript]').length,"
            " document.body.innerText.includes('49')]"
        )
        if found[:2] != ["undefined", 0]:
            person.fail(f"markup got in: {found}")

    # -- other sites

    def test_another_site_cannot_use_the_session(self):
        ann = self.ann
        csrf = self.same_cookies().csrf("/api-keys/new")
        forms = {
            "/api-keys/new": {"name": "by another site", "once": "00000000-0000-4000-8000-000000000000", "csrf": csrf},
            f"/api-keys/{self.api_key_id}/shadow": {"shadow": "on", "csrf": csrf},
            "/users/new": {"name": "Mallory", "email": "mallory@evil.example", "role": "admin", "csrf": csrf},
            "/sign-out": {"csrf": csrf},
            "/preferences": {"language": "fr", "theme": "dark", "next": "/"},
        }
        # Of the same site another origin, to which even strict cookies go; and another site.
        for host in ("127.0.0.1", "localhost"):
            evil = Elsewhere(host)
            self.addCleanup(evil.close)
            for path, fields in forms.items():
                with self.subTest(f"{host} {path}"):
                    inputs = "".join(f'<input type="hidden" name="{name}" value="{value}">' for name, value in fields.items())
                    evil.page = f'<!doctype html><title>prizes</title><form method="post" action="{self.origin}{path}">{inputs}<button id="go">Win</button></form>'
                    ann.go(evil.origin)
                    ann.leave(lambda: ann.click(ann.find("//button")))
                    # Without the cookie it is a stranger's form, who is led to the front door.
                    self.assertTrue(ann.here == "/api-keys" or "This form is not from here" in ann.text, ann.text)
                with self.subTest(f"{host} {path} by script"):
                    evil.page = "<!doctype html><title>prizes</title>"
                    ann.go(evil.origin)
                    ann.run(
                        "await fetch(args[0], { method: 'POST', mode: 'no-cors', credentials: 'include', body: new URLSearchParams(args[1]) }).catch(() => 0);",
                        f"{self.origin}{path}", fields,
                    )
            with self.subTest(f"{host} reads nothing"):
                read = ann.run("return await fetch(args[0], { credentials: 'include' }).then((it) => it.text(), () => 'hidden');", f"{self.origin}/account")
                self.assertEqual(read, "hidden")
        ann.open("/account")
        self.assertEqual(ann.here, "/account", "Ann is still signed in")
        self.assertEqual(ann.js("document.documentElement.lang"), "en")
        self.assertNotIn("by another site", self.keys())
        self.assertIsNone(self.gateway.cli("keys", "show", self.api_key_id).get("shadowed_at"))
        self.assertNotIn("mallory@evil.example", [user["handle"] for user in self.gateway.cli("users", "list", "--org", self.org)])

    def test_another_site_cannot_sign_somebody_in_as_somebody_else(self):
        evil = Elsewhere("127.0.0.1")
        self.addCleanup(evil.close)
        self.user("eve@evil.example", "Eve")
        eve = Visitor(self.origin)
        eve.set_password(self.link("eve@evil.example"))
        stranger = Visitor(self.origin)
        csrf = stranger.csrf("/sign-in")
        evil.page = (
            f'<!doctype html><title>prizes</title><form method="post" action="{self.origin}/sign-in"><input name="handle" value="eve@evil.example">'
            f'<input name="password" value="{PASSWORD}"><input name="csrf" value="{csrf}"><button>Win</button></form>'
        )
        self.ann.go(evil.origin)
        self.ann.leave(lambda: self.ann.click(self.ann.find("//button")))
        self.ann.open("/account")
        self.ann.see("ann@target.example")
        self.gateway.cli("users", "disable", next(
            user["id"] for user in self.gateway.cli("users", "list", "--org", self.org) if user["handle"] == "eve@evil.example"
        ))

    def test_a_form_without_its_proof_does_nothing(self):
        visitor = self.same_cookies()
        csrf = visitor.csrf("/api-keys/new")
        other = Visitor(self.origin).csrf("/sign-in")
        form = {"name": "without proof", "once": "00000000-0000-4000-8000-000000000001"}
        for proof in ({}, {"csrf": ""}, {"csrf": csrf[:-1]}, {"csrf": other}, {"csrf": csrf[::-1]}):
            self.assertEqual(visitor.request("POST", "/api-keys/new", {**form, **proof})[0], 403, proof)
        for headers in (
            {"Origin": "null"}, {"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"},
            {"Content-Type": "text/plain"},
        ):
            self.assertIn(visitor.request("POST", "/api-keys/new", {**form, "csrf": csrf}, headers)[0], (403, 415), headers)
        self.assertNotIn("without proof", self.keys())

    def test_no_site_can_frame_the_pages(self):
        for host in ("127.0.0.1", "localhost"):
            evil = Elsewhere(host)
            self.addCleanup(evil.close)
            for path in (f"/api-keys/{self.api_key_id}/revoke", "/sign-in", "/assets/style.css"):
                with self.subTest(f"{host} {path}"):
                    evil.page = f'<!doctype html><title>prizes</title><iframe src="{self.origin}{path}"></iframe>'
                    self.ann.go(evil.origin)
                    self.ann.ask("POST", "/frame", {"id": 0})
                    self.assertEqual(self.ann.js("location.href"), "chrome-error://chromewebdata/")

    # -- sessions and passwords

    def test_a_planted_cookie_is_worth_nothing_after_signing_in(self):
        self.user("fay@target.example", "Fay")
        attacker = Visitor(self.origin)
        attacker.set_password(self.link("fay@target.example"))
        of_attacker = attacker.cookies["keygate_session"]
        self.assertEqual(attacker.request("GET", "/account")[0], 200)
        for planted in (of_attacker, "0" * len(of_attacker)):
            with self.subTest(planted[:4]):
                victim = Visitor(self.origin)
                victim.cookies["keygate_session"] = planted
                # What a person sees who is signed in as somebody else is no form to sign in with.
                form = {"handle": "ann@target.example", "password": PASSWORD}
                stranger = Visitor(self.origin)
                form["csrf"] = stranger.csrf("/sign-in")
                victim.cookies["keygate_form"] = stranger.cookies["keygate_form"]
                status, headers, _ = victim.request("POST", "/sign-in", form)
                self.assertEqual(status, 303)
                self.assertNotEqual(victim.cookies["keygate_session"], planted)
                cookie = next(it for it in headers.get_all("Set-Cookie") if it.startswith("keygate_session="))
                self.assertIn("HttpOnly", cookie)
                self.assertIn("SameSite=Lax", cookie)
                attacker.cookies["keygate_session"] = planted
                self.assertEqual(attacker.request("GET", "/account")[0], 303, "what was planted opens nothing")
        self.assertEqual(self.ann.js("document.cookie"), "", "no script can read a cookie")

    def test_passwords_cannot_be_tried_for_long(self):
        self.user("gil@target.example", "Gil")
        gil = Visitor(self.origin)
        gil.set_password(self.link("gil@target.example"))
        attacker = Visitor(self.origin)
        statuses = []
        while 429 not in statuses and len(statuses) < 15:
            status, headers, text = attacker.sign_in("gil@target.example", "wrong wrong wrong")
            statuses.append(status)
        self.assertEqual(statuses[-1], 429, statuses)
        self.assertGreater(int(headers["Retry-After"]), 0)
        self.assertIn("role=\"alert\"", text)
        self.assertEqual(attacker.sign_in("gil@target.example")[0], 429, "the right one is not told from a wrong one")
        self.assertEqual(gil.request("GET", "/account")[0], 200, "who is in stays in")
        self.assertEqual(Visitor(self.origin).sign_in("ann@target.example")[0], 303, "others are not locked out")

    def test_what_is_not_known_is_not_told_from_what_is_wrong(self):
        told = set()
        for handle in ("ann@target.example", "nobody@target.example"):
            status, _, text = Visitor(self.origin).sign_in(handle, "wrong wrong wrong")
            told.add((status, re.search(r'role="alert"[^>]*>(.*?)</div>', text, re.S)[1]))
        self.assertEqual(len(told), 1, told)

    # -- redirects

    def test_nobody_is_led_to_another_host(self):
        self.user("hal@target.example", "Hal")
        hal = Visitor(self.origin)
        hal.set_password(self.link("hal@target.example"))
        for leads in (
            "//evil.example", "https://evil.example", "/\\evil.example", "\\\\evil.example", "/\t/evil.example", "/%0d%0aLocation: //evil.example",
            "javascript:alert(1)", "http:evil.example", "/%5cevil.example/..//evil.example", "/.//evil.example", "@evil.example", ".evil.example",
            "/sign-out", HOSTILE_LINK, "/\r\nSet-Cookie: a=b",
        ):
            with self.subTest(leads):
                quoted = urllib.parse.quote(leads, safe="")
                answers = [
                    hal.request("GET", f"/sign-in?next={quoted}"),
                    hal.request("POST", "/preferences", {"language": "en", "theme": "system", "next": leads}),
                    hal.request("GET", f"//evil.example/%2e%2e?next={quoted}"),
                ]
                # Whoever signs in often is asked to wait, so a few stand for all.
                if leads in ("//evil.example", "/\\evil.example", "https://evil.example"):
                    answers.append(Visitor(self.origin).sign_in("hal@target.example", next=leads))
                    self.assertEqual(answers[-1][0], 303)
                for status, headers, text in answers:
                    to = headers["Location"]
                    if to is None:
                        self.assertNotEqual(status // 100, 3)
                        continue
                    self.assertEqual(status, 303, text)
                    self.assertIsNone(headers["Set-Cookie"] and re.search("(^|, )a=b", headers["Set-Cookie"]))
                    landed = urllib.parse.urlsplit(urllib.parse.urljoin(self.origin, to.replace("\\", "/")))
                    self.assertEqual(f"{landed.scheme}://{landed.netloc}", self.origin, to)
        chromium = Person(self.origin)
        self.addCleanup(chromium.close)
        for leads in ("/\\evil.example", "/.//evil.example"):
            chromium.forget()
            chromium.open(f"/sign-in?next={urllib.parse.quote(leads, safe='')}")
            chromium.fill("Login name", "ann@target.example")
            chromium.fill("Password", PASSWORD)
            chromium.press("Sign in")
            self.assertTrue(chromium.js("location.origin") == self.origin, chromium.js("location.href"))
        chromium.note()
        self.assertEqual(chromium.hosts, {self.origin})

    # -- secrets

    def test_a_secret_is_nowhere_once_it_was_shown(self):
        ann = self.ann
        ann.open("/api-keys")
        ann.press("Create API key")
        ann.fill("Name", "seen once")
        ann.press("Create API key")
        secret = ann.value("//*[@id='secret']")
        self.gateway.secrets.add(secret)
        self.assertRegex(secret, "^[0-9a-f]{32}$")
        shown_at = ann.here
        self.assertNotIn(secret, ann.js("location.href"))

        def look(where):
            kept = ann.js(
                "JSON.stringify([document.documentElement.outerHTML, [...document.querySelectorAll('input, textarea')].map((it) => it.value), location.href,"
                " document.referrer, history.state, window.name, location.protocol.startsWith('http') ? [{ ...localStorage }, { ...sessionStorage }] : [],"
                " performance.getEntries().map((it) => it.name)])"
            )
            self.assertNotIn(secret, kept, where)

        # Sent once more it makes no second key; whoever sent it is told the same, for a connection may have been cut.
        ann.leave(lambda: ann.ask("POST", "/refresh"))
        self.assertEqual(len([key for key in self.gateway.cli("keys", "list", "--org", self.org) if key["name"] == "seen once"]), 1)
        ann.open("/account")
        look("the next page")
        for path in ("/api-keys", "/audit", "/usage", shown_at):
            ann.open(path)
            look(path)
        visitor = self.same_cookies()
        key = next(key["id"] for key in self.gateway.cli("keys", "list", "--org", self.org) if key["name"] == "seen once")
        for path in (f"/api-keys/{key}", f"/api-keys/{key}/revoke", f"/audit?object={key}", f"/usage/api-keys/{key}"):
            status, _, text = visitor.request("GET", path)
            self.assertEqual(status, 200, path)
            self.assertNotIn(secret, text, path)
        self.gateway.cli("keys", "revoke", key)

        # At a machine that others use, too: once signed out, no way leads back to it.
        shared = Person(self.origin)
        self.addCleanup(shared.close)
        shared.open("/sign-in?next=/api-keys/new")
        shared.fill("Login name", "ann@target.example")
        shared.fill("Password", PASSWORD)
        shared.press("Sign in")
        shared.fill("Name", "seen elsewhere")
        shared.press("Create API key")
        secret = shared.value("//*[@id='secret']")
        self.gateway.secrets.add(secret)
        shared.press("Sign out", within="//header")
        ann = shared
        look("signed out")
        shared.ask("POST", "/back")
        shared.until(lambda: shared.js("document.readyState") == "complete", "the page before")
        look("back")
        shared.ask("POST", "/refresh")
        shared.until(lambda: shared.js("document.readyState") == "complete", "the page before, once more")
        look("back, and sent once more")
        shared.ask("POST", "/forward")
        look("forward")

    # -- headers

    def test_every_answer_forbids_what_the_pages_do_not_need(self):
        visitor, stranger = self.same_cookies(), Visitor(self.origin)
        answers = {path: visitor.request("GET", path) for path in ("/api-keys", "/users", "/audit", "/account", "/no-such", "/api-keys/x", "/assets/style.css")}
        answers |= {f"stranger {path}": stranger.request("GET", path) for path in ("/sign-in", "/", "/welcome/x", "/oidc/start", "/oidc/callback")}
        answers["a form of nobody"] = stranger.request("POST", "/sign-in", {})
        answers["too large"] = visitor.request("POST", "/api-keys/new", {"name": "x" * (2 << 20)})
        answers["a method"] = visitor.request("PUT", "/api-keys")
        for what, (status, headers, _) in answers.items():
            with self.subTest(f"{what}: {status}"):
                policy = headers["Content-Security-Policy"]
                self.assertNotIn("unsafe", policy)
                self.assertNotRegex(policy, r"[a-z]+:|\*|\.", "a host or a scheme")
                directives = dict(it.split(" ", 1) for it in map(str.strip, policy.split(";")))
                self.assertEqual(directives["default-src"], "'none'")
                self.assertEqual(directives["frame-ancestors"], "'none'")
                self.assertEqual(directives["base-uri"], "'none'")
                self.assertEqual(directives["form-action"], "'self'")
                self.assertEqual(headers["X-Content-Type-Options"], "nosniff")
                self.assertIn(headers["Referrer-Policy"], ("no-referrer", "same-origin"))
                self.assertEqual(headers["X-Frame-Options"], "DENY")
                if "assets" not in what:
                    self.assertEqual(headers["Cache-Control"], "no-store")
                self.assertIsNone(headers["Access-Control-Allow-Origin"])
                self.assertIsNone(headers["Server"])
