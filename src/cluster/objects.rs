//! Our own calls to the Kubernetes API, typed and within bounds.
//!
//! Owns one exchange ([`Objects`]): under whose identity, within what time and how many bytes, and
//! what a refusal means ([`ObjectError`]); lists page by page ([`Pages`]), watches ([`Watch`]) and
//! both together, kept up through any fault ([`Follower`]). Owns not: which fields are read (each
//! caller brings its own small types) nor who may ask (`policy`).
//! Invariants: no whole answer and no whole object is kept, only what the caller's type reads of
//! it; every call has a deadline, every buffer a ceiling of `limits`; nothing that changes
//! something is sent twice.

mod change;
mod collection;
mod error;
mod follow;
mod items;
mod known;
mod lines;
mod list;
mod unpaged;
mod watch;

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http_body_util::{BodyExt, Full};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::proxy::{Answer, AnswerBody, Outgoing, ResponseBody, Upload};
use super::run_as::RunAs;
use super::{Cluster, ClusterError};
use crate::kubeapi::RequestPath;
use crate::kubeapi::headers::Headers;
use crate::limits;

pub use change::Changed;
pub use collection::Collection;
pub use error::{ObjectError, Refusal};
pub use follow::{Change, Follower, Synced};
pub use known::Uid;
pub use list::{Page, Pages};
pub use unpaged::{Shape, Unpaged};
pub use watch::{Event, Object, Watch};

/// Who we are in the API server's audit log.
pub(super) const USER_AGENT: &str = concat!("pipeops-agent/", env!("CARGO_PKG_VERSION"));

/// What our own types are read from.
const JSON: &str = "application/json";

/// A way to make typed calls, all under one identity and one deadline each. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Objects {
    cluster: Cluster,
    run_as: Option<RunAs>,
    deadline: Duration,
    most: usize,
}

impl Cluster {
    /// Typed calls, as the agent itself unless told otherwise.
    #[must_use]
    pub fn objects(&self) -> Objects {
        Objects {
            cluster: self.clone(),
            run_as: None,
            deadline: limits::OBJECT_CALL,
            most: limits::CLUSTER_CALL_BYTES,
        }
    }
}

impl Objects {
    /// The same, under this identity; the agent's own without one.
    #[must_use]
    pub fn run_as(mut self, run_as: Option<RunAs>) -> Self {
        self.run_as = run_as;
        self
    }

    /// The same, with this time for each call: to its last byte, or to the head of what streams.
    #[must_use]
    pub const fn within(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The same, with answers of at most so many bytes; [`limits::CLUSTER_CALL_BYTES`] otherwise.
    #[must_use]
    pub const fn at_most(mut self, bytes: usize) -> Self {
        self.most = bytes;
        self
    }

    /// Reads `target`, a path that may have a query behind a question mark.
    ///
    /// # Errors
    /// See [`ObjectError`].
    ///
    /// # Cancel safety
    /// May be dropped and asked again.
    pub async fn get<T: DeserializeOwned>(&self, target: &str) -> Result<T, ObjectError> {
        self.get_as(target, JSON).await
    }

    /// As [`Objects::get`], in another form of the same object.
    ///
    /// # Errors
    /// As [`Objects::get`].
    pub async fn get_as<T: DeserializeOwned>(
        &self,
        target: &str,
        accept: &str,
    ) -> Result<T, ObjectError> {
        self.timed(async {
            let body = self.answered(&Method::GET, target, accept, None).await?;
            parse(&collect(body, self.most).await?)
        })
        .await
    }

    /// A request of our own whose answer is looked at as it comes, whatever its status.
    pub(super) async fn request(
        &self,
        path: &RequestPath,
        headers: &[(String, String)],
    ) -> Result<Answer, ObjectError> {
        self.timed(async {
            let run_as = self.run_as.as_ref();
            let outgoing = Outgoing {
                path,
                headers,
                run_as,
                upload: None,
            };
            Ok(self.cluster.request(outgoing).await?)
        })
        .await
    }

    /// The cluster that is asked.
    pub(super) const fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Sends a small body and reads the answer. An empty answer reads as `null`.
    ///
    /// # Errors
    /// See [`ObjectError`]; [`ObjectError::not_sent`] tells whether it may have been carried out.
    ///
    /// # Cancel safety
    /// Not safe for what changes something: it may have been carried out.
    pub async fn send<T: DeserializeOwned>(
        &self,
        method: &Method,
        target: &str,
        content_type: &str,
        body: impl Into<Bytes> + Send,
    ) -> Result<T, ObjectError> {
        let content = Some((content_type, body.into()));
        self.timed(async {
            let body = self.answered(method, target, JSON, content).await?;
            let bytes = collect(body, self.most).await?;
            parse(if bytes.is_empty() { b"null" } else { &bytes })
        })
        .await
    }

    /// As [`Objects::send`], with `body` as JSON.
    ///
    /// # Errors
    /// As [`Objects::send`].
    pub async fn post<T: DeserializeOwned>(
        &self,
        target: &str,
        body: &(impl Serialize + Sync),
    ) -> Result<T, ObjectError> {
        let body = serde_json::to_vec(body)
            .map_err(|_| ObjectError::Malformed("our own body does not serialise"))?;
        self.send(&Method::POST, target, JSON, body).await
    }

    /// Opens what streams, a log for instance; the deadline holds up to the head.
    ///
    /// # Errors
    /// See [`ObjectError`].
    ///
    /// # Cancel safety
    /// Dropping the body closes the connection: the API server stops.
    pub async fn open(&self, target: &str, accept: &str) -> Result<ResponseBody, ObjectError> {
        self.timed(self.answered(&Method::GET, target, accept, None))
            .await
    }

    /// A list, to be read page by page.
    #[must_use]
    pub fn list<T: DeserializeOwned + Send + 'static>(&self, collection: &Collection) -> Pages<T> {
        Pages::new(self.clone(), collection)
    }

    async fn timed<T>(
        &self,
        call: impl Future<Output = Result<T, ObjectError>>,
    ) -> Result<T, ObjectError> {
        tokio::time::timeout(self.deadline, call)
            .await
            .unwrap_or(Err(ClusterError::Deadline(self.deadline).into()))
    }

    /// The body of an answer that is a success.
    async fn answered(
        &self,
        method: &Method,
        target: &str,
        accept: &str,
        content: Option<(&str, Bytes)>,
    ) -> Result<ResponseBody, ObjectError> {
        let (_, body) = self.exchanged(method, target, accept, content).await?;
        Ok(body)
    }

    /// The same, with the answer's headers.
    async fn exchanged(
        &self,
        method: &Method,
        target: &str,
        accept: &str,
        content: Option<(&str, Bytes)>,
    ) -> Result<(Headers, ResponseBody), ObjectError> {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        let path = RequestPath::parse(method, path, query, None)?;
        let mut headers = vec![
            ("accept".to_owned(), accept.to_owned()),
            // What we ask for ourselves is read here: compressing it would cost both ends.
            ("accept-encoding".to_owned(), "identity".to_owned()),
            ("user-agent".to_owned(), USER_AGENT.to_owned()),
        ];
        let upload = content.map(|(kind, bytes)| {
            headers.push(("content-type".to_owned(), kind.to_owned()));
            headers.push(("content-length".to_owned(), bytes.len().to_string()));
            Upload::new(Full::new(bytes).map_err(|never| match never {}))
        });
        let answer = self
            .cluster
            .request(Outgoing {
                path: &path,
                headers: &headers,
                run_as: self.run_as.as_ref(),
                upload,
            })
            .await?;
        let Answer {
            status,
            headers,
            body: AnswerBody::Stream(body),
        } = answer
        else {
            return Err(ObjectError::Malformed("an upgrade that nobody asked for"));
        };
        if status.is_success() {
            return Ok((headers, body));
        }
        // What cannot be read of a refusal does not make it another.
        let text = collect(body, limits::OBJECT_REFUSAL).await;
        Err(error::refused(status, &headers, &text.unwrap_or_default()))
    }
}

/// A whole body within its bound.
async fn collect(mut body: ResponseBody, most: usize) -> Result<Vec<u8>, ObjectError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = body.chunk().await? {
        if bytes.len() + chunk.len() > most {
            return Err(ObjectError::TooLarge(most));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// Reads one of the caller's types. What serde says of a misfit may quote the object: it stays
/// here.
fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, ObjectError> {
    serde_json::from_slice(bytes).map_err(|_| ObjectError::Malformed("not the object asked for"))
}
