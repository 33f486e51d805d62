//! Method + path -> [`Route`]: what it demands, how refusals look, which upstream, how large a body. The default table
//! is one page of data (WIRE 1; every line has a real client behind it). It reads no credential.

use std::collections::HashMap;

use http::Method;

use super::target::Target;
use crate::config::{self, RouteAccess, RouteConfig, RouteFamily};
use crate::keys::{Access, rules};

/// Groups of routes whose clients read an answer in the same way (DESIGN 4): the shape of a refusal, and a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// Metrics, events, checks, metadata, processes: the Agent's core forwarder.
    Agent,
    /// The Agent's and the clients' check of a key.
    Validate,
    /// Logs v2 and the event-platform tracks.
    Logs,
    /// Logs v1, `/v1/input`.
    Input,
    /// The browser SDK: every answer carries CORS.
    Browser,
    /// The programmatic API.
    Api,
    /// OTLP over HTTP.
    Otlp,
    /// The trace writer.
    Traces,
}

impl Family {
    /// Every family, in the order of the contract's columns.
    pub const ALL: [Self; 8] = [
        Self::Agent,
        Self::Validate,
        Self::Logs,
        Self::Input,
        Self::Browser,
        Self::Api,
        Self::Otlp,
        Self::Traces,
    ];

    /// The label used in metrics and records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Validate => "validate",
            Self::Logs => "logs",
            Self::Input => "input",
            Self::Browser => "browser",
            Self::Api => "api",
            Self::Otlp => "otlp",
            Self::Traces => "traces",
        }
    }
}

/// Who answers an admitted request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// The upstream of this name, or `default`.
    Upstream(Box<str>),
    /// keygate: `/api/v1/validate`.
    ValidateV1,
    /// keygate: `/api/v2/validate`.
    ValidateV2,
    /// keygate: `/api/v2/validate_keys`.
    ValidateKeys,
    /// keygate: a preflight or a plain OPTIONS.
    Options,
}

/// What a method and path demand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// As it is written in the table; the label in records. Never holds a key.
    pub pattern: &'static str,
    /// What the caller must present.
    pub access: Access,
    /// How refusals look.
    pub family: Family,
    /// Who answers.
    pub destination: Destination,
    /// The largest request body, in bytes.
    pub body_max: u64,
    /// `Authorization: Bearer` carries the API key here.
    pub reads_bearer: bool,
    /// The path up to the segment that may hold the key.
    pub key_after: Option<&'static str>,
    /// What to say instead of the family's text when the route is closed.
    pub closed_because: Option<&'static str>,
}

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// Which requests of a method and path a row is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Always,
    /// From a page: `ddforward`, a browser's query or an `Origin` header.
    FromBrowser,
    /// From the Agent's event platform: `DD-EVP-ORIGIN` (WIRE 1.5, trap 22).
    FromAgent,
}

/// The kinds of access a row can name.
#[derive(Clone, Copy)]
enum Demand {
    Intake,
    Logs,
    Browser,
    Pair,
    Closed,
    Open,
}

struct Row {
    methods: &'static str,
    path: &'static str,
    when: When,
    demand: Demand,
    family: Family,
    upstream: &'static str,
    body_max: u64,
}

const fn row(
    methods: &'static str,
    path: &'static str,
    demand: Demand,
    family: Family,
    upstream: &'static str,
    body_max: u64,
) -> Row {
    Row {
        methods,
        path,
        when: When::Always,
        demand,
        family,
        upstream,
        body_max,
    }
}

const fn when(when: When, row: Row) -> Row {
    Row { when, ..row }
}

/// The names that rows use for what keygate answers itself.
const SELF_V1: &str = "(validate v1)";
const SELF_V2: &str = "(validate v2)";
const SELF_KEYS: &str = "(validate keys)";
const SELF_OPTIONS: &str = "(options)";

#[rustfmt::skip]
const ROWS: &[Row] = {
    use Demand::{Browser, Closed, Intake, Logs, Open, Pair};
    use Family::{Agent, Api, Input, Otlp, Traces, Validate};
    use When::{FromAgent, FromBrowser};
    const LOG: Family = Family::Logs;
    const WEB: Family = Family::Browser;
    &[
        // The check of a key: query or header, on every host (WIRE 1.3).
        row("GET HEAD", "/api/v1/validate", Intake, Validate, SELF_V1, 0),
        row("GET HEAD", "/api/v2/validate", Intake, Validate, SELF_V2, 0),
        row("GET HEAD", "/api/v2/validate_keys", Pair, Api, SELF_KEYS, 0),

        // Metrics, checks, events, metadata: the Agent's forwarder and the SDKs (WIRE 1.1, 1.7, 1.9, 1.13).
        row("POST", "/api/v2/series", Intake, Agent, "metrics", 5_242_880),
        row("POST", "/api/v1/series", Intake, Agent, "metrics", 62_914_560),
        row("POST", "/api/v1/series/", Intake, Agent, "metrics", 62_914_560),
        row("POST", "/api/intake/metrics/v3/series", Intake, Agent, "metrics", 5_242_880),
        row("POST", "/api/intake/metrics/v3beta/series", Intake, Agent, "metrics", 5_242_880),
        row("POST", "/api/intake/metrics/v3/sketches", Intake, Agent, "metrics", 5_242_880),
        row("POST", "/api/intake/metrics/v3beta/sketches", Intake, Agent, "metrics", 5_242_880),
        row("POST", "/api/beta/sketches", Intake, Agent, "metrics", 5_242_880),
        row("POST", "/api/v1/sketches", Intake, Agent, "metrics", 5_242_880),
        row("POST", "/api/v1/distribution_points", Intake, Agent, "metrics", 62_914_560),
        row("POST", "/api/v1/check_run", Intake, Agent, "metrics", 5_242_880),
        row("POST", "/api/v1/check_run/", Intake, Agent, "metrics", 5_242_880),
        row("POST", "/intake/", Intake, Agent, "metrics", 64 * MIB),
        row("POST", "/intake", Intake, Agent, "metrics", 64 * MIB),
        row("POST", "/intake/metrics", Intake, Agent, "metrics", 64 * MIB),
        row("POST", "/intake/metadata", Intake, Agent, "metrics", 64 * MIB),
        row("POST", "/api/v1/metadata", Intake, Agent, "metrics", 64 * MIB),
        row("POST", "/api/v2/host_metadata", Intake, Agent, "metrics", 64 * MIB),
        row("POST", "/api/v2/service_checks", Intake, Agent, "metrics", 5_242_880),
        row("POST", "/api/v1/events", Intake, Agent, "events", 5_242_880),
        when(FromAgent, row("POST", "/api/v2/events", Intake, LOG, "events", 20 * MIB)),
        row("POST", "/api/v2/events", Pair, Api, "events", 5_242_880),

        // Processes and orchestrator (WIRE 1.6).
        row("POST", "/api/v1/collector", Intake, Agent, "process", 20 * MIB),
        row("POST", "/api/v1/container", Intake, Agent, "process", 20 * MIB),
        row("POST", "/api/v1/discovery", Intake, Agent, "process", 20 * MIB),
        row("POST", "/api/v1/connections", Intake, Agent, "process", 20 * MIB),
        row("POST", "/api/v2/proclcycle", Intake, Agent, "process", 20 * MIB),
        row("POST", "/api/v1/orchestrator", Intake, Agent, "orchestrator", 20 * MIB),
        row("POST", "/api/v2/orch", Intake, Agent, "orchestrator", 20 * MIB),
        row("POST", "/api/v2/orchmanif", Intake, Agent, "orchestrator", 20 * MIB),

        // Logs: Agents and clients with an API key, pages and mobile apps with a client token (WIRE 1.4, 1.10, 1.11).
        when(FromBrowser, row("POST", "/api/v2/logs", Browser, WEB, "browser", 5_242_880)),
        row("POST", "/api/v2/logs", Logs, LOG, "logs", 5_242_880),
        when(FromBrowser, row("POST", "/v1/input", Browser, WEB, "browser", 5_242_880)),
        row("POST", "/v1/input", Logs, Input, "logs", 5_242_880),
        when(FromBrowser, row("POST", "/v1/input/{key}", Browser, WEB, "browser", 5_242_880)),
        row("POST", "/v1/input/{key}", Logs, Input, "logs", 5_242_880),

        // Tracks that client tokens of other products reach; ours are for browser logs only. The SDK's own telemetry
        // lands here, and a refusal ends it, which 429 or 5xx would not (trap 20).
        row("POST", "/api/v2/rum", Closed, WEB, "browser", 5_242_880),
        row("POST", "/api/v2/replay", Closed, WEB, "browser", 20 * MIB),
        row("POST", "/api/v2/spans", Closed, WEB, "browser", 5_242_880),

        // Event-platform tracks: the same sender as logs (WIRE 1.5).
        row("POST", "/api/v2/databasequery", Intake, LOG, "evp", 20 * MIB),
        row("POST", "/api/v2/dbmmetrics", Intake, LOG, "evp", 20 * MIB),
        row("POST", "/api/v2/dbmactivity", Intake, LOG, "evp", 20 * MIB),
        row("POST", "/api/v2/dbmmetadata", Intake, LOG, "evp", 20 * MIB),
        row("POST", "/api/v2/dbmhealth", Intake, LOG, "evp", 20 * MIB),
        row("POST", "/api/v2/dbmcolumnstatistics", Intake, LOG, "evp", 20 * MIB),
        row("POST", "/api/v2/ndm", Intake, LOG, "evp", 20 * MIB),
        row("POST", "/api/v2/ndmconfig", Intake, LOG, "evp", 20 * MIB),
        row("POST", "/api/v2/ndmtraps", Intake, LOG, "evp", 20 * MIB),
        row("POST", "/api/v2/ndmflow", Intake, LOG, "evp", 20 * MIB),
        row("POST", "/api/v2/netpath", Intake, LOG, "evp", 20 * MIB),
        row("POST", "/api/v2/contlcycle", Intake, LOG, "evp", 20 * MIB),
        row("POST", "/api/v2/contimage", Intake, LOG, "evp", 20 * MIB),
        row("POST", "/api/v2/sbom", Intake, LOG, "evp", 20 * MIB),
        row("POST", "/api/v2/kubeactions", Intake, LOG, "evp", 20 * MIB),
        row("POST", "/api/v2/genresources", Intake, LOG, "evp", 20 * MIB),
        row("POST", "/api/v2/synthetics", Intake, LOG, "evp", 20 * MIB),
        row("POST", "/api/v2/data_streams_messages", Intake, LOG, "evp", 20 * MIB),
        row("POST", "/api/v2/query-actions", Intake, LOG, "evp", 20 * MIB),
        row("POST", "/api/v2/softinv", Intake, LOG, "evp", 20 * MIB),
        row("POST", "/api/v2/agentdiscovery", Intake, LOG, "evp", 20 * MIB),
        row("POST", "/api/v2/secruntime", Intake, LOG, "evp", 20 * MIB),
        row("POST", "/api/v2/secinfo", Intake, LOG, "evp", 20 * MIB),
        row("POST", "/api/v2/compliance", Intake, LOG, "evp", 20 * MIB),
        row("POST", "/api/v2/secdump", Intake, LOG, "evp", 100 * MIB),
        row("POST", "/api/v2/agenthealth", Intake, LOG, "evp", 20 * MIB),
        row("POST", "/api/v2/llmobs", Intake, LOG, "evp", 20 * MIB),

        // Traces, profiles, telemetry, debugger, lineage, flares (WIRE 1.6).
        row("POST", "/api/v0.2/traces", Intake, Traces, "traces", 16 * MIB),
        row("POST", "/api/v0.2/stats", Intake, Traces, "traces", 16 * MIB),
        row("POST", "/api/v0.1/pipeline_stats", Intake, Traces, "traces", 16 * MIB),
        row("POST", "/api/v2/profile", Intake, Traces, "profiles", 64 * MIB),
        row("POST", "/api/v2/apmtelemetry", Intake, Agent, "telemetry", 20 * MIB),
        row("POST", "/api/v2/debugger", Intake, LOG, "debugger", 20 * MIB),
        row("POST", "/api/v1/lineage", Intake, Agent, "lineage", 20 * MIB),
        row("HEAD POST", "/support/flare", Intake, Agent, "flare", 256 * MIB),
        row("HEAD POST", "/support/flare/{case}", Intake, Agent, "flare", 256 * MIB),

        // Remote configuration.
        row("POST", "/api/v0.1/configurations", Intake, Agent, "remote_config", 5_242_880),
        row("GET", "/api/v0.1/org", Intake, Agent, "remote_config", 0),
        row("GET", "/api/v0.1/status", Intake, Agent, "remote_config", 0),

        // CI and other single-key submissions of the SDKs (WIRE 1.9).
        row("POST", "/api/v2/cilogs", Intake, LOG, "ci", 20 * MIB),
        row("POST", "/api/v2/ci/pipeline", Intake, Api, "ci", 20 * MIB),
        row("POST", "/api/v2/ci/pipeline/tags", Intake, Api, "ci", 20 * MIB),
        row("POST", "/api/v2/ci/pipeline/metrics", Intake, Api, "ci", 20 * MIB),
        row("POST", "/api/v2/libraries/tests/services/setting", Intake, Api, "ci", 5_242_880),
        row("POST", "/api/v2/git/repository/search_commits", Intake, Api, "ci", 5_242_880),
        row("POST", "/api/v2/git/repository/packfile", Intake, Api, "ci", 64 * MIB),
        row("POST", "/api/v2/cireport", Intake, LOG, "ci", 64 * MIB),
        row("POST", "/api/v2/citestcycle", Intake, LOG, "ci", 64 * MIB),
        row("POST", "/api/v2/citestcov", Intake, LOG, "ci", 64 * MIB),
        row("POST", "/api/v2/srcmap", Intake, LOG, "ci", 256 * MIB),
        row("POST", "/api/v2/cicodescan", Intake, LOG, "ci", 64 * MIB),
        row("POST", "/api/v2/dora/deployment", Intake, Api, "ci", 5_242_880),
        row("POST", "/api/v2/dora/failure", Intake, Api, "ci", 5_242_880),
        row("POST", "/api/v2/dora/incident", Intake, Api, "ci", 5_242_880),
        row("POST", "/api/v2/prodlytics", Intake, Api, "ci", 5_242_880),
        row("POST", "/api/v2/ai_impact/user_activity", Intake, Api, "ci", 5_242_880),

        // OTLP (WIRE 1.12).
        row("POST", "/v1/metrics", Intake, Otlp, "otlp", 5_242_880),
        row("POST", "/v1/logs", Intake, Otlp, "otlp", 5_242_880),
        row("POST", "/v1/traces", Intake, Otlp, "otlp", 5_242_880),

        // Answers here would show secrets, and a proof that keygate cannot check would mint keys it does not know.
        row("*", "/api/v1/api_key", Closed, Api, "api", MIB),
        row("*", "/api/v1/api_key/{key}", Closed, Api, "api", MIB),
        row("*", "/api/v1/application_key", Closed, Api, "api", MIB),
        row("*", "/api/v1/application_key/{key}", Closed, Api, "api", MIB),
        row("*", "/api/v1/api_key/*", Closed, Api, "api", MIB),
        row("*", "/api/v1/application_key/*", Closed, Api, "api", MIB),
        row("*", "/api/v2/intake-key", Closed, Api, "api", MIB),
        row("*", "/api/v2/delegated-token", Closed, Api, "api", MIB),

        // Preflights of the pages that talk to the logs intake by hand; elsewhere an OPTIONS gets no CORS.
        row("OPTIONS", "/api/v2/logs", Open, WEB, SELF_OPTIONS, 0),
        row("OPTIONS", "/api/v2/rum", Open, WEB, SELF_OPTIONS, 0),
        row("OPTIONS", "/api/v2/replay", Open, WEB, SELF_OPTIONS, 0),
        row("OPTIONS", "/api/v2/spans", Open, WEB, SELF_OPTIONS, 0),
        row("OPTIONS", "/v1/input", Open, WEB, SELF_OPTIONS, 0),
        row("OPTIONS", "/v1/input/{key}", Open, WEB, SELF_OPTIONS, 0),
        row("OPTIONS", "/api/v2/*", Open, Api, SELF_OPTIONS, 0),

        // Everything else is programmatic: attributed to the application key's owner.
        row("*", "/api/v1/*", Pair, Api, "api", 16 * MIB),
        row("*", "/api/v2/*", Pair, Api, "api", 16 * MIB),
    ]
};

/// The upstream that is keygate itself: the control listener. No configuration can name it so.
pub const KEY_MANAGEMENT: &str = "(keygate)";

/// The key management API (WIRE 5), which the control listener answers. Before the default table; without a control
/// listener these are requests of the API like others.
#[rustfmt::skip]
const MANAGEMENT: &[Row] = {
    use Demand::Pair;
    use Family::Api;
    &[
        row("*", "/api/v2/api_keys", Pair, Api, KEY_MANAGEMENT, MIB),
        row("*", "/api/v2/api_keys/*", Pair, Api, KEY_MANAGEMENT, MIB),
        row("*", "/api/v2/application_keys", Pair, Api, KEY_MANAGEMENT, MIB),
        row("*", "/api/v2/application_keys/*", Pair, Api, KEY_MANAGEMENT, MIB),
        row("*", "/api/v2/current_user", Pair, Api, KEY_MANAGEMENT, MIB),
        row("*", "/api/v2/current_user/*", Pair, Api, KEY_MANAGEMENT, MIB),
        row("*", "/api/v2/service_accounts", Pair, Api, KEY_MANAGEMENT, MIB),
        row("*", "/api/v2/service_accounts/*", Pair, Api, KEY_MANAGEMENT, MIB),
        row("*", "/api/v2/users", Pair, Api, KEY_MANAGEMENT, MIB),
        row("*", "/api/v2/users/*", Pair, Api, KEY_MANAGEMENT, MIB),
        row("*", "/api/v2/user_invitations", Pair, Api, KEY_MANAGEMENT, MIB),
        row("*", "/api/v2/user_invitations/*", Pair, Api, KEY_MANAGEMENT, MIB),
        row("*", "/api/v2/roles", Pair, Api, KEY_MANAGEMENT, MIB),
        row("*", "/api/v2/roles/*", Pair, Api, KEY_MANAGEMENT, MIB),
        row("*", "/api/v2/permissions", Pair, Api, KEY_MANAGEMENT, MIB),
        row("*", "/api/v2/client_tokens", Pair, Api, KEY_MANAGEMENT, MIB),
        row("*", "/api/v2/client_tokens/*", Pair, Api, KEY_MANAGEMENT, MIB),
        row("*", "/api/v2/orgs", Pair, Api, KEY_MANAGEMENT, MIB),
        row("*", "/api/v2/orgs/*", Pair, Api, KEY_MANAGEMENT, MIB),
        row("*", "/api/v2/audit_log", Pair, Api, KEY_MANAGEMENT, MIB),
        row("*", "/api/v2/audit_log/*", Pair, Api, KEY_MANAGEMENT, MIB),
        row("*", "/api/v2/operations", Pair, Api, KEY_MANAGEMENT, MIB),
        row("*", "/api/v2/openapi.json", Pair, Api, KEY_MANAGEMENT, MIB),
    ]
};

/// A route with the requests of its path that it is for.
struct Entry {
    /// Upper-case methods; empty is any.
    methods: Vec<Method>,
    when: When,
    route: Route,
}

/// All routes. The configuration's own come first, in their order. Of the default ones the most specific is taken: exact,
/// one more segment, the longest prefix.
pub struct Routes {
    /// Few, so that looking at each is quicker than a map.
    own: Vec<(Box<str>, Entry)>,
    exact: HashMap<Box<str>, Vec<Entry>>,
    /// One more segment after this path.
    segment: HashMap<Box<str>, Vec<Entry>>,
    /// Any path below this one, longest first.
    below: Vec<(Box<str>, Entry)>,
}

impl Routes {
    /// The default table, with the configuration's own routes before it.
    pub fn new(own: &[RouteConfig], manages_keys: bool) -> Self {
        let mut routes = Self {
            own: own
                .iter()
                .map(|own| (own.path.as_str().into(), own_entry(own)))
                .collect(),
            exact: HashMap::new(),
            segment: HashMap::new(),
            below: Vec::new(),
        };
        let management = MANAGEMENT.iter().filter(|_| manages_keys);
        for row in management.chain(ROWS) {
            routes.add(row.path, default_entry(row));
        }
        routes
            .below
            .sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        routes
    }

    fn add(&mut self, path: &str, entry: Entry) {
        if let Some(prefix) = path.strip_suffix("/*") {
            self.below.push((prefix.into(), entry));
        } else if let Some((prefix, _)) = path.split_once("/{") {
            self.segment.entry(prefix.into()).or_default().push(entry);
        } else {
            self.exact.entry(path.into()).or_default().push(entry);
        }
    }

    /// The route of a request. `from_page` is whether it carries an `Origin`, `from_agent` whether `DD-EVP-ORIGIN`.
    pub fn find(
        &self,
        method: &Method,
        target: &Target<'_>,
        from_page: bool,
        from_agent: bool,
    ) -> Option<&Route> {
        let path: &str = &target.path;
        let from_page = from_page || target.is_forwarded() || target.says_browser();
        let fits = |entry: &&Entry| {
            let when = match entry.when {
                When::Always => true,
                When::FromBrowser => from_page,
                When::FromAgent => from_agent,
            };
            when && (entry.methods.is_empty() || entry.methods.contains(method))
        };
        let own = |(pattern, entry): &(Box<str>, Entry)| {
            let here = pattern
                .strip_suffix("/*")
                .map_or(**pattern == *path, |prefix| is_below(path, prefix));
            here && fits(&entry)
        };
        let exact = |path: &str| {
            self.exact
                .get(path)
                .and_then(|entries| entries.iter().find(fits))
        };
        // An upstream may read past a slash at the end: it does not open what is closed without it.
        let closed = || {
            let entry = exact(path.strip_suffix('/')?)?;
            (entry.route.access == Access::Closed).then_some(entry)
        };
        let segment = || {
            let (parent, child) = path.rsplit_once('/')?;
            self.segment
                .get(parent)
                .filter(|_| !child.is_empty())?
                .iter()
                .find(fits)
        };
        let below = || {
            let mut below = self
                .below
                .iter()
                .filter(|(prefix, _)| is_below(path, prefix));
            below
                .find(|(_, entry)| fits(&entry))
                .map(|(_, entry)| entry)
        };
        let found = self
            .own
            .iter()
            .find(|own_route| own(own_route))
            .map(|(_, entry)| entry);
        let found = found
            .or_else(|| exact(path))
            .or_else(closed)
            .or_else(segment)
            .or_else(below);
        let route = &found?.route;
        // Through `ddforward` a page reaches the log intake and nothing else (trap 18).
        if target.is_forwarded() && route.family != Family::Browser {
            return None;
        }
        Some(route)
    }

    /// Every route, for the test that each default one names a known upstream.
    pub fn all(&self) -> impl Iterator<Item = &Route> {
        let maps = self.exact.values().chain(self.segment.values()).flatten();
        maps.chain(self.own.iter().chain(&self.below).map(|(_, entry)| entry))
            .map(|entry| &entry.route)
    }
}

/// Whether a path is longer than a prefix by at least a slash.
fn is_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.starts_with('/'))
}

fn methods(text: &str) -> Vec<Method> {
    if text == "*" {
        Vec::new()
    } else {
        text.split(' ')
            .filter_map(|method| method.parse().ok())
            .collect()
    }
}

fn default_entry(row: &Row) -> Entry {
    let access = match row.demand {
        Demand::Intake => Access::Intake,
        Demand::Logs => Access::Logs,
        Demand::Browser => Access::Browser,
        Demand::Pair => Access::Api { scope: None },
        Demand::Closed => Access::Closed,
        Demand::Open => Access::Open,
    };
    let destination = match row.upstream {
        SELF_V1 => Destination::ValidateV1,
        SELF_V2 => Destination::ValidateV2,
        SELF_KEYS => Destination::ValidateKeys,
        SELF_OPTIONS => Destination::Options,
        upstream => Destination::Upstream(upstream.into()),
    };
    let read_once =
        row.path.starts_with("/api/v1/api_key") || row.path.starts_with("/api/v1/application_key");
    Entry {
        methods: methods(row.methods),
        when: row.when,
        route: Route {
            pattern: row.path,
            access,
            family: row.family,
            destination,
            body_max: row.body_max,
            reads_bearer: row.path == "/api/v1/lineage",
            key_after: row.path.starts_with("/v1/input").then_some("/v1/input"),
            closed_because: read_once.then_some(rules::READ_ONCE),
        },
    }
}

fn own_entry(own: &RouteConfig) -> Entry {
    let access = match own.access {
        RouteAccess::Intake => Access::Intake,
        RouteAccess::Logs => Access::Logs,
        RouteAccess::Browser => Access::Browser,
        RouteAccess::Api => Access::Api {
            scope: own.scope.as_deref().map(Into::into),
        },
        RouteAccess::Closed => Access::Closed,
    };
    let by_access = match own.access {
        RouteAccess::Intake => Family::Agent,
        RouteAccess::Logs => Family::Logs,
        RouteAccess::Browser => Family::Browser,
        RouteAccess::Api | RouteAccess::Closed => Family::Api,
    };
    let family = own.family.map_or(by_access, |family| match family {
        RouteFamily::Agent => Family::Agent,
        RouteFamily::Logs => Family::Logs,
        RouteFamily::Input => Family::Input,
        RouteFamily::Browser => Family::Browser,
        RouteFamily::Api => Family::Api,
        RouteFamily::Otlp => Family::Otlp,
        RouteFamily::Traces => Family::Traces,
    });
    Entry {
        methods: methods(&own.method),
        when: When::Always,
        route: Route {
            pattern: config::lasting(&own.path),
            access,
            family,
            destination: Destination::Upstream(own.upstream.as_deref().unwrap_or("default").into()),
            body_max: own.body_max.map_or(16 * MIB, |bytes| bytes.0),
            reads_bearer: false,
            key_after: None,
            closed_because: None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(method: &str, target: &str) -> Option<(String, Family)> {
        let (path, query) = target
            .split_once('?')
            .map_or((target, None), |(path, query)| (path, Some(query)));
        let target = Target::read(path, query).unwrap();
        let routes = Routes::new(&[], false);
        let route = routes.find(&method.parse().unwrap(), &target, false, false)?;
        Some((route.pattern.to_string(), route.family))
    }

    #[test]
    fn method_and_exact_path_decide() {
        let found = |pattern: &str, family| Some((pattern.to_owned(), family));
        assert_eq!(
            find("POST", "/api/v1/events"),
            found("/api/v1/events", Family::Agent)
        );
        assert_eq!(
            find("GET", "/api/v1/events"),
            found("/api/v1/*", Family::Api)
        );
        assert_eq!(
            find("POST", "/api/v2/logs"),
            found("/api/v2/logs", Family::Logs)
        );
        assert_eq!(
            find("POST", "/api/v2/logs?ddsource=browser"),
            found("/api/v2/logs", Family::Browser)
        );
        assert_eq!(
            find("POST", "/api/v2/logs/events/search"),
            found("/api/v2/*", Family::Api)
        );
        assert_eq!(
            find("POST", "/api/v2/rum/applications"),
            found("/api/v2/*", Family::Api)
        );
        assert_eq!(
            find("POST", "/v1/input/0123"),
            found("/v1/input/{key}", Family::Input)
        );
        assert_eq!(find("POST", "/v1/input/0123/4"), None);
        assert_eq!(find("GET", "/v1/input"), None);
        assert_eq!(find("POST", "/intake"), found("/intake", Family::Agent));
        assert_eq!(find("POST", "/intake/"), found("/intake/", Family::Agent));
        assert_eq!(
            find("HEAD", "/support/flare/12"),
            found("/support/flare/{case}", Family::Agent)
        );
        assert_eq!(
            find("GET", "/api/v1/api_key/0123"),
            found("/api/v1/api_key/{key}", Family::Api)
        );
        assert_eq!(find("GET", "/nothing"), None);
        for (method, target) in [
            ("GET", "/api/v1/api_key/"),
            ("GET", "/api/v1/api_key/0123/"),
            ("PUT", "/api/v1/application_key/0123/x"),
            ("GET", "/api/v2/intake-key/"),
            ("POST", "/api/v2/rum/"),
        ] {
            let (path, routes) = (Target::read(target, None).unwrap(), Routes::new(&[], false));
            let route = routes
                .find(&method.parse().unwrap(), &path, false, false)
                .unwrap();
            assert_eq!(route.access, Access::Closed, "{method} {target}");
        }
    }

    #[test]
    fn ddforward_reaches_the_browser_routes_only() {
        assert!(find("POST", "/?ddforward=%2Fapi%2Fv2%2Flogs%3Fx%3D1").is_some());
        for inner in [
            "%2Fapi%2Fv2%2Fseries",
            "%2Fapi%2Fv2%2Fapi_keys",
            "%2Fapi%2Fv1%2Fvalidate",
            "%2Fother",
        ] {
            assert_eq!(
                find("POST", &format!("/?ddforward={inner}")),
                None,
                "{inner}"
            );
        }
    }
}
