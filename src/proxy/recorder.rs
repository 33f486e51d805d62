//! The writer of records: one thread that formats and writes those of all workers, in batches. What is in a record is
//! `record`'s business; a request only hands it over.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc;

use super::record::RequestRecord;
use crate::keys::KeyTable;
use crate::keys::table::Names;
use crate::keys::usage::UsageCounts;

/// Somebody who is shown each record as it ends, and what those are called whom it is attributed to; called on the writer's thread.
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

/// One worker's end of the queue of records.
pub type Queue = mpsc::Sender<Box<RequestRecord>>;

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
/// The most records taken from one worker at a time.
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
        let (senders, mut queues): (Vec<_>, Vec<_>) = (0..workers)
            .map(|_| mpsc::channel::<Box<RequestRecord>>(queue_max.max(1)))
            .unzip();
        let reopen = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&reopen);
        let thread = std::thread::Builder::new()
            .name("records".into())
            .spawn(move || {
                let mut output = Output {
                    sink,
                    asides,
                    file,
                    waiting: Vec::with_capacity(64 * 1024),
                    written: 0,
                    broken: false,
                };
                let mut last_chances = LAST_CHANCES;
                while !queues.is_empty() || !output.waiting.is_empty() {
                    if asked.swap(false, Ordering::AcqRel) {
                        output.reopen();
                    }
                    // While lines wait for a sink that does not take them, nothing is taken from the queues: they fill, and
                    // the rules for full queues apply.
                    let taken = if output.waiting.is_empty() {
                        output.take(&mut queues)
                    } else {
                        0
                    };
                    if output.write() {
                        if taken == 0 {
                            std::thread::sleep(TICK);
                        }
                        continue;
                    }
                    if queues.iter().all(mpsc::Receiver::is_closed) {
                        last_chances -= 1;
                        if last_chances == 0 {
                            let lines =
                                output.waiting.iter().filter(|byte| **byte == b'\n').count();
                            let queued = output.give_up(&mut queues);
                            complain(&format!(
                                "{} records could not be written and are lost",
                                lines + queued
                            ));
                            return;
                        }
                    }
                    std::thread::sleep(BROKEN_PAUSE);
                }
            })?;
        Ok((Self { thread, reopen }, senders))
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

/// The writer's side of a sink.
struct Output {
    sink: Sink,
    asides: Asides,
    file: Option<File>,
    /// Lines formatted and not yet written whole; empty again as soon as they are.
    waiting: Vec<u8>,
    /// How much of `waiting` is written: a write that fails half-way goes on where it stopped.
    written: usize,
    broken: bool,
}

impl Output {
    /// Formats a batch from every queue, dropping the queues that have ended. Returns how many records it took.
    fn take(&mut self, queues: &mut Vec<mpsc::Receiver<Box<RequestRecord>>>) -> usize {
        let mut taken = 0;
        queues.retain_mut(|queue| {
            for _ in 0..BATCH {
                match queue.try_recv() {
                    Ok(record) => {
                        taken += 1;
                        record.note_use(&self.asides.usage);
                        let names = || self.asides.table.names(&record.attribution);
                        match &mut self.sink {
                            // Somebody looking on; what they miss is in nobody's log.
                            Sink::Print(print) => drop(print(&record, &names())),
                            Sink::Off => {}
                            Sink::Stdout | Sink::File(_) => {
                                record.write_line(&names(), &mut self.waiting);
                            }
                        }
                    }
                    Err(mpsc::error::TryRecvError::Empty) => break,
                    Err(mpsc::error::TryRecvError::Disconnected) => return false,
                }
            }
            true
        });
        taken
    }

    /// Takes what is queued, for no more than the uses it tells of. Returns how many records that were.
    fn give_up(&self, queues: &mut [mpsc::Receiver<Box<RequestRecord>>]) -> usize {
        let mut lost = 0;
        for queue in queues {
            while let Ok(record) = queue.try_recv() {
                record.note_use(&self.asides.usage);
                lost += 1;
            }
        }
        lost
    }

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
    use std::time::Instant;

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
            queue
                .try_send(Box::new(RequestRecord::begin(
                    Method::GET,
                    IpAddr::from([127, 0, 0, 1]),
                )))
                .unwrap();
        }
        drop(queues);
        recorder.finish();
    }
}
