//! How lives are found, adopted, and how they end.

use std::time::Duration;

use mcpctl::kit::Link;
use mcpctl::reconcile::converge::matches;
use mcpctl::record::{Life, LiveState};
use serde_json::{Value, json};

use crate::bench::{Bench, FIXTURE, Talk, desired, fixture, until};

const GRACE: Duration = Duration::from_secs(10);

/// P3. Pitfalls: `StdinOnce` ends the server when the daemon detaches; a daemon restart that forgets what it knew.
#[tokio::test(flavor = "multi_thread")]
async fn docker_a_restart_of_mcpd_stops_no_container_and_finds_it_again() {
    let Some(mut bench) = Bench::new().await else { return };
    let (life, mut talk) = bench.greet("time/0", fixture()).await;
    let word = talk.call("starts", json!({})).await;
    bench.runtime.close().await;
    assert!(talk.ends().await, "the stream ended");
    drop(talk);
    bench.runtime = bench.again();
    let live = bench.live().await;
    assert_eq!(live.len(), 1);
    assert_eq!((&live[0].life, &live[0].state), (&life, &LiveState::Running));
    assert!(matches(&live[0].spec, &desired("time/0", fixture())));
    assert!(!matches(
        &live[0].spec,
        &desired("time/0", json!({"dockerImage": "other"}))
    ));
    let mut talk = Talk::with(&bench.runtime, "time/0", &life).await;
    assert_eq!(
        talk.call("starts", json!({})).await,
        word,
        "the same process, its stdin still open"
    );
    bench.runtime.stop(&life, GRACE).await.unwrap();
    assert!(bench.live().await.is_empty() && bench.containers().await.is_empty());
    bench
        .runtime
        .stop(&life, GRACE)
        .await
        .expect("what is gone is no error");
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_endings_are_told() {
    let Some(bench) = Bench::new().await else { return };
    // By itself, with its last words.
    let (life, mut talk) = bench.greet("exits/0", fixture()).await;
    talk.call("exit", json!({"code": 3, "text": "the disk is full"})).await;
    assert_eq!(
        bench.ending(&life).await.to_string(),
        "exited with code 3: the disk is full"
    );
    assert!(talk.ends().await);
    // Killed by somebody.
    let (life, _talk) = bench.greet("killed/0", fixture()).await;
    bench.docker.kill_container(&life.0, None).await.unwrap();
    let ending = bench.ending(&life).await;
    assert_eq!((ending.signal, ending.out_of_memory), (Some(9), false), "{ending}");
    // For want of memory.
    let server = json!({"dockerImage": FIXTURE, "resources": {"memory": "32m"}});
    let (life, mut talk) = bench.greet("hungry/0", server).await;
    let eaten = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "eat_memory", "arguments": {"megabytes": 200}}});
    talk.say(eaten).await;
    let ending = bench.ending(&life).await;
    assert!(ending.to_string().starts_with("ended for want of memory"), "{ending}");
    // Removed by somebody: gone, and its stream ends.
    let (life, mut talk) = bench.greet("removed/0", fixture()).await;
    bench.remove(&life).await;
    assert!(talk.ends().await);
    assert!(bench.live().await.iter().all(|live| live.life != life));
    for live in bench.live().await {
        bench.runtime.stop(&live.life, GRACE).await.unwrap();
    }
    assert!(bench.containers().await.is_empty(), "remains are cleared");
}

/// A paused container runs; it is let go on when somebody attaches to it, and can be stopped.
#[tokio::test(flavor = "multi_thread")]
async fn docker_a_paused_container_runs_and_is_let_go_on_by_a_new_attach() {
    let Some(bench) = Bench::new().await else { return };
    let (life, talk) = bench.greet("time/0", fixture()).await;
    bench.docker.pause_container(&life.0).await.unwrap();
    assert_eq!(bench.live().await[0].state, LiveState::Running);
    drop(talk);
    let mut talk = Talk::with(&bench.runtime, "time/0", &life).await;
    assert_eq!(talk.call("echo", json!({"message": "on"})).await, "on");
    bench.docker.pause_container(&life.0).await.unwrap();
    bench.runtime.stop(&life, Duration::from_secs(1)).await.unwrap();
    assert!(bench.containers().await.is_empty());
}

/// Pitfall: two daemons on one engine that touch each other's containers.
#[tokio::test(flavor = "multi_thread")]
async fn docker_two_clusters_never_see_each_other() {
    let (Some(one), Some(two)) = (Bench::new().await, Bench::new().await) else {
        return;
    };
    let (life, _) = one.greet("time/0", fixture()).await;
    assert!(two.live().await.is_empty());
    let other = two.start("time/0", fixture()).await.unwrap();
    assert_ne!(life, other);
    assert!(two.runtime.attach(&"time/0".parse().unwrap(), &life).await.is_err());
    two.runtime.stop(&other, GRACE).await.unwrap();
    assert_eq!(one.live().await.len(), 1);
    for (cluster, instance) in [(&one.cluster, "nonsense"), (&two.cluster, "time/0")] {
        let labels = [
            ("mcpctl.io/cluster", cluster.as_str()),
            ("mcpctl.io/instance", instance),
        ];
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let body = bollard::models::ContainerCreateBody {
            image: Some(FIXTURE.to_owned()),
            labels: Some(labels.into()),
            ..Default::default()
        };
        one.docker.create_container(None, body).await.unwrap();
    }
    // Labels that make no sense: passed over and left alone.
    assert_eq!(one.live().await.len(), 1);
    assert!(two.live().await.is_empty());
    assert_eq!((one.containers().await.len(), two.containers().await.len()), (2, 1));
}

/// What a crash between making and starting leaves is shown as ended, matches no spec, and goes.
#[tokio::test(flavor = "multi_thread")]
async fn docker_what_was_made_and_never_started_is_cleared() {
    let Some(bench) = Bench::new().await else { return };
    let life = bench.start("time/0", fixture()).await.unwrap();
    let labels = bench.inspect(&life).await.config.unwrap().labels;
    bench.runtime.stop(&life, GRACE).await.unwrap();
    let body = bollard::models::ContainerCreateBody {
        image: Some(FIXTURE.to_owned()),
        labels,
        ..Default::default()
    };
    bench.docker.create_container(None, body).await.unwrap();
    let live = bench.live().await;
    let LiveState::Ended(ending) = &live[0].state else {
        panic!("{live:?}")
    };
    assert_eq!(ending.to_string(), "ended: was made and never started");
    assert!(
        !matches(&live[0].spec, &desired("time/0", fixture())),
        "so that it counts as no failure"
    );
    bench.runtime.stop(&live[0].life, GRACE).await.unwrap();
    assert!(bench.containers().await.is_empty());
}

/// Pitfalls: 142 containers for one call; zombies; containers of a deleted server left behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn docker_a_hundred_starts_and_stops_leave_nothing() {
    let Some(bench) = Bench::new().await else { return };
    let round = async |n: usize| {
        let lives: Vec<Life> = {
            let starts = (0..5).map(|i| bench.greet_owned(format!("time/{i}")));
            futures_util::future::join_all(starts).await
        };
        assert_eq!(bench.live().await.len(), 5, "round {n}");
        let stops = lives.iter().map(|life| bench.runtime.stop(life, GRACE));
        for stopped in futures_util::future::join_all(stops).await {
            stopped.unwrap();
        }
    };
    round(0).await;
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let (before, alive) = (descriptors(), tasks());
    for n in 1..20 {
        round(n).await;
    }
    assert!(bench.containers().await.is_empty());
    until("descriptors and tasks go", || async {
        descriptors() <= before && tasks() <= alive
    })
    .await;
}

impl Bench {
    async fn greet_owned(&self, instance: String) -> Life {
        let (life, mut talk) = self.greet(&instance, fixture()).await;
        assert_eq!(talk.call("echo", json!({"message": "x"})).await, "x");
        life
    }
}

/// An HTTP server is found again by its labels too.
#[tokio::test(flavor = "multi_thread")]
async fn docker_a_server_that_listens_is_published_on_loopback_alone() {
    let Some(mut bench) = Bench::new().await else { return };
    let server = json!({"dockerImage": FIXTURE, "command": ["/fixture_server", "--http", "8080"], "transport": "STREAMABLE_HTTP", "containerPort": 8080});
    let life = bench.start("web/0", server).await.unwrap();
    let url = async |bench: &Bench| match bench.runtime.attach(&"web/0".parse().unwrap(), &life).await.unwrap() {
        Link::Http { url, .. } => url,
        Link::Pipes(_) => panic!("pipes"),
    };
    let address = url(&bench).await;
    assert!(
        address.starts_with("http://127.0.0.1:") && address.ends_with("/mcp"),
        "{address}"
    );
    let container = bench.inspect(&life).await;
    let bindings = container
        .network_settings
        .unwrap()
        .ports
        .unwrap()
        .remove("8080/tcp")
        .unwrap()
        .unwrap();
    let hosts: Vec<_> = bindings.into_iter().filter_map(|binding| binding.host_ip).collect();
    assert_eq!(hosts, ["127.0.0.1"]);
    let log = container.host_config.unwrap().log_config.unwrap();
    assert_eq!(log.typ.as_deref(), Some("local"));
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let hello: Value = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}});
    let ask = async |url: &str| {
        let request = client
            .post(url)
            .header("Accept", "application/json, text/event-stream")
            .json(&hello);
        request
            .send()
            .await
            .is_ok_and(|response| response.status().is_success())
    };
    until("it answers", || ask(&address)).await;
    bench.runtime.close().await;
    bench.runtime = bench.again();
    assert!(ask(&url(&bench).await).await, "after a restart of mcpd");
    bench.runtime.stop(&life, GRACE).await.unwrap();
}
