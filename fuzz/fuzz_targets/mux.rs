//! The mux in both roles, against a peer that says anything in any order while the handles work.
//!
//! Input: one byte for the role, then steps of four bytes: what, which stream, and a number. Half of
//! the steps are signals from the peer, half are what handlers do. Held, whatever the steps are: no
//! panic, no more bytes held than the pool, no more streams than allowed, and a control queue that
//! the session would not let grow further.
#![no_main]

use std::time::{Duration, Instant};

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use pipeops_agent::limits;
use pipeops_agent::mux::{Arrival, Config, Half, Key, Mux, NewStream, Role, Signal};
use pipeops_agent::protocol::error::{ErrorBody, ErrorCode};
use pipeops_agent::protocol::message::{Class, Goaway, Heartbeat, Open};
use pipeops_agent::protocol::{CommandEnvelope, Resume, ResumeKey, StreamId};
use serde_json::value::RawValue;

const POOL: usize = 64 * 1024;
const STREAMS: u32 = 16;

fn raw(bytes: usize) -> Box<RawValue> {
    RawValue::from_string(format!("\"{}\"", "x".repeat(bytes))).expect("a JSON string")
}

fn command() -> CommandEnvelope {
    CommandEnvelope {
        id: String::new(),
        name: String::new(),
        args: raw(0),
        deadline_ms: None,
        actor: None,
        idempotency_key: None,
        attempt: 1,
        traceparent: None,
    }
}

/// Half of the streams carry a command that may be resumed.
fn resume(number: usize) -> Option<Resume> {
    let key = ResumeKey::new([1; 16]);
    (number & 2 == 2).then_some(Resume {
        key,
        count: 0,
        offset: 0,
    })
}

fn class(number: usize) -> Class {
    Class::ALL[number % Class::ALL.len()]
}

/// What the peer says; sizes go past every limit.
fn signal(what: u8, stream: StreamId, number: usize) -> Signal {
    let bytes = number * 8;
    match what % 14 {
        0 | 1 => Signal::Open(Box::new(Open {
            stream,
            window: u32::try_from(number * 16).unwrap_or(u32::MAX),
            class: class(number),
            compression: None,
            resume: resume(number),
            command: command(),
        })),
        2 => Signal::Event {
            stream,
            event: raw(number),
        },
        3..=5 => Signal::Data {
            stream,
            fin: number & 7 == 7,
            zstd: number & 8 == 8,
            payload: Bytes::from(vec![0; bytes % (limits::BINARY_MESSAGE)]),
        },
        6 => Signal::End {
            stream,
            outcome: Ok(None),
        },
        7 => Signal::Window {
            stream,
            bytes: u32::try_from(bytes * 4096).unwrap_or(u32::MAX),
        },
        8 => Signal::Window {
            stream,
            bytes: u32::try_from(number).unwrap_or(u32::MAX),
        },
        9 => Signal::Reset {
            stream,
            code: ErrorCode::Cancelled,
        },
        10 => Signal::Ping(0),
        11 => Signal::Pong(u32::try_from(number).unwrap_or(0)),
        12 => Signal::Heartbeat(Heartbeat {
            seq: 1,
            ready: true,
            streams: 0,
            commands: 0,
            uptime_s: 0,
            summary: None,
        }),
        _ if number & 1 == 0 => Signal::Unknown,
        _ => Signal::Goaway(Goaway {
            code: ErrorCode::ShuttingDown,
            message: String::new(),
            last_stream: Some(stream).filter(|_| number & 2 == 0),
            reconnect: None,
        }),
    }
}

/// What a handler does.
fn act(mux: &mut Mux, now: Instant, what: u8, key: Option<Key>, number: usize) -> Option<Key> {
    let key = match (what % 10, key) {
        (0, _) => {
            let new = NewStream {
                command: command(),
                class: class(number),
                compression: None,
                upload: number & 1 == 1,
                resume: resume(number),
            };
            return mux.open(now, new).ok();
        }
        (_, Some(key)) => key,
        (_, None) => return None,
    };
    match what % 10 {
        1 | 2 => drop(mux.read(now, key)),
        3 => {
            if let Ok(Some(room)) = mux.room(key) {
                let fits = mux.push(now, key, Bytes::from(vec![1; number.min(room)]), false);
                assert!(fits.is_ok(), "what fits the room is taken");
            }
        }
        4 => {
            if let Ok(Some(_)) = mux.room(key) {
                let _ = mux.push_event(now, key, raw(number));
            }
        }
        5 => mux.fin(key),
        6 => mux.end(key, Ok(None)),
        7 => mux.end(key, Err(ErrorBody::new(ErrorCode::Internal, ""))),
        8 => mux.reset(key, ErrorCode::Cancelled),
        _ => [Half::Reader, Half::Writer, Half::Ender]
            .into_iter()
            .take(1 + number % 3)
            .for_each(|half| mux.release(key, half)),
    }
    None
}

fuzz_target!(|input: &[u8]| {
    let Some((role, steps)) = input.split_first() else {
        return;
    };
    let role = if role & 1 == 0 {
        Role::Agent
    } else {
        Role::Gateway
    };
    let start = Instant::now();
    let config = Config {
        role,
        ping_every: Duration::from_secs(15),
        ping_within: Duration::from_secs(10),
        peer_window: limits::WINDOW_LEAST,
        own_window: limits::WINDOW_LEAST,
        max_streams: STREAMS,
        pool: POOL,
        grace: Duration::from_secs(1),
    };
    let mut mux = Mux::new(config, start);
    let mut now = start;
    let mut keys: Vec<Key> = Vec::new();
    for step in steps.chunks_exact(4) {
        let [what, which, high, low] = *step else {
            return;
        };
        let number = usize::from(u16::from_be_bytes([high, low]));
        let Some(stream) = StreamId::new(u32::from(which & 63)) else {
            continue;
        };
        if what & 0xc0 == 0 {
            now += Duration::from_millis(number as u64 / 16);
            if mux.tick(now).is_err() {
                return;
            }
            for _ in 0..=number % 8 {
                let _ = mux.outgoing();
            }
        } else if what & 0x80 == 0 {
            match mux.receive(now, signal(what, stream, number)) {
                Ok(Some(Arrival::Opened(key, _))) => keys.push(key),
                Ok(_) => {}
                // The session ends here.
                Err(_) => return,
            }
        } else {
            let key = keys.get(usize::from(which) % keys.len().max(1)).copied();
            keys.extend(act(&mut mux, now, what, key, number));
        }
        while mux.wake().is_some() {}
        assert!(mux.held() <= POOL, "the pool holds");
        assert!(
            mux.counts().streams.iter().sum::<u32>() <= STREAMS + 2048,
            "streams are bounded"
        );
        assert!(mux.deadline() >= start);
    }
    mux.lose();
    for key in keys {
        for half in [Half::Reader, Half::Writer, Half::Ender] {
            mux.release(key, half);
        }
    }
    assert_eq!(mux.held(), 0, "nothing stays behind");
    assert_eq!(mux.counts().streams, [0; 3]);
});
