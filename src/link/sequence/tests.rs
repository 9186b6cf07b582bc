//! The sequences, over a way that loses, repeats and reorders.

use proptest::prelude::*;

use super::*;

fn numbers(outgoing: &Outgoing<u32>, after: u64) -> Vec<u64> {
    let messages = outgoing.after(after).unwrap();
    messages.map(|(number, _)| number).collect()
}

#[test]
fn what_is_acknowledged_is_forgotten_and_makes_room() {
    let mut outgoing = Outgoing::new(2 * limits::SSE_MESSAGE);
    assert_eq!((outgoing.last(), outgoing.has_room()), (0, true));
    assert_eq!(outgoing.push(7, 0), 1);
    assert_eq!(outgoing.push(8, 1000), 2);
    assert!(!outgoing.has_room(), "the limit and one message");
    assert_eq!(numbers(&outgoing, 0), [1, 2]);
    assert_eq!(numbers(&outgoing, 1), [2]);
    assert_eq!(outgoing.acknowledged(1), Ok(()));
    assert_eq!(outgoing.acknowledged(1), Ok(()), "said again");
    assert_eq!(outgoing.held(), 1000 + limits::SSE_MESSAGE);
    assert_eq!(outgoing.acknowledged(3), Err(OutOfOrder), "never sent");
    assert!(outgoing.after(0).is_err(), "given back before");
    assert!(outgoing.after(3).is_err(), "never sent");
    assert_eq!(outgoing.acknowledged(2), Ok(()));
    assert!(outgoing.is_empty() && outgoing.has_room());
    assert_eq!((outgoing.held(), outgoing.last()), (0, 2));
    assert_eq!(outgoing.acknowledged(u64::MAX), Err(OutOfOrder));
    assert!(outgoing.after(u64::MAX).is_err());
}

#[test]
fn what_arrives_is_taken_in_its_order_and_once() {
    let mut incoming = Incoming::default();
    assert_eq!(incoming.arrived(2, 1), Err(OutOfOrder));
    assert_eq!(incoming.arrived(0, 1), Err(OutOfOrder));
    assert_eq!(incoming.arrived(1, 1), Ok(Arrived::New));
    assert_eq!(incoming.arrived(1, 1), Ok(Arrived::Repeated));
    assert_eq!(incoming.arrived(u64::MAX, 1), Err(OutOfOrder));
    assert!(!incoming.is_owed());
    let large = limits::SSE_ACKNOWLEDGED;
    assert_eq!(incoming.arrived(2, large), Ok(Arrived::New));
    assert!(incoming.is_owed());
    assert_eq!(incoming.tell(), 2);
    assert!(!incoming.is_owed());
}

/// One thing that happens on the way. Numbers choose among what is there.
#[derive(Debug, Clone)]
enum Event {
    Push(usize),
    /// A request with what is kept.
    Send,
    /// A request that was sent at some time arrives, perhaps not for the first time.
    Arrive(usize),
    /// An answer that was given at some time arrives.
    Answer(usize),
    /// The receiver begins anew after what it has.
    Again,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (0_usize..3000).prop_map(Event::Push),
        2 => Just(Event::Send),
        3 => any::<usize>().prop_map(Event::Arrive),
        2 => any::<usize>().prop_map(Event::Answer),
        1 => Just(Event::Again),
    ]
}

const LIMIT: usize = 8 * 1024;

/// Both ends and everything that is on its way between them.
struct Way {
    outgoing: Outgoing<u64>,
    incoming: Incoming,
    pushed: u64,
    taken: Vec<u64>,
    requests: Vec<Vec<(u64, u64)>>,
    answers: Vec<u64>,
}

impl Way {
    fn send(&mut self, after: u64) {
        let kept = self.outgoing.after(after).unwrap();
        let request = kept.map(|(number, message)| (number, *message)).collect();
        self.requests.push(request);
    }

    /// As both ends do it: a request is taken whole, or not at all where one is missing before it.
    fn arrive(&mut self, at: usize) {
        let request = self.requests[at].clone();
        let ready = request
            .first()
            .is_none_or(|(first, _)| *first <= self.incoming.last() + 1);
        if ready {
            for (number, message) in request {
                match self.incoming.arrived(number, 10) {
                    Ok(Arrived::New) => self.taken.push(message),
                    Ok(Arrived::Repeated) => {}
                    Err(OutOfOrder) => panic!("a gap within a request"),
                }
            }
        }
        self.answers.push(self.incoming.tell());
    }
}

proptest! {
    #[test]
    fn whatever_is_lost_repeated_or_reordered_each_message_is_taken_once_in_order(
        events in proptest::collection::vec(event(), 0..200),
    ) {
        let mut way = Way {
            outgoing: Outgoing::new(LIMIT),
            incoming: Incoming::default(),
            pushed: 0,
            taken: Vec::new(),
            requests: Vec::new(),
            answers: Vec::new(),
        };
        for event in events {
            match event {
                Event::Push(bytes) if way.outgoing.has_room() => {
                    way.pushed += 1;
                    prop_assert_eq!(way.outgoing.push(way.pushed, bytes), way.pushed);
                }
                Event::Push(_) => {}
                Event::Send => {
                    let before = way.outgoing.first - 1;
                    way.send(before);
                }
                Event::Arrive(at) if !way.requests.is_empty() => way.arrive(at % way.requests.len()),
                Event::Answer(at) if !way.answers.is_empty() => {
                    let answer = way.answers[at % way.answers.len()];
                    // What the receiver has was pushed, so no answer of its is ever refused.
                    prop_assert_eq!(way.outgoing.acknowledged(answer), Ok(()));
                }
                Event::Again => way.send(way.incoming.last()),
                Event::Arrive(_) | Event::Answer(_) => {}
            }
            // What was taken is a prefix of what was pushed, each once.
            let prefix: Vec<u64> = (1..=way.taken.len() as u64).collect();
            prop_assert_eq!(&way.taken, &prefix);
            // What the receiver has not is still kept.
            prop_assert!(way.outgoing.first <= way.incoming.last() + 1);
            // No more is kept than the limit and one message.
            prop_assert!(way.outgoing.held() < LIMIT + 3000 + limits::SSE_MESSAGE);
        }
        // Once the way is good, everything arrives.
        way.send(way.incoming.last());
        way.arrive(way.requests.len() - 1);
        prop_assert_eq!(way.taken.len() as u64, way.pushed);
        let last = way.incoming.last();
        prop_assert_eq!(way.outgoing.acknowledged(last), Ok(()));
        prop_assert!(way.outgoing.is_empty());
        prop_assert_eq!(way.outgoing.held(), 0);
    }
}
