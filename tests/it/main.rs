//! Integration tests, one binary.

// Paths, headers and Status objects, against their fixtures.
mod kubeapi;

// The import table of CONTRIBUTING.md and the file rules.
mod layering;

// The way to the API server, against a scripted one.
mod cluster;

// Who may do what, and its record.
mod policy;

// Fakes at the real borders.
mod support;

// The built-in sample cluster, over TLS.
#[cfg(feature = "demo")]
mod sample;
