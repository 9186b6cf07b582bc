//! One request of a caller to a cluster's API: from HTTP to `k8s.request` on a stream, and back.
//!
//! Owns the checks before anything is dispatched, the choice of class and deadline, the dispatch
//! with its second tries, and what each failure looks like. Owns not the bytes that follow the
//! head: [`super::body`], [`super::upload`], [`super::tunnel`].
//!
//! Order: token (before this), access to the cluster, upgrade, path, headers, the user's cap, a
//! session. Invariants: what is sent up is rebuilt from the parsed request; a request that may have
//! been begun is never sent again; the caller's token stays here.

use std::pin::Pin;
use std::sync::Arc;

use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};
use hyper::body::{Body as _, Incoming};
use hyper::upgrade::OnUpgrade;
use tokio::time::Sleep;

use super::Shared;
use super::access::{Access, Outcome};
use super::admission;
use super::agents::{Connected, Load};
use super::answers;
use super::body::{Answer, Body, Watch};
use super::caller::Flow;
use super::failures::{self, Refusal};
use super::resume::Reader;
use super::tokens::Entry;
use super::tunnel::Tunnel;
use super::upload::{Upload, Uploading};
use super::users::Slot;
use crate::kubeapi::headers::{self, Impersonation, Place};
use crate::kubeapi::status::{Failure, Hop};
use crate::kubeapi::{Attributes, RequestPath, Upgrade, Verb};
use crate::limits;
use crate::protocol::CommandEnvelope;
use crate::protocol::command::k8s_request;
use crate::protocol::error::ErrorCode;
use crate::protocol::message::{Class, Compression};
use crate::session::{Item, NewStream, StreamError};

/// Where a request goes: below which cluster, and to which path there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) cluster: &'a str,
    pub(crate) path: &'a str,
}

/// Answers a request to a cluster's API.
pub(crate) async fn serve(
    shared: &Arc<Shared>,
    entry: &Arc<Entry>,
    flow: &Arc<Flow>,
    target: Target<'_>,
    mut request: Request<Incoming>,
) -> Response<Body> {
    let mut access = Access::begin(shared, entry, target.cluster, request.method());
    let prepared = prepare(shared, entry, target, &mut request, &mut access);
    let failed = match prepared {
        Ok(prepared) => match prepared
            .run(shared, flow, request.into_body(), access)
            .await
        {
            Ok(response) => return response,
            Err((refusal, returned)) => {
                access = *returned;
                refusal
            }
        },
        Err(refusal) => refusal,
    };
    shared.metrics.refused(failed.reason);
    let response = answers::status(&failed.failure, failed.hop, &access.id);
    access.status = response.status().as_u16();
    access.outcome = Outcome::Complete;
    response
}

/// A request that may be dispatched.
struct Prepared {
    entry: Arc<Entry>,
    id: String,
    cluster: String,
    prefix: String,
    target: RequestPath,
    command: CommandEnvelope,
    class: Class,
    upgrade: Option<Upgrade>,
    on_upgrade: Option<OnUpgrade>,
    slot: Slot,
}

fn prepare(
    shared: &Shared,
    entry: &Arc<Entry>,
    at: Target<'_>,
    request: &mut Request<Incoming>,
    access: &mut Access,
) -> Result<Prepared, Refusal> {
    let refuse = |failure, reason| Refusal::new(failure, Hop::Gateway, reason);
    admission::access(shared, entry, at.cluster)?;
    let bad_headers = |error| refuse(Failure::RequestHeaders(error), "headers");
    let upgrade = headers::upgrade(headers::pairs(request.headers())).map_err(bad_headers)?;
    let target = RequestPath::parse(request.method(), at.path, request.uri().query(), upgrade)
        .map_err(|error| refuse(Failure::Path(error), "path"))?;
    access.request = Some(target.attributes().clone());
    let passed = headers::upward(
        headers::pairs(request.headers()),
        upgrade,
        Impersonation::Refuse,
    )
    .map_err(bad_headers)?;
    let long_running = target.attributes().long_running;
    let slot = admission::slot(shared, entry, long_running)?;
    let body = upgrade.is_none() && !request.body().is_end_stream();
    let args = k8s_request::Request {
        method: target.method().as_str().to_owned(),
        path: target.canonical().to_owned(),
        query: target.query().map(str::to_owned),
        headers: passed.iter().filter_map(text).collect(),
        body,
        upgrade: upgrade.map(|upgrade| match upgrade {
            Upgrade::WebSocket => k8s_request::Upgrade::Websocket,
            Upgrade::Spdy => k8s_request::Upgrade::Spdy,
        }),
    };
    let args = serde_json::value::to_raw_value(&args).expect("texts always serialise");
    let deadline = u64::try_from(limits::HEAD_DEADLINE.as_millis()).unwrap_or(u64::MAX);
    let command = CommandEnvelope {
        id: access.id.clone(),
        name: "k8s.request".to_owned(),
        args,
        deadline_ms: (!long_running).then_some(deadline),
        actor: Some(entry.actor.clone()),
        idempotency_key: None,
        attempt: 1,
        traceparent: request
            .headers()
            .get("traceparent")
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned),
    };
    Ok(Prepared {
        entry: Arc::clone(entry),
        id: access.id.clone(),
        cluster: at.cluster.to_owned(),
        prefix: format!("/clusters/{}/k8s", at.cluster),
        class: class(target.attributes(), target.query()),
        command,
        upgrade,
        on_upgrade: upgrade.map(|_| hyper::upgrade::on(request)),
        slot,
        target,
    })
}

/// A header that is text; the lists that filtered it let nothing else through but opaque bytes
/// above ASCII, which JSON cannot carry.
fn text((name, value): &(HeaderName, HeaderValue)) -> Option<(String, String)> {
    let value = std::str::from_utf8(value.as_bytes()).ok()?;
    Some((name.as_str().to_owned(), value.to_owned()))
}

/// The class of a request's bytes (P-23). A limited LIST is what a person waits for.
fn class(request: &Attributes, query: Option<&str>) -> Class {
    let limited = || {
        query.is_some_and(|query| {
            query
                .split('&')
                .any(|pair| pair.starts_with("limit=") && pair != "limit=0")
        })
    };
    match (request.subresource.as_str(), request.verb) {
        ("exec" | "attach" | "portforward", _) => Class::Interactive,
        _ if request.upgrade.is_some() => Class::Interactive,
        ("log", _) => Class::Bulk,
        (_, Verb::List) if !limited() => Class::Bulk,
        _ => Class::Api,
    }
}

/// A stream whose head has arrived.
struct Headed {
    reader: Reader,
    head: k8s_request::Head,
    session: Arc<Connected>,
    load: Load,
    uploading: Uploading,
}

/// How one dispatch ended without a head.
enum Missed {
    /// Nothing was begun: another session may do it.
    NotBegun(Refusal),
    Failed(Refusal),
}

type Returned = (Refusal, Box<Access>);

impl Prepared {
    async fn run(
        self,
        shared: &Arc<Shared>,
        flow: &Arc<Flow>,
        body: Incoming,
        mut access: Access,
    ) -> Result<Response<Body>, Returned> {
        let upload = (self.upgrade.is_none() && !body.is_end_stream()).then(|| Upload::new(body));
        access.uploaded = upload.as_ref().map(Upload::counter);
        match self.dispatch(shared, upload).await {
            Ok(headed) => self.answer(shared, flow, headed, access),
            Err(refusal) => Err((refusal, Box::new(access))),
        }
    }

    /// Sends the command to a session, and to others while nothing was begun, until a head comes.
    async fn dispatch(
        &self,
        shared: &Arc<Shared>,
        mut upload: Option<Upload>,
    ) -> Result<Headed, Refusal> {
        let mut tried = Vec::new();
        let mut last = None;
        let cluster = shared.agents.get(&self.cluster);
        while tried.len() < limits::DISPATCHES {
            let chosen = cluster.as_ref().and_then(|cluster| cluster.choose(&tried));
            let Some(connected) = chosen else {
                break;
            };
            if !tried.is_empty() {
                shared.metrics.redispatched();
            }
            tried.push(connected.id.clone());
            let uploading = Uploading::begin(&mut upload);
            match self.attempt(shared, connected, uploading).await {
                Ok(headed) => return Ok(headed),
                Err((Missed::NotBegun(refusal), uploading)) => {
                    let again = uploading.rewind(&mut upload);
                    last = Some(refusal);
                    if !again {
                        break;
                    }
                }
                Err((Missed::Failed(refusal), _)) => return Err(refusal),
            }
        }
        Err(last
            .unwrap_or_else(|| failures::not_connected(shared, &self.cluster, cluster.as_deref())))
    }

    async fn attempt(
        &self,
        shared: &Arc<Shared>,
        session: Arc<Connected>,
        mut uploading: Uploading,
    ) -> Result<Headed, (Missed, Uploading)> {
        let zstd = session.zstd && self.upgrade.is_none();
        let stream = NewStream {
            command: self.command.clone(),
            class: self.class,
            compression: zstd.then_some(Compression::Zstd),
            upload: uploading.is_some() || self.upgrade.is_some(),
        };
        // A request that only listens goes on when the channel is lost.
        let lasts = !stream.upload && self.target.is_followed();
        let (mut reader, writer) = match Reader::open(shared, &session, stream, lasts) {
            Ok(opened) => opened,
            Err(error) => return Err((Missed::NotBegun(failures::unopened(error)), uploading)),
        };
        let load = session.load();
        uploading.attach(writer);
        let mut deadline: Option<Pin<Box<Sleep>>> = self.command.deadline_ms.map(|_| {
            Box::pin(tokio::time::sleep(
                limits::HEAD_DEADLINE + limits::HEAD_DEADLINE_BEHIND,
            ))
        });
        let revoked = self.entry.revoked.cancelled();
        let mut revoked = std::pin::pin!(revoked);
        let head = loop {
            let item = tokio::select! {
                biased;
                item = reader.recv() => item,
                broken = uploading.drive() => {
                    if broken {
                        // The caller broke its own request off; nobody reads the answer.
                        let refusal = failures::ended(ErrorCode::Cancelled, "");
                        return Err((Missed::Failed(refusal), uploading));
                    }
                    continue;
                }
                () = &mut revoked => {
                    let refusal = Refusal::new(Failure::Unauthorized, Hop::Gateway, "token");
                    reader.reset(ErrorCode::Unauthorized);
                    return Err((Missed::Failed(refusal), uploading));
                }
                () = passed(&mut deadline) => {
                    let after = limits::HEAD_DEADLINE;
                    let refusal = Refusal::new(Failure::Deadline { after }, Hop::Agent, "deadline");
                    reader.reset(ErrorCode::DeadlineExceeded);
                    return Err((Missed::Failed(refusal), uploading));
                }
            };
            match item {
                Ok(Item::Event(event)) => match serde_json::from_str(event.get()) {
                    Ok(k8s_request::Event::Head(head)) => break head,
                    // An event of a newer protocol than ours (P-24).
                    Err(_) => {}
                },
                Ok(Item::Fin) => {}
                Ok(Item::Data(_)) => {
                    reader.reset(ErrorCode::ProtocolError);
                    let refusal =
                        failures::ended(ErrorCode::UpstreamFailed, "bytes came before the head");
                    return Err((Missed::Failed(refusal), uploading));
                }
                Ok(Item::End(Ok(_))) => {
                    let refusal = failures::ended(ErrorCode::UpstreamFailed, "no head came");
                    return Err((Missed::Failed(refusal), uploading));
                }
                Ok(Item::End(Err(body))) => {
                    let refusal = failures::ended(body.code, &body.message);
                    let missed = if body.code.not_begun() {
                        Missed::NotBegun(refusal)
                    } else {
                        Missed::Failed(refusal)
                    };
                    return Err((missed, uploading));
                }
                Err(StreamError::Reset(code)) if code.not_begun() => {
                    let refusal = failures::ended(code, "the agent goes away");
                    return Err((Missed::NotBegun(refusal), uploading));
                }
                Err(StreamError::Reset(code)) => {
                    return Err((Missed::Failed(failures::ended(code, "")), uploading));
                }
                Err(StreamError::Lost | StreamError::Ended) => {
                    let refusal = failures::ended(ErrorCode::ChannelLost, "");
                    return Err((Missed::Failed(refusal), uploading));
                }
            }
        };
        Ok(Headed {
            reader,
            head,
            session,
            load,
            uploading,
        })
    }

    /// The caller's answer, from the head on.
    fn answer(
        self,
        shared: &Arc<Shared>,
        flow: &Arc<Flow>,
        headed: Headed,
        mut access: Access,
    ) -> Result<Response<Body>, Returned> {
        let Headed {
            reader,
            head,
            session,
            load,
            uploading,
        } = headed;
        let place = Place {
            prefix: &self.prefix,
            path: self.target.canonical(),
        };
        let status = StatusCode::from_u16(head.status).ok();
        let pairs = head
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()));
        let status = match status {
            Some(status) if status == StatusCode::SWITCHING_PROTOCOLS || status.as_u16() >= 200 => {
                status
            }
            _ => {
                reader.reset(ErrorCode::UpstreamFailed);
                let refusal = failures::ended(ErrorCode::UpstreamFailed, "the status is none");
                return Err((refusal, Box::new(access)));
            }
        };
        let passed = match headers::downward(status, pairs, self.upgrade, place) {
            Ok(passed) => passed,
            Err(error) => {
                reader.reset(ErrorCode::UpstreamFailed);
                let failure = Failure::ResponseHeaders(error);
                let refusal = Refusal::new(failure, Hop::ApiServer, "answer_headers");
                return Err((refusal, Box::new(access)));
            }
        };
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        response.headers_mut().reserve(passed.len());
        for (name, value) in passed {
            response.headers_mut().append(name, value);
        }
        access.status = status.as_u16();
        tracing::debug!(
            request = self.id,
            session = session.id,
            status = access.status,
            "Head arrived"
        );
        if status == StatusCode::SWITCHING_PROTOCOLS {
            let (Some(on_upgrade), Some(writer), Some(reader)) = (
                self.on_upgrade,
                uploading.into_writer(),
                reader.into_plain(),
            ) else {
                // `downward` lets no 101 through that was not asked for.
                let refusal = failures::ended(ErrorCode::Internal, "");
                return Err((refusal, Box::new(access)));
            };
            let tunnel = Tunnel {
                reader,
                writer,
                entry: self.entry,
                access,
                _slot: self.slot,
                _load: load,
            };
            let stop = shared.kill.clone();
            shared
                .tasks
                .spawn_logged("tunnel", tunnel.run(on_upgrade, stop));
            return Ok(response);
        }
        access.expected = response
            .headers()
            .get(header::CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.parse().ok());
        if access.method == http::Method::HEAD
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        {
            access.expected = Some(0);
        }
        let upload = uploading.rest().map(|rest| {
            let handle = shared.tasks.spawn("upload", rest);
            handle.abort_handle()
        });
        let lines = response.headers().get(header::CONTENT_TYPE);
        let lines = lines.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
        let watch =
            (lines && status == StatusCode::OK && self.target.attributes().verb == Verb::Watch)
                .then(|| Watch::new(shared.stop.clone()));
        *response.body_mut() = Body::Stream(Box::new(Answer {
            reader,
            flow: Arc::clone(flow),
            revoked: Box::pin(self.entry.revoked.clone().cancelled_owned()),
            access,
            upload,
            _slot: self.slot,
            _load: load,
            watch,
            next: None,
            ended: false,
        }));
        Ok(response)
    }
}

async fn passed(deadline: &mut Option<Pin<Box<Sleep>>>) {
    match deadline {
        Some(sleep) => sleep.await,
        None => std::future::pending().await,
    }
}
