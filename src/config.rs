//! The agent's configuration: flags over environment over defaults, and every error at once.
//!
//! Owns the settings, their names, defaults and meaning. Owns not: what a setting does. A file
//! will stand between environment and defaults. Invariant: a [`Config`] is whole and valid; what
//! is wrong is said for all settings together, each with its remedy.

pub mod env;
pub mod proxy;
pub mod secret;
pub mod value;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::announcer::Config as Pod;
use crate::telemetry::{self, Format, Level};
use env::Env;
use proxy::Proxy;
use secret::{Secret, SecretSource};
use value::{ApiUrl, InvalidValue};

/// Flags that were given, by name with the dashes. A switch has the value `true`.
pub type Flags = BTreeMap<&'static str, String>;

/// Everything that `pipeops-agent run` is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// The name that the operator gives the cluster.
    pub cluster_name: String,
    /// The agent's id; otherwise derived from the cluster's UID.
    pub agent_id: Option<String>,
    /// The way to the control plane.
    pub uplink: Uplink,
    /// The way to the API server.
    pub kubernetes: Kubernetes,
    /// Where the local server listens.
    pub listen: SocketAddr,
    /// What is logged.
    pub telemetry: telemetry::Config,
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

/// The way to the API server, and what may be done there.
#[derive(Debug, Clone)]
pub struct Kubernetes {
    /// Where its credentials come from.
    pub credentials: Credentials,
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

/// Where the control plane is unless told otherwise.
pub const API_URL: &str = "https://api.pipeops.io";
/// The cluster's name unless told otherwise.
pub const CLUSTER_NAME: &str = "default-cluster";
/// The local server's port unless told otherwise.
pub const PORT: u16 = 8080;

impl Config {
    /// Reads everything.
    ///
    /// # Errors
    /// With everything that is wrong.
    pub fn load(flags: &Flags, env: &impl Env) -> Result<Self, ConfigErrors> {
        let mut reader = Reader {
            flags,
            env,
            errors: Vec::new(),
        };
        let api_url = reader.api_url();
        let token = reader.token();
        let ca_file = reader.ca_file();
        let proxy = api_url.as_ref().and_then(|url| reader.proxy(url));
        let cluster_name = reader.cluster_name();
        let agent_id = reader.agent_id();
        let kubernetes = Kubernetes {
            credentials: reader.credentials(),
            access: reader.access(),
            impersonate: reader.switch("--impersonate", Some(env::IMPERSONATE)),
        };
        let listen = reader.listen();
        let telemetry = reader.telemetry();
        let exit_when_refused = reader.switch("--exit-when-refused", Some(env::EXIT_WHEN_REFUSED));
        let binary = !reader.switch("--no-binary", None);
        match (api_url, token) {
            (Some(api_url), Some(token)) if reader.errors.is_empty() => Ok(Self {
                cluster_name,
                agent_id,
                uplink: Uplink {
                    api_url,
                    token,
                    ca_file,
                    proxy,
                    exit_when_refused,
                    binary,
                },
                kubernetes,
                listen,
                telemetry,
            }),
            _ => Err(ConfigErrors(reader.errors)),
        }
    }
}

/// Reads only what is to be logged; for programs with a configuration of their own.
///
/// # Errors
/// With everything that is wrong.
pub fn telemetry(flags: &Flags, env: &impl Env) -> Result<telemetry::Config, ConfigErrors> {
    let mut reader = Reader {
        flags,
        env,
        errors: Vec::new(),
    };
    let telemetry = reader.telemetry();
    if reader.errors.is_empty() {
        Ok(telemetry)
    } else {
        Err(ConfigErrors(reader.errors))
    }
}

/// Reads only where the local server listens; for whoever asks it.
///
/// # Errors
/// When that is no port.
pub fn port(flags: &Flags, env: &impl Env) -> Result<u16, ConfigErrors> {
    let mut reader = Reader {
        flags,
        env,
        errors: Vec::new(),
    };
    let listen = reader.listen();
    if reader.errors.is_empty() {
        Ok(listen.port())
    } else {
        Err(ConfigErrors(reader.errors))
    }
}

/// The pod that the program runs in, where the manifest says it.
pub fn pod(env: &impl Env) -> Option<Pod> {
    let name = |variable| {
        let text = env.var(variable).ok().flatten()?;
        // A name is written into paths; another text would be no name.
        value::is_id(&text).then_some(text)
    };
    Some(Pod {
        namespace: name(env::POD_NAMESPACE)?,
        name: name(env::POD_NAME)?,
    })
}

/// A value and the name under which it was given.
struct Given {
    name: &'static str,
    text: String,
}

struct Reader<'a, E> {
    flags: &'a Flags,
    env: &'a E,
    errors: Vec<InvalidValue>,
}

impl<E: Env> Reader<'_, E> {
    fn given(&mut self, flag: &'static str, variable: Option<&'static str>) -> Option<Given> {
        if let Some(text) = self.flags.get(flag) {
            let text = text.clone();
            return Some(Given { name: flag, text });
        }
        let name = variable?;
        match self.env.var(name) {
            Ok(text) => text.map(|text| Given { name, text }),
            Err(env::NotUnicode) => {
                self.wrong(name, "it is not Unicode", "write it in UTF-8");
                None
            }
        }
    }

    fn wrong(&mut self, name: &'static str, problem: impl Into<String>, remedy: impl Into<String>) {
        self.errors.push(InvalidValue {
            name,
            problem: problem.into(),
            remedy: remedy.into(),
        });
    }

    fn api_url(&mut self) -> Option<ApiUrl> {
        let given = self
            .given("--api-url", Some(env::API_URL))
            .unwrap_or(Given {
                name: env::API_URL,
                text: API_URL.into(),
            });
        match ApiUrl::parse(&given.text) {
            Ok(url) => Some(url),
            Err(problem) => {
                self.wrong(given.name, problem, format!("write it like {API_URL}"));
                None
            }
        }
    }

    fn token(&mut self) -> Option<SecretSource> {
        if let Some(file) = self.given("--token-file", Some(env::TOKEN_FILE)) {
            let source = SecretSource::File(file.text.into());
            return match source.read() {
                Ok(_) => Some(source),
                Err(error) => {
                    let problem = telemetry::error_chain(&error).to_string();
                    self.wrong(
                        file.name,
                        problem,
                        "name a file that this user may read and that holds the token alone",
                    );
                    None
                }
            };
        }
        match self.env.var(env::TOKEN) {
            Ok(Some(text)) => match Secret::token(&text) {
                Ok(secret) => return Some(SecretSource::Given(secret)),
                Err(error) => self.wrong(
                    env::TOKEN,
                    error.to_string(),
                    "copy the token again, without spaces or line ends",
                ),
            },
            Ok(None) => self.wrong(
                env::TOKEN_FILE,
                "there is no token",
                format!(
                    "name a file that holds it in {} or --token-file, or set {}",
                    env::TOKEN_FILE,
                    env::TOKEN
                ),
            ),
            Err(env::NotUnicode) => {
                self.wrong(env::TOKEN, "it is not Unicode", "copy the token again");
            }
        }
        None
    }

    fn ca_file(&mut self) -> Option<PathBuf> {
        let given = self.given("--ca-file", Some(env::CA_FILE))?;
        let path = PathBuf::from(given.text);
        if let Err(problem) = has_certificate(&path) {
            self.wrong(
                given.name,
                problem,
                "name a file of PEM certificates, or leave it out to trust public authorities only",
            );
        }
        Some(path)
    }

    /// The setting of our own first, then what every program on the host reads; either way the list
    /// of exceptions holds.
    fn proxy(&mut self, url: &ApiUrl) -> Option<Proxy> {
        let own = self.given("--proxy", Some(env::PROXY));
        let given = own.or_else(|| self.first_of(&env::PROXIES));
        let file = self.given(
            "--proxy-credentials-file",
            Some(env::PROXY_CREDENTIALS_FILE),
        );
        let list = self.given("--no-proxy", Some(env::PIPEOPS_NO_PROXY));
        let list = list.or_else(|| self.first_of(&env::NO_PROXIES));
        let given = given?;
        if given.text == "none" {
            return None;
        }
        if given.name.starts_with("--") && given.text.contains('@') {
            let remedy = "name a file with --proxy-credentials-file";
            self.wrong(
                given.name,
                "a command line is no place for a password",
                remedy,
            );
            return None;
        }
        let proxy = match Proxy::parse(&given.text) {
            Ok(proxy) => proxy,
            Err(problem) => {
                let remedy = "write it like http://proxy.example:3128, or none to go without";
                self.wrong(given.name, problem, remedy);
                return None;
            }
        };
        let proxy = match file {
            None => proxy,
            Some(file) => {
                let proxy = proxy.with_credentials_file(file.text.into());
                if let Err(error) = proxy.authorization() {
                    let problem = telemetry::error_chain(&error).to_string();
                    let remedy = "name a file that holds user:password in one line";
                    self.wrong(file.name, problem, remedy);
                }
                proxy
            }
        };
        let excepted = list.is_some_and(|list| proxy::is_excepted(&list.text, url));
        (!excepted).then_some(proxy)
    }

    fn first_of(&mut self, names: &[&'static str]) -> Option<Given> {
        names.iter().find_map(|name| self.given("", Some(name)))
    }

    fn cluster_name(&mut self) -> String {
        let Some(given) = self.given("--cluster-name", Some(env::CLUSTER_NAME)) else {
            return CLUSTER_NAME.into();
        };
        if given.text.len() > 253 || given.text.chars().any(char::is_control) {
            self.wrong(
                given.name,
                "it is longer than 253 bytes or has control characters",
                "choose a short name",
            );
        }
        given.text
    }

    fn agent_id(&mut self) -> Option<String> {
        let given = self.given("--agent-id", Some(env::AGENT_ID))?;
        if !value::is_id(&given.text) {
            self.wrong(
                given.name,
                "it is not an id",
                "use up to 253 letters, digits, dots, dashes and underscores, or leave it out",
            );
        }
        Some(given.text)
    }

    fn access(&mut self) -> Access {
        let Some(given) = self.given("--access", Some(env::ACCESS)) else {
            return Access::default();
        };
        match given.text.as_str() {
            "readonly" => Access::Readonly,
            "admin" => Access::Admin,
            other => {
                let problem = format!("there is no preset {other:?}");
                self.wrong(given.name, problem, "choose readonly or admin");
                Access::default()
            }
        }
    }

    fn credentials(&mut self) -> Credentials {
        let path = self.flags.get("--kubeconfig").map(PathBuf::from);
        let context = self.flags.get("--context").cloned();
        let in_cluster = self.switch("--in-cluster", None);
        if let Some(path) = path.as_deref().filter(|path| !path.is_file()) {
            let problem = format!("there is no file {}", path.display());
            self.wrong("--kubeconfig", problem, "name a kubeconfig");
        }
        match (in_cluster, path, context) {
            (true, None, None) => Credentials::InCluster,
            (true, _, _) => {
                self.wrong(
                    "--in-cluster",
                    "it excludes --kubeconfig and --context",
                    "give either",
                );
                Credentials::InCluster
            }
            (false, None, None) => Credentials::Auto,
            (false, path, context) => Credentials::Kubeconfig { path, context },
        }
    }

    fn listen(&mut self) -> SocketAddr {
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        if let Some(given) = self.given("--listen", None) {
            return given.text.parse().unwrap_or_else(|_| {
                self.wrong(
                    given.name,
                    format!("{:?} is not an address and port", given.text),
                    "write it like 127.0.0.1:8080",
                );
                SocketAddr::new(any, PORT)
            });
        }
        let port = match self.given("--port", Some(env::PORT)) {
            None => PORT,
            // The kubelet sets this for a Service that is called `pipeops`; nobody meant it.
            Some(given) if given.name == env::PORT && given.text.starts_with("tcp://") => PORT,
            Some(given) => given.text.parse().unwrap_or_else(|_| {
                self.wrong(
                    given.name,
                    format!("{:?} is not a port", given.text),
                    "choose a number up to 65535",
                );
                PORT
            }),
        };
        SocketAddr::new(any, port)
    }

    fn telemetry(&mut self) -> telemetry::Config {
        let level = match self.given("--log-level", Some(env::LOG_LEVEL)) {
            None => Level::default(),
            Some(given) => Level::parse(&given.text).unwrap_or_else(|part| {
                self.wrong(
                    given.name,
                    format!("{part:?} is not a level"),
                    "choose error, warn, info, debug or trace, or info,uplink=debug",
                );
                Level::default()
            }),
        };
        let format = match self.given("--log-format", Some(env::LOG_FORMAT)) {
            None => None,
            Some(given) => match given.text.as_str() {
                "text" => Some(Format::Text),
                "json" => Some(Format::Json),
                other => {
                    let problem = format!("{other:?} is not a format");
                    self.wrong(given.name, problem, "choose text or json");
                    None
                }
            },
        };
        let color = self.env.var(env::NO_COLOR) == Ok(None);
        telemetry::Config {
            level,
            format,
            color,
        }
    }

    fn switch(&mut self, flag: &'static str, variable: Option<&'static str>) -> bool {
        let Some(given) = self.given(flag, variable) else {
            return false;
        };
        value::boolean(&given.text).unwrap_or_else(|| {
            self.wrong(
                given.name,
                format!("{:?} is neither true nor false", given.text),
                "choose one",
            );
            false
        })
    }
}

fn has_certificate(path: &Path) -> Result<(), String> {
    let text = std::fs::read(path).map_err(|error| format!("it cannot be read: {error}"))?;
    let mark = b"-----BEGIN CERTIFICATE-----";
    if text.windows(mark.len()).any(|part| part == mark) {
        Ok(())
    } else {
        Err("it holds no PEM certificate".into())
    }
}

#[cfg(test)]
mod tests;
