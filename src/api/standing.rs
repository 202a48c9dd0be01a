//! How a declared resource stands, from what is known of it: status, conditions, and the chain from its commit to its
//! tools. Pure.

use std::sync::Arc;

use crate::engine::Report;
use crate::kit::count;
use crate::kit::time::Timestamp;
use crate::record::{ChainLink, Conflict, Handshake, InstanceStatus, PendingExport, State, StoreView, Upstreams};
use crate::resource::{BUILT_IN, Declared, Document, Id, Project, Server, built_in};
use crate::wire::{
    Condition, HeldResource, ItemStatus, MemberStatus, Provenance, Rung, SourceState, Standing, Truth, words,
};

/// How a resource stands, in short.
pub(super) fn status(document: &Arc<Document>, view: &StoreView, report: &Report) -> ItemStatus {
    let id = &document.id;
    let mut status = match id.kind().name {
        Server::NAME => server(document, report),
        Project::NAME => project(document, view, report),
        _ => ItemStatus::default(),
    };
    if status.reason.is_empty() {
        status.reason = held(id, report).map(HeldResource::why).unwrap_or_default();
    }
    status.provenance = provenance(id, view, report);
    let declared = view.rows.get(id).is_some_and(|row| row.document.is_some());
    if !declared && built_in().contains_key(id) {
        BUILT_IN.clone_into(&mut status.origin);
    }
    status
}

fn server(document: &Arc<Document>, report: &Report) -> ItemStatus {
    let wanted = document.typed::<Server>().map_or(0, |server| server.replicas);
    let of = |status: &&InstanceStatus| status.instance.server == document.id.name;
    let instances: Vec<InstanceStatus> = report.status.instances.iter().filter(of).cloned().collect();
    let running = instances.iter().filter(|status| status.state == State::Running).count();
    let worst = instances.iter().max_by_key(|status| status.state);
    ItemStatus {
        state: match worst {
            Some(status) => status.state.to_string(),
            None if wanted == 0 => "STOPPED".to_owned(),
            None => State::Pending.to_string(),
        },
        ready: format!("{running}/{wanted}"),
        tools: instances.iter().find_map(|status| status.tools),
        reason: worst.map(|status| status.reason.clone()).unwrap_or_default(),
        instances,
        ..ItemStatus::default()
    }
}

fn project(document: &Arc<Document>, view: &StoreView, report: &Report) -> ItemStatus {
    let names = document.typed::<Project>().map(|project| project.servers);
    let member = |name: String| {
        let id: Option<Id> = format!("{}/{name}", Server::NAME).parse().ok();
        let row = id.and_then(|id| view.rows.get(&id)?.document.clone());
        let status = row.map(|document| server(&document, report)).unwrap_or_default();
        MemberStatus {
            name,
            state: status.state,
            ready: status.ready,
            reason: status.reason,
        }
    };
    ItemStatus {
        endpoint: format!("/projects/{}/mcp", document.id.name),
        servers: names.unwrap_or_default().into_iter().map(member).collect(),
        ..ItemStatus::default()
    }
}

fn held<'a>(id: &Id, report: &'a Report) -> Option<&'a HeldResource> {
    let name = id.to_string();
    report.status.held.iter().find(|held| held.resource == name)
}

/// The change of a resource that is not in the repository yet.
fn pending<'a>(id: &Id, view: &'a StoreView) -> Option<&'a PendingExport> {
    view.outbox
        .iter()
        .rfind(|export| export.changes.iter().any(|change| change.id == *id))
}

fn provenance(id: &Id, view: &StoreView, report: &Report) -> Provenance {
    let pending = pending(id, view).is_some();
    let Some(row) = view.ledger.get(id) else {
        return Provenance {
            pending,
            ..Provenance::default()
        };
    };
    let placed = report.tree.documents.get(id);
    Provenance {
        file: placed.map_or(&row.path, |placed| &placed.path).clone(),
        line: placed.map(|placed| placed.position.line),
        commit: row.commit.clone(),
        pending,
    }
}

/// Everything that conditions and the chain follow from.
pub(super) struct Facts<'a> {
    pub(super) document: &'a Arc<Document>,
    pub(super) revision: u64,
    pub(super) status: &'a ItemStatus,
    pub(super) view: &'a StoreView,
    pub(super) report: &'a Report,
    pub(super) conflicts: &'a [Conflict],
    pub(super) upstreams: &'a Upstreams,
}

impl Facts<'_> {
    fn id(&self) -> &Id {
        &self.document.id
    }

    /// What holds of the resource and what does not, in a fixed order.
    pub(super) fn conditions(&self) -> Vec<Condition> {
        let mut all = vec![self.synced(), self.held(), self.conflicted()];
        match self.id().kind().name {
            Server::NAME => all.push(self.server_ready()),
            Project::NAME => all.push(self.project_ready()),
            _ => {}
        }
        all
    }

    fn synced(&self) -> Condition {
        let commit = self.commit();
        let (status, reason) = match commit.standing {
            Standing::Ok => (Truth::True, "Committed"),
            Standing::Waiting => (Truth::False, "Pending"),
            Standing::Broken => (Truth::False, "Failing"),
        };
        let since = pending(self.id(), self.view).map(|export| export.at);
        if !self.report.read && status == Truth::True {
            let message = "the repository has not been read since mcpd started".to_owned();
            return condition("Synced", Truth::Unknown, "NotRead", message, None);
        }
        condition("Synced", status, reason, commit.message, since)
    }

    fn held(&self) -> Condition {
        match held(self.id(), self.report) {
            Some(held) => condition("Held", Truth::True, "Unusable", held.why(), None),
            None => condition("Held", Truth::False, "Usable", String::new(), None),
        }
    }

    fn conflicted(&self) -> Condition {
        match self.conflicts {
            [first, ..] => condition(
                "Conflicted",
                Truth::True,
                "StoreKept",
                told(self.conflicts),
                Some(first.at),
            ),
            [] => condition("Conflicted", Truth::False, "Agreed", String::new(), None),
        }
    }

    fn server_ready(&self) -> Condition {
        let status = self.status;
        let runtime = &self.report.status.runtime;
        if !runtime.available {
            return condition("Ready", Truth::Unknown, "RuntimeAway", runtime.reason.clone(), None);
        }
        let idle = status.instances.iter().filter(|it| it.state != State::Running);
        let since = idle.map(|it| it.since).min();
        match status.state.as_str() {
            "RUNNING" => {
                let since = status.instances.iter().map(|it| it.since).max();
                condition("Ready", Truth::True, "Running", status.ready.clone(), since)
            }
            "STOPPED" => condition("Ready", Truth::True, "Stopped", "replicas is 0".to_owned(), None),
            "ERROR" => condition("Ready", Truth::False, "Failed", status.reason.clone(), since),
            "STOPPING" => condition("Ready", Truth::False, "Stopping", status.reason.clone(), since),
            _ => condition("Ready", Truth::False, "Starting", status.reason.clone(), since),
        }
    }

    fn project_ready(&self) -> Condition {
        let well = |member: &&MemberStatus| !matches!(member.state.as_str(), "RUNNING" | "STOPPED");
        let ill: Vec<&MemberStatus> = self.status.servers.iter().filter(well).collect();
        if ill.is_empty() {
            let all = count(self.status.servers.len(), "server");
            return condition("Ready", Truth::True, "Running", all, None);
        }
        let names: Vec<String> = ill
            .iter()
            .map(|it| format!("server/{} is {}", it.name, or(&it.state, "not declared")))
            .collect();
        condition("Ready", Truth::False, "NotRunning", names.join(", "), None)
    }

    /// The way from the commit to the tools. What follows a broken link is not told: nothing is known of it.
    pub(super) fn chain(&self) -> Vec<Rung> {
        let mut chain = vec![self.commit()];
        if is_broken(&chain) {
            return chain;
        }
        chain.push(self.plan());
        if is_broken(&chain) || self.id().kind().name != Server::NAME {
            return chain;
        }
        if self.status.instances.is_empty() {
            let (standing, message) = if self.status.state == "STOPPED" {
                (Standing::Ok, "none is wanted: replicas is 0")
            } else {
                (Standing::Waiting, "not planned yet")
            };
            chain.push(rung(ChainLink::Container, standing, message));
        }
        for instance in &self.status.instances {
            chain.extend(self.instance(instance));
        }
        chain
    }

    fn commit(&self) -> Rung {
        let source = &self.report.status.source;
        let failing = source
            .last_error
            .clone()
            .filter(|_| source.state == SourceState::Failing);
        let provenance = &self.status.provenance;
        let waits = match pending(self.id(), self.view) {
            Some(export) => format!("revision {} is not in the repository yet", export.revision),
            None if provenance.file.is_empty() => "the repository has not been agreed with yet".to_owned(),
            None => return rung(ChainLink::Commit, Standing::Ok, provenance.to_string()),
        };
        match failing {
            Some(error) => rung(ChainLink::Commit, Standing::Broken, format!("{waits}: {error}")),
            None => rung(ChainLink::Commit, Standing::Waiting, waits),
        }
    }

    fn plan(&self) -> Rung {
        let source = &self.report.status.source;
        if let Some(held) = held(self.id(), self.report) {
            let message = format!("held, what was in force stays: {}", held.why());
            return Rung {
                diagnostic: held.diagnostic.clone(),
                ..rung(ChainLink::Plan, Standing::Broken, message)
            };
        }
        if !self.conflicts.is_empty() {
            let told = told(self.conflicts);
            return rung(ChainLink::Plan, Standing::Broken, format!("in conflict: {told}"));
        }
        let declared = self.report.tree.documents.get(self.id()).map(|placed| &placed.document);
        if source.state == SourceState::WaitingForApproval && declared != Some(self.document) {
            let why = source.last_error.clone().unwrap_or_default();
            return rung(ChainLink::Plan, Standing::Broken, why);
        }
        rung(
            ChainLink::Plan,
            Standing::Ok,
            format!("in force since revision {}", self.revision),
        )
    }

    fn instance(&self, status: &InstanceStatus) -> Vec<Rung> {
        let life = status.life.as_ref().map(|life| {
            let short: String = life.0.chars().take(12).collect();
            format!("life {short}")
        });
        let broken = status.failed_at.unwrap_or(ChainLink::Container);
        let (stops_at, standing, why) = match status.state {
            State::Running => (None, Standing::Ok, String::new()),
            State::Error => (Some(broken), Standing::Broken, status.reason.clone()),
            State::Pending => (
                Some(ChainLink::Container),
                Standing::Waiting,
                or(&status.reason, "not started yet"),
            ),
            State::Stopping => (Some(ChainLink::Container), Standing::Waiting, status.reason.clone()),
            // In a crash loop the container is what comes and goes.
            State::Starting => {
                let at = status.failed_at.unwrap_or(ChainLink::Handshake);
                (
                    Some(at),
                    Standing::Waiting,
                    or(&status.reason, "started; its first answer is awaited"),
                )
            }
        };
        let mut rungs = vec![];
        for link in [ChainLink::Container, ChainLink::Handshake, ChainLink::Tools] {
            let stops = stops_at == Some(link);
            let (standing, message) = match link {
                _ if stops => (standing, why.clone()),
                ChainLink::Container => (Standing::Ok, life.clone().unwrap_or_else(|| "starts".to_owned())),
                ChainLink::Handshake => (Standing::Ok, self.spoken(status)),
                _ => (Standing::Ok, tools(status)),
            };
            rungs.push(Rung {
                instance: Some(status.instance.clone()),
                next_retry: status.next_retry.filter(|_| stops),
                ..rung(link, standing, message)
            });
            if stops {
                break;
            }
        }
        rungs
    }

    /// What was agreed on in the handshake.
    fn spoken(&self, status: &InstanceStatus) -> String {
        let upstream = status.life.as_ref().and_then(|life| self.upstreams.get(life));
        match upstream.map(|upstream| &upstream.handshake) {
            Some(Handshake::Ready { greeting, .. }) => format!("{}, MCP {}", greeting.server, greeting.protocol),
            _ => "answered".to_owned(),
        }
    }
}

fn tools(status: &InstanceStatus) -> String {
    status
        .tools
        .map_or_else(|| "listed".to_owned(), |tools| count(tools, "tool"))
}

fn or(text: &str, otherwise: &str) -> String {
    if text.is_empty() { otherwise } else { text }.to_owned()
}

/// Conflicts of a resource in words, without their mark: the newest one, and how many there are before it.
fn told(conflicts: &[Conflict]) -> String {
    let Some((conflict, earlier)) = conflicts.split_last() else {
        return String::new();
    };
    let line = words::conflict(conflict);
    let mark = format!("! {}  ", conflict.id);
    let line = line.strip_prefix(&mark).unwrap_or(&line);
    if earlier.is_empty() {
        line.to_owned()
    } else {
        format!("{line}, and {} before it", count(earlier.len(), "conflict"))
    }
}

fn is_broken(chain: &[Rung]) -> bool {
    chain.iter().any(|rung| rung.standing == Standing::Broken)
}

fn rung(link: ChainLink, standing: Standing, message: impl Into<String>) -> Rung {
    Rung {
        link,
        instance: None,
        standing,
        message: message.into(),
        next_retry: None,
        diagnostic: None,
    }
}

fn condition(kind: &str, status: Truth, reason: &str, message: String, since: Option<Timestamp>) -> Condition {
    Condition {
        kind: kind.to_owned(),
        status,
        reason: reason.to_owned(),
        message,
        since,
    }
}
