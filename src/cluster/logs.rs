//! The logs of containers: every line once, in order, or an explicit gap.
//!
//! Owns what is delivered of a container's log over any number of requests for it. What is
//! delivered of one run of a container (pod UID, container, restart count) is a prefix of its lines
//! with explicit gaps; a gap stands only where the kubelet serves the lines no more.
//! Owns not: who may read (`policy`) and how events travel (`commands`, `local`).
//! Invariants: nothing is kept but the keys of the last lines and one batch; nothing is read from
//! the API server before it is asked for.
//!
//! | file | owns |
//! |---|---|
//! | [`stamp`], [`mod@line`] | the bytes of an answer as stamped lines |
//! | [`track`], [`cursor`] | what was delivered, and that as a string |
//! | [`align`], `place` | where in a later answer to go on |
//! | [`pod`], `request` | the two calls that are made |
//! | `source` | one container, from run to run, through any fault |
//! | [`follower`] | several of them as one stream: pods come and go |
//! | [`options`], [`event`] | what may be asked, and what is told |
//!
//! What cannot be known: whether the first line that the kubelet serves of a run is its first, when
//! the run began and its file was rotated while nobody followed.

pub mod align;
pub mod cursor;
pub mod event;
pub mod follower;
pub mod line;
pub mod options;
pub mod pod;
pub mod stamp;
pub mod track;

mod place;
mod request;
mod source;

pub use cursor::{BadCursor, Cursor};
pub use event::{Ended, Event, Lost, Told};
pub use follower::{Follower, News, Pods, Spec};
pub use options::{Budget, Options, Since};
pub use pod::Containers;
pub use request::Name;
