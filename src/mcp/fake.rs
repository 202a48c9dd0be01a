//! A server in this process for tests: it does what a script says, and remembers what it heard.
#![expect(clippy::disallowed_methods, reason = "the fake is a task of its own")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::sync::mpsc;

use crate::kit::Pipes;

use super::lists::{Each, Kind};
use super::{ACKNOWLEDGED, MODERN, locked, meta};

/// A fake server, as its test sees it.
#[derive(Clone)]
pub struct Fake {
    /// Every message that it heard.
    pub heard: Arc<Mutex<Vec<Value>>>,
    /// The entries of its lists; it declares what is there at the handshake.
    pub lists: Arc<Mutex<Each<Option<Vec<Value>>>>>,
    /// The `subscriptions/listen` requests that are open, where it is of the modern era.
    pub listens: Option<Arc<Mutex<Vec<Value>>>>,
    say: mpsc::UnboundedSender<Option<Vec<u8>>>,
}

impl Fake {
    /// A server whose answers are up to `script`.
    pub fn scripted(script: impl Fn(&Fake, &Value) + Send + Sync + 'static) -> (Self, Pipes) {
        Self::of_era(None, script)
    }

    /// The same of the modern era.
    pub fn modern(script: impl Fn(&Fake, &Value) + Send + Sync + 'static) -> (Self, Pipes) {
        Self::of_era(Some(Arc::default()), script)
    }

    fn of_era(
        listens: Option<Arc<Mutex<Vec<Value>>>>,
        script: impl Fn(&Fake, &Value) + Send + Sync + 'static,
    ) -> (Self, Pipes) {
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        let (say, mut said) = mpsc::unbounded_channel::<Option<Vec<u8>>>();
        let fake = Self {
            heard: Arc::default(),
            lists: Arc::new(Mutex::new(Each::new(|kind| (kind == Kind::Tools).then(Vec::new)))),
            listens,
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
        made.0.set(Kind::Tools, names.iter().map(|name| tool(name)).collect());
        made
    }

    /// A server with entries of some kinds, which has no other kind. It reads what it lists and what its templates begin
    /// like, and takes any subscription; `x:at-once` changes as soon as somebody subscribes to it.
    pub fn with_lists(lists: &[(Kind, &[&str])]) -> (Self, Pipes) {
        let made = Self::scripted(Self::standard);
        *locked(&made.0.lists) = Each::default();
        for (kind, keys) in lists {
            made.0.set(*kind, keys.iter().map(|key| entry(*kind, key)).collect());
        }
        made
    }

    /// Replaces a list.
    pub fn set(&self, kind: Kind, entries: Vec<Value>) {
        *locked(&self.lists).of_mut(kind) = Some(entries);
    }

    /// Says that a list changed.
    pub fn say_changed(&self, kind: Kind) {
        let name = match kind {
            Kind::Tools => "toolsListChanged",
            Kind::Prompts => "promptsListChanged",
            Kind::Resources | Kind::Templates => "resourcesListChanged",
        };
        self.say_to_listeners(kind.changed(), &json!({}), |filter| filter[name] == true);
    }

    /// Says that a resource changed.
    pub fn say_updated(&self, uri: &str) {
        let params = json!({"uri": uri, "extra": "kept"});
        self.say_to_listeners("notifications/resources/updated", &params, |filter| {
            let wanted = filter["resourceSubscriptions"].as_array();
            wanted.is_some_and(|wanted| wanted.contains(&json!(uri)))
        });
    }

    /// Says it as it is in the legacy era; in the modern one on each stream that wants it.
    fn say_to_listeners(&self, method: &str, params: &Value, wanted: impl Fn(&Value) -> bool) {
        let Some(listens) = &self.listens else {
            return self.say(&json!({"jsonrpc": "2.0", "method": method, "params": params}));
        };
        for listen in locked(listens).iter() {
            if wanted(&listen["params"]["notifications"]) {
                let mut params = params.clone();
                params["_meta"] = json!({meta::SUBSCRIPTION: listen["id"]});
                self.say(&json!({"jsonrpc": "2.0", "method": method, "params": params}));
            }
        }
    }

    /// Ends its streams of notifications: as the specification wants it, or with an error.
    pub fn end_listens(&self, gracefully: bool) {
        for listen in self
            .listens
            .iter()
            .flat_map(|listens| std::mem::take(&mut *locked(listens)))
        {
            if gracefully {
                let result = json!({"resultType": "complete", "_meta": {meta::SUBSCRIPTION: listen["id"]}});
                self.answer(&listen["id"], &result);
            } else {
                let params = json!({"requestId": listen["id"]});
                self.say(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}));
            }
        }
    }

    fn refuse(&self, id: &Value, code: i32, message: &str, data: Option<Value>) {
        let mut error = json!({"code": code, "message": message});
        if let Some(data) = data {
            error["data"] = data;
        }
        self.say(&json!({"jsonrpc": "2.0", "id": id, "error": error}));
    }

    /// What a modern server does that a legacy one does not; whether that was all.
    fn is_done_in_modern(&self, listens: &Mutex<Vec<Value>>, message: &Value) -> bool {
        let id = &message["id"];
        let method = message["method"].as_str().unwrap_or_default();
        let meta = &message["params"]["_meta"];
        if id.is_null() {
            if method == "notifications/cancelled" {
                locked(listens).retain(|listen| listen["id"] != message["params"]["requestId"]);
            }
            return true;
        }
        let version = &meta[meta::PROTOCOL];
        if version.is_null() || !meta[meta::CAPABILITIES].is_object() {
            self.refuse(id, -32602, "params._meta is missing", None);
            return true;
        }
        if version != MODERN {
            let data = json!({"supported": [MODERN], "requested": version});
            self.refuse(id, -32022, "Unsupported protocol version", Some(data));
            return true;
        }
        match method {
            "server/discover" => self.answer(
                id,
                &json!({
                    "resultType": "complete", "supportedVersions": [MODERN], "capabilities": self.capabilities(),
                    "_meta": {meta::SERVER: {"name": "fake", "version": "2"}}, "ttlMs": 0, "cacheScope": "private",
                }),
            ),
            "subscriptions/listen" => {
                let params = json!({
                    "_meta": {meta::SUBSCRIPTION: id}, "notifications": message["params"]["notifications"],
                });
                self.say(&json!({"jsonrpc": "2.0", "method": ACKNOWLEDGED, "params": params}));
                locked(listens).push(message.clone());
            }
            "initialize" | "ping" | "resources/subscribe" | "resources/unsubscribe" | "logging/setLevel" => {
                self.refuse(id, -32601, "Method not found", None);
            }
            _ => return false,
        }
        true
    }

    fn capabilities(&self) -> Value {
        let lists = locked(&self.lists);
        let mut can = serde_json::Map::new();
        let mut declare = |name: &str, has: bool, what: Value| {
            if has {
                can.insert(name.to_owned(), what);
            }
        };
        let resources = [Kind::Resources, Kind::Templates];
        declare("tools", lists.of(Kind::Tools).is_some(), json!({"listChanged": true}));
        declare(
            "prompts",
            lists.of(Kind::Prompts).is_some(),
            json!({"listChanged": true}),
        );
        declare(
            "resources",
            resources.into_iter().any(|kind| lists.of(kind).is_some()),
            json!({"listChanged": true, "subscribe": true}),
        );
        declare("completions", lists.of(Kind::Prompts).is_some(), json!({}));
        Value::Object(can)
    }

    /// Whether it lists a URI, or has a template that begins like it.
    fn has(&self, uri: &str) -> bool {
        let lists = locked(&self.lists);
        let listed = lists
            .of(Kind::Resources)
            .iter()
            .flatten()
            .any(|entry| entry["uri"] == uri);
        let begins = |entry: &Value| {
            let template = entry["uriTemplate"].as_str().unwrap_or_default();
            uri.starts_with(template.split('{').next().unwrap_or_default())
        };
        listed || lists.of(Kind::Templates).iter().flatten().any(begins)
    }

    /// What [`Fake::with_tools`] does.
    pub fn standard(&self, message: &Value) {
        let id = &message["id"];
        if let Some(listens) = &self.listens
            && self.is_done_in_modern(listens, message)
        {
            return;
        }
        match message["method"].as_str() {
            Some("server/discover" | "subscriptions/listen") => self.refuse(id, -32601, "Method not found", None),
            Some("logging/setLevel") => self.answer(id, &json!({})),
            Some("initialize") => self.answer(
                id,
                &json!({
                    "protocolVersion": message["params"]["protocolVersion"],
                    "capabilities": self.capabilities(),
                    "serverInfo": {"name": "fake", "version": "1"},
                }),
            ),
            Some("resources/read") => {
                let uri = message["params"]["uri"].as_str().unwrap_or_default();
                if self.has(uri) {
                    let contents = json!([{"uri": uri, "text": "read", "more": 1.5e2}]);
                    self.answer(id, &json!({"contents": contents, "unknownField": 1}));
                } else {
                    let error = json!({"code": -32602, "message": "what?"});
                    self.say(&json!({"jsonrpc": "2.0", "id": id, "error": error}));
                }
            }
            Some("resources/subscribe" | "resources/unsubscribe") => {
                self.answer(id, &json!({}));
                if message["params"]["uri"] == "x:at-once" {
                    self.say_updated("x:at-once");
                }
            }
            Some("prompts/get") => {
                let text = message["params"].to_string();
                let content = json!({"type": "text", "text": text});
                let messages = json!([{"role": "user", "content": content}]);
                self.answer(id, &json!({"messages": messages, "unknownField": 1}));
            }
            Some("completion/complete") => {
                let named = message["params"]["ref"].to_string();
                self.answer(id, &json!({"completion": {"values": [named]}}));
            }
            Some(method) if Kind::listed_by(method).is_some() => {
                let kind = Kind::listed_by(method).unwrap();
                let Some(entries) = locked(&self.lists).of(kind).clone() else {
                    let error = json!({"code": -32601, "message": "Method not found"});
                    return self.say(&json!({"jsonrpc": "2.0", "id": id, "error": error}));
                };
                self.answer(id, &json!({kind.field(): entries}));
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

/// An entry of a list.
pub fn entry(kind: Kind, key: &str) -> Value {
    match kind {
        Kind::Tools => tool(key),
        Kind::Prompts => json!({"name": key}),
        Kind::Resources | Kind::Templates => json!({kind.key(): key, "name": "some"}),
    }
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
