//! The answers that quote the question, in the envelopes recorded from the real service. Nothing is remembered, so what
//! was not asked for in this very request is made up.

use std::{
    borrow::Cow,
    time::{SystemTime, UNIX_EPOCH},
};

use hyper::HeaderMap;
use serde_json::{Value, json};

use super::target::{Target, parameter};

/// What a composed answer may quote.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub target: &'a Target<'a>,
    /// What stood for each `{}` of the row.
    pub ids: &'a [&'a str],
    pub headers: &'a HeaderMap,
    /// The body as JSON; null when it was not held, was too long or is none.
    pub body: Value,
    /// A number that no other request of this intake has.
    pub serial: u64,
}

const ORG: &str = "d0000000-0000-4000-8000-000000000001";
const USER: &str = "d0000000-0000-4000-8000-000000000002";
const KEY: &str = "d0000000-0000-4000-8000-000000000003";
const EMAIL: &str = "demo@example.com";
const TIME: &str = "2026-01-01T00:00:00.000000+00:00";
/// These open nothing: the intake checks no key.
const API_KEY: &str = "d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0";
const APP_KEY: &str = "d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0";
const LAST_4: &str = "d0d0";

impl<'a> Asked<'a> {
    fn query(&self, name: &str) -> Option<Cow<'_, str>> {
        parameter(&self.target.query, name)
    }

    /// The last id of the path, or a made-up one.
    fn id(&self) -> &'a str {
        self.ids.last().copied().unwrap_or(KEY)
    }

    fn attribute(&self, name: &str) -> Option<&Value> {
        self.body.pointer("/data/attributes")?.get(name)
    }

    fn text_attribute(&self, name: &str) -> Option<&str> {
        self.attribute(name)?.as_str()
    }

    fn key_name(&self) -> &str {
        self.text_attribute("name")
            .or_else(|| self.body.get("name")?.as_str())
            .unwrap_or("demo")
    }

    /// One page of a list of one item. The pages after it are empty, or a client that pages until it sees fewer than it
    /// asked for would never end.
    fn page(&self, item: Value) -> Value {
        let is_first = self
            .query("page[number]")
            .is_none_or(|number| number == "0");
        if is_first { json!([item]) } else { json!([]) }
    }

    /// The name of a list's item: what was filtered for, as nothing else would have passed the filter.
    fn listed_name(&self) -> Cow<'_, str> {
        self.query("filter").unwrap_or(Cow::Borrowed("demo"))
    }
}

/// What a browser SDK is told: the id it made up itself.
pub(super) fn request_id(asked: &Asked<'_>) -> Value {
    let header = || {
        asked
            .headers
            .get("dd-request-id")
            .and_then(|value| value.to_str().ok())
            .map(Cow::Borrowed)
    };
    let given = asked
        .query("dd-request-id")
        .or_else(header)
        .filter(|id| id.len() <= 64);
    json!({"request_id": given.as_deref().unwrap_or("00000000-0000-0000-0000-000000000000")})
}

fn event_of(asked: &Asked<'_>, id: u64) -> Value {
    let text = |name: &str| asked.body.get(name).and_then(Value::as_str);
    let now = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |passed| passed.as_secs())
    };
    let tags = asked
        .body
        .get("tags")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    json!({
        "id": id, "id_str": id.to_string(), "title": text("title").unwrap_or_default(), "text": text("text").unwrap_or_default(),
        "date_happened": asked.body.get("date_happened").and_then(Value::as_u64).unwrap_or_else(now), "handle": null,
        "priority": text("priority"), "related_event_id": asked.body.get("related_event_id").and_then(Value::as_u64),
        "tags": tags.filter(|tag| tag.is_string()).collect::<Vec<_>>(),
        "url": format!("https://app.datadoghq.com/event/event?id={id}"),
    })
}

pub(super) fn event_accepted(asked: &Asked<'_>) -> Value {
    json!({"status": "ok", "event": event_of(asked, asked.serial)})
}

pub(super) fn event(asked: &Asked<'_>) -> Value {
    json!({"event": event_of(asked, asked.id().parse().unwrap_or(asked.serial))})
}

pub(super) fn event_v2_accepted(asked: &Asked<'_>) -> Value {
    let id = asked.serial.to_string();
    let link = format!("https://app.datadoghq.com/event/event?uid={id}");
    json!({
        "data": {"attributes": {"attributes": {"evt": {"id": id, "uid": id}}}, "id": "_", "type": "event"},
        "links": {"self": link},
    })
}

pub(super) fn deployment_accepted(_: &Asked<'_>) -> Value {
    json!({"status": "ok", "data": {"id": KEY, "type": "dora_deployment"}})
}

pub(super) fn failure_accepted(_: &Asked<'_>) -> Value {
    json!({"status": "ok", "data": {"id": KEY, "type": "dora_failure"}})
}

/// Everything off: the tracer then asks for nothing more.
pub(super) fn test_settings(_: &Asked<'_>) -> Value {
    json!({"data": {"id": "1", "type": "ci_app_tracers_test_service_settings", "attributes": {
        "code_coverage": false, "tests_skipping": false, "itr_enabled": false, "require_git": false,
        "flaky_test_retries_enabled": false, "known_tests_enabled": false,
        "early_flake_detection": {"enabled": false}, "test_management": {"enabled": false},
    }}})
}

pub(super) fn validity(_: &Asked<'_>) -> Value {
    json!({"data": {"id": ORG, "type": "validate_v2", "attributes": {
        "valid": true, "api_key_scopes": [], "api_key_id": KEY,
    }}})
}

pub(super) fn intake_key(_: &Asked<'_>) -> Value {
    json!({"data": {"id": KEY, "type": "intake_key", "attributes": {"api_key": API_KEY}}})
}

pub(super) fn delegated_token(_: &Asked<'_>) -> Value {
    json!({"data": {"id": KEY, "type": "delegated_token", "attributes": {"access_token": APP_KEY, "expires": "900"}}})
}

fn by_user(id: &str) -> Value {
    json!({"data": {"type": "users", "id": id}})
}

fn api_key_of(id: &str, name: &str, is_shown: bool, has_use: bool) -> Value {
    let mut attributes = json!({
        "created_at": TIME, "last4": LAST_4, "modified_at": TIME, "remote_config_read_enabled": true,
        "category": "default", "name": name,
    });
    if let Some(attributes) = attributes.as_object_mut() {
        if is_shown {
            attributes.insert("key".to_owned(), API_KEY.into());
        }
        if has_use {
            let told = "Timestamp of when this key was last used in the past ninety (90) days, null if no recent usage";
            attributes.insert("date_last_used".to_owned(), Value::Null);
            attributes.insert("used_in_last_24_hours".to_owned(), false.into());
            attributes.insert(
                "last_used_date".to_owned(),
                json!({"timestamp": null, "description": told}),
            );
        }
    }
    json!({"type": "api_keys", "id": id, "attributes": attributes, "relationships": {
        "created_by": by_user(USER), "modified_by": by_user(USER), "leak_information": {"data": null},
    }})
}

pub(super) fn api_key_created(asked: &Asked<'_>) -> Value {
    json!({"data": api_key_of(KEY, asked.key_name(), true, false)})
}

pub(super) fn api_key(asked: &Asked<'_>) -> Value {
    json!({"data": api_key_of(asked.id(), asked.key_name(), true, true)})
}

pub(super) fn api_keys(asked: &Asked<'_>) -> Value {
    let item = api_key_of(KEY, &asked.listed_name(), false, true);
    json!({"data": asked.page(item), "meta": {"page": {"total_filtered_count": 1}, "max_allowed": 200}})
}

/// What an application key shows of itself, which differs by path.
#[derive(Clone, Copy, Default)]
struct AppKey<'a> {
    is_shown: bool,
    has_use: bool,
    owner: Option<&'a str>,
}

fn app_key_of(asked: &Asked<'_>, id: &str, name: &str, shape: AppKey<'_>) -> Value {
    let scopes = asked
        .attribute("scopes")
        .and_then(Value::as_array)
        .filter(|scopes| {
            // None at all is how Terraform says "not narrowed", and it expects null back.
            !scopes.is_empty() && scopes.iter().all(Value::is_string)
        });
    let mut attributes =
        json!({"name": name, "created_at": TIME, "last4": LAST_4, "scopes": scopes});
    let mut relationships = json!({"leak_information": {"data": null}});
    if let Some(attributes) = attributes.as_object_mut() {
        if shape.is_shown {
            attributes.insert("key".to_owned(), APP_KEY.into());
        }
        if shape.has_use {
            attributes.insert("last_used_at".to_owned(), Value::Null);
        }
    }
    if let (Some(relationships), Some(owner)) = (relationships.as_object_mut(), shape.owner) {
        relationships.insert("owned_by".to_owned(), by_user(owner));
    }
    json!({"type": "application_keys", "id": id, "attributes": attributes, "relationships": relationships})
}

fn one_app_key(asked: &Asked<'_>, shape: AppKey<'_>) -> Value {
    json!({"data": app_key_of(asked, asked.id(), asked.key_name(), shape)})
}

fn app_keys_of(asked: &Asked<'_>, owner: Option<&str>) -> Value {
    let item = app_key_of(
        asked,
        KEY,
        &asked.listed_name(),
        AppKey {
            has_use: true,
            owner,
            ..AppKey::default()
        },
    );
    json!({"data": asked.page(item), "meta": {"page": {"total_filtered_count": 1}, "max_allowed_per_user": 1000}})
}

pub(super) fn app_keys(asked: &Asked<'_>) -> Value {
    app_keys_of(asked, Some(USER))
}

/// A user's own keys and a service account's: the owner is in the question.
pub(super) fn own_app_keys(asked: &Asked<'_>) -> Value {
    app_keys_of(asked, None)
}

pub(super) fn app_key(asked: &Asked<'_>) -> Value {
    one_app_key(
        asked,
        AppKey {
            has_use: true,
            owner: Some(USER),
            ..AppKey::default()
        },
    )
}

pub(super) fn app_key_changed(asked: &Asked<'_>) -> Value {
    one_app_key(
        asked,
        AppKey {
            owner: Some(USER),
            ..AppKey::default()
        },
    )
}

pub(super) fn own_app_key(asked: &Asked<'_>) -> Value {
    one_app_key(
        asked,
        AppKey {
            is_shown: true,
            has_use: true,
            owner: Some(USER),
        },
    )
}

/// Created or renamed: the recorded answers are alike.
pub(super) fn own_app_key_changed(asked: &Asked<'_>) -> Value {
    one_app_key(
        asked,
        AppKey {
            is_shown: true,
            owner: Some(USER),
            ..AppKey::default()
        },
    )
}

pub(super) fn account_app_key_created(asked: &Asked<'_>) -> Value {
    let shape = AppKey {
        is_shown: true,
        owner: Some(asked.id()),
        ..AppKey::default()
    };
    json!({"data": app_key_of(asked, KEY, asked.key_name(), shape)})
}

pub(super) fn account_app_key(asked: &Asked<'_>) -> Value {
    one_app_key(
        asked,
        AppKey {
            has_use: true,
            ..AppKey::default()
        },
    )
}

pub(super) fn account_app_key_changed(asked: &Asked<'_>) -> Value {
    one_app_key(asked, AppKey::default())
}

pub(super) fn access_token(asked: &Asked<'_>) -> Value {
    json!({"data": {"type": "personal_access_tokens", "id": KEY, "attributes": {
        "name": asked.key_name(), "created_at": TIME, "key": APP_KEY, "scopes": asked.attribute("scopes").filter(|scopes| scopes.is_array()),
    }}})
}

/// In v1 the path's id is the key itself.
fn api_key_v1_of(asked: &Asked<'_>) -> Value {
    let key = asked.ids.last().copied().unwrap_or(API_KEY);
    json!({"created_by": EMAIL, "name": asked.key_name(), "key": key, "created": "2026-01-01 00:00:00"})
}

pub(super) fn api_key_v1(asked: &Asked<'_>) -> Value {
    json!({"api_key": api_key_v1_of(asked)})
}

pub(super) fn api_keys_v1(asked: &Asked<'_>) -> Value {
    json!({"api_keys": [api_key_v1_of(asked)]})
}

fn app_key_v1_of(asked: &Asked<'_>) -> Value {
    let key = asked.ids.last().copied().unwrap_or(APP_KEY);
    json!({"owner": EMAIL, "hash": key, "name": asked.key_name()})
}

pub(super) fn app_key_v1(asked: &Asked<'_>) -> Value {
    json!({"application_key": app_key_v1_of(asked)})
}

pub(super) fn app_keys_v1(asked: &Asked<'_>) -> Value {
    json!({"application_keys": [app_key_v1_of(asked)]})
}

fn user_of(asked: &Asked<'_>, id: &str, handle: Option<&str>, is_service: bool) -> Value {
    let email = asked.text_attribute("email").unwrap_or(EMAIL);
    json!({"type": "users", "id": id, "attributes": {
        "name": asked.text_attribute("name").unwrap_or("Demo"), "handle": handle.unwrap_or(email), "created_at": TIME,
        "modified_at": TIME, "email": email, "icon": "", "title": asked.text_attribute("title"), "verified": true,
        "service_account": is_service, "disabled": false, "allowed_login_methods": [], "status": "Active",
    }, "relationships": {"roles": {"data": []}, "org": {"data": {"type": "orgs", "id": ORG}}}})
}

pub(super) fn user(asked: &Asked<'_>) -> Value {
    json!({"data": user_of(asked, asked.ids.last().copied().unwrap_or(USER), None, false)})
}

pub(super) fn users(asked: &Asked<'_>) -> Value {
    let item = user_of(asked, USER, None, false);
    json!({"data": asked.page(item), "meta": {"page": {"total_count": 1, "total_filtered_count": 1}}})
}

/// Its handle is its own id.
pub(super) fn service_account(asked: &Asked<'_>) -> Value {
    json!({"data": user_of(asked, KEY, Some(KEY), true)})
}

/// One series of one point, at the end of the time asked for.
pub(super) fn query(asked: &Asked<'_>) -> Value {
    let millis = |name: &str| {
        asked
            .query(name)
            .and_then(|text| text.parse::<i64>().ok())
            .unwrap_or(0)
            .saturating_mul(1000)
    };
    let (from, to) = (millis("from"), millis("to"));
    let query = asked.query("query").unwrap_or_default();
    json!({
        "status": "ok", "res_type": "time_series", "resp_version": 1, "from_date": from, "to_date": to, "message": "",
        "query": query, "group_by": [], "series": [{
            "metric": "demo.requests", "display_name": "demo.requests", "expression": query, "scope": "*", "aggr": "avg",
            "start": from, "end": to, "interval": 60, "length": 1, "pointlist": [[to, 1.0]], "query_index": 0, "tag_set": [],
        }],
    })
}
