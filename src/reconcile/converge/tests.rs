//! The rules of converge, one by one.

use serde_json::{Value, json};

use super::*;
use crate::kit::time::SignedDuration;
use crate::record::{ChainLink, Counts, Ending, Greeting, Handshake, LiveState, State, Upstream, Verdict};

/// A small world with a hand on everything: it performs steps at once, and every start works.
pub(super) struct Bench {
    pub now: Timestamp,
    pub desired: Vec<Desired>,
    pub live: Vec<Live>,
    pub upstreams: Upstreams,
    pub in_flight: BTreeMap<Life, usize>,
    pub claimed: bool,
    pub away: Option<String>,
    pub memory: Memory,
    pub outcomes: Vec<Outcome>,
    started: u32,
}

pub(super) fn server(value: Value) -> Arc<Workload> {
    let server: crate::resource::Server = serde_json::from_value(value).unwrap();
    Arc::new(server.into())
}

pub(super) fn declared(name: &str, value: Value) -> Declaration {
    Declaration {
        name: name.parse().unwrap(),
        server: server(value),
        missing: None,
    }
}

fn life(name: &str) -> Life {
    Life(name.to_owned())
}

impl Bench {
    fn new() -> Self {
        Self {
            now: "2026-11-01T12:00:00Z".parse().unwrap(),
            desired: vec![],
            live: vec![],
            upstreams: Upstreams::new(),
            in_flight: BTreeMap::new(),
            claimed: true,
            away: None,
            memory: Memory::default(),
            outcomes: vec![],
            started: 0,
        }
    }

    fn of(value: Value) -> Self {
        let mut bench = Self::new();
        bench.declare(value);
        bench
    }

    /// Declares server `time` (and nothing else).
    fn declare(&mut self, value: Value) {
        self.desired = desired([declared("time", value)], false);
    }

    /// The plan as it is, without adopting it.
    fn look(&self) -> Plan {
        let seen = Seen {
            desired: &self.desired,
            live: &self.live,
            upstreams: &self.upstreams,
            in_flight: &self.in_flight,
            claimed: self.claimed,
            engine_away: self.away.as_deref(),
            memory: &self.memory,
            outcomes: &self.outcomes,
            now: self.now,
        };
        let plan = plan(&seen);
        assert_eq!(plan, super::plan(&seen), "the same sight gives the same plan");
        plan
    }

    /// One turn: plan and adopt the memory.
    fn turn(&mut self) -> Plan {
        let plan = self.look();
        self.memory = plan.memory.clone();
        self.outcomes.clear();
        plan
    }

    /// Turns until there are no steps, performing them; lives are named L1, L2, ….
    fn settle(&mut self) -> Plan {
        for _ in 0..20 {
            let plan = self.turn();
            if plan.steps.is_empty() {
                return plan;
            }
            for step in plan.steps {
                self.perform(step);
            }
        }
        panic!("it does not settle");
    }

    fn perform(&mut self, step: Step) {
        match step {
            Step::Start { instance, server, .. } => {
                self.started += 1;
                let life = life(&format!("L{}", self.started));
                let desired = Desired {
                    instance: instance.clone(),
                    server: Arc::clone(&server),
                    blocked: None,
                };
                self.found(&life.0, &desired);
                self.outcomes.push(Outcome::Started { instance, life, server });
            }
            Step::Stop { life, .. } | Step::Clear { life, .. } => {
                self.live.retain(|l| l.life != life);
                self.upstreams.remove(&life);
            }
        }
    }

    fn found(&mut self, name: &str, desired: &Desired) {
        self.live.push(Live {
            instance: desired.instance.clone(),
            life: life(name),
            spec: spec_mark("00", desired),
            state: LiveState::Running,
            started: self.now,
        });
    }

    fn handshake(&mut self, name: &str, handshake: Handshake) {
        let instance = self.live.iter().find(|l| l.life.0 == name).unwrap().instance.clone();
        let since = self.now;
        let upstream = Upstream {
            instance,
            handshake,
            tools: Arc::default(),
            since,
            uncertain: 0,
        };
        self.upstreams.insert(life(name), upstream);
    }

    fn ready(&mut self, name: &str) {
        let handshake = Handshake::Ready {
            greeting: Greeting::default(),
            counts: Counts {
                tools: 2,
                ..Counts::default()
            },
        };
        self.handshake(name, handshake);
    }

    fn end(&mut self, name: &str, said: &str) {
        let at = self.now;
        let live = self.live.iter_mut().find(|l| l.life.0 == name).unwrap();
        live.state = LiveState::Ended(Ending {
            code: Some(1),
            signal: None,
            out_of_memory: false,
            last_line: Some(said.to_owned()),
            at,
        });
        self.upstreams.remove(&life(name));
    }

    fn pass(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
    }

    fn lives(&self) -> Vec<&str> {
        self.live.iter().map(|l| l.life.0.as_str()).collect()
    }
}

/// `STATE reason | failures | seconds to the next try`.
fn status(plan: &Plan, now: Timestamp) -> String {
    let all: Vec<String> = plan
        .statuses
        .iter()
        .map(|s| {
            let wait = s
                .next_retry
                .map_or("-".to_owned(), |at| at.duration_since(now).as_secs().to_string());
            format!("{} {}: {} | {} | {wait}", s.instance, s.state, s.reason, s.failures)
        })
        .collect();
    all.join("\n")
}

fn serving(plan: &Plan) -> Vec<&str> {
    let members = plan.fleet.members.iter();
    members
        .filter(|(_, m)| m.serving)
        .map(|(life, _)| life.0.as_str())
        .collect()
}

#[test]
fn what_is_missing_starts_and_is_running_when_it_answered() {
    let mut bench = Bench::of(json!({"command": ["a"]}));
    let first = bench.turn();
    assert_eq!(first.to_string(), "start time/0 · replace none · stop none");
    assert_eq!(status(&first, bench.now), "time/0 PENDING:  | 0 | -");
    bench.perform(first.steps[0].clone());
    let starting = bench.settle();
    assert_eq!(status(&starting, bench.now), "time/0 STARTING:  | 0 | -");
    assert_eq!(starting.to_string(), "start none · replace none · stop none");
    bench.ready("L1");
    let since = bench.now;
    let running = bench.turn();
    assert_eq!(status(&running, bench.now), "time/0 RUNNING:  | 0 | -");
    assert_eq!(
        (running.statuses[0].tools, running.statuses[0].life.clone()),
        (Some(2), Some(life("L1")))
    );
    assert_eq!(serving(&running), ["L1"]);
    assert!(running.steps.is_empty() && running.changes.is_empty());
    bench.pass(60);
    let later = bench.turn();
    assert_eq!(later.statuses[0].since, since, "since changes with the state only");
}

/// Pitfall: a daemon restart that forgets what it knew.
#[test]
fn what_matches_is_adopted_and_what_is_extra_goes() {
    let mut bench = Bench::of(json!({"command": ["a"], "replicas": 2}));
    let two = bench.desired.clone();
    bench.found("X", &two[0]);
    bench.found("Y", &two[1]);
    bench.ready("X");
    bench.ready("Y");
    assert!(bench.settle().changes.is_empty());
    bench.declare(json!({"command": ["a"], "replicas": 0, "description": "off"}));
    let plan = bench.turn();
    assert_eq!(plan.to_string(), "start none · replace none · stop time/1, time/0");
    assert_eq!(
        status(&plan, bench.now),
        "time/1 STOPPING: not wanted any more | 0 | -\ntime/0 STOPPING: not wanted any more | 0 | -"
    );
    assert!(plan.steps.is_empty() && serving(&plan).is_empty(), "both drain first");
    bench.pass(1);
    let stops: Vec<_> = bench.turn().steps.iter().map(|s| s.instance().to_string()).collect();
    assert_eq!(stops, ["time/1", "time/0"], "the highest goes first");
}

/// Pitfall: containers of a deleted server left behind (and their remains).
#[test]
fn nothing_of_a_deleted_server_is_left() {
    let mut bench = Bench::of(json!({"command": ["a"]}));
    bench.settle();
    bench.end("L1", "bye");
    bench.desired.clear();
    let plan = bench.settle();
    assert!(bench.live.is_empty() && plan.statuses.is_empty());
    assert_eq!(bench.turn().memory, Memory::default());
}

/// Pitfalls: crash loops shown as RUNNING; dead containers that stay RUNNING; ERROR instances made anew each tick.
#[test]
fn a_crash_is_an_error_with_its_last_line_and_waits() {
    let mut bench = Bench::of(json!({"command": ["a"]}));
    bench.settle();
    bench.end("L1", "no such flag");
    let plan = bench.settle();
    let want = "time/0 ERROR: exited with code 1: no such flag | 1 | 30";
    assert_eq!(status(&plan, bench.now), want);
    assert!(plan.changes.is_empty() && plan.fleet.members.is_empty());
    assert_eq!(bench.lives(), ["L1"], "the remains stay while it waits");
    bench.pass(29);
    let plan = bench.settle();
    assert_eq!(
        status(&plan, bench.now),
        want.replace("| 30", "| 1"),
        "seen again, counted once"
    );
    assert_eq!(plan.wake_at, Some(bench.now + SignedDuration::from_secs(1)));
    bench.pass(1);
    let again = bench.settle();
    assert_eq!(bench.lives(), ["L2"]);
    assert_eq!(
        status(&again, bench.now),
        "time/0 STARTING: try 2 after: exited with code 1: no such flag | 1 | -"
    );
}

#[test]
fn the_schedule_is_five_times_thirty_seconds_then_five_minutes() {
    let mut bench = Bench::of(json!({"command": ["a"]}));
    bench.settle();
    let mut waits = vec![];
    for n in 1..=7 {
        bench.end(&format!("L{n}"), "x");
        let plan = bench.settle();
        let at = plan.statuses[0].next_retry.unwrap();
        waits.push(at.duration_since(bench.now).as_secs());
        assert_eq!(plan.statuses[0].state, State::Error);
        bench.now = at;
        bench.settle();
    }
    assert_eq!(waits, [30, 30, 30, 30, 30, 300, 300]);
}

#[test]
fn a_healthy_life_comes_back_at_once_and_a_crash_loop_does_not() {
    let mut bench = Bench::of(json!({"command": ["a"]}));
    bench.settle();
    bench.ready("L1");
    bench.turn();
    bench.end("L1", "killed");
    assert_eq!(
        status(&bench.turn(), bench.now),
        "time/0 ERROR: exited with code 1: killed | 1 | -"
    );
    bench.settle();
    assert_eq!(bench.lives(), ["L2"]);
    bench.ready("L2");
    bench.turn();
    bench.pass(200);
    bench.end("L2", "killed");
    assert_eq!(
        status(&bench.settle(), bench.now),
        "time/0 ERROR: exited with code 1: killed | 2 | 30"
    );
    // Five healthy minutes, and the failures are forgotten.
    bench.pass(30);
    bench.settle();
    bench.ready("L3");
    let plan = bench.turn();
    assert_eq!(plan.statuses[0].failures, 2);
    bench.now = plan.wake_at.unwrap();
    assert_eq!(status(&bench.turn(), bench.now), "time/0 RUNNING:  | 0 | -");
    bench.end("L3", "killed");
    bench.settle();
    assert_eq!(bench.lives(), ["L4"]);
}

/// A life that never answers, and one whose conversation failed, are stopped and counted.
#[test]
fn a_silent_life_fails_in_time() {
    let mut bench = Bench::of(json!({"command": ["a"], "startTimeoutSeconds": 20}));
    let plan = bench.settle();
    assert_eq!(plan.fleet.members[&life("L1")].start_timeout_seconds, 20);
    bench.now = plan.wake_at.unwrap();
    let plan = bench.settle();
    assert!(bench.live.is_empty());
    assert_eq!(
        status(&plan, bench.now),
        "time/0 ERROR: did not answer the handshake within 20 s | 1 | 30"
    );
    bench.pass(30);
    bench.settle();
    let reason = "answered nonsense".to_owned();
    bench.handshake(
        "L2",
        Handshake::Failed {
            reason,
            closed: true,
            verdict: Verdict::None,
        },
    );
    bench.settle();
    assert_eq!(bench.lives(), ["L2"], "its last words are awaited");
    bench.pass(1);
    let plan = bench.settle();
    assert!(bench.live.is_empty());
    assert_eq!(status(&plan, bench.now), "time/0 ERROR: answered nonsense | 2 | 30");
    bench.pass(30);
    bench.settle();
    let reason = "wrote a line that is too long".to_owned();
    bench.handshake(
        "L3",
        Handshake::Failed {
            reason,
            closed: false,
            verdict: Verdict::None,
        },
    );
    let plan = bench.settle();
    assert!(bench.live.is_empty());
    assert_eq!(
        status(&plan, bench.now),
        "time/0 ERROR: wrote a line that is too long | 3 | 30"
    );
}

/// P8: retries pinned to a bad commit while the fix waits.
#[test]
fn a_new_declaration_pre_empts_the_wait() {
    for fix in [
        json!({"command": ["b"]}),
        json!({"command": ["a"], "startTimeoutSeconds": 9}),
    ] {
        let mut bench = Bench::of(json!({"command": ["a"]}));
        let bad = Arc::clone(&bench.desired[0].server);
        for _ in 0..7 {
            let plan = bench.turn();
            bench.now = plan.statuses[0].next_retry.unwrap_or(bench.now);
            bench.outcomes.push(Outcome::StartFailed {
                instance: "time/0".parse().unwrap(),
                server: Arc::clone(&bad),
                reason: "needs npx".to_owned(),
            });
        }
        assert_eq!(status(&bench.turn(), bench.now), "time/0 ERROR: needs npx | 7 | 300");
        bench.declare(fix);
        // The old declaration's failure comes in late: it says nothing of the new one.
        bench.outcomes.push(Outcome::StartFailed {
            instance: "time/0".parse().unwrap(),
            server: bad,
            reason: "needs npx".to_owned(),
        });
        let plan = bench.settle();
        assert_eq!(status(&plan, bench.now), "time/0 STARTING:  | 0 | -");
    }
}

#[test]
fn a_rolling_update_makes_before_it_breaks() {
    let mut bench = Bench::of(json!({"command": ["a"]}));
    bench.settle();
    bench.ready("L1");
    bench.turn();
    bench.in_flight.insert(life("L1"), 1);
    bench.declare(json!({"command": ["a"], "env": [{"name": "A", "value": "1"}]}));
    assert_eq!(
        bench.look().to_string(),
        "start none · replace time/0 (env) · stop none"
    );
    let plan = bench.settle();
    assert_eq!((bench.lives(), serving(&plan)), (vec!["L1", "L2"], vec!["L1"]));
    assert_eq!(
        status(&plan, bench.now),
        "time/0 STARTING: the one before serves until it answers | 0 | -"
    );
    // The new one fails: the old one goes on, and the failure shows.
    bench.end("L2", "no A");
    let plan = bench.settle();
    assert_eq!(serving(&plan), ["L1"]);
    assert_eq!(
        status(&plan, bench.now),
        "time/0 ERROR: exited with code 1: no A; the one before goes on serving | 1 | 30"
    );
    bench.pass(30);
    bench.settle();
    assert_eq!(bench.lives(), ["L1", "L3"]);
    // The new one answers: the old one drains, with no new calls, until nothing is in flight.
    bench.ready("L3");
    let plan = bench.settle();
    assert_eq!((bench.lives(), serving(&plan)), (vec!["L1", "L3"], vec!["L3"]));
    assert!(!plan.fleet.members[&life("L1")].serving);
    bench.pass(5);
    bench.settle();
    assert_eq!(bench.lives(), ["L1", "L3"]);
    bench.in_flight.clear();
    assert!(bench.settle().changes.is_empty());
    assert_eq!(bench.lives(), ["L3"]);
}

#[test]
fn a_drain_ends_after_thirty_seconds() {
    let mut bench = Bench::of(json!({"command": ["a"]}));
    bench.settle();
    bench.ready("L1");
    bench.turn();
    bench.in_flight.insert(life("L1"), 1);
    bench.desired.clear();
    let begin = bench.now;
    for _ in 0..100 {
        bench.now = bench.settle().wake_at.unwrap_or(bench.now);
        if bench.live.is_empty() {
            break;
        }
    }
    assert_eq!(bench.now.duration_since(begin).as_secs(), 30);
}

/// Pitfall: two processes on one data file during make-before-break.
#[test]
fn recreate_stops_the_old_one_first() {
    let mut bench = Bench::of(json!({"command": ["a"], "update": "recreate"}));
    bench.settle();
    bench.ready("L1");
    bench.turn();
    bench.declare(json!({"command": ["b"], "update": "recreate"}));
    let plan = bench.settle();
    assert_eq!(plan.to_string(), "start none · replace time/0 (command) · stop none");
    assert!(serving(&plan).is_empty(), "it drains");
    bench.pass(1);
    let plan = bench.turn();
    assert!(matches!(&plan.steps[..], [Step::Stop { .. }]), "{:?}", plan.steps);
    bench.perform(plan.steps[0].clone());
    bench.settle();
    assert_eq!(bench.lives(), ["L2"]);
}

/// A writable volume is never in two lives at once, whatever `update` says.
#[test]
fn a_writable_volume_is_recreated() {
    for read_only in [false, true] {
        let declared = |program: &str| {
            let volume = json!({"name": "data", "mountPath": "/data", "readOnly": read_only});
            json!({"command": [program], "update": "rolling", "volumes": [volume]})
        };
        let mut bench = Bench::of(declared("a"));
        bench.settle();
        bench.ready("L1");
        bench.turn();
        bench.declare(declared("b"));
        bench.settle();
        bench.pass(1);
        if read_only {
            assert_eq!(bench.lives(), ["L1", "L2"]);
            continue;
        }
        let plan = bench.turn();
        assert!(matches!(&plan.steps[..], [Step::Stop { .. }]), "{:?}", plan.steps);
        bench.perform(plan.steps[0].clone());
        bench.settle();
        assert_eq!(bench.lives(), ["L2"]);
    }
}

/// Going back while the new one starts, or while the old one drains, restarts nothing.
#[test]
fn a_change_taken_back_keeps_the_old_life() {
    for drained in [false, true] {
        let mut bench = Bench::of(json!({"command": ["a"]}));
        bench.settle();
        bench.ready("L1");
        bench.turn();
        bench.declare(json!({"command": ["b"]}));
        bench.settle();
        if drained {
            bench.ready("L2");
            bench.settle();
        }
        bench.declare(json!({"command": ["a"]}));
        bench.settle();
        bench.pass(1);
        let plan = bench.settle();
        assert_eq!((bench.lives(), serving(&plan)), (vec!["L1"], vec!["L1"]));
    }
}

/// An empty daemon that removes the containers it should adopt.
#[test]
fn nothing_is_touched_before_the_store_is_claimed() {
    let mut bench = Bench::of(json!({"command": ["a"], "replicas": 2}));
    let other = desired([declared("gone", json!({"command": ["z"]}))], false);
    let two = bench.desired.clone();
    bench.found("X", &two[0]);
    bench.found("Z", &other[0]);
    bench.ready("X");
    bench.end("Z", "x");
    bench.claimed = false;
    let plan = bench.settle();
    assert_eq!(bench.lives(), ["X", "Z", "L1"], "what is missing may start");
    assert_eq!(
        plan.unclaimed.iter().map(|l| l.life.0.as_str()).collect::<Vec<_>>(),
        ["X", "Z"]
    );
    assert_eq!(
        plan.fleet.members.keys().map(|l| l.0.as_str()).collect::<Vec<_>>(),
        ["L1"]
    );
    assert_eq!(plan.to_string(), "start none · replace none · stop none");
    bench.claimed = true;
    let plan = bench.settle();
    assert_eq!((bench.lives(), serving(&plan)), (vec!["X", "L1"], vec!["L1", "X"]));
}

#[test]
fn what_needs_docker_is_an_error_and_is_not_started() {
    let mut bench = Bench::of(json!({"command": ["a"]}));
    bench.settle();
    bench.ready("L1");
    bench.turn();
    bench.declare(json!({"dockerImage": "nginx"}));
    assert_eq!(bench.look().to_string(), "start none · replace none · stop time/0");
    bench.settle();
    bench.pass(1);
    let plan = bench.settle();
    assert!(bench.live.is_empty());
    assert_eq!(status(&plan, bench.now), "time/0 ERROR: needs Docker | 0 | -");
    assert_eq!(plan.to_string(), "start none · replace none · stop none");
}

/// Docker itself restarting: nothing is done, nothing is counted, nothing is let go of.
#[test]
fn an_engine_that_is_away_changes_nothing() {
    let mut bench = Bench::of(json!({"command": ["a"]}));
    bench.settle();
    bench.ready("L1");
    bench.turn();
    bench.away = Some("engine does not answer".to_owned());
    let plan = bench.settle();
    assert_eq!(plan.to_string(), "unknown (engine does not answer)");
    assert_eq!(serving(&plan), ["L1"]);
    let kept = std::mem::take(&mut bench.live);
    let plan = bench.settle();
    assert_eq!(
        status(&plan, bench.now),
        "time/0 PENDING: engine does not answer | 0 | -"
    );
    bench.live = kept;
    bench.away = None;
    assert_eq!(status(&bench.settle(), bench.now), "time/0 RUNNING:  | 0 | -");
    assert_eq!(bench.lives(), ["L1"]);
}

/// Races that start the same server twice.
#[test]
fn a_start_that_is_not_observed_yet_is_awaited() {
    let mut bench = Bench::of(json!({"command": ["a"]}));
    let step = bench.turn().steps.remove(0);
    bench.perform(step);
    let hidden = std::mem::take(&mut bench.live);
    let plan = bench.turn();
    assert!(plan.steps.is_empty());
    bench.live = hidden;
    assert!(bench.turn().steps.is_empty());
    // And a refusal is no failure.
    let mut bench = Bench::of(json!({"command": ["a"]}));
    bench.turn();
    bench.outcomes.push(Outcome::StartRefused {
        instance: "time/0".parse().unwrap(),
    });
    let plan = bench.turn();
    assert!(plan.steps.is_empty() && plan.statuses[0].failures == 0);
    bench.now = plan.wake_at.unwrap();
    assert_eq!(bench.turn().steps.len(), 1);
}

#[test]
fn a_life_that_somebody_removed_counts_as_an_exit() {
    let mut bench = Bench::of(json!({"command": ["a"]}));
    bench.settle();
    bench.turn();
    bench.live.clear();
    assert_eq!(
        status(&bench.turn(), bench.now),
        "time/0 ERROR: was removed by somebody else | 1 | 30"
    );
}

#[test]
fn a_stop_that_fails_is_tried_again_later() {
    let mut bench = Bench::of(json!({"command": ["a"]}));
    bench.settle();
    bench.desired.clear();
    assert_eq!(bench.turn().steps.len(), 1);
    bench.outcomes.push(Outcome::StopFailed {
        instance: "time/0".parse().unwrap(),
        life: life("L1"),
        reason: "no".to_owned(),
    });
    let plan = bench.turn();
    assert!(plan.steps.is_empty());
    bench.now = plan.wake_at.unwrap();
    bench.settle();
    assert!(bench.live.is_empty());
}

/// Two of the same (a start that was repeated after a crash of mcpd): one stays.
#[test]
fn a_second_life_of_the_same_goes() {
    let mut bench = Bench::of(json!({"command": ["a"]}));
    let one = bench.desired[0].clone();
    bench.found("X", &one);
    bench.found("Y", &one);
    bench.ready("Y");
    let plan = bench.settle();
    assert_eq!((bench.lives(), serving(&plan)), (vec!["Y"], vec!["Y"]));
}

/// A step that was not performed, because another one of its instance was under way, is not remembered as given: a
/// declaration that goes back finds its life as it was.
#[test]
fn a_step_that_was_not_given_is_forgotten() {
    let mut bench = Bench::of(json!({"command": ["a"], "update": "recreate"}));
    let first = bench.settle();
    let mut memory = first.memory.clone();
    let stop = Step::Stop {
        instance: "time/0".parse().unwrap(),
        life: life("L1"),
        reason: "command".into(),
    };
    memory
        .0
        .get_mut(stop.instance())
        .unwrap()
        .lives
        .get_mut(&life("L1"))
        .unwrap()
        .ending = true;
    memory.not_given(&stop);
    assert_eq!(memory, first.memory);
}

/// `mcpctl why` stops at the link that broke, so the status says which.
#[test]
fn a_failure_names_the_link_that_broke() {
    let failed = |reason: &str| Handshake::Failed {
        reason: reason.to_owned(),
        closed: false,
        verdict: Verdict::None,
    };
    for (handshake, ends, want) in [
        (None, true, ChainLink::Container),
        (
            Some(failed("the server did not answer initialize within 5 s")),
            false,
            ChainLink::Handshake,
        ),
        (
            Some(failed("the server refused tools/list: no")),
            false,
            ChainLink::Tools,
        ),
    ] {
        let mut bench = Bench::of(json!({"command": ["a"]}));
        bench.settle();
        let life = bench.live[0].life.clone();
        if let Some(handshake) = handshake {
            let upstream = Upstream {
                instance: bench.live[0].instance.clone(),
                handshake,
                tools: Arc::default(),
                since: bench.now,
                uncertain: 0,
            };
            bench.upstreams.insert(life, upstream);
        }
        if ends {
            bench.live[0].state = LiveState::Ended(Ending {
                code: Some(3),
                signal: None,
                out_of_memory: false,
                last_line: None,
                at: bench.now,
            });
        }
        let plan = bench.settle();
        assert_eq!(plan.statuses[0].failed_at, Some(want));
        assert_eq!(plan.statuses[0].state, State::Error);
        // A new declaration ends what was said of the old one.
        bench.declare(json!({"command": ["b"]}));
        assert_eq!(bench.turn().statuses[0].failed_at, None);
    }
}

/// A server that the question for its era has upset did not fail: a fresh process takes its place at once, uncounted. Once:
/// one that ends by itself is seen to.
#[test]
fn a_server_that_a_question_upset_is_replaced_and_has_not_failed() {
    let upset = |closed| Handshake::Failed {
        reason: "the server closed its output".to_owned(),
        closed,
        verdict: Verdict::Upset,
    };
    for ended in [false, true] {
        let mut bench = Bench::of(json!({"command": ["a"]}));
        bench.settle();
        if ended {
            bench.end("L1", "unexpected message");
            // The end is seen first, and what the gateway makes of it is awaited.
            let at = bench.now;
            bench.live[0].started = at;
            let instance = bench.live[0].instance.clone();
            let upstream = Upstream {
                instance,
                handshake: Handshake::Connecting,
                since: at,
                uncertain: 0,
                tools: Arc::default(),
            };
            bench.upstreams.insert(life("L1"), upstream);
            let waiting = bench.turn();
            assert_eq!(status(&waiting, bench.now), "time/0 PENDING:  | 0 | -");
            assert!(waiting.steps.is_empty() && waiting.fleet.members.contains_key(&life("L1")));
            assert_eq!(waiting.wake_at, Some(at + SignedDuration::from_secs(1)));
        }
        let handshake = upset(true);
        let instance = bench.live[0].instance.clone();
        let since = bench.now;
        bench.upstreams.insert(
            life("L1"),
            Upstream {
                instance,
                handshake,
                since,
                uncertain: 0,
                tools: Arc::default(),
            },
        );
        let first = bench.settle();
        assert_eq!(bench.lives(), ["L2"], "ended: {ended}");
        assert_eq!(status(&first, bench.now), "time/0 STARTING:  | 0 | -");
        // The second one has no excuse.
        bench.handshake("L2", upset(false));
        let second = bench.settle();
        assert!(bench.lives().is_empty());
        let want = "time/0 ERROR: the server closed its output | 1 | 30";
        assert_eq!(status(&second, bench.now), want);
        // Nor has what was ready meanwhile lost its own.
        bench.pass(30);
        bench.settle();
        bench.ready("L3");
        bench.settle();
        bench.handshake("L3", upset(true));
        let third = bench.settle();
        assert_eq!((bench.lives(), third.statuses[0].failures), (vec!["L4"], 1));
    }
}

/// A life whose end the gateway never makes anything of has failed after all.
#[test]
fn an_end_is_not_awaited_for_long() {
    let mut bench = Bench::of(json!({"command": ["a"]}));
    bench.settle();
    bench.handshake("L1", Handshake::Connecting);
    let connecting = bench.upstreams.clone();
    bench.end("L1", "oops");
    bench.upstreams = connecting;
    assert!(bench.turn().steps.is_empty());
    bench.pass(1);
    let plan = bench.settle();
    assert_eq!(
        status(&plan, bench.now),
        "time/0 ERROR: exited with code 1: oops | 1 | 30"
    );
}

#[test]
fn a_server_whose_questions_reach_nobody_is_told_what_it_needs() {
    let mut bench = Bench::of(json!({"command": ["a"]}));
    bench.settle();
    bench.ready("L1");
    assert_eq!(bench.settle().statuses[0].reason, "");
    bench.upstreams.get_mut(&life("L1")).unwrap().uncertain = 3;
    let told = bench.settle();
    assert_eq!(told.statuses[0].state, State::Running);
    assert!(told.statuses[0].reason.starts_with("needs \"isolation: session\": "));
}
