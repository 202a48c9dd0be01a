//! Converge: what was agreed against the lives that a runtime finds. Two-way; it can't conflict and touches only what
//! carries our labels. Start what is missing, replace what differs, stop what is extra, adopt what matches.
//!
//! # Assumptions
//! `live` was observed after every outcome in `outcomes` had happened. An older observation does no harm (the runtime
//! refuses a second start of the same spec), it only costs a turn.
//!
//! # Guarantees
//! The same [`Seen`] gives the same [`Plan`]. A plan has at most one step an instance: the caller performs it, adopts
//! the plan's memory, observes, and plans again. An instance never has more than two lives, and one of them serves.

mod desired;
#[cfg(test)]
mod era_tests;
mod instance;
mod memory;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use crate::kit::time::Timestamp;
use crate::record::{Fleet, InstanceName, InstanceStatus, Life, Live, Upstreams, Workload};

pub use desired::{Blocked, Declaration, Desired, desired, matches, spec_mark};
pub use memory::Memory;

/// Everything that a plan depends on: one instant of the world.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// What shall run.
    pub desired: &'a [Desired],
    /// What the runtime found.
    pub live: &'a [Live],
    /// The gateway's connections.
    pub upstreams: &'a Upstreams,
    /// How many calls each life is answering.
    pub in_flight: &'a BTreeMap<Life, usize>,
    /// Whether the store has completed its first agree with a source that holds a document.
    pub claimed: bool,
    /// Why the runtime does not answer, where it does not; `live` is then what it said last.
    pub engine_away: Option<&'a str>,
    /// What the plan before this one remembered.
    pub memory: &'a Memory,
    /// What became of the steps performed since the plan before this one; each is told once.
    pub outcomes: &'a [Outcome],
    /// Now.
    pub now: Timestamp,
}

/// What became of a step. A stop that succeeded needs no telling: the life is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A life was started.
    Started {
        /// Whose.
        instance: InstanceName,
        /// Which.
        life: Life,
        /// From what.
        server: Arc<Workload>,
    },
    /// A start failed: it counts as a failure of this server.
    StartFailed {
        /// Whose.
        instance: InstanceName,
        /// What was to be started.
        server: Arc<Workload>,
        /// Why, in one line.
        reason: String,
    },
    /// The runtime refused a start because that spec is being started or runs already: nothing failed.
    StartRefused {
        /// Whose.
        instance: InstanceName,
    },
    /// A stop (or clearing remains) failed: it is tried again after 30 s.
    StopFailed {
        /// Whose.
        instance: InstanceName,
        /// Which.
        life: Life,
        /// Why, in one line.
        reason: String,
    },
}

/// One thing to do to the runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Start a life of `server`, marked with [`spec_mark`].
    Start {
        /// Whose.
        instance: InstanceName,
        /// From what.
        server: Arc<Workload>,
        /// Why, in a word or two.
        reason: String,
    },
    /// Stop a life and clear its remains.
    Stop {
        /// Whose.
        instance: InstanceName,
        /// Which.
        life: Life,
        /// Why, in a word or two.
        reason: String,
    },
    /// Clear the remains of a life that ended.
    Clear {
        /// Whose.
        instance: InstanceName,
        /// Which.
        life: Life,
    },
}

impl Step {
    /// Which instance it is about.
    #[must_use]
    pub fn instance(&self) -> &InstanceName {
        match self {
            Self::Start { instance, .. } | Self::Stop { instance, .. } | Self::Clear { instance, .. } => instance,
        }
    }

    /// The life that it ends, where it ends one.
    #[must_use]
    pub fn ends(&self) -> Option<&Life> {
        match self {
            Self::Start { .. } => None,
            Self::Stop { life, .. } | Self::Clear { life, .. } => Some(life),
        }
    }
}

/// What a change does to an instance, as people see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// It is missing.
    Start,
    /// It runs from another spec.
    Replace,
    /// It is extra.
    Stop,
}

/// A difference between what shall run and what does: one line of `containers:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What is done.
    pub operation: Operation,
    /// To which instance.
    pub instance: InstanceName,
    /// The fields that differ; empty where there is nothing to say.
    pub reason: String,
}

/// What to do, and what is the case.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// What to do now: at most one step an instance.
    pub steps: Vec<Step>,
    /// What differs, including what waits for a drain or for the gateway; a failed start that waits for its next try
    /// is no difference.
    pub changes: Vec<Change>,
    /// The lives to hold connections to. Publish it before performing the steps.
    pub fleet: Fleet,
    /// Every instance that is wanted, then every one that is being stopped.
    pub statuses: Vec<InstanceStatus>,
    /// What the next plan needs to know.
    pub memory: Memory,
    /// Lives that carry our labels but were found before this store was claimed: left alone, not routed to.
    pub unclaimed: Vec<Live>,
    /// Why nothing is known of the runtime, where nothing is.
    pub engine_away: Option<String>,
    /// The earliest moment at which time alone could change the plan.
    pub wake_at: Option<Timestamp>,
}

/// How many instances a line names of each operation.
const NAMED: usize = 20;

impl fmt::Display for Plan {
    /// `start time/0 · replace git/0 (env) · stop none`, or `unknown (engine does not answer)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(why) = &self.engine_away {
            return write!(f, "unknown ({why})");
        }
        let group = |operation| {
            let named: Vec<String> = self
                .changes
                .iter()
                .filter(|c| c.operation == operation)
                .map(|c| {
                    if c.operation == Operation::Replace && !c.reason.is_empty() {
                        format!("{} ({})", c.instance, c.reason)
                    } else {
                        c.instance.to_string()
                    }
                })
                .collect();
            match named.len() {
                0 => "none".to_owned(),
                n if n > NAMED => format!("{} and {} more", named[..NAMED].join(", "), n - NAMED),
                _ => named.join(", "),
            }
        };
        write!(
            f,
            "start {} · replace {} · stop {}",
            group(Operation::Start),
            group(Operation::Replace),
            group(Operation::Stop)
        )
    }
}

/// The rules that a planted fault may break; the tests plant them to see that they are found.
#[expect(clippy::struct_excessive_bools, reason = "one switch a rule")]
#[derive(Debug, Clone, Copy)]
struct Rules {
    /// An old life serves until the new one is ready.
    make_before_break: bool,
    /// A life's failure counts once, however often it is seen.
    count_once: bool,
    /// At most two lives of an instance run.
    two_at_most: bool,
    /// A new declaration ends any wait.
    new_spec_pre_empts: bool,
    /// Found lives are left alone until the store is claimed.
    claims: bool,
    /// A life that a question of ours has upset is replaced, and has not failed.
    spares: bool,
}

const SOUND: Rules = Rules {
    make_before_break: true,
    count_once: true,
    two_at_most: true,
    new_spec_pre_empts: true,
    claims: true,
    spares: true,
};

/// What to do next.
#[must_use]
pub fn plan(seen: &Seen<'_>) -> Plan {
    plan_with(seen, SOUND)
}

fn plan_with(seen: &Seen<'_>, rules: Rules) -> Plan {
    let wanted: BTreeMap<&InstanceName, &Desired> = seen.desired.iter().map(|d| (&d.instance, d)).collect();
    let mut found: BTreeMap<&InstanceName, Vec<&Live>> = BTreeMap::new();
    for life in seen.live {
        found.entry(&life.instance).or_default().push(life);
    }
    let mut plan = Plan {
        engine_away: seen.engine_away.map(str::to_owned),
        ..Plan::default()
    };
    for desired in wanted.values() {
        let lives = found.get(&desired.instance).map_or(&[][..], Vec::as_slice);
        instance::plan(seen, rules, &desired.instance, Some(desired), lives, &mut plan);
    }
    // What is extra goes last, and of a server's extra replicas the highest first.
    let mut extra: BTreeSet<&InstanceName> = found.keys().copied().filter(|i| !wanted.contains_key(*i)).collect();
    while let Some(name) = extra.pop_last() {
        instance::plan(seen, rules, name, None, &found[name], &mut plan);
    }
    plan.wake_at = plan.wake_at.filter(|_| seen.engine_away.is_none());
    plan
}
