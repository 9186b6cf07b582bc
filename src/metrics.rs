//! The Prometheus registry.
