//! The last fatal line, where the kubelet finds it: the container's termination message.
//!
//! Owns the one write. Invariants: a file is never made, so nothing happens outside a container; at
//! most what the kubelet reads is written; nothing that goes wrong here stops the program's end.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use crate::limits;

/// Where the kubelet looks unless the container says otherwise.
pub const PATH: &str = "/dev/termination-log";

/// Leaves `line` at `path`, in place of what was there, if there is such a file.
pub fn leave(path: &Path, line: &str) {
    let end = line.floor_char_boundary(limits::TERMINATION_MESSAGE);
    let file = OpenOptions::new().write(true).truncate(true).open(path);
    if let Ok(mut file) = file {
        let _ = file.write_all(&line.as_bytes()[..end]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_is_written_only_where_there_is_a_file_and_within_the_bound() {
        let path = std::env::temp_dir().join(format!("pipeops-last-{}", std::process::id()));
        leave(&path, "no one reads this");
        assert!(!path.exists());
        std::fs::write(&path, "an older and longer message").unwrap();
        leave(&path, "token refused");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "token refused");
        let long = "ü".repeat(limits::TERMINATION_MESSAGE);
        leave(&path, &long);
        let kept = std::fs::read_to_string(&path).unwrap();
        assert_eq!(kept.len(), limits::TERMINATION_MESSAGE);
        std::fs::remove_file(&path).unwrap();
    }
}
