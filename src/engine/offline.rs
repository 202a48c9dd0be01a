//! The judge of pushes without a daemon: what a push of a folder to an empty mcpd would be refused for, by the same code.
//!
//! What only a running mcpd knows is not judged: what is declared already (mass deletion, references into the store) and
//! whether the values of an encrypted secret are as they were written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use crate::kit::{Diagnostic, Masks};
use crate::repo::{NewFile, as_pushed};
use crate::resource::yaml::{self, ParsedFile};
use crate::resource::{FileText, Id, Tree};
use crate::secret::Identities;

use super::gate::Findings;
use super::{EngineError, Vault, secrets};

/// What came of judging a folder.
#[derive(Debug)]
pub struct Judged {
    /// What a push would be refused for, in its order.
    pub faults: Vec<Diagnostic>,
    /// What is declared without a fault.
    pub tree: Arc<Tree>,
    /// The files in which declarations were looked for.
    pub files: BTreeSet<String>,
    /// Where the folder stands in the repository that it is part of, as `deploy/mcp/`; empty where it is the whole.
    pub below: String,
}

/// Judges a folder as the whole of a repository, as if everything in it were one new commit.
///
/// With a text, the text alone is judged, as a further file of the folder: what it declares takes the place of what the
/// folder declares of the same kind and name.
///
/// # Errors
/// The folder can't be read, or holds more than a push may bring.
pub fn judge(folder: &Path, text: Option<&FileText>) -> Result<Judged, EngineError> {
    let mut findings = Findings::default();
    let seen = as_pushed(folder, |file| {
        if text.is_none() {
            findings.file(file, "");
        }
    })?;
    let vault = Vault::new(Identities::passing(), String::new(), Masks::default(), BTreeMap::new());
    let mut snapshot = seen.snapshot;
    if let Some(text) = text {
        findings.file(
            &NewFile {
                path: text.path.clone(),
                commit: String::new(),
                bytes: text.bytes.as_ref().ok().cloned(),
            },
            "",
        );
        snapshot.recipients = None;
        snapshot = snapshot.with_tree(Arc::new(with(&seen.files, yaml::read(text))));
    }
    let mut tree = Arc::clone(&secrets::opened(&vault, snapshot).tree);
    if let Some(text) = text {
        let mut alone = Tree::clone(&tree);
        alone.diagnostics.retain(|fault| fault.file == text.path);
        tree = Arc::new(alone);
    }
    Ok(Judged {
        faults: findings.with(&tree),
        tree,
        files: seen.files.iter().map(|file| file.path.clone()).collect(),
        below: seen.below,
    })
}

/// The files with one more, which is right where two say the same.
fn with(files: &[Arc<ParsedFile>], new: ParsedFile) -> Tree {
    let declared = new.documents.iter().map(|parsed| &parsed.placed.document.id);
    let unreadable = new.unreadable.iter().filter_map(|it| it.id.as_ref());
    let taken: BTreeSet<&Id> = declared.chain(unreadable).collect();
    let without = |file: &Arc<ParsedFile>| {
        let mut file = ParsedFile::clone(file);
        file.documents
            .retain(|parsed| !taken.contains(&parsed.placed.document.id));
        file.unreadable
            .retain(|it| it.id.as_ref().is_none_or(|id| !taken.contains(id)));
        Arc::new(file)
    };
    let mut all: Vec<Arc<ParsedFile>> = files.iter().map(without).collect();
    all.push(Arc::new(new));
    Tree::assemble(all)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests need folders")]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        folder
    }

    fn told(folder: &tempfile::TempDir, text: Option<&str>) -> Vec<String> {
        let text = text.map(|text| FileText {
            path: "<stdin>".to_owned(),
            bytes: Ok(text.as_bytes().to_vec()),
        });
        let judged = judge(folder.path(), text.as_ref()).unwrap();
        let line = |fault: &Diagnostic| format!("{}: {}", fault.place(), fault.message);
        judged.faults.iter().map(line).collect()
    }

    const SERVER: &str = "kind: server\nname: a\ncommand: [x]\n";

    /// Planted fault: a judge that leaves the gate before the history out is found here.
    #[test]
    fn the_gate_looks_into_everything_that_git_would_push() {
        let token = format!("key: ghp_{}\n", "16C7e42F292c6912E7710c838347Ae178B4a");
        let folder = folder(&[
            ("a.yaml", SERVER),
            ("note.md", &token),
            (".github/ci.yml", &token.replace("key", "other")),
            ("secrets/s.yaml", "kind: secret\nname: s\ndata: {A: x}\n"),
            (".gitignore", "/build/\n*.env\n"),
            ("build/x.yaml", "kind: sever\n"),
            ("a.env", &token),
            (".mcpctl/local/admin.token", &token),
            (".mcpctl/recipients", "age1nope\n"),
        ]);
        let want = [
            ".github/ci.yml:1:8: this looks like a token of GitHub",
            "note.md:1:6: this looks like a token of GitHub",
            ".mcpctl/recipients:1:1: not an age key: a character is wrong or missing",
            "secrets/s.yaml:3:1: secret/s stands in the clear",
        ];
        assert_eq!(told(&folder, None), want);
    }

    #[test]
    fn a_text_takes_the_place_of_what_is_declared() {
        let folder = folder(&[
            ("a.yaml", SERVER),
            ("b.yaml", "kind: server\nname: b\ncommand: [x]\nreplica: 1\n"),
        ]);
        let project = "kind: project\nname: p\nservers: [a, b]\n";
        for (text, want) in [
            (project, vec![]),
            (SERVER, vec![]),
            (
                "kind: project\nname: p\nservers: [c]\n",
                vec!["<stdin>:3:11: no server is called \"c\""],
            ),
            ("kind: server\nname: b\ncommand: [x]\n", vec![]),
        ] {
            assert_eq!(told(&folder, Some(text)), want, "{text}");
        }
    }
}
