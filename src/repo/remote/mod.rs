//! A repository that lives elsewhere: read from a mirror in the data folder, which one task keeps up with the remote.
//!
//! Nothing that is read here talks to the network. [`Remote::tend`] does, alone and one thing at a time: it fetches, on the
//! clock and when it is asked to, and it carries out the one push that may be under way. Whoever starts it owns the task.
//!
//! # Guarantees
//! A push moves the remote's branch only if it is at the commit that the push was made for. Whether a push landed is said
//! only by a look at the remote that began after it: until then the answer is that nobody knows.

mod hosts;
mod mirror;
mod order;
mod pace;
mod program;
mod talk;
#[cfg(test)]
pub(super) mod tests;

use std::ffi::OsString;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::kit::time::{Timestamp, now};
use crate::settings::{RemoteSettings, RepoKind, RepoToken};

use super::bare::{Bare, lock};
use super::blocking::blocking;
use super::error::{RepoError, at};
use super::{Landing, Snapshot};

use order::{Answer, Order, Work, clean};
use talk::{Progress, Talk};

pub use program::remote_main;
#[cfg(test)]
pub(super) use program::run as run_program;
pub use talk::Limits;

/// The most that is fetched at once, in bytes.
const MOST_BYTES: usize = 2 << 30;
/// How often the log tells how far a long fetch is.
const TELL: Duration = Duration::from_secs(5);
/// The longest token, in bytes.
const LONGEST_TOKEN: usize = 16 << 10;
/// What of mcpd's environment the process that talks to the remote gets: the ways out of a company's network.
const INHERITED: &[&str] = &[
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// What a remote is opened with.
#[derive(Debug, Clone)]
pub struct RemoteParts {
    /// Where it is, and what of it counts.
    pub settings: RemoteSettings,
    /// The program that talks to it, with its leading arguments; it calls [`remote_main`].
    pub program: Vec<OsString>,
    /// mcpd's own environment; the program gets a part of it.
    pub environment: Vec<(OsString, OsString)>,
    /// A file of certificates that are trusted beside the system's.
    pub ca_bundle: Option<PathBuf>,
    /// How long it may take.
    pub limits: Limits,
}

/// A repository that lives elsewhere. Clones share it.
#[derive(Clone)]
pub struct Remote(Arc<Inner>);

struct Inner {
    bare: Bare,
    settings: RemoteSettings,
    talk: Talk,
    /// mcpd's private SSH key and the pinned host keys.
    key: PathBuf,
    known_hosts: PathBuf,
    /// Whether the remote was heard of once, in this life or an earlier one.
    seen: AtomicBool,
    state: Mutex<State>,
    /// The newest look that somebody asked for, and the newest that was done.
    asked: AtomicU64,
    looked: watch::Sender<u64>,
    wake: Notify,
}

#[derive(Default)]
struct State {
    /// Whether the mirror says what came of every push: the remote was looked at since.
    known: bool,
    /// A push that waits for the task, or that it is carrying out.
    push: Option<Push>,
    /// Why the remote can't be reached.
    away: Option<String>,
    /// Why it does not take what mcpd pushes, though it can be reached.
    refused: Option<Refused>,
    /// How many looks or pushes failed on end.
    failures: u32,
    /// When it answered last.
    at: Option<Timestamp>,
}

#[derive(Clone)]
struct Push {
    from: Option<String>,
    to: String,
}

#[derive(Clone)]
struct Refused {
    why: String,
    /// How often on end.
    times: u32,
    /// When a push may be tried again; nothing once it may.
    again: Option<Instant>,
}

/// How a remote stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RemoteStanding {
    /// Whether it was heard of once: before that nothing is known of what it declares.
    pub seen: bool,
    /// Whether it answered when it was spoken to last.
    pub reachable: bool,
    /// What is wrong with it: it can't be reached, or does not take what is pushed.
    pub trouble: Option<String>,
    /// When it answered last, in this life of mcpd.
    pub at: Option<Timestamp>,
    /// Whether a push may be made now.
    pub takes_pushes: bool,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Remote({})", self.0.settings.url.location)
    }
}

impl Remote {
    /// Opens the mirror in the data folder; the remote itself is not spoken to before [`Remote::tend`] runs. `writer` is
    /// named in each commit.
    ///
    /// # Assumptions
    /// No other mcpd uses the data folder (the store's lock sees to that).
    pub async fn open(data: &Path, writer: &str, parts: RemoteParts) -> Result<Self, RepoError> {
        let (data, writer) = (data.to_owned(), writer.to_owned());
        blocking(move || {
            let data = data.canonicalize().map_err(at("found", &data))?;
            let RemoteParts {
                settings,
                program,
                environment,
                ca_bundle,
                limits,
            } = parts;
            let folder = data.join("remote.git");
            let seen = mirror::open(&folder, &settings.identity())?;
            let known_hosts = data.join("known_hosts");
            let home = home(&data, &known_hosts)?;
            let environment = surroundings(&environment, &home, ca_bundle.as_deref());
            Ok(Self(Arc::new(Inner {
                bare: Bare::new(folder, &writer, &settings.within),
                settings,
                talk: Talk {
                    program,
                    environment,
                    limits,
                },
                key: data.join("ssh_ed25519"),
                known_hosts,
                seen: AtomicBool::new(seen),
                state: Mutex::default(),
                asked: AtomicU64::new(0),
                looked: watch::Sender::new(0),
                wake: Notify::new(),
            })))
        })
        .await
    }

    /// The mirror.
    #[must_use]
    pub fn bare(&self) -> &Bare {
        &self.0.bare
    }

    /// How it is shown: no credentials.
    #[must_use]
    pub fn location(&self) -> &str {
        &self.0.settings.url.location
    }

    /// How it stands.
    #[must_use]
    pub fn standing(&self) -> RemoteStanding {
        let state = lock(&self.0.state);
        let refused = state.refused.as_ref();
        let trouble = state.away.clone().or_else(|| refused.map(|it| it.why.clone()));
        RemoteStanding {
            seen: self.0.seen.load(Ordering::SeqCst),
            reachable: state.at.is_some() && state.away.is_none(),
            trouble,
            at: state.at,
            takes_pushes: state.known
                && state.away.is_none()
                && state.push.is_none()
                && refused.is_none_or(|it| it.again.is_none()),
        }
    }

    /// Has it looked at now instead of at the next time, and gives the number of the look that will serve this. More than
    /// one asking may be served by one look.
    #[must_use]
    pub fn ask(&self) -> u64 {
        let wanted = self.0.asked.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.wake.notify_one();
        wanted
    }

    /// Whether that look is over, whatever came of it.
    #[must_use]
    pub fn has_looked(&self, wanted: u64) -> bool {
        *self.0.looked.borrow() >= wanted
    }

    /// Waits for that look; `longest` at most.
    pub async fn looked(&self, wanted: u64, longest: Duration) {
        let mut looked = self.0.looked.subscribe();
        let _ = tokio::time::timeout(longest, looked.wait_for(|done| *done >= wanted)).await;
    }

    /// Has it looked at now and waits for that.
    pub async fn look(&self, longest: Duration) {
        self.looked(self.ask(), longest).await;
    }

    pub(super) async fn snapshot(&self) -> Result<Snapshot, RepoError> {
        if !self.0.seen.load(Ordering::SeqCst) {
            return Err(RepoError::NotSeen(self.location().to_owned()));
        }
        self.0.bare.snapshot().await
    }

    /// Hands a push to the task.
    pub(super) fn land(&self, from: Option<&str>, to: &str) -> Landing {
        if from == Some(to) || to.is_empty() {
            return Landing::Landed;
        }
        let mut state = lock(&self.0.state);
        if state.push.is_none() {
            state.push = Some(Push {
                from: from.map(str::to_owned),
                to: to.to_owned(),
            });
            self.0.wake.notify_one();
        }
        Landing::Underway
    }

    /// Whether a commit is in the remote's branch; nothing where that is not known before the remote was asked.
    pub(super) async fn landed(&self, attempt: &str) -> Result<Option<bool>, RepoError> {
        let known = {
            let state = lock(&self.0.state);
            state.known && state.push.is_none()
        };
        if !known {
            return Ok(None);
        }
        self.0.bare.landed(attempt).await.map(Some)
    }

    /// Keeps the mirror up with the remote until `stop`.
    pub async fn tend(self, stop: CancellationToken) {
        let mut next = Instant::now();
        loop {
            let push = lock(&self.0.state).push.clone();
            let asked = self.0.asked.load(Ordering::SeqCst);
            let due = Instant::now() >= next || asked > *self.0.looked.borrow();
            let pushes = push.is_some();
            let work = async {
                match push {
                    Some(push) => self.push(push).await,
                    None if due => {
                        self.fetch().await;
                        // Who asked is told even that there is nothing new.
                        if self.0.looked.send_replace(asked) < asked {
                            self.changed();
                        }
                    }
                    None => {}
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = work => {}
            }
            if pushes || due {
                let failures = lock(&self.0.state).failures;
                next = Instant::now() + pace::pause(self.0.settings.interval, failures, pace::jitter());
            }
            let again = self.may_push_again();
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep_until(again.map_or(next, |again| again.min(next))) => {}
                () = self.0.wake.notified() => {}
            }
        }
    }

    /// When a push that was refused may be tried again; where that is now, whoever pushes is told.
    fn may_push_again(&self) -> Option<Instant> {
        let mut state = lock(&self.0.state);
        let refused = state.refused.as_mut()?;
        let again = refused.again?;
        if Instant::now() < again {
            return Some(again);
        }
        refused.again = None;
        drop(state);
        self.changed();
        None
    }

    fn changed(&self) {
        self.0.bare.0.changed.send_modify(|count| *count += 1);
    }

    /// Looks at the remote once.
    async fn fetch(&self) {
        let mut told = Instant::now();
        let tell = |progress: Progress| {
            if told.elapsed() >= TELL {
                told = Instant::now();
                let Progress { objects, of, bytes } = progress;
                tracing::info!("fetching: {objects} of {of} objects, {} MiB", bytes >> 20);
            }
        };
        let answer = match self.order(Work::Fetch).await {
            Ok(order) => self.0.talk.ask(&order, tell).await,
            Err(text) => Answer::Failed(text),
        };
        let head = match answer {
            Answer::At(head) => head,
            Answer::Failed(text) => {
                self.repack().await;
                return self.fail(&text);
            }
            _ => return self.fail("the answer is to another question"),
        };
        let (inner, commit) = (Arc::clone(&self.0), head.clone());
        let moved = blocking(move || {
            let repository = inner.bare.0.repository(None)?;
            let moved = mirror::follow(&repository, commit.as_deref())?;
            mirror::note_seen(&repository)?;
            Ok(moved)
        });
        match moved.await {
            Ok(moved) => {
                self.heard(moved, head.as_deref());
                if moved {
                    self.repack().await;
                }
            }
            Err(error) => self.fail(&chain(&error)),
        }
    }

    /// Makes many packs one. Where there is no git on this machine nothing is lost but speed.
    async fn repack(&self) {
        let folder = self.0.bare.path().to_owned();
        let Ok(true) = blocking(move || Ok(mirror::tidy(&folder))).await else {
            return;
        };
        let repack = tokio::process::Command::new("git")
            .arg("-C")
            .arg(self.0.bare.path())
            // What no branch leads to any more is kept: a head that was agreed last may be among it.
            .args(["repack", "-a", "-d", "-k", "-q"])
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .status();
        match tokio::time::timeout(self.0.talk.limits.whole, repack).await {
            Ok(Ok(status)) if status.success() => tracing::debug!("the mirror's packs were made one"),
            _ => tracing::debug!("the mirror's packs could not be made one"),
        }
    }

    /// The remote answered.
    fn heard(&self, moved: bool, head: Option<&str>) {
        let first = !self.0.seen.swap(true, Ordering::SeqCst);
        let mut state = lock(&self.0.state);
        let news = first || moved || !state.known || state.away.is_some();
        if state.away.take().is_some() {
            tracing::info!(remote = self.location(), "the remote answers again");
        }
        state.known = true;
        state.failures = 0;
        state.at = Some(now());
        drop(state);
        if first || moved {
            let branch = &self.0.settings.branch;
            if let Some(head) = head {
                tracing::info!(remote = self.location(), %branch, %head, "fetched");
            } else {
                tracing::info!(remote = self.location(), %branch, "the remote has no such branch yet");
            }
        }
        if news {
            self.changed();
        }
    }

    /// The remote did not answer as it should.
    fn fail(&self, text: &str) {
        let text = format!("{}: {text}", self.location());
        let mut state = lock(&self.0.state);
        let known = state.away.replace(text.clone());
        state.failures = state.failures.saturating_add(1);
        drop(state);
        if known.is_none() {
            tracing::warn!("the remote can't be used: {text}");
        } else {
            tracing::debug!("the remote still can't be used: {text}");
        }
        if known.as_ref() != Some(&text) {
            self.changed();
        }
    }

    /// Carries out a push, and looks what came of it where that is not plain.
    async fn push(&self, push: Push) {
        // From here on only a look at the remote tells what became of it.
        lock(&self.0.state).known = false;
        let work = Work::Push {
            from: push.from.clone(),
            to: push.to.clone(),
        };
        let answer = match self.order(work).await {
            Ok(order) => self.0.talk.ask(&order, |_| ()).await,
            Err(text) => Answer::Failed(text),
        };
        match answer {
            Answer::Pushed => {
                let (inner, to) = (Arc::clone(&self.0), push.to.clone());
                let moved = blocking(move || mirror::follow(&inner.bare.0.repository(None)?, Some(&to)));
                match moved.await {
                    Ok(_) => {
                        let mut state = lock(&self.0.state);
                        state.refused = None;
                        drop(state);
                        self.heard(false, None);
                    }
                    Err(error) => self.fail(&chain(&error)),
                }
            }
            Answer::Elsewhere => {
                self.fetch().await;
                let why = "it says that its branch has moved, and shows the one that was there before";
                self.refused(&push, why).await;
            }
            Answer::Refused(why) => {
                self.fetch().await;
                self.refused(&push, &why).await;
            }
            Answer::Failed(text) => {
                self.repack().await;
                self.fail(&text);
            }
            Answer::At(_) => self.fail("the answer is to another question"),
        }
        lock(&self.0.state).push = None;
        self.changed();
    }

    /// A push did not land. Where the branch has moved that is why, and it is planned anew; where it has not, trying again
    /// at once would be refused again.
    async fn refused(&self, push: &Push, why: &str) {
        let here = self.0.bare.head().await.ok().flatten();
        let mut state = lock(&self.0.state);
        if state.away.is_some() || here != push.from {
            return;
        }
        let times = state.refused.as_ref().map_or(1, |it| it.times.saturating_add(1));
        let pause = pace::pause(self.0.settings.interval, times, pace::jitter());
        let why = format!("{} refuses what mcpd pushes: {why}", self.location());
        if times == 1 {
            tracing::warn!("{why}");
        }
        let again = Some(Instant::now() + pause);
        state.refused = Some(Refused { why, times, again });
    }

    async fn order(&self, work: Work) -> Result<Order, String> {
        let settings = &self.0.settings;
        let url = &settings.url;
        let token = match &settings.token {
            RepoToken::None => url.password.reveal().clone(),
            RepoToken::Given(token) => Some(token.reveal().clone()),
            RepoToken::File(path) => Some(token_of(path).await?),
        };
        Ok(Order {
            mirror: self.0.bare.path().to_owned(),
            address: url.address.clone(),
            host: url.host.clone(),
            host_name: if url.kind == RepoKind::Ssh {
                hosts::name(&url.host, url.port)
            } else {
                String::new()
            },
            reference: format!("refs/heads/{}", settings.branch),
            user: url.user.clone(),
            token,
            key: self.0.key.clone(),
            known_hosts: self.0.known_hosts.clone(),
            most_bytes: MOST_BYTES,
            work,
        })
    }
}

/// The token in a file: its first line.
async fn token_of(path: &Path) -> Result<String, String> {
    let text = tokio::fs::read_to_string(path)
        .await
        .map_err(|error| format!("the token's file {} can't be read: {error}", path.display()))?;
    let token = text.lines().next().unwrap_or_default().trim();
    if token.is_empty() || token.len() > LONGEST_TOKEN {
        return Err(format!("the token's file {} holds no token", path.display()));
    }
    Ok(token.to_owned())
}

/// The home folder of the process that talks to the remote. In it libssh2 finds the pinned host keys, by which it chooses
/// what kind of key it asks for, and nothing of the user's own settings.
fn home(data: &Path, known_hosts: &Path) -> Result<PathBuf, RepoError> {
    let home = data.join("remote.home");
    let folder = home.join(".ssh");
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .map_err(at("made", &folder))?;
    let link = folder.join("known_hosts");
    if std::fs::read_link(&link).ok().as_deref() != Some(known_hosts) {
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(known_hosts, &link).map_err(at("made", &link))?;
    }
    Ok(home)
}

fn surroundings(
    environment: &[(OsString, OsString)],
    home: &Path,
    ca_bundle: Option<&Path>,
) -> Vec<(OsString, OsString)> {
    let mut kept: Vec<(OsString, OsString)> = environment
        .iter()
        .filter(|(name, _)| name.to_str().is_some_and(|name| INHERITED.contains(&name)))
        .cloned()
        .collect();
    if let Some(bundle) = ca_bundle {
        kept.retain(|(name, _)| name != "SSL_CERT_FILE");
        kept.push(("SSL_CERT_FILE".into(), bundle.into()));
    }
    kept.push(("HOME".into(), home.into()));
    kept
}

/// What went wrong, in one line with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    clean(&text)
}
