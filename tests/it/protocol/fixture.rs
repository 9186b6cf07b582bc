//! Reading the fixtures of `fixtures/frames/v2`, and the notations that they share.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use pipeops_agent::protocol::Frame;
use serde_json::{Value, json};

/// The repository.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// One file of a fixture folder.
#[derive(Debug)]
pub(crate) struct Fixture {
    /// The folder: a kind (accept) or a code (reject).
    pub(crate) folder: String,
    /// The file's name without `.json`.
    pub(crate) case: String,
    /// The file's text without its last line feed.
    pub(crate) text: String,
    path: PathBuf,
}

impl Fixture {
    /// The file as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{self}: {error}"))
    }

    /// The file beside this one with `.<suffix>` before `.json`, if there is one.
    pub(crate) fn sibling(&self, suffix: &str) -> Option<String> {
        let path = self
            .path
            .with_file_name(format!("{}.{suffix}.json", self.case));
        path.exists().then(|| read(&path))
    }
}

impl std::fmt::Display for Fixture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}.json", self.folder, self.case)
    }
}

/// Every fixture below `fixtures/frames/v2/<verdict>`, in the order of their names.
pub(crate) fn all(verdict: &str) -> Vec<Fixture> {
    let mut found = Vec::new();
    for folder in entries(&root().join("fixtures/frames/v2").join(verdict)) {
        for path in entries(&folder) {
            let name = file_name(&path);
            let case = name.strip_suffix(".json").expect("a fixture ends in .json");
            if case.contains('.') {
                continue;
            }
            found.push(Fixture {
                folder: file_name(&folder),
                case: case.to_owned(),
                text: read(&path),
                path,
            });
        }
    }
    assert!(!found.is_empty(), "no fixtures to {verdict}");
    found
}

/// What a folder holds, in the order of the names.
pub(crate) fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("a readable folder").path());
    let mut entries: Vec<PathBuf> = entries.collect();
    entries.sort();
    entries
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().expect("an entry has a name");
    name.to_str().expect("fixture names are ASCII").to_owned()
}

fn read(path: &Path) -> String {
    let text =
        std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.strip_suffix('\n')
        .unwrap_or_else(|| panic!("{} does not end with a line feed", path.display()))
        .to_owned()
}

/// Text as fixtures write it: a string, or a list of strings and `{"repeat": …, "times": n}`.
pub(crate) fn pieces(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().map(pieces).collect(),
        Value::Object(part) => {
            let times = part["times"].as_u64().expect("times is a number");
            pieces(&part["repeat"]).repeat(usize::try_from(times).expect("times fits"))
        }
        other => panic!("not a piece of text: {other}"),
    }
}

/// Bytes as fixtures write them: hexadecimal, in [`pieces`]; blanks are allowed.
pub(crate) fn hex(value: &Value) -> Bytes {
    let digits: Vec<u8> = pieces(value)
        .bytes()
        .filter(|byte| *byte != b' ')
        .map(|byte| match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            other => panic!("not a lower-case hexadecimal digit: {other}"),
        })
        .collect();
    let (pairs, rest) = digits.as_chunks::<2>();
    assert!(rest.is_empty(), "an odd number of digits");
    pairs.iter().map(|[high, low]| high << 4 | low).collect()
}

/// Lower-case hexadecimal.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A frame in the notation of `means`.
pub(crate) fn meaning(frame: &Frame) -> Value {
    match frame {
        Frame::Data {
            stream,
            fin,
            zstd,
            payload,
        } => json!({"data": {"stream": stream, "fin": fin, "zstd": zstd, "hex": to_hex(payload)}}),
        Frame::Window { stream, bytes } => json!({"window": {"stream": stream, "bytes": bytes}}),
        Frame::Reset { stream, code } => json!({"reset": {"stream": stream, "code": code}}),
    }
}
