"""Runs every test of this folder, one line each, and closes with one line of counts. `run.py WORD...`: those whose name has a WORD."""

import json
import os
import signal
import sys
import time
import traceback
import unittest

import gateway

HERE = os.path.dirname(os.path.abspath(__file__))


def name_of(test):
    """`test_agent.AgentCase.test_an_empty_probe_is_accepted` reads as `agent: an empty probe is accepted`."""
    parts = test.id().split(".")
    module = parts[0].removeprefix("test_").replace("__main__", "after_all")
    return f"{module}: {parts[-1].removeprefix('test_').replace('_', ' ')}"


def explained(error):
    """Where in our own code it went wrong and what was said there, without the insides of the libraries on the way."""
    kind, value, trace = error
    frames = [frame for frame in traceback.extract_tb(trace) if os.path.dirname(frame.filename) == HERE]
    return "".join(traceback.format_list(frames) + traceback.format_exception_only(kind, value))


class OneLine(unittest.TestResult):
    """One line a test; what went wrong follows at once, where it happened."""

    passed = 0
    failed = 0
    broken = False

    def startTest(self, test):
        super().startTest(test)
        self.started = time.monotonic()

    def stopTest(self, test):
        super().stopTest(test)
        self.passed += not self.broken
        self.failed += self.broken
        if not self.broken:
            print(f"ok    {time.monotonic() - self.started:5.2f} s  {name_of(test)}", flush=True)
        self.broken = False

    def _fault(self, test, error, detail=""):
        first = not self.broken
        self.broken = True
        if first:
            print(f"FAIL  {name_of(test)}", flush=True)
        print("      " + f"{detail}{explained(error)}".rstrip().replace("\n", "\n      "), flush=True)

    def addFailure(self, test, error):
        self._fault(test, error)

    def addError(self, test, error):
        self._fault(test, error)
        # A class that could not be set up, or a module that could not be loaded, runs no test of its own.
        if not isinstance(test, unittest.TestCase):
            self.failed += 1
            self.broken = False

    def addSubTest(self, test, subtest, error):
        if error is not None:
            self._fault(test, error, f"{subtest._subDescription()}\n")

    def addSkip(self, test, reason):
        self._fault(test, (AssertionError, AssertionError(f"skipped: {reason}"), None))


class AfterAll(gateway.GatewayCase):
    """What must be true of everything that the tests before it sent through the shared gateway."""

    def test_every_record_has_a_request_id_of_its_own(self):
        ids = [json.loads(line).get("request.id") for line in self.gateway.demo.lines.all[1:]]
        self.assertNotIn(None, ids)
        self.assertEqual(len(ids), len(set(ids)))

    def test_no_secret_is_in_any_record_or_on_standard_error(self):
        printed = self.gateway.demo.lines.all[1:] + self.gateway.demo.stderr().splitlines()
        self.assertIn(self.gateway.api_key, self.gateway.demo.lines.all[0])
        for secret in self.gateway.secrets:
            leaks = [line for line in printed if secret in line]
            self.assertEqual(leaks, [], "a secret was printed")


def chosen(suite, words):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from chosen(test, words)
        elif not words or any(word in name_of(test) for word in words):
            yield test


def main(words):
    loader = unittest.TestLoader()
    suite = unittest.TestSuite(chosen(loader.discover(HERE, "test_*.py"), words))
    suite.addTests(chosen(loader.loadTestsFromTestCase(AfterAll), words))
    result = OneLine()
    suite.run(result)
    if result.passed == result.failed == 0:
        print("no test has that in its name")
        result.failed = 1
    print(f"clients: {result.passed} passed, {result.failed} failed")
    return 1 if result.failed else 0


if __name__ == "__main__":
    # An exit like any other, so that what was started is ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sys.exit(main(sys.argv[1:]))
