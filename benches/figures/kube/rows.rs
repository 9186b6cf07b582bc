//! What is asked of a target, and how long it takes.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use pipeops_agent::tasks::Tasks;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::target::{Connection, Target};
use crate::rounds::percentile;

/// The namespace of `tests/cluster/scale.py`, and its first pod.
const POD: &str = "/api/v1/namespaces/scale/pods/app-0-7d9f8c6b5-00000";
const PODS: &str = "/api/v1/pods";
const MAPS: &str = "/api/v1/namespaces/scale/configmaps";
const MAP: &str = "bench-watched";

/// Loops that ask for a fresh connection each time, and beside the watcher that does not read.
const LOOPS: usize = 16;
/// Changes that the watchers are timed by.
const CHANGES: usize = 25;
/// No row takes so long.
const LONGEST: Duration = Duration::from_secs(120);

/// What a row found.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Found {
    /// Seconds that it took.
    pub(crate) seconds: f64,
    /// Requests, watches or LISTs.
    pub(crate) count: f64,
    /// Bytes of bodies.
    pub(crate) bytes: f64,
    /// Of one request, or one event, in seconds.
    pub(crate) p50: f64,
    /// See `p50`.
    pub(crate) p99: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Row {
    /// So many LISTs of all pods at once.
    List(usize),
    /// GETs of one pod in so many loops, each on its connection.
    Get(usize),
    /// GETs on a new connection each.
    GetNew,
    /// So many watches, each on a new connection, to their heads; then the delay of events.
    Watch(usize),
    /// GETs beside a watch of everything that nobody reads.
    GetBesideStalled,
}

impl Row {
    pub(crate) async fn run(self, target: &Target, seconds: f64) -> anyhow::Result<Found> {
        let time = Duration::from_secs_f64(seconds);
        tokio::time::timeout(LONGEST, async {
            match self {
                Self::List(count) => list(target, count).await,
                Self::Get(loops) => get(target, loops, time, false).await,
                Self::GetNew => get(target, LOOPS, time, true).await,
                Self::Watch(count) => watch(target, count).await,
                Self::GetBesideStalled => beside_stalled(target, time).await,
            }
        })
        .await?
    }
}

async fn list(target: &Target, count: usize) -> anyhow::Result<Found> {
    let tasks = Tasks::new();
    let mut connections = Vec::new();
    for _ in 0..count {
        connections.push(target.connect(&tasks).await?);
    }
    let from = Instant::now();
    let running: Vec<_> = connections
        .into_iter()
        .map(|mut connection| {
            let target = target.clone();
            tasks.spawn(
                "list",
                async move { target.get(&mut connection, PODS).await },
            )
        })
        .collect();
    let mut bytes = 0;
    for one in running {
        bytes += one.await??;
    }
    Ok(Found {
        seconds: from.elapsed().as_secs_f64(),
        count: count as f64,
        bytes: bytes as f64,
        ..Found::default()
    })
}

async fn get(target: &Target, loops: usize, time: Duration, fresh: bool) -> anyhow::Result<Found> {
    let tasks = Tasks::new();
    let mut connections = Vec::new();
    for _ in 0..loops {
        let mut connection = target.connect(&tasks).await?;
        target.get(&mut connection, POD).await?;
        connections.push(connection);
    }
    let from = Instant::now();
    let end = from + time;
    let running: Vec<_> = connections
        .into_iter()
        .map(|connection| {
            let (target, group) = (target.clone(), tasks.clone());
            tasks.spawn("loop", get_loop(target, group, connection, end, fresh))
        })
        .collect();
    let mut all = Vec::new();
    for one in running {
        all.extend(one.await??);
    }
    Ok(timed(from, all))
}

async fn get_loop(
    target: Target,
    tasks: Tasks,
    mut connection: Connection,
    end: Instant,
    fresh: bool,
) -> anyhow::Result<Vec<f64>> {
    let mut all = Vec::new();
    loop {
        let from = Instant::now();
        if from >= end {
            return Ok(all);
        }
        if fresh {
            connection = target.connect(&tasks).await?;
        }
        target.get(&mut connection, POD).await?;
        all.push(from.elapsed().as_secs_f64());
    }
}

fn timed(from: Instant, mut all: Vec<f64>) -> Found {
    all.sort_by(f64::total_cmp);
    Found {
        seconds: from.elapsed().as_secs_f64(),
        count: all.len() as f64,
        bytes: 0.0,
        p50: percentile(&all, 50),
        p99: percentile(&all, 99),
    }
}

async fn watch(target: &Target, count: usize) -> anyhow::Result<Found> {
    let tasks = Tasks::new();
    let mut writer = target.connect(&tasks).await?;
    let object = format!(r#"{{"metadata":{{"name":"{MAP}"}},"data":{{"change":"none"}}}}"#);
    // It may be there from the last round.
    let made = target.send(&mut writer, "POST", MAPS, object.into()).await;
    if made.is_err() {
        writer = target.connect(&tasks).await?;
    }
    let path = format!("{MAPS}?watch=1&fieldSelector=metadata.name%3D{MAP}");
    let from = Instant::now();
    let opening: Vec<_> = (0..count)
        .map(|_| {
            let (target, group, path) = (target.clone(), tasks.clone(), path.clone());
            tasks.spawn("watch", async move {
                let mut connection = target.connect(&group).await?;
                let body = target
                    .send(&mut connection, "GET", &path, Bytes::new())
                    .await?;
                anyhow::Ok((connection, body))
            })
        })
        .collect();
    let mut watches = Vec::new();
    for one in opening {
        watches.push(one.await??);
    }
    let seconds = from.elapsed().as_secs_f64();

    let (seen, mut sightings) = mpsc::channel(count * 4);
    let mut readers = Vec::new();
    for (connection, mut body) in watches {
        let seen = seen.clone();
        readers.push(tasks.spawn("reader", async move {
            // The connection lives as long as its watch.
            let _connection = connection;
            let mut line = Vec::new();
            while let Some(Ok(frame)) = body.frame().await {
                line.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
                while let Some(end) = line.iter().position(|byte| *byte == b'\n') {
                    let event: Vec<u8> = line.drain(..=end).collect();
                    if let Some(change) = change_in(&event)
                        && seen.send((change, Instant::now())).await.is_err()
                    {
                        return;
                    }
                }
            }
        }));
    }
    let mut delays = Vec::new();
    for change in 0..CHANGES {
        let patch = format!(r#"{{"data":{{"change":"change-{change:04}"}}}}"#);
        let path = format!("{MAPS}/{MAP}");
        let from = Instant::now();
        let body = target
            .send(&mut writer, "PATCH", &path, patch.into())
            .await?;
        body.collect().await?;
        for _ in 0..count {
            // The state of the start may come late; it is no change of ours.
            loop {
                let Some((found, at)) = sightings.recv().await else {
                    anyhow::bail!("a watch ended");
                };
                if found == change {
                    delays.push(at.duration_since(from).as_secs_f64());
                    break;
                }
            }
        }
    }
    for reader in readers {
        reader.abort();
    }
    let mut found = timed(from, delays);
    found.seconds = seconds;
    found.count = count as f64;
    Ok(found)
}

/// The number of the change in an event.
fn change_in(event: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(event).ok()?;
    let at = text.find("change-")? + "change-".len();
    text.get(at..at + 4)?.parse().ok()
}

async fn beside_stalled(target: &Target, time: Duration) -> anyhow::Result<Found> {
    let tasks = Tasks::new();
    let mut stalled = target.connect(&tasks).await?;
    // From version 0 the watch begins with every pod: more than all buffers on the way hold.
    let path = format!("{PODS}?watch=1&resourceVersion=0");
    let body = target
        .send(&mut stalled, "GET", &path, Bytes::new())
        .await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let found = get(target, LOOPS, time, false).await;
    drop(body);
    found
}
