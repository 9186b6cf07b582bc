//! Credit of streams that may be resumed: it says what was taken.

use super::*;

/// An agent's and a gateway's machine with one stream that may be resumed, and its keys.
fn lasting() -> (World, Key, Key) {
    let mut world = World::new(1024 * 1024);
    world.run(&Op::Open { upload: false });
    world.carry_down();
    let model = &world.streams[0];
    let keys = (model.gateway.unwrap(), model.agent.unwrap());
    (world, keys.0, keys.1)
}

#[test]
fn a_lasting_streams_reader_returns_all_that_it_took_with_a_tick() {
    let (mut world, _, agent) = lasting();
    world.run(&Op::AgentEvent(0, 7));
    world.run(&Op::AgentPush(0, 10));
    for _ in 0..4 {
        world.carry_up();
    }
    world.run(&Op::GatewayRead(0));
    assert_eq!(world.agent.returned(agent), 0);
    world.run(&Op::Pass(1_000));
    world.run(&Op::ToAgent(4));
    assert_eq!(world.agent.returned(agent), 7);
    world.run(&Op::GatewayRead(0));
    world.run(&Op::Pass(1_000));
    world.run(&Op::ToAgent(4));
    assert_eq!(world.agent.returned(agent), 17);
}

#[test]
fn credit_that_acknowledges_everything_is_no_flood_and_other_small_credit_is() {
    let (mut world, _, agent) = lasting();
    let stream = StreamId::FIRST;
    let credit = |world: &mut World, bytes| {
        let signal = Signal::Window { stream, bytes };
        world.agent.receive(world.now, signal).map(drop)
    };
    for _ in 0..20_000 {
        world.run(&Op::AgentPush(0, 2));
        // The gateway is the test.
        while world.agent.outgoing().is_some() {}
        credit(&mut world, 2).expect("each says that all was taken");
    }
    assert_eq!(world.agent.returned(agent), 40_000);
    // Byte by byte of what was sent is what only an attacker does.
    world.run(&Op::AgentPush(0, 4_000));
    let mut fault = Ok(());
    for _ in 0..16 {
        for _ in 0..3_999 {
            fault = fault.and_then(|()| credit(&mut world, 1));
        }
        while world.agent.outgoing().is_some() {}
        world.run(&Op::AgentPush(0, 3_999));
    }
    assert_eq!(fault.unwrap_err().code, ErrorCode::Flood);
}
