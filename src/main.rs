//! The `pipeops-agent` program.

fn main() {}
