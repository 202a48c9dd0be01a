//! Plans for trees that people moved, broke, or both.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::kit::time::Timestamp;
use crate::record::{LedgerRow, Row, StoreView};
use crate::resource::{FileText, Id, Tree, yaml};

use super::plan::{Plan, Seen, plan};

const BROKEN: &str = "kind: [\n";

fn id(text: &str) -> Id {
    text.parse().unwrap()
}

fn server(name: &str) -> String {
    format!("kind: server\nname: {name}\ncommand: [x]\n")
}

fn tree(files: &[(&str, &str)]) -> Tree {
    let read = |(path, text): &(&str, &str)| {
        Arc::new(yaml::read(&FileText {
            path: (*path).to_owned(),
            bytes: Ok(text.as_bytes().to_vec()),
        }))
    };
    Tree::assemble(files.iter().map(read))
}

/// A store that agreed with these files at its first revision.
fn agreed(files: &[(&str, &str)]) -> StoreView {
    let mut store = StoreView::default();
    store.revision = 1;
    for (id, placed) in tree(files).documents.iter() {
        let row = Row {
            document: Some(Arc::clone(&placed.document)),
            revision: 1,
        };
        store.rows.insert(id.clone(), row);
        let ledger = LedgerRow {
            digest: placed.digest,
            commit: "old".to_owned(),
            revision: 1,
            path: placed.path.clone(),
            document: None,
        };
        store.ledger.insert(id.clone(), ledger);
    }
    store
}

fn planned(files: &[(&str, &str)], store: &StoreView) -> Plan {
    plan(&Seen {
        tree: &tree(files),
        head: "new",
        store,
        landed: &BTreeMap::new(),
        only: None,
        waits: false,
        allow_mass_delete: false,
        now: Timestamp::UNIX_EPOCH,
    })
}

/// Pitfall "a file that does not parse taken for deletions": the ledger follows a file that only moved, so that what it
/// held is known when it breaks later.
#[test]
fn a_file_that_moved_and_broke_later_deletes_nothing() {
    let (a, b) = (server("a"), server("b"));
    let mut store = agreed(&[("servers/a.yaml", &a), ("servers/b.yaml", &b)]);
    let moved = planned(&[("team/tools.yaml", &a), ("servers/b.yaml", &b)], &store);
    assert!(moved.changes.is_empty() && moved.exports.is_empty() && moved.held.is_empty());
    let [settle] = &moved.settle[..] else {
        panic!("{:?}", moved.settle);
    };
    let ledger = settle.ledger.clone().unwrap();
    let was = &store.ledger[&id("server/a")];
    assert_eq!((&settle.id, settle.seen), (&id("server/a"), Some(1)));
    assert_eq!((&*ledger.path, &*ledger.commit), ("team/tools.yaml", "new"));
    assert_eq!((ledger.digest, ledger.revision), (was.digest, was.revision));
    store.ledger.insert(id("server/a"), ledger);
    assert!(planned(&[("team/tools.yaml", &a), ("servers/b.yaml", &b)], &store).is_empty());

    let broken = planned(&[("team/tools.yaml", BROKEN), ("servers/b.yaml", &b)], &store);
    assert!(broken.is_empty(), "{broken:?}");
    assert_eq!(broken.held.keys().collect::<Vec<_>>(), [&id("server/a")]);
}

/// The same row: a file that moves and breaks in one step tells nothing of what it holds, so it may hold whatever is
/// missing; what it can't hold goes as it was asked to.
#[test]
fn a_file_that_moved_and_broke_at_once_deletes_nothing() {
    let (a, b, c) = (server("a"), server("b"), server("c"));
    let store = agreed(&[("a.yaml", &a), ("b.yaml", &b), ("c.yaml", &c)]);
    let plan = planned(&[("new.yaml", BROKEN), ("b.yaml", &b), ("c.yaml", &c)], &store);
    assert!(plan.is_empty(), "{plan:?}");
    assert_eq!(plan.held[&id("server/a")], "new.yaml can't be read");

    // A file that has been read before holds what it held before, and not what is gone elsewhere.
    let plan = planned(&[("b.yaml", BROKEN), ("c.yaml", &c)], &store);
    let gone: Vec<_> = plan.changes.iter().map(|change| (&change.id, &change.after)).collect();
    assert_eq!(gone, [(&id("server/a"), &None)]);
    assert_eq!(plan.held.keys().collect::<Vec<_>>(), [&id("server/b")]);
}

/// Pitfall "one bad file stops the catalogue": a deletion that would leave a broken reference in the repository waits,
/// and goes together with what names it.
#[test]
fn a_deletion_waits_for_what_the_repository_still_names() {
    let (a, p) = (server("a"), "kind: project\nname: p\nservers: [a]\n".to_owned());
    let mut store = agreed(&[("a.yaml", &a), ("p.yaml", &p)]);
    let delete = |store: &mut StoreView, name: &str| {
        store.revision += 1;
        let revision = store.revision;
        let row = Row {
            document: None,
            revision,
        };
        let before = store.rows.get(&id(name)).and_then(|row| row.document.clone());
        store.rows.insert(id(name), row);
        let change = crate::record::Change {
            id: id(name),
            before,
            after: None,
        };
        store.outbox.push(crate::record::PendingExport {
            revision,
            at: Timestamp::UNIX_EPOCH,
            actor: crate::record::Actor {
                name: String::new(),
                door: String::new(),
            },
            message: String::new(),
            changes: vec![change],
            notes: vec![],
            attempt: None,
        });
    };
    let files = [("a.yaml", &*a), ("p.yaml", &*p)];
    delete(&mut store, "server/a");
    let plan = planned(&files, &store);
    assert!(plan.is_empty(), "{plan:?}");
    assert_eq!(plan.held[&id("server/a")], "project/p in the repository needs it");
    delete(&mut store, "project/p");
    let plan = planned(&files, &store);
    let exported: Vec<&Id> = plan.exports.iter().flat_map(|export| &export.ids).collect();
    // What names goes first, though it was deleted later: no commit in between names what is not there.
    assert_eq!(exported, [&id("project/p")]);
    assert_eq!(plan.held[&id("server/a")], "project/p in the repository needs it");
    let plan = planned(&files[..1], &store);
    let exported: Vec<&Id> = plan.exports.iter().flat_map(|export| &export.ids).collect();
    assert_eq!(exported, [&id("server/a")]);
    assert!(plan.held.is_empty());
}

/// A head whose deletions wait goes on waiting, whatever else is declared meanwhile.
#[test]
fn a_head_that_waits_goes_on_waiting() {
    let texts: Vec<(String, String)> = (0..6)
        .map(|n| (format!("{n}.yaml"), server(&format!("s{n}"))))
        .collect();
    let files: Vec<(&str, &str)> = texts.iter().map(|(path, text)| (&**path, &**text)).collect();
    let mut store = agreed(&files);
    let tree = tree(&files[..2]);
    let plan_if = |store: &StoreView, waits: bool| {
        plan(&Seen {
            tree: &tree,
            head: "new",
            store,
            landed: &BTreeMap::new(),
            only: None,
            waits,
            allow_mass_delete: false,
            now: Timestamp::UNIX_EPOCH,
        })
    };
    assert!(plan_if(&store, false).guard.is_some());
    for n in 6..20 {
        let row = Row {
            document: store.rows[&id("server/s0")].document.clone(),
            revision: 1,
        };
        store.rows.insert(id(&format!("server/s{n}")), row);
    }
    assert!(plan_if(&store, false).guard.is_none(), "4 of 20 alone would pass");
    let guard = plan_if(&store, true).guard.unwrap();
    assert_eq!((guard.deletions, guard.declared), (4, 20));
}
