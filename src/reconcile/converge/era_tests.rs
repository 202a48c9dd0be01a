//! What the eras of servers mean for their lives: one that the question for its era upset, one whose questions reach nobody.

use std::sync::Arc;

use serde_json::json;

use super::tests::{Bench, life, status};
use crate::kit::time::SignedDuration;
use crate::record::{Handshake, State, Upstream, Verdict};

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
