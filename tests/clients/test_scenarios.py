"""The behaviour scenarios that Datadog publishes for its clients, performed against keygate: each passes, or says why not."""

import gateway
from api_client import configuration
from datadog_api_client import ApiClient, Configuration
from scenarios import Performance, Published, archive, snake

FEATURES = ("key_management", "service_accounts", "users")

NO_TOKENS = "access tokens are a fourth kind of credential, which keygate does not have"
ONE_ROLE = "everybody has a role here; without one in the request it is the one that only looks, and that has permissions"

ONE_PROVIDER = "there is one identity provider for all, in the configuration"
THREE_USERS = "it counts the three users of the org it was recorded with; paging is tested in test_key_management"

# Why a scenario that its publisher performs is not performed here.
REASONS = {
    "Create a personal access token": NO_TOKENS,
    "Get a personal access token": NO_TOKENS,
    "Get all personal access tokens": NO_TOKENS,
    "Get all access tokens": NO_TOKENS,
    "Revoke a personal access token": NO_TOKENS,
    "Update a personal access token": NO_TOKENS,
    "Create an access token for a service account": NO_TOKENS,
    "Get an access token for a service account": NO_TOKENS,
    "List access tokens for a service account": NO_TOKENS,
    "Revoke an access token for a service account": NO_TOKENS,
    "Update an access token for a service account": NO_TOKENS,
    'Get a user permissions returns "OK" response': ONE_ROLE,
    "Get identity provider overrides for a user": ONE_PROVIDER,
    "Update identity provider overrides for a user": ONE_PROVIDER,
    "Anonymize users": "users are disabled; the audit log keeps their names",
    "Delete a pending user's invitations": "an invitation ends by itself, when its user sets a password or is disabled",
    'List all users returns "OK" response with pagination': THREE_USERS,
}

LEFT_OUT = "generated and not performed by its publisher either: it does not say what would be refused"
# Those of them that are complete. Where something is not found, any id that nothing has completes it.
COMPLETE = ("Get current user", "Validate API and application keys", "Validate API key")


def why_not(scenario):
    """Why a scenario is not performed; None if it is."""
    what, _, status = scenario.name.partition(" returns ")
    reason = REASONS.get(scenario.name) or REASONS.get(what)
    if reason or not scenario.is_left_out_by_its_publisher or what in COMPLETE:
        return reason
    is_absent = status.casefold().startswith('"not found"') and any("REPLACE.ME" in step for step in scenario.steps)
    return None if is_absent else LEFT_OUT


def a_role(performance):
    """Roles are fixed: what takes the place of a new one is one of the three."""
    answer, _ = performance.call(performance.api_of("Roles"), "list_roles", {})
    return "role", {"data": answer["data"][0]}


class ScenarioCase(gateway.GatewayCase):
    """A gateway of its own: keys are counted."""

    @classmethod
    def setUpClass(cls):
        cls.gateway = gateway.Gateway()
        cls.addClassCleanup(cls.gateway.close)
        super().setUpClass()
        ours = configuration(cls.gateway)
        settings = Configuration(
            host=ours.host, return_http_data_only=False, spec_property_naming=True, api_key=ours.api_key,
        )
        cls.client = ApiClient(settings)
        cls.addClassCleanup(cls.client.close)

    def perform(self, scenario):
        instead = {'there is a valid "role" in the system': a_role}
        Performance(PUBLISHED, self.client, scenario, instead).perform(scenario.steps)

    def test_zz_what_is_not_performed_has_a_reason(self):
        """The list of them; a reason that no scenario needs any more is wrong."""
        left = [(scenario, reason) for scenario in PUBLISHED.scenarios if (reason := why_not(scenario))]
        for scenario, reason in left:
            print(f"--            {scenario.feature}: {scenario.name}: {reason}")
        names = {name for scenario, _ in left for name in (scenario.name, scenario.name.partition(" returns ")[0])}
        self.assertEqual(set(REASONS) - names, set())
        performed = len(PUBLISHED.scenarios) - len(left)
        print(f"--            {performed} scenarios performed, {len(left)} not")
        self.assertGreater(performed, 30)


PUBLISHED = Published(archive(), FEATURES)

for _each in PUBLISHED.scenarios:
    if why_not(_each) is None:
        _name = f"test_{_each.feature}_{snake(_each.name.replace(chr(34), '').replace('-', ' '))}"
        assert not hasattr(ScenarioCase, _name), _name
        setattr(ScenarioCase, _name, lambda self, scenario=_each: self.perform(scenario))
