//! Two sides that changed one resource, over a real repository and a real store: merged by field, told, and decided.

use super::push::{World, git};
use super::*;

fn spec(world: &World, name: &str) -> serde_json::Value {
    let view = world.bench.store().view();
    view.rows[&id(name)].document.as_ref().unwrap().spec.clone()
}

fn with(name: &str, more: &str) -> String {
    format!("kind: server\nname: {name}\ncommand: [x]\nreplicas: 0\n{more}")
}

/// The log of main as subjects and bodies, newest first, without the trailers.
fn log(world: &World, count: usize) -> Vec<String> {
    let text = git(
        &world.bare(),
        &["log", &format!("-{count}"), "--format=%an: %B%x00", "main"],
    );
    let told = text.split('\0').map(str::trim).filter(|text| !text.is_empty());
    told.map(|text| {
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| !line.starts_with("Mcpctl-") && !line.is_empty())
            .collect();
        lines.join("\n")
    })
    .collect()
}

/// What a push says of a resource that waits for its commit with other changes, and what becomes of both.
#[tokio::test(flavor = "multi_thread")]
async fn a_push_is_merged_with_what_waits() {
    let world = World::with(&["a"]).await;
    world.bench.edit(&[("a", Some("two"))]).await;
    // Not written yet: the API's change waits in the outbox while somebody pushes.
    world.write(
        "servers/a.yaml",
        &with("a", "description: pushed # why\ntimeoutSeconds: 5\n"),
    );
    let head = world.commit();
    let (accepted, said) = world.push(&[]).await;
    assert!(accepted, "{said:?}");
    assert_eq!(
        said,
        [
            &*format!(
                "plan {}: 0 to create, 1 to change, 0 to delete, 1 conflict, 0 unchanged",
                &head[..7]
            ),
            "  ~ server/a  timeoutSeconds 60 → 5",
            "  ! server/a  description: the store's \"two\" kept, yours \"pushed\" (mcpctl conflicts accept server/a --from repo)",
            "containers: start none · replace none · stop none",
        ]
    );
    world.bench.rest().await;
    let want = json!({"command": ["x"], "replicas": 0, "description": "two", "timeoutSeconds": 5});
    assert_eq!(spec(&world, "a"), want);
    git(&world.clone(), &["pull", "-q", "--rebase", "origin", "main"]);
    let file = std::fs::read_to_string(world.clone().join("servers/a.yaml")).unwrap();
    assert_eq!(
        file,
        with("a", "description: two # why\ntimeoutSeconds: 5\n"),
        "only what lost is written"
    );
    let kept = format!("bob: an edit\nserver/a: kept over {}: description", &head[..7]);
    assert_eq!(log(&world, 2), [kept, "Ann: ann's words".to_owned()]);

    // Both are told, and what lost can be taken after all.
    let events = world.bench.store().recent_events(10).await.unwrap();
    let of = |reason: &str| {
        events
            .iter()
            .find(|event| event.reason == reason)
            .map(|event| event.message.clone())
    };
    assert_eq!(
        of("Merged").unwrap(),
        "both sides changed it, and the changes were merged (from the repository: timeoutSeconds; from the store: description)"
    );
    assert!(
        of("Conflict")
            .unwrap()
            .starts_with("description: the store's \"two\" kept, yours \"pushed\"")
    );
    let conflicts = world.bench.store().conflicts().await.unwrap();
    assert_eq!(conflicts.len(), 1);
    assert_eq!(conflicts[0].fields, [["description"]]);
    let base = conflicts[0].base.as_ref().unwrap();
    assert_eq!(base.spec["description"], "one", "what both last agreed on is known");
    world.bench.accept(&id("a"), true, actor("ann", "api")).await.unwrap();
    world.bench.rest().await;
    assert_eq!(spec(&world, "a")["description"], "pushed");
    assert!(world.bench.store().conflicts().await.unwrap().is_empty());
    assert_eq!(
        log(&world, 1),
        ["ann: update server/a: description \"two\" → \"pushed\""]
    );
}

/// Several changes wait: each of their commits tells only of itself.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_put_on_top() {
    let world = World::with(&["a", "b"]).await;
    world.bench.edit(&[("a", Some("two")), ("b", Some("two"))]).await;
    world.bench.edit(&[("a", Some("three"))]).await;
    world.write("servers/a.yaml", &with("a", "description: one\ntimeoutSeconds: 5\n"));
    world.commit();
    let (accepted, said) = world.push(&[]).await;
    assert!(accepted, "{said:?}");
    world.bench.rest().await;
    let shown = |commit: &str| git(&world.bare(), &["show", &format!("{commit}:servers/a.yaml")]);
    let line = |text: &str| {
        format!("kind: server\nname: a\ncommand: [x]\nreplicas: 0\ndescription: {text}\ntimeoutSeconds: 5")
    };
    assert_eq!(shown("main~2"), line("one"), "pushed");
    assert_eq!(shown("main~1"), line("two"), "the first change, with what was pushed");
    assert_eq!(shown("main"), line("three"));
    assert!(
        world.bench.store().conflicts().await.unwrap().is_empty(),
        "nothing lost"
    );
    assert_eq!(world.bench.declared(), "a=three b=two");
}

/// Together both changes would have two sources: the store's is kept whole, and why is told.
#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_together_is_the_stores() {
    let world = World::with(&["a"]).await;
    world
        .bench
        .edit_spec("a", &json!({"packageName": "p@1", "replicas": 0}))
        .await;
    world.write(
        "servers/a.yaml",
        "kind: server\nname: a\ndockerImage: i:1\nreplicas: 0\n",
    );
    world.commit();
    let (accepted, said) = world.push(&[]).await;
    assert!(accepted, "{said:?}");
    world.bench.rest().await;
    assert_eq!(spec(&world, "a"), json!({"packageName": "p@1", "replicas": 0}));
    let conflicts = world.bench.store().conflicts().await.unwrap();
    assert!(conflicts[0].fields.is_empty());
    let why = conflicts[0].reason.clone().unwrap();
    assert!(
        why.starts_with("together the changes of both sides are not valid (dockerImage: a server has one source"),
        "{why}"
    );
    // The same push once more, now on top: nothing is in its way, and the conflict is over.
    git(&world.clone(), &["pull", "-q", "--rebase", "origin", "main"]);
    world.write(
        "servers/a.yaml",
        "kind: server\nname: a\ndockerImage: i:1\nreplicas: 0\n",
    );
    world.commit();
    let (accepted, said) = world.push(&[]).await;
    assert!(accepted, "{said:?}");
    world.bench.rest().await;
    let view = world.bench.store().view();
    world.bench.0.end_conflicts(&view).await.unwrap();
    assert!(world.bench.store().conflicts().await.unwrap().is_empty());
    let events = world.bench.store().recent_events(1).await.unwrap();
    assert!(
        events[0].message.ends_with("is over: what lost is in force now"),
        "{}",
        events[0].message
    );
}

/// A folder has no history, and what both sides last agreed on is known all the same; also after a crash.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_merged_too() {
    let (folder, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = folder.path().join("a.yaml");
    std::fs::write(&file, with("a", "description: one\n")).unwrap();
    let bench = Bench::folder(folder.path(), data.path(), false).await;
    bench.rest().await;
    bench.edit(&[("a", Some("two"))]).await;
    std::fs::write(
        &file,
        with("a", "# mine\ndescription: one\nenv:\n- name: A\n  value: x\n"),
    )
    .unwrap();
    drop(bench);
    let bench = Bench::folder(folder.path(), data.path(), false).await;
    bench.rest().await;
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(
        text,
        with("a", "# mine\ndescription: two\nenv:\n- name: A\n  value: x\n")
    );
    assert_eq!(bench.declared(), "a=two");
    assert!(bench.store().conflicts().await.unwrap().is_empty());
}

/// A deletion that waits for its commit survives a new epoch: what it deleted is known, and the history has nothing newer.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_epoch_does_not_undo_a_deletion() {
    let world = World::with(&["a", "b", "c"]).await;
    world.bench.edit(&[("a", None), ("b", None)]).await;
    world.write("servers/b.yaml", &with("b", "description: rewritten\n"));
    let new = world.commit();
    git(&world.bare(), &["update-ref", crate::repo::BRANCH, &new]);
    let store = world.bench.store();
    store
        .new_epoch(actor("ann", "push"), crate::kit::time::now())
        .await
        .unwrap();
    world.bench.rest().await;
    assert_eq!(world.bench.declared(), "c=one");
    let tree = world.bench.snapshot().await.tree;
    assert_eq!(tree.documents.keys().cloned().collect::<Vec<_>>(), [id("c")]);
    let conflicts = store.conflicts().await.unwrap();
    let lost: Vec<_> = conflicts
        .iter()
        .map(|it| (it.id.clone(), it.repository.is_some()))
        .collect();
    assert_eq!(lost, [(id("b"), true)], "only what the history says anew is told");
}
