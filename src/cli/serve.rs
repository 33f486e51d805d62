//! The commands that run or describe the gateway itself. What is started, and how, is `app`.

use std::future::Future;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use super::show::plain_lines;
use super::{EXIT_CONFIG, complain};
use crate::app::{self, App, AppError, Records};
use crate::config::{self, Config};
use crate::store::redis::{self, Checkup};

/// Threads for everything but requests: the store, the control socket, the operator's listener.
const CONTROL_THREADS: usize = 2;

pub(super) fn serve(path: &Path) -> ExitCode {
    let config = match load(path) {
        Ok(config) => config,
        Err(refused) => return refused,
    };
    app::hush_panics();
    block_on(async {
        let app = match App::start(&config, Records::AsConfigured).await {
            Ok(app) => app,
            Err(error) => return refuse(&error),
        };
        tell(&format!(
            "serving on {}, operator's listener on {}",
            app.address, app.admin
        ));
        if let Some(control) = app.control {
            let url = app::page_url(&config, control);
            tell(&format!("pages and key management API on {url}"));
        }
        until_stopped(app).await
    })
}

pub(super) fn check(path: &Path) -> ExitCode {
    let config = match load(path) {
        Ok(config) => config,
        Err(refused) => return refused,
    };
    if let Err(error) = app::check(&config) {
        return complain(&error, EXIT_CONFIG);
    }
    let Checkup { warnings, refused } = redis::check_up(&config.store, &config.rules);
    for warning in &warnings {
        tell(&format!("warning: {warning}"));
    }
    if let Some(error) = refused {
        return complain(&error.to_string(), 1);
    }
    let outcome = match warnings.len() {
        0 => "good".to_owned(),
        1 => "good, with a warning".to_owned(),
        count => format!("good, with {count} warnings"),
    };
    let _ = writeln!(io::stdout().lock(), "{}: {outcome}", path.display());
    ExitCode::SUCCESS
}

pub(super) fn print() -> ExitCode {
    match io::stdout().lock().write_all(config::print().as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&error.to_string(), 1),
    }
}

fn load(path: &Path) -> Result<Config, ExitCode> {
    Config::load(Some(path), config::environment()).map_err(|errors| {
        let _ = writeln!(io::stderr().lock(), "{errors}");
        ExitCode::from(EXIT_CONFIG)
    })
}

/// Runs the control side's runtime. Requests have theirs, one for each worker.
pub(super) fn block_on(future: impl Future<Output = ExitCode>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .thread_name("control")
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => {
            let code = runtime.block_on(future);
            // Whatever still blocks must not hold the process.
            runtime.shutdown_background();
            code
        }
        Err(error) => complain(&format!("cannot start: {error}"), 1),
    }
}

pub(super) fn refuse(error: &AppError) -> ExitCode {
    let code = if matches!(error, AppError::Config(_)) {
        EXIT_CONFIG
    } else {
        1
    };
    complain(&error.to_string(), code)
}

/// Runs until SIGTERM or SIGINT, then drains. SIGHUP opens the records' file again.
pub(super) async fn until_stopped(app: App) -> ExitCode {
    let signals = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
        signal(SignalKind::hangup()),
    );
    let (Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)) = signals else {
        return complain("cannot receive signals", 1);
    };
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => app.reopen_records(),
        }
    }
    let ending = app.shutdown();
    // A second signal means now.
    tokio::select! {
        all_ended = ending => {
            if !all_ended {
                tell("the drain's deadline passed; the requests still open were cut");
            }
            ExitCode::SUCCESS
        }
        _ = terminate.recv() => ExitCode::FAILURE,
        _ = interrupt.recv() => ExitCode::FAILURE,
    }
}

fn tell(text: &str) {
    // Nobody is left to tell when this fails.
    let _ = writeln!(io::stderr().lock(), "keygate: {}", plain_lines(text));
}
