//! Requests and answers, streaming both ways.

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use http_body::Frame;
use http_body_util::{Full, StreamBody};
use pipeops_agent::cluster::error::Unreachable;
use pipeops_agent::cluster::{AnswerBody, Cluster, ClusterError, Config, Credentials, Upload};
use pipeops_agent::kubeapi::HeaderError;
use pipeops_agent::tasks::Tasks;
use tokio::sync::{Notify, mpsc};

use super::{Ask, cluster, text};
use crate::support::apiserver::{ApiServer, Then, answer};
use crate::support::{eventually, soon};

fn body(bytes: &'static str) -> Upload {
    Upload::new(http_body_util::BodyExt::map_err(
        Full::new(Bytes::from_static(bytes.as_bytes())),
        |never| match never {},
    ))
}

#[tokio::test]
async fn an_answer_streams_as_it_comes() {
    let tasks = Tasks::new();
    let go_on = Arc::new(Notify::new());
    let wait = go_on.clone();
    let server = ApiServer::start(&tasks, move |_, mut peer| {
        let wait = wait.clone();
        async move {
            peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n")
                .await;
            wait.notified().await;
            peer.send("6\r\nsecond\r\n0\r\n\r\n").await;
            (peer, Then::KeepAlive)
        }
    })
    .await;
    let cluster = cluster(&server, &tasks).await;
    let answer = soon(Ask::get("/api/v1/pods").of(&cluster)).await.unwrap();
    let AnswerBody::Stream(mut body) = answer.body else {
        panic!("not an upgrade");
    };
    assert_eq!(soon(body.chunk()).await.unwrap().unwrap(), "first");
    go_on.notify_one();
    assert_eq!(soon(body.chunk()).await.unwrap().unwrap(), "second");
    assert!(soon(body.chunk()).await.unwrap().is_none());
}

#[tokio::test]
async fn an_upload_streams_as_it_comes() {
    let tasks = Tasks::new();
    let (got, mut arrived) = mpsc::channel(4);
    let server = ApiServer::start(&tasks, move |_, mut peer| {
        let got = got.clone();
        async move {
            for _ in 0..2 {
                let size = peer.until(b"\r\n").await.expect("a chunk's size");
                let size = String::from_utf8(size).unwrap();
                let size = usize::from_str_radix(size.trim(), 16).unwrap();
                let piece = peer.exactly(size + 2).await.expect("the chunk");
                got.send(String::from_utf8(piece).unwrap()).await.unwrap();
            }
            peer.until(b"0\r\n\r\n").await.expect("the body's end");
            peer.send(answer("201 Created", "", "done")).await;
            (peer, Then::KeepAlive)
        }
    })
    .await;
    let cluster = cluster(&server, &tasks).await;
    let (send, pieces) = mpsc::channel::<&'static str>(1);
    let pieces = futures_util::stream::unfold(pieces, async |mut pieces| {
        let piece = pieces.recv().await?;
        Some((
            Ok(Frame::data(Bytes::from_static(piece.as_bytes()))),
            pieces,
        ))
    });
    let ask = Ask::new(&Method::POST, "/api/v1/namespaces/d/pods")
        .upload(Upload::new(StreamBody::new(pieces)));
    let mut asked = std::pin::pin!(ask.of(&cluster));
    let steps = async {
        send.send("one").await.unwrap();
        assert_eq!(arrived.recv().await.unwrap(), "one\r\n");
        // The second piece exists only after the first has arrived.
        send.send("two").await.unwrap();
        assert_eq!(arrived.recv().await.unwrap(), "two\r\n");
        drop(send);
    };
    let (answer, ()) = soon(async { tokio::join!(asked.as_mut(), steps) }).await;
    assert_eq!(text(answer.unwrap()).await.unwrap(), "done");
}

#[tokio::test]
async fn requests_in_turn_share_a_connection_and_carry_the_agents_own_credential() {
    let tasks = Tasks::new();
    let server = ApiServer::start(&tasks, async |_, mut peer| {
        peer.send(answer("200 OK", "", "ok")).await;
        (peer, Then::KeepAlive)
    })
    .await;
    let cluster = cluster(&server, &tasks).await;
    for _ in 0..3 {
        let ask = Ask::get("/api/v1/pods")
            .header("accept", "application/json")
            .header("authorization", "Bearer caller-token")
            .header("cookie", "caller-cookie")
            .header("impersonate-user", "root")
            .header("x-remote-user", "root");
        let answer = soon(ask.of(&cluster)).await.unwrap();
        assert_eq!(soon(text(answer)).await.unwrap(), "ok");
    }
    let seen = server.seen();
    assert_eq!(seen.len(), 3);
    for request in seen {
        assert_eq!(request.connection, 1);
        assert_eq!(request.target, "/api/v1/pods");
        assert_eq!(request.all("authorization"), ["Bearer agent-token"]);
        assert_eq!(request.header("accept"), Some("application/json"));
        assert_eq!(
            request.header("host"),
            Some(server.address.to_string().as_str())
        );
        for name in ["cookie", "impersonate-user", "x-remote-user"] {
            assert_eq!(request.header(name), None, "{name}");
        }
    }
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_is_not_used() {
    let tasks = Tasks::new();
    let server = ApiServer::start(&tasks, async |_, mut peer| {
        peer.send(answer("200 OK", "", "ok")).await;
        (peer, Then::Close)
    })
    .await;
    let cluster = cluster(&server, &tasks).await;
    for _ in 0..2 {
        let ask = Ask::new(&Method::POST, "/api/v1/namespaces/d/pods").upload(body("{}"));
        let answer = soon(ask.of(&cluster)).await.unwrap();
        assert_eq!(soon(text(answer)).await.unwrap(), "ok");
        eventually("the server has closed", || server.open() == 0).await;
    }
    assert_eq!(server.seen().len(), 2);
}

/// Answers the first request of a connection, and closes on the second before a byte of answer.
async fn breaks_on_reuse(tasks: &Tasks) -> ApiServer {
    let served = Arc::new(std::sync::Mutex::new(std::collections::HashSet::new()));
    ApiServer::start(tasks, move |seen, mut peer| {
        let first = served.lock().unwrap().insert(seen.connection);
        async move {
            if first {
                peer.send(answer("200 OK", "", "ok")).await;
                (peer, Then::KeepAlive)
            } else {
                (peer, Then::Close)
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_get_on_a_connection_that_closes_under_it_is_sent_once_more() {
    let tasks = Tasks::new();
    let server = breaks_on_reuse(&tasks).await;
    let cluster = cluster(&server, &tasks).await;
    for _ in 0..2 {
        let answer = soon(Ask::get("/version").of(&cluster)).await.unwrap();
        assert_eq!(soon(text(answer)).await.unwrap(), "ok");
    }
    let connections: Vec<_> = server.seen().iter().map(|seen| seen.connection).collect();
    assert_eq!(connections, [1, 1, 2]);
}

#[tokio::test]
async fn a_post_on_a_connection_that_closes_under_it_is_never_sent_again() {
    let tasks = Tasks::new();
    let server = breaks_on_reuse(&tasks).await;
    let cluster = cluster(&server, &tasks).await;
    let post = || Ask::new(&Method::POST, "/api/v1/namespaces/d/pods");
    let answer = soon(post().of(&cluster)).await.unwrap();
    assert_eq!(soon(text(answer)).await.unwrap(), "ok");
    let error = soon(post().of(&cluster)).await.unwrap_err();
    assert!(matches!(error, ClusterError::Failed(_)), "{error:?}");
    assert!(!error.not_sent());
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn a_body_that_breaks_off_never_looks_complete() {
    for head in ["content-length: 100", "transfer-encoding: chunked"] {
        let tasks = Tasks::new();
        let server = ApiServer::start(&tasks, move |_, mut peer| async move {
            peer.send(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n5\r\npart\r\n"))
                .await;
            (peer, Then::Close)
        })
        .await;
        let cluster = cluster(&server, &tasks).await;
        let answer = soon(Ask::get("/api/v1/pods").of(&cluster)).await.unwrap();
        let error = soon(text(answer)).await.unwrap_err();
        assert!(
            matches!(error, ClusterError::Failed(_)),
            "{head}: {error:?}"
        );
    }
}

#[tokio::test]
async fn a_dropped_request_closes_its_connection() {
    let tasks = Tasks::new();
    let server = ApiServer::start(&tasks, async |_, mut peer| {
        peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            .await;
        peer.closed().await;
        (peer, Then::Close)
    })
    .await;
    let cluster = cluster(&server, &tasks).await;
    let answer = soon(Ask::get("/api/v1/pods").of(&cluster)).await.unwrap();
    assert_eq!(server.open(), 1);
    drop(answer);
    eventually("the connection is closed", || server.open() == 0).await;
}

#[tokio::test]
async fn a_redirect_is_passed_or_refused_and_never_followed() {
    let tasks = Tasks::new();
    let server = ApiServer::start(&tasks, async |seen, mut peer| {
        let location = match seen.target.as_str() {
            "/apis" => "location: /apis/\r\n",
            "/api" => "location: //elsewhere.example/api\r\n",
            _ => "location: https://elsewhere.example/\r\n",
        };
        peer.send(answer("307 Temporary Redirect", location, ""))
            .await;
        (peer, Then::KeepAlive)
    })
    .await;
    let cluster = cluster(&server, &tasks).await;
    let passed = soon(Ask::get("/apis").of(&cluster)).await.unwrap();
    assert_eq!(passed.status, 307);
    let location: Vec<_> = passed
        .headers
        .iter()
        .filter(|(name, _)| name == "location")
        .collect();
    assert_eq!(location[0].1, "/apis/");
    for path in ["/api", "/version"] {
        let error = soon(Ask::get(path).of(&cluster)).await.unwrap_err();
        assert!(
            matches!(error, ClusterError::AnswerHeaders(HeaderError::Redirect)),
            "{error:?}"
        );
    }
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn a_401_is_the_agents_own_failure() {
    let tasks = Tasks::new();
    let server = ApiServer::start(&tasks, async |_, mut peer| {
        peer.send(answer("401 Unauthorized", "", "{}")).await;
        (peer, Then::KeepAlive)
    })
    .await;
    let cluster = cluster(&server, &tasks).await;
    let error = soon(Ask::get("/version").of(&cluster)).await.unwrap_err();
    assert!(matches!(error, ClusterError::CredentialRefused));
    assert_eq!(server.seen().len(), 1, "it is not tried again");
}

#[tokio::test]
async fn an_api_server_that_is_not_there_was_sent_nothing() {
    let tasks = Tasks::new();
    // Bound and dropped: nobody listens there now.
    let address = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let credentials = Credentials::Direct {
        url: format!("http://{address}").parse().unwrap(),
        ca_pem: None,
        token: None,
    };
    let cluster = Cluster::connect(Config { credentials }, &tasks)
        .await
        .expect("the API server need not be up");
    let error = soon(Ask::get("/version").of(&cluster)).await.unwrap_err();
    assert!(error.not_sent());
    assert!(matches!(
        error,
        ClusterError::Unreachable {
            kind: Unreachable::Refused,
            ..
        }
    ));
    let shown = error.to_string();
    assert!(!shown.contains("127.0.0.1"), "no address: {shown}");
}

#[tokio::test]
async fn an_announced_length_is_kept_or_the_request_fails() {
    let tasks = Tasks::new();
    let server = ApiServer::start(&tasks, async |seen, mut peer| {
        let length = seen.header("content-length").unwrap().parse().unwrap();
        if peer.exactly(length).await.is_some() {
            peer.send(answer("200 OK", "", "ok")).await;
        }
        (peer, Then::KeepAlive)
    })
    .await;
    let cluster = cluster(&server, &tasks).await;
    let post = |length: &str| {
        Ask::new(&Method::POST, "/api/v1/namespaces/d/pods")
            .header("content-length", length)
            .upload(Upload::new(StreamBody::new(futures_util::stream::iter([
                Ok(Frame::data(Bytes::from_static(b"four"))),
            ]))))
    };
    let answer = soon(post("4").of(&cluster)).await.unwrap();
    assert_eq!(soon(text(answer)).await.unwrap(), "ok");
    assert_eq!(server.seen()[0].header("transfer-encoding"), None);
    let error = soon(post("9").of(&cluster)).await.unwrap_err();
    assert!(matches!(error, ClusterError::Upload(_)), "{error:?}");
}

#[tokio::test]
async fn a_length_without_a_body_is_not_passed_on() {
    let tasks = Tasks::new();
    let server = ApiServer::start(&tasks, async |_, mut peer| {
        peer.send(answer("200 OK", "", "ok")).await;
        (peer, Then::KeepAlive)
    })
    .await;
    let cluster = cluster(&server, &tasks).await;
    for (method, expected) in [(Method::GET, None), (Method::POST, Some("0"))] {
        let ask = Ask::new(&method, "/api/v1/namespaces/d/pods").header("content-length", "7");
        let answer = soon(ask.of(&cluster)).await.unwrap();
        assert_eq!(soon(text(answer)).await.unwrap(), "ok");
        let seen = server.seen();
        let last = seen.last().unwrap();
        assert_eq!(last.header("content-length"), expected, "{}", last.method);
    }
}

#[tokio::test]
async fn the_cluster_says_who_it_is() {
    let tasks = Tasks::new();
    let server = ApiServer::start(&tasks, async |seen, mut peer| {
        let body = match seen.target.as_str() {
            "/api/v1/namespaces/kube-system" => {
                r#"{"kind":"Namespace","metadata":{"name":"kube-system","uid":"6f1c3a52"}}"#
            }
            "/version" => r#"{"major":"1","minor":"36","gitVersion":"v1.36.3"}"#,
            other => panic!("{other}"),
        };
        peer.send(answer("200 OK", "content-type: application/json\r\n", body))
            .await;
        (peer, Then::KeepAlive)
    })
    .await;
    let cluster = cluster(&server, &tasks).await;
    let identity = soon(cluster.identity()).await.unwrap();
    assert_eq!(identity.uid, "6f1c3a52");
    assert_eq!(identity.version, "v1.36.3");
}
