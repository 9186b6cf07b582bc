//! Two sessions over a link in memory.
