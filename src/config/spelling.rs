//! Checks of texts that have a spelling of their own: methods, paths, names, secrets. They check one text, not two
//! against each other: that is `together`.

use super::error::Mistake;
use super::url::is_plain_path;
use http::{HeaderName, Method};
use std::str::FromStr;

/// Headers that say where a message goes or ends. A credential in their place would break it.
const FRAMING_HEADERS: [&str; 7] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "te",
    "transfer-encoding",
    "upgrade",
];

pub(super) fn method(text: &String) -> Result<(), Mistake> {
    let upper = text.to_ascii_uppercase();
    if text == "*" || (Method::from_str(text).is_ok() && *text == upper) {
        return Ok(());
    }
    // RFC 9110, 9.1: methods are case-sensitive, so "get" would match nothing.
    Err(Mistake::new(match Method::from_str(&upper) {
        Ok(upper) => format!("{text:?} is not a method in capitals; write \"{upper}\""),
        Err(_) => format!("{text:?} is not a method, nor \"*\" for any"),
    }))
}

/// A path as a route has it: exact, or everything below when it ends with `/*`.
pub(super) fn route_path(text: &String) -> Result<(), Mistake> {
    let exact = text
        .strip_suffix('*')
        .filter(|exact| exact.ends_with('/'))
        .unwrap_or(text);
    if exact.contains('*') {
        return Err(Mistake::new(format!(
            "{text:?} has a \"*\" that is not the end, as in \"/own/*\""
        )));
    }
    if !exact.starts_with('/') {
        return Err(Mistake::new(format!(
            "{text:?} is not a path: it does not begin with \"/\""
        )));
    }
    if !is_plain_path(exact) {
        return Err(Mistake::new(format!(
            "{text:?} would match nothing: a path with an escape, a query, an empty or dotted part is refused before"
        )));
    }
    Ok(())
}

pub(super) fn header_name(text: &String) -> Result<(), Mistake> {
    let Ok(name) = HeaderName::from_str(text) else {
        return Err(Mistake::new(format!(
            "{text:?} is not the name of a header"
        )));
    };
    if FRAMING_HEADERS.contains(&name.as_str()) {
        return Err(Mistake::new(format!(
            "the header {text:?} frames the message and cannot carry a credential"
        )));
    }
    Ok(())
}

/// The name of a query parameter, or of what Sentinel watches: both allow the same characters.
pub(super) fn plain_name(text: &String) -> Result<(), Mistake> {
    if text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
    {
        return Ok(());
    }
    Err(Mistake::new(format!(
        "{text:?} is not a name of letters, digits, \"-\", \".\" and \"_\""
    )))
}

/// What a header can carry as it is. The secret is not quoted.
pub(super) fn credential(secret: &str) -> Result<(), Mistake> {
    if secret
        .bytes()
        .all(|byte| byte == b' ' || byte.is_ascii_graphic())
        && secret.trim() == secret
    {
        return Ok(());
    }
    Err(Mistake::new(
        "has a character that a header cannot carry, or a space at its start or end",
    ))
}

/// What a root key is. The secret is not quoted.
pub(super) fn root_key(secret: &str) -> Result<(), Mistake> {
    if secret.len() == 64 && secret.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(());
    }
    Err(Mistake::new(
        "is not 64 hexadecimal digits, as \"openssl rand -hex 32\" makes them",
    ))
}

/// The password is not quoted. Redis takes any bytes; a line's end among them is a file with a line too many.
pub(super) fn redis_password(secret: &str) -> Result<(), Mistake> {
    if secret.contains(char::is_control) {
        return Err(Mistake::new(
            "has a control character, such as the end of a line",
        ));
    }
    Ok(())
}

pub(super) fn redis_user(text: &String) -> Result<(), Mistake> {
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(Mistake::new(format!(
            "{text:?} is not the name of a user: it has a space or a control character"
        )));
    }
    Ok(())
}

/// What every key in Redis begins with. Braces would move the hash tag, and a pattern's signs would make an ACL's
/// pattern say something else.
pub(super) fn redis_prefix(text: &String) -> Result<(), Mistake> {
    let is_plain = text
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte));
    if is_plain && (1..=32).contains(&text.len()) {
        return Ok(());
    }
    Err(Mistake::new(format!(
        "{text:?} is not 1 to 32 of lower-case letters, digits, \".\", \"_\" and \"-\""
    )))
}

/// A name that goes into tables and logs as it is.
pub(super) fn node_name(text: &String) -> Result<(), Mistake> {
    if text.bytes().all(|byte| byte.is_ascii_graphic()) && (1..=64).contains(&text.len()) {
        return Ok(());
    }
    Err(Mistake::new(format!(
        "{text:?} is not 1 to 64 visible characters of ASCII"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(result: Result<(), Mistake>) -> String {
        result.expect_err("refused").to_string()
    }

    #[test]
    fn a_method_is_in_capitals_or_any() {
        for right in ["*", "GET", "PROPFIND"] {
            assert_eq!(method(&right.to_owned()), Ok(()), "{right}");
        }
        assert_eq!(
            said(method(&"get".to_owned())),
            "\"get\" is not a method in capitals; write \"GET\""
        );
        assert_eq!(
            said(method(&"G T".to_owned())),
            "\"G T\" is not a method, nor \"*\" for any"
        );
    }

    #[test]
    fn a_route_path_is_one_that_a_request_can_have() {
        for right in ["/", "/*", "/own", "/own/", "/own/*", "/a/b-c_d.e~f/@"] {
            assert_eq!(route_path(&right.to_owned()), Ok(()), "{right}");
        }
        for wrong in [
            "own", "", "*", "/own*", "/*/own", "//", "//own", "/a//*", "/a/../b", "/./", "/%61",
            "/a?b", "/a b",
        ] {
            assert!(route_path(&wrong.to_owned()).is_err(), "{wrong}");
        }
        assert_eq!(
            said(route_path(&"/own*".to_owned())),
            "\"/own*\" has a \"*\" that is not the end, as in \"/own/*\""
        );
        assert_eq!(
            said(route_path(&"own".to_owned())),
            "\"own\" is not a path: it does not begin with \"/\""
        );
        assert_eq!(
            said(route_path(&"/a/../b".to_owned())),
            "\"/a/../b\" would match nothing: a path with an escape, a query, an empty or dotted part is refused before"
        );
    }

    #[test]
    fn a_credential_goes_where_one_can_go() {
        assert_eq!(header_name(&"DD-API-KEY".to_owned()), Ok(()));
        assert_eq!(
            said(header_name(&"dd api".to_owned())),
            "\"dd api\" is not the name of a header"
        );
        assert_eq!(
            said(header_name(&"Host".to_owned())),
            "the header \"Host\" frames the message and cannot carry a credential"
        );
        assert_eq!(plain_name(&"api_key".to_owned()), Ok(()));
        assert_eq!(
            said(plain_name(&"a&b".to_owned())),
            "\"a&b\" is not a name of letters, digits, \"-\", \".\" and \"_\""
        );
    }

    #[test]
    fn a_secret_is_checked_and_not_quoted() {
        assert_eq!(credential("Bearer abc"), Ok(()));
        assert!(!said(credential("hunter2\n")).contains("hunter2"));
        assert_eq!(root_key(&"0aF9".repeat(16)), Ok(()));
        assert!(!said(root_key("hunter2")).contains("hunter2"));
        assert_eq!(redis_password("any: \"text\" of one line, \u{e9}"), Ok(()));
        assert!(!said(redis_password("hunter2\nhunter3")).contains("hunter"));
    }
}
