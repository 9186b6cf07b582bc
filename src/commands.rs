//! The handlers: one file a command, under the command's stem.
//!
//! Owns what a handler gets ([`Context`]), how it fails ([`CommandError`]) and which handler runs
//! ([`handler`]). Owns not: whether it may run (`policy`), how long and how many (`dispatch`).
//! Invariants: a handler needs a `Permit`; dropping its future stops all that it began; it never
//! ends the stream itself.

mod channel_echo;
mod connectivity_check;
mod events_watch;
mod features_get;
mod health_run;
mod k8s_request;
mod live;
mod logs_follow;
mod logs_get;
mod metrics_watch;
mod operation;
pub mod overview;
mod resources_apply;
mod resources_delete;
mod services_list;
mod services_watch;
mod status_get;
mod status_watch;
mod workloads_restart;
mod workloads_scale;

use std::pin::Pin;
use std::sync::Arc;

use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::cluster::{Cluster, ClusterError, ObjectError, Objects, RunAs};
use crate::health::Monitor;
use crate::kubeapi::HeaderError;
use crate::policy::Permit;
use crate::protocol::command::Actor;
use crate::protocol::{Command, ErrorBody, ErrorCode};
use crate::session::{StreamError, StreamReader, StreamWriter};

pub use operation::Sent;

/// What all handlers share.
#[derive(Debug)]
pub struct Shared {
    /// The way to the API server.
    pub cluster: Cluster,
    /// Requests run as the caller, through Kubernetes impersonation.
    pub impersonate: bool,
    /// The agent's checks of itself.
    pub health: Monitor,
}

/// What one handler gets.
#[derive(Debug)]
pub struct Context {
    /// What all share.
    pub shared: Arc<Shared>,
    /// Proof that it may run, and on what.
    pub permit: Permit,
    /// The command's id, for logs.
    pub id: String,
    /// On whose behalf.
    pub actor: Option<Actor>,
    /// By when it must have come as far as its deadline asks.
    pub deadline: Option<Instant>,
    /// What a command that changes something says of itself.
    pub sent: Sent,
    /// The requester takes compressed bytes.
    pub compression: bool,
    /// Bytes from the gateway.
    pub reader: StreamReader,
    /// Events and bytes towards it.
    pub writer: StreamWriter,
}

impl Context {
    /// Our own calls to the Kubernetes API, as the caller where requests run as the caller.
    fn objects(&self) -> Objects {
        let run_as = self.shared.impersonate.then(|| run_as(self.actor.as_ref()));
        self.shared.cluster.objects().run_as(run_as)
    }
}

/// Who a request runs as; without an actor nobody, which is refused.
fn run_as(actor: Option<&Actor>) -> RunAs {
    let actor = actor.cloned().unwrap_or_default();
    RunAs {
        user: actor.user,
        groups: actor.groups,
        extra: actor.extra.into_iter().collect(),
    }
}

/// How a command ends well: its result, if it has one.
pub type Done = Option<Box<RawValue>>;

/// How a command ends badly.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The stream is gone; there is nobody to tell.
    #[error("the stream is gone")]
    Stream(#[from] StreamError),
    /// On the way to the API server.
    #[error("the API server did not answer as it should")]
    Cluster(#[from] ClusterError),
    /// One of our own calls to the Kubernetes API.
    #[error("the Kubernetes API did not do as asked")]
    Object(#[source] ObjectError),
    /// The API server's upgraded connection broke.
    #[error("the upgraded connection broke")]
    Upgraded(#[source] std::io::Error),
    /// The API server fell silent in the middle of its answer.
    #[error("the answer stopped for too long")]
    Stalled,
    /// The command's own deadline passed.
    #[error("the command's deadline passed")]
    Deadline,
    /// In the handler's own words.
    #[error("{0}")]
    Told(ErrorBody),
    /// The permit is for something else: a defect.
    #[error("the permit does not fit the command")]
    Misfit,
    /// The result cannot be written: a defect.
    #[error("the result cannot be encoded")]
    Encode(#[source] serde_json::Error),
}

impl CommandError {
    /// What the requester is told: a code of the closed list and words without secrets.
    #[must_use]
    pub fn body(&self) -> ErrorBody {
        match self {
            Self::Stream(StreamError::Reset(code)) => ErrorBody::new(*code, self.to_string()),
            Self::Stream(StreamError::Lost) => {
                ErrorBody::new(ErrorCode::ChannelLost, self.to_string())
            }
            Self::Cluster(error) => cluster(error),
            Self::Object(error) => object(error),
            Self::Upgraded(_) => ErrorBody::new(ErrorCode::UpstreamFailed, self.to_string()),
            Self::Deadline => ErrorBody::new(ErrorCode::DeadlineExceeded, self.to_string()),
            Self::Told(body) => body.clone(),
            Self::Stalled => ErrorBody::new(ErrorCode::UpstreamFailed, self.to_string()),
            Self::Stream(StreamError::Ended) | Self::Misfit | Self::Encode(_) => {
                ErrorBody::new(ErrorCode::Internal, self.to_string())
            }
        }
    }
}

impl From<ObjectError> for CommandError {
    fn from(error: ObjectError) -> Self {
        match error {
            ObjectError::Cluster(error) => Self::Cluster(error),
            error => Self::Object(error),
        }
    }
}

fn object(error: &ObjectError) -> ErrorBody {
    let code = match error {
        ObjectError::Cluster(error) => return cluster(error),
        ObjectError::Path(_) => ErrorCode::BadRequest,
        ObjectError::NotFound(_) => ErrorCode::NotFound,
        ObjectError::Conflict(_) => ErrorCode::Conflict,
        // A failure of the server's own, or of what stands behind it, may have changed something.
        ObjectError::Refused(refusal) if refusal.status >= 500 => ErrorCode::UpstreamFailed,
        ObjectError::Gone(_) | ObjectError::Refused(_) => ErrorCode::UpstreamRefused,
        ObjectError::TooLarge(_) | ObjectError::Malformed(_) => ErrorCode::UpstreamFailed,
        ObjectError::Crowded => ErrorCode::Busy,
    };
    ErrorBody::new(code, error.to_string())
}

fn cluster(error: &ClusterError) -> ErrorBody {
    let code = match error {
        ClusterError::Unreachable { .. } | ClusterError::Credential(_) => {
            ErrorCode::UpstreamUnreachable
        }
        ClusterError::CredentialRefused => ErrorCode::CredentialRefused,
        ClusterError::RunAs(_) => ErrorCode::Forbidden,
        ClusterError::RequestHeaders(_) | ClusterError::Upload(_) => ErrorCode::BadRequest,
        ClusterError::AnswerHeaders(HeaderError::Redirect) => ErrorCode::RedirectRefused,
        ClusterError::AnswerHeaders(_) | ClusterError::Failed(_) | ClusterError::Unusable(_) => {
            ErrorCode::UpstreamFailed
        }
        ClusterError::Deadline(_) => ErrorCode::DeadlineExceeded,
    };
    ErrorBody::new(code, error.to_string())
}

/// A handler that waits to be polled. Dropping it stops everything that it began.
pub type Handler = Pin<Box<dyn Future<Output = Result<Done, CommandError>> + Send>>;

/// The handler of `command`. Each is an allocation of its own size: ten thousand idle echoes must
/// not pay for the largest.
#[must_use]
pub fn handler(command: Command, context: Context) -> Handler {
    match command {
        Command::K8sRequest(request) => Box::pin(k8s_request::run(context, request)),
        Command::ResourcesApply(request) => Box::pin(resources_apply::run(context, request)),
        Command::ResourcesDelete(request) => Box::pin(resources_delete::run(context, request)),
        Command::WorkloadsRestart(request) => Box::pin(workloads_restart::run(context, request)),
        Command::WorkloadsScale(request) => Box::pin(workloads_scale::run(context, request)),
        Command::MetricsWatch(request) => Box::pin(metrics_watch::run(context, request)),
        Command::FeaturesGet(request) => {
            let deadline = context.deadline;
            Box::pin(within(deadline, features_get::run(context, request)))
        }
        Command::ConnectivityCheck(request) => {
            let deadline = context.deadline;
            Box::pin(within(deadline, connectivity_check::run(context, request)))
        }
        Command::HealthRun(_) => {
            let deadline = context.deadline;
            Box::pin(within(deadline, health_run::run(context)))
        }
        Command::EventsWatch(request) => Box::pin(within(
            context.deadline,
            events_watch::run(context, request),
        )),
        Command::ServicesList(request) => Box::pin(within(
            context.deadline,
            services_list::run(context, request),
        )),
        Command::ServicesWatch(request) => Box::pin(within(
            context.deadline,
            services_watch::run(context, request),
        )),
        Command::LogsFollow(request) => Box::pin(logs_follow::run(context, request)),
        Command::LogsGet(request) => Box::pin(logs_get::run(context, request)),
        Command::StatusGet(request) => {
            Box::pin(within(context.deadline, status_get::run(context, request)))
        }
        Command::StatusWatch(request) => Box::pin(within(
            context.deadline,
            status_watch::run(context, request),
        )),
        Command::ChannelEcho(request) => {
            let Context {
                deadline,
                reader,
                writer,
                ..
            } = context;
            Box::pin(within(deadline, channel_echo::run(reader, writer, request)))
        }
    }
}

/// Ends what its deadline covers whole.
async fn within<T>(
    deadline: Option<Instant>,
    work: impl Future<Output = Result<T, CommandError>>,
) -> Result<T, CommandError> {
    match deadline {
        None => work.await,
        Some(deadline) => tokio::time::timeout_at(deadline, work)
            .await
            .unwrap_or(Err(CommandError::Deadline)),
    }
}
