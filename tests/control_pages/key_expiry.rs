//! How the form of a key deals with a time that its field for a day cannot show. What else is changed is in `key_changes`.

use keygate::control::{KeyChanges, Request};
use keygate::keys::{KeyKind, Timestamp};

use crate::house::House;
use crate::key_pages::{fill, named, secret, send};

#[tokio::test(flavor = "multi_thread")]
async fn a_time_within_a_day_is_shown_and_kept_until_another_day_is_chosen() {
    const NOON: &str = "2099-01-01T12:00:00.000Z";
    let house = House::start().await;
    let mut ann = house.signed_in().await;
    secret(&fill(&mut ann, "/api-keys/new", &[("name", "web")]).await);
    let key = named(&house, KeyKind::ApiKey, "web").await;
    let one = format!("/api-keys/{}", key.id);
    let was_blank = ann.get(&one).await;
    assert!(!was_blank.text.contains("At present:"));
    let noon: jiff::Timestamp = NOON.parse().unwrap();
    let set = Request::UpdateKey {
        kind: KeyKind::ApiKey,
        id: key.id.to_string(),
        change: KeyChanges {
            expires_at: Some(Timestamp(noon.as_millisecond())),
            ..Default::default()
        },
    };
    house.perform(set).await;
    let page = ann.get(&one).await;
    assert!(page.text.contains("At present: 2099-01-01 12:00:00 UTC"));
    let day = "2099-01-01";
    let expires = async |name| named(&house, KeyKind::ApiKey, name).await.expires_at;

    let untouched = [("name", "a"), ("expires", day), ("expires_was", day)];
    assert_eq!(send(&mut ann, &one, &page, &untouched).await.status, 303);
    assert_eq!(expires("a").await.as_deref(), Some(NOON));
    // Whoever still has the page from before it was set leaves it as it is.
    let untouched = [("name", "b"), ("expires", ""), ("expires_was", "")];
    assert_eq!(
        send(&mut ann, &one, &was_blank, &untouched).await.status,
        303
    );
    assert_eq!(expires("b").await.as_deref(), Some(NOON));
    let other = [
        ("name", "c"),
        ("expires", "2099-01-02"),
        ("expires_was", day),
    ];
    assert_eq!(send(&mut ann, &one, &page, &other).await.status, 303);
    assert_eq!(
        expires("c").await.as_deref(),
        Some("2099-01-02T23:59:59.000Z")
    );
}
