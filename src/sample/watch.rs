//! Watches.
//!
//! Owns: the frames of a watch, its bookmarks, its resumption and its end. Owns not: the history
//! it reads (`store`).
//! Invariant: a watch holds one version number and at most [`BATCH`] changes; a reader that falls
//! behind the history gets one ERROR frame with a 410 and the end.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::answer::{self, Answer, Failure};
use super::catalog::Resource;
use super::clock;
use super::collection::{too_new, version};
use super::request::{Form, Query, Target};
use super::selector::Selector;
use super::store::{Change, Store};
use super::table::{self, Include};

/// Changes read from the history at a time.
const BATCH: usize = 64;
/// Between two bookmarks. A real server sends about one a minute; a demo shows them sooner.
const BOOKMARK_EVERY: Duration = Duration::from_secs(30);
/// The longest watch. A real server ends one after 30 to 60 minutes.
const LONGEST: Duration = Duration::from_secs(45 * 60);

/// Answers a watch.
///
/// # Errors
/// 400 for selectors and versions that cannot be read, 504 for a version of the future.
pub(super) fn answer(
    store: &Arc<Store>,
    target: &Target,
    query: &Query,
    form: Form,
    stop: CancellationToken,
) -> Result<Answer, Failure> {
    let mut selector = Selector::of(query, target.resource)?;
    if let Some(name) = &target.name {
        selector = selector.and_name(name);
    }
    let asked = query.number("timeoutSeconds")?.map(Duration::from_secs);
    let bookmarks = query.flag("allowWatchBookmarks");
    let initial = query.flag("sendInitialEvents");
    if initial && query.text("resourceVersionMatch") != Some("NotOlderThan") {
        return Err(Failure::bad_request(
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ));
    }
    let wanted = version(query)?.filter(|version| *version > 0);
    let current = store.version();
    if let Some(wanted) = wanted.filter(|wanted| *wanted > current) {
        return Err(too_new(wanted, current));
    }
    let mut watch = Watch {
        store: Arc::clone(store),
        versions: store.subscribe(),
        resource: target.resource,
        namespace: target.namespace.clone(),
        selector,
        form,
        include: Include::of(query.text("includeObject")),
        definitions: true,
        version: wanted.unwrap_or(current),
        ready: VecDeque::new(),
        bookmarks,
        next_bookmark: Instant::now() + BOOKMARK_EVERY,
        end: Instant::now() + asked.unwrap_or(LONGEST).min(LONGEST),
        ended: false,
        stop,
    };
    if initial || wanted.is_none() {
        watch.begin_with_all();
        if initial && bookmarks {
            watch.ready.push_back(watch.bookmark(true));
        }
    }
    let frames = stream::unfold(watch, |mut watch| async move {
        let frame = watch.next().await?;
        Some((frame, watch))
    });
    Ok(answer::pieces(answer::JSON, frames))
}

struct Watch {
    store: Arc<Store>,
    versions: watch::Receiver<u64>,
    resource: &'static Resource,
    namespace: Option<String>,
    selector: Selector,
    form: Form,
    include: Include,
    /// Whether the next table still has to name its columns.
    definitions: bool,
    /// Everything up to this version has been seen.
    version: u64,
    ready: VecDeque<Bytes>,
    bookmarks: bool,
    next_bookmark: Instant,
    end: Instant,
    ended: bool,
    stop: CancellationToken,
}

impl Watch {
    /// The next frame, or the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Some(frame);
            }
            if self.ended {
                return None;
            }
            // Seen before reading, so that a change in between wakes the wait below.
            self.versions.mark_unchanged();
            if self.read() {
                continue;
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => self.ended = true,
                () = tokio::time::sleep_until(self.end) => self.ended = true,
                () = tokio::time::sleep_until(self.next_bookmark), if self.bookmarks => {
                    self.next_bookmark = Instant::now() + BOOKMARK_EVERY;
                    let frame = self.bookmark(false);
                    self.ready.push_back(frame);
                }
                changed = self.versions.changed() => self.ended = changed.is_err(),
            }
        }
    }

    /// The collection as it is, as events that add.
    fn begin_with_all(&mut self) {
        let snapshot = self.store.list(self.resource, self.namespace.as_deref());
        self.version = snapshot.version;
        for (_, object) in snapshot.objects {
            if self.selector.matches(&object) {
                let frame = self.frame("ADDED", &object);
                self.ready.push_back(frame);
            }
        }
    }

    /// Takes changes from the history. False when there are none.
    fn read(&mut self) -> bool {
        let changes = match self.store.since(self.version, BATCH) {
            Ok(changes) => changes,
            Err(expired) => {
                let message = format!(
                    "too old resource version: {} ({})",
                    self.version, expired.oldest
                );
                let status = Failure::expired(message).status();
                self.ready.push_back(event("ERROR", &status));
                self.ended = true;
                return true;
            }
        };
        for change in &changes {
            self.version = change.version;
            if change.is_of(self.resource, self.namespace.as_deref())
                && let Some(kind) = self.seen_as(change)
            {
                let frame = self.frame(kind, &change.object);
                self.ready.push_back(frame);
            }
        }
        !changes.is_empty()
    }

    /// What a change is to this watch: an object may begin or cease to be selected.
    fn seen_as(&self, change: &Change) -> Option<&'static str> {
        let before = change
            .previous
            .as_ref()
            .is_some_and(|object| self.selector.matches(object));
        let after = !change.deleted && self.selector.matches(&change.object);
        match (before, after) {
            (false, true) => Some("ADDED"),
            (true, true) => Some("MODIFIED"),
            (true, false) => Some("DELETED"),
            (false, false) => None,
        }
    }

    fn frame(&mut self, kind: &str, object: &Value) -> Bytes {
        match self.form {
            Form::Object | Form::Discovery => event(kind, object),
            Form::Partial => event(kind, &table::partial(object)),
            Form::Table => {
                let metadata = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
                let definitions = std::mem::take(&mut self.definitions);
                let now = clock::now();
                let object = [object];
                let table = table::table(
                    self.resource,
                    object,
                    self.include,
                    &metadata,
                    definitions,
                    now,
                );
                event(kind, &table)
            }
        }
    }

    fn bookmark(&self, initial: bool) -> Bytes {
        let mut metadata = json!({"resourceVersion": self.version.to_string(),
            "creationTimestamp": null});
        if initial {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let kind = self.resource.kind;
        let mut object =
            json!({"kind": kind, "apiVersion": self.resource.api_version(), "metadata": metadata});
        match self.form {
            Form::Object | Form::Discovery => {}
            Form::Partial => object = table::partial(&object),
            Form::Table => {
                let version = json!({"resourceVersion": self.version.to_string()});
                let row = json!({"cells": [], "object": table::partial(&object)});
                object = table::table(self.resource, [], self.include, &version, false, 0);
                object["rows"] = json!([row]);
            }
        }
        event("BOOKMARK", &object)
    }
}

fn event(kind: &str, object: &Value) -> Bytes {
    let mut line = json!({"type": kind, "object": object}).to_string();
    line.push('\n');
    line.into()
}
