//! The agent's configuration: flags over environment over file over defaults, and every error at
//! once.
//!
//! Owns the settings, their names, defaults and meaning. Owns not: what a setting does. Invariant: a
//! [`Config`] is whole and valid; what is wrong is said for all settings together, each with its
//! remedy.

pub mod effective;
pub mod env;
pub mod proxy;
pub mod reload;
pub mod schema;
pub mod secret;
pub mod settings;
pub mod value;

mod file;
mod reader;
mod sections;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::announcer::Config as Pod;
use crate::extensions::Config as Extensions;
use crate::telemetry;
use effective::Effective;
use env::Env;
use file::File;
use proxy::Proxy;
use reader::Reader;
use secret::SecretSource;
use value::{ApiUrl, InvalidValue};

/// Flags that were given, by name with the dashes. A switch has the value `true`.
pub type Flags = BTreeMap<&'static str, String>;

/// Everything that `pipeops-agent run` is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Who the agent is.
    pub agent: Identity,
    /// The way to the control plane.
    pub uplink: Uplink,
    /// The way to the API server.
    pub kubernetes: Kubernetes,
    /// The local server.
    pub server: Server,
    /// Its live connections.
    pub realtime: Realtime,
    /// What is logged.
    pub telemetry: telemetry::Config,
    /// What may be left out.
    pub features: Features,
    /// What the operator adds.
    pub extensions: Extensions,
    /// Every value in force and where it comes from.
    pub effective: Vec<Effective>,
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// What is odd and no error; for the log.
    pub warnings: Vec<String>,
}

/// Who the agent is.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Its id; otherwise derived from the cluster's UID.
    pub id: Option<String>,
    /// Its name for people; the cluster's unless given.
    pub name: String,
    /// The name that the operator gives the cluster.
    pub cluster_name: String,
    /// What the operator says about it.
    pub labels: BTreeMap<String, String>,
}

/// The way to the control plane.
#[derive(Debug, Clone)]
pub struct Uplink {
    /// Its base URL.
    pub api_url: ApiUrl,
    /// The agent's token.
    pub token: SecretSource,
    /// Authorities to trust beside the public ones.
    pub ca_file: Option<PathBuf>,
    /// The proxy in between, unless the control plane is excepted from it.
    pub proxy: Option<Proxy>,
    /// Whether a refusal for good ends the program.
    pub exit_when_refused: bool,
    /// Whether binary frames are offered; only tests do without.
    pub binary: bool,
}

/// The local server.
#[derive(Debug, Clone)]
pub struct Server {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Whether it serves `/ws`.
    pub websocket: bool,
    /// Whether it serves server-sent events.
    pub sse: bool,
    /// Whether it serves the dashboard.
    pub dashboard: bool,
    /// Origins whose pages may ask, beside its own; each `scheme://host[:port]` in lower case.
    pub allowed_origins: Vec<String>,
    /// Values of `Host` that are answered, beside loopback and its own address; in lower case.
    pub allowed_hosts: Vec<String>,
    /// The bearer token of callers beyond loopback; a file, read again when it is replaced.
    pub token: Option<SecretSource>,
    /// Time for a request's head.
    pub header_timeout: Duration,
    /// New connections per second.
    pub rate_limit: u32,
}

/// Live connections to the local server.
#[derive(Debug, Clone)]
pub struct Realtime {
    /// Silence after which an SSE client gets a comment.
    pub sse_heartbeat: Duration,
    /// Silence after which a client that answers no ping is dropped.
    pub connection_timeout: Duration,
    /// Clients at once, of both kinds together.
    pub max_connections: usize,
}

/// What may be left out.
#[derive(Debug, Clone, Copy)]
pub struct Features {
    /// Watch the components' health.
    pub health_monitoring: bool,
    /// Tell what the process uses.
    pub runtime_metrics: bool,
    /// Find out what the cluster offers.
    pub feature_detection: bool,
    /// Test the ways out when asked.
    pub connectivity_testing: bool,
}

/// The way to the API server, and what may be done there.
#[derive(Debug, Clone)]
pub struct Kubernetes {
    /// Where its credentials come from.
    pub credentials: Credentials,
    /// The namespace that the agent is in.
    pub namespace: Option<String>,
    /// What the control plane may do.
    pub access: Access,
    /// Whether requests run as the gateway's user.
    pub impersonate: bool,
}

/// Where the credentials for the API server come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Credentials {
    /// The ServiceAccount's files, or else the kubeconfig that kubectl would use.
    #[default]
    Auto,
    /// The ServiceAccount's files.
    InCluster,
    /// A kubeconfig and a context in it, each unless given the one that kubectl would use.
    Kubeconfig {
        /// The file.
        path: Option<PathBuf>,
        /// The context.
        context: Option<String>,
    },
}

/// The presets of what the control plane may do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Access {
    /// Look, but no secrets, no exec, no proxying.
    #[default]
    Readonly,
    /// Everything that the credentials may.
    Admin,
}

/// Settings that cannot be used, all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<InvalidValue>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.0.iter().enumerate() {
            let line = if at == 0 { "" } else { "\n" };
            write!(f, "{line}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// The local server's port unless told otherwise.
pub const PORT: u16 = 8080;

impl Config {
    /// Reads everything.
    ///
    /// # Errors
    /// With everything that is wrong.
    pub fn load(flags: &Flags, env: &impl Env) -> Result<Self, ConfigErrors> {
        let file = File::find(flags, env)?;
        let mut reader = Reader::new(flags, env, file.as_ref());
        let config = reader.config();
        reader.finish(config)
    }

    /// How entries of the file are named in errors: with the file and their lines.
    pub fn places(&self) -> impl Fn(&str) -> String + use<> {
        file::places(self.file.clone())
    }
}

/// Reads only what is to be logged; for programs with a configuration of their own.
///
/// # Errors
/// With everything that is wrong.
pub fn telemetry(flags: &Flags, env: &impl Env) -> Result<telemetry::Config, ConfigErrors> {
    let mut reader = Reader::new(flags, env, None);
    let telemetry = reader.telemetry();
    reader.finish(Some(telemetry))
}

/// Reads only where the local server listens; for whoever asks it.
///
/// # Errors
/// When that is no port.
pub fn port(flags: &Flags, env: &impl Env) -> Result<u16, ConfigErrors> {
    // What else is wrong with the file is `run`'s to say.
    let file = File::find(flags, env).ok().flatten();
    let mut reader = Reader::new(flags, env, file.as_ref()).without_problems();
    let listen = reader.listen();
    reader.finish(listen.map(|listen| listen.port()))
}

/// The pod that the program runs in, where manifest and configuration say it.
pub fn pod(env: &impl Env, namespace: Option<&str>) -> Option<Pod> {
    let name = env.var(env::POD_NAME).ok().flatten()?;
    Some(Pod {
        namespace: namespace?.to_owned(),
        // A name is written into paths; another text would be no name.
        name: value::is_id(&name).then_some(name)?,
    })
}

#[cfg(test)]
mod tests;
