//! What a container may do and use, as seen from inside.

use std::time::Duration;

use mcpctl::runtime::RuntimeError;
use serde_json::{Value, json};

use crate::bench::{Bench, Talk, fixture, fixture_with};

async fn json_of(talk: &mut Talk, tool: &str) -> Value {
    serde_json::from_str(&talk.call(tool, json!({})).await).unwrap()
}

/// Pitfall: a default CPU quota on hosts without CFS.
#[tokio::test(flavor = "multi_thread")]
async fn docker_nothing_more_than_is_needed_and_no_limit_that_nobody_asked_for() {
    let Some(bench) = Bench::new().await else { return };
    let (life, mut talk) = bench.greet("plain/0", fixture()).await;
    let who = json_of(&mut talk, "whoami").await;
    let none = "0000000000000000";
    assert_eq!(
        who["capabilities"],
        json!({"effective": none, "permitted": none, "bounding": none})
    );
    assert_eq!(who["noNewPrivileges"], true);
    let host = bench.inspect(&life).await.host_config.unwrap();
    assert_eq!(
        (host.memory, host.nano_cpus, host.cpu_quota),
        (Some(0), Some(0), Some(0)),
        "no limit"
    );
    assert_eq!(
        (host.pids_limit, host.init, host.privileged),
        (Some(512), Some(true), Some(false))
    );
    assert_eq!(
        host.log_config.unwrap().typ.as_deref(),
        Some("none"),
        "the protocol is kept by nobody"
    );
    assert_eq!(json_of(&mut talk, "cgroup").await["pids"], "512");
    assert_eq!(
        talk.call("write_file", json!({"path": "/tmp/x", "text": "y"})).await,
        "written"
    );

    let server = fixture_with(json!({
        "resources": {"cpus": 0.5, "memory": "64m", "pids": 0},
        "security": {"readOnlyRoot": true, "addCapabilities": ["NET_BIND_SERVICE"], "allowNewPrivileges": true, "user": "1234:5678"},
        "network": "none",
    }));
    let (life, mut talk) = bench.greet("asked/0", server).await;
    let who = json_of(&mut talk, "whoami").await;
    assert_eq!(
        (&who["uid"], &who["gid"], &who["noNewPrivileges"]),
        (&json!(1234), &json!(5678), &json!(false))
    );
    assert_eq!(who["capabilities"]["bounding"], "0000000000000400");
    let limits = json_of(&mut talk, "cgroup").await;
    assert_eq!(limits["memory"], "67108864");
    assert_ne!(limits["pids"], "512");
    assert_eq!(
        bench.inspect(&life).await.host_config.unwrap().nano_cpus,
        Some(500_000_000)
    );
    assert_eq!(
        talk.call("write_file", json!({"path": "/tmp/x", "text": "y"})).await,
        "written"
    );
    let refused = talk.call("write_file", json!({"path": "/x", "text": "y"})).await;
    assert!(refused.contains("Read-only"), "{refused}");
    let routes = talk.call("read_file", json!({"path": "/proc/net/dev"})).await;
    assert!(!routes.contains("eth0"), "{routes}");
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_volumes_outlive_containers_and_the_host_is_closed_but_for_its_roots() {
    let roots = tempfile::tempdir().unwrap();
    let root = roots.path().canonicalize().unwrap();
    std::fs::write(root.join("note"), "from the host").unwrap();
    let allowed = root.clone();
    let Some(bench) = Bench::at(crate::bench::socket(), |settings| settings.volume_roots = vec![allowed]).await else {
        return;
    };
    let server = fixture_with(json!({"volumes": [
        {"name": "data", "mountPath": "/data"},
        {"hostPath": root.to_str().unwrap(), "mountPath": "/host", "readOnly": true},
    ]}));
    let (life, mut talk) = bench.greet("notes/0", server.clone()).await;
    assert_eq!(
        talk.call("read_file", json!({"path": "/host/note"})).await,
        "from the host"
    );
    assert!(
        talk.call("write_file", json!({"path": "/host/note", "text": "x"}))
            .await
            .contains("Read-only")
    );
    talk.call("write_file", json!({"path": "/data/kept", "text": "still here"}))
        .await;
    bench.runtime.stop(&life, Duration::from_secs(10)).await.unwrap();
    let (_, mut talk) = bench.greet("notes/0", server).await;
    assert_eq!(
        talk.call("read_file", json!({"path": "/data/kept"})).await,
        "still here"
    );
    let volume = bench
        .docker
        .inspect_volume(&format!("mcpctl-{}-data", bench.cluster))
        .await
        .unwrap();
    assert_eq!(volume.labels["mcpctl.io/cluster"], bench.cluster);
    let outside = fixture_with(json!({"volumes": [{"hostPath": "/etc", "mountPath": "/host"}]}));
    let refused = bench.start("outside/0", outside).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!("hostPath /etc is not below {}", root.display())
    );
    assert!(
        matches!(refused, RuntimeError::Volume(_)) && !refused.is_refusal(),
        "it is an ERROR"
    );
    drop(talk);
}
