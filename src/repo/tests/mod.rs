//! The room against the real git, over real HTTP, with the real hook protocol in a process of its own.

mod folder;
mod history;
mod hosted;
mod hostile;
mod push;
mod push_faults;
mod reading;
mod unreadable;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::json;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::access::Principal;
use crate::record::{Actor, Change, PendingExport};
use crate::resource::{Document, Id};

use super::{Hosted, Lines, Push, PushJudge, RepoError, Snapshot};

/// What git runs as a hook: this very test binary, of which only `hook_entry` runs.
const HOOK: &str = r#"#!/bin/sh
exec 3>&1 1>/dev/null
MCPCTL_TEST_HOOK="$2" exec 'PROGRAM' --exact repo::tests::hook_entry --nocapture
"#;

#[test]
fn hook_entry() {
    let Some(hook) = std::env::var_os("MCPCTL_TEST_HOOK") else {
        return;
    };
    let mut output = std::fs::File::options().write(true).open("/dev/fd/3").unwrap();
    let variable = |name: &str| std::env::var_os(name);
    let hook = hook.to_string_lossy();
    let code = super::hook_program::run(&hook, &variable, &mut std::io::stdin().lock(), &mut output);
    std::process::exit(code.into());
}

/// git without any of the machine's settings.
pub fn git_command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("git");
    command.args(arguments).current_dir(folder).env_clear();
    command
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", folder)
        .env("LC_ALL", "C")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_AUTHOR_NAME", "Ann")
        .env("GIT_AUTHOR_EMAIL", "ann@example.com")
        .env("GIT_COMMITTER_NAME", "Ann")
        .env("GIT_COMMITTER_EMAIL", "ann@example.com");
    command
}

pub async fn git_output(folder: &Path, arguments: &[&str]) -> Output {
    git_command(folder, arguments).output().await.unwrap()
}

/// Runs git, which has to succeed; gives what it printed to stdout.
pub async fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = git_output(folder, arguments).await;
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "git {arguments:?}: {out}{err}");
    out.trim().to_owned()
}

/// A judge that records, and that says what it is told to say.
#[derive(Default)]
pub struct FakeJudge {
    pub refuse: Mutex<Vec<String>>,
    pub judged: Mutex<Vec<Push>>,
    pub seen: Mutex<Vec<Result<Snapshot, RepoError>>>,
    pub watched: Mutex<Vec<Push>>,
    pub ended: Mutex<Vec<String>>,
    pub hosted: Mutex<Option<Hosted>>,
    /// While true, judging waits.
    pub hold: watch::Sender<bool>,
    /// While true, watching goes on.
    pub linger: watch::Sender<bool>,
}

impl PushJudge for FakeJudge {
    fn judge(&self, push: Push, out: Lines) -> BoxFuture<'_, bool> {
        Box::pin(async move {
            let hosted = self.hosted.lock().unwrap().clone().unwrap();
            if let Some(new) = &push.updates[0].new {
                let seen = hosted.snapshot_of(new, push.quarantine.as_ref()).await;
                self.seen.lock().unwrap().push(seen);
            }
            self.judged.lock().unwrap().push(push);
            self.hold.subscribe().wait_for(|hold| !hold).await.unwrap();
            let refuse = self.refuse.lock().unwrap().clone();
            out.send("plan for you");
            for line in &refuse {
                out.send(line);
            }
            refuse.is_empty()
        })
    }

    fn watch(&self, push: Push, out: Lines) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            out.send("applied: revision 1");
            self.watched.lock().unwrap().push(push);
            self.linger.subscribe().wait_for(|linger| !linger).await.unwrap();
        })
    }

    fn ended(&self, push_id: &str) {
        self.ended.lock().unwrap().push(push_id.to_owned());
    }
}

/// A hosted repository behind HTTP, and a clone's folder.
pub struct World {
    pub folder: TempDir,
    pub hosted: Hosted,
    pub judge: Arc<FakeJudge>,
    pub url: String,
    pub stop: CancellationToken,
    /// The `Content-Encoding` and `Transfer-Encoding` of the requests.
    pub encodings: Arc<Mutex<Vec<String>>>,
}

pub fn hook_program(folder: &Path) -> PathBuf {
    let path = folder.join("it's a hook");
    let program = std::env::current_exe().unwrap();
    std::fs::write(&path, HOOK.replace("PROGRAM", program.to_str().unwrap())).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

impl World {
    pub async fn new() -> Self {
        Self::with_data("data").await
    }

    pub async fn with_data(data: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let hosted = Hosted::open(&folder.path().join(data), &hook_program(folder.path()), "writer-1")
            .await
            .unwrap();
        let judge = Arc::new(FakeJudge::default());
        *judge.hosted.lock().unwrap() = Some(hosted.clone());
        let stop = CancellationToken::new();
        let serve = hosted.clone();
        let (served, stopped): (Arc<dyn PushJudge>, _) = (Arc::clone(&judge) as _, stop.clone());
        tokio::spawn(async move { serve.serve_hooks(served, stopped).await });
        let encodings = Arc::new(Mutex::new(vec![]));
        let (serve, noted) = (hosted.clone(), Arc::clone(&encodings));
        let app = axum::Router::new().fallback(move |request: axum::extract::Request| async move {
            for name in ["content-encoding", "transfer-encoding"] {
                let value = request
                    .headers()
                    .get(name)
                    .map(|value| value.to_str().unwrap().to_owned());
                noted.lock().unwrap().extend(value);
            }
            let name = "ann@example.com".to_owned();
            serve.serve_http(&Principal::Admin { name }, request).await
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/git/config.git", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        let clone = folder.path().join("clone");
        std::fs::create_dir(&clone).unwrap();
        git(&clone, &["init", "-q", "-b", "main"]).await;
        git(&clone, &["remote", "add", "origin", &url]).await;
        Self {
            folder,
            hosted,
            judge,
            url,
            stop,
            encodings,
        }
    }

    pub fn clone(&self) -> PathBuf {
        self.folder.path().join("clone")
    }

    /// Writes a file in the clone and commits it.
    pub async fn commit(&self, path: &str, text: &str) -> String {
        let file = self.clone().join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
        git(&self.clone(), &["add", "-A"]).await;
        git(&self.clone(), &["commit", "-qm", &format!("write {path}")]).await;
        git(&self.clone(), &["rev-parse", "HEAD"]).await
    }

    /// Pushes; gives whether it was accepted and what was shown.
    pub async fn push(&self, arguments: &[&str]) -> (bool, String) {
        let output = git_output(&self.clone(), &[&["push"], arguments].concat()).await;
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    }

    /// What the branch is at, by git itself.
    pub async fn head(&self) -> Option<String> {
        let output = git_output(self.hosted.path(), &["rev-parse", "-q", "--verify", "refs/heads/main"]).await;
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

/// Waits until something is true; the limit is far beyond what a slow machine needs.
pub async fn until(what: &str, mut check: impl AsyncFnMut() -> bool) {
    for _ in 0..1200 {
        if check().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never: {what}");
}

pub fn id(text: &str) -> Id {
    text.parse().unwrap()
}

/// A server's document whose description tells it from others.
pub fn server(name: &str, description: &str) -> Arc<Document> {
    let spec = json!({"description": description, "command": ["true"]});
    Arc::new(Document::new(id(&format!("server/{name}")), &spec).unwrap())
}

/// A server's text.
pub fn text(name: &str, description: &str) -> String {
    format!("# about {name}\nkind: server\nname: {name}\ndescription: {description} # kept\ncommand: ['true']\n")
}

pub fn export(revision: u64, changes: &[(&str, Option<Arc<Document>>)]) -> PendingExport {
    PendingExport {
        revision,
        at: "2026-01-02T03:04:05Z".parse().unwrap(),
        actor: Actor {
            name: "Bob <b>\n".into(),
            door: "api".into(),
        },
        message: "update server/a: description a → b".into(),
        changes: changes
            .iter()
            .map(|(name, after)| Change {
                id: id(name),
                before: None,
                after: after.clone(),
            })
            .collect(),
        notes: vec![],
        attempt: None,
    }
}

pub fn ids(export: &PendingExport) -> Vec<Id> {
    export.changes.iter().map(|change| change.id.clone()).collect()
}

/// `server/a=description`, sorted: what a snapshot declares.
pub fn declared(snapshot: &Snapshot) -> Vec<String> {
    let documents = snapshot.tree.documents.values();
    documents
        .map(|placed| {
            format!(
                "{}={}",
                placed.document.id,
                placed.document.spec["description"].as_str().unwrap_or("")
            )
        })
        .collect()
}
