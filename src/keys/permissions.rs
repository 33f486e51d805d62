//! What each role may do to keys, users and orgs, as data. Whose key or user it is that somebody may touch is decided where
//! the operation is performed.

use super::Role;

macro_rules! permissions {
    ($(#[doc = $doc:literal] $name:ident = $word:literal, $roles:expr;)*) => {
        /// A named permission of the key management (Datadog's names, WIRE 5). An application key with scopes may do what its
        /// owner may and its scopes name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Permission {
            $(#[doc = $doc] $name,)*
        }

        impl Permission {
            /// Every one.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its name, in scopes and in the API.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }

            /// The roles that have it.
            pub const fn roles(self) -> &'static [Role] {
                match self {
                    $(Self::$name => $roles,)*
                }
            }

            /// What it allows, in words.
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$name => $doc.trim_ascii(),)*
                }
            }
        }
    };
}

const EVERYBODY: &[Role] = &[Role::Admin, Role::Standard, Role::ReadOnly];
const WRITERS: &[Role] = &[Role::Admin, Role::Standard];
const ADMINS: &[Role] = &[Role::Admin];

permissions! {
    /// See the API keys of the org.
    ApiKeysRead = "api_keys_read", EVERYBODY;
    /// Make, rename, rotate and restrict API keys.
    ApiKeysWrite = "api_keys_write", ADMINS;
    /// Revoke API keys.
    ApiKeysDelete = "api_keys_delete", ADMINS;
    /// See, make, change and revoke one's own application keys.
    UserAppKeys = "user_app_keys", WRITERS;
    /// See the application keys of everybody in the org.
    OrgAppKeysRead = "org_app_keys_read", ADMINS;
    /// Change and revoke the application keys of everybody in the org.
    OrgAppKeysWrite = "org_app_keys_write", ADMINS;
    /// See the client tokens of the org.
    ClientTokensRead = "client_tokens_read", EVERYBODY;
    /// Make, change and revoke client tokens.
    ClientTokensWrite = "client_tokens_write", ADMINS;
    /// See the users, service accounts and roles of the org.
    UserAccessRead = "user_access_read", EVERYBODY;
    /// Make users, and give them one-time sign-in links.
    UserAccessInvite = "user_access_invite", ADMINS;
    /// Change, disable and enable users.
    UserAccessManage = "user_access_manage", ADMINS;
    /// Make, change and disable service accounts, and manage their application keys.
    ServiceAccountWrite = "service_account_write", ADMINS;
    /// Read the audit log of the org.
    AuditLogsRead = "audit_logs_read", ADMINS;
}

impl Permission {
    /// Whether a role has it.
    pub fn is_of(self, role: Role) -> bool {
        self.roles().contains(&role)
    }

    /// The one with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|known| known.as_str() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_lesser_role_may_the_greater_may_too() {
        for permission in Permission::ALL {
            let may = |role| permission.is_of(role);
            assert!(may(Role::Admin), "{permission:?}");
            assert!(
                !may(Role::ReadOnly) || may(Role::Standard),
                "{permission:?}"
            );
            assert_eq!(Permission::named(permission.as_str()), Some(*permission));
        }
        assert_eq!(
            Permission::ApiKeysRead.meaning(),
            "See the API keys of the org."
        );
    }
}
