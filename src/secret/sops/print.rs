//! A SOPS file as text, laid out as `sops` lays it out, so that the two can take turns without noise.

use std::fmt::Write as _;

use serde_json::Value;

use super::error::SealError;
use super::scalar::Scalar;

/// The longest key as it is written; readers of YAML end at 1024.
const LONGEST_KEY: usize = 1000;

/// What is to be written.
pub enum Printed {
    /// A scalar in its written form.
    Scalar(String),
    List(Vec<Item>),
    Mapping(Vec<(String, Item)>),
}

/// A part of a list or mapping, with the comment lines that stand above it.
pub struct Item {
    pub comments: Vec<String>,
    pub value: Printed,
}

/// The written form of a mapping that begins in column `indent`.
pub fn mapping(entries: &[(String, Item)], indent: usize) -> String {
    let mut out = String::new();
    write_mapping(&mut out, entries, indent, false);
    out
}

fn write(out: &mut String, value: &Printed, indent: usize, first_is_begun: bool) {
    match value {
        Printed::Scalar(text) => {
            let _ = writeln!(out, "{text}");
        }
        Printed::Mapping(entries) => write_mapping(out, entries, indent, first_is_begun),
        Printed::List(items) => {
            for (number, item) in items.iter().enumerate() {
                let begun = first_is_begun && number == 0;
                if !begun {
                    comments(out, &item.comments, indent);
                    // What stands above the first part of this item has no line of its own behind the dash.
                    comments(out, leading(&item.value), indent);
                    let _ = write!(out, "{:indent$}", "");
                }
                if is_empty(&item.value) {
                    let _ = writeln!(out, "- {}", empty(&item.value));
                    continue;
                }
                out.push_str("- ");
                write(out, &item.value, indent + 2, true);
            }
        }
    }
}

fn write_mapping(out: &mut String, entries: &[(String, Item)], indent: usize, first_is_begun: bool) {
    for (number, (key, item)) in entries.iter().enumerate() {
        if !(first_is_begun && number == 0) {
            comments(out, &item.comments, indent);
            let _ = write!(out, "{:indent$}", "");
        }
        let _ = write!(out, "{}:", text(key));
        match &item.value {
            value if is_empty(value) => {
                let _ = writeln!(out, " {}", empty(value));
            }
            Printed::Scalar(text) => {
                let _ = writeln!(out, " {text}");
            }
            value => {
                out.push('\n');
                write(out, value, indent + 4, false);
            }
        }
    }
}

/// The comments above the first part, and above its first part, and so on.
fn leading(value: &Printed) -> &[String] {
    let first = match value {
        Printed::Scalar(_) => None,
        Printed::List(items) => items.first(),
        Printed::Mapping(entries) => entries.first().map(|(_, item)| item),
    };
    match first {
        Some(item) if item.comments.is_empty() => leading(&item.value),
        Some(item) => &item.comments,
        None => &[],
    }
}

fn comments(out: &mut String, lines: &[String], indent: usize) {
    for line in lines {
        let _ = writeln!(out, "{:indent$}{line}", "");
    }
}

fn is_empty(value: &Printed) -> bool {
    match value {
        Printed::Scalar(_) => false,
        Printed::List(items) => items.is_empty(),
        Printed::Mapping(entries) => entries.is_empty(),
    }
}

fn empty(value: &Printed) -> &'static str {
    if matches!(value, Printed::List(_)) { "[]" } else { "{}" }
}

/// Refuses a key that has no form that every reader understands.
pub fn check_key(key: &str) -> Result<(), SealError> {
    if text(key).len() > LONGEST_KEY {
        return Err(SealError::Unfit(format!(
            "a key has more than {LONGEST_KEY} bytes as it is written"
        )));
    }
    if key == "<<" {
        return Err(SealError::Unfit("a key can't be <<".into()));
    }
    Ok(())
}

/// A value that is not encrypted.
pub fn plain(value: &Value) -> Result<Printed, SealError> {
    let item = |value: &Value| {
        plain(value).map(|value| Item {
            comments: vec![],
            value,
        })
    };
    Ok(match value {
        Value::String(it) => Printed::Scalar(text(it)),
        Value::Array(items) => Printed::List(items.iter().map(item).collect::<Result<_, _>>()?),
        Value::Object(entries) => {
            let mut out = vec![];
            for (key, value) in entries {
                check_key(key)?;
                out.push((key.clone(), item(value)?));
            }
            Printed::Mapping(out)
        }
        // A float that is whole would be read back as an integer, and an exponent is read differently here and there.
        Value::Number(it) if it.is_f64() => Printed::Scalar(float(it.as_f64().unwrap_or_default())),
        Value::Null | Value::Bool(_) | Value::Number(_) => Printed::Scalar(value.to_string()),
    })
}

fn float(number: f64) -> String {
    let text = number.to_string();
    if text.contains('.') { text } else { text + ".0" }
}

/// A text: without quotes where every reader takes it for this text, else with everything odd escaped.
pub fn text(text: &str) -> String {
    let safe = |c: char| c.is_alphanumeric() || "_./@-".contains(c);
    let words = ["y", "n", "yes", "no", "on", "off"];
    let plain = text.starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == '/')
        && text.ends_with(|c| safe(c) || c == ')')
        && text.chars().all(|c| safe(c) || " ,()+".contains(c))
        && !words.contains(&text.to_ascii_lowercase().as_str())
        && Scalar::is_plain_text(text);
    if plain {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            ' '..='~'
            | '\u{a1}'..='\u{2027}'
            | '\u{2030}'..='\u{d7ff}'
            | '\u{f900}'..='\u{fdcf}'
            | '\u{fdf0}'..='\u{fefe}'
            | '\u{1f000}'..='\u{1faff}' => out.push(c),
            c if u32::from(c) > 0xffff => {
                let _ = write!(out, "\\U{:08x}", u32::from(c));
            }
            c => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_where_a_reader_could_take_them_for_something_else() {
        for (it, shown) in [
            ("github", "github"),
            ("a thing, (really)", "a thing, (really)"),
            ("mcpctl/v1", "mcpctl/v1"),
            ("ü", "ü"),
            ("", "\"\""),
            ("12", "\"12\""),
            ("0x1", "\"0x1\""),
            ("n", "\"n\""),
            ("No", "\"No\""),
            ("null", "\"null\""),
            ("2001-01-01", "\"2001-01-01\""),
            ("a: b", "\"a: b\""),
            ("a #b", "\"a #b\""),
            ("- a", "\"- a\""),
            (" a", "\" a\""),
            ("a\nb", "\"a\\nb\""),
            ("\u{85}\u{2028}\u{feff}\u{0}", "\"\\u0085\\u2028\\ufeff\\u0000\""),
            ("🦀", "\"🦀\""),
            ("\u{10ffff}", "\"\\U0010ffff\""),
        ] {
            assert_eq!(text(it), shown, "{it:?}");
        }
    }
}
