//! What the API server will make of a request: verb, resource, namespace, name.
//!
//! Owns the reading of decoded path segments by the rules of Kubernetes' RequestInfo
//! (`k8s.io/apiserver/pkg/endpoints/request`, read at 1.36.3) and of its long-running check. Does
//! not decide anything; `policy` does, on these attributes. Invariant: they equal those that the
//! server authorises and writes into its audit log.

use std::fmt;

use http::Method;

use super::path::PathError;
use super::query;
use super::upgrade::Upgrade;

/// A Kubernetes verb, or the HTTP method in lower case where the request is for no resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Read one object; HTTP GET outside resources.
    Get,
    /// Read a collection.
    List,
    /// Follow a collection or an object.
    Watch,
    /// POST to a resource.
    Create,
    /// PUT to a resource.
    Update,
    /// PATCH.
    Patch,
    /// DELETE of one object; HTTP DELETE outside resources.
    Delete,
    /// DELETE of a collection.
    DeleteCollection,
    /// The legacy prefix `/api/v1/proxy/`, whatever the method.
    Proxy,
    /// HEAD outside resources; on a resource it is a get or list.
    Head,
    /// POST outside resources.
    Post,
    /// PUT outside resources.
    Put,
    /// OPTIONS outside resources.
    Options,
    /// A method that has no verb on a resource (OPTIONS); written as an empty string.
    Unset,
}

impl Verb {
    /// The word that RBAC and the audit log use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
            Self::Proxy => "proxy",
            Self::Head => "head",
            Self::Post => "post",
            Self::Put => "put",
            Self::Options => "options",
            Self::Unset => "",
        }
    }

    fn of_resource(method: &Method) -> Self {
        match *method {
            Method::GET | Method::HEAD => Self::Get,
            Method::POST => Self::Create,
            Method::PUT => Self::Update,
            Method::PATCH => Self::Patch,
            Method::DELETE => Self::Delete,
            _ => Self::Unset,
        }
    }

    fn of_method(method: &Method) -> Result<Self, PathError> {
        Ok(match *method {
            Method::GET => Self::Get,
            Method::HEAD => Self::Head,
            Method::POST => Self::Post,
            Method::PUT => Self::Put,
            Method::PATCH => Self::Patch,
            Method::DELETE => Self::Delete,
            Method::OPTIONS => Self::Options,
            _ => return Err(PathError::Method),
        })
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A request as the API server's RequestInfo sees it. Texts are decoded; an absent one is empty,
/// as in RequestInfo.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attributes {
    /// The path names a resource of the API; `false` for discovery, health, `/logs/` and the like.
    pub resource_request: bool,
    /// What is done. Decide on this and on [`Self::subresource`], never on the HTTP method.
    pub verb: Verb,
    /// `api` or `apis`; also set on a few non-resource paths, as in RequestInfo.
    pub api_prefix: String,
    /// Empty for the core group.
    pub api_group: String,
    /// `v1`, `v1beta1`, ...
    pub api_version: String,
    /// Empty for cluster-scoped and all-namespace requests. For `namespaces/x` it is `x`.
    pub namespace: String,
    /// The plural name, `pods`.
    pub resource: String,
    /// `log`, `exec`, `status`, `proxy`, ...
    pub subresource: String,
    /// The object's name; for a list or watch the one that `fieldSelector=metadata.name=` pins.
    pub name: String,
    /// The decoded segments from the resource on; all of what follows `proxy` too.
    pub parts: Vec<String>,
    /// The server sets this request no deadline: watch, and log, exec, attach, portforward, proxy.
    pub long_running: bool,
    /// The switch of protocols that the caller asks for.
    pub upgrade: Option<Upgrade>,
}

/// Where in the segments the resource stands, and what the prefix before it says.
#[derive(Debug, PartialEq, Eq)]
struct Layout {
    /// `apis` has a group, `api` has not.
    group: Option<usize>,
    version: usize,
    /// `watch` or `proxy` stands between version and resource.
    special: Option<Verb>,
    namespace: Option<usize>,
    resource: usize,
}

/// Whether the path is one of a resource, and how it is laid out. An error where RequestInfo has
/// one: a special verb with nothing behind it.
fn layout<S: AsRef<str>>(segments: &[S]) -> Result<Option<Layout>, PathError> {
    let text = |at: usize| segments.get(at).map(AsRef::as_ref);
    let group = match text(0) {
        Some("api") => None,
        Some("apis") => Some(1),
        _ => return Ok(None),
    };
    let version = group.map_or(1, |group| group + 1);
    let special = match text(version + 1) {
        None => return Ok(None),
        Some("watch") => Some(Verb::Watch),
        Some("proxy") => Some(Verb::Proxy),
        Some(_) => None,
    };
    let mut resource = version + 1;
    if special.is_some() {
        resource += 1;
        if text(resource).is_none() {
            return Err(PathError::Incomplete);
        }
    }
    let namespace = (text(resource) == Some("namespaces") && text(resource + 1).is_some())
        .then_some(resource + 1);
    // `namespaces/x/pods` is about pods, `namespaces/x/status` about the namespace.
    if namespace.is_some() && !matches!(text(resource + 2), None | Some("status" | "finalize")) {
        resource += 2;
    }
    Ok(Some(Layout {
        group,
        version,
        special,
        namespace,
        resource,
    }))
}

/// Whether the last of `segments` is the subresource `proxy`, so that all after it is the tail
/// that the proxied service reads. More segments cannot change the answer.
pub(super) fn begins_tail(segments: &[String]) -> bool {
    segments.last().is_some_and(|last| last == "proxy")
        && layout(segments).is_ok_and(|layout| {
            layout.is_some_and(|layout| {
                layout.special != Some(Verb::Proxy) && layout.resource + 3 == segments.len()
            })
        })
}

impl Attributes {
    /// Reads the decoded segments of a path, without the empty one of a trailing slash; `path` is
    /// its canonical spelling.
    pub(super) fn derive(
        method: &Method,
        mut segments: Vec<String>,
        path: &str,
        query: Option<&str>,
        upgrade: Option<Upgrade>,
    ) -> Result<Self, PathError> {
        let plain = Self {
            resource_request: false,
            verb: Verb::of_method(method)?,
            api_prefix: String::new(),
            api_group: String::new(),
            api_version: String::new(),
            namespace: String::new(),
            resource: String::new(),
            subresource: String::new(),
            name: String::new(),
            parts: Vec::new(),
            long_running: false,
            upgrade,
        };
        let text = |at: usize| segments.get(at).cloned().unwrap_or_default();
        let Some(layout) = layout(&segments)? else {
            // Three segments that begin with `apis` are no resource, but have their prefix.
            let prefixed = segments.len() >= 3 && segments[0] == "apis";
            return Ok(Self {
                api_prefix: if prefixed { text(0) } else { String::new() },
                // The server's profiler; it tests the path and not its segments.
                long_running: path.starts_with("/debug/pprof/"),
                ..plain
            });
        };
        let mut request = Self {
            resource_request: true,
            verb: layout.special.unwrap_or_else(|| Verb::of_resource(method)),
            api_prefix: text(0),
            api_group: layout.group.map(text).unwrap_or_default(),
            api_version: text(layout.version),
            namespace: layout.namespace.map(text).unwrap_or_default(),
            resource: text(layout.resource),
            name: text(layout.resource + 1),
            ..plain
        };
        if request.verb != Verb::Proxy {
            request.subresource = text(layout.resource + 2);
        }
        request.parts = segments.split_off(layout.resource);
        if request.name.is_empty() {
            request.widen(query);
        }
        request.long_running = matches!(request.verb, Verb::Watch | Verb::Proxy)
            || matches!(
                request.subresource.as_str(),
                "attach" | "exec" | "proxy" | "log" | "portforward"
            );
        Ok(request)
    }

    /// Without a name, a get is a list or a watch, and a delete takes the whole collection.
    fn widen(&mut self, query: Option<&str>) {
        match self.verb {
            Verb::Get => {
                let options = query::list_options(query.unwrap_or_default());
                self.verb = if options.watch {
                    Verb::Watch
                } else {
                    Verb::List
                };
                self.name = options.name.unwrap_or_default();
            }
            Verb::Delete => self.verb = Verb::DeleteCollection,
            _ => {}
        }
    }
}
