//! What a push brings, commit by commit, and what the log tells.

use std::sync::{Arc, Mutex};

use super::{World, export, git, ids, server};
use crate::repo::{NewFile, Source};

async fn brought(world: &World, new: &str) -> Vec<NewFile> {
    // Into the repository, but under no name: as objects of a push that is being judged.
    let clone = world.clone();
    git(world.hosted.path(), &["fetch", "-q", clone.to_str().unwrap(), "main"]).await;
    let found = Arc::new(Mutex::new(vec![]));
    let into = Arc::clone(&found);
    let each = move |file| into.lock().unwrap().push(file);
    world.hosted.new_files(new, None, each).await.unwrap();
    let found = found.lock().unwrap();
    found.clone()
}

/// A credential that one commit brings and the next takes away is in the history all the same.
#[tokio::test(flavor = "multi_thread")]
async fn every_commit_of_a_push_is_looked_into() {
    let world = World::new().await;
    world.commit("a.yaml", "# one\n").await;
    world.commit("deep/er/b.txt", "token\n").await;
    std::fs::remove_file(world.clone().join("deep/er/b.txt")).unwrap();
    let new = world.commit("a.yaml", "# two\n").await;
    let shown = |files: &[NewFile]| -> Vec<String> {
        let text = |file: &NewFile| String::from_utf8(file.bytes.clone().unwrap()).unwrap();
        files
            .iter()
            .map(|file| format!("{} {}", file.path, text(file).trim()))
            .collect()
    };
    let found = brought(&world, &new).await;
    assert_eq!(shown(&found), ["a.yaml # one", "deep/er/b.txt token", "a.yaml # two"]);
    assert_eq!(found[2].commit, new);

    // What is here already is not looked into again.
    assert!(world.push(&["-q", "origin", "main"]).await.0);
    let large = "x".repeat(17 << 20);
    let next = world.commit("large.bin", &large).await;
    let found = brought(&world, &next).await;
    let seen: Vec<_> = found
        .iter()
        .map(|file| (file.path.as_str(), file.bytes.is_some()))
        .collect();
    assert_eq!(seen, [("large.bin", false)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_tells_people_from_mcpd() {
    let world = World::new().await;
    assert_eq!(world.hosted.log(10).await.unwrap(), []);
    world.commit("a.txt", "by hand").await;
    world.push(&["-q", "origin", "main"]).await;
    let source = Source::Hosted(world.hosted.clone());
    let export = export(1, &[("server/a", Some(server("a", "one")))]);
    let snapshot = source.snapshot().await.unwrap();
    let prepared = source.prepare(&snapshot, &export, &ids(&export)).await.unwrap();
    source.land(&prepared).await.unwrap();
    let log = world.hosted.log(10).await.unwrap();
    let shown: Vec<_> = log.iter().map(|it| (it.subject.as_str(), it.manual)).collect();
    assert_eq!(
        shown,
        [("update server/a: description a → b", false), ("write a.txt", true)]
    );
    assert_eq!(world.hosted.log(1).await.unwrap().len(), 1);
}

/// Who secrets are for stands in a hidden folder, which is otherwise passed over.
#[tokio::test(flavor = "multi_thread")]
async fn recipients_are_read() {
    let world = World::new().await;
    world.commit(".mcpctl/recipients", "age1x\n").await;
    world.push(&["-q", "origin", "main"]).await;
    let source = Source::Hosted(world.hosted.clone());
    assert_eq!(source.snapshot().await.unwrap().recipients.as_deref(), Some("age1x\n"));
}
