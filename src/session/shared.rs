//! What the driver and the handles of one session share.
//!
//! Owns the lock around the machine, the wakers of the handles and the two notifications of the
//! driver. Invariant: the lock is held for one step of the machine and never across an await;
//! wakers run after it was let go.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::error::StreamError;
use super::silence::{Listener, Silence};
use super::{Config, SharedPool};
use crate::mux::{self, Arrival, Fault, HandleError, Key, Mux, NumberMap, Signal, Wake};
use crate::protocol::error::ErrorCode;

#[derive(Debug, Default)]
struct Wakers {
    reader: Option<Waker>,
    writer: Option<Waker>,
    ender: Option<Waker>,
}

#[derive(Debug)]
struct Inner {
    mux: Mux,
    wakers: NumberMap<Key, Wakers>,
    reported: usize,
    reports: u32,
    heartbeats: u32,
    failed: Option<(ErrorCode, String)>,
    listener: Listener,
    silence: Silence,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Shared {
    inner: Mutex<Inner>,
    pool: Option<Arc<SharedPool>>,
    pub(super) binary: bool,
    pub(super) zstd: bool,
    /// Held once by each stream that compresses, so that they can be counted.
    pub(super) compressing: Arc<()>,
    /// The writer may have something to do.
    pub(super) output: Notify,
    /// The deadline may have moved, or the session was failed from outside.
    pub(super) timer: Notify,
    pub(super) role: mux::Role,
    /// How long a command that may be resumed outlives the session, where that is in force.
    pub(super) resume: Option<Duration>,
    /// The time within which a dead peer is found.
    pub(super) liveness: Duration,
    /// Moves as long as the session's task does.
    beats: AtomicU64,
}

impl Shared {
    pub(super) fn new(config: Config, now: Instant) -> Self {
        let mux = Mux::new(
            mux::Config {
                role: config.role,
                ping_every: config
                    .pace
                    .unwrap_or(Duration::from_millis(config.ping.every_ms.max(1))),
                ping_within: Duration::from_millis(config.ping.within_ms.max(1)),
                peer_window: config.peer_window,
                own_window: config.own_window,
                max_streams: config.max_streams,
                pool: config.pool,
                grace: config.grace,
            },
            now,
        );
        Self {
            inner: Mutex::new(Inner {
                mux,
                wakers: NumberMap::default(),
                reported: 0,
                reports: 0,
                heartbeats: 0,
                listener: Listener::new(now),
                silence: Silence::default(),
                failed: None,
            }),
            pool: config.shared_pool,
            binary: config.binary,
            zstd: config.zstd,
            compressing: Arc::new(()),
            output: Notify::new(),
            timer: Notify::new(),
            role: config.role,
            resume: config.resume,
            liveness: Duration::from_millis(
                config.ping.every_ms.saturating_add(config.ping.within_ms),
            ),
            beats: AtomicU64::new(0),
        }
    }

    /// A message that came.
    pub(super) fn receive(&self, signal: Signal) -> Result<Option<Arrival>, Fault> {
        self.step(|inner, now| {
            inner.listener.received(now);
            inner.mux.receive(now, signal)
        })
    }

    /// What was gathered is with the socket.
    pub(super) fn sent(&self) {
        let now = tokio::time::Instant::now().into_std();
        self.lock().listener.sent(now);
    }

    /// The session is at its end, whatever is still said.
    pub(super) fn over(&self) {
        let now = tokio::time::Instant::now().into_std();
        let mut inner = self.lock();
        inner.silence = inner.listener.end(now);
    }

    /// The silences of the session, once it is over.
    pub(super) fn silence(&self) -> Silence {
        self.lock().silence
    }

    /// The session's task goes on.
    pub(super) fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }

    /// How often it has said so.
    pub(super) fn beats(&self) -> u64 {
        self.beats.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic inside the machine would be a defect of ours; the others' streams live on.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One step of the machine, and what follows of it: wake-ups, output, the process's pool.
    pub(super) fn with<T>(&self, step: impl FnOnce(&mut Mux, Instant) -> T) -> T {
        self.step(|inner, now| step(&mut inner.mux, now))
    }

    fn step<T>(&self, step: impl FnOnce(&mut Inner, Instant) -> T) -> T {
        let now = tokio::time::Instant::now().into_std();
        let mut inner = self.lock();
        if let Some(pool) = &self.pool {
            inner.mux.set_over_ceiling(pool.held() > pool.limit);
        }
        let result = step(&mut inner, now);
        if let Some(pool) = &self.pool {
            let held = inner.mux.held();
            let before = std::mem::replace(&mut inner.reported, held);
            if held >= before {
                pool.held.fetch_add(held - before, Ordering::Relaxed);
            } else {
                pool.held.fetch_sub(before - held, Ordering::Relaxed);
            }
        }
        let mut ready: [Option<Waker>; 4] = [None, None, None, None];
        let mut more = Vec::new();
        let mut count = 0;
        while let Some(wake) = inner.mux.wake() {
            if let Some(waker) = inner.take_waker(wake) {
                match ready.get_mut(count) {
                    Some(slot) => *slot = Some(waker),
                    None => more.push(waker),
                }
                count += 1;
            }
        }
        // The writer closes a session that leaves; an end that came in is the last it waits for.
        let output = inner.mux.has_output() || inner.mux.is_leaving() && inner.mux.is_drained();
        drop(inner);
        if output {
            self.output.notify_one();
        }
        ready
            .into_iter()
            .flatten()
            .chain(more)
            .for_each(Waker::wake);
        result
    }

    /// As [`Shared::with`], for the driver's writer: it does not notify itself.
    pub(super) fn gather(&self, most: usize, mut take: impl FnMut(Signal) -> usize) {
        let mut wakers = Vec::new();
        let mut inner = self.lock();
        let mut bytes = 0;
        while bytes < most
            && let Some(signal) = inner.mux.outgoing()
        {
            bytes += take(signal);
        }
        while let Some(wake) = inner.mux.wake() {
            wakers.extend(inner.take_waker(wake));
        }
        drop(inner);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// A session message of ours.
    pub(super) fn say(&self, signal: Signal) {
        if let Err(fault) = self.with(|mux, _| mux.say(signal)) {
            self.fail(fault.code, fault.message.to_owned());
        }
    }

    /// Ends the session from this side; the first reason counts.
    pub(super) fn fail(&self, code: ErrorCode, message: String) {
        self.lock().failed.get_or_insert((code, message));
        self.timer.notify_one();
    }

    pub(super) fn failed(&self) -> Option<(ErrorCode, String)> {
        self.lock().failed.clone()
    }

    pub(super) fn next_report(&self) -> u32 {
        let mut inner = self.lock();
        inner.reports = inner.reports.wrapping_add(1);
        inner.reports
    }

    pub(super) fn next_heartbeat(&self) -> u32 {
        let mut inner = self.lock();
        inner.heartbeats = inner.heartbeats.wrapping_add(1);
        inner.heartbeats
    }

    /// Tries a step for a handle; where there is nothing yet, its waker is kept under the same
    /// lock, so that no wake-up is lost.
    pub(super) fn poll<T>(
        &self,
        wake: Wake,
        waker: &Waker,
        step: impl FnOnce(&mut Mux, Instant) -> Result<Option<T>, HandleError>,
    ) -> Poll<Result<T, StreamError>> {
        self.step(|inner, now| match step(&mut inner.mux, now) {
            Ok(Some(value)) => Poll::Ready(Ok(value)),
            Err(error) => Poll::Ready(Err(error.into())),
            Ok(None) => {
                inner.set_waker(wake, waker);
                Poll::Pending
            }
        })
    }

    /// Forgets the wakers of a handle that was dropped.
    pub(super) fn release(&self, key: Key, half: mux::Half) {
        self.with(|mux, _| mux.release(key, half));
        let mut inner = self.lock();
        let empty = inner.wakers.get_mut(&key).is_some_and(|wakers| {
            match half {
                mux::Half::Reader => wakers.reader = None,
                mux::Half::Writer => wakers.writer = None,
                mux::Half::Ender => wakers.ender = None,
            }
            wakers.reader.is_none() && wakers.writer.is_none() && wakers.ender.is_none()
        });
        if empty {
            inner.wakers.remove(&key);
        }
    }
}

impl Inner {
    fn take_waker(&mut self, wake: Wake) -> Option<Waker> {
        let (key, slot) = parts(wake);
        self.wakers
            .get_mut(&key)
            .and_then(|wakers| slot(wakers).take())
    }

    fn set_waker(&mut self, wake: Wake, waker: &Waker) {
        let (key, slot) = parts(wake);
        let slot = slot(self.wakers.entry(key).or_default());
        match slot {
            Some(old) if old.will_wake(waker) => {}
            _ => *slot = Some(waker.clone()),
        }
    }
}

type Slot = fn(&mut Wakers) -> &mut Option<Waker>;

fn parts(wake: Wake) -> (Key, Slot) {
    match wake {
        Wake::Reader(key) => (key, |wakers| &mut wakers.reader),
        Wake::Writer(key) => (key, |wakers| &mut wakers.writer),
        Wake::Ender(key) => (key, |wakers| &mut wakers.ender),
    }
}
