//! The logs of containers: every line once, in order, or an explicit gap.
//!
//! Owns what is delivered of a container's log over any number of requests for it. What is
//! delivered of one run of a container (pod UID, container, restart count) is a prefix of its lines
//! with explicit gaps; a gap stands only where the kubelet serves the lines no more.
//! Invariants: nothing is kept but the keys of the last lines and one batch; nothing is read from
//! the API server before it is asked for.
//!
//! | file | owns |
//! |---|---|
//! | [`stamp`], [`line`] | the bytes of an answer as stamped lines |
//! | [`track`], [`cursor`] | what was delivered, and that as a string |
//! | [`align`] | where in a later answer to go on |

pub mod align;
pub mod cursor;
pub mod line;
pub mod stamp;
pub mod track;
