//! Every request recorded from a real client is sent through the gateway, its fake keys replaced by real ones of the
//! same length: the client must be content with the answer, and the upstream must get the same request without a
//! credential and with an identity. What each client does afterwards is tested with the clients themselves.

use std::collections::BTreeMap;
use std::path::Path;

use keygate::demo::Received;
use serde_json::Value;

use super::harness::{Gateway, Org, Reply, secret};
use super::index::{Row, check};

/// The secrets of the recordings. The longer ones hold the shortest, so the order matters.
const FAKE: [&str; 3] = [
    "0123456789abcdef0123456789abcdef01234567",
    "pub0123456789abcdef0123456789abcdef",
    "0123456789abcdef0123456789abcdef",
];
/// What carries a credential in a query.
const CARRIERS: [&str; 3] = ["api_key=", "application_key=", "dd-api-key="];
/// The v1 key management, whose ids are the secrets, is closed.
const CLOSED: [&str; 2] = ["/api/v1/api_key", "/api/v1/application_key"];

fn replaced(bytes: &[u8], org: &Org) -> Vec<u8> {
    let real = [
        secret(&org.application_key),
        secret(&org.client_token),
        secret(&org.api_key),
    ];
    let mut bytes = bytes.to_vec();
    for (fake, real) in FAKE.into_iter().zip(real) {
        assert_eq!(fake.len(), real.len());
        while let Some(at) = bytes
            .windows(fake.len())
            .position(|window| window == fake.as_bytes())
        {
            bytes.splice(at..at + fake.len(), real.bytes());
        }
    }
    bytes
}

/// A recorded request, taken apart.
struct Sent {
    target: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Sent {
    fn read(bytes: &[u8]) -> Self {
        let end = bytes
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .unwrap();
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let mut lines = head.split("\r\n");
        let target = lines.next().unwrap().split(' ').nth(1).unwrap().to_owned();
        let headers: BTreeMap<_, _> = lines
            .map(|line| {
                let (name, value) = line.split_once(':').unwrap();
                (name.to_ascii_lowercase(), value.trim().to_owned())
            })
            .collect();
        let body = &bytes[end + 4..];
        let body = if headers.contains_key("transfer-encoding") {
            unchunked(body)
        } else {
            body.to_vec()
        };
        Self {
            target,
            headers,
            body,
        }
    }

    /// The target as the upstream should see it.
    fn forwarded(&self) -> String {
        let mut target = self.target.clone();
        if let Some((_, inner)) = target.split_once("ddforward=") {
            let inner = decoded(inner);
            // Its host is the SDK's idea of where it would go without a proxy.
            let path = inner.split_once("://").map_or(0, |(scheme, rest)| {
                scheme.len() + 3 + rest.find('/').unwrap()
            });
            target = inner[path..].to_owned();
        }
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let path = if path.starts_with("/v1/input/") {
            "/v1/input"
        } else {
            path
        };
        let query: Vec<_> = query
            .split('&')
            .filter(|pair| !CARRIERS.iter().any(|carrier| pair.starts_with(carrier)))
            .collect();
        match query.join("&").as_str() {
            "" => path.to_owned(),
            query => format!("{path}?{query}"),
        }
    }
}

fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    loop {
        let end = body.windows(2).position(|two| two == b"\r\n").unwrap();
        let size = usize::from_str_radix(std::str::from_utf8(&body[..end]).unwrap(), 16).unwrap();
        whole.extend_from_slice(&body[end + 2..end + 2 + size]);
        body = &body[end + 4 + size..];
        if size == 0 {
            return whole;
        }
    }
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next().unwrap(), rest.next().unwrap()];
            let digits = std::str::from_utf8(&digits).unwrap();
            bytes.push(u8::from_str_radix(digits, 16).unwrap());
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// Checks what reached the upstream.
fn check_received(sent: &Sent, received: &Received, org: &Org, wrong: &mut Vec<String>) {
    let mut compare = |what: &str, is: Option<&str>, should: Option<&str>| {
        if is != should {
            wrong.push(format!("{what} is {is:?} upstream, not {should:?}"));
        }
    };
    compare("target", Some(&received.target), Some(&sent.forwarded()));
    for name in ["content-type", "content-encoding", "user-agent", "accept"] {
        let should = sent.headers.get(name).map(String::as_str);
        compare(name, received.header(name), should);
    }
    let carriers = [
        "dd-api-key",
        "dd-application-key",
        "authorization",
        "cookie",
    ];
    for name in carriers {
        compare(name, received.header(name), None);
    }
    compare(
        "x-keygate-org-id",
        received.header("x-keygate-org-id"),
        Some(&org.id),
    );
    let kind = received.header("x-keygate-key-kind").unwrap_or_default();
    let key = match kind {
        "client_token" => &org.client_token,
        _ => &org.api_key,
    };
    let key = key.id.to_string();
    compare(
        "x-keygate-key-id",
        received.header("x-keygate-key-id"),
        Some(&key),
    );
    let user = (kind == "pair").then_some(org.user.as_str());
    compare(
        "x-keygate-user-id",
        received.header("x-keygate-user-id"),
        user,
    );
    if received.body != sent.body || !received.is_whole {
        wrong.push(format!("another body upstream: {received:?}"));
    }
    let head = format!("{} {:?}", received.target, received.headers);
    for key in [&org.api_key, &org.application_key, &org.client_token] {
        if head.contains(secret(key)) {
            wrong.push(format!("a credential upstream: {head}"));
        }
    }
}

/// Checks what the record says.
fn check_record(row: &Row<'_>, sent: &Sent, record: &Value, org: &Org, wrong: &mut Vec<String>) {
    let closed = CLOSED.iter().any(|path| row.target.starts_with(path));
    let decision = if closed { "bad" } else { "allowed" };
    let key = if row.file.starts_with("browser_logs") {
        &org.client_token
    } else {
        &org.api_key
    };
    let user = (record["auth.kind"] == "pair").then_some(org.user.as_str());
    let fields = [
        ("auth.decision", Some(decision)),
        ("auth.key_id", Some(&*key.id.to_string())),
        ("org.id", Some(&*org.id)),
        ("org.name", Some(&*org.name)),
        ("user.id", user),
    ]
    .map(|(field, should)| (field, should.map(ToOwned::to_owned)));
    for (field, should) in fields {
        if record.get(field).and_then(Value::as_str) != should.as_deref() {
            wrong.push(format!("{field} is not {should:?} in {record}"));
        }
    }
    let bytes = u64::try_from(sent.body.len()).unwrap();
    if record.get("upstream.name").is_some() && record["http.request.body.size"] != bytes {
        wrong.push(format!("not {bytes} bytes in {record}"));
    }
    let shown = record.to_string();
    for key in [&org.api_key, &org.application_key, &org.client_token] {
        if shown.contains(secret(key)) {
            wrong.push(format!("a secret in {shown}"));
        }
    }
    // The ids of the v1 key management are secrets, of keys that are not ours.
    if let Some(id) = row.target.strip_prefix("/api/v1/api_key/")
        && shown.contains(id)
    {
        wrong.push(format!("a foreign secret in {shown}"));
    }
}

fn check_reply(row: &Row<'_>, reply: &Reply, wrong: &mut Vec<String>) {
    if CLOSED.iter().any(|path| row.target.starts_with(path)) {
        let text = reply.text();
        if reply.status != 403 || !text.contains("v2 key management API") {
            wrong.push(format!("{} {text} for a closed path", reply.status));
        }
    } else {
        let header = |name: &str| reply.header(name);
        wrong.extend(check(row, reply.status, header, &reply.body).err());
    }
}

#[tokio::test]
async fn every_recorded_request_passes_untouched_and_attributed() {
    let gateway = Gateway::start().await;
    let org = gateway.org("acme").await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures");
    let index = std::fs::read_to_string(folder.join("index.tsv")).unwrap();
    let rows: Vec<Row<'_>> = index.lines().skip(1).map(Row::parse).collect();
    assert_eq!(rows.len(), 118);

    let mut told = Vec::new();
    let mut passed = 0;
    for row in &rows {
        let mut wrong = Vec::new();
        let bytes = replaced(&std::fs::read(folder.join(row.file)).unwrap(), &org);
        let sent = Sent::read(&bytes);
        let before = gateway.intake().requests().len();
        let reply = gateway.send(&bytes).await;
        check_reply(row, &reply, &mut wrong);
        let record = gateway.record_of(&reply).await;
        check_record(row, &sent, &record, &org, &mut wrong);
        let received = gateway.intake().requests().split_off(before);
        let upstream = record.get("upstream.name").is_some();
        if received.len() != usize::from(upstream) {
            wrong.push(format!("{} requests upstream: {record}", received.len()));
        }
        for received in &received {
            passed += 1;
            check_received(&sent, received, &org, &mut wrong);
        }
        if !wrong.is_empty() {
            told.push(format!("{}\n  {}", row.file, wrong.join("\n  ")));
        }
    }
    assert!(
        told.is_empty(),
        "{} of {}:\n{}",
        told.len(),
        rows.len(),
        told.join("\n")
    );
    // All but the v1 key management and what keygate answers itself.
    assert!(passed > 95, "{passed} went on");
    assert_eq!(gateway.wait_records(rows.len()).await.len(), rows.len());
}
