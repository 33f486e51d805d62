//! What people type into the forms for keys: read, turned into what the operations take, and shown again with the reason when
//! they refuse it. It asks for nothing.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::trouble::sentence;
use super::words_keys::permission_meaning;
use crate::control::{KeyChanges, KeyView, ServiceError};
use crate::keys::permissions::Permission;
use crate::keys::refusal::Language;
use crate::keys::rules::Refusal;
use crate::keys::{KeyKind, Timestamp};
use crate::store::StoreError;

/// The fields of a form as they were sent.
pub(super) type Fields = HashMap<String, String>;

/// What the names of the boxes of scopes begin with.
const SCOPE: &str = "scope.";

/// What somebody has typed.
#[derive(Clone, Debug, Default)]
pub(super) struct Entered {
    pub(super) name: String,
    /// The last day, as `2030-12-31`; blank is never.
    pub(super) expires: String,
    /// What that was when the form was shown: whoever leaves it alone does not change it.
    pub(super) expires_was: Option<String>,
    pub(super) addresses: String,
    pub(super) origins: String,
    pub(super) scopes: BTreeSet<String>,
    /// Those that have no box.
    pub(super) more_scopes: String,
    pub(super) owner: String,
    pub(super) once: String,
    /// Why it was refused.
    pub(super) wrong: Option<Wrong>,
}

/// Why a form was refused, and the id of the field that it is about.
#[derive(Clone, Debug)]
pub(super) struct Wrong {
    pub(super) at: Option<&'static str>,
    pub(super) sentence: String,
}

/// One box of the scopes.
pub(super) struct ScopeBox {
    pub(super) name: &'static str,
    pub(super) meaning: &'static str,
    pub(super) is_checked: bool,
}

impl Entered {
    pub(super) fn of(fields: &Fields) -> Self {
        let text = |name: &str| fields.get(name).cloned().unwrap_or_default();
        let boxes = fields.keys().filter_map(|name| name.strip_prefix(SCOPE));
        Self {
            name: text("name"),
            expires: text("expires").trim().to_owned(),
            expires_was: fields.get("expires_was").cloned(),
            addresses: text("addresses"),
            origins: text("origins"),
            scopes: boxes.map(ToOwned::to_owned).collect(),
            more_scopes: text("more_scopes"),
            owner: text("owner"),
            once: text("once"),
            wrong: None,
        }
    }

    /// What a key has now.
    pub(super) fn of_key(key: &KeyView) -> Self {
        let scopes = key.scopes.iter().flatten();
        let (boxes, more): (Vec<&String>, Vec<&String>) =
            scopes.partition(|scope| Permission::named(scope).is_some());
        let addresses: Vec<String> = key.allowed_addresses.iter().map(shown_address).collect();
        let expires = key.expires_at.as_deref().map(day_of).unwrap_or_default();
        Self {
            name: key.name.clone(),
            expires_was: Some(expires.clone()),
            expires,
            addresses: addresses.join("\n"),
            origins: key.allowed_origins.join("\n"),
            scopes: boxes.into_iter().cloned().collect(),
            more_scopes: more
                .into_iter()
                .map(String::as_str)
                .collect::<Vec<_>>()
                .join(" "),
            ..Self::default()
        }
    }

    /// The end of the last day (UTC).
    pub(super) fn expires_at(&self) -> Result<Option<Timestamp>, Refusal> {
        end_of_day(&self.expires)
    }

    pub(super) fn addresses(&self) -> Result<Vec<IpNet>, Refusal> {
        let address = |text: &str| -> Result<IpNet, Refusal> {
            let parsed = match text.contains('/') {
                true => text.parse().ok(),
                false => text.parse::<IpAddr>().ok().map(IpNet::from),
            };
            parsed.ok_or_else(|| Refusal::AddressMalformed { given: text.into() })
        };
        words_of(&self.addresses).map(address).collect()
    }

    pub(super) fn origins(&self) -> Vec<String> {
        words_of(&self.origins).map(ToOwned::to_owned).collect()
    }

    pub(super) fn scopes(&self) -> Vec<String> {
        let more = words_of(&self.more_scopes).map(ToOwned::to_owned);
        self.scopes.iter().cloned().chain(more).collect()
    }

    /// What is to be different about a key. What was not touched is left out, so that two people who change different things
    /// do not undo each other's.
    pub(super) fn changes(&self, key: &KeyView) -> Result<KeyChanges, Refusal> {
        let now = Self::of_key(key);
        let mut changes = KeyChanges::default();
        if self.name.trim() != now.name {
            changes.name = Some(self.name.clone());
        }
        let was_touched = self.expires_was.as_ref() != Some(&self.expires);
        if was_touched && self.expires != now.expires {
            changes.expires_at = self.expires_at()?;
            changes.never_expires = changes.expires_at.is_none();
        }
        match key.kind {
            KeyKind::ApiKey => {
                let addresses = self.addresses()?;
                if addresses != key.allowed_addresses {
                    changes.allowed_addresses = Some(addresses);
                }
            }
            KeyKind::ApplicationKey => {
                let scopes = self.scopes();
                // In whatever order: the boxes have one of their own.
                let (chosen, held): (BTreeSet<_>, BTreeSet<_>) = (
                    scopes.iter().collect(),
                    key.scopes.iter().flatten().collect(),
                );
                if chosen != held {
                    changes.scopes = Some(scopes);
                }
            }
            KeyKind::ClientToken => {
                let origins = self.origins();
                if origins != key.allowed_origins {
                    changes.allowed_origins = Some(origins);
                }
            }
        }
        Ok(changes)
    }

    /// The boxes of the known scopes.
    pub(super) fn scope_boxes(&self, language: Language) -> Vec<ScopeBox> {
        let scope = |permission: &Permission| ScopeBox {
            name: permission.as_str(),
            meaning: permission_meaning(language, *permission),
            is_checked: self.scopes.contains(permission.as_str()),
        };
        Permission::ALL.iter().map(scope).collect()
    }

    /// With the reason why it was refused, when that is for whoever filled the form to mend.
    ///
    /// # Errors
    /// When it is not.
    pub(super) fn refused(
        self,
        error: ServiceError,
        language: Language,
    ) -> Result<Self, ServiceError> {
        match error {
            ServiceError::Store(StoreError::Refused(refusal)) if is_mendable(&refusal) => {
                let at = field_of(&refusal);
                let sentence = sentence(&refusal.into(), language);
                let wrong = Wrong { at, sentence };
                Ok(Self {
                    wrong: Some(wrong),
                    ..self
                })
            }
            error => Err(error),
        }
    }

    pub(super) fn is_wrong_at(&self, field: &str) -> bool {
        let at = self.wrong.as_ref().and_then(|wrong| wrong.at);
        at.is_some_and(|at| at == field)
    }
}

/// An address as people write it: one host without its length.
pub(super) fn shown_address(net: &IpNet) -> String {
    match net.prefix_len() == net.max_prefix_len() {
        true => net.addr().to_string(),
        false => net.to_string(),
    }
}

/// The end of a day (UTC), to which a key that expires "on" it is valid. Blank is none.
pub(super) fn end_of_day(text: &str) -> Result<Option<Timestamp>, Refusal> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let day: Date = text.parse().map_err(|_| Refusal::DateMalformed)?;
    let end = TimeZone::UTC.to_timestamp(day.at(23, 59, 59, 0));
    let end = end.map_err(|_| Refusal::DateMalformed)?;
    Ok(Some(Timestamp(end.as_millisecond())))
}

/// Whether a key expires in the middle of a day, which a field for a day cannot show.
pub(super) fn is_within_a_day(time: &str) -> bool {
    let at = time.parse::<jiff::Timestamp>();
    let end = end_of_day(&day_of(time)).ok().flatten();
    !at.is_ok_and(|at| end.is_some_and(|end| end.0 / 1_000 == at.as_second()))
}

/// The day of a time, for a field.
fn day_of(time: &str) -> String {
    time.split('T').next().unwrap_or_default().to_owned()
}

fn words_of(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| c.is_whitespace() || c == ',' || c == ';');
    words.filter(|word| !word.is_empty())
}

/// The field that a refusal is about.
fn field_of(refusal: &Refusal) -> Option<&'static str> {
    if matches!(
        refusal,
        Refusal::NameBlank
            | Refusal::NameTooLong
            | Refusal::NameHasControlCharacter
            | Refusal::NameTaken { .. }
    ) {
        Some("name")
    } else if matches!(refusal, Refusal::ExpiryPast | Refusal::DateMalformed) {
        Some("expires")
    } else if matches!(refusal, Refusal::AddressMalformed { .. }) {
        Some("addresses")
    } else if matches!(refusal, Refusal::OriginMalformed) {
        Some("origins")
    } else if matches!(refusal, Refusal::ScopeMalformed | Refusal::TooManyScopes) {
        Some("more_scopes")
    } else if matches!(refusal, Refusal::OwnerDisabled) {
        Some("owner")
    } else {
        None
    }
}

/// Whether another answer in the same form, or the same one later, may do: not when somebody may not, or nothing is there.
fn is_mendable(refusal: &Refusal) -> bool {
    field_of(refusal).is_some()
        || matches!(
            refusal,
            Refusal::TooMany { .. } | Refusal::TooFew { .. } | Refusal::OrgDisabled
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entered(fields: &[(&str, &str)]) -> Entered {
        let owned = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
        Entered::of(&fields.iter().map(owned).collect())
    }

    #[test]
    fn a_day_ends_at_its_last_second() {
        let at = |text: &str| end_of_day(text).map(|at| at.map(|at| at.0));
        assert_eq!(at("1970-01-02"), Ok(Some(2 * 86_400_000 - 1_000)));
        assert_eq!(at("  "), Ok(None));
        for bad in [
            "tomorrow",
            "2030-02-30",
            "2030-13-01",
            "30-1-1",
            "99999-01-01",
        ] {
            assert_eq!(at(bad), Err(Refusal::DateMalformed), "{bad}");
        }
    }

    #[test]
    fn a_time_is_within_a_day_unless_it_is_its_last_second() {
        assert!(is_within_a_day("2030-06-01T12:00:00.000Z"));
        assert!(is_within_a_day("2030-06-01T23:59:58.999Z"));
        assert!(!is_within_a_day("2030-06-01T23:59:59.000Z"));
    }

    #[test]
    fn addresses_are_hosts_and_networks_in_any_order_and_spacing() {
        let form = entered(&[("addresses", "10.0.0.0/8, 192.0.2.7\r\n2001:db8::/32;")]);
        let nets: Vec<String> = form
            .addresses()
            .unwrap()
            .iter()
            .map(shown_address)
            .collect();
        assert_eq!(nets, ["10.0.0.0/8", "192.0.2.7", "2001:db8::/32"]);
        let bad = entered(&[("addresses", "10.0.0.0/33")]).addresses();
        let given = "10.0.0.0/33".into();
        assert_eq!(bad, Err(Refusal::AddressMalformed { given }));
    }

    #[test]
    fn scopes_are_the_boxes_and_what_is_typed() {
        let form = entered(&[
            ("scope.api_keys_read", "on"),
            ("more_scopes", "metrics_read, dashboards_read"),
        ]);
        assert_eq!(
            form.scopes(),
            ["api_keys_read", "metrics_read", "dashboards_read"]
        );
        let boxes = form.scope_boxes(Language::French);
        assert_eq!(boxes.iter().filter(|scope| scope.is_checked).count(), 1);
    }

    #[test]
    fn refusals_stand_at_their_field_and_in_the_readers_language() {
        let refused = |refusal: Refusal| {
            let form = Entered::default().refused(refusal.into(), Language::French);
            form.ok().and_then(|form| form.wrong)
        };
        let wrong = refused(Refusal::DateMalformed).unwrap();
        assert_eq!(wrong.at, Some("expires"));
        assert!(wrong.sentence.starts_with("Ce n'est pas une date"));
        assert!(refused(Refusal::OperatorOnly).is_none());
        let too_many = refused(Refusal::TooMany {
            kind: KeyKind::ApiKey,
            most: 5,
        });
        assert_eq!(too_many.unwrap().at, None);
    }
}
