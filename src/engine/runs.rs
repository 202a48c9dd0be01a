//! Runs: who asked for a look gets an id at once, and later what the look did.
//!
//! # Guarantees
//! What was asked for stands in the store before its id is handed out. Who asks while a run is queued joins it; who asks
//! once the loop has begun gets another look. A run that was cut off by the end of mcpd is told as failed by the next one:
//! none is queued or running for ever.
//!
//! A round by the clock that moved nothing is no run and writes nothing. One that was not asked for is written when it is
//! over, so what a crash cuts off of it is told by the round after the start.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::Instant;

use crate::kit::time::Timestamp;
use crate::record::{Actor, Cause, Did, Run, RunState};
use crate::repo::Remote;

use super::report::now;
use super::{Engine, EngineError, Inner, LOOK, Report, Words, lock};

/// The most runs that a list has: as many as are kept.
pub const MOST_RUNS: usize = 1_000;
/// How many actors of one look are named.
const ACTORS: usize = 8;
/// Why a run that was found unfinished at the start has failed.
const CUT_OFF: &str = "mcpd ended before it was done; both sides were looked at again at the next start";

/// The runs that are not over, and what the present look has moved.
#[derive(Debug, Default)]
pub(super) struct Runs {
    /// Held from looking for a queued run until there is one: who asks meanwhile joins it.
    asking: tokio::sync::Mutex<()>,
    kept: std::sync::Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// The newest id.
    last: u64,
    queued: Option<Run>,
    /// When it was queued, and the look at a remote that it waits for.
    since: Option<Instant>,
    look: u64,
    running: Option<Run>,
    /// The id of the present look, should it come to be a run that nobody asked for: ids rise with when runs begin.
    reserved: Option<u64>,
    /// What is over and could not be written down: tried again with the next one.
    unwritten: BTreeMap<u64, Run>,
    tally: Tally,
}

/// A run that somebody has asked for.
struct Asked {
    run: u64,
    /// The look at a remote that serves who asked.
    look: u64,
    /// The round that serves them where there is no remote.
    round: u64,
}

/// What the present look has moved, and for whom.
#[derive(Debug, Default)]
struct Tally {
    did: Did,
    imports_of: BTreeSet<Cause>,
    exports_of: BTreeSet<Cause>,
}

/// A look that is over, as the loop saw it.
pub(super) struct Looked {
    /// Whether it was the first of this mcpd.
    pub(super) first: bool,
    /// When it began.
    pub(super) began: Timestamp,
    /// The head that was agreed on before.
    pub(super) before: Option<String>,
    /// The head that it saw last.
    pub(super) after: Option<String>,
    /// How it ended.
    pub(super) state: RunState,
    /// Why it waits or failed; what is held.
    pub(super) reason: String,
}

/// The words of a person that nothing waited for, as the API spells them.
pub type PassedOver = Vec<&'static str>;

/// What became of a `sync` that somebody asked for.
pub struct Synced {
    /// How things stand after it.
    pub report: Arc<Report>,
    /// The run that it was, or joined.
    pub run: Run,
    /// The words that nothing waited for.
    pub passed_over: PassedOver,
}

impl Engine {
    /// Asks for a look now, and answers with the run's id at once: it is in the store, and the look follows.
    pub async fn look(&self, cause: Cause) -> Result<u64, EngineError> {
        Ok(self.0.ask(cause).await?.run)
    }

    /// Looks now as [`Engine::sync`] does, as a run that tells of it.
    pub async fn sync_as(&self, words: Words, cause: Cause) -> Result<Synced, EngineError> {
        let passed_over = self.say(words).await?;
        let asked = self.0.ask(cause).await?;
        let mut wanted = asked.round;
        if let Some(remote) = self.0.parts.source.remote() {
            remote.looked(asked.look, LOOK).await;
            wanted = self.0.call_for_a_round();
        }
        let report = self.served(wanted).await?;
        let run = self.run_once_over(asked.run).await?;
        Ok(Synced {
            report,
            run,
            passed_over,
        })
    }

    /// The newest runs, newest first.
    pub async fn runs(&self, limit: usize) -> Result<Vec<Run>, EngineError> {
        // First what is under way: what ends meanwhile is found in the store, as what it became.
        let mut runs = self.0.runs.under_way();
        for run in self.store().runs(limit).await? {
            if run.is_over() || !runs.contains_key(&run.id) {
                runs.insert(run.id, run);
            }
        }
        Ok(runs.into_values().rev().take(limit).collect())
    }

    /// A run once it is over; as it is, where others who joined it have it wait for a further look at a remote.
    async fn run_once_over(&self, id: u64) -> Result<Run, EngineError> {
        let mut reports = self.report();
        loop {
            let run = self.run(id).await?.ok_or(EngineError::Stopping)?;
            let more = run.state == RunState::Queued && self.0.parts.source.remote().is_some();
            if !more || tokio::time::timeout(LOOK, reports.changed()).await.is_err() {
                return Ok(run);
            }
        }
    }

    /// One run, where it is still kept.
    pub async fn run(&self, id: u64) -> Result<Option<Run>, EngineError> {
        let under_way = self.0.runs.under_way().remove(&id);
        let stored = self.store().run(id).await?;
        Ok(match stored {
            Some(run) if run.is_over() => Some(run),
            other => under_way.or(other),
        })
    }
}

impl Runs {
    /// What is not over, or not written down.
    fn under_way(&self) -> BTreeMap<u64, Run> {
        let kept = lock(&self.kept);
        let open = kept.queued.iter().chain(&kept.running);
        let all = open.chain(kept.unwritten.values());
        all.map(|run| (run.id, run.clone())).collect()
    }

    /// Resources were taken over from the repository.
    pub(super) fn imported(&self, resources: usize, conflicts: usize, revision: Option<u64>, actor: &Actor) {
        let mut kept = lock(&self.kept);
        let tally = &mut kept.tally;
        tally.did.imported += resources;
        tally.did.conflicts += conflicts;
        if let Some(revision) = revision {
            tally.did.at_revision(revision);
        }
        if tally.imports_of.len() < ACTORS {
            tally.imports_of.insert(import_of(actor));
        }
    }

    /// A mutation was written into the repository.
    pub(super) fn exported(&self, revision: u64, actor: &Actor) {
        let mut kept = lock(&self.kept);
        let tally = &mut kept.tally;
        tally.did.exported += 1;
        tally.did.at_revision(revision);
        if tally.exports_of.len() < ACTORS {
            tally.exports_of.insert(Cause::new("edit", actor.name.clone()));
        }
    }
}

/// A push by somebody, or a move of the repository by other ways.
fn import_of(actor: &Actor) -> Cause {
    if actor.door == "push" && actor.name != actor.door {
        Cause::new("push", actor.name.clone())
    } else {
        Cause::new("repository", "")
    }
}

impl Inner {
    /// Takes the numbers up where the store has them, and tells of what an end of mcpd cut off.
    pub(super) async fn open_runs(&self) -> Result<(), EngineError> {
        let known = self.parts.store.runs(MOST_RUNS).await?;
        lock(&self.runs.kept).last = known.first().map_or(0, |run| run.id);
        let cut_off = known.into_iter().filter(|run| !run.is_over());
        let cut_off = cut_off.map(|run| Run {
            state: RunState::Failed,
            ended: Some(now()),
            reason: CUT_OFF.to_owned(),
            ..run
        });
        Ok(self.parts.store.write_runs(cut_off.collect()).await?)
    }

    /// Queues a run or joins the one that is queued.
    async fn ask(&self, cause: Cause) -> Result<Asked, EngineError> {
        let _one_at_a_time = self.runs.asking.lock().await;
        {
            let mut kept = lock(&self.runs.kept);
            if let Some(queued) = &mut kept.queued {
                queued.join(cause);
                let run = queued.id;
                return Ok(self.asked(&mut kept, run));
            }
        }
        let run = {
            let mut kept = lock(&self.runs.kept);
            kept.last += 1;
            Run::queued(kept.last, cause, now())
        };
        let id = run.id;
        let written = self.parts.store.write_runs(vec![run.clone()]).await;
        // Also where it can't be known whether that was written: a look does no harm, and what is told of it is true.
        let mut kept = lock(&self.runs.kept);
        kept.queued = Some(run);
        kept.since = Some(Instant::now());
        let asked = self.asked(&mut kept, id);
        drop(kept);
        written?;
        Ok(asked)
    }

    fn asked(&self, kept: &mut Kept, run: u64) -> Asked {
        // A run over a remote tells what a look at it brought that began once it was asked for.
        kept.look = self.parts.source.remote().map_or(0, Remote::ask);
        Asked {
            run,
            look: kept.look,
            round: self.call_for_a_round(),
        }
    }

    /// Whether the queued run can begin: the remote has been looked at for everybody who asked, or takes too long.
    fn may_begin(&self, kept: &Kept) -> bool {
        let remote = self.parts.source.remote();
        let waited = || kept.since.is_some_and(|since| since.elapsed() >= LOOK);
        remote.is_none_or(|remote| remote.has_looked(kept.look) || waited())
    }

    /// Wakes the loop for one more round; its number.
    pub(super) fn call_for_a_round(&self) -> u64 {
        let wanted = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        self.wake.notify_one();
        wanted
    }

    /// A round begins: what is queued is served by it, and who asks from here on gets another one. The newest round that
    /// somebody waits for.
    pub(super) fn begin_run(&self) -> u64 {
        let mut kept = lock(&self.runs.kept);
        kept.tally = Tally::default();
        if self.may_begin(&kept)
            && let Some(mut run) = kept.queued.take()
        {
            run.state = RunState::Running;
            run.began = Some(now());
            kept.running = Some(run);
        } else {
            kept.last += 1;
            kept.reserved = Some(kept.last);
        }
        self.asked.load(Ordering::SeqCst)
    }

    /// A round has looked: its run, where it is one, is over and written down before anybody is told.
    pub(super) async fn end_run(&self, looked: Looked) {
        let unwritten = {
            let mut kept = lock(&self.runs.kept);
            let tally = std::mem::take(&mut kept.tally);
            if let Some(run) = self.over(&mut kept, tally, looked) {
                kept.unwritten.insert(run.id, run);
            }
            kept.running = None;
            while kept.unwritten.len() > MOST_RUNS {
                kept.unwritten.pop_first();
            }
            kept.unwritten.clone()
        };
        if unwritten.is_empty() {
            return;
        }
        match self.parts.store.write_runs(unwritten.values().cloned().collect()).await {
            Ok(()) => lock(&self.runs.kept)
                .unwritten
                .retain(|id, _| !unwritten.contains_key(id)),
            Err(error) => tracing::warn!(%error, "what a run did could not be written down"),
        }
    }

    /// The run that a look was; nothing where nobody asked and nothing moved.
    fn over(&self, kept: &mut Kept, tally: Tally, looked: Looked) -> Option<Run> {
        let head_moved = looked.before.is_some() && looked.before != looked.after;
        let run = match (kept.running.take(), kept.reserved.take()) {
            (Some(asked), _) => asked,
            (None, reserved) if tally.did.is_nothing() && !head_moved => {
                // Where nobody has taken the next one meanwhile it is free again.
                if reserved == Some(kept.last) {
                    kept.last -= 1;
                }
                return None;
            }
            (None, reserved) => {
                let mut run = Run::queued(reserved?, self.unasked(&tally, &looked), looked.began);
                if !looked.first {
                    let causes = tally.imports_of.into_iter().chain(tally.exports_of);
                    causes.for_each(|cause| run.join(cause));
                }
                Run { asks: 0, ..run }
            }
        };
        Some(Run {
            state: looked.state,
            began: Some(looked.began),
            ended: Some(now()),
            before: looked.before,
            after: looked.after,
            did: tally.did,
            reason: looked.reason,
            ..run
        })
    }

    /// What made a look that nobody asked for.
    fn unasked(&self, tally: &Tally, looked: &Looked) -> Cause {
        if looked.first {
            return Cause::new("start", "");
        }
        let moved = tally.imports_of.iter().chain(&tally.exports_of).next();
        moved.cloned().unwrap_or_else(|| {
            // The head moved, and what it declares is what it was.
            let pusher = looked.after.as_ref().and_then(|head| self.pusher(head));
            pusher.map_or_else(|| Cause::new("repository", ""), |actor| import_of(&actor))
        })
    }
}
