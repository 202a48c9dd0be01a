//! Exports into the hosted repository, and what reading it costs.

use std::sync::Arc;

use super::{World, declared, export, git, git_output, id, ids, server, text, until};
use crate::repo::{BRANCH, Landing, Relation, RepoError, Snapshot, Source};

async fn seen(world: &World) -> (Source, Snapshot) {
    let source = Source::Hosted(world.hosted.clone());
    let snapshot = source.snapshot().await.unwrap();
    (source, snapshot)
}

/// Row "built-ins exported before the first push": the first export makes the branch, and makes nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_export_makes_the_branch() {
    let world = World::new().await;
    let (source, empty) = seen(&world).await;
    let export = export(7, &[("server/a", Some(server("a", "one"))), ("server/gone", None)]);
    let prepared = source.prepare(&empty, &export, &ids(&export)).await.unwrap();
    assert!(prepared.changes && !prepared.attempt.is_empty());
    assert_eq!(world.head().await, None);
    assert!(source.landed(&prepared.attempt).await.unwrap() == Some(false));
    let digest = server("a", "one").digest();
    let written = [
        (id("server/a"), Some((digest, "servers/a.yaml".to_owned()))),
        (id("server/gone"), None),
    ];
    assert_eq!(prepared.written, written);

    assert_eq!(source.land(&prepared).await.unwrap(), Landing::Landed);
    assert_eq!(world.head().await, Some(prepared.commit.clone()));
    assert!(source.landed(&prepared.attempt).await.unwrap() == Some(true));
    let after = source.snapshot().await.unwrap();
    assert_eq!(declared(&after), ["server/a=one"]);
    assert_eq!(after.head, Some(prepared.commit.clone()));
    // Landing again, as after a crash, changes nothing.
    assert_eq!(source.land(&prepared).await.unwrap(), Landing::Landed);

    let shown = git(
        world.hosted.path(),
        &["log", "-1", "--format=%an|%ae|%cn|%ce|%B", BRANCH],
    )
    .await;
    assert_eq!(
        shown,
        "Bob b|Bobb@mcpctl.local|mcpd|mcpd@mcpctl.local|update server/a: description a → b\n\n\
         Mcpctl-Revision: 7\nMcpctl-User: Bob <b>\nMcpctl-Writer: writer-1"
    );
    git(world.hosted.path(), &["fsck", "--strict"]).await;
}

/// Row "a UI edit written to the wrong file".
#[tokio::test(flavor = "multi_thread")]
async fn edits_go_where_the_resource_stands() {
    let world = World::new().await;
    let two = format!("{}---\n{}", text("a", "one"), text("b", "two"));
    world.commit("odd/place.yml", &two).await;
    world.commit("servers/c.yaml", &text("d", "squatter")).await;
    world.commit("alone/e.yaml", &text("e", "five")).await;
    assert!(world.push(&["origin", "main"]).await.0);
    let (source, snapshot) = seen(&world).await;
    let export = export(
        9,
        &[
            ("server/a", Some(server("a", "changed"))),
            ("server/c", Some(server("c", "three"))),
            ("server/e", None),
        ],
    );
    let prepared = source.prepare(&snapshot, &export, &ids(&export)).await.unwrap();
    assert_eq!(source.land(&prepared).await.unwrap(), Landing::Landed);
    assert_eq!(
        declared(&source.snapshot().await.unwrap()),
        [
            "server/a=changed",
            "server/b=two",
            "server/c=three",
            "server/d=squatter"
        ]
    );
    let files = git(world.hosted.path(), &["ls-tree", "-r", "--name-only", BRANCH]).await;
    assert_eq!(files, "odd/place.yml\nservers/c.yaml");
    let show = async |path: &str| git(world.hosted.path(), &["show", &format!("{BRANCH}:{path}")]).await;
    assert_eq!(
        show("odd/place.yml").await,
        two.replace("description: one", "description: changed").trim()
    );
    assert!(show("servers/c.yaml").await.starts_with(text("d", "squatter").trim()));

    // Only what is asked for is written, and what stands there already makes no commit.
    let again = super::export(10, &[("server/a", Some(server("a", "changed"))), ("server/b", None)]);
    let (source, snapshot) = seen(&world).await;
    let prepared = source.prepare(&snapshot, &again, &[id("server/a")]).await.unwrap();
    assert!(!prepared.changes);
    assert_eq!(Some(&prepared.commit), snapshot.head.as_ref());
    assert_eq!(source.land(&prepared).await.unwrap(), Landing::Landed);
    assert_eq!(world.head().await, snapshot.head);
}

/// Row "an export that lands between pre-receive and the ref's move": whoever comes second moves nothing.
#[tokio::test(flavor = "multi_thread")]
async fn the_branch_moves_by_compare_and_set() {
    let world = World::new().await;
    let (source, empty) = seen(&world).await;
    let export = export(1, &[("server/a", Some(server("a", "one")))]);
    let early = source.prepare(&empty, &export, &ids(&export)).await.unwrap();
    let commit = world.commit("b.yaml", &text("b", "pushed")).await;
    assert!(world.push(&["origin", "main"]).await.0);
    assert_eq!(source.land(&early).await.unwrap(), Landing::Moved);

    let (_, snapshot) = seen(&world).await;
    let late = source.prepare(&snapshot, &export, &ids(&export)).await.unwrap();
    // A push is judged on the old head; then the export lands, and git itself refuses the push.
    world.judge.hold.send_replace(true);
    world.commit("b.yaml", &text("b", "pushed again")).await;
    let clone = world.clone();
    let push = tokio::spawn(async move { git_output(&clone, &["push", "origin", "main"]).await });
    until("the push waits", async || world.judge.judged.lock().unwrap().len() == 2).await;
    assert_eq!(source.land(&late).await.unwrap(), Landing::Landed);
    world.judge.hold.send_replace(false);
    assert!(!push.await.unwrap().status.success());
    assert_eq!(world.head().await, Some(late.commit.clone()));

    // What the pusher is told of it.
    let relation = world.hosted.relation(&late.commit, &commit, None).await.unwrap();
    let rewound = Relation::Diverged {
        base: commit.clone(),
        lost: 1,
        by_mcpctl: 1,
    };
    assert_eq!(relation, rewound);
    assert!(source.landed(&commit).await.unwrap() == Some(true));
    assert!(source.landed(&early.attempt).await.unwrap() == Some(false));
    for nonsense in ["", "nonsense", &"0".repeat(40), &"é".repeat(20)] {
        assert!(source.landed(nonsense).await.unwrap() == Some(false), "{nonsense}");
    }
    // The branch that went is a move as well.
    let third = source.snapshot().await.unwrap();
    let export = super::export(3, &[("server/z", Some(server("z", "z")))]);
    let prepared = source.prepare(&third, &export, &ids(&export)).await.unwrap();
    git(world.hosted.path(), &["update-ref", "-d", BRANCH]).await;
    assert_eq!(source.land(&prepared).await.unwrap(), Landing::Moved);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_the_way_holds_one_resource() {
    let world = World::new().await;
    world.commit("servers", "a file where a folder should be\n").await;
    world.commit("projects/p.yaml", "kind: [\n").await;
    world
        .commit("twice.yaml", &format!("{0}---\n{0}", text("t", "t")))
        .await;
    assert!(world.push(&["origin", "main"]).await.0);
    let (source, snapshot) = seen(&world).await;
    let project = crate::resource::Document::new(id("project/p"), &serde_json::json!({})).unwrap();
    for (name, document) in [
        ("server/a", server("a", "one")),
        ("project/p", Arc::new(project)),
        ("server/t", server("t", "u")),
    ] {
        let export = export(1, &[(name, Some(document))]);
        let error = source.prepare(&snapshot, &export, &ids(&export)).await.unwrap_err();
        assert_eq!(error.resource(), Some(&id(name)), "{error}");
        assert!(
            matches!(error, RepoError::InTheWay { .. } | RepoError::Edit { .. }),
            "{error}"
        );
    }
}

/// Cost follows the change: the same head costs nothing, a new one parses the files that changed.
#[tokio::test(flavor = "multi_thread")]
async fn unchanged_files_are_not_parsed_again() {
    let world = World::new().await;
    for name in ["a", "b", "c"] {
        world.commit(&format!("{name}.yaml"), &text(name, "one")).await;
    }
    assert!(world.push(&["origin", "main"]).await.0);
    let (source, first) = seen(&world).await;
    assert!(Arc::ptr_eq(&first.tree, &source.snapshot().await.unwrap().tree));
    // What was read to judge a push is not read again once it is the head.
    let judged = world.judge.seen.lock().unwrap().pop().unwrap().unwrap();
    assert!(Arc::ptr_eq(&first.tree, &judged.tree));

    std::fs::remove_file(world.clone().join("c.yaml")).unwrap();
    world.commit("b.yaml", &text("b", "two")).await;
    assert!(world.push(&["origin", "main"]).await.0);
    let second = source.snapshot().await.unwrap();
    let document = |snapshot: &Snapshot, name: &str| Arc::clone(&snapshot.tree.documents[&id(name)].document);
    assert!(Arc::ptr_eq(
        &document(&first, "server/a"),
        &document(&second, "server/a")
    ));
    assert_eq!(declared(&second), ["server/a=one", "server/b=two"]);
    assert!(world.hosted.0.bare.0.parsed_files() <= 2 + 3);
}
