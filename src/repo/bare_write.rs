//! Exports into a bare repository: a commit is made first and the branch moves to it by compare-and-set.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use git2::build::TreeUpdateBuilder;
use git2::{ErrorCode, FileMode, Oid, Repository, Signature, Time};

use crate::record::PendingExport;
use crate::resource::Id;

use super::bare::{Bare, BareInner, commit_id, head};
use super::blocking::blocking;
use super::error::{RepoError, at, git};
use super::export::{self, Edits, FileEdit, Standing};
use super::hosted_setup::is_stale;
use super::{BRANCH, Landing, Prepared, Snapshot, Step};

/// Who commits: by this name mcpctl's commits are counted in hints (and nothing else hangs on it).
pub(super) const COMMITTER: &str = "mcpd";

impl Bare {
    pub(super) async fn prepare(
        &self,
        seen: &Snapshot,
        export: &PendingExport,
        pending: &[Id],
    ) -> Result<Prepared, RepoError> {
        let inner = Arc::clone(&self.0);
        let (seen, export, pending) = (seen.clone(), export.clone(), pending.to_vec());
        blocking(move || inner.prepare(&seen, &export, &pending)).await
    }

    pub(super) async fn land(&self, from: Option<&str>, to: &str) -> Result<Landing, RepoError> {
        if from == Some(to) || to.is_empty() {
            return Ok(Landing::Landed);
        }
        let inner = Arc::clone(&self.0);
        let (from, to) = (from.map(commit_id).transpose()?, commit_id(to)?);
        blocking(move || {
            let landing = inner.land(from, to)?;
            if landing == Landing::Landed {
                inner.changed.send_modify(|count| *count += 1);
            }
            Ok(landing)
        })
        .await
    }

    pub(super) async fn landed(&self, attempt: &str) -> Result<bool, RepoError> {
        let Ok(id) = commit_id(attempt) else { return Ok(false) };
        let inner = Arc::clone(&self.0);
        blocking(move || {
            let repository = inner.repository(None)?;
            let Some(head) = head(&repository)? else {
                return Ok(false);
            };
            if head == id {
                return Ok(true);
            }
            // A commit whose objects a crash lost has not landed.
            if repository.find_commit(id).is_err() {
                return Ok(false);
            }
            repository
                .graph_descendant_of(head, id)
                .map_err(git("walking the history"))
        })
        .await
    }
}

impl BareInner {
    fn prepare(&self, seen: &Snapshot, export: &PendingExport, pending: &[Id]) -> Result<Prepared, RepoError> {
        self.ready(seen, export, pending, |repository, tree| {
            export::edits(seen, export, pending, |path| standing(repository, tree, path))
        })
    }

    pub(super) fn ready(
        &self,
        seen: &Snapshot,
        export: &PendingExport,
        pending: &[Id],
        edits: impl FnOnce(&Repository, &git2::Tree<'_>) -> Result<Edits, RepoError>,
    ) -> Result<Prepared, RepoError> {
        let repository = self.repository(None)?;
        let parent = match &seen.head {
            None => None,
            Some(head) => {
                let id = commit_id(head)?;
                Some(
                    repository
                        .find_commit(id)
                        .map_err(|_| RepoError::NoCommit(head.clone()))?,
                )
            }
        };
        let tree = if let Some(commit) = &parent {
            commit.tree().map_err(git("reading the repository"))?
        } else {
            let empty = repository.treebuilder(None).and_then(|builder| builder.write());
            empty
                .and_then(|id| repository.find_tree(id))
                .map_err(git("writing to the repository"))?
        };
        let edits = edits(&repository, &tree)?;
        let head = seen.head.clone();
        if edits.files.is_empty() {
            let commit = head.clone().unwrap_or_default();
            return Ok(Prepared {
                attempt: commit.clone(),
                commit: commit.clone(),
                written: edits.written,
                changes: false,
                landing: Step::Branch(head, commit),
            });
        }
        let commit = self
            .commit(&repository, parent.as_ref(), &tree, &edits.files, export, pending)?
            .to_string();
        Ok(Prepared {
            attempt: commit.clone(),
            commit: commit.clone(),
            written: edits.written,
            changes: true,
            landing: Step::Branch(head, commit),
        })
    }

    fn commit(
        &self,
        repository: &Repository,
        parent: Option<&git2::Commit<'_>>,
        tree: &git2::Tree<'_>,
        files: &[FileEdit],
        export: &PendingExport,
        pending: &[Id],
    ) -> Result<Oid, RepoError> {
        let mut update = TreeUpdateBuilder::new();
        for file in files {
            match &file.after {
                Some(text) => {
                    let mode = match tree.get_path(Path::new(&file.path)) {
                        Ok(entry) if entry.filemode() & 0o111 != 0 => FileMode::BlobExecutable,
                        _ => FileMode::Blob,
                    };
                    update.upsert(
                        &file.path,
                        repository
                            .blob(text.as_bytes())
                            .map_err(git("writing to the repository"))?,
                        mode,
                    );
                }
                None => drop(update.remove(&file.path)),
            }
        }
        let tree = update
            .create_updated(repository, tree)
            .and_then(|id| repository.find_tree(id));
        let tree = tree.map_err(git("writing to the repository"))?;
        // The time is the mutation's own, so that the same export on the same head is the same commit.
        let when = Time::new(export.at.as_second(), 0);
        let (name, address) = export::author(&export.actor.name);
        let author = Signature::new(&name, &address, &when).map_err(git("writing to the repository"))?;
        let committer =
            Signature::new(COMMITTER, "mcpd@mcpctl.local", &when).map_err(git("writing to the repository"))?;
        let parents: Vec<&git2::Commit<'_>> = parent.into_iter().collect();
        let message = export::message(export, pending, &self.writer);
        let id = repository
            .commit(None, &author, &committer, &message, &tree, &parents)
            .map_err(git("writing to the repository"))?;
        self.sync_objects(repository, id, &tree, files)?;
        Ok(id)
    }

    /// libgit2 leaves its objects to the kernel; the branch must not point at what a power cut takes away.
    fn sync_objects(
        &self,
        repository: &Repository,
        commit: Oid,
        tree: &git2::Tree<'_>,
        files: &[FileEdit],
    ) -> Result<(), RepoError> {
        let mut ids = vec![commit, tree.id()];
        for file in files {
            for part in Path::new(&file.path)
                .ancestors()
                .filter(|part| !part.as_os_str().is_empty())
            {
                ids.extend(tree.get_path(part).ok().map(|entry| entry.id()));
            }
        }
        ids.sort_unstable();
        ids.dedup();
        for id in ids {
            let name = id.to_string();
            let folder = repository.path().join("objects").join(&name[..2]);
            sync(&folder.join(&name[2..]))?;
            sync(&folder)?;
        }
        sync(&self.git_folder.join("objects"))
    }

    fn land(&self, from: Option<Oid>, to: Oid) -> Result<Landing, RepoError> {
        let repository = self.repository(None)?;
        let lock = self.git_folder.join(format!("{BRANCH}.lock"));
        for _ in 0..200 {
            let moved = repository.reference_matching(BRANCH, to, true, from.unwrap_or(Oid::ZERO_SHA1), "mcpctl");
            let Err(error) = moved else {
                sync(&self.git_folder.join(BRANCH))?;
                sync(&self.git_folder.join("refs/heads"))?;
                return Ok(Landing::Landed);
            };
            match error.code() {
                // Landing again after a crash is no move.
                ErrorCode::Modified | ErrorCode::NotFound | ErrorCode::Exists => {
                    let here = head(&repository)? == Some(to);
                    return Ok(if here { Landing::Landed } else { Landing::Moved });
                }
                ErrorCode::Locked if is_stale(&lock) => drop(fs::remove_file(&lock)),
                ErrorCode::Locked => std::thread::sleep(Duration::from_millis(10)),
                _ => return Err(RepoError::Git("moving the branch", error)),
            }
        }
        Err(RepoError::Locked)
    }
}

fn standing(repository: &Repository, tree: &git2::Tree<'_>, path: &str) -> Result<Standing, RepoError> {
    let mut above = Path::new(path)
        .ancestors()
        .skip(1)
        .filter(|part| !part.as_os_str().is_empty());
    if let Some(part) = above.find(|part| {
        let entry = tree.get_path(part);
        entry.is_ok_and(|entry| entry.filemode() & 0o170_000 != 0o040_000)
    }) {
        return Ok(Standing::Other(format!(
            "lies below {}, which is no folder",
            part.display()
        )));
    }
    let entry = match tree.get_path(Path::new(path)) {
        Ok(entry) => entry,
        Err(error) if error.code() == ErrorCode::NotFound => return Ok(Standing::Nothing),
        Err(error) => return Err(RepoError::Git("reading the repository", error)),
    };
    if entry.filemode() & 0o170_000 != 0o100_000 {
        return Ok(Standing::Other("is no plain file".into()));
    }
    let odb = repository.odb().map_err(git("reading the repository"))?;
    if odb.read_header(entry.id()).map_err(git("reading the repository"))?.0 > super::read::LARGEST_FILE {
        return Ok(Standing::Other("is over 1 MiB".into()));
    }
    let object = odb.read(entry.id()).map_err(git("reading the repository"))?;
    Ok(match std::str::from_utf8(object.data()) {
        Ok(text) => Standing::Text(text.to_owned()),
        Err(_) => Standing::Other("is not UTF-8".into()),
    })
}

/// Flushes a file or folder; one that is not there lies in a pack, which git flushed.
pub(super) fn sync(path: &Path) -> Result<(), RepoError> {
    match fs::File::open(path).and_then(|file| file.sync_all()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at("flushed", path)(error)),
        _ => Ok(()),
    }
}
