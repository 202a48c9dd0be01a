//! What modern servers tell by themselves, on the stream that they are asked for; and what legacy ones log.

use std::sync::Arc;

use serde_json::{Value, json};

use super::world::{World, hear, life};
use crate::gateway::Endpoint;
use crate::gateway::subscriptions::{Inbox, Who};
use crate::kit::Name;
use crate::mcp::ACKNOWLEDGED;
use crate::mcp::fake::{Fake, entry, tool, until};
use crate::mcp::level::Level;
use crate::mcp::lists::Kind;
use crate::mcp::meta;
use crate::record::{Era, FleetMember, Greeting, Handshake, MODERN, Verdict};

fn member(fresh: bool, era: Option<Era>, remembered: Option<Greeting>) -> FleetMember {
    FleetMember {
        instance: "time/0".parse().unwrap(),
        serving: true,
        start_timeout_seconds: 300,
        fresh,
        remembered,
        era,
    }
}

fn greeting(world: &World, name: &str) -> Greeting {
    match world.handshake(name) {
        Some(Handshake::Ready { greeting, .. }) => greeting,
        other => panic!("not ready: {other:?}"),
    }
}

fn verdict(world: &World, name: &str) -> Verdict {
    match world.handshake(name) {
        Some(Handshake::Failed { verdict, .. }) => verdict,
        other => panic!("not failed: {other:?}"),
    }
}

/// A modern server with a tool and a resource.
fn modern() -> (Fake, crate::kit::Pipes) {
    let made = Fake::modern(Fake::standard);
    made.0.set(Kind::Tools, vec![tool("echo")]);
    made.0.set(Kind::Resources, vec![entry(Kind::Resources, "x:1")]);
    made
}

fn filters(fake: &Fake) -> Vec<Value> {
    let listens = fake.heard("subscriptions/listen");
    listens
        .iter()
        .map(|listen| listen["params"]["notifications"].clone())
        .collect()
}

/// One resource that a server refuses costs the others nothing, and nobody is told that it was agreed to.
#[tokio::test]
async fn a_resource_that_is_refused_costs_the_others_nothing() {
    let world = World::new(&["time"]).await;
    world.deadline(&["time"], 1).await;
    let (fake, pipes) = Fake::modern(|fake, message| {
        let wants_bad = message["params"]["notifications"].to_string().contains("x:bad");
        if message["method"] == "subscriptions/listen" && wants_bad {
            let error = json!({"code": -32602, "message": "no such resource"});
            return fake.say(&json!({"jsonrpc": "2.0", "id": message["id"], "error": error}));
        }
        fake.standard(message);
    });
    let resources = ["x:1", "x:bad"].map(|uri| entry(Kind::Resources, uri));
    fake.set(Kind::Tools, vec![tool("echo")]);
    fake.set(Kind::Resources, resources.into());
    world.join("a", "time/0", true, Some(pipes));
    world.ready("a").await;
    let client = world.demo().await;
    let good = client.ask(1, "resources/subscribe", json!({"uri": "x:1"})).await;
    assert_eq!(good["result"], json!({}), "{good}");
    let bad = client.ask(2, "resources/subscribe", json!({"uri": "x:bad"})).await;
    assert!(bad["error"].is_object(), "{bad}");
    let mut stream = client.listen().await;
    fake.say_updated("x:1");
    hear(&mut stream, "x:1").await;
    let again = client.ask(3, "resources/subscribe", json!({"uri": "x:1"})).await;
    assert_eq!(again["result"], json!({}), "{again}");
}

/// A change reaches the client, not only the acknowledgement us; a stream that ends is asked for again, and what may have
/// been missed meanwhile is read.
#[tokio::test]
async fn changes_are_told_and_a_stream_that_ends_is_asked_for_again() {
    let world = World::new(&["time"]).await;
    let (fake, pipes) = modern();
    world.join("a", "time/0", true, Some(pipes));
    world.ready("a").await;
    assert_eq!(greeting(&world, "a").era(), Era::Modern);
    let lists = json!({"toolsListChanged": true, "resourcesListChanged": true});
    until("the stream", || filters(&fake) == [lists.clone()]).await;
    let client = world.demo().await;
    let mut stream = client.listen().await;
    fake.set(Kind::Tools, vec![tool("echo"), tool("more")]);
    fake.say_changed(Kind::Tools);
    hear(&mut stream, "notifications/tools/list_changed").await;
    assert_eq!(client.tools().await, ["time__echo", "time__more"]);
    for (gracefully, tool_name, times) in [(true, "third", 2), (false, "fourth", 3)] {
        // Nobody says that this one came.
        fake.set(Kind::Tools, vec![tool("echo"), tool(tool_name)]);
        fake.end_listens(gracefully);
        until("it is asked for again", || filters(&fake).len() == times).await;
        hear(&mut stream, "notifications/tools/list_changed").await;
        assert_eq!(
            client.tools().await,
            ["time__echo".to_owned(), format!("time__{tool_name}")]
        );
    }
    assert_eq!(world.gateway.in_flight(&life("a")), 0, "a stream is no call");
}

/// What sessions want to hear of is asked for on a new stream before the old one is given up, and told to them.
#[tokio::test]
async fn a_stream_follows_what_sessions_want() {
    let world = World::new(&["time"]).await;
    let (fake, pipes) = modern();
    world.join("a", "time/0", true, Some(pipes));
    world.ready("a").await;
    until("the stream", || filters(&fake).len() == 1).await;
    let subscriptions = &world.gateway.0.sessions.subscriptions;
    let (time, inbox): (Name, _) = ("time".parse().unwrap(), Arc::new(Inbox::default()));
    for (n, uri) in ["x:1", "x:2"].into_iter().enumerate() {
        let who = Who {
            session: "s",
            caller: "anna",
            endpoint: &Endpoint::Project("demo".parse().unwrap()),
        };
        assert_eq!(subscriptions.add(&time, uri, who, &inbox), Some(true));
        subscriptions.taken(&time, uri, &life("a")).await;
        until("the stream before is given up", || {
            fake.heard("notifications/cancelled").len() == n + 1
        })
        .await;
    }
    let last = filters(&fake).pop().unwrap();
    assert_eq!(last["resourceSubscriptions"], json!(["x:1", "x:2"]));
    assert_eq!(last["toolsListChanged"], true);
    fake.say_updated("x:2");
    inbox.came().await;
    let told: Value = serde_json::from_slice(&inbox.take().unwrap()).unwrap();
    assert_eq!(
        (&told["params"]["uri"], &told["params"]["extra"]),
        (&json!("x:2"), &json!("kept"))
    );
    assert!(
        told["params"].get("_meta").is_none(),
        "our stream is nobody else's: {told}"
    );
    // What may have been missed while there was no stream is told as changed.
    fake.end_listens(true);
    until("it is asked for again", || filters(&fake).len() == 4).await;
    inbox.came().await;
    subscriptions.forget_session("s");
    until("nobody wants any", || filters(&fake).len() == 5).await;
    assert_eq!(filters(&fake)[4].get("resourceSubscriptions"), None);
}

/// One that does not take it is asked once; the rest works. One that takes less than it was asked for goes on.
#[tokio::test]
async fn a_server_may_not_take_it() {
    let world = World::new(&["time"]).await;
    let (fake, pipes) = Fake::modern(|fake, message| {
        if message["method"] == "subscriptions/listen" {
            let error = json!({"code": -32601, "message": "Method not found"});
            fake.say(&json!({"jsonrpc": "2.0", "id": message["id"], "error": error}));
        } else {
            fake.standard(message);
        }
    });
    fake.set(Kind::Tools, vec![tool("echo")]);
    world.join("a", "time/0", true, Some(pipes));
    world.ready("a").await;
    until("it is asked", || filters(&fake).len() == 1).await;
    assert_eq!(world.demo().await.tools().await, ["time__echo"]);
    world.leave("a");
    let (fake, pipes) = Fake::modern(|fake, message| {
        if message["method"] == "subscriptions/listen" {
            let params = json!({"_meta": {meta::SUBSCRIPTION: message["id"]}, "notifications": {}});
            fake.say(&json!({"jsonrpc": "2.0", "method": ACKNOWLEDGED, "params": params}));
        } else {
            fake.standard(message);
        }
    });
    world.join("b", "time/0", true, Some(pipes));
    world.ready("b").await;
    until("it is asked", || filters(&fake).len() == 1).await;
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert_eq!(filters(&fake).len(), 1);
}

/// A process that ran before mcpd started is not greeted twice in either era; the modern one is asked for its stream.
#[tokio::test]
async fn a_modern_process_of_before_is_simply_used() {
    let world = World::new(&["time"]).await;
    let (fake, pipes) = modern();
    world.join("a", "time/0", true, Some(pipes));
    world.ready("a").await;
    let said = greeting(&world, "a");
    world.leave("a");
    let (again, pipes) = modern();
    world.hand("b", crate::kit::Link::Pipes(pipes));
    world.join_as("b", member(false, None, Some(said.clone())));
    world.ready("b").await;
    assert_eq!(greeting(&world, "b"), said);
    until("the stream", || filters(&again).len() == 1).await;
    assert!(again.heard("server/discover").is_empty() && again.heard("initialize").is_empty());
    assert_eq!(fake.heard("server/discover").len(), 1);
}

/// What the engine hears of the era: a server that the question upset is no failed one, and what was remembered wrongly is
/// forgotten.
#[tokio::test]
async fn the_engine_hears_what_a_failure_says_of_the_era() {
    let world = World::new(&["time"]).await;
    let strict = |fake: &Fake, message: &Value| match message["method"].as_str() {
        Some("server/discover") => fake.close(),
        _ => fake.standard(message),
    };
    let refusing = |fake: &Fake, message: &Value| {
        let error = json!({"code": -32600, "message": "no"});
        fake.say(&json!({"jsonrpc": "2.0", "id": message["id"], "error": error}));
    };
    let closing = |fake: &Fake, _: &Value| fake.close();
    let join = |name: &str, pipes, era| {
        world.hand(name, crate::kit::Link::Pipes(pipes));
        world.join_as(name, member(true, era, None));
    };
    join("a", Fake::scripted(strict).1, None);
    assert_eq!(world.failed("a").await, "the server closed its output");
    assert_eq!(verdict(&world, "a"), Verdict::Upset);
    join("b", Fake::scripted(strict).1, Some(Era::Legacy));
    world.ready("b").await;
    join("c", Fake::scripted(refusing).1, None);
    assert_eq!(world.failed("c").await, "the server refused initialize: no");
    assert_eq!(verdict(&world, "c"), Verdict::Upset);
    join("d", Fake::scripted(closing).1, Some(Era::Legacy));
    world.failed("d").await;
    assert_eq!(verdict(&world, "d"), Verdict::Doubtful);
    // A modern server is found although a legacy one is remembered.
    join("e", modern().1, Some(Era::Legacy));
    world.ready("e").await;
    assert_eq!(greeting(&world, "e").protocol, MODERN);
    // One that was ready and ends later says nothing of its era.
    let (fake, pipes) = Fake::with_tools(&["echo"]);
    join("f", pipes, Some(Era::Legacy));
    world.ready("f").await;
    fake.close();
    world.failed("f").await;
    assert_eq!(verdict(&world, "f"), Verdict::None);
}

/// A legacy server is asked for the lowest level that anybody wants, and for nothing while nobody does.
#[tokio::test]
async fn a_legacy_server_is_asked_for_the_lowest_level() {
    let world = World::new(&["time"]).await;
    let logging = |fake: &Fake, message: &Value| match message["method"].as_str() {
        Some("initialize") => {
            let can = json!({"tools": {}, "logging": {}});
            fake.answer(
                &message["id"],
                &json!({"protocolVersion": "2025-11-25", "capabilities": can}),
            );
        }
        _ => fake.standard(message),
    };
    let (fake, pipes) = Fake::scripted(logging);
    world.join("a", "time/0", true, Some(pipes));
    world.ready("a").await;
    let levels = &world.gateway.0.sessions.subscriptions.levels;
    let asked = |fake: &Fake| -> Vec<String> {
        let asked = fake.heard("logging/setLevel");
        asked
            .iter()
            .map(|message| message["params"]["level"].as_str().unwrap().to_owned())
            .collect()
    };
    assert!(asked(&fake).is_empty());
    levels.set("s", Level::Error);
    until("the level", || asked(&fake) == ["error"]).await;
    levels.set("t", Level::Debug);
    until("the lower level", || asked(&fake) == ["error", "debug"]).await;
    levels.forget_session("t");
    until("the level before", || asked(&fake) == ["error", "debug", "error"]).await;
    levels.forget_session("s");
    let all = ["error", "debug", "error", "info"];
    until("what those get who never said", || asked(&fake) == all).await;
    levels.set("s", Level::Error);
    // A life that comes later is asked at once; one that does not log, never.
    let (later, pipes) = Fake::scripted(logging);
    world.join("b", "time/1", true, Some(pipes));
    until("the later one", || asked(&later) == ["error"]).await;
    let mute = world.start("c", "time/2", &["echo"]).await;
    assert!(asked(&mute).is_empty());
}
