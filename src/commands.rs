//! The command handlers.
