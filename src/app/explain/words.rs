//! The words in which a decision is explained. What they are about is found out by `explain`; no secret comes here, and
//! nothing that a client wrote but its address.

use std::net::IpAddr;
use std::time::Duration;

use crate::keys::policy::{Asked, Circumstances, Reason, Rule, Staleness, Step};
use crate::keys::secret::is_secret;
use crate::keys::{Access, Key, KeyKind, KeyTable, Presented, rules};
use crate::proxy::credential::{As, Place};
use crate::proxy::reply::Refusal;
use crate::proxy::route::{Destination, Route};
use crate::proxy::target::Ambiguity;
use crate::store::ledger::time_text;

/// Why a target or a head is ambiguous.
pub(super) const fn ambiguity(which: Ambiguity) -> &'static str {
    match which {
        Ambiguity::Path => {
            "the path is not its own normal form (empty or dot segments, encoded slashes, letters or controls), so that a hop behind could read another one"
        }
        Ambiguity::Ddforward => {
            "ddforward is not one plain path, is given twice, or holds another ddforward"
        }
        Ambiguity::QueryName => {
            "a name in the query reads like a carrier of credentials to some readers and not to others, as API_KEY=, %61pi_key= or api_key[]= do"
        }
        Ambiguity::HeaderName => {
            "the name of a header could be read as one of ours by some hop: it is written with _ for -"
        }
        Ambiguity::Host => "there is not exactly one valid Host",
        Ambiguity::Framing => "two readers could see the end of the body at two places",
    }
}

/// What a route demands.
pub(super) fn access(access: &Access) -> String {
    match access {
        Access::Open => "no credential".to_owned(),
        Access::Intake => "an API key".to_owned(),
        Access::Logs => "an API key or a client token".to_owned(),
        Access::Browser => "a client token".to_owned(),
        Access::Api { scope: None } => {
            "an API key and an application key of the same org".to_owned()
        }
        Access::Api { scope: Some(scope) } => {
            format!("an API key and an application key of the same org that has the scope {scope}")
        }
        Access::Closed => "what nobody has: it is closed".to_owned(),
    }
}

/// The row of the route table.
pub(super) fn route(route: &Route) -> String {
    let answers = match &route.destination {
        Destination::Upstream(name) => format!("goes to the upstream {name}"),
        Destination::ValidateV1
        | Destination::ValidateV2
        | Destination::ValidateKeys
        | Destination::Options => "is answered by keygate".to_owned(),
    };
    format!(
        "row {}: it demands {}, refuses as clients of the family {} read it, and {answers}; bodies have at most {} bytes",
        route.pattern,
        access(&route.access),
        route.family.as_str(),
        route.body_max,
    )
}

/// Why there is no row.
pub(super) const fn no_route(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::NoRouteForSender => {
            "no row is for this method and path; it is a POST that carries a key, whose sender would send it again for ever after a 404"
        }
        _ => "no row is for this method and path",
    }
}

/// Where a credential stands.
pub(super) fn place(place: Place, of: As) -> String {
    let where_ = match place {
        Place::Header(name) => format!("the header {name}"),
        Place::Query(name) => format!("{name} in the query"),
        Place::Path => "the path".to_owned(),
        Place::OuterQuery(name) => format!("{name} in the query around ddforward"),
        Place::OuterPath => "the path around ddforward".to_owned(),
    };
    match of {
        As::Key => where_,
        As::ApplicationKey => format!("{where_} (as an application key)"),
    }
}

/// What a value is, by its form, where no key has it.
pub(super) fn form(value: &[u8]) -> String {
    if value.is_empty() {
        return "an empty value".to_owned();
    }
    if !is_secret(value) {
        return format!("{} bytes that no secret can be", value.len());
    }
    let kinds = [
        KeyKind::ApiKey,
        KeyKind::ApplicationKey,
        KeyKind::ClientToken,
    ];
    let looks = kinds.into_iter().find(|kind| {
        let form = rules::of(*kind).secret;
        let digits = value.strip_prefix(form.prefix.as_bytes());
        digits.is_some_and(|digits| {
            digits.len() == form.hex_digits
                && digits
                    .iter()
                    .all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'))
        })
    });
    match looks {
        Some(kind) => format!("a secret of the form of {}, which no key here has", a(kind)),
        None => format!(
            "a secret of {} characters, which no key here has",
            value.len()
        ),
    }
}

fn a(kind: KeyKind) -> String {
    let label = rules::of(kind).label;
    let article = if label.starts_with(['A', 'a']) {
        "an"
    } else {
        "a"
    };
    format!("{article} {label}")
}

/// Which key it is.
pub(super) fn key(key: &Key, table: &KeyTable) -> String {
    let org = table.org_by_id(&key.org);
    let org = org.map_or_else(|| key.org.to_string(), |org| format!("\"{}\"", org.name));
    let owner = key.owner.map(|id| {
        let owner = table.user_by_id(&id);
        let name = owner.map_or_else(|| id.to_string(), |owner| format!("\"{}\"", owner.name));
        format!(", of {name}")
    });
    format!(
        "the {} \"{}\" {} (..{}) of the org {org}{}",
        rules::of(key.kind).label,
        key.name,
        key.id,
        key.last4,
        owner.unwrap_or_default(),
    )
}

const fn presented_as(of: Asked) -> &'static str {
    match of {
        Asked::Request => "the request",
        Asked::Key => "API key or client token",
        Asked::ApplicationKey => "application key",
    }
}

/// The outcome of one look-up.
pub(super) fn look_up(presented: Presented, of: Asked, table: &KeyTable) -> String {
    let what = presented_as(of);
    match presented {
        Presented::Nothing => format!("no {what} is presented"),
        Presented::Malformed => format!("what is presented as {what} can be no secret"),
        Presented::Conflict => format!("two different values are presented as {what}"),
        Presented::One(fingerprint) => match table.full_key(&fingerprint) {
            Some(found) => format!("presented as {what}: {}", key(&found, table)),
            None => format!("presented as {what}: a secret that no key of the table has"),
        },
    }
}

/// By what the key management decides, after the proxy.
pub(super) fn key_management(key: Option<&Key>, table: &KeyTable) -> String {
    let owner = key.and_then(|key| table.user_by_id(&key.owner?));
    let role = owner.map_or_else(
        || "is not known".to_owned(),
        |owner| format!("\"{}\" has the role {}", owner.name, owner.role.as_str()),
    );
    let scopes = match key.and_then(|key| key.scopes.as_deref()) {
        Some(scopes) => format!("has only the scopes {}", listed(scopes)),
        None => "has no scopes, which is all that the owner may".to_owned(),
    };
    format!(
        "that upstream is keygate's own API: it then decides by the role of the application key's owner and the key's scopes. The owner {role}; the key {scopes}"
    )
}

/// What a rule was asked about.
pub(super) struct Facts<'a> {
    pub(super) access: &'a Access,
    pub(super) key: Option<&'a Key>,
    pub(super) application_key: Option<&'a Key>,
    pub(super) table: &'a KeyTable,
    pub(super) circumstances: &'a Circumstances<'a>,
}

impl Facts<'_> {
    fn asked(&self, of: Asked) -> Option<&Key> {
        match of {
            Asked::Request => None,
            Asked::Key => self.key,
            Asked::ApplicationKey => self.application_key,
        }
    }

    fn org_of(&self, key: Option<&Key>) -> String {
        let org = key.and_then(|key| self.table.org_by_id(&key.org));
        org.map_or_else(|| "unknown".to_owned(), |org| format!("\"{}\"", org.name))
    }

    fn owner_of(&self, key: Option<&Key>) -> String {
        let owner = key.and_then(|key| self.table.user_by_id(&key.owner?));
        owner.map_or_else(
            || "unknown".to_owned(),
            |owner| format!("\"{}\"", owner.name),
        )
    }
}

/// A duration as people say it.
fn long(age: Duration) -> String {
    match age.as_secs() {
        seconds if seconds >= 3_600 && seconds % 3_600 == 0 => format!("{} h", seconds / 3_600),
        seconds if seconds >= 60 && seconds % 60 == 0 => format!("{} min", seconds / 60),
        _ => format!("{:.1} s", age.as_secs_f64()),
    }
}

fn listed<T: ToString>(items: &[T]) -> String {
    let items: Vec<_> = items.iter().map(ToString::to_string).collect();
    items.join(", ")
}

/// One rule of the policy, and what it said.
pub(super) fn rule(step: &Step, facts: &Facts<'_>) -> String {
    let key = facts.asked(step.of);
    let says_no = step.said.err();
    let text = match step.rule {
        Rule::Reachable if says_no.is_some() => "no key reaches this route".to_owned(),
        Rule::Reachable => "some keys reach this route".to_owned(),
        Rule::Presented if says_no.is_some() => {
            format!(
                "the route demands {}, and no {} is presented",
                access(facts.access),
                presented_as(step.of)
            )
        }
        Rule::Presented => "all that the route demands is presented".to_owned(),
        Rule::OneValue if says_no.is_some() => {
            format!(
                "two different values are presented as {}: which one is meant is not guessed",
                presented_as(step.of)
            )
        }
        Rule::OneValue => "no two different values are presented for one credential".to_owned(),
        Rule::Loaded if says_no.is_some() => "the key table has not been loaded".to_owned(),
        Rule::Loaded => "the key table is loaded".to_owned(),
        Rule::Served => served(facts, says_no),
        Rule::Known => known(facts, says_no),
        Rule::NotRevoked => match key.and_then(|key| key.revoked) {
            Some(deed) => format!("revoked at {}", time_text(deed.at)),
            None => "not revoked".to_owned(),
        },
        Rule::OwnerEnabled => {
            format!("its owner {} is {}", facts.owner_of(key), enabled(says_no))
        }
        Rule::NotRevokedWithOwner if says_no.is_some() => {
            format!(
                "revoked when its owner {} was disabled, for good",
                facts.owner_of(key)
            )
        }
        Rule::NotRevokedWithOwner => "not revoked with its owner".to_owned(),
        Rule::NotExpired => match key.and_then(|key| key.expires_at) {
            Some(at) if says_no.is_some() => format!("expired at {}", time_text(at)),
            Some(at) => format!("expires at {}", time_text(at)),
            None => "does not expire".to_owned(),
        },
        Rule::OrgEnabled => format!("its org {} is {}", facts.org_of(key), enabled(says_no)),
        Rule::Kind => kind(facts, key, step.of, says_no),
        Rule::Address => address(facts.circumstances.address, key, says_no),
        Rule::Origin => origin(facts, key, says_no),
        Rule::SameOrg if says_no.is_some() => format!(
            "the API key is of the org {}, the application key of {}",
            facts.org_of(facts.key),
            facts.org_of(facts.application_key)
        ),
        Rule::SameOrg => format!("both keys are of the org {}", facts.org_of(key)),
        Rule::Scope => scope(facts, key, says_no),
    };
    match step.of {
        Asked::Request => text,
        Asked::Key | Asked::ApplicationKey
            if matches!(step.rule, Rule::Presented | Rule::OneValue) =>
        {
            text
        }
        Asked::Key | Asked::ApplicationKey => match key {
            Some(key) => format!("{}: {text}", rules::of(key.kind).label),
            None => format!("{}: {text}", presented_as(step.of)),
        },
    }
}

const fn enabled(says_no: Option<Reason>) -> &'static str {
    match says_no {
        Some(_) => "disabled",
        None => "enabled",
    }
}

fn served(facts: &Facts<'_>, says_no: Option<Reason>) -> String {
    let Staleness {
        serve_for_api,
        serve_for_intake,
        ..
    } = facts.circumstances.staleness;
    let most = match facts.access {
        Access::Api { .. } => serve_for_api,
        Access::Open | Access::Intake | Access::Logs | Access::Browser | Access::Closed => {
            serve_for_intake
        }
    };
    let age = facts.circumstances.view.map(|view| long(view.age));
    let verdict = if says_no.is_some() {
        "too old"
    } else {
        "young enough"
    };
    format!(
        "the table was in step with the store {} ago, {verdict}: this route is served up to {}",
        age.unwrap_or_default(),
        long(*most)
    )
}

fn known(facts: &Facts<'_>, says_no: Option<Reason>) -> String {
    let age = facts.circumstances.view.map(|view| long(view.age));
    let age = age.unwrap_or_default();
    let fresh = long(facts.circumstances.staleness.fresh_within);
    match says_no {
        None => "the table has it".to_owned(),
        Some(Reason::Malformed) => {
            "a secret is 1 to 128 visible ASCII characters, and this is something else".to_owned()
        }
        Some(Reason::ViewTooOld) => format!(
            "the table has no key with this secret, but it was in step {age} ago, longer than {fresh}: a newer key would be missing, too"
        ),
        Some(_) => format!(
            "the table has no key with this secret, and it was in step {age} ago, within {fresh}: there is none"
        ),
    }
}

fn kind(facts: &Facts<'_>, key: Option<&Key>, of: Asked, says_no: Option<Reason>) -> String {
    let Some(key) = key else {
        return String::new();
    };
    match (says_no, of) {
        (None, _) => "its kind may do this".to_owned(),
        (Some(_), Asked::ApplicationKey) => {
            format!("{} is no application key", a(key.kind))
        }
        (Some(_), Asked::Request | Asked::Key) => format!(
            "{} may reach {}; this route demands {}",
            a(key.kind),
            rules::of(key.kind).reach,
            access(facts.access)
        ),
    }
}

fn address(client: IpAddr, key: Option<&Key>, says_no: Option<Reason>) -> String {
    let allowed = key.map_or_else(String::new, |key| listed(&key.allowed_addresses));
    let is = if says_no.is_some() { "is not" } else { "is" };
    format!("the client's address {client} {is} within what it may be used from: {allowed}")
}

fn origin(facts: &Facts<'_>, key: Option<&Key>, says_no: Option<Reason>) -> String {
    let allowed: Vec<_> = key.map_or_else(Vec::new, |key| {
        key.allowed_origins
            .iter()
            .map(rules::Origin::as_str)
            .collect()
    });
    let allowed = listed(&allowed);
    match (says_no, facts.circumstances.origin) {
        (None, _) => format!("the page's origin is one it may be used from: {allowed}"),
        (Some(_), None) => {
            format!("there is no Origin, and it may be used from these only: {allowed}")
        }
        (Some(_), Some(_)) => {
            format!("the page's origin is none of those it may be used from: {allowed}")
        }
    }
}

fn scope(facts: &Facts<'_>, key: Option<&Key>, says_no: Option<Reason>) -> String {
    let wanted = match facts.access {
        Access::Api { scope: Some(scope) } => scope.as_str(),
        Access::Api { scope: None }
        | Access::Open
        | Access::Intake
        | Access::Logs
        | Access::Browser
        | Access::Closed => "none",
    };
    let held = key.and_then(|key| key.scopes.as_deref()).map(listed);
    match says_no {
        None => format!("it has the scope {wanted}"),
        Some(_) => format!(
            "the route demands the scope {wanted}, and it has only: {}",
            held.unwrap_or_default()
        ),
    }
}
