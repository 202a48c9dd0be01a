//! The control loop: it owns the tasks that make what is declared so, and keep it so.
//!
//! One round is the whole of it: observe the repository, the store and what runs; plan; perform; report. Everything else
//! here serves that: the lease that a push holds, edits through other doors, and the words that a push is answered with.
#![expect(clippy::disallowed_methods, reason = "this room owns tasks")]

mod agree;
mod converge;
mod edit;
mod error;
mod lease;
mod observe;
mod push;
mod report;
mod round;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, broadcast, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::kit::Name;
use crate::reconcile::converge::Memory;
use crate::record::{Actor, Fleet, Life, Routes, Upstreams};
use crate::repo::Source;
use crate::runtime::Runtime;
use crate::store::Store;

pub use edit::{EditRequest, Edited, Only, Wanted};
pub use error::EngineError;
pub use report::{Happening, Report};

/// What an engine is made of.
pub struct Parts {
    /// The store.
    pub store: Store,
    /// Where declarations come from.
    pub source: Source,
    /// Where servers run, and why that is so (for the status).
    pub runtime: Arc<Runtime>,
    /// What the runtime is called: `process`.
    pub runtime_name: &'static str,
    /// The cluster's id.
    pub cluster: String,
    /// How the source is shown: a clone path or a folder.
    pub location: String,
    /// The longest time between two rounds.
    pub interval: Duration,
    /// The gateway's connections.
    pub upstreams: watch::Receiver<Arc<Upstreams>>,
    /// How many calls a life is answering.
    pub in_flight: Arc<dyn Fn(&Life) -> usize + Send + Sync>,
    /// Where the lives to connect to are published.
    pub fleet: watch::Sender<Arc<Fleet>>,
    /// Where what the endpoints show is published.
    pub routes: watch::Sender<Arc<Routes>>,
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
    lease: lease::Lease,
    /// One edit at a time: each is checked against what the one before left.
    editing: tokio::sync::Mutex<()>,
    /// What the planner of what runs remembers.
    memory: Mutex<Memory>,
    /// The head that a person allowed to delete most of what is declared.
    allowed: Mutex<Option<String>>,
    /// Who pushed which head, until it is imported.
    pushers: Mutex<BTreeMap<String, Actor>>,
    /// The servers that a push changes, by push.
    affected: Mutex<BTreeMap<String, BTreeSet<Name>>>,
}

/// How many happenings may wait for a slow listener.
const HAPPENINGS: usize = 256;

impl Engine {
    /// Starts the loop; it ends with `stop`.
    pub async fn start(parts: Parts, stop: CancellationToken) -> Result<Self, EngineError> {
        let report = Report::first(&parts);
        let engine = Self(Arc::new(Inner {
            parts,
            report: watch::Sender::new(Arc::new(report)),
            happenings: broadcast::Sender::new(HAPPENINGS),
            wake: Notify::new(),
            asked: AtomicU64::new(0),
            lease: lease::Lease::default(),
            editing: tokio::sync::Mutex::new(()),
            memory: Mutex::default(),
            allowed: Mutex::default(),
            pushers: Mutex::default(),
            affected: Mutex::default(),
        }));
        agree::open_epoch(&engine.0).await?;
        let (outcomes, finished) = mpsc::unbounded_channel();
        let task = round::Loop::new(Arc::clone(&engine.0), outcomes, finished);
        tokio::spawn(task.run(stop));
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

    /// The store behind it, for reading.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.0.parts.store
    }

    /// Looks now instead of at the next hint, and waits for the round that began after this call.
    ///
    /// With `allow_mass_delete`, the head that is waiting for a person's word may delete what it deletes.
    pub async fn sync(&self, allow_mass_delete: bool) -> Result<Arc<Report>, EngineError> {
        if allow_mass_delete {
            let waiting = self.0.report.borrow().status.source.head.clone();
            *lock(&self.0.allowed) = waiting;
        }
        let wanted = self.0.asked.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.wake.notify_one();
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

/// A lock that outlives a panic of its holder: what these locks guard is whole at every moment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
