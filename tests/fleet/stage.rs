//! That the servers and the gateways of these tests are what was asked for, and suffer what they should. The links have
//! tests of their own in `links`. It says nothing about keygate.

use std::time::{Duration, Instant};

use keygate::config::{Config, RedisMode};

use crate::cluster::{Cluster, Shape};
use crate::eventually;
use crate::fleet::{Fleet, Home};
use crate::link::Link;
use crate::prober::Prober;
use crate::sentinels::Sentinels;
use crate::servers::{Options, RedisServer};

/// So long that a test can tell that it was.
const MOMENT: Duration = Duration::from_millis(300);

/// What was counted at the server itself.
pub fn counted(server: &RedisServer) -> u32 {
    server.ask::<Option<u32>>("GET a").unwrap_or(0)
}

#[test]
fn a_server_comes_back_with_all_it_had_or_nothing_or_an_older_state() {
    for appendonly in [true, false] {
        let mut server = RedisServer::with(Options {
            appendonly,
            ..Options::default()
        });
        let port = server.port();
        server.ask::<u32>("INCR a");
        let dump = server.dump();
        server.ask::<u32>("INCR a");
        server.kill();
        assert!(server.try_ask::<String>("PING").is_err());
        server.restart();
        assert_eq!(counted(&server), if appendonly { 2 } else { 1 });
        server.restart_empty();
        assert_eq!(counted(&server), 0);
        server.restart_with(&dump);
        assert_eq!((counted(&server), server.port()), (1, port));
        server.terminate();
        assert!(!server.is_running());
    }
}

#[test]
fn a_server_asks_for_passwords_and_knows_its_users() {
    let server = RedisServer::with(Options {
        password: Some("open-sesame".to_owned()),
        users: vec!["reader on >let-me-in ~* +get".to_owned()],
        ..Options::default()
    });
    assert_eq!(server.ask::<u32>("INCR a"), 1);
    assert_eq!(server.cli(&["GET", "a"]), "1\n");
    assert!(server.connection_as("default", Some("wrong")).is_err());
    let mut reader = server.connection_as("reader", Some("let-me-in")).unwrap();
    let get = redis::cmd("GET").arg("a").query::<u32>(&mut reader);
    assert_eq!(get.unwrap(), 1);
    let refused = redis::cmd("INCR").arg("a").query::<u32>(&mut reader);
    assert_eq!(refused.unwrap_err().code(), Some("NOPERM"));
}

#[test]
fn a_server_with_tls_is_reached_with_its_authority_only() {
    let server = RedisServer::with(Options {
        tls: true,
        ..Options::default()
    });
    assert_eq!(server.ask::<u32>("INCR a"), 1);
    assert_eq!(server.cli(&["GET", "a"]), "1\n");
    assert!(server.url().starts_with("rediss://"));
    assert!(server.log().contains("Ready to accept connections"));
    let stranger = redis::Client::open(server.url()).unwrap();
    assert!(stranger.get_connection_with_timeout(MOMENT).is_err());
}

#[test]
fn sentinels_fail_over_with_all_writes_or_without_the_last_ones() {
    let mut sentinels = Sentinels::start();
    sentinels.master().ask::<u32>("INCR a");
    let (old, new) = sentinels.fail_over();
    assert_eq!(sentinels.current_master(), new);
    assert_eq!(counted(&sentinels.servers[new]), 1);
    sentinels.bring_back(old);

    let lost = sentinels.fail_over_losing(|master| master.ask::<u32>("INCR a"));
    assert_eq!(lost, 2);
    assert_ne!(sentinels.current_master(), new);
    assert_eq!(counted(sentinels.master()), 1);
}

#[test]
fn two_sentinels_are_enough_and_they_may_ask_for_passwords() {
    let options = Options {
        password: Some("open-sesame".to_owned()),
        ..Options::default()
    };
    let mut sentinels = Sentinels::with(&options, Some("let-me-in"));
    sentinels.kill_sentinel(0);
    let lost = sentinels.fail_over_losing(|master| master.ask::<u32>("INCR a"));
    assert_eq!((lost, counted(sentinels.master())), (1, 0));
}

#[test]
fn a_cluster_fails_over_and_moves_slots() {
    let mut cluster = Cluster::with(&Shape {
        replicas: true,
        ..Shape::default()
    });
    let slot = cluster.slot_of("a");
    let owner = cluster.owner_of(slot);
    cluster.servers[owner].ask::<u32>("INCR a");
    let elsewhere = cluster.servers[(owner + 1) % 3].try_ask::<u32>("INCR a");
    assert_eq!(elsewhere.unwrap_err().code(), Some("MOVED"));

    let to = (owner + 1) % 3;
    cluster.move_slot(slot, to);
    assert_eq!(counted(&cluster.servers[to]), 1);
    let (old, new) = cluster.hand_over(slot);
    assert_eq!(old, to);
    assert_eq!(counted(&cluster.servers[new]), 1);
    cluster.servers[old].wait_replica();
    let (old, new) = cluster.fail_over(slot);
    assert_ne!(old, new);
    assert_eq!(counted(&cluster.servers[new]), 1);
}

#[test]
fn a_cluster_can_be_reached_by_links_only() {
    let cluster = Cluster::with(&Shape {
        links: true,
        ..Shape::default()
    });
    let slots: String = cluster.servers[0].cli(&["CLUSTER", "SLOTS"]);
    for (server, link) in cluster.servers.iter().zip(&cluster.links) {
        let named = |port: u16| slots.lines().any(|line| line == port.to_string());
        assert!(named(link.address().port()), "{slots}");
        assert!(!named(server.port()), "{slots}");
        let client = redis::Client::open(link.url()).unwrap();
        let mut connection = client.get_connection().unwrap();
        let pong: String = redis::cmd("PING").query(&mut connection).unwrap();
        assert_eq!(pong, "PONG");
    }
}

/// What the library reads of a node's configuration file.
fn settings(fleet: &Fleet) -> keygate::config::Redis {
    let file = fleet.node("a").config_file();
    let config = Config::load(Some(&file), std::iter::empty()).unwrap();
    config.store.redis
}

#[test]
fn every_home_of_keys_is_a_good_configuration() {
    let asking = Options {
        password: Some("open-sesame".to_owned()),
        ..Options::default()
    };
    assert!(settings(&Fleet::embedded()).servers.is_empty());

    let server = RedisServer::with(Options {
        tls: true,
        ..asking.clone()
    });
    let direct = settings(&Fleet::on(&server));
    assert_eq!(direct.servers[0].to_string(), server.url());
    assert_eq!(direct.node_name.as_deref(), Some("a"));
    assert_eq!(direct.password.unwrap().expose(), "open-sesame");

    let link = Link::to(server.address());
    let by_link = Home::link(&link, &server).and("prefix = \"other\"");
    let by_link = settings(&Fleet::with(by_link, "[drain]\ndeadline = \"3s\""));
    assert_eq!(by_link.servers[0].port, link.address().port());
    assert_eq!(by_link.ca_file, Some(server.ca_file()));
    assert_eq!(by_link.prefix, "other");

    let sentinels = Sentinels::with(&asking, Some("let-me-in"));
    let by_sentinels = settings(&Fleet::with(Home::sentinels(&sentinels), ""));
    assert_eq!(by_sentinels.mode, RedisMode::Sentinel);
    assert_eq!(by_sentinels.servers.len(), 3);
    let password = by_sentinels.sentinel_password.unwrap();
    assert_eq!(password.expose(), "let-me-in");

    let cluster = Cluster::start();
    let in_cluster = settings(&Fleet::with(Home::cluster(&cluster), ""));
    assert_eq!(in_cluster.mode, RedisMode::Cluster);
    assert_eq!(in_cluster.servers.len(), 3);
}

#[test]
fn a_gateway_is_started_probed_frozen_killed_and_started_again() {
    let fleet = Fleet::embedded();
    let mut node = fleet.start("a");
    let org = node.found();
    let extra = node.create_key(&org, "extra");
    let apps = node.cli(&["apps", "list", "--owner", &org.user]);
    assert!(apps.to_string().contains(&org.application_key.id), "{apps}");
    assert_eq!(node.request(&extra.secret), Some(202));
    node.revoke_key(&extra);
    assert_eq!(node.request(&extra.secret), Some(403));
    assert!(node.is_live());
    eventually("no connection to be open", || {
        node.metric("keygate_connections_open") == Some(0.0)
    });
    assert!(
        !node
            .try_cli(&["keys", "revoke", "nonsense"])
            .status
            .success()
    );

    let prober = Prober::start(node.address(), &org.api_key.secret, 200);
    eventually("the prober to have probed", || prober.so_far().sent() >= 40);
    node.pause();
    std::thread::sleep(MOMENT);
    node.resume();
    let frozen = prober.so_far().sent();
    eventually("the prober to go on", || {
        prober.so_far().sent() >= frozen + 80
    });
    let tally = prober.stop();
    assert_eq!(tally.lost(202), 0, "{:?}", tally.statuses());
    assert!(tally.quantile(1.0) >= MOMENT && tally.quantile(0.1) < MOMENT);
    assert!(fleet.intake.counts().total().requests as usize > tally.sent());

    let prober = Prober::start(node.address(), &org.api_key.secret, 100);
    eventually("the prober to have probed", || prober.so_far().sent() >= 10);
    node.kill();
    assert_eq!(node.request(&org.api_key.secret), None);
    eventually("the prober to lose some", || prober.so_far().lost(202) > 0);
    node.restart();
    node.wait_ready();
    let mended = Instant::now();
    eventually("the prober to go on", || {
        prober.so_far().since(mended).sent() >= 10
    });
    assert_eq!(prober.stop().since(mended).lost(202), 0);
    assert_eq!(node.request(&extra.secret), Some(403));
    assert!(node.records().len() > 50);
    assert!(node.terminate().success());
    assert!(!node.is_live());
}
