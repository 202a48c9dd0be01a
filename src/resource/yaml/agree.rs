//! serde_yaml reads the same text; where its tree differs from the parser's, the document is refused.

use saphyr_parser::ScalarStyle;
use serde::Deserialize as _;
use serde_json::Value;

use crate::kit::Diagnostic;

use super::node::{Data, Node, Tree};
use super::source::{Source, Span};
use super::syntax;

/// The value of each document; nothing for one that has faults.
pub fn values(source: &Source<'_>, trees: &[Tree<'_>]) -> Result<Vec<Option<Value>>, Box<Diagnostic>> {
    let mut documents = serde_yaml::Deserializer::from_str(source.text);
    let mut values = Vec::with_capacity(trees.len());
    // Where serde_yaml ends a line and the parser does not, a comment may go on as a key that is there already.
    let line_end = source.text.find(['\u{85}', '\u{2028}', '\u{2029}']);
    for tree in trees {
        let Some(document) = documents.next() else {
            return Err(Box::new(disagree(source, tree.root.span())));
        };
        if !tree.faults.is_empty() {
            values.push(None);
            continue;
        }
        let value = match line_end {
            None => Value::deserialize(document).map_err(|error| Box::new(refused(source, tree, &error)))?,
            // This one refuses a key that is there twice.
            Some(at) => serde_yaml::Value::deserialize(document)
                .and_then(Value::deserialize)
                .map_err(|_| Box::new(disagree(source, source.span_of_byte(at))))?,
        };
        if let Some(span) = differs(&tree.root, &value) {
            return Err(Box::new(disagree(source, span)));
        }
        values.push(Some(value));
    }
    // What the one takes for the end, the other must too. A text without any document reads as one null.
    if let Some(document) = documents.next() {
        let nothing = trees.is_empty() && Value::deserialize(document).is_ok_and(|value| value.is_null());
        if !nothing {
            let first = Span {
                line: 1,
                column: 1,
                width: 1,
            };
            let span = trees.last().map_or(first, |tree| tree.root.span());
            return Err(Box::new(disagree(source, span)));
        }
    }
    Ok(values)
}

fn refused(source: &Source<'_>, tree: &Tree<'_>, error: &serde_yaml::Error) -> Diagnostic {
    // Of its place only the index counts: its lines end at U+2028 and the like too.
    let span = error.location().map_or_else(
        || tree.root.span(),
        |it| {
            let mut characters = source.text.char_indices();
            let at = characters.nth(it.index()).map_or(source.text.len(), |(at, _)| at);
            source.span_of_byte(at)
        },
    );
    let said = error.to_string();
    // The place stands in the diagnostic already.
    let said = said.split(" at line ").next().unwrap_or(&said);
    syntax::translate(source, span, said)
}

fn disagree(source: &Source<'_>, span: Span) -> Diagnostic {
    source
        .at(span, "this can be read in two ways")
        .hint("write it in a simpler form of YAML, a text in double quotes")
}

/// The first place where the two trees differ.
fn differs(node: &Node<'_>, value: &Value) -> Option<Span> {
    let same = match (node.data(), value) {
        (Data::Scalar(text, ScalarStyle::Plain), value) => plain(text, value),
        (Data::Scalar(text, _), Value::String(it)) => *text == it.as_str(),
        (Data::List(items, _), Value::Array(list)) if items.len() == list.len() => {
            return items.iter().zip(list).find_map(|(node, value)| differs(node, value));
        }
        (Data::Mapping(entries, _), Value::Object(map)) if entries.len() == map.len() => {
            return entries
                .iter()
                .find_map(|(key, node)| match key.text().and_then(|key| map.get(key)) {
                    Some(value) => differs(node, value),
                    None => Some(key.span()),
                });
        }
        _ => false,
    };
    (!same).then(|| node.span())
}

/// Whether a plain scalar can mean this value. Which type it has is serde_yaml's word.
fn plain(text: &str, value: &Value) -> bool {
    match value {
        Value::String(it) => text == it,
        Value::Bool(it) => text.eq_ignore_ascii_case(if *it { "true" } else { "false" }),
        Value::Null => matches!(text, "" | "~" | "null" | "Null" | "NULL"),
        Value::Number(it) => match text.parse::<i64>() {
            Ok(number) => it.as_i64() == Some(number),
            // Other forms (0x1f, 1e3, .5) begin like a number at least.
            Err(_) => text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')),
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::yaml::node;

    /// What the two readers make of a text that the parser read as another one.
    fn told(parsed: &str, text: &str) -> Option<String> {
        let trees = node::parse(parsed).unwrap();
        values(&Source::of("a", text), &trees).err().map(|it| it.place())
    }

    #[test]
    fn two_readings_are_refused() {
        for text in [
            "",
            "# c\n",
            "\n\n",
            "---\n",
            "a: [1, {b: c}]\n---\nd\n",
            "a: 0x1f\nb: 1e3\nc: ~\nd: True\n",
        ] {
            assert_eq!(told(text, text), None, "{text:?}");
        }
        for (parsed, text, place) in [
            ("a: 1\n", "a: 2\n", "a:1:4"),
            ("a: '1'\n", "a: 1\n", "a:1:4"),
            ("a: x\n", "b: x\n", "a:1:1"),
            ("a: [x]\n", "a: [x, y]\n", "a:1:4"),
            ("a: {b: c}\n", "a: {b: c, d: e}\n", "a:1:4"),
            ("a: x\n", "a: true\n", "a:1:4"),
            ("a: x\n", "a: x\n---\nb: y\n", "a:1:1"),
            ("a: x\n---\nb: y\n", "a: x\n", "a:3:1"),
            ("", "a: x\n", "a:1:1"),
            ("# c\u{2028}a: x\na: x\n", "# c\u{2028}a: x\na: x\n", "a:1:4"),
        ] {
            assert_eq!(told(parsed, text).as_deref(), Some(place), "{parsed:?} {text:?}");
        }
    }
}
