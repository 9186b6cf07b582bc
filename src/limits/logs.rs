//! The ceilings of reading logs.
//!
//! Owns numbers only, as its parent does.

use std::time::Duration;

/// Bytes of a log line that travel as one; a longer line goes on in another piece. As control
/// characters they are six times as long in JSON, and two of them still fit a text message.
pub const PIECE: usize = 16 * 1024;
/// Keys of the last delivered lines that a cursor holds: with 32 bits each, two places that agree
/// in all of them have the same lines.
pub const KEYS: usize = 64;
/// Distinct seconds whose lines are counted per container: more than the last 64 lines of any
/// container that writes once a second, at 32 bytes each.
pub const SECONDS: usize = 128;
/// JSON of a batch of lines above which it is sent: two chunks' worth. What is there is sent at
/// once, so a batch is only ever as large under load. With one more piece it is still below
/// [`super::TEXT_MESSAGE`].
pub const BATCH: usize = 32 * 1024;
/// Silence of a log that is opened again before the last delivered line came by: the kubelet sends
/// what it has at once, so a line that is not there has been rotated away.
pub const ALIGN_IDLE: Duration = Duration::from_secs(2);
/// How often a place that was found is lost again before it is used, to a rotation in between.
pub const ALIGN_TRIES: u32 = 5;
/// How often a log that has no line at all is looked at again before it counts as rotated: a file
/// that a container's restart is just making is empty or missing for a moment.
pub const EMPTY_TRIES: u32 = 4;
/// The wait between two such looks.
pub const EMPTY_AGAIN: Duration = Duration::from_millis(750);
/// To the head of a followed log's answer, which comes with its first line; then it is opened anew.
pub const SILENCE: Duration = Duration::from_secs(3600);
/// The first and longest wait before a log is opened again that cannot be had, or that ended
/// without a line while its container runs.
pub const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(15));
/// The same for a container that is not yet there, or between two runs: a look is one small GET.
pub const LOOK: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));
/// Logs that one command follows at once (P-71): each has a connection of about 50 KiB.
pub const SOURCES: usize = 256;
/// Names of logs beyond that which are kept for when a place is free.
pub const LEFT_OUT: usize = 1024;
/// Logs that are read at once where none is followed: enough to hide the round trips.
pub const READS: usize = 8;
/// How often a log that is not followed is tried to be had.
pub const GET_TRIES: u32 = 5;
/// Lines that `logs.get` answers with, unless it asks for fewer: what a person can look through.
pub const GET_LINES: u64 = 100_000;
/// Their bytes: what a browser can hold.
pub const GET_BYTES: u64 = 16 * 1024 * 1024;
