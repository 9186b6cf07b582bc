//! Flags and subcommands of both programs, and what `--help` teaches.
//!
//! Owns names and text. Owns not: what a value means (`config`). Invariant: a secret is never a
//! flag, because command lines are public.

use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

/// What stands below the flags of `pipeops-agent --help`.
const AFTER: &str = "\
Examples:
  See it work, with nothing else installed but kubectl:
    pipeops-agent demo
  The same against a cluster of your own:
    pipeops-agent demo --kubeconfig ~/.kube/config --context kind-dev
  Find out what stands in its way:
    pipeops-agent check --api-url https://gateway.example:8443 --token-file ./agent.token
  Run the agent by hand:
    PIPEOPS_TOKEN_FILE=./agent.token pipeops-agent --api-url https://gateway.example:8443 \\
      --ca-file ./ca.pem --kubeconfig ~/.kube/config

Environment (a flag wins over its variable, and that over the file; docs/configuration.md):
  PIPEOPS_API_URL            control plane, https only [https://api.pipeops.io]
  PIPEOPS_TOKEN_FILE         file with the agent's token, re-read when it is replaced
  PIPEOPS_TOKEN              the token itself, if there is no file
  PIPEOPS_CA_FILE            PEM authorities to trust beside the public ones
  PIPEOPS_PROXY              proxy to it, or none [HTTPS_PROXY, https_proxy, ALL_PROXY, all_proxy]
  PIPEOPS_NO_PROXY           hosts and networks reached without it [NO_PROXY, no_proxy]
  PIPEOPS_PROXY_CREDENTIALS_FILE  file with user:password for the proxy
  PIPEOPS_CLUSTER_NAME       name of the cluster [default-cluster]
  PIPEOPS_AGENT_ID           id of the agent [derived from the cluster]
  PIPEOPS_ACCESS             readonly or admin [readonly]
  PIPEOPS_IMPERSONATE        run requests as the gateway's user [false]
  PIPEOPS_LOG_LEVEL          error, warn, info, debug, or info,uplink=debug [info]
  PIPEOPS_LOG_FORMAT         text or json [text on a terminal]
  PIPEOPS_PORT               port of /health, /ready, /version, /metrics [8080]
  PIPEOPS_EXIT_WHEN_REFUSED  exit with 3 when refused for good [false]
  PIPEOPS_ENABLE_WEBSOCKET   serve /ws [true]
  PIPEOPS_ENABLE_SSE         serve /api/realtime/* [true]
  PIPEOPS_ENABLE_DASHBOARD   serve /dashboard [true]
  PIPEOPS_SERVER_TOKEN_FILE  file with the bearer token for callers beyond loopback
  PIPEOPS_CONFIG             configuration file [$HOME/.pipeops-agent.yaml, else
                             /etc/pipeops/agent.yaml]
  PIPEOPS_TERMINATION_LOG    file that gets the last fatal line, if it exists
                             [/dev/termination-log]
  PIPEOPS_POD_NAME, PIPEOPS_POD_NAMESPACE
                             own pod: tell of the channel by events on its Deployment

Exit codes:
  0  drained after SIGTERM or SIGINT      2    usage or configuration
  1  failure                              3    refused for good, with --exit-when-refused
                                          130, 143  a second SIGINT or SIGTERM";

/// Connects a Kubernetes cluster that nobody can dial into to a control plane, through one
/// outbound connection. It listens for nothing but probes and metrics, and does only what the
/// cluster's owner allows (--access).
#[derive(Debug, Parser)]
#[command(
    name = "pipeops-agent",
    version,
    after_help = AFTER,
    args_conflicts_with_subcommands = true,
    max_term_width = 100
)]
pub struct Agent {
    /// What to do; `run` unless given.
    #[command(subcommand)]
    pub command: Option<AgentCommand>,
    /// The flags of `run`.
    #[command(flatten)]
    pub run: Run,
}

/// The subcommands of `pipeops-agent`.
#[derive(Debug, Subcommand)]
pub enum AgentCommand {
    /// Run the agent (the default)
    Run(Box<Run>),
    /// Print the configuration in force, each value with its source; secrets are not shown
    Config(Box<ShowConfig>),
    /// Run gateway and agent on loopback, and print the kubectl line to try
    #[cfg(feature = "demo")]
    Demo(Demo),
    /// Check everything that the agent needs, and name what stands in the way
    Check(Box<Check>),
    /// Ask the agent on this machine whether it is alive; exit code 1 when it is not
    Healthcheck(Healthcheck),
    /// Print what the agent on this machine tells of itself
    Status(Status),
    /// Print the roles that the agent's account needs in the cluster, as YAML
    Rbac(Rbac),
    /// Print version, protocols and features
    Version {
        /// In what shape
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// Print a completion script
    Completions {
        /// For which shell
        shell: Shell,
    },
}

/// The flags of `pipeops-agent run`.
#[derive(Debug, Clone, Default, Args)]
pub struct Run {
    /// Configuration file; otherwise ~/.pipeops-agent.yaml, else /etc/pipeops/agent.yaml
    #[arg(long, value_name = "FILE")]
    pub config: Option<String>,
    /// Control plane, https only
    #[arg(long, value_name = "URL")]
    pub api_url: Option<String>,
    /// File with the agent's token; re-read when it is replaced
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<String>,
    /// PEM authorities to trust beside the public ones
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<String>,
    /// Proxy to the control plane, such as proxy.example:3128, or none; HTTPS_PROXY unless
    /// given. A password belongs into --proxy-credentials-file
    #[arg(long, value_name = "URL")]
    pub proxy: Option<String>,
    /// Hosts, suffixes and networks that are reached without the proxy; NO_PROXY unless given
    #[arg(long, value_name = "LIST")]
    pub no_proxy: Option<String>,
    /// File with user:password for the proxy; re-read when it is replaced
    #[arg(long, value_name = "FILE")]
    pub proxy_credentials_file: Option<String>,
    /// Name of the cluster
    #[arg(long, value_name = "NAME")]
    pub cluster_name: Option<String>,
    /// Id of the agent; otherwise derived from the cluster, so that replicas agree
    #[arg(long, value_name = "ID")]
    pub agent_id: Option<String>,
    /// What the control plane may do: readonly or admin
    #[arg(long, value_name = "PRESET")]
    pub access: Option<String>,
    /// Kubeconfig of the cluster; otherwise the ServiceAccount, then kubectl's own
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<String>,
    /// Context in the kubeconfig
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// Use the ServiceAccount's files, and nothing else
    #[arg(long)]
    pub in_cluster: bool,
    /// Run requests as the gateway's user, through Kubernetes impersonation
    #[arg(long)]
    pub impersonate: bool,
    /// File with the bearer token for callers of the local server beyond loopback
    #[arg(long, value_name = "FILE")]
    pub server_token_file: Option<String>,
    /// Port of the local server
    #[arg(long, value_name = "PORT")]
    pub port: Option<String>,
    /// The same with its address, such as 127.0.0.1:8080
    #[arg(long, value_name = "ADDRESS", conflicts_with = "port")]
    pub listen: Option<String>,
    /// Exit with code 3 when the control plane refuses the agent for good
    #[arg(long)]
    pub exit_when_refused: bool,
    /// Do not offer binary frames (tests)
    #[arg(long, hide = true)]
    pub no_binary: bool,
    /// What is logged.
    #[command(flatten)]
    pub log: Log,
}

/// The flags of `pipeops-agent check`: those of `run`, whose way is checked, and its own.
#[derive(Debug, Clone, Args)]
pub struct Check {
    /// What `run` would be told.
    #[command(flatten)]
    pub run: Run,
    /// In what shape
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
    /// Try again until nothing fails, for at most so long, such as 2m
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub wait: Option<Duration>,
    /// How long a channel is held without a byte, to find what cuts it; 0s not at all
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "5s")]
    pub idle: Duration,
}

/// A duration with its unit: `500ms`, `30s`, `2m`, `1h`.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("write it like 30s or 2m".into()),
    };
    let number: u32 = number.parse().map_err(|_| "write it like 30s or 2m")?;
    Ok(Duration::from_millis(u64::from(number) * unit))
}

/// The flags of `pipeops-agent config`.
#[derive(Debug, Clone, Args)]
pub struct ShowConfig {
    /// In what shape
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
    /// Print the JSON Schema of the configuration file instead
    #[arg(long)]
    pub schema: bool,
    /// Those of `run`, to see what they would change.
    #[command(flatten)]
    pub run: Run,
}

/// The flags of `pipeops-agent healthcheck`.
#[derive(Debug, Clone, Args)]
pub struct Healthcheck {
    /// Port of the agent's local server; otherwise as `run` would choose it
    #[arg(long, value_name = "PORT")]
    pub port: Option<String>,
    /// Ask whether it is ready: connected, and the API server answers
    #[arg(long)]
    pub ready: bool,
}

/// The flags of `pipeops-agent status`.
#[derive(Debug, Clone, Args)]
pub struct Status {
    /// Port of the agent's local server; otherwise as `run` would choose it
    #[arg(long, value_name = "PORT")]
    pub port: Option<String>,
    /// In what shape
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// The flags of `pipeops-agent rbac`.
#[derive(Debug, Clone, Args)]
pub struct Rbac {
    /// What the control plane may do: readonly or admin
    #[arg(long, value_name = "PRESET", default_value = "readonly")]
    pub access: String,
    /// Where the agent's account is
    #[arg(long, value_name = "NAME", default_value = "pipeops-system")]
    pub namespace: String,
    /// Also what impersonation needs
    #[arg(long)]
    pub impersonate: bool,
}

/// What is logged.
#[derive(Debug, Clone, Default, Args)]
pub struct Log {
    /// error, warn, info, debug or trace, also by module: info,uplink=debug
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// text or json
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
}

/// The flags of `pipeops-agent demo`.
#[cfg(feature = "demo")]
#[derive(Debug, Clone, Args)]
pub struct Demo {
    /// Reach this kubeconfig's cluster instead of the built-in sample, with access admin
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<std::path::PathBuf>,
    /// Context in the kubeconfig
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// `json` prints one line on standard output when all is ready, and nothing else there
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
    /// Do not offer binary frames (tests)
    #[arg(long, hide = true)]
    pub no_binary: bool,
    /// What is logged; warnings unless given.
    #[command(flatten)]
    pub log: Log,
}

/// In what shape something is printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

impl Run {
    /// The flags that were given, by name.
    pub fn given(self) -> Vec<(&'static str, String)> {
        let texts = [
            ("--config", self.config),
            ("--api-url", self.api_url),
            ("--token-file", self.token_file),
            ("--ca-file", self.ca_file),
            ("--proxy", self.proxy),
            ("--no-proxy", self.no_proxy),
            ("--proxy-credentials-file", self.proxy_credentials_file),
            ("--cluster-name", self.cluster_name),
            ("--agent-id", self.agent_id),
            ("--access", self.access),
            ("--kubeconfig", self.kubeconfig),
            ("--context", self.context),
            ("--server-token-file", self.server_token_file),
            ("--port", self.port),
            ("--listen", self.listen),
        ];
        let switches = [
            ("--in-cluster", self.in_cluster),
            ("--impersonate", self.impersonate),
            ("--exit-when-refused", self.exit_when_refused),
            ("--no-binary", self.no_binary),
        ];
        let switched = switches.into_iter().filter(|(_, on)| *on);
        let given = texts
            .into_iter()
            .filter_map(|(flag, text)| Some((flag, text?)));
        given
            .chain(switched.map(|(flag, _)| (flag, "true".to_owned())))
            .chain(self.log.given())
            .collect()
    }
}

impl Log {
    /// The flags that were given, by name.
    pub fn given(self) -> Vec<(&'static str, String)> {
        let texts = [
            ("--log-level", self.log_level),
            ("--log-format", self.log_format),
        ];
        let given = texts
            .into_iter()
            .filter_map(|(flag, text)| Some((flag, text?)));
        given.collect()
    }
}

impl Agent {
    /// Reads the command line; prints help and errors, and ends the program, by itself.
    pub fn from_command_line() -> Self {
        Self::parse()
    }
}

/// The completion script of `pipeops-agent`.
pub fn completions(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Agent::command(), "pipeops-agent", &mut script);
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Agent::command().debug_assert();
    }

    #[test]
    fn run_is_the_default_and_gives_only_what_was_given() {
        let bare = Agent::try_parse_from(["pipeops-agent"]).unwrap();
        assert!(bare.command.is_none() && bare.run.given().is_empty());
        let line = ["pipeops-agent", "--access", "admin", "--impersonate"];
        let given = Agent::try_parse_from(line).unwrap().run.given();
        let expected = [("--access", "admin"), ("--impersonate", "true")];
        assert_eq!(given, expected.map(|(flag, text)| (flag, text.to_owned())));
        let line = ["pipeops-agent", "run", "--log-level", "debug"];
        let Some(AgentCommand::Run(run)) = Agent::try_parse_from(line).unwrap().command else {
            panic!("run was asked for");
        };
        assert_eq!(run.given(), [("--log-level", "debug".to_owned())]);
    }

    #[test]
    fn no_flag_takes_a_token() {
        for command in std::iter::once(&Agent::command()).chain(Agent::command().get_subcommands())
        {
            for argument in command.get_arguments() {
                let name = argument.get_id().as_str();
                assert!(
                    !name.contains("token") || name.ends_with("_file"),
                    "{name} would put a secret on a command line"
                );
            }
        }
    }

    #[test]
    fn help_teaches_every_variable_and_exit_code() {
        let help = Agent::command().render_long_help().to_string();
        for name in crate::config::env::ALL {
            assert!(*name == "NO_COLOR" || help.contains(name), "{name}");
        }
        for code in ["0 ", "1 ", "2 ", "3 ", "130", "143"] {
            assert!(help.contains(code), "{code}");
        }
    }
}
