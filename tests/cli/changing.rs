//! What changes things, or shows what would change.

use insta::assert_snapshot;
use serde_json::json;

use crate::mcpd::*;

#[test]
fn apply_is_one_request() {
    let files = folder(&[
        ("in/git.yaml", GIT),
        ("in/sub/demo.yml", DEMO),
        ("in/.hidden.yaml", "x: ["),
        ("in/notes.md", "x: ["),
    ]);
    let mcpd = Mcpd::start()
        .on(
            "POST /api/v1/apply?dryRun=false",
            200,
            &plan(&steps(), &containers(), &json!([conflict()])),
        )
        .on(
            "POST /api/v1/apply?dryRun=true",
            200,
            &plan(&steps(), &containers(), &json!([])),
        );
    assert_snapshot!(mcpctl_in(files.path(), &mcpd.url, &["apply", "-f", "in"], ""), @r#"
    exit 3
    -- stdout
    plan: 1 to create, 1 to change, 0 to delete, 1 conflict, 41 unchanged
      + server/time
      ~ server/git  replicas 1 → 2
      ! server/web  description: the store's "c" kept, yours "b" (mcpctl conflicts accept server/web --from repo)
    containers: start time/0 · replace git/0 (env) · stop none
    applied: revision 8
    "#);
    assert_snapshot!(mcpctl_in(files.path(), &mcpd.url, &["apply", "-f", "in/git.yaml", "--dry-run"], ""), @r#"
    exit 0
    -- stdout
    plan: 1 to create, 1 to change, 0 to delete, 0 conflicts, 41 unchanged
      + server/time
      ~ server/git  replicas 1 → 2
    containers: start time/0 · replace git/0 (env) · stop none
    dry run: nothing was changed
    "#);
    assert_eq!(
        mcpd.body_of("POST /api/v1/apply?dryRun=false"),
        format!("{GIT}---\n{DEMO}")
    );
    let kind = mcpd.header_of("POST /api/v1/apply?dryRun=false", "content-type");
    assert_eq!(kind.as_deref(), Some("application/yaml"));
}

#[test]
fn apply_points_at_files() {
    let files = folder(&[
        ("git.yaml", GIT),
        ("demo.yaml", DEMO),
        ("bad.yaml", "kind: server\nname: x\nreplica: 2\n"),
    ]);
    let refused = json!({"error": "invalid", "detail": "1 error; nothing was changed", "diagnostics": [
        {"file": "<body>", "line": 8, "column": 16, "width": 4, "message": "no such server: \"tiem\"", "excerpt": "servers: [git, tiem]",
         "hint": "did you mean \"time\"?", "note": "<body>:1:1: here"}]});
    let mcpd = Mcpd::start().on("POST /api/v1/apply?dryRun=false", 400, &refused);
    let words = ["apply", "-f", "git.yaml", "-f", "demo.yaml"];
    assert_snapshot!(mcpctl_in(files.path(), &mcpd.url, &words, ""), @r#"
    exit 1
    -- stderr
    error: demo.yaml:3:16: no such server: "tiem"
      servers: [git, tiem]
                     ^^^^
    note: git.yaml:1:1: here
    hint: did you mean "time"?
    refused: 1 error in 1 file; nothing was changed
    "#);
    let words = ["apply", "-f", "git.yaml", "-f", "demo.yaml", "-o", "json"];
    assert_snapshot!(mcpctl_in(files.path(), &mcpd.url, &words, ""), @r#"
    exit 1
    -- stderr
    {"error":"invalid","detail":"1 error; nothing was changed","diagnostics":[{"file":"demo.yaml","line":3,"column":16,"message":"no such server: \"tiem\"","excerpt":"servers: [git, tiem]","width":4,"hint":"did you mean \"time\"?","note":"git.yaml:1:1: here"}]}
    "#);
    let sent = mcpd.lines().len();
    assert_snapshot!(mcpctl_in(files.path(), &mcpd.url, &["apply", "-f", "."], ""), @r#"
    exit 1
    -- stderr
    error: bad.yaml:3:1: unknown field "replica" of a server
      replica: 2
      ^^^^^^^
    hint: did you mean "replicas"?
    refused: 1 error in 1 file; nothing was changed
    "#);
    assert_eq!(mcpd.lines().len(), sent);
    assert_snapshot!(mcpctl_in(files.path(), &mcpd.url, &["apply", "-f", "none.yaml"], ""), @r#"
    exit 1
    -- stderr
    error: none.yaml can't be read
    cause: No such file or directory (os error 2)
    "#);
    assert_snapshot!(mcpctl_in(files.path(), &mcpd.url, &["apply", "-f", "-"], "# nothing\n"), @r#"
    exit 1
    -- stderr
    error: nothing is declared in what was given
    hint: a declaration begins with "kind: server"
    "#);
}

#[test]
fn apply_waits() {
    let plan = plan(&steps(), &json!([]), &json!([]));
    let mcpd = |well| {
        Mcpd::start().on("POST /api/v1/apply?dryRun=false", 200, &plan).on(
            "POST /api/v1/sync?wait=60",
            200,
            &status(well),
        )
    };
    assert_snapshot!(mcpd(true).run_with(&["apply", "-f", "-", "--wait"], GIT), @r#"
    exit 0
    -- stdout
    plan: 1 to create, 1 to change, 0 to delete, 0 conflicts, 41 unchanged
      + server/time
      ~ server/git  replicas 1 → 2
    applied: revision 8
    -- stderr
    RUNNING time/0
    "#);
    assert_snapshot!(mcpd(false).run_with(&["apply", "-f", "-", "--wait"], GIT), @r#"
    exit 3
    -- stdout
    plan: 1 to create, 1 to change, 0 to delete, 0 conflicts, 41 unchanged
      + server/time
      ~ server/git  replicas 1 → 2
    applied: revision 8
    -- stderr
    ERROR time/0
    1 conflict (mcpctl conflicts)
    1 resource held
    1 instance not RUNNING
    "#);
}

#[test]
fn diff_shows_both_sides() {
    let steps = json!([
        {"op": "create", "resource": "server/new", "fields": [{"path": "command", "from": null, "to": ["new"]}], "source": "servers/new.yaml:1@3fa2c1e"},
        {"op": "change", "resource": "server/time", "fields": [{"path": "env.TZ", "from": "UTC", "to": "CET"}], "source": "servers/time.yaml:3@3fa2c1e"},
        {"op": "delete", "resource": "server/git", "fields": [], "source": "3fa2c1e"},
    ]);
    let mcpd = fleet().on(
        "GET /api/v1/diff",
        200,
        &plan(&steps, &containers(), &json!([conflict()])),
    );
    assert_snapshot!(mcpd.run(&["diff"]), @r#"
    exit 1
    -- stdout
    --- server/new (absent)
    +++ server/new (servers/new.yaml:1@3fa2c1e)
    @@ -0,0 +1,4 @@
    +kind: server
    +name: new
    +command:
    +- new
    --- server/time (store)
    +++ server/time (servers/time.yaml:3@3fa2c1e)
    @@ -4,4 +4,4 @@
     runtime: python
     env:
     - name: TZ
    -  value: UTC
    +  value: CET
    --- server/git (store)
    +++ server/git (absent)
    @@ -1,4 +0,0 @@
    -kind: server
    -name: git
    -command:
    -- mcp-server-git
    ! server/web  description: the store's "c" kept, yours "b" (mcpctl conflicts accept server/web --from repo)
    containers: start time/0 · replace git/0 (env) · stop none
    "#);
    let same = Mcpd::start().on("GET /api/v1/diff", 200, &plan(&json!([]), &json!([]), &json!([])));
    assert_snapshot!(same.run(&["diff"]), @r#"exit 0"#);
    let exported = json!([{"op": "change", "resource": "server/time", "fields": [{"path": "env.TZ", "from": "CET", "to": "UTC"}], "source": "store"}]);
    let mcpd = fleet().on("GET /api/v1/diff", 200, &plan(&exported, &json!([]), &json!([])));
    assert_snapshot!(mcpd.run(&["diff"]), @r#"
    exit 1
    -- stdout
    --- server/time (repository)
    +++ server/time (store)
    @@ -4,4 +4,4 @@
     runtime: python
     env:
     - name: TZ
    -  value: CET
    +  value: UTC
    "#);
    let given = json!([{"op": "change", "resource": "server/git", "fields": [{"path": "replicas", "from": null, "to": 2}], "source": "<body>:1"}]);
    let mcpd = fleet().on(
        "POST /api/v1/apply?dryRun=true",
        200,
        &plan(&given, &json!([]), &json!([])),
    );
    assert_snapshot!(mcpd.run_with(&["diff", "-f", "-"], GIT), @r#"
    exit 1
    -- stdout
    --- server/git (store)
    +++ server/git (<stdin>:1)
    @@ -2,3 +2,4 @@
     name: git
     command:
     - mcp-server-git
    +replicas: 2
    "#);
    assert!(mcpctl("http://127.0.0.1:1", &["diff"], "").starts_with("exit 2\n"));
}

#[test]
fn patch_sends_a_merge_patch() {
    let mut after = time();
    after["resource"]["replicas"] = json!(2);
    after["resource"]["env"] = json!([{"name": "TZ", "value": "UTC"}, {"name": "A", "value": "1"}]);
    let mcpd = fleet().on("PATCH /api/v1/servers/time", 200, &after);
    assert_snapshot!(mcpd.run(&["patch", "server", "time", "replicas=2", "env.A=1", "description=null"]), @r#"
    exit 0
    -- stdout
    ~ server/time  env.A none → "1", replicas 1 → 2
    "#);
    assert_snapshot!(mcpd.body_of("PATCH /api/v1/servers/time"), @r#"{"description":null,"env":[{"name":"TZ","value":"UTC"},{"name":"A","value":"1"}],"replicas":2}"#);
    assert_eq!(
        mcpd.header_of("PATCH /api/v1/servers/time", "if-match").as_deref(),
        Some("\"7\"")
    );
    assert_snapshot!(mcpd.run(&["patch", "server/time", "replica=2"]), @r#"
    exit 2
    -- stderr
    error: no such field: "replica"
    hint: did you mean "replicas"?
    "#);
    assert_snapshot!(mcpd.run(&["patch", "server/time", "replicas=lots"]), @r#"
    exit 2
    -- stderr
    error: replicas: expected an integer from 0 to 10, found the text "lots"
    "#);
    assert_snapshot!(mcpd.run(&["patch", "server", "time"]), @r#"
    exit 2
    -- stderr
    error: nothing to change is given
    hint: as replicas=2
    "#);
}

#[test]
fn delete_says_what_needs_it() {
    let refused = json!({"error": "conflict", "detail": "server/time is needed by project/demo", "hint": "take it out of project/demo first"});
    let mcpd = Mcpd::start().on("DELETE /api/v1/servers/time", 409, &refused).on(
        "DELETE /api/v1/servers/git",
        200,
        &json!({}),
    );
    assert_snapshot!(mcpd.run(&["delete", "server", "time"]), @r#"
    exit 1
    -- stderr
    error: server/time is needed by project/demo
    hint: take it out of project/demo first
    "#);
    assert_snapshot!(mcpd.run(&["delete", "server/git"]), @r#"
    exit 0
    -- stdout
    - server/git
    "#);
}

#[test]
fn conflicts_are_turned_round() {
    let step = json!([{"op": "change", "resource": "server/web", "fields": [{"path": "description", "from": "c", "to": "b"}], "source": "store"}]);
    let mcpd = fleet().on(
        "POST /api/v1/conflicts/server/web/accept",
        200,
        &plan(&step, &json!([]), &json!([])),
    );
    assert_snapshot!(mcpd.run(&["conflicts"]), @r#"
    exit 0
    -- stdout
    NUMBER   RESOURCE     LOST          COMMIT    PLACE                AGE
    0        server/web   description   3fa2c1e   servers/web.yaml:3   0s
    -- stderr
    hint: mcpctl conflicts accept RESOURCE --from repo|store
    "#);
    assert_snapshot!(mcpd.run(&["conflicts", "accept", "server/web", "--from", "repo"]), @r#"
    exit 0
    -- stdout
    plan: 0 to create, 1 to change, 0 to delete, 0 conflicts, 41 unchanged
      ~ server/web  description "c" → "b"
    applied: revision 8
    "#);
    assert_eq!(
        mcpd.body_of("POST /api/v1/conflicts/server/web/accept"),
        r#"{"from":"repo"}"#
    );
}
