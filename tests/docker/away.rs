//! An engine that goes away and comes back: a proxy in front of the real one, which the test closes and opens.

use std::path::PathBuf;
use std::time::Duration;

use mcpctl::record::LiveState;
use mcpctl::runtime::RuntimeError;
use serde_json::json;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

use crate::bench::{Bench, fixture, order, socket, until};

/// Stands in front of the engine until it is dropped.
struct Proxy(tokio::task::JoinHandle<()>, PathBuf);

impl Proxy {
    fn open(path: PathBuf) -> Self {
        let listener = UnixListener::bind(&path).unwrap();
        let engine = socket().trim_start_matches("unix://").to_owned();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let engine = engine.clone();
                connections.spawn(async move {
                    let mut engine = UnixStream::connect(engine).await.unwrap();
                    drop(tokio::io::copy_bidirectional(&mut client, &mut engine).await);
                });
            }
        });
        Self(task, path)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.0.abort();
        drop(std::fs::remove_file(&self.1));
    }
}

/// Pitfall: Docker itself restarting. Who holds the pipes goes on with them; nothing counts as a failure.
#[tokio::test(flavor = "multi_thread")]
async fn docker_an_engine_that_comes_back_finds_everything_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("docker.sock");
    let address = format!("unix://{}", path.display());
    let Some(bench) = Bench::at(address.clone(), |_| {}).await else {
        return;
    };
    let away = bench.runtime.observe().await.unwrap_err();
    assert_eq!(away.to_string(), format!("engine does not answer at {address}"));
    let mut changed = bench.runtime.changed();
    changed.mark_unchanged();
    let proxy = Proxy::open(path.clone());
    tokio::time::timeout(Duration::from_mins(1), changed.changed())
        .await
        .expect("it is noticed")
        .unwrap();
    let (life, mut talk) = bench.greet("time/0", fixture()).await;
    let word = talk.call("starts", json!({})).await;

    drop(proxy);
    until("it is away", || async { bench.runtime.observe().await.is_err() }).await;
    let refused = bench.runtime.start(order("other/0", fixture())).await.unwrap_err();
    assert!(
        matches!(refused, RuntimeError::EngineAway { .. }) && refused.is_refusal(),
        "{refused}"
    );
    assert!(matches!(
        bench.runtime.stop(&life, Duration::ZERO).await,
        Err(RuntimeError::EngineAway { .. })
    ));
    let _proxy = Proxy::open(path);
    until("it is back", || async { bench.runtime.observe().await.is_ok() }).await;
    let live = bench.live().await;
    assert_eq!(
        (live.len(), &live[0].life, &live[0].state),
        (1, &life, &LiveState::Running)
    );
    assert_eq!(talk.call("starts", json!({})).await, word, "over the same pipes");
    bench.runtime.stop(&life, Duration::from_secs(10)).await.unwrap();
}

/// Events: what happens to a container is noticed at once, not only at the next look.
#[tokio::test(flavor = "multi_thread")]
async fn docker_what_happens_is_noticed() {
    let Some(bench) = Bench::new().await else { return };
    let (life, _talk) = bench.greet("time/0", fixture()).await;
    for what in ["pause", "unpause", "kill", "remove"] {
        let mut changed = bench.runtime.changed();
        changed.mark_unchanged();
        match what {
            "pause" => bench.docker.pause_container(&life.0).await.unwrap(),
            "unpause" => bench.docker.unpause_container(&life.0).await.unwrap(),
            "kill" => bench.docker.kill_container(&life.0, None).await.unwrap(),
            _ => bench.remove(&life).await,
        }
        tokio::time::timeout(Duration::from_mins(1), changed.changed())
            .await
            .expect(what)
            .unwrap();
    }
}
