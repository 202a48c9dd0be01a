//! What each call promises.

use redb::backends::InMemoryBackend;

use super::*;
use crate::record::{AuditEvent, Cause, Change, Conflict, Decision, Rebase, Run, RunState};

fn fresh() -> Store {
    on(InMemoryBackend::new(), Retention::default()).expect("a store")
}

#[tokio::test]
async fn an_edit_is_a_row_an_export_an_audit_event_and_a_mutation() {
    let store = fresh();
    let mut changed = store.changed();
    let view = store.view();
    let mutation = store
        .edit(edit(&view, &[("a", Some(1)), ("b", Some(2))]))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(mutation.revision, 1);
    assert_eq!(*changed.borrow_and_update(), 1);
    assert_eq!(view.revision, 0, "a view that was taken stays as it was");
    let view = store.view();
    assert_eq!(view.rows[&id("a")].document, Some(document("a", 1)));
    assert_eq!(view.outbox.len(), 1);
    assert_eq!(view.outbox[0].changes, mutation.changes);
    assert_eq!(store.mutation(1).await.unwrap(), Some(mutation.clone()));
    let audit = store.audit(0, 10).await.unwrap();
    let actions: Vec<_> = audit
        .iter()
        .map(|e| (e.sequence, e.action.as_str(), e.revision))
        .collect();
    assert_eq!(
        actions,
        [(1, "create server/a", Some(1)), (2, "create server/b", Some(1))]
    );

    // What is so already is dropped, alone and beside a real change.
    assert_eq!(
        store
            .edit(edit(&view, &[("a", Some(1)), ("gone", None)]))
            .await
            .unwrap(),
        None
    );
    assert_eq!(store.view().revision, 1);
    let mutation = store
        .edit(edit(&view, &[("a", Some(1)), ("b", None)]))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(mutation.changes.len(), 1);
    let view = store.view();
    assert_eq!((view.rows[&id("a")].revision, view.rows[&id("b")].revision), (1, 2));
    assert_eq!(view.rows[&id("b")].document, None, "a deletion leaves a tombstone");
    assert_eq!(store.recent_audit(1).await.unwrap()[0].action, "delete server/b");
    assert_eq!(
        store
            .mutations(10)
            .await
            .unwrap()
            .iter()
            .map(|m| m.revision)
            .collect::<Vec<_>>(),
        [2, 1]
    );
}

#[tokio::test]
async fn a_stale_or_doubled_request_changes_nothing() {
    let store = fresh();
    let old = store.view();
    store.edit(edit(&old, &[("a", Some(1))])).await.unwrap();
    let before = store.view();
    let error = store
        .edit(edit(&old, &[("b", Some(1)), ("a", Some(2))]))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "server/a was changed meanwhile: it is at revision 1, not absent"
    );
    assert!(error.hint().is_some());
    let error = store.import(import(&old, "c1", &[("a", Some(2))])).await.unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::Stale {
                seen: None,
                found: Some(1),
                ..
            }
        ),
        "{error}"
    );
    let mut settled = import(&before, "c1", &[("b", Some(2))]);
    settled.settle = vec![settle(&old, "a", None)];
    assert!(matches!(store.import(settled).await, Err(StoreError::Stale { .. })));
    let doubled = edit(&before, &[("b", Some(1)), ("b", Some(2))]);
    assert!(matches!(store.edit(doubled).await, Err(StoreError::Twice(_))));
    assert_eq!(store.view(), before);
    assert_eq!(store.audit(0, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_export_goes_from_the_outbox_into_the_ledger() {
    let store = fresh();
    store
        .edit(edit(&store.view(), &[("a", Some(1)), ("b", Some(1))]))
        .await
        .unwrap();
    store.record_attempt(1, Some("c1".to_owned())).await.unwrap();
    assert_eq!(store.view().outbox[0].attempt.as_deref(), Some("c1"));
    assert!(matches!(
        store.record_attempt(7, None).await,
        Err(StoreError::NoExport(7))
    ));

    let written = |name: &str| (id(name), Some((document(name, 1).digest(), id(name).canonical_path())));
    store
        .settle_export(1, vec![written("a"), written("stranger")], "c1")
        .await
        .unwrap();
    let view = store.view();
    assert_eq!(view.ledger.len(), 1, "only what the export held is settled");
    let want = LedgerRow {
        digest: document("a", 1).digest(),
        commit: "c1".to_owned(),
        revision: 1,
        path: "servers/a.yaml".to_owned(),
        document: None,
    };
    assert_eq!(view.ledger[&id("a")], want);
    assert_eq!(
        view.outbox[0].changes.iter().map(|c| c.id.clone()).collect::<Vec<_>>(),
        [id("b")]
    );
    assert_eq!(view.outbox[0].attempt, None, "what is left was not in that attempt");
    assert_eq!(store.mutation(1).await.unwrap().unwrap().commit, None);

    let mut changed = store.changed();
    store.settle_export(1, vec![written("b")], "c2").await.unwrap();
    assert!(changed.has_changed().unwrap());
    assert_eq!(*changed.borrow_and_update(), 1);
    assert!(store.view().outbox.is_empty());
    assert_eq!(store.mutation(1).await.unwrap().unwrap().commit.as_deref(), Some("c2"));
    // A recovery may say it again.
    let view = store.view();
    store.settle_export(1, vec![written("b")], "c3").await.unwrap();
    assert_eq!(store.view(), view);

    // Dropping leaves the ledger alone.
    store.edit(edit(&view, &[("a", Some(2)), ("b", None)])).await.unwrap();
    let mut needless = import(&store.view(), "c4", &[]);
    needless.drops = vec![(2, vec![id("a")])];
    store.import(needless).await.unwrap();
    assert_eq!(store.view().outbox[0].changes[0].id, id("b"));
    store.settle_export(2, vec![(id("b"), None)], "c4").await.unwrap();
    let view = store.view();
    assert!(view.outbox.is_empty());
    assert!(!view.rows.contains_key(&id("b")) && !view.ledger.contains_key(&id("b")));
    // But what was agreed on is remembered, now that the row says something else.
    let want = LedgerRow {
        document: Some(document("a", 1)),
        ..want
    };
    assert_eq!(view.ledger[&id("a")], want);
}

#[tokio::test]
async fn a_deletion_that_lands_late_keeps_the_row_that_came_after_it() {
    let store = fresh();
    store
        .import(import(&store.view(), "c1", &[("a", Some(1))]))
        .await
        .unwrap();
    store.edit(edit(&store.view(), &[("a", None)])).await.unwrap();
    store.edit(edit(&store.view(), &[("a", Some(3))])).await.unwrap();
    store.settle_export(2, vec![(id("a"), None)], "c2").await.unwrap();
    let view = store.view();
    assert_eq!(view.rows[&id("a")].document, Some(document("a", 3)));
    assert!(!view.ledger.contains_key(&id("a")), "the repository holds it no more");
    assert_eq!(view.outbox.iter().map(|e| e.revision).collect::<Vec<_>>(), [3]);
}

#[tokio::test]
async fn an_import_is_rows_with_their_ledger_and_no_export() {
    let store = fresh();
    let mut first = import(&store.view(), "c1", &[("a", Some(1)), ("b", Some(1))]);
    first.events = vec![event("hello")];
    let mut events_changed = store.events_changed();
    let mutation = store.import(first).await.unwrap().unwrap();
    assert_eq!(mutation.commit.as_deref(), Some("c1"));
    assert_eq!(*events_changed.borrow_and_update(), 1);
    let view = store.view();
    assert!(view.outbox.is_empty());
    assert_eq!(view.ledger[&id("a")].digest, document("a", 1).digest());
    assert_eq!(view.ledger[&id("a")].revision, 1);

    // The same again moves the ledger alone; a deletion takes row and ledger along.
    let again = import(&view, "c2", &[("a", Some(1)), ("b", None)]);
    let mutation = store.import(again).await.unwrap().unwrap();
    assert_eq!(mutation.changes.len(), 1);
    let view = store.view();
    assert_eq!((view.rows[&id("a")].revision, view.ledger[&id("a")].revision), (1, 1));
    assert_eq!(view.ledger[&id("a")].commit, "c2");
    assert!(!view.rows.contains_key(&id("b")) && !view.ledger.contains_key(&id("b")));

    // Settling alone makes no revision; a settled tombstone goes.
    store.edit(edit(&view, &[("a", None)])).await.unwrap();
    let view = store.view();
    let mut gone = import(&view, "c3", &[]);
    gone.settle = vec![settle(&view, "a", None)];
    assert_eq!(store.import(gone).await.unwrap(), None);
    let view = store.view();
    assert_eq!(view.revision, 3);
    assert!(view.rows.is_empty() && view.ledger.is_empty());
    assert_eq!(
        view.outbox.len(),
        1,
        "exports leave where they have landed, or where an import says so"
    );
    assert_eq!(store.import(import(&view, "c4", &[])).await.unwrap(), None);
}

#[tokio::test]
async fn every_conflict_is_kept_until_it_is_over() {
    let store = fresh();
    store.edit(edit(&store.view(), &[("a", Some(1))])).await.unwrap();
    let conflict = |number: u64, name: &str| Conflict {
        number,
        id: id(name),
        base: None,
        repository: Some(document(name, 9)),
        store: Some(document(name, 1)),
        fields: vec![vec!["replicas".to_owned()]],
        reason: None,
        commit: "c1".to_owned(),
        place: Some("servers/a.yaml:1:1".to_owned()),
        at: at(5),
        revision: 1,
    };
    for name in ["a", "b", "a"] {
        let mut import = import(&store.view(), "c1", &[]);
        import.conflicts = vec![conflict(0, name)];
        assert_eq!(store.import(import).await.unwrap(), None);
    }
    store.edit(edit(&store.view(), &[("a", Some(4))])).await.unwrap();
    let want = [conflict(1, "a"), conflict(2, "b"), conflict(3, "a")];
    assert_eq!(store.conflicts().await.unwrap(), want);
    assert_eq!(
        store.conflicts_of(&id("a")).await.unwrap(),
        [conflict(1, "a"), conflict(3, "a")]
    );
    assert_eq!(store.conflict_count().await.unwrap(), 3);
    store.end_conflicts(vec![1, 2, 3], vec![event("over")]).await.unwrap();
    assert_eq!(store.conflict_count().await.unwrap(), 0);
    // A number is given once.
    let mut import = import(&store.view(), "c2", &[]);
    import.conflicts = vec![conflict(0, "b")];
    store.import(import).await.unwrap();
    assert_eq!(store.conflicts().await.unwrap(), [conflict(4, "b")]);
}

/// A merge is a row, a ledger row of what the repository says, and an export; what waited is put on top of it.
#[tokio::test]
async fn a_merge_moves_what_waits() {
    let store = fresh();
    store
        .import(import(&store.view(), "c1", &[("a", Some(1)), ("b", Some(1))]))
        .await
        .unwrap();
    for replicas in [2, 3] {
        store.edit(edit(&store.view(), &[("a", Some(replicas))])).await.unwrap();
    }
    let mut merge = import(&store.view(), "c2", &[("a", Some(4)), ("b", Some(5))]);
    for change in &mut merge.changes {
        let theirs = document(change.id.name.as_str(), 9);
        (change.digest, change.merged_with) = (theirs.digest(), Some(theirs));
    }
    let moved = |revision, before, after| Rebase {
        revision,
        change: Change {
            id: id("a"),
            before: Some(document("a", before)),
            after: Some(document("a", after)),
        },
        note: (revision == 3).then(|| "kept over c2".to_owned()),
    };
    merge.rebase = vec![moved(2, 9, 8), moved(3, 8, 4), moved(7, 1, 1)];
    let made = store.import(merge).await.unwrap().unwrap();
    assert_eq!(made.revision, 4);
    let view = store.view();
    let waiting: Vec<_> = view
        .outbox
        .iter()
        .map(|row| (row.revision, &row.changes, &row.notes))
        .collect();
    let own = Change {
        id: id("b"),
        before: Some(document("b", 9)),
        after: Some(document("b", 5)),
    };
    let want = [
        (2, &vec![moved(2, 9, 8).change], &vec![]),
        (3, &vec![moved(3, 8, 4).change], &vec!["kept over c2".to_owned()]),
        (4, &vec![own], &vec![]),
    ];
    assert_eq!(waiting, want);
    for name in ["a", "b"] {
        let ledger = &view.ledger[&id(name)];
        assert_eq!((ledger.revision, &ledger.document), (0, &Some(document(name, 9))));
    }
    // Once the last one has landed both sides agree on the row as it is.
    let written = |replicas| {
        vec![(
            id("a"),
            Some((document("a", replicas).digest(), "servers/a.yaml".to_owned())),
        )]
    };
    store.settle_export(2, written(8), "c3").await.unwrap();
    let ledger = store.view().ledger[&id("a")].clone();
    assert_eq!((ledger.revision, ledger.document), (2, Some(document("a", 8))));
    store.settle_export(3, written(4), "c4").await.unwrap();
    let ledger = store.view().ledger[&id("a")].clone();
    assert_eq!((ledger.revision, ledger.document), (4, None));
}

#[tokio::test]
async fn journals_are_bounded_and_their_numbers_never_come_again() {
    let keep = Retention {
        events: 5,
        audit: 3,
        mutations: 2,
        conflicts: 4,
        runs: 3,
    };
    let file = tempfile::tempdir().unwrap();
    let path = file.path().join("store.redb");
    let open = || {
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .unwrap();
        on(redb::backends::FileBackend::new(file).unwrap(), keep).unwrap()
    };
    let refusal = AuditEvent {
        sequence: 0,
        at: at(1),
        actor: "anonymous".to_owned(),
        door: "api".to_owned(),
        action: "edit server/a".to_owned(),
        decision: Decision::Denied,
        revision: None,
    };
    let store = open();
    for n in 0..8 {
        store
            .record(vec![event(&n.to_string())], vec![refusal.clone()])
            .await
            .unwrap();
        store.edit(edit(&store.view(), &[("a", Some(n % 2))])).await.unwrap();
    }
    let numbers = |events: Vec<Event>| events.into_iter().map(|e| (e.sequence, e.message)).collect::<Vec<_>>();
    let want = |range: std::ops::RangeInclusive<u64>| range.map(|n| (n, (n - 1).to_string())).collect::<Vec<_>>();
    assert_eq!(numbers(store.events(0, 100).await.unwrap()), want(4..=8));
    assert_eq!(numbers(store.events(5, 2).await.unwrap()), want(6..=7));
    assert_eq!(numbers(store.recent_events(1).await.unwrap()), want(8..=8));
    assert_eq!(
        store
            .audit(0, 100)
            .await
            .unwrap()
            .iter()
            .map(|e| e.sequence)
            .collect::<Vec<_>>(),
        [14, 15, 16]
    );
    assert_eq!(
        store
            .mutations(100)
            .await
            .unwrap()
            .iter()
            .map(|m| m.revision)
            .collect::<Vec<_>>(),
        [8, 7]
    );
    assert_eq!(store.view().outbox.len(), 8, "the outbox is no journal");
    // The record of the oldest is gone; its export settles all the same.
    store
        .settle_export(1, vec![(id("a"), Some((Digest::of(""), String::new())))], "c1")
        .await
        .unwrap();
    assert_eq!(store.mutation(1).await.unwrap(), None);
    let view = store.view();
    drop(store);
    let store = open();
    assert_eq!(store.view(), view);
    assert_eq!(*store.events_changed().borrow(), 8);
    store.record(vec![event("later")], vec![refusal]).await.unwrap();
    assert_eq!(store.recent_events(1).await.unwrap()[0].sequence, 9);
    assert_eq!(store.recent_audit(1).await.unwrap()[0].sequence, 17);
}

#[tokio::test]
async fn facts_are_kept_and_each_store_has_an_id() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let store = Store::open(&path).await.unwrap();
    let own = store.meta("store").unwrap();
    assert_eq!(own.len(), 32);
    assert_ne!(fresh().meta("store").unwrap(), own);
    assert_eq!(store.meta("agreed"), None);
    store.set_meta("agreed", "c1").await.unwrap();
    assert_eq!(store.meta("agreed").as_deref(), Some("c1"));
    drop(store);
    let store = Store::open(&path).await.unwrap();
    assert_eq!(
        (store.meta("store"), store.meta("agreed").as_deref()),
        (Some(own), Some("c1"))
    );
}

#[tokio::test]
async fn the_file_is_private_and_held_by_one() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let torn = folder.path().join("store.redb.new-0123456789abcdef");
    std::fs::copy("Cargo.toml", &torn).unwrap();
    let store = Store::open(&path).await.unwrap();
    let files: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|file| file.unwrap().file_name())
        .collect();
    assert_eq!(files, ["store.redb"], "nothing is left of a creation, cut off or not");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let error = Store::open(&path).await.unwrap_err();
    assert_eq!(error.to_string(), format!("another mcpd uses {}", path.display()));
    assert!(error.hint().unwrap().contains("data folder"));
    drop(store);
    Store::open(&path).await.unwrap();
    assert!(matches!(
        Store::open(&path.join("x")).await,
        Err(StoreError::Open { .. })
    ));
    std::fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(0)
        .unwrap();
    Store::open(&path).await.unwrap();
    let text = folder.path().join("text");
    std::fs::copy("Cargo.toml", &text).unwrap();
    assert!(matches!(Store::open(&text).await, Err(StoreError::Open { .. })));
}

#[tokio::test]
async fn many_rows_are_one_transaction_and_many_writers_queue() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let store = Store::open(&path).await.unwrap();
    let names: Vec<String> = (0..5_000).map(|n| format!("s{n}")).collect();
    let changes: Vec<(&str, Option<u32>)> = names.iter().map(|name| (name.as_str(), Some(1))).collect();
    store.import(import(&store.view(), "c1", &changes)).await.unwrap();
    assert_eq!(store.view().rows.len(), 5_000);

    let writers = (0..32).map(|n| {
        let store = store.clone();
        async move { store.edit(edit(&store.view(), &[(&format!("w{n}"), Some(1))])).await }
    });
    let revisions = futures_util::future::join_all(writers).await;
    let mut revisions: Vec<u64> = revisions
        .into_iter()
        .map(|made| made.unwrap().unwrap().revision)
        .collect();
    revisions.sort_unstable();
    assert_eq!(revisions, (2..=33).collect::<Vec<_>>());
    let view = store.view();
    drop(store);
    assert_eq!(Store::open(&path).await.unwrap().view(), view);
}

#[tokio::test]
async fn a_write_whose_caller_left_goes_through() {
    let store = fresh();
    let mut changed = store.changed();
    {
        let write = store.edit(edit(&store.view(), &[("a", Some(1))]));
        let mut write = std::pin::pin!(write);
        // Polled once, it has begun (and may even be done); then its caller is gone.
        drop(futures_util::poll!(write.as_mut()));
    }
    changed.changed().await.unwrap();
    assert_eq!(store.view().revision, 1);
}

/// What was found whole at one revision is refused at another: a reference may have come, or its target gone.
#[tokio::test]
async fn what_was_checked_is_what_is_changed() {
    let store = fresh();
    store.edit(edit(&store.view(), &[("a", Some(1))])).await.unwrap();
    let mut old = edit(&store.view(), &[("a", None)]);
    old.checked_at = Some(1);
    let mut import = import(&store.view(), "c1", &[("b", Some(1))]);
    import.checked_at = Some(1);
    store.edit(edit(&store.view(), &[("c", Some(1))])).await.unwrap();
    let view = store.view();
    assert!(matches!(store.edit(old.clone()).await, Err(StoreError::Stale { .. })));
    assert!(matches!(
        store.import(import.clone()).await,
        Err(StoreError::Stale { .. })
    ));
    assert_eq!(store.view(), view);
    (old.checked_at, import.checked_at) = (Some(2), Some(3));
    assert!(store.edit(old).await.unwrap().is_some());
    assert!(store.import(import).await.unwrap().is_some());
}

/// A run is written anew in its place as it moves on; beyond the newest ones the oldest go.
#[tokio::test]
async fn runs_are_bounded_and_take_their_own_place() {
    let keep = Retention {
        runs: 3,
        ..Retention::default()
    };
    let store = on(InMemoryBackend::new(), keep).expect("a store");
    assert_eq!(store.runs(9).await.unwrap(), []);
    let run = |id| Run::queued(id, Cause::new("sync", "admin"), at(1));
    for id in 1..=5 {
        store.write_runs(vec![run(id)]).await.unwrap();
    }
    let mut done = run(4);
    done.state = RunState::Done;
    store.write_runs(vec![done.clone()]).await.unwrap();
    assert_eq!(store.runs(9).await.unwrap(), [run(5), done.clone(), run(3)]);
    assert_eq!(store.runs(1).await.unwrap(), [run(5)]);
    assert_eq!(store.run(4).await.unwrap(), Some(done));
    assert_eq!((store.run(2).await.unwrap(), store.run(9).await.unwrap()), (None, None));
    // It is no change of what is declared: nobody is woken by it.
    let changed = store.changed();
    store.write_runs(vec![run(6)]).await.unwrap();
    assert!(!changed.has_changed().unwrap());
}
