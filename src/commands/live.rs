//! A state that is watched: the whole of it, then what has changed, at most so often (P-87 to P-89).
//!
//! Owns the pace of `services.watch` and `status.watch`, and what is told of the API server's
//! failures. Owns not: the state. Invariants: nothing is queued but what is about to be sent; a
//! slow reader gets the newest state, later; after each `synced` its reader knows the state of one
//! moment, from which the cursor resumes.

use std::task::{Context, Poll};

use serde::Serialize;
use tokio::time::Instant;

use super::CommandError;
use crate::cluster::ObjectError;
use crate::cluster::objects::Synced as Listed;
use crate::limits;
use crate::protocol::command::Cursors;
use crate::protocol::command::watched::{Interrupted, Reset, Restored, Synced};
use crate::protocol::{ErrorBody, ErrorCode};
use crate::session::StreamWriter;

/// What a state has just taken in.
#[derive(Debug)]
pub(super) enum News {
    /// A change, or nothing that anybody sees.
    Changed,
    /// Only the cursor has moved on.
    Moved,
    /// The API server does not answer as it should.
    Interrupted(ObjectError),
    /// It answers again.
    Restored,
}

/// What the watching says of itself.
#[derive(Debug)]
pub(super) enum Watched {
    Synced(Synced),
    Reset(Reset),
    Interrupted(Interrupted),
    Restored(Restored),
}

/// A state made of what followers bring.
pub(super) trait State: Send {
    /// What is told of it.
    type Event: Serialize + Send + Sync + From<Watched>;

    /// Takes the next change in.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<News, ObjectError>>;
    /// How it began, once everything was listed.
    fn begun(&self) -> Option<Listed>;
    /// Whether nothing of it is just being listed again.
    fn whole(&self) -> bool;
    /// Its reader knows it as it is now.
    fn settle(&mut self);
    /// Whether there is something to tell.
    fn pending(&self) -> bool;
    /// What is to be told up to now becomes what [`State::next`] tells.
    fn begin(&mut self);
    /// The next event.
    fn next(&mut self) -> Option<Self::Event>;
    /// Where to resume once all is told.
    fn cursor(&self) -> String;
}

/// Notes how a collection's first listing came about; of later ones the changes tell all.
pub(super) fn begun(slot: &mut Option<Listed>, how: Listed) -> News {
    slot.get_or_insert(how);
    News::Changed
}

/// How a state of several collections began: resumed only if each was.
pub(super) fn all_begun(slots: &[Option<Listed>]) -> Option<Listed> {
    let mut all = Listed::Resumed;
    for slot in slots {
        if (*slot)? != Listed::Resumed {
            all = Listed::First;
        }
    }
    Some(all)
}

/// The one cursor of a command without sources.
///
/// # Errors
/// For any other source (P-71).
pub(super) fn cursor(resume: &Cursors) -> Result<Option<&str>, CommandError> {
    match resume.len() {
        0 => Ok(None),
        1 => match resume.get("") {
            Some(cursor) => Ok(Some(cursor)),
            None => Err(foreign()),
        },
        _ => Err(foreign()),
    }
}

/// A cursor that nobody of ours wrote.
pub(super) fn foreign() -> CommandError {
    CommandError::Told(ErrorBody::new(
        ErrorCode::BadRequest,
        "the cursor is none of this command",
    ))
}

/// Several resourceVersions as one cursor.
pub(super) fn join<'a>(letter: char, versions: impl IntoIterator<Item = &'a str>) -> String {
    let mut cursor = String::from(letter);
    for version in versions {
        cursor.push(':');
        cursor.push_str(version);
    }
    cursor
}

/// The resourceVersions of a cursor that [`join`] made.
///
/// # Errors
/// `bad_request` for any other.
pub(super) fn split<const N: usize>(letter: char, cursor: &str) -> Result<[&str; N], CommandError> {
    let plain = |version: &&str| {
        !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    let versions = cursor
        .strip_prefix(letter)
        .and_then(|rest| rest.strip_prefix(':'))
        .filter(|rest| rest.len() <= limits::CURSOR)
        .ok_or_else(foreign)?;
    let versions: Vec<&str> = versions.split(':').filter(plain).collect();
    versions.try_into().map_err(|_| foreign())
}

/// Tells a state and what becomes of it, until the stream is gone or nothing more can be had.
pub(super) async fn run<S: State>(
    state: S,
    writer: &mut StreamWriter,
    resumes: bool,
) -> Result<std::convert::Infallible, CommandError> {
    let mut live = Live {
        state,
        writer,
        trouble: None,
        told: false,
        moved: false,
    };
    let begun = loop {
        live.take().await?;
        if let Some(begun) = live.state.begun() {
            break begun;
        }
    };
    if begun == Listed::Resumed {
        live.state.settle();
    } else if resumes {
        live.tell(Watched::Reset(Reset {})).await?;
    }
    live.flush().await?;
    let mut flushed = Instant::now();
    loop {
        let due = live.state.pending() && live.state.whole();
        let moved = live.moved;
        tokio::select! {
            biased;
            () = tokio::time::sleep_until(flushed + limits::LIVE_EVERY), if due => {
                live.flush().await?;
                flushed = Instant::now();
            }
            // A cursor that does not move grows too old to resume from.
            () = tokio::time::sleep_until(flushed + limits::LIVE_CURSOR), if moved && !due => {
                live.synced().await?;
                flushed = Instant::now();
            }
            taken = live.take() => taken?,
        }
        live.trouble().await?;
    }
}

struct Live<'a, S> {
    state: S,
    writer: &'a mut StreamWriter,
    trouble: Option<Interrupted>,
    /// The reader knows of the trouble.
    told: bool,
    /// The cursor has, since it was told.
    moved: bool,
}

impl<S: State> Live<'_, S> {
    async fn take(&mut self) -> Result<(), CommandError> {
        std::future::poll_fn(|cx| self.poll_take(cx)).await
    }

    fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CommandError>> {
        self.state.poll(cx).map(|news| {
            match news? {
                News::Changed => {}
                News::Moved => self.moved = true,
                News::Interrupted(error) => {
                    let ErrorBody { code, message } = CommandError::from(error).body();
                    self.trouble = Some(Interrupted { code, message });
                }
                News::Restored => self.trouble = None,
            }
            Ok(())
        })
    }

    /// Room to tell something. The state goes on meanwhile.
    async fn room(&mut self) -> Result<(), CommandError> {
        std::future::poll_fn(|cx| {
            loop {
                if let Poll::Ready(room) = self.writer.poll_ready(cx) {
                    return Poll::Ready(room.map(drop).map_err(CommandError::Stream));
                }
                match self.poll_take(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await
    }

    async fn tell(&mut self, watched: Watched) -> Result<(), CommandError> {
        self.room().await?;
        Ok(self.writer.event(&S::Event::from(watched)).await?)
    }

    async fn flush(&mut self) -> Result<(), CommandError> {
        self.state.begin();
        let cursor = self.state.cursor();
        self.moved = false;
        loop {
            self.room().await?;
            // Made when there is room for it: it is the newest there is.
            let Some(event) = self.state.next() else {
                break;
            };
            self.writer.event(&event).await?;
        }
        self.tell(Watched::Synced(Synced { cursor })).await
    }

    async fn synced(&mut self) -> Result<(), CommandError> {
        self.moved = false;
        let cursor = self.state.cursor();
        self.tell(Watched::Synced(Synced { cursor })).await
    }

    async fn trouble(&mut self) -> Result<(), CommandError> {
        match (&self.trouble, self.told) {
            (Some(trouble), false) => {
                self.told = true;
                let trouble = trouble.clone();
                self.tell(Watched::Interrupted(trouble)).await
            }
            (None, true) => {
                self.told = false;
                self.tell(Watched::Restored(Restored {})).await
            }
            (Some(_), true) | (None, false) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back_and_nothing_else_is_one() {
        let cursor = join('s', ["12", "9000000000"]);
        assert_eq!(split::<2>('s', &cursor).unwrap(), ["12", "9000000000"]);
        for other in [
            "",
            "s",
            "s:",
            "s:1",
            "s:1:",
            "s:1:2:3",
            "t:1:2",
            "s:1:2&x=1",
            "s::1",
        ] {
            assert!(split::<2>('s', other).is_err(), "{other}");
        }
        let long = join('s', ["1", &"2".repeat(limits::CURSOR)]);
        assert!(split::<2>('s', &long).is_err());
    }

    #[test]
    fn a_command_without_sources_has_one_cursor() {
        let of = |pairs: &[(&str, &str)]| -> Cursors {
            let owned = pairs
                .iter()
                .map(|(source, cursor)| ((*source).into(), (*cursor).into()));
            owned.collect()
        };
        assert_eq!(cursor(&of(&[])).unwrap(), None);
        assert_eq!(cursor(&of(&[("", "s:1")])).unwrap(), Some("s:1"));
        assert!(cursor(&of(&[("a", "s:1")])).is_err());
        assert!(cursor(&of(&[("", "s:1"), ("a", "s:1")])).is_err());
    }
}
