//! One client connection: hyper with its limits, and the clocks that hyper does not keep. What a request means is
//! `handle`'s business.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::StatusCode;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::gather;
use super::handle::handle;
use super::identity::Peer;
use super::open::record_unreadable;
use super::phase::{Busy, Phase, State};
use super::raw_head::RawHead;
use super::timer::LazyTimer;
use super::worker::Worker;
use crate::drain::Signal;

/// Serves a connection until it ends, or until a drain lets its last request end.
pub async fn serve(worker: Rc<Worker>, stream: TcpStream, peer: IpAddr, mut drain: Signal) {
    let listen = &worker.shared.listen;
    let state = Rc::new(State::new(Instant::now()));
    let timed = Timed {
        stream,
        state: Rc::clone(&state),
        head_timeout: listen.head_timeout,
        keep_alive_timeout: listen.keep_alive_timeout,
        write_timeout: listen.write_timeout,
        read_timer: LazyTimer::default(),
        write_timer: LazyTimer::default(),
        write_stalled_since: None,
        linger: None,
    };
    let (of_service, address) = (Rc::clone(&worker), peer);
    let peer = Rc::new(Peer::from(address));
    let service = service_fn(move |request| {
        let handling = handle(
            Rc::clone(&of_service),
            Rc::clone(&peer),
            request,
            Busy::begin(&state),
        );
        async move { Ok::<_, Infallible>(handling.await) }
    });
    let head_bytes_max = usize::try_from(listen.head_bytes_max.0)
        .unwrap_or(usize::MAX)
        .max(8 * 1024);
    let mut builder = http1::Builder::new();
    builder.max_buf_size(head_bytes_max).half_close(false);
    // hyper keeps as many on the stack when it is not told how many, and in the heap when it is.
    if listen.headers_max != HYPERS_HEADERS_MAX {
        builder.max_headers(listen.headers_max);
    }
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(timed), service));
    let news = drain.clone();
    let ordered = drain.ordered();
    let mut ordered = std::pin::pin!(ordered);
    let mut waits = false;
    let ended = std::future::poll_fn(|cx| {
        if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
            return Poll::Ready(Some(ended));
        }
        // Once it waits, it wakes this task by itself: a request's comings and goings need not ask it again.
        if waits && !news.has_news() {
            return Poll::Pending;
        }
        waits = true;
        ordered.as_mut().poll(cx).map(|()| None)
    });
    let ended = match ended.await {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended
        && error.is_parse()
    {
        // hyper has answered already and does not say how: 431 or 400, but for a target that is too long (414) and the
        // preface of HTTP/2, which it leaves without an answer.
        let too_large = error.is_parse_too_large();
        let status = if too_large {
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
        } else {
            StatusCode::BAD_REQUEST
        };
        record_unreadable(&worker, address, status);
    }
}

/// How many headers hyper takes by itself.
const HYPERS_HEADERS_MAX: usize = 100;

/// The socket, with the clocks of a connection between requests and of a client that does not read.
struct Timed {
    stream: TcpStream,
    state: Rc<State>,
    head_timeout: Duration,
    keep_alive_timeout: Duration,
    write_timeout: Duration,
    read_timer: LazyTimer,
    write_timer: LazyTimer,
    write_stalled_since: Option<Instant>,
    linger: Option<Linger>,
}

/// The end of a connection whose client is still sending.
struct Linger {
    until: Instant,
    bytes_left: usize,
    timer: LazyTimer,
}

/// How long, and for how many bytes, a client that is still sending is listened to after its answer.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: usize = 64 << 20;

impl Timed {
    fn poll_stalled<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.write_stalled_since = None;
            return written;
        }
        let since = *self.write_stalled_since.get_or_insert_with(Instant::now);
        match self.write_timer.poll(cx, since + self.write_timeout) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl Drop for Timed {
    fn drop(&mut self) {
        // An answer without a length ends with its connection. One that was cut must not look whole: it ends with a reset.
        if self.state.was_cut.get() {
            let _ = socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
        }
    }
}

impl AsyncRead for Timed {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        let new = buf.filled().get(before..).unwrap_or_default();
        let deadline = match (this.state.phase.get(), &read) {
            (Phase::Busy, Poll::Ready(_)) => return read,
            (Phase::Head(_), Poll::Ready(_)) => {
                this.state.head.borrow_mut().follow(new);
                return read;
            }
            (Phase::Idle(_), Poll::Ready(_)) => {
                if !new.is_empty() {
                    this.state.phase.set(Phase::Head(Instant::now()));
                    // What is left of a refused request's body comes before the next head, and where is not told here.
                    let mut head = if this.state.body_left.get() {
                        RawHead::not_judged()
                    } else {
                        RawHead::default()
                    };
                    head.follow(new);
                    this.state.head.replace(head);
                }
                return read;
            }
            (Phase::Idle(since), Poll::Pending) => since + this.keep_alive_timeout,
            (Phase::Head(since), Poll::Pending) => since + this.head_timeout,
            // Never reached while busy. It rings for the time after that: the connection need not be polled again when
            // its request ends.
            (Phase::Busy, Poll::Pending) if this.read_timer.waits_for(cx) => return Poll::Pending,
            (Phase::Busy, Poll::Pending) => Instant::now() + this.keep_alive_timeout,
        };
        match this.read_timer.poll(cx, deadline) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncWrite for Timed {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.poll_stalled(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = gather::poll_write(&mut this.stream, cx, bufs);
        this.poll_stalled(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.linger.is_none() {
            std::task::ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
        }
        if !this.state.body_left.get() {
            return Poll::Ready(Ok(()));
        }
        // Closing with bytes unread makes the system send a reset, and a reset can overtake the answer: a sender told
        // 413 would see a broken connection, and send the same again for ever.
        let linger = this.linger.get_or_insert_with(|| Linger {
            until: Instant::now() + LINGER,
            bytes_left: LINGER_BYTES_MAX,
            timer: LazyTimer::default(),
        });
        let mut scratch = [0_u8; 16 * 1024];
        loop {
            let mut discarded = ReadBuf::new(&mut scratch);
            match Pin::new(&mut this.stream).poll_read(cx, &mut discarded) {
                Poll::Ready(Ok(())) if !discarded.filled().is_empty() => {
                    let rest = linger.bytes_left.checked_sub(discarded.filled().len());
                    match rest {
                        Some(rest) if Instant::now() < linger.until => linger.bytes_left = rest,
                        Some(_) | None => return Poll::Ready(Ok(())),
                    }
                }
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => return linger.timer.poll(cx, linger.until).map(Ok),
            }
        }
    }
}
