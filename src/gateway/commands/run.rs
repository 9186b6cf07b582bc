//! One command of a caller, over as many channels as it takes.
//!
//! ```text
//!            open                       end, or a failure that is final
//!  (start) ───────▶ Open ─────────────────────────────────────────────▶ Over
//!                   ▲  │ channel lost, agent leaving, slow reader
//!                   │  ▼ (a watch: also the API server gone)
//!                  Waiting ── too long ──────────────────────────────▶ Over
//! ```
//!
//! Owns which failures are gone on from, on which session, after which pause, and with what: a
//! command that observes with its cursors (P-71), one that reads while nothing of it was passed on,
//! one that changes only with its key (P-73). Owns not the form in which the caller gets it.
//! Invariants: a change without a key is sent once; an event that was passed on is not asked for
//! again; whoever waits, waits with a limit.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tokio::time::{Instant, sleep_until};

use super::course::{Course, Offered};
use super::cursors::Cursors;
use super::event::Event;
use super::failed::{Failed, lasts};
use crate::chance;
use crate::gateway::Shared;
use crate::gateway::agents::{Cluster, Connected, Load};
use crate::gateway::failures::{self, Refusal};
use crate::kubeapi::status::{Failure, Hop};
use crate::limits;
use crate::protocol::CommandEnvelope;
use crate::protocol::command::Actor;
use crate::protocol::error::ErrorCode;
use crate::session::{Item, NewStream, StreamError, StreamReader, StreamWriter};

/// What a caller asks for, checked.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) id: String,
    pub(crate) offered: Offered,
    pub(crate) args: Map<String, Value>,
    pub(crate) actor: Actor,
    pub(crate) key: Option<String>,
    /// 1, or more where the caller itself has sent the key before.
    pub(crate) attempt: u32,
    pub(crate) deadline: Option<Duration>,
    pub(crate) traceparent: Option<String>,
    /// Where the caller stands already.
    pub(crate) cursors: Cursors,
    /// It stands somewhere, if only behind sources that are forgotten: nothing begins anew for it.
    pub(crate) positioned: bool,
    /// The caller goes on with what it had: what would refuse a new command only makes it wait.
    pub(crate) resumed: bool,
}

/// What comes of a command, in order.
#[derive(Debug)]
pub(crate) enum Step {
    /// Something that the agent says.
    Event(Box<RawValue>),
    /// The channel is lost and nobody is there to go on with.
    Waiting,
    /// The end, and the result.
    End(Option<Box<RawValue>>),
}

#[derive(Debug)]
struct Stream {
    reader: StreamReader,
    /// Letting go of it before the end would reset the stream.
    _writer: StreamWriter,
    _load: Load,
    session: String,
    instance: String,
    since: Instant,
}

#[derive(Debug)]
struct Waiting {
    not_before: Instant,
    told: bool,
    why: Failed,
}

#[derive(Debug)]
enum State {
    Open(Box<Stream>),
    Waiting(Box<Waiting>),
    Over,
}

/// A command under way.
#[derive(Debug)]
pub(crate) struct Run {
    shared: Arc<Shared>,
    cluster: Arc<Cluster>,
    ask: Ask,
    state: State,
    attempt: u32,
    /// Something of the answer was passed on.
    said: bool,
    /// When it began to be in trouble, and how often it was opened since.
    trouble: Option<(Instant, u32)>,
    /// Sessions that were asked and had not begun.
    tried: Vec<String>,
    /// The instance that may know the key, and until when only it is asked.
    holder: Option<(String, Instant)>,
    due: Option<Instant>,
}

impl Run {
    /// Opens the command, or has it wait where the caller goes on with what it had.
    pub(crate) fn start(shared: &Arc<Shared>, cluster: &str, ask: Ask) -> Result<Self, Failed> {
        let now = Instant::now();
        let known = shared.agents.get(cluster);
        let mut run = Self {
            shared: Arc::clone(shared),
            cluster: shared.agents.cluster(cluster),
            due: ask.deadline.map(|deadline| now + deadline),
            attempt: ask.attempt,
            ask,
            state: State::Over,
            said: false,
            trouble: None,
            tried: Vec::new(),
            holder: None,
        };
        if run.open(now)? {
            return Ok(run);
        }
        let refusal = failures::not_connected(shared, cluster, known.as_deref());
        let failed = Failed::of(ErrorCode::ChannelLost, refusal);
        if run.ask.resumed {
            run.wait(failed, now);
            return Ok(run);
        }
        Err(failed)
    }

    /// What comes next; nothing comes after an end or a failure.
    ///
    /// # Cancel safety
    /// What is not returned is not taken.
    pub(crate) async fn next(&mut self) -> Result<Step, Failed> {
        loop {
            match &mut self.state {
                State::Open(stream) => {
                    let observes = self.ask.offered.course == Course::Observes;
                    let behind = limits::HEAD_DEADLINE_BEHIND;
                    let due = self.due.map(|due| due + behind);
                    let item = tokio::select! {
                        biased;
                        () = self.shared.stop.cancelled(), if observes => {
                            return Err(self.over(ErrorCode::ShuttingDown, "the gateway is leaving"));
                        }
                        item = stream.reader.recv() => item,
                        () = passed(due) => {
                            return Err(self.over(ErrorCode::DeadlineExceeded, ""));
                        }
                    };
                    if let Some(step) = self.take(item)? {
                        return Ok(step);
                    }
                }
                State::Waiting(_) => {
                    if let Some(step) = self.waited().await? {
                        return Ok(step);
                    }
                }
                State::Over => return Err(Failed::new(ErrorCode::Internal, "")),
            }
        }
    }

    /// Takes an event as passed on: what follows a lost channel follows this.
    pub(crate) fn passed_on(&mut self, event: &Event<'_>) {
        self.said = true;
        self.ask.positioned = true;
        self.trouble = None;
        match &event.cursor {
            Some(cursor) => self.ask.cursors.set(&event.source, cursor),
            None if event.name == FORGET => self.ask.cursors.forget(&event.source),
            None => {}
        }
    }

    /// Where it stands.
    pub(crate) fn cursors(&mut self) -> &mut Cursors {
        &mut self.ask.cursors
    }

    /// For how long it has been waiting, and what for.
    pub(crate) fn waiting(&self) -> Option<(Duration, &Failed)> {
        let State::Waiting(waiting) = &self.state else {
            return None;
        };
        let since = self.trouble.map_or(waiting.not_before, |(since, _)| since);
        let time = Instant::now().saturating_duration_since(since);
        Some((time, &waiting.why))
    }

    /// The agent broke a rule, or the caller has had enough.
    pub(crate) fn over(&mut self, code: ErrorCode, message: &str) -> Failed {
        if let State::Open(stream) = std::mem::replace(&mut self.state, State::Over) {
            let Stream { reader, .. } = *stream;
            reader.reset(code);
        }
        self.failed(code, message)
    }

    fn failed(&self, code: ErrorCode, message: &str) -> Failed {
        match (code, self.ask.deadline) {
            (ErrorCode::DeadlineExceeded, Some(after)) => {
                let failure = Failure::Deadline { after };
                Failed::of(code, Refusal::new(failure, Hop::Agent, code.as_str()))
            }
            _ => Failed::new(code, message),
        }
    }

    /// The answer has begun: from now on the caller is told of trouble by an event, and what would
    /// refuse a new command only makes this one wait.
    pub(crate) const fn answered(&mut self) {
        self.ask.resumed = true;
    }

    /// What an item of the stream means.
    fn take(&mut self, item: Result<Item, StreamError>) -> Result<Option<Step>, Failed> {
        let failed = match item {
            Ok(Item::Event(event)) => return Ok(Some(Step::Event(event))),
            Ok(Item::End(Ok(result))) => {
                self.state = State::Over;
                return Ok(Some(Step::End(result)));
            }
            Ok(Item::Fin) => return Ok(None),
            Ok(Item::Data(_)) => {
                return Err(self.over(ErrorCode::ProtocolError, "the command sent bytes"));
            }
            Ok(Item::End(Err(body))) => self.failed(body.code, &body.message),
            Err(StreamError::Reset(code)) => Failed::new(code, ""),
            Err(StreamError::Lost | StreamError::Ended) => Failed::new(ErrorCode::ChannelLost, ""),
        };
        let State::Open(stream) = std::mem::replace(&mut self.state, State::Over) else {
            return Err(failed);
        };
        let now = Instant::now();
        if now.saturating_duration_since(stream.since) >= limits::OBSERVER_PROOF {
            self.trouble = None;
        }
        tracing::debug!(
            request = self.ask.id,
            session = stream.session,
            code = %failed.code,
            attempt = self.attempt,
            "Command broke off"
        );
        self.again(&stream, failed, now)?;
        Ok(None)
    }

    /// Goes on after a failure, or returns it as final.
    fn again(&mut self, stream: &Stream, failed: Failed, now: Instant) -> Result<(), Failed> {
        let begun = self.said || self.ask.resumed || self.attempt > 1;
        if failed.code.not_begun() && !begun {
            // Another replica may have room, or stay.
            self.tried.push(stream.session.clone());
            let more = self.tried.len() < limits::DISPATCHES;
            if more && self.open(now)? {
                self.shared.metrics.redispatched();
                return Ok(());
            }
            return Err(failed);
        }
        match self.ask.offered.course {
            Course::Observes if lasts(failed.code, begun) => {}
            Course::Reads if !self.said && lasts(failed.code, false) => {}
            Course::Changes if self.ask.key.is_some() && lasts(failed.code, false) => {
                if !failed.code.not_begun() {
                    self.attempt += 1;
                    let window = Duration::from_millis(self.shared.reconnect().first_ms);
                    let until = now + window + limits::KEY_HOLDER_WAITS;
                    self.holder = Some((stream.instance.clone(), until));
                }
            }
            Course::Observes | Course::Reads | Course::Changes => return Err(failed),
        }
        self.wait(failed, now);
        Ok(())
    }

    fn wait(&mut self, why: Failed, now: Instant) {
        let (since, times) = self
            .trouble
            .map_or((now, 0), |(since, times)| (since, times + 1));
        self.trouble = Some((since, times));
        let (least, most) = limits::OBSERVER_PAUSE;
        // The first time there is nothing to wait for: another replica may be there.
        let pause = match times {
            0 if !why.code.not_begun() => Duration::ZERO,
            times => {
                let pause = least.saturating_mul(1 << times.min(16)).min(most);
                chance::rng().random_range(pause / 2..=pause)
            }
        };
        self.tried.clear();
        self.state = State::Waiting(Box::new(Waiting {
            not_before: now + pause,
            told: false,
            why,
        }));
    }

    /// Waits for a session and opens the command on it.
    ///
    /// # Cancel safety
    /// Safe: what has been waited for is in the state.
    async fn waited(&mut self) -> Result<Option<Step>, Failed> {
        let cluster = Arc::clone(&self.cluster);
        loop {
            let joined = cluster.joined.notified();
            let mut joined = std::pin::pin!(joined);
            joined.as_mut().enable();
            let now = Instant::now();
            let State::Waiting(waiting) = &mut self.state else {
                return Ok(None);
            };
            let not_before = waiting.not_before;
            let told = std::mem::replace(&mut waiting.told, true);
            if now >= not_before && self.open(now)? {
                return Ok(None);
            }
            if !told {
                return Ok(Some(Step::Waiting));
            }
            let asked = self.holder.as_ref().map(|(_, until)| *until);
            let wake = if now < not_before {
                Some(not_before)
            } else {
                asked.filter(|until| *until > now)
            };
            let since = self.trouble.map_or(now, |(since, _)| since);
            let limit = since + self.shared.config.observer_waits;
            let observes = self.ask.offered.course == Course::Observes;
            tokio::select! {
                biased;
                () = self.shared.stop.cancelled(), if observes => {
                    return Err(self.over(ErrorCode::ShuttingDown, "the gateway is leaving"));
                }
                () = sleep_until(limit) => return Err(self.gave_up()),
                () = passed(self.due) => return Err(self.gave_up()),
                () = joined, if now >= not_before => {}
                () = passed(wake) => {}
            }
        }
    }

    /// The failure that was waited for to pass.
    fn gave_up(&mut self) -> Failed {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Waiting(waiting) => waiting.why,
            State::Open(_) | State::Over => Failed::new(ErrorCode::ChannelLost, ""),
        }
    }

    /// Opens the command on a session that takes it; whether there was one.
    fn open(&mut self, now: Instant) -> Result<bool, Failed> {
        while let Some(connected) = self.choose(now) {
            let Some(session) = connected.session() else {
                return Ok(false);
            };
            let opened = session.open(NewStream {
                command: self.command(now)?,
                class: self.ask.offered.class,
                compression: None,
                upload: false,
            });
            match opened {
                Ok((reader, writer)) => {
                    self.state = State::Open(Box::new(Stream {
                        reader,
                        _writer: writer,
                        _load: connected.load(),
                        session: connected.id.clone(),
                        instance: connected.hello.agent.instance.clone(),
                        since: now,
                    }));
                    return Ok(true);
                }
                Err(error) => {
                    self.tried.push(connected.id.clone());
                    let failed = Failed::of(ErrorCode::Busy, failures::unopened(error));
                    if self.tried.len() >= limits::DISPATCHES {
                        return match &mut self.state {
                            State::Waiting(_) => {
                                self.wait(failed, now);
                                Ok(false)
                            }
                            State::Open(_) | State::Over => Err(failed),
                        };
                    }
                }
            }
        }
        Ok(false)
    }

    /// The session to ask: the one that may know the key, for a while, and any other then.
    fn choose(&self, now: Instant) -> Option<Arc<Connected>> {
        if let Some((instance, until)) = &self.holder {
            let holder = self.cluster.of_instance(instance);
            let holder = holder.filter(|session| !self.tried.contains(&session.id));
            if holder.is_some() || now < *until {
                return holder;
            }
        }
        self.cluster.choose(&self.tried)
    }

    fn command(&self, now: Instant) -> Result<CommandEnvelope, Failed> {
        let observes = self.ask.offered.course == Course::Observes;
        let resume = (observes && self.ask.positioned).then(|| self.ask.cursors.resume());
        let args = with_resume(&self.ask.args, resume);
        if args.get().len() > limits::COMMAND_ARGS {
            let message = "the arguments and cursors do not fit into one message".to_owned();
            let failure = Failure::TooLarge { message };
            let refusal = Refusal::new(failure, Hop::Gateway, "too_large");
            return Err(Failed::of(ErrorCode::BadRequest, refusal));
        }
        Ok(CommandEnvelope {
            id: self.ask.id.clone(),
            name: self.ask.offered.name.to_owned(),
            args,
            deadline_ms: self.due.map(|due| {
                let left = due.saturating_duration_since(now).as_millis();
                u64::try_from(left).unwrap_or(u64::MAX).max(1)
            }),
            actor: Some(self.ask.actor.clone()),
            idempotency_key: self.ask.key.clone(),
            attempt: self.attempt,
            traceparent: self.ask.traceparent.clone(),
        })
    }
}

/// The event after which a source has no cursor any more (P-71).
pub(crate) const FORGET: &str = "forget";

/// The arguments as they are sent.
pub(crate) fn with_resume(
    args: &Map<String, Value>,
    resume: Option<Map<String, Value>>,
) -> Box<RawValue> {
    let sent = match resume {
        None => serde_json::value::to_raw_value(args),
        Some(resume) => {
            let mut args = args.clone();
            args.insert("resume".to_owned(), Value::Object(resume));
            serde_json::value::to_raw_value(&args)
        }
    };
    sent.expect("what was read as JSON is written as JSON")
}

async fn passed(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}
