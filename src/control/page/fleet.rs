//! The page of the nodes of a fleet, for those who may see them. What they are is read by the operation.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;

use super::people::{Moment, ask};
use super::shell::{Section, Shell, page};
use super::trouble::failed;
use super::visitor::Visitor;
use super::words_people::{self as said, Words, words};
use crate::control::desk::Desk;
use crate::control::{NodeHealth, NodeView, Request, Response as Answer, ServiceError};
use crate::keys::refusal::Language;

const HEALTHS: [NodeHealth; 4] = [
    NodeHealth::Live,
    NodeHealth::Silent,
    NodeHealth::Fenced,
    NodeHealth::Stopped,
];

pub(super) fn router() -> Router<Arc<Desk>> {
    Router::new().route("/fleet", get(show))
}

struct Line {
    name: String,
    class: &'static str,
    state: &'static str,
    version: String,
    address: String,
    keys: u64,
    age: String,
    behind: usize,
    reported: Moment,
    lease: Moment,
}

impl Line {
    fn of(language: Language, node: NodeView) -> Self {
        Self {
            class: class(node.health),
            state: said::health(language, node.health).0,
            age: age(node.view_age_ms),
            behind: node.partitions_behind,
            reported: Moment::of(&node.last_report),
            lease: Moment::of(&node.lease_ends),
            name: node.node,
            version: node.version,
            address: node.address,
            keys: node.keys,
        }
    }
}

const fn class(health: NodeHealth) -> &'static str {
    match health {
        NodeHealth::Live => "good",
        NodeHealth::Silent => "warn",
        NodeHealth::Fenced => "bad",
        NodeHealth::Stopped => "off",
    }
}

/// An age at a glance.
fn age(ms: u64) -> String {
    match ms {
        0..10_000 => format!("{ms} ms"),
        10_000..600_000 => format!("{} s", ms / 1_000),
        _ => format!("{} min", ms / 60_000),
    }
}

/// What a state means.
struct Meaning {
    class: &'static str,
    label: &'static str,
    meaning: &'static str,
}

#[derive(Template)]
#[template(path = "fleet.html", config = "src/control/page/askama.toml")]
struct FleetPage {
    shell: Shell,
    t: &'static Words,
    is_single: bool,
    is_well: bool,
    sentence: String,
    nodes: Vec<Line>,
    states: Vec<Meaning>,
}

async fn show(State(desk): State<Arc<Desk>>, visitor: Visitor) -> Response {
    let nodes = match ask(&desk, &visitor, Request::ListNodes).await {
        Ok(Answer::Nodes(nodes)) => Some(nodes),
        // Not an error to those who look: there is one server.
        Err(ServiceError::NoFleet) => None,
        Ok(_) => return failed(&visitor, &ServiceError::Unknown),
        Err(error) => return failed(&visitor, &error),
    };
    let language = visitor.language;
    let t = words(language);
    let is_single = nodes.is_none();
    let nodes = nodes.unwrap_or_default();
    let running = |node: &&NodeView| node.health != NodeHealth::Stopped;
    let all = nodes.iter().filter(running).count();
    let live = nodes
        .iter()
        .filter(|node| node.health == NodeHealth::Live)
        .count();
    let states = HEALTHS.into_iter().map(|health| {
        let (label, meaning) = said::health(language, health);
        Meaning {
            class: class(health),
            label,
            meaning,
        }
    });
    let shown = FleetPage {
        shell: visitor.shell(Section::Fleet),
        t,
        is_single,
        is_well: live == all && all > 0,
        sentence: match all {
            0 => t.no_nodes.to_owned(),
            _ => said::fleet(language, live, all),
        },
        nodes: nodes
            .into_iter()
            .map(|node| Line::of(language, node))
            .collect(),
        states: states.collect(),
    };
    page(StatusCode::OK, shown)
}
