//! What a person sees who made a mistake: every text here is part of the product.

use super::super::{FileText, Tree};
use super::read;

fn shown(path: &str, bytes: &[u8]) -> String {
    let file = FileText {
        path: path.to_owned(),
        bytes: Ok(bytes.to_vec()),
    };
    let tree = Tree::assemble([std::sync::Arc::new(read(&file))]);
    let all: Vec<String> = tree.diagnostics.iter().map(ToString::to_string).collect();
    all.join("\n")
}

#[test]
fn dump() {
    for t in [
        "kind: server\nname: a\nreplica: 2\n",
        "kind: server\nname: a\ncommand: [x]\nreplicas: two\n",
        "kind: server\nname: a\ncommand: [x]\nreplicas: 11\n",
        "kind: server\nname: a\ncommand: [x]\nreplicas: \"2\"\n",
        "kind: srv\nname: a\n",
        "kind: sever\nname: a\n",
        "name: a\n",
        "kind: server\n",
        "kind: server\nname: A_b\ncommand: [x]\n",
        "kind: server\nname: 123\ncommand: [x]\n",
        "kind: server\nname: true\n",
        "apiVersion: v1\nkind: server\nname: a\n",
        "kind: server\nname: a\nname: b\n",
        "kind: server\nname: a\n",
        "kind: server\nname: a\ncommand: x\n",
        "kind: server\nname: a\npackageName: x\nruntime: pyton\n",
        "kind: server\nname: a\npackageName: x\nenv:\n  - name: A\n    value: 8080\n  - nme: B\n",
        "kind: server\nname: a\n\tcommand: x\n",
        "kind: server\nname: a: b\n",
        "kind: server\nname: a\nargs: [a, b\ncommand: [x]\n",
        "kind: server\nname: \"a\ncommand: [x]\n",
        "kind: server\n name: a\n",
        "kind: server\nname: @a\n",
        "kind: server\nname: *a\n",
        "kind: server\nname: !foo a\n",
        "a: &a {x: 1}\nkind: server\nname: x\n<<: *a\n",
        "<<<<<<< HEAD\nkind: server\n=======\n",
        "kind:server\n",
        "- kind: server\n",
        "hello\n",
        "kind: server\nname: a\x01b\n",
        "servers:\n  - name: a\n    command: [x]\n    replicas: 99\n  - foo\nproject: []\n",
        "kind: project\nname: p\nservers: [tme, x]\n---\nkind: server\nname: time\ncommand: [x]\n---\nkind: server\nname: time\ncommand: [y]\n---\nkind: server\nname: tim2\ncommand: [x]\n",
        "1: a\nkind: server\n",
        "kind: server\nmetadata:\n  name: x\nspec: {}\n",
        "server:\n  name: x\n",
        "kind: server\nname: a\ncommand: [x]\ndescription: 1e999\n",
        "kind: server\nname: a\ncommand: [x]\nreplicas: 99999999999999999999\n",
        "kind: server\nname: a\ncommand: [x]\nenv:\nargs: ~\n",
        "kind: server\nname:\n",
    ] {
        println!("=== {t}\n{}", shown("a.yaml", t.as_bytes()));
    }
}
