//! Who asks in the tests, the things that they ask about, and what can be seen of the store. It checks nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use keygate::config::Config;
use keygate::control::sign_in::{Token, now};
use keygate::control::{Caller, KeyView, Request, Response};
use keygate::keys::audit::{AuditEntry, AuditId, By};
use keygate::keys::{OrgId, Role, Timestamp, UserId};
use keygate::store::papers::{AsOf, Session, SignInBy};
use tokio::task::spawn_blocking;

use crate::browser::Browser;
use crate::harness::{Gateway, api_key, application_key, client_token, secret};
use crate::scene::{Pair, Scene, pair};

/// How many of the newest entries of the log are looked at.
const NEWEST: usize = 4;

/// Somebody who asks.
#[derive(Clone)]
pub struct Person {
    pub id: String,
    pub email: String,
    pub role: Role,
    pub scopes: Option<Vec<String>>,
    pub pair: Pair,
    /// A browser with a session, and what its forms prove themselves with.
    pub browser: Option<(Browser, String)>,
}

/// A gateway, and the people of another org.
pub struct Stage {
    pub scene: Scene,
    pub rival: Person,
    next: AtomicUsize,
}

/// The people of an org of its own.
pub struct Cast {
    pub org: String,
    pub people: BTreeMap<&'static str, Person>,
}

/// More API keys than usual: each question is about one of its own.
fn with_many_keys(config: &mut Config) {
    config.rules.api_keys_per_org_max = 1_000;
}

pub async fn over_a_file() -> Stage {
    Stage::new(Scene::over_a_file_with(with_many_keys).await).await
}

pub async fn over_redis() -> Stage {
    Stage::new(Scene::over_redis_with(with_many_keys).await).await
}

impl Stage {
    async fn new(scene: Scene) -> Self {
        let org = &scene.rival;
        let mut rival = Person {
            id: org.user.clone(),
            email: "maker@rival.example".to_owned(),
            role: Role::Admin,
            scopes: None,
            pair: pair(org),
            browser: None,
        };
        rival.browser = Some(session(&scene, &rival.id).await);
        Self {
            scene,
            rival,
            next: AtomicUsize::new(0),
        }
    }

    pub fn gateway(&self) -> &Gateway {
        &self.scene.gateway
    }

    /// A name that nothing has.
    pub fn name(&self) -> String {
        format!("n{}", self.next.fetch_add(1, Ordering::Relaxed))
    }

    async fn user(&self, org: &str, role: Role) -> (String, String) {
        let email = format!("{}@x.example", self.name());
        let made = Request::CreateUser {
            org: org.to_owned(),
            email: email.clone(),
            name: None,
            title: None,
            role,
        };
        (user_id(self.gateway().perform(made).await), email)
    }

    async fn account(&self, org: &str) -> String {
        let made = Request::CreateServiceAccount {
            org: org.to_owned(),
            name: self.name(),
            email: None,
            role: Role::Standard,
        };
        user_id(self.gateway().perform(made).await)
    }

    async fn key_of(&self, owner: &str, scopes: &[&str]) -> KeyView {
        let made = application_key(owner, &self.name(), scopes);
        self.gateway().key(made).await
    }

    /// An org and its people. `scopes` are those of the two keys that have some, for operations and by path.
    pub async fn cast(&self, scopes: [&[&str]; 3]) -> Cast {
        let founded = self.gateway().org(&self.name()).await;
        let org = founded.id.clone();
        let with = |key: &KeyView| Pair {
            api_key: secret(&founded.api_key).to_owned(),
            application_key: secret(key).to_owned(),
        };
        let admin = Person {
            id: founded.user.clone(),
            email: format!("maker@{}.example", founded.name),
            role: Role::Admin,
            scopes: None,
            pair: pair(&founded),
            browser: Some(session(&self.scene, &founded.user).await),
        };
        let mut people = BTreeMap::new();
        for (who, role) in [
            ("standard", Role::Standard),
            ("read-only", Role::ReadOnly),
            ("disabled", Role::Admin),
        ] {
            let (id, email) = self.user(&org, role).await;
            let person = Person {
                pair: with(&self.key_of(&id, &[]).await),
                browser: Some(session(&self.scene, &id).await),
                scopes: None,
                role,
                email,
                id,
            };
            people.insert(who, person);
        }
        let gone = people["disabled"].id.clone();
        self.disable(&gone).await;
        let id = self.account(&org).await;
        let account = Person {
            pair: with(&self.key_of(&id, &[]).await),
            role: Role::Standard,
            browser: None,
            ..admin.clone()
        };
        people.insert("service account", Person { id, ..account });
        let names = ["scoped", "scoped by path", "scoped elsewhere"];
        for (who, scopes) in names.into_iter().zip(scopes) {
            let scoped = Person {
                pair: with(&self.key_of(&admin.id, scopes).await),
                scopes: Some(scopes.iter().map(ToString::to_string).collect()),
                browser: None,
                ..admin.clone()
            };
            people.insert(who, scoped);
        }
        people.insert("admin", admin);
        people.insert("other org", self.rival.clone());
        Cast { org, people }
    }

    async fn disable(&self, user: &str) {
        let user = user.to_owned();
        let disabled = true;
        self.gateway()
            .perform(Request::SetUserDisabled { user, disabled })
            .await;
    }

    /// What the placeholders in a text stand for: things of the org, made now. `own` is whose the own ones are.
    pub async fn things(
        &self,
        cast: &Cast,
        own: &Person,
        text: &str,
    ) -> BTreeMap<&'static str, String> {
        let gateway = self.gateway();
        let org = cast.org.as_str();
        let has = |name: &str| text.contains(&format!("{{{name}}}"));
        let mut things = BTreeMap::from([
            ("org", org.to_owned()),
            ("name", self.name()),
            ("secret", format!("{:032x}", fastrand::u128(..))),
            ("me", own.id.clone()),
            ("my_email", own.email.clone()),
        ]);
        if has("api_key") {
            let key = gateway.key(api_key(org, &self.name())).await;
            things.insert("api_key", key.id.to_string());
        }
        if has("token") {
            let key = gateway.key(client_token(org, &self.name(), &[])).await;
            things.insert("token", key.id.to_string());
        }
        if has("own") {
            things.insert("own", self.key_of(&own.id, &[]).await.id.to_string());
        }
        if has("others") || has("lea") {
            let (lea, _) = self.user(org, Role::Standard).await;
            things.insert("others", self.key_of(&lea, &[]).await.id.to_string());
            things.insert("lea", lea);
        }
        if has("account") || has("accounts") {
            let account = self.account(org).await;
            things.insert("accounts", self.key_of(&account, &[]).await.id.to_string());
            things.insert("account", account);
        }
        for (what, role) in [
            ("user", Role::Standard),
            ("admin", Role::Admin),
            ("left", Role::Standard),
        ] {
            if has(what) {
                let (id, email) = self.user(org, role).await;
                if what == "left" {
                    self.disable(&id).await;
                }
                things.insert(what, id);
                things.insert("email", email);
            }
        }
        if has("invitation") {
            let user = cast.people["standard"].id.clone();
            let operator = Caller::operator();
            let request = Request::MakeLink { user };
            let made = self.gateway().app.keys.perform(&operator, request);
            let audit = made.await.unwrap().audit.unwrap();
            things.insert("invitation", audit.to_string());
        }
        things
    }

    /// What is in the store of these orgs.
    pub async fn state(&self, orgs: &[&str]) -> String {
        let store = Arc::clone(self.gateway().app.keys.store());
        let orgs = ids(orgs);
        let read = spawn_blocking(move || {
            let mut lines = Vec::new();
            for org in orgs {
                lines.push(format!("{:?}", store.org(org).unwrap()));
                let (users, keys) = (store.users_of(org).unwrap(), store.keys_of(org).unwrap());
                lines.extend(users.iter().map(|user| format!("{user:?}")));
                lines.extend(keys.iter().map(|key| format!("{key:?}")));
            }
            lines.sort();
            lines.join("\n")
        });
        read.await.unwrap()
    }

    /// The newest entries of the log where these orgs are, the newest first: each with its name.
    pub async fn log(&self, orgs: &[&str]) -> Vec<(AuditId, AuditEntry)> {
        let store = Arc::clone(self.gateway().app.keys.store());
        let mut partitions: Vec<_> = ids(orgs).iter().map(|org| org.partition()).collect();
        partitions.sort();
        partitions.dedup();
        let read = spawn_blocking(move || {
            let newest = partitions.into_iter().flat_map(|partition| {
                let entries = store.log_before(partition, None, NEWEST).unwrap();
                entries
                    .into_iter()
                    .map(|entry| (entry.id, entry.linked.unwrap().entry))
            });
            newest.collect()
        });
        read.await.unwrap()
    }

    /// How many orgs there are.
    pub async fn count(&self) -> usize {
        match self.gateway().perform(Request::ListOrgs).await {
            Response::Orgs(orgs) => orgs.len(),
            other => panic!("no orgs: {other:?}"),
        }
    }
}

fn ids(orgs: &[&str]) -> Vec<OrgId> {
    orgs.iter().map(|org| org.parse().unwrap()).collect()
}

fn user_id(response: Response) -> String {
    match response {
        Response::User(user) => user.id.to_string(),
        other => panic!("no user: {other:?}"),
    }
}

/// A session that is opened without a password, which takes long to set.
async fn session(scene: &Scene, user: &str) -> (Browser, String) {
    let user: UserId = user.parse().unwrap();
    let token = Token::generate(user).unwrap();
    let session = Session {
        user,
        by: SignInBy::Password,
        opened_at: now(),
        seen_at: now(),
        expires_at: Timestamp(i64::MAX),
        as_of: AsOf::default(),
    };
    let store = Arc::clone(scene.gateway.app.keys.store());
    let hash = token.hash;
    spawn_blocking(move || store.open_session(hash, session, &By::system()).map(drop))
        .await
        .unwrap()
        .unwrap();
    let mut browser = Browser::new(scene.control());
    let text = token.text.to_string();
    browser.cookies.insert("keygate_session".to_owned(), text);
    let csrf = browser.get("/account").await.csrf();
    (browser, csrf)
}
