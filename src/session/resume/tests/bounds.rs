//! What is kept has bounds, and a key opens one command only.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::super::{Table, id};
use super::rig::{Rig, Said, Script, Step, command, stream};
use super::run;
use crate::limits;
use crate::protocol::command::Actor;
use crate::protocol::error::ErrorCode;
use crate::protocol::{CommandEnvelope, Resume, ResumeKey};
use crate::session::{Item, StreamError};

fn script(steps: Vec<Step>) -> Script {
    Script { steps, well: true }
}

/// The code that the gateway's reader hears.
fn code(item: Result<Item, StreamError>) -> Option<ErrorCode> {
    match item {
        Ok(Item::End(Err(body))) => Some(body.code),
        _ => None,
    }
}

#[test]
fn a_reader_that_stops_is_owed_no_more_than_the_bound() {
    run(async {
        let much = vec![Step::Data(60_000); 20];
        // A window far beyond what is kept, as another gateway might give.
        let mut rig = Rig::new(script(much.clone()), 32 << 20, true);
        rig.connect(None).await;
        let mut reader = rig.open().unwrap();
        tokio::time::sleep(Duration::from_secs(20)).await;
        let kept = rig.lines.figures().kept;
        assert_eq!(kept, limits::RESUME_KEPT);
        // It can be resumed all the same, and gets everything.
        rig.cut().await;
        let mut got = Said::default();
        rig.again(&mut reader, &mut [].iter()).await;
        loop {
            if let Some(end) = got.take(reader.recv().await.unwrap()) {
                assert!(end.is_ok());
                break;
            }
        }
        assert_eq!(got, script(much).said());
    });
}

#[test]
fn a_command_beyond_its_share_is_not_kept_and_says_so() {
    run(async {
        let steps = vec![Step::Data(1000), Step::Pause(5_000), Step::Data(10)];
        let mut rig = Rig::new(script(steps), 262_144, true);
        // The others have nearly everything.
        let others = limits::RESUME_KEPT_ALL - 999 * limits::RESUME_SHARE;
        rig.lines.table.kept.store(others, Ordering::Relaxed);
        rig.connect(None).await;
        let mut reader = rig.open().unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(rig.lines.figures().kept, others, "nothing of it is kept");
        rig.cut().await;
        rig.again(&mut reader, &mut [].iter()).await;
        assert_eq!(code(reader.recv().await), Some(ErrorCode::ResumeGap));
        assert_eq!(rig.lines.figures().gaps, 1);
        // It is over: its work is not done for nobody.
        rig.settle().await;
        assert_eq!(rig.ended(), Some(StreamError::Lost));
        assert_eq!(rig.lines.figures().known, 0);
    });
}

#[test]
fn shares_never_add_up_to_more_than_all() {
    let table = Table::default();
    let mut kept = Vec::new();
    for _ in 0..10_000 {
        if table.keep(0, limits::RESUME_KEPT) {
            kept.push(limits::RESUME_KEPT);
        } else {
            // A small one still finds room.
            assert!(table.keep(0, 1), "{} keep {:?}", kept.len(), table.kept);
            kept.push(1);
        }
    }
    assert!(table.kept.load(Ordering::Relaxed) <= limits::RESUME_KEPT_ALL);
    assert!(kept.iter().filter(|&&one| one > 1).count() >= 20);
    for one in kept {
        assert!(table.keep(one, 0));
    }
    assert_eq!(table.kept.load(Ordering::Relaxed), 0);
}

#[test]
fn no_more_are_parked_than_the_bound() {
    let table = Arc::new(Table::default());
    let parked: Vec<_> = (0..limits::RESUME_PARKED)
        .map(|_| table.park().expect("there is room"))
        .collect();
    assert!(table.park().is_none());
    let lingering: Vec<_> = (0..limits::RESUME_LINGERING)
        .map(|_| table.linger().expect("there is room"))
        .collect();
    assert!(table.linger().is_none());
    drop((parked, lingering));
    assert!(table.park().is_some() && table.linger().is_some());
}

#[test]
fn a_command_that_finds_no_place_ends_with_its_session() {
    run(async {
        let mut rig = Rig::new(script(vec![Step::Pause(86_000_000)]), 262_144, true);
        let table = Arc::clone(&rig.lines.table);
        let _all: Vec<_> = (0..limits::RESUME_PARKED).map(|_| table.park()).collect();
        rig.connect(None).await;
        let _reader = rig.open().unwrap();
        while rig.lines.figures().known == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        rig.cut().await;
        rig.settle().await;
        assert_eq!(rig.ended(), Some(StreamError::Lost));
    });
}

#[test]
fn a_parked_command_waits_its_time_and_no_longer() {
    run(async {
        let mut rig = Rig::new(script(vec![Step::Pause(86_000_000)]), 262_144, true);
        rig.connect(None).await;
        let mut reader = rig.open().unwrap();
        while rig.lines.figures().known == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        rig.cut().await;
        tokio::time::sleep(Duration::from_secs(59)).await;
        assert_eq!(rig.lines.figures().parked, 1);
        rig.again(&mut reader, &mut [].iter()).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!((rig.lines.figures().parked, rig.running()), (0, 1));
        rig.cut().await;
        tokio::time::sleep(Duration::from_secs(61)).await;
        assert_eq!((rig.lines.figures().known, rig.running()), (0, 0));
        assert_eq!(rig.ended(), Some(StreamError::Lost));
        rig.again(&mut reader, &mut [].iter()).await;
        assert_eq!(code(reader.recv().await), Some(ErrorCode::ResumeGap));
    });
}

#[test]
fn an_end_is_kept_while_nobody_can_have_it_and_after_that_for_a_while() {
    run(async {
        let mut rig = Rig::new(
            script(vec![Step::Data(9), Step::Pause(5_000)]),
            262_144,
            true,
        );
        rig.connect(None).await;
        let mut reader = rig.open().unwrap();
        let mut got = Said::default();
        got.take(reader.recv().await.unwrap());
        rig.cut().await;
        // It ends while it is parked.
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!((rig.running(), rig.lines.figures().parked), (1, 1));
        rig.again(&mut reader, &mut [].iter()).await;
        while got.take(reader.recv().await.unwrap()).is_none() {}
        assert_eq!(got.bytes.len(), 9);
        // The gateway has it, which the agent knows once it has heard of its peer again.
        tokio::time::sleep(limits::PING_EVERY).await;
        assert_eq!(rig.running(), 1);
        tokio::time::sleep(limits::PING_WITHIN + Duration::from_secs(2)).await;
        assert_eq!(rig.running(), 0);
    });
}

#[test]
fn a_command_is_found_by_all_that_it_was_opened_with() {
    let key = ResumeKey::new([1; 16]);
    let known = id(&key, &command());
    let actor = Actor {
        user: "eve".into(),
        ..Actor::default()
    };
    let others = [
        CommandEnvelope {
            name: "tes".into(),
            ..command()
        },
        CommandEnvelope {
            args: serde_json::value::to_raw_value(&1).unwrap(),
            ..command()
        },
        CommandEnvelope {
            actor: Some(actor),
            ..command()
        },
    ];
    for other in others {
        assert_ne!(id(&key, &other), known);
    }
    assert_ne!(id(&ResumeKey::new([2; 16]), &command()), known);
    let again = CommandEnvelope {
        id: "another".into(),
        attempt: 2,
        ..command()
    };
    assert_eq!(id(&key, &again), known);
}

#[test]
fn each_resuming_counts_once_and_a_wrong_one_harms_nobody() {
    run(async {
        let steps = vec![Step::Data(100), Step::Pause(50_000), Step::Data(100)];
        let mut rig = Rig::new(script(steps), 262_144, true);
        rig.connect(None).await;
        let mut reader = rig.open().unwrap();
        let mut got = Said::default();
        got.take(reader.recv().await.unwrap());
        rig.cut().await;
        rig.again(&mut reader, &mut [].iter()).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let right = ResumeKey::new([7; 16]);
        let wrong = [
            (right, 1, 100),
            (ResumeKey::new([8; 16]), 2, 100),
            (ResumeKey::new([0; 16]), 9, 0),
        ];
        for (key, count, offset) in wrong {
            let resume = Resume { key, count, offset };
            let opened = rig.session().open_with(stream(), Some(resume));
            let (mut other, _) = opened.unwrap();
            assert_eq!(code(other.recv().await), Some(ErrorCode::ResumeGap));
        }
        while got.take(reader.recv().await.unwrap()).is_none() {}
        assert_eq!(got.bytes.len(), 200);
        assert_eq!(rig.lines.figures().resumed, 1);
        // Beyond what was written, there is nothing to go on from.
        let resume = Resume {
            key: right,
            count: 3,
            offset: 201,
        };
        let (mut other, _) = rig.session().open_with(stream(), Some(resume)).unwrap();
        assert_eq!(code(other.recv().await), Some(ErrorCode::ResumeGap));
    });
}
