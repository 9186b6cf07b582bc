//! Every ceiling, with its reason.
