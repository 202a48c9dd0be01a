//! Servers and clients of either era that differ in their era alone, and the four pairings of them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::world::World;
use crate::mcp::fake::Fake;
use crate::mcp::lists::Kind;
use crate::mcp::{MODERN, meta};
use crate::record::Era;

/// The pairings: client, server.
pub const PAIRINGS: [(Era, Era); 4] = [
    (Era::Legacy, Era::Legacy),
    (Era::Legacy, Era::Modern),
    (Era::Modern, Era::Legacy),
    (Era::Modern, Era::Modern),
];

/// Everything that a client can be asked.
pub fn everything() -> Value {
    json!({"elicitation": {"form": {}, "url": {}}, "sampling": {}, "roots": {}})
}

/// What a server wants to know, by the tool that is called.
pub fn question(tool: &str) -> Option<(&'static str, Value)> {
    Some(match tool {
        "form" => (
            "elicitation/create",
            json!({"mode": "form", "message": "Name?", "requestedSchema": {"type": "object", "properties": {}}}),
        ),
        "url" => (
            "elicitation/create",
            json!({"mode": "url", "message": "Log in", "url": "https://example.com/x", "elicitationId": "e1"}),
        ),
        "sample" => (
            "sampling/createMessage",
            json!({"messages": [], "maxTokens": 9, "later": 1.5e2}),
        ),
        "roots" => ("roots/list", json!({})),
        _ => return None,
    })
}

/// A server of either era that asks what its tools' names say, logs, and else does what [`Fake::standard`] does. A tool
/// that asks answers with what it was told.
pub fn script(fake: &Fake, message: &Value) {
    let id = &message["id"];
    let answer = |told: &Value| {
        let content = json!([{"type": "text", "text": told.to_string()}]);
        let mut result = json!({"content": content, "_meta": {"x/y": 1}, "structuredContent": told});
        if fake.listens.is_some() {
            result["resultType"] = "complete".into();
        }
        fake.answer(id, &result);
    };
    let params = &message["params"];
    if message["method"] == "tools/call" {
        let tool = params["name"].as_str().unwrap_or_default();
        if let Some((method, asks)) = question(tool) {
            if fake.listens.is_none() {
                let asked = json!(format!("question {id}"));
                return fake.say(&json!({"jsonrpc": "2.0", "id": asked, "method": method, "params": asks}));
            }
            let told = &params["inputResponses"]["it"];
            if told.is_object() && params["requestState"] == "the server's own" {
                return answer(told);
            }
            return fake.answer(
                id,
                &json!({
                    "resultType": "input_required",
                    "inputRequests": {"it": {"method": method, "params": asks}},
                    "requestState": "the server's own",
                }),
            );
        }
        if tool == "later" {
            let task = json!({"taskId": "t1", "status": "working"});
            return fake.answer(
                id,
                &match fake.listens {
                    None => json!({"task": task}),
                    Some(_) => json!({"resultType": "task", "taskId": "t1", "status": "working"}),
                },
            );
        }
        if tool == "log" {
            for level in ["debug", "info", "error"] {
                let params = json!({"level": level, "data": format!("at {level}"), "more": 1.5e2});
                fake.say(&json!({"jsonrpc": "2.0", "method": "notifications/message", "params": params}));
            }
            return answer(&json!({}));
        }
    }
    if message["method"] == "tasks/get" {
        return fake.answer(
            id,
            &json!({"taskId": params["taskId"], "status": "completed", "later": 1.5e2}),
        );
    }
    // An answer to a question of a legacy server: what was told is the call's result.
    if message["method"].is_null()
        && let Some(asked) = id.as_str().and_then(|id| id.strip_prefix("question "))
    {
        let told = if message["error"].is_null() {
            &message["result"]
        } else {
            &message["error"]
        };
        let content = json!([{"type": "text", "text": told.to_string()}]);
        let result = json!({"content": content, "isError": !message["error"].is_null(), "structuredContent": told});
        return fake.answer(&serde_json::from_str(asked).unwrap(), &result);
    }
    fake.standard(message);
}

/// A server of an era, in a project of its own, ready.
pub async fn server(era: Era, tools: &[&str]) -> (World, Fake) {
    let world = World::new(&["s"]).await;
    let (fake, pipes) = match era {
        Era::Legacy => Fake::scripted(script),
        Era::Modern => Fake::modern(script),
    };
    fake.set(
        Kind::Tools,
        tools.iter().map(|name| crate::mcp::fake::tool(name)).collect(),
    );
    fake.set(Kind::Prompts, vec![json!({"name": "p", "icons": [{"src": "data:,"}]})]);
    fake.set(Kind::Resources, vec![json!({"uri": "x:a", "name": "a", "size": 3})]);
    world.join("l", "s/0", true, Some(pipes));
    world.ready("l").await;
    (world, fake)
}

/// A client of either era, with what it answers when it is asked.
pub struct Peer {
    pub era: Era,
    pub http: reqwest::Client,
    pub url: String,
    pub session: Option<String>,
    capabilities: Value,
    caller: &'static str,
    /// The log level that it wants.
    pub level: Option<&'static str>,
    pub answers: BTreeMap<&'static str, Result<Value, Value>>,
}

/// What a client heard of one request.
#[derive(Debug, Default)]
pub struct Said {
    pub status: u16,
    pub notifications: Vec<Value>,
    pub asked: Vec<Value>,
    pub answer: Value,
}

impl Peer {
    pub async fn new(world: &World, era: Era, capabilities: Value) -> Self {
        Self::of(world, era, capabilities, "anna").await
    }

    pub async fn of(world: &World, era: Era, capabilities: Value, caller: &'static str) -> Self {
        let mut peer = Self {
            era,
            http: world.client.clone(),
            url: format!("{}/projects/demo/mcp", world.url),
            session: None,
            capabilities,
            caller,
            level: None,
            answers: [
                (
                    "elicitation/create",
                    Ok(json!({"action": "accept", "content": {"name": "Anna"}})),
                ),
                (
                    "sampling/createMessage",
                    Ok(json!({"role": "assistant", "model": "m", "content": {"type": "text", "text": "Hi"}})),
                ),
                ("roots/list", Ok(json!({"roots": [{"uri": "file:///x"}]}))),
            ]
            .into(),
        };
        if era == Era::Legacy {
            let params = json!({
                "protocolVersion": "2025-11-25",
                "capabilities": peer.capabilities,
                "clientInfo": {"name": "peer", "version": "1"},
            });
            let message = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
            let response = peer.post(&message).send().await.unwrap();
            peer.session = Some(response.headers()["mcp-session-id"].to_str().unwrap().to_owned());
        }
        peer
    }

    /// A request as the era wants it.
    pub fn post(&self, message: &Value) -> reqwest::RequestBuilder {
        let mut request = self
            .http
            .post(&self.url)
            .header("accept", "application/json, text/event-stream")
            .header("x-caller", self.caller);
        if let Some(session) = &self.session {
            request = request.header("mcp-session-id", session);
        }
        if self.era == Era::Modern {
            request = request
                .header("mcp-protocol-version", MODERN)
                .header("mcp-method", message["method"].as_str().unwrap());
            for key in ["name", "uri"] {
                if let Some(name) = message["params"][key].as_str() {
                    request = request.header("mcp-name", name);
                }
            }
        }
        request.json(message)
    }

    pub fn with_meta(&self, mut params: Value) -> Value {
        if self.era == Era::Modern {
            let said = &mut params["_meta"];
            if said.is_null() {
                *said = json!({});
            }
            said[meta::PROTOCOL] = MODERN.into();
            said[meta::CAPABILITIES] = self.capabilities.clone();
            said[meta::CLIENT] = json!({"name": "peer", "version": "1"});
            if let Some(level) = self.level {
                said[meta::LEVEL] = level.into();
            }
        }
        params
    }

    /// Asks once; a legacy client answers what it is asked meanwhile.
    pub async fn once(&self, id: u64, method: &str, params: Value) -> Said {
        let message = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": self.with_meta(params)});
        let mut response = self.post(&message).send().await.unwrap();
        let mut said = Said {
            status: response.status().as_u16(),
            ..Said::default()
        };
        if response.headers()["content-type"] == "application/json" {
            said.answer = response.json().await.unwrap();
            return said;
        }
        let mut text = String::new();
        while let Some(chunk) = response.chunk().await.unwrap() {
            text.push_str(std::str::from_utf8(&chunk).unwrap());
            while let Some((event, rest)) = text.split_once("\n\n") {
                let data = event.lines().find_map(|line| line.strip_prefix("data: "));
                let message: Option<Value> = data.map(|data| serde_json::from_str(data).unwrap());
                text = rest.to_owned();
                let Some(message) = message else { continue };
                match (message["method"].as_str(), &message["id"]) {
                    (None, _) => said.answer = message,
                    (Some(_), Value::Null) => said.notifications.push(message),
                    (Some(method), id) => {
                        assert_eq!(self.era, Era::Legacy, "a modern client gets no requests: {message}");
                        let reply = match &self.answers[method] {
                            Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
                            Err(error) => json!({"jsonrpc": "2.0", "id": id, "error": error}),
                        };
                        assert_eq!(self.post(&reply).send().await.unwrap().status(), 202);
                        said.asked.push(message);
                    }
                }
            }
        }
        said
    }

    /// Asks until there is an answer, in as many rounds as it needs.
    pub async fn ask(&self, method: &str, params: Value) -> Said {
        let mut said = self.once(1, method, params.clone()).await;
        for round in 2..5 {
            let result = said.answer["result"].clone();
            if result["resultType"] != "input_required" {
                break;
            }
            let mut again = params.clone();
            let mut asked = said.asked;
            for (key, question) in result["inputRequests"].as_object().unwrap() {
                asked.push(question.clone());
                if let Ok(told) = &self.answers[question["method"].as_str().unwrap()] {
                    again["inputResponses"][key] = told.clone();
                }
            }
            again["requestState"] = result["requestState"].clone();
            said = self.once(round, method, again).await;
            said.asked.splice(0..0, asked);
        }
        said
    }

    pub async fn call(&self, tool: &str) -> Said {
        let params = json!({"name": tool, "arguments": {"n": 1}, "_meta": {"progressToken": "t"}});
        self.ask("tools/call", params).await
    }
}
