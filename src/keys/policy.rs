//! The whole decision: who is calling, and may they? Pure; it answers with a [`Principal`], which nothing else can make,
//! or with a [`Denial`].

use std::net::IpAddr;
use std::time::Duration;

pub use super::step::{Asked, Rule, Step};
use super::table::{Held, OrgAt, Reader, UserAt, View};
use super::{Access, Credential, Fingerprint, KeyId, KeyKind, OrgId, Presented, Timestamp, UserId};
use super::{ends_with_owner, rules};

/// What a decision is in the end (DESIGN 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Decision {
    /// Let through.
    Allowed,
    /// No credential where one is demanded.
    Missing,
    /// A credential that is certainly no good.
    Bad,
    /// Not decidable now; never to be taken for a bad credential.
    CannotTell,
}

/// Exactly why a request is refused. The record has it; the client learns only the [`Decision`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// No API key or client token.
    NoKey,
    /// An API key, but no application key beside it.
    NoApplicationKey,
    /// No key has this secret.
    Unknown,
    /// Bytes that no secret can be.
    Malformed,
    /// Two different values for one kind of credential.
    Conflict,
    /// Revoked.
    Revoked,
    /// Expired.
    Expired,
    /// A good key of a kind that may not do this.
    WrongKind,
    /// An API key and an application key of two orgs.
    PairMismatch,
    /// The application key's owner is disabled.
    OwnerDisabled,
    /// The org is disabled.
    OrgDisabled,
    /// The application key lacks the scope the route demands.
    ScopeMissing,
    /// The client token is bound to other page origins.
    OriginNotAllowed,
    /// The API key is bound to other client addresses.
    AddressNotAllowed,
    /// No key reaches this route.
    Closed,
    /// The key table is too old to say.
    ViewTooOld,
    /// The key table has not been loaded.
    NotLoaded,
}

impl Reason {
    /// Every reason, for tables and metrics.
    pub const ALL: [Self; 17] = [
        Self::NoKey,
        Self::NoApplicationKey,
        Self::Unknown,
        Self::Malformed,
        Self::Conflict,
        Self::Revoked,
        Self::Expired,
        Self::WrongKind,
        Self::PairMismatch,
        Self::OwnerDisabled,
        Self::OrgDisabled,
        Self::ScopeMissing,
        Self::OriginNotAllowed,
        Self::AddressNotAllowed,
        Self::Closed,
        Self::ViewTooOld,
        Self::NotLoaded,
    ];

    /// The name used in records and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoKey => "no_key",
            Self::NoApplicationKey => "no_application_key",
            Self::Unknown => "unknown",
            Self::Malformed => "malformed",
            Self::Conflict => "conflict",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::WrongKind => "wrong_kind",
            Self::PairMismatch => "pair_mismatch",
            Self::OwnerDisabled => "owner_disabled",
            Self::OrgDisabled => "org_disabled",
            Self::ScopeMissing => "scope_missing",
            Self::OriginNotAllowed => "origin_not_allowed",
            Self::AddressNotAllowed => "address_not_allowed",
            Self::Closed => "closed",
            Self::ViewTooOld => "view_too_old",
            Self::NotLoaded => "not_loaded",
        }
    }

    /// The coarse answer it belongs to.
    pub const fn decision(self) -> Decision {
        match self {
            Self::NoKey | Self::NoApplicationKey => Decision::Missing,
            Self::Unknown
            | Self::Malformed
            | Self::Conflict
            | Self::Revoked
            | Self::Expired
            | Self::WrongKind
            | Self::PairMismatch
            | Self::OwnerDisabled
            | Self::OrgDisabled
            | Self::ScopeMissing
            | Self::OriginNotAllowed
            | Self::AddressNotAllowed
            | Self::Closed => Decision::Bad,
            Self::ViewTooOld | Self::NotLoaded => Decision::CannotTell,
        }
    }
}

/// A key as far as a record and the upstream need to know it. What it is called is asked later, of the table
/// ([`KeyTable::names`](super::KeyTable::names)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsedKey {
    /// Its id.
    pub id: KeyId,
    /// Its kind.
    pub kind: KeyKind,
    /// Since when it is shadow-revoked, if it is.
    pub shadowed: Option<Timestamp>,
    /// What the table finds it by.
    pub fingerprint: Fingerprint,
}

/// On whose behalf a request was made, as far as it is known. A refused request of a known key has one as well: "who
/// still uses the key I revoked" is a question the records answer.
///
/// It has ids, and where the table finds what belongs to them; no name, which would have to be fetched and copied for every
/// request, and which few of them need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attribution {
    /// The API key or client token.
    pub key: Option<UsedKey>,
    /// The application key.
    pub application_key: Option<UsedKey>,
    /// The org: its id, and where it is in the table.
    pub org: Option<(OrgId, OrgAt)>,
    /// The application key's owner: the id, and where the user is in the table.
    pub user: Option<(UserId, UserAt)>,
}

impl Attribution {
    /// The keys.
    pub fn keys(&self) -> impl Iterator<Item = &UsedKey> {
        [&self.key, &self.application_key].into_iter().flatten()
    }

    /// Those that are shadow-revoked: without them the request would not pass.
    pub fn shadowed(&self) -> impl Iterator<Item = &UsedKey> {
        self.keys().filter(|key| key.shadowed.is_some())
    }
}

/// A caller who may do what the route does. Only [`authorize`] makes one.
#[derive(Debug, PartialEq, Eq)]
pub struct Principal(Attribution);

impl Principal {
    /// Who it is.
    pub fn attribution(&self) -> &Attribution {
        &self.0
    }
}

/// A refusal: why, and of whom as far as that is known.
#[derive(Debug, PartialEq, Eq)]
pub struct Denial {
    /// Exactly why.
    pub reason: Reason,
    /// Whose request it was.
    pub attribution: Attribution,
}

/// How old the view may be (DESIGN 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Staleness {
    /// Up to this age a secret that is not in the table is unknown; beyond it, nobody can tell.
    pub fresh_within: Duration,
    /// Up to this age known keys are served at the intake and the browser routes.
    pub serve_for_intake: Duration,
    /// Up to this age known keys are served at the API.
    pub serve_for_api: Duration,
}

/// What a decision depends on beside the table and the credential.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// The table's state, `None` before it was loaded.
    pub view: Option<View>,
    /// How old it may be.
    pub staleness: &'a Staleness,
    /// Wall-clock time, for expiries.
    pub now: Timestamp,
    /// Where the request came from.
    pub address: IpAddr,
    /// The page it came from, by its `Origin` header.
    pub origin: Option<&'a str>,
}

/// Decides. For every credential that nobody has the work is the same: one look-up for each value presented, all of them
/// done before the first is judged.
///
/// # Errors
/// [`Denial`] with the first reason that applies, in the order in which an operator would want to hear of them: what
/// was presented, whether the key lives, whether it may do this, whether the pair belongs together.
#[expect(
    clippy::result_large_err,
    reason = "who is refused is attributed as who is let through is: the other side is as large, and a box would be an allocation for each wrong key"
)]
pub fn authorize(
    access: &Access,
    credential: &Credential,
    table: &Reader<'_>,
    circumstances: &Circumstances<'_>,
) -> Result<Principal, Denial> {
    authorize_shown(access, credential, table, circumstances, |_| {})
}

/// The same, and each rule that is asked is shown. Whoever does not look pays nothing: it is compiled away.
///
/// # Errors
/// As [`authorize`].
#[expect(clippy::result_large_err, reason = "as authorize")]
pub fn authorize_shown(
    access: &Access,
    credential: &Credential,
    table: &Reader<'_>,
    circumstances: &Circumstances<'_>,
    show: impl FnMut(Step),
) -> Result<Principal, Denial> {
    let wants_pair = matches!(access, Access::Api { .. });
    if matches!(access, Access::Open) {
        return Ok(Principal(Attribution::default()));
    }
    let key = look_up(credential.key, table);
    // An application key is ignored where none is demanded: official clients send theirs with everything (WIRE 7, 27).
    let application_key = if wants_pair {
        look_up(credential.application_key, table)
    } else {
        Found::None(Presented::Nothing)
    };
    let attribution = attribute(&key, &application_key, table);

    let verdict = judge(access, &key, &application_key, table, circumstances, show);
    match verdict {
        Ok(()) => Ok(Principal(attribution)),
        Err(reason) => Err(Denial {
            reason,
            attribution,
        }),
    }
}

/// The result of one look-up.
enum Found {
    Key(Held),
    None(Presented),
}

fn look_up(presented: Presented, table: &Reader<'_>) -> Found {
    match presented {
        Presented::One(fingerprint) => table
            .key(&fingerprint)
            .map_or(Found::None(presented), Found::Key),
        Presented::Nothing | Presented::Malformed | Presented::Conflict => Found::None(presented),
    }
}

fn attribute(key: &Found, application_key: &Found, table: &Reader<'_>) -> Attribution {
    let used = |key: &Held| UsedKey {
        id: key.id,
        kind: key.kind,
        shadowed: key.shadowed(),
        fingerprint: key.fingerprint,
    };
    let org_of = |key: &Held| table.org(key.org).map(|org| (org.id, key.org));
    let mut attribution = Attribution::default();
    if let Found::Key(key) = application_key {
        attribution.application_key = Some(used(key));
        attribution.org = org_of(key);
        attribution.user = owner_of(key, table);
    }
    if let Found::Key(key) = key {
        attribution.key = Some(used(key));
        // With a pair of two orgs it is the API key's org that the request is counted for.
        attribution.org = org_of(key);
        if key.kind == KeyKind::ApplicationKey {
            attribution.user = owner_of(key, table);
        }
    }
    attribution
}

fn owner_of(key: &Held, table: &Reader<'_>) -> Option<(UserId, UserAt)> {
    let at = key.owner?;
    Some((table.user(at)?.id, at))
}

/// Says no for this reason unless it holds.
const fn unless(holds: bool, reason: Reason) -> Result<(), Reason> {
    if holds { Ok(()) } else { Err(reason) }
}

fn judge(
    access: &Access,
    key: &Found,
    application_key: &Found,
    table: &Reader<'_>,
    circumstances: &Circumstances<'_>,
    mut show: impl FnMut(Step),
) -> Result<(), Reason> {
    let mut ask = |rule, of, said| {
        show(Step { rule, of, said });
        said
    };
    let closed = matches!(access, Access::Closed);
    ask(
        Rule::Reachable,
        Asked::Request,
        unless(!closed, Reason::Closed),
    )?;
    let scope = match access {
        Access::Api { scope } => Some(scope.as_ref()),
        Access::Open | Access::Intake | Access::Logs | Access::Browser | Access::Closed => None,
    };
    let (said, of) = match (presented(key), presented(application_key), scope) {
        (Some(Presented::Nothing), _, _) => (Err(Reason::NoKey), Asked::Key),
        (_, Some(Presented::Nothing), Some(_)) => {
            (Err(Reason::NoApplicationKey), Asked::ApplicationKey)
        }
        _ => (Ok(()), Asked::Request),
    };
    ask(Rule::Presented, of, said)?;
    let (said, of) = match (presented(key), presented(application_key)) {
        (Some(Presented::Conflict), _) => (Err(Reason::Conflict), Asked::Key),
        (_, Some(Presented::Conflict)) => (Err(Reason::Conflict), Asked::ApplicationKey),
        _ => (Ok(()), Asked::Request),
    };
    ask(Rule::OneValue, of, said)?;

    let loaded = unless(circumstances.view.is_some(), Reason::NotLoaded);
    ask(Rule::Loaded, Asked::Request, loaded)?;
    let view = circumstances.view.ok_or(Reason::NotLoaded)?;
    let serve_for = match scope {
        Some(_) => circumstances.staleness.serve_for_api,
        None => circumstances.staleness.serve_for_intake,
    };
    let served = unless(view.age <= serve_for, Reason::ViewTooOld);
    ask(Rule::Served, Asked::Request, served)?;
    let fresh = view.age <= circumstances.staleness.fresh_within;

    let key = known(key, fresh, Asked::Key, &mut ask)?;
    living(key, table, circumstances.now, Asked::Key, &mut ask)?;
    let kind = unless(rules::accepts(access, key.kind), Reason::WrongKind);
    ask(Rule::Kind, Asked::Key, kind)?;
    admitted(key, circumstances, &mut ask)?;

    if let Some(scope) = scope {
        let of = Asked::ApplicationKey;
        let application_key = known(application_key, fresh, of, &mut ask)?;
        living(application_key, table, circumstances.now, of, &mut ask)?;
        let is_one = application_key.kind == KeyKind::ApplicationKey;
        ask(Rule::Kind, of, unless(is_one, Reason::WrongKind))?;
        let same = application_key.org == key.org;
        ask(Rule::SameOrg, of, unless(same, Reason::PairMismatch))?;
        if let (Some(wanted), Some(held)) = (scope, application_key.scopes()) {
            let has = held.contains(wanted);
            ask(Rule::Scope, of, unless(has, Reason::ScopeMissing))?;
        }
    }
    Ok(())
}

/// What was presented where no key was found.
const fn presented(found: &Found) -> Option<Presented> {
    match found {
        Found::Key(_) => None,
        Found::None(presented) => Some(*presented),
    }
}

/// What a rule says.
type Answer = Result<(), Reason>;

fn known<'a>(
    found: &'a Found,
    fresh: bool,
    of: Asked,
    ask: &mut impl FnMut(Rule, Asked, Answer) -> Answer,
) -> Result<&'a Held, Reason> {
    let key = match found {
        Found::Key(key) => Ok(key),
        Found::None(Presented::Malformed) => Err(Reason::Malformed),
        Found::None(_) if fresh => Err(Reason::Unknown),
        // A key made since the view was last in step would be missing too.
        Found::None(_) => Err(Reason::ViewTooOld),
    };
    ask(Rule::Known, of, key.map(|_| ()))?;
    key
}

/// Whether the key lives: not revoked, not expired, its org and its owner in force.
fn living(
    key: &Held,
    table: &Reader<'_>,
    now: Timestamp,
    of: Asked,
    ask: &mut impl FnMut(Rule, Asked, Answer) -> Answer,
) -> Answer {
    let kept = unless(!key.is_revoked, Reason::Revoked);
    ask(Rule::NotRevoked, of, kept)?;
    if let Some(owner) = key.owner {
        // An owner that the table does not hold is a record that was refused: its keys are refused with it.
        let owner = table.user(owner);
        let enabled = owner.is_some_and(|owner| !owner.disabled);
        ask(
            Rule::OwnerEnabled,
            of,
            unless(enabled, Reason::OwnerDisabled),
        )?;
        let ended = owner.is_some_and(|owner| {
            ends_with_owner(key.kind, key.issued, owner.application_keys_revoked_through)
        });
        ask(
            Rule::NotRevokedWithOwner,
            of,
            unless(!ended, Reason::Revoked),
        )?;
    }
    let over = key.has_expired(now);
    ask(Rule::NotExpired, of, unless(!over, Reason::Expired))?;
    let enabled = table.org(key.org).is_some_and(|org| !org.disabled);
    ask(Rule::OrgEnabled, of, unless(enabled, Reason::OrgDisabled))
}

/// Whether the key may be used from where the request came from.
fn admitted(
    key: &Held,
    circumstances: &Circumstances<'_>,
    ask: &mut impl FnMut(Rule, Asked, Answer) -> Answer,
) -> Answer {
    if !key.allowed_addresses().is_empty() {
        let address = circumstances.address.to_canonical();
        let mut nets = key.allowed_addresses().iter();
        let from_there = nets.any(|net| net.contains(&address));
        let said = unless(from_there, Reason::AddressNotAllowed);
        ask(Rule::Address, Asked::Key, said)?;
    }
    if !key.allowed_origins().is_empty() {
        let origin = circumstances.origin.unwrap_or_default();
        let mut origins = key.allowed_origins().iter();
        let from_there = origins.any(|allowed| allowed.covers(origin));
        let said = unless(from_there, Reason::OriginNotAllowed);
        ask(Rule::Origin, Asked::Key, said)?;
    }
    Ok(())
}

/// The credential of one value in each carrier; for callers that hold the fingerprints already.
impl Credential {
    /// One key, no application key.
    pub const fn of_key(fingerprint: Fingerprint) -> Self {
        Self {
            key: Presented::One(fingerprint),
            application_key: Presented::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    //! What needs a clock or a view of a certain age; the rest is `tests/gateway/policy.md`.

    use std::time::Instant;

    use super::super::{Key, KeyTable, Record, Revision, User, samples};
    use super::*;

    const STALENESS: Staleness = Staleness {
        fresh_within: Duration::from_secs(5),
        serve_for_intake: Duration::from_secs(86_400),
        serve_for_api: Duration::from_secs(900),
    };
    const API: Access = Access::Api { scope: None };

    struct World {
        table: KeyTable,
        user: User,
        application: Key,
        pair: Credential,
    }

    fn world() -> World {
        let table = KeyTable::new(Instant::now());
        let org = samples::org("acme");
        let user = samples::user(&org, "ada@example.com");
        table.apply(Record::Org(org.clone()));
        table.apply(Record::User(user.clone()));
        let api = samples::key(KeyKind::ApiKey, &org, None, 1);
        let application = samples::key(KeyKind::ApplicationKey, &org, Some(&user), 2);
        let pair = Credential {
            key: Presented::One(api.fingerprint),
            application_key: Presented::One(application.fingerprint),
        };
        table.apply(Record::Key(api));
        table.apply(Record::Key(application.clone()));
        World {
            table,
            user,
            application,
            pair,
        }
    }

    fn verdict(
        world: &World,
        access: &Access,
        credential: &Credential,
        age: Option<u64>,
    ) -> Result<(), Reason> {
        let circumstances = Circumstances {
            view: age.map(|age| View {
                revision: Revision(2),
                age: Duration::from_secs(age),
            }),
            staleness: &STALENESS,
            now: Timestamp(1_000),
            address: IpAddr::from([127, 0, 0, 1]),
            origin: None,
        };
        let verdict = authorize(access, credential, &world.table.read(), &circumstances);
        verdict.map(|_| ()).map_err(|denial| denial.reason)
    }

    fn nobody() -> Credential {
        Credential::of_key(Fingerprint::from_bytes([9; 16]))
    }

    #[test]
    fn an_unknown_secret_is_bad_only_while_the_view_is_fresh() {
        let world = world();
        assert_eq!(
            verdict(&world, &Access::Intake, &nobody(), Some(5)),
            Err(Reason::Unknown)
        );
        assert_eq!(
            verdict(&world, &Access::Intake, &nobody(), Some(6)),
            Err(Reason::ViewTooOld)
        );
    }

    #[test]
    fn known_keys_are_served_from_a_stale_view_up_to_the_bound_of_the_access() {
        let world = world();
        assert_eq!(verdict(&world, &API, &world.pair, Some(900)), Ok(()));
        assert_eq!(
            verdict(&world, &API, &world.pair, Some(901)),
            Err(Reason::ViewTooOld)
        );
        assert_eq!(
            verdict(&world, &Access::Intake, &world.pair, Some(901)),
            Ok(())
        );
        assert_eq!(
            verdict(&world, &Access::Intake, &world.pair, Some(86_401)),
            Err(Reason::ViewTooOld)
        );
    }

    #[test]
    fn before_the_table_is_loaded_nobody_is_called_bad() {
        let world = world();
        assert_eq!(
            verdict(&world, &API, &world.pair, None),
            Err(Reason::NotLoaded)
        );
        assert_eq!(
            verdict(&world, &Access::Intake, &nobody(), None),
            Err(Reason::NotLoaded)
        );
    }

    #[test]
    fn a_shadow_revoked_key_passes_and_the_attribution_says_which_one_it_is() {
        let mut world = world();
        let decide = |world: &World| {
            let circumstances = Circumstances {
                view: Some(View {
                    revision: Revision(2),
                    age: Duration::ZERO,
                }),
                staleness: &STALENESS,
                now: Timestamp(1_000),
                address: IpAddr::from([127, 0, 0, 1]),
                origin: None,
            };
            authorize(&API, &world.pair, &world.table.read(), &circumstances).ok()
        };
        let principal = decide(&world).unwrap();
        assert_eq!(principal.attribution().shadowed().count(), 0);
        let mut key = world.application.clone();
        let by = super::super::Actor::Operator;
        let at = Timestamp(77);
        (key.shadowed, key.revision) = (Some(super::super::Deed { at, by }), Revision(9));
        world.table.apply(Record::Key(key.clone()));
        world.application = key;
        let principal = decide(&world).unwrap();
        let shadowed: Vec<_> = principal.attribution().shadowed().collect();
        let [key] = shadowed[..] else {
            panic!("{shadowed:?}")
        };
        assert_eq!((key.id, key.shadowed), (world.application.id, Some(at)));
        assert_eq!(principal.attribution().keys().count(), 2);
    }

    #[test]
    fn enabling_a_user_again_revives_nothing() {
        let world = world();
        let mut user = world.user.clone();
        (user.disabled, user.revision) = (true, Revision(7));
        user.application_keys_revoked_through = Revision(7);
        world.table.apply(Record::User(user.clone()));
        assert_eq!(
            verdict(&world, &API, &world.pair, Some(0)),
            Err(Reason::OwnerDisabled)
        );
        (user.disabled, user.revision) = (false, Revision(8));
        world.table.apply(Record::User(user));
        assert_eq!(
            verdict(&world, &API, &world.pair, Some(0)),
            Err(Reason::Revoked)
        );
    }
}
