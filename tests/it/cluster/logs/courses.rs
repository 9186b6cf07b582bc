//! Single courses of a followed log: how it begins, what may happen to it, how it ends.

use std::collections::BTreeMap;

use pipeops_agent::cluster::logs::{
    Budget, Containers, Cursor, Event, Follower, News, Options, Pods, Since, Spec,
};
use pipeops_agent::cluster::{Cluster, ObjectError};
use pipeops_agent::limits;
use pipeops_agent::tasks::Tasks;
use serde_json::{Value, json};

use super::super::cluster;
use crate::support::apiserver::ApiServer;
use crate::support::kubelet::{Kubelet, PODS, Record};
use crate::support::soon;

const BEGIN: i64 = 1_764_000_000;

/// A kubelet with the pod `p`, whose container `main` runs.
struct Rig {
    tasks: Tasks,
    kubelet: Kubelet,
    server: ApiServer,
    cluster: Cluster,
}

fn status(name: &str, run: u32, state: &Value) -> Value {
    json!({"name": name, "restartCount": run, "state": state})
}

fn running(run: u32) -> Value {
    status("main", run, &json!({"running": {}}))
}

impl Rig {
    async fn new() -> Self {
        let tasks = Tasks::new();
        let kubelet = Kubelet::new(1);
        let server = kubelet.serve(&tasks).await;
        let cluster = cluster(&server, &tasks).await;
        kubelet.start("p", "main");
        kubelet.pod("p", "Always", "Running", &[running(0)]);
        Self {
            tasks,
            kubelet,
            server,
            cluster,
        }
    }

    /// Lines, one a second.
    fn write(&self, lines: std::ops::Range<i64>) {
        let record = |line: i64| Record {
            nanos: (BEGIN + line) * 1_000_000_000 + 5,
            text: format!("line {line}"),
            full: true,
        };
        self.kubelet.write("p", "main", lines.map(record).collect());
    }

    fn reader(&self, options: Options) -> Reader {
        let pods = Pods::Named {
            namespace: "d".into(),
            name: "p".into(),
        };
        Reader::new(&self.cluster, pods, options)
    }

    fn over(&self) {
        self.kubelet.stop("p", "main");
        let state = json!({"terminated": {"exitCode": 0}});
        let statuses = [status("main", 0, &state)];
        self.kubelet.pod("p", "Never", "Succeeded", &statuses);
    }
}

fn following() -> Options {
    Options {
        follow: true,
        ..Options::default()
    }
}

/// A requester, with all that it was told.
struct Reader {
    cluster: Cluster,
    spec: Spec,
    follower: Follower,
    cursors: BTreeMap<String, String>,
    texts: Vec<String>,
    told: Vec<String>,
    over: bool,
}

impl Reader {
    fn new(cluster: &Cluster, pods: Pods, options: Options) -> Self {
        let spec = Spec {
            pods,
            containers: Containers::All,
            options,
            resume: None,
        };
        Self {
            cluster: cluster.clone(),
            follower: Follower::new(cluster.objects(), spec.clone()),
            spec,
            cursors: BTreeMap::new(),
            texts: Vec::new(),
            told: Vec::new(),
            over: false,
        }
    }

    /// Another agent's process goes on.
    fn again(&mut self) {
        let read = |(source, text): (&String, &String)| {
            (source.clone(), Cursor::decode(text, source).unwrap())
        };
        self.spec.resume = Some(self.cursors.iter().map(read).collect());
        self.follower = Follower::new(self.cluster.objects(), self.spec.clone());
    }

    async fn step(&mut self) -> Result<(), ObjectError> {
        let Some(news) = soon(self.follower.next()).await? else {
            self.over = true;
            return Ok(());
        };
        match news {
            News::Forget(source) => {
                self.cursors.remove(&source);
                self.told.push("forget".into());
            }
            News::LeftOut(count) => self.told.push(format!("left out {count}")),
            News::Trouble(_) => self.told.push("trouble with the list".into()),
            News::Recovered => self.told.push("recovered list".into()),
            News::Told(told) => {
                if let Some(cursor) = told.cursor {
                    self.cursors.insert(told.source, cursor);
                }
                match told.event {
                    Event::Lines { batch, .. } => {
                        let entries = batch.into_entries().into_iter();
                        self.texts.extend(entries.map(|entry| entry.text));
                    }
                    Event::Started { run } => self.told.push(format!("started {run}")),
                    Event::Gap { reason, .. } => self.told.push(format!("gap {reason:?}")),
                    Event::Waiting { reason } => self.told.push(format!("waiting {reason}")),
                    Event::Trouble { .. } => self.told.push("trouble".into()),
                    Event::Recovered => self.told.push("recovered".into()),
                    Event::Ended { reason } => self.told.push(format!("ended {reason:?}")),
                }
            }
        }
        Ok(())
    }

    async fn until(&mut self, done: impl Fn(&Self) -> bool) {
        while !done(self) {
            assert!(
                !self.over,
                "it ended: {:?}, {:?}",
                self.told,
                self.texts.len()
            );
            self.step().await.expect("nothing here is for good");
        }
    }

    async fn lines(&mut self, count: usize) -> Vec<String> {
        self.until(|reader| reader.texts.len() >= count).await;
        std::mem::take(&mut self.texts)
    }

    async fn told(&mut self, what: &str) {
        self.until(|reader| reader.told.iter().any(|told| told == what))
            .await;
    }
}

fn numbered(lines: std::ops::Range<i64>) -> Vec<String> {
    lines.map(|line| format!("line {line}")).collect()
}

#[tokio::test]
async fn a_tail_begins_with_the_last_lines_and_goes_on_with_all() {
    let rig = Rig::new().await;
    rig.write(0..100);
    let tail = Some(10);
    let mut reader = rig.reader(Options {
        tail,
        ..following()
    });
    assert_eq!(reader.lines(10).await, numbered(90..100));
    reader.again();
    rig.write(100..105);
    assert_eq!(reader.lines(5).await, numbered(100..105));
    assert_eq!(reader.told, ["started 0"]);
}

#[tokio::test]
async fn a_tail_of_nothing_begins_with_what_is_written_from_then_on() {
    let rig = Rig::new().await;
    rig.write(0..100);
    let tail = Some(0);
    let mut reader = rig.reader(Options {
        tail,
        ..following()
    });
    reader.told("started 0").await;
    // A new process begins where the first one did, not where the file ends now.
    rig.write(100..103);
    reader.again();
    assert_eq!(reader.lines(3).await, numbered(100..103));
}

#[tokio::test]
async fn since_a_second_begins_with_its_first_line() {
    let rig = Rig::new().await;
    rig.write(0..100);
    let since = Some(Since::Second(BEGIN + 97));
    let mut reader = rig.reader(Options {
        since,
        ..following()
    });
    assert_eq!(reader.lines(3).await, numbered(97..100));
    reader.again();
    rig.write(100..101);
    assert_eq!(reader.lines(1).await, numbered(100..101));
}

#[tokio::test]
async fn the_run_before_is_read_alone_and_once() {
    let rig = Rig::new().await;
    rig.write(0..10);
    rig.kubelet.start("p", "main");
    rig.kubelet.pod("p", "Always", "Running", &[running(1)]);
    rig.write(10..20);
    let previous = true;
    let mut reader = rig.reader(Options {
        previous,
        ..following()
    });
    assert_eq!(reader.lines(10).await, numbered(0..10));
    reader.until(|reader| reader.over).await;
    assert_eq!(reader.told, ["started 0", "ended Completed"]);
    reader.again();
    reader.over = false;
    reader.until(|reader| reader.over).await;
    assert!(reader.texts.is_empty());
}

#[tokio::test]
async fn a_long_line_goes_on_in_its_middle() {
    let rig = Rig::new().await;
    rig.write(0..3);
    let nanos = (BEGIN + 3) * 1_000_000_000;
    let text = "abcdefgh".repeat(limits::logs::PIECE / 2);
    let records = text.as_bytes().chunks(16 * 1024).map(|part| Record {
        nanos,
        text: String::from_utf8(part.to_vec()).unwrap(),
        full: false,
    });
    rig.kubelet.write("p", "main", records.collect());
    let mut reader = rig.reader(following());
    let mut all = reader.lines(5).await;
    assert_eq!(all.drain(..3).collect::<Vec<_>>(), numbered(0..3));
    reader.again();
    let end = Record {
        nanos,
        text: "end".into(),
        full: true,
    };
    rig.kubelet.write("p", "main", vec![end]);
    rig.write(4..5);
    reader
        .until(|reader| reader.texts.last().is_some_and(|text| text == "line 4"))
        .await;
    reader.texts.pop();
    let whole = all.concat() + &reader.texts.concat();
    assert_eq!(whole.len(), text.len() + 3);
    assert_eq!(whole, text + "end");
}

#[tokio::test]
async fn a_last_line_without_an_end_comes_when_the_container_has_stopped() {
    let rig = Rig::new().await;
    rig.write(0..2);
    let cut_short = Record {
        nanos: (BEGIN + 2) * 1_000_000_000,
        text: "panic: no ti".into(),
        full: false,
    };
    rig.kubelet.write("p", "main", vec![cut_short]);
    let mut reader = rig.reader(following());
    assert_eq!(reader.lines(2).await, numbered(0..2));
    rig.over();
    assert_eq!(reader.lines(1).await, ["panic: no ti"]);
    reader.again();
    reader.until(|reader| reader.over).await;
    assert!(reader.texts.is_empty(), "once: {:?}", reader.texts);
    assert_eq!(reader.told, ["started 0", "ended Completed"]);
}

#[tokio::test]
async fn of_several_restarts_what_is_lost_is_a_gap_and_the_run_before_comes_whole() {
    let rig = Rig::new().await;
    rig.write(0..10);
    let mut reader = rig.reader(following());
    reader.lines(10).await;
    drop(std::mem::replace(
        &mut reader.follower,
        Follower::new(rig.cluster.objects(), reader.spec.clone()),
    ));
    rig.write(10..20);
    for run in 1..=3 {
        rig.kubelet.start("p", "main");
        rig.kubelet.pod("p", "Always", "Running", &[running(run)]);
        rig.write(i64::from(run) * 100..i64::from(run) * 100 + 2);
    }
    reader.again();
    let lines = reader.lines(4).await;
    assert_eq!(lines, ["line 200", "line 201", "line 300", "line 301"]);
    assert_eq!(reader.told, ["started 0", "gap Restarted", "started 3"]);
}

#[tokio::test]
async fn a_pod_that_is_gone_is_a_gap_for_whoever_was_not_there() {
    let rig = Rig::new().await;
    rig.write(0..10);
    let mut reader = rig.reader(following());
    reader.lines(10).await;
    reader.follower = Follower::new(rig.cluster.objects(), reader.spec.clone());
    rig.kubelet.stop("p", "main");
    rig.kubelet.oracle.remove(PODS, "d", "p");
    // Another one of the same name is another pod.
    rig.kubelet.pod("p", "Always", "Running", &[running(0)]);
    reader.again();
    reader.until(|reader| reader.over).await;
    assert_eq!(reader.told, ["started 0", "gap Gone", "forget"]);
    assert!(reader.texts.is_empty() && reader.cursors.is_empty());
}

#[tokio::test]
async fn a_pod_that_is_deleted_while_it_is_read_leaves_no_gap() {
    let rig = Rig::new().await;
    rig.write(0..10);
    let mut reader = rig.reader(following());
    reader.lines(10).await;
    rig.write(10..12);
    rig.kubelet.stop("p", "main");
    rig.kubelet.oracle.remove(PODS, "d", "p");
    reader.until(|reader| reader.over).await;
    assert_eq!(reader.texts, numbered(10..12));
    assert_eq!(reader.told, ["started 0", "ended Gone", "forget"]);
}

#[tokio::test]
async fn pods_of_a_selector_come_and_go() {
    let rig = Rig::new().await;
    rig.write(0..2);
    let pods = Pods::Selected {
        namespace: "d".into(),
        labels: "app=a".into(),
    };
    let tail = Some(1);
    let mut reader = Reader::new(
        &rig.cluster,
        pods,
        Options {
            tail,
            ..following()
        },
    );
    assert_eq!(reader.lines(1).await, numbered(1..2));
    let waiting = json!({"waiting": {"reason": "ContainerCreating"}});
    let statuses = [status("main", 0, &waiting)];
    rig.kubelet.pod("q", "Always", "Pending", &statuses);
    reader.told("waiting ContainerCreating").await;
    rig.kubelet.start("q", "main");
    let late = |text: &str| Record {
        nanos: BEGIN * 1_000_000_000,
        text: text.into(),
        full: true,
    };
    let records = vec![late("q 0"), late("q 1")];
    rig.kubelet.write("q", "main", records);
    rig.kubelet.pod("q", "Always", "Running", &[running(0)]);
    assert_eq!(reader.lines(2).await, ["q 0", "q 1"], "from its begin");
    rig.kubelet.stop("p", "main");
    rig.kubelet.oracle.remove(PODS, "d", "p");
    reader.told("forget").await;
    rig.kubelet.write("q", "main", vec![late("q 2")]);
    assert_eq!(reader.lines(1).await, ["q 2"]);
    assert_eq!(reader.cursors.len(), 1);
}

#[tokio::test]
async fn what_is_more_than_may_be_followed_is_told_and_gets_its_turn() {
    let rig = Rig::new().await;
    let names: Vec<String> = (0..limits::logs::SOURCES + 1)
        .map(|n| format!("p{n}"))
        .collect();
    for name in &names {
        rig.kubelet.start(name, "main");
        rig.kubelet.pod(name, "Always", "Running", &[running(0)]);
    }
    let pods = Pods::Selected {
        namespace: "d".into(),
        labels: String::new(),
    };
    let mut reader = Reader::new(&rig.cluster, pods, following());
    reader.told("left out 2").await;
    for name in &names[..2] {
        rig.kubelet.stop(name, "main");
        rig.kubelet.oracle.remove(PODS, "d", name);
    }
    reader.told("left out 0").await;
    reader
        .until(|reader| {
            reader
                .told
                .iter()
                .filter(|told| *told == "started 0")
                .count()
                > limits::logs::SOURCES
        })
        .await;
}

#[tokio::test]
async fn trouble_is_told_once_and_waited_out() {
    let rig = Rig::new().await;
    rig.write(0..3);
    let mut reader = rig.reader(following());
    reader.lines(3).await;
    rig.kubelet
        .oracle
        .refuse("/api/v1/namespaces/d/pods/p", 503, "ServiceUnavailable");
    rig.kubelet.hang_up();
    reader.told("trouble").await;
    rig.write(3..5);
    rig.kubelet.oracle.accept("/api/v1/namespaces/d/pods/p");
    assert_eq!(reader.lines(2).await, numbered(3..5));
    reader.told("recovered").await;
    assert_eq!(reader.told, ["started 0", "trouble", "recovered"]);
}

#[tokio::test]
async fn a_refusal_ends_it_and_so_does_a_pod_that_is_not_there() {
    let rig = Rig::new().await;
    rig.kubelet
        .oracle
        .refuse("/api/v1/namespaces/d/pods/p/log", 403, "Forbidden");
    let mut reader = rig.reader(following());
    let refused = loop {
        match reader.step().await {
            Ok(()) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, ObjectError::Refused(_)), "{refused}");
    let pods = Pods::Named {
        namespace: "d".into(),
        name: "none".into(),
    };
    let mut reader = Reader::new(&rig.cluster, pods, following());
    let missing = reader.step().await.unwrap_err();
    assert!(matches!(missing, ObjectError::NotFound(_)), "{missing}");
    drop(rig.server);
    drop(rig.tasks);
}

#[tokio::test]
async fn a_bounded_reading_ends_with_the_log_or_with_its_bound() {
    let rig = Rig::new().await;
    rig.write(0..1000);
    let bounded = |lines, bytes| Options {
        budget: Some(std::sync::Arc::new(Budget::new(lines, bytes))),
        ..Options::default()
    };
    let mut reader = rig.reader(bounded(10_000, 1_000_000));
    reader.until(|reader| reader.over).await;
    assert_eq!(reader.texts, numbered(0..1000));
    assert_eq!(reader.told, ["started 0", "ended Read"]);
    let mut reader = rig.reader(bounded(250, 1_000_000));
    reader.until(|reader| reader.over).await;
    assert_eq!(reader.texts, numbered(0..250));
    assert_eq!(reader.told, ["started 0", "ended Limited"]);
    // With its cursor it goes on exactly there.
    reader.spec.options = bounded(10_000, 16);
    reader.texts.clear();
    reader.over = false;
    reader.again();
    reader.until(|reader| reader.over).await;
    assert_eq!(reader.texts, numbered(250..252));
}
