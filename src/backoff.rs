//! Windowed jitter between attempts to connect.
