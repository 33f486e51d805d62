//! The list of the keys of one kind: searched, filtered, sorted, a page at a time. Who may see which is the operations'
//! business.

use std::cmp::Reverse;
use std::fmt::Write as _;
use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use serde::Deserialize;

use super::form::query;
use super::keys::{self, Of, section};
use super::keys_facts::{Facts, Now, Rights, base, may};
use super::shell::{Shell, page};
use super::trouble::{failed, sentence, status_of};
use super::visitor::Visitor;
use super::words_keys::{self, Words, words};
use super::words_kinds::{self, KindWords};
use crate::control::desk::Desk;
use crate::control::operations::keys::{Touch, Whose, takes};
use crate::control::{KeyStatus, KeyView};
use crate::keys::permissions::Permission;
use crate::keys::rules::Refusal;
use crate::keys::{KeyKind, UserId};

/// Keys on a page.
const ON_A_PAGE: usize = 50;

/// What is wanted.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Wanted {
    q: String,
    show: String,
    owner: String,
    sort: String,
    page: String,
}

/// What the list is sorted by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Name,
    Made,
    Used,
}

impl By {
    const fn word(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Made => "created",
            Self::Used => "used",
        }
    }
}

#[derive(Template)]
#[template(path = "keys_list.html", config = "src/control/page/askama.toml")]
struct ListPage {
    shell: Shell,
    w: &'static Words,
    k: &'static KindWords,
    base: &'static str,
    is_application: bool,
    wanted: Wanted,
    /// Why nothing can be shown.
    refused: Option<String>,
    counts: String,
    may_create: bool,
    /// Why there is no button.
    no_button: Option<String>,
    only_own: bool,
    has_any: bool,
    columns: Vec<Column>,
    orders: Vec<Order>,
    rows: Vec<Row>,
    found: String,
    previous: Option<String>,
    next: Option<String>,
}

/// The head of a column.
struct Column {
    title: &'static str,
    /// `aria-sort`.
    sorted: &'static str,
}

/// An order to choose.
struct Order {
    value: &'static str,
    title: &'static str,
    is_chosen: bool,
}

struct Row {
    key: Facts,
    may_revoke: bool,
}

pub(super) async fn list(
    Of(kind): Of,
    State(desk): State<Arc<Desk>>,
    visitor: Visitor,
    uri: Uri,
) -> Response {
    let wanted: Wanted = query(&uri);
    let sees_all = kind != KeyKind::ApplicationKey || visitor.may(Permission::OrgAppKeysRead);
    match keys::keys(&desk, &visitor, kind, !sees_all).await {
        Ok(found) => {
            let shown = listed(&desk, &visitor, kind, wanted, &found, sees_all);
            page(StatusCode::OK, shown)
        }
        Err(error) => match error.refusal() {
            // The page is in the navigation of everybody: it says why it shows nothing.
            Some(Refusal::NotPermitted { .. }) => {
                let status = status_of(&error);
                let refused = sentence(&error, visitor.language);
                let mut shown = listed(&desk, &visitor, kind, wanted, &[], sees_all);
                (shown.refused, shown.no_button) = (Some(refused), None);
                page(status, shown)
            }
            _ => failed(&visitor, &error),
        },
    }
}

fn listed(
    desk: &Desk,
    visitor: &Visitor,
    kind: KeyKind,
    wanted: Wanted,
    found: &[KeyView],
    sees_all: bool,
) -> ListPage {
    let (language, now) = (visitor.language, Now::of(visitor));
    let (w, k) = (words(language), words_kinds::of(language, kind));
    let limits = desk.service.store().limits();
    let (most, counted) = (limits.most(kind), own(kind, visitor));
    let active = keys::active(found, counted);
    let is_full = active >= most as usize;
    // Admins whose own keys are too many make them for service accounts.
    let is_full = is_full && !(kind == KeyKind::ApplicationKey && sees_all);
    let permitted = may(visitor, kind, Whose::Own, Touch::Make);
    let no_button = match (permitted, is_full) {
        (false, _) => takes(kind, Whose::Own, Touch::Make)
            .map(|permission| Refusal::NotPermitted { permission }),
        (true, true) => Some(Refusal::TooMany { kind, most }),
        (true, false) => None,
    };

    let (by, falling) = wanted.sorted_by();
    let mut keys: Vec<&KeyView> = found.iter().filter(|key| wanted.takes(key)).collect();
    sort(&mut keys, by, falling);
    let all = keys.len();
    let pages = all.div_ceil(ON_A_PAGE).max(1);
    let number = wanted.page.parse::<usize>().unwrap_or(1).clamp(1, pages);
    let first = (number - 1) * ON_A_PAGE;
    let rows: Vec<Row> = keys
        .into_iter()
        .skip(first)
        .take(ON_A_PAGE)
        .map(|key| row(key, visitor, now))
        .collect();
    let last = first + rows.len();
    let to = |number: usize| wanted.href(base(kind), &wanted.sort, number);
    ListPage {
        shell: visitor.shell(section(kind)),
        w,
        k,
        base: base(kind),
        is_application: kind == KeyKind::ApplicationKey,
        refused: None,
        counts: words_kinds::counts(language, kind, active, most),
        may_create: permitted && !is_full,
        no_button: no_button.map(|refusal| sentence(&refusal.into(), language)),
        only_own: !sees_all,
        has_any: !found.is_empty(),
        columns: columns(kind, w, by, falling),
        orders: orders(w, by, falling),
        found: words_keys::found(language, first + 1, last, all),
        previous: (number > 1).then(|| to(number - 1)),
        next: (number < pages).then(|| to(number + 1)),
        rows,
        wanted,
    }
}

/// Whose keys the limit of a kind counts for this visitor.
pub(super) fn own(kind: KeyKind, visitor: &Visitor) -> Option<UserId> {
    (kind == KeyKind::ApplicationKey).then_some(visitor.user.id)
}

fn row(key: &KeyView, visitor: &Visitor, now: Now) -> Row {
    // Whether somebody else's is a service account's is not known here: the page of the key knows.
    let is_own = key.owner_id == Some(visitor.user.id);
    let owner = is_own.then_some(&visitor.user);
    Row {
        key: Facts::of(key, now, &|_| None),
        may_revoke: key.status == KeyStatus::Active && Rights::of(visitor, key.kind, owner).revoke,
    }
}

fn sort(keys: &mut [&KeyView], by: By, falling: bool) {
    // Times as they are written sort as the times do; ids make the order of equals the same on every page.
    keys.sort_by_cached_key(|key| {
        let text = match by {
            By::Name => key.name.to_lowercase(),
            By::Made => key.created_at.clone(),
            By::Used => key.last_used_at.clone().unwrap_or_default(),
        };
        (text, Reverse(key.id))
    });
    if falling {
        keys.reverse();
    }
}

impl Wanted {
    /// By what, and whether the greatest is first.
    fn sorted_by(&self) -> (By, bool) {
        let (word, falling) = match self.sort.strip_prefix('-') {
            Some(word) => (word, true),
            None => (self.sort.as_str(), false),
        };
        let known = [By::Made, By::Used]
            .into_iter()
            .find(|by| by.word() == word);
        (known.unwrap_or(By::Name), falling)
    }

    fn takes(&self, key: &KeyView) -> bool {
        let status = match self.show.as_str() {
            "all" => true,
            "revoked" => key.status == KeyStatus::Revoked,
            _ => key.status == KeyStatus::Active,
        };
        let owner = self.owner.is_empty()
            || key
                .owner_id
                .is_some_and(|owner| owner.to_string() == self.owner);
        let q = self.q.trim().to_lowercase();
        let text = q.is_empty()
            || key.name.to_lowercase().contains(&q)
            || key.last4.to_lowercase() == q.trim_start_matches('•');
        status && owner && text
    }

    /// The address of the same list, sorted so, on this page.
    fn href(&self, base: &str, sort: &str, page: usize) -> String {
        let mut href = format!("{base}?page={page}");
        let parts = [
            ("q", self.q.as_str()),
            ("show", &self.show),
            ("owner", &self.owner),
            ("sort", sort),
        ];
        for (name, value) in parts.into_iter().filter(|(_, value)| !value.is_empty()) {
            let _ = write!(href, "&{name}=");
            for byte in value.bytes() {
                match byte {
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                        href.push(char::from(byte));
                    }
                    _ => {
                        let _ = write!(href, "%{byte:02X}");
                    }
                }
            }
        }
        href
    }
}

/// The heads of the columns, with how the list is sorted by each of them.
fn columns(kind: KeyKind, w: &'static Words, by: By, falling: bool) -> Vec<Column> {
    let plain = |title| Column { title, sorted: "" };
    let sortable = |title, of: By| Column {
        title,
        sorted: match (of == by, falling) {
            (false, _) => "",
            (true, false) => "ascending",
            (true, true) => "descending",
        },
    };
    let mut columns = vec![sortable(w.name, By::Name), plain(w.last_four)];
    if kind == KeyKind::ApplicationKey {
        columns.push(plain(w.owner));
    }
    columns.push(sortable(w.made, By::Made));
    columns.push(sortable(w.last_used, By::Used));
    columns.push(plain(w.status));
    columns.push(plain(w.actions));
    columns
}

/// The orders to choose from: a select, because the heads of the columns are not there on a phone.
fn orders(w: &'static Words, by: By, falling: bool) -> Vec<Order> {
    let order = |value, title, of, falls| Order {
        value,
        title,
        is_chosen: of == by && falls == falling,
    };
    vec![
        order("name", w.sort_name, By::Name, false),
        order("-name", w.sort_name_falling, By::Name, true),
        order("-created", w.sort_newest, By::Made, true),
        order("created", w.sort_oldest, By::Made, false),
        order("-used", w.sort_used, By::Used, true),
        order("used", w.sort_unused, By::Used, false),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_searched_for_cannot_leave_its_place_in_an_address() {
        let wanted = Wanted {
            q: "a&owner=x\"<é".to_owned(),
            show: "all".to_owned(),
            ..Wanted::default()
        };
        let href = wanted.href("/api-keys", "-created", 2);
        let told = "/api-keys?page=2&q=a%26owner%3Dx%22%3C%C3%A9&show=all&sort=-created";
        assert_eq!(href, told);
    }

    #[test]
    fn an_order_that_is_none_is_that_of_the_names() {
        let by = |sort: &str| {
            let sort = sort.to_owned();
            let (by, falling) = Wanted {
                sort,
                ..Wanted::default()
            }
            .sorted_by();
            (by.word(), falling)
        };
        assert_eq!(by(""), ("name", false));
        assert_eq!(by("-created"), ("created", true));
        assert_eq!(by("used"), ("used", false));
        assert_eq!(by("-'; drop"), ("name", true));
    }
}
