//! The pure Kubernetes API layer, held to its fixtures and to a restatement of the server's rules.
//!
//! `paths`: fixtures, limits and properties of request paths. `headers`: the two allow-lists.
//! `status`: what our failures look like. `server`, `lists`: decode, split and lists, restated.

mod headers;
mod lists;
mod paths;
mod server;
mod status;

use std::fs;
use std::path::Path;

use serde::de::DeserializeOwned;

/// Every line of a fixture file, with its line number for the failure message.
fn fixture<T: DeserializeOwned>(path: &str) -> Vec<(usize, T)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(path);
    let text = fs::read_to_string(&path).expect("the fixture is there");
    text.lines()
        .enumerate()
        .map(|(at, line)| {
            (
                at + 1,
                serde_json::from_str(line).expect("one JSON object a line"),
            )
        })
        .collect()
}
