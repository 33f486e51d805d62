"""The official TypeScript client does the same as the Python one in test_key_management: see key_management.js."""

import json
import os
import re
import subprocess

import gateway
from test_key_management import NOT_OFFERED

HERE = os.path.dirname(os.path.abspath(__file__))


def snake(name):
    """`listAPIKeys` is `list_api_keys`."""
    parts = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", parts).lower()


class NpmKeyManagementCase(gateway.GatewayCase):
    """A gateway of its own: keys are counted."""

    @classmethod
    def setUpClass(cls):
        cls.gateway = gateway.Gateway()
        cls.addClassCleanup(cls.gateway.close)
        super().setUpClass()

    def test_every_operation_is_performed_or_says_why_not(self):
        modules = os.environ["BROWSER_SDKS"]
        done = subprocess.run(
            ["node", os.path.join(HERE, "key_management.js"), self.gateway.url, self.gateway.api_key, self.gateway.application_key],
            env={**os.environ, "NODE_PATH": modules}, capture_output=True, text=True, timeout=120,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        said = json.loads(done.stdout)
        self.assertGreater(len(said["performed"]), 35)
        unexplained = {snake(name) for name in said["left"]} - set(NOT_OFFERED)
        self.assertEqual(unexplained, set())
