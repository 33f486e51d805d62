//! What the command line says of itself: help, completions and the man page, and what it exits with when it is misused.

use std::collections::VecDeque;

use crate::program::Program;

/// Every command, as it is typed, by walking through the help of each.
async fn commands() -> Vec<Vec<String>> {
    let program = Program::default();
    let mut found = Vec::new();
    let mut left = VecDeque::from([Vec::<String>::new()]);
    while let Some(path) = left.pop_front() {
        let mut args: Vec<&str> = path.iter().map(String::as_str).collect();
        args.push("--help");
        let help = program.run(&args).await.good();
        assert!(help.out.contains("Usage: keygate"), "{help:#?}");
        assert!(help.err.is_empty(), "{help:#?}");
        let listed = help.out.split_once("Commands:\n");
        let listed = listed.map_or("", |(_, rest)| rest.split("\n\n").next().unwrap());
        for line in listed.lines() {
            let (name, about) = line.trim().split_once("  ").unwrap_or((line.trim(), ""));
            if name == "help" {
                continue;
            }
            assert!(!about.trim().is_empty(), "{line:?} says nothing");
            let mut below = path.clone();
            below.push(name.to_owned());
            left.push_back(below);
        }
        found.push(path);
    }
    found.retain(|path| !path.is_empty());
    found
}

#[tokio::test]
async fn every_command_has_help_and_is_in_the_completions_and_the_man_page() {
    let commands = commands().await;
    assert!(commands.len() > 60, "{commands:?}");
    let program = Program::default();

    let man = program.run(&["man"]).await.good().out;
    for path in &commands {
        let heading = format!(".SH \"KEYGATE {}\"", path.join(" ").to_uppercase());
        assert!(man.lines().any(|line| line == heading), "{heading}");
    }
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let text = program.run(&["completions", shell]).await.good().out;
        for path in &commands {
            let name = path.last().unwrap();
            assert!(text.contains(name.as_str()), "{shell} lacks {name}");
        }
    }
}

#[tokio::test]
async fn the_man_page_is_well_formed() {
    let man = Program::default().run(&["man"]).await.good().out;
    let known = [
        ".TH", ".SH", ".SS", ".TP", ".RS", ".RE", ".br", ".ie", ".el", ".PP", ".IP",
    ];
    assert!(man.contains("\n.TH keygate 1"), "{}", &man[..200]);
    for line in man.lines().filter(|line| line.starts_with('.')) {
        let request = line.split(' ').next().unwrap();
        assert!(known.contains(&request), "{line}");
    }
    for section in [
        "NAME",
        "SYNOPSIS",
        "DESCRIPTION",
        "OPTIONS",
        "\"EXIT STATUS\"",
    ] {
        let heading = format!(".SH {section}");
        assert_eq!(
            man.lines().filter(|line| **line == heading).count(),
            1,
            "{heading}"
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("man1");
    let to_folder = ["man", "--dir", dir.to_str().unwrap()];
    Program::default().run(&to_folder).await.good();
    assert!(dir.join("keygate.1").exists() && dir.join("keygate-keys-rotate.1").exists());
}

#[tokio::test]
async fn bash_takes_the_completions() {
    let text = Program::default()
        .run(&["completions", "bash"])
        .await
        .good()
        .out;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keygate.bash");
    std::fs::write(&path, text).unwrap();
    let Ok(checked) = tokio::process::Command::new("bash")
        .arg("-n")
        .arg(&path)
        .output()
        .await
    else {
        // No bash here, nobody to take them.
        return;
    };
    assert!(checked.status.success(), "{checked:?}");
}

#[tokio::test]
async fn misuse_exits_with_64_and_shows_nothing_that_may_be_a_secret() {
    let secret = "0123456789abcdef0123456789abcdef";
    let folder = tempfile::tempdir().unwrap();
    let program = Program::at(folder.path());
    for args in [
        &["keys", "steal"] as &[&str],
        &["keys", "show", "id", secret],
        &["keys", "update", "id"],
        &[
            "keys",
            "update",
            "id",
            "--expires-at",
            "2030-01-01T00:00:00Z",
            "--never-expires",
        ],
        &["apps", "update", "id", "--scope", "a", "--all-scopes"],
        &["tokens", "rotate", "id"],
        &["keys", "rotate", "id", "--overlap", "24h", "--no-overlap"],
        &["keys", "rotate", "id", "--overlap", "soon"],
        &["users", "update", "ann"],
        &["service-accounts", "update", "bot"],
        &["audit", "list", "--action", "key.stolen"],
        &["audit", "list", "--since", "yesterday"],
        &["audit", "verify", "--against", "/nowhere"],
        &["explain"],
        &["explain", "no-address"],
        &["explain", "/a", secret],
        &["explain", "/a", "-H", secret],
        &["explain", "/a", "-H", "DD-API-KEY: $NOT_SET"],
        &[
            "explain",
            "/a",
            "--key",
            "pub0123456789abcdef0123456789abcdef",
        ],
        &["explain", "/a", "--address", secret],
        &["explain", "--record", "id"],
        &["completions", "tcsh"],
        &["keys", "list", "--org", "a", "--url", "http://127.0.0.1:1"],
    ] {
        let run = program.run(args).await.exits(64);
        assert!(run.out.is_empty() && !run.err.is_empty(), "{run:#?}");
        assert!(!run.err.contains(secret), "{run:#?}");
    }
    let nowhere = Program::default()
        .run(&["keys", "list", "--org", "a"])
        .await;
    assert!(nowhere.exits(64).err.contains("which store?"));
}
