//! One document of a file replaced, added or removed; all others stay byte for byte.
//!
//! Several ways are tried, the gentlest first: single fields in their lines, the document printed anew, the item moved
//! out of its group. Each result is read again, and only one that says exactly what was asked for is handed back.

use std::ops::Range;

use saphyr_parser::ScalarStyle;
use serde_json::Value;

use crate::kit::Digest;

use super::interpret::is_grouped;
use super::node::{self, Data, Layout, Node, Tree};
use super::print::{self, print};
use crate::resource::document::Document;
use crate::resource::id::Id;
use crate::resource::tree::FileText;

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
    #[error("{0} can't be edited in this file")]
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
    let mut of_id = before.iter().zip(&places).filter(|((it, _), _)| it == id);
    let place = of_id.next().map(|((_, digest), place)| (*digest, place));
    if of_id.next().is_some() {
        return Err(EditError::Twice(id.to_string()));
    }
    let text = Text::new(body);
    let candidates = match (place, document) {
        // An encrypted secret is a file of its own, written as it is.
        (Some(_), Some(document)) if document.text.is_some() => {
            return match (&document.text, before.len()) {
                (Some(text), 1) => Ok(Some(text.to_string())),
                _ => Err(EditError::Refused(id.to_string())),
            };
        }
        (None, Some(document)) if document.text.is_some() => return Err(EditError::Refused(id.to_string())),
        (None, None) => return Err(EditError::Missing(id.to_string())),
        (None, Some(document)) => vec![Some(text.append(&trees, document))],
        (Some((digest, _)), Some(document)) if digest == document.digest() => {
            return Ok(Some(format!("{mark}{body}")));
        }
        (Some((_, place)), Some(document)) => vec![
            text.fields(place, &trees, document),
            Some(text.reprint(path, place, document)),
            text.remove(place, &trees)
                .map(|rest| Text::new(&rest).append(&trees, document)),
        ],
        (Some(_), None) if before.len() == 1 => return Ok(None),
        (Some((_, place)), None) => vec![text.remove(place, &trees)],
    };
    let mut wanted: Vec<(Id, Digest)> = before.iter().filter(|(it, _)| it != id).cloned().collect();
    let others = texts(&text, &places, &before, id);
    wanted.extend(document.map(|it| (it.id.clone(), it.digest())));
    wanted.sort();
    for candidate in candidates.into_iter().flatten() {
        let Some(mut after) = outline(path, &candidate) else {
            continue;
        };
        let Ok(trees) = node::parse(&candidate) else { continue };
        let places = self::places(&trees);
        let kept = places.len() == after.len() && texts(&Text::new(&candidate), &places, &after, id) == others;
        after.sort();
        if after == wanted && kept {
            return Ok(Some(format!("{mark}{candidate}")));
        }
    }
    Err(EditError::Refused(id.to_string()))
}

/// What a text declares, in order; nothing where any of it can't be read.
fn outline(path: &str, text: &str) -> Option<Vec<(Id, Digest)>> {
    let file = FileText {
        path: path.to_owned(),
        bytes: Ok(text.as_bytes().to_vec()),
    };
    let read = super::read(&file);
    let sound = read.unreadable.is_empty() && read.diagnostics.is_empty();
    sound.then(|| {
        let pair = |it: super::Parsed| (it.placed.document.id.clone(), it.placed.digest);
        read.documents.into_iter().map(pair).collect()
    })
}

/// The texts of all documents but one, sorted.
fn texts<'t>(text: &Text<'t>, places: &[Place<'_, '_>], outline: &[(Id, Digest)], but: &Id) -> Vec<&'t str> {
    let mut texts: Vec<&str> = outline
        .iter()
        .zip(places)
        .filter(|((id, _), _)| id != but)
        .map(|(_, place)| text.all[text.range(place.node)].trim_end())
        .collect();
    texts.sort_unstable();
    texts
}

/// Where a declaration stands.
struct Place<'n, 't> {
    node: &'n Node<'t>,
    /// The document's number in the file.
    tree: usize,
    /// The group's number in the document and the item's in the group.
    item: Option<(usize, usize)>,
}

/// All declarations of a file that was read without a fault, in order.
fn places<'n, 't>(trees: &'n [Tree<'t>]) -> Vec<Place<'n, 't>> {
    let mut out = vec![];
    for (n, tree) in trees.iter().enumerate() {
        let root = &tree.root;
        if is_grouped(root) {
            for (group, (_, list)) in root.entries().iter().enumerate() {
                if let Data::List(items, _) = list.data() {
                    let place = |(item, node)| Place {
                        node,
                        tree: n,
                        item: Some((group, item)),
                    };
                    out.extend(items.iter().enumerate().map(place));
                }
            }
        } else if !root.is_null() {
            out.push(Place {
                node: root,
                tree: n,
                item: None,
            });
        }
    }
    out
}

/// A text whose places are counted in characters.
struct Text<'t> {
    all: &'t str,
    /// The byte of each character; nothing where all are one byte.
    bytes: Option<Vec<usize>>,
    newline: &'static str,
}

impl<'t> Text<'t> {
    fn new(text: &'t str) -> Self {
        let wide = || text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        Self {
            all: text,
            bytes: (!text.is_ascii()).then(wide),
            newline: if text.contains("\r\n") { "\r\n" } else { "\n" },
        }
    }

    fn byte(&self, index: usize) -> usize {
        match &self.bytes {
            Some(bytes) => bytes.get(index).copied().unwrap_or(self.all.len()),
            None => index.min(self.all.len()),
        }
    }

    /// The bytes of a node, without the line end that block scalars include.
    fn range(&self, node: &Node<'_>) -> Range<usize> {
        let (start, end) = (self.byte(node.start.index), self.byte(node.end.index));
        let end = start + self.all[start..end.max(start)].trim_end().len();
        // The parser sees a value that is not there before its colon.
        let colon = usize::from(self.all[end..].starts_with(':'));
        if start == end {
            start + colon..end + colon
        } else {
            start..end + colon
        }
    }

    fn line_start(&self, at: usize) -> usize {
        self.all[..at].rfind('\n').map_or(0, |n| n + 1)
    }

    /// Behind the end of the line.
    fn line_end(&self, at: usize) -> usize {
        self.all[at..].find('\n').map_or(self.all.len(), |n| at + n + 1)
    }

    /// Printed lines with this text's line ends, all but the first indented; no line end behind the last.
    fn lines(&self, printed: &str, indent: usize) -> String {
        let mut out = String::with_capacity(printed.len() + 16);
        for (n, line) in printed.strip_suffix('\n').unwrap_or(printed).split('\n').enumerate() {
            if n > 0 {
                out.push_str(self.newline);
                if !line.is_empty() {
                    out.extend(std::iter::repeat_n(' ', indent));
                }
            }
            out.push_str(line);
        }
        out
    }

    fn replace(&self, mut edits: Vec<(Range<usize>, String)>) -> Option<String> {
        edits.sort_by_key(|(range, _)| (range.start, range.end));
        let mut out = String::with_capacity(self.all.len() + 64);
        let mut at = 0;
        for (range, with) in edits {
            out.push_str(self.all.get(at..range.start)?);
            out.push_str(&with);
            at = range.end;
        }
        out.push_str(&self.all[at..]);
        Some(out)
    }

    /// The fields that differ, each in its lines; nothing where the document is not written in block form.
    fn fields(&self, place: &Place<'_, '_>, trees: &[Tree<'_>], document: &Document) -> Option<String> {
        let Data::Mapping(entries, Layout::Block) = &place.node.data else {
            return None;
        };
        let indent = place.node.start.column as usize - 1;
        let old = read_spec(self.all, place, trees)?;
        let printed = print::fields(&print::below_kind(document));
        let own = |name: &str| {
            printed
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, lines)| lines.as_str())
        };
        let default = |name: &str| {
            let mut fields = document.id.kind().shape.fields();
            fields.find(|field| field.name == name)?.default.as_ref()
        };
        let mut edits = vec![];
        for (key, value) in entries {
            let name = key.text()?;
            let (from, to) = (old.get(name), document.spec.get(name));
            if from == to {
                continue;
            }
            match (to, own(name)) {
                (Some(to), Some(lines)) => edits.push(self.change(key, value, to, lines, indent)),
                (Some(_), None) => return None,
                // Documents leave defaults out; a line that says a value goes on saying it.
                (None, _) if default(name).is_some() && value.start.line == value.end.line => {
                    let to = default(name)?;
                    let shown = to.as_str().map_or_else(|| to.to_string(), str::to_owned);
                    edits.push(self.change(key, value, to, &format!("{name}: {shown}\n"), indent));
                }
                (None, _) => {
                    let start = self.line_start(self.byte(key.start.index));
                    if !self.all[start..self.byte(key.start.index)].trim().is_empty() {
                        return None;
                    }
                    let end = self.range(value).end.max(self.range(key).end);
                    edits.push((start..self.line_end(end), String::new()));
                }
            }
        }
        let mut after = entries.last();
        for (name, lines) in &printed {
            let there = entries.iter().find(|(key, _)| key.text() == Some(name));
            if there.is_some() {
                after = there;
                continue;
            }
            let (key, value) = after?;
            let at = self.line_end(self.range(value).end.max(self.range(key).end));
            let spaces = " ".repeat(indent);
            let body = self.lines(lines, indent);
            edits.push((
                at..at,
                if self.all[..at].ends_with('\n') {
                    format!("{spaces}{body}{}", self.newline)
                } else {
                    format!("{}{spaces}{body}", self.newline)
                },
            ));
        }
        self.replace(edits)
    }

    /// One field with another value: in its place where both stand on one line, else printed anew.
    fn change(
        &self,
        key: &Node<'_>,
        value: &Node<'_>,
        to: &Value,
        lines: &str,
        indent: usize,
    ) -> (Range<usize>, String) {
        let range = self.range(value);
        let one_line = !lines.trim_end_matches('\n').contains('\n');
        let written = match &value.data {
            Data::Scalar(_, style) if value.start.line == value.end.line => Some(*style),
            Data::Shared(_) if !self.all[range.clone()].contains('\n') && value.text().is_some() => {
                Some(ScalarStyle::Plain)
            }
            _ => None,
        };
        let printed = lines.split_once(": ").map(|(_, text)| text.trim_end_matches('\n'));
        if let (true, Some(style), Some(printed)) = (one_line, written, printed) {
            // The way of quoting stays.
            let text = match (style, to) {
                (ScalarStyle::DoubleQuoted, Value::String(_)) => print::escaped(to),
                (ScalarStyle::SingleQuoted, Value::String(text)) if !text.contains(char::is_control) => {
                    format!("'{}'", text.replace('\'', "''"))
                }
                (ScalarStyle::Literal | ScalarStyle::Folded, _) => {
                    return (self.byte(key.start.index)..range.end, self.lines(lines, indent));
                }
                _ => printed.to_owned(),
            };
            if range.is_empty() {
                return (range, format!(" {text}"));
            }
            return (range, text);
        }
        // A comment behind the value would end up in the last line of the new one.
        let end = range.end.max(self.range(key).end);
        let rest = self.all[end..self.line_end(end)].trim_end();
        let end = if rest.trim_start().starts_with('#') {
            end + rest.len()
        } else {
            end
        };
        (self.byte(key.start.index)..end, self.lines(lines, indent))
    }

    /// The document printed anew where it stands; what surrounds it stays.
    fn reprint(&self, path: &str, place: &Place<'_, '_>, document: &Document) -> String {
        let range = self.range(place.node);
        let flow = self.all[range.clone()].starts_with('{');
        let in_flow = place.item.is_some() && flow;
        let indent = place.node.start.column as usize - 1;
        let with = if in_flow {
            print::json(document, true)
        } else if flow && has_extension(path, "json") {
            self.lines(&print::json(document, false), 0)
        } else if place.item.is_some() {
            self.lines(&print::below_kind(document), indent)
        } else {
            let version = if place.node.entry("apiVersion").is_some() {
                "apiVersion: mcpctl/v1\n"
            } else {
                ""
            };
            let printed = format!("{version}{}", print(document));
            // A flow mapping may stand behind its `---`, a block mapping may not.
            if flow && indent > 0 {
                format!("{}{}", self.newline, self.lines(&printed, 0))
            } else {
                self.lines(&printed, indent)
            }
        };
        // A comment behind the last value stays, but not behind another one's.
        let rest = &self.all[range.end..];
        let (comment, skip) = match rest.trim_start_matches([' ', '\t']) {
            it if it.starts_with('#') && !in_flow => (self.newline, rest.len() - it.len()),
            _ => ("", 0),
        };
        format!("{}{with}{comment}{}", &self.all[..range.start], &rest[skip..])
    }

    fn append(&self, trees: &[Tree<'_>], document: &Document) -> String {
        let mut out = self.all.to_owned();
        if !out.is_empty() && !out.ends_with('\n') {
            out.push_str(self.newline);
        }
        if !trees.is_empty() {
            out.push_str("---");
            out.push_str(self.newline);
        }
        out.push_str(&self.lines(&print(document), 0));
        out.push_str(self.newline);
        out
    }

    /// The text without one declaration; nothing where there is no simple way.
    fn remove(&self, place: &Place<'_, '_>, trees: &[Tree<'_>]) -> Option<String> {
        let without = |range: Range<usize>| self.replace(vec![(range, String::new())]);
        let Some((group, item)) = place.item else {
            return without(self.document(place.tree, trees));
        };
        let (key, list) = trees.get(place.tree)?.root.entries().get(group)?;
        let Data::List(items, layout) = list.data() else {
            return None;
        };
        if items.len() == 1 {
            let groups = trees[place.tree]
                .root
                .entries()
                .iter()
                .filter(|(key, _)| key.text() != Some("apiVersion"));
            if groups.count() == 1 {
                return without(self.document(place.tree, trees));
            }
            if *layout == Layout::Block {
                let start = self.line_start(self.byte(key.start.index));
                return without(start..self.line_end(self.range(list).end));
            }
        }
        let (start, end) = (self.byte(items[item].start.index), self.range(&items[item]).end);
        if *layout == Layout::Flow {
            return without(match (item, items.get(item + 1)) {
                (_, Some(next)) => start..self.byte(next.start.index),
                (0, None) => start..end,
                (_, None) => self.range(&items[item - 1]).end..end,
            });
        }
        let dash = self.all[..start].rfind('-')?;
        let start = self.line_start(dash);
        self.all[start..dash]
            .trim()
            .is_empty()
            .then(|| without(start..self.line_end(end)))?
    }

    /// The bytes of a document, from its `---` to the next one's.
    fn document(&self, tree: usize, trees: &[Tree<'_>]) -> Range<usize> {
        let marker = |n: usize| {
            trees
                .get(n)
                .and_then(|tree| tree.marker)
                .map(|mark| self.byte(mark.index))
        };
        let first = || trees[tree].root.start.index;
        let start = marker(tree).unwrap_or_else(|| {
            if tree == 0 {
                0
            } else {
                self.line_start(self.byte(first()))
            }
        });
        let end = match trees.get(tree + 1) {
            Some(next) => marker(tree + 1).unwrap_or_else(|| self.line_start(self.byte(next.root.start.index))),
            None => self.all.len(),
        };
        start..end
    }
}

fn has_extension(path: &str, extension: &str) -> bool {
    std::path::Path::new(path)
        .extension()
        .is_some_and(|it| it.eq_ignore_ascii_case(extension))
}

/// The canonical fields of a declaration as they stand in the text.
fn read_spec(text: &str, place: &Place<'_, '_>, trees: &[Tree<'_>]) -> Option<Value> {
    let file = FileText {
        path: String::new(),
        bytes: Ok(text.as_bytes().to_vec()),
    };
    let number = places(trees).iter().position(|it| std::ptr::eq(it.node, place.node))?;
    let parsed = super::read(&file).documents.into_iter().nth(number)?;
    Some(parsed.placed.document.spec.clone())
}
