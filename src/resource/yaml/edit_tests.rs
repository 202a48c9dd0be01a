//! Edits touch what changes, and nothing else.
use serde_json::{Value, json};

use super::super::Document;
use super::{EditError, put};

fn edit(text: &str, id: &str, spec: Option<Value>) -> Result<Option<String>, EditError> {
    let id: super::super::Id = id.parse().unwrap();
    let document = spec.map(|spec| Document::new(id.clone(), &spec).unwrap());
    put("a.yaml", text, &id, document.as_ref())
}

#[test]
fn dump() {
    let base = "# the clock\nkind: server # k\nname: time # n\n\n# what it runs\ncommand: # c\n  - uvx # the tool\n  - mcp-server-time\nreplicas: 1 # one\ndescription: \"old\" # d\n# foot\n---\nkind: server\nname: b\ncommand: [x]\n";
    let c = json!(["uvx", "mcp-server-time"]);
    println!(
        "{}",
        edit(
            base,
            "server/time",
            Some(json!({"command": c, "description": "old", "replicas": 3}))
        )
        .unwrap()
        .unwrap()
    );
    println!(
        "====\n{}",
        edit(
            base,
            "server/time",
            Some(json!({"command": c, "timeoutSeconds": 5, "update": "recreate"}))
        )
        .unwrap()
        .unwrap()
    );
    println!(
        "====\n{}",
        edit(
            base,
            "server/time",
            Some(json!({"command": ["z"], "description": "a\nb\n", "env": [{"name":"A", "value":"1"}]}))
        )
        .unwrap()
        .unwrap()
    );
    println!("====\n{}", edit(base, "server/time", None).unwrap().unwrap());
    println!("====\n{}", edit(base, "server/b", None).unwrap().unwrap());
    println!(
        "====\n{}",
        edit(base, "server/c", Some(json!({"command": ["z"]})))
            .unwrap()
            .unwrap()
    );
    let group = "# g\nservers:\n  # first\n  - name: a # n\n    command: [x]\n  - command: [y] # c\n    name: b\nprojects:\n- name: p\n  servers: [a, b]\n# end\n";
    println!(
        "====\n{}",
        edit(group, "server/a", Some(json!({"command": ["x"], "replicas": 2})))
            .unwrap()
            .unwrap()
    );
    println!(
        "====\n{}",
        edit(group, "server/b", Some(json!({"command": ["y", "z"], "replicas": 2})))
            .unwrap()
            .unwrap()
    );
    println!(
        "====\n{}",
        edit(group, "server/b", Some(json!({"dockerImage": "i"})))
            .unwrap()
            .unwrap()
    );
    println!("====\n{}", edit(group, "server/b", None).unwrap().unwrap());
    println!("====\n{}", edit(group, "project/p", None).unwrap().unwrap());
    println!(
        "====\n{}",
        edit(
            "{\"servers\": [{\"name\": \"a\", \"command\": [\"x\"]}, {\"name\": \"b\", \"command\": [\"x\"]}]}\n",
            "server/b",
            Some(json!({"dockerImage": "i"}))
        )
        .unwrap()
        .unwrap()
    );
    println!(
        "====\n{}",
        edit(
            "kind: server\nname: a\ncommand: &c [x]\nargs:\n",
            "server/a",
            Some(json!({"command": ["x"], "replicas": 2}))
        )
        .unwrap()
        .unwrap()
    );
    println!(
        "====\n{}",
        edit(
            "kind: server\nname: a\npackageName: &c x\ndescription: *c # same\n",
            "server/a",
            Some(json!({"packageName": "x", "description": "y"}))
        )
        .unwrap()
        .unwrap()
    );
    println!(
        "====\n{}",
        edit(
            "kind: server\nname: a\npackageName: &c x\ndescription: *c # same\n",
            "server/a",
            Some(json!({"packageName": "z", "description": "x"}))
        )
        .unwrap()
        .unwrap()
    );
    println!(
        "====\n{}",
        edit(
            "kind: server\nname: a\ncommand: [x]\ndescription:",
            "server/a",
            Some(json!({"command": ["x"], "description": "123", "replicas": 0}))
        )
        .unwrap()
        .unwrap()
    );
    println!(
        "====\n{}",
        edit(
            "kind: server\nname: a\ncommand: [x]\ndescription: it's é\n",
            "server/a",
            Some(json!({"command": ["x"], "description": "a\u{2028}b"}))
        )
        .unwrap()
        .unwrap()
    );
}
