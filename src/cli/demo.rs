//! `keygate demo`: the gateway with a store of its own, one of each kind of key and an upstream that answers. It uses
//! what `serve` uses; only what is shown is its own.

use std::io::{self, IsTerminal as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::serve::{block_on, refuse, until_stopped};
use super::{Demo, DemoOutput, complain};
use crate::app::{self, App, LineWriter, Records, RequestRecord, decision_word};
use crate::config::{Config, RedisUrl, SecretValue, UpstreamUrl};
use crate::control::{FoundedView, KeyService, KeyView, Request, Response, ServiceError};
use crate::demo;
use crate::keys::table::Names;
use crate::store::{self, StoreError};

/// Where the demo listens unless told otherwise; the operator's listener is one further, the pages two.
const PORT: u16 = 8080;
/// How many ports are tried when the first one is taken.
const PORTS_TRIED: u16 = 100;

/// What the names of a demo's keys in Redis begin with.
const REDIS_PREFIX: &str = "keygate-demo";
/// What is no secret protects nothing; it is only there because a store has one.
const ROOT_KEY: &str = "64656d6f64656d6f64656d6f64656d6f64656d6f64656d6f64656d6f64656d6f";

/// Runs the demo until it is stopped.
pub(super) fn run(options: Demo) -> ExitCode {
    app::hush_panics();
    let (folder, temporary) = match folder(options.data_dir.as_deref()) {
        Ok(folder) => folder,
        Err(error) => return complain(&format!("cannot make a temporary folder: {error}"), 1),
    };
    let code = block_on(start(options, folder.clone()));
    if temporary {
        let _ = std::fs::remove_dir_all(&folder);
    }
    code
}

/// The folder asked for, or a temporary one that only this user can look into.
fn folder(asked: Option<&Path>) -> io::Result<(PathBuf, bool)> {
    use std::os::unix::fs::DirBuilderExt as _;
    if let Some(asked) = asked {
        return Ok((asked.to_owned(), false));
    }
    let name = format!(
        "keygate-demo-{}-{:08x}",
        std::process::id(),
        fastrand::u32(..)
    );
    let folder = std::env::temp_dir().join(name);
    std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
    Ok((folder, true))
}

async fn start(options: Demo, folder: PathBuf) -> ExitCode {
    let Demo {
        listen,
        admin,
        control,
        upstream,
        data_dir: _,
        redis,
        output,
    } = options;
    let (intake, url) = match upstream {
        Some(url) => (None, url),
        None => match demo::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await {
            Ok(intake) => {
                let url = format!("http://{}", intake.address());
                (Some(intake), url)
            }
            Err(error) => {
                return complain(&format!("cannot start the built-in intake: {error}"), 1);
            }
        },
    };
    let url: UpstreamUrl = match url.parse() {
        Ok(url) => url,
        Err(mistake) => return complain(&format!("--upstream: {mistake}"), 64),
    };
    let mut config = Config::with_default_upstream(url, folder.clone());
    config.listen.address = listen.unwrap_or_else(|| free_port(PORT));
    config.admin.address = admin
        .unwrap_or_else(|| free_port(config.listen.address.port().max(PORT).saturating_add(1)));
    config.control.address = control.unwrap_or_else(|| match config.admin.address.port() {
        0 => SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        port => free_port(port.saturating_add(1)),
    });

    if let Some(server) = redis
        && let Err(error) = use_redis(&mut config, server)
    {
        return complain(&error.to_string(), 1);
    }

    let place = match config.store.redis.servers.first() {
        Some(server) => format!("{server}, all under {{{REDIS_PREFIX}:"),
        None => folder.display().to_string(),
    };

    // The first line is about the demo itself: a request that comes before it is told is shown after it.
    let (told, to_be_told) = std::sync::mpsc::channel::<()>();
    let colours = io::stdout().is_terminal();
    let records = Records::Print(Box::new(move |record, names| {
        // An error means that it has been told, and the sender is gone.
        let _ = to_be_told.recv();
        match output {
            DemoOutput::Json => show_json(record, names),
            DemoOutput::Text => show(record, names, colours),
        }
    }));
    let app = match App::start(&config, records).await {
        Ok(app) => app,
        Err(error) => return refuse(&error),
    };
    let (founded, token) = match found(&app.keys).await {
        Ok(made) => made,
        Err(error) => return complain(&error.to_string(), 1),
    };
    let written = match output {
        DemoOutput::Json => tell_json(&app, &folder, &founded, &token),
        DemoOutput::Text => tell_text(&app, &folder, &place, &founded, &token),
    };
    drop(told);
    if let Err(error) = written {
        return complain(&format!("cannot write: {error}"), 1);
    }
    let code = until_stopped(app).await;
    if let Some(intake) = intake {
        intake.shutdown().await;
    }
    code
}

/// Has the store in this Redis, and makes it if there is none. Every demo must open it, whichever folder it has.
fn use_redis(config: &mut Config, server: RedisUrl) -> Result<(), StoreError> {
    config.store.redis.servers = vec![server];
    config.store.redis.prefix = REDIS_PREFIX.to_owned();
    config.store.redis.node_name = Some(format!("demo-{}", std::process::id()));
    config.store.root_key = Some(SecretValue::new(ROOT_KEY));
    store::open(&config.store, &config.rules, true).map(drop)
}

/// The first free port from `first` on, on loopback. Whoever takes it in between is reported when it is bound.
fn free_port(first: u16) -> SocketAddr {
    let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    (first..first.saturating_add(PORTS_TRIED))
        .map(address)
        .find(|address| TcpListener::bind(address).is_ok())
        .unwrap_or_else(|| address(first))
}

/// An org with a user and one of each kind of key. In a kept store the earlier ones stay as they are, since their
/// secrets cannot be shown again; this run gets an org of its own.
async fn found(keys: &KeyService) -> Result<(FoundedView, KeyView), ServiceError> {
    let Response::Orgs(orgs) = keys.operate(Request::ListOrgs).await? else {
        return Err(ServiceError::NotApplied);
    };
    let run = orgs.len() + 1;
    let org = if run == 1 {
        "demo".to_owned()
    } else {
        format!("demo {run}")
    };
    let user = "demo@example.com".to_owned();
    let Response::Founded(founded) = keys.operate(Request::Init { org, user }).await? else {
        return Err(ServiceError::NotApplied);
    };
    let token = Request::CreateClientToken {
        org: founded.org.id.to_string(),
        name: "demo".to_owned(),
        expires_at: None,
        allowed_origins: Vec::new(),
    };
    match keys.operate(token).await? {
        Response::Key(token) => Ok((*founded, token)),
        _ => Err(ServiceError::NotApplied),
    }
}

/// The secrets of one run, in the order in which they are told.
struct Secrets<'a> {
    api_key: &'a str,
    application_key: &'a str,
    client_token: &'a str,
}

impl<'a> Secrets<'a> {
    fn of(founded: &'a FoundedView, token: &'a KeyView) -> io::Result<Self> {
        let secret = |key: &'a KeyView| key.secret.as_ref().map(|secret| secret.expose());
        let missing = || io::Error::other("the store did not hand out a secret");
        Ok(Self {
            api_key: secret(&founded.api_key).ok_or_else(missing)?,
            application_key: secret(&founded.application_key).ok_or_else(missing)?,
            client_token: secret(token).ok_or_else(missing)?,
        })
    }
}

fn tell_json(app: &App, folder: &Path, founded: &FoundedView, token: &KeyView) -> io::Result<()> {
    let secrets = Secrets::of(founded, token)?;
    let line = serde_json::json!({
        "address": app.address.to_string(),
        "admin": app.admin.to_string(),
        "control": app.control.map(|control| control.to_string()),
        "sign_in_link": sign_in_link(founded),
        "data_dir": folder,
        "org_id": founded.org.id,
        "user_id": founded.user.id,
        "api_key": secrets.api_key,
        "application_key": secrets.application_key,
        "client_token": secrets.client_token,
    });
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// What the first user opens to set a password and see the pages.
fn sign_in_link(founded: &FoundedView) -> Option<&str> {
    let link = founded.link.as_ref()?;
    Some(link.url.as_ref()?.expose())
}

fn tell_text(
    app: &App,
    folder: &Path,
    place: &str,
    founded: &FoundedView,
    token: &KeyView,
) -> io::Result<()> {
    let Secrets {
        api_key,
        application_key,
        client_token,
    } = Secrets::of(founded, token)?;
    let (address, admin, folder) = (app.address, app.admin, folder.display());
    let mut out = io::stdout().lock();
    write!(
        out,
        r#"keygate listens on http://{address}
operator's listener http://{admin} (/readyz, /metrics, /config)
pages to make and revoke keys: open this once, to set a password and sign in as {user}
  {link}
keys are kept in {place}

  API key          {api_key}
  application key  {application_key}
  client token     {client_token}

Send a metric, and read something as the user:

curl -X POST http://{address}/api/v2/series -H 'DD-API-KEY: {api_key}' -H 'Content-Type: application/json' -d '{{"series":[{{"metric":"demo.requests","type":1,"points":[{{"timestamp":'$(date +%s)',"value":1}}]}}]}}'
curl http://{address}/api/v2/users -H 'DD-API-KEY: {api_key}' -H 'DD-APPLICATION-KEY: {application_key}'

From Python (pip install datadog):

from datadog import api, initialize
initialize(api_key="{api_key}", app_key="{application_key}", api_host="http://{address}")
api.Metric.send(metric="demo.requests", points=1)

From a page (npm install @datadog/browser-logs):

datadogLogs.init({{ clientToken: '{client_token}', site: 'datadoghq.com', service: 'demo', proxy: 'http://{address}/' }})
datadogLogs.logger.info('hello')

From a Datadog Agent, in its environment:

DD_API_KEY={api_key} DD_DD_URL=http://{address} DD_LOGS_ENABLED=true DD_LOGS_CONFIG_FORCE_USE_HTTP=true DD_LOGS_CONFIG_LOGS_DD_URL=http://{address} DD_APM_DD_URL=http://{address}

For the scripts in benches/wrk:

export API_KEY={api_key} APP_KEY={application_key} CLIENT_TOKEN={client_token}

Try `{program} keys list --org {org} --data-dir {folder}`, revoke a key, and send again. Ctrl-C stops.

Requests, as they happen:
"#,
        org = founded.org.id,
        user = founded.user.handle,
        link = sign_in_link(founded).unwrap_or("-"),
        program = program(),
    )?;
    out.flush()
}

fn show_json(record: &RequestRecord, names: &Names) -> io::Result<()> {
    let mut line = Vec::new();
    LineWriter::default().write(record, names, &mut line);
    let mut out = io::stdout().lock();
    out.write_all(&line)?;
    out.flush()
}

/// What to type to call this program.
fn program() -> String {
    std::env::current_exe().map_or_else(|_| "keygate".to_owned(), |path| path.display().to_string())
}

/// One line for people about one request.
fn show(record: &RequestRecord, names: &Names, colours: bool) -> io::Result<()> {
    let status = record
        .status
        .map_or_else(|| "---".to_owned(), |status| status.as_u16().to_string());
    let colour = match record.status.map_or(5, |status| status.as_u16() / 100) {
        1..=3 => "32",
        4 => "33",
        _ => "31",
    };
    let paint = |text: &str| {
        if colours {
            format!("\u{1b}[{colour}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    };
    // Paths and names are the clients' choice: nothing in them may move a terminal's cursor.
    let plain = |text: &str| {
        text.chars()
            .map(|c| if c.is_control() { '?' } else { c })
            .collect::<String>()
    };
    let owned = &record.attribution;
    let named = |name: Option<&str>| name.map_or_else(|| "-".to_owned(), plain);
    let org = named(names.org.as_deref());
    let user = named(names.user.as_deref());
    let key = owned.key.as_ref().map_or_else(
        || "-".to_owned(),
        |key| format!("{} ({})", named(names.key.as_deref()), key.kind.as_str()),
    );
    let reason = record
        .reason
        .map(|reason| format!(": {}", reason.as_str()))
        .unwrap_or_default();
    let error = record
        .error
        .map(|error| format!(" [{error}]"))
        .unwrap_or_default();
    let milliseconds = record.duration.as_secs_f64() * 1e3;
    writeln!(
        io::stdout().lock(),
        "{} {} {} {}{reason}{error} org={org} user={user} key={key} {} B {milliseconds:.1} ms",
        paint(&status),
        record.method,
        plain(&record.path),
        decision_word(record.decision),
        record.request_bytes,
    )
}
