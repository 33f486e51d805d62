//! A browser without a script for the tests of the pages of people: it keeps cookies, follows nothing by itself, and posts
//! the forms it was shown. It checks nothing.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use keygate::app::App;
use keygate::config::Switch;
use keygate::control::{LinkView, Request, Response};
use keygate::keys::Role;

use crate::harness::{Client, Gateway, Reply, loopback, request};

/// What every password of these tests is.
const PASSWORD: &str = "correct horse battery";

/// A gateway with its pages.
pub async fn gateway() -> Gateway {
    Gateway::start_with(|config| {
        config.control.listener = Switch::On;
        config.control.address = loopback();
        config.control.operator_orgs = vec!["acme".to_owned()];
        config.store.usage_interval = std::time::Duration::from_millis(20);
    })
    .await
}

/// Text as part of a form.
pub fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        out
    })
}

/// What stands between two texts.
pub fn between<'t>(text: &'t str, before: &str, after: &str) -> &'t str {
    let (_, rest) = text
        .split_once(before)
        .unwrap_or_else(|| panic!("no {before:?} in {text}"));
    rest.split_once(after).unwrap().0
}

/// One browser.
pub struct Browser {
    address: SocketAddr,
    cookies: BTreeMap<String, String>,
    language: &'static str,
    csrf: String,
}

impl Browser {
    pub fn of(app: &App) -> Self {
        Self {
            address: app.control.unwrap(),
            cookies: BTreeMap::new(),
            language: "en",
            csrf: String::new(),
        }
    }

    /// One that prefers French.
    pub fn in_french(self) -> Self {
        Self {
            language: "fr",
            ..self
        }
    }

    /// Signed in as a user, by a link that the operator makes.
    pub async fn signed_in(gateway: &Gateway, user: &str) -> Self {
        let link = link(gateway, user).await;
        let mut browser = Self::of(&gateway.app);
        browser.open_link(link.path.expose()).await;
        browser
    }

    /// Sets the password by a one-time link.
    pub async fn open_link(&mut self, path: &str) {
        assert_eq!(self.get(path).await.status, 200, "{path}");
        let fields = [("password", PASSWORD), ("again", PASSWORD)];
        let reply = self.post(path, &fields).await;
        assert_eq!(reply.status, 303, "{}", reply.text());
    }

    pub async fn get(&mut self, path: &str) -> Reply {
        self.send(&format!("GET {path}"), "", &[]).await
    }

    /// A page that is there, as text.
    pub async fn page(&mut self, path: &str) -> String {
        let reply = self.get(path).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        reply.text()
    }

    /// Posts a form with the proof that the last page had.
    pub async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Reply {
        let csrf = self.csrf.clone();
        self.post_with(path, fields, &csrf).await
    }

    /// The same, with another proof.
    pub async fn post_with(&mut self, path: &str, fields: &[(&str, &str)], csrf: &str) -> Reply {
        let fields = fields.iter().copied().chain([("csrf", csrf)]);
        let fields = fields.map(|(name, value)| format!("{name}={}", encoded(value)));
        let body: Vec<String> = fields.collect();
        let form = [("Content-Type", "application/x-www-form-urlencoded")];
        self.send(&format!("POST {path}"), &body.join("&"), &form)
            .await
    }

    async fn send(&mut self, line: &str, body: &str, more: &[(&str, &str)]) -> Reply {
        let cookies = self.cookies.iter();
        let cookies: Vec<String> = cookies
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let cookies = cookies.join("; ");
        let mut headers = vec![
            ("Accept-Language", self.language),
            ("Cookie", &cookies),
            ("Connection", "close"),
        ];
        headers.extend(more);
        let bytes = request(line, &headers, body.as_bytes());
        let reply = Client::connect(self.address).await.send(bytes).await;
        for (name, value) in &reply.headers {
            if name == "set-cookie" {
                let pair = value.split(';').next().unwrap();
                let (name, value) = pair.split_once('=').unwrap();
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        if let Some((_, rest)) = reply.text().split_once("name=\"csrf\" value=\"") {
            self.csrf = rest.split('"').next().unwrap().to_owned();
        }
        reply
    }
}

/// A one-time link that the operator makes for a user.
pub async fn link(gateway: &Gateway, user: &str) -> LinkView {
    let user = user.to_owned();
    match gateway.perform(Request::MakeLink { user }).await {
        Response::Link(link) => link,
        other => panic!("no link: {other:?}"),
    }
}

/// A user of an org; their id.
pub async fn user(gateway: &Gateway, org: &str, email: &str, name: &str, role: Role) -> String {
    let made = Request::CreateUser {
        org: org.to_owned(),
        email: email.to_owned(),
        name: Some(name.to_owned()),
        title: None,
        role,
    };
    match gateway.perform(made).await {
        Response::User(user) => user.id.to_string(),
        other => panic!("no user: {other:?}"),
    }
}
