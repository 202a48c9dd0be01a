//! The schemas and the reader say the same: what the reader takes they take, and what they can tell to be wrong both refuse.

use std::sync::LazyLock;

use jsonschema::Validator;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::laws_tests::document;
use super::{print::escaped, read};
use crate::resource::{Document, FileText, KINDS, any_document_schema, kind_named};

static ANY: LazyLock<Validator> = LazyLock::new(|| jsonschema::draft202012::new(&any_document_schema()).unwrap());
static KIND: LazyLock<Vec<Validator>> = LazyLock::new(|| {
    let one = |kind: &crate::resource::Kind| jsonschema::draft202012::new(&kind.document_schema()).unwrap();
    KINDS.iter().map(one).collect()
});

/// What the reader says of a document in a file of its own.
fn faults(document: &Value) -> Vec<String> {
    let file = FileText {
        path: "a.yaml".to_owned(),
        bytes: Ok(escaped(document).into_bytes()),
    };
    read(&file).diagnostics.iter().map(ToString::to_string).collect()
}

/// What the schemas say: that of any document, and that of its kind.
fn refusals(document: &Value) -> Vec<String> {
    let mut out: Vec<String> = ANY.iter_errors(document).map(|it| it.to_string()).collect();
    let at = KINDS.iter().position(|kind| document["kind"] == kind.name);
    if let Some(at) = at {
        let own: Vec<String> = KIND[at].iter_errors(document).map(|it| it.to_string()).collect();
        assert_eq!(own.is_empty(), out.is_empty(), "{document}\n{own:?}\n{out:?}");
        out.extend(own);
    }
    out
}

#[test]
fn schemas_are_schemas() {
    for schema in KINDS
        .iter()
        .map(crate::resource::Kind::document_schema)
        .chain([any_document_schema()])
    {
        assert!(jsonschema::draft202012::meta::is_valid(&schema), "{schema}");
    }
}

/// Planted fault: a field whose struct lacks its doc comment is found here.
#[test]
fn every_field_is_described_and_closed() {
    fn walk(place: &str, schema: &Value, told: &mut usize) {
        let closed = schema["type"] == "object" || schema["type"] == json!(["object", "null"]);
        if let Some(properties) = schema["properties"].as_object().filter(|_| closed) {
            assert_eq!(schema["additionalProperties"], false, "{place}");
            for (name, field) in properties {
                let place = format!("{place}.{name}");
                let description = field["description"].as_str().unwrap_or_default();
                assert!(!description.is_empty(), "{place} has no description");
                *told += 1;
                walk(&place, field, told);
            }
        }
        for below in ["items", "additionalProperties"] {
            if schema[below].is_object() {
                walk(&format!("{place}[]"), &schema[below], told);
            }
        }
        for (n, one) in schema["anyOf"].as_array().into_iter().flatten().enumerate() {
            if one["type"] == "object" {
                walk(&format!("{place}|{n}"), one, told);
            }
        }
    }
    for kind in KINDS {
        let mut told = 0;
        let schema = kind.document_schema();
        walk(kind.name, &schema, &mut told);
        assert!(told > kind.shape.fields().count(), "{}: {told}", kind.name);
        for field in kind.shape.fields() {
            assert!(
                schema["properties"][&field.name].is_object(),
                "{} {}",
                kind.name,
                field.name
            );
        }
        assert!(!schema["description"].as_str().unwrap().is_empty(), "{}", kind.name);
    }
}

/// Whole files: what ships in the binary, the example, the corpus of edits. Each document that the reader takes is taken.
#[test]
#[expect(clippy::disallowed_methods, reason = "the test reads files")]
fn files_that_are_read_fit() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders: Vec<_> = ["examples/repo", "src/resource/builtin", "tests/fixtures/yaml"]
        .iter()
        .map(|folder| root.join(folder))
        .collect();
    let mut fitted = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = std::fs::read(&path).unwrap();
            let name = path.display().to_string();
            if !super::is_declaration(&name) {
                continue;
            }
            let file = FileText {
                path: name.clone(),
                bytes: Ok(bytes.clone()),
            };
            if !read(&file).diagnostics.is_empty() {
                continue;
            }
            // A byte order mark is passed over by the reader.
            let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
            for document in serde_yaml::Deserializer::from_slice(text) {
                let value: Value = serde::Deserialize::deserialize(document).unwrap();
                assert_eq!(refusals(&value), Vec::<String>::new(), "{name}");
                fitted += 1;
            }
        }
    }
    assert!(fitted > 20, "{fitted}");
}

#[test]
fn what_is_wrong_is_refused_by_both() {
    let server = |more: Value| {
        let mut it = json!({"kind": "server", "name": "a", "command": ["x"]});
        it.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        it
    };
    let image = |more: Value| {
        let mut it = json!({"kind": "server", "name": "a", "dockerImage": "x"});
        it.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        it
    };
    for wrong in [
        json!({}),
        json!([]),
        json!("x"),
        json!({"kind": "sever", "name": "a"}),
        json!({"kind": "server", "name": "a"}),
        json!({"kind": "server", "command": ["x"]}),
        json!({"name": "a", "command": ["x"]}),
        server(json!({"name": "A"})),
        server(json!({"name": "a-"})),
        server(json!({"name": 7})),
        server(json!({"apiVersion": "v2"})),
        server(json!({"replica": 1})),
        server(json!({"replicas": 11})),
        server(json!({"replicas": "1"})),
        server(json!({"update": "bluegreen"})),
        server(json!({"project": "p"})),
        server(json!({"packageName": "x"})),
        server(json!({"packageName": "x", "dockerImage": "y", "command": null})),
        server(json!({"args": ["x"]})),
        server(json!({"command": ["", "x"]})),
        server(json!({"env": [{"name": "A"}]})),
        server(json!({"env": [{"name": "A", "value": null}]})),
        server(json!({"env": [{"name": "A", "value": "x", "valueFrom": {"secretRef": {"name": "s", "key": "k"}}}]})),
        server(json!({"env": [{"name": "A=B", "value": "x"}]})),
        server(json!({"env": [{"name": "A", "valueFrom": {"secretRef": {"name": "s"}}}]})),
        server(json!({"env": [null]})),
        server(json!({"transport": "SSE", "containerPort": 80})),
        server(json!({"containerPort": 80})),
        image(json!({"transport": "SSE"})),
        image(json!({"transport": "SSE", "containerPort": 0})),
        image(json!({"resources": {"memory": "1t"}})),
        image(json!({"resources": {"cpus": 0}})),
        image(json!({"security": {"addCapabilities": ["ALL"]}})),
        image(json!({"security": {"addCapabilities": ["net"]}})),
        image(json!({"security": {"user": "a b"}})),
        image(json!({"volumes": [{"mountPath": "/a"}]})),
        image(json!({"volumes": [{"name": "a", "hostPath": "/b", "mountPath": "/a"}]})),
        image(json!({"volumes": [{"name": "a", "mountPath": "a"}]})),
        json!({"kind": "server", "name": "a", "packageName": "x", "network": "none"}),
        json!({"kind": "server", "name": "a", "packageName": "-x"}),
        json!({"kind": "project", "name": "p", "servers": ["a", "a"]}),
        json!({"kind": "project", "name": "p", "servers": "a"}),
        json!({"kind": "prompt", "name": "p"}),
        json!({"kind": "prompt", "name": "p", "content": "a", "link": "a/b:c"}),
        json!({"kind": "prompt", "name": "p", "link": "b:c"}),
        json!({"kind": "prompt", "name": "p", "content": "a", "project": "A"}),
        json!({"kind": "template", "name": "p", "command": ["x"], "env": [{"name": "A", "value": "x"}]}),
        json!({"kind": "secret", "name": "s", "data": {"A": "in the clear"}}),
        json!({"kind": "secret", "name": "s", "data": {"A": {"generate": {"length": 4}}}}),
        json!({"kind": "secret", "name": "s", "data": {"a b": {"generate": {}}}}),
        json!({"kind": "secret", "name": "s", "data": {"A": "in the clear"}, "sops": {"mac": "x"}}),
        json!({"servers": [{"command": ["x"]}]}),
        json!({"servers": {"name": "a"}}),
        json!({"servers": [{"kind": "project", "name": "a"}]}),
        json!({"servers": [], "serverz": []}),
    ] {
        assert!(!faults(&wrong).is_empty(), "the reader takes {wrong}");
        assert!(!refusals(&wrong).is_empty(), "the schema takes {wrong}");
    }
}

#[test]
fn odd_forms_that_are_right_are_taken_by_both() {
    for right in [
        json!(null),
        json!({"apiVersion": "mcpctl/v1", "kind": "server", "name": "a", "command": ["x"], "env": null, "replicas": null}),
        json!({"apiVersion": null, "kind": "prompt", "name": "a", "content": "x", "link": null, "project": null}),
        json!({"servers": [{"name": "a", "command": ["x"]}, {"kind": "server", "name": "b", "command": ["x"]}], "projects": null}),
        json!({"kind": "secret", "name": "s"}),
        json!({"kind": "secret", "name": "s", "data": {"A": "ENC[AES256_GCM,data:x]", "B": ""}, "sops": {"mac": "x"}}),
        json!({"kind": "server", "name": "a", "packageName": "x", "command": []}),
    ] {
        assert_eq!(faults(&right), Vec::<String>::new(), "{right}");
        assert_eq!(refusals(&right), Vec::<String>::new(), "{right}");
    }
}

/// A change that may make a document invalid.
fn mutation() -> impl Strategy<Value = (prop::sample::Index, u8, Value)> {
    let value = prop::sample::select(vec![
        json!(null),
        json!(0),
        json!(-1),
        json!(4096),
        json!(true),
        json!(""),
        json!("x"),
        json!("none"),
        json!("SSE"),
        json!([]),
        json!(["a"]),
        json!([{}]),
        json!({}),
        json!({"name": "a"}),
    ]);
    (any::<prop::sample::Index>(), 0..4_u8, value)
}

/// Changes something at the top, or one level below.
fn mutated(document: &Value, (at, how, value): &(prop::sample::Index, u8, Value)) -> Value {
    fn change(map: &mut Map<String, Value>, at: prop::sample::Index, how: u8, value: &Value) {
        let keys: Vec<String> = map.keys().cloned().collect();
        if how == 0 || keys.is_empty() {
            map.insert("unheardOf".to_owned(), value.clone());
            return;
        }
        let key = &keys[at.index(keys.len())];
        match (how, map.get_mut(key)) {
            (1, _) => drop(map.remove(key)),
            (2, Some(Value::Object(below))) => change(below, at, 3, value),
            (2, Some(Value::Array(list))) if list.first().is_some_and(Value::is_object) => {
                if let Some(below) = list[0].as_object_mut() {
                    change(below, at, 3, value);
                }
            }
            _ => drop(map.insert(key.clone(), value.clone())),
        }
    }
    let mut out = document.clone();
    if let Some(map) = out.as_object_mut() {
        change(map, *at, *how, value);
    }
    out
}

proptest! {
    #[test]
    fn valid_documents_fit(document in document()) {
        let value = document.to_json();
        prop_assert_eq!(refusals(&value), Vec::<String>::new(), "{}", value);
    }

    /// The schema never refuses what the reader takes.
    #[test]
    fn what_is_taken_fits(document in document(), change in mutation()) {
        let value = mutated(&document.to_json(), &change);
        if faults(&value).is_empty() {
            prop_assert_eq!(refusals(&value), Vec::<String>::new(), "{}", value);
        }
    }

    /// Of a kind's own fields, types, ranges and words are refused by both.
    #[test]
    fn wrong_types_are_refused_by_both(document in document(), change in mutation()) {
        let value = mutated(&document.to_json(), &change);
        let mut fields = value.as_object().cloned().unwrap_or_default();
        for top in ["kind", "name", "project"] {
            fields.remove(top);
        }
        let kind = kind_named(document.id.kind().name).unwrap();
        if value["kind"] == kind.name && !kind.shape.check(&Value::Object(fields)).is_empty() {
            prop_assert!(!refusals(&value).is_empty(), "{}", value);
        }
    }
}

/// A document that is printed is what the schema is for.
#[test]
fn a_printed_document_fits() {
    let document = Document::new("server/a".parse().unwrap(), &json!({"command": ["x"]})).unwrap();
    let value: Value = serde_yaml::from_str(&super::print(&document)).unwrap();
    assert_eq!(refusals(&value), Vec::<String>::new());
}
