//! What a follower knows of each object: that it is there, in which version, and the little that
//! its caller keeps of it.
//!
//! Pure. Invariants: what a listing did not bring is gone after it; an object in a version that is
//! known is no news; all followers of a process together know at most
//! [`limits::OBJECTS_FOLLOWED`] objects.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::limits;

/// Stands for an object's `metadata.uid`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uid([u8; 16]);

impl Uid {
    /// The 16 bytes of a UUID; of any other text its digest.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let digits = text.bytes().filter(|byte| *byte != b'-');
        let mut bytes = [0; 16];
        let mut count = 0;
        for digit in digits {
            let value = char::from(digit).to_digit(16).map(|value| value as u8);
            match (value, bytes.get_mut(count / 2)) {
                (Some(value), Some(byte)) => *byte = *byte << 4 | value,
                _ => return Self::digest(text),
            }
            count += 1;
        }
        if count == 32 {
            Self(bytes)
        } else {
            Self::digest(text)
        }
    }

    fn digest(text: &str) -> Self {
        let half = |salt: u8| {
            let mut hasher = DefaultHasher::new();
            (salt, text).hash(&mut hasher);
            hasher.finish().to_be_bytes()
        };
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&half(0));
        bytes[8..].copy_from_slice(&half(1));
        Self(bytes)
    }
}

/// A resourceVersion, to be compared for equality only.
fn version(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        hasher.finish()
    })
}

#[derive(Debug)]
struct Entry<V> {
    version: u64,
    listing: u32,
    value: V,
}

/// What became of an object by a look at it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News<V> {
    /// It was not known.
    Added,
    /// It was known in another version, with this value.
    Changed(V),
    /// Nothing.
    Same,
}

/// No room for another object.
#[derive(Debug)]
pub(super) struct Full;

/// All objects that one follower knows.
#[derive(Debug)]
pub(super) struct Known<V> {
    entries: HashMap<Uid, Entry<V>>,
    listing: u32,
    /// Those of all followers.
    all: Arc<AtomicUsize>,
}

impl<V: Default> Known<V> {
    pub(super) fn new(all: Arc<AtomicUsize>) -> Self {
        Self {
            entries: HashMap::new(),
            listing: 0,
            all,
        }
    }

    /// Every object is news when it is seen again.
    pub(super) fn forget_versions(&mut self) {
        for entry in self.entries.values_mut() {
            // No object has it: it stands for "any" in requests.
            entry.version = 0;
        }
    }

    /// A listing begins: what it does not bring is gone.
    pub(super) fn begin(&mut self) {
        self.listing = self.listing.wrapping_add(1);
    }

    /// An object as it is now.
    pub(super) fn see(&mut self, uid: Uid, text: &str) -> Result<News<V>, Full> {
        let version = version(text);
        let listing = self.listing;
        if let Some(entry) = self.entries.get_mut(&uid) {
            entry.listing = listing;
            if entry.version == version {
                return Ok(News::Same);
            }
            entry.version = version;
            return Ok(News::Changed(std::mem::take(&mut entry.value)));
        }
        let room = |count: usize| (count < limits::OBJECTS_FOLLOWED).then_some(count + 1);
        self.all
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, room)
            .map_err(|_| Full)?;
        let entry = Entry {
            version,
            listing,
            value: V::default(),
        };
        self.entries.insert(uid, entry);
        Ok(News::Added)
    }

    /// What is to be kept of an object that was just seen.
    pub(super) fn keep(&mut self, uid: Uid, value: V) {
        if let Some(entry) = self.entries.get_mut(&uid) {
            entry.value = value;
        }
    }

    pub(super) fn remove(&mut self, uid: Uid) -> Option<V> {
        let entry = self.entries.remove(&uid)?;
        self.all.fetch_sub(1, Ordering::Relaxed);
        Some(entry.value)
    }

    /// Those that the listing did not bring, in order.
    pub(super) fn stale(&self) -> Vec<Uid> {
        let stale =
            |(uid, entry): (&Uid, &Entry<V>)| (entry.listing != self.listing).then_some(*uid);
        let mut gone: Vec<_> = self.entries.iter().filter_map(stale).collect();
        gone.sort_unstable();
        gone
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

impl<V> Drop for Known<V> {
    fn drop(&mut self) {
        self.all.fetch_sub(self.entries.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Known<u8> {
        Known::new(Arc::default())
    }

    #[test]
    fn uids_differ_where_their_texts_do() {
        let texts = [
            "6f1c3a52-0b7e-4a58-9a30-000000000001",
            "6f1c3a52-0b7e-4a58-9a30-000000000002",
            "6f1c3a52-0b7e-4a58-9a30-00000000000",
            "6f1c3a52-0b7e-4a58-9a30-0000000000010",
            "a",
            "",
        ];
        let all: std::collections::BTreeSet<Uid> =
            texts.iter().map(|text| Uid::new(text)).collect();
        assert_eq!(all.len(), texts.len());
        assert_eq!(Uid::new(&texts[0].to_uppercase()), Uid::new(texts[0]));
    }

    #[test]
    fn what_a_listing_did_not_bring_is_stale_and_what_it_brought_unchanged_is_no_news() {
        let mut known = known();
        let (a, b) = (Uid::new("a"), Uid::new("b"));
        known.begin();
        assert_eq!(known.see(a, "1").unwrap(), News::Added);
        known.keep(a, 7);
        assert_eq!(known.see(b, "x2").unwrap(), News::Added);
        assert!(known.stale().is_empty());
        known.begin();
        assert_eq!(known.see(a, "1").unwrap(), News::Same);
        assert_eq!(known.stale(), [b]);
        assert_eq!(known.see(a, "3").unwrap(), News::Changed(7));
        assert_eq!(known.remove(b), Some(0));
        assert_eq!(known.remove(b), None);
        assert_eq!(known.len(), 1);
    }

    #[test]
    fn all_followers_share_one_bound_and_give_their_share_back() {
        let all = Arc::new(AtomicUsize::new(limits::OBJECTS_FOLLOWED - 1));
        let mut one = Known::<u8>::new(all.clone());
        let mut other = Known::<u8>::new(all.clone());
        assert!(one.see(Uid::new("a"), "1").is_ok());
        assert!(other.see(Uid::new("a"), "1").is_err());
        assert!(one.see(Uid::new("a"), "2").is_ok());
        drop(one);
        assert!(other.see(Uid::new("a"), "1").is_ok());
        other.remove(Uid::new("a"));
        drop(other);
        assert_eq!(all.load(Ordering::Relaxed), limits::OBJECTS_FOLLOWED - 1);
    }
}
