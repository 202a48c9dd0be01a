//! The events of the parser put together to a tree in which every key and value knows its place.
//!
//! What YAML offers and we refuse (tags, merge keys, keys that are no text, duplicates, bombs) is found here, before
//! any typed reading.

use std::borrow::Cow;
use std::collections::HashMap;
use std::rc::Rc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span as Marks};

use super::source::Span;
use crate::resource::shape::cut;

/// Lists and mappings within each other, at most.
const DEEPEST: usize = 64;

/// What aliases may add to a document, in bytes: 16 for a node and the length of its text.
const ALIASED: usize = 1 << 20;

/// Of very many faults of one document this many are told.
const MOST_FAULTS: usize = 100;

/// A place in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// 1-based.
    pub line: u32,
    /// 1-based, in characters.
    pub column: u32,
    /// 0-based, in characters from the beginning of the text.
    pub index: usize,
}

impl From<&Marker> for Mark {
    fn from(marker: &Marker) -> Self {
        Self {
            line: u32::try_from(marker.line()).unwrap_or(u32::MAX),
            column: u32::try_from(marker.col() + 1).unwrap_or(u32::MAX),
            index: marker.index(),
        }
    }
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub struct Node<'t> {
    pub start: Mark,
    /// Behind the last character; of a block list or mapping the end of its last part.
    pub end: Mark,
    pub data: Data<'t>,
}

/// What a value is.
#[derive(Debug, Clone)]
pub enum Data<'t> {
    Scalar(Cow<'t, str>, ScalarStyle),
    List(Vec<Node<'t>>, Layout),
    Mapping(Vec<(Node<'t>, Node<'t>)>, Layout),
    /// A value with an anchor, or an alias of one.
    Shared(Rc<Data<'t>>),
}

/// How a list or a mapping is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    Block,
    Flow,
}

impl<'t> Node<'t> {
    /// What the value is, through anchors and aliases.
    pub fn data(&self) -> &Data<'t> {
        match &self.data {
            Data::Shared(data) => data,
            data => data,
        }
    }

    /// Whether the value has an anchor or is an alias.
    pub fn shared(&self) -> bool {
        matches!(self.data, Data::Shared(_))
    }

    /// The entries of a mapping.
    pub fn entries(&self) -> &[(Node<'t>, Node<'t>)] {
        match self.data() {
            Data::Mapping(entries, _) => entries,
            _ => &[],
        }
    }

    /// The text of a scalar, however it is written.
    pub fn text(&self) -> Option<&str> {
        match self.data() {
            Data::Scalar(text, _) => Some(text),
            _ => None,
        }
    }

    /// The key and the value of an entry.
    pub fn entry(&self, key: &str) -> Option<&(Node<'t>, Node<'t>)> {
        self.entries().iter().find(|(k, _)| k.text() == Some(key))
    }

    /// Whether nothing is written here.
    pub fn is_null(&self) -> bool {
        matches!(self.data(), Data::Scalar(text, ScalarStyle::Plain) if is_null_word(text))
    }

    /// What a message about this value underlines: a scalar, the first key of a block mapping, the line's part of a
    /// flow collection.
    pub fn span(&self) -> Span {
        if let (Data::Mapping(entries, Layout::Block), Some((key, _))) = (self.data(), self.entries().first())
            && !entries.is_empty()
            && !self.shared()
        {
            return key.span();
        }
        let width = if self.start.line == self.end.line {
            self.end.index.saturating_sub(self.start.index)
        } else if matches!(self.data(), Data::Scalar(..)) {
            usize::MAX
        } else {
            1
        };
        Span {
            line: self.start.line,
            column: self.start.column,
            width: width.max(1),
        }
    }

    /// The node at a dotted path, as `env[2].name`, with its key; where it is not there, the nearest one above.
    pub fn at<'n>(&'n self, path: &str) -> Found<'n, 't> {
        let mut found = Found {
            key: None,
            value: self,
            whole: true,
        };
        let mut rest = path;
        while !rest.is_empty() {
            rest = rest.strip_prefix('.').unwrap_or(rest);
            let next = match found.value.data() {
                Data::List(items, _) => rest
                    .strip_prefix('[')
                    .and_then(|rest| rest.split_once(']'))
                    .and_then(|(n, behind)| Some((None, items.get(n.parse::<usize>().ok()?)?, behind))),
                // Keys may hold dots: the longest key that fits is meant.
                Data::Mapping(entries, _) => entries
                    .iter()
                    .filter_map(|(key, value)| {
                        let behind = rest.strip_prefix(key.text()?)?;
                        (behind.is_empty() || behind.starts_with(['.', '['])).then_some((Some(key), value, behind))
                    })
                    .min_by_key(|(_, _, behind)| behind.len()),
                _ => None,
            };
            let Some((key, value, behind)) = next else {
                found.whole = false;
                return found;
            };
            found = Found {
                key,
                value,
                whole: true,
            };
            rest = behind;
        }
        found
    }
}

/// What stands at a path.
pub struct Found<'n, 't> {
    pub key: Option<&'n Node<'t>>,
    pub value: &'n Node<'t>,
    /// Whether all of the path was there.
    pub whole: bool,
}

/// Something in a document that is refused.
#[derive(Debug)]
pub struct Fault {
    pub span: Span,
    pub message: String,
    pub hint: Option<String>,
    pub note: Option<(Span, &'static str)>,
}

/// One document of a file.
#[derive(Debug)]
pub struct Tree<'t> {
    pub root: Node<'t>,
    /// Where its `---` stands.
    pub marker: Option<Mark>,
    /// Why it is not read.
    pub faults: Vec<Fault>,
}

/// Why a file has no documents at all.
#[derive(Debug)]
pub enum Broken {
    Syntax(ScanError),
    /// Lists and mappings stand too deep within each other.
    Deep(Span),
    /// An alias of nothing that went before in its document.
    Alias(Span),
}

/// Reads all documents of a text.
pub fn parse(text: &str) -> Result<Vec<Tree<'_>>, Broken> {
    let mut parser = Parser::new_from_str(text);
    let mut trees = vec![];
    let mut builder = Builder::default();
    let mut cursor = Cursor::new(text);
    while let Some(event) = parser.next_event() {
        let (event, marks) = event.map_err(Broken::Syntax)?;
        match event {
            Event::DocumentStart(explicit) => {
                builder = Builder::default();
                builder.marker = explicit.then(|| Mark::from(&marks.start));
            }
            Event::DocumentEnd => {
                let builder = std::mem::take(&mut builder);
                if let Some(root) = builder.root {
                    trees.push(Tree {
                        root,
                        marker: builder.marker,
                        faults: builder.faults,
                    });
                }
            }
            event => builder.take(event, &marks, &mut cursor)?,
        }
    }
    Ok(trees)
}

#[derive(Default)]
struct Builder<'t> {
    root: Option<Node<'t>>,
    marker: Option<Mark>,
    open: Vec<Open<'t>>,
    anchors: HashMap<usize, Anchor<'t>>,
    aliased: usize,
    faults: Vec<Fault>,
}

struct Anchor<'t> {
    data: Rc<Data<'t>>,
    weight: usize,
    height: usize,
}

/// A list or mapping whose end has not come.
struct Open<'t> {
    start: Mark,
    anchor: usize,
    layout: Layout,
    parts: Parts<'t>,
    weight: usize,
    height: usize,
}

enum Parts<'t> {
    List(Vec<Node<'t>>),
    Mapping(Vec<(Node<'t>, Node<'t>)>, Option<Node<'t>>),
}

impl<'t> Builder<'t> {
    fn take(&mut self, event: Event<'t>, marks: &Marks, cursor: &mut Cursor<'t>) -> Result<(), Broken> {
        let (start, end) = (Mark::from(&marks.start), Mark::from(&marks.end));
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                if let Some(tag) = tag {
                    self.tag(&start, &tag);
                }
                let weight = 16 + text.len();
                let end = match style {
                    // A value that is not there has the span of whatever follows.
                    ScalarStyle::Plain if text.is_empty() => start,
                    // The parser counts a comment behind the closing quote in.
                    ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => cursor.behind_quotes(start).unwrap_or(end),
                    _ => end,
                };
                let node = Node {
                    start,
                    end,
                    data: Data::Scalar(text, style),
                };
                self.number(&node);
                self.close(node, anchor, weight, 0, cursor);
                Ok(())
            }
            Event::SequenceStart(anchor, tag) => self.open(start, end, anchor, tag.as_deref(), Parts::List(vec![])),
            Event::MappingStart(anchor, tag) => {
                self.open(start, end, anchor, tag.as_deref(), Parts::Mapping(vec![], None))
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.open.pop() else { return Ok(()) };
                let last = match &open.parts {
                    Parts::List(items) => items.last().map(|it| it.end),
                    Parts::Mapping(entries, _) => entries.last().map(|(_, value)| value.end),
                };
                let end = if open.layout == Layout::Flow {
                    end
                } else {
                    last.unwrap_or(open.start)
                };
                let data = match open.parts {
                    Parts::List(items) => Data::List(items, open.layout),
                    Parts::Mapping(entries, _) => {
                        self.duplicates(&entries);
                        Data::Mapping(entries, open.layout)
                    }
                };
                let node = Node {
                    start: open.start,
                    end,
                    data,
                };
                self.close(node, open.anchor, open.weight, open.height, cursor);
                Ok(())
            }
            Event::Alias(id) => {
                let Some(anchor) = self.anchors.get(&id) else {
                    let width = end.index.saturating_sub(start.index).max(1);
                    return Err(Broken::Alias(Span {
                        line: start.line,
                        column: start.column,
                        width,
                    }));
                };
                let (data, weight, height) = (anchor.data.clone(), anchor.weight, anchor.height);
                self.aliased = self.aliased.saturating_add(weight);
                let node = Node {
                    start,
                    end,
                    data: Data::Shared(data),
                };
                if self.open.len() + height > DEEPEST {
                    return Err(Broken::Deep(node.span()));
                }
                if self.aliased > ALIASED {
                    // Told once; what is left of the bomb is not laid.
                    if self.aliased - weight <= ALIASED {
                        let hint = "write the values out: aliases may add 1 MiB to a document";
                        self.fault(
                            node.span(),
                            "aliases make this document too large",
                            Some(hint.to_owned()),
                        );
                    }
                    self.close(null(start), 0, 16, 0, cursor);
                    return Ok(());
                }
                self.close(node, 0, weight, height, cursor);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn open(
        &mut self,
        start: Mark,
        end: Mark,
        anchor: usize,
        tag: Option<&saphyr_parser::Tag>,
        parts: Parts<'t>,
    ) -> Result<(), Broken> {
        if let Some(tag) = tag {
            self.tag(&start, tag);
        }
        if self.open.len() >= DEEPEST {
            return Err(Broken::Deep(Span {
                line: start.line,
                column: start.column,
                width: 1,
            }));
        }
        let layout = if end.index > start.index {
            Layout::Flow
        } else {
            Layout::Block
        };
        self.open.push(Open {
            start,
            anchor,
            layout,
            parts,
            weight: 16,
            height: 1,
        });
        Ok(())
    }

    /// Puts a finished node where it belongs.
    fn close(&mut self, mut node: Node<'t>, anchor: usize, weight: usize, height: usize, cursor: &mut Cursor<'t>) {
        if anchor != 0 {
            let data = Rc::new(node.data);
            node.data = Data::Shared(data.clone());
            self.anchors.insert(anchor, Anchor { data, weight, height });
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return;
        };
        open.weight = open.weight.saturating_add(weight);
        open.height = open.height.max(height + 1);
        let key = match &mut open.parts {
            Parts::List(items) => {
                items.push(node);
                return;
            }
            Parts::Mapping(entries, key) => match key.take() {
                Some(key) => {
                    entries.push((key, node));
                    return;
                }
                None => key.insert(node),
            },
        };
        if let Some((span, message, hint)) = unfit_key(key) {
            self.fault(span, message, hint);
        } else if cursor.explicit(key.start) {
            let span = key.span();
            self.fault(
                span,
                "explicit keys are not allowed",
                Some("write key: value".to_owned()),
            );
        }
    }

    fn fault(&mut self, span: Span, message: impl Into<String>, hint: Option<String>) {
        if self.faults.len() < MOST_FAULTS {
            self.faults.push(Fault {
                span,
                message: message.into(),
                hint,
                note: None,
            });
        }
    }

    fn tag(&mut self, start: &Mark, tag: &saphyr_parser::Tag) {
        let core = tag.is_yaml_core_schema();
        let shown = if core {
            format!("!!{}", tag.suffix)
        } else {
            format!("{}{}", tag.handle, tag.suffix)
        };
        let span = Span {
            line: start.line,
            column: start.column,
            width: shown.chars().count(),
        };
        let hint = if core {
            "quotes make a text"
        } else {
            "a text that begins with ! needs quotes"
        };
        self.fault(
            span,
            format!("tags are not allowed: {}", cut(&shown)),
            Some(hint.to_owned()),
        );
    }

    /// Numbers that JSON has no form for.
    fn number(&mut self, node: &Node<'t>) {
        let Data::Scalar(text, ScalarStyle::Plain) = &node.data else {
            return;
        };
        if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
            return;
        }
        let word = text.trim_start_matches(['+', '-']);
        let odd = matches!(word, ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN");
        // serde_json's numbers end at 64 bits.
        let large = word.len() >= 19
            && !word.starts_with('0')
            && word.bytes().all(|b| b.is_ascii_digit())
            && text.parse::<u64>().is_err()
            && text.parse::<i64>().is_err();
        if odd || large {
            self.fault(
                node.span(),
                "a number that can't be used",
                Some("a text needs quotes".to_owned()),
            );
        }
    }

    fn duplicates(&mut self, entries: &[(Node<'t>, Node<'t>)]) {
        let mut seen: HashMap<&str, &Node<'_>> = HashMap::new();
        for (n, (key, _)) in entries.iter().enumerate() {
            let Some(text) = key.text() else { continue };
            // Most mappings are small, and looking along them costs less than a table.
            let first = if entries.len() <= 8 {
                entries[..n]
                    .iter()
                    .map(|(key, _)| key)
                    .find(|it| it.text() == Some(text))
            } else {
                let first = seen.get(text).copied();
                seen.entry(text).or_insert(key);
                first
            };
            if let Some(first) = first
                && self.faults.len() < MOST_FAULTS
            {
                self.faults.push(Fault {
                    span: key.span(),
                    message: format!("\"{}\" is given twice", cut(text)),
                    hint: None,
                    note: Some((first.span(), "the first one")),
                });
            }
        }
    }
}

/// Finds the bytes of places that come one after the other.
struct Cursor<'t> {
    text: &'t str,
    ascii: bool,
    /// Whether a `?` stands anywhere.
    asks: bool,
    index: usize,
    byte: usize,
}

impl<'t> Cursor<'t> {
    fn new(text: &'t str) -> Self {
        Self {
            text,
            ascii: text.is_ascii(),
            asks: memchr::memchr(b'?', text.as_bytes()).is_some(),
            index: 0,
            byte: 0,
        }
    }

    /// Goes to a place: the text before and behind it.
    fn part(&mut self, start: Mark) -> Option<(&'t str, &'t str)> {
        if self.ascii {
            self.byte = start.index;
        } else {
            if start.index < self.index {
                (self.index, self.byte) = (0, 0);
            }
            let rest = self.text.get(self.byte..)?;
            self.byte += rest.char_indices().nth(start.index - self.index)?.0;
        }
        self.index = start.index;
        self.text.split_at_checked(self.byte)
    }

    /// Whether the key that begins here is written `? key`. Of a `?` in another line nothing but its place tells that it
    /// is no text: nothing stands before it, and it is indented less.
    fn explicit(&mut self, key: Mark) -> bool {
        if !self.asks {
            return false;
        }
        let Some((before, _)) = self.part(key) else {
            return false;
        };
        let blank = before.len() - before.trim_end().len();
        let Some(outer) = before[..before.len() - blank].strip_suffix('?') else {
            return false;
        };
        let line = outer.rsplit('\n').next().unwrap_or_default();
        let lead = line.chars().all(|c| matches!(c, ' ' | '-'));
        let apart = outer.is_empty() || outer.ends_with([' ', '\t', '\n', '{', '[', ',']);
        let below = before[before.len() - blank..].contains('\n');
        blank > 0 && apart && (!below || (lead && line.len() + 1 < key.column as usize))
    }

    /// The place behind the quote that closes the text that begins here.
    fn behind_quotes(&mut self, start: Mark) -> Option<Mark> {
        let (_, rest) = self.part(start)?;
        let quote = *rest.as_bytes().first()?;
        let mut at = 1;
        loop {
            at += memchr::memchr2(quote, b'\\', rest.as_bytes().get(at..)?)?;
            let next = rest.as_bytes().get(at + 1);
            match rest.as_bytes()[at] {
                b'\\' if quote == b'"' => at += 2,
                it if it == quote && quote == b'\'' && next == Some(&quote) => at += 2,
                it if it == quote => break,
                _ => at += 1,
            }
        }
        let quoted = rest.get(..=at)?;
        let lines = quoted.bytes().filter(|b| *b == b'\n').count();
        Some(Mark {
            line: start.line + u32::try_from(lines).ok()?,
            column: start.column,
            index: start.index
                + if self.ascii {
                    quoted.len()
                } else {
                    quoted.chars().count()
                },
        })
    }
}

fn null(start: Mark) -> Node<'static> {
    Node {
        start,
        end: start,
        data: Data::Scalar(Cow::Borrowed(""), ScalarStyle::Plain),
    }
}

fn is_null_word(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// Why a key is refused.
fn unfit_key(key: &Node<'_>) -> Option<(Span, String, Option<String>)> {
    let span = key.span();
    let Data::Scalar(text, style) = key.data() else {
        let hint = "a text that begins with { or [ needs quotes".to_owned();
        return Some((span, "a key must be text".to_owned(), Some(hint)));
    };
    if key.start.line != key.end.line {
        return Some((span, "a key must stand on one line".to_owned(), None));
    }
    if *style != ScalarStyle::Plain {
        return None;
    }
    if text == "<<" {
        return Some((
            span,
            "merge keys are not allowed".to_owned(),
            Some("write the fields out".to_owned()),
        ));
    }
    let boolean = matches!(&**text, "true" | "True" | "TRUE" | "false" | "False" | "FALSE");
    let number = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.'))
        && (text.parse::<f64>().is_ok() || text.trim_start_matches(['+', '-']).starts_with(['0', '.']));
    if is_null_word(text) || boolean || number {
        let hint = format!("quote it: \"{}\"", cut(text));
        return Some((
            span,
            "a key must be text".to_owned(),
            (!text.is_empty()).then_some(hint),
        ));
    }
    None
}
