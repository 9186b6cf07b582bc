//! Integration tests, one binary.

// Paths, headers and Status objects, against their fixtures.
mod kubeapi;
