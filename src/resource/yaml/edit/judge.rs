//! The judge of the tests: what an edit must leave alone, told from the nodes of the old text.
//!
//! A line may change only if a value stands in it that changes, or an entry that goes; of lists and mappings in brackets
//! also those in which the commas beside it stand. Every other line must appear in the result, in order, byte for byte. All
//! comments must, but those of entries that go.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Range;

use serde_json::Value;

use super::document::{Place, places};
use super::put;
use super::text::{Form, Text};
use super::value::anchored;
use super::{EditError, outline};
use crate::resource::document::Document;
use crate::resource::id::Id;
use crate::resource::yaml::node::{self, Data, Node, Tree};

/// Makes an edit and judges it: the text then, or which law it breaks.
pub fn edit(path: &str, before: &str, id: &Id, new: Option<&Document>) -> Result<Option<String>, String> {
    let broken = |law: &str, after: &str| {
        Err(format!(
            "{law}\n--- before\n{before}\n--- after\n{after}\n---\n{id} {new:?}"
        ))
    };
    let after = match put(path, before, id, new) {
        Ok(after) => after,
        // Anchors that other documents use are minded.
        Err(EditError::Refused(_)) if before.contains('&') => return Ok(None),
        Err(error) => return broken(&error.to_string(), ""),
    };
    let told = outline(path, strip(before)).unwrap_or_default();
    let Some(old) = told.iter().find(|it| it.id == *id) else {
        return broken("not a document of the text", "");
    };
    let Some(after) = after else {
        return match new {
            None => Ok(None),
            Some(_) => broken("the file goes", ""),
        };
    };
    let said =
        outline(path, strip(&after)).map(|told| told.into_iter().map(|it| (it.id, it.digest)).collect::<Vec<_>>());
    let stay = told.iter().filter(|it| it.id != *id || new.is_some()).cloned();
    let want: Vec<_> = stay
        .map(|it| match new {
            Some(new) if it.id == *id => (it.id, new.digest()),
            _ => (it.id, it.digest),
        })
        .collect();
    if said.as_deref() != Some(&want[..]) {
        return broken("it does not say what was asked, where it was asked", &after);
    }
    if let Err(law) = lines(before, strip(&after), &told, &old.document, new) {
        return broken(&law, &after);
    }
    if new.is_some() {
        match put(path, &after, id, new) {
            Ok(Some(same)) if same == after => {}
            _ => return broken("the same again changes something", &after),
        }
        let back = put(path, &after, id, Some(&old.document)).ok().flatten();
        let said = back.as_deref().and_then(|back| outline(path, strip(back)));
        let says = |told: Vec<super::Told>| told.iter().any(|it| it.digest == old.digest);
        if !said.is_some_and(says) {
            return broken("there is no way back", &after);
        }
    }
    Ok(Some(after))
}

fn strip(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// The laws about lines and comments.
fn lines(
    before: &str,
    after: &str,
    told: &[super::Told],
    old: &Document,
    new: Option<&Document>,
) -> Result<(), String> {
    let body = strip(before);
    let text = Text::new(body);
    let trees = node::parse(body).map_err(|_| "unreadable".to_owned())?;
    let all = places(&trees);
    let place = told
        .iter()
        .zip(&all)
        .find(|(it, _)| it.id == old.id)
        .map(|(_, place)| place);
    let place = place.ok_or("missing")?;
    let mut judge = Judge {
        text: &text,
        free: BTreeSet::new(),
        gone: vec![],
        touched: HashSet::new(),
    };
    match new {
        Some(new) => judge.value(place.node, text.start(place.node), Some(&old.spec), Some(&new.spec)),
        None => judge.removal(place, &trees),
    }
    let aliases = judge.touched.clone();
    for tree in &trees {
        judge.aliases(&tree.root, &aliases);
    }
    let mut rest = after.split_inclusive('\n');
    for (n, line) in body.split_inclusive('\n').enumerate() {
        let last = !line.ends_with('\n');
        let same = |it: &str| it == line || (last && it.trim_end_matches(['\r', '\n']) == line);
        if !judge.free.contains(&n) && !rest.any(same) {
            return Err(format!("line {} is lost: {line:?}", n + 1));
        }
    }
    let bare = |text: &str| {
        text.split_inclusive('\n')
            .filter(|it| it.ends_with('\n') && !it.ends_with("\r\n"))
            .count()
    };
    let windows = body.contains('\n') && bare(body) == 0;
    if (windows && bare(after) > 0) || (!body.contains('\r') && after.contains('\r')) {
        return Err("lines end in another way".to_owned());
    }
    let (kept, there) = (count(&text, &trees, &judge.gone), comments_of(after)?);
    for (comment, times) in &kept {
        if there.get(comment).is_none_or(|it| it < times) {
            return Err(format!("a comment is lost: {comment}"));
        }
    }
    let all = count(&text, &trees, &[]);
    match there
        .iter()
        .find(|(comment, times)| all.get(*comment).is_none_or(|it| it < times))
    {
        Some((comment, _)) => Err(format!("a comment is made up: {comment}")),
        None => Ok(()),
    }
}

fn comments_of(text: &str) -> Result<BTreeMap<String, usize>, String> {
    let trees = node::parse(text).map_err(|_| "unreadable".to_owned())?;
    Ok(count(&Text::new(text), &trees, &[]))
}

/// The comments that stand outside of some places.
fn count(text: &Text<'_>, trees: &[Tree<'_>], but: &[Range<usize>]) -> BTreeMap<String, usize> {
    let mut taken = but.to_vec();
    for tree in trees {
        scalars(text, &tree.root, text.start(&tree.root), &mut taken);
    }
    let mut out = BTreeMap::new();
    let mut start = 0;
    for line in text.all.split_inclusive('\n') {
        let at = line.match_indices('#').map(|(at, _)| at).find(|at| {
            let apart = *at == 0 || line[..*at].ends_with([' ', '\t']);
            apart && !taken.iter().any(|range| range.contains(&(start + at)))
        });
        if let Some(at) = at {
            *out.entry(line[at..].trim_end().to_owned()).or_insert(0) += 1;
        }
        start += line.len();
    }
    out
}

fn scalars(text: &Text<'_>, node: &Node<'_>, from: usize, out: &mut Vec<Range<usize>>) {
    match text.form(node) {
        Form::Alias | Form::Nothing => {}
        Form::Inline => out.push(text.content(node)..text.end(node, from)),
        Form::Lines => out.push(text.line_end(text.header(from).end)..text.end(node, from).max(from)),
        Form::Flow | Form::Block => match node.data() {
            Data::List(items, _) => items
                .iter()
                .for_each(|item| scalars(text, item, behind(text, item), out)),
            _ => node.entries().iter().for_each(|(key, value)| {
                scalars(text, key, text.start(key), out);
                scalars(text, value, text.behind_key(key), out);
            }),
        },
    }
}

fn behind(text: &Text<'_>, item: &Node<'_>) -> usize {
    match text.form(item) {
        Form::Lines => text.dash(item).map_or_else(|| text.start(item), |dash| dash + 1),
        _ => text.start(item),
    }
}

struct Judge<'x, 't> {
    text: &'x Text<'t>,
    /// Lines that may change, from 0.
    free: BTreeSet<usize>,
    /// Places whose comments may go.
    gone: Vec<Range<usize>>,
    /// Anchors whose value changes.
    touched: HashSet<super::value::Anchored>,
}

impl<'t> Judge<'_, 't> {
    fn free(&mut self, range: Range<usize>) {
        let line = |at: usize| memchr::memchr_iter(b'\n', &self.text.all.as_bytes()[..at]).count();
        self.free.extend(line(range.start)..=line(range.end.max(range.start)));
    }

    /// An entry with the comments directly above it, and those below that are indented further.
    fn entry_goes(&mut self, start: usize, end: usize) {
        let text = self.text;
        let column = text.column(start);
        let mut from = text.line_start(start);
        if text.first_in_line(start) {
            while from > 0 {
                let line = text.line_start(from - 1);
                let before = &text.all[line..from];
                if before.trim_start_matches(' ').starts_with('#') && before.find('#') == Some(column) {
                    from = line;
                } else {
                    break;
                }
            }
        } else {
            from = start;
        }
        let mut to = text.line_end(end);
        while to < text.all.len() {
            let line = &text.all[to..text.line_end(to)];
            if line.trim_start_matches(' ').starts_with('#') && line.find('#') > Some(column) {
                to += line.len();
            } else {
                break;
            }
        }
        self.gone.push(from..to);
        self.free(from..to.saturating_sub(1).max(from));
    }

    fn drop_anchors(&mut self, node: &Node<'t>) {
        self.touched.extend(anchored(node));
        match node.data() {
            Data::List(items, _) => items.iter().for_each(|item| self.drop_anchors(item)),
            _ => node.entries().iter().for_each(|(_, value)| self.drop_anchors(value)),
        }
    }

    fn aliases(&mut self, node: &Node<'t>, of: &HashSet<super::value::Anchored>) {
        if self.text.form(node) == Form::Alias {
            if anchored(node).is_some_and(|it| of.contains(&it)) {
                self.free(self.text.range(node));
            }
            return;
        }
        match node.data() {
            Data::List(items, _) => items.iter().for_each(|item| self.aliases(item, of)),
            _ => node.entries().iter().for_each(|(_, value)| self.aliases(value, of)),
        }
    }

    /// Whether something of this value may change: it, and what it relies on.
    fn value(&mut self, node: &Node<'t>, from: usize, old: Option<&Value>, new: Option<&Value>) {
        if old == new {
            return;
        }
        let text = self.text;
        let form = text.form(node);
        let end = text.end(node, from);
        if form == Form::Alias {
            return self.free(from..end);
        }
        self.touched.extend(anchored(node));
        let empty = Value::Object(serde_json::Map::new());
        match (node.data(), new) {
            (Data::Mapping(entries, _), Some(new @ Value::Object(_))) if !entries.is_empty() => {
                let old = old.unwrap_or(&empty);
                let side = |value: &'_ Value, key: &Node<'_>| value.get(key.text().unwrap_or_default()).cloned();
                let mut spans = vec![];
                for (key, value) in entries {
                    let from = text.behind_key(key);
                    let (a, b) = (side(old, key), side(new, key));
                    let goes = a != b && b.is_none();
                    spans.push((text.start(key)..text.end(value, from), goes));
                    if goes {
                        self.drop_anchors(value);
                        if form == Form::Block {
                            self.entry_goes(text.start(key), text.end(value, from));
                        }
                    } else {
                        self.value(value, from, a.as_ref(), b.as_ref());
                    }
                }
                let there = |key: &str| node.entry(key).is_some();
                let more = new
                    .as_object()
                    .into_iter()
                    .flatten()
                    .any(|(key, value)| !there(key) && old.get(key) != Some(value));
                // Behind a dash the next key moves up.
                let next = spans.iter().find(|(_, goes)| !goes).filter(|_| spans[0].1);
                if let Some((next, _)) = next.filter(|_| form == Form::Block && !text.first_in_line(spans[0].0.start)) {
                    self.free(spans[0].0.start..next.start);
                }
                if spans.iter().all(|(_, goes)| *goes) {
                    self.free(from..end);
                    if form == Form::Flow {
                        self.gone.push(from..end);
                    }
                } else if form == Form::Flow {
                    self.commas(&spans, more);
                }
            }
            (Data::List(items, _), Some(Value::Array(new))) if !items.is_empty() => {
                let old = old.and_then(Value::as_array).cloned().unwrap_or_default();
                self.list(node, items, &old, new);
            }
            (Data::Scalar(..), Some(new)) if !new.is_array() && !new.is_object() => {
                let start = if form == Form::Inline { text.content(node) } else { from };
                self.free(start..end.max(start));
            }
            _ => {
                self.drop_anchors(node);
                self.gone.push(text.content(node).max(from)..end.max(from));
                self.free(from..end);
            }
        }
    }

    fn list(&mut self, node: &Node<'t>, items: &[Node<'t>], old: &[Value], new: &[Value]) {
        let text = self.text;
        let named = |key: &str| {
            let unique = |list: &[Value]| {
                let names: Vec<_> = list.iter().map(|it| it.get(key).and_then(Value::as_str)).collect();
                names.iter().all(Option::is_some) && names.iter().collect::<HashSet<_>>().len() == names.len()
            };
            unique(old) && unique(new)
        };
        let key = ["mountPath", "name"].into_iter().find(|key| named(key));
        let id = |it: &Value| key.and_then(|key| it.get(key)).unwrap_or(it).to_string();
        let (from, to): (Vec<_>, Vec<_>) = (old.iter().map(id).collect(), new.iter().map(id).collect());
        let once = |list: &[String], it: &String| list.iter().filter(|other| *other == it).count() == 1;
        let pair = |n: usize| {
            let it = &from[n];
            (once(&from, it) && once(&to, it))
                .then(|| to.iter().position(|other| other == it))
                .flatten()
        };
        let pairs: Vec<Option<usize>> = (0..from.len()).map(pair).collect();
        let order: Vec<usize> = pairs.iter().copied().flatten().collect();
        let moved = !order.is_sorted();
        let left = |list: usize| list - order.len();
        // One entry in the same place with another value.
        let changed = (left(from.len()) == 1 && left(to.len()) == 1 && from.len() == to.len())
            .then(|| pairs.iter().position(Option::is_none))
            .flatten()
            .filter(|n| !order.contains(n) && key.is_none());
        let mut spans = vec![];
        for (n, item) in items.iter().enumerate() {
            let dash = text.dash(item).filter(|_| text.form(node) == Form::Block);
            let start = dash.unwrap_or_else(|| text.start(item));
            let end = text.end(item, dash.map_or(start, |dash| dash + 1));
            let inner = dash.map_or(start, |dash| dash + 1);
            let there = pairs[n].or(changed.filter(|it| *it == n));
            match there {
                Some(to) if !moved => self.value(item, inner, old.get(n), new.get(to)),
                Some(_) => {
                    let column = text.column(start);
                    let below = text.below(end, column).saturating_sub(1);
                    self.free(text.above(text.line_start(start), column, 0)..below.max(end));
                }
                None => {
                    self.drop_anchors(item);
                    match text.form(node) {
                        Form::Block => self.entry_goes(start, end),
                        _ => self.gone.push(start..end),
                    }
                }
            }
            spans.push((start..end, there.is_none() || moved));
        }
        if text.form(node) == Form::Flow && spans.iter().all(|(_, goes)| *goes) && !moved {
            // All of it is written anew, in its brackets.
            let range = text.range(node);
            self.free(range.clone());
            // Where each entry has a comment of its own, the last one's may stand behind the bracket.
            let each = spans.iter().rev().nth(1).is_some_and(|(before, _)| {
                let line = before.end..text.line_end(before.end);
                line.end < range.end && text.all[line].contains('#')
            });
            let end = if each { text.line_end(range.end) } else { range.end };
            self.gone.push(range.start..end);
        } else if text.form(node) == Form::Flow {
            self.commas(&spans, order.len() < new.len() || moved);
        }
    }

    /// In brackets, an entry that comes or goes takes a comma with it; in a line that holds several, the line changes.
    fn commas(&mut self, spans: &[(Range<usize>, bool)], more: bool) {
        let text = self.text;
        for (n, (span, goes)) in spans.iter().enumerate().filter(|(_, (_, goes))| *goes) {
            debug_assert!(goes);
            let from = text.above(text.line_start(span.start), text.column(span.start), 0);
            let own = text.first_in_line(span.start);
            // A comment goes with all that stands in its line.
            let line = text.line_start(span.end);
            let here = |at: usize| text.line_start(at) == line;
            let shared = spans.iter().any(|(it, goes)| !goes && (here(it.start) || here(it.end)));
            let to = if shared { span.end } else { text.line_end(span.end) };
            self.gone.push(if own { from } else { span.start }..to);
            self.free(if own { from } else { span.start }..span.end);
            let comma = text.skip(span.end);
            if text.all[comma..].starts_with(',') {
                self.free(comma..comma);
            }
            if n > 0 {
                let before = spans[n - 1].0.end;
                self.free(before..before);
            }
        }
        if more {
            // A new entry in brackets on one line stands in that line; in lines of its own only the last gets a comma.
            let one_line = spans.iter().any(|(span, _)| !text.first_in_line(span.start));
            for (n, (span, _)) in spans.iter().enumerate() {
                if one_line || n + 1 == spans.len() {
                    self.free(span.end..span.end);
                    self.free(span.start..span.start);
                }
            }
        }
    }

    fn removal(&mut self, place: &Place<'_, 't>, trees: &[Tree<'t>]) {
        let text = self.text;
        self.drop_anchors(place.node);
        let n = place.tree;
        let root = &trees[n].root;
        let mut alone = place.item.is_none();
        if let Some((group, item)) = place.item {
            let (key, list) = &root.entries()[group];
            let Data::List(items, _) = list.data() else { return };
            let others = root
                .entries()
                .iter()
                .filter(|(key, _)| key.text() != Some("apiVersion"))
                .count();
            alone = items.len() == 1 && others == 1;
            if !alone {
                let spans = |(n, it): (usize, &Node<'t>)| (text.range(it), n == item);
                if text.form(list) == Form::Flow {
                    let spans: Vec<_> = items.iter().enumerate().map(spans).collect();
                    self.commas(&spans, false);
                } else {
                    let start = text.dash(&items[item]).unwrap_or_else(|| text.start(&items[item]));
                    self.entry_goes(start, text.end(&items[item], start + 1));
                }
                if items.len() == 1 {
                    self.entry_goes(text.start(key), text.end(list, text.behind_key(key)));
                }
                return;
            }
        }
        if !alone {
            return;
        }
        let head = |n: usize| {
            let tree = &trees[n];
            text.line_start(
                tree.marker
                    .map_or_else(|| text.start(&tree.root), |it| text.byte(it.index)),
            )
        };
        let comments = |at: usize| text.above(at, 0, 0);
        let from = comments(head(n));
        let to = if n + 1 < trees.len() {
            comments(head(n + 1))
        } else {
            text.all.len()
        };
        self.gone.push(from..to);
        self.free(from..to.saturating_sub(1).max(from));
        // Blank lines before it may go with it.
        let mut blank = from;
        while blank > 0 && text.all[text.line_start(blank - 1)..blank].trim().is_empty() {
            blank = text.line_start(blank - 1);
            self.free(blank..blank);
        }
    }
}
