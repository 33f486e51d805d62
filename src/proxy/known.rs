//! The headers that the steps ask for, looked through once: most requests have few of them, and asking a map for a name that it
//! lacks costs as much as for one that it has. What they mean, each step knows.

use http::header::{self, GetAll, HeaderMap, HeaderName, HeaderValue};

/// A header that some step asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// `Host`.
    Host,
    /// `Upgrade`.
    Upgrade,
    /// `Transfer-Encoding`.
    TransferEncoding,
    /// `Content-Length`.
    ContentLength,
    /// `Content-Type`.
    ContentType,
    /// `Expect`.
    Expect,
    /// `Connection`.
    Connection,
    /// `Origin`: the request is a page's.
    Origin,
    /// `User-Agent`.
    UserAgent,
    /// `DD-EVP-ORIGIN`: the request is an agent's.
    EvpOrigin,
    /// `X-Request-ID`.
    RequestId,
    /// `traceparent`.
    Traceparent,
    /// `X-Forwarded-For`.
    ForwardedFor,
    /// `X-Forwarded-Proto`.
    ForwardedProto,
    /// `DD-API-KEY`.
    ApiKey,
    /// `DD-APPLICATION-KEY`.
    ApplicationKey,
    /// `Authorization`.
    Authorization,
    /// `Referer`.
    Referer,
}

impl Known {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "host" => Self::Host,
            "upgrade" => Self::Upgrade,
            "transfer-encoding" => Self::TransferEncoding,
            "content-length" => Self::ContentLength,
            "content-type" => Self::ContentType,
            "expect" => Self::Expect,
            "connection" => Self::Connection,
            "origin" => Self::Origin,
            "user-agent" => Self::UserAgent,
            "dd-evp-origin" => Self::EvpOrigin,
            "x-request-id" => Self::RequestId,
            "traceparent" => Self::Traceparent,
            "x-forwarded-for" => Self::ForwardedFor,
            "x-forwarded-proto" => Self::ForwardedProto,
            "dd-api-key" => Self::ApiKey,
            "dd-application-key" => Self::ApplicationKey,
            "authorization" => Self::Authorization,
            "referer" => Self::Referer,
            _ => return None,
        })
    }

    /// Its name.
    pub const fn name(self) -> HeaderName {
        match self {
            Self::Host => header::HOST,
            Self::Upgrade => header::UPGRADE,
            Self::TransferEncoding => header::TRANSFER_ENCODING,
            Self::ContentLength => header::CONTENT_LENGTH,
            Self::ContentType => header::CONTENT_TYPE,
            Self::Expect => header::EXPECT,
            Self::Connection => header::CONNECTION,
            Self::Origin => header::ORIGIN,
            Self::UserAgent => header::USER_AGENT,
            Self::EvpOrigin => HeaderName::from_static("dd-evp-origin"),
            Self::RequestId => HeaderName::from_static("x-request-id"),
            Self::Traceparent => HeaderName::from_static("traceparent"),
            Self::ForwardedFor => HeaderName::from_static("x-forwarded-for"),
            Self::ForwardedProto => HeaderName::from_static("x-forwarded-proto"),
            Self::ApiKey => HeaderName::from_static("dd-api-key"),
            Self::ApplicationKey => HeaderName::from_static("dd-application-key"),
            Self::Authorization => header::AUTHORIZATION,
            Self::Referer => header::REFERER,
        }
    }

    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// Which of the known headers a request has.
#[derive(Clone, Copy, Debug, Default)]
pub struct KnownNames {
    bits: u32,
    folds: bool,
}

impl KnownNames {
    /// Looks through the headers.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut names = Self::default();
        for name in headers.keys() {
            let name = name.as_str();
            match Known::of(name) {
                Some(known) => names.bits |= known.bit(),
                None => {
                    names.folds |= name
                        .bytes()
                        .fold(false, |found, byte| found | (byte == b'_'))
                }
            }
        }
        names
    }

    /// Whether there is one.
    pub const fn has(self, known: Known) -> bool {
        self.bits & known.bit() != 0
    }

    /// Whether a name has an underscore, which some readers take for a dash.
    pub const fn has_folded(self) -> bool {
        self.folds
    }

    /// The headers with what is known of them.
    pub const fn with(self, map: &HeaderMap) -> KnownHeaders<'_> {
        KnownHeaders { map, names: self }
    }
}

/// A request's headers, and which of the known ones are among them.
#[derive(Clone, Copy, Debug)]
pub struct KnownHeaders<'a> {
    /// All of them.
    pub map: &'a HeaderMap,
    /// Which are known.
    pub names: KnownNames,
}

impl<'a> KnownHeaders<'a> {
    /// Looks through the headers.
    pub fn of(map: &'a HeaderMap) -> Self {
        KnownNames::of(map).with(map)
    }

    /// Whether there is one.
    pub const fn has(&self, known: Known) -> bool {
        self.names.has(known)
    }

    /// The first one's value.
    pub fn get(&self, known: Known) -> Option<&'a HeaderValue> {
        if self.has(known) {
            self.map.get(known.name())
        } else {
            None
        }
    }

    /// All its values; `None` when there is no such header.
    pub fn get_all(&self, known: Known) -> Option<GetAll<'a, HeaderValue>> {
        self.has(known).then(|| self.map.get_all(known.name()))
    }

    /// Its values.
    pub fn values(&self, known: Known) -> impl Iterator<Item = &'a HeaderValue> + use<'a> {
        self.get_all(known).into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_found_by_its_own_name() {
        let all = [
            Known::Host,
            Known::Upgrade,
            Known::TransferEncoding,
            Known::ContentLength,
            Known::ContentType,
            Known::Expect,
            Known::Connection,
            Known::Origin,
            Known::UserAgent,
            Known::EvpOrigin,
            Known::RequestId,
            Known::Traceparent,
            Known::ForwardedFor,
            Known::ForwardedProto,
            Known::ApiKey,
            Known::ApplicationKey,
            Known::Authorization,
            Known::Referer,
        ];
        for known in all {
            assert_eq!(Known::of(known.name().as_str()), Some(known));
            let mut map = HeaderMap::new();
            map.append(known.name(), HeaderValue::from_static("a"));
            map.append(known.name(), HeaderValue::from_static("b"));
            let headers = KnownHeaders::of(&map);
            assert_eq!(headers.values(known).count(), 2, "{known:?}");
            for other in all.into_iter().filter(|other| *other != known) {
                assert!(headers.get(other).is_none() && headers.get_all(other).is_none());
            }
        }
    }
}
