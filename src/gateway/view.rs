//! Everything that a request needs to know, as one value that is replaced when lives, tools or routes change.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::kit::Name;
use crate::mcp::Connection;
use crate::mcp::handshake::Tool;
use crate::record::{Life, Routes};
use crate::resource::{Project, Server};

use super::Endpoint;
use super::merge::{Part, Table};
use super::route::Candidate;

/// The state of the endpoints at one instant.
#[derive(Default)]
pub struct View {
    merged: HashMap<Name, Arc<Table>>,
    plain: HashMap<Name, Arc<Table>>,
    projects: HashMap<Name, Vec<Name>>,
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
}

impl View {
    /// Puts together what is declared (`routes`), what runs (`candidates` by server) and what is known (`tools` by server).
    /// A table that would be the same is taken from `before`.
    pub fn new(
        routes: &Routes,
        mut candidates: HashMap<Name, Vec<Candidate>>,
        connections: HashMap<Life, Arc<Connection>>,
        tools: &BTreeMap<Name, Arc<Vec<Tool>>>,
        before: &Self,
    ) -> Self {
        let part = |server: &Name| -> Part { (server.clone(), tools.get(server).cloned()) };
        let table = |old: Option<&Arc<Table>>, parts: Vec<Part>, prefixed: bool| match old {
            Some(old) if old.is_of(&parts) => Arc::clone(old),
            _ => Arc::new(Table::new(parts, prefixed)),
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
            };
            view.servers.insert(name.clone(), callable);
            let plain = table(before.plain.get(name), vec![part(name)], false);
            view.plain.insert(name.clone(), plain);
        }
        for (name, document) in &routes.projects {
            let Ok(project) = document.typed::<Project>() else {
                continue;
            };
            let named = project.servers.iter().filter_map(|server| server.parse().ok());
            let servers: Vec<Name> = named.filter(|server| view.servers.contains_key(server)).collect();
            let merged = table(before.merged.get(name), servers.iter().map(part).collect(), true);
            view.merged.insert(name.clone(), merged);
            view.projects.insert(name.clone(), servers);
        }
        view
    }

    /// What an endpoint shows; the error says what there is not.
    pub fn table(&self, endpoint: &Endpoint) -> Result<&Arc<Table>, String> {
        let no_project = |project| format!("there is no project \"{project}\"");
        let no_server = |server| format!("there is no server \"{server}\"");
        match endpoint {
            Endpoint::Project(project) => self.merged.get(project).ok_or_else(|| no_project(project)),
            Endpoint::Server(server) => self.plain.get(server).ok_or_else(|| no_server(server)),
            Endpoint::ProjectServer(project, server) => {
                let servers = self.projects.get(project).ok_or_else(|| no_project(project))?;
                let of_project = self.plain.get(server).filter(|_| servers.contains(server));
                of_project.ok_or_else(|| format!("project \"{project}\" has no server \"{server}\""))
            }
        }
    }

    /// A server by name.
    pub fn server(&self, name: &Name) -> Option<&Callable> {
        self.servers.get(name)
    }
}
