//! The logs of several containers as one stream: of one pod, or of all that a selector picks.
//!
//! Owns which containers are read and when: pods come and go. Owns not: how one is read
//! (`source`). Invariants: at most [`limits::logs::SOURCES`] at once, and what is left out is told;
//! nothing is read while nobody asks for the next event; a source is forgotten exactly when its pod
//! is gone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use super::cursor::Cursor;
use super::event::{Ended, Event, Lost, Told};
use super::options::{Options, Since};
use super::pod::{Containers, Pod};
use super::request::Name;
use super::source::Source;
use crate::backoff::{Backoff, Pace, Window};
use crate::chance;
use crate::cluster::objects::{
    self, Change, Collection, ObjectError, Objects, Pages, Refusal, Uid,
};
use crate::limits;

/// What is read.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Of which pods.
    pub pods: Pods,
    /// Which of their containers.
    pub containers: Containers,
    /// How.
    pub options: Options,
    /// Where the requester stands; none where it begins.
    pub resume: Option<BTreeMap<String, Cursor>>,
}

/// Which pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pods {
    /// The one of this name, as long as it lives.
    Named {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// All that a label selector picks.
    Selected {
        /// In this namespace; in all where it is empty.
        namespace: String,
        /// The selector; every pod where it is empty.
        labels: String,
    },
}

/// What the follower has to tell.
#[derive(Debug)]
pub enum News {
    /// Something of one log.
    Told(Told),
    /// The pod of this source is gone, and all is told: its cursor is of no more use.
    Forget(String),
    /// So many logs more would be read, and are not.
    LeftOut(usize),
    /// It is not known which pods there are; it is tried again.
    Trouble(String),
    /// It is known again.
    Recovered,
}

/// Where the list of pods comes from.
enum Listing {
    /// Only those that there are.
    Once {
        pages: Box<Pages<Pod>>,
        items: std::vec::IntoIter<Pod>,
    },
    Followed(Box<objects::Follower<Pod, ()>>),
    /// It failed, and begins anew then.
    Wait(Instant),
    Done,
}

/// One source that is known.
#[derive(Debug)]
struct Known {
    name: Arc<Name>,
    /// Nothing more comes.
    ended: bool,
    /// Told to be forgotten; kept so that a late word of its pod does not begin it anew.
    forgotten: bool,
}

impl Listing {
    fn begin(objects: &Objects, spec: &Spec) -> Self {
        let pods = Collection::new("", "v1", "pods");
        let pods = match &spec.pods {
            Pods::Named { namespace, name } => pods
                .within(namespace)
                .fields(&format!("metadata.name={name}")),
            Pods::Selected { namespace, labels } => pods.within(namespace).labels(labels),
        };
        // One pod's logs tell themselves when it is gone: a thousand of these need no thousand
        // watches.
        if spec.options.follow && matches!(spec.pods, Pods::Selected { .. }) {
            return Self::Followed(Box::new(objects.follow(pods)));
        }
        Self::Once {
            pages: Box::new(objects.list(&pods)),
            items: Vec::new().into_iter(),
        }
    }
}

type Step = (Box<Source>, Result<Option<Told>, ObjectError>);

/// See the module.
pub struct Follower {
    objects: Objects,
    spec: Spec,
    listing: Listing,
    /// Between attempts at the first listing.
    retry: Backoff,
    listed: bool,
    running: FuturesUnordered<BoxFuture<'static, Step>>,
    /// Sources that wait for their turn.
    ready: VecDeque<Box<Source>>,
    known: BTreeMap<Uid, Vec<Known>>,
    /// Pods that are gone while something of them is still read.
    deleted: BTreeSet<Uid>,
    /// How many of the known ones a requester holds a cursor of.
    held: usize,
    left_out: VecDeque<Arc<Name>>,
    /// What was told last of how many are left out.
    told_left_out: usize,
    news: VecDeque<News>,
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower")
            .field("spec", &self.spec)
            .finish_non_exhaustive()
    }
}

impl Follower {
    /// Reads what `spec` says, under the identity of `objects`.
    #[must_use]
    pub fn new(objects: Objects, spec: Spec) -> Self {
        Self {
            listing: Listing::begin(&objects, &spec),
            retry: Backoff::new(Window::new(limits::logs::RETRY.0, limits::logs::RETRY.1)),
            objects,
            spec,
            listed: false,
            running: FuturesUnordered::new(),
            ready: VecDeque::new(),
            known: BTreeMap::new(),
            deleted: BTreeSet::new(),
            held: 0,
            left_out: VecDeque::new(),
            told_left_out: 0,
            news: VecDeque::new(),
        }
    }

    /// What comes next; nothing after the end, which only one pod, or what is not followed, has.
    ///
    /// # Errors
    /// What no waiting mends: no such pod, a refusal; and what the first listing fails at.
    ///
    /// # Cancel safety
    /// Nothing is lost: what was begun goes on with the next call.
    pub async fn next(&mut self) -> Result<Option<News>, ObjectError> {
        loop {
            if let Some(news) = self.news.pop_front() {
                return Ok(Some(news));
            }
            self.fill();
            if self.listed && self.running.is_empty() && self.ends() {
                return Ok(None);
            }
            tokio::select! {
                biased;
                change = listed(&mut self.listing) => match change {
                    Ok(change) => self.changed(change)?,
                    Err(error) => self.unlisted(error)?,
                },
                Some((source, told)) = self.running.next(), if !self.running.is_empty() => {
                    self.stepped(source, told?);
                }
            }
        }
    }

    /// Lets sources run: all that are followed, a few of those that are read once.
    fn fill(&mut self) {
        let most = if self.spec.options.follow {
            limits::logs::SOURCES
        } else {
            limits::logs::READS
        };
        while self.running.len() < most
            && let Some(mut source) = self.ready.pop_front()
        {
            self.running.push(Box::pin(async move {
                let told = source.next().await;
                (source, told)
            }));
        }
    }

    fn ends(&self) -> bool {
        !self.spec.options.follow || matches!(self.spec.pods, Pods::Named { .. })
    }

    fn stepped(&mut self, source: Box<Source>, told: Option<Told>) {
        let Some(told) = told else {
            return;
        };
        let ended = match &told.event {
            Event::Ended { reason } => Some(*reason),
            _ => None,
        };
        self.news.push_back(News::Told(told));
        match ended {
            // First in its turn: a bounded reading goes from one log to the next.
            None => self.ready.push_front(source),
            Some(reason) => self.ended(source.name(), reason == Ended::Gone),
        }
    }

    /// Nothing more comes of a source; `gone` where it found its pod to be no more.
    fn ended(&mut self, name: &Arc<Name>, gone: bool) {
        let uid = Uid::new(&name.uid);
        let known = self.known.get_mut(&uid).into_iter().flatten();
        if let Some(known) = known.into_iter().find(|known| known.name == *name) {
            known.ended = true;
        }
        if gone || self.deleted.contains(&uid) {
            self.forget(uid, |known| known.ended);
        }
    }

    /// The pod was deleted. What is still read finds out by itself, after its last lines.
    fn gone(&mut self, uid: Uid) {
        self.left_out.retain(|name| Uid::new(&name.uid) != uid);
        if self.known.contains_key(&uid) {
            self.deleted.insert(uid);
        }
        self.forget(uid, |known| known.ended);
        self.tell_left_out();
    }

    fn forget(&mut self, uid: Uid, which: impl Fn(&Known) -> bool) {
        let Some(all) = self.known.get_mut(&uid) else {
            return;
        };
        for known in all
            .iter_mut()
            .filter(|known| !known.forgotten && which(known))
        {
            known.forgotten = true;
            self.held -= 1;
            self.news.push_back(News::Forget(known.name.source()));
        }
        if self.deleted.contains(&uid) && all.iter().all(|known| known.forgotten) {
            self.known.remove(&uid);
            self.deleted.remove(&uid);
        }
        while self.held < limits::logs::SOURCES
            && let Some(name) = self.left_out.pop_front()
        {
            self.add(name);
        }
        self.tell_left_out();
    }

    fn changed(&mut self, change: Listed) -> Result<(), ObjectError> {
        match change {
            Listed::Pod(pod) => self.seen(&pod),
            Listed::Gone(uid) => self.gone(uid),
            Listed::All => return self.all_listed(),
            Listed::Trouble(message) => self.news.push_back(News::Trouble(message)),
            Listed::Recovered => self.news.push_back(News::Recovered),
            Listed::Again => self.listing = Listing::begin(&self.objects, &self.spec),
            Listed::Nothing => {}
        }
        Ok(())
    }

    /// The first listing failed. A requester that was here before has waited for worse.
    fn unlisted(&mut self, error: ObjectError) -> Result<(), ObjectError> {
        if self.listed || self.spec.resume.is_none() || !error.may_pass() {
            return Err(error);
        }
        if self.retry.attempts() == 0 {
            self.news.push_back(News::Trouble(error.to_string()));
        }
        let wait = self.retry.next(Pace::Usual, &mut chance::rng());
        self.listing = Listing::Wait(Instant::now() + wait);
        Ok(())
    }

    fn seen(&mut self, pod: &Pod) {
        let uid = Uid::new(&pod.metadata.uid);
        if let Pods::Named { name, .. } = &self.spec.pods {
            // Another one of the same name is another pod.
            let other = self.known.keys().any(|known| *known != uid);
            let resumed = self.spec.resume.as_ref().filter(|held| !held.is_empty());
            let prefix = format!("{}/", pod.metadata.uid);
            let stranger =
                resumed.is_some_and(|held| held.keys().all(|source| !source.starts_with(&prefix)));
            if other || stranger || pod.metadata.name != *name {
                return;
            }
        }
        for container in pod.containers(&self.spec.containers) {
            let known = self.known.get(&uid).into_iter().flatten();
            if known
                .into_iter()
                .any(|known| known.name.container == container)
            {
                continue;
            }
            self.add(Arc::new(Name {
                namespace: pod.metadata.namespace.clone(),
                pod: pod.metadata.name.clone(),
                uid: pod.metadata.uid.clone(),
                container: container.to_owned(),
            }));
        }
    }

    fn add(&mut self, name: Arc<Name>) {
        if self.held >= limits::logs::SOURCES {
            let waits = self.left_out.contains(&name);
            if !waits && self.left_out.len() < limits::logs::LEFT_OUT {
                self.left_out.push_back(name);
            }
            if self.listed {
                self.tell_left_out();
            }
            return;
        }
        let held = self.spec.resume.as_mut();
        let cursor = held.and_then(|held| held.remove(&name.source()));
        let mut options = self.spec.options.clone();
        if cursor.is_none() && (self.listed || self.spec.resume.is_some()) {
            // It came after the requester began: all of it is new.
            options.tail = None;
            options.since = options
                .since
                .filter(|since| matches!(since, Since::Second(_)));
        }
        self.held += 1;
        self.known
            .entry(Uid::new(&name.uid))
            .or_default()
            .push(Known {
                name: Arc::clone(&name),
                ended: false,
                forgotten: false,
            });
        let source = Source::new(self.objects.clone(), name, options, cursor);
        self.ready.push_back(Box::new(source));
    }

    /// The first listing is complete.
    fn all_listed(&mut self) -> Result<(), ObjectError> {
        if std::mem::replace(&mut self.listed, true) {
            return Ok(());
        }
        if self.retry.attempts() > 0 {
            self.news.push_back(News::Recovered);
        }
        let left = self.spec.resume.as_mut().map(std::mem::take);
        let none = self.known.is_empty();
        let resumed = left.as_ref().is_some_and(|left| !left.is_empty());
        for (source, cursor) in left.into_iter().flatten() {
            self.lost(source, &cursor);
        }
        if let Pods::Named { name, .. } = &self.spec.pods
            && none
            && !resumed
        {
            return Err(ObjectError::NotFound(Refusal {
                status: 404,
                reason: "NotFound".into(),
                message: format!("pod {name} or its container not found"),
                retry_after: None,
            }));
        }
        self.tell_left_out();
        Ok(())
    }

    /// The pod of a source that the requester stands in is gone.
    fn lost(&mut self, source: String, cursor: &Cursor) {
        if let Cursor::At(mark) = cursor {
            let (uid, container) = source.split_once('/').unwrap_or((&source, ""));
            let name = Name {
                namespace: String::new(),
                pod: String::new(),
                uid: uid.to_owned(),
                container: container.to_owned(),
            };
            self.news.push_back(News::Told(Told {
                name: Arc::new(name),
                cursor: None,
                event: Event::Gap {
                    reason: Lost::Gone,
                    after: mark.stamp,
                },
                source: source.clone(),
            }));
        }
        self.news.push_back(News::Forget(source));
    }

    fn tell_left_out(&mut self) {
        let count = self.left_out.len();
        if count != self.told_left_out {
            self.told_left_out = count;
            self.news.push_back(News::LeftOut(count));
        }
    }
}

/// What a listing brings.
enum Listed {
    Pod(Box<Pod>),
    Gone(Uid),
    All,
    Trouble(String),
    Recovered,
    Again,
    Nothing,
}

/// The next of a listing; never after its end.
async fn listed(listing: &mut Listing) -> Result<Listed, ObjectError> {
    match listing {
        Listing::Done => std::future::pending().await,
        Listing::Wait(until) => {
            tokio::time::sleep_until(*until).await;
            Ok(Listed::Again)
        }
        Listing::Followed(follower) => Ok(match follower.next().await? {
            Change::Added { object, .. } | Change::Changed { object, .. } => {
                Listed::Pod(Box::new(object))
            }
            Change::Deleted { uid, .. } => Listed::Gone(uid),
            Change::Synced(_) => Listed::All,
            Change::Interrupted(error) => Listed::Trouble(error.to_string()),
            Change::Restored => Listed::Recovered,
            Change::Moved | Change::Relisting => Listed::Nothing,
        }),
        Listing::Once { pages, items } => loop {
            if let Some(pod) = items.next() {
                return Ok(Listed::Pod(Box::new(pod)));
            }
            match pages.next().await? {
                Some(page) => *items = page.items.into_iter(),
                None => {
                    *listing = Listing::Done;
                    return Ok(Listed::All);
                }
            }
        },
    }
}
