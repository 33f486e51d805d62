//! Off-boarding a leaver: what ends at once and what stays, said before; the receipt, and what is left to rotate, after. The
//! same page for a service account that is given up.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use super::form::Posted;
use super::people::{Moment, ask, base, is_last_admin, may_change, section, user};
use super::shell::{Shell, page};
use super::trouble::{failed, sentence, status_of};
use super::visitor::Visitor;
use super::words_people::{self as said, Words, words};
use crate::control::desk::Desk;
use crate::control::{
    KeyView, NodeReceipt, OffboardingView, Receipt, Request, Response as Answer, ServiceError,
    UserView,
};
use crate::keys::UserKind;
use crate::keys::refusal::Language;
use crate::store::StoreError;

/// How long the nodes of a fleet are waited for.
const WAIT_MS: u64 = 10_000;

/// A key that ends or stays.
struct Held {
    href: String,
    name: String,
    kind: &'static str,
    last4: String,
    created: Moment,
    last_used: Option<Moment>,
}

impl Held {
    fn of(language: Language, key: &KeyView) -> Self {
        Self {
            href: format!("{}/{}", said::kind_path(key.kind), key.id),
            name: key.name.clone(),
            kind: said::kind(language, key.kind),
            last4: key.last4.clone(),
            created: Moment::of(&key.created_at),
            last_used: Moment::maybe(key.last_used_at.as_ref()),
        }
    }
}

/// One node's line.
struct NodeLine {
    name: String,
    state: &'static str,
    when: String,
}

impl NodeLine {
    fn of(language: Language, node: &NodeReceipt) -> Self {
        let name = match node.node_id {
            Some(_) => node.node.clone(),
            None => words(language).this_server.to_owned(),
        };
        let when = match &node.refuses_at_the_latest {
            Some(at) => said::refuses_from(language, &Moment::of(at).shown),
            None => said::applied_after(language, node.applied_after_ms),
        };
        Self {
            name,
            state: said::node_state(language, node.state),
            when,
        }
    }
}

/// What is known of it on every node.
struct Receipted {
    everywhere: bool,
    sentence: String,
    nodes: Vec<NodeLine>,
}

impl Receipted {
    fn of(language: Language, receipt: &Receipt) -> Self {
        let t = words(language);
        let sentence = match (&receipt.unknown, receipt.applied_everywhere) {
            (Some(why), _) => format!("{} {why}", t.nodes_unknown),
            (None, true) => t.everywhere.to_owned(),
            (None, false) => t.not_everywhere.to_owned(),
        };
        Self {
            everywhere: receipt.applied_everywhere,
            sentence,
            nodes: receipt
                .nodes
                .iter()
                .map(|node| NodeLine::of(language, node))
                .collect(),
        }
    }
}

#[derive(Template)]
#[template(path = "leave.html", config = "src/control/page/askama.toml")]
struct LeavePage {
    shell: Shell,
    t: &'static Words,
    base: &'static str,
    heading: String,
    error: Option<String>,
    receipt: Option<Receipted>,
    audit: Option<String>,
    is_person: bool,
    is_you: bool,
    is_last_admin: bool,
    may: bool,
    ends: Vec<Held>,
    ends_keys: String,
    ended_keys: String,
    stays: Vec<Held>,
    stays_sentence: String,
    sure: String,
    submit: String,
    user: UserView,
}

impl LeavePage {
    fn of(visitor: &Visitor, found: OffboardingView) -> Self {
        let OffboardingView { user, ends, stays } = found;
        let language = visitor.language;
        let held = |keys: &[KeyView]| keys.iter().map(|key| Held::of(language, key)).collect();
        let heading = said::disable(language, &user.name, user.disabled);
        Self {
            shell: visitor.shell(section(user.kind)),
            t: words(language),
            base: base(user.kind),
            submit: said::disable(language, &user.name, false),
            heading,
            error: None,
            receipt: None,
            audit: None,
            is_person: user.kind == UserKind::Person,
            is_you: user.id == visitor.user.id,
            is_last_admin: false,
            may: may_change(visitor, user.kind),
            ends: held(&ends),
            ends_keys: said::ends(language, ends.len(), false),
            ended_keys: said::ends(language, ends.len(), true),
            stays: held(&stays),
            stays_sentence: said::stays(language, stays.len()),
            sure: said::sure(language, &user.name),
            user,
        }
    }
}

async fn offboarding(
    desk: &Desk,
    visitor: &Visitor,
    id: &str,
) -> Result<OffboardingView, ServiceError> {
    let user = user(desk, visitor, id).await?.id.to_string();
    match ask(desk, visitor, Request::ShowOffboarding { user }).await? {
        Answer::Offboarding(found) => Ok(*found),
        _ => Err(ServiceError::Unknown),
    }
}

/// What would end, or what is left.
pub(super) async fn look(
    State(desk): State<Arc<Desk>>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Response {
    match asked(&desk, &visitor, &id, None).await {
        Ok(shown) => page(StatusCode::OK, shown),
        Err(error) => failed(&visitor, &error),
    }
}

async fn asked(
    desk: &Desk,
    visitor: &Visitor,
    id: &str,
    error: Option<String>,
) -> Result<LeavePage, ServiceError> {
    let found = offboarding(desk, visitor, id).await?;
    let is_last_admin = is_last_admin(desk, visitor, &found.user).await?;
    Ok(LeavePage {
        is_last_admin,
        error,
        ..LeavePage::of(visitor, found)
    })
}

/// The confirmation.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Sure {
    sure: String,
}

/// Disables, and shows what came of it.
pub(super) async fn leave(
    State(desk): State<Arc<Desk>>,
    Path(id): Path<String>,
    Posted(Sure { sure }, visitor): Posted<Sure>,
) -> Response {
    let (status, said) = if sure == "yes" {
        match left(&desk, &visitor, &id).await {
            Ok(shown) => return page(StatusCode::OK, shown),
            Err(error @ ServiceError::Store(StoreError::Refused(_))) => {
                let status = status_of(&error);
                if status == StatusCode::NOT_FOUND || status == StatusCode::FORBIDDEN {
                    return failed(&visitor, &error);
                }
                (status, sentence(&error, visitor.language))
            }
            Err(error) => return failed(&visitor, &error),
        }
    } else {
        let text = words(visitor.language).confirm_missing;
        (StatusCode::UNPROCESSABLE_ENTITY, text.to_owned())
    };
    match asked(&desk, &visitor, &id, Some(said)).await {
        Ok(shown) => page(status, shown),
        Err(error) => failed(&visitor, &error),
    }
}

async fn left(desk: &Desk, visitor: &Visitor, id: &str) -> Result<LeavePage, ServiceError> {
    // Before: of what has ended nobody can say afterwards when it was last used, nor may somebody who disabled themselves ask.
    let found = offboarding(desk, visitor, id).await?;
    let disable = Request::SetUserDisabled {
        user: found.user.id.to_string(),
        disabled: true,
    };
    let request = Request::AndWait {
        request: Box::new(disable),
        wait_ms: WAIT_MS,
    };
    let performed = desk.service.perform(&visitor.caller(), request).await?;
    let (response, receipt) = match performed.response {
        Answer::Receipted { response, receipt } => (*response, Some(receipt)),
        response => (response, None),
    };
    let Answer::User(user) = response else {
        return Err(ServiceError::Unknown);
    };
    Ok(LeavePage {
        receipt: receipt.map(|receipt| Receipted::of(visitor.language, &receipt)),
        audit: performed.audit.map(|audit| audit.to_string()),
        ..LeavePage::of(visitor, OffboardingView { user, ..found })
    })
}
