//! A declaration as a canonical value: what is compared, stored, exported and shown.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::kit::Digest;

use super::id::Id;
use super::kind::{Declared, Reference};
use super::secret::{Secret, masked_changes};

/// A rule that a value breaks, by path: the holder of the text adds file, line and column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Dotted path, as `env[2].name`; empty for the document as a whole.
    pub path: String,
    /// Whether the key is meant (an unknown field) and not the value.
    pub key: bool,
    /// What is wrong.
    pub message: String,
    /// A way out.
    pub hint: Option<String>,
}

impl Problem {
    /// A fault of the value at `path`.
    pub fn at(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            key: false,
            message: message.into(),
            hint: None,
        }
    }

    /// A fault of the key at `path`.
    pub fn at_key(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            key: true,
            ..Self::at(path, message)
        }
    }

    /// The same with a way out.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.path, self.message)
        }
    }
}

/// A valid declaration: identity and canonical fields.
///
/// # Guarantees
/// `spec` is an object that decodes as its kind, holds no field that equals its default, and was checked; so two
/// documents that mean the same have the same digest. Of an encrypted secret `spec` is what it is compared by, see
/// [`Document::opening`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// Kind, scope and name.
    pub id: Id,
    /// The kind's own fields.
    pub spec: Value,
    /// The text of an encrypted secret's file; it is no part of the digest, because the same values may be encrypted anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Arc<str>>,
}

/// A field whose value differs between two documents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldChange {
    /// The field's dotted path: maps are entered, lists are one field, `env` is entered by name.
    pub path: String,
    /// The value before; null where there was none.
    pub from: Value,
    /// The value after; null where there is none.
    pub to: Value,
}

impl Document {
    /// Checks a value (fields only) against its kind and makes it canonical.
    ///
    /// # Errors
    /// Every rule of the kind that the value breaks.
    pub fn new(id: Id, spec: &Value) -> Result<Self, Vec<Problem>> {
        Self::with_references(id, spec.clone()).map(|(document, _)| document)
    }

    /// [`Document::new`], and what [`Document::references`] gives of it.
    pub(super) fn with_references(id: Id, spec: Value) -> Result<(Self, Vec<Reference>), Vec<Problem>> {
        let kind = id.kind();
        if kind.name == Secret::NAME && spec.get("sops").is_some_and(|sops| !sops.is_null()) {
            let sealed = Self::sealed(id, &spec)?;
            let references = sealed.references();
            return Ok((sealed, references));
        }
        let problems = kind.shape.check(&spec);
        if !problems.is_empty() {
            return Err(problems);
        }
        // `env:` with nothing behind it is common in half-edited files: it means the same as no `env`.
        let spec = kind.shape.without_nulls(spec);
        let (spec, references) = (kind.typed.canonical)(spec)?;
        let document = Self { id, spec, text: None };
        let references = document.scope().into_iter().chain(references).collect();
        Ok((document, references))
    }

    /// SHA-256 over the identity and the fields as JSON with sorted keys.
    #[must_use]
    pub fn digest(&self) -> Digest {
        // serde_json's own map keeps keys sorted, so its compact text is canonical.
        Digest::of_parts([self.id.to_string().as_bytes(), self.spec.to_string().as_bytes()])
    }

    /// The typed fields.
    ///
    /// # Errors
    /// `K` is not this document's kind.
    pub fn typed<K: Declared>(&self) -> Result<K, Problem> {
        if self.id.kind().name != K::NAME {
            return Err(Problem::at("", format!("{} is no {}", self.id, K::NAME)));
        }
        K::deserialize(&self.spec).map_err(|error| Problem::at("", error.to_string()))
    }

    /// The resources that this one names; the project in which its name counts is one of them.
    #[must_use]
    pub fn references(&self) -> Vec<Reference> {
        self.scope()
            .into_iter()
            .chain((self.id.kind().typed.references)(&self.spec))
            .collect()
    }

    fn scope(&self) -> Option<Reference> {
        self.id.project().map(Reference::to_project)
    }

    /// The resources that the references mean.
    #[must_use]
    pub fn needs(&self) -> std::collections::BTreeSet<Id> {
        self.references().iter().filter_map(Reference::target).collect()
    }

    /// The flat JSON form: `kind`, `name`, the scope's field, then the fields.
    #[must_use]
    pub fn to_json(&self) -> Value {
        use super::id::Scope;
        let mut out = serde_json::Map::new();
        out.insert("kind".into(), self.id.kind().name.into());
        out.insert("name".into(), self.id.name.as_str().into());
        match &self.id.scope {
            Scope::Global => {}
            Scope::Project(project) => drop(out.insert("project".into(), project.as_str().into())),
        }
        if let Value::Object(fields) = &self.written().spec {
            out.extend(fields.iter().map(|(k, v)| (k.clone(), v.clone())));
        }
        Value::Object(out)
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.id, self.spec)
    }
}

/// A value that is not there.
static NOTHING: Value = Value::Null;

/// The fields in which two documents differ, in order of path; those of secrets masked.
#[must_use]
pub fn field_changes(from: Option<&Document>, to: Option<&Document>) -> Vec<FieldChange> {
    let (before, after) = (from.map_or(&NOTHING, |it| &it.spec), to.map_or(&NOTHING, |it| &it.spec));
    let secret = from
        .or(to)
        .is_some_and(|document| document.id.kind().name == Secret::NAME);
    if secret {
        masked_changes(before, after)
    } else {
        changes(before, after)
    }
}

/// The fields in which two values differ, in order of path.
#[must_use]
pub fn changes(from: &Value, to: &Value) -> Vec<FieldChange> {
    let mut out = vec![];
    collect("", from, to, &mut out);
    out
}

fn collect(path: &str, from: &Value, to: &Value, out: &mut Vec<FieldChange>) {
    if from == to {
        return;
    }
    let join = |key: &str| {
        if path.is_empty() {
            key.to_owned()
        } else {
            format!("{path}.{key}")
        }
    };
    let none = serde_json::Map::new();
    let (ours, theirs) = (fields(from, &none), fields(to, &none));
    let entered = path.is_empty() || (from.is_object() && to.is_object());
    match (ours, theirs) {
        (Some(a), Some(b)) if entered => {
            let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let (from, to) = (a.get(key).unwrap_or(&NOTHING), b.get(key).unwrap_or(&NOTHING));
                collect(&join(key), from, to, out);
            }
        }
        _ => match (named(from), named(to)) {
            (Some(a), Some(b)) if !(a.is_empty() && b.is_empty()) => {
                let keys: std::collections::BTreeSet<&str> = a.iter().chain(&b).map(|(name, _)| *name).collect();
                for key in keys {
                    let side = |list: &[(&str, &Value)]| {
                        list.iter()
                            .find(|(name, _)| *name == key)
                            .map_or(Value::Null, |(_, v)| (*v).clone())
                    };
                    let (x, y) = (side(&a), side(&b));
                    if x != y {
                        out.push(FieldChange {
                            path: join(key),
                            from: x,
                            to: y,
                        });
                    }
                }
            }
            _ => out.push(FieldChange {
                path: path.to_owned(),
                from: from.clone(),
                to: to.clone(),
            }),
        },
    }
}

fn fields<'v>(
    value: &'v Value,
    none: &'v serde_json::Map<String, Value>,
) -> Option<&'v serde_json::Map<String, Value>> {
    match value {
        Value::Object(map) => Some(map),
        Value::Null => Some(none),
        _ => None,
    }
}

/// The entries of a list of `{name, …}` objects by name (environment variables), or nothing where it is another list.
fn named(value: &Value) -> Option<Vec<(&str, &Value)>> {
    match value {
        Value::Null => Some(vec![]),
        Value::Array(items) => items
            .iter()
            .map(|item| {
                Some((
                    item.get("name")?.as_str()?,
                    item.get("value").or_else(|| item.get("valueFrom"))?,
                ))
            })
            .collect(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn changes_name_fields() {
        let from =
            json!({"replicas": 1, "args": ["a"], "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]});
        let to = json!({"replicas": 2, "args": ["a", "b"], "env": [{"name": "B", "value": "3"}, {"name": "C", "value": "4"}]});
        let paths: Vec<_> = changes(&from, &to)
            .into_iter()
            .map(|c| (c.path, c.from.to_string(), c.to.to_string()))
            .collect();
        let want = [
            ("args", r#"["a"]"#, r#"["a","b"]"#),
            ("env.A", r#""1""#, "null"),
            ("env.B", r#""2""#, r#""3""#),
            ("env.C", "null", r#""4""#),
            ("replicas", "1", "2"),
        ];
        assert_eq!(paths, want.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned())));
    }
}
