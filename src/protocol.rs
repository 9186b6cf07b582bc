//! The wire of protocol v2. Pure: no I/O, no clock, no tasks.
//!
//! Owns the types of every message and frame and their coding; the normative text is
//! `proto/README.md`, whose rules (`P-n`) are cited here and in the tests. Owns not: which message
//! may come when (`mux`, `session`) nor what a command does (`commands`).
//! Invariant: whatever bytes arrive, decoding returns a value or a named [`ErrorCode`].

pub mod codec;
pub mod command;
pub mod error;
pub mod frame;
pub mod hello;
pub mod message;
pub mod object;
pub mod resume;
pub mod version;

pub use command::{Command, CommandEnvelope};
pub use error::{ErrorBody, ErrorCode};
pub use frame::{Frame, StreamId};
pub use message::{ToAgent, ToGateway};
pub use resume::{Resume, ResumeKey};
