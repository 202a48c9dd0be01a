//! One look at a watched folder: which files are there and what they hold, by the rules of [`super::read`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::kit::{Digest, time};
use crate::resource::yaml::{self, ParsedFile};
use crate::resource::{Assembly, FileText, Id, TOOLS_LOCK, Unreadable};

use super::error::{RepoError, at};
use super::read::{self, DEEPEST, LARGEST_FILE, MOST_ENTRIES};

/// A file that was touched less than so many seconds before it was read may change again within the same tick of its
/// clock: it is read anew the next time.
const DOUBTFUL: i64 = 2;

/// What tells that a file is still the one that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Mark {
    fn of(about: &fs::Metadata) -> Self {
        Self {
            inode: about.ino(),
            size: about.size(),
            modified: (about.mtime(), about.mtime_nsec()),
            changed: (about.ctime(), about.ctime_nsec()),
        }
    }

    /// Whether a further change is sure to change the mark.
    fn is_settled(&self, now: i64) -> bool {
        now - self.modified.0.max(self.changed.0) > DOUBTFUL
    }
}

/// A file that was read.
#[derive(Debug, Clone)]
struct Kept {
    mark: Mark,
    settled: bool,
    digest: Digest,
    parsed: Arc<ParsedFile>,
}

/// The folder at one look. The next look reads only what changed since.
#[derive(Debug, Default)]
pub(super) struct Look {
    files: HashMap<String, Kept>,
    refused: Vec<Arc<ParsedFile>>,
    /// Every folder that was looked into.
    pub folders: BTreeSet<PathBuf>,
    entries: usize,
    /// The text of `.mcpctl/recipients`.
    pub recipients: Option<Arc<str>>,
    /// The text of `.mcpctl/tools.lock`.
    pub tools_lock: Option<Arc<str>>,
}

/// Why a look has to be begun again or given up.
enum Trouble {
    /// A file or folder went while it was looked at.
    Vanished,
    Error(RepoError),
}

impl Look {
    /// Looks at the folder. What changes while it is looked at is looked at again.
    pub fn at(root: &Path, before: &Self) -> Result<Self, RepoError> {
        for _ in 0..10 {
            match fs::metadata(root) {
                Ok(about) if about.is_dir() => {}
                Ok(_) => return Err(RepoError::NoFolder(root.to_owned())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(RepoError::NoFolder(root.to_owned()));
                }
                Err(error) => return Err(at("looked at", root)(error)),
            }
            let mut look = Self::default();
            match look.folder(root, "", 0, before) {
                Ok(()) => {
                    look.recipients = settings(root, super::RECIPIENTS, super::MOST_RECIPIENTS);
                    look.tools_lock = settings(root, TOOLS_LOCK, super::MOST_TOOLS_LOCK);
                    return Ok(look);
                }
                Err(Trouble::Vanished) => {}
                Err(Trouble::Error(error)) => return Err(error),
            }
        }
        Err(RepoError::Unsettled(root.to_owned()))
    }

    /// The digests of the files.
    pub fn digests(&self) -> BTreeMap<String, Digest> {
        self.files
            .iter()
            .map(|(path, kept)| (path.clone(), kept.digest))
            .collect()
    }

    /// Whether the folder says what it said at another look, so that its head is the same.
    pub fn says_the_same(&self, before: &Self) -> bool {
        let same = |(path, kept): (&String, &Kept)| before.files.get(path).is_some_and(|it| it.digest == kept.digest);
        self.files.len() == before.files.len()
            && self.files.iter().all(same)
            && self.refused == before.refused
            && self.recipients == before.recipients
            && self.tools_lock == before.tools_lock
    }

    /// How many files differ from those of another look.
    pub fn differing(&self, before: &Self) -> usize {
        let same = |(path, kept): &(&String, &Kept)| before.files.get(*path).is_some_and(|it| it.digest == kept.digest);
        let new = self.files.iter().filter(|file| !same(file)).count();
        let gone = before
            .files
            .keys()
            .filter(|path| !self.files.contains_key(*path))
            .count();
        new + gone
    }

    /// What the files declare, brought along from an earlier look; beside it the resources that differ, see
    /// [`Assembly::updated`].
    pub fn assembly(&self, before: &Self, assembly: &Assembly) -> (Assembly, Option<BTreeSet<Id>>) {
        let changed = |from: &Self, to: &Self| -> Vec<Arc<ParsedFile>> {
            let same = |path, kept: &Kept| {
                let there = to.files.get(path);
                there.is_some_and(|it| Arc::ptr_eq(&it.parsed, &kept.parsed))
            };
            let files = from.files.iter().filter(|(path, kept)| !same(*path, kept));
            files
                .map(|(_, kept)| Arc::clone(&kept.parsed))
                .chain(from.refused.iter().cloned())
                .collect()
        };
        let all = || {
            let mut files: Vec<_> = self
                .files
                .values()
                .map(|kept| &kept.parsed)
                .chain(&self.refused)
                .collect();
            files.sort_by(|a, b| a.path.cmp(&b.path));
            files.into_iter().cloned().collect()
        };
        assembly.updated(&changed(before, self), &changed(self, before), all)
    }

    /// The head of the folder: a digest over paths and digests, and over what is refused.
    pub fn head(&self, digests: &BTreeMap<String, Digest>) -> String {
        let refused = self.refused.iter().flat_map(|file| &file.diagnostics);
        let mut refused: Vec<String> = refused
            .map(|fault| format!("{}\0{}", fault.file, fault.message))
            .collect();
        refused.sort_unstable();
        let files = digests
            .iter()
            .flat_map(|(path, digest)| [path.as_bytes(), digest.bytes().as_slice()]);
        let settings = [&self.recipients, &self.tools_lock];
        let settings = settings.into_iter().flatten().map(|text| text.as_bytes());
        Digest::of_parts(files.chain(refused.iter().map(String::as_bytes)).chain(settings)).to_string()
    }

    fn folder(&mut self, folder: &Path, path: &str, depth: usize, before: &Self) -> Result<(), Trouble> {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Trouble::Vanished),
            Err(error) if path.is_empty() => return Err(Trouble::Error(at("read", folder)(error))),
            Err(error) => {
                self.refused.push(unreadable(path.to_owned(), &error));
                return Ok(());
            }
        };
        self.folders.insert(folder.to_owned());
        for entry in entries {
            let entry = entry.map_err(|error| Trouble::Error(at("read", folder)(error)))?;
            let name = entry.file_name();
            let name = name.as_bytes();
            if read::hidden(name) {
                continue;
            }
            let kind = entry.file_type().map_err(|error| trouble(&entry.path(), error))?;
            if kind.is_file() && !read::is_yaml(name) {
                continue;
            }
            self.entries += 1;
            if self.entries > MOST_ENTRIES {
                return Err(Trouble::Error(RepoError::TooManyFiles(MOST_ENTRIES)));
            }
            let below = match read::path_of(path, name) {
                Ok(below) => below,
                Err(refused) => {
                    self.refused.push(refused);
                    continue;
                }
            };
            if kind.is_dir() && depth >= DEEPEST {
                self.refused.push(read::refused_depth(below));
            } else if kind.is_dir() {
                self.folder(&entry.path(), &below, depth + 1, before)?;
            } else if kind.is_file() {
                self.file(&entry.path(), below, before)?;
            } else if kind.is_symlink() {
                let to_a_file = fs::metadata(entry.path()).is_ok_and(|about| about.is_file());
                if read::is_yaml(name) || !to_a_file {
                    self.refused.push(read::refused_link(below));
                }
            } else if read::is_yaml(name) {
                let hint = "put a plain file in its place";
                self.refused.push(read::refused(below, "this is no plain file", hint));
            }
        }
        Ok(())
    }

    fn file(&mut self, file: &Path, path: String, before: &Self) -> Result<(), Trouble> {
        let about = fs::symlink_metadata(file).map_err(|error| trouble(file, error))?;
        let known = before.files.get(&path);
        if let Some(kept) = known.filter(|kept| kept.settled && kept.mark == Mark::of(&about)) {
            self.files.insert(path, kept.clone());
            return Ok(());
        }
        let (mark, bytes) = match read_file(file) {
            Ok(Some(found)) => found,
            Ok(None) => {
                self.refused.push(read::refused_size(path));
                return Ok(());
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Trouble::Vanished),
            Err(error) => {
                self.refused.push(unreadable(path, &error));
                return Ok(());
            }
        };
        let digest = Digest::of(&bytes);
        let parsed = if let Some(kept) = known.filter(|kept| kept.digest == digest) {
            Arc::clone(&kept.parsed)
        } else {
            let path = path.clone();
            Arc::new(read_text(path, bytes))
        };
        let settled = mark.is_settled(time::now().as_second());
        let kept = Kept {
            mark,
            settled,
            digest,
            parsed,
        };
        self.files.insert(path, kept);
        Ok(())
    }
}

/// What a file says. One that is empty says nothing, which is not the same as an absence: an editor that empties a file
/// before it writes it, a full disk or a crash leaves just that. What it held stays until it is written or removed.
fn read_text(path: String, bytes: Vec<u8>) -> ParsedFile {
    let text = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&bytes);
    let empty = text.trim_ascii().is_empty();
    let mut parsed = yaml::read(&FileText {
        path: path.clone(),
        bytes: Ok(bytes),
    });
    if empty {
        parsed.unreadable.push(Unreadable {
            path,
            id: None,
            whole_file: false,
            bytes: Some(Arc::default()),
        });
    }
    parsed
}

/// The text of a file of settings; one that can't be read is no absence.
fn settings(root: &Path, path: &str, most: usize) -> Option<Arc<str>> {
    match read_file(&root.join(path)) {
        Ok(Some((_, bytes))) if bytes.len() <= most => Some(String::from_utf8_lossy(&bytes).into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        _ => Some(super::UNREADABLE.into()),
    }
}

fn unreadable(path: String, error: &io::Error) -> Arc<ParsedFile> {
    read::refused(
        path,
        format!("it can't be read: {error}"),
        "mcpd's user needs the right to read it",
    )
}

fn trouble(path: &Path, error: io::Error) -> Trouble {
    if error.kind() == io::ErrorKind::NotFound {
        Trouble::Vanished
    } else {
        Trouble::Error(at("looked at", path)(error))
    }
}

/// A plain file's bytes and the mark that it had when they were read; nothing where it is too large. Never follows a
/// link and never waits for a pipe.
fn read_file(path: &Path) -> io::Result<Option<(Mark, Vec<u8>)>> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(io::Error::other("it is no plain file"));
    }
    let mut bytes = vec![];
    file.take(LARGEST_FILE as u64 + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() <= LARGEST_FILE).then(|| (Mark::of(&about), bytes)))
}

/// The bytes of a file for an edit; nothing where there is none.
pub(super) fn bytes_of(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match read_file(path) {
        Ok(Some((_, bytes))) => Ok(Some(bytes)),
        Ok(None) => Err(io::ErrorKind::FileTooLarge.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::Mark;

    /// A file that is written twice within one tick of the clock has one mark for two contents.
    #[test]
    fn a_file_that_was_just_touched_is_doubted() {
        let mark = |modified, changed| Mark {
            inode: 1,
            size: 1,
            modified: (modified, 0),
            changed: (changed, 0),
        };
        for (modified, changed, now, settled) in [
            (100, 100, 100, false),
            (100, 100, 102, false),
            (100, 100, 103, true),
            (0, 100, 101, false),
            (900, 100, 103, false),
        ] {
            assert_eq!(
                mark(modified, changed).is_settled(now),
                settled,
                "{modified} {changed} {now}"
            );
        }
    }
}
