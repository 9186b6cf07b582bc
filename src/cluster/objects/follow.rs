//! A collection, followed through any fault: listed, watched, and brought up to date again.
//!
//! Owns the order of list and watch, the waits between attempts and what is told of them. Owns
//! not: what its caller makes of the objects.
//!
//! ```text
//!            ┌───────────── 410, after a wait if it is not the first ─────────────┐
//!            ▼                                                                    │
//!  start ─▶ List ─pages─▶ Sweep (what was not listed is gone) ─▶ Open ─▶ Watch ───┤
//!            ▲                                                    ▲       │       │
//!            └────────── Wait ◀──────── a fault ──────────────────┴───────┴───────┘
//! ```
//!
//! Invariants: replaying the changes gives the state of the API server; no change is handed out
//! twice and no deletion is missed, whatever was lost in between; there are waits with jitter
//! between attempts that bring nothing.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::time::Sleep;

use super::known::{Known, News, Uid};
use super::list::Pages;
use super::watch::{Event, Object, Watch};
use super::{Collection, ObjectError, Objects};
use crate::backoff::{Backoff, Pace, Window};
use crate::chance;
use crate::limits;

/// What a follower has to tell.
#[derive(Debug)]
pub enum Change<T, V> {
    /// An object that was not known.
    Added {
        /// Which one.
        uid: Uid,
        /// What is read of it.
        object: T,
    },
    /// An object that was known in another version.
    Changed {
        /// Which one.
        uid: Uid,
        /// What is read of it.
        object: T,
        /// What was kept of it.
        old: V,
    },
    /// An object is gone.
    Deleted {
        /// Which one.
        uid: Uid,
        /// What was kept of it.
        old: V,
    },
    /// The resourceVersion is too old: what is there is listed again, and what happened since that
    /// was undone again will not be seen.
    Relisting,
    /// All changes up to now give the state of one moment.
    Synced(Synced),
    /// Only the resourceVersion has moved on.
    Moved,
    /// The API server does not answer as it should; the follower keeps trying.
    Interrupted(ObjectError),
    /// It answers again.
    Restored,
}

/// How a listing came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Synced {
    /// The first one, of the present.
    First,
    /// The first one, of the very moment that was asked for.
    Resumed,
    /// Another one, after [`Change::Relisting`].
    Relisted,
}

/// See the module. `T` is what is read of an object, `V` what is kept of it.
pub struct Follower<T, V> {
    objects: Objects,
    collection: Collection,
    known: Known<V>,
    phase: Phase<T>,
    version: String,
    backoff: Backoff,
    /// How the listing that runs, or the next one, is to be called.
    listing: Synced,
    /// Listed or resumed once: from now on faults are waited out.
    established: bool,
    interrupted: bool,
}

enum Phase<T> {
    /// What is to be listed, at which version if not at the present one.
    Start(Option<String>),
    List {
        pages: Box<Pages<T>>,
        items: std::vec::IntoIter<T>,
        version: Option<String>,
    },
    Sweep(Vec<Uid>),
    Open(Opening<T>),
    Watch {
        watch: Box<Watch<T>>,
        /// It has brought something.
        proven: bool,
    },
    /// Until when, and whether to list or to watch then.
    Wait(Pin<Box<Sleep>>, bool),
    Over,
}

type Opening<T> = Pin<Box<dyn Future<Output = Result<Watch<T>, ObjectError>> + Send>>;

impl<T, V> std::fmt::Debug for Follower<T, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower")
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl Objects {
    /// Follows a collection from its present state on.
    #[must_use]
    pub fn follow<T: Object, V: Default>(&self, collection: Collection) -> Follower<T, V> {
        Follower::new(self, collection, Phase::Start(None), Synced::First)
    }

    /// Follows a collection whose state at `version` was seen before: that state is listed first
    /// ([`Synced::Resumed`]), or the present one where it cannot be had any more
    /// ([`Synced::First`]).
    #[must_use]
    pub fn follow_state<T: Object, V: Default>(
        &self,
        collection: Collection,
        version: &str,
    ) -> Follower<T, V> {
        let phase = Phase::Start(Some(version.to_owned()));
        Follower::new(self, collection, phase, Synced::Resumed)
    }

    /// Follows what happens to a collection after `version`, without the state at it: what was
    /// known then is new when it changes, and its deletion is not told. [`Change::Relisting`] comes
    /// first where the version is too old.
    #[must_use]
    pub fn follow_changes<T: Object, V: Default>(
        &self,
        collection: Collection,
        version: &str,
    ) -> Follower<T, V> {
        let mut follower = Follower::new(self, collection, Phase::Over, Synced::Relisted);
        version.clone_into(&mut follower.version);
        follower.open();
        follower
    }
}

impl<T: Object, V: Default> Follower<T, V> {
    fn new(objects: &Objects, collection: Collection, phase: Phase<T>, listing: Synced) -> Self {
        let window = Window::new(limits::WATCH_RETRY_FIRST, limits::WATCH_RETRY_CAP);
        Self {
            objects: objects.clone(),
            collection,
            known: Known::new(Arc::clone(&objects.cluster.inner.followed)),
            phase,
            version: String::new(),
            backoff: Backoff::new(window),
            listing,
            established: false,
            interrupted: false,
        }
    }

    /// The same, with waits of this window between attempts.
    #[must_use]
    pub fn retry(mut self, window: Window) -> Self {
        self.backoff.set_window(window);
        self
    }

    /// The resourceVersion up to which all has been told: a cursor.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// What is to be kept of an object that a change has just brought.
    pub fn keep(&mut self, uid: Uid, value: V) {
        self.known.keep(uid, value);
    }

    /// Lists everything again and hands each object out as changed, for a caller that kept less
    /// than it now needs.
    pub fn recount(&mut self) {
        self.known.forget_versions();
        self.phase = Phase::Start(None);
    }

    /// Whether what is known is the state of one moment: nothing is being listed.
    #[must_use]
    pub const fn whole(&self) -> bool {
        !matches!(
            self.phase,
            Phase::Start(_) | Phase::List { .. } | Phase::Sweep(_) | Phase::Wait(_, true)
        )
    }

    /// How many objects there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.known.len()
    }

    /// The next change.
    ///
    /// # Errors
    /// What no waiting mends: a refusal, an object above the bound; and any failure of the first
    /// listing. The follower is over then.
    ///
    /// # Cancel safety
    /// A change is taken only when it is returned.
    pub async fn next(&mut self) -> Result<Change<T, V>, ObjectError> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// As [`Follower::next`].
    ///
    /// # Errors
    /// As [`Follower::next`].
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Change<T, V>, ObjectError>> {
        loop {
            let told = match &mut self.phase {
                Phase::Over => return Poll::Pending,
                Phase::Start(exact) => {
                    let pages = self.objects.list(&self.collection);
                    let pages = match exact.take() {
                        Some(version) => pages.exactly(&version),
                        None => pages,
                    };
                    self.known.begin();
                    self.phase = Phase::List {
                        pages: Box::new(pages),
                        items: Vec::new().into_iter(),
                        version: None,
                    };
                    continue;
                }
                Phase::List { .. } => ready!(self.poll_list(cx)),
                Phase::Sweep(stale) => match stale.pop() {
                    Some(uid) => Ok(self
                        .known
                        .remove(uid)
                        .map(|old| Change::Deleted { uid, old })),
                    None => {
                        self.open();
                        self.established = true;
                        Ok(Some(Change::Synced(std::mem::replace(
                            &mut self.listing,
                            Synced::Relisted,
                        ))))
                    }
                },
                Phase::Open(opening) => {
                    let opened = ready!(opening.as_mut().poll(cx));
                    opened.map(|watch| {
                        self.phase = Phase::Watch {
                            watch: Box::new(watch),
                            proven: false,
                        };
                        self.established = true;
                        self.restored()
                    })
                }
                Phase::Watch { .. } => ready!(self.poll_watch(cx)),
                Phase::Wait(until, list) => {
                    let list = *list;
                    ready!(until.as_mut().poll(cx));
                    if list {
                        self.phase = Phase::Start(None);
                    } else {
                        self.open();
                    }
                    continue;
                }
            };
            match told.or_else(|error| self.failed(error)) {
                Ok(None) => {}
                Ok(Some(change)) => return Poll::Ready(Ok(change)),
                Err(error) => {
                    self.phase = Phase::Over;
                    return Poll::Ready(Err(error));
                }
            }
        }
    }

    fn poll_list(&mut self, cx: &mut Context<'_>) -> Poll<Told<T, V>> {
        let Phase::List {
            pages,
            items,
            version,
        } = &mut self.phase
        else {
            return Poll::Ready(Ok(None));
        };
        if let Some(object) = items.next() {
            return Poll::Ready(see(&mut self.known, object));
        }
        if let Some(version) = version.take() {
            self.version = version;
            self.phase = Phase::Sweep(self.known.stale());
            return Poll::Ready(Ok(None));
        }
        let Some(page) = ready!(pages.poll_next(cx))? else {
            return Poll::Ready(Err(ObjectError::Malformed("a list without a version")));
        };
        if page.restarted {
            self.known.begin();
        }
        *items = page.items.into_iter();
        *version = page.version;
        Poll::Ready(Ok(self.restored()))
    }

    fn poll_watch(&mut self, cx: &mut Context<'_>) -> Poll<Told<T, V>> {
        let Phase::Watch { watch, proven } = &mut self.phase else {
            return Poll::Ready(Ok(None));
        };
        let Some(event) = ready!(watch.poll_next(cx))? else {
            // The server ends watches now and then; one that brought nothing is not hurried.
            if *proven {
                self.open();
            } else {
                self.wait(None, false);
            }
            return Poll::Ready(Ok(None));
        };
        if !std::mem::replace(proven, true) {
            self.backoff.reset();
        }
        watch.version().clone_into(&mut self.version);
        Poll::Ready(match event {
            Event::Added(object) | Event::Modified(object) => see(&mut self.known, object),
            Event::Deleted(object) => {
                let uid = Uid::new(object.uid());
                let gone = self.known.remove(uid);
                Ok(gone.map(|old| Change::Deleted { uid, old }))
            }
            Event::Bookmark => Ok(Some(Change::Moved)),
        })
    }

    fn open(&mut self) {
        let objects = self.objects.clone();
        let collection = self.collection.clone();
        let version = self.version.clone();
        self.phase = Phase::Open(Box::pin(async move {
            objects.watch(&collection, &version).await
        }));
    }

    fn restored(&mut self) -> Option<Change<T, V>> {
        std::mem::take(&mut self.interrupted).then_some(Change::Restored)
    }

    /// What follows a failure: another attempt, or the end.
    fn failed(&mut self, error: ObjectError) -> Told<T, V> {
        let listing = matches!(self.phase, Phase::List { .. });
        if listing && self.listing == Synced::Resumed && cannot_be_had(&error) {
            self.listing = Synced::First;
            self.phase = Phase::Start(None);
            return Ok(None);
        }
        if !listing && too_old(&error) {
            if self.backoff.attempts() == 0 {
                // One is what a long outage brings; only the next ones are worth a wait.
                let _ = self.backoff.next(Pace::Usual, &mut chance::rng());
                self.phase = Phase::Start(None);
            } else {
                self.wait(None, true);
            }
            return Ok(Some(Change::Relisting));
        }
        if !self.established || !error.may_pass() {
            return Err(error);
        }
        // A watch that breaks off is opened again before anybody is told.
        let first = matches!(self.phase, Phase::Watch { .. });
        let hint = error.refusal().and_then(|refusal| refusal.retry_after);
        self.wait(hint, listing);
        if first || std::mem::replace(&mut self.interrupted, true) {
            Ok(None)
        } else {
            Ok(Some(Change::Interrupted(error)))
        }
    }

    fn wait(&mut self, hint: Option<std::time::Duration>, list: bool) {
        let rng = &mut chance::rng();
        let wait = match hint {
            Some(hint) => self.backoff.after(hint, rng),
            None => self.backoff.next(Pace::Usual, rng),
        };
        self.phase = Phase::Wait(Box::pin(tokio::time::sleep(wait)), list);
    }
}

type Told<T, V> = Result<Option<Change<T, V>>, ObjectError>;

fn see<T: Object, V: Default>(known: &mut Known<V>, object: T) -> Told<T, V> {
    let uid = Uid::new(object.uid());
    let news = known
        .see(uid, object.version())
        .map_err(|_| ObjectError::Crowded)?;
    Ok(match news {
        News::Added => Some(Change::Added { uid, object }),
        News::Changed(old) => Some(Change::Changed { uid, object, old }),
        News::Same => None,
    })
}

/// A version that the API server does not know any more, or not yet: it was set back.
fn too_old(error: &ObjectError) -> bool {
    match error {
        ObjectError::Gone(_) => true,
        ObjectError::Refused(refusal) => {
            refusal.status == 504 && refusal.message.contains("resource version")
        }
        _ => false,
    }
}

/// Whether the state of a moment cannot be listed: too old, or not a moment of this server.
fn cannot_be_had(error: &ObjectError) -> bool {
    match error {
        ObjectError::Gone(_) => true,
        ObjectError::Refused(refusal) => refusal.status == 400 || refusal.status >= 500,
        _ => false,
    }
}
