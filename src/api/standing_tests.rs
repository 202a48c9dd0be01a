//! Chains and conditions, case by case.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::engine::Report;
use crate::kit::{Digest, Position};
use crate::record::{
    Actor, Change, Conflict, Counts, Greeting, Handshake, LedgerRow, Life, PendingExport, Row, StoreView, Upstream,
    Upstreams,
};
use crate::resource::{Document, Id, Placed, Tree};
use crate::wire::{Rung, Standing};

use super::standing::{Facts, status};

const AT: &str = "2026-11-24T06:00:00Z";

/// What is known, with a hand on everything: server/time, project/demo that shows it, both agreed on.
struct Known {
    view: StoreView,
    status: Value,
    tree: Tree,
    conflict: Option<Conflict>,
    upstreams: Upstreams,
    read: bool,
}

fn id(name: &str) -> Id {
    name.parse().unwrap()
}

fn document(name: &str, spec: &Value) -> Arc<Document> {
    Arc::new(Document::new(id(name), spec).unwrap())
}

impl Known {
    fn new(instances: &Value) -> Self {
        let mut known = Self {
            view: StoreView::default(),
            status: json!({"version": "0", "cluster": "c", "runtime": {"name": "process", "available": true},
                "source": {"kind": "hosted", "location": "", "head": "3fa2c1e9aa", "state": "Synced", "lastSyncAt": AT, "lastError": null, "pendingCount": 0},
                "revision": 7, "resources": 2, "conflicts": 0, "held": [], "diagnostics": [], "converged": true, "instances": instances}),
            tree: Tree::default(),
            conflict: None,
            upstreams: Upstreams::new(),
            read: true,
        };
        known.declare(&document("server/time", &json!({"command": ["x"]})));
        known.declare(&document("project/demo", &json!({"servers": ["time"]})));
        known
    }

    fn declare(&mut self, document: &Arc<Document>) {
        let id = document.id.clone();
        let path = format!("{id}.yaml");
        let digest = Digest::of(b"");
        let row = Row {
            document: Some(Arc::clone(document)),
            revision: 7,
        };
        let ledger = LedgerRow {
            digest,
            commit: "3fa2c1e9aa".into(),
            revision: 7,
            path: path.clone(),
            document: None,
        };
        let placed = Placed {
            document: Arc::clone(document),
            digest,
            path,
            position: Position { line: 3, column: 1 },
        };
        self.view.rows.insert(id.clone(), row);
        self.view.ledger.insert(id.clone(), ledger);
        self.tree.documents.insert(placed);
    }

    fn pend(&mut self, name: &str) {
        self.view.outbox.push(PendingExport {
            revision: 8,
            at: AT.parse().unwrap(),
            actor: Actor {
                name: "admin".into(),
                door: "api".into(),
            },
            message: "update".into(),
            changes: vec![Change {
                id: id(name),
                before: None,
                after: None,
            }],
            notes: vec![],
            attempt: None,
        });
    }

    fn told<T>(&self, name: &str, tell: impl Fn(Facts<'_>) -> T) -> T {
        let report = Report {
            status: serde_json::from_value(self.status.clone()).unwrap(),
            tree: Arc::new(self.tree.clone()),
            served: 0,
            replaced: false,
            read: self.read,
        };
        let document = self.view.rows[&id(name)].document.clone().unwrap();
        let status = status(&document, &self.view, &report);
        tell(Facts {
            document: &document,
            revision: 7,
            status: &status,
            view: &self.view,
            report: &report,
            conflicts: self.conflict.as_slice(),
            upstreams: &self.upstreams,
        })
    }

    fn chain(&self, name: &str) -> String {
        let rungs = self.told(name, |facts| facts.chain());
        let one = |rung: &Rung| {
            let mark = match rung.standing {
                Standing::Ok => "ok",
                Standing::Waiting => "..",
                Standing::Broken => "!!",
            };
            format!("{mark} {}: {}", rung.link, rung.message)
        };
        rungs.iter().map(one).collect::<Vec<_>>().join("\n")
    }

    fn conditions(&self, name: &str) -> BTreeMap<String, String> {
        let all = self.told(name, |facts| facts.conditions()).into_iter();
        all.map(|it| (it.kind, format!("{:?} {} {}", it.status, it.reason, it.message)))
            .collect()
    }
}

fn instance(state: &str, more: &Value) -> Value {
    let mut it = json!({"instance": "time/0", "state": state, "since": AT, "failures": 0});
    it.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    it
}

const AGREED: &str = "ok commit: server/time.yaml:3@3fa2c1e\nok plan: in force since revision 7";

/// The way of an instance stops where it is, and says nothing of what follows.
#[test]
fn a_chain_stops_where_it_broke() {
    let none = json!({});
    for (instance, want) in [
        (
            instance("RUNNING", &json!({"life": "L1", "tools": 2})),
            "ok container: life L1\nok handshake: fake 1, MCP 2025-11-25\nok tools: 2 tools",
        ),
        (instance("PENDING", &none), ".. container: not started yet"),
        (
            instance("PENDING", &json!({"reason": "waits for the one before to stop"})),
            ".. container: waits for the one before to stop",
        ),
        (
            instance("STARTING", &json!({"life": "L2"})),
            "ok container: life L2\n.. handshake: started; its first answer is awaited",
        ),
        (
            instance(
                "STARTING",
                &json!({"life": "L2", "failedAt": "container", "reason": "try 2 after: exited"}),
            ),
            ".. container: try 2 after: exited",
        ),
        (
            instance("ERROR", &json!({"reason": "needs uvx"})),
            "!! container: needs uvx",
        ),
        (
            instance(
                "ERROR",
                &json!({"reason": "exited with code 3", "failedAt": "container"}),
            ),
            "!! container: exited with code 3",
        ),
        (
            instance("ERROR", &json!({"reason": "no answer", "failedAt": "handshake"})),
            "ok container: starts\n!! handshake: no answer",
        ),
        (
            instance("ERROR", &json!({"reason": "no tools/list", "failedAt": "tools"})),
            "ok container: starts\nok handshake: answered\n!! tools: no tools/list",
        ),
        (
            instance("STOPPING", &json!({"reason": "not wanted any more"})),
            ".. container: not wanted any more",
        ),
    ] {
        let mut known = Known::new(&json!([instance]));
        let upstream = Upstream {
            instance: "time/0".parse().unwrap(),
            handshake: Handshake::Ready {
                greeting: Greeting {
                    protocol: "2025-11-25".into(),
                    server: "fake 1".into(),
                    ..Greeting::default()
                },
                counts: Counts {
                    tools: 2,
                    ..Counts::default()
                },
            },
            tools: Arc::default(),
            since: AT.parse().unwrap(),
            uncertain: 0,
        };
        known.upstreams.insert(Life("L1".into()), upstream);
        assert_eq!(known.chain("server/time"), format!("{AGREED}\n{want}"));
    }
    let mut known = Known::new(&json!([]));
    assert_eq!(
        known.chain("server/time"),
        format!("{AGREED}\n.. container: not planned yet")
    );
    known.declare(&document("server/time", &json!({"command": ["x"], "replicas": 0})));
    assert!(
        known
            .chain("server/time")
            .ends_with("ok container: none is wanted: replicas is 0")
    );
    assert!(
        known
            .chain("project/demo")
            .ends_with("ok plan: in force since revision 7")
    );
}

/// What keeps a declaration from being taken over is told before what runs.
#[test]
fn a_chain_begins_at_the_commit() {
    let running = json!([instance("RUNNING", &json!({"life": "L1", "tools": 2}))]);
    let first = |known: &Known, name: &str| {
        let chain = known.chain(name);
        let ill = chain.lines().find(|line| !line.starts_with("ok")).map(str::to_owned);
        (ill.unwrap_or_default(), chain.lines().count())
    };
    // On its way to the repository: what runs is told all the same.
    let mut known = Known::new(&running);
    known.pend("server/time");
    assert_eq!(
        first(&known, "server/time"),
        (".. commit: revision 8 is not in the repository yet".into(), 5)
    );
    assert_eq!(first(&known, "project/demo").0, "");
    known.status["source"]["state"] = json!("Failing");
    known.status["source"]["lastError"] = json!("no space left");
    assert_eq!(
        first(&known, "server/time"),
        (
            "!! commit: revision 8 is not in the repository yet: no space left".into(),
            1
        )
    );
    // Held, with its place.
    let mut known = Known::new(&running);
    known.status["held"] = json!([{"resource": "server/time", "reason": "server/time.yaml can't be used",
        "diagnostic": {"file": "server/time.yaml", "line": 4, "column": 1, "message": "unknown field"}}]);
    assert_eq!(
        first(&known, "server/time"),
        (
            "!! plan: held, what was in force stays: server/time.yaml:4:1: unknown field".into(),
            2
        )
    );
    let diagnostic = known.told("server/time", |facts| facts.chain())[1].diagnostic.clone();
    assert_eq!(diagnostic.unwrap().line, 4);
    // In conflict.
    let mut known = Known::new(&running);
    let side = |text: &str| Some(document("server/time", &json!({"command": ["x"], "description": text})));
    known.conflict = Some(Conflict {
        number: 1,
        fields: vec![],
        reason: None,
        id: id("server/time"),
        base: side("a"),
        repository: side("b"),
        store: side("c"),
        commit: "3fa2c1e".into(),
        place: None,
        at: AT.parse().unwrap(),
        revision: 6,
    });
    let (line, count) = first(&known, "server/time");
    assert!(
        line.starts_with("!! plan: in conflict: description: the store's \"c\" kept, yours \"b\""),
        "{line}"
    );
    assert_eq!(count, 2);
    // The whole of the source waits for a person; what it would not change is none the worse.
    let mut known = Known::new(&running);
    known.status["source"]["state"] = json!("WaitingForApproval");
    known.status["source"]["lastError"] = json!("3 of 4 would be deleted");
    assert_eq!(first(&known, "server/time").0, "");
    known.tree.documents.remove(&id("server/time"));
    assert_eq!(
        first(&known, "server/time"),
        ("!! plan: 3 of 4 would be deleted".into(), 2)
    );
    // Never agreed on.
    let mut known = Known::new(&running);
    known.view.ledger = crate::record::ById::default();
    assert_eq!(
        first(&known, "server/time").0,
        ".. commit: the repository has not been agreed with yet"
    );
}

#[test]
fn conditions_say_the_same() {
    let mut known = Known::new(&json!([instance("RUNNING", &json!({"life": "L1", "tools": 2}))]));
    let of = |known: &Known, name: &str, kind: &str| known.conditions(name)[kind].clone();
    assert_eq!(
        of(&known, "server/time", "Synced"),
        "True Committed server/time.yaml:3@3fa2c1e"
    );
    assert_eq!(of(&known, "server/time", "Held"), "False Usable ");
    assert_eq!(of(&known, "server/time", "Conflicted"), "False Agreed ");
    assert_eq!(of(&known, "server/time", "Ready"), "True Running 1/1");
    assert_eq!(of(&known, "project/demo", "Ready"), "True Running 1 server");
    known.read = false;
    assert!(of(&known, "server/time", "Synced").starts_with("Unknown NotRead"));
    known.pend("server/time");
    assert!(of(&known, "server/time", "Synced").starts_with("False Pending revision 8"));
    known.status["runtime"] = json!({"name": "docker", "available": false, "reason": "no engine"});
    assert_eq!(of(&known, "server/time", "Ready"), "Unknown RuntimeAway no engine");
    let known = Known::new(&json!([instance("ERROR", &json!({"reason": "exited"}))]));
    assert_eq!(of(&known, "server/time", "Ready"), "False Failed exited");
    assert_eq!(
        of(&known, "project/demo", "Ready"),
        "False NotRunning server/time is ERROR"
    );
    let member = known.told("project/demo", |facts| facts.status.servers[0].clone());
    assert_eq!((member.ready.as_str(), member.reason.as_str()), ("0/1", "exited"));
}
