//! The repository: a bare one that mcpd hosts, a remote one with its mirror, or a watched folder. Read into trees, written
//! to by exports; the hosted one is pushed to through git's own `http-backend`. What to do with what is read is decided elsewhere.
#![expect(
    clippy::disallowed_methods,
    reason = "this room reads and writes the repository's files, finds git on PATH, owns git's processes and the remote's"
)]

mod amend;
mod as_pushed;
mod bare;
mod bare_write;
mod blocking;
mod body;
mod error;
mod export;
mod folder;
mod folder_read;
mod history;
mod hook_program;
mod hooks;
mod hosted;
mod hosted_setup;
mod http_backend;
mod lineage;
mod parallel;
mod past;
mod read;
mod reading;
mod remote;
mod scrub;
mod scrub_objects;
mod watch;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::watch as channel;

use crate::kit::Digest;
use crate::record::PendingExport;
use crate::resource::{Id, Tree};

pub use amend::Amendment;
pub use as_pushed::{AsPushed, as_pushed, begin, is_in_a_repository, root_above};
pub use bare::{Bare, Relation};
pub use error::RepoError;
pub use folder::Folder;
pub use history::{Logged, NewFile};
pub use hook_program::hook_main;
pub use hooks::{Lines, Push, PushJudge, Quarantine, RefUpdate};
pub use hosted::Hosted;
pub use http_backend::{GIT_PATH, Operation};
pub use lineage::OtherWriter;
pub use past::{Timeline, is_kept};
#[cfg(test)]
pub(crate) use remote::tests::There as RemotePlace;
pub use remote::{Limits, Remote, RemoteParts, RemoteStanding, remote_main};
pub use scrub::{Alone, Rewritten, Scrub};

/// The branch that is applied.
pub const BRANCH: &str = "refs/heads/main";

/// Where the repository lives. Cheap to clone: the clones share their caches.
#[derive(Debug, Clone)]
pub enum Source {
    /// A bare repository in the data folder, pushed to through mcpd.
    Hosted(Hosted),
    /// A repository that lives elsewhere.
    Remote(Remote),
    /// A watched folder.
    Folder(Folder),
}

/// What the repository says at one instant.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The commit, or in a folder a digest over the paths and digests of its files. Nothing: the hosted repository has
    /// no branch yet. (A folder that is gone is [`RepoError::NoFolder`], never an empty snapshot.)
    pub head: Option<String>,
    /// What it declares.
    pub tree: Arc<Tree>,
    /// An earlier head, and the resources whose declarations may differ from what it said; every other one has the same
    /// declaration in the same place, and is held where it was held. Nothing: any resource may differ.
    pub since: Option<(String, Arc<BTreeSet<Id>>)>,
    /// The author's name and the subject of the head commit; nothing in a folder.
    pub message_author: Option<(String, String)>,
    /// The text of `.mcpctl/recipients`, where there is one.
    pub recipients: Option<Arc<str>>,
    /// The text of `.mcpctl/tools.lock`, where there is one.
    pub tools_lock: Option<Arc<str>>,
    /// The folder of the repository that holds the declarations; empty for all of it. Paths are from the repository's root.
    within: Arc<str>,
    /// The digests of a folder's files: what its exports are compared against.
    files: Arc<BTreeMap<String, Digest>>,
}

impl Snapshot {
    /// A snapshot of no real repository, for fakes of the engine's world.
    #[must_use]
    pub fn new(head: Option<String>, tree: Arc<Tree>) -> Self {
        Self {
            head,
            tree,
            ..Self::default()
        }
    }

    /// The same with another view of what it declares: encrypted secrets opened.
    #[must_use]
    pub fn with_tree(self, tree: Arc<Tree>) -> Self {
        Self { tree, ..self }
    }
}

/// Who secrets are encrypted for, beside mcpd itself.
pub const RECIPIENTS: &str = ".mcpctl/recipients";
/// The most that is read of `.mcpctl/tools.lock`, in bytes.
const MOST_TOOLS_LOCK: usize = 1 << 20;
/// What stands in [`Snapshot::recipients`] and [`Snapshot::tools_lock`] where the file is there and can't be read: it is never taken for an absence.
pub const UNREADABLE: &str = "\0";
/// The most that is read of it, in bytes.
const MOST_RECIPIENTS: usize = 64 << 10;

/// An export that is ready to land.
#[derive(Debug)]
pub struct Prepared {
    /// The mark to record in [`PendingExport::attempt`] before [`Source::land`].
    pub attempt: String,
    /// The head once it has landed (the present one where nothing changes; empty where there is none).
    pub commit: String,
    /// What was written, and where it stands then: digest and path, nothing for a deletion.
    pub written: Vec<(Id, Option<(Digest, String)>)>,
    /// Whether a file changes at all; where none does, no commit is made and `land` has nothing to do.
    pub changes: bool,
    /// How it lands.
    landing: Step,
}

impl Prepared {
    /// An export into no real repository, for fakes of the engine's world: [`Source::land`] gives [`Landing::Moved`].
    #[must_use]
    pub fn new(attempt: String, commit: String, written: Vec<(Id, Option<(Digest, String)>)>, changes: bool) -> Self {
        Self {
            attempt,
            commit,
            written,
            changes,
            landing: Step::Stale,
        }
    }
}

impl Prepared {
    /// The same as the end of a chain that begins where `before` begins.
    #[must_use]
    pub fn after(mut self, before: Self) -> Self {
        if let (Step::Branch(from, _), Step::Branch(first, _)) = (&mut self.landing, before.landing) {
            *from = first;
        }
        self
    }
}

/// The last step of an export.
#[derive(Debug)]
enum Step {
    /// The branch moves from the one commit (nothing: there is no branch) to the other.
    Branch(Option<String>, String),
    /// Files are written.
    Files(Vec<export::FileEdit>),
    /// A file changed since the plan saw it: there is nothing to land.
    Stale,
}

/// Whether an export has landed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Landing {
    /// It is in the repository.
    Landed,
    /// It is on its way, and [`Source::landed`] will tell what became of it; [`Source::changed`] rises then.
    Underway,
    /// The repository moved meanwhile and nothing was written: plan again.
    Moved,
}

impl Source {
    /// The repository with its history on this machine; a folder has none.
    #[must_use]
    pub fn bare(&self) -> Option<&Bare> {
        match self {
            Self::Hosted(hosted) => Some(hosted),
            Self::Remote(remote) => Some(remote.bare()),
            Self::Folder(_) => None,
        }
    }

    /// The remote, where it is one.
    #[must_use]
    pub fn remote(&self) -> Option<&Remote> {
        match self {
            Self::Remote(remote) => Some(remote),
            Self::Hosted(_) | Self::Folder(_) => None,
        }
    }

    /// The word for what it is: also the door of what is imported from it, but for a push.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Hosted(_) => "hosted",
            Self::Remote(_) => "remote",
            Self::Folder(_) => "folder",
        }
    }

    /// What the repository says now. The same head costs no parsing; a new one parses the files that changed.
    pub async fn snapshot(&self) -> Result<Snapshot, RepoError> {
        match self {
            Self::Hosted(hosted) => hosted.snapshot().await,
            Self::Remote(remote) => remote.snapshot().await,
            Self::Folder(folder) => folder.snapshot().await,
        }
    }

    /// Makes ready to write the `pending_ids` of an export on top of what was seen. Nothing is visible yet.
    ///
    /// # Errors
    /// [`RepoError::Edit`], [`RepoError::InTheWay`] and [`RepoError::TooLarge`] concern one resource, which has to wait.
    pub async fn prepare(
        &self,
        seen: &Snapshot,
        export: &PendingExport,
        pending_ids: &[Id],
    ) -> Result<Prepared, RepoError> {
        match self {
            Self::Hosted(hosted) => hosted.prepare(seen, export, pending_ids).await,
            Self::Remote(remote) => remote.bare().prepare(seen, export, pending_ids).await,
            Self::Folder(folder) => folder.prepare(seen, export, pending_ids).await,
        }
    }

    /// Writes what was made ready, if the repository still is what the plan saw. May be called again after a crash.
    pub async fn land(&self, prepared: &Prepared) -> Result<Landing, RepoError> {
        match (self, &prepared.landing) {
            (Self::Hosted(hosted), Step::Branch(from, to)) => hosted.land(from.as_deref(), to).await,
            (Self::Remote(remote), Step::Branch(from, to)) => Ok(remote.land(from.as_deref(), to)),
            (Self::Folder(folder), Step::Files(edits)) => folder.land(edits, &prepared.commit).await,
            (_, Step::Stale) => Ok(Landing::Moved),
            _ => Err(RepoError::OtherSource),
        }
    }

    /// Whether an attempt that was recorded has landed: the commit is the head or an ancestor of it; in a folder, every
    /// file is as recorded. Nothing: that can't be told before the remote was asked, which is under way.
    pub async fn landed(&self, attempt: &str) -> Result<Option<bool>, RepoError> {
        match self {
            Self::Hosted(hosted) => hosted.landed(attempt).await.map(Some),
            Self::Remote(remote) => remote.landed(attempt).await,
            Self::Folder(folder) => folder.landed(attempt).await.map(Some),
        }
    }

    /// Rises when the repository may have changed. A hint: asking for a snapshot is the truth.
    #[must_use]
    pub fn changed(&self) -> channel::Receiver<u64> {
        match self {
            Self::Hosted(hosted) => hosted.changed(),
            Self::Remote(remote) => remote.bare().changed(),
            Self::Folder(folder) => folder.changed(),
        }
    }
}
