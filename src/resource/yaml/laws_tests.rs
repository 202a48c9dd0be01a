//! Laws over generated documents and texts.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::{Document, FileText};
use super::{print, put, read};

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[ -~]{0,20}",
        2 => "\\PC{0,12}",
        1 => "[ \\t\\n#:'\"|>&*!%@`,\\[\\]{}?-]{0,12}",
        1 => "([a-z :#-]{0,10}\n){1,4}[a-z ]{0,3}",
        1 => any::<String>().prop_map(|it| it.replace('\0', "")),
        1 => prop::sample::select(vec!["true", "no", "null", "~", "123", "0x1f", "1e3", ".5", "-", "---", "...", "<<", "=", "\u{2028}", "\u{85}", "\u{feff}", "a\r\nb", "\r", " ", "\n", "\n\n", " a", "a ", "a\n", "a\n\n", "\na", "  a\nb", "a\tb", "\ta", "# x", "a: b", "a #b", "😀", "\u{fffe}", "\u{7f}", "0o17", "007", "+1", "1_000", "2024-01-01", ".inf", ".nan", "<<<<<<< x\n=======\n"]).prop_map(str::to_owned),
    ]
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?",
        prop::sample::select(vec!["true", "null", "no", "1", "0x1", "1e5", "007", "y"]).prop_map(str::to_owned),
    ]
}

fn server() -> impl Strategy<Value = Value> {
    let env = prop::collection::btree_map("[A-Z]{1,4}", text(), 0..4);
    let lists = (prop::collection::vec(text(), 0..4), prop::collection::vec(text(), 0..3));
    (text(), lists, env, 0..=10u32, 1..=3600u32, 0..3u8).prop_map(
        |(description, (args, command), env, replicas, timeout, source)| {
            let mut it = json!({"description": description, "replicas": replicas, "timeoutSeconds": timeout});
            it["env"] = env
                .into_iter()
                .map(|(name, value)| json!({"name": name, "value": value}))
                .collect();
            match source {
                0 => {
                    it["packageName"] = json!("@a/b@1.0");
                    it["args"] = json!(args);
                }
                1 => {
                    it["dockerImage"] = json!("a:b");
                    it["command"] = json!(command);
                }
                _ => {
                    let program = [vec!["run".to_owned()], command].concat();
                    it["command"] = json!(program);
                    it["update"] = json!("recreate");
                }
            }
            it
        },
    )
}

fn document() -> impl Strategy<Value = Document> {
    let make = |kind: &str, name: &str, spec: &Value| {
        let id = format!("{kind}/{name}").parse().unwrap();
        Document::new(id, spec).ok()
    };
    prop_oneof![
        3 => (name(), server()).prop_filter_map("valid", move |(name, spec)| make("server", &name, &spec)),
        1 => (name(), text(), prop::collection::btree_set(name(), 0..4)).prop_filter_map("valid", move |(name, description, servers)| {
            make("project", &name, &json!({"description": description, "servers": servers}))
        }),
    ]
}

fn file(text: &str) -> FileText {
    FileText {
        path: "a.yaml".into(),
        bytes: Ok(text.as_bytes().to_vec()),
    }
}

fn documents(text: &str) -> Vec<Document> {
    let read = read(&file(text));
    let told: Vec<String> = read.diagnostics.iter().map(ToString::to_string).collect();
    assert!(
        read.unreadable.is_empty() && told.is_empty(),
        "{text}\n{}",
        told.join("\n")
    );
    read.documents
        .into_iter()
        .map(|it| (*it.placed.document).clone())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_printed_reads_back(document in document()) {
        let text = print(&document);
        prop_assert_eq!(documents(&text), vec![document], "{}", text);
    }
}
