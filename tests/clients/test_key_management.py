"""The official Python client manages keys, users and roles of keygate by its URL alone: every operation of those four APIs."""

import unittest

import gateway
from api_client import configuration
from datadog_api_client import ApiClient
from datadog_api_client.exceptions import ApiException, NotFoundException
from datadog_api_client.model_utils import UnparsedObject
from datadog_api_client.v2.api.key_management_api import KeyManagementApi
from datadog_api_client.v2.api.roles_api import RolesApi
from datadog_api_client.v2.api.service_accounts_api import ServiceAccountsApi
from datadog_api_client.v2.api.users_api import UsersApi
from datadog_api_client.v2.model.api_key_create_attributes import APIKeyCreateAttributes
from datadog_api_client.v2.model.api_key_create_data import APIKeyCreateData
from datadog_api_client.v2.model.api_key_create_request import APIKeyCreateRequest
from datadog_api_client.v2.model.api_key_update_attributes import APIKeyUpdateAttributes
from datadog_api_client.v2.model.api_key_update_data import APIKeyUpdateData
from datadog_api_client.v2.model.api_key_update_request import APIKeyUpdateRequest
from datadog_api_client.v2.model.api_keys_type import APIKeysType
from datadog_api_client.v2.model.application_key_create_attributes import ApplicationKeyCreateAttributes
from datadog_api_client.v2.model.application_key_create_data import ApplicationKeyCreateData
from datadog_api_client.v2.model.application_key_create_request import ApplicationKeyCreateRequest
from datadog_api_client.v2.model.application_key_update_attributes import ApplicationKeyUpdateAttributes
from datadog_api_client.v2.model.application_key_update_data import ApplicationKeyUpdateData
from datadog_api_client.v2.model.application_key_update_request import ApplicationKeyUpdateRequest
from datadog_api_client.v2.model.application_keys_type import ApplicationKeysType
from datadog_api_client.v2.model.relationship_to_role_data import RelationshipToRoleData
from datadog_api_client.v2.model.relationship_to_roles import RelationshipToRoles
from datadog_api_client.v2.model.relationship_to_user import RelationshipToUser
from datadog_api_client.v2.model.relationship_to_user_data import RelationshipToUserData
from datadog_api_client.v2.model.roles_type import RolesType
from datadog_api_client.v2.model.service_account_create_attributes import ServiceAccountCreateAttributes
from datadog_api_client.v2.model.service_account_create_data import ServiceAccountCreateData
from datadog_api_client.v2.model.service_account_create_request import ServiceAccountCreateRequest
from datadog_api_client.v2.model.user_create_attributes import UserCreateAttributes
from datadog_api_client.v2.model.user_create_data import UserCreateData
from datadog_api_client.v2.model.user_create_request import UserCreateRequest
from datadog_api_client.v2.model.user_invitation_data import UserInvitationData
from datadog_api_client.v2.model.user_invitation_relationships import UserInvitationRelationships
from datadog_api_client.v2.model.user_invitations_request import UserInvitationsRequest
from datadog_api_client.v2.model.user_invitations_type import UserInvitationsType
from datadog_api_client.v2.model.user_relationships import UserRelationships
from datadog_api_client.v2.model.user_update_attributes import UserUpdateAttributes
from datadog_api_client.v2.model.user_update_data import UserUpdateData
from datadog_api_client.v2.model.user_update_request import UserUpdateRequest
from datadog_api_client.v2.model.users_type import UsersType

# What keygate does not offer, and why. Everything else in those APIs is performed below.
NO_TOKENS = "access tokens are a fourth kind of credential, which keygate does not have"
FIXED_ROLES = "the three roles are fixed"
NOT_OFFERED = {
    **{f"{verb}_personal_access_token": NO_TOKENS for verb in ("create", "get", "update", "revoke")},
    "list_personal_access_tokens": NO_TOKENS,
    **{f"{verb}_service_account_access_token": NO_TOKENS for verb in ("create", "get", "update", "revoke")},
    "list_service_account_access_tokens": NO_TOKENS,
    **{verb: FIXED_ROLES for verb in ("create_role", "clone_role", "update_role", "delete_role", "list_role_templates")},
    **{verb: FIXED_ROLES for verb in ("add_permission_to_role", "remove_permission_from_role")},
    "anonymize_users": "users are disabled; the audit log keeps their names",
    "delete_user_invitations": "an invitation ends by itself, when its user sets a password or is disabled",
    "get_user_identity_providers": "there is one identity provider for all, in the configuration",
    "update_user_identity_providers": "there is one identity provider for all, in the configuration",
}


class Calls:
    """An API of the client that notes which of its operations were called, and looks for answers that the client's models
    do not know."""

    called = set()

    def __init__(self, api):
        self._api = api

    def __getattr__(self, name):
        operation = getattr(self._api, name)

        def call(*args, **kwargs):
            Calls.called.add(name.removesuffix("_with_pagination"))
            answer = operation(*args, **kwargs)
            assert not unparsed(answer), f"{name}: the client does not understand {answer}"
            return answer

        return call


def unparsed(value):
    """Whether any part of an answer is of no model that the client has."""
    if isinstance(value, UnparsedObject):
        return True
    if isinstance(value, (list, tuple)):
        return any(unparsed(each) for each in value)
    if isinstance(value, dict):
        return any(unparsed(each) for each in value.values())
    return hasattr(value, "_data_store") and (bool(getattr(value, "_unparsed", False)) or unparsed(value._data_store))


def operations(api):
    """The operations that an API of the client has."""
    skipped = ("_with_pagination",)
    return {name for name in vars(api) if not name.startswith("_") and not name.endswith(skipped)}


def api_key(name):
    return APIKeyCreateRequest(APIKeyCreateData(attributes=APIKeyCreateAttributes(name=name), type=APIKeysType.API_KEYS))


def application_key(name, **more):
    attributes = ApplicationKeyCreateAttributes(name=name, **more)
    return ApplicationKeyCreateRequest(ApplicationKeyCreateData(attributes=attributes, type=ApplicationKeysType.APPLICATION_KEYS))


def application_key_change(key, **attributes):
    return ApplicationKeyUpdateRequest(
        ApplicationKeyUpdateData(
            id=key, type=ApplicationKeysType.APPLICATION_KEYS, attributes=ApplicationKeyUpdateAttributes(**attributes)
        )
    )


def user_change(user, **attributes):
    return UserUpdateRequest(UserUpdateData(id=user, type=UsersType.USERS, attributes=UserUpdateAttributes(**attributes)))


def to_user(user):
    return RelationshipToUser(RelationshipToUserData(id=user, type=UsersType.USERS))


class KeyManagementCase(gateway.GatewayCase):
    """A gateway of its own: keys are counted."""

    @classmethod
    def setUpClass(cls):
        cls.gateway = gateway.Gateway()
        cls.addClassCleanup(cls.gateway.close)
        super().setUpClass()
        cls.client = ApiClient(configuration(cls.gateway))
        cls.keys = Calls(KeyManagementApi(cls.client))
        cls.accounts = Calls(ServiceAccountsApi(cls.client))
        cls.users = Calls(UsersApi(cls.client))
        cls.roles = Calls(RolesApi(cls.client))

    @classmethod
    def tearDownClass(cls):
        cls.client.close()

    def absent(self, operation, *args, text=None):
        with self.assertRaises(NotFoundException) as refused:
            operation(*args)
        if text:
            self.assertEqual(refused.exception.body, {"errors": [text]})

    def test_api_keys(self):
        made = self.keys.create_api_key(body=api_key("agents")).data
        self.assertEqual((len(made.attributes.key), made.attributes.key[-4:]), (32, made.attributes.last4))
        self.assertEqual(str(made.relationships.created_by.data.id), self.gateway.user_id)
        shown = self.keys.get_api_key(made.id, include="created_by,modified_by")
        self.assertFalse(hasattr(shown.data.attributes, "key"))
        self.assertIsNone(shown.data.attributes.date_last_used)
        self.assertEqual([str(user.id) for user in shown.included], [self.gateway.user_id])
        changed = self.keys.update_api_key(
            made.id,
            body=APIKeyUpdateRequest(
                APIKeyUpdateData(id=made.id, type=APIKeysType.API_KEYS, attributes=APIKeyUpdateAttributes(name="renamed"))
            ),
        )
        self.assertEqual(changed.data.attributes.name, "renamed")
        listed = self.keys.list_api_keys(page_size=10, page_number=0, filter="renam", include="created_by")
        self.assertEqual([key.id for key in listed.data], [made.id])
        self.assertEqual((listed.meta.max_allowed, listed.meta.page.total_filtered_count), (5, 1))
        # What was made is a key: it opens the API beside an application key.
        with ApiClient(configuration(self.gateway, made.attributes.key, self.gateway.application_key)) as client:
            self.assertEqual(KeyManagementApi(client).get_api_key(made.id).data.id, made.id)
        self.keys.delete_api_key(made.id)
        self.absent(self.keys.get_api_key, made.id, text="API key not found")
        self.absent(self.keys.get_api_key, "invalidId", text="API key not found")

    def test_application_keys(self):
        made = self.keys.create_current_user_application_key(body=application_key("own", scopes=["api_keys_read", "a_b"])).data
        self.assertEqual((len(made.attributes.key), made.attributes.scopes), (40, ["api_keys_read", "a_b"]))
        own = self.keys.get_current_user_application_key(made.id)
        self.assertEqual({str(included.type) for included in own.included}, {"users", "roles"})
        changed = self.keys.update_current_user_application_key(made.id, body=application_key_change(made.id, scopes=[]))
        self.assertIsNone(changed.data.attributes.scopes)
        changed = self.keys.update_application_key(made.id, body=application_key_change(made.id, name="ours"))
        self.assertEqual(changed.data.attributes.name, "ours")
        shown = self.keys.get_application_key(made.id, include="owned_by")
        self.assertEqual(str(shown.data.relationships.owned_by.data.id), self.gateway.user_id)
        listed = self.keys.list_current_user_application_keys(sort="-name", filter="ours")
        self.assertEqual([key.id for key in listed.data], [made.id])
        listed = self.keys.list_application_keys(filter_owned_by=self.gateway.user_id, include="owned_by")
        self.assertIn(made.id, [key.id for key in listed.data])
        self.assertEqual(listed.meta.max_allowed_per_user, 1000)
        self.keys.delete_current_user_application_key(made.id)
        self.absent(self.keys.get_current_user_application_key, made.id, text="Application key not found")
        again = self.keys.create_current_user_application_key(body=application_key("own")).data
        self.keys.delete_application_key(again.id)
        self.absent(self.keys.get_application_key, again.id, text="Application key not found")

    def test_service_accounts_and_their_keys(self):
        attributes = ServiceAccountCreateAttributes(email="ci@acme.example", name="CI", service_account=True)
        body = ServiceAccountCreateRequest(ServiceAccountCreateData(type=UsersType.USERS, attributes=attributes))
        account = self.accounts.create_service_account(body=body).data
        self.assertTrue(account.attributes.service_account)
        self.assertEqual(account.attributes.handle, account.id)
        made = self.accounts.create_service_account_application_key(account.id, body=application_key("deploy")).data
        self.assertEqual(str(made.relationships.owned_by.data.id), account.id)
        shown = self.accounts.get_service_account_application_key(account.id, made.id).data
        self.assertFalse(hasattr(shown.attributes, "key"))
        body = application_key_change(made.id, name="deploys")
        changed = self.accounts.update_service_account_application_key(account.id, made.id, body=body).data
        self.assertEqual(changed.attributes.name, "deploys")
        listed = self.accounts.list_service_account_application_keys(account.id)
        self.assertEqual([key.id for key in listed.data], [made.id])
        # A request with it is logged as the account's.
        with ApiClient(configuration(self.gateway, self.gateway.api_key, made.attributes.key)) as client:
            who = UsersApi(client).get_current_user()
        self.assertEqual(who.data.id, account.id)
        self.accounts.delete_service_account_application_key(account.id, made.id)
        self.absent(self.accounts.get_service_account_application_key, account.id, made.id)
        self.users.disable_user(account.id)

    def test_users_and_invitations(self):
        body = UserCreateRequest(UserCreateData(type=UsersType.USERS, attributes=UserCreateAttributes(email="Bob@acme.example", title="ops")))
        bob = self.users.create_user(body=body).data
        self.assertEqual((bob.attributes.handle, bob.attributes.status), ("bob@acme.example", "Active"))
        with self.assertRaises(ApiException) as refused:
            self.users.create_user(body=body)
        self.assertEqual(refused.exception.status, 409)
        invitation = UserInvitationData(
            type=UserInvitationsType.USER_INVITATIONS, relationships=UserInvitationRelationships(user=to_user(bob.id))
        )
        made = self.users.send_invitations(body=UserInvitationsRequest(data=[invitation])).data
        self.assertIn("/welcome/", made[0].attributes["login_link"])
        shown = self.users.get_invitation(made[0].attributes.uuid).data
        self.assertEqual((shown.id, str(shown.relationships.user.data.id)), (made[0].id, bob.id))
        self.assertEqual(self.users.get_user(bob.id).data.attributes.title, "ops")
        self.assertEqual(self.users.list_user_organizations(bob.id).included[0].id, self.gateway.org_id)
        names = [permission.attributes.name for permission in self.users.list_user_permissions(bob.id).data]
        self.assertIn("api_keys_read", names)
        changed = self.users.update_user(bob.id, body=user_change(bob.id, name="Robert")).data
        self.assertEqual(changed.attributes.name, "Robert")
        listed = self.users.list_users(filter="robert", page_size=5, filter_status="Active")
        self.assertEqual([user.id for user in listed.data], [bob.id])
        everybody = list(self.users.list_users_with_pagination(page_size=1))
        self.assertEqual(len(everybody), self.users.list_users().meta.page.total_count)
        me = self.users.get_current_user().data
        self.assertEqual(me.id, self.gateway.user_id)
        self.assertEqual(self.users.update_current_user(body=user_change(me.id, name="Me")).data.attributes.name, "Me")
        self.users.disable_user(bob.id)
        self.absent(self.users.disable_user, bob.id)
        self.assertTrue(self.users.get_user(bob.id).data.attributes.disabled)

    def test_roles_and_permissions(self):
        roles = {role.attributes.name: role.id for role in self.roles.list_roles().data}
        self.assertEqual(len(roles), 3)
        standard = roles["Datadog Standard Role"]
        self.assertEqual(self.roles.get_role(standard).data.id, standard)
        names = [permission.attributes.name for permission in self.roles.list_role_permissions(standard).data]
        self.assertIn("user_app_keys", names)
        self.assertGreater(len(self.roles.list_permissions().data), len(names))
        relations = UserRelationships(roles=RelationshipToRoles(data=[RelationshipToRoleData(id=standard, type=RolesType.ROLES)]))
        attributes = UserCreateAttributes(email="eve@acme.example")
        body = UserCreateRequest(UserCreateData(type=UsersType.USERS, attributes=attributes, relationships=relations))
        eve = self.users.create_user(body=body).data
        self.assertEqual(eve.relationships.roles.data[0].id, standard)
        reader = roles["Datadog Read Only Role"]
        having = self.roles.add_user_to_role(reader, body=to_user(eve.id)).data
        self.assertIn(eve.id, [user.id for user in having])
        self.assertIn(eve.id, [user.id for user in self.roles.list_role_users(reader).data])
        self.roles.remove_user_from_role(standard, body=to_user(eve.id))
        self.assertEqual(self.users.get_user(eve.id).data.relationships.roles.data[0].id, reader)
        self.users.disable_user(eve.id)

    def test_validation(self):
        self.assertEqual(self.keys.validate_api_key().status.value, "ok")
        self.client.configuration.unstable_operations["validate"] = True
        self.assertEqual(str(self.keys.validate().data.id), self.gateway.org_id)

    def test_zz_every_operation_was_performed_or_says_why_not(self):
        all_of_them = set().union(*map(operations, (KeyManagementApi, ServiceAccountsApi, UsersApi, RolesApi)))
        self.assertEqual(all_of_them - Calls.called - set(NOT_OFFERED), set())
        self.assertEqual(set(NOT_OFFERED) & Calls.called, set())


if __name__ == "__main__":
    unittest.main()
