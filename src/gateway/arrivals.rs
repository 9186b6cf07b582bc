//! At which rate agents are let in: in turn, with a queue that is short and fair, and an early word to
//! whoever must come back later.
//!
//! ```text
//!  POST /register ──▶ at once │ in its turn (2 s at most) │ 429, Retry-After
//!  GET  /channel  ──▶ as its registration was let in; without one as above
//! ```
//!
//! Owns who is let in when, and when the others are asked back (P-114). Owns not: what letting in means
//! (`register`, `handshake`), nor the ceiling of all sessions (`agents`). Pure: the caller brings time
//! and chance, and waits. Invariants: in any second no more than the rate and one are let in; a
//! cluster's places are few, so that no cluster's agents hold up another's; what is kept is bounded by
//! the clusters that have a token.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rand::{Rng, RngExt};
use tokio::time::Instant;

use crate::limits;

/// What becomes of one that comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// It is let in, after this wait.
    In(Duration),
    /// It is to come back, and not before this.
    Later(Duration),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Arrivals {
    /// Between one and the next.
    apart: Duration,
    /// When the next one may be let in.
    free: Instant,
    clusters: BTreeMap<Arc<str>, Guests>,
    /// Clusters that were asked to come back, and are due.
    due: usize,
    swept: Instant,
}

/// One cluster's agents.
#[derive(Debug, Default)]
struct Guests {
    /// When each is, or was, let in; its channel is expected for a while after that.
    places: VecDeque<Instant>,
    /// Until when one that was refused is expected.
    due: Option<Instant>,
}

impl Guests {
    fn forget(&mut self, now: Instant) {
        while self
            .places
            .front()
            .is_some_and(|at| *at + limits::ADMITTED_FOR <= now)
        {
            self.places.pop_front();
        }
    }
}

impl Arrivals {
    /// Lets in so many a second.
    pub(crate) fn new(rate: u32, now: Instant) -> Self {
        Self {
            apart: Duration::from_secs(1) / rate.max(1),
            free: now,
            clusters: BTreeMap::new(),
            due: 0,
            swept: now,
        }
    }

    /// An agent of this cluster registers.
    pub(crate) fn register(
        &mut self,
        cluster: &Arc<str>,
        now: Instant,
        rng: &mut impl Rng,
    ) -> Arrival {
        self.sweep(now);
        let at = self.free.max(now);
        let wait = at.saturating_duration_since(now);
        let guests = self.clusters.entry(Arc::clone(cluster)).or_default();
        guests.forget(now);
        let crowded = guests.places.len() >= limits::ADMITTED_OF_ONE;
        if crowded || wait > limits::ADMISSION_WAIT {
            return Arrival::Later(self.later(cluster, wait, now, rng));
        }
        guests.places.push_back(at);
        if guests.due.take().is_some() {
            self.due = self.due.saturating_sub(1);
        }
        self.free = at + self.apart;
        Arrival::In(wait)
    }

    /// An agent of this cluster opens its channel: it was let in when it registered, unless it did not.
    pub(crate) fn channel(
        &mut self,
        cluster: &Arc<str>,
        now: Instant,
        rng: &mut impl Rng,
    ) -> Arrival {
        if let Some(guests) = self.clusters.get_mut(cluster) {
            guests.forget(now);
            if guests.places.front().is_some_and(|at| *at <= now) {
                guests.places.pop_front();
                return Arrival::In(Duration::ZERO);
            }
        }
        let arrival = self.register(cluster, now, rng);
        if let Arrival::In(_) = arrival
            && let Some(guests) = self.clusters.get_mut(cluster)
        {
            // This was the channel itself: no other is expected.
            guests.places.pop_back();
        }
        arrival
    }

    fn count(&self, time: Duration) -> usize {
        usize::try_from(time.as_nanos() / self.apart.as_nanos().max(1)).unwrap_or(usize::MAX)
    }

    /// When one that is not let in is to come back: the later, the more are waiting or due, so that they
    /// come at about the rate and are let in then.
    fn later(
        &mut self,
        cluster: &Arc<str>,
        wait: Duration,
        now: Instant,
        rng: &mut impl Rng,
    ) -> Duration {
        let backlog = self.count(wait).saturating_add(self.due);
        let backlog = u32::try_from(backlog).unwrap_or(u32::MAX);
        let all = self.apart.saturating_mul(backlog);
        let most = all.saturating_add(all / 4).min(limits::RETRY_AFTER_MOST);
        let later = limits::RETRY_AFTER_LEAST + rng.random_range(Duration::ZERO..=most);
        let later = later.min(limits::RETRY_AFTER_MOST);
        if let Some(guests) = self.clusters.get_mut(cluster) {
            // Once a cluster: one that asks and asks does not put off the others.
            if guests.due.is_none() {
                self.due += 1;
            }
            // It adds up to a quarter of its own.
            guests.due = Some(now + later + later / 4);
        }
        later
    }

    /// Forgets, once a second, whom nothing is expected of.
    fn sweep(&mut self, now: Instant) {
        if now.saturating_duration_since(self.swept) < Duration::from_secs(1) {
            return;
        }
        self.swept = now;
        self.clusters.retain(|_, guests| {
            guests.forget(now);
            guests.due = guests.due.filter(|due| *due > now);
            !guests.places.is_empty() || guests.due.is_some()
        });
        self.due = self
            .clusters
            .values()
            .filter(|guests| guests.due.is_some())
            .count();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    fn name(number: usize) -> Arc<str> {
        format!("c-{number}").into()
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_lone_agent_waits_for_nobody() {
        let now = Instant::now();
        let mut rng = StdRng::seed_from_u64(1);
        let mut arrivals = Arrivals::new(1, now);
        for second in 0..10 {
            let now = now + secs(second);
            let first = arrivals.register(&name(0), now, &mut rng);
            assert_eq!(first, Arrival::In(Duration::ZERO));
            let channel = arrivals.channel(&name(0), now, &mut rng);
            assert_eq!(channel, Arrival::In(Duration::ZERO));
        }
    }

    #[test]
    fn a_channel_counts_once_with_its_registration_and_alone_without_one() {
        let now = Instant::now();
        let mut rng = StdRng::seed_from_u64(1);
        let mut arrivals = Arrivals::new(1, now);
        assert_eq!(
            arrivals.channel(&name(0), now, &mut rng),
            Arrival::In(Duration::ZERO)
        );
        assert_eq!(
            arrivals.channel(&name(0), now, &mut rng),
            Arrival::In(secs(1)),
            "it took no registration with it"
        );
        // A registration whose channel does not come is forgotten.
        let later = now + secs(10);
        let _ = arrivals.register(&name(1), later, &mut rng);
        let late = later + limits::ADMITTED_FOR;
        let _ = arrivals.register(&name(2), late, &mut rng);
        assert_eq!(
            arrivals.channel(&name(1), late, &mut rng),
            Arrival::In(secs(1))
        );
    }

    #[test]
    fn one_cluster_has_few_places_and_puts_off_nobody() {
        let now = Instant::now();
        let mut rng = StdRng::seed_from_u64(1);
        let mut arrivals = Arrivals::new(100, now);
        let of_one: Vec<_> = (0..1000)
            .map(|_| arrivals.register(&name(0), now, &mut rng))
            .collect();
        let places = of_one.iter().filter(|got| matches!(got, Arrival::In(_)));
        assert_eq!(places.count(), limits::ADMITTED_OF_ONE);
        assert_eq!(arrivals.due, 1);
        let other = arrivals.register(&name(1), now, &mut rng);
        let Arrival::In(wait) = other else {
            panic!("{other:?}")
        };
        assert!(wait <= secs(1), "{wait:?}");
    }

    /// Ten thousand come at once and come back when they are told to: how many were let in by second.
    fn fleet(rate: u32, seed: u64) -> Vec<u32> {
        let start = Instant::now();
        let mut rng = StdRng::seed_from_u64(seed);
        let mut arrivals = Arrivals::new(rate, start);
        let mut coming: BTreeMap<(Instant, usize), ()> =
            (0..10_000).map(|agent| ((start, agent), ())).collect();
        let mut seconds = Vec::new();
        while let Some(((now, agent), ())) = coming.pop_first() {
            match arrivals.register(&name(agent), now, &mut rng) {
                Arrival::In(wait) => {
                    assert!(wait <= limits::ADMISSION_WAIT);
                    let second = (now + wait).saturating_duration_since(start).as_secs();
                    let second = usize::try_from(second).unwrap();
                    seconds.resize(seconds.len().max(second + 1), 0);
                    seconds[second] += 1;
                }
                Arrival::Later(wait) => {
                    assert!(wait >= limits::RETRY_AFTER_LEAST);
                    let jitter = rng.random_range(Duration::ZERO..=wait / 4);
                    coming.insert((now + wait + jitter, agent), ());
                }
            }
        }
        seconds
    }

    #[test]
    fn a_whole_fleet_comes_in_at_the_rate_and_is_soon_in() {
        for seed in 0..5 {
            let seconds = fleet(500, seed);
            assert!(seconds.iter().all(|count| *count <= 501), "{seconds:?}");
            assert_eq!(seconds.iter().sum::<u32>(), 10_000);
            // Twenty seconds are the least that there is; twice as many bring all but the last.
            let in_time: u32 = seconds.iter().take(40).sum();
            assert!(in_time >= 9_500, "{in_time}: {seconds:?}");
            assert!(seconds.len() <= 120, "{}", seconds.len());
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_the_rate_holds_and_nothing_is_kept_for_ever(
            rate in 1_u32..2_000,
            steps in proptest::collection::vec((0_usize..50, 0_u64..3_000, any::<bool>()), 1..400),
        ) {
            let start = Instant::now();
            let (mut now, mut rng) = (start, StdRng::seed_from_u64(3));
            let mut arrivals = Arrivals::new(rate, now);
            let mut registered = Vec::new();
            for (cluster, ms, channel) in steps {
                now += Duration::from_millis(ms);
                let cluster = name(cluster);
                let arrival = if channel {
                    arrivals.channel(&cluster, now, &mut rng)
                } else {
                    arrivals.register(&cluster, now, &mut rng)
                };
                match arrival {
                    Arrival::In(wait) if !channel => registered.push(now + wait),
                    Arrival::In(wait) => prop_assert!(wait <= limits::ADMISSION_WAIT),
                    Arrival::Later(wait) => {
                        prop_assert!(wait >= limits::RETRY_AFTER_LEAST);
                        prop_assert!(wait <= limits::RETRY_AFTER_MOST);
                    }
                }
                let few = |guests: &Guests| guests.places.len() <= limits::ADMITTED_OF_ONE;
                prop_assert!(arrivals.clusters.values().all(few));
            }
            for pair in registered.windows(2) {
                prop_assert!(pair[1] >= pair[0] + arrivals.apart);
            }
            let after = now + limits::RETRY_AFTER_MOST * 2;
            let _ = arrivals.register(&name(99), after, &mut rng);
            prop_assert_eq!(arrivals.clusters.len(), 1);
        }
    }
}
