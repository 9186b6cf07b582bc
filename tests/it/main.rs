//! Integration tests, one binary.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

// Paths, headers and Status objects, against their fixtures.
mod kubeapi;

// Bodies and events of a session without a WebSocket, against their fixtures.
mod carriage;

// The import table of CONTRIBUTING.md and the file rules.
mod layering;

// The way to the API server, against a scripted one.
mod cluster;

// The handlers, through a session.
mod commands;

// From an opened stream to its one end.
mod dispatch;

// Who may do what, and its record.
mod policy;

// Fakes at the real borders.
mod support;

// docs/faults.md: what it names exists.
mod faults;

// The built-in sample cluster, over TLS.
#[cfg(feature = "demo")]
mod sample;

// The reference gateway, between scripted callers and scripted agents.
#[cfg(test)]
#[cfg(feature = "demo")]
mod gateway;

// Agent and gateway without a WebSocket between them.
#[cfg(feature = "demo")]
mod sse;

// Which transport is taken, where something on the way meddles.
#[cfg(feature = "demo")]
mod ladder;

// The uplink, against a scripted gateway.
#[cfg(feature = "demo")]
mod uplink;

// The doctor, against staged faults.
#[cfg(feature = "demo")]
mod doctor;

// A real agent and a real gateway whose channel is cut.
#[cfg(feature = "demo")]
mod resume;

// An agent that moves from one gateway to the next while what runs goes on.
mod moving;

// What operators add, against real sockets.
mod extensions;

// The agent's own server.
mod local;

// Questions to it from beside the agent.
mod inquiry;

// Events about the channel.
mod announcer;

// What is installed: roles and manifest against the policy.
mod deploy;

// The agent as a program, beside the gateway as one.
#[cfg(feature = "demo")]
mod agent;

// The demo and the agent as programs.
#[cfg(feature = "demo")]
mod demo;

// Schema drift, and every fixture of `fixtures/frames` against the codec.
mod protocol;

// Whole sessions, replayed against each end.
mod conformance;
