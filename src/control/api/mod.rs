//! The key management API: requests in the form that Datadog's clients send (WIRE 5) onto the operations, and their answers
//! back.

use std::sync::Arc;

use axum::Router;

use crate::control::desk::Desk;

/// Its routes.
pub fn router() -> Router<Arc<Desk>> {
    Router::new()
}
