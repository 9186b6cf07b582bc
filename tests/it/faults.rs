//! `docs/faults.md`: every row of it names what holds it, and what it names exists.
//!
//! Owns the reading of that page and the list of everything that may be named there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What a row says that has no test.
const NONE: &str = "no test yet";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// The names of functions below an attribute of a test, and of properties.
fn tests(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut is_test = false;
    for line in text.lines().map(str::trim) {
        is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        let name = line.strip_prefix("async ").unwrap_or(line);
        if let Some(name) = name.strip_prefix("fn ")
            && std::mem::take(&mut is_test)
        {
            let end = name.find(['(', '<']).unwrap_or(name.len());
            found.insert(name[..end].to_owned());
        }
    }
    found
}

/// Everything that a row may name.
fn known() -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    for folder in ["src", "tests"] {
        for path in files(&root().join(folder)) {
            if path.extension().is_some_and(|extension| extension == "rs") {
                known.extend(tests(&fs::read_to_string(path).unwrap()));
            }
        }
    }
    for folder in ["tests/cluster/checks", "fuzz/fuzz_targets"] {
        for path in files(&root().join(folder)) {
            known.insert(path.file_stem().unwrap().to_string_lossy().into_owned());
        }
    }
    let schedule = fs::read_to_string(root().join("tests/simulation/schedule.rs"));
    let schedule = schedule.unwrap_or_default();
    let (_, drawn) = schedule.split_once("fn draw(").unwrap_or_default();
    for piece in drawn.split("Kind::").skip(1) {
        let end = piece.find(|c: char| !c.is_alphanumeric());
        known.insert(format!("Kind::{}", &piece[..end.unwrap_or(piece.len())]));
    }
    known
}

#[test]
fn every_fault_names_what_holds_it_and_all_of_it_exists() {
    let page = fs::read_to_string(root().join("docs/faults.md")).unwrap();
    let known = known();
    let mut rows = 0;
    let mut wrong = Vec::new();
    for line in page.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let Ok(number) = cells[0].parse::<usize>() else {
            continue;
        };
        rows += 1;
        assert_eq!((number, cells.len()), (rows, 4), "{line}");
        let names: Vec<&str> = cells[3].split('`').skip(1).step_by(2).collect();
        if names.is_empty() && cells[3] != NONE {
            wrong.push(format!("{number} names nothing"));
        }
        for name in names.iter().filter(|name| !known.contains(**name)) {
            wrong.push(format!("{number} names {name}, which is nowhere"));
        }
    }
    assert_eq!(rows, 30);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
