//! `metrics.watch`: usage of nodes, pods and containers, again and again (P-104, P-105).
//!
//! Owns the order of a sample and what happens where there is none. Owns not: how usage is read
//! (`cluster::metrics`) nor capacity (`survey`). Invariants: nothing is asked of the API server
//! before the stream can take an event, so that a reader who comes back gets the newest and not
//! what waited; a sample whose reader stops is given up; of a list at most one event is held.

mod survey;

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::{CommandError, Context, Done};
use crate::cluster::metrics::{self, Absent, NodeUse, PodUse, Used};
use crate::cluster::objects::Unpaged;
use crate::cluster::{ObjectError, Objects};
use crate::limits;
use crate::protocol::command::metrics_watch::{
    Amount, Available, Cluster, Event, Namespace, Namespaces, Nodes, PodUsage, Pods, Reason,
    Request, Sampled, Unavailable, Usage, What,
};
use crate::session::{StreamError, StreamWriter};

pub(super) async fn run(context: Context, request: Request) -> Result<Done, CommandError> {
    let every = Duration::from_secs(u64::from(request.every_s));
    let mut watch = Watch {
        objects: context.objects().within(every.min(limits::OBJECT_CALL)),
        out: Out {
            writer: context.writer,
            patience: every,
        },
        request,
        absent: None,
        survey: survey::Due::default(),
    };
    let mut number = 0;
    loop {
        // Until somebody reads, nothing is worth asking for.
        watch.out.writer.ready().await?;
        let began = Instant::now();
        number += 1;
        watch.once(number, began).await?;
        if watch
            .request
            .samples
            .is_some_and(|most| number >= u64::from(most))
        {
            return Ok(None);
        }
        tokio::time::sleep_until(began + every).await;
    }
}

struct Watch {
    objects: Objects,
    out: Out,
    request: Request,
    /// What was last said about why there is no usage.
    absent: Option<Reason>,
    survey: survey::Due,
}

/// Why a sample is not whole.
enum Cut {
    /// There is no usage, or no more of it.
    Absent(Reason, String),
    /// The reader took nothing for a whole interval.
    Stalled,
    /// There is no point in going on.
    Failed(CommandError),
}

impl From<ObjectError> for Cut {
    fn from(error: ObjectError) -> Self {
        match Absent::of(&error) {
            Some(absent) => Self::Absent(reason(absent), error.to_string()),
            None => Self::Failed(error.into()),
        }
    }
}

impl From<StreamError> for Cut {
    fn from(error: StreamError) -> Self {
        Self::Failed(error.into())
    }
}

pub(super) const fn reason(absent: Absent) -> Reason {
    match absent {
        Absent::NotInstalled => Reason::NotInstalled,
        Absent::NotReady => Reason::NotReady,
        Absent::Forbidden => Reason::Forbidden,
        Absent::Unreachable => Reason::Unreachable,
        Absent::Failed => Reason::Failed,
    }
}

impl Watch {
    fn wants(&self, what: What) -> bool {
        self.request.what.contains(&what)
    }

    /// One sample, or what there is instead.
    async fn once(&mut self, number: u64, began: Instant) -> Result<(), CommandError> {
        let mut sent = false;
        let cut = match self.sample(number, &mut sent).await {
            Ok(()) => false,
            Err(Cut::Failed(error)) => return Err(error),
            Err(Cut::Stalled) => true,
            Err(Cut::Absent(reason, message)) => {
                if self.absent != Some(reason) {
                    self.absent = Some(reason);
                    let unavailable = Unavailable { reason, message };
                    let event = Event::Unavailable(unavailable);
                    self.out.writer.event(&event).await?;
                }
                true
            }
        };
        if sent || !cut {
            let took_ms = Instant::now().saturating_duration_since(began).as_millis();
            let sampled = Sampled {
                sample: number,
                took_ms: u64::try_from(took_ms).unwrap_or(u64::MAX),
                cut,
            };
            self.out.writer.event(&Event::Sampled(sampled)).await?;
        }
        // What is known without usage, where it is asked for or all that there is.
        if self.wants(What::Capacity) || self.absent.is_some() {
            match self.survey().await {
                Ok(()) | Err(Cut::Stalled | Cut::Absent(..)) => {}
                Err(Cut::Failed(error)) => return Err(error),
            }
        }
        Ok(())
    }

    async fn sample(&mut self, number: u64, sent: &mut bool) -> Result<(), Cut> {
        // The sum is always reckoned: it also tells whether anything is measured at all.
        let sum = self.sum(number).await?;
        if sum.nodes == 0 {
            let message = "metrics-server has measured no node yet".to_owned();
            return Err(Cut::Absent(Reason::NoData, message));
        }
        let namespaces = if self.wants(What::Namespaces) {
            Some(self.namespaces().await?)
        } else {
            None
        };
        if self.absent.take().is_some() {
            self.out.event(&Event::Available(Available {})).await?;
        }
        *sent = true;
        if self.wants(What::Cluster) {
            self.out.event(&Event::Cluster(sum)).await?;
        }
        for items in namespaces
            .iter()
            .flat_map(|all| all.chunks(limits::METRICS_CHUNK))
        {
            let namespaces = Namespaces {
                sample: number,
                items: items.to_vec(),
            };
            self.out.event(&Event::Namespaces(namespaces)).await?;
        }
        if self.wants(What::Nodes) {
            self.nodes(number).await?;
        }
        if self.wants(What::Pods) || self.wants(What::Containers) {
            self.pods(number).await?;
        }
        Ok(())
    }

    async fn sum(&self, sample: u64) -> Result<Cluster, Cut> {
        let mut nodes = metrics::nodes(&self.objects).await?;
        let (mut used, mut count, mut measured) = (Used::default(), 0, String::new());
        while let Some(some) = nodes.next().await? {
            for node in some {
                count += 1;
                used.add(node.used());
                // All in UTC and of one form, so that text compares as time does.
                if node.timestamp > measured {
                    measured = node.timestamp;
                }
            }
        }
        Ok(Cluster {
            sample,
            measured,
            nodes: count,
            usage: amount(used),
        })
    }

    async fn namespaces(&self) -> Result<Vec<Namespace>, Cut> {
        let mut sums: BTreeMap<String, (u32, Used)> = BTreeMap::new();
        for at in 0..self.request.namespaces.len().max(1) {
            let mut pods = self.pods_of(at).await?;
            while let Some(some) = pods.next().await? {
                for pod in some {
                    let used = pod.used();
                    let mut name = pod.metadata.namespace;
                    if sums.len() >= limits::METRICS_NAMESPACES && !sums.contains_key(&name) {
                        name.clear();
                    }
                    let (count, sum) = sums.entry(name).or_default();
                    *count += 1;
                    sum.add(used);
                }
            }
        }
        let named = sums.into_iter().map(|(name, (pods, used))| Namespace {
            name,
            pods,
            usage: amount(used),
        });
        Ok(named.collect())
    }

    async fn nodes(&mut self, sample: u64) -> Result<(), Cut> {
        let mut nodes = metrics::nodes(&self.objects).await?;
        let mut batch = Batch::default();
        while let Some(some) = nodes.next().await? {
            for node in some {
                if let Some(items) = batch.push(node_usage(node)) {
                    self.out
                        .event(&Event::Nodes(Nodes { sample, items }))
                        .await?;
                }
            }
        }
        if let Some(items) = batch.rest() {
            self.out
                .event(&Event::Nodes(Nodes { sample, items }))
                .await?;
        }
        Ok(())
    }

    async fn pods(&mut self, sample: u64) -> Result<(), Cut> {
        let containers = self.wants(What::Containers);
        let mut batch = Batch::default();
        for at in 0..self.request.namespaces.len().max(1) {
            let mut pods = self.pods_of(at).await?;
            while let Some(some) = pods.next().await? {
                for pod in some {
                    if let Some(items) = batch.push(pod_usage(pod, containers)) {
                        self.out.event(&Event::Pods(Pods { sample, items })).await?;
                    }
                }
            }
        }
        if let Some(items) = batch.rest() {
            self.out.event(&Event::Pods(Pods { sample, items })).await?;
        }
        Ok(())
    }

    /// The pods of one of the namespaces, or of all where none is named.
    async fn pods_of(&self, at: usize) -> Result<Unpaged<PodUse>, ObjectError> {
        let namespace = self.request.namespaces.get(at).map_or("", String::as_str);
        let selector = self.request.selector.as_deref().unwrap_or_default();
        metrics::pods(&self.objects, namespace, selector).await
    }
}

/// The way to the reader.
struct Out {
    writer: StreamWriter,
    /// How long it may take nothing in the middle of a sample.
    patience: Duration,
}

impl Out {
    async fn event(&mut self, event: &Event) -> Result<(), Cut> {
        match tokio::time::timeout(self.patience, self.writer.event(event)).await {
            Ok(sent) => Ok(sent?),
            Err(_) => Err(Cut::Stalled),
        }
    }
}

/// Items that become one event together.
#[derive(Debug)]
struct Batch<T> {
    items: Vec<T>,
    bytes: usize,
}

impl<T> Default for Batch<T> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            bytes: 0,
        }
    }
}

/// About how many bytes something has as JSON.
trait Size {
    fn size(&self) -> usize;
}

/// The numbers of an item and what stands between them.
const AROUND: usize = 80;

impl Size for Usage {
    fn size(&self) -> usize {
        self.name.len() + AROUND
    }
}

impl Size for PodUsage {
    fn size(&self) -> usize {
        let containers: usize = self.containers.iter().map(Size::size).sum();
        self.namespace.len() + self.name.len() + AROUND + containers
    }
}

impl<T: Size> Batch<T> {
    /// Adds an item; gives all back once they are enough for an event.
    fn push(&mut self, item: T) -> Option<Vec<T>> {
        self.bytes += item.size();
        self.items.push(item);
        let full = self.items.len() >= limits::METRICS_CHUNK || self.bytes >= limits::CHUNK;
        full.then(|| self.take())
    }

    /// What is left.
    fn rest(&mut self) -> Option<Vec<T>> {
        (!self.items.is_empty()).then(|| self.take())
    }

    fn take(&mut self) -> Vec<T> {
        self.bytes = 0;
        std::mem::take(&mut self.items)
    }
}

fn amount(used: Used) -> Amount {
    Amount {
        cpu_m: used.cpu.millis(),
        memory: used.memory.units(),
    }
}

fn usage(name: String, used: Used) -> Usage {
    let Amount { cpu_m, memory } = amount(used);
    Usage {
        name,
        cpu_m,
        memory,
    }
}

fn node_usage(node: NodeUse) -> Usage {
    let used = node.used();
    usage(node.metadata.name, used)
}

fn pod_usage(pod: PodUse, containers: bool) -> PodUsage {
    let Amount { cpu_m, memory } = amount(pod.used());
    let own = pod.containers.into_iter().filter(|_| containers);
    PodUsage {
        namespace: pod.metadata.namespace,
        name: pod.metadata.name,
        cpu_m,
        memory,
        containers: own
            .map(|container| {
                let used = container.used();
                usage(container.name, used)
            })
            .collect(),
    }
}
