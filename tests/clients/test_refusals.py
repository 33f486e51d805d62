"""How a client that may not is refused: its author's own exception, and a record that says why and whose key it was."""

import json

from datadog_api_client.exceptions import ForbiddenException, UnauthorizedException
from datadog_api_client.v1.api.authentication_api import AuthenticationApi
from datadog_api_client.v2.api.logs_api import LogsApi
from datadog_api_client.v2.api.metrics_api import MetricsApi
from datadog_api_client.v2.api.users_api import UsersApi

import api_client as dd
from gateway import GatewayCase


class RefusalCase(GatewayCase):
    def call(self, operation, api_key, application_key=None):
        with dd.client(self.gateway, api_key, application_key) as client:
            return operation(client)

    def send_metrics(self, api_key, application_key=None):
        return self.call(lambda c: MetricsApi(c).submit_metrics(dd.series_v2()), api_key, application_key)

    def send_logs(self, api_key):
        return self.call(lambda c: LogsApi(c).submit_log(dd.log_v2()), api_key)

    def read_users(self, api_key, application_key=None):
        return self.call(lambda c: UsersApi(c).list_users(), api_key, application_key)

    def refused(self, exception, operation, *keys):
        with self.assertRaises(exception) as raised:
            operation(*keys)
        self.assertIn("errors", json.dumps(raised.exception.body))

    def wrong(self, secret):
        self.gateway.secrets.add(secret)
        return secret

    def test_a_wrong_key_is_forbidden_on_every_kind_of_intake(self):
        wrong = self.wrong("cafebabe" * 4)
        expected = {"auth.decision": "bad", "auth.reason": "unknown", "org.id": None, "auth.key_id": None}
        for path, operation in (("/api/v2/series", self.send_metrics), ("/api/v2/logs", self.send_logs)):
            with self.subTest(path), self.recorded(path, expected):
                self.refused(ForbiddenException, operation, wrong)
        with self.recorded("/api/v1/validate", expected):
            self.refused(ForbiddenException, lambda key: self.call(lambda c: AuthenticationApi(c).validate(), key), wrong)

    def test_a_revoked_key_is_refused_by_the_next_call(self):
        org, key = self.gateway.new_org("revoking")
        allowed = {"auth.decision": "allowed", "auth.key_id": key["id"], "org.id": org}
        with self.recorded("/api/v2/series", allowed):
            self.send_metrics(key["secret"])
        self.gateway.cli("keys", "revoke", key["id"])
        expected = {"auth.decision": "bad", "auth.reason": "revoked", "auth.key_id": key["id"], "org.id": org}
        for path, operation in (("/api/v2/series", self.send_metrics), ("/api/v2/logs", self.send_logs)):
            with self.subTest(path), self.recorded(path, expected):
                self.refused(ForbiddenException, operation, key["secret"])
        listed = {k["id"]: k["status"] for k in self.gateway.cli("keys", "list", "--org", org)}
        self.assertEqual(listed[key["id"]], "revoked")

    def test_a_key_is_good_as_soon_as_it_is_made(self):
        org, key = self.gateway.new_org("making")
        # Seen before as unknown, a key must not be remembered as such.
        for name in ("second", "third"):
            made = self.gateway.cli("keys", "create", "--org", org, "--name", name)
            with self.recorded("/api/v2/series", {"auth.decision": "allowed", "auth.key_id": made["id"], "org.id": org}):
                self.send_metrics(made["secret"])

    def test_a_client_token_may_not_send_metrics(self):
        expected = {
            "auth.decision": "bad", "auth.reason": "wrong_kind", "org.id": self.gateway.org_id,
            "auth.key_id": self.gateway.client_token_id, "user.id": None,
        }
        with self.recorded("/api/v2/series", expected):
            self.refused(ForbiddenException, self.send_metrics, self.gateway.client_token)

    def test_an_application_key_in_place_of_the_api_key_is_the_wrong_kind(self):
        expected = {"auth.decision": "bad", "auth.reason": "wrong_kind", "org.id": self.gateway.org_id}
        with self.recorded("/api/v2/series", expected):
            self.refused(ForbiddenException, self.send_metrics, self.gateway.application_key)

    def test_an_application_key_of_another_org_is_forbidden_and_laid_to_the_api_key(self):
        org, _ = self.gateway.new_org("elsewhere")
        _, foreign = self.gateway.new_user(org, "someone@elsewhere.example")
        expected = {
            "auth.decision": "bad", "auth.reason": "pair_mismatch", "org.id": self.gateway.org_id,
            "auth.key_id": self.gateway.api_key_id,
        }
        with self.recorded("/api/v2/users", expected):
            self.refused(ForbiddenException, self.read_users, self.gateway.api_key, foreign["secret"])

    def test_a_wrong_application_key_is_forbidden(self):
        wrong = self.wrong("feedface" * 5)
        with self.recorded("/api/v2/users", {"auth.decision": "bad", "auth.reason": "unknown", "auth.key_id": self.gateway.api_key_id}):
            self.refused(ForbiddenException, self.read_users, self.gateway.api_key, wrong)

    def test_a_missing_application_key_is_unauthorized(self):
        expected = {"auth.decision": "missing", "auth.reason": "no_application_key", "org.id": self.gateway.org_id}
        with self.recorded("/api/v2/users", expected):
            self.refused(UnauthorizedException, self.read_users, self.gateway.api_key)

    def test_a_missing_api_key_is_forbidden_even_beside_an_application_key(self):
        with self.recorded("/api/v2/users", {"auth.decision": "missing", "auth.reason": "no_key"}):
            status, _, _ = self.gateway.request("GET", "/api/v2/users", {"DD-APPLICATION-KEY": self.gateway.application_key})
        self.assertEqual(status, 403)

    def test_a_wrong_application_key_does_not_stop_metrics(self):
        wrong = self.wrong("facefeed" * 5)
        with self.recorded("/api/v1/series", self.by_api_key):
            headers = {"DD-API-KEY": self.gateway.api_key, "DD-APPLICATION-KEY": wrong, "Content-Type": "application/json"}
            status, _, _ = self.gateway.request("POST", "/api/v1/series", headers, b'{"series":[]}')
        self.assertEqual(status, 202)

    def test_two_different_keys_in_one_request_are_a_conflict(self):
        org, other = self.gateway.new_org("two keys")
        with self.recorded("/api/v1/series", {"auth.decision": "bad", "auth.reason": "conflict"}):
            headers = {"DD-API-KEY": self.gateway.api_key, "Content-Type": "application/json"}
            status, _, _ = self.gateway.request("POST", f"/api/v1/series?api_key={other['secret']}", headers, b'{"series":[]}')
        self.assertEqual(status, 403)

    def test_disabling_a_user_ends_their_application_keys_for_good_and_leaves_the_api_keys(self):
        org, key = self.gateway.new_org("leaving")
        user, app = self.gateway.new_user(org, "leaver@leaving.example")
        pair = (key["secret"], app["secret"])
        allowed = {"auth.decision": "allowed", "auth.kind": "pair", "org.id": org, "user.id": user, "auth.app_key_id": app["id"]}
        with self.recorded("/api/v2/users", allowed):
            self.read_users(*pair)

        self.gateway.cli("users", "disable", user)
        known = {"auth.decision": "bad", "org.id": org, "auth.key_id": key["id"], "auth.app_key_id": app["id"]}
        with self.recorded("/api/v2/users", known):
            self.refused(ForbiddenException, self.read_users, *pair)
        with self.recorded("/api/v2/series", {"auth.decision": "allowed", "org.id": org, "auth.key_id": key["id"]}):
            self.send_metrics(key["secret"])

        self.gateway.cli("users", "enable", user)
        with self.recorded("/api/v2/users", known | {"auth.reason": "revoked"}):
            self.refused(ForbiddenException, self.read_users, *pair)
        again = self.gateway.cli("apps", "create", "--owner", user, "--name", "new scripts")
        with self.recorded("/api/v2/users", {"auth.decision": "allowed", "user.id": user, "auth.app_key_id": again["id"]}):
            self.read_users(key["secret"], again["secret"])

    def test_a_sixth_key_and_the_revocation_of_the_last_are_refused_in_a_sentence(self):
        org, first = self.gateway.new_org("counting")
        keys = [self.gateway.cli("keys", "create", "--org", org, "--name", f"n{i}") for i in range(3)]
        sixth = self.gateway.run("keys", "create", "--org", org, "--name", "sixth")
        self.assertEqual(sixth.returncode, 1, sixth.stdout)
        self.assertGreater(len(sixth.stderr.split()), 4, "a sentence")
        ids = [k["id"] for k in self.gateway.cli("keys", "list", "--org", org) if k["id"] != first["id"]]
        self.assertEqual(len(ids), 1 + len(keys))
        for key_id in ids:
            self.gateway.cli("keys", "revoke", key_id)
        last = self.gateway.run("keys", "revoke", first["id"])
        self.assertEqual(last.returncode, 1, last.stdout)
        self.assertGreater(len(last.stderr.split()), 4, "a sentence")
        with self.recorded("/api/v2/series", {"auth.decision": "allowed", "auth.key_id": first["id"]}):
            self.send_metrics(first["secret"])
