//! PipeOps Agent: Kubernetes clusters behind NAT, reached through one outbound channel.
//!
//! The folder names are the data path, in order, and back:
//!
//! ```text
//!  gateway ══WSS══▶ link ─▶ session (codec) ─▶ mux ──over a limit──▶ end{busy}
//!                                              │ Incoming{command, stream}
//!                                              ▼
//!                              dispatch ─▶ policy ──denied──▶ audit, end{forbidden}
//!                                              │ Permit
//!                                              ▼
//!                              commands/<name> ─▶ cluster ─▶ kube-apiserver
//!                                              │ events and bytes
//!                                              ▼
//!           session/stream (waits for credit) ─▶ mux/outbound (priority) ─▶ link ══▶ gateway
//! ```
//!
//! Invariants that hold everywhere:
//! - Nothing a peer sends panics, blocks another stream, or grows memory past `limits`.
//! - A stream gets exactly one `end`; a handler runs only with a `Permit`.
//! - `protocol`, `mux` and `kubeapi` do no I/O, read no clock and spawn nothing.
//! - Every task has an owner (`tasks`), every wait on the outside a deadline.
//!
//! Who may import whom is a table in `CONTRIBUTING.md`, held by `tests/it/layering.rs`.

// The wire, pure.
pub mod kubeapi;
pub mod mux;
pub mod protocol;

// The channel, either role.
pub mod link;
pub mod session;

// The agent, along the data path.
pub mod cluster;
pub mod commands;
pub mod dispatch;
pub mod policy;
pub mod uplink;

// What stands beside the path.
pub mod announcer;
pub mod extensions;
#[cfg(feature = "gateway")]
pub mod gateway;
pub mod health;
pub mod inquiry;
pub mod local;
#[cfg(feature = "demo")]
pub mod sample;

// Composition.
pub mod agent;
pub mod cli;
pub mod config;
#[cfg(feature = "demo")]
pub mod demo;
pub mod doctor;
pub mod rbac;
pub mod release;

// Leaves.
mod authorities;
pub mod backoff;
mod chance;
pub mod limits;
pub mod metrics;
mod presented;
mod reach;
pub mod shutdown;
#[cfg(feature = "simulation")]
pub mod simulation;
pub mod status;
pub mod tasks;
pub mod telemetry;
pub mod termination;
