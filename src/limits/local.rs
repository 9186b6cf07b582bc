//! Ceilings of the local server.

use std::time::Duration;

/// Connections kept for probes when people have all of theirs, or when more come than the rate
/// allows. They answer probes, version and metrics only.
pub const LOCAL_PROBES: usize = 32;
/// Of those, what one peer may have: a kubelet opens one for each probe, a flood from elsewhere
/// must leave room for it.
pub const LOCAL_PROBES_EACH: usize = 8;
/// The head of a request on such a connection: a kubelet sends it at once, and what does not is
/// what the room is kept from.
pub const LOCAL_PROBE_HEAD: Duration = Duration::from_secs(2);
/// People's connections unless the configuration says otherwise.
pub const LOCAL_CONNECTIONS: usize = 100;
/// New connections of people in a second, and as many at once, unless the configuration says
/// otherwise: a page that comes back after a restart opens six.
pub const LOCAL_RATE: u32 = 100;
/// The head of a request to the local server.
pub const LOCAL_HEAD: usize = 16 * 1024;
/// How long a connection there is served before it is asked to come again, unless it streams:
/// nobody keeps one for ever by reading slowly.
pub const LOCAL_LIFE: Duration = Duration::from_secs(60);
/// The first and longest pause after an accept that failed for want of descriptors or memory.
pub const LOCAL_ACCEPT_PAUSE: (Duration, Duration) =
    (Duration::from_millis(50), Duration::from_secs(1));
/// Waiting for the local server's last answers at the end.
pub const LOCAL_GOODBYE: Duration = Duration::from_secs(2);
/// Bytes that the kernel may hold for one client unsent: who stops reading is found by them.
pub const LOCAL_UNSENT: usize = 128 * 1024;
/// Updates that wait for one client. They are shared: a client that waits costs pointers.
pub const LOCAL_QUEUE: usize = 256;
/// A client that has taken nothing for so long, while something waits, is dropped.
pub const LOCAL_STALL: Duration = Duration::from_secs(15);
/// Past events that a new client is told, and that one that comes back finds again.
pub const LOCAL_EVENTS: usize = 100;
/// Events told in one beat of [`LOCAL_EVENT_BEAT`]; what a storm brings beyond is dropped, oldest
/// first, and counted.
pub const LOCAL_EVENTS_AT_ONCE: usize = 25;
/// How often events are told.
pub const LOCAL_EVENT_BEAT: Duration = Duration::from_millis(250);
/// After a change, for what changes with it: a rollout is one update, within a second.
pub const LOCAL_SETTLE: Duration = Duration::from_millis(200);
/// How often the runtime's figures are told.
pub const LOCAL_METRICS_EVERY: Duration = Duration::from_secs(1);
/// Unwell nodes and pods that are told by name.
pub const LOCAL_UNWELL: usize = 50;
/// Between attempts at following the cluster.
pub const LOCAL_FOLLOW_AGAIN: Duration = Duration::from_secs(5);
/// How long the cluster is followed on after the last client has gone: a page that is reloaded
/// need not list it again.
pub const LOCAL_LINGER: Duration = Duration::from_secs(10);
/// Time between heartbeats of a stream, unless the configuration says otherwise.
pub const LOCAL_HEARTBEAT: Duration = Duration::from_secs(30);
/// Silence of a WebSocket's client, pongs included, after which it is closed, unless the
/// configuration says otherwise.
pub const LOCAL_SILENCE: Duration = Duration::from_secs(300);
/// One message of a WebSocket's client: a request for logs with a long selector.
pub const LOCAL_MESSAGE: usize = 16 * 1024;
/// Messages of one client that are taken in a second: a person clicks ten times.
pub const LOCAL_MESSAGES: u32 = 20;
/// Logs that one client follows at once.
pub const LOCAL_LOGS: usize = 8;
/// Commands that have ended and are still shown.
pub const COMMANDS_RECENT: usize = 50;
/// Commands that run and are shown; of more, only the number is.
pub const COMMANDS_SHOWN: usize = 100;
/// An answer about features is kept so long: it costs a dozen requests.
pub const FEATURES_LAST: Duration = Duration::from_secs(60);
/// Tests of the connections, at most one run in so long; others get its answer.
pub const CONNECTIVITY_LAST: Duration = Duration::from_secs(5);
/// All of one such run.
pub const CONNECTIVITY_DEADLINE: Duration = Duration::from_secs(45);

/// How often the channel's task says that it makes progress.
pub const PROGRESS_EVERY: Duration = Duration::from_secs(5);
/// Without a word for so long it is stuck: with three probes of a kubelet, ten seconds apart, the
/// container starts again within a minute.
pub const PROGRESS_WITHIN: Duration = Duration::from_secs(20);
/// The same while it connects, which may take [`crate::limits::REGISTER`] and
/// [`crate::limits::HANDSHAKE`] one after the other, and as long again for a second transport.
pub const PROGRESS_CONNECTING: Duration = Duration::from_secs(45);
/// Lines of the past that one may ask for at once.
pub const LOCAL_TAIL: u64 = 10_000;
