//! A disk below the store that fails while pushes and changes go on.

use super::push::{World, git};
use super::*;
use crate::engine::{EditRequest, EngineError, Only, Wanted};
use crate::store::tests::disk::Disk;

/// While the disk fails a change is told as failed and a push is refused or taken over late; once it answers all comes
/// together, without a restart: nothing that was confirmed is lost, nothing is there twice.
#[tokio::test(flavor = "multi_thread")]
async fn all_comes_together_once_the_disk_answers_again() {
    let disk = Disk::new(vec![], 0..0);
    let world = World::on(&disk, &["a"]).await;
    let mut want = vec!["a=one".to_owned()];
    let mut failures = 0;
    for (n, many) in [1, 2, 3, 4, 6, 9, 14, usize::MAX].into_iter().enumerate() {
        let (edited, pushed) = (format!("e{n}"), format!("p{n}"));
        git(&world.clone(), &["pull", "-q", "--rebase", "origin", "main"]);
        world.write(&format!("{pushed}.yaml"), &text(&pushed, "pushed"));
        let (old, new) = (world.head(), world.commit());
        disk.fail(many);
        let (accepted, said) = world.judge(&old, &new, &[]).await;
        world.end(accepted.then_some(&new));
        assert!(
            accepted || said.iter().any(|line| line.starts_with("error: the store failed")),
            "{said:?}"
        );
        let request = || EditRequest {
            actor: actor("bob", "api"),
            wanted: vec![Wanted {
                id: id(&edited),
                after: Some(document(&edited, "api")),
                only: Only::Always,
                source: None,
            }],
            dry_run: false,
        };
        let told = world.bench.edit_request(request()).await;
        for _ in 0..2 {
            failures += usize::from(world.bench.0.agree_once().await.is_err());
        }
        if many == usize::MAX {
            assert!(world.bench.0.agree_once().await.is_err());
        }

        disk.answer();
        if let Err(error) = told {
            failures += 1;
            assert!(
                matches!(&error, EngineError::Store(error) if error.may_pass()),
                "{error}"
            );
            world.bench.edit_request(request()).await.unwrap();
        }
        if !accepted {
            git(&world.clone(), &["pull", "-q", "--rebase", "origin", "main"]);
            assert!(world.push(&[]).await.0);
        }
        world.bench.rest().await;
        want.extend([format!("{edited}=api"), format!("{pushed}=pushed")]);
        want.sort();
        assert_eq!(world.bench.declared(), want.join(" "), "{many} failures");
        let view = world.bench.store().view();
        assert!(view.outbox.is_empty());
        let tree = world.bench.snapshot().await.tree;
        assert_eq!(tree.documents.len(), want.len());
        assert_eq!(view.ledger.len(), want.len());
    }
    assert!(failures > 8, "{failures}");
    // Each change is one commit, however often it was tried.
    let subjects = git(&world.bare(), &["log", "--format=%s", "main"]);
    assert_eq!(
        subjects.lines().filter(|line| line.contains("create server/e")).count(),
        8,
        "{subjects}"
    );
}
