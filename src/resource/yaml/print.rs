//! The flat form in stable order: `kind`, `name`, the scope's field, then the fields in the order of the kind's struct.

use std::fmt::Write as _;

use serde_json::Value;

use crate::resource::document::Document;
use crate::resource::id::Scope;
use crate::resource::tree::FileText;

/// The flat YAML form of a document, in stable order: `kind`, `name`, scope, fields. Reading it gives the same document.
#[must_use]
pub fn print(document: &Document) -> String {
    if let Some(text) = &document.text {
        return text.to_string();
    }
    let mut out = format!("kind: {}\n", document.id.kind().name);
    out.push_str(&below_kind(document));
    if reads_back(&out, document) {
        return out;
    }
    // Texts that the two readers or the printer see differently (odd line breaks, say): everything escaped.
    let mut out = format!("kind: {}\n", document.id.kind().name);
    for (key, value) in below_kind_escaped(document) {
        let _ = writeln!(out, "{key}: {}", escaped(&value));
    }
    out
}

/// The same in JSON, on one line per top-level field.
pub fn json(document: &Document, implied: bool) -> String {
    let kind = ("kind".to_owned(), Value::from(document.id.kind().name));
    let rows: Vec<String> = std::iter::once(kind)
        .filter(|_| !implied)
        .chain(below_kind_escaped(document))
        .map(|(key, value)| format!("{}: {}", Value::from(key), escaped(&value)))
        .collect();
    if implied {
        format!("{{{}}}", rows.join(", "))
    } else {
        format!("{{\n  {}\n}}", rows.join(",\n  "))
    }
}

/// All lines but `kind`.
pub fn below_kind(document: &Document) -> String {
    let scalar = |text: &str| serde_yaml::to_string(text).unwrap_or_else(|_| format!("{}\n", Value::from(text)));
    let mut out = format!("name: {}", scalar(document.id.name.as_str()));
    match &document.id.scope {
        Scope::Global => {}
        Scope::Project(project) => {
            let _ = write!(out, "project: {}", scalar(project.as_str()));
        }
    }
    let empty = document.spec.as_object().is_none_or(serde_json::Map::is_empty);
    match (document.id.kind().typed.yaml)(&document.spec) {
        _ if empty => {}
        Ok(fields) => out.push_str(&fields),
        Err(_) => {
            for (key, value) in document.spec.as_object().into_iter().flatten() {
                let _ = writeln!(out, "{key}: {}", escaped(value));
            }
        }
    }
    out
}

/// The top-level fields below `kind`, in the order in which they are written.
fn below_kind_escaped(document: &Document) -> Vec<(String, Value)> {
    let mut value = document.to_json();
    let mut out = vec![];
    if let Value::Object(map) = &mut value {
        map.remove("kind");
        let order = fields(&below_kind(document));
        for (key, _) in order {
            out.extend(map.remove(&key).map(|value| (key, value)));
        }
        out.extend(std::mem::take(map));
    }
    out
}

/// A printed text cut into its top-level fields: name and lines.
pub fn fields(printed: &str) -> Vec<(String, String)> {
    let mut out: Vec<(String, String)> = vec![];
    for line in printed.split_inclusive('\n') {
        let key = line.split_once(':').map(|(key, _)| key);
        match (key, out.last_mut()) {
            (Some(key), _) if line.starts_with(|c: char| c.is_ascii_alphabetic()) => {
                out.push((key.to_owned(), line.to_owned()));
            }
            (_, Some((_, lines))) => lines.push_str(line),
            (_, None) => {}
        }
    }
    out
}

/// A value in JSON's form, which is YAML's flow form too, with everything escaped that is read in more than one way.
pub fn escaped(value: &Value) -> String {
    let text = value.to_string();
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            ' '..='~' => out.push(c),
            '\u{a0}'..='\u{2027}' | '\u{2030}'..='\u{d7ff}' | '\u{e000}'..='\u{fdcf}' | '\u{fdf0}'..='\u{fefe}' => {
                out.push(c);
            }
            c if u32::from(c) > 0xffff => out.push(c),
            c => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
        }
    }
    out
}

fn reads_back(text: &str, document: &Document) -> bool {
    let file = FileText {
        path: String::new(),
        bytes: Ok(text.as_bytes().to_vec()),
    };
    let read = super::read_body(&file, super::LARGEST);
    let [parsed] = &read.documents[..] else { return false };
    read.unreadable.is_empty() && *parsed.placed.document == *document
}
