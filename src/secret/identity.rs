//! The private keys that decrypt: mcpd's own, `DATA/identity.txt`, and those of the files in `MCPD_IDENTITY_FILE`.
//!
//! # Guarantees
//! The own key is made once, whole or not at all, readable by its owner alone, and never written over. Other files are
//! only read; one that is missing is a warning, and is looked at again by [`Identities::reload`].
//!
//! This is the one file of the room that touches files.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use crate::kit::{Digest, Redacted, time::Timestamp};

use super::key::{self, PrivateKey};
use super::recipient::Recipient;

/// The own key's file in the data folder.
const OWN: &str = "identity.txt";
/// The largest file of keys that is read, in bytes.
const LARGEST: u64 = 64 * 1024;
/// Keys in all files together, at most; each file of a secret is tried with each of them.
const MOST_KEYS: usize = 32;

/// The private keys that decrypt. Shared between threads; what is read at once is one set.
pub struct Identities {
    own: Own,
    extra: Vec<PathBuf>,
    set: RwLock<Arc<Set>>,
}

/// mcpd's own key.
struct Own {
    file: String,
    key: PrivateKey,
    recipient: Recipient,
}

/// The keys of the other files, as they were read last.
struct Set {
    generation: u64,
    keys: Vec<PrivateKey>,
    warnings: Vec<IdentityWarning>,
}

/// A file of `MCPD_IDENTITY_FILE`, or a key in it, that can't be used now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityWarning {
    /// The file.
    pub file: PathBuf,
    /// The line of a key that can't be used, 1-based; nothing where the whole file can't be.
    pub line: Option<usize>,
    /// Why. Nothing of the file is in it.
    pub message: String,
}

impl std::fmt::Display for IdentityWarning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Why the own key can't be had.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file can't be read, written or flushed.
    #[error("{} could not be {what}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was done with it.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something else than one age key stands in the file; it is left as it is.
    #[error(
        "{}:{line}: {message}; put the key back that was there (from `mcpctl backup identity`), or move the file away \
         to get a new one, which opens nothing that was encrypted before", path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The line, 1-based.
        line: usize,
        /// What is wrong with it.
        message: String,
    },
}

impl std::fmt::Debug for Identities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identities")
            .field("own", &self.own.recipient)
            .field("extra", &self.extra)
            .finish_non_exhaustive()
    }
}

impl Identities {
    /// Reads the keys, and makes the own one where there is none yet; `now` is written beside it.
    ///
    /// # Errors
    /// The own key's file can't be read or made. Other files are never a reason to fail: see [`Self::warnings`].
    pub fn open(data: &Path, extra: &[PathBuf], now: Timestamp) -> Result<Self, IdentityError> {
        let own = own(&data.join(OWN), now)?;
        let set = RwLock::new(Arc::new(Set::read(extra, 0)));
        Ok(Self {
            own,
            extra: extra.to_vec(),
            set,
        })
    }

    /// A key that is kept nowhere and opens nothing that is there, for who only judges the form of what is encrypted.
    #[must_use]
    pub fn passing() -> Self {
        let (_, recipient, key) = key::make();
        Self {
            own: Own {
                file: String::new(),
                key,
                recipient,
            },
            extra: vec![],
            set: RwLock::new(Arc::new(Set::read(&[], 0))),
        }
    }

    /// Looks at the other files again. Whether the set of keys changed.
    pub fn reload(&self) -> bool {
        let before = self.set();
        let mut after = Set::read(&self.extra, before.generation);
        let digests = |set: &Set| set.keys.iter().map(PrivateKey::digest).collect::<Vec<Digest>>();
        let changed = digests(&before) != digests(&after);
        after.generation += u64::from(changed);
        *self.set.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(after);
        changed
    }

    /// Rises each time when the set of keys changed: what was sealed may open then.
    pub fn generation(&self) -> u64 {
        self.set().generation
    }

    /// What can't be used now of the other files.
    pub fn warnings(&self) -> Vec<IdentityWarning> {
        self.set().warnings.clone()
    }

    /// The public half of the own key: always a recipient.
    pub fn own_recipient(&self) -> &Recipient {
        &self.own.recipient
    }

    /// Every key that is in use, as one file to be kept safe: those of other files first, in their order, because values
    /// are generated from the first key; then the own one. This is all that a new host needs.
    pub fn export(&self) -> Redacted<String> {
        let others = self.extra.iter().filter_map(|file| read(file).ok().flatten());
        let mut all = String::new();
        for text in others.chain([self.own.file.clone()]) {
            all.push_str(&text);
            if !text.ends_with('\n') {
                all.push('\n');
            }
        }
        Redacted::new(all)
    }

    /// Runs `look` over the keys: those of other files, then the own one.
    pub(super) fn with_keys<T>(&self, look: impl FnOnce(&mut dyn Iterator<Item = &PrivateKey>) -> T) -> T {
        let set = self.set();
        look(&mut set.keys.iter().chain([&self.own.key]))
    }

    /// The key that values are derived from: the first one of the other files, or the own one where none are given.
    /// Nothing while files are given and hold no key: what is derived then would not come back on another host.
    pub(super) fn with_first<T>(&self, look: impl FnOnce(&PrivateKey) -> T) -> Option<T> {
        if self.extra.is_empty() {
            return Some(look(&self.own.key));
        }
        self.set().keys.first().map(look)
    }

    /// The own key alone.
    pub(super) fn own_key(&self) -> &PrivateKey {
        &self.own.key
    }

    fn set(&self) -> Arc<Set> {
        self.set.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Set {
    fn read(files: &[PathBuf], generation: u64) -> Self {
        let mut it = Self {
            generation,
            keys: vec![],
            warnings: vec![],
        };
        for file in files {
            let mut warn = |line: Option<usize>, message: String| {
                it.warnings.push(IdentityWarning {
                    file: file.clone(),
                    line,
                    message,
                });
            };
            let text = match read(file) {
                Ok(Some(text)) => text,
                Ok(None) => {
                    warn(None, "is not there; it is looked for again".into());
                    continue;
                }
                Err(error) => {
                    warn(None, format!("can't be read: {error}"));
                    continue;
                }
            };
            let (keys, faults) = key::read(&text);
            for fault in faults.into_iter().take(MOST_KEYS) {
                warn(Some(fault.line), fault.message.into());
            }
            if keys.is_empty() {
                warn(None, "holds no key that can be used".into());
            }
            let room = MOST_KEYS - it.keys.len();
            if keys.len() > room {
                warn(None, format!("more than {MOST_KEYS} keys; the rest is not used"));
            }
            it.keys.extend(keys.into_iter().take(room).map(|(_, key)| key));
        }
        it
    }
}

/// The text of a file of keys; nothing where it is not there.
fn read(path: &Path) -> io::Result<Option<String>> {
    // A named pipe would keep us waiting for a writer.
    match std::fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => return Err(io::Error::other("it is no file")),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    }
    let mut bytes = vec![];
    File::open(path)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(io::Error::other(format!("it has more than {LARGEST} bytes")));
    }
    String::from_utf8(bytes)
        .map(Some)
        .map_err(|_| io::Error::other("it is no text"))
}

/// Reads the own key, or makes it.
fn own(path: &Path, now: Timestamp) -> Result<Own, IdentityError> {
    let fault = |what: &'static str| {
        move |source: io::Error| IdentityError::Io {
            path: path.to_owned(),
            what,
            source,
        }
    };
    // It is written beside and renamed: an empty one was not left by a crash of ours, and is not written over either.
    let text = read(path).map_err(fault("read"))?;
    let Some(text) = text else {
        let (secret, recipient, key) = key::make();
        let second = now.strftime("%Y-%m-%dT%H:%M:%SZ");
        let file = format!("# created: {second}\n# public key: {recipient}\n{}\n", secret.reveal());
        write(path, &file).map_err(fault("written"))?;
        return Ok(Own { file, key, recipient });
    };
    let (_, recipient, key) = key::read_own(&text).map_err(|fault| IdentityError::Unreadable {
        path: path.to_owned(),
        line: fault.line,
        message: fault.message.into(),
    })?;
    std::fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(fault("made private"))?;
    Ok(Own {
        file: text,
        key,
        recipient,
    })
}

/// Writes the own key so that it is there whole or not at all, also after a crash.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let beside = path.with_extension("txt.new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}
