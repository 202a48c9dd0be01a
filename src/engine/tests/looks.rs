//! What a caller of `sync` may rely on.

use super::*;

/// How often it is tried: each time a hint of another kind wakes the loop just before.
const ROUNDS: usize = 60;

/// Pitfall "a preview against cached state": whatever woke the loop, who asks for a look gets one that began afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn sync_always_looks() {
    let place = tempfile::tempdir().unwrap();
    let (folder, data) = (place.path().join("folder"), place.path().join("data"));
    std::fs::create_dir(&folder).unwrap();
    let bench = Bench::folder(&folder, &data, true).await;
    for round in 0..ROUNDS {
        let said = format!("round-{round}");
        // The gateway's news call for a look at what runs only.
        bench.upstreams.send_modify(|_| {});
        tokio::task::yield_now().await;
        std::fs::write(folder.join("a.yaml"), text("a", &said)).unwrap();
        let report = bench.sync(Words::default()).await.unwrap();
        assert_eq!(
            report.tree.documents[&id("a")].document,
            document("a", &said),
            "round {round}"
        );
        assert_eq!(bench.declared(), format!("a={said}"), "round {round}");
    }
}
