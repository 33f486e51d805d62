//! `keygate explain`: a request as it would be given to curl, or one that a record tells of, becomes a question. What would be
//! decided is found out elsewhere, by what decides it.

mod record;

use std::io::Read as _;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use zeroize::Zeroizing;

use crate::cli::connect::{At, perform};
use crate::cli::show::show;
use crate::cli::{EXIT_USAGE, complain};
use crate::control::explain::Question;
use crate::control::{Request, SecretText};

/// The longest file of headers.
const HEADERS_BYTES_MAX: u64 = 64 * 1024;

/// `explain`
#[derive(Args)]
pub(super) struct ExplainArgs {
    #[command(flatten)]
    at: At,
    /// Its address: scheme and host are passed over
    #[arg(value_name = "ADDRESS", required_unless_present = "record")]
    target: Option<String>,
    /// Its method [default: GET, with -d POST]
    #[arg(short = 'X', long = "request", value_name = "METHOD")]
    method: Option<String>,
    /// A header, as in 'DD-API-KEY: $DD_API_KEY'; or @FILE with one a line (may be given again)
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    headers: Vec<String>,
    /// Its body, which is not looked at
    #[arg(short = 'd', long = "data", value_name = "DATA")]
    data: Option<String>,
    /// Where it comes from [default: this machine]
    #[arg(long, value_name = "IP")]
    address: Option<String>,
    /// As if this API key or client token were presented, and no other
    #[arg(long, value_name = "ID")]
    key: Option<String>,
    /// As if this application key were presented, and no other
    #[arg(long, value_name = "ID")]
    application_key: Option<String>,
    /// The request with this id (X-Request-ID, request.id), as its record tells of it
    #[arg(
        long,
        value_name = "REQUEST",
        conflicts_with_all = ["target", "method", "headers", "data", "address", "key", "application_key"]
    )]
    record: Option<String>,
    /// Where records are, - is standard input [default: the file of the configuration]
    #[arg(long, value_name = "FILE", requires = "record")]
    records: Option<PathBuf>,
}

/// `explain`
pub(super) fn run(options: ExplainArgs) -> ExitCode {
    let (at, outcome) = match options.record {
        Some(id) => return record::run(&options.at, &id, options.records.as_deref()),
        None => question(options),
    };
    let question = match outcome {
        Ok(question) => Box::new(question),
        Err(sentence) => return complain(&sentence, EXIT_USAGE),
    };
    match perform(&at, Request::Explain { question }) {
        Ok(response) => show(&response, at.output),
        Err((sentence, code)) => complain(&sentence, code),
    }
}

/// The request that the options tell of. What is wrong is not quoted: it may be a secret.
fn question(options: ExplainArgs) -> (At, Result<Question, String>) {
    let ExplainArgs {
        at,
        target,
        method,
        headers,
        data,
        address,
        key,
        application_key,
        record: _,
        records: _,
    } = options;
    let read = || {
        let (host, target) = split(&Zeroizing::new(target.unwrap_or_default()))?;
        let mut all = Vec::new();
        for given in headers {
            read_headers(&Zeroizing::new(given), &mut all)?;
        }
        let has_host = all
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("host"));
        if !has_host {
            all.push(("Host".to_owned(), secret(&host)));
        }
        let usual = if data.is_some() { "POST" } else { "GET" };
        Ok(Question {
            method: method.unwrap_or_else(|| usual.to_owned()),
            target,
            headers: all,
            address: parsed::<IpAddr>(address, "--address is no IP address")?,
            key: parsed(key, "--key is the id of a key")?,
            application_key: parsed(application_key, "--application-key is the id of a key")?,
        })
    };
    let outcome = read();
    (at, outcome)
}

fn parsed<T: std::str::FromStr>(text: Option<String>, wrong: &str) -> Result<Option<T>, String> {
    text.map(|text| text.parse().map_err(|_| wrong.to_owned()))
        .transpose()
}

fn secret(text: &str) -> SecretText {
    SecretText::new(Zeroizing::new(text.to_owned()))
}

/// Host and target of an address.
fn split(address: &str) -> Result<(String, SecretText), String> {
    // A fragment is never sent.
    let address = address.split('#').next().unwrap_or_default();
    let (authority, target) = match address.split_once("://") {
        Some((scheme, rest))
            if scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https") =>
        {
            rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()))
        }
        Some(_) | None if address.starts_with('/') => ("localhost", address),
        Some(_) | None => {
            return Err("an address is written as in https://keygate.example.com/api/v2/series, or as its path".to_owned());
        }
    };
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let slash = if target.starts_with('/') { "" } else { "/" };
    Ok((host.to_owned(), secret(&format!("{slash}{target}"))))
}

/// Appends the header that is given, or those of the file.
fn read_headers(given: &str, all: &mut Vec<(String, SecretText)>) -> Result<(), String> {
    let Some(file) = given.strip_prefix('@') else {
        all.push(header(given)?);
        return Ok(());
    };
    let mut text = Zeroizing::new(String::new());
    let read = if file == "-" {
        std::io::stdin()
            .lock()
            .take(HEADERS_BYTES_MAX)
            .read_to_string(&mut text)
    } else {
        std::fs::File::open(file)
            .and_then(|file| file.take(HEADERS_BYTES_MAX).read_to_string(&mut text))
    };
    read.map_err(|error| format!("-H @FILE cannot be read: {error}"))?;
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        all.push(header(line)?);
    }
    Ok(())
}

fn header(text: &str) -> Result<(String, SecretText), String> {
    let wrong = || {
        "a header is written as in 'DD-API-KEY: $DD_API_KEY' (not shown, it may be a secret)"
            .to_owned()
    };
    let (name, value) = text.split_once(':').ok_or_else(wrong)?;
    let (name, value) = (name.trim(), value.trim());
    let variable = value.strip_prefix('$').filter(|name| {
        !name.is_empty()
            && name
                .bytes()
                .all(|it| it.is_ascii_alphanumeric() || it == b'_')
    });
    let value = match variable {
        None => secret(value),
        Some(variable) => {
            let value = std::env::var(variable)
                .map_err(|_| "a variable that a header names is not set".to_owned())?;
            SecretText::new(Zeroizing::new(value))
        }
    };
    Ok((name.to_owned(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart_as_curl_would() {
        for (address, host, target) in [
            (
                "https://a.example/api/v2/series?x=y#z",
                "a.example",
                "/api/v2/series?x=y",
            ),
            ("http://u:p@a.example:8080", "a.example:8080", "/"),
            ("HTTPS://a.example?x", "a.example", "/?x"),
            ("/v1/input/k", "localhost", "/v1/input/k"),
        ] {
            let (found, path) = split(address).unwrap();
            assert_eq!((found.as_str(), path.expose()), (host, target), "{address}");
        }
        assert!(split("a.example/api").is_err() && split("ftp://a/b").is_err());
    }

    #[test]
    fn a_header_that_is_none_is_not_quoted() {
        let error = header("0123456789abcdef").unwrap_err();
        assert!(!error.contains("0123"), "{error}");
        let (name, value) = header("DD-API-KEY:  a:b ").unwrap();
        assert_eq!((name.as_str(), value.expose()), ("DD-API-KEY", "a:b"));
    }
}
