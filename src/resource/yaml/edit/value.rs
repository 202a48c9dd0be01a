//! Old value, new value and node gone through together: what differs is changed in its place.
//!
//! Values are compared by what they mean (canonical fields), not by how they are written: whatever means the same is left
//! alone, a default that is written out too.

use std::collections::HashSet;
use std::ops::Range;

use saphyr_parser::ScalarStyle;
use serde_json::Value;

use super::block_text;
use super::text::{Edit, Form, Text};
use super::write::{Style, Wanted, Written};
use crate::resource::shape::Shape;
use crate::resource::yaml::node::{Data, Node};

/// A value of an anchor, by its place in memory: an alias of it is the same one.
pub type Anchored = *const ();

/// The values of one place before and after; nothing where it is absent or equals its default.
#[derive(Clone, Copy)]
pub struct Change<'v> {
    pub old: Option<&'v Value>,
    pub new: Option<Wanted<'v>>,
    pub shape: Option<&'v Shape>,
}

impl<'v> Change<'v> {
    pub fn field(self, key: &str) -> Self {
        let shape = match self.shape {
            Some(Shape::Map(values)) => Some(&**values),
            Some(shape) => shape.fields().find(|field| field.name == key).map(|field| &field.shape),
            None => None,
        };
        Self {
            old: self.old.and_then(|it| it.get(key)),
            new: self.new.and_then(|it| it.field(key)),
            shape,
        }
    }

    pub fn item(self, old: usize, new: usize) -> Self {
        let shape = match self.shape {
            Some(Shape::List { items, .. }) => Some(&**items),
            _ => None,
        };
        Self {
            old: self.old.and_then(|it| it.get(old)),
            new: self.new.and_then(|it| it.item(new)),
            shape,
        }
    }

    /// What a field means where it is absent.
    pub fn default_of(self, key: &str) -> Option<&'v Value> {
        self.shape?.fields().find(|field| field.name == key)?.default.as_ref()
    }

    pub fn same(self) -> bool {
        self.old == self.new.map(|it| it.value)
    }
}

/// Where a value stands.
#[derive(Debug, Clone, Copy)]
pub struct Slot {
    /// Behind the colon or the dash; of an entry of a flow list where it begins.
    pub from: usize,
    /// The column of the key or of the dash.
    pub indent: usize,
    pub holder: Holder,
}

/// What a value belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// A key of a block mapping.
    Key,
    /// A dash.
    Dash,
    /// Something in brackets, or a document in brackets.
    Flow,
}

/// Collects the changes of one document's text.
pub struct Editor<'x, 't> {
    pub text: &'x Text<'t>,
    pub style: Style,
    pub edits: Vec<Edit>,
    /// Anchors whose value must not be relied on: their aliases are written out.
    pub spoilt: HashSet<Anchored>,
    /// Anchors whose value has changed.
    pub touched: HashSet<Anchored>,
    /// The anchors around the present place.
    around: Vec<Anchored>,
}

impl<'x, 't> Editor<'x, 't> {
    pub fn new(text: &'x Text<'t>, style: Style, spoilt: HashSet<Anchored>) -> Self {
        Self {
            text,
            style,
            edits: vec![],
            spoilt,
            touched: HashSet::new(),
            around: vec![],
        }
    }

    /// Whether nothing has to be done about a value.
    pub fn stays(&self, node: &Node<'t>, change: Change<'_>) -> bool {
        change.same() && (self.spoilt.is_empty() || !self.relies(node))
    }

    /// Whether a value holds an alias that must be written out.
    fn relies(&self, node: &Node<'t>) -> bool {
        if self.text.form(node) == Form::Alias {
            return anchored(node).is_some_and(|it| self.spoilt.contains(&it));
        }
        match node.data() {
            Data::List(items, _) => items.iter().any(|item| self.relies(item)),
            _ => node.entries().iter().any(|(_, value)| self.relies(value)),
        }
    }

    /// Notes the anchors of what goes.
    pub fn forget(&mut self, node: &Node<'t>) {
        self.note(node, false);
    }

    /// Notes the anchors of what moves, and those that its aliases mean: an alias must not go before its anchor.
    pub fn displace(&mut self, node: &Node<'t>) {
        self.note(node, true);
    }

    fn note(&mut self, node: &Node<'t>, aliases: bool) {
        let alias = self.text.form(node) == Form::Alias;
        if !alias || aliases {
            self.touched.extend(anchored(node));
        }
        if alias {
            return;
        }
        match node.data() {
            Data::List(items, _) => items.iter().for_each(|item| self.note(item, aliases)),
            _ => node.entries().iter().for_each(|(_, value)| self.note(value, aliases)),
        }
    }

    /// Brings the new value in; nothing where there is no way in this place.
    pub fn value(&mut self, slot: Slot, node: &Node<'t>, change: Change<'_>) -> Option<()> {
        let wanted = change.new?;
        let form = self.text.form(node);
        if form == Form::Alias {
            self.rewrite(slot, node, wanted);
            return Some(());
        }
        let here = anchored(node);
        self.around.extend(here);
        if !change.same() {
            self.touched.extend(self.around.iter().copied());
        }
        let before = self.edits.len();
        let done = match (form, node.data(), wanted.value) {
            (Form::Block, Data::Mapping(..), Value::Object(_)) => self.block_mapping(node, change),
            (Form::Flow, Data::Mapping(entries, _), Value::Object(_)) if !entries.is_empty() => {
                self.flow_mapping(node, change)
            }
            (Form::Block, Data::List(..), Value::Array(_)) => self.block_list(node, change),
            (Form::Flow, Data::List(items, _), Value::Array(_)) if !items.is_empty() => self.flow_list(node, change),
            (Form::Lines, Data::Scalar(old, style), Value::String(new)) => {
                let edits = self.lines_of_text(slot, node, (old, *style), new);
                edits.map(|edits| self.edits.extend(edits))
            }
            _ => None,
        };
        if done.is_none() {
            self.edits.truncate(before);
            self.forget(node);
            self.rewrite(slot, node, wanted);
        }
        if here.is_some() {
            self.around.pop();
        }
        Some(())
    }

    fn lines_of_text(&self, slot: Slot, node: &Node<'t>, old: (&str, ScalarStyle), new: &str) -> Option<Vec<Edit>> {
        if self.style.careful || slot.holder == Holder::Flow {
            return None;
        }
        block_text::edits(self.text, slot, node, old, new)
    }

    /// Writes a value anew in its place, quoted as it was; its anchor stays.
    pub fn rewrite(&mut self, slot: Slot, node: &Node<'t>, wanted: Wanted<'_>) {
        let text = self.text;
        let form = text.form(node);
        let end = text.end(node, slot.from);
        let alias = form == Form::Alias;
        let model = (!alias).then_some(node);
        let anchor = match form {
            Form::Alias => None,
            Form::Nothing => (end > slot.from).then_some(end),
            Form::Lines => text.anchor(text.skip(slot.from)),
            _ => text.anchor(text.start(node)),
        };
        let from = anchor.unwrap_or(slot.from);
        let start = match form {
            Form::Nothing => from,
            Form::Lines => text.header(slot.from).start,
            _ => text.content(node),
        };
        // What stands in brackets stays in them, unless they were empty.
        let brackets = form == Form::Flow
            && match node.data() {
                Data::List(items, _) => wanted.value.is_array() && !items.is_empty(),
                _ => wanted.value.is_object() && !node.entries().is_empty(),
            };
        if brackets && wanted.nests() {
            let new = self.style.like(text, node).flow(wanted, model, self.indent_of(start));
            self.edits.push((start..end, new.replace('\n', text.newline(start))));
            return;
        }
        if slot.holder == Holder::Flow {
            let new = self.style.flow(wanted, model, self.indent_of(slot.from));
            let new = new.replace('\n', text.newline(slot.from));
            let apart = form == Form::Nothing && slot.from > 0 && !text.all[..from].ends_with([' ', '[', '{', ',']);
            let space = if apart { " " } else { "" };
            self.edits.push((start..end.max(start), format!("{space}{new}")));
            return;
        }
        let same_line = !text.all[from..start].contains('\n');
        let gap = match slot.holder {
            Holder::Dash if same_line && form != Form::Nothing => Some(text.column(start) - slot.indent),
            Holder::Dash => Some(2),
            _ => None,
        };
        let Written { mut head, rest } = self.style.block(wanted, model, slot.indent, gap);
        if form == Form::Lines {
            head.push_str(text.beside(slot.from, end));
        }
        let spaced = if head.is_empty() {
            String::new()
        } else {
            format!(" {head}")
        };
        if same_line {
            // Blanks before the value stay, those before nothing do not.
            if head.is_empty() || form == Form::Nothing {
                self.edits.push((from..end.max(from), spaced));
            } else {
                self.edits.push((start..end, head));
            }
            if !rest.is_empty() {
                self.edits.push(text.insert(text.line_end(end), &rest));
            }
            return;
        }
        // What is written below its key goes; a comment behind the key stays.
        let below = text.line_end(from);
        self.edits.push((from..from, spaced));
        self.edits.push((below..text.line_end(end), String::new()));
        if !rest.is_empty() {
            let (_, lines) = text.insert(below, &rest);
            self.edits.push((below..below, lines));
        }
    }

    /// The blanks at the beginning of the line of a place.
    pub fn indent_of(&self, at: usize) -> usize {
        let line = &self.text.all[self.text.line_start(at)..];
        line.len() - line.trim_start_matches(' ').len()
    }

    /// Runs changes of a part of the text by themselves: the part as it is then.
    pub fn apart(&mut self, part: Range<usize>, run: impl FnOnce(&mut Self) -> Option<()>) -> Option<String> {
        let before = std::mem::take(&mut self.edits);
        let done = run(self);
        let edits = std::mem::replace(&mut self.edits, before);
        done?;
        self.text.apply(part, edits)
    }
}

/// What identifies the anchor of a value or of an alias.
pub fn anchored(node: &Node<'_>) -> Option<Anchored> {
    match &node.data {
        Data::Shared(data) => Some(std::rc::Rc::as_ptr(data).cast()),
        _ => None,
    }
}
