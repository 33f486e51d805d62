//! The gateway of one test: short limits, one org, and the checks that every fault ends with. It knows no fault.

use std::time::Duration;

use keygate::config::{Config, Upstream};
use serde_json::Value;

use crate::client::{Answer, Client};
use crate::harness::{self, Gateway, Org, WAIT_MAX, secret};
use crate::hostile::Hostile;

/// A running gateway with an org.
pub struct Gate {
    /// The program.
    pub gateway: Gateway,
    /// Its one org.
    pub org: Org,
}

impl Gate {
    /// Before this upstream.
    pub async fn before(upstream: &Hostile) -> Self {
        Self::with(&upstream.url(), |_| {}).await
    }

    /// The same, configured.
    pub async fn with(url: &str, configure: impl FnOnce(&mut Config)) -> Self {
        let gateway = Gateway::before(url, configure).await;
        let org = gateway.org("acme").await;
        Self { gateway, org }
    }

    /// A new connection.
    pub async fn client(&self) -> Client {
        Client::to(self.gateway.app.address).await
    }

    /// The head of a request with the API key, without the empty line at its end.
    pub fn head(&self, line: &str) -> String {
        let key = secret(&self.org.api_key);
        format!("{line} HTTP/1.1\r\nHost: gate.test\r\nDD-API-KEY: {key}\r\n")
    }

    /// A whole request with the API key and a body.
    pub fn post(&self, path: &str, body: &str) -> String {
        let head = self.head(&format!("POST {path}"));
        format!("{head}Content-Length: {}\r\n\r\n{body}", body.len())
    }

    /// A read of the API, with both keys.
    pub fn get(&self, path: &str) -> String {
        self.api(&format!("GET {path}")) + "\r\n"
    }

    /// The head of a request to the API, without the empty line at its end.
    pub fn api(&self, line: &str) -> String {
        let application_key = secret(&self.org.application_key);
        self.head(line) + &format!("DD-APPLICATION-KEY: {application_key}\r\n")
    }

    /// The answer to a request on a connection of its own.
    pub async fn ask(&self, request: impl AsRef<[u8]>) -> Answer {
        let mut client = self.client().await;
        client.send(request).await;
        client.answer().await
    }

    /// The records, once there are so many and nothing is open any more: exactly one for each request.
    pub async fn records(&self, count: usize) -> Vec<Value> {
        self.at_rest().await;
        self.gateway.wait_records(count).await;
        // Whatever would be written too much has been handed over by now; the writer looks every few milliseconds.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let records = self.gateway.records();
        assert_eq!(records.len(), count, "{records:#?}");
        records
    }

    /// The only record; its `error.type` is this.
    pub async fn record_says(&self, error: &str) -> Value {
        let record = self.records(1).await.remove(0);
        assert_eq!(record["error.type"], error, "{record:#}");
        record
    }

    /// What `/metrics` says under this name.
    pub async fn metric(&self, name: &str) -> u64 {
        let text = self.operator("/metrics").await.1;
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim().parse().unwrap()
    }

    /// An answer of the operator's listener.
    pub async fn operator(&self, path: &str) -> (u16, String) {
        let request = format!("GET {path} HTTP/1.1\r\nhost: o\r\nconnection: close\r\n\r\n");
        let mut client = Client::sending(self.gateway.app.admin, request).await;
        let answer = client.answer().await;
        (answer.status, String::from_utf8(answer.body).unwrap())
    }

    /// Waits until no client's connection is open.
    pub async fn at_rest(&self) {
        let deadline = std::time::Instant::now() + WAIT_MAX;
        while self.metric("keygate_connections_open ").await > 0 {
            assert!(
                std::time::Instant::now() < deadline,
                "a connection is stuck"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// The limits of the only upstream.
pub fn upstream(config: &mut Config) -> &mut Upstream {
    config.upstreams.get_mut("default").unwrap()
}

/// The bytes of a request without any credential.
pub fn anonymous(line: &str) -> Vec<u8> {
    harness::request(line, &[], b"")
}
