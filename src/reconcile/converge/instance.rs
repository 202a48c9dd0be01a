//! The plan of one instance: which life serves, which one goes, whether one is started, and what is said of it.

use std::cmp::Reverse;
use std::sync::Arc;

use crate::kit::time::{SignedDuration, Timestamp};
use crate::record::{
    ChainLink, Counts, FleetMember, Handshake, InstanceName, InstanceStatus, Life, Live, LiveState, State, Verdict,
    Workload,
};
use crate::resource::Update;

use super::desired::difference;
use super::memory::{Attempts, HEALTHY, Known, SOON, later};
use super::{Blocked, Change, Desired, Operation, Outcome, Plan, Rules, Seen, Step, matches};

/// A life that drains is stopped after this even if calls are in flight.
const DRAIN: SignedDuration = SignedDuration::from_secs(30);
/// A life drains at least this long, so that the gateway has seen that it gets no new calls; also the pace at which a
/// drain is looked at.
const DRAIN_STEP: SignedDuration = SignedDuration::from_secs(1);
/// A life that was started is awaited in observations this long.
const AWAIT: SignedDuration = SignedDuration::from_secs(10);
/// A server that exits closes its output first: its exit code and last words say more than that, and follow soon.
const LAST_WORDS: SignedDuration = SignedDuration::from_secs(1);
/// The gateway's verdict on a silent life says more than ours: it gets this much more time.
const SLACK: SignedDuration = SignedDuration::from_secs(2);

/// A life that is ours, judged.
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each read alone")]
struct Judged<'a> {
    live: &'a Live,
    /// It runs what is declared now.
    current: bool,
    running: bool,
    ready: bool,
    /// It failed and must go.
    condemned: bool,
    /// A step that ends it was given.
    ending: bool,
    /// It ended, and what the gateway makes of that is awaited.
    lingers: bool,
}

impl Judged<'_> {
    /// Whether it may serve or be waited for.
    fn usable(&self) -> bool {
        self.running && !self.condemned && !self.ending
    }
}

/// One instance while it is planned.
struct Planner<'a, 'p> {
    seen: &'a Seen<'a>,
    rules: Rules,
    name: &'a InstanceName,
    desired: Option<&'a Desired>,
    attempts: Attempts,
    lives: Vec<Judged<'a>>,
    /// Another life of this instance runs that is not ours to touch.
    unclaimed: bool,
    plan: &'p mut Plan,
}

pub(super) fn plan<'a>(
    seen: &'a Seen<'a>,
    rules: Rules,
    name: &'a InstanceName,
    desired: Option<&'a Desired>,
    found: &[&'a Live],
    plan: &mut Plan,
) {
    let mut planner = Planner {
        seen,
        rules,
        name,
        desired,
        attempts: seen.memory.0.get(name).cloned().unwrap_or_default(),
        lives: vec![],
        unclaimed: false,
        plan,
    };
    planner.take_declaration();
    planner.take_outcomes();
    let ours = planner.claim(found);
    planner.judge(&ours);
    planner.decide();
}

impl<'a> Planner<'a, '_> {
    /// A new declaration ends any wait: what failed was another one.
    fn take_declaration(&mut self) {
        let now = self.desired.map(|d| (Arc::clone(&d.server), d.blocked.clone()));
        if self.attempts.declared != now {
            self.attempts.declared = now;
            if self.rules.new_spec_pre_empts {
                self.attempts.forget();
            }
        }
    }

    /// Whether what runs is to be left as it is: without a secret's value nobody can tell what it was started with.
    fn left_alone(&self) -> bool {
        self.desired
            .is_some_and(|d| matches!(d.blocked, Some(Blocked::Secret(_))))
    }

    fn take_outcomes(&mut self) {
        let now = self.seen.now;
        for outcome in self.seen.outcomes {
            match outcome {
                Outcome::Started { instance, life, server } if instance == self.name => {
                    let known = self.attempts.lives.entry(life.clone()).or_default();
                    known.ours = true;
                    known.server = Some(Arc::clone(server));
                    known.awaited_since = Some(now);
                }
                // A failure of what was declared before says nothing of what is declared now.
                Outcome::StartFailed {
                    instance,
                    server,
                    reason,
                } if instance == self.name && self.desired.is_some_and(|d| d.server == *server) => {
                    self.attempts.fail(ChainLink::Container, reason.clone(), false, now);
                }
                Outcome::StartRefused { instance } if instance == self.name => {
                    let soon = later(now, DRAIN_STEP);
                    self.attempts.next_try = Some(self.attempts.next_try.map_or(soon, |at| at.max(soon)));
                }
                Outcome::StopFailed { instance, life, .. } if instance == self.name => {
                    if let Some(known) = self.attempts.lives.get_mut(life) {
                        known.ending = false;
                        known.not_before = Some(later(now, SOON));
                    }
                }
                _ => {}
            }
        }
    }

    /// Parts what is ours from what is to be left alone.
    fn claim(&mut self, found: &[&'a Live]) -> Vec<&'a Live> {
        let (ours, others): (Vec<&Live>, Vec<&Live>) = found.iter().partition(|live| {
            self.seen.claimed || !self.rules.claims || self.attempts.lives.get(&live.life).is_some_and(|k| k.ours)
        });
        self.unclaimed = !others.is_empty();
        self.plan.unclaimed.extend(others.into_iter().cloned());
        ours
    }

    fn judge(&mut self, ours: &[&'a Live]) {
        let now = self.seen.now;
        let away = self.seen.engine_away.is_some();
        let left_alone = self.left_alone();
        self.forget_gone(ours);
        for live in ours {
            let known = self.attempts.lives.entry(live.life.clone()).or_default();
            known.awaited_since = None;
            let current = self.desired.is_some_and(|d| matches(&live.spec, d));
            if let Some(desired) = self.desired.filter(|_| current) {
                known.server = Some(Arc::clone(&desired.server));
            }
            let handshake = self.seen.upstreams.get(&live.life).map(|u| &u.handshake);
            let running = live.state == LiveState::Running;
            let ready = running && matches!(handshake, Some(Handshake::Ready { .. }));
            known.was_ready |= ready;
            let mut failure = None;
            let mut lingers = false;
            let spares = !self.attempts.spared && !away && self.rules.spares;
            match (&live.state, handshake) {
                // Nobody talks to it, so its silence says nothing.
                (LiveState::Running, _) if left_alone => {
                    known.silent_since = None;
                    known.broken_since = None;
                }
                // Our question upset it, which is no failure of its own. Once: what ends by itself has no excuse after that.
                (
                    _,
                    Some(Handshake::Failed {
                        verdict: Verdict::Upset,
                        ..
                    }),
                ) if spares && !known.counted => {
                    known.counted = true;
                    known.upset = true;
                    self.attempts.spared = true;
                }
                (LiveState::Ended(_), Some(Handshake::Connecting)) if spares && lingering(known, now, self.plan) => {
                    lingers = true;
                }
                // What the gateway cut off exits of that: the gateway's verdict says more than the exit.
                (
                    _,
                    Some(Handshake::Failed {
                        reason, closed: false, ..
                    }),
                ) => {
                    failure = Some((spoken(reason), reason.clone()));
                }
                (LiveState::Ended(ending), _) => failure = Some((ChainLink::Container, ending.to_string())),
                (LiveState::Running, Some(Handshake::Ready { .. })) => known.silent_since = None,
                (
                    LiveState::Running,
                    Some(Handshake::Failed {
                        reason, closed: true, ..
                    }),
                ) => {
                    let since = *known.broken_since.get_or_insert(now);
                    let deadline = later(since, LAST_WORDS);
                    if now >= deadline {
                        failure = Some((spoken(reason), reason.clone()));
                    } else {
                        wake(self.plan, deadline);
                    }
                }
                (LiveState::Running, _) => {
                    let limit = start_timeout(known, self.desired);
                    let since = *known.silent_since.get_or_insert(now);
                    let deadline = later(later(since, SignedDuration::from_secs(limit.into())), SLACK);
                    if now >= deadline {
                        let reason = format!("did not answer the handshake within {limit} s");
                        failure = Some((ChainLink::Handshake, reason));
                    } else {
                        wake(self.plan, deadline);
                    }
                }
            }
            if let Some((at, reason)) = failure.filter(|_| !known.ending && !away) {
                let first = !known.counted || !self.rules.count_once;
                known.counted = true;
                // What an mcpd before this one started had been RUNNING, as far as anybody knows.
                let was_ready = known.was_ready || !known.ours;
                if first && current {
                    self.attempts.fail(at, reason, was_ready, now);
                }
            }
            if ready {
                self.attempts.spared = false;
            }
            let known = &self.attempts.lives[&live.life];
            self.lives.push(Judged {
                live,
                current,
                running,
                ready,
                condemned: running && known.counted,
                ending: known.ending,
                lingers,
            });
        }
        self.lives
            .sort_by_key(|l| (Reverse(l.ready), l.live.started, &l.live.life));
    }

    /// Lives that are gone: one that nobody asked to go is a failure like an exit.
    fn forget_gone(&mut self, ours: &[&'a Live]) {
        let now = self.seen.now;
        if self.seen.engine_away.is_some() {
            return;
        }
        let mut gone = vec![];
        self.attempts.lives.retain(|life, known| {
            if ours.iter().any(|live| live.life == *life) {
                return true;
            }
            if let Some(since) = known.awaited_since {
                return now < later(since, AWAIT);
            }
            if !known.counted && !known.ending {
                gone.push(known.clone());
            }
            false
        });
        for known in gone {
            if let (Some(desired), Some(server)) = (self.desired, &known.server)
                && difference(server, &desired.server).is_none()
            {
                let reason = "was removed by somebody else".to_owned();
                self.attempts.fail(ChainLink::Container, reason, known.was_ready, now);
            }
        }
    }

    fn decide(mut self) {
        let blocked = self.desired.is_some_and(|d| d.blocked.is_some());
        let rolling = self
            .desired
            .is_some_and(|d| d.server.effective_update() == Update::Rolling);
        // Lives are sorted: what is ready first, then the oldest.
        let candidate = self.lives.iter().position(|l| l.current && l.usable());
        let answered = candidate.is_some_and(|at| self.lives[at].ready);
        let keeps = rolling && !blocked && !answered && self.rules.make_before_break;
        let kept = self.lives.iter().position(|l| keeps && !l.current && l.usable());
        if let Some(at) = candidate {
            self.note_health(at);
        }
        let step = self.step(candidate, kept);
        let serving = [
            candidate.filter(|_| answered),
            kept.filter(|at| self.lives[*at].ready),
            candidate,
            kept,
        ]
        .into_iter()
        .flatten()
        .next();
        self.changes(candidate);
        self.status(candidate, kept);
        self.fleet(serving);
        if let Some(step) = step.filter(|_| self.seen.engine_away.is_none()) {
            if let Step::Stop { life, .. } | Step::Clear { life, .. } = &step
                && let Some(known) = self.attempts.lives.get_mut(life)
            {
                known.ending = true;
            }
            self.plan.steps.push(step);
        }
        if self.desired.is_some() || !self.attempts.lives.is_empty() {
            self.plan.memory.0.insert(self.name.clone(), self.attempts);
        }
    }

    /// Long enough healthy, and the failures are forgotten.
    fn note_health(&mut self, candidate: usize) {
        let life = &self.lives[candidate];
        if let Some(upstream) = self.seen.upstreams.get(&life.live.life)
            && life.ready
            && self.attempts.failures > 0
        {
            let healthy = later(upstream.since, HEALTHY);
            if self.seen.now >= healthy {
                self.attempts.forget();
            } else {
                wake(self.plan, healthy);
            }
        }
    }

    /// The one step that is due: stops, then remains that stand in the way of a start, then the start.
    fn step(&mut self, candidate: Option<usize>, kept: Option<usize>) -> Option<Step> {
        let now = self.seen.now;
        let mut stop = None;
        for at in 0..self.lives.len() {
            let wanted = Some(at) == candidate || Some(at) == kept;
            let due = self.due_to_stop(at, wanted);
            if due && stop.is_none() {
                stop = Some(Step::Stop {
                    instance: self.name.clone(),
                    life: self.lives[at].live.life.clone(),
                    reason: self.why_stop(at, candidate),
                });
            }
        }
        if stop.is_some() || self.lives.iter().any(|life| life.lingers) {
            return stop;
        }
        let mut remains = None;
        for ended in self.lives.iter().filter(|l| !l.running) {
            let life = &ended.live.life;
            match self
                .attempts
                .lives
                .get(life)
                .and_then(|k| k.not_before)
                .filter(|at| *at > now)
            {
                Some(at) => wake(self.plan, at),
                None => {
                    remains.get_or_insert_with(|| Step::Clear {
                        instance: self.name.clone(),
                        life: life.clone(),
                    });
                }
            }
        }
        let Some(desired) = self.desired.filter(|d| d.blocked.is_none() && candidate.is_none()) else {
            return remains;
        };
        if let Some(at) = self.attempts.next_try.filter(|at| *at > now) {
            wake(self.plan, at);
            return None;
        }
        let awaited = self.attempts.lives.values().filter_map(|k| k.awaited_since).max();
        if let Some(since) = awaited {
            wake(self.plan, later(since, AWAIT));
            return None;
        }
        let running = self.lives.iter().filter(|l| l.running).count();
        let room = if desired.server.effective_update() == Update::Rolling {
            2
        } else {
            1
        };
        if self.unclaimed || (running >= room && (self.rules.two_at_most || room == 1)) {
            return None;
        }
        remains.or_else(|| {
            Some(Step::Start {
                instance: self.name.clone(),
                server: Arc::clone(&desired.server),
                reason: match self.replaces() {
                    Some(fields) => format!("replaces: {fields}"),
                    None if self.attempts.failures > 0 => "next try".to_owned(),
                    None => "missing".to_owned(),
                },
            })
        })
    }

    /// Whether a life is to be stopped now; a ready one drains first.
    fn due_to_stop(&mut self, at: usize, wanted: bool) -> bool {
        let now = self.seen.now;
        let left_alone = self.left_alone();
        let life = &self.lives[at];
        let Some(known) = self.attempts.lives.get_mut(&life.live.life) else {
            return false;
        };
        if wanted || left_alone || !life.running {
            known.draining = None;
            return false;
        }
        if let Some(at) = known.not_before.filter(|at| *at > now) {
            wake(self.plan, at);
            return false;
        }
        if life.condemned || life.ending || !life.ready {
            return true;
        }
        let since = *known.draining.get_or_insert(now);
        let idle = self.seen.in_flight.get(&life.live.life).is_none_or(|calls| *calls == 0);
        let end = later(since, DRAIN);
        if now >= end || (idle && now >= later(since, DRAIN_STEP)) {
            return true;
        }
        wake(self.plan, end.min(later(now, DRAIN_STEP)));
        false
    }

    fn why_stop(&self, at: usize, candidate: Option<usize>) -> String {
        let life = &self.lives[at];
        match self.desired {
            None => "not wanted any more".to_owned(),
            Some(_)
                if self
                    .attempts
                    .lives
                    .get(&life.live.life)
                    .is_some_and(|known| known.upset) =>
            {
                "a legacy server, which the question for its era has upset".to_owned()
            }
            Some(_) if life.condemned => self.attempts.last_error.clone(),
            Some(_) if life.current && candidate.is_some() => "a second one of the same".to_owned(),
            Some(desired) => match &desired.blocked {
                Some(why) => why.to_string(),
                None => "replaced".to_owned(),
            },
        }
    }

    /// The fields in which the running life before differs, where one runs.
    fn replaces(&self) -> Option<String> {
        let desired = self.desired?;
        let old = self.lives.iter().find(|l| l.running && !l.current)?;
        let server = self.attempts.lives.get(&old.live.life)?.server.as_ref();
        Some(
            server
                .and_then(|server| difference(server, &desired.server))
                .unwrap_or_else(|| "spec".to_owned()),
        )
    }

    fn changes(&mut self, candidate: Option<usize>) {
        let waits = self.attempts.next_try.is_some_and(|at| at > self.seen.now) || self.unclaimed;
        let runs = self.lives.iter().any(|l| l.running);
        let (operation, reason) = match (self.desired, self.replaces()) {
            (None, _) if !self.lives.is_empty() => (Operation::Stop, String::new()),
            (Some(_), _) if self.left_alone() => return,
            (Some(desired), _) if desired.blocked.is_some() && candidate.is_none() && runs => {
                let why = desired.blocked.as_ref().map_or_else(String::new, ToString::to_string);
                (Operation::Stop, why)
            }
            (Some(desired), Some(fields)) if desired.blocked.is_none() && (candidate.is_some() || !waits) => {
                (Operation::Replace, fields)
            }
            (Some(desired), None) if desired.blocked.is_none() && candidate.is_none() && !waits => {
                (Operation::Start, String::new())
            }
            _ => return,
        };
        self.plan.changes.push(Change {
            operation,
            instance: self.name.clone(),
            reason,
        });
    }

    fn fleet(&mut self, serving: Option<usize>) {
        if self.left_alone() {
            return;
        }
        for (at, life) in self.lives.iter().enumerate().filter(|(_, l)| l.usable() || l.lingers) {
            let known = self.attempts.lives.get(&life.live.life);
            self.plan.fleet.members.insert(
                life.live.life.clone(),
                FleetMember {
                    instance: self.name.clone(),
                    serving: serving == Some(at),
                    start_timeout_seconds: known.map_or(300, |known| start_timeout(known, self.desired)),
                    fresh: known.is_some_and(|known| known.ours),
                    // The engine remembers these, and fills them in.
                    remembered: None,
                    era: None,
                },
            );
        }
    }

    fn status(&mut self, candidate: Option<usize>, kept: Option<usize>) {
        let now = self.seen.now;
        let kept_serves = kept.is_some_and(|at| self.lives[at].ready);
        let before = if kept_serves {
            "; the one before goes on serving"
        } else {
            ""
        };
        let life: Option<&Judged<'_>> = candidate.or(kept).map(|at| &self.lives[at]);
        let error = &self.attempts.last_error;
        let (state, reason) = match (self.desired, candidate.map(|at| &self.lives[at])) {
            (None, _) if self.lives.iter().all(|l| !l.running) => {
                self.attempts.state = None;
                return;
            }
            (None, _) => (State::Stopping, "not wanted any more".to_owned()),
            (Some(_), Some(life)) if life.ready => (State::Running, self.uncertain(&life.live.life).to_owned()),
            (Some(_), Some(_)) if self.attempts.failures > 0 => (
                State::Starting,
                format!("try {} after: {error}{before}", self.attempts.failures + 1),
            ),
            (Some(_), Some(_)) if kept_serves => (State::Starting, "the one before serves until it answers".to_owned()),
            (Some(_), Some(_)) => (State::Starting, String::new()),
            (Some(desired), None) => match (&desired.blocked, self.seen.engine_away) {
                (Some(why), _) => (State::Error, why.to_string()),
                (None, _) if self.attempts.failures > 0 => (State::Error, format!("{error}{before}")),
                (None, Some(away)) => (State::Pending, away.to_owned()),
                (None, None) if self.unclaimed => (
                    State::Pending,
                    "one that is not claimed yet runs: sync with the repository first".to_owned(),
                ),
                (None, None) if kept_serves => (State::Pending, "the one before serves until it answers".to_owned()),
                (None, None) if self.lives.iter().any(|l| l.running) => {
                    (State::Pending, "waits for the one before to stop".to_owned())
                }
                (None, None) => (State::Pending, String::new()),
            },
        };
        let since = match self.attempts.state {
            Some((before, since)) if before == state => since,
            _ => now,
        };
        self.attempts.state = Some((state, since));
        let life = life
            .or_else(|| self.lives.iter().find(|l| l.running))
            .map(|l| l.live.life.clone());
        let counts = candidate.and_then(|at| self.counts(&self.lives[at].live.life));
        let protocol = candidate.and_then(|at| self.protocol(&self.lives[at].live.life));
        self.plan.statuses.push(InstanceStatus {
            instance: self.name.clone(),
            state,
            reason,
            since,
            failures: self.attempts.failures,
            failed_at: self.attempts.failed_at,
            next_retry: self.attempts.next_try.filter(|at| *at > now && state == State::Error),
            life,
            protocol,
            tools: counts.map(|counts| counts.tools),
            resources: counts.map(|counts| counts.resources),
            prompts: counts.map(|counts| counts.prompts),
        });
    }

    /// What is said of a server that asks its client things which can be put to nobody.
    fn uncertain(&self, life: &Life) -> &'static str {
        match self.seen.upstreams.get(life) {
            Some(upstream) if upstream.uncertain > 0 => {
                "needs \"isolation: session\": it asked something, and on a connection that callers share nobody can tell whom"
            }
            _ => "",
        }
    }

    fn protocol(&self, life: &Life) -> Option<String> {
        match &self.seen.upstreams.get(life)?.handshake {
            Handshake::Ready { greeting, .. } => Some(greeting.protocol.clone()),
            _ => None,
        }
    }

    fn counts(&self, life: &Life) -> Option<Counts> {
        match self.seen.upstreams.get(life)?.handshake {
            Handshake::Ready { counts, .. } => Some(counts),
            _ => None,
        }
    }
}

/// Whether an end is too new for the gateway to have seen it.
fn lingering(known: &mut Known, now: Timestamp, plan: &mut Plan) -> bool {
    let deadline = later(*known.broken_since.get_or_insert(now), LAST_WORDS);
    if now < deadline {
        wake(plan, deadline);
    }
    now < deadline
}

/// The link that a conversation broke at: the gateway's words name the request that was not answered.
fn spoken(reason: &str) -> ChainLink {
    if reason.contains("/list") {
        ChainLink::Tools
    } else {
        ChainLink::Handshake
    }
}

/// How long a life may be silent.
fn start_timeout(known: &Known, desired: Option<&Desired>) -> u32 {
    // A life that runs what is declared now goes by today's limit, an older one by its own.
    let own: Option<&Workload> = known.server.as_deref();
    let declared = desired.map(|d| d.server.as_ref());
    own.or(declared).map_or(300, |server| server.start_timeout_seconds)
}

/// Time alone may change the plan at `at`.
fn wake(plan: &mut Plan, at: Timestamp) {
    plan.wake_at = Some(plan.wake_at.map_or(at, |earlier| earlier.min(at)));
}
