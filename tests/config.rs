//! The configuration as an operator meets it: the example file, and what is said about each mistake. Not how settings
//! are used.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test whose premise does not hold fails there"
)]

use keygate::config::{
    Bytes, Config, RedisMode, RedisUrl, RouteFamily, UPSTREAM_NAMES, UpstreamUrl, describe, print,
};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// A configuration that is right, so that what a test adds to it is all that can be wrong.
const UPSTREAM: &str = "[upstreams.default]\nurl = \"http://127.0.0.1:9000\"\n";

fn load(text: &str, env: &[(&str, &str)]) -> Result<Config, String> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("keygate.toml"), text).unwrap();
    load_in(dir.path(), env)
}

fn load_in(dir: &Path, env: &[(&str, &str)]) -> Result<Config, String> {
    let env = env
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::load(Some(&dir.join("keygate.toml")), env).map_err(|errors| {
        errors
            .to_string()
            .replace(&format!("{}/", dir.display()), "")
    })
}

/// What is said about a file with a right upstream and this before it.
#[track_caller]
fn refused(text: &str, expected: &str) {
    let said = load(&format!("{text}\n{UPSTREAM}"), &[]).expect_err("refused");
    assert_eq!(said, expected);
}

/// The same about variables.
#[track_caller]
fn variable_refused(name: &str, value: &str, expected: &str) {
    let said = load(UPSTREAM, &[(name, value)]).expect_err("refused");
    assert_eq!(said, expected);
}

#[test]
fn example_file_is_the_printed_one() {
    let committed = concat!(env!("CARGO_MANIFEST_DIR"), "/config/keygate.toml");
    let committed = std::fs::read_to_string(committed).unwrap_or_default();
    assert!(
        committed == print(),
        "config/keygate.toml is stale: keygate config print > config/keygate.toml"
    );
}

#[test]
fn example_file_loads_and_says_the_defaults() {
    let config = load(&print(), &[]).unwrap();
    let url = "https://intake.example.com".parse().unwrap();
    let defaults = Config::with_default_upstream(url, "/var/lib/keygate".into());
    assert_eq!(describe(&config), describe(&defaults));
}

/// So no default or example in the file is a text that keygate would not take.
#[test]
fn every_line_of_the_example_file_can_be_uncommented() {
    let text = print();
    let defaults = describe(&load(&text, &[]).unwrap());
    let lines: Vec<&str> = text.lines().collect();
    let is_knob = |line: &&str| {
        line.starts_with('#') && line[1..].starts_with(|c: char| c.is_ascii_lowercase())
    };
    let routes = lines
        .iter()
        .position(|line| *line == "#[[routes]]")
        .unwrap();
    let record = lines.iter().position(|line| *line == "[record]").unwrap();
    let mut tried = 0;
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| is_knob(line)) {
        if (routes..record).contains(&at)
            || line.contains("credential")
            || line.contains("_file = ")
            || line.starts_with("#sentinel_master")
            || line.starts_with("#username")
            || line.starts_with("#issuer")
            || line.starts_with("#client_id")
        {
            continue; // These need each other, or a file; they have tests of their own.
        }
        let mut edited = lines.clone();
        edited[at] = &line[1..];
        let config = load(&edited.join("\n"), &[]).unwrap_or_else(|said| panic!("{line}: {said}"));
        let examples = ["#path", "#node_name", "#url"];
        if examples.iter().any(|knob| line.starts_with(knob)) {
            continue; // An example, not a default.
        }
        assert_eq!(describe(&config), defaults, "{line}");
        tried += 1;
    }
    assert!(tried > 30, "only {tried} knobs were tried");

    let route = lines[routes..record].iter().map(|line| {
        if is_knob(line) || line.starts_with("#[") {
            &line[1..]
        } else {
            line
        }
    });
    let route: Vec<&str> = route.filter(|line| !line.starts_with("scope")).collect();
    let config = load(&format!("{UPSTREAM}{}", route.join("\n")), &[]).unwrap();
    assert_eq!(config.routes.len(), 1);
    assert_eq!(config.routes[0].body_max, Some(Bytes(64 << 20)));
}

#[test]
fn values_carry_their_units() {
    let config = load(
        &format!(
            "{UPSTREAM}
            [listen]
            head_timeout = \"250ms\"
            keep_alive_timeout = \"7d\"
            head_bytes_max = \"5MB\"
            body_rate_min = 0
            trusted_proxies = [\"10.0.0.0/8\", \"::1\"]
            [[routes]]
            method = \"*\"
            path = \"/own/*\"
            access = \"logs\"
            body_max = \"64 KiB\""
        ),
        &[],
    )
    .unwrap();
    assert_eq!(config.listen.head_timeout, Duration::from_millis(250));
    assert_eq!(
        config.listen.keep_alive_timeout,
        Duration::from_hours(7 * 24)
    );
    assert_eq!(config.listen.head_bytes_max, Bytes(5_000_000));
    assert_eq!(config.listen.body_rate_min, Bytes(0));
    assert_eq!(
        config.listen.trusted_proxies,
        ["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()]
    );
    assert_eq!(config.routes[0].body_max, Some(Bytes(65_536)));
    assert_eq!(config.routes[0].family(), RouteFamily::Logs);
    assert_eq!(config.routes[0].upstream_name(), "default");
}

#[test]
fn variables_win_over_the_file() {
    let text = format!(
        "{UPSTREAM}
        [listen]
        workers = 2
        backlog = 3
        [[routes]]
        method = \"GET\"
        path = \"/own\"
        access = \"api\""
    );
    let config = load(
        &text,
        &[
            ("KEYGATE_LISTEN__WORKERS", "4"),
            ("KEYGATE_LISTEN__TRUSTED_PROXIES", "10.0.0.0/8, ::1"),
            (
                "KEYGATE_UPSTREAMS__REMOTE_CONFIG__URL",
                "https://rc.example.com",
            ),
            ("KEYGATE_UPSTREAMS__REMOTE_CONFIG__CREDENTIAL", "sesame"),
            (
                "KEYGATE_UPSTREAMS__REMOTE_CONFIG__CREDENTIAL_HEADER",
                "dd-api-key",
            ),
            ("KEYGATE_ROUTES__0__METHOD", "POST"),
            ("KEYGATE_ROUTES__1__METHOD", "*"),
            ("KEYGATE_ROUTES__1__PATH", "/other/*"),
            ("KEYGATE_ROUTES__1__ACCESS", "closed"),
            ("KEYGATE_RECORD__SINK", "off"),
        ],
    )
    .unwrap();
    assert_eq!((config.listen.workers, config.listen.backlog), (4, 3));
    assert_eq!(config.listen.trusted_proxies.len(), 2);
    assert_eq!(
        config.upstream("remote_config").unwrap().url.authority,
        "rc.example.com"
    );
    assert_eq!(
        config.upstream("metrics").unwrap().url.authority,
        "127.0.0.1:9000"
    );
    assert_eq!(config.routes.len(), 2);
    assert_eq!(
        (
            config.routes[0].method.as_str(),
            config.routes[0].path.as_str()
        ),
        ("POST", "/own")
    );
    let shown = describe(&config);
    assert_eq!(shown["record"]["sink"], "off");
    assert_eq!(shown["upstreams"]["remote_config"]["credential"], "set");
    assert_eq!(shown["store"]["root_key"], "not set");
}

#[test]
fn variables_alone_are_a_configuration() {
    let env = [("KEYGATE_UPSTREAMS__DEFAULT__URL", "http://127.0.0.1:9000")];
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let config = Config::load(None, env.into_iter()).unwrap();
    assert!(
        UPSTREAM_NAMES
            .iter()
            .all(|name| config.upstream(name).is_some())
    );

    let said = Config::load(None, std::iter::empty())
        .expect_err("refused")
        .to_string();
    assert!(
        said.starts_with("configuration: no upstream for metrics, events, "),
        "{said}"
    );
}

#[test]
fn variables_of_the_command_line_and_of_others_are_left_alone() {
    let env = [
        ("KEYGATE_CONFIG", "a"),
        ("KEYGATE_URL", "b"),
        ("KEYGATE_API_KEY", "c"),
        ("KEYGATE_APPLICATION_KEY", "d"),
        ("PATH", "e"),
        ("keygate_listen__workers", "f"),
    ];
    assert_eq!(load(UPSTREAM, &env).unwrap().listen.workers, 0);
}

#[test]
fn unreadable_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(
        load_in(dir.path(), &[]).expect_err("refused"),
        "keygate.toml: cannot be read: No such file or directory (os error 2)"
    );
    std::fs::write(dir.path().join("keygate.toml"), b"\xff").unwrap();
    assert_eq!(
        load_in(dir.path(), &[]).expect_err("refused"),
        "keygate.toml: cannot be read: stream did not contain valid UTF-8"
    );
}

#[test]
fn all_errors_of_syntax_are_told_with_their_places() {
    refused(
        "[listen]\nworkers = \n[admin\n",
        "keygate.toml:2:11: string values must be quoted, expected literal string\n\
         keygate.toml:3:7: unclosed table, expected `]`",
    );
    refused(
        "[listen]\nworkers = 1\nworkers = 2",
        "keygate.toml:3:1: duplicate key",
    );
}

#[test]
fn unknown_name_comes_with_the_nearest_one() {
    refused(
        "[listen]\n\nadress = \"0.0.0.0:80\"",
        "keygate.toml:3:1: unknown knob \"listen.adress\"; did you mean \"address\"?",
    );
    refused(
        "[listn]\nworkers = 1",
        "keygate.toml:1:2: unknown section \"listn\"; did you mean \"listen\"?",
    );
    refused(
        "[[route]]\n",
        "keygate.toml:1:3: unknown section \"route\"; did you mean \"routes\"?",
    );
    refused(
        "[admin]\npassword = 1",
        "keygate.toml:2:1: unknown knob \"admin.password\"",
    );
    refused(
        "[store]\nroot_key_fil = \"x\"",
        "keygate.toml:2:1: unknown knob \"store.root_key_fil\"; did you mean \"root_key_file\"?",
    );
    for (knob, nearest) in [
        ("server", "servers"),
        ("usernmae", "username"),
        ("password_flie", "password_file"),
        ("sentinel_maste", "sentinel_master"),
        ("change_kept", "changes_kept"),
    ] {
        refused(
            &format!("[store.redis]\n{knob} = \"x\""),
            &format!(
                "keygate.toml:2:1: unknown knob \"store.redis.{knob}\"; did you mean \"{nearest}\"?"
            ),
        );
    }
    refused(
        "[store.rdis]\nmode = \"single\"",
        "keygate.toml:1:8: unknown section \"store.rdis\"; did you mean \"redis\"?",
    );
    refused(
        "listen = { \"wörkers\" = 1, workesr = 2 }",
        "keygate.toml:1:12: unknown knob \"listen.wörkers\"; did you mean \"workers\"?\n\
         keygate.toml:1:27: unknown knob \"listen.workesr\"; did you mean \"workers\"?",
    );
}

#[test]
fn unknown_variable_comes_with_the_nearest_one() {
    for (name, nearest) in [
        ("KEYGATE_LISTEN__ADRESS", "KEYGATE_LISTEN__ADDRESS"),
        ("KEYGATE_LISTN__WORKERS", "KEYGATE_LISTEN__WORKERS"),
        ("KEYGATE_LISTEN_ADDRESS", "KEYGATE_LISTEN__ADDRESS"),
        ("KEYGATE_listen__workers", "KEYGATE_LISTEN__WORKERS"),
        ("KEYGATE_LISTEN__WORKERS__MAX", "KEYGATE_LISTEN__WORKERS"),
        (
            "KEYGATE_UPSTREAMS__DEFAULT__ULR",
            "KEYGATE_UPSTREAMS__DEFAULT__URL",
        ),
        (
            "KEYGATE_STORE__ROOT_KEY_FIEL",
            "KEYGATE_STORE__ROOT_KEY_FILE",
        ),
        ("KEYGATE_ROUTES__FIRST__PATH", "KEYGATE_ROUTES__0__PATH"),
        (
            "KEYGATE_STORE__REDIS__SERVER",
            "KEYGATE_STORE__REDIS__SERVERS",
        ),
        (
            "KEYGATE_STORE__REDSI__SERVERS",
            "KEYGATE_STORE__REDIS__SERVERS",
        ),
        (
            "KEYGATE_STORE__REDIS_SERVERS",
            "KEYGATE_STORE__REDIS__SERVERS",
        ),
        (
            "KEYGATE_STORE__REDIS__PASWORD_FILE",
            "KEYGATE_STORE__REDIS__PASSWORD_FILE",
        ),
    ] {
        variable_refused(
            name,
            "1",
            &format!("{name}: unknown variable; did you mean \"{nearest}\"?"),
        );
    }
    variable_refused("KEYGATE_COLOUR", "1", "KEYGATE_COLOUR: unknown variable");
    variable_refused("KEYGATE_", "1", "KEYGATE_: unknown variable");
}

#[test]
fn variable_of_a_section_is_told_of_its_knobs() {
    for (name, such_as) in [
        ("KEYGATE_LISTEN", "KEYGATE_LISTEN__ADDRESS"),
        ("KEYGATE_UPSTREAMS", "KEYGATE_UPSTREAMS__DEFAULT__URL"),
        (
            "KEYGATE_UPSTREAMS__METRICS",
            "KEYGATE_UPSTREAMS__METRICS__URL",
        ),
        ("KEYGATE_ROUTES", "KEYGATE_ROUTES__0__METHOD"),
        ("KEYGATE_STORE", "KEYGATE_STORE__DATA_DIR"),
        ("KEYGATE_STORE__REDIS", "KEYGATE_STORE__REDIS__SERVERS"),
    ] {
        variable_refused(
            name,
            "1",
            &format!("{name}: names a section; set one of its knobs instead, such as {such_as}"),
        );
    }
}

#[test]
fn variable_beyond_the_end_of_a_list_is_refused() {
    variable_refused(
        "KEYGATE_ROUTES__2__PATH",
        "/own",
        "KEYGATE_ROUTES__2__PATH: leaves a gap in routes, whose next free index is 0",
    );
}

#[test]
fn value_in_the_place_of_a_section_is_refused() {
    refused(
        "listen = 1",
        "keygate.toml:1:10: \"listen\" is a section, written as [listen]",
    );
    refused(
        "[store]\nredis = \"redis://a\"",
        "keygate.toml:2:9: \"store.redis\" is a section, written as [store.redis]",
    );
    refused(
        "routes = 1",
        "keygate.toml:1:10: \"routes\" is a section, written as [[routes]]",
    );
    refused(
        "routes = [1]",
        "keygate.toml:1:11: \"routes\" is a section, written as [[routes]]",
    );
    let said = load(
        "upstreams = 1",
        &[("KEYGATE_UPSTREAMS__DEFAULT__URL", "http://a")],
    )
    .expect_err("refused");
    assert_eq!(
        said,
        "keygate.toml:1:13: \"upstreams\" is a section, written as [upstreams.NAME]"
    );
    refused(
        "upstreams.logs = 1",
        "keygate.toml:1:18: \"upstreams.logs\" is a section, written as [upstreams.NAME]",
    );
}

#[test]
fn name_that_no_variable_can_spell_is_refused() {
    for name in ["Own", "1own", "own-one", "own__one", "own_"] {
        refused(
            &format!("[upstreams.\"{name}\"]\nurl = \"http://a\""),
            &format!(
                "keygate.toml:1:12: \"{name}\": a name has lower-case letters, digits and single underscores, and begins \
                 with a letter"
            ),
        );
    }
}

#[test]
fn missing_knob_is_named_with_an_example() {
    refused(
        "[upstreams.logs]\nidle_timeout = \"1s\"",
        "keygate.toml:1:1: upstreams.logs.url is missing; set it, such as url = \"https://intake.example.com\"",
    );
    refused(
        "[[routes]]\nmethod = \"*\"\naccess = \"api\"",
        "keygate.toml:1:1: routes.path is missing; set it, such as path = \"/own/intake/*\"",
    );
    variable_refused(
        "KEYGATE_UPSTREAMS__LOGS__KEEP_ALIVE",
        "1s",
        "KEYGATE_UPSTREAMS__LOGS__KEEP_ALIVE: upstreams.logs.url is missing; set it, such as \
         url = \"https://intake.example.com\"",
    );
}

#[test]
fn wrong_value_is_told_what_it_should_be() {
    for (knob, said) in [
        (
            "head_timeout = 10",
            "10 is not a duration: add a unit, as in \"10s\" (ms, s, m, h, d)",
        ),
        (
            "head_timeout = \"10\"",
            "\"10\" is not a duration: add a unit, as in \"10s\" (ms, s, m, h, d)",
        ),
        (
            "head_timeout = \"1.5s\"",
            "\"1.5s\" is not a duration, such as \"10s\" (a whole number of ms, s, m, h or d)",
        ),
        (
            "head_timeout = \"4000d\"",
            "\"4000d\" is not a duration of at most 3650d",
        ),
        ("head_timeout = \"0s\"", "must be more than zero"),
        (
            "head_timeout = true",
            "true or false is not a duration, such as \"10s\" (a whole number of ms, s, m, h or d)",
        ),
        (
            "head_bytes_max = 64",
            "64 is not a size: add a unit, as in \"64KiB\" (B, KB, KiB, MB, MiB, GB, GiB)",
        ),
        (
            "head_bytes_max = \"64k\"",
            "\"64k\" is not a size, such as \"64KiB\" (B, KB, KiB, MB, MiB, GB, GiB)",
        ),
        ("head_bytes_max = \"0\"", "must be more than zero"),
        (
            "workers = -1",
            "-1 is not a whole number from 0 to 1000000000, without quotes",
        ),
        (
            "workers = \"2\"",
            "\"2\" is not a whole number from 0 to 1000000000, without quotes",
        ),
        (
            "workers = 1.5",
            "a number with a point is not a whole number from 0 to 1000000000, without quotes",
        ),
        ("connections_max = 0", "must be more than zero"),
        (
            "backlog = 5000000000",
            "5000000000 is not a whole number from 0 to 1000000000, without quotes",
        ),
        (
            "address = \"localhost:80\"",
            "\"localhost:80\" is not an address with a port, such as \"127.0.0.1:8080\" or \"[::1]:8080\"",
        ),
        (
            "trusted_proxies = \"::1\"",
            "\"::1\" is not a list, such as [\"10.0.0.0/8\", \"::1\"]",
        ),
        (
            "trusted_proxies = [\"lan\"]",
            "\"lan\" is not a network or address, such as \"10.0.0.0/8\" or \"::1\"",
        ),
        (
            "trusted_proxies = [\"10.1.2.3/8\"]",
            "\"10.1.2.3/8\" is not the start of a network; write \"10.0.0.0/8\"",
        ),
    ] {
        let (name, _) = knob.split_once(" = ").unwrap();
        let column = name.len() + " = ".len() + 1;
        refused(
            &format!("[listen]\n{knob}"),
            &format!("keygate.toml:2:{column}: listen.{name}: {said}"),
        );
    }
    refused(
        "[record]\nsink = \"stderr\"",
        "keygate.toml:2:8: record.sink: \"stderr\" is not one of \"stdout\", \"file\", \"off\"",
    );
    refused(
        "[store]\ndata_dir = \"\"",
        "keygate.toml:2:12: store.data_dir: is empty",
    );
    refused(
        "[store]\ndata_dir = 1",
        "keygate.toml:2:12: store.data_dir: 1 is not a text in quotes",
    );
    refused(
        "[store]\ndata_dir = \"a\\u0000\"",
        "keygate.toml:2:12: store.data_dir: \"a\\0\" is not a path: it has a zero character",
    );
    variable_refused(
        "KEYGATE_LISTEN__WORKERS",
        "two",
        "KEYGATE_LISTEN__WORKERS: listen.workers: \"two\" is not a whole number from 0 to 1000000000, without quotes",
    );
}

#[test]
fn wrong_text_of_a_route_is_refused() {
    let route = |method: &str, path: &str| {
        format!("[[routes]]\nmethod = \"{method}\"\npath = \"{path}\"\naccess = \"api\"")
    };
    refused(
        &route("get", "/own"),
        "keygate.toml:2:10: routes.method: \"get\" is not a method in capitals; write \"GET\"",
    );
    refused(
        &route("GET", "own"),
        "keygate.toml:3:8: routes.path: \"own\" is not a path: it does not begin with \"/\"",
    );
    refused(
        "[upstreams.logs]\nurl = \"http://a\"\ncredential = \"x\"\ncredential_header = \"host\"",
        "keygate.toml:4:21: upstreams.logs.credential_header: the header \"host\" frames the message and cannot carry a \
         credential",
    );
    refused(
        "[upstreams.logs]\nurl = \"http://a\"\ncredential = \"x\"\ncredential_query = \"a&b\"",
        "keygate.toml:4:20: upstreams.logs.credential_query: \"a&b\" is not a name of letters, digits, \"-\", \".\" and \"_\"",
    );
}

#[test]
fn url_is_taken_apart_once() {
    let url = |text: &str| text.parse::<UpstreamUrl>().unwrap();
    let expected = UpstreamUrl {
        https: true,
        host: "intake.example.com".to_owned(),
        port: 443,
        authority: "intake.example.com".to_owned(),
        path_prefix: String::new(),
    };
    assert_eq!(url("https://Intake.example.com/"), expected);
    assert_eq!(url("https://intake.example.com:443"), expected);
    let inside = url("http://[::1]:9000/datadog/");
    assert_eq!((inside.host.as_str(), inside.port), ("::1", 9000));
    assert_eq!(
        (inside.authority.as_str(), inside.path_prefix.as_str()),
        ("[::1]:9000", "/datadog")
    );
    assert_eq!(inside.to_string(), "http://[::1]:9000/datadog");
}

#[test]
fn url_that_says_more_than_a_place_is_refused_and_not_quoted() {
    for (url, said) in [
        (
            "ftp://hunter2",
            "a URL here begins with http:// or https://",
        ),
        ("hunter2:9000", "a URL here begins with http:// or https://"),
        (
            "http://a/?key=hunter2",
            "a URL here has no query and no fragment",
        ),
        (
            "http://a/#hunter2",
            "a URL here has no query and no fragment",
        ),
        (
            "http://me:hunter2@a",
            "a URL here has no user and no password; see the knob \"credential\"",
        ),
        (
            "http://",
            "the URL has no host, or one that is neither a name nor an address",
        ),
        (
            "http://:80",
            "the URL has no host, or one that is neither a name nor an address",
        ),
        (
            "http://a b",
            "the URL has no host, or one that is neither a name nor an address",
        ),
        (
            "http://1.2.3",
            "the URL has no host, or one that is neither a name nor an address",
        ),
        (
            "http://[::g]",
            "the URL has no host, or one that is neither a name nor an address",
        ),
        (
            "http://::1",
            "the URL has no host, or one that is neither a name nor an address",
        ),
        (
            "http://a:0",
            "the URL's port is not a number from 1 to 65535",
        ),
        (
            "http://a:+80",
            "the URL's port is not a number from 1 to 65535",
        ),
        (
            "http://a:",
            "the URL's port is not a number from 1 to 65535",
        ),
        (
            "http://[::1]80",
            "the URL's port is not a number from 1 to 65535",
        ),
        (
            "http://a/../b",
            "the URL's path has an empty or dotted part, or a character that would need an escape",
        ),
        (
            "http://a//",
            "the URL's path has an empty or dotted part, or a character that would need an escape",
        ),
    ] {
        refused(
            &format!("[upstreams.logs]\nurl = \"{url}\""),
            &format!("keygate.toml:2:7: upstreams.logs.url: {said}"),
        );
    }
    refused(
        "[upstreams.logs]\nurl = 1",
        "keygate.toml:2:7: upstreams.logs.url: a URL is a text in quotes",
    );
}

#[test]
fn secret_comes_from_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let key = "0123456789abcdef".repeat(4);
    let file = dir.path().join("root");
    std::fs::write(&file, format!("{key}\r\n")).unwrap();
    let file = file.to_str().unwrap();

    let said_by_file = load(
        &format!("[store]\nroot_key_file = \"{file}\"\n{UPSTREAM}"),
        &[],
    )
    .unwrap();
    assert_eq!(said_by_file.store.root_key.unwrap().expose(), key);
    let said_by_variable = load(UPSTREAM, &[("KEYGATE_STORE__ROOT_KEY_FILE", file)]).unwrap();
    assert_eq!(
        said_by_variable.store.root_key.as_ref().unwrap().expose(),
        key
    );
    assert!(!format!("{said_by_variable:?}{}", describe(&said_by_variable)).contains(&key));
}

#[test]
fn secret_that_cannot_be_used_is_named_and_not_quoted() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("empty"), "\n").unwrap();
    std::fs::write(path("short"), "hunter2").unwrap();
    std::fs::write(path("long"), "7".repeat(70_000)).unwrap();
    for (name, said) in [
        (
            "none",
            "cannot be read: No such file or directory (os error 2)",
        ),
        ("empty", "is empty"),
        (
            "short",
            "is not 64 hexadecimal digits, as \"openssl rand -hex 32\" makes them",
        ),
        ("long", "is longer than 64KiB, so it is not a secret"),
    ] {
        let file = path(name);
        refused(
            &format!("[store]\nroot_key_file = \"{file}\""),
            &format!("keygate.toml:2:17: store.root_key_file: the file \"{file}\" {said}"),
        );
        variable_refused(
            "KEYGATE_STORE__ROOT_KEY_FILE",
            &file,
            &format!(
                "KEYGATE_STORE__ROOT_KEY_FILE: store.root_key_file: the file \"{file}\" {said}"
            ),
        );
    }
    refused(
        "[store]\nroot_key = \"hunter2\"",
        "keygate.toml:2:12: store.root_key: is not 64 hexadecimal digits, as \"openssl rand -hex 32\" makes them",
    );
    refused(
        "[store]\nroot_key = 7",
        "keygate.toml:2:12: store.root_key: a secret is a text in quotes",
    );
    variable_refused(
        "KEYGATE_STORE__ROOT_KEY",
        "",
        "KEYGATE_STORE__ROOT_KEY: store.root_key: is empty",
    );
    variable_refused(
        "KEYGATE_UPSTREAMS__DEFAULT__CREDENTIAL",
        "hunter2\n",
        "KEYGATE_UPSTREAMS__DEFAULT__CREDENTIAL: upstreams.default.credential: has a character that a header cannot carry, \
         or a space at its start or end",
    );
}

#[test]
fn secret_is_given_once() {
    let text = format!(
        "[store]\nroot_key = \"{}\"\nroot_key_file = \"x\"",
        "0".repeat(64)
    );
    refused(
        &text,
        "keygate.toml:2:12: store.root_key and store.root_key_file are both given (the other one by keygate.toml:3:17); \
         keep one",
    );
}

#[test]
fn every_family_has_somewhere_to_go() {
    let said = load("[upstreams.metrics]\nurl = \"http://a\"", &[]).expect_err("refused");
    assert!(
        said.starts_with("keygate.toml: no upstream for events, process, "),
        "{said}"
    );
    assert!(
        said.ends_with(", ci; set upstreams.default.url, or give each of them its own"),
        "{said}"
    );

    let all = |leave_out: &str| {
        let names = UPSTREAM_NAMES
            .iter()
            .filter(|name| **name != "default" && **name != leave_out);
        names
            .map(|name| format!("[upstreams.{name}]\nurl = \"http://a\"\n"))
            .collect::<String>()
    };
    assert!(load(&all("default"), &[]).is_ok());
    let said = load(&all("logs"), &[]).expect_err("refused");
    assert!(said.contains("no upstream for logs; set"), "{said}");
    let route = "[[routes]]\nmethod = \"*\"\npath = \"/own\"\naccess = \"api\"\n";
    let said = load(&format!("{route}{}", all("default")), &[]).expect_err("refused");
    assert_eq!(said, "keygate.toml:1:1: there is no upstream \"default\"");
}

#[test]
fn upstream_of_a_route_is_there_and_every_upstream_is_used() {
    let route = |upstream: &str| {
        format!(
            "[[routes]]\nmethod = \"*\"\npath = \"/own\"\naccess = \"api\"\nupstream = \"{upstream}\"\n"
        )
    };
    let own = "[upstreams.mine]\nurl = \"http://a\"\n";
    assert!(load(&format!("{}{own}{UPSTREAM}", route("mine")), &[]).is_ok());
    assert!(load(&format!("{}{UPSTREAM}", route("metrics")), &[]).is_ok());
    refused(
        &route("yours"),
        "keygate.toml:5:12: there is no upstream \"yours\"",
    );
    refused(
        &route("metrisc"),
        "keygate.toml:5:12: there is no upstream \"metrisc\"; did you mean \"metrics\"?",
    );
    refused(
        "[upstreams.metrisc]\nurl = \"http://a\"",
        "keygate.toml:1:1: nothing uses the upstream \"metrisc\": no family has this name, and no route names it; \
         did you mean \"metrics\"?",
    );
}

#[test]
fn knobs_that_need_or_exclude_each_other() {
    let upstream = |knobs: &str| format!("[upstreams.logs]\nurl = \"http://a\"\n{knobs}");
    refused(
        &upstream("ca_file = \"/ca.pem\""),
        "keygate.toml:3:11: upstreams.logs.ca_file needs an https:// upstreams.logs.url",
    );
    refused(
        &upstream("credential = \"x\"\ncredential_header = \"a\"\ncredential_query = \"b\""),
        "keygate.toml:5:20: upstreams.logs.credential_query and upstreams.logs.credential_header cannot both be set",
    );
    refused(
        &upstream("credential_header = \"a\""),
        "keygate.toml:3:21: upstreams.logs.credential_header needs upstreams.logs.credential or \
         upstreams.logs.credential_file",
    );
    refused(
        &upstream("credential = \"x\""),
        "keygate.toml:1:1: upstreams.logs.credential needs upstreams.logs.credential_header or \
         upstreams.logs.credential_query",
    );
    refused(
        "[record]\nsink = \"file\"",
        "keygate.toml:2:8: record.sink = \"file\" needs record.path",
    );
    refused(
        "[rules]\napi_keys_per_org_min = 6",
        "keygate.toml:2:24: rules.api_keys_per_org_min is greater than rules.api_keys_per_org_max",
    );
    refused(
        "[[routes]]\nmethod = \"*\"\npath = \"/own\"\naccess = \"intake\"\nscope = \"own\"",
        "keygate.toml:5:9: scope needs access = \"api\"",
    );
}

#[test]
fn route_is_given_once() {
    let route = "[[routes]]\nmethod = \"*\"\npath = \"/own\"\naccess = \"api\"\n";
    refused(
        &format!("{route}{route}"),
        "keygate.toml:5:1: the route * /own is there already, at keygate.toml:1:1",
    );
}

#[test]
fn all_errors_are_told_at_once_in_the_order_of_the_file() {
    let said = load(
        "[listen]\nworkers = true\nadress = \"x\"\n[upstreams.default]\nulr = \"http://a\"\n",
        &[("KEYGATE_DRAIN__DEADLINE", "25"), ("KEYGATE_COLOUR", "1")],
    )
    .expect_err("refused");
    let places: Vec<&str> = said
        .lines()
        .map(|line| line.split(": ").next().unwrap())
        .collect();
    assert_eq!(
        places,
        [
            "keygate.toml:2:11",
            "keygate.toml:3:1",
            "keygate.toml:4:1",
            "keygate.toml:5:1",
            "KEYGATE_COLOUR",
            "KEYGATE_DRAIN__DEADLINE"
        ]
    );
}

#[test]
fn store_is_embedded_until_servers_are_named() {
    let config = load(UPSTREAM, &[]).unwrap();
    assert!(!config.store.uses_redis());
    assert_eq!(config.store.usage_interval, Duration::from_secs(10));
    let redis = &config.store.redis;
    assert_eq!(
        (redis.mode, redis.prefix.as_str()),
        (RedisMode::Single, "keygate")
    );
    assert_eq!(redis.changes_kept, 10_000);
    assert_eq!(redis.connect_timeout, Duration::from_secs(1));
    assert_eq!(redis.response_timeout, Duration::from_secs(2));

    let config = load(UPSTREAM, &[("KEYGATE_STORE__REDIS__SERVERS", "")]).unwrap();
    assert!(!config.store.uses_redis());
    let config = load(
        UPSTREAM,
        &[
            ("KEYGATE_STORE__REDIS__SERVERS", "redis://127.0.0.1"),
            ("KEYGATE_STORE__DATA_DIR", "/data"),
        ],
    )
    .unwrap();
    assert!(config.store.uses_redis());
    assert_eq!(config.store.replica(), Path::new("/data/replica.redb"));
}

#[test]
fn redis_is_configured_by_file_and_by_variables_alike() {
    let dir = tempfile::tempdir().unwrap();
    let password = dir.path().join("password");
    std::fs::write(&password, "hunter2: \"all of it\"\n").unwrap();
    let password = password.to_str().unwrap();
    let by_file = load(
        &format!(
            "[store]
            usage_interval = \"1m\"
            [store.redis]
            servers = [\"rediss://s1.example.com:26379\", \"rediss://[::1]/\"]
            mode = \"sentinel\"
            sentinel_master = \"keygate\"
            username = \"keygate\"
            password_file = \"{password}\"
            sentinel_password = \"hunter3\"
            ca_file = \"/etc/ca.pem\"
            prefix = \"kg-2.a_b\"
            connect_timeout = \"500ms\"
            response_timeout = \"1s\"
            changes_kept = 100
            node_name = \"gw/1\"
            {UPSTREAM}"
        ),
        &[],
    )
    .unwrap();
    let by_variables = load(
        UPSTREAM,
        &[
            ("KEYGATE_STORE__USAGE_INTERVAL", "1m"),
            (
                "KEYGATE_STORE__REDIS__SERVERS",
                "rediss://s1.example.com:26379, rediss://[::1]",
            ),
            ("KEYGATE_STORE__REDIS__MODE", "sentinel"),
            ("KEYGATE_STORE__REDIS__SENTINEL_MASTER", "keygate"),
            ("KEYGATE_STORE__REDIS__USERNAME", "keygate"),
            ("KEYGATE_STORE__REDIS__PASSWORD_FILE", password),
            ("KEYGATE_STORE__REDIS__SENTINEL_PASSWORD", "hunter3"),
            ("KEYGATE_STORE__REDIS__CA_FILE", "/etc/ca.pem"),
            ("KEYGATE_STORE__REDIS__PREFIX", "kg-2.a_b"),
            ("KEYGATE_STORE__REDIS__CONNECT_TIMEOUT", "500ms"),
            ("KEYGATE_STORE__REDIS__RESPONSE_TIMEOUT", "1s"),
            ("KEYGATE_STORE__REDIS__CHANGES_KEPT", "100"),
            ("KEYGATE_STORE__REDIS__NODE_NAME", "gw/1"),
        ],
    )
    .unwrap();
    let shown = describe(&by_file);
    assert_eq!(shown, describe(&by_variables));
    assert_eq!(
        shown["store"]["redis"]["servers"],
        serde_json::json!(["rediss://s1.example.com:26379", "rediss://[::1]:6379"])
    );
    let redis = &by_variables.store.redis;
    assert_eq!(
        redis.password.as_ref().unwrap().expose(),
        "hunter2: \"all of it\""
    );
    assert!(!format!("{by_file:?}{shown}").contains("hunter"));
    let expected = RedisUrl {
        tls: true,
        host: "::1".to_owned(),
        port: 6379,
    };
    assert_eq!(redis.servers[1], expected);

    let read_from =
        "[store.redis]\nservers = [\"redis://A\"]\nread_from = [\"redis://b:1\", \"redis://c\"]\n";
    let config = load(&format!("{read_from}{UPSTREAM}"), &[]).unwrap();
    assert_eq!(config.store.redis.read_from.len(), 2);
    assert_eq!(config.store.redis.servers[0].host, "a");
    let cluster = "[store.redis]\nservers = [\"redis://a\", \"redis://b\"]\nmode = \"cluster\"\n";
    assert!(load(&format!("{cluster}{UPSTREAM}"), &[]).is_ok());
}

#[test]
fn wrong_value_of_redis_is_told_what_it_should_be() {
    const HOST: &str = "the URL has no host, or one that is neither a name nor an address";
    const PORT: &str = "the URL's port is not a number from 1 to 65535";
    const SCHEME: &str = "the URL of a Redis server begins with redis:// or, for TLS, rediss://";
    const USER: &str = "the URL of a Redis server has no user and no password here; see the knobs \"username\" and \
                        \"password_file\"";
    const QUERY: &str = "the URL of a Redis server has no query and no fragment here; see the knobs \"ca_file\", \
                         \"connect_timeout\" and \"response_timeout\"";
    const PATH: &str = "the URL of a Redis server has no path here, as only database 0 is used; see the knob \"prefix\" \
                        for two fleets on one server";
    for (url, said) in [
        ("hunter2:6379", SCHEME),
        ("http://hunter2", SCHEME),
        ("unix:///hunter2", SCHEME),
        ("redis://:hunter2@a", USER),
        ("redis://me:hunter2/?#@a", USER),
        ("redis://a?password=hunter2", QUERY),
        ("rediss://a#insecure", QUERY),
        ("redis://a/0", PATH),
        ("redis://a//", PATH),
        ("redis://", HOST),
        ("redis://:6379", HOST),
        ("redis://::1", HOST),
        ("redis://1.2.3", HOST),
        ("redis://a, redis://b", HOST),
        ("redis://a:0", PORT),
        ("redis://a:65536", PORT),
        ("redis://[::1]:", PORT),
    ] {
        for knob in ["servers", "read_from"] {
            let column = knob.len() + " = ".len() + 1;
            refused(
                &format!("[store.redis]\n{knob} = [\"{url}\"]"),
                &format!("keygate.toml:2:{column}: store.redis.{knob}: {said}"),
            );
        }
    }
    for (knob, said) in [
        (
            "servers = \"redis://:hunter2@a\"",
            "the servers are a list, such as [\"redis://10.0.0.1:6379\"]",
        ),
        (
            "servers = [1]",
            "the URL of a Redis server is a text in quotes",
        ),
        (
            "mode = \"sentinels\"",
            "\"sentinels\" is not one of \"single\", \"sentinel\", \"cluster\"",
        ),
        (
            "sentinel_master = \"my master\"",
            "\"my master\" is not a name of letters, digits, \"-\", \".\" and \"_\"",
        ),
        (
            "username = \"a b\"",
            "\"a b\" is not the name of a user: it has a space or a control character",
        ),
        ("username = \"\"", "is empty"),
        (
            "password = \"hunter2\\n\"",
            "has a control character, such as the end of a line",
        ),
        ("sentinel_password = 7", "a secret is a text in quotes"),
        ("prefix = \"\"", "is empty"),
        (
            "prefix = \"Keygate\"",
            "\"Keygate\" is not 1 to 32 of lower-case letters, digits, \".\", \"_\" and \"-\"",
        ),
        (
            "prefix = \"a{b}\"",
            "\"a{b}\" is not 1 to 32 of lower-case letters, digits, \".\", \"_\" and \"-\"",
        ),
        ("connect_timeout = \"0s\"", "must be more than zero"),
        (
            "response_timeout = 2",
            "2 is not a duration: add a unit, as in \"10s\" (ms, s, m, h, d)",
        ),
        ("changes_kept = 99", "must be at least 100"),
        (
            "changes_kept = -1",
            "-1 is not a whole number from 0 to 1000000000, without quotes",
        ),
        (
            "node_name = \"node 1\"",
            "\"node 1\" is not 1 to 64 visible characters of ASCII",
        ),
        (
            "node_name = \"nöde\"",
            "\"nöde\" is not 1 to 64 visible characters of ASCII",
        ),
    ] {
        let (name, _) = knob.split_once(" = ").unwrap();
        let column = name.len() + " = ".len() + 1;
        refused(
            &format!("[store.redis]\n{knob}"),
            &format!("keygate.toml:2:{column}: store.redis.{name}: {said}"),
        );
    }
    let long = "a".repeat(33);
    refused(
        &format!("[store.redis]\nprefix = \"{long}\""),
        &format!(
            "keygate.toml:2:10: store.redis.prefix: \"{long}\" is not 1 to 32 of lower-case letters, digits, \".\", \"_\" and \
             \"-\""
        ),
    );
    refused(
        "[store]\nusage_interval = \"0s\"",
        "keygate.toml:2:18: store.usage_interval: must be more than zero",
    );
    variable_refused(
        "KEYGATE_STORE__REDIS__SERVERS",
        "redis://a,redis://:hunter2@b",
        &format!("KEYGATE_STORE__REDIS__SERVERS: store.redis.servers: {USER}"),
    );
}

#[test]
fn knobs_of_redis_need_or_exclude_each_other() {
    let redis = |knobs: &str| format!("[store.redis]\n{knobs}");
    let two = "servers = [\"redis://a\", \"redis://b\"]\n";
    let one = "servers = [\"redis://a\"]\n";
    // Or else a node that was meant for a fleet would start with a store of its own.
    for (knob, name) in [
        ("mode = \"cluster\"", "mode = \"cluster\""),
        ("sentinel_master = \"a\"", "sentinel_master"),
        ("username = \"a\"", "username"),
        ("password = \"a\"", "password"),
        ("sentinel_password = \"a\"", "sentinel_password"),
        ("ca_file = \"a\"", "ca_file"),
        ("read_from = [\"redis://a\"]", "read_from"),
    ] {
        let column = knob.find(" = ").unwrap() + " = ".len() + 1;
        refused(
            &redis(knob),
            &format!("keygate.toml:2:{column}: store.redis.{name} needs store.redis.servers"),
        );
    }
    for (knobs, place, said) in [
        (
            two.to_owned(),
            "2:11",
            "more than one of store.redis.servers needs store.redis.mode = \"sentinel\" or \"cluster\"",
        ),
        (
            format!("{two}mode = \"sentinel\""),
            "3:8",
            "store.redis.mode = \"sentinel\" needs store.redis.sentinel_master",
        ),
        (
            format!("{one}sentinel_master = \"a\""),
            "3:19",
            "store.redis.sentinel_master needs store.redis.mode = \"sentinel\"",
        ),
        (
            format!("{two}mode = \"cluster\"\nsentinel_password = \"a\""),
            "4:21",
            "store.redis.sentinel_password needs store.redis.mode = \"sentinel\"",
        ),
        (
            format!("{two}mode = \"cluster\"\nread_from = [\"redis://c\"]"),
            "4:13",
            "store.redis.read_from needs store.redis.mode = \"single\"",
        ),
        (
            format!("{one}username = \"a\""),
            "3:12",
            "store.redis.username needs store.redis.password or store.redis.password_file",
        ),
        (
            format!("{one}ca_file = \"a\""),
            "3:11",
            "store.redis.ca_file needs rediss:// in store.redis.servers",
        ),
        (
            "servers = [\"redis://a\", \"rediss://b\"]\nmode = \"cluster\"".to_owned(),
            "2:11",
            "store.redis.servers: either all begin with rediss:// or all with redis://",
        ),
        (
            format!("{one}read_from = [\"redis://b\", \"rediss://c\"]"),
            "3:13",
            "store.redis.servers and store.redis.read_from: either all begin with rediss:// or all with redis://",
        ),
    ] {
        refused(&redis(&knobs), &format!("keygate.toml:{place}: {said}"));
    }
}

/// A command without a configuration file reads only the variables that concern the store.
#[test]
fn variables_of_redis_reach_the_commands() {
    let dir = tempfile::tempdir().unwrap();
    let run = Command::new(env!("CARGO_BIN_EXE_keygate"))
        .args(["keys", "list", "--org", "acme", "--data-dir"])
        .arg(dir.path())
        .env_clear()
        .env("KEYGATE_STORE__REDIS__SERVERS", "redis://:hunter2@a")
        .env("KEYGATE_LISTEN__WORKERS", "not read here")
        .output()
        .unwrap();
    let said = String::from_utf8(run.stderr).unwrap();
    assert_eq!(run.status.code(), Some(78), "{said}");
    assert!(
        said.contains("KEYGATE_STORE__REDIS__SERVERS: store.redis.servers: "),
        "{said}"
    );
    assert!(
        !said.contains("KEYGATE_LISTEN") && !said.contains("hunter2"),
        "{said}"
    );
}

/// Loads an example of `deploy`, with the files that it names in /etc/keygate.
fn load_deployed(example: &str, secrets: &[&str]) -> Config {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().to_str().unwrap();
    let text = std::fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("deploy")
            .join(example),
    )
    .unwrap();
    for name in secrets {
        assert!(
            text.contains(&format!("_file = \"/etc/keygate/{name}\"")),
            "{name}"
        );
        std::fs::write(dir.path().join(name), "ab".repeat(32)).unwrap();
    }
    let text = text.replace("/etc/keygate/", &format!("{folder}/"));
    load(&text, &[]).expect(example)
}

#[test]
fn examples_of_deployments_load() {
    let single = load_deployed("keygate.toml", &[]);
    assert!(!single.store.uses_redis());

    let fleet = load_deployed("fleet.toml", &["root-key", "redis-password"]);
    assert!(fleet.store.uses_redis());
    let redis = &fleet.store.redis;
    assert_eq!(redis.mode, RedisMode::Sentinel);
    assert!(redis.servers.iter().all(|server| server.tls));
    assert!(redis.password.is_some() && fleet.store.root_key.is_some());
}

/// What the Redis of the fleet is told and what its nodes say belong together.
#[test]
fn example_of_redis_knows_the_user_and_the_prefix_of_the_example_of_a_node() {
    let fleet = load_deployed("fleet.toml", &["root-key", "redis-password"]);
    let redis = fleet.store.redis;
    let settings =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/redis.conf"))
            .unwrap();
    let user = format!("user {} on ", redis.username.unwrap());
    let line = settings.lines().find(|line| line.starts_with(&user));
    let pattern = format!(" ~{{{}:* ", redis.prefix);
    assert!(line.unwrap().contains(&pattern), "{line:?}");
}

#[test]
fn two_listeners_on_one_port_are_refused() {
    refused(
        "[control]\naddress = \"127.0.0.1:8080\"",
        "keygate.toml:2:11: control.address is taken by listen.address: give each a port of its own",
    );
    refused(
        "[control]\naddress = \"127.0.0.1:8081\"",
        "keygate.toml:2:11: control.address is taken by admin.address: give each a port of its own",
    );
    refused(
        "[admin]\naddress = \"[::]:8080\"",
        "keygate.toml:2:11: admin.address is taken by listen.address: give each a port of its own",
    );
    for fine in [
        "[control]\naddress = \"127.0.0.1:8081\"\nlistener = \"off\"",
        "[control]\naddress = \"127.0.0.2:8081\"",
        "[listen]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"",
    ] {
        load(&format!("{fine}\n{UPSTREAM}"), &[]).unwrap();
    }
}

#[test]
fn pages_and_their_provider_need_what_belongs_to_them() {
    refused(
        "[control]\nurl = \"https://example.com/keygate\"",
        "keygate.toml:2:7: control.url has a path, and the pages are at the top of their host: give them a host name of their own",
    );
    refused(
        "[control.oidc]\nissuer = \"https://login.example.com\"",
        "keygate.toml:2:10: control.oidc.issuer needs control.oidc.client_id",
    );
    refused(
        "[control.oidc]\nissuer = \"http://login.example.com\"\nclient_id = \"keygate\"",
        "keygate.toml:2:10: control.oidc.issuer begins with http://: who vouches for people is asked over https://, except on this machine",
    );
    refused(
        "[control.oidc]\nclient_id = \"keygate\"",
        "keygate.toml:2:13: control.oidc.client_id needs control.oidc.issuer",
    );
    let here = "[control.oidc]\nissuer = \"http://127.0.0.1:9400\"\nclient_id = \"keygate\"\n";
    load(&format!("{here}{UPSTREAM}"), &[]).unwrap();
}
