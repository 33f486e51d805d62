//! Entries of the audit log as sentences, in each language: "Ann renamed API key “agents” from x to y".

use super::people::Moment;
use super::words_people::{self as said, words};
use crate::control::AuditView;
use crate::keys::audit::{Action, FieldChange, Via};
use crate::keys::refusal::Language;
use crate::keys::{KeyId, KeyKind, Role};

/// One entry, ready to be shown: "{actor} {verb} {noun} “{object}” {tail}".
pub(super) struct Line {
    pub(super) id: String,
    pub(super) at: Moment,
    pub(super) actor: String,
    pub(super) actor_href: Option<String>,
    pub(super) verb: &'static str,
    pub(super) noun: &'static str,
    /// `None` when the sentence needs none; empty when it has no name.
    pub(super) object_name: Option<String>,
    pub(super) object_href: Option<String>,
    pub(super) object_id: Option<String>,
    pub(super) tail: String,
    pub(super) changes: Vec<Change>,
    pub(super) via: String,
    pub(super) address: Option<String>,
    pub(super) application_key: Option<KeyId>,
    pub(super) request_id: Option<String>,
    pub(super) hash: String,
}

/// One field, before and after.
pub(super) struct Change {
    pub(super) field: String,
    pub(super) before: String,
    pub(super) after: String,
}

/// Kinds of objects, by their word in the log.
fn object(language: Language, kind: &str) -> (&'static str, Option<&'static str>) {
    let is_english = language == Language::English;
    let of = |kind: KeyKind| {
        let noun = match (language, kind) {
            (Language::English, KeyKind::ApiKey) => "API key",
            (Language::English, KeyKind::ApplicationKey) => "application key",
            (Language::English, KeyKind::ClientToken) => "client token",
            (Language::French, KeyKind::ApiKey) => "la clé d'API",
            (Language::French, KeyKind::ApplicationKey) => "la clé d'application",
            (Language::French, KeyKind::ClientToken) => "le jeton client",
        };
        (noun, Some(said::kind_path(kind)))
    };
    let kinds = [
        KeyKind::ApiKey,
        KeyKind::ApplicationKey,
        KeyKind::ClientToken,
    ];
    if let Some(known) = kinds.into_iter().find(|known| known.as_str() == kind) {
        return of(known);
    }
    match kind {
        "user" if is_english => ("user", Some("/users")),
        "user" => ("l'utilisateur", Some("/users")),
        "org" if is_english => ("org", None),
        "org" => ("l'organisation", None),
        _ if is_english => ("the store", None),
        _ => ("le magasin", None),
    }
}

/// The change of one field, if there is one.
fn change_of<'e>(entry: &'e AuditView, field: &str) -> Option<&'e FieldChange> {
    entry.changes.iter().find(|change| change.field == field)
}

/// "from x to y".
fn from_to(language: Language, change: &FieldChange, show: impl Fn(&str) -> String) -> String {
    let side = |side: &Option<String>| side.as_deref().map(&show).unwrap_or_default();
    let (before, after) = (side(&change.before), side(&change.after));
    match language {
        Language::English => format!("from {before} to {after}"),
        Language::French => format!("de {before} en {after}"),
    }
}

fn quoted(language: Language, text: &str) -> String {
    let t = words(language);
    format!("{}{text}{}", t.open_quote, t.close_quote)
}

fn role_name(language: Language, text: &str) -> String {
    let roles = [Role::Admin, Role::Standard, Role::ReadOnly];
    let known = roles.into_iter().find(|role| role.as_str() == text);
    known
        .map_or(text, |role| said::role(language, role))
        .to_owned()
}

/// What the sentence says was done, and what it adds at its end.
fn deed(language: Language, action: Action, entry: &AuditView) -> (&'static str, String) {
    let en = language == Language::English;
    let plain = |english, french| (if en { english } else { french }, String::new());
    let (verb, tail) = match action {
        Action::LogBegun => plain("began this log", "a commencé ce journal"),
        Action::OrgCreated | Action::UserCreated | Action::KeyCreated => plain("created", "a créé"),
        Action::OrgDisabled => plain("disabled", "a désactivé"),
        Action::OrgEnabled | Action::UserEnabled => plain("enabled", "a réactivé"),
        Action::UserDisabled => {
            let (verb, _) = plain("disabled", "a désactivé");
            let (tail, _) = plain(
                "and revoked all their application keys",
                "et révoqué toutes ses clés d'application",
            );
            return (verb, tail.to_owned());
        }
        Action::UserChanged | Action::KeyChanged => return changed(language, entry),
        Action::KeyImported => plain("imported", "a importé"),
        Action::KeyRotated => plain("rotated", "a renouvelé"),
        Action::KeyShadowed => plain("shadow-revoked", "a révoqué à blanc"),
        Action::KeyUnshadowed => plain(
            "ended the shadow revocation of",
            "a levé la révocation à blanc pour",
        ),
        Action::KeyRevoked => plain("revoked", "a révoqué"),
        Action::LinkCreated => plain(
            "made a one-time sign-in link for",
            "a créé un lien de connexion à usage unique pour",
        ),
        Action::PasswordSet => plain("set the password of", "a choisi le mot de passe pour"),
        Action::SignedIn => {
            let by = change_of(entry, "by").and_then(|change| change.after.clone());
            return (
                plain("signed in", "s'est connecté").0,
                way(language, by.as_deref()),
            );
        }
        Action::SignedOut => plain("signed out", "s'est déconnecté"),
        Action::RootKeyAdded => plain("added a root key to", "a ajouté une clé racine pour"),
        Action::RootKeyRetired => plain("retired a root key of", "a retiré une clé racine pour"),
        Action::StoreRestored => plain("restored records of", "a restauré des données pour"),
    };
    (verb, tail)
}

/// How somebody signed in.
fn way(language: Language, by: Option<&str>) -> String {
    let said = match (language, by) {
        (_, None) => "",
        (Language::English, Some("password")) => "with a password",
        (Language::English, Some("one-time link")) => "with a one-time link",
        (Language::English, Some(_)) => "by OpenID Connect",
        (Language::French, Some("password")) => "par mot de passe",
        (Language::French, Some("one-time link")) => "par un lien à usage unique",
        (Language::French, Some(_)) => "par OpenID Connect",
    };
    said.to_owned()
}

/// A change of one telling field is told as what it is.
fn changed(language: Language, entry: &AuditView) -> (&'static str, String) {
    let en = language == Language::English;
    if let (Some(name), 1) = (change_of(entry, "name"), entry.changes.len()) {
        let verb = if en { "renamed" } else { "a renommé" };
        let tail = from_to(language, name, |text| quoted(language, text));
        return (verb, tail);
    }
    if let (Some(role), 1) = (change_of(entry, "role"), entry.changes.len()) {
        let verb = if en {
            "changed the role of"
        } else {
            "a changé le rôle pour"
        };
        let tail = from_to(language, role, |text| role_name(language, text));
        return (verb, tail);
    }
    (if en { "changed" } else { "a modifié" }, String::new())
}

/// What an action is called in the list of filters.
pub(super) fn action_name(language: Language, action: Action) -> String {
    let en = language == Language::English;
    let said = |english: &'static str, french: &'static str| if en { english } else { french };
    let text = match action {
        Action::LogBegun => said("Log begun", "Journal commencé"),
        Action::OrgCreated => said("Org created", "Organisation créée"),
        Action::OrgDisabled => said("Org disabled", "Organisation désactivée"),
        Action::OrgEnabled => said("Org enabled", "Organisation réactivée"),
        Action::UserCreated => said("User created", "Utilisateur créé"),
        Action::UserChanged => said("User changed", "Utilisateur modifié"),
        Action::UserDisabled => said("User disabled", "Utilisateur désactivé"),
        Action::UserEnabled => said("User enabled", "Utilisateur réactivé"),
        Action::KeyCreated => said("Key created", "Clé créée"),
        Action::KeyImported => said("Key imported", "Clé importée"),
        Action::KeyChanged => said("Key changed", "Clé modifiée"),
        Action::KeyRotated => said("Key rotated", "Clé renouvelée"),
        Action::KeyShadowed => said("Key shadow-revoked", "Clé révoquée à blanc"),
        Action::KeyUnshadowed => said("Shadow revocation ended", "Révocation à blanc levée"),
        Action::KeyRevoked => said("Key revoked", "Clé révoquée"),
        Action::LinkCreated => said("Sign-in link made", "Lien de connexion créé"),
        Action::PasswordSet => said("Password set", "Mot de passe choisi"),
        Action::SignedIn => said("Signed in", "Connexion"),
        Action::SignedOut => said("Signed out", "Déconnexion"),
        Action::RootKeyAdded => said("Root key added", "Clé racine ajoutée"),
        Action::RootKeyRetired => said("Root key retired", "Clé racine retirée"),
        Action::StoreRestored => said("Store restored", "Magasin restauré"),
    };
    text.to_owned()
}

/// What a field is called. One that is not known here is shown as the log has it.
fn field_name(language: Language, field: &str) -> String {
    let en = language == Language::English;
    let said = match field {
        "name" if en => "Name",
        "name" => "Nom",
        "handle" if en => "Login name",
        "handle" => "Identifiant de connexion",
        "email" => "E-mail",
        "title" if en => "Title",
        "title" => "Fonction",
        "role" if en => "Role",
        "role" => "Rôle",
        "disabled" if en => "Disabled",
        "disabled" => "Désactivé",
        "owner" if en => "Owner",
        "owner" => "Propriétaire",
        "last4" if en => "Last four",
        "last4" => "Quatre derniers",
        "expires_at" if en => "Expires",
        "expires_at" => "Expiration",
        "scopes" if en => "Scopes",
        "scopes" => "Portées",
        "allowed_addresses" if en => "Allowed addresses",
        "allowed_addresses" => "Adresses permises",
        "allowed_origins" if en => "Allowed origins",
        "allowed_origins" => "Origines permises",
        "category" if en => "Category",
        "category" => "Catégorie",
        "remote_config_read_enabled" if en => "Remote configuration",
        "remote_config_read_enabled" => "Configuration à distance",
        "shadow_revoked_at" if en => "Shadow-revoked",
        "shadow_revoked_at" => "Révoquée à blanc",
        "replaced_by" if en => "Successor",
        "replaced_by" => "Remplaçante",
        "revoked_at" if en => "Revoked",
        "revoked_at" => "Révoquée",
        "application_keys_revoked_at" if en => "Application keys revoked",
        "application_keys_revoked_at" => "Clés d'application révoquées",
        "by" if en => "By",
        "by" => "Par",
        "note" => "Note",
        other => other,
    };
    said.to_owned()
}

/// A side of a change, for people.
fn value(language: Language, field: &str, text: Option<&str>) -> String {
    let en = language == Language::English;
    match (field, text) {
        (_, None | Some("")) => "–".to_owned(),
        ("role", Some(text)) => role_name(language, text),
        (_, Some("true")) => if en { "yes" } else { "oui" }.to_owned(),
        (_, Some("false")) => if en { "no" } else { "non" }.to_owned(),
        (
            "expires_at" | "shadow_revoked_at" | "revoked_at" | "application_keys_revoked_at",
            Some(text),
        ) => Moment::of(text).shown,
        (_, Some(text)) => text.to_owned(),
    }
}

/// What the object was called as it was done: a rotated key leaves its name to its successor.
fn name_of(action: Option<Action>, entry: &AuditView) -> String {
    let renamed = change_of(entry, "name").filter(|_| action == Some(Action::KeyRotated));
    let before = renamed.and_then(|change| change.before.clone());
    before.unwrap_or_else(|| entry.object_name.clone())
}

impl Line {
    pub(super) fn of(language: Language, entry: AuditView) -> Self {
        let t = words(language);
        let (actor, actor_href) = match (&entry.actor_name, &*entry.actor) {
            (Some(name), id) => (name.clone(), Some(format!("/users/{id}"))),
            (None, "operator") => (t.operator.to_owned(), None),
            (None, "system") => (t.system.to_owned(), None),
            (None, id) => (id.to_owned(), None),
        };
        let action = entry.action.parse::<Action>().ok();
        let (verb, tail) = match action {
            Some(action) => deed(language, action, &entry),
            None => ("", entry.action.clone()),
        };
        // "Ann signed in", not "Ann signed in Ann".
        let is_own = matches!(action, Some(Action::SignedIn | Action::SignedOut));
        let needs_none = matches!(action, Some(Action::LogBegun) | None)
            || (is_own && entry.actor == entry.object.to_string());
        let (noun, path) = object(language, &entry.object_kind);
        let id = entry.object.to_string();
        let vias = [Via::Api, Via::Page, Via::Cli, Via::System];
        let via = vias.into_iter().find(|via| via.as_str() == entry.via);
        Self {
            id: entry.id.to_string(),
            at: Moment::of(&entry.at),
            actor,
            actor_href,
            verb,
            noun,
            object_name: (!needs_none).then(|| name_of(action, &entry)),
            object_href: path.map(|path| format!("{path}/{id}")),
            object_id: (!entry.object.is_nil()).then_some(id),
            tail,
            changes: entry
                .changes
                .iter()
                .map(|change| Change {
                    field: field_name(language, &change.field),
                    before: value(language, &change.field, change.before.as_deref()),
                    after: value(language, &change.field, change.after.as_deref()),
                })
                .collect(),
            via: via.map_or(entry.via, |via| said::via(language, via).to_owned()),
            address: entry.address,
            application_key: entry.application_key,
            request_id: entry.request_id,
            hash: entry.hash,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::audit::AuditId;
    use crate::keys::{Partition, UserId};

    fn entry(action: Action, kind: &str, changes: &[(&str, &str, &str)]) -> AuditView {
        let side = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        AuditView {
            id: AuditId {
                partition: Partition::all().next().unwrap(),
                number: 1,
            },
            at: "2026-11-25T08:00:00.000Z".to_owned(),
            actor: UserId(uuid::Uuid::from_u128(7)).to_string(),
            actor_name: Some("Ann".to_owned()),
            via: "page".to_owned(),
            application_key: None,
            request_id: None,
            address: None,
            org: None,
            action: action.as_str().to_owned(),
            object_kind: kind.to_owned(),
            object: uuid::Uuid::from_u128(9),
            object_name: "agents".to_owned(),
            changes: changes
                .iter()
                .map(|(field, before, after)| FieldChange {
                    field: (*field).into(),
                    before: side(before),
                    after: side(after),
                })
                .collect(),
            hash: String::new(),
        }
    }

    fn sentence(language: Language, entry: AuditView) -> String {
        let line = Line::of(language, entry);
        let t = words(language);
        let object = line
            .object_name
            .map(|name| format!(" {} {}{name}{}", line.noun, t.open_quote, t.close_quote));
        let (object, tail) = (object.unwrap_or_default(), line.tail);
        let text = format!("{} {}{object} {tail}", line.actor, line.verb);
        text.trim_end().to_owned()
    }

    #[test]
    fn every_action_is_a_sentence_in_each_language_and_has_a_name() {
        for action in Action::ALL {
            for language in [Language::English, Language::French] {
                let said = sentence(language, entry(*action, "api_key", &[]));
                assert!(said.starts_with("Ann ") && said.len() > 8, "{said}");
                assert!(!action_name(language, *action).is_empty());
            }
            let english = action_name(Language::English, *action);
            assert_ne!(english, action_name(Language::French, *action));
        }
    }

    #[test]
    fn a_new_name_is_told_as_renaming_from_one_to_the_other() {
        let renamed = || entry(Action::KeyChanged, "api_key", &[("name", "x", "agents")]);
        assert_eq!(
            sentence(Language::English, renamed()),
            "Ann renamed API key “agents” from “x” to “agents”"
        );
        assert_eq!(
            sentence(Language::French, renamed()),
            "Ann a renommé la clé d'API «\u{a0}agents\u{a0}» de «\u{a0}x\u{a0}» en «\u{a0}agents\u{a0}»"
        );
        let role = entry(
            Action::UserChanged,
            "user",
            &[("role", "admin", "read-only")],
        );
        assert_eq!(
            sentence(Language::English, role),
            "Ann changed the role of user “agents” from Admin to Read-only"
        );
    }

    #[test]
    fn who_signs_in_is_named_once() {
        let mut own = entry(Action::SignedIn, "user", &[("by", "", "one-time link")]);
        own.object = uuid::Uuid::from_u128(7);
        assert_eq!(
            sentence(Language::English, own),
            "Ann signed in with a one-time link"
        );
    }
}
