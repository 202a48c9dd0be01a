//! Storage that fails at each operation in turn: reads, writes, lengths, syncs; once, a few times, and until it is told to
//! answer again.

use super::disk::Disk;
use super::*;
use crate::record::{AuditEvent, Conflict, Mutation};

type Outcome = Result<(), StoreError>;

/// Everything that a store shows.
#[derive(Debug, PartialEq)]
struct Shown {
    view: StoreView,
    mutations: Vec<Mutation>,
    audit: Vec<AuditEvent>,
    events: Vec<Event>,
    conflicts: Vec<Conflict>,
    agreed: Option<String>,
}

async fn shown(store: &Store) -> Shown {
    Shown {
        view: (*store.view()).clone(),
        mutations: store.mutations(100).await.unwrap(),
        audit: store.audit(0, 100).await.unwrap(),
        events: store.events(0, 100).await.unwrap(),
        conflicts: store.conflicts().await.unwrap(),
        agreed: store.meta("agreed"),
    }
}

/// The steps of a life, each one transaction: every kind of call that writes.
async fn step(store: &Store, number: usize) -> Outcome {
    let view = store.view();
    match number {
        0 => {
            let mut first = import(&view, "c1", &[("a", Some(1)), ("b", Some(1)), ("c", Some(1))]);
            first.events = vec![event("read")];
            store.import(first).await.map(drop)
        }
        1 => store.set_meta("agreed", "c1").await,
        2 => store
            .edit(edit(&view, &[("a", Some(2)), ("b", None), ("d", Some(1))]))
            .await
            .map(drop),
        3 => store.record_attempt(2, Some("c2".to_owned())).await,
        4 => {
            let written = |name: &str, n| (id(name), Some((document(name, n).digest(), id(name).canonical_path())));
            store
                .settle_export(2, vec![written("a", 2), (id("b"), None), written("d", 1)], "c2")
                .await
        }
        5 => store.edit(edit(&view, &[("e", Some(1))])).await.map(drop),
        6 => {
            let mut drops = import(&view, "c2", &[]);
            drops.drops = vec![(3, vec![id("e")])];
            store.import(drops).await.map(drop)
        }
        7 => {
            let mut lost = import(&view, "c3", &[("c", None), ("a", Some(3))]);
            lost.conflicts = vec![Conflict {
                number: 0,
                fields: vec![],
                reason: None,
                id: id("a"),
                at: at(4),
                base: None,
                store: None,
                repository: Some(document("a", 9)),
                commit: "c3".to_owned(),
                place: None,
                revision: view.revision,
            }];
            store.import(lost).await.map(drop)
        }
        8 => store.record(vec![event("done")], vec![]).await,
        9 => {
            let numbers = store
                .conflicts()
                .await?
                .iter()
                .map(|conflict| conflict.number)
                .collect();
            store.end_conflicts(numbers, vec![event("ended")]).await
        }
        10 => store.set_metas([("agreed".to_owned(), None)].into()).await,
        _ => store.new_epoch(actor("mcpd"), at(5)).await.map(drop),
    }
}

const STEPS: usize = 12;

/// What is right after each number of steps, and how many operations of the disk that takes.
async fn right() -> (Vec<Shown>, usize) {
    let mut right = vec![];
    for steps in 0..=STEPS {
        let store = Disk::new(vec![], 0..0).store().unwrap();
        for number in 0..steps {
            step(&store, number).await.unwrap();
        }
        right.push(shown(&store).await);
    }
    let disk = Disk::new(vec![], 0..0);
    let store = disk.store().unwrap();
    for number in 0..STEPS {
        step(&store, number).await.unwrap();
    }
    for pair in right.windows(2) {
        assert_ne!(pair[0], pair[1]);
    }
    (right, disk.operations())
}

#[tokio::test]
async fn a_change_is_there_whole_or_not_at_all() {
    let (right, total) = right().await;
    let mut torn_openings = 0;
    for fails_at in 0..total {
        let failing = Disk::new(vec![], fails_at..usize::MAX);
        let Ok(store) = failing.store() else {
            // A file gets the store's name only when it was made whole: this one never does.
            torn_openings += 1;
            continue;
        };
        let mut done = 0;
        while done < STEPS && step(&store, done).await.is_ok() {
            done += 1;
        }
        assert!(done < STEPS);
        for _ in 0..2 {
            // A write that failed leaves the view as it was, and the disk is asked again each time.
            assert_eq!(*store.view(), right[done].view, "{fails_at}");
            assert_eq!(store.meta("agreed"), right[done].agreed);
            let before = failing.openings();
            assert!(step(&store, done).await.is_err(), "{fails_at}");
            assert!(failing.openings() > before, "{fails_at}");
        }
        assert!(store.mutations(1).await.is_err(), "{fails_at}");
        drop(store);
        for seed in 0..6 {
            let again = Disk::new(failing.after_power_cut(seed), 0..0).store().unwrap();
            let found = shown(&again).await;
            let now = if found == right[done] { done } else { done + 1 };
            assert_eq!(found, right[now], "{fails_at} {seed}: after {done} steps");
            for number in now..STEPS {
                step(&again, number).await.unwrap();
            }
            assert_eq!(
                shown(&again).await,
                right[STEPS],
                "{fails_at} {seed}: it goes on from there"
            );
        }
    }
    assert!(
        torn_openings > 0 && torn_openings < total / 2,
        "{torn_openings} of {total}"
    );
}

/// A life on a disk that fails now and then: what was told is what is there, and in the end nothing is missing.
async fn live(disk: &Disk, right: &[Shown], lasts: bool, what: &str) -> Option<usize> {
    // A start that fails is told, and tried again by whoever starts it.
    let store = disk.store().ok()?;
    let (mut done, mut unsure) = (0, 0);
    while done < STEPS {
        let told = step(&store, done).await;
        let now = usize::from(*store.view() != right[done].view || store.meta("agreed") != right[done].agreed);
        match told {
            Ok(()) => {
                done += 1;
                assert_eq!(*store.view(), right[done].view, "{what}: step {done}");
            }
            Err(error) => {
                assert!(error.may_pass() && error.hint().is_some(), "{what}: {error}");
                unsure += usize::from(matches!(error, StoreError::Unsure(_)));
                assert_eq!(now, 0, "{what}: {error}: a write that is told as failed is not shown");
                if lasts {
                    disk.answer();
                }
                // The disk answers again: no matter who asks, the store is whole.
                let found = loop {
                    if store.mutations(1).await.is_ok() {
                        break shown(&store).await;
                    }
                };
                let made = found != right[done];
                assert!(!made || matches!(error, StoreError::Unsure(_)), "{what}: {error}");
                done += usize::from(made);
                assert_eq!(found, right[done], "{what}");
            }
        }
    }
    assert_eq!(shown(&store).await, right[STEPS], "{what}");
    drop(store);
    // And it is on the disk.
    for seed in 0..2 {
        let again = Disk::new(disk.after_power_cut(seed), 0..0).store().unwrap();
        assert_eq!(shown(&again).await, right[STEPS], "{what}");
    }
    Some(unsure)
}

/// Each operation fails in turn, once, a few times, and until the disk is told to answer; and each time the store goes on
/// by itself, whatever the disk made of what was not synced.
#[tokio::test]
async fn the_store_goes_on_when_the_disk_answers_again() {
    let (right, total) = right().await;
    let (mut lives, mut unsure) = (0, 0);
    for at in 0..total {
        let any = 2 + at as u64;
        for (many, seed) in [(1, 0), (1, 1), (1, any), (4, any), (usize::MAX - total, any % 5)] {
            let disk = Disk::new(vec![], at..at + many);
            disk.keep(seed);
            let what = format!("operation {at} and {many} of {total}, seed {seed}");
            if let Some(told) = live(&disk, &right, many > total, &what).await {
                lives += 1;
                unsure += told;
            }
        }
    }
    assert!(lives > 3 * total, "{lives} of {total}");
    assert!(unsure > 0, "no commit was ever in doubt");
}

/// What comes back must be the same store, and no older state of it: a disk that loses what it confirmed is told.
#[tokio::test]
async fn another_store_in_its_place_is_refused() {
    let disk = Disk::new(vec![], 0..0);
    let store = disk.store().unwrap();
    step(&store, 0).await.unwrap();
    let older = disk.after_power_cut(1);
    step(&store, 1).await.unwrap();
    let newest = disk.after_power_cut(1);
    let other = Disk::new(vec![], 0..0);
    drop(other.store().unwrap());
    let view = store.view();
    for bytes in [older, other.after_power_cut(1)] {
        disk.replace(bytes);
        disk.fail(1);
        assert!(step(&store, 2).await.is_err());
        let told = step(&store, 2).await.unwrap_err();
        assert!(matches!(told, StoreError::Replaced { .. }), "{told}");
        assert!(store.mutations(1).await.is_err());
        assert_eq!(store.view(), view, "what was confirmed is shown");
        disk.replace(newest.clone());
        assert!(store.mutations(1).await.is_ok());
    }
    step(&store, 2).await.unwrap();
}

/// Readers and writers at once, while the disk comes and goes: nobody is stuck, nothing half-done is seen.
#[tokio::test(flavor = "multi_thread")]
async fn readers_see_whole_states_while_the_disk_comes_and_goes() {
    let disk = Disk::new(vec![], 0..0);
    let store = disk.store().unwrap();
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut answers = 0;
                loop {
                    // Both servers are always changed together.
                    let view = store.view();
                    let of = |name| view.rows.get(&id(name)).map(|row| row.revision);
                    assert_eq!(of("a"), of("b"));
                    if let Ok(mutations) = store.mutations(1000).await {
                        answers += 1;
                        assert!(mutations.len() as u64 >= view.revision);
                        if mutations.len() == 200 {
                            return answers;
                        }
                    }
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    let mut written = 0;
    while written < 200 {
        if written % 7 == 0 {
            disk.fail(usize::try_from(written % 5).unwrap());
        }
        let both = edit(&store.view(), &[("a", Some(written % 10)), ("b", Some(written % 10))]);
        // A commit in doubt may be there after all: what the view says counts.
        let _ = store.edit(both).await;
        written = u32::try_from(store.view().revision).unwrap();
    }
    disk.answer();
    for reader in readers {
        assert!(reader.await.unwrap() > 0);
    }
}

/// A real file: it is opened again and stays ours, and one that is gone is never taken for an empty store.
#[tokio::test]
async fn a_real_file_is_opened_again_and_never_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (path, aside) = (folder.path().join("store.redb"), folder.path().join("aside"));
    let store = Store::open(&path).await.unwrap();
    step(&store, 0).await.unwrap();
    store.door.fail();
    step(&store, 1).await.unwrap();
    assert!(!store.door.has_failed());
    assert!(matches!(Store::open(&path).await, Err(StoreError::InUse { .. })));

    std::fs::rename(&path, &aside).unwrap();
    store.door.fail();
    let before = store.view();
    for _ in 0..2 {
        let told = step(&store, 2).await.unwrap_err();
        assert!(matches!(told, StoreError::Open { .. }) && told.may_pass(), "{told}");
        assert!(store.mutations(1).await.is_err());
        assert_eq!(store.view(), before);
        assert!(!path.exists());
    }
    std::fs::rename(&aside, &path).unwrap();
    step(&store, 2).await.unwrap();
    assert_eq!(store.mutations(1).await.unwrap().len(), 1);
}
