//! Event handlers: a webhook or a line in the log for each event of the cluster that matches.
//!
//! Owns the matching, a bounded queue for each handler, and the attempts to deliver. Owns not: the
//! events themselves (`cluster::objects`). Invariants: a handler that does not keep up loses its
//! own events, counted, and holds up nobody; what happened before the start is not handled; an
//! event that may have been delivered is told again only under the same key.

mod event;
mod queue;

use std::sync::Arc;

use futures_util::future::{join, join_all};
use tokio::sync::mpsc;

use super::config::{LogLevel, Match};
use super::http::{Bearer, Client, Target};
use crate::backoff::{Backoff, Pace, Window};
use crate::cluster::Cluster;
use crate::cluster::objects::{Change, Collection, ObjectError};
use crate::cluster::occurrence::Occurrence;
use crate::kubeapi::Verb;
use crate::limits;
use crate::policy::Need;
use event::Event;

pub(super) use queue::Counted;

/// One handler.
#[derive(Debug)]
pub(super) struct Handler {
    pub(super) name: String,
    pub(super) matching: Match,
    /// An event that happened again is handled as well.
    pub(super) repeats: bool,
    pub(super) action: Action,
}

/// What is done with an event.
#[derive(Debug)]
pub(super) enum Action {
    Webhook {
        target: Target,
        bearer: Option<Bearer>,
        timeout: std::time::Duration,
    },
    Log(LogLevel),
}

/// What handlers need of the Kubernetes API.
pub(super) fn needs() -> [Need; 2] {
    [
        Need::resource(Verb::List, "", "events"),
        Need::resource(Verb::Watch, "", "events"),
    ]
}

/// Follows the cluster's events and handles them until it is dropped.
pub(super) async fn run(
    handlers: Vec<Handler>,
    cluster_name: String,
    client: Client,
    cluster: Cluster,
    counted: Counted,
) {
    let collection = collection(&handlers);
    let mut queues = Vec::new();
    let mut workers = Vec::new();
    for handler in handlers {
        let (queue, waiting) = mpsc::channel(limits::HANDLER_QUEUE);
        let inbox = Inbox {
            name: handler.name.clone(),
            matching: handler.matching,
            repeats: handler.repeats,
            queue,
            full: false,
        };
        queues.push(inbox);
        let worker = queue::Worker {
            name: handler.name,
            cluster: cluster_name.clone(),
            action: handler.action,
            client: client.clone(),
            counted: counted.clone(),
        };
        workers.push(worker.run(waiting));
    }
    join(
        follow(collection, cluster, queues, counted),
        join_all(workers),
    )
    .await;
}

/// The events that any handler could want: what the API server can leave out, it does.
fn collection(handlers: &[Handler]) -> Collection {
    let events = Collection::new("", "v1", "events");
    let only = |of: fn(&Match) -> &[String]| {
        let mut all = handlers.iter().flat_map(|handler| of(&handler.matching));
        let first = all.next()?;
        let every = handlers
            .iter()
            .all(|handler| !of(&handler.matching).is_empty());
        (every && all.all(|other| other == first)).then(|| first.clone())
    };
    let events = match only(|m| &m.namespace) {
        Some(namespace) => events.within(&namespace),
        None => events,
    };
    match only(|m| &m.r#type) {
        Some(kind) => events.fields(&format!("type={kind}")),
        None => events,
    }
}

/// Where a handler gets its events.
struct Inbox {
    name: String,
    matching: Match,
    repeats: bool,
    queue: mpsc::Sender<Arc<Event>>,
    full: bool,
}

impl Inbox {
    fn offer(&mut self, event: &Arc<Event>, again: bool, counted: &Counted) {
        if (again && !self.repeats) || !matches(&self.matching, event) {
            return;
        }
        let full = self.queue.try_send(Arc::clone(event)).is_err();
        if full {
            counted.dropped(&self.name);
        }
        if full && !self.full {
            tracing::warn!(handler = self.name, "Event handler does not keep up");
        }
        self.full = full;
    }
}

fn matches(wanted: &Match, event: &Event) -> bool {
    let has = |list: &[String], own: &str| list.is_empty() || list.iter().any(|any| any == own);
    has(&wanted.kind, &event.object.kind)
        && has(&wanted.reason, &event.reason)
        && has(&wanted.r#type, &event.kind)
        && has(&wanted.namespace, event.namespace())
}

async fn follow(
    collection: Collection,
    cluster: Cluster,
    mut inboxes: Vec<Inbox>,
    counted: Counted,
) {
    let window = Window::new(limits::WATCH_RETRY_FIRST, limits::WATCH_RETRY_CAP);
    let mut backoff = Backoff::new(window);
    let mut told = false;
    loop {
        let mut events = cluster
            .objects()
            .follow::<Occurrence, ()>(collection.clone());
        // What is listed at first happened before anybody asked.
        let mut live = false;
        let error = loop {
            let (object, again) = match events.next().await {
                Ok(Change::Added { object, .. }) => (object, false),
                Ok(Change::Changed { object, .. }) => (object, true),
                Ok(Change::Synced(_)) => {
                    live = true;
                    backoff.reset();
                    if std::mem::take(&mut told) {
                        tracing::info!("Event handlers see events again");
                    }
                    continue;
                }
                Ok(
                    Change::Deleted { .. }
                    | Change::Relisting
                    | Change::Moved
                    | Change::Interrupted(_)
                    | Change::Restored,
                ) => continue,
                Err(error) => break error,
            };
            if live {
                let event = Arc::new(Event::of(&object));
                for inbox in &mut inboxes {
                    inbox.offer(&event, again, &counted);
                }
            }
        };
        if !std::mem::replace(&mut told, true) {
            tracing::warn!(%error, "Event handlers see no events");
        }
        let pace = match error {
            ObjectError::Refused(_) | ObjectError::NotFound(_) => Pace::Slow,
            _ => Pace::Usual,
        };
        let wait = backoff.next(pace, &mut rand::rng());
        tokio::time::sleep(wait).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handler(matching: Match) -> Handler {
        Handler {
            name: "h".into(),
            matching,
            repeats: false,
            action: Action::Log(LogLevel::Info),
        }
    }

    fn wanted(namespaces: &[&str], types: &[&str]) -> Match {
        Match {
            namespace: namespaces.iter().map(ToString::to_string).collect(),
            r#type: types.iter().map(ToString::to_string).collect(),
            ..Match::default()
        }
    }

    #[test]
    fn the_api_server_leaves_out_what_no_handler_wants() {
        let all = Collection::new("", "v1", "events");
        let of = |matches: &[Match]| {
            let handlers: Vec<_> = matches.iter().cloned().map(handler).collect();
            collection(&handlers)
        };
        assert_eq!(of(&[Match::default()]), all);
        let shop = wanted(&["shop"], &["Warning"]);
        let expected = all.clone().within("shop").fields("type=Warning");
        assert_eq!(of(&[shop.clone(), shop.clone()]), expected);
        assert_eq!(of(&[shop.clone(), Match::default()]), all);
        let other = wanted(&["till"], &["Warning"]);
        assert_eq!(of(&[shop, other]), all.fields("type=Warning"));
    }

    #[test]
    fn every_list_that_is_given_must_have_the_events_own() {
        let event = Event {
            kind: "Warning".into(),
            reason: "BackOff".into(),
            ..Event::default()
        };
        assert!(matches(&Match::default(), &event));
        assert!(matches(&wanted(&[], &["Normal", "Warning"]), &event));
        assert!(!matches(&wanted(&[], &["Normal"]), &event));
        assert!(!matches(&wanted(&["shop"], &["Warning"]), &event));
    }
}
