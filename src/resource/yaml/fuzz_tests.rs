//! Mutated files against the reading and editing of YAML: a plain function over bytes says what must hold of any, and a
//! seeded mutator makes them out of tests/fixtures. What was found once is a file in yaml_fuzz there.

#![expect(
    clippy::disallowed_methods,
    reason = "it reads the seeds, its environment, the clock, and writes its proof"
)]

use std::path::Path;

use saphyr_parser::ScalarStyle;
use serde::Deserialize as _;
use serde_yaml::Value;

use super::node::{self, Data, Node};
use super::print::print;
use super::{put, read};
use crate::resource::{Document, FileText};

/// Where the files are that everything begins with.
const FOLDERS: [&str; 4] = [
    "tests/fixtures/yaml_fuzz",
    "tests/fixtures/yaml",
    "examples/repo/servers",
    "examples/repo/projects",
];

/// What a text came to.
#[derive(Debug, PartialEq, Eq)]
enum Came {
    /// It was refused, with a reason.
    Refused,
    /// It declares so many resources, and that many of them can't be taken out of it.
    Declares(usize, usize),
}

/// What must hold of any bytes.
///
/// # Panics
/// Something does not hold.
fn check(bytes: &[u8]) -> Came {
    let file = FileText {
        path: "a.yaml".to_owned(),
        bytes: Ok(bytes.to_vec()),
    };
    let once = read(&file);
    assert_eq!(once, read(&file), "read twice");
    assert_eq!(
        once.diagnostics.is_empty(),
        once.unreadable.is_empty(),
        "refused and told"
    );
    let body = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let lines = 1 + memchr::memchr_iter(b'\n', body).count();
    for fault in &once.diagnostics {
        assert!(!fault.to_string().is_empty());
        assert!(fault.line as usize <= lines + 1, "{fault} in {lines} lines");
        assert!(fault.line == 0 || fault.column > 0, "{fault}");
    }
    if !once.diagnostics.is_empty() {
        return Came::Refused;
    }
    let text = std::str::from_utf8(bytes).expect("what is read is UTF-8");
    both_parsers_agree(text.strip_prefix('\u{feff}').unwrap_or(text));
    let documents: Vec<&Document> = once.documents.iter().map(|it| &*it.placed.document).collect();
    let ids: std::collections::BTreeSet<_> = documents.iter().map(|document| &document.id).collect();
    if ids.len() < documents.len() {
        // Twice in one file: that is found where files are put together, and nothing is written into such a one.
        return Came::Declares(documents.len(), 0);
    }
    let mut refused = 0;
    for document in &documents {
        if document.text.is_none() {
            let printed = print(document);
            assert_eq!(
                declared(&printed),
                [Document::clone(&document.written())],
                "printed: {printed}"
            );
        }
        let same = put("a.yaml", text, &document.id, Some(document)).expect("what is there can be put there");
        assert_eq!(same.as_deref(), Some(text), "the same document changes nothing");
        let Ok(rest) = put("a.yaml", text, &document.id, None) else {
            // Anchors that others use, and the like: refused, and nothing is written.
            refused += 1;
            continue;
        };
        let others: Vec<Document> = documents
            .iter()
            .filter(|other| other.id != document.id)
            .map(|other| Document::clone(other))
            .collect();
        let rest = rest.unwrap_or_default();
        assert_eq!(declared(&rest), others, "without {}: {rest:?}", document.id);
        assert!(
            is_cut_of(&rest, text),
            "without {} more than it changed: {rest:?}",
            document.id
        );
    }
    Came::Declares(documents.len(), refused)
}

fn declared(text: &str) -> Vec<Document> {
    let file = FileText {
        path: "a.yaml".to_owned(),
        bytes: Ok(text.as_bytes().to_vec()),
    };
    let read = read(&file);
    assert!(read.diagnostics.is_empty(), "{:?} in {text:?}", read.diagnostics);
    read.documents
        .into_iter()
        .map(|it| Document::clone(&it.placed.document))
        .collect()
}

/// Whether a text is another one from which something was taken out, and to which nothing was added.
fn is_cut_of(rest: &str, text: &str) -> bool {
    let mut all = text.bytes();
    rest.bytes().all(|byte| all.any(|other| other == byte))
}

/// The comparison of `agree.rs` once more, and stricter: whatever is accepted, both parsers read alike.
fn both_parsers_agree(text: &str) {
    let trees = node::parse(text).unwrap_or_else(|_| panic!("one parser accepts what the other refuses"));
    let values: Vec<Value> = serde_yaml::Deserializer::from_str(text)
        .map(|document| Value::deserialize(document).expect("serde_yaml reads it"))
        .collect();
    if trees.is_empty() {
        assert!(values.iter().all(Value::is_null), "{values:?}");
        return;
    }
    assert_eq!(trees.len(), values.len(), "documents");
    for (tree, value) in trees.iter().zip(&values) {
        assert!(alike(&tree.root, value), "{:?} is not {value:?}", tree.root);
    }
}

fn alike(node: &Node<'_>, value: &Value) -> bool {
    match (node.data(), value) {
        (Data::Scalar(text, ScalarStyle::Plain), value) => match value {
            Value::String(it) => text == it,
            Value::Null => ["", "~", "null", "Null", "NULL"].contains(&text.as_ref()),
            Value::Bool(it) => text.to_lowercase() == it.to_string(),
            Value::Number(it) => number(text).is_none_or(|number| Some(number) == it.as_f64()),
            _ => false,
        },
        (Data::Scalar(text, _), Value::String(it)) => text == it,
        (Data::List(nodes, _), Value::Sequence(values)) => {
            nodes.len() == values.len() && nodes.iter().zip(values).all(|(node, value)| alike(node, value))
        }
        // In order, keys too.
        (Data::Mapping(nodes, _), Value::Mapping(values)) => {
            nodes.len() == values.len()
                && nodes
                    .iter()
                    .zip(values)
                    .all(|((key, node), (name, value))| alike(key, name) && alike(node, value))
        }
        _ => false,
    }
}

/// A decimal number; other forms (0x1f, .inf) are one parser's word.
fn number(text: &str) -> Option<f64> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte))
        .then(|| text.parse().ok())
        .flatten()
}

/// What means something in YAML or to us, and what looks as if it did.
const WORDS: &[&str] = &[
    "---\n",
    "--- ",
    "...\n",
    "---",
    "- ",
    "-\n",
    "? ",
    ": ",
    ":",
    "\n",
    "\n\n",
    "\r\n",
    "\r",
    "\t",
    " ",
    "  ",
    "    ",
    "#",
    " # c\n",
    "&a ",
    "*a",
    "&a",
    "<<: *a\n",
    "!",
    "!!str ",
    "!x ",
    "|",
    "|-\n",
    "|+\n",
    ">\n",
    ">2-\n",
    "|2\n",
    "\"",
    "'",
    "''",
    "\\",
    "\\\n",
    "\\x41",
    "\\u00e9",
    "\\0",
    "[",
    "]",
    "{",
    "}",
    ",",
    "[]",
    "{}",
    "%YAML 1.2\n",
    "%TAG ! x\n",
    "@",
    "`",
    "~",
    "null",
    "true",
    "no",
    "0x1f",
    "0o17",
    "007",
    "1e3",
    ".5",
    ".inf",
    "+1",
    "-1",
    "1_000",
    "\u{feff}",
    "\u{85}",
    "\u{2028}",
    "\u{a0}",
    "é",
    "😀",
    "\u{0}",
    "\u{7f}",
    "<<<<<<< x\n",
    "=======\n",
    ">>>>>>> y\n",
    "kind: server\n",
    "name: a\n",
    "name: z\n",
    "command: [x]\n",
    "description: ",
    "servers:\n",
    "- name: n\n  command: [x]\n",
    "replicas: 1\n",
    "env: []\n",
    "kind: project\n",
    "x: y\n",
    "\u{1f}",
];

/// xorshift64*: the same seed gives the same file everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`; 0 where that is 0.
    fn below(&mut self, end: usize) -> usize {
        let end = end.max(1) as u64;
        usize::try_from((self.next() >> 11) % end).unwrap_or(0)
    }

    fn of<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len())]
    }
}

fn mutated(seed: u64, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    for _ in 0..3 {
        random.next();
    }
    let mut bytes = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(4) {
        mutate(&mut bytes, &mut random, seeds);
    }
    bytes
}

fn mutate(bytes: &mut Vec<u8>, random: &mut Random, seeds: &[Vec<u8>]) {
    let at = random.below(bytes.len() + 1);
    let mut lines: Vec<Vec<u8>> = bytes
        .split_inclusive(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect();
    let line = random.below(lines.len());
    match random.below(12) {
        0..=2 => drop(bytes.splice(at..at, random.of(WORDS).bytes())),
        3 => {
            let end = (at + 1 + random.below(8)).min(bytes.len());
            bytes.drain(at..end);
        }
        4 => {
            let end = (at + random.below(6)).min(bytes.len());
            bytes.splice(at..end, random.of(WORDS).bytes());
        }
        5 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
        6 if !lines.is_empty() => {
            let other = random.below(lines.len());
            lines.swap(line, other);
            *bytes = lines.concat();
        }
        7 if !lines.is_empty() => {
            let copy = lines[line].clone();
            let there = random.below(lines.len());
            lines.insert(there, copy);
            *bytes = lines.concat();
        }
        8 if !lines.is_empty() => {
            lines.remove(line);
            *bytes = lines.concat();
        }
        9 if !lines.is_empty() => {
            let spaces = b"    ";
            if random.below(2) == 0 {
                let many = 1 + random.below(spaces.len());
                lines[line].splice(0..0, spaces[..many].iter().copied());
            } else if lines[line].first() == Some(&b' ') {
                lines[line].remove(0);
            }
            *bytes = lines.concat();
        }
        10 => {
            // A part of another file, as a document of its own or in the middle of this one.
            let other = &seeds[random.below(seeds.len())];
            let from = random.below(other.len());
            let to = from + random.below(other.len() - from + 1);
            if random.below(2) == 0 {
                bytes.extend(b"\n---\n");
                bytes.extend(other);
            } else {
                bytes.splice(at..at, other[from..to].iter().copied());
            }
        }
        _ => {
            // Another value for a field.
            if let Some(colon) = bytes[at..].windows(2).position(|pair| pair == b": ") {
                let from = at + colon + 2;
                let long = bytes[from..].iter().position(|byte| *byte == b'\n');
                let to = long.map_or(bytes.len(), |long| from + long);
                bytes.splice(from..to, random.of(WORDS).bytes());
            }
        }
    }
}

/// The files that everything begins with, in order of their names.
fn seeds() -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![];
    for folder in FOLDERS {
        for entry in std::fs::read_dir(root.join(folder)).expect("the seeds") {
            files.push(entry.expect("a seed").path());
        }
    }
    files.retain(|file| file.to_str().is_some_and(super::is_declaration));
    files.sort();
    files.iter().map(|file| std::fs::read(file).expect("a seed")).collect()
}

/// Each file as it is, and each cut off in some 300 places: what an editor has saved half.
#[test]
fn seeds_and_their_beginnings_hold() {
    let mut declares = 0;
    for seed in seeds() {
        if let Came::Declares(many, refused) = check(&seed) {
            declares += usize::from(many > 0);
            let anchors = seed.contains(&b'&');
            assert!(anchors || refused == 0, "{:?}", String::from_utf8_lossy(&seed));
        }
        for end in (0..seed.len()).step_by(1 + seed.len() / 300) {
            check(&seed[..end]);
        }
    }
    assert!(declares >= 10, "{declares} seeds declare something");
}

/// 20,000 mutated files; two million with `MCPCTL_LONG`, which then writes its figures to docs/proof/.
#[test]
fn mutated_files_are_read_alike_or_refused() {
    let long = std::env::var_os("MCPCTL_LONG").is_some();
    let files: u64 = if long { 2_000_000 } else { 20_000 };
    let begin = std::time::Instant::now();
    let seeds = seeds();
    let (mut accepted, mut resources, mut refused) = (0_u64, 0, 0);
    for seed in 0..files {
        let bytes = mutated(seed, &seeds);
        // What does not hold panics somewhere below: the file that did it is what a person wants to see.
        let told = std::panic::catch_unwind(|| check(&bytes));
        let came = told.unwrap_or_else(|_| panic!("seed {seed}: {:?}", String::from_utf8_lossy(&bytes)));
        if let Came::Declares(many, stay) = came {
            accepted += 1;
            resources += many;
            refused += stay;
        }
    }
    // Files that are all refused would prove little, and so would files that are all sound.
    assert!(
        accepted * 10 > files && accepted * 10 < files * 9,
        "{accepted} of {files}"
    );
    assert!(resources as u64 > accepted / 2, "{resources} in {accepted} files");
    assert!(refused * 50 < resources, "{refused} of {resources} can't be taken out");
    if long {
        let figures = serde_json::json!({
            "seeds": [0, files - 1], "files": files, "corpus": seeds.len(),
            "accepted": accepted, "resources": resources, "can't be taken out": refused, "violations": 0, "seconds": begin.elapsed().as_secs(),
        });
        crate::kit::proof::write("yaml_fuzz", figures);
    }
}
