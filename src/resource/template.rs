//! Kind `template`: what a server can be made from by `mcpctl create server --from-template`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};

use super::document::Problem;
use super::kind::{Declared, Reference};
use super::server::{Server, source_rules};

/// A pattern for servers: a server's fields, with what its environment has to be told.
///
/// The fields are those of [`Server`], whatever they are: they are read, written and described by it. Only `version` and
/// the entries of `env` are a template's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Template {
    /// The version of the template.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// The fields of the servers that are made from it; their `env` is empty here.
    #[serde(flatten)]
    pub server: Server,
    /// The variables that such a server has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<TemplateVariable>,
}

/// An environment variable of the servers that are made from a template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TemplateVariable {
    /// The variable's name.
    #[schemars(length(min = 1, max = 256))]
    pub name: String,
    /// What its value is for, and where to get one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 4096))]
    pub description: String,
    /// Whether a value must be given where there is no default.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[schemars(extend("default" = false))]
    pub required: bool,
    /// The value where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32768))]
    pub default_value: Option<String>,
}

impl TemplateVariable {
    /// Whether a server can't do without being told a value.
    #[must_use]
    pub fn is_missing_alone(&self) -> bool {
        self.required && self.default_value.is_none()
    }
}

/// The fields that are a template's own.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct Own {
    /// The version of the template.
    #[schemars(length(max = 256))]
    version: Option<String>,
    /// Environment variables: what they are for, whether they must be given, and what they are otherwise.
    #[schemars(length(max = 256))]
    env: Option<Vec<TemplateVariable>>,
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut fields = Map::deserialize(deserializer)?;
        let version = fields.remove("version").map(String::deserialize);
        let env = fields.remove("env").map(Vec::<TemplateVariable>::deserialize);
        Ok(Self {
            version: version.transpose().map_err(D::Error::custom)?.unwrap_or_default(),
            env: env.transpose().map_err(D::Error::custom)?.unwrap_or_default(),
            // A server knows its fields, and refuses any other.
            server: Server::deserialize(Value::Object(fields)).map_err(D::Error::custom)?,
        })
    }
}

impl JsonSchema for Template {
    fn schema_name() -> Cow<'static, str> {
        "Template".into()
    }

    /// A server's schema, with a template's own fields put in.
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = Server::json_schema(generator);
        let own = Own::json_schema(generator);
        let own = own.get("properties").and_then(Value::as_object).cloned();
        if let Some(fields) = schema.get_mut("properties").and_then(Value::as_object_mut) {
            fields.extend(own.unwrap_or_default());
        }
        schema.insert(
            "description".to_owned(),
            "A pattern for servers: a server's fields, with what its environment has to be told.".into(),
        );
        schema
    }
}

impl Declared for Template {
    const NAME: &'static str = "template";
    const PLURAL: &'static str = "templates";
    const ALIASES: &'static [&'static str] = &[];

    fn check(&self) -> Vec<Problem> {
        let mut problems = self.server.check();
        for (n, variable) in self.env.iter().enumerate() {
            if variable.name.contains(['=', '\0']) {
                problems.push(Problem::at(
                    format!("env[{n}].name"),
                    "a variable's name has no = and no NUL character",
                ));
            }
            if variable
                .default_value
                .as_ref()
                .is_some_and(|value| value.contains('\0'))
            {
                problems.push(Problem::at(
                    format!("env[{n}].defaultValue"),
                    "a variable's value has no NUL character",
                ));
            }
            if self.env[..n].iter().any(|earlier| earlier.name == variable.name) {
                problems.push(Problem::at(
                    format!("env[{n}].name"),
                    format!("{} is declared twice", variable.name),
                ));
            }
        }
        problems
    }

    fn references(&self) -> Vec<Reference> {
        self.server.references()
    }

    fn rules() -> Vec<Value> {
        let variable = json!({"properties": {
            "name": {"pattern": "^[^=\\u0000]*$"},
            "defaultValue": {"pattern": "^[^\\u0000]*$"},
        }});
        let mut rules = source_rules();
        rules.push(json!({"properties": {"env": {"items": variable}}}));
        rules
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::{Document, Shape, kind_named};

    fn shape(kind: &str) -> &'static Shape {
        kind_named(kind).unwrap().shape
    }

    /// A field that servers get later is a template's field too, with the same type, help and default.
    #[test]
    fn every_field_of_a_server_is_one_of_a_template() {
        for field in shape("server").fields().filter(|field| field.name != "env") {
            let same = shape("template").fields().find(|it| it.name == field.name);
            assert_eq!(same, Some(field), "{}", field.name);
        }
        let own = |name: &&str| shape("server").fields().all(|field| field.name != *name);
        let names: Vec<&str> = shape("template").fields().map(|field| field.name.as_str()).collect();
        assert_eq!(names.into_iter().filter(own).collect::<Vec<_>>(), ["version"]);
        let variable = shape("template").field("env[0]").unwrap();
        let names: Vec<&str> = variable.fields().map(|field| field.name.as_str()).collect();
        assert_eq!(names, ["defaultValue", "description", "name", "required"]);
    }

    #[test]
    fn a_template_is_read_strictly_and_written_without_defaults() {
        let variable = json!({"name": "TZ", "description": "The zone", "required": true, "defaultValue": "UTC"});
        for (spec, want) in [
            (
                json!({"command": ["x"], "version": "1", "env": [variable], "replicas": 1}),
                Ok(json!({"command": ["x"], "version": "1", "env": [variable]})),
            ),
            (
                json!({"command": ["x"], "env": [{"name": "A", "required": false, "description": ""}]}),
                Ok(json!({"command": ["x"], "env": [{"name": "A"}]})),
            ),
            (
                json!({"command": ["x"], "env": [], "version": ""}),
                Ok(json!({"command": ["x"]})),
            ),
            (json!({"env": [{"name": "A"}]}), Err("a server needs a source")),
            (
                json!({"command": ["x"], "env": [{"name": "A", "value": "b"}]}),
                Err("env[0].value: unknown field \"value\" of env[0]"),
            ),
            (
                json!({"command": ["x"], "env": [{"name": "A"}, {"name": "A"}]}),
                Err("env[1].name: A is declared twice"),
            ),
            (
                json!({"command": ["x"], "verison": "1"}),
                Err("verison: unknown field \"verison\" of a template"),
            ),
            (
                json!({"command": ["x"], "version": 1}),
                Err("version: expected text, found the number 1"),
            ),
        ] {
            let got = Document::new("template/t".parse().unwrap(), &spec);
            let got = got.map(|it| it.spec).map_err(|problems| problems[0].to_string());
            assert_eq!(got, want.map_err(str::to_owned), "{spec}");
        }
        // The typed reading is strict by itself.
        for bad in [
            json!({"command": ["x"], "nope": 1}),
            json!({"command": ["x"], "version": []}),
        ] {
            assert!(Template::deserialize(bad).is_err());
        }
    }
}
