//! The demo's gateway, on a thread and a runtime of its own.
//!
//! Owns its certificate and tokens, made on the spot and kept in memory. Invariant: it has its own
//! runtime, as in production: what the gateway does never waits for the agent, nor the reverse.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::DemoError;
use crate::gateway::kubeconfig::Kubeconfig;
use crate::gateway::tls::dev::DevCertificate;
use crate::gateway::{self, Gateway};
use crate::limits;

/// The user of the demo.
const USER: &str = "demo";

/// A gateway that listens.
pub(super) struct Running {
    pub(super) url: String,
    pub(super) ca_pem: String,
    pub(super) agent_token: String,
    user_token: String,
    stop: CancellationToken,
    ended: oneshot::Receiver<()>,
}

/// What the thread tells once it listens.
struct Listening {
    address: SocketAddr,
    agent_token: String,
    user_token: String,
}

type Failure = Box<dyn Error + Send + Sync>;

/// Starts it, and waits until it listens.
pub(super) fn start(cluster: &str) -> Result<Running, DemoError> {
    let failed = |error: Failure| DemoError::Gateway(error);
    let certificate =
        DevCertificate::make(&["localhost", "127.0.0.1"]).map_err(|error| failed(error.into()))?;
    let mut config = gateway::Config::new(certificate.certificate());
    config.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    config.ca_pem = Some(certificate.ca_pem.clone());
    config.grace = limits::DEMO_GRACE;

    let stop = CancellationToken::new();
    let (listens, listening) = std::sync::mpsc::sync_channel(1);
    let (end, ended) = oneshot::channel();
    let (cluster, halt) = (cluster.to_owned(), stop.clone());
    std::thread::Builder::new()
        .name("gateway".into())
        .spawn(move || {
            serve(config, &cluster, &listens, halt);
            // Nobody waits any more: then nobody is interested.
            let _ = end.send(());
        })
        .map_err(|error| failed(error.into()))?;
    let Listening {
        address,
        agent_token,
        user_token,
    } = listening
        .recv()
        .map_err(|error| failed(error.into()))
        .and_then(|told| told.map_err(failed))?;
    Ok(Running {
        url: format!("https://{address}"),
        ca_pem: certificate.ca_pem,
        agent_token,
        user_token,
        stop,
        ended,
    })
}

fn serve(
    config: gateway::Config,
    cluster: &str,
    listens: &std::sync::mpsc::SyncSender<Result<Listening, Failure>>,
    stop: CancellationToken,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = listens.send(Err(error.into()));
            return;
        }
    };
    runtime.block_on(async {
        match bind(config, cluster) {
            Ok((gateway, told)) => {
                let _ = listens.send(Ok(told));
                gateway.run(stop).await;
            }
            Err(error) => {
                let _ = listens.send(Err(error));
            }
        }
    });
}

fn bind(config: gateway::Config, cluster: &str) -> Result<(Gateway, Listening), Failure> {
    let gateway = Gateway::bind(config)?;
    let address = gateway.local_addr()?;
    let tokens = gateway.tokens();
    let told = Listening {
        address,
        agent_token: tokens.add_agent(cluster)?,
        user_token: tokens.add_user(USER, &[], &[cluster])?,
    };
    Ok((gateway, told))
}

impl Running {
    /// A kubeconfig for the demo's user.
    pub(super) fn kubeconfig(&self, cluster: &str) -> String {
        Kubeconfig {
            gateway: &self.url,
            ca_pem: Some(&self.ca_pem),
            cluster,
            user: USER,
            token: &self.user_token,
        }
        .render()
    }

    /// The header with which the demo's user may use curl.
    pub(super) fn header(&self) -> String {
        format!("Authorization: Bearer {}\n", self.user_token)
    }

    /// Stops it and waits for its thread.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        // Its own grace ends it first; this is for a defect.
        let _ = timeout(limits::DEMO_GRACE * 4, self.ended).await;
    }
}
