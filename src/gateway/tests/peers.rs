//! Independent peers: rmcp as client over HTTP and as server behind a pipe, and a real child process.

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::Arc;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ListToolsResult, PaginatedRequestParams,
    ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::{NotificationContext, RequestContext};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{ClientHandler, ErrorData, RoleClient, RoleServer, ServerHandler, ServiceExt};
use serde_json::json;
use tokio::sync::Notify;

use super::world::{World, life};
use crate::kit::Pipes;
use crate::mcp::fake::until;

struct Server;

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let schema = json!({"type": "object"}).as_object().unwrap().clone();
        Ok(ListToolsResult::with_all_items(vec![Tool::new(
            "echo",
            "says it again",
            Arc::new(schema),
        )]))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let said = json!({"name": request.name, "arguments": request.arguments}).to_string();
        Ok(CallToolResult::success(vec![ContentBlock::text(said)]).into())
    }
}

#[derive(Clone, Default)]
struct Client(Arc<Notify>);

impl ClientHandler for Client {
    async fn on_tool_list_changed(&self, _: NotificationContext<RoleClient>) {
        self.0.notify_one();
    }
}

#[tokio::test]
async fn rmcp_talks_to_rmcp() {
    let world = World::new(&["time", "git"]).await;
    for (name, instance) in [("a", "time/0"), ("b", "git/0")] {
        let (ours, theirs) = tokio::io::duplex(4_096);
        tokio::spawn(async move { Server.serve(theirs).await.unwrap().waiting().await });
        let (reader, writer) = tokio::io::split(ours);
        world.join(
            name,
            instance,
            true,
            Some(Pipes {
                reader: Box::new(reader),
                writer: Box::new(writer),
            }),
        );
        world.ready(name).await;
    }
    let changed = Client::default();
    let config = StreamableHttpClientTransportConfig::with_uri(format!("{}/projects/demo/mcp", world.url));
    let transport = StreamableHttpClientTransport::with_client(world.client.clone(), config);
    let client = changed.clone().serve(transport).await.unwrap();
    let tools = client.list_all_tools().await.unwrap();
    let names: Vec<_> = tools.iter().map(|tool| &*tool.name).collect();
    assert_eq!(names, ["time__echo", "git__echo"]);
    let arguments = json!({"n": 1}).as_object().unwrap().clone();
    let call = CallToolRequestParams::new("git__echo").with_arguments(arguments);
    let result = client.call_tool(call).await.unwrap();
    let result = serde_json::to_value(&result).unwrap();
    assert_eq!(
        result["content"][0]["text"],
        json!({"name": "echo", "arguments": {"n": 1}}).to_string()
    );
    assert!(client.call_tool(CallToolRequestParams::new("nope")).await.is_err());
    world.declare(&["time"], &json!({}));
    changed.0.notified().await;
    assert_eq!(client.list_all_tools().await.unwrap().len(), 1);
    client.cancel().await.unwrap();
}

#[tokio::test]
async fn a_real_process_is_held_open_and_its_death_is_noticed() {
    let world = World::new(&["time"]).await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/echo_server.py");
    let mut children = HashMap::new();
    for name in ["a", "b"] {
        let mut command = tokio::process::Command::new("python3");
        command
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let (reader, writer) = (child.stdout.take().unwrap(), child.stdin.take().unwrap());
        world.join(
            name,
            "time/0",
            true,
            Some(Pipes {
                reader: Box::new(reader),
                writer: Box::new(writer),
            }),
        );
        world.ready(name).await;
        let client = world.demo().await;
        let calls = (0..20).map(|id| client.call(id, "time__echo"));
        for (id, answer) in futures_util::future::join_all(calls).await.into_iter().enumerate() {
            assert_eq!(answer["result"]["content"][0]["text"], json!({"n": id}).to_string());
        }
        if name == "a" {
            child.kill().await.unwrap();
            world.failed("a").await;
            world.leave("a");
        }
        children.insert(name, child);
    }
    world.leave("b");
    // Its stdin is closed, so it leaves by itself.
    let mut child = children.remove("b").unwrap();
    assert!(child.wait().await.unwrap().success());
    until("nothing is held", || {
        world.gateway.in_flight(&life("b")) == 0 && world.handshake("b").is_none()
    })
    .await;
}
