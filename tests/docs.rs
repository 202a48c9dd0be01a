//! What the documents show is true: their commands are run, their YAML is read, their links lead somewhere.
//!
//! The scheme stands in docs/DEVELOPMENT.md under "Documents".
#![cfg(unix)]
#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "a test that reads the documents and stops at the first thing that it can't read"
)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use mcpctl::resource::{FileText, Tree, yaml};

/// The languages that a block may be of. `console` is run, `yaml` is read, the verbs in `sh` must exist.
const LANGUAGES: &[&str] = &["console", "sh", "yaml", "json", "rust", "text", "toml"];
/// Stands for any text in a line; alone on a line, for any number of lines.
const ANYTHING: &str = "…";
/// Precedes what a command says, in the output of the script that runs a document.
const MARK: &str = "\u{1}command ";

#[test]
fn blocks_are_of_a_known_language_and_links_lead_somewhere() {
    let mut faults = vec![];
    for document in documents() {
        for block in &document.blocks {
            if !LANGUAGES.contains(&block.language.as_str()) {
                faults.push(format!(
                    "{}: \"{}\" is not one of {LANGUAGES:?}",
                    document.place(block),
                    block.language
                ));
            }
        }
        for target in links(&document.text) {
            let file = target.split('#').next().unwrap_or_default();
            let folder = document.path.parent().expect("a folder");
            if !file.is_empty() && !target.contains("://") && !root().join(folder).join(file).exists() {
                faults.push(format!("{}: there is no {target}", document.path.display()));
            }
        }
    }
    report(&faults);
}

#[test]
fn yaml_blocks_are_valid() {
    let mut faults = vec![];
    for document in documents() {
        for block in document.blocks.iter().filter(|block| block.language == "yaml") {
            let file = FileText {
                path: document.place(block),
                bytes: Ok(block.lines.join("\n").into_bytes()),
            };
            faults.extend(yaml::read(&file).diagnostics.iter().map(ToString::to_string));
        }
    }
    report(&faults);
}

#[test]
fn the_example_repository_is_valid() {
    let folder = root().join("examples/repo");
    let mut files = vec![];
    for part in ["servers", "projects"] {
        for entry in std::fs::read_dir(folder.join(part)).expect("a folder") {
            let entry = entry.expect("an entry");
            let path = format!("{part}/{}", entry.file_name().to_string_lossy());
            let bytes = std::fs::read(entry.path()).expect("a file");
            files.push(Arc::new(yaml::read(&FileText { path, bytes: Ok(bytes) })));
        }
    }
    let count = files.len();
    let tree = Tree::assemble(files);
    report(&tree.diagnostics.iter().map(ToString::to_string).collect::<Vec<_>>());
    assert_eq!(tree.documents.len(), count, "a document a file");
}

#[test]
fn verbs_exist() {
    let mut faults = vec![];
    for document in documents() {
        for block in document
            .blocks
            .iter()
            .filter(|block| ["sh", "console"].contains(&block.language.as_str()))
        {
            for line in &block.lines {
                let command = line.strip_prefix("$ ").unwrap_or(line).trim_start();
                let Some(verb) = ["mcpctl ", "cargo run --release -- "]
                    .iter()
                    .find_map(|program| command.strip_prefix(program))
                    .and_then(|rest| rest.split_whitespace().find(|word| !word.starts_with('-')))
                else {
                    continue;
                };
                let known = Command::new(env!("CARGO_BIN_EXE_mcpctl"))
                    .args([verb, "--help"])
                    .stdin(Stdio::null())
                    .output()
                    .expect("mcpctl");
                if !known.status.success() {
                    faults.push(format!("{}: mcpctl has no {verb}", document.place(block)));
                }
            }
        }
    }
    report(&faults);
}

#[test]
fn console_blocks_do_what_they_show() {
    let faults: Vec<String> = documents().iter().flat_map(perform).collect();
    report(&faults);
}

/// Promises name tests that exist, and figures are those of the long runs' files.
#[test]
fn reliability_says_what_is_there() {
    let text = std::fs::read_to_string(root().join("docs/RELIABILITY.md")).expect("the document");
    let rows = |heading: &str| -> Vec<Vec<String>> {
        let rest = text.split_once(heading).map_or("", |(_, rest)| rest);
        let section = rest.split("\n## ").next().unwrap_or_default();
        let rows = section.lines().filter(|line| line.starts_with("| ")).skip(1);
        rows.map(|row| {
            row.trim_matches('|')
                .split('|')
                .map(|cell| cell.trim().to_owned())
                .collect()
        })
        .collect()
    };
    let mut faults = vec![];
    let known = tests();
    let promises = rows("## Promises\n");
    assert_eq!(promises.len(), 10, "promises");
    for row in &promises {
        let names: Vec<&str> = row[3].split(", ").map(|name| name.trim_matches('`')).collect();
        for name in names {
            if !known.contains(name) {
                faults.push(format!("{}: there is no test {name}", row[0]));
            }
        }
    }
    let mut files: BTreeSet<String> = std::fs::read_dir(root().join("docs/proof"))
        .expect("docs/proof")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    for row in rows("## Figures so far\n") {
        let name = row[0].trim_start_matches('[').split(']').next().unwrap_or_default();
        let file = format!("{name}.json");
        if !files.remove(&file) {
            faults.push(format!("there is no docs/proof/{file}"));
            continue;
        }
        let path = root().join("docs/proof").join(&file);
        let proof: serde_json::Value = serde_json::from_slice(&std::fs::read(path).expect("a proof")).expect("JSON");
        let there: BTreeSet<u64> = proof
            .as_object()
            .into_iter()
            .flat_map(|it| it.values())
            .filter_map(serde_json::Value::as_u64)
            .collect();
        for figure in figures(&row[2]).into_iter().chain(figures(&row[3])) {
            if !there.contains(&figure) {
                faults.push(format!("{figure} does not stand in docs/proof/{file}"));
            }
        }
    }
    faults.extend(files.iter().map(|file| format!("docs/proof/{file} is not told of")));
    report(&faults);
}

/// The figures of docs/PERFORMANCE.md are those of its file, rounded.
#[test]
fn performance_says_what_was_measured() {
    let text = std::fs::read_to_string(root().join("docs/PERFORMANCE.md")).expect("the document");
    let section = text.split_once("## Figures\n").map_or("", |(_, rest)| rest);
    let rows: Vec<&str> = section.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(!rows.is_empty(), "no figures");
    let file = std::fs::read(root().join("docs/perf/gateway.json")).expect("docs/perf/gateway.json");
    let mut there = BTreeSet::new();
    let mut left = vec![serde_json::from_slice::<serde_json::Value>(&file).expect("JSON")];
    while let Some(value) = left.pop() {
        match value {
            serde_json::Value::Number(number) => {
                there.extend(number.as_f64().map(|number| format!("{number:.0}")));
            }
            serde_json::Value::Array(values) => left.extend(values),
            serde_json::Value::Object(members) => left.extend(members.into_iter().map(|(_, value)| value)),
            _ => {}
        }
    }
    let wrong = rows.iter().flat_map(|row| figures(row));
    let wrong: Vec<String> = wrong
        .map(|figure| figure.to_string())
        .filter(|figure| !there.contains(figure))
        .map(|figure| format!("{figure} does not stand in docs/perf/gateway.json"))
        .collect();
    report(&wrong);
}

/// The whole numbers in a text, thousands with commas.
fn figures(text: &str) -> Vec<u64> {
    let words = text.split(|c: char| !c.is_ascii_digit() && c != ',');
    words.filter_map(|word| word.replace(',', "").parse().ok()).collect()
}

/// The names of all tests: functions of Rust and scripts.
fn tests() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut folders = vec![root().join("src"), root().join("tests")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let ending = path.extension().and_then(|it| it.to_str());
            if path.is_dir() {
                folders.push(path);
            } else if ending == Some("sh") {
                names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
            } else if ending == Some("rs") {
                let text = std::fs::read_to_string(&path).expect("a file");
                let begins = |line: &str| {
                    let line = line.trim_start();
                    let rest = line.strip_prefix("async fn ").or_else(|| line.strip_prefix("fn "))?;
                    rest.split_once('(').map(|(name, _)| name.to_owned())
                };
                names.extend(text.lines().filter_map(begins));
            }
        }
    }
    names
}

#[test]
fn wildcards_match_as_they_should() {
    for (want, got, fits) in [
        ("a\nb", "a\nb", true),
        ("a\nb", "a", false),
        ("a\n…\nd", "a\nb\nc\nd", true),
        ("a\n…\nd", "a\nd", true),
        ("a\n…", "b\na", false),
        ("plan …: 1 to create", "plan 3fa2c1e: 1 to create", true),
        ("plan …: 1 to create", "plan 3fa2c1e: 2 to create", false),
        ("… RUNNING …", "x RUNNING y", true),
        ("", "", true),
        ("", "a", false),
        ("aba…ba", "aba", false),
    ] {
        let want: Vec<&str> = want.lines().collect();
        let got: Vec<&str> = got.lines().collect();
        assert_eq!(lines_fit(&want, &got), fits, "{want:?} {got:?}");
    }
}

/// A document with its fenced blocks.
struct Document {
    /// From the repository's root.
    path: PathBuf,
    text: String,
    blocks: Vec<Block>,
}

impl Document {
    fn place(&self, block: &Block) -> String {
        format!("{}:{}", self.path.display(), block.line)
    }
}

/// A fenced block.
struct Block {
    /// The line of its opening fence.
    line: usize,
    language: String,
    lines: Vec<String>,
}

/// A command of a `console` block and what it shows.
struct Shown {
    place: String,
    command: String,
    output: Vec<String>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn report(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

/// The README, the documents in docs/ and the README of the example.
fn documents() -> Vec<Document> {
    let mut paths: Vec<PathBuf> = ["README.md", "CHANGELOG.md", "examples/repo/README.md"]
        .map(PathBuf::from)
        .to_vec();
    for entry in std::fs::read_dir(root().join("docs")).expect("docs/") {
        let path = Path::new("docs").join(entry.expect("an entry").file_name());
        if path.extension().is_some_and(|extension| extension == "md") {
            paths.push(path);
        }
    }
    paths.retain(|path| root().join(path).exists());
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(root().join(&path)).expect("a document");
            let blocks = blocks(&path, &text);
            Document { path, text, blocks }
        })
        .collect()
}

fn blocks(path: &Path, text: &str) -> Vec<Block> {
    let mut found = vec![];
    let mut open: Option<Block> = None;
    for (number, line) in text.lines().enumerate() {
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (Some(_), Some(_)) => found.extend(open.take()),
            (Some(language), None) => {
                open = Some(Block {
                    line: number + 1,
                    language: language.trim().to_owned(),
                    lines: vec![],
                });
            }
            (None, Some(block)) => block.lines.push(line.to_owned()),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "{}: a block is not closed", path.display());
    found
}

/// The targets of `[words](target)` outside of blocks.
fn links(text: &str) -> Vec<String> {
    let mut inside = false;
    let mut found = vec![];
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            inside = !inside;
        } else if !inside {
            found.extend(
                line.split("](")
                    .skip(1)
                    .filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())),
            );
        }
    }
    found
}

/// The commands of all `console` blocks: `$ ` begins one, `> ` goes on with it, the rest is what it prints.
fn commands(document: &Document) -> Vec<Shown> {
    let mut shown: Vec<Shown> = vec![];
    for block in document.blocks.iter().filter(|block| block.language == "console") {
        for (number, line) in block.lines.iter().enumerate() {
            let place = format!("{}:{}", document.path.display(), block.line + 1 + number);
            if let Some(command) = line.strip_prefix("$ ") {
                shown.push(Shown {
                    place,
                    command: command.to_owned(),
                    output: vec![],
                });
                continue;
            }
            assert!(number > 0, "{place}: a console block begins with a command");
            let last = shown.last_mut().expect("a block that begins with a command");
            if let (Some(more), true) = (line.strip_prefix("> "), last.output.is_empty()) {
                last.command.push('\n');
                last.command.push_str(more);
            } else {
                last.output.push(line.clone());
            }
        }
    }
    shown
}

/// Runs a document's commands in one shell, beside an mcpd of its own, and says what differs from what is shown.
fn perform(document: &Document) -> Vec<String> {
    let shown = commands(document);
    if shown.is_empty() {
        return vec![];
    }
    let place = tempfile::Builder::new()
        .prefix("mcpctl-")
        .tempdir()
        .expect("a temporary folder");
    let home = place.path().join("home");
    std::fs::create_dir(&home).expect("a home");
    let mut script = String::from("source \"$ROOT/tests/support/console.sh\"\n");
    for (number, one) in shown.iter().enumerate() {
        // The documents speak of the default address; here it is another one.
        let command = one.command.replace("127.0.0.1:3100", "127.0.0.1:$port");
        writeln!(
            script,
            "printf '\\n\\001command {number}\\n'\n{command}\nprintf '\\n\\001status %s\\n' $?"
        )
        .expect("a string");
    }
    let output = Command::new("timeout")
        .args(["--kill-after=20", "600", "bash", "-c", &script])
        .current_dir(place.path())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env(
            "BIN",
            Path::new(env!("CARGO_BIN_EXE_mcpctl")).parent().expect("a folder"),
        )
        .env("ROOT", root())
        .env("HOME", &home)
        .env("TMPDIR", place.path())
        .env("LANG", "C.UTF-8")
        .stdin(Stdio::null())
        .output()
        .expect("timeout(1) and bash");
    let said = String::from_utf8_lossy(&output.stdout);
    let address = said
        .lines()
        .find_map(|line| line.strip_prefix("\u{1}address "))
        .unwrap_or("no address")
        .to_owned();
    let said = said.replace(&address, "127.0.0.1:3100");
    let mut faults = vec![];
    for (number, one) in shown.iter().enumerate() {
        let Some((got, status)) = said
            .split_once(&format!("\n{MARK}{number}\n"))
            .and_then(|(_, rest)| rest.split_once("\n\u{1}status "))
            .map(|(got, rest)| (got, rest.lines().next().unwrap_or_default()))
        else {
            faults.push(format!(
                "{}: never ran\n{}",
                one.place,
                String::from_utf8_lossy(&output.stderr)
            ));
            break;
        };
        let want: Vec<&str> = one.output.iter().map(|line| line.trim_end()).collect();
        let got: Vec<&str> = got.trim_end_matches('\n').lines().map(str::trim_end).collect();
        if !lines_fit(&want, &got) {
            faults.push(format!(
                "{}: $ {}\n--- shown\n{}\n--- said\n{}",
                one.place,
                one.command,
                want.join("\n"),
                got.join("\n")
            ));
        } else if status != "0"
            && !want
                .iter()
                .any(|line| line.contains("error:") || line.contains("exit status"))
        {
            faults.push(format!(
                "{}: $ {}\n ends with status {status} and shows no error",
                one.place, one.command
            ));
        }
    }
    faults
}

/// Whether lines are as shown, where `…` alone on a line stands for any number of them.
fn lines_fit(want: &[&str], got: &[&str]) -> bool {
    match want.split_first() {
        None => got.is_empty(),
        Some((&ANYTHING, rest)) => (0..=got.len()).any(|skipped| lines_fit(rest, &got[skipped..])),
        Some((first, rest)) => got
            .split_first()
            .is_some_and(|(line, more)| line_fits(first, line) && lines_fit(rest, more)),
    }
}

/// Whether a line is as shown, where `…` stands for any text.
fn line_fits(want: &str, got: &str) -> bool {
    let mut parts = want.split(ANYTHING);
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = got.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}
