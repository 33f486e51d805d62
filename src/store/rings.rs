//! The root keys that a store opens with, told apart by their check values: what their entries are called, in every home
//! and in the replica, and which of them must stay. Where the entries are kept is the home's matter.

use std::collections::BTreeSet;

use crate::keys::secret::RootKey;

/// Before the check value of a root key: the entry with the store's own keys wrapped under it.
pub(super) const RING: &str = "ring:";

/// The entry of this root key.
pub(super) fn ring_of(root_key: &RootKey) -> String {
    format!("{RING}{}", check_text(root_key.check_value()))
}

/// The check value that people gave, as it is stored: 16 lower-case hexadecimal digits.
pub(super) fn check_of(text: &str) -> Option<String> {
    let text = text.trim();
    let is_one = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_one.then(|| text.to_ascii_lowercase())
}

/// The check value of a root key as people see it.
pub(super) fn check_text(check: [u8; 8]) -> String {
    format!("{:016x}", u64::from_be_bytes(check))
}

/// Why this root key must stay, or `None` when it may be retired.
pub(super) fn must_stay(known: &BTreeSet<String>, check: &str, in_use: &str) -> Option<String> {
    if !known.contains(check) {
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        return Some(format!(
            "the store has no root key {check}: it opens with {}",
            known.join(", ")
        ));
    }
    if known.len() == 1 {
        return Some(format!(
            "{check} is the only root key the store opens with: nothing would open it any more"
        ));
    }
    (check == in_use).then(|| {
        format!("{check} is the root key in use here: give every node the other one first, and start it with that")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_value_is_read_as_it_is_shown() {
        let text = check_text([0, 1, 2, 0xfd, 0xfe, 0xff, 9, 10]);
        assert_eq!(text, "000102fdfeff090a");
        assert_eq!(check_of(&format!(" {}\n", text.to_uppercase())), Some(text));
        for wrong in [
            "",
            "000102fdfeff090",
            "000102fdfeff090a0",
            "000102fdfeff090g",
            "+00102fdfeff090a",
        ] {
            assert_eq!(check_of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_last_entry_and_the_one_in_use_stay() {
        let two = ["a", "b"].map(ToOwned::to_owned).into();
        let one = ["a".to_owned()].into();
        let says = |why: Option<String>, what| why.is_some_and(|why| why.contains(what));
        assert_eq!(must_stay(&two, "a", "b"), None);
        assert!(says(must_stay(&two, "b", "b"), "in use"));
        assert!(says(must_stay(&two, "c", "b"), "has no root key"));
        assert!(says(must_stay(&one, "a", "b"), "the only root key"));
    }
}
