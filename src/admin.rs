//! The operator's listener: live, ready, metrics and the configuration in effect, read-only. It asks nobody who they
//! are, and shows no secret.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use tokio::net::TcpListener;
use tower::ServiceBuilder;
use tower::limit::GlobalConcurrencyLimitLayer;

use crate::drain::Signal;
use crate::keys::KeyTable;
use crate::keys::usage::UsageCounts;
use crate::telemetry::{self, SyncCounters, UsageCounters, WorkerCounters};

/// The most requests answered at once; scrapers and probes are few.
const REQUESTS_AT_ONCE: usize = 32;

/// What the operator may look at.
pub struct Views {
    /// The key table's size and age.
    pub table: Arc<KeyTable>,
    /// The data plane's counters.
    pub counters: Vec<Arc<WorkerCounters>>,
    /// The uses of keys that wait, and what has become of the others.
    pub usage: (Arc<UsageCounts>, Arc<UsageCounters>),
    /// What a node of a fleet counts as it follows the store.
    pub sync: Option<Arc<SyncCounters>>,
    /// The configuration in effect, secrets shown as set or not set.
    pub config: serde_json::Value,
    /// The age beyond which no request is decided any more.
    pub serve_stale_for: Duration,
    /// Fired when a drain begins.
    pub draining: Signal,
}

struct Admin {
    views: Views,
    recorder: PrometheusRecorder,
}

/// Serves until `drain` is ordered.
pub async fn serve(listener: TcpListener, views: Views, mut drain: Signal) {
    let admin = Arc::new(Admin {
        views,
        recorder: PrometheusBuilder::new().build_recorder(),
    });
    let bounded = ServiceBuilder::new().layer(GlobalConcurrencyLimitLayer::new(REQUESTS_AT_ONCE));
    let router = Router::new()
        .route("/livez", get(|| async { "live\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/config", get(config))
        .layer(bounded)
        .with_state(admin);
    // A probe that never ends must not hold the process: what is under way when the drain is over is cut.
    let serving = axum::serve(listener, router);
    tokio::select! {
        served = async { serving.await } => { let _ = served; }
        () = drain.ordered() => {}
    }
}

async fn ready(State(admin): State<Arc<Admin>>) -> Result<(StatusCode, &'static str), Infallible> {
    let views = &admin.views;
    let no = StatusCode::SERVICE_UNAVAILABLE;
    Ok(match views.table.view(Instant::now()) {
        _ if views.draining.is_ordered() => (no, "draining\n"),
        None => (no, "the key table is not loaded\n"),
        Some(view) if view.age > views.serve_stale_for => (no, "the key table is too old\n"),
        Some(_) => (StatusCode::OK, "ready\n"),
    })
}

async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    let table = &admin.views.table;
    let view = table.view(Instant::now());
    metrics::with_local_recorder(&admin.recorder, || {
        telemetry::view(
            table.keys_len(),
            view.map_or(0, |view| view.revision.0),
            view.map(|view| view.age),
        );
    });
    let (uses, flushes) = &admin.views.usage;
    let sync = admin.views.sync.as_ref();
    let text = admin.recorder.handle().render()
        + &sync.map_or_else(String::new, |sync| sync.render(Instant::now()))
        + &telemetry::render(&admin.views.counters)
        + &telemetry::usage(flushes, uses.len());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

async fn config(State(admin): State<Arc<Admin>>) -> axum::Json<serde_json::Value> {
    axum::Json(admin.views.config.clone())
}
