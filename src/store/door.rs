//! The one door to the database. redb blocks: everything here runs on threads that may wait.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError, Durability, ReadTransaction, ReadableDatabase, StorageBackend};
use tokio::sync::{Mutex, OwnedMutexGuard, watch};

use crate::record::StoreView;

use super::batch::{Batch, Sequences};
use super::error::StoreError;
use super::migrate::{self, Step};
use super::read;
use super::schema::Retention;

/// Pages that redb keeps in memory. Rows are in the view anyway, and redb's own default is a gibibyte.
const CACHE_BYTES: usize = 8 << 20;

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
    database: Database,
    keep: Retention,
    turn: Arc<Mutex<Sequences>>,
    view: RwLock<Arc<StoreView>>,
    facts: RwLock<BTreeMap<String, String>>,
    changed: watch::Sender<u64>,
    events_changed: watch::Sender<u64>,
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
        let door = Self::on_file(path, path, failed)?;
        sweep(path);
        Ok(door)
    }

    /// Opens `file`, which is or becomes the store `path`.
    fn on_file(file: &Path, path: &Path, failed: impl Fn(io::Error) -> StoreError) -> Result<Self, StoreError> {
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(file)
            .map_err(&failed)?;
        let backend = FileBackend::new(opened).map_err(|error| opening(path, error))?;
        Self::with_backend(backend, path, migrate::CHAIN, Retention::default())
    }

    /// Opens on any storage, with any chain: tests break both.
    pub(super) fn with_backend(
        backend: impl StorageBackend,
        path: &Path,
        chain: &[Step],
        keep: Retention,
    ) -> Result<Self, StoreError> {
        let database = Builder::new()
            .set_cache_size(CACHE_BYTES)
            .create_with_backend(backend)
            .map_err(|error| opening(path, error))?;
        migrate::migrate(&database, chain, path)?;
        let transaction = database.begin_read()?;
        let view = read::view(&transaction)?;
        let sequences = read::sequences(&transaction)?;
        let facts = read::facts(&transaction)?;
        transaction.close()?;
        Ok(Self {
            database,
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

    /// Commits what a plan asks for, then brings the view along.
    ///
    /// # Guarantees
    /// Where this returns an error, the view is what it was. After an error of the storage itself redb refuses further
    /// writes, so the view can't leave behind a commit that only seemed to fail: the next open tells which it was.
    pub(super) fn commit<T>(
        &self,
        mut turn: Turn,
        plan: impl FnOnce(&StoreView) -> Result<(Batch, T), StoreError>,
    ) -> Result<T, StoreError> {
        let (mut batch, answer) = plan(&self.view())?;
        if batch.is_empty() {
            return Ok(answer);
        }
        let sequences = batch.number(*turn);
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        batch.write(&transaction, self.keep)?;
        transaction.commit()?;
        *turn = sequences;
        self.publish(batch, sequences);
        Ok(answer)
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

    /// Answers a question from the committed state of the database.
    pub(super) fn ask<T>(
        &self,
        question: impl FnOnce(&ReadTransaction) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        question(&self.database.begin_read()?)
    }
}

/// Makes a new store whole before it gets its name: redb refuses a file whose first writing was cut off, for good.
fn create(path: &Path, failed: impl Fn(io::Error) -> StoreError) -> Result<(), StoreError> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| StoreError::Random(error.to_string()))?;
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(format!("{UNFINISHED}{:016x}", u64::from_ne_bytes(random)));
    let unfinished = PathBuf::from(unfinished);
    drop(Door::on_file(&unfinished, path, &failed)?);
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

fn opening(path: &Path, error: DatabaseError) -> StoreError {
    let path = path.to_owned();
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => StoreError::InUse { path },
        error => StoreError::Open {
            path,
            source: Box::new(error.into()),
        },
    }
}
