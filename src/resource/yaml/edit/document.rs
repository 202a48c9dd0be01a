//! Whole declarations: found, added, taken out, printed anew.

use std::collections::HashSet;
use std::ops::Range;

use super::flow::Planned;
use super::text::{Form, Text};
use super::value::Editor;
use super::write::Style;
use crate::resource::document::Document;
use crate::resource::yaml::interpret::is_grouped;
use crate::resource::yaml::node::{Data, Node, Tree};
use crate::resource::yaml::print::{self, print};

/// Where a declaration stands.
pub struct Place<'n, 't> {
    pub node: &'n Node<'t>,
    /// The document's number in the file.
    pub tree: usize,
    /// The group's number in the document and the item's in the group.
    pub item: Option<(usize, usize)>,
}

/// All declarations of a file that was read without a fault, in order.
pub fn places<'n, 't>(trees: &'n [Tree<'t>]) -> Vec<Place<'n, 't>> {
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

impl Text<'_> {
    /// The bytes of a declaration.
    pub fn place(&self, place: &Place<'_, '_>) -> Range<usize> {
        self.range(place.node)
    }

    /// The document printed anew where it stands; what surrounds it stays.
    pub fn reprint(&self, path: &str, place: &Place<'_, '_>, document: &Document) -> String {
        let range = self.range(place.node);
        let flow = self.form(place.node) == Form::Flow;
        let in_flow = place.item.is_some() && flow;
        let indent = self.column(self.content(place.node));
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
            let newline = self.newline(range.start);
            // A flow mapping may stand behind its `---`, a block mapping may not.
            if flow && indent > 0 {
                format!("{newline}{}", self.lines(&printed, 0))
            } else {
                self.lines(&printed, 0)
            }
        };
        // A comment behind the last value stays, but not behind another one's.
        let rest = &self.all[range.end..];
        let (comment, skip) = match rest.trim_start_matches([' ', '\t']) {
            it if it.starts_with('#') && !in_flow => (self.newline(range.end), rest.len() - it.len()),
            _ => ("", 0),
        };
        format!("{}{with}{comment}{}", &self.all[..range.start], &rest[skip..])
    }

    /// The text with a document more.
    pub fn append(&self, trees: &[Tree<'_>], document: &Document) -> String {
        let newline = self.newline(self.all.len());
        let mut out = self.all.to_owned();
        if !out.is_empty() && !out.ends_with('\n') {
            out.push_str(newline);
        }
        if !trees.is_empty() {
            // A comment at the end would be taken for the new document's.
            let last = out.trim_end_matches(['\r', '\n']).rsplit('\n').next();
            let blank = out.ends_with("\n\n") || out.ends_with("\n\r\n");
            if !blank && last.is_some_and(|line| line.starts_with('#')) {
                out.push_str(newline);
            }
            out.push_str("---");
            out.push_str(newline);
        }
        out.push_str(&self.lines(&print(document), 0));
        out.push_str(newline);
        out
    }

    /// The text without one declaration: ways to do it, the tidiest first.
    pub fn remove(&self, place: &Place<'_, '_>, trees: &[Tree<'_>]) -> Vec<Option<String>> {
        match place.item {
            None => self.without_document(place.tree, trees),
            Some((group, item)) => self.without_item(place.tree, group, item, trees),
        }
    }

    fn without(&self, range: Range<usize>) -> Option<String> {
        self.replace(vec![(range, String::new())])
    }

    fn without_item(&self, tree: usize, group: usize, item: usize, trees: &[Tree<'_>]) -> Vec<Option<String>> {
        let root = &trees[tree].root;
        let (key, list) = &root.entries()[group];
        let Data::List(items, _) = list.data() else {
            return vec![];
        };
        let flow = self.form(list) == Form::Flow;
        if items.len() == 1 {
            let others = root
                .entries()
                .iter()
                .filter(|(key, _)| key.text() != Some("apiVersion"));
            if others.count() == 1 {
                return self.without_document(tree, trees);
            }
        }
        if items.len() == 1 && self.form(root) == Form::Block {
            let line = self.line_start(self.start(key));
            let end = self.end(list, self.behind_key(key));
            return vec![self.without(self.above(line, 0, 0)..self.below(end, 0))];
        }
        if !flow {
            let range = self
                .dash(&items[item])
                .filter(|dash| self.first_in_line(*dash))
                .map(|dash| {
                    let (line, column) = (self.line_start(dash), self.column(dash));
                    self.above(line, column, 0)..self.below(self.end(&items[item], dash + 1), column)
                });
            return vec![range.and_then(|range| self.without(range))];
        }
        if items.len() == 1 {
            return vec![self.without(self.range(&items[item]))];
        }
        let mut editor = Editor::new(self, Style::default(), HashSet::new());
        let spans: Vec<Range<usize>> = items.iter().map(|item| self.range(item)).collect();
        let plan: Vec<Planned> = (0..items.len()).filter(|n| *n != item).map(Planned::Kept).collect();
        let done = editor.flow_series(list, &spans, &plan);
        vec![done.and_then(|()| self.replace(editor.edits))]
    }

    fn without_document(&self, tree: usize, trees: &[Tree<'_>]) -> Vec<Option<String>> {
        let range = self.document(tree, trees);
        let tidy = (range.end == self.all.len()).then(|| {
            // Blank lines that parted it from the one before.
            let kept = &self.all[..range.start];
            let blank = kept.trim_end();
            let end = if blank.is_empty() {
                0
            } else {
                self.line_end(blank.len())
            };
            end.min(range.start)..range.end
        });
        vec![tidy.and_then(|range| self.without(range)), self.without(range)]
    }

    /// Where a document begins: its `---`, or its first line.
    fn head(&self, tree: &Tree<'_>) -> usize {
        tree.marker.map_or_else(
            || self.line_start(self.start(&tree.root)),
            |marker| self.byte(marker.index),
        )
    }

    /// Behind the last line that a document needs.
    fn foot(&self, tree: &Tree<'_>) -> usize {
        if tree.root.is_null() {
            return tree.marker.map_or(0, |marker| self.line_end(self.byte(marker.index)));
        }
        let end = self.line_end(self.range(&tree.root).end);
        let next = self.line_end(end);
        if self.all[end..next].trim_end() == "..." {
            next
        } else {
            end
        }
    }

    /// The lines that go with a document: from the comments directly above its `---` (or above its first key where it has
    /// none) to those directly above the next one's. Comments that touch the document before as well may be that one's:
    /// they stay.
    fn document(&self, tree: usize, trees: &[Tree<'_>]) -> Range<usize> {
        let head = self.head(&trees[tree]);
        let floor = tree.checked_sub(1).map_or(0, |before| self.foot(&trees[before]));
        let mut above = head;
        // Directives belong to the `---` below them.
        loop {
            let comments = self.above(above, 0, floor);
            let line = if comments > floor {
                self.line_start(comments - 1)
            } else {
                comments
            };
            if line < comments && line >= floor && self.all[line..].starts_with('%') {
                above = line;
            } else if comments < above {
                above = comments;
            } else {
                break;
            }
        }
        let touches = tree > 0 && above == floor && above < head && !self.all[..above].trim_end().ends_with("\n...");
        let start = if touches { head } else { above };
        let end = trees.get(tree + 1).map_or(self.all.len(), |next| {
            self.above(self.head(next), 0, self.foot(&trees[tree]))
        });
        start..end.max(start)
    }
}

fn has_extension(path: &str, extension: &str) -> bool {
    std::path::Path::new(path)
        .extension()
        .is_some_and(|it| it.eq_ignore_ascii_case(extension))
}
