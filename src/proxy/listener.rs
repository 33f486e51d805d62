//! Accepting connections: one listening socket, one thread and one runtime for each worker. What is said on a connection
//! is `connection`'s business.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use super::connection;
use super::record_queue::Queue;
use super::upstream::{Pool, Upstreams};
use super::worker::{Shared, Worker};
use crate::drain::Signal;
use crate::telemetry::{self, WorkerCounters};

/// How long accepting pauses when the system has no descriptors left: long enough not to spin, short enough to be
/// unnoticed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How often idle upstream connections are looked through.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// One socket for each worker on the same address (`SO_REUSEPORT`): the kernel spreads connections, and no worker ever
/// waits for another to accept.
///
/// # Errors
/// When the address cannot be bound.
pub fn bind(
    address: SocketAddr,
    workers: usize,
    backlog: u32,
) -> io::Result<(SocketAddr, Vec<std::net::TcpListener>)> {
    let mut address = address;
    let mut sockets = Vec::with_capacity(workers);
    for at in 0..workers {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        socket.set_reuse_address(true)?;
        if at == 0 {
            // The first one binds alone, so that a port somebody else is on is an error and not a share of theirs.
            let probe = std::net::TcpListener::bind(address)?;
            address = probe.local_addr()?;
            drop(probe);
        }
        socket.set_reuse_port(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
        sockets.push(socket.into());
    }
    Ok((address, sockets))
}

/// Starts one worker's thread.
///
/// # Errors
/// When the thread or its runtime cannot be made.
#[expect(
    clippy::too_many_arguments,
    reason = "what one worker is made of; a struct would only rename it"
)]
pub fn spawn(
    at: usize,
    socket: std::net::TcpListener,
    shared: Arc<Shared>,
    upstreams: Upstreams,
    counters: Arc<WorkerCounters>,
    records: Queue,
    connections_max: usize,
    drain: Signal,
    cut: Signal,
) -> io::Result<JoinHandle<()>> {
    let (starting, started) = std::sync::mpsc::channel();
    let runtime = tokio::runtime::Builder::new_current_thread();
    let thread = std::thread::Builder::new()
        .name(format!("worker-{at}"))
        .spawn(move || {
            let mut runtime = runtime;
            let runtime = match runtime
                .enable_all()
                .build_local(tokio::runtime::LocalOptions::default())
            {
                Ok(runtime) => runtime,
                Err(error) => {
                    // Whoever started this thread waits for the word; were they gone, there would be nobody to tell.
                    let _ = starting.send(Err(error));
                    return;
                }
            };
            runtime.block_on(async move {
                let pool = Rc::new(Pool::default());
                let worker = Rc::new(Worker {
                    shared,
                    upstreams,
                    pool,
                    counters,
                    records,
                    ending: Cell::new(false),
                });
                match TcpListener::from_std(socket) {
                    Ok(listener) => {
                        let _ = starting.send(Ok(()));
                        accept(worker, listener, connections_max, drain, cut).await;
                    }
                    Err(error) => drop(starting.send(Err(error))),
                }
            });
            // Not the plain end, which waits for look-ups of names that may hang.
            runtime.shutdown_background();
        })?;
    match started.recv() {
        Ok(outcome) => outcome.map(|()| thread),
        Err(_) => Err(io::Error::other("its thread ended at once")),
    }
}

/// A connection in the count of open ones, however it ends.
struct Counted(Arc<WorkerCounters>);

impl Counted {
    fn begin(counters: &Arc<WorkerCounters>) -> Self {
        telemetry::add(&counters.connections_open, 1);
        Self(Arc::clone(counters))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.connections_open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Accepts until the drain is ordered, then waits for the last connection, or for the order to cut what is left. Then the
/// runtime ends with its tasks, and every request that was under way writes its record.
async fn accept(
    worker: Rc<Worker>,
    listener: TcpListener,
    connections_max: usize,
    mut drain: Signal,
    mut cut: Signal,
) {
    let counters = Arc::clone(&worker.counters);
    let (of_connections, ended) = crate::drain::new();
    let sweeping = tokio::task::spawn_local({
        let worker = Rc::clone(&worker);
        async move {
            loop {
                tokio::time::sleep(SWEEP_EVERY).await;
                worker.pool.sweep(&worker.upstreams);
            }
        }
    });
    loop {
        let accepted = tokio::select! {
            biased;
            () = drain.ordered() => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, peer)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        telemetry::add(&counters.connections, 1);
        if usize::try_from(counters.connections_open.load(Ordering::Relaxed)).unwrap_or(usize::MAX)
            >= connections_max
        {
            telemetry::add(&counters.connections_refused, 1);
            continue;
        }
        if stream.set_nodelay(true).is_err() {
            continue;
        }
        let counted = Counted::begin(&counters);
        let (worker, drain, open) = (Rc::clone(&worker), drain.clone(), ended.clone());
        tokio::task::spawn_local(async move {
            connection::serve(worker, stream, peer.ip(), drain).await;
            drop((counted, open));
        });
    }
    drop(listener);
    drop(ended);
    tokio::select! {
        biased;
        () = of_connections.drained() => {}
        () = cut.ordered() => worker.ending.set(true),
    }
    sweeping.abort();
}
