//! The control loop: it owns the tasks that make what is declared so, and keep it so.
//!
//! One round is the whole of it: observe the repository, the store and what runs; plan; perform; report. Everything else
//! here serves that: the lease that a push holds, edits through other doors, and the words that a push is answered with.
#![expect(clippy::disallowed_methods, reason = "this room owns tasks")]

mod agree;
mod conflicts;
mod converge;
mod edit;
mod epoch;
mod error;
mod gate;
mod greetings;
mod lease;
mod observe;
mod offline;
mod past;
mod permit;
mod push;
mod report;
mod restore;
mod round;
mod runs;
mod scrub;
mod secrets;
#[cfg(test)]
mod tests;
mod tools;
mod undo;
mod vault;
mod view;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, broadcast, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::kit::{Masks, Name};
use crate::reconcile::agree::Standing;
use crate::reconcile::converge::Memory;
use crate::record::{Actor, Demand, Fleet, Life, Live, Routes, Upstreams};
use crate::repo::Source;
use crate::runtime::{Logs, Runtime};
use crate::store::Store;
use crate::wire::SourceState;

pub use edit::{EditRequest, Edited, Only, Wanted};
pub use error::EngineError;
pub use offline::{Judged, judge};
pub use past::{GoneBack, Terms};
pub use push::{counted, first_errors};
pub use report::{Happening, Report};
pub use restore::Restored;
pub use runs::{MOST_RUNS, Synced};
pub use scrub::Scrubbed;
pub use tools::Approval;
pub use vault::Vault;

/// What an engine is made of.
pub struct Parts {
    /// The store.
    pub store: Store,
    /// What opens secrets.
    pub vault: Arc<Vault>,
    /// The values that no text may show.
    pub masks: Masks,
    /// Where declarations come from.
    pub source: Source,
    /// Where servers run, and why that is so (for the status).
    pub runtime: Arc<Runtime>,
    /// What the runtime is called: `process`.
    pub runtime_name: &'static str,
    /// The cluster's id.
    pub cluster: String,
    /// What tells this source from others: the ledger holds for it alone.
    pub identity: String,
    /// How the source is shown: a clone path or a folder.
    pub location: String,
    /// The longest time between two rounds.
    pub interval: Duration,
    /// The gateway's connections.
    pub upstreams: watch::Receiver<Arc<Upstreams>>,
    /// The instances that sessions need.
    pub demand: watch::Receiver<Arc<Demand>>,
    /// How many calls a life is answering.
    pub in_flight: Arc<dyn Fn(&Life) -> usize + Send + Sync>,
    /// Where the lives to connect to are published.
    pub fleet: watch::Sender<Arc<Fleet>>,
    /// Where what the endpoints show is published.
    pub routes: watch::Sender<Arc<Routes>>,
}

/// What a person says with a `sync`, to go on where something waits for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Words {
    /// The head that waits may delete most of what is declared.
    pub allow_mass_delete: bool,
    /// The head that waits may begin a new epoch: what differs becomes a conflict.
    pub new_epoch: bool,
    /// This mcpd writes into the repository again, although another one did.
    pub take_over: bool,
}

/// A handle on the engine; clones share it.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    parts: Parts,
    report: watch::Sender<Arc<Report>>,
    happenings: broadcast::Sender<Happening>,
    /// Wakes the loop.
    wake: Notify,
    /// The newest round that somebody waits for.
    asked: AtomicU64,
    /// The runs that are not over.
    runs: runs::Runs,
    lease: lease::Lease,
    /// One edit at a time: each is checked against what the one before left.
    editing: tokio::sync::Mutex<()>,
    /// What both sides were found to agree on last.
    standing: Mutex<Option<Standing>>,
    /// Held while a conflict is decided.
    deciding: tokio::sync::Mutex<()>,
    /// What the planner of what runs remembers.
    memory: Mutex<Memory>,
    /// What lived when the runtime answered last.
    last_live: Mutex<Vec<Live>>,
    /// Who pushed which head, the newest last.
    pushers: Mutex<VecDeque<(String, Actor)>>,
    /// Set when the loop has failed.
    failed: AtomicBool,
    /// The text of the list of recipients, as read last.
    recipients: Mutex<Option<Arc<str>>>,
    /// The servers that a push changes, by push.
    affected: Mutex<BTreeMap<String, BTreeSet<Name>>>,
    /// What is known of tools.
    tools: Mutex<tools::Tools>,
    /// Held while what is known of them changes.
    remembering: tokio::sync::Mutex<()>,
}

/// The longest that a `sync` waits for a remote to answer; its state is told in any case.
const LOOK: Duration = Duration::from_secs(50);
/// How many happenings may wait for a slow listener.
const HAPPENINGS: usize = 256;

impl Engine {
    /// Starts the loop; it ends with `stop`.
    pub async fn start(parts: Parts, stop: CancellationToken) -> Result<Self, EngineError> {
        let report = Report::first(&parts);
        let tools = Mutex::new(tools::Tools::open(&parts.store));
        let engine = Self(Arc::new(Inner {
            parts,
            tools,
            remembering: tokio::sync::Mutex::default(),
            report: watch::Sender::new(Arc::new(report)),
            happenings: broadcast::Sender::new(HAPPENINGS),
            wake: Notify::new(),
            asked: AtomicU64::new(0),
            runs: runs::Runs::default(),
            lease: lease::Lease::default(),
            editing: tokio::sync::Mutex::new(()),
            standing: Mutex::default(),
            deciding: tokio::sync::Mutex::default(),
            memory: Mutex::default(),
            last_live: Mutex::default(),
            pushers: Mutex::default(),
            failed: AtomicBool::new(false),
            recipients: Mutex::default(),
            affected: Mutex::default(),
        }));
        agree::open_epoch(&engine.0).await?;
        engine.0.open_runs().await?;
        let (outcomes, finished) = mpsc::unbounded_channel();
        let task = round::Loop::new(Arc::clone(&engine.0), outcomes, finished);
        let (inner, watched) = (Arc::clone(&engine.0), stop.clone());
        tokio::spawn(async move {
            // Without its loop mcpd would take changes and never apply one: better it ends, and is started again.
            if tokio::spawn(task.run(stop)).await.is_err() {
                tracing::error!("the control loop failed: mcpd stops");
                inner.failed.store(true, Ordering::SeqCst);
                watched.cancel();
            }
        });
        Ok(engine)
    }

    /// How things stand, after each round.
    #[must_use]
    pub fn report(&self) -> watch::Receiver<Arc<Report>> {
        self.0.report.subscribe()
    }

    /// What happens, for those who watch: plans, applied revisions, states.
    #[must_use]
    pub fn happenings(&self) -> broadcast::Receiver<Happening> {
        self.0.happenings.subscribe()
    }

    /// Whether the loop has failed (and mcpd is stopping because of it).
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.0.failed.load(Ordering::SeqCst)
    }

    /// The store behind it, for reading.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.0.parts.store
    }

    /// What instances wrote to stderr.
    #[must_use]
    pub fn logs(&self) -> &Logs {
        self.0.parts.runtime.logs()
    }

    /// Looks now instead of at the next hint, and waits for the round that began after this call. The words hold for
    /// what waits for them, and for nothing else.
    pub async fn sync(&self, words: Words) -> Result<Arc<Report>, EngineError> {
        self.say(words).await?;
        if let Some(remote) = self.0.parts.source.remote() {
            remote.look(LOOK).await;
        }
        self.served(self.0.call_for_a_round()).await
    }

    /// Notes a person's words for what waits for them; those that nothing waits for, as the API spells them.
    async fn say(&self, words: Words) -> Result<Vec<&'static str>, EngineError> {
        let report = Arc::clone(&self.0.report.borrow());
        let source = &report.status.source;
        let waits = source.state == SourceState::WaitingForApproval;
        let begins = waits && report.replaced;
        let deletes = waits && !report.replaced;
        let mut passed_over = vec![];
        if words.new_epoch && begins {
            self.0.permit_epoch(source.head.as_deref()).await?;
        } else if words.new_epoch {
            passed_over.push("newEpoch");
        }
        if words.allow_mass_delete && deletes {
            self.0.allow(source.head.as_deref()).await?;
        } else if words.allow_mass_delete {
            passed_over.push("allowMassDelete");
        }
        if words.take_over && !self.0.take_over().await? {
            passed_over.push("takeOver");
        }
        Ok(passed_over)
    }

    /// Waits for the round of that number: what it found.
    async fn served(&self, wanted: u64) -> Result<Arc<Report>, EngineError> {
        let mut report = self.report();
        let done = report
            .wait_for(|report| report.served >= wanted)
            .await
            .map_err(|_| EngineError::Stopping)?;
        Ok(Arc::clone(&done))
    }

    /// Waits until every instance has settled (RUNNING or ERROR) and nothing is left to do, at most `longest`.
    pub async fn settled(&self, longest: Duration) -> Arc<Report> {
        let mut report = self.report();
        let settled = report.wait_for(|report| report.is_settled());
        if let Ok(Ok(report)) = tokio::time::timeout(longest, settled).await {
            return Arc::clone(&report);
        }
        Arc::clone(&self.0.report.borrow())
    }
}

/// The fact in the store that says which head may delete most of what is declared.
const ALLOWED: &str = "allowed";
/// What stands there for none.
const NONE_ALLOWED: &str = "none";
/// How many heads are remembered with who pushed them.
const PUSHERS: usize = 64;

impl Inner {
    /// Notes a person's word: this head may delete most of what is declared. It outlives a crash.
    async fn allow(&self, head: Option<&str>) -> Result<(), EngineError> {
        Ok(self.parts.store.set_meta(ALLOWED, head.unwrap_or(NONE_ALLOWED)).await?)
    }

    fn is_allowed(&self, head: &str) -> bool {
        self.parts.store.meta(ALLOWED).is_some_and(|allowed| allowed == head)
    }

    fn pushed_by(&self, head: &str, actor: &Actor) {
        let mut pushers = lock(&self.pushers);
        pushers.push_back((head.to_owned(), actor.clone()));
        let excess = pushers.len().saturating_sub(PUSHERS);
        pushers.drain(..excess);
    }

    fn pusher(&self, head: &str) -> Option<Actor> {
        lock(&self.pushers)
            .iter()
            .rev()
            .find(|(pushed, _)| pushed == head)
            .map(|(_, actor)| actor.clone())
    }
}

/// A lock that outlives a panic of its holder: what these locks guard is whole at every moment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
