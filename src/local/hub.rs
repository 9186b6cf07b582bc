//! One source of updates and many clients.
//!
//! Owns the queues, what a new client is told first, and who is dropped. Owns not: what the updates
//! say (`collect`) nor how they travel (`events`, `websocket`). Invariants: an update is made and
//! written once, however many there are to hear it; nobody waits for a client: one whose queue is
//! full, or who has taken nothing for too long, is cut off, and the others hear nothing of it; ids
//! rise, and an id of another process is none.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use prometheus_client::metrics::counter::Counter;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::accept::Hold;
use crate::limits;

/// What one can subscribe to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Channel {
    Health,
    Metrics,
    Events,
    Status,
    Commands,
    /// One of the operator's own, by its place.
    Own(u8),
}

impl Channel {
    pub(super) const ALL: [Self; 5] = [
        Self::Status,
        Self::Health,
        Self::Metrics,
        Self::Events,
        Self::Commands,
    ];

    const fn place(self) -> usize {
        match self {
            Self::Health => 0,
            Self::Metrics => 1,
            Self::Events => 2,
            Self::Status => 3,
            Self::Commands => 4,
            Self::Own(place) => Self::ALL.len() + place as usize,
        }
    }

    const fn bit(self) -> u32 {
        1 << self.place()
    }
}

/// Some of the channels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Channels(u32);

impl Channels {
    pub(super) const fn with(self, channel: Channel) -> Self {
        Self(self.0 | channel.bit())
    }

    pub(super) const fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    pub(super) const fn has(self, channel: Channel) -> bool {
        self.0 & channel.bit() != 0
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// One update, as it is sent over either way.
#[derive(Debug)]
pub(super) struct Update {
    number: u64,
    pub(super) sse: Bytes,
    pub(super) websocket: Utf8Bytes,
}

/// The hub of one server. Cloning shares it.
#[derive(Debug, Clone)]
pub(super) struct Hub {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// This process, in ids.
    epoch: String,
    state: Mutex<State>,
    wanted: watch::Sender<Channels>,
    dropped: Counter,
    /// The operator's own channels, by name.
    own: Vec<String>,
    /// Those that the configuration has switched off: nobody can ask for them.
    off: Channels,
}

#[derive(Debug, Default)]
struct State {
    number: u64,
    /// The last update of each channel that is a state.
    latest: [Option<Arc<Update>>; Channel::ALL.len() + limits::EXTENSION_CHANNELS],
    events: VecDeque<Arc<Update>>,
    clients: Vec<Entry>,
    client: u64,
}

#[derive(Debug)]
struct Entry {
    id: u64,
    channels: Channels,
    queue: mpsc::Sender<Arc<Update>>,
    taken: Arc<Mutex<Instant>>,
    /// Since when something waits.
    waits: Instant,
    hold: Arc<Hold>,
}

impl Hub {
    pub(super) fn new(epoch: u64, dropped: Counter, own: Vec<String>, off: Channels) -> Self {
        Self {
            inner: Arc::new(Inner {
                epoch: format!("{epoch:x}"),
                state: Mutex::default(),
                wanted: watch::Sender::new(Channels::default()),
                dropped,
                own,
                off,
            }),
        }
    }

    /// Every channel that there is.
    fn all(&self) -> impl Iterator<Item = Channel> + '_ {
        let own = (0..)
            .zip(&self.inner.own)
            .map(|(place, _)| Channel::Own(place));
        let all = Channel::ALL.into_iter().chain(own);
        all.filter(|channel| !self.inner.off.has(*channel))
    }

    fn name(&self, channel: Channel) -> &str {
        match channel {
            Channel::Health => "health",
            Channel::Metrics => "metrics",
            Channel::Events => "events",
            Channel::Status => "status",
            Channel::Commands => "commands",
            Channel::Own(place) => self
                .inner
                .own
                .get(usize::from(place))
                .map_or("", |name| name),
        }
    }

    /// The names of every channel.
    pub(super) fn names(&self) -> Vec<&str> {
        self.all().map(|channel| self.name(channel)).collect()
    }

    /// What somebody is told who names none: the agent and its cluster, but not its commands.
    pub(super) fn usual(&self) -> Channels {
        let own = |channel: &Channel| matches!(channel, Channel::Own(_) | Channel::Commands);
        let usual = self.all().filter(|channel| !own(channel));
        usual.fold(Channels::default(), Channels::with)
    }

    /// The channels of these names, or the first that is none.
    pub(super) fn parse<'n>(
        &self,
        names: impl IntoIterator<Item = &'n str>,
    ) -> Result<Channels, &'n str> {
        names
            .into_iter()
            .try_fold(Channels::default(), |all, name| {
                let found = self.all().find(|channel| self.name(*channel) == name);
                found.map(|channel| all.with(channel)).ok_or(name)
            })
    }

    /// What somebody wants.
    pub(super) fn wanted(&self) -> watch::Receiver<Channels> {
        self.inner.wanted.subscribe()
    }

    /// Tells everybody who wants it. A client that does not read is cut off.
    pub(super) fn publish(&self, channel: Channel, at: &str, data: &Value) {
        let mut state = self.lock();
        state.number += 1;
        let update = Arc::new(self.write(channel, state.number, at, data));
        if channel == Channel::Events {
            if state.events.len() >= limits::LOCAL_EVENTS {
                state.events.pop_front();
            }
            state.events.push_back(Arc::clone(&update));
        } else {
            state.latest[channel.place()] = Some(Arc::clone(&update));
        }
        let now = Instant::now();
        let before = state.clients.len();
        state
            .clients
            .retain_mut(|client| !client.channels.has(channel) || client.tell(&update, now));
        let dropped = before - state.clients.len();
        if dropped > 0 {
            self.inner.dropped.inc_by(dropped as u64);
            tracing::debug!(dropped, "Clients that do not read dropped");
            self.want(&state);
        }
    }

    fn write(&self, channel: Channel, number: u64, at: &str, data: &Value) -> Update {
        let (name, epoch) = (self.name(channel), &self.inner.epoch);
        // Neither a JSON text nor a time has a line end in it.
        let websocket = format!(
            r#"{{"type":"update","channel":"{name}","id":"{epoch}-{number}","at":"{at}","data":{data}}}"#
        );
        Update {
            number,
            sse: format!("event: {name}\nid: {epoch}-{number}\ndata: {data}\n\n").into(),
            websocket: websocket.into(),
        }
    }

    /// Nothing of the channel is known any more.
    pub(super) fn forget(&self, channel: Channel) {
        let mut state = self.lock();
        if channel == Channel::Events {
            state.events.clear();
        } else {
            state.latest[channel.place()] = None;
        }
    }

    /// A new client, which is told first how everything stands; where it has been here before,
    /// what it has missed. Its connection is cut off when it does not read.
    pub(super) fn enter(&self, channels: Channels, last: Option<&str>, hold: Arc<Hold>) -> Client {
        let (sender, queue) = mpsc::channel(limits::LOCAL_QUEUE);
        let now = Instant::now();
        let taken = Arc::new(Mutex::new(now));
        let mut state = self.lock();
        state.client += 1;
        let id = state.client;
        state.clients.push(Entry {
            id,
            channels: Channels::default(),
            queue: sender,
            taken: Arc::clone(&taken),
            waits: now,
            hold,
        });
        self.add(&mut state, id, channels, last);
        Client {
            id,
            hub: self.clone(),
            queue,
            taken,
        }
    }

    /// Adds channels to a client and tells it how they stand.
    fn add(&self, state: &mut State, id: u64, channels: Channels, last: Option<&str>) {
        let known = last
            .and_then(|last| last.strip_prefix(&self.inner.epoch)?.strip_prefix('-'))
            .and_then(|number| number.parse().ok())
            .unwrap_or(0);
        let State {
            latest,
            events,
            clients,
            ..
        } = state;
        let Some(client) = clients.iter_mut().find(|client| client.id == id) else {
            return;
        };
        let latest = self.all().filter_map(|channel| {
            let update = latest[channel.place()].as_ref();
            update.filter(|_| channels.has(channel))
        });
        let events = events.iter().filter(|_| channels.has(Channel::Events));
        for update in latest.chain(events).filter(|update| update.number > known) {
            // There is room for all of it in a queue that has just been made.
            let _ = client.queue.try_send(Arc::clone(update));
        }
        client.waits = Instant::now();
        client.channels = client.channels.union(channels);
        self.want(state);
    }

    fn change(&self, id: u64, change: impl FnOnce(Channels) -> Channels) {
        let mut state = self.lock();
        if let Some(client) = state.clients.iter_mut().find(|client| client.id == id) {
            client.channels = change(client.channels);
        }
        self.want(&state);
    }

    fn leave(&self, id: u64) {
        let mut state = self.lock();
        state.clients.retain(|client| client.id != id);
        self.want(&state);
    }

    fn want(&self, state: &State) {
        let all = state
            .clients
            .iter()
            .fold(Channels::default(), |all, client| {
                all.union(client.channels)
            });
        self.inner.wanted.send_if_modified(|wanted| {
            let changed = *wanted != all;
            *wanted = all;
            changed
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.inner
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// Whether the client stays.
    fn tell(&mut self, update: &Arc<Update>, now: Instant) -> bool {
        if self.queue.capacity() == self.queue.max_capacity() {
            self.waits = now;
        }
        let taken = *self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let stalled = now.saturating_duration_since(taken.max(self.waits)) > limits::LOCAL_STALL;
        let told = !stalled && self.queue.try_send(Arc::clone(update)).is_ok();
        if !told {
            self.hold.cut();
        }
        told
    }
}

/// One client of the hub; it leaves when it is dropped.
#[derive(Debug)]
pub(super) struct Client {
    id: u64,
    hub: Hub,
    queue: mpsc::Receiver<Arc<Update>>,
    taken: Arc<Mutex<Instant>>,
}

impl Client {
    /// The next update; none for a client that was dropped.
    ///
    /// # Cancel safety
    /// An update is taken only when it is returned.
    pub(super) async fn next(&mut self) -> Option<Arc<Update>> {
        let update = self.queue.recv().await;
        *self.taken.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        update
    }

    /// Adds channels; how they stand comes first.
    pub(super) fn subscribe(&self, channels: Channels) {
        let mut state = self.hub.lock();
        self.hub.add(&mut state, self.id, channels, None);
    }

    /// Leaves channels.
    pub(super) fn unsubscribe(&self, left: Channels) {
        self.hub.change(self.id, |channels| channels.without(left));
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.hub.leave(self.id);
    }
}

#[cfg(test)]
mod tests;
