//! What a tool promises, as one text that is equal exactly where the promise is: its name, description, schemas and
//! annotations, the keys in order, without space between tokens. Numbers stay as they were written, since two readers need
//! not agree on what a huge one means.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::kit::Digest;

use super::envelope::members;

/// The members of a tool's entry that are its promise.
const PROMISE: [&str; 5] = ["name", "description", "inputSchema", "outputSchema", "annotations"];

/// What a tool promises.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// Of the text.
    pub digest: Digest,
    /// A JSON object with the members that the server gives of `name`, `description`, `inputSchema`, `outputSchema` and
    /// `annotations`.
    pub text: Arc<str>,
}

impl Definition {
    /// Reads the entry of a tool.
    #[must_use]
    pub fn of(entry: &str) -> Self {
        // An entry that two readers would read in two ways is its bytes.
        let text: Arc<str> = promise(entry).unwrap_or_else(|| entry.to_owned()).into();
        Self {
            digest: Digest::of(&*text),
            text,
        }
    }
}

fn promise(entry: &str) -> Option<String> {
    let given = members(entry, PROMISE).ok()?;
    let mut all: Vec<(&str, &RawValue)> = PROMISE
        .into_iter()
        .zip(given)
        .filter_map(|(name, value)| Some((name, value?)))
        .collect();
    all.sort_by_key(|(name, _)| *name);
    let mut out = String::with_capacity(entry.len());
    for (n, (name, value)) in all.into_iter().enumerate() {
        out.push(if n == 0 { '{' } else { ',' });
        string(name, &mut out)?;
        out.push(':');
        canonical(value.get(), 0, &mut out)?;
    }
    out.push('}');
    Some(out)
}

/// Writes a JSON text anew; nothing where it is nested beyond all reason.
fn canonical(text: &str, depth: usize, out: &mut String) -> Option<()> {
    if depth > super::envelope::DEEPEST {
        return None;
    }
    match text.as_bytes().first()? {
        b'{' => {
            let Members(mut all) = serde_json::from_str(text).ok()?;
            // Twins stay both, in their order: which of them counts is the reader's business.
            all.sort_by(|(a, _), (b, _)| a.cmp(b));
            out.push('{');
            for (n, (name, value)) in all.into_iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                string(&name, out)?;
                out.push(':');
                canonical(value.get(), depth + 1, out)?;
            }
            out.push('}');
        }
        b'[' => {
            let all: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            out.push('[');
            for (n, value) in all.into_iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                canonical(value.get(), depth + 1, out)?;
            }
            out.push(']');
        }
        b'"' => {
            let plain: String = serde_json::from_str(text).ok()?;
            string(&plain, out)?;
        }
        _ => out.push_str(text),
    }
    Some(())
}

fn string(text: &str, out: &mut String) -> Option<()> {
    out.push_str(&serde_json::to_string(text).ok()?);
    Some(())
}

struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut all = vec![];
                while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                    all.push((Cow::Owned(name), value));
                }
                Ok(Members(all))
            }
        }
        deserializer.deserialize_map(Each)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn only_the_promise_counts_and_all_of_it() {
        let first = r#"{"name":"t","description":"d","inputSchema":{"type":"object","properties":{"b":{},"a":{}}},"annotations":{"readOnlyHint":true}}"#;
        let want = Definition::of(first);
        assert_eq!(
            &*want.text,
            r#"{"annotations":{"readOnlyHint":true},"description":"d","inputSchema":{"properties":{"a":{},"b":{}},"type":"object"},"name":"t"}"#
        );
        for (same, entry) in [
            (
                true,
                r#" { "inputSchema":{"properties":{"a":{ },"b":{}},"type":"obj\u0065ct"}, "description":"\u0064","name":"t","annotations":{"readOnlyHint":true},"title":"T","_meta":{"x":1},"icons":[]}"#,
            ),
            (
                false,
                r#"{"name":"u","description":"d","inputSchema":{"type":"object","properties":{"b":{},"a":{}}},"annotations":{"readOnlyHint":true}}"#,
            ),
            (
                false,
                r#"{"name":"t","description":"e","inputSchema":{"type":"object","properties":{"b":{},"a":{}}},"annotations":{"readOnlyHint":true}}"#,
            ),
            (
                false,
                r#"{"name":"t","description":"d","inputSchema":{"type":"object","properties":{"b":{},"a":{"x":1}}},"annotations":{"readOnlyHint":true}}"#,
            ),
            (
                false,
                r#"{"name":"t","description":"d","inputSchema":{"type":"object","properties":{"b":{},"a":{}}},"annotations":{"readOnlyHint":false}}"#,
            ),
            (
                false,
                r#"{"name":"t","description":"d","inputSchema":{"type":"object","properties":{"b":{},"a":{}}},"outputSchema":{},"annotations":{"readOnlyHint":true}}"#,
            ),
            (
                false,
                r#"{"name":"t","description":"d","inputSchema":{"type":"object","properties":{"b":{},"a":{}}}}"#,
            ),
        ] {
            assert_eq!(Definition::of(entry).digest == want.digest, same, "{entry}");
        }
        // The order of a list counts, and so does each digit of a number.
        for (a, b) in [
            ("[1,2]", "[2,1]"),
            ("9007199254740993", "9007199254740992"),
            ("1.0", "1"),
            (r#"{"x":1,"x":2}"#, r#"{"x":2,"x":1}"#),
        ] {
            let entry = |schema: &str| format!(r#"{{"name":"t","inputSchema":{schema}}}"#);
            assert_ne!(
                Definition::of(&entry(a)).digest,
                Definition::of(&entry(b)).digest,
                "{a} {b}"
            );
        }
        assert_ne!(
            Definition::of(r#"{"name":"t","name":"u"}"#).digest,
            Definition::of(r#"{"name":"t"}"#).digest
        );
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(json!(null)),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            ".{0,4}".prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 20, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(".{0,3}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// However an entry is laid out, its promise is the same; and another schema is another promise.
        #[test]
        fn layout_does_not_count(schema in value(), other in value()) {
            let entry = |schema: &Value| json!({"name": "t", "inputSchema": schema});
            let of = |text: String| Definition::of(&text).digest;
            let plain = of(entry(&schema).to_string());
            prop_assert_eq!(plain, of(serde_json::to_string_pretty(&entry(&schema)).unwrap()));
            prop_assert_eq!(plain == of(entry(&other).to_string()), schema == other);
        }
    }
}
