//! The requests that the commands about keys become. It performs none.

use super::Task;
use super::keys::{
    AppsAction, Changed, ChangedApiKey, ChangedApplicationKey, ChangedClientToken, KeysAction,
    NewApiKey, Rotated, Shadowed, TokensAction, YesNo,
};
use crate::control::{KeyChanges, Request, SecretText};
use crate::keys::{KeyKind, Labels};

impl NewApiKey {
    fn request(self, secret: Option<SecretText>) -> Request {
        Request::CreateApiKey {
            org: self.org,
            name: self.name,
            expires_at: self.expires_at,
            allowed_addresses: self.allowed_addresses,
            secret,
            labels: Labels {
                category: self.category.map(Into::into),
                ..Labels::default()
            },
        }
    }
}

/// What a list is to be: these, none at all, or as it is.
fn list<T>(given: Vec<T>, none: bool) -> Option<Vec<T>> {
    (none || !given.is_empty()).then_some(given)
}

impl Changed {
    fn changes(self) -> KeyChanges {
        KeyChanges {
            name: self.name,
            expires_at: self.expires_at,
            never_expires: self.never_expires,
            ..KeyChanges::default()
        }
    }
}

impl ChangedApiKey {
    fn request(self, id: String) -> Request {
        let change = KeyChanges {
            allowed_addresses: list(self.allowed_addresses, self.any_address),
            category: self.category,
            remote_config_read: self.remote_config_read.map(|it| it == YesNo::Yes),
            ..self.any.changes()
        };
        let kind = KeyKind::ApiKey;
        Request::UpdateKey { kind, id, change }
    }
}

impl ChangedApplicationKey {
    fn request(self, id: String) -> Request {
        let change = KeyChanges {
            scopes: list(self.scopes, self.all_scopes),
            ..self.any.changes()
        };
        let kind = KeyKind::ApplicationKey;
        Request::UpdateKey { kind, id, change }
    }
}

impl ChangedClientToken {
    fn request(self, id: String) -> Request {
        let change = KeyChanges {
            allowed_origins: list(self.allowed_origins, self.any_origin),
            ..self.any.changes()
        };
        let kind = KeyKind::ClientToken;
        Request::UpdateKey { kind, id, change }
    }
}

impl Rotated {
    fn request(self, kind: KeyKind) -> Request {
        self.wait.after(Request::RotateKey {
            kind,
            id: self.id,
            name: self.name,
            overlap_ms: self.overlap,
            expires_at: self.expires_at,
        })
    }
}

impl Shadowed {
    fn request(self, kind: KeyKind) -> Request {
        let change = KeyChanges {
            shadowed: Some(!self.end),
            ..KeyChanges::default()
        };
        Request::UpdateKey {
            kind,
            id: self.id,
            change,
        }
    }
}

impl From<KeysAction> for Task {
    fn from(action: KeysAction) -> Self {
        let kind = KeyKind::ApiKey;
        Self::Do(match action {
            KeysAction::Create(new) => new.request(None),
            KeysAction::Import(new) => {
                return Self::WithSecret(Box::new(|secret| new.request(Some(secret))));
            }
            KeysAction::List { org } => Request::ListKeys { kind, org },
            KeysAction::Show { id } => Request::ShowKey { kind, id },
            KeysAction::Usage { id } => Request::ShowKeyUse { kind, id },
            KeysAction::Update { id, changes } => changes.request(id),
            KeysAction::Rotate(rotated) => rotated.request(kind),
            KeysAction::ShadowRevoke(shadowed) => shadowed.request(kind),
            KeysAction::Revoke { id, wait } => wait.after(Request::RevokeKey { kind, id }),
        })
    }
}

impl From<AppsAction> for Task {
    fn from(action: AppsAction) -> Self {
        let kind = KeyKind::ApplicationKey;
        Self::Do(match action {
            AppsAction::Create {
                owner,
                name,
                scopes,
                expires_at,
            } => Request::CreateApplicationKey {
                owner,
                name,
                expires_at,
                scopes,
            },
            AppsAction::List {
                owner: Some(owner), ..
            } => Request::ListKeysOfOwner { owner },
            // The parser demands one of the two.
            AppsAction::List { org, owner: None } => Request::ListKeys {
                kind,
                org: org.unwrap_or_default(),
            },
            AppsAction::Show { id } => Request::ShowKey { kind, id },
            AppsAction::Usage { id } => Request::ShowKeyUse { kind, id },
            AppsAction::Update { id, changes } => changes.request(id),
            AppsAction::Rotate(rotated) => rotated.request(kind),
            AppsAction::ShadowRevoke(shadowed) => shadowed.request(kind),
            AppsAction::Revoke { id, wait } => wait.after(Request::RevokeKey { kind, id }),
        })
    }
}

impl From<TokensAction> for Task {
    fn from(action: TokensAction) -> Self {
        let kind = KeyKind::ClientToken;
        Self::Do(match action {
            TokensAction::Create {
                org,
                name,
                allowed_origins,
                expires_at,
            } => Request::CreateClientToken {
                org,
                name,
                expires_at,
                allowed_origins,
            },
            TokensAction::List { org } => Request::ListKeys { kind, org },
            TokensAction::Show { id } => Request::ShowKey { kind, id },
            TokensAction::Usage { id } => Request::ShowKeyUse { kind, id },
            TokensAction::Update { id, changes } => changes.request(id),
            TokensAction::Rotate(rotated) => rotated.request(kind),
            TokensAction::ShadowRevoke(shadowed) => shadowed.request(kind),
            TokensAction::Revoke { id, wait } => wait.after(Request::RevokeKey { kind, id }),
        })
    }
}
