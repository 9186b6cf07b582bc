//! `status.watch`: how the cluster is, and what changes of it (P-95, P-96).
//!
//! Owns the followers behind the state. Its pace is [`live`]'s, what is told of each object
//! `status.get`'s.

mod state;
mod unwell;

use std::sync::Arc;
use std::task::{Context as Polled, Poll};

use super::live::{self, News, State, Watched};
use super::status_get::{self, node, pod, service, workload};
use super::{CommandError, Context, Done};
use crate::cluster::ObjectError;
use crate::cluster::objects::{Change, Follower, Object, Objects, Synced};
use crate::protocol::command::status_get::Kind;
use crate::protocol::command::status_watch::{Event, Request};
use state::{PodKept, Status, WorkloadKey};

pub(super) use state::Shown;

/// The letter of its cursors, and how many resourceVersions they have.
const LETTER: char = 't';
const FOLLOWED: usize = 3 + workload::KINDS.len();

pub(super) async fn run(mut context: Context, request: Request) -> Result<Done, CommandError> {
    let objects = context.objects();
    let resume = live::cursor(&request.resume)?;
    let versions = match resume {
        None => None,
        Some(cursor) => Some(live::split::<FOLLOWED>(LETTER, cursor)?),
    };
    let mut state = Watching::new(&objects, &request.namespace, versions);
    state.status.cluster(status_get::cluster(&objects).await?);
    match live::run(state, &mut context.writer, resume.is_some()).await? {}
}

pub(super) struct Watching {
    /// None where only a namespace is asked for.
    nodes: Option<Follower<node::Node, Option<String>>>,
    pods: Follower<pod::Pod, PodKept>,
    services: Follower<service::Service, Option<Arc<str>>>,
    workloads: Vec<(Kind, Follower<workload::Workload, Option<WorkloadKey>>)>,
    begun: [Option<Synced>; FOLLOWED],
    status: Status,
    /// What is told without those that may not be listed, and which those are. A requester is told
    /// all or an error; whoever looks at the agent itself is told what can be.
    without: Option<[bool; FOLLOWED]>,
    /// Which one is asked first: they take turns.
    turn: usize,
}

fn follow<T: Object, V: Default>(
    objects: &Objects,
    collection: crate::cluster::objects::Collection,
    version: Option<&str>,
) -> Follower<T, V> {
    match version {
        None => objects.follow(collection),
        Some(version) => objects.follow_state(collection, version),
    }
}

impl Watching {
    /// The first `most` of each list, and all counts.
    pub(super) fn shown(&self, most: usize) -> Shown<'_> {
        self.status.shown(most)
    }

    pub(super) fn new(
        objects: &Objects,
        namespace: &str,
        versions: Option<[&str; FOLLOWED]>,
    ) -> Self {
        let version = |at: usize| versions.map(|versions| versions[at]);
        let nodes = namespace
            .is_empty()
            .then(|| follow(objects, status_get::nodes(), version(0)));
        let mut begun = [None; FOLLOWED];
        if nodes.is_none() {
            begun[0] = Some(Synced::Resumed);
        }
        let workloads = workload::KINDS.into_iter().zip(3..);
        Self {
            nodes,
            pods: follow(objects, status_get::pods(namespace), version(1)),
            services: follow(objects, service::collection(namespace), version(2)),
            workloads: workloads
                .map(|((kind, group, resource), at)| {
                    let collection = workload::collection(group, resource, namespace);
                    (kind, follow(objects, collection, version(at)))
                })
                .collect(),
            begun,
            status: Status::default(),
            without: None,
            turn: 0,
        }
    }

    /// Goes without what may not be listed, unless that is everything.
    pub(super) fn forgiving(mut self) -> Self {
        self.without = Some([false; FOLLOWED]);
        self
    }

    /// The collections that may not be listed.
    pub(super) fn missing(&self) -> Vec<&'static str> {
        let kinds = workload::KINDS.into_iter().map(|(_, _, resource)| resource);
        let names = ["nodes", "pods", "services"].into_iter().chain(kinds);
        let missing = names.zip(self.without.into_iter().flatten());
        missing
            .filter_map(|(name, missing)| missing.then_some(name))
            .collect()
    }

    fn is_without(&self, at: usize) -> bool {
        self.without.is_some_and(|without| without[at])
    }

    /// Goes on without a collection for this error, if that may be.
    fn forgives(&mut self, at: usize, error: &ObjectError) -> bool {
        let Some(without) = &mut self.without else {
            return false;
        };
        if error.refusal().is_none_or(|refusal| refusal.status != 403) {
            return false;
        }
        without[at] = true;
        if without.iter().all(|missing| *missing) {
            return false;
        }
        self.begun[at] = Some(Synced::First);
        true
    }

    fn poll_one(&mut self, at: usize, cx: &mut Polled<'_>) -> Poll<Result<News, ObjectError>> {
        let begun = &mut self.begun[at];
        let status = &mut self.status;
        match at {
            0 => {
                let Some(nodes) = &mut self.nodes else {
                    return Poll::Pending;
                };
                let change = std::task::ready!(nodes.poll_next(cx))?;
                Poll::Ready(Ok(news(change, begun, |taken| match taken {
                    Taken::Is(uid, object, _) => {
                        let name = status.node(object.told());
                        nodes.keep(uid, Some(name));
                    }
                    Taken::Gone(_, Some(name)) => status.no_node(name),
                    Taken::Gone(_, None) => {}
                })))
            }
            1 => {
                let pods = &mut self.pods;
                let change = std::task::ready!(pods.poll_next(cx))?;
                let news = news(change, begun, |taken| match taken {
                    Taken::Is(uid, object, old) => {
                        let kept = status.pod(uid, &object, old);
                        pods.keep(uid, kept);
                    }
                    Taken::Gone(uid, old) => status.no_pod(uid, &old),
                });
                if pods.whole() && status.unwell.lacks() {
                    pods.recount();
                }
                Poll::Ready(Ok(news))
            }
            2 => {
                let services = &mut self.services;
                let change = std::task::ready!(services.poll_next(cx))?;
                Poll::Ready(Ok(news(change, begun, |taken| match taken {
                    Taken::Is(uid, object, None) => {
                        let namespace = status.service(object.namespace());
                        services.keep(uid, Some(namespace));
                    }
                    // It counts as before, and stays in its namespace.
                    Taken::Is(uid, _, old) => services.keep(uid, old),
                    Taken::Gone(_, Some(namespace)) => status.no_service(&namespace),
                    Taken::Gone(_, None) => {}
                })))
            }
            _ => {
                let Some((kind, workloads)) = self.workloads.get_mut(at - 3) else {
                    return Poll::Pending;
                };
                let change = std::task::ready!(workloads.poll_next(cx))?;
                Poll::Ready(Ok(news(change, begun, |taken| match taken {
                    Taken::Is(uid, object, _) => {
                        let key = status.workload(object.told(*kind));
                        workloads.keep(uid, Some(key));
                    }
                    Taken::Gone(_, Some(key)) => status.no_workload(key),
                    Taken::Gone(_, None) => {}
                })))
            }
        }
    }
}

/// What a change does to one object.
enum Taken<T, V> {
    Is(crate::cluster::objects::Uid, T, V),
    Gone(crate::cluster::objects::Uid, V),
}

fn news<T, V: Default>(
    change: Change<T, V>,
    begun: &mut Option<Synced>,
    take: impl FnOnce(Taken<T, V>),
) -> News {
    match change {
        Change::Added { uid, object } => take(Taken::Is(uid, object, V::default())),
        Change::Changed { uid, object, old } => take(Taken::Is(uid, object, old)),
        Change::Deleted { uid, old } => take(Taken::Gone(uid, old)),
        Change::Synced(how) => return live::begun(begun, how),
        Change::Relisting => {}
        Change::Moved => return News::Moved,
        Change::Interrupted(error) => return News::Interrupted(error),
        Change::Restored => return News::Restored,
    }
    News::Changed
}

impl State for Watching {
    type Event = Event;

    fn poll(&mut self, cx: &mut Polled<'_>) -> Poll<Result<News, ObjectError>> {
        self.turn = (self.turn + 1) % FOLLOWED;
        // What the reader knows is the moment at which each began. One that went on before the last
        // has begun would take a change into it that nobody was told of.
        let beginning = self.begun.contains(&None);
        for step in 0..FOLLOWED {
            let at = (self.turn + step) % FOLLOWED;
            if self.is_without(at) || (beginning && self.begun[at].is_some()) {
                continue;
            }
            match self.poll_one(at, cx) {
                Poll::Pending => {}
                Poll::Ready(Err(error)) if self.forgives(at, &error) => {
                    return Poll::Ready(Ok(News::Changed));
                }
                polled @ Poll::Ready(_) => return polled,
            }
        }
        Poll::Pending
    }

    fn begun(&self) -> Option<Synced> {
        let begun = live::all_begun(&self.begun);
        // A first state that is just being filled up is none yet.
        begun.filter(|_| self.whole())
    }

    fn whole(&self) -> bool {
        let nodes = self.nodes.as_ref().is_none_or(Follower::whole);
        let others = [nodes, self.pods.whole(), self.services.whole()];
        let workloads = self.workloads.iter().map(|(_, all)| all.whole());
        let mut all = others.into_iter().chain(workloads).enumerate();
        all.all(|(at, whole)| whole || self.is_without(at))
    }

    fn settle(&mut self) {
        self.status.settle();
    }

    fn pending(&self) -> bool {
        self.status.pending()
    }

    fn begin(&mut self) {
        self.status.begin();
    }

    fn next(&mut self) -> Option<Event> {
        self.status.next()
    }

    fn cursor(&self) -> String {
        let nodes = self.nodes.as_ref().map_or("0", Follower::version);
        let others = [self.pods.version(), self.services.version()];
        let workloads = self
            .workloads
            .iter()
            .map(|(_, workloads)| workloads.version());
        live::join(LETTER, [nodes].into_iter().chain(others).chain(workloads))
    }
}

impl From<Watched> for Event {
    fn from(watched: Watched) -> Self {
        match watched {
            Watched::Synced(synced) => Self::Synced(synced),
            Watched::Reset(reset) => Self::Reset(reset),
            Watched::Interrupted(interrupted) => Self::Interrupted(interrupted),
            Watched::Restored(restored) => Self::Restored(restored),
        }
    }
}
