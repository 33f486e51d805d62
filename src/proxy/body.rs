//! The two bodies of a forwarded request, streamed and never collected: [`Upload`] from the client to the upstream,
//! [`Answer`] from the upstream to the client. They count, bound and time; they change no byte. Trailers are dropped:
//! deleting a header does not delete a trailer of that name.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::open::Open;
use super::timer::LazyTimer;
use super::upstream::Lease;

/// How an upload stands, shared with whoever waits for the upstream's answer.
#[derive(Debug)]
pub struct Meter {
    /// Bytes passed on.
    pub bytes: Cell<u64>,
    /// When the last of them came.
    pub last: Cell<Instant>,
    /// Whether the body has ended as it should.
    pub ended: Cell<bool>,
    /// Why it was cut, if it was.
    pub cut: Cell<Option<Cut>>,
    waits: Cell<bool>,
}

impl Meter {
    /// Nothing has come yet.
    pub fn new(now: Instant) -> Self {
        Self {
            bytes: Cell::new(0),
            last: Cell::new(now),
            ended: Cell::new(false),
            cut: Cell::new(None),
            waits: Cell::new(false),
        }
    }

    /// Whether the upstream has taken all that came, and the client owes more.
    pub fn waits_for_client(&self) -> bool {
        self.waits.get()
    }

    fn end(&self) {
        self.ended.set(true);
        self.last.set(Instant::now());
    }
}

/// Why a body was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The request's body is larger than its route takes.
    TooLarge,
    /// The request's body does not come, or too slowly.
    TooSlow,
    /// The client went away.
    Client,
    /// The client broke its own framing.
    Framing,
    /// The whole request took too long.
    Deadline,
    /// The upstream went away in the middle of its answer, or paused for too long.
    Upstream,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "the body is too large",
            Self::TooSlow => "the body is too slow",
            Self::Client => "the client broke off",
            Self::Framing => "the body's framing is broken",
            Self::Deadline => "the request took too long",
            Self::Upstream => "the upstream broke off",
        })
    }
}

impl std::error::Error for Cut {}

/// The bounds of an upload.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The largest body, in bytes.
    pub bytes_max: u64,
    /// The longest pause.
    pub idle: Duration,
    /// The least bytes a second, on average, once [`Bounds::GRACE`] is over; 0 is none.
    pub rate_min: u64,
    /// When all must be over.
    pub deadline: Instant,
}

impl Bounds {
    /// How long an upload may start as slowly as it likes.
    const GRACE: Duration = Duration::from_secs(30);
}

/// Whether a client broke its framing, or just went away. hyper says the first as invalid data; everything else is the
/// end of the connection in one way or another.
fn fault_of(error: &hyper::Error) -> Cut {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref());
    match cause.map(io::Error::kind) {
        Some(io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput) => Cut::Framing,
        Some(_) | None => Cut::Client,
    }
}

/// A request's body on its way to the upstream.
pub struct Upload {
    inner: Option<Incoming>,
    bounds: Bounds,
    meter: Rc<Meter>,
    timer: LazyTimer,
    /// How long the client has been waited for, and since when it is again.
    waited: Duration,
    waits_since: Option<Instant>,
}

impl Upload {
    /// Streams a body within bounds.
    pub fn new(inner: Incoming, bounds: Bounds, meter: Rc<Meter>) -> Self {
        if inner.is_end_stream() {
            // As it began, just now.
            meter.ended.set(true);
        }
        Self {
            inner: Some(inner),
            bounds,
            meter,
            timer: LazyTimer::default(),
            waited: Duration::ZERO,
            waits_since: None,
        }
    }

    fn cut(&mut self, why: Cut) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        self.inner = None;
        self.meter.cut.set(Some(why));
        Poll::Ready(Some(Err(why)))
    }

    /// Only the time that the client let pass counts: an upstream that takes nothing is no fault of the client's.
    fn is_too_slow(&self) -> bool {
        let least = self.bounds.rate_min.saturating_mul(self.waited.as_secs());
        self.waited > Bounds::GRACE && self.meter.bytes.get() < least
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let this = self.get_mut();
        let Some(inner) = &mut this.inner else {
            return Poll::Ready(None);
        };
        this.meter.waits.set(false);
        let now = Instant::now();
        let waits_since = this.waits_since.take().unwrap_or(now);
        loop {
            match Pin::new(&mut *inner).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    let Ok(data) = frame.into_data() else {
                        continue;
                    };
                    this.waited += now.saturating_duration_since(waits_since);
                    let bytes = this.meter.bytes.get() + data.len() as u64;
                    if bytes > this.bounds.bytes_max {
                        return this.cut(Cut::TooLarge);
                    }
                    this.meter.bytes.set(bytes);
                    this.meter.last.set(now);
                    if this.is_too_slow() {
                        return this.cut(Cut::TooSlow);
                    }
                    if this.inner.as_ref().is_some_and(Body::is_end_stream) {
                        this.meter.end();
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Poll::Ready(Some(Err(error))) => return this.cut(fault_of(&error)),
                Poll::Ready(None) => {
                    this.meter.end();
                    return Poll::Ready(None);
                }
                Poll::Pending => {
                    this.meter.waits.set(true);
                    this.waits_since = Some(waits_since);
                    let idle = waits_since + this.bounds.idle;
                    if this
                        .timer
                        .poll(cx, idle.min(this.bounds.deadline))
                        .is_ready()
                    {
                        return this.cut(Cut::TooSlow);
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// An answer's body on its way to the client. It carries the request's record and its upstream connection, so that both
/// end exactly when it does: written to its end, cut, or dropped with its client.
pub struct Answer {
    source: Source,
    record: Open,
}

enum Source {
    /// Of keygate's own.
    Whole(Option<Bytes>),
    /// From an upstream.
    Upstream(Box<Streamed>),
}

/// The body of an upstream's answer, with the connection that it comes on.
pub struct Streamed {
    inner: Incoming,
    lease: Option<Lease>,
    meter: Rc<Meter>,
    idle: Duration,
    deadline: Instant,
    last: Instant,
    timer: LazyTimer,
    /// Nothing has been passed on yet, nor waited for.
    is_first: bool,
    /// Its last byte has come. hyper knows that in advance only where there is a length.
    ended: bool,
}

impl Streamed {
    /// It begins at a moment, after which the upstream may pause for so long; `deadline` is when all must be over.
    pub fn new(
        inner: Incoming,
        lease: Lease,
        meter: Rc<Meter>,
        (last, idle): (Instant, Duration),
        deadline: Instant,
    ) -> Box<Self> {
        Box::new(Self {
            inner,
            lease: Some(lease),
            meter,
            idle,
            deadline,
            last,
            timer: LazyTimer::default(),
            is_first: true,
            ended: false,
        })
    }

    /// Whether the upload has ended as it should.
    pub fn upload_has_ended(&self) -> bool {
        self.meter.ended.get()
    }

    fn has_ended(&self) -> bool {
        self.ended || self.inner.is_end_stream()
    }
}

impl Answer {
    /// An answer of keygate's own.
    pub fn whole(bytes: Bytes, record: Open) -> Self {
        Self {
            source: Source::Whole(Some(bytes).filter(|bytes| !bytes.is_empty())),
            record,
        }
    }

    /// An upstream's answer, passed on as it comes.
    pub fn streamed(body: Box<Streamed>, record: Open) -> Self {
        let mut answer = Self {
            source: Source::Upstream(body),
            record,
        };
        answer.end_if_ended();
        answer
    }

    /// Gives the connection back once nothing more will come on it, and nothing more is owed to it.
    fn end_if_ended(&mut self) {
        if let Source::Upstream(streamed) = &mut self.source
            && streamed.has_ended()
            && let Some(lease) = streamed.lease.take()
            && streamed.meter.ended.get()
        {
            lease.keep(streamed.last);
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let this = self.get_mut();
        let streamed = match &mut this.source {
            Source::Whole(bytes) => {
                let Some(bytes) = bytes.take() else {
                    return Poll::Ready(None);
                };
                this.record.passed(bytes.len());
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            Source::Upstream(streamed) => streamed,
        };
        // Asking for more of the body lets the connection read it: so once before, and once after.
        let mut driven = false;
        // Only driving the connection brings more of it, so it need not wake anybody: that would be this same task.
        let woken_by_nobody = &mut Context::from_waker(Waker::noop());
        loop {
            match Pin::new(&mut streamed.inner).poll_frame(woken_by_nobody) {
                Poll::Ready(Some(Ok(frame))) => {
                    let Ok(data) = frame.into_data() else {
                        continue;
                    };
                    // What came with the head needs no look at the clock.
                    if !std::mem::take(&mut streamed.is_first) {
                        streamed.last = Instant::now();
                    }
                    if streamed.last >= streamed.deadline {
                        this.record.fault(Cut::Deadline);
                        return Poll::Ready(Some(Err(Cut::Deadline)));
                    }
                    this.record.passed(data.len());
                    this.end_if_ended();
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Poll::Ready(Some(Err(_))) => {
                    this.record
                        .fault(streamed.meter.cut.get().unwrap_or(Cut::Upstream));
                    return Poll::Ready(Some(Err(Cut::Upstream)));
                }
                Poll::Ready(None) => {
                    streamed.ended = true;
                    this.end_if_ended();
                    return Poll::Ready(None);
                }
                Poll::Pending if !driven => {
                    driven = true;
                    if let Some(lease) = &mut streamed.lease {
                        lease.link.drive(cx);
                    }
                }
                Poll::Pending => {
                    streamed.is_first = false;
                    let idle = (streamed.last + streamed.idle).min(streamed.deadline);
                    if streamed.timer.poll(cx, idle).is_ready() {
                        let cut = if idle == streamed.deadline {
                            Cut::Deadline
                        } else {
                            Cut::Upstream
                        };
                        this.record.fault(cut);
                        return Poll::Ready(Some(Err(cut)));
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Whole(bytes) => bytes.is_none(),
            Source::Upstream(streamed) => streamed.has_ended(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64)
            }
            Source::Upstream(streamed) => streamed.inner.size_hint(),
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if self.is_end_stream() {
            self.record.complete();
        }
        // Otherwise the client left before the end; dropping the record says so.
    }
}
