//! Lines out of bytes, however the bytes are cut.

use proptest::prelude::*;

use super::*;

const STAMP: &str = "2026-11-24T11:41:00.123456789Z";

fn split(bytes: &[u8], cuts: &[usize]) -> (Vec<Line>, Option<Line>) {
    let mut splitter = Splitter::new();
    let mut lines = Vec::new();
    let mut from = 0;
    for to in cuts.iter().copied().chain([bytes.len()]) {
        splitter.push(Bytes::copy_from_slice(&bytes[from..to]));
        lines.extend(std::iter::from_fn(|| splitter.next_line()));
        assert!(splitter.carry.len() <= limits::logs::PIECE.max(HEAD));
        from = to;
    }
    (lines, splitter.rest())
}

fn texts(lines: &[Line]) -> Vec<String> {
    lines.iter().map(|line| line.text().into_owned()).collect()
}

#[test]
fn lines_come_with_their_stamps_and_without_their_ends() {
    let bytes = format!("{STAMP} one\n{STAMP} \n2026-11-24T13:41:00+02:00 three\r\n{STAMP} fo");
    let (lines, rest) = split(bytes.as_bytes(), &[]);
    assert_eq!(texts(&lines), ["one", "", "three\r"]);
    assert_eq!(lines[2].written, "2026-11-24T13:41:00+02:00");
    assert_eq!(lines[0].stamp.second(), lines[2].stamp.second());
    assert_eq!(rest.unwrap().text(), "fo");
}

#[test]
fn a_tail_without_a_stamp_is_dropped_up_to_its_end() {
    let bytes = format!("tail of something\n{STAMP} one\nno stamp\n{STAMP}\n{STAMP} two\nshort");
    let (lines, rest) = split(bytes.as_bytes(), &[]);
    assert_eq!(texts(&lines), ["one", "two"]);
    assert_eq!(rest, None);
    let endless = "x".repeat(10 * limits::logs::PIECE);
    assert_eq!(split(endless.as_bytes(), &[7]), (Vec::new(), None));
}

#[test]
fn a_long_line_is_cut_at_the_limit_and_says_that_it_goes_on() {
    let piece = limits::logs::PIECE;
    for (length, pieces) in [(piece, 1), (piece + 1, 2), (3 * piece, 3)] {
        let bytes = format!("{STAMP} {}\n", "x".repeat(length));
        let (lines, _) = split(bytes.as_bytes(), &[]);
        assert_eq!(lines.len(), pieces);
        let more: Vec<bool> = lines.iter().map(|line| line.more).collect();
        let (last, before) = more.split_last().unwrap();
        assert!(!last && before.iter().all(|more| *more), "{more:?}");
        assert_eq!(texts(&lines).concat().len(), length);
        let keys: std::collections::BTreeSet<u32> = lines.iter().map(|line| line.key).collect();
        assert_eq!(
            keys.len(),
            pieces,
            "pieces of one content differ by their place"
        );
    }
}

#[test]
fn a_cut_breaks_no_character() {
    for front in 0..4 {
        let text = "a".repeat(front) + &"\u{1F980}\u{e4}\u{20ac}".repeat(limits::logs::PIECE / 4);
        let (lines, _) = split(format!("{STAMP} {text}\n").as_bytes(), &[]);
        assert_eq!(texts(&lines).concat(), text);
    }
}

#[test]
fn bytes_that_are_no_text_are_replaced_and_still_told_apart() {
    let mut bytes = format!("{STAMP} ").into_bytes();
    bytes.extend_from_slice(b"a\xff\xfeb\n");
    bytes.extend_from_slice(format!("{STAMP} ").as_bytes());
    bytes.extend_from_slice(b"a\xff\xfdb\n");
    let (lines, _) = split(&bytes, &[]);
    assert_eq!(texts(&lines), ["a\u{fffd}\u{fffd}b", "a\u{fffd}\u{fffd}b"]);
    assert_ne!(lines[0].key, lines[1].key);
}

#[test]
fn keys_are_the_same_in_every_version() {
    let (lines, _) = split(format!("{STAMP} one\n{STAMP} \n").as_bytes(), &[]);
    let keys: Vec<u32> = lines.iter().map(|line| line.key).collect();
    assert_eq!(keys, KNOWN, "cursors of released agents hold these");
}

const KNOWN: [u32; 2] = [2_317_135_328, 907_524_333];

fn fragment() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(format!("{STAMP} ").into_bytes()),
        Just(b"2026-11-24T13:41:00+02:00 ".to_vec()),
        Just(b"\n".to_vec()),
        Just(b" ".to_vec()),
        Just(STAMP.as_bytes().to_vec()),
        Just("\u{1F980}".repeat(limits::logs::PIECE / 4 - 1).into_bytes()),
        Just(vec![b'x'; limits::logs::PIECE]),
        proptest::collection::vec(any::<u8>(), 0..40),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn how_the_bytes_are_cut_changes_nothing(
        fragments in proptest::collection::vec(fragment(), 0..24),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let bytes = fragments.concat();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        prop_assert_eq!(split(&bytes, &cuts), split(&bytes, &[]));
    }
}

#[test]
fn what_stands_behind_the_last_line_end_is_told_and_told_apart() {
    let left = |bytes: &[u8]| {
        let mut splitter = Splitter::new();
        splitter.push(Bytes::copy_from_slice(bytes));
        while splitter.next_line().is_some() {}
        splitter.unended()
    };
    let line = b"2026-11-24T12:00:00.000000001Z some words\n";
    assert_eq!(left(line), None);
    assert_eq!(left(b""), None);
    let mut seen = std::collections::BTreeSet::new();
    for end in 1..line.len() {
        let two = [line, &line[..end]].concat();
        let key = left(&two).expect("there is something");
        assert_eq!(left(&two), Some(key));
        seen.insert(key);
    }
    assert_eq!(seen.len(), line.len() - 1, "each by another key");
    let tail = [&line[35..], line, b"no stamp".as_slice()].concat();
    assert!(left(&tail).is_some());
}
