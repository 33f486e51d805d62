//! A receipt in words: which nodes refuse a key by now, and from when on the others do. What it is made of is
//! `control::receipt`'s.

use super::keys_facts::{Now, When};
use super::words_keys::{self, words};
use crate::control::{NodeState, Receipt};

/// What is told of a revocation.
pub(super) struct Told {
    pub(super) is_everywhere: bool,
    pub(super) sentence: String,
    /// Each node, and its answer.
    pub(super) nodes: Vec<(String, String)>,
}

impl Told {
    pub(super) fn of(receipt: &Receipt, now: Now) -> Self {
        let w = words(now.language);
        let nodes = receipt.nodes.iter().map(|node| {
            // The one server of a file has no name of its own.
            let name = match node.node_id {
                Some(_) => node.node.clone(),
                None => w.this_server.to_owned(),
            };
            let until = node.refuses_at_the_latest.as_deref();
            let until = until
                .map(|at| When::of(at, now).seconds())
                .unwrap_or_default();
            let answer = match node.state {
                NodeState::Applied => words_keys::applied(now.language, node.applied_after_ms),
                NodeState::NoAnswer => words_keys::silent(now.language, &until),
                NodeState::Stopped => words_keys::stopped(now.language, &until),
            };
            (name, answer)
        });
        let sentence = match &receipt.unknown {
            // The reason may name servers: it is for the operator, and in the log of whoever asked.
            Some(_) => w.not_asked,
            None if receipt.nodes.is_empty() => w.no_server,
            None if receipt.applied_everywhere => w.everywhere,
            None => w.not_everywhere,
        };
        Self {
            is_everywhere: receipt.applied_everywhere,
            sentence: sentence.to_owned(),
            nodes: nodes.collect(),
        }
    }
}
