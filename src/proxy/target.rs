//! Request target -> the one path and query that are routed, authenticated and forwarded. It refuses what is ambiguous
//! and knows nothing of keys beyond the names that carry them.

use std::borrow::Cow;

/// The longest `ddforward` value that is looked at, in bytes.
const DDFORWARD_BYTES_MAX: usize = 8 * 1024;

/// Where the request goes, as the sender meant it: the request line's own target, or the one inside `ddforward`.
#[derive(Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// The canonical path.
    pub path: Cow<'a, str>,
    /// The query without its question mark; empty when there is none.
    pub query: Cow<'a, str>,
    /// Path and query of the request line, when the target came out of its `ddforward`.
    pub outer: Option<(&'a str, &'a str)>,
}

/// Why a target is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ambiguity {
    /// The path is not its own normal form: empty or dot segments, encoded slashes, dots or letters, controls.
    Path,
    /// `ddforward` is not a path, is given twice, or holds another `ddforward`.
    Ddforward,
    /// A query name that reads like a carrier of credentials to one parser and not to another.
    QueryName,
    /// A header name that some other hop could read as one of ours.
    HeaderName,
    /// Not exactly one valid Host.
    Host,
    /// Framing that two parsers could read in two ways.
    Framing,
}

impl<'a> Target<'a> {
    /// Reads the target of a request line. A `ddforward` parameter (WIRE 2.4) replaces it: decoded once, its scheme and
    /// host ignored, so that it can never choose where the request goes.
    ///
    /// # Errors
    /// [`Ambiguity`] when two readers could take it for two different targets.
    pub fn read(path: &'a str, query: Option<&'a str>) -> Result<Self, Ambiguity> {
        let query = query.unwrap_or_default();
        let forwarded = ddforward(query)?;
        require_canonical(path)?;
        let Some(forwarded) = forwarded else {
            return Ok(Self {
                path: Cow::Borrowed(path),
                query: Cow::Borrowed(query),
                outer: None,
            });
        };
        let inner = decode(forwarded).ok_or(Ambiguity::Ddforward)?;
        let local = match inner.split_once("://") {
            // The host ends where the path begins; one that ends elsewhere has no path to take.
            Some(("http" | "https", rest)) => {
                let end = rest
                    .find(['/', '?', '#', '@', '\\'])
                    .ok_or(Ambiguity::Ddforward)?;
                rest.get(end..)
                    .filter(|local| local.starts_with('/'))
                    .ok_or(Ambiguity::Ddforward)?
            }
            Some(_) | None => &inner,
        };
        let (inner_path, inner_query) = local.split_once('?').unwrap_or((local, ""));
        require_canonical(inner_path).map_err(|_| Ambiguity::Ddforward)?;
        let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
        if !inner_query.bytes().all(plain) || ddforward(inner_query)?.is_some() {
            return Err(Ambiguity::Ddforward);
        }
        Ok(Self {
            path: Cow::Owned(inner_path.to_owned()),
            query: Cow::Owned(inner_query.to_owned()),
            outer: Some((path, query)),
        })
    }

    /// Whether the target came out of a `ddforward`.
    pub const fn is_forwarded(&self) -> bool {
        self.outer.is_some()
    }

    /// Whether the query says that a browser SDK sent it.
    pub fn says_browser(&self) -> bool {
        self.query
            .split('&')
            .any(|pair| matches!(pair, "ddsource=browser" | "dd-evp-origin=browser"))
    }
}

/// The raw value of the one `ddforward` in a query.
fn ddforward(query: &str) -> Result<Option<&str>, Ambiguity> {
    if !query.contains("ddforward") {
        return Ok(None);
    }
    let mut values = query.split('&').filter_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (name == "ddforward").then_some(value)
    });
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) if (1..=DDFORWARD_BYTES_MAX).contains(&value.len()) => Ok(Some(value)),
        (Some(_), _) => Err(Ambiguity::Ddforward),
    }
}

/// Refuses a path that normalises to something other than itself (RFC 3986, 6.2.2), so that what is matched is what is
/// forwarded: `//`, `.` and `..`, `%2e`, `%2f`, `%5c`, encoded letters and digits, `\`, `;` and anything not visible.
fn require_canonical(path: &str) -> Result<(), Ambiguity> {
    let rest = path.strip_prefix('/').ok_or(Ambiguity::Path)?;
    let plain = |byte: u8| {
        byte.is_ascii_graphic()
            && !matches!(byte, b'\\' | b';' | b'<' | b'>' | b'"' | b'`' | b'#' | b'?')
    };
    if !rest.bytes().all(plain) {
        return Err(Ambiguity::Path);
    }
    let mut segments = rest.split('/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        if matches!(segment, "." | "..") || (segment.is_empty() && !last) {
            return Err(Ambiguity::Path);
        }
    }
    let mut encoded = rest.split('%');
    let _before_the_first = encoded.next();
    for after in encoded {
        let byte = after
            .get(..2)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok())
            .ok_or(Ambiguity::Path)?;
        let unreserved = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        if unreserved || matches!(byte, b'/' | b'\\' | b'%' | b';' | 0..=0x1f | 0x7f) {
            return Err(Ambiguity::Path);
        }
    }
    Ok(())
}

/// Undoes percent-encoding, once. `None` for a bad escape or for bytes that are not UTF-8.
pub fn decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut parts = text.split('%');
    bytes.extend_from_slice(parts.next()?.as_bytes());
    for part in parts {
        let (hex, rest) = part.split_at_checked(2)?;
        if !hex.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(hex, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(target: &str) -> Result<(String, String, bool), Ambiguity> {
        let (path, query) = target
            .split_once('?')
            .map_or((target, None), |(path, query)| (path, Some(query)));
        Target::read(path, query).map(|read| {
            (
                read.path.clone().into(),
                read.query.clone().into(),
                read.is_forwarded(),
            )
        })
    }

    #[test]
    fn canonical_paths_pass_as_they_are() {
        for path in [
            "/",
            "/intake/",
            "/api/v2/series",
            "/api/v1/tags/hosts/a%20b",
            "/api/v2/users/%5Bx%5D",
            "/a/b:c@d",
        ] {
            assert_eq!(
                read(path),
                Ok((path.into(), String::new(), false)),
                "{path}"
            );
        }
    }

    #[test]
    fn paths_that_normalise_to_something_else_are_refused() {
        for path in [
            "",
            "api",
            "//",
            "/api//v2",
            "/api/../x",
            "/api/./x",
            "/..",
            "/a/%2e%2e/b",
            "/a%2fb",
            "/a%2Fb",
            "/a%5cb",
            "/%61pi/v2/series",
            "/a%00b",
            "/a%",
            "/a%2",
            "/a%zz",
            "/a;b",
            "/a\\b",
            "/a%252fb",
            "/a%+1b",
        ] {
            assert_eq!(read(path), Err(Ambiguity::Path), "{path}");
        }
    }

    #[test]
    fn ddforward_names_the_target_but_never_the_host() {
        let inner = (
            "/api/v2/logs".into(),
            "ddsource=browser&dd-api-key=pub1".into(),
            true,
        );
        let relative =
            "/anything?ddforward=%2Fapi%2Fv2%2Flogs%3Fddsource%3Dbrowser%26dd-api-key%3Dpub1";
        let absolute = "/?ddforward=https%3A%2F%2Fevil.example%2Fapi%2Fv2%2Flogs%3Fddsource%3Dbrowser%26dd-api-key%3Dpub1";
        assert_eq!(read(relative), Ok(inner.clone()));
        assert_eq!(read(absolute), Ok(inner));
    }

    #[test]
    fn ambiguous_ddforwards_are_refused() {
        for query in [
            "ddforward=%2Fa&ddforward=%2Fb",
            "ddforward=api%2Fv2%2Flogs",
            "ddforward=https%3A%2F%2Fevil.example",
            "ddforward=ftp%3A%2F%2Fa%2Fb",
            "ddforward=%2Fapi%2F..%2Fv2",
            "ddforward=%2F%2Fevil.example%2Fapi",
            "ddforward=%2Fa%3Fddforward%3D%252Fb",
            "ddforward=%2Fa%3Fx%3D%0D%0A",
            "ddforward=%zz",
            "ddforward",
            "ddforward=",
            "ddforward=%2Fa&ddforward",
            "ddforward=http%3A%2F%2Fevil%3Fx%3D%2Fapi%2Fv2%2Flogs",
            "ddforward=http%3A%2F%2Fevil%23%2Fapi%2Fv2%2Flogs",
            "ddforward=http%3A%2F%2Fa%40b%2Fapi%2Fv2%2Flogs",
            "ddforward=%2Fapi%2Fv2%2Flogs%3Fx%23y",
        ] {
            assert_eq!(
                read(&format!("/?{query}")),
                Err(Ambiguity::Ddforward),
                "{query}"
            );
        }
    }
}
