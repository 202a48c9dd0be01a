//! The owner of the upstream connections: one for each life of the fleet, opened once, let go of when the life leaves.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::kit::Name;
use crate::kit::time::{Timestamp, now};
use crate::mcp::lists::{Each, Kind, List, Lists};
use crate::mcp::{CLOSED, Connection, HttpClient};
use crate::record::{
    Capability, Era, FIRST_OF_SESSIONS, Fleet, FleetMember, Greeting, Handshake, InstanceName, Life, Routes, ToolSeen,
    Upstream, Upstreams, Verdict, tokens_of,
};
use crate::resource::Server;

use super::Attach;
use super::hold::{Holder, News};
use super::meter::Meter;
use super::route::{Candidate, Stage};
use super::subscriptions::Subscriptions;
use super::view::{Known, View, Words};

struct Held {
    member: FleetMember,
    since: Timestamp,
    state: State,
    /// Which of its lists have changed and can't be read.
    behind: Each<bool>,
    /// What it lists, for the engine.
    tools: Arc<Vec<ToolSeen>>,
    uncertain: u64,
    _let_go: DropGuard,
}

enum State {
    Connecting,
    Ready(Arc<Connection>, Greeting, Lists),
    Failed(String, Verdict),
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
    /// What is counted.
    pub meter: Arc<Meter>,
    /// What clients want to hear of.
    pub subscriptions: Arc<Subscriptions>,
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
        let http = HttpClient::default();
        let mut lives: BTreeMap<Life, Held> = BTreeMap::new();
        let mut known: BTreeMap<Name, Known> = BTreeMap::new();
        let mut declared: Option<Arc<Routes>> = None;
        loop {
            let fleet = Arc::clone(&self.fleet.borrow_and_update());
            lives.retain(|life, _| fleet.members.contains_key(life));
            for (life, member) in &fleet.members {
                if let Some(held) = lives.get_mut(life) {
                    held.member = member.clone();
                    continue;
                }
                let let_go = self.stop.child_token();
                let holder = Holder {
                    attach: Arc::clone(&self.attach),
                    life: life.clone(),
                    member: member.clone(),
                    http: http.clone(),
                    subscriptions: Arc::clone(&self.subscriptions),
                    tell: tell.clone(),
                };
                tokio::spawn(holder.run(let_go.clone()));
                let held = Held {
                    member: member.clone(),
                    since: now(),
                    state: State::Connecting,
                    behind: Each::default(),
                    tools: Arc::default(),
                    uncertain: 0,
                    _let_go: let_go.drop_guard(),
                };
                lives.insert(life.clone(), held);
            }
            let routes = Arc::clone(&self.routes.borrow_and_update());
            refresh(&mut known, &lives, &routes);
            self.publish(&lives, &known, &routes);
            if !declared.as_ref().is_some_and(|declared| Arc::ptr_eq(declared, &routes)) {
                // Who is at a project hears nothing more of a server that left it.
                let view = Arc::clone(&self.view.borrow());
                self.subscriptions.keep(|endpoint, server| view.has(endpoint, server));
                declared = Some(routes);
            }
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = next(&mut self.fleet) => {}
                () = next(&mut self.routes) => {}
                Some((life, news)) = heard.recv() => {
                    self.note(&news);
                    take(&mut lives, &life, news);
                    while let Ok((life, news)) = heard.try_recv() {
                        self.note(&news);
                        take(&mut lives, &life, news);
                    }
                }
            }
        }
        // Whoever still asks is told at once that there is nobody.
        self.view.send_replace(Arc::default());
    }

    fn note(&self, news: &News) {
        match news {
            News::Ready(..) => self.meter.greeted(true),
            News::Failed(..) => self.meter.greeted(false),
            News::Connecting | News::List(..) | News::Behind(_) | News::Uncertain(_) => {}
        }
    }

    fn publish(&self, lives: &BTreeMap<Life, Held>, known: &BTreeMap<Name, Known>, routes: &Routes) {
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
                State::Failed(reason, _) => Stage::Failed(reason.clone()),
                State::Ready(connection, ..) => {
                    connections.insert(life.clone(), Arc::clone(connection));
                    Stage::Ready(Arc::clone(connection))
                }
            };
            let candidate = Candidate {
                life: life.clone(),
                index: held.member.instance.index,
                serving: held.member.serving,
                stage,
            };
            candidates
                .entry(held.member.instance.server.clone())
                .or_default()
                .push(candidate);
        }
        let before = Arc::clone(&self.view.borrow());
        let view = View::new(routes, candidates, connections, known, &before);
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
                State::Failed(reason, verdict) => Handshake::Failed {
                    reason: reason.clone(),
                    closed: reason == CLOSED,
                    verdict: *verdict,
                },
                State::Ready(_, greeting, lists) => Handshake::Ready {
                    greeting: greeting.clone(),
                    counts: lists.counts(),
                },
            },
            tools: match &self.state {
                State::Ready(..) if self.member.instance.index < FIRST_OF_SESSIONS => Arc::clone(&self.tools),
                _ => Arc::default(),
            },
            since: self.since,
            uncertain: self.uncertain,
        }
    }
}

fn seen(tools: &List) -> Arc<Vec<ToolSeen>> {
    let of = tools.iter().filter_map(|tool| {
        let definition = tool.definition.as_ref()?;
        Some(ToolSeen {
            name: tool.key.clone(),
            digest: definition.digest,
            definition: Arc::clone(&definition.text),
            tokens: tokens_of(tool.text.len()),
        })
    });
    Arc::new(of.collect())
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
        News::Connecting => held.state = State::Connecting,
        News::Ready(connection, greeting, lists) => {
            held.behind = Each::default();
            held.tools = seen(lists.of(Kind::Tools));
            held.state = State::Ready(connection, greeting, lists);
        }
        News::Failed(reason, verdict) => held.state = State::Failed(reason, verdict),
        News::Uncertain(times) => {
            held.uncertain = times;
            return;
        }
        News::List(kind, new) => {
            if let State::Ready(_, _, lists) = &mut held.state {
                if kind == Kind::Tools {
                    held.tools = seen(&new);
                }
                *held.behind.of_mut(kind) = false;
                *lists.of_mut(kind) = new;
            }
            return;
        }
        News::Behind(kind) => {
            *held.behind.of_mut(kind) = true;
            return;
        }
    }
    held.since = now();
}

/// Brings along what is known of each server: what its first serving life says, else what was known last. Of a server
/// that is gone or out of service nothing is.
fn refresh(known: &mut BTreeMap<Name, Known>, lives: &BTreeMap<Life, Held>, routes: &Routes) {
    known.retain(|name, _| {
        let server = routes
            .servers
            .get(name)
            .and_then(|document| document.typed::<Server>().ok());
        server.is_some_and(|server| server.replicas > 0)
    });
    let mut first: BTreeMap<&Name, (&InstanceName, &Greeting, &Lists, Each<bool>)> = BTreeMap::new();
    // What a session's own instance lists may be that session's alone.
    let shared = |held: &&Held| held.member.instance.index < FIRST_OF_SESSIONS;
    for held in lives.values().filter(shared) {
        let instance = &held.member.instance;
        match &held.state {
            State::Ready(_, greeting, lists)
                if held.member.serving && routes.servers.contains_key(&instance.server) =>
            {
                let entry = first
                    .entry(&instance.server)
                    .or_insert((instance, greeting, lists, held.behind));
                if instance < entry.0 {
                    *entry = (instance, greeting, lists, held.behind);
                }
            }
            _ => {}
        }
    }
    // What nobody can be asked about now is what was known last.
    for (server, known) in known.iter_mut() {
        if !first.contains_key(server) {
            known.stale = Each::new(|_| true);
        }
    }
    for (server, (_, greeting, lists, behind)) in first {
        let words = Words {
            instructions: greeting.instructions.clone(),
            extensions: greeting.extensions.clone(),
            tasks: greeting.era() == Era::Legacy && greeting.can.contains(&Capability::Tasks),
        };
        let now = known.entry(server.clone()).or_insert_with(|| Known {
            can: greeting.can.clone(),
            words: Arc::default(),
            lists: lists.clone(),
            stale: behind,
        });
        now.stale = behind;
        now.can.clone_from(&greeting.can);
        if *now.words != words {
            now.words = Arc::new(words);
        }
        for kind in Kind::ALL {
            // An equal list stays the same list, so that what was made of it is kept too.
            if now.lists.of(kind) != lists.of(kind) {
                *now.lists.of_mut(kind) = Arc::clone(lists.of(kind));
            }
        }
    }
}
