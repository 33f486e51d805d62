//! The key management API from outside: the real program in process, called through the proxy's listener and on the control
//! listener, over a file and over Redis. Official clients call it in `tests/clients`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test each of them is the test failing"
)]

#[expect(dead_code, reason = "the test binary that it is from uses the rest")]
#[path = "../gateway/harness.rs"]
mod harness;
#[expect(dead_code, reason = "the test binary that it is from uses the rest")]
#[path = "../store/homes.rs"]
mod homes;
mod scene;

mod api_bodies;
mod api_callers;
mod api_documents;
mod api_lists;
mod api_once;
mod api_openapi;
mod api_orgs;
mod api_people;
