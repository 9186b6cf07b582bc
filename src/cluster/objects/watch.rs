//! One watch of a collection, as long as the API server keeps it.
//!
//! Owns the reading of its events and the newest resourceVersion. Owns not: what comes after its
//! end (`follow`). Invariants: an event is handed out once and whole; a server that has gone
//! without a word is noticed; large events are read by few watches at a time.

use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rand::RngExt;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::PollSemaphore;

use super::error::Status;
use super::lines::Lines;
use super::{Collection, ObjectError, Objects, ResponseBody, parse};
use crate::chance;
use crate::cluster::ClusterError;
use crate::limits;

/// What is read of an object must tell which one it is.
pub trait Object: DeserializeOwned + Send + 'static {
    /// Its `metadata.uid`.
    fn uid(&self) -> &str;
    /// Its `metadata.resourceVersion`.
    fn version(&self) -> &str;
}

/// What happened to an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<T> {
    /// It is new, or has come to match the selector.
    Added(T),
    /// It was changed.
    Modified(T),
    /// It is gone, or does not match the selector any more.
    Deleted(T),
    /// Nothing; only the resourceVersion has moved on.
    Bookmark,
}

/// A watch that is open.
pub struct Watch<T> {
    body: ResponseBody,
    lines: Lines,
    version: String,
    /// When the server has been silent for too long.
    silence: Pin<Box<Sleep>>,
    bookmarked: bool,
    large: PollSemaphore,
    turn: Option<OwnedSemaphorePermit>,
    reads: PhantomData<fn() -> T>,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
struct Bookmark {
    metadata: Metadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    resource_version: String,
}

impl<T> std::fmt::Debug for Watch<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch")
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl Objects {
    /// Watches a collection from right after `version`.
    ///
    /// # Errors
    /// See [`ObjectError`]; `Gone` when the version is too old.
    ///
    /// # Cancel safety
    /// Dropping the watch closes its connection.
    pub async fn watch<T: Object>(
        &self,
        collection: &Collection,
        version: &str,
    ) -> Result<Watch<T>, ObjectError> {
        // Those who were cut off together do not all come back together again.
        let seconds = chance::rng().random_range(limits::WATCH_SECONDS);
        let target = collection.target(&[
            ("watch", "1"),
            ("allowWatchBookmarks", "true"),
            ("resourceVersion", version),
            ("timeoutSeconds", &seconds.to_string()),
        ]);
        let body = self.open(&target, collection.accept_each()).await?;
        let ends = Duration::from_secs(seconds) + limits::WATCH_BEHIND;
        Ok(Watch {
            body,
            lines: Lines::new(limits::OBJECT_BYTES),
            version: version.to_owned(),
            silence: Box::pin(tokio::time::sleep(ends)),
            bookmarked: false,
            large: PollSemaphore::new(Arc::clone(&self.cluster.inner.large)),
            turn: None,
            reads: PhantomData,
        })
    }
}

impl<T: Object> Watch<T> {
    /// The newest resourceVersion: another watch goes on from there.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The next event; nothing when the API server has ended the watch, which it does every few
    /// minutes.
    ///
    /// # Errors
    /// See [`ObjectError`]; `Gone` when the resourceVersion has become too old, `Cluster` when the
    /// connection broke or nothing came for too long. The watch is over then.
    ///
    /// # Cancel safety
    /// An event is taken only when it is returned.
    pub async fn next(&mut self) -> Result<Option<Event<T>>, ObjectError> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// As [`Watch::next`].
    ///
    /// # Errors
    /// As [`Watch::next`].
    pub fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Event<T>>, ObjectError>> {
        loop {
            match self.lines.next() {
                Err(long) => return Poll::Ready(Err(ObjectError::TooLarge(long.0))),
                Ok(Some(line)) => {
                    let event = self.read(&line)?;
                    return Poll::Ready(Ok(Some(event)));
                }
                Ok(None) => {}
            }
            if self.lines.waiting() < limits::WATCH_LARGE {
                self.turn = None;
            } else if self.turn.is_none() {
                self.turn = ready!(self.large.poll_acquire(cx));
            }
            match self.body.poll_chunk(cx) {
                Poll::Ready(Ok(Some(chunk))) => {
                    self.lines.push(&chunk);
                    self.heard();
                }
                // Half a line is what was cut off: it comes again.
                Poll::Ready(Ok(None)) => return Poll::Ready(Ok(None)),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                Poll::Pending => {
                    ready!(self.silence.as_mut().poll(cx));
                    return Poll::Ready(Err(ClusterError::Deadline(limits::WATCH_SILENCE).into()));
                }
            }
        }
    }

    /// Where bookmarks come, silence means something.
    fn heard(&mut self) {
        if self.bookmarked {
            let due = Instant::now() + limits::WATCH_SILENCE;
            self.silence.as_mut().reset(due);
        }
    }

    fn read(&mut self, line: &[u8]) -> Result<Event<T>, ObjectError> {
        let line: Line<'_> = parse(line)?;
        let object = line.object.get().as_bytes();
        let event = match line.kind {
            "BOOKMARK" => {
                let bookmark: Bookmark = parse(object)?;
                self.version = bookmark.metadata.resource_version;
                self.bookmarked = true;
                self.heard();
                return Ok(Event::Bookmark);
            }
            "ERROR" => return Err(parse::<Status>(object)?.error()),
            "ADDED" => Event::Added(parse(object)?),
            "MODIFIED" => Event::Modified(parse(object)?),
            "DELETED" => Event::Deleted(parse(object)?),
            _ => return Err(ObjectError::Malformed("an event of an unknown type")),
        };
        let (Event::Added(object) | Event::Modified(object) | Event::Deleted(object)) = &event
        else {
            return Ok(event);
        };
        self.version.clear();
        self.version.push_str(object.version());
        Ok(event)
    }
}
