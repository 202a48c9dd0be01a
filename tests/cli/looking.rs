//! What looks closer: describe, why, logs, events, and what a person should see to.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::mcpd::*;

/// A server in a crash loop, with all that mcpd says of it.
fn crashing() -> Value {
    let mut item = git();
    item["status"]["provenance"] =
        json!({"file": "servers/git.yaml", "line": 1, "commit": "3fa2c1e9aa", "pending": false});
    item["status"]["conditions"] = json!([
        {"type": "Synced", "status": "True", "reason": "Committed", "message": "servers/git.yaml:1@3fa2c1e"},
        {"type": "Held", "status": "False", "reason": "Usable"},
        {"type": "Conflicted", "status": "True", "reason": "StoreKept", "message": "x", "since": SOON},
        {"type": "Ready", "status": "False", "reason": "Failed", "message": "exited with code 1\u{1b}[2J", "since": SOON},
    ]);
    item["status"]["chain"] = json!([
        {"link": "commit", "standing": "ok", "message": "servers/git.yaml:1@3fa2c1e"},
        {"link": "plan", "standing": "ok", "message": "in force since revision 7"},
        {"link": "container", "standing": "broken", "instance": "git/0", "message": "exited with code 1: \u{1b}[31mno repository", "nextRetry": LONG_AGO},
    ]);
    item["status"]["events"] = json!([
        {"sequence": 2, "at": SOON, "level": "warning", "about": "server/git", "reason": "Failed", "message": "git/0 is ERROR\u{1b}]0;x\u{7}"},
    ]);
    item
}

fn healthy() -> Value {
    let mut item = time();
    item["status"]["chain"] = json!([
        {"link": "commit", "standing": "ok", "message": "servers/time.yaml:1@3fa2c1e"},
        {"link": "plan", "standing": "ok", "message": "in force since revision 7"},
        {"link": "container", "standing": "ok", "instance": "time/0", "message": "life 0123456789ab"},
        {"link": "handshake", "standing": "ok", "instance": "time/0", "message": "mcp-time 1.0, MCP 2025-11-25"},
        {"link": "tools", "standing": "ok", "instance": "time/0", "message": "2 tools"},
        {"link": "container", "standing": "waiting", "instance": "time/1", "message": "not started yet"},
    ]);
    item
}

fn line(at: Option<&str>, life: &str, kind: &str, text: &str) -> Value {
    match at {
        Some(at) => json!({"at": at, "life": life, "kind": kind, "text": text}),
        None => json!({"kind": kind, "text": text}),
    }
}

fn log_of_git() -> Value {
    listing(&[
        line(None, "", "line", "from before"),
        line(Some("2026-11-24T06:17:01.120Z"), "a1", "began", ""),
        line(
            Some("2026-11-24T06:17:02.120Z"),
            "a1",
            "line",
            "no repository\u{1b}[31m\u{9b}",
        ),
        line(Some("2026-11-24T06:17:04.120Z"), "a1", "ended", "exited with code 1"),
    ])
}

#[test]
fn describe_tells_everything() {
    let mcpd = fleet().on("GET /api/v1/servers/git", 200, &crashing());
    // The plain answer of `fleet` comes first.
    mcpd.run(&["describe", "server", "git"]);
    assert_snapshot!(mcpd.run(&["describe", "server", "git"]), @r#"
    exit 0
    -- stdout
    server/git
      state       ERROR 0/1
      reason      exited with code 1:  [31mno repository [0m
      next retry  now
      declared    servers/git.yaml:1@3fa2c1e
      revision    7

    conditions
      TYPE         STATUS   REASON      SINCE   MESSAGE
      Synced       True     Committed   -       servers/git.yaml:1@3fa2c1e
      Held         False    Usable      -       -
      Conflicted   True     StoreKept   0s      x
      Ready        False    Failed      0s      exited with code 1 [2J

    instances
      NAME    STATE   TOOLS   AGE   FAILURES   RETRY   REASON
      git/0   ERROR   -       0s    3          now     exited with code 1

    events
      AGE   LEVEL     ABOUT        REASON   MESSAGE
      0s    warning   server/git   Failed   git/0 is ERROR ]0;x

    declaration
      kind: server
      name: git
      command:
      - mcp-server-git
    "#);
    let mut demo = demo();
    demo["status"]["servers"] = json!([
        {"name": "time", "state": "RUNNING", "ready": "1/1"},
        {"name": "git", "state": "ERROR", "ready": "0/1", "reason": "exited with code 1"},
    ]);
    demo["status"]["provenance"]["pending"] = json!(true);
    let mcpd = Mcpd::start().on("GET /api/v1/projects/demo", 200, &demo);
    assert_snapshot!(mcpd.run(&["describe", "project/demo"]), @r#"
    exit 0
    -- stdout
    project/demo
      url         http://mcpd/projects/demo/mcp
      declared    projects/demo.yaml:1@3fa2c1e; a change of it is not in the repository yet
      revision    3

    servers
      NAME   READY   STATE     REASON
      time   1/1     RUNNING   -
      git    0/1     ERROR     exited with code 1

    declaration
      kind: project
      name: demo
      servers:
      - time
      - git
    "#);
    assert_eq!(mcpd.lines(), ["GET /api/v1/projects/demo"]);
}

#[test]
fn why_stops_at_the_first_broken_link() {
    let log = listing(&[
        line(Some(LONG_AGO), "a1", "line", "opening /srv"),
        line(Some(LONG_AGO), "a1", "line", "no repository\u{1b}[2J"),
        line(Some(LONG_AGO), "a1", "ended", "exited with code 1"),
    ]);
    let mcpd = Mcpd::start()
        .on("GET /api/v1/servers/git", 200, &crashing())
        .on("GET /api/v1/servers/time", 200, &healthy())
        .on("GET /api/v1/instances/git/0/logs?tail=3", 200, &log)
        .on("GET /api/v1/status", 200, &status(false));
    assert_snapshot!(mcpd.run(&["why", "server", "git"]), @r#"
    exit 1
    -- stdout
    server/git
      ok  commit     servers/git.yaml:1@3fa2c1e
      ok  plan       in force since revision 7
      !!  container  exited with code 1:  [31mno repository
                     next try now
                     | opening /srv
                     | no repository [2J
    "#);
    // Logs that can't be read are none.
    assert_snapshot!(mcpd.run(&["why", "server/time"]), @r#"
    exit 1
    -- stdout
    server/time
      ok  commit     servers/time.yaml:1@3fa2c1e
      ok  plan       in force since revision 7
      ok  container  time/0  life 0123456789ab
      ok  handshake  time/0  mcp-time 1.0, MCP 2025-11-25
      ok  tools      time/0  2 tools
      ..  container  time/1  not started yet
    "#);
    // Nothing of it is in force, and mcpd knows why.
    assert_snapshot!(mcpd.run(&["why", "server/bad"]), @r#"
    exit 1
    -- stdout
    server/bad
      ok  commit     servers/bad.yaml@3fa2c1e
      !!  plan       held, nothing is in force: servers/bad.yaml:3:1: unknown field "replica"
                       replica: 2
                       ^^^^^^^
                     hint: did you mean "replicas"?
    "#);
    assert_snapshot!(mcpd.run(&["why", "server/nobody"]), @r#"
    exit 1
    -- stderr
    error: GET /api/v1/servers/nobody does not exist
    "#);
    let shown = mcpd.run(&["why", "server", "git", "-o", "json"]);
    let (code, body) = shown.split_once("-- stdout\n").unwrap();
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(code, "exit 1\n");
    assert_eq!(body["well"], false);
    assert_eq!(body["ladders"][0]["chain"][2]["log"][0], "opening /srv");
}

#[test]
fn why_of_a_project_walks_on_to_its_servers() {
    let mut demo = demo();
    demo["status"]["servers"] = json!([{"name": "time", "state": "RUNNING", "ready": "1/1"}]);
    demo["status"]["chain"] = json!([{"link": "commit", "standing": "ok", "message": "projects/demo.yaml:1@3fa2c1e"}]);
    let mut time = healthy();
    time["status"]["chain"].as_array_mut().unwrap().pop();
    let mcpd = Mcpd::start()
        .on("GET /api/v1/projects/demo", 200, &demo)
        .on("GET /api/v1/servers/time", 200, &time);
    assert_snapshot!(mcpd.run(&["why", "project", "demo"]), @r#"
    exit 0
    -- stdout
    project/demo
      ok  commit     projects/demo.yaml:1@3fa2c1e

    server/time
      ok  commit     servers/time.yaml:1@3fa2c1e
      ok  plan       in force since revision 7
      ok  container  life 0123456789ab
      ok  handshake  mcp-time 1.0, MCP 2025-11-25
      ok  tools      2 tools
    "#);
}

#[test]
fn logs_are_shown_as_they_were_written() {
    let instances = |names: &[&str]| {
        let one = |name: &&str| json!({"instance": name, "state": "RUNNING", "since": SOON, "failures": 0});
        listing(&names.iter().map(one).collect::<Vec<_>>())
    };
    let mcpd = Mcpd::start()
        .on("GET /api/v1/instances", 200, &instances(&["git/0", "web/0", "web/1"]))
        .on("GET /api/v1/instances/git/0/logs", 200, &log_of_git())
        .on("GET /api/v1/instances/web/0/logs", 200, &log_of_git())
        .on(
            "GET /api/v1/instances/web/1/logs",
            200,
            &listing(&[line(Some("2026-11-24T06:17:03Z"), "b2", "line", "in between")]),
        )
        .on(
            "GET /api/v1/instances/git/0/logs?previous=true&tail=2&since=1h30m",
            200,
            &listing(&[]),
        )
        .on(
            "GET /api/v1/instances/git/0/logs?since=2026-11-24T06:00:00Z",
            200,
            &listing(&[]),
        );
    assert_snapshot!(mcpd.run(&["logs", "git"]), @r#"
    exit 0
    -- stdout
    from before
    --- git/0 begins at 2026-11-24T06:17:01Z ---
    no repository [31m
    --- git/0 exited with code 1 at 2026-11-24T06:17:04Z ---
    "#);
    assert_snapshot!(mcpd.run(&["logs", "web"]), @r#"
    exit 0
    -- stdout
    web/0 | from before
    web/0 | --- web/0 begins at 2026-11-24T06:17:01Z ---
    web/0 | no repository [31m
    web/1 | in between
    web/0 | --- web/0 exited with code 1 at 2026-11-24T06:17:04Z ---
    "#);
    assert_snapshot!(mcpd.run(&["logs", "server/git/0", "-o", "wide"]), @r#"
    exit 0
    -- stdout
    from before
    2026-11-24T06:17:01Z a1 --- git/0 begins ---
    2026-11-24T06:17:02Z a1 no repository [31m
    2026-11-24T06:17:04Z a1 --- git/0 exited with code 1 ---
    "#);
    assert_snapshot!(mcpd.run(&["logs", "web/1", "-o", "json"]), @r#"
    exit 0
    -- stdout
    {"at":"2026-11-24T06:17:03Z","instance":"web/1","kind":"line","life":"b2","text":"in between"}
    "#);
    assert_snapshot!(mcpd.run(&["logs", "git/0", "--previous", "--since", "1h30m", "--tail", "2"]), @r#"
    exit 0
    -- stderr
    git/0 has written no such lines
    "#);
    // A time with an offset goes out in its plainest form.
    assert!(
        mcpd.run(&["logs", "git/0", "--since", "2026-11-24T08:00:00+02:00"])
            .starts_with("exit 0")
    );
    assert_snapshot!(mcpd.run(&["logs", "nobody"]), @r#"
    exit 1
    -- stderr
    error: GET /api/v1/instances/nobody/0/logs does not exist
    "#);
    assert_snapshot!(mcpctl("", &["logs", "git", "--since", "yesterday"], ""), @r#"
    exit 2
    -- stderr
    error: --since: "yesterday" can't be read
    hint: a duration like 10m, 1h30m or 2d, or a time like 2026-11-24T06:00:00Z is needed
    "#);
    assert_snapshot!(mcpctl("", &["logs", "git/one"], ""), @r#"
    exit 2
    -- stderr
    error: no instance is called "git/one"
    hint: give SERVER or SERVER/N, as time/0
    "#);
    assert!(mcpctl("", &["logs", "git", "-f", "--previous"], "").starts_with("exit 2\n"));
}

#[test]
fn logs_follow() {
    let event = |value: &Value| format!("event: {}\ndata: {value}\n\n", value["kind"].as_str().unwrap());
    let all = log_of_git();
    let mut text: String = all["items"].as_array().unwrap().iter().map(event).collect();
    let stream = || vec![("content-type", "text/event-stream")];
    text += &event(&line(Some(LONG_AGO), "c3", "began", ""));
    let slow = event(&line(
        Some(LONG_AGO),
        "",
        "dropped",
        "lines came faster than they were read",
    ));
    let mcpd = Mcpd::start()
        .on_raw("GET /api/v1/instances/git/0/logs?follow=true", (200, stream(), text))
        .on_raw(
            "GET /api/v1/instances/git/0/logs?follow=true&tail=0",
            (200, stream(), slow),
        );
    assert_snapshot!(mcpd.run(&["logs", "-f", "git/0"]), @r#"
    exit 1
    -- stdout
    from before
    --- git/0 begins at 2026-11-24T06:17:01Z ---
    no repository [31m
    --- git/0 exited with code 1 at 2026-11-24T06:17:04Z ---
    --- git/0 begins at 2001-01-01T00:00:00Z ---
    -- stderr
    error: http://mcpd broke off in the middle of its answer
    "#);
    assert_snapshot!(mcpd.run(&["logs", "-f", "git/0", "--tail", "0"]), @r#"
    exit 1
    -- stderr
    error: git/0: lines came faster than they were read
    hint: --tail 0 begins with what is new
    "#);
}

#[test]
fn events_are_looked_for_by_mcpd() {
    let event = |about: &str| json!({"sequence": 7, "at": SOON, "level": "info", "about": about, "reason": "Running", "message": "x"});
    let both = listing(&[event("server/time"), event("time/0")]);
    let mcpd = Mcpd::start()
        .on("GET /api/v1/events?about=server/time", 200, &both)
        .on("GET /api/v1/events?about=time/0", 200, &listing(&[event("time/0")]))
        .on("GET /api/v1/events?limit=10000", 200, &both);
    assert_snapshot!(mcpd.run(&["get", "events", "server/time", "-o", "name"]), @r#"
    exit 0
    -- stdout
    event/7
    event/7
    "#);
    for name in ["time/0", "servers/time", "7"] {
        let shown = mcpd.run(&["get", "events", name]);
        assert!(shown.starts_with("exit 0\n-- stdout\nAGE "), "{shown}");
    }
}

#[test]
fn what_is_left_alone_and_what_to_see_to_is_said() {
    let unclaimed = json!([{"instance": "time/0", "life": "0123456789abcdef", "started": SOON}]);
    let mut body = status(true);
    body["unclaimed"] = unclaimed.clone();
    body["warnings"] = json!(["2 secrets would be lost with this host: run mcpctl backup identity\u{1b}[2J"]);
    let instances = json!({"items": [], "revision": 7, "unclaimed": unclaimed});
    let mcpd = Mcpd::start()
        .on("GET /api/v1/status", 200, &body)
        .on("GET /api/v1/instances", 200, &instances);
    assert_snapshot!(mcpd.run(&["status"]), @r#"
    exit 0
    -- stdout
    mcpd       0.1.0 at http://mcpd, cluster 1a2b3c4d
    runtime    process
    source     hosted /git/config.git: synced at 3fa2c1e, read 0s ago
    store      revision 118, 3 resources

    NAME     STATE     TOOLS   AGE   FAILURES   RETRY   REASON
    time/0   RUNNING   2       0s    0          -       -

    unclaimed  time/0 runs as 0123456789ab for 0s: left alone until the first sync

    all is well
    -- stderr
    warning: 2 secrets would be lost with this host: run mcpctl backup identity [2J
    "#);
    assert_snapshot!(mcpd.run(&["get", "instances"]), @r#"
    exit 0
    -- stderr
    unclaimed  time/0 runs as 0123456789ab for 0s: left alone until the first sync
    "#);
}
