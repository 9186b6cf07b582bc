//! The architecture as a test: who may import whom, where third-party crates live, file rules.
//!
//! Owns the reading of `src/`; the tables themselves stand in `CONTRIBUTING.md` and are parsed from
//! there, so that the text people read is the rule that holds. Test code is exempt from the tables.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const MAX_LINES: usize = 500;
const NAMES_OF_NOTHING: [&str; 10] = [
    "mod",
    "util",
    "utils",
    "helper",
    "helpers",
    "common",
    "misc",
    "types",
    "manager",
    "constants",
];
/// What makes a module impure: runtimes, clients, and the clocks.
const IMPURE: [&str; 9] = [
    "tokio::",
    "tokio_util::",
    "futures_util::",
    "hyper::",
    "kube::",
    "std::net",
    "std::fs",
    "Instant::now",
    "SystemTime",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The code of a file without comments, strings, character literals and `#[cfg(test)]` items.
fn code(text: &str) -> String {
    without_tests(&without_literals(text))
}

fn without_literals(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut i = 0;
    while i < chars.len() {
        let rest = &chars[i..];
        if rest.starts_with(&['/', '/']) {
            i += rest.iter().position(|&c| c == '\n').unwrap_or(rest.len());
        } else if rest.starts_with(&['/', '*']) {
            i += 2;
            while i < chars.len() && !chars[i..].starts_with(&['*', '/']) {
                i += 1;
            }
            i += 2;
        } else if let Some(hashes) = raw_string(rest, out.chars().last()) {
            let close: Vec<char> = std::iter::once('"').chain(vec!['#'; hashes]).collect();
            i += hashes + 2;
            while i < chars.len() && !chars[i..].starts_with(&close) {
                i += 1;
            }
            i += close.len();
        } else if chars[i] == '"' {
            i += 1;
            while i < chars.len() && chars[i] != '"' {
                i += if chars[i] == '\\' { 2 } else { 1 };
            }
            i += 1;
        } else if rest.len() > 2 && chars[i] == '\'' && (rest[1] == '\\' || rest[2] == '\'') {
            i += 2;
            while i < chars.len() && chars[i] != '\'' {
                i += 1;
            }
            i += 1;
        } else {
            out.push(chars[i]);
            i += 1;
        }
    }
    out
}

/// The number of hashes when `rest` opens a raw string and is not the tail of a name.
fn raw_string(rest: &[char], before: Option<char>) -> Option<usize> {
    if rest.first() != Some(&'r') || before.is_some_and(|c| c.is_alphanumeric() && c != 'b') {
        return None;
    }
    let hashes = rest[1..].iter().take_while(|&&c| c == '#').count();
    (rest.get(hashes + 1) == Some(&'"')).then_some(hashes)
}

fn without_tests(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("#[cfg(test)]") {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let opens = rest.find('{').unwrap_or(rest.len());
        let ends = rest.find(';').unwrap_or(rest.len());
        if ends < opens {
            rest = &rest[ends + 1..];
            continue;
        }
        let mut depth = 0;
        let closes = rest.char_indices().find_map(|(at, c)| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            (c == '}' && depth == 0).then_some(at)
        });
        rest = &rest[closes.map_or(rest.len(), |at| at + 1)..];
    }
    out + rest
}

/// The paths that follow `root`, groups unfolded to two segments: `a::B`, `a`.
fn paths_after(code: &str, root: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices(root) {
        let before = code[..at].chars().last();
        if !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
            unfold(&code[at + root.len()..], "", &mut found);
        }
    }
    found
}

fn unfold(tail: &str, prefix: &str, found: &mut BTreeSet<String>) {
    let tail = tail.trim_start();
    if let Some(group) = tail.strip_prefix('{') {
        let mut depth = 0;
        let mut from = 0;
        for (at, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth > 0 => depth -= 1,
                ',' | '}' if depth == 0 => {
                    unfold(&group[from..at], prefix, found);
                    from = at + 1;
                    if c == '}' {
                        return;
                    }
                }
                _ => {}
            }
        }
        return;
    }
    let end = tail
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(tail.len());
    let name = &tail[..end];
    if name.is_empty() || name == "self" {
        if !prefix.is_empty() {
            found.insert(prefix.to_owned());
        }
        return;
    }
    if prefix.is_empty() {
        match tail[end..].strip_prefix("::") {
            Some(more) => unfold(more, name, found),
            None => _ = found.insert(name.to_owned()),
        }
    } else {
        found.insert(format!("{prefix}::{name}"));
    }
}

struct Source {
    path: PathBuf,
    /// The row of the table: the first segment below `src/`, without the extension.
    module: String,
    code: String,
    imports: BTreeSet<String>,
}

fn sources() -> Vec<Source> {
    let src = root().join("src");
    rust_files(&src)
        .into_iter()
        .filter(|path| path.file_name().is_none_or(|name| name != "lib.rs"))
        .filter(|path| !path.components().any(|part| part.as_os_str() == "tests"))
        .filter(|path| path.file_name().is_none_or(|name| name != "tests.rs"))
        .map(|path| {
            let below = path
                .strip_prefix(&src)
                .expect("found below src")
                .with_extension("");
            let parts: Vec<_> = below
                .iter()
                .map(|part| part.to_string_lossy().into_owned())
                .collect();
            let code = code(&fs::read_to_string(&path).expect("a readable source file"));
            let mut imports = paths_after(&code, "crate::");
            imports.extend(paths_after(&code, "pipeops_agent::"));
            // From a file as deep as `parts`, as many `super` lead to the crate's root.
            imports.extend(paths_after(&code, &"super::".repeat(parts.len())));
            Source {
                path,
                module: parts[0].clone(),
                code,
                imports,
            }
        })
        .collect()
}

/// The backticked words of a line.
fn words(line: &str) -> Vec<String> {
    line.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

struct Tables {
    leaves: Vec<String>,
    pure: Vec<String>,
    rows: BTreeMap<String, Vec<String>>,
    homes: BTreeMap<String, Vec<String>>,
}

fn tables() -> Tables {
    let text = fs::read_to_string(root().join("CONTRIBUTING.md")).expect("CONTRIBUTING.md");
    let listed = |start: &str| {
        let line = text
            .lines()
            .find(|line| line.starts_with(start))
            .expect("the list of modules");
        words(line.rsplit_once(": ").expect("a list after the colon").1)
    };
    let table = |heading: &str| {
        text.lines()
            .skip_while(|line| !line.starts_with(heading))
            .skip(2)
            .take_while(|line| line.starts_with('|'))
            .map(|line| {
                let (name, allowed) = line[1..].split_once('|').expect("a row of two cells");
                (words(name).remove(0), words(allowed))
            })
            .collect::<BTreeMap<_, _>>()
    };
    let tables = Tables {
        leaves: listed("Leaves,"),
        pure: listed("Pure modules"),
        rows: table("| module |"),
        homes: table("| crate |"),
    };
    assert!(
        tables.rows.len() > 15 && tables.homes.len() > 4,
        "the tables were not found"
    );
    tables
}

fn covers(allowed: &str, import: &str) -> bool {
    match allowed.strip_prefix("*::") {
        _ if allowed == "*" => true,
        Some(item) => import.rsplit("::").next() == Some(item),
        None => import == allowed || import.starts_with(&format!("{allowed}::")),
    }
}

fn may_import(tables: &Tables, module: &str, import: &str) -> bool {
    let own = import.split("::").next() == Some(module);
    let leaf = tables.leaves.iter().any(|leaf| covers(leaf, import));
    if let Some(row) = tables.rows.get(module) {
        own || row.iter().any(|allowed| covers(allowed, import))
            || (leaf && !tables.pure.iter().any(|pure| pure == module))
    } else {
        own || covers("limits", import)
            || (module == "tasks" && covers("shutdown", import))
            || (matches!(module, "reach" | "chance") && covers("simulation", import))
    }
}

#[test]
fn every_module_imports_only_what_its_row_allows() {
    let tables = tables();
    let mut wrong = Vec::new();
    for source in sources() {
        let module = source.module.as_str();
        if !tables.rows.contains_key(module) && !tables.leaves.iter().any(|leaf| leaf == module) {
            wrong.push(format!("{}: no row for `{module}`", source.path.display()));
        }
        for import in &source.imports {
            // A macro or a type at the crate's root has no module.
            let known = tables
                .rows
                .contains_key(import.split("::").next().unwrap_or_default())
                || tables.leaves.iter().any(|leaf| covers(leaf, import));
            if known && !may_import(&tables, module, import) {
                wrong.push(format!(
                    "{}: `{module}` may not use `{import}`",
                    source.path.display()
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "see the table in CONTRIBUTING.md\n{}",
        wrong.join("\n")
    );
}

#[test]
fn third_party_crates_stay_in_their_home() {
    let mut wrong = Vec::new();
    for source in sources() {
        for (name, homes) in &tables().homes {
            let used = !paths_after(&source.code, &format!("{name}::")).is_empty();
            if used && !homes.contains(&source.module) {
                wrong.push(format!(
                    "{}: `{name}` lives in {homes:?}",
                    source.path.display()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_that_is_shipped_leaves_tls_out() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml");
    let (_, features) = manifest.split_once("[features]").expect("a table");
    let (features, _) = features.split_once("\n[").expect("another table");
    for line in features.lines().filter(|line| !line.starts_with('#')) {
        let brings = line
            .split_once('=')
            .is_some_and(|(_, brought)| brought.contains("simulation"));
        assert!(!brings, "{line}");
    }
    for source in sources() {
        let installs = source.imports.contains("simulation::install");
        assert!(!installs, "{}", source.path.display());
    }
    let seam = fs::read_to_string(root().join("src/simulation.rs")).expect("the seam");
    assert!(seam.contains("#[cfg(not(debug_assertions))]\ncompile_error!"));
}

#[test]
fn pure_modules_wait_for_nothing_and_read_no_clock() {
    let pure = tables().pure;
    let mut wrong = Vec::new();
    for source in sources()
        .iter()
        .filter(|source| pure.contains(&source.module))
    {
        for mark in IMPURE.iter().chain(&["async fn", ".await", "thread::"]) {
            if source.code.contains(mark) {
                wrong.push(format!("{}: {mark}", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_are_short_and_open_with_what_they_own() {
    let mut wrong = Vec::new();
    for folder in ["src", "tests", "benches", "fuzz/fuzz_targets"] {
        for path in rust_files(&root().join(folder)) {
            let text = fs::read_to_string(&path).expect("a readable source file");
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            if text.lines().count() > MAX_LINES {
                wrong.push(format!("{}: over {MAX_LINES} lines", path.display()));
            }
            if !text.starts_with("//!") {
                wrong.push(format!("{}: does not open with //!", path.display()));
            }
            if NAMES_OF_NOTHING.contains(&&*stem) {
                wrong.push(format!("{}: the name says nothing", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn reading_sees_groups_and_skips_tests_and_text() {
    let text = r##"
        //! crate::commented
        use crate::{agent, link::{Frame, websocket::Socket}, mux::self};
        fn f() { let s = "crate::quoted"; let r = r#"crate::raw"#; let q = '"'; crate::uplink::dial(); }
        #[cfg(test)]
        mod tests { use crate::cluster::X; fn g() { if true {} } }
        #[cfg(test)]
        mod more;
        fn h() { super::gateway::serve(); }
    "##;
    let code = code(text);
    let expected = [
        "agent",
        "link::Frame",
        "link::websocket",
        "mux",
        "uplink::dial",
    ];
    assert_eq!(
        paths_after(&code, "crate::"),
        expected.map(str::to_owned).into()
    );
    assert_eq!(
        paths_after(&code, "super::"),
        ["gateway::serve".to_owned()].into()
    );
}

#[test]
fn the_table_refuses_what_it_does_not_name() {
    let tables = tables();
    assert!(may_import(&tables, "dispatch", "policy::Permit"));
    assert!(!may_import(&tables, "dispatch", "uplink::dial"));
    assert!(may_import(&tables, "link", "limits::LIMITS"));
    assert!(!may_import(&tables, "mux", "metrics::Registry"));
    assert!(!may_import(&tables, "status", "metrics::Registry"));
    assert!(may_import(&tables, "config", "uplink::Config"));
    assert!(!may_import(&tables, "config", "uplink::dial"));
    assert!(!may_import(&tables, "session", "config::Config"));
    assert!(may_import(&tables, "session", "config::secret"));
}
