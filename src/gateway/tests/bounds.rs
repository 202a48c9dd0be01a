//! What is bounded: what one may take of what others need, and for how long.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use super::pairs::{PAIRINGS, Peer, everything, server};
use super::world::{World, hear};
use crate::gateway::Endpoint;
use crate::kit::{HttpTransport, Link};
use crate::mcp::fake::{Fake, tool, until};
use crate::mcp::lists::Kind;
use crate::mcp::locked;
use crate::record::Era;
use crate::resource::ToolsLock;

const LONG: Duration = Duration::from_hours(1);

fn demo() -> Endpoint {
    Endpoint::Project("demo".parse().unwrap())
}

/// A call that waits for a client which does not come back gives way to others, and to nobody else: a person may take long.
#[tokio::test]
async fn an_abandoned_question_gives_way_to_others() {
    let (world, fake) = server(Era::Legacy, &["form", "sample"]).await;
    let anna = Peer::new(&world, Era::Modern, everything()).await;
    let bert = Peer::of(&world, Era::Legacy, everything(), "bert").await;
    let waiting = &world.gateway.0.waiting;
    for (tool, answer) in [("form", json!({"action": "cancel"})), ("sample", Value::Null)] {
        let params = json!({"name": format!("s__{tool}")});
        let held = anna.once(1, "tools/call", params.clone()).await;
        assert_eq!(held.answer["result"]["resultType"], "input_required", "{held:?}");
        assert_eq!(
            waiting.end_over(Duration::ZERO, LONG).await,
            0,
            "nobody is kept waiting by it"
        );
        let turned_away = bert.call("s__form").await;
        assert_eq!(turned_away.asked.len(), 0, "{turned_away:?}");
        assert_eq!(
            waiting.end_over(LONG, LONG).await,
            0,
            "its client was here a moment ago"
        );
        assert_eq!(waiting.end_over(Duration::ZERO, LONG).await, 1);
        // The server ended the call by itself, so that nothing is in doubt after it.
        let asked = bert.call("s__form").await;
        assert_eq!(asked.asked.len(), 1, "{asked:?}");
        let told = fake.heard("tools/call")[0]["id"].clone();
        let answers = locked(&fake.heard).clone();
        let heard = answers
            .iter()
            .find(|message| message["id"] == json!(format!("question {told}")));
        assert!(heard.is_some(), "{answers:?}");
        if tool == "form" {
            assert_eq!(heard.unwrap()["result"], answer);
        }
        let mut late = params;
        late["requestState"] = held.answer["result"]["requestState"].clone();
        late["inputResponses"] = json!({"q0": {"action": "accept", "content": {}}});
        let late = anna.once(2, "tools/call", late).await;
        assert!(late.answer.to_string().contains("not run again"), "{late:?}");
    }
}

/// However often a client comes back without an answer, its question waits no longer for that.
#[tokio::test]
async fn an_empty_retry_buys_no_time() {
    const HOLDS: Duration = Duration::from_millis(400);
    let (world, _fake) = server(Era::Legacy, &["form"]).await;
    let peer = Peer::new(&world, Era::Modern, everything()).await;
    let mut said = peer.once(1, "tools/call", json!({"name": "s__form"})).await;
    tokio::time::sleep(HOLDS).await;
    for round in 2..4 {
        let state = said.answer["result"]["requestState"].clone();
        let params = json!({"name": "s__form", "requestState": state, "inputResponses": {}});
        said = peer.once(round, "tools/call", params).await;
        assert_eq!(said.answer["result"]["resultType"], "input_required", "{said:?}");
    }
    assert_eq!(world.gateway.0.waiting.end_over(LONG, HOLDS).await, 1);
}

/// Calls that wait for their clients keep nothing of their requests, and of one caller so many bytes of questions.
#[tokio::test]
async fn held_calls_are_bounded_in_bytes() {
    let (world, fake) = server(Era::Legacy, &["slow"]).await;
    let anna = Peer::new(&world, Era::Modern, everything()).await;
    let big = "x".repeat(3 << 20);
    let ask = async |peer: &Peer, length: usize| {
        let before = fake.heard("tools/call").len();
        let params = json!({"name": "s__slow", "arguments": {"big": big}});
        let asking = peer.once(1, "tools/call", params);
        let answering = async {
            until("the call", || fake.heard("tools/call").len() > before).await;
            let params = json!({"message": "y".repeat(length), "requestedSchema": {}});
            let id = format!("long {before}");
            fake.say(&json!({"jsonrpc": "2.0", "id": id, "method": "elicitation/create", "params": params}));
        };
        tokio::join!(asking, answering).0.answer["result"].clone()
    };
    for _ in 0..10 {
        // Ten bodies of 3 MiB are more than one caller may hold, and they are not held.
        let held = ask(&anna, 1_000).await;
        assert_eq!(held["resultType"], "input_required", "{}", held.to_string().len());
    }
    for n in 0..6 {
        let held = ask(&anna, 3 << 20).await;
        let text = held["content"][0]["text"].as_str().unwrap_or_default();
        assert_eq!(held["resultType"] == "input_required", n < 5, "{n}: {text}");
        assert!(n < 5 || text.contains("over 16 MiB; answer one first"), "{text}");
    }
}

/// pitfalls.md: "tool lists read once and never again". One that takes no `subscriptions/listen`, or does not say that it tells
/// of its tools, is asked again when its list has grown old; one that tells is not.
#[tokio::test]
async fn the_lists_of_a_server_that_does_not_tell_are_read_again() {
    let world = World::new(&["told", "refuses", "silent"]).await;
    let start = |name: &'static str| {
        let (fake, pipes) = Fake::modern(move |fake, message| {
            let id = &message["id"];
            match (message["method"].as_str(), name) {
                (Some("tools/list"), _) => {
                    let tools = locked(&fake.lists).of(Kind::Tools).clone();
                    fake.answer(
                        id,
                        &json!({"resultType": "complete", "tools": tools, "ttlMs": 1, "cacheScope": "public"}),
                    );
                }
                (Some("subscriptions/listen"), "refuses") => {
                    let error = json!({"code": -32601, "message": "Method not found"});
                    fake.say(&json!({"jsonrpc": "2.0", "id": id, "error": error}));
                }
                (Some("server/discover"), "silent") => {
                    let can = json!({"tools": {}});
                    let said =
                        json!({"resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": can});
                    fake.answer(id, &said);
                }
                _ => fake.standard(message),
            }
        });
        fake.set(Kind::Tools, vec![tool("before")]);
        world.join(name, &format!("{name}/0"), true, Some(pipes));
        fake
    };
    let fakes = ["told", "refuses", "silent"].map(start);
    for name in ["told", "refuses", "silent"] {
        world.ready(name).await;
    }
    for fake in &fakes {
        fake.set(Kind::Tools, vec![tool("after")]);
    }
    let client = world.demo().await;
    let want = ["told__before", "refuses__after", "silent__after"];
    for _ in 0..3_000 {
        if client.tools().await == want {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(client.tools().await, want);
    let asked = |fake: &Fake| fake.heard("tools/list").len();
    until("once more", || asked(&fakes[1]) > 2).await;
    assert_eq!(asked(&fakes[0]), 1, "it tells of its tools");
    assert!(fakes[2].heard("subscriptions/listen").is_empty());
}

/// A server over HTTP whose tool wants other headers than it listed refuses a call for that: its tools are read again and the
/// call goes once more, where it did not run; what is refused all the same is told.
#[tokio::test]
async fn a_call_that_was_refused_for_its_headers_goes_once_more() {
    let calls: Arc<Mutex<Vec<String>>> = Arc::default();
    let wants = Arc::new(Mutex::new("Zone"));
    let (memory, wanting) = (Arc::clone(&calls), Arc::clone(&wants));
    let app = axum::Router::new().fallback(move |request: axum::extract::Request| {
        let (memory, wants) = (Arc::clone(&memory), *locked(&wanting));
        async move {
            let (head, body) = request.into_parts();
            let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
            let message: Value = serde_json::from_slice(&body).unwrap_or_default();
            let method = message["method"].as_str().unwrap_or_default().to_owned();
            let header = |name: &str| Some(head.headers.get(name)?.to_str().unwrap().to_owned());
            let header = header(&format!("mcp-param-{}", wants.to_lowercase()));
            locked(&memory).push(method.clone());
            let can = json!({"tools": {"listChanged": true}});
            let argument = json!({"type": "string", "x-mcp-header": wants});
            let schema = json!({"type": "object", "properties": {"zone": argument}});
            let mismatch = (400, json!({"code": -32020, "message": "Header mismatch"}));
            let said = match &*method {
                "server/discover" => Ok(json!({"supportedVersions": ["2026-07-28"], "capabilities": can})),
                "tools/list" => Ok(json!({"tools": [{"name": "now", "inputSchema": schema}], "ttlMs": 0})),
                "tools/call" if message["params"]["arguments"]["zone"] == "never" => Err(mismatch),
                // The tool's own error: it ran.
                "tools/call" if message["params"]["arguments"]["zone"] == "own" => Err((200, mismatch.1)),
                "tools/call" if header.is_none() => Err(mismatch),
                "tools/call" => Ok(json!({"content": [], "zone": header})),
                _ => Err((404, json!({"code": -32601, "message": "Method not found"}))),
            };
            let (status, member, said) = match said {
                Ok(mut result) => {
                    result["resultType"] = "complete".into();
                    (200, "result", result)
                }
                Err((status, error)) => (status, "error", error),
            };
            let answer = json!({"jsonrpc": "2.0", "id": message["id"], member: said});
            let response = http::Response::builder()
                .status(status)
                .header("content-type", "application/json");
            response.body(axum::body::Body::from(answer.to_string())).unwrap()
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let world = World::new(&["time"]).await;
    let transport = HttpTransport::Streamable;
    world.hand("a", Link::Http { url, transport });
    world.join("a", "time/0", true, None);
    world.ready("a").await;
    let client = world.demo().await;
    let called = |since: usize| {
        locked(&calls)[since..]
            .iter()
            .filter(|method| *method == "tools/call")
            .count()
    };
    let call = async |zone: &str| {
        let before = locked(&calls).len();
        let params = json!({"name": "time__now", "arguments": {"zone": zone}});
        let answer = client.ask(1, "tools/call", params).await;
        (answer, called(before))
    };
    let (answer, times) = call("here").await;
    assert_eq!((&answer["result"]["zone"], times), (&json!("here"), 1), "{answer}");
    *locked(&wants) = "Place";
    let (answer, times) = call("there").await;
    assert_eq!((&answer["result"]["zone"], times), (&json!("there"), 2), "{answer}");
    let (answer, times) = call("there").await;
    assert_eq!(
        (&answer["result"]["zone"], times),
        (&json!("there"), 1),
        "it is known now: {answer}"
    );
    let (answer, times) = call("never").await;
    assert_eq!((&answer["error"]["code"], times), (&json!(-32020), 1), "{answer}");
    *locked(&wants) = "Where";
    let (answer, times) = call("own").await;
    assert_eq!(
        (&answer["error"]["code"], times),
        (&json!(-32020), 1),
        "it ran: {answer}"
    );
    // What a lock holds back is not called behind its back.
    let digest = world.gateway.tools(&demo()).unwrap()[0].digest;
    let mut lock = ToolsLock::default();
    lock.approve(&"time".parse().unwrap(), "now", digest);
    world
        .rules(&["time"], &json!({"tools": {"lock": "strict"}}), lock)
        .await;
    let (answer, times) = call("there").await;
    assert_eq!((&answer["error"]["code"], times), (&json!(-32602), 1), "{answer}");
}

/// Where a server leaves a project, those who are there hear no more of its resources, and its subscription is given back;
/// others hear of it as before.
#[tokio::test]
async fn what_left_a_project_is_heard_of_no_more() {
    for (client, server_era) in PAIRINGS {
        let pair = format!("{client:?} {server_era:?}");
        let (world, fake) = server(server_era, &["echo"]).await;
        let peer = Peer::new(&world, client, json!({})).await;
        peer.ask("tools/list", json!({})).await;
        let mut stream = match client {
            Era::Modern => {
                let filter = json!({"toolsListChanged": true, "resourceSubscriptions": ["x:a"]});
                let params = peer.with_meta(json!({"notifications": filter}));
                let message = json!({"jsonrpc": "2.0", "id": "l", "method": "subscriptions/listen", "params": params});
                let mut stream = peer.post(&message).send().await.unwrap();
                hear(&mut stream, "acknowledged").await;
                stream
            }
            Era::Legacy => {
                peer.ask("resources/subscribe", json!({"uri": "x:a"})).await;
                let request = peer.http.get(&peer.url).header("accept", "text/event-stream");
                let session = peer.session.as_ref().unwrap();
                let request = request.header("mcp-session-id", session).header("x-caller", "anna");
                request.send().await.unwrap()
            }
        };
        let subscriptions = &world.gateway.0.sessions.subscriptions;
        let wanted = || subscriptions.wanted(&"s".parse().unwrap()).len();
        assert_eq!(wanted(), 1, "{pair}");
        world
            .rules(&["s"], &json!({"description": "x"}), ToolsLock::default())
            .await;
        assert_eq!(wanted(), 1, "{pair}: it is there still");
        world.rules(&[], &json!({}), ToolsLock::default()).await;
        until("nobody wants it", || wanted() == 0).await;
        let given_back = || match &fake.listens {
            None => fake.heard("resources/unsubscribe").len() == 1,
            Some(listens) => {
                let listens = locked(listens);
                listens.len() == 1 && !listens[0].to_string().contains("x:a")
            }
        };
        until("it is given back", given_back).await;
        // One that tells of it all the same.
        let params = json!({"uri": "x:a"});
        fake.say(&json!({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": params}));
        world.rules(&["s"], &json!({}), ToolsLock::default()).await;
        fake.set(Kind::Tools, vec![tool("last")]);
        fake.say_changed(Kind::Tools);
        let mut heard = hear(&mut stream, "tools/list_changed").await;
        until("the last list", || {
            world
                .gateway
                .tools(&demo())
                .unwrap()
                .iter()
                .any(|tool| tool.own == "last")
        })
        .await;
        heard += &peer
            .ask("tools/list", json!({}))
            .await
            .notifications
            .iter()
            .map(Value::to_string)
            .collect::<String>();
        assert!(!heard.contains("resources/updated"), "{pair} {heard}");
    }
}
