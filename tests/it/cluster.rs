//! The way to the API server: streaming, upgrades, credentials, failures.

mod credentials;
mod follow;
mod logs;
mod objects;
mod proxy;
mod records;
mod upgrade;

use http::Method;
use pipeops_agent::cluster::{
    Answer, AnswerBody, Cluster, ClusterError, Config, Credentials, Outgoing, Upload,
};
use pipeops_agent::kubeapi::{RequestPath, Upgrade};
use pipeops_agent::tasks::Tasks;

use crate::support::apiserver::ApiServer;

/// A cluster that leads to `server` with the token `agent-token`.
pub(crate) async fn cluster(server: &ApiServer, tasks: &Tasks) -> Cluster {
    let credentials = Credentials::Direct {
        url: format!("http://{}", server.address).parse().unwrap(),
        ca_pem: None,
        token: Some("agent-token".to_owned().into()),
    };
    Cluster::connect(Config { credentials }, tasks)
        .await
        .expect("credentials given directly are usable")
}

/// A request, before its path is borrowed.
struct Ask {
    path: RequestPath,
    headers: Vec<(String, String)>,
    upload: Option<Upload>,
}

impl Ask {
    fn new(method: &Method, path: &str) -> Self {
        Self {
            path: RequestPath::parse(method, path, None, None).expect("a canonical path"),
            headers: Vec::new(),
            upload: None,
        }
    }

    fn get(path: &str) -> Self {
        Self::new(&Method::GET, path)
    }

    fn upgrade(path: &str) -> Self {
        let upgrade = Some(Upgrade::Spdy);
        Self {
            path: RequestPath::parse(&Method::POST, path, None, upgrade).expect("a canonical path"),
            ..Self::get("/")
        }
    }

    fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn upload(mut self, upload: Upload) -> Self {
        self.upload = Some(upload);
        self
    }

    async fn of(self, cluster: &Cluster) -> Result<Answer, ClusterError> {
        cluster
            .request(Outgoing {
                path: &self.path,
                headers: &self.headers,
                run_as: None,
                upload: self.upload,
            })
            .await
    }
}

/// The whole body, as text.
async fn text(answer: Answer) -> Result<String, ClusterError> {
    let AnswerBody::Stream(mut body) = answer.body else {
        panic!("an ordinary answer was expected");
    };
    let mut bytes = Vec::new();
    while let Some(chunk) = body.chunk().await? {
        bytes.extend_from_slice(&chunk);
    }
    Ok(String::from_utf8(bytes).expect("the script sends text"))
}
