//! Merging: the rule as a table, and its laws over generated documents.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::merge::{Ancestor, adopt, has, merge};
use crate::record::FieldPath;
use crate::resource::{Document, Id};

fn document(kind: &str, spec: &Value) -> Arc<Document> {
    let id: Id = format!("{kind}/web").parse().unwrap();
    Arc::new(Document::new(id, spec).unwrap_or_else(|problems| panic!("{problems:?} {spec}")))
}

fn dotted(lost: &[FieldPath]) -> String {
    lost.iter().map(|path| path.join(".")).collect::<Vec<_>>().join(" ")
}

/// What a merge comes to: the fields, and what lost; or why there is none.
fn merged(kind: &str, base: Option<&Value>, repository: &Value, store: &Value) -> (Value, String) {
    let base = base.map(|base| document(kind, base));
    let ancestor = base.as_deref().map_or(Ancestor::Nothing, Ancestor::Known);
    match merge(ancestor, &document(kind, repository), &document(kind, store)) {
        Ok(merged) => (merged.document.spec.clone(), dotted(&merged.lost)),
        Err(why) => (Value::Null, why),
    }
}

#[test]
fn fields_are_merged() {
    let env = |pairs: &[(&str, &str)]| -> Value {
        pairs
            .iter()
            .map(|(name, value)| json!({"name": name, "value": value}))
            .collect()
    };
    let with = |more: Value| {
        let mut spec = json!({"packageName": "p@1"});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        spec
    };
    // base, repository, store → result, what lost
    for (base, repository, store, want, lost) in [
        // Fields that one side changed are that side's.
        (
            json!({"description": "a"}),
            json!({"description": "b"}),
            json!({"description": "a", "replicas": 2}),
            json!({"description": "b", "replicas": 2}),
            "",
        ),
        // A field that both changed is the store's; the rest is merged all the same.
        (
            json!({"description": "a", "replicas": 2}),
            json!({"description": "b", "replicas": 3}),
            json!({"description": "c", "replicas": 2}),
            json!({"description": "c", "replicas": 3}),
            "description",
        ),
        // Both did the same.
        (
            json!({}),
            json!({"replicas": 2}),
            json!({"replicas": 2, "timeoutSeconds": 5}),
            json!({"replicas": 2, "timeoutSeconds": 5}),
            "",
        ),
        // A default is a value like any other, also where it is left out.
        (
            json!({"replicas": 2}),
            json!({"replicas": 3}),
            json!({}),
            json!({}),
            "replicas",
        ),
        (
            json!({"replicas": 2, "description": "a"}),
            json!({"description": "a"}),
            json!({"replicas": 2, "description": "b"}),
            json!({"description": "b"}),
            "",
        ),
        // Lists are one field.
        (
            json!({"args": ["a"]}),
            json!({"args": ["a", "b"]}),
            json!({"args": ["c", "a"]}),
            json!({"args": ["c", "a"]}),
            "args",
        ),
        (
            json!({"args": ["a"]}),
            json!({"args": ["a", "b"]}),
            json!({"args": ["a"], "replicas": 2}),
            json!({"args": ["a", "b"], "replicas": 2}),
            "",
        ),
        // Variables are told apart by name: changed, added, removed, on either side.
        (
            json!({"env": env(&[("A", "1"), ("B", "1"), ("C", "1")])}),
            json!({"env": env(&[("A", "2"), ("B", "1"), ("D", "1")])}),
            json!({"env": env(&[("A", "1"), ("B", "3"), ("C", "1"), ("E", "1")])}),
            json!({"env": env(&[("A", "2"), ("B", "3"), ("E", "1"), ("D", "1")])}),
            "",
        ),
        (
            json!({"env": env(&[("A", "1"), ("B", "1")])}),
            json!({"env": env(&[("A", "2"), ("B", "2")])}),
            json!({"env": env(&[("A", "3")])}),
            json!({"env": env(&[("A", "3")])}),
            "env.A env.B",
        ),
        // The last one goes from both sides: the list with it.
        (
            json!({"env": env(&[("A", "1"), ("B", "1")])}),
            json!({"env": env(&[("A", "1")])}),
            json!({"env": env(&[("B", "1")])}),
            json!({}),
            "",
        ),
        // The order is the side's that changed it.
        (
            json!({"env": env(&[("A", "1"), ("B", "1")])}),
            json!({"env": env(&[("B", "1"), ("A", "1")])}),
            json!({"env": env(&[("A", "1"), ("B", "1")]), "replicas": 2}),
            json!({"env": env(&[("B", "1"), ("A", "1")]), "replicas": 2}),
            "",
        ),
        (
            json!({"env": env(&[("A", "1"), ("B", "1")])}),
            json!({"env": env(&[("B", "1"), ("X", "1"), ("A", "1")])}),
            json!({"env": env(&[("A", "2"), ("B", "1")])}),
            json!({"env": env(&[("B", "1"), ("X", "1"), ("A", "2")])}),
            "",
        ),
        // A variable is one field: a value and a reference are never mixed.
        (
            json!({"env": env(&[("A", "1")])}),
            json!({"env": [{"name": "A", "valueFrom": {"secretRef": {"name": "s", "key": "k"}}}]}),
            json!({"env": env(&[("A", "2")])}),
            json!({"env": env(&[("A", "2")])}),
            "env.A",
        ),
        // Mappings are entered, also where one side has left them out.
        (
            json!({"resources": {"cpus": 1.0}}),
            json!({"resources": {"cpus": 1.0, "memory": "1g"}}),
            json!({"resources": {"cpus": 2.0}}),
            json!({"resources": {"cpus": 2.0, "memory": "1g"}}),
            "",
        ),
        (
            json!({"resources": {"cpus": 1.0}}),
            json!({"resources": {"cpus": 1.0, "memory": "1g"}}),
            json!({}),
            json!({"resources": {"memory": "1g"}}),
            "",
        ),
        (
            json!({"security": {"readOnlyRoot": true, "user": "1"}}),
            json!({"security": {"user": "2", "readOnlyRoot": true}}),
            json!({}),
            json!({}),
            "security.user",
        ),
    ] {
        let shown = format!("{base} | {repository} | {store}");
        let (spec, told) = merged("server", Some(&with(base)), &with(repository), &with(store));
        assert_eq!(
            (spec, told.as_str()),
            (document("server", &with(want)).spec.clone(), lost),
            "{shown}"
        );
    }
}

#[test]
fn what_does_not_fit_together_is_not_merged() {
    // Each side is valid, and together they would have two sources, or a port that nobody asked for.
    for (base, repository, store, why) in [
        (
            json!({"packageName": "p@1"}),
            json!({"dockerImage": "i:1"}),
            json!({"packageName": "p@2"}),
            "together the changes of both sides are not valid",
        ),
        (
            json!({"dockerImage": "i:1", "transport": "SSE", "containerPort": 1}),
            json!({"dockerImage": "i:1", "transport": "SSE", "containerPort": 2}),
            json!({"dockerImage": "i:1"}),
            "",
        ),
    ] {
        let (spec, told) = merged("server", Some(&base), &repository, &store);
        assert!(told.starts_with(why), "{told}");
        assert!(why.is_empty() || spec.is_null());
    }
    let side = document("server", &json!({"packageName": "p"}));
    assert!(merge(Ancestor::Forgotten, &side, &side).is_err());
}

#[test]
fn without_a_base_every_field_was_added() {
    let (repository, store) = (
        json!({"packageName": "p", "description": "b", "args": ["x"]}),
        json!({"packageName": "p", "description": "c", "replicas": 2}),
    );
    let want = json!({"packageName": "p", "description": "c", "args": ["x"], "replicas": 2});
    assert_eq!(
        merged("server", None, &repository, &store),
        (want, "description".to_owned())
    );
}

#[test]
fn what_lost_can_be_taken_back() {
    let spec = |description: &str, variable: &str| json!({"packageName": "p", "description": description, "env": [{"name": "A.B", "value": variable}]});
    let (repository, store) = (document("server", &spec("b", "2")), document("server", &spec("c", "3")));
    let base = document("server", &spec("a", "1"));
    let merged = merge(Ancestor::Known(&base), &repository, &store).unwrap();
    assert_eq!(dotted(&merged.lost), "description env.A.B");
    assert!(!has(&merged.document, &repository, &merged.lost));
    // The store has moved on meanwhile: only what lost is taken.
    let later = document("server", &json!({"packageName": "p", "replicas": 3}));
    let taken = adopt(&later, &repository, &merged.lost).unwrap();
    let want = json!({"packageName": "p", "description": "b", "env": [{"name": "A.B", "value": "2"}], "replicas": 3});
    assert_eq!(taken, *document("server", &want));
    assert!(has(&taken, &repository, &merged.lost));
    // And what lost may be an absence.
    let empty = document("server", &json!({"packageName": "p"}));
    let taken = adopt(&taken, &empty, &merged.lost).unwrap();
    assert_eq!(taken, *document("server", &json!({"packageName": "p", "replicas": 3})));
}

fn side() -> impl Strategy<Value = Value> {
    let env = prop::collection::btree_map("[A-D]", "[0-2]", 0..4);
    let resources = (
        prop::option::of(1..3u32),
        prop::option::of(prop::sample::select(vec!["1g", "2g"])),
    );
    let source = prop::sample::select(vec![
        ("packageName", "p@1"),
        ("packageName", "p@2"),
        ("dockerImage", "i"),
    ]);
    (
        source,
        "[ab]?",
        0..3u32,
        env,
        resources,
        prop::collection::vec("[ab]", 0..2),
    )
        .prop_map(|((source, value), description, replicas, env, (cpus, memory), args)| {
            let mut spec = json!({source: value, "description": description, "replicas": replicas});
            spec["env"] = env
                .iter()
                .map(|(name, value)| json!({"name": name, "value": value}))
                .collect();
            spec["resources"] = json!({"cpus": cpus, "memory": memory});
            if source == "packageName" {
                spec["args"] = json!(args);
            }
            spec
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    /// The laws of a merge: a side that did not move has no say; what one side changed is there; what both changed is the
    /// store's, and told; and a merge merged again is itself.
    #[test]
    fn the_laws_of_merging(base in side(), repository in side(), store in side()) {
        let [base, repository, store] = [&base, &repository, &store].map(|spec| document("server", spec));
        let known = Ancestor::Known(&base);
        prop_assert_eq!(&merge(known, &base, &store).unwrap().document, &store);
        prop_assert_eq!(&merge(known, &repository, &base).unwrap().document, &repository);
        prop_assert_eq!(&merge(known, &store, &store).unwrap().document, &store);
        let Ok(merged) = merge(known, &repository, &store) else {
            // Only sources that exclude each other do not fit together here.
            let sources = |of: &Document| of.spec.get("dockerImage").is_some();
            prop_assert!(sources(&repository) != sources(&store) || sources(&base) != sources(&store));
            return Ok(());
        };
        let fields = |of: &Document| {
            let mut fields = crate::resource::changes(&Value::Null, &of.spec);
            fields.retain(|field| field.path != "env");
            let flat = fields.into_iter().map(|field| (field.path, field.to));
            let env = of.spec.get("env").and_then(Value::as_array).into_iter().flatten();
            let env = env.map(|it| (format!("env.{}", it["name"].as_str().unwrap_or_default()), it.clone()));
            let nested = of.spec.get("resources").and_then(Value::as_object).into_iter().flatten();
            let nested = nested.map(|(key, value)| (format!("resources.{key}"), value.clone()));
            flat.filter(|(path, _)| path != "resources").chain(env).chain(nested).collect::<std::collections::BTreeMap<_, _>>()
        };
        let [b, r, s, m] = [&base, &repository, &store, &merged.document].map(|it| fields(it));
        let lost: Vec<String> = merged.lost.iter().map(|path| path.join(".")).collect();
        let paths: std::collections::BTreeSet<&String> = b.keys().chain(r.keys()).chain(s.keys()).chain(m.keys()).collect();
        for path in paths {
            let [b, r, s, m] = [&b, &r, &s, &m].map(|fields| fields.get(path));
            let want = if r == b || r == s { s } else if s == b { r } else { s };
            prop_assert_eq!(m, want, "{}", path);
            prop_assert_eq!(lost.contains(path), r != b && s != b && r != s, "{}", path);
        }
        let again = merge(Ancestor::Known(&repository), &repository, &merged.document).unwrap();
        prop_assert_eq!(&again.document, &merged.document);
        prop_assert_eq!(again.lost, Vec::<FieldPath>::new());
        let again = merge(known, &repository, &merged.document).unwrap();
        prop_assert_eq!(again.document, merged.document);
    }
}
