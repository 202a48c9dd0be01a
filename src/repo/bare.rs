//! A bare repository on this machine: the hosted one, or the mirror of a remote. What it says, also about commits that are
//! still being pushed. What is common to both is here and in `bare_write.rs`, `lineage.rs` and `history.rs`.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use git2::{ErrorCode, ObjectType, Oid, Repository};
use tokio::sync::watch;

use crate::resource::TOOLS_LOCK;

use super::blocking::blocking;
use super::error::{RepoError, git};
use super::hooks::Quarantine;
use super::read;
use super::reading::{Place, Reading};
use super::{BRANCH, Snapshot};

/// A bare repository. Clones share it.
#[derive(Clone)]
pub struct Bare(pub(super) Arc<BareInner>);

pub(super) struct BareInner {
    /// The repository's folder.
    pub git_folder: PathBuf,
    /// Who writes: named in each commit.
    pub writer: String,
    /// The folder within it that holds the declarations, without slashes at its ends; empty for all of it.
    pub within: Arc<str>,
    /// Rises when the branch may have moved.
    pub changed: watch::Sender<u64>,
    cache: Mutex<Cache>,
}

/// The two newest trees (the branch's, and one that was pushed) with the files that they consist of.
#[derive(Default)]
struct Cache {
    head: Kept,
    pushed: Kept,
}

#[derive(Default)]
struct Kept {
    snapshot: Snapshot,
    reading: Reading,
}

/// How a pushed commit relates to the one that it shall replace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Relation {
    /// It comes after it.
    Forward,
    /// Both come after `base`; replacing would lose commits.
    Diverged {
        /// The newest commit that both have.
        base: String,
        /// How many commits since would be lost.
        lost: usize,
        /// How many of these mcpctl wrote.
        by_mcpctl: usize,
    },
    /// They have no commit in common.
    Unrelated,
}

impl std::fmt::Debug for Bare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bare({})", self.0.git_folder.display())
    }
}

/// A lock that a panicking holder does not poison: what it guards is valid after every statement.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl BareInner {
    /// Opens the repository; with a quarantine, what is being pushed can be read too.
    pub fn repository(&self, quarantine: Option<&Quarantine>) -> Result<Repository, RepoError> {
        let repository = Repository::open_bare(&self.git_folder).map_err(git("opening the repository"))?;
        if let Some(quarantine) = quarantine {
            let path = quarantine.0.to_str().ok_or_else(|| {
                RepoError::Git(
                    "opening a push's objects",
                    git2::Error::from_str("the data folder's path is not UTF-8"),
                )
            })?;
            let odb = repository.odb().map_err(git("opening the objects"))?;
            odb.add_disk_alternate(path).map_err(git("opening a push's objects"))?;
        }
        Ok(repository)
    }

    /// What a commit says. A pushed one is kept beside the branch's, and takes its place when the branch moves to it.
    fn read(
        &self,
        repository: &Repository,
        quarantine: Option<&Quarantine>,
        id: Oid,
        pushed: bool,
    ) -> Result<Snapshot, RepoError> {
        let mut cache = lock(&self.cache);
        let name = id.to_string();
        if cache.head.snapshot.head.as_deref() == Some(&name) {
            return Ok(cache.head.snapshot.clone());
        }
        if cache.pushed.snapshot.head.as_deref() == Some(&name) {
            if !pushed {
                cache.head = std::mem::take(&mut cache.pushed);
                return Ok(cache.head.snapshot.clone());
            }
            return Ok(cache.pushed.snapshot.clone());
        }
        let commit = repository
            .find_commit(id)
            .map_err(|_| RepoError::NoCommit(name.clone()))?;
        let top = commit.tree().map_err(git("reading the repository"))?;
        let tree = folder(repository, &top, &self.within)?;
        let recipients = read::small_file(repository, &tree, super::RECIPIENTS, super::MOST_RECIPIENTS)?;
        let tools_lock = read::small_file(repository, &tree, TOOLS_LOCK, super::MOST_TOOLS_LOCK)?;
        let Cache { head, pushed: aside } = &*cache;
        let open = || self.repository(quarantine);
        let (reading, ids) = {
            let place = Place {
                top: &top,
                within: &self.within,
            };
            head.reading.next(repository, &place, &tree, &aside.reading, &open)?
        };
        let author = String::from_utf8_lossy(commit.author().name_bytes()).into_owned();
        let subject = String::from_utf8_lossy(commit.summary_bytes().unwrap_or_default()).into_owned();
        let kept = Kept {
            snapshot: Snapshot {
                head: Some(name),
                tree: Arc::clone(reading.assembly.tree()),
                since: head.snapshot.head.clone().zip(ids.map(Arc::new)),
                message_author: Some((author, subject)),
                recipients,
                tools_lock,
                within: Arc::clone(&self.within),
                files: Arc::default(),
            },
            reading,
        };
        let snapshot = kept.snapshot.clone();
        if pushed {
            cache.pushed = kept;
        } else {
            cache.head = kept;
        }
        Ok(snapshot)
    }

    #[cfg(test)]
    pub fn parsed_files(&self) -> usize {
        let cache = lock(&self.cache);
        cache.head.reading.files() + cache.pushed.reading.files()
    }
}

/// The folder of a tree that holds the declarations; an empty one where it is not there (yet).
fn folder<'r>(repository: &'r Repository, top: &git2::Tree<'r>, within: &str) -> Result<git2::Tree<'r>, RepoError> {
    if within.is_empty() {
        return Ok(top.clone());
    }
    let id = match top.get_path(Path::new(within)) {
        Ok(entry) if entry.kind() == Some(ObjectType::Tree) => entry.id(),
        Ok(_) => return Err(RepoError::NotAFolder(within.to_owned())),
        Err(error) if error.code() == ErrorCode::NotFound => {
            tracing::warn!("there is no folder {within} in the repository (yet): it declares nothing");
            repository
                .treebuilder(None)
                .and_then(|builder| builder.write())
                .map_err(git("reading the repository"))?
        }
        Err(error) => return Err(RepoError::Git("reading the repository", error)),
    };
    repository.find_tree(id).map_err(git("reading the repository"))
}

/// The commit that the branch is at.
pub(super) fn head(repository: &Repository) -> Result<Option<Oid>, RepoError> {
    match repository.refname_to_id(BRANCH) {
        Ok(id) => Ok(Some(id)),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
        Err(error) => Err(RepoError::Git("reading the branch", error)),
    }
}

/// A commit's id from its text.
pub(super) fn commit_id(text: &str) -> Result<Oid, RepoError> {
    let whole = text.len() == 40;
    whole
        .then(|| Oid::from_str(text).ok())
        .flatten()
        .ok_or_else(|| RepoError::NoCommit(text.chars().take(80).collect()))
}

impl Bare {
    /// A repository that is there, to be read `within` a folder of it and written to as `writer`.
    pub(super) fn new(git_folder: PathBuf, writer: &str, within: &str) -> Self {
        Self(Arc::new(BareInner {
            git_folder,
            writer: writer.to_owned(),
            within: within.into(),
            changed: watch::Sender::new(0),
            cache: Mutex::default(),
        }))
    }

    /// The repository's folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.git_folder
    }

    /// The commit that the branch is at; nothing where there is no branch.
    pub(super) async fn head(&self) -> Result<Option<String>, RepoError> {
        let inner = Arc::clone(&self.0);
        blocking(move || Ok(head(&inner.repository(None)?)?.map(|id| id.to_string()))).await
    }

    pub(super) async fn snapshot(&self) -> Result<Snapshot, RepoError> {
        let inner = Arc::clone(&self.0);
        blocking(move || {
            let repository = inner.repository(None)?;
            match head(&repository)? {
                Some(id) => inner.read(&repository, None, id, false),
                None => Ok(Snapshot {
                    within: Arc::clone(&inner.within),
                    ..Snapshot::default()
                }),
            }
        })
        .await
    }

    /// What a commit says, also one that is still in a push's quarantine.
    pub async fn snapshot_of(&self, commit: &str, quarantine: Option<&Quarantine>) -> Result<Snapshot, RepoError> {
        let inner = Arc::clone(&self.0);
        let (id, quarantine) = (commit_id(commit)?, quarantine.cloned());
        blocking(move || {
            let repository = inner.repository(quarantine.as_ref())?;
            inner.read(&repository, quarantine.as_ref(), id, true)
        })
        .await
    }

    /// How the commit `new`, maybe in quarantine, relates to `old`, which it shall replace.
    pub async fn relation(&self, old: &str, new: &str, quarantine: Option<&Quarantine>) -> Result<Relation, RepoError> {
        let inner = Arc::clone(&self.0);
        let (old, new, quarantine) = (commit_id(old)?, commit_id(new)?, quarantine.cloned());
        blocking(move || {
            let repository = inner.repository(quarantine.as_ref())?;
            let base = match repository.merge_base(old, new) {
                Ok(base) if base == old => return Ok(Relation::Forward),
                Ok(base) => base,
                Err(error) if error.code() == ErrorCode::NotFound => return Ok(Relation::Unrelated),
                Err(error) => return Err(RepoError::Git("walking the history", error)),
            };
            let mut walk = repository.revwalk().map_err(git("walking the history"))?;
            walk.push(old).map_err(git("walking the history"))?;
            walk.hide(new).map_err(git("walking the history"))?;
            let (mut lost, mut by_mcpctl) = (0, 0);
            for id in walk {
                let commit = id
                    .and_then(|id| repository.find_commit(id))
                    .map_err(git("walking the history"))?;
                lost += 1;
                by_mcpctl += usize::from(commit.committer().name_bytes() == super::bare_write::COMMITTER.as_bytes());
            }
            Ok(Relation::Diverged {
                base: base.to_string(),
                lost,
                by_mcpctl,
            })
        })
        .await
    }

    pub(super) fn changed(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }
}
