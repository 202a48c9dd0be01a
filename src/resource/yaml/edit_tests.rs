//! Edits touch what changes, and nothing else.

use serde_json::{Value, json};

use super::{EditError, put};
use crate::resource::{Document, Id};

fn edit(text: &str, id: &str, spec: Option<Value>) -> Result<Option<String>, EditError> {
    let id: Id = id.parse().unwrap();
    let document = spec.map(|spec| Document::new(id.clone(), &spec).unwrap());
    put("a.yaml", text, &id, document.as_ref())
}

/// What `text` becomes: lines of a diff without context.
fn diff(text: &str, id: &str, spec: Option<Value>) -> String {
    let after = edit(text, id, spec).unwrap().unwrap();
    let diff = similar::TextDiff::from_lines(text, &after);
    let changes = diff
        .iter_all_changes()
        .filter(|it| it.tag() != similar::ChangeTag::Equal);
    let lines: Vec<String> = changes.map(|it| format!("{}{}", it.tag(), it.value())).collect();
    lines.concat()
}

const FILE: &str = "\
# the clock
kind: server # k
name: time # n

# what it runs
command: # c
  - uvx # the tool
  - mcp-server-time
replicas: 1 # one
description: \"old\" # d
# foot
---
kind: server
name: b
command: [x]
";

const GROUP: &str = "\
# g
servers:
  # first
  - name: a # n
    command: [x]
  - command: [y] # c
    name: b
projects:
- name: p
  servers: [a, b]
# end
";

#[test]
fn a_field_changes_in_its_line() {
    let command = json!(["uvx", "mcp-server-time"]);
    let table = [
        (
            json!({"command": command, "description": "old", "replicas": 3}),
            "-replicas: 1 # one\n+replicas: 3 # one\n",
        ),
        (
            json!({"command": command, "description": "new \"x\""}),
            "-description: \"old\" # d\n+description: \"new \\\"x\\\"\" # d\n",
        ),
        (
            json!({"command": command, "timeoutSeconds": 5, "update": "recreate"}),
            "+timeoutSeconds: 5\n+update: recreate\n-description: \"old\" # d\n",
        ),
        (
            json!({"command": ["z"], "description": "a\nb\n"}),
            "-  - uvx # the tool\n-  - mcp-server-time\n+  - z # the tool\n\
             -description: \"old\" # d\n+description: | # d\n+  a\n+  b\n",
        ),
    ];
    for (spec, want) in table {
        assert_eq!(diff(FILE, "server/time", Some(spec)), want);
    }
}

#[test]
fn windows_line_ends_and_a_byte_order_mark_stay() {
    let text = format!("\u{feff}{}", FILE.replace('\n', "\r\n"));
    let spec = json!({"command": ["uvx", "mcp-server-time"], "description": "old", "replicas": 3, "env": [{"name": "A", "value": "1"}]});
    let after = edit(&text, "server/time", Some(spec)).unwrap().unwrap();
    assert_eq!(after.matches('\n').count(), after.matches("\r\n").count());
    assert!(after.starts_with("\u{feff}# the clock\r\n"));
    assert!(after.contains("replicas: 3 # one\r\n") && after.contains("env:\r\n  - name: A\r\n    value: '1'\r\n"));
}

#[test]
fn documents_come_and_go() {
    assert_eq!(
        diff(FILE, "server/c", Some(json!({"command": ["z"]}))),
        "+---\n+kind: server\n+name: c\n+command:\n+- z\n"
    );
    assert_eq!(
        diff(FILE, "server/b", None),
        "----\n-kind: server\n-name: b\n-command: [x]\n"
    );
    assert_eq!(
        edit(FILE, "server/time", None).unwrap().unwrap(),
        // What touches both documents stays.
        "# foot\n---\nkind: server\nname: b\ncommand: [x]\n"
    );
    let alone = "# a\nkind: server\nname: a\ncommand: [x]\n# b";
    assert_eq!(edit(alone, "server/a", None), Ok(None));
    // Only comments: nothing to separate from.
    assert_eq!(
        edit("# only", "server/a", Some(json!({"command": ["x"]})))
            .unwrap()
            .unwrap(),
        "# only\nkind: server\nname: a\ncommand:\n- x\n"
    );
}

#[test]
fn items_of_a_group_are_edited_in_it() {
    let table = [
        (
            "server/a",
            Some(json!({"command": ["x"], "replicas": 2})),
            "+    replicas: 2\n",
        ),
        (
            "server/b",
            Some(json!({"dockerImage": "i"})),
            "-  - command: [y] # c\n-    name: b\n+  - name: b\n+    dockerImage: i\n",
        ),
        ("server/a", None, "-  # first\n-  - name: a # n\n-    command: [x]\n"),
        ("server/b", None, "-  - command: [y] # c\n-    name: b\n"),
        ("project/p", None, "-projects:\n-- name: p\n-  servers: [a, b]\n"),
    ];
    for (id, spec, want) in table {
        assert_eq!(diff(GROUP, id, spec), want, "{id}");
    }
}

#[test]
fn json_stays_json() {
    let text = "{\"servers\": [{\"name\": \"a\", \"command\": [\"x\"]}, {\"name\": \"b\", \"command\": [\"x\"]}]}\n";
    let id: Id = "server/b".parse().unwrap();
    let new = Document::new(id.clone(), &json!({"dockerImage": "i"})).unwrap();
    let after = put("a.json", text, &id, Some(&new)).unwrap().unwrap();
    assert_eq!(
        after,
        text.replace(
            "\"name\": \"b\", \"command\": [\"x\"]",
            "\"name\": \"b\", \"dockerImage\": \"i\""
        )
    );
    let after = put("a.json", &after, &id, None).unwrap().unwrap();
    assert_eq!(after, "{\"servers\": [{\"name\": \"a\", \"command\": [\"x\"]}]}\n");
    let text = "{\"kind\": \"server\", \"name\": \"b\", \"command\": [\"x\"]}\n";
    let after = put("a.json", text, &id, Some(&new)).unwrap().unwrap();
    assert_eq!(
        after,
        "{\"kind\": \"server\", \"name\": \"b\", \"dockerImage\": \"i\"}\n"
    );
}

#[test]
fn aliases_become_literals_and_anchors_are_minded() {
    let text = "kind: server\nname: a\npackageName: &c x\ndescription: *c # same\n";
    assert_eq!(
        diff(text, "server/a", Some(json!({"packageName": "x", "description": "y"}))),
        "-description: *c # same\n+description: y # same\n"
    );
    // The anchor's value is another field's too: that one is written out.
    let after = edit(text, "server/a", Some(json!({"packageName": "z", "description": "x"})))
        .unwrap()
        .unwrap();
    assert_eq!(
        after,
        "kind: server\nname: a\npackageName: &c z\ndescription: x # same\n"
    );
}

#[test]
fn what_cannot_be_read_is_not_touched() {
    let spec = || Some(json!({"command": ["x"]}));
    assert_eq!(edit("kind: [", "server/a", spec()), Err(EditError::Unreadable));
    assert_eq!(
        edit(
            &format!("{FILE}---\nkind: server\nname: c\nfoo: 1\n"),
            "server/b",
            spec()
        ),
        Err(EditError::Unreadable)
    );
    assert_eq!(edit(FILE, "server/c", None), Err(EditError::Missing("server/c".into())));
    assert_eq!(
        edit(&format!("{FILE}---\n{FILE}"), "server/b", None),
        Err(EditError::Twice("server/b".into()))
    );
    // Nothing to change is nothing changed.
    assert_eq!(
        edit(FILE, "server/b", Some(json!({"command": ["x"], "replicas": 1}))),
        Ok(Some(FILE.to_owned()))
    );
    // A file that would grow over what is read.
    let long = vec!["x".repeat(32_000); 40];
    assert_eq!(
        edit(FILE, "server/b", Some(json!({"command": long}))),
        Err(EditError::Refused("server/b".into()))
    );
}

#[test]
fn empty_values_at_the_end_of_a_file_get_one() {
    let spec = json!({"command": ["x"], "description": "123", "replicas": 0});
    assert_eq!(
        edit(
            "kind: server\nname: a\ncommand: [x]\ndescription:",
            "server/a",
            Some(spec)
        )
        .unwrap()
        .unwrap(),
        "kind: server\nname: a\ncommand: [x]\nreplicas: 0\ndescription: '123'"
    );
}

/// Names in a project are other names than those that count everywhere, and stay in their groups.
#[test]
fn names_within_projects_are_told_apart() {
    let text = "\
prompts:
  - name: old # everywhere
    content: a
  - name: old
    project: ops # in ops
    content: b
  - {name: old, project: dev, content: c}
";
    assert_eq!(
        diff(text, "prompt/ops/old", Some(json!({"content": "new"}))),
        "-    content: b\n+    content: new\n"
    );
    assert_eq!(
        diff(text, "prompt/old", Some(json!({"content": "a", "priority": 9}))),
        "+    priority: 9\n"
    );
    assert_eq!(
        diff(text, "prompt/dev/old", None),
        "-  - {name: old, project: dev, content: c}\n"
    );
    assert_eq!(
        diff(text, "prompt/qa/old", Some(json!({"content": "d"}))),
        "+---\n+kind: prompt\n+name: old\n+project: qa\n+content: d\n"
    );
    assert_eq!(
        edit(text, "prompt/none/old", None),
        Err(EditError::Missing("prompt/none/old".into()))
    );
}

/// What is created and taken out again leaves a neighbour's comments where they were.
#[test]
fn neighbours_keep_their_comments() {
    for (text, more) in [
        ("kind: server\nname: a\ncommand: [x]\n# foot", "\n"),
        ("kind: server\nname: a\ncommand: [x]\n\n# foot\n", ""),
        ("# head\nkind: server\nname: a\ncommand: [x] # x\n", ""),
    ] {
        let with = edit(text, "server/b", Some(json!({"command": ["y"]})))
            .unwrap()
            .unwrap();
        assert!(with.starts_with(text), "{with}");
        let without = edit(&with, "server/b", None).unwrap().unwrap();
        assert_eq!(without, format!("{text}{more}"));
    }
}

/// In brackets on several lines, the comment at the end of a line goes with its entry, and stays with it.
#[test]
fn comments_between_brackets_stay_with_their_entries() {
    let head = "kind: server\nname: a\n";
    let words = "command: [ \"true\", # t\n  a, # a\n  b ] # b\n";
    let apart = "command: [\n  \"true\", # t\n    # more on t\n  # on a\n  a, # a\n  b] # b\n";
    let pairs = "command: [\"true\", a, # ta\n  b, c, # bc\n  d]\n";
    let volumes = "command: [x]\nvolumes: [{name: notes, mountPath: /data},   # vol one\n          {name: more, mountPath: /more}]\n";
    let notes = json!({"command": ["x"], "volumes": [{"name": "notes", "mountPath": "/data"}]});
    let more = json!({"command": ["x"], "volumes": [{"name": "more", "mountPath": "/more"}]});
    let other = json!({"command": ["x"], "volumes": [{"name": "notes", "mountPath": "/data"}, {"name": "other", "mountPath": "/other"}]});
    let env = "command: [x]\nenv: [ {name: A, value: '1'}, # a\n  {name: B, value: '2'} ] # b\n";
    let map = "command: [x]\nresources: {memory: 1g, # m\n  pids: 5, # p\n  cpus: 1} # c\n";
    let command = |words: &[&str]| json!({ "command": words });
    let table = [
        (words, command(&["true", "a"]), "command: [ \"true\", # t\n  a ] # a\n"),
        (words, command(&["a", "b"]), "command: [\n  a, # a\n  b ] # b\n"),
        (words, command(&["true", "b"]), "command: [ \"true\", # t\n  b ] # b\n"),
        (words, command(&["true"]), "command: [ \"true\" ] # t\n"),
        (words, command(&["b"]), "command: [\n  b ] # b\n"),
        (
            apart,
            command(&["true"]),
            "command: [\n  \"true\" # t\n    # more on t\n  ]\n",
        ),
        (
            apart,
            command(&["true", "a"]),
            "command: [\n  \"true\", # t\n    # more on t\n  # on a\n  a] # a\n",
        ),
        (
            pairs,
            command(&["true", "c", "d"]),
            "command: [\"true\", # ta\n  c, # bc\n  d]\n",
        ),
        (pairs, command(&["true", "d"]), "command: [\"true\", # ta\n  d]\n"),
        (
            pairs,
            command(&["true", "a", "b"]),
            "command: [\"true\", a, # ta\n  b] # bc\n",
        ),
        (pairs, command(&["true"]), "command: [\"true\"] # ta\n"),
        (
            volumes,
            notes,
            "command: [x]\nvolumes: [{name: notes, mountPath: /data}]   # vol one\n",
        ),
        (
            volumes,
            more,
            "command: [x]\nvolumes: [\n          {name: more, mountPath: /more}]\n",
        ),
        (
            volumes,
            other,
            "command: [x]\nvolumes: [{name: notes, mountPath: /data}, {name: other, mountPath: /other}   # vol one\n          ]\n",
        ),
        (
            env,
            json!({"command": ["x"], "env": [{"name": "A", "value": "1"}]}),
            "command: [x]\nenv: [ {name: A, value: '1'} ] # a\n",
        ),
        (
            map,
            json!({"command": ["x"], "resources": {"memory": "1g", "pids": 5}}),
            "command: [x]\nresources: {memory: 1g, # m\n  pids: 5} # p\n",
        ),
        (
            map,
            json!({"command": ["x"], "resources": {"cpus": 1, "pids": 5}}),
            "command: [x]\nresources: {\n  pids: 5, # p\n  cpus: 1} # c\n",
        ),
    ];
    for (text, spec, want) in table {
        for ends in ["\n", "\r\n"] {
            let text = format!("{head}{text}").replace('\n', ends);
            let after = edit(&text, "server/a", Some(spec.clone())).unwrap().unwrap();
            assert_eq!(after, format!("{head}{want}").replace('\n', ends), "{text}{spec}");
        }
    }
}

#[test]
fn the_comment_beside_a_block_text_stays() {
    let text = "kind: server\nname: a\ncommand: [x]\ndescription: |-  # c\n  one\n  two\n";
    let spec = json!({"command": ["x"], "description": " # x"});
    assert_eq!(
        diff(text, "server/a", Some(spec)),
        "-description: |-  # c\n-  one\n-  two\n+description: ' # x'  # c\n"
    );
}

#[test]
fn a_question_mark_in_a_text_makes_no_explicit_key() {
    let text = "kind: server # ?\nname: a\ndescription: who ?\ncommand:\n  - ?x\n  - |\n    ?\n  # ?\nenv: # ?\n      - {name: A, value: 'x ? '}\n      # ?\n      - value: >\n            ?\n\n        name: B\n";
    let spec = json!({"command": ["?x", "?\n"], "description": "who ?", "env": [{"name": "A", "value": "x ? "}, {"name": "B", "value": "?\n"}], "replicas": 2});
    assert_eq!(diff(text, "server/a", Some(spec)), "+replicas: 2\n");
}
