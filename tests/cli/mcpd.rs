//! A small mcpd made of canned answers, the program under test, and the values that both speak of.

use std::collections::VecDeque;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

/// An answer: status, headers, body.
pub type Answer = (u16, Vec<(&'static str, &'static str)>, String);

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
pub struct Mcpd {
    pub url: String,
    answers: Arc<Mutex<Answers>>,
    _runtime: tokio::runtime::Runtime,
}

impl Mcpd {
    pub fn start() -> Self {
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

    pub fn on(self, line: &'static str, status: u16, body: &Value) -> Self {
        self.on_raw(line, (status, vec![JSON], body.to_string()))
    }

    pub fn on_raw(self, line: &'static str, answer: Answer) -> Self {
        let mut answers = self.answers.lock().unwrap();
        match answers.canned.iter_mut().find(|(known, _)| *known == line) {
            Some((_, queue)) => queue.push_back(answer),
            None => answers.canned.push((line, VecDeque::from([answer]))),
        }
        drop(answers);
        self
    }

    pub fn run(&self, words: &[&str]) -> String {
        self.run_with(words, "")
    }

    pub fn run_with(&self, words: &[&str], stdin: &str) -> String {
        mcpctl(&self.url, words, stdin).replace(&self.url, "http://mcpd")
    }

    pub fn lines(&self) -> Vec<String> {
        let answers = self.answers.lock().unwrap();
        answers.seen.iter().map(|seen| seen.line.clone()).collect()
    }

    pub fn body_of(&self, line: &str) -> String {
        let answers = self.answers.lock().unwrap();
        let seen = answers.seen.iter().find(|seen| seen.line == line);
        seen.map(|seen| seen.body.clone()).unwrap()
    }

    pub fn header_of(&self, line: &str, name: &str) -> Option<String> {
        let answers = self.answers.lock().unwrap();
        let seen = answers.seen.iter().find(|seen| seen.line == line).unwrap();
        seen.headers.get(name).map(|value| value.to_str().unwrap().to_owned())
    }
}

pub const JSON: (&str, &str) = ("content-type", "application/json");

fn respond((status, headers, body): Answer) -> Response {
    let mut response = (StatusCode::from_u16(status).unwrap(), body).into_response();
    response.headers_mut().remove(header::CONTENT_TYPE);
    for (name, value) in headers {
        response.headers_mut().insert(name, value.parse().unwrap());
    }
    response
}

/// Runs the program in an empty folder with an empty environment: exit code, stdout, stderr.
pub fn mcpctl(url: &str, words: &[&str], stdin: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    mcpctl_in(folder.path(), url, words, stdin)
}

pub fn mcpctl_in(folder: &std::path::Path, url: &str, words: &[&str], stdin: &str) -> String {
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
        shown += "-- stdout\n";
        shown += &out;
    }
    if !err.is_empty() {
        shown += "-- stderr\n";
        shown += &err;
    }
    shown
}

/// Far in the future, so that every age is "0s".
pub const SOON: &str = "2200-01-01T00:00:00Z";
pub const LONG_AGO: &str = "2001-01-01T00:00:00Z";

pub fn server(name: &str, spec: &Value, status: &Value) -> Value {
    let mut resource = json!({"kind": "server", "name": name});
    resource
        .as_object_mut()
        .unwrap()
        .extend(spec.as_object().unwrap().clone());
    json!({"resource": resource, "status": status, "revision": 7})
}

pub fn time() -> Value {
    let status = json!({"state": "RUNNING", "ready": "1/1", "tools": 2, "reason": "", "provenance": {"file": "servers/time.yaml", "line": 1, "commit": "3fa2c1e9aa", "pending": false},
        "instances": [{"instance": "time/0", "state": "RUNNING", "since": SOON, "failures": 0, "tools": 2}]});
    let spec =
        json!({"packageName": "mcp-server-time==1.0", "runtime": "python", "env": [{"name": "TZ", "value": "UTC"}]});
    server("time", &spec, &status)
}

pub fn git() -> Value {
    let status = json!({"state": "ERROR", "ready": "0/1", "reason": "exited with code 1: \u{1b}[31mno repository\u{1b}[0m\u{9b}", "provenance": {"file": "", "commit": "", "pending": true},
        "instances": [{"instance": "git/0", "state": "ERROR", "since": SOON, "failures": 3, "nextRetry": LONG_AGO, "reason": "exited with code 1"}]});
    server("git", &json!({"command": ["mcp-server-git"]}), &status)
}

pub fn demo() -> Value {
    let resource = json!({"kind": "project", "name": "demo", "servers": ["time", "git"]});
    json!({"resource": resource, "status": {"endpoint": "/projects/demo/mcp", "provenance": {"file": "projects/demo.yaml", "line": 1, "commit": "3fa2c1e9aa", "pending": false}}, "revision": 3})
}

/// A template of the repository.
pub fn github() -> Value {
    let resource = json!({"kind": "template", "name": "github", "version": "2", "description": "Reads issues",
        "packageName": "gh-mcp@1.0", "timeoutSeconds": 90, "env": [
            {"name": "TOKEN", "description": "A token that may read", "required": true},
            {"name": "HOST", "description": "Where it is", "required": true, "defaultValue": "example.com"},
            {"name": "DEBUG", "description": "Say more"}]});
    json!({"resource": resource, "status": {"provenance": {"file": "templates/github.yaml", "line": 1, "commit": "3fa2c1e9aa", "pending": false}}, "revision": 5})
}

/// A template that ships with mcpd.
pub fn ships() -> Value {
    let resource = json!({"kind": "template", "name": "time", "version": "1", "description": "Tells the time",
        "packageName": "mcp-server-time==1.0", "runtime": "python"});
    json!({"resource": resource, "status": {"provenance": {"file": "", "commit": "", "pending": false}, "origin": "builtin"}, "revision": 0})
}

pub fn prompt(project: Option<&str>) -> Value {
    let mut resource = json!({"kind": "prompt", "name": "old", "summary": "How it was", "content": "Once\nupon\n"});
    if let Some(project) = project {
        resource["project"] = json!(project);
        resource["priority"] = json!(9);
    }
    json!({"resource": resource, "status": {}, "revision": 4})
}

pub fn listing(items: &[Value]) -> Value {
    json!({"items": items, "revision": 7})
}

pub fn plan(steps: &Value, containers: &Value, conflicts: &Value) -> Value {
    json!({"revision": 8, "steps": steps, "containers": containers, "conflicts": conflicts, "diagnostics": [], "unchanged": 41})
}

pub fn conflict() -> Value {
    let document = |text: &str| json!({"id": "server/web", "spec": {"command": ["web"], "description": text}});
    json!({"id": "server/web", "base": document("a"), "repository": document("b"), "store": document("c"),
        "commit": "3fa2c1e000", "place": "servers/web.yaml:3", "at": SOON, "revision": 6})
}

pub fn status(converged: bool) -> Value {
    let state = if converged { "RUNNING" } else { "ERROR" };
    json!({"version": "0.1.0", "cluster": "1a2b3c4d", "runtime": {"name": "process", "available": true},
        "source": {"kind": "hosted", "location": "/git/config.git", "head": "3fa2c1e9aa", "state": "Synced", "lastSyncAt": SOON, "lastError": null, "pendingCount": 0},
        "revision": 118, "resources": 3, "conflicts": i32::from(!converged),
        "held": if converged { json!([]) } else { json!([{"resource": "server/bad", "reason": "servers/bad.yaml can't be used",
            "diagnostic": {"file": "servers/bad.yaml", "line": 3, "column": 1, "message": "unknown field \"replica\"", "excerpt": "replica: 2", "width": 7, "hint": "did you mean \"replicas\"?"}}]) },
        "diagnostics": [], "converged": converged,
        "instances": [{"instance": "time/0", "state": state, "since": SOON, "failures": 0, "tools": 2}]})
}

pub fn fleet() -> Mcpd {
    Mcpd::start()
        .on("GET /api/v1/servers", 200, &listing(&[git(), time()]))
        .on("GET /api/v1/servers/time", 200, &time())
        .on("GET /api/v1/servers/git", 200, &git())
        .on("GET /api/v1/secrets", 200, &listing(&[]))
        .on("GET /api/v1/projects", 200, &listing(&[demo()]))
        .on("GET /api/v1/projects/demo", 200, &demo())
        .on("GET /api/v1/templates", 200, &listing(&[github(), ships()]))
        .on("GET /api/v1/templates/github", 200, &github())
        .on("GET /api/v1/templates/time", 200, &ships())
        .on("GET /api/v1/prompts", 200, &listing(&[prompt(None), prompt(Some("demo"))]))
        .on("GET /api/v1/prompts/old", 200, &prompt(None))
        .on("GET /api/v1/projects/demo/prompts", 200, &listing(&[prompt(Some("demo"))]))
        .on("GET /api/v1/projects/demo/prompts/old", 200, &prompt(Some("demo")))
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
        .on("GET /api/v1/runs", 200, &listing(&[run(), waiting_run()]))
        .on("GET /api/v1/runs?limit=10000", 200, &listing(&[run(), waiting_run()]))
        .on("GET /api/v1/runs/12", 200, &run())
}

/// A folder with files.
#[expect(clippy::disallowed_methods, reason = "the tests need files")]
pub fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

pub const GIT: &str = "kind: server\nname: git\ncommand: [mcp-server-git]\nreplicas: 2\n";
pub const DEMO: &str = "kind: project\nname: demo\nservers: [git, tiem]\n";

pub fn steps() -> Value {
    json!([
        {"op": "create", "resource": "server/time", "fields": [{"path": "command", "from": null, "to": ["mcp-server-time"]}, {"path": "env.TZ", "from": null, "to": "UTC"}], "source": "<body>:1"},
        {"op": "change", "resource": "server/git", "fields": [{"path": "replicas", "from": null, "to": 2}], "source": "<body>:1"},
    ])
}

pub fn containers() -> Value {
    json!([{"op": "start", "instance": "time/0", "reason": "new"}, {"op": "replace", "instance": "git/0", "reason": "env"}])
}

/// A run that two asked for and that moved something.
pub fn run() -> Value {
    json!({"id": "12", "state": "done", "asks": 3,
        "causes": [{"trigger": "webhook github", "by": "ada\u{1b}]0;x\u{7}"}, {"trigger": "sync", "by": "admin"}],
        "asked": SOON, "began": SOON, "ended": SOON, "before": "3fa2c1e9aa", "after": "9ab12cd0ff",
        "imported": 3, "exported": 1, "conflicts": 0, "revisions": [117, 118]})
}

/// A run that waits for a person's word.
pub fn waiting_run() -> Value {
    json!({"id": "13", "state": "waiting", "asks": 0, "causes": [{"trigger": "repository"}],
        "asked": SOON, "before": "3fa2c1e9aa", "after": "3fa2c1e9aa",
        "imported": 0, "exported": 0, "conflicts": 0, "revisions": [], "reason": "this would delete 4 of 6 resources"})
}

/// The answer of a sync with a word that nothing waits for.
pub fn synced() -> Value {
    let mut body = status(true);
    body["run"] = json!("12");
    body["look"] = run();
    body["passedOver"] = json!(["allowMassDelete"]);
    body
}
