//! The ceilings of commands over HTTP, each with the reason for its number.
//!
//! Owns numbers only, as its parent does.

use std::time::Duration;

use super::{CHUNK, JSON_DEPTH, TEXT_MESSAGE};

/// The body of `POST /clusters/{id}/commands/{name}`: manifests of some size, and with all that is
/// added to it, a command must fit into one text message.
pub const COMMAND_BODY: usize = 192 * 1024;
/// From the head of such a request to the end of its body.
pub const COMMAND_BODY_DEADLINE: Duration = Duration::from_secs(10);
/// Bytes of a command's arguments as they are sent, its cursors among them: the rest of a text
/// message is for the envelope, whose actor may have many groups.
pub const COMMAND_ARGS: usize = TEXT_MESSAGE - 32 * 1024;
/// Nesting of a command's arguments: the message, the command and the arguments are levels too.
pub const COMMAND_DEPTH: usize = JSON_DEPTH - 2;
/// The longest deadline that a caller may ask for.
pub const COMMAND_DEADLINE: Duration = Duration::from_secs(24 * 3600);
/// Times that a caller may say it has sent a key: a number beyond it is no count.
pub const ATTEMPTS: u32 = 1_000_000;
/// Sources whose cursors a requester keeps (P-71).
pub const SOURCES: usize = 256;
/// The name of a source: a namespace, a pod and a container are 382 bytes at most.
pub const SOURCE_BYTES: usize = 512;
/// All cursors of one stream with their sources' names: they are sent together with the arguments,
/// which are short where there are cursors.
pub const CURSORS_BYTES: usize = 96 * 1024;
/// The `id:` of an event, which comes back in a header: servers and proxies take 8 KiB.
pub const EVENT_ID: usize = 8 * 1024;
/// The name of an event; ours are single words.
pub const EVENT_NAME: usize = 64;
/// How long the first event, or the end, of a command is waited for, so that a failure is an HTTP
/// status; after that the answer begins, and a failure is an event.
pub const FIRST_EVENT: Duration = Duration::from_secs(3);
/// Silence in a stream of events before a line that says nothing: proxies cut at 30 s and more.
pub const EVENTS_HEARTBEAT: Duration = Duration::from_secs(15);
/// How long a command that observes waits for its agent: a node that is drained, or a control plane
/// that is upgraded, is back by then.
pub const OBSERVER_WAITS: Duration = Duration::from_secs(600);
/// The first and longest pause before such a command is opened again on an agent that is there.
pub const OBSERVER_PAUSE: (Duration, Duration) =
    (Duration::from_millis(200), Duration::from_secs(5));
/// A stream that stood so long was in order: what happens next is a new trouble.
pub const OBSERVER_PROOF: Duration = Duration::from_secs(10);
/// How long a change that was sent waits for the very agent that knows its key, beyond the reconnect
/// window; after that any agent is asked, which will say `indeterminate`.
pub const KEY_HOLDER_WAITS: Duration = Duration::from_secs(5);
/// Bytes of events that are written at once, where so many are there.
pub const EVENTS_BATCH: usize = CHUNK;
/// An answer in one piece of JSON: a status of 5,000 nodes is under 2 MiB.
pub const COLLECTED: usize = 4 * 1024 * 1024;
/// All such answers in the making.
pub const COLLECTED_ALL: usize = 64 * 1024 * 1024;
