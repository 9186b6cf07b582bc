//! Requests for the log of one container, and their answers as lines.
//!
//! Owns how such a request is spelled and what its failures mean. Owns not: where in an answer to
//! go on (`place`). Invariant: an answer is read only as far as lines of it are asked for.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::line::{Line, Splitter};
use super::pod::Pod;
use super::stamp::seconds_text;
use crate::cluster::objects::{Collection, ObjectError, Objects};
use crate::cluster::proxy::ResponseBody;
use crate::limits;

/// One container of one pod.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Name {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// The pod's UID.
    pub uid: String,
    /// The container.
    pub container: String,
}

impl Name {
    /// What it is called towards the requester: UID and container, which no other log shares.
    #[must_use]
    pub fn source(&self) -> String {
        format!("{}/{}", self.uid, self.container)
    }
}

/// Which of a container's two files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum File {
    /// Of its present run, or of its last where it waits for the next.
    Current,
    /// Of the run before that.
    Previous,
}

/// From where in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    /// Its begin.
    Begin,
    /// The first line of this second or later.
    Second(i64),
    /// The first line of so many seconds ago, by the node's clock.
    Ago(u64),
}

/// What is asked of a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) file: File,
    pub(super) from: From,
    /// Of that only so many lines, the last.
    pub(super) tail: Option<u64>,
    /// Goes on as lines are written.
    pub(super) follow: bool,
}

/// The way to one container's log.
#[derive(Debug, Clone)]
pub(super) struct Requests {
    pub(super) objects: Objects,
    pub(super) name: Arc<Name>,
}

impl Requests {
    fn pods(&self) -> Collection {
        Collection::new("", "v1", "pods").within(&self.name.namespace)
    }

    /// The pod as it is now.
    pub(super) async fn pod(&self) -> Result<Pod, ObjectError> {
        self.objects.get(&self.pods().item(&self.name.pod)).await
    }

    /// Asks for a file. The answer is waited for when lines are.
    pub(super) fn open(&self, wanted: Wanted) -> Stream {
        let mut target = self.pods().below(&self.name.pod, "log");
        target.push_str("?timestamps=true&container=");
        // A container's name is a DNS label: letters, digits and dashes.
        target.push_str(&self.name.container);
        if wanted.file == File::Previous {
            target.push_str("&previous=true");
        }
        if wanted.follow {
            target.push_str("&follow=true");
        }
        match wanted.from {
            From::Begin => {}
            From::Second(second) => {
                target.push_str("&sinceTime=");
                target.push_str(&seconds_text(second));
            }
            From::Ago(seconds) => target.push_str(&format!("&sinceSeconds={seconds}")),
        }
        if let Some(tail) = wanted.tail {
            target.push_str(&format!("&tailLines={tail}"));
        }
        // The kubelet sends the head with the first line: for a quiet container after hours.
        let objects = self.objects.clone().within(if wanted.follow {
            limits::logs::SILENCE
        } else {
            limits::OBJECT_CALL
        });
        Stream {
            state: State::Opening(Box::pin(async move {
                objects.open(&target, "application/json, */*").await
            })),
            splitter: Splitter::new(),
            opened: false,
        }
    }
}

/// An answer: lines, one after the other.
pub(super) struct Stream {
    state: State,
    splitter: Splitter,
    opened: bool,
}

enum State {
    Opening(Pin<Box<dyn Future<Output = Result<ResponseBody, ObjectError>> + Send>>),
    Open(ResponseBody),
    /// All was read, and the answer was complete.
    Ended,
    /// It broke off.
    Broken,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").finish_non_exhaustive()
    }
}

impl Stream {
    /// The next line of those that have arrived.
    pub(super) fn arrived(&mut self) -> Option<Line> {
        self.splitter.next_line()
    }

    /// Waits for more; false when there is no more. All lines that arrived must have been taken.
    ///
    /// # Cancel safety
    /// Bytes are taken only when it returns.
    pub(super) async fn more(&mut self) -> Result<bool, ObjectError> {
        std::future::poll_fn(|cx| self.poll_more(cx)).await
    }

    /// As [`Stream::more`].
    pub(super) fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, ObjectError>> {
        loop {
            match &mut self.state {
                State::Opening(opening) => match ready!(opening.as_mut().poll(cx)) {
                    Ok(body) => {
                        self.opened = true;
                        self.state = State::Open(body);
                    }
                    Err(error) => {
                        self.state = State::Broken;
                        return Poll::Ready(Err(error));
                    }
                },
                State::Open(body) => {
                    return Poll::Ready(match ready!(body.poll_chunk(cx)) {
                        Ok(Some(chunk)) => {
                            self.splitter.push(chunk);
                            Ok(true)
                        }
                        Ok(None) => {
                            self.state = State::Ended;
                            Ok(false)
                        }
                        Err(error) => {
                            self.state = State::Broken;
                            Err(error.into())
                        }
                    });
                }
                State::Ended | State::Broken => return Poll::Ready(Ok(false)),
            }
        }
    }

    /// Whether its head has come.
    pub(super) const fn opened(&self) -> bool {
        self.opened
    }

    /// Whether the answer was read to its end.
    pub(super) const fn ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// What stands behind the last line end of what was read, by a key.
    pub(super) fn unended(&self) -> Option<u32> {
        self.splitter.unended()
    }

    /// A last line without an end; only where the answer was read to its end.
    pub(super) fn rest(&mut self) -> Option<Line> {
        std::mem::take(&mut self.splitter).rest()
    }
}
