//! The agent's local HTTP server.
