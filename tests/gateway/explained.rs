//! What is explained of a request is what the running gateway did with it. It knows no expectation of its own.

use keygate::control::explain::{Explanation, Question};
use keygate::control::{Request, Response, SecretText};
use keygate::demo::Received;
use serde_json::Value;

use super::harness::{Gateway, Reply};

fn text(text: &str) -> SecretText {
    SecretText::new(text.to_owned().into())
}

/// The explanation of a request: `line` is method and target.
pub async fn explain(gateway: &Gateway, line: &str, headers: &[(&str, &str)]) -> Explanation {
    let (method, target) = line.split_once(' ').unwrap();
    let mut all = vec![("Host".to_owned(), text("gateway.test"))];
    all.extend(
        headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), text(value))),
    );
    let question = Box::new(Question {
        method: method.to_owned(),
        target: text(target),
        headers: all,
        address: None,
        key: None,
        application_key: None,
    });
    match gateway.perform(Request::Explain { question }).await {
        Response::Explained(explained) => *explained,
        other => panic!("not explained: {other:?}"),
    }
}

/// What of an explanation is not what happened.
pub fn differences(
    explained: &Explanation,
    reply: &Reply,
    record: &Value,
    received: &[Received],
) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut compare = |what: &str, explained: Option<String>, done: Option<String>| {
        if explained != done {
            wrong.push(format!(
                "{what} is explained as {explained:?}, and was {done:?}"
            ));
        }
    };
    let seen = |field: &str| {
        let value = record.get(field).and_then(Value::as_str);
        value.map(ToOwned::to_owned)
    };
    fn id(id: Option<&impl ToString>) -> Option<String> {
        id.map(ToString::to_string)
    }
    compare(
        "decision",
        Some(explained.decision.clone()),
        seen("auth.decision"),
    );
    let reason = seen("auth.reason").or_else(|| seen("error.type"));
    compare("reason", explained.reason.clone(), reason);
    compare("route", explained.route.clone(), seen("http.route"));
    compare("key", id(explained.key_id.as_ref()), seen("auth.key_id"));
    let application_key = id(explained.application_key_id.as_ref());
    compare("application key", application_key, seen("auth.app_key_id"));
    compare("org", id(explained.org_id.as_ref()), seen("org.id"));
    compare("user", id(explained.user_id.as_ref()), seen("user.id"));
    if let Some(answer) = &explained.answer {
        compare(
            "status",
            Some(answer.status.to_string()),
            Some(reply.status.to_string()),
        );
        for (name, value) in &answer.headers {
            compare(
                name,
                Some(value.clone()),
                reply.header(name).map(ToOwned::to_owned),
            );
        }
        if let Some(body) = &answer.body {
            compare("body", Some(body.clone()), Some(reply.text()));
        }
    }
    let is_sent = explained.forwarded.as_ref().map(|_| 1);
    let was_sent = (!received.is_empty()).then_some(received.len());
    compare("forwarded", id(is_sent.as_ref()), id(was_sent.as_ref()));
    if let (Some(forward), [sent]) = (&explained.forwarded, received) {
        compare(
            "upstream",
            Some(forward.upstream.clone()),
            seen("upstream.name"),
        );
        for (name, value) in &forward.headers {
            let got = sent.header(name).map(ToOwned::to_owned);
            compare(name, Some(value.clone()), got);
        }
    }
    wrong
}
