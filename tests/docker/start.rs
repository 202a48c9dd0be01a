//! Starts: never two of the same, and clear words where one fails.

use std::sync::Arc;
use std::time::Duration;

use mcpctl::runtime::RuntimeError;
use serde_json::json;

use crate::bench::{BARE, Bench, Talk, fixture, fixture_with, order, until};

/// Pitfall: races that start the same server twice.
#[tokio::test(flavor = "multi_thread")]
async fn docker_however_many_ask_one_life_is_started() {
    let Some(bench) = Bench::new().await else { return };
    let starts = (0..8).map(|_| bench.start("time/0", fixture()));
    let mut lives = vec![];
    for started in futures_util::future::join_all(starts).await {
        match started {
            Ok(life) => lives.push(life),
            Err(error) => assert!(
                matches!(error, RuntimeError::AlreadyRuns { .. }) && error.is_refusal(),
                "{error}"
            ),
        }
    }
    assert_eq!((lives.len(), bench.containers().await.len()), (1, 1));
    // So does an mcpd that was started anew and knows nothing.
    let again = bench.again().start(order("time/0", fixture())).await.unwrap_err();
    assert!(matches!(again, RuntimeError::AlreadyRuns { life, .. } if life == lives[0]));
    let second = fixture_with(json!({"env": [{"name": "A", "value": "1"}]}));
    bench.start("time/0", second).await.unwrap();
    let third = fixture_with(json!({"env": [{"name": "A", "value": "2"}]}));
    let third = bench.start("time/0", third).await.unwrap_err();
    assert!(matches!(third, RuntimeError::TooManyLives(_)), "{third}");
    assert_eq!(bench.containers().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_a_start_goes_on_when_nobody_waits_for_it() {
    let Some(bench) = Bench::new().await else { return };
    let bench = Arc::new(bench);
    let starting = bench.runtime.start(order("time/0", fixture()));
    drop(tokio::time::timeout(Duration::from_millis(1), starting).await);
    until("it lives", || async { bench.live().await.len() == 1 }).await;
    let life = bench.live().await[0].life.clone();
    let mut talk = Talk::with(&bench.runtime, "time/0", &life).await;
    assert_eq!(talk.call("echo", json!({"message": "x"})).await, "x");
}

/// Pitfalls: an image without a command that can't be exec'd; a package name used as an image reference.
#[tokio::test(flavor = "multi_thread")]
async fn docker_what_cant_be_started_says_why() {
    let Some(bench) = Bench::new().await else { return };
    for (server, want) in [
        (
            json!({"dockerImage": BARE}),
            format!("image {BARE} names no program to start (give command)"),
        ),
        (
            json!({"dockerImage": "mcpctl/not-there:1", "imagePullPolicy": "Never"}),
            "image mcpctl/not-there:1 is not there, and imagePullPolicy is Never (pull or build it on the engine's machine)"
                .to_owned(),
        ),
    ] {
        let error = bench.start("time/0", server).await.unwrap_err();
        assert_eq!(error.to_string(), want);
        assert!(!error.is_refusal());
        assert!(bench.containers().await.is_empty(), "nothing is left behind");
    }
    // The engine's init finds out by itself, and its words are told.
    for (server, program) in [
        (json!({"dockerImage": BARE, "command": ["/nothing"]}), "/nothing"),
        (json!({"packageName": "@scope/name@1"}), "npx"),
    ] {
        let life = bench.start("time/0", server).await.unwrap();
        let want =
            format!("exited with code 127: the image has no program {program} (command names one that is in it)");
        assert_eq!(bench.ending(&life).await.to_string(), want);
        bench.runtime.stop(&life, Duration::ZERO).await.unwrap();
    }
    // No registry is there.
    let error = bench
        .start("time/0", json!({"dockerImage": "127.0.0.1:1/nothing:1"}))
        .await
        .unwrap_err();
    let told = error.to_string();
    assert!(
        told.starts_with("image 127.0.0.1:1/nothing:1 is not there and can't be pulled: "),
        "{told}"
    );
    assert!(
        told.ends_with("(check its name, and that the engine reaches the registry)"),
        "{told}"
    );
    // With a command the bare image runs.
    let (_, mut talk) = bench
        .greet("time/0", json!({"dockerImage": BARE, "command": ["/fixture_server"]}))
        .await;
    assert_eq!(talk.call("echo", json!({"message": "x"})).await, "x");
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_a_closed_runtime_starts_nothing() {
    let Some(bench) = Bench::new().await else { return };
    bench.runtime.close().await;
    assert!(matches!(
        bench.start("time/0", fixture()).await,
        Err(RuntimeError::Closed)
    ));
    assert!(bench.containers().await.is_empty());
}

/// The runner image is built where it is missing, once for all who ask, without a context and from what is there.
#[tokio::test(flavor = "multi_thread")]
async fn docker_the_runner_image_is_built_where_it_is_missing() {
    let Some(bench) = Bench::at(crate::bench::socket(), |settings| settings.node_runner_image = None).await else {
        return;
    };
    let base = "node:24-slim";
    if bench.docker.inspect_image(base).await.is_err() {
        assert!(std::env::var_os("CI").is_none(), "no image {base}");
        println!("skipped: no image {base} (tests/support/images.sh base makes it)");
        return;
    }
    let built = format!("mcpctl/node-runner:{}", env!("CARGO_PKG_VERSION"));
    let was_there = bench.docker.inspect_image(&built).await.is_ok();
    let server = json!({"command": ["node", "--version"]});
    let (one, two) = tokio::join!(
        bench.start("one/0", server.clone()),
        bench.start("two/0", server.clone())
    );
    for life in [one.unwrap(), two.unwrap()] {
        assert_eq!(bench.ending(&life).await.to_string(), "exited with code 0");
        bench.runtime.stop(&life, Duration::ZERO).await.unwrap();
    }
    bench.docker.inspect_image(&built).await.expect("it is there now");
    if !was_there {
        bench
            .docker
            .remove_image(&built, None::<bollard::query_parameters::RemoveImageOptions>, None)
            .await
            .unwrap();
    }
}
