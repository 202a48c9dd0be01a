//! The borrowed JSON-RPC envelope: read only what a decision needs, splice the rest, so that every byte which nobody
//! decides on crosses unchanged.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The deepest nesting that is let through to a server.
pub const DEEPEST: usize = 128;

/// The longest id that is taken, in bytes: ids are kept while their requests run.
const LONGEST_ID: usize = 1_000;

/// Codes of JSON-RPC errors.
pub mod code {
    /// The text is no JSON.
    pub const PARSE: i32 = -32700;
    /// The JSON is no request, notification or response.
    pub const INVALID_REQUEST: i32 = -32600;
    /// The method is not there.
    pub const METHOD_NOT_FOUND: i32 = -32601;
    /// The parameters do not fit the method.
    pub const INVALID_PARAMS: i32 = -32602;
    /// Something else went wrong (the field's catch-all).
    pub const SERVER: i32 = -32000;
    /// The session is not known, as the official SDKs say it.
    pub const SESSION_NOT_FOUND: i32 = -32001;
    /// There is no such resource.
    pub const RESOURCE_NOT_FOUND: i32 = -32002;
    /// Headers and body do not say the same (2026-07-28).
    pub const HEADER_MISMATCH: i32 = -32020;
    /// The client did not declare something that is needed (2026-07-28).
    pub const MISSING_CAPABILITY: i32 = -32021;
    /// The version is not spoken here (2026-07-28).
    pub const UNSUPPORTED_VERSION: i32 = -32022;
    /// The request was cancelled.
    pub const CANCELLED: i32 = -32800;
}

/// Why a text is no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The text is no JSON.
    #[error("not JSON: {0}")]
    NotJson(String),
    /// A list of messages; 2025-06-18 removed them.
    #[error("batches are not supported: send one message at a time")]
    Batch,
    /// JSON, but no JSON-RPC 2.0 message.
    #[error("not a JSON-RPC 2.0 message: {0}")]
    Invalid(&'static str),
    /// Lists and objects within each other beyond all reason.
    #[error("nested deeper than {DEEPEST} levels")]
    TooDeep,
}

impl Fault {
    /// The JSON-RPC error code that says so.
    #[must_use]
    pub fn code(&self) -> i32 {
        match self {
            Self::NotJson(_) => code::PARSE,
            Self::Batch | Self::Invalid(_) | Self::TooDeep => code::INVALID_REQUEST,
        }
    }
}

/// The id of a request, as written: a string or an integer.
#[derive(Debug, Clone, Copy)]
pub struct Id<'a>(&'a RawValue);

impl<'a> Id<'a> {
    /// The JSON text of the id.
    #[must_use]
    pub fn text(self) -> &'a str {
        self.0.get()
    }

    /// The number, where it is one that we could have given.
    #[must_use]
    pub fn number(self) -> Option<u64> {
        self.text().parse().ok()
    }

    fn read(raw: &'a RawValue) -> Option<Self> {
        let text = raw.get();
        let digits = text.strip_prefix('-').unwrap_or(text);
        let fits = text.starts_with('"') || digits.bytes().all(|b| b.is_ascii_digit());
        (fits && text.len() <= LONGEST_ID).then_some(Self(raw))
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy)]
pub enum Outcome<'a> {
    /// The `result`.
    Result(&'a RawValue),
    /// The `error`.
    Error(&'a RawValue),
}

/// One message.
#[derive(Debug, Clone)]
pub enum Message<'a> {
    /// It wants an answer.
    Request {
        /// Its id.
        id: Id<'a>,
        /// The method.
        method: Cow<'a, str>,
        /// The parameters, where there are any.
        params: Option<&'a RawValue>,
    },
    /// It wants none.
    Notification {
        /// The method.
        method: Cow<'a, str>,
        /// The parameters, where there are any.
        params: Option<&'a RawValue>,
    },
    /// An answer.
    Response {
        /// The request's id; nothing where the other side could not read it.
        id: Option<Id<'a>>,
        /// The answer.
        outcome: Outcome<'a>,
    },
}

impl<'a> Message<'a> {
    /// Reads one message. The whole text is checked to be JSON; nothing but the envelope is decoded.
    pub fn parse(text: &'a str) -> Result<Self, Fault> {
        if text.trim_ascii_start().starts_with('[') {
            return Err(match serde_json::from_str::<IgnoredAny>(text) {
                Ok(_) => Fault::Batch,
                Err(error) => Fault::NotJson(error.to_string()),
            });
        }
        let [version, id, method, params, result, error] =
            members(text, ["jsonrpc", "id", "method", "params", "result", "error"])?;
        if version.and_then(text_of).as_deref() != Some("2.0") {
            return Err(Fault::Invalid("\"jsonrpc\" must be \"2.0\""));
        }
        if params.is_some_and(|p| !p.get().starts_with(['{', '['])) {
            return Err(Fault::Invalid("\"params\" must be an object"));
        }
        let null = id.is_some_and(|id| id.get() == "null");
        let id = match id {
            Some(raw) if !null => {
                Some(Id::read(raw).ok_or(Fault::Invalid("\"id\" must be a short string or an integer"))?)
            }
            _ => None,
        };
        match (method, result, error) {
            (Some(method), None, None) => {
                let method = text_of(method).ok_or(Fault::Invalid("\"method\" must be a string"))?;
                match id {
                    Some(id) => Ok(Self::Request { id, method, params }),
                    None if null => Err(Fault::Invalid("\"id\" must not be null")),
                    None => Ok(Self::Notification { method, params }),
                }
            }
            (None, Some(result), None) if id.is_some() => Ok(Self::Response {
                id,
                outcome: Outcome::Result(result),
            }),
            (None, None, Some(error)) => Ok(Self::Response {
                id,
                outcome: Outcome::Error(error),
            }),
            (None, Some(_), None) => Err(Fault::Invalid("a result needs an \"id\"")),
            (None, None, None) => Err(Fault::Invalid("\"method\", \"result\" or \"error\" is missing")),
            _ => Err(Fault::Invalid(
                "only one of \"method\", \"result\" and \"error\" may be given",
            )),
        }
    }
}

/// The raw values of some members of an object, `null` included; the other members are passed over.
///
/// # Errors
/// The text is no JSON, no object, or gives a wanted member twice (two readers would not agree on which one counts).
pub fn members<'a, const N: usize>(text: &'a str, names: [&str; N]) -> Result<[Option<&'a RawValue>; N], Fault> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let found = Members(names)
        .deserialize(&mut reader)
        .map_err(|error| match error.classify() {
            serde_json::error::Category::Data if error.to_string().starts_with(TWICE) => {
                Fault::Invalid("a member is given twice")
            }
            serde_json::error::Category::Data => Fault::Invalid("an object is needed"),
            _ => Fault::NotJson(error.to_string()),
        })?;
    reader.end().map_err(|error| Fault::NotJson(error.to_string()))?;
    Ok(found)
}

const TWICE: &str = "given twice";

struct Members<'n, const N: usize>([&'n str; N]);

impl<'de, const N: usize> DeserializeSeed<'de> for Members<'_, N> {
    type Value = [Option<&'de RawValue>; N];

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, const N: usize> Visitor<'de> for Members<'_, N> {
    type Value = [Option<&'de RawValue>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = [None; N];
        while let Some(Key(key)) = map.next_key::<Key<'de>>()? {
            match self.0.iter().position(|name| *name == key) {
                Some(place) => {
                    let value = map.next_value::<&'de RawValue>()?;
                    if found[place].replace(value).is_some() {
                        return Err(A::Error::custom(TWICE));
                    }
                }
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }
}

#[derive(Deserialize)]
pub(super) struct Key<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// The text of a JSON string, unescaped; nothing where the value is no string.
#[must_use]
pub fn text_of(raw: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Key<'_>>(raw.get()).ok().map(|key| key.0)
}

/// Whether lists and objects are nested deeper than [`DEEPEST`]. The text must be JSON.
#[must_use]
pub fn too_deep(text: &str) -> bool {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => {
                depth += 1;
                if depth > DEEPEST {
                    return true;
                }
            }
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// Where `part` stands in `text`. `part` must have been borrowed from `text`.
#[must_use]
pub fn place_of(text: &str, part: &str) -> Range<usize> {
    let start = (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
    start..start + part.len()
}

/// `text` with some places replaced; they must be in order and apart. A newline follows where `line` is set, and those
/// within (JSON has them between tokens only) become spaces, so that it is one line of a stdio conversation.
#[must_use]
pub fn splice(text: &[u8], edits: &[(Range<usize>, &str)], line: bool) -> Vec<u8> {
    let longer: usize = edits.iter().map(|(_, new)| new.len()).sum();
    let mut out = Vec::with_capacity(text.len() + longer + 1);
    let mut at = 0;
    for (place, new) in edits {
        out.extend_from_slice(&text[at..place.start]);
        out.extend_from_slice(new.as_bytes());
        at = place.end;
    }
    out.extend_from_slice(&text[at..]);
    if line {
        if memchr::memchr2(b'\n', b'\r', &out).is_some() {
            for byte in out.iter_mut().filter(|b| matches!(b, b'\n' | b'\r')) {
                *byte = b' ';
            }
        }
        out.push(b'\n');
    }
    out
}

/// A request of our own, as one line.
#[must_use]
pub fn request(id: u64, method: &str, params: &impl Serialize) -> Vec<u8> {
    line(&serde_json::json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
}

/// A notification of our own, as one line.
#[must_use]
pub fn notification(method: &str, params: Option<serde_json::Value>) -> Vec<u8> {
    let mut message = serde_json::json!({"jsonrpc": "2.0", "method": method});
    if let Some(params) = params {
        message["params"] = params;
    }
    line(&message)
}

fn line(message: &serde_json::Value) -> Vec<u8> {
    let mut bytes = message.to_string().into_bytes();
    bytes.push(b'\n');
    bytes
}

/// An answer with a result; `id` and `result` are JSON texts.
#[must_use]
pub fn result(id: &str, result: &[u8]) -> Vec<u8> {
    [
        br#"{"jsonrpc":"2.0","id":"#,
        id.as_bytes(),
        br#","result":"#,
        result,
        b"}",
    ]
    .concat()
}

/// An answer with an error; `id` is a JSON text (`null` where the request could not be read).
#[must_use]
pub fn error(id: &str, code: i32, message: &str) -> Vec<u8> {
    error_with(id, code, message, None)
}

/// [`error`], with the `data` that belongs to it.
#[must_use]
pub fn error_with(id: &str, code: i32, message: &str, data: Option<serde_json::Value>) -> Vec<u8> {
    let mut error = serde_json::json!({"code": code, "message": message});
    if let Some(data) = data {
        error["data"] = data;
    }
    let error = error.to_string();
    [
        br#"{"jsonrpc":"2.0","id":"#,
        id.as_bytes(),
        br#","error":"#,
        error.as_bytes(),
        b"}",
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn shown(text: &str) -> String {
        match Message::parse(text) {
            Ok(Message::Request { id, method, params }) => {
                format!("request {} {method} {}", id.text(), params.map_or("-", RawValue::get))
            }
            Ok(Message::Notification { method, params }) => {
                format!("notification {method} {}", params.map_or("-", RawValue::get))
            }
            Ok(Message::Response { id, outcome }) => {
                let id = id.map_or("-", Id::text);
                match outcome {
                    Outcome::Result(raw) => format!("result {id} {}", raw.get()),
                    Outcome::Error(raw) => format!("error {id} {}", raw.get()),
                }
            }
            Err(fault) => format!("{} {fault}", fault.code()),
        }
    }

    #[test]
    fn messages_are_told_apart() {
        let table = [
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#, "request 1 ping -"),
            (
                r#" {"id":"a\"b","method":"p\u0069ng","params": {"x" : 1e2},"jsonrpc":"2.0","new":[1]} "#,
                r#"request "a\"b" ping {"x" : 1e2}"#,
            ),
            (r#"{"jsonrpc":"2.0","id":-7,"method":"ping"}"#, "request -7 ping -"),
            (
                r#"{"jsonrpc":"2.0","method":"notifications/x","params":{}}"#,
                "notification notifications/x {}",
            ),
            (r#"{"jsonrpc":"2.0","id":1,"result":null}"#, "result 1 null"),
            (
                r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"m"}}"#,
                r#"error 1 {"code":1,"message":"m"}"#,
            ),
            (r#"{"jsonrpc":"2.0","id":null,"error":{}}"#, "error - {}"),
            (r#"{"jsonrpc":"2.0","error":{}}"#, "error - {}"),
            (
                r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
                "-32600 not a JSON-RPC 2.0 message: \"id\" must not be null",
            ),
            (
                r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#,
                "-32600 not a JSON-RPC 2.0 message: \"id\" must be a short string or an integer",
            ),
            (
                r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#,
                "-32600 not a JSON-RPC 2.0 message: \"id\" must be a short string or an integer",
            ),
            (
                r#"{"jsonrpc":"2.0","id":true,"method":"ping"}"#,
                "-32600 not a JSON-RPC 2.0 message: \"id\" must be a short string or an integer",
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#,
                "-32600 not a JSON-RPC 2.0 message: a member is given twice",
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"ping","m\u0065thod":"tools/call"}"#,
                "-32600 not a JSON-RPC 2.0 message: a member is given twice",
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":7}"#,
                "-32600 not a JSON-RPC 2.0 message: \"method\" must be a string",
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":3}"#,
                "-32600 not a JSON-RPC 2.0 message: \"params\" must be an object",
            ),
            (
                r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
                "-32600 not a JSON-RPC 2.0 message: \"jsonrpc\" must be \"2.0\"",
            ),
            (
                r#"{"id":1,"method":"ping"}"#,
                "-32600 not a JSON-RPC 2.0 message: \"jsonrpc\" must be \"2.0\"",
            ),
            (
                r#"{"jsonrpc":"2.0","id":1}"#,
                "-32600 not a JSON-RPC 2.0 message: \"method\", \"result\" or \"error\" is missing",
            ),
            (
                r#"{"jsonrpc":"2.0","result":1}"#,
                "-32600 not a JSON-RPC 2.0 message: a result needs an \"id\"",
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"result":1,"error":{}}"#,
                "-32600 not a JSON-RPC 2.0 message: only one of \"method\", \"result\" and \"error\" may be given",
            ),
            (
                r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#,
                "-32600 batches are not supported: send one message at a time",
            ),
            ("7", "-32600 not a JSON-RPC 2.0 message: an object is needed"),
            ("null", "-32600 not a JSON-RPC 2.0 message: an object is needed"),
        ];
        for (text, want) in table {
            assert_eq!(shown(text), want, "{text}");
        }
        for broken in [
            "",
            "{",
            "[1",
            "{\"a\":}",
            "hello",
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\nb\"}",
            "{} {}",
        ] {
            assert!(
                shown(broken).starts_with("-32700 not JSON"),
                "{broken}: {}",
                shown(broken)
            );
        }
    }

    #[test]
    fn ids_and_depth_are_bounded_and_brackets_in_strings_do_not_count() {
        let long = format!(
            r#"{{"jsonrpc":"2.0","id":"{}","method":"ping"}}"#,
            "x".repeat(LONGEST_ID)
        );
        assert!(Message::parse(&long).is_err());
        assert!(!too_deep(&format!("{}{}", "[".repeat(DEEPEST), "]".repeat(DEEPEST))));
        assert!(too_deep(&"[".repeat(DEEPEST + 1)));
        assert!(!too_deep(&format!(r#"{{"a":"\"{}"}}"#, "[".repeat(1_000))));
        // Reading is iterative: nesting can't exhaust the stack before it is refused.
        let deep = format!(
            r#"{{"jsonrpc":"2.0","method":"x","params":{}{}}}"#,
            "[".repeat(200_000),
            "]".repeat(200_000)
        );
        assert!(Message::parse(&deep).is_ok() && too_deep(&deep));
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(".{0,8}", inner, 0..4).prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// Whatever stands around an id survives byte for byte when the id is replaced, and one line stays one line.
        #[test]
        fn splicing_touches_the_id_alone(params in value(), extra in value(), id in any::<u64>(), pretty in any::<bool>()) {
            let message = json!({"extra": extra, "id": "mine", "jsonrpc": "2.0", "method": "m", "params": {"p": params}});
            let text = if pretty { serde_json::to_string_pretty(&message) } else { serde_json::to_string(&message) }.unwrap();
            let Ok(Message::Request { id: found, .. }) = Message::parse(&text) else { panic!("{text}") };
            let place = place_of(&text, found.text());
            let new = id.to_string();
            let spliced = splice(text.as_bytes(), &[(place.clone(), &new)], false);
            prop_assert_eq!(&spliced[..place.start], &text.as_bytes()[..place.start]);
            prop_assert_eq!(&spliced[place.start + new.len()..], &text.as_bytes()[place.end..]);
            let line = splice(text.as_bytes(), &[(place, &new)], true);
            prop_assert_eq!(memchr::memchr_iter(b'\n', &line).collect::<Vec<_>>(), vec![line.len() - 1]);
            let mut want = message;
            want["id"] = id.into();
            prop_assert_eq!(serde_json::from_slice::<Value>(&line).unwrap(), want);
        }

        #[test]
        fn no_text_panics(text in ".{0,200}") {
            let _ = Message::parse(&text);
            let _ = too_deep(&text);
        }
    }
}
