//! Every rule about keys and names, as data: how many, what form, what they may reach. The sentences that refuse are in
//! `refusal`. It is about requests to change keys; who is calling is decided in `policy`.

use std::str::FromStr;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

pub use super::refusal::Refusal;
use super::{Access, KeyKind, Timestamp};

/// The form of a generated secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SecretForm {
    /// What it starts with.
    pub prefix: &'static str,
    /// How many lower-case hex digits follow.
    pub hex_digits: usize,
}

/// Within what a key's name is unique and its number is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Within {
    /// The org.
    Org,
    /// The user who owns it.
    Owner,
}

/// The rules of one kind of key (DESIGN 2; the Datadog rules they follow are in WIRE 5.7).
#[derive(Clone, Copy, Debug)]
pub struct KindRules {
    /// What people call it.
    pub label: &'static str,
    /// The form of its secret (WIRE 5.1).
    pub secret: SecretForm,
    /// Within what it is counted and its name is unique.
    pub within: Within,
    /// What it may reach, in words.
    pub reach: &'static str,
}

/// The rules of a kind.
pub const fn of(kind: KeyKind) -> &'static KindRules {
    match kind {
        KeyKind::ApiKey => &KindRules {
            label: "API key",
            secret: SecretForm {
                prefix: "",
                hex_digits: 32,
            },
            within: Within::Org,
            reach: "the intake; with an application key of the same org also the API",
        },
        KeyKind::ApplicationKey => &KindRules {
            label: "application key",
            secret: SecretForm {
                prefix: "",
                hex_digits: 40,
            },
            within: Within::Owner,
            reach: "the API, beside an API key of the same org",
        },
        KeyKind::ClientToken => &KindRules {
            label: "client token",
            secret: SecretForm {
                prefix: "pub",
                hex_digits: 32,
            },
            within: Within::Org,
            reach: "the browser logs intake",
        },
    }
}

/// Whether a key of this kind satisfies the demand, presented where API keys and client tokens are presented.
pub const fn accepts(access: &Access, kind: KeyKind) -> bool {
    match (access, kind) {
        (Access::Intake | Access::Logs | Access::Api { .. }, KeyKind::ApiKey)
        | (Access::Browser | Access::Logs, KeyKind::ClientToken) => true,
        (Access::Intake | Access::Api { .. }, KeyKind::ClientToken)
        | (Access::Browser, KeyKind::ApiKey)
        | (Access::Open | Access::Closed, _)
        | (_, KeyKind::ApplicationKey) => false,
    }
}

/// What whoever asks for keys by their secrets is told, which is what v1 of the key management API does (WIRE 5.2).
pub const READ_ONCE: &str = "Secrets can be read once, when they are created: use the v2 key management API, whose ids are not secrets.";

/// How many keys there may be. Configurable; the defaults are the Datadog rules of WIRE 5.7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The fewest active API keys of an org: the last ones cannot be revoked.
    pub api_keys_per_org_min: u32,
    /// The most active API keys of an org.
    pub api_keys_per_org_max: u32,
    /// The most active application keys of a user.
    pub application_keys_per_user_max: u32,
    /// The most active client tokens of an org.
    pub client_tokens_per_org_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            api_keys_per_org_min: 1,
            api_keys_per_org_max: 5,
            application_keys_per_user_max: 1_000,
            client_tokens_per_org_max: 1_000,
        }
    }
}

impl Limits {
    /// The most active keys of a kind within an org or an owner.
    pub const fn most(&self, kind: KeyKind) -> u32 {
        match kind {
            KeyKind::ApiKey => self.api_keys_per_org_max,
            KeyKind::ApplicationKey => self.application_keys_per_user_max,
            KeyKind::ClientToken => self.client_tokens_per_org_max,
        }
    }

    /// The fewest active keys of a kind within an org or an owner.
    pub const fn fewest(&self, kind: KeyKind) -> u32 {
        match kind {
            KeyKind::ApiKey => self.api_keys_per_org_min,
            KeyKind::ApplicationKey | KeyKind::ClientToken => 0,
        }
    }
}

/// The longest name, in characters.
pub const NAME_CHARS_MAX: usize = 256;

/// A name of a key, user or org: trimmed, 1 to 256 characters, no control characters. Compared case-sensitively.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(CompactString);

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let name = text.trim();
        if name.is_empty() {
            return Err(Refusal::NameBlank);
        }
        if name.chars().count() > NAME_CHARS_MAX {
            return Err(Refusal::NameTooLong);
        }
        if name.chars().any(char::is_control) {
            return Err(Refusal::NameHasControlCharacter);
        }
        Ok(Self(name.into()))
    }
}

/// A page origin a client token may be used from: `https://shop.example`, or `https://*.shop.example` for every
/// name below it (RFC 6454, 6.2: scheme, host and port, no path).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Origin(CompactString);

impl Origin {
    /// Whether a request's `Origin` header names a page of this origin. Browsers send it lower-case and canonical, so
    /// the comparison is byte for byte.
    pub fn covers(&self, presented: &str) -> bool {
        match self.0.split_once("*.") {
            None => self.0 == presented,
            Some((scheme, parent)) => presented
                .strip_prefix(scheme)
                .and_then(|host| host.strip_suffix(parent))
                .is_some_and(|child| {
                    child.len() > 1 && child.ends_with('.') && !child.contains(['/', ':', '@'])
                }),
        }
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Origin {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let text = text.trim().to_ascii_lowercase();
        let rest = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"));
        let host = rest.ok_or(Refusal::OriginMalformed)?;
        let plain = host.strip_prefix("*.").unwrap_or(host);
        let of_a_host =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
        if text.len() > ORIGIN_BYTES_MAX
            || plain.is_empty()
            || plain.starts_with('.')
            || !plain.chars().all(of_a_host)
        {
            return Err(Refusal::OriginMalformed);
        }
        Ok(Self(text.into()))
    }
}

/// The longest origin, in bytes: a host has at most 253.
const ORIGIN_BYTES_MAX: usize = 300;

/// The last time that has a text: a key that would expire later would have an expiry that no client can read.
pub const EXPIRES_MAX: Timestamp = Timestamp(253_402_207_200_000);

/// The most scopes of an application key.
pub const SCOPES_MAX: usize = 128;

/// The most client addresses of an API key, and the most origins of a client token: each is looked at on the path of a
/// request.
pub const PLACES_MAX: usize = 128;

/// The longest scope, in characters.
const SCOPE_CHARS_MAX: usize = 128;

/// The scopes of an application key as they are kept: in the order given, which clients expect to see again, each once, and
/// `None` where there are none, which is all that the owner may (WIRE 5.4: clients that mean that send an empty list).
///
/// # Errors
/// When one is no name of a permission, or there are too many. A name need not be one of ours: upstreams have their own.
pub fn scopes(given: &[CompactString]) -> Result<Option<Vec<CompactString>>, Refusal> {
    let of_a_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let is_name = |scope: &CompactString| {
        (1..=SCOPE_CHARS_MAX).contains(&scope.len()) && scope.chars().all(of_a_name)
    };
    if given.len() > SCOPES_MAX {
        return Err(Refusal::TooManyScopes);
    }
    if !given.iter().all(is_name) {
        return Err(Refusal::ScopeMalformed);
    }
    let mut scopes: Vec<CompactString> = Vec::with_capacity(given.len());
    for scope in given {
        if !scopes.contains(scope) {
            scopes.push(scope.clone());
        }
    }
    Ok(Some(scopes).filter(|scopes| !scopes.is_empty()))
}

/// An e-mail address, as far as that can be said without asking anybody: something, an `@`, something; no blanks, no
/// quoting. It is also a [`Name`].
///
/// # Errors
/// When it is none.
pub fn email(text: &str) -> Result<Name, Refusal> {
    let name: Name = text.parse()?;
    let (user, host) = name
        .as_str()
        .rsplit_once('@')
        .ok_or(Refusal::EmailMalformed)?;
    let plain = |part: &str| {
        !part.is_empty()
            && !part.contains(|c: char| c.is_whitespace() || "<>()[],;:\\\"".contains(c))
    };
    if !plain(user) || !plain(host) {
        return Err(Refusal::EmailMalformed);
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_trimmed_and_bounded() {
        let parse = |text: &str| text.parse::<Name>().map(|name| name.as_str().to_owned());
        assert_eq!(parse("  prod agents "), Ok("prod agents".to_owned()));
        assert_eq!(parse(&"é".repeat(256)), Ok("é".repeat(256)));
        assert_eq!(parse(" \t "), Err(Refusal::NameBlank));
        assert_eq!(parse(&"x".repeat(257)), Err(Refusal::NameTooLong));
        assert_eq!(parse("a\nb"), Err(Refusal::NameHasControlCharacter));
    }

    #[test]
    fn origins_cover_what_they_say() {
        let covers =
            |origin: &str, presented: &str| origin.parse::<Origin>().unwrap().covers(presented);
        assert!(covers("https://shop.example", "https://shop.example"));
        assert!(covers(
            "HTTPS://Shop.Example:8443",
            "https://shop.example:8443"
        ));
        assert!(covers("https://*.shop.example", "https://a.b.shop.example"));
        for other in [
            "http://a.shop.example",
            "https://shop.example",
            "https://evilshop.example",
            "null",
            "",
        ] {
            assert!(!covers("https://*.shop.example", other), "{other}");
        }
        for bad in [
            "shop.example",
            "https://",
            "https://a/b",
            "https://*.",
            "ftp://a",
            "https://a b",
        ] {
            assert_eq!(
                bad.parse::<Origin>(),
                Err(Refusal::OriginMalformed),
                "{bad}"
            );
        }
        let long = format!("https://{}.example", "a".repeat(300));
        assert_eq!(long.parse::<Origin>(), Err(Refusal::OriginMalformed));
    }

    #[test]
    fn refusals_say_what_to_do() {
        assert_eq!(
            Refusal::TooFew {
                kind: KeyKind::ApiKey,
                fewest: 1
            }
            .to_string(),
            "an org keeps at least 1 active API key: create another one and move its senders first"
        );
        assert_eq!(
            Refusal::TooMany {
                kind: KeyKind::ApiKey,
                most: 5
            }
            .to_string(),
            "an org has at most 5 active API keys: revoke one that is no longer used first"
        );
    }
}
