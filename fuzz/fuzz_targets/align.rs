//! The aligner: it finds what its definition finds, and what it found can be skipped.
//!
//! Input: how many keys were delivered last, the expected place (0 for none), then one byte a key,
//! those first and the answer's after them. Few different keys, so that runs repeat.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pipeops_agent::cluster::logs::align::{Checked, Place, Search, Skip};

/// Places behind a run of `known` lines that are the last delivered.
fn ends(last: &[u32], answer: &[u32], known: usize) -> impl DoubleEndedIterator<Item = usize> {
    (known..=answer.len())
        .filter(move |place| answer[place - known..*place] == last[last.len() - known..])
}

fn defined(last: &[u32], expected: Option<u64>, answer: &[u32]) -> Option<Place> {
    let whole: Vec<u64> = ends(last, answer, last.len()).map(|place| place as u64).collect();
    if let (Some(first), Some(latest)) = (whole.first(), whole.last()) {
        let (skip, certain) = match expected {
            Some(expected) if whole.contains(&expected) => (expected, true),
            Some(expected) => {
                let before = whole.iter().rev().find(|place| **place < expected);
                (*before.unwrap_or(first), whole.len() == 1)
            }
            None => (*latest, whole.len() == 1),
        };
        return Some(Place {
            skip,
            known: last.len(),
            certain,
        });
    }
    let mut begun = Vec::new();
    for known in (1..last.len()).rev() {
        let places = ends(last, answer, known).take_while(|place| *place <= known + 1);
        begun.extend(places.map(|skip| (skip as u64, known)));
    }
    begun.first().map(|(skip, known)| Place {
        skip: *skip,
        known: *known,
        certain: begun.iter().all(|(other, _)| other == skip),
    })
}

fuzz_target!(|input: &[u8]| {
    let [delivered, expected, keys @ ..] = input else {
        return;
    };
    let keys: Vec<u32> = keys.iter().map(|key| u32::from(key % 4)).collect();
    let (last, answer) = keys.split_at(usize::from(*delivered).min(keys.len()).min(64));
    let expected = (*expected > 0).then_some(u64::from(*expected));
    if last.is_empty() {
        return;
    }
    let mut search = Search::new(last, expected);
    answer.iter().for_each(|key| search.push(*key));
    let place = search.place();
    assert_eq!(place, defined(last, expected, answer));
    let Some(place) = place else { return };
    let known = &last[last.len() - place.known..];
    let mut skip = Skip::new(place.skip, answer.first().copied(), known);
    for key in answer {
        match skip.check(*key) {
            Checked::More => {}
            Checked::Aligned => return,
            Checked::Other => panic!("what was found is not there"),
        }
    }
    panic!("the place is beyond the answer");
});
