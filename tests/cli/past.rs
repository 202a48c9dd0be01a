//! Going back in time: the plan comes first, a person agrees, and exactly that plan is made so.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::mcpd::*;

/// The answer of an undo or a restore.
fn past(more: &Value) -> Value {
    let mut body = plan(&steps(), &containers(), &json!([]));
    let fields = more.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(fields);
    body
}

fn point() -> Value {
    json!({"commit": "3fa2c1e0aa", "at": "2026-11-20T10:00:00Z", "author": "ann", "subject": "Two servers"})
}

#[test]
fn undo_shows_and_does_what_it_showed() {
    let mcpd = Mcpd::start()
        .on("POST /api/v1/revisions/17/undo?dryRun=true", 200, &past(&json!({})))
        .on(
            "POST /api/v1/revisions/17/undo?dryRun=false&revision=8",
            200,
            &past(&json!({})),
        );
    assert_snapshot!(mcpd.run(&["undo", "17"]), @r#"
    exit 1
    -- stdout
    plan: 1 to create, 1 to change, 0 to delete, 0 conflicts, 41 unchanged
      + server/time
      ~ server/git  replicas 1 → 2
    containers: start time/0 · replace git/0 (env) · stop none
    -- stderr
    error: nobody can be asked here whether this is meant; nothing was changed
    hint: --yes says that it is, --dry-run only shows the plan
    "#);
    assert_eq!(mcpd.lines().len(), 1);
    assert_snapshot!(mcpd.run(&["undo", "17", "--dry-run"]), @r#"
    exit 0
    -- stdout
    plan: 1 to create, 1 to change, 0 to delete, 0 conflicts, 41 unchanged
      + server/time
      ~ server/git  replicas 1 → 2
    containers: start time/0 · replace git/0 (env) · stop none
    dry run: nothing was changed
    "#);
    assert_snapshot!(mcpd.run(&["undo", "17", "-y"]), @r#"
    exit 0
    -- stdout
    plan: 1 to create, 1 to change, 0 to delete, 0 conflicts, 41 unchanged
      + server/time
      ~ server/git  replicas 1 → 2
    containers: start time/0 · replace git/0 (env) · stop none
    applied: revision 8
    "#);
    assert_snapshot!(mcpd.run(&["undo", "17", "-y", "-o", "name"]), @r#"
    exit 0
    -- stdout
    server/time
    server/git
    "#);
    assert_snapshot!(mcpd.run(&["undo", "x"]), @r#"
    exit 2
    -- stderr
    error: invalid value 'x' for '<REVISION>': invalid digit found in string
    hint: see --help
    "#);
}

#[test]
fn restore_names_the_commit_the_branch_and_the_secrets() {
    let planned = past(&json!({"point": point(), "guard": "this would delete 4 of 6 resources",
        "revives": ["secret/github"], "kept": [{"resource": "secret/old", "why": "was deleted since, and stays away"}]}));
    let done = past(&json!({"point": point(), "timeline": "timeline/2026-11-21T08-30-00Z"}));
    let refused = json!({"error": "mass_delete", "detail": "this would delete 4 of 6 resources",
        "hint": "if this is meant: --allow-mass-delete"});
    let mcpd = Mcpd::start()
        .on("POST /api/v1/restore/to?commit=HEAD~3&dryRun=true", 200, &planned)
        .on("POST /api/v1/restore/to?commit=HEAD~3&dryRun=false&revision=8", 409, &refused)
        .on(
            "POST /api/v1/restore/to?commit=2026-11-20T10%3A00&dryRun=true&withCredentials=true&allowMassDelete=true",
            200,
            &planned,
        )
        .on(
            "POST /api/v1/restore/to?commit=2026-11-20T10%3A00&dryRun=false&withCredentials=true&allowMassDelete=true&revision=8",
            200,
            &done,
        );
    // The guard is told before anybody is asked.
    assert_snapshot!(mcpd.run(&["restore", "to", "HEAD~3", "--yes"]), @r#"
    exit 1
    -- stdout
    plan: 1 to create, 1 to change, 0 to delete, 0 conflicts, 41 unchanged
      + server/time
      ~ server/git  replicas 1 → 2
    containers: start time/0 · replace git/0 (env) · stop none
    -- stderr
    to 3fa2c1e of 2026-11-20T10:00:00Z by ann: Two servers
    warning: secret/github comes back with its old values
    note: secret/old was deleted since, and stays away
    hint: --with-credentials brings the old values of secrets back
    error: this would delete 4 of 6 resources
    hint: if this is meant: --allow-mass-delete
    "#);
    let words = [
        "restore",
        "to",
        "2026-11-20T10:00",
        "--yes",
        "--with-credentials",
        "--allow-mass-delete",
    ];
    assert_snapshot!(mcpd.run(&words), @r#"
    exit 0
    -- stdout
    plan: 1 to create, 1 to change, 0 to delete, 0 conflicts, 41 unchanged
      + server/time
      ~ server/git  replicas 1 → 2
    containers: start time/0 · replace git/0 (env) · stop none
    what was before is branch timeline/2026-11-21T08-30-00Z
    applied: revision 8
    -- stderr
    to 3fa2c1e of 2026-11-20T10:00:00Z by ann: Two servers
    warning: secret/github comes back with its old values
    note: secret/old was deleted since, and stays away
    "#);
    assert_snapshot!(mcpd.run(&["restore"]), @r#"
    exit 2
    -- stderr
    error: restore to what?
    hint: mcpctl restore list shows the points in time; mcpctl restore to COMMIT goes back; --verify checks
    "#);
}

#[test]
fn restore_lists_points_in_time() {
    let mut kept = point();
    kept["branch"] = "timeline/2026-11-21T08-30-00Z".into();
    let mcpd = Mcpd::start().on("GET /api/v1/restore/list?limit=20", 200, &listing(&[kept, point()]));
    assert_snapshot!(mcpd.run(&["restore", "list"]), @r#"
    exit 0
    -- stdout
    COMMIT    AT                     BY    BRANCH                          SUBJECT
    3fa2c1e   2026-11-20T10:00:00Z   ann   timeline/2026-11-21T08-30-00Z   Two servers
    3fa2c1e   2026-11-20T10:00:00Z   ann   -                               Two servers
    "#);
}

#[test]
fn a_value_to_scrub_stands_in_no_address() {
    let planned =
        json!({"commits": 9, "changed": 5, "moved": ["main", "timeline/x"], "places": ["servers/a.yaml in 3fa2c1e"]});
    let done = json!({"commits": 9, "changed": 5, "moved": ["main"], "places": [], "bundle": "/data/scrubbed/x.bundle",
        "head": "0123456789", "records": [3, 4]});
    let mcpd = Mcpd::start()
        .on("POST /api/v1/repo/scrub?dryRun=true", 200, &planned)
        .on("POST /api/v1/repo/scrub?dryRun=false", 200, &done);
    let words = [
        "repo",
        "scrub",
        "--path",
        "servers/a.yaml",
        "--value-file",
        "-",
        "--yes",
    ];
    assert_snapshot!(mcpd.run_with(&words, "hunter2-hunter2\n"), @r#"
    exit 0
    -- stdout
    servers/a.yaml in 3fa2c1e
    rewrites 5 of 9 commits: main, timeline/x
    scrubbed: main is at 0123456
    what was is kept in /data/scrubbed/x.bundle
    -- stderr
    hint: delete that bundle once you are sure that nothing else of it is needed: it holds what leaked
    note: mcpd's own records of what revision 3, 4 did hold it still; they are never pushed
    hint: replace the credential where it was issued: who had a clone, or has an old fetch, has it still
    hint: clones follow by git fetch; a push that would bring it back is refused, and told how to go on
    "#);
    assert!(mcpd.lines().iter().all(|line| !line.contains("hunter2")));
    let sent = mcpd.body_of("POST /api/v1/repo/scrub?dryRun=false");
    assert_eq!(sent, r#"{"paths":["servers/a.yaml"],"values":["hunter2-hunter2"]}"#);
}
