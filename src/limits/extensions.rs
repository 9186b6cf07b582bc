//! The ceilings of extension points: what an operator declares, and what it may cost.
//!
//! Owns numbers only; see [`super`].

use std::time::Duration;

/// Custom health checks: each is a component that everybody is shown.
pub const EXTENSION_CHECKS: usize = 32;
/// Event handlers: each has a queue of its own.
pub const EXTENSION_HANDLERS: usize = 16;
/// Channels: each is polled whether or not anybody looks.
pub const EXTENSION_CHANNELS: usize = 16;
/// Panels of the dashboard: more than a page shows well.
pub const EXTENSION_PANELS: usize = 48;
/// Fields of one channel, statuses of one check, alternatives of one match.
pub const EXTENSION_FIELDS: usize = 32;
/// Bytes of a name: it becomes a component, a label, an event's name.
pub const EXTENSION_NAME: usize = 48;
/// Bytes of a title, a condition, a pointer, a selector or a text that is looked for.
pub const EXTENSION_TEXT: usize = 256;
/// How often something is asked, at least and at most: two seconds still are live, and what is asked
/// less than once an hour is a cron job.
pub const EXTENSION_EVERY: (Duration, Duration) =
    (Duration::from_secs(2), Duration::from_secs(3600));
/// How long an answer may take, at least and at most.
pub const EXTENSION_TIMEOUT: (Duration, Duration) =
    (Duration::from_millis(100), Duration::from_secs(30));
/// Failures in a row that a check may wait for before it counts.
pub const EXTENSION_FAILURES: u32 = 10;

/// Bytes of an answer's head.
pub const EXTENSION_HEAD: usize = 32 * 1024;
/// Bytes of a health check's answer in which a text is looked for.
pub const EXTENSION_BODY: usize = 64 * 1024;
/// Bytes of the API server's answer to a channel's query. It is held whole while it is read.
pub const EXTENSION_QUERY: usize = 512 * 1024;
/// Queries of channels that are held at once: a parsed answer takes several times its bytes.
pub const EXTENSION_QUERIES_AT_ONCE: usize = 2;
/// Bytes of a Prometheus endpoint's answer, which is read line by line: ten times what a busy
/// application has.
pub const EXTENSION_SCRAPE: usize = 4 * 1024 * 1024;
/// Bytes of one line of it; longer lines are passed over.
pub const EXTENSION_LINE: usize = 8 * 1024;
/// Bytes of what a channel tells at once: it goes to every client.
pub const EXTENSION_VALUES: usize = 32 * 1024;
/// Rows of a table in it.
pub const EXTENSION_ROWS: usize = 100;

/// Events that wait for one handler; beyond it they are dropped and counted. A rollout that goes
/// wrong makes some hundred.
pub const HANDLER_QUEUE: usize = 256;
/// Attempts to deliver one event: about a minute, in which a receiver restarts.
pub const HANDLER_ATTEMPTS: u32 = 5;
/// The first wait between them, at most.
pub const HANDLER_RETRY_FIRST: Duration = Duration::from_secs(1);
/// No wait between them is longer, but for what the receiver asks for.
pub const HANDLER_RETRY_CAP: Duration = Duration::from_secs(30);
/// The longest wait that a receiver may ask for: others wait behind it.
pub const HANDLER_RETRY_ASKED: Duration = Duration::from_secs(60);
/// Lines that a handler logs within a minute; beyond it events are dropped and counted.
pub const HANDLER_LINES: u32 = 120;
/// Bytes of each text of an event that is told.
pub const HANDLER_TEXT: usize = 1024;
