//! What can go wrong with the store.

use std::path::PathBuf;

use crate::resource::Id;

/// Why the store could not do what was asked. Nothing was changed, but for [`StoreError::Unsure`].
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file is held by another process.
    #[error("another mcpd uses {}", .path.display())]
    InUse {
        /// The store's file.
        path: PathBuf,
    },
    /// The file was written by a newer mcpd.
    #[error("{} has schema version {found}, and this mcpd knows versions up to {known}", .path.display())]
    Newer {
        /// The store's file.
        path: PathBuf,
        /// The version that the file has.
        found: u64,
        /// The newest version that this program knows.
        known: u64,
    },
    /// The file is a redb database, but none of ours.
    #[error("{} is not a store of mcpd", .path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file can't be opened.
    #[error("can't open {}", .path.display())]
    Open {
        /// The store's file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<redb::Error>,
    },
    /// The database failed while it was read or written.
    #[error("the store's database failed")]
    Database(#[source] Box<redb::Error>),
    /// The disk failed while a commit was written and has not answered since: when it does, the view shows whether the
    /// change was made.
    #[error("the store's disk failed while the change was written: whether it was made shows once the disk answers")]
    Unsure(#[source] Box<redb::Error>),
    /// The file that is there now does not hold what was confirmed.
    #[error("{} is another store, or an older state of this one", .path.display())]
    Replaced {
        /// The store's file.
        path: PathBuf,
    },
    /// A stored value does not decode.
    #[error("the store's table {table} holds a value that can't be read at {key}")]
    Decode {
        /// The table.
        table: String,
        /// The key.
        key: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A value does not encode.
    #[error("a value can't be written into the store's table {table}")]
    Encode {
        /// The table.
        table: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A row is not the one that the caller saw.
    #[error("{id} was changed meanwhile: it is {}, not {}", at(*.found), at(*.seen))]
    Stale {
        /// Which resource.
        id: Id,
        /// The revision that the caller saw.
        seen: Option<u64>,
        /// The revision that it has.
        found: Option<u64>,
    },
    /// One request names a resource twice.
    #[error("{0} is changed twice in one request")]
    Twice(Id),
    /// The outbox does not hold that mutation.
    #[error("revision {0} is not waiting to be exported")]
    NoExport(u64),
    /// The system gave no random bytes for a new store's id.
    #[error("the system gave no random bytes: {0}")]
    Random(String),
    /// The work was cut off: the process is ending.
    #[error("the store's work was cut off")]
    CutOff(#[source] tokio::task::JoinError),
}

fn at(revision: Option<u64>) -> String {
    revision.map_or_else(|| "absent".to_owned(), |revision| format!("at revision {revision}"))
}

impl StoreError {
    /// Whether the storage failed, so that the database takes nothing more until it is opened anew.
    pub(super) fn is_of_storage(&self) -> bool {
        matches!(self, Self::Database(_) | Self::Unsure(_))
    }

    /// Whether asking again later may go well without anybody's doing: the disk may answer again.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Database(_) | Self::Unsure(_) | Self::Open { .. } | Self::Replaced { .. } | Self::InUse { .. }
        )
    }

    /// A way out, where there is one.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::InUse { .. } => Some("stop the other one, or use another data folder"),
            Self::Newer { .. } => Some("start the newer mcpd again; an older one never changes a newer store"),
            Self::Foreign { .. } => Some("use a data folder of its own"),
            Self::Open { .. } => Some("check that the file is whole and that mcpd may read and write it"),
            Self::Stale { .. } => Some("read it again and repeat the change"),
            Self::Database(_) | Self::Unsure(_) => Some(
                "check the disk below the data folder: mcpd goes on by itself once it answers, and what was confirmed is kept",
            ),
            Self::Replaced { .. } => Some("bring back the file, or restart mcpd to go on with this one"),
            Self::CutOff(_) => Some("restart mcpd: what was confirmed is kept"),
            Self::Decode { .. } | Self::Encode { .. } | Self::Twice(_) | Self::NoExport(_) | Self::Random(_) => None,
        }
    }
}

/// The many error types of redb are one to us.
macro_rules! from_redb {
    ($($kind:ident),*) => {$(
        impl From<redb::$kind> for StoreError {
            fn from(error: redb::$kind) -> Self {
                Self::Database(Box::new(error.into()))
            }
        }
    )*};
}

from_redb!(
    CommitError,
    SetDurabilityError,
    StorageError,
    TableError,
    TransactionError
);
