//! Files as people write them, each with edits and what they make of it.

#![expect(clippy::disallowed_methods, reason = "the files of the corpus are read")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{judge, outline};
use crate::resource::document::Document;
use crate::resource::secret::Opening;
use crate::resource::shape::Shape;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/yaml")
}

/// All files of the corpus: name and text.
fn corpus() -> Vec<(String, String)> {
    let names = std::fs::read_dir(folder()).unwrap().map(|it| it.unwrap().file_name());
    let names = names.map(|it| it.into_string().unwrap());
    let mut names: Vec<String> = names.filter(|it| crate::resource::yaml::is_declaration(it)).collect();
    names.sort();
    let read = |name: String| {
        let text = std::fs::read_to_string(folder().join(&name)).unwrap();
        (name, text)
    };
    names.into_iter().map(read).collect()
}

fn declared(path: &str, text: &str) -> Vec<Document> {
    let told = outline(path, text.strip_prefix('\u{feff}').unwrap_or(text));
    let told = told.unwrap_or_else(|| panic!("{path} can't be read"));
    told.into_iter().map(|it| Document::clone(&it.document)).collect()
}

/// Values near this one: each field changed, taken out and added, entries of lists changed, added, removed and moved.
fn near(value: &Value, shape: Option<&Shape>, depth: usize) -> Vec<Value> {
    let mut out = vec![];
    match value {
        Value::Object(map) => {
            for (key, below) in map {
                let field = shape.and_then(|it| it.fields().find(|field| field.name == *key));
                let shape = match shape {
                    Some(Shape::Map(values)) => Some(&**values),
                    _ => field.map(|it| &it.shape),
                };
                let with = |value: Option<Value>| {
                    let mut map = map.clone();
                    match value {
                        Some(value) => drop(map.insert(key.clone(), value)),
                        None => drop(map.remove(key)),
                    }
                    Value::Object(map)
                };
                out.push(with(None));
                out.extend(near(below, shape, depth + 1).into_iter().map(|it| with(Some(it))));
            }
            let mut add = |key: &str, value: Value| {
                let mut map = map.clone();
                map.insert(key.to_owned(), value);
                out.push(Value::Object(map));
            };
            for field in shape
                .into_iter()
                .flat_map(Shape::fields)
                .filter(|it| !map.contains_key(&it.name))
            {
                for value in samples(&field.shape) {
                    add(&field.name, value);
                }
            }
            if let Some(Shape::Map(values)) = shape {
                for key in ["a-key", "true", "0"].into_iter().filter(|it| !map.contains_key(*it)) {
                    for value in samples(values) {
                        add(key, value);
                    }
                }
            }
        }
        Value::Array(list) => {
            let items = match shape {
                Some(Shape::List { items, .. }) => Some(&**items),
                _ => None,
            };
            for n in 0..list.len() {
                let mut less = list.clone();
                let gone = less.remove(n);
                out.push(Value::from(less.clone()));
                less.insert((n + 1) % (less.len() + 1), gone);
                out.push(Value::from(less));
                for value in near(&list[n], items, depth + 1) {
                    let mut other = list.clone();
                    other[n] = value;
                    out.push(Value::from(other));
                }
            }
            let new = match list.first() {
                Some(Value::Object(map)) => {
                    let mut map = map.clone();
                    for key in ["name", "mountPath"]
                        .into_iter()
                        .filter(|it| list[0].get(*it).is_some())
                    {
                        map.insert(key.to_owned(), json!("/new"));
                    }
                    if map.contains_key("mountPath") {
                        map.insert("name".to_owned(), json!("new"));
                    }
                    Value::Object(map)
                }
                _ => json!("new, [one] # here"),
            };
            for n in [0, 1, list.len()] {
                let mut more = list.clone();
                more.insert(n.min(list.len()), new.clone());
                out.push(Value::from(more));
            }
            out.push(json!([new]));
        }
        Value::String(text) => {
            let word = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
            out.push(Value::from(format!("{text}2")));
            if !word || depth > 1 || text.contains(' ') {
                out.extend(["", "true", "a\nb", "a\nb\n", " # x", "it's: \"q\"", "é\t"].map(Value::from));
            }
            if text.contains('\n') {
                let lines: Vec<&str> = text.split('\n').collect();
                out.push(Value::from(
                    [&lines[..1], &["a new line", ""], &lines[1..]].concat().join("\n"),
                ));
                out.push(Value::from(text.trim_end()));
                out.push(Value::from(format!("{text}\n\n")));
            }
            if let Some(Shape::Words(words)) = shape {
                out.extend(
                    words
                        .iter()
                        .map(|it| Value::from(it.word.as_str()))
                        .filter(|it| it != value),
                );
            }
        }
        Value::Number(number) => {
            let number = number.as_f64().unwrap();
            out.push(json!(number + 0.5));
            #[expect(clippy::cast_possible_truncation, reason = "small numbers")]
            out.extend([number as i64 + 1, number as i64 - 1, 1, 0].map(Value::from));
        }
        Value::Bool(it) => out.push(Value::Bool(!it)),
        Value::Null => {}
    }
    out
}

/// Values for a field that is not there.
fn samples(shape: &Shape) -> Vec<Value> {
    match shape {
        Shape::Any => vec![],
        Shape::Text { .. } => [
            json!("new"),
            json!("a: \"b\" # c"),
            json!("256m"),
            json!("two\nlines\n"),
        ]
        .to_vec(),
        Shape::Integer { .. } | Shape::Number { .. } => vec![json!(7)],
        Shape::Boolean => vec![json!(true)],
        Shape::Words(words) => words.iter().map(|it| Value::from(it.word.as_str())).collect(),
        Shape::List { items, .. } => {
            let items = samples(items);
            let all = Value::from(items.clone());
            items.into_iter().map(|it| json!([it])).chain([all]).collect()
        }
        Shape::Map(values) => samples(values).into_iter().map(|it| json!({"KEY": it})).collect(),
        Shape::Fields(fields) => {
            let required = |value: &dyn Fn(&Shape) -> Option<Value>| {
                let fields = fields.fields.iter().filter(|it| it.required);
                fields
                    .map(|it| Some((it.name.clone(), value(&it.shape)?)))
                    .collect::<Option<serde_json::Map<_, _>>>()
            };
            let Some(base) = required(&|shape| samples(shape).into_iter().next()) else {
                return vec![];
            };
            let mut out = vec![Value::Object(base.clone())];
            for field in fields.fields.iter().filter(|it| !it.required) {
                for value in samples(&field.shape).into_iter().take(1) {
                    let mut map = base.clone();
                    map.insert(field.name.clone(), value);
                    out.push(Value::Object(map));
                }
            }
            out
        }
        Shape::Either(shapes) => shapes.iter().flat_map(samples).collect(),
    }
}

/// Every field of every document of the corpus changed in every simple way, and every document taken out; in parts, so
/// that they run beside each other.
fn every_field_is_edited_in_place(part: usize) {
    let mut broken: Vec<String> = vec![];
    let mut edits = 0;
    for (path, text) in corpus().into_iter().skip(part).step_by(3) {
        let declared = declared(&path, &text);
        // Of very many documents some show it all.
        let step = declared.len().div_ceil(4);
        for document in declared.iter().step_by(step) {
            let shape: &Shape = document.id.kind().shape;
            let near = near(&document.spec, Some(shape), 0);
            let mut new: Vec<Document> = near
                .iter()
                .filter_map(|it| Document::new(document.id.clone(), it).ok())
                // A secret in the clear is never written.
                .filter(|it| it.spec != document.spec && it.opening() != Opening::Clear)
                .collect();
            new.dedup();
            assert!(new.len() > 1, "{path}: {}", document.id);
            for new in new.iter().map(Some).chain([None]) {
                edits += 1;
                if let Err(law) = judge::edit(&path, &text, &document.id, new) {
                    broken.push(format!("{path}: {law}"));
                }
            }
        }
    }
    broken.sort_by_key(String::len);
    let law = |it: &String| it.lines().next().unwrap_or_default().to_owned();
    broken.dedup_by_key(|it| law(it));
    let first: Vec<&String> = broken.iter().take(8).collect();
    assert!(
        broken.is_empty(),
        "{} of {edits}:\n{}",
        broken.len(),
        first.iter().map(|it| it.as_str()).collect::<Vec<_>>().join("\n\n\n")
    );
    assert!(edits > 500, "{edits}");
}

#[test]
fn every_field_of_a_third() {
    every_field_is_edited_in_place(0);
}

#[test]
fn every_field_of_another_third() {
    every_field_is_edited_in_place(1);
}

#[test]
fn every_field_of_the_last_third() {
    every_field_is_edited_in_place(2);
}

/// Edits of the corpus: file, resource, and a merge patch of its fields; nothing takes it out.
const EDITS: &[(&str, &str, Option<&str>)] = &[
    ("anchors.yaml", "server/shared", Some(r#"{"description": "--slow"}"#)),
    (
        "anchors.yaml",
        "server/shared",
        Some(r#"{"command": ["run", "--slow"]}"#),
    ),
    (
        "anchors.yaml",
        "server/shared",
        Some(r#"{"env": [{"name": "OTHER_TZ", "value": "UTC"}]}"#),
    ),
    (
        "anchors.yaml",
        "server/other",
        Some(r#"{"resources": {"memory": "1g"}, "description": "Other words"}"#),
    ),
    ("anchors.yaml", "server/y", Some(r#"{"command": ["a", "b", "c"]}"#)),
    ("anchors.yaml", "server/y", None),
    (
        "block-texts.yaml",
        "prompt/review",
        Some(
            r##"{"content": "# Review\n\n- Is it right?\n- Is it   simple?\n- Is it fast?\n\n```yaml\na: b   # no comment\n```\n", "tags": ["review", "another", "a folded tag"]}"##,
        ),
    ),
    (
        "block-texts.yaml",
        "prompt/review",
        Some(
            r#"{"summary": "What to look at when a change is reviewed, in the order in which it\nmatters most.\n\nKeep it very short."}"#,
        ),
    ),
    (
        "block-texts.yaml",
        "prompt/kept",
        Some(r#"{"content": "No blank lines.\n", "priority": 2}"#),
    ),
    (
        "block-texts.yaml",
        "prompt/stripped",
        Some(r#"{"summary": "other words", "content": "  indented further\nand more"}"#),
    ),
    (
        "block-texts.yaml",
        "prompt/quoted",
        Some(r#"{"summary": "a quoted word", "content": "it's\nthree"}"#),
    ),
    (
        "block-texts.yaml",
        "server/script",
        Some(r#"{"command": ["sh", "-c", "set -eux\nexec server \"$@\"\n", "server"]}"#),
    ),
    (
        "bom.yaml",
        "server/postgres",
        Some(
            r#"{"replicas": 3, "env": [{"name": "ACCESS_MODE", "value": "free"}, {"name": "EMPTY", "value": ""}, {"name": "NEW", "value": "1"}]}"#,
        ),
    ),
    ("bom.yaml", "secret/warehouse", None),
    (
        "bracket-comments.yaml",
        "server/wide",
        Some(
            r#"{"volumes": [{"name": "notes", "mountPath": "/data"}], "command": ["true", "a"], "description": "one # line"}"#,
        ),
    ),
    (
        "bracket-comments.yaml",
        "server/wide",
        Some(
            r#"{"volumes": [{"name": "more", "mountPath": "/more"}], "command": ["a", "b"], "env": [{"name": "A", "value": "1"}, {"name": "C", "value": "3"}]}"#,
        ),
    ),
    (
        "bracket-comments.yaml",
        "server/wide",
        Some(r#"{"command": ["true"], "env": [{"name": "D", "value": "4"}]}"#),
    ),
    (
        "bracket-comments.yaml",
        "project/p",
        Some(r#"{"servers": ["one", "three", "five"]}"#),
    ),
    ("bracket-comments.yaml", "project/p", Some(r#"{"servers": ["two"]}"#)),
    (
        "comments.yaml",
        "server/talkative",
        Some(r#"{"command": ["--fast", "run", "--slow#not-a-comment"]}"#),
    ),
    (
        "comments.yaml",
        "server/talkative",
        Some(r#"{"command": ["run", "--slow#not-a-comment"]}"#),
    ),
    (
        "comments.yaml",
        "server/talkative",
        Some(r#"{"command": ["run", "--slow#not-a-comment", "--fast"]}"#),
    ),
    (
        "comments.yaml",
        "server/talkative",
        Some(
            r#"{"env": [{"name": "B", "value": "2"}, {"name": "C", "value": "3"}], "resources": {"cpus": 2, "memory": null, "pids": 9}}"#,
        ),
    ),
    (
        "comments.yaml",
        "server/talkative",
        Some(r#"{"env": null, "update": "recreate"}"#),
    ),
    ("comments.yaml", "server/talkative", None),
    (
        "comments.yaml",
        "project/p",
        Some(r#"{"servers": [], "description": "none"}"#),
    ),
    ("comments.yaml", "project/p", None),
    (
        "compact.json",
        "server/one",
        Some(r#"{"command": ["run", "b", "a"], "env": [{"name": "B", "value": "3"}], "update": "recreate"}"#),
    ),
    (
        "compose-like.yaml",
        "server/clock",
        Some(
            r#"{"command": ["serve", "--utc", "--loud"], "env": [{"name": "TZ", "value": "UTC"}, {"name": "TOKEN", "valueFrom": {"secretRef": {"name": "clock", "key": "token"}}}, {"name": "A", "value": "[1, 2]"}], "resources": {"pids": 9}}"#,
        ),
    ),
    (
        "compose-like.yaml",
        "server/files",
        Some(r#"{"args": ["/srv/files", "/srv/more"], "timeoutSeconds": 60, "replicas": 2}"#),
    ),
    ("compose-like.yaml", "server/files", None),
    (
        "compose-like.yaml",
        "project/ops",
        Some(r#"{"description": "Everything that the people on call want, and nothing else.", "servers": ["files"]}"#),
    ),
    (
        "empties.yaml",
        "server/half",
        Some(
            r#"{"command": ["a"], "env": [{"name": "A", "value": "1"}], "description": "d", "volumes": [{"name": "v", "mountPath": "/v"}], "resources": {"cpus": 1}, "security": {"readOnlyRoot": true}, "replicas": 3}"#,
        ),
    ),
    (
        "empties.yaml",
        "project/empty",
        Some(r#"{"servers": ["half"], "description": "it's full"}"#),
    ),
    (
        "flow-heavy.yaml",
        "server/a",
        Some(r#"{"command": ["run", "fast", "x"], "env": [{"name": "B", "value": "2"}]}"#),
    ),
    (
        "flow-heavy.yaml",
        "server/b",
        Some(
            r#"{"command": ["serve", "--port", "81", "--x", "--y"], "resources": {"memory": null}, "security": {"addCapabilities": ["CHOWN"]}}"#,
        ),
    ),
    ("flow-heavy.yaml", "server/b", None),
    (
        "flow-heavy.yaml",
        "project/both",
        Some(r#"{"servers": ["a", "b", "c"]}"#),
    ),
    ("flow-heavy.yaml", "prompt/hello", None),
    (
        "flow-heavy.yaml",
        "prompt/both/bye",
        Some(r#"{"priority": 10, "tags": ["z"]}"#),
    ),
    (
        "helm-like.yaml",
        "server/search",
        Some(
            r#"{"args": ["--index=other", "--limit=20", "--it's", "--new"], "env": [{"name": "INDEX", "value": "main"}, {"name": "HOST", "value": "localhost:9201"}, {"name": "USER", "value": "me"}], "resources": {"memory": "2Gi"}, "replicas": 2, "update": "rolling"}"#,
        ),
    ),
    (
        "kubernetes-style.yaml",
        "server/postgres",
        Some(
            r#"{"volumes": [{"name": "cache", "mountPath": "/var/cache", "readOnly": true}, {"name": "new", "mountPath": "/new"}], "security": {"addCapabilities": ["NET_BIND_SERVICE", "CHOWN"]}, "resources": {"cpus": null}}"#,
        ),
    ),
    (
        "kubernetes-style.yaml",
        "secret/warehouse",
        Some(r#"{"data": {"uri": {"fromEnv": null, "generate": {"length": 9}}, "token": {"fromEnv": "TOKEN"}}}"#),
    ),
    ("kubernetes-style.yaml", "server/new", Some(r#"{"command": ["x"]}"#)),
    (
        "many.yaml",
        "server/s20",
        Some(r#"{"env": [{"name": "N", "value": "21"}]}"#),
    ),
    ("many.yaml", "server/s20", None),
    (
        "mixed-ends.yaml",
        "server/mixed",
        Some(
            r#"{"command": ["a", "x", "b", "c"], "env": [{"name": "A", "value": "z"}, {"name": "B", "value": "z"}, {"name": "C", "value": "z"}]}"#,
        ),
    ),
    (
        "no-newline.yaml",
        "server/open",
        Some(r#"{"env": [{"name": "A", "value": "last"}, {"name": "B", "value": "more"}], "replicas": 2}"#),
    ),
    ("no-newline.yaml", "server/new", Some(r#"{"command": ["x"]}"#)),
    (
        "pretty.json",
        "server/github",
        Some(
            r#"{"args": ["--toolsets", "repos,issues", "--new"], "env": [{"name": "GH_HOST", "value": "x"}, {"name": "C", "value": "1"}], "timeoutSeconds": null, "replicas": 2}"#,
        ),
    ),
    ("pretty.json", "server/memory", Some(r#"{"args": ["a", "b"]}"#)),
    ("pretty.json", "server/memory", None),
    ("pretty.json", "project/code", Some(r#"{"servers": ["memory"]}"#)),
    (
        "quoted-keys.yaml",
        "server/quoted",
        Some(
            r#"{"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}, {"name": "C", "value": "3"}], "resources": {"pids": 5}, "command": ["run", "it", "now"], "update": "recreate"}"#,
        ),
    ),
    (
        "secrets.yaml",
        "secret/keys",
        Some(
            r#"{"data": {"session": {"generate": {"length": 65}}, "123": {"generate": {"length": 12}}, "B": {"fromEnv": "B"}}}"#,
        ),
    ),
    ("secrets.yaml", "secret/one", None),
    ("separators.yaml", "server/a", None),
    ("separators.yaml", "server/b", None),
    ("separators.yaml", "server/c", None),
    ("separators.yaml", "server/d", None),
    ("separators.yaml", "server/e", None),
    (
        "separators.yaml",
        "server/a",
        Some(r#"{"command": ["x", "y"], "replicas": 2}"#),
    ),
    (
        "templates.yaml",
        "template/db",
        Some(
            r#"{"env": [{"name": "URI", "required": true}, {"name": "MODE", "defaultValue": "rw", "description": "ro or rw"}, {"name": "NEW", "required": true}]}"#,
        ),
    ),
    (
        "templates.yaml",
        "template/small",
        Some(r#"{"env": [{"name": "A"}, {"name": "B", "defaultValue": "x"}]}"#),
    ),
    (
        "wide.yaml",
        "server/wide",
        Some(
            r#"{"command": ["é", "ü", "ß", "日本"], "env": [{"name": "Ä", "value": "é"}, {"name": "日本", "value": "ü"}, {"name": "ß", "value": "😀"}]}"#,
        ),
    ),
    (
        "windows.yaml",
        "server/search",
        Some(r#"{"args": ["--limit=20"], "description": "two\nlines\n", "env": null}"#),
    ),
];

/// RFC 7396.
fn patched(value: &mut Value, patch: &Value) {
    match (value, patch) {
        (value, Value::Object(patch)) => {
            if !value.is_object() {
                *value = json!({});
            }
            for (key, patch) in patch {
                let Some(map) = value.as_object_mut() else { return };
                if patch.is_null() {
                    map.remove(key);
                } else {
                    patched(map.entry(key).or_insert(Value::Null), patch);
                }
            }
        }
        (value, patch) => value.clone_from(patch),
    }
}

/// Each edit of the table and the lines that it changes.
#[test]
fn edits_change_these_lines() {
    let corpus = corpus();
    let mut shown = String::new();
    for (path, id, patch) in EDITS {
        let (_, text) = corpus.iter().find(|(name, _)| name == path).unwrap();
        let old = declared(path, text).into_iter().find(|it| it.id.to_string() == *id);
        let new = patch.map(|patch| {
            let mut spec = old.as_ref().map_or_else(|| json!({}), |old| old.spec.clone());
            patched(&mut spec, &serde_json::from_str(patch).unwrap());
            Document::new(id.parse().unwrap(), &spec).unwrap_or_else(|it| panic!("{path} {id}: {it:?}"))
        });
        let id = &id.parse().unwrap();
        let after = match &old {
            Some(_) => judge::edit(path, text, id, new.as_ref()).unwrap_or_else(|law| panic!("{path}: {law}")),
            None => crate::resource::yaml::put(path, text, id, new.as_ref()).unwrap(),
        };
        let after = after.unwrap_or_default();
        let _ = writeln!(shown, "=== {path} {id} {}", patch.unwrap_or("goes"));
        let diff = similar::TextDiff::from_lines(text.as_str(), &after);
        let diff = diff.unified_diff().context_radius(1).to_string();
        let diff = diff.trim_end_matches('\n').split('\n').map(|it| it.replace('\r', "␍"));
        shown.extend(diff.map(|it| format!("{}\n", it.trim_end())));
    }
    assert!(
        corpus
            .iter()
            .all(|(name, _)| EDITS.iter().any(|(path, _, _)| path == name))
    );
    insta::with_settings!({snapshot_path => "../../../../tests/fixtures/yaml", prepend_module_to_snapshot => false, omit_expression => true}, {
        insta::assert_snapshot!("edits", shown);
    });
}
