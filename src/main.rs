//! The `pipeops-agent` program.
//!
//! Owns the process: allocator, runtime, signals, what is printed before logs begin, exit codes.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use pipeops_agent::agent::{self, Agent, Outcome, Settings, raise_open_files};
use pipeops_agent::cli::{self, AgentCommand, Healthcheck, Output, Rbac, Run, ShowConfig, Status};
use pipeops_agent::config::env::Env;
use pipeops_agent::config::reload::Reload;
use pipeops_agent::config::{self, Config, ConfigErrors, Flags, env};
use pipeops_agent::doctor;
use pipeops_agent::inquiry::{self, Answer, InquiryError};
use pipeops_agent::policy::Access;
use pipeops_agent::rbac;
use pipeops_agent::release::Release;
use pipeops_agent::shutdown::{Ending, Signals};
use pipeops_agent::telemetry::{self, error_chain};
use pipeops_agent::{limits, termination};
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
        Some(AgentCommand::Run(flags)) => run(*flags),
        Some(AgentCommand::Config(flags)) => show(*flags),
        #[cfg(feature = "demo")]
        Some(AgentCommand::Demo(flags)) => demo(flags),
        Some(AgentCommand::Check(flags)) => check(*flags),
        Some(AgentCommand::Healthcheck(flags)) => healthcheck(flags),
        Some(AgentCommand::Status(flags)) => status(flags),
        Some(AgentCommand::Rbac(flags)) => roles(&flags),
        Some(AgentCommand::Version { output }) => version(output),
        Some(AgentCommand::Completions { shell }) => print(&cli::completions(shell)),
    };
    ExitCode::from(code)
}

fn run(flags: Run) -> u8 {
    let flags = Flags::from_iter(flags.given());
    let mut config = match load(&flags) {
        Ok(config) => config,
        Err(errors) => return fatal(&errors, USAGE),
    };
    // Lines that are queued are written when this is dropped.
    let log = match telemetry::init(&config.telemetry) {
        Ok(log) => log,
        Err(error) => return fatal(&error_chain(&error), FAILURE),
    };
    let release = Release::this();
    let (version, commit) = (release.version, release.commit);
    tracing::info!(version, commit, "Agent starts");
    for warning in &config.warnings {
        tracing::warn!(warning, "Configuration is odd");
    }
    let reload = Reload::new(flags, env::Process, &mut config);
    raise_open_files();
    let _panic = LastWords;
    guarded(async |stop| {
        let pod = config::pod(&env::Process, config.kubernetes.namespace.as_deref());
        let mut settings = Settings::from(config);
        settings.pod = pod;
        let agent = match Agent::start(settings).await {
            Ok(agent) => agent,
            Err(error) => {
                tracing::error!(error = %error_chain(&error), "Start failed");
                leave(&format!("start failed: {}", error_chain(&error)));
                return if error.is_configuration() {
                    USAGE
                } else {
                    FAILURE
                };
            }
        };
        let outcome = tokio::select! {
            biased;
            outcome = agent.run(stop) => outcome,
            never = reload.run(log.levels()) => match never {},
        };
        match outcome {
            Outcome::Stopped => 0,
            Outcome::Refused => {
                leave("the control plane refuses this agent for good");
                REFUSED
            }
        }
    })
}

fn check(flags: cli::Check) -> u8 {
    let json = flags.output == Output::Json;
    let color = std::io::stdout().is_terminal() && env::Process.var(env::NO_COLOR) == Ok(None);
    let mut heading = "";
    let mut line = |line: &doctor::Line| {
        let next = doctor::heading(line);
        if std::mem::replace(&mut heading, next) != next {
            print(format!("{next}\n").as_bytes());
        }
        print(doctor::text(line, color).as_bytes());
    };
    let given = Flags::from_iter(flags.run.given());
    let settings = match load(&given) {
        Ok(config) => Settings::from(config),
        Err(errors) => {
            let report = doctor::misconfigured(&errors);
            if json {
                print(report.json().as_bytes());
            } else {
                report.lines().iter().for_each(line);
            }
            return report.exit_code();
        }
    };
    let setting = doctor::Setting {
        api_url: settings.api_url,
        token: settings.token,
        ca_file: settings.ca_file,
        proxy: settings.proxy,
        cluster: settings.cluster,
        access: settings.access,
        impersonate: settings.impersonate,
        idle: flags.idle,
    };
    let wait = flags.wait;
    guarded(async |stop| {
        let looked = async {
            match wait {
                None if json => doctor::examine(&setting, |_| {}).await,
                None => doctor::examine(&setting, &mut line).await,
                Some(wait) => {
                    let report = doctor::wait(&setting, wait, |report| {
                        let failed = report.failed().join(", ");
                        complain(&format!("still failing: {failed}"), FAILURE);
                    })
                    .await;
                    if !json {
                        report.lines().iter().for_each(&mut line);
                    }
                    report
                }
            }
        };
        let Some(report) = stop.run_until_cancelled(looked).await else {
            return FAILURE;
        };
        print(
            if json {
                report.json()
            } else {
                report.summary()
            }
            .as_bytes(),
        );
        report.exit_code()
    })
}

/// The configuration, or all that is wrong with it.
fn load(flags: &Flags) -> Result<Config, ConfigErrors> {
    let config = Config::load(flags, &env::Process)?;
    agent::examine(&config)?;
    Ok(config)
}

/// Prints the configuration in force.
fn show(flags: ShowConfig) -> u8 {
    if flags.schema {
        return print(config::schema::text().as_bytes());
    }
    match load(&Flags::from_iter(flags.run.given())) {
        Ok(config) => print(
            match flags.output {
                Output::Text => config::effective::table(&config.effective),
                Output::Json => config::effective::json(&config.effective),
            }
            .as_bytes(),
        ),
        Err(errors) => complain(&errors, USAGE),
    }
}

#[cfg(feature = "demo")]
fn demo(flags: cli::Demo) -> u8 {
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
                leave("not stopped in time");
                FAILURE
            }
        }
    });
    // A name that is being resolved on a thread of its own is not waited for.
    runtime.shutdown_background();
    code
}

/// Asks the agent beside this process.
fn asked<F>(port: Option<String>, ask: impl FnOnce(u16) -> F) -> Result<Answer, u8>
where
    F: Future<Output = Result<Answer, InquiryError>>,
{
    let flags = Flags::from_iter(port.map(|port| ("--port", port)));
    let port = config::port(&flags, &env::Process).map_err(|errors| complain(&errors, USAGE))?;
    let mut answer = Err(FAILURE);
    let code = guarded(async |stop| {
        match stop.run_until_cancelled(ask(port)).await {
            Some(Ok(answered)) => answer = Ok(answered),
            Some(Err(error)) => return complain(&error_chain(&error), FAILURE),
            None => {}
        }
        FAILURE
    });
    answer.map_err(|_| code)
}

fn healthcheck(flags: Healthcheck) -> u8 {
    let ready = flags.ready;
    match asked(flags.port, |port| inquiry::health(port, ready)) {
        Ok(answer) if answer.code.is_success() => 0,
        Ok(Answer { code, body }) => {
            let said = inquiry::text(&body);
            complain(&format!("the agent answers {code}\n{said}"), FAILURE)
        }
        Err(code) => code,
    }
}

fn status(flags: Status) -> u8 {
    match asked(flags.port, inquiry::status) {
        Ok(Answer { body, .. }) => print(
            match flags.output {
                Output::Text => inquiry::text(&body),
                Output::Json => format!("{body}\n"),
            }
            .as_bytes(),
        ),
        Err(code) => code,
    }
}

fn roles(flags: &Rbac) -> u8 {
    let access: Access = match flags.access.parse() {
        Ok(access) => access,
        Err(error) => return complain(&format!("--access: {error}"), USAGE),
    };
    let request = rbac::Request {
        access,
        namespace: &flags.namespace,
        impersonate: flags.impersonate,
    };
    print(rbac::yaml(request).as_bytes())
}

fn version(output: Output) -> u8 {
    let release = Release::this();
    let told = match output {
        Output::Text => release.line(),
        Output::Json => serde_json::json!(release).to_string(),
    };
    print(format!("{told}\n").as_bytes())
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

/// Complains, and leaves it for the kubelet as well.
fn fatal(error: &dyn std::fmt::Display, code: u8) -> u8 {
    leave(&error.to_string());
    complain(error, code)
}

/// Leaves why the program ends where the kubelet finds it.
fn leave(line: &str) {
    let path = match env::Process.var(env::TERMINATION_LOG) {
        Ok(Some(path)) => PathBuf::from(path),
        Ok(None) | Err(env::NotUnicode) => Path::new(termination::PATH).to_owned(),
    };
    termination::leave(&path, line);
}

/// Dropped by a panic, it says so where the kubelet looks.
struct LastWords;

impl Drop for LastWords {
    fn drop(&mut self) {
        if std::thread::panicking() {
            leave("panicked; the log has the place");
        }
    }
}
