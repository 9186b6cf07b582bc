//! Maps whose keys are numbers that we or the protocol count up: streams' keys and ids.
//!
//! Owns their hash. It is no defence against chosen keys, and needs none: a peer chooses neither a
//! key nor an id, which rise by one (P-20). One multiplication instead of SipHash, which was 3 % of
//! the instructions of a GET.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map by key or id.
pub(crate) type NumberMap<K, V> = HashMap<K, V, BuildHasherDefault<Number>>;

/// Hashes one number.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Number(u64);

impl Hasher for Number {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, number: u64) {
        // The golden ratio spreads neighbours over the high bits; the low ones choose the bucket.
        let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = spread ^ (spread >> 32);
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(self.0.rotate_left(8) ^ u64::from(*byte));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::hash::BuildHasher;

    #[test]
    fn neighbours_fall_into_buckets_of_their_own() {
        let build = BuildHasherDefault::<Number>::default();
        let buckets: HashSet<u64> = (1..=1024_u32).map(|id| build.hash_one(id) % 2048).collect();
        // As many as chance would leave, at least: 2048 · (1 - e^(-1/2)) = 806.
        assert!(buckets.len() > 750, "{}", buckets.len());
        let tags: HashSet<u64> = (1..=1024_u64)
            .map(|key| build.hash_one(key) >> 57)
            .collect();
        assert_eq!(tags.len(), 128);
    }
}
