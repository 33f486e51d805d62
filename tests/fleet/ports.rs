//! Ports of this machine that stay ours while nothing listens on them, so that a server comes back where it was. It opens
//! no connection.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::MetadataExt as _;

/// Below the ports that the system gives to outgoing connections, which would take one in between.
const LOWEST: u16 = 15_000;
const COUNT: u16 = 15_000;

/// A port that no other test gets, not one of another process either, until this is dropped.
#[derive(Debug)]
pub struct Port {
    number: u16,
    /// Locked for as long as it is open; the system unlocks it for whoever dies.
    _lock: File,
}

impl Port {
    /// One that nobody listens on.
    pub fn free() -> Self {
        let me = std::fs::metadata("/proc/self").unwrap().uid();
        let folder = std::env::temp_dir().join(format!("keygate-test-ports-{me}"));
        std::fs::create_dir_all(&folder).unwrap();
        for _ in 0..COUNT {
            let number = LOWEST + fastrand::u16(..COUNT);
            let lock = File::create(folder.join(number.to_string())).unwrap();
            if lock.try_lock().is_ok() && TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                let _lock = lock;
                return Self { number, _lock };
            }
        }
        panic!("no port is free");
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// It, on this machine's own network.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.number))
    }
}
