//! A kubelet behind an API server: containers' logs by the kubelet's own rules, over `oracle`.
//!
//! Owns the files of each container and how they are served: `sinceTime` in whole seconds, inclusive
//! and record by record in the file's order; only the newest file of a run, the run before as
//! `previous`; a stamp only at the begin of a line, so that a filter leaves tails without one;
//! following through rotations; a head that comes with the first byte. It cuts answers at random
//! bytes, with and without a sign. What is written is the test's.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock};

use pipeops_agent::tasks::Tasks;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::apiserver::{ApiServer, Peer, Seen, Then, answer};
use super::oracle::Oracle;

pub(crate) const PODS: &str = "/api/v1/pods";

/// One record of a file: a line, or a part of one.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) nanos: i64,
    pub(crate) text: String,
    /// The line ends with it.
    pub(crate) full: bool,
}

#[derive(Default)]
struct File {
    records: Mutex<Vec<Record>>,
    /// Where the run goes on after a rotation.
    next: OnceLock<Arc<File>>,
    /// The run is over.
    closed: AtomicBool,
}

#[derive(Default)]
struct Log {
    current: Option<Arc<File>>,
    previous: Option<Arc<File>>,
}

type OnCut = Box<dyn Fn() + Send + Sync>;

/// The server. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Kubelet {
    pub(crate) oracle: Oracle,
    logs: Arc<Mutex<BTreeMap<String, Log>>>,
    written: Arc<Notify>,
    /// Answers still to be cut, and the most bytes before one is.
    cuts: Arc<AtomicU32>,
    reach: Arc<AtomicUsize>,
    pub(crate) cut: Arc<AtomicU32>,
    /// What happens between a cut and the next request.
    on_cut: Arc<Mutex<Option<OnCut>>>,
    /// Bytes of logs that were sent.
    pub(crate) sent: Arc<AtomicUsize>,
    /// Counts up when all answers are to be broken off.
    hung_up: Arc<AtomicU32>,
    /// The answer that was not followed was cut last: no two in a row.
    probed: Arc<AtomicBool>,
}

impl Kubelet {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            oracle: Oracle::new(seed),
            logs: Arc::default(),
            written: Arc::default(),
            cuts: Arc::default(),
            reach: Arc::default(),
            cut: Arc::default(),
            on_cut: Arc::default(),
            sent: Arc::default(),
            hung_up: Arc::default(),
            probed: Arc::default(),
        }
    }

    pub(crate) async fn serve(&self, tasks: &Tasks) -> ApiServer {
        let kubelet = self.clone();
        ApiServer::start(tasks, move |seen, peer| {
            let kubelet = kubelet.clone();
            async move { kubelet.answer(seen, peer).await }
        })
        .await
    }

    /// Cuts so many answers, each within so many bytes.
    pub(crate) fn cut(&self, count: u32, reach: usize) {
        self.reach.store(reach, SeqCst);
        self.cuts.store(count, SeqCst);
    }

    /// Breaks off all answers that are under way.
    pub(crate) fn hang_up(&self) {
        self.hung_up.fetch_add(1, SeqCst);
        self.written.notify_waiters();
    }

    pub(crate) fn on_cut(&self, act: impl Fn() + Send + Sync + 'static) {
        *self.on_cut.lock().unwrap() = Some(Box::new(act));
    }

    /// Says what the API server knows of a pod with these containers: name and status.
    pub(crate) fn pod(&self, name: &str, policy: &str, phase: &str, statuses: &[Value]) {
        let containers: Vec<Value> = statuses
            .iter()
            .map(|status| json!({"name": status["name"]}))
            .collect();
        self.oracle.put(
            PODS,
            json!({"metadata": {"name": name, "namespace": "d", "labels": {"app": "a"}},
                   "spec": {"restartPolicy": policy, "containers": containers},
                   "status": {"phase": phase, "containerStatuses": statuses}}),
        );
    }

    /// Begins a run of a container.
    pub(crate) fn start(&self, pod: &str, container: &str) {
        self.stop(pod, container);
        let mut logs = self.logs.lock().unwrap();
        let log = logs.entry(format!("{pod}/{container}")).or_default();
        log.previous = log.current.replace(Arc::default());
    }

    /// Ends the run.
    pub(crate) fn stop(&self, pod: &str, container: &str) {
        if let Some(file) = self.file(pod, container) {
            file.closed.store(true, SeqCst);
        }
        self.written.notify_waiters();
    }

    pub(crate) fn write(&self, pod: &str, container: &str, records: Vec<Record>) {
        let file = self.file(pod, container).expect("it runs");
        file.records.lock().unwrap().extend(records);
        self.written.notify_waiters();
    }

    pub(crate) fn rotate(&self, pod: &str, container: &str) {
        let file = self.file(pod, container).expect("it runs");
        let next = Arc::<File>::default();
        assert!(file.next.set(next.clone()).is_ok(), "it is rotated once");
        let mut logs = self.logs.lock().unwrap();
        let log = logs.get_mut(&format!("{pod}/{container}")).unwrap();
        log.current = Some(next);
        drop(logs);
        self.written.notify_waiters();
    }

    fn file(&self, pod: &str, container: &str) -> Option<Arc<File>> {
        let logs = self.logs.lock().unwrap();
        logs.get(&format!("{pod}/{container}"))?.current.clone()
    }

    pub(crate) async fn answer(&self, seen: Seen, mut peer: Peer) -> (Peer, Then) {
        let (path, query) = seen.target.split_once('?').unwrap_or((&seen.target, ""));
        if self.oracle.refused(path).is_some() {
            return self.oracle.answer(seen, peer).await;
        }
        let parts: Vec<&str> = path.split('/').collect();
        match parts[..] {
            ["", "api", "v1", "namespaces", "d", "pods", pod, "log"] => {
                let query: BTreeMap<&str, &str> = query
                    .split('&')
                    .filter_map(|pair| pair.split_once('='))
                    .collect();
                let then = self.log(pod, &query, &mut peer).await;
                (peer, then)
            }
            ["", "api", "v1", "namespaces", "d", "pods", pod] => {
                let found = self.oracle.objects(PODS).into_iter();
                let found = found.into_iter().find(|it| it["metadata"]["name"] == pod);
                let (status, body) = match found {
                    Some(pod) => ("200 OK", pod),
                    None => ("404 Not Found", json!({"kind": "Status", "code": 404})),
                };
                peer.send(answer(status, "", &body.to_string())).await;
                (peer, Then::KeepAlive)
            }
            _ => self.oracle.answer(seen, peer).await,
        }
    }

    async fn log(&self, pod: &str, query: &BTreeMap<&str, &str>, peer: &mut Peer) -> Then {
        assert_eq!(query.get("timestamps"), Some(&"true"));
        let flag = |name: &str| query.get(name) == Some(&"true");
        let key = format!("{pod}/{}", query["container"]);
        let file = self.logs.lock().unwrap().get(&key).and_then(|log| {
            if flag("previous") {
                log.previous.clone()
            } else {
                log.current.clone()
            }
        });
        let Some(mut file) = file else {
            let words = json!({"kind": "Status", "code": 400, "reason": "BadRequest",
                "message": if flag("previous") { "previous terminated container not found" }
                           else { "container is waiting to start: ContainerCreating" }});
            peer.send(answer("400 Bad Request", "", &words.to_string()))
                .await;
            return Then::KeepAlive;
        };
        let since = query.get("sinceTime").map_or(i64::MIN, |text| {
            let seconds = text.parse::<k8s_openapi::jiff::Timestamp>().unwrap();
            seconds.as_second() * 1_000_000_000
        });
        let follow = flag("follow");
        let mut at = query.get("tailLines").map_or(0, |tail| {
            let length = file.records.lock().unwrap().len();
            length.saturating_sub(tail.parse().unwrap())
        });
        let mut cut = self.cut_after(follow);
        let (mut headed, mut line_begins) = (false, true);
        let hung_up = self.hung_up.load(SeqCst);
        loop {
            let written = self.written.notified();
            let closed = file.closed.load(SeqCst);
            let next = file.next.get().cloned();
            let (mut bytes, read) = render(&file, at, since, &mut line_begins);
            at += read;
            let ends = read == 0 && next.is_none() && (closed || !follow);
            if !headed && (!bytes.is_empty() || ends) {
                headed = true;
                peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                    .await;
            }
            let hit = cut.is_some_and(|left| left < bytes.len());
            if let Some(left) = &mut cut {
                bytes.truncate(if hit { *left } else { bytes.len() });
                *left -= bytes.len();
            }
            if !bytes.is_empty() {
                let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
                chunk.extend_from_slice(&bytes);
                chunk.extend_from_slice(b"\r\n");
                peer.send(chunk).await;
                self.sent.fetch_add(bytes.len(), SeqCst);
            }
            if hit {
                return self.hit(peer).await;
            }
            if ends {
                peer.send("0\r\n\r\n").await;
                return Then::KeepAlive;
            }
            if peer.gone() || self.hung_up.load(SeqCst) != hung_up {
                return Then::Close;
            }
            if read == 0 {
                match next {
                    // What was written before the rotation was read: it is looked at again.
                    Some(next) if at == file.records.lock().unwrap().len() => {
                        (file, at) = (next, 0);
                    }
                    Some(_) => {}
                    None => written.await,
                }
            }
        }
    }

    /// Whether this answer is cut, and after how many bytes.
    fn cut_after(&self, follow: bool) -> Option<usize> {
        if !follow && (self.oracle.random(0..8) > 0 || self.probed.swap(true, SeqCst)) {
            self.probed.store(false, SeqCst);
            return None;
        }
        let reach = self.reach.load(SeqCst);
        (self.cuts.load(SeqCst) > 0).then(|| self.oracle.random(1..reach))
    }

    async fn hit(&self, peer: &mut Peer) -> Then {
        let one_less = |left: u32| Some(left.saturating_sub(1));
        let _ = self.cuts.fetch_update(SeqCst, SeqCst, one_less);
        self.cut.fetch_add(1, SeqCst);
        if let Some(act) = &*self.on_cut.lock().unwrap() {
            act();
        }
        if self.oracle.random(0..3) == 0 {
            // As when the kubelet is started again: the answer looks whole.
            peer.send("0\r\n\r\n").await;
            return Then::KeepAlive;
        }
        Then::Close
    }
}

/// What the kubelet's writer makes of the records from `at` on, and how many it took.
fn render(file: &File, at: usize, since: i64, line_begins: &mut bool) -> (Vec<u8>, usize) {
    let records = file.records.lock().unwrap();
    let mut bytes = Vec::new();
    let mut read = 0;
    for record in &records[at..] {
        if bytes.len() > 16 * 1024 {
            break;
        }
        read += 1;
        if record.nanos >= since {
            if *line_begins {
                bytes.extend_from_slice(stamp(record.nanos).as_bytes());
                bytes.push(b' ');
            }
            bytes.extend_from_slice(record.text.as_bytes());
            if record.full {
                bytes.push(b'\n');
            }
        }
        *line_begins = record.full;
    }
    (bytes, read)
}

/// As the kubelet writes it.
pub(crate) fn stamp(nanos: i64) -> String {
    pipeops_agent::cluster::logs::stamp::Stamp(nanos).text()
}
