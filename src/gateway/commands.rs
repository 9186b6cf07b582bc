//! Commands over HTTP, for people and programs that speak no Kubernetes: events as they come.
//!
//! | path below `/clusters/{id}` | method | answer |
//! |---|---|---|
//! | `/commands/{name}` | POST | any command that is offered: server-sent events, or one JSON object |
//! | `/logs` | GET | `logs.follow` or `logs.get` as text, or as above |
//! | `/events`, `/metrics/live`, `/status`, `/services` | GET | the same, under a name for people ([`queries`]) |
//!
//! ```text
//!  ask (what) ─▶ run (over as many channels as it takes) ─▶ stream (SSE, text) ─▶ body
//!                 └ course, cursors, event                └ whole (JSON)
//! ```
//!
//! Owns the order of things: token (before this), access to the cluster, the command, its arguments,
//! the user's cap, a session; then the first event decides the status. Invariant: a failure before
//! anything was said is an HTTP status with a body that names the hop; one after that is an event.

mod ask;
mod course;
mod cursors;
mod event;
mod failed;
mod lines;
mod queries;
mod run;
mod stream;
mod whole;

use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use tokio::time::timeout;

use super::Shared;
use super::access::{Access, Outcome};
use super::admission;
use super::answers;
use super::body::{Body, Events};
use super::caller::Flow;
use super::failures::Refusal;
use super::tokens::Entry;
use crate::kubeapi::status::{Failure, Hop};
use crate::limits;
use crate::protocol::error::ErrorCode;
use ask::Form;
use course::Course;
use cursors::Stamp;
use failed::Failed;
pub(crate) use queries::Page;
use run::{Ask, Run, Step};

/// The path of a command below its cluster.
pub(crate) const COMMANDS: &str = "commands/";

/// The header that names the protocol's code of a failure, for programs.
const CODE: &str = "x-pipeops-code";
/// The header with the request's id.
const REQUEST: &str = "x-request-id";

/// Answers `POST /clusters/{id}/commands/{name}`.
pub(crate) async fn serve(
    shared: &Arc<Shared>,
    entry: &Arc<Entry>,
    flow: &Arc<Flow>,
    cluster: &str,
    name: &str,
    request: Request<Incoming>,
) -> Response<Body> {
    let mut access = Access::begin(shared, entry, cluster, request.method());
    let asked = match admission::access(shared, entry, cluster) {
        Ok(()) => posted(name, request, &mut access).await,
        Err(refused) => Err(refused),
    };
    answer(shared, flow, cluster, asked, access).await
}

/// Answers `GET` on a page for people.
pub(crate) async fn page(
    shared: &Arc<Shared>,
    entry: &Arc<Entry>,
    flow: &Arc<Flow>,
    cluster: &str,
    page: Page,
    request: Request<Incoming>,
) -> Response<Body> {
    let access = Access::begin(shared, entry, cluster, request.method());
    let asked = admission::access(shared, entry, cluster).and_then(|()| {
        if request.method() != Method::GET {
            return Err(not_served("this is read with GET"));
        }
        let (head, _) = request.into_parts();
        let form = ask::accepted(&head.headers);
        let query = page.ask(head.uri.query().unwrap_or_default(), form)?;
        let head = Request::from_parts(head, ());
        let deadline = query.deadline.as_deref();
        let (ask, stamp) = ask::ask(query.offered, &head, query.args, deadline, &access)?;
        Ok(Asked {
            ask,
            stamp,
            form: query.form,
            until: query.until,
        })
    });
    answer(shared, flow, cluster, asked, access).await
}

fn not_served(message: &str) -> Refusal {
    let message = message.to_owned();
    let failure = Failure::NotServed { message };
    Refusal::new(failure, Hop::Gateway, "method")
}

/// What is asked, in which form it is answered.
struct Asked {
    ask: Ask,
    stamp: Stamp,
    form: Form,
    /// The event that ends an answer in one piece, where the command would go on.
    until: Option<&'static str>,
}

async fn posted(
    name: &str,
    request: Request<Incoming>,
    access: &mut Access,
) -> Result<Asked, Refusal> {
    if request.method() != Method::POST {
        return Err(not_served("a command is run with POST"));
    }
    let offered = course::offered(name).map_err(ask::bad)?;
    let form = ask::accepted(request.headers()).unwrap_or(Form::Events);
    let (head, body) = request.into_parts();
    let args = ask::body(body, access).await?;
    if form == Form::Whole && !offered.ends(&args) {
        return Err(queries::unending(name));
    }
    let query = head.uri.query().unwrap_or_default();
    let deadline = match query.strip_prefix("deadline_ms=") {
        Some(deadline) if !deadline.contains('&') => Some(deadline),
        None if query.is_empty() => None,
        _ => return Err(ask::bad("the query of a command has only deadline_ms")),
    };
    let head = Request::from_parts(head.clone(), ());
    let (ask, stamp) = ask::ask(offered, &head, args, deadline, access)?;
    Ok(Asked {
        ask,
        stamp,
        form,
        until: None,
    })
}

async fn answer(
    shared: &Arc<Shared>,
    flow: &Arc<Flow>,
    cluster: &str,
    asked: Result<Asked, Refusal>,
    mut access: Access,
) -> Response<Body> {
    let failed = match asked {
        Ok(asked) => match run(shared, flow, cluster, asked, access).await {
            Ok(response) => return response,
            Err(returned) => {
                let (failed, again) = *returned;
                access = again;
                failed
            }
        },
        Err(refusal) => (refusal, None),
    };
    let (refusal, code) = failed;
    shared.metrics.refused(refusal.reason);
    let mut response = answers::status(&refusal.failure, refusal.hop, &access.id);
    if let Some(code) = code {
        let code = HeaderValue::from_static(code.as_str());
        response.headers_mut().insert(CODE, code);
    }
    access.status = response.status().as_u16();
    access.outcome = Outcome::Complete;
    response
}

type Returned = Box<((Refusal, Option<ErrorCode>), Access)>;

/// Runs the command until its answer can begin.
async fn run(
    shared: &Arc<Shared>,
    flow: &Arc<Flow>,
    cluster: &str,
    asked: Asked,
    mut access: Access,
) -> Result<Response<Body>, Returned> {
    let Asked {
        ask,
        stamp,
        form,
        until,
    } = asked;
    let long_running = ask.offered.course == Course::Observes;
    access.command = Some((ask.offered.name, long_running));
    let slot = match admission::slot(shared, &access.user, long_running) {
        Ok(slot) => slot,
        Err(refusal) => return Err(Box::new(((refusal, None), access))),
    };
    let mut run = match Run::start(shared, cluster, ask) {
        Ok(run) => run,
        Err(failed) => return Err(Box::new((failed.parts(), access))),
    };
    let user = Arc::clone(&access.user);
    let first = tokio::select! {
        biased;
        () = user.revoked.cancelled() => {
            let failure = Failure::Unauthorized;
            let refusal = Refusal::new(failure, Hop::Gateway, "token");
            return Err(Box::new(((refusal, None), access)));
        }
        first = first(shared, &mut run, form, until) => first,
    };
    let (content_type, body) = match first {
        Err(failed) => return Err(Box::new((failed.parts(), access))),
        Ok(First::Whole(text)) => {
            access.down = text.len() as u64;
            access.outcome = Outcome::Complete;
            ("application/json", Body::from(text))
        }
        Ok(First::Step(step)) => {
            let (content_type, style) = match form {
                Form::Lines(style) => ("text/plain; charset=utf-8", Some(style)),
                Form::Events | Form::Whole => ("text/event-stream", None),
            };
            let events = Events {
                pieces: Box::pin(stream::pieces(run, stamp, style, step)),
                flow: Arc::clone(flow),
                revoked: Box::pin(user.revoked.clone().cancelled_owned()),
                access: None,
                ended: None,
                before: None,
                _slot: slot,
            };
            (content_type, Body::Events(Box::new(events)))
        }
    };
    access.status = StatusCode::OK.as_u16();
    Ok(begun(content_type, body, access))
}

/// What decides the status of an answer.
enum First {
    /// All of it.
    Whole(String),
    /// Its first step, or that there was none for a while.
    Step(Option<Step>),
}

async fn first(
    shared: &Shared,
    run: &mut Run,
    form: Form,
    until: Option<&str>,
) -> Result<First, Failed> {
    match form {
        Form::Whole => whole::collect(shared, run, until).await.map(First::Whole),
        Form::Events | Form::Lines(_) => match timeout(limits::FIRST_EVENT, run.next()).await {
            Ok(step) => step.map(|step| First::Step(Some(step))),
            Err(_) => Ok(First::Step(None)),
        },
    }
}

/// The head of an answer of 200.
fn begun(content_type: &'static str, mut body: Body, access: Access) -> Response<Body> {
    let id = HeaderValue::from_str(&access.id);
    if let Body::Events(events) = &mut body {
        events.access = Some(access);
    }
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // nginx would keep events until its buffer is full.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Ok(id) = id {
        headers.insert(REQUEST, id);
    }
    response
}
