//! The remote door of the command line: an operation as JSON in, its answer as JSON out, for whoever the pair of keys says.
//! What is the operator's stays at the machine itself: the operations refuse it.

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Shared;
use super::answers::{Answer, Reply};
use super::body::Posted;
use crate::control::Request;

/// How long nodes are waited for at most: less than an answer may take.
const WAIT_MS_MAX: u64 = 20_000;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(perform))
}

/// Perform one operation of the command line.
#[utoipa::path(post, path = "/api/v2/operations", tag = "Operations", request_body = Object,
    responses((status = 200, description = "What the operation answers", body = Object)))]
async fn perform(Posted(asker, request): Posted<Request>) -> Answer {
    let request = match request {
        Request::AndWait { request, wait_ms } => Request::AndWait {
            request,
            wait_ms: wait_ms.min(WAIT_MS_MAX),
        },
        request => request,
    };
    let performed = asker.perform(request).await?;
    Ok(Reply::ok(&performed.response).noted(performed.audit))
}
