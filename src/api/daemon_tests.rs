//! Whole daemons: over folders that people move, and asked for every route that there is.

use std::path::Path;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::settings::{McpdSettings, Surroundings};
use crate::store::StoreError;

use super::daemon::{Daemon, DaemonError};
use super::need::{Need, need};

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
    let report = daemon.engine().sync(false).await.unwrap();
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
    let text = "kind: server\nname: time\ncommand: [x]\nreplicas: 0\n---\nkind: project\nname: demo\nservers: [time]\n";
    std::fs::write(folder.join("all.yaml"), text).unwrap();
    let stop = CancellationToken::new();
    let daemon = open(&folder, &stop).await;
    daemon.engine().sync(false).await.unwrap();
    let url = format!("http://{}", daemon.address());
    let token = std::fs::read_to_string(folder.join(".mcpctl/local/admin.token")).unwrap();
    let serving = tokio::spawn(daemon.serve());
    let client = reqwest::Client::new();
    let paths = [
        "/healthz",
        "/readyz",
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
        "/api/v1/audit/events",
        "/api/v1/diff",
        "/api/v1/apply",
        "/api/v1/sync",
        "/api/v1/servers",
        "/api/v1/servers/time",
        "/api/v1/projects",
        "/api/v1/projects/demo",
        "/api/v1",
        "/api/v1/nothing",
        "/",
    ];
    for path in paths {
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
