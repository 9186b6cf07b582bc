//! `logs.follow`: containers' logs as they are written (P-80 to P-85).
//!
//! Owns what the arguments mean and how what is read is told. Owns not: the reading
//! (`cluster::logs`). Invariant: nothing is read before the stream can take it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{CommandError, Context, Done, within};
use crate::cluster::Objects;
use crate::cluster::logs::{
    self, Containers, Cursor, Follower, News, Options, Pods, Since, Spec, Told,
};
use crate::limits;
use crate::protocol::command::Cursors;
use crate::protocol::command::logs_follow::{
    Ended, Event, Forget, Gap, LeftOut, Lines, Lost, Over, Recovered, Request, Started, Trouble,
    Waiting,
};
use crate::protocol::{ErrorBody, ErrorCode};
use crate::session::StreamWriter;

pub(super) async fn run(context: Context, request: Request) -> Result<Done, CommandError> {
    let objects = context.objects();
    let Context {
        deadline,
        mut writer,
        ..
    } = context;
    let spec = spec(request, true, None)?;
    let told = tell(objects, spec, &mut writer, |_| {});
    // Boxed: a thousand of these wait at once.
    within(deadline, Box::pin(told)).await?;
    Ok(None)
}

/// Sends all that there is to tell; `seen` sees each first.
pub(super) async fn tell(
    objects: Objects,
    spec: Spec,
    writer: &mut StreamWriter,
    mut seen: impl FnMut(&News),
) -> Result<(), CommandError> {
    let mut follower = Follower::new(objects, spec);
    loop {
        writer.ready().await?;
        let Some(news) = follower.next().await? else {
            return Ok(());
        };
        seen(&news);
        writer.event(&event(news)).await?;
    }
}

/// What the arguments ask for.
pub(super) fn spec(
    request: Request,
    follow: bool,
    budget: Option<Arc<logs::Budget>>,
) -> Result<Spec, CommandError> {
    let Request {
        namespace,
        pod,
        selector,
        container,
        all_containers,
        previous,
        tail,
        since,
        since_seconds,
        resume,
    } = request;
    if !(namespace.is_empty() || is_name(&namespace)) {
        return Err(refused("the namespace is no name"));
    }
    let pods = match (pod, selector) {
        (Some(name), None) if !namespace.is_empty() && is_name(&name) => {
            Pods::Named { namespace, name }
        }
        (Some(_), None) => return Err(refused("a pod needs a name and a namespace")),
        (None, Some(labels)) => Pods::Selected { namespace, labels },
        (Some(_), Some(_)) | (None, None) => {
            return Err(refused("exactly one of pod and selector is needed"));
        }
    };
    let containers = match (container, all_containers) {
        (Some(_), true) => return Err(refused("one container, or all of them")),
        (Some(name), false) => Containers::Named(name),
        (None, true) => Containers::All,
        (None, false) => Containers::Regular,
    };
    let since = match (since, since_seconds) {
        (Some(_), Some(_)) => return Err(refused("at most one of since and since_seconds")),
        (Some(time), None) => Some(Since::Second(
            logs::stamp::Stamp::parse(time.as_bytes())
                .ok_or_else(|| refused("since is a time as 2026-11-24T11:41:00Z"))?
                .second(),
        )),
        (None, Some(seconds)) => Some(Since::Ago(seconds)),
        (None, None) => None,
    };
    // Any number above is as good as none.
    let tail = tail.filter(|tail| i64::try_from(*tail).is_ok());
    Ok(Spec {
        pods,
        containers,
        options: Options {
            follow,
            previous,
            tail,
            since,
            budget,
        },
        resume: resume.map(cursors).transpose()?,
    })
}

fn cursors(resume: Cursors) -> Result<BTreeMap<String, Cursor>, CommandError> {
    if resume.len() > limits::logs::SOURCES {
        return Err(refused("more cursors than sources are followed"));
    }
    resume
        .into_iter()
        .map(|(source, text)| {
            let cursor = Cursor::decode(&text, &source)
                .map_err(|error| refused(format!("resume: {error}")))?;
            Ok((source, cursor))
        })
        .collect()
}

/// As Kubernetes names objects: it goes into a path and into a selector, and changes neither.
fn is_name(name: &str) -> bool {
    let known = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.');
    let ends = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    (1..=253).contains(&name.len())
        && name.bytes().all(known)
        && ends(name.bytes().next())
        && ends(name.bytes().last())
}

fn refused(message: impl Into<String>) -> CommandError {
    CommandError::Told(ErrorBody::new(ErrorCode::BadRequest, message))
}

fn event(news: News) -> Event {
    match news {
        News::Told(told) => one(told),
        News::Forget(source) => Event::Forget(Forget { source }),
        News::LeftOut(count) => Event::LeftOut(LeftOut {
            count: u32::try_from(count).unwrap_or(u32::MAX),
        }),
        News::Trouble(message) => Event::Trouble(Trouble {
            source: None,
            message,
        }),
        News::Recovered => Event::Recovered(Recovered { source: None }),
    }
}

fn one(told: Told) -> Event {
    let Told {
        name,
        source,
        cursor,
        event,
    } = told;
    let (namespace, pod) = (name.namespace.clone(), name.pod.clone());
    let container = name.container.clone();
    match event {
        logs::Event::Started { run } => Event::Started(Started {
            source,
            cursor: cursor.unwrap_or_default(),
            namespace,
            pod,
            container,
            run,
        }),
        logs::Event::Lines { batch, uncertain } => {
            let entries = batch.into_entries();
            let more = (0u32..)
                .zip(&entries)
                .filter(|(_, entry)| entry.more)
                .map(|(at, _)| at)
                .collect();
            let lines = entries.into_iter().map(|entry| (entry.stamp, entry.text));
            Event::Lines(Lines {
                source,
                cursor: cursor.unwrap_or_default(),
                namespace,
                pod,
                container,
                lines: lines.collect(),
                more,
                uncertain,
            })
        }
        logs::Event::Gap { reason, after } => Event::Gap(Gap {
            source,
            cursor,
            reason: match reason {
                logs::Lost::Rotated => Lost::Rotated,
                logs::Lost::Restarted => Lost::Restarted,
                logs::Lost::Gone => Lost::Gone,
            },
            after: after.map(logs::stamp::Stamp::text),
        }),
        logs::Event::Waiting { reason } => Event::Waiting(Waiting {
            source,
            namespace,
            pod,
            container,
            reason,
        }),
        logs::Event::Trouble { message } => Event::Trouble(Trouble {
            source: Some(source),
            message,
        }),
        logs::Event::Recovered => Event::Recovered(Recovered {
            source: Some(source),
        }),
        logs::Event::Ended { reason } => Event::Ended(Ended {
            source,
            cursor,
            reason: match reason {
                logs::Ended::Completed => Over::Completed,
                logs::Ended::Read => Over::Read,
                logs::Ended::Limited => Over::Limited,
                logs::Ended::NotStarted => Over::NotStarted,
                logs::Ended::NoPrevious => Over::NoPrevious,
                logs::Ended::Unknown => Over::Unknown,
                logs::Ended::Gone => Over::Gone,
            },
        }),
    }
}
