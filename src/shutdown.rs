//! Signals: the first asks for an orderly end, the second ends at once.
//!
//! Owns SIGTERM and SIGINT and the deadline of the whole shutdown. Owns not: what stops in which
//! order (`agent`), nor the process's exit. Invariant: after the first signal, [`Signals::guard`]
//! returns within its grace, whatever the work does.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::signal::unix::{self, SignalKind};
use tokio_util::sync::CancellationToken;

/// A signal that asks the program to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT: Ctrl-C.
    Interrupt,
    /// SIGTERM: the kubelet, systemd, `kill`.
    Terminate,
}

impl Signal {
    /// The exit code of a program that this signal ended: 128 and its number.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }
}

impl std::fmt::Display for Signal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
        })
    }
}

/// How guarded work ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending<T> {
    /// It returned, with or without having been asked to stop.
    Done(T),
    /// A second signal came.
    Aborted(Signal),
    /// It did not return within the grace after the first signal.
    Overran,
}

/// The process's signals, from now on.
#[derive(Debug)]
pub struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
}

impl Signals {
    /// Takes the signals over. Must be called within a runtime.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub fn install() -> io::Result<Self> {
        Ok(Self {
            interrupt: unix::signal(SignalKind::interrupt())?,
            terminate: unix::signal(SignalKind::terminate())?,
        })
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Signal> {
        if self.terminate.poll_recv(cx).is_ready() {
            return Poll::Ready(Signal::Terminate);
        }
        self.interrupt.poll_recv(cx).map(|_| Signal::Interrupt)
    }

    /// Runs `work`; the first signal cancels `stop`, the second abandons it.
    ///
    /// # Cancel safety
    /// As `work`.
    pub async fn guard<T>(
        &mut self,
        stop: &CancellationToken,
        grace: Duration,
        work: impl Future<Output = T>,
    ) -> Ending<T> {
        guard(|cx| self.poll_next(cx), stop, grace, work).await
    }
}

async fn guard<T>(
    mut next: impl FnMut(&mut Context<'_>) -> Poll<Signal>,
    stop: &CancellationToken,
    grace: Duration,
    work: impl Future<Output = T>,
) -> Ending<T> {
    let mut work = pin!(work);
    tokio::select! {
        biased;
        signal = std::future::poll_fn(&mut next) => {
            tracing::info!(%signal, "Stopping");
        }
        done = &mut work => return Ending::Done(done),
    }
    stop.cancel();
    tokio::select! {
        biased;
        done = &mut work => Ending::Done(done),
        signal = std::future::poll_fn(&mut next) => Ending::Aborted(signal),
        () = tokio::time::sleep(grace) => Ending::Overran,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    const GRACE: Duration = Duration::from_secs(30);

    /// Signals from a list; none after its end.
    fn script(
        signals: impl IntoIterator<Item = Signal>,
    ) -> impl FnMut(&mut Context<'_>) -> Poll<Signal> {
        let mut left: VecDeque<_> = signals.into_iter().collect();
        move |_| left.pop_front().map_or(Poll::Pending, Poll::Ready)
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_signal_lets_the_work_end_by_itself() {
        let stop = CancellationToken::new();
        let work = async {
            stop.cancelled().await;
            7
        };
        let ending = guard(script([Signal::Terminate]), &stop, GRACE, work).await;
        assert_eq!(ending, Ending::Done(7));
    }

    #[tokio::test(start_paused = true)]
    async fn the_second_signal_abandons_the_work() {
        let stop = CancellationToken::new();
        let signals = script([Signal::Terminate, Signal::Interrupt]);
        let ending = guard(signals, &stop, GRACE, std::future::pending::<()>()).await;
        assert_eq!(ending, Ending::Aborted(Signal::Interrupt));
        assert!(stop.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_ignores_the_stop_ends_with_the_grace() {
        let stop = CancellationToken::new();
        let began = tokio::time::Instant::now();
        let signals = script([Signal::Interrupt]);
        let ending = guard(signals, &stop, GRACE, std::future::pending::<()>()).await;
        assert_eq!(ending, Ending::Overran);
        assert_eq!(tokio::time::Instant::now() - began, GRACE);
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_returns_needs_no_signal() {
        let stop = CancellationToken::new();
        let ending = guard(script([]), &stop, GRACE, async { 1 }).await;
        assert_eq!(ending, Ending::Done(1));
        assert!(!stop.is_cancelled());
    }
}
