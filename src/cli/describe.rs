//! `mcpctl describe`.

use std::collections::BTreeSet;

use clap::Args;

use crate::kit::Name;
use crate::record::{Conflict, Event, InstanceStatus};
use crate::resource::{BUILT_IN, Template};
use crate::wire::words::plain;
use crate::wire::{Condition, Item, ItemStatus, Listing, Truth};

use super::clash;
use super::error::Failure;
use super::noun::{self, Recorded};
use super::run;
use super::shown::{self, Recording};
use super::table::Table;
use super::terminal::{Style, Terminal};
use super::tools;
use super::{Outcome, Output, Session, help};

/// Show everything about one resource
///
/// Its status and why it is so, where it is declared (file:line@commit), what holds of it and what does not, its instances
/// with the next retry (of a project: its servers), open conflicts with both diffs, what happened to it lately, and the declaration. Of a
/// tool what it promises, and how that differs from what was approved. Of a template also what its servers have to be told, and the words that make one. Of a run who asked for it, when, and what it did.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  mcpctl describe server time
  mcpctl describe template filesystem
  mcpctl describe conflict server/web
  mcpctl describe run 12
  mcpctl describe tool time__now -p ops
  mcpctl describe project/demo -o json")]
pub(super) struct Describe {
    /// The kind, or KIND/NAME
    kind: String,
    /// The name
    name: Option<String>,
    #[command(flatten)]
    within: noun::InProject,
}

impl Describe {
    pub(super) async fn run(self, session: &Session) -> Result<Outcome, Failure> {
        let form = session.form(help::PAGE)?;
        let (word, rest) = self.kind.split_once('/').unwrap_or((&self.kind, ""));
        let name = self.name.as_deref().unwrap_or(rest);
        match noun::recorded(word) {
            Some(Recorded::Conflicts) => return conflicts(session, form, name).await,
            Some(Recorded::Tools) => return tools::describe(session, form, name, &self.within).await,
            Some(Recorded::Runs) => return run::describe(session, form, name).await,
            _ => {}
        }
        let id = noun::resource(&self.kind, self.name.as_deref(), &self.within)?;
        let client = session.client()?;
        let item: Item = client.get(&noun::path(&id)).await?;
        let status = shown::status(&item);
        let clashes = if is_conflicted(&status) {
            let conflicts: Listing<Conflict> = client.get("/conflicts").await?;
            conflicts
                .items
                .into_iter()
                .filter(|conflict| conflict.id == id)
                .collect()
        } else {
            vec![]
        };
        let terminal = &session.terminal;
        if form == Output::Json {
            terminal.line(&shown::json(&serde_json::json!({
                "resource": item.resource,
                "status": item.status,
                "revision": item.revision,
                "conflicts": clashes,
            })))?;
            return Ok(Outcome::Done);
        }
        terminal.line(&terminal.styled(&id.to_string(), Some(Style::Heading)))?;
        facts(terminal, &status, item.revision, client.url())?;
        conditions(terminal, &status.conditions)?;
        if !status.servers.is_empty() {
            let mut table = Table::new(["NAME", "READY", "STATE", "REASON"], true);
            let servers = status.servers.into_iter();
            table.fill(servers.map(|it| vec![it.name, it.ready, it.state, it.reason]));
            section(terminal, "servers", &table.take(terminal))?;
        }
        if !status.instances.is_empty() {
            let mut table = Table::new(InstanceStatus::HEADING.iter().copied(), true);
            table.fill(status.instances.iter().map(Recording::cells));
            section(terminal, "instances", &table.take(terminal))?;
        }
        for conflict in &clashes {
            section(terminal, "conflict", &clash::lines(conflict))?;
        }
        if !status.events.is_empty() {
            let mut table = Table::new(Event::HEADING.iter().copied(), true);
            table.fill(status.events.iter().map(Recording::cells));
            section(terminal, "events", &table.take(terminal))?;
        }
        let document = shown::masked(&item)?;
        if let Ok(template) = document.typed::<Template>() {
            variables(terminal, &template)?;
            section(terminal, "example", &[example(&document.id.name, &template)])?;
        }
        let text = shown::yaml_of([&document]);
        let lines: Vec<String> = text.lines().map(plain).collect();
        section(terminal, "declaration", &lines)?;
        Ok(Outcome::Done)
    }
}

/// The conflicts of a resource, or the one with a number, with both diffs.
async fn conflicts(session: &Session, form: Output, name: &str) -> Result<Outcome, Failure> {
    let listing: Listing<Conflict> = session.client()?.get("/conflicts").await?;
    let found: Vec<&Conflict> = listing
        .items
        .iter()
        .filter(|conflict| conflict.answers_to(name))
        .collect();
    if found.is_empty() {
        return Err(Failure::Missing(format!("conflict/{name}")));
    }
    let terminal = &session.terminal;
    if form == Output::Json {
        terminal.line(&shown::json(&found))?;
        return Ok(Outcome::Done);
    }
    for (n, conflict) in found.iter().enumerate() {
        if n > 0 {
            terminal.line("")?;
        }
        clash::lines(conflict).iter().try_for_each(|line| terminal.line(line))?;
    }
    Ok(Outcome::Done)
}

fn is_conflicted(status: &ItemStatus) -> bool {
    let is = |condition: &Condition| condition.kind == "Conflicted" && condition.status == Truth::True;
    status.conditions.iter().any(is)
}

fn facts(terminal: &Terminal, status: &ItemStatus, revision: u64, url: &str) -> Result<(), Failure> {
    let fact = |word: &str, text: &str| terminal.line(format!("  {word:<11} {text}").trim_end());
    if !status.state.is_empty() {
        let state = plain(&status.state);
        let styled = terminal.styled(&state, Style::of_state(&state));
        fact("state", &format!("{styled} {}", plain(&status.ready)))?;
    }
    if !status.reason.is_empty() {
        fact("reason", &plain(&status.reason))?;
    }
    if let Some(retry) = status.instances.iter().filter_map(|instance| instance.next_retry).min() {
        fact("next retry", &shown::until(retry))?;
    }
    if let Some(tools) = status.tools {
        let tokens = status.schema_tokens.map(|tokens| format!(", about {tokens} tokens"));
        fact("tools", &format!("{tools}{}", tokens.unwrap_or_default()))?;
    }
    let protocols: BTreeSet<&str> = status
        .instances
        .iter()
        .filter_map(|instance| instance.protocol.as_deref())
        .filter(|protocol| !protocol.is_empty())
        .collect();
    if !protocols.is_empty() {
        let protocols: Vec<&str> = protocols.into_iter().collect();
        fact("mcp", &plain(&protocols.join(", ")))?;
    }
    if !status.endpoint.is_empty() {
        fact("url", &format!("{url}{}", plain(&status.endpoint)))?;
    }
    let provenance = &status.provenance;
    let declared = match (provenance.file.is_empty(), provenance.pending) {
        (true, _) if status.origin == BUILT_IN => {
            "nowhere: it ships with mcpd; a declaration takes its place".to_owned()
        }
        (true, _) => "in the store; its commit has not landed yet".to_owned(),
        (false, true) => format!(
            "{}; a change of it is not in the repository yet",
            plain(&provenance.to_string())
        ),
        (false, false) => plain(&provenance.to_string()),
    };
    fact("declared", &declared)?;
    fact("revision", &revision.to_string())
}

fn conditions(terminal: &Terminal, conditions: &[Condition]) -> Result<(), Failure> {
    if conditions.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(["TYPE", "STATUS", "REASON", "SINCE", "MESSAGE"], true);
    table.fill(conditions.iter().map(|condition| {
        let status = match condition.status {
            Truth::True => "True",
            Truth::False => "False",
            Truth::Unknown => "Unknown",
        };
        vec![
            condition.kind.clone(),
            status.to_owned(),
            condition.reason.clone(),
            condition.since.map(shown::since).unwrap_or_default(),
            condition.message.clone(),
        ]
    }));
    section(terminal, "conditions", &table.take(terminal))
}

/// What the servers made from a template have to be told.
fn variables(terminal: &Terminal, template: &Template) -> Result<(), Failure> {
    if template.env.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(["NAME", "REQUIRED", "DEFAULT", "DESCRIPTION"], true);
    table.fill(template.env.iter().map(|variable| {
        vec![
            variable.name.clone(),
            if variable.is_missing_alone() { "yes" } else { "no" }.to_owned(),
            variable.default_value.clone().unwrap_or_default(),
            variable.description.clone(),
        ]
    }));
    section(terminal, "env", &table.take(terminal))
}

/// The words that make a server from a template.
fn example(name: &Name, template: &Template) -> String {
    let asked = template.env.iter().filter(|variable| variable.is_missing_alone());
    let asked: String = asked
        .flat_map(|variable| [" --env ".to_owned(), plain(&variable.name), "=…".to_owned()])
        .collect();
    format!("mcpctl create server {name} --from-template {name}{asked}")
}

pub(super) fn section(terminal: &Terminal, heading: &str, lines: &[String]) -> Result<(), Failure> {
    terminal.line("")?;
    terminal.line(&terminal.styled(heading, Some(Style::Heading)))?;
    lines.iter().try_for_each(|line| terminal.line(&format!("  {line}")))
}
