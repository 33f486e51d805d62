"""Reads the behaviour scenarios that are published with the source of the Python client, and performs them with that client.
The source is fetched by tests/run and nothing of it is kept here. No tests here."""

import json
import os
import re
import tarfile
import time
from importlib import import_module

from datadog_api_client.exceptions import ApiException

FOLDER = "tests/v2/features/"


class Published:
    """The scenarios of some features, and what their `Given` and their cleaning up stand for."""

    def __init__(self, archive, features):
        self.scenarios = []
        with tarfile.open(archive) as source:
            texts = {}
            for member in source:
                _, _, name = member.name.partition("/")
                if name.startswith(FOLDER) and (name.endswith(".json") or name[len(FOLDER):-len(".feature")] in features):
                    texts[name[len(FOLDER):]] = source.extractfile(member).read().decode()
        self.given = {step["step"]: step for step in json.loads(texts["given.json"])}
        self.undo = json.loads(texts["undo.json"])
        for feature in features:
            self.scenarios += parse(feature, texts[f"{feature}.feature"])


class Scenario:
    """One scenario: its tags, its name, its steps."""

    def __init__(self, feature, tags, name, steps):
        self.feature, self.tags, self.name, self.steps = feature, tags, name, steps

    @property
    def is_left_out_by_its_publisher(self):
        """Whether its publisher has it and does not perform it."""
        return "@skip" in self.tags


def parse(feature, text):
    background, found, tags, steps = [], [], [], []
    for line in map(str.strip, text.splitlines()):
        if line.startswith("@"):
            tags = line.split()
        elif line.startswith("Background:"):
            steps = background
        elif line.startswith("Scenario:"):
            steps = []
            found.append(Scenario(feature, tags, line.removeprefix("Scenario:").strip(), steps))
        elif match := re.match(r"(Given|When|Then|And|But) (.*)", line):
            steps.append(match.group(2))
    for scenario in found:
        scenario.steps = background + scenario.steps
    return found


def snake(name):
    """`CreateAPIKey` is `create_api_key`, `Key Management` is `key_management`."""
    parts = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", name.replace(" ", "_"))
    return re.sub(r"_+", "_", re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", parts)).lower()


def look_up(value, path):
    """What is at `data[0].attributes.name`."""
    for part in re.findall(r"[^.\[\]]+", path):
        value = value[int(part)] if part.isdigit() else value[part]
    return value


class Performance:
    """One scenario being performed by the client."""

    def __init__(self, published, client, scenario, instead):
        self.published, self.client = published, client
        # What takes the place of a `Given` that keygate does not make.
        self.instead = instead
        unique = f"Test-{re.sub('[^A-Za-z0-9]+', '_', scenario.name)}-{time.time_ns() // 1000}"
        # What is to be filled in for something that is not there: the id that the body has, or one like it.
        absent = re.search(r'"id": "([0-9a-f-]{36})"', " ".join(scenario.steps))
        absent = absent.group(1) if absent else "00112233-4455-6677-8899-aabbccddeeff"
        self.context = {"unique": unique, "unique_lower": unique.lower(), "REPLACE": {"ME": absent}}
        self.api = self.operation = self.answer = self.status = None
        self.arguments = {}
        self.undoings = []

    def perform(self, steps):
        try:
            for step in steps:
                self.step(step)
        finally:
            for undo in reversed(self.undoings):
                undo()

    def rendered(self, text):
        return re.sub(r"\{\{\s*([^}]+?)\s*\}\}", lambda match: str(look_up(self.context, match.group(1))), text)

    def api_of(self, tag):
        module = import_module(f"datadog_api_client.v2.api.{snake(tag)}_api")
        return getattr(module, f"{tag.replace(' ', '')}Api")(self.client)

    def call(self, api, operation, arguments):
        """Performs an operation with arguments given as JSON; its answer as plain data."""
        known = getattr(api, f"_{operation}_endpoint").params_map
        parsed = {name: self.client.deserialize(text, known[name]["openapi_types"], True) for name, text in arguments.items()}
        answer, status, _ = getattr(api, operation)(**parsed)
        if hasattr(answer, "to_dict"):
            assert not answer._unparsed, f"the client does not understand {answer}"
            answer = json.loads(json.dumps(answer.to_dict(), default=str))
        self.undoings.append(lambda: self.clean_up(operation, answer))
        return answer, status

    def clean_up(self, operation, answer):
        found = [step for name, step in self.published.undo.items() if snake(name) == operation]
        for step in found:
            undo = step["undo"]
            if undo["type"] != "unsafe":
                continue
            api = self.api_of(undo.get("tag", step["tag"]))
            arguments = {}
            for parameter in undo["parameters"]:
                arguments[parameter["name"]] = look_up(answer, parameter["source"])
            try:
                getattr(api, snake(undo["operationId"]))(**arguments)
            except ApiException as refused:
                # The scenario did it itself.
                assert refused.status == 404, refused

    def step(self, text):
        for pattern, do in STEPS:
            if match := re.fullmatch(pattern, text):
                return do(self, *match.groups())
        if text in self.instead:
            key, value = self.instead[text](self)
            self.context[key] = value
            return None
        given = self.published.given.get(text)
        assert given, f"no such step: {text}"
        arguments = {}
        for parameter in given.get("parameters", []):
            value = parameter.get("value")
            arguments[parameter["name"]] = (
                self.rendered(value) if value is not None else json.dumps(look_up(self.context, parameter["source"]))
            )
        answer, _ = self.call(self.api_of(given["tag"]), snake(given["operationId"]), arguments)
        source = given.get("source")
        self.context[given["key"]] = look_up(answer, source) if source else answer
        return None

    # -- steps

    def start(self, tag):
        self.api = self.api_of(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", tag))

    def enable(self, name):
        self.client.configuration.unstable_operations[snake(name)] = True

    def new_request(self, name):
        self.operation, self.arguments = snake(name), {}

    def body(self, text):
        self.arguments["body"] = self.rendered(text)

    def parameter_from(self, name, path):
        self.arguments[snake(name.replace("[", "_").replace("]", ""))] = json.dumps(look_up(self.context, path))

    def parameter(self, name, value):
        self.arguments[snake(name.replace("[", "_").replace("]", ""))] = self.rendered(value)

    def send(self):
        try:
            self.answer, self.status = self.call(self.api, self.operation, self.arguments)
        except ApiException as refused:
            self.answer, self.status = refused.body, refused.status

    def has_status(self, status):
        assert self.status == int(status), f"{self.status} and not {status}: {self.answer}"

    def equals(self, path, value):
        found, wanted = look_up(self.answer, path), json.loads(self.rendered(value))
        assert found == wanted, f"{path} is {found!r} and not {wanted!r}"

    def same(self, path, other):
        found, wanted = look_up(self.answer, path), look_up(self.context, other)
        assert found == wanted, f"{path} is {found!r} and not {wanted!r}"

    def length(self, path, count):
        found = look_up(self.answer, path)
        assert len(found) == int(count), f"{path} has {len(found)} and not {count}"

    def is_false(self, path):
        assert look_up(self.answer, path) is False, path

    def has_field(self, path, field):
        assert field in look_up(self.answer, path), f"{path} has no {field}"


STEPS = [
    (r'a valid "(?:apiKeyAuth|appKeyAuth)" key in the system', lambda self: None),
    (r'operation "(\w+)" enabled', Performance.enable),
    (r'an instance of "(\w+)" API', Performance.start),
    (r'new "(\w+)" request', Performance.new_request),
    (r"body with value (.*)", Performance.body),
    (r'request contains "([^"]+)" parameter from "([^"]+)"', Performance.parameter_from),
    (r'request contains "([^"]+)" parameter with value (.*)', Performance.parameter),
    (r"the request is sent", Performance.send),
    (r"the response status is (\d+) .*", Performance.has_status),
    (r'the response "([^"]+)" is equal to (.*)', Performance.equals),
    (r'the response "([^"]+)" has the same value as "([^"]+)"', Performance.same),
    (r'the response "([^"]+)" has length (\d+)', Performance.length),
    (r'the response "([^"]+)" is false', Performance.is_false),
    (r'the response "([^"]+)" has field "([^"]+)"', Performance.has_field),
]


def archive():
    """The source of the client, as tests/run fetched it."""
    folder = os.environ["CLIENT_SOURCE"]
    return os.path.join(folder, next(name for name in os.listdir(folder) if name.endswith(".tar.gz")))
