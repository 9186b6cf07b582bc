//! From a request's head and body to what is asked.
//!
//! Owns the headers and the body of `POST /clusters/{id}/commands/{name}`, and the two headers that
//! the other paths have as well. Invariant: whatever a caller sends, a command that could end the
//! agent's session (too large, too deep) is refused here.

use std::time::Duration;

use http::{HeaderMap, Request, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::{Map, Value};
use tokio::time::timeout;

use super::course::{Course, Offered};
use super::cursors::{Cursors, Stamp};
use super::lines::Style;
use super::run::Ask;
use crate::gateway::access::Access;
use crate::gateway::failures::Refusal;
use crate::kubeapi::status::{Failure, Hop};
use crate::limits;
use crate::protocol::codec;

/// The form of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Server-sent events.
    Events,
    /// One JSON object at the end.
    Whole,
    /// Lines of text, of logs only.
    Lines(Style),
}

/// What the header Accept asks for, of the two that commands have.
pub(crate) fn accepted(headers: &HeaderMap) -> Option<Form> {
    let has = |name: &str| {
        headers.get_all(header::ACCEPT).iter().any(|value| {
            let value = value.to_str().unwrap_or_default();
            value.to_ascii_lowercase().contains(name)
        })
    };
    if has("text/event-stream") {
        Some(Form::Events)
    } else {
        has("application/json").then_some(Form::Whole)
    }
}

pub(crate) fn bad(message: impl Into<String>) -> Refusal {
    let message = message.into();
    Refusal::new(Failure::BadCommand { message }, Hop::Gateway, "bad_command")
}

fn too_large(message: &str) -> Refusal {
    let message = message.to_owned();
    Refusal::new(Failure::TooLarge { message }, Hop::Gateway, "too_large")
}

/// A header that may come once, as text.
pub(crate) fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Refusal> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    let text = first.map(|value| {
        value
            .to_str()
            .map_err(|_| bad(format!("{name} is no text")))
    });
    if values.next().is_some() {
        return Err(bad(format!("{name} comes more than once")));
    }
    text.transpose()
}

/// The arguments in the body; none are an empty object.
pub(crate) async fn body(
    body: Incoming,
    access: &mut Access,
) -> Result<Map<String, Value>, Refusal> {
    let read = Limited::new(body, limits::COMMAND_BODY).collect();
    let bytes = match timeout(limits::COMMAND_BODY_DEADLINE, read).await {
        Ok(Ok(read)) => read.to_bytes(),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            let most = limits::COMMAND_BODY / 1024;
            return Err(too_large(&format!(
                "the arguments are more than {most} KiB"
            )));
        }
        Ok(Err(_)) => return Err(bad("the body broke off")),
        Err(_) => return Err(bad("the body took too long")),
    };
    access.up = bytes.len() as u64;
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(Map::new());
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| bad("the body is not UTF-8"))?;
    if codec::depth(text) > limits::COMMAND_DEPTH {
        return Err(bad("the arguments are nested too deep"));
    }
    serde_json::from_str(text).map_err(|error| bad(format!("the body is not an object: {error}")))
}

/// How long the command may take: as asked, or for what ends soon its default.
pub(crate) fn deadline(
    offered: Offered,
    headers: &HeaderMap,
    query: Option<&str>,
) -> Result<Option<Duration>, Refusal> {
    let header = single(headers, "x-deadline-ms")?;
    let asked = match (header, query) {
        (Some(_), Some(_)) => return Err(bad("the deadline is given twice")),
        (header, query) => header.or(query),
    };
    let Some(text) = asked else {
        return Ok(match offered.course {
            Course::Observes => None,
            Course::Reads | Course::Changes => Some(limits::HEAD_DEADLINE),
        });
    };
    let most = limits::COMMAND_DEADLINE;
    text.parse()
        .ok()
        .map(Duration::from_millis)
        .filter(|asked| !asked.is_zero() && *asked <= most)
        .map(Some)
        .ok_or_else(|| {
            bad(format!(
                "a deadline is 1 to {} milliseconds",
                most.as_millis()
            ))
        })
}

/// The key under which a change is made once (P-73). What changes nothing needs none.
pub(crate) fn key(offered: Offered, headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let Some(key) = single(headers, "idempotency-key")? else {
        return Ok(None);
    };
    if !(1..=128).contains(&key.len()) || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(bad(
            "an Idempotency-Key is 1 to 128 visible ASCII characters",
        ));
    }
    Ok((offered.course == Course::Changes).then(|| key.to_owned()))
}

/// Which time it is that the caller sends the key (P-29). An agent that was started since the first
/// one knows no key, and would take a second one for a first.
pub(crate) fn attempt(headers: &HeaderMap) -> Result<u32, Refusal> {
    let Some(text) = single(headers, "idempotency-attempt")? else {
        return Ok(1);
    };
    text.parse()
        .ok()
        .filter(|attempt| (1..=limits::ATTEMPTS).contains(attempt))
        .ok_or_else(|| {
            bad(format!(
                "an Idempotency-Attempt is 1 to {}",
                limits::ATTEMPTS
            ))
        })
}

/// Where the caller stands: the id of the last event that it got, or the `resume` of its arguments.
pub(crate) fn position(
    offered: Offered,
    headers: &HeaderMap,
    args: &mut Map<String, Value>,
) -> Result<(Stamp, Cursors, bool), Refusal> {
    let resume = args.remove("resume");
    let text = serde_json::to_string(&args).expect("what was read as JSON is written as JSON");
    let stamp = Stamp::of(offered.name, &text);
    // A client that has had no id yet sends none, or an empty one.
    let id = single(headers, "last-event-id")?.filter(|id| !id.is_empty());
    let cursors = match (id, resume) {
        (Some(id), _) => Cursors::from_id(id, stamp).map_err(|error| bad(error.to_string()))?,
        (None, Some(resume)) => Cursors::read_resume(&resume)
            .ok_or_else(|| bad("resume maps at most 256 sources to their cursors"))?,
        (None, None) => return Ok((stamp, Cursors::default(), false)),
    };
    Ok((stamp, cursors, id.is_some()))
}

/// An [`Ask`] without what the caller's token says.
pub(crate) fn traceparent(headers: &HeaderMap) -> Option<String> {
    let value = headers.get("traceparent")?;
    value.to_str().ok().map(str::to_owned)
}

/// What of a request is asked, apart from its arguments.
pub(crate) fn ask(
    offered: Offered,
    request: &Request<()>,
    mut args: Map<String, Value>,
    deadline_query: Option<&str>,
    access: &Access,
) -> Result<(Ask, Stamp), Refusal> {
    let headers = request.headers();
    let positioned = args.contains_key("resume");
    let (stamp, cursors, resumed) = position(offered, headers, &mut args)?;
    let positioned = positioned || resumed;
    let key = key(offered, headers)?;
    let ask = Ask {
        id: access.id.clone(),
        offered,
        args,
        actor: access.user.actor.clone(),
        attempt: if key.is_some() { attempt(headers)? } else { 1 },
        key,
        deadline: deadline(offered, headers, deadline_query)?,
        traceparent: traceparent(headers),
        cursors,
        positioned,
        resumed,
    };
    Ok((ask, stamp))
}
