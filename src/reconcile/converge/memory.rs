//! What the planner remembers between two plans. It may be lost at any time: what runs is then adopted as it is found.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::kit::time::{SignedDuration, Timestamp};
use crate::record::{ChainLink, InstanceName, Life, State, Workload};

use super::{Blocked, Step};

/// The first tries are this far apart.
pub(super) const SOON: SignedDuration = SignedDuration::from_secs(30);
/// How many tries are soon.
const SOON_TRIES: u32 = 5;
/// The later tries are this far apart.
const LATER: SignedDuration = SignedDuration::from_secs(300);
/// After this much RUNNING the failures are forgotten.
pub(super) const HEALTHY: SignedDuration = SignedDuration::from_secs(300);

/// Failures, waits and what is known of each life, by instance.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Memory(pub(super) BTreeMap<InstanceName, Attempts>);

impl Memory {
    /// A step of the plan was not performed, because another one of its instance was under way: the life that it was to
    /// end is not ending.
    pub fn not_given(&mut self, step: &Step) {
        let attempts = self.0.get_mut(step.instance());
        let known = attempts
            .zip(step.ends())
            .and_then(|(attempts, life)| attempts.lives.get_mut(life));
        if let Some(known) = known {
            known.ending = false;
        }
    }
}

/// What is remembered of an instance.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Attempts {
    /// The declaration that the failures belong to, and why it could not be started.
    pub declared: Option<(Arc<Workload>, Option<Blocked>)>,
    /// Failures in a row.
    pub failures: u32,
    /// The last failure, in one line.
    pub last_error: String,
    /// The link that it broke.
    pub failed_at: Option<ChainLink>,
    /// Nothing is started before.
    pub next_try: Option<Timestamp>,
    /// The state last published, and since when.
    pub state: Option<(State, Timestamp)>,
    /// A life was replaced without a failure, because the question for its era had upset it: this happens once until
    /// one is ready, or has failed.
    pub spared: bool,
    /// What is known of lives that are still there.
    pub lives: BTreeMap<Life, Known>,
}

/// What is remembered of a life.
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each read alone")]
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Known {
    /// When it was started by us, until it is observed.
    pub awaited_since: Option<Timestamp>,
    /// Since when it has not answered the handshake; nothing while it does.
    pub silent_since: Option<Timestamp>,
    /// Since when the conversation with it has failed.
    pub broken_since: Option<Timestamp>,
    /// What it runs, where that is known.
    pub server: Option<Arc<Workload>>,
    /// Whether this process of ours started it.
    pub ours: bool,
    /// Whether it has answered the handshake.
    pub was_ready: bool,
    /// Whether its failure was counted, or found to be none.
    pub counted: bool,
    /// Whether the question for its era has upset it.
    pub upset: bool,
    /// Since when it gets no new calls.
    pub draining: Option<Timestamp>,
    /// Whether a step that ends it was given.
    pub ending: bool,
    /// A step that ends it failed: not again before.
    pub not_before: Option<Timestamp>,
}

impl Attempts {
    /// Counts a failure. A life that had been RUNNING, with no failure counted since its last healthy minutes, is
    /// restarted at once: a killed server comes back immediately, and a crash loop still waits.
    pub fn fail(&mut self, at: ChainLink, reason: String, had_been_running: bool, now: Timestamp) {
        let at_once = had_been_running && self.failures == 0;
        self.failures = self.failures.saturating_add(1);
        self.spared = false;
        self.last_error = reason;
        self.failed_at = Some(at);
        self.next_try = Some(if at_once { now } else { later(now, delay(self.failures)) });
    }

    /// Forgets the failures: a new declaration, or long enough healthy.
    pub fn forget(&mut self) {
        self.failures = 0;
        self.spared = false;
        self.last_error.clear();
        self.failed_at = None;
        self.next_try = None;
    }
}

/// How long to wait after so many failures in a row.
fn delay(failures: u32) -> SignedDuration {
    if failures <= SOON_TRIES { SOON } else { LATER }
}

/// A moment later; the end of time stays the end of time.
pub(super) fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}
