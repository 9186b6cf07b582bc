//! The reference gateway, as its callers and its agents see it.

mod agents;
mod callers;
mod process;
mod requests;
mod rig;
