//! The table of keys, by itself and against a plain model of it.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::protocol::ErrorCode;

const SECOND: Duration = Duration::from_secs(1);

fn digest(of: u8) -> Digest {
    Digest([of; 32])
}

fn outcome(text: &str) -> Outcome {
    Arc::new(Err(ErrorBody::new(ErrorCode::Conflict, text)))
}

fn word<W>(verdict: &Verdict<W>) -> &'static str {
    match verdict {
        Verdict::Run => "run",
        Verdict::Runs(_) => "runs",
        Verdict::Ended(_) => "ended",
        Verdict::Forgotten => "forgotten",
        Verdict::Other => "other",
        Verdict::Unknown => "unknown",
        Verdict::Full => "full",
    }
}

#[test]
fn a_key_is_run_once_and_answered_from_then_on() {
    let mut keys = Keys::new();
    let now = Instant::now();
    assert_eq!(word(&keys.begin(now, "k", digest(1), 1, 7)), "run");
    assert!(matches!(
        keys.begin(now, "k", digest(1), 2, 8),
        Verdict::Runs(7)
    ));
    keys.end(now, "k", Kept::Outcome(outcome("taken")));
    for attempt in [1, 2, 9] {
        let Verdict::Ended(kept) = keys.begin(now, "k", digest(1), attempt, 9) else {
            panic!("it has ended");
        };
        assert_eq!(kept.as_ref().as_ref().unwrap_err().message, "taken");
    }
}

#[test]
fn a_key_belongs_to_one_command() {
    let mut keys = Keys::new();
    let now = Instant::now();
    keys.begin(now, "k", digest(1), 1, ());
    assert_eq!(word(&keys.begin(now, "k", digest(2), 1, ())), "other");
    keys.end(now, "k", Kept::Nothing);
    assert_eq!(word(&keys.begin(now, "k", digest(2), 2, ())), "other");
    assert_eq!(word(&keys.begin(now, "k", digest(1), 2, ())), "forgotten");
}

#[test]
fn an_unknown_key_runs_at_the_first_attempt_only() {
    let mut keys = Keys::new();
    let now = Instant::now();
    assert_eq!(word(&keys.begin(now, "k", digest(1), 2, ())), "unknown");
    assert_eq!(keys.len(), 0);
    assert_eq!(word(&keys.begin(now, "k", digest(1), 1, ())), "run");
}

#[test]
fn what_sent_nothing_may_run_again_at_any_attempt() {
    let mut keys = Keys::new();
    let now = Instant::now();
    keys.begin(now, "k", digest(1), 1, ());
    keys.end(now, "k", Kept::Idle);
    assert_eq!(word(&keys.begin(now, "k", digest(1), 2, ())), "run");
    assert_eq!(word(&keys.begin(now, "k", digest(1), 3, ())), "runs");
    keys.end(now, "k", Kept::Outcome(outcome("done")));
    assert_eq!(word(&keys.begin(now, "k", digest(1), 4, ())), "ended");
}

#[test]
fn a_key_is_kept_for_ten_minutes_after_its_end_and_while_it_runs() {
    let mut keys = Keys::new();
    let begun = Instant::now();
    keys.begin(begun, "k", digest(1), 1, ());
    let ended = begun + 10 * limits::KEYS_KEPT;
    assert_eq!(word(&keys.begin(ended, "k", digest(1), 1, ())), "runs");
    keys.end(ended, "k", Kept::Outcome(outcome("done")));
    let last = ended + limits::KEYS_KEPT - SECOND;
    assert_eq!(word(&keys.begin(last, "k", digest(1), 1, ())), "ended");
    let after = ended + limits::KEYS_KEPT;
    assert_eq!(word(&keys.begin(after, "k", digest(1), 2, ())), "unknown");
    assert_eq!(keys.len(), 0);
}

#[test]
fn a_full_table_forgets_the_oldest_end_and_never_what_runs() {
    let mut keys = Keys::new();
    let now = Instant::now();
    for number in 0..limits::KEYS {
        let verdict = keys.begin(now, &format!("k{number}"), digest(1), 1, ());
        assert_eq!(word(&verdict), "run");
    }
    assert_eq!(word(&keys.begin(now, "more", digest(1), 1, ())), "full");
    keys.end(now, "k7", Kept::Nothing);
    keys.end(now, "k3", Kept::Nothing);
    assert_eq!(word(&keys.begin(now, "more", digest(1), 1, ())), "run");
    assert_eq!(keys.len(), limits::KEYS);
    assert_eq!(word(&keys.begin(now, "k7", digest(1), 2, ())), "unknown");
    assert_eq!(word(&keys.begin(now, "k3", digest(1), 2, ())), "forgotten");
    assert_eq!(word(&keys.begin(now, "k0", digest(1), 2, ())), "runs");
}

#[test]
fn outcomes_have_their_bound_and_their_keys_outlive_them() {
    let mut keys = Keys::new();
    let now = Instant::now();
    let large = "x".repeat(limits::KEY_OUTCOMES / 4);
    for number in 0..6 {
        let key = format!("k{number}");
        keys.begin(now, &key, digest(1), 1, ());
        keys.end(now, &key, Kept::Outcome(outcome(&large)));
        assert!(keys.bytes <= limits::KEY_OUTCOMES);
    }
    for number in 0..6 {
        let verdict = keys.begin(now, &format!("k{number}"), digest(1), 2, ());
        let expected = if number < 2 { "forgotten" } else { "ended" };
        assert_eq!(word(&verdict), expected, "k{number}");
    }
}

#[test]
fn the_digest_sees_what_is_asked_and_not_how_it_is_written() {
    let of = |text: &str, user: &str| {
        let actor = Actor {
            user: user.into(),
            ..Actor::default()
        };
        Digest::of("a.b", &serde_json::from_str(text).unwrap(), Some(&actor)).0
    };
    let same = of(r#"{"a":1,"b":["x",null]}"#, "ada");
    assert_eq!(same, of(r#"{ "b": ["x", null], "a": 1 }"#, "ada"));
    for other in [
        of(r#"{"a":2,"b":["x",null]}"#, "ada"),
        of(r#"{"a":"1","b":["x",null]}"#, "ada"),
        of(r#"{"a":1,"b":[["x"],null]}"#, "ada"),
        of(r#"{"a":1,"b":["x"],"c":null}"#, "ada"),
        of(r#"{"a":1,"b":["x",null]}"#, "bob"),
    ] {
        assert_ne!(same, other);
    }
    let plain = json!({});
    assert_ne!(
        Digest::of("a.b", &plain, None).0,
        Digest::of("a.c", &plain, None).0
    );
    let grouped = |groups: &[&str]| Actor {
        user: "ada".into(),
        groups: groups.iter().map(|&group| group.into()).collect(),
        ..Actor::default()
    };
    assert_ne!(
        Digest::of("a.b", &plain, Some(&grouped(&["x", "y"]))).0,
        Digest::of("a.b", &plain, Some(&grouped(&["xy"]))).0
    );
}

/// What a test does to the table.
#[derive(Debug, Clone)]
enum Step {
    Begin { key: u8, digest: u8, attempt: u32 },
    End { key: u8, kept: u8 },
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..6u8, 0..2u8, 1..3u32).prop_map(|(key, digest, attempt)| Step::Begin { key, digest, attempt }),
        4 => (0..6u8, 0..3u8).prop_map(|(key, kept)| Step::End { key, kept }),
        2 => (0..400u64).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 0..120)
}

/// The same by the letter of P-73: no order, no bytes, one field a fact.
#[derive(Clone)]
struct Fact {
    digest: u8,
    /// `None` while it runs; else when it ended and whether it may run again.
    ended: Option<(Instant, bool)>,
}

proptest! {
    /// Whatever happens, a known key that has sent something is never run a second time, and what
    /// the table says is what a plain list of facts says.
    #[test]
    fn the_table_says_what_the_text_says(steps in steps()) {
        let mut keys = Keys::new();
        let mut facts: HashMap<u8, Fact> = HashMap::new();
        let mut now = Instant::now();
        for step in steps {
            facts.retain(|_, fact| {
                fact.ended.is_none_or(|(at, _)| now.saturating_duration_since(at) < limits::KEYS_KEPT)
            });
            match step {
                Step::Begin { key, digest: of, attempt } => {
                    let expected = match facts.get(&key) {
                        None if attempt > 1 => "unknown",
                        None => "run",
                        Some(fact) if fact.digest != of => "other",
                        Some(Fact { ended: None, .. }) => "runs",
                        Some(Fact { ended: Some((_, true)), .. }) => "run",
                        Some(Fact { ended: Some((_, false)), .. }) => "ended",
                    };
                    let verdict = keys.begin(now, &key.to_string(), digest(of), attempt, key);
                    if let Verdict::Runs(who) = verdict {
                        prop_assert_eq!(who, key);
                    }
                    let said = match word(&verdict) {
                        "forgotten" => "ended",
                        said => said,
                    };
                    prop_assert_eq!(said, expected);
                    if said == "run" {
                        facts.insert(key, Fact { digest: of, ended: None });
                    }
                }
                Step::End { key, kept } => {
                    let what = match kept {
                        0 => Kept::Outcome(outcome("so")),
                        1 => Kept::Nothing,
                        _ => Kept::Idle,
                    };
                    keys.end(now, &key.to_string(), what);
                    if let Some(fact) = facts.get_mut(&key)
                        && fact.ended.is_none()
                    {
                        fact.ended = Some((now, kept == 2));
                    }
                }
                Step::Wait(seconds) => now += Duration::from_secs(seconds),
            }
            prop_assert!(keys.len() <= limits::KEYS);
        }
    }
}
