//! The flags of `pipeops-gateway`, and what it prints.
//!
//! Owns the command line, its translation into [`Config`], and the lines for the person who starts
//! it. Owns not what it does with them ([`super::Gateway`], [`TokenFile`]).

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::tokens::Stored;
use super::{Certificate, Config, Grant, TokenFile, UserLimits};
use crate::limits;
use crate::telemetry::{self, Format, Level};

/// The control plane's end of PipeOps Agent: kubectl for clusters that dial out.
#[derive(Debug, Parser)]
#[command(name = "pipeops-gateway", version, propagate_version = true)]
pub struct Flags {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// What is logged: error, warn, info, debug or trace, and levels of modules after it, as in
    /// `info,access=warn`.
    #[arg(long, global = true, default_value = "info", value_name = "LEVEL", value_parser = level)]
    pub log_level: Level,
    /// The form of log lines; unless given, text on a terminal and JSON elsewhere.
    #[arg(long, global = true, value_enum, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
}

fn level(text: &str) -> Result<Level, String> {
    Level::parse(text).map_err(|part| format!("\"{part}\" is no level"))
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

impl Flags {
    /// Reads the process's arguments; says what is wrong with them and exits 2 otherwise.
    pub fn read() -> Self {
        Self::parse()
    }

    /// What to log, and how.
    pub fn telemetry(&self) -> telemetry::Config {
        telemetry::Config {
            level: self.log_level.clone(),
            format: self.log_format.map(|format| match format {
                LogFormat::Text => Format::Text,
                LogFormat::Json => Format::Json,
            }),
            color: true,
        }
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve agents and callers.
    Serve(Box<Serve>),
    /// Make, list and remove tokens; a running gateway takes it up within two seconds.
    Token {
        /// The file of tokens.
        #[arg(long, default_value = "gateway-tokens.json", value_name = "FILE")]
        tokens: PathBuf,
        /// What to do with it.
        #[command(subcommand)]
        command: Token,
    },
}

/// `serve`.
#[derive(Debug, Args)]
pub struct Serve {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:8443", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// The certificate chain in PEM form, taken up again when it changes.
    #[arg(long, requires = "tls_key", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// Its key in PEM form.
    #[arg(long, requires = "tls_cert", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Use the development certificate of this directory, making one with its own CA if there is
    /// none.
    #[cfg(feature = "demo")]
    #[arg(long, conflicts_with = "tls_cert", value_name = "DIR")]
    pub dev_cert: Option<PathBuf>,
    /// A further name or address of the development certificate.
    #[cfg(feature = "demo")]
    #[arg(long, requires = "dev_cert", value_name = "NAME")]
    pub dev_name: Vec<String>,
    /// The CA of the certificate in PEM form, for the kubeconfigs that are handed out.
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// The file of tokens.
    #[arg(long, default_value = "gateway-tokens.json", value_name = "FILE")]
    pub tokens: PathBuf,
    /// Let no agent use binary frames.
    #[arg(long)]
    pub no_binary: bool,
    /// Let agents compress answers.
    #[arg(long, value_enum, default_value = "zstd")]
    pub compression: Compression,
    /// Milliseconds between pings.
    #[arg(long, default_value_t = millis(limits::PING_EVERY), value_name = "MS", value_parser = clap::value_parser!(u64).range(10..))]
    pub ping_every: u64,
    /// Milliseconds within which a ping must be echoed.
    #[arg(long, default_value_t = millis(limits::PING_WITHIN), value_name = "MS", value_parser = clap::value_parser!(u64).range(10..))]
    pub ping_within: u64,
    /// Milliseconds between agents' heartbeats.
    #[arg(long, default_value_t = millis(limits::HEARTBEAT_EVERY), value_name = "MS", value_parser = clap::value_parser!(u64).range(10..))]
    pub heartbeat: u64,
    /// Seconds that running requests may go on after SIGTERM.
    #[arg(long, default_value_t = limits::CLOSING.as_secs(), value_name = "SECONDS")]
    pub grace: u64,
    /// Connections at once.
    #[arg(long, default_value_t = limits::GATEWAY_CONNECTIONS, value_name = "N")]
    pub max_connections: usize,
    /// Agents' sessions at once.
    #[arg(long, default_value_t = limits::GATEWAY_SESSIONS, value_name = "N")]
    pub max_sessions: usize,
    /// Agents that are let in a second; the others wait in turn or are asked to come back.
    #[arg(long, default_value_t = limits::ADMISSION_RATE, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub admission_rate: u32,
    /// Bytes that all sessions together may hold for slow callers.
    #[arg(long, default_value_t = limits::GATEWAY_POOL_ALL, value_name = "BYTES")]
    pub pool: usize,
    /// One user's requests in flight, watches and upgrades apart.
    #[arg(long, default_value_t = limits::USER_REQUESTS, value_name = "N")]
    pub user_requests: usize,
    /// One user's watches, log followers and upgrades in flight.
    #[arg(long, default_value_t = limits::USER_LONG_RUNNING, value_name = "N")]
    pub user_long_running: usize,
    /// Seconds that a command that observes waits for its agent to come back.
    #[arg(long, default_value_t = limits::OBSERVER_WAITS.as_secs(), value_name = "SECONDS")]
    pub observer_waits: u64,
    /// Seconds that a watch or a followed log, and its agent, wait for a lost channel; 0 for none.
    #[arg(long, default_value_t = limits::RESUME_FOR.as_secs(), value_name = "SECONDS")]
    pub resume: u64,
    /// Milliseconds within which a lone agent comes back first; by the size of the fleet otherwise.
    #[arg(long, requires = "reconnect_cap", value_name = "MS", value_parser = clap::value_parser!(u64).range(10..=3_600_000))]
    pub reconnect_first: Option<u64>,
    /// Milliseconds at most between two attempts of an agent to come back.
    #[arg(long, requires = "reconnect_first", value_name = "MS", value_parser = clap::value_parser!(u64).range(10..=3_600_000))]
    pub reconnect_cap: Option<u64>,
}

/// What agents may compress with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Compression {
    /// Where both sides have it.
    Zstd,
    /// Never.
    None,
}

/// `token`.
#[derive(Debug, Subcommand)]
pub enum Token {
    /// Make a token, and print it once.
    Add {
        /// For whom.
        #[command(subcommand)]
        whom: Whom,
    },
    /// List the tokens.
    List,
    /// Remove a token: what runs under it ends within five seconds.
    Remove {
        /// The token's id, as `token list` shows it.
        id: String,
    },
}

/// Whom a token is for.
#[derive(Debug, Subcommand)]
pub enum Whom {
    /// The agent of one cluster.
    Agent {
        /// The cluster's id: it stands in the path of its API.
        cluster: String,
    },
    /// A user.
    User {
        /// The name that the API server sees where the agent impersonates.
        name: String,
        /// A group of the user's.
        #[arg(long = "group", value_name = "GROUP")]
        groups: Vec<String>,
        /// A cluster that the user may use; without any, all.
        #[arg(long = "cluster", value_name = "CLUSTER")]
        clusters: Vec<String>,
    },
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Why a command line cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum FlagsError {
    /// No certificate was named.
    #[error("no certificate: give --tls-cert and --tls-key{}", dev_hint())]
    NoCertificate,
    /// A file that cannot be read.
    #[error("the file {path} cannot be read")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// No development certificate.
    #[error("no development certificate")]
    Dev(#[source] super::TlsError),
}

const fn dev_hint() -> &'static str {
    if cfg!(feature = "demo") {
        ", or --dev-cert DIR for a certificate made on the spot"
    } else {
        ""
    }
}

impl Serve {
    /// The gateway's configuration, and where its CA is, if that is known.
    ///
    /// # Errors
    /// When there is no certificate to serve with, or the CA's file cannot be read.
    pub fn config(&self) -> Result<(Config, Option<PathBuf>), FlagsError> {
        let (certificate, ca) = self.certificate()?;
        let ca = self.ca.clone().or(ca);
        let ca_pem = match &ca {
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|source| FlagsError::Read {
                    path: path.clone(),
                    source,
                })?;
                Some(text)
            }
            None => None,
        };
        let defaults = Config::new(certificate);
        let config =
            Config {
                listen: self.listen,
                ca_pem,
                token_file: Some(TokenFile::new(&self.tokens)),
                binary: !self.no_binary,
                compression: self.compression == Compression::Zstd,
                ping: crate::protocol::hello::PingTimes {
                    every_ms: self.ping_every,
                    within_ms: self.ping_within,
                },
                heartbeat: Duration::from_millis(self.heartbeat),
                grace: Duration::from_secs(self.grace),
                connections: self.max_connections,
                sessions: self.max_sessions,
                admission_rate: self.admission_rate,
                pool: self.pool,
                user_limits: UserLimits {
                    requests: self.user_requests,
                    long_running: self.user_long_running,
                },
                observer_waits: Duration::from_secs(self.observer_waits),
                resume: (self.resume > 0).then(|| Duration::from_secs(self.resume)),
                reconnect: self.reconnect_first.zip(self.reconnect_cap).map(
                    |(first_ms, cap_ms)| crate::protocol::hello::ReconnectWindow {
                        first_ms,
                        cap_ms,
                    },
                ),
                ..defaults
            };
        Ok((config, ca))
    }

    fn certificate(&self) -> Result<(Certificate, Option<PathBuf>), FlagsError> {
        #[cfg(feature = "demo")]
        if let Some(directory) = &self.dev_cert {
            let ip = self.listen.ip().to_string();
            let mut names = vec!["localhost", "127.0.0.1", "::1"];
            if !self.listen.ip().is_unspecified() && !names.contains(&ip.as_str()) {
                names.push(&ip);
            }
            names.extend(self.dev_name.iter().map(String::as_str));
            let files = super::tls::dev::DevFiles::in_directory(directory, &names)
                .map_err(FlagsError::Dev)?;
            let certificate = Certificate::Files {
                chain: files.chain,
                key: files.key,
            };
            return Ok((certificate, Some(files.ca)));
        }
        match (&self.tls_cert, &self.tls_key) {
            (Some(chain), Some(key)) => {
                let certificate = Certificate::Files {
                    chain: chain.clone(),
                    key: key.clone(),
                };
                Ok((certificate, None))
            }
            _ => Err(FlagsError::NoCertificate),
        }
    }

    /// Says what runs, and what to do next.
    ///
    /// # Errors
    /// When nobody can be told.
    pub fn greet(
        &self,
        out: &mut impl Write,
        address: SocketAddr,
        ca: Option<&PathBuf>,
        (agents, users): (usize, usize),
    ) -> std::io::Result<()> {
        let tokens = self.tokens.display();
        writeln!(out, "PipeOps gateway on https://{address}")?;
        if let Some(ca) = ca {
            writeln!(out, "  certificate authority  {}", ca.display())?;
        }
        writeln!(
            out,
            "  tokens                 {agents} of agents, {users} of users, in {tokens}"
        )?;
        if agents > 0 && users > 0 {
            return Ok(());
        }
        writeln!(out, "\nNext:")?;
        if agents == 0 {
            writeln!(
                out,
                "  pipeops-gateway token --tokens {tokens} add agent my-cluster"
            )?;
            let ca = ca.map_or_else(String::new, |ca| {
                format!("PIPEOPS_CA_FILE={} ", ca.display())
            });
            writeln!(
                out,
                "  {ca}PIPEOPS_API_URL=https://{address} PIPEOPS_TOKEN=... pipeops-agent run"
            )?;
        }
        if users == 0 {
            writeln!(
                out,
                "  pipeops-gateway token --tokens {tokens} add user me --group dev"
            )?;
            let ca = ca.map_or_else(String::new, |ca| format!("--cacert {} ", ca.display()));
            writeln!(
                out,
                "  curl {ca}-H 'Authorization: Bearer ...' https://{address}/clusters/my-cluster/kubeconfig > kubeconfig"
            )?;
        }
        Ok(())
    }
}

impl Token {
    /// Does it, and prints what there is to see. A new token is alone on standard output.
    ///
    /// # Errors
    /// When the file cannot be read or changed, or nobody can be told.
    pub fn run(self, file: &TokenFile, out: &mut impl Write) -> anyhow::Result<()> {
        match self {
            Self::Add { whom } => {
                let grant = match whom {
                    Whom::Agent { cluster } => Grant::Agent { cluster },
                    Whom::User {
                        name,
                        groups,
                        mut clusters,
                    } => {
                        if clusters.is_empty() {
                            clusters.push("*".to_owned());
                        }
                        Grant::User {
                            name,
                            groups,
                            clusters,
                        }
                    }
                };
                writeln!(out, "{}", file.add(grant)?)?;
            }
            Self::List => {
                for Stored { id, grant, .. } in file.read()? {
                    match grant {
                        Grant::Agent { cluster } => writeln!(out, "{id}  agent  {cluster}")?,
                        Grant::User {
                            name,
                            groups,
                            clusters,
                        } => writeln!(
                            out,
                            "{id}  user   {name}  groups={}  clusters={}",
                            groups.join(","),
                            clusters.join(",")
                        )?,
                    }
                }
            }
            Self::Remove { id } => file.remove(&id)?,
        }
        Ok(())
    }
}
