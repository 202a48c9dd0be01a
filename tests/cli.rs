//! `mcpctl` as a program against a small mcpd made of canned answers: words, exit codes, what is sent and what is shown.

use std::collections::VecDeque;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use insta::assert_snapshot;
use serde_json::{Value, json};

/// An answer: status, headers, body.
type Answer = (u16, Vec<(&'static str, &'static str)>, String);

/// A request as it came in: `POST /api/v1/apply?dryRun=true`, the headers, the body.
struct Seen {
    line: String,
    headers: HeaderMap,
    body: String,
}

#[derive(Default)]
struct Answers {
    canned: Vec<(&'static str, VecDeque<Answer>)>,
    seen: Vec<Seen>,
}

/// A small mcpd. The last answer to a request is given for ever.
struct Mcpd {
    url: String,
    answers: Arc<Mutex<Answers>>,
    _runtime: tokio::runtime::Runtime,
}

impl Mcpd {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let answers = Arc::new(Mutex::new(Answers::default()));
        let state = answers.clone();
        let answer = move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
            let line = format!("{method} {}", uri.path_and_query().map_or("", |path| path.as_str()));
            let mut state = state.lock().unwrap();
            state.seen.push(Seen {
                line: line.clone(),
                headers,
                body: String::from_utf8_lossy(&body).into_owned(),
            });
            let canned = state.canned.iter_mut().find(|(wanted, _)| *wanted == line);
            let answer = match canned {
                Some((_, queue)) if queue.len() > 1 => queue.pop_front(),
                Some((_, queue)) => queue.front().cloned(),
                None => None,
            };
            let missing = json!({"error": "not_found", "detail": format!("{line} does not exist")});
            async move { respond(answer.unwrap_or((404, vec![JSON], missing.to_string()))) }
        };
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        runtime.spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
        Self {
            url,
            answers,
            _runtime: runtime,
        }
    }

    fn on(self, line: &'static str, status: u16, body: &Value) -> Self {
        self.on_raw(line, (status, vec![JSON], body.to_string()))
    }

    fn on_raw(self, line: &'static str, answer: Answer) -> Self {
        let mut answers = self.answers.lock().unwrap();
        match answers.canned.iter_mut().find(|(known, _)| *known == line) {
            Some((_, queue)) => queue.push_back(answer),
            None => answers.canned.push((line, VecDeque::from([answer]))),
        }
        drop(answers);
        self
    }

    fn run(&self, words: &[&str]) -> String {
        self.run_with(words, "")
    }

    fn run_with(&self, words: &[&str], stdin: &str) -> String {
        mcpctl(&self.url, words, stdin).replace(&self.url, "http://mcpd")
    }

    fn lines(&self) -> Vec<String> {
        let answers = self.answers.lock().unwrap();
        answers.seen.iter().map(|seen| seen.line.clone()).collect()
    }

    fn body_of(&self, line: &str) -> String {
        let answers = self.answers.lock().unwrap();
        let seen = answers.seen.iter().find(|seen| seen.line == line);
        seen.map(|seen| seen.body.clone()).unwrap()
    }

    fn header_of(&self, line: &str, name: &str) -> Option<String> {
        let answers = self.answers.lock().unwrap();
        let seen = answers.seen.iter().find(|seen| seen.line == line).unwrap();
        seen.headers.get(name).map(|value| value.to_str().unwrap().to_owned())
    }
}

const JSON: (&str, &str) = ("content-type", "application/json");

fn respond((status, headers, body): Answer) -> Response {
    let mut response = (StatusCode::from_u16(status).unwrap(), body).into_response();
    response.headers_mut().remove(header::CONTENT_TYPE);
    for (name, value) in headers {
        response.headers_mut().insert(name, value.parse().unwrap());
    }
    response
}

/// Runs the program in an empty folder with an empty environment: exit code, stdout, stderr.
fn mcpctl(url: &str, words: &[&str], stdin: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    mcpctl_in(folder.path(), url, words, stdin)
}

fn mcpctl_in(folder: &std::path::Path, url: &str, words: &[&str], stdin: &str) -> String {
    let mut child = Command::new(env!("CARGO_BIN_EXE_mcpctl"))
        .args(words)
        .env_clear()
        .env("HOME", folder)
        .env("MCPCTL_URL", url)
        .env("MCPCTL_TOKEN", "sesame")
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    // A program that reads no stdin may be gone already.
    drop(pipe.write_all(stdin.as_bytes()));
    drop(pipe);
    let output = child.wait_with_output().unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    for text in [&out, &err] {
        assert!(text.chars().all(|c| !c.is_control() || c == '\n'), "{text:?}");
    }
    let mut shown = format!("exit {}\n", output.status.code().unwrap());
    if !out.is_empty() {
        shown += &format!("-- stdout\n{out}");
    }
    if !err.is_empty() {
        shown += &format!("-- stderr\n{err}");
    }
    shown
}

/// Far in the future, so that every age is "0s".
const SOON: &str = "2200-01-01T00:00:00Z";
const LONG_AGO: &str = "2001-01-01T00:00:00Z";

fn server(name: &str, spec: &Value, status: &Value) -> Value {
    let mut resource = json!({"kind": "server", "name": name});
    resource
        .as_object_mut()
        .unwrap()
        .extend(spec.as_object().unwrap().clone());
    json!({"resource": resource, "status": status, "revision": 7})
}

fn time() -> Value {
    let status = json!({"state": "RUNNING", "ready": "1/1", "tools": 2, "reason": "", "provenance": "servers/time.yaml:1@3fa2c1e",
        "instances": [{"instance": "time/0", "state": "RUNNING", "since": SOON, "failures": 0, "tools": 2}]});
    let spec =
        json!({"packageName": "mcp-server-time==1.0", "runtime": "python", "env": [{"name": "TZ", "value": "UTC"}]});
    server("time", &spec, &status)
}

fn git() -> Value {
    let status = json!({"state": "ERROR", "ready": "0/1", "reason": "exited with code 1: \u{1b}[31mno repository\u{1b}[0m\u{9b}", "provenance": "",
        "instances": [{"instance": "git/0", "state": "ERROR", "since": SOON, "failures": 3, "nextRetry": LONG_AGO, "reason": "exited with code 1"}]});
    server("git", &json!({"command": ["mcp-server-git"]}), &status)
}

fn demo() -> Value {
    let resource = json!({"kind": "project", "name": "demo", "servers": ["time", "git"]});
    json!({"resource": resource, "status": {"provenance": "projects/demo.yaml:1@3fa2c1e"}, "revision": 3})
}

fn listing(items: &[Value]) -> Value {
    json!({"items": items, "revision": 7})
}

fn plan(steps: &Value, containers: &Value, conflicts: &Value) -> Value {
    json!({"revision": 8, "steps": steps, "containers": containers, "conflicts": conflicts, "diagnostics": [], "unchanged": 41})
}

fn conflict() -> Value {
    let document = |text: &str| json!({"id": "server/web", "spec": {"command": ["web"], "description": text}});
    json!({"id": "server/web", "base": document("a"), "repository": document("b"), "store": document("c"),
        "commit": "3fa2c1e000", "place": "servers/web.yaml:3", "at": SOON, "revision": 6})
}

fn status(converged: bool) -> Value {
    let state = if converged { "RUNNING" } else { "ERROR" };
    json!({"version": "0.1.0", "cluster": "1a2b3c4d", "runtime": {"name": "process", "available": true},
        "source": {"kind": "hosted", "location": "/git/config.git", "head": "3fa2c1e9aa", "state": "Synced", "lastSyncAt": SOON, "lastError": null, "pendingCount": 0},
        "revision": 118, "resources": 3, "conflicts": if converged { 0 } else { 1 },
        "held": if converged { json!([]) } else { json!([{"resource": "server/bad", "reason": "servers/bad.yaml:3:1: unknown field \"replica\""}]) },
        "diagnostics": [], "converged": converged,
        "instances": [{"instance": "time/0", "state": state, "since": SOON, "failures": 0, "tools": 2}]})
}

fn fleet() -> Mcpd {
    Mcpd::start()
        .on("GET /api/v1/servers", 200, &listing(&[git(), time()]))
        .on("GET /api/v1/servers/time", 200, &time())
        .on("GET /api/v1/servers/git", 200, &git())
        .on("GET /api/v1/projects", 200, &listing(&[demo()]))
        .on("GET /api/v1/projects/demo", 200, &demo())
        .on("GET /api/v1/conflicts", 200, &listing(&[conflict()]))
        .on("GET /api/v1/instances", 200, &listing(&[git()["status"]["instances"][0].clone()]))
        .on(
            "GET /api/v1/events",
            200,
            &listing(&[
                json!({"sequence": 1, "at": SOON, "level": "info", "about": "time/0", "reason": "Started", "message": "process 12"}),
                json!({"sequence": 2, "at": SOON, "level": "warning", "about": "git/0", "reason": "Exited", "message": "code 1\u{1b}]0;x\u{7}"}),
            ]),
        )
        .on(
            "GET /api/v1/revisions",
            200,
            &listing(&[json!({"revision": 7, "at": SOON, "actor": {"name": "admin", "door": "api"},
                "message": "update server/git: replicas 1 → 2", "changes": [], "commit": "3fa2c1e9aa"})]),
        )
}

#[test]
fn help_is_help() {
    assert_snapshot!(mcpctl("", &["--help"], ""), @r#"
    exit 0
    -- stdout
    GitOps for MCP servers.

    mcpctl talks to mcpd, which runs MCP servers exactly as a repository of YAML files declares them.
    "mcpctl dev DIR" is both in one command.

    Usage: mcpctl [OPTIONS] <COMMAND>

    Commands:
      dev        Run the servers of a folder while you edit it
      get        Show resources, one or all of a kind
      describe   Show everything about one resource
      apply      Make declarations so
      diff       Show what differs
      patch      Change fields of a resource
      delete     Delete a resource
      status     Show how all of it stands
      sync       Read the repository and make it so, now
      conflicts  Show what lost against the store, or turn it round
      version    Print mcpctl's version
      help       Print this message or the help of the given subcommand(s)

    Options:
      -h, --help
              Print help (see a summary with '-h')

      -V, --version
              Print version

    Connection:
          --url <URL>
              URL of mcpd [MCPCTL_URL]

          --token <TOKEN>
              Token to show to mcpd [MCPCTL_TOKEN]

          --context <NAME>
              Context of ~/.config/mcpctl/config.yaml to use

    Output:
      -o, --output <FORM>
              The form of the output

              Possible values:
              - table: Columns
              - wide:  More columns, nothing cut
              - yaml:  YAML, as apply takes it
              - json:  JSON, errors too
              - name:  KIND/NAME, a line each

          --no-color
              No colours, also on a terminal [env: NO_COLOR]

    Examples:
      mcpctl dev examples/repo             run the servers of a folder while you edit it
      mcpctl get servers                   what runs, and what does not
      mcpctl apply -f servers/ --dry-run   check declarations against mcpd
      mcpctl get server time -o yaml       the declaration, ready for apply

    Exit codes: 0 done, 1 failed or refused, 2 usage, 3 accepted but not all is well yet, 255 a bug.
    "#);
    assert_snapshot!(mcpctl("", &["apply", "--help"], ""), @r#"
    exit 0
    -- stdout
    Make declarations so

    Everything that is given is one change: all of it or nothing, one revision, one commit. What is
    there and equal stays untouched; what is there and not given stays as well. The answer has a line
    per resource: + is new, ~ changes, ! is a conflict in which the store's value was kept.

    Usage: mcpctl apply [OPTIONS] --file <FILE|DIR|->

    Options:
      -f, --file <FILE|DIR|->
              A file, a folder (read with its subfolders), or - for stdin; may be repeated

          --dry-run
              Show what would happen, and change nothing

          --wait [<SECONDS>]
              Wait until all is well, 60 seconds if no number is given

      -h, --help
              Print help (see a summary with '-h')

    Connection:
          --url <URL>
              URL of mcpd [MCPCTL_URL]

          --token <TOKEN>
              Token to show to mcpd [MCPCTL_TOKEN]

          --context <NAME>
              Context of ~/.config/mcpctl/config.yaml to use

    Output:
      -o, --output <FORM>
              The form of the output

              Possible values:
              - table: Columns
              - wide:  More columns, nothing cut
              - yaml:  YAML, as apply takes it
              - json:  JSON, errors too
              - name:  KIND/NAME, a line each

          --no-color
              No colours, also on a terminal [env: NO_COLOR]

    Examples:
      mcpctl apply -f servers/time.yaml
      mcpctl apply -f servers -f projects --dry-run
      mcpctl get server time -o yaml | mcpctl apply -f -
      mcpctl apply -f . --wait 120

    Exit code 3: it was applied, but there is a conflict, or (with --wait) not all is well in the end.
    "#);
}

#[test]
fn unknown_words_are_usage_errors() {
    assert_snapshot!(mcpctl("", &["gett"], ""), @r#"
    exit 2
    -- stderr
    error: unrecognized subcommand 'gett'

      tip: a similar subcommand exists: 'get'

    Usage: mcpctl [OPTIONS] <COMMAND>

    For more information, try '--help'.
    "#);
    assert_snapshot!(mcpctl("", &["backup"], ""), @r#"
    exit 2
    -- stderr
    error: unrecognized subcommand 'backup'

    Usage: mcpctl [OPTIONS] <COMMAND>

    For more information, try '--help'.
    "#);
    assert_snapshot!(mcpctl("", &["gett", "-o", "json"], ""), @r#"
    exit 2
    -- stderr
    {"error":"usage","detail":"unrecognized subcommand 'gett'","hint":"a similar subcommand exists: 'get'"}
    "#);
    assert_snapshot!(mcpctl("", &["get", "serverz"], ""), @r#"
    exit 2
    -- stderr
    error: no such kind: "serverz"
    hint: did you mean "server"?
    "#);
    assert_snapshot!(mcpctl("", &["get", "secrets", "-o", "json"], ""), @r#"
    exit 2
    -- stderr
    {"error":"usage","detail":"no such kind: \"secrets\"","hint":"kinds are servers, projects, instances, conflicts, events, revisions"}
    "#);
    assert_snapshot!(mcpctl("", &["delete", "server"], ""), @r#"
    exit 2
    -- stderr
    error: which server?
    hint: give a name, as server/NAME
    "#);
    assert_snapshot!(mcpctl("", &["describe", "server", "time", "-o", "yaml"], ""), @r#"
    exit 2
    -- stderr
    error: this command has no -o yaml
    hint: it has table, json
    "#);
    assert_snapshot!(mcpctl("", &["version"], ""), @r#"
    exit 0
    -- stdout
    mcpctl 0.1.0
    "#);
}

#[test]
fn get_shows_tables() {
    let mcpd = fleet();
    assert_snapshot!(mcpd.run(&["get", "servers"]), @r#"
    exit 0
    -- stdout
    NAME   READY   STATE     TOOLS   AGE   REASON
    git    0/1     ERROR     -       0s    exited with code 1:  [31mno repository [0m
    time   1/1     RUNNING   2       0s    -
    "#);
    assert_snapshot!(mcpd.run(&["get", "srv", "time", "-o", "wide"]), @r#"
    exit 0
    -- stdout
    NAME   READY   STATE     TOOLS   AGE   REASON   REPLICAS   SOURCE                 DECLARED
    time   1/1     RUNNING   2       0s    -        1          mcp-server-time==1.0   servers/time.yaml:1@3fa2c1e
    "#);
    assert_snapshot!(mcpd.run(&["get", "all"]), @r#"
    exit 0
    -- stdout
    servers
    NAME   READY   STATE     TOOLS   AGE   REASON
    git    0/1     ERROR     -       0s    exited with code 1:  [31mno repository [0m
    time   1/1     RUNNING   2       0s    -

    projects
    NAME   SERVERS    URL
    demo   time,git   http://mcpd/projects/demo/mcp
    "#);
    assert_snapshot!(mcpd.run(&["get", "all", "-o", "name"]), @r#"
    exit 0
    -- stdout
    server/git
    server/time
    project/demo
    "#);
    assert_snapshot!(mcpd.run(&["get", "instances"]), @r#"
    exit 0
    -- stdout
    NAME    STATE   TOOLS   AGE   FAILURES   RETRY   REASON
    git/0   ERROR   -       0s    3          now     exited with code 1
    "#);
    assert_snapshot!(mcpd.run(&["get", "conflicts"]), @r#"
    exit 0
    -- stdout
    RESOURCE     FIELDS        COMMIT    PLACE                AGE
    server/web   description   3fa2c1e   servers/web.yaml:3   0s
    "#);
    assert_snapshot!(mcpd.run(&["get", "events"]), @r#"
    exit 0
    -- stdout
    AGE   LEVEL     ABOUT    REASON    MESSAGE
    0s    info      time/0   Started   process 12
    0s    warning   git/0    Exited    code 1 ]0;x
    "#);
    assert_snapshot!(mcpd.run(&["get", "revisions"]), @r#"
    exit 0
    -- stdout
    REVISION   AGE   BY      DOOR   COMMIT    MESSAGE
    7          0s    admin   api    3fa2c1e   update server/git: replicas 1 → 2
    "#);
    assert_snapshot!(mcpd.run(&["get", "instance", "none"]), @r#"
    exit 1
    -- stderr
    error: instance "none" does not exist
    "#);
    assert_snapshot!(mcpd.run(&["get", "server/none"]), @r#"
    exit 1
    -- stderr
    error: GET /api/v1/servers/none does not exist
    "#);
    assert_eq!(
        mcpd.header_of("GET /api/v1/servers", "authorization").as_deref(),
        Some("Bearer sesame")
    );
}

#[test]
fn get_gives_declarations_that_apply_takes() {
    let mcpd = fleet().on(
        "POST /api/v1/apply?dryRun=false",
        200,
        &plan(&json!([]), &json!([]), &json!([])),
    );
    assert_snapshot!(mcpd.run(&["get", "all", "-o", "yaml"]), @r#"
    exit 0
    -- stdout
    kind: server
    name: git
    command:
    - mcp-server-git
    ---
    kind: server
    name: time
    packageName: mcp-server-time==1.0
    runtime: python
    env:
    - name: TZ
      value: UTC
    ---
    kind: project
    name: demo
    servers:
    - time
    - git
    "#);
    assert_snapshot!(mcpd.run(&["get", "project", "demo", "-o", "json"]), @r#"
    exit 0
    -- stdout
    {
      "kind": "project",
      "name": "demo",
      "servers": [
        "time",
        "git"
      ]
    }
    "#);
    for words in [["get", "all", "-o", "yaml"], ["get", "servers", "-o", "json"]] {
        let shown = mcpd.run(&words);
        let text = shown.split_once("-- stdout\n").unwrap().1;
        assert!(
            mcpd.run_with(&["apply", "-f", "-"], text).starts_with("exit 0\n"),
            "{text}"
        );
    }
}

#[test]
fn get_watches() {
    let event = |name: &str, data: &Value| format!("event: {name}\ndata: {data}\n\n");
    let text = format!(": alive\n\n{}{}", event("added", &time()), event("changed", &git()));
    let stream = vec![("content-type", "text/event-stream")];
    let mcpd = Mcpd::start().on_raw("GET /api/v1/servers?watch=true", (200, stream, text));
    assert_snapshot!(mcpd.run(&["get", "servers", "-w"]), @r#"
    exit 1
    -- stdout
    CHANGE    NAME   READY   STATE     TOOLS   AGE   REASON
    ADDED     time   1/1     RUNNING   2       0s    -
    CHANGED   git    0/1     ERROR     -       0s    exited with code 1:  [31mno repository [0m
    -- stderr
    error: http://mcpd broke off in the middle of its answer
    "#);
    assert_snapshot!(mcpd.run(&["get", "servers", "time", "-w", "-o", "yaml"]), @r#"
    exit 1
    -- stdout
    --- # added
    kind: server
    name: time
    packageName: mcp-server-time==1.0
    runtime: python
    env:
    - name: TZ
      value: UTC
    -- stderr
    error: http://mcpd broke off in the middle of its answer
    "#);
}

#[test]
fn describe_tells_everything() {
    let mcpd = fleet();
    assert_snapshot!(mcpd.run(&["describe", "server", "git"]), @r#"
    exit 0
    -- stdout
    server/git
      state       ERROR 0/1
      reason      exited with code 1:  [31mno repository [0m
      next retry  now
      declared    in the store; its commit has not landed yet
      revision    7

    instances
      NAME    STATE   TOOLS   AGE   FAILURES   RETRY   REASON
      git/0   ERROR   -       0s    3          now     exited with code 1

    events
      AGE   LEVEL     ABOUT   REASON   MESSAGE
      0s    warning   git/0   Exited   code 1 ]0;x

    declaration
      kind: server
      name: git
      command:
      - mcp-server-git
    "#);
    assert_snapshot!(mcpd.run(&["describe", "project/demo"]), @r#"
    exit 0
    -- stdout
    project/demo
      url         http://mcpd/projects/demo/mcp
      declared    projects/demo.yaml:1@3fa2c1e
      revision    3

    declaration
      kind: project
      name: demo
      servers:
      - time
      - git
    "#);
}

/// A folder with files.
#[expect(clippy::disallowed_methods, reason = "the tests need files")]
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

const GIT: &str = "kind: server\nname: git\ncommand: [mcp-server-git]\nreplicas: 2\n";
const DEMO: &str = "kind: project\nname: demo\nservers: [git, tiem]\n";

fn steps() -> Value {
    json!([
        {"op": "create", "resource": "server/time", "fields": [{"path": "command", "from": null, "to": ["mcp-server-time"]}, {"path": "env.TZ", "from": null, "to": "UTC"}], "source": "<body>:1"},
        {"op": "change", "resource": "server/git", "fields": [{"path": "replicas", "from": null, "to": 2}], "source": "<body>:1"},
    ])
}

fn containers() -> Value {
    json!([{"op": "start", "instance": "time/0", "reason": "new"}, {"op": "replace", "instance": "git/0", "reason": "env"}])
}

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
    plan: 1 to create, 1 to change, 1 conflict, 41 unchanged
      + server/time
      ~ server/git  replicas 1 → 2
      ! server/web  description: the store's "c" kept, yours "b" (mcpctl conflicts accept server/web --from repo)
    containers: start time/0 · replace git/0 (env) · stop none
    applied: revision 8
    "#);
    assert_snapshot!(mcpctl_in(files.path(), &mcpd.url, &["apply", "-f", "in/git.yaml", "--dry-run"], ""), @r#"
    exit 0
    -- stdout
    plan: 1 to create, 1 to change, 41 unchanged
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
    plan: 1 to create, 1 to change, 41 unchanged
      + server/time
      ~ server/git  replicas 1 → 2
    applied: revision 8
    -- stderr
    RUNNING time/0
    "#);
    assert_snapshot!(mcpd(false).run_with(&["apply", "-f", "-", "--wait"], GIT), @r#"
    exit 3
    -- stdout
    plan: 1 to create, 1 to change, 41 unchanged
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
fn status_and_sync() {
    let well =
        Mcpd::start()
            .on("GET /api/v1/status", 200, &status(true))
            .on("POST /api/v1/sync?wait=0", 200, &status(true));
    assert_snapshot!(well.run(&["status"]), @r#"
    exit 0
    -- stdout
    mcpd       0.1.0 at http://mcpd, cluster 1a2b3c4d
    runtime    process
    source     hosted /git/config.git: synced at 3fa2c1e, read 0s ago
    store      revision 118, 3 resources

    NAME     STATE     TOOLS   AGE   FAILURES   RETRY   REASON
    time/0   RUNNING   2       0s    0          -       -

    all is well
    "#);
    assert!(well.run(&["status", "--check"]).starts_with("exit 0\n"));
    assert!(well.run(&["sync"]).starts_with("exit 0\n"));
    let mut broken = status(false);
    broken["source"]["state"] = json!("Failing");
    broken["source"]["lastError"] = json!("no space left on device");
    let ill = Mcpd::start()
        .on("GET /api/v1/status", 200, &status(false))
        .on("POST /api/v1/sync?wait=0", 200, &broken)
        .on("POST /api/v1/sync?wait=5", 200, &status(false));
    assert!(ill.run(&["status"]).starts_with("exit 0\n"));
    assert_snapshot!(ill.run(&["status", "--check"]), @r#"
    exit 3
    -- stdout
    mcpd       0.1.0 at http://mcpd, cluster 1a2b3c4d
    runtime    process
    source     hosted /git/config.git: synced at 3fa2c1e, read 0s ago
    store      revision 118, 3 resources
    conflicts  1 (mcpctl conflicts)
    held       server/bad: servers/bad.yaml:3:1: unknown field "replica"

    NAME     STATE   TOOLS   AGE   FAILURES   RETRY   REASON
    time/0   ERROR   2       0s    0          -       -

    not yet: 1 conflict (mcpctl conflicts), 1 resource held, 1 instance not RUNNING
    "#);
    assert!(ill.run(&["status", "--check", "-o", "json"]).starts_with("exit 3\n"));
    assert!(ill.run(&["status", "-o", "yaml"]).contains("cluster: 1a2b3c4d\n"));
    let waited = ill.run(&["sync", "--wait", "5"]);
    assert!(
        waited.starts_with("exit 3\n") && waited.contains("-- stderr\nERROR time/0\n"),
        "{waited}"
    );
    let failed = ill.run(&["sync"]);
    assert!(
        failed.starts_with("exit 1\n") && failed.contains("no space left on device"),
        "{failed}"
    );
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
    RESOURCE     FIELDS        COMMIT    PLACE                AGE
    server/web   description   3fa2c1e   servers/web.yaml:3   0s
    -- stderr
    hint: mcpctl conflicts accept RESOURCE --from repo|store
    "#);
    assert_snapshot!(mcpd.run(&["conflicts", "accept", "server/web", "--from", "repo"]), @r#"
    exit 0
    -- stdout
    plan: 1 to change, 41 unchanged
      ~ server/web  description "c" → "b"
    applied: revision 8
    "#);
    assert_eq!(
        mcpd.body_of("POST /api/v1/conflicts/server/web/accept"),
        r#"{"from":"repo"}"#
    );
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
    cause: invalid length 0, expected struct Listing with 2 elements at line 1 column 2; the answer begins "[]"
    hint: is this mcpd's address? it comes from MCPCTL_URL
    "#);
    assert!(mcpd.run(&["get", "events"]).contains("answered 302 Found"));
    // Port 1 is reserved; nothing listens there.
    assert_snapshot!(mcpctl("http://127.0.0.1:1", &["status"], ""), @r#"
    exit 1
    -- stderr
    error: http://127.0.0.1:1 can't be reached
    cause: error sending request
    cause: client error (Connect)
    cause: tcp connect error
    cause: Connection refused (os error 111)
    hint: start it with "mcpctl dev DIR" or "mcpd", or give its address by --url or MCPCTL_URL (this one: MCPCTL_URL)
    "#);
    let shown = mcpctl("http://127.0.0.1:1", &["status", "-o", "json"], "");
    let line = shown.split_once("-- stderr\n").unwrap().1;
    assert_eq!(serde_json::from_str::<Value>(line).unwrap()["error"], "unreachable");
    assert_eq!(line.lines().count(), 1);
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
