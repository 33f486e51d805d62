//! The writer of records: one thread that formats and writes those of all workers, in batches. What is in a record is
//! `record`'s business; a request only hands it over.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::record::RequestRecord;
use super::record_line::LineWriter;
use super::record_queue::{Lane, Queue};
use crate::keys::KeyTable;
use crate::keys::table::Names;
use crate::keys::usage::UsageCounts;

/// Somebody who is shown each record as it ends, and what those are called whom it is attributed to; called on the writer's
/// thread.
pub type Onlooker = Box<dyn FnMut(&RequestRecord, &Names) -> io::Result<()> + Send>;

/// What the writer asks about a record, and tells: both off the path of the request.
pub struct Asides {
    /// What keys, orgs and users are called.
    pub table: Arc<KeyTable>,
    /// How often keys are used.
    pub usage: Arc<UsageCounts>,
}

/// Where records go.
pub enum Sink {
    /// Standard output.
    Stdout,
    /// A file, opened again when [`Recorder::reopen`] is asked for.
    File(PathBuf),
    /// A function; for the demo's coloured lines.
    Print(Onlooker),
    /// Nowhere.
    Off,
}

/// The thread that formats and writes the records of all workers, in batches.
pub struct Recorder {
    thread: JoinHandle<()>,
    reopen: Arc<AtomicBool>,
}

/// How long the writer sleeps when nothing waits. Workers never wake it: that would be a system call for each request.
const TICK: Duration = Duration::from_millis(5);
/// How long the writer waits before it tries a sink again that took nothing.
const BROKEN_PAUSE: Duration = Duration::from_millis(100);
/// How often it still tries once the program is ending.
const LAST_CHANCES: u32 = 10;
/// The most records that are formatted before they are written.
const BATCH: usize = 512;

impl Recorder {
    /// Opens the sink and starts the writer, with one queue of `queue_max` records for each worker.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn start(
        sink: Sink,
        asides: Asides,
        workers: usize,
        queue_max: usize,
    ) -> io::Result<(Self, Vec<Queue>)> {
        let file = match &sink {
            Sink::File(path) => Some(open(path)?),
            Sink::Stdout | Sink::Print(_) | Sink::Off => None,
        };
        let (queues, lanes) = (0..workers).map(|_| Queue::new(queue_max)).unzip();
        let reopen = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&reopen);
        let writer = Writer {
            asides,
            lanes,
            next: 0,
            at_hand: VecDeque::new(),
            formatted: 0,
            lines: LineWriter::default(),
            output: Output {
                sink,
                file,
                waiting: Vec::with_capacity(64 * 1024),
                written: 0,
                broken: false,
            },
        };
        let thread = std::thread::Builder::new()
            .name("records".into())
            .spawn(move || writer.run(&asked))?;
        Ok((Self { thread, reopen }, queues))
    }

    /// Opens the file again, after it has been moved away.
    pub fn reopen(&self) {
        self.reopen.store(true, Ordering::Release);
    }

    /// Waits until every record handed over has been written. Returns when all queues are closed.
    pub fn finish(self) {
        let _ = self.thread.join();
    }
}

/// What the thread has.
struct Writer {
    asides: Asides,
    lanes: Vec<Arc<Lane>>,
    /// The lane that is taken from next; the one before it is where the records at hand are from.
    next: usize,
    at_hand: VecDeque<RequestRecord>,
    /// How many records the lines are of that wait.
    formatted: usize,
    lines: LineWriter,
    output: Output,
}

impl Writer {
    fn run(mut self, asked_to_reopen: &AtomicBool) {
        let mut last_chances = LAST_CHANCES;
        loop {
            if asked_to_reopen.swap(false, Ordering::AcqRel) {
                self.output.reopen();
            }
            // While lines wait for a sink that does not take them, nothing is taken from the queues: they fill, and the
            // rules for full queues apply.
            if !self.output.write() {
                if self.lanes.iter().all(|lane| lane.has_ended()) {
                    last_chances -= 1;
                    if last_chances == 0 {
                        self.give_up();
                        return;
                    }
                }
                std::thread::sleep(BROKEN_PAUSE);
                continue;
            }
            if self.format() {
                continue;
            }
            if !self.take() {
                // Ended first, empty afterwards: so nothing can have come in between.
                let ended = self.lanes.iter().all(|lane| lane.has_ended());
                if ended && self.lanes.iter().all(|lane| lane.is_empty()) {
                    return;
                }
                std::thread::sleep(TICK);
            }
        }
    }

    /// Takes all that waits in the next lane that has something. Returns whether there is one.
    fn take(&mut self) -> bool {
        for _ in 0..self.lanes.len() {
            let at = self.next % self.lanes.len();
            self.next = at + 1;
            if let Some(lane) = self.lanes.get(at)
                && lane.take(&mut self.at_hand)
            {
                return true;
            }
        }
        false
    }

    /// Makes lines of a batch of what is at hand, whose places are free from then on. Returns whether there was something.
    fn format(&mut self) -> bool {
        // Whoever looks on may take long over each.
        let batch = match self.output.sink {
            Sink::Print(_) => 1,
            Sink::Stdout | Sink::File(_) | Sink::Off => BATCH,
        };
        let batch = batch.min(self.at_hand.len());
        if let Some(lane) = self.lanes.get(self.next.wrapping_sub(1)) {
            lane.release(batch);
        }
        for record in self.at_hand.drain(..batch) {
            record.note_use(&self.asides.usage);
            let names = || self.asides.table.names(&record.attribution);
            match &mut self.output.sink {
                // What they miss is in nobody's log.
                Sink::Print(print) => drop(print(&record, &names())),
                Sink::Off => {}
                Sink::Stdout | Sink::File(_) => {
                    self.lines
                        .write(&record, &names(), &mut self.output.waiting);
                }
            }
        }
        self.formatted = batch;
        batch > 0
    }

    fn give_up(&self) {
        let queued: Vec<_> = self.lanes.iter().flat_map(|lane| lane.close()).collect();
        // For no more than the uses they tell of.
        for record in self.at_hand.iter().chain(&queued) {
            record.note_use(&self.asides.usage);
        }
        let lost = self.formatted + self.at_hand.len() + queued.len();
        complain(&format!("{lost} records could not be written and are lost"));
    }
}

/// The writer's side of a sink.
struct Output {
    sink: Sink,
    file: Option<File>,
    /// Lines formatted and not yet written whole; empty again as soon as they are.
    waiting: Vec<u8>,
    /// How much of `waiting` is written: a write that fails half-way goes on where it stopped.
    written: usize,
    broken: bool,
}

impl Output {
    /// Writes what waits. Returns whether all of it is written.
    fn write(&mut self) -> bool {
        while let Some(rest) = self
            .waiting
            .get(self.written..)
            .filter(|rest| !rest.is_empty())
        {
            let wrote = match &mut self.file {
                Some(file) => file.write(rest),
                None => {
                    let mut stdout = io::stdout().lock();
                    stdout
                        .write(rest)
                        .and_then(|wrote| stdout.flush().map(|()| wrote))
                }
            };
            match wrote {
                Ok(wrote) if wrote > 0 => {
                    self.written += wrote;
                    self.broken = false;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                nothing => {
                    if !self.broken {
                        let why = nothing.err().map_or_else(
                            || "it takes nothing".to_owned(),
                            |error| error.to_string(),
                        );
                        complain(&format!("records cannot be written, and wait: {why}"));
                    }
                    self.broken = true;
                    return false;
                }
            }
        }
        self.waiting.clear();
        self.written = 0;
        true
    }

    fn reopen(&mut self) {
        if let Sink::File(path) = &self.sink {
            match open(path) {
                Ok(opened) => self.file = Some(opened),
                Err(error) => complain(&format!("cannot reopen {}: {error}", path.display())),
            }
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

#[expect(
    clippy::print_stderr,
    reason = "the sink itself is broken; standard error is what is left"
)]
fn complain(text: &str) {
    eprintln!("keygate: {text}");
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::time::{Instant, SystemTime};

    use http::Method;

    use super::*;

    #[test]
    fn a_full_broken_sink_does_not_stop_the_writer_from_ending() {
        let asides = Asides {
            table: Arc::new(KeyTable::new(Instant::now())),
            usage: Arc::default(),
        };
        let (recorder, queues) = Recorder::start(Sink::Off, asides, 2, 4).unwrap();
        for queue in &queues {
            let address = IpAddr::from([127, 0, 0, 1]);
            let record = RequestRecord::begin(Some(&Method::GET), address, SystemTime::now());
            assert!(queue.push(record, false).is_none());
        }
        drop(queues);
        recorder.finish();
    }
}
