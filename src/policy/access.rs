//! What a command is about, so that it can be decided on.
//!
//! Owns the reading of each command's arguments as far as a decision needs it. Invariant: every
//! command has an arm; there is no default.

use std::fmt;

use http::Method;

use crate::kubeapi::{Attributes, PathError, RequestPath, Upgrade, Verb};
use crate::protocol::Command;
use crate::protocol::command::k8s_request;

/// What a command acts on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// One request to the Kubernetes API, parsed here again: the gateway may be compromised.
    Kubernetes(Box<RequestPath>),
    /// The channel itself; nothing of the cluster.
    Channel,
}

impl Subject {
    /// What `command` acts on.
    ///
    /// # Errors
    /// When its request could be read in two ways, or is none.
    pub fn of(command: &Command) -> Result<Self, PathError> {
        match command {
            Command::K8sRequest(request) => {
                let method =
                    Method::from_bytes(request.method.as_bytes()).map_err(|_| PathError::Method)?;
                let upgrade = request.upgrade.map(|upgrade| match upgrade {
                    k8s_request::Upgrade::Websocket => Upgrade::WebSocket,
                    k8s_request::Upgrade::Spdy => Upgrade::Spdy,
                });
                RequestPath::parse(&method, &request.path, request.query.as_deref(), upgrade)
                    .map(|path| Self::Kubernetes(Box::new(path)))
            }
            Command::ChannelEcho(_) => Ok(Self::Channel),
        }
    }

    /// Whether carrying it out twice could differ from once.
    #[must_use]
    pub fn mutates(&self) -> bool {
        match self {
            Self::Kubernetes(path) => {
                let attributes = path.attributes();
                attributes.upgrade.is_some()
                    || !matches!(
                        attributes.verb,
                        Verb::Get | Verb::List | Verb::Watch | Verb::Head | Verb::Options
                    )
            }
            Self::Channel => false,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Channel => f.write_str("use the channel"),
            Self::Kubernetes(path) => {
                let attributes = path.attributes();
                if attributes.resource_request {
                    write!(f, "{} {}", attributes.verb, Resource(attributes))?;
                    if !attributes.namespace.is_empty() {
                        write!(f, " in namespace {}", attributes.namespace)?;
                    }
                } else {
                    write!(f, "{} {}", attributes.verb, path.canonical())?;
                }
                match attributes.upgrade {
                    Some(upgrade) => write!(f, " over {upgrade}"),
                    None => Ok(()),
                }
            }
        }
    }
}

/// `pods/log`, `deployments.apps`.
#[derive(Debug)]
pub(super) struct Resource<'a>(pub(super) &'a Attributes);

impl fmt::Display for Resource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.resource)?;
        if !self.0.api_group.is_empty() {
            write!(f, ".{}", self.0.api_group)?;
        }
        if !self.0.subresource.is_empty() {
            write!(f, "/{}", self.0.subresource)?;
        }
        Ok(())
    }
}
