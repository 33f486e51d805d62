//! Guided rotation: a new key beside the old one, and how long the old one stays valid. The new secret is shown by
//! `keys_shown`; how far it is, on the page of the old key.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use super::form::Posted;
use super::keys::{self, Known, Of, section};
use super::keys_facts::{Facts, Now, Rights, base};
use super::keys_form::{Entered, Fields, Wrong, end_of_day};
use super::keys_once;
use super::keys_receipt::Told;
use super::keys_revoke::WAIT_MS;
use super::keys_shown::{self, Old, Shown};
use super::shell::{Shell, page};
use super::trouble::{failed, sentence, status_of};
use super::visitor::Visitor;
use super::words_keys::{Words, words};
use super::words_kinds::{self, KindWords};
use crate::control::desk::Desk;
use crate::control::{Request, Response as Answer, ServiceError};
use crate::keys::KeyKind;
use crate::keys::rules::Refusal;

const HOUR_MS: i64 = 3_600_000;

/// How long an old key stays valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Overlap {
    None,
    For(i64),
    Until,
}

/// What can be chosen, in this order: the value of the field, and what it means.
const OVERLAPS: [(&str, Overlap); 6] = [
    ("none", Overlap::None),
    ("hour", Overlap::For(HOUR_MS)),
    ("day", Overlap::For(24 * HOUR_MS)),
    ("week", Overlap::For(7 * 24 * HOUR_MS)),
    ("month", Overlap::For(30 * 24 * HOUR_MS)),
    ("date", Overlap::Until),
];

/// What is chosen unless something else is.
const USUAL: &str = "week";

#[derive(Template)]
#[template(path = "keys_rotate.html", config = "src/control/page/askama.toml")]
struct RotatePage {
    shell: Shell,
    w: &'static Words,
    k: &'static KindWords,
    base: &'static str,
    key: Facts,
    rights: Rights,
    counts: String,
    form: Entered,
    choices: Vec<Choice>,
    until: String,
    today: String,
}

struct Choice {
    value: &'static str,
    label: &'static str,
    is_chosen: bool,
}

/// What was chosen about the old key.
struct Chosen {
    overlap: String,
    until: String,
}

impl Chosen {
    fn of(fields: &Fields) -> Self {
        let text = |name: &str| fields.get(name).cloned().unwrap_or_default();
        Self {
            overlap: text("overlap"),
            until: text("until"),
        }
    }

    /// How long from now; `None` is not at all. A day that is no day or has passed is refused: it must not be taken for "not at
    /// all", which cannot be undone.
    fn overlap_ms(&self, now: Now) -> Result<Option<i64>, Refusal> {
        let known = OVERLAPS.iter().find(|(value, _)| *value == self.overlap);
        match known.map(|(_, overlap)| overlap) {
            Some(Overlap::None) => Ok(None),
            Some(Overlap::For(ms)) => Ok(Some(*ms)),
            Some(Overlap::Until) | None => {
                let until = end_of_day(&self.until)?.ok_or(Refusal::DateMalformed)?;
                let left = until.0.saturating_sub(now.ms);
                if left > 0 {
                    Ok(Some(left))
                } else {
                    Err(Refusal::ExpiryPast)
                }
            }
        }
    }
}

pub(super) async fn form(
    Of(kind): Of,
    State(desk): State<Arc<Desk>>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Response {
    let known = async {
        let known = keys::known(&desk, &visitor, kind, &id).await?;
        Ok::<_, ServiceError>((known, keys_once::token()?))
    };
    let (known, once) = match known.await {
        Ok(known) => known,
        Err(error) => return failed(&visitor, &error),
    };
    let entered = Entered {
        name: known.view.name.clone(),
        once,
        ..Entered::default()
    };
    let chosen = Chosen {
        overlap: USUAL.to_owned(),
        until: String::new(),
    };
    shown(&desk, &visitor, known, entered, chosen, StatusCode::OK).await
}

pub(super) async fn rotate(
    Of(kind): Of,
    State(desk): State<Arc<Desk>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Posted(fields, visitor): Posted<Fields>,
) -> Response {
    let (mut entered, chosen) = (Entered::of(&fields), Chosen::of(&fields));
    let now = Now::of(&visitor);
    let error = match chosen.overlap_ms(now) {
        Ok(overlap_ms) => {
            match rotated(&desk, &visitor, (kind, &id), &entered, &chosen, overlap_ms).await {
                Ok(shown) => return keys_shown::shown(&desk, &visitor, &headers, shown),
                Err(error) => error,
            }
        }
        Err(refusal) => {
            let error = refusal.into();
            entered.wrong = Some(Wrong {
                at: Some("until"),
                sentence: sentence(&error, visitor.language),
            });
            error
        }
    };
    let status = status_of(&error);
    let entered = match entered.wrong {
        Some(_) => entered,
        None => match entered.refused(error, visitor.language) {
            Ok(entered) => entered,
            Err(error) => return failed(&visitor, &error),
        },
    };
    match keys::known(&desk, &visitor, kind, &id).await {
        Ok(known) => shown(&desk, &visitor, known, entered, chosen, status).await,
        Err(error) => failed(&visitor, &error),
    }
}

async fn rotated(
    desk: &Desk,
    visitor: &Visitor,
    (kind, id): (KeyKind, &str),
    entered: &Entered,
    chosen: &Chosen,
    overlap_ms: Option<i64>,
) -> Result<Shown, ServiceError> {
    let mut caller = visitor.caller();
    // How long it is to a day differs from one sending of a form to the next: what was chosen is the same.
    let (overlap, until) = (&chosen.overlap, &chosen.until);
    let asked = (id, &entered.name, overlap, until, &entered.expires);
    caller.by.once = keys_once::once(visitor.user.id, &entered.once, &asked);
    let request = Request::RotateKey {
        kind,
        id: id.to_owned(),
        name: Some(entered.name.clone()),
        overlap_ms,
        expires_at: entered.expires_at()?,
    };
    // What has leaked is to be refused everywhere, and it is worth knowing when it is.
    let request = match overlap_ms {
        Some(_) => request,
        None => Request::AndWait {
            request: Box::new(request),
            wait_ms: WAIT_MS,
        },
    };
    let now = Now::of(visitor);
    let (answer, receipt) = match desk.service.perform(&caller, request).await?.response {
        Answer::Receipted { response, receipt } => (*response, Some(Told::of(&receipt, now))),
        answer => (answer, None),
    };
    let Answer::Rotated { old, new } = answer else {
        return Err(ServiceError::Unknown);
    };
    let old = Facts::of(&old, now, &|_| None);
    Ok(Shown {
        title: words_kinds::of(visitor.language, kind).created,
        key: Facts::of(&new, now, &|_| None),
        secret: new.secret,
        old: Some(Old {
            ends: match old.is_in_force() {
                true => old.expires,
                false => None,
            },
            name: old.name,
            href: old.href,
            receipt,
        }),
    })
}

async fn shown(
    desk: &Desk,
    visitor: &Visitor,
    known: Known,
    form: Entered,
    chosen: Chosen,
    status: StatusCode,
) -> Response {
    let (language, kind) = (visitor.language, known.view.kind);
    let w = words(language);
    let found = match counted(desk, visitor, &known).await {
        Ok(found) => found,
        Err(error) => return failed(visitor, &error),
    };
    let most = desk.service.store().limits().most(kind);
    let choice = |(value, _): (&'static str, Overlap)| Choice {
        value,
        label: match value {
            "none" => w.overlap_none,
            "hour" => w.overlap_hour,
            "day" => w.overlap_day,
            "week" => w.overlap_week,
            "month" => w.overlap_month,
            _ => w.overlap_date,
        },
        is_chosen: value == chosen.overlap,
    };
    let shown = RotatePage {
        shell: visitor.shell(section(kind)),
        w,
        k: words_kinds::of(language, kind),
        base: base(kind),
        key: known.facts,
        rights: known.rights,
        counts: words_kinds::counts_of(language, kind, found, most),
        form,
        choices: OVERLAPS.into_iter().map(choice).collect(),
        until: chosen.until,
        today: Now::of(visitor).today(),
    };
    page(status, shown)
}

/// How many keys there are beside which the new one takes a place.
async fn counted(desk: &Desk, visitor: &Visitor, known: &Known) -> Result<usize, ServiceError> {
    let request = match known.view.owner_id {
        Some(owner) => Request::ListKeysOfOwner {
            owner: owner.to_string(),
        },
        None => Request::ListKeys {
            kind: known.view.kind,
            org: visitor.org.id.to_string(),
        },
    };
    match keys::ask(desk, visitor, request).await? {
        Answer::Keys(found) => Ok(keys::active(&found, known.view.owner_id)),
        _ => Err(ServiceError::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::refusal::Language;

    #[test]
    fn only_who_says_so_gives_a_key_no_overlap() {
        let now = Now {
            ms: 86_400_000,
            language: Language::English,
        };
        let ms = |overlap: &str, until: &str| {
            let (overlap, until) = (overlap.to_owned(), until.to_owned());
            Chosen { overlap, until }.overlap_ms(now)
        };
        assert_eq!(ms("none", ""), Ok(None));
        assert_eq!(ms("hour", "junk"), Ok(Some(3_600_000)));
        assert_eq!(ms("date", "1970-01-02"), Ok(Some(86_400_000 - 1_000)));
        assert_eq!(ms("date", "1970-01-01"), Err(Refusal::ExpiryPast));
        for (overlap, until) in [("date", ""), ("date", "soon"), ("", ""), ("0", "")] {
            assert_eq!(ms(overlap, until), Err(Refusal::DateMalformed), "{overlap}");
        }
    }
}
