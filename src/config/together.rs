//! What must hold between two settings. Each of them alone was checked when it was read.

use super::error::{ConfigError, Problem};
use super::nearest::nearest;
use super::source::Node;
use super::{Config, DEFAULT_UPSTREAM, RedisMode, RouteAccess, Sink, UPSTREAM_NAMES};
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Checks a configuration. The tree is what it was read from; it gives the places for the errors.
pub(super) fn check(config: &Config, tree: &Node, errors: &mut Vec<ConfigError>) {
    let mut checks = Checks {
        config,
        tree,
        errors,
    };
    checks.redis();
    checks.rules();
    checks.record();
    checks.families();
    checks.upstreams();
    checks.routes();
    checks.listeners();
    checks.control();
}

struct Checks<'a> {
    config: &'a Config,
    tree: &'a Node,
    errors: &'a mut Vec<ConfigError>,
}

impl Checks<'_> {
    fn refuse(&mut self, path: &[&str], problem: Problem) {
        self.errors.push(ConfigError {
            origin: self.tree.origin_of(path),
            problem,
        });
    }

    /// No two listeners can have one port of one address. Port 0 is any that is free.
    fn listeners(&mut self) {
        let config = self.config;
        let (listen, admin) = (config.listen.address, config.admin.address);
        let control = config.control.address;
        let mut pairs = vec![(("admin.address", admin), ("listen.address", listen))];
        if config.control.is_on() {
            pairs.push((("control.address", control), ("listen.address", listen)));
            pairs.push((("control.address", control), ("admin.address", admin)));
        }
        for ((knob, one), (other, theirs)) in pairs {
            let is_any = one.ip().is_unspecified() || theirs.ip().is_unspecified();
            let meets = one.port() == theirs.port() && (is_any || one.ip() == theirs.ip());
            if meets && one.port() != 0 {
                let (section, name) = knob.split_once('.').unwrap_or((knob, ""));
                self.refuse(&[section, name], Problem::SameAddress { knob, other });
            }
        }
    }

    /// What one knob of `[store.redis]` needs of the others.
    fn redis(&mut self) {
        let redis = &self.config.store.redis;
        let path = |knob: &str| format!("store.redis.{knob}");
        let mode_is = |mode: RedisMode| format!("{} = \"{}\"", path("mode"), mode.as_str());
        let set = [
            ("sentinel_master", redis.sentinel_master.is_some()),
            ("username", redis.username.is_some()),
            ("password", redis.password.is_some()),
            ("sentinel_password", redis.sentinel_password.is_some()),
            ("ca_file", redis.ca_file.is_some()),
            ("read_from", !redis.read_from.is_empty()),
        ];
        let is_set = |knob: &str| set.contains(&(knob, true));
        let mut needs: Vec<(&str, String, String)> = Vec::new();
        let Some(first) = redis.servers.first() else {
            // Or else a node that was meant for a fleet would start with a store of its own.
            if redis.mode != RedisMode::Single {
                needs.push(("mode", mode_is(redis.mode), path("servers")));
            }
            for (knob, _) in set.iter().filter(|(_, is_set)| *is_set) {
                needs.push((knob, path(knob), path("servers")));
            }
            return self.refuse_redis(needs);
        };
        if redis.mode == RedisMode::Single && redis.servers.len() > 1 {
            let sentinel_or_cluster = format!("{} or \"cluster\"", mode_is(RedisMode::Sentinel));
            let more = format!("more than one of {}", path("servers"));
            needs.push(("servers", more, sentinel_or_cluster));
        }
        if redis.mode == RedisMode::Sentinel && !is_set("sentinel_master") {
            needs.push(("mode", mode_is(redis.mode), path("sentinel_master")));
        }
        for (knob, mode) in [
            ("sentinel_master", RedisMode::Sentinel),
            ("sentinel_password", RedisMode::Sentinel),
            ("read_from", RedisMode::Single),
        ] {
            if is_set(knob) && redis.mode != mode {
                needs.push((knob, path(knob), mode_is(mode)));
            }
        }
        if is_set("username") && !is_set("password") {
            let password = format!("{} or {0}_file", path("password"));
            needs.push(("username", path("username"), password));
        }
        if is_set("ca_file") && !first.tls {
            let tls = format!("rediss:// in {}", path("servers"));
            needs.push(("ca_file", path("ca_file"), tls));
        }
        self.refuse_redis(needs);
        for (knob, knobs, servers) in [
            ("servers", "store.redis.servers", &redis.servers),
            (
                "read_from",
                "store.redis.servers and store.redis.read_from",
                &redis.read_from,
            ),
        ] {
            if servers.iter().any(|server| server.tls != first.tls) {
                self.refuse(&["store", "redis", knob], Problem::TlsInPart { knobs });
            }
        }
    }

    fn refuse_redis(&mut self, needs: Vec<(&str, String, String)>) {
        for (place, knob, needs) in needs {
            self.refuse(
                &["store", "redis", place],
                Problem::NeedsOther { knob, needs },
            );
        }
    }

    fn rules(&mut self) {
        let rules = &self.config.rules;
        if rules.api_keys_per_org_min > rules.api_keys_per_org_max {
            let (min, max) = ("rules.api_keys_per_org_min", "rules.api_keys_per_org_max");
            self.refuse(
                &["rules", "api_keys_per_org_min"],
                Problem::MinAboveMax { min, max },
            );
        }
    }

    fn record(&mut self) {
        let record = &self.config.record;
        if record.sink == Sink::File && record.path.is_none() {
            let (knob, needs) = (
                "record.sink = \"file\"".to_owned(),
                "record.path".to_owned(),
            );
            self.refuse(&["record", "sink"], Problem::NeedsOther { knob, needs });
        }
    }

    /// Pages are reached at the top of their host, and a provider needs all that the flow takes.
    fn control(&mut self) {
        let control = &self.config.control;
        if control
            .url
            .as_ref()
            .is_some_and(|url| !url.path_prefix.is_empty())
        {
            self.refuse(&["control", "url"], Problem::UrlHasPath);
        }
        let oidc = &control.oidc;
        let needs = |knob: &str, needs: &str| Problem::NeedsOther {
            knob: format!("control.oidc.{knob}"),
            needs: needs.to_owned(),
        };
        match &oidc.issuer {
            Some(issuer) => {
                if oidc.client_id.is_none() {
                    self.refuse(
                        &["control", "oidc", "issuer"],
                        needs("issuer", "control.oidc.client_id"),
                    );
                }
                if !issuer.https && !issuer.is_loopback() {
                    self.refuse(&["control", "oidc", "issuer"], Problem::IssuerInPlain);
                }
                if !issuer.https && oidc.ca_file.is_some() {
                    self.refuse(
                        &["control", "oidc", "ca_file"],
                        needs("ca_file", "an issuer with https://"),
                    );
                }
            }
            None => {
                for (knob, is_set) in [
                    ("client_id", oidc.client_id.is_some()),
                    ("client_secret", oidc.client_secret.is_some()),
                    ("ca_file", oidc.ca_file.is_some()),
                ] {
                    if is_set {
                        self.refuse(
                            &["control", "oidc", knob],
                            needs(knob, "control.oidc.issuer"),
                        );
                    }
                }
            }
        }
    }

    fn families(&mut self) {
        let families: Vec<&'static str> = UPSTREAM_NAMES
            .iter()
            .copied()
            .filter(|name| *name != DEFAULT_UPSTREAM && self.config.upstream(name).is_none())
            .collect();
        if !families.is_empty() {
            self.refuse(&[], Problem::NoUpstream { families });
        }
    }

    fn upstreams(&mut self) {
        let config = self.config;
        for (name, upstream) in &config.upstreams {
            let knob = |knob: &str| format!("upstreams.{name}.{knob}");
            let place = |knob| ["upstreams", name, knob];
            let is_route_upstream = config
                .routes
                .iter()
                .any(|route| route.upstream.as_deref() == Some(name));
            if !UPSTREAM_NAMES.contains(&name.as_str()) && !is_route_upstream {
                let nearest = nearest(name, UPSTREAM_NAMES.iter().copied()).map(str::to_owned);
                self.refuse(
                    &["upstreams", name],
                    Problem::UpstreamUnused {
                        name: name.clone(),
                        nearest,
                    },
                );
            }
            if upstream.ca_file.is_some() && !upstream.url.https {
                let (knob, needs) = (knob("ca_file"), format!("an https:// {}", knob("url")));
                self.refuse(&place("ca_file"), Problem::NeedsOther { knob, needs });
            }
            let carriers = [
                ("credential_header", upstream.credential_header.is_some()),
                ("credential_query", upstream.credential_query.is_some()),
            ];
            if carriers.iter().all(|(_, is_set)| *is_set) {
                let (knob, other) = (knob("credential_query"), knob("credential_header"));
                self.refuse(
                    &place("credential_query"),
                    Problem::Excludes { knob, other },
                );
            }
            for (carrier, _) in carriers.iter().filter(|(_, is_set)| *is_set) {
                if upstream.credential.is_none() {
                    let needs = format!("{} or {}", knob("credential"), knob("credential_file"));
                    self.refuse(
                        &place(carrier),
                        Problem::NeedsOther {
                            knob: knob(carrier),
                            needs,
                        },
                    );
                }
            }
            if upstream.credential.is_some() && carriers.iter().all(|(_, is_set)| !is_set) {
                let needs = format!(
                    "{} or {}",
                    knob("credential_header"),
                    knob("credential_query")
                );
                let knob = knob("credential");
                self.refuse(&["upstreams", name], Problem::NeedsOther { knob, needs });
            }
        }
    }

    fn routes(&mut self) {
        let config = self.config;
        let mut first_at = HashMap::new();
        for (index, route) in config.routes.iter().enumerate() {
            let index = index.to_string();
            // A known family without an upstream of its own goes to the default. Another name does not: it is misspelt.
            let name = route.upstream_name();
            let own = config.upstreams.keys().map(String::as_str);
            let families = UPSTREAM_NAMES
                .iter()
                .copied()
                .filter(|name| config.upstream(name).is_some());
            let usable: Vec<&str> = own.chain(families).collect();
            if !usable.contains(&name) {
                let nearest = nearest(name, usable).map(str::to_owned);
                let problem = Problem::RouteUpstream {
                    name: name.to_owned(),
                    nearest,
                };
                self.refuse(&["routes", &index, "upstream"], problem);
            }
            if route.scope.is_some() && route.access != RouteAccess::Api {
                let (knob, needs) = ("scope".to_owned(), "access = \"api\"".to_owned());
                self.refuse(
                    &["routes", &index, "scope"],
                    Problem::NeedsOther { knob, needs },
                );
            }
            let origin = self.tree.origin_of(&["routes", &index]);
            match first_at.entry((&route.method, &route.path)) {
                Entry::Vacant(vacant) => {
                    vacant.insert(origin);
                }
                Entry::Occupied(first) => {
                    let (method, path) = (route.method.clone(), route.path.clone());
                    let problem = Problem::RouteTwice {
                        method,
                        path,
                        first: first.get().clone(),
                    };
                    self.errors.push(ConfigError { origin, problem });
                }
            }
        }
    }
}
