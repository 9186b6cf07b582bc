//! The aligner against a definition that is as slow as it is short.

use proptest::prelude::*;

use super::*;

/// The ends of runs of so many lines that are the last delivered.
fn ends(last: &[u32], answer: &[u32], known: usize) -> Vec<u64> {
    (known..=answer.len())
        .filter(|place| answer[place - known..*place] == last[last.len() - known..])
        .map(|place| place as u64)
        .collect()
}

fn defined(last: &[u32], expected: Option<u64>, answer: &[u32]) -> Option<Place> {
    let whole = ends(last, answer, last.len());
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
    // Fewer lines only at the begin, or right behind what may be the rest of a line.
    let mut begun = Vec::new();
    for known in (1..last.len()).rev() {
        let begins = |place: &u64| *place == known as u64 || *place == known as u64 + 1;
        let places = ends(last, answer, known).into_iter().filter(begins);
        begun.extend(places.map(|skip| (skip, known)));
    }
    let (skip, known) = *begun.first()?;
    Some(Place {
        skip,
        known,
        certain: begun.iter().all(|(other, _)| *other == skip),
    })
}

fn search(last: &[u32], expected: Option<u64>, answer: &[u32]) -> Option<Place> {
    let mut search = Search::new(last, expected);
    answer.iter().for_each(|key| search.push(*key));
    search.place()
}

#[test]
fn the_expected_place_wins_over_others_that_look_alike() {
    let place = search(&[7, 7], Some(3), &[7, 7, 7, 7, 7]).unwrap();
    assert_eq!((place.skip, place.certain), (3, true));
}

#[test]
fn after_a_rotation_the_begin_of_the_answer_may_be_the_end_of_what_was_delivered() {
    let place = search(&[1, 2, 3, 4], Some(9), &[3, 4, 5]).unwrap();
    assert_eq!(
        place,
        Place {
            skip: 2,
            known: 2,
            certain: true
        }
    );
    assert_eq!(
        search(&[1, 2, 3, 4], Some(9), &[5, 6, 3, 4]),
        None,
        "not its begin"
    );
    // The first line may be the rest of one that the rotation cut.
    let place = search(&[1, 2, 3, 4], Some(9), &[5, 3, 4]).unwrap();
    assert_eq!((place.skip, place.known, place.certain), (3, 2, true));
}

#[test]
fn an_answer_without_any_of_it_has_no_place() {
    assert_eq!(search(&[1, 2], Some(2), &[3, 4, 5]), None);
    assert_eq!(search(&[1, 2], Some(2), &[]), None);
    assert_eq!(search(&[1], None, &[2]), None);
}

#[test]
fn what_cannot_be_told_apart_is_said_to_be_uncertain() {
    let place = search(&[7; 3], Some(9), &[7; 5]).unwrap();
    assert_eq!((place.skip, place.certain), (5, false));
    let place = search(&[7; 9], None, &[7; 5]).unwrap();
    assert_eq!((place.skip, place.known, place.certain), (5, 5, false));
}

#[test]
fn no_more_keys_are_kept_than_the_limit_allows() {
    let last: Vec<u32> = (0..1000).collect();
    let search = Search::new(&last, None);
    assert_eq!(search.last.len(), limits::logs::KEYS);
    assert_eq!(search.last.last(), Some(&999));
}

#[test]
fn skipping_finds_another_file_at_its_first_line() {
    let mut skip = Skip::new(3, Some(1), &[2, 3]);
    assert_eq!(skip.check(9), Checked::Other);
    let mut skip = Skip::new(3, Some(1), &[2, 3]);
    assert_eq!(skip.check(1), Checked::More);
    assert_eq!(skip.check(2), Checked::More);
    assert_eq!(skip.check(3), Checked::Aligned);
    assert!(skip.aligned());
    assert!(Skip::new(0, None, &[]).aligned());
}

/// Few keys, so that runs repeat and overlap.
fn keys(most: usize) -> impl Strategy<Value = Vec<u32>> {
    prop_oneof![
        proptest::collection::vec(0u32..2, 0..most),
        proptest::collection::vec(0u32..5, 0..most),
        (1u32..4, 0..most)
            .prop_map(|(period, length)| { (0u32..).map(|at| at % period).take(length).collect() }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]
    #[test]
    fn search_agrees_with_its_definition(
        last in keys(9), answer in keys(24), expected in proptest::option::of(0u64..26),
    ) {
        prop_assume!(!last.is_empty());
        prop_assert_eq!(search(&last, expected, &answer), defined(&last, expected, &answer));
    }

    #[test]
    fn skipping_accepts_what_searching_found(
        last in keys(9), answer in keys(24), expected in proptest::option::of(0u64..26),
    ) {
        prop_assume!(!last.is_empty());
        if let Some(place) = search(&last, expected, &answer) {
            let known = &last[last.len() - place.known..];
            let mut skip = Skip::new(place.skip, answer.first().copied(), known);
            let count = usize::try_from(place.skip).unwrap();
            for (at, key) in answer[..count].iter().enumerate() {
                let checked = skip.check(*key);
                let wanted = if at + 1 == count { Checked::Aligned } else { Checked::More };
                prop_assert_eq!(checked, wanted);
            }
        }
    }

    #[test]
    fn a_tail_cut_anywhere_is_found_again(
        file in proptest::collection::vec(any::<u32>(), 1..200),
        delivered in any::<prop::sample::Index>(), rotated in any::<prop::sample::Index>(),
    ) {
        let delivered = delivered.index(file.len()) + 1;
        let rotated = rotated.index(delivered);
        let last = &file[delivered.saturating_sub(limits::logs::KEYS)..delivered];
        let place = search(last, Some(delivered as u64), &file[rotated..]);
        prop_assert_eq!(place.map(|place| place.skip), Some((delivered - rotated) as u64));
    }
}
