//! YAML both ways: read with the place of every node, print in stable order, edit in place.

mod agree;
mod edit;
mod interpret;
mod node;
mod outline;
mod print;
mod source;
mod syntax;

#[cfg(test)]
mod edit_tests;
#[cfg(test)]
mod faults_tests;
#[cfg(test)]
mod fuzz_tests;
#[cfg(test)]
mod laws_tests;
#[cfg(test)]
mod schema_tests;

use std::cell::OnceCell;
use std::sync::Arc;

use serde_json::Value;

use crate::kit::{Diagnostic, Position, nearest};

use super::document::Document;
use super::id::Id;
use super::kind::Reference;
use super::tree::{FileText, Placed, Unreadable};

pub use edit::{EditError, put};
pub use interpret::{is_clear_secret, withhold};
pub use outline::{Outline, Written, outline};
pub use print::print;
pub use source::LARGEST;

/// Whether a path's name says that the file holds declarations.
#[must_use]
pub fn is_declaration(path: &str) -> bool {
    [".yaml", ".yml", ".json"].iter().any(|ending| path.ends_with(ending))
}

/// What one file holds. It depends on the file's path and bytes alone, so it can be kept by them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ParsedFile {
    /// The file.
    pub path: String,
    /// Documents that are valid by themselves.
    pub documents: Vec<Parsed>,
    /// What can't be used.
    pub unreadable: Vec<Unreadable>,
    /// What is wrong, in order of line and column.
    pub diagnostics: Vec<Diagnostic>,
}

/// A valid document with the places that later checks may point at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// The document.
    pub placed: Arc<Placed>,
    /// The `name` value, for duplicates.
    pub name_at: Located,
    /// [`Document::references`], each with the place of its value.
    pub references: Vec<(Reference, Located)>,
}

impl Parsed {
    /// Which resource it declares.
    pub(super) fn id(&self) -> &Id {
        &self.placed.document.id
    }
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

impl Located {
    /// A diagnostic that points here.
    #[must_use]
    pub fn diagnostic(&self, file: &str, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            line: self.position.line,
            column: self.position.column,
            excerpt: (!self.line.is_empty()).then(|| self.line.clone()),
            width: u32::try_from(self.width.max(1)).unwrap_or(1),
            ..Diagnostic::of_file(file, message)
        }
    }
}

/// Reads one file.
///
/// A file that is no YAML is unreadable as a whole; a declaration that is wrong is unreadable alone.
///
/// A secret in the clear is refused: it may be on its way to the API, but not in a file.
#[must_use]
pub fn read(file: &FileText) -> ParsedFile {
    read_as(file, LARGEST, Clear::Refused)
}

/// [`read`] of the body of a request: it may hold many files, and secrets that mcpd is to encrypt.
#[must_use]
pub fn read_body(file: &FileText, largest: usize) -> ParsedFile {
    read_as(file, largest, Clear::Taken)
}

/// Whether values of secrets may stand in the clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Clear {
    Refused,
    Taken,
}

fn read_as(file: &FileText, largest: usize, clear: Clear) -> ParsedFile {
    let mut read = read_whole(file, largest, clear);
    // A fault of the text itself is found before anybody knows what the text declares.
    if !read.diagnostics.is_empty() && file.bytes.as_ref().is_ok_and(|bytes| may_hold_secrets(bytes)) {
        read.diagnostics.iter_mut().for_each(withhold);
    }
    read
}

/// Whether a text may declare a secret, as far as lines tell.
fn may_hold_secrets(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    text.split(['\n', ',', '{']).any(|line| {
        let line = line.trim_start_matches(|c: char| c.is_whitespace() || "-\"'".contains(c));
        let key: String = line.chars().take_while(char::is_ascii_alphanumeric).collect();
        let value = line.split_once(':').map_or("", |(_, value)| value);
        let value = value.trim_matches(|c: char| c.is_whitespace() || "\"'}".contains(c));
        match key.as_str() {
            "data" | "secrets" | "secret" => line.contains(':'),
            "kind" => value.to_ascii_lowercase().starts_with("sec") || nearest(value, ["secret"]).is_some(),
            _ => false,
        }
    })
}

fn read_whole(file: &FileText, largest: usize, clear: Clear) -> ParsedFile {
    let whole = |bytes: Option<&[u8]>, diagnostic: Diagnostic| ParsedFile {
        path: file.path.clone(),
        documents: vec![],
        unreadable: vec![Unreadable {
            path: file.path.clone(),
            id: None,
            whole_file: true,
            bytes: bytes.map(Arc::from),
        }],
        diagnostics: vec![diagnostic],
    };
    let bytes = match &file.bytes {
        Ok(bytes) => bytes,
        Err(diagnostic) => return whole(None, diagnostic.clone()),
    };
    let source = match source::Source::new(&file.path, bytes, largest) {
        Ok(source) => source,
        // What is too large to be read is too large to be kept.
        Err(diagnostic) => return whole((bytes.len() <= largest).then_some(bytes), *diagnostic),
    };
    let trees = match node::parse(source.text) {
        Ok(trees) => trees,
        Err(broken) => return whole(Some(bytes), syntax::broken(&source, &broken)),
    };
    let values = match agree::values(&source, &trees) {
        Ok(values) => values,
        Err(diagnostic) => return whole(Some(bytes), *diagnostic),
    };
    let kept = OnceCell::new();
    let keep = || kept.get_or_init(|| Arc::<[u8]>::from(bytes.as_slice())).clone();
    let mut interpreter = interpret::Interpreter::new(&source, &keep, clear, trees.len() == 1);
    for (tree, value) in trees.iter().zip(values) {
        interpreter.document(tree, value);
    }
    interpreter.file.diagnostics.sort_by_key(|it| (it.line, it.column));
    interpreter.file
}

/// The encrypted secret that a text holds.
pub(super) fn encrypted(id: &Id, text: &str) -> Option<Document> {
    let file = FileText {
        path: String::new(),
        bytes: Ok(text.as_bytes().to_vec()),
    };
    let read = read(&file);
    let [parsed] = &read.documents[..] else { return None };
    (parsed.placed.document.id == *id).then(|| Document::clone(&parsed.placed.document))
}

/// The value of an inline text, as `[a, b]` or `{"a": 1}`.
///
/// # Errors
/// What is wrong with it, in one line.
pub fn inline(text: &str) -> Result<Value, String> {
    let read = || -> Result<Value, Box<Diagnostic>> {
        let source = source::Source::new("", text.as_bytes(), LARGEST)?;
        let trees = node::parse(source.text).map_err(|it| Box::new(syntax::broken(&source, &it)))?;
        let value = agree::values(&source, &trees)?.into_iter().next();
        if let Some(fault) = trees.iter().flat_map(|tree| &tree.faults).next() {
            return Err(Box::new(source.at(fault.span, fault.message.as_str())));
        }
        Ok(value.flatten().unwrap_or(Value::Null))
    };
    read().map_err(|it| match it.hint {
        Some(hint) => format!("{} ({hint})", it.message),
        None => it.message,
    })
}
