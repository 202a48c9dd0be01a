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

use super::bare::lock;

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

/// What hears of changes.
struct Ear {
    root: PathBuf,
    gone: Arc<Mutex<BTreeSet<PathBuf>>>,
    changed: watch::Sender<u64>,
}

impl Ear {
    fn hear(&self, events: &DebounceEventResult) {
        for event in events.iter().flatten() {
            let went = matches!(
                event.kind,
                EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_))
            );
            let mut noted = lock(&self.gone);
            if event.need_rescan() || went && noted.len() >= MOST_NOTED {
                // Events were lost, or are too many to tell apart: every watch is made anew.
                noted.clear();
                noted.insert(self.root.clone());
            } else if went {
                noted.extend(event.paths.iter().cloned());
            }
        }
        let relevant = match events {
            Ok(events) => events.iter().any(|event| is_relevant(&self.root, event)),
            Err(_) => true,
        };
        if relevant {
            self.changed.send_modify(|count| *count += 1);
        }
    }
}

impl Watches {
    /// Begins with no folder; `changed` rises with each change below `root`.
    pub fn new(root: &Path, changed: watch::Sender<u64>) -> Self {
        let gone = Arc::new(Mutex::new(BTreeSet::new()));
        let ear = Ear {
            root: root.to_owned(),
            gone: Arc::clone(&gone),
            changed,
        };
        let heard = move |events: DebounceEventResult| ear.hear(&events);
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
                    let hint = match error.kind {
                        notify::ErrorKind::MaxFilesWatch => "; more watches: sysctl fs.inotify.max_user_watches",
                        _ => "",
                    };
                    tracing::warn!(%error, folder = %folder.display(), "a folder can't be watched: changes in it are found by looking now and then{hint}");
                }
                Err(_) => {}
            }
        }
        new
    }

    /// Waits for a root that is not there: forgets its folders, so that others of the same name are watched anew, and
    /// watches the place where it would appear.
    pub fn await_root(&mut self, root: &Path) {
        let above = root.ancestors().skip(1).find(|above| above.is_dir());
        if above.is_some_and(|above| self.watched.len() == 1 && self.watched.contains(above)) {
            return;
        }
        self.set(&BTreeSet::new());
        self.set(&above.map(Path::to_owned).into_iter().collect());
    }
}

/// Whether an event may have changed what is read: reading does not, nor what happens in hidden places.
fn is_relevant(root: &Path, event: &notify::Event) -> bool {
    let reading = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
        EventKind::Access(_) => true,
        _ => false,
    };
    let hidden = |path: &PathBuf| match path.strip_prefix(root) {
        Ok(below) => below.iter().any(|part| part.as_encoded_bytes().first() == Some(&b'.')),
        // Above it, only what it lies in matters: it may have come back.
        Err(_) => !root.starts_with(path),
    };
    !reading && (event.paths.is_empty() || event.need_rescan() || !event.paths.iter().all(hidden))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use notify::Event;
    use notify::event::{AccessKind, AccessMode, CreateKind, DataChange, EventKind, ModifyKind, RemoveKind};
    use notify_debouncer_full::DebouncedEvent;
    use tokio::sync::watch;

    use super::{DEBOUNCE, Watches, lock};

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
            (create, &["/r"], true),
            (create, &["/r/other"], false),
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
    /// Row "a rescan when events are dropped": the queue of events overflowed, and among what was lost was that a folder went
    /// and another one of its name came. The watch on the old one would never say anything again.
    #[test]
    fn lost_events_make_every_watch_anew() {
        let place = tempfile::tempdir().expect("a folder");
        let root = place.path().canonicalize().expect("its path");
        let sub = root.join("sub");
        std::fs::create_dir(&sub).expect("a folder");
        let (changed, mut hints) = watch::channel(0);
        let mut watches = Watches::new(&root, changed.clone());
        let folders = BTreeSet::from([root.clone(), sub.clone()]);
        assert!(watches.set(&folders));
        assert!(!watches.set(&folders));
        std::fs::remove_dir(&sub).expect("it goes");
        std::fs::create_dir(&sub).expect("it comes");
        // Its own events come, and are lost.
        let wait = |hints: &mut watch::Receiver<u64>| {
            for _ in 0..1200 {
                if hints.has_changed().expect("the sender lives") {
                    hints.mark_unchanged();
                    return true;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            false
        };
        assert!(wait(&mut hints));
        std::thread::sleep(DEBOUNCE * 4);
        hints.mark_unchanged();
        lock(&watches.gone).clear();
        assert!(!watches.set(&folders), "nothing tells that the watch is of no use");
        let ear = super::Ear {
            root: root.clone(),
            gone: Arc::clone(&watches.gone),
            changed,
        };
        let rescan = Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan);
        ear.hear(&Ok(vec![DebouncedEvent::new(rescan, Instant::now())]));
        assert!(wait(&mut hints), "it is a hint to look");
        assert!(watches.set(&folders), "and the watches are made anew");
        std::fs::write(sub.join("a.yaml"), "x").expect("a file");
        assert!(wait(&mut hints), "what happens there is heard");
    }
}
