//! The line under a model of the memory of processors that reorder: every order of two threads' steps is tried, and every value
//! that a load may see. The code is the file that the table is made of; its atomics are the model's.

mod atomics {
    pub(super) use loom::hint::spin_loop;
    pub(super) use loom::sync::atomic::{AtomicU64, Ordering, fence};
}

#[expect(
    clippy::duplicate_mod,
    reason = "the very code of the table, over the model's atomics"
)]
#[expect(dead_code, reason = "what only the writer calls is not part of it")]
#[path = "line.rs"]
mod line;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;

use line::{Line, find, tail_of, vacant};

type Small = Line<2>;

const WANTED: [u64; 2] = [7, 8];
const OTHER: [u64; 2] = [9, 8];

fn write(line: &Small, value: u64) {
    line.write(value as u32, WANTED, [value; 2]);
}

/// What a reader finds belongs together.
fn read(lines: &[Small]) -> Option<u64> {
    let (_, words) = find(lines, 0, WANTED)?;
    assert_eq!(words.fingerprint, WANTED);
    let value = words.rest[0];
    assert_eq!(words.rest, [value; 2], "torn");
    assert_eq!(tail_of(words.head), value as u32, "torn");
    Some(value)
}

#[test]
fn a_reader_never_sees_half_of_a_change() {
    loom::model(|| {
        let lines = Arc::new([Small::new(), Small::new()]);
        write(&lines[0], 1);
        let writer = thread::spawn({
            let lines = Arc::clone(&lines);
            move || write(&lines[0], 2)
        });
        let seen = read(&*lines).expect("it is there all the time");
        assert!((1..=2).contains(&seen));
        writer.join().unwrap();
        assert_eq!(read(&*lines), Some(2));
    });
}

#[test]
fn a_key_that_comes_behind_another_is_found_whole_or_not_yet() {
    loom::model(|| {
        let lines = Arc::new([Small::new(), Small::new(), Small::new()]);
        let writer = thread::spawn({
            let lines = Arc::clone(&lines);
            move || {
                vacant(&*lines, 0).unwrap().write(0, OTHER, [0; 2]);
                write(vacant(&*lines, 0).unwrap(), 5);
            }
        });
        assert!(matches!(read(&*lines), None | Some(5)));
        writer.join().unwrap();
        assert_eq!(read(&*lines), Some(5));
    });
}

/// The place beside the line is given up by one key and taken by another one, as the limits' places are.
#[test]
fn a_place_that_another_key_has_taken_is_never_read_for_the_first_ones() {
    const GIVEN_UP: u64 = 2;
    loom::model(|| {
        let shared = Arc::new(([Small::new(), Small::new()], AtomicU64::new(1)));
        write(&shared.0[0], 1);
        let writer = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                write(&shared.0[0], GIVEN_UP);
                shared.1.store(77, Ordering::Release);
            }
        });
        let (line, words) = find(&shared.0, 0, WANTED).expect("it is there all the time");
        if words.rest[0] != GIVEN_UP {
            let beside = shared.1.load(Ordering::Acquire);
            if line.is_still(words.head) {
                assert_eq!(beside, 1);
            }
        }
        writer.join().unwrap();
    });
}
