//! Where in an answer the lines end that were delivered before: ordered overlap.
//!
//! Owns the two ways to find the place: [`Skip`] checks the one that is expected, [`Search`] looks
//! at a whole answer. Owns not: how answers are got (`open`), what was delivered (`track`). Pure.
//! Invariants: stamps are never compared, order alone decides; a place is only given where the
//! lines before it are the last that were delivered, as far as the answer reaches back; memory is
//! bounded by [`limits::logs::KEYS`], whatever the answer holds.

use crate::limits;

/// Where to go on in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// So many lines of the answer were delivered before.
    pub skip: u64,
    /// So many of them, the last, are known by their keys.
    pub known: usize,
    /// No other place would do as well.
    pub certain: bool,
}

/// Checks that an answer begins with what was delivered before.
#[derive(Debug)]
pub struct Skip {
    left: u64,
    /// The key of the answer's first line.
    first: Option<u32>,
    /// The keys of the last lines before the place.
    last: Vec<u32>,
}

/// What [`Skip::check`] makes of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checked {
    /// It was delivered before, and so was the next.
    More,
    /// It was delivered before, and was the last of those.
    Aligned,
    /// It is not what was delivered at this place.
    Other,
}

impl Skip {
    /// To skip `skip` lines of which the last have the keys `last`. With `first`, the very first
    /// line is checked as well: an answer from another file is found out at once.
    #[must_use]
    pub fn new(skip: u64, first: Option<u32>, last: &[u32]) -> Self {
        let known = usize::try_from(skip).map_or(last.len(), |skip| skip.min(last.len()));
        Self {
            left: skip,
            first,
            last: last[last.len() - known..].to_vec(),
        }
    }

    /// Whether nothing is left to be skipped.
    #[must_use]
    pub const fn aligned(&self) -> bool {
        self.left == 0
    }

    /// Takes the next line's key.
    pub fn check(&mut self, key: u32) -> Checked {
        if self.left == 0 {
            return Checked::Aligned;
        }
        if self.first.take().is_some_and(|first| first != key) {
            return Checked::Other;
        }
        let known = usize::try_from(self.left)
            .ok()
            .and_then(|left| self.last.len().checked_sub(left));
        if known.is_some_and(|at| self.last[at] != key) {
            return Checked::Other;
        }
        self.left -= 1;
        if self.left == 0 {
            Checked::Aligned
        } else {
            Checked::More
        }
    }
}

/// Looks through a whole answer for the place.
///
/// A place is the end of a run of lines that are the last delivered ones: all of those that are
/// known, anywhere, or fewer, where the answer begins with them (the lines before them are in a
/// file that is not served any more). The answer's first line may be another: where a rotation
/// fell into a long line, the file begins with the rest of it, which looks like a line.
#[derive(Debug)]
pub struct Search {
    /// The keys of the last delivered lines.
    last: Vec<u32>,
    /// Where the place is if nothing was rotated.
    expected: Option<u64>,
    /// For each length of a begun run: the next shorter one (Knuth, Morris, Pratt).
    shorter: Vec<usize>,
    /// How long the run is that the lines so far end with.
    run: usize,
    seen: u64,
    /// The first lines, no more than `last` has.
    head: Vec<u32>,
    /// Places behind a whole run.
    whole: Whole,
}

/// The places found so far, as many as a choice needs.
#[derive(Debug, Default)]
struct Whole {
    count: u64,
    /// The expected one.
    expected: Option<u64>,
    /// The last one before it.
    before: Option<u64>,
    /// The first one of all.
    first: Option<u64>,
    /// The last one of all.
    latest: Option<u64>,
}

impl Search {
    /// To find the end of `last` (at most [`limits::logs::KEYS`], the oldest first; not empty);
    /// `expected` is where it lies unless the file was rotated.
    #[must_use]
    pub fn new(last: &[u32], expected: Option<u64>) -> Self {
        let last = last[last.len().saturating_sub(limits::logs::KEYS)..].to_vec();
        let mut shorter = vec![0; last.len() + 1];
        let mut run = 0;
        for end in 1..last.len() {
            while run > 0 && last[run] != last[end] {
                run = shorter[run];
            }
            if last[run] == last[end] {
                run += 1;
            }
            shorter[end + 1] = run;
        }
        Self {
            head: Vec::with_capacity(last.len()),
            last,
            expected,
            shorter,
            run: 0,
            seen: 0,
            whole: Whole::default(),
        }
    }

    /// Takes the next line's key.
    pub fn push(&mut self, key: u32) {
        if self.last.is_empty() {
            return;
        }
        self.seen += 1;
        if self.head.len() < self.last.len() {
            self.head.push(key);
        }
        if self.run == self.last.len() {
            self.run = self.shorter[self.run];
        }
        while self.run > 0 && self.last[self.run] != key {
            self.run = self.shorter[self.run];
        }
        if self.last[self.run] == key {
            self.run += 1;
        }
        if self.run == self.last.len() {
            self.found();
        }
    }

    fn found(&mut self) {
        let place = self.seen;
        let whole = &mut self.whole;
        whole.count += 1;
        whole.first.get_or_insert(place);
        whole.latest = Some(place);
        match self.expected {
            Some(expected) if place == expected => whole.expected = Some(place),
            Some(expected) if place < expected => whole.before = Some(place),
            Some(_) | None => {}
        }
    }

    /// The place, after the answer's last line. Of several, the expected one; or else the last
    /// before it, because rotation only takes lines away; where nothing was expected, the last.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        let whole = &self.whole;
        if let Some(skip) = whole.expected {
            return Some(Place {
                skip,
                known: self.last.len(),
                certain: true,
            });
        }
        let of_many = match self.expected {
            Some(_) => whole.before.or(whole.first),
            None => whole.latest,
        };
        if let Some(skip) = of_many {
            return Some(Place {
                skip,
                known: self.last.len(),
                certain: whole.count == 1,
            });
        }
        let (head, last) = (&self.head, &self.last);
        let mut runs = (1..last.len()).rev().flat_map(|length| {
            [0, 1].into_iter().filter_map(move |first| {
                let run = head.get(first..first + length)?;
                (run == &last[last.len() - length..]).then_some((first, length))
            })
        });
        let (first, longest) = runs.next()?;
        let place = first + longest;
        Some(Place {
            skip: place as u64,
            known: longest,
            // A shorter run that ends at the same place says the same.
            certain: runs.all(|(first, length)| first + length == place),
        })
    }
}

#[cfg(test)]
mod tests;
