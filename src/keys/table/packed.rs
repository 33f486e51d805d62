//! A user's record in few bytes: users are many, and a decision asks only the word beside it. It says how it is written and read;
//! who may read it, and until when, is `people`'s business.

use super::cold::{ERA_MS, Rest, write_number, write_signed, write_text};
use crate::keys::{OrgId, Revision, Role, Timestamp, User, UserId, UserKind};

const IS_SERVICE_ACCOUNT: u8 = 1;
const IS_DISABLED: u8 = 1 << 1;
const HAS_OWN_EMAIL: u8 = 1 << 2;
const HAS_TITLE: u8 = 1 << 3;
const REVOKED: u8 = 1 << 4;
const HAS_PASSWORD: u8 = 1 << 5;
/// Above the flags lies the role.
const ROLE: u32 = 6;

/// The record, but for the id. The name comes first: it is sent upstream.
pub(super) struct Packed(Box<[u8]>);

impl Packed {
    /// Writes a record down.
    pub(super) fn of(user: &User) -> Self {
        let role = match user.role {
            Role::Admin => 0,
            Role::Standard => 1,
            Role::ReadOnly => 2,
        };
        let flags = [
            (IS_SERVICE_ACCOUNT, user.kind == UserKind::ServiceAccount),
            (IS_DISABLED, user.disabled),
            (HAS_OWN_EMAIL, user.email != user.handle),
            (HAS_TITLE, user.title.is_some()),
            (REVOKED, user.application_keys_revoked_at.is_some()),
            (HAS_PASSWORD, user.password_set_at.is_some()),
        ];
        let flags = flags.iter().filter(|(_, is_set)| *is_set);
        let flags = flags.fold(role << ROLE, |all, (flag, _)| all | flag);
        let mut bytes = Vec::new();
        write_text(&user.name, &mut bytes);
        bytes.push(flags);
        bytes.extend(user.org.bytes());
        write_text(&user.handle, &mut bytes);
        if user.email != user.handle {
            write_text(&user.email, &mut bytes);
        }
        if let Some(title) = &user.title {
            write_text(title, &mut bytes);
        }
        write_number(user.revision.0, &mut bytes);
        write_number(user.application_keys_revoked_through.0, &mut bytes);
        write_signed(user.created_at.0.wrapping_sub(ERA_MS), &mut bytes);
        let later = [
            Some(user.modified_at),
            user.application_keys_revoked_at,
            user.password_set_at,
        ];
        for at in later.into_iter().flatten() {
            write_signed(at.0.wrapping_sub(user.created_at.0), &mut bytes);
        }
        Self(bytes.into_boxed_slice())
    }

    /// What the user is called.
    pub(super) fn name(&self) -> Option<&str> {
        Rest::of(&self.0).text()
    }

    /// The whole record of the user with this id.
    pub(super) fn user(&self, id: UserId) -> Option<User> {
        let mut rest = Rest::of(&self.0);
        let name = rest.text()?.into();
        let [flags] = rest.array()?;
        let has = |flag| flags & flag != 0;
        let org = OrgId(uuid::Uuid::from_bytes(rest.array()?));
        let handle = rest.text()?;
        let email = if has(HAS_OWN_EMAIL) {
            rest.text()?
        } else {
            handle
        };
        let title = if has(HAS_TITLE) {
            Some(rest.text()?.into())
        } else {
            None
        };
        let revision = Revision(rest.number()?);
        let through = Revision(rest.number()?);
        let made = rest.signed()?.wrapping_add(ERA_MS);
        let mut later = || Some(Timestamp(made.wrapping_add(rest.signed()?)));
        let modified_at = later()?;
        let revoked_at = if has(REVOKED) { Some(later()?) } else { None };
        let password_set_at = if has(HAS_PASSWORD) {
            Some(later()?)
        } else {
            None
        };
        Some(User {
            id,
            org,
            kind: if has(IS_SERVICE_ACCOUNT) {
                UserKind::ServiceAccount
            } else {
                UserKind::Person
            },
            handle: handle.into(),
            name,
            email: email.into(),
            title,
            role: match flags >> ROLE {
                0 => Role::Admin,
                1 => Role::Standard,
                _ => Role::ReadOnly,
            },
            disabled: has(IS_DISABLED),
            application_keys_revoked_through: through,
            application_keys_revoked_at: revoked_at,
            password_set_at,
            created_at: Timestamp(made),
            modified_at,
            revision,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::keys::samples;

    proptest! {
        #[test]
        fn a_user_comes_back_as_it_was(
            texts in any::<(String, String, Option<String>, Option<String>)>(),
            times in any::<(i64, i64, Option<i64>, Option<i64>)>(),
            revisions in any::<(u64, u64)>(),
            (is_program, disabled, role) in (any::<bool>(), any::<bool>(), 0..3_usize),
        ) {
            let (handle, name, email, title) = texts;
            let (made, modified, revoked, password) = times;
            let user = User {
                kind: if is_program { UserKind::ServiceAccount } else { UserKind::Person },
                name: name.into(),
                email: email.unwrap_or_else(|| handle.clone()).into(),
                title: title.map(Into::into),
                role: [Role::Admin, Role::Standard, Role::ReadOnly][role],
                disabled,
                application_keys_revoked_through: Revision(revisions.0),
                application_keys_revoked_at: revoked.map(Timestamp),
                password_set_at: password.map(Timestamp),
                created_at: Timestamp(made),
                modified_at: Timestamp(modified),
                revision: Revision(revisions.1),
                ..samples::user(&samples::org("a"), &handle)
            };
            let packed = Packed::of(&user);
            prop_assert_eq!(packed.name(), Some(&*user.name));
            prop_assert_eq!(packed.user(user.id), Some(user));
        }
    }
}
