//! Any YAML text as a tree in which every key and value knows its place, for who reads files that are no declarations.

use crate::kit::{Diagnostic, Position};

use super::node::{self, Data, Node};
use super::source::{LARGEST, Source};
use super::syntax;
use crate::resource::tree::FileText;
use saphyr_parser::ScalarStyle;

/// A value with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    /// Where it begins.
    pub position: Position,
    /// What it is.
    pub written: Written,
}

/// What is written somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// A scalar; plain where it stands without quotes.
    Scalar(String, bool),
    /// A list.
    List(Vec<Outline>),
    /// A mapping, in the order of the file; its keys are texts, each there once.
    Mapping(Vec<(Outline, Outline)>),
}

/// Reads the one document of a text; nothing where it is empty.
///
/// # Errors
/// What is refused in declarations too: broken, too large, too deep, with duplicate keys, tags or merge keys.
pub fn outline(file: &FileText) -> Result<Option<Outline>, Vec<Diagnostic>> {
    let bytes = file.bytes.as_ref().map_err(|fault| vec![fault.clone()])?;
    let source = Source::new(&file.path, bytes, LARGEST).map_err(|fault| vec![*fault])?;
    let trees = node::parse(source.text).map_err(|broken| vec![syntax::broken(&source, &broken)])?;
    let [tree] = &trees[..] else {
        let Some(second) = trees.get(1) else { return Ok(None) };
        return Err(vec![
            source.at(second.root.span(), "a second document: one a file is read"),
        ]);
    };
    if tree.faults.is_empty() {
        return Ok(Some(of(&tree.root)));
    }
    let fault = |it: &node::Fault| Diagnostic {
        hint: it.hint.clone(),
        ..source.at(it.span, it.message.as_str())
    };
    Err(tree.faults.iter().map(fault).collect())
}

fn of(node: &Node<'_>) -> Outline {
    let span = node.span();
    Outline {
        position: Position {
            line: span.line,
            column: span.column,
        },
        written: match node.data() {
            Data::Scalar(text, style) => Written::Scalar(text.to_string(), *style == ScalarStyle::Plain),
            Data::List(items, _) => Written::List(items.iter().map(of).collect()),
            Data::Mapping(entries, _) => {
                Written::Mapping(entries.iter().map(|(key, value)| (of(key), of(value))).collect())
            }
            Data::Shared(_) => Written::Scalar(String::new(), true),
        },
    }
}
