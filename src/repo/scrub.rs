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

use git2::{ObjectType, Oid, Repository, Sort};
use memchr::memmem;
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

/// What stands in place of a value.
const REPLACEMENT: &[u8] = b"REMOVED-BY-SCRUB";
/// The most commits that are rewritten.
const MOST_COMMITS: usize = 200_000;
/// The deepest nesting of folders.
const DEEPEST: usize = 512;
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

/// Rewriting, object by object; each once.
struct Work<'w> {
    odb: &'w git2::Odb<'w>,
    paths: Vec<&'w [u8]>,
    values: Vec<&'w [u8]>,
    /// By tree and, where files are to go, by folder: what became of it; nothing where it is empty now.
    trees: HashMap<(Oid, Vec<u8>), Option<Oid>>,
    blobs: HashMap<Oid, Oid>,
    written: Vec<Oid>,
    /// Where something was found since the last commit.
    found: Vec<String>,
}

impl Work<'_> {
    fn read(&self, id: Oid, kind: ObjectType) -> Result<Vec<u8>, RepoError> {
        let object = self.odb.read(id).map_err(git("reading the history"))?;
        if object.kind() == kind {
            Ok(object.data().to_vec())
        } else {
            Err(RepoError::NoCommit(id.to_string()))
        }
    }

    fn write(&mut self, kind: ObjectType, bytes: &[u8]) -> Result<Oid, RepoError> {
        let id = self.odb.write(kind, bytes).map_err(git("writing the history"))?;
        self.written.push(id);
        Ok(id)
    }

    fn holds(&self, bytes: &[u8]) -> bool {
        self.values.iter().any(|value| memmem::find(bytes, value).is_some())
    }

    /// The bytes without the values.
    fn without(&self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for value in &self.values {
            let places: Vec<usize> = memmem::find_iter(&bytes, value).collect();
            let mut out = Vec::with_capacity(bytes.len());
            let mut from = 0;
            for place in places {
                out.extend_from_slice(&bytes[from..place]);
                out.extend_from_slice(REPLACEMENT);
                from = place + value.len();
            }
            out.extend_from_slice(&bytes[from..]);
            bytes = out;
        }
        bytes
    }

    fn blob(&mut self, id: Oid, path: &[u8]) -> Result<Oid, RepoError> {
        if let Some(known) = self.blobs.get(&id) {
            return Ok(*known);
        }
        let bytes = self.read(id, ObjectType::Blob)?;
        let new = if self.holds(&bytes) {
            self.found.push(String::from_utf8_lossy(path).into_owned());
            self.write(ObjectType::Blob, &self.without(&bytes))?
        } else {
            id
        };
        self.blobs.insert(id, new);
        Ok(new)
    }

    fn tree(&mut self, id: Oid, folder: &[u8], depth: usize) -> Result<Option<Oid>, RepoError> {
        if depth > DEEPEST {
            return Err(RepoError::TooDeep(
                String::from_utf8_lossy(folder).chars().take(200).collect(),
            ));
        }
        let key = (id, if self.paths.is_empty() { vec![] } else { folder.to_vec() });
        if let Some(known) = self.trees.get(&key) {
            return Ok(*known);
        }
        let bytes = self.read(id, ObjectType::Tree)?;
        let mut out = Vec::with_capacity(bytes.len());
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let entry = Entry::take(&mut rest).ok_or_else(|| RepoError::NoCommit(id.to_string()))?;
            if self.holds(entry.name) {
                return Err(RepoError::Scrub(
                    "it stands in the name of a file or folder: name that file with --path".to_owned(),
                ));
            }
            let slash: &[u8] = if folder.is_empty() { b"" } else { b"/" };
            let path = [folder, slash, entry.name].concat();
            if self.paths.contains(&path.as_slice()) {
                self.found.push(String::from_utf8_lossy(&path).into_owned());
                continue;
            }
            let new = match entry.mode {
                b"40000" => self.tree(entry.id, &path, depth + 1)?,
                // A submodule's commit is in another repository.
                b"160000" => Some(entry.id),
                _ => Some(self.blob(entry.id, &path)?),
            };
            if let Some(new) = new {
                out.extend_from_slice(&[entry.mode, b" ", entry.name, b"\0", new.as_bytes()].concat());
            }
        }
        let new = match (out == bytes, out.is_empty()) {
            (true, _) => Some(id),
            // git knows no empty folder; the root may be one.
            (false, true) if depth > 0 => None,
            (false, _) => Some(self.write(ObjectType::Tree, &out)?),
        };
        self.trees.insert(key, new);
        Ok(new)
    }

    /// The tree that a commit names.
    fn commit_tree(&self, id: Oid) -> Result<Vec<u8>, RepoError> {
        let bytes = self.read(id, ObjectType::Commit)?;
        Ok(bytes.split(|b| *b == b'\n').next().unwrap_or_default().to_vec())
    }

    fn commit(&mut self, id: Oid, map: &HashMap<Oid, Oid>) -> Result<Oid, RepoError> {
        let bytes = self.read(id, ObjectType::Commit)?;
        let new = self.headed(&bytes, |work, key, old| match key {
            b"tree" => Ok(work.tree(old, b"", 0)?.unwrap_or(old)),
            _ => Ok(map.get(&old).copied().unwrap_or(old)),
        })?;
        match new {
            Some(new) => self.write(ObjectType::Commit, &new),
            None => Ok(id),
        }
    }

    /// What a branch or tag is to be at.
    fn target(&mut self, id: Oid, map: &HashMap<Oid, Oid>) -> Result<Oid, RepoError> {
        if let Some(new) = map.get(&id) {
            return Ok(*new);
        }
        let object = self.odb.read(id).map_err(git("reading the history"))?;
        let (kind, bytes) = (object.kind(), object.data().to_vec());
        match kind {
            ObjectType::Tag => {
                let new = self.headed(&bytes, |work, _, old| work.target(old, map))?;
                match new {
                    Some(new) => self.write(ObjectType::Tag, &new),
                    None => Ok(id),
                }
            }
            ObjectType::Tree => Ok(self.tree(id, b"", 0)?.unwrap_or(id)),
            ObjectType::Blob => self.blob(id, b"a tagged file"),
            _ => Ok(id),
        }
    }

    /// A commit or tag whose lines `tree`, `parent` and `object` name other objects, and without the values where people's
    /// words stand: ids and times only look like a value. Nothing where that is what it is. A signature of something else
    /// is left out.
    fn headed(
        &mut self,
        bytes: &[u8],
        mut other: impl FnMut(&mut Self, &[u8], Oid) -> Result<Oid, RepoError>,
    ) -> Result<Option<Vec<u8>>, RepoError> {
        let end = memmem::find(bytes, b"\n\n").unwrap_or(bytes.len());
        let (head, body) = bytes.split_at(end);
        let mut lines: Vec<Vec<u8>> = vec![];
        let mut signatures = vec![];
        let mut said = self.holds(body);
        for line in head.split(|b| *b == b'\n') {
            let (key, rest) = line.split_at(line.iter().position(|b| *b == b' ').unwrap_or(line.len()));
            let hex = std::str::from_utf8(rest)
                .ok()
                .and_then(|rest| Oid::from_str(rest.trim()).ok());
            let new = match (key, hex) {
                (b"tree" | b"parent" | b"object", Some(old)) => {
                    let new = other(self, key, old)?;
                    [key, b" ", new.to_string().as_bytes()].concat()
                }
                (b"author" | b"committer" | b"tagger", _) => self.person(key, rest)?,
                // An extra header and what follows it; `tag`, `type` and `encoding` are git's own words.
                (b"tag" | b"type" | b"encoding" | b"tree" | b"parent" | b"object", _) => line.to_vec(),
                _ => [key, &*self.without(rest)].concat(),
            };
            said |= hex.is_none() && new != line;
            let goes_on = line.starts_with(b" ") && signatures.last() == Some(&(lines.len().wrapping_sub(1)));
            if goes_on || key.starts_with(b"gpgsig") {
                signatures.push(lines.len());
            }
            lines.push(new);
        }
        if said {
            self.found.push("its message".to_owned());
        }
        let whole = [lines.join(&b'\n'), body.to_vec()].concat();
        if whole == bytes && !said {
            return Ok(None);
        }
        let kept = lines.into_iter().enumerate().filter(|(n, _)| !signatures.contains(n));
        let head: Vec<Vec<u8>> = kept.map(|(_, line)| line).collect();
        // A tag is signed in its text.
        let signed = memmem::find(body, b"-----BEGIN PGP SIGNATURE-----").filter(|_| head[0].starts_with(b"object"));
        let body = signed.map_or(body, |at| &body[..at]);
        Ok(Some([head.join(&b'\n'), self.without(body)].concat()))
    }

    /// The line that names a person, without the values in name and address.
    ///
    /// # Errors
    /// [`RepoError::Scrub`]: it would be none any more.
    fn person(&self, key: &[u8], rest: &[u8]) -> Result<Vec<u8>, RepoError> {
        let end = memchr::memrchr(b'>', rest).unwrap_or_default();
        let (who, when) = rest.split_at(end);
        let new = self.without(who);
        if new != who && memchr::memchr_iter(b'<', &new).count() != 1 {
            return Err(RepoError::Scrub(
                "a value spans a person's name and address in a commit: name a shorter part of it".to_owned(),
            ));
        }
        Ok([key, &*new, when].concat())
    }
}

/// An entry of a tree, as git stores it.
struct Entry<'t> {
    mode: &'t [u8],
    name: &'t [u8],
    id: Oid,
}

impl<'t> Entry<'t> {
    fn take(rest: &mut &'t [u8]) -> Option<Self> {
        let bytes = *rest;
        let space = memchr::memchr(b' ', bytes)?;
        let end = memchr::memchr(0, bytes)?;
        let id = bytes.get(end + 1..end + 21)?;
        *rest = bytes.get(end + 21..)?;
        Some(Self {
            mode: bytes.get(..space)?,
            name: bytes.get(space + 1..end)?,
            id: Oid::from_bytes(id).ok()?,
        })
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
