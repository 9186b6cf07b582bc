//! The `pipeops-agent` program.
//!
//! Owns the process: allocator, runtime, signals, what is printed before logs begin, exit codes.

use std::io::Write;
use std::process::ExitCode;

use pipeops_agent::agent::{Agent, Outcome, Settings, raise_open_files};
use pipeops_agent::cli::{self, AgentCommand, Output, Run};
use pipeops_agent::config::{Config, Flags, env};
use pipeops_agent::limits;
use pipeops_agent::shutdown::{Ending, Signals};
use pipeops_agent::telemetry::{self, error_chain};
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FAILURE: u8 = 1;
const USAGE: u8 = 2;
const REFUSED: u8 = 3;

fn main() -> ExitCode {
    let line = cli::Agent::from_command_line();
    let code = match line.command {
        None => run(line.run),
        Some(AgentCommand::Run(flags)) => run(flags),
        #[cfg(feature = "demo")]
        Some(AgentCommand::Demo(flags)) => demo(flags),
        Some(AgentCommand::Version { output }) => version(output),
        Some(AgentCommand::Completions { shell }) => print(&cli::completions(shell)),
    };
    ExitCode::from(code)
}

fn run(flags: Run) -> u8 {
    let flags = Flags::from_iter(flags.given());
    let config = match Config::load(&flags, &env::Process) {
        Ok(config) => config,
        Err(errors) => return complain(&errors, USAGE),
    };
    // Lines that are queued are written when this is dropped.
    let _log = match telemetry::init(&config.telemetry) {
        Ok(log) => log,
        Err(error) => return complain(&error_chain(&error), FAILURE),
    };
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "Agent starts");
    raise_open_files();
    guarded(async |stop| {
        let agent = match Agent::start(Settings::from(config)).await {
            Ok(agent) => agent,
            Err(error) => {
                tracing::error!(error = %error_chain(&error), "Start failed");
                return if error.is_configuration() {
                    USAGE
                } else {
                    FAILURE
                };
            }
        };
        match agent.run(stop).await {
            Outcome::Stopped => 0,
            Outcome::Refused => REFUSED,
        }
    })
}

#[cfg(feature = "demo")]
fn demo(flags: cli::Demo) -> u8 {
    use pipeops_agent::config;
    use pipeops_agent::demo::{self, Options};

    let mut log = Flags::from_iter(flags.log.given());
    // What the demo has to say is on standard output.
    log.entry("--log-level").or_insert_with(|| "warn".into());
    let telemetry = match config::telemetry(&log, &env::Process) {
        Ok(telemetry) => telemetry,
        Err(errors) => return complain(&errors, USAGE),
    };
    let _log = match telemetry::init(&telemetry) {
        Ok(log) => log,
        Err(error) => return complain(&error_chain(&error), FAILURE),
    };
    raise_open_files();
    let options = Options {
        kubeconfig: flags.kubeconfig,
        context: flags.context,
        json: flags.output == Output::Json,
        binary: !flags.no_binary,
    };
    guarded(async |stop| match demo::run(options, stop).await {
        Ok(()) => 0,
        Err(error) => complain(&error_chain(&error), FAILURE),
    })
}

/// Runs the work on a runtime of one thread; signals end it.
fn guarded(work: impl AsyncFnOnce(CancellationToken) -> u8) -> u8 {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return complain(&error_chain(&error), FAILURE),
    };
    let code = runtime.block_on(async {
        let mut signals = match Signals::install() {
            Ok(signals) => signals,
            Err(error) => return complain(&error_chain(&error), FAILURE),
        };
        let stop = CancellationToken::new();
        let work = work(stop.clone());
        match signals.guard(&stop, limits::SHUTDOWN, work).await {
            Ending::Done(code) => code,
            Ending::Aborted(signal) => signal.exit_code(),
            Ending::Overran => {
                tracing::error!("Not stopped in time");
                FAILURE
            }
        }
    });
    // A name that is being resolved on a thread of its own is not waited for.
    runtime.shutdown_background();
    code
}

fn version(output: Output) -> u8 {
    let version = env!("CARGO_PKG_VERSION");
    print(
        match output {
            Output::Text => format!("pipeops-agent {version}\n"),
            Output::Json => format!("{{\"name\":\"pipeops-agent\",\"version\":\"{version}\"}}\n"),
        }
        .as_bytes(),
    )
}

fn print(text: &[u8]) -> u8 {
    match std::io::stdout().write_all(text) {
        Ok(()) => 0,
        Err(_) => FAILURE,
    }
}

fn complain(error: &dyn std::fmt::Display, code: u8) -> u8 {
    for line in error.to_string().lines() {
        let _ = writeln!(std::io::stderr(), "pipeops-agent: {line}");
    }
    code
}
