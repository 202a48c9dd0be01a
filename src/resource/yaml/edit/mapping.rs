//! Keys of a mapping changed, added and removed in their places.

use std::ops::Range;

use super::flow::Planned;
use super::text::Form;
use super::value::{Change, Editor, Holder, Slot, anchored};
use super::write::Wanted;
use crate::resource::yaml::node::Node;

/// The keys that say who a document is; they go before its fields and never change.
const IDENTITY: [&str; 4] = ["apiVersion", "kind", "name", "project"];

/// What becomes of an entry.
#[derive(PartialEq, Eq)]
enum Fate {
    Stays,
    Changes,
    /// It takes its default, because it stands written.
    Default,
    Goes,
}

impl<'t> Editor<'_, 't> {
    /// Changes the fields of a declaration.
    pub fn declaration(&mut self, node: &Node<'t>, change: Change<'_>) -> Option<()> {
        // An anchor around all of it is touched by any change.
        self.touched.extend(anchored(node));
        match self.text.form(node) {
            Form::Block => self.block_mapping(node, change),
            Form::Flow => self.flow_mapping(node, change),
            _ => None,
        }
    }

    fn fate(&self, key: &str, value: &Node<'t>, of: Change<'_>) -> Fate {
        let change = of.field(key);
        if self.stays(value, change) {
            return Fate::Stays;
        }
        if change.new.is_some() {
            return Fate::Changes;
        }
        // Documents leave defaults out, but a line that says a value goes on saying one.
        let scalar = value.text().is_some() && value.start.line == value.end.line;
        match of.default_of(key) {
            Some(default) if scalar && !default.is_null() => Fate::Default,
            _ => Fate::Goes,
        }
    }

    /// Brings in the value of an entry that goes on.
    fn entry(&mut self, fate: &Fate, key: &str, slot: Slot, value: &Node<'t>, of: Change<'_>) -> Option<()> {
        let change = of.field(key);
        match fate {
            Fate::Changes => self.value(slot, value, change),
            Fate::Default => {
                let new = Some(Wanted::of(of.default_of(key)?));
                self.value(slot, value, Change { new, ..change })
            }
            Fate::Stays => Some(()),
            Fate::Goes => {
                self.forget(value);
                Some(())
            }
        }
    }

    /// The keys that are new, each with the entry behind which it is written.
    fn added<'v>(node: &Node<'t>, fates: &[Fate], of: Change<'v>) -> Vec<(&'v str, Option<usize>)> {
        let there = |key: &str| node.entries().iter().position(|(it, _)| it.text() == Some(key));
        let keys = of.new.map(Wanted::keys).unwrap_or_default();
        let mut order: Vec<&str> = IDENTITY.to_vec();
        let mut out = vec![];
        for key in keys {
            if there(key).is_none() && !of.field(key).same() {
                let mut before = order.iter().rev().filter_map(|it| there(it));
                out.push((key, before.find(|n| fates[*n] != Fate::Goes)));
            }
            order.push(key);
        }
        out
    }

    pub fn block_mapping(&mut self, node: &Node<'t>, of: Change<'_>) -> Option<()> {
        let text = self.text;
        let entries = node.entries();
        let first = text.start(&entries.first()?.0);
        let column = text.column(first);
        let mut fates = vec![];
        let mut ends = vec![];
        for (key, value) in entries {
            let from = text.behind_key(key);
            // `? key` is a way of its own.
            if !text.all[..from].ends_with(':') {
                return None;
            }
            fates.push(self.fate(key.text()?, value, of));
            ends.push(text.end(value, from));
        }
        if fates.iter().all(|fate| *fate == Fate::Goes) && !(text.first_in_line(first) && of.new?.nests()) {
            return None;
        }
        for ((key, value), fate) in entries.iter().zip(&fates) {
            let slot = Slot {
                from: text.behind_key(key),
                indent: column,
                holder: Holder::Key,
            };
            self.entry(fate, key.text()?, slot, value, of)?;
        }
        let mut n = 0;
        while n < entries.len() {
            if fates[n] != Fate::Goes {
                n += 1;
                continue;
            }
            let start = text.start(&entries[n].0);
            if text.first_in_line(start) {
                let line = text.line_start(start);
                // What stands above the first key of a document is the document's.
                let floor = if n == 0 && column == 0 { line } else { 0 };
                let range = text.above(line, column, floor)..text.below(ends[n], column);
                self.edits.push((range, String::new()));
                n += 1;
                continue;
            }
            // Behind a dash: the next key moves up, or the dash stands alone above its comments.
            let next = (n..entries.len()).find(|n| fates[*n] != Fate::Goes)?;
            let to = text.start(&entries[next].0);
            let below = text.below(ends[next - 1], column);
            let end = if text.all[below..to].trim().is_empty() {
                to
            } else {
                let line = &text.all[..below];
                line.strip_suffix("\r\n")
                    .or_else(|| line.strip_suffix('\n'))
                    .unwrap_or(line)
                    .len()
            };
            self.edits.push((start..end, String::new()));
            n = next;
        }
        for (key, behind) in Self::added(node, &fates, of) {
            let at = text.below(ends[behind.unwrap_or(entries.len() - 1)], column);
            let lines = self.style.entry(key, of.new?, Some(node), column);
            self.edits.push(text.insert(at, &lines));
        }
        Some(())
    }

    pub fn flow_mapping(&mut self, node: &Node<'t>, of: Change<'_>) -> Option<()> {
        let text = self.text;
        let entries = node.entries();
        let mut fates = vec![];
        let mut spans: Vec<Range<usize>> = vec![];
        for (key, value) in entries {
            let from = text.behind_key(key);
            // `{key}` has no place for a value.
            if !text.all[..from].ends_with(':') {
                return None;
            }
            fates.push(self.fate(key.text()?, value, of));
            spans.push(text.start(key)..text.end(value, from));
        }
        if fates.iter().all(|fate| *fate == Fate::Goes) {
            return None;
        }
        for ((key, value), fate) in entries.iter().zip(&fates) {
            let slot = Slot {
                from: text.behind_key(key),
                indent: 0,
                holder: Holder::Flow,
            };
            self.entry(fate, key.text()?, slot, value, of)?;
        }
        let mut plan: Vec<(usize, Planned)> = vec![];
        for (n, fate) in fates.iter().enumerate() {
            if *fate != Fate::Goes {
                plan.push((n, Planned::Kept(n)));
            }
        }
        let indent = self.indent_of(spans.first()?.start);
        for (key, behind) in Self::added(node, &fates, of) {
            let written = self.style.flow_entry(key, of.new?, Some(node), indent);
            // Behind its entry and whatever was put there before.
            let behind = behind.unwrap_or(entries.len());
            let at = plan.iter().rposition(|(n, _)| *n <= behind).map_or(0, |at| at + 1);
            plan.insert(at, (behind, Planned::New(written)));
        }
        let plan: Vec<Planned> = plan.into_iter().map(|(_, planned)| planned).collect();
        self.flow_series(node, &spans, &plan)
    }
}
