//! Properties of the machine, as random operations against sentences.
//!
//! Two machines talk over two queues; the model keeps what every stream was given, and compares it
//! with what came out at the other end.

mod lasting;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::protocol::error::{ErrorBody, ErrorCode};
use crate::protocol::{CommandEnvelope, Resume, ResumeKey};

pub(super) fn start() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn config(role: Role, pool: usize) -> Config {
    Config {
        role,
        ping_every: Duration::from_secs(15),
        ping_within: Duration::from_secs(10),
        peer_window: 4096,
        own_window: 4096,
        max_streams: 8,
        pool,
        grace: Duration::from_secs(20),
    }
}

fn new_stream(upload: bool) -> NewStream {
    let command = CommandEnvelope {
        id: "1".into(),
        name: "test".into(),
        args: raw(2),
        deadline_ms: None,
        actor: None,
        idempotency_key: None,
        attempt: 1,
        traceparent: None,
    };
    NewStream {
        command,
        class: Class::Api,
        compression: None,
        upload,
        // What takes no bytes may be resumed.
        resume: (!upload).then_some(Resume {
            key: ResumeKey::new([1; 16]),
            count: 0,
            offset: 0,
        }),
    }
}

/// JSON of so many bytes: a string of dashes.
fn raw(bytes: usize) -> Box<serde_json::value::RawValue> {
    let text = format!("\"{}\"", "-".repeat(bytes.saturating_sub(2)));
    serde_json::value::RawValue::from_string(text).unwrap()
}

#[derive(Debug, Clone)]
enum Op {
    Open { upload: bool },
    GatewayPush(usize, usize),
    GatewayFin(usize),
    GatewayRead(usize),
    GatewayDrop(usize),
    AgentPush(usize, usize),
    AgentEvent(usize, usize),
    AgentRead(usize),
    AgentEnd(usize, bool),
    ToAgent(usize),
    ToGateway(usize),
    Pass(u64),
    AgentLeaves,
}

fn ops() -> impl Strategy<Value = Op> {
    let which = 0..6_usize;
    let bytes = 0..20_000_usize;
    prop_oneof![
        3 => any::<bool>().prop_map(|upload| Op::Open { upload }),
        3 => (which.clone(), bytes.clone()).prop_map(|(s, n)| Op::GatewayPush(s, n)),
        1 => which.clone().prop_map(Op::GatewayFin),
        4 => which.clone().prop_map(Op::GatewayRead),
        1 => which.clone().prop_map(Op::GatewayDrop),
        4 => (which.clone(), bytes).prop_map(|(s, n)| Op::AgentPush(s, n)),
        2 => (which.clone(), 2..9000_usize).prop_map(|(s, n)| Op::AgentEvent(s, n)),
        4 => which.clone().prop_map(Op::AgentRead),
        2 => (which, any::<bool>()).prop_map(|(s, ok)| Op::AgentEnd(s, ok)),
        6 => (1..8_usize).prop_map(Op::ToAgent),
        6 => (1..8_usize).prop_map(Op::ToGateway),
        1 => (0..3000_u64).prop_map(Op::Pass),
        1 => Just(Op::AgentLeaves),
    ]
}

#[derive(Debug, Default)]
struct Model {
    gateway: Option<Key>,
    agent: Option<Key>,
    up_sent: u64,
    up_got: u64,
    down_sent: u64,
    down_got: u64,
    /// Bytes that the gateway's reader took, of data and of events.
    taken: u64,
    lasting: bool,
    ends: u32,
    broken: bool,
}

struct World {
    now: Instant,
    gateway: Mux,
    agent: Mux,
    to_agent: VecDeque<Signal>,
    to_gateway: VecDeque<Signal>,
    streams: Vec<Model>,
    by_id: BTreeMap<u32, usize>,
}

/// Bytes that say their own place in the stream.
fn pattern(from: u64, n: usize) -> Bytes {
    (0..n as u64).map(|i| ((from + i) % 251) as u8).collect()
}

fn is_pattern(from: u64, bytes: &[u8]) -> bool {
    (from..)
        .zip(bytes)
        .all(|(i, byte)| u64::from(*byte) == i % 251)
}

impl World {
    fn new(pool: usize) -> Self {
        let now = start();
        Self {
            now,
            gateway: Mux::new(config(Role::Gateway, pool), now),
            agent: Mux::new(config(Role::Agent, pool), now),
            to_agent: VecDeque::new(),
            to_gateway: VecDeque::new(),
            streams: Vec::new(),
            by_id: BTreeMap::new(),
        }
    }

    fn run(&mut self, op: &Op) {
        let now = self.now;
        match *op {
            Op::Open { upload } => {
                if let Ok(key) = self.gateway.open(now, new_stream(upload)) {
                    self.streams.push(Model {
                        gateway: Some(key),
                        lasting: !upload,
                        ..Model::default()
                    });
                }
            }
            Op::GatewayPush(s, n) => self.push(s, n, true),
            Op::GatewayFin(s) => {
                if let Some(key) = self.stream(s).and_then(|m| m.gateway) {
                    self.gateway.fin(key);
                }
            }
            Op::GatewayRead(s) => self.gateway_read(s),
            Op::GatewayDrop(s) => {
                let Some(model) = self.stream(s) else { return };
                if let Some(key) = model.gateway.take() {
                    model.broken = true;
                    self.gateway.release(key, Half::Reader);
                    self.gateway.release(key, Half::Writer);
                }
            }
            Op::AgentPush(s, n) => self.push(s, n, false),
            Op::AgentEvent(s, n) => {
                let Some(key) = self.stream(s).and_then(|m| m.agent) else {
                    return;
                };
                if let Ok(Some(_)) = self.agent.room(key) {
                    self.agent.push_event(now, key, raw(n)).unwrap();
                }
            }
            Op::AgentRead(s) => self.agent_read(s),
            Op::AgentEnd(s, ok) => {
                let Some(model) = self.stream(s) else { return };
                let Some(key) = model.agent.take() else {
                    return;
                };
                model.broken |= !ok;
                let bad = ErrorBody::new(ErrorCode::UpstreamFailed, "");
                self.agent.end(key, if ok { Ok(None) } else { Err(bad) });
                for half in [Half::Reader, Half::Writer, Half::Ender] {
                    self.agent.release(key, half);
                }
            }
            Op::ToAgent(n) => (0..n).for_each(|_| self.carry_down()),
            Op::ToGateway(n) => (0..n).for_each(|_| self.carry_up()),
            Op::Pass(ms) => {
                self.now += Duration::from_millis(ms);
                if self.gateway.tick(self.now).is_err() || self.agent.tick(self.now).is_err() {
                    // Nothing was carried for so long that a ping timed out: honest, and the end.
                    self.gateway.lose();
                    self.agent.lose();
                }
            }
            Op::AgentLeaves => self.agent.leave(now, ErrorCode::ShuttingDown, "", None),
        }
    }

    fn stream(&mut self, s: usize) -> Option<&mut Model> {
        let count = self.streams.len();
        if count == 0 {
            None
        } else {
            self.streams.get_mut(count - 1 - s.min(count - 1))
        }
    }

    fn push(&mut self, s: usize, n: usize, up: bool) {
        let now = self.now;
        let Some(model) = self.stream(s) else { return };
        let (key, sent) = if up {
            (model.gateway, model.up_sent)
        } else {
            (model.agent, model.down_sent)
        };
        let Some(key) = key else { return };
        let mux = if up {
            &mut self.gateway
        } else {
            &mut self.agent
        };
        if let Ok(Some(room)) = mux.room(key) {
            let n = n.min(room);
            mux.push(now, key, pattern(sent, n), false).unwrap();
            let model = self.stream(s).unwrap();
            *(if up {
                &mut model.up_sent
            } else {
                &mut model.down_sent
            }) += n as u64;
        }
    }

    fn gateway_read(&mut self, s: usize) {
        let now = self.now;
        let Some(key) = self.stream(s).and_then(|m| m.gateway) else {
            return;
        };
        match self.gateway.read(now, key) {
            Ok(Some(Item::Data(bytes, _))) => {
                let model = self.stream(s).unwrap();
                assert!(
                    is_pattern(model.down_got, &bytes),
                    "bytes in order, each once"
                );
                model.down_got += bytes.len() as u64;
                model.taken += bytes.len() as u64;
                assert!(model.down_got <= model.down_sent);
            }
            Ok(Some(Item::Event(event))) => {
                self.stream(s).unwrap().taken += event.get().len() as u64;
            }
            Ok(Some(Item::End(outcome))) => {
                let model = self.stream(s).unwrap();
                model.ends += 1;
                assert_eq!(model.ends, 1, "exactly one end");
                if outcome.is_ok() {
                    assert_eq!(
                        model.down_got, model.down_sent,
                        "a good end comes after all bytes"
                    );
                }
            }
            Ok(_) | Err(HandleError::Ended | HandleError::Lost) => {}
            Err(HandleError::Reset(code)) => assert_eq!(code, ErrorCode::SlowReader),
        }
    }

    fn agent_read(&mut self, s: usize) {
        let now = self.now;
        let Some(key) = self.stream(s).and_then(|m| m.agent) else {
            return;
        };
        if let Ok(Some(Item::Data(bytes, _))) = self.agent.read(now, key) {
            let model = self.stream(s).unwrap();
            assert!(
                is_pattern(model.up_got, &bytes),
                "bytes in order, each once"
            );
            model.up_got += bytes.len() as u64;
        }
    }

    fn carry_down(&mut self) {
        if let Some(signal) = self.gateway.outgoing() {
            if let Signal::Open(open) = &signal {
                let key = self.gateway.ids[&open.stream];
                let at = self.streams.iter().position(|m| m.gateway == Some(key));
                self.by_id
                    .insert(open.stream.get(), at.expect("an open of the model"));
            }
            self.to_agent.push_back(signal);
        }
        if let Some(signal) = self.to_agent.pop_front() {
            let arrival = self.agent.receive(self.now, signal);
            let arrival = arrival.expect("an honest peer is no fault");
            if let Some(Arrival::Opened(key, open)) = arrival {
                self.streams[self.by_id[&open.stream.get()]].agent = Some(key);
            }
        }
    }

    fn carry_up(&mut self) {
        if let Some(signal) = self.agent.outgoing() {
            self.to_gateway.push_back(signal);
        }
        if let Some(signal) = self.to_gateway.pop_front() {
            self.gateway
                .receive(self.now, signal)
                .expect("an honest peer is no fault");
        }
    }

    /// Lets everything end: the agent ends its streams, the gateway reads to the end of each.
    fn settle(&mut self) {
        for round in 0..200_000 {
            self.carry_down();
            self.carry_up();
            for s in 0..self.streams.len() {
                self.gateway_read(s);
                if round % 16 == 0 {
                    self.agent_read(s);
                }
            }
            for s in 0..self.streams.len() {
                self.run(&Op::AgentEnd(s, true));
            }
            if self.quiet() {
                break;
            }
        }
        // What has no bytes, FIN and the end, may still wait for its reader.
        for s in 0..2 * self.streams.len() {
            self.gateway_read(s % self.streams.len());
        }
    }

    fn quiet(&self) -> bool {
        !self.gateway.has_output()
            && !self.agent.has_output()
            && self.to_agent.is_empty()
            && self.to_gateway.is_empty()
            && self.gateway.held() == 0
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn every_stream_delivers_its_bytes_once_in_order_and_ends_once(
        ops in prop::collection::vec(ops(), 1..300),
        pool in prop_oneof![Just(8 * 1024_usize), Just(1024 * 1024)],
    ) {
        let mut world = World::new(pool);
        for op in &ops {
            world.run(op);
            // One frame may lie above the pool only until it is received; then somebody pays.
            prop_assert!(world.gateway.held() <= pool && world.agent.held() <= pool);
            let queued: usize = world.agent.entries.values().map(|e| e.send.bytes).sum();
            for model in &world.streams {
                // What may be sent again is kept until its reader has taken it.
                if let Some(key) = model.agent.filter(|_| model.lasting) {
                    prop_assert!(world.agent.returned(key) <= model.taken);
                }
            }
            prop_assert!(queued <= world.agent.entries.len() * (limits::STREAM_QUEUE + 9000));
            prop_assert_eq!(queued, world.agent.queued);
        }
        world.settle();
        prop_assert!(world.quiet());
        for model in &world.streams {
            if model.gateway.is_some() && !model.broken && !world.gateway.gone {
                prop_assert!(model.ends == 1 || pool < 1 << 20, "{model:?}");
            }
        }
        // Letting go of every handle leaves nothing behind.
        for model in &world.streams {
            for half in [Half::Reader, Half::Writer] {
                if let Some(key) = model.gateway { world.gateway.release(key, half); }
            }
        }
        for _ in 0..1000 { world.carry_down(); world.carry_up(); }
        for s in 0..world.streams.len() { world.run(&Op::AgentEnd(s, true)); }
        for _ in 0..1000 { world.carry_down(); world.carry_up(); }
        prop_assert_eq!(world.gateway.entries.len(), 0);
        prop_assert_eq!(world.agent.entries.len(), 0);
        prop_assert_eq!((world.gateway.live, world.agent.live), (0, 0));
        prop_assert_eq!(world.gateway.counts().streams, [0; 3]);
        prop_assert_eq!((world.gateway.held(), world.agent.held()), (0, 0));
        prop_assert_eq!((world.gateway.queued, world.agent.queued), (0, 0));
    }
}

/// Streams that all have bytes to send and a peer that takes none hold less and less each, and each
/// has some; what room was said stays good.
#[test]
fn many_full_queues_leave_each_less() {
    let count = 1000;
    let many = Config {
        max_streams: count,
        peer_window: limits::WINDOW_FIRST,
        ..config(Role::Gateway, 1 << 20)
    };
    let mut gateway = Mux::new(many, start());
    let keys: Vec<Key> = (0..count)
        .map(|_| gateway.open(start(), new_stream(true)).unwrap())
        .collect();
    let mut queued = Vec::new();
    for key in keys {
        let mut own = 0;
        while let Some(room) = gateway.room(key).unwrap() {
            let bytes = Bytes::from(vec![0; room]);
            gateway.push(start(), key, bytes, false).unwrap();
            own += room;
        }
        queued.push(own);
    }
    assert_eq!(queued[0], limits::STREAM_QUEUE);
    assert_eq!(queued[100], limits::STREAM_QUEUE / 2);
    assert_eq!(queued[999], limits::STREAM_QUEUE / 8);
    assert!(gateway.queued < 10 * limits::QUEUES_FULL);

    let mut gateway = Mux::new(many, start());
    let key = gateway.open(start(), new_stream(true)).unwrap();
    let room = gateway.room(key).unwrap().unwrap();
    gateway.queued += 10 * limits::QUEUES_FULL;
    let bytes = Bytes::from(vec![0; room]);
    assert_eq!(gateway.push(start(), key, bytes, false), Ok(()));
}

/// A thousand streams that nobody reads are offered no more than a part of the pool.
#[test]
fn first_windows_shrink_with_what_was_given_before() {
    let mut gateway = Mux::new(
        Config {
            max_streams: 1000,
            own_window: limits::WINDOW_FIRST,
            ..config(Role::Gateway, limits::GATEWAY_POOL)
        },
        start(),
    );
    let windows: Vec<usize> = (0..1000)
        .map(|_| {
            let key = gateway.open(start(), new_stream(false)).unwrap();
            gateway.entries[&key].recv.window.outstanding()
        })
        .collect();
    let first = limits::WINDOW_FIRST as usize;
    assert_eq!(windows[7], first);
    assert_eq!(windows[8], first / 4);
    assert_eq!(windows[999], limits::WINDOW_LEAST as usize);
    assert!(windows.iter().sum::<usize>() < limits::GATEWAY_POOL / 4 * 3);
}
