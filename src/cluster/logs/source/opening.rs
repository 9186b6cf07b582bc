//! What is opened next of one container's log.
//!
//! Owns the choice of run, file and place. Invariant: whatever is opened stands right behind the
//! position, or a gap was told.

use super::{Phase, Position, Reading, Source};
use crate::cluster::logs::cursor::Cursor;
use crate::cluster::logs::event::{Ended, Event, Lost};
use crate::cluster::logs::options::Since;
use crate::cluster::logs::place::{Found, Resumed};
use crate::cluster::logs::request::{File, From, Stream, Wanted};
use crate::cluster::logs::track::Track;
use crate::cluster::objects::ObjectError;
use crate::limits;

impl Source {
    /// Opens what is next: the container is, or was last, in its run `restart`.
    pub(super) async fn proceed(&mut self, restart: u32, stopped: bool) -> Result<(), ObjectError> {
        if matches!(&self.position, Position::Tracked(track) if track.untouched()) {
            // Of what was begun by number of lines, none came.
            self.position = Position::Fresh;
        }
        let Some(mark) = self.position.mark() else {
            return self.start(restart, stopped).await;
        };
        let ahead = restart.saturating_sub(mark.restart);
        if self.drained && ahead == 0 {
            // It runs again, and the API server's view of it is behind the kubelet's.
            self.wait_for(String::new());
            return Ok(());
        }
        if !self.drained && !mark.keys.is_empty() {
            let follow = self.options.follow && !stopped;
            return match self.requests.resume(&mark, self.file, follow).await? {
                Found::Place(resumed) => {
                    self.resumed(*resumed, restart, stopped);
                    Ok(())
                }
                Found::Nowhere { previous } => {
                    let reason = if previous || ahead > 0 {
                        Lost::Restarted
                    } else {
                        Lost::Rotated
                    };
                    let run = if previous {
                        restart.saturating_sub(1)
                    } else {
                        restart
                    };
                    self.gap(reason, &mark, run.max(mark.restart));
                    let file = if previous {
                        File::Previous
                    } else {
                        File::Current
                    };
                    self.open(file, From::Begin, stopped);
                    Ok(())
                }
            };
        }
        // Runs that have not begun to be read: the one before the present can still be had.
        let next = mark.restart.saturating_add(u32::from(self.drained));
        let from = if self.drained { None } else { mark.since };
        let from = from.map_or(From::Begin, From::Second);
        if restart <= next {
            self.begin(next, self.drained);
            self.open(File::Current, from, stopped);
        } else if restart == next.saturating_add(1) {
            self.begin(next, self.drained);
            self.open(File::Previous, from, stopped);
        } else {
            self.gap(Lost::Restarted, &mark, restart - 1);
            self.open(File::Previous, From::Begin, stopped);
        }
        Ok(())
    }

    /// Begins as the options say.
    async fn start(&mut self, restart: u32, stopped: bool) -> Result<(), ObjectError> {
        let from = match self.options.since {
            None => From::Begin,
            Some(Since::Second(second)) => From::Second(second),
            Some(Since::Ago(seconds)) => From::Ago(seconds),
        };
        let file = if self.options.previous {
            File::Previous
        } else {
            File::Current
        };
        let follow = self.options.follow && !stopped && !self.options.previous;
        let tail = self.options.tail;
        let track = match (tail, from) {
            (Some(0), _) => self.anchor(restart, file).await?,
            (Some(_), _) | (None, From::Ago(_)) => Track::tail(restart),
            (None, From::Begin) => Track::new(restart, None),
            (None, From::Second(second)) => Track::new(restart, Some(second)),
        };
        let cursor = if track.untouched() {
            Cursor::Start
        } else {
            track.cursor()
        };
        self.position = Position::Tracked(track);
        self.started(restart, &cursor);
        if tail == Some(0) {
            // From the anchor on, as after a cut.
            return Ok(());
        }
        let wanted = Wanted {
            file,
            from,
            tail,
            follow,
        };
        self.reading(self.requests.open(wanted), file, stopped);
        Ok(())
    }

    /// A track that ends with the last line there is. As many lines before it as a cursor holds
    /// are looked at, so that it is found again among its like.
    async fn anchor(&mut self, restart: u32, file: File) -> Result<Track, ObjectError> {
        let mut stream = self.requests.open(Wanted {
            file,
            from: From::Begin,
            tail: Some(limits::logs::KEYS as u64 + 1),
            follow: false,
        });
        let mut track = Track::tail(restart);
        while stream.more().await? {
            while let Some(line) = stream.arrived() {
                track.deliver(&line);
            }
        }
        if track.untouched() {
            track = Track::new(restart, None);
        }
        Ok(track)
    }

    /// The run before the present one, and nothing else.
    pub(super) async fn read_previous(&mut self, restart: u32) -> Result<(), ObjectError> {
        let Some(run) = restart.checked_sub(1) else {
            self.over(Ended::NoPrevious);
            return Ok(());
        };
        match self.position.mark() {
            _ if self.drained => self.over(Ended::Completed),
            None => return self.start(run, true).await,
            Some(mark) if mark.keys.is_empty() && mark.restart == run => {
                let from = mark.since.map_or(From::Begin, From::Second);
                self.begin(run, false);
                self.open(File::Previous, from, true);
            }
            Some(mark) => {
                let found = match mark.keys.is_empty() {
                    true => Found::Nowhere { previous: false },
                    false => self.requests.resume(&mark, File::Previous, false).await?,
                };
                match found {
                    Found::Place(resumed) => self.resumed(*resumed, restart, true),
                    Found::Nowhere { .. } => {
                        self.gap(Lost::Restarted, &mark, mark.restart);
                        self.over(Ended::Completed);
                    }
                }
            }
        }
        Ok(())
    }

    fn resumed(&mut self, resumed: Resumed, restart: u32, stopped: bool) {
        let Resumed {
            stream,
            mut track,
            file,
            certain,
        } = resumed;
        // The API server's view may be behind the kubelet's, and never is before it.
        let run = match file {
            File::Current => restart,
            File::Previous => restart.saturating_sub(1),
        };
        track.relabel(run.max(track.restart()));
        self.position = Position::Tracked(track);
        self.uncertain |= !certain;
        self.recovered();
        self.reading(stream, file, stopped);
    }

    /// Nothing yet of run `run`; told where it is another one than before.
    fn begin(&mut self, run: u32, another: bool) {
        let base = match self.position.mark() {
            Some(mark) if !another => mark.since,
            _ => None,
        };
        let track = Track::new(run, base);
        let cursor = track.cursor();
        self.position = Position::Tracked(track);
        self.drained = false;
        if another {
            self.started(run, &cursor);
        }
    }

    /// Told once for each run.
    fn started(&mut self, run: u32, cursor: &Cursor) {
        if self.begun.replace(run) != Some(run) {
            self.tell(Some(cursor), Event::Started { run });
        }
    }

    fn open(&mut self, file: File, from: From, stopped: bool) {
        let follow = self.options.follow && !stopped && file == File::Current;
        let wanted = Wanted {
            file,
            from,
            tail: None,
            follow,
        };
        self.reading(self.requests.open(wanted), file, stopped);
    }

    fn reading(&mut self, stream: Stream, file: File, stopped: bool) {
        self.file = file;
        self.clean = false;
        self.phase = Phase::Read(Box::new(Reading {
            stream,
            file,
            // The run before the present one has stopped, whatever the present one does.
            stopped: stopped || file == File::Previous,
            lines: 0,
        }));
    }
}
