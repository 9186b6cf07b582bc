//! Tests in Rust that need the real cluster; the shell's are in `tests/cluster/checks/`.
//!
//! Run by `tests/run`, which says where the API server is: `PIPEOPS_TEST_API` names the env file of
//! an instance of `tests/cluster/cluster.sh`. Without it they fail, they do not skip.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod tunnel;
mod watcher;
