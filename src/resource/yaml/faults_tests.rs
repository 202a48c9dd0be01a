//! What a person sees who made a mistake: every text here is part of the product.
#![expect(clippy::needless_raw_string_hashes, reason = "one form for all rows")]
#![expect(
    clippy::format_push_string,
    clippy::format_collect,
    reason = "tests need not be fast"
)]

use super::read;
use crate::resource::{FileText, Tree};

fn shown(path: &str, bytes: &[u8]) -> String {
    let file = FileText {
        path: path.to_owned(),
        bytes: Ok(bytes.to_vec()),
    };
    let tree = Tree::assemble([std::sync::Arc::new(read(&file))]);
    let all: Vec<String> = tree.diagnostics.iter().map(ToString::to_string).collect();
    all.join("\n")
}

/// What is read, and what is told.
const FAULTS: &[(&str, &str)] = &[
    (
        "kind: server\nname: a\ncommand: [x]\nreplica: 2\n",
        r##"
error: a.yaml:4:1: unknown field "replica" of a server
  replica: 2
  ^^^^^^^
hint: did you mean "replicas"?
"##,
    ),
    (
        "kind: server\nname: a\ncommand: [x]\nimage: y\n",
        r##"
error: a.yaml:4:1: unknown field "image" of a server
  image: y
  ^^^^^
hint: fields are args, command, containerPort, description, dockerImage, env, imagePullPolicy, isolation, network, packageName, replicas, resources, runtime, security, startTimeoutSeconds, timeoutSeconds, transport, update, volumes
"##,
    ),
    (
        "kind: server\nname: a\ncommand: [x]\nreplicas: two\n",
        r##"
error: a.yaml:4:11: replicas: expected an integer from 0 to 10, found the text "two"
  replicas: two
            ^^^
"##,
    ),
    (
        "kind: server\nname: a\ncommand: [x]\nreplicas: 11\n",
        r##"
error: a.yaml:4:11: replicas: expected an integer from 0 to 10, found 11
  replicas: 11
            ^^
"##,
    ),
    (
        "kind: server\nname: a\ncommand: [x]\nreplicas: \"2\"\n",
        r##"
error: a.yaml:4:11: replicas: expected an integer from 0 to 10, found the text "2"
  replicas: "2"
            ^^^
hint: write 2 without quotes
"##,
    ),
    (
        "kind: server\nname: a\ncommand: x\n",
        r##"
error: a.yaml:3:10: command: expected a list, found the text "x"
  command: x
           ^
hint: write a list: [x]
"##,
    ),
    (
        "kind: server\nname: a\npackageName: x\nruntime: pyton\n",
        r##"
error: a.yaml:4:10: runtime: expected node or python, found "pyton"
  runtime: pyton
           ^^^^^
hint: did you mean "python"?
"##,
    ),
    (
        "kind: server\nname: a\npackageName: x\nenv:\n  - name: A\n  - name: B\n    value: b\n    valueFrom: {secretRef: {name: s, key: k}}\n",
        r##"
error: a.yaml:5:5: env[0]: A has no value
    - name: A
      ^^^^
hint: give value, or valueFrom with a secretRef
error: a.yaml:8:5: B has one source, and value is given too
      valueFrom: {secretRef: {name: s, key: k}}
      ^^^^^^^^^
"##,
    ),
    (
        "kind: secret\nname: a\ndata: {KEY: hunter2, OTHER: 5}\n",
        r##"
error: a.yaml:3:29: data.OTHER: expected text, {fromEnv: …} or {generate: …}, found something else
"##,
    ),
    (
        "kind: secret\nname: a\ndata:\n  KEY: hunter2\n",
        r##"
error: a.yaml:3:1: secret/a stands in the clear
hint: encrypt it: mcpctl create secret a --data KEY=VALUE does and commits it; then take it out here
"##,
    ),
    // Whatever is wrong with it, and however it is written: the line of a secret is not shown.
    (
        "{kind: secret, name: a, data: {KEY: hunter2}}\n",
        r##"
error: a.yaml:1:25: secret/a stands in the clear
hint: encrypt it: mcpctl create secret a --data KEY=VALUE does and commits it; then take it out here
"##,
    ),
    (
        "kind: secret\nname: a\ndata: {KEY: hunter2, KEY: hunter3}\n",
        r##"
error: a.yaml:3:22: "KEY" is given twice
note: a.yaml:3:8: the first one
"##,
    ),
    (
        "kind: secret\nname: a\ndata:\n  KEY: !hunter2\n",
        r##"
error: a.yaml:4:8: tags are not allowed
hint: a text that begins with ! needs quotes
"##,
    ),
    (
        "kind: secret\nname: a\ndata:\n  KEY: \"hunter2\n",
        r##"
error: a.yaml:4:8: this quoted text is not closed
hint: close it with the quote that opened it
"##,
    ),
    (
        "kind: secret\nname: a\ndata:\n  KEY: ENC[AES256_GCM,data:x,iv:y,tag:z,type:str]\nsops: {mac: x}\n---\nkind: server\nname: b\ncommand: [x]\n",
        r##"
error: a.yaml:5:7: an encrypted secret beside other documents
hint: move it into a file of its own, secrets/a.yaml
"##,
    ),
    (
        "kind: server\nname: a\npackageName: x\nenv:\n  - name: A\n    value: 8080\n  - nme: B\n    value: b\n  - name: C\n",
        r##"
error: a.yaml:6:12: env[0].value: expected text, found the number 8080
      value: 8080
             ^^^^
hint: quote it: "8080"
error: a.yaml:7:5: unknown field "nme" of env[1]
    - nme: B
      ^^^
hint: did you mean "name"?
"##,
    ),
    (
        "kind: server\nname: a\n",
        r##"
error: a.yaml:1:1: a server needs a source
  kind: server
  ^^^^
hint: give one of packageName, dockerImage or command
"##,
    ),
    (
        "kind: server\nname: é\ndescription: \"é\" # 😀\ncommand: [é, \"#\", 3]\nreplicas: 'é' # 'x\n",
        r##"
error: a.yaml:2:7: "é" is not a name
  name: é
        ^
hint: use 1 to 63 of a-z, 0-9 and -, with a letter or digit at both ends
error: a.yaml:4:19: command[2]: expected text, found the number 3
  command: [é, "#", 3]
                    ^
hint: quote it: "3"
error: a.yaml:5:11: replicas: expected an integer from 0 to 10, found the text "é"
  replicas: 'é' # 'x
            ^^^
"##,
    ),
    (
        "kind: srv\nname: a\n",
        r##"
error: a.yaml:1:7: unknown kind "srv"
  kind: srv
        ^^^
hint: did you mean "server"?
"##,
    ),
    (
        "kind: sever\nname: a\n",
        r##"
error: a.yaml:1:7: unknown kind "sever"
  kind: sever
        ^^^^^
hint: did you mean "server"?
"##,
    ),
    (
        "kind: [server]\nname: a\n",
        r##"
error: a.yaml:1:7: kind: expected text, found a list
  kind: [server]
        ^^^^^^^^
"##,
    ),
    (
        "name: a\ncommand: [x]\n",
        r##"
error: a.yaml:1:1: kind is missing
  name: a
  ^^^^
hint: begin with "kind: server"; kinds are secret, template, server, project, prompt
"##,
    ),
    (
        "knd: server\nname: a\n",
        r##"
error: a.yaml:1:1: unknown field "knd"
  knd: server
  ^^^
hint: did you mean "kind"?
"##,
    ),
    (
        "server:\n  name: a\n",
        r##"
error: a.yaml:1:1: kind is missing
  server:
  ^^^^^^
hint: did you mean "servers: [...]" or "kind: server"?
"##,
    ),
    (
        "kind: server\ncommand: [x]\n",
        r##"
error: a.yaml:1:1: name is missing
  kind: server
  ^^^^
"##,
    ),
    (
        "kind: server\nnmae: a\ncommand: [x]\n",
        r##"
error: a.yaml:2:1: unknown field "nmae" of a server
  nmae: a
  ^^^^
hint: did you mean "name"?
"##,
    ),
    (
        "kind: server\nname:\ncommand: [x]\n",
        r##"
error: a.yaml:2:1: name: expected text, found nothing
  name:
  ^^^^
"##,
    ),
    (
        "kind: server\nname: A_b\ncommand: [x]\n",
        r##"
error: a.yaml:2:7: "A_b" is not a name
  name: A_b
        ^^^
hint: use 1 to 63 of a-z, 0-9 and -, with a letter or digit at both ends
"##,
    ),
    (
        "kind: server\nname: 123\ncommand: [x]\n",
        r##"
error: a.yaml:2:7: name: expected text, found the number 123
  name: 123
        ^^^
hint: quote it: "123"
"##,
    ),
    (
        "kind: server\nname: true\ncommand: [x]\n",
        r##"
error: a.yaml:2:7: name: expected text, found true
  name: true
        ^^^^
hint: quote it: "true"
"##,
    ),
    (
        "apiVersion: v1\nkind: server\nname: a\ncommand: [x]\n",
        r##"
error: a.yaml:1:13: unknown apiVersion "v1"
  apiVersion: v1
              ^^
hint: known: mcpctl/v1
"##,
    ),
    (
        "kind: server\nmetadata:\n  name: a\n",
        r##"
error: a.yaml:1:1: name is missing
  kind: server
  ^^^^
error: a.yaml:2:1: unknown field "metadata" of a server
  metadata:
  ^^^^^^^^
hint: documents are flat: name and the fields stand at the top level
"##,
    ),
    (
        "kind: server\nname: a\nname: b\ncommand: [x]\n",
        r##"
error: a.yaml:3:1: "name" is given twice
  name: b
  ^^^^
note: a.yaml:2:1: the first one
"##,
    ),
    (
        "1: a\nkind: server\nname: a\n",
        r##"
error: a.yaml:1:1: a key must be text
  1: a
  ^
hint: quote it: "1"
"##,
    ),
    (
        "? [a]\n: b\n",
        r##"
error: a.yaml:1:3: a key must be text
  ? [a]
    ^^^
hint: a text that begins with { or [ needs quotes
"##,
    ),
    (
        "? kind\n: server\nname: é\nenv: {? a : b}\n?\n  command\n: [x]\n",
        r##"
error: a.yaml:1:3: explicit keys are not allowed
  ? kind
    ^^^^
hint: write key: value
error: a.yaml:4:9: explicit keys are not allowed
  env: {? a : b}
          ^
hint: write key: value
error: a.yaml:6:3: explicit keys are not allowed
    command
    ^^^^^^^
hint: write key: value
"##,
    ),
    (
        "kind: server\nname: !foo a\n",
        r##"
error: a.yaml:2:7: tags are not allowed: !foo
  name: !foo a
        ^^^^
hint: a text that begins with ! needs quotes
"##,
    ),
    (
        "kind: server\nname: !!str a\n",
        r##"
error: a.yaml:2:7: tags are not allowed: !!str
  name: !!str a
        ^^^^^
hint: quotes make a text
"##,
    ),
    (
        "base: &base {x: 1}\nkind: server\nname: a\n<<: *base\n",
        r##"
error: a.yaml:4:1: merge keys are not allowed
  <<: *base
  ^^
hint: write the fields out
"##,
    ),
    (
        "kind: server\nname: *a\n",
        r##"
error: a.yaml:2:7: unknown alias: no anchor of this name goes before it in the document
  name: *a
        ^^
hint: a text that begins with * needs quotes
"##,
    ),
    (
        "kind: server\nname: a\n\tcommand: [x]\n",
        r##"
error: a.yaml:3:1: a tab can't be used for indentation
   command: [x]
  ^
hint: use spaces
"##,
    ),
    (
        "kind: server\nname: a: b\n",
        r##"
error: a.yaml:2:8: a second ": " in one value
  name: a: b
         ^
hint: quote a text that contains ": ", or put the field on its own line with the right indentation
"##,
    ),
    (
        "kind: server\n name: a\n",
        r##"
error: a.yaml:2:2: this line is indented further than the field before it
   name: a
   ^
hint: give all fields of a mapping the same indentation
"##,
    ),
    (
        "kind: server\nname: a\nargs: [a, b\ncommand: [x]\n",
        r##"
error: a.yaml:4:8: this list or mapping is not closed before the next field
  command: [x]
         ^
hint: close it with ] or }
"##,
    ),
    (
        "kind: server\nname: \"a\ncommand: [x]\n",
        r##"
error: a.yaml:2:7: this quoted text is not closed
  name: "a
        ^
hint: close it with the quote that opened it
"##,
    ),
    (
        "kind: server\nname: 'a\n",
        r##"
error: a.yaml:2:7: this quoted text is not closed
  name: 'a
        ^
hint: close it with the quote that opened it
"##,
    ),
    (
        "kind: server\nname: @a\n",
        r##"
error: a.yaml:2:7: a value can't begin with @
  name: @a
        ^
hint: put the text in quotes
"##,
    ),
    (
        "kind: server\nname: a\nargs:\n  - b\n c: d\n",
        r##"
error: a.yaml:5:2: a field was expected here
   c: d
   ^
hint: give all fields of a mapping the same indentation
"##,
    ),
    (
        "kind: server\nname: a\ndescription: \"x\" y\n",
        r##"
error: a.yaml:3:18: something stands behind the closing quote
  description: "x" y
                   ^
hint: put all of the text within the quotes
"##,
    ),
    (
        "kind: server\nname: a\nreplicas: 99999999999999999999\ncommand: [x]\n",
        r##"
error: a.yaml:3:11: a number that can't be used
  replicas: 99999999999999999999
            ^^^^^^^^^^^^^^^^^^^^
hint: a text needs quotes
"##,
    ),
    (
        "<<<<<<< HEAD\nkind: server\n=======\nkind: project\n>>>>>>> branch\n",
        r##"
error: a.yaml:1:1: merge marker
  <<<<<<< HEAD
  ^^^^^^^
hint: resolve the merge and remove the markers
"##,
    ),
    (
        "kind:server\nname:a\n",
        r##"
error: a.yaml:1:1: a document is a mapping of fields, found the text "kind:server name:a"
  kind:server
  ^^^^^^^^^^^
hint: put a space behind the colon: key: value
"##,
    ),
    (
        "- kind: server\n",
        r##"
error: a.yaml:1:1: a document is a mapping of fields, found a list
  - kind: server
  ^^^^^^^^^^^^^^
hint: separate documents with ---, or name the group: servers: [...]
"##,
    ),
    (
        "hello\n",
        r##"
error: a.yaml:1:1: a document is a mapping of fields, found the text "hello"
  hello
  ^^^^^
hint: a document begins with kind and name
"##,
    ),
    (
        "{\"kind\": \"server\", \"name\": \"a\", \"command\": [\"\\ud83d\\ude00\"]}\n",
        r##"
error: a.yaml:1:45: an escape that is no character
  {"kind": "server", "name": "a", "command": ["\ud83d\ude00"]}
                                              ^
hint: write the character itself
"##,
    ),
    (
        "kind: server\nname: a\x01b\n",
        r##"
error: a.yaml:2:8: control character U+0001
  name: a b
         ^
hint: in a quoted text write it as an escape
"##,
    ),
    (
        "kind: server\rname: a\r",
        r##"
error: a.yaml:1:13: carriage return without a line feed
  kind: server name: a
              ^
hint: end lines with a line feed
"##,
    ),
    (
        "servers:\n  - name: a\n    command: [x]\n    replicas: 99\n  - foo\n  - kind: project\n    name: p\nproject: []\n",
        r##"
error: a.yaml:4:15: replicas: expected an integer from 0 to 10, found 99
      replicas: 99
                ^^
error: a.yaml:5:5: expected the fields of a server, found the text "foo"
    - foo
      ^^^
hint: an entry begins with its name: - name: …
error: a.yaml:6:11: a project in the group servers
    - kind: project
            ^^^^^^^
error: a.yaml:8:1: unknown group "project"
  project: []
  ^^^^^^^
hint: did you mean "projects"?
"##,
    ),
    (
        "servers: a\n",
        r##"
error: a.yaml:1:10: servers: expected a list of servers, found the text "a"
  servers: a
           ^
"##,
    ),
    (
        "kind: project\nname: p\nservers: [tme, x, A_]\n---\nkind: server\nname: time\ncommand: [x]\n",
        r##"
error: a.yaml:3:11: no server is called "tme"
  servers: [tme, x, A_]
            ^^^
hint: did you mean "time"?
error: a.yaml:3:16: no server is called "x"
  servers: [tme, x, A_]
                 ^
hint: declare it, in servers/x.yaml for example
error: a.yaml:3:19: no server is called "A_"
  servers: [tme, x, A_]
                    ^^
"##,
    ),
    (
        "kind: server\nname: a\ncommand: [x]\n---\nkind: server\nname: b\ncommand: [x]\n---\n# again\nkind: server\nname: a\ncommand: [y]\n",
        r##"
error: a.yaml:11:7: server/a is declared twice
  name: a
        ^
note: a.yaml:2:7: the first one
"##,
    ),
    (
        "kind: prompt\nname: old\nproject: opps\ncontent: x\n---\nkind: project\nname: ops\n",
        r##"
error: a.yaml:3:10: no project is called "opps"
  project: opps
           ^^^^
hint: did you mean "ops"?
"##,
    ),
    (
        "kind: prompt\nname: old\nprojekt: ops\ncontent: x\nagent: helper\n---\nkind: project\nname: a\nproject: ops\n",
        r##"
error: a.yaml:3:1: unknown field "projekt" of a prompt
  projekt: ops
  ^^^^^^^
hint: did you mean "project"?
error: a.yaml:5:1: unknown field "agent" of a prompt
  agent: helper
  ^^^^^
hint: fields are content, link, priority, summary, tags
error: a.yaml:9:1: unknown field "project" of a project
  project: ops
  ^^^^^^^
hint: fields are description, servers, toolPrefix, tools
"##,
    ),
    (
        "prompts:\n  - name: old\n    project: OPS\n    content: x\n  - name: old\n    project: 7\n    content: x\n  - name: odd\n    link: ops/docs\n",
        r##"
error: a.yaml:3:14: "OPS" is not a name
      project: OPS
               ^^^
hint: use 1 to 63 of a-z, 0-9 and -, with a letter or digit at both ends
error: a.yaml:6:14: project: expected text, found the number 7
      project: 7
               ^
hint: quote it: "7"
error: a.yaml:9:11: link: not of the form project/server:uri
      link: ops/docs
            ^^^^^^^^
hint: name a project, a server in it, and a resource of the server, as ops/docs:file:///runbook.md
"##,
    ),
    (
        "prompts:\n  - name: new\n    project: ops\n    link: ops/docs:file:///a\n---\nkind: project\nname: ops\n",
        r##"
error: a.yaml:4:11: no server is called "docs"
      link: ops/docs:file:///a
            ^^^^^^^^^^^^^^^^^^
hint: declare it, in servers/docs.yaml for example
"##,
    ),
    (
        "prompts:\n  - {name: old, content: a}\n  - {name: old, project: ops, content: b}\n  - {name: old, project: ops, content: c}\n  - {name: old, project: dev, content: d}\n---\nprojects: [{name: ops}, {name: dev}]\n",
        r##"
error: a.yaml:4:12: prompt/ops/old is declared twice
    - {name: old, project: ops, content: c}
             ^^^
note: a.yaml:3:12: the first one
"##,
    ),
];

#[test]
fn every_fault_has_its_place_and_its_words() {
    for (text, want) in FAULTS {
        assert_eq!(shown("a.yaml", text.as_bytes()), want.trim_matches('\n'), "{text:?}");
    }
}

#[test]
fn what_is_no_text_is_refused() {
    assert_eq!(
        shown("a.yaml", b"kind: server\nname: \xff\n"),
        "error: a.yaml:2:7: not UTF-8: byte 0xff\nhint: save the file as UTF-8"
    );
    let large = vec![b'#'; (1 << 20) + 1];
    assert_eq!(
        shown("a.yaml", &large),
        "error: a.yaml: the file has 1048577 bytes, at most 1048576 are read"
    );
}

#[test]
fn bombs_do_not_go_off() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..30 {
        let alias = format!("*a{}, ", n - 1);
        bomb.push_str(&format!("a{n}: &a{n} [{}]\n", alias.repeat(9).trim_end_matches(", ")));
    }
    let told = shown("a.yaml", bomb.as_bytes());
    assert!(told.contains("aliases make this document too large"), "{told}");
    assert_eq!(told.matches("error:").count(), 1, "{told}");
    let text = format!("a: &a {}\nb: [{}*a]\n", "x".repeat(500_000), "*a, ".repeat(50_000));
    assert!(shown("a.yaml", text.as_bytes()).contains("aliases make this document too large"));
    // Each of these is a megabyte that a careless reader takes minutes or gigabytes for.
    for (text, want) in [
        ("[".repeat(1 << 20), "nested too deeply"),
        ("{a: ".repeat(1 << 18), "nested too deeply"),
        ("- ".repeat(1 << 19), "nested too deeply"),
        (format!("a: {}1{}", "[".repeat(64), "]".repeat(64)), "nested too deeply"),
        ("? ".repeat(1 << 19), "nested too deeply"),
        (format!("[{}]", "&a [".repeat(200_000)), "nested too deeply"),
        ("kind: a\n".repeat(1 << 17), "given twice"),
        (format!("a: [{}]", "x, ".repeat(340_000)), "kind is missing"),
        (
            format!("kind: server\nname: a\nargs: [{}]", "1, ".repeat(340_000)),
            "args",
        ),
        (
            format!(
                "kind: server\nname: a\n{}",
                (0..80_000).map(|n| format!("k{n}: 1\n")).collect::<String>()
            ),
            "unknown field",
        ),
        ("---\n".repeat(1 << 18), ""),
        ("'".repeat(1 << 20), "error"),
        (format!("a: \"{}", "\\n".repeat(500_000)), "error"),
        (format!("a: |\n{}", " x\n".repeat(340_000)), "kind is missing"),
        (format!("{}a: 1", " ".repeat((1 << 20) - 10)), "kind is missing"),
        ("\n".repeat(1 << 20), ""),
        ("#\n".repeat(1 << 19), ""),
        ("a ".repeat(1 << 19), "a document is a mapping"),
        ("a\n".repeat(1 << 19), "a document is a mapping"),
        (
            format!("kind: project\nname: p\nservers: [{}]", "nope, ".repeat(170_000)),
            "servers",
        ),
    ] {
        let told = shown("a.yaml", text.as_bytes());
        assert!(
            told.contains(want),
            "{} should be told of {}",
            told.chars().take(300).collect::<String>(),
            &text[..20]
        );
        assert!(told.len() < 1_000_000);
    }
}
