//! Everything that a request needs to know, as one value that is replaced when lives, tools or routes change.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use crate::kit::Name;
use crate::mcp::Connection;
use crate::mcp::lists::{Each, Kind, Lists};
use crate::record::{Capability, FIRST_OF_SESSIONS, Life, Routes};
use crate::resource::{Isolation, Project, Server};

use super::Endpoint;
use super::asked::{Ask, Asked};
use super::lock::{Rules, naming};
use super::merge::{Part, Table, Tables, Terms};
use super::names::Naming;
use super::route::{Candidate, Stage, Way, way};

/// What a server says of itself that its clients hear.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Words {
    /// How it is used, for models.
    pub instructions: Option<String>,
    /// Its extensions of the protocol, and what it says of each.
    pub extensions: serde_json::Map<String, serde_json::Value>,
    /// Whether it runs calls as tasks (2025-11-25).
    pub tasks: bool,
}

/// What is known of a server, from its first serving life or the last one that answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// What it declared.
    pub can: BTreeSet<Capability>,
    /// What it says of itself.
    pub words: Arc<Words>,
    /// What it lists.
    pub lists: Lists,
    /// Which of the lists are what was known last, because the server can't be asked now.
    pub stale: Each<bool>,
}

/// The state of the endpoints at one instant.
#[derive(Default)]
pub struct View {
    merged: HashMap<Name, Tables>,
    plain: HashMap<Name, Tables>,
    /// The servers of each project, as the project lets them through.
    projects: HashMap<Name, HashMap<Name, Tables>>,
    servers: HashMap<Name, Callable>,
    /// The connections by life.
    pub connections: HashMap<Life, Arc<Connection>>,
}

/// One server as calls see it.
pub struct Callable {
    /// Its lives, in order of their instances.
    pub candidates: Vec<Candidate>,
    /// Why it can't be called, where the engine says so.
    pub unavailable: Option<String>,
    /// The longest a call may take.
    pub timeout: Duration,
    /// What it says of itself, where that is known.
    pub words: Option<Arc<Words>>,
    /// Whether each session has an instance of its own.
    pub isolated: bool,
    /// What it declared, where that is known.
    can: Option<BTreeSet<Capability>>,
}

impl Callable {
    /// Its lives that are no session's own.
    pub fn shared(&self) -> impl Iterator<Item = &Candidate> {
        self.candidates
            .iter()
            .filter(|candidate| candidate.index < FIRST_OF_SESSIONS)
    }

    /// Whether an instance of it is answering.
    #[must_use]
    pub fn is_busy(&self, index: u32) -> bool {
        let mut of_index = self.candidates.iter().filter(|candidate| candidate.index == index);
        of_index.any(|candidate| matches!(&candidate.stage, Stage::Ready(connection) if connection.in_flight() > 0))
    }

    /// Whether it declared something; one that nobody greeted yet may have.
    #[must_use]
    pub fn can(&self, what: Capability) -> bool {
        self.can.as_ref().is_none_or(|can| can.contains(&what))
    }
}

impl View {
    /// Puts together what is declared (`routes`), what runs (`candidates` by server) and what is `known` by server.
    /// A table that would be the same is taken from `before`.
    pub fn new(
        routes: &Routes,
        mut candidates: HashMap<Name, Vec<Candidate>>,
        connections: HashMap<Life, Arc<Connection>>,
        known: &BTreeMap<Name, Known>,
        before: &Self,
    ) -> Self {
        let tables = |before: Option<&Tables>, servers: &[Name], terms: &Terms| {
            Tables::new(|kind| {
                let part = |server: &Name| Part {
                    server: server.clone(),
                    list: known.get(server).map(|known| Arc::clone(known.lists.of(kind))),
                    stale: known.get(server).is_some_and(|known| *known.stale.of(kind)),
                };
                let parts: Vec<Part> = servers.iter().map(part).collect();
                match before.map(|before| before.of(kind)) {
                    Some(table) if table.is_of(&parts, terms) => Arc::clone(table),
                    _ => Arc::new(Table::new(kind, parts, terms.clone())),
                }
            })
        };
        let own = Terms {
            naming: Naming::Own,
            rules: None,
        };
        let mut view = Self {
            connections,
            ..Self::default()
        };
        for (name, document) in &routes.servers {
            let Ok(server) = document.typed::<Server>() else {
                continue;
            };
            let callable = Callable {
                candidates: candidates.remove(name).unwrap_or_default(),
                unavailable: routes.unavailable.get(name).cloned(),
                timeout: Duration::from_secs(u64::from(server.timeout_seconds)),
                words: known.get(name).map(|known| Arc::clone(&known.words)),
                isolated: server.isolation == Isolation::Session,
                can: known.get(name).map(|known| known.can.clone()),
            };
            view.servers.insert(name.clone(), callable);
            let plain = tables(before.plain.get(name), std::slice::from_ref(name), &own);
            view.plain.insert(name.clone(), plain);
        }
        for (name, document) in &routes.projects {
            let Ok(project) = document.typed::<Project>() else {
                continue;
            };
            let named = project.servers.iter().filter_map(|server| server.parse().ok());
            let servers: Vec<Name> = named.filter(|server| view.servers.contains_key(server)).collect();
            let rules = Rules::of(&project, &routes.lock);
            let each = |server: &Name| {
                let before = || before.projects.get(name)?.get(server);
                let terms = Terms {
                    naming: Naming::Own,
                    rules: rules.clone(),
                };
                let shown = match (&rules, view.plain.get(server)) {
                    (None, Some(plain)) => plain.clone(),
                    _ => tables(before(), std::slice::from_ref(server), &terms),
                };
                (server.clone(), shown)
            };
            let members = servers.iter().map(each).collect();
            let terms = Terms {
                naming: naming(project.tool_prefix),
                rules,
            };
            let merged = tables(before.merged.get(name), &servers, &terms);
            view.merged.insert(name.clone(), merged);
            view.projects.insert(name.clone(), members);
        }
        view
    }

    /// What an endpoint shows; the error says what there is not.
    pub fn tables(&self, endpoint: &Endpoint) -> Result<&Tables, String> {
        let no_project = |project| format!("there is no project \"{project}\"");
        let no_server = |server| format!("there is no server \"{server}\"");
        match endpoint {
            Endpoint::Project(project) => self.merged.get(project).ok_or_else(|| no_project(project)),
            Endpoint::Server(server) => self.plain.get(server).ok_or_else(|| no_server(server)),
            Endpoint::ProjectServer(project, server) => {
                let servers = self.projects.get(project).ok_or_else(|| no_project(project))?;
                servers
                    .get(server)
                    .ok_or_else(|| format!("project \"{project}\" has no server \"{server}\""))
            }
        }
    }

    /// Whether a server is declared in a project; the empty project has all servers, the empty server is all of a project.
    #[must_use]
    pub fn declares(&self, project: &str, server: &str) -> bool {
        let is = |name: &Name| server.is_empty() || name.as_str() == server;
        match self.projects.iter().find(|(name, _)| name.as_str() == project) {
            Some((_, servers)) => server.is_empty() || servers.keys().any(is),
            None => project.is_empty() && (server.is_empty() || self.servers.keys().any(is)),
        }
    }

    /// The servers that are declared.
    pub fn servers(&self) -> impl Iterator<Item = (&Name, &Callable)> {
        self.servers.iter()
    }

    /// The headers that repeat arguments of a call, where its tool wants any.
    #[must_use]
    pub fn headers(&self, endpoint: &Endpoint, asked: &Asked) -> Vec<(HeaderName, HeaderValue)> {
        let tables = self.tables(endpoint).ok();
        let annotations = tables.and_then(|tables| tables.of(Kind::Tools).annotations(&asked.key));
        annotations.map_or_else(Vec::new, |annotations| annotations.headers(asked.arguments()))
    }

    /// Whether an endpoint is over a server.
    #[must_use]
    pub fn has(&self, endpoint: &Endpoint, server: &Name) -> bool {
        let tables = self.tables(endpoint).ok();
        tables.is_some_and(|tables| tables.of(Kind::Tools).servers().any(|of| of == server))
    }

    /// What the servers of an endpoint say of themselves.
    pub fn words(&self, endpoint: &Endpoint) -> impl Iterator<Item = (&Name, &Arc<Words>)> {
        let tables = self.tables(endpoint).ok();
        let servers = tables.into_iter().flat_map(|tables| tables.of(Kind::Tools).servers());
        servers.filter_map(|server| Some((server, self.server(server)?.words.as_ref()?)))
    }

    /// A server by name.
    pub fn server(&self, name: &Name) -> Option<&Callable> {
        self.servers.get(name)
    }

    /// Who answers a request at an endpoint.
    #[must_use]
    pub fn way<'a>(&'a self, endpoint: &Endpoint, ask: Ask, key: &'a str) -> Way<'a> {
        let can = |server: &Name, what| self.server(server).is_some_and(|server| server.can(what));
        self.tables(endpoint)
            .map_or(Way::Nowhere, |tables| way(tables, can, ask, key))
    }
}
