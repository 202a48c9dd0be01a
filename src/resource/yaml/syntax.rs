//! What the parsers say about a broken text, in words that help.

use crate::kit::Diagnostic;

use super::node::Broken;
use super::source::{Source, Span};

/// What the parsers say, what we say, and the way out.
const WORDS: &[(&str, &str, &str)] = &[
    (
        "recursion limit exceeded",
        "nested too deeply",
        "64 lists and mappings within each other at most",
    ),
    (
        "mapping values are not allowed",
        "a second \": \" in one value",
        "quote a text that contains \": \", or put the field on its own line with the right indentation",
    ),
    (
        "illegal placement of ':'",
        "this list or mapping is not closed before the next field",
        "close it with ] or }",
    ),
    (
        "block sequence entries are not allowed",
        "a list can't begin here",
        "put \"- \" on its own line, or quote the text",
    ),
    (
        "did not find expected key",
        "a field was expected here",
        "give all fields of a mapping the same indentation",
    ),
    (
        "did not find expected '-'",
        "an entry of the list was expected here",
        "give all entries of a list the same indentation",
    ),
    (
        "did not find expected <document start>",
        "the document ends before this line",
        "give all fields of a document the same indentation; a new document begins with ---",
    ),
    (
        "invalid indentation in quoted scalar",
        "this quoted text is not closed",
        "close it with the quote that opened it",
    ),
    (
        "unexpected end of stream",
        "this quoted text is not closed",
        "close it with the quote that opened it",
    ),
    (
        "unclosed quote",
        "this quoted text is not closed",
        "close it with the quote that opened it",
    ),
    ("expected ',' or ']'", "this list is not closed", "close it with ]"),
    ("expected ',' or '}'", "this mapping is not closed", "close it with }"),
    ("unclosed bracket", "this bracket is not closed", "close it with ] or }"),
    (
        "misplaced bracket",
        "a closing bracket without an opening one",
        "quote a text that contains brackets",
    ),
    (
        "invalid Unicode character escape",
        "an escape that is no character",
        "write the character itself",
    ),
    (
        "unknown escape character",
        "an unknown escape in a quoted text",
        "write \\\\ for a backslash, or use single quotes",
    ),
    (
        "could not find expected ':'",
        "a key without a value",
        "a field is written \"key: value\"",
    ),
    (
        "simple key expect",
        "a key without a value",
        "a field is written \"key: value\"",
    ),
    (
        "trailing content",
        "something stands behind the closing quote",
        "put all of the text within the quotes",
    ),
];

/// The diagnostic of a file that is no YAML.
pub fn broken(source: &Source<'_>, broken: &Broken) -> Diagnostic {
    match broken {
        Broken::Deep(span) => translate(source, *span, "recursion limit exceeded"),
        Broken::Alias(span) => unknown_alias(source, *span),
        Broken::Syntax(error) => {
            let marker = error.marker();
            let span = Span {
                line: u32::try_from(marker.line()).unwrap_or(u32::MAX),
                column: u32::try_from(marker.col() + 1).unwrap_or(u32::MAX),
                width: 1,
            };
            translate(source, span, error.info())
        }
    }
}

/// The diagnostic of what a parser said about a place.
pub fn translate(source: &Source<'_>, span: Span, said: &str) -> Diagnostic {
    if said.contains("unknown anchor") {
        let rest = source.line(span.line).chars().skip(span.column as usize - 1);
        let width = rest
            .take_while(|c| !c.is_whitespace() && !matches!(c, ',' | ']' | '}'))
            .count();
        return unknown_alias(source, Span { width, ..span });
    }
    // The parser may notice a tab at the end of the line before.
    let tabbed = |line: u32| Some((line, tab(source.line(line))?));
    let below = || tabbed(span.line + 1).filter(|_| said.contains("tab"));
    if let Some((line, column)) = tabbed(span.line).or_else(below) {
        let span = Span { line, column, width: 1 };
        return source
            .at(span, "a tab can't be used for indentation")
            .hint("use spaces");
    }
    let line = source.line(span.line);
    let here = line.chars().nth(span.column.saturating_sub(1) as usize);
    if said.contains("unexpected character") || said.contains("cannot start any token") {
        let shown = here
            .filter(|c| !c.is_control())
            .map_or_else(String::new, |c| format!(" with {c}"));
        return source
            .at(span, format!("a value can't begin{shown}"))
            .hint("put the text in quotes");
    }
    if said.contains("mapping values are not allowed")
        && let Some(column) = too_far(source, span)
    {
        return source
            .at(
                Span { column, ..span },
                "this line is indented further than the field before it",
            )
            .hint("give all fields of a mapping the same indentation");
    }
    let (span, message, hint) = match WORDS.iter().find(|(words, _, _)| said.contains(words)) {
        Some((_, message, hint)) => (span, (*message).to_owned(), Some(*hint)),
        None => (span, format!("not YAML: {said}"), None),
    };
    let it = source.at(span, message);
    match hint {
        Some(hint) => it.hint(hint),
        None => it,
    }
}

fn unknown_alias(source: &Source<'_>, span: Span) -> Diagnostic {
    source
        .at(
            span,
            "unknown alias: no anchor of this name goes before it in the document",
        )
        .hint("a text that begins with * needs quotes")
}

/// The column of a tab in the indentation of a line.
fn tab(line: &str) -> Option<u32> {
    let at = line.bytes().take_while(|b| *b == b' ').count();
    (line.as_bytes().get(at) == Some(&b'\t'))
        .then(|| u32::try_from(at + 1).ok())
        .flatten()
}

/// The column at which a line begins that would be a field if it were not indented further than the one before.
fn too_far(source: &Source<'_>, span: Span) -> Option<u32> {
    let line = source.line(span.line);
    let before = source.line(span.line.checked_sub(1)?);
    let indent = |line: &str| line.bytes().take_while(|b| *b == b' ').count();
    let key: String = line.chars().take(span.column.saturating_sub(1) as usize).collect();
    let first = !key.contains(": ") && indent(line) > indent(before) && before.contains(": ");
    first.then(|| u32::try_from(indent(line) + 1).ok()).flatten()
}
