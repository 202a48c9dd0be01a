//! Conflicts: what lost is kept.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::kit::time::Timestamp;
use crate::resource::{Document, Id};

/// A field's place in a document: the keys of mappings from the outside in; in `env` the variable's name.
pub type FieldPath = Vec<String>;

/// Both sides changed a resource in a way that can't be brought together; the store's side was kept. The newest 10,000 are
/// kept until somebody accepts a side, or until what lost is in force after all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// Rises by one with every conflict; 0 before it is stored.
    #[serde(default)]
    pub number: u64,
    /// Which resource.
    pub id: Id,
    /// What both last agreed on, where it is known.
    pub base: Option<Arc<Document>>,
    /// What the repository said: it lost. Nothing where it deleted the resource.
    pub repository: Option<Arc<Document>>,
    /// What the store said: it was kept. Nothing where it was deleted.
    pub store: Option<Arc<Document>>,
    /// The fields that lost; the others were merged. Empty: all that the repository said.
    #[serde(default)]
    pub fields: Vec<FieldPath>,
    /// Why it was not merged by field, where it was tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The commit of the losing side.
    pub commit: String,
    /// The file and line of the losing side, where it has one.
    pub place: Option<String>,
    /// When it was found.
    pub at: Timestamp,
    /// The store's revision at that time.
    pub revision: u64,
}
