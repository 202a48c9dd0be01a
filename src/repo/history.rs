//! A bare repository's history: what a push adds to it, and what it tells.

use std::collections::HashSet;
use std::sync::Arc;

use git2::{ObjectType, Oid, Repository, Sort};

use super::bare::{Bare, commit_id, head};
use super::blocking::blocking;
use super::error::{RepoError, git};
use super::hooks::Quarantine;

/// A file that some commit of a push brings.
#[derive(Debug, Clone)]
pub struct NewFile {
    /// From the repository's root; what is not UTF-8 in it is replaced.
    pub path: String,
    /// The commit that brings it first.
    pub commit: String,
    /// Its bytes; nothing where it is over 16 MiB.
    pub bytes: Option<Vec<u8>>,
}

/// A commit as the log shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// Its id.
    pub commit: String,
    /// Its first line.
    pub subject: String,
    /// The author's name.
    pub author: String,
    /// When, in seconds since 1970.
    pub seconds: i64,
    /// Whether a person made it: it names no revision of mcpd's. For people to read, not to decide by.
    pub manual: bool,
}

/// The largest file that is looked into, in bytes.
pub(super) const LARGEST: usize = 16 << 20;
/// The deepest nesting of folders.
const DEEPEST: usize = 256;
/// The most commits of one push that are looked into.
const MOST_COMMITS: usize = 10_000;
/// The most new files of one push that are looked into.
const MOST_FILES: usize = 200_000;

impl Bare {
    /// Every file that a push to `new` adds or changes in any of its commits, each content once.
    ///
    /// # Errors
    /// The objects can't be read, or there are more than can be looked into.
    pub async fn new_files(
        &self,
        new: &str,
        quarantine: Option<&Quarantine>,
        mut each: impl FnMut(NewFile) + Send + 'static,
    ) -> Result<(), RepoError> {
        let inner = Arc::clone(&self.0);
        let (new, quarantine) = (commit_id(new)?, quarantine.cloned());
        blocking(move || {
            let repository = inner.repository(quarantine.as_ref())?;
            let mut walk = repository.revwalk().map_err(git("walking a push"))?;
            walk.push(new).map_err(git("walking a push"))?;
            // What any branch or tag has already is not this push's.
            walk.hide_glob("refs/*").map_err(git("walking a push"))?;
            walk.set_sorting(Sort::TOPOLOGICAL | Sort::REVERSE)
                .map_err(git("walking a push"))?;
            let mut files = Files::new(&repository);
            for (count, id) in walk.enumerate() {
                if count >= MOST_COMMITS {
                    return Err(RepoError::TooManyCommits(MOST_COMMITS));
                }
                let commit = id
                    .and_then(|id| repository.find_commit(id))
                    .map_err(git("walking a push"))?;
                let tree = commit.tree().map_err(git("walking a push"))?;
                let before: Vec<git2::Tree<'_>> = commit.parents().filter_map(|parent| parent.tree().ok()).collect();
                files.differing(&tree, &before.iter().collect::<Vec<_>>(), "")?;
                for (path, id) in std::mem::take(&mut files.found) {
                    each(NewFile {
                        path,
                        commit: commit.id().to_string(),
                        bytes: files.bytes(id)?,
                    });
                }
            }
            Ok(())
        })
        .await
    }

    /// The files below a folder that differ between two commits (the first may be none), in order and at most `most`; the
    /// second may be in quarantine.
    pub async fn differing_below(
        &self,
        folder: &str,
        (old, new): (Option<&str>, &str),
        quarantine: Option<&Quarantine>,
        most: usize,
    ) -> Result<Vec<String>, RepoError> {
        let inner = Arc::clone(&self.0);
        let old = old.map(commit_id).transpose()?;
        let (new, quarantine, folder) = (commit_id(new)?, quarantine.cloned(), folder.to_owned());
        blocking(move || {
            let repository = inner.repository(quarantine.as_ref())?;
            let tree = |id| repository.find_commit(id).and_then(|commit| commit.tree());
            let (before, after) = (old.map(tree).transpose(), tree(new));
            let (before, after) = before
                .and_then(|before| Ok((before, after?)))
                .map_err(git("comparing commits"))?;
            let mut options = git2::DiffOptions::new();
            options
                .pathspec(&folder)
                .disable_pathspec_match(true)
                .include_typechange(true);
            let diff = repository
                .diff_tree_to_tree(before.as_ref(), Some(&after), Some(&mut options))
                .map_err(git("comparing commits"))?;
            let paths = diff.deltas().filter_map(|delta| {
                let path = delta.new_file().path_bytes().or(delta.old_file().path_bytes())?;
                Some(String::from_utf8_lossy(path).into_owned())
            });
            Ok(paths.take(most).collect())
        })
        .await
    }

    /// The newest commits of the branch, newest first.
    pub async fn log(&self, limit: usize) -> Result<Vec<Logged>, RepoError> {
        let inner = Arc::clone(&self.0);
        blocking(move || {
            let repository = inner.repository(None)?;
            let Some(head) = head(&repository)? else {
                return Ok(vec![]);
            };
            let mut walk = repository.revwalk().map_err(git("reading the log"))?;
            walk.push(head).map_err(git("reading the log"))?;
            walk.set_sorting(Sort::TOPOLOGICAL).map_err(git("reading the log"))?;
            let newest = walk.take(limit).map(|id| {
                let commit = id
                    .and_then(|id| repository.find_commit(id))
                    .map_err(git("reading the log"))?;
                Ok(logged(&commit))
            });
            newest.collect()
        })
        .await
    }
}

/// A commit as the log shows it.
pub(super) fn logged(commit: &git2::Commit<'_>) -> Logged {
    let text = String::from_utf8_lossy(commit.message_bytes()).into_owned();
    Logged {
        commit: commit.id().to_string(),
        subject: String::from_utf8_lossy(commit.summary_bytes().unwrap_or_default()).into_owned(),
        author: String::from_utf8_lossy(commit.author().name_bytes()).into_owned(),
        seconds: commit.time().seconds(),
        manual: !text.lines().any(|line| line.starts_with("Mcpctl-Revision: ")),
    }
}

/// Finds what differs between a commit's tree and those of its parents.
pub(super) struct Files<'r> {
    repository: &'r Repository,
    /// By content, and by whether its name makes it a declaration.
    met: HashSet<(Oid, bool)>,
    found: Vec<(String, Oid)>,
}

impl<'r> Files<'r> {
    pub fn new(repository: &'r Repository) -> Self {
        Self {
            repository,
            met: HashSet::new(),
            found: vec![],
        }
    }

    /// The files of a commit's tree that were not met before, where it has no parent.
    pub fn new_in(&mut self, tree: &git2::Tree<'_>) -> Result<Vec<(String, Oid)>, RepoError> {
        self.differing(tree, &[], "")?;
        Ok(std::mem::take(&mut self.found))
    }

    /// Walks down where a folder is in no parent as it is now.
    fn differing(&mut self, tree: &git2::Tree<'_>, before: &[&git2::Tree<'_>], folder: &str) -> Result<(), RepoError> {
        for entry in tree {
            let id = entry.id();
            let same = |parent: &&git2::Tree<'_>| {
                let there = entry.name().ok().and_then(|name| parent.get_name(name));
                there.is_some_and(|there| there.id() == id)
            };
            let declares = entry.name_bytes().ends_with(b".yaml")
                || entry.name_bytes().ends_with(b".yml")
                || entry.name_bytes().ends_with(b".json");
            if before.iter().any(same) || self.met.contains(&(id, declares)) {
                continue;
            }
            if self.met.len() >= MOST_FILES {
                return Err(RepoError::TooManyFiles(MOST_FILES));
            }
            let name = String::from_utf8_lossy(entry.name_bytes()).into_owned();
            let path = if folder.is_empty() {
                name
            } else {
                format!("{folder}/{name}")
            };
            match entry.kind() {
                Some(ObjectType::Blob) => {
                    self.met.insert((id, declares));
                    self.found.push((path, id));
                }
                Some(ObjectType::Tree) if path.split('/').count() > DEEPEST => {
                    return Err(RepoError::TooDeep(path.chars().take(200).collect()));
                }
                Some(ObjectType::Tree) => {
                    let below = self.repository.find_tree(id).map_err(git("walking a push"))?;
                    let parents: Vec<git2::Tree<'_>> = before
                        .iter()
                        .filter_map(|parent| {
                            let there = parent.get_name(entry.name().ok()?)?.id();
                            self.repository.find_tree(there).ok()
                        })
                        .collect();
                    self.differing(&below, &parents.iter().collect::<Vec<_>>(), &path)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The bytes of a file; nothing where it is too large to be looked into.
    pub fn bytes(&self, id: Oid) -> Result<Option<Vec<u8>>, RepoError> {
        let odb = self.repository.odb().map_err(git("reading a push"))?;
        let (size, _) = odb.read_header(id).map_err(git("reading a push"))?;
        if size > LARGEST {
            return Ok(None);
        }
        let object = odb.read(id).map_err(git("reading a push"))?;
        Ok(Some(object.data().to_vec()))
    }
}
