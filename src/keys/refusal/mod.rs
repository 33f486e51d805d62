//! Why a change to keys, users or orgs is refused: the one source of the sentence that people see on the command line, in
//! the API and on the pages, in each language of the pages. What the rules are is in `rules`.

mod english;
mod french;

use compact_str::CompactString;

use crate::keys::KeyKind;
use crate::keys::permissions::Permission;

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

/// The sorts of refusals: what a caller can make of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// What it is about is not there, or not any more.
    Missing,
    /// Somebody else may.
    NotAllowed,
    /// Somebody has it already.
    Taken,
    /// What there is stands against it, and can be changed first.
    Standing,
    /// What was given is not what can be given.
    Malformed,
    /// Later, it may.
    TooOften,
    /// It was good once.
    Spent,
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
    /// What is to be explained is no request that HTTP allows.
    NoRequest {
        /// Which part of it.
        part: &'static str,
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
    /// The nodes of the fleet, to an org that the configuration does not name.
    NodesHidden,
    /// A scope that is no name of a permission.
    ScopeMalformed,
    /// More scopes than a key can have.
    TooManyScopes,
    /// More addresses or origins than a key can have.
    TooManyPlaces,
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
    /// A body that is not the JSON that the request takes.
    BodyMalformed {
        /// Where, and what was expected there.
        why: String,
    },
    /// A parameter of a request that has no such value.
    ParameterMalformed {
        /// Which.
        name: CompactString,
        /// What it can be.
        wanted: &'static str,
    },
    /// A body that speaks of something else than the request's path.
    BodyOfAnother {
        /// What is different.
        what: &'static str,
        /// What it would have to be.
        wanted: CompactString,
    },
    /// A key is to be somebody else's.
    OwnerStays,
    /// A role that is none of the three, or more than one of them.
    RoleUnknown,
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
            Self::NoRequest { .. } => "no_request",
            Self::LastAdmin => "last_admin",
            Self::NotPermitted { .. } => "not_permitted",
            Self::ScopeMissing { .. } => "scope_missing",
            Self::ScopesWiden => "scopes_widen",
            Self::OwnerOnly => "owner_only",
            Self::OperatorOnly => "operator_only",
            Self::NodesHidden => "nodes_hidden",
            Self::ScopeMalformed => "scope_malformed",
            Self::TooManyScopes => "too_many_scopes",
            Self::TooManyPlaces => "too_many_places",
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
            Self::BodyMalformed { .. } => "body_malformed",
            Self::ParameterMalformed { .. } => "parameter_malformed",
            Self::BodyOfAnother { .. } => "body_of_another",
            Self::OwnerStays => "owner_stays",
            Self::RoleUnknown => "role_unknown",
        }
    }

    /// The sentence, in a language.
    pub fn sentence(&self, language: Language) -> String {
        match language {
            Language::English => self.to_string(),
            Language::French => french::sentence(self),
        }
    }

    /// What sort of refusal it is, for whoever answers with a status.
    pub const fn sort(&self) -> Sort {
        match self {
            Self::NotFound { .. } | Self::AlreadyRevoked { .. } => Sort::Missing,
            Self::NotPermitted { .. }
            | Self::ScopeMissing { .. }
            | Self::ScopesWiden
            | Self::OwnerOnly
            | Self::OperatorOnly
            | Self::NodesHidden
            | Self::ProviderFailed { .. }
            | Self::ProviderUserUnknown
            | Self::SignInFailed => Sort::NotAllowed,
            Self::TooManyAttempts { .. } => Sort::TooOften,
            Self::NameTaken { .. } | Self::SecretKnown | Self::OnceReused => Sort::Taken,
            Self::TooMany { .. }
            | Self::TooFew { .. }
            | Self::OwnerDisabled
            | Self::OrgDisabled
            | Self::LastAdmin => Sort::Standing,
            Self::LinkSpent => Sort::Spent,
            Self::NameBlank
            | Self::NameTooLong
            | Self::NameHasControlCharacter
            | Self::SecretMalformed
            | Self::OriginMalformed
            | Self::ExpiryPast
            | Self::DateMalformed
            | Self::AddressMalformed { .. }
            | Self::NoRequest { .. }
            | Self::ScopeMalformed
            | Self::TooManyScopes
            | Self::TooManyPlaces
            | Self::EmailMalformed
            | Self::PasswordTooShort { .. }
            | Self::PasswordTooLong { .. }
            | Self::OldPasswordWrong
            | Self::PasswordsDiffer
            | Self::NoPerson
            | Self::NoServiceAccount
            | Self::Ambiguous { .. }
            | Self::NotOfKind { .. }
            | Self::BodyMalformed { .. }
            | Self::ParameterMalformed { .. }
            | Self::BodyOfAnother { .. }
            | Self::OwnerStays
            | Self::RoleUnknown => Sort::Malformed,
        }
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::KeyKind;
    use crate::keys::permissions::Permission;

    /// Some of each shape: a sentence in each language, that says more than what is wrong.
    #[test]
    fn every_sentence_says_what_to_do_in_both_languages() {
        let some = [
            Refusal::NameBlank,
            Refusal::NotFound { what: "user" },
            Refusal::TooMany {
                kind: KeyKind::ApiKey,
                most: 5,
            },
            Refusal::NotPermitted {
                permission: Permission::ApiKeysWrite,
            },
            Refusal::LastAdmin,
            Refusal::OwnerOnly,
            Refusal::OperatorOnly,
            Refusal::NodesHidden,
            Refusal::SignInFailed,
            Refusal::LinkSpent,
            Refusal::OnceReused,
        ];
        for refusal in some {
            let (english, french) = (
                refusal.sentence(Language::English),
                refusal.sentence(Language::French),
            );
            assert_ne!(english, french, "{}", refusal.code());
            for sentence in [&english, &french] {
                let (_, advice) = sentence.split_once(':').unwrap_or_default();
                assert!(advice.trim().len() > 5, "{sentence}");
            }
        }
    }
}
