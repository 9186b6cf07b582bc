//! Agents' way in: the channel's upgrade, `hello` and what answers it.
//!
//! Owns who is let in as which cluster's agent, and the task of each session from its upgrade to
//! its end. Owns not the established session (`session`) nor the list of them ([`super::agents`]).
//! Invariants: everything up to `welcome` has one deadline; a session ends within two seconds of
//! its token's removal; a duplicate never displaces an incumbent that answers.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::agents::{Cluster, Connected, Place};
use super::answers::{self, RETRY};
use super::arrivals::Arrival;
use super::body::Body;
use super::caller::Caller;
use super::register::{crowded, refuse, taken, unsupported};
use super::tokens::Entry;
use crate::chance;
use crate::limits;
use crate::link::{Link, WebSocket, websocket};
use crate::protocol::codec::{self, Decoded, Wire};
use crate::protocol::error::ErrorCode;
use crate::protocol::hello::{Feature, Hello, PingTimes, Refused, SessionRole, Welcome};
use crate::protocol::version::Version;
use crate::protocol::{ToAgent, ToGateway};
use crate::session::{self, Ended, Role};

/// The path of the channel.
pub(crate) const CHANNEL: &str = "/channel";

/// Answers `GET /channel`: the upgrade, after which the session has a task of its own (P-5).
pub(crate) fn channel(
    shared: &Arc<Shared>,
    entry: Arc<Entry>,
    cluster_id: &str,
    mut request: Request<Incoming>,
) -> Response<Body> {
    let deadline = Instant::now() + limits::HANDSHAKE + longer(request.headers());
    if shared.stop.is_cancelled() {
        return leaving(shared);
    }
    let headers = request.headers();
    let offered = headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let Some(version) = Version::negotiate(offered) else {
        return unsupported(shared);
    };
    let Some(key) = websocket_key(request.method(), headers) else {
        let message = "this is no WebSocket upgrade of version 13";
        return refuse(
            shared,
            StatusCode::BAD_REQUEST,
            ErrorCode::Malformed,
            message,
        );
    };
    let cluster = shared.agents.cluster(cluster_id);
    let turn = match shared.admit(|all, now| all.channel(&cluster.id, now, &mut chance::rng())) {
        Arrival::In(wait) => wait,
        Arrival::Later(wait) => return crowded(shared, wait),
    };
    let accept = websocket::accept_key(key.as_bytes());
    let upgrade = hyper::upgrade::on(&mut request);
    let shared_ = Arc::clone(shared);
    shared.tasks.spawn_logged("channel", async move {
        if !turn.is_zero() {
            sleep(turn).await;
        }
        run(shared_, entry, cluster, upgrade, deadline).await;
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(
        header::SEC_WEBSOCKET_PROTOCOL,
        HeaderValue::from_static(version.subprotocol()),
    );
    if let Ok(accept) = HeaderValue::from_str(&accept) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    response
}

/// Refuses a channel while the gateway leaves.
pub(crate) fn leaving(shared: &Shared) -> Response<Body> {
    let status = StatusCode::SERVICE_UNAVAILABLE;
    let message = "the gateway goes away";
    let mut refused = refuse(shared, status, ErrorCode::ShuttingDown, message);
    answers::retry_after(&mut refused, RETRY);
    refused
}

/// How much longer `hello` is waited for: a check of the way holds a channel silent (P-5).
fn longer(headers: &HeaderMap) -> Duration {
    let asked = headers.get("pipeops-check").and_then(|value| {
        let seconds: u32 = value.to_str().ok()?.parse().ok()?;
        Some(Duration::from_secs(u64::from(seconds)))
    });
    asked.unwrap_or_default().min(limits::CHECK_IDLE_MOST)
}

fn websocket_key(method: &Method, headers: &HeaderMap) -> Option<HeaderValue> {
    let has = |name, token: &str| {
        headers.get_all(name).iter().any(|value| {
            value.to_str().is_ok_and(|value| {
                value
                    .split(',')
                    .any(|one| one.trim().eq_ignore_ascii_case(token))
            })
        })
    };
    let asked = method == Method::GET
        && has(header::CONNECTION, "upgrade")
        && has(header::UPGRADE, "websocket")
        && has(header::SEC_WEBSOCKET_VERSION, "13");
    headers
        .get(header::SEC_WEBSOCKET_KEY)
        .filter(|_| asked)
        .cloned()
}

/// One channel, from its upgrade to its end.
async fn run(
    shared: Arc<Shared>,
    entry: Arc<Entry>,
    cluster: Arc<Cluster>,
    upgrade: OnUpgrade,
    deadline: Instant,
) {
    let Ok(Ok(upgraded)) = timeout_at(deadline, upgrade).await else {
        return;
    };
    // Every connection that reaches here was accepted by us.
    let Ok(parts) = upgraded.downcast::<TokioIo<Caller>>() else {
        return;
    };
    let mut io = parts.io.into_inner();
    io.upgrade(limits::CHANNEL_TLS);
    super::wire::tune_channel(io.wire());
    let link = WebSocket::server(io, parts.read_buf.to_vec(), limits::CHANNEL_READ).await;
    carry(&shared, &entry, &cluster, link, deadline, || ()).await;
}

/// One channel, whatever carries it, from before `hello` to its end; `greeted` is told of a `hello`
/// that was answered well.
pub(crate) async fn carry<L: Link>(
    shared: &Arc<Shared>,
    entry: &Arc<Entry>,
    cluster: &Arc<Cluster>,
    mut link: L,
    deadline: Instant,
    greeted: impl FnOnce(),
) {
    let admitted = match timeout_at(deadline, admit(shared, cluster, &mut link)).await {
        // A check of the way: it was opened and closed, and nobody was there (P-5).
        Ok(Err(refused)) if refused.code == ErrorCode::ChannelLost && only_tested(&link) => {
            tracing::debug!(cluster = &*cluster.id, "Way tested");
            return;
        }
        Ok(admitted) => admitted,
        Err(_) => Err(temporary(ErrorCode::ProtocolError, "no hello in time")),
    };
    let (connected, config, place) = match admitted {
        Ok(admitted) => admitted,
        Err(refused) => {
            shared.metrics.handshake_refused(refused.code);
            cluster.failed(format!("refused: {}: {}", refused.code, refused.message));
            tracing::warn!(cluster = &*cluster.id, code = %refused.code, reason = refused.message, "Agent refused");
            say_refused(&mut link, refused).await;
            return;
        }
    };
    greeted();
    established(shared, entry, cluster, link, connected, config).await;
    drop(place);
}

/// Whether the peer said a good goodbye before it said anything else.
fn only_tested(link: &impl Link) -> bool {
    link.peer_close().is_some_and(|(code, _)| code == 1000)
}

type Admitted = (Arc<Connected>, session::Config, Place);

fn temporary(code: ErrorCode, message: &str) -> Refused {
    Refused {
        code,
        message: message.to_owned(),
        permanent: false,
        retry_after_ms: Some(1000),
    }
}

fn permanent(code: ErrorCode, message: &str) -> Refused {
    Refused {
        code,
        message: message.to_owned(),
        permanent: true,
        retry_after_ms: None,
    }
}

/// Reads `hello`, decides, and says `welcome`.
async fn admit<L: Link>(
    shared: &Arc<Shared>,
    cluster: &Arc<Cluster>,
    link: &mut L,
) -> Result<Admitted, Refused> {
    let hello = match link.next().await {
        Some(Ok(wire)) => match codec::decode::<ToGateway>(&wire) {
            Ok(Decoded::Message(ToGateway::Hello(hello))) => hello,
            Ok(_) => return Err(permanent(ErrorCode::ProtocolError, "hello comes first")),
            Err(code) => return Err(permanent(code, "the first message could not be read")),
        },
        _ => {
            return Err(temporary(
                ErrorCode::ChannelLost,
                "the agent closed before hello",
            ));
        }
    };
    let Some(place) = shared.agents.place(shared.config.sessions) else {
        let mut refused = temporary(ErrorCode::Busy, "this gateway has as many agents as it may");
        refused.retry_after_ms = Some(shared.reconnect().first_ms.max(5000));
        return Err(refused);
    };
    if taken(cluster, &hello.agent, &hello.cluster).await {
        let message = "another live agent of another cluster has this id";
        return Err(permanent(ErrorCode::DuplicateAgent, message));
    }
    let older = cluster.sessions().into_iter().any(|other| {
        let known = &other.hello.agent;
        known.instance == hello.agent.instance && known.epoch > hello.agent.epoch
    });
    if older {
        let message = "a newer process of this instance is connected";
        return Err(temporary(ErrorCode::DuplicateAgent, message));
    }
    let (welcome, config) = agree(shared, cluster, &hello);
    let connected = Connected::new(
        welcome.session.clone(),
        hello,
        welcome.role,
        config.zstd,
        Arc::clone(cluster),
        Arc::clone(&shared.metrics),
    );
    let text = codec::encode(&ToAgent::Welcome(welcome));
    link.send(Wire::Text(text))
        .await
        .map_err(|_| temporary(ErrorCode::ChannelLost, "the connection was lost"))?;
    Ok((connected, config, place))
}

/// What this session is to be: the features of both sides, and the gateway's times.
fn agree(shared: &Shared, cluster: &Cluster, hello: &Hello) -> (Welcome, session::Config) {
    let offered = |feature| hello.features.contains(&feature);
    let binary = shared.config.binary && offered(Feature::Binary);
    let zstd = shared.config.compression && offered(Feature::Zstd);
    let resume = shared.config.resume.filter(|_| offered(Feature::Resume));
    let resume = resume.map(|time| time.min(limits::RESUME_FOR_MOST));
    let mut features = Vec::new();
    if binary {
        features.push(Feature::Binary);
    }
    if zstd {
        features.push(Feature::Zstd);
    }
    if resume.is_some() {
        features.push(Feature::Resume);
    }
    // Telemetry is the cluster's, so its session must know which cluster that is.
    let role = if hello.cluster.uid.is_some() && !cluster.has_primary(hello.beside.as_deref()) {
        SessionRole::Primary
    } else {
        SessionRole::Replica
    };
    let ping: PingTimes = shared.config.ping;
    let welcome = Welcome {
        session: shared.next_id("s"),
        features,
        heartbeat_ms: u64::try_from(shared.config.heartbeat.as_millis()).unwrap_or(u64::MAX),
        ping,
        reconnect: shared.reconnect(),
        role,
        resume_ms: resume.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
    };
    let config = session::Config {
        binary,
        zstd,
        ping,
        peer_window: hello.window.min(limits::CREDIT_MOST),
        max_streams: hello.max_streams.min(limits::STREAMS),
        pool: shared.config.session_pool,
        shared_pool: Some(Arc::clone(&shared.pool)),
        grace: shared.config.grace,
        resume,
        ..session::Config::new(Role::Gateway)
    };
    (welcome, config)
}

async fn say_refused<L: Link>(link: &mut L, refused: Refused) {
    link.set_close(refused.code.close_code(), refused.code.as_str());
    let text = codec::encode(&ToAgent::Refused(refused));
    // Whether the refused one hears it is its own affair; it gets two seconds for it.
    let _ = timeout(limits::CHANNEL_GOODBYE, async {
        link.send(Wire::Text(text)).await?;
        link.close().await?;
        // Closing at once could destroy what is on its way; the peer closes when it has read it.
        while let Some(Ok(_)) = link.next().await {}
        Ok::<_, crate::link::LinkError>(())
    })
    .await;
}

/// Drives a session until it ends by itself, by its token's removal, or by the gateway's leaving.
async fn established<L: Link>(
    shared: &Arc<Shared>,
    entry: &Entry,
    cluster: &Arc<Cluster>,
    link: L,
    connected: Arc<Connected>,
    config: session::Config,
) {
    let grace = config.grace;
    let owner = Arc::clone(&connected) as Arc<dyn session::Open>;
    let (session, driver) = session::establish(link, config, owner);
    let mut driver = pin!(driver);
    cluster.join(&connected, session.clone());
    tracing::info!(
        session = connected.id,
        cluster = &*cluster.id,
        agent = connected.hello.agent.id,
        instance = connected.hello.agent.instance,
        version = connected.hello.agent.version,
        role = ?connected.role(),
        "Agent connected"
    );
    let (ended, goodbye) = tokio::select! {
        biased;
        ended = &mut driver => (Some(ended), Duration::ZERO),
        () = entry.revoked.cancelled() => {
            session.abort(ErrorCode::Unauthorized, "the token was removed");
            (None, limits::CHANNEL_GOODBYE)
        }
        () = shared.stop.cancelled() => {
            let again = Some(shared.farewell());
            session.leave(ErrorCode::ShuttingDown, "the gateway goes away", again);
            (None, grace + limits::CHANNEL_GOODBYE)
        }
    };
    let ended = match ended {
        Some(ended) => ended,
        None => last_words(driver, goodbye, &entry.revoked, &session).await,
    };
    connected.measure();
    shared.metrics.session_ended(&ended);
    connected.ended(&ended);
    cluster.part(&connected, ended.to_string());
    tracing::info!(session = connected.id, cluster = &*cluster.id, %ended, "Agent disconnected");
}

/// Lets a session that was told to end do so, for a while.
async fn last_words(
    mut driver: std::pin::Pin<&mut impl Future<Output = Ended>>,
    within: Duration,
    revoked: &CancellationToken,
    session: &session::Session,
) -> Ended {
    let until = Instant::now() + within;
    let again = !revoked.is_cancelled();
    let ended = tokio::select! {
        biased;
        ended = timeout_at(until, driver.as_mut()) => ended.ok(),
        // A token that is removed during the drain ends it too.
        () = revoked.cancelled(), if again => {
            session.abort(ErrorCode::Unauthorized, "the token was removed");
            timeout(limits::CHANNEL_GOODBYE, driver).await.ok()
        }
    };
    // Dropping the driver ends the session.
    ended.unwrap_or_else(|| Ended::Failed(ErrorCode::ShuttingDown, "no end in time".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_given_more_time_but_not_any() {
        let asked = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("pipeops-check", HeaderValue::from_static(text));
            longer(&headers)
        };
        assert_eq!(longer(&HeaderMap::new()), Duration::ZERO);
        assert_eq!(asked("30"), Duration::from_secs(30));
        assert_eq!(asked("4294967295"), limits::CHECK_IDLE_MOST);
        for text in ["", "-1", "4294967296", "1.5", "x"] {
            assert_eq!(asked(text), Duration::ZERO, "{text}");
        }
    }
}
