//! Why a change to keys, users or orgs is refused: the one source of the sentence that people see on the command line, in
//! the API and on the pages, in each language of the pages. What the rules are is in `rules`.

use std::fmt;

use compact_str::CompactString;

use super::KeyKind;
use super::permissions::Permission;
use super::rules::{self, NAME_CHARS_MAX, SCOPES_MAX, Within};

/// A language of the pages. The command line and the API speak English.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    /// English.
    #[default]
    English,
    /// French.
    French,
}

impl Language {
    /// Its tag (BCP 47), for `lang` attributes and `Accept-Language`.
    pub const fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::French => "fr",
        }
    }
}

/// Why a change to keys, users or orgs is refused. Each sentence says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A blank name.
    NameBlank,
    /// A name over [`NAME_CHARS_MAX`].
    NameTooLong,
    /// A name with a control character.
    NameHasControlCharacter,
    /// A name that another active key, user or org has.
    NameTaken {
        /// What has it.
        what: &'static str,
        /// Within what it is unique.
        within: &'static str,
        /// The name.
        name: CompactString,
    },
    /// One key too many.
    TooMany {
        /// The kind of key.
        kind: KeyKind,
        /// The most there may be.
        most: u32,
    },
    /// One key too few would be left.
    TooFew {
        /// The kind of key.
        kind: KeyKind,
        /// The fewest there may be.
        fewest: u32,
    },
    /// Already revoked.
    AlreadyRevoked {
        /// The kind of key.
        kind: KeyKind,
    },
    /// The owner of a new application key is disabled.
    OwnerDisabled,
    /// The org is disabled.
    OrgDisabled,
    /// A secret to import that is already known, here or in another org.
    SecretKnown,
    /// A secret to import that no secret can be.
    SecretMalformed,
    /// An origin that is none.
    OriginMalformed,
    /// An expiry that is past.
    ExpiryPast,
    /// A date that is none.
    DateMalformed,
    /// A client address, or network, that is none.
    AddressMalformed {
        /// What was given.
        given: CompactString,
    },
    /// Nothing has this id or name.
    NotFound {
        /// What was looked for.
        what: &'static str,
    },
    /// The last admin of an org would be disabled, or be one no more.
    LastAdmin,
    /// The caller's role does not allow it.
    NotPermitted {
        /// What it would take.
        permission: Permission,
    },
    /// The caller's role would, and the scopes of the application key do not.
    ScopeMissing {
        /// What they would have to name.
        permission: Permission,
    },
    /// The application key used has scopes, and another key would get more than those.
    ScopesWiden,
    /// An application key, made by somebody else than its owner.
    OwnerOnly,
    /// Only somebody at the machine may.
    OperatorOnly,
    /// A scope that is no name of a permission.
    ScopeMalformed,
    /// More scopes than a key can have.
    TooManyScopes,
    /// An e-mail address that is none.
    EmailMalformed,
    /// The Idempotency-Key was sent before, with another request.
    OnceReused,
    /// A password shorter than this.
    PasswordTooShort {
        /// In characters.
        least: usize,
    },
    /// A password longer than this.
    PasswordTooLong {
        /// In bytes.
        most: usize,
    },
    /// The old password, where a new one is to be set, is wrong.
    OldPasswordWrong,
    /// A password that was typed twice, differently.
    PasswordsDiffer,
    /// The login name or the password is wrong, or the user may not sign in. Nobody is told which.
    SignInFailed,
    /// The provider that is to vouch for somebody does not, or its word does not hold.
    ProviderFailed {
        /// Where it went wrong, for whoever runs it.
        at: &'static str,
    },
    /// The provider vouches for somebody who is not known here.
    ProviderUserUnknown,
    /// Too many attempts to sign in.
    TooManyAttempts {
        /// How long to wait.
        seconds: u64,
    },
    /// A one-time link that was used, is too old, or never was.
    LinkSpent,
    /// A service account, where only a person can be meant.
    NoPerson,
    /// A person, where only a service account can be meant.
    NoServiceAccount,
    /// The name of one thing, where that of more than one fits.
    Ambiguous {
        /// What it names.
        what: &'static str,
        /// The name.
        name: CompactString,
    },
    /// What a key of one kind has, given to a key of another.
    NotOfKind {
        /// What was given.
        what: &'static str,
        /// The kind of key.
        kind: KeyKind,
    },
}

impl Refusal {
    /// A stable word for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NameBlank => "name_blank",
            Self::NameTooLong => "name_too_long",
            Self::NameHasControlCharacter => "name_has_control_character",
            Self::NameTaken { .. } => "name_taken",
            Self::TooMany { .. } => "too_many",
            Self::TooFew { .. } => "too_few",
            Self::AlreadyRevoked { .. } => "already_revoked",
            Self::OwnerDisabled => "owner_disabled",
            Self::OrgDisabled => "org_disabled",
            Self::SecretKnown => "secret_known",
            Self::SecretMalformed => "secret_malformed",
            Self::OriginMalformed => "origin_malformed",
            Self::ExpiryPast => "expiry_past",
            Self::DateMalformed => "date_malformed",
            Self::AddressMalformed { .. } => "address_malformed",
            Self::NotFound { .. } => "not_found",
            Self::LastAdmin => "last_admin",
            Self::NotPermitted { .. } => "not_permitted",
            Self::ScopeMissing { .. } => "scope_missing",
            Self::ScopesWiden => "scopes_widen",
            Self::OwnerOnly => "owner_only",
            Self::OperatorOnly => "operator_only",
            Self::ScopeMalformed => "scope_malformed",
            Self::TooManyScopes => "too_many_scopes",
            Self::EmailMalformed => "email_malformed",
            Self::OnceReused => "idempotency_key_reused",
            Self::PasswordTooShort { .. } => "password_too_short",
            Self::PasswordTooLong { .. } => "password_too_long",
            Self::OldPasswordWrong => "old_password_wrong",
            Self::PasswordsDiffer => "passwords_differ",
            Self::SignInFailed => "sign_in_failed",
            Self::ProviderFailed { .. } => "provider_failed",
            Self::ProviderUserUnknown => "provider_user_unknown",
            Self::TooManyAttempts { .. } => "too_many_attempts",
            Self::LinkSpent => "link_spent",
            Self::NoPerson => "no_person",
            Self::NoServiceAccount => "no_service_account",
            Self::Ambiguous { .. } => "ambiguous",
            Self::NotOfKind { .. } => "not_of_kind",
        }
    }

    /// The sentence, in a language.
    pub fn sentence(&self, language: Language) -> String {
        match language {
            Language::English => self.to_string(),
            Language::French => self.french(),
        }
    }

    fn french(&self) -> String {
        match self {
            Self::NameBlank => "un nom ne peut pas être vide : donnez-en un de 1 à 256 caractères".to_owned(),
            Self::NameTooLong => format!("un nom a au plus {NAME_CHARS_MAX} caractères : donnez-en un plus court"),
            Self::NameHasControlCharacter => {
                "un nom ne peut pas contenir de caractères de contrôle tels que des sauts de ligne : retirez-les".to_owned()
            }
            Self::NameTaken { what, within, name } => format!(
                "{} déjà {} nommé(e) « {name} » : choisissez un autre nom",
                match *within {
                    "org" => "l'organisation a",
                    "user" => "l'utilisateur a",
                    _ => "l'installation a",
                },
                noun_fr(what)
            ),
            Self::TooMany { kind, most } => format!(
                "{} a au plus {most} {} : révoquez-en d'abord une qui ne sert plus",
                match rules::of(*kind).within {
                    Within::Org => "une organisation",
                    Within::Owner => "un utilisateur",
                },
                kinds_fr(*kind)
            ),
            Self::TooFew { kind, fewest } => format!(
                "une organisation garde au moins {fewest} {} : créez-en d'abord une autre et faites-y passer ses émetteurs",
                if *fewest == 1 { kind_fr(*kind) } else { kinds_fr(*kind) }
            ),
            Self::AlreadyRevoked { kind } => {
                format!("cette clé ({}) est déjà révoquée : il n'y a plus rien à y changer", kind_fr(*kind))
            }
            Self::OwnerDisabled => {
                "cet utilisateur est désactivé et ne peut pas recevoir de clés : réactivez-le d'abord".to_owned()
            }
            Self::OrgDisabled => {
                "cette organisation est désactivée et ne peut pas être modifiée : réactivez-la d'abord".to_owned()
            }
            Self::SecretKnown => {
                "ce secret appartient déjà à une clé, active ou révoquée : utilisez-en un autre".to_owned()
            }
            Self::SecretMalformed => {
                "un secret a de 1 à 128 caractères ASCII visibles, sans espaces : donnez-en un tel".to_owned()
            }
            Self::OriginMalformed => {
                "une origine est un schéma et un hôte, comme https://shop.example ou https://*.shop.example".to_owned()
            }
            Self::ExpiryPast => "cette date d'expiration est passée : donnez-en une à venir".to_owned(),
            Self::DateMalformed => "ce n'est pas une date : donnez-en une comme 2030-12-31".to_owned(),
            Self::AddressMalformed { given } => format!(
                "« {given} » n'est ni une adresse ni un réseau : donnez par exemple 192.0.2.7, 10.0.0.0/8 ou 2001:db8::/32"
            ),
            Self::NotFound { what } => {
                format!("introuvable : {} ; vérifiez l'identifiant", noun_fr(what))
            }
            Self::LastAdmin => {
                "une organisation garde au moins un administrateur actif : nommez-en d'abord un autre".to_owned()
            }
            Self::NotPermitted { permission } => format!(
                "votre rôle n'a pas la permission {} : demandez à un administrateur de votre organisation",
                permission.as_str()
            ),
            Self::ScopeMissing { permission } => format!(
                "la clé d'application utilisée n'a pas la portée {} : utilisez-en une qui l'a",
                permission.as_str()
            ),
            Self::ScopesWiden => {
                "la clé d'application utilisée a des portées et ne peut pas en donner d'autres : nommez des portées qu'elle a".to_owned()
            }
            Self::OwnerOnly => {
                "une clé d'application est créée par l'utilisateur à qui ses requêtes sont attribuées : demandez-le-lui, ou \
                 utilisez un compte de service"
                    .to_owned()
            }
            Self::OperatorOnly => {
                "cela ne peut se faire que sur la machine elle-même : lancez la commande sur le serveur".to_owned()
            }
            Self::ScopeMalformed => {
                "une portée est le nom d'une permission, comme api_keys_read : minuscules, chiffres et _ seulement".to_owned()
            }
            Self::TooManyScopes => format!("une clé a au plus {SCOPES_MAX} portées : donnez-en moins"),
            Self::EmailMalformed => "ce n'est pas une adresse e-mail : donnez-en une comme ann@acme.example".to_owned(),
            Self::OnceReused => {
                "cette Idempotency-Key a déjà servi pour une autre requête : utilisez-en une nouvelle".to_owned()
            }
            Self::PasswordTooShort { least } => {
                format!("un mot de passe a au moins {least} caractères : donnez-en un plus long")
            }
            Self::PasswordTooLong { most } => {
                format!("un mot de passe a au plus {most} octets : donnez-en un plus court")
            }
            Self::OldPasswordWrong => {
                "ce n'est pas votre mot de passe actuel : saisissez-le à nouveau".to_owned()
            }
            Self::PasswordsDiffer => {
                "les deux mots de passe diffèrent : saisissez deux fois le même".to_owned()
            }
            Self::SignInFailed => {
                "identifiant ou mot de passe inconnu : vérifiez-les, ou demandez un lien de connexion à un administrateur".to_owned()
            }
            Self::ProviderFailed { at } => format!(
                "votre fournisseur d'identité ne s'est pas porté garant de vous ({at}) : réessayez, ou prévenez un administrateur"
            ),
            Self::ProviderUserUnknown => {
                "votre fournisseur d'identité vous connaît, mais aucun utilisateur actif n'a cet identifiant ici : demandez à un administrateur de vous ajouter".to_owned()
            }
            Self::TooManyAttempts { seconds } => {
                format!("trop de tentatives de connexion : réessayez dans {seconds} secondes")
            }
            Self::LinkSpent => {
                "ce lien a déjà servi, est trop ancien ou n'existe pas : demandez-en un autre à un administrateur".to_owned()
            }
            Self::NoPerson => {
                "un compte de service ne se connecte pas et n'a pas d'adresse : donnez une personne".to_owned()
            }
            Self::NoServiceAccount => "c'est une personne : donnez un compte de service".to_owned(),
            Self::Ambiguous { what, name } => format!(
                "plusieurs objets ({}) s'appellent « {name} » : donnez l'identifiant",
                noun_fr(what)
            ),
            Self::NotOfKind { what, kind } => {
                format!("{what} : une clé de cette sorte ({}) n'en a pas ; retirez-le", kind_fr(*kind))
            }
        }
    }
}

const fn kind_fr(kind: KeyKind) -> &'static str {
    match kind {
        KeyKind::ApiKey => "clé d'API active",
        KeyKind::ApplicationKey => "clé d'application active",
        KeyKind::ClientToken => "jeton client actif",
    }
}

const fn kinds_fr(kind: KeyKind) -> &'static str {
    match kind {
        KeyKind::ApiKey => "clés d'API actives",
        KeyKind::ApplicationKey => "clés d'application actives",
        KeyKind::ClientToken => "jetons clients actifs",
    }
}

fn noun_fr(what: &str) -> &str {
    match what.split(':').next().unwrap_or(what) {
        "org" => "une organisation",
        "user" => "un utilisateur",
        "key" => "une clé",
        "API key" => "une clé d'API",
        "application key" => "une clé d'application",
        "client token" => "un jeton client",
        "service account" => "un compte de service",
        _ => what,
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NameBlank => f.write_str("a name cannot be blank: give one of 1 to 256 characters"),
            Self::NameTooLong => write!(f, "a name has at most {NAME_CHARS_MAX} characters: give a shorter one"),
            Self::NameHasControlCharacter => {
                f.write_str("a name cannot hold control characters such as line breaks: take them out")
            }
            Self::NameTaken { what, within, name } => {
                write!(f, "the {within} already has an active {what} named \"{name}\": choose another name")
            }
            Self::TooMany { kind, most } => {
                let rules = rules::of(*kind);
                let within = match rules.within {
                    Within::Org => "an org",
                    Within::Owner => "a user",
                };
                write!(f, "{within} has at most {most} active {}s: revoke one that is no longer used first", rules.label)
            }
            Self::TooFew { kind, fewest } => {
                let (label, s) = (rules::of(*kind).label, if *fewest == 1 { "" } else { "s" });
                write!(
                    f,
                    "an org keeps at least {fewest} active {label}{s}: create another one and move its senders first"
                )
            }
            Self::AlreadyRevoked { kind } => {
                write!(f, "this {} is already revoked: nothing of it can be changed", rules::of(*kind).label)
            }
            Self::OwnerDisabled => f.write_str("this user is disabled and cannot be given keys: enable the user first"),
            Self::OrgDisabled => f.write_str("this org is disabled and cannot be changed: enable the org first"),
            Self::SecretKnown => f.write_str("this secret belongs to a key already, active or revoked: use another one"),
            Self::SecretMalformed => f.write_str("a secret is 1 to 128 visible ASCII characters, without blanks"),
            Self::OriginMalformed => {
                f.write_str("an origin is scheme and host, as in https://shop.example or https://*.shop.example")
            }
            Self::ExpiryPast => f.write_str("this expiry is in the past: give a later time"),
            Self::DateMalformed => f.write_str("this is no date: give one, as in 2030-12-31"),
            Self::AddressMalformed { given } => write!(
                f,
                "\"{given}\" is no address and no network: give one, as in 192.0.2.7, 10.0.0.0/8 or 2001:db8::/32"
            ),
            Self::NotFound { what } if what.contains(':') => write!(f, "there is no such {what}"),
            Self::NotFound { what } => write!(f, "there is no such {what}: check its id or name"),
            Self::LastAdmin => f.write_str("an org keeps at least one active admin: make somebody else one first"),
            Self::NotPermitted { permission } => write!(
                f,
                "your role does not have the permission {}: ask an admin of your org",
                permission.as_str()
            ),
            Self::ScopeMissing { permission } => write!(
                f,
                "the application key used does not have the scope {}: use one that has it",
                permission.as_str()
            ),
            Self::ScopesWiden => f.write_str(
                "the application key used has scopes and can give no others: name scopes that it has, or use a key without scopes",
            ),
            Self::OwnerOnly => f.write_str(
                "an application key is made by the user its requests are attributed to: ask them to make it, or use a \
                 service account",
            ),
            Self::OperatorOnly => f.write_str("this can only be done at the machine itself: run the command on the server"),
            Self::ScopeMalformed => f.write_str(
                "a scope is the name of a permission, as in api_keys_read: lower-case letters, digits and _ only",
            ),
            Self::TooManyScopes => write!(f, "a key has at most {SCOPES_MAX} scopes: give fewer"),
            Self::EmailMalformed => f.write_str("this is no e-mail address: give one, as in ann@acme.example"),
            Self::OnceReused => f.write_str("this Idempotency-Key was sent before, with another request: use a new one"),
            Self::PasswordTooShort { least } => {
                write!(f, "a password has at least {least} characters: give a longer one")
            }
            Self::PasswordTooLong { most } => write!(f, "a password has at most {most} bytes: give a shorter one"),
            Self::OldPasswordWrong => f.write_str("this is not your present password: type it again"),
            Self::PasswordsDiffer => f.write_str("the two passwords differ: type the same one twice"),
            Self::SignInFailed => f.write_str(
                "this login name and password are not known together: check both, or ask an admin for a sign-in link",
            ),
            Self::ProviderFailed { at } => write!(
                f,
                "your identity provider did not vouch for you ({at}): try again, or tell an admin"
            ),
            Self::ProviderUserUnknown => f.write_str(
                "your identity provider knows you, and no active user has this login name here: ask an admin to add you",
            ),
            Self::TooManyAttempts { seconds } => {
                write!(f, "too many attempts to sign in: try again in {seconds} seconds")
            }
            Self::LinkSpent => {
                f.write_str("this link was used already, is too old, or never was: ask an admin for another one")
            }
            Self::NoPerson => {
                f.write_str("a service account does not sign in and has no address of its own: give a person")
            }
            Self::NoServiceAccount => f.write_str("this is a person: give a service account"),
            Self::Ambiguous { what, name } => write!(f, "more than one {what} is called \"{name}\": give its id"),
            Self::NotOfKind { what, kind } => {
                write!(f, "a key of this kind, {}, has no {what}: leave it out", rules::of(*kind).label)
            }
        }
    }
}

impl std::error::Error for Refusal {}
