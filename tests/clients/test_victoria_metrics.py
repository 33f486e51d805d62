"""Debian's `victoria-metrics` as a real intake behind the gateway: what real clients sent is in it afterwards."""

import atexit
import http.client
import json
import os
import shutil
import socket
import subprocess
import time
from urllib.parse import urlencode

import datadog
from datadog import api
from datadog_api_client.v1.api.metrics_api import MetricsApi
from datadog_api_client.v1.model.metric_content_encoding import MetricContentEncoding

import api_client as dd
from gateway import PATIENCE_S, Gateway, GatewayCase, Lines, folder


class VictoriaMetrics:
    """One server of its own on a free port, its data in a folder that goes away."""

    def __init__(self):
        self._dir = folder("victoria")
        # It takes no port 0; one that is free now is hardly taken in the next moment.
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._process = subprocess.Popen(
            [
                os.environ.get("VICTORIA_METRICS_BIN") or "victoria-metrics", f"-httpListenAddr=127.0.0.1:{self.port}",
                f"-storageDataPath={self._dir}", "-retentionPeriod=1", "-memory.allowedBytes=128MB",
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        atexit.register(self.close)
        self._lines = Lines(self._process.stdout)
        try:
            # It says that it starts before its port is open.
            self._lines.wait(lambda lines: any("starting http server at" in line for line in lines), "start of victoria-metrics")
            self._until(lambda: self.get("/health") == b"OK", "victoria-metrics that answers")
        except BaseException:
            self.close()
            raise

    def get(self, path, **query):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            connection.request("GET", f"{path}?{urlencode(query)}")
            return connection.getresponse().read()
        finally:
            connection.close()

    def _until(self, condition, what):
        """What `condition` returns once that is something; asked again and again, as there is nothing here to wait on."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                found = condition()
            except ConnectionError:
                found = None
            if found:
                return found
            if time.monotonic() > deadline:
                raise AssertionError(f"no {what} within {PATIENCE_S:.0f} s")
            time.sleep(0.02)

    def series(self, name):
        """The series of that name, once there is one: what was accepted can be found a moment later."""

        def export():
            self.get("/internal/force_flush")
            return self.get("/api/v1/export", **{"match[]": name}).splitlines()

        return [json.loads(line) for line in self._until(export, f"series {name}")]

    def close(self):
        self._process.terminate()
        try:
            self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._lines.close()
        shutil.rmtree(self._dir, ignore_errors=True)


class VictoriaMetricsCase(GatewayCase):
    @classmethod
    def setUpClass(cls):
        cls.intake = VictoriaMetrics()
        cls.addClassCleanup(cls.intake.close)
        cls.gateway = Gateway("--upstream", f"http://127.0.0.1:{cls.intake.port}/datadog")
        cls.addClassCleanup(cls.gateway.close)
        super().setUpClass()

    def arrived(self, name, value):
        """One point of that value, with the tags it was sent with."""
        [series] = self.intake.series(name)
        self.assertEqual(series["values"], [value])
        self.assertEqual(series["metric"]["a"], "b")

    def test_what_datadog_sent_is_there(self):
        datadog.initialize(
            api_key=self.gateway.api_key, app_key=self.gateway.application_key, api_host=self.gateway.url, mute=False,
            hostname_from_config=False, host_name="here",
        )
        for name, compressed, value in (("lib_plain", False, 11), ("lib_deflate", True, 12)):
            with self.subTest(name):
                with self.recorded("/api/v1/series", self.by_api_key):
                    api.Metric.send(metric=name, points=[(time.time(), value)], tags=["a:b"], compress_payload=compressed)
                self.arrived(name, value)

    def test_what_datadog_api_client_sent_is_there(self):
        with dd.client(self.gateway) as client:
            metrics = MetricsApi(client)
            for name, encoding, value in (
                ("client_plain", None, 21),
                ("client_gzip", MetricContentEncoding.GZIP, 22),
                ("client_deflate", MetricContentEncoding.DEFLATE, 23),
            ):
                with self.subTest(name):
                    kwargs = {"content_encoding": encoding} if encoding else {}
                    with self.recorded("/api/v1/series", self.by_api_key):
                        metrics.submit_metrics(dd.series_v1(name, float(value)), **kwargs)
                    self.arrived(name, value)

    def test_what_was_refused_is_not_there(self):
        wrong = "0ff1ce00" * 4
        headers = {"DD-API-KEY": wrong, "Content-Type": "application/json"}
        body = {"series": [{"metric": name, "points": [[int(time.time()), 1]], "tags": ["a:b"]} for name in ("refused",)]}
        with self.recorded("/api/v1/series", {"auth.decision": "bad"}):
            self.assertEqual(self.gateway.request("POST", "/api/v1/series", headers, json.dumps(body))[0], 403)
        body["series"][0]["metric"] = "accepted"
        headers["DD-API-KEY"] = self.gateway.api_key
        with self.recorded("/api/v1/series", {"auth.decision": "allowed"}):
            self.assertEqual(self.gateway.request("POST", "/api/v1/series", headers, json.dumps(body))[0], 202)
        self.arrived("accepted", 1)
        self.assertEqual(self.intake.get("/api/v1/export", **{"match[]": "refused"}), b"")
