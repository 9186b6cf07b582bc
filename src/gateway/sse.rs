//! Agents that no WebSocket reaches: a channel of requests up and events down (P-120 to P-126).
//!
//! | path | method | answer |
//! |---|---|---|
//! | `/channel/sse` | POST | 201, and the channel's own path |
//! | `/channel/sse/{id}` | GET | the events (`down`) |
//! | `/channel/sse/{id}` | POST | takes messages (`up`) |
//!
//! Owns the open channels, who may use which, and how long one lives without its agent. Owns not the
//! session that it carries ([`super::handshake`]). Invariants: a channel is used by the token that
//! opened it and by nobody else, and nobody learns that it exists; what a peer may make it hold is
//! bounded; it ends with its session, and its session with it.

mod down;
mod up;

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{HeaderMap, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::Shared;
use super::answers::{self, RETRY};
use super::arrivals::Arrival;
use super::body::Body;
use super::caller::Flow;
use super::handshake;
use super::register::{crowded, refuse, unsupported};
use super::tokens::Entry;
use crate::chance;
use crate::limits;
use crate::link::sse::{self, NotTaken, Port};
use crate::protocol::error::{ErrorBody, ErrorCode};
use crate::protocol::version::Version;

pub(crate) use down::Down;

/// Where channels are opened; each lives below it.
pub(crate) const SSE: &str = "/channel/sse";

/// The channels that are open.
#[derive(Debug, Default)]
pub(crate) struct Channels {
    open: Mutex<BTreeMap<String, Arc<Channel>>>,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Channel {
    /// The id of the token that opened it.
    token: String,
    port: Port,
    /// Bodies that are being read.
    reading: Semaphore,
    /// `hello` was answered.
    greeted: AtomicBool,
    /// Which GET counts: the newest.
    turn: AtomicU64,
    attended: Mutex<Attended>,
}

/// Whether the agent is listening.
#[derive(Debug, Clone, Copy)]
enum Attended {
    Now,
    /// It was, or opened the channel, at this time.
    Until(Instant),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Channels {
    fn find(&self, id: &str, entry: &Entry) -> Option<Arc<Channel>> {
        let found = lock(&self.open).get(id).cloned()?;
        (found.token == entry.stored.id).then_some(found)
    }

    /// Lists a channel, unless there are too many that nobody greeted on.
    fn add(&self, id: &str, channel: &Arc<Channel>) -> bool {
        let mut open = lock(&self.open);
        let waiting = |other: &&Arc<Channel>| !other.greeted.load(Ordering::Relaxed);
        let all = open.values().filter(waiting);
        let (mut count, mut own) = (0, 0);
        for other in all {
            count += 1;
            own += usize::from(other.token == channel.token);
        }
        if own >= limits::SSE_OPENING || count >= limits::SSE_OPENING_ALL {
            return false;
        }
        open.insert(id.to_owned(), Arc::clone(channel));
        true
    }

    fn remove(&self, id: &str) {
        lock(&self.open).remove(id);
    }
}

impl Channel {
    /// Waits until the agent has been away for too long.
    async fn abandoned(&self) {
        loop {
            let due = match *lock(&self.attended) {
                Attended::Now => Instant::now() + limits::SSE_AWAY,
                Attended::Until(since) => since + limits::SSE_AWAY,
            };
            if due <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(due).await;
        }
    }
}

/// Answers a request of this way; `below` is what follows [`SSE`].
pub(crate) async fn serve(
    shared: &Arc<Shared>,
    entry: Arc<Entry>,
    cluster_id: &str,
    flow: &Arc<Flow>,
    below: &str,
    request: Request<Incoming>,
) -> Response<Body> {
    if below.is_empty() && request.method() == Method::POST {
        return open(shared, entry, cluster_id, request.headers());
    }
    let id = below.strip_prefix('/').unwrap_or_default();
    let Some(channel) = shared.sse.find(id, &entry) else {
        let body = ErrorBody::new(ErrorCode::ChannelLost, "there is no such channel");
        return answers::refusal(StatusCode::NOT_FOUND, &body);
    };
    match *request.method() {
        Method::GET => down::serve(&channel, flow, request.headers()),
        Method::POST => up::serve(&channel, request).await,
        _ => {
            let body = ErrorBody::new(ErrorCode::BadRequest, "GET or POST");
            answers::refusal(StatusCode::METHOD_NOT_ALLOWED, &body)
        }
    }
}

fn open(
    shared: &Arc<Shared>,
    entry: Arc<Entry>,
    cluster_id: &str,
    headers: &HeaderMap,
) -> Response<Body> {
    let deadline = Instant::now() + limits::HANDSHAKE;
    if shared.stop.is_cancelled() {
        return handshake::leaving(shared);
    }
    let offered = headers
        .get_all("pipeops-protocol")
        .iter()
        .filter_map(|value| value.to_str().ok());
    if Version::negotiate(offered).is_none() {
        return unsupported(shared);
    }
    let cluster = shared.agents.cluster(cluster_id);
    let turn = match shared.admit(|all, now| all.channel(&cluster.id, now, &mut chance::rng())) {
        Arrival::In(wait) => wait,
        Arrival::Later(wait) => return crowded(shared, wait),
    };
    let mut bits = [0; 16];
    if aws_lc_rs::rand::fill(&mut bits).is_err() {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        return refuse(shared, status, ErrorCode::Internal, "no random numbers");
    }
    let id = format!("{:032x}", u128::from_be_bytes(bits));
    let (link, port) = sse::pair(limits::SSE_WINDOW);
    let channel = Arc::new(Channel {
        token: entry.stored.id.clone(),
        port,
        reading: Semaphore::new(limits::SSE_REQUESTS),
        greeted: AtomicBool::new(false),
        turn: AtomicU64::new(0),
        attended: Mutex::new(Attended::Until(Instant::now())),
    });
    if !shared.sse.add(&id, &channel) {
        return busy(
            shared,
            "this token has opened too many channels without a word on them",
        );
    }
    let answer = answers::json(
        StatusCode::CREATED,
        &json!({"channel": format!("{SSE}/{id}")}),
    );
    let shared_ = Arc::clone(shared);
    shared.tasks.spawn_logged("channel", async move {
        if !turn.is_zero() {
            tokio::time::sleep(turn).await;
        }
        let greeted = || channel.greeted.store(true, Ordering::Relaxed);
        let carried = handshake::carry(&shared_, &entry, &cluster, link, deadline, greeted);
        let mut carried = std::pin::pin!(carried);
        tokio::select! {
            biased;
            () = &mut carried => {}
            () = channel.abandoned() => {
                channel.port.fail(io::ErrorKind::TimedOut.into());
                carried.await;
            }
        }
        shared_.sse.remove(&id);
    });
    answer
}

/// What is said where messages, or a number, were not taken.
fn not_taken(error: NotTaken) -> Response<Body> {
    let (status, code) = match error {
        NotTaken::Full => (StatusCode::TOO_MANY_REQUESTS, ErrorCode::Busy),
        NotTaken::OutOfOrder => (StatusCode::CONFLICT, ErrorCode::ProtocolError),
        NotTaken::Over => (StatusCode::NOT_FOUND, ErrorCode::ChannelLost),
    };
    let mut response = answers::refusal(status, &ErrorBody::new(code, error.to_string()));
    if error == NotTaken::Full {
        answers::retry_after(&mut response, RETRY);
    }
    response
}

fn busy(shared: &Shared, message: &str) -> Response<Body> {
    let status = StatusCode::TOO_MANY_REQUESTS;
    let mut refused = refuse(shared, status, ErrorCode::Busy, message);
    answers::retry_after(&mut refused, RETRY);
    refused
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(token: &str) -> (sse::Sse, Arc<Channel>) {
        let (link, port) = sse::pair(limits::SSE_WINDOW);
        let channel = Channel {
            token: token.to_owned(),
            port,
            reading: Semaphore::new(limits::SSE_REQUESTS),
            greeted: AtomicBool::new(false),
            turn: AtomicU64::new(0),
            attended: Mutex::new(Attended::Until(Instant::now())),
        };
        (link, Arc::new(channel))
    }

    #[tokio::test(start_paused = true)]
    async fn a_channel_without_its_agent_is_given_up_after_its_time() {
        let (_link, channel) = channel("one");
        let began = Instant::now();
        channel.abandoned().await;
        assert_eq!(began.elapsed(), limits::SSE_AWAY);
        *lock(&channel.attended) = Attended::Now;
        let listening = 10 * limits::SSE_AWAY;
        let gone = tokio::time::timeout(listening, channel.abandoned());
        assert!(gone.await.is_err(), "it listens");
    }

    #[tokio::test]
    async fn all_tokens_together_have_a_bound_and_greeted_channels_do_not_count() {
        let channels = Channels::default();
        let mut links = Vec::new();
        for number in 0..limits::SSE_OPENING_ALL {
            let (link, channel) = channel(&format!("token {}", number % 100));
            assert!(channels.add(&number.to_string(), &channel));
            links.push((link, channel));
        }
        let (_link, one) = channel("another");
        assert!(!channels.add("more", &one));
        links[0].1.greeted.store(true, Ordering::Relaxed);
        assert!(channels.add("more", &one));
        channels.remove("more");
    }
}
