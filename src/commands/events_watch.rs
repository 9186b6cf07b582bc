//! `events.watch`: the cluster's events, those of a series once (P-92, P-93).
//!
//! Owns what of an Event is told and when it is told again. Invariants: an event is told once for
//! each count; where some may have come and gone unseen there is a gap; nothing is read before it
//! can be told.

pub(super) mod object;

use std::hash::{DefaultHasher, Hash, Hasher};

use tokio::time::Instant;

use super::{CommandError, Context, Done, live};
use crate::cluster::objects::{Change, Collection, Follower, Object as _, Uid};
use crate::cluster::occurrence::Occurrence;
use crate::limits;
use crate::protocol::ErrorBody;
use crate::protocol::command::events_watch::{Event, Gap, Reason, Request, Time};
use crate::protocol::command::watched::{Interrupted, Restored, Synced};
use crate::session::StreamWriter;
use object::told;

/// The letter of its cursors.
const LETTER: char = 'e';

pub(super) async fn run(context: Context, request: Request) -> Result<Done, CommandError> {
    let objects = context.objects();
    let resume = live::cursor(&request.resume)?;
    let (follower, newer) = match resume {
        None => (objects.follow(collection(&request)), None),
        Some(cursor) => {
            let [version] = live::split(LETTER, cursor)?;
            let follower = objects.follow_changes(collection(&request), version);
            (follower, version.parse().ok())
        }
    };
    let watching = Watching {
        follower,
        writer: context.writer,
        since: request.since,
        newer,
        listing: resume.is_none(),
        gap: false,
        moved: false,
        told: Instant::now(),
    };
    match watching.run().await? {}
}

/// The events that are asked for. Those of `core/v1` and of `events.k8s.io` are the same ones; only
/// the first can be asked for by what they are about.
fn collection(request: &Request) -> Collection {
    let object = &request.object;
    let fields: Vec<String> = [
        ("involvedObject.kind", &object.kind),
        ("involvedObject.name", &object.name),
        ("involvedObject.uid", &object.uid),
        ("type", &request.kind),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .map(|(field, value)| format!("{field}={}", escape(value)))
    .collect();
    Collection::new("", "v1", "events")
        .within(&request.namespace)
        .fields(&fields.join(","))
}

/// A value as field selectors have it: what would end it is escaped.
fn escape(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for char in value.chars() {
        if matches!(char, '\\' | ',' | '=') {
            escaped.push('\\');
        }
        escaped.push(char);
    }
    escaped
}

struct Watching {
    /// It keeps a digest of what was told of each event.
    follower: Follower<Occurrence, u64>,
    writer: StreamWriter,
    /// Of those that were there already, which ones.
    since: Option<Time>,
    /// What is not newer was told before the resumption. The API server's versions can be compared
    /// since 1.35; where they are no numbers, everything is told again.
    newer: Option<u64>,
    /// What comes was there already.
    listing: bool,
    /// A gap was told, and what is still there is being listed.
    gap: bool,
    /// The cursor has, since it was told.
    moved: bool,
    told: Instant,
}

impl Watching {
    async fn run(mut self) -> Result<std::convert::Infallible, CommandError> {
        loop {
            self.writer.ready().await?;
            let due = self.told + limits::LIVE_CURSOR;
            let moved = self.moved;
            tokio::select! {
                biased;
                change = self.follower.next() => self.take(change?).await?,
                // A cursor that does not move grows too old to resume from.
                () = tokio::time::sleep_until(due), if moved => self.synced().await?,
            }
        }
    }

    async fn take(&mut self, change: Change<Occurrence, u64>) -> Result<(), CommandError> {
        match change {
            Change::Added { uid, object } => self.happened(uid, object, None).await,
            Change::Changed { uid, object, old } => self.happened(uid, object, Some(old)).await,
            // Events are forgotten after an hour; that is no news.
            Change::Deleted { .. } | Change::Moved => {
                self.moved = true;
                Ok(())
            }
            Change::Relisting => {
                if self.listing || std::mem::replace(&mut self.gap, true) {
                    return Ok(());
                }
                let gap = Gap {
                    cursor: self.cursor(),
                    reason: Reason::Compacted,
                };
                Ok(self.writer.event(&Event::Gap(gap)).await?)
            }
            Change::Synced(_) => {
                self.listing = false;
                self.gap = false;
                self.newer = None;
                self.synced().await
            }
            Change::Interrupted(error) => {
                let ErrorBody { code, message } = CommandError::from(error).body();
                let interrupted = Event::Interrupted(Interrupted { code, message });
                Ok(self.writer.event(&interrupted).await?)
            }
            Change::Restored => {
                let restored = Event::Restored(Restored {});
                Ok(self.writer.event(&restored).await?)
            }
        }
    }

    async fn happened(
        &mut self,
        uid: Uid,
        object: Occurrence,
        old: Option<u64>,
    ) -> Result<(), CommandError> {
        let version: Option<u64> = object.version().parse().ok();
        let mut happening = told(&object);
        // It is not held while the reader is slow: only what is told of it is bounded.
        drop(object);
        let digest = digest(happening.count, &happening.last);
        self.follower.keep(uid, digest);
        self.moved = true;
        let early = self.since.as_ref().filter(|_| self.listing);
        let told = old == Some(digest)
            || early.is_some_and(|since| !since.reaches(&happening.last))
            || version.is_some_and(|version| self.newer.is_some_and(|newer| version <= newer));
        if told {
            return Ok(());
        }
        if !self.listing && !self.gap {
            happening.cursor = self.cursor();
            self.moved = false;
            self.told = Instant::now();
        }
        let event = Event::Event(Box::new(happening));
        Ok(self.writer.event(&event).await?)
    }

    async fn synced(&mut self) -> Result<(), CommandError> {
        self.moved = false;
        self.told = Instant::now();
        match self.cursor() {
            Some(cursor) => {
                let synced = Event::Synced(Synced { cursor });
                Ok(self.writer.event(&synced).await?)
            }
            None => Ok(()),
        }
    }

    fn cursor(&self) -> Option<String> {
        let version = self.follower.version();
        (!version.is_empty()).then(|| live::join(LETTER, [version]))
    }
}

/// What of an event makes it another one to be told.
pub(super) fn digest(count: u32, last: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (count, last).hash(&mut hasher);
    hasher.finish()
}
