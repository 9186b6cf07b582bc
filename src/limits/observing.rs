//! Ceilings of what the agent reads and tells for itself: objects, health, usage.
//!
//! A part of `limits`, apart for its length alone.

use std::time::Duration;

use super::CHUNK;

// === Objects that we read ourselves ===

/// One of our own calls, a page of a list or the head of a watch: a page of large objects from a
/// busy API server takes seconds.
pub const OBJECT_CALL: Duration = Duration::from_secs(30);
/// Items of a page: 250 pods are 2 MB of JSON, and a page more costs the API server little.
pub const OBJECT_PAGE: usize = 250;
/// One object as JSON. etcd takes 1.5 MiB of it as protobuf, the API server 3 MiB in a request;
/// the rest is what the server adds.
pub const OBJECT_BYTES: usize = 4 * 1024 * 1024;
/// One item of a list that comes unpaged: what a pod's containers use, a row of a table. A pod of a
/// hundred containers needs 10 KiB.
pub const OBJECT_SMALL: usize = 64 * 1024;
/// Readings of every pod of the cluster that go on at once: each is seconds of the API server's
/// time on a large one.
pub const SURVEYS: usize = 2;
/// Nodes whose pods' demands are told apart: twice what Kubernetes supports.
pub const SURVEY_NODES: usize = 10_000;
/// Rows of one table that are counted: ten times the pods of the largest cluster.
pub const CENSUS_ROWS: usize = 1_500_000;
/// Questions about our own permissions in flight: 140 of them take a fifth of a second then.
pub const REVIEWS: usize = 8;
/// Pages that are read at once in the process: each may hold one object.
pub const OBJECT_LISTS: usize = 4;
/// How often a list that grew too old while it was read is begun again.
pub const OBJECT_RESTARTS: u32 = 3;
/// What is read of a refusal, and of what stands around the items of a list.
pub const OBJECT_REFUSAL: usize = 64 * 1024;
/// Objects that all commands together follow: an entry is about 60 bytes, all of them 24 MiB; a
/// cluster of 5,000 nodes and 50,000 pods fits five times.
pub const OBJECTS_FOLLOWED: usize = 400_000;
/// Seconds that a watch of ours is asked to last, at random: well below the 30 minutes after which
/// the API server ends any, so that a dead one is noticed within minutes where no bookmarks come.
pub const WATCH_SECONDS: std::ops::RangeInclusive<u64> = 240..=300;
/// Beyond that time, for the server's end to arrive.
pub const WATCH_BEHIND: Duration = Duration::from_secs(30);
/// Silence of a watch that has had bookmarks: they come about every minute.
pub const WATCH_SILENCE: Duration = Duration::from_secs(150);
/// An event from which on it is large; events of honest pods are under 64 KiB.
pub const WATCH_LARGE: usize = 128 * 1024;
/// Large events that are read at once in the process, by watches that would be many.
pub const WATCH_LARGE_AT_ONCE: usize = 4;
/// Within which time a watch is opened again at first.
pub const WATCH_RETRY_FIRST: Duration = Duration::from_secs(1);
/// The longest wait between two attempts; an API server that is back is soon noticed.
pub const WATCH_RETRY_CAP: Duration = Duration::from_secs(30);
/// How often a state that is watched is told anew: what changes more often is told as it is then.
pub const LIVE_EVERY: Duration = Duration::from_secs(1);
/// How often a cursor is told that has moved without a change: the API server keeps history for
/// five minutes.
pub const LIVE_CURSOR: Duration = Duration::from_secs(60);
/// The longest cursor (P-71).
pub const CURSOR: usize = 1024;
/// Bytes of an event from which on no further item goes into it; one item may be larger.
pub const EVENT_FILL: usize = CHUNK;
/// Names in one event; each is at most 330 bytes.
pub const EVENT_NAMES: usize = 100;
/// Ports and endpoints of a service that are told: with the longest names they are 90 KiB.
pub const SERVICE_PARTS: usize = 100;
/// One text of an object that is told: the API's own bound of an event's message. Fifteen of them fit
/// a message where each byte is escaped.
pub const OBJECT_TEXT: usize = 1024;
/// Pods that are not well and are told of one by one: a person reads no more.
pub const STATUS_UNHEALTHY: usize = 1000;
/// One text of a node, workload or pod that is told: an item has at most 60 of them, and escaped
/// they must fit a message.
pub const STATUS_TEXT: usize = 256;
/// What is passed on of the API server's words; its own are under 300 bytes, a webhook's are
/// anybody's.
pub const OBJECT_MESSAGE: usize = 1024;

/// Requests to the API server in flight, interactive: each holds a connection of about 50 KiB.
pub const SLOTS_INTERACTIVE: u32 = 512;
/// Requests to the API server in flight, API class: 500 watches and their lists fit three times.
pub const SLOTS_API: u32 = 2048;
/// Requests to the API server in flight, bulk.
pub const SLOTS_BULK: u32 = 1024;
/// Commands of ours that watch or read (logs, events, status, metrics): a thousand log followers
/// and what a dashboard wants beside them.
pub const SLOTS_OBSERVE: u32 = 1280;
/// Commands of ours that change something: each is short, and the API server bounds it as well.
pub const SLOTS_OPERATE: u32 = 64;

/// Bytes of the identity that a request is to run under, as headers: what the API server reads of
/// a head is 1 MiB, what its own identities need is under 4 KiB.
pub const IDENTITY_BYTES: usize = 16 * 1024;

/// A cursor, of any command (P-71).
pub const CURSOR_BYTES: usize = 1024;

// === Health ===

/// How often the agent looks at itself: what needs no request.
pub const HEALTH_TICK: Duration = Duration::from_secs(5);
/// How often it asks the API server whether it is ready, beside every change that is noticed.
pub const HEALTH_EVERY: Duration = Duration::from_secs(60);
/// How long a whole set of permissions is taken for whole: roles hardly ever change.
pub const PERMISSIONS_LAST: Duration = Duration::from_secs(600);
/// One sleep of those that measure the event loop's lag when it is asked for.
pub const LAG_PROBE: Duration = Duration::from_millis(10);
/// From when on a late event loop is degraded, and failing: a person at a terminal feels the first,
/// the second is half of the time that a ping may take.
pub const LAG: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// From which share of a limit on, in percent, its use is degraded, and failing.
pub const SHARES: (u64, u64) = (80, 95);
/// Over how long losses of the channel are counted.
pub const FLAP_WITHIN: Duration = Duration::from_secs(600);
/// More losses than these in that time are flapping: a rolling update of the gateway makes one, a
/// restart of a proxy another.
pub const FLAPS: u64 = 5;
/// Moments of loss that are kept: an attempt a second for the whole time would be as many.
pub const FLAP_MOST: usize = 600;
/// A server's certificate that ends within so many days is worth a word: kubeadm's last a year and
/// are renewed by hand.
pub const CERTIFICATE_DAYS: i64 = 14;
/// From how many seconds on a clock is worth a word, and wrong: tokens are checked to the minute.
pub const SKEW: (u64, u64) = (5, 60);
/// How often nodes and pods are counted for the heartbeat, at most.
pub const CENSUS_EVERY: Duration = Duration::from_secs(180);
/// And never more than one part in so many of the time.
pub const CENSUS_SHARE: u32 = 50;

// === Usage and features ===

/// Items of one event of usage, beside its bytes: a chunk.
pub const METRICS_CHUNK: usize = 100;
/// Namespaces whose sums are told apart: a cluster with more of them has one to each person.
pub const METRICS_NAMESPACES: usize = 10_000;
/// Reading every pod for its requests may take one part in so many of the time.
pub const SURVEY_SHARE: u32 = 20;
/// API groups that are named: a cluster with a hundred operators has 150.
pub const FEATURE_GROUPS: usize = 500;
/// Rules of one namespace that are told; an administrator has 5, a service account under 50.
pub const FEATURE_RULES: usize = 1000;
