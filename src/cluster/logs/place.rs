//! Opening a log again where it was left.
//!
//! Owns the order of attempts: the place that is expected, a search of the whole answer, the file
//! of the run before. Owns not: what is done without a place (`source`). Invariants: a stream that
//! is handed out stands right behind the last delivered line; that there is no place is only said
//! after two whole answers without one.

use std::time::Duration;

use super::align::{Checked, Place, Search, Skip};
use super::cursor::Mark;
use super::request::{File, From, Requests, Stream, Wanted};
use super::track::Track;
use crate::cluster::objects::ObjectError;
use crate::limits;

/// A stream that stands where it was left.
#[derive(Debug)]
pub(super) struct Resumed {
    pub(super) stream: Stream,
    /// What was passed: the track goes on from here.
    pub(super) track: Track,
    pub(super) file: File,
    /// The place may be a wrong one.
    pub(super) certain: bool,
}

/// What came of looking for the place.
#[derive(Debug)]
pub(super) enum Found {
    Place(Box<Resumed>),
    /// The last delivered lines are served no more.
    Nowhere {
        /// The file of the run before has lines, and all are behind the last that was delivered.
        previous: bool,
    },
}

/// What a whole answer holds.
struct Searched {
    place: Option<Place>,
    /// There was no line.
    empty: bool,
    /// Its first line is later than the last that was delivered.
    later: bool,
}

impl Requests {
    /// Opens the log behind `mark`, which has keys. `follow` goes on as lines are written;
    /// `first` is the file to look into first.
    pub(super) async fn resume(
        &self,
        mark: &Mark,
        first: File,
        follow: bool,
    ) -> Result<Found, ObjectError> {
        if let (File::Current, Some(count)) = (first, mark.count) {
            let skip = Skip::new(count, mark.first, &mark.keys);
            let expected = self.pass(mark, File::Current, follow, skip);
            if let Some((stream, track)) = expected.await? {
                return Ok(Found::Place(Box::new(Resumed {
                    stream,
                    track,
                    file: File::Current,
                    certain: true,
                })));
            }
        }
        // Lines may be rotated away between a search and the request that uses what it found; an
        // answer may break off without a sign, or come from a file that is just being made. So
        // only what is missed twice is believed, and an empty file not even then.
        let (mut misses, mut moves) = (0, 0);
        loop {
            let (mut previous, mut empty, mut moved) = (false, true, false);
            let files = match first {
                File::Current => [File::Current, File::Previous],
                File::Previous => [File::Previous, File::Current],
            };
            for file in files {
                let searched = self.search(mark, file).await?;
                match file {
                    File::Previous => previous = searched.later,
                    File::Current => empty = searched.empty,
                }
                let Some(place) = searched.place else {
                    continue;
                };
                let known = &mark.keys[mark.keys.len() - place.known..];
                let skip = Skip::new(place.skip, None, known);
                if let Some((stream, track)) = self.pass(mark, file, follow, skip).await? {
                    return Ok(Found::Place(Box::new(Resumed {
                        stream,
                        track,
                        file,
                        certain: place.certain,
                    })));
                }
                moved = true;
                break;
            }
            if moved {
                moves += 1;
                if moves == limits::logs::ALIGN_TRIES {
                    return Err(ObjectError::Malformed("a log that is rotated all the time"));
                }
                continue;
            }
            misses += 1;
            if misses == limits::logs::EMPTY_TRIES || (misses == 2 && !empty) {
                return Ok(Found::Nowhere { previous });
            }
            if empty {
                tokio::time::sleep(limits::logs::EMPTY_AGAIN).await;
            }
        }
    }

    /// Passes what was delivered; nothing when the answer is another.
    async fn pass(
        &self,
        mark: &Mark,
        file: File,
        follow: bool,
        mut skip: Skip,
    ) -> Result<Option<(Stream, Track)>, ObjectError> {
        let follow = follow && file == File::Current;
        // A followed file says nothing more where the last expected line was rotated away.
        let patience = if follow {
            limits::logs::ALIGN_IDLE
        } else {
            limits::BODY_IDLE
        };
        let mut stream = self.open(Wanted {
            file,
            from: from(mark),
            tail: None,
            follow,
        });
        let mut track = Track::passing(mark);
        while !skip.aligned() {
            let line = match stream.arrived() {
                Some(line) => line,
                None => match within(patience, stream.more()).await {
                    None => return Ok(None),
                    Some(Err(error)) => return missing(file, error).map(|()| None),
                    Some(Ok(true)) => continue,
                    Some(Ok(false)) => match stream.rest() {
                        Some(line) => line,
                        None => return Ok(None),
                    },
                },
            };
            track.deliver(&line);
            if skip.check(line.key) == Checked::Other {
                return Ok(None);
            }
        }
        Ok(Some((stream, track)))
    }

    /// Looks through a whole file.
    async fn search(&self, mark: &Mark, file: File) -> Result<Searched, ObjectError> {
        let mut stream = self.open(Wanted {
            file,
            from: from(mark),
            tail: None,
            follow: false,
        });
        let mut search = Search::new(&mark.keys, mark.count);
        let mut first = None;
        loop {
            while let Some(line) = stream.arrived() {
                first.get_or_insert(line.stamp);
                search.push(line.key);
            }
            match within(limits::BODY_IDLE, stream.more()).await {
                Some(Ok(true)) => {}
                Some(Ok(false)) => break,
                Some(Err(error)) => {
                    missing(file, error)?;
                    break;
                }
                None => return Err(ObjectError::Malformed("a log that stopped in the middle")),
            }
        }
        if let Some(line) = stream.rest() {
            first.get_or_insert(line.stamp);
            search.push(line.key);
        }
        Ok(Searched {
            place: search.place(),
            empty: first.is_none(),
            later: first > mark.stamp,
        })
    }
}

/// That there is no file of a run before is an answer, not a fault.
fn missing(file: File, error: ObjectError) -> Result<(), ObjectError> {
    match (file, &error) {
        (File::Previous, ObjectError::Refused(refusal)) if refusal.status == 400 => Ok(()),
        _ => Err(error),
    }
}

fn from(mark: &Mark) -> From {
    mark.since.map_or(From::Begin, From::Second)
}

async fn within<T>(time: Duration, work: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(time, work).await.ok()
}
