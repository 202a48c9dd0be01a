//! What a request must look like.

use reqwest::Method;
use serde_json::{Value, json};

use super::world::{World, hear};

#[tokio::test]
async fn requests_are_checked() {
    let world = World::new(&["time"]).await;
    let client = world.demo().await;
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
    let raw = |body: &str| {
        client
            .request(Method::POST)
            .header("content-type", "application/json")
            .body(body.to_owned())
    };
    let mut foreign = client.clone();
    foreign.session = "00".repeat(16);
    let mut sessionless = client.clone();
    sessionless.session.clear();
    let call =
        |params: Value| client.post(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}));
    let deep = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"a":{}{}}}}}"#,
        "[".repeat(500),
        "]".repeat(500)
    );
    let table = [
        (client.post(&ping), 200, None),
        (
            client.post(&ping).header("mcp-protocol-version", "2025-06-18"),
            200,
            None,
        ),
        (
            client.post(&ping).header("mcp-protocol-version", "2026-07-28"),
            400,
            Some(-32602),
        ),
        (
            client.post(&ping).header("mcp-protocol-version", "2027-01-01"),
            400,
            Some(-32000),
        ),
        (
            client
                .request(Method::POST)
                .header("content-type", "text/plain")
                .body("{}"),
            415,
            Some(-32000),
        ),
        (client.request(Method::POST).body("{}"), 415, Some(-32000)),
        (
            client.http.post(&client.url).header("accept", "text/html").json(&ping),
            406,
            Some(-32000),
        ),
        (
            client.http.get(&client.url).header("accept", "application/json"),
            406,
            Some(-32000),
        ),
        (client.request(Method::PUT), 405, Some(-32000)),
        (raw(&" ".repeat(5 << 20)), 413, Some(-32000)),
        (raw("{\"jsonrpc\""), 400, Some(-32700)),
        (raw("[]"), 400, Some(-32600)),
        (raw("{}"), 400, Some(-32600)),
        (raw(&deep), 400, Some(-32600)),
        (sessionless.post(&ping), 400, Some(-32000)),
        (sessionless.request(Method::DELETE), 400, Some(-32000)),
        (
            sessionless.post(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"})),
            400,
            Some(-32000),
        ),
        (foreign.post(&ping), 404, Some(-32001)),
        (foreign.request(Method::GET), 404, Some(-32001)),
        (client.post(&ping).header("x-caller", "bert"), 404, Some(-32001)),
        (
            client.post(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"})),
            202,
            None,
        ),
        (
            client.post(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 5}})),
            202,
            None,
        ),
        (
            client.post(&json!({"jsonrpc": "2.0", "id": 5, "result": {}})),
            202,
            None,
        ),
        (
            sessionless.post(&json!({"jsonrpc": "2.0", "id": 1, "method": "server/discover"})),
            200,
            Some(-32601),
        ),
        (
            client.post(&json!({"jsonrpc": "2.0", "id": 1, "method": "logging/setLevel", "params": {"level": "loud"}})),
            200,
            Some(-32602),
        ),
        (
            client.post(&json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}})),
            200,
            Some(-32602),
        ),
        (
            client.post(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"cursor": "x"}})),
            200,
            Some(-32602),
        ),
        (call(json!({"name": "nope"})), 200, Some(-32602)),
        (call(json!({"name": 7})), 200, Some(-32602)),
        (call(json!({})), 200, Some(-32602)),
        (call(json!({"name": "time__x", "_meta": 7})), 200, Some(-32602)),
        (
            raw(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","name":"b"}}"#),
            200,
            Some(-32602),
        ),
    ];
    for (number, (request, status, code)) in table.into_iter().enumerate() {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status, "row {number}");
        let body = response.text().await.unwrap();
        let said: Value = serde_json::from_str(&body).unwrap_or_default();
        assert_eq!(said["error"]["code"].as_i64(), code, "row {number}: {body}");
    }
}

#[tokio::test]
async fn endpoints_that_are_not_there_are_404() {
    let world = World::new(&["time"]).await;
    for (path, detail) in [
        ("/projects/nope/mcp", "there is no project \"nope\""),
        ("/servers/nope/mcp", "there is no server \"nope\""),
        (
            "/projects/demo/servers/nope/mcp",
            "project \"demo\" has no server \"nope\"",
        ),
    ] {
        let response = world
            .client
            .post(format!("{}{path}", world.url))
            .body("{}")
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 404);
        let want = json!({"error": "not_found", "detail": detail});
        assert_eq!(response.json::<Value>().await.unwrap(), want);
    }
}

#[tokio::test]
async fn versions_are_agreed_on() {
    let world = World::new(&[]).await;
    let client = world.demo().await;
    for (asked, given) in [
        ("2024-11-05", "2024-11-05"),
        ("2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
        ("2026-07-28", "2025-11-25"),
        ("1.0", "2025-11-25"),
    ] {
        let answer = client.ask(1, "initialize", json!({"protocolVersion": asked})).await;
        assert_eq!(answer["result"]["protocolVersion"], given);
        assert_eq!(answer["result"]["serverInfo"]["title"], "demo");
    }
}

/// pitfalls.md, Upstreams: "a lost `initialized` under 32 parallel sessions".
#[tokio::test]
async fn parallel_sessions_all_work() {
    let world = World::new(&["time"]).await;
    let fake = world.start("a", "time/0", &["echo"]).await;
    let session = async |n: u64| {
        let client = world.demo().await;
        let initialized = client.post(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        assert_eq!(initialized.send().await.unwrap().status(), 202);
        assert_eq!(client.tools().await, ["time__echo"]);
        // The same id in every session: they share one connection all the same.
        let answer = client
            .ask(1, "tools/call", json!({"name": "time__echo", "arguments": {"n": n}}))
            .await;
        assert_eq!(answer["result"]["content"][0]["text"], json!({"n": n}).to_string());
    };
    futures_util::future::join_all((0..32).map(session)).await;
    assert_eq!(fake.heard("initialize").len(), 1);
}

#[tokio::test]
async fn a_deleted_session_ends_with_its_calls_and_its_stream() {
    let world = World::new(&["time"]).await;
    let fake = world.start("a", "time/0", &["slow"]).await;
    let client = world.demo().await;
    let mut stream = client.listen().await;
    hear(&mut stream, ": open").await;
    let calling = tokio::spawn({
        let client = client.clone();
        async move { client.call(1, "time__slow").await }
    });
    crate::mcp::fake::until("the call", || fake.heard("tools/call").len() == 1).await;
    assert_eq!(client.request(Method::DELETE).send().await.unwrap().status(), 204);
    assert_eq!(calling.await.unwrap()["error"]["code"], -32800);
    while stream.chunk().await.unwrap().is_some() {}
    crate::mcp::fake::until("the cancellation", || fake.heard("notifications/cancelled").len() == 1).await;
    let ping = client.post(&json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}));
    assert_eq!(ping.send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn streams_end_at_shutdown_and_a_newer_one_takes_the_place() {
    let world = World::new(&["time"]).await;
    let client = world.demo().await;
    let mut old = client.listen().await;
    hear(&mut old, ": open").await;
    let mut new = client.listen().await;
    hear(&mut new, ": open").await;
    while old.chunk().await.unwrap().is_some() {}
    world.stop.cancel();
    while new.chunk().await.unwrap().is_some() {}
    let ping = client.post(&json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}));
    assert_eq!(ping.send().await.unwrap().status(), 503);
}
