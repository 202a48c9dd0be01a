//! JSON Schema (draft 2020-12) of documents, for editors and other tools: made from the shapes that the reader itself
//! checks by, with the rules of each kind as far as JSON Schema can say them.
//!
//! # Guarantees
//! What the reader takes from a file, the schema takes. What it refuses, the schema refuses too, but for: references,
//! duplicates, yes-or-no rules between more than two fields, and what is no JSON at all.

use serde_json::{Map, Value, json};

use super::kind::{KINDS, Kind};
use super::shape::{API_VERSION, Fields, SCOPE_FIELDS, Shape, TOP_LEVEL};

/// The dialect.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";
/// What a name looks like.
const NAME: &str = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$";

impl Kind {
    /// The JSON Schema of a document of this kind.
    #[must_use]
    pub fn document_schema(&self) -> Value {
        let mut out = self.item_schema();
        out["$schema"] = DIALECT.into();
        out["required"] = json!(["kind", "name"]);
        out
    }

    /// The same where the kind may go without saying: an entry of a group.
    fn item_schema(&self) -> Value {
        let Shape::Fields(fields) = &**self.shape else {
            return json!({});
        };
        let mut out = object(fields);
        let mut properties = Map::new();
        for (name, description) in TOP_LEVEL.iter().chain(SCOPE_FIELDS.iter().filter(|_| self.scoped)) {
            let mut schema = match *name {
                "apiVersion" => json!({"enum": [API_VERSION, null]}),
                "kind" => json!({"const": self.name}),
                "name" => json!({"type": "string", "pattern": NAME}),
                _ => json!({"type": ["string", "null"], "pattern": NAME}),
            };
            schema["description"] = (*description).into();
            properties.insert((*name).to_owned(), schema);
        }
        if let Some(fields) = out["properties"].as_object_mut() {
            properties.append(fields);
        }
        out["title"] = self.name.into();
        out["description"] = self.schema()["description"].clone();
        out["properties"] = Value::Object(properties);
        out["required"] = json!(["name"]);
        let rules = (self.typed.rules)();
        if !rules.is_empty() {
            out["allOf"] = Value::Array(rules);
        }
        out
    }
}

/// The JSON Schema of any document: of whichever kind it says, or of the grouped form.
#[must_use]
pub fn any_document_schema() -> Value {
    let of = |kind: &Kind| json!({"$ref": format!("#/$defs/{}", kind.name)});
    let definitions: Map<String, Value> = KINDS
        .iter()
        .map(|kind| (kind.name.to_owned(), kind.item_schema()))
        .collect();
    let names: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
    let by_kind: Vec<Value> = KINDS
        .iter()
        .map(|kind| {
            let of_kind = json!({"type": "object", "required": ["kind"], "properties": {"kind": {"const": kind.name}}});
            json!({"if": of_kind, "then": of(kind)})
        })
        .collect();
    let mut groups: Map<String, Value> = KINDS
        .iter()
        .map(|kind| {
            let group = json!({
                "type": ["array", "null"],
                "description": format!("Several {} in one document.", kind.plural),
                "items": of(kind),
            });
            (kind.plural.to_owned(), group)
        })
        .collect();
    let some_group: Vec<Value> = KINDS.iter().map(|kind| json!({"required": [kind.plural]})).collect();
    groups.insert(
        "apiVersion".into(),
        json!({"enum": [API_VERSION, null], "description": TOP_LEVEL[0].1}),
    );
    json!({
        "$schema": DIALECT,
        "title": "mcpctl",
        "description": "A document of mcpctl: kind, name and the kind's own fields; or several in groups.",
        // An empty document declares nothing, and is no fault.
        "type": ["object", "null"],
        "if": {"type": "object", "not": {"anyOf": [{"required": ["kind"]}, {"required": ["name"]}]}},
        "then": {"properties": groups, "additionalProperties": false, "anyOf": some_group},
        "else": {
            "required": ["kind"],
            "properties": {"kind": {"enum": names, "description": TOP_LEVEL[1].1}},
            "allOf": by_kind,
        },
        "$defs": definitions,
    })
}

/// A field is there and says something. For rules of kinds.
pub(super) fn given(field: &str) -> Value {
    json!({"type": "object", "required": [field], "properties": {field: {"not": {"type": "null"}}}})
}

/// A list is there and not empty.
pub(super) fn listed(field: &str) -> Value {
    json!({"type": "object", "required": [field], "properties": {field: {"type": "array", "minItems": 1}}})
}

/// Not both, with what an editor says then.
pub(super) fn not_both(one: &Value, other: &Value, says: &str) -> Value {
    json!({"not": {"allOf": [one, other]}, "errorMessage": says})
}

/// One of two fields and not the other.
pub(super) fn one_of(one: &str, other: &str, says: &str) -> Value {
    json!({"oneOf": [given(one), given(other)], "errorMessage": says})
}

fn object(fields: &Fields) -> Value {
    let properties: Map<String, Value> = fields
        .fields
        .iter()
        .map(|field| {
            let mut schema = of_shape(&field.shape);
            if !field.required {
                or_null(&mut schema);
            }
            schema["description"] = field.description.as_str().into();
            if let Some(default) = &field.default {
                schema["default"] = default.clone();
            }
            (field.name.clone(), schema)
        })
        .collect();
    let required: Vec<&str> = fields
        .fields
        .iter()
        .filter(|field| field.required)
        .map(|field| field.name.as_str())
        .collect();
    let mut out = json!({"type": "object", "properties": properties, "additionalProperties": false});
    if !required.is_empty() {
        out["required"] = json!(required);
    }
    out
}

fn of_shape(shape: &Shape) -> Value {
    let bounds = |kind: &str, bounds: &[(&str, Option<Value>)]| {
        let mut out = json!({"type": kind});
        for (name, bound) in bounds {
            if let Some(bound) = bound {
                out[*name] = bound.clone();
            }
        }
        out
    };
    let least = |n: usize| (n > 0).then(|| Value::from(n));
    let most = |n: usize| (n < usize::MAX).then(|| Value::from(n));
    match shape {
        Shape::Any => json!({}),
        Shape::Text { min, max } => bounds("string", &[("minLength", least(*min)), ("maxLength", most(*max))]),
        Shape::Integer { min, max } => bounds(
            "integer",
            &[("minimum", min.map(Value::from)), ("maximum", max.map(Value::from))],
        ),
        Shape::Number { min, max } => bounds(
            "number",
            &[("minimum", min.map(Value::from)), ("maximum", max.map(Value::from))],
        ),
        Shape::Boolean => json!({"type": "boolean"}),
        Shape::Words(words) => {
            let names: Vec<&str> = words.iter().map(|word| word.word.as_str()).collect();
            let meanings: Vec<&str> = words.iter().map(|word| word.description.as_str()).collect();
            json!({"type": "string", "enum": names, "enumDescriptions": meanings})
        }
        Shape::List { items, min, max } => {
            let mut out = bounds("array", &[("minItems", least(*min)), ("maxItems", most(*max))]);
            out["items"] = of_shape(items);
            out
        }
        Shape::Map(values) => json!({"type": "object", "additionalProperties": of_shape(values)}),
        Shape::Fields(fields) => object(fields),
        Shape::Either(shapes) => json!({"anyOf": shapes.iter().map(of_shape).collect::<Vec<_>>()}),
    }
}

/// Null means the same as being absent.
fn or_null(schema: &mut Value) {
    if let Some(any) = schema.get_mut("anyOf").and_then(Value::as_array_mut) {
        any.push(json!({"type": "null"}));
    } else if let Some(kind) = schema.get("type").cloned() {
        schema["type"] = json!([kind, "null"]);
        if let Some(words) = schema.get_mut("enum").and_then(Value::as_array_mut) {
            words.push(Value::Null);
        }
        if let Some(meanings) = schema.get_mut("enumDescriptions").and_then(Value::as_array_mut) {
            meanings.push("The default.".into());
        }
    }
}
