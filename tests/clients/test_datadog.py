"""PyPI `datadog`, unmodified: only its api_host is changed."""

import time

import datadog
from datadog import api
from datadog.api.exceptions import ApiError

from gateway import GatewayCase


class DatadogCase(GatewayCase):
    def setUp(self):
        self.start(self.gateway.api_key, self.gateway.application_key)

    def start(self, api_key, app_key):
        datadog.initialize(
            api_key=api_key, app_key=app_key, api_host=self.gateway.url, mute=False, hostname_from_config=False, host_name="here",
            statsd_disable_buffering=True,
        )

    def test_metrics_are_accepted(self):
        with self.recorded("/api/v1/series", self.by_api_key):
            answer = api.Metric.send(metric="keygate.plain", points=[(time.time(), 1)], tags=["a:b"], type="gauge")
        self.assertEqual(answer, {"status": "ok"})

    def test_compressed_metrics_are_accepted(self):
        with self.recorded("/api/v1/series", self.by_api_key):
            answer = api.Metric.send(metric="keygate.deflated", points=[(time.time(), 1)], compress_payload=True)
        self.assertEqual(answer, {"status": "ok"})

    def test_distributions_are_accepted(self):
        with self.recorded("/api/v1/distribution_points", self.by_api_key):
            answer = api.Distribution.send(distributions=[{"metric": "keygate.spread", "points": [(time.time(), [1, 2, 3])]}])
        self.assertEqual(answer, {"status": "ok"})

    def test_compressed_distributions_are_accepted(self):
        with self.recorded("/api/v1/distribution_points", self.by_api_key):
            api.Distribution.send(metric="keygate.spread", points=[(time.time(), [1, 2, 3])], compress_payload=True)

    def test_events_are_accepted(self):
        with self.recorded("/api/v1/events", self.by_api_key, method="POST"):
            answer = api.Event.create(title="hello", text="from a test", tags=["a:b"])
        self.assertEqual(answer["status"], "ok")

    def test_service_checks_are_accepted(self):
        with self.recorded("/api/v1/check_run", self.by_api_key):
            answer = api.ServiceCheck.check(check="app.ok", host_name="here", status=0, message="fine")
        self.assertEqual(answer, {"status": "ok"})

    def test_the_key_is_valid(self):
        with self.recorded("/api/v1/validate", self.by_api_key):
            answer = api.api_client.APIClient.submit("GET", "validate")
        self.assertEqual(answer, {"valid": True})

    def test_a_read_is_attributed_to_the_user(self):
        with self.recorded("/api/v1/events", self.by_pair, method="GET"):
            api.Event.query(start=int(time.time()) - 60, end=int(time.time()))

    def test_a_wrong_key_raises_an_api_error_that_says_forbidden(self):
        wrong = "0badc0de" * 4
        self.gateway.secrets.add(wrong)
        self.start(wrong, None)
        with self.recorded("/api/v1/series", {"auth.decision": "bad", "auth.reason": "unknown", "org.id": None}):
            with self.assertRaises(ApiError) as raised:
                api.Metric.send(metric="keygate.wrong", points=[(time.time(), 1)])
        self.assertIn("Forbidden", str(raised.exception))

    def test_a_client_token_in_place_of_the_key_raises_an_api_error(self):
        self.start(self.gateway.client_token, None)
        expected = {"auth.decision": "bad", "auth.reason": "wrong_kind", "auth.key_id": self.gateway.client_token_id}
        with self.recorded("/api/v1/series", expected | {"org.id": self.gateway.org_id}):
            with self.assertRaises(ApiError):
                api.Metric.send(metric="keygate.token", points=[(time.time(), 1)])
