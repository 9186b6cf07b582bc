//! Request paths: whatever is accepted is read by the restated API server as it was decided on, from
//! the received and from the canonical spelling.
//!
//! Input: one byte for method and upgrade, then path and query as in a request line.
#![no_main]

#[path = "../../tests/it/kubeapi/server.rs"]
mod server;

use http::Method;
use libfuzzer_sys::fuzz_target;
use pipeops_agent::kubeapi::{RequestPath, Upgrade};

const METHODS: [Method; 8] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
    Method::CONNECT,
];

fuzz_target!(|input: &[u8]| {
    let Some((flags, text)) = input.split_first() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    let method = &METHODS[usize::from(flags & 7)];
    let upgrade = match flags >> 3 & 3 {
        1 => Some(Upgrade::WebSocket),
        2 => Some(Upgrade::Spdy),
        _ => None,
    };
    let (path, query) = match text.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (text, None),
    };
    if let Ok(parsed) = RequestPath::parse(method, path, query, upgrade) {
        server::check(&parsed, path);
    }
});
