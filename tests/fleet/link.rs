//! A way to a server that breaks as real ones do: a TCP proxy whose mode is switched while it runs. It carries bytes; what
//! they say it knows only where it answers in the server's place.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::ports::Port;

/// Connections carried at once; more wait to be accepted.
const CONNECTIONS_MAX: usize = 512;
/// Bytes under way in one direction of a connection; then the sender waits.
const UNDER_WAY_MAX: usize = 4 << 20;
/// Bytes read at once.
const CHUNK: usize = 64 << 10;
/// Connections that may wait to be accepted.
const BACKLOG: u32 = 128;

/// What no server of any kind says.
pub const GARBAGE: &[u8] = b"\x16\x03\x01\x00\xff*-7\r\n$99999999999\r\n\0\xfe%!\r\n:x\r\n";

/// How the way is. A change holds for open connections, too, and for what is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Good.
    Pass,
    /// A round trip takes so much longer, half of it each way.
    Delay(Duration),
    /// So many bytes a second in each direction of each connection.
    Throttle(u32),
    /// Half-open: what clients send arrives, nothing returns. What did not arrive does once the way is good again, as TCP
    /// would have it.
    MuteDown,
    /// Half-open the other way: nothing of what clients send arrives.
    MuteUp,
    /// Connections are accepted and nothing is carried, either way; nobody hears that another one closed.
    Blackhole,
    /// As [`Mode::Blackhole`] for open connections; new ones hang before they are accepted, as when packets are dropped.
    Unreachable,
    /// Open connections are reset, new ones refused.
    Cut,
    /// These bytes are the answer to every command (`-LOADING ...\r\n`, [`GARBAGE`]), and what one that waits hears at
    /// once. The server hears nothing. Connections that lived through it are reset when it ends.
    Say(&'static [u8]),
}

/// A running proxy. Dropping it ends it, and resets what it carries.
pub struct Link {
    port: Arc<Port>,
    modes: watch::Sender<Order>,
    applied: mpsc::Receiver<()>,
    counts: Arc<Counts>,
    thread: Option<std::thread::JoinHandle<()>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Be(Mode),
    End,
}

#[derive(Default)]
struct Counts {
    accepted: AtomicU64,
    open: AtomicUsize,
    up: AtomicU64,
    down: AtomicU64,
}

impl Link {
    /// A good one to this server.
    pub fn to(server: SocketAddr) -> Self {
        Self::on(Port::free(), server)
    }

    /// The same, on this port.
    pub fn on(port: Port, server: SocketAddr) -> Self {
        let port = Arc::new(port);
        let (modes, ordered) = watch::channel(Order::Be(Mode::Pass));
        let (told, applied) = mpsc::channel();
        let counts = Arc::new(Counts::default());
        let gate = Gate {
            port: port.address(),
            server,
            counts: Arc::clone(&counts),
            orders: ordered,
            told,
        };
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(gate.run());
        });
        applied.recv().expect("the link listens");
        Self {
            port,
            modes,
            applied,
            counts,
            thread: Some(thread),
        }
    }

    /// Where clients connect instead.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// `redis://127.0.0.1:PORT`, for a server without TLS.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// Changes how it is; it is so when this returns.
    pub fn set(&self, mode: Mode) {
        self.modes.send_replace(Order::Be(mode));
        self.applied.recv().expect("the link runs");
    }

    /// Connections accepted so far.
    pub fn accepted(&self) -> u64 {
        self.counts.accepted.load(Relaxed)
    }

    /// Connections open now.
    pub fn open(&self) -> usize {
        self.counts.open.load(Relaxed)
    }

    /// Bytes carried so far, to the server and from it.
    pub fn carried(&self) -> (u64, u64) {
        (self.counts.up.load(Relaxed), self.counts.down.load(Relaxed))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.modes.send_replace(Order::End);
        // If it has panicked, the test that dropped us has failed or is about to.
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

/// The side of a link that runs.
struct Gate {
    port: SocketAddr,
    server: SocketAddr,
    counts: Arc<Counts>,
    orders: watch::Receiver<Order>,
    told: mpsc::Sender<()>,
}

impl Gate {
    async fn run(mut self) {
        let mut listener = None;
        let mut connections = JoinSet::new();
        let mut fillers: Vec<TcpStream> = Vec::new();
        let mut ours = Vec::new();
        loop {
            let Order::Be(mode) = *self.orders.borrow_and_update() else {
                return;
            };
            if mode == Mode::Cut {
                listener = None;
                connections.shutdown().await;
            } else if listener.is_none() {
                listener = Some(listen(self.port).unwrap());
            }
            if let Some(listener) = &listener {
                if mode != Mode::Unreachable {
                    backlog(listener, BACKLOG);
                    fillers.clear();
                } else if fillers.is_empty() {
                    fillers = fill(listener, self.port).await;
                    ours = fillers
                        .iter()
                        .filter_map(|each| each.local_addr().ok())
                        .collect();
                }
            }
            // Nobody listens for it when the link was just dropped.
            let _ = self.told.send(());
            let accepts = mode != Mode::Unreachable;
            loop {
                let room = connections.len() < CONNECTIONS_MAX;
                tokio::select! {
                    biased;
                    _ = self.orders.changed() => break,
                    Some(_) = connections.join_next() => {}
                    Ok((client, from)) = accept(listener.as_ref()), if accepts && room => {
                        if ours.contains(&from) {
                            continue;
                        }
                        self.counts.accepted.fetch_add(1, Relaxed);
                        let (counts, orders) = (Arc::clone(&self.counts), self.orders.clone());
                        connections.spawn(Carried { counts, orders }.carry(client, self.server));
                    }
                }
            }
        }
    }
}

fn listen(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    // Else connections that have ended a moment ago keep the port.
    socket.set_reuseaddr(true)?;
    socket.bind(at)?;
    socket.listen(BACKLOG)
}

/// The system lets a listening socket's backlog be changed.
fn backlog(listener: &TcpListener, length: u32) {
    let socket = socket2::SockRef::from(listener);
    socket.listen(i32::try_from(length).unwrap()).unwrap();
}

/// Fills a backlog made as small as can be, so that the system drops whatever else wants to connect.
async fn fill(listener: &TcpListener, at: SocketAddr) -> Vec<TcpStream> {
    backlog(listener, 0);
    let mut fillers = Vec::new();
    let moment = Duration::from_millis(50);
    while let Ok(Ok(filler)) = tokio::time::timeout(moment, TcpStream::connect(at)).await {
        fillers.push(filler);
    }
    fillers
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<(TcpStream, SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}

/// One connection.
struct Carried {
    counts: Arc<Counts>,
    orders: watch::Receiver<Order>,
}

impl Carried {
    /// Carries it to its end. Whatever ends it otherwise than in order is a reset for both sides, our own end too.
    async fn carry(mut self, mut client: TcpStream, server: SocketAddr) {
        struct Open(Arc<Counts>);
        impl Drop for Open {
            fn drop(&mut self) {
                self.0.open.fetch_sub(1, Relaxed);
            }
        }
        self.counts.open.fetch_add(1, Relaxed);
        let _open = Open(Arc::clone(&self.counts));
        let _ = client.set_zero_linger();
        let _ = client.set_nodelay(true);
        if self.begun(&mut client).await.is_err() {
            return;
        }
        let Ok(mut server) = TcpStream::connect(server).await else {
            return;
        };
        let _ = server.set_zero_linger();
        let _ = server.set_nodelay(true);
        if self.exchange(&mut client, &mut server).await.is_ok() {
            for stream in [client, server] {
                // In order, then: what was sent last must arrive.
                let _ = socket2::SockRef::from(&stream).set_linger(None);
            }
        }
    }

    /// Waits until there is a way to the server; an error once the connection should not go on.
    async fn begun(&mut self, client: &mut TcpStream) -> io::Result<()> {
        loop {
            let order = *self.orders.borrow_and_update();
            match order {
                Order::Be(Mode::Blackhole | Mode::Unreachable) => {}
                Order::Be(Mode::Say(words)) => {
                    return answer(client, words, &mut self.orders).await;
                }
                _ => return Ok(()),
            }
            self.orders.changed().await.map_err(io::Error::other)?;
        }
    }

    async fn exchange(&self, client: &mut TcpStream, server: &mut TcpStream) -> io::Result<()> {
        let mut orders = self.orders.clone();
        {
            let (client_reads, client_writes) = client.split();
            let (server_reads, server_writes) = server.split();
            let up = self.pump(client_reads, server_writes, true);
            let down = self.pump(server_reads, client_writes, false);
            let says = |order: &Order| matches!(order, Order::Be(Mode::Say(_)));
            tokio::select! {
                biased;
                said = async { orders.wait_for(says).await.map(|_| ()) } => {
                    said.map_err(io::Error::other)?;
                }
                both = async { tokio::try_join!(up, down) } => return both.map(|_| ()),
            }
        }
        // What was under way is lost by now; if the mode is another one again, a reset is all that is left.
        let Order::Be(Mode::Say(words)) = *orders.borrow_and_update() else {
            return Err(io::ErrorKind::ConnectionReset.into());
        };
        client.write_all(words).await?;
        answer(client, words, &mut orders).await
    }

    /// Carries one direction to its end.
    async fn pump(
        &self,
        mut from: ReadHalf<'_>,
        mut to: WriteHalf<'_>,
        is_up: bool,
    ) -> io::Result<()> {
        let mut orders = self.orders.clone();
        let mut under_way: VecDeque<(Instant, Bytes)> = VecDeque::new();
        let (mut waiting, mut ended, mut next) = (0, false, Instant::now());
        let mut buffer = BytesMut::with_capacity(CHUNK);
        loop {
            let Order::Be(mode) = *orders.borrow_and_update() else {
                return Err(io::ErrorKind::ConnectionReset.into());
            };
            let (delay, piece) = match mode {
                Mode::Pass | Mode::Cut | Mode::Say(_) => (Duration::ZERO, CHUNK),
                Mode::Delay(round_trip) => (round_trip / 2, CHUNK),
                Mode::Throttle(rate) => (Duration::ZERO, (rate as usize / 20).clamp(1, CHUNK)),
                Mode::MuteDown if is_up => (Duration::ZERO, CHUNK),
                Mode::MuteUp if !is_up => (Duration::ZERO, CHUNK),
                Mode::MuteDown | Mode::MuteUp | Mode::Blackhole | Mode::Unreachable => {
                    orders.changed().await.map_err(io::Error::other)?;
                    continue;
                }
            };
            if ended && under_way.is_empty() {
                return to.shutdown().await;
            }
            let due = under_way.front().map(|(due, _)| (*due).max(next));
            tokio::select! {
                biased;
                changed = orders.changed() => changed.map_err(io::Error::other)?,
                () = sleep_until(due.unwrap_or(next)), if due.is_some() => {
                    let Some((_, bytes)) = under_way.front_mut() else { continue };
                    let some = bytes.split_to(bytes.len().min(piece));
                    if bytes.is_empty() {
                        under_way.pop_front();
                    }
                    waiting -= some.len();
                    let count = if is_up { &self.counts.up } else { &self.counts.down };
                    count.fetch_add(some.len() as u64, Relaxed);
                    to.write_all(&some).await?;
                    if let Mode::Throttle(rate) = mode {
                        let nanos = some.len() as u64 * 1_000_000_000 / u64::from(rate.max(1));
                        next = Instant::now() + Duration::from_nanos(nanos);
                    }
                }
                read = from.read_buf(&mut buffer), if !ended && waiting < UNDER_WAY_MAX => {
                    match read? {
                        0 => ended = true,
                        count => {
                            waiting += count;
                            under_way.push_back((Instant::now() + delay, buffer.split().freeze()));
                            buffer.reserve(CHUNK);
                        }
                    }
                }
            }
        }
    }
}

/// Answers every command with these words while that is how the link is; always an error, so that the connection is reset.
async fn answer(
    client: &mut TcpStream,
    words: &[u8],
    orders: &mut watch::Receiver<Order>,
) -> io::Result<()> {
    let ended = || io::Error::from(io::ErrorKind::ConnectionReset);
    let mut unread = Vec::new();
    loop {
        tokio::select! {
            biased;
            _ = orders.changed() => return Err(ended()),
            read = client.read_buf(&mut unread) => if read? == 0 {
                return Err(ended());
            },
        }
        while let Some(length) = command(&unread) {
            unread.drain(..length);
            client.write_all(words).await?;
        }
    }
}

/// The length of the command at the beginning, once it is there whole. What is no command is one as a whole.
fn command(bytes: &[u8]) -> Option<usize> {
    fn line(bytes: &[u8], at: usize) -> Option<(&[u8], usize)> {
        let rest = bytes.get(at..)?;
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        Some((&rest[..end], at + end + 2))
    }
    fn number(line: &[u8], sign: u8) -> Option<usize> {
        let digits = line.strip_prefix(&[sign])?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    }
    if bytes.is_empty() {
        return None;
    }
    let (first, mut at) = match bytes[0] {
        b'*' => line(bytes, 0)?,
        _ => return Some(bytes.len()),
    };
    for _ in 0..number(first, b'*').unwrap_or(0) {
        let (head, body) = line(bytes, at)?;
        let Some(length) = number(head, b'$') else {
            return Some(bytes.len());
        };
        at = body + length + 2;
    }
    (at <= bytes.len()).then_some(at)
}
