//! New values as text, in the manner of what stands around them.

use saphyr_parser::ScalarStyle;
use serde_json::Value;

use super::text::{Form, Text};
use crate::resource::yaml::node::{Data, Layout, Node};
use crate::resource::yaml::print::escaped;

/// A value with the order in which its keys are written.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'v> {
    pub value: &'v Value,
    pub order: Option<&'v serde_yaml::Value>,
}

impl<'v> Wanted<'v> {
    pub fn of(value: &'v Value) -> Self {
        Self { value, order: None }
    }

    pub fn field(self, key: &str) -> Option<Self> {
        Some(Self {
            value: self.value.get(key)?,
            order: self.order.and_then(|it| it.get(key)),
        })
    }

    pub fn item(self, n: usize) -> Option<Self> {
        Some(Self {
            value: self.value.get(n)?,
            order: self.order.and_then(|it| it.get(n)),
        })
    }

    /// The keys of a mapping, those first whose order is known.
    pub fn keys(self) -> Vec<&'v str> {
        let map = self.value.as_object();
        let known = self.order.and_then(|it| it.as_mapping());
        let mut keys: Vec<&str> = known
            .into_iter()
            .flat_map(|it| it.keys())
            .filter_map(|key| key.as_str())
            .filter(|key| map.is_some_and(|map| map.contains_key(*key)))
            .collect();
        for key in map.into_iter().flat_map(|map| map.keys()) {
            if !keys.contains(&key.as_str()) {
                keys.push(key);
            }
        }
        keys
    }

    fn items(self) -> impl Iterator<Item = Self> {
        (0..self.value.as_array().map_or(0, Vec::len)).filter_map(move |n| self.item(n))
    }

    /// Whether it is a list or a mapping that holds something.
    pub fn nests(self) -> bool {
        match self.value {
            Value::Array(list) => !list.is_empty(),
            Value::Object(map) => !map.is_empty(),
            _ => false,
        }
    }
}

/// A written value: what goes behind the colon or the dash, and the lines below.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    pub head: String,
    pub rest: Vec<String>,
}

/// The habits of a document.
#[derive(Debug, Clone, Default)]
pub struct Style {
    /// How far lists are indented under their key.
    list: Option<usize>,
    /// How far mappings are indented under their key.
    step: Option<usize>,
    /// The spaces within the braces of a flow mapping.
    braces: Option<bool>,
    /// Whether nothing stands between the parts of a flow collection: `{"a":1,"b":2}`.
    tight: Option<bool>,
    /// Whether it must stay JSON.
    pub json: bool,
    /// Of flow collections over several lines: how far they are indented.
    spread: Option<usize>,
    /// Whether all new texts are escaped, because one of them can be read in two ways.
    pub careful: bool,
}

impl Style {
    pub fn of(text: &Text<'_>, root: &Node<'_>, careful: bool) -> Self {
        let range = text.range(root);
        let json = || serde_json::from_str::<serde::de::IgnoredAny>(&text.all[range]).is_ok();
        let mut style = Self {
            json: text.form(root) == Form::Flow && json(),
            careful,
            ..Self::default()
        };
        style.learn(text, root, 0);
        style
    }

    /// Takes over the first way of everything.
    fn learn(&mut self, text: &Text<'_>, node: &Node<'_>, depth: usize) {
        let content = text.content(node);
        if let (Form::Flow, Some(first)) = (text.form(node), first_part(node)) {
            if text.all[content..].starts_with('{') {
                self.braces.get_or_insert(text.all[content + 1..].starts_with(' '));
            }
            if let Some((key, _)) = node.entries().first() {
                let value = &text.all[text.behind_key(key)..];
                self.tight.get_or_insert(!value.starts_with(char::is_whitespace));
            }
            // What JSON's innermost lists and mappings look like says more than the outermost.
            if depth > 0 {
                self.spread
                    .get_or_insert_with(|| spread(text, content, text.start(first)));
            }
        }
        match node.data() {
            Data::List(items, _) => items.iter().for_each(|item| self.learn(text, item, depth + 1)),
            _ => {
                for (key, value) in node.entries() {
                    if text.form(value) == Form::Block {
                        let column = text.column(text.start(key));
                        if let Data::List(items, _) = value.data() {
                            let dash = items.first().and_then(|item| text.dash(item));
                            let indent = dash.and_then(|at| text.column(at).checked_sub(column));
                            self.list = self.list.or(indent);
                        } else {
                            let indent = text.column(text.content(value)).checked_sub(column);
                            self.step = self.step.or(indent);
                        }
                    }
                    if text.form(value) != Form::Alias {
                        self.learn(text, value, depth + 1);
                    }
                }
            }
        }
    }

    /// The same with the manner of this flow collection.
    pub fn like(&self, text: &Text<'_>, node: &Node<'_>) -> Self {
        let mut style = self.clone();
        if let Some(first) = first_part(node) {
            style.spread = Some(spread(text, text.content(node), text.start(first)));
        }
        style
    }

    /// A key as it is written beside another one.
    pub fn key(&self, key: &str, beside: Option<&Node<'_>>) -> String {
        let quoted = matches!(beside.map(Node::data), Some(Data::Scalar(_, ScalarStyle::DoubleQuoted)));
        if self.json || self.careful || quoted {
            return Value::from(key).to_string();
        }
        self.text(key, beside, true)
            .unwrap_or_else(|| Value::from(key).to_string())
    }

    /// A text on one line, quoted like a model where that can hold it; nothing where it has several lines.
    fn text(&self, text: &str, model: Option<&Node<'_>>, flow: bool) -> Option<String> {
        if self.json || self.careful {
            return Some(escaped(&Value::from(text)));
        }
        match model.map(Node::data) {
            // A text that becomes one of several lines is easier to read as such.
            Some(Data::Scalar(old, _)) if !flow && text.contains('\n') && !old.contains('\n') => {}
            Some(Data::Scalar(_, ScalarStyle::DoubleQuoted)) => return Some(escaped(&Value::from(text))),
            Some(Data::Scalar(_, ScalarStyle::SingleQuoted)) if !text.contains(char::is_control) => {
                return Some(format!("'{}'", text.replace('\'', "''")));
            }
            _ => {}
        }
        let printed = serde_yaml::to_string(text).unwrap_or_else(|_| escaped(&Value::from(text)));
        let printed = printed.strip_suffix('\n').unwrap_or(&printed);
        let quoted = printed.starts_with(['"', '\'']);
        if printed.contains('\n') {
            return flow.then(|| escaped(&Value::from(text)));
        }
        if flow && !quoted && printed.contains([',', '[', ']', '{', '}']) {
            return Some(format!("'{}'", text.replace('\'', "''")));
        }
        Some(printed.to_owned())
    }

    /// A scalar that fits on one line; nothing for texts of several lines and what is no scalar.
    pub fn scalar(&self, value: &Value, model: Option<&Node<'_>>, flow: bool) -> Option<String> {
        match value {
            Value::String(text) => self.text(text, model, flow),
            Value::Array(list) if list.is_empty() => Some("[]".to_owned()),
            Value::Object(map) if map.is_empty() => Some("{}".to_owned()),
            Value::Array(_) | Value::Object(_) => None,
            other => Some(other.to_string()),
        }
    }

    /// A value in block form below something that stands in column `indent`.
    ///
    /// Of a list item the first line of a mapping is its head, in column `indent` plus `gap`.
    pub fn block(&self, wanted: Wanted<'_>, model: Option<&Node<'_>>, indent: usize, gap: Option<usize>) -> Written {
        if let Some(head) = self.scalar(wanted.value, model, false) {
            return Written { head, rest: vec![] };
        }
        if model.is_some_and(is_short_flow) && wanted.nests() {
            let head = self.flow(wanted, model, indent);
            return Written { head, rest: vec![] };
        }
        let spaces = |n: usize| " ".repeat(n);
        if let Value::String(text) = wanted.value {
            let printed = serde_yaml::to_string(text).unwrap_or_else(|_| escaped(wanted.value));
            let mut lines = printed.strip_suffix('\n').unwrap_or(&printed).split('\n');
            let head = lines.next().unwrap_or_default().to_owned();
            let indented = |line: &str| match line {
                "" => String::new(),
                line => format!("{}{line}", spaces(indent)),
            };
            let rest = lines.map(indented).collect();
            return Written { head, rest };
        }
        let mut lines = vec![];
        if wanted.value.is_array() {
            let column = match gap {
                Some(gap) => indent + gap,
                None => indent + self.list.unwrap_or(0),
            };
            for item in wanted.items() {
                let written = self.block(item, first_item(model), column, Some(2));
                lines.push(format!("{}- {}", spaces(column), written.head));
                lines.extend(written.rest);
            }
        } else {
            let column = indent + gap.or(self.step).unwrap_or(2).max(1);
            for key in wanted.keys() {
                lines.extend(self.entry(key, wanted, model, column));
            }
        }
        let mut out = Written::default();
        if let Some(gap) = gap
            && !lines.is_empty()
        {
            lines.remove(0)[indent + gap..].clone_into(&mut out.head);
        }
        out.rest = lines;
        out
    }

    /// The lines of one entry of a block mapping in a column.
    pub fn entry(&self, key: &str, of: Wanted<'_>, model: Option<&Node<'_>>, column: usize) -> Vec<String> {
        let Some(value) = of.field(key) else { return vec![] };
        let beside = model.and_then(|it| it.entries().first()).map(|(key, _)| key);
        let like = model.and_then(|it| it.entry(key)).map(|(_, value)| value);
        let written = self.block(value, like, column, None);
        let head = match written.head.as_str() {
            "" => String::new(),
            head => format!(" {head}"),
        };
        let first = format!("{}{}:{head}", " ".repeat(column), self.key(key, beside));
        std::iter::once(first).chain(written.rest).collect()
    }

    /// A value in flow form; over several lines where the document's are, with what it holds further in than `indent`.
    pub fn flow(&self, wanted: Wanted<'_>, model: Option<&Node<'_>>, indent: usize) -> String {
        if let Some(scalar) = self.scalar(wanted.value, model, true) {
            return scalar;
        }
        let short = model.is_some_and(is_short_flow);
        let unit = self.spread.filter(|_| !short && wanted.nests()).unwrap_or(0);
        let inner = indent + unit;
        let (open, close) = if wanted.value.is_array() {
            ('[', ']')
        } else {
            ('{', '}')
        };
        let parts: Vec<String> = if wanted.value.is_array() {
            wanted
                .items()
                .map(|item| self.flow(item, first_item(model), inner))
                .collect()
        } else {
            let keys = wanted.keys().into_iter();
            keys.map(|key| self.flow_entry(key, wanted, model, inner)).collect()
        };
        if unit > 0 {
            let spaces = " ".repeat(inner);
            let lines = parts.join(&format!(",\n{spaces}"));
            return format!("{open}\n{spaces}{lines}\n{}{close}", " ".repeat(indent));
        }
        let padded = open == '{' && self.braces == Some(true);
        let space = if padded { " " } else { "" };
        let comma = if self.is_tight() { "," } else { ", " };
        format!("{open}{space}{}{space}{close}", parts.join(comma))
    }

    /// One entry of a flow mapping.
    pub fn flow_entry(&self, key: &str, of: Wanted<'_>, model: Option<&Node<'_>>, indent: usize) -> String {
        let beside = model.and_then(|it| it.entries().first()).map(|(key, _)| key);
        let like = model.and_then(|it| it.entry(key)).map(|(_, value)| value);
        let value = of.field(key).map(|value| self.flow(value, like, indent));
        let space = if self.is_tight() { "" } else { " " };
        format!("{}:{space}{}", self.key(key, beside), value.unwrap_or_default())
    }

    /// Only of JSON: the colon of a plain key needs its blank.
    fn is_tight(&self) -> bool {
        self.json && self.tight == Some(true)
    }
}

fn first_part<'n, 't>(node: &'n Node<'t>) -> Option<&'n Node<'t>> {
    match node.data() {
        Data::List(items, _) => items.first(),
        _ => node.entries().first().map(|(key, _)| key),
    }
}

/// How far the first part of a flow collection is indented on a line of its own; 0 where it has none.
fn spread(text: &Text<'_>, content: usize, first: usize) -> usize {
    let line = &text.all[text.line_start(content)..];
    let outer = line.len() - line.trim_start_matches(' ').len();
    if text.first_in_line(first) {
        text.column(first).saturating_sub(outer)
    } else {
        0
    }
}

/// Whether a list or mapping stands in brackets on one line.
fn is_short_flow(node: &Node<'_>) -> bool {
    let flow = matches!(node.data, Data::List(_, Layout::Flow) | Data::Mapping(_, Layout::Flow));
    flow && node.start.line == node.end.line
}

fn first_item<'n, 't>(model: Option<&'n Node<'t>>) -> Option<&'n Node<'t>> {
    match model.map(Node::data) {
        Some(Data::List(items, _)) => items.first(),
        _ => None,
    }
}
