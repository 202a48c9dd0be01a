//! rmcp, an SDK that is none of ours, on both sides of the gateway: its client in each era before servers in each era, over
//! pipes, that ask their client and tell it how far they are.
#![expect(
    deprecated,
    reason = "sampling is what both eras of rmcp can ask without a further feature"
)]

use std::borrow::Cow;
use std::sync::{Arc, Mutex};

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ClientCapabilities, ClientConfig, ContentBlock,
    CreateMessageRequest, CreateMessageRequestParams, CreateMessageResult, InputRequest, InputRequests,
    InputRequiredResult, ListToolsResult, PaginatedRequestParams, ProgressNotificationParam, ProtocolVersion,
    SamplingMessage, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::{ClientLifecycleMode, ClientServiceExt, NotificationContext, RequestContext};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{ClientHandler, ErrorData, RoleClient, RoleServer, ServerHandler, ServiceExt};
use serde_json::json;

use super::world::World;
use crate::kit::Pipes;

/// A server of one era.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Server {
    Legacy,
    Modern,
}

impl Server {
    fn question() -> CreateMessageRequestParams {
        CreateMessageRequestParams::new(vec![SamplingMessage::user_text("Who are you?")], 100)
    }

    fn answered(by: &str) -> CallToolResponse {
        CallToolResult::success(vec![ContentBlock::text(format!("asked {by}"))]).into()
    }
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        match self {
            Self::Legacy => Cow::Owned(vec![ProtocolVersion::V_2025_06_18, ProtocolVersion::V_2025_11_25]),
            Self::Modern => Cow::Owned(vec![ProtocolVersion::V_2026_07_28]),
        }
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let schema = Arc::new(json!({"type": "object"}).as_object().unwrap().clone());
        let tool = |name| Tool::new(name, "a tool", Arc::clone(&schema));
        Ok(ListToolsResult::with_all_items(vec![tool("ask"), tool("step")]))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        if request.name == "step" {
            if let Some(token) = context.meta.get_progress_token() {
                for done in 1..=3 {
                    let progress = ProgressNotificationParam::new(token.clone(), f64::from(done));
                    context.peer.notify_progress(progress).await.unwrap();
                }
            }
            return Ok(Self::answered("nobody"));
        }
        if *self == Self::Legacy {
            let result = context.peer.create_message(Self::question()).await;
            return result
                .map(|result| Self::answered(&result.model))
                .map_err(|error| ErrorData::internal_error(error.to_string(), None));
        }
        if let Some(answers) = request.input_responses {
            return Ok(Self::answered(answers["who"]["model"].as_str().unwrap_or("nobody")));
        }
        let question = InputRequest::CreateMessage(CreateMessageRequest::new(Self::question()));
        let questions = InputRequests::from([("who".to_owned(), question)]);
        Ok(InputRequiredResult::new(Some(questions), None).into())
    }
}

/// A client that has a model, and counts what it is told.
#[derive(Clone, Default)]
struct Client(Arc<Mutex<Vec<f64>>>);

impl ClientHandler for Client {
    fn get_info(&self) -> ClientConfig {
        let mut config = ClientConfig::default();
        config.capabilities = ClientCapabilities::builder().enable_sampling().build();
        config
    }

    async fn create_message(
        &self,
        _: CreateMessageRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<CreateMessageResult, ErrorData> {
        Ok(CreateMessageResult::new(
            SamplingMessage::assistant_text("I am"),
            "parrot".to_owned(),
        ))
    }

    async fn on_progress(&self, progress: ProgressNotificationParam, _: NotificationContext<RoleClient>) {
        self.0.lock().unwrap().push(progress.progress);
    }
}

#[tokio::test]
async fn rmcp_of_each_era_calls_rmcp_of_each_era() {
    let world = World::new(&["time", "git"]).await;
    for (name, instance, server) in [("a", "time/0", Server::Legacy), ("b", "git/0", Server::Modern)] {
        let (ours, theirs) = tokio::io::duplex(4_096);
        tokio::spawn(async move { server.serve(theirs).await.unwrap().waiting().await });
        let (reader, writer) = tokio::io::split(ours);
        let pipes = Pipes {
            reader: Box::new(reader),
            writer: Box::new(writer),
        };
        world.join(name, instance, true, Some(pipes));
        world.ready(name).await;
    }
    let modern = ClientLifecycleMode::Discover {
        preferred_versions: vec![ProtocolVersion::V_2026_07_28],
    };
    for lifecycle in [ClientLifecycleMode::Initialize, modern] {
        let said = format!("{lifecycle:?}");
        let told = Client::default();
        let config = StreamableHttpClientTransportConfig::with_uri(format!("{}/projects/demo/mcp", world.url));
        let transport = StreamableHttpClientTransport::with_client(world.client.clone(), config);
        let client = told.clone().serve_with_lifecycle(transport, lifecycle).await.unwrap();
        let tools = client.list_all_tools().await.unwrap();
        let names: Vec<_> = tools.iter().map(|tool| &*tool.name).collect();
        assert_eq!(names, ["time__ask", "time__step", "git__ask", "git__step"], "{said}");
        for server in ["time", "git"] {
            let call = CallToolRequestParams::new(format!("{server}__ask"));
            let result = serde_json::to_value(client.call_tool(call).await.unwrap()).unwrap();
            assert_eq!(result["content"][0]["text"], "asked parrot", "{said} {server}");
            told.0.lock().unwrap().clear();
            let call = CallToolRequestParams::new(format!("{server}__step"));
            client.call_tool(call).await.unwrap();
            assert_eq!(*told.0.lock().unwrap(), [1.0, 2.0, 3.0], "{said} {server}");
        }
        client.cancel().await.unwrap();
    }
}
