//! What a page shows of a key: its facts in words, its state, its times, and what the visitor's role may do to it. It decides
//! nothing: an operation that is not offered here is refused there.

use super::audit_words::{Line, action_name};
use super::visitor::Visitor;
use super::words_keys::{self, Words, words};
use crate::control::operations::keys::{Touch, Whose, takes};
use crate::control::{AuditView, KeyStatus, KeyView, SourceView, UserView};
use crate::keys::audit::Action;
use crate::keys::refusal::Language;
use crate::keys::{KeyId, KeyKind, UserKind};

/// How long before its end a key's status says so.
const SOON_MS: i64 = 30 * 86_400_000;

/// Within which a use is a reason to think twice.
const LATELY_MS: i64 = 86_400_000;

/// The time and the language of one answer.
#[derive(Clone, Copy)]
pub(super) struct Now {
    pub(super) ms: i64,
    pub(super) language: Language,
}

impl Now {
    pub(super) fn of(visitor: &Visitor) -> Self {
        Self {
            ms: jiff::Timestamp::now().as_millisecond(),
            language: visitor.language,
        }
    }

    /// Today (UTC), for fields of dates.
    pub(super) fn today(&self) -> String {
        let now = jiff::Timestamp::from_millisecond(self.ms).unwrap_or_default();
        now.strftime("%Y-%m-%d").to_string()
    }
}

/// A time as a page shows it.
#[derive(Clone, Debug)]
pub(super) struct When {
    /// For programs.
    pub(super) iso: String,
    /// For people, in UTC.
    pub(super) shown: String,
    /// How far from now.
    pub(super) distance: String,
    pub(super) from_now_ms: i64,
}

impl When {
    /// From the text that views hold. What is none is shown as it is.
    pub(super) fn of(time: &str, now: Now) -> Self {
        let parsed = time.parse::<jiff::Timestamp>().ok();
        let shown = parsed.map(|at| at.strftime("%Y-%m-%d %H:%M UTC").to_string());
        let from_now_ms = parsed.map_or(0, |at| at.as_millisecond().saturating_sub(now.ms));
        Self {
            iso: time.to_owned(),
            shown: shown.unwrap_or_else(|| time.to_owned()),
            distance: words_keys::distance(now.language, from_now_ms),
            from_now_ms,
        }
    }

    /// For people, to the second.
    pub(super) fn seconds(&self) -> String {
        let at = self.iso.parse::<jiff::Timestamp>();
        at.map_or_else(
            |_| self.iso.clone(),
            |at| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        )
    }

    fn maybe(time: Option<&str>, now: Now) -> Option<Self> {
        time.map(|time| Self::of(time, now))
    }
}

/// What state a key is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Active,
    /// Active, and soon no more.
    Ending,
    Shadowed,
    Expired,
    Revoked,
}

impl State {
    fn of(key: &KeyView, expires: Option<&When>) -> Self {
        let left = expires.map(|expires| expires.from_now_ms);
        match key.status {
            KeyStatus::Revoked => Self::Revoked,
            KeyStatus::Active if left.is_some_and(|left| left <= 0) => Self::Expired,
            KeyStatus::Active if key.shadow_revoked_at.is_some() => Self::Shadowed,
            KeyStatus::Active if left.is_some_and(|left| left <= SOON_MS) => Self::Ending,
            KeyStatus::Active => Self::Active,
        }
    }

    /// How its badge looks.
    pub(super) const fn look(self) -> &'static str {
        match self {
            Self::Active => "good",
            Self::Ending | Self::Shadowed => "warn",
            Self::Expired => "bad",
            Self::Revoked => "off",
        }
    }

    /// In French a token is a he and a key is a she.
    const fn word(self, language: Language, kind: KeyKind) -> &'static str {
        match (language, kind, self) {
            (Language::English, _, Self::Active | Self::Ending) => "Active",
            (Language::English, _, Self::Shadowed) => "Shadow-revoked",
            (Language::English, _, Self::Expired) => "Expired",
            (Language::English, _, Self::Revoked) => "Revoked",
            (Language::French, KeyKind::ClientToken, Self::Active | Self::Ending) => "Actif",
            (Language::French, KeyKind::ClientToken, Self::Shadowed) => "Révoqué à blanc",
            (Language::French, KeyKind::ClientToken, Self::Expired) => "Expiré",
            (Language::French, KeyKind::ClientToken, Self::Revoked) => "Révoqué",
            (Language::French, _, Self::Active | Self::Ending) => "Active",
            (Language::French, _, Self::Shadowed) => "Révoquée à blanc",
            (Language::French, _, Self::Expired) => "Expirée",
            (Language::French, _, Self::Revoked) => "Révoquée",
        }
    }
}

/// How much a key was used, and from where.
pub(super) struct Used {
    pub(super) last: Option<When>,
    pub(super) last_from: String,
    pub(super) count: u64,
    /// The last places, where one key is shown.
    pub(super) sources: Vec<Source>,
    /// While it is shadow-revoked: how many requests would have been refused.
    pub(super) would_be_refused: Option<u64>,
}

/// One place that a key is used from.
pub(super) struct Source {
    pub(super) address: String,
    pub(super) agent: String,
    pub(super) last: When,
    pub(super) count: u64,
    pub(super) shadow: u64,
}

impl Source {
    fn of(source: &SourceView, now: Now) -> Self {
        Self {
            address: source.address.clone(),
            agent: source.user_agent.clone(),
            last: When::of(&source.last_used_at, now),
            count: source.requests,
            shadow: source.shadow_requests,
        }
    }
}

impl Used {
    fn of(key: &KeyView, now: Now) -> Self {
        let sources = key.sources.iter();
        Self {
            last: When::maybe(key.last_used_at.as_deref(), now),
            last_from: key.last_used_from.clone().unwrap_or_default(),
            count: key.uses,
            sources: sources.map(|source| Source::of(source, now)).collect(),
            would_be_refused: None,
        }
    }

    /// Whether it was used so lately that revoking it will be noticed.
    pub(super) fn is_lately(&self) -> bool {
        let last = self.last.as_ref();
        last.is_some_and(|last| last.from_now_ms > -LATELY_MS)
    }
}

/// A key, as a page shows it.
pub(super) struct Facts {
    pub(super) id: KeyId,
    pub(super) kind: KeyKind,
    pub(super) href: String,
    pub(super) name: String,
    pub(super) last4: String,
    pub(super) state: State,
    pub(super) status: &'static str,
    pub(super) owner: Option<String>,
    /// Whoever made it.
    pub(super) made_by: String,
    pub(super) made: When,
    pub(super) changed_by: String,
    pub(super) changed: When,
    pub(super) used: Used,
    pub(super) expires: Option<When>,
    /// When it ends, beside the status, where it has an end to come.
    pub(super) ends: Option<String>,
    pub(super) shadowed: Option<When>,
    pub(super) revoked: Option<When>,
    pub(super) revoked_by: String,
    pub(super) replaced_by: Option<KeyId>,
    pub(super) category: String,
    pub(super) remote_config: bool,
    pub(super) scopes: Option<Vec<String>>,
    pub(super) addresses: Vec<String>,
    pub(super) origins: Vec<String>,
}

impl Facts {
    /// With `name_of` users who are known.
    pub(super) fn of(key: &KeyView, now: Now, name_of: &dyn Fn(&str) -> Option<String>) -> Self {
        let w = words(now.language);
        let expires = When::maybe(key.expires_at.as_deref(), now);
        let state = State::of(key, expires.as_ref());
        let ends = match state {
            State::Active | State::Ending | State::Shadowed => expires
                .as_ref()
                .map(|expires| words_keys::ends(now.language, &expires.distance)),
            State::Expired | State::Revoked => None,
        };
        let made_by = key.created_by_name.clone();
        Self {
            id: key.id,
            kind: key.kind,
            href: format!("{}/{}", base(key.kind), key.id),
            name: key.name.clone(),
            last4: key.last4.clone(),
            state,
            status: state.word(now.language, key.kind),
            owner: key.owner_name.clone(),
            made_by: made_by.unwrap_or_else(|| actor(&key.created_by, w, name_of)),
            made: When::of(&key.created_at, now),
            changed_by: actor(&key.modified_by, w, name_of),
            changed: When::of(&key.modified_at, now),
            used: Used::of(key, now),
            expires,
            ends,
            shadowed: When::maybe(key.shadow_revoked_at.as_deref(), now),
            revoked: When::maybe(key.revoked_at.as_deref(), now),
            revoked_by: key
                .revoked_by
                .as_deref()
                .map(|by| actor(by, w, name_of))
                .unwrap_or_default(),
            replaced_by: key.replaced_by,
            category: key.category.clone().unwrap_or_default(),
            remote_config: key.remote_config_read,
            scopes: key.scopes.clone(),
            addresses: key
                .allowed_addresses
                .iter()
                .map(super::keys_form::shown_address)
                .collect(),
            origins: key.allowed_origins.clone(),
        }
    }

    pub(super) const fn is_api_key(&self) -> bool {
        matches!(self.kind, KeyKind::ApiKey)
    }

    pub(super) const fn is_application_key(&self) -> bool {
        matches!(self.kind, KeyKind::ApplicationKey)
    }

    pub(super) const fn is_client_token(&self) -> bool {
        matches!(self.kind, KeyKind::ClientToken)
    }

    /// Whether it is not revoked: an expired key is still to be seen to.
    pub(super) const fn is_in_force(&self) -> bool {
        !matches!(self.state, State::Revoked)
    }
}

/// Who did something, in words: what views hold is an id, or a word.
fn actor(text: &str, w: &Words, name_of: &dyn Fn(&str) -> Option<String>) -> String {
    match text {
        "operator" => w.somebody_at_the_machine.to_owned(),
        "system" => w.keygate_itself.to_owned(),
        "disabling its owner" => w.with_its_owner.to_owned(),
        id => name_of(id).unwrap_or_else(|| id.to_owned()),
    }
}

/// One entry of the audit log, in the history of a key.
pub(super) struct Deed {
    pub(super) id: String,
    pub(super) at: When,
    pub(super) who: String,
    pub(super) via: String,
    pub(super) what: String,
    /// The same for programs, and for filters.
    pub(super) word: String,
    /// Field, before, after.
    pub(super) changes: Vec<(String, String, String)>,
}

impl Deed {
    pub(super) fn of(entry: &AuditView, now: Now) -> Self {
        let w = words(now.language);
        let action = entry.action.parse::<Action>().ok();
        let line = Line::of(now.language, entry.clone());
        let changes = line.changes.into_iter();
        Self {
            id: line.id,
            at: When::of(&entry.at, now),
            who: actor(&entry.actor, w, &|_| entry.actor_name.clone()),
            via: line.via,
            what: action.map_or_else(String::new, |action| action_name(now.language, action)),
            word: entry.action.clone(),
            changes: changes
                .map(|change| (change.field, change.before, change.after))
                .collect(),
        }
    }
}

/// What the visitor's role may do to a key.
#[derive(Clone, Copy)]
pub(super) struct Rights {
    pub(super) change: bool,
    pub(super) revoke: bool,
    pub(super) rotate: bool,
}

impl Rights {
    /// For a key of this kind and owner; the other kinds have none.
    pub(super) fn of(visitor: &Visitor, kind: KeyKind, owner: Option<&UserView>) -> Self {
        let whose = match owner {
            Some(owner) if owner.id == visitor.user.id => Whose::Own,
            Some(owner) if owner.kind == UserKind::ServiceAccount => Whose::Account,
            _ => Whose::Other,
        };
        let may = |touch| may(visitor, kind, whose, touch);
        let (change, revoke) = (may(Touch::Change), may(Touch::Revoke));
        let make = kind != KeyKind::ApplicationKey || may(Touch::Make);
        Self {
            change,
            revoke,
            rotate: change && revoke && make,
        }
    }
}

/// Whether the visitor's role may do this to such a key.
pub(super) fn may(visitor: &Visitor, kind: KeyKind, whose: Whose, touch: Touch) -> bool {
    takes(kind, whose, touch).is_some_and(|permission| visitor.may(permission))
}

/// The path of the list of a kind.
pub(super) const fn base(kind: KeyKind) -> &'static str {
    match kind {
        KeyKind::ApiKey => "/api-keys",
        KeyKind::ApplicationKey => "/application-keys",
        KeyKind::ClientToken => "/client-tokens",
    }
}
