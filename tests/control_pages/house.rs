//! The program in process with an org and its first admin, and what a test does with them often. It checks nothing.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use keygate::app::{App, Records};
use keygate::config::Config;
use keygate::control::sign_in::{Token, now};
use keygate::control::{AuditQuery, AuditView, Request, Response};
use keygate::keys::audit::By;
use keygate::keys::{Role, Timestamp, UserId};
use keygate::store::papers::{AsOf, Link, Session, SignInBy};

use crate::browser::{Browser, Page};

/// The name of the session's cookie without TLS.
pub const SESSION: &str = "keygate_session";

/// A password that is one.
pub const PASSWORD: &str = "tall ships & long nights";

/// How long anything is waited for before the test fails.
const WAIT_MAX: Duration = Duration::from_secs(20);

pub struct House {
    pub app: App,
    pub org: String,
    /// The path of the first admin's link.
    pub link: String,
    pub user: UserId,
    _folder: tempfile::TempDir,
}

pub const HANDLE: &str = "ann@acme.example";

impl House {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(configure: impl FnOnce(&mut Config)) -> Self {
        let (app, folder) = app(configure).await;
        let (org, link, user) = found(&app, "acme", HANDLE).await;
        Self {
            app,
            org,
            link,
            user,
            _folder: folder,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.app.control.unwrap()
    }

    pub fn browser(&self) -> Browser {
        Browser::new(self.address())
    }

    /// A browser of the first admin, who has a password from then on.
    pub async fn signed_in(&self) -> Browser {
        let mut browser = self.browser();
        let page = set_password(&mut browser, &self.link, PASSWORD).await;
        assert_eq!(page.leads_to(), "/");
        browser
    }

    pub async fn perform(&self, request: Request) -> Response {
        self.app.keys.operate(request).await.unwrap()
    }

    /// A user of the org, and the path of a link for them.
    pub async fn user(&self, handle: &str, name: Option<&str>) -> (UserId, String) {
        let request = Request::CreateUser {
            org: self.org.clone(),
            email: handle.to_owned(),
            name: name.map(ToOwned::to_owned),
            title: None,
            role: Role::Standard,
        };
        let Response::User(user) = self.perform(request).await else {
            panic!("no user")
        };
        (user.id, self.link_for(user.id).await)
    }

    pub async fn link_for(&self, user: UserId) -> String {
        let request = Request::MakeLink {
            user: user.to_string(),
        };
        let Response::Link(link) = self.perform(request).await else {
            panic!("no link")
        };
        link.path.expose().to_owned()
    }

    pub async fn disable(&self, user: UserId, disabled: bool) {
        let user = user.to_string();
        self.perform(Request::SetUserDisabled { user, disabled })
            .await;
    }

    /// The audit log of the org, the newest first.
    pub async fn audit(&self) -> Vec<AuditView> {
        let query = AuditQuery {
            org: Some(self.org.clone()),
            ..AuditQuery::default()
        };
        match self.perform(Request::ListAudit { query }).await {
            Response::Audit(page) => page.entries,
            other => panic!("no audit: {other:?}"),
        }
    }

    /// A browser with a session opened and last seen so many minutes ago.
    pub fn with_session(&self, opened: i64, seen: i64) -> Browser {
        let token = Token::generate(self.user).unwrap();
        let ago = |minutes: i64| Timestamp(now().0 - minutes * 60_000);
        let session = Session {
            user: self.user,
            by: SignInBy::Password,
            opened_at: ago(opened),
            seen_at: ago(seen),
            expires_at: Timestamp(i64::MAX),
            as_of: AsOf::default(),
        };
        let store = self.app.keys.store();
        store
            .open_session(token.hash, session, &By::system())
            .unwrap();
        let mut browser = self.browser();
        let text = token.text.to_string();
        browser.cookies.insert(SESSION.to_owned(), text);
        browser
    }

    /// The path of a link that was made and is over so long ago.
    pub fn old_link(&self, made: Duration, over: Duration) -> String {
        let token = Token::generate(self.user).unwrap();
        let ago = |ago: Duration| Timestamp(now().0 - i64::try_from(ago.as_millis()).unwrap());
        let link = Link {
            user: self.user,
            made_at: ago(made),
            expires_at: ago(over),
        };
        let store = self.app.keys.store();
        store.make_link(token.hash, link, &By::system()).unwrap();
        format!("/welcome/{}", token.text.as_str())
    }
}

/// The program on ports of its own.
pub async fn app(configure: impl FnOnce(&mut Config)) -> (App, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let url = "http://127.0.0.1:9".parse().unwrap();
    let mut config = Config::with_default_upstream(url, folder.path().to_path_buf());
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    (
        config.listen.address,
        config.admin.address,
        config.control.address,
    ) = (any, any, any);
    config.listen.workers = 1;
    configure(&mut config);
    let records = Records::Print(Box::new(|_, _| Ok(())));
    (App::start(&config, records).await.unwrap(), folder)
}

/// An org: its id, the path of its first admin's link, and who that is.
pub async fn found(app: &App, org: &str, user: &str) -> (String, String, UserId) {
    let request = Request::Init {
        org: org.to_owned(),
        user: user.to_owned(),
    };
    let Response::Founded(founded) = app.keys.operate(request).await.unwrap() else {
        panic!("not founded")
    };
    let link = founded.link.unwrap();
    (
        founded.org.id.to_string(),
        link.path.expose().to_owned(),
        founded.user.id,
    )
}

/// Opens a link and sets a password there.
pub async fn set_password(browser: &mut Browser, link: &str, password: &str) -> Page {
    let page = browser.get(link).await;
    assert_eq!(page.status, 200, "{}", page.text);
    let csrf = page.csrf();
    let fields = [
        ("csrf", csrf.as_str()),
        ("password", password),
        ("again", password),
    ];
    browser.post(link, &fields).await
}

/// Signs in with the form of the sign-in page.
pub async fn sign_in(browser: &mut Browser, handle: &str, password: &str) -> Page {
    sign_in_to(browser, handle, password, "", "").await
}

pub async fn sign_in_to(
    browser: &mut Browser,
    handle: &str,
    password: &str,
    org: &str,
    next: &str,
) -> Page {
    let csrf = browser.get("/sign-in").await.csrf();
    let fields = [
        ("csrf", csrf.as_str()),
        ("handle", handle),
        ("password", password),
        ("org", org),
        ("next", next),
    ];
    browser.post("/sign-in", &fields).await
}

/// Whether the browser is signed in.
pub async fn is_in(browser: &mut Browser) -> bool {
    let page = browser.get("/account").await;
    match page.status {
        200 => true,
        303 => {
            assert_eq!(page.leads_to(), "/sign-in?next=/account");
            false
        }
        other => panic!("{other}: {}", page.text),
    }
}

/// A redis-server that goes away with the test.
pub struct Redis {
    process: Child,
    pub port: u16,
    _folder: tempfile::TempDir,
}

impl Redis {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Free a moment ago.
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let process = Command::new("redis-server")
            .args([
                "--port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--dir",
            ])
            .arg(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let until = Instant::now() + WAIT_MAX;
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < until, "redis-server does not start");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Self {
            process,
            port,
            _folder: folder,
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
