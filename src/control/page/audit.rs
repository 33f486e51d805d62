//! The page of the audit log: filters, a page at a time, and all of it as JSON lines. What an entry says is put into words in
//! `audit_words`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use askama::Template;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::stream;
use serde::Deserialize;
use tokio::sync::Semaphore;

use super::audit_words::{Line, action_name};
use super::form::query;
use super::people::{ask, encoded, users};
use super::shell::{Section, Shell, page};
use super::trouble::{failed, sentence, status_of};
use super::visitor::Visitor;
use super::words_people::{self as said, Words, words};
use crate::control::desk::Desk;
use crate::control::{AuditPage, AuditQuery, Request, Response as Answer, ServiceError};
use crate::keys::audit::Action;
use crate::keys::rules::Refusal;
use crate::keys::{Timestamp, UserKind};
use crate::store::StoreError;

/// Entries of a page.
const ENTRIES: usize = 50;

/// More users than these are not offered in a list.
const CHOICES: usize = 500;

/// Entries that a download reads at a time.
const AT_ONCE: usize = 1_000;

/// The most entries of a download: the line that ends it says where to go on.
const DOWNLOADED_MAX: usize = 200_000;

/// How long a download may take.
const DOWNLOAD_TIME: Duration = Duration::from_mins(10);

/// How many downloads read the log at the same time; the others wait for their turn.
static READING: Semaphore = Semaphore::const_new(2);

pub(super) fn router() -> Router<Arc<Desk>> {
    Router::new()
        .route("/audit", get(show))
        .route("/audit/download", get(download))
}

/// The filters, as entered.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Filter {
    actor: String,
    action: String,
    object: String,
    from: String,
    until: String,
    after: String,
}

impl Filter {
    /// What is wanted, or the sentence that says what is wrong.
    fn wanted(&self, t: &'static Words) -> Result<AuditQuery, &'static str> {
        let given = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let action = given(&self.action).map(|text| text.parse::<Action>());
        let object = given(&self.object).map(|text| text.parse::<uuid::Uuid>());
        Ok(AuditQuery {
            org: None,
            action: action.transpose().map_err(|_| t.no_action)?,
            actor: given(&self.actor),
            object: object.transpose().map_err(|_| t.no_id)?,
            since: time(&self.from).ok_or(t.no_time)?,
            until: time(&self.until).ok_or(t.no_time)?,
            after: given(&self.after),
            most: None,
        })
    }

    /// The same filters as a query, going on at this place.
    fn link(&self, path: &str, after: Option<&str>) -> String {
        let fields = [
            ("actor", &*self.actor),
            ("action", &self.action),
            ("object", &self.object),
            ("from", &self.from),
            ("until", &self.until),
            ("after", after.unwrap_or_default()),
        ];
        let given = fields.iter().filter(|(_, value)| !value.trim().is_empty());
        let given: Vec<String> = given
            .map(|(name, value)| format!("{name}={}", encoded(value.trim())))
            .collect();
        match given.is_empty() {
            true => path.to_owned(),
            false => format!("{path}?{}", given.join("&")),
        }
    }
}

/// A time as browsers give it, in UTC, or as the log gives it; `None` when it is none of those.
fn time(text: &str) -> Option<Option<Timestamp>> {
    let text = text.trim();
    if text.is_empty() {
        return Some(None);
    }
    let at = match text.parse::<jiff::Timestamp>() {
        Ok(at) => at,
        Err(_) => {
            let civil: jiff::civil::DateTime = text.parse().ok()?;
            jiff::tz::Offset::UTC.to_timestamp(civil).ok()?
        }
    };
    Some(Some(Timestamp(at.as_millisecond())))
}

/// One choice of a list.
struct Choice {
    value: String,
    label: String,
}

#[derive(Template)]
#[template(path = "audit.html", config = "src/control/page/askama.toml")]
struct LogPage {
    shell: Shell,
    t: &'static Words,
    error: Option<String>,
    actors: Option<Vec<Choice>>,
    actions: Vec<Choice>,
    found: String,
    entries: Vec<Line>,
    newest: Option<String>,
    older: Option<String>,
    download: String,
    entered: Filter,
}

async fn entries(
    desk: &Desk,
    visitor: &Visitor,
    query: AuditQuery,
) -> Result<AuditPage, ServiceError> {
    match ask(desk, visitor, Request::ListAudit { query }).await? {
        Answer::Audit(found) => Ok(found),
        _ => Err(ServiceError::Unknown),
    }
}

/// Everybody who may have done something, unless they are too many to choose from.
async fn actors(
    desk: &Desk,
    visitor: &Visitor,
    entered: &str,
) -> Result<Option<Vec<Choice>>, ServiceError> {
    let t = words(visitor.language);
    let mut choices = vec![
        Choice {
            value: "operator".to_owned(),
            label: t.operator.to_owned(),
        },
        Choice {
            value: "system".to_owned(),
            label: t.system.to_owned(),
        },
    ];
    for kind in [UserKind::Person, UserKind::ServiceAccount] {
        for user in users(desk, visitor, kind).await? {
            let label = match kind {
                UserKind::Person if user.handle != user.name => {
                    format!("{} ({})", user.name, user.handle)
                }
                UserKind::Person | UserKind::ServiceAccount => user.name,
            };
            choices.push(Choice {
                value: user.id.to_string(),
                label,
            });
        }
    }
    let is_known = entered.is_empty() || choices.iter().any(|choice| choice.value == entered);
    Ok(Some(choices).filter(|choices| is_known && choices.len() <= CHOICES))
}

async fn show(State(desk): State<Arc<Desk>>, visitor: Visitor, uri: Uri) -> Response {
    let entered: Filter = query(&uri);
    match shown(&desk, &visitor, entered).await {
        Ok((status, shown)) => page(status, shown),
        Err(error) => failed(&visitor, &error),
    }
}

async fn shown(
    desk: &Desk,
    visitor: &Visitor,
    entered: Filter,
) -> Result<(StatusCode, LogPage), ServiceError> {
    let language = visitor.language;
    let t = words(language);
    let mut status = StatusCode::OK;
    let mut error = None;
    let found = match entered.wanted(t) {
        Err(text) => {
            // Whoever may not read the log is told so first.
            let query = AuditQuery {
                most: Some(1),
                ..AuditQuery::default()
            };
            entries(desk, visitor, query).await?;
            (status, error) = (StatusCode::UNPROCESSABLE_ENTITY, Some(text.to_owned()));
            AuditPage::default()
        }
        Ok(wanted) => {
            let query = AuditQuery {
                most: Some(ENTRIES),
                ..wanted
            };
            match entries(desk, visitor, query).await {
                Ok(found) => found,
                // The filter names nobody.
                Err(
                    trouble @ ServiceError::Store(StoreError::Refused(
                        Refusal::NotFound { .. } | Refusal::Ambiguous { .. },
                    )),
                ) => {
                    status = status_of(&trouble);
                    error = Some(sentence(&trouble, language));
                    AuditPage::default()
                }
                Err(trouble) => return Err(trouble),
            }
        }
    };
    let choice = |action: &Action| Choice {
        value: action.as_str().to_owned(),
        label: action_name(language, *action),
    };
    let shown = LogPage {
        shell: visitor.shell(Section::Audit),
        t,
        error,
        actors: actors(desk, visitor, entered.actor.trim()).await?,
        actions: Action::ALL.iter().map(choice).collect(),
        found: said::entries(language, found.entries.len(), found.next.is_some()),
        entries: found
            .entries
            .into_iter()
            .map(|entry| Line::of(language, entry))
            .collect(),
        newest: (!entered.after.is_empty()).then(|| entered.link("/audit", None)),
        older: found
            .next
            .as_deref()
            .map(|next| entered.link("/audit", Some(next))),
        download: entered.link("/audit/download", None),
        entered,
    };
    Ok((status, shown))
}

/// A download that goes on.
struct Download {
    desk: Arc<Desk>,
    visitor: Visitor,
    wanted: AuditQuery,
    /// Read and not sent.
    ready: Option<AuditPage>,
    sent: usize,
    until: Instant,
}

impl Download {
    async fn read(&self) -> Result<AuditPage, ServiceError> {
        let _turn = READING.acquire().await;
        let query = AuditQuery {
            most: Some(AT_ONCE),
            ..self.wanted.clone()
        };
        entries(&self.desk, &self.visitor, query).await
    }

    /// The next lines, and what is left to send after them. A failure breaks the answer off: what looks whole is whole.
    async fn step(mut self) -> Result<Option<(Bytes, Option<Self>)>, ServiceError> {
        let found = match self.ready.take() {
            Some(found) => found,
            None => self.read().await?,
        };
        let mut lines = Vec::new();
        for entry in &found.entries {
            serde_json::to_writer(&mut lines, entry).map_err(|_| ServiceError::Unknown)?;
            lines.push(b'\n');
        }
        self.sent += found.entries.len();
        let Some(next) = found.next else {
            return Ok(Some((lines.into(), None)));
        };
        if self.sent >= DOWNLOADED_MAX || Instant::now() >= self.until {
            let more = serde_json::json!({ "more_after": next });
            lines.extend_from_slice(more.to_string().as_bytes());
            lines.push(b'\n');
            return Ok(Some((lines.into(), None)));
        }
        self.wanted.after = Some(next);
        Ok(Some((lines.into(), Some(self))))
    }
}

async fn download(State(desk): State<Arc<Desk>>, visitor: Visitor, uri: Uri) -> Response {
    let entered: Filter = query(&uri);
    let wanted = match entered.wanted(words(visitor.language)) {
        Ok(wanted) => wanted,
        // The page says what is wrong.
        Err(_) => return super::shell::go(&entered.link("/audit", None)),
    };
    let mut all = Download {
        desk,
        visitor,
        wanted,
        ready: None,
        sent: 0,
        until: Instant::now() + DOWNLOAD_TIME,
    };
    // Whoever may not read it is told so by a page.
    match all.read().await {
        Ok(first) => all.ready = Some(first),
        Err(error) => return failed(&all.visitor, &error),
    }
    let lines = stream::try_unfold(Some(all), |left| async move {
        match left {
            Some(left) => left.step().await,
            None => Ok(None),
        }
    });
    let about = [
        (CONTENT_TYPE, "application/x-ndjson; charset=utf-8"),
        (
            CONTENT_DISPOSITION,
            "attachment; filename=\"keygate-audit.jsonl\"",
        ),
    ];
    let about = about.map(|(name, value)| (name, HeaderValue::from_static(value)));
    (StatusCode::OK, about, Body::from_stream(lines)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_browsers_and_the_log_give_them() {
        let at = Some(Some(Timestamp(1_795_593_600_000)));
        for text in [
            "2026-11-25T08:00",
            "2026-11-25T08:00:00.000Z",
            " 2026-11-25 08:00 ",
            "2026-11-25T09:00:00+01:00",
        ] {
            assert_eq!(time(text), at, "{text}");
        }
        assert_eq!(time(" "), Some(None));
        for text in ["yesterday", "2026-13-01", "2026-11-25T08:00<script>"] {
            assert_eq!(time(text), None, "{text}");
        }
    }

    #[test]
    fn a_link_keeps_every_filter_and_nothing_breaks_out_of_it() {
        let filter = Filter {
            actor: "a&b=\"<>".to_owned(),
            action: "key.created".to_owned(),
            after: "1-2".to_owned(),
            ..Filter::default()
        };
        assert_eq!(
            filter.link("/audit", Some("7-42.8-0")),
            "/audit?actor=a%26b%3D%22%3C%3E&action=key.created&after=7-42.8-0"
        );
        assert_eq!(Filter::default().link("/audit", None), "/audit");
    }
}
