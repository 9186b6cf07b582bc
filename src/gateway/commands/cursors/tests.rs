//! Ids that come back whole, ids that nobody of ours wrote, and what happens beyond the bounds.

use proptest::prelude::*;

use super::*;

fn stamp() -> Stamp {
    Stamp::of("logs.follow", r#"{"pod":"web-0"}"#)
}

#[test]
fn an_id_brings_back_every_cursor() {
    let mut cursors = Cursors::default();
    cursors.set("", "");
    cursors.set("web-0/app", "one");
    cursors.set("web-0/app", "three");
    cursors.set("grüße/😀", "two");
    cursors.set("gone", "x");
    cursors.forget("gone");
    cursors.forget("never");
    let again = Cursors::from_id(&cursors.id(stamp()), stamp()).unwrap();
    assert_eq!(again.resume(), cursors.resume());
    assert_eq!(again.resume().len(), 3);
    assert_eq!(again.resume()["web-0/app"], "three");
    assert_eq!(again.left_out(), 0);
    assert_eq!(again.bytes, cursors.bytes);
}

#[test]
fn cursors_in_base64url_take_less_room() {
    let packs = URL_SAFE_NO_PAD.encode([7; 300]);
    let mut cursors = Cursors::default();
    for source in 0..15 {
        cursors.set(
            &format!("0123456789-0123456789-0123456789/c{source}"),
            &packs,
        );
    }
    // Not the one way to write its bytes: its last character has bits that mean nothing.
    cursors.set("odd", "AB");
    let again = Cursors::from_id(&cursors.id(stamp()), stamp()).unwrap();
    assert_eq!(again.left_out(), 0);
    assert_eq!(again.resume(), cursors.resume());
}

#[test]
fn an_id_of_other_arguments_is_foreign() {
    let mut cursors = Cursors::default();
    cursors.set("a", "b");
    for other in [
        Stamp::of("logs.follow", r#"{"pod":"web-1"}"#),
        Stamp::of("logs.get", r#"{"pod":"web-0"}"#),
    ] {
        let error = Cursors::from_id(&cursors.id(stamp()), other).unwrap_err();
        assert_eq!(error, IdError::Foreign);
    }
}

#[test]
fn sources_beyond_the_bound_make_room_and_are_counted() {
    let mut cursors = Cursors::default();
    for source in 0..limits::SOURCES + 3 {
        cursors.set(&source.to_string(), "c");
    }
    assert_eq!(cursors.held.len(), limits::SOURCES);
    assert_eq!(cursors.left_out(), 3);
    // The first ones changed least lately.
    assert!(!cursors.held.contains_key("0") && cursors.held.contains_key("3"));
    let mut cursors = Cursors::default();
    let long = "c".repeat(limits::CURSOR_BYTES);
    for source in 0..limits::SOURCES {
        cursors.set(&source.to_string(), &long);
    }
    assert!(cursors.bytes <= limits::CURSORS_BYTES);
    let kept = u32::try_from(cursors.held.len()).unwrap();
    assert_eq!(
        u32::try_from(limits::SOURCES).unwrap() - kept,
        cursors.left_out()
    );
}

#[test]
fn an_id_keeps_its_size_and_says_how_many_it_leaves_out() {
    let mut cursors = Cursors::default();
    let long = "c.".repeat(100);
    for source in 0..100 {
        cursors.set(&format!("pod-{source}"), &long);
    }
    cursors.set("pod-7", "newest");
    let id = cursors.id(stamp());
    assert!(id.len() <= limits::EVENT_ID, "{}", id.len());
    let again = Cursors::from_id(&id, stamp()).unwrap();
    assert_eq!(again.resume()["pod-7"], "newest");
    assert!(!again.held.contains_key("pod-0"), "the oldest is left out");
    assert_eq!(again.left_out() as usize + again.held.len(), 100);
    assert!(again.left_out() > 0);
}

#[test]
fn a_resume_of_a_caller_is_bounded_too() {
    let read = |text: &str| Cursors::read_resume(&serde_json::from_str(text).unwrap());
    assert_eq!(read(r#"{"a":"b"}"#).unwrap().resume().len(), 1);
    for text in ["7", "[]", r#"{"a":1}"#, r#"{"a":null}"#] {
        assert!(read(text).is_none(), "{text}");
    }
    let long = "c".repeat(limits::CURSOR_BYTES + 1);
    assert!(read(&format!(r#"{{"a":"{long}"}}"#)).is_none());
    let many: Map<_, _> = (0..=limits::SOURCES)
        .map(|source| (source.to_string(), Value::from("c")))
        .collect();
    assert!(Cursors::read_resume(&Value::Object(many)).is_none());
}

proptest! {
    #[test]
    fn what_nobody_of_ours_wrote_never_panics(id in "[-_A-Za-z0-9]{0,200}", bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Cursors::from_id(&id, stamp());
        let mut whole = vec![VERSION];
        whole.extend(stamp().0);
        whole.extend(bytes);
        if let Ok(cursors) = Cursors::from_id(&URL_SAFE_NO_PAD.encode(whole), stamp()) {
            prop_assert!(cursors.held.len() <= limits::SOURCES);
        }
    }

    #[test]
    fn the_count_of_bytes_is_what_is_held(steps in proptest::collection::vec(("[a-d]", "[x]{0,9}", any::<bool>()), 0..60)) {
        let mut cursors = Cursors::default();
        for (source, cursor, forget) in steps {
            if forget {
                cursors.forget(&source);
            } else {
                cursors.set(&source, &cursor);
            }
        }
        let held: usize = cursors.held.iter().map(|(source, held)| cost(source, &held.cursor)).sum();
        prop_assert_eq!(held, cursors.bytes);
        let again = Cursors::from_id(&cursors.id(stamp()), stamp()).unwrap();
        prop_assert_eq!(again.resume(), cursors.resume());
    }
}
