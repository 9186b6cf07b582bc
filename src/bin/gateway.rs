//! The `pipeops-gateway` program.

fn main() {}
