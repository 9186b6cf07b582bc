//! From an opened stream to its one end, between a gateway's session and an agent's.

mod admission;
mod endings;
mod keys;
mod once;

use pipeops_agent::cluster::{Cluster, Config, Credentials};
use pipeops_agent::tasks::Tasks;

use crate::support::apiserver::ApiServer;
use crate::support::pair::{Pair, Setting};

/// A pair whose agent leads to `server`.
pub(crate) async fn pair(server: &ApiServer, tasks: &Tasks, setting: Setting) -> Pair {
    let credentials = Credentials::Direct {
        url: format!("http://{}", server.address).parse().unwrap(),
        ca_pem: None,
        token: Some("agent-token".to_owned().into()),
    };
    let cluster = Cluster::connect(Config { credentials }, tasks)
        .await
        .expect("credentials given directly are usable");
    Pair::new(cluster, tasks, setting).await
}
