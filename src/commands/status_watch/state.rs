//! How the cluster is, and what of it is to be told.
//!
//! Pure. Owns the counts and the differences. Invariant: what is told is a function of the objects
//! alone, so that another agent that lists the same moment knows what was told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::unwell::Unwell;
use crate::cluster::objects::Uid;
use crate::commands::status_get::pod::{self, Phase};
use crate::commands::status_get::{add, text};
use crate::protocol::command::status_get::{
    Cluster, Kind, Namespace, Namespaces, Node, Nodes, Pod, Summary, Unhealthy, Workload, Workloads,
};
use crate::protocol::command::status_watch::{Event, Removed, WorkloadName};

/// Which workload.
pub(super) type WorkloadKey = (Kind, String, String);

/// What is kept of each pod, to take it out of the counts again.
#[derive(Debug, Default)]
pub(super) struct PodKept {
    namespace: Option<Arc<str>>,
    phase: Phase,
    unwell: bool,
}

/// The state.
#[derive(Debug, Default)]
pub(super) struct Status {
    cluster: Option<Cluster>,
    nodes: BTreeMap<String, Node>,
    workloads: BTreeMap<WorkloadKey, Workload>,
    namespaces: BTreeMap<Arc<str>, Namespace>,
    pub(super) unwell: Unwell,
    changed: Changed,
    batch: Changed,
    gone: Removed,
    /// The counts that were told.
    told: Option<Summary>,
}

/// What is shown to whoever is told all of it again.
pub(in crate::commands) struct Shown<'s> {
    pub(in crate::commands) summary: Summary,
    pub(in crate::commands) unready: Vec<&'s Node>,
    pub(in crate::commands) unwell: Vec<&'s Pod>,
}

/// What is to be told.
#[derive(Debug, Default)]
struct Changed {
    cluster: bool,
    nodes: BTreeSet<String>,
    workloads: BTreeSet<WorkloadKey>,
    namespaces: BTreeSet<Arc<str>>,
    unwell: bool,
    any: bool,
}

impl Status {
    pub(super) fn cluster(&mut self, cluster: Cluster) {
        if self.cluster.as_ref() != Some(&cluster) {
            self.cluster = Some(cluster);
            self.changed.cluster = true;
            self.changed.any = true;
        }
    }

    /// A node as it is now; gives its name.
    pub(super) fn node(&mut self, node: Node) -> String {
        let name = node.name.clone();
        // Kubelets report every few minutes what is the same as before.
        if self.nodes.get(&name) != Some(&node) {
            self.changed.nodes.insert(name.clone());
            self.changed.any = true;
            self.nodes.insert(name.clone(), node);
        }
        name
    }

    /// There is no such node any more.
    pub(super) fn no_node(&mut self, name: String) {
        self.nodes.remove(&name);
        self.changed.nodes.insert(name);
        self.changed.any = true;
    }

    /// A workload as it is now; gives its key.
    pub(super) fn workload(&mut self, workload: Workload) -> WorkloadKey {
        let (namespace, name) = (workload.namespace.clone(), workload.name.clone());
        let key = (workload.kind, namespace, name);
        if self.workloads.get(&key) != Some(&workload) {
            self.changed.workloads.insert(key.clone());
            self.changed.any = true;
            self.workloads.insert(key.clone(), workload);
        }
        key
    }

    /// There is no such workload any more.
    pub(super) fn no_workload(&mut self, key: WorkloadKey) {
        self.workloads.remove(&key);
        self.changed.workloads.insert(key);
        self.changed.any = true;
    }

    /// A service more; gives its namespace.
    pub(super) fn service(&mut self, namespace: &str) -> Arc<str> {
        let (name, counts) = self.namespace(namespace);
        counts.services += 1;
        name
    }

    /// A service less.
    pub(super) fn no_service(&mut self, namespace: &str) {
        let (_, counts) = self.namespace(namespace);
        counts.services = counts.services.saturating_sub(1);
    }

    /// A pod as it is now, and what was kept of it; gives what is to be kept.
    pub(super) fn pod(&mut self, uid: Uid, pod: &pod::Pod, old: PodKept) -> PodKept {
        let unwell = pod.unwell();
        let is_unwell = unwell.is_some();
        let phase = pod.phase();
        // Most changes of a pod are none of these.
        let same = old.phase == phase
            && old.unwell == is_unwell
            && old.namespace.as_deref() == Some(pod.namespace());
        if let Some(unwell) = unwell {
            self.changed.unwell |= self.unwell.insert(uid, unwell, !old.unwell);
        } else if old.unwell {
            self.changed.unwell |= self.unwell.remove(uid);
        }
        self.changed.any |= self.changed.unwell;
        if same {
            return old;
        }
        self.uncount(&old);
        let (namespace, counts) = self.namespace(pod.namespace());
        *phase.of(&mut counts.pods) += 1;
        counts.pods.unhealthy += u32::from(is_unwell);
        PodKept {
            namespace: Some(namespace),
            phase,
            unwell: is_unwell,
        }
    }

    /// There is no such pod any more.
    pub(super) fn no_pod(&mut self, uid: Uid, old: &PodKept) {
        if old.unwell {
            self.changed.unwell |= self.unwell.remove(uid);
        }
        self.uncount(old);
    }

    fn uncount(&mut self, old: &PodKept) {
        let Some(namespace) = &old.namespace else {
            return;
        };
        let (_, counts) = self.namespace(namespace);
        let of_phase = old.phase.of(&mut counts.pods);
        *of_phase = of_phase.saturating_sub(1);
        let unhealthy = &mut counts.pods.unhealthy;
        *unhealthy = unhealthy.saturating_sub(u32::from(old.unwell));
    }

    /// The counts of a namespace, which are about to change.
    fn namespace(&mut self, name: &str) -> (Arc<str>, &mut Namespace) {
        let key = match self.namespaces.get_key_value(name) {
            Some((key, _)) => Arc::clone(key),
            None => Arc::from(name),
        };
        self.changed.namespaces.insert(Arc::clone(&key));
        self.changed.any = true;
        let counts = self.namespaces.entry(Arc::clone(&key));
        let counts = counts.or_insert_with(|| Namespace {
            name: text::cut(name),
            ..Namespace::default()
        });
        (key, counts)
    }

    /// The reader knows all of it.
    pub(super) fn settle(&mut self) {
        self.changed = Changed {
            // A resumed reader may know another agent's version.
            cluster: true,
            any: true,
            ..Changed::default()
        };
        self.unwell.settle();
        self.told = Some(self.summary());
    }

    /// The first `most` of each list, and all counts.
    pub(super) fn shown(&self, most: usize) -> Shown<'_> {
        let unready = self.nodes.values().filter(|node| !node.ready);
        Shown {
            summary: self.summary(),
            unready: unready.take(most).collect(),
            unwell: self.unwell.first().map(|(_, pod)| pod).take(most).collect(),
        }
    }

    pub(super) const fn pending(&self) -> bool {
        self.changed.any
    }

    /// What has changed up to now is what [`Status::next`] gives.
    pub(super) fn begin(&mut self) {
        let changed = std::mem::take(&mut self.changed);
        self.batch.cluster |= changed.cluster;
        self.batch.unwell |= changed.unwell;
        self.batch.nodes.extend(changed.nodes);
        self.batch.workloads.extend(changed.workloads);
        self.batch.namespaces.extend(changed.namespaces);
        self.batch.any = true;
    }

    /// The next to be told of the batch.
    pub(super) fn next(&mut self) -> Option<Event> {
        if std::mem::take(&mut self.batch.cluster)
            && let Some(cluster) = self.cluster.clone()
        {
            return Some(Event::Cluster(cluster));
        }
        let parts = self
            .nodes()
            .or_else(|| self.workloads())
            .or_else(|| self.counts());
        parts.or_else(|| self.pods()).or_else(|| self.last())
    }

    fn nodes(&mut self) -> Option<Event> {
        let (batch, nodes, gone) = (&mut self.batch, &self.nodes, &mut self.gone);
        let changed = std::iter::from_fn(|| batch.nodes.pop_first());
        let items = text::fill(&mut changed.filter_map(|name| {
            let node = nodes.get(&name).cloned();
            if node.is_none() {
                gone.nodes.push(name);
            }
            node
        }));
        (!items.is_empty()).then_some(Event::Nodes(Nodes { items }))
    }

    fn workloads(&mut self) -> Option<Event> {
        let (batch, workloads, gone) = (&mut self.batch, &self.workloads, &mut self.gone);
        let changed = std::iter::from_fn(|| batch.workloads.pop_first());
        let items = text::fill(&mut changed.filter_map(|key| {
            let workload = workloads.get(&key).cloned();
            if workload.is_none() {
                let (kind, namespace, name) = key;
                gone.workloads.push(WorkloadName {
                    kind,
                    namespace,
                    name,
                });
            }
            workload
        }));
        (!items.is_empty()).then_some(Event::Workloads(Workloads { items }))
    }

    fn counts(&mut self) -> Option<Event> {
        let (batch, namespaces) = (&mut self.batch, &mut self.namespaces);
        let changed = std::iter::from_fn(|| batch.namespaces.pop_first());
        let items = text::fill(&mut changed.filter_map(|name| {
            let counts = namespaces.get(&name).cloned()?;
            if counts.services == 0 && sum(&counts) == 0 {
                // Told once more, and then it is not there.
                namespaces.remove(&name);
            }
            Some(counts)
        }));
        (!items.is_empty()).then_some(Event::Namespaces(Namespaces { items }))
    }

    fn pods(&mut self) -> Option<Event> {
        if !self.batch.unwell {
            return None;
        }
        let items = text::fill(&mut self.unwell.untold());
        if !items.is_empty() {
            return Some(Event::Unhealthy(Unhealthy { items }));
        }
        self.batch.unwell = false;
        self.gone.pods.extend(self.unwell.gone());
        None
    }

    /// What is gone, and the counts.
    fn last(&mut self) -> Option<Event> {
        let gone = &mut self.gone;
        let nodes = text::fill(&mut std::iter::from_fn(|| gone.nodes.pop()));
        let workloads = text::fill(&mut std::iter::from_fn(|| gone.workloads.pop()));
        let pods = text::fill(&mut std::iter::from_fn(|| gone.pods.pop()));
        if !(nodes.is_empty() && workloads.is_empty() && pods.is_empty()) {
            return Some(Event::Removed(Removed {
                nodes,
                workloads,
                pods,
            }));
        }
        let summary = self.summary();
        if !std::mem::take(&mut self.batch.any) || self.told == Some(summary) {
            return None;
        }
        self.told = Some(summary);
        Some(Event::Summary(summary))
    }

    fn summary(&self) -> Summary {
        let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        let mut summary = Summary {
            nodes: count(self.nodes.len()),
            nodes_ready: count(self.nodes.values().filter(|node| node.ready).count()),
            more_unhealthy: count(self.unwell.more()),
            workloads: count(self.workloads.len()),
            ..Summary::default()
        };
        let unhealthy = self
            .workloads
            .values()
            .filter(|workload| workload.unhealthy);
        summary.workloads_unhealthy = count(unhealthy.count());
        for namespace in self.namespaces.values() {
            add(&mut summary.pods, &namespace.pods);
            summary.services = summary.services.saturating_add(namespace.services);
        }
        summary
    }
}

const fn sum(namespace: &Namespace) -> u32 {
    let pods = &namespace.pods;
    pods.pending + pods.running + pods.succeeded + pods.failed + pods.unknown
}
