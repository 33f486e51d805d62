"""PyPI `datadog-api-client`, unmodified: every intake call in every encoding it offers, the async client, and reads."""

import asyncio
import time
import warnings

from datadog_api_client import AsyncApiClient
from datadog_api_client.v1.api.authentication_api import AuthenticationApi
from datadog_api_client.v1.api.events_api import EventsApi as EventsV1
from datadog_api_client.v1.api.logs_api import LogsApi as LogsV1
from datadog_api_client.v1.api.metrics_api import MetricsApi as MetricsV1
from datadog_api_client.v1.api.service_checks_api import ServiceChecksApi
from datadog_api_client.v1.model.content_encoding import ContentEncoding as LogEncodingV1
from datadog_api_client.v1.model.distribution_points_content_encoding import DistributionPointsContentEncoding
from datadog_api_client.v1.model.metric_content_encoding import MetricContentEncoding as MetricEncodingV1
from datadog_api_client.v2.api.events_api import EventsApi
from datadog_api_client.v2.api.key_management_api import KeyManagementApi
from datadog_api_client.v2.api.logs_api import LogsApi
from datadog_api_client.v2.api.metrics_api import MetricsApi
from datadog_api_client.v2.api.users_api import UsersApi
from datadog_api_client.v2.model.content_encoding import ContentEncoding
from datadog_api_client.v2.model.metric_content_encoding import MetricContentEncoding

import api_client as dd
from gateway import GatewayCase


def words(encoding):
    """Every value of one of the client's enumerations."""
    return sorted(encoding.allowed_values)


class ApiClientCase(GatewayCase):
    def setUp(self):
        client = dd.client(self.gateway)
        self.addCleanup(client.close)
        self.client = client

    def test_v1_metrics_are_accepted_plain_and_in_each_encoding(self):
        metrics = MetricsV1(self.client)
        with self.recorded("/api/v1/series", self.by_api_key):
            self.assertEqual(metrics.submit_metrics(dd.series_v1()).status, "ok")
        self.assertEqual(words(MetricEncodingV1), ["deflate", "gzip"])
        for word in words(MetricEncodingV1):
            with self.subTest(word), self.recorded("/api/v1/series", self.by_api_key):
                answer = metrics.submit_metrics(dd.series_v1(), content_encoding=MetricEncodingV1(word))
                self.assertEqual(answer.status, "ok")

    def test_v2_metrics_are_accepted_plain_and_in_each_encoding(self):
        metrics = MetricsApi(self.client)
        with self.recorded("/api/v2/series", self.by_api_key):
            self.assertEqual(metrics.submit_metrics(dd.series_v2()).errors, [])
        self.assertEqual(words(MetricContentEncoding), ["deflate", "gzip", "zstd1"])
        for word in words(MetricContentEncoding):
            with self.subTest(word), self.recorded("/api/v2/series", self.by_api_key):
                answer = metrics.submit_metrics(dd.series_v2(), content_encoding=MetricContentEncoding(word))
                self.assertEqual(answer.errors, [])

    def test_distributions_are_accepted_plain_and_deflated(self):
        metrics = MetricsV1(self.client)
        with self.recorded("/api/v1/distribution_points", self.by_api_key):
            self.assertEqual(metrics.submit_distribution_points(dd.distribution()).status, "ok")
        for word in words(DistributionPointsContentEncoding):
            with self.subTest(word), self.recorded("/api/v1/distribution_points", self.by_api_key):
                encoding = DistributionPointsContentEncoding(word)
                metrics.submit_distribution_points(dd.distribution(), content_encoding=encoding)

    def test_v2_logs_are_accepted_plain_and_in_each_encoding(self):
        logs = LogsApi(self.client)
        with self.recorded("/api/v2/logs", self.by_api_key):
            logs.submit_log(dd.log_v2(), ddtags="q:1")
        self.assertEqual(words(ContentEncoding), ["deflate", "gzip", "identity"])
        for word in words(ContentEncoding):
            with self.subTest(word), self.recorded("/api/v2/logs", self.by_api_key):
                logs.submit_log(dd.log_v2(), content_encoding=ContentEncoding(word))

    def test_v1_logs_are_accepted_plain_and_in_each_encoding(self):
        logs = LogsV1(self.client)
        with self.recorded("/v1/input", self.by_api_key):
            logs.submit_log(dd.log_v1())
        for word in words(LogEncodingV1):
            with self.subTest(word), self.recorded("/v1/input", self.by_api_key):
                logs.submit_log(dd.log_v1(), content_encoding=LogEncodingV1(word))

    def test_v1_events_are_accepted_with_the_api_key(self):
        with self.recorded("/api/v1/events", self.by_api_key, method="POST"):
            self.assertEqual(EventsV1(self.client).create_event(dd.event_v1()).status, "ok")

    def test_v2_events_are_accepted_and_attributed_to_the_user(self):
        with self.recorded("/api/v2/events", self.by_pair, method="POST"):
            EventsApi(self.client).create_event(dd.event_v2())

    def test_service_checks_are_accepted(self):
        with self.recorded("/api/v1/check_run", self.by_api_key):
            ServiceChecksApi(self.client).submit_service_check(dd.checks())

    def test_the_key_is_valid(self):
        with self.recorded("/api/v1/validate", self.by_api_key):
            self.assertTrue(AuthenticationApi(self.client).validate().valid)

    def test_the_v2_check_of_the_key_names_the_org(self):
        # The client asks for a word before it sends what its author calls unstable.
        self.client.configuration.unstable_operations["validate"] = True
        with self.recorded("/api/v2/validate", self.by_api_key), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            answer = KeyManagementApi(self.client).validate()
        self.assertEqual(str(answer.data.id), self.gateway.org_id)

    def test_the_check_of_the_pair_is_attributed_to_the_user(self):
        with self.recorded("/api/v2/validate_keys", self.by_pair):
            self.assertEqual(str(KeyManagementApi(self.client).validate_api_key().status), "ok")

    def test_a_read_of_events_is_attributed_to_the_user(self):
        now = int(time.time())
        with self.recorded("/api/v1/events", self.by_pair, method="GET"):
            EventsV1(self.client).list_events(start=now - 60, end=now)

    def test_a_read_of_users_is_attributed_to_the_user(self):
        with self.recorded("/api/v2/users", self.by_pair, method="GET"):
            UsersApi(self.client).list_users()

    def test_the_async_client_sends_and_reads(self):
        async def both():
            async with AsyncApiClient(dd.configuration(self.gateway)) as client:
                await LogsApi(client).submit_log(dd.log_v2(), content_encoding=ContentEncoding.GZIP)
                await MetricsApi(client).submit_metrics(dd.series_v2(), content_encoding=MetricContentEncoding.ZSTD1)
                await UsersApi(client).list_users()

        mark = self.gateway.mark()
        asyncio.run(both())
        for path, expected in (
            ("/api/v2/logs", self.by_api_key), ("/api/v2/series", self.by_api_key), ("/api/v2/users", self.by_pair),
        ):
            record = self.gateway.record(mark, lambda r: r.get("url.path") == path)
            self.assertEqual({field: record.get(field) for field in expected}, expected)
