//! Whole daemons: over folders that people move, and asked for every route that there is.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::resource::{KINDS, built_in};
use crate::settings::{McpdSettings, Surroundings};
use crate::store::StoreError;

use super::daemon::{Daemon, DaemonError};
use super::need::{Need, need};

/// A server that does not run, and its project.
const DEMO: &str =
    "kind: server\nname: time\ncommand: [x]\nreplicas: 0\n---\nkind: project\nname: demo\nservers: [time]\n";

/// The daemon of `mcpctl dev FOLDER`.
async fn open(folder: &Path, stop: &CancellationToken) -> Daemon {
    let around = Surroundings {
        user: rustix::process::geteuid().as_raw(),
        environment: vec![("PATH".into(), std::env::var_os("PATH").unwrap())],
        folder: folder.to_owned(),
        is_root: false,
    };
    let data = folder.join(".mcpctl").join("local");
    let [watch, data] = [folder, &data].map(|path| path.as_os_str().to_owned());
    let arguments = ["mcpd".into(), "--watch".into(), watch, "--data-dir".into(), data];
    let process = ["--runtime".into(), "process".into()];
    let settings = McpdSettings::resolve(
        arguments
            .into_iter()
            .chain(process)
            .chain(["--listen".into(), "127.0.0.1:0".into()]),
        &around,
    )
    .unwrap();
    let mut tries = 0;
    loop {
        match Daemon::open(&settings, &around, true, stop.clone()).await {
            Ok(daemon) => return daemon,
            // The daemon before still lets go of it.
            Err(DaemonError::Store(StoreError::InUse { .. })) if tries < 6000 => tries += 1,
            Err(error) => panic!("{error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What the daemon of `mcpctl dev FOLDER` finds there: `a=one`, and how many conflicts. It has stopped afterwards.
async fn look(folder: &Path) -> (Vec<String>, usize) {
    let stop = CancellationToken::new();
    let daemon = open(folder, &stop).await;
    let report = daemon.engine().sync(crate::engine::Words::default()).await.unwrap();
    let view = daemon.engine().store().view();
    let declared = view.rows.iter().filter_map(|(id, row)| {
        let description = row.document.as_ref()?.spec["description"].as_str()?;
        Some(format!("{}={description}", id.name))
    });
    let declared = declared.collect();
    stop.cancel();
    daemon.serve().await.unwrap();
    (declared, report.status.conflicts)
}

/// Pitfall "a daemon restart that forgets what it knew": the folder of `mcpctl dev` is moved with its data in it. That
/// is no other folder: an edit made since is an edit, and a deletion made since stays one.
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::disallowed_methods, reason = "a person edits the folder")]
async fn a_moved_dev_folder_keeps_its_ledger() {
    let place = tempfile::tempdir().unwrap();
    let [before, after] = ["before", "after"].map(|name| place.path().canonicalize().unwrap().join(name));
    std::fs::create_dir(&before).unwrap();
    let write = |folder: &Path, name: &str, text: &str| {
        let text = format!("kind: server\nname: {name}\ncommand: [x]\nreplicas: 0\ndescription: {text}\n");
        std::fs::write(folder.join(format!("{name}.yaml")), text).unwrap();
    };
    for name in ["a", "b", "c"] {
        write(&before, name, "one");
    }
    assert_eq!(
        look(&before).await,
        (vec!["a=one".into(), "b=one".into(), "c=one".into()], 0)
    );

    std::fs::rename(&before, &after).unwrap();
    write(&after, "a", "two");
    std::fs::remove_file(after.join("b.yaml")).unwrap();
    assert_eq!(look(&after).await, (vec!["a=two".into(), "c=one".into()], 0));
    assert!(!after.join("b.yaml").exists() && !after.join("servers").exists());
    let text = std::fs::read_to_string(after.join("a.yaml")).unwrap();
    assert!(text.ends_with("description: two\n"), "{text}");
}

/// The router and the table of needs say the same: each route that needs something is answered by a handler, with a token;
/// without one nothing is but health, on every method and path; and what the table does not know is not there.
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::disallowed_methods, reason = "a client beside the daemon")]
async fn every_route_is_in_the_table_and_every_need_has_a_route() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().canonicalize().unwrap();
    std::fs::write(folder.join("all.yaml"), DEMO).unwrap();
    let stop = CancellationToken::new();
    let daemon = open(&folder, &stop).await;
    daemon.engine().sync(crate::engine::Words::default()).await.unwrap();
    let url = format!("http://{}", daemon.address());
    let token = std::fs::read_to_string(folder.join(".mcpctl/local/admin.token")).unwrap();
    let serving = tokio::spawn(daemon.serve());
    let client = reqwest::Client::new();
    let paths = [
        "/healthz",
        "/readyz",
        "/metrics",
        "/projects/demo/mcp",
        "/projects/demo/servers/time/mcp",
        "/servers/time/mcp",
        "/git/config.git/info/refs?service=git-upload-pack",
        "/git/config.git/info/refs?service=git-receive-pack",
        "/git/config.git/git-upload-pack",
        "/git/config.git/git-receive-pack",
        "/api/v1/status",
        "/api/v1/instances",
        "/api/v1/instances/time/0/logs",
        "/api/v1/conflicts",
        "/api/v1/conflicts/server/time/accept",
        "/api/v1/events",
        "/api/v1/revisions",
        "/api/v1/revisions/999/undo",
        "/api/v1/repo/scrub",
        "/api/v1/restore/list",
        "/api/v1/restore/diff?commit=HEAD",
        "/api/v1/restore/to?commit=HEAD",
        "/api/v1/runs",
        "/api/v1/runs/1",
        "/git/webhook",
        "/api/v1/audit/events",
        "/api/v1/diff",
        "/api/v1/apply",
        "/api/v1/sync",
        "/api/v1/projects/demo/servers",
        "/api/v1/projects/demo/servers/time",
        "/api/v1/projects/nope/prompts",
        "/api/v1",
        "/api/v1/nothing",
        "/",
    ];
    let of_kinds = KINDS.iter().flat_map(|kind| {
        let name = if kind.name == "project" { "demo" } else { "time" };
        let below_project = format!("/api/v1/projects/demo/{}", kind.plural);
        let lists = [
            Some(format!("/api/v1/{}", kind.plural)),
            kind.scoped.then_some(below_project),
        ];
        let with_one = move |list: String| [format!("{list}/{name}"), list];
        lists.into_iter().flatten().flat_map(with_one)
    });
    for path in paths.map(str::to_owned).into_iter().chain(of_kinds) {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            let asked = format!("{method} {path}");
            let ask = |with: Option<&str>| {
                let request = client
                    .request(method.parse().unwrap(), format!("{url}{path}"))
                    .body("{}");
                match with {
                    Some(token) => request.bearer_auth(token),
                    None => request,
                }
            };
            let need = need(&method.parse().unwrap(), &path.parse().unwrap());
            let nobody = ask(None).send().await.unwrap().status().as_u16();
            let open = matches!(need, Some(Need::Open));
            assert_eq!(nobody == 401, !open, "{asked} without a token is {nobody}");
            // Deletions would change what the next requests find; a wrong revision stops them behind the choke point.
            let answer = ask(Some(token.trim()))
                .header("If-Match", "\"999\"")
                .send()
                .await
                .unwrap();
            let (code, body) = (answer.status().as_u16(), answer.text().await.unwrap());
            let unknown = code == 404 && body.contains("there is no ");
            assert_eq!(need.is_none(), unknown, "{asked} is {code}: {body}");
            assert_ne!(code, 405, "{asked} is in the table and has no handler");
        }
    }
    stop.cancel();
    serving.await.unwrap().unwrap();
}

/// A daemon over a folder, and somebody who asks it.
struct Asking {
    client: reqwest::Client,
    url: String,
    token: String,
}

impl Asking {
    /// Status, entity tag and body of an answer to `METHOD PATH`.
    async fn ask(&self, line: &str, body: &Value, if_match: Option<&str>) -> (u16, String, Value) {
        let (method, path) = line.split_once(' ').unwrap();
        let mut request = self
            .client
            .request(method.parse().unwrap(), format!("{}/api/v1{path}", self.url))
            .bearer_auth(self.token.trim());
        if !body.is_null() {
            request = request.body(body.to_string());
        }
        if let Some(tag) = if_match {
            request = request.header("If-Match", tag);
        }
        let answer = request.send().await.unwrap();
        let tag = answer.headers().get("etag").map(|tag| tag.to_str().unwrap().to_owned());
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (
            status,
            tag.unwrap_or_default(),
            serde_json::from_str(&text).unwrap_or_default(),
        )
    }

    /// What `get` lists: `project/name`, or the name.
    async fn names(&self, path: &str) -> Vec<String> {
        let (status, _, body) = self.ask(&format!("GET {path}"), &Value::Null, None).await;
        assert_eq!(status, 200, "{path}: {body}");
        let items = body["items"].as_array().unwrap().iter();
        let name = |item: &Value| match item["resource"]["project"].as_str() {
            Some(project) => format!("{project}/{}", item["resource"]["name"].as_str().unwrap()),
            None => item["resource"]["name"].as_str().unwrap().to_owned(),
        };
        items.map(name).collect()
    }
}

#[expect(clippy::disallowed_methods, reason = "a client beside the daemon")]
async fn asking(folder: &Path, stop: &CancellationToken) -> (Asking, tokio::task::JoinHandle<()>) {
    std::fs::write(folder.join("all.yaml"), DEMO).unwrap();
    let daemon = open(folder, stop).await;
    daemon.engine().sync(crate::engine::Words::default()).await.unwrap();
    let asking = Asking {
        client: reqwest::Client::new(),
        url: format!("http://{}", daemon.address()),
        token: std::fs::read_to_string(folder.join(".mcpctl/local/admin.token")).unwrap(),
    };
    let serving = tokio::spawn(async move { daemon.serve().await.unwrap() });
    (asking, serving)
}

/// One name in two scopes is two resources, through every method; a project that has prompts stays.
#[tokio::test(flavor = "multi_thread")]
async fn names_in_a_project_are_names_of_their_own() {
    let place = tempfile::tempdir().unwrap();
    let stop = CancellationToken::new();
    let (daemon, serving) = asking(&place.path().canonicalize().unwrap(), &stop).await;
    let prompt = |project: Option<&str>, content: &str| {
        let mut it = json!({"kind": "prompt", "name": "old", "content": content});
        if let Some(project) = project {
            it["project"] = json!(project);
        }
        it
    };
    let (everywhere, demo) = ("/prompts", "/projects/demo/prompts");
    for (line, body, want) in [
        (format!("POST {everywhere}"), prompt(None, "a"), 201),
        (format!("POST {everywhere}"), prompt(None, "a"), 409),
        (format!("POST {demo}"), prompt(Some("demo"), "b"), 201),
        (format!("POST {demo}"), prompt(Some("demo"), "b"), 409),
        // A body for another place, a project that is not there, a field that can't change.
        (format!("POST {demo}"), prompt(None, "b"), 400),
        (format!("POST {everywhere}"), prompt(Some("demo"), "b"), 400),
        (format!("PUT {demo}/new"), prompt(Some("demo"), "b"), 400),
        ("POST /projects/nope/prompts".to_owned(), prompt(Some("nope"), "b"), 400),
        ("GET /projects/nope/prompts".to_owned(), Value::Null, 404),
        (format!("PATCH {demo}/old"), json!({"project": "ops"}), 400),
        (format!("PATCH {everywhere}/old"), json!({"project": 5}), 400),
        (
            format!("PATCH {demo}/old"),
            json!({"project": "demo", "content": "c"}),
            200,
        ),
        (format!("PUT {demo}/old"), prompt(Some("demo"), "d"), 200),
        (format!("DELETE {demo}/none"), Value::Null, 404),
    ] {
        let (status, _, answer) = daemon.ask(&line, &body, None).await;
        assert_eq!(status, want, "{line} {body}: {answer}");
    }
    assert_eq!(daemon.names(everywhere).await, ["old", "demo/old"]);
    assert_eq!(daemon.names(demo).await, ["demo/old"]);
    let (_, _, a) = daemon.ask(&format!("GET {everywhere}/old"), &Value::Null, None).await;
    let (_, tag, d) = daemon.ask(&format!("GET {demo}/old"), &Value::Null, None).await;
    assert_eq!(
        (&a["resource"]["content"], &d["resource"]["content"]),
        (&json!("a"), &json!("d"))
    );
    // The tag is of this resource alone.
    let (status, ..) = daemon
        .ask(&format!("PATCH {everywhere}/old"), &json!({"priority": 9}), Some(&tag))
        .await;
    assert_eq!(status, 412);
    let (status, ..) = daemon
        .ask(&format!("PATCH {demo}/old"), &json!({"priority": 9}), Some(&tag))
        .await;
    assert_eq!(status, 200);
    let (status, _, refused) = daemon.ask("DELETE /projects/demo", &Value::Null, None).await;
    assert_eq!(
        (status, refused["detail"].as_str()),
        (409, Some("project/demo can't be deleted: prompt/demo/old needs it"))
    );
    let (status, ..) = daemon.ask(&format!("DELETE {demo}/old"), &Value::Null, None).await;
    assert_eq!(status, 200);
    assert_eq!(daemon.names(everywhere).await, ["old"]);
    let (status, ..) = daemon.ask("DELETE /projects/demo", &Value::Null, None).await;
    assert_eq!(status, 200);
    stop.cancel();
    serving.await.unwrap();
}

/// What ships is shown and is no declaration; one takes its place, and once that is deleted it is back.
#[tokio::test(flavor = "multi_thread")]
async fn what_ships_is_shown_and_replaced_and_never_deleted() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().canonicalize().unwrap();
    let stop = CancellationToken::new();
    let (daemon, serving) = asking(&folder, &stop).await;
    let names: Vec<String> = built_in().keys().map(|id| id.name.to_string()).collect();
    assert_eq!(daemon.names("/templates").await, names);
    let shown = async || daemon.ask("GET /templates/time", &Value::Null, None).await;
    let (status, tag, ships) = shown().await;
    assert_eq!((status, tag.as_str()), (200, "\"0\""));
    assert_eq!(ships["status"]["origin"], "builtin");
    let counted = async || daemon.ask("POST /sync", &Value::Null, None).await.2["resources"].clone();
    assert_eq!(counted().await, 2);

    let (status, _, refused) = daemon.ask("DELETE /templates/time", &Value::Null, None).await;
    assert_eq!(
        (status, refused["detail"].as_str()),
        (409, Some("template/time ships with mcpd and can't be deleted"))
    );
    // Sent back as it is shown, alone or with others, it is so already.
    let (status, tag, _) = daemon.ask("PUT /templates/time", &ships["resource"], None).await;
    assert_eq!((status, tag.as_str()), (200, "\"0\""));
    let with_another = json!([ships["resource"], {"kind": "prompt", "name": "new", "content": "x"}]);
    let (status, _, plan) = daemon.ask("POST /apply", &with_another, None).await;
    assert_eq!(
        (status, &plan["unchanged"], plan["steps"].as_array().unwrap().len()),
        (200, &json!(1), 1)
    );
    assert_eq!(counted().await, 3);

    // A change of it is a declaration; of an older look than the present one it is refused.
    let changed = json!({"description": "ours"});
    let (status, ..) = daemon.ask("PATCH /templates/time", &changed, Some("\"7\"")).await;
    assert_eq!(status, 412);
    let (status, _, ours) = daemon
        .ask("PATCH /templates/time?wait=commit", &changed, Some("\"0\""))
        .await;
    assert_eq!(
        (status, &ours["resource"]["packageName"]),
        (201, &ships["resource"]["packageName"]),
        "{ours}"
    );
    let (status, ..) = daemon.ask("PATCH /templates/time", &changed, Some("\"0\"")).await;
    assert_eq!(status, 412);
    let (_, _, ours) = shown().await;
    assert_eq!(
        (&ours["resource"]["description"], &ours["status"]["origin"]),
        (&json!("ours"), &Value::Null)
    );
    assert_eq!(
        (daemon.names("/templates").await, counted().await),
        (names.clone(), json!(4))
    );
    assert!(folder.join("templates/time.yaml").exists() && !folder.join("templates/everything.yaml").exists());

    let (status, ..) = daemon
        .ask("DELETE /templates/time?wait=commit", &Value::Null, None)
        .await;
    assert_eq!(status, 200);
    assert_eq!(shown().await.2["resource"], ships["resource"]);
    assert_eq!(counted().await, 3);
    assert!(!folder.join("templates/time.yaml").exists());
    let (status, ..) = daemon.ask("DELETE /templates/time", &Value::Null, None).await;
    assert_eq!(status, 409);
    stop.cancel();
    serving.await.unwrap();
}

/// docs/METRICS.md has a row for every figure that a scrape has, and none for another.
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::disallowed_methods, reason = "a client beside the daemon, and a document")]
async fn every_figure_has_its_row() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().canonicalize().unwrap();
    std::fs::write(folder.join("all.yaml"), DEMO).unwrap();
    let stop = CancellationToken::new();
    let (asking, serving) = asking(&folder, &stop).await;
    let answer = asking
        .client
        .get(format!("{}/metrics", asking.url))
        .bearer_auth(asking.token.trim())
        .send()
        .await
        .unwrap();
    let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
    assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8");
    let text = answer.text().await.unwrap();
    let names = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let told: std::collections::BTreeSet<&str> = names.collect();
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/METRICS.md");
    let document = std::fs::read_to_string(document).unwrap();
    let rows = document
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('|').next());
    let rows = rows.flat_map(|cell| cell.split(['`', ',', ' ']));
    let rows: std::collections::BTreeSet<&str> = rows
        .filter(|name| name.contains('_') && *name != "tool_error")
        .collect();
    assert_eq!(told, rows);
    stop.cancel();
    serving.await.unwrap();
}
