//! The ceilings of commands that change something, and of what they ask the API server first.
//!
//! Owns numbers only; see [`super`].

use std::time::Duration;

use super::HEAD_DEADLINE;

/// Keys of commands that change something, known at once: seven a second for ten minutes, and more
/// than may run at once.
pub const KEYS: usize = 4096;
/// How long a key is known after its command's end: longer than a caller keeps trying.
pub const KEYS_KEPT: Duration = Duration::from_secs(600);
/// Bytes of all outcomes that are kept for those keys: 1 KiB each. Of what is beyond it only the key
/// stays.
pub const KEY_OUTCOMES: usize = 4 * 1024 * 1024;
/// Characters of an idempotency key: a UUID with a long prefix.
pub const KEY_BYTES: usize = 128;
/// A command that changes something and came without a deadline: that of one request.
pub const OPERATE_DEADLINE: Duration = HEAD_DEADLINE;
/// The longest deadline that such a command may have: it goes on when its channel is lost.
pub const OPERATE_MOST: Duration = Duration::from_secs(600);
/// Objects of one such command: each is two or three requests, and the answer tells of each.
pub const OPERATE_OBJECTS: usize = 64;
/// Changed paths and warnings that are told of one object.
pub const OPERATE_TOLD: usize = 32;
/// Bytes of such a path: what a person reads.
pub const OPERATE_PATH: usize = 128;
/// Fields of an object that are compared: a config map with a thousand keys is compared whole.
pub const OPERATE_FIELDS: usize = 1024;
/// Group versions whose resources are remembered: a cluster with a service mesh and its operators
/// has 60.
pub const DISCOVERIES: usize = 64;
/// How long they are. A kind that is not among them is looked for at once.
pub const DISCOVERY_KEPT: Duration = Duration::from_secs(60);
/// How often a scale is tried whose object changes in another way meanwhile.
pub const SCALE_TRIES: u32 = 5;
/// Between two looks at a rollout: pods take seconds.
pub const ROLLOUT_EVERY: Duration = Duration::from_secs(1);
/// How long before its deadline such a command says what it knows, so that the answer is no guess.
pub const OPERATE_ANSWER: Duration = Duration::from_millis(250);
