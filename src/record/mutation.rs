//! Changes as they are written down: rows, mutations, and the exports and agreements that follow them.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::kit::Digest;
use crate::kit::time::Timestamp;
use crate::resource::{Document, Id};

use super::conflict::Conflict;
use super::event::Event;

/// Who did it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The name that is shown: `admin`, an e-mail address, or `mcpd`.
    pub name: String,
    /// Where it came in: `api`, `push`, `folder`, `mcpd`.
    pub door: String,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The store's row of a resource. A deletion leaves a tombstone (`document: None`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The declaration in force.
    pub document: Option<Arc<Document>>,
    /// The revision that wrote it.
    pub revision: u64,
}

/// What both sides last agreed on, for one resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerRow {
    /// The digest of the canonical document.
    pub digest: Digest,
    /// The commit (or folder digest) in which it was read or written.
    pub commit: String,
    /// The revision of the store's row.
    pub revision: u64,
    /// The file that holds it, from the repository's root.
    pub path: String,
    /// What was agreed on, kept while the store's row says something else: what both sides changed since can then be told
    /// apart, in a folder too, which has no history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<Arc<Document>>,
}

/// One resource's change within a mutation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Which resource.
    pub id: Id,
    /// What it was.
    pub before: Option<Arc<Document>>,
    /// What it is now; nothing where it was deleted.
    pub after: Option<Arc<Document>>,
}

/// What one request asked for: one transaction, one revision, and (from any door but the repository) one commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mutation {
    /// The store's revision that it made.
    pub revision: u64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
    /// One line: `update server/time: replicas 1 → 2`.
    pub message: String,
    /// The changes, in apply order.
    pub changes: Vec<Change>,
    /// The commit that carries it: the imported one, or the exported one once it has landed.
    pub commit: Option<String>,
}

/// A row of the outbox: a mutation that is not in the repository yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingExport {
    /// The mutation's revision.
    pub revision: u64,
    /// When it was made.
    pub at: Timestamp,
    /// The author.
    pub actor: Actor,
    /// The commit message's first line.
    pub message: String,
    /// What is still to be written.
    pub changes: Vec<Change>,
    /// What else the commit's message tells: whose edits these changes were kept over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The mark of an export under way, recorded before the ref moves (before the files are written): a commit id, or in
    /// a folder one `path=digest` a line. Recovery asks whether it landed.
    pub attempt: Option<String>,
}

/// A change that people asked for through a door other than the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
    /// One line, as in the commit.
    pub message: String,
    /// What is to change, in apply order.
    pub changes: Vec<EditChange>,
    /// The store's revision at which references were found whole, where that matters: another one refuses the whole edit.
    pub checked_at: Option<u64>,
}

/// One resource of an [`Edit`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EditChange {
    /// Which resource.
    pub id: Id,
    /// The revision of the row that the caller saw (nothing: no row). Another one refuses the whole edit.
    pub seen: Option<u64>,
    /// What it shall be; nothing deletes it.
    pub after: Option<Arc<Document>>,
}

/// What agreeing brings from the repository into the store: one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// When.
    pub at: Timestamp,
    /// Whose push or edit it was.
    pub actor: Actor,
    /// One line, for the list of revisions.
    pub message: String,
    /// The commit that was read.
    pub commit: String,
    /// Rows to change; where there are none, no revision is made.
    pub changes: Vec<ImportChange>,
    /// The store's revision at which references were found whole, where that matters: another one refuses the whole import.
    pub checked_at: Option<u64>,
    /// Ledger rows to write (or to remove) without changing a row.
    pub settle: Vec<Settle>,
    /// Changes of the outbox that are to be written on top of what the repository says now.
    pub rebase: Vec<Rebase>,
    /// Changes that leave the outbox, by its row: the repository says the same, or has the last word. In the transaction
    /// that makes them needless, so that none of them is written later, out of its order.
    pub drops: Vec<(u64, Vec<Id>)>,
    /// What lost against the store.
    pub conflicts: Vec<Conflict>,
    /// What to tell people.
    pub events: Vec<Event>,
}

/// One resource of an [`Import`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportChange {
    /// Which resource.
    pub id: Id,
    /// The revision of the row that the plan saw (nothing: no row). Another one refuses the whole import.
    pub seen: Option<u64>,
    /// What it shall be; nothing deletes it, and its ledger row and tombstone go.
    pub after: Option<Arc<Document>>,
    /// The digest of what the repository says, which is known since it was read; unused for a deletion.
    pub digest: Digest,
    /// The file that holds it; unused for a deletion.
    pub path: String,
    /// Of a merge: what the repository says, which is what both sides have seen. What the row becomes is still to be
    /// exported. Nothing: the row becomes what the repository says.
    pub merged_with: Option<Arc<Document>>,
}

/// The ledger moves and the row stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settle {
    /// Which resource.
    pub id: Id,
    /// The revision of the row that the plan saw (nothing: no row). Another one refuses the whole import.
    pub seen: Option<u64>,
    /// The new ledger row; nothing removes it (and the tombstone, where the row is one).
    pub ledger: Option<LedgerRow>,
}

/// A change that waits in the outbox, moved on top of what the repository says now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebase {
    /// The row of the outbox.
    pub revision: u64,
    /// Which resource, with what the repository says before it and after it.
    pub change: Change,
    /// What its commit is to tell of whom it was kept over.
    pub note: Option<String>,
}
