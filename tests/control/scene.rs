//! A gateway with a control listener and two orgs, and how the API is called. It checks nothing but that answers are JSON.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use keygate::config::{Config, SecretValue, Switch};
use keygate::control::Response;
use keygate::keys::Role;
use keygate::store;
use serde_json::{Value, json};

use crate::harness::{self, Client, Gateway, Org, Reply, WAIT_MAX, secret};
use crate::homes;

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// A gateway whose file or Redis holds two orgs.
pub struct Scene {
    pub gateway: Gateway,
    pub acme: Org,
    pub rival: Org,
}

/// The two keys that a caller presents.
#[derive(Clone)]
pub struct Pair {
    pub api_key: String,
    pub application_key: String,
}

/// Runs each of these tests over a file and over Redis.
macro_rules! over_both_stores {
    ($($name:ident)*) => {
        $(mod $name {
            #[tokio::test]
            async fn over_a_file() {
                super::$name(crate::scene::Scene::over_a_file().await).await;
            }

            #[tokio::test]
            async fn over_redis() {
                super::$name(crate::scene::Scene::over_redis().await).await;
            }
        })*
    };
}
pub(crate) use over_both_stores;

fn listens(config: &mut Config) {
    config.control.listener = Switch::On;
    config.control.address = harness::loopback();
    config.store.usage_interval = Duration::from_millis(200);
}

impl Scene {
    pub async fn over_a_file() -> Self {
        Self::over_a_file_with(|_| {}).await
    }

    pub async fn over_redis() -> Self {
        Self::over_redis_with(|_| {}).await
    }

    pub async fn over_a_file_with(configure: impl FnOnce(&mut Config)) -> Self {
        let gateway = Gateway::start_with(|config| {
            listens(config);
            configure(config);
        });
        Self::with(gateway.await).await
    }

    pub async fn over_redis_with(configure: impl FnOnce(&mut Config)) -> Self {
        let home = tokio::task::spawn_blocking(homes::InRedis::new)
            .await
            .unwrap();
        let made = |config: &mut Config| {
            listens(config);
            config.store.redis = home.config.clone();
            config.store.root_key = Some(SecretValue::new("5a".repeat(32)));
        };
        let gateway = Gateway::start_with(|config| {
            made(config);
            configure(config);
            let (store, rules) = (config.store.clone(), config.rules.clone());
            // Redis is asked by connections that block.
            let thread = std::thread::spawn(move || store::open(&store, &rules, true).map(drop));
            thread.join().unwrap().unwrap();
        });
        Self::with(gateway.await).await
    }

    async fn with(gateway: Gateway) -> Self {
        let acme = gateway.org("acme").await;
        let rival = gateway.org("rival").await;
        let scene = Self {
            gateway,
            acme,
            rival,
        };
        // A node of a fleet is not ready before it has seen that it hears all there is to hear.
        let deadline = Instant::now() + WAIT_MAX;
        while scene.call("GET /api/v2/orgs", Value::Null).await.status == 503 {
            assert!(Instant::now() < deadline, "not ready within {WAIT_MAX:?}");
            tokio::time::sleep(LOOK).await;
        }
        scene
    }

    /// The address of the control listener.
    pub fn control(&self) -> SocketAddr {
        self.gateway.app.control.unwrap()
    }

    /// Calls through the proxy's listener, as the admin of `acme`.
    pub async fn call(&self, line: &str, body: Value) -> Reply {
        self.call_as(&pair(&self.acme), line, body).await
    }

    /// Calls through the proxy's listener.
    pub async fn call_as(&self, pair: &Pair, line: &str, body: Value) -> Reply {
        self.call_with(pair, line, &[], body).await
    }

    /// Calls through the proxy's listener, with more headers.
    pub async fn call_with(
        &self,
        pair: &Pair,
        line: &str,
        more: &[(&str, &str)],
        body: Value,
    ) -> Reply {
        send(self.gateway.app.address, Some(pair), line, more, body).await
    }

    /// Calls on the control listener.
    pub async fn direct(
        &self,
        pair: Option<&Pair>,
        line: &str,
        more: &[(&str, &str)],
        body: Value,
    ) -> Reply {
        send(self.control(), pair, line, more, body).await
    }

    /// A member of `acme` with an application key that has no scopes.
    pub async fn member(&self, name: &str, role: Role) -> (String, Pair) {
        let request = keygate::control::Request::CreateUser {
            org: self.acme.id.clone(),
            email: format!("{name}@acme.example"),
            name: None,
            title: None,
            role,
        };
        let Response::User(user) = self.gateway.perform(request).await else {
            panic!("no user")
        };
        let id = user.id.to_string();
        let key = harness::application_key(&id, "scripts", &[]);
        let key = self.gateway.key(key).await;
        let pair = Pair {
            api_key: secret(&self.acme.api_key).to_owned(),
            application_key: secret(&key).to_owned(),
        };
        (id, pair)
    }

    /// The admin of `acme` with a key of these scopes.
    pub async fn scoped(&self, name: &str, scopes: &[&str]) -> Pair {
        let key = harness::application_key(&self.acme.user, name, scopes);
        let key = self.gateway.key(key).await;
        Pair {
            api_key: secret(&self.acme.api_key).to_owned(),
            application_key: secret(&key).to_owned(),
        }
    }
}

/// The keys of an org's admin.
pub fn pair(org: &Org) -> Pair {
    Pair {
        api_key: secret(&org.api_key).to_owned(),
        application_key: secret(&org.application_key).to_owned(),
    }
}

async fn send(
    address: SocketAddr,
    pair: Option<&Pair>,
    line: &str,
    more: &[(&str, &str)],
    body: Value,
) -> Reply {
    let mut headers = more.to_vec();
    if let Some(pair) = pair {
        headers.push(("DD-API-KEY", &pair.api_key));
        headers.push(("DD-APPLICATION-KEY", &pair.application_key));
    }
    let body = match body {
        Value::Null => Vec::new(),
        body => {
            headers.push(("Content-Type", "application/json"));
            body.to_string().into_bytes()
        }
    };
    let request = harness::request(line, &headers, &body);
    Client::connect(address).await.send(request).await
}

/// A document that makes something.
pub fn new(kind: &str, attributes: Value) -> Value {
    json!({"data": {"type": kind, "attributes": attributes}})
}

/// A document that changes something.
pub fn change(kind: &str, id: &str, attributes: Value) -> Value {
    json!({"data": {"type": kind, "id": id, "attributes": attributes}})
}

/// The first sentence of a refusal.
pub fn error(reply: &Reply) -> String {
    reply.json()["errors"][0].as_str().unwrap().to_owned()
}

/// The id of what a document is about.
pub fn id(reply: &Reply) -> String {
    let body = reply.json();
    body["data"]["id"]
        .as_str()
        .unwrap_or_else(|| panic!("{} {body}", reply.status))
        .to_owned()
}
