//! The requests that the commands about orgs and users become. It performs none.

use super::{ChangedUser, OrgsAction, RoleName, ServiceAccountsAction, Task, UsersAction};
use crate::control::{Request, UserChanges};
use crate::keys::{Role, UserKind};

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
            OrgsAction::Usage { org } => Request::ShowOrgUse { org },
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
            UsersAction::Update {
                user,
                changes,
                title,
            } => changes.request(user, title),
            UsersAction::Link { user } => Request::MakeLink { user },
            UsersAction::Invitation { id } => Request::ShowInvitation { id },
            UsersAction::Offboard { user, yes, wait } => {
                return Self::Offboard { user, yes, wait };
            }
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
            ServiceAccountsAction::Show { account } => Request::ShowUser { user: account },
            ServiceAccountsAction::Disable { account, wait } => {
                wait.after(Request::SetUserDisabled {
                    user: account,
                    disabled: true,
                })
            }
            ServiceAccountsAction::Enable { account } => Request::SetUserDisabled {
                user: account,
                disabled: false,
            },
            ServiceAccountsAction::Update { account, changes } => changes.request(account, None),
        })
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

impl ChangedUser {
    fn request(self, user: String, title: Option<String>) -> Request {
        Request::UpdateUser {
            user,
            change: UserChanges {
                name: self.name,
                email: self.email,
                title,
                role: self.role.map(Into::into),
                disabled: None,
            },
        }
    }
}
