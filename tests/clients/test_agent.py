"""What Agents and old senders send, written out byte by byte: key checks, probes, keys in the query and in the path."""

import json
import zlib

import zstandard

from gateway import GatewayCase

JSON = {"Content-Type": "application/json"}


class AgentCase(GatewayCase):
    def send(self, expected_status, method, target, headers=None, body=None):
        status, answered, body = self.gateway.request(method, target, headers, body)
        self.assertEqual(status, expected_status, body)
        self.assertIn("Date", answered)
        return json.loads(body) if body else None

    def test_the_key_check_takes_the_key_from_the_query(self):
        with self.recorded("/api/v1/validate", self.by_api_key):
            answer = self.send(200, "GET", f"/api/v1/validate?api_key={self.gateway.api_key}")
        self.assertEqual(answer, {"valid": True})

    def test_the_key_check_takes_the_key_from_the_header(self):
        with self.recorded("/api/v1/validate", self.by_api_key):
            self.send(200, "GET", "/api/v1/validate", {"dd-api-key": self.gateway.api_key})

    def test_the_key_check_says_403_to_a_wrong_key(self):
        wrong = "deadbeef" * 4
        self.gateway.secrets.add(wrong)
        with self.recorded("/api/v1/validate", {"auth.decision": "bad", "auth.reason": "unknown", "org.id": None}):
            self.send(403, "GET", f"/api/v1/validate?api_key={wrong}")

    def test_the_key_check_says_403_to_no_key(self):
        with self.recorded("/api/v1/validate", {"auth.decision": "missing"}):
            self.send(403, "GET", "/api/v1/validate")

    def test_the_all_zero_key_is_refused(self):
        with self.recorded("/api/v1/validate", {"auth.decision": "bad", "auth.reason": "unknown"}):
            self.send(403, "GET", f"/api/v1/validate?api_key={'0' * 32}")

    def test_the_trace_agent_learns_its_org(self):
        with self.recorded("/api/v2/validate", self.by_api_key):
            answer = self.send(200, "GET", "/api/v2/validate", {"DD-API-KEY": self.gateway.api_key})
        self.assertEqual(answer["data"]["id"], self.gateway.org_id)
        self.assertEqual(answer["data"]["attributes"]["api_key_id"], self.gateway.api_key_id)

    def test_the_log_probe_of_an_empty_object_is_accepted(self):
        with self.recorded("/api/v2/logs", self.by_api_key):
            self.send(202, "POST", "/api/v2/logs", {"DD-API-KEY": self.gateway.api_key, **JSON}, b"{}")

    def test_an_empty_log_body_is_accepted(self):
        with self.recorded("/api/v2/logs", self.by_api_key):
            self.send(202, "POST", "/api/v2/logs", {"DD-API-KEY": self.gateway.api_key, **JSON}, b"")

    def test_compressed_agent_logs_are_accepted(self):
        body = zstandard.compress(json.dumps([{"message": "hello", "status": "info", "ddtags": "a:b"}]).encode())
        headers = {"Dd-Api-Key": self.gateway.api_key, "Content-Encoding": "zstd", "DD-EVP-ORIGIN": "agent", **JSON}
        with self.recorded("/api/v2/logs", self.by_api_key):
            self.send(202, "POST", "/api/v2/logs", headers, body)

    def test_logs_without_a_key_get_401(self):
        with self.recorded("/api/v2/logs", {"auth.decision": "missing", "org.id": None}):
            answer = self.send(401, "POST", "/api/v2/logs", JSON, b"[]")
        self.assertIn("errors", answer)

    def test_metrics_without_a_key_get_403(self):
        with self.recorded("/api/v2/series", {"auth.decision": "missing", "org.id": None}):
            self.send(403, "POST", "/api/v2/series", JSON, b"{}")

    def test_protobuf_metrics_are_accepted(self):
        headers = {
            "Dd-Api-Key": self.gateway.api_key, "Content-Type": "application/x-protobuf", "Content-Encoding": "zstd",
            "DD-Agent-Payload": "5.0.0", "User-Agent": "datadog-agent/7.70.0",
        }
        with self.recorded("/api/v2/series", self.by_api_key | {"user_agent.original": "datadog-agent/7.70.0"}):
            self.send(202, "POST", "/api/v2/series", headers, zstandard.compress(bytes(range(256))))

    def test_agent_5_puts_its_key_in_the_query(self):
        body = zlib.compress(b'{"series":[]}')
        for path in ("/intake/", "/intake", "/api/v1/series/", "/api/v1/series", "/api/v1/check_run/", "/api/v1/check_run"):
            with self.subTest(path), self.recorded(path, self.by_api_key):
                self.send(202, "POST", f"{path}?api_key={self.gateway.api_key}", {"Content-Encoding": "deflate", **JSON}, body)

    def test_a_key_in_the_path_of_a_log_is_not_recorded(self):
        mark = self.gateway.mark()
        self.send(200, "POST", f"/v1/input/{self.gateway.api_key}?ddsource=syslog", JSON, b'[{"message":"old"}]')
        record = self.gateway.record(mark, lambda r: r["url.path"].startswith("/v1/input/"))
        self.assertNotIn(self.gateway.api_key, json.dumps(record))
        self.assertEqual({field: record.get(field) for field in self.by_api_key}, self.by_api_key)

    def test_logs_of_the_old_form_take_the_key_from_the_query(self):
        with self.recorded("/v1/input", self.by_api_key):
            self.send(200, "POST", f"/v1/input?dd-api-key={self.gateway.api_key}", JSON, b'[{"message":"old"}]')

    def test_the_datadog_library_of_old_puts_both_keys_in_the_query(self):
        keys = f"api_key={self.gateway.api_key}&application_key={self.gateway.application_key}"
        with self.recorded("/api/v1/series", self.by_api_key):
            self.send(202, "POST", f"/api/v1/series?{keys}", JSON, b'{"series":[]}')
        with self.recorded("/api/v1/events", self.by_pair, method="GET"):
            self.send(200, "GET", f"/api/v1/events?{keys}&start=1&end=2")

    def test_a_post_to_no_route_with_a_key_gets_403_because_404_is_sent_again_for_ever(self):
        with self.recorded("/api/v9/nowhere", {}):
            self.send(403, "POST", "/api/v9/nowhere", {"DD-API-KEY": self.gateway.api_key, **JSON}, b"{}")
