//! The fields of a kind and their types, read once from its JSON Schema: checks values, names unknown words, types words.
//!
//! The part of JSON Schema that schemars writes for our kinds is understood; anything else is [`Shape::Any`], and the
//! typed decoding behind it still refuses what does not fit.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::kit::nearest;

use super::document::Problem;
use super::kind::kind_named;

/// The top-level keys that every document has beside the fields of its kind, and what they mean.
pub const TOP_LEVEL: &[(&str, &str)] = &[
    (
        "apiVersion",
        "The version of the format, mcpctl/v1; assumed where absent.",
    ),
    ("kind", "What is declared."),
    ("name", "The name, 1 to 63 of a-z, 0-9 and -."),
];

/// The top-level keys that place a document of a scoped kind, and what they mean.
pub const SCOPE_FIELDS: &[(&str, &str)] = &[("project", "The project in which the name counts.")];

/// The one version of the format.
pub const API_VERSION: &str = "mcpctl/v1";

/// What is wrong with one value is told up to this many times.
const MOST_PROBLEMS: usize = 100;

/// What a value may look like.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// Anything.
    Any,
    /// A string of so many characters.
    Text {
        /// The fewest characters.
        min: usize,
        /// The most characters.
        max: usize,
    },
    /// A whole number.
    Integer {
        /// The least.
        min: Option<i64>,
        /// The greatest.
        max: Option<i64>,
    },
    /// Any finite number.
    Number {
        /// The least.
        min: Option<f64>,
        /// The greatest.
        max: Option<f64>,
    },
    /// True or false.
    Boolean,
    /// One of some words.
    Words(Vec<Word>),
    /// A list.
    List {
        /// What each entry looks like.
        items: Box<Shape>,
        /// The fewest entries.
        min: usize,
        /// The most entries.
        max: usize,
    },
    /// A mapping with free keys.
    Map(Box<Shape>),
    /// A mapping with known keys.
    Fields(Fields),
    /// Any of some shapes.
    Either(Vec<Shape>),
}

/// A word of an enumeration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// The word.
    pub word: String,
    /// What it means.
    pub description: String,
}

/// The fields of a kind or of an object in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Fields {
    /// The kind's name; nothing for an object within a kind.
    pub kind: Option<String>,
    /// The fields, by name.
    pub fields: Vec<Field>,
}

/// A field.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// What its value looks like.
    pub shape: Shape,
    /// What it is for, for people.
    pub description: String,
    /// The value where it is absent, where the schema tells.
    pub default: Option<Value>,
    /// Whether it must be there.
    pub required: bool,
    /// Whether null says something else than being absent.
    pub nullable: bool,
}

impl Shape {
    /// Reads the part of JSON Schema that schemars writes for our kinds.
    #[must_use]
    pub fn of_schema(schema: &Value) -> Self {
        let mut shape = read(schema, schema, 0);
        if let (Self::Fields(fields), Some(title)) = (&mut shape, schema["title"].as_str()) {
            fields.kind = Some(title.to_ascii_lowercase());
        }
        shape
    }

    /// Everything that is wrong with a value (of very many faults, the first hundred).
    #[must_use]
    pub fn check(&self, value: &Value) -> Vec<Problem> {
        let mut problems = vec![];
        self.collect(&mut String::new(), value, &mut problems);
        problems
    }

    /// The value without the fields that are null and may be absent: both mean the same.
    #[must_use]
    pub fn without_nulls(&self, value: Value) -> Value {
        if self.has_nulls(&value) {
            self.strip(&value)
        } else {
            value
        }
    }

    /// The fields, where this is a mapping with known keys.
    pub fn fields(&self) -> impl Iterator<Item = &Field> {
        let fields = if let Self::Fields(it) = self {
            it.fields.as_slice()
        } else {
            &[]
        };
        fields.iter()
    }

    /// What stands at a dotted path, as `env[0].name`.
    #[must_use]
    pub fn field(&self, path: &str) -> Option<&Self> {
        if path.is_empty() {
            return Some(self);
        }
        if let Some(rest) = path.strip_prefix('[') {
            let (index, rest) = rest.split_once(']')?;
            let Self::List { items, .. } = self else {
                return None;
            };
            index.parse::<usize>().ok()?;
            return items.field(rest.strip_prefix('.').unwrap_or(rest));
        }
        let end = path.find(['.', '[']).unwrap_or(path.len());
        let (name, rest) = path.split_at(end);
        let below = match self {
            Self::Fields(it) => &it.fields.iter().find(|field| field.name == name)?.shape,
            Self::Map(values) => values,
            Self::Any => self,
            _ => return None,
        };
        below.field(rest.strip_prefix('.').unwrap_or(rest))
    }

    /// The value that a word of the command line means: text as it is, numbers and truth values by their form, lists and
    /// objects in YAML's or JSON's flow form.
    ///
    /// # Errors
    /// What is wrong with the word, in one line.
    pub fn parse_word(&self, text: &str) -> Result<Value, String> {
        let inline = || super::yaml::inline(text);
        let value = match self {
            Self::Text { .. } | Self::Words(_) => Value::from(text),
            Self::Integer { .. } => text.parse::<i64>().map_or_else(|_| Value::from(text), Value::from),
            Self::Number { .. } => text.parse::<f64>().map_or_else(|_| Value::from(text), Value::from),
            Self::Boolean => text.parse::<bool>().map_or_else(|_| Value::from(text), Value::from),
            Self::List { .. } | Self::Map(_) | Self::Fields(_) | Self::Any => inline()?,
            Self::Either(shapes) => {
                let fits = |value: &Value| shapes.iter().any(|shape| shape.check(value).is_empty());
                inline().ok().filter(fits).unwrap_or_else(|| Value::from(text))
            }
        };
        match self.check(&value).into_iter().next() {
            None => Ok(value),
            Some(problem) => Err(match &problem.hint {
                Some(hint) => format!("{problem} ({hint})"),
                None => problem.to_string(),
            }),
        }
    }

    /// What is expected, for people.
    #[must_use]
    pub fn expectation(&self) -> String {
        match self {
            Self::Any => "a value".into(),
            Self::Text { .. } => "text".into(),
            Self::Integer { min, max } => range("an integer", min.as_ref(), max.as_ref()),
            Self::Number { min, max } => range("a number", min.as_ref(), max.as_ref()),
            Self::Boolean => "true or false".into(),
            Self::Words(words) => either(words.iter().map(|word| word.word.clone())),
            Self::List { .. } => "a list".into(),
            Self::Map(_) | Self::Fields(_) => "a mapping".into(),
            // Of several mappings the keys tell which is which.
            Self::Either(shapes) => either(shapes.iter().map(|shape| match shape {
                Self::Fields(fields) => fields.sketch(),
                other => other.expectation(),
            })),
        }
    }

    fn collect(&self, path: &mut String, value: &Value, out: &mut Vec<Problem>) {
        if out.len() >= MOST_PROBLEMS {
            return;
        }
        match (self, value) {
            (Self::Any, _) | (Self::Boolean, Value::Bool(_)) => {}
            (Self::Text { min, max }, Value::String(text)) => {
                // Bytes are never fewer than characters: most texts need not be counted.
                if text.len() < *min || text.len() > *max {
                    let length = text.chars().count();
                    if length < *min && *min == 1 {
                        out.push(Problem::at(path.as_str(), "must not be empty"));
                    } else if length < *min {
                        out.push(Problem::at(
                            path.as_str(),
                            format!("has {length} characters, at least {min} are needed"),
                        ));
                    } else if length > *max {
                        out.push(Problem::at(
                            path.as_str(),
                            format!("has {length} characters, at most {max} are allowed"),
                        ));
                    }
                }
            }
            (Self::Integer { min, max }, Value::Number(number)) => {
                let fits = number.as_i64().map_or_else(
                    || number.is_u64() && max.is_none(),
                    |it| min.is_none_or(|min| it >= min) && max.is_none_or(|max| it <= max),
                );
                if !fits {
                    out.push(self.wrong(path, value));
                }
            }
            (Self::Number { min, max }, Value::Number(number)) => {
                let it = number.as_f64().unwrap_or(f64::NAN);
                if !it.is_finite() || min.is_some_and(|min| it < min) || max.is_some_and(|max| it > max) {
                    out.push(self.wrong(path, value));
                }
            }
            (Self::Words(words), Value::String(text)) if words.iter().any(|word| word.word == *text) => {}
            (Self::List { items, min, max }, Value::Array(list)) => {
                if list.len() < *min {
                    out.push(Problem::at(
                        path.as_str(),
                        format!("has {} entries, at least {min} are needed", list.len()),
                    ));
                } else if list.len() > *max {
                    out.push(Problem::at(
                        path.as_str(),
                        format!("has {} entries, at most {max} are allowed", list.len()),
                    ));
                }
                let length = path.len();
                for (n, item) in list.iter().enumerate() {
                    let _ = write!(path, "[{n}]");
                    items.collect(path, item, out);
                    path.truncate(length);
                }
            }
            (Self::Map(values), Value::Object(map)) => {
                for (key, value) in map {
                    below(path, key, |path| values.collect(path, value, out));
                }
            }
            (Self::Fields(fields), Value::Object(map)) => fields.collect(path, map, out),
            (Self::Either(shapes), _) => {
                if !shapes.iter().any(|shape| shape.check(value).is_empty()) {
                    // The shape of the right type tells best what is wrong with it.
                    match shapes.iter().find(|shape| shape.takes(value)) {
                        Some(shape) => shape.collect(path, value, out),
                        None => out.push(self.wrong(path, value)),
                    }
                }
            }
            _ => out.push(self.wrong(path, value)),
        }
    }

    /// Whether a value is of this shape's type, whatever stands in it.
    fn takes(&self, value: &Value) -> bool {
        match self {
            Self::Any => true,
            Self::Text { .. } | Self::Words(_) => value.is_string(),
            Self::Integer { .. } | Self::Number { .. } => value.is_number(),
            Self::Boolean => value.is_boolean(),
            Self::List { .. } => value.is_array(),
            Self::Map(_) | Self::Fields(_) => value.is_object(),
            Self::Either(shapes) => shapes.iter().any(|shape| shape.takes(value)),
        }
    }

    fn wrong(&self, path: &str, value: &Value) -> Problem {
        let found = match (self, value) {
            (Self::Words(_), Value::String(text)) => format!("\"{}\"", cut(text)),
            (Self::Integer { .. } | Self::Number { .. }, Value::Number(number)) => number.to_string(),
            _ => found(value),
        };
        let problem = Problem::at(path, format!("expected {}, found {found}", self.expectation()));
        match (self, value) {
            (Self::Text { .. }, Value::Number(_) | Value::Bool(_)) => problem.hint(format!("quote it: \"{value}\"")),
            (Self::Words(words), Value::String(text)) => {
                match nearest(text, words.iter().map(|word| word.word.as_str())) {
                    Some(near) => problem.hint(format!("did you mean \"{near}\"?")),
                    None => problem,
                }
            }
            (Self::Integer { .. } | Self::Number { .. } | Self::Boolean, Value::String(text))
                if self.parse_plain(text) =>
            {
                problem.hint(format!("write {text} without quotes"))
            }
            (Self::Boolean, Value::String(_)) => problem.hint("write true or false"),
            (Self::List { items, .. }, Value::String(_) | Value::Number(_) | Value::Bool(_))
                if matches!(**items, Self::Text { .. } | Self::Words(_)) =>
            {
                let entry = match value {
                    Value::String(text) => cut(text),
                    other => format!("\"{other}\""),
                };
                problem.hint(format!("write a list: [{entry}]"))
            }
            _ => problem,
        }
    }

    fn parse_plain(&self, text: &str) -> bool {
        match self {
            Self::Integer { .. } => text.parse::<i64>().is_ok(),
            Self::Number { .. } => text.parse::<f64>().is_ok_and(f64::is_finite),
            Self::Boolean => text.parse::<bool>().is_ok(),
            _ => false,
        }
    }

    fn has_nulls(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Fields(it), Value::Object(map)) => map.iter().any(|(key, value)| {
                it.find(key)
                    .is_some_and(|field| field.drops(value) || field.shape.has_nulls(value))
            }),
            (Self::List { items, .. }, Value::Array(list)) => list.iter().any(|item| items.has_nulls(item)),
            (Self::Map(values), Value::Object(map)) => map.values().any(|value| values.has_nulls(value)),
            _ => false,
        }
    }

    fn strip(&self, value: &Value) -> Value {
        match (self, value) {
            (Self::Fields(it), Value::Object(map)) => map
                .iter()
                .filter(|(key, value)| !it.find(key).is_some_and(|field| field.drops(value)))
                .map(|(key, value)| {
                    let value = it.find(key).map_or_else(|| value.clone(), |f| f.shape.strip(value));
                    (key.clone(), value)
                })
                .collect::<Map<_, _>>()
                .into(),
            (Self::List { items, .. }, Value::Array(list)) => list.iter().map(|item| items.strip(item)).collect(),
            (Self::Map(values), Value::Object(map)) => {
                let strip = |(key, value): (&String, &Value)| (key.clone(), values.strip(value));
                map.iter().map(strip).collect::<Map<_, _>>().into()
            }
            _ => value.clone(),
        }
    }
}

impl Field {
    /// Whether this value is left out because it means the same as being absent.
    fn drops(&self, value: &Value) -> bool {
        value.is_null() && !self.required && !self.nullable
    }
}

impl Fields {
    fn find(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    fn collect(&self, path: &mut String, map: &Map<String, Value>, out: &mut Vec<Problem>) {
        for (key, value) in map {
            match self.find(key) {
                Some(field) if value.is_null() && (!field.required || field.nullable) => {}
                Some(field) if value.is_null() => {
                    below(path, key, |path| {
                        out.push(Problem::at(
                            path.as_str(),
                            format!("expected {}, found nothing", field.shape.expectation()),
                        ));
                    });
                }
                Some(field) => below(path, key, |path| field.shape.collect(path, value, out)),
                None if out.len() < MOST_PROBLEMS => {
                    let problem = self.unknown(path, key);
                    below(path, key, |path| {
                        out.push(Problem {
                            path: path.clone(),
                            ..problem
                        });
                    });
                }
                None => {}
            }
        }
        let misspelt = |name: &str| {
            let mut unknown = map.keys().filter(|key| self.find(key).is_none());
            unknown.any(|key| nearest(key, [name]).is_some())
        };
        for field in self.fields.iter().filter(|field| field.required) {
            // A misspelt field is told as an unknown one already.
            if !map.contains_key(&field.name) && !misspelt(&field.name) {
                out.push(Problem::at(path.as_str(), format!("{} is missing", field.name)));
            }
        }
    }

    /// `{fromEnv: …}`.
    fn sketch(&self) -> String {
        let keys: Vec<String> = self.fields.iter().map(|field| format!("{}: …", field.name)).collect();
        format!("{{{}}}", keys.join(", "))
    }

    fn unknown(&self, path: &str, key: &str) -> Problem {
        let shown = cut(key);
        let problem = match &self.kind {
            Some(kind) => Problem::at_key("", format!("unknown field \"{shown}\" of {} {kind}", article(kind))),
            None => Problem::at_key("", format!("unknown field \"{shown}\" of {path}")),
        };
        let scoped = self
            .kind
            .as_deref()
            .and_then(kind_named)
            .is_some_and(|kind| kind.scoped);
        let top = TOP_LEVEL.iter().filter(|_| self.kind.is_some());
        let top = top.chain(SCOPE_FIELDS.iter().filter(|_| scoped)).map(|(name, _)| *name);
        let names = self.fields.iter().map(|field| field.name.as_str());
        if let Some(near) = nearest(key, names.clone().chain(top)) {
            problem.hint(format!("did you mean \"{near}\"?"))
        } else if self.kind.is_some() && matches!(key, "metadata" | "spec") {
            problem.hint("documents are flat: name and the fields stand at the top level")
        } else if self.fields.len() <= 24 {
            problem.hint(format!("fields are {}", names.collect::<Vec<_>>().join(", ")))
        } else {
            problem
        }
    }
}

/// Runs something with a key added to the path.
fn below(path: &mut String, key: &str, run: impl FnOnce(&mut String)) {
    let length = path.len();
    if length > 0 {
        path.push('.');
    }
    path.push_str(key);
    run(path);
    path.truncate(length);
}

/// "a" or "an".
pub(super) fn article(word: &str) -> &'static str {
    if word.starts_with(['a', 'e', 'i', 'o']) {
        "an"
    } else {
        "a"
    }
}

/// "a, b or c".
pub(super) fn either(words: impl IntoIterator<Item = String>) -> String {
    let mut words: Vec<String> = words.into_iter().collect();
    match words.pop() {
        Some(last) if words.is_empty() => last,
        Some(last) => format!("{} or {last}", words.join(", ")),
        None => String::new(),
    }
}

/// A text as it is shown in a message: short.
pub(super) fn cut(text: &str) -> String {
    const SHOWN: usize = 40;
    let mut shown: String = text
        .chars()
        .take(SHOWN)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

/// A value as it is named in a message.
pub(super) fn found(value: &Value) -> String {
    match value {
        Value::Null => "nothing".into(),
        Value::Bool(it) => it.to_string(),
        Value::Number(it) => format!("the number {it}"),
        Value::String(it) => format!("the text \"{}\"", cut(it)),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "a mapping".into(),
    }
}

fn range<N: std::fmt::Display>(noun: &str, min: Option<&N>, max: Option<&N>) -> String {
    match (min, max) {
        (Some(min), Some(max)) => format!("{noun} from {min} to {max}"),
        (Some(min), None) => format!("{noun} of {min} or more"),
        (None, Some(max)) => format!("{noun} of {max} or less"),
        (None, None) => noun.to_owned(),
    }
}

/// Reads one schema. `depth` ends recursive definitions, which none of our kinds has.
fn read(root: &Value, schema: &Value, depth: usize) -> Shape {
    if depth > 16 {
        return Shape::Any;
    }
    if let Some(reference) = schema["$ref"].as_str() {
        return reference
            .strip_prefix('#')
            .and_then(|pointer| root.pointer(pointer))
            .map_or(Shape::Any, |target| read(root, target, depth + 1));
    }
    if let Some(words) = words(schema) {
        return Shape::Words(words);
    }
    if let Some(list) = schema["anyOf"].as_array().or_else(|| schema["oneOf"].as_array()) {
        let mut shapes: Vec<Shape> = list
            .iter()
            .filter(|it| it["type"] != "null")
            .map(|it| read(root, it, depth + 1))
            .collect();
        return match shapes.len() {
            1 => shapes.remove(0),
            _ if shapes.contains(&Shape::Any) => Shape::Any,
            _ => Shape::Either(shapes),
        };
    }
    let size = |key: &str| schema[key].as_u64().and_then(|n| usize::try_from(n).ok());
    let one = match &schema["type"] {
        Value::String(it) => Some(it.as_str()),
        Value::Array(list) => {
            let mut types = list.iter().filter_map(Value::as_str).filter(|it| *it != "null");
            types.next().filter(|_| types.next().is_none())
        }
        _ => None,
    };
    match one {
        Some("string") => Shape::Text {
            min: size("minLength").unwrap_or(0),
            max: size("maxLength").unwrap_or(usize::MAX),
        },
        Some("integer") => Shape::Integer {
            min: schema["minimum"].as_i64(),
            max: schema["maximum"].as_i64(),
        },
        Some("number") => Shape::Number {
            min: schema["minimum"].as_f64(),
            max: schema["maximum"].as_f64(),
        },
        Some("boolean") => Shape::Boolean,
        Some("array") => Shape::List {
            items: Box::new(read(root, &schema["items"], depth + 1)),
            min: size("minItems").unwrap_or(0),
            max: size("maxItems").unwrap_or(usize::MAX),
        },
        Some("object") => object(root, schema, depth),
        _ => Shape::Any,
    }
}

/// The words of an enumeration: `enum`, or `oneOf` constants where the words are documented, or both mixed.
fn words(schema: &Value) -> Option<Vec<Word>> {
    let word = |value: &Value, description: &Value| {
        Some(Word {
            word: value.as_str()?.to_owned(),
            description: description.as_str().unwrap_or_default().to_owned(),
        })
    };
    if let Some(list) = schema["enum"].as_array() {
        return list
            .iter()
            .filter(|it| !it.is_null())
            .map(|it| word(it, &Value::Null))
            .collect();
    }
    if schema["const"].is_string() {
        return Some(vec![word(&schema["const"], &schema["description"])?]);
    }
    let lists: Option<Vec<_>> = schema["oneOf"].as_array()?.iter().map(words).collect();
    lists.map(|lists| lists.concat())
}

fn object(root: &Value, schema: &Value, depth: usize) -> Shape {
    let Some(properties) = schema["properties"].as_object() else {
        return match &schema["additionalProperties"] {
            values @ Value::Object(_) => Shape::Map(Box::new(read(root, values, depth + 1))),
            _ => Shape::Map(Box::new(Shape::Any)),
        };
    };
    if schema["additionalProperties"] != false {
        return Shape::Any;
    }
    let required = |name: &str| {
        schema["required"]
            .as_array()
            .is_some_and(|list| list.iter().any(|it| it == name))
    };
    let fields = properties.iter().map(|(name, schema)| {
        let shape = read(root, schema, depth + 1);
        Field {
            name: name.clone(),
            nullable: shape == Shape::Any,
            description: schema["description"].as_str().unwrap_or_default().to_owned(),
            default: schema.get("default").cloned(),
            required: required(name),
            shape,
        }
    });
    Shape::Fields(Fields {
        kind: None,
        fields: fields.collect(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resource::{Document, KINDS, kind_named};

    fn server() -> &'static Shape {
        kind_named("server").unwrap().shape
    }

    #[test]
    fn every_field_of_every_kind_has_a_shape_and_a_description() {
        for kind in KINDS {
            assert!(kind.shape.fields().count() > 0, "{}", kind.name);
            for field in kind.shape.fields() {
                assert_ne!(field.shape, Shape::Any, "{} {}", kind.name, field.name);
                assert!(!field.description.is_empty(), "{} {}", kind.name, field.name);
                assert_ne!(field.name, "kind");
            }
        }
    }

    #[test]
    fn words_are_typed_by_their_field() {
        for (path, text, want) in [
            ("replicas", "2", Ok(json!(2))),
            (
                "replicas",
                "two",
                Err("expected an integer from 0 to 10, found the text \"two\""),
            ),
            ("replicas", "11", Err("expected an integer from 0 to 10, found 11")),
            ("description", "2", Ok(json!("2"))),
            ("description", "true", Ok(json!("true"))),
            ("update", "rolling", Ok(json!("rolling"))),
            (
                "update",
                "roling",
                Err("expected rolling or recreate, found \"roling\" (did you mean \"rolling\"?)"),
            ),
            ("args", "[a, \"2\"]", Ok(json!(["a", "2"]))),
            (
                "args",
                "a",
                Err("expected a list, found the text \"a\" (write a list: [a])"),
            ),
            ("args", "[a", Err("this list is not closed (close it with ])")),
            ("env", "[{name: A, value: b}]", Ok(json!([{"name": "A", "value": "b"}]))),
            (
                "env[0]",
                "{\"name\": \"A\", \"value\": \"b\"}",
                Ok(json!({"name": "A", "value": "b"})),
            ),
            ("env[3].value", "8080", Ok(json!("8080"))),
        ] {
            let shape = server().field(path).unwrap();
            assert_eq!(shape.parse_word(text), want.map_err(str::to_owned), "{path}={text}");
        }
        for path in ["nope", "env.name", "env[x]", "replicas.x", "replicas[0]"] {
            assert!(server().field(path).is_none(), "{path}");
        }
    }

    #[test]
    fn null_is_absent() {
        let id = || "server/a".parse().unwrap();
        let with = Document::new(
            id(),
            &json!({"command": ["x"], "env": null, "packageName": null, "replicas": null}),
        );
        assert_eq!(with, Document::new(id(), &json!({"command": ["x"]})));
        let problems =
            Document::new(id(), &json!({"command": ["x"], "env": [{"name": "A", "value": null}]})).unwrap_err();
        assert_eq!(problems[0].to_string(), "env[0]: A has no value");
    }

    #[test]
    fn all_of_json_schema_that_schemars_writes_is_understood() {
        let schema = json!({
            "title": "Thing", "type": "object", "additionalProperties": false, "required": ["must"],
            "$defs": {"Color": {"type": "string", "enum": ["red", "green"]}, "Deep": {"$ref": "#/$defs/Deep"}},
            "properties": {
                "must": {"type": "boolean"},
                "color": {"anyOf": [{"$ref": "#/$defs/Color"}, {"type": "null"}]},
                "ratio": {"type": ["number", "null"], "minimum": 0.0, "maximum": 1.0},
                "labels": {"type": "object", "additionalProperties": {"type": "string", "maxLength": 3}},
                "many": {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 2},
                "mixed": {"anyOf": [{"type": "string"}, {"type": "object", "additionalProperties": false, "properties": {"a": {"type": "integer"}}}]},
                "deep": {"$ref": "#/$defs/Deep"},
                "free": true
            }
        });
        let shape = Shape::of_schema(&schema);
        let told = |value: Value| shape.check(&value).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert!(told(json!({"must": true, "color": "red", "ratio": 0.5, "labels": {"a": "b"}, "many": [1], "mixed": "x", "deep": 1, "free": [null]})).is_empty());
        assert!(told(json!({"must": true, "color": null, "ratio": null, "free": null, "mixed": {"a": 1}})).is_empty());
        assert_eq!(
            told(
                json!({"color": "gren", "ratio": 2, "labels": {"a.b": "long"}, "many": [], "mixed": {"a": "x"}, "colour": 1, "zzz": 1})
            ),
            [
                "color: expected red or green, found \"gren\"",
                "colour: unknown field \"colour\" of a thing",
                "labels.a.b: has 4 characters, at most 3 are allowed",
                "many: has 0 entries, at least 1 are needed",
                "mixed.a: expected an integer, found the text \"x\"",
                "ratio: expected a number from 0 to 1, found 2",
                "zzz: unknown field \"zzz\" of a thing",
                "must is missing",
            ]
        );
        assert_eq!(told(json!([])), ["expected a mapping, found a list"]);
        let many: Map<String, Value> = (0..1000).map(|n| (format!("k{n}"), json!(1))).collect();
        assert!(shape.check(&Value::Object(many)).len() <= MOST_PROBLEMS + 1);
    }
}
