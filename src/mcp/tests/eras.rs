//! What a process says when it is asked for its era, and what becomes of it.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::record::{Capability, Era, MODERN};

const SOON: Duration = Duration::from_millis(30);

fn refuse(fake: &Fake, message: &Value, code: i32) {
    let error = json!({"code": code, "message": "no"});
    fake.say(&json!({"jsonrpc": "2.0", "id": message["id"], "error": error}));
}

fn is(message: &Value, method: &str) -> bool {
    message["method"] == method
}

/// What it was told until it had a verdict, and that verdict: the protocol, or the error.
async fn asked(
    made: (Fake, Pipes),
    opening: Opening,
    within: Duration,
) -> (Vec<String>, Result<(Greeting, Lists), HandshakeError>) {
    let (fake, pipes) = made;
    let connection = open(pipes);
    let result = greet(&connection, opening, within).await;
    let heard = locked(&fake.heard).clone();
    let methods = heard
        .iter()
        .filter_map(|message| message["method"].as_str())
        .map(str::to_owned)
        .collect();
    (methods, result)
}

/// What it is, the server, how it is spoken to first, what it hears, and what comes of it.
type Row<'t> = (&'t str, (Fake, Pipes), Opening, Vec<&'t str>, &'t str);
type Script = Box<dyn Fn(&Fake, &Value) + Send + Sync>;

/// Each way in which the question can be answered; with whether a fresh process is to take its place.
#[tokio::test]
async fn every_answer_to_the_question_has_its_outcome() {
    let modern = Opening::Process(LONG);
    let impatient = Opening::Process(SOON);
    let legacy: fn(Script) -> (Fake, Pipes) = |script| Fake::scripted(move |fake, message| script(fake, message));
    let standard = |fake: &Fake, message: &Value| fake.standard(message);
    let but = |method: &'static str, code: i32| -> Script {
        Box::new(move |fake, message| {
            if is(message, method) {
                refuse(fake, message, code);
            } else {
                fake.standard(message);
            }
        })
    };
    let silent_but = |method: &'static str| -> Script {
        Box::new(move |fake, message| {
            if is(message, method) {
                fake.standard(message);
            }
        })
    };
    let closing: Script = Box::new(|fake, _| fake.close());
    let dying_late: Script = Box::new(|fake, message| {
        if is(message, "initialize") {
            fake.close();
        } else {
            fake.standard(message);
        }
    });
    let refusing: Script = Box::new(|fake, message| refuse(fake, message, -32600));
    let versions = |data: Value| -> Script {
        Box::new(move |fake, message| {
            if is(message, "server/discover") {
                let error = json!({"code": -32022, "message": "no", "data": {"supported": data.clone()}});
                fake.say(&json!({"jsonrpc": "2.0", "id": message["id"], "error": error}));
            } else {
                fake.standard(message);
            }
        })
    };
    let dual: Script = Box::new(|fake, message| {
        if is(message, "server/discover") {
            let can = json!({"resources": {}});
            fake.answer(
                &message["id"],
                &json!({"supportedVersions": ["2025-11-25", MODERN], "capabilities": can}),
            );
        } else {
            fake.standard(message);
        }
    });
    // It takes what it is told in the other order, and knows one of the two.
    let slow_modern = || {
        let question = Mutex::new(Value::Null);
        Fake::modern(move |fake, message| match message["method"].as_str() {
            Some("server/discover") => *locked(&question) = message.clone(),
            Some("initialize") => {
                refuse(fake, message, -32601);
                fake.standard(&locked(&question));
            }
            _ => fake.standard(message),
        })
    };
    let (discover, initialize, all) = ("server/discover", "initialize", "notifications/initialized");
    let table: Vec<Row> = vec![
        (
            "modern",
            Fake::modern(standard),
            modern,
            vec![discover, "tools/list"],
            MODERN,
        ),
        (
            "both",
            legacy(dual),
            modern,
            vec![discover, "resources/list", "resources/templates/list"],
            MODERN,
        ),
        (
            "unknown",
            legacy(but(discover, -32601)),
            modern,
            vec![discover, initialize, all, "tools/list"],
            "2025-11-25",
        ),
        (
            "not initialised",
            legacy(but(discover, -32602)),
            modern,
            vec![discover, initialize, all, "tools/list"],
            "2025-11-25",
        ),
        (
            "another version",
            legacy(versions(json!(["2027-01-01"]))),
            modern,
            vec![discover],
            "the server speaks MCP \"2027-01-01\"",
        ),
        (
            "a legacy version",
            legacy(versions(json!(["2027-01-01", "2025-06-18"]))),
            modern,
            vec![discover, initialize, all, "tools/list"],
            "2025-11-25",
        ),
        (
            "no header",
            legacy(but(discover, -32020)),
            modern,
            vec![discover],
            "the server refused server/discover: no",
        ),
        (
            "silent, then legacy",
            legacy(silent_but(initialize)),
            impatient,
            vec![discover, initialize, all, "tools/list"],
            "no tools",
        ),
        (
            "silent, then modern",
            slow_modern(),
            impatient,
            vec![discover, initialize, "tools/list"],
            MODERN,
        ),
        (
            "silent",
            legacy(Box::new(|_, _| {})),
            impatient,
            vec![discover, initialize],
            "the server did not answer initialize within 1 s",
        ),
        (
            "closes",
            legacy(closing),
            modern,
            vec![discover],
            "upset: the server closed its output",
        ),
        (
            "closes late",
            legacy(dying_late),
            modern,
            vec![discover, initialize],
            "upset: the server closed its output",
        ),
        (
            "refuses all",
            legacy(refusing),
            modern,
            vec![discover, initialize],
            "upset: the server refused initialize: no",
        ),
        (
            "remembered",
            legacy(Box::new(standard)),
            Opening::Remembered,
            vec![initialize, all, "tools/list"],
            "2025-11-25",
        ),
        (
            "remembered wrongly",
            Fake::modern(standard),
            Opening::Remembered,
            vec![initialize, discover, "tools/list"],
            MODERN,
        ),
        (
            "remembered, refuses",
            legacy(but(initialize, -32600)),
            Opening::Remembered,
            vec![initialize, discover],
            "the server refused initialize: no",
        ),
        (
            "old transport",
            legacy(Box::new(standard)),
            Opening::Legacy,
            vec![initialize, all, "tools/list"],
            "2025-11-25",
        ),
    ];
    for (name, made, opening, want, verdict) in table {
        let within = if name.starts_with("silent") {
            Duration::from_millis(400)
        } else {
            LONG
        };
        let (methods, result) = asked(made, opening, within).await;
        assert_eq!(methods, want, "{name}");
        let shown = match result {
            Ok((greeting, _)) => greeting.protocol,
            Err(HandshakeError::Upset(error)) => format!("upset: {error}"),
            Err(HandshakeError::Silent {
                method: "tools/list", ..
            }) => "no tools".to_owned(),
            Err(error) => error.to_string(),
        };
        assert!(shown.starts_with(verdict), "{name}: {shown}");
    }
}

/// pitfalls.md, Stdio: "servers that exit on any first request but initialize": nothing but `initialize` is said first where
/// that is remembered.
#[tokio::test]
async fn a_server_that_bears_no_question_hears_none_where_that_is_remembered() {
    let strict = |fake: &Fake, message: &Value| {
        if locked(&fake.heard)[0]["method"] == "initialize" {
            fake.standard(message);
        } else {
            fake.close();
        }
    };
    let (_, pipes) = Fake::scripted(strict);
    let upset = greet(&open(pipes), PROBED, LONG).await;
    assert!(matches!(upset, Err(HandshakeError::Upset(_))), "{upset:?}");
    let (_fake, pipes) = Fake::scripted(strict);
    assert!(greet(&open(pipes), Opening::Remembered, LONG).await.is_ok());
}

#[tokio::test]
async fn a_modern_server_hears_of_each_request_who_asks() {
    let (fake, pipes) = Fake::modern(|fake, message| {
        if is(message, "tools/list") && message["params"]["cursor"].is_null() {
            fake.answer(
                &message["id"],
                &json!({"tools": [tool("a")], "nextCursor": "2", "ttlMs": 5}),
            );
        } else {
            fake.standard(message);
        }
    });
    fake.set(Kind::Tools, vec![tool("b")]);
    let connection = open(pipes);
    let (greeting, lists) = greet(&connection, PROBED, LONG).await.unwrap();
    assert_eq!((greeting.era(), connection.era()), (Era::Modern, Era::Modern));
    assert_eq!(
        (&*greeting.server, keys(&lists, Kind::Tools)),
        ("fake 2", vec!["a", "b"])
    );
    assert!(greeting.can.contains(&Capability::ToolsChanged));
    for message in locked(&fake.heard).iter() {
        let own = &message["params"]["_meta"];
        assert_eq!(own[meta::PROTOCOL], MODERN, "{message}");
        assert_eq!(own[meta::CLIENT]["name"], "mcpctl");
        assert!(own[meta::CAPABILITIES].is_object());
    }
    let again = Fake::modern(Fake::standard);
    again.0.set(Kind::Tools, vec![tool("c")]);
    let connection = open(again.1);
    let lists = handshake::read_lists(&connection, &greeting, LONG).await.unwrap();
    assert_eq!(keys(&lists, Kind::Tools), ["c"]);
    assert!(
        again.0.heard("server/discover").is_empty(),
        "what is remembered is not asked"
    );
}

/// Streams that are not open any more, answers that nobody waits for, notifications of nobody.
#[tokio::test]
async fn what_belongs_to_no_open_stream_is_not_heard() {
    let answers = std::sync::Arc::new(AtomicUsize::new(0));
    let counted = std::sync::Arc::clone(&answers);
    let (fake, pipes) = Fake::modern(move |fake, message| {
        // Each answer twice.
        for _ in 0..2 {
            fake.standard(message);
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let connection = open(pipes);
    greet(&connection, PROBED, LONG).await.unwrap();
    let changed = connection.changed();
    let of = |stream: Value| json!({"_meta": {meta::SUBSCRIPTION: stream}, "uri": "x:1"});
    for stream in [json!(7), json!("7"), json!(null), json!({})] {
        for method in [
            "notifications/tools/list_changed",
            "notifications/resources/updated",
            ACKNOWLEDGED,
        ] {
            fake.say(&json!({"jsonrpc": "2.0", "method": method, "params": of(stream.clone())}));
        }
    }
    until("all is heard", || connection.ignored() == 2 + 12).await;
    assert_eq!(*changed.borrow().of(Kind::Tools), 0);
    // The id of a request that is no stream names none.
    let call = ask(&connection, json!({"name": "slow", "_meta": meta::own()}))
        .await
        .unwrap();
    until("the call", || !fake.heard("tools/call").is_empty()).await;
    let id = fake.heard("tools/call")[0]["id"].clone();
    fake.say(&json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed", "params": of(id.clone())}));
    fake.say(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}}));
    until("those too", || connection.ignored() == 2 + 12 + 2).await;
    assert_eq!((*changed.borrow().of(Kind::Tools), connection.in_flight()), (0, 1));
    drop(call);
    // A sloppy server that names no stream is believed.
    fake.say(&json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}));
    until("the change", || *changed.borrow().of(Kind::Tools) == 1).await;
}

#[tokio::test]
async fn a_standing_request_is_not_in_flight_and_may_be_taken_back() {
    let (fake, pipes) = Fake::modern(Fake::standard);
    let connection = open(pipes);
    greet(&connection, PROBED, LONG).await.unwrap();
    for gracefully in [true, false] {
        let params = json!({"notifications": {"toolsListChanged": true}, "_meta": meta::own()});
        let wish = Wish {
            asides: true,
            standing: true,
            ..Wish::default()
        };
        let line = |id| envelope::request(id, "subscriptions/listen", &params);
        let mut call = connection.call(line, wish).await.unwrap();
        let Heard::Notice(notice) = call.heard().await else {
            panic!("no acknowledgement")
        };
        assert_eq!(&*notice.method, ACKNOWLEDGED);
        assert_eq!(connection.in_flight(), 0);
        fake.say_changed(Kind::Tools);
        let times = if gracefully { 1 } else { 2 };
        let mut changed = connection.changed();
        changed
            .wait_for(|changed| *changed.of(Kind::Tools) == times)
            .await
            .unwrap();
        fake.end_listens(gracefully);
        let Heard::Answer(answer) = call.heard().await else {
            panic!("no end")
        };
        assert_eq!(answer.is_ok(), gracefully);
    }
    assert!(fake.heard("notifications/cancelled").is_empty());
}

/// Who asks for the roots while nobody calls anything is refused, and is not taken for one that needs to know who calls.
#[tokio::test]
async fn asking_for_the_roots_of_nobody_is_no_sign() {
    let (fake, pipes) = Fake::with_tools(&["slow"]);
    let connection = open(pipes);
    greet(&connection, PROBED, LONG).await.unwrap();
    let uncertain = connection.uncertain();
    let question = |id: &str, method: &str| {
        fake.say(&json!({"jsonrpc": "2.0", "id": id, "method": method}));
        id.to_owned()
    };
    let refused = async |id: String| {
        let is_refusal = |message: &Value| message["id"] == id.as_str() && message["error"].is_object();
        until("the refusal", || locked(&fake.heard).iter().any(is_refusal)).await;
        *uncertain.borrow()
    };
    assert_eq!(refused(question("a", "roots/list")).await, 0);
    assert_eq!(refused(question("b", "elicitation/create")).await, 1);
    let called = |owner: &str| Wish {
        asides: true,
        owner: Some(owner.into()),
        ..Wish::default()
    };
    let line = |id| envelope::request(id, "tools/call", &json!({"name": "slow"}));
    let one = connection.call(line, called("anna")).await.unwrap();
    let other = connection.call(line, called("bert")).await.unwrap();
    assert_eq!(refused(question("c", "roots/list")).await, 2);
    drop((one, other));
}
