//! The owner of the upstream connections: one for each life of the fleet, opened once, let go of when the life leaves.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::kit::time::{Timestamp, now};
use crate::kit::{Link, Name};
use crate::mcp::CLOSED;
use crate::mcp::handshake::{Greeting, Tool, greet, list_tools};
use crate::mcp::{Connection, Options, one_line};
use crate::record::{Fleet, FleetMember, Handshake, InstanceName, Life, Routes, Upstream, Upstreams};
use crate::resource::Server;

use super::Attach;
use super::route::{Candidate, Stage};
use super::view::View;

/// How long changes of a server's tools are gathered before they are read.
const GATHER: Duration = Duration::from_millis(50);
/// The longest that a server may take to list its tools anew.
const LIST: Duration = Duration::from_secs(30);
/// The longest wait between two tries to list tools anew.
const SLOWEST_RETRY: Duration = Duration::from_mins(1);
/// The longest reason that is shown.
const REASON: usize = 500;

/// What is heard of a life.
enum News {
    /// It answered.
    Ready(Arc<Connection>, Greeting, Arc<Vec<Tool>>),
    /// It lists other tools.
    Tools(Arc<Vec<Tool>>),
    /// It can't be used.
    Failed(String),
}

struct Held {
    member: FleetMember,
    since: Timestamp,
    state: State,
    _let_go: DropGuard,
}

enum State {
    Connecting,
    Ready(Arc<Connection>, Greeting, Arc<Vec<Tool>>),
    Failed(String),
}

/// The one task that knows which lives are held.
pub struct Keeper {
    /// How a life's pipes are had.
    pub attach: Arc<dyn Attach>,
    /// The lives to hold.
    pub fleet: watch::Receiver<Arc<Fleet>>,
    /// What is declared.
    pub routes: watch::Receiver<Arc<Routes>>,
    /// Where the engine reads.
    pub upstreams: watch::Sender<Arc<Upstreams>>,
    /// Where requests read.
    pub view: watch::Sender<Arc<View>>,
    /// The end.
    pub stop: CancellationToken,
}

impl Keeper {
    /// Holds what the fleet names until the end.
    #[expect(
        clippy::disallowed_methods,
        reason = "this room owns tasks: one for each life of the fleet"
    )]
    pub async fn run(mut self) {
        let (tell, mut heard) = mpsc::channel(64);
        let mut lives: BTreeMap<Life, Held> = BTreeMap::new();
        let mut tools: BTreeMap<Name, Arc<Vec<Tool>>> = BTreeMap::new();
        loop {
            let fleet = Arc::clone(&self.fleet.borrow_and_update());
            lives.retain(|life, _| fleet.members.contains_key(life));
            for (life, member) in &fleet.members {
                if let Some(held) = lives.get_mut(life) {
                    held.member = member.clone();
                    continue;
                }
                let let_go = self.stop.child_token();
                let attach = Arc::clone(&self.attach);
                tokio::spawn(hold(attach, life.clone(), member.clone(), let_go.clone(), tell.clone()));
                let held = Held {
                    member: member.clone(),
                    since: now(),
                    state: State::Connecting,
                    _let_go: let_go.drop_guard(),
                };
                lives.insert(life.clone(), held);
            }
            let routes = Arc::clone(&self.routes.borrow_and_update());
            refresh(&mut tools, &lives, &routes);
            self.publish(&lives, &tools, &routes);
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = next(&mut self.fleet) => {}
                () = next(&mut self.routes) => {}
                Some((life, news)) = heard.recv() => {
                    take(&mut lives, &life, news);
                    while let Ok((life, news)) = heard.try_recv() {
                        take(&mut lives, &life, news);
                    }
                }
            }
        }
        // Whoever still asks is told at once that there is nobody.
        self.view.send_replace(Arc::default());
    }

    fn publish(&self, lives: &BTreeMap<Life, Held>, tools: &BTreeMap<Name, Arc<Vec<Tool>>>, routes: &Routes) {
        let upstreams: Upstreams = lives
            .iter()
            .map(|(life, held)| (life.clone(), held.upstream()))
            .collect();
        let mut held: Vec<(&Life, &Held)> = lives.iter().collect();
        held.sort_by_key(|(_, held)| held.member.instance.index);
        let mut candidates: HashMap<Name, Vec<Candidate>> = HashMap::new();
        let mut connections = HashMap::new();
        for (life, held) in held {
            let stage = match &held.state {
                State::Connecting => Stage::Connecting,
                State::Failed(reason) => Stage::Failed(reason.clone()),
                State::Ready(connection, ..) => {
                    connections.insert(life.clone(), Arc::clone(connection));
                    Stage::Ready(Arc::clone(connection))
                }
            };
            let candidate = Candidate {
                life: life.clone(),
                serving: held.member.serving,
                stage,
            };
            candidates
                .entry(held.member.instance.server.clone())
                .or_default()
                .push(candidate);
        }
        let before = Arc::clone(&self.view.borrow());
        let view = View::new(routes, candidates, connections, tools, &before);
        // Requests first: once the engine hears that a life is ready, calls reach it.
        self.view.send_replace(Arc::new(view));
        self.upstreams.send_if_modified(|published| {
            let changed = **published != upstreams;
            if changed {
                *published = Arc::new(upstreams);
            }
            changed
        });
    }
}

impl Held {
    fn upstream(&self) -> Upstream {
        Upstream {
            instance: self.member.instance.clone(),
            handshake: match &self.state {
                State::Connecting => Handshake::Connecting,
                State::Failed(reason) => Handshake::Failed {
                    reason: reason.clone(),
                    closed: reason == CLOSED,
                },
                State::Ready(_, greeting, tools) => Handshake::Ready {
                    protocol: greeting.protocol.clone(),
                    server: greeting.server.clone(),
                    tools: tools.len(),
                },
            },
            since: self.since,
        }
    }
}

/// Waits for a change; where nobody can make one any more, for ever.
async fn next<T>(receiver: &mut watch::Receiver<T>) {
    if receiver.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Applies news of a life; those of a life that was let go of come too late.
fn take(lives: &mut BTreeMap<Life, Held>, life: &Life, news: News) {
    let Some(held) = lives.get_mut(life) else { return };
    match news {
        News::Ready(connection, greeting, tools) => held.state = State::Ready(connection, greeting, tools),
        News::Failed(reason) => held.state = State::Failed(reason),
        News::Tools(new) => {
            if let State::Ready(_, _, tools) = &mut held.state {
                *tools = new;
            }
            return;
        }
    }
    held.since = now();
}

/// Brings along what is known of each server's tools: those of its first serving life, else those known last. A server that
/// is gone or out of service has none.
fn refresh(tools: &mut BTreeMap<Name, Arc<Vec<Tool>>>, lives: &BTreeMap<Life, Held>, routes: &Routes) {
    tools.retain(|name, _| {
        let server = routes
            .servers
            .get(name)
            .and_then(|document| document.typed::<Server>().ok());
        server.is_some_and(|server| server.replicas > 0)
    });
    let mut first: BTreeMap<&Name, (&InstanceName, &Arc<Vec<Tool>>)> = BTreeMap::new();
    for held in lives.values() {
        let instance = &held.member.instance;
        match &held.state {
            State::Ready(_, _, listed) if held.member.serving && routes.servers.contains_key(&instance.server) => {
                let entry = first.entry(&instance.server).or_insert((instance, listed));
                if instance < entry.0 {
                    *entry = (instance, listed);
                }
            }
            _ => {}
        }
    }
    for (server, (_, listed)) in first {
        // An equal list stays the same list, so that what was made of it is kept too.
        if tools.get(server) != Some(listed) {
            tools.insert(server.clone(), Arc::clone(listed));
        }
    }
}

/// Holds the connection of one life: attaches, shakes hands, reads the tools again when they change, tells its end.
#[expect(
    clippy::disallowed_methods,
    reason = "this room owns tasks: the driver of each connection"
)]
async fn hold(
    attach: Arc<dyn Attach>,
    life: Life,
    member: FleetMember,
    let_go: CancellationToken,
    tell: mpsc::Sender<(Life, News)>,
) {
    let work = async {
        let start = Duration::from_secs(u64::from(member.start_timeout_seconds));
        let deadline = Instant::now() + start;
        let pipes = match timeout_at(deadline, attach.attach(&member.instance, &life)).await {
            Ok(Ok(Link::Pipes(pipes))) => pipes,
            Ok(Ok(Link::Http { .. })) => return "servers over HTTP are not spoken to yet".to_owned(),
            Ok(Err(error)) => return format!("attaching failed: {error}"),
            Err(_) => return format!("attaching took more than {} s", start.as_secs()),
        };
        let (connection, driver) = Connection::open(pipes, Options::default());
        tokio::spawn(driver);
        let connection = LetsGo(Arc::new(connection));
        let connection = &connection.0;
        // Subscribed first, so that a change while the first list is read is not missed.
        let mut changed = connection.tools_changed();
        let (greeting, tools) = match greet(connection, deadline.duration_since(Instant::now())).await {
            Ok((greeting, tools)) => (greeting, Arc::new(tools)),
            Err(error) => return error.to_string(),
        };
        let lists = greeting.tools;
        let ready = News::Ready(Arc::clone(connection), greeting, Arc::clone(&tools));
        let _ = tell.send((life.clone(), ready)).await;
        let mut known = tools;
        let rereading = async {
            if !lists {
                std::future::pending::<()>().await;
            }
            loop {
                next(&mut changed).await;
                sleep(GATHER).await;
                changed.borrow_and_update();
                let tools = reread(connection).await;
                if *known != tools {
                    known = Arc::new(tools);
                    let _ = tell.send((life.clone(), News::Tools(Arc::clone(&known)))).await;
                }
            }
        };
        tokio::select! {
            reason = connection.closed() => {
                tracing::debug!(%life, ignored = connection.ignored(), "lines and answers that nobody waited for");
                reason.to_string()
            }
            () = rereading => String::new(),
        }
    };
    let reason = tokio::select! {
        () = let_go.cancelled() => return,
        reason = work => reason,
    };
    let reason = one_line(&reason, REASON);
    tracing::info!(%life, instance = %member.instance, %reason, "the connection to a server ended");
    let _ = tell.send((life, News::Failed(reason))).await;
}

/// Ends a connection when its life is let go of, whoever else still holds the handle.
struct LetsGo(Arc<Connection>);

impl Drop for LetsGo {
    fn drop(&mut self) {
        self.0.let_go();
    }
}

/// Reads the tools until that works; meanwhile those known last are served.
async fn reread(connection: &Connection) -> Vec<Tool> {
    let mut wait = Duration::from_secs(1);
    loop {
        match list_tools(connection, LIST).await {
            Ok(tools) => return tools,
            Err(error) => tracing::warn!(%error, "a changed list of tools can't be read"),
        }
        sleep(wait).await;
        wait = (wait * 2).min(SLOWEST_RETRY);
    }
}
