//! Random lives of a store against plain maps.

use std::collections::BTreeMap;

use proptest::prelude::*;
use redb::backends::FileBackend;

use super::*;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

#[derive(Debug, Clone)]
enum Act {
    Edit(Vec<(usize, Option<u32>)>),
    Import(Vec<(usize, Option<u32>)>, Vec<(usize, bool)>),
    Attempt(usize),
    Settle(usize, Vec<usize>),
    Drop(usize, Vec<usize>),
    Merge(usize, u32, u32),
    Stale(usize),
    Record,
    Reopen,
}

fn subset<T: Clone + std::fmt::Debug + 'static>(
    value: impl Strategy<Value = T> + Clone + 'static,
) -> BoxedStrategy<Vec<(usize, T)>> {
    let one = (0..NAMES.len(), value);
    prop::collection::vec(one, 0..4)
        .prop_map(|picked| picked.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect())
        .boxed()
}

fn act() -> impl Strategy<Value = Act> {
    let documents = || subset(prop::option::weighted(0.7, 0..3_u32));
    let names = || prop::collection::vec(0..NAMES.len(), 0..4);
    prop_oneof![
        4 => documents().prop_map(Act::Edit),
        3 => (documents(), subset(any::<bool>())).prop_map(|(changes, settle)| Act::Import(changes, settle)),
        1 => (0..4_usize).prop_map(Act::Attempt),
        3 => (0..4_usize, names()).prop_map(|(export, names)| Act::Settle(export, names)),
        1 => (0..4_usize, names()).prop_map(|(export, names)| Act::Drop(export, names)),
        2 => (0..NAMES.len(), 0..3_u32, 0..3_u32).prop_map(|(name, theirs, after)| Act::Merge(name, theirs, after)),
        1 => (0..NAMES.len()).prop_map(Act::Stale),
        1 => Just(Act::Record),
        1 => Just(Act::Reopen),
    ]
}

/// The rules once more, as plainly as they can be said.
#[derive(Debug, Default)]
struct Model {
    revision: u64,
    rows: BTreeMap<&'static str, (Option<u32>, u64)>,
    ledger: BTreeMap<&'static str, (Digest, String, u64, Option<u32>)>,
    outbox: BTreeMap<u64, (Vec<&'static str>, Option<String>)>,
    commits: BTreeMap<u64, Option<String>>,
    audit: Vec<String>,
    events: u64,
}

impl Model {
    fn value(&self, name: &str) -> Option<u32> {
        self.rows.get(name).and_then(|row| row.0)
    }

    fn note(&mut self, name: &str, after: Option<u32>) {
        let verb = match (self.value(name), after) {
            (None, _) => "create",
            (_, Some(_)) => "edit",
            (_, None) => "delete",
        };
        self.audit.push(format!("{verb} server/{name}"));
    }

    fn edit(&mut self, changes: &[(usize, Option<u32>)]) {
        let real: Vec<_> = changes
            .iter()
            .filter(|(n, after)| self.value(NAMES[*n]) != *after)
            .collect();
        if real.is_empty() {
            return;
        }
        self.revision += 1;
        for (n, after) in &real {
            let before = self.value(NAMES[*n]);
            if let Some(ledger) = self.ledger.get_mut(NAMES[*n])
                && ledger.3.is_none()
                && before.is_some_and(|before| document(NAMES[*n], before).digest() == ledger.0)
            {
                ledger.3 = before;
            }
            self.note(NAMES[*n], *after);
            self.rows.insert(NAMES[*n], (*after, self.revision));
        }
        self.outbox
            .insert(self.revision, (real.iter().map(|(n, _)| NAMES[*n]).collect(), None));
        self.commits.insert(self.revision, None);
    }

    fn import(&mut self, changes: &[(usize, Option<u32>)], commit: &str) {
        let next = self.revision + 1;
        let mut moved = false;
        for (n, after) in changes {
            let name = NAMES[*n];
            let same = self.value(name) == *after;
            if !same {
                self.note(name, *after);
                moved = true;
            }
            if let Some(replicas) = after {
                if !same {
                    self.rows.insert(name, (*after, next));
                }
                let revision = self.rows[name].1;
                self.ledger.insert(
                    name,
                    (document(name, *replicas).digest(), commit.to_owned(), revision, None),
                );
            } else {
                self.rows.remove(name);
                self.ledger.remove(name);
            }
        }
        if moved {
            self.revision = next;
            self.commits.insert(next, Some(commit.to_owned()));
        }
    }

    fn merge(&mut self, name: &'static str, theirs: u32, after: u32, commit: &str) {
        self.note(name, Some(after));
        self.revision += 1;
        self.rows.insert(name, (Some(after), self.revision));
        let digest = document(name, theirs).digest();
        self.ledger.insert(name, (digest, commit.to_owned(), 0, Some(theirs)));
        self.commits.insert(self.revision, Some(commit.to_owned()));
        if !self.outbox.values().any(|(waiting, _)| waiting.contains(&name)) {
            self.outbox.insert(self.revision, (vec![name], None));
        }
    }

    fn leave(&mut self, revision: u64, names: &[&'static str], commit: Option<&str>) {
        let Some((waiting, attempt)) = self.outbox.get_mut(&revision) else {
            return;
        };
        let before = waiting.len();
        waiting.retain(|name| !names.contains(name));
        if waiting.len() < before {
            *attempt = None;
        }
        if waiting.is_empty() {
            self.outbox.remove(&revision);
            if let Some(commit) = commit {
                self.commits.insert(revision, Some(commit.to_owned()));
            }
        }
    }

    fn compare(&self, view: &StoreView) {
        assert_eq!(view.revision, self.revision);
        let rows: Vec<_> = view
            .rows
            .iter()
            .map(|(id, row)| (id.clone(), row.document.clone(), row.revision))
            .collect();
        let want: Vec<_> = self
            .rows
            .iter()
            .map(|(name, (value, revision))| (id(name), value.map(|n| document(name, n)), *revision))
            .collect();
        assert_eq!(rows, want);
        let ledger: Vec<_> = view.ledger.iter().map(|(id, row)| (id.clone(), row.clone())).collect();
        let want: Vec<_> = self
            .ledger
            .iter()
            .map(|(name, (digest, commit, revision, agreed))| {
                let (digest, commit, path) = (*digest, commit.clone(), id(name).canonical_path());
                (
                    id(name),
                    LedgerRow {
                        digest,
                        commit,
                        revision: *revision,
                        path,
                        document: agreed.map(|agreed| document(name, agreed)),
                    },
                )
            })
            .collect();
        assert_eq!(ledger, want);
        let outbox: Vec<_> = view
            .outbox
            .iter()
            .map(|export| {
                let ids: Vec<Id> = export.changes.iter().map(|change| change.id.clone()).collect();
                (export.revision, ids, export.attempt.clone())
            })
            .collect();
        let want: Vec<_> = self
            .outbox
            .iter()
            .map(|(revision, (names, attempt))| (*revision, names.iter().map(|n| id(n)).collect(), attempt.clone()))
            .collect();
        assert_eq!(outbox, want);
    }
}

async fn live(acts: Vec<Act>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let open = || {
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .unwrap();
        on(FileBackend::new(file).unwrap(), Retention::default()).unwrap()
    };
    let mut store = open();
    let mut model = Model::default();
    for (n, act) in acts.into_iter().enumerate() {
        let view = store.view();
        let commit = format!("c{n}");
        let by_name =
            |changes: &[(usize, Option<u32>)]| changes.iter().map(|(n, after)| (NAMES[*n], *after)).collect::<Vec<_>>();
        let export = |place: usize| view.outbox.get(place).map_or(999, |export| export.revision);
        match act {
            Act::Edit(changes) => {
                let made = store.edit(edit(&view, &by_name(&changes))).await.unwrap();
                model.edit(&changes);
                assert_eq!(made.is_some(), model.revision > view.revision);
            }
            Act::Import(changes, settles) => {
                let mut import = import(&view, &commit, &by_name(&changes));
                let settles: Vec<_> = settles
                    .into_iter()
                    .filter(|(n, _)| changes.iter().all(|(m, _)| m != n))
                    .collect();
                for (n, keep) in &settles {
                    let ledger = keep.then(|| LedgerRow {
                        digest: Digest::of(NAMES[*n]),
                        commit: commit.clone(),
                        revision: view.revision,
                        path: id(NAMES[*n]).canonical_path(),
                        document: None,
                    });
                    import.settle.push(settle(&view, NAMES[*n], ledger));
                }
                let made = store.import(import).await.unwrap();
                model.import(&changes, &commit);
                for (n, keep) in settles {
                    let name = NAMES[n];
                    if keep {
                        model
                            .ledger
                            .insert(name, (Digest::of(name), commit.clone(), view.revision, None));
                    } else {
                        model.ledger.remove(name);
                        if model.value(name).is_none() {
                            model.rows.remove(name);
                        }
                    }
                }
                assert_eq!(made.is_some(), model.revision > view.revision);
            }
            Act::Attempt(place) => {
                let told = store.record_attempt(export(place), Some(commit.clone())).await;
                match model.outbox.get_mut(&export(place)) {
                    Some(row) => row.1 = Some(commit),
                    None => assert!(matches!(told, Err(StoreError::NoExport(999)))),
                }
            }
            Act::Settle(place, names) => {
                let revision = export(place);
                let names: std::collections::BTreeSet<&'static str> = names.into_iter().map(|n| NAMES[n]).collect();
                let landed = |name: &str| {
                    let change = view
                        .outbox
                        .get(place)?
                        .changes
                        .iter()
                        .find(|change| change.id == id(name))?;
                    change
                        .after
                        .as_ref()
                        .map(|after| (after.digest(), id(name).canonical_path()))
                };
                let written = names.iter().map(|name| (id(name), landed(name))).collect();
                store.settle_export(revision, written, &commit).await.unwrap();
                if let Some((waiting, _)) = model.outbox.get(&revision).cloned() {
                    for name in names.iter().filter(|name| waiting.contains(name)) {
                        if let Some((digest, _)) = landed(name) {
                            let row = model.rows.get(name).copied().unwrap_or_default();
                            let same = row.0.is_some_and(|value| document(name, value).digest() == digest);
                            let written = (0..9).find(|value| document(name, *value).digest() == digest);
                            let agreed = if same { (row.1, None) } else { (revision, written) };
                            let row = (digest, commit.clone(), agreed.0, agreed.1);
                            model.ledger.insert(name, row);
                        } else {
                            model.ledger.remove(name);
                            if model.rows.get(name) == Some(&(None, revision)) {
                                model.rows.remove(name);
                            }
                        }
                    }
                    model.leave(revision, &names.into_iter().collect::<Vec<_>>(), Some(&commit));
                }
            }
            Act::Drop(place, names) => {
                let mut needless = import(&view, &commit, &[]);
                needless.drops = vec![(export(place), names.iter().map(|n| id(NAMES[*n])).collect())];
                store.import(needless).await.unwrap();
                model.leave(
                    export(place),
                    &names.iter().map(|n| NAMES[*n]).collect::<Vec<_>>(),
                    None,
                );
            }
            Act::Merge(n, theirs, after) => {
                let name = NAMES[n];
                if model.value(name).is_none_or(|now| now == after) {
                    continue;
                }
                let mut import = import(&view, &commit, &[(name, Some(after))]);
                import.changes[0].merged_with = Some(document(name, theirs));
                import.changes[0].digest = document(name, theirs).digest();
                store.import(import).await.unwrap();
                model.merge(name, theirs, after, &commit);
            }
            Act::Stale(name) => {
                let mut wrong = edit(&view, &[(NAMES[name], Some(9))]);
                wrong.changes[0].seen = Some(u64::MAX);
                assert!(matches!(store.edit(wrong).await, Err(StoreError::Stale { .. })));
            }
            Act::Record => {
                store.record(vec![event("happened")], vec![]).await.unwrap();
                model.events += 1;
            }
            Act::Reopen => {
                drop(store);
                store = open();
                assert_eq!(store.view(), view, "what was shown is what was kept");
            }
        }
        model.compare(&store.view());
    }
    let shown = store.view();
    drop(store);
    let store = open();
    assert_eq!(store.view(), shown);
    let audit = store.audit(0, 10_000).await.unwrap();
    assert_eq!(
        audit.into_iter().map(|event| event.action).collect::<Vec<_>>(),
        model.audit
    );
    assert_eq!(store.events(0, 10_000).await.unwrap().len() as u64, model.events);
    let mutations = store.mutations(10_000).await.unwrap();
    let commits: BTreeMap<u64, Option<String>> = mutations.into_iter().map(|m| (m.revision, m.commit)).collect();
    assert_eq!(commits, model.commits);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_store_is_what_plain_maps_say(acts in prop::collection::vec(act(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(live(acts));
    }
}
