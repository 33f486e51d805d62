"""npm `@datadog/browser-logs`, unmodified, in Chromium on a page of another origin: an old major and the current one."""

import json
from contextlib import contextmanager

from browser import Browser, Shop
from gateway import GatewayCase

# `proxy` as a string, as a function, and as version 4 knew it before: with a whole address of the vendor inside.
STRING = "{ proxy: gateway + '/' }"
FUNCTION = "{ proxy: ({ path, parameters }) => gateway + path + '?' + parameters }"
PROXY_URL = "{ proxyUrl: gateway + '/' }"


class Visit:
    """What a page sent to the gateway and the records of it, known once the page was left."""

    sent = None
    records = None


class BrowserCase(GatewayCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        site = Shop()
        cls.addClassCleanup(site.close)
        browser = Browser()
        cls.addClassCleanup(browser.close)
        cls.site, cls.browser = site, browser

    @contextmanager
    def visit(self, version, proxy, token, count, expected, more="{}"):
        """A page whose SDK logs `count` times: 50 are more than a batch, one of which is sent at once; what is left goes as the
        page is left, at the end. Each request that the page sent has a record, and each says `expected`."""
        mark = self.gateway.mark()
        self.browser.go(f"{self.site.origin}/page/{version}")
        self.browser.run(
            f"""const [gateway, clientToken, count] = args;
            sessionStorage.clear();
            DD_LOGS.init({{ clientToken, service: "shop", env: "test", version: "1.2.3", sessionSampleRate: 100,
                           telemetrySampleRate: 0, ...{proxy}, ...{more} }});
            for (let i = 0; i < count; i++) DD_LOGS.logger.info("message " + i, {{ i }});""",
            self.gateway.url, token, count,
        )
        visit = Visit()
        yield visit
        self.browser.go(f"{self.site.origin}/elsewhere")
        sent = json.loads(self.browser.run("return sessionStorage.sent || '[]';"))
        visit.sent = [it for it in sent if it["url"].startswith(self.gateway.url)]
        self.assertNotEqual(visit.sent, [], "the SDK sent nothing")
        visit.records = self.gateway.records(mark, lambda r: r.get("http.request.method") == "POST", len(visit.sent))
        for record in visit.records:
            self.assertEqual({field: record.get(field) for field in expected}, expected, f"in the record {record}")

    def answer(self, part="logs"):
        """The status that the page could read of what the SDK fetched, and the body; not readable is a failure."""
        answer = self.browser.run("return await answerOf(args[0]);", part)
        self.assertNotIn("blocked", answer, "the browser hides the answer from the page")
        self.assertEqual(answer["type"], "cors", "the page is of another origin")
        return answer["status"], answer["body"]

    def accepted(self, version, proxy, token=None, expected=None):
        with self.visit(version, proxy, token or self.gateway.client_token, 50, expected or self.by_client_token):
            status, body = self.answer()
            self.assertEqual(status, 202, body)
            json.loads(body)

    def refused(self, version, proxy, token, expected):
        with self.visit(version, proxy, token, 50, {"auth.decision": "bad"} | expected):
            status, body = self.answer()
            self.assertEqual(status, 403, body)
            self.assertIn("errors", json.loads(body))

    def leaves(self, version, proxy):
        with self.visit(version, proxy, self.gateway.client_token, 3, self.by_client_token) as visit:
            pass
        self.assertEqual([it["by"] for it in visit.sent], ["beacon"])

    def test_v7_logs_through_a_string_proxy(self):
        self.accepted("v7", STRING)

    def test_v7_logs_through_a_function_proxy(self):
        self.accepted("v7", FUNCTION)

    def test_v7_logs_what_is_left_when_its_page_is_left(self):
        self.leaves("v7", STRING)

    def test_v7_logs_through_a_function_what_is_left_when_its_page_is_left(self):
        self.leaves("v7", FUNCTION)

    def test_v4_logs_through_a_string_proxy(self):
        self.accepted("v4", STRING)

    def test_v4_logs_through_a_proxy_url(self):
        self.accepted("v4", PROXY_URL)

    def test_v4_logs_what_is_left_when_its_page_is_left(self):
        self.leaves("v4", STRING)

    def test_v4_logs_through_a_proxy_url_what_is_left_when_its_page_is_left(self):
        self.leaves("v4", PROXY_URL)

    def test_a_page_reads_403_for_a_wrong_token(self):
        wrong = "pub" + "deadf00d" * 4
        self.gateway.secrets.add(wrong)
        for version, proxy in (("v7", STRING), ("v7", FUNCTION), ("v4", STRING)):
            with self.subTest(f"{version} {proxy}"):
                self.refused(version, proxy, wrong, {"auth.reason": "unknown", "org.id": None})

    def test_a_page_reads_403_for_an_api_key_in_place_of_the_token(self):
        expected = {"auth.reason": "wrong_kind", "org.id": self.gateway.org_id, "auth.key_id": self.gateway.api_key_id}
        for version, proxy in (("v7", STRING), ("v7", FUNCTION), ("v4", STRING)):
            with self.subTest(f"{version} {proxy}"):
                self.refused(version, proxy, self.gateway.api_key, expected)

    def test_a_revoked_token_is_refused_on_the_next_page(self):
        token = self.gateway.cli("tokens", "create", "--org", self.gateway.org_id, "--name", "old shop")
        known = {"org.id": self.gateway.org_id, "auth.key_id": token["id"]}
        self.accepted("v7", STRING, token["secret"], {"auth.decision": "allowed"} | known)
        self.gateway.cli("tokens", "revoke", token["id"])
        self.refused("v7", STRING, token["secret"], {"auth.reason": "revoked"} | known)

    def test_a_token_for_other_origins_is_refused_here(self):
        create = ("tokens", "create", "--org", self.gateway.org_id, "--name")
        here = self.gateway.cli(*create, "here", "--allow-origin", self.site.origin)
        there = self.gateway.cli(*create, "there", "--allow-origin", "https://shop.example")
        self.accepted("v7", STRING, here["secret"], {"auth.decision": "allowed", "auth.key_id": here["id"]})
        self.refused("v7", STRING, there["secret"], {"auth.reason": "origin_not_allowed", "auth.key_id": there["id"]})

    def test_the_sdks_own_telemetry_is_answered_in_a_way_that_ends_it(self):
        telemetry = "{ telemetrySampleRate: 100, telemetryConfigurationSampleRate: 100 }"
        with self.visit("v7", FUNCTION, self.gateway.client_token, 50, {}, telemetry) as visit:
            self.answer()
        self.assertIn("/api/v2/rum", [record.get("url.path") for record in visit.records])
        # It went as a beacon, whose answer no page can read; so once more, to read it. 429 and 5xx would be sent again.
        with self.recorded("/api/v2/rum", {}):
            status, headers, _ = self.gateway.request(
                "POST", f"/api/v2/rum?ddsource=browser&dd-api-key={self.gateway.client_token}",
                {"Origin": self.site.origin, "Content-Type": "text/plain;charset=UTF-8"}, b"{}",
            )
        self.assertIn(status, (202, 403))
        self.assertIsNotNone(headers["Access-Control-Allow-Origin"])
