//! The chain of a partition's changes: each names the one before it, so what is missing shows. It sees revisions, no records.

use std::collections::VecDeque;

use crate::keys::Revision;

/// How many links are remembered, to know an answer that was overtaken by the changes after it.
const LINKS_MAX: usize = 256;

/// How many unreadable changes in a row are borne before the partition is read anew.
const UNSURE_MAX: usize = 64;

/// How a change follows upon what was read before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// It was known already, or it cannot be read and so says nothing.
    Nothing,
    /// Directly.
    Next,
    /// Changes between are missing.
    Gap {
        /// The last one read.
        after: Revision,
        /// The last one missing.
        through: Revision,
    },
    /// It follows upon an earlier change than the last one read, or upon one it does not name.
    Fork {
        /// The last one read.
        ours: Revision,
    },
}

/// The chain.
#[derive(Debug)]
pub(super) struct Chain {
    certain: Revision,
    /// Entries after that, which could not be read. Whether they were changes at all is not known, so the chain may go on
    /// from any of them.
    unsure: Vec<Revision>,
    /// The newest links, oldest first.
    links: VecDeque<Revision>,
}

impl Chain {
    /// A chain that begins here.
    pub(super) fn from(revision: Revision) -> Self {
        Self {
            certain: revision,
            unsure: Vec::new(),
            links: VecDeque::from([revision]),
        }
    }

    /// The last entry read.
    pub(super) fn position(&self) -> Revision {
        self.unsure.last().copied().unwrap_or(self.certain)
    }

    /// The last change up to which the chain is known to be whole.
    pub(super) const fn certain(&self) -> Revision {
        self.certain
    }

    /// Whether there are entries after that which could not be read.
    pub(super) const fn is_unsure(&self) -> bool {
        !self.unsure.is_empty()
    }

    /// Whether this is a recent link.
    pub(super) fn has(&self, revision: Revision) -> bool {
        self.links.contains(&revision)
    }

    /// Whether the chain may end here.
    pub(super) fn may_end_at(&self, revision: Revision) -> bool {
        self.certain == revision || self.unsure.contains(&revision)
    }

    /// Whether this is a change beyond the chain that was not read either as one that could not be read.
    pub(super) fn lacks(&self, revision: Revision) -> bool {
        revision > self.certain && !self.may_end_at(revision)
    }

    /// Whether it lacks this one although something behind it was read. That was no change then: changes come in order.
    pub(super) fn has_passed(&self, revision: Revision) -> bool {
        self.lacks(revision) && revision < self.position()
    }

    /// What could not be read is forgotten, and is read again where it still is.
    pub(super) fn go_back(&mut self) {
        self.unsure.clear();
    }

    /// Takes an entry. `good` is whether it is a change of ours.
    pub(super) fn link(
        &mut self,
        revision: Revision,
        previous: Option<Revision>,
        good: bool,
    ) -> Link {
        let position = self.position();
        if revision <= position {
            return Link::Nothing;
        }
        let gap = previous.filter(|previous| {
            *previous > self.certain && *previous < revision && !self.unsure.contains(previous)
        });
        if !good && self.unsure.len() < UNSURE_MAX {
            self.unsure.push(revision);
            // Somebody may have made it say so; then the partition is read anew for nothing.
            return match gap {
                Some(through) => Link::Gap {
                    after: self.certain,
                    through,
                },
                None => Link::Nothing,
            };
        }
        if good && previous.is_some_and(|previous| self.may_end_at(previous)) {
            self.end_at(position);
            self.push(revision);
            self.certain = revision;
            return Link::Next;
        }
        let after = self.certain;
        if good {
            *self = Self::from(revision);
        } else {
            // Anybody may have put it there, under any revision: nothing is certain by it.
            self.unsure = vec![revision];
        }
        match gap {
            Some(through) => Link::Gap { after, through },
            None => Link::Fork { ours: after },
        }
    }

    /// What could not be read is accounted for, up to here.
    pub(super) fn end_at(&mut self, revision: Revision) {
        let later = self.unsure.iter().filter(|it| **it > revision);
        let later: Vec<Revision> = later.copied().collect();
        let accounted = std::mem::replace(&mut self.unsure, later);
        for revision in accounted.into_iter().filter(|it| *it <= revision) {
            self.push(revision);
            self.certain = revision;
        }
    }

    fn push(&mut self, revision: Revision) {
        if self.links.len() >= LINKS_MAX {
            self.links.pop_front();
        }
        self.links.push_back(revision);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(links: &[(u64, u64, bool)]) -> (Chain, Vec<Link>) {
        let mut chain = Chain::from(Revision(10));
        let links = links
            .iter()
            .map(|(revision, previous, good)| {
                chain.link(Revision(*revision), Some(Revision(*previous)), *good)
            })
            .collect();
        (chain, links)
    }

    fn gap(after: u64, through: u64) -> Link {
        Link::Gap {
            after: Revision(after),
            through: Revision(through),
        }
    }

    #[test]
    fn a_missing_change_shows_and_one_read_twice_is_nothing() {
        let (chain, links) = chain(&[(12, 10, true), (12, 10, true), (20, 15, true)]);
        assert_eq!(links, [Link::Next, Link::Nothing, gap(12, 15)]);
        assert_eq!(chain.certain(), Revision(20));
        assert!(!chain.has(Revision(12)));
    }

    #[test]
    fn a_history_that_went_on_from_an_earlier_change_shows() {
        let (_, links) = chain(&[(12, 10, true), (20, 11, true)]);
        assert_eq!(links[1], Link::Fork { ours: Revision(12) });
        let mut chain = Chain::from(Revision(10));
        assert_eq!(
            chain.link(Revision(11), None, true),
            Link::Fork { ours: Revision(10) }
        );
    }

    #[test]
    fn an_unreadable_change_breaks_nothing_whether_it_was_one_or_was_put_there() {
        let was_one = [(12, 10, false), (13, 12, true)];
        let put_there = [(12, 10, false), (13, 10, true)];
        for entries in [was_one, put_there] {
            let (chain, links) = chain(&entries);
            assert_eq!(links, [Link::Nothing, Link::Next]);
            assert_eq!(chain.certain(), Revision(13));
        }
    }

    #[test]
    fn an_unreadable_change_hides_no_gap() {
        let (_, links) = chain(&[(15, 12, false)]);
        assert_eq!(links, [gap(10, 12)]);
        let (_, links) = chain(&[(15, 10, false), (20, 14, true)]);
        assert_eq!(links, [Link::Nothing, gap(10, 14)]);
    }

    #[test]
    fn what_cannot_be_read_is_not_certain_before_it_is_accounted_for() {
        let (mut chain, _) = chain(&[(12, 10, false), (14, 12, false)]);
        assert_eq!(
            (chain.certain(), chain.position()),
            (Revision(10), Revision(14))
        );
        chain.end_at(Revision(12));
        assert_eq!(
            (chain.certain(), chain.position()),
            (Revision(12), Revision(14))
        );
        assert!(chain.is_unsure());
        let entries: Vec<_> = (0..80).map(|at| (20 + at, 10, false)).collect();
        let mut chain = Chain::from(Revision(10));
        let forks = entries
            .into_iter()
            .map(|(revision, previous, good)| {
                chain.link(Revision(revision), Some(Revision(previous)), good)
            })
            .filter(|link| matches!(link, Link::Fork { .. }))
            .count();
        assert_eq!(forks, 1, "more of them than are borne");
        assert_eq!(chain.certain(), Revision(10));
    }

    #[test]
    fn a_change_that_something_unreadable_hid_is_known_to_be_missing() {
        let (mut chain, _) = chain(&[(12, 10, false), (1000, 10, false)]);
        let passed = [10, 11, 12, 13, 1000, 1001].map(|it| chain.has_passed(Revision(it)));
        assert_eq!(passed, [false, true, false, true, false, false]);
        assert!(chain.lacks(Revision(1001)));
        chain.go_back();
        assert_eq!(
            chain.link(Revision(13), Some(Revision(10)), true),
            Link::Next
        );
        assert_eq!(chain.position(), Revision(13));
    }
}
