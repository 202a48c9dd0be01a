//! Processes that already ran when mcpd started.

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use super::world::World;
use crate::kit::Pipes;
use crate::mcp::fake::{Fake, until};
use crate::record::{Capability, FleetMember, Greeting};

fn member(fresh: bool, remembered: Option<Greeting>) -> FleetMember {
    FleetMember {
        instance: "time/0".parse().unwrap(),
        serving: true,
        start_timeout_seconds: 300,
        fresh,
        remembered,
        era: None,
    }
}

fn greeting() -> Greeting {
    Greeting {
        protocol: "2025-06-18".into(),
        server: "fake 1".into(),
        can: [Capability::Tools].into(),
        ..Greeting::default()
    }
}

/// A server that refuses a handshake, as many do from the second one on.
fn greeted_before(fake: &Fake, message: &Value) {
    match message["method"].as_str() {
        Some("initialize") => {
            let error = json!({"code": -32600, "message": "already initialized"});
            fake.say(&json!({"jsonrpc": "2.0", "id": message["id"], "error": error}));
        }
        _ => fake.standard(message),
    }
}

/// pitfalls.md, Stdio: "a line cut by a crash swallows the next message", "answers to the last life's ids": half a line
/// stands in its stdin, and an answer to somebody else in its stdout.
#[tokio::test]
async fn a_process_that_was_greeted_is_not_greeted_twice() {
    let world = World::new(&["time"]).await;
    let (fake, mut pipes) = Fake::scripted(greeted_before);
    let half = br#"{"jsonrpc":"2.0","id":1,"method":"tools/ca"#;
    pipes.writer.write_all(half).await.unwrap();
    fake.say(&json!({"jsonrpc": "2.0", "id": 4, "result": {"content": "old"}}));
    fake.set(crate::mcp::lists::Kind::Tools, vec![crate::mcp::fake::tool("echo")]);
    world.put("a", pipes);
    world.join_as("a", member(false, Some(greeting())));
    world.ready("a").await;
    assert!(fake.heard("initialize").is_empty() && fake.heard("notifications/initialized").is_empty());
    let client = world.demo().await;
    assert_eq!(client.tools().await, ["time__echo"]);
    assert_eq!(
        client.call(4, "time__echo").await["result"]["content"][0]["text"],
        r#"{"n":4}"#
    );
}

#[tokio::test]
async fn where_nothing_is_remembered_it_is_greeted_and_may_refuse() {
    let world = World::new(&["time"]).await;
    let (fake, pipes) = Fake::with_tools(&["echo"]);
    world.put("a", pipes);
    world.join_as("a", member(false, None));
    world.ready("a").await;
    assert_eq!(fake.heard("initialize").len(), 1);
    world.leave("a");
    let (_fake, pipes) = Fake::scripted(greeted_before);
    world.put("b", pipes);
    world.join_as("b", member(false, None));
    let want = "it ran before mcpd started and does not go on: the server refused initialize: already initialized";
    assert_eq!(world.failed("b").await, want);
    // One of ours is new, whatever is remembered.
    let (fake, pipes) = Fake::with_tools(&["echo"]);
    world.put("c", pipes);
    world.join_as("c", member(true, Some(greeting())));
    world.ready("c").await;
    until("the handshake", || fake.heard("initialize").len() == 1).await;
}

/// The clients of the mcpd before start anew: their sessions are not known.
#[tokio::test]
async fn sessions_of_before_are_not_found() {
    let world = World::new(&["time"]).await;
    let mut client = world.demo().await;
    client.session = "0123456789abcdef0123456789abcdef".into();
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    let response = client.post(&message).send().await.unwrap();
    assert_eq!(response.status(), 404);
    assert_eq!(
        response.json::<Value>().await.unwrap()["error"]["message"],
        "Session not found"
    );
}

impl World {
    fn put(&self, name: &str, pipes: Pipes) {
        self.hand(name, crate::kit::Link::Pipes(pipes));
    }
}
