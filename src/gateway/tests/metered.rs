//! What is counted of real requests, and the id that client and log share.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, prometheus_text};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};

use super::world::{World, hear};
use crate::gateway::Gateway;
use crate::mcp::fake::until;

struct Scrape(Gateway);

impl std::fmt::Debug for Scrape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scrape")
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        self.0.encode(&mut encoder)
    }
}

/// The lines of a scrape that begin like this, in their order.
fn scraped(world: &World, name: &str) -> Vec<String> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape(world.gateway.clone())));
    let mut text = String::new();
    prometheus_text::encode(&mut text, &registry).unwrap();
    let lines = text.lines().filter(|line| line.starts_with(name));
    lines.map(str::to_owned).collect()
}

#[tokio::test]
async fn requests_are_counted_by_project_server_tool_and_outcome() {
    let world = World::new(&["time", "git"]).await;
    let time = world
        .start("a", "time/0", &["echo", "refuse", "slow", "bad\"name"])
        .await;
    let git = world.start("b", "git/0", &["echo"]).await;
    let client = world.demo().await;
    client.tools().await;
    client.call(1, "time__echo").await;
    client.call(2, "time__echo").await;
    client.call(3, "time__refuse").await;
    client.call(4, "time__nope").await;
    client.call(5, "nope\n").await;
    client.ask(6, "resources/read", json!({"uri": "x:y"})).await;
    client.ask(7, "no/such", json!({})).await;
    client.ask(8, "tools/call", json!({"name": 7})).await;
    let plain = world.session("/servers/git/mcp").await;
    plain.call(1, "echo").await;
    git.close();
    world.failed("b").await;
    client.fails("git__echo").await;
    let calling = tokio::spawn({
        let client = client.clone();
        async move { client.call(9, "time__slow").await }
    });
    until("the call", || time.heard("tools/call").len() == 4).await;
    assert_eq!(
        scraped(&world, "mcpd_mcp_requests_in_flight"),
        ["mcpd_mcp_requests_in_flight 1"]
    );
    assert!(
        scraped(&world, "mcpd_upstream_requests_in_flight")
            .contains(&"mcpd_upstream_requests_in_flight{server=\"time\"} 1".to_owned())
    );
    calling.abort();
    until("nothing in flight", || {
        scraped(&world, "mcpd_mcp_requests_in_flight") == ["mcpd_mcp_requests_in_flight 0"]
    })
    .await;
    let line = |project: &str, server: &str, method: &str, tool: &str, outcome: &str, count: u32| {
        format!(
            "mcpd_mcp_requests_total{{project=\"{project}\",server=\"{server}\",method=\"{method}\",tool=\"{tool}\",outcome=\"{outcome}\"}} {count}"
        )
    };
    let want = [
        line("", "git", "initialize", "", "ok", 1),
        line("", "git", "tools/call", "echo", "ok", 1),
        line("demo", "", "initialize", "", "ok", 1),
        line("demo", "", "resources/read", "", "unknown", 1),
        line("demo", "", "tools/call", "", "unknown", 2),
        line("demo", "", "tools/call", "", "refused", 1),
        line("demo", "", "tools/list", "", "ok", 1),
        line("demo", "", "other", "", "unknown", 1),
        line("demo", "git", "tools/call", "git__echo", "unavailable", 1),
        line("demo", "time", "tools/call", "time__echo", "ok", 2),
        line("demo", "time", "tools/call", "time__refuse", "error", 1),
        line("demo", "time", "tools/call", "time__slow", "cancelled", 1),
    ];
    let mut counted = scraped(&world, "mcpd_mcp_requests_total");
    counted.sort();
    let mut want: Vec<String> = want.into();
    want.sort();
    assert_eq!(counted, want);
    assert!(
        scraped(&world, "mcpd_mcp_request_seconds_count")
            .contains(&"mcpd_mcp_request_seconds_count{project=\"demo\",server=\"time\"} 4".to_owned())
    );
    assert_eq!(scraped(&world, "mcpd_mcp_sessions"), ["mcpd_mcp_sessions 2"]);
    // What is declared no longer is counted no longer.
    world.declare(&["git"], &json!({}));
    until("time to go", || {
        !scraped(&world, "mcpd_mcp_requests_total")
            .iter()
            .any(|line| line.contains("time"))
    })
    .await;
}

/// Every answer names its id, the client's own where it has one, and what failed ends with it.
#[tokio::test]
async fn answers_name_the_id_that_the_log_has() {
    let world = World::new(&["time"]).await;
    let time = world.start("a", "time/0", &["echo", "die"]).await;
    let client = world.demo().await;
    let params = |tool: &str| json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool}});
    let own = client
        .post(&params("time__echo"))
        .header("x-correlation-id", "my-own-id_1");
    assert_eq!(own.send().await.unwrap().headers()["x-correlation-id"], "my-own-id_1");
    for wrong in ["short", "with space", &"x".repeat(65)] {
        let minted = client
            .post(&params("time__echo"))
            .header("x-correlation-id", wrong)
            .send()
            .await
            .unwrap();
        let id = minted.headers()["x-correlation-id"].to_str().unwrap().to_owned();
        assert!(id.len() == 32 && id != wrong, "{id}");
    }
    // A refusal has one too, and so has a stream.
    let refused = client.request(reqwest::Method::POST).body("{}").send().await.unwrap();
    assert_eq!(refused.headers()["x-correlation-id"].len(), 32);
    let mut stream = client.listen().await;
    assert_eq!(stream.headers()["x-correlation-id"].len(), 32);
    hear(&mut stream, ": open").await;
    assert_eq!(scraped(&world, "mcpd_mcp_streams"), ["mcpd_mcp_streams 1"]);
    drop(stream);
    until("the stream's end", || {
        scraped(&world, "mcpd_mcp_streams") == ["mcpd_mcp_streams 0"]
    })
    .await;
    let died = client
        .post(&params("time__die"))
        .header("x-correlation-id", "0123abcd")
        .send()
        .await
        .unwrap();
    let answer: Value = died.json().await.unwrap();
    let text = answer["result"]["content"][0]["text"].as_str().unwrap();
    assert!(text.ends_with(" (correlation id 0123abcd)"), "{text}");
    until("its end", || time.is_gone()).await;
    world.failed("a").await;
    let text = client.fails("time__echo").await;
    assert!(text.starts_with("server time is not available"), "{text}");
}
