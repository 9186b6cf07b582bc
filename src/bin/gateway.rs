//! The `pipeops-gateway` program.
//!
//! Owns the process: allocator, runtime, log, signals, exit code. Everything else is `gateway`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use pipeops_agent::gateway::cli::{Command, Flags, Serve};
use pipeops_agent::gateway::{Config, Gateway, TokenFile, raise_open_files};
use pipeops_agent::shutdown::{Ending, Signals};
use pipeops_agent::telemetry;
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let flags = Flags::read();
    // Lines that are queued are written when this is dropped.
    let _log = match telemetry::init(&flags.telemetry()) {
        Ok(log) => log,
        Err(error) => return fail(&error.into(), 1),
    };
    let outcome = match flags.command {
        Command::Token { tokens, command } => command
            .run(&TokenFile::new(tokens), &mut std::io::stdout().lock())
            .map(|()| ExitCode::SUCCESS),
        Command::Serve(serve) => match serve.config() {
            Ok((config, ca)) => run(&serve, config, ca.as_ref()),
            Err(error) => return fail(&error.into(), 2),
        },
    };
    outcome.unwrap_or_else(|error| fail(&error, 1))
}

/// Says why, and exits with this code: 2 is a configuration that cannot be, 1 all else.
fn fail(error: &anyhow::Error, code: u8) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "pipeops-gateway: {error:#}");
    ExitCode::from(code)
}

fn run(serve: &Serve, config: Config, ca: Option<&PathBuf>) -> anyhow::Result<ExitCode> {
    raise_open_files();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut signals = Signals::install()?;
        // Its own grace ends the gateway first; this is for a defect.
        let overrun = config.grace + Duration::from_secs(30);
        let gateway = Gateway::bind(config)?;
        let address = gateway.local_addr()?;
        let counts = gateway.tokens().count();
        // A closed standard output is no reason not to serve.
        let _ = serve.greet(&mut std::io::stdout().lock(), address, ca, counts);
        let stop = CancellationToken::new();
        let serving = gateway.run(stop.clone());
        Ok(match signals.guard(&stop, overrun, serving).await {
            Ending::Done(()) => ExitCode::SUCCESS,
            Ending::Aborted(signal) => ExitCode::from(signal.exit_code()),
            Ending::Overran => ExitCode::FAILURE,
        })
    })
}
