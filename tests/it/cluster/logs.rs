//! Logs that are followed through cuts, rotations and restarts, against a kubelet that knows what
//! was written: no line lost, none twice, none out of order, and a gap exactly where there is one.

mod courses;
mod written;

use std::collections::BTreeMap;
use std::time::Duration;

use pipeops_agent::cluster::logs::{
    Containers, Cursor, Ended, Event, Follower, Lost, News, Options, Pods, Spec,
};
use pipeops_agent::cluster::{Cluster, Objects};
use pipeops_agent::tasks::Tasks;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::cluster;
use crate::support::apiserver::ApiServer;
use crate::support::kubelet::{Kubelet, stamp};
use crate::support::trace;
use written::{Settings, Written};

/// What a requester has got, and where it stands.
struct Requester {
    written: Written,
    /// The next line, by its ordinal.
    at: usize,
    gap: Option<Lost>,
    /// Pieces of a line that goes on.
    begun: String,
    cursors: BTreeMap<String, String>,
    gaps: usize,
    /// Gaps without a lost line: the file was rotated right behind the last one that was delivered.
    unproven: usize,
    lost: usize,
    uncertain: usize,
    /// The next line may be one of its neighbours.
    unsure: bool,
    runs: Vec<u32>,
    ended: Option<Ended>,
}

impl Requester {
    fn new(written: Written) -> Self {
        Self {
            written,
            at: 0,
            gap: None,
            begun: String::new(),
            cursors: BTreeMap::new(),
            gaps: 0,
            unproven: 0,
            lost: 0,
            uncertain: 0,
            unsure: false,
            runs: Vec::new(),
            ended: None,
        }
    }

    fn take(&mut self, news: News) {
        let told = match news {
            News::Told(told) => told,
            News::Forget(source) => {
                self.cursors.remove(&source);
                return;
            }
            News::LeftOut(count) => panic!("{count} left out"),
            News::Trouble(_) | News::Recovered => return,
        };
        if let Some(cursor) = told.cursor {
            self.cursors.insert(told.source, cursor);
        }
        match told.event {
            Event::Lines { batch, uncertain } => {
                self.uncertain += usize::from(uncertain);
                self.unsure |= uncertain;
                for entry in batch.entries() {
                    self.begun.push_str(&entry.text);
                    if !entry.more {
                        let text = std::mem::take(&mut self.begun);
                        self.line(&entry.stamp, &text);
                    }
                }
            }
            Event::Gap { reason, .. } => {
                assert_eq!(self.gap.replace(reason), None, "one marker for one gap");
                // A piece of a line that is lost stays what it was.
                self.begun.clear();
            }
            Event::Started { run } => self.runs.push(run),
            Event::Ended { reason } => self.ended = Some(reason),
            Event::Waiting { .. } | Event::Trouble { .. } | Event::Recovered => {}
        }
    }

    /// A gap may be the last thing there is.
    fn close(&mut self) {
        if self.gap.take().is_some() {
            let lost = self.written.lock().lines.len() - self.at;
            self.gaps += usize::from(lost > 0);
            self.unproven += usize::from(lost == 0);
            self.lost += lost;
            self.at += lost;
        }
    }

    fn line(&mut self, at: &str, text: &str) {
        let written = self.written.lock();
        let is = |ordinal: usize| {
            let line = &written.lines[ordinal];
            stamp(line.nanos) == at && line.text == text
        };
        if self.gap.take().is_some() {
            let from = written.starts.iter().copied();
            let next = from.filter(|start| *start >= self.at).find(|at| is(*at));
            let next = next.expect("after a gap comes the begin of a file");
            if next == self.at {
                self.unproven += 1;
            } else {
                self.gaps += 1;
                self.lost += next - self.at;
            }
            self.at = next;
        }
        if std::mem::take(&mut self.unsure) {
            let near = self.at.saturating_sub(64)..written.lines.len().min(self.at + 64);
            self.at = near
                .min_by_key(|near| (!is(*near), near.abs_diff(self.at)))
                .unwrap();
        }
        assert!(
            is(self.at),
            "line {} of {} bytes is {:.300?}, not {at} {:.300?} of {}; near it: {:?}",
            self.at,
            written.lines[self.at].text.len(),
            written.lines[self.at],
            text,
            text.len(),
            (self.at.saturating_sub(300)..written.lines.len().min(self.at + 300))
                .find(|at| is(*at))
        );
        self.at += 1;
    }
}

/// Follows `d/p`, as a new agent process or one that goes on.
fn follow(objects: &Objects, cursors: Option<&BTreeMap<String, String>>) -> Follower {
    let resume = cursors.map(|cursors| {
        let read = |(source, text): (&String, &String)| {
            let cursor = Cursor::decode(text, source).expect("our own cursor");
            (source.clone(), cursor)
        };
        cursors.iter().map(read).collect()
    });
    let pods = Pods::Named {
        namespace: "d".into(),
        name: "p".into(),
    };
    Follower::new(
        objects.clone(),
        Spec {
            pods,
            containers: Containers::Regular,
            options: Options {
                follow: true,
                ..Options::default()
            },
            resume,
        },
    )
}

async fn rig(settings: Settings, tasks: &Tasks) -> (Written, Requester, ApiServer, Cluster) {
    trace::install();
    let kubelet = Kubelet::new(settings.seed);
    let server = kubelet.serve(tasks).await;
    let cluster = cluster(&server, tasks).await;
    let written = Written::new(&kubelet, settings);
    let requester = Requester::new(written.clone());
    (written, requester, server, cluster)
}

/// Milliseconds without a word: several of the longest waits between two attempts.
const SILENCE: u32 = 60_000;

/// Follows to the end, killing the agent now and then.
async fn play(requester: &mut Requester, objects: &Objects, server: &ApiServer, kills: usize) {
    let written = requester.written.clone();
    let mut random = StdRng::seed_from_u64(written.lock().settings.seed ^ 1);
    let mut follower = follow(objects, None);
    let mut silent = 0;
    while requester.ended.is_none() {
        // The follower is left alone in the middle of whatever it does, and called again.
        let next = tokio::time::timeout(Duration::from_millis(1), follower.next()).await;
        match next {
            Ok(Ok(Some(news))) => {
                silent = 0;
                requester.take(news);
                if kills > 0 && random.random_range(0..kills) == 0 {
                    follower = follow(objects, Some(&requester.cursors));
                }
            }
            Ok(Ok(None)) => panic!("it ended without a word"),
            Ok(Err(error)) => panic!("{error}"),
            Err(_) => silent += 1,
        }
        if silent == SILENCE {
            let seen = server.seen().into_iter().map(|seen| seen.target);
            let seen: Vec<String> = seen.filter(|target| target.contains("/p")).collect();
            let last = &seen[seen.len().saturating_sub(9)..];
            panic!("nothing comes after line {}: {last:#?}", requester.at);
        }
        written.go_on(requester.at, silent);
    }
}

/// Lines, cuts and seed: in `tests/run` and in `tests/long`.
fn size() -> (usize, u32, u64) {
    #[expect(clippy::disallowed_methods, reason = "tests/long says it this way")]
    let value = |name| std::env::var(name).ok();
    let seed = value("PIPEOPS_TEST_SEED").and_then(|seed| seed.parse().ok());
    let long = value("PIPEOPS_TEST_LENGTH").as_deref() == Some("long");
    let (lines, cuts) = if long {
        (1_000_000, 1_000)
    } else {
        (100_000, 100)
    };
    (lines, cuts, seed.unwrap_or(20_261_124))
}

#[tokio::test]
async fn every_line_comes_once_through_cuts_and_rotations() {
    let (lines, cuts, seed) = size();
    let tasks = Tasks::new();
    let settings = Settings {
        lines,
        cuts,
        seed,
        restarts: 0,
    };
    let (written, mut requester, server, cluster) = rig(settings, &tasks).await;
    let begun = tokio::time::Instant::now();
    play(&mut requester, &cluster.objects(), &server, 100).await;
    requester.close();
    let cut = written
        .lock()
        .kubelet
        .cut
        .load(std::sync::atomic::Ordering::SeqCst);
    println!(
        "FIGURE logs seed {seed} = {lines} lines, {cut} cuts, {} gaps with {} lines lost, {} unproven, \
         {} uncertain, {:?}",
        requester.gaps,
        requester.lost,
        requester.unproven,
        requester.uncertain,
        begun.elapsed_since()
    );
    assert_eq!(requester.at, lines, "all but the gaps came");
    assert_eq!(requester.ended, Some(Ended::Completed));
    assert!(cut >= cuts * 9 / 10, "only {cut} were cut");
    assert!(requester.gaps > 5, "rotations fell into cuts");
    assert!(requester.unproven <= requester.gaps / 10 + 1);
}

#[tokio::test]
async fn every_run_comes_whole_through_cuts_and_restarts() {
    let (lines, cuts, seed) = size();
    let tasks = Tasks::new();
    let settings = Settings {
        lines: lines / 10,
        // Few enough that one leaves more than the longest line and what is read again: a line
        // that no answer is long enough for holds everything up until the cuts are used up.
        cuts: (cuts / 4).min(80),
        seed,
        restarts: 8,
    };
    let (written, mut requester, server, cluster) = rig(settings, &tasks).await;
    play(&mut requester, &cluster.objects(), &server, 100).await;
    assert_eq!(requester.at, lines / 10);
    assert_eq!(requester.ended, Some(Ended::Completed));
    assert!(requester.runs.is_sorted(), "{:?}", requester.runs);
    let runs = written.lock().run;
    assert!(runs >= 4, "only {runs} restarts");
    assert_eq!(
        requester.gaps + requester.unproven,
        0,
        "one restart at a time loses nothing"
    );
}

trait Elapsed {
    fn elapsed_since(self) -> Duration;
}

impl Elapsed for tokio::time::Instant {
    fn elapsed_since(self) -> Duration {
        tokio::time::Instant::now() - self
    }
}
