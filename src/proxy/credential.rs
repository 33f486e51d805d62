//! Request head -> credential: every accepted header, query name and path form (WIRE 1, 7), and so also what to strip.
//! What is authenticated is what is forwarded: one reading gives both. It does not decide.

use std::borrow::Cow;

use http::header::HeaderName;

use super::known::{Known, KnownHeaders};
use super::route::Route;
use super::target::{Ambiguity, Target, decode};
use crate::keys::secret::{Fingerprinter, is_secret};
use crate::keys::{Credential, Presented};

/// Carries an API key or a client token.
pub const DD_API_KEY: HeaderName = HeaderName::from_static("dd-api-key");
/// Carries an application key.
pub const DD_APPLICATION_KEY: HeaderName = HeaderName::from_static("dd-application-key");

/// Headers that carry credentials or could be taken to: removed on every route, whether or not they were looked at.
pub const STRIPPED: [&str; 15] = [
    "dd-api-key",
    "dd-application-key",
    "authorization",
    "proxy-authorization",
    "cookie",
    "x-api-key",
    "api-key",
    "apikey",
    "application-key",
    "app-key",
    "dd-app-key",
    "dd-client-token",
    "x-dd-api-key",
    "x-dd-application-key",
    "x-application-key",
];

/// What a request presented, and what is left to forward.
#[derive(Debug)]
pub struct Extracted<'a> {
    /// The fingerprints.
    pub credential: Credential,
    /// The path without a key in it.
    pub path: Cow<'a, str>,
    /// The query without the carriers.
    pub query: Cow<'a, str>,
    /// Whether anything at all was presented, also where the route does not ask for it.
    pub any: bool,
}

/// What a query name carries.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Carrier {
    Key(&'static str),
    ApplicationKey(&'static str),
    Ddforward,
    Nothing,
}

/// Values of one kind of credential. They are counted, never chosen from: the same value twice is one, two different
/// ones are a conflict.
struct Values<'a> {
    first: Option<Cow<'a, [u8]>>,
    conflict: bool,
}

impl<'a> Values<'a> {
    const fn new() -> Self {
        Self {
            first: None,
            conflict: false,
        }
    }

    fn add(&mut self, value: Cow<'a, [u8]>) {
        match &self.first {
            None => self.first = Some(value),
            Some(first) => self.conflict |= *first != value,
        }
    }

    fn present(self, fingerprinter: &Fingerprinter) -> Presented {
        match self.first {
            _ if self.conflict => Presented::Conflict,
            None => Presented::Nothing,
            Some(value) if is_secret(&value) => Presented::One(fingerprinter.fingerprint(&value)),
            Some(_) => Presented::Malformed,
        }
    }
}

/// Where a credential stands in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// This header.
    Header(&'static str),
    /// This name of the query.
    Query(&'static str),
    /// The path.
    Path,
    /// This name of the query around a `ddforward`.
    OuterQuery(&'static str),
    /// The path around a `ddforward`.
    OuterPath,
}

/// What a credential is presented as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum As {
    /// An API key or a client token.
    Key,
    /// An application key.
    ApplicationKey,
}

/// Reads every carrier of a request.
///
/// # Errors
/// [`Ambiguity::QueryName`] or [`Ambiguity::HeaderName`] for a name that only looks like a carrier: `API_KEY=`,
/// `%61pi_key=`, `api_key[]=`, `dd_api_key:`. Forwarding it could hand a secret on, honouring it would be guessing.
pub fn extract<'a>(
    route: Option<&Route>,
    target: &'a Target<'_>,
    headers: &KnownHeaders<'_>,
    fingerprinter: &Fingerprinter,
) -> Result<Extracted<'a>, Ambiguity> {
    extract_shown(route, target, headers, fingerprinter, |_, _, _| {})
}

/// The same, and each value is shown where it is found. Whoever does not look pays nothing: it is compiled away.
///
/// # Errors
/// As [`extract`].
pub fn extract_shown<'a>(
    route: Option<&Route>,
    target: &'a Target<'_>,
    headers: &KnownHeaders<'_>,
    fingerprinter: &Fingerprinter,
    mut show: impl FnMut(Place, As, &[u8]),
) -> Result<Extracted<'a>, Ambiguity> {
    let mut keys = Values::new();
    let mut application_keys = Values::new();

    for value in headers.values(Known::ApiKey) {
        show(Place::Header("DD-API-KEY"), As::Key, value.as_bytes());
        keys.add(Cow::Borrowed(value.as_bytes()));
    }
    for value in headers.values(Known::ApplicationKey) {
        let place = Place::Header("DD-APPLICATION-KEY");
        show(place, As::ApplicationKey, value.as_bytes());
        application_keys.add(Cow::Borrowed(value.as_bytes()));
    }
    if route.is_some_and(|route| route.reads_bearer) {
        for value in headers.values(Known::Authorization) {
            if let Some((scheme, token)) = value.as_bytes().split_at_checked(7)
                && scheme.eq_ignore_ascii_case(b"bearer ")
            {
                let place = Place::Header("Authorization");
                show(place, As::Key, token.trim_ascii());
                keys.add(Cow::Borrowed(token.trim_ascii()));
            }
        }
    }

    let query = read_query(
        &target.query,
        &mut keys,
        &mut application_keys,
        |name, of, value| show(Place::Query(name), of, value),
    )?;
    if let Some((outer_path, outer_query)) = target.outer {
        let _ = read_query(
            outer_query,
            &mut keys,
            &mut application_keys,
            |name, of, value| show(Place::OuterQuery(name), of, value),
        )?;
        if let Some(key) = outer_path.strip_prefix("/v1/input/") {
            show(Place::OuterPath, As::Key, key.as_bytes());
            keys.add(Cow::Borrowed(key.as_bytes()));
        }
    }

    let mut path = Cow::Borrowed(target.path.as_ref());
    if let Some(prefix) = route.and_then(|route| route.key_after) {
        if let Some(key) = target
            .path
            .strip_prefix(prefix)
            .and_then(|rest| rest.strip_prefix('/'))
        {
            show(Place::Path, As::Key, key.as_bytes());
            keys.add(Cow::Borrowed(key.as_bytes()));
        }
        path = Cow::Owned(prefix.to_owned());
    }

    let any = keys.first.is_some() || application_keys.first.is_some();
    let credential = Credential {
        key: keys.present(fingerprinter),
        application_key: application_keys.present(fingerprinter),
    };
    Ok(Extracted {
        credential,
        path,
        query,
        any,
    })
}

/// Collects the carriers of a query and returns what is left of it, byte for byte.
fn read_query<'q: 'v, 'v>(
    query: &'q str,
    keys: &mut Values<'v>,
    application_keys: &mut Values<'v>,
    mut show: impl FnMut(&'static str, As, &[u8]),
) -> Result<Cow<'q, str>, Ambiguity> {
    if query.is_empty() {
        return Ok(Cow::Borrowed(query));
    }
    let mut carriers = 0_usize;
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if let Some((_, hidden)) = value.split_once(';') {
            hidden.split(';').try_for_each(require_no_carrier)?;
        }
        let values = match carrier(name)? {
            Carrier::Nothing => continue,
            Carrier::Ddforward => None,
            Carrier::Key(name) => Some((name, As::Key, &mut *keys)),
            Carrier::ApplicationKey(name) => {
                Some((name, As::ApplicationKey, &mut *application_keys))
            }
        };
        carriers += 1;
        if let Some((name, of, values)) = values {
            let value = match decode(value) {
                Some(Cow::Borrowed(value)) => Cow::Borrowed(value.as_bytes()),
                Some(Cow::Owned(value)) => Cow::Owned(value.into_bytes()),
                // Not a secret, but something was presented: an empty value is malformed, not missing.
                None => Cow::Borrowed(&b""[..]),
            };
            show(name, of, &value);
            values.add(value);
        }
    }
    if carriers == 0 {
        return Ok(Cow::Borrowed(query));
    }
    let mut rest = String::with_capacity(query.len());
    for pair in query.split('&') {
        let name = pair.split_once('=').map_or(pair, |(name, _)| name);
        if carrier(name)? == Carrier::Nothing {
            if !rest.is_empty() {
                rest.push('&');
            }
            rest.push_str(pair);
        }
    }
    Ok(Cow::Owned(rest))
}

/// Refuses a carrier where only some readers would see one.
fn require_no_carrier(pair: &str) -> Result<(), Ambiguity> {
    match carrier(pair)? {
        Carrier::Nothing => Ok(()),
        Carrier::Key(_) | Carrier::ApplicationKey(_) | Carrier::Ddforward => {
            Err(Ambiguity::QueryName)
        }
    }
}

fn carrier(name: &str) -> Result<Carrier, Ambiguity> {
    match name {
        "api_key" => return Ok(Carrier::Key("api_key")),
        "dd-api-key" => return Ok(Carrier::Key("dd-api-key")),
        "application_key" => return Ok(Carrier::ApplicationKey("application_key")),
        "dd-application-key" => return Ok(Carrier::ApplicationKey("dd-application-key")),
        "ddforward" => return Ok(Carrier::Ddforward),
        _ => {}
    }
    // A reader that decodes, folds case, takes `;` for `&` or brackets for a list would find a carrier here.
    let decoded = decode(name).ok_or(Ambiguity::QueryName)?;
    for part in decoded.split([';', '&']) {
        let part = part.split(['[', '=']).next().unwrap_or_default();
        let folded: String = part
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .map(|c| c.to_ascii_lowercase())
            .collect();
        if matches!(
            folded.as_str(),
            "apikey"
                | "ddapikey"
                | "applicationkey"
                | "ddapplicationkey"
                | "appkey"
                | "ddappkey"
                | "ddforward"
        ) {
            return Err(Ambiguity::QueryName);
        }
    }
    Ok(Carrier::Nothing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::keyring::Keyring;
    use std::sync::LazyLock;

    static KEYRING: LazyLock<Keyring> = LazyLock::new(|| Keyring::generate().unwrap());

    fn fingerprinter() -> Fingerprinter {
        KEYRING.fingerprinter()
    }

    fn one(secret: &str) -> Presented {
        Presented::One(fingerprinter().fingerprint(secret.as_bytes()))
    }

    fn read(
        query: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<(Presented, Presented, String), Ambiguity> {
        let target = Target::read("/api/v1/series", Some(query)).unwrap();
        let mut map = http::HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let extracted = extract(None, &target, &KnownHeaders::of(&map), &fingerprinter())?;
        let Credential {
            key,
            application_key,
        } = extracted.credential;
        Ok((key, application_key, extracted.query.into_owned()))
    }

    #[test]
    fn every_carrier_is_read_and_removed() {
        let nothing = Presented::Nothing;
        assert_eq!(
            read("", &[("dd-api-key", "k")]),
            Ok((one("k"), nothing, String::new()))
        );
        assert_eq!(
            read("api_key=k&a=1", &[]),
            Ok((one("k"), nothing, "a=1".into()))
        );
        assert_eq!(
            read("a=%20&dd-api-key=k&b", &[]),
            Ok((one("k"), nothing, "a=%20&b".into()))
        );
        assert_eq!(
            read(
                "application_key=p&api_key=k",
                &[("dd-application-key", "p")]
            ),
            Ok((one("k"), one("p"), String::new()))
        );
    }

    #[test]
    fn the_same_credential_twice_is_one_and_two_are_a_conflict() {
        assert_eq!(
            read("api_key=k", &[("dd-api-key", "k")]).unwrap().0,
            one("k")
        );
        assert_eq!(
            read("api_key=%6b", &[("dd-api-key", "k")]).unwrap().0,
            one("k")
        );
        assert_eq!(
            read("api_key=k&dd-api-key=l", &[]).unwrap().0,
            Presented::Conflict
        );
        assert_eq!(
            read("", &[("dd-api-key", "k"), ("dd-api-key", "l")])
                .unwrap()
                .0,
            Presented::Conflict
        );
    }

    #[test]
    fn look_alikes_are_refused_and_never_forwarded() {
        for query in [
            "API_KEY=k",
            "%61pi_key=k",
            "api_key[]=k",
            "api%5Fkey=k",
            "Api-Key=k",
            "dd_api_key=k",
            "api_key%00=k",
            "api_key[0]=k",
            "a=1;api_key=k",
            "api_key%3Dk=1",
            "apikey=k",
            "app_key=p",
        ] {
            assert_eq!(read(query, &[]), Err(Ambiguity::QueryName), "{query}");
        }
        assert!(read("monkey=1&api_keys=2&filter[api_key]=3", &[]).is_ok());
    }

    #[test]
    fn what_no_secret_can_be_is_malformed_not_missing() {
        for query in ["api_key=", "api_key=a%20b", "api_key=%zz", "api_key"] {
            assert_eq!(read(query, &[]).unwrap().0, Presented::Malformed, "{query}");
        }
    }
}
