//! The house rules, as a test: who may name whom, what each file starts with, and what may not stand in the tree.
#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "a test that reads the source tree and stops at the first thing that it can't read"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// Rooms from the ground up. A room may name only rooms on lower floors: never up, never sideways.
/// `reconcile` and `access` share a floor, and so do the rooms of the world, the engines and the doors.
const FLOORS: &[&[&str]] = &[
    &["kit"],
    &["resource"],
    &["record"],
    &["reconcile", "access"],
    &["wire", "settings"],
    &["repo", "store", "runtime", "mcp", "secret"],
    &["engine", "gateway"],
    &["cli", "api"],
];
/// The most lines that a file of Rust may have.
const LONGEST_FILE: usize = 800;
/// The most lines that a program's own file may have: it reads settings, composes rooms and runs.
const LONGEST_PROGRAM: usize = 30;

/// What may not stand in a line of Rust, and what to do instead. In pieces, so that this file passes too.
const FORBIDDEN_IN_RUST: &[(&str, &str)] = &[
    (
        concat!("super::", "super"),
        "name the room from `crate::` beyond the parent",
    ),
    (concat!("use crate", "::*"), "name what is used"),
    (concat!("#[ig", "nore"), "a test runs, or it goes"),
    (concat!("#[al", "low("), "use #[expect(…, reason = …)]"),
    (concat!("#![al", "low("), "use #![expect(…, reason = …)]"),
    (concat!("to", "do!("), "nothing is half done"),
    (concat!("unimple", "mented!("), "nothing is half done"),
];

/// What may not stand in any file: leftovers, one machine's folders, hosts that a mirror may replace.
const FORBIDDEN_EVERYWHERE: &[(&str, &str)] = &[
    (concat!("FIX", "ME"), "nothing is half done"),
    (concat!("/wo", "rk/"), "a folder of one machine"),
    (concat!("/ro", "ot/"), "a folder of one machine"),
    (concat!("/tmp/", "bash_jobs"), "a folder of one machine"),
    (concat!("registry.", "npmjs"), "a registry's host"),
    (concat!("registry.", "yarnpkg"), "a registry's host"),
    (concat!("py", "pi.org"), "a registry's host"),
    (concat!("files.", "pythonhosted"), "a registry's host"),
    (concat!("index.", "crates.io"), "a registry's host"),
    (concat!("static.", "crates.io"), "a registry's host"),
    (concat!("deb.", "debian.org"), "a registry's host"),
];

#[test]
fn rooms_only_look_down() {
    let floors: BTreeMap<&str, usize> = FLOORS
        .iter()
        .enumerate()
        .flat_map(|(floor, rooms)| rooms.iter().map(move |room| (*room, floor)))
        .collect();
    let mut faults = vec![];
    for file in sources().iter().filter(|file| file.room != "bin" && file.room != "lib") {
        let Some(here) = floors.get(file.room.as_str()) else {
            faults.push(format!("{}: {} is on no floor", file.path, file.room));
            continue;
        };
        for (line, named) in rooms_named(&file.code()) {
            let place = format!("{}:{line}", file.path);
            match floors.get(named.as_str()) {
                _ if named == file.room => {}
                Some(there) if there < here => {}
                Some(_) => faults.push(format!("{place}: {} may not name {named}", file.room)),
                None => faults.push(format!("{place}: there is no room called {named}")),
            }
        }
    }
    report(&faults);
}

#[test]
fn files_are_tidy() {
    let mut faults = vec![];
    for file in &rust_files() {
        let lines = file.text.lines().count();
        let most = if file.room == "bin" {
            LONGEST_PROGRAM
        } else {
            LONGEST_FILE
        };
        if lines > most {
            faults.push(format!("{}: {lines} lines, and {most} are the most", file.path));
        }
        if !file.text.starts_with("//!") {
            faults.push(format!("{}: its head does not say in `//!` what it is for", file.path));
        }
        for (number, line) in file.text.lines().enumerate() {
            for (word, instead) in FORBIDDEN_IN_RUST {
                if line.contains(word) {
                    faults.push(format!("{}:{}: {word}: {instead}", file.path, number + 1));
                }
            }
        }
    }
    report(&faults);
}

#[test]
fn nothing_names_a_machine_or_a_registry() {
    let mut faults = vec![];
    for file in &tracked() {
        for (number, line) in file.text.lines().enumerate() {
            for (word, why) in FORBIDDEN_EVERYWHERE {
                if line.contains(word) {
                    faults.push(format!("{}:{}: {word}: {why}", file.path, number + 1));
                }
            }
        }
    }
    report(&faults);
}

#[test]
fn acceptance_scripts_are_run() {
    let runner = std::fs::read_to_string(root().join("tests/acceptance.rs")).expect("tests/acceptance.rs");
    let mut faults = vec![];
    for file in tracked()
        .iter()
        .filter(|file| Path::new(&file.path).starts_with("tests/acceptance"))
    {
        let Some(name) = file
            .path
            .strip_prefix("tests/acceptance/")
            .and_then(|rest| rest.strip_suffix(".sh"))
        else {
            continue;
        };
        if !runner.lines().any(|line| line.trim() == format!("{name},")) {
            faults.push(format!("{}: tests/acceptance.rs does not run it", file.path));
        }
        if !is_executable(&root().join(&file.path)) {
            faults.push(format!("{}: not executable", file.path));
        }
    }
    for script in ["tests/run", ".ci/run"] {
        if !is_executable(&root().join(script)) {
            faults.push(format!("{script}: not executable"));
        }
    }
    report(&faults);
}

#[test]
fn the_reader_of_names_sees_groups_and_comments() {
    let file = SourceFile {
        path: "engine/x.rs".into(),
        room: "engine".into(),
        text: "use crate::{kit::Name, store::{Store, Row}, record};\n// crate::cli\nlet x = crate::api::run();\n"
            .into(),
    };
    let named: Vec<String> = rooms_named(&file.code()).into_iter().map(|(_, room)| room).collect();
    assert_eq!(named, ["kit", "store", "record", "api"]);
}

fn report(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A text file of the tree.
struct SourceFile {
    /// From the repository's root.
    path: String,
    /// The folder of src/ that it is in (a file beside lib.rs: its own name); empty outside of src/.
    room: String,
    text: String,
}

impl SourceFile {
    /// The text with whole-line comments emptied, so that a link in a comment is not a dependency.
    fn code(&self) -> String {
        self.text
            .lines()
            .flat_map(|line| [if line.trim_start().starts_with("//") { "" } else { line }, "\n"])
            .collect()
    }
}

/// Every text file that git knows of or would add; binary ones are passed over.
fn tracked() -> Vec<SourceFile> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
        .current_dir(root())
        .output()
        .expect("git ls-files");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let files: Vec<SourceFile> = String::from_utf8_lossy(&output.stdout)
        .split_terminator('\0')
        .filter_map(|path| {
            let text = String::from_utf8(std::fs::read(root().join(path)).ok()?).ok()?;
            let room = path.strip_prefix("src/").unwrap_or_default();
            let room = room
                .split('/')
                .next()
                .unwrap_or_default()
                .trim_end_matches(".rs")
                .to_owned();
            Some(SourceFile {
                path: path.to_owned(),
                room,
                text,
            })
        })
        .collect();
    assert!(files.len() > 20, "git lists only {} files", files.len());
    files
}

fn rust_files() -> Vec<SourceFile> {
    let mut files = tracked();
    files.retain(|file| {
        Path::new(&file.path)
            .extension()
            .is_some_and(|extension| extension == "rs")
    });
    files
}

fn sources() -> Vec<SourceFile> {
    let mut files = rust_files();
    files.retain(|file| !file.room.is_empty());
    files
}

/// The first word after every `crate::`, those in braces included, with its line.
fn rooms_named(code: &str) -> Vec<(usize, String)> {
    let prefix = "crate::";
    let mut found = vec![];
    for (at, _) in code.match_indices(prefix) {
        // `$crate::` and `my_crate::` are other words.
        if code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_') {
            continue;
        }
        let line = code[..at].matches('\n').count() + 1;
        let rest = &code[at + prefix.len()..];
        let words = match rest.strip_prefix('{') {
            None => vec![rest],
            Some(group) => outermost(group),
        };
        for word in words {
            let word: String = word
                .trim_start()
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            if !word.is_empty() {
                found.push((line, word));
            }
        }
    }
    found
}

/// The parts of `{a, b::{c, d}, e}` (without its first brace) between the outermost commas.
fn outermost(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (1, 0, vec![]);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => {
                parts.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
        if depth == 0 {
            parts.push(&group[start..at]);
            break;
        }
    }
    parts
}

#[cfg(unix)]
fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata()
        .is_ok_and(|metadata| metadata.permissions().mode() & 0o100 != 0)
}

#[cfg(not(unix))]
fn is_executable(path: &Path) -> bool {
    path.exists()
}
