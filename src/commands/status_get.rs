//! `status.get`: how the cluster is, at one moment (P-94).
//!
//! Owns the order: versions, nodes, workloads, services, pods, then the counts. What is told of
//! each is [`node`]'s, [`workload`]'s and [`pod`]'s, which `status.watch` shares. Invariant: of
//! pods only counts are kept, and so many of those that are not well.

mod condition;
pub(super) mod node;
pub(super) mod pod;
pub(super) mod service;
pub(super) mod text;
pub(super) mod workload;

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{CommandError, Context, Done};
use crate::cluster::objects::{Collection, Objects, Pages};
use crate::limits;
use crate::protocol::command::status_get::{
    self as wire, Cluster, Event, Namespace, Namespaces, Nodes, Request, Summary, Unhealthy,
    Workloads,
};
use crate::session::StreamWriter;

/// All nodes.
pub(super) fn nodes() -> Collection {
    Collection::new("", "v1", "nodes")
}

/// All pods of a namespace; of all where it is empty.
pub(super) fn pods(namespace: &str) -> Collection {
    Collection::new("", "v1", "pods").within(namespace)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    git_version: String,
}

/// The versions.
pub(super) async fn cluster(objects: &Objects) -> Result<Cluster, CommandError> {
    let version: Version = objects.get("/version").await?;
    Ok(Cluster {
        kubernetes: text::cut(&version.git_version),
        agent: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

pub(super) async fn run(context: Context, request: Request) -> Result<Done, CommandError> {
    let mut reading = Reading {
        objects: context.objects(),
        writer: context.writer,
        namespace: request.namespace,
        summary: Summary::default(),
        namespaces: BTreeMap::new(),
    };
    let cluster = cluster(&reading.objects).await?;
    reading.writer.event(&Event::Cluster(cluster)).await?;
    if reading.namespace.is_empty() {
        reading.nodes().await?;
    }
    reading.workloads().await?;
    reading.services().await?;
    reading.pods().await?;
    reading.counts().await?;
    serde_json::value::to_raw_value(&reading.summary)
        .map(Some)
        .map_err(CommandError::Encode)
}

struct Reading {
    objects: Objects,
    writer: StreamWriter,
    namespace: String,
    summary: Summary,
    namespaces: BTreeMap<String, Namespace>,
}

/// How many there are; what cannot be counted in 32 bits is not there.
fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

impl Reading {
    async fn nodes(&mut self) -> Result<(), CommandError> {
        let mut list: Pages<node::Node> = self.objects.list(&nodes());
        while let Some(page) = list.next().await? {
            if page.restarted {
                // Told twice is told the same: only the counts begin anew.
                self.summary.nodes = 0;
                self.summary.nodes_ready = 0;
            }
            let mut left = page.items.into_iter().map(node::Node::told);
            loop {
                let items: Vec<_> = text::fill(&mut left);
                if items.is_empty() {
                    break;
                }
                self.summary.nodes += count(items.len());
                self.summary.nodes_ready += count(items.iter().filter(|node| node.ready).count());
                self.writer.event(&Event::Nodes(Nodes { items })).await?;
            }
        }
        Ok(())
    }

    async fn workloads(&mut self) -> Result<(), CommandError> {
        for (kind, group, resource) in workload::KINDS {
            let before = self.summary;
            let collection = workload::collection(group, resource, &self.namespace);
            let mut list: Pages<workload::Workload> = self.objects.list(&collection);
            while let Some(page) = list.next().await? {
                if page.restarted {
                    self.summary = before;
                }
                let mut left = page.items.into_iter().map(|object| object.told(kind));
                loop {
                    let items: Vec<_> = text::fill(&mut left);
                    if items.is_empty() {
                        break;
                    }
                    let unhealthy = items.iter().filter(|workload| workload.unhealthy).count();
                    self.summary.workloads += count(items.len());
                    self.summary.workloads_unhealthy += count(unhealthy);
                    let event = Event::Workloads(Workloads { items });
                    self.writer.event(&event).await?;
                }
            }
        }
        Ok(())
    }

    async fn services(&mut self) -> Result<(), CommandError> {
        let collection = service::collection(&self.namespace);
        let mut list: Pages<service::Service> = self.objects.list(&collection);
        while let Some(page) = list.next().await? {
            if page.restarted {
                self.summary.services = 0;
                self.namespaces.clear();
            }
            self.summary.services += count(page.items.len());
            for service in page.items {
                self.namespace(service.namespace()).services += 1;
            }
        }
        Ok(())
    }

    async fn pods(&mut self) -> Result<(), CommandError> {
        let mut unhealthy: Vec<wire::Pod> = Vec::new();
        let mut list: Pages<pod::Pod> = self.objects.list(&pods(&self.namespace));
        while let Some(page) = list.next().await? {
            if page.restarted {
                unhealthy.clear();
                for namespace in self.namespaces.values_mut() {
                    namespace.pods = wire::Pods::default();
                }
            }
            for object in page.items {
                let pods = &mut self.namespace(object.namespace()).pods;
                *object.phase().of(pods) += 1;
                if object.is_well() {
                    continue;
                }
                pods.unhealthy += 1;
                if unhealthy.len() < limits::STATUS_UNHEALTHY {
                    unhealthy.extend(object.unwell());
                }
            }
        }
        let told = count(unhealthy.len());
        let mut left = unhealthy.into_iter();
        loop {
            let items: Vec<_> = text::fill(&mut left);
            if items.is_empty() {
                break;
            }
            let event = Event::Unhealthy(Unhealthy { items });
            self.writer.event(&event).await?;
        }
        for namespace in self.namespaces.values() {
            add(&mut self.summary.pods, &namespace.pods);
        }
        self.summary.more_unhealthy = self.summary.pods.unhealthy.saturating_sub(told);
        Ok(())
    }

    async fn counts(&mut self) -> Result<(), CommandError> {
        let mut left = std::mem::take(&mut self.namespaces).into_values();
        loop {
            let items: Vec<_> = text::fill(&mut left);
            if items.is_empty() {
                break;
            }
            let event = Event::Namespaces(Namespaces { items });
            self.writer.event(&event).await?;
        }
        Ok(self.writer.event(&Event::Summary(self.summary)).await?)
    }

    fn namespace(&mut self, name: &str) -> &mut Namespace {
        if !self.namespaces.contains_key(name) {
            let namespace = Namespace {
                name: text::cut(name),
                ..Namespace::default()
            };
            self.namespaces.insert(name.to_owned(), namespace);
        }
        self.namespaces
            .get_mut(name)
            .expect("it was inserted where it was missing")
    }
}

/// Adds the counts of one namespace to those of all.
pub(super) const fn add(sum: &mut wire::Pods, pods: &wire::Pods) {
    sum.pending += pods.pending;
    sum.running += pods.running;
    sum.succeeded += pods.succeeded;
    sum.failed += pods.failed;
    sum.unknown += pods.unknown;
    sum.unhealthy += pods.unhealthy;
}
