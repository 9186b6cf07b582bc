//! What the agent shows of its cluster by itself: an overview and the events, for the local server.
//!
//! Owns how they are put as JSON for people. Owns not: how a state is followed or judged, which is
//! `status.watch`'s and `events.watch`'s, nor when somebody looks. Invariants: made as the agent's
//! own account; bounded, whatever the cluster holds; dropped, it follows nothing.

use serde_json::{Value, json};

use super::events_watch::{self, object};
use super::live::{News, State as _};
use super::status_watch::{Shown, Watching};
use super::{CommandError, Shared, features_get};
use crate::cluster::ObjectError;
use crate::cluster::objects::{Change, Collection, Follower};
use crate::cluster::occurrence::Occurrence;
use crate::limits;
use crate::protocol::command::status_get::Node;

/// Nodes, pods, services and workloads, kept up to date.
pub struct Overview {
    state: Watching,
    trouble: Option<String>,
}

impl std::fmt::Debug for Overview {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Overview").finish_non_exhaustive()
    }
}

impl Overview {
    /// Begins to follow the cluster.
    #[must_use]
    pub fn new(shared: &Shared) -> Self {
        Self {
            state: Watching::new(&shared.cluster.objects(), "", None).forgiving(),
            trouble: None,
        }
    }

    /// Waits until [`Overview::told`] is something new.
    ///
    /// # Errors
    /// What no waiting mends, a refusal of everything for instance; and what the first listing fails
    /// at.
    ///
    /// # Cancel safety
    /// A change is taken only when it is returned.
    pub async fn changed(&mut self) -> Result<(), ObjectError> {
        std::future::poll_fn(|cx| {
            loop {
                match std::task::ready!(self.state.poll(cx))? {
                    News::Moved => continue,
                    News::Changed => {}
                    News::Interrupted(error) => {
                        self.trouble = Some(error.to_string());
                        return std::task::Poll::Ready(Ok(()));
                    }
                    News::Restored => {
                        self.trouble = None;
                        return std::task::Poll::Ready(Ok(()));
                    }
                }
                if self.state.begun().is_some() && self.state.whole() && self.state.pending() {
                    // Nobody is told what has changed: all that is shown is told again.
                    self.state.begin();
                    while self.state.next().is_some() {}
                    return std::task::Poll::Ready(Ok(()));
                }
            }
        })
        .await
    }

    /// What there is; nothing before everything was listed once.
    #[must_use]
    pub fn told(&self) -> Option<Value> {
        self.state.begun()?;
        let Shown {
            summary,
            unready,
            unwell,
        } = self.state.shown(limits::LOCAL_UNWELL);
        let pods = summary.pods;
        let total = pods.pending + pods.running + pods.succeeded + pods.failed + pods.unknown;
        let unready: Vec<_> = unready.iter().map(|node| why_unready(node)).collect();
        let missing = self.state.missing();
        let mut told = json!({
            "nodes": { "total": summary.nodes, "ready": summary.nodes_ready, "unready": unready },
            "pods": {
                "total": total,
                "by_phase": {
                    "Running": pods.running, "Pending": pods.pending, "Succeeded": pods.succeeded,
                    "Failed": pods.failed, "Unknown": pods.unknown,
                },
                "unhealthy_total": pods.unhealthy,
                "unhealthy": unwell,
            },
            "services": summary.services,
            "workloads": summary.workloads,
            "workloads_unhealthy": summary.workloads_unhealthy,
            "trouble": self.trouble,
            "missing": missing,
        });
        // A count of what may not be seen would be a lie.
        for name in missing {
            match name {
                "nodes" | "pods" | "services" => told[name] = Value::Null,
                _ => {
                    told["workloads"] = Value::Null;
                    told["workloads_unhealthy"] = Value::Null;
                }
            }
        }
        Some(told)
    }
}

fn why_unready(node: &Node) -> Value {
    let ready = node.problems.iter().find(|problem| problem.kind == "Ready");
    let why = ready.or(node.problems.first());
    let reason = why.map_or("", |why| why.reason.as_str());
    json!({
        "name": node.name,
        "reason": if reason.is_empty() { "NotReady" } else { reason },
        "message": why.map_or("", |why| why.message.as_str()),
    })
}

/// What events there are.
#[derive(Debug)]
pub enum Happened {
    /// One that was there already, or happens now: when, and as it is shown.
    Event(String, Value),
    /// All that were there already have been told.
    Listed,
    /// Nothing that is shown.
    Nothing,
}

/// The cluster's events, those of a series once for each count.
#[derive(Debug)]
pub struct Happenings {
    follower: Follower<Occurrence, u64>,
}

impl Happenings {
    /// Begins to follow them.
    #[must_use]
    pub fn new(shared: &Shared) -> Self {
        let events = Collection::new("", "v1", "events");
        Self {
            follower: shared.cluster.objects().follow(events),
        }
    }

    /// The next one.
    ///
    /// # Errors
    /// As [`Overview::changed`].
    ///
    /// # Cancel safety
    /// A change is taken only when it is returned.
    pub async fn next(&mut self) -> Result<Happened, ObjectError> {
        let (uid, event, old) = match self.follower.next().await? {
            Change::Added { uid, object } => (uid, object, None),
            Change::Changed { uid, object, old } => (uid, object, Some(old)),
            Change::Synced(_) => return Ok(Happened::Listed),
            Change::Deleted { .. }
            | Change::Relisting
            | Change::Moved
            | Change::Interrupted(_)
            | Change::Restored => return Ok(Happened::Nothing),
        };
        let told = object::told(&event);
        let digest = events_watch::digest(told.count, &told.last);
        self.follower.keep(uid, digest);
        if old == Some(digest) {
            return Ok(Happened::Nothing);
        }
        let shown = json!({
            "at": told.last,
            "source": "cluster",
            "type": told.kind,
            "reason": told.reason,
            "object": {
                "kind": told.object.kind,
                "namespace": told.object.namespace,
                "name": told.object.name,
            },
            "message": told.message,
            "count": told.count,
            "reporter": told.reporter,
        });
        Ok(Happened::Event(told.last, shown))
    }
}

/// What this cluster and this agent can do, as `features.get` tells it.
///
/// # Errors
/// When the API server does not answer.
pub async fn features(shared: &Shared) -> Result<Value, CommandError> {
    let done = features_get::gather(shared, &shared.cluster.objects()).await?;
    serde_json::to_value(done).map_err(CommandError::Encode)
}
