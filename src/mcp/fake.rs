//! A server in this process for tests: it does what a script says, and remembers what it heard.
#![expect(clippy::disallowed_methods, reason = "the fake is a task of its own")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::sync::mpsc;

use crate::kit::Pipes;

use super::locked;

/// A fake server, as its test sees it.
#[derive(Clone)]
pub struct Fake {
    /// Every message that it heard.
    pub heard: Arc<Mutex<Vec<Value>>>,
    /// The entries of its tools.
    pub tools: Arc<Mutex<Vec<Value>>>,
    say: mpsc::UnboundedSender<Option<Vec<u8>>>,
}

impl Fake {
    /// A server whose answers are up to `script`.
    pub fn scripted(script: impl Fn(&Fake, &Value) + Send + Sync + 'static) -> (Self, Pipes) {
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        let (say, mut said) = mpsc::unbounded_channel::<Option<Vec<u8>>>();
        let fake = Self {
            heard: Arc::default(),
            tools: Arc::default(),
            say,
        };
        let (reader, mut writer) = tokio::io::split(theirs);
        let hearing = fake.clone();
        tokio::spawn(async move {
            let hear = async {
                let mut lines = BufReader::new(reader).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    let message: Value = serde_json::from_str(&line).unwrap_or_else(|_| json!({"line": line}));
                    locked(&hearing.heard).push(message.clone());
                    script(&hearing, &message);
                }
            };
            let speak = async {
                while let Some(Some(bytes)) = said.recv().await {
                    if writer.write_all(&bytes).await.is_err() {
                        break;
                    }
                }
            };
            tokio::select! { () = hear => {}, () = speak => {} }
        });
        let (reader, writer) = tokio::io::split(ours);
        let pipes = Pipes {
            reader: Box::new(reader),
            writer: Box::new(writer),
        };
        (fake, pipes)
    }

    /// A server with some tools. `echo` answers with its arguments; `progress` tells three steps first; `slow` never answers;
    /// `die` ends the server; `refuse` is a JSON-RPC error.
    pub fn with_tools(names: &[&str]) -> (Self, Pipes) {
        let made = Self::scripted(Self::standard);
        *locked(&made.0.tools) = names.iter().map(|name| tool(name)).collect();
        made
    }

    /// What [`Fake::with_tools`] does.
    pub fn standard(&self, message: &Value) {
        let id = &message["id"];
        match message["method"].as_str() {
            Some("initialize") => self.answer(
                id,
                &json!({
                    "protocolVersion": message["params"]["protocolVersion"],
                    "capabilities": {"tools": {"listChanged": true}},
                    "serverInfo": {"name": "fake", "version": "1"},
                }),
            ),
            Some("tools/list") => {
                let tools = locked(&self.tools).clone();
                self.answer(id, &json!({"tools": tools}));
            }
            Some("tools/call") => match message["params"]["name"].as_str() {
                Some("slow") => {}
                Some("die") => self.close(),
                Some("refuse") => self.say(&json!({
                    "jsonrpc": "2.0", "id": id, "error": {"code": -7, "message": "no", "data": {"kept": true}},
                })),
                Some("progress") => {
                    for step in 1..=3 {
                        let token = &message["params"]["_meta"]["progressToken"];
                        let params = json!({"progressToken": token, "progress": step, "extra": "kept"});
                        self.say(&json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}));
                    }
                    self.answer(id, &json!({"content": []}));
                }
                _ => {
                    let text = message["params"]["arguments"].to_string();
                    self.answer(
                        id,
                        &json!({"content": [{"type": "text", "text": text}], "unknownField": 1}),
                    );
                }
            },
            _ => {}
        }
    }

    /// Says a result.
    pub fn answer(&self, id: &Value, result: &Value) {
        self.say(&json!({"jsonrpc": "2.0", "id": id, "result": result}));
    }

    /// Says a message.
    pub fn say(&self, message: &Value) {
        self.say_raw(format!("{message}\n"));
    }

    /// Writes bytes.
    pub fn say_raw(&self, bytes: impl Into<Vec<u8>>) {
        let _ = self.say.send(Some(bytes.into()));
    }

    /// Ends the server.
    pub fn close(&self) {
        let _ = self.say.send(None);
    }

    /// Whether it ended.
    pub fn is_gone(&self) -> bool {
        self.say.is_closed()
    }

    /// What it heard with this method.
    pub fn heard(&self, method: &str) -> Vec<Value> {
        let heard = locked(&self.heard);
        heard
            .iter()
            .filter(|message| message["method"] == method)
            .cloned()
            .collect()
    }
}

/// The entry of a tool.
pub fn tool(name: &str) -> Value {
    json!({"name": name, "inputSchema": {"type": "object"}})
}

/// Waits until something is so.
pub async fn until(what: &str, mut so: impl FnMut() -> bool) {
    for _ in 0..6_000 {
        if so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("waited in vain: {what}");
}
