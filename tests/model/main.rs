//! The promises of the fleet under a seeded simulation of what can go wrong: three nodes, each with the real follower and the
//! real table, over a model of the store that is cut, fails over, is restored, emptied, forged and trimmed. It is quick
//! because nothing in it is real but what is judged.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "in a test each of them is the test failing"
)]

mod node;
mod store;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use fastrand::Rng;
use keygate::keys::keyring::Keyring;
use keygate::keys::{
    Actor, Deed, Fingerprint, Key, KeyId, KeyKind, Labels, Org, OrgId, Record, RecordKind,
    Revision, Role, Timestamp, User, UserId, UserKind,
};
use keygate::store::seal::{open, seal};
use keygate::store::sync::alarm::Alarm;
use keygate::store::sync::heard::Entry;
use uuid::Uuid;

use crate::node::Node;
use crate::store::{BUSY, Field, Model, field_of, partition_of};

const SEEDS: u64 = 1_000;
const NODES: usize = 3;
const STEPS: usize = 80;

/// How far ahead of all changes some forged ones are.
const FAR_OFF: u64 = 1 << 40;

/// One run.
struct Run {
    rng: Rng,
    seed: u64,
    started: Instant,
    now: Instant,
    model: Model,
    nodes: Vec<Node>,
    keys: Vec<Fingerprint>,
    /// Whether what happens is written down.
    is_told: bool,
    log: Vec<String>,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let now = Instant::now();
        let sealer = Keyring::generate().unwrap().sealer();
        let mut nodes: Vec<Node> = (0..NODES)
            .map(|_| Node::new(&sealer, now, &mut rng))
            .collect();
        for node in &mut nodes {
            node.traced = is_replay();
        }
        Self {
            rng,
            seed,
            started: now,
            now,
            model: Model::new(sealer, now),
            nodes,
            keys: Vec::new(),
            is_told: is_replay(),
            log: Vec::new(),
        }
    }

    fn say(&mut self, what: impl FnOnce() -> String) {
        if self.is_told {
            let at = self.now.duration_since(self.started).as_millis();
            self.log.push(format!("{at:>7} {}", what()));
        }
    }

    fn id(&mut self, busy: u8) -> [u8; 16] {
        let mut bytes = self.rng.u128(..).to_be_bytes();
        bytes[0] = self.rng.u8(0..3);
        bytes[15] = busy;
        assert!(Node::bucket_is_used(bytes));
        bytes
    }

    /// A record of the model's store that `is` says is the right one.
    fn pick(&mut self, is: impl Fn(&Record) -> bool) -> Option<Record> {
        let state = self.model.state();
        let all: Vec<&Record> = state
            .keys()
            .filter_map(|field| self.model.newest(field))
            .filter(|record| is(record))
            .collect();
        let chosen = self.rng.usize(0..all.len().max(1));
        all.get(chosen).map(|record| (*record).clone())
    }

    fn write(&mut self, record: Record) {
        // Revisions that go on from there would say nothing of when they were written, and a store that fails over could
        // use one twice. That is not what is judged here.
        self.delete_far_off();
        let writer = self.rng.usize(0..NODES);
        let partition = partition_of(record.id_bytes());
        let seen = self.nodes[writer].follower.certain()[partition.index()];
        let clock = self.now.duration_since(self.started).as_millis();
        let clock = u64::try_from(clock).unwrap() + self.nodes[writer].skew;
        let written = self.model.commit(self.now, record, seen, clock);
        self.say(|| {
            format!(
                "written {:?} {} at {}",
                written.kind(),
                Uuid::from_bytes(written.id_bytes()),
                written.revision().0
            )
        });
    }

    fn new_record(&mut self) -> Record {
        let busy = BUSY[self.rng.usize(0..2)];
        let id = Uuid::from_bytes(self.id(busy));
        let in_it = move |record: &Record| record.id_bytes()[15] == busy;
        let org = self.pick(|record| in_it(record) && record.kind() == RecordKind::Org);
        let user = self.pick(|record| in_it(record) && record.kind() == RecordKind::User);
        let Some(Record::Org(org)) = org else {
            return Record::Org(Org {
                id: OrgId(id),
                name: "acme".into(),
                disabled: false,
                created_at: Timestamp(0),
                revision: Revision(0),
            });
        };
        match user {
            Some(Record::User(user)) => {
                let fingerprint = Fingerprint::from_bytes(self.rng.u128(..).to_be_bytes());
                self.keys.push(fingerprint);
                Record::Key(key(KeyId(id), org.id, Some(user.id), fingerprint))
            }
            _ => Record::User(User {
                id: UserId(id),
                org: org.id,
                kind: UserKind::Person,
                handle: "ann".into(),
                name: "ann".into(),
                email: "ann".into(),
                title: None,
                role: Role::Standard,
                disabled: false,
                application_keys_revoked_through: Revision(0),
                application_keys_revoked_at: None,
                password_set_at: None,
                created_at: Timestamp(0),
                modified_at: Timestamp(0),
                revision: Revision(0),
            }),
        }
    }

    fn change(&mut self) {
        match self.rng.u8(0..10) {
            0..4 => {
                let record = self.new_record();
                self.write(record);
            }
            4..7 => {
                let live =
                    |record: &Record| matches!(record, Record::Key(key) if key.revoked.is_none());
                if let Some(Record::Key(mut key)) = self.pick(live) {
                    key.revoked = Some(Deed {
                        at: Timestamp(1),
                        by: Actor::Operator,
                    });
                    self.write(Record::Key(key));
                }
            }
            7 => {
                if let Some(Record::Key(mut key)) = self.pick(|it| it.kind() == RecordKind::Key) {
                    key.name = format!("name {}", self.rng.u8(..)).into();
                    self.write(Record::Key(key));
                }
            }
            8 => {
                if let Some(Record::User(mut user)) = self.pick(|it| it.kind() == RecordKind::User)
                {
                    user.disabled = !user.disabled;
                    self.write(Record::User(user));
                }
            }
            _ => {
                if let Some(Record::Org(mut org)) = self.pick(|it| it.kind() == RecordKind::Org) {
                    org.disabled = !org.disabled;
                    self.write(Record::Org(org));
                }
            }
        }
    }

    fn some_field(&mut self) -> Option<Field> {
        let part = self.rng.usize(0..2);
        let fields = self.model.parts[part].records.keys();
        let is_known = |field: &&Field| self.model.genuine.contains_key(*field);
        let fields: Vec<Field> = fields.filter(is_known).copied().collect();
        let chosen = self.rng.usize(0..fields.len().max(1));
        fields.get(chosen).copied()
    }

    /// Somebody with write access to the store does something bad.
    fn meddle(&mut self) {
        let Some(field) = self.some_field() else {
            return;
        };
        let part = self.rng.usize(0..2);
        let genuine: Vec<Record> = self.model.genuine[&field].values().cloned().collect();
        let old = genuine[self.rng.usize(0..genuine.len())].clone();
        let at = crate::store::at(partition_of(field.1)).unwrap();
        let theirs = Keyring::generate().unwrap().sealer();
        let fingerprint = Fingerprint::from_bytes(self.rng.u128(..).to_be_bytes());
        let minted = Uuid::from_bytes(self.id(BUSY[at]));
        let minted = Record::Key(Key {
            revision: Revision(u64::MAX / 2),
            ..key(KeyId(minted), OrgId(minted), None, fingerprint)
        });
        let mut bytes = match self.rng.u8(0..4) {
            0 => seal(&theirs, &minted).unwrap(),
            1 => Vec::new(),
            2 => vec![1; self.rng.usize(0..600)],
            _ => seal(&self.model.sealer, &old).unwrap(),
        };
        if !bytes.is_empty() && self.rng.bool() {
            let at = self.rng.usize(0..bytes.len());
            bytes[at] ^= 1 << self.rng.u8(0..8);
        }
        self.model.forged.push(fingerprint);
        self.model.honest = false;
        let kind = self.rng.u8(0..7);
        let at_ms = self.now.duration_since(self.started).as_millis();
        let it = &mut self.model.parts[at];
        match kind {
            // In the place of a record.
            0 => {
                it.records.insert(field, bytes);
                self.model.tamper(field);
            }
            // A new record.
            1 => {
                let field = field_of(&minted);
                it.records.insert(field, bytes);
            }
            // An old version in the place of a new one.
            2 => {
                it.records
                    .insert(field, seal(&self.model.sealer, &old).unwrap());
                self.model.tamper(field);
            }
            // As a change: forged, or an old record again.
            3 => {
                let end = it.stream.back().map_or(0, |entry| entry.revision.0);
                let revision = Revision(end.max(it.last.0) + self.rng.u64(1..30));
                let previous = self.rng.bool().then_some(it.last);
                it.stream.push_back(Entry {
                    partition: partition_of(field.1),
                    revision,
                    previous,
                    sealed: bytes,
                });
            }
            // A change in the stream is not what was written.
            4 => {
                let chosen = self.rng.usize(0..it.stream.len().max(1));
                if let Some(entry) = it.stream.get_mut(chosen) {
                    if let Ok(record) = open(&self.model.sealer, &entry.sealed) {
                        self.model.poisoned.insert(field_of(&record));
                    }
                    entry.sealed = bytes;
                }
            }
            // As a change of a day that is far off; the stream may be deleted when every feed has read it.
            5 => {
                let end = it.stream.back().map_or(0, |entry| entry.revision.0);
                let revision = Revision(end.max(it.last.0).saturating_add(FAR_OFF));
                let previous = self.rng.bool().then_some(it.last);
                it.stream.push_back(Entry {
                    partition: partition_of(field.1),
                    revision,
                    previous,
                    sealed: bytes,
                });
            }
            // A record moved to another place.
            _ => {
                let other = self.model.parts[part].records.keys().next().copied();
                if let Some(other) = other {
                    let sealed = seal(&self.model.sealer, &old).unwrap();
                    self.model.parts[part].records.insert(other, sealed);
                    self.model.tamper(other);
                }
            }
        }
        self.say(|| {
            format!(
                "meddled {kind} with {:?} at {at_ms}",
                Uuid::from_bytes(field.1)
            )
        });
    }

    fn fault(&mut self) {
        let node = self.rng.usize(0..NODES);
        let fault = self.rng.u8(0..14);
        self.say(|| format!("fault {fault} at node {node}"));
        match fault {
            0 | 1 => self.nodes[node].cut(),
            2 => {
                let has_replica = self.rng.u8(..) < 200;
                self.nodes[node].restart(self.now, has_replica, &mut self.rng);
            }
            3 => self.model.fail_over(self.now, self.rng.usize(1..6)),
            4 => self.model.backup = Some(self.model.parts.clone()),
            5 => self.model.restore_backup(self.now),
            6 if self.rng.bool() => self.model.wipe(self.now),
            7 | 8 => {
                let part = self.rng.usize(0..2);
                let kept = self.rng.usize(0..4);
                let stream = &mut self.model.parts[part].stream;
                let cut = stream.len().saturating_sub(kept);
                stream.drain(..cut);
            }
            9 => self.nodes[node].lagging = Some(self.model.parts.clone()),
            10..=12 => self.meddle(),
            13 if self.rng.bool() => {
                self.model.honest = false;
                for part in &mut self.model.parts {
                    part.identity = Some(Uuid::from_u128(8));
                }
            }
            _ => {}
        }
    }

    /// Somebody who has put a change of a far-off day into a stream deletes the stream.
    fn delete_far_off(&mut self) {
        for part in 0..2 {
            let it = &mut self.model.parts[part];
            let end = it.stream.back().map_or(0, |entry| entry.revision.0);
            if end >= it.last.0.saturating_add(FAR_OFF) {
                it.stream.clear();
                self.say(|| format!("stream {part} deleted with what was at {end}"));
            }
        }
    }

    fn heal_store(&mut self) {
        if self.model.parts.iter().all(|part| part.identity.is_none()) {
            let node = self.rng.usize(0..NODES);
            let kept = self.nodes[node].replica.kept.values();
            let records: Vec<Record> = kept.map(|(newest, _)| newest.clone()).collect();
            self.model.write_back(self.now, &records);
            self.say(|| format!("restored from node {node}"));
        }
        for part in &mut self.model.parts {
            part.identity = Some(self.model.identity);
        }
    }

    fn is_ours(&self) -> bool {
        let ours = Some(self.model.identity);
        self.model.parts.iter().all(|part| part.identity == ours)
    }

    fn run(&mut self) {
        let has_faults = !self.seed.is_multiple_of(4);
        for _ in 0..STEPS {
            self.now += Duration::from_millis(self.rng.u64(1..300));
            if self.is_ours() && self.rng.u8(..) < 160 {
                self.change();
            } else if !self.is_ours() && self.rng.u8(..) < 40 {
                self.heal_store();
            }
            if has_faults && self.rng.u8(..) < 40 {
                self.fault();
            } else if self.rng.u8(..) < 4 {
                let part = self.rng.usize(0..2);
                self.model.parts[part].stream.clear();
            }
            if self.rng.u8(..) < 20 {
                self.delete_far_off();
            }
            for node in 0..NODES {
                if self.rng.u8(..) < 40 {
                    self.nodes[node].link();
                    if self.rng.bool() {
                        self.nodes[node].lagging = None;
                    }
                }
                if self.nodes[node].pump(&self.model, self.now, &mut self.rng, false) {
                    self.say(|| format!("node {node} died before it applied"));
                    self.nodes[node].restart(self.now, true, &mut self.rng);
                }
                self.tell(node);
                self.judge(node);
            }
        }
        self.heal();
    }

    fn tell(&mut self, node: usize) {
        if !self.is_told {
            return;
        }
        let traced = std::mem::take(&mut self.nodes[node].trace);
        for line in traced {
            if !line.contains("partition: Partition(")
                || BUSY
                    .iter()
                    .any(|busy| line.contains(&format!("Partition({busy})")))
            {
                self.say(|| format!("  node {node} hears {line}"));
            }
        }
        let it = &self.nodes[node].follower;
        let at = BUSY.map(|busy| it.certain()[usize::from(busy)].0);
        let solid = BUSY.map(|busy| it.solid()[usize::from(busy)].0);
        let since = it
            .in_step()
            .map(|it| it.duration_since(self.started).as_millis());
        self.say(|| {
            format!("  node {node} is at {at:?}, solid {solid:?}, in step as of {since:?}")
        });
    }

    /// What must hold at any moment.
    fn judge(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let table = &node.table;
        for forged in &self.model.forged {
            assert!(
                table.read().key(forged).is_none(),
                "node {at} holds a forged key"
            );
        }
        let Some(view) = node.table.view(self.now) else {
            return;
        };
        for fingerprint in &self.keys {
            let Some(key) = table.full_key(fingerprint) else {
                continue;
            };
            if key.revoked.is_some() {
                node.revoked.insert(key.id);
            } else {
                assert!(
                    !node.revoked.contains(&key.id),
                    "node {at} accepts {} again",
                    key.id
                );
            }
            if let Some(owner) = key.owner.and_then(|owner| table.user_by_id(&owner)) {
                let through = owner.application_keys_revoked_through;
                let before = node.revoked_through.insert(owner.id, through);
                assert!(
                    before <= Some(through),
                    "node {at} accepts keys of {} again",
                    owner.id
                );
            }
        }
        let moment = self.now - view.age;
        for (field, revision) in self.model.state_at(moment).iter() {
            let held = node.holds(&self.model.genuine[field][revision]);
            if held >= Some(*revision) {
                continue;
            }
            let excused = self.model.is_tampered(field, moment)
                || self.model.poisoned.contains(field)
                || self.model.lost.contains(&(*field, *revision));
            assert!(
                excused,
                "node {at} says it is as of {} and holds {held:?} of {} {}, which was at {revision:?}",
                moment.duration_since(self.started).as_millis(),
                char::from(field.0),
                Uuid::from_bytes(field.1),
            );
        }
    }

    /// What must hold once everything works again.
    fn heal(&mut self) {
        self.say(|| "healing".to_owned());
        self.heal_store();
        for node in &mut self.nodes {
            node.link();
            node.lagging = None;
        }
        let mut asked = Vec::new();
        for round in 0..60 {
            let is_long = (16..50).contains(&round);
            self.now += Duration::from_millis(if is_long { 5_000 } else { 250 });
            if round == 8 {
                for busy in BUSY {
                    let id = Uuid::from_bytes(self.id(busy));
                    let org = Org {
                        id: OrgId(id),
                        name: "last".into(),
                        disabled: false,
                        created_at: Timestamp(0),
                        revision: Revision(0),
                    };
                    self.write(Record::Org(org));
                }
            }
            for node in 0..NODES {
                self.nodes[node].pump(&self.model, self.now, &mut self.rng, true);
                self.tell(node);
                if round % 8 == 0 {
                    self.judge(node);
                }
            }
            if round == 24 {
                asked = self.nodes.iter().map(|node| node.asked).collect();
            }
        }
        let state = self.model.state();
        for (at, node) in self.nodes.iter().enumerate() {
            let view = node.table.view(self.now);
            let age = view.map(|view| view.age);
            assert!(
                age.is_some_and(|age| age <= Duration::from_secs(3)),
                "node {at} is not in step again: {age:?}"
            );
            // What reading does not settle is read again now and then, in two rounds of two steps.
            let asked = node.asked - asked[at];
            assert!(asked <= 16, "node {at} does not come to rest: {asked}");
            assert!(
                asked == 0 || !self.model.honest,
                "node {at} has no reason to read"
            );
            for (field, revision) in state.iter() {
                let record = &self.model.genuine[field][revision];
                let excused = self.model.is_tampered(field, self.now);
                assert!(
                    excused || node.holds(record) >= Some(*revision),
                    "node {at} has lost {} {}",
                    char::from(field.0),
                    Uuid::from_bytes(field.1)
                );
            }
            self.judge_contents(at, node);
            if self.model.honest {
                let wrong = node
                    .alarms
                    .iter()
                    .find(|alarm| !matches!(alarm, Alarm::Gap { .. }));
                assert_eq!(wrong, None, "node {at} cries wolf");
                assert_eq!(node.follower.missing(), 0);
                let held = node.follower.held();
                assert_eq!(held, state.len() as u64, "node {at} miscounts");
            }
        }
    }

    /// Nothing but what was written, revocations apart.
    fn judge_contents(&self, at: usize, node: &Node) {
        for fingerprint in &self.keys {
            let Some(held) = node.table.full_key(fingerprint) else {
                continue;
            };
            let field = (b'k', held.id.bytes());
            let versions: &BTreeMap<Revision, Record> = &self.model.genuine[&field];
            let Some(Record::Key(written)) = versions.get(&held.revision) else {
                panic!("node {at} holds a version of {} that nobody wrote", held.id)
            };
            let revoked = written.revoked.or(held.revoked);
            let written = Key {
                revoked,
                ..written.clone()
            };
            assert_eq!(held, written, "node {at}");
        }
    }
}

fn key(id: KeyId, org: OrgId, owner: Option<UserId>, fingerprint: Fingerprint) -> Key {
    Key {
        id,
        kind: KeyKind::ApplicationKey,
        org,
        owner,
        name: "key".into(),
        fingerprint,
        last4: "cdef".into(),
        created_at: Timestamp(0),
        created_by: Actor::Operator,
        issued: Revision(0),
        revision: Revision(0),
        revoked: None,
        shadowed: None,
        modified: Deed {
            at: Timestamp(0),
            by: Actor::Operator,
        },
        replaced_by: None,
        labels: Labels::default(),
        expires_at: None,
        scopes: None,
        allowed_addresses: Vec::new(),
        allowed_origins: Vec::new(),
    }
}

fn is_replay() -> bool {
    std::env::var_os("KEYGATE_MODEL_SEED").is_some()
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

fn play(seed: u64) {
    let mut run = Run::new(seed);
    let outcome = catch_unwind(AssertUnwindSafe(|| run.run()));
    if outcome.is_err() {
        for line in &run.log {
            eprintln!("{line}");
        }
        panic!(
            "seed {seed} breaks a promise; replay it with KEYGATE_MODEL_SEED={seed} cargo test --test model -- --nocapture"
        );
    }
}

#[test]
fn the_promises_hold_whatever_the_seed() {
    if let Some(seed) = number("KEYGATE_MODEL_SEED") {
        return play(seed);
    }
    let seeds = number("KEYGATE_MODEL_SEEDS").unwrap_or(SEEDS);
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || (thread..seeds).step_by(threads as usize).for_each(play));
        }
    });
}
