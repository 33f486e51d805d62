//! What would be decided about a request, and why, step by step. It asks the functions that `proxy::handle` asks, in the same
//! order, and decides nothing itself; `words` has the sentences.

mod told;
mod words;

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Uri};
use zeroize::Zeroizing;

use self::told::Told;
use crate::app::relayed;
use crate::config::{Config, SecretValue};
use crate::control::explain::{ExplainedForward, Explanation, Question, Said, StepName};
use crate::keys::policy::{Asked, authorize_shown};
use crate::keys::rules::Refusal as Rule;
use crate::keys::secret::LateFingerprinter;
use crate::keys::usage::UsageCounts;
use crate::keys::{Access, Key, KeyId, KeyTable, Presented, Principal, Record, rules};
use crate::proxy::credential::{self, Extracted};
use crate::proxy::handle::{self, Onward};
use crate::proxy::identity::{self, Identity, X_FORWARDED_FOR};
use crate::proxy::known::{KnownHeaders, KnownNames};
use crate::proxy::record::{HIDDEN, RequestId, decision_word, scrub_path};
use crate::proxy::reply::{No, Refusal};
pub use crate::proxy::route::KEY_MANAGEMENT;
use crate::proxy::route::Route;
use crate::proxy::target::{Ambiguity, Target};
use crate::proxy::upstream::{OwnCredential, Upstreams};
use crate::proxy::worker::Shared;
use crate::proxy::{forward, open, strict};
use crate::store::ledger::time_text;
use crate::store::{Store, StoreError};

/// Explains requests by what a gateway decides by.
pub struct Explainer {
    shared: Arc<Shared>,
    upstreams: Upstreams,
    store: Arc<Store>,
    /// Whether the table is empty, and filled with what a request is about.
    fills: bool,
}

impl Explainer {
    /// By what a running gateway decides by.
    pub const fn serving(shared: Arc<Shared>, upstreams: Upstreams, store: Arc<Store>) -> Self {
        Self {
            shared,
            upstreams,
            store,
            fills: false,
        }
    }

    /// By a store that no gateway here serves, as it is now.
    ///
    /// # Errors
    /// When the configuration is not usable, in a sentence.
    pub fn alone(config: &Config, store: Arc<Store>) -> Result<Self, String> {
        let fingerprinter = LateFingerprinter::unknown();
        if let Some(known) = store.fingerprinter() {
            fingerprinter.learn(known);
        }
        let relay = SecretValue::new("-");
        let control = config.control.address;
        let with_control = match config.control.is_on() {
            true => &relayed(config, control, &relay).map_err(|error| error.to_string())?,
            false => config,
        };
        let table = Arc::new(KeyTable::new(Instant::now()));
        let usage = Arc::new(UsageCounts::default());
        Ok(Self {
            shared: Arc::new(Shared::new(config, table, usage, Arc::new(fingerprinter))),
            upstreams: Upstreams::new(with_control)?,
            store,
            fills: true,
        })
    }

    /// Explains one request.
    ///
    /// # Errors
    /// When it is no request, names a key that is not there, or the store cannot be read.
    pub fn explain(&self, question: &Question) -> Result<Explanation, StoreError> {
        let parts = parts(question)?;
        let named = (
            self.named(question.key)?,
            self.named(question.application_key)?,
        );
        if self.fills {
            self.fill(&parts, &named)?;
        }
        let mut told = Told::default();
        if self.fills {
            told.note(
                StepName::Target,
                "no server of this store runs here: explained by the store as it is now",
            );
        }
        let peer = question.address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        if let Err(no) = self.steps(&parts, peer, &named, &mut told) {
            let unrouted = handle::unrouted_family(&parts.uri, &KnownHeaders::of(&parts.headers));
            let family = told.family.unwrap_or(unrouted);
            told.refused(&no, family, &KnownHeaders::of(&parts.headers));
        }
        if told.explanation.decision.is_empty() {
            told.explanation.decision = decision_word(None).to_owned();
        }
        Ok(told.explanation)
    }

    fn named(&self, id: Option<KeyId>) -> Result<Option<Key>, StoreError> {
        let Some(id) = id else { return Ok(None) };
        let key = self.store.key(id)?;
        Ok(Some(key.ok_or(Rule::NotFound { what: "key" })?))
    }

    /// Fills the table with the keys that the request carries, their orgs and their owners.
    fn fill(
        &self,
        parts: &Parts,
        (key, application_key): &(Option<Key>, Option<Key>),
    ) -> Result<(), StoreError> {
        let mut carried: Vec<Zeroizing<Vec<u8>>> = Vec::new();
        if let Ok(target) = Target::read(parts.uri.path(), parts.uri.query()) {
            let headers = KnownHeaders::of(&parts.headers);
            let route = handle::find_route(&self.shared, &parts.method, headers.names, &target);
            // What is ambiguous is refused before any key is looked for.
            let _ = credential::extract_shown(
                route,
                &target,
                &headers,
                self.shared.fingerprinter.get(),
                |_, _, value| carried.push(Zeroizing::new(value.to_vec())),
            );
            let segments = target.path.split('/');
            carried.extend(segments.map(|it| Zeroizing::new(it.as_bytes().to_vec())));
        }
        let began = Instant::now();
        for secret in &carried {
            if let Some(key) = self.store.key_of_secret(secret)? {
                self.put(&key)?;
            }
        }
        for key in [key, application_key].into_iter().flatten() {
            self.put(key)?;
        }
        self.shared.table.mark_in_step(began, Duration::ZERO);
        Ok(())
    }

    fn put(&self, key: &Key) -> Result<(), StoreError> {
        let table = &self.shared.table;
        if let Some(org) = self.store.org(key.org)? {
            table.apply(Record::Org(org));
        }
        if let Some(owner) = key.owner
            && let Some(owner) = self.store.user(owner)?
        {
            table.apply(Record::User(owner));
        }
        table.apply(Record::Key(key.clone()));
        Ok(())
    }

    /// The steps of `proxy::handle`, told.
    fn steps(
        &self,
        parts: &Parts,
        peer: IpAddr,
        named: &(Option<Key>, Option<Key>),
        told: &mut Told,
    ) -> Result<(), No> {
        let shared = &*self.shared;
        strict::require_unambiguous(parts, &KnownHeaders::of(&parts.headers), false)
            .inspect_err(|no| told.no(StepName::Target, no.refusal.label()))?;
        let target = Target::read(parts.uri.path(), parts.uri.query())
            .inspect_err(|which| told.no(StepName::Target, words::ambiguity(*which)))?;
        let headers = KnownHeaders::of(&parts.headers);
        let route = handle::find_route(shared, &parts.method, headers.names, &target);
        told.shown = open::shown_path(route, &target).to_string();
        if handle::may_hold_key(route) && open::holds_key(&told.shown, shared) {
            told.shown = HIDDEN.to_owned();
        }
        told.target(&parts.method, &target);
        if let Some(route) = route {
            told.family = Some(route.family);
            told.explanation.route = Some(route.pattern.to_string());
            told.yes(StepName::Route, words::route(route));
        }

        let mut extracted = self
            .extract(route, &target, parts, told)
            .inspect_err(|which| told.no(StepName::Credential, words::ambiguity(*which)))?;
        present(&mut extracted, named);
        let route = match route {
            Some(route) => route,
            None => {
                let refusal = handle::no_route(&parts.method, &extracted);
                told.no(StepName::Route, words::no_route(refusal));
                return Err(refusal.into());
            }
        };

        let trusted = &shared.listen.trusted_proxies;
        let identity = identity::identify(&headers, &peer.into(), trusted);
        told.client(peer, &identity);
        let principal = self.decide(route, &extracted, &identity, parts, told)?;
        match handle::onward(route, &principal) {
            Onward::Answered(own) => {
                told.yes(StepName::Outcome, "keygate answers itself");
                told.answered(&own, route.family, false, parts.method == Method::HEAD);
                Ok(())
            }
            Onward::To(name) => {
                self.forwarded(name, &extracted, &identity, &principal, parts, told)
            }
        }
    }

    fn extract<'a>(
        &self,
        route: Option<&Route>,
        target: &'a Target<'_>,
        parts: &'a Parts,
        told: &mut Told,
    ) -> Result<Extracted<'a>, Ambiguity> {
        let fingerprinter = self.shared.fingerprinter.get();
        let table = &*self.shared.table;
        let found = RefCell::new(Vec::new());
        let extracted = credential::extract_shown(
            route,
            target,
            &KnownHeaders::of(&parts.headers),
            fingerprinter,
            |place, of, value| {
                let key = table.full_key(&fingerprinter.fingerprint(value));
                let what = key.map_or_else(|| words::form(value), |key| words::key(&key, table));
                found
                    .borrow_mut()
                    .push(format!("in {}: {what}", words::place(place, of)));
            },
        );
        for text in found.into_inner() {
            told.note(StepName::Credential, text);
        }
        let extracted = extracted?;
        if !extracted.any {
            told.note(StepName::Credential, "no carrier of a credential is there");
        }
        let unread = credential::STRIPPED
            .iter()
            .filter(|name| parts.headers.contains_key(**name))
            .filter(|name| !matches!(**name, "dd-api-key" | "dd-application-key"))
            .filter(|name| {
                **name != "authorization" || !route.is_some_and(|route| route.reads_bearer)
            });
        for name in unread {
            told.note(
                StepName::Credential,
                format!("the header {name} is not read here, and is removed"),
            );
        }
        Ok(extracted)
    }

    fn decide(
        &self,
        route: &Route,
        extracted: &Extracted<'_>,
        identity: &Identity,
        parts: &Parts,
        told: &mut Told,
    ) -> Result<Principal, No> {
        let shared = &*self.shared;
        let table = &*shared.table;
        let credential = &extracted.credential;
        let circumstances = handle::circumstances(
            shared,
            (Instant::now(), SystemTime::now()),
            identity.client,
            &KnownHeaders::of(&parts.headers),
        );
        let key_of = |presented| match presented {
            Presented::One(fingerprint) => table.full_key(&fingerprint),
            Presented::Nothing | Presented::Malformed | Presented::Conflict => None,
        };
        let (key, application_key) = (key_of(credential.key), key_of(credential.application_key));
        let facts = words::Facts {
            access: &route.access,
            key: key.as_ref(),
            application_key: application_key.as_ref(),
            table,
            circumstances: &circumstances,
        };
        let wants_pair = matches!(route.access, Access::Api { .. });
        if matches!(route.access, Access::Open) {
            told.yes(StepName::Policy, "the route demands no credential");
        } else {
            told.note(
                StepName::LookUp,
                words::look_up(credential.key, Asked::Key, table),
            );
            if wants_pair {
                let of = Asked::ApplicationKey;
                told.note(
                    StepName::LookUp,
                    words::look_up(credential.application_key, of, table),
                );
            } else if credential.application_key != Presented::Nothing {
                told.note(
                    StepName::LookUp,
                    "the application key is not asked for here: it is passed over, and removed",
                );
            }
        }
        let reader = table.read();
        let verdict = authorize_shown(&route.access, credential, &reader, &circumstances, |step| {
            let said = if step.said.is_ok() {
                Said::Yes
            } else {
                Said::No
            };
            told.say(StepName::Policy, said, words::rule(&step, &facts));
        });
        for key in verdict.iter().flat_map(|it| it.attribution().shadowed()) {
            let since = key.shadowed.map(time_text).unwrap_or_default();
            told.note(
                StepName::Policy,
                format!(
                    "the {} is shadow-revoked since {since}: the request passes, and is marked and counted as one that would not",
                    rules::of(key.kind).label
                ),
            );
        }
        told.decided(&verdict, &route.access, table);
        verdict.map_err(|denial| handle::refusal(denial.reason, route))
    }

    fn forwarded(
        &self,
        name: &str,
        extracted: &Extracted<'_>,
        identity: &Identity,
        principal: &Principal,
        parts: &Parts,
        told: &mut Told,
    ) -> Result<(), No> {
        let upstream = self.upstreams.get(name).ok_or(Refusal::UpstreamRefused)?;
        let uri = forward::uri(upstream, &parts.uri, extracted)?;
        let request_id = RequestId::Given("explained".into());
        let headers = forward::headers(
            parts.headers.clone(),
            KnownNames::of(&parts.headers),
            upstream,
            identity,
            &request_id,
            principal,
            &self.shared.table,
        )?;
        let text = |name: &HeaderName| {
            let value = headers.get(name)?;
            let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
            Some((name.to_string(), text))
        };
        let authority = String::from_utf8_lossy(upstream.authority.as_bytes()).into_owned();
        let (said, whose) = match name {
            KEY_MANAGEMENT => (Said::Note, "which decides next"),
            _ => (Said::Yes, "whose answer the client gets"),
        };
        told.say(
            StepName::Outcome,
            said,
            format!("forwarded to the upstream {name} at {authority}, {whose}"),
        );
        if name == KEY_MANAGEMENT
            && let Presented::One(fingerprint) = extracted.credential.application_key
        {
            let table = &*self.shared.table;
            let key = table.full_key(&fingerprint);
            let words = words::key_management(key.as_ref(), table);
            told.note(StepName::KeyManagement, words);
        }
        told.explanation.forwarded = Some(ExplainedForward {
            upstream: upstream.name.to_string(),
            authority,
            path: if told.shown == HIDDEN {
                HIDDEN.to_owned()
            } else {
                scrub_path(uri.path()).to_string()
            },
            parameters: count(&extracted.query),
            headers: forward::IDENTITY
                .iter()
                .chain([&X_FORWARDED_FOR])
                .filter_map(text)
                .collect(),
            own_credential: match &upstream.own_credential {
                OwnCredential::None => None,
                OwnCredential::Header(name, _) => Some(format!("the header {name}")),
                OwnCredential::Query { name, .. } => Some(format!("{name} in the query")),
            },
        });
        Ok(())
    }
}

/// A request's head. What is wrong with it is not quoted: it may be a secret.
fn parts(question: &Question) -> Result<Parts, StoreError> {
    let wrong = |part| StoreError::from(Rule::NoRequest { part });
    let method = Method::from_bytes(question.method.as_bytes()).map_err(|_| wrong("method"))?;
    let uri: Uri = question
        .target
        .expose()
        .parse()
        .map_err(|_| wrong("target"))?;
    let mut headers = HeaderMap::new();
    for (name, value) in &question.headers {
        let name: HeaderName = name.parse().map_err(|_| wrong("headers"))?;
        let value = HeaderValue::from_str(value.expose()).map_err(|_| wrong("headers"))?;
        headers
            .try_append(name, value)
            .map_err(|_| wrong("headers"))?;
    }
    let (mut parts, ()) = http::Request::new(()).into_parts();
    (parts.method, parts.uri, parts.headers) = (method, uri, headers);
    Ok(parts)
}

/// As if these keys had been found in the request's carriers.
fn present(extracted: &mut Extracted<'_>, named: &(Option<Key>, Option<Key>)) {
    if let Some(key) = &named.0 {
        extracted.credential.key = Presented::One(key.fingerprint);
        extracted.any = true;
    }
    if let Some(key) = &named.1 {
        extracted.credential.application_key = Presented::One(key.fingerprint);
        extracted.any = true;
    }
}

fn count(query: &str) -> usize {
    query.split('&').filter(|pair| !pair.is_empty()).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::SecretText;
    use crate::control::explain::Said;
    use crate::keys::audit::By;
    use crate::store;

    /// An API key's secret, and what explains by a table that was in step so long ago; `None` is never.
    fn explainer(folder: &std::path::Path, age: Option<Duration>) -> (String, Explainer) {
        let url = "http://127.0.0.1:1".parse().unwrap();
        let config = Config::with_default_upstream(url, folder.to_owned());
        let store = Arc::new(store::open(&config.store, &config.rules, true).unwrap());
        let made = store.create_org("acme".parse().unwrap(), &By::operator());
        let (org, issued) = made.unwrap().value;
        let table = Arc::new(KeyTable::new(Instant::now()));
        table.apply(Record::Org(org));
        table.apply(Record::Key(issued.key.clone()));
        if let Some(age) = age {
            table.mark_in_step(Instant::now(), age);
        }
        let fingerprinter = LateFingerprinter::unknown();
        fingerprinter.learn(store.fingerprinter().unwrap());
        let usage = Arc::new(UsageCounts::default());
        let shared = Shared::new(&config, table, usage, Arc::new(fingerprinter));
        let upstreams = Upstreams::new(&config).unwrap();
        let explainer = Explainer::serving(Arc::new(shared), upstreams, store);
        (issued.secret.expose().to_owned(), explainer)
    }

    #[test]
    fn a_view_that_is_too_old_is_said_to_be_and_what_a_known_key_may_meanwhile() {
        let unknown = "f".repeat(32);
        for (age, known, decision, reason, says) in [
            (
                None,
                true,
                "cannot_tell",
                "not_loaded",
                "has not been loaded",
            ),
            (Some(60), true, "allowed", "", ""),
            (
                Some(60),
                false,
                "cannot_tell",
                "view_too_old",
                "1 min ago, longer than 5.0 s",
            ),
            (
                Some(90_000),
                true,
                "cannot_tell",
                "view_too_old",
                "served up to 24 h",
            ),
            (
                Some(1),
                false,
                "bad",
                "unknown",
                "within 5.0 s: there is none",
            ),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let (secret, explainer) = explainer(folder.path(), age.map(Duration::from_secs));
            let text = |text: &str| SecretText::new(text.to_owned().into());
            let presented = if known { &secret } else { &unknown };
            let question = Question {
                method: "POST".to_owned(),
                target: text("/api/v2/series"),
                headers: vec![
                    ("Host".to_owned(), text("a")),
                    ("DD-API-KEY".to_owned(), text(presented)),
                ],
                address: None,
                key: None,
                application_key: None,
            };
            let explained = explainer.explain(&question).unwrap();
            let found = (
                explained.decision.as_str(),
                explained.reason.as_deref().unwrap_or_default(),
            );
            assert_eq!(found, (decision, reason), "{age:?} {known}: {explained:#?}");
            let no = explained.steps.iter().find(|step| step.said == Said::No);
            let text = no.map_or("", |step| step.text.as_str());
            assert!(text.contains(says), "{age:?} {known}: {text}");
            let status = explained.answer.map(|answer| answer.status);
            let expected = match decision {
                "allowed" => None,
                "bad" => Some(403),
                _ => Some(503),
            };
            assert_eq!(status, expected, "{age:?} {known}");
        }
    }

    #[test]
    fn what_is_no_request_is_refused_without_being_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let (_, explainer) = explainer(folder.path(), Some(Duration::ZERO));
        let text = |text: &str| SecretText::new(text.to_owned().into());
        for (method, target, header) in [
            ("G T", "/", "a"),
            ("GET", "/ secret", "a"),
            ("GET", "/", "secret secret"),
        ] {
            let question = Question {
                method: method.to_owned(),
                target: text(target),
                headers: vec![(header.to_owned(), text("secret"))],
                address: None,
                key: None,
                application_key: None,
            };
            let error = explainer.explain(&question).unwrap_err().to_string();
            assert!(error.contains("no request that HTTP allows"), "{error}");
            assert!(
                !format!("{error} {question:?}").contains("/ secret"),
                "{error}"
            );
        }
    }
}
