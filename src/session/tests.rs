//! Two sessions over one WebSocket in memory: what handles see.

use std::sync::Mutex;

use bytes::Bytes;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role as WsRole;

use super::*;
use crate::link::{WebSocket, websocket};
use crate::protocol::error::ErrorBody;
use crate::tasks::Tasks;

struct Handler<F>(F, Tasks, Mutex<Vec<Notice>>);

impl<F, W> Open for Handler<F>
where
    F: Fn(Incoming) -> W + Send + Sync + 'static,
    W: Future<Output = ()> + Send + 'static,
{
    fn open(&self, incoming: Incoming) {
        self.1.spawn_logged("handler", self.0(incoming));
    }

    fn notice(&self, notice: Notice) {
        self.2.lock().unwrap().push(notice);
    }
}

/// A gateway's session, and what both drivers return.
struct Pair {
    gateway: Session,
    agent: Session,
    gateway_ended: tokio::task::JoinHandle<Ended>,
    agent_ended: tokio::task::JoinHandle<Ended>,
}

async fn pair_with<F, W>(change: impl Fn(&mut Config), handler: F) -> Pair
where
    F: Fn(Incoming) -> W + Send + Sync + 'static,
    W: Future<Output = ()> + Send + 'static,
{
    let tasks = Tasks::new();
    let (a, g) = tokio::io::duplex(4096);
    let agent = WebSocketStream::from_raw_socket(a, WsRole::Client, Some(websocket::config(4096)));
    let gateway =
        WebSocketStream::from_raw_socket(g, WsRole::Server, Some(websocket::config(4096)));
    let mut agent_config = Config::new(Role::Agent);
    let mut gateway_config = Config::new(Role::Gateway);
    change(&mut agent_config);
    change(&mut gateway_config);
    let owner = Arc::new(Handler(handler, tasks.clone(), Mutex::default()));
    let (agent, agent_run) = establish(WebSocket::new(agent.await), agent_config, owner);
    let nobody = |_| async {};
    let owner = Arc::new(Handler(nobody, tasks.clone(), Mutex::default()));
    let (gateway, gateway_run) = establish(WebSocket::new(gateway.await), gateway_config, owner);
    Pair {
        gateway,
        agent,
        gateway_ended: tasks.spawn("gateway", gateway_run),
        agent_ended: tasks.spawn("agent", agent_run),
    }
}

fn new_stream() -> NewStream {
    NewStream {
        command: CommandEnvelope {
            id: "1".into(),
            name: "test".into(),
            args: serde_json::value::to_raw_value(&()).unwrap(),
            deadline_ms: None,
            actor: None,
            idempotency_key: None,
            attempt: 1,
            traceparent: None,
        },
        class: Class::Api,
        compression: Some(Compression::Zstd),
        upload: true,
    }
}

async fn echo(mut incoming: Incoming) {
    incoming.writer.compress();
    while let Ok(Item::Data(bytes)) = incoming.reader.recv().await {
        if incoming.writer.send(bytes).await.is_err() {
            return;
        }
    }
    incoming.ender.end(Ok(None));
}

async fn collect(reader: &mut StreamReader) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        match reader.recv().await {
            Ok(Item::Data(bytes)) => all.extend_from_slice(&bytes),
            Ok(Item::End(Ok(_))) => return all,
            other => panic!("{other:?}"),
        }
    }
}

async fn echo_works(change: impl Fn(&mut Config)) {
    let pair = pair_with(change, echo).await;
    let (mut reader, mut writer) = pair.gateway.open(new_stream()).unwrap();
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
    let expected = bytes.clone();
    let send = async move {
        writer.send(Bytes::from(bytes)).await.unwrap();
        writer.fin();
    };
    let ((), got) = tokio::join!(send, collect(&mut reader));
    assert!(got == expected);
    assert_eq!(pair.agent.counts().streams, [0; 3]);
    assert_eq!(pair.gateway.counts().held, 0);
}

#[tokio::test]
async fn bytes_come_back_whole_as_binary_frames() {
    echo_works(|_| {}).await;
}

#[tokio::test]
async fn bytes_come_back_whole_as_json() {
    echo_works(|config| config.binary = false).await;
}

#[tokio::test]
async fn bytes_come_back_whole_compressed() {
    echo_works(|config| config.zstd = true).await;
}

#[tokio::test]
async fn a_stalled_reader_stalls_nobody_else() {
    async fn source(mut incoming: Incoming) {
        let chunk = Bytes::from(vec![7; limits::CHUNK]);
        while incoming.writer.send(chunk.clone()).await.is_ok() {}
    }
    let pair = pair_with(|_| {}, source).await;
    let (_stalled, _writer) = pair.gateway.open(new_stream()).unwrap();
    let (mut reader, _writer) = pair.gateway.open(new_stream()).unwrap();
    let mut got = 0;
    while got < 8 << 20 {
        let Ok(Item::Data(bytes)) = reader.recv().await else {
            panic!()
        };
        got += bytes.len();
    }
    assert!(pair.gateway.counts().held <= 2 * limits::WINDOW_FIRST as usize);
}

#[tokio::test]
async fn dropping_the_reader_cancels_the_command() {
    let (tell, mut told) = tokio::sync::mpsc::channel(1);
    let wait = move |incoming: Incoming| {
        let tell = tell.clone();
        async move { tell.send(incoming.ender.cancelled().await).await.unwrap() }
    };
    let pair = pair_with(|_| {}, wait).await;
    let (reader, _writer) = pair.gateway.open(new_stream()).unwrap();
    // Once a second stream was answered the first is known to the agent.
    while pair.agent.counts().streams != [0, 1, 0] {
        tokio::task::yield_now().await;
    }
    drop(reader);
    assert_eq!(
        told.recv().await,
        Some(StreamError::Reset(ErrorCode::Cancelled))
    );
}

#[tokio::test]
async fn a_command_that_forgets_its_end_gets_one() {
    let pair = pair_with(|_| {}, |_| async {}).await;
    let (mut reader, _writer) = pair.gateway.open(new_stream()).unwrap();
    let end = reader.recv().await.unwrap();
    assert!(matches!(
        end,
        Item::End(Err(ErrorBody {
            code: ErrorCode::Internal,
            ..
        }))
    ));
}

#[tokio::test]
async fn leaving_lets_what_runs_finish() {
    let pair = pair_with(|_| {}, echo).await;
    let (mut reader, mut writer) = pair.gateway.open(new_stream()).unwrap();
    writer.send(Bytes::from_static(b"before")).await.unwrap();
    assert!(matches!(reader.recv().await, Ok(Item::Data(_))));
    pair.agent.leave(ErrorCode::ShuttingDown, "drain", None);
    while pair.gateway.is_open() {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        pair.gateway.open(new_stream()).unwrap_err(),
        OpenError::GoingAway
    );
    writer.send(Bytes::from_static(b"after")).await.unwrap();
    writer.fin();
    assert_eq!(collect(&mut reader).await, b"after");
    assert!(matches!(pair.agent_ended.await.unwrap(), Ended::Drained));
    assert!(matches!(
        pair.gateway_ended.await.unwrap(),
        Ended::PeerLeft(_)
    ));
}

/// P-43: the last stream's end comes from the other side, and brings this side nothing to send.
#[tokio::test(start_paused = true)]
async fn a_gateway_that_leaves_closes_as_soon_as_the_last_stream_has_ended() {
    let pair = pair_with(
        |_| {},
        |incoming| async move {
            tokio::time::sleep(Duration::from_secs(2)).await;
            incoming.ender.end(Ok(None));
        },
    )
    .await;
    let (mut reader, writer) = pair.gateway.open(new_stream()).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    pair.gateway.leave(ErrorCode::ShuttingDown, "drain", None);
    assert!(matches!(reader.recv().await, Ok(Item::End(Ok(None)))));
    let end = Instant::now();
    assert!(matches!(pair.gateway_ended.await.unwrap(), Ended::Drained));
    assert!(
        end.elapsed() < Duration::from_millis(100),
        "{:?}",
        end.elapsed()
    );
    drop(writer);
}

/// P-43: what was begun must not look as if it had not been (P-53), whoever leaves.
#[tokio::test(start_paused = true)]
async fn what_outlives_the_grace_ends_with_a_code_that_invites_no_retry() {
    for agent_leaves in [true, false] {
        let pair = pair_with(
            |config| config.grace = Duration::from_secs(3),
            |incoming| async move {
                let _ = incoming.ender.cancelled().await;
            },
        )
        .await;
        let (mut reader, _writer) = pair.gateway.open(new_stream()).unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let leaving = if agent_leaves {
            &pair.agent
        } else {
            &pair.gateway
        };
        leaving.leave(ErrorCode::ShuttingDown, "drain", None);
        let code = match reader.recv().await {
            Ok(Item::End(Err(body))) => body.code,
            Err(StreamError::Reset(code)) => code,
            other => panic!("{other:?}"),
        };
        assert_eq!(code, ErrorCode::ChannelLost);
        assert!(!code.not_begun());
    }
}

#[tokio::test]
async fn what_does_not_fit_a_message_ends_its_own_stream_only() {
    let large = || serde_json::value::to_raw_value(&"x".repeat(limits::TEXT_MESSAGE)).unwrap();
    let pair = pair_with(
        |_| {},
        move |mut incoming| async move {
            if incoming.id.get() == 1 {
                let refused = incoming.writer.event(&large()).await;
                assert_eq!(refused, Err(StreamError::Reset(ErrorCode::Internal)));
                incoming.ender.end(Ok(Some(large())));
            } else {
                incoming.ender.end(Ok(None));
            }
        },
    )
    .await;
    let (mut reader, _writer) = pair.gateway.open(new_stream()).unwrap();
    let end = reader.recv().await.unwrap();
    assert!(matches!(end, Item::End(Err(body)) if body.code == ErrorCode::Internal));
    let (mut reader, _writer) = pair.gateway.open(new_stream()).unwrap();
    assert!(matches!(reader.recv().await, Ok(Item::End(Ok(None)))));
}

#[tokio::test]
async fn an_abort_tells_the_peer_and_every_handle() {
    let pair = pair_with(
        |_| {},
        |incoming| async move {
            let _ = incoming.ender.cancelled().await;
        },
    )
    .await;
    let (mut reader, _writer) = pair.gateway.open(new_stream()).unwrap();
    pair.gateway
        .abort(ErrorCode::Unauthorized, "the token was removed");
    assert_eq!(reader.recv().await.unwrap_err(), StreamError::Lost);
    let ended = pair.agent_ended.await.unwrap();
    assert!(
        matches!(&ended, Ended::PeerLeft(goaway) if goaway.code == ErrorCode::Unauthorized),
        "{ended:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_frozen_peer_is_found_in_time() {
    let (a, _held) = tokio::io::duplex(64);
    let ws = WebSocketStream::from_raw_socket(a, WsRole::Client, None).await;
    let owner = Arc::new(Handler(echo, Tasks::new(), Mutex::default()));
    let (_session, run) = establish(WebSocket::new(ws), Config::new(Role::Agent), owner);
    let start = Instant::now();
    let ended = run.await;
    assert!(
        matches!(ended, Ended::Failed(ErrorCode::PingTimeout, _)),
        "{ended}"
    );
    assert!(start.elapsed() <= limits::PING_EVERY + limits::PING_WITHIN);
}

#[tokio::test(start_paused = true)]
async fn a_faster_pace_keeps_an_idle_session_busy_though_echoes_may_take_longer() {
    for (pace, quiet) in [(None, 9), (Some(Duration::from_secs(2)), 1)] {
        let set = |config: &mut Config| {
            if config.role == Role::Agent {
                config.pace = pace;
            }
        };
        let pair = pair_with(set, |_| async {}).await;
        tokio::time::sleep(Duration::from_secs(9)).await;
        pair.agent.abort(ErrorCode::Internal, "enough");
        let ended = pair.agent_ended.await.unwrap();
        assert!(
            matches!(ended, Ended::Failed(ErrorCode::Internal, _)),
            "{ended:?}"
        );
        assert_eq!(pair.agent.silence().last.as_secs(), quiet);
    }
}
