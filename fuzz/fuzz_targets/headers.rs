//! Header filters: only listed names pass, in either direction, and a second pass changes nothing.
//!
//! Input: one byte for upgrade and status, then headers as `name:value`, separated by 0x1F so that
//! names and values may hold anything else.
#![no_main]

#[path = "../../tests/it/kubeapi/lists.rs"]
mod lists;

use http::StatusCode;
use libfuzzer_sys::fuzz_target;
use pipeops_agent::kubeapi::Upgrade;
use pipeops_agent::kubeapi::headers::{self, Impersonation, Place};

const STATUSES: [u16; 8] = [101, 200, 201, 301, 302, 304, 403, 500];

fn pair(line: &[u8]) -> Option<(&str, &[u8])> {
    let colon = line
        .iter()
        .position(|&byte| byte == b':')
        .unwrap_or(line.len());
    let (name, value) = line.split_at(colon);
    Some((
        std::str::from_utf8(name).ok()?,
        value.get(1..).unwrap_or_default(),
    ))
}

fuzz_target!(|input: &[u8]| {
    let Some((flags, lines)) = input.split_first() else {
        return;
    };
    let pairs: Vec<_> = lines.split(|&byte| byte == 0x1f).filter_map(pair).collect();
    let upgrade = match flags & 3 {
        1 => Some(Upgrade::WebSocket),
        2 => Some(Upgrade::Spdy),
        _ => None,
    };
    let _ = headers::upgrade(pairs.iter().copied());
    for impersonation in [Impersonation::Refuse, Impersonation::Drop] {
        if let Ok(passed) = headers::upward(pairs.iter().copied(), upgrade, impersonation) {
            lists::check_up(passed, upgrade);
        }
    }
    let status = STATUSES[usize::from(flags >> 2 & 7)];
    let switched = upgrade.filter(|_| status == 101);
    let status = StatusCode::from_u16(status).expect("the table holds status codes");
    let place = Place {
        prefix: "/clusters/c/k8s",
        path: "/a/b",
    };
    if let Ok(passed) = headers::downward(status, pairs.iter().copied(), upgrade, place) {
        lists::check_down(&passed, switched, place);
    }
});
