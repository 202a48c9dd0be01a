//! What servers write to stderr: kept by line with time and life, masked, bounded, in one file an instance; read and
//! followed. All back ends share it.

mod line;
mod reader;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::fs::{File, OpenOptions};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::record::{InstanceName, Life, LogLine};

pub use line::LogQuery;
pub use reader::Writer;

/// A file is turned when it would grow beyond this; with the one before it at most 1 MiB is kept.
const HALF: u64 = 512 * 1024;
/// How many may follow at once, all instances together.
const FOLLOWERS: usize = 32;
/// How many batches of lines wait for a follower before it counts as too slow.
const BEHIND: usize = 256;

/// What every line passes before anybody sees it: it puts something else in place of secret values. It is given whole
/// lines, never parts.
pub type Mask = Arc<dyn Fn(&str) -> Cow<'_, str> + Send + Sync>;

/// The log files of all instances. Clones share them.
#[derive(Clone)]
pub struct Logs(Arc<Shared>);

struct Shared {
    folder: PathBuf,
    mask: Mask,
    /// The lives of an instance share its file, so that its bound holds.
    open: Mutex<BTreeMap<InstanceName, Weak<tokio::sync::Mutex<LogFile>>>>,
    places: Arc<Semaphore>,
}

/// One instance's file, shared.
type Log = Arc<tokio::sync::Mutex<LogFile>>;

/// One instance's file.
struct LogFile {
    path: PathBuf,
    file: Option<(File, u64)>,
    followers: Vec<Listener>,
}

/// A follower's place: whichever side lets go first gives it back.
type Place = Arc<Mutex<Option<OwnedSemaphorePermit>>>;

/// A follower as the file sees it.
struct Listener {
    lines: mpsc::Sender<Arc<Vec<LogLine>>>,
    place: Place,
}

/// Lines as they are written, over all lives of an instance.
pub struct Follower {
    lines: mpsc::Receiver<Arc<Vec<LogLine>>>,
    place: Place,
    /// Keeps the file's state, so that the next life writes into the same.
    _log: Log,
}

/// Why a log can't be read or followed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Nothing was ever written by such an instance.
    #[error("{0} has no log")]
    Unknown(InstanceName),
    /// The life before the newest one was asked for.
    #[error("{0} has had no life before the newest one")]
    NoPrevious(InstanceName),
    /// As many as may follow do so already.
    #[error("{FOLLOWERS} follow logs already")]
    TooMany,
    /// The file can't be read.
    #[error("the log of {instance} can't be read: {source}")]
    Io {
        /// Whose.
        instance: InstanceName,
        /// Why.
        source: io::Error,
    },
}

impl fmt::Debug for Logs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logs")
            .field("folder", &self.0.folder)
            .finish_non_exhaustive()
    }
}

impl Logs {
    /// Logs in a folder, which is made when the first line comes.
    #[must_use]
    pub fn new(folder: PathBuf, mask: Mask) -> Self {
        Self(Arc::new(Shared {
            folder,
            mask,
            open: Mutex::default(),
            places: Arc::new(Semaphore::new(FOLLOWERS)),
        }))
    }

    /// The log of a life that begins, or that was found running and is marked as begun already.
    pub async fn begin(&self, instance: &InstanceName, life: &Life) -> Writer {
        let mut writer = Writer::new(self.of(instance), Arc::clone(&self.0.mask), life);
        writer.begin().await;
        writer
    }

    /// The lines that are kept and asked for, oldest first.
    pub async fn read(&self, instance: &InstanceName, query: &LogQuery) -> Result<Vec<LogLine>, LogError> {
        let log = self.of(instance);
        let file = log.lock().await;
        file.asked(instance, query, &self.0.mask).await
    }

    /// The lines that are kept and asked for, and everything that comes after them, without a gap. An instance that has
    /// written nothing yet can be followed too.
    pub async fn follow(
        &self,
        instance: &InstanceName,
        query: &LogQuery,
    ) -> Result<(Vec<LogLine>, Follower), LogError> {
        let log = self.of(instance);
        let mut file = log.lock().await;
        // Those who left have given their places back themselves.
        file.followers.retain(|follower| !follower.lines.is_closed());
        let permit = Arc::clone(&self.0.places).try_acquire_owned();
        let place: Place = Arc::new(Mutex::new(Some(permit.map_err(|_| LogError::TooMany)?)));
        let before = match file.asked(instance, query, &self.0.mask).await {
            Err(LogError::Unknown(_)) => vec![],
            other => other?,
        };
        let (sender, lines) = mpsc::channel(BEHIND);
        file.followers.push(Listener {
            lines: sender,
            place: Arc::clone(&place),
        });
        drop(file);
        let follower = Follower {
            lines,
            place,
            _log: log,
        };
        Ok((before, follower))
    }

    /// The file of an instance; it is opened when the first line comes.
    fn of(&self, instance: &InstanceName) -> Log {
        let mut open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = open.get(instance).and_then(Weak::upgrade) {
            return file;
        }
        open.retain(|_, file| file.strong_count() > 0);
        let name = format!("{}-{}.log", instance.server, instance.index);
        let file = Arc::new(tokio::sync::Mutex::new(LogFile {
            path: self.0.folder.join(name),
            file: None,
            followers: vec![],
        }));
        open.insert(instance.clone(), Arc::downgrade(&file));
        file
    }
}

impl Follower {
    /// The next lines; nothing once this follower was too slow and has been dropped.
    pub async fn next(&mut self) -> Option<Arc<Vec<LogLine>>> {
        self.lines.recv().await
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        give_back(&self.place);
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        give_back(&self.place);
    }
}

fn give_back(place: &Place) {
    place.lock().unwrap_or_else(PoisonError::into_inner).take();
}

async fn read(path: &Path) -> io::Result<Vec<u8>> {
    match tokio::fs::read(path).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(vec![]),
        other => other,
    }
}

fn turned(path: &Path) -> PathBuf {
    path.with_extension("log.1")
}

impl LogFile {
    async fn all(&self) -> io::Result<Vec<LogLine>> {
        let mut bytes = read(&turned(&self.path)).await?;
        bytes.extend(read(&self.path).await?);
        Ok(line::lines(&bytes))
    }

    async fn asked(&self, instance: &InstanceName, query: &LogQuery, mask: &Mask) -> Result<Vec<LogLine>, LogError> {
        let mut lines = self.all().await.map_err(|source| LogError::Io {
            instance: instance.clone(),
            source,
        })?;
        if lines.is_empty() {
            return Err(LogError::Unknown(instance.clone()));
        }
        // What is a secret today may not have been one when the line was kept.
        for line in &mut lines {
            if let Cow::Owned(masked) = mask(&line.text) {
                line.text = masked;
            }
        }
        line::select(lines, query).ok_or_else(|| LogError::NoPrevious(instance.clone()))
    }

    /// Writes lines and hands them to the followers. That they can't be written is told once.
    async fn append(&mut self, lines: Vec<LogLine>, told: &mut bool) {
        let text: String = lines.iter().map(line::print).collect();
        if let Err(error) = self.write(&text).await
            && !std::mem::replace(told, true)
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot write a server's log");
        }
        let lines = Arc::new(lines);
        // Who has let so much wait, or has gone, is dropped: a log must not wait for its readers.
        self.followers
            .retain(|follower| follower.lines.try_send(Arc::clone(&lines)).is_ok());
    }

    async fn write(&mut self, text: &str) -> io::Result<()> {
        let grown = text.len() as u64;
        if self.file.as_ref().is_some_and(|(_, size)| size + grown > HALF) {
            self.file = None;
            tokio::fs::rename(&self.path, turned(&self.path)).await?;
        }
        if self.file.is_none() {
            if let Some(folder) = self.path.parent() {
                tokio::fs::DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(folder)
                    .await?;
            }
            let file = OpenOptions::new()
                .create(true)
                .append(true)
                .mode(0o600)
                .open(&self.path)
                .await?;
            let size = file.metadata().await?.len();
            self.file = Some((file, size));
            if size > 0 {
                // A line that a crash cut off ends here; empty lines are passed over.
                return Box::pin(self.write(&format!("\n{text}"))).await;
            }
        }
        if let Some((file, size)) = &mut self.file {
            file.write_all(text.as_bytes()).await?;
            file.flush().await?;
            *size += grown;
        }
        Ok(())
    }
}
