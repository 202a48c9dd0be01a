//! The text of a SOPS file as a tree in which every value knows its line: a small, bounded subset of YAML.
//!
//! Anchors, aliases, tags, keys that are no text and duplicates are refused: what the MAC covers must not depend on
//! which reader looks.

use std::collections::HashSet;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use crate::kit::Position;

use super::error::Broken;
use super::scalar::Scalar;

/// Lists and mappings within each other, at most; what is encrypted for us is never near it.
pub const DEEPEST: usize = 32;
/// Values in a document, at most.
pub const MOST_VALUES: usize = 10_000;

/// A value and where it begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub at: Position,
    pub data: Data,
    /// The last line that belongs to a scalar.
    pub last_line: u32,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    Mapping(Vec<Entry>),
    List(Vec<Node>),
    Scalar(Scalar),
}

/// An entry of a mapping.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub key: String,
    pub at: Position,
    pub value: Node,
}

impl Node {
    /// The entries of a mapping.
    pub fn entries(&self) -> &[Entry] {
        match &self.data {
            Data::Mapping(entries) => entries,
            _ => &[],
        }
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entries().iter().find(|it| it.key == key).map(|it| &it.value)
    }

    /// The text, where it is one.
    pub fn text(&self) -> Option<&str> {
        match &self.data {
            Data::Scalar(Scalar::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// The same as JSON.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.data {
            Data::Scalar(scalar) => scalar.to_json(),
            Data::List(items) => items.iter().map(Self::to_json).collect(),
            Data::Mapping(entries) => {
                let pairs = entries.iter().map(|it| (it.key.clone(), it.value.to_json()));
                serde_json::Value::Object(pairs.collect())
            }
        }
    }
}

/// A list or mapping whose end has not come.
enum Open {
    List(Position, Vec<Node>),
    Mapping(Position, Vec<Entry>, HashSet<String>, Option<(String, Position)>),
}

/// Reads the one document of a text; its root is a mapping.
pub fn parse(text: &str) -> Result<Node, Broken> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut parser = Parser::new_from_str(text);
    let mut open: Vec<Open> = vec![];
    let mut root: Option<Node> = None;
    let mut values = 0;
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| {
            let at = position(error.marker());
            Broken::at(at, format!("the file is no YAML: {}", error.info()))
        })?;
        let at = position(&span.start);
        if matches!(event, Event::DocumentStart(_)) && root.is_some() {
            return Err(Broken::at(
                at,
                "a secret is a file of its own, and here a second document begins",
            ));
        }
        values += usize::from(matches!(
            event,
            Event::Scalar(..) | Event::SequenceStart(..) | Event::MappingStart(..)
        ));
        if values > 2 * MOST_VALUES {
            return Err(Broken::at(at, format!("more than {MOST_VALUES} values in a secret")));
        }
        let done = match event {
            Event::Scalar(text, style, anchor, tag) => {
                unmarked(at, anchor, tag.is_some())?;
                scalar(&text, style, &span)?
            }
            Event::SequenceStart(anchor, tag) => {
                unmarked(at, anchor, tag.is_some())?;
                open.push(Open::List(at, vec![]));
                continue_if_shallow(&open, at)?;
                continue;
            }
            Event::MappingStart(anchor, tag) => {
                unmarked(at, anchor, tag.is_some())?;
                open.push(Open::Mapping(at, vec![], HashSet::new(), None));
                continue_if_shallow(&open, at)?;
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Open::List(at, items)) => node(at, Data::List(items)),
                Some(Open::Mapping(at, entries, ..)) => node(at, Data::Mapping(entries)),
                None => continue,
            },
            Event::Alias(_) => return Err(Broken::at(at, "aliases are not allowed in a secret")),
            _ => continue,
        };
        match open.last_mut() {
            None => root = Some(done),
            Some(Open::List(_, items)) => items.push(done),
            Some(Open::Mapping(_, entries, seen, key)) => match key.take() {
                Some((key, at)) => entries.push(Entry { key, at, value: done }),
                None => *key = Some(new_key(&done, seen)?),
            },
        }
    }
    match root {
        Some(root) if matches!(root.data, Data::Mapping(_)) => Ok(root),
        Some(root) => Err(Broken::at(root.at, "a secret is a mapping")),
        None => Err(Broken::whole("the file is empty")),
    }
}

fn position(marker: &saphyr_parser::Marker) -> Position {
    Position {
        line: u32::try_from(marker.line()).unwrap_or(u32::MAX),
        column: u32::try_from(marker.col() + 1).unwrap_or(u32::MAX),
    }
}

fn node(at: Position, data: Data) -> Node {
    Node {
        at,
        data,
        last_line: at.line,
    }
}

fn unmarked(at: Position, anchor: usize, tagged: bool) -> Result<(), Broken> {
    if anchor != 0 {
        return Err(Broken::at(at, "anchors are not allowed in a secret"));
    }
    if tagged {
        return Err(Broken::at(at, "tags are not allowed in a secret"));
    }
    Ok(())
}

fn continue_if_shallow(open: &[Open], at: Position) -> Result<(), Broken> {
    if open.len() > DEEPEST {
        return Err(Broken::at(
            at,
            format!("more than {DEEPEST} levels of lists and mappings in a secret"),
        ));
    }
    Ok(())
}

fn new_key(key: &Node, seen: &mut HashSet<String>) -> Result<(String, Position), Broken> {
    let Some(text) = key.text() else {
        return Err(Broken::at(key.at, "a key must be a text"));
    };
    if text == "<<" {
        return Err(Broken::at(key.at, "merge keys are not allowed in a secret"));
    }
    if !seen.insert(text.to_owned()) {
        return Err(Broken::at(key.at, format!("the key {} stands here twice", shown(text))));
    }
    Ok((text.to_owned(), key.at))
}

/// A text from a file in a message: quoted, and cut where it is long.
pub fn shown(text: &str) -> String {
    let mut cut: String = text.chars().take(60).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    format!("{cut:?}")
}

fn scalar(text: &str, style: ScalarStyle, span: &Span) -> Result<Node, Broken> {
    let at = position(&span.start);
    let meaning = if style == ScalarStyle::Plain {
        Scalar::of_plain(text)
            .ok_or_else(|| Broken::at(at, format!("{} is a number that can't be kept exactly", shown(text))))?
    } else {
        Scalar::Text(text.to_owned())
    };
    let end = position(&span.end);
    // A block scalar ends where the next line begins.
    let last = if end.column == 1 {
        end.line.saturating_sub(1)
    } else {
        end.line
    };
    Ok(Node {
        at,
        data: Data::Scalar(meaning),
        last_line: if text.is_empty() { at.line } else { last.max(at.line) },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_readers_may_see_differently_is_refused() {
        for (text, why) in [
            ("", "empty"),
            ("- a\n", "mapping"),
            ("a: &x 1\n", "anchors"),
            ("a: 1\nb: *a\n", "anchor"),
            ("a: !!str 1\n", "tags"),
            ("a: 1\na: 2\n", "twice"),
            ("1: 2\n", "text"),
            ("<<: {a: 1}\n", "merge"),
            ("a: 1\n---\nb: 1\n", "second document"),
            ("a: .inf\n", "exactly"),
            ("a: [1\n", "no YAML"),
            (&format!("a: {}1{}\n", "[".repeat(40), "]".repeat(40)), "levels"),
            (&format!("a:\n{}", "  - 1\n".repeat(2 * MOST_VALUES)), "values"),
        ] {
            let broken = parse(text).expect_err(text);
            assert!(broken.to_string().contains(why), "{text:?}: {broken}");
        }
    }

    #[test]
    fn scalars_know_their_lines() {
        let root = parse("a: |\n  one\n  two\n\nb: x\nc:\nd: \"y\n  z\"\n").unwrap();
        let lines: Vec<(u32, u32)> = root
            .entries()
            .iter()
            .map(|it| (it.at.line, it.value.last_line))
            .collect();
        assert_eq!((lines[0].0, lines[1], lines[3]), (1, (5, 5), (7, 8)), "{lines:?}");
        assert!((3..=4).contains(&lines[0].1), "{lines:?}");
    }
}
