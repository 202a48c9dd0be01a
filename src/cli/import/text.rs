//! A foreign file as a tree in which every key and value knows its place: JSON with comments, or YAML.
//!
//! No line of such a file is ever quoted in a message: there may be a credential in it.

use jsonc_parser::ast::{ObjectPropName, Value as Json};
use jsonc_parser::common::Ranged as _;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

use crate::kit::{Diagnostic, Position};
use crate::resource::FileText;
use crate::resource::yaml::{Outline, Written, outline};

/// Lists and mappings within each other, at most.
const DEEPEST: usize = 64;

/// A value with its place.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub at: Position,
    pub is: Is,
}

/// What a value is.
#[derive(Clone, PartialEq)]
pub(super) enum Is {
    Null,
    Bool(bool),
    /// As it is written.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// What one key of a mapping says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub key: String,
    pub at: Position,
    pub value: Node,
}

impl std::fmt::Debug for Is {
    /// Shows the kind of a value, and never what it is.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.called())
    }
}

impl Is {
    /// What it is called in a message.
    pub fn called(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "true or false",
            Self::Number(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

impl Node {
    pub fn entries(&self) -> &[Entry] {
        match &self.is {
            Is::Map(entries) => entries,
            _ => &[],
        }
    }

    pub fn get(&self, key: &str) -> Option<&Self> {
        let found = self.entries().iter().find(|entry| entry.key == key);
        found.map(|entry| &entry.value)
    }

    pub fn text(&self) -> Option<&str> {
        match &self.is {
            Is::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A text, or what stands for one: programs get numbers and truth values as texts too.
    pub fn word(&self) -> Option<String> {
        match &self.is {
            Is::Text(text) | Is::Number(text) => Some(text.clone()),
            Is::Bool(truth) => Some(truth.to_string()),
            _ => None,
        }
    }
}

/// A fault at a place of a file, without its line.
pub(super) fn fault(file: &str, at: Position, message: impl Into<String>) -> Diagnostic {
    Diagnostic {
        line: at.line,
        column: at.column,
        ..Diagnostic::of_file(file, message)
    }
}

/// Reads a file: JSON with comments and trailing commas where it begins as JSON does, else YAML.
pub(super) fn read(name: &str, bytes: &[u8]) -> Result<Node, Vec<Diagnostic>> {
    let whole = |message: &str| vec![Diagnostic::of_file(name, message)];
    let text = std::str::from_utf8(bytes).map_err(|_| whole("this is no UTF-8"))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let first = text.trim_start();
    let node = if first.starts_with(['{', '[']) || first.starts_with("//") || first.starts_with("/*") {
        json(name, text)?
    } else {
        let file = FileText {
            path: name.to_owned(),
            bytes: Ok(text.as_bytes().to_vec()),
        };
        let mut read = outline(&file);
        if let Err(faults) = &mut read {
            faults.iter_mut().for_each(crate::resource::yaml::withhold);
        }
        read?.map_or_else(
            || Node {
                at: Position { line: 1, column: 1 },
                is: Is::Null,
            },
            of_yaml,
        )
    };
    let mut faults = vec![];
    duplicates(name, &node, &mut faults);
    if faults.is_empty() { Ok(node) } else { Err(faults) }
}

fn json(name: &str, text: &str) -> Result<Node, Vec<Diagnostic>> {
    let places = Places::of(text);
    if let Some(byte) = too_deep(text) {
        let hint = format!("{DEEPEST} lists and mappings within each other at most");
        return Err(vec![fault(name, places.at(byte), "nested too deeply").hint(hint)]);
    }
    let options = ParseOptions {
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        ..ParseOptions::default()
    };
    let parsed = parse_to_ast(text, &CollectOptions::default(), &options).map_err(|error| {
        let said = error.kind().to_string();
        let mut said = said.chars();
        let first = said.next().map(|c| c.to_ascii_lowercase());
        let message: String = first.into_iter().chain(said).collect();
        vec![fault(
            name,
            places.at(error.range().start),
            format!("not JSON: {message}"),
        )]
    })?;
    let nothing = Node {
        at: Position { line: 1, column: 1 },
        is: Is::Null,
    };
    Ok(parsed.value.map_or(nothing, |value| of_json(&value, &places)))
}

/// Where brackets that are no part of a text go too deep: the parser is not asked to find out.
fn too_deep(text: &str) -> Option<usize> {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => {
                depth += 1;
                if depth > DEEPEST {
                    return Some(at);
                }
            }
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

/// Places of bytes.
struct Places<'t> {
    text: &'t str,
    lines: Vec<usize>,
}

impl<'t> Places<'t> {
    fn of(text: &'t str) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1));
        Self {
            text,
            lines: lines.collect(),
        }
    }

    fn at(&self, byte: usize) -> Position {
        let line = self.lines.partition_point(|start| *start <= byte);
        let start = self.lines[line.saturating_sub(1)];
        let before = self.text.get(start..byte).map_or(0, |text| text.chars().count());
        Position {
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: u32::try_from(before + 1).unwrap_or(u32::MAX),
        }
    }
}

fn of_json(value: &Json<'_>, places: &Places<'_>) -> Node {
    let is = match value {
        Json::StringLit(it) => Is::Text(it.value.clone().into_owned()),
        Json::NumberLit(it) => Is::Number(it.value.to_owned()),
        Json::BooleanLit(it) => Is::Bool(it.value),
        Json::NullKeyword(_) => Is::Null,
        Json::Array(it) => Is::List(it.elements.iter().map(|value| of_json(value, places)).collect()),
        Json::Object(it) => Is::Map(
            it.properties
                .iter()
                .map(|property| Entry {
                    key: match &property.name {
                        ObjectPropName::String(name) => name.value.clone().into_owned(),
                        ObjectPropName::Word(name) => name.value.to_owned(),
                    },
                    at: places.at(property.name.range().start),
                    value: of_json(&property.value, places),
                })
                .collect(),
        ),
    };
    Node {
        at: places.at(value.range().start),
        is,
    }
}

fn of_yaml(outline: Outline) -> Node {
    let is = match outline.written {
        Written::Scalar(text, true) => match text.as_str() {
            "" | "~" | "null" | "Null" | "NULL" => Is::Null,
            "true" | "True" | "TRUE" => Is::Bool(true),
            "false" | "False" | "FALSE" => Is::Bool(false),
            number if number.parse::<f64>().is_ok_and(f64::is_finite) => Is::Number(text),
            _ => Is::Text(text),
        },
        Written::Scalar(text, false) => Is::Text(text),
        Written::List(items) => Is::List(items.into_iter().map(of_yaml).collect()),
        Written::Mapping(entries) => Is::Map(
            entries
                .into_iter()
                .map(|(key, value)| Entry {
                    at: key.position,
                    key: match key.written {
                        Written::Scalar(text, _) => text,
                        _ => String::new(),
                    },
                    value: of_yaml(value),
                })
                .collect(),
        ),
    };
    Node {
        at: outline.position,
        is,
    }
}

/// A key that stands twice in one mapping: programs differ in which of the two they take.
fn duplicates(name: &str, node: &Node, faults: &mut Vec<Diagnostic>) {
    let mut met = std::collections::HashSet::new();
    for entry in node.entries() {
        if !met.insert(entry.key.as_str()) && faults.len() < 100 {
            faults.push(fault(
                name,
                entry.at,
                format!("the key {:?} is given twice", short(&entry.key)),
            ));
        }
        duplicates(name, &entry.value, faults);
    }
    if let Is::List(items) = &node.is {
        for item in items {
            duplicates(name, item, faults);
        }
    }
}

/// A key as it is shown in a message.
pub(super) fn short(key: &str) -> String {
    crate::wire::words::cut(&crate::wire::words::plain(key), 60)
}
