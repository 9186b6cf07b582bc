//! Which cluster this is: the UID of its namespace kube-system, and its version.
//!
//! Owns our own two calls to the API server. Both may fail while it is down; the agent connects
//! without them. Invariant: an answer is read within `limits`, in time and in bytes.

use http::Method;
use serde::Deserialize;

use super::Cluster;
use super::error::ClusterError;
use super::proxy::{Answer, AnswerBody, Outgoing};
use crate::kubeapi::RequestPath;
use crate::limits;

/// What is known of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The UID of its namespace kube-system: as long as the cluster lives, and never another's.
    pub uid: String,
    /// The API server's version, `v1.36.3`.
    pub version: String,
}

/// Of a Namespace, only what is needed.
#[derive(Deserialize)]
struct Namespace {
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    uid: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    git_version: String,
}

impl Cluster {
    /// Asks the API server who it is.
    ///
    /// # Errors
    /// When it cannot be reached, refuses, or answers something else; see [`ClusterError`].
    ///
    /// # Cancel safety
    /// May be dropped and asked again.
    pub async fn identity(&self) -> Result<Identity, ClusterError> {
        let namespace: Namespace = self.get("/api/v1/namespaces/kube-system").await?;
        let version: Version = self.get("/version").await?;
        Ok(Identity {
            uid: namespace.metadata.uid,
            version: version.git_version,
        })
    }

    /// The API server's version alone; what a preflight check asks first.
    ///
    /// # Errors
    /// As [`Cluster::identity`].
    pub async fn version(&self) -> Result<String, ClusterError> {
        let version: Version = self.get("/version").await?;
        Ok(version.git_version)
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, ClusterError> {
        let path = RequestPath::parse(&Method::GET, path, None, None)
            .map_err(|_| ClusterError::Unusable("the path of our own call"))?;
        let call = async {
            let headers = [
                ("accept".to_owned(), "application/json".to_owned()),
                ("user-agent".to_owned(), USER_AGENT.to_owned()),
            ];
            let answer = self
                .request(Outgoing {
                    path: &path,
                    headers: &headers,
                    run_as: None,
                    upload: None,
                })
                .await?;
            collect(answer).await
        };
        let bytes = tokio::time::timeout(limits::CLUSTER_CALL, call)
            .await
            .unwrap_or(Err(ClusterError::Deadline(limits::CLUSTER_CALL)))?;
        serde_json::from_slice(&bytes)
            .map_err(|_| ClusterError::Unusable("not the object asked for"))
    }
}

/// Who we are in the API server's audit log.
const USER_AGENT: &str = concat!("pipeops-agent/", env!("CARGO_PKG_VERSION"));

async fn collect(answer: Answer) -> Result<Vec<u8>, ClusterError> {
    if !answer.status.is_success() {
        return Err(ClusterError::Unusable(match answer.status.as_u16() {
            403 => "the agent may not read it (403)",
            404 => "there is none (404)",
            429 | 503 => "the API server is busy",
            _ => "a status other than success",
        }));
    }
    let AnswerBody::Stream(mut body) = answer.body else {
        return Err(ClusterError::Unusable("an upgrade that nobody asked for"));
    };
    let mut bytes = Vec::new();
    while let Some(chunk) = body.chunk().await? {
        if bytes.len() + chunk.len() > limits::CLUSTER_CALL_BYTES {
            return Err(ClusterError::Unusable("larger than any honest answer"));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}
