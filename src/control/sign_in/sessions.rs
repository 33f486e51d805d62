//! Sessions: how one is opened, found again, seen in use, and when it is over. The cookie that carries one is the pages'.

use std::time::Duration;

use super::{Token, now};
use crate::config::Control;
use crate::control::ServiceError;
use crate::keys::audit::By;
use crate::keys::{Org, Timestamp, User, UserId, UserKind};
use crate::store::papers::{AsOf, Session, SignInBy};
use crate::store::{Store, StoreError};

/// How often it is noted that a session is in use, at most.
const SEEN_EVERY: Duration = Duration::from_mins(5);

/// Somebody who is signed in.
pub struct SignedIn {
    /// Who.
    pub user: User,
    /// Their org.
    pub org: Org,
    /// The session.
    pub session: Session,
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Opens a session for a user and gives what its cookie holds: always something new. With a password comes when that was set.
///
/// # Errors
/// When the user may not sign in, or the store cannot be written.
pub fn open(
    store: &Store,
    (user, as_of): (UserId, AsOf),
    how: SignInBy,
    config: &Control,
    by: &By,
) -> Result<Token, ServiceError> {
    let token = Token::generate(user)?;
    let opened_at = now();
    let session = Session {
        user,
        by: how,
        opened_at,
        seen_at: opened_at,
        expires_at: Timestamp(opened_at.0.saturating_add(millis(config.session_lifetime))),
        as_of,
    };
    store.open_session(token.hash, session, by)?;
    Ok(token)
}

/// Whose session it is, if it is not over.
///
/// # Errors
/// When the store cannot be read.
pub fn find(
    store: &Store,
    token: &Token,
    config: &Control,
) -> Result<Option<SignedIn>, StoreError> {
    let Some(session) = store.session(token.partition, token.hash)? else {
        return Ok(None);
    };
    let (now, idle) = (now(), millis(config.session_idle));
    let is_over = session.expires_at <= now || session.seen_at.0.saturating_add(idle) <= now.0;
    // A shorter lifetime that has been configured since holds for what is open, too.
    let is_old = session
        .opened_at
        .0
        .saturating_add(millis(config.session_lifetime))
        <= now.0;
    if is_over || is_old {
        return Ok(None);
    }
    let Some(user) = store.user(session.user)? else {
        return Ok(None);
    };
    let Some(org) = store.org(user.org)? else {
        return Ok(None);
    };
    let ended = user.disabled
        || org.disabled
        || user.kind != UserKind::Person
        || session.as_of != AsOf::of(&user);
    if ended {
        return Ok(None);
    }
    let quiet = now.0.saturating_sub(session.seen_at.0);
    if quiet >= millis(SEEN_EVERY.min(config.session_idle / 4)) {
        // A store that cannot be written now will be told with the next request.
        let _ = store.touch_session(token.partition, token.hash);
    }
    Ok(Some(SignedIn { user, org, session }))
}
