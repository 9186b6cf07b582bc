//! Where randomness comes from: the system, or in a simulation the one seeded source.
//!
//! Owns the choice between the two. Owns not: keys and tokens, which are the cryptographic
//! library's. Invariant: whatever decides when or how something is done draws from here, so that a
//! simulation of one seed does the same twice.

use rand::Rng;

/// The source to draw from.
#[cfg(not(feature = "simulation"))]
pub(crate) fn rng() -> impl Rng {
    rand::rng()
}

/// The source to draw from.
#[cfg(feature = "simulation")]
pub(crate) fn rng() -> impl Rng {
    crate::simulation::Chance
}

/// The id of one run of a program.
pub(crate) fn run_id() -> u64 {
    rng().next_u64()
}
