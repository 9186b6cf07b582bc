//! `services.watch`: the services, and what becomes of them (P-91).
//!
//! Owns the two followers behind the state that `services.list` describes. Its pace is [`live`]'s.

use std::task::{Context as Polled, Poll};

use super::live::{self, News, State, Watched};
use super::services_list::object::{Service, Slice};
use super::services_list::state::{Piece, Services};
use super::services_list::{services, slices};
use super::{CommandError, Context, Done};
use crate::cluster::ObjectError;
use crate::cluster::objects::{Change, Follower, Synced};
use crate::protocol::command::services_watch::{Event, Name, Request};

pub(super) async fn run(mut context: Context, request: Request) -> Result<Done, CommandError> {
    let objects = context.objects();
    let (of_services, of_slices) = (services(&request.namespace), slices(&request.namespace));
    let resume = live::cursor(&request.resume)?;
    let (services, slices) = match resume {
        None => (objects.follow(of_services), objects.follow(of_slices)),
        Some(cursor) => {
            let [services, slices] = live::split('s', cursor)?;
            (
                objects.follow_state(of_services, services),
                objects.follow_state(of_slices, slices),
            )
        }
    };
    let state = Watching {
        services,
        slices,
        begun: [None; 2],
        state: Services::default(),
        turn: false,
    };
    match live::run(state, &mut context.writer, resume.is_some()).await? {}
}

struct Watching {
    services: Follower<Service, Option<Name>>,
    slices: Follower<Slice, Option<Name>>,
    begun: [Option<Synced>; 2],
    state: Services,
    /// Which one is asked first: they take turns.
    turn: bool,
}

impl Watching {
    fn poll_services(&mut self, cx: &mut Polled<'_>) -> Poll<Result<News, ObjectError>> {
        self.services.poll_next(cx).map_ok(|change| match change {
            Change::Added { uid, object } | Change::Changed { uid, object, .. } => {
                let name = self.state.service(object);
                self.services.keep(uid, Some(name));
                News::Changed
            }
            Change::Deleted { old, .. } => {
                if let Some(name) = old {
                    self.state.no_service(name);
                }
                News::Changed
            }
            Change::Synced(how) => live::begun(&mut self.begun[0], how),
            Change::Relisting => News::Changed,
            Change::Moved => News::Moved,
            Change::Interrupted(error) => News::Interrupted(error),
            Change::Restored => News::Restored,
        })
    }

    fn poll_slices(&mut self, cx: &mut Polled<'_>) -> Poll<Result<News, ObjectError>> {
        self.slices.poll_next(cx).map_ok(|change| match change {
            Change::Added { uid, object } | Change::Changed { uid, object, .. } => {
                let name = self.state.slice(object);
                self.slices.keep(uid, Some(name));
                News::Changed
            }
            Change::Deleted { uid, old } => {
                if let Some(name) = old {
                    self.state.no_slice(uid, name);
                }
                News::Changed
            }
            Change::Synced(how) => live::begun(&mut self.begun[1], how),
            Change::Relisting => News::Changed,
            Change::Moved => News::Moved,
            Change::Interrupted(error) => News::Interrupted(error),
            Change::Restored => News::Restored,
        })
    }
}

impl State for Watching {
    type Event = Event;

    fn poll(&mut self, cx: &mut Polled<'_>) -> Poll<Result<News, ObjectError>> {
        self.turn = !self.turn;
        // What the reader knows is the moment at which each began. One that went on before the other
        // has begun would take a change into it that nobody was told of.
        let beginning = self.begun.contains(&None);
        for services in [self.turn, !self.turn] {
            if beginning && self.begun[usize::from(!services)].is_some() {
                continue;
            }
            let polled = if services {
                self.poll_services(cx)
            } else {
                self.poll_slices(cx)
            };
            if polled.is_ready() {
                return polled;
            }
        }
        Poll::Pending
    }

    fn begun(&self) -> Option<Synced> {
        live::all_begun(&self.begun)
    }

    fn whole(&self) -> bool {
        self.services.whole() && self.slices.whole()
    }

    fn settle(&mut self) {
        self.state.settle();
    }

    fn pending(&self) -> bool {
        self.state.pending()
    }

    fn begin(&mut self) {
        self.state.begin();
    }

    fn next(&mut self) -> Option<Event> {
        self.state.next().map(|piece| match piece {
            Piece::Services(services) => Event::Services(services),
            Piece::Removed(removed) => Event::Removed(removed),
        })
    }

    fn cursor(&self) -> String {
        live::join('s', [self.services.version(), self.slices.version()])
    }
}

impl From<Watched> for Event {
    fn from(watched: Watched) -> Self {
        match watched {
            Watched::Synced(synced) => Self::Synced(synced),
            Watched::Reset(reset) => Self::Reset(reset),
            Watched::Interrupted(interrupted) => Self::Interrupted(interrupted),
            Watched::Restored(restored) => Self::Restored(restored),
        }
    }
}
