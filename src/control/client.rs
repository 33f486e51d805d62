//! Where a request to the control listener comes from. Only proxies that the configuration trusts are believed about it.

use std::net::{IpAddr, SocketAddr};

use axum::extract::ConnectInfo;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use ipnet::IpNet;

/// The client's address and those of the proxies it came through.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The client's address: whoever connected, or whom the trusted proxies in front name. `None` without a connection.
pub(super) fn address(parts: &Parts, trusted: &[IpNet]) -> Option<IpAddr> {
    let ConnectInfo(peer) = parts.extensions.get::<ConnectInfo<SocketAddr>>()?;
    Some(client(&parts.headers, peer.ip(), trusted))
}

/// From the right: each trusted hop vouches for the address before its own, and for nothing further left.
fn client(headers: &HeaderMap, peer: IpAddr, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    let mut client = peer.to_canonical();
    if !is_trusted(&client) {
        return client;
    }
    let hops: Vec<&str> = headers
        .get_all(FORWARDED_FOR)
        .iter()
        .map(HeaderValue::to_str)
        .filter_map(Result::ok)
        .flat_map(|value| value.split(','))
        .collect();
    for hop in hops.iter().rev() {
        let Ok(address) = hop.trim().parse::<IpAddr>() else {
            break;
        };
        client = address.to_canonical();
        if !is_trusted(&client) {
            break;
        }
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(chain: &str, peer: &str, trusted: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(FORWARDED_FOR, chain.parse().unwrap());
        let trusted: Vec<IpNet> = trusted.iter().map(|net| net.parse().unwrap()).collect();
        client(&headers, peer.parse().unwrap(), &trusted).to_string()
    }

    #[test]
    fn nobody_but_a_trusted_proxy_says_who_the_client_is() {
        let trusted = ["10.0.0.0/8"];
        assert_eq!(of("1.1.1.1", "9.9.9.9", &[]), "9.9.9.9");
        assert_eq!(of("1.1.1.1", "9.9.9.9", &trusted), "9.9.9.9");
        assert_eq!(of("1.1.1.1, 2.2.2.2", "10.0.0.1", &trusted), "2.2.2.2");
        assert_eq!(
            of("1.1.1.1, 10.0.0.2", "::ffff:10.0.0.1", &trusted),
            "1.1.1.1"
        );
        assert_eq!(of("1.1.1.1, junk", "10.0.0.1", &trusted), "10.0.0.1");
    }
}
