//! Conflicts: what lost is kept.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::kit::time::Timestamp;
use crate::resource::{Document, Id};

/// Both sides changed a resource; the store's side was kept. The latest conflict of a resource replaces the one before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// Which resource.
    pub id: Id,
    /// What both last agreed on, where it is known.
    pub base: Option<Arc<Document>>,
    /// What the repository said: it lost. Nothing where it deleted the resource.
    pub repository: Option<Arc<Document>>,
    /// What the store said: it was kept. Nothing where it was deleted.
    pub store: Option<Arc<Document>>,
    /// The commit of the losing side.
    pub commit: String,
    /// The file and line of the losing side, where it has one.
    pub place: Option<String>,
    /// When it was found.
    pub at: Timestamp,
    /// The store's revision at that time.
    pub revision: u64,
}
