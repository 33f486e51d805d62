//! The address of a Redis server, taken apart and checked once. Who it is asked as is not in it, and how it is reached is
//! `store`.

use super::error::Mistake;
use super::source::Node;
use super::url::{host_and_port, spelled_host};
use super::value::{Value, list};
use serde_json::Value as Json;
use std::fmt;
use std::str::FromStr;

/// The port of Redis. Sentinel has another, which is written where it is meant.
const USUAL_PORT: u16 = 6379;

/// Where a Redis server is: `redis://` or `rediss://`, a host, perhaps a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RedisUrl {
    /// Whether the connection is made over TLS.
    pub tls: bool,
    /// A name in lower case or an address; an IPv6 address without its brackets.
    pub host: String,
    /// The port, also when it is the usual one.
    pub port: u16,
}

impl FromStr for RedisUrl {
    type Err = Mistake;

    /// The text is never quoted in an error: elsewhere such a text holds a password.
    fn from_str(text: &str) -> Result<Self, Mistake> {
        let (tls, rest) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("redis") => (false, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("rediss") => (true, rest),
            _ => {
                return Err(Mistake::new(
                    "the URL of a Redis server begins with redis:// or, for TLS, rediss://",
                ));
            }
        };
        // Before all else: a password can hold each of the signs below.
        if rest.contains('@') {
            return Err(Mistake::new(
                "the URL of a Redis server has no user and no password here; see the knobs \"username\" and \"password_file\"",
            ));
        }
        if rest.contains(['?', '#']) {
            return Err(Mistake::new(
                "the URL of a Redis server has no query and no fragment here; see the knobs \"ca_file\", \"connect_timeout\" \
                 and \"response_timeout\"",
            ));
        }
        let (authority, path) = rest
            .find('/')
            .map_or((rest, ""), |slash| rest.split_at(slash));
        let (host, port) = host_and_port(authority, USUAL_PORT)?;
        if !matches!(path, "" | "/") {
            return Err(Mistake::new(
                "the URL of a Redis server has no path here, as only database 0 is used; see the knob \"prefix\" for two \
                 fleets on one server",
            ));
        }
        Ok(Self { tls, host, port })
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "rediss" } else { "redis" };
        write!(f, "{scheme}://{}:{}", spelled_host(&self.host), self.port)
    }
}

/// A text in the place of the list is not quoted either.
impl Value for Vec<RedisUrl> {
    fn read(node: &Node) -> Result<Self, Mistake> {
        let read = |node: &Node| {
            node.as_text()
                .ok_or_else(|| Mistake::new("the URL of a Redis server is a text in quotes"))?
                .parse()
        };
        list(node, read).unwrap_or_else(|| {
            Err(Mistake::new(
                "the servers are a list, such as [\"redis://10.0.0.1:6379\"]",
            ))
        })
    }

    fn show(&self) -> Json {
        self.iter()
            .map(|server| Json::from(server.to_string()))
            .collect()
    }
}
