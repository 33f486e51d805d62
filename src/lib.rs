//! keygate: an authenticating reverse proxy and ingestion gateway for Datadog-compatible traffic.
//!
//! It decides in memory who is calling, forwards the bytes untouched, and writes down on whose behalf. This page is the
//! map; `README.md` is for those who run it.
//!
//! # The walk of one request
//!
//! ```text
//! client -> listener -> connection -> handle, which calls in this order:
//!                                       route         what do this method and path demand?   -> Route
//!                                       credential    what was presented?                    -> Extracted
//!                                       keys::policy  who is that, and may they?             -> Principal | Denial
//!                                       forward       credentials off, identity on           -> upstream
//!                                       reply         only when something said no
//!                                       record        always, once
//! pages, API, commands -> control::operations -> store -> store::sync -> keys::table      (never the other way)
//! recorder -> keys::usage -> store::usage -> store: when each key was last used, and how often
//! ```
//!
//! 1. [`proxy::listener`] accepts. Each worker has a socket, a thread, a runtime, upstream connections and counters of
//!    its own; no request ever moves to another one.
//! 2. [`proxy::connection`] speaks HTTP/1.1 with one client, and keeps the clocks on a head and on an idle connection.
//! 3. [`proxy::handle`] opens the request ([`proxy::open`]: its record, and who is to hear that it has ended), and then calls the
//!    steps:
//!    1. [`proxy::strict`] and [`proxy::target`] refuse what two readers could understand in two ways.
//!    2. [`proxy::route`] finds the row of the route table: what is demanded, which family of clients, which upstream,
//!       how large a body.
//!    3. [`proxy::credential`] reads every carrier, in one reading that also gives what is left to forward. From here on
//!       there are fingerprints, and no secret.
//!    4. [`keys::policy`] looks into [`keys::table`] and decides: a principal, or a denial with its reason. Pure.
//!    5. [`proxy::forward`] takes a connection of [`proxy::upstream`], sends the head anew from what was understood, and
//!       lets the body pass through [`proxy::body`] both ways.
//!    6. [`proxy::reply`] is asked when one of them said no: (refusal x family) -> status, headers, body.
//! 4. [`proxy::recorder`] gets the [`proxy::record`] when the answer's last byte has been handed to the connection, or when whoever held it is dropped: the
//!    client is gone, a deadline passed, something panicked.
//!
//! A request of the key management API takes the same way, to an upstream that is keygate itself: [`control::desk`].
//!
//! Each step takes the typed value of the one before it, so the compiler checks the order. Nothing is left in a request's
//! extensions for a later step to find.
//!
//! # The way of a change
//!
//! Whoever asks for one, through the pages ([`control::page`]), the key management API ([`control::api`]) or the command line
//! ([`control::socket`], or the API from afar), asks for a [`control::Request`] as a [`control::Caller`]. `control::operations`
//! says which permission it takes; `store::writing` checks the rules about keys, writes the record and the entry of the audit log
//! in one transaction, or does nothing and says why in a sentence of [`keys::refusal`]. The caller is answered when the key table
//! has applied the change.
//!
//! # Invariants
//!
//! 1. Answering a request does no IO but to its client and its upstream. The key table is complete, so a miss is an
//!    answer while the view is fresh. When the view is too old to say, the answer is "cannot tell", never "bad key".
//! 2. The table has one writer, [`store::sync`]. The control side changes the store, waits until the table has applied
//!    the revision, and never touches the table.
//! 3. Every change has a revision; an older one never overwrites a newer one. A revoked key leaves a tombstone, so that
//!    its further use is recognised.
//! 4. A plain secret exists in the request that carries it and in the one response that created it. The store, records,
//!    metrics, `Debug` and panics know only the fingerprint, the key id and the last four characters.
//! 5. Credentials are removed before forwarding; identity headers sent by the client are removed before ours are set.
//!    On every route.
//! 6. Every accepted request yields exactly one record, also on disconnect, timeout, panic and drain. One that the sink
//!    has no room for is counted.
//! 7. The client learns that it was refused and in which broad way; the record says exactly why.
//! 8. A store that is away is not an outage: known keys keep working, as long as `[view]` allows. A server starts from
//!    its own file, a node of a fleet from its replica, and needs nothing else.
//! 9. Readers of the key table take no lock and write no shared cache line: adding a core never slows another.
//! 10. Everything the network controls is bounded, and nothing it sends can end the process.
//! 11. Every change of a record is in the audit log, written in the same step; who may make it is decided in one place,
//!     whichever way it came.
//!
//! # The import law
//!
//! | module | may import | never |
//! |---|---|---|
//! | [`keys`] | nothing of ours | any sibling; tokio, hyper, a clock, a file |
//! | [`drain`] | nothing of ours | any sibling |
//! | [`demo`] | nothing of ours | any sibling: it is an upstream like others |
//! | [`telemetry`] | `keys` | the rest |
//! | [`config`] | `keys` | the rest |
//! | [`store`] | `keys config telemetry drain` | `proxy`, `control` |
//! | [`proxy`] | `keys config telemetry drain` | `store`, `control` |
//! | [`control`] | `keys store config telemetry drain` | `proxy` |
//! | [`admin`] | `config telemetry drain keys` | the rest |
//! | [`app`] | everyone | `cli` |
//! | [`cli`] | `app config control store keys demo` | `proxy` |
//! | `main` | `cli` | the rest |
//!
//! # Where to start reading
//!
//! - What is decided about a request: `steps` in [`proxy::handle`], then [`keys::policy`].
//! - What is accepted where: the table in [`proxy::route`]. What senders are told: [`proxy::reply`].
//! - What holds for keys, how many and what names: [`keys::rules`]. How that stays true under races: [`store`].
//! - Who may do what: [`keys::permissions`], and `control::operations`. What the log proves: [`store::ledger`], [`store::log`].
//! - How people sign in: [`control::sign_in`].
//! - How a fleet shares keys on Redis: the rules over [`store`]'s `tables`, the commit in [`store::redis`], and what a node
//!   makes of it in [`store::sync`].
//! - What can be set: [`config`]. What is started and how it ends: [`app`].

pub mod admin;
pub mod app;
pub mod cli;
pub mod config;
pub mod control;
pub mod demo;
pub mod drain;
pub mod keys;
pub mod proxy;
pub mod store;
pub mod telemetry;
