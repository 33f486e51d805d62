//! What is answered about keys of every kind, once: a page of them, one, one that was made, changed or given a successor. What
//! the document of a kind looks like is in that kind's file.

use serde::Serialize;
use utoipa::ToSchema;

use super::answers::{Answer, Document, Failure, Meta, PageMeta, Reply, ToOne};
use super::auth::Asker;
use super::key_parts::{Rotation, facts, included, rotated};
use super::paging::KeyQuery;
use crate::control::{KeyChanges, KeyView, Performed, Request, Response};
use crate::keys::KeyKind;

/// The document of one kind of key.
pub(super) trait KeyDocument: Serialize + ToSchema + Sized {
    /// The kind.
    const KIND: KeyKind;
    /// Its name in documents.
    const TYPE: &'static str;

    /// Of a key.
    fn of(key: KeyView) -> Self;

    /// Of a successor: with the key that it succeeds.
    fn succeeding(self, old: ToOne) -> Self;
}

/// How many keys there may be.
pub(super) enum Most {
    /// In the org.
    OfOrg(u32),
    /// Of each user.
    OfUser(u32),
}

/// A page of keys, as they are shown.
pub(super) async fn page<D: KeyDocument>(
    asker: &Asker,
    query: &KeyQuery,
    all: Vec<KeyView>,
    most: Most,
    shown: impl Fn(D) -> D,
) -> Answer {
    let (page, count) = query.page(all, facts)?;
    let included = included(asker, query, &page).await?;
    let (max_allowed, max_allowed_per_user) = match most {
        Most::OfOrg(most) => (Some(most), None),
        Most::OfUser(most) => (None, Some(most)),
    };
    let data: Vec<D> = page.into_iter().map(|key| shown(D::of(key))).collect();
    Ok(Reply::ok(&Document {
        included,
        data,
        meta: Some(Meta {
            page: PageMeta {
                total_filtered_count: Some(count),
                ..PageMeta::default()
            },
            max_allowed,
            max_allowed_per_user,
        }),
    }))
}

/// One key, as it is shown, with whom it refers to.
pub(super) async fn one<D: KeyDocument>(
    asker: &Asker,
    query: &KeyQuery,
    key: KeyView,
    shown: impl Fn(D) -> D,
) -> Answer {
    let included = included(asker, query, [&key]).await?;
    Ok(Reply::ok(&Document {
        included,
        ..Document::of(shown(D::of(key)))
    }))
}

/// Makes a key: 201, with its secret.
pub(super) async fn make<D: KeyDocument>(asker: &Asker, request: Request) -> Answer {
    let performed = asker.perform(request).await?;
    let audit = performed.audit;
    let key = key_of(performed)?;
    Ok(Reply::created(&Document::of(D::of(key))).noted(audit))
}

/// Changes a key.
pub(super) async fn change<D: KeyDocument>(
    asker: &Asker,
    id: String,
    change: KeyChanges,
) -> Answer {
    let kind = D::KIND;
    let performed = asker
        .perform(Request::UpdateKey { kind, id, change })
        .await?;
    let audit = performed.audit;
    let key = key_of(performed)?;
    Ok(Reply::ok(&Document::of(D::of(key))).noted(audit))
}

/// Gives a key a successor: 201, with its secret.
pub(super) async fn succeed<D: KeyDocument>(asker: &Asker, id: &str, how: Rotation) -> Answer {
    let (old, new, audit) = rotated(asker, D::KIND, id, how).await?;
    let new = D::of(new).succeeding(ToOne::new(D::TYPE, old.id));
    Ok(Reply::created(&Document::of(new)).noted(audit))
}

/// The key that an operation made or changed.
fn key_of(performed: Performed) -> Result<KeyView, Failure> {
    match performed.response {
        Response::Key(key) => Ok(key),
        _ => Err(Failure::unexpected()),
    }
}
