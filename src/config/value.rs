//! What a value can be: counts, durations, sizes, addresses, paths, words. What it is for is not known here.

use super::error::Mistake;
use super::source::{Body, Node};
use ipnet::IpNet;
use serde_json::Value as Json;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// The greatest count. Beyond it a typing error is likelier than a wish, and the queues of the runtime have a limit.
const COUNT_MAX: u32 = 1_000_000_000;

/// The longest duration: ten years. The clock can be moved by it without leaving its range.
const DURATION_DAYS_MAX: u64 = 3650;

/// A type that a knob can have.
pub(super) trait Value: Sized + 'static {
    fn read(node: &Node) -> Result<Self, Mistake>;

    /// As JSON, whose texts, numbers and lists of texts are TOML too. Reading it gives the same value.
    fn show(&self) -> Json;

    /// The words it can be, if it is one of a few.
    fn words() -> &'static [Word] {
        &[]
    }
}

/// One of the words that a knob can be.
pub(super) struct Word {
    pub(super) spelling: &'static str,
    /// The lines of its doc comment.
    pub(super) about: &'static [&'static str],
}

/// Declares an enum whose variants are words in the configuration.
macro_rules! words {
    (
        $(#[doc = $about:literal])*
        pub enum $type:ident {
            $($(#[doc = $doc:literal])* $variant:ident = $spelling:literal,)+
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $type {
            $($(#[doc = $doc])* $variant,)+
        }

        impl $type {
            /// Every one of them, in the order of the declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $spelling,)+
                }
            }
        }

        impl $crate::config::value::Value for $type {
            fn read(node: &$crate::config::source::Node) -> Result<Self, $crate::config::error::Mistake> {
                $crate::config::value::read_word(node, Self::ALL, Self::as_str)
            }

            fn show(&self) -> serde_json::Value {
                serde_json::Value::from(self.as_str())
            }

            fn words() -> &'static [$crate::config::value::Word] {
                &[$($crate::config::value::Word { spelling: $spelling, about: &[$($doc),*] }),+]
            }
        }
    };
}
pub(super) use words;

pub(super) fn read_word<T: Copy>(
    node: &Node,
    all: &[T],
    spelling: fn(T) -> &'static str,
) -> Result<T, Mistake> {
    let known: Vec<String> = all
        .iter()
        .map(|word| format!("\"{}\"", spelling(*word)))
        .collect();
    let found = node.as_text();
    all.iter()
        .copied()
        .find(|word| found == Some(spelling(*word)))
        .ok_or_else(|| node.is_not(&format!("one of {}", known.join(", "))))
}

impl Node {
    /// The text, if it is one.
    pub(super) fn as_text(&self) -> Option<&str> {
        match &self.body {
            Body::Text(text) | Body::Loose(text) => Some(text),
            Body::Number(_) | Body::List(_) | Body::Table(_) | Body::Other(_) => None,
        }
    }

    /// "what was found is not what was wanted". It quotes the text: not for secrets.
    fn is_not(&self, wanted: &str) -> Mistake {
        let found = match &self.body {
            Body::Text(text) | Body::Loose(text) => format!("{text:?}"),
            Body::Number(number) => number.to_string(),
            Body::List(_) => "a list".to_owned(),
            Body::Table(_) => "a section".to_owned(),
            Body::Other(kind) => (*kind).to_owned(),
        };
        Mistake::new(format!("{found} is not {wanted}"))
    }
}

impl Value for String {
    fn read(node: &Node) -> Result<Self, Mistake> {
        match node.as_text() {
            Some("") => Err(Mistake::new("is empty")),
            Some(text) => Ok(text.to_owned()),
            None => Err(node.is_not("a text in quotes")),
        }
    }

    fn show(&self) -> Json {
        Json::from(self.as_str())
    }
}

impl Value for PathBuf {
    fn read(node: &Node) -> Result<Self, Mistake> {
        let path = String::read(node)?;
        if path.contains('\0') {
            return Err(node.is_not("a path: it has a zero character"));
        }
        Ok(Self::from(path))
    }

    fn show(&self) -> Json {
        Json::from(self.to_string_lossy())
    }
}

impl Value for u32 {
    fn read(node: &Node) -> Result<Self, Mistake> {
        let number = match &node.body {
            Body::Number(number) => Some(*number),
            Body::Loose(text) => text.parse().ok(),
            Body::Text(_) | Body::List(_) | Body::Table(_) | Body::Other(_) => None,
        };
        number
            .and_then(|number| Self::try_from(number).ok())
            .filter(|number| *number <= COUNT_MAX)
            .ok_or_else(|| {
                node.is_not(&format!(
                    "a whole number from 0 to {COUNT_MAX}, without quotes"
                ))
            })
    }

    fn show(&self) -> Json {
        Json::from(*self)
    }
}

impl Value for usize {
    fn read(node: &Node) -> Result<Self, Mistake> {
        u32::read(node).map(|number| number as Self)
    }

    fn show(&self) -> Json {
        Json::from(*self)
    }
}

impl Value for u64 {
    fn read(node: &Node) -> Result<Self, Mistake> {
        u32::read(node).map(Self::from)
    }

    fn show(&self) -> Json {
        Json::from(*self)
    }
}

impl Value for SocketAddr {
    fn read(node: &Node) -> Result<Self, Mistake> {
        node.as_text()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| {
                node.is_not("an address with a port, such as \"127.0.0.1:8080\" or \"[::1]:8080\"")
            })
    }

    fn show(&self) -> Json {
        Json::from(self.to_string())
    }
}

impl Value for Vec<String> {
    fn read(node: &Node) -> Result<Self, Mistake> {
        list(node, String::read)
            .unwrap_or_else(|| Err(node.is_not("a list, such as [\"default\"]")))
    }

    fn show(&self) -> Json {
        self.iter().map(|text| Json::from(text.as_str())).collect()
    }
}

impl Value for Vec<IpNet> {
    fn read(node: &Node) -> Result<Self, Mistake> {
        list(node, network)
            .unwrap_or_else(|| Err(node.is_not("a list, such as [\"10.0.0.0/8\", \"::1\"]")))
    }

    fn show(&self) -> Json {
        self.iter()
            .map(|network| Json::from(network.to_string()))
            .collect()
    }
}

/// A list, each element read by itself; `None` for what is no list. In a variable the elements are separated by commas.
pub(super) fn list<T>(
    node: &Node,
    read: impl Fn(&Node) -> Result<T, Mistake>,
) -> Option<Result<Vec<T>, Mistake>> {
    match &node.body {
        Body::List(list) => Some(list.iter().map(read).collect()),
        Body::Loose(text) if text.trim().is_empty() => Some(Ok(Vec::new())),
        Body::Loose(text) => Some(
            text.split(',')
                .map(|part| {
                    let body = Body::Loose(part.trim().to_owned());
                    read(&Node {
                        origin: node.origin.clone(),
                        body,
                    })
                })
                .collect(),
        ),
        Body::Text(_) | Body::Number(_) | Body::Table(_) | Body::Other(_) => None,
    }
}

/// A network, or an address as the network of itself. Bits beyond the prefix are refused, not cut off: `10.1.2.3/8`
/// is trusted wider than whoever wrote `10.1.2.3` had in mind.
fn network(node: &Node) -> Result<IpNet, Mistake> {
    let text = node.as_text().unwrap_or_default();
    let network = IpNet::from_str(text)
        .or_else(|_| IpAddr::from_str(text).map(IpNet::from))
        .map_err(|_| node.is_not("a network or address, such as \"10.0.0.0/8\" or \"::1\""))?;
    if network.addr() == network.network() {
        Ok(network)
    } else {
        Err(node.is_not(&format!(
            "the start of a network; write \"{}\"",
            network.trunc()
        )))
    }
}

/// A size in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Bytes(pub u64);

/// Greatest first, as they are printed in the greatest that fits.
const SIZES: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1_000),
    ("B", 1),
];

const DURATIONS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// A whole number with a unit.
fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

fn in_greatest_unit(amount: u64, units: &[(&str, u64)], least: &str) -> String {
    let fits = |(_, factor): &&(&str, u64)| amount > 0 && amount.is_multiple_of(*factor);
    match units.iter().find(fits) {
        Some((unit, factor)) => format!("{}{unit}", amount / factor),
        None => format!("{amount}{least}"),
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&in_greatest_unit(self.0, &SIZES, ""))
    }
}

impl Value for Bytes {
    fn read(node: &Node) -> Result<Self, Mistake> {
        let has_no_unit = match &node.body {
            // Nothing is nothing in every unit.
            Body::Number(0) => return Ok(Self(0)),
            Body::Text(text) | Body::Loose(text) if text == "0" => return Ok(Self(0)),
            Body::Number(_) => true,
            Body::Text(text) | Body::Loose(text) => is_bare_number(text),
            Body::List(_) | Body::Table(_) | Body::Other(_) => false,
        };
        if has_no_unit {
            return Err(
                node.is_not("a size: add a unit, as in \"64KiB\" (B, KB, KiB, MB, MiB, GB, GiB)")
            );
        }
        node.as_text()
            .and_then(|text| quantity(text, &SIZES))
            .map(Self)
            .ok_or_else(|| node.is_not("a size, such as \"64KiB\" (B, KB, KiB, MB, MiB, GB, GiB)"))
    }

    fn show(&self) -> Json {
        Json::from(self.to_string())
    }
}

impl Value for Duration {
    fn read(node: &Node) -> Result<Self, Mistake> {
        let has_no_unit = match &node.body {
            Body::Number(_) => true,
            Body::Text(text) | Body::Loose(text) => is_bare_number(text),
            Body::List(_) | Body::Table(_) | Body::Other(_) => false,
        };
        if has_no_unit {
            return Err(node.is_not("a duration: add a unit, as in \"10s\" (ms, s, m, h, d)"));
        }
        let duration = node
            .as_text()
            .and_then(|text| quantity(text, &DURATIONS))
            .map(Self::from_millis)
            .ok_or_else(|| {
                node.is_not("a duration, such as \"10s\" (a whole number of ms, s, m, h or d)")
            })?;
        if duration.as_secs() > DURATION_DAYS_MAX * 86_400 {
            return Err(node.is_not(&format!("a duration of at most {DURATION_DAYS_MAX}d")));
        }
        Ok(duration)
    }

    fn show(&self) -> Json {
        let millis = u64::try_from(self.as_millis()).unwrap_or(u64::MAX);
        Json::from(in_greatest_unit(millis, &DURATIONS, "s"))
    }
}

fn is_bare_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The check of a value for which zero would mean that nothing works.
pub(super) fn positive<T: Default + PartialEq>(value: &T) -> Result<(), Mistake> {
    if *value == T::default() {
        Err(Mistake::new("must be more than zero"))
    } else {
        Ok(())
    }
}

/// The check of a count that is of no use below a bound.
pub(super) fn at_least<const MIN: u64>(value: &u64) -> Result<(), Mistake> {
    if *value < MIN {
        Err(Mistake::new(format!("must be at least {MIN}")))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::error::Origin;
    use crate::config::{RedisUrl, UpstreamUrl};
    use proptest::prelude::*;

    fn text(text: impl Into<String>) -> Node {
        Node {
            origin: Origin::Nowhere,
            body: Body::Text(text.into()),
        }
    }

    fn read<T: Value>(shown: Json) -> Result<T, Mistake> {
        T::read(&text(shown.as_str().unwrap()))
    }

    #[test]
    fn amount_too_great_for_its_unit_is_refused() {
        assert_eq!(
            Bytes::read(&text("17179869183GiB")),
            Ok(Bytes(u64::MAX - (1 << 30) + 1))
        );
        assert!(Bytes::read(&text("17179869184GiB")).is_err());
        assert!(Bytes::read(&text("99999999999999999999B")).is_err());
        assert!(Duration::read(&text("18446744073709551615d")).is_err());
    }

    #[test]
    fn amount_is_shown_in_the_greatest_unit_that_says_it_exactly() {
        for shown in ["0", "1B", "1023B", "64KiB", "5MB", "3GiB"] {
            assert_eq!(Bytes::read(&text(shown)).unwrap().to_string(), shown);
        }
        for shown in ["0s", "1ms", "1500ms", "90s", "25h", "7d"] {
            assert_eq!(Duration::read(&text(shown)).unwrap().show(), shown);
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_as_the_same(size: u64, millis in 0..=DURATION_DAYS_MAX * 86_400_000) {
            prop_assert_eq!(read(Bytes(size).show()), Ok(Bytes(size)));
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(read(duration.show()), Ok(duration));
        }

        #[test]
        fn any_text_is_read_or_refused(any in ".*", url in "https?://[a-z0-9:./@\\[\\]-]{0,20}", redis in "rediss?://[a-z0-9:./@\\[\\]-]{0,20}") {
            let _ = (Bytes::read(&text(&*any)), Duration::read(&text(&*any)), SocketAddr::read(&text(&*any)));
            let _ = (network(&text(&*any)), UpstreamUrl::read(&text(&*any)), any.parse::<RedisUrl>());
            if let Ok(read) = redis.parse::<RedisUrl>() {
                prop_assert_eq!(read.to_string().parse(), Ok(read));
            }
            if let Ok(read) = UpstreamUrl::read(&text(url)) {
                prop_assert_eq!(UpstreamUrl::read(&text(read.to_string())), Ok(read));
            }
        }
    }
}
