//! The name that was probably meant. Only for words in errors: nothing is ever corrected silently.

/// The candidate that differs from `name` by the fewest slips of the finger, if they are few for its length.
pub(super) fn nearest<C: AsRef<str>>(
    name: &str,
    candidates: impl IntoIterator<Item = C>,
) -> Option<C> {
    let bearable = (name.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(name, candidate.as_ref()),
                candidate,
            )
        })
        .filter(|(slips, _)| *slips <= bearable)
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_is_understood_and_another_word_is_not() {
        assert_eq!(nearest("adress", ["workers", "address"]), Some("address"));
        assert_eq!(nearest("metrcis", ["metrics", "traces"]), Some("metrics"));
        assert_eq!(nearest("colour", ["workers", "address"]), None);
        assert_eq!(nearest("ur", ["url", "credential"]), Some("url"));
    }
}
