//! The control listener: what the pages and the key management API share, and how both are served. Who somebody is is found
//! out in each of them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::error_handling::HandleErrorLayer;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use ipnet::IpNet;
use tokio::net::TcpListener;
use tower::ServiceBuilder;
use tower::limit::GlobalConcurrencyLimitLayer;

use super::sign_in::doors::Doors;
use super::sign_in::provider::Provider;
use super::{KeyService, api, connections, page};
use crate::config::{Config, Control, Rules, SecretValue};
use crate::drain::Signal;
use crate::keys::KeyTable;
use crate::keys::policy::Staleness;
use crate::keys::secret::LateFingerprinter;
use crate::keys::usage::UsageCounts;

/// The header by which the proxy of this process proves that a request comes through it.
pub const RELAY: &str = "x-keygate-relay";

/// Where a provider sends people back to.
pub const OIDC_CALLBACK: &str = "/oidc/callback";

/// The largest request: the longest names and 128 scopes fit many times.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// Requests at a time of the API, and as many of the pages; more of them wait. Anybody may send a form, and slowly: that must
/// keep nobody from the API, to which the proxy leads, too.
const REQUESTS_AT_ONCE: usize = 64;

/// A request that takes longer is given up. What it asked for may still happen.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(40);

/// How often papers that are too old are taken away.
const FORGET_EVERY: Duration = Duration::from_hours(1);

/// What the pages and the API share.
pub struct Desk {
    /// The operations.
    pub service: KeyService,
    /// The keys, for callers that prove who they are by a pair.
    pub table: Arc<KeyTable>,
    /// How a secret is looked up.
    pub fingerprinter: Arc<LateFingerprinter>,
    /// How old the table may be.
    pub staleness: Staleness,
    /// The configuration of this listener.
    pub config: Control,
    /// How many keys there may be, for lists that say so.
    pub rules: Rules,
    /// What the value of [`RELAY`] must be.
    pub relay: SecretValue,
    /// Who used which key: what the proxy counts, and what is checked here.
    pub usage: Arc<UsageCounts>,
    /// Where senders reach this process, for examples.
    pub senders: SocketAddr,
    /// The proxies in front that are believed about who the client is.
    pub trusted_proxies: Vec<IpNet>,
    /// The ways to sign in.
    pub doors: Doors,
    /// Who vouches for people, if anybody does.
    pub provider: Option<Provider>,
}

/// Who vouches for people, if the configuration names somebody.
///
/// # Errors
/// A sentence that says which setting does not work.
pub fn provider(config: &Config, service: &KeyService) -> Result<Option<Provider>, String> {
    let url = service.pages.url.clone().unwrap_or_default();
    Provider::new(&config.control.oidc, format!("{url}{OIDC_CALLBACK}"))
}

impl Desk {
    /// From the parts that the program has.
    pub fn new(
        service: KeyService,
        table: Arc<KeyTable>,
        fingerprinter: Arc<LateFingerprinter>,
        config: &Config,
        relay: SecretValue,
        senders: SocketAddr,
        provider: Option<Provider>,
    ) -> Self {
        Self {
            provider,
            doors: Doors::new(Arc::clone(service.store()), config.control.clone()),
            service,
            table,
            fingerprinter,
            staleness: Staleness {
                fresh_within: config.view.fresh_within,
                serve_for_intake: config.view.serve_stale_for_intake,
                serve_for_api: config.view.serve_stale_for_api,
            },
            config: config.control.clone(),
            rules: config.rules.clone(),
            relay,
            usage: Arc::default(),
            senders,
            trusted_proxies: config.listen.trusted_proxies.clone(),
        }
    }

    /// Counts the uses of keys with those of the proxy.
    #[must_use]
    pub fn counting(self, usage: Arc<UsageCounts>) -> Self {
        Self { usage, ..self }
    }

    /// Whether people reach the pages over TLS.
    pub fn is_https(&self) -> bool {
        self.config.url.as_ref().is_some_and(|url| url.https)
    }
}

/// Where the control listener is reached: by people and programs, and by the proxy of this process. Slow strangers take the
/// places of the first only.
pub struct Listeners {
    /// The configured address.
    pub public: TcpListener,
    /// On loopback, for requests that the proxy has let through.
    pub relay: TcpListener,
}

/// Serves until `drain` is ordered.
pub async fn serve(listeners: Listeners, desk: Desk, mut drain: Signal) {
    let desk = Arc::new(desk);
    let bounded = |router: Router<Arc<Desk>>| {
        let bounds = ServiceBuilder::new()
            .layer(HandleErrorLayer::new(|_| async {
                StatusCode::GATEWAY_TIMEOUT
            }))
            .timeout(REQUEST_TIMEOUT)
            .layer(GlobalConcurrencyLimitLayer::new(REQUESTS_AT_ONCE));
        router.layer(bounds)
    };
    let router = Router::new()
        .merge(bounded(api::router(&desk)))
        .merge(bounded(page::router(&desk)))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(Arc::clone(&desk));
    let relayed = bounded(
        api::router(&desk).route_layer(from_fn_with_state(Arc::clone(&desk), only_relayed)),
    )
    .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
    .with_state(Arc::clone(&desk));
    let serving = connections::serve(listeners.public, router);
    let relaying = connections::serve(listeners.relay, relayed);
    let forgetting = async {
        loop {
            tokio::time::sleep(FORGET_EVERY.mul_f64(0.5 + fastrand::f64())).await;
            desk.doors.attempts.forget();
            let store = Arc::clone(desk.service.store());
            // What could not be taken away now is the next time.
            let _ = tokio::task::spawn_blocking(move || store.forget_expired()).await;
        }
    };
    tokio::select! {
        () = serving => {}
        () = relaying => {}
        () = forgetting => {}
        () = drain.ordered() => {}
    }
}

/// Anybody on this machine can reach the relay's port; only the proxy has its secret.
async fn only_relayed(State(desk): State<Arc<Desk>>, request: Request, next: Next) -> Response {
    if api::is_relayed(&desk, request.headers()) {
        next.run(request).await
    } else {
        StatusCode::FORBIDDEN.into_response()
    }
}
