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
