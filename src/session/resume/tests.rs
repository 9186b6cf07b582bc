//! Commands over channels in memory that are cut wherever it hurts.

mod bounds;
mod rig;

use proptest::prelude::*;
use rig::{Rig, Said, Script, Step};

use crate::session::StreamError;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (1..6000_usize).prop_map(Step::Data),
        3 => (0..300_usize).prop_map(Step::Event),
        1 => Just(Step::Event(20_000)),
        1 => (0..3000_u64).prop_map(Step::Pause),
    ];
    proptest::collection::vec(step, 1..40)
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime")
        .block_on(async {
            let day = std::time::Duration::from_secs(86_400);
            tokio::time::timeout(day, work).await.expect("no hang")
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 192 } else { 4096 }))]

    /// However often and wherever the channel is cut, the reader gets every byte and event once, in
    /// order, and then the end; and nothing is left behind.
    #[test]
    fn every_byte_comes_once_over_any_cuts(
        steps in steps(),
        cuts in proptest::collection::vec(0..30_000_usize, 0..12),
        window in prop_oneof![Just(262_144_u32), 1..20_000_u32],
        binary in any::<bool>(),
        well in proptest::bool::weighted(0.9),
    ) {
        let script = Script { steps, well };
        let expected = script.said();
        let (got, end, figures) = run(async {
            let mut rig = Rig::new(script, window, binary);
            // The first link must carry the open and its answer's first bytes, or there is nothing
            // to resume.
            rig.connect(cuts.first().map(|cut| cut + 2_000)).await;
            let mut reader = rig.open().expect("the session is open");
            let mut got = Said::default();
            let mut cuts = cuts.iter().skip(1);
            loop {
                match reader.recv().await {
                    Ok(item) => if let Some(end) = got.take(item) {
                        // A reader that has the end leaves; the agent finds out by itself.
                        drop(reader);
                        rig.settle().await;
                        return (got, end, rig.lines.figures());
                    },
                    Err(StreamError::Lost) => rig.again(&mut reader, &mut cuts).await,
                    Err(error) => panic!("{error}"),
                }
            }
        });
        if expected.well {
            prop_assert!(end.is_ok(), "{:?}", end);
            prop_assert_eq!(&got, &expected);
        } else {
            prop_assert!(end.is_err());
            prop_assert!(expected.begins_with(&got), "nothing else was delivered");
        }
        prop_assert_eq!((figures.known, figures.parked, figures.kept), (0, 0, 0));
    }
}

#[test]
fn bytes_that_were_taken_are_not_kept() {
    run(async {
        let steps = vec![Step::Data(1000), Step::Event(10), Step::Pause(3_600_000)];
        let mut rig = Rig::new(Script { steps, well: true }, 262_144, true);
        rig.connect(None).await;
        let mut reader = rig.open().unwrap();
        let mut got = Said::default();
        while got.bytes.len() < 1000 || got.events.is_empty() {
            got.take(reader.recv().await.unwrap());
        }
        let kept = rig.lines.figures().kept;
        assert!(kept > 1000, "{kept} are not acknowledged yet");
        // A ping's time later they are, though no quarter of a window has been taken.
        tokio::time::sleep(std::time::Duration::from_secs(17)).await;
        assert_eq!(rig.lines.figures().kept, 0);
        assert_eq!(rig.lines.figures().known, 1);
        assert_eq!(reader.taken(), 1000 + "{\"e\":\"----------\"}".len() as u64);
    });
}
