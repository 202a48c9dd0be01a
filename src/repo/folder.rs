//! A watched folder as the repository: looked at when asked, written to file by file.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;

use crate::kit::Digest;
use crate::record::PendingExport;
use crate::resource::{Assembly, Id};

use super::bare::lock;
use super::blocking::blocking;
use super::error::{RepoError, at};
use super::export::{self, Edits, FileEdit, Standing};
use super::folder_read::{Look, bytes_of};
use super::watch::Watches;
use super::{Landing, Prepared, Snapshot, Step};

/// How long a folder in which something is missing is left alone before the second look.
const SECOND_LOOK: Duration = Duration::from_millis(300);

/// How often it is looked at again at most: what still changes then is taken as it is, but for what is missing.
const LOOKS: usize = 10;
/// So many files that changed at once are a storm (a checkout, a program that writes): one plan, once it is over.
const STORM: usize = 10;

/// A watched folder. Clones share it.
#[derive(Clone)]
pub struct Folder(Arc<Inner>);

struct Inner {
    root: PathBuf,
    changed: watch::Sender<u64>,
    state: Mutex<State>,
}

struct State {
    look: Look,
    /// What the look declares.
    assembly: Assembly,
    snapshot: Option<Snapshot>,
    /// The head that our own writing makes: what it removed needs no second look.
    landed: Option<String>,
    watches: Watches,
}

impl std::fmt::Debug for Folder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Folder({})", self.0.root.display())
    }
}

/// What a look brought.
enum Seen {
    Snapshot(Snapshot),
    /// Resources that were there are missing, so that an editor may be in the middle of a save; or very much changed at
    /// once, and more may follow.
    Doubtful(Snapshot),
}

impl Folder {
    /// Opens a folder, which has to be there.
    pub async fn open(root: &Path) -> Result<Self, RepoError> {
        let root = root.to_owned();
        blocking(move || {
            let root = match root.canonicalize() {
                Ok(found) if found.is_dir() => found,
                _ => return Err(RepoError::NoFolder(root)),
            };
            let changed = watch::Sender::new(0);
            let state = State {
                look: Look::default(),
                assembly: Assembly::default(),
                snapshot: None,
                landed: None,
                watches: Watches::new(&root, changed.clone()),
            };
            Ok(Self(Arc::new(Inner {
                root,
                changed,
                state: Mutex::new(state),
            })))
        })
        .await
    }

    /// The folder's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.root
    }

    pub(super) fn changed(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// Looks at the folder. Where a resource went, a second look a little later has to find the same: a file that is
    /// being saved may be empty, cut short or absent for a moment. So it is where very much changed, for a while.
    pub(super) async fn snapshot(&self) -> Result<Snapshot, RepoError> {
        let mut doubtful: Option<Snapshot> = None;
        for n in 1..=LOOKS {
            let inner = Arc::clone(&self.0);
            let confirmed = doubtful.as_ref().and_then(|snapshot| snapshot.head.clone());
            match blocking(move || inner.look(confirmed.as_deref(), n < LOOKS)).await? {
                Seen::Snapshot(snapshot) => return Ok(snapshot),
                Seen::Doubtful(snapshot) => doubtful = Some(snapshot),
            }
            tokio::time::sleep(SECOND_LOOK).await;
        }
        Err(RepoError::Unsettled(self.0.root.clone()))
    }

    /// Whether one look is believed by itself.
    #[cfg(test)]
    pub fn believes_one_look(&self) -> bool {
        matches!(self.0.look(None, true), Ok(Seen::Snapshot(_)))
    }

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

    pub(super) async fn ready(&self, seen: &Snapshot, edits: Edits) -> Result<Prepared, RepoError> {
        let (inner, seen) = (Arc::clone(&self.0), seen.clone());
        blocking(move || Ok(inner.ready(&seen, edits))).await
    }

    pub(super) async fn land(&self, edits: &[FileEdit], head: &str) -> Result<Landing, RepoError> {
        let (inner, edits, head) = (Arc::clone(&self.0), edits.to_vec(), head.to_owned());
        blocking(move || {
            let landing = inner.land(&edits)?;
            lock(&inner.state).landed = (landing == Landing::Landed).then_some(head);
            Ok(landing)
        })
        .await
    }

    pub(super) async fn landed(&self, attempt: &str) -> Result<bool, RepoError> {
        let (inner, attempt) = (Arc::clone(&self.0), attempt.to_owned());
        blocking(move || {
            for line in attempt.lines() {
                let Some((path, digest)) = line.rsplit_once('=') else {
                    return Ok(false);
                };
                let file = inner.root.join(path);
                // What can't be read can't be what was written.
                let Ok(bytes) = bytes_of(&file) else { return Ok(false) };
                let found = bytes.map_or_else(|| GONE.to_owned(), |bytes| Digest::of(bytes).to_string());
                if found != digest {
                    return Ok(false);
                }
            }
            Ok(!attempt.is_empty())
        })
        .await
    }
}

/// Stands for a file that goes, where a digest would stand.
const GONE: &str = "-";

impl Inner {
    fn look(&self, confirmed: Option<&str>, patient: bool) -> Result<Seen, RepoError> {
        let mut state = lock(&self.state);
        let state = &mut *state;
        let mut look = match Look::at(&self.root, &state.look) {
            Err(error @ RepoError::NoFolder(_)) => {
                state.watches.await_root(&self.root);
                if self.root.is_dir() {
                    // It came before its place was watched.
                    self.changed.send_modify(|count| *count += 1);
                }
                return Err(error);
            }
            other => other?,
        };
        if state.watches.set(&look.folders) {
            look = Look::at(&self.root, &look)?;
        }
        if let Some(snapshot) = &state.snapshot
            && look.says_the_same(&state.look)
        {
            let snapshot = snapshot.clone();
            state.look = look;
            return Ok(Seen::Snapshot(snapshot));
        }
        let (assembly, ids) = look.assembly(&state.look, &state.assembly);
        let digests = look.digests();
        let before = state.snapshot.as_ref().and_then(|snapshot| snapshot.head.clone());
        let snapshot = Snapshot {
            head: Some(look.head(&digests)),
            tree: Arc::clone(assembly.tree()),
            since: before.zip(ids.map(Arc::new)),
            message_author: None,
            recipients: look.recipients.clone(),
            tools_lock: look.tools_lock.clone(),
            within: Arc::default(),
            files: Arc::new(digests),
        };
        let stays = |id: &Id| snapshot.tree.documents.contains_key(id);
        let whole = state.snapshot.as_ref().is_none_or(|before| match &snapshot.since {
            Some((_, ids)) => ids
                .iter()
                .all(|id| stays(id) || !before.tree.documents.contains_key(id)),
            None => before.tree.documents.keys().all(stays),
        });
        let believed = snapshot.head.as_deref() == confirmed || snapshot.head == state.landed;
        let storm = || patient && state.snapshot.is_some() && look.differing(&state.look) >= STORM;
        if !believed && (!whole || storm()) {
            return Ok(Seen::Doubtful(snapshot));
        }
        state.look = look;
        state.assembly = assembly;
        state.snapshot = Some(snapshot.clone());
        Ok(Seen::Snapshot(snapshot))
    }

    fn prepare(&self, seen: &Snapshot, export: &PendingExport, pending: &[Id]) -> Result<Prepared, RepoError> {
        let edits = export::edits(seen, export, pending, |path| Ok(self.standing(path)))?;
        Ok(self.ready(seen, edits))
    }

    fn ready(&self, seen: &Snapshot, edits: Edits) -> Prepared {
        let mut files = (*seen.files).clone();
        let mut attempt = vec![];
        for edit in &edits.files {
            let digest = edit.after.as_ref().map(Digest::of);
            attempt.push(format!(
                "{}={}",
                edit.path,
                digest.map_or_else(|| GONE.to_owned(), |d| d.to_string())
            ));
            match digest {
                Some(digest) => drop(files.insert(edit.path.clone(), digest)),
                None => drop(files.remove(&edit.path)),
            }
        }
        // A text that is newer than the one that the plan saw must not be written over.
        let stale = edits.files.iter().any(|edit| {
            let found = edit.before.as_ref().map(Digest::of);
            // Hidden files are no declarations and not among them: landing compares them with what is there.
            let hidden = edit.path.split('/').any(|part| part.starts_with('.'));
            !hidden && seen.files.get(&edit.path) != found.as_ref()
        });
        let changes = !edits.files.is_empty();
        let present = seen.head.clone().unwrap_or_default();
        let commit = if changes { self.head_with(&files) } else { present };
        Prepared {
            attempt: attempt.join("\n"),
            commit,
            written: edits.written,
            changes,
            landing: if stale { Step::Stale } else { Step::Files(edits.files) },
        }
    }

    /// The head that the folder has with these files, if nothing else in it changes.
    fn head_with(&self, files: &BTreeMap<String, Digest>) -> String {
        lock(&self.state).look.head(files)
    }

    fn standing(&self, path: &str) -> Standing {
        let above = Path::new(path)
            .ancestors()
            .skip(1)
            .filter(|part| !part.as_os_str().is_empty());
        for part in above {
            if fs::symlink_metadata(self.root.join(part)).is_ok_and(|about| !about.is_dir()) {
                return Standing::Other(format!("lies below {}, which is no folder", part.display()));
            }
        }
        match bytes_of(&self.root.join(path)) {
            Ok(None) => Standing::Nothing,
            Ok(Some(bytes)) => match String::from_utf8(bytes) {
                Ok(text) => Standing::Text(text),
                Err(_) => Standing::Other("is not UTF-8".into()),
            },
            Err(error) => Standing::Other(format!("can't be read: {error}")),
        }
    }

    /// Writes every file or, where one of them is not what the plan saw, none.
    fn land(&self, edits: &[FileEdit]) -> Result<Landing, RepoError> {
        // Landing again after a crash finds some files written already.
        let due: Vec<&FileEdit> = edits
            .iter()
            .filter(|edit| !self.holds(edit, edit.after.as_deref()))
            .collect();
        if !due.iter().all(|edit| self.holds(edit, edit.before.as_deref())) {
            return Ok(Landing::Moved);
        }
        if !self.root.is_dir() {
            return Err(RepoError::NoFolder(self.root.clone()));
        }
        for edit in due {
            let path = self.root.join(&edit.path);
            let parent = path.parent().unwrap_or(&self.root);
            match &edit.after {
                Some(text) => {
                    fs::create_dir_all(parent).map_err(at("made", parent))?;
                    if !self.replace(edit, &path, parent, text).map_err(at("written", &path))? {
                        return Ok(Landing::Moved);
                    }
                }
                None if self.holds(edit, edit.before.as_deref()) => {
                    fs::remove_file(&path).map_err(at("removed", &path))?;
                }
                None => return Ok(Landing::Moved),
            }
            let folder = fs::File::open(parent).and_then(|folder| folder.sync_all());
            folder.map_err(at("flushed", parent))?;
        }
        Ok(Landing::Landed)
    }

    fn holds(&self, edit: &FileEdit, text: Option<&str>) -> bool {
        let found = bytes_of(&self.root.join(&edit.path));
        found.is_ok_and(|bytes| bytes.as_deref() == text.map(str::as_bytes))
    }

    /// Puts a whole file in place of the one that the plan saw; false where another one stands there by now.
    fn replace(&self, edit: &FileEdit, path: &Path, parent: &Path, text: &str) -> io::Result<bool> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        // Hidden, so that no look takes it for a declaration.
        let new = parent.join(format!(".mcpctl-{:016x}", u64::from_ne_bytes(random)));
        let write = || {
            let mut file = fs::OpenOptions::new().write(true).create_new(true).open(&new)?;
            file.write_all(text.as_bytes())?;
            if let Ok(about) = fs::metadata(path) {
                file.set_permissions(about.permissions())?;
            }
            file.sync_all()?;
            if !self.holds(edit, edit.before.as_deref()) {
                return Ok(false);
            }
            if edit.before.is_some() {
                fs::rename(&new, path).map(|()| true)
            } else {
                // Unlike a rename, a link never replaces a file that somebody made meanwhile.
                match fs::hard_link(&new, path) {
                    Ok(()) => Ok(true),
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
                    Err(_) => fs::rename(&new, path).map(|()| true),
                }
            }
        };
        let result = write();
        // Gone already after a rename.
        let _ = fs::remove_file(&new);
        result
    }
}
