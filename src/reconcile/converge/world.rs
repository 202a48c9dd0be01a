//! A seeded hostile world: people change their minds, lives crash, starts and stops fail, observations are stale, mcpd
//! forgets. While faults go on nothing forbidden happens; when they stop, what lives is what is declared, in time.

use std::collections::BTreeSet;

use serde_json::json;

use super::*;
use crate::kit::time::SignedDuration;
use crate::record::{Counts, Demand, Ending, Greeting, Handshake, LiveState, State, Upstream, Verdict};

const WORLDS: u64 = 1_500;
const TURNS: usize = 50;
const UPSET: &str = "upset by a question";

struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self((seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }
}

/// A life as it truly is.
struct Body {
    live: Live,
    /// When it answers, once the gateway talks to it; never, where it is mute.
    answers_at: Option<Timestamp>,
    /// The question for its era upset it.
    upset: bool,
}

struct World {
    random: Random,
    now: Timestamp,
    faults: bool,
    claimed: bool,
    desired: Vec<Desired>,
    bodies: Vec<Body>,
    before: Vec<Live>,
    upstreams: Upstreams,
    in_flight: BTreeMap<Life, usize>,
    memory: Memory,
    outcomes: Vec<Outcome>,
    fleet: Fleet,
    /// Instances whose declaration changed since the last plan.
    changed: BTreeSet<InstanceName>,
    /// Commands whose servers bear no question for their era, and are known not to.
    delicate: BTreeSet<Vec<String>>,
    /// Lives that were there before this mcpd.
    found: BTreeSet<Life>,
    births: u32,
    trace: Vec<String>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut world = Self {
            random: Random::new(seed),
            now: "2026-11-01T12:00:00Z".parse().unwrap(),
            faults: true,
            claimed: true,
            desired: vec![],
            bodies: vec![],
            before: vec![],
            upstreams: Upstreams::new(),
            in_flight: BTreeMap::new(),
            memory: Memory::default(),
            outcomes: vec![],
            fleet: Fleet::default(),
            changed: BTreeSet::new(),
            delicate: BTreeSet::new(),
            found: BTreeSet::new(),
            births: 0,
            trace: vec![],
        };
        world.people();
        if world.random.one_in(3) {
            world.claimed = world.random.one_in(2);
            for desired in world.desired.clone() {
                world.born(&desired);
            }
            world.found = world.bodies.iter().map(|b| b.live.life.clone()).collect();
            world.people();
        }
        world
    }

    /// People declare something else.
    fn people(&mut self) {
        let mut declared = vec![];
        for name in ["a", "b"] {
            let variant = self.random.below(3);
            let update = if self.random.one_in(4) { "recreate" } else { "rolling" };
            let value = json!({"command": [format!("v{variant}")], "replicas": self.random.below(3), "update": update});
            declared.push(tests::declared(name, value));
        }
        let keep = self.random.below(3);
        let new = desired(declared, true, &Demand::new());
        let old = std::mem::take(&mut self.desired);
        // Often only one of the two changes.
        let kept = |d: &&Desired| {
            (keep == 0 && d.instance.server.as_str() == "a") || (keep == 1 && d.instance.server.as_str() == "b")
        };
        self.desired = if old.is_empty() {
            new
        } else {
            let mut merged: Vec<Desired> = old.iter().filter(kept).cloned().collect();
            merged.extend(new.iter().filter(|d| !kept(d)).cloned());
            merged
        };
        let changed = self
            .desired
            .iter()
            .filter(|d| !old.contains(d))
            .map(|d| d.instance.clone());
        self.changed.extend(changed);
        self.trace.push(format!(
            "declared {:?}",
            self.desired
                .iter()
                .map(|d| format!("{} {:?}", d.instance, d.server.command))
                .collect::<Vec<_>>()
        ));
    }

    fn born(&mut self, desired: &Desired) -> Life {
        self.births += 1;
        let life = Life(format!("L{}", self.births));
        let mute = self.faults && self.random.one_in(6);
        let slowness = if self.faults {
            i64::try_from(self.random.below(40)).unwrap()
        } else {
            3
        };
        self.bodies.push(Body {
            live: Live {
                instance: desired.instance.clone(),
                life: life.clone(),
                spec: spec_mark(&format!("{:02x}", self.births % 7), desired),
                state: LiveState::Running,
                started: self.now,
            },
            answers_at: (!mute).then(|| self.now + SignedDuration::from_secs(slowness)),
            upset: Self::is_delicate(desired) && self.delicate.insert(desired.server.command.clone()),
        });
        life
    }

    /// Every third command is of a server that ends when it is asked for its era.
    fn is_delicate(desired: &Desired) -> bool {
        desired.server.command == ["v2"]
    }

    fn crash(&mut self, at: usize) {
        let ending = Ending {
            code: Some(1),
            signal: None,
            out_of_memory: false,
            last_line: None,
            at: self.now,
        };
        self.trace.push(format!("crash {}", self.bodies[at].live.life));
        self.bodies[at].live.state = LiveState::Ended(ending);
    }

    fn mischief(&mut self) {
        if self.random.one_in(5) {
            self.people();
        }
        if !self.bodies.is_empty() && self.random.one_in(4) {
            let at = usize::try_from(self.random.below(self.bodies.len() as u64)).unwrap();
            let untouched = self.found.contains(&self.bodies[at].live.life);
            if self.random.one_in(6) && !untouched {
                let body = self.bodies.remove(at);
                self.trace.push(format!("somebody removes {}", body.live.life));
            } else if self.bodies[at].live.state == LiveState::Running {
                self.crash(at);
            }
        }
        if self.random.one_in(20) {
            self.trace.push("mcpd restarts".to_owned());
            self.memory = Memory::default();
            self.outcomes.clear();
            self.upstreams.clear();
            self.fleet = Fleet::default();
            self.changed.clear();
            if !self.claimed {
                // What it had started itself is now found like the rest.
                self.found = self.bodies.iter().map(|b| b.live.life.clone()).collect();
            }
        }
        self.claimed |= self.random.one_in(10);
    }

    /// The gateway talks to what is in the fleet.
    fn gateway(&mut self) {
        let fleet = &self.fleet;
        self.upstreams.retain(|life, _| fleet.members.contains_key(life));
        for (life, member) in &self.fleet.members {
            let body = self
                .bodies
                .iter()
                .find(|b| b.live.life == *life && b.live.state == LiveState::Running);
            let upset = self.bodies.iter().any(|b| b.live.life == *life && b.upset);
            let handshake = match body {
                // Its end may be seen before what the gateway makes of it.
                _ if upset && self.random.one_in(3) && !self.upstreams.contains_key(life) => Handshake::Connecting,
                _ if upset => Handshake::Failed {
                    reason: UPSET.to_owned(),
                    closed: true,
                    verdict: Verdict::Upset,
                },
                None => Handshake::Failed {
                    reason: "closed its output".to_owned(),
                    closed: true,
                    verdict: Verdict::None,
                },
                Some(body) if body.answers_at.is_some_and(|at| at <= self.now) => Handshake::Ready {
                    greeting: Greeting::default(),
                    counts: Counts::default(),
                },
                Some(_) => Handshake::Connecting,
            };
            let known = self
                .upstreams
                .get(life)
                .filter(|u| u.handshake == handshake)
                .map(|u| u.since);
            let upstream = Upstream {
                instance: member.instance.clone(),
                handshake,
                tools: Arc::default(),
                since: known.unwrap_or(self.now),
                uncertain: 0,
            };
            self.upstreams.insert(life.clone(), upstream);
            let calls = if self.faults { self.random.below(2) } else { 0 };
            self.in_flight.insert(life.clone(), usize::try_from(calls).unwrap());
        }
    }

    fn ready(&self, life: &Life) -> bool {
        matches!(
            self.upstreams.get(life).map(|u| &u.handshake),
            Some(Handshake::Ready { .. })
        )
    }

    /// One turn: observe, plan, check, perform.
    fn turn(&mut self, rules: Rules) -> Result<Plan, String> {
        self.gateway();
        let fresh: Vec<Live> = self.bodies.iter().map(|b| b.live.clone()).collect();
        let stale = self.faults && self.random.one_in(10);
        let away = (self.faults && self.random.one_in(12)).then_some("engine does not answer");
        let live = if stale {
            std::mem::replace(&mut self.before, fresh.clone())
        } else {
            fresh.clone()
        };
        self.before = fresh;
        let seen = Seen {
            desired: &self.desired,
            live: &live,
            upstreams: &self.upstreams,
            in_flight: &self.in_flight,
            claimed: self.claimed,
            engine_away: away,
            memory: &self.memory,
            outcomes: &self.outcomes,
            now: self.now,
        };
        let plan = plan_with(&seen, rules);
        if self.random.one_in(16) && plan != plan_with(&seen, rules) {
            return Err("the same sight gave two plans".to_owned());
        }
        if away.is_some() && !plan.steps.is_empty() {
            return Err("steps for an engine that is away".to_owned());
        }
        self.check(&plan, &live)?;
        self.memory = plan.memory.clone();
        self.fleet = plan.fleet.clone();
        self.outcomes.clear();
        self.changed.clear();
        for step in plan.steps.clone() {
            self.perform(step, stale)?;
        }
        Ok(plan)
    }

    fn check(&self, plan: &Plan, live: &[Live]) -> Result<(), String> {
        let stepped: BTreeSet<&InstanceName> = plan.steps.iter().map(Step::instance).collect();
        if stepped.len() != plan.steps.len() {
            return Err("two steps for one instance".to_owned());
        }
        let mut serving: BTreeMap<&InstanceName, &Life> = BTreeMap::new();
        for (life, member) in plan.fleet.members.iter().filter(|(_, m)| m.serving) {
            if serving.insert(&member.instance, life).is_some() {
                return Err(format!("two lives of {} serve", member.instance));
            }
        }
        for (life, member) in self.fleet.members.iter().filter(|(_, m)| m.serving) {
            let rolls = |d: &Desired| {
                d.instance == member.instance && d.server.effective_update() == crate::resource::Update::Rolling
            };
            let healthy = self.ready(life) && live.iter().any(|l| l.life == *life && l.state == LiveState::Running);
            if healthy
                && self.desired.iter().any(rolls)
                && !serving.get(&member.instance).is_some_and(|l| self.ready(l))
            {
                return Err(format!("{life} was taken out of service before another one answered"));
            }
        }
        for status in &plan.statuses {
            let ready = status.life.as_ref().is_some_and(|life| self.ready(life));
            if status.reason.contains(UPSET) {
                return Err(format!("{} is told to have failed: {}", status.instance, status.reason));
            }
            if status.state == State::Running && !ready {
                return Err(format!("{} is called RUNNING and does not answer", status.instance));
            }
        }
        for instance in &self.changed {
            if plan
                .memory
                .0
                .get(instance)
                .is_some_and(|attempts| attempts.failures > 1)
            {
                return Err(format!("{instance} waits for a declaration that is gone"));
            }
        }
        Ok(())
    }

    fn perform(&mut self, step: Step, stale: bool) -> Result<(), String> {
        self.trace.push(format!("step {step:?}"));
        match step {
            Step::Start { instance, server, .. } => {
                let desired = Desired {
                    instance: instance.clone(),
                    server: Arc::clone(&server),
                    blocked: None,
                };
                let running: Vec<&Live> = self
                    .bodies
                    .iter()
                    .map(|b| &b.live)
                    .filter(|l| l.instance == instance && l.state == LiveState::Running)
                    .collect();
                let twin = running.iter().any(|l| matches(&l.spec, &desired));
                if running.len() >= 2 || twin {
                    // The runtime refuses; only an old sight excuses the plan.
                    self.outcomes.push(Outcome::StartRefused { instance });
                    let stuck = twin && running.len() < 2;
                    return if stale || stuck {
                        Ok(())
                    } else {
                        Err("a third life".to_owned())
                    };
                }
                if self.faults && self.random.one_in(4) {
                    let reason = "no".to_owned();
                    self.outcomes.push(Outcome::StartFailed {
                        instance,
                        server,
                        reason,
                    });
                } else {
                    let life = self.born(&desired);
                    self.outcomes.push(Outcome::Started { instance, life, server });
                }
            }
            Step::Stop { instance, life, .. } | Step::Clear { instance, life } => {
                if !self.claimed && self.found.contains(&life) {
                    return Err(format!("{life} was not ours to touch"));
                }
                if self.faults && self.random.one_in(8) {
                    let reason = "no".to_owned();
                    self.outcomes.push(Outcome::StopFailed { instance, life, reason });
                } else {
                    self.bodies.retain(|b| b.live.life != life);
                }
            }
        }
        Ok(())
    }

    /// Whether exactly what is declared lives, answers and serves.
    fn converged(&self, plan: &Plan) -> bool {
        self.bodies.len() == self.desired.len()
            && self.desired.iter().all(|d| {
                self.bodies.iter().any(|b| {
                    let serves = plan.fleet.members.get(&b.live.life).is_some_and(|m| m.serving);
                    b.live.instance == d.instance && matches(&b.live.spec, d) && self.ready(&b.live.life) && serves
                })
            })
            && plan.statuses.iter().all(|s| s.state == State::Running)
            && plan.changes.is_empty()
            && plan.steps.is_empty()
    }

    fn live_through(&mut self, rules: Rules) -> Result<(), String> {
        for _ in 0..TURNS {
            self.mischief();
            let plan = self.turn(rules)?;
            let seconds = if self.random.one_in(6) {
                40
            } else {
                self.random.below(6)
            };
            self.now += SignedDuration::from_secs(i64::try_from(seconds).unwrap());
            if let Some(at) = plan.wake_at.filter(|_| self.random.one_in(3)) {
                self.now = self.now.max(at);
            }
        }
        self.faults = false;
        self.claimed = true;
        for body in &mut self.bodies {
            // What is mute stays mute: its time runs out, and it is replaced.
            body.answers_at = body.answers_at.map(|at| at.min(self.now));
        }
        let begin = self.now;
        for _ in 0..400 {
            let plan = self.turn(rules)?;
            if self.converged(&plan) {
                let taken = self.now.duration_since(begin).as_secs();
                // The longest wait, a mute life's time, and some drains.
                return if taken <= 900 {
                    Ok(())
                } else {
                    Err(format!("it took {taken} s"))
                };
            }
            let talks = self.fleet.members.keys().any(|life| {
                self.bodies
                    .iter()
                    .any(|b| b.live.life == *life && b.answers_at.is_some())
                    && !self.ready(life)
            });
            if !plan.steps.is_empty() {
                continue;
            }
            self.now = match plan.wake_at {
                _ if talks => self.now + SignedDuration::from_secs(1),
                Some(at) if at > self.now => at,
                Some(_) => return Err("it wakes in the past".to_owned()),
                None => return Err(format!("it sleeps for ever: {:?}", plan.statuses)),
            };
        }
        Err("it never settles".to_owned())
    }
}

fn run(seed: u64, rules: Rules) -> Result<(), String> {
    let mut world = World::new(seed);
    world.live_through(rules).map_err(|why| {
        let tail = world.trace.len().saturating_sub(30);
        format!("seed {seed}: {why}\n{}", world.trace[tail..].join("\n"))
    })
}

/// P2: when faults stop, live = desired in time; and the promises hold all along.
#[test]
fn the_world_settles_and_nothing_forbidden_happens() {
    for seed in 0..WORLDS {
        if let Err(why) = run(seed, SOUND) {
            panic!("{why}");
        }
    }
}

/// The world is hostile enough to find each planted fault.
#[test]
fn planted_faults_are_found() {
    let planted = [
        (
            "break before make",
            Rules {
                make_before_break: false,
                ..SOUND
            },
            "taken out of service",
        ),
        (
            "count twice",
            Rules {
                count_once: false,
                ..SOUND
            },
            "",
        ),
        (
            "three at once",
            Rules {
                two_at_most: false,
                ..SOUND
            },
            "third life",
        ),
        (
            "stubborn",
            Rules {
                new_spec_pre_empts: false,
                ..SOUND
            },
            "declaration that is gone",
        ),
        ("greedy", Rules { claims: false, ..SOUND }, "not ours to touch"),
        (
            "unforgiving",
            Rules { spares: false, ..SOUND },
            "is told to have failed",
        ),
    ];
    for (name, rules, sign) in planted {
        let found = (0..WORLDS).find_map(|seed| run(seed, rules).err());
        let found = found.unwrap_or_else(|| panic!("{name} was not found"));
        assert!(found.contains(sign), "{name}: {found}");
    }
}
