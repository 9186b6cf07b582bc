//! What has been delivered of one container's log, as far as a later answer can be aligned to it.
//!
//! Owns the window of the last lines, and how many lines an answer from a given second on begins
//! with. Owns not: finding the place (`align`), the cursor's form (`cursor`). Pure. Invariants:
//! memory is bounded by [`limits::logs::KEYS`] and [`limits::logs::SECONDS`]; a count is only told
//! where it is complete.

use std::collections::{BTreeMap, VecDeque};

use super::cursor::{Cursor, Mark};
use super::line::Line;
use super::stamp::Stamp;
use crate::limits;

/// The lines of one second.
#[derive(Debug, Clone, Copy)]
struct Second {
    count: u64,
    /// The first of them, in the order of delivery.
    first: u64,
    key: u32,
}

/// How far a log that was begun by number of lines has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tail {
    /// No line yet.
    Untouched,
    /// One line.
    First,
    /// More, or it was not begun so.
    Past,
}

/// What has been delivered of one run of a container.
#[derive(Debug, Clone)]
pub struct Track {
    /// Which run: its restart count.
    restart: u32,
    /// Lines before this second were never asked for.
    base: Option<i64>,
    /// From this second on every line of the file was delivered that is before the last one.
    complete: i64,
    /// Lines before the first one are not known.
    tail: Tail,
    /// Key and second of the last lines, the oldest first.
    last: VecDeque<(u32, i64)>,
    seconds: BTreeMap<i64, Second>,
    delivered: u64,
    stamp: Option<Stamp>,
}

impl Track {
    /// Nothing yet of a run; lines before the second `base` are not wanted.
    #[must_use]
    pub fn new(restart: u32, base: Option<i64>) -> Self {
        Self {
            restart,
            base,
            complete: base.unwrap_or(i64::MIN),
            tail: Tail::Past,
            last: VecDeque::new(),
            seconds: BTreeMap::new(),
            delivered: 0,
            stamp: None,
        }
    }

    /// Nothing yet of a run whose first lines are skipped by number, not by time.
    #[must_use]
    pub fn tail(restart: u32) -> Self {
        Self {
            tail: Tail::Untouched,
            ..Self::new(restart, None)
        }
    }

    /// What a file begins to be that is read from the second `since` on, up to where an earlier
    /// track ended: every line that is passed is [`Track::deliver`]ed.
    #[must_use]
    pub fn passing(mark: &Mark) -> Self {
        Self {
            stamp: mark.stamp,
            ..Self::new(mark.restart, mark.since)
        }
    }

    /// The run.
    #[must_use]
    pub const fn restart(&self) -> u32 {
        self.restart
    }

    /// Nothing was delivered of what was begun by number of lines.
    #[must_use]
    pub fn untouched(&self) -> bool {
        self.tail == Tail::Untouched
    }

    /// Corrects the run: the lines were those of another one than was believed.
    pub const fn relabel(&mut self, restart: u32) {
        self.restart = restart;
    }

    /// The last line's stamp.
    #[must_use]
    pub const fn stamp(&self) -> Option<Stamp> {
        self.stamp
    }

    /// Notes a line.
    pub fn deliver(&mut self, line: &Line) {
        self.note(line.key, line.stamp);
    }

    fn note(&mut self, key: u32, stamp: Stamp) {
        let second = stamp.second();
        match self.tail {
            Tail::Past => {}
            Tail::Untouched => {
                // Stamps go backwards by less than a second in practice; a wrong guess only makes
                // the next place be searched for.
                self.complete = second.saturating_add(2);
                self.tail = Tail::First;
            }
            Tail::First => {
                // The kubelet counts the records of a long line: the first one may have begun in
                // the middle of a line, which then is another line when it is read whole.
                self.last.clear();
                self.tail = Tail::Past;
            }
        }
        if self.last.len() == limits::logs::KEYS {
            self.last.pop_front();
        }
        self.last.push_back((key, second));
        let first = self.delivered;
        self.seconds
            .entry(second)
            .or_insert(Second {
                count: 0,
                first,
                key,
            })
            .count += 1;
        if self.seconds.len() > limits::logs::SECONDS
            && let Some((forgotten, _)) = self.seconds.pop_first()
        {
            self.complete = self.complete.max(forgotten.saturating_add(1));
        }
        self.delivered += 1;
        self.stamp = Some(stamp);
    }

    /// Where a later answer has to be aligned to.
    #[must_use]
    pub fn mark(&self) -> Mark {
        let earliest = self.last.iter().map(|(_, second)| *second).min();
        let since = match (earliest.map(|second| second.saturating_sub(1)), self.base) {
            (Some(second), Some(base)) => Some(second.max(base)),
            (second, base) => second.or(base),
        };
        let from = since.unwrap_or(i64::MIN);
        let within = self.seconds.range(from..);
        let (count, first) = within.fold((0, None), |(count, first), (_, second)| {
            let first = match first {
                Some(Second { first: known, .. }) if known < second.first => first,
                _ => Some(*second),
            };
            (count + second.count, first)
        });
        Mark {
            restart: self.restart,
            since,
            count: (from >= self.complete && self.tail != Tail::Untouched).then_some(count),
            first: first.map(|second: Second| second.key),
            keys: self.last.iter().map(|(key, _)| *key).collect(),
            stamp: self.stamp,
        }
    }

    /// The cursor of all that was delivered.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        Cursor::At(self.mark())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn deliver(track: &mut Track, lines: &[(u32, i64)]) {
        for (key, stamp) in lines {
            track.note(*key, Stamp(*stamp));
        }
    }

    #[test]
    fn a_run_without_lines_is_read_from_its_begin() {
        let mark = Track::new(3, None).mark();
        assert_eq!((mark.restart, mark.since, mark.count), (3, None, Some(0)));
        assert_eq!(Track::new(3, Some(7)).mark().since, Some(7));
        assert_eq!(Track::tail(3).mark().count, None);
    }

    #[test]
    fn what_a_tail_left_out_makes_the_count_unknown_until_it_is_past() {
        let mut track = Track::tail(0);
        deliver(&mut track, &[(1, 10 * SECOND)]);
        assert_eq!(track.mark().count, None);
        let later: Vec<(u32, i64)> = (0..64).map(|at| (at, 13 * SECOND)).collect();
        deliver(&mut track, &later);
        assert_eq!(track.mark().count, Some(64));
    }

    #[test]
    fn a_clock_that_is_set_back_makes_the_count_unknown_when_its_seconds_are_forgotten() {
        let mut track = Track::new(0, None);
        let many = i64::try_from(limits::logs::SECONDS).unwrap() + 100;
        for second in 0..many {
            deliver(&mut track, &[(1, second * SECOND)]);
        }
        assert_eq!(track.seconds.len(), limits::logs::SECONDS);
        assert_eq!(track.mark().count, Some(65));
        deliver(&mut track, &[(2, 50 * SECOND)]);
        assert_eq!(track.mark().count, None);
        assert_eq!(track.seconds.len(), limits::logs::SECONDS);
    }

    proptest! {
        #[test]
        fn an_answer_from_its_second_on_begins_with_as_many_lines_as_it_says(
            stamps in proptest::collection::vec(0i64..20, 1..300), base in proptest::option::of(0i64..20),
        ) {
            let lines: Vec<(u32, i64)> = (0u32..)
                .zip(&stamps)
                .filter(|(_, second)| base.is_none_or(|base| **second >= base))
                .map(|(key, second)| (key, second * SECOND + 5))
                .collect();
            let mut track = Track::new(0, base);
            deliver(&mut track, &lines);
            let mark = track.mark();
            let answer: Vec<u32> = lines
                .iter()
                .filter(|(_, stamp)| mark.since.is_none_or(|since| *stamp >= since * SECOND))
                .map(|(key, _)| *key)
                .collect();
            prop_assert_eq!(mark.count, Some(answer.len() as u64));
            prop_assert_eq!(mark.first, answer.first().copied());
            let known = &lines[lines.len().saturating_sub(limits::logs::KEYS)..];
            let known: Vec<u32> = known.iter().map(|(key, _)| *key).collect();
            prop_assert!(answer.ends_with(&known), "the known lines are served");
            prop_assert_eq!(mark.keys, known);
        }
    }
}
