//! The doors through which somebody asks for an operation, and what they heard. It judges nothing.

use std::collections::BTreeMap;

use keygate::keys::audit::Via;
use serde_json::Value;

use crate::program::Program;
use crate::scene::{Pair, error};
use crate::stage::{Person, Stage};
use crate::table::Row;

/// A door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// `POST /api/v2/operations`, on the control listener.
    Operations,
    /// The paths of the key management API, through the proxy.
    Path,
    /// The pages, in a language.
    Page(&'static str),
    /// The command line, elsewhere.
    Cli,
    /// The command line at the machine.
    Machine,
}

impl Door {
    /// What a row says of it.
    pub const fn of(self, row: &Row) -> &'static str {
        match self {
            Self::Operations => row.json,
            Self::Path => row.path,
            Self::Page(_) => row.page,
            Self::Cli | Self::Machine => row.cli,
        }
    }

    /// What the audit log calls it.
    pub const fn via(self) -> Via {
        match self {
            Self::Operations | Self::Path | Self::Cli => Via::Api,
            Self::Page(_) => Via::Page,
            Self::Machine => Via::Cli,
        }
    }
}

/// What somebody heard.
#[derive(Debug)]
pub struct Heard {
    /// The status, or what the command line exited with.
    pub status: u16,
    /// The sentence, or all of the page.
    pub text: String,
    pub location: String,
}

/// Puts things in the place of their names.
pub fn filled(text: &str, things: &BTreeMap<&'static str, String>) -> String {
    things.iter().fold(text.to_owned(), |text, (name, thing)| {
        text.replace(&format!("{{{name}}}"), thing)
    })
}

fn of_reply(reply: &crate::harness::Reply) -> Heard {
    let text = match reply.status {
        200..300 => reply.text(),
        _ => error(reply),
    };
    Heard {
        status: reply.status,
        text,
        location: String::new(),
    }
}

/// Asks; `text` is what the row says of the door, with things in it.
pub async fn ask(
    stage: &Stage,
    door: Door,
    who: Option<&Person>,
    text: &str,
    input: &str,
) -> Heard {
    let nobody = Pair {
        api_key: String::new(),
        application_key: String::new(),
    };
    let pair = who.map_or(&nobody, |who| &who.pair);
    let scene = &stage.scene;
    match door {
        Door::Operations => {
            let body: Value = serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"));
            let line = "POST /api/v2/operations";
            of_reply(&scene.direct(Some(pair), line, &[], body).await)
        }
        Door::Path => {
            let at = text
                .match_indices(' ')
                .nth(1)
                .map_or(text.len(), |(at, _)| at);
            let (line, body) = text.split_at(at);
            let body = match body.trim() {
                "" => Value::Null,
                body => serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {body}")),
            };
            of_reply(&scene.call_as(pair, line, body).await)
        }
        Door::Page(language) => {
            let (mut browser, csrf) = who.and_then(|who| who.browser.clone()).unwrap();
            let header = ("accept-language".to_owned(), language.to_owned());
            browser.headers.push(header);
            let mut parts = text.splitn(3, ' ');
            let (method, path) = (parts.next().unwrap(), parts.next().unwrap());
            let page = if method == "GET" {
                browser.get(path).await
            } else {
                let fields = parts.next().unwrap_or_default();
                let pairs = fields.split('&').filter_map(|field| field.split_once('='));
                let fields: Vec<_> = pairs.chain([("csrf", csrf.as_str())]).collect();
                browser.post(path, &fields).await
            };
            let location = page.header("location").unwrap_or_default().to_owned();
            Heard {
                status: page.status,
                text: shown(&page.text),
                location,
            }
        }
        Door::Cli | Door::Machine => {
            let program = match door {
                Door::Cli => Program::default()
                    .with("DD_API_KEY", &pair.api_key)
                    .with("DD_APP_KEY", &pair.application_key)
                    .with("KEYGATE_URL", &format!("http://{}", scene.control())),
                _ => Program::at(stage.gateway().folder()),
            };
            let args: Vec<_> = text.split(' ').collect();
            let run = program.input(input).run(&args).await;
            Heard {
                status: u16::try_from(run.code).unwrap(),
                text: run.said(),
                location: String::new(),
            }
        }
    }
}

/// A page as it is read.
fn shown(html: &str) -> String {
    let signs = [
        ("&#39;", "'"),
        ("&#x27;", "'"),
        ("&quot;", "\""),
        ("&#34;", "\""),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&amp;", "&"),
    ];
    signs
        .into_iter()
        .fold(html.to_owned(), |text, (sign, is)| text.replace(sign, is))
}
