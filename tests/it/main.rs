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

// The reference gateway, between scripted callers and scripted agents.
#[cfg(test)]
#[cfg(feature = "demo")]
mod gateway;
