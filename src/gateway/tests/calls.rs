//! Calls: forwarding byte for byte, progress, cancellation, deadlines, and what a caller hears when there is no answer.

use serde_json::{Value, json};

use super::world::{World, hear, life};
use crate::mcp::fake::{Fake, tool, until};
use crate::mcp::lists::Kind;

#[tokio::test]
async fn calls_cross_byte_for_byte() {
    let world = World::new(&["time"]).await;
    let (fake, pipes) = Fake::scripted(|fake, message| match message["method"].as_str() {
        Some("tools/list") => {
            let entry = r#"{"name": "we\u0069rd/tool" , "x": 1.50e+2, "_meta":{"name":"x"}}"#;
            fake.say_raw(format!(
                r#"{{"jsonrpc":"2.0","id":{},"result":{{"tools":[{entry}]}}}}{}"#,
                message["id"], '\n'
            ));
        }
        Some("tools/call") => {
            let rest = r#""result": {"content":[], "big":1.50e+2, "later":{"id":1}},"more":true}"#;
            fake.say_raw(format!(r#"{{"jsonrpc":"2.0","id" : {},{rest}{}"#, message["id"], '\n'));
        }
        _ => fake.standard(message),
    });
    world.join("a", "time/0", true, Some(pipes));
    world.ready("a").await;
    let client = world.session("/servers/time/mcp").await;
    let body = "{\"jsonrpc\":\"2.0\",\n \"later\":1,\"params\":{\"name\":\"weird\\/tool\",\"arguments\":{\"f\":1.50e+2,\"name\":\"n\"},\"x\":[]},\n\"method\":\"tools/call\",\"id\":\"i\\\"d\"}";
    let request = client
        .request(reqwest::Method::POST)
        .header("content-type", "application/json; charset=utf-8");
    let answer = request.body(body).send().await.unwrap().text().await.unwrap();
    let want =
        r#"{"jsonrpc":"2.0","id" : "i\"d","result": {"content":[], "big":1.50e+2, "later":{"id":1}},"more":true}"#;
    assert_eq!(answer, want);
    let heard = fake.heard("tools/call").remove(0);
    let want = json!({"name": "weird/tool", "arguments": {"f": 150.0, "name": "n"}, "x": []});
    assert_eq!((&heard["params"], &heard["later"]), (&want, &json!(1)));
    let listed = client
        .post(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}))
        .send()
        .await
        .unwrap();
    let listed = listed.text().await.unwrap();
    assert!(
        listed.contains(r#"[{"name": "we\u0069rd/tool" , "x": 1.50e+2, "_meta":{"name":"x"}}]"#),
        "{listed}"
    );
}

#[tokio::test]
async fn a_servers_own_error_is_passed_on() {
    let world = World::new(&["time"]).await;
    world.start("a", "time/0", &["refuse"]).await;
    let answer = world.demo().await.call(4, "time__refuse").await;
    assert_eq!(
        answer["error"],
        json!({"code": -7, "message": "no", "data": {"kept": true}})
    );
}

#[tokio::test]
async fn an_unknown_tool_is_said_to_be_unknown() {
    let world = World::new(&["time"]).await;
    world.start("a", "time/0", &["echo"]).await;
    let client = world.demo().await;
    for name in ["nope", "time__nope", "echo", "git__echo", ""] {
        let answer = client.call(1, name).await;
        let want = json!({"code": -32602, "message": format!("Unknown tool: {name}")});
        assert_eq!(answer["error"], want);
    }
    let plain = world.session("/projects/demo/servers/time/mcp").await;
    assert_eq!(plain.tools().await, ["echo"]);
    assert_eq!(
        plain.call(3, "echo").await["result"]["content"][0]["text"],
        r#"{"n":3}"#
    );
    assert_eq!(plain.call(3, "time__echo").await["error"]["code"], -32602);
}

#[tokio::test]
async fn concurrent_calls_find_their_answers() {
    let world = World::new(&["time", "git"]).await;
    world.start("a", "time/0", &["echo"]).await;
    world.start("b", "git/0", &["echo"]).await;
    let client = world.demo().await;
    let call = async |id: u64| {
        let tool = if id.is_multiple_of(2) {
            "time__echo"
        } else {
            "git__echo"
        };
        let answer = client.call(id, tool).await;
        assert_eq!(answer["result"]["content"][0]["text"], json!({"n": id}).to_string());
    };
    futures_util::future::join_all((0..200).map(call)).await;
    assert_eq!(world.gateway.in_flight(&life("a")), 0);
}

#[tokio::test]
async fn progress_is_streamed_under_the_clients_token() {
    let world = World::new(&["time"]).await;
    let fake = world.start("a", "time/0", &["progress", "echo"]).await;
    let client = world.demo().await;
    let params = json!({"name": "time__progress", "_meta": {"progressToken": "tok\n", "other": 1}});
    let message = json!({"jsonrpc": "2.0", "id": "x", "method": "tools/call", "params": params});
    let mut response = client.post(&message).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let heard = hear(&mut response, "\"result\"").await;
    let events: Vec<Value> = heard
        .split("\n\n")
        .filter_map(|event| serde_json::from_str(event.strip_prefix("event: message\ndata: ")?).ok())
        .collect();
    assert_eq!(events.len(), 4, "{heard}");
    for (step, event) in (1..).zip(&events[..3]) {
        assert_eq!(
            event["params"],
            json!({"progressToken": "tok\n", "progress": step, "extra": "kept"})
        );
    }
    assert_eq!(
        events[3],
        json!({"jsonrpc": "2.0", "id": "x", "result": {"content": []}})
    );
    assert!(
        response.chunk().await.unwrap().is_none(),
        "the stream ends with the answer"
    );
    let sent = fake.heard("tools/call").remove(0);
    assert_eq!(
        sent["params"]["_meta"],
        json!({"progressToken": sent["id"], "other": 1})
    );
    // Without a token, without a stream, or without progress the answer is plain JSON.
    client.call(1, "time__progress").await;
    client
        .ask(
            2,
            "tools/call",
            json!({"name": "time__echo", "_meta": {"progressToken": 1}}),
        )
        .await;
    let plain = client.http.post(&client.url).header("mcp-session-id", &client.session);
    let answer = plain
        .header("accept", "application/json")
        .json(&message)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.headers()["content-type"], "application/json");
}

#[tokio::test]
async fn a_client_cancels_its_own_call_alone() {
    let world = World::new(&["time"]).await;
    let fake = world.start("a", "time/0", &["slow"]).await;
    let (client, other) = (world.demo().await, world.demo().await);
    let calling = tokio::spawn({
        let client = client.clone();
        async move { client.call(1, "time__slow").await }
    });
    until("the call", || fake.heard("tools/call").len() == 1).await;
    assert_eq!(
        client.call(1, "time__slow").await["error"]["code"],
        -32600,
        "the id is taken"
    );
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}});
    // Another session has no such call.
    other.post(&cancel).send().await.unwrap();
    assert_eq!(world.gateway.in_flight(&life("a")), 1);
    client.post(&cancel).send().await.unwrap();
    assert_eq!(calling.await.unwrap()["error"]["code"], -32800);
    until("the cancellation", || fake.heard("notifications/cancelled").len() == 1).await;
    let id = &fake.heard("tools/call")[0]["id"];
    assert_eq!(fake.heard("notifications/cancelled")[0]["params"]["requestId"], *id);
    assert_eq!(world.gateway.in_flight(&life("a")), 0);
}

#[tokio::test]
async fn a_client_that_hangs_up_frees_its_call() {
    let world = World::new(&["time"]).await;
    let fake = world.start("a", "time/0", &["slow"]).await;
    let client = world.demo().await;
    let calling = tokio::spawn(async move { client.call(1, "time__slow").await });
    until("the call", || fake.heard("tools/call").len() == 1).await;
    calling.abort();
    until("the cancellation", || fake.heard("notifications/cancelled").len() == 1).await;
    until("nothing in flight", || world.gateway.in_flight(&life("a")) == 0).await;
}

/// pitfalls.md, Upstreams: "a dead server that stalls every list".
#[tokio::test]
async fn a_slow_server_costs_its_own_deadline_and_nobody_elses() {
    let world = World::new(&["time", "git"]).await;
    let slow = world.start("a", "time/0", &["slow"]).await;
    world.start("b", "git/0", &["echo"]).await;
    world.deadline(&["time", "git"], 1).await;
    let client = world.demo().await;
    let calling = tokio::spawn({
        let client = client.clone();
        async move { client.fails("time__slow").await }
    });
    until("the call", || slow.heard("tools/call").len() == 1).await;
    assert_eq!(client.tools().await, ["time__slow", "git__echo"]);
    client.call(2, "git__echo").await;
    let want = "server time did not answer within 1 s (its timeoutSeconds); the call was cancelled.";
    assert_eq!(calling.await.unwrap(), want);
    until("the cancellation", || slow.heard("notifications/cancelled").len() == 1).await;
}

/// pitfalls.md, Upstreams: "every call fails until the gateway is restarted after an upstream restart", "a crashed stdio
/// server never noticed while readiness is green".
#[tokio::test]
async fn a_server_that_dies_is_noticed_and_its_next_life_serves() {
    let world = World::new(&["time"]).await;
    let first = world.start("a", "time/0", &["echo", "die"]).await;
    let client = world.demo().await;
    let said = client.fails("time__die").await;
    let want = "server time was lost during the call (the server closed its output). The call may have run; it was not repeated.";
    assert_eq!(said, want);
    assert_eq!(world.failed("a").await, "the server closed its output");
    assert_eq!(
        client.tools().await,
        ["time__echo", "time__die"],
        "the last known tools are listed"
    );
    assert_eq!(
        client.fails("time__echo").await,
        "server time is not available: the server closed its output."
    );
    world.unavailable("time", "exited with code 3: boom");
    let want = "server time is not available: exited with code 3: boom.";
    while client.fails("time__echo").await != want {}
    assert_eq!(first.heard("tools/call").len(), 1, "nothing is repeated");
    // A call that comes while the next life starts waits for it.
    let (second, pipes) = Fake::scripted(|fake, message| {
        if message["method"] != "initialize" {
            fake.standard(message);
        }
    });
    second.set(Kind::Tools, vec![tool("echo")]);
    world.leave("a");
    world.join("b", "time/0", true, Some(pipes));
    until("the first word", || second.heard("initialize").len() == 1).await;
    let calling = tokio::spawn({
        let client = client.clone();
        async move { client.call(9, "time__echo").await }
    });
    let hello = second.heard("initialize").remove(0);
    let answer = json!({"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}});
    second.answer(&hello["id"], &answer);
    assert_eq!(calling.await.unwrap()["result"]["content"][0]["text"], r#"{"n":9}"#);
    assert_eq!(second.heard("tools/call").len(), 1);
}

#[tokio::test]
async fn a_call_to_a_server_that_stays_silent_ends_by_its_own_deadline() {
    let world = World::new(&["time"]).await;
    world.deadline(&["time"], 1).await;
    let (_fake, pipes) = Fake::scripted(|_, _| {});
    world.join("a", "time/0", true, Some(pipes));
    let client = world.demo().await;
    until("the life", || world.handshake("a").is_some()).await;
    assert_eq!(client.tools().await, Vec::<String>::new());
    let said = client.fails("time__anything").await;
    assert_eq!(said, "server time is still starting after 1 s; try again later.");
}
