//! Every ceiling of the programs, each with the reason for its number.
//!
//! Owns numbers only. A limit that is not configurable is a constant here; each has a test that
//! reaches it. Sizes are bytes.

pub mod logs;

mod beside;
mod checking;
mod commands;
mod extensions;
mod local;
mod moving;
mod observing;
mod operate;
mod sse;

use std::time::Duration;

pub use beside::*;
pub use checking::*;
pub use extensions::*;
pub use local::*;
pub use moving::*;
pub use observing::*;
pub use operate::*;
pub use sse::*;

pub use commands::{
    ATTEMPTS, COLLECTED, COLLECTED_ALL, COMMAND_ARGS, COMMAND_BODY, COMMAND_BODY_DEADLINE,
    COMMAND_DEADLINE, COMMAND_DEPTH, CURSORS_BYTES, EVENT_ID, EVENT_NAME, EVENTS_BATCH,
    EVENTS_HEARTBEAT, FIRST_EVENT, KEY_HOLDER_WAITS, OBSERVER_PAUSE, OBSERVER_PROOF,
    OBSERVER_WAITS, SOURCE_BYTES, SOURCES,
};

/// One text message. A query of 60 KiB with its headers fits, escaped; nothing honest is larger.
pub const TEXT_MESSAGE: usize = 256 * 1024;
/// An event or a result within its message. One above it ends its own stream; the message would end
/// the session.
pub const EVENT_BYTES: usize = TEXT_MESSAGE - 1024;
/// One binary message: a full chunk and its header. Larger frames keep a control message waiting.
pub const BINARY_MESSAGE: usize = 64 * 1024 + 8;
/// Nesting of JSON in a text message; ours need 6, and recursion must stay off the stack.
pub const JSON_DEPTH: usize = 32;

/// Bytes of one DATA frame that we send: 64 KiB gained nothing, 16 KiB lets control pass sooner.
pub const CHUNK: usize = 16 * 1024;
/// Bytes that one compressed DATA frame may restore to: four chunks, no bomb.
pub const RESTORED: usize = 4 * CHUNK;
/// Compressed streams of one session at once: a stream's context holds about 1 MiB in the agent and
/// 0.6 in the gateway. Beyond it bytes go as they are.
pub const COMPRESSED_STREAMS: usize = 16;
/// Bytes that a stream may have queued towards the socket: two chunks keep the writer busy.
pub const STREAM_QUEUE: usize = 2 * CHUNK;
/// Bytes that all streams may have queued before each must do with half of [`STREAM_QUEUE`]; beyond
/// four times as many, with an eighth. A hundred streams that wait for the socket fill it no better
/// with more.
pub const QUEUES_FULL: usize = 1024 * 1024;
/// Bytes that the writer gathers before it flushes: a flush per frame costs six times as much.
pub const WRITE_BATCH: usize = 64 * 1024;

/// A stream's first window when there is room.
pub const WINDOW_FIRST: u32 = 256 * 1024;
/// A stream's first window under pressure: half a chunk still moves, and a thousand streams that
/// nobody reads hold 8 MiB.
pub const WINDOW_LEAST: u32 = 8 * 1024;
/// The largest window: 16 MiB fill 100 ms at 1 Gbit/s.
pub const WINDOW_MOST: u32 = 16 * 1024 * 1024;
/// The largest credit that a peer may hold on one stream; more is `credit_overflow`.
pub const CREDIT_MOST: u32 = 64 * 1024 * 1024;
/// Received bytes that an agent holds for its handlers, all streams together.
pub const AGENT_POOL: usize = 16 * 1024 * 1024;
/// Received bytes that a gateway holds for a session's callers.
pub const GATEWAY_POOL: usize = 16 * 1024 * 1024;
/// Received bytes that a gateway holds for all sessions together.
pub const GATEWAY_POOL_ALL: usize = 256 * 1024 * 1024;
/// One part in so many of the pool may be held as it was read, where a payload keeps the whole read
/// buffer alive that it is a slice of; beyond it payloads are copied, so that the count is the cost.
pub const POOL_UNCOPIED: usize = 16;
/// A stream that has not moved for so long no longer counts with its unused credit.
pub const CREDIT_COUNTS_FOR: Duration = Duration::from_secs(10);
/// A stream past so many bytes is bulk, whatever it was opened as.
pub const BULK_AFTER: u64 = 1024 * 1024;

/// Streams that a session carries at once: load is bounded here, never by a rate.
pub const STREAMS: u32 = 10_240;
/// Session messages waiting for the socket. Above it the peer does not read but keeps asking.
pub const CONTROL_QUEUE: usize = 2 * STREAMS as usize + 1024;
/// Streams that were reset and whose late bytes are still expected.
pub const TOMBSTONES: usize = 1024;

/// What one command that may be resumed keeps to be sent again: a first window, which is all that its
/// reader may have in flight.
pub const RESUME_KEPT: usize = WINDOW_FIRST as usize;
/// What all such commands keep together.
pub const RESUME_KEPT_ALL: usize = 8 * 1024 * 1024;
/// One command may keep one part in so many of what the others have left: two dozen readers that
/// have stopped leave 2 MiB, and nobody's share is ever nothing.
pub const RESUME_SHARE: usize = 8;
/// Commands without a channel that wait for one: each holds its connection to the API server. 500
/// watches and 1,000 log followers fit.
pub const RESUME_PARKED: usize = 2048;
/// Ended commands whose end the gateway may not have yet; beyond it they are forgotten at once.
pub const RESUME_LINGERING: usize = 1024;
/// How long a command waits for a channel, unless `welcome` says otherwise: a gateway that is
/// replaced is back by then.
pub const RESUME_FOR: Duration = Duration::from_secs(60);
/// The longest time that `welcome` may ask for.
pub const RESUME_FOR_MOST: Duration = Duration::from_secs(300);

/// Time between pings; a proxy that cuts idle connections at 30 s never sees one.
pub const PING_EVERY: Duration = Duration::from_secs(15);
/// Time within which the echo is due: a dead peer is found in 25 s.
pub const PING_WITHIN: Duration = Duration::from_secs(10);
/// The fastest pace of pings on a path that cuts what is idle; a gateway takes one a second. What is cut
/// after less than this is not cut for being idle.
pub const PATH_PING_LEAST: Duration = Duration::from_secs(2);
/// A session that lived so long puts what was learned of the path to the test: where it was right, that
/// costs one more session, and not more of them than one an hour.
pub const PATH_KEPT: Duration = Duration::from_secs(3600);
/// Time between heartbeats.
pub const HEARTBEAT_EVERY: Duration = Duration::from_secs(30);

/// Reports of one session that may go out at once: a start, and the changes of a bad minute. A
/// quarter of what a gateway grants (P-48).
pub const REPORT_BURST: u64 = 8;
/// After them, one each so long: a state that flaps is told at its last, five seconds late.
pub const REPORT_EVERY: Duration = Duration::from_secs(5);

/// From dialling to `welcome`, all together.
pub const HANDSHAKE: Duration = Duration::from_secs(10);
/// A peer's request head, on every HTTP listener of ours.
pub const HEADER_DEADLINE: Duration = Duration::from_secs(10);
/// From the command to the answer's head, where the request is not long-running. The API server's
/// own limit is 60 s; ours must not come first.
pub const HEAD_DEADLINE: Duration = Duration::from_secs(65);
/// The goodbye of a session: what runs may end, what waits may be flushed.
pub const CLOSING: Duration = Duration::from_secs(20);

// === Requests of the Kubernetes API ===

/// Longest path of a request, in bytes, raw and canonical. The longest that Kubernetes' own names
/// can make is under 2 KiB; the rest is for what stands behind `/proxy/`.
pub const KUBE_PATH_BYTES: usize = 8 * 1024;

/// Longest query of a request, in bytes: exec carries its whole command there.
pub const KUBE_QUERY_BYTES: usize = 60 * 1024;

/// Longest path and query together, in bytes: the most that `http::Uri` can hold, so a request
/// parsed here can always be sent.
pub const KUBE_TARGET_BYTES: usize = u16::MAX as usize - 1;

/// Most parameters in a query. Go's `net/url` reads none at all of a query with more (since 1.25),
/// and all of them before that: beyond it the two ends could differ.
pub const KUBE_QUERY_PARAMETERS: usize = 10_000;

/// Most headers of a request or answer, before filtering. A busy browser sends 30; API servers put
/// each warning in one.
pub const KUBE_HEADERS: usize = 256;

/// Most bytes of header names and values together, before filtering: what hyper and Go's servers
/// read by default lies between 64 KiB and 1 MiB, and nothing legitimate comes near.
pub const KUBE_HEADER_BYTES: usize = 64 * 1024;

/// Longest quantity (`1.5Gi`) that is read, in bytes: the API server writes at most 28 digits, a
/// sign and a suffix.
pub const QUANTITY_BYTES: usize = 48;

/// The first wait of a lone agent after a loss.
pub const RECONNECT_FIRST: Duration = Duration::from_secs(1);
/// The longest wait between attempts.
pub const RECONNECT_CAP: Duration = Duration::from_secs(60);
/// The shortest first wait: a peer that hangs up at once must not make a hot loop.
pub const RECONNECT_LEAST: Duration = Duration::from_millis(250);
/// The shortest first window that a gateway may ask for; doubled, it is soon out of the way.
pub const RECONNECT_FIRST_LEAST: Duration = Duration::from_millis(10);
/// The longest wait after a refusal that only an operator can lift: a new token is noticed within
/// minutes, and a fleet with a bad one is no load.
pub const RECONNECT_SLOW: Duration = Duration::from_secs(300);
/// The bounds of what `Retry-After` may ask for.
pub const RETRY_AFTER_LEAST: Duration = Duration::from_secs(1);
/// See [`RETRY_AFTER_LEAST`].
pub const RETRY_AFTER_MOST: Duration = Duration::from_secs(900);
/// Between two lines about attempts that fail in the same way: the longest usual wait, so that a log
/// of an hour without a control plane is sixty lines.
pub const FAILURE_SAID: Duration = Duration::from_secs(60);
/// A session that lived so long proves that connecting works: the schedule starts anew.
pub const RECONNECT_PROOF: Duration = Duration::from_secs(60);

/// From the first signal to the end of the process: the goodbye, and time to close what is left.
/// Below the 45 s that the manifests give the pod.
pub const SHUTDOWN: Duration = Duration::from_secs(30);
/// One `POST /register`, from dialling to the last byte.
pub const REGISTER: Duration = Duration::from_secs(10);
/// The answer to `POST /register`; ours is 200 bytes, and P-1 bounds the request alike.
pub const REGISTER_ANSWER: usize = 64 * 1024;
/// The head of a proxy's answer to `CONNECT`; squid's is 400 bytes, and hyper takes no less than 8 KiB.
pub const PROXY_ANSWER: usize = 16 * 1024;
/// Between two addresses of a name: the next is tried beside a silent one (RFC 8305).
pub const NEXT_ADDRESS: Duration = Duration::from_millis(250);
/// Addresses of a name that are tried in one attempt.
pub const ADDRESSES: usize = 8;
/// Bytes that the kernel may hold for the channel unsent: more only lets control wait behind bulk.
pub const UPLINK_UNSENT: u32 = 128 * 1024;
/// Sent bytes that stay unacknowledged for so long end the connection, so that no write hangs.
pub const UPLINK_UNACKNOWLEDGED: Duration = Duration::from_secs(20);
/// The WebSocket's read buffer in the agent, zeroed for every read; larger ones gained nothing.
pub const UPLINK_READ_BUFFER: usize = 8 * 1024;
/// A file of authorities; the public set of a distribution has 220 KiB.
pub const CA_BYTES: u64 = 4 * 1024 * 1024;
/// How often the token is looked at while the control plane refuses it.
pub const TOKEN_POLL: Duration = Duration::from_secs(10);
/// How often a decommissioned agent says so.
pub const DECOMMISSIONED_EVERY: Duration = Duration::from_secs(3600);
/// The bounds of what `welcome` may ask for as times of ping and heartbeat.
pub const WELCOME_TIMES: (u64, u64) = (100, 3_600_000);
/// How long the start waits to learn which cluster this is: with it, the agent connects as itself
/// at once.
pub const IDENTITY_FIRST: Duration = Duration::from_secs(3);
/// How often the API server is asked who it is while all is well.
pub const IDENTITY_EVERY: Duration = Duration::from_secs(30);
/// The longest wait between two questions while it does not answer.
pub const IDENTITY_RETRY: Duration = Duration::from_secs(15);

/// A token: JWTs with many groups reach 8 KiB.
pub const TOKEN_BYTES: usize = 16 * 1024;
/// How long running requests may go on when the demo is stopped: somebody sits and waits.
pub const DEMO_GRACE: Duration = Duration::from_secs(2);
/// How long the demo waits until its agent is ready.
pub const DEMO_READY: Duration = Duration::from_secs(15);
/// Log lines, and bytes of them, that wait for whoever reads standard error.
pub const LOG_LINES: usize = 1024;
/// See [`LOG_LINES`].
pub const LOG_BYTES: usize = 1024 * 1024;

/// Descriptors that the programs ask for: a stream may hold two.
pub const OPEN_FILES: u64 = 65_536;

// === The way to the API server ===

/// From dialling the API server to the end of the TLS handshake. A server in the same cluster
/// answers in milliseconds; beyond this it is not there.
pub const CLUSTER_CONNECT: Duration = Duration::from_secs(10);
/// Running a credential plugin of a kubeconfig, at the start and whenever its token expires.
pub const CLUSTER_CREDENTIALS: Duration = Duration::from_secs(30);
/// One of our own small calls to the API server, from dialling to the last byte.
pub const CLUSTER_CALL: Duration = Duration::from_secs(10);
/// The answer to one of our own calls: what we read is under 10 KiB, a hostile answer ends here.
pub const CLUSTER_CALL_BYTES: usize = 1024 * 1024;
/// Silence after which the kernel probes a connection to the API server.
pub const CLUSTER_KEEPALIVE: Duration = Duration::from_secs(30);
/// Bytes of an answer that a connection to the API server may hold: half a TLS record, the least that
/// hyper takes. It counts twice for a stalled reader, and with 500 of them it is the largest part of
/// the agent's memory. Also the longest head of an answer; those of the API server are under 4 KiB.
pub const CLUSTER_READ_BUFFER: usize = 8 * 1024;
/// Connections to the API server kept for the next request; 64 loops of GETs find theirs.
pub const CLUSTER_IDLE: usize = 128;
/// How long they are kept. The API server itself closes idle ones after 90 s; being first avoids
/// the race.
pub const CLUSTER_IDLE_FOR: Duration = Duration::from_secs(60);
/// Silence in the middle of an answer that is not long-running. The API server gives such a
/// request 60 s altogether.
pub const BODY_IDLE: Duration = Duration::from_secs(65);
/// After the API server has closed its side of an upgraded connection: for the caller to close
/// theirs.
pub const UPGRADE_LINGER: Duration = Duration::from_secs(5);
/// Answers below this size are not compressed, nor the first so many bytes of one whose size is not
/// announced: making a context costs 50 us and 1 MiB, which a small answer never earns back.
pub const COMPRESS_FROM: u64 = CHUNK as u64;

// === The gateway ===

/// Callers' and agents' connections at once; a socket, its TLS state and an idle hyper connection
/// are about 40 KiB.
pub const GATEWAY_CONNECTIONS: usize = 20_480;
/// Agents' sessions at once. Beyond it a `hello` is refused with a time to come back.
pub const GATEWAY_SESSIONS: usize = 10_240;
/// Processes of one cluster's agent that a gateway tells from new ones: a rolling update of many
/// replicas, several times.
pub const GATEWAY_PROCESSES: usize = 64;
/// TLS handshakes at once: each costs about a millisecond of CPU, so this is half a second of it.
pub const TLS_HANDSHAKES: usize = 512;
/// From the accepted connection to the end of its TLS handshake.
pub const TLS_HANDSHAKE: Duration = Duration::from_secs(10);
/// A connection without a request is closed after so long: above the 90 s of Go's client, so that
/// the client closes first and never writes into a connection that we are closing.
pub const IDLE_CONNECTION: Duration = Duration::from_secs(120);
/// TCP keepalive on callers' sockets: an idle exec lives through a layer-4 balancer.
pub const CALLER_KEEPALIVE: Duration = Duration::from_secs(30);
/// hyper's buffer for a request's head: the longest target and the most header bytes that
/// `kubeapi` accepts must fit, or the caller would get an answer without a `Status`.
pub const REQUEST_HEAD: usize = 144 * 1024;
/// Answer bytes that hyper may hold for one caller before it is given another frame. It counts in
/// memory for every stalled one, with that frame; more took as much CPU for a big LIST.
pub const ANSWER_HELD: usize = CHUNK / 2;
/// Bytes of plaintext and of records that TLS may hold for one caller: one record each way.
pub const TLS_HELD: usize = 16 * 1024;
/// Socket bytes not yet sent, on agents' channels: more only lets control wait behind bulk.
pub const NOTSENT_LOWAT: u32 = 128 * 1024;
/// The body of `POST /register`.
pub const REGISTER_BODY: usize = 64 * 1024;
/// One user's requests in flight that have a deadline.
pub const USER_REQUESTS: usize = 256;
/// One user's watches, log followers and upgrades in flight.
pub const USER_LONG_RUNNING: usize = 2048;
/// Upload bytes kept until the answer's head, so that an agent that goes away before it has begun
/// costs nothing.
pub const REPLAY: usize = 64 * 1024;
/// How often an answer `busy` or `shutting_down` is tried on another replica.
pub const DISPATCHES: usize = 3;
/// How soon an incumbent must answer, before another cluster takes over its id.
pub const INCUMBENT_ANSWERS: Duration = Duration::from_secs(3);
/// What an agent has that was asked to go, and has not: the channel is dropped then.
pub const CHANNEL_GOODBYE: Duration = Duration::from_secs(2);
/// How often the token and certificate files are looked at: a token that was just made works before
/// a person has pasted it.
pub const FILE_POLL: Duration = Duration::from_millis(200);
/// The first and longest pause after an accept that failed for want of descriptors or memory.
pub const ACCEPT_PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// The largest token or certificate file.
pub const GATEWAY_FILE: u64 = 4 * 1024 * 1024;
/// Connections that wait to be accepted: a fleet that comes back dials at once.
pub const GATEWAY_BACKLOG: u32 = 4096;
/// What a gateway reads of a channel at once; it has many of them.
pub const CHANNEL_READ: usize = 8 * 1024;
/// Bytes that TLS may hold of a channel: four records keep the socket busy.
pub const CHANNEL_TLS: usize = 64 * 1024;
/// Behind the agent's own deadline, whose answer tells more than the gateway's.
pub const HEAD_DEADLINE_BEHIND: Duration = Duration::from_secs(2);
/// Beyond the reconnect window an agent may take so long for its handshake, and is still due.
pub const RECONNECT_BEHIND: Duration = Duration::from_secs(2);
/// After an upgraded stream's good end, for its caller to take the last bytes.
pub const TUNNEL_LAST: Duration = Duration::from_secs(10);
/// Beyond the sessions' own grace, for connections to write their last; after that, once more, for
/// what is cut to end.
pub const GATEWAY_LAST: Duration = Duration::from_secs(3);
