//! The sentences of refusals in English: what the command line and the API say.

use std::fmt;

use crate::keys::rules::{self, NAME_CHARS_MAX, PLACES_MAX, SCOPES_MAX, Within};

use super::Refusal;

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
            Self::OwnerDisabled => f.write_str("this user is disabled and cannot be given keys or links: enable the user first"),
            Self::OrgDisabled => f.write_str("this org is disabled and cannot be changed: enable the org first"),
            Self::SecretKnown => f.write_str("this secret belongs to a key already, active or revoked: use another one"),
            Self::SecretMalformed => f.write_str("a secret is 1 to 128 visible ASCII characters, without blanks"),
            Self::OriginMalformed => {
                f.write_str("an origin is scheme and host, as in https://shop.example or https://*.shop.example")
            }
            Self::ExpiryPast => f.write_str("this expiry is in the past: give a later time"),
            Self::NotFound { what } if what.contains(':') => write!(f, "there is no such {what}"),
            Self::NotFound { what } => write!(f, "there is no such {what}: check its id or name"),
            Self::NoRequest { part } => write!(f, "this is no request that HTTP allows: look at its {part}"),
            Self::DateMalformed => f.write_str("this is no date: give one, as in 2030-12-31"),
            Self::AddressMalformed { given } => write!(
                f,
                "\"{given}\" is no address and no network: give one, as in 192.0.2.7, 10.0.0.0/8 or 2001:db8::/32"
            ),
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
            Self::NodesHidden => f.write_str(
                "only admins of the orgs named in control.operator_orgs see the nodes: ask whoever runs keygate",
            ),
            Self::ScopeMalformed => f.write_str(
                "a scope is the name of a permission, as in api_keys_read: lower-case letters, digits and _ only",
            ),
            Self::TooManyScopes => write!(f, "a key has at most {SCOPES_MAX} scopes: give fewer"),
            Self::TooManyPlaces => write!(f, "a key has at most {PLACES_MAX} addresses or origins: give fewer, or networks"),
            Self::EmailMalformed => f.write_str("this is no e-mail address: give one, as in ann@acme.example"),
            Self::OnceReused => f.write_str("this Idempotency-Key was sent before, with another request: use a new one"),
            Self::PasswordTooShort { least } => {
                write!(f, "a password has at least {least} characters: give a longer one")
            }
            Self::PasswordTooLong { most } => write!(f, "a password has at most {most} bytes: give a shorter one"),
            Self::OldPasswordWrong => f.write_str("this is not your present password: type it again"),
            Self::PasswordsDiffer => f.write_str("the two passwords differ: type the same one twice"),
            Self::SignInFailed => f.write_str(
                "wrong login name or password: check both, fill in the org if you have the same login name in several, \
                 or ask an admin for a sign-in link",
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
                f.write_str(
                    "this link was used already, is too old, or never was: ask an admin for another one, or make one at the \
                     machine with `keygate users link USER`",
                )
            }
            Self::NoPerson => {
                f.write_str("a service account does not sign in and has no address of its own: give a person")
            }
            Self::NoServiceAccount => f.write_str("this is a person: give a service account"),
            Self::Ambiguous { what, name } => write!(f, "more than one {what} is called \"{name}\": give its id"),
            Self::NotOfKind { what, kind } => {
                write!(f, "a key of this kind, {}, has no {what}: leave it out", rules::of(*kind).label)
            }
            Self::BodyMalformed { why } => write!(f, "the body is not the JSON that this request takes: {why}"),
            Self::ParameterMalformed { name, wanted } => write!(f, "{name} has no such value: give {wanted}"),
            Self::BodyOfAnother { what, wanted } => {
                write!(f, "{what} in the body is not that of the path: give {wanted}")
            }
            Self::OwnerStays => f.write_str(
                "a key never changes its owner: make another one for that user, and revoke this one",
            ),
            Self::RoleUnknown => f.write_str("a user has exactly one role: give one of GET /api/v2/roles"),
        }
    }
}
