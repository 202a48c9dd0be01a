//! The world of the tests: fake lives, an engine played by the test, and a real HTTP server in front.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::extract::{Path, Request, State};
use axum::routing::any;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::gateway::{Attach, Endpoint, Gateway};
use crate::kit::{Link, Pipes};
use crate::mcp::fake::{Fake, until};
use crate::mcp::lists::Kind;
use crate::mcp::locked;
use crate::record::{Fleet, FleetMember, Handshake, InstanceName, Life, Routes};
use crate::resource::{Document, Id, ToolsLock};

/// Hands out the way to each life once.
#[derive(Default)]
struct Fakes(Mutex<HashMap<Life, Link>>);

impl Attach for Fakes {
    fn attach<'a>(&'a self, _: &'a InstanceName, life: &'a Life) -> BoxFuture<'a, std::io::Result<Link>> {
        let link = locked(&self.0).remove(life);
        Box::pin(async move { link.ok_or_else(|| std::io::Error::other("no such process")) })
    }
}

/// A gateway with everything around it.
pub struct World {
    pub gateway: Gateway,
    pub url: String,
    pub client: reqwest::Client,
    pub stop: CancellationToken,
    fakes: Arc<Fakes>,
    fleet: watch::Sender<Arc<Fleet>>,
    routes: watch::Sender<Arc<Routes>>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub fn life(text: &str) -> Life {
    Life(text.to_owned())
}

fn document(id: &str, spec: &Value) -> (crate::kit::Name, Arc<Document>) {
    let id: Id = id.parse().unwrap();
    (id.name.clone(), Arc::new(Document::new(id, spec).unwrap()))
}

async fn answer(
    State(gateway): State<Gateway>,
    Path(path): Path<Vec<(String, String)>>,
    request: Request,
) -> axum::response::Response {
    let caller = request
        .headers()
        .get("x-caller")
        .map_or("anna", |caller| caller.to_str().unwrap())
        .to_owned();
    let names: Vec<crate::kit::Name> = path.iter().map(|(_, name)| name.parse().unwrap()).collect();
    let project = request.uri().path().starts_with("/projects");
    let endpoint = match (&names[..], project) {
        ([project, server], _) => Endpoint::ProjectServer(project.clone(), server.clone()),
        ([name], true) => Endpoint::Project(name.clone()),
        ([name], false) => Endpoint::Server(name.clone()),
        _ => unreachable!(),
    };
    gateway.handle(endpoint, &caller, request).await
}

impl World {
    /// A project `demo` over some servers, none of which runs yet.
    pub async fn new(servers: &[&str]) -> Self {
        let fakes = Arc::new(Fakes::default());
        let (fleet, routes) = (watch::Sender::default(), watch::Sender::default());
        let stop = CancellationToken::new();
        let gateway = Gateway::start(
            fakes.clone(),
            fleet.subscribe(),
            routes.subscribe(),
            &[7; 32],
            stop.clone(),
        );
        let app = axum::Router::new()
            .route("/projects/{project}/mcp", any(answer))
            .route("/projects/{project}/servers/{server}/mcp", any(answer))
            .route("/servers/{server}/mcp", any(answer))
            .with_state(gateway.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let world = Self {
            gateway,
            url,
            client,
            stop,
            fakes,
            fleet,
            routes,
        };
        world.declare(servers, &json!({}));
        let known = || {
            world
                .gateway
                .0
                .view
                .borrow()
                .tables(&Endpoint::Project("demo".parse().unwrap()))
                .is_ok()
        };
        until("the routes", known).await;
        world
    }

    /// Declares the project's servers; `fields` are each server's own.
    pub fn declare(&self, servers: &[&str], fields: &Value) {
        let mut spec = json!({"command": ["x"]});
        spec.as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        self.routes.send_modify(|routes| {
            let routes = Arc::make_mut(routes);
            routes.servers = servers
                .iter()
                .map(|name| document(&format!("server/{name}"), &spec))
                .collect();
            routes.projects = [document("project/demo", &json!({"servers": servers}))].into();
        });
    }

    /// Gives the project further fields, in force when this returns: the digests of the tools that were approved too.
    pub async fn rules(&self, servers: &[&str], fields: &Value, lock: ToolsLock) {
        let mut spec = json!({"servers": servers});
        spec.as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        let before = Arc::clone(&self.gateway.0.view.borrow());
        self.routes.send_modify(|routes| {
            let routes = Arc::make_mut(routes);
            routes.projects = [document("project/demo", &spec)].into();
            routes.lock = Arc::new(lock);
        });
        until("the rules", || !Arc::ptr_eq(&before, &self.gateway.0.view.borrow())).await;
    }

    /// Gives the servers a deadline, in force when this returns.
    pub async fn deadline(&self, servers: &[&str], seconds: u64) {
        self.declare(servers, &json!({"timeoutSeconds": seconds}));
        let name = servers[0].parse().unwrap();
        let in_force = || {
            let view = self.gateway.0.view.borrow();
            view.server(&name)
                .is_some_and(|server| server.timeout.as_secs() == seconds)
        };
        until("the deadline", in_force).await;
    }

    /// The instances that sessions need, as the engine hears of them.
    pub fn demand(&self) -> Vec<String> {
        let demand = self.gateway.demand();
        let demand = demand.borrow();
        let all = demand
            .iter()
            .flat_map(|(server, of)| of.iter().map(move |index| format!("{server}/{index}")));
        all.collect()
    }

    /// Says why a server can't be called.
    pub fn unavailable(&self, server: &str, why: &str) {
        self.routes.send_modify(|routes| {
            Arc::make_mut(routes)
                .unavailable
                .insert(server.parse().unwrap(), why.to_owned());
        });
    }

    /// Puts a life into the fleet; `instance` as `time/0`.
    pub fn join(&self, name: &str, instance: &str, serving: bool, pipes: Option<Pipes>) {
        if let Some(pipes) = pipes {
            self.hand(name, Link::Pipes(pipes));
        }
        let member = FleetMember {
            instance: instance.parse().unwrap(),
            serving,
            start_timeout_seconds: 300,
            fresh: true,
            remembered: None,
            era: None,
        };
        self.join_as(name, member);
    }

    /// Gives the way to a life that joins later.
    pub fn hand(&self, name: &str, link: Link) {
        locked(&self.fakes.0).insert(life(name), link);
    }

    /// Puts a life into the fleet as the engine describes it.
    pub fn join_as(&self, name: &str, member: FleetMember) {
        self.fleet
            .send_modify(|fleet| drop(Arc::make_mut(fleet).members.insert(life(name), member)));
    }

    /// Takes a life out of the fleet.
    pub fn leave(&self, name: &str) {
        self.fleet
            .send_modify(|fleet| drop(Arc::make_mut(fleet).members.remove(&life(name))));
    }

    /// Starts a serving life with some tools, ready when this returns.
    pub async fn start(&self, name: &str, instance: &str, tools: &[&str]) -> Fake {
        let (fake, pipes) = Fake::with_tools(tools);
        self.join(name, instance, true, Some(pipes));
        self.ready(name).await;
        fake
    }

    pub fn handshake(&self, name: &str) -> Option<Handshake> {
        let upstreams = self.gateway.upstreams();
        let published = upstreams.borrow();
        published.get(&life(name)).map(|upstream| upstream.handshake.clone())
    }

    pub async fn ready(&self, name: &str) {
        until("a ready life", || {
            matches!(self.handshake(name), Some(Handshake::Ready { .. }))
        })
        .await;
    }

    pub async fn failed(&self, name: &str) -> String {
        let mut why = None;
        until("a failed life", || {
            if let Some(Handshake::Failed { reason, .. }) = self.handshake(name) {
                why = Some(reason);
            }
            why.is_some()
        })
        .await;
        why.unwrap()
    }

    /// A client's session at an endpoint.
    pub async fn session(&self, path: &str) -> Client {
        let mut client = Client {
            http: self.client.clone(),
            url: format!("{}{path}", self.url),
            session: String::new(),
        };
        let params =
            json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
        let message = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
        let response = client.post(&message).send().await.unwrap();
        assert_eq!(response.status(), 200);
        client.session = response.headers()["mcp-session-id"].to_str().unwrap().to_owned();
        client
    }

    /// A client's session at the project.
    pub async fn demo(&self) -> Client {
        self.session("/projects/demo/mcp").await
    }
}

/// A client that writes its messages by hand.
#[derive(Clone)]
pub struct Client {
    pub http: reqwest::Client,
    pub url: String,
    pub session: String,
}

impl Client {
    pub fn request(&self, method: reqwest::Method) -> reqwest::RequestBuilder {
        let request = self
            .http
            .request(method, &self.url)
            .header("accept", "application/json, text/event-stream");
        if self.session.is_empty() {
            request
        } else {
            request.header("mcp-session-id", &self.session)
        }
    }

    pub fn post(&self, message: &Value) -> reqwest::RequestBuilder {
        self.request(reqwest::Method::POST).json(message)
    }

    pub async fn ask(&self, id: u64, method: &str, params: Value) -> Value {
        let message = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let response = self.post(&message).send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/json");
        let answer: Value = response.json().await.unwrap();
        assert_eq!(answer["id"], id);
        answer
    }

    pub async fn call(&self, id: u64, tool: &str) -> Value {
        self.ask(id, "tools/call", json!({"name": tool, "arguments": {"n": id}}))
            .await
    }

    /// A call that is expected to be answered by a tool's error; its text, without the id under which the log has it.
    pub async fn fails(&self, tool: &str) -> String {
        let answer = self.call(1, tool).await;
        assert_eq!(answer["result"]["isError"], true, "{answer}");
        uncorrelated(answer["result"]["content"][0]["text"].as_str().unwrap())
    }

    pub async fn tools(&self) -> Vec<String> {
        self.list(Kind::Tools).await
    }

    /// The keys of a list.
    pub async fn list(&self, kind: Kind) -> Vec<String> {
        let answer = self.ask(1, kind.method(), json!({})).await;
        let entries = answer["result"][kind.field()].as_array().unwrap();
        entries
            .iter()
            .map(|entry| entry[kind.key()].as_str().unwrap().to_owned())
            .collect()
    }

    /// Opens the stream of the session.
    pub async fn listen(&self) -> reqwest::Response {
        let response = self.request(reqwest::Method::GET).send().await.unwrap();
        assert_eq!(response.status(), 200);
        response
    }
}

/// What a failed call is told, without the id at its end, which must be there.
pub fn uncorrelated(text: &str) -> String {
    let (text, id) = text
        .rsplit_once(" (correlation id ")
        .unwrap_or_else(|| panic!("no id: {text}"));
    assert!(id.len() == 33 && id.ends_with(')'), "{id}");
    text.to_owned()
}

/// Reads a stream until it has said `wanted`.
pub async fn hear(stream: &mut reqwest::Response, wanted: &str) -> String {
    let mut heard = String::new();
    while !heard.contains(wanted) {
        let chunk = stream
            .chunk()
            .await
            .unwrap()
            .unwrap_or_else(|| panic!("it ended: {heard}"));
        heard.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    heard
}
