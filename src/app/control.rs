//! The control listener's place in the program: where it is bound, what people reach it by, and how the proxy of this process
//! finds it. What it answers is `control`'s.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpListener;

use super::AppError;
use crate::config::{self, Config, SecretValue};
use crate::control::desk::{self, Listeners};
use crate::control::{Pages, connections};
use crate::proxy::route::KEY_MANAGEMENT;
use crate::store::StoreError;

/// Binds the control listener, if there is to be one.
pub(super) async fn bind_control(config: &Config) -> Result<Option<BoundControl>, AppError> {
    let control = &config.control;
    if !control.is_on() {
        return Ok(None);
    }
    let bind = |error| AppError::Io {
        what: format!("cannot listen on {} (control.address)", control.address),
        error,
    };
    let public = TcpListener::bind(control.address).await.map_err(bind)?;
    let address = public.local_addr().map_err(bind)?;
    let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let relay = |error| AppError::Io {
        what: "cannot listen on 127.0.0.1 for the key management API".to_owned(),
        error,
    };
    let listener = TcpListener::bind(here).await.map_err(relay)?;
    let relayed_to = listener.local_addr().map_err(relay)?;
    Ok(Some(BoundControl {
        listeners: Listeners {
            public,
            relay: listener,
        },
        address,
        relayed_to,
    }))
}

/// The control listener, bound.
pub(super) struct BoundControl {
    pub(super) listeners: Listeners,
    /// Where people find it.
    pub(super) address: SocketAddr,
    /// Where the proxy of this process does.
    pub(super) relayed_to: SocketAddr,
}

/// What the operations need to know of the pages.
pub(super) fn pages(config: &Config, address: Option<SocketAddr>) -> Pages {
    let control = &config.control;
    Pages {
        url: address.map(|address| page_url(config, address)),
        operator_orgs: control.operator_orgs.clone(),
    }
}

/// What people reach the pages by.
pub fn page_url(config: &Config, address: SocketAddr) -> String {
    match &config.control.url {
        Some(url) => url.to_string(),
        None => format!("http://{address}"),
    }
}

/// The configuration with the control listener as an upstream, which is told by a secret of this process that a request
/// comes through the proxy and who it is from.
pub(super) fn relayed(
    config: &Config,
    address: SocketAddr,
    relay: &SecretValue,
) -> Result<Config, AppError> {
    let url = format!("http://{address}");
    let url = url
        .parse()
        .map_err(|_| AppError::Config(format!("control.address: {url} is no address")))?;
    let mut upstream = config::Upstream::new(url);
    // Before the listener closes what nothing is asked on: no request is to meet that.
    upstream.keep_alive = connections::HEAD_WITHIN / 2;
    upstream.connections_idle_max = connections::KEPT_PER_WORKER;
    upstream.credential_header = Some(desk::RELAY.to_owned());
    upstream.credential = Some(relay.clone());
    let mut config = config.clone();
    config.upstreams.insert(KEY_MANAGEMENT.to_owned(), upstream);
    Ok(config)
}

pub(super) fn rand_u128() -> Result<u128, AppError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(StoreError::from)?;
    Ok(u128::from_ne_bytes(bytes))
}
