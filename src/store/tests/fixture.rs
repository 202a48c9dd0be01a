//! The files of old schema versions are test data for ever.
//!
//! `tests/fixtures/store/v1.redb` was written by [`write_down`], and `v1.json` says what it holds. A further version has no
//! file at first: the test then writes both and fails, and they are committed. A committed file is never made again; what a store
//! shows of it may gain fields.

use std::path::PathBuf;

use super::*;
use crate::record::Conflict;

fn fixture(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/fixtures/store", name]
        .iter()
        .collect()
}

/// Every table holds something, none of it by chance.
async fn write_down(path: &Path) {
    let store = Store::open(path).await.unwrap();
    let mut first = import(&store.view(), "c1", &[("a", Some(1)), ("b", Some(2))]);
    first.events = vec![event("read")];
    store.import(first).await.unwrap();
    let view = store.view();
    store
        .edit(edit(&view, &[("a", Some(3)), ("b", None), ("c", Some(1))]))
        .await
        .unwrap();
    store.record_attempt(2, Some("c2".to_owned())).await.unwrap();
    let written = (id("c"), Some((document("c", 1).digest(), "servers/c.yaml".to_owned())));
    store.settle_export(2, vec![written], "c2").await.unwrap();
    store.edit(edit(&store.view(), &[("d", Some(1))])).await.unwrap();
    store.record_attempt(3, Some("c3".to_owned())).await.unwrap();
    let mut second = import(&store.view(), "c4", &[]);
    second.conflicts = vec![Conflict {
        number: 0,
        id: id("a"),
        base: Some(document("a", 1)),
        repository: None,
        store: Some(document("a", 3)),
        fields: vec![],
        reason: None,
        commit: "c4".to_owned(),
        place: None,
        at: at(4),
        revision: 3,
    }];
    store.import(second).await.unwrap();
    store.set_meta("agreed", "c1").await.unwrap();
    store
        .set_meta("store", "00000000000000000000000000000001")
        .await
        .unwrap();
}

/// All that a store shows, as text.
async fn shown(store: &Store) -> String {
    let view = store.view();
    let all = serde_json::json!({
        "revision": view.revision,
        "rows": view.rows,
        "ledger": view.ledger,
        "outbox": view.outbox,
        "mutations": store.mutations(99).await.unwrap(),
        "conflicts": store.conflicts().await.unwrap(),
        "events": store.events(0, 99).await.unwrap(),
        "audit": store.audit(0, 99).await.unwrap(),
        "facts": {"agreed": store.meta("agreed"), "store": store.meta("store")},
    });
    format!("{all:#}\n")
}

#[tokio::test]
async fn every_old_file_is_read_exactly() {
    let folder = tempfile::tempdir().unwrap();
    for step in CHAIN {
        let (name, text) = (format!("v{}.redb", step.to), format!("v{}.json", step.to));
        let copy = folder.path().join(&name);
        if !fixture(&name).exists() {
            write_down(&copy).await;
            std::fs::write(fixture(&text), shown(&Store::open(&copy).await.unwrap()).await).unwrap();
            let mut database = redb::Database::create(&copy).unwrap();
            while database.compact().unwrap() {}
            drop(database);
            std::fs::copy(&copy, fixture(&name)).unwrap();
            panic!("{name} was missing and is written now: look at {text} and commit both");
        }
        // Opening may migrate: never the committed file itself.
        std::fs::copy(fixture(&name), &copy).unwrap();
        let store = Store::open(&copy).await.unwrap();
        let want = std::fs::read_to_string(fixture(&text)).unwrap();
        assert_eq!(shown(&store).await, want, "{name}");
        assert_eq!(
            store.runs(9).await.unwrap(),
            [],
            "{name}: a table that it does not have yet"
        );
        // And it is a store to go on with.
        let view = store.view();
        let next = store.edit(edit(&view, &[("e", Some(1))])).await.unwrap().unwrap();
        assert_eq!(next.revision, view.revision + 1);
    }
}
