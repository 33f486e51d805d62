//! What the store in Redis promises when the way to it fails: a change is never guessed at, and every refusal of a server
//! is said as what it is.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use keygate::config::{Redis, RedisMode, SecretValue};
use keygate::keys::audit::By;
use keygate::keys::rules::Limits;
use keygate::keys::{PARTITIONS, Revision};
use keygate::store::StoreError;
use keygate::store::redis::feed::Feed;
use keygate::store::redis::probe::Prober;
use keygate::store::redis::{Purpose, RedisStore};
use redis::Commands as _;

use super::homes::{InRedis, RedisServer, SHARED, config, root_key, url};
use super::redis_only::sound_records;
use super::{api_key, name};

const PASS: u8 = 0;
/// The next commit is taken to Redis, and its answer is not brought back.
const LOSE_ANSWER: u8 = 1;
/// The next commit is not taken to Redis.
const LOSE_COMMIT: u8 = 2;
/// As the first, and from then on nothing passes.
const LOSE_ALL: u8 = 3;
const NOTHING: u8 = 4;
/// Now and then something is lost, on its way there or on its way back.
const AT_RANDOM: u8 = 5;

/// A way to Redis that fails as it is told.
struct Way {
    port: u16,
    fault: Arc<AtomicU8>,
}

impl Way {
    fn to(target: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let fault = Arc::new(AtomicU8::new(PASS));
        let told = Arc::clone(&fault);
        thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { return };
                let told = Arc::clone(&told);
                thread::spawn(move || carry(client, target, &told));
            }
        });
        Self { port, fault }
    }

    fn tell(&self, fault: u8) {
        self.fault.store(fault, Ordering::SeqCst);
    }
}

fn carry(mut client: TcpStream, target: u16, told: &AtomicU8) {
    if told.load(Ordering::SeqCst) == NOTHING {
        return;
    }
    let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).unwrap();
    let mut back = client.try_clone().unwrap();
    let mut from = server.try_clone().unwrap();
    thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut back);
        let _ = back.shutdown(Shutdown::Both);
    });
    let mut bytes = vec![0; 1 << 16];
    while let Ok(length) = client.read(&mut bytes) {
        if length == 0 {
            break;
        }
        let sent = bytes.get(..length).unwrap();
        // Only a commit names the stream of changes together with a digest.
        let holds = |text: &[u8]| sent.windows(text.len()).any(|part| part == text);
        let is_commit = holds(b":changes\r\n") && holds(b":digest\r\n");
        match told.load(Ordering::SeqCst) {
            NOTHING => break,
            LOSE_ANSWER if is_commit => {
                told.store(PASS, Ordering::SeqCst);
                client.shutdown(Shutdown::Both).unwrap();
                server.write_all(sent).unwrap();
                thread::sleep(Duration::from_millis(50));
                break;
            }
            LOSE_ALL if is_commit => {
                told.store(NOTHING, Ordering::SeqCst);
                client.shutdown(Shutdown::Both).unwrap();
                server.write_all(sent).unwrap();
                thread::sleep(Duration::from_millis(50));
                break;
            }
            LOSE_COMMIT if is_commit => {
                told.store(PASS, Ordering::SeqCst);
                break;
            }
            AT_RANDOM if fastrand::u8(..) < 8 => {
                if fastrand::bool() {
                    client.shutdown(Shutdown::Both).unwrap();
                    let _ = server.write_all(sent);
                    thread::sleep(Duration::from_millis(5));
                }
                break;
            }
            _ => {
                if server.write_all(sent).is_err() {
                    break;
                }
            }
        }
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}

fn connect(config: &Redis, purpose: Purpose) -> Result<RedisStore, StoreError> {
    RedisStore::connect(config, &root_key(), Limits::default(), purpose)
}

#[test]
fn a_change_whose_answer_is_lost_is_made_exactly_once() {
    let mut home = InRedis::new();
    let way = Way::to(SHARED.port);
    home.config.servers = vec![url(way.port)];
    let store = home.connect();
    let (org, _) = store
        .create_org(name("acme"), &By::operator())
        .unwrap()
        .value;
    let mut last = None;
    for (round, fault) in [LOSE_ANSWER, LOSE_COMMIT, LOSE_ANSWER, LOSE_COMMIT]
        .into_iter()
        .enumerate()
    {
        way.tell(fault);
        let made = store.create_key(api_key(org.id, &format!("key {round}")), &By::operator());
        let made = made.unwrap().value.key;
        assert_eq!(way.fault.load(Ordering::SeqCst), PASS, "nothing was lost");
        assert_eq!(store.key(made.id).unwrap().as_ref(), Some(&made));
        last = Some(made);
    }
    assert_eq!(store.keys_of(org.id).unwrap().len(), 5);
    way.tell(LOSE_ANSWER);
    let revoked = store
        .revoke_key(last.unwrap().id, &By::operator())
        .unwrap()
        .value;
    assert!(revoked.revoked.is_some());
    let plan = store.plans().unwrap().pop().unwrap();
    let mut feed = Feed::open(&store, &plan).unwrap();
    let changes = feed
        .read(&[Revision(0); PARTITIONS], Duration::ZERO)
        .unwrap();
    assert_eq!(changes.len(), 2 + 4 + 1);
    assert_eq!(sound_records(&store).len(), 6);
}

#[test]
fn whatever_is_lost_on_the_way_every_change_is_made_once_or_not_at_all() {
    let mut home = InRedis::new();
    let straight = home.connect();
    let way = Way::to(SHARED.port);
    home.config.servers = vec![url(way.port)];
    let (org, _) = straight
        .create_org(name("acme"), &By::operator())
        .unwrap()
        .value;
    let stores: Vec<_> = (0..2).map(|_| Arc::new(home.connect())).collect();
    way.tell(AT_RANDOM);
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let (store, org) = (Arc::clone(&stores[thread % 2]), org.id);
            thread::spawn(move || {
                let mut outcomes = Vec::new();
                for number in 0..100 {
                    let name = format!("token {thread} {number}");
                    let made = store.create_key(super::client_token(org, &name), &By::operator());
                    let revoked = match &made {
                        Ok(made) if number % 2 == 0 => {
                            Some(store.revoke_key(made.value.key.id, &By::operator()))
                        }
                        _ => None,
                    };
                    outcomes.push((name, made, revoked));
                }
                outcomes
            })
        })
        .collect();
    let outcomes: Vec<_> = threads
        .into_iter()
        .flat_map(|thread| thread.join().unwrap())
        .collect();
    let keys = straight.keys_of(org.id).unwrap();
    let (mut lost, mut done) = (0, 0);
    for (name, made, revoked) in outcomes {
        let found: Vec<_> = keys.iter().filter(|key| key.name == name).collect();
        match made {
            Ok(made) => {
                assert_eq!(found.len(), 1, "{name}");
                assert_eq!(found[0].id, made.value.key.id);
                done += 1;
            }
            Err(StoreError::Unresolved { .. }) => assert!(found.len() <= 1, "{name}"),
            // Not now: its own claim was lost on the way back, and is given up a minute later.
            Err(StoreError::Unreachable { .. } | StoreError::NotNow { .. }) => {
                assert_eq!(found.len(), 0, "{name}");
                lost += 1;
            }
            Err(error) => panic!("{name}: {error}"),
        }
        match revoked {
            Some(Ok(_)) => assert!(found[0].revoked.is_some(), "{name}"),
            Some(Err(StoreError::Unreachable { .. })) => {
                assert!(found[0].revoked.is_none(), "{name}");
            }
            Some(Err(StoreError::Unresolved { .. })) | None => {}
            Some(Err(error)) => panic!("{name}: {error}"),
        }
    }
    assert!(done >= 100, "{done} done, {lost} lost");
    let plan = straight.plans().unwrap().pop().unwrap();
    let mut feed = Feed::open(&straight, &plan).unwrap();
    let mut last = Revision(0);
    let mut positions = [Revision(0); PARTITIONS];
    loop {
        let entries = feed.read(&positions, Duration::ZERO).unwrap();
        if entries.is_empty() {
            break;
        }
        for entry in entries {
            assert_eq!(entry.previous, Some(last));
            last = entry.revision;
            positions[entry.partition.index()] = last;
        }
    }
    sound_records(&straight);
}

#[test]
fn a_change_that_nothing_is_heard_of_is_said_to_be_unknown() {
    let mut home = InRedis::new();
    let way = Way::to(SHARED.port);
    home.config.servers = vec![url(way.port)];
    let store = home.connect();
    let (org, _) = store
        .create_org(name("acme"), &By::operator())
        .unwrap()
        .value;
    way.tell(LOSE_ALL);
    let began = Instant::now();
    let error = store
        .create_key(api_key(org.id, "second"), &By::operator())
        .unwrap_err();
    assert!(matches!(error, StoreError::Unresolved { .. }), "{error:?}");
    assert!(error.to_string().contains("It may be in force or not"));
    assert!(began.elapsed() < Duration::from_secs(15));
    // This time it was.
    way.tell(PASS);
    assert_eq!(store.keys_of(org.id).unwrap().len(), 2);
    sound_records(&store);
}

#[test]
fn a_server_that_was_restarted_is_used_again_at_once() {
    let server = RedisServer::start(&[]);
    let config = config(server.port, "keygate");
    let store = connect(&config, Purpose::Make).unwrap();
    let (org, _) = store
        .create_org(name("acme"), &By::operator())
        .unwrap()
        .value;
    let mut client = server.client();
    let kill = |client: &mut redis::Connection| {
        let mut command = redis::cmd("CLIENT");
        command
            .arg("KILL")
            .arg("TYPE")
            .arg("normal")
            .arg("SKIPME")
            .arg("yes");
        command.query::<i64>(client).unwrap()
    };
    for round in 0..3 {
        assert!(kill(&mut client) >= 1);
        assert!(store.org(org.id).unwrap().is_some());
        assert!(kill(&mut client) >= 1);
        store
            .create_key(api_key(org.id, &format!("key {round}")), &By::operator())
            .unwrap();
    }
    sound_records(&store);
}

#[track_caller]
fn said(error: &StoreError, port: u16, sentence: &str) {
    let text = error.to_string();
    assert!(text.contains(sentence), "{text}");
    assert!(text.contains(&format!("127.0.0.1:{port}")), "{text}");
    assert!(!text.contains("hunter2") && !format!("{error:?}").contains("hunter2"));
}

#[test]
fn a_server_that_wants_a_password_is_asked_with_it_and_its_refusals_show_none() {
    let server = RedisServer::start(&["--requirepass", "hunter2-right"]);
    let mut config = config(server.port, "keygate");
    let error = connect(&config, Purpose::Make).unwrap_err();
    assert!(matches!(error, StoreError::Denied { .. }), "{error:?}");
    said(&error, server.port, "it wants a password (NOAUTH)");
    for username in [None, Some("keygate".to_owned())] {
        config.username = username;
        config.password = Some(SecretValue::new("hunter2-wrong"));
        let error = connect(&config, Purpose::Make).unwrap_err();
        said(
            &error,
            server.port,
            "it does not take the user name and password",
        );
    }
    config.username = None;
    config.password = Some(SecretValue::new("hunter2-right"));
    let store = connect(&config, Purpose::Make).unwrap();
    let (org, _) = store
        .create_org(name("acme"), &By::operator())
        .unwrap()
        .value;

    // The user that operators are given may do all that is needed.
    let url = format!("redis://:hunter2-right@127.0.0.1:{}", server.port);
    let mut client = redis::Client::open(url).unwrap().get_connection().unwrap();
    let given = include_str!("../../deploy/redis.conf");
    let given = given
        .lines()
        .find_map(|line| line.strip_prefix("user keygate "))
        .unwrap();
    let mut acl = redis::cmd("ACL");
    acl.arg("SETUSER").arg("keygate");
    for word in given.split_whitespace() {
        acl.arg(if word.starts_with('#') {
            ">hunter2-user"
        } else {
            word
        });
    }
    let _: () = acl.query(&mut client).unwrap();
    config.username = Some("keygate".to_owned());
    config.password = Some(SecretValue::new("hunter2-user"));
    let store = connect(&config, Purpose::Make).unwrap();
    store
        .create_key(api_key(org.id, "second"), &By::operator())
        .unwrap();
    store.users_named("nobody").unwrap();
    store.nodes().unwrap();
    sound_records(&store);
    let plan = store.plans().unwrap().pop().unwrap();
    let mut feed = Feed::open(&store, &plan).unwrap();
    let from = [Revision(0); PARTITIONS];
    assert_eq!(feed.read(&from, Duration::ZERO).unwrap().len(), 3);
    let mut prober = Prober::open(&store, &plan).unwrap();
    prober.report(&super::redis_only::report(1)).unwrap();
    let key = store.keys_of(org.id).unwrap().pop().unwrap().id;
    let used = keygate::keys::usage::Use::times(keygate::keys::Timestamp(1), 1);
    store.flush_usage(&[(key, used.clone())]).unwrap();
    assert_eq!(store.usage_of(&[key]).unwrap(), [Some(used)]);
    let key = keygate::keys::Record::Key(store.key(key).unwrap().unwrap());
    store.write_back(&[key]).unwrap();
    store.finish_writing_back().unwrap();
    store
        .set_org_disabled(org.id, true, &By::operator())
        .unwrap();
    let spare = keygate::keys::secret::RootKey::generate().unwrap();
    store.add_root_key(&spare).unwrap();
    keygate::store::redis::inspect::inspect(&config).unwrap();
    config.prefix = "elsewhere".to_owned();
    let error = connect(&config, Purpose::Make).unwrap_err();
    assert!(matches!(error, StoreError::Denied { .. }), "{error:?}");
    said(&error, server.port, "NOPERM");
}

#[test]
fn a_replica_takes_no_writes_and_feeds_readers() {
    let master = RedisServer::start(&["--repl-diskless-sync-delay", "0"]);
    let port = master.port.to_string();
    let replica = RedisServer::start(&["--replicaof", "127.0.0.1", &port]);
    let error = connect(&config(replica.port, "keygate"), Purpose::Make).unwrap_err();
    assert!(matches!(error, StoreError::NotNow { .. }), "{error:?}");
    said(&error, replica.port, "it is a replica and no master");
    let mut config = config(master.port, "keygate");
    config.read_from = vec![url(replica.port)];
    let store = connect(&config, Purpose::Make).unwrap();
    store.create_org(name("acme"), &By::operator()).unwrap();
    let plan = store.plans().unwrap().pop().unwrap();
    let mut feed = Feed::open(&store, &plan).unwrap();
    assert!(feed.server().contains(&replica.port.to_string()));
    let mut entries = Vec::new();
    let mut positions = [Revision(0); PARTITIONS];
    let until = Instant::now() + Duration::from_secs(20);
    while entries.len() < 2 && Instant::now() < until {
        if let Ok(more) = feed.read(&positions, Duration::from_millis(100)) {
            for entry in &more {
                positions[entry.partition.index()] = entry.revision;
            }
            entries.extend(more);
        }
    }
    assert_eq!(entries.len(), 2);
    sound_records(&store);
    // It becomes the master's replica while it is in use as the master.
    let mut client = master.client();
    let mut command = redis::cmd("REPLICAOF");
    command.arg("127.0.0.1").arg(replica.port);
    let _: () = command.query(&mut client).unwrap();
    let error = store
        .create_org(name("other"), &By::operator())
        .unwrap_err();
    assert!(matches!(error, StoreError::NotNow { .. }), "{error:?}");
}

#[test]
fn a_full_a_closed_a_silent_and_a_foreign_server_are_told_apart() {
    let server = RedisServer::start(&[]);
    let store = connect(&config(server.port, "keygate"), Purpose::Make).unwrap();
    let (org, _) = store
        .create_org(name("acme"), &By::operator())
        .unwrap()
        .value;
    let mut client = server.client();
    let mut limit = |bytes: &str| {
        let mut command = redis::cmd("CONFIG");
        command.arg("SET").arg("maxmemory").arg(bytes);
        let _: () = command.query(&mut client).unwrap();
    };
    limit("1");
    let error = store
        .create_key(api_key(org.id, "second"), &By::operator())
        .unwrap_err();
    said(&error, server.port, "its memory is full (OOM)");
    limit("0");
    store
        .create_key(api_key(org.id, "second"), &By::operator())
        .unwrap();
    sound_records(&store);

    let port = server.port;
    let mut pause = redis::cmd("CLIENT");
    pause.arg("PAUSE").arg(5_000).arg("ALL");
    let _: () = pause.query(&mut server.client()).unwrap();
    let error = store.org(org.id).unwrap_err();
    said(&error, port, "it does not answer in time");
    drop(server);
    let error = store.org(org.id).unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error:?}");
    said(&error, port, "cannot be reached");

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let error = connect(&config(port, "keygate"), Purpose::Serve).unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error:?}");
}

#[test]
fn a_server_is_spoken_to_over_tls_only_if_our_authority_vouches_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let authority = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(path(name), certificate.pem()).unwrap();
        rcgen::Issuer::new(params, key)
    };
    let issuer = authority("ca.pem");
    authority("other.pem");
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    std::fs::write(path("server.pem"), certificate.pem()).unwrap();
    std::fs::write(path("server.key"), key.serialize_pem()).unwrap();
    let text = |name: &str| path(name).to_str().unwrap().to_owned();
    let (ca, pem, private) = (text("ca.pem"), text("server.pem"), text("server.key"));
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let tls = port.to_string();
    let _server = RedisServer::start(&[
        "--tls-port",
        &tls,
        "--tls-cert-file",
        &pem,
        "--tls-key-file",
        &private,
        "--tls-ca-cert-file",
        &ca,
        "--tls-auth-clients",
        "no",
    ]);
    let mut config = config(port, "keygate");
    config.servers = vec![format!("rediss://localhost:{port}").parse().unwrap()];
    config.ca_file = Some(path("ca.pem"));
    let store = connect(&config, Purpose::Make).unwrap();
    store.create_org(name("acme"), &By::operator()).unwrap();
    sound_records(&store);
    let refused = |config: &Redis| {
        let error = connect(config, Purpose::Serve).unwrap_err();
        assert!(matches!(error, StoreError::Unreachable { .. }), "{error:?}");
        assert!(error.to_string().contains("certificate"), "{error}");
    };
    config.servers = vec![format!("rediss://127.0.0.1:{port}").parse().unwrap()];
    refused(&config);
    config.servers = vec![format!("rediss://localhost:{port}").parse().unwrap()];
    config.ca_file = Some(path("other.pem"));
    refused(&config);
    config.ca_file = None;
    refused(&config);
    config.ca_file = Some(path("nowhere.pem"));
    let error = connect(&config, Purpose::Serve).unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }), "{error:?}");
}

#[test]
fn every_partition_of_a_cluster_is_found_where_it_is() {
    let servers: Vec<_> = (0..3)
        .map(|_| RedisServer::start(&["--cluster-enabled", "yes"]))
        .collect();
    let run = |server: &RedisServer, words: &[&str]| {
        let mut command = redis::cmd("CLUSTER");
        for word in words {
            command.arg(word);
        }
        command.query::<redis::Value>(&mut server.client()).unwrap()
    };
    for (server, [first, last]) in
        servers
            .iter()
            .zip([["0", "5460"], ["5461", "10922"], ["10923", "16383"]])
    {
        run(server, &["ADDSLOTSRANGE", first, last]);
    }
    for server in &servers[1..] {
        run(
            &servers[0],
            &["MEET", "127.0.0.1", &server.port.to_string()],
        );
    }
    let until = Instant::now() + Duration::from_secs(30);
    let is_up = |server: &RedisServer| {
        let info: String = redis::cmd("CLUSTER")
            .arg("INFO")
            .query(&mut server.client())
            .unwrap();
        info.contains("cluster_state:ok") && info.contains("cluster_size:3")
    };
    while !servers.iter().all(is_up) {
        assert!(Instant::now() < until, "the cluster does not come up");
        thread::sleep(Duration::from_millis(50));
    }
    let mut config = config(servers[1].port, "keygate");
    config.mode = RedisMode::Cluster;
    let store = connect(&config, Purpose::Make).unwrap();
    let mut ids = Vec::new();
    for number in 0..40 {
        let name = name(&format!("org {number}"));
        ids.push(store.create_org(name, &By::operator()).unwrap().value.0.id);
    }
    let secret = "agents-old-secret-1234";
    store
        .create_key(
            super::import(secret, api_key(ids[0], "moved")),
            &By::operator(),
        )
        .unwrap();
    let again = store.create_key(
        super::import(secret, api_key(ids[1], "moved")),
        &By::operator(),
    );
    assert_eq!(
        super::refusal(again),
        keygate::keys::rules::Refusal::SecretKnown
    );
    assert_eq!(store.plans().unwrap().len(), PARTITIONS);
    assert_eq!(store.orgs().unwrap().len(), 40);
    assert_eq!(sound_records(&store).len(), 81);
    for server in &servers {
        let keys: Vec<String> = server.client().keys("*").unwrap();
        assert!(!keys.is_empty());
    }

    // A part of it moves to another server, and is found there.
    let partition = ids[0].partition().index();
    let meta = format!("{{keygate:{partition}}}:meta");
    let slot: u16 = redis::cmd("CLUSTER")
        .arg("KEYSLOT")
        .arg(&meta)
        .query(&mut servers[0].client())
        .unwrap();
    let from = servers
        .iter()
        .position(|server| {
            let keys: Vec<String> = server.client().keys(&meta).unwrap();
            !keys.is_empty()
        })
        .unwrap();
    let (from, to) = (&servers[from], &servers[(from + 1) % 3]);
    let (slot, id) = (slot.to_string(), |server: &RedisServer| -> String {
        redis::cmd("CLUSTER")
            .arg("MYID")
            .query(&mut server.client())
            .unwrap()
    });
    run(to, &["SETSLOT", &slot, "IMPORTING", &id(from)]);
    run(from, &["SETSLOT", &slot, "MIGRATING", &id(to)]);
    let keys: Vec<String> = redis::cmd("CLUSTER")
        .arg("GETKEYSINSLOT")
        .arg(&slot)
        .arg(1_000)
        .query(&mut from.client())
        .unwrap();
    let mut migrate = redis::cmd("MIGRATE");
    migrate
        .arg("127.0.0.1")
        .arg(to.port)
        .arg("")
        .arg(0)
        .arg(5_000)
        .arg("KEYS");
    for key in keys {
        migrate.arg(key);
    }
    let _: String = migrate.query(&mut from.client()).unwrap();
    for server in [to, from] {
        run(server, &["SETSLOT", &slot, "NODE", &id(to)]);
    }
    store
        .create_key(api_key(ids[0], "third"), &By::operator())
        .unwrap();
    assert_eq!(sound_records(&store).len(), 82);
}

#[test]
fn the_master_is_the_one_that_sentinel_names() {
    let first = RedisServer::start(&["--repl-diskless-sync-delay", "0"]);
    let port = first.port.to_string();
    let second = RedisServer::start(&["--replicaof", "127.0.0.1", &port]);
    let sentinel = RedisServer::sentinel(first.port);
    let mut config = config(sentinel.port, "keygate");
    config.mode = RedisMode::Sentinel;
    config.sentinel_master = Some("nobody".to_owned());
    let error = connect(&config, Purpose::Make).unwrap_err();
    said(
        &error,
        sentinel.port,
        "Sentinel knows no master named \"nobody\"",
    );
    config.sentinel_master = Some("main".to_owned());
    let store = connect(&config, Purpose::Make).unwrap();
    let (org, _) = store
        .create_org(name("acme"), &By::operator())
        .unwrap()
        .value;
    let until = Instant::now() + Duration::from_secs(30);
    let plan = store.plans().unwrap().pop().unwrap();
    let prober = Prober::open(&store, &plan).unwrap();
    assert!(store.is_with_master(&prober).unwrap());
    // A replica that has heard nothing yet would be made the master too.
    let last = format!("{{keygate:{}}}:changes", org.id.partition());
    while second.client().xlen::<_, i64>(&last).unwrap_or(0) < 2 {
        assert!(Instant::now() < until, "the replica hears nothing");
        thread::sleep(Duration::from_millis(50));
    }
    let failover = || {
        redis::cmd("SENTINEL")
            .arg("FAILOVER")
            .arg("main")
            .query::<()>(&mut sentinel.client())
    };
    while failover().is_err() {
        assert!(Instant::now() < until, "Sentinel knows no replica");
        thread::sleep(Duration::from_millis(100));
    }
    let is_master = |server: &RedisServer| {
        // Sentinel cuts the connections of whoever changes roles.
        let role: redis::RedisResult<Vec<redis::Value>> =
            redis::cmd("ROLE").query(&mut server.client());
        role.is_ok_and(|role| role[0] == redis::Value::BulkString(b"master".to_vec()))
    };
    while !is_master(&second) || is_master(&first) {
        assert!(Instant::now() < until, "no failover");
        thread::sleep(Duration::from_millis(50));
    }
    while let Err(error) = store.create_key(api_key(org.id, "second"), &By::operator()) {
        assert!(matches!(error, StoreError::NotNow { .. }), "{error:?}");
        assert!(Instant::now() < until, "{error}");
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(sound_records(&store).len(), 3);
    assert!(!store.is_with_master(&prober).unwrap());
    let mut client = second.client();
    assert!(client.exists::<_, bool>("{keygate:0}:meta").unwrap());
}
