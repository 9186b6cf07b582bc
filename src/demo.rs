//! Agent and gateway in one process.
