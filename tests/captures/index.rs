//! The recordings' index, and whether an answer is one that the recorded client was content with. It sends nothing.

use serde_json::Value;

/// Members that ours have on top, because another client of the same path needs them.
const MORE: &[(&str, &str)] = &[("/api/v2/dora/deployment", "data")];

/// One row of `index.tsv`.
pub struct Row<'a> {
    pub file: &'a str,
    pub target: &'a str,
    pub status: u16,
    pub content_type: Option<&'a str>,
    pub body: Option<Value>,
    pub allows_any_origin: bool,
}

impl<'a> Row<'a> {
    /// Reads one line.
    pub fn parse(line: &'a str) -> Self {
        let columns: Vec<&str> = line.split('\t').collect();
        let [
            file,
            _client,
            _method,
            target,
            _credential,
            _encoding,
            answer,
        ] = columns.as_slice()
        else {
            panic!("seven columns: {line}")
        };
        let (answer, allows_any_origin) =
            match answer.strip_suffix(" with Access-Control-Allow-Origin: *") {
                Some(answer) => (answer, true),
                None => (*answer, false),
            };
        let (status, rest) = answer.split_once(' ').unwrap_or((answer, ""));
        // The content type may hold a space (`text/html; charset=utf-8`), and then no body follows.
        let (content_type, body) = rest
            .split_once(" {")
            .map_or((rest, None), |(kind, _)| (kind, rest.get(kind.len()..)));
        Self {
            file,
            target,
            status: status.parse().unwrap(),
            content_type: (!content_type.is_empty()).then_some(content_type),
            body: body.map(|text| serde_json::from_str(text.trim()).unwrap()),
            allows_any_origin,
        }
    }
}

/// Says where two answers differ in shape: in members, in the types of values, or in an empty list for a full one. Null
/// stands for any value, as it does in the recordings.
fn difference(expected: &Value, given: &Value, at: &str) -> Option<String> {
    match (expected, given) {
        (Value::Null, _) | (_, Value::Null) => None,
        (Value::Object(expected), Value::Object(given)) => {
            if let Some(name) = given.keys().find(|name| !expected.contains_key(*name)) {
                return Some(format!("{at}.{name} is too much"));
            }
            expected
                .iter()
                .find_map(|(name, value)| match given.get(name) {
                    Some(given) => difference(value, given, &format!("{at}.{name}")),
                    None => Some(format!("{at}.{name} is missing")),
                })
        }
        (Value::Array(expected), Value::Array(given)) => match (expected.first(), given.first()) {
            (Some(expected), Some(given)) => difference(expected, given, &format!("{at}[0]")),
            (Some(_), None) => Some(format!("{at} is empty")),
            (None, _) => None,
        },
        _ if std::mem::discriminant(expected) == std::mem::discriminant(given) => None,
        _ => Some(format!("{at} is {given}, not {expected}")),
    }
}

/// Says why the client of this row would not be content with an answer.
pub fn check<'h>(
    row: &Row<'_>,
    status: u16,
    header: impl Fn(&str) -> Option<&'h str>,
    body: &[u8],
) -> Result<(), String> {
    let told = |what: String| {
        Err(format!(
            "{}: {what}\n{status} {}",
            row.file,
            String::from_utf8_lossy(body)
        ))
    };
    if status != row.status {
        return told(format!("status {}, not {}", status, row.status));
    }
    if let Some(kind) = row.content_type
        && header("content-type") != Some(kind)
    {
        return told(format!("content type is not {kind}"));
    }
    if row.allows_any_origin && header("access-control-allow-origin") != Some("*") {
        return told("a browser may not read this".to_owned());
    }
    let Some(expected) = &row.body else {
        return if body.is_empty() {
            Ok(())
        } else {
            told("a body where none is expected".to_owned())
        };
    };
    let Ok(mut given) = serde_json::from_slice::<Value>(body) else {
        return told("not JSON".to_owned());
    };
    for (_, member) in MORE.iter().filter(|(target, _)| *target == row.target) {
        let more = given
            .as_object_mut()
            .and_then(|given| given.remove(*member));
        if more.is_none() {
            return told(format!("no {member}, which MORE names"));
        }
    }
    // What a browser is told is its own id, to the letter.
    let id = expected.get("request_id");
    if id.is_some() && id != given.get("request_id") {
        return told("another request id".to_owned());
    }
    difference(expected, &given, "answer").map_or(Ok(()), told)
}
