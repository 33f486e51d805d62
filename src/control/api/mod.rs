//! The key management API: requests in the form that Datadog's clients send (WIRE 5) onto the operations, and their answers
//! back. It holds no rule and asks no permission: the operations do.
//!
//! One file for each noun; each lists its routes, from which the OpenAPI document is made as well.

mod answers;
mod api_keys;
mod application_keys;
mod audit;
mod auth;
mod body;
mod client_tokens;
mod invitations;
mod key_answers;
mod key_parts;
mod openapi;
mod operations;
mod orgs;
mod paging;
mod roles;
mod service_accounts;
mod users;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use utoipa_axum::router::OpenApiRouter;

use self::answers::Failure;
use self::auth::X_REQUEST_ID;
pub(super) use self::auth::is_relayed;
use crate::control::desk::Desk;
use crate::keys::rules;

/// What every handler is given.
type Shared = Arc<Desk>;

/// A request that takes longer is given up, before the listener gives it up without a word.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

fn documented() -> OpenApiRouter<Shared> {
    OpenApiRouter::with_openapi(openapi::head())
        .merge(api_keys::routes())
        .merge(application_keys::routes())
        .merge(service_accounts::routes())
        .merge(users::routes())
        .merge(invitations::routes())
        .merge(roles::routes())
        .merge(client_tokens::routes())
        .merge(orgs::routes())
        .merge(audit::routes())
        .merge(operations::routes())
}

/// Its routes.
pub fn router(desk: &Arc<Desk>) -> Router<Arc<Desk>> {
    let (router, mut document) = documented().split_for_parts();
    openapi::complete(&mut document);
    let document = axum::body::Bytes::from(document.to_json().unwrap_or_default());
    let json = [(header::CONTENT_TYPE, "application/json")];
    router
        .route(
            openapi::PATH,
            get(move || {
                let document = document.clone();
                async move { (json, document) }
            }),
        )
        .route("/api/v1/{*rest}", any(closed))
        .route("/api/{*rest}", any(absent))
        .method_not_allowed_fallback(not_allowed)
        .layer(from_fn_with_state(Arc::clone(desk), framed))
}

async fn closed() -> Failure {
    Failure::new(StatusCode::FORBIDDEN, rules::READ_ONCE)
}

async fn absent() -> Failure {
    Failure::not_found("path")
}

async fn not_allowed() -> Failure {
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed")
}

/// What every answer has: the request's id, a time within which it comes, and no place in a cache.
async fn framed(State(desk): State<Arc<Desk>>, mut request: Request, next: Next) -> Response {
    if !auth::is_relayed(&desk, request.headers()) {
        auth::forget_claims(request.headers_mut());
    }
    let id = auth::request_id(request.headers());
    request.headers_mut().insert(X_REQUEST_ID, id.clone());
    let answered = tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await;
    let mut response = answered.unwrap_or_else(|_| {
        let text =
            "This took too long, and it may have happened or not: look before you send it again";
        Failure::new(StatusCode::GATEWAY_TIMEOUT, text).into_response()
    });
    let headers = response.headers_mut();
    headers.insert(X_REQUEST_ID, id);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}
