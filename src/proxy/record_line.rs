//! A record as one line of JSON. What the fields are, is `record`'s business; where lines go, is `recorder`'s.
//!
//! A line is written for every request, so its names are joined when it is compiled, its numbers are integers, and a text that
//! needs no escape is copied. A serialiser that is told of one field after another took four times the instructions.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use super::record::{RequestId, RequestRecord, decision_word};
use super::route::Family;
use crate::keys::Reason;
use crate::keys::table::Names;

/// Makes lines of records. It remembers the second it wrote last, whose text most records share.
#[derive(Debug, Default)]
pub struct LineWriter {
    second: Option<u64>,
    second_text: String,
}

/// Appends `,"name":` for a name of the record.
macro_rules! field {
    ($line:expr, $name:literal) => {
        $line.extend_from_slice(concat!(",\"", $name, "\":").as_bytes())
    };
}

impl LineWriter {
    /// Appends the record as one line of JSON, with what those are called whom it is attributed to.
    pub fn write(&mut self, record: &RequestRecord, names: &Names, line: &mut Vec<u8>) {
        let owned = &record.attribution;
        line.extend_from_slice(b"{\"time\":\"");
        self.time(line, record.at);
        line.extend_from_slice(b"\",\"http.request.method\":\"");
        line.extend_from_slice(record.method.as_bytes());
        line.push(b'"');
        if let Some(route) = record.route {
            field!(line, "http.route");
            text(line, route);
        }
        field!(line, "url.path");
        text(line, &record.path);
        if let Some(status) = record.status {
            field!(line, "http.response.status_code");
            number(line, status.as_u16().into());
        }
        field!(line, "http.request.body.size");
        number(line, record.request_bytes);
        field!(line, "http.response.body.size");
        number(line, record.response_bytes);
        field!(line, "duration_ms");
        milliseconds(line, record.duration);
        field!(line, "auth.duration_ms");
        milliseconds(line, record.auth_duration);
        if let Some(duration) = record.upstream_duration {
            field!(line, "upstream.duration_ms");
            milliseconds(line, duration);
        }
        field!(line, "client.address");
        address(line, record.client);
        if let Some(agent) = &record.user_agent {
            field!(line, "user_agent.original");
            text(line, agent);
        }
        field!(line, "request.id");
        match &record.request_id {
            Some(RequestId::Made(id)) => hex(line, *id),
            Some(RequestId::Given(id)) => text(line, id),
            None => word(line, ""),
        }
        field!(line, "trace_id");
        match record.trace_id {
            Some(id) => hex(line, id),
            None => word(line, ""),
        }
        if let Some(upstream) = record.upstream {
            field!(line, "upstream.name");
            text(line, upstream);
        }
        field!(line, "retries");
        number(line, record.retries.into());
        if let Some(family) = record.family.map(Family::as_str) {
            field!(line, "route.family");
            word(line, family);
        }
        field!(line, "auth.decision");
        word(line, decision_word(record.decision));
        if let Some(reason) = record.reason.map(Reason::as_str) {
            field!(line, "auth.reason");
            word(line, reason);
        }
        if let Some(kind) = record.auth_kind() {
            field!(line, "auth.kind");
            word(line, kind);
        }
        if let Some(key) = &owned.key {
            field!(line, "auth.key_id");
            uuid(line, key.id.0);
        }
        if let Some(name) = &names.key {
            field!(line, "auth.key_name");
            text(line, name);
        }
        if let Some(key) = &owned.application_key {
            field!(line, "auth.app_key_id");
            uuid(line, key.id.0);
        }
        if record.shadow_revoked {
            field!(line, "auth.shadow_revoked");
            line.extend_from_slice(b"true");
        }
        if let Some(revision) = record.view_revision {
            field!(line, "auth.view_revision");
            number(line, revision);
        }
        if let Some(age) = record.view_age {
            field!(line, "auth.view_age_ms");
            milliseconds(line, age);
        }
        if let Some((id, _)) = &owned.org {
            field!(line, "org.id");
            uuid(line, id.0);
        }
        if let Some(name) = &names.org {
            field!(line, "org.name");
            text(line, name);
        }
        if let Some((id, _)) = &owned.user {
            field!(line, "user.id");
            uuid(line, id.0);
        }
        if let Some(name) = &names.user {
            field!(line, "user.name");
            text(line, name);
        }
        if let Some(error) = record.error {
            field!(line, "error.type");
            word(line, error);
        }
        line.extend_from_slice(b"}\n");
    }

    /// RFC 3339 in UTC, to the millisecond.
    fn time(&mut self, line: &mut Vec<u8>, at: SystemTime) {
        let since = at
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        if self.second != Some(since.as_secs()) {
            self.second = Some(since.as_secs());
            self.second_text.clear();
            let second = SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs());
            if let Ok(at) = jiff::Timestamp::try_from(second) {
                // Writing to a String cannot fail.
                let _ = write!(self.second_text, "{at:.0}");
            }
        }
        line.extend_from_slice(self.second_text.trim_end_matches('Z').as_bytes());
        line.push(b'.');
        three_digits(line, since.subsec_millis());
        line.push(b'Z');
    }
}

fn three_digits(line: &mut Vec<u8>, number: u32) {
    for place in [100, 10, 1] {
        line.push(b'0' + u8::try_from(number / place % 10).unwrap_or(0));
    }
}

/// To the microsecond.
fn milliseconds(line: &mut Vec<u8>, duration: Duration) {
    let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    number(line, us / 1000);
    line.push(b'.');
    three_digits(line, u32::try_from(us % 1000).unwrap_or(0));
}

fn number(line: &mut Vec<u8>, number: u64) {
    line.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn hex(line: &mut Vec<u8>, id: u128) {
    line.push(b'"');
    line.extend_from_slice(&super::identity::hex(id));
    line.push(b'"');
}

fn uuid(line: &mut Vec<u8>, id: uuid::Uuid) {
    line.push(b'"');
    let mut digits = [0; uuid::fmt::Hyphenated::LENGTH];
    line.extend_from_slice(id.hyphenated().encode_lower(&mut digits).as_bytes());
    line.push(b'"');
}

fn address(line: &mut Vec<u8>, address: IpAddr) {
    line.push(b'"');
    match address {
        IpAddr::V4(address) => {
            for (at, octet) in address.octets().into_iter().enumerate() {
                if at > 0 {
                    line.push(b'.');
                }
                number(line, octet.into());
            }
        }
        IpAddr::V6(address) => line.extend_from_slice(address.to_string().as_bytes()),
    }
    line.push(b'"');
}

/// A word of ours, which needs no escape.
fn word(line: &mut Vec<u8>, word: &'static str) {
    line.push(b'"');
    line.extend_from_slice(word.as_bytes());
    line.push(b'"');
}

/// A string, escaped where it has to be (RFC 8259, 7).
fn text(line: &mut Vec<u8>, text: &str) {
    // Without a way out of the loop, so that it looks at many bytes at a time.
    let needs_escape = |found, byte: u8| found | (byte < 0x20) | (byte == b'"') | (byte == b'\\');
    if text.bytes().fold(false, needs_escape) {
        let before = line.len();
        if serde_json::to_writer(&mut *line, text).is_ok() {
            return;
        }
        // Strings always serialise; were it ever otherwise, half of one must not be written.
        line.truncate(before);
        line.extend_from_slice(b"\"\"");
        return;
    }
    line.push(b'"');
    line.extend_from_slice(text.as_bytes());
    line.push(b'"');
}

#[cfg(test)]
mod tests {
    use http::{Method, StatusCode};
    use proptest::prelude::*;

    use super::*;

    fn line(record: &RequestRecord) -> String {
        let mut line = Vec::new();
        LineWriter::default().write(record, &Names::default(), &mut line);
        String::from_utf8(line).unwrap()
    }

    fn record(at: SystemTime) -> RequestRecord {
        RequestRecord::begin(Some(&Method::POST), IpAddr::from([127, 0, 0, 1]), at)
    }

    #[test]
    fn a_record_is_one_line_whatever_its_client_sends() {
        let mut record = record(SystemTime::now());
        record.path = "/a\n{\"forged\":1}\u{1b}[31m".into();
        record.user_agent = Some("x\r\ny\u{2028}".into());
        let text = line(&record);
        assert_eq!(text.matches('\n').count(), 1);
        assert!(!text.contains('\u{1b}') && !text.contains('\r'));
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["url.path"], "/a\n{\"forged\":1}\u{1b}[31m");
        assert_eq!(read["auth.decision"], "none");
    }

    #[test]
    fn times_and_durations_are_exact() {
        let mut writer = LineWriter::default();
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_764_547_199_007, "2025-11-30T23:59:59.007Z"),
            (1_764_547_199_999, "2025-11-30T23:59:59.999Z"),
            (1_764_547_200_000, "2025-12-01T00:00:00.000Z"),
        ] {
            let mut record = record(SystemTime::UNIX_EPOCH + Duration::from_millis(ms));
            record.duration = Duration::from_nanos(1_234_567);
            record.auth_duration = Duration::from_micros(50);
            let mut line = Vec::new();
            writer.write(&record, &Names::default(), &mut line);
            let read: serde_json::Value = serde_json::from_slice(&line).unwrap();
            assert_eq!(read["time"], text);
            assert_eq!(
                (&read["duration_ms"], &read["auth.duration_ms"]),
                (&1.234.into(), &0.05.into())
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_what_is_read(
            path in ".*", agent in proptest::option::of(".*"), id in any::<u128>(), v6 in any::<u128>(), bytes in any::<u64>()
        ) {
            let mut record = record(SystemTime::now());
            record.path = path.as_str().into();
            record.user_agent = agent.as_deref().map(Into::into);
            record.request_id = Some(RequestId::Made(id));
            record.trace_id = Some(id);
            record.client = IpAddr::from(v6.to_be_bytes());
            record.request_bytes = bytes;
            record.status = Some(StatusCode::OK);
            let read: serde_json::Value = serde_json::from_str(&line(&record)).unwrap();
            prop_assert_eq!(read["url.path"].as_str(), Some(path.as_str()));
            prop_assert_eq!(read["user_agent.original"].as_str(), agent.as_deref());
            prop_assert_eq!(&read["request.id"], &format!("{id:032x}"));
            prop_assert_eq!(&read["trace_id"], &format!("{id:032x}"));
            prop_assert_eq!(&read["client.address"], &record.client.to_string());
            prop_assert_eq!(&read["http.request.body.size"], &serde_json::Value::from(bytes));
            prop_assert_eq!(&read["http.response.status_code"], &serde_json::Value::from(200));
        }
    }
}
