//! The requests to the key operations that the commands become. It performs none.

use super::{
    AppsAction, KeysAction, NewApiKey, OrgsAction, RoleName, ServiceAccountsAction, Task,
    TokensAction, UsersAction,
};
use crate::control::{Request, SecretText};
use crate::keys::{KeyKind, Labels, Role, UserKind};

impl From<OrgsAction> for Task {
    fn from(action: OrgsAction) -> Self {
        Self::Do(match action {
            OrgsAction::Create { name } => Request::CreateOrg { name },
            OrgsAction::List => Request::ListOrgs,
            OrgsAction::Show { org } => Request::ShowOrg { org },
            OrgsAction::Disable { org, wait } => wait.after(Request::SetOrgDisabled {
                org,
                disabled: true,
            }),
            OrgsAction::Enable { org } => Request::SetOrgDisabled {
                org,
                disabled: false,
            },
        })
    }
}

impl From<UsersAction> for Task {
    fn from(action: UsersAction) -> Self {
        Self::Do(match action {
            UsersAction::Create {
                org,
                email,
                name,
                title,
                role,
            } => Request::CreateUser {
                org,
                email,
                name,
                title,
                role: role.into(),
            },
            UsersAction::List { org } => Request::ListUsers {
                org,
                kind: UserKind::Person,
            },
            UsersAction::Show { user } => Request::ShowUser { user },
            UsersAction::Disable { user, wait } => wait.after(Request::SetUserDisabled {
                user,
                disabled: true,
            }),
            UsersAction::Enable { user } => Request::SetUserDisabled {
                user,
                disabled: false,
            },
        })
    }
}

impl From<ServiceAccountsAction> for Task {
    fn from(action: ServiceAccountsAction) -> Self {
        Self::Do(match action {
            ServiceAccountsAction::Create {
                org,
                name,
                email,
                role,
            } => Request::CreateServiceAccount {
                org,
                name,
                email,
                role: role.into(),
            },
            ServiceAccountsAction::List { org } => Request::ListUsers {
                org,
                kind: UserKind::ServiceAccount,
            },
        })
    }
}

impl NewApiKey {
    fn request(self, secret: Option<SecretText>) -> Request {
        Request::CreateApiKey {
            org: self.org,
            name: self.name,
            expires_at: self.expires_at,
            allowed_addresses: self.allowed_addresses,
            secret,
            labels: Labels::default(),
        }
    }
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Admin => Self::Admin,
            RoleName::Standard => Self::Standard,
            RoleName::ReadOnly => Self::ReadOnly,
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
            TokensAction::Revoke { id, wait } => wait.after(Request::RevokeKey { kind, id }),
        })
    }
}
