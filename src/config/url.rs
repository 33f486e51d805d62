//! The address of an upstream, taken apart and checked once. How it is reached is `proxy`.

use super::error::Mistake;
use super::source::Node;
use super::value::Value;
use serde_json::Value as Json;
use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// Where an upstream is: `http://` or `https://`, a host, perhaps a port, perhaps a path that goes before every path
/// forwarded there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamUrl {
    /// Whether the connection is made over TLS.
    pub https: bool,
    /// A name in lower case or an address; an IPv6 address without its brackets.
    pub host: String,
    /// The port, also when it is the usual one of the scheme.
    pub port: u16,
    /// The value of the `host` header: the host, IPv6 in brackets, and the port unless it is the usual one.
    pub authority: String,
    /// Empty, or a path that begins with a slash and does not end with one.
    pub path_prefix: String,
}

impl UpstreamUrl {
    /// Whether the host is this machine by its address.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost"
            || IpAddr::from_str(&self.host).is_ok_and(|address| address.is_loopback())
    }

    const fn usual_port(https: bool) -> u16 {
        if https { 443 } else { 80 }
    }
}

impl FromStr for UpstreamUrl {
    type Err = Mistake;

    /// The text is never quoted in an error: it may hold a password, or a key in its query.
    fn from_str(text: &str) -> Result<Self, Mistake> {
        let (https, rest) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
            _ => return Err(Mistake::new("a URL here begins with http:// or https://")),
        };
        if rest.contains(['?', '#']) {
            return Err(Mistake::new("a URL here has no query and no fragment"));
        }
        let (authority, path) = rest
            .find('/')
            .map_or((rest, ""), |slash| rest.split_at(slash));
        if authority.contains('@') {
            return Err(Mistake::new(
                "a URL here has no user and no password; see the knob \"credential\"",
            ));
        }
        let usual = Self::usual_port(https);
        let (host, port) = host_and_port(authority, usual)?;
        if !is_plain_path(path) {
            return Err(Mistake::new(
                "the URL's path has an empty or dotted part, or a character that would need an escape",
            ));
        }
        let spelled = spelled_host(&host);
        let authority = if port == usual {
            spelled.into_owned()
        } else {
            format!("{spelled}:{port}")
        };
        Ok(Self {
            https,
            host,
            port,
            authority,
            path_prefix: path.trim_end_matches('/').to_owned(),
        })
    }
}

impl fmt::Display for UpstreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.path_prefix)
    }
}

impl Value for UpstreamUrl {
    fn read(node: &Node) -> Result<Self, Mistake> {
        node.as_text()
            .ok_or_else(|| Mistake::new("a URL is a text in quotes"))?
            .parse()
    }

    fn show(&self) -> Json {
        Json::from(self.to_string())
    }
}

/// The host in lower case, an IPv6 address without its brackets, and the port, the usual one when none is written. The
/// text is not quoted in an error.
pub(super) fn host_and_port(authority: &str, usual: u16) -> Result<(String, u16), Mistake> {
    let (host, port) = match authority
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, Some(port.strip_prefix(':').unwrap_or_default())),
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let is_host = if authority.starts_with('[') {
        Ipv6Addr::from_str(host).is_ok()
    } else {
        is_host(host)
    };
    if !is_host {
        return Err(Mistake::new(
            "the URL has no host, or one that is neither a name nor an address",
        ));
    }
    let port = match port {
        None => usual,
        Some(port) => port
            .parse::<u16>()
            .ok()
            .filter(|number| *number > 0 && port.bytes().all(|byte| byte.is_ascii_digit()))
            .ok_or_else(|| Mistake::new("the URL's port is not a number from 1 to 65535"))?,
    };
    Ok((host.to_ascii_lowercase(), port))
}

/// The host as a URL has it: an IPv6 address in brackets.
pub(super) fn spelled_host(host: &str) -> Cow<'_, str> {
    if host.contains(':') {
        Cow::Owned(format!("[{host}]"))
    } else {
        Cow::Borrowed(host)
    }
}

/// A name of letters, digits, hyphens and underscores in labels, or an IPv4 address. Names of digits and dots that are
/// no address are refused, because resolvers do not agree on them.
fn is_host(host: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let is_name = host.len() <= 253
        && host
            .strip_suffix('.')
            .unwrap_or(host)
            .split('.')
            .all(is_label);
    let looks_like_address = host
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    is_name && (!looks_like_address || IpAddr::from_str(host).is_ok())
}

/// Whether a path is what it normalises to, whoever normalises it: no escapes, no empty part, no `.` and `..`.
/// Nothing at all is such a path, and a slash at the end is allowed.
pub(super) fn is_plain_path(path: &str) -> bool {
    let Some(rest) = path.strip_prefix('/') else {
        return path.is_empty();
    };
    let parts = rest.strip_suffix('/').unwrap_or(rest).split('/');
    let is_plain = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()+,;=:@".contains(&byte))
    };
    rest.is_empty() || parts.into_iter().all(is_plain)
}
