//! Entries of a list changed, added, removed and moved in their places.

use std::ops::Range;

use serde_json::Value;

use super::align::{Origin, align};
use super::flow::Planned;
use super::text::Form;
use super::value::{Change, Editor, Holder, Slot};
use super::write::Written;
use crate::resource::yaml::node::{Data, Node};

impl<'t> Editor<'_, 't> {
    /// The origins of the new entries; nothing where the text has other entries than the old value.
    fn origins(items: &[Node<'t>], of: Change<'_>) -> Option<Vec<Origin>> {
        let old = of.old.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let new = of.new.and_then(|it| it.value.as_array())?;
        (old.len() == items.len() && !new.is_empty()).then(|| align(old, new))
    }

    /// The entry that a new one looks like: the one before it, or the first.
    fn neighbour<'n>(items: &'n [Node<'t>], origins: &[Origin], new: usize) -> &'n Node<'t> {
        let before = origins[..new].iter().rev().find_map(|it| match it {
            Origin::Kept(n) | Origin::Moved(n) => Some(*n),
            Origin::New => None,
        });
        &items[before.unwrap_or(0)]
    }

    pub fn block_list(&mut self, node: &Node<'t>, of: Change<'_>) -> Option<()> {
        let text = self.text;
        let Data::List(items, _) = node.data() else { return None };
        let origins = Self::origins(items, of)?;
        let dashes: Vec<usize> = items.iter().map(|item| text.dash(item)).collect::<Option<_>>()?;
        let column = text.column(*dashes.first()?);
        // A list that begins behind another one's dash.
        if !dashes.iter().all(|dash| text.first_in_line(*dash)) {
            return None;
        }
        let slot = |n: usize| Slot {
            from: dashes[n] + 1,
            indent: column,
            holder: Holder::Dash,
        };
        let region = |n: usize| {
            let line = text.line_start(dashes[n]);
            text.above(line, column, 0)..text.below(text.end(&items[n], dashes[n] + 1), column)
        };
        let mut at = region(0).start;
        for (n, origin) in origins.iter().enumerate() {
            match *origin {
                Origin::Kept(old) => {
                    let change = of.item(old, n);
                    if !self.stays(&items[old], change) {
                        self.value(slot(old), &items[old], change)?;
                    }
                    at = region(old).end;
                }
                Origin::Moved(old) => {
                    let change = of.item(old, n);
                    let part = region(old);
                    let moved = self.apart(part.clone(), |editor| {
                        if editor.stays(&items[old], change) {
                            return Some(());
                        }
                        editor.value(slot(old), &items[old], change)
                    })?;
                    let lines: Vec<String> = moved.lines().map(str::to_owned).collect();
                    self.edits.push(text.insert(at, &lines));
                    self.displace(&items[old]);
                }
                Origin::New => {
                    let wanted = of.new?.item(n)?;
                    let like = Self::neighbour(items, &origins, n);
                    let lines = self.new_item(like, column, wanted);
                    self.edits.push(text.insert(at, &lines));
                }
            }
        }
        for (n, item) in items.iter().enumerate() {
            if !origins.contains(&Origin::Kept(n)) {
                self.edits.push((region(n), String::new()));
                if !origins.contains(&Origin::Moved(n)) {
                    self.forget(item);
                }
            }
        }
        Some(())
    }

    /// A new item as its neighbour is written.
    fn new_item(&self, like: &Node<'t>, column: usize, wanted: super::write::Wanted<'_>) -> Vec<String> {
        let text = self.text;
        let start = text.start(like);
        let dash = text.dash(like).unwrap_or(start);
        let same_line = text.line_start(start) == text.line_start(dash);
        let gap = if same_line { (start - dash).max(2) } else { 2 };
        let form = text.form(like);
        let model = (form != Form::Alias).then_some(like);
        let spaces = " ".repeat(column);
        let nests = matches!(wanted.value, Value::Array(_) | Value::Object(_));
        let Written { head, rest } = if form == Form::Flow && nests {
            let written = self.style.flow(wanted, model, column);
            Written {
                head: written.replace('\n', text.newline(start)),
                rest: vec![],
            }
        } else {
            self.style.block(wanted, model, column, Some(gap))
        };
        let first = format!("{spaces}-{}{head}", " ".repeat(gap - 1));
        std::iter::once(first).chain(rest).collect()
    }

    pub fn flow_list(&mut self, node: &Node<'t>, of: Change<'_>) -> Option<()> {
        let text = self.text;
        let Data::List(items, _) = node.data() else { return None };
        let origins = Self::origins(items, of)?;
        let spans: Vec<Range<usize>> = items.iter().map(|item| text.range(item)).collect();
        if !origins.iter().any(|it| matches!(it, Origin::Kept(_))) {
            return None;
        }
        let slot = |n: usize| Slot {
            from: spans[n].start,
            indent: 0,
            holder: Holder::Flow,
        };
        let mut plan = vec![];
        for (n, origin) in origins.iter().enumerate() {
            match *origin {
                Origin::Kept(old) => {
                    let change = of.item(old, n);
                    if !self.stays(&items[old], change) {
                        self.value(slot(old), &items[old], change)?;
                    }
                    plan.push(Planned::Kept(old));
                }
                Origin::Moved(old) => {
                    let change = of.item(old, n);
                    let moved = self.apart(spans[old].clone(), |editor| {
                        if editor.stays(&items[old], change) {
                            return Some(());
                        }
                        editor.value(slot(old), &items[old], change)
                    })?;
                    self.displace(&items[old]);
                    plan.push(Planned::New(moved));
                }
                Origin::New => {
                    let like = Self::neighbour(items, &origins, n);
                    let model = (text.form(like) != Form::Alias).then_some(like);
                    let indent = self.indent_of(spans.first()?.start);
                    plan.push(Planned::New(self.style.flow(of.new?.item(n)?, model, indent)));
                }
            }
        }
        for (n, item) in items.iter().enumerate() {
            if !origins.contains(&Origin::Kept(n)) && !origins.contains(&Origin::Moved(n)) {
                self.forget(item);
            }
        }
        self.flow_series(node, &spans, &plan)
    }
}
