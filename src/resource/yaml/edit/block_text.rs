//! Literal and folded texts: the header stays as far as it can hold the new text, and so do the lines.

use saphyr_parser::ScalarStyle;

use super::text::{Edit, Text};
use super::value::Slot;
use crate::resource::yaml::node::{self, Node};

/// The changes that bring a new text into a block text; nothing where its form can't hold it.
pub fn edits(
    text: &Text<'_>,
    slot: Slot,
    node: &Node<'_>,
    (old, style): (&str, ScalarStyle),
    new: &str,
) -> Option<Vec<Edit>> {
    let header = text.header(slot.from);
    let written = &text.all[header.clone()];
    let body = text.line_end(header.end);
    let raw_end = text.lines_end(node).max(body);
    if old.trim().is_empty() || new.trim().is_empty() || new.contains(|c: char| c.is_control() && c != '\n') {
        return None;
    }
    let keeps = chomping(written, new);
    // Blank lines behind the text are no part of it, except where they are kept.
    let end = if keeps.contains('+') || written.contains('+') {
        raw_end
    } else {
        text.line_end(text.end(node, slot.from))
    };
    let column = node.start.column as usize - 1;
    let lines = match style {
        ScalarStyle::Folded => folded(&text.all[body..end], column, new)?,
        _ => new.trim_end_matches('\n').split('\n').map(str::to_owned).collect(),
    };
    let newline = text.newline(body);
    let mut out = String::new();
    for line in lines {
        if !line.is_empty() {
            out.extend(std::iter::repeat_n(' ', column));
            out.push_str(&line);
        }
        out.push_str(newline);
    }
    if keeps.contains('+') {
        let ends = new.len() - new.trim_end_matches('\n').len();
        out.extend(std::iter::repeat_n(newline, ends.saturating_sub(1)));
    }
    if !text.all[..end].ends_with('\n') && new.ends_with(|c| c != '\n') {
        out.truncate(out.trim_end_matches(['\r', '\n']).len());
    }
    // A text that begins with blanks, say, needs another header.
    let alone = format!("{}k: {keeps}\n{out}", " ".repeat(slot.indent));
    let trees = node::parse(&alone).ok()?;
    let (_, value) = trees.first()?.root.entries().first()?;
    if value.text()? != new {
        return None;
    }
    let mut edits = vec![];
    if keeps != written {
        edits.push((header, keeps));
    }
    edits.push((body..end, out));
    Some(edits)
}

/// The header that says how the new text ends.
fn chomping(header: &str, new: &str) -> String {
    let ends = new.len() - new.trim_end_matches('\n').len();
    let now = header.chars().find(|c| matches!(c, '-' | '+'));
    let fits = match now {
        Some('-') => ends == 0,
        Some(_) => ends >= 1,
        None => ends == 1,
    };
    if fits {
        return header.to_owned();
    }
    let mut out: String = header.chars().filter(|c| !matches!(c, '-' | '+')).collect();
    match ends {
        0 => out.push('-'),
        1 => {}
        _ => out.push('+'),
    }
    out
}

/// The lines of a folded text. Paragraphs that stay, stay folded as they are; of one that changes, the lines before and
/// behind the change.
fn folded(body: &str, column: usize, new: &str) -> Option<Vec<String>> {
    let mut old: Vec<Vec<&str>> = vec![vec![]];
    for line in body.lines() {
        match line.get(column..).unwrap_or_default() {
            "" => old.push(vec![]),
            line => old.last_mut()?.push(line),
        }
    }
    old.retain(|paragraph| !paragraph.is_empty());
    let mut out = vec![];
    for (n, paragraph) in new.trim_end_matches('\n').split('\n').enumerate() {
        if n > 0 {
            out.push(String::new());
        }
        if paragraph.starts_with([' ', '\t']) {
            return None;
        }
        if paragraph.is_empty() {
            continue;
        }
        let folds = old.iter().map(|lines| fold(paragraph, lines));
        let best = folds.max_by_key(Vec::len).unwrap_or_else(|| vec![paragraph]);
        out.extend(best.into_iter().map(str::to_owned));
    }
    Some(out)
}

/// A paragraph folded where an old one was, as far as both begin and end alike.
fn fold<'p>(paragraph: &'p str, lines: &[&str]) -> Vec<&'p str> {
    let (mut rest, mut out, mut tail) = (paragraph, vec![], vec![]);
    for line in lines {
        match rest.strip_prefix(line).and_then(|it| it.strip_prefix(' ')) {
            Some(behind) => {
                out.push(&rest[..line.len()]);
                rest = behind;
            }
            None => break,
        }
    }
    for line in lines[out.len()..].iter().rev() {
        match rest.strip_suffix(line).and_then(|it| it.strip_suffix(' ')) {
            Some(before) => {
                tail.push(&rest[before.len() + 1..]);
                rest = before;
            }
            None => break,
        }
    }
    out.push(rest);
    out.extend(tail.into_iter().rev());
    out
}
