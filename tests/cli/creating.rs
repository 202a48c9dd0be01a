//! `mcpctl create`: what is sent, and what is said where something is missing.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::mcpd::*;

/// What the last request of a line carried.
fn sent(mcpd: &Mcpd, line: &str) -> Value {
    serde_json::from_str(&mcpd.body_of(line)).unwrap()
}

#[test]
fn a_resource_is_made_from_flags() {
    let mcpd = fleet()
        .on("POST /api/v1/servers", 201, &git())
        .on(
            "POST /api/v1/servers?dryRun=true",
            201,
            &plan(
                &json!([{"op": "create", "resource": "server/git", "fields": [], "source": "<body>:1"}]),
                &json!([]),
                &json!([]),
            ),
        )
        .on("POST /api/v1/projects/ops/prompts", 201, &prompt(Some("demo")));
    let words = [
        "create",
        "server",
        "git",
        "--command",
        "mcp-server-git",
        "--command=--here",
        "--env",
        "A=1",
    ];
    assert_snapshot!(mcpd.run(&words), @r#"
    exit 0
    -- stdout
    + server/git
    "#);
    let document = json!({"kind": "server", "name": "git", "command": ["mcp-server-git", "--here"], "env": [{"name": "A", "value": "1"}]});
    assert_eq!(sent(&mcpd, "POST /api/v1/servers"), document);
    assert_snapshot!(mcpd.run(&[&words[..], &["--dry-run"]].concat()), @r#"
    exit 0
    -- stdout
    plan: 1 to create, 0 to change, 0 to delete, 0 conflicts, 41 unchanged
      + server/git
    dry run: nothing was changed
    "#);
    // YAML is shown in place of being sent.
    let before = mcpd.lines().len();
    assert_snapshot!(mcpd.run(&[&words[..], &["-o", "yaml"]].concat()), @r#"
    exit 0
    -- stdout
    kind: server
    name: git
    command:
    - mcp-server-git
    - --here
    env:
    - name: A
      value: '1'
    "#);
    assert_eq!(mcpd.lines().len(), before);
    let from_stdin = [
        "create",
        "prompt",
        "old",
        "-p",
        "ops",
        "--content-file",
        "-",
        "--tags",
        "a",
    ];
    assert!(mcpd.run_with(&from_stdin, "Once\n").starts_with("exit 0\n"));
    let want = json!({"kind": "prompt", "name": "old", "project": "ops", "content": "Once\n", "tags": ["a"]});
    assert_eq!(sent(&mcpd, "POST /api/v1/projects/ops/prompts"), want);
}

#[test]
fn a_template_is_asked_and_leaves_no_trace() {
    let mcpd = fleet().on("POST /api/v1/servers", 201, &git());
    assert_snapshot!(mcpd.run(&["create", "server", "gh", "--from-template", "github"]), @r#"
    exit 2
    -- stderr
    error: template github asks for TOKEN (A token that may read)
    hint: add --env TOKEN=…; or --env-from NAME=SECRET/KEY, where it is a secret
    "#);
    assert!(mcpd.lines().iter().all(|line| line.starts_with("GET ")));
    let words = [
        "create",
        "server",
        "gh",
        "--from-template=github",
        "--env",
        "EXTRA=1",
        "--env-from",
        "TOKEN=keys/gh",
        "--timeout-seconds",
        "5",
    ];
    assert!(mcpd.run(&words).starts_with("exit 0\n"));
    let want = json!({"kind": "server", "name": "gh", "description": "Reads issues", "packageName": "gh-mcp@1.0", "timeoutSeconds": 5,
        "env": [{"name": "TOKEN", "valueFrom": {"secretRef": {"name": "keys", "key": "gh"}}}, {"name": "HOST", "value": "example.com"}, {"name": "EXTRA", "value": "1"}]});
    assert_eq!(sent(&mcpd, "POST /api/v1/servers"), want);
}

#[test]
fn a_project_is_copied_with_its_prompts_as_one_change_of_what_is_new() {
    let steps = json!([{"op": "create", "resource": "project/new", "fields": [], "source": "<body>[0]:1"}]);
    let mcpd = fleet().on(
        "POST /api/v1/apply?dryRun=false",
        200,
        &plan(&steps, &json!([]), &json!([])),
    );
    let shown = mcpd.run(&["create", "project", "new", "--clone", "demo", "--description", "a copy"]);
    assert!(
        shown.starts_with("exit 0\n") && shown.contains("+ project/new"),
        "{shown}"
    );
    let line = "POST /api/v1/apply?dryRun=false";
    let want = json!([
        {"kind": "project", "name": "new", "description": "a copy", "servers": ["time", "git"]},
        {"kind": "prompt", "name": "old", "project": "new", "priority": 9, "summary": "How it was", "content": "Once\nupon\n"},
    ]);
    assert_eq!(sent(&mcpd, line), want);
    assert_eq!(mcpd.header_of(line, "if-none-match").as_deref(), Some("*"));
}

/// A value of a secret is in no output, whatever is wrong with it.
#[test]
fn values_of_secrets_are_never_shown() {
    let answer = json!({"resource": {"kind": "secret", "name": "keys", "data": {}}, "status": {}, "revision": 1});
    let mcpd = fleet().on("POST /api/v1/secrets", 201, &answer);
    for (words, code) in [
        (vec!["--data", "A=hunter2"], 0),
        (vec!["--data", "A=hunter2", "-o", "yaml"], 2),
        (vec!["--data", "hunter2"], 2),
        (vec!["--data", "a b=hunter2"], 2),
        (vec!["--set", "data=hunter2"], 2),
        (vec!["--set", "data=[hunter2"], 2),
    ] {
        let shown = mcpd.run(&[&["create", "secret", "keys"], &words[..]].concat());
        assert!(shown.starts_with(&format!("exit {code}\n")), "{words:?}: {shown}");
        assert!(!shown.contains("hunter2"), "{words:?}: {shown}");
    }
    assert_eq!(sent(&mcpd, "POST /api/v1/secrets")["data"]["A"], "hunter2");
    assert!(
        mcpd.run_with(&["create", "secret", "keys", "--data-file", "A=-"], "line\n")
            .starts_with("exit 0\n")
    );
}

#[test]
fn what_does_not_fit_is_told_in_words() {
    let mcpd = fleet();
    assert_snapshot!(mcpd.run(&["create", "server", "x"]), @r#"
    exit 2
    -- stderr
    error: a server needs a source
    hint: give one of packageName, dockerImage or command
    "#);
    assert_snapshot!(mcpd.run(&["create", "server", "x", "--command", "y", "--replica", "2"]), @r#"
    exit 2
    -- stderr
    error: unexpected argument '--replica' found
    hint: did you mean "--replicas"?
    "#);
    assert_snapshot!(mcpd.run(&["create", "server", "x", "--command", "y", "--replicas", "11"]), @r#"
    exit 2
    -- stderr
    error: --replicas: expected an integer from 0 to 10, found 11
    "#);
    assert_snapshot!(mcpd.run(&["create", "serverz", "x"]), @r#"
    exit 2
    -- stderr
    error: unrecognized subcommand 'serverz'
    hint: did you mean "server"?
    "#);
    assert_snapshot!(mcpd.run(&["create", "prompt", "x", "-h"]), @r#"
    exit 0
    -- stdout
    A text for models: content of its own, or a link to what a server offers

    Usage: mcpctl create prompt [OPTIONS] <NAME>

    Arguments:
      <NAME>  The name

    Options:
      -p, --project <PROJECT>  The project in which the name counts [default: none, it counts
                               everywhere]
          --dry-run            Show what would happen, and change nothing
          --wait [<SECONDS>]   Wait until all is well, 60 seconds if no number is given
      -h, --help               Print help (see more with '--help')

    Fields:
          --content <TEXT>       The text
          --content-file <FILE>  The text, from a file, - for stdin
          --link <TEXT>          The resource of a server that holds the text, as project/server:uri
          --priority <NUMBER>    How much it matters, from 1 to 10; what matters more comes first
                                 [default: 5]
          --summary <TEXT>       What the prompt says, in a line
          --tags <TEXT>          Words to find it by; may be repeated
          --set <FIELD=VALUE>    Any field by its dotted path, as patch takes it; may be repeated

    Connection:
          --url <URL>       URL of mcpd [MCPCTL_URL]
          --token <TOKEN>   Token to show to mcpd [MCPCTL_TOKEN]
          --context <NAME>  Context of ~/.config/mcpctl/config.yaml to use

    Output:
      -o, --output <FORM>  The form of the output [possible values: table, json, name, yaml]
          --no-color       No colours, also on a terminal [env: NO_COLOR]
    "#);
    assert_eq!(mcpd.lines(), Vec::<String>::new());
}
