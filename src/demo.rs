//! Gateway and agent in one process, on loopback, to be tried with kubectl.
//!
//! ```text
//!  kubectl ══TLS══▶ gateway (its own thread) ◀══WSS══ agent ──▶ sample cluster, or a kubeconfig's
//! ```
//!
//! Owns the composition, the files that kubectl needs, and what is printed. Owns not: any way
//! around the ordinary one: the agent registers, dials and verifies as everywhere. Invariants: all
//! listeners are on loopback; the files are readable by this user alone and removed at the end.

mod files;
mod gateway;
mod report;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::agent::{Agent, Settings, StartError};
use crate::cluster::{self, ConnectError, Credentials};
use crate::config::secret::{Secret, SecretError, SecretSource};
use crate::config::value::ApiUrl;
use crate::limits;
use crate::local;
use crate::policy::Access;
use crate::sample::{Sample, SampleError};
use crate::status::{ApiServer, Status};
use crate::tasks::Tasks;
use crate::uplink::Transports;
use files::Files;
use gateway::Running;
use report::Report;

/// What the demo is told.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// A cluster of the user's, instead of the sample.
    pub kubeconfig: Option<PathBuf>,
    /// A context in the kubeconfig.
    pub context: Option<String>,
    /// One JSON line instead of text.
    pub json: bool,
    /// Whether binary frames are offered.
    pub binary: bool,
}

/// Why there is no demo.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The gateway's part.
    #[error("the gateway did not start")]
    Gateway(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The sample cluster's part.
    #[error("the sample cluster did not start")]
    Sample(#[from] SampleError),
    /// The agent's part.
    #[error("the agent did not start")]
    Agent(#[from] StartError),
    /// The kubeconfig.
    #[error("the kubeconfig cannot be used")]
    Kubeconfig(#[from] ConnectError),
    /// The files for kubectl.
    #[error("the files for kubectl cannot be written")]
    Files(#[source] std::io::Error),
    /// The token that the gateway made.
    #[error("the gateway's token cannot be used")]
    Token(#[from] SecretError),
    /// The gateway's address.
    #[error("the gateway's address cannot be used: {0}")]
    Address(&'static str),
    /// The cluster of the kubeconfig.
    #[error("the cluster {cluster} does not answer: {message}")]
    Unreachable {
        /// Its context.
        cluster: String,
        /// Why.
        message: String,
    },
    /// The channel.
    #[error("the agent did not connect within {0:?}: {1}")]
    NotConnected(Duration, String),
    /// The agent ended by itself.
    #[error("the agent ended")]
    Ended,
}

/// The cluster that is shown.
struct Shown {
    /// `sample`, or the context.
    name: String,
    /// What the gateway calls it.
    id: String,
    config: cluster::Config,
    access: Access,
    /// Runs the sample, if it is that.
    _sample: Option<Sample>,
}

/// Runs the demo until `stop` fires.
///
/// # Errors
/// When a part does not start, or the cluster of the kubeconfig does not answer.
pub async fn run(options: Options, stop: CancellationToken) -> Result<(), DemoError> {
    let tasks = Tasks::new();
    let shown = shown(&options, &tasks).await?;
    let gateway = gateway::start(&shown.id)?;
    let outcome = serve(&options, &shown, &gateway, stop).await;
    // The agent has left by now, so that nobody is cut off.
    gateway.stop().await;
    tasks.stop();
    let _ = timeout(limits::LOCAL_GOODBYE, tasks.wait()).await;
    outcome
}

async fn shown(options: &Options, tasks: &Tasks) -> Result<Shown, DemoError> {
    let Options {
        kubeconfig,
        context,
        ..
    } = options;
    if kubeconfig.is_none() && context.is_none() {
        let sample = Sample::start(tasks).await?;
        return Ok(Shown {
            name: "sample".into(),
            id: "sample".into(),
            config: cluster::Config {
                credentials: Credentials::Direct {
                    url: sample
                        .url()
                        .parse()
                        .map_err(|_| DemoError::Address("the sample's"))?,
                    ca_pem: Some(sample.ca_pem().to_owned()),
                    token: Some(sample.token().clone()),
                },
            },
            access: Access::Readonly,
            _sample: Some(sample),
        });
    }
    let name = cluster::client::context(kubeconfig.clone(), context.clone())?;
    Ok(Shown {
        id: cluster_id(&name),
        config: cluster::Config {
            credentials: Credentials::Kubeconfig {
                path: kubeconfig.clone(),
                context: Some(name.clone()),
            },
        },
        name,
        // Its owner is who runs this, and hands out nothing but to themselves.
        access: Access::Admin,
        _sample: None,
    })
}

async fn serve(
    options: &Options,
    shown: &Shown,
    gateway: &Running,
    stop: CancellationToken,
) -> Result<(), DemoError> {
    let kubeconfig = gateway.kubeconfig(&shown.id);
    let files =
        Files::write(&gateway.ca_pem, &kubeconfig, &gateway.header()).map_err(DemoError::Files)?;
    let settings = Settings {
        api_url: ApiUrl::parse(&gateway.url).map_err(DemoError::Address)?,
        token: SecretSource::Given(Secret::token(&gateway.agent_token)?),
        ca_file: Some(files.ca()),
        // The gateway is on loopback.
        proxy: None,
        transports: Transports::default(),
        binary: options.binary,
        exit_when_refused: true,
        cluster_name: shown.name.clone(),
        labels: Default::default(),
        agent_id: None,
        cluster: shown.config.clone(),
        access: shown.access,
        impersonate: false,
        local: Some(local::Config::at(SocketAddr::from((
            Ipv4Addr::LOCALHOST,
            crate::config::PORT,
        )))),
        extensions: Default::default(),
        grace: limits::DEMO_GRACE,
        pod: None,
    };
    let agent = start(settings).await?;
    let local_url = agent
        .local_address()
        .map(|address| format!("http://{address}"));
    let status = agent.status();
    // A child, so that a failed start stops the agent and not the caller.
    let agent_stop = stop.child_token();
    let mut running = std::pin::pin!(agent.run(agent_stop.clone()));
    let outcome = tokio::select! {
        biased;
        _ = &mut running => {
            // Stopped before it was ready is no failure.
            return if stop.is_cancelled() { Ok(()) } else { Err(DemoError::Ended) };
        }
        ready = ready(&status, shown) => ready,
    };
    if let Err(error) = outcome {
        agent_stop.cancel();
        running.await;
        return Err(error);
    }
    let report = Report {
        kubeconfig: files.kubeconfig(),
        ca: files.ca(),
        header: files.header(),
        gateway_url: gateway.url.clone(),
        cluster_id: shown.id.clone(),
        cluster: shown.name.clone(),
        local_url,
    };
    report.print(options.json, &status.snapshot(), shown.access);
    running.await;
    if !options.json {
        report::goodbye();
    }
    if stop.is_cancelled() {
        Ok(())
    } else {
        Err(DemoError::Ended)
    }
}

/// Starts the agent, on a free port where the usual one is taken.
async fn start(mut settings: Settings) -> Result<Agent, StartError> {
    match Agent::start(settings.clone()).await {
        Err(StartError::Listen { .. }) => {
            let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            settings.local = Some(local::Config::at(free));
            Agent::start(settings).await
        }
        started => started,
    }
}

/// Waits until kubectl would work.
async fn ready(status: &Status, shown: &Shown) -> Result<(), DemoError> {
    let mut watch = status.watch();
    let all = watch.wait_for(|now| now.unready().is_empty());
    if let Ok(Ok(_)) = timeout(limits::DEMO_READY, all).await {
        return Ok(());
    }
    let now = status.snapshot();
    if let ApiServer::Down { message, .. } = now.api_server {
        return Err(DemoError::Unreachable {
            cluster: shown.name.clone(),
            message,
        });
    }
    let why = now
        .last_error
        .map_or_else(|| now.phase.as_str().to_owned(), |error| error.message);
    Err(DemoError::NotConnected(limits::DEMO_READY, why))
}

/// An id for the gateway out of a context's name: 1 to 63 of `a-z0-9-.`, no dash or dot at an end.
fn cluster_id(name: &str) -> String {
    let id: String = name
        .chars()
        .map(|c| c.to_ascii_lowercase())
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '.' {
                c
            } else {
                '-'
            }
        })
        .take(63)
        .collect();
    let id = id.trim_matches(['-', '.']);
    if id.is_empty() {
        "cluster".into()
    } else {
        id.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_context_has_an_id_that_the_gateway_takes() {
        for (context, id) in [
            ("kind-dev", "kind-dev"),
            ("admin@Prod.EU", "admin-prod.eu"),
            (
                "arn:aws:eks:eu-1:1:cluster/a",
                "arn-aws-eks-eu-1-1-cluster-a",
            ),
            ("---", "cluster"),
            ("größe", "gr--e"),
        ] {
            assert_eq!(cluster_id(context), id);
        }
        assert_eq!(cluster_id(&"x".repeat(99)).len(), 63);
    }
}
