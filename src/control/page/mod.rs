//! The pages "Integrations -> APIs", for people: plain HTML forms onto the operations.

use std::sync::Arc;

use axum::Router;

use crate::control::desk::Desk;

/// Their routes.
pub fn router() -> Router<Arc<Desk>> {
    Router::new()
}
