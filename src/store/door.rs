//! The one door to the database. redb blocks: everything here runs on threads that may wait.
//!
//! # Guarantees
//! redb takes nothing more after one operation of its storage failed. The database is then closed and opened again, at
//! once and with each further call until the disk answers; the view, the facts and the numbers are read anew. Meanwhile
//! the view goes on to show what was committed last.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use redb::{Database, Durability, ReadTransaction, ReadableDatabase, StorageError};
use tokio::sync::{Mutex, OwnedMutexGuard, watch};

use crate::record::StoreView;

use super::batch::{Batch, Sequences};
use super::error::StoreError;
use super::migrate::{self, Step};
use super::opening::{Opening, Presence};
use super::read;
use super::schema::{self, Retention};

/// Follows the name of a store that is being made; random digits follow.
const UNFINISHED: &str = ".new-";

/// Runs something that blocks. Once begun it runs to its end, even where nobody waits for it any more.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.map_err(StoreError::CutOff)?
}

/// The right to write. Who holds it knows that nothing else moves the state.
pub(super) type Turn = OwnedMutexGuard<Sequences>;

/// The open database with what is kept of it in memory.
#[derive(Debug)]
pub(super) struct Door {
    path: PathBuf,
    opening: Opening,
    /// Nothing: it could not be opened again yet.
    database: RwLock<Option<Database>>,
    /// Set when the storage failed: whoever comes next opens the database again.
    failed: AtomicBool,
    keep: Retention,
    turn: Arc<Mutex<Sequences>>,
    view: RwLock<Arc<StoreView>>,
    facts: RwLock<BTreeMap<String, String>>,
    changed: watch::Sender<u64>,
    events_changed: watch::Sender<u64>,
}

/// What is kept of a database in memory.
struct Held {
    view: StoreView,
    sequences: Sequences,
    facts: BTreeMap<String, String>,
}

impl Held {
    fn read(database: &Database) -> Result<Self, StoreError> {
        let transaction = database.begin_read()?;
        let held = Self {
            view: read::view(&transaction)?,
            sequences: read::sequences(&transaction)?,
            facts: read::facts(&transaction)?,
        };
        transaction.close()?;
        Ok(held)
    }
}

impl Door {
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let failed = |error: io::Error| StoreError::Open {
            path: path.to_owned(),
            source: Box::new(redb::Error::Io(error)),
        };
        if !path.try_exists().map_err(failed)? {
            create(path, failed)?;
        }
        let door = Self::with(
            Opening::of_file(path, path, Presence::Needed),
            path,
            migrate::CHAIN,
            Retention::default(),
        )?;
        sweep(path);
        Ok(door)
    }

    /// Opens on any storage, with any chain: tests break both.
    pub(super) fn with(opening: Opening, path: &Path, chain: &[Step], keep: Retention) -> Result<Self, StoreError> {
        let database = opening.open()?;
        migrate::migrate(&database, chain, path)?;
        let Held { view, sequences, facts } = Held::read(&database)?;
        Ok(Self {
            path: path.to_owned(),
            opening,
            database: RwLock::new(Some(database)),
            failed: AtomicBool::new(false),
            keep,
            turn: Arc::new(Mutex::new(sequences)),
            changed: watch::Sender::new(view.revision),
            events_changed: watch::Sender::new(sequences.event),
            view: RwLock::new(Arc::new(view)),
            facts: RwLock::new(facts),
        })
    }

    pub(super) fn view(&self) -> Arc<StoreView> {
        // A poisoned lock is no reason to stop: nothing that can panic runs under it.
        Arc::clone(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn fact(&self, key: &str) -> Option<String> {
        let facts = self.facts.read().unwrap_or_else(PoisonError::into_inner);
        facts.get(key).cloned()
    }

    /// The small facts whose names begin so.
    pub(super) fn facts(&self, prefix: &str) -> BTreeMap<String, String> {
        let facts = self.facts.read().unwrap_or_else(PoisonError::into_inner);
        let from = facts.range(prefix.to_owned()..);
        from.take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    pub(super) fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub(super) fn events_changed(&self) -> watch::Receiver<u64> {
        self.events_changed.subscribe()
    }

    /// Waits for the right to write, in order of arrival, without holding a thread.
    pub(super) async fn turn(&self) -> Turn {
        Arc::clone(&self.turn).lock_owned().await
    }

    /// Whether the storage failed since the database was opened: who asks then needs a turn.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::SeqCst)
    }

    /// As if the storage had failed, for tests with a real file.
    #[cfg(test)]
    pub(super) fn fail(&self) {
        self.failed.store(true, Ordering::SeqCst);
    }

    /// Commits what a plan asks for, then brings the view along.
    ///
    /// # Guarantees
    /// Where this returns an error, the view is what it was, but for [`StoreError::Unsure`]: the disk failed while the
    /// commit was written and did not answer when it was asked which it was. The view is what it was then too, until
    /// the disk answers.
    pub(super) fn commit<T>(
        &self,
        mut turn: Turn,
        plan: impl FnOnce(&StoreView) -> Result<(Batch, T), StoreError>,
    ) -> Result<T, StoreError> {
        self.mend(&mut turn)?;
        let (mut batch, answer) = plan(&self.view())?;
        if batch.is_empty() {
            return Ok(answer);
        }
        let next = batch.number(*turn);
        let Err(error) = self.write(&batch, next) else {
            *turn = next;
            self.publish(batch, next);
            return Ok(answer);
        };
        if !error.is_of_storage() {
            return Err(error);
        }
        self.failed.store(true, Ordering::SeqCst);
        tracing::warn!(error = &error as &dyn std::error::Error, "the store's disk failed");
        match self.mend(&mut turn) {
            Ok(()) if turn.commit == next.commit => Ok(answer),
            // It is known now that it was not made.
            Ok(()) => Err(match error {
                StoreError::Unsure(source) => StoreError::Database(source),
                other => other,
            }),
            Err(_) => Err(error),
        }
    }

    fn write(&self, batch: &Batch, next: Sequences) -> Result<(), StoreError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_ref().ok_or(StorageError::PreviousIo)?;
        let mut transaction = database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        batch.write(&transaction, self.keep, next.commit)?;
        transaction
            .commit()
            .map_err(|error| StoreError::Unsure(Box::new(error.into())))
    }

    /// Opens the database again where its storage failed, and takes over what it holds.
    fn mend(&self, turn: &mut Turn) -> Result<(), StoreError> {
        if !self.has_failed() {
            return Ok(());
        }
        let mut place = self.database.write().unwrap_or_else(PoisonError::into_inner);
        // The file's lock is let go of with it.
        *place = None;
        let database = self.opening.open()?;
        let held = Held::read(&database)?;
        let other = held.facts.get(schema::STORE).cloned() != self.fact(schema::STORE);
        if other || held.sequences.commit < turn.commit {
            return Err(StoreError::Replaced {
                path: self.path.clone(),
            });
        }
        *place = Some(database);
        self.failed.store(false, Ordering::SeqCst);
        drop(place);
        **turn = held.sequences;
        *self.facts.write().unwrap_or_else(PoisonError::into_inner) = held.facts;
        let (revision, mut view) = (held.view.revision, held.view);
        view.follow(&self.view());
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(view);
        // Who follows looks again: a commit may be there that seemed to fail, and writing is worth another try.
        self.changed.send_replace(revision);
        self.events_changed.send_replace(held.sequences.event);
        tracing::info!("the store's disk answers again");
        Ok(())
    }

    fn publish(&self, batch: Batch, sequences: Sequences) {
        let (view_changed, events_changed) = (batch.changes_view(), !batch.events.is_empty());
        if !batch.facts.is_empty() {
            let mut facts = self.facts.write().unwrap_or_else(PoisonError::into_inner);
            for (key, value) in batch.facts.clone() {
                match value {
                    Some(value) => drop(facts.insert(key, value)),
                    None => drop(facts.remove(&key)),
                }
            }
        }
        if view_changed {
            let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
            // Where somebody still holds the last view this copies it once; else the change is made in place.
            batch.apply(Arc::make_mut(&mut view));
            let revision = view.revision;
            drop(view);
            self.changed.send_replace(revision);
        }
        if events_changed {
            self.events_changed.send_replace(sequences.event);
        }
    }

    /// Answers a question from the committed state of the database. With a turn a database that failed is opened again
    /// first.
    pub(super) fn ask<T>(
        &self,
        turn: Option<Turn>,
        question: impl FnOnce(&ReadTransaction) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if let Some(mut turn) = turn {
            self.mend(&mut turn)?;
        }
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let answer = match database.as_ref() {
            Some(database) => database
                .begin_read()
                .map_err(StoreError::from)
                .and_then(|transaction| question(&transaction)),
            None => Err(StorageError::PreviousIo.into()),
        };
        if answer.as_ref().is_err_and(StoreError::is_of_storage) {
            self.failed.store(true, Ordering::SeqCst);
        }
        answer
    }
}

/// Makes a new store whole before it gets its name: redb refuses a file whose first writing was cut off, for good.
fn create(path: &Path, failed: impl Fn(io::Error) -> StoreError) -> Result<(), StoreError> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| StoreError::Random(error.to_string()))?;
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(format!("{UNFINISHED}{:016x}", u64::from_ne_bytes(random)));
    let unfinished = PathBuf::from(unfinished);
    drop(Door::with(
        Opening::of_file(&unfinished, path, Presence::Made),
        path,
        migrate::CHAIN,
        Retention::default(),
    )?);
    // A link never replaces a store that another process made meanwhile; a rename would.
    match fs::hard_link(&unfinished, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists || path.exists() => {}
        // A file system without links.
        Err(_) => fs::rename(&unfinished, path).map_err(&failed)?,
        Ok(()) => {}
    }
    // The name must outlive a power cut as well. What is left of the other name is swept when the store is open.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    fs::File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(failed)
}

/// Removes what creations that were cut off have left. What can't be removed does no harm.
fn sweep(path: &Path) {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return;
    };
    let prefix = format!("{}{UNFINISHED}", name.to_string_lossy());
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            drop(fs::remove_file(entry.path()));
        }
    }
}
