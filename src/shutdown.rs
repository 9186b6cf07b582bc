//! Signals, and the order of stopping.
