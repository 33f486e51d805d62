//! The gateway under an allocator that counts, for `benches/run alloc`. It sends no request and makes no table of figures;
//! `benches/alloc.py` does.

use std::io::{self, BufRead, Write};
use std::path::PathBuf;

use alloc_tracker::{Allocator, Session};
use keygate::app::{App, Records};
use keygate::config::{Config, environment};
use mimalloc::MiMalloc;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Counts what is asked of the allocator that the binary has.
#[global_allocator]
static ALLOCATOR: Allocator<MiMalloc> = Allocator::new(MiMalloc);

fn main() -> Result<(), Failure> {
    let config = match std::env::args_os().nth(1).map(PathBuf::from) {
        Some(path) if path.is_file() => Config::load(Some(&path), environment())?,
        // `cargo bench` asks every benchmark so; this one needs a load, which it does not make.
        _ => {
            writeln!(io::stdout(), "nothing to do: see benches/run")?;
            return Ok(());
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let app = runtime.block_on(App::start(&config, Records::AsConfigured))?;
    count()?;
    runtime.block_on(app.shutdown());
    Ok(())
}

/// For each line of the input, what was allocated since the one before it: calls that give memory (also those that move or
/// grow it), and the bytes they asked for. All threads of the process together.
fn count() -> Result<(), Failure> {
    let session = Session::new().no_stdout().no_file();
    let mut lines = io::stdin().lock().lines();
    for number in 0_u64.. {
        let operation = session.operation(number.to_string());
        let span = operation.measure_process();
        let Some(line) = lines.next().transpose()? else {
            break;
        };
        drop(span.iterations(1));
        let report = session.to_report();
        let (_, found) = report
            .operations()
            .find(|(name, _)| *name == number.to_string())
            .ok_or("nothing was counted")?;
        let told = serde_json::json!({
            "span": line,
            "allocations": found.total_allocations_count(),
            "bytes": found.total_bytes_allocated(),
        });
        writeln!(io::stdout(), "{told}")?;
    }
    Ok(())
}
