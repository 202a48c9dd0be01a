//! Notices that files changed. A hint, at most: a watch may be missing (too many folders, a file system without events),
//! and then the next look finds what changed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode};
use notify_debouncer_full::{DebounceEventResult, Debouncer, NoCache, new_debouncer_opt};
use tokio::sync::watch;

use super::hosted::lock;

/// An editor's save is several events; they are one change.
const DEBOUNCE: Duration = Duration::from_millis(150);
/// How many paths that went are remembered between two looks.
const MOST_NOTED: usize = 10_000;

/// The watches on a folder and those below it. Each folder has its own, so that hidden ones (with a data folder, or all
/// of git's objects in it) cost nothing.
pub(super) struct Watches {
    debouncer: Option<Debouncer<RecommendedWatcher, NoCache>>,
    watched: BTreeSet<PathBuf>,
    /// What went or was renamed: a folder's watch goes with it, and one of the same name needs a new watch.
    gone: Arc<Mutex<BTreeSet<PathBuf>>>,
    complained: bool,
}

impl Watches {
    /// Begins with no folder; `changed` rises with each change below `root`.
    pub fn new(root: &Path, changed: watch::Sender<u64>) -> Self {
        let base = root.to_owned();
        let gone = Arc::new(Mutex::new(BTreeSet::new()));
        let noted = Arc::clone(&gone);
        let heard = move |events: DebounceEventResult| {
            for event in events.iter().flatten() {
                if matches!(
                    event.kind,
                    EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_))
                ) {
                    let mut noted = lock(&noted);
                    if noted.len() < MOST_NOTED {
                        noted.extend(event.paths.iter().cloned());
                    } else {
                        // Too much to tell apart: every watch is made anew.
                        noted.clear();
                        noted.insert(base.clone());
                    }
                }
            }
            let relevant = match &events {
                Ok(events) => events.iter().any(|event| is_relevant(&base, event)),
                Err(_) => true,
            };
            if relevant {
                changed.send_modify(|count| *count += 1);
            }
        };
        let debouncer = new_debouncer_opt(DEBOUNCE, None, heard, NoCache::new(), notify::Config::default());
        if let Err(error) = &debouncer {
            tracing::warn!(%error, "the folder can't be watched: changes are found by looking at it now and then");
        }
        Self {
            debouncer: debouncer.ok(),
            watched: BTreeSet::new(),
            gone,
            complained: false,
        }
    }

    /// Watches these folders and no others. Gives whether a watch is new: what changed in its folder before has to be
    /// looked for.
    pub fn set(&mut self, folders: &BTreeSet<PathBuf>) -> bool {
        let Some(debouncer) = &mut self.debouncer else {
            return false;
        };
        let gone = std::mem::take(&mut *lock(&self.gone));
        self.watched.retain(|folder| {
            let keep = folders.contains(folder) && !folder.ancestors().any(|part| gone.contains(part));
            if !keep {
                // It fails where the folder is gone, and its watch with it.
                let _ = debouncer.unwatch(folder);
            }
            keep
        });
        let mut new = false;
        for folder in folders {
            if self.watched.contains(folder) {
                continue;
            }
            match debouncer.watch(folder, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.watched.insert(folder.clone());
                    new = true;
                }
                Err(error) if !self.complained => {
                    self.complained = true;
                    tracing::warn!(%error, folder = %folder.display(), "a folder can't be watched: changes in it are found by looking now and then");
                }
                Err(_) => {}
            }
        }
        new
    }

    /// Forgets folders that went, so that others of the same name are watched anew.
    pub fn forget(&mut self) {
        self.set(&BTreeSet::new());
    }
}

/// Whether an event may have changed what is read: reading does not, nor what happens in hidden places.
fn is_relevant(root: &Path, event: &notify::Event) -> bool {
    let reading = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
        EventKind::Access(_) => true,
        _ => false,
    };
    let hidden = |path: &PathBuf| {
        let below = path.strip_prefix(root).unwrap_or(path);
        below.iter().any(|part| part.as_encoded_bytes().first() == Some(&b'.'))
    };
    !reading && (event.paths.is_empty() || event.need_rescan() || !event.paths.iter().all(hidden))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use notify::Event;
    use notify::event::{AccessKind, AccessMode, CreateKind, DataChange, EventKind, ModifyKind, RemoveKind};

    /// Looking at the folder must not be a reason to look again.
    #[test]
    fn reading_and_hidden_places_are_no_change() {
        let open = EventKind::Access(AccessKind::Open(AccessMode::Any));
        let close = EventKind::Access(AccessKind::Close(AccessMode::Write));
        let data = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        let (create, remove) = (EventKind::Create(CreateKind::Any), EventKind::Remove(RemoveKind::Any));
        for (kind, paths, relevant) in [
            (open, &["/r/.x/a.yaml"][..], false),
            (EventKind::Access(AccessKind::Read), &["/r/.x/a.yaml"], false),
            (close, &["/r/.x/a.yaml"], true),
            (data, &["/r/.x/b/a.yaml"], true),
            (create, &["/r/.x/new"], true),
            (remove, &["/r/.x"], true),
            (data, &["/r/.x/.mcpctl/local/store"], false),
            (data, &["/r/.x/b/.mcpctl-0123"], false),
            (
                EventKind::Modify(ModifyKind::Any),
                &["/r/.x/.tmp", "/r/.x/a.yaml"],
                true,
            ),
        ] {
            let event = paths
                .iter()
                .fold(Event::new(kind), |event, path| event.add_path(path.into()));
            assert_eq!(super::is_relevant(Path::new("/r/.x"), &event), relevant, "{event:?}");
        }
    }
}
