//! Pushes that go well, and the four requests of smart HTTP.

use axum::body::Body;
use http::{Method, Request, StatusCode};

use super::{World, declared, git, git_output, text, until};
use crate::access::Principal;
use crate::repo::{Relation, Source};

#[tokio::test(flavor = "multi_thread")]
async fn a_push_is_judged_moves_the_branch_and_is_watched() {
    let world = World::new().await;
    let source = Source::Hosted(world.hosted.clone());
    let mut changed = source.changed();
    assert_eq!(source.snapshot().await.unwrap().head, None);
    let commit = world.commit("servers/a.yaml", &text("a", "one")).await;
    let (accepted, shown) = world.push(&["-o", "no-wait", "-o", "wait=3", "origin", "main"]).await;
    assert!(accepted, "{shown}");
    assert!(
        shown.contains("remote: plan for you") && shown.contains("remote: applied: revision 1"),
        "{shown}"
    );
    assert!(!shown.contains("warning"), "{shown}");
    assert_eq!(world.head().await.as_deref(), Some(&*commit));
    changed.wait_for(|count| *count > 0).await.unwrap();

    let snapshot = source.snapshot().await.unwrap();
    assert_eq!(snapshot.head.as_deref(), Some(&*commit));
    assert_eq!(
        snapshot.message_author,
        Some(("Ann".into(), "write servers/a.yaml".into()))
    );
    assert_eq!(declared(&snapshot), ["server/a=one"]);

    let push = world.judge.judged.lock().unwrap()[0].clone();
    assert_eq!(push.actor().name, "ann@example.com");
    assert_eq!(push.options, ["no-wait", "wait=3"]);
    assert_eq!(
        (&push.updates[0].old, push.updates[0].new.as_deref()),
        (&None, Some(&*commit))
    );
    assert_eq!(push.updates[0].name, "refs/heads/main");
    assert_eq!(world.judge.watched.lock().unwrap()[0].id, push.id);
    until("the push ended", async || {
        *world.judge.ended.lock().unwrap() == [push.id.clone()]
    })
    .await;
}

/// Row "a daemon that can't see quarantined objects".
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_push_was_read_in_quarantine_and_changes_nothing() {
    let world = World::new().await;
    *world.judge.refuse.lock().unwrap() = vec![
        "error: a.yaml:1:1: no\n  kind: x\n  ^".into(),
        "refused: 1 error".into(),
    ];
    let commit = world.commit("a.yaml", &text("a", "one")).await;
    let (accepted, shown) = world.push(&["origin", "main"]).await;
    assert!(!accepted);
    for line in [
        "remote: error: a.yaml:1:1: no",
        "remote:   kind: x",
        "remote:   ^",
        "remote: refused: 1 error",
    ] {
        assert!(shown.contains(line), "{line} in {shown}");
    }
    assert_eq!(world.head().await, None);
    let seen = world.judge.seen.lock().unwrap().pop().unwrap().unwrap();
    assert_eq!(declared(&seen), ["server/a=one"]);
    // Its objects were in quarantine alone and are gone with it.
    assert!(
        !git_output(world.hosted.path(), &["cat-file", "-e", &commit])
            .await
            .status
            .success()
    );
    assert!(world.judge.watched.lock().unwrap().is_empty());
    until("the push ended", async || world.judge.ended.lock().unwrap().len() == 1).await;
}

/// Row "a push over 1 MiB (chunked, gzip)".
#[tokio::test(flavor = "multi_thread")]
async fn large_pushes_come_chunked_and_large_questions_gzipped() {
    let world = World::new().await;
    let mut noise = vec![0; 3 << 20];
    getrandom::fill(&mut noise).unwrap();
    std::fs::write(world.clone().join("noise.bin"), noise).unwrap();
    world.commit("a.yaml", &text("a", "one")).await;
    let (accepted, shown) = world.push(&["origin", "main"]).await;
    assert!(accepted, "{shown}");
    assert!(world.encodings.lock().unwrap().contains(&"chunked".to_owned()));

    // A clone that has many commits of its own asks with a long list of them, which git compresses.
    let other = world.folder.path().join("other");
    git(world.folder.path(), &["clone", "-q", &world.url, "other"]).await;
    for n in 0..80 {
        git(&other, &["commit", "-q", "--allow-empty", "-m", &format!("mine {n}")]).await;
    }
    git(&other, &["update-ref", "-d", "refs/remotes/origin/main"]).await;
    let commit = world.commit("b.yaml", &text("b", "two")).await;
    assert!(world.push(&["origin", "main"]).await.0);
    git(&other, &["-c", "protocol.version=0", "fetch", "-q", "origin"]).await;
    assert_eq!(git(&other, &["rev-parse", "origin/main"]).await, commit);
    assert!(world.encodings.lock().unwrap().contains(&"gzip".to_owned()));
}

/// A data folder so deep that the path of its socket does not fit into an address.
#[tokio::test(flavor = "multi_thread")]
async fn a_deep_data_folder_takes_pushes() {
    let world = World::with_data(&"a-rather-long-name/".repeat(8)).await;
    world.commit("a.yaml", &text("a", "one")).await;
    let (accepted, shown) = world.push(&["origin", "main"]).await;
    assert!(accepted, "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_at_once_do_not_disturb_each_other() {
    let world = World::new().await;
    world.commit("a.yaml", &text("a", "one")).await;
    world.judge.hold.send_replace(true);
    let (clone, judge) = (world.clone(), &world.judge);
    let names = ["main", "b1", "b2", "b3"];
    let pushes = names.map(|name| {
        let (clone, target) = (clone.clone(), format!("HEAD:refs/heads/{name}"));
        tokio::spawn(async move { git_output(&clone, &["push", "origin", &target]).await })
    });
    until("all wait", async || judge.judged.lock().unwrap().len() == names.len()).await;
    judge.hold.send_replace(false);
    for push in pushes {
        let output = push.await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(
        git(world.hosted.path(), &["for-each-ref", "--format=x"])
            .await
            .lines()
            .count(),
        names.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_rewinds_is_for_the_judge_and_what_is_lost_is_known() {
    let world = World::new().await;
    let first = world.commit("a.yaml", &text("a", "one")).await;
    let second = world.commit("a.yaml", &text("a", "two")).await;
    assert!(world.push(&["origin", "main"]).await.0);
    git(&world.clone(), &["reset", "-q", "--hard", &first]).await;
    let third = world.commit("a.yaml", &text("a", "three")).await;
    *world.judge.refuse.lock().unwrap() = vec!["error: not so".into()];
    let (accepted, shown) = world.push(&["--force", "origin", "main"]).await;
    assert!(!accepted && shown.contains("remote: error: not so"), "{shown}");
    world.judge.refuse.lock().unwrap().clear();
    let (accepted, shown) = world.push(&["origin", ":main"]).await;
    assert!(!accepted && shown.contains("deletion"), "{shown}");
    assert_eq!(world.head().await.as_deref(), Some(&*second));

    assert!(world.push(&["origin", "main:side"]).await.0);
    let relation = async |old: &str, new: &str| world.hosted.relation(old, new, None).await.unwrap();
    assert_eq!(relation(&first, &second).await, Relation::Forward);
    let diverged = Relation::Diverged {
        base: first.clone(),
        lost: 1,
        by_mcpctl: 0,
    };
    assert_eq!(relation(&second, &third).await, diverged);
    git(&world.clone(), &["checkout", "-q", "--orphan", "alone"]).await;
    let alone = world.commit("z.yaml", &text("z", "z")).await;
    assert!(world.push(&["origin", "alone"]).await.0);
    assert_eq!(relation(&second, &alone).await, Relation::Unrelated);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_smart_http_is_served() {
    let world = World::new().await;
    let who = Principal::Anonymous;
    let get = Method::GET;
    for (method, path, want) in [
        (
            &get,
            "/git/config.git/info/refs?service=git-upload-pack",
            StatusCode::OK,
        ),
        (&get, "/info/refs?service=git-receive-pack", StatusCode::OK),
        (&get, "/git/config.git/info/refs", StatusCode::NOT_FOUND),
        (
            &get,
            "/git/config.git/info/refs?service=git-upload-archive",
            StatusCode::NOT_FOUND,
        ),
        (&get, "/git/config.git/HEAD", StatusCode::NOT_FOUND),
        (&get, "/git/config.git/config", StatusCode::NOT_FOUND),
        (&get, "/git/config.git/objects/info/packs", StatusCode::NOT_FOUND),
        (&get, "/git/config.git/../admin.token", StatusCode::NOT_FOUND),
        (&get, "/git/config.git/git-receive-pack", StatusCode::NOT_FOUND),
        (&Method::PUT, "/git/config.git/git-receive-pack", StatusCode::NOT_FOUND),
        // git itself refuses a body of another type.
        (
            &Method::POST,
            "/git/config.git/git-upload-pack",
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ),
    ] {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        let response = world.hosted.serve_http(&who, request).await;
        assert_eq!(response.status(), want, "{method} {path}");
    }
    assert!(world.judge.ended.lock().unwrap().is_empty());
}
