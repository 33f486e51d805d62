//! The audit log as it is asked for: filtered, the newest first, a page at a time, over one org or all. How it is kept and
//! proven is the store's business.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::views::time_text;
use crate::keys::audit::{Action, AuditEntry, AuditId, FieldChange};
use crate::keys::{Actor, KeyId, OrgId, Partition, Timestamp, UserId};
use crate::store::log::{Entry, hex};
use crate::store::{Store, StoreError};

/// How many entries are read of a partition at a time.
const AT_ONCE: usize = 200;

/// How many entries are looked at for one page, whatever of them is wanted.
const LOOKED_AT_MAX: usize = 20_000;

/// How far the clocks of nodes may be apart, in milliseconds: entries are in the order in which they were written, each with
/// the time of the node that wrote it.
const APART_MS: i64 = 24 * 3_600_000;

/// The most entries of a page.
const MOST: usize = 1_000;

/// The entries of a page unless said otherwise.
const USUAL: usize = 100;

/// One entry.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AuditView {
    /// Its name.
    pub id: AuditId,
    /// When.
    pub at: String,
    /// By whom: the id of a user, `operator` or `system`.
    pub actor: String,
    /// What that user was called when this was looked at.
    pub actor_name: Option<String>,
    /// Through what.
    pub via: String,
    /// The application key used.
    pub application_key: Option<KeyId>,
    /// The request that asked for it.
    pub request_id: Option<String>,
    /// Where it came from.
    pub address: Option<String>,
    /// Of which org.
    pub org: Option<OrgId>,
    /// What was done.
    pub action: String,
    /// To what kind of thing.
    pub object_kind: String,
    /// To which.
    pub object: Uuid,
    /// What that was called.
    pub object_name: String,
    /// What was so before and after.
    pub changes: Vec<FieldChange>,
    /// The hash that the next entry is linked to, in hexadecimal.
    pub hash: String,
}

/// Part of the log.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct AuditPage {
    /// The entries, the newest first.
    pub entries: Vec<AuditView>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<String>,
}

/// What is wanted, resolved.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) org: Option<OrgId>,
    pub(super) action: Option<Action>,
    pub(super) actor: Option<Actor>,
    pub(super) object: Option<Uuid>,
    pub(super) since: Option<Timestamp>,
    pub(super) until: Option<Timestamp>,
}

impl Wanted {
    /// Whether nothing that is wanted was written before an entry of this time.
    fn is_long_after(&self, at: Timestamp) -> bool {
        self.since
            .is_some_and(|since| at.0 < since.0.saturating_sub(APART_MS))
    }

    fn takes(&self, entry: &AuditEntry) -> bool {
        self.org.is_none_or(|org| entry.org == Some(org))
            && self.action.is_none_or(|action| entry.action == action)
            && self.actor.is_none_or(|actor| entry.by.actor == actor)
            && self.object.is_none_or(|object| entry.object.id == object)
            && self.since.is_none_or(|since| entry.at >= since)
            && self.until.is_none_or(|until| entry.at < until)
    }
}

/// A page of the log.
pub(super) fn page(
    store: &Store,
    wanted: &Wanted,
    after: Option<&str>,
    most: Option<usize>,
    name: &dyn Fn(UserId) -> Option<String>,
) -> Result<AuditPage, StoreError> {
    let most = most.unwrap_or(USUAL).clamp(1, MOST);
    let places = after.map(places).unwrap_or_default();
    let partitions = Partition::all()
        .filter(|partition| wanted.org.is_none_or(|org| org.partition() == *partition));
    let mut logs: Vec<Log<'_>> = partitions
        .map(|partition| Log {
            store,
            partition,
            next: places
                .iter()
                .find(|(of, _)| *of == partition.index())
                .map(|(_, next)| *next),
            read: Vec::new(),
            is_over: false,
        })
        .collect();
    let mut page = AuditPage::default();
    for _ in 0..LOOKED_AT_MAX {
        if page.entries.len() == most {
            break;
        }
        for log in &mut logs {
            log.fill()?;
        }
        // The newest of all.
        let newest = logs
            .iter_mut()
            .filter(|log| !log.read.is_empty())
            .max_by_key(|log| log.at());
        let Some(log) = newest else {
            return Ok(page);
        };
        let Some(entry) = log.take() else {
            return Ok(page);
        };
        // What is no entry any more belongs to nobody; `audit verify` tells of it.
        let Ok(linked) = &entry.linked else { continue };
        if wanted.is_long_after(linked.entry.at) {
            log.is_over = true;
            log.read.clear();
            continue;
        }
        if wanted.takes(&linked.entry) {
            page.entries
                .push(view(entry.id, &linked.entry, &linked.hash, name));
        }
    }
    let left: Vec<String> = logs
        .iter()
        .map(|log| format!("{}-{}", log.partition, log.begins_at()))
        .collect();
    page.next = Some(left.join("."));
    Ok(page)
}

/// Where each partition's log goes on.
fn places(text: &str) -> Vec<(usize, u64)> {
    let of = |part: &str| -> Option<(usize, u64)> {
        let (partition, next) = part.split_once('-')?;
        Some((partition.parse().ok()?, next.parse().ok()?))
    };
    text.split('.').filter_map(of).collect()
}

/// One partition's log, read backwards.
struct Log<'s> {
    store: &'s Store,
    partition: Partition,
    next: Option<u64>,
    /// Read and not taken: the newest is the last.
    read: Vec<Entry>,
    is_over: bool,
}

impl Log<'_> {
    fn fill(&mut self) -> Result<(), StoreError> {
        if !self.read.is_empty() || self.is_over {
            return Ok(());
        }
        let mut found = self.store.log_before(self.partition, self.next, AT_ONCE)?;
        found.reverse();
        self.next = found.first().map(|entry| entry.id.number);
        self.is_over = self.next.is_none_or(|first| first == 0);
        self.read = found;
        Ok(())
    }

    fn at(&self) -> Timestamp {
        let linked = self.read.last().map(|entry| &entry.linked);
        match linked {
            Some(Ok(linked)) => linked.entry.at,
            // What cannot be read is passed at once.
            Some(Err(_)) => Timestamp(i64::MAX),
            None => Timestamp(i64::MIN),
        }
    }

    fn take(&mut self) -> Option<Entry> {
        self.read.pop()
    }

    /// Before which number it goes on.
    fn begins_at(&self) -> u64 {
        match self.read.last() {
            Some(entry) => entry.id.number + 1,
            None if self.is_over => 0,
            None => self.next.unwrap_or(u64::MAX),
        }
    }
}

fn view(
    id: AuditId,
    entry: &AuditEntry,
    hash: &[u8; 32],
    name: &dyn Fn(UserId) -> Option<String>,
) -> AuditView {
    let (actor, actor_name) = match entry.by.actor {
        Actor::Operator => ("operator".to_owned(), None),
        Actor::System => ("system".to_owned(), None),
        Actor::User(user) => (user.to_string(), name(user)),
    };
    AuditView {
        id,
        at: time_text(entry.at),
        actor,
        actor_name,
        via: entry.by.via.as_str().to_owned(),
        application_key: entry.by.application_key,
        request_id: entry.by.request_id.as_ref().map(ToString::to_string),
        address: entry.by.address.map(|address| address.to_string()),
        org: entry.org,
        action: entry.action.as_str().to_owned(),
        object_kind: entry.object.kind.as_str().to_owned(),
        object: entry.object.id,
        object_name: entry.object.name.to_string(),
        changes: entry.changes.clone(),
        hash: hex(hash),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_whose_clock_is_behind_ends_no_list() {
        const HOUR_MS: i64 = 3_600_000;
        let since = Timestamp(100 * HOUR_MS);
        let wanted = Wanted {
            since: Some(since),
            ..Wanted::default()
        };
        for (before, ends) in [(-1, false), (0, false), (1, false), (23, false), (25, true)] {
            let at = Timestamp(since.0 - before * HOUR_MS);
            assert_eq!(wanted.is_long_after(at), ends, "{before} hours before");
        }
        assert!(!Wanted::default().is_long_after(Timestamp(i64::MIN)));
    }
}
