//! Rewriting the hosted repository's history without what leaked: every commit of every branch and tag, as raw objects, so
//! that nothing else about them changes. New objects are written beside the old ones; the branches move together; then
//! what nothing leads to any more is removed.
//!
//! # Guarantees
//! A commit that holds nothing of it keeps its id. The newest state of main stays byte for byte what it is, or nothing is
//! done.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use git2::{Oid, Repository, Sort};
use tokio::sync::OwnedSemaphorePermit;

use crate::kit::Redacted;
use crate::kit::time::Timestamp;

use super::BRANCH;
use super::bare::commit_id;
use super::bare_write::sync;
use super::blocking::blocking;
use super::error::{RepoError, at, git};
use super::hooks::Quarantine;
use super::hosted::{Hosted, Inner};
use super::scrub_objects::Work;

/// The most commits that are rewritten.
const MOST_COMMITS: usize = 200_000;
/// How long is waited for fetches and pushes that are under way.
const PATIENCE: Duration = Duration::from_secs(45);
/// All the processes of git that may run.
const PROCESSES: u32 = 32;
/// The folder, in the data folder, that keeps what was.
const KEPT: &str = "scrubbed";
/// The most places that are told.
const TOLD: usize = 200;

/// What is to go.
#[derive(Debug, Clone, Default)]
pub struct Scrub {
    /// Files, from the repository's root.
    pub paths: Vec<String>,
    /// Values, wherever they stand.
    pub values: Vec<Redacted<String>>,
}

/// A rewritten history, of which no branch is at anything yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rewritten {
    /// How many commits there are.
    pub commits: usize,
    /// How many of them are others now.
    pub changed: usize,
    /// The branches and tags that move: name, from, to.
    pub moves: Vec<(String, String, String)>,
    /// The commits that held something themselves: whoever brings one of them back brings the rest back.
    pub sources: Vec<String>,
    /// Where it stood: `servers/github.yaml in 3fa2c1e`.
    pub places: Vec<String>,
}

/// No process of git runs on the repository, and none begins, while this lives.
#[derive(Debug)]
pub struct Alone(#[expect(dead_code, reason = "it is held, and nothing else")] OwnedSemaphorePermit);

impl Hosted {
    /// Waits until no fetch and no push is under way, and keeps others waiting.
    ///
    /// # Errors
    /// [`RepoError::Locked`]: they take too long.
    pub async fn alone(&self) -> Result<Alone, RepoError> {
        let all = Arc::clone(&self.0.processes).acquire_many_owned(PROCESSES);
        match tokio::time::timeout(PATIENCE, all).await {
            Ok(Ok(permit)) => Ok(Alone(permit)),
            _ => Err(RepoError::Scrub(
                "fetches or pushes are still under way: try it again".to_owned(),
            )),
        }
    }

    /// Rewrites the history of every branch and tag; `dry` writes nothing.
    ///
    /// # Errors
    /// [`RepoError::Scrub`]: it still stands in the newest state of main, or where it can't be taken out.
    pub async fn rewrite(&self, scrub: &Scrub, dry: bool) -> Result<Rewritten, RepoError> {
        let (inner, scrub) = (Arc::clone(&self.0), scrub.clone());
        blocking(move || inner.rewrite(&scrub, dry)).await
    }

    /// Keeps all branches and tags as they are in a bundle, readable by the owner alone. Where it is.
    pub async fn bundle(&self, at: Timestamp) -> Result<PathBuf, RepoError> {
        let inner = Arc::clone(&self.0);
        blocking(move || inner.bundle(at)).await
    }

    /// Moves branches and tags, main as the last of them: once it has moved all have. Whether each was where it was
    /// thought to be; where one was not, it and what follows stays.
    pub async fn move_all(&self, moves: &[(String, String, String)]) -> Result<bool, RepoError> {
        let (inner, moves) = (Arc::clone(&self.0), moves.to_vec());
        blocking(move || {
            let (main, others): (Vec<_>, Vec<_>) = moves.into_iter().partition(|(name, ..)| name == BRANCH);
            let done = inner.move_all(&others)? && inner.move_all(&main)?;
            inner.bare.0.changed.send_modify(|count| *count += 1);
            Ok(done)
        })
        .await
    }

    /// The commits of two histories that correspond to each other, from the heads down. Where they are the same they end.
    pub async fn pairs(&self, old: &str, new: &str) -> Result<BTreeMap<String, String>, RepoError> {
        let inner = Arc::clone(&self.0);
        let (old, new) = (commit_id(old)?, commit_id(new)?);
        blocking(move || {
            let repository = inner.bare.0.repository(None)?;
            let mut pairs = BTreeMap::new();
            let mut left = vec![(old, new)];
            while let Some((old, new)) = left.pop() {
                if old == new || pairs.insert(old.to_string(), new.to_string()).is_some() {
                    continue;
                }
                // What is removed already has no parents to tell.
                let both = repository
                    .find_commit(old)
                    .and_then(|it| Ok((it, repository.find_commit(new)?)));
                if let Ok((old, new)) = both {
                    left.extend(old.parent_ids().zip(new.parent_ids()));
                }
            }
            Ok(pairs)
        })
        .await
    }

    /// Removes every object that no branch and no tag leads to. The caller is [`Hosted::alone`].
    pub async fn prune(&self) -> Result<(), RepoError> {
        let inner = Arc::clone(&self.0);
        blocking(move || inner.prune()).await
    }

    /// The first of these commits that a push to `new` would bring back.
    pub async fn brings_back(
        &self,
        new: &str,
        quarantine: Option<&Quarantine>,
        gone: &BTreeSet<String>,
    ) -> Result<Option<String>, RepoError> {
        let inner = Arc::clone(&self.0);
        let (new, quarantine, gone) = (new.to_owned(), quarantine.cloned(), gone.clone());
        blocking(move || {
            let repository = inner.bare.0.repository(quarantine.as_ref())?;
            let Ok(commit) = repository
                .find_object(commit_id(&new)?, None)
                .and_then(|it| it.peel_to_commit())
            else {
                return Ok(None);
            };
            let mut walk = repository.revwalk().map_err(git("walking a push"))?;
            walk.push(commit.id()).map_err(git("walking a push"))?;
            walk.hide_glob("refs/*").map_err(git("walking a push"))?;
            for id in walk {
                let id = id.map_err(git("walking a push"))?.to_string();
                if gone.contains(&id) {
                    return Ok(Some(id));
                }
            }
            Ok(None)
        })
        .await
    }
}

impl Inner {
    fn rewrite(&self, scrub: &Scrub, dry: bool) -> Result<Rewritten, RepoError> {
        let repository = self.bare.0.repository(None)?;
        let odb = repository.odb().map_err(git("opening the objects"))?;
        // What is written while nothing is to be written stays in memory.
        let memory = dry.then(|| odb.add_new_mempack_backend(1000)).transpose();
        let _memory = memory.map_err(git("opening the objects"))?;
        let values: Vec<&[u8]> = scrub.values.iter().map(|value| value.reveal().as_bytes()).collect();
        let mut work = Work {
            odb: &odb,
            paths: scrub.paths.iter().map(String::as_bytes).collect(),
            values,
            trees: HashMap::new(),
            blobs: HashMap::new(),
            written: vec![],
            found: vec![],
        };
        let refs = references(&repository)?;
        let mut walk = repository.revwalk().map_err(git("walking the history"))?;
        walk.set_sorting(Sort::TOPOLOGICAL | Sort::REVERSE)
            .map_err(git("walking the history"))?;
        for (_, id) in &refs {
            let commit = repository.find_object(*id, None).and_then(|it| it.peel_to_commit());
            if let Ok(commit) = commit {
                walk.push(commit.id()).map_err(git("walking the history"))?;
            }
        }
        let mut done = Rewritten::default();
        let mut map: HashMap<Oid, Oid> = HashMap::new();
        for id in walk {
            let id = id.map_err(git("walking the history"))?;
            done.commits += 1;
            if done.commits > MOST_COMMITS {
                return Err(RepoError::TooManyCommits(MOST_COMMITS));
            }
            let new = work.commit(id, &map)?;
            for path in work.found.drain(..) {
                if done.places.len() < TOLD {
                    done.places.push(format!("{path} in {}", short(&id.to_string())));
                }
                if done.sources.last() != Some(&id.to_string()) {
                    done.sources.push(id.to_string());
                }
            }
            done.changed += usize::from(new != id);
            map.insert(id, new);
        }
        for (name, id) in refs {
            let new = work.target(id, &map)?;
            if name == BRANCH && new != id {
                let tree = |id| work.commit_tree(id);
                if tree(id)? != tree(new)? {
                    return Err(RepoError::Scrub(
                        "it still stands in the newest state of main: take it out there first".to_owned(),
                    ));
                }
            }
            if new != id {
                done.moves.push((name, id.to_string(), new.to_string()));
            }
        }
        if !dry {
            self.sync_new(&work.written)?;
        }
        Ok(done)
    }

    /// The branches must not point at what a power cut takes away.
    fn sync_new(&self, written: &[Oid]) -> Result<(), RepoError> {
        let objects = self.bare.0.git_folder.join("objects");
        let mut folders = BTreeSet::new();
        for id in written {
            let name = id.to_string();
            let folder = objects.join(&name[..2]);
            sync(&folder.join(&name[2..]))?;
            folders.insert(folder);
        }
        folders.iter().try_for_each(|folder| sync(folder))?;
        sync(&objects)
    }

    fn bundle(&self, when: Timestamp) -> Result<PathBuf, RepoError> {
        let folder = self.data.join(KEPT);
        let private = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
        fs::create_dir_all(&folder)
            .and_then(|()| private(&folder, 0o700))
            .map_err(at("made", &folder))?;
        let name = when.strftime("%Y-%m-%dT%H-%M-%SZ").to_string();
        let free = |n: u32| {
            folder.join(if n == 1 {
                format!("{name}.bundle")
            } else {
                format!("{name}-{n}.bundle")
            })
        };
        let path = (1..1000)
            .map(free)
            .find(|path| !path.exists())
            .ok_or(RepoError::Locked)?;
        self.run_git(&["bundle", "create", "-q"], Some(&path), &["--all"])?;
        private(&path, 0o600).map_err(at("closed to others", &path))?;
        sync(&path)?;
        sync(&folder)?;
        Ok(path)
    }

    fn move_all(&self, moves: &[(String, String, String)]) -> Result<bool, RepoError> {
        if moves.is_empty() {
            return Ok(true);
        }
        let repository = self.bare.0.repository(None)?;
        let mut transaction = repository.transaction().map_err(git("moving the branches"))?;
        for (name, ..) in moves {
            transaction.lock_ref(name).map_err(git("moving the branches"))?;
        }
        for (name, from, to) in moves {
            if repository.refname_to_id(name).map_err(git("moving the branches"))? != commit_id(from)? {
                return Ok(false);
            }
            transaction
                .set_target(name, commit_id(to)?, None, "mcpctl repo scrub")
                .map_err(git("moving the branches"))?;
        }
        transaction.commit().map_err(git("moving the branches"))?;
        for (name, ..) in moves {
            let path = self.bare.0.git_folder.join(name);
            sync(&path)?;
            path.parent().map_or(Ok(()), sync)?;
        }
        Ok(true)
    }

    fn prune(&self) -> Result<(), RepoError> {
        // What a refused push left behind may hold it too; none is under way now.
        let objects = self.bare.0.git_folder.join("objects");
        for entry in fs::read_dir(&objects).map_err(at("read", &objects))?.flatten() {
            if entry.file_name().to_string_lossy().starts_with("tmp_objdir-") {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        self.run_git(&["repack", "-a", "-d", "-q"], None, &[])?;
        self.run_git(&["prune", "--expire=now"], None, &[])
    }

    /// Runs git on the repository; it has to succeed.
    fn run_git(&self, words: &[&str], path: Option<&Path>, more: &[&str]) -> Result<(), RepoError> {
        let output = std::process::Command::new("git")
            .arg("--git-dir")
            .arg(&self.bare.0.git_folder)
            .args(words)
            .args(path)
            .args(more)
            .env_clear()
            .env("PATH", &self.search_path)
            .env("HOME", "/dev/null")
            .env("LC_ALL", "C")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .current_dir(&self.data)
            .stdin(Stdio::null())
            .output()
            .map_err(RepoError::NoGit)?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said
            .lines()
            .last()
            .unwrap_or("it failed")
            .chars()
            .take(200)
            .collect::<String>();
        let what = words.first().copied().unwrap_or_default();
        Err(RepoError::Io(format!("git {what} failed"), io::Error::other(last)))
    }
}

/// Every branch and tag with what it is at.
fn references(repository: &Repository) -> Result<Vec<(String, Oid)>, RepoError> {
    let mut found = vec![];
    for reference in repository.references().map_err(git("reading the branches"))? {
        let reference = reference.map_err(git("reading the branches"))?;
        if let (Ok(name), Some(id)) = (reference.name(), reference.target()) {
            found.push((name.to_owned(), id));
        }
    }
    found.sort();
    Ok(found)
}

fn short(commit: &str) -> &str {
    commit.get(..7).unwrap_or(commit)
}
