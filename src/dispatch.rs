//! From an opened stream to exactly one end.
