//! Which path and query a request means. It decides nothing about them.

use std::borrow::Cow;

use hyper::Uri;

/// The path and query to answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target<'a> {
    pub path: Cow<'a, str>,
    pub query: Cow<'a, str>,
}

impl<'a> Target<'a> {
    /// Reads a request's target. A `ddforward` parameter, which a browser SDK pointed at a proxy sends on whatever path
    /// its owner chose, holds the one that is meant; one that names nothing we know how to read becomes the empty path,
    /// which no row answers.
    pub(super) fn of(uri: &'a Uri) -> Self {
        let query = uri.query().unwrap_or_default();
        let Some(inner) = parameter(query, "ddforward") else {
            return Self {
                path: uri.path().into(),
                query: query.into(),
            };
        };
        let (path, query) = forwarded(&inner).unwrap_or_default();
        Self {
            path: path.to_owned().into(),
            query: query.to_owned().into(),
        }
    }
}

/// The path and query inside a `ddforward` value: relative since v4, a whole URL before. The host is dropped, for
/// following it would make an open proxy.
fn forwarded(inner: &str) -> Option<(&str, &str)> {
    let after_host = match inner
        .strip_prefix("https://")
        .or_else(|| inner.strip_prefix("http://"))
    {
        Some(rest) => rest.get(rest.find('/')?..)?,
        None => inner,
    };
    let (path, query) = after_host.split_once('?').unwrap_or((after_host, ""));
    (path.starts_with("/api/v2/") || path.starts_with("/v1/input")).then_some((path, query))
}

/// The first value of a query parameter, percent-decoded, as is its name (clients differ in whether they encode the
/// brackets of `page[size]`).
pub(super) fn parameter<'a>(query: &'a str, name: &str) -> Option<Cow<'a, str>> {
    query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .find(|(key, _)| percent_decoded(key) == name)
        .map(|(_, value)| percent_decoded(value))
}

/// Undoes percent-encoding. What is not a valid escape stays as it is, and what is not UTF-8 afterwards is replaced.
fn percent_decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = match tail {
            [high, low, after @ ..] if first == b'%' => {
                hex_pair(*high, *low).map(|byte| (byte, after))
            }
            _ => None,
        };
        let (byte, after) = escaped.unwrap_or((first, tail));
        bytes.push(byte);
        rest = after;
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

fn hex_pair(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|value| u8::try_from(value).ok())
    };
    Some(digit(high)? << 4 | digit(low)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> (String, String) {
        let uri: Uri = text.parse().unwrap();
        let target = Target::of(&uri);
        (target.path.into_owned(), target.query.into_owned())
    }

    fn pair(path: &str, query: &str) -> (String, String) {
        (path.to_owned(), query.to_owned())
    }

    #[test]
    fn plain_target_is_itself() {
        assert_eq!(target("/api/v2/logs?a=b"), pair("/api/v2/logs", "a=b"));
        assert_eq!(target("http://host/api/v2/logs"), pair("/api/v2/logs", ""));
        assert_eq!(target("*"), pair("*", ""));
        assert_eq!(target("host:80"), pair("", ""));
    }

    #[test]
    fn ddforward_holds_the_target_and_its_host_is_ignored() {
        let relative = "/any?ddforward=%2Fapi%2Fv2%2Flogs%3Fddsource%3Dbrowser%26ddtags%3Da%253Ab";
        assert_eq!(
            target(relative),
            pair("/api/v2/logs", "ddsource=browser&ddtags=a%3Ab")
        );
        let absolute =
            "/?ddforward=https%3A%2F%2Fintake.example%2Fv1%2Finput%2Fpub0%3Fddsource%3Dbrowser";
        assert_eq!(target(absolute), pair("/v1/input/pub0", "ddsource=browser"));
    }

    #[test]
    fn ddforward_to_anything_else_names_nothing() {
        for value in [
            "",
            "%2F",
            "%2F%2Fhost%2Fapi%2Fv2%2Flogs",
            "https%3A%2F%2Fhost",
            "%2Fapi%2Fv1%2Fuser",
            "%FF%",
            "ftp:x",
        ] {
            assert_eq!(
                target(&format!("/?ddforward={value}")),
                pair("", ""),
                "{value}"
            );
        }
    }

    #[test]
    fn parameters_are_decoded_and_bad_escapes_kept() {
        assert_eq!(
            parameter("a=1&page%5Bsize%5D=2&a=3", "page[size]").unwrap(),
            "2"
        );
        assert_eq!(parameter("a=1&a=3", "a").unwrap(), "1");
        assert_eq!(parameter("a", "a").unwrap(), "");
        assert_eq!(parameter("a=%zz%4", "a").unwrap(), "%zz%4");
        assert_eq!(parameter("a=%+1", "a").unwrap(), "%+1");
        assert_eq!(parameter("", "a"), None);
    }
}
