//! The engine over real folders, repositories and stores: what reviews found is kept found.
//!
//! Most of these engines have no running loop: the test itself makes each pass, so that what happens between two steps
//! happens exactly there. Where the loop is the matter, it runs, and the test waits for its reports.
#![expect(
    clippy::disallowed_methods,
    reason = "people who edit files, git, and pushes that wait are played here"
)]

mod disk;
mod epoch;
mod folder;
mod looks;
mod merge;
mod push;
mod remote;
mod restore;
mod runs;
mod scrub;
mod secrets;
mod undo;
mod world;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::kit::{Masks, Redacted};
use crate::record::{Actor, Edit, EditChange, StoreView, Upstreams};
use crate::repo::{Folder, Hosted, Snapshot, Source};
use crate::resource::{Document, Id};
use crate::runtime::{Logs, ProcessOptions, ProcessRuntime, Runtime, StartOrder};
use crate::store::Store;

use super::agree::{Agreed, Pass};
use super::{Engine, Parts, Words};

/// Passes that may be needed until nothing is left to do; a loop that is busy makes as many as it is let.
const FEW: usize = 5;

/// A vault with an identity of its own.
fn vault(data: &Path, extra: &[std::path::PathBuf]) -> super::Vault {
    let identities = crate::secret::Identities::open(data, extra, crate::kit::time::now()).unwrap();
    let variables = [("FROM_THE_HOST".to_owned(), Redacted::new("of-the-host".to_owned()))];
    super::Vault::new(identities, "salt".to_owned(), Masks::default(), variables.into())
}

/// An engine and what else would end with it.
struct Bench {
    engine: Engine,
    upstreams: watch::Sender<Arc<Upstreams>>,
    _stop: tokio_util::sync::DropGuard,
}

impl std::ops::Deref for Bench {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        &self.engine
    }
}

impl Bench {
    /// An engine over a watched folder, its data elsewhere.
    async fn folder(folder: &Path, data: &Path, runs: bool) -> Self {
        let source = Source::Folder(Folder::open(folder).await.unwrap());
        Self::start(source, "folder", data, runs).await
    }

    /// An engine over the hosted repository in its data folder.
    async fn hosted(data: &Path) -> Self {
        let hosted = Hosted::open(data, Path::new("/bin/true"), "writer").await.unwrap();
        Self::start(Source::Hosted(hosted), "hosted", data, false).await
    }

    async fn start(source: Source, identity: &str, data: &Path, runs: bool) -> Self {
        Self::start_with(source, identity, data, runs, &[]).await
    }

    /// An engine over a watched folder, with further files of identities.
    async fn folder_with(folder: &Path, data: &Path, extra: &[std::path::PathBuf]) -> Self {
        let source = Source::Folder(Folder::open(folder).await.unwrap());
        Self::start_with(source, "folder", data, false, extra).await
    }

    fn warnings(&self) -> Vec<String> {
        self.engine.0.warnings(&self.store().view())
    }

    async fn edit_request(&self, request: super::EditRequest) -> Result<super::Edited, super::EngineError> {
        Engine::edit(&self.engine, request).await
    }

    async fn start_with(source: Source, identity: &str, data: &Path, runs: bool, extra: &[std::path::PathBuf]) -> Self {
        std::fs::create_dir_all(data).unwrap();
        let store = open(&data.join("store.redb")).await;
        Self::start_on(store, source, identity, data, runs, extra).await
    }

    async fn start_on(
        store: Store,
        source: Source,
        identity: &str,
        data: &Path,
        runs: bool,
        extra: &[std::path::PathBuf],
    ) -> Self {
        let stop = CancellationToken::new();
        if !runs {
            stop.cancel();
        }
        let upstreams = watch::Sender::new(Arc::default());
        let parts = Parts {
            vault: Arc::new(vault(data, extra)),
            masks: Masks::default(),
            store,
            source,
            runtime: Arc::new(Runtime::Process(processes(data, &["/bin/true"]).await)),
            runtime_name: "process",
            cluster: "tests".to_owned(),
            identity: identity.to_owned(),
            location: String::new(),
            interval: Duration::from_secs(30),
            upstreams: upstreams.subscribe(),
            demand: watch::Sender::default().subscribe(),
            in_flight: Arc::new(|_| 0),
            fleet: watch::Sender::default(),
            routes: watch::Sender::default(),
        };
        let engine = Engine::start(parts, stop.clone()).await.unwrap();
        Self {
            engine,
            upstreams,
            _stop: stop.drop_guard(),
        }
    }

    async fn pass(&self) -> Agreed {
        self.0.agree_once().await.unwrap()
    }

    /// Passes until nothing is left to do now.
    async fn rest(&self) -> Agreed {
        for _ in 0..=FEW {
            let agreed = self.pass().await;
            if agreed.pass == Pass::Rest {
                return agreed;
            }
        }
        panic!("it does not come to rest");
    }

    /// A mutation by the API: names with their new descriptions, or nothing for a deletion.
    async fn edit(&self, changes: &[(&str, Option<&str>)]) {
        let view = self.store().view();
        let change = |(name, after): &(&str, Option<&str>)| EditChange {
            id: id(name),
            seen: view.rows.get(&id(name)).map(|row| row.revision),
            after: after.map(|after| document(name, after)),
        };
        let edit = Edit {
            at: crate::kit::time::now(),
            actor: actor("bob", "api"),
            message: "an edit".to_owned(),
            changes: changes.iter().map(change).collect(),
            checked_at: None,
        };
        self.store().edit(edit).await.unwrap();
    }

    /// A change of one resource by the API.
    async fn edit_spec(&self, name: &str, spec: &serde_json::Value) {
        let change = EditChange {
            id: id(name),
            seen: self.store().view().rows.get(&id(name)).map(|row| row.revision),
            after: Some(Arc::new(Document::new(id(name), spec).unwrap())),
        };
        let edit = Edit {
            at: crate::kit::time::now(),
            actor: actor("bob", "api"),
            message: "an edit".to_owned(),
            changes: vec![change],
            checked_at: None,
        };
        self.store().edit(edit).await.unwrap();
    }

    /// `a=one b=two`: what is declared in the store.
    fn declared(&self) -> String {
        declared(&self.store().view())
    }

    async fn snapshot(&self) -> Snapshot {
        self.0.parts.source.snapshot().await.unwrap()
    }
}

/// Opens a store as soon as the engine before has let go of it.
async fn open(path: &Path) -> Store {
    for _ in 0..6000 {
        match Store::open(path).await {
            Ok(store) => return store,
            Err(crate::store::StoreError::InUse { .. }) => tokio::time::sleep(Duration::from_millis(10)).await,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the store stays open");
}

async fn processes(data: &Path, guard: &[&str]) -> ProcessRuntime {
    let options = ProcessOptions {
        guard: guard.iter().map(OsString::from).collect(),
        cluster: format!("tests-{}", data.display()),
        directory: data.to_owned(),
        logs: Logs::new(data.join("logs"), Arc::new(|line| line.into())),
        environment: vec![
            ("PATH".into(), std::env::var_os("PATH").unwrap()),
            ("HOME".into(), "/nowhere".into()),
        ],
    };
    ProcessRuntime::open(options).await.unwrap()
}

fn id(name: &str) -> Id {
    let whole = if name.contains('/') {
        name.to_owned()
    } else {
        format!("server/{name}")
    };
    whole.parse().unwrap()
}

fn document(name: &str, description: &str) -> Arc<Document> {
    let spec = json!({"command": ["x"], "replicas": 0, "description": description});
    Arc::new(Document::new(id(name), &spec).unwrap())
}

/// A server's file; no instance of it is started.
fn text(name: &str, description: &str) -> String {
    format!("kind: server\nname: {name}\ncommand: [x]\nreplicas: 0\ndescription: {description}\n")
}

fn actor(name: &str, door: &str) -> Actor {
    Actor {
        name: name.to_owned(),
        door: door.to_owned(),
    }
}

fn declared(view: &StoreView) -> String {
    let shown = view.rows.iter().filter_map(|(id, row)| {
        let description = row.document.as_ref()?.spec["description"].as_str().unwrap_or_default();
        Some(format!("{}={description}", id.name))
    });
    shown.collect::<Vec<_>>().join(" ")
}

/// What still waits for the repository, a mutation each.
fn waiting(view: &StoreView) -> Vec<Vec<String>> {
    let names = |row: &crate::record::PendingExport| row.changes.iter().map(|c| c.id.name.to_string()).collect();
    view.outbox.iter().map(names).collect()
}

/// Pitfall "races that start the same server twice", turned round: what is refused is a second life of the same
/// declaration, and not another declaration that happens to be the same command line (its start would be refused for
/// ever, as AlreadyRuns).
#[tokio::test(flavor = "multi_thread")]
async fn two_declarations_of_one_command_line_are_two_specs() {
    let data = tempfile::tempdir().unwrap();
    // A guard that lives as long as its stdin is open.
    let runtime = processes(data.path(), &["/bin/sh", "-c", "exec cat"]).await;
    let order = |spec: &str, server: serde_json::Value| StartOrder {
        instance: crate::record::InstanceName {
            server: "a".parse().unwrap(),
            index: 0,
        },
        spec: spec.to_owned(),
        server: Arc::new(
            serde_json::from_value::<crate::resource::Server>(server)
                .unwrap()
                .into(),
        ),
    };
    let plain = json!({"command": ["cat"]});
    // HOME is inherited with this very value: the same program, arguments and environment.
    let said = json!({"command": ["cat"], "env": [{"name": "HOME", "value": "/nowhere"}]});
    let first = runtime.start(order("1.a", plain.clone())).await.unwrap();
    let second = runtime.start(order("2.b", said)).await.unwrap();
    assert_ne!(first, second);
    let twin = runtime.start(order("3.a", plain)).await.unwrap_err();
    assert_eq!(twin.to_string(), format!("a/0 runs already as {first}"));
    assert!(twin.is_refusal());
    runtime.close().await;
}
