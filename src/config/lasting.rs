//! Names of the configuration that live as long as the program: each is kept once, however often it is read. For nothing that
//! a request says.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

static KEPT: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());

/// The name, for as long as the program runs. So a request's record can name its route and its upstream without a copy, and
/// without counting references to something that all workers share.
pub fn lasting(name: &str) -> &'static str {
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(kept) = kept.get(name) {
        return kept;
    }
    let name: &'static str = Box::leak(name.into());
    kept.insert(name);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_kept_once() {
        let (first, second) = (lasting("/own/route"), lasting(&["/own", "/route"].concat()));
        assert!(std::ptr::eq(first, second));
    }
}
