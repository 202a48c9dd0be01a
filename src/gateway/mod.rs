//! The MCP endpoints: one upstream connection for each life of the fleet, one merged view for each project, and the
//! sessions of the clients between them.
//!
//! `names`, `templates`, `lock`, `merge`, `page`, `route`, `asked`, `ask`, `across`, `fair` decide and are pure; `upstreams` keeps the lives, each with
//! a task of its own (`hold`; `follow` for what a modern server tells, `reread` for its lists, `levels` for its log), and publishes the `view` that requests read; `serve` speaks streamable HTTP and tells the eras
//! apart (`legacy`, `modern`), `find` hands a request to the life that answers it, `exchange` follows it (`mismatch` where it was refused for its headers), `call` makes the
//! response, `held` keeps calls that wait for their client and `seal` what the client carries meanwhile; `stream` and
//! `listen` tell clients what changed, `subscriptions` knows who wants to hear of which resource.
//! `meter` counts, `figures` writes the counters down, `correlation` names a request to client and log alike.

mod across;
mod answer;
mod ask;
mod asked;
mod call;
mod correlation;
mod exchange;
mod fair;
mod figures;
mod find;
mod follow;
mod held;
mod hold;
mod legacy;
mod levels;
mod listen;
mod lock;
mod merge;
mod meter;
mod mismatch;
mod modern;
mod names;
mod page;
mod places;
mod reread;
mod route;
mod seal;
mod serve;
mod session;
mod stream;
mod subscriptions;
mod tasks;
mod templates;
#[cfg(test)]
mod tests;
mod told;
mod upstreams;
mod view;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::value::RawValue;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::kit::{Link, Name};
use crate::mcp::envelope::text_of;
use crate::record::{Demand, Era, Fleet, InstanceName, Life, Routes, Upstreams};

pub use lock::Verdict;
pub use told::ToldTool;

use held::Waiting;
use listen::Streams;
use meter::Meter;
use seal::Seal;
use session::Sessions;
use tasks::Tasks;
use view::View;

/// How the way to a life is had; the runtime's `attach`, joined by the binary.
pub trait Attach: Send + Sync + 'static {
    /// The way to a life. Called once for each life that joins the fleet.
    fn attach<'a>(&'a self, instance: &'a InstanceName, life: &'a Life) -> BoxFuture<'a, std::io::Result<Link>>;

    /// What a server says of itself or of its end, fit to be logged and shown: without the secret values that it was given.
    fn mask<'t>(&self, text: &'t str) -> Cow<'t, str> {
        Cow::Borrowed(text)
    }
}

/// What a client connects to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `/projects/P/mcp`: the merged view.
    Project(Name),
    /// `/projects/P/servers/S/mcp`: one server of a project, un-prefixed.
    ProjectServer(Name, Name),
    /// `/servers/S/mcp`: a server by itself, un-prefixed.
    Server(Name),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Project(project) => write!(f, "projects/{project}"),
            Self::ProjectServer(project, server) => write!(f, "projects/{project}/servers/{server}"),
            Self::Server(server) => write!(f, "servers/{server}"),
        }
    }
}

impl Endpoint {
    /// What a client shows as the title.
    fn title(&self) -> &Name {
        match self {
            Self::Project(name) | Self::ProjectServer(_, name) | Self::Server(name) => name,
        }
    }
}

/// The gateway. Cheap to clone.
#[derive(Clone)]
pub struct Gateway(Arc<Inner>);

struct Inner {
    view: watch::Sender<Arc<View>>,
    upstreams: watch::Sender<Arc<Upstreams>>,
    sessions: Sessions,
    waiting: Arc<Waiting>,
    seal: Seal,
    tasks: Tasks,
    listening: Arc<Streams>,
    meter: Arc<Meter>,
    stop: CancellationToken,
}

/// The longest instructions that a client is given, in bytes.
const LONGEST_INSTRUCTIONS: usize = 32 << 10;

/// What an endpoint says of itself: what it can, and how its servers say that they are used. What it can is the endpoint's, not
/// that of the servers of this moment, which come and go; but extensions and tasks are there only where a server has them.
fn about(view: &View, endpoint: &Endpoint, era: Era) -> (serde_json::Value, Option<String>) {
    let mut can = serde_json::json!({
        "completions": {},
        "logging": {},
        "prompts": {"listChanged": true},
        "resources": {"listChanged": true, "subscribe": true},
        "tools": {"listChanged": true},
    });
    let mut extensions = serde_json::Map::new();
    let mut instructions = String::new();
    for (server, words) in view.words(endpoint) {
        if words.tasks && era == Era::Legacy {
            can["tasks"] = serde_json::json!({"cancel": {}, "requests": {"tools": {"call": {}}}});
        }
        for (name, settings) in &words.extensions {
            extensions.entry(name).or_insert_with(|| settings.clone());
        }
        let Some(text) = &words.instructions else { continue };
        let part = match endpoint {
            Endpoint::Project(_) => format!("# {server}\n\n{text}\n\n"),
            Endpoint::ProjectServer(..) | Endpoint::Server(_) => text.clone(),
        };
        if instructions.len() + part.len() <= LONGEST_INSTRUCTIONS {
            instructions.push_str(&part);
        }
    }
    if !extensions.is_empty() {
        can["extensions"] = extensions.into();
    }
    let instructions = Some(instructions.trim_end().to_owned()).filter(|text| !text.is_empty());
    (can, instructions)
}

/// The cursor of a request for a list.
fn cursor(raw: Option<&RawValue>) -> Result<Option<Cow<'_, str>>, &'static str> {
    match raw.filter(|raw| raw.get() != "null") {
        None => Ok(None),
        Some(raw) => text_of(raw).map(Some).ok_or("a cursor must be a text"),
    }
}

impl Gateway {
    /// Starts to hold connections to the lives of the fleet, until `stop`. Must be called within a tokio runtime. `key` seals
    /// what clients carry from one round of a request to the next; with the same key they may do so over a restart.
    #[expect(
        clippy::disallowed_methods,
        reason = "this room owns tasks: the keeper of the connections, and of the calls that wait"
    )]
    pub fn start(
        attach: Arc<dyn Attach>,
        fleet: watch::Receiver<Arc<Fleet>>,
        routes: watch::Receiver<Arc<Routes>>,
        key: &[u8; 32],
        stop: CancellationToken,
    ) -> Self {
        let inner = Arc::new(Inner {
            view: watch::Sender::default(),
            upstreams: watch::Sender::default(),
            sessions: Sessions::default(),
            waiting: Arc::default(),
            seal: Seal::new(key),
            tasks: Tasks::default(),
            listening: Arc::default(),
            meter: Arc::new(Meter::new(Arc::clone(&attach))),
            stop: stop.clone(),
        });
        let keeper = upstreams::Keeper {
            attach,
            fleet,
            routes,
            upstreams: inner.upstreams.clone(),
            view: inner.view.clone(),
            meter: Arc::clone(&inner.meter),
            subscriptions: Arc::clone(&inner.sessions.subscriptions),
            stop,
        };
        tokio::spawn(keeper.run());
        let view = inner.view.subscribe();
        let busy = move |server: &Name, index: u32| {
            let seen = Arc::clone(&view.borrow());
            seen.server(server).is_some_and(|server| server.is_busy(index))
        };
        tokio::spawn(Arc::clone(&inner.sessions.places).tidy(busy, inner.stop.clone()));
        tokio::spawn(Arc::clone(&inner.waiting).tidy(inner.stop.clone()));
        tokio::spawn(Arc::clone(&inner.sessions.subscriptions).tidy(inner.stop.clone()));
        Self(inner)
    }

    /// The state of each connection; it changes only where one did.
    #[must_use]
    pub fn upstreams(&self) -> watch::Receiver<Arc<Upstreams>> {
        self.0.upstreams.subscribe()
    }

    /// The instances that sessions need beside the replicas of their servers.
    #[must_use]
    pub fn demand(&self) -> watch::Receiver<Arc<Demand>> {
        self.0.sessions.places.demand()
    }

    /// How many requests a life is working on; 0 where it is not held.
    #[must_use]
    pub fn in_flight(&self, life: &Life) -> usize {
        let view = Arc::clone(&self.0.view.borrow());
        view.connections
            .get(life)
            .map_or(0, |connection| connection.in_flight())
    }

    /// Answers one request of an authenticated caller. `caller` is the key that sessions are bound to.
    ///
    /// # Assumptions
    /// Origin, Host and the bearer were checked, and the caller may use the endpoint.
    pub async fn handle(
        &self,
        endpoint: Endpoint,
        caller: &str,
        request: http::Request<axum::body::Body>,
    ) -> axum::response::Response {
        serve::serve(&self.0, &endpoint, caller, request).await
    }
}
