//! The one table of kinds: it drives parsing, printing, routes, the CLI, completion, access rules and tests.

use std::sync::LazyLock;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::kit::Name;

use super::document::Problem;
use super::id::Id;
use super::project::Project;
use super::prompt::Prompt;
use super::secret::Secret;
use super::server::Server;
use super::shape::Shape;
use super::template::Template;

/// What a kind's own file provides.
///
/// The struct's fields are the kind's fields: their doc comments become the help of flags and of the JSON Schema, their
/// order the order in which YAML is written. A field that equals its default is not written.
pub trait Declared: Serialize + DeserializeOwned + schemars::JsonSchema {
    /// Singular name, as in `kind: server`.
    const NAME: &'static str;
    /// Plural, as in routes, folders and the grouped form.
    const PLURAL: &'static str;
    /// Short names that the CLI takes too.
    const ALIASES: &'static [&'static str];
    /// Whether names may be scoped to a project.
    const SCOPED: bool = false;

    /// Rules that span fields. What the shape can say (types, ranges, words) is not repeated here.
    fn check(&self) -> Vec<Problem>;

    /// The resources that this one needs.
    fn references(&self) -> Vec<Reference>;

    /// What [`Declared::check`] and the reader of files say of the fields, as far as JSON Schema can say it: a document
    /// must fit each of these. They never refuse what is valid.
    fn rules() -> Vec<Value> {
        vec![]
    }
}

/// A resource that another one names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The dotted path of the value that names it, as `servers[0]`.
    pub path: String,
    /// The kind that is named.
    pub kind: &'static str,
    /// The name, as written.
    pub name: String,
}

impl Reference {
    /// The project in which a name counts.
    pub(super) fn to_project(project: &Name) -> Self {
        Self {
            path: "project".to_owned(),
            kind: Project::NAME,
            name: project.to_string(),
        }
    }

    /// The resource that is meant; nothing where what is written can't be a name.
    #[must_use]
    pub fn target(&self) -> Option<Id> {
        Some(Id::new(kind_named(self.kind)?, self.name.parse().ok()?))
    }
}

/// A row of the table of kinds.
pub struct Kind {
    /// Singular name.
    pub name: &'static str,
    /// Plural.
    pub plural: &'static str,
    /// Short names.
    pub aliases: &'static [&'static str],
    /// Whether names may be scoped.
    pub scoped: bool,
    /// The fields and their types.
    pub shape: &'static LazyLock<Shape>,
    pub(super) typed: Typed,
}

/// A canonical value with its references, or what is wrong.
type Canonical = Result<(Value, Vec<Reference>), Vec<Problem>>;

/// The typed side of a kind, behind plain functions so that the table can hold it.
pub(super) struct Typed {
    /// Decodes, checks, and encodes canonically (defaults left out): the value and its references, or what is wrong.
    pub canonical: fn(Value) -> Canonical,
    /// The references of a canonical value.
    pub references: fn(&Value) -> Vec<Reference>,
    /// The YAML text of a canonical value in the order of the fields.
    pub yaml: fn(&Value) -> Result<String, String>,
    /// The JSON Schema.
    pub schema: fn() -> Value,
    /// Further schemas that a document must fit.
    pub rules: fn() -> Vec<Value>,
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

fn fault(error: &serde_json::Error) -> Vec<Problem> {
    vec![Problem::at("", error.to_string())]
}

fn decode<K: Declared>(value: &Value) -> Result<K, Vec<Problem>> {
    K::deserialize(value).map_err(|error| fault(&error))
}

fn canonical<K: Declared>(value: Value) -> Canonical {
    let typed = K::deserialize(value).map_err(|error| fault(&error))?;
    let problems = typed.check();
    if problems.is_empty() {
        let canonical = serde_json::to_value(&typed).map_err(|error| fault(&error))?;
        Ok((canonical, typed.references()))
    } else {
        Err(problems)
    }
}

fn references<K: Declared>(value: &Value) -> Vec<Reference> {
    decode::<K>(value).map_or_else(|_| vec![], |typed| typed.references())
}

fn yaml<K: Declared>(value: &Value) -> Result<String, String> {
    let typed = decode::<K>(value).map_err(|p| p.iter().map(|p| p.message.clone()).collect::<Vec<_>>().join("; "))?;
    serde_yaml::to_string(&typed).map_err(|error| error.to_string())
}

fn schema<K: Declared>() -> Value {
    schemars::schema_for!(K).to_value()
}

const fn typed<K: Declared>() -> Typed {
    Typed {
        canonical: canonical::<K>,
        references: references::<K>,
        yaml: yaml::<K>,
        schema: schema::<K>,
        rules: K::rules,
    }
}

macro_rules! row {
    ($kind:ty) => {{
        static SHAPE: LazyLock<Shape> = LazyLock::new(|| Shape::of_schema(&schema::<$kind>()));
        Kind {
            name: <$kind>::NAME,
            plural: <$kind>::PLURAL,
            aliases: <$kind>::ALIASES,
            scoped: <$kind>::SCOPED,
            shape: &SHAPE,
            typed: typed::<$kind>(),
        }
    }};
}

/// Every declared kind, in apply order; deletes go backwards.
pub static KINDS: &[Kind] = &[row!(Secret), row!(Template), row!(Server), row!(Project), row!(Prompt)];

impl Kind {
    /// Whether `word` is the name, the plural or an alias.
    #[must_use]
    pub fn answers_to(&self, word: &str) -> bool {
        self.name == word || self.plural == word || self.aliases.contains(&word)
    }

    /// The place in the apply order; every `Kind` is a row of the table.
    pub(super) fn place(&self) -> u8 {
        KINDS
            .iter()
            .zip(0..)
            .find(|(row, _)| row.name == self.name)
            .map_or(0, |(_, place)| place)
    }

    /// The JSON Schema of the kind's own fields (without `kind`, `name` and `apiVersion`).
    #[must_use]
    pub fn schema(&self) -> Value {
        (self.typed.schema)()
    }
}

/// The row that answers to a name, a plural or an alias.
#[must_use]
pub fn kind_named(word: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|row| row.answers_to(word))
}
