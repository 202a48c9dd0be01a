//! A text as bytes and lines: where nodes stand in it, which comments belong to what, and how changes are put in.

use std::ops::Range;

use saphyr_parser::ScalarStyle;

use crate::resource::yaml::node::{Data, Layout, Node};

/// A piece of text that takes the place of some bytes.
pub type Edit = (Range<usize>, String);

/// A text whose places are counted in bytes, where the parser counts characters.
pub struct Text<'t> {
    pub all: &'t str,
    /// The byte of each character; nothing where all are one byte.
    bytes: Option<Vec<usize>>,
    newline: &'static str,
}

/// How a value is written, with what the parser does not tell of one that has an anchor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Nothing is written.
    Nothing,
    /// `*name`.
    Alias,
    /// A plain or quoted text, a number.
    Inline,
    /// A literal or folded text.
    Lines,
    /// A list or mapping in brackets.
    Flow,
    /// A list or mapping by indentation.
    Block,
}

impl<'t> Text<'t> {
    pub fn new(text: &'t str) -> Self {
        let wide = || text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        Self {
            all: text,
            bytes: (!text.is_ascii()).then(wide),
            newline: if text.contains("\r\n") { "\r\n" } else { "\n" },
        }
    }

    /// The byte of a character.
    pub fn byte(&self, index: usize) -> usize {
        match &self.bytes {
            Some(bytes) => bytes.get(index).copied().unwrap_or(self.all.len()),
            None => index.min(self.all.len()),
        }
    }

    pub fn line_start(&self, at: usize) -> usize {
        self.all[..at].rfind('\n').map_or(0, |n| n + 1)
    }

    /// Behind the end of the line.
    pub fn line_end(&self, at: usize) -> usize {
        self.all[at..].find('\n').map_or(self.all.len(), |n| at + n + 1)
    }

    /// How many bytes stand before this one in its line.
    pub fn column(&self, at: usize) -> usize {
        at - self.line_start(at)
    }

    /// The line end that is usual around a place; a text may have both.
    pub fn newline(&self, at: usize) -> &'static str {
        let before = self.all[..at].rfind('\n');
        match before.or_else(|| self.all[at..].find('\n').map(|n| at + n)) {
            Some(n) if self.all[..n].ends_with('\r') => "\r\n",
            Some(_) => "\n",
            None => self.newline,
        }
    }

    /// Whether nothing but spaces stands before a place in its line.
    pub fn first_in_line(&self, at: usize) -> bool {
        self.all[self.line_start(at)..at].trim().is_empty()
    }

    /// Whether nothing but a comment follows in the line.
    pub fn last_in_line(&self, at: usize) -> bool {
        let rest = self.all[at..self.line_end(at)].trim();
        rest.is_empty() || rest.starts_with('#')
    }

    /// Past blanks, line ends and comments, to the next thing that counts.
    pub fn skip(&self, mut at: usize) -> usize {
        loop {
            let rest = &self.all[at..];
            let next = rest.trim_start();
            at += rest.len() - next.len();
            let comment = next.starts_with('#') && (at == 0 || self.all[..at].ends_with(char::is_whitespace));
            if !comment {
                return at;
            }
            at = self.line_end(at);
        }
    }

    /// Where a node begins, its anchor counted in.
    pub fn start(&self, node: &Node<'_>) -> usize {
        self.byte(node.start.index)
    }

    /// Where a node begins behind its anchor.
    pub fn content(&self, node: &Node<'_>) -> usize {
        let start = self.start(node);
        match self.anchor(start) {
            Some(end) => self.skip(end),
            None => start,
        }
    }

    /// Behind the anchor that stands here.
    pub fn anchor(&self, at: usize) -> Option<usize> {
        let rest = &self.all[at..];
        let end = || rest.find(|c: char| c.is_whitespace() || ",[]{}".contains(c));
        rest.starts_with('&').then(|| at + end().unwrap_or(rest.len()))
    }

    pub fn form(&self, node: &Node<'_>) -> Form {
        if node.shared() && self.all[self.start(node)..].starts_with('*') {
            return Form::Alias;
        }
        match node.data() {
            Data::Scalar(text, ScalarStyle::Plain) if text.is_empty() => Form::Nothing,
            Data::Scalar(_, ScalarStyle::Literal | ScalarStyle::Folded) => Form::Lines,
            Data::Scalar(..) => Form::Inline,
            Data::List(_, layout) | Data::Mapping(_, layout) => {
                // Where an anchor stands the parser tells no layout, and where not the place may be that of the first entry.
                let opens = || self.all[self.content(node)..].starts_with(['[', '{']);
                match layout {
                    Layout::Flow if !node.shared() || opens() => Form::Flow,
                    _ => Form::Block,
                }
            }
            Data::Shared(_) => Form::Alias,
        }
    }

    /// Behind the colon of a key.
    pub fn behind_key(&self, key: &Node<'_>) -> usize {
        let end = self.byte(key.end.index);
        let rest = &self.all[end..];
        let blanks = rest.len() - rest.trim_start_matches([' ', '\t']).len();
        if rest[blanks..].starts_with(':') {
            end + blanks + 1
        } else {
            end
        }
    }

    /// Behind the last character of a value that stands behind `from`, without the line end and without comments.
    pub fn end(&self, node: &Node<'_>, from: usize) -> usize {
        let end = self.byte(node.end.index);
        match self.form(node) {
            // The parser may see it at its key, and its anchor elsewhere.
            Form::Nothing => {
                let at = from + self.all[from..].len() - self.all[from..].trim_start_matches([' ', '\t']).len();
                self.anchor(at).unwrap_or(from)
            }
            Form::Flow => self.closed(node).unwrap_or(end),
            // The parser counts quotes from the anchor.
            Form::Inline if node.shared() && self.all[self.content(node)..].starts_with(['"', '\'']) => {
                self.unquoted(self.content(node))
            }
            Form::Alias | Form::Inline => {
                let start = self.start(node);
                start + self.all[start..end.max(start)].trim_end().len()
            }
            Form::Lines => {
                let header = self.header(from);
                let body = self.line_end(header.end);
                let end = self.lines_end(node);
                if end <= body {
                    return header.end;
                }
                let lines = &self.all[body..end];
                if self.all[header.clone()].contains('+') {
                    let lines = lines.strip_suffix('\n').unwrap_or(lines);
                    return body + lines.strip_suffix('\r').unwrap_or(lines).len();
                }
                match lines.trim_end() {
                    "" => header.end,
                    lines => body + lines.len(),
                }
            }
            Form::Block => match node.data() {
                Data::List(items, _) => items.last().map_or(from, |item| {
                    self.end(item, self.dash(item).map_or_else(|| self.start(item), |dash| dash + 1))
                }),
                _ => node
                    .entries()
                    .last()
                    .map_or(from, |(key, value)| self.end(value, self.behind_key(key))),
            },
        }
    }

    /// Behind the bracket that closes a flow collection. The parser tells another place where a comma stands before it.
    fn closed(&self, node: &Node<'_>) -> Option<usize> {
        let content = self.content(node);
        let last = match node.data() {
            Data::List(items, _) => items.last().map(|item| self.end(item, self.start(item))),
            _ => node
                .entries()
                .last()
                .map(|(key, value)| self.end(value, self.behind_key(key))),
        };
        let mut at = self.skip(last.unwrap_or(content + 1));
        if last.is_some() && self.all[at..].starts_with(',') {
            at = self.skip(at + 1);
        }
        self.all[at..].starts_with([']', '}']).then_some(at + 1)
    }

    /// Behind the quote that closes the text that begins here.
    fn unquoted(&self, at: usize) -> usize {
        let quote = &self.all[at..=at];
        let mut escaped = false;
        let mut end = at + 1;
        for c in self.all[at + 1..].chars() {
            end += c.len_utf8();
            match c {
                _ if escaped => escaped = false,
                '\\' if quote == "\"" => escaped = true,
                '\'' if quote == "'" && self.all[end..].starts_with('\'') => escaped = true,
                c if quote.starts_with(c) => break,
                _ => {}
            }
        }
        end
    }

    /// The bytes of a whole node that has no key.
    pub fn range(&self, node: &Node<'_>) -> Range<usize> {
        let start = self.start(node);
        start..self.end(node, start)
    }

    /// The dash of an item of a block list. Of block texts, and of what stands below its dash, the parser tells the first
    /// line of the content alone.
    pub fn dash(&self, item: &Node<'_>) -> Option<usize> {
        let lead = |line: usize, text: &str| {
            let run = text.len() - text.trim_start_matches([' ', '-']).len();
            let dashes = text[..run].trim_end();
            let apart = text[dashes.len()..].is_empty() || text[dashes.len()..].starts_with(char::is_whitespace);
            (dashes.ends_with('-') && apart).then(|| line + dashes.len() - 1)
        };
        let start = self.start(item);
        let mut line = self.line_start(start);
        let before = &self.all[line..start];
        if !before.trim().is_empty() {
            let all = before.trim_start_matches([' ', '-']).is_empty();
            return lead(line, before).filter(|_| all);
        }
        while line > 0 {
            let end = line;
            line = self.line_start(line - 1);
            let text = &self.all[line..end];
            if !text.trim().is_empty() && !text.trim_start().starts_with('#') {
                return lead(line, text);
            }
        }
        None
    }

    /// Behind the last line of a block text, blank ones counted in; the parser may tell the first word of what follows.
    pub fn lines_end(&self, node: &Node<'_>) -> usize {
        let end = self.byte(node.end.index);
        if self.first_in_line(end) {
            self.line_start(end)
        } else {
            end
        }
    }

    /// The `|2-` of a block text that stands behind `from`.
    pub fn header(&self, from: usize) -> Range<usize> {
        let blanks = |at: usize| at + self.all[at..].len() - self.all[at..].trim_start_matches([' ', '\t']).len();
        let at = blanks(from);
        let at = self.anchor(at).map_or(at, blanks);
        let rest = &self.all[at..];
        at..at + rest.find(char::is_whitespace).unwrap_or(rest.len())
    }

    /// The comment behind the `|2-` of a block text that stands behind `from`, blanks before it counted in; nothing
    /// where the block text ends before it.
    pub fn beside(&self, from: usize, end: usize) -> &'t str {
        let header = self.header(from).end;
        let line = self.content_end(header);
        if line < end { &self.all[header..line] } else { "" }
    }

    /// Behind the last thing that stands in the line of a place, comments counted in.
    pub fn content_end(&self, at: usize) -> usize {
        at + self.all[at..self.line_end(at)].trim_end().len()
    }

    /// Where the comment begins that belongs to what begins in a line: the lines directly above it, as far as they hold
    /// nothing else and are indented alike. A blank line parts them.
    pub fn above(&self, line: usize, column: usize, floor: usize) -> usize {
        let mut start = line;
        while start > floor {
            let before = self.line_start(start - 1);
            let text = &self.all[before..start];
            if before < floor || text.len() - text.trim_start_matches(' ').len() != column {
                break;
            }
            if !text[column..].starts_with('#') {
                break;
            }
            start = before;
        }
        start
    }

    /// Behind the line of a place and the comments below it that are indented further than `column`.
    pub fn below(&self, at: usize, column: usize) -> usize {
        let mut end = self.line_end(at);
        while end < self.all.len() {
            let next = self.line_end(end);
            let line = &self.all[end..next];
            let text = line.trim_start_matches(' ');
            if !text.starts_with('#') || line.len() - text.len() <= column {
                break;
            }
            end = next;
        }
        end
    }

    /// Whole lines put in at the beginning of a line, or behind a last line that has no end.
    pub fn insert(&self, at: usize, lines: &[String]) -> Edit {
        let newline = self.newline(at);
        let open = at == self.all.len() && at > 0 && !self.all.ends_with('\n');
        let mut out = String::new();
        for line in lines {
            if open {
                out.push_str(newline);
            }
            out.push_str(line);
            if !open {
                out.push_str(newline);
            }
        }
        (at..at, out)
    }

    /// A printed text with this text's line ends, all lines but the first indented; no line end behind the last.
    pub fn lines(&self, printed: &str, indent: usize) -> String {
        let mut out = String::with_capacity(printed.len() + 16);
        for (n, line) in printed.strip_suffix('\n').unwrap_or(printed).split('\n').enumerate() {
            if n > 0 {
                out.push_str(self.newline);
                if !line.is_empty() {
                    out.extend(std::iter::repeat_n(' ', indent));
                }
            }
            out.push_str(line);
        }
        out
    }

    /// The part of the text with changes put in; nothing where they overlap or lie outside of it.
    pub fn apply(&self, part: Range<usize>, mut edits: Vec<Edit>) -> Option<String> {
        edits.sort_by_key(|(range, _)| (range.start, range.end));
        let mut out = String::with_capacity(part.len() + 64);
        let mut at = part.start;
        for (range, with) in edits {
            out.push_str(self.all.get(at..range.start)?);
            out.push_str(&with);
            at = range.end;
        }
        out.push_str(self.all.get(at..part.end)?);
        Some(out)
    }

    /// The whole text with changes put in.
    pub fn replace(&self, edits: Vec<Edit>) -> Option<String> {
        self.apply(0..self.all.len(), edits)
    }
}
