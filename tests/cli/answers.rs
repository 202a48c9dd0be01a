//! Answers that are none: a busy mcpd, a stranger, nobody.

use std::process::{Command, Stdio};

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::mcpd::*;

#[test]
fn a_busy_mcpd_is_asked_again() {
    let busy = |status| {
        (
            status,
            vec![JSON, ("retry-after", "0")],
            json!({"error": "busy", "detail": "later"}).to_string(),
        )
    };
    let mcpd = Mcpd::start()
        .on_raw("GET /api/v1/status", busy(429))
        .on_raw("GET /api/v1/status", busy(503))
        .on("GET /api/v1/status", 200, &status(true))
        .on(
            "GET /api/v1/servers",
            503,
            &json!({"error": "unavailable", "detail": "the store is not open yet"}),
        );
    let shown = mcpd.run(&["status", "--check"]);
    assert!(
        shown.starts_with("exit 0\n") && shown.contains("mcpd is busy (429)"),
        "{shown}"
    );
    assert_eq!(mcpd.lines().len(), 3);
    assert_snapshot!(mcpd.run(&["get", "servers"]), @r#"
    exit 1
    -- stderr
    error: the store is not open yet
    "#);
    assert_eq!(mcpd.lines().len(), 4);
    let late = (
        429,
        vec![JSON, ("retry-after", "3600")],
        json!({"error": "busy", "detail": "later"}).to_string(),
    );
    let mcpd = Mcpd::start().on_raw("GET /api/v1/status", late);
    assert_snapshot!(mcpd.run(&["status"]), @r#"
    exit 1
    -- stderr
    error: later
    "#);
}

#[test]
fn who_answers_matters() {
    let denied = json!({"error": "unauthenticated", "detail": "the token is not known"});
    let html = (
        502,
        vec![("content-type", "text/html")],
        "<html>\n<h1>\u{1b}[2JBad Gateway</h1>".to_owned(),
    );
    let mcpd = Mcpd::start()
        .on("GET /api/v1/status", 401, &denied)
        .on_raw("GET /api/v1/servers", html)
        .on_raw("GET /api/v1/projects", (200, vec![JSON], "[]".to_owned()))
        .on_raw(
            "GET /api/v1/events",
            (302, vec![("location", "http://127.0.0.1:1/")], String::new()),
        );
    assert_snapshot!(mcpd.run(&["status"]), @r#"
    exit 1
    -- stderr
    error: the token is not known
    hint: the token from MCPCTL_TOKEN is not known there; mcpd's first start wrote one to admin.token in its data folder
    "#);
    assert_snapshot!(mcpd.run(&["get", "servers"]), @r#"
    exit 1
    -- stderr
    error: http://mcpd answered 502 Bad Gateway, and not as mcpd does
    cause: text/html: <html>
    hint: is this mcpd's address? it comes from MCPCTL_URL
    "#);
    assert_snapshot!(mcpd.run(&["get", "projects"]), @r#"
    exit 1
    -- stderr
    error: http://mcpd answered 200 OK, and not as mcpd does
    cause: invalid length 0, expected struct Listing with 3 elements at line 1 column 2; the answer begins "[]"
    hint: is this mcpd's address? it comes from MCPCTL_URL
    "#);
    assert!(mcpd.run(&["get", "events"]).contains("answered 302 Found"));
    // Port 1 is reserved; nothing listens there.
    assert_snapshot!(mcpctl("http://127.0.0.1:1", &["status"], ""), @r#"
    exit 1
    -- stderr
    error: http://127.0.0.1:1 can't be reached
    cause: Connection refused (os error 111)
    hint: start it with "mcpctl dev DIR" or "mcpd", or give its address by --url or MCPCTL_URL (this one: MCPCTL_URL)
    "#);
    let shown = mcpctl("http://127.0.0.1:1", &["status", "-o", "json"], "");
    let line = shown.split_once("-- stderr\n").unwrap().1;
    assert_eq!(serde_json::from_str::<Value>(line).unwrap()["error"], "unreachable");
    assert_eq!(line.lines().count(), 1);
    assert!(mcpctl("http://127.0.0.1:1", &["status", "--url", "ftp://x"], "").starts_with("exit 2\n"));
    assert!(mcpctl("ftp://x", &["status"], "").starts_with("exit 1\n"));
}

#[test]
fn a_closed_pipe_is_quiet() {
    let mcpd = fleet();
    let mut child = Command::new(env!("CARGO_BIN_EXE_mcpctl"))
        .args(["get", "servers", "--url", &mcpd.url])
        .env_clear()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), vec![]));
}
