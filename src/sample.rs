//! The built-in sample cluster.
