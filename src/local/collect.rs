//! From what the agent and its cluster are to updates, as long as somebody wants them.
//!
//! Owns when each channel is told anew. Owns not: the shapes (`view`), the clients (`hub`), nor how
//! the cluster is followed (`commands::overview`). Invariants: nobody there means nothing followed
//! and no timer; a change is told within a second; a storm of events is cut to a rate that every
//! reader can take, and the cut is told.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::hub::{Channel, Channels};
use super::view::{self, Pace, Runtime};
use crate::cluster::ObjectError;
use crate::commands::overview::{Happened, Happenings, Overview};
use crate::health;
use crate::limits;
use crate::status::{Commands, HealthState, Snapshot};

/// Collects until `stop` fires.
pub(super) async fn run(shared: Shared, stop: CancellationToken) {
    let mut wanted = shared.hub.wanted();
    loop {
        let somebody = wanted.wait_for(|wanted| !wanted.is_empty());
        match stop.run_until_cancelled(somebody).await {
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return,
        }
        let mut collecting = Collecting::new(&shared);
        if stop
            .run_until_cancelled(collecting.until_nobody(&mut wanted))
            .await
            .is_none()
        {
            return;
        }
        for channel in Channel::ALL {
            shared.hub.forget(channel);
        }
        shared.cluster.send_replace(json!({}));
    }
}

/// Something of the cluster that is followed, begun again after a failure.
enum Followed<T> {
    Off,
    On(Box<T>),
    Again(Instant),
}

impl<T> Followed<T> {
    fn failed(&mut self) {
        *self = Self::Again(Instant::now() + limits::LOCAL_FOLLOW_AGAIN);
    }
}

struct Collecting<'s> {
    shared: &'s Shared,
    wanted: Channels,
    status: watch::Receiver<Snapshot>,
    commands: watch::Receiver<Commands>,
    overview: Followed<Overview>,
    happenings: Followed<Happenings>,
    /// Why the cluster cannot be seen.
    blind: Option<String>,
    /// Events to be told, oldest first.
    events: VecDeque<Value>,
    /// Those that were there already, while they are listed.
    listed: Option<BTreeMap<(String, u64), Value>>,
    number: u64,
    /// Events that were cut out.
    cut: u64,
    /// The table of commands has changed since it was told.
    commands_changed: bool,
    /// Since when something has changed that is not told.
    dirty: Option<Instant>,
    tick: Instant,
    beat: Instant,
    pace: Pace,
    lag: Duration,
    still: Value,
    told_health: Value,
    /// The agent's own events: what they are made from.
    was: Option<(&'static str, bool, HealthState)>,
}

impl<'s> Collecting<'s> {
    fn new(shared: &'s Shared) -> Self {
        let now = Instant::now();
        let commands = shared.status.running();
        Self {
            shared,
            wanted: Channels::default(),
            status: shared.status.watch(),
            commands,
            overview: Followed::Off,
            happenings: Followed::Off,
            blind: None,
            events: VecDeque::new(),
            listed: None,
            number: 0,
            cut: 0,
            commands_changed: true,
            dirty: None,
            tick: now,
            beat: now,
            pace: Pace::default(),
            lag: Duration::ZERO,
            still: Value::Null,
            told_health: Value::Null,
            was: None,
        }
    }

    /// Collects until nobody has been there for a while.
    async fn until_nobody(&mut self, wanted: &mut watch::Receiver<Channels>) {
        let mut alone: Option<Instant> = None;
        self.want(*wanted.borrow_and_update());
        loop {
            let settled = self.dirty.map(|since| since + limits::LOCAL_SETTLE);
            let beat = (!self.events.is_empty()).then_some(self.beat);
            tokio::select! {
                biased;
                // The hub lives as long as what we share.
                _ = wanted.changed() => {
                    let now = *wanted.borrow_and_update();
                    alone = now.is_empty().then(Instant::now);
                    self.want(now);
                }
                () = at(alone.map(|since| since + limits::LOCAL_LINGER)) => return,
                () = at(settled) => self.tell_state(),
                () = at(beat) => self.tell_events(),
                () = tokio::time::sleep_until(self.tick) => self.every_second(),
                // A table that changes all the time wakes nobody until it is told.
                _ = self.status.changed(), if self.dirty.is_none() => {
                    self.dirty = Some(Instant::now());
                }
                _ = self.commands.changed(), if !self.commands_changed => {
                    self.commands_changed = true;
                    self.dirty.get_or_insert_with(Instant::now);
                }
                changed = overview(&mut self.overview, self.shared) => self.seen(changed),
                happened = happened(&mut self.happenings, self.shared) => self.happened(happened),
            }
        }
    }

    /// What is wanted from now on.
    fn want(&mut self, now: Channels) {
        let before = std::mem::replace(&mut self.wanted, now);
        let fresh = |channel| now.has(channel) && !before.has(channel);
        if now.has(Channel::Status) && matches!(self.overview, Followed::Off) {
            self.overview = Followed::Again(Instant::now());
        }
        if now.has(Channel::Events) && matches!(self.happenings, Followed::Off) {
            self.happenings = Followed::Again(Instant::now());
            self.listed = Some(BTreeMap::new());
        }
        if !now.is_empty() {
            // Who is still there wants less: what they do not want is not followed.
            if !now.has(Channel::Status) {
                self.overview = Followed::Off;
            }
            if !now.has(Channel::Events) {
                self.happenings = Followed::Off;
                self.shared.hub.forget(Channel::Events);
            }
        }
        // What was told before is still known to the hub, which has told whoever came.
        if Channel::ALL.into_iter().any(fresh) {
            self.tell_state();
            self.tell_metrics();
        }
    }

    fn every_second(&mut self) {
        let now = Instant::now();
        self.lag = now.saturating_duration_since(self.tick);
        self.tick = now + limits::LOCAL_METRICS_EVERY;
        self.shared.metrics.refresh();
        self.tell_metrics();
        self.tell_state();
    }

    fn tell_metrics(&mut self) {
        if !self.wanted.has(Channel::Metrics) {
            return;
        }
        let at = self.shared.clock.now();
        let data = runtime(self.shared, &mut self.pace, self.lag, &at);
        self.shared.hub.publish(Channel::Metrics, &at, &data);
    }

    /// Tells what has changed of the states.
    fn tell_state(&mut self) {
        self.dirty = None;
        let shared = self.shared;
        let (hub, clock) = (&shared.hub, &shared.clock);
        let now = self.status.borrow_and_update().clone();
        let at = clock.now();
        self.changes(&now, &at);
        if self.wanted.has(Channel::Health) {
            let data = view::health(&now, &shared.took(), clock);
            if data != self.told_health {
                hub.publish(Channel::Health, &at, &data);
                self.told_health = data;
            }
        }
        if self.commands_changed && self.wanted.has(Channel::Commands) {
            self.commands_changed = false;
            let data = view::commands(&self.commands.borrow_and_update(), clock);
            hub.publish(Channel::Commands, &at, &data);
        }
        if self.wanted.has(Channel::Status) {
            let cluster = self.cluster();
            let data = status(shared, &now, &cluster);
            shared.cluster.send_replace(cluster);
            let still = view::at_rest(&data);
            if still != self.still {
                hub.publish(Channel::Status, &at, &data);
                self.still = still;
            }
        }
    }

    fn cluster(&self) -> Value {
        let mut told = match &self.overview {
            Followed::On(overview) => overview.told().unwrap_or_else(|| json!({})),
            Followed::Off | Followed::Again(_) => json!({}),
        };
        if let Some(blind) = &self.blind {
            told["trouble"] = blind.as_str().into();
        }
        told
    }

    /// The agent's own events: its channel, the API server, its health.
    fn changes(&mut self, now: &Snapshot, at: &str) {
        let state = now.health.state();
        let next = (now.phase.as_str(), now.api_server.is_up(), state);
        let Some((phase, up, health)) = self.was.replace(next) else {
            return;
        };
        let mut tell = |warning: bool, reason: &str, message: String| {
            self.events.push_back(json!({
                "at": at,
                "source": "agent",
                "type": if warning { "Warning" } else { "Normal" },
                "reason": reason,
                "object": { "kind": "Agent", "namespace": "", "name": now.agent },
                "message": message,
                "count": 1,
            }));
        };
        if phase != next.0 {
            let why = now.last_error.as_ref().filter(|_| next.0 != "connected");
            let why = why.map_or(String::new(), |error| format!(": {}", error.message));
            let warning = matches!(next.0, "waiting" | "refused" | "stopped");
            tell(warning, "Channel", format!("{}{why}", next.0));
        }
        if up != next.1 {
            let message = if next.1 {
                "it answers"
            } else {
                "it does not answer"
            };
            tell(!next.1, "ApiServer", message.to_owned());
        }
        if health != state {
            let problems = now.health.problems().join(", ");
            let warning = state != HealthState::Ok;
            tell(warning, "Health", format!("{} {problems}", state.as_str()));
        }
    }

    fn seen(&mut self, changed: Result<(), ObjectError>) {
        self.dirty.get_or_insert_with(Instant::now);
        self.blind = None;
        if let Err(error) = changed {
            self.blind = Some(error.to_string());
            self.overview.failed();
        }
    }

    fn happened(&mut self, happened: Result<Happened, ObjectError>) {
        match happened {
            Ok(Happened::Event(at, event)) => match &mut self.listed {
                None => self.events.push_back(event),
                Some(listed) => {
                    // The newest of those that were there already.
                    self.number += 1;
                    listed.insert((at, self.number), event);
                    if listed.len() > limits::LOCAL_EVENTS {
                        listed.pop_first();
                    }
                }
            },
            Ok(Happened::Listed) => {
                let listed = self.listed.take().unwrap_or_default();
                for (_, event) in listed.into_iter().rev() {
                    self.events.push_front(event);
                }
            }
            Ok(Happened::Nothing) => {}
            Err(_) => {
                self.happenings.failed();
                self.shared.hub.forget(Channel::Events);
                self.listed = Some(BTreeMap::new());
            }
        }
        while self.events.len() > limits::LOCAL_EVENTS {
            self.events.pop_front();
            self.cut += 1;
        }
    }

    fn tell_events(&mut self) {
        self.beat = Instant::now() + limits::LOCAL_EVENT_BEAT;
        let at = self.shared.clock.now();
        let cut = std::mem::take(&mut self.cut);
        if cut > 0 {
            let told = json!({
                "at": at, "source": "agent", "type": "Warning", "reason": "EventsCut",
                "object": { "kind": "Agent", "namespace": "", "name": "" },
                "message": "more events happened than are shown", "count": cut,
            });
            self.shared.hub.publish(Channel::Events, &at, &told);
        }
        let some = limits::LOCAL_EVENTS_AT_ONCE.min(self.events.len());
        for event in self.events.drain(..some) {
            self.shared.hub.publish(Channel::Events, &at, &event);
        }
    }
}

/// `status`, with what is known of the cluster.
pub(super) fn status(shared: &Shared, now: &Snapshot, cluster: &Value) -> Value {
    let features = shared.features();
    let facts = &shared.config.facts;
    view::status(
        &shared.status,
        now,
        facts,
        cluster,
        &features,
        &shared.clock,
    )
}

/// `metrics`, now.
pub(super) fn runtime(shared: &Shared, pace: &mut Pace, lag: Duration, at: &str) -> Value {
    let usage = health::usage();
    let runtime = Runtime {
        cores: pace.cores(Instant::now(), usage.cpu_ms),
        usage,
        lag,
        tasks: tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks(),
        websockets: shared.websockets.get(),
        streams: shared.streams.get(),
        at,
    };
    view::metrics(&shared.status.snapshot(), &runtime)
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// The next change of the cluster; begins to follow it where that is due.
async fn overview(followed: &mut Followed<Overview>, shared: &Shared) -> Result<(), ObjectError> {
    if let Followed::Again(due) = followed {
        tokio::time::sleep_until(*due).await;
        let sources = shared.sources().await;
        *followed = Followed::On(Box::new(Overview::new(sources)));
    }
    match followed {
        Followed::On(overview) => overview.changed().await,
        Followed::Off | Followed::Again(_) => std::future::pending().await,
    }
}

/// The next event.
async fn happened(
    followed: &mut Followed<Happenings>,
    shared: &Shared,
) -> Result<Happened, ObjectError> {
    if let Followed::Again(due) = followed {
        tokio::time::sleep_until(*due).await;
        let sources = shared.sources().await;
        *followed = Followed::On(Box::new(Happenings::new(sources)));
    }
    match followed {
        Followed::On(happenings) => happenings.next().await,
        Followed::Off | Followed::Again(_) => std::future::pending().await,
    }
}
