//! What is said over a container's pipes, and what is kept of its stderr.

use std::io;

use mcpctl::kit::Redacted;
use mcpctl::runtime::LogQuery;
use serde_json::json;

use crate::bench::{Bench, Talk, fixture, until};

#[tokio::test(flavor = "multi_thread")]
async fn docker_long_lines_cross_whole_both_ways() {
    let Some(bench) = Bench::new().await else { return };
    let (_, mut talk) = bench.greet("time/0", fixture()).await;
    for size in [1, 32 * 1024, 5 << 20] {
        let message: String = ('a'..='z').cycle().take(size).collect();
        assert!(
            talk.call("echo", json!({"message": message})).await == message,
            "{size} bytes"
        );
    }
}

/// Pitfall: a server's question shown to the wrong caller on a shared connection: the pipes are had once at a time.
#[tokio::test(flavor = "multi_thread")]
async fn docker_pipes_are_had_once_at_a_time() {
    let Some(bench) = Bench::new().await else { return };
    let (life, talk) = bench.greet("time/0", fixture()).await;
    let instance = "time/0".parse().unwrap();
    let taken = bench.runtime.attach(&instance, &life).await.unwrap_err();
    assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
    let other = bench
        .runtime
        .attach(&"time/1".parse().unwrap(), &life)
        .await
        .unwrap_err();
    assert_eq!(other.kind(), io::ErrorKind::NotFound);
    drop(talk);
    let mut talk = Talk::with(&bench.runtime, "time/0", &life).await;
    assert_eq!(talk.call("echo", json!({"message": "again"})).await, "again");
    bench.remove(&life).await;
    let gone = bench.runtime.attach(&instance, &life).await.unwrap_err();
    assert_eq!(gone.kind(), io::ErrorKind::NotFound);
}

/// Pitfall: logs of a stdio server that are its protocol, with results and secrets in the clear on disk.
#[tokio::test(flavor = "multi_thread")]
async fn docker_stderr_is_kept_masked_and_the_protocol_is_not() {
    let Some(bench) = Bench::new().await else { return };
    bench.masks.add(&[Redacted::new("hunter2!".to_owned())]);
    let (life, mut talk) = bench.greet("time/0", fixture()).await;
    talk.call("echo", json!({"message": "a result"})).await;
    talk.call("stderr", json!({"text": "the password is hunter2!, says it"}))
        .await;
    talk.call("exit", json!({"code": 1, "text": "hunter2! again"})).await;
    assert_eq!(bench.ending(&life).await.to_string(), "exited with code 1: *** again");
    let read = async || {
        let lines = bench
            .runtime
            .logs()
            .read(&"time/0".parse().unwrap(), &LogQuery::default())
            .await;
        lines
            .unwrap()
            .into_iter()
            .map(|line| line.text)
            .collect::<Vec<_>>()
            .join("\n")
    };
    until("the end is marked", || async {
        read().await.contains("exited with code 1")
    })
    .await;
    let text = read().await;
    assert!(text.contains("the password is ***, says it"), "{text}");
    for file in std::fs::read_dir(bench.folder.path().join("logs")).unwrap() {
        let kept = std::fs::read_to_string(file.unwrap().path()).unwrap();
        assert!(!kept.contains("hunter2!") && !kept.contains("a result"), "{kept}");
    }
}
