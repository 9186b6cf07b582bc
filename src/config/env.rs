//! The environment: every variable's name, and the one place that reads it.
//!
//! Owns the names and [`Env`], which is the process or a map. Owns not: what a value means
//! (`value`). Invariants: each name is one documented constant and in [`ALL`]; an empty variable
//! is an absent one, because manifests write `value: ""` for "none".

use std::collections::BTreeMap;

/// The control plane's base URL; `https` only.
pub const API_URL: &str = "PIPEOPS_API_URL";
/// The agent's token. A file is better: it is re-read when it is replaced.
pub const TOKEN: &str = "PIPEOPS_TOKEN";
/// The file that holds the token; wins over [`TOKEN`].
pub const TOKEN_FILE: &str = "PIPEOPS_TOKEN_FILE";
/// PEM certificates of authorities to trust for the control plane, beside the public ones.
pub const CA_FILE: &str = "PIPEOPS_CA_FILE";
/// The proxy towards the control plane: a URL, or `none`; wins over [`PROXIES`].
pub const PROXY: &str = "PIPEOPS_PROXY";
/// Hosts and networks that are reached without the proxy; wins over [`NO_PROXIES`].
pub const PIPEOPS_NO_PROXY: &str = "PIPEOPS_NO_PROXY";
/// The file with `user:password` for the proxy, read again for each connection.
pub const PROXY_CREDENTIALS_FILE: &str = "PIPEOPS_PROXY_CREDENTIALS_FILE";
/// Where programs look for a proxy for `https`, the first that is set. `HTTP_PROXY` is for plain
/// `http`, which is not spoken to the control plane.
pub const PROXIES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
/// Where programs look for what needs no proxy.
pub const NO_PROXIES: [&str; 2] = ["NO_PROXY", "no_proxy"];
/// The name that the operator gives the cluster.
pub const CLUSTER_NAME: &str = "PIPEOPS_CLUSTER_NAME";
/// The agent's id, instead of the one derived from the cluster.
pub const AGENT_ID: &str = "PIPEOPS_AGENT_ID";
/// What the control plane may do: `readonly` or `admin`.
pub const ACCESS: &str = "PIPEOPS_ACCESS";
/// Whether requests run as the gateway's user, through Kubernetes impersonation.
pub const IMPERSONATE: &str = "PIPEOPS_IMPERSONATE";
/// What to log: a level, or `info,uplink=debug`.
pub const LOG_LEVEL: &str = "PIPEOPS_LOG_LEVEL";
/// The shape of log lines: `text` or `json`.
pub const LOG_FORMAT: &str = "PIPEOPS_LOG_FORMAT";
/// The port of the local server.
pub const PORT: &str = "PIPEOPS_PORT";
/// Whether to exit with code 3 when the control plane refuses the agent for good.
pub const EXIT_WHEN_REFUSED: &str = "PIPEOPS_EXIT_WHEN_REFUSED";
/// Where the last fatal line goes, if the file exists.
pub const TERMINATION_LOG: &str = "PIPEOPS_TERMINATION_LOG";
/// The pod that the agent runs in, by the downward API: with its namespace, changes of the channel
/// become events of its Deployment.
pub const POD_NAME: &str = "PIPEOPS_POD_NAME";
/// See [`POD_NAME`].
pub const POD_NAMESPACE: &str = "PIPEOPS_POD_NAMESPACE";
/// The configuration file, where no flag names one.
pub const CONFIG: &str = "PIPEOPS_CONFIG";
/// Whether the local server serves `/ws`.
pub const ENABLE_WEBSOCKET: &str = "PIPEOPS_ENABLE_WEBSOCKET";
/// Whether the local server serves server-sent events, and the channel may go by them.
pub const ENABLE_SSE: &str = "PIPEOPS_ENABLE_SSE";
/// Whether the local server serves the dashboard.
pub const ENABLE_DASHBOARD: &str = "PIPEOPS_ENABLE_DASHBOARD";
/// The file with the bearer token of the local server.
pub const SERVER_TOKEN_FILE: &str = "PIPEOPS_SERVER_TOKEN_FILE";
/// Where the configuration file of a person is.
pub const HOME: &str = "HOME";
/// Set to anything: no colours (no-color.org).
pub const NO_COLOR: &str = "NO_COLOR";

/// Every variable that this program reads itself; kube reads `KUBECONFIG` and those that the
/// kubelet sets.
pub const ALL: &[&str] = &[
    API_URL,
    TOKEN,
    TOKEN_FILE,
    CA_FILE,
    PROXY,
    PIPEOPS_NO_PROXY,
    PROXY_CREDENTIALS_FILE,
    PROXIES[0],
    PROXIES[1],
    PROXIES[2],
    PROXIES[3],
    NO_PROXIES[0],
    NO_PROXIES[1],
    CLUSTER_NAME,
    AGENT_ID,
    ACCESS,
    IMPERSONATE,
    LOG_LEVEL,
    LOG_FORMAT,
    PORT,
    EXIT_WHEN_REFUSED,
    TERMINATION_LOG,
    POD_NAME,
    POD_NAMESPACE,
    CONFIG,
    ENABLE_WEBSOCKET,
    ENABLE_SSE,
    ENABLE_DASHBOARD,
    SERVER_TOKEN_FILE,
    HOME,
    NO_COLOR,
];

/// A variable that is set, and is not text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotUnicode;

/// Where variables come from.
pub trait Env {
    /// The variable's value; `None` when it is absent or empty.
    ///
    /// # Errors
    /// When it is not Unicode.
    fn var(&self, name: &str) -> Result<Option<String>, NotUnicode>;
}

/// The process's own environment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Process;

impl Env for Process {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the environment"
    )]
    fn var(&self, name: &str) -> Result<Option<String>, NotUnicode> {
        match std::env::var(name) {
            Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
            Err(std::env::VarError::NotPresent) => Ok(None),
            Err(std::env::VarError::NotUnicode(_)) => Err(NotUnicode),
        }
    }
}

impl Env for BTreeMap<&str, &str> {
    fn var(&self, name: &str) -> Result<Option<String>, NotUnicode> {
        let value = self.get(name).copied().filter(|value| !value.is_empty());
        Ok(value.map(str::to_owned))
    }
}
