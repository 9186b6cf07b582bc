//! The wire against what is committed: schemas, and the fixtures of `fixtures/frames/v2`.
//!
//! Owns the five checks but the transcripts, which `conformance` replays. The fixtures' format is
//! described in `fixtures/README.md`. Invariant: a fixture that no check reads is a failure.

mod accept;
mod coverage;
#[cfg(feature = "schema")]
mod drift;
pub(crate) mod fixture;
mod reject;
mod schema;
