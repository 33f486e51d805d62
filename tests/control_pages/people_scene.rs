//! Whoever looks at the pages of people in the tests: signed in, and posting the forms they were shown. It checks nothing.

use std::net::SocketAddr;

use keygate::config::Switch;
use keygate::control::{Request, Response};
use keygate::keys::Role;

use crate::browser::{Browser, Page};
use crate::harness::{Gateway, loopback};
use crate::house::{PASSWORD, set_password};

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

/// What stands between two texts.
pub fn between<'t>(text: &'t str, before: &str, after: &str) -> &'t str {
    let (_, rest) = text
        .split_once(before)
        .unwrap_or_else(|| panic!("no {before:?} in {text}"));
    rest.split_once(after).unwrap().0
}

/// Without what a browser does not show between words.
pub fn plain(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Somebody who is signed in.
pub struct Person {
    browser: Browser,
    csrf: String,
}

impl Person {
    /// By a link that the operator makes.
    pub async fn of(gateway: &Gateway, user: &str) -> Self {
        let link = link(gateway, user).await;
        Self::by_link(gateway, &link).await
    }

    /// By the path of a one-time link.
    pub async fn by_link(gateway: &Gateway, link: &str) -> Self {
        Self::at(gateway.app.control.unwrap(), link).await
    }

    /// The same, where the pages are at this address.
    pub async fn at(address: SocketAddr, link: &str) -> Self {
        let mut browser = Browser::new(address);
        set_password(&mut browser, link, PASSWORD).await.leads_to();
        let csrf = browser.get("/account").await.csrf();
        Self { browser, csrf }
    }

    /// Who prefers this language.
    pub fn speaking(mut self, language: &str) -> Self {
        let header = ("accept-language".to_owned(), language.to_owned());
        self.browser.headers.push(header);
        self
    }

    pub async fn get(&mut self, path: &str) -> Page {
        self.browser.get(path).await
    }

    /// A page that is there, as text.
    pub async fn page(&mut self, path: &str) -> String {
        let page = self.get(path).await;
        assert_eq!(page.status, 200, "{path}: {}", page.text);
        page.text
    }

    /// Posts a form of their session.
    pub async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Page {
        let proof = [("csrf", self.csrf.as_str())];
        let fields: Vec<_> = fields.iter().copied().chain(proof).collect();
        self.browser.post(path, &fields).await
    }

    /// Posts a form of another session, or none.
    pub async fn post_with(&mut self, path: &str, fields: &[(&str, &str)], csrf: &str) -> Page {
        let fields: Vec<_> = fields.iter().copied().chain([("csrf", csrf)]).collect();
        self.browser.post(path, &fields).await
    }
}

/// The path of a one-time link that the operator makes for a user.
async fn link(gateway: &Gateway, user: &str) -> String {
    let user = user.to_owned();
    match gateway.perform(Request::MakeLink { user }).await {
        Response::Link(link) => link.path.expose().to_owned(),
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

/// The operation that makes a user with the standard role.
pub fn person(org: &str, email: &str) -> Request {
    Request::CreateUser {
        org: org.to_owned(),
        email: email.to_owned(),
        name: None,
        title: None,
        role: Role::Standard,
    }
}
