//! The text of one file, as far as it can be judged byte by byte: UTF-8, control characters, merge markers, lines.

use std::cell::OnceCell;

use crate::kit::{Diagnostic, Position};

use super::Located;

/// Files over this size are refused.
pub const LARGEST: usize = 1 << 20;

/// The longest part of a line that a diagnostic carries, in characters.
const LONGEST_LINE: usize = 4096;

/// A text that can be parsed, with what is needed to point into it.
pub struct Source<'t> {
    pub path: &'t str,
    pub text: &'t str,
    /// The byte at which each line begins, made when the first place is shown.
    lines: OnceCell<Vec<usize>>,
}

/// A place that a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub line: u32,
    /// 1-based, in characters.
    pub column: u32,
    /// In characters; the part beyond the end of the line is not counted.
    pub width: usize,
}

impl<'t> Source<'t> {
    /// Judges the bytes of a file of at most `largest` bytes; a byte order mark is passed over.
    pub fn new(path: &'t str, bytes: &'t [u8], largest: usize) -> Result<Self, Box<Diagnostic>> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        if bytes.len() > largest {
            let size = bytes.len();
            return Err(Box::new(Diagnostic::of_file(
                path,
                format!("the file has {size} bytes, at most {largest} are read"),
            )));
        }
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let valid = std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default();
                let source = Self::of(path, valid);
                let span = source.span_of_byte(valid.len());
                let found = format!("not UTF-8: byte 0x{:02x}", bytes[valid.len()]);
                let mut it = source.at(span, found).hint("save the file as UTF-8");
                it.excerpt = None;
                return Err(Box::new(it));
            }
        };
        let source = Self::of(path, text);
        match source.fault() {
            Some(fault) => Err(Box::new(fault)),
            None => Ok(source),
        }
    }

    /// A text that is known to be sound.
    pub fn of(path: &'t str, text: &'t str) -> Self {
        Self {
            path,
            text,
            lines: OnceCell::new(),
        }
    }

    /// What no YAML file may hold, though a parser might take it.
    fn fault(&self) -> Option<Diagnostic> {
        let bytes = self.text.as_bytes();
        // One cheap pass decides; the place is looked for only where there is a fault.
        let control = |b: &u8| (*b < 0x20 && !matches!(b, b'\t' | b'\n' | b'\r')) || *b == 0x7f;
        if bytes.iter().any(control) || memchr::memchr(0xc2, bytes).is_some() {
            let found = self
                .text
                .char_indices()
                .find(|(_, c)| c.is_control() && !matches!(c, '\t' | '\n' | '\r'));
            if let Some((at, c)) = found {
                let message = format!("control character U+{:04X}", u32::from(c));
                return Some(
                    self.at(self.span_of_byte(at), message)
                        .hint("in a quoted text write it as an escape"),
                );
            }
        }
        for at in memchr::memchr_iter(b'\r', bytes) {
            if bytes.get(at + 1) != Some(&b'\n') {
                let message = "carriage return without a line feed";
                return Some(
                    self.at(self.span_of_byte(at), message)
                        .hint("end lines with a line feed"),
                );
            }
        }
        let mut start = 0;
        loop {
            if let Some(width) = merge_marker(&bytes[start..]) {
                let span = Span {
                    width,
                    ..self.span_of_byte(start)
                };
                return Some(
                    self.at(span, "merge marker")
                        .hint("resolve the merge and remove the markers"),
                );
            }
            start += memchr::memchr(b'\n', &bytes[start..])? + 1;
        }
    }

    fn lines(&self) -> &[usize] {
        self.lines.get_or_init(|| {
            std::iter::once(0)
                .chain(memchr::memchr_iter(b'\n', self.text.as_bytes()).map(|at| at + 1))
                .collect()
        })
    }

    /// The text of a line without its end.
    pub fn line(&self, line: u32) -> &'t str {
        let lines = self.lines();
        let n = line.saturating_sub(1) as usize;
        let Some(start) = lines.get(n) else { return "" };
        let end = lines.get(n + 1).map_or(self.text.len(), |next| next - 1);
        self.text[*start..end].trim_end_matches('\r')
    }

    /// The place of a byte.
    pub fn span_of_byte(&self, at: usize) -> Span {
        let lines = self.lines();
        let line = lines.partition_point(|start| *start <= at);
        let start = lines[line.saturating_sub(1)];
        let column = self.text[start..at].chars().count() + 1;
        Span {
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: u32::try_from(column).unwrap_or(u32::MAX),
            width: 1,
        }
    }

    /// A diagnostic that points at a place.
    pub fn at(&self, span: Span, message: impl Into<String>) -> Diagnostic {
        let (line, width) = self.shown(span);
        Diagnostic {
            line: span.line,
            column: span.column,
            excerpt: (!line.is_empty()).then_some(line),
            width: u32::try_from(width).unwrap_or(1),
            ..Diagnostic::of_file(self.path, message)
        }
    }

    /// A place with what is needed to show it later, without the file.
    pub fn located(&self, span: Span) -> Located {
        let (line, width) = self.shown(span);
        Located {
            position: Position {
                line: span.line,
                column: span.column,
            },
            width,
            line,
        }
    }

    /// The line of a place, bounded, and how much of it is meant. Nothing is shown of what lies far out in a long line.
    fn shown(&self, span: Span) -> (String, usize) {
        let line = self.line(span.line);
        let before = span.column.saturating_sub(1) as usize;
        let end = line.char_indices().nth(LONGEST_LINE).map_or(line.len(), |(at, _)| at);
        let rest = line[..end].chars().count().saturating_sub(before);
        if rest == 0 && before >= LONGEST_LINE {
            return (String::new(), 1);
        }
        (line[..end].to_owned(), span.width.clamp(1, rest.max(1)))
    }
}

/// The width of the marker that git left at the start of this line, if it is one.
fn merge_marker(line: &[u8]) -> Option<usize> {
    let first = *line.first()?;
    if !matches!(first, b'<' | b'=' | b'>' | b'|') {
        return None;
    }
    let width = line.iter().take_while(|b| **b == first).count();
    let ends = matches!(line.get(width), None | Some(b' ' | b'\n' | b'\r'));
    (width == 7 && ends).then_some(width)
}
