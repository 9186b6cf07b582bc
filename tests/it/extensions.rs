//! Extension points, between a scripted API server and targets on real sockets.

mod channels;
mod checks;
mod documented;
mod handlers;
mod refused;
mod shown;

use std::sync::Arc;

use pipeops_agent::cluster::{self, Cluster, Credentials};
use pipeops_agent::extensions::{Config, Extensions, Invalid, Live};
use pipeops_agent::health::{self, Monitor};
use pipeops_agent::metrics::Metrics;
use pipeops_agent::policy::{self, Access, Policy};
use pipeops_agent::status::{HealthState, Status};
use pipeops_agent::tasks::Tasks;
use serde_json::Value;

use crate::support::apiserver::ApiServer;
use crate::support::eventually;

fn read(config: Value, access: Access) -> Result<Extensions, Invalid> {
    let config: Config = serde_json::from_value(config).unwrap();
    Extensions::read(&config, &Policy::new(policy::Config { access }))
}

/// Extensions that have begun, in front of this API server.
struct Running {
    status: Status,
    monitor: Monitor,
    metrics: Arc<Metrics>,
    live: Vec<Live>,
    tasks: Tasks,
}

async fn start(config: Value, server: &ApiServer) -> Running {
    let tasks = Tasks::new();
    let credentials = Credentials::Direct {
        url: format!("http://{}", server.address).parse().unwrap(),
        ca_pem: None,
        token: Some("agent-token".to_owned().into()),
    };
    let cluster = Cluster::connect(cluster::Config { credentials }, &tasks)
        .await
        .unwrap();
    let status = Status::default();
    let monitor = Monitor::new(cluster.clone(), status.clone(), health::Config::default());
    let metrics = Arc::new(Metrics::default());
    let extensions = read(config, Access::Readonly).unwrap();
    let live = extensions.channels().to_vec();
    extensions.start("prod", &cluster, &monitor, &metrics, &tasks);
    Running {
        status,
        monitor,
        metrics,
        live,
        tasks,
    }
}

impl Running {
    /// The state and the message of a component, once there was a look.
    fn component(&self, name: &str) -> Option<(HealthState, String)> {
        let health = self.status.snapshot().health;
        let found = health.components.into_iter().map(|known| known.finding);
        let found = found.into_iter().find(|found| found.component == name)?;
        Some((found.state, found.message))
    }

    async fn comes_to(&self, name: &str, state: HealthState, message: &str) {
        let wanted = Some((state, message.to_owned()));
        let what = format!("{name} {state:?} {message}");
        eventually(&what, || self.component(name) == wanted).await;
    }

    /// Ends everything, which must not take long.
    async fn stop(self) {
        self.tasks.stop();
        crate::support::soon(self.tasks.wait()).await;
    }
}

/// A folder that goes with its test.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("pipeops-extensions-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Writes a file, and says where it is.
    fn file(&self, name: &str, text: &str) -> std::path::PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
