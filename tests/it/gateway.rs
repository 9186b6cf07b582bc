//! The reference gateway, as its callers and its agents see it.

mod agents;
mod arriving;
mod callers;
mod commands;
mod leaving;
pub(crate) mod process;
mod replicas;
mod requests;
mod resume;
pub(crate) mod rig;
mod sse;
