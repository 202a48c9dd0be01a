//! Lives that come, fail, change and go; and what clients see of it.

use serde_json::json;

use super::world::{World, hear, life};
use crate::mcp::fake::{Fake, tool, until};
use crate::mcp::lists::Kind;
use crate::record::{Capability, Counts, Greeting, Handshake};

/// pitfalls.md, Upstreams: "one bad server empties the whole tool list", "one broken server poisons the tool list".
#[tokio::test]
async fn one_bad_server_does_not_hurt_the_others() {
    let world = World::new(&["absent", "bad", "good", "gone"]).await;
    let (_bad, pipes) = Fake::scripted(|fake, message| {
        fake.say_raw("Traceback (most recent call last):\n");
        fake.answer(&message["id"], &json!("nonsense"));
    });
    world.join("bad", "bad/0", true, Some(pipes));
    world.join("gone", "gone/0", true, None);
    world.start("good", "good/0", &["echo"]).await;
    assert_eq!(world.failed("gone").await, "attaching failed: no such process");
    let bad = world.failed("bad").await;
    assert!(
        bad.starts_with("the server's answer to initialize makes no sense: "),
        "{bad}"
    );
    let client = world.demo().await;
    assert_eq!(client.tools().await, ["good__echo"]);
    client.call(1, "good__echo").await;
    assert_eq!(
        client.fails("bad__x").await,
        format!("server bad is not available: {bad}.")
    );
    let want = "server absent is not available: no instance of it is running.";
    assert_eq!(client.fails("absent__x").await, want);
}

/// pitfalls.md, Upstreams: "a health probe that takes another path than calls do" (what the engine hears is the state of the
/// very connection that calls use), "a crashed stdio server never noticed".
#[tokio::test]
async fn the_engine_is_told_what_changed_and_nothing_else() {
    let world = World::new(&["time"]).await;
    let mut upstreams = world.gateway.upstreams();
    let fake = world.start("a", "time/0", &["echo"]).await;
    let want = Handshake::Ready {
        greeting: Greeting {
            protocol: "2025-11-25".into(),
            server: "fake 1".into(),
            can: [Capability::Tools, Capability::ToolsChanged].into(),
            ..Greeting::default()
        },
        counts: Counts {
            tools: 1,
            ..Counts::default()
        },
    };
    assert_eq!(world.handshake("a"), Some(want));
    upstreams.borrow_and_update();
    world.declare(&["time", "git"], &json!({}));
    fake.say(&json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}));
    until("the list is read again", || fake.heard("tools/list").len() == 2).await;
    world.demo().await.call(1, "time__echo").await;
    assert!(!upstreams.has_changed().unwrap());
    fake.close();
    upstreams.changed().await.unwrap();
    assert_eq!(world.failed("a").await, "the server closed its output");
    world.leave("a");
    until("the life is forgotten", || world.handshake("a").is_none()).await;
}

#[tokio::test]
async fn a_life_that_leaves_is_let_go_of_with_its_calls() {
    let world = World::new(&["time"]).await;
    let fake = world.start("a", "time/0", &["slow"]).await;
    let client = world.demo().await;
    let calling = tokio::spawn(async move { client.fails("time__slow").await });
    until("the call", || world.gateway.in_flight(&life("a")) == 1).await;
    world.leave("a");
    let said = calling.await.unwrap();
    assert!(said.starts_with("server time was lost during the call"), "{said}");
    // Its pipes are closed too: what it says goes nowhere.
    until("the pipes are closed", || {
        fake.say_raw("x\n");
        fake.is_gone()
    })
    .await;
}

/// pitfalls.md, Upstreams: "tool lists read once and never again, annotations never refreshed", "a client that ignores
/// list_changed" (it sees the new list when it asks all the same).
#[tokio::test]
async fn a_changed_list_reaches_the_clients_that_listen() {
    let world = World::new(&["time"]).await;
    let fake = world.start("a", "time/0", &["echo"]).await;
    let (listening, deaf) = (world.demo().await, world.demo().await);
    assert_eq!(listening.tools().await, ["time__echo"]);
    let mut stream = listening.listen().await;
    let changed = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"});
    let mut entry = tool("echo");
    entry["annotations"] = json!({"readOnlyHint": true});
    fake.set(Kind::Tools, vec![entry.clone()]);
    for _ in 0..100 {
        fake.say(&changed);
    }
    let heard = hear(&mut stream, "list_changed").await;
    assert!(heard.contains(&format!(
        "event: message\ndata: {}\n\n",
        r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#
    )));
    let answer = deaf.ask(1, "tools/list", json!({})).await;
    assert_eq!(
        answer["result"]["tools"][0]["annotations"],
        json!({"readOnlyHint": true})
    );
    assert!(fake.heard("tools/list").len() < 50, "a flood is gathered");
    // A restart with another list is a change too, and so is a changed project.
    listening.tools().await;
    world.leave("a");
    world.start("b", "time/0", &["now"]).await;
    hear(&mut stream, "list_changed").await;
    assert_eq!(listening.tools().await, ["time__now"]);
    world.start("g", "git/0", &["log"]).await;
    world.declare(&["git", "time"], &json!({}));
    hear(&mut stream, "list_changed").await;
    assert_eq!(listening.tools().await, ["git__log", "time__now"]);
}

/// What changed between the last list and the opening of the stream is told when it opens; nothing is told twice.
#[tokio::test]
async fn a_change_before_the_stream_is_not_lost() {
    let world = World::new(&["time"]).await;
    let client = world.demo().await;
    assert_eq!(client.tools().await, Vec::<String>::new());
    world.start("a", "time/0", &["echo"]).await;
    let mut stream = client.listen().await;
    hear(&mut stream, "list_changed").await;
    drop(stream);
    let mut again = client.listen().await;
    world.declare(&[], &json!({}));
    let heard = hear(&mut again, "list_changed").await;
    assert_eq!(heard.matches("list_changed").count(), 1);
}

#[tokio::test]
async fn a_new_life_takes_over_when_it_serves() {
    let world = World::new(&["time"]).await;
    let old = world.start("a", "time/0", &["echo"]).await;
    let client = world.demo().await;
    let (new, pipes) = Fake::with_tools(&["echo", "extra"]);
    world.join("b", "time/0", false, Some(pipes));
    world.ready("b").await;
    client.call(1, "time__echo").await;
    assert_eq!((old.heard("tools/call").len(), new.heard("tools/call").len()), (1, 0));
    assert_eq!(client.tools().await, ["time__echo"]);
    world.join("b", "time/0", true, None);
    world.join("a", "time/0", false, None);
    while client.tools().await.len() < 2 {}
    client.call(2, "time__echo").await;
    assert_eq!((old.heard("tools/call").len(), new.heard("tools/call").len()), (1, 1));
}

#[tokio::test]
async fn replicas_share_the_calls_and_sessions_stick() {
    let world = World::new(&["time"]).await;
    let zero = world.start("a", "time/0", &["echo", "slow"]).await;
    let one = world.start("b", "time/1", &["echo", "slow"]).await;
    let (client, other) = (world.demo().await, world.demo().await);
    let calling = tokio::spawn({
        let client = client.clone();
        async move { client.call(1, "time__slow").await }
    });
    until("the call", || zero.heard("tools/call").len() == 1).await;
    other.call(1, "time__echo").await;
    client.call(2, "time__echo").await;
    other.call(2, "time__echo").await;
    assert_eq!((zero.heard("tools/call").len(), one.heard("tools/call").len()), (2, 2));
    zero.close();
    assert_eq!(calling.await.unwrap()["result"]["isError"], true);
    client.call(3, "time__echo").await;
    assert_eq!(one.heard("tools/call").len(), 3);
}

#[tokio::test]
async fn a_server_out_of_service_shows_no_tools() {
    let world = World::new(&["time"]).await;
    world.start("a", "time/0", &["echo"]).await;
    let client = world.demo().await;
    world.leave("a");
    until("the life is forgotten", || world.handshake("a").is_none()).await;
    assert_eq!(client.tools().await, ["time__echo"]);
    world.declare(&["time"], &json!({"replicas": 0}));
    while !client.tools().await.is_empty() {}
}
