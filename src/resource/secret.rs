//! Kind `secret`: values that are never kept or shown in the clear.
//!
//! In a repository a secret with values of its own is a file in the SOPS format, one document. Its [`Document`] holds the
//! text of that file; what is compared is in `spec`: the encrypted fields as they stand there while nobody could open them
//! (sealed), and keyed digests of the values once somebody could (opened). A value never is in a [`Document`] that came out
//! of a repository or a store.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::kit::MASK;

use super::document::{Document, FieldChange, Problem};
use super::id::Id;
use super::kind::{Declared, Reference};
use super::schema::given;

/// Values that servers get as environment variables, encrypted in the repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Secret {
    /// The values by key. A value is text, {fromEnv: NAME} (read on mcpd's host) or {generate: {length: 32}} (made once).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub data: BTreeMap<String, SecretValue>,
    /// What SOPS needs to open the values; it stands in encrypted files alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sops: Option<Map<String, Value>>,
}

/// One value of a secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum SecretValue {
    /// The value itself.
    Text(#[schemars(length(max = 65536))] String),
    /// Read from mcpd's own environment when a server starts.
    FromEnv(FromEnv),
    /// Made once by mcpd.
    Generate(Generate),
}

/// A variable of mcpd's own environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FromEnv {
    /// The variable's name.
    #[schemars(length(min = 1, max = 256))]
    pub from_env: String,
}

/// A value that mcpd makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Generate {
    /// How it is made.
    pub generate: GenerateOptions,
}

/// How a value is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GenerateOptions {
    /// How many letters and digits it has.
    #[serde(default = "usual_length")]
    #[schemars(range(min = 8, max = 1024), extend("default" = 32))]
    pub length: u32,
}

const fn usual_length() -> u32 {
    32
}

impl std::fmt::Debug for SecretValue {
    /// Shows where a value comes from, and never the value.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(_) => f.write_str("***"),
            Self::FromEnv(it) => write!(f, "{it:?}"),
            Self::Generate(it) => write!(f, "{it:?}"),
        }
    }
}

impl Declared for Secret {
    const NAME: &'static str = "secret";
    const PLURAL: &'static str = "secrets";
    const ALIASES: &'static [&'static str] = &[];

    fn check(&self) -> Vec<Problem> {
        let mut problems = check_keys(self.data.keys().map(String::as_str));
        // What mcpctl shows in place of a value must never become one.
        let masked = |value: &SecretValue| matches!(value, SecretValue::Text(text) if text.starts_with(MASK));
        for (key, _) in self.data.iter().filter(|(_, value)| masked(value)) {
            problems.push(Problem::at(format!("data.{key}"), "a mask is no value"));
        }
        problems
    }

    fn references(&self) -> Vec<Reference> {
        vec![]
    }

    /// In a file a value is encrypted, or comes from elsewhere.
    fn rules() -> Vec<Value> {
        let keys = json!({"pattern": "^[A-Za-z0-9._-]{1,253}$"});
        let elsewhere = json!({"type": "object"});
        let encrypted = json!({"type": ["string", "object", "array", "null"], "pattern": "^(ENC\\[AES256_GCM,|$)"});
        vec![
            json!({
                "if": given("sops"),
                "then": {"required": ["data"], "properties": {"data": {"additionalProperties": encrypted}}},
                "else": {"properties": {"data": {"additionalProperties": elsewhere}}},
                "errorMessage": "values are encrypted: mcpctl create secret NAME --data KEY=VALUE",
            }),
            json!({"properties": {"data": {"propertyNames": keys}}}),
        ]
    }
}

fn check_keys<'a>(keys: impl Iterator<Item = &'a str>) -> Vec<Problem> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    keys.filter(|key| key.is_empty() || key.len() > 253 || !key.chars().all(fits))
        .map(|key| {
            Problem::at_key(format!("data.{key}"), "not a key").hint("use 1 to 253 of letters, digits, . _ and -")
        })
        .collect()
}

/// How far the values of a secret's document are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// It has no values of its own (or is no secret): nothing is encrypted.
    Plain,
    /// Values stand in the clear: only what people send to the API may look like this, and only until it is encrypted.
    Clear,
    /// Encrypted, and nobody could open it yet.
    Sealed,
    /// Encrypted and opened: `spec` holds keyed digests of the values.
    Opened,
}

impl Document {
    /// How far the values are known.
    #[must_use]
    pub fn opening(&self) -> Opening {
        if self.id.kind().name != Secret::NAME {
            return Opening::Plain;
        }
        match (&self.text, self.spec.get("sops").is_some()) {
            (_, true) => Opening::Sealed,
            (Some(_), false) => Opening::Opened,
            (None, false) => {
                let values = self.spec.get("data").and_then(Value::as_object);
                let clear = values.is_some_and(|values| values.values().any(Value::is_string));
                if clear { Opening::Clear } else { Opening::Plain }
            }
        }
    }

    /// An encrypted secret as it was read: the encrypted fields, and the text that they stand in.
    ///
    /// # Errors
    /// It has not the form that SOPS gives a secret.
    pub(super) fn sealed(id: Id, spec: &Value) -> Result<Self, Vec<Problem>> {
        let mut problems = vec![];
        let fields = spec.as_object().cloned().unwrap_or_default();
        for key in fields.keys().filter(|key| !["data", "sops"].contains(&key.as_str())) {
            problems.push(Problem::at_key(
                key.as_str(),
                format!("unknown field \"{key}\" of a secret"),
            ));
        }
        match fields.get("data") {
            Some(Value::Object(values)) => {
                problems.extend(check_keys(values.keys().map(String::as_str)));
                for (key, value) in values {
                    if !is_encrypted(value) {
                        let path = format!("data.{key}");
                        problems.push(
                            Problem::at(path, "stands in the clear in an encrypted secret")
                                .hint("encrypt it: sops edit, or sops set, does"),
                        );
                    }
                }
            }
            _ => problems.push(Problem::at("data", "expected a mapping of encrypted values")),
        }
        if !fields.get("sops").is_some_and(Value::is_object) {
            problems.push(Problem::at("sops", "expected a mapping, as sops writes it"));
        }
        if problems.is_empty() {
            Ok(Self {
                id,
                spec: Value::Object(fields),
                text: None,
            })
        } else {
            Err(problems)
        }
    }

    /// The same secret with what its values are compared by: a digest a key.
    #[must_use]
    pub fn opened(&self, digests: &BTreeMap<String, String>) -> Self {
        let digests: Map<String, Value> = digests
            .iter()
            .map(|(key, digest)| (key.clone(), format!("digest:{digest}").into()))
            .collect();
        Self {
            id: self.id.clone(),
            spec: json!({"data": digests}),
            text: self.text.clone(),
        }
    }

    /// The document as it is written into a file and shown: of an opened secret the encrypted form.
    #[must_use]
    pub fn written(&self) -> std::borrow::Cow<'_, Self> {
        match (self.opening(), &self.text) {
            (Opening::Opened, Some(text)) => {
                std::borrow::Cow::Owned(super::yaml::encrypted(&self.id, text).unwrap_or_else(|| self.clone()))
            }
            _ => std::borrow::Cow::Borrowed(self),
        }
    }

    /// The same with the text that it was read from.
    #[must_use]
    pub fn with_text(self, text: &str) -> Self {
        Self {
            text: Some(Arc::from(text)),
            ..self
        }
    }
}

/// The spec of a secret as it may be shown: every value masked, and nothing of what SOPS needs.
#[must_use]
pub fn masked(spec: &Value) -> Value {
    fn hide(value: &Value) -> Value {
        match value {
            Value::Object(map) => map
                .iter()
                .map(|(key, value)| (key.clone(), hide(value)))
                .collect::<Map<_, _>>()
                .into(),
            Value::Null => Value::Null,
            _ => MASK.into(),
        }
    }
    let values = spec.get("data").and_then(Value::as_object).cloned().unwrap_or_default();
    let shown: Map<String, Value> = values
        .into_iter()
        .map(|(key, value)| {
            // Where a value comes from is no secret, unless it is encrypted too.
            let open = value.is_object() && !is_encrypted(&value);
            let shown = if open { value } else { hide(&value) };
            (key, shown)
        })
        .collect();
    json!({"data": shown})
}

/// The values in which two secrets differ, masked: that a value changed is told, and not what it is.
pub(super) fn masked_changes(from: &Value, to: &Value) -> Vec<FieldChange> {
    let values = |spec: &Value| json!({"data": spec.get("data").cloned().unwrap_or(Value::Null)});
    let side = |spec: &Value, path: &str| {
        let masked = masked(spec);
        let mut value = masked.get("data").cloned().unwrap_or(Value::Null);
        for key in path.strip_prefix("data.").into_iter().flat_map(|path| path.split('.')) {
            // Keys may hold dots: then what stands there is told by the whole path alone.
            value = value.get(key).cloned().unwrap_or(Value::Null);
        }
        value
    };
    super::document::changes(&values(from), &values(to))
        .into_iter()
        .map(|change| {
            let hidden = |spec: &Value, raw: &Value| match (raw, side(spec, &change.path)) {
                (Value::Null, _) => Value::Null,
                (_, Value::Null) => MASK.into(),
                (_, shown) => shown,
            };
            let (before, mut after) = (hidden(from, &change.from), hidden(to, &change.to));
            if before == after {
                after = format!("{MASK} (changed)").into();
            }
            FieldChange {
                path: change.path.clone(),
                from: before,
                to: after,
            }
        })
        .collect()
}

/// Whether a value (with all below it) is as SOPS encrypts it.
fn is_encrypted(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty() || text.starts_with("ENC[AES256_GCM,"),
        Value::Object(map) => map.values().all(is_encrypted),
        Value::Array(list) => list.iter().all(is_encrypted),
        // sops leaves null as it is.
        Value::Null => true,
        Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> Id {
        "secret/keys".parse().unwrap()
    }

    #[test]
    fn values_come_from_text_the_environment_or_nowhere() {
        let plain =
            json!({"data": {"A": {"fromEnv": "HOME"}, "B": {"generate": {"length": 12}}, "C": {"generate": {}}}});
        let document = Document::new(id(), &plain).unwrap();
        assert_eq!(document.opening(), Opening::Plain);
        assert_eq!(document.spec["data"]["C"]["generate"]["length"], 32);
        let clear = Document::new(id(), &json!({"data": {"A": "hunter2"}})).unwrap();
        assert_eq!(clear.opening(), Opening::Clear);
        let typed: Secret = clear.typed().unwrap();
        assert!(!format!("{typed:?}").contains("hunter2"));
        for (bad, want) in [
            (json!({"data": {"A": 1}}), "data.A"),
            (json!({"data": {"A": {"generate": {"length": 4}}}}), "data.A"),
            (json!({"data": {"A": {"from": "x"}}}), "data.A"),
            (json!({"data": {"a b": "x"}}), "data.a b: not a key"),
            (json!({"values": {}}), "values: unknown field"),
            (json!({"data": {"A": "***"}}), "data.A: a mask is no value"),
        ] {
            let problems = Document::new(id(), &bad).unwrap_err();
            assert!(problems[0].to_string().starts_with(want), "{bad}: {}", problems[0]);
        }
    }

    /// pitfalls.md, Pushes: "a mask written back as the value"; and that no plan shows a value.
    #[test]
    fn changes_of_secrets_are_masked() {
        let told = |from: &Value, to: &Value| -> Vec<String> {
            let told = masked_changes(from, to).into_iter();
            told.map(|c| format!("{} {} {}", c.path, c.from, c.to)).collect()
        };
        let old = json!({"data": {"A": "hunter2", "B": "digest:ab", "C": {"generate": {"length": 8}}, "E.F": "x"}});
        let new = json!({"data": {"A": "hunter3", "B": "digest:ab", "C": {"generate": {"length": 9}}, "D": "hunter4", "E.F": "y"}});
        assert_eq!(
            told(&old, &new),
            [
                r#"data.A "***" "*** (changed)""#,
                "data.C.generate.length 8 9",
                r#"data.D null "***""#,
                r#"data.E.F "***" "*** (changed)""#,
            ]
        );
        let sealed =
            json!({"data": {"A": "ENC[AES256_GCM,x]", "B": {"fromEnv": "ENC[AES256_GCM,y]"}}, "sops": {"mac": "z"}});
        assert_eq!(
            told(&Value::Null, &sealed),
            [r#"data null {"A":"***","B":{"fromEnv":"***"}}"#]
        );
        assert_eq!(masked(&sealed), json!({"data": {"A": "***", "B": {"fromEnv": "***"}}}));
    }

    #[test]
    fn an_encrypted_secret_is_taken_as_it_stands() {
        let encrypted = json!({"data": {"A": "ENC[AES256_GCM,data:x,iv:y,tag:z,type:str]", "B": {"fromEnv": "ENC[AES256_GCM,data:x]"}}, "sops": {"mac": "x"}});
        let document = Document::new(id(), &encrypted).unwrap();
        assert_eq!((document.opening(), &document.spec), (Opening::Sealed, &encrypted));
        let opened = document
            .opened(&[("A".to_owned(), "ab".to_owned())].into())
            .with_text("x");
        assert_eq!(opened.opening(), Opening::Opened);
        assert_ne!(opened.digest(), document.digest());
        let mixed = json!({"data": {"A": "hunter2"}, "sops": {}});
        assert_eq!(
            Document::new(id(), &mixed).unwrap_err()[0].to_string(),
            "data.A: stands in the clear in an encrypted secret"
        );
    }
}
