//! Laws over generated documents and texts.

#![expect(clippy::format_push_string, reason = "tests need not be fast")]

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use serde_json::{Value, json};

use super::print::{self, print};
use super::{put, read};
use crate::resource::{Document, FileText, KINDS, kind_named};

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
                    it["transport"] = json!("SSE");
                    it["containerPort"] = json!(8080);
                    it["resources"] = json!({"cpus": f64::from(timeout) / 4.0, "memory": "64m", "pids": timeout});
                    it["security"] = json!({"addCapabilities": ["NET_RAW"], "user": "1000:1000"});
                    it["volumes"] = json!([{"name": "a", "mountPath": "/a", "readOnly": replicas > 5}]);
                }
                _ => {
                    let program = [vec!["run".to_owned()], command].concat();
                    it["command"] = json!(program);
                    it["update"] = json!("recreate");
                    it["network"] = json!("none");
                    it["resources"] = json!({"cpus": replicas + 1});
                }
            }
            it
        },
    )
}

fn template() -> impl Strategy<Value = Value> {
    let variable = (text(), any::<bool>(), prop::option::of(text()));
    let env = prop::collection::btree_map("[A-Z]{1,4}", variable, 0..4);
    (server(), text(), env).prop_map(|(mut it, version, env)| {
        it["version"] = json!(version);
        let variable = |(name, (description, required, default))| {
            let default: Option<String> = default;
            json!({"name": name, "description": description, "required": required, "defaultValue": default})
        };
        it["env"] = env.into_iter().map(variable).collect();
        it
    })
}

fn prompt() -> impl Strategy<Value = Value> {
    let tags = prop::collection::btree_set(text(), 0..4);
    (text(), text(), tags, 1..=10u32, any::<bool>()).prop_map(|(summary, content, tags, priority, linked)| {
        let mut it = json!({"summary": summary, "tags": tags, "priority": priority});
        if linked {
            it["link"] = json!(format!("ops/docs:file:///{priority}#x"));
        } else {
            it["content"] = json!(content);
        }
        it
    })
}

fn secret() -> impl Strategy<Value = Value> {
    let value = prop_oneof![
        (8..=1024u32).prop_map(|length| json!({"generate": {"length": length}})),
        text().prop_map(|name| json!({"fromEnv": name})),
    ];
    prop::collection::btree_map("[A-Za-z0-9._-]{1,6}", value, 0..4).prop_map(|data| json!({"data": data}))
}

/// A document of any kind; the match below has an arm for each.
pub fn document() -> impl Strategy<Value = Document> {
    let patterns = || prop::collection::vec("[a-z*?_]{1,6}", 0..3);
    let rules = (patterns(), patterns(), any::<bool>()).prop_map(
        |(allow, deny, strict)| json!({"allow": allow, "deny": deny, "lock": if strict { "strict" } else { "off" }}),
    );
    let servers = prop::collection::btree_set(name(), 0..4);
    let project = (text(), servers, rules, any::<bool>()).prop_map(|(description, servers, tools, prefix)| {
        let prefix = if prefix { "server" } else { "none" };
        json!({"description": description, "servers": servers, "tools": tools, "toolPrefix": prefix})
    });
    let spec = prop_oneof![
        3 => server().prop_map(|it| ("server", it)),
        1 => project.prop_map(|it| ("project", it)),
        1 => template().prop_map(|it| ("template", it)),
        1 => prompt().prop_map(|it| ("prompt", it)),
        1 => secret().prop_map(|it| ("secret", it)),
    ];
    (spec, name(), prop::option::of(name())).prop_filter_map("valid", |((kind, spec), name, project)| {
        let scope = project.filter(|_| kind_named(kind).is_some_and(|kind| kind.scoped));
        let scope = scope.map_or_else(String::new, |project| format!("{project}/"));
        Document::new(format!("{kind}/{scope}{name}").parse().unwrap(), &spec).ok()
    })
}

/// Laws that are proved for some kinds only are no laws: a kind without an arm above is found here.
#[test]
fn documents_of_every_kind_are_generated() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = document();
    let drawn = (0..2000).filter_map(|_| Some(strategy.new_tree(&mut runner).ok()?.current()));
    let mut seen = std::collections::BTreeSet::new();
    for document in drawn {
        let scoped = document.id.project().is_some();
        seen.insert((document.id.kind().name, scoped));
    }
    for kind in KINDS {
        assert!(seen.contains(&(kind.name, false)), "{}", kind.name);
        assert_eq!(seen.contains(&(kind.name, true)), kind.scoped, "{}", kind.name);
    }
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
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_printed_reads_back(document in document()) {
        let text = print(&document);
        prop_assert_eq!(documents(&text), vec![document], "{}", text);
    }
}

/// A file of several documents with comments around them, and what it declares.
fn repository_file() -> impl Strategy<Value = (String, Vec<Document>)> {
    let unique = |documents: Vec<Document>| {
        let mut seen = std::collections::BTreeSet::new();
        documents
            .into_iter()
            .filter(|it| seen.insert(it.id.clone()))
            .collect::<Vec<_>>()
    };
    (prop::collection::vec(document(), 0..4), 0..5u8, any::<bool>()).prop_map(move |(documents, style, windows)| {
        let documents = unique(documents);
        let mut text = String::new();
        for (n, document) in documents.iter().enumerate() {
            let lines = print(document);
            match style {
                // Grouped, each group a document of its own.
                0 => {
                    text.push_str(&format!("---\n{}:\n  # about it\n", document.id.kind().plural));
                    for (n, line) in print::below_kind(document).lines().enumerate() {
                        let lead = match (n, line) {
                            (0, _) => "  - ",
                            (_, "") => "",
                            _ => "    ",
                        };
                        text.push_str(&format!("{lead}{line}\n"));
                    }
                }
                1 => text.push_str(&format!(
                    "{}{}\n",
                    if n > 0 { "---\n" } else { "" },
                    print::json(document, false)
                )),
                2 => text.push_str(&format!("--- # document {n}\n# head\n\n{lines}# foot\n")),
                _ => text.push_str(&format!("{}{lines}", if n > 0 { "---\n" } else { "# file\n" })),
            }
        }
        if style == 4 {
            text = text.trim_end().to_owned();
        }
        if windows {
            text = text.replace('\n', "\r\n");
        }
        (text, documents)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_edit_changes_one_document((text, before) in repository_file(), new in document(), pick in any::<prop::sample::Index>(), remove in any::<bool>()) {
        let read = read(&file(&text));
        prop_assume!(read.unreadable.is_empty());
        let before: Vec<Document> = { let _ = before; documents(&text) };
        let target = if before.is_empty() { new.id.clone() } else { pick.get(&before).id.clone() };
        // Half the edits change a document that is there.
        let new = match Document::new(target.clone(), &new.spec) {
            Ok(changed) => changed,
            Err(_) => new,
        };
        let wanted = new.clone();
        let id = if remove { target } else { new.id.clone() };
        let result = put("a.yaml", &text, &id, (!remove).then_some(&new));
        let mut want: Vec<Document> = before.iter().filter(|it| it.id != id).cloned().collect();
        if remove && before.iter().all(|it| it.id != id) {
            prop_assert!(result.is_err());
            return Ok(());
        }
        if !remove {
            want.push(new);
        }
        let result = result.unwrap_or_else(|error| panic!("{error}\n{text:?}\n{wanted:?}"));
        let mut got = result.map(|it| documents(&it)).unwrap_or_default();
        got.sort_by(|a, b| a.id.cmp(&b.id));
        want.sort_by(|a, b| a.id.cmp(&b.id));
        prop_assert_eq!(got, want);
    }

    #[test]
    fn any_text_is_read_or_refused(text in prop_oneof![
        any::<String>(),
        "[a-c:\\-\\[\\]{}&*!|>'\"#%@,? \n\t]{0,60}",
        "(kind: server\n|name: a\n|command: \\[x\\]\n|---\n|\\.\\.\\.\n|servers:\n|- name: b\n|  command: \\[y\\]\n|# c\n|env: &a\n|  - \\*a\n|\\? \\[x\\]\n|: z\n|k: \\|\n|  t\n|k2: >-\n){0,12}",
    ]) {
        let once = read(&file(&text));
        prop_assert_eq!(&once, &read(&file(&text)));
        // What is refused is told, and what is told is refused.
        prop_assert_eq!(once.diagnostics.is_empty(), once.unreadable.is_empty(), "{:?}", once);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let once = read(&FileText { path: "a.yaml".into(), bytes: Ok(bytes) });
        prop_assert_eq!(once.diagnostics.is_empty(), once.unreadable.is_empty());
    }
}
