//! The wire of protocol v2. Pure.
