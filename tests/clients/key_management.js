// The official TypeScript client against a gateway: every operation of the key, account, user and role APIs that keygate offers.
// argv: URL, API key, application key. Prints, as JSON, what was performed and what was not.
"use strict";
const assert = require("node:assert/strict");
const { client, v2 } = require("@datadog/datadog-api-client");

const [url, apiKeyAuth, appKeyAuth] = process.argv.slice(2);
const settings = client.createConfiguration({
  authMethods: { apiKeyAuth, appKeyAuth },
  baseServer: new client.BaseServerConfiguration(url, {}),
});

const performed = new Set();
const all = new Set();

// An API that notes which of its operations were called.
function noting(Api) {
  for (const name of Object.getOwnPropertyNames(Api.prototype)) {
    if (name !== "constructor" && !name.endsWith("WithPagination")) all.add(name);
  }
  return new Proxy(new Api(settings), {
    get: (api, name) => (...args) => {
      performed.add(name);
      return api[name](...args);
    },
  });
}

const keys = noting(v2.KeyManagementApi);
const accounts = noting(v2.ServiceAccountsApi);
const users = noting(v2.UsersApi);
const roles = noting(v2.RolesApi);

const create = (type, attributes) => ({ body: { data: { type, attributes } } });
const change = (type, id, attributes) => ({ body: { data: { type, id, attributes } } });
const toUser = (id) => ({ data: { type: "users", id } });

// The client throws an object with a `code` for an answer of 400 and more.
async function absent(promise) {
  await assert.rejects(promise, (error) => error.code === 404);
}

async function apiKeys() {
  const made = (await keys.createAPIKey(create("api_keys", { name: "npm" }))).data;
  assert.equal(made.attributes.key.length, 32);
  const apiKeyId = made.id;
  const shown = (await keys.getAPIKey({ apiKeyId })).data;
  assert.equal(shown.attributes.key, undefined);
  assert.equal(shown.attributes.dateLastUsed, null);
  const changed = await keys.updateAPIKey({ apiKeyId, ...change("api_keys", apiKeyId, { name: "npm 2" }) });
  assert.equal(changed.data.attributes.name, "npm 2");
  const listed = await keys.listAPIKeys({ filter: "npm", pageSize: 10, sort: "-name" });
  assert.deepEqual(listed.data.map((key) => key.id), [apiKeyId]);
  assert.equal(listed.meta.maxAllowed, 5);
  await keys.deleteAPIKey({ apiKeyId });
  await absent(keys.getAPIKey({ apiKeyId }));
}

async function applicationKeys() {
  const scopes = ["dashboards_read", "api_keys_read"];
  const made = (await keys.createCurrentUserApplicationKey(create("application_keys", { name: "npm", scopes }))).data;
  assert.deepEqual(made.attributes.scopes, scopes);
  const appKeyId = made.id;
  assert.equal((await keys.getCurrentUserApplicationKey({ appKeyId })).data.id, appKeyId);
  assert.equal((await keys.getApplicationKey({ appKeyId, include: "owned_by" })).included[0].type, "users");
  const unscoped = await keys.updateCurrentUserApplicationKey({
    appKeyId, ...change("application_keys", appKeyId, { scopes: [] }),
  });
  assert.equal(unscoped.data.attributes.scopes, null);
  const renamed = await keys.updateApplicationKey({ appKeyId, ...change("application_keys", appKeyId, { name: "npm 2" }) });
  assert.equal(renamed.data.attributes.name, "npm 2");
  assert.equal((await keys.listCurrentUserApplicationKeys({ filter: "npm 2" })).data.length, 1);
  assert.equal((await keys.listApplicationKeys({ filter: "npm 2" })).data[0].id, appKeyId);
  await keys.deleteCurrentUserApplicationKey({ appKeyId });
  await absent(keys.deleteApplicationKey({ appKeyId }));
}

async function serviceAccounts() {
  const made = await accounts.createServiceAccount(
    create("users", { name: "npm", email: "npm@acme.example", serviceAccount: true }),
  );
  const serviceAccountId = made.data.id;
  const key = await accounts.createServiceAccountApplicationKey({
    serviceAccountId, ...create("application_keys", { name: "npm" }),
  });
  const appKeyId = key.data.id;
  assert.equal(key.data.attributes.key.length, 40);
  const shown = await accounts.getServiceAccountApplicationKey({ serviceAccountId, appKeyId });
  assert.equal(shown.data.attributes.key, undefined);
  const changed = await accounts.updateServiceAccountApplicationKey({
    serviceAccountId, appKeyId, ...change("application_keys", appKeyId, { name: "npm 2" }),
  });
  assert.equal(changed.data.attributes.name, "npm 2");
  assert.equal((await accounts.listServiceAccountApplicationKeys({ serviceAccountId })).data.length, 1);
  await accounts.deleteServiceAccountApplicationKey({ serviceAccountId, appKeyId });
  await users.disableUser({ userId: serviceAccountId });
}

async function people() {
  const made = (await users.createUser(create("users", { email: "Npm.User@acme.example" }))).data;
  const userId = made.id;
  assert.equal(made.attributes.handle, "npm.user@acme.example");
  const invited = await users.sendInvitations({
    body: { data: [{ type: "user_invitations", relationships: { user: toUser(userId) } }] },
  });
  const userInvitationUuid = invited.data[0].attributes.uuid;
  assert.equal((await users.getInvitation({ userInvitationUuid })).data.relationships.user.data.id, userId);
  assert.equal((await users.getUser({ userId })).data.id, userId);
  assert.equal((await users.listUserOrganizations({ userId })).included[0].type, "orgs");
  assert.ok((await users.listUserPermissions({ userId })).data.length > 0);
  assert.equal((await users.updateUser({ userId, ...change("users", userId, { name: "N" }) })).data.attributes.name, "N");
  assert.equal((await users.listUsers({ filter: "npm.user@" })).meta.page.totalFilteredCount, 1);
  const me = (await users.getCurrentUser()).data.id;
  assert.equal((await users.updateCurrentUser(change("users", me, { name: "Me" }))).data.id, me);
  const named = (await roles.listRoles({ filter: "Datadog Standard Role" })).data[0];
  const roleId = named.id;
  assert.equal((await roles.getRole({ roleId })).data.id, roleId);
  assert.ok((await roles.listRolePermissions({ roleId })).data.length > 0);
  assert.ok((await roles.listPermissions()).data.length > 0);
  await roles.addUserToRole({ roleId, body: toUser(userId) });
  assert.ok((await roles.listRoleUsers({ roleId })).data.some((user) => user.id === userId));
  const others = (await roles.listRoles({ filter: "Read Only" })).data[0].id;
  await roles.removeUserFromRole({ roleId: others, body: toUser(userId) });
  await users.disableUser({ userId });
  await absent(users.disableUser({ userId }));
}

async function validation() {
  assert.equal((await keys.validateAPIKey()).status, "ok");
  settings.unstableOperations["v2.validate"] = true;
  assert.equal((await keys.validate()).data.attributes.valid, true);
}

async function main() {
  for (const part of [apiKeys, applicationKeys, serviceAccounts, people, validation]) await part();
  const left = [...all].filter((name) => !performed.has(name)).sort();
  console.log(JSON.stringify({ performed: [...performed].sort(), left }));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
