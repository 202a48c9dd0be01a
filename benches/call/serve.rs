//! The small servers that this program is itself: the echo over pipes, the echo over HTTP, and a forwarder of rmcp alone.

use std::io::{BufRead, Write};
use std::sync::Arc;

use anyhow::Result;
use axum::routing::post;
use axum::serve::ListenerExt;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig,
};
use rmcp::service::{Peer, RequestContext, RunningService};
use rmcp::transport::TokioChildProcess;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, RoleClient, RoleServer, ServerHandler, ServiceExt};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::process::Command;

/// The smallest server that can be measured: one thread, one tool.
pub fn stdio() -> Result<()> {
    let (input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
    for line in input.lines() {
        let Ok(message) = serde_json::from_str::<Value>(&line?) else {
            continue;
        };
        if message["id"].is_null() || message["method"].is_null() {
            continue;
        }
        let result = match message["method"].as_str() {
            Some("initialize") => json!({
                "protocolVersion": message["params"]["protocolVersion"],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "echo", "version": "1"},
            }),
            Some("ping") => json!({}),
            Some("tools/list") => json!({"tools": [{"name": "echo", "inputSchema": {"type": "object"}}]}),
            Some("tools/call") => {
                json!({"content": [{"type": "text", "text": message["params"]["arguments"]["message"]}]})
            }
            _ => Value::Null,
        };
        let answer = if result.is_null() {
            json!({"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32601, "message": "Method not found"}})
        } else {
            json!({"jsonrpc": "2.0", "id": message["id"], "result": result})
        };
        output.write_all(format!("{answer}\n").as_bytes())?;
        output.flush()?;
    }
    Ok(())
}

async fn listen(port: u16, app: axum::Router) -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    Ok(axum::serve(listener, app).await?)
}

/// An HTTP echo on mcpd's server stack: the body is read, and a fixed answer is given.
pub async fn http(port: u16) -> Result<()> {
    let echo = async |body: bytes::Bytes| {
        let answer = r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"hello"}]}}"#;
        drop(body);
        ([("content-type", "application/json")], answer)
    };
    listen(port, axum::Router::new().route("/mcp", post(echo))).await
}

/// Passes tools through, and has nothing else.
#[derive(Clone)]
struct Forwarder(Peer<RoleClient>);

impl ServerHandler for Forwarder {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let listed = self.0.list_tools(request).await;
        listed.map_err(|error| ErrorData::internal_error(error.to_string(), None))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let called = self.0.call_tool(request).await;
        called
            .map(Into::into)
            .map_err(|error| ErrorData::internal_error(error.to_string(), None))
    }
}

/// A forwarder of rmcp alone over one echo server.
pub async fn forwarder(port: u16) -> Result<()> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--echo-server");
    let server: RunningService<RoleClient, ()> = ().serve(TokioChildProcess::new(command)?).await?;
    let peer = server.peer().clone();
    let mut config = StreamableHttpServerConfig::default();
    config.json_response = true;
    let service = StreamableHttpService::new(
        move || Ok(Forwarder(peer.clone())),
        Arc::new(LocalSessionManager::default()),
        config,
    );
    listen(port, axum::Router::new().nest_service("/mcp", service)).await
}
