//! Storage that fails at each operation in turn, and that then loses any part of what was not synced yet.

use std::io::{Error, ErrorKind, Result};
use std::sync::{Mutex, MutexGuard};

use super::*;

/// The bytes of a disk that outlive the process, and what was written since the last sync.
#[derive(Debug, Default)]
struct Disk {
    synced: Vec<u8>,
    now: Vec<u8>,
    since: Vec<Write>,
    operations: usize,
    fails_at: usize,
}

#[derive(Debug, Clone)]
enum Write {
    Bytes(usize, Vec<u8>),
    Length(usize),
}

fn perform(bytes: &mut Vec<u8>, write: &Write) {
    match write {
        Write::Length(length) => bytes.resize(*length, 0),
        Write::Bytes(offset, data) => {
            let end = offset + data.len();
            bytes.resize(bytes.len().max(end), 0);
            bytes[*offset..end].copy_from_slice(data);
        }
    }
}

#[derive(Debug, Clone, Default)]
struct Failing(Arc<Mutex<Disk>>);

impl Failing {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap()
    }

    /// Counts an operation; from the appointed one on, all fail.
    fn step(&self) -> Result<MutexGuard<'_, Disk>> {
        let mut disk = self.disk();
        disk.operations += 1;
        if disk.operations > disk.fails_at {
            return Err(Error::other("the disk is gone"));
        }
        Ok(disk)
    }

    fn write_down(&self, write: Write) -> Result<()> {
        let mut disk = self.step()?;
        perform(&mut disk.now, &write);
        disk.since.push(write);
        Ok(())
    }

    /// What a power cut may leave: all that was synced, and any part of what was not.
    fn after_power_cut(&self, seed: u64) -> Vec<u8> {
        let disk = self.disk();
        let mut bytes = disk.synced.clone();
        let mut random = seed;
        for write in &disk.since {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let keep = match seed {
                0 => false,
                1 => true,
                _ => random >> 63 == 0,
            };
            // A file's length is kept in order; its bytes need not be.
            if keep || matches!(write, Write::Length(_)) {
                perform(&mut bytes, write);
            }
        }
        bytes
    }
}

impl StorageBackend for Failing {
    fn len(&self) -> Result<u64> {
        Ok(self.disk().now.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let disk = self.disk();
        let start = usize::try_from(offset).unwrap();
        let found = disk.now.get(start..start + out.len()).ok_or(ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.write_down(Write::Length(usize::try_from(len).unwrap()))
    }

    fn sync_data(&self) -> Result<()> {
        let mut disk = self.step()?;
        disk.synced = disk.now.clone();
        disk.since.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.write_down(Write::Bytes(usize::try_from(offset).unwrap(), data.to_vec()))
    }
}

fn disk(bytes: Vec<u8>, fails_at: usize) -> Failing {
    Failing(Arc::new(Mutex::new(Disk {
        now: bytes.clone(),
        synced: bytes,
        since: vec![],
        operations: 0,
        fails_at,
    })))
}

/// Everything that a store shows.
type Shown = (
    StoreView,
    Vec<crate::record::Mutation>,
    Vec<crate::record::AuditEvent>,
    Vec<Event>,
    Option<String>,
);

async fn shown(store: &Store) -> Shown {
    (
        (*store.view()).clone(),
        store.mutations(100).await.unwrap(),
        store.audit(0, 100).await.unwrap(),
        store.events(0, 100).await.unwrap(),
        store.meta("agreed"),
    )
}

/// The steps of a short life, each one transaction.
async fn step(store: &Store, number: usize) -> std::result::Result<(), StoreError> {
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
        _ => store
            .import(import(&view, "c3", &[("c", None), ("a", Some(3))]))
            .await
            .map(drop),
    }
}

const STEPS: usize = 6;

#[tokio::test]
async fn a_change_is_there_whole_or_not_at_all() {
    // What is right after each number of steps.
    let good = disk(vec![], usize::MAX);
    let store = on(good.clone(), Retention::default()).unwrap();
    let mut right = vec![shown(&store).await];
    for number in 0..STEPS {
        step(&store, number).await.unwrap();
        right.push(shown(&store).await);
    }
    let total = good.disk().operations;
    drop(store);
    assert!(right.windows(2).all(|pair| pair[0] != pair[1]));

    let mut torn_openings = 0;
    for fails_at in 0..total {
        let failing = disk(vec![], fails_at);
        let mut done = 0;
        let store = on(failing.clone(), Retention::default());
        if let Ok(store) = &store {
            while done < STEPS && step(store, done).await.is_ok() {
                done += 1;
            }
            assert_eq!(
                *store.view(),
                right[done].0,
                "a failed write leaves the view as it was ({fails_at})"
            );
            assert_eq!(store.meta("agreed"), right[done].4);
            if done < STEPS {
                assert!(
                    step(store, done).await.is_err(),
                    "a broken store takes nothing more ({fails_at})"
                );
                assert_eq!(*store.view(), right[done].0);
            }
        }
        if store.is_err() {
            // A file gets the store's name only when it was made whole: this one never does.
            torn_openings += 1;
            continue;
        }
        drop(store);
        for seed in 0..6 {
            let again = on(disk(failing.after_power_cut(seed), usize::MAX), Retention::default()).unwrap();
            let found = shown(&again).await;
            let whole = [right.get(done), right.get(done + 1)];
            assert!(
                whole.contains(&Some(&found)),
                "{fails_at} {seed}: after {done} steps: {found:#?}"
            );
            for number in STEPS - (right.len() - 1 - right.iter().position(|state| *state == found).unwrap())..STEPS {
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
