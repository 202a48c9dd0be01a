//! One document of a file replaced, added or removed; all others stay byte for byte.
//!
//! Old value, new value and text are gone through together, and only the lines change that must: whatever means the same
//! is left alone, however it is written. A new entry is written as its neighbours are; a text keeps its way of quoting
//! where that can hold the new one.
//!
//! Comments. One at the end of a line belongs to what begins in that line, and stays as long as any of that does; behind a
//! bracket that closes there, it is the last entry's where the one before has its own, else the whole list's. Comment lines belong to what stands directly
//! below them and is indented alike (an entry of a list, a field, a document's `---` or first key); those that are indented
//! further belong to what stands above. They go when that goes, and move when it moves. A blank line parts a comment from
//! what follows it, and what lies above the first document and a blank line is the file's. Comments that touch both the
//! end of a document and the `---` of the next stay, whichever goes.
//!
//! Several ways are tried, the gentlest first: in place; the same with aliases written out, where their anchor's value
//! changes; the same with all new texts escaped, where one can be read in two ways; the document printed anew; the item
//! moved out of its group. Each result is read again, and only one that says exactly what was asked for is handed back.

mod align;
mod block_text;
mod document;
mod flow;
#[cfg(test)]
mod judge;
mod list;
mod mapping;
mod text;
mod value;
mod write;

#[cfg(test)]
mod corpus_tests;
#[cfg(test)]
mod hand;
#[cfg(test)]
mod minimal_tests;

use std::collections::HashSet;
use std::sync::Arc;

use crate::kit::Digest;

use super::node;
use crate::resource::document::Document;
use crate::resource::id::Id;
use crate::resource::tree::FileText;
use document::{Place, places};
use text::Text;
use value::{Anchored, Change, Editor};
use write::{Style, Wanted};

/// Why an edit could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The text has no document of that identity.
    #[error("{0} does not stand in this file")]
    Missing(String),
    /// The file, or a document in it, can't be read, so nothing in it may be touched.
    #[error("the file can't be read")]
    Unreadable,
    /// Two documents of the file declare it.
    #[error("{0} stands in this file twice")]
    Twice(String),
    /// No edit of the text gives what is wanted: anchors that others use, or a file that would grow too large.
    #[error(
        "{0} can't be edited there without changing what stands beside it: write out the values that anchors (&) share"
    )]
    Refused(String),
}

/// The text with the document of `id` replaced (or, with nothing, removed), or appended where it does not stand in it.
/// Every other document stays byte for byte. Nothing is left: `None`, and the file goes.
///
/// # Errors
/// The text can't be read, the document to remove is not there, or there is no safe way.
pub fn put(path: &str, text: &str, id: &Id, document: Option<&Document>) -> Result<Option<String>, EditError> {
    let document = document.map(Document::written);
    let document = document.as_deref();
    let (mark, body) = match text.strip_prefix('\u{feff}') {
        Some(body) => ("\u{feff}", body),
        None => ("", text),
    };
    let before = outline(path, body).ok_or(EditError::Unreadable)?;
    let trees = node::parse(body).map_err(|_| EditError::Unreadable)?;
    let places = places(&trees);
    if places.len() != before.len() {
        return Err(EditError::Unreadable);
    }
    let mut of_id = before.iter().zip(&places).filter(|(it, _)| it.id == *id);
    let found = of_id.next();
    if of_id.next().is_some() {
        return Err(EditError::Twice(id.to_string()));
    }
    let text = Text::new(body);
    let check = Check::new(path, &text, &before, &places, id, document);
    let candidate = match (found, document) {
        // An encrypted secret is a file of its own, written as it is.
        (Some(_), Some(document)) if document.text.is_some() => {
            return match (&document.text, before.len()) {
                (Some(text), 1) => Ok(Some(text.to_string())),
                _ => Err(EditError::Refused(id.to_string())),
            };
        }
        (None, Some(document)) if document.text.is_some() => return Err(EditError::Refused(id.to_string())),
        (None, None) => return Err(EditError::Missing(id.to_string())),
        (Some((old, _)), Some(document)) if old.digest == document.digest() => {
            return Ok(Some(format!("{mark}{body}")));
        }
        (Some(_), None) if before.len() == 1 => return Ok(None),
        (None, Some(document)) => check.first([Some(text.append(&trees, document))]),
        (Some((_, place)), None) => check.first(text.remove(place, &trees)),
        (Some((old, place)), Some(document)) => in_place(&check, &text, place, &old.document, document)
            .or_else(|| check.first([Some(text.reprint(path, place, document))]))
            .or_else(|| {
                let rests = text.remove(place, &trees);
                check.first(
                    rests
                        .into_iter()
                        .map(|rest| rest.map(|rest| Text::new(&rest).append(&trees, document))),
                )
            }),
    };
    candidate
        .map(|candidate| Some(format!("{mark}{candidate}")))
        .ok_or_else(|| EditError::Refused(id.to_string()))
}

/// The text with the differences brought in where they stand.
fn in_place(
    check: &Check<'_>,
    text: &Text<'_>,
    place: &Place<'_, '_>,
    old: &Document,
    new: &Document,
) -> Option<String> {
    let kind = new.id.kind();
    let yaml = (kind.typed.yaml)(&new.spec).ok();
    let order = yaml.and_then(|yaml| serde_yaml::from_str::<serde_yaml::Value>(&yaml).ok());
    let change = Change {
        old: Some(&old.spec),
        new: Some(Wanted {
            value: &new.spec,
            order: order.as_ref(),
        }),
        shape: Some(&**kind.shape),
    };
    let edited = |careful: bool, spoilt: HashSet<Anchored>| {
        let style = Style::of(text, place.node, careful);
        let mut editor = Editor::new(text, style, spoilt);
        editor.declaration(place.node, change)?;
        Some((text.replace(editor.edits)?, editor.touched))
    };
    [false, true].into_iter().find_map(|careful| {
        let (candidate, touched) = edited(careful, HashSet::new())?;
        check.first([Some(candidate)]).or_else(|| {
            if touched.is_empty() {
                return None;
            }
            check.first([edited(careful, touched).map(|(candidate, _)| candidate)])
        })
    })
}

/// One document as it is read.
#[derive(Clone)]
struct Told {
    id: Id,
    digest: Digest,
    document: Arc<Document>,
}

/// What a result must say, and what it must leave alone.
struct Check<'x> {
    path: &'x str,
    id: &'x Id,
    wanted: Vec<(Id, Digest)>,
    /// The texts of all other documents.
    others: Vec<&'x str>,
}

impl<'x> Check<'x> {
    fn new(
        path: &'x str,
        text: &Text<'x>,
        before: &[Told],
        places: &[Place<'_, '_>],
        id: &'x Id,
        document: Option<&Document>,
    ) -> Self {
        let others = before.iter().filter(|it| it.id != *id);
        let mut wanted: Vec<(Id, Digest)> = others.map(|it| (it.id.clone(), it.digest)).collect();
        wanted.extend(document.map(|it| (it.id.clone(), it.digest())));
        wanted.sort();
        Self {
            path,
            id,
            wanted,
            others: texts(text, places, before, id),
        }
    }

    /// The first of some texts that says what is wanted.
    fn first(&self, candidates: impl IntoIterator<Item = Option<String>>) -> Option<String> {
        candidates.into_iter().flatten().find(|it| self.holds(it))
    }

    fn holds(&self, candidate: &str) -> bool {
        let Some(after) = outline(self.path, candidate) else {
            return false;
        };
        let Ok(trees) = node::parse(candidate) else {
            return false;
        };
        let places = places(&trees);
        let mut said: Vec<(Id, Digest)> = after.iter().map(|it| (it.id.clone(), it.digest)).collect();
        said.sort();
        said == self.wanted
            && places.len() == after.len()
            && texts(&Text::new(candidate), &places, &after, self.id) == self.others
    }
}

/// What a text declares, in order; nothing where any of it can't be read.
fn outline(path: &str, text: &str) -> Option<Vec<Told>> {
    let file = FileText {
        path: path.to_owned(),
        bytes: Ok(text.as_bytes().to_vec()),
    };
    let read = super::read(&file);
    let sound = read.unreadable.is_empty() && read.diagnostics.is_empty();
    let told = |it: super::Parsed| Told {
        id: it.placed.document.id.clone(),
        digest: it.placed.digest,
        document: Arc::clone(&it.placed.document),
    };
    sound.then(|| read.documents.into_iter().map(told).collect())
}

/// The texts of all documents but one, sorted.
fn texts<'t>(text: &Text<'t>, places: &[Place<'_, '_>], outline: &[Told], but: &Id) -> Vec<&'t str> {
    let mut texts: Vec<&str> = outline
        .iter()
        .zip(places)
        .filter(|(it, _)| it.id != *but)
        .map(|(_, place)| text.all[text.place(place)].trim_end())
        .collect();
    texts.sort_unstable();
    texts
}
