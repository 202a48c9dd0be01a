//! The loop: wait for a hint or the clock, look, agree, converge, report.
//!
//! A hint only says when to look; what is done follows from what is seen.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::kit::count;
use crate::kit::time::Timestamp;
use crate::reconcile::converge::Outcome;
use crate::record::{Event, InstanceName, InstanceStatus, Level, RunState, State};
use crate::wire::SourceState;

use super::agree::{Agreed, Pass, describe};
use super::converge::{Busy, Finished, perform};
use super::epoch::HEAD;
use super::error::EngineError;
use super::greetings::Greetings;
use super::observe::{declared, routes};
use super::report::{Happening, Report, held, now, unclaimed};
use super::runs::Looked;
use super::{Inner, lock};

/// How many passes of `agree` one round makes at most: a world that never rests must not keep servers waiting.
const PASSES: usize = 256;
/// How many events one look may tell of what is held.
const MOST_HELD_EVENTS: usize = 20;
/// Hints that come together are taken together.
const DEBOUNCE: Duration = Duration::from_millis(10);
/// How soon a round that failed is tried again.
const AGAIN: Duration = Duration::from_secs(5);
/// How soon something that waits for a push's lease is tried again.
const SOON: Duration = Duration::from_millis(250);

/// The state of the loop between two rounds.
pub(super) struct Loop {
    inner: Arc<Inner>,
    done: mpsc::UnboundedSender<Finished>,
    finished: mpsc::UnboundedReceiver<Finished>,
    busy: Busy,
    outcomes: Vec<Outcome>,
    statuses: BTreeMap<InstanceName, InstanceStatus>,
    agreed: Option<Agreed>,
    /// What went wrong, or waits for a person, as it was told: in a word and in a line.
    trouble: Option<Trouble>,
    /// When both sides were looked at last.
    synced: Option<Timestamp>,
    greetings: Greetings,
    /// What was held when it was told last, each with why.
    held: BTreeMap<String, String>,
}

/// What is told once, and again only when it is another thing.
#[derive(Clone)]
struct Trouble {
    reason: &'static str,
    /// What tells it from others: while a remote is away its words may change with each try.
    key: String,
    text: String,
}

/// When to look again, and at what.
struct Next {
    at: Instant,
    /// Whether the repository and the store are to be looked at too.
    agree: bool,
}

impl Loop {
    pub(super) fn new(
        inner: Arc<Inner>,
        done: mpsc::UnboundedSender<Finished>,
        finished: mpsc::UnboundedReceiver<Finished>,
    ) -> Self {
        let greetings = Greetings::open(&inner.parts.store);
        Self {
            inner,
            done,
            finished,
            busy: Busy::new(),
            outcomes: vec![],
            statuses: BTreeMap::new(),
            agreed: None,
            trouble: None,
            synced: None,
            greetings,
            held: BTreeMap::new(),
        }
    }

    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut store = self.inner.parts.store.changed();
        let mut repository = self.inner.parts.source.changed();
        let mut runtime = self.inner.parts.runtime.changed();
        let mut upstreams = self.inner.parts.upstreams.clone();
        let mut demand = self.inner.parts.demand.clone();
        let mut agree = true;
        while !stop.is_cancelled() {
            // What changes from here on is a hint for the next round.
            runtime.mark_unchanged();
            upstreams.mark_unchanged();
            demand.mark_unchanged();
            let next = self.round(agree).await;
            agree = next.agree;
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep_until(next.at) => agree = true,
                () = self.inner.wake.notified() => agree = true,
                Ok(()) = store.changed() => agree = true,
                Ok(()) = repository.changed() => agree = true,
                Ok(()) = runtime.changed() => {}
                Ok(()) = upstreams.changed() => {}
                Ok(()) = demand.changed() => {}
                Some(finished) = self.finished.recv() => self.take(finished),
            }
            tokio::time::sleep(DEBOUNCE).await;
            agree |= take(&mut store) | take(&mut repository);
            while let Ok(finished) = self.finished.try_recv() {
                self.take(finished);
            }
        }
    }

    fn take(&mut self, finished: Finished) {
        self.busy.remove(&finished.instance);
        self.outcomes.extend(finished.outcome);
    }

    async fn round(&mut self, agree: bool) -> Next {
        let (began, before, first) = (now(), self.head(), self.agreed.is_none());
        let served = self.inner.begin_run();
        // Who asked for a look gets one, whatever woke the loop.
        let agree = agree || served > self.inner.report.borrow().served;
        let interval = self.inner.parts.interval;
        let mut next = Next {
            at: Instant::now() + interval,
            agree: false,
        };
        let mut failed = None;
        let mut rests = true;
        if agree || self.agreed.is_none() {
            match self.agree().await {
                Ok(true) => {}
                Ok(false) => {
                    rests = false;
                    next = Next {
                        at: Instant::now() + SOON.min(interval),
                        agree: true,
                    }
                }
                Err(error) => {
                    let text = describe(&error);
                    tracing::warn!(error = %text, "the repository and the store could not be brought together");
                    failed = Some(text);
                    next = Next {
                        at: Instant::now() + AGAIN.min(interval),
                        agree: true,
                    };
                }
            }
        }
        let waits = || self.agreed.as_ref().and_then(waits);
        let remote = self
            .inner
            .parts
            .source
            .remote()
            .and_then(|remote| remote.standing().trouble);
        let of = |reason, key: &str, text: String| Trouble {
            reason,
            key: if key.is_empty() { text.clone() } else { key.to_owned() },
            text,
        };
        let trouble = failed.clone().map(|text| of("Failing", "", text));
        let trouble = trouble.or_else(|| remote.clone().map(|text| of("Failing", "remote", text)));
        self.trouble(trouble.or_else(|| waits().map(|text| of("Waiting", "", text))))
            .await;
        let failed = failed.or(remote);
        let (state, reason) = self.became(failed.as_deref(), rests);
        self.inner
            .end_run(Looked {
                first,
                began,
                before,
                after: self.head(),
                state,
                reason,
            })
            .await;
        let wake_at = self.converge(served, failed).await;
        if let Some(at) = wake_at {
            let wait = at.duration_since(now()).max(crate::kit::time::SignedDuration::ZERO);
            let wait = Duration::try_from(wait).unwrap_or(interval);
            next.at = next.at.min(Instant::now() + wait);
        }
        next
    }

    /// The head that was agreed on last.
    fn head(&self) -> Option<String> {
        match &self.agreed {
            Some(agreed) => agreed.snapshot.head.clone(),
            None => self.inner.parts.store.meta(HEAD),
        }
    }

    /// What became of a look, and why.
    fn became(&self, failed: Option<&str>, rests: bool) -> (RunState, String) {
        if let Some(why) = failed {
            return (RunState::Failed, why.to_owned());
        }
        let Some(agreed) = &self.agreed else {
            return (RunState::Done, String::new());
        };
        if let Some(why) = waits(agreed) {
            return (RunState::Waiting, why);
        }
        if !rests {
            let why = "not all could be written yet, because a push is under way: mcpd goes on by itself";
            return (RunState::Waiting, why.to_owned());
        }
        let stuck = agreed.stuck.keys().filter(|id| !agreed.plan.held.contains_key(*id));
        match agreed.plan.held.len() + stuck.count() {
            0 => (RunState::Done, String::new()),
            held => (
                RunState::Done,
                format!("{} held (mcpctl status)", count(held, "resource")),
            ),
        }
    }

    /// Agrees until nothing is left to do now. False: something waits for the lease of a push.
    async fn agree(&mut self) -> Result<bool, EngineError> {
        let remote = self.inner.parts.source.remote();
        if remote.is_some_and(|remote| !remote.standing().seen) {
            // Nothing is known of what it declares: nothing follows from it.
            return Ok(true);
        }
        if self.inner.parts.vault.reload() {
            tracing::info!("other identities are here: sealed secrets are tried again");
        }
        if let Some(agreed) = &self.agreed {
            // Cost follows the change: what has been found in agreement is not compared again.
            let generation = self.inner.parts.vault.generation();
            let snapshot = self.inner.snapshot().await?;
            if agreed.still_holds(&snapshot, &self.inner.parts.store.view(), generation) {
                self.synced = Some(now());
                return Ok(true);
            }
        }
        let agreed = self.agree_until_rest().await;
        self.inner.end_conflicts(&self.inner.parts.store.view()).await?;
        agreed
    }

    async fn agree_until_rest(&mut self) -> Result<bool, EngineError> {
        for _ in 0..PASSES {
            let agreed = self.inner.agree_once().await?;
            if agreed.pass == Pass::Asks {
                return Ok(true);
            }
            self.synced = Some(now());
            let again = agreed.pass == Pass::Again;
            let waits_for_lease = agreed
                .plan
                .exports
                .iter()
                .flat_map(|export| &export.ids)
                .any(|id| !agreed.stuck.contains_key(id));
            let waits_for_person = waits(&agreed).is_some();
            self.agreed = Some(agreed);
            if !again {
                return Ok(waits_for_person || !waits_for_lease || !self.inner.takes_exports());
            }
        }
        Ok(false)
    }

    /// Plans and performs what runs, and publishes how things stand. The moment at which time alone calls for a look.
    async fn converge(&mut self, served: u64, failed: Option<String>) -> Option<Timestamp> {
        let inner = &self.inner;
        let view = inner.parts.store.view();
        let seen = inner.observe_runtime().await;
        let memory = lock(&inner.memory).clone();
        let outcomes = std::mem::take(&mut self.outcomes);
        let wanted = inner.wanted(&view.rows);
        let mut plan = inner.plan_running(&wanted, &seen, &memory, &outcomes, inner.claimed());
        // What a server says of its own end may hold what it was given.
        for status in &mut plan.statuses {
            status.reason = inner.parts.masks.mask(&status.reason).into_owned();
        }
        *lock(&inner.memory) = plan.memory;
        if let Err(error) = inner.tend_tools(&view, &plan.fleet, self.agreed.as_ref()).await {
            tracing::warn!(error = %describe(&error), "what servers list could not be written down");
        }
        let routes = routes(&view, &plan.statuses, &plan.fleet, &inner.tools_lock());
        let mut fleet = plan.fleet;
        self.greetings.bring_along(inner, &seen, &wanted).await;
        self.greetings.fill(&mut fleet, &wanted);
        publish(&inner.parts.fleet, fleet);
        inner.parts.routes.send_if_modified(|now| {
            let same = now.projects == routes.projects
                && now.servers == routes.servers
                && now.unavailable == routes.unavailable
                && now.lock == routes.lock;
            if !same {
                *now = Arc::new(routes);
            }
            !same
        });
        perform(&self.inner, plan.steps, &mut self.busy, &self.done);
        self.tell(&plan.statuses).await;
        let inner = &self.inner;
        let mut report = Report::clone(&inner.report.borrow());
        report.served = served;
        report.status.revision = view.revision;
        report.status.resources = declared(&view).count();
        report.status.instances = plan.statuses;
        report.status.warnings = inner.warnings(&view);
        report.status.unclaimed = unclaimed(plan.unclaimed);
        report.status.runtime.available = seen.away.is_none();
        report.status.runtime.reason = seen.away.unwrap_or_default();
        report.status.source.pending_count = view.outbox.len();
        match inner.parts.store.conflict_count().await {
            Ok(conflicts) => report.status.conflicts = usize::try_from(conflicts).unwrap_or(usize::MAX),
            Err(error) => tracing::warn!(%error, "the conflicts can't be counted"),
        }
        self.describe_source(&mut report, failed);
        self.tell_held(&report).await;
        let inner = &self.inner;
        report.conclude();
        inner.report.send_replace(Arc::new(report));
        plan.wake_at
    }

    fn describe_source(&self, report: &mut Report, failed: Option<String>) {
        let source = &mut report.status.source;
        if let Some(agreed) = &self.agreed {
            let mut all = agreed.plan.held.clone();
            all.extend(agreed.stuck.clone());
            report.status.held = held(&all, &agreed.snapshot.tree);
            report.status.diagnostics.clone_from(&agreed.snapshot.tree.diagnostics);
            report.tree = Arc::clone(&agreed.snapshot.tree);
            report.read = true;
            source.head.clone_from(&agreed.snapshot.head);
            report.replaced = agreed.replaced.is_some();
            source.last_error = waits(agreed);
            let held = !all.is_empty() || !report.status.diagnostics.is_empty() || agreed.other_writer.is_some();
            source.state = match &agreed.snapshot.head {
                _ if agreed.plan.guard.is_some() || agreed.replaced.is_some() => SourceState::WaitingForApproval,
                _ if held => SourceState::Held,
                None => SourceState::Empty,
                Some(_) => SourceState::Synced,
            };
            source.last_sync_at = match self.inner.parts.source.remote() {
                Some(remote) => remote.standing().at,
                None => self.synced,
            };
        }
        if let Some(error) = failed {
            source.state = SourceState::Failing;
            source.last_error = Some(error);
        }
    }

    /// Tells once of what came to be held, and of what is not held any more.
    async fn tell_held(&mut self, report: &Report) {
        let held = report.status.held.iter();
        let all: BTreeMap<String, String> = held.map(|held| (held.resource.clone(), held.why())).collect();
        let event = |level, about: &str, reason: &str, message: String| Event {
            sequence: 0,
            at: now(),
            level,
            about: about.to_owned(),
            reason: reason.to_owned(),
            message,
        };
        let came = all.iter().filter(|(id, _)| !self.held.contains_key(*id));
        let went = self.held.keys().filter(|id| !all.contains_key(*id));
        let mut events: Vec<Event> = came
            .map(|(id, why)| event(Level::Warning, id, "Held", format!("what was in force stays: {why}")))
            .chain(went.map(|id| event(Level::Info, id, "Released", "it is not held any more".to_owned())))
            .collect();
        // One bad file may hold very many: no flood.
        if events.len() > MOST_HELD_EVENTS {
            let rest = events.split_off(MOST_HELD_EVENTS).len();
            events.push(event(
                Level::Warning,
                "repository",
                "Held",
                format!("and {rest} more (mcpctl status)"),
            ));
        }
        self.held = all;
        self.record(events).await;
    }

    /// Tells of states that changed, as events and to those who watch.
    async fn tell(&mut self, statuses: &[InstanceStatus]) {
        let mut events = vec![];
        for status in statuses {
            let before = self.statuses.get(&status.instance);
            if before.is_some_and(|before| before.state == status.state && before.reason == status.reason) {
                continue;
            }
            let level = if status.state == State::Error {
                Level::Warning
            } else {
                Level::Info
            };
            let (reason, message) = (word(status.state).to_owned(), status.reason.clone());
            let about = format!("server/{}", status.instance.server);
            let message = if message.is_empty() {
                format!("{} is {}", status.instance, status.state)
            } else {
                format!("{} is {}: {message}", status.instance, status.state)
            };
            events.push(Event {
                sequence: 0,
                at: status.since,
                level,
                about,
                reason,
                message,
            });
            let _ = self.inner.happenings.send(Happening::Instance(status.clone()));
        }
        self.statuses = statuses
            .iter()
            .map(|status| (status.instance.clone(), status.clone()))
            .collect();
        self.record(events).await;
    }

    /// Tells of a failure, and of what waits for a person, once; and of its end once.
    async fn trouble(&mut self, now_is: Option<Trouble>) {
        let told = |trouble: &Option<Trouble>| trouble.as_ref().map(|it| (it.reason, it.key.clone()));
        if told(&now_is) == told(&self.trouble) {
            return;
        }
        let (level, reason, message) = match (&now_is, &self.trouble) {
            (Some(it), _) => (Level::Warning, it.reason, it.text.clone()),
            (None, Some(Trouble { reason: "Waiting", .. })) => (
                Level::Info,
                "Recovered",
                "nothing waits for a person any more".to_owned(),
            ),
            (None, _) => (Level::Info, "Recovered", "the repository can be used again".to_owned()),
        };
        let event = Event {
            sequence: 0,
            at: now(),
            level,
            about: "repository".to_owned(),
            reason: reason.to_owned(),
            message: message.clone(),
        };
        self.trouble = now_is;
        let _ = self.inner.happenings.send(Happening::Trouble(message));
        self.record(vec![event]).await;
    }

    async fn record(&self, events: Vec<Event>) {
        if events.is_empty() {
            return;
        }
        if let Err(error) = self.inner.parts.store.record(events, vec![]).await {
            tracing::warn!(%error, "events could not be written down");
        }
    }
}

/// What a person has to say before all of it goes on.
fn waits(agreed: &Agreed) -> Option<String> {
    let guard = agreed
        .plan
        .guard
        .map(|guard| format!("{guard}: nothing is imported until a person says so (mcpctl sync --allow-mass-delete)"));
    let replaced = || agreed.replaced.clone();
    guard.or_else(replaced).or_else(|| agreed.other_writer.clone())
}

fn word(state: State) -> &'static str {
    match state {
        State::Pending => "Pending",
        State::Starting => "Starting",
        State::Running => "Running",
        State::Stopping => "Stopping",
        State::Error => "Failed",
    }
}

/// Whether there was a hint since it was asked last; in one step, so that none is lost.
fn take<T>(receiver: &mut watch::Receiver<T>) -> bool {
    matches!(receiver.changed().now_or_never(), Some(Ok(())))
}

fn publish<T: PartialEq>(channel: &watch::Sender<Arc<T>>, value: T) {
    channel.send_if_modified(|now| {
        let same = **now == value;
        if !same {
            *now = Arc::new(value);
        }
        !same
    });
}
