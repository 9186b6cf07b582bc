//! The ceilings of a session that no WebSocket carries: events down, requests up.
//!
//! Owns numbers only; see [`super`].

use std::time::Duration;

use super::TEXT_MESSAGE;

/// What each message counts beside its bytes, so that a window of small ones has a bound in number.
pub const SSE_MESSAGE: usize = 64;
/// What the gateway keeps of events that were not acknowledged; then its session waits. 256 KiB for
/// 50 ms of way are 5 MiB a second.
pub const SSE_WINDOW: usize = 256 * 1024;
/// What the agent keeps of messages that were not acknowledged; then its session waits. What waits
/// here is past the order of classes, so it is no more than the kernel may hold of a WebSocket.
pub const SSE_WAITING: usize = 128 * 1024;
/// An agent acknowledges at the latest after so much: a quarter of the window, so that the gateway
/// never waits for it on a way that is short.
pub const SSE_ACKNOWLEDGED: usize = SSE_WINDOW / 4;
/// The body of one request up: all that an agent keeps and one message more, which is below the
/// 1 MiB that proxies let pass unless told otherwise.
pub const SSE_BODY: usize = SSE_WAITING + TEXT_MESSAGE + 8 * 1024;
/// Messages of one body: the smallest that an agent keeps at once, and its last.
pub const SSE_BODY_MESSAGES: usize = SSE_WAITING / SSE_MESSAGE + 2;
/// What was taken from requests and waits for the session, which reads at once: beyond it the next
/// request is answered with 429.
pub const SSE_TAKEN: usize = 512 * 1024;
/// Requests of one session that are read at once: one, and its repetition when it was thought lost.
pub const SSE_REQUESTS: usize = 2;
/// A session whose stream of events is gone for so long has no agent any more: as long as a dead
/// peer may take to be found.
pub const SSE_AWAY: Duration = Duration::from_secs(25);
/// The stream's first bytes, which a gateway says at once: after this something on the way keeps
/// them back, and the agent asks for events one answer at a time.
pub const SSE_FIRST: Duration = Duration::from_secs(3);
/// An answer that is to end is held open so long for events: well below the 10 s after which the
/// impatient proxies give up.
pub const SSE_POLL: Duration = Duration::from_secs(5);
/// A stream without events says something so often: a proxy that cuts what is idle for 10 s never
/// sees one.
pub const SSE_COMMENT: Duration = Duration::from_secs(4);
/// A stream that says nothing for so long is gone: two comments, and before the echo of a ping is due.
pub const SSE_SILENT: Duration = Duration::from_secs(9);
/// One request up, from dialling to its answer; then it is sent again.
pub const SSE_REQUEST: Duration = Duration::from_secs(8);
/// Between two tries of a request that failed: the first wait, doubled each time up to the second.
pub const SSE_AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// The answer to a request up; ours is 20 bytes.
pub const SSE_ANSWER: usize = 8 * 1024;
/// What is read at once of a connection to the gateway.
pub const SSE_BUFFER: usize = 64 * 1024;
/// One event with its lines: the largest message and what stands around it.
pub const SSE_EVENT: usize = TEXT_MESSAGE + 1024;
/// Sessions of one token that were asked for and have not said `hello`.
pub const SSE_OPENING: usize = 16;
/// The same of all tokens.
pub const SSE_OPENING_ALL: usize = 1024;
/// How long the streams of a session go on beside the one that took over from it: what still runs
/// after so long loses no more than it would by a restart of anything on its way.
pub const BESIDE: Duration = Duration::from_secs(3600);
/// While another transport carries the session, a WebSocket is tried so often.
pub const WEBSOCKET_AGAIN: Duration = Duration::from_secs(300);
