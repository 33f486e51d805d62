//! Sixty-four who write at once through the API: the rules hold, and the log tells of every write that was answered with
//! success and of no other. The store's own tests do the same below it.

use futures_util::future::join_all;
use keygate::control::{Request, Response};
use keygate::keys::{KeyKind, Role};
use keygate::store::log::LogFindings;
use serde_json::{Value, json};

use crate::scene::{Pair, Scene, error, id, new, over_both_stores, pair};

const WRITERS: usize = 64;

/// How the log is, after all of it was looked through.
async fn verified(scene: &Scene) -> LogFindings {
    let request = Request::VerifyAudit {
        earlier: Vec::new(),
    };
    match scene.gateway.perform(request).await {
        Response::AuditVerified(findings) => *findings,
        other => panic!("not verified: {other:?}"),
    }
}

async fn active(scene: &Scene) -> Vec<String> {
    let (kind, org) = (KeyKind::ApiKey, scene.acme.id.clone());
    let Response::Keys(keys) = scene.gateway.perform(Request::ListKeys { kind, org }).await else {
        panic!("no keys")
    };
    let keys = keys.iter().filter(|key| key.revoked_at.is_none());
    keys.map(|key| key.id.to_string()).collect()
}

async fn sixty_four_at_once_hold_every_rule(scene: Scene) {
    let before = verified(&scene).await;
    let mut done = 0;
    let admin = pair(&scene.acme);

    // Five API keys, of which there is one.
    let make = |number: usize| {
        let body = new("api_keys", json!({"name": format!("key {number}")}));
        scene.call("POST /api/v2/api_keys", body)
    };
    let replies = join_all((0..WRITERS).map(make)).await;
    let (made, refused): (Vec<_>, Vec<_>) = replies.iter().partition(|it| it.status == 201);
    assert_eq!(made.len(), 4);
    for reply in refused {
        assert_eq!(reply.status, 400, "{}", reply.text());
        assert!(error(reply).contains("at most 5"), "{}", error(reply));
    }
    done += made.len();
    let mut pairs = vec![admin.clone()];
    let mut keys = vec![scene.acme.api_key.id.to_string()];
    for reply in made {
        let api_key = reply.json()["data"]["attributes"]["key"]
            .as_str()
            .unwrap()
            .to_owned();
        let application_key = admin.application_key.clone();
        pairs.push(Pair {
            api_key,
            application_key,
        });
        keys.push(id(reply));
    }

    // One name.
    let make = |_| {
        let body = new("client_tokens", json!({"name": "the one"}));
        scene.call("POST /api/v2/client_tokens", body)
    };
    let replies = join_all((0..WRITERS).map(make)).await;
    let made = replies.iter().filter(|reply| reply.status == 201).count();
    assert_eq!(made, 1);
    let taken = replies
        .iter()
        .filter(|reply| reply.status == 400 && error(reply).contains("\"the one\""));
    assert_eq!(taken.count(), WRITERS - 1);
    done += made;

    // The last key stays, whoever revokes whichever, until nobody's is left but one.
    while active(&scene).await.len() > 1 {
        let revoke = |number: usize| {
            let line = format!("DELETE /api/v2/api_keys/{}", keys[number % keys.len()]);
            let pair = pairs[(number / keys.len()) % pairs.len()].clone();
            let scene = &scene;
            async move { scene.call_as(&pair, &line, Value::Null).await }
        };
        let replies = join_all((0..WRITERS).map(revoke)).await;
        done += replies.iter().filter(|reply| reply.status == 204).count();
        for reply in &replies {
            // The pair may be gone by now, the key too, or it is the last one.
            assert!(
                matches!(reply.status, 204 | 400 | 403 | 404),
                "{}",
                reply.text()
            );
        }
    }
    let left = active(&scene).await;
    assert_eq!(left.len(), 1);
    let at = keys.iter().position(|key| *key == left[0]).unwrap();
    let last = pairs.swap_remove(at);
    let line = format!("DELETE /api/v2/api_keys/{}", left[0]);
    let refused = scene.call_as(&last, &line, Value::Null).await;
    assert_eq!(refused.status, 400, "{}", refused.text());

    // The last admin stays. Eight of them take each other's role away, or disable each other.
    let mut admins = vec![(scene.acme.user.clone(), last.clone())];
    let prepared = verified(&scene).await.entries;
    for number in 1..8 {
        let (id, pair) = scene.member(&format!("admin{number}"), Role::Admin).await;
        let application_key = pair.application_key;
        let api_key = last.api_key.clone();
        admins.push((
            id,
            Pair {
                api_key,
                application_key,
            },
        ));
    }
    let prepared = verified(&scene).await.entries - prepared;
    let change = |number: usize| {
        let (_, pair) = &admins[number % 8];
        let (user, _) = &admins[(number / 8 + number + 1) % 8];
        let op = match number % 2 {
            0 => json!({"op": "set_user_disabled", "user": user, "disabled": true}),
            _ => json!({"op": "update_user", "user": user, "change": {"role": "read_only"}}),
        };
        async { scene.call_as(pair, "POST /api/v2/operations", op).await }
    };
    let replies = join_all((0..WRITERS).map(change)).await;
    let changes = replies.iter().filter(|reply| reply.status == 200);
    // Who is read-only already is changed no further by being made so again, and may be disabled after.
    done += changes
        .filter(|reply| reply.header("x-audit-id").is_some())
        .count();
    let Response::Users(users) = scene
        .gateway
        .perform(Request::ListUsers {
            org: scene.acme.id.clone(),
            kind: keygate::keys::UserKind::Person,
        })
        .await
    else {
        panic!("no users")
    };
    let is_admin = |user: &&keygate::control::UserView| user.role == Role::Admin && !user.disabled;
    assert!(users.iter().filter(is_admin).count() >= 1, "{users:#?}");
    assert!(
        replies.iter().any(|reply| reply.status != 200),
        "nobody was refused"
    );

    let after = verified(&scene).await;
    assert!(after.faults.is_empty(), "{after:?}");
    assert_eq!(after.entries - before.entries - prepared, done as u64);
}

over_both_stores! { sixty_four_at_once_hold_every_rule }
