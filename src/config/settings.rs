//! Every setting: its key in the file, its variables, its flag, its default, its meaning.
//!
//! Owns the table, from which the reader, the help of unknown keys, the JSON Schema and the check of
//! `docs/configuration.md` are made. Owns not: what a value has to look like beyond its kind
//! (`sections`). Invariant: a setting that is read is in [`ALL`], once.

use super::env;

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its place in the file: `section.name`.
    pub key: &'static str,
    /// The variables that give it; the first one that is set counts.
    pub variables: &'static [&'static str],
    /// The flag that gives it.
    pub flag: Option<&'static str>,
    /// What it is.
    pub kind: Kind,
    /// What it is unless given; empty means nothing.
    pub default: &'static str,
    /// What it does, in a sentence without a full stop.
    pub about: &'static str,
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// `true` or `false`.
    Switch,
    /// A number within bounds.
    Number(u64, u64),
    /// `30s`, `5m`, `1h`, `500ms`, within bounds in milliseconds.
    Duration(u64, u64),
    /// Texts; in a variable separated by commas.
    List,
    /// Texts by name.
    Labels,
    /// One of these.
    Choice(&'static [&'static str]),
    /// A file; in the configuration file relative to its folder.
    File,
    /// A secret, never shown.
    Secret,
    /// A URL whose user and password are never shown.
    Url,
}

impl Setting {
    const fn new(key: &'static str, kind: Kind, about: &'static str) -> Self {
        Self {
            key,
            variables: &[],
            flag: None,
            kind,
            default: "",
            about,
        }
    }

    const fn variables(mut self, names: &'static [&'static str]) -> Self {
        self.variables = names;
        self
    }

    const fn flag(mut self, name: &'static str) -> Self {
        self.flag = Some(name);
        self
    }

    const fn default(mut self, text: &'static str) -> Self {
        self.default = text;
        self
    }
}

/// A second, and an hour, in the milliseconds of [`Kind::Duration`].
const SECOND: u64 = 1000;
const HOUR: u64 = 3600 * SECOND;

macro_rules! settings {
    ($($name:ident = $setting:expr;)+) => {
        $(pub(super) const $name: Setting = $setting;)+

        /// Every setting, in the order in which it is shown.
        pub const ALL: &[Setting] = &[$($name),+];
    };
}

settings! {
    AGENT_ID = Setting::new("agent.id", Kind::Text, "Id of the agent; otherwise derived from the cluster, so that replicas agree")
        .variables(&[env::AGENT_ID]).flag("--agent-id");
    AGENT_NAME = Setting::new("agent.name", Kind::Text, "Name of the agent for people; otherwise the cluster's");
    CLUSTER_NAME = Setting::new("agent.cluster_name", Kind::Text, "Name of the cluster")
        .variables(&[env::CLUSTER_NAME]).flag("--cluster-name").default("default-cluster");
    AGENT_VERSION = Setting::new("agent.version", Kind::Text, "Version that the file was written for; another one of the program is a warning");
    PORT = Setting::new("agent.port", Kind::Number(0, 65535), "Port of the local server; 0 takes a free one")
        .variables(&[env::PORT]).flag("--port").default("8080");
    LABELS = Setting::new("agent.labels", Kind::Labels, "Labels of the agent, told to the control plane");

    API_URL = Setting::new("pipeops.api_url", Kind::Text, "Control plane, https only")
        .variables(&[env::API_URL]).flag("--api-url").default("https://api.pipeops.io");
    TOKEN_FILE = Setting::new("pipeops.token_file", Kind::File, "File with the agent's token; re-read when it is replaced")
        .variables(&[env::TOKEN_FILE]).flag("--token-file");
    TOKEN = Setting::new("pipeops.token", Kind::Secret, "The agent's token itself, if there is no file")
        .variables(&[env::TOKEN]);
    CA_FILE = Setting::new("pipeops.ca_file", Kind::File, "PEM authorities to trust beside the public ones; re-read when it is replaced")
        .variables(&[env::CA_FILE]).flag("--ca-file");
    PROXY = Setting::new("pipeops.proxy", Kind::Url, "HTTP proxy on the way to the control plane, or none to use none")
        .variables(&[env::PROXY, env::PROXIES[0], env::PROXIES[1], env::PROXIES[2], env::PROXIES[3]]).flag("--proxy");
    NO_PROXY = Setting::new("pipeops.no_proxy", Kind::List, "Hosts, domains and networks that are reached without the proxy")
        .variables(&[env::PIPEOPS_NO_PROXY, env::NO_PROXIES[0], env::NO_PROXIES[1]]).flag("--no-proxy");
    PROXY_CREDENTIALS = Setting::new("pipeops.proxy_credentials_file", Kind::File, "File with user:password for the proxy; re-read for each connection")
        .variables(&[env::PROXY_CREDENTIALS_FILE]).flag("--proxy-credentials-file");
    EXIT_WHEN_REFUSED = Setting::new("pipeops.exit_when_refused", Kind::Switch, "Exit with code 3 when the control plane refuses the agent for good")
        .variables(&[env::EXIT_WHEN_REFUSED]).flag("--exit-when-refused").default("false");

    ENABLE_WEBSOCKET = Setting::new("server.enable_websocket", Kind::Switch, "Serve /ws, and let the channel go over WebSocket; may not be off together with server.enable_sse")
        .variables(&[env::ENABLE_WEBSOCKET]).default("true");
    ENABLE_SSE = Setting::new("server.enable_sse", Kind::Switch, "Serve /api/realtime/events and /api/realtime/logs, and let the channel go by SSE and POST where no WebSocket passes")
        .variables(&[env::ENABLE_SSE]).default("true");
    ENABLE_DASHBOARD = Setting::new("server.enable_dashboard", Kind::Switch, "Serve /dashboard")
        .variables(&[env::ENABLE_DASHBOARD]).default("true");
    CORS_ENABLED = Setting::new("server.cors_enabled", Kind::Switch, "Answer pages of the origins in server.allowed_origins, and of no other")
        .default("false");
    ALLOWED_ORIGINS = Setting::new("server.allowed_origins", Kind::List, "Origins such as https://ops.example whose pages may ask, beside our own");
    ALLOWED_HOSTS = Setting::new("server.allowed_hosts", Kind::List, "Values of Host that are answered, beside loopback and the pod's address");
    SERVER_TOKEN_FILE = Setting::new("server.token_file", Kind::File, "File with the bearer token for callers beyond loopback; without one they get probes, version and metrics only")
        .variables(&[env::SERVER_TOKEN_FILE]).flag("--server-token-file");
    ADDRESS = Setting::new("server.address", Kind::Text, "Address that the local server listens on")
        .default("0.0.0.0");
    HEADER_TIMEOUT = Setting::new("server.header_timeout", Kind::Duration(SECOND, 60 * SECOND), "Time for a request's head")
        .default("10s");
    RATE_LIMIT = Setting::new("server.rate_limit", Kind::Number(1, 10_000), "New connections per second")
        .default("50");

    WEBSOCKET_PORT = Setting::new("realtime.websocket_port", Kind::Number(0, 65535), "The same as agent.port: there is one port");
    SSE_HEARTBEAT = Setting::new("realtime.sse_heartbeat", Kind::Duration(SECOND, HOUR), "Silence after which an SSE client gets a comment")
        .default("30s");
    CONNECTION_TIMEOUT = Setting::new("realtime.connection_timeout", Kind::Duration(SECOND, 24 * HOUR), "Silence after which a realtime client that answers no ping is dropped")
        .default("5m");
    MAX_CONNECTIONS = Setting::new("realtime.max_connections", Kind::Number(1, 10_000), "Realtime clients at once")
        .default("100");

    IN_CLUSTER = Setting::new("kubernetes.in_cluster", Kind::Switch, "true: only the ServiceAccount's files; false: only a kubeconfig; otherwise whichever is there")
        .flag("--in-cluster");
    NAMESPACE = Setting::new("kubernetes.namespace", Kind::Text, "Namespace that the agent is in, where its events are written; the manifest sets the variable")
        .variables(&[env::POD_NAMESPACE]);
    KUBECONFIG = Setting::new("kubernetes.kubeconfig", Kind::File, "Kubeconfig of the cluster; otherwise the ServiceAccount, then kubectl's own")
        .flag("--kubeconfig");
    CONTEXT = Setting::new("kubernetes.context", Kind::Text, "Context in the kubeconfig")
        .flag("--context");
    ACCESS = Setting::new("kubernetes.access", Kind::Choice(&["readonly", "admin"]), "What the control plane may do")
        .variables(&[env::ACCESS]).flag("--access").default("readonly");
    IMPERSONATE = Setting::new("kubernetes.impersonate", Kind::Switch, "Run requests as the gateway's user, through Kubernetes impersonation")
        .variables(&[env::IMPERSONATE]).flag("--impersonate").default("false");

    LOG_LEVEL = Setting::new("logging.level", Kind::Text, "error, warn, info, debug or trace, also by module: info,uplink=debug")
        .variables(&[env::LOG_LEVEL]).flag("--log-level").default("info");
    LOG_FORMAT = Setting::new("logging.format", Kind::Choice(&["text", "json"]), "Shape of log lines; otherwise text on a terminal and json elsewhere")
        .variables(&[env::LOG_FORMAT]).flag("--log-format");

    HEALTH_MONITORING = Setting::new("features.health_monitoring", Kind::Switch, "Watch the components' health and serve it; without it heartbeats tell no memory and CPU")
        .default("true");
    RUNTIME_METRICS = Setting::new("features.runtime_metrics", Kind::Switch, "Serve what the process uses: /api/metrics/runtime and the channel metrics; /metrics is whole in any case")
        .default("true");
    FEATURE_DETECTION = Setting::new("features.feature_detection", Kind::Switch, "Find out what the cluster offers and serve it")
        .default("true");
    CONNECTIVITY_TESTING = Setting::new("features.connectivity_testing", Kind::Switch, "Test the ways out when asked")
        .default("true");
}
