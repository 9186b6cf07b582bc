//! Integration tests, one binary.

// Paths, headers and Status objects, against their fixtures.
mod kubeapi;

// The import table of CONTRIBUTING.md and the file rules.
mod layering;
