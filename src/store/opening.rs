//! How the database is opened: at the start, and again after its storage failed.

use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError, StorageBackend};
use rustix::fs::Advice;

use super::error::StoreError;

/// Pages that redb keeps in memory. Rows are in the view anyway, and redb's own default is a gibibyte.
const CACHE_BYTES: usize = 8 << 20;

/// Whether the file has to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    /// It is: a file that is gone is never taken for an empty store.
    Needed,
    /// It is made.
    Made,
}

/// Opens the database, as often as it is asked to.
pub(super) struct Opening(Box<dyn Fn() -> Result<Database, StoreError> + Send + Sync>);

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opening")
    }
}

impl Opening {
    /// Opens `file`, which is or becomes the store `path`.
    pub(super) fn of_file(file: &Path, path: &Path, presence: Presence) -> Self {
        let (file, path) = (file.to_owned(), path.to_owned());
        Self(Box::new(move || {
            let failed = |error: io::Error| StoreError::Open {
                path: path.clone(),
                source: Box::new(redb::Error::Io(error)),
            };
            let opened = OpenOptions::new()
                .read(true)
                .write(true)
                .create(presence == Presence::Made)
                .truncate(false)
                .mode(0o600)
                .open(&file)
                .map_err(failed)?;
            // What the kernel failed to write it may go on to show as written. It forgets its own copy, so that what is
            // read from here on is what the disk has. Where it does not take the advice, nothing is worse than before.
            opened.sync_all().map_err(failed)?;
            let _ = rustix::fs::fadvise(&opened, 0, None, Advice::DontNeed);
            let backend = FileBackend::new(opened).map_err(|error| describe(&path, error))?;
            database(backend, &path)
        }))
    }

    /// Opens what `storage` gives, for tests that break it.
    #[cfg(test)]
    pub(super) fn of<Storage: StorageBackend>(
        storage: impl Fn() -> Result<Storage, StoreError> + Send + Sync + 'static,
        path: &Path,
    ) -> Self {
        let path = path.to_owned();
        Self(Box::new(move || database(storage()?, &path)))
    }

    /// The database as it is now.
    pub(super) fn open(&self) -> Result<Database, StoreError> {
        (self.0)()
    }
}

fn database(storage: impl StorageBackend, path: &Path) -> Result<Database, StoreError> {
    Builder::new()
        .set_cache_size(CACHE_BYTES)
        .create_with_backend(storage)
        .map_err(|error| describe(path, error))
}

fn describe(path: &Path, error: DatabaseError) -> StoreError {
    let path = path.to_owned();
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => StoreError::InUse { path },
        error => StoreError::Open {
            path,
            source: Box::new(error.into()),
        },
    }
}
