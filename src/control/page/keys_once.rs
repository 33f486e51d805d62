//! That a form makes one key however often it is sent: what its hidden token becomes. It keeps nothing.

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::control::ServiceError;
use crate::keys::UserId;
use crate::keys::audit::Once;
use crate::store::StoreError;

/// The random bytes of a token.
const TOKEN_BYTES: usize = 16;

/// A new token, for a form that is shown.
pub(super) fn token() -> Result<String, ServiceError> {
    let mut random = [0; TOKEN_BYTES];
    getrandom::fill(&mut random).map_err(StoreError::from)?;
    Ok(crate::store::log::hex(&random))
}

/// What the token of a form that was sent is to the store; `None` when no form of ours holds it.
///
/// What is asked for is part of the name under which the answer is kept: whoever goes back and asks for another key with the
/// same form is given another one, and whoever sends the same again is shown the same again.
pub(super) fn once(user: UserId, token: &str, asked: &impl Serialize) -> Option<Once> {
    let is_ours =
        token.len() == 2 * TOKEN_BYTES && token.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_ours {
        return None;
    }
    let asked: [u8; 32] = Sha256::digest(serde_json::to_vec(asked).ok()?).into();
    let hash = |purpose: &[u8], more: &[u8]| -> [u8; 32] {
        let mut hash = Sha256::new();
        for part in [purpose, &user.bytes(), token.as_bytes(), more] {
            hash.update(part);
        }
        hash.finalize().into()
    };
    Some(Once {
        id: hash(b"keygate page form id\0", &asked),
        request: asked,
        seal: hash(b"keygate page form seal\0", &[]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Slot;

    #[test]
    fn the_same_form_is_the_same_and_another_user_form_or_request_is_not() {
        let slot = Slot::of_org_name("acme");
        let (ann, bob) = (UserId::generate_in(slot), UserId::generate_in(slot));
        let (form, other) = (token().unwrap(), token().unwrap());
        let first = once(ann, &form, &"a").unwrap();
        assert!(once(ann, &form, &"a").unwrap() == first);
        assert_ne!(once(bob, &form, &"a").unwrap().id, first.id);
        assert_ne!(once(bob, &form, &"a").unwrap().seal, first.seal);
        assert_ne!(once(ann, &other, &"a").unwrap().id, first.id);
        assert_ne!(once(ann, &form, &"b").unwrap().id, first.id);
        assert!(once(ann, "", &"a").is_none());
        assert!(once(ann, "not hexadecimal, and as long", &"a").is_none());
    }
}
