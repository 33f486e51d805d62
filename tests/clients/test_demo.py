"""`keygate demo` as a person meets it: what it prints, the lines to paste, and how it ends."""

import os
import re
import stat
import subprocess
import sys
import tempfile
from unittest import TestCase

from gateway import PATIENCE_S, Demo, Gateway

# Set off by nothing that could be part of a longer word.
API_KEY = re.compile(r"(?<![0-9a-z])[0-9a-f]{32}(?![0-9a-z])")
APPLICATION_KEY = re.compile(r"(?<![0-9a-z])[0-9a-f]{40}(?![0-9a-z])")
CLIENT_TOKEN = re.compile(r"(?<![0-9a-z])pub[0-9a-f]{32}(?![0-9a-z])")


def shell_commands(text, program):
    """The lines to paste that start with `program`, each with the lines that a backslash joins to it."""
    joined = re.sub(r"\\\n\s*", " ", text)
    return [line.strip().removeprefix("$ ") for line in joined.splitlines() if line.strip().removeprefix("$ ").startswith(program + " ")]


class TextCase(TestCase):
    @classmethod
    def setUpClass(cls):
        cls.demo = Demo(output="text")
        cls.addClassCleanup(cls.demo.close)
        # The text is whole once all that a person needs is in it.
        wanted = ("curl ", "DD_DD_URL", "import datadog|from datadog", "datadogLogs|DD_LOGS")

        def whole(lines):
            text = "\n".join(lines)
            return text if all(re.search(word, text) for word in wanted) else None

        cls.text = cls.demo.lines.wait(whole, f"text with {wanted}")
        cls.address = re.search(r"https?://(127\.0\.0\.1:\d+)", cls.text)[1]

    def test_it_prints_the_three_secrets(self):
        for what, pattern in (("API key", API_KEY), ("application key", APPLICATION_KEY), ("client token", CLIENT_TOKEN)):
            with self.subTest(what):
                self.assertEqual(len(set(pattern.findall(self.text))), 1, self.text)

    def test_its_lines_to_paste_hold_the_address_and_the_secrets(self):
        self.assertRegex(self.text, rf"DD_DD_URL=['\"]?http://{self.address}")
        self.assertIn(API_KEY.search(self.text)[0], shell_commands(self.text, "curl")[0])
        self.assertRegex(self.text, rf"api_host\W+http://{self.address}")

    def test_a_pasted_curl_line_works_and_is_shown_as_it_happens(self):
        for command in shell_commands(self.text, "curl"):
            with self.subTest(command):
                before = len(self.demo.lines.all)
                done = subprocess.run(
                    ["sh", "-c", command], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_S,
                )
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertNotRegex(done.stdout, r"Forbidden|Unauthorized")
                path = re.search(rf"http://{self.address}([^\s'\"?]*)", command)[1]
                shown = self.demo.lines.wait(
                    lambda lines: next((line for line in lines[before:] if path in line), None), f"line that shows {path}"
                )
                self.assertRegex(shown, r"\b20[0-9]\b")
                self.assertNotIn("\x1b", shown, "colour is for terminals")
                self.assertNotRegex(shown, API_KEY)

    def test_the_pasted_python_works(self):
        # The lines that follow the import, as far as they are Python: pasted into a file as they are.
        lines = self.text.splitlines()
        start = next(i for i, line in enumerate(lines) if re.match(r"\s*(import datadog|from datadog)", line))
        end = start
        while end < len(lines) and lines[end].strip():
            end += 1
        indent = re.match(r"\s*", lines[start])[0]
        program = "\n".join(line.removeprefix(indent) for line in lines[start:end])
        done = subprocess.run([sys.executable, "-c", program], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_S)
        self.assertEqual(done.returncode, 0, f"{program}\n{done.stderr}")


class EndCase(TestCase):
    def test_ctrl_c_ends_it_with_0_and_leaves_nothing_in_the_temporary_folder(self):
        demo = Demo(output="text")
        self.addCleanup(demo.close)
        demo.lines.wait(lambda lines: lines, "output")
        self.assertNotEqual(os.listdir(demo.tmpdir), [], "its store is in the temporary folder")
        self.assertEqual(demo.interrupt(), 0)
        self.assertEqual(os.listdir(demo.tmpdir), [])

    def test_a_data_dir_is_kept_and_its_keys_work_again(self):
        with tempfile.TemporaryDirectory() as data_dir:
            first = Gateway(data_dir=data_dir)
            self.addCleanup(first.close)
            self.assertEqual(os.path.realpath(first.hello["data_dir"]), os.path.realpath(data_dir))
            self.assertEqual(first.demo.interrupt(), 0)
            sockets = [name for name in os.listdir(data_dir) if stat.S_ISSOCK(os.lstat(os.path.join(data_dir, name)).st_mode)]
            self.assertEqual(sockets, [], "the control socket is gone")
            self.assertEqual(os.listdir(first.demo.tmpdir), [])

            second = Gateway(data_dir=data_dir)
            try:
                for key in (first.api_key, second.api_key):
                    status, _, body = second.request("GET", f"/api/v1/validate?api_key={key}")
                    self.assertEqual(status, 200, body)
            finally:
                second.close()

    def test_the_secrets_are_not_in_the_data_dir(self):
        with tempfile.TemporaryDirectory() as data_dir:
            gateway = Gateway(data_dir=data_dir)
            try:
                _, made = gateway.new_org("hunted")
                self.assertIn(made["secret"], gateway.secrets)
            finally:
                gateway.close()
            for folder, _, files in os.walk(data_dir):
                for name in files:
                    with open(os.path.join(folder, name), "rb") as file:
                        content = file.read()
                    for secret in gateway.secrets:
                        self.assertNotIn(secret.encode(), content, f"a secret is in {name}")
