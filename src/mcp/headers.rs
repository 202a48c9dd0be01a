//! What of a modern message is repeated in HTTP headers: how values are written there, and which arguments of a tool go
//! along (`x-mcp-header` in its schema). Pure.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use serde_json::value::RawValue;

use super::envelope::{members, text_of};
use super::one_line;

/// The method of a request.
pub const METHOD: HeaderName = HeaderName::from_static("mcp-method");
/// What a request is about: the tool or prompt that it names, or its resource.
pub const NAME: HeaderName = HeaderName::from_static("mcp-name");
/// The protocol version that a request is of.
pub const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");

/// The annotation in a schema.
const ANNOTATION: &str = "x-mcp-header";
/// How the header of an argument begins.
const PARAMETER: &str = "mcp-param-";
/// What stands around a value in Base64.
const OPEN: &str = "=?base64?";
const CLOSE: &str = "?=";
/// The largest integer that every reader of JSON has exactly.
const SAFE: i64 = (1 << 53) - 1;
/// Keywords of JSON Schema whose values are schemas, lists of them, and maps of them. `properties` is none of these: what
/// stands below it alone is an argument's own schema.
const SCHEMA: [&str; 11] = [
    "items",
    "contains",
    "unevaluatedItems",
    "additionalProperties",
    "propertyNames",
    "unevaluatedProperties",
    "not",
    "if",
    "then",
    "else",
    "contentSchema",
];
const SCHEMAS: [&str; 5] = ["allOf", "anyOf", "oneOf", "prefixItems", "items"];
const NAMED_SCHEMAS: [&str; 5] = [
    "patternProperties",
    "dependentSchemas",
    "dependencies",
    "$defs",
    "definitions",
];

/// The member of a request's parameters that `Mcp-Name` repeats.
#[must_use]
pub fn named_by(method: &str) -> Option<&'static str> {
    match method {
        "tools/call" | "prompts/get" => Some("name"),
        "resources/read" => Some("uri"),
        _ => None,
    }
}

/// A value as a header carries it: as it is where that is plain and can't be misread, else in Base64.
#[must_use]
pub fn encode(value: &str) -> HeaderValue {
    let visible = value.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    let trimmed = !value.starts_with(' ') && !value.ends_with(' ');
    let marked = value.starts_with(OPEN) && value.ends_with(CLOSE);
    if visible && trimmed && !marked {
        // What is visible and plain is a header value.
        if let Ok(plain) = HeaderValue::from_str(value) {
            return plain;
        }
    }
    let coded = format!("{OPEN}{}{CLOSE}", STANDARD.encode(value));
    HeaderValue::from_str(&coded).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// A header's value is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Undecodable {
    /// Characters that no header may have.
    #[error("it has characters that no header may have")]
    Characters,
    /// What stands between the marks is no Base64 of a text.
    #[error("it is no Base64 of a text")]
    Base64,
}

/// The value that a header carries.
///
/// # Errors
/// It has characters that no header may have, or says that it is Base64 and is not.
pub fn decode(value: &HeaderValue) -> Result<Cow<'_, str>, Undecodable> {
    let text = value.to_str().map_err(|_| Undecodable::Characters)?;
    let coded = text.strip_prefix(OPEN).and_then(|text| text.strip_suffix(CLOSE));
    let Some(coded) = coded else {
        return Ok(Cow::Borrowed(text));
    };
    let bytes = STANDARD.decode(coded).map_err(|_| Undecodable::Base64)?;
    String::from_utf8(bytes)
        .map(Cow::Owned)
        .map_err(|_| Undecodable::Base64)
}

/// Why a tool can't be called over HTTP: what is wrong with its `x-mcp-header`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// It is no text.
    #[error("{0}: x-mcp-header is no text")]
    NoText(String),
    /// It is no name of a header.
    #[error("{0}: x-mcp-header \"{1}\" can't be part of a header's name")]
    NoToken(String, String),
    /// Its argument is of a type that no header carries.
    #[error("{0}: x-mcp-header needs an argument of type string, integer or boolean")]
    NotPrimitive(String),
    /// It stands where the argument's place is not certain.
    #[error("x-mcp-header stands at {0}, where only properties within properties may have it")]
    Unreachable(String),
    /// Two arguments have the same.
    #[error("{0}: x-mcp-header \"{1}\" is given to another argument too")]
    Twice(String, String),
}

/// An argument that goes along as a header.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Parameter {
    /// The names of the properties that lead to it.
    path: Vec<String>,
    header: HeaderName,
    integer: bool,
}

/// The arguments of a tool that go along as headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotations(Vec<Parameter>);

impl Annotations {
    /// Reads them out of a tool's `inputSchema`; nothing where there are none.
    ///
    /// # Errors
    /// One of them breaks a rule: the tool must not be offered.
    pub fn of(input_schema: &RawValue) -> Result<Option<Self>, Invalid> {
        // Most schemas have none, and need no second look.
        if memchr::memmem::find(input_schema.get().as_bytes(), b"x-mcp-header").is_none()
            && !input_schema.get().contains("\\u")
        {
            return Ok(None);
        }
        let Ok(schema) = serde_json::from_str::<Value>(input_schema.get()) else {
            return Ok(None);
        };
        let mut found = vec![];
        walk(&schema, &mut vec![], true, &mut found)?;
        Ok((!found.is_empty()).then_some(Self(found)))
    }

    /// The headers of a call with these arguments. An argument that is not given, or is `null`, has none.
    #[must_use]
    pub fn headers(&self, arguments: Option<&RawValue>) -> Vec<(HeaderName, HeaderValue)> {
        let header = |parameter: &Parameter| {
            let value = parameter.value(arguments).ok()??;
            Some((parameter.header.clone(), encode(&value)))
        };
        self.0.iter().filter_map(header).collect()
    }

    /// Whether the headers of a call say what its arguments say.
    ///
    /// # Errors
    /// What differs, in words.
    pub fn check(&self, headers: &HeaderMap, arguments: Option<&RawValue>) -> Result<(), String> {
        for parameter in &self.0 {
            let name = &parameter.header;
            let mut said = headers.get_all(name).iter();
            let (first, second) = (said.next(), said.next());
            if second.is_some() {
                return Err(format!("header {name} is given twice"));
            }
            let value = parameter
                .value(arguments)
                .map_err(|()| format!("the argument {} can't be read", parameter.place()))?;
            match (first, value) {
                (None, None) => {}
                (None, Some(_)) => {
                    return Err(format!(
                        "header {name} is missing for the argument {}",
                        parameter.place()
                    ));
                }
                (Some(_), None) => {
                    return Err(format!(
                        "header {name} is given without the argument {}",
                        parameter.place()
                    ));
                }
                (Some(first), Some(value)) => {
                    let first = decode(first).map_err(|why| format!("header {name} makes no sense: {why}"))?;
                    let same = first == value || (parameter.integer && integer(&first).is_some_and(|n| n == value));
                    if !same {
                        return Err(format!(
                            "header {name} does not say what the argument {} says",
                            parameter.place()
                        ));
                    }
                }
            }
        }
        Ok(())
    }
}

impl Parameter {
    fn place(&self) -> String {
        one_line(&self.path.join("."), 100)
    }

    /// The argument as a header says it, where it is given. What no header can carry is as if it were not given; the error:
    /// nobody can tell which of two it is.
    fn value(&self, arguments: Option<&RawValue>) -> Result<Option<String>, ()> {
        let Some(mut at) = arguments else { return Ok(None) };
        for name in &self.path {
            if !at.get().starts_with('{') {
                return Ok(None);
            }
            match members(at.get(), [name.as_str()]).map_err(|_| ())? {
                [Some(value)] => at = value,
                [None] => return Ok(None),
            }
        }
        Ok(match at.get() {
            "true" | "false" => Some(at.get().to_owned()),
            text if text.starts_with('"') => text_of(at).map(Cow::into_owned),
            number => integer(number),
        })
    }
}

/// An integer that every reader has exactly, in plain decimal; `42.0` and `4.2e1` are integers too.
fn integer(text: &str) -> Option<String> {
    let number: serde_json::Number = text.parse().ok()?;
    let number = number.as_i64().or_else(|| {
        let number = number.as_f64().filter(|number| number.fract() == 0.0)?;
        // Written without an exponent by the standard library, and exact within the safe range.
        (number.abs() <= 9_007_199_254_740_991.0).then(|| format!("{number:.0}").parse().ok())?
    })?;
    (-SAFE..=SAFE).contains(&number).then(|| number.to_string())
}

/// Looks at a schema, `path` leading to it, and at all schemas within. `certain`: the path consists of properties alone.
fn walk(schema: &Value, path: &mut Vec<String>, certain: bool, found: &mut Vec<Parameter>) -> Result<(), Invalid> {
    let Value::Object(schema) = schema else { return Ok(()) };
    if let Some(name) = schema.get(ANNOTATION) {
        let place = one_line(&path.join("."), 100);
        if !certain || path.is_empty() {
            return Err(Invalid::Unreachable(if place.is_empty() {
                "the top".into()
            } else {
                place
            }));
        }
        let Value::String(name) = name else {
            return Err(Invalid::NoText(place));
        };
        let no_token = || Invalid::NoToken(place.clone(), one_line(name, 100));
        if name.is_empty() {
            return Err(no_token());
        }
        let header = format!("{PARAMETER}{name}");
        let header = HeaderName::from_bytes(header.as_bytes()).map_err(|_| no_token())?;
        let kind = schema.get("type").and_then(Value::as_str);
        if !matches!(kind, Some("string" | "integer" | "boolean")) {
            return Err(Invalid::NotPrimitive(place));
        }
        if found.iter().any(|parameter| parameter.header == header) {
            return Err(Invalid::Twice(place, one_line(name, 100)));
        }
        found.push(Parameter {
            path: path.clone(),
            header,
            integer: kind == Some("integer"),
        });
    }
    let mut look = |name: &str, schema: &Value, certain: bool, found: &mut Vec<Parameter>| {
        path.push(name.to_owned());
        let looked = walk(schema, path, certain, found);
        path.pop();
        looked
    };
    for (keyword, value) in schema {
        let keyword = keyword.as_str();
        match value {
            Value::Object(all) if keyword == "properties" => {
                for (name, schema) in all {
                    look(name, schema, certain, found)?;
                }
            }
            Value::Object(all) if NAMED_SCHEMAS.contains(&keyword) => {
                for (name, schema) in all {
                    look(name, schema, false, found)?;
                }
            }
            Value::Object(_) if SCHEMA.contains(&keyword) => look(keyword, value, false, found)?,
            Value::Array(all) if SCHEMAS.contains(&keyword) => {
                for schema in all {
                    look(keyword, schema, false, found)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn raw(value: &Value) -> Box<RawValue> {
        RawValue::from_string(value.to_string()).unwrap()
    }

    fn of(schema: &Value) -> Result<Option<Annotations>, Invalid> {
        Annotations::of(&raw(schema))
    }

    fn with(properties: &Value) -> Annotations {
        of(&json!({"type": "object", "properties": properties}))
            .unwrap()
            .unwrap()
    }

    fn shown(annotations: &Annotations, arguments: &Value) -> Vec<String> {
        let headers = annotations.headers(Some(&raw(arguments)));
        headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect()
    }

    /// The examples of the specification, and what else could be misread.
    #[test]
    fn values_are_encoded_where_they_must_be() {
        for (value, want) in [
            ("us-west1", "us-west1"),
            ("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?="),
            (" padded ", "=?base64?IHBhZGRlZCA=?="),
            ("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
            ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
            ("", ""),
            ("in the middle", "in the middle"),
            ("=?BASE64?x?=", "=?BASE64?x?="),
            ("=?base64?", "=?base64?"),
            ("=?base64?=", "=?base64?PT9iYXNlNjQ/PQ==?="),
            ("a\tb", "=?base64?YQli?="),
            ("a\r\nMcp-Name: b", "=?base64?YQ0KTWNwLU5hbWU6IGI=?="),
            ("\u{7f}", "=?base64?fw==?="),
        ] {
            let encoded = encode(value);
            assert_eq!(encoded.to_str().unwrap(), want, "{value:?}");
            assert_eq!(decode(&encoded).unwrap(), value);
        }
    }

    #[test]
    fn what_is_no_value_is_refused() {
        for (header, want) in [
            (&b"=?base64?a?="[..], Err(Undecodable::Base64)),
            (b"=?base64?YQ?=", Err(Undecodable::Base64)),
            (b"=?base64?//8=?=", Err(Undecodable::Base64)),
            (b"=?base64?YQ==?=", Ok("a")),
            (b"=?base64??=", Ok("")),
            (b"a\tb", Ok("a\tb")),
            (b"caf\xe9", Err(Undecodable::Characters)),
        ] {
            let value = HeaderValue::from_bytes(header).unwrap();
            assert_eq!(decode(&value).as_deref(), want.as_deref(), "{header:?}");
        }
    }

    /// Each rule of "Schema Extension".
    #[test]
    fn annotations_are_taken_by_the_rules_alone() {
        let string = |name: &str| json!({"type": "string", ANNOTATION: name});
        let object = |properties: Value| json!({"type": "object", "properties": properties});
        let good = [
            object(json!({"a": string("Region")})),
            object(
                json!({"a": string("A"), "b": {"type": "integer", ANNOTATION: "B"}, "c": {"type": "boolean", ANNOTATION: "!#$%&'*+-.^_`|~0"}}),
            ),
            object(json!({"a": object(json!({"b": object(json!({"c": string("Deep")}))}))})),
            // No annotations: a property of that name, and values that look like schemas.
            json!({"properties": {"a": string("A"), ANNOTATION: {"type": "number"}}}),
            object(
                json!({"a": {"type": "string", ANNOTATION: "A", "default": {ANNOTATION: 7}, "enum": [{ANNOTATION: ""}], "examples": [{ANNOTATION: ""}]}}),
            ),
        ];
        for schema in good {
            assert!(of(&schema).unwrap().is_some(), "{schema}");
        }
        for none in [
            object(json!({"a": {"type": "string"}})),
            json!(true),
            json!({}),
            json!(7),
        ] {
            assert_eq!(of(&none), Ok(None), "{none}");
        }
        let bad = [
            (
                object(json!({"a": string("")})),
                "a: x-mcp-header \"\" can't be part of a header's name",
            ),
            (
                object(json!({"a": string("a b")})),
                "a: x-mcp-header \"a b\" can't be part of a header's name",
            ),
            (
                object(json!({"a": string("a:b")})),
                "a: x-mcp-header \"a:b\" can't be part of a header's name",
            ),
            (
                object(json!({"a": string("a\r\nb")})),
                "a: x-mcp-header \"a  b\" can't be part of a header's name",
            ),
            (
                object(json!({"a": string("é")})),
                "a: x-mcp-header \"é\" can't be part of a header's name",
            ),
            (
                object(json!({"a": {"type": "string", ANNOTATION: 7}})),
                "a: x-mcp-header is no text",
            ),
            (
                object(json!({"a": {"type": "string", ANNOTATION: null}})),
                "a: x-mcp-header is no text",
            ),
            (
                object(json!({"a": string("X"), "b": string("x")})),
                "b: x-mcp-header \"x\" is given to another argument too",
            ),
            (
                object(json!({"a": {"type": "number", ANNOTATION: "A"}})),
                "a: x-mcp-header needs an argument of type string, integer or boolean",
            ),
            (
                object(json!({"a": {"type": ["string", "null"], ANNOTATION: "A"}})),
                "a: x-mcp-header needs an argument of type string, integer or boolean",
            ),
            (
                object(json!({"a": {"type": "object", ANNOTATION: "A"}})),
                "a: x-mcp-header needs an argument of type string, integer or boolean",
            ),
            (
                object(json!({"a": {"type": "array", ANNOTATION: "A"}})),
                "a: x-mcp-header needs an argument of type string, integer or boolean",
            ),
            (
                object(json!({"a": {ANNOTATION: "A"}})),
                "a: x-mcp-header needs an argument of type string, integer or boolean",
            ),
            (
                object(json!({"a": {"$ref": "#/$defs/a", ANNOTATION: "A"}})),
                "a: x-mcp-header needs an argument of type string, integer or boolean",
            ),
            (
                string("A"),
                "x-mcp-header stands at the top, where only properties within properties may have it",
            ),
        ];
        for (schema, want) in bad {
            assert_eq!(of(&schema).unwrap_err().to_string(), want, "{schema}");
        }
        for keyword in SCHEMA {
            let within = object(json!({"a": {keyword: string("A")}}));
            let want =
                format!("x-mcp-header stands at a.{keyword}, where only properties within properties may have it");
            assert_eq!(of(&within).unwrap_err().to_string(), want);
            let below = object(json!({"a": {keyword: object(json!({"b": string("A")}))}}));
            assert!(matches!(of(&below), Err(Invalid::Unreachable(_))), "{below}");
        }
        for keyword in SCHEMAS {
            let within = object(json!({"a": {keyword: [{}, object(json!({"b": string("A")}))]}}));
            assert!(matches!(of(&within), Err(Invalid::Unreachable(_))), "{within}");
        }
        for keyword in NAMED_SCHEMAS {
            let within = json!({keyword: {"b": string("A")}});
            assert!(matches!(of(&within), Err(Invalid::Unreachable(_))), "{within}");
        }
        let escaped = r#"{"properties":{"a":{"type":"number","\u0078-mcp-header":"A"}}}"#;
        let escaped = RawValue::from_string(escaped.to_owned()).unwrap();
        assert!(Annotations::of(&escaped).is_err(), "however it is written");
    }

    #[test]
    fn arguments_become_headers() {
        let annotations = with(&json!({
            "s": {"type": "string", ANNOTATION: "S"},
            "i": {"type": "integer", ANNOTATION: "I"},
            "b": {"type": "boolean", ANNOTATION: "B"},
            "o": {"properties": {"s": {"type": "string", ANNOTATION: "O-S"}}},
        }));
        let table = [
            (
                json!({"s": "us-west1", "i": -7, "b": true}),
                vec!["mcp-param-b: true", "mcp-param-i: -7", "mcp-param-s: us-west1"],
            ),
            (
                json!({"s": "世", "o": {"s": "within", "x": 1}}),
                vec!["mcp-param-o-s: within", "mcp-param-s: =?base64?5LiW?="],
            ),
            (json!({"s": null, "o": null}), vec![]),
            (json!({"o": "s"}), vec![]),
            (json!({"s": ["a"], "i": 1.5, "b": {}}), vec![]),
            (json!({"i": 42.0}), vec!["mcp-param-i: 42"]),
            (
                json!({"i": 9_007_199_254_740_991_i64}),
                vec!["mcp-param-i: 9007199254740991"],
            ),
            (
                json!({"i": -9_007_199_254_740_991_i64}),
                vec!["mcp-param-i: -9007199254740991"],
            ),
            (json!({"i": 9_007_199_254_740_992_i64}), vec![]),
            (json!({"i": u64::MAX}), vec![]),
        ];
        for (arguments, want) in table {
            let mut shown = shown(&annotations, &arguments);
            shown.sort();
            assert_eq!(shown, want, "{arguments}");
        }
        assert!(annotations.headers(None).is_empty());
        let written = RawValue::from_string(r#"{"i":1e2}"#.to_owned()).unwrap();
        assert_eq!(annotations.headers(Some(&written))[0].1, "100");
    }

    #[test]
    fn headers_that_say_something_else_are_told() {
        let annotations = with(&json!({
            "s": {"type": "string", ANNOTATION: "S"},
            "i": {"type": "integer", ANNOTATION: "I"},
        }));
        let check = |headers: &[(&str, &str)], arguments: Value| {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(
                    HeaderName::from_bytes(name.as_bytes()).unwrap(),
                    HeaderValue::from_str(value).unwrap(),
                );
            }
            annotations
                .check(&map, Some(&raw(&arguments)))
                .err()
                .unwrap_or_default()
        };
        for (headers, arguments, want) in [
            (&[("mcp-param-s", "a")][..], json!({"s": "a"}), ""),
            (&[("Mcp-Param-S", "=?base64?YQ==?=")], json!({"s": "a"}), ""),
            (&[("mcp-param-i", "42.0")], json!({"i": 42}), ""),
            (&[("mcp-param-i", "42")], json!({"i": 42.0}), ""),
            (&[("mcp-param-other", "x")], json!({}), ""),
            (&[], json!({"s": null}), ""),
            (
                &[("mcp-param-s", "A")],
                json!({"s": "a"}),
                "header mcp-param-s does not say what the argument s says",
            ),
            (
                &[("mcp-param-s", "42.0")],
                json!({"s": "42"}),
                "header mcp-param-s does not say what the argument s says",
            ),
            (
                &[("mcp-param-i", "41")],
                json!({"i": 42}),
                "header mcp-param-i does not say what the argument i says",
            ),
            (
                &[],
                json!({"s": "a"}),
                "header mcp-param-s is missing for the argument s",
            ),
            (
                &[("mcp-param-s", "a")],
                json!({}),
                "header mcp-param-s is given without the argument s",
            ),
            (
                &[("mcp-param-s", "a"), ("mcp-param-s", "a")],
                json!({"s": "a"}),
                "header mcp-param-s is given twice",
            ),
            (
                &[("mcp-param-s", "=?base64?!?=")],
                json!({"s": "a"}),
                "header mcp-param-s makes no sense: it is no Base64 of a text",
            ),
        ] {
            assert_eq!(check(headers, arguments.clone()), want, "{headers:?} {arguments}");
        }
        let twice = RawValue::from_string(r#"{"s":"a","s":"b"}"#.to_owned()).unwrap();
        let headers = [(HeaderName::from_static("mcp-param-s"), HeaderValue::from_static("a"))];
        let told = annotations
            .check(&headers.into_iter().collect(), Some(&twice))
            .unwrap_err();
        assert_eq!(told, "the argument s can't be read");
    }

    proptest! {
        /// Whatever the value, it comes back as it was, and nothing of it is seen as a header of its own.
        #[test]
        fn values_come_back(value in any::<String>()) {
            let encoded = encode(&value);
            prop_assert_eq!(decode(&encoded).unwrap(), value.as_str());
            let bytes = encoded.as_bytes();
            prop_assert!(bytes.iter().all(|byte| (b' '..=b'~').contains(byte)));
            prop_assert!(!bytes.starts_with(b" ") && !bytes.ends_with(b" "));
        }

        /// What is sent passes the check of who receives it.
        #[test]
        fn what_is_sent_passes(s in any::<String>(), i in any::<i64>(), b in any::<bool>(), f in any::<f64>()) {
            let annotations = with(&json!({
                "s": {"type": "string", ANNOTATION: "S"},
                "i": {"type": "integer", ANNOTATION: "I"},
                "f": {"type": "integer", ANNOTATION: "F"},
                "o": {"properties": {"b": {"type": "boolean", ANNOTATION: "B"}}},
            }));
            let arguments = raw(&json!({"s": s, "i": i, "f": f, "o": {"b": b}}));
            let headers = annotations.headers(Some(&arguments)).into_iter().collect();
            prop_assert_eq!(annotations.check(&headers, Some(&arguments)), Ok(()));
        }

        #[test]
        fn no_schema_panics(text in ".{0,200}") {
            if let Ok(raw) = RawValue::from_string(text) {
                let _ = Annotations::of(&raw);
            }
        }
    }
}
