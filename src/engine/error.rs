//! What can go wrong in the engine, as its callers need to tell it apart.

use crate::kit::Diagnostic;
use crate::reconcile::agree::MassDelete;
use crate::repo::RepoError;
use crate::resource::Id;
use crate::store::StoreError;

/// Why the engine did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// What was sent is not valid.
    #[error("{}", summary(.0))]
    Invalid(Vec<Diagnostic>),
    /// A resource of that identity is there already.
    #[error("{0} exists already")]
    Exists(Id),
    /// There is no such resource.
    #[error("{0} is not declared")]
    NotFound(Id),
    /// It ships in the binary.
    #[error("{0} ships with mcpd and can't be deleted")]
    BuiltIn(Id),
    /// There is no conflict about it.
    #[error("{0} has no conflict")]
    NoConflict(Id),
    /// Others need what was to be deleted.
    #[error("{id} can't be deleted: {} need{} it", list(needed_by), if needed_by.len() == 1 { "s" } else { "" })]
    Needed {
        /// What was to be deleted.
        id: Id,
        /// What needs it.
        needed_by: Vec<Id>,
    },
    /// The caller's revision of a resource is not the present one.
    #[error("{id} has changed meanwhile: it is at revision {now}")]
    Stale {
        /// Which resource.
        id: Id,
        /// Its present revision.
        now: u64,
    },
    /// The store is not at the revision any more that the caller's plan was made on.
    #[error("something has changed since that plan was made: it was for revision {planned}, and now it is {now}")]
    Passed {
        /// The revision that the plan was made on.
        planned: u64,
        /// The store's revision.
        now: u64,
    },
    /// There is no record of that revision.
    #[error("{0}")]
    NoRevision(String),
    /// What a revision did can't be taken back, and why, a resource each.
    #[error("revision {revision} can't be undone: {}", summary(because))]
    NotUndone {
        /// The revision.
        revision: u64,
        /// Why.
        because: Vec<Diagnostic>,
    },
    /// So much would go that a person has to say so.
    #[error("{0}")]
    MassDelete(MassDelete),
    /// What is to be scrubbed can't be, as it was asked for.
    #[error("{0}")]
    NotScrubbed(String),
    /// There is no history to go back in.
    #[error("{why}")]
    NoHistory {
        /// Why.
        why: String,
        /// A way out.
        hint: String,
    },
    /// Tools can't be approved now, and why.
    #[error("{0}")]
    NotApproved(String),
    /// The values of a secret can't be had.
    #[error("{0} is {1}")]
    Closed(Id, String),
    /// Others kept changing the same resources.
    #[error("the resources kept changing meanwhile; nothing was changed")]
    Busy,
    /// mcpd is stopping.
    #[error("mcpd is stopping")]
    Stopping,
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// The repository failed.
    #[error("the repository can't be used")]
    Repository(#[from] RepoError),
}

fn list(ids: &[Id]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn summary(diagnostics: &[Diagnostic]) -> String {
    match diagnostics {
        [] => "not valid".to_owned(),
        [one] => format!("{}: {}", one.place(), one.message),
        [first, rest @ ..] => format!("{}: {} (and {} more)", first.place(), first.message, rest.len()),
    }
}
