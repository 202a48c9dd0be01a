//! Objects of a history without what is to go: trees, files, commits and tags, each rewritten once.

use std::collections::HashMap;

use git2::{ObjectType, Oid};
use memchr::memmem;

use super::error::{RepoError, git};

/// What stands in place of a value.
const REPLACEMENT: &[u8] = b"REMOVED-BY-SCRUB";
/// The deepest nesting of folders.
const DEEPEST: usize = 512;

/// Rewriting, object by object; each once.
pub(super) struct Work<'w> {
    pub odb: &'w git2::Odb<'w>,
    pub paths: Vec<&'w [u8]>,
    pub values: Vec<&'w [u8]>,
    /// By tree and, where files are to go, by folder: what became of it; nothing where it is empty now.
    pub trees: HashMap<(Oid, Vec<u8>), Option<Oid>>,
    pub blobs: HashMap<Oid, Oid>,
    pub written: Vec<Oid>,
    /// Where something was found since the last commit.
    pub found: Vec<String>,
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
    pub fn commit_tree(&self, id: Oid) -> Result<Vec<u8>, RepoError> {
        let bytes = self.read(id, ObjectType::Commit)?;
        Ok(bytes.split(|b| *b == b'\n').next().unwrap_or_default().to_vec())
    }

    pub fn commit(&mut self, id: Oid, map: &HashMap<Oid, Oid>) -> Result<Oid, RepoError> {
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
    pub fn target(&mut self, id: Oid, map: &HashMap<Oid, Oid>) -> Result<Oid, RepoError> {
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
