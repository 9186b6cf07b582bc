//! What a command is about, so that it can be decided on.
//!
//! Owns the reading of each command's arguments as far as a decision needs it. Invariant: every
//! command has an arm; there is no default.

mod telemetry;

use std::fmt;

use http::Method;

use crate::kubeapi::{Attributes, PathError, RequestPath, Upgrade, Verb};
use crate::protocol::Command;
use crate::protocol::command::{k8s_request, logs_follow};
use crate::protocol::object::Reference;

/// What a command acts on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// One request to the Kubernetes API, parsed here again: the gateway may be compromised.
    Kubernetes(Box<RequestPath>),
    /// Several accesses of one command of ours, allowed together or not at all.
    Operation(Vec<Need>),
    /// The channel itself; nothing of the cluster.
    Channel,
}

/// One access to the API that a command of ours needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// What is done.
    pub verb: Verb,
    /// To what.
    pub target: Target,
    /// Where; empty for all namespaces and for what has none.
    pub namespace: String,
    /// Which one; empty for all.
    pub name: String,
}

/// What a [`Need`] is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A resource that we name ourselves.
    Resource {
        /// Empty for the core group.
        group: &'static str,
        /// The plural name, `pods`.
        resource: &'static str,
        /// `log`, `scale`; empty for the object itself.
        subresource: &'static str,
    },
    /// An object that the requester names by kind: which resource it is only discovery tells.
    Kind {
        /// `v1`, `apps/v1`.
        api_version: String,
        /// `Deployment`.
        kind: String,
    },
    /// A path outside resources, `/version`.
    Path(&'static str),
}

impl Need {
    /// Access to a resource in every namespace.
    #[must_use]
    pub const fn resource(verb: Verb, group: &'static str, resource: &'static str) -> Self {
        Self {
            verb,
            target: Target::Resource {
                group,
                resource,
                subresource: "",
            },
            namespace: String::new(),
            name: String::new(),
        }
    }

    /// Access to an object that the requester names by kind. Where it names no namespace, all are
    /// meant: whether the kind has any only discovery tells.
    #[must_use]
    pub fn kind(verb: Verb, object: &Reference) -> Self {
        Self {
            verb,
            target: Target::Kind {
                api_version: object.api_version.as_str().to_owned(),
                kind: object.kind.as_str().to_owned(),
            },
            namespace: object
                .namespace
                .as_ref()
                .map_or_else(String::new, |namespace| namespace.as_str().to_owned()),
            name: object.name.as_str().to_owned(),
        }
    }

    /// Access to a path outside resources.
    #[must_use]
    pub const fn path(path: &'static str) -> Self {
        Self {
            verb: Verb::Get,
            target: Target::Path(path),
            namespace: String::new(),
            name: String::new(),
        }
    }

    /// The same, of one subresource.
    #[must_use]
    pub fn below(mut self, name: &'static str) -> Self {
        if let Target::Resource { subresource, .. } = &mut self.target {
            *subresource = name;
        }
        self
    }

    /// The same, in one namespace; empty for all.
    #[must_use]
    pub fn within(mut self, namespace: &str) -> Self {
        namespace.clone_into(&mut self.namespace);
        self
    }

    /// The same, of one object.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    fn mutates(&self) -> bool {
        changes(self.verb) && !self.asks_about_oneself()
    }

    /// A review is created, and nothing is kept of it.
    fn asks_about_oneself(&self) -> bool {
        let Target::Resource { group, .. } = self.target else {
            return false;
        };
        matches!(group, "authentication.k8s.io" | "authorization.k8s.io")
    }
}

/// What is listed, in one namespace unless it says itself in which, and watched as well.
fn watched(lists: impl IntoIterator<Item = Need>, namespace: &str) -> Vec<Need> {
    let mut needs = Vec::new();
    for mut list in lists {
        if !namespace.is_empty() {
            list = list.within(namespace);
        }
        needs.push(Need {
            verb: Verb::Watch,
            ..list.clone()
        });
        needs.push(list);
    }
    needs
}

/// The API server's version.
const VERSION: Need = Need {
    verb: Verb::Get,
    target: Target::Path("/version"),
    namespace: String::new(),
    name: String::new(),
};

/// What the cluster's status is made of; with a namespace, without nodes.
fn status(namespace: &str) -> Vec<Need> {
    let nodes = namespace
        .is_empty()
        .then(|| Need::resource(Verb::List, "", "nodes"));
    let others = [
        ("", "pods"),
        ("", "services"),
        ("apps", "deployments"),
        ("apps", "statefulsets"),
        ("apps", "daemonsets"),
        ("batch", "jobs"),
        ("batch", "cronjobs"),
    ];
    let others = others
        .into_iter()
        .map(|(group, resource)| Need::resource(Verb::List, group, resource).within(namespace));
    nodes.into_iter().chain(others).collect()
}

/// What services are made of.
const fn services() -> [Need; 2] {
    [
        Need::resource(Verb::List, "", "services"),
        Need::resource(Verb::List, "discovery.k8s.io", "endpointslices"),
    ]
}

/// Whether a verb may leave something changed.
const fn changes(verb: Verb) -> bool {
    !matches!(
        verb,
        Verb::Get | Verb::List | Verb::Watch | Verb::Head | Verb::Options
    )
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
            Command::ResourcesApply(request) => Ok(Self::Operation(
                request
                    .manifests
                    .iter()
                    .map(|manifest| Need::kind(Verb::Patch, manifest.reference()))
                    .collect(),
            )),
            Command::ResourcesDelete(request) => Ok(Self::Operation(
                request
                    .references()
                    .map(|reference| Need::kind(Verb::Delete, reference))
                    .collect(),
            )),
            Command::WorkloadsScale(request) => {
                let need = |verb| {
                    Need::resource(verb, "apps", request.kind.resource())
                        .below("scale")
                        .within(request.namespace.as_str())
                        .named(request.name.as_str())
                };
                Ok(Self::Operation(vec![need(Verb::Get), need(Verb::Patch)]))
            }
            Command::WorkloadsRestart(request) => {
                let need = |verb| {
                    Need::resource(verb, "apps", request.kind.resource())
                        .within(request.namespace.as_str())
                        .named(request.name.as_str())
                };
                Ok(Self::Operation(vec![need(Verb::Get), need(Verb::Patch)]))
            }
            Command::MetricsWatch(request) => Ok(Self::Operation(telemetry::metrics(request))),
            Command::FeaturesGet(request) => Ok(Self::Operation(telemetry::features(request))),
            Command::ConnectivityCheck(_) => Ok(Self::Operation(telemetry::connectivity())),
            Command::HealthRun(_) => Ok(Self::Operation(telemetry::health())),
            Command::EventsWatch(request) => {
                let events = [Need::resource(Verb::List, "", "events")];
                Ok(Self::Operation(watched(events, &request.namespace)))
            }
            Command::ServicesList(request) => {
                let needs = services().map(|need| need.within(&request.namespace));
                Ok(Self::Operation(needs.into()))
            }
            Command::ServicesWatch(request) => {
                Ok(Self::Operation(watched(services(), &request.namespace)))
            }
            Command::LogsFollow(request) => Ok(logs(request)),
            Command::LogsGet(request) => Ok(logs(&request.logs)),
            Command::StatusGet(request) => {
                let needs = status(&request.namespace).into_iter();
                Ok(Self::Operation(needs.chain([VERSION]).collect()))
            }
            Command::StatusWatch(request) => {
                let needs = watched(status(&request.namespace), "").into_iter();
                Ok(Self::Operation(needs.chain([VERSION]).collect()))
            }
        }
    }

    /// Whether carrying it out twice could differ from once.
    #[must_use]
    pub fn mutates(&self) -> bool {
        match self {
            Self::Kubernetes(path) => {
                let attributes = path.attributes();
                attributes.upgrade.is_some() || changes(attributes.verb)
            }
            Self::Operation(needs) => needs.iter().any(Need::mutates),
            Self::Channel => false,
        }
    }
}

/// Pods are found and looked at, and their logs read.
fn logs(request: &logs_follow::Request) -> Subject {
    let name = request.pod.as_deref().unwrap_or_default();
    let pods = |verb| {
        Need::resource(verb, "", "pods")
            .within(&request.namespace)
            .named(name)
    };
    Subject::Operation(vec![
        pods(Verb::Get),
        pods(Verb::List),
        pods(Verb::Watch),
        pods(Verb::Get).below("log"),
    ])
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Channel => f.write_str("use the channel"),
            Self::Operation(needs) => {
                for (at, need) in needs.iter().enumerate() {
                    if at > 0 {
                        f.write_str(", ")?;
                    }
                    write!(f, "{need}")?;
                }
                Ok(())
            }
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

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.target)?;
        if !self.name.is_empty() {
            write!(f, " {}", self.name)?;
        }
        if !self.namespace.is_empty() {
            write!(f, " in namespace {}", self.namespace)?;
        }
        Ok(())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => f.write_str(path),
            Self::Kind { api_version, kind } => write!(f, "{api_version} {kind}"),
            Self::Resource {
                group,
                resource,
                subresource,
            } => {
                f.write_str(resource)?;
                if !group.is_empty() {
                    write!(f, ".{group}")?;
                }
                if !subresource.is_empty() {
                    write!(f, "/{subresource}")?;
                }
                Ok(())
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
