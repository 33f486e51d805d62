//! That the broken links of these tests break as they say, each before a real server. It says nothing about keygate.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::link::{GARBAGE, Link, Mode};
use crate::servers::RedisServer;
use crate::stage::counted;
use crate::{PATIENCE, eventually};

/// So long that what does not come by then does not come; short, as every test for it waits so long.
const MOMENT: Duration = Duration::from_millis(300);
const PING: &str = "*1\r\n$4\r\nPING\r\n";
const PONG: &[u8] = b"+PONG\r\n";
const COUNT: &str = "*2\r\n$4\r\nINCR\r\n$1\r\na\r\n";

/// A connection by way of a link that reads exactly what comes.
struct Wire(TcpStream);

impl Wire {
    fn to(link: &Link) -> io::Result<Self> {
        let stream = TcpStream::connect(link.address())?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self(stream))
    }

    fn say(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).unwrap();
    }

    /// So many bytes, or why not.
    fn hear(&mut self, count: usize) -> Result<Vec<u8>, ErrorKind> {
        let mut bytes = vec![0; count];
        self.0
            .read_exact(&mut bytes)
            .map(|()| bytes)
            .map_err(|error| error.kind())
    }

    /// Whether nothing comes, not even an end.
    fn hears_nothing(&mut self) -> bool {
        self.0.set_read_timeout(Some(MOMENT)).unwrap();
        let heard = self.hear(1);
        self.0.set_read_timeout(Some(PATIENCE)).unwrap();
        heard == Err(ErrorKind::WouldBlock)
    }

    fn ping(&mut self) -> Result<Vec<u8>, ErrorKind> {
        self.say(PING);
        self.hear(PONG.len())
    }
}

const RESET: Result<Vec<u8>, ErrorKind> = Err(ErrorKind::ConnectionReset);

/// A server, a link to it, and a connection by way of it that works.
fn stage() -> (RedisServer, Link, Wire) {
    let server = RedisServer::start();
    let link = Link::to(server.address());
    let mut wire = Wire::to(&link).unwrap();
    assert_eq!(wire.ping().unwrap(), PONG);
    (server, link, wire)
}

#[test]
fn a_good_link_carries_much_both_ways_and_ends_when_dropped() {
    let (_server, link, mut wire) = stage();
    let much = vec![7; 20 << 20];
    wire.say(format!("*3\r\n$3\r\nSET\r\n$1\r\na\r\n${}\r\n", much.len()));
    wire.say(&much);
    wire.say("\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n");
    let head = format!("+OK\r\n${}\r\n", much.len());
    assert_eq!(wire.hear(head.len()).unwrap(), head.as_bytes());
    assert!(wire.hear(much.len()).unwrap() == much);
    let (up, down) = link.carried();
    assert!(up > 20 << 20 && down > 20 << 20, "{up} {down}");
    assert_eq!((link.accepted(), link.open()), (1, 1));
    drop(wire);
    eventually("the connection to be gone", || link.open() == 0);

    let mut wire = Wire::to(&link).unwrap();
    assert_eq!(wire.ping().unwrap(), PONG);
    let address = link.address();
    drop(link);
    assert_eq!(wire.hear(1), RESET);
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_delayed_link_makes_round_trips_longer_and_a_throttled_one_limits_the_rate() {
    let (_server, link, mut wire) = stage();
    link.set(Mode::Delay(Duration::from_millis(150)));
    for _ in 0..3 {
        let begun = Instant::now();
        assert_eq!(wire.ping().unwrap(), PONG);
        let took = begun.elapsed();
        assert!(
            took >= Duration::from_millis(150) && took < Duration::from_secs(2),
            "{took:?}"
        );
    }
    link.set(Mode::Throttle(20_000));
    let text = "x".repeat(20_000);
    let begun = Instant::now();
    wire.say(format!("*2\r\n$4\r\nECHO\r\n$20000\r\n{text}\r\n"));
    wire.hear("$20000\r\n".len() + text.len() + 2).unwrap();
    let took = begun.elapsed();
    assert!(
        took > Duration::from_millis(1900) && took < Duration::from_secs(10),
        "{took:?}"
    );
}

#[test]
fn through_a_half_open_link_writes_pass_and_answers_come_when_it_is_good_again() {
    let (server, link, mut wire) = stage();
    link.set(Mode::MuteDown);
    wire.say(COUNT);
    assert!(wire.hears_nothing());
    assert_eq!(counted(&server), 1);
    let mut another = Wire::to(&link).unwrap();
    another.say(COUNT);
    eventually("a new connection's write to arrive", || {
        counted(&server) == 2
    });
    link.set(Mode::Pass);
    assert_eq!(wire.hear(4).unwrap(), b":1\r\n");
    assert_eq!(another.hear(4).unwrap(), b":2\r\n");
}

#[test]
fn through_a_link_that_is_half_open_the_other_way_nothing_arrives() {
    let (server, link, mut wire) = stage();
    wire.say("*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\nc\r\n");
    let subscribed = "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n";
    assert_eq!(wire.hear(subscribed.len()).unwrap(), subscribed.as_bytes());
    link.set(Mode::MuteUp);
    let message = "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n";
    server.ask::<u32>("PUBLISH c m");
    assert_eq!(wire.hear(message.len()).unwrap(), message.as_bytes());
    let mut another = Wire::to(&link).unwrap();
    another.say(COUNT);
    assert!(another.hears_nothing());
    assert_eq!(counted(&server), 0);
    link.set(Mode::Pass);
    assert_eq!(another.hear(4).unwrap(), b":1\r\n");
}

#[test]
fn a_black_hole_accepts_and_carries_nothing_and_hides_that_the_server_died() {
    let (mut server, link, mut wire) = stage();
    link.set(Mode::Blackhole);
    wire.say(PING);
    assert!(wire.hears_nothing());
    let mut another = Wire::to(&link).unwrap();
    another.say(PING);
    assert!(another.hears_nothing());
    server.kill();
    assert!(wire.hears_nothing());
    server.restart();
    link.set(Mode::Pass);
    assert_eq!(another.hear(PONG.len()).unwrap(), PONG);
    let gone = wire.hear(1).unwrap_err();
    assert!(
        gone == ErrorKind::ConnectionReset || gone == ErrorKind::UnexpectedEof,
        "{gone:?}"
    );
}

#[test]
fn connecting_by_an_unreachable_link_hangs_and_goes_on_when_it_is_good_again() {
    let (_server, link, mut wire) = stage();
    for _ in 0..2 {
        link.set(Mode::Unreachable);
        wire.say(PING);
        assert!(wire.hears_nothing());
        for _ in 0..3 {
            let hung = TcpStream::connect_timeout(&link.address(), MOMENT);
            assert_eq!(hung.unwrap_err().kind(), ErrorKind::TimedOut);
        }
        let address = link.address();
        let patient = std::thread::spawn(move || TcpStream::connect(address).is_ok());
        std::thread::sleep(MOMENT);
        assert!(!patient.is_finished());
        link.set(Mode::Pass);
        assert!(patient.join().unwrap());
        assert_eq!(wire.hear(PONG.len()).unwrap(), PONG);
        assert_eq!(Wire::to(&link).unwrap().ping().unwrap(), PONG);
    }
}

#[test]
fn a_cut_link_resets_and_refuses_and_can_be_mended() {
    let (_server, link, mut wire) = stage();
    for _ in 0..3 {
        link.set(Mode::Cut);
        assert_eq!(wire.hear(1), RESET);
        assert_eq!(link.open(), 0);
        let refused = Wire::to(&link).err().map(|error| error.kind());
        assert_eq!(refused, Some(ErrorKind::ConnectionRefused));
        link.set(Mode::Pass);
        wire = Wire::to(&link).unwrap();
        assert_eq!(wire.ping().unwrap(), PONG);
    }
}

#[test]
fn a_link_answers_in_the_servers_place_each_command_once_and_then_resets() {
    const LOADING: &[u8] = b"-LOADING Redis is loading the dataset in memory\r\n";
    let (server, link, mut wire) = stage();
    link.set(Mode::Say(LOADING));
    assert_eq!(wire.hear(LOADING.len()).unwrap(), LOADING);
    wire.say([COUNT, COUNT, &COUNT[..9]].concat());
    assert_eq!(wire.hear(2 * LOADING.len()).unwrap(), LOADING.repeat(2));
    assert!(wire.hears_nothing());
    wire.say(&COUNT[9..]);
    assert_eq!(wire.hear(LOADING.len()).unwrap(), LOADING);
    link.set(Mode::Say(GARBAGE));
    assert_eq!(wire.hear(1), RESET);
    let mut wire = Wire::to(&link).unwrap();
    wire.say(PING);
    assert_eq!(wire.hear(GARBAGE.len()).unwrap(), GARBAGE);
    link.set(Mode::Pass);
    assert_eq!(wire.hear(1), RESET);
    assert_eq!(counted(&server), 0);
    assert_eq!(Wire::to(&link).unwrap().ping().unwrap(), PONG);
}

#[test]
fn a_frozen_server_is_silent_and_goes_on() {
    let (mut server, _link, mut wire) = stage();
    server.pause();
    wire.say(PING);
    assert!(wire.hears_nothing());
    server.resume();
    assert_eq!(wire.hear(PONG.len()).unwrap(), PONG);
}
