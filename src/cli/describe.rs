//! `mcpctl describe`.

use clap::Args;

use crate::record::{Conflict, Event};
use crate::wire::words::{conflict, plain};
use crate::wire::{Item, Listing};

use super::error::Failure;
use super::noun;
use super::shown::{self, Recording};
use super::table::Table;
use super::terminal::{Style, Terminal};
use super::{Outcome, Output, Session, help};

/// Show everything about one resource
///
/// Its status and why it is so, its instances with the next retry, where it is declared (file:line@commit), an open
/// conflict, what happened to it lately, and the declaration.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  mcpctl describe server time
  mcpctl describe project/demo -o json")]
pub(super) struct Describe {
    /// The kind, or KIND/NAME
    kind: String,
    /// The name
    name: Option<String>,
}

/// How many events are shown.
const EVENTS: usize = 20;

impl Describe {
    pub(super) async fn run(self, session: &Session) -> Result<Outcome, Failure> {
        let form = session.form(help::PAGE)?;
        let id = noun::resource(&self.kind, self.name.as_deref())?;
        let client = session.client()?;
        let item: Item = client.get(&noun::path(&id)).await?;
        let events: Listing<Event> = client.get("/events").await?;
        let conflicts: Listing<Conflict> = client.get("/conflicts").await?;
        let instances = format!("{}/", id.name);
        let about = |event: &Event| {
            event.about == id.to_string() || (id.kind().name == "server" && event.about.starts_with(&instances))
        };
        let mut events: Vec<Event> = events.items.into_iter().filter(about).collect();
        events.drain(..events.len().saturating_sub(EVENTS));
        let clash = conflicts.items.into_iter().find(|conflict| conflict.id == id);
        let terminal = &session.terminal;
        if form == Output::Json {
            terminal.line(&shown::json(&serde_json::json!({
                "resource": item.resource,
                "status": item.status,
                "revision": item.revision,
                "conflict": clash,
                "events": events,
            })))?;
            return Ok(Outcome::Done);
        }
        terminal.line(&terminal.styled(&id.to_string(), Some(Style::Heading)))?;
        facts(terminal, &item, id.kind().name, &id.name.to_string(), client.url())?;
        let instances = shown::server_status(&item).instances;
        if !instances.is_empty() {
            let mut table = Table::new(crate::record::InstanceStatus::HEADING.iter().copied(), true);
            table.fill(instances.iter().map(Recording::cells));
            section(terminal, "instances", &table.take(terminal))?;
        }
        if let Some(clash) = clash {
            section(terminal, "conflict", &[conflict(&clash)])?;
        }
        if !events.is_empty() {
            let mut table = Table::new(Event::HEADING.iter().copied(), true);
            table.fill(events.iter().map(Recording::cells));
            section(terminal, "events", &table.take(terminal))?;
        }
        let text = shown::yaml_of([&shown::document(&item.resource)?]);
        let lines: Vec<String> = text.lines().map(plain).collect();
        section(terminal, "declaration", &lines)?;
        Ok(Outcome::Done)
    }
}

fn facts(terminal: &Terminal, item: &Item, kind: &str, name: &str, url: &str) -> Result<(), Failure> {
    let fact = |word: &str, text: &str| terminal.line(&format!("  {word:<11} {}", text.trim_end()));
    if kind == "server" {
        let status = shown::server_status(item);
        let state = plain(&status.state);
        let state = terminal.styled(&state, Style::of_state(&state));
        fact("state", &format!("{state} {}", plain(&status.ready)))?;
        if !status.reason.is_empty() {
            fact("reason", &plain(&status.reason))?;
        }
        if let Some(retry) = status.instances.iter().filter_map(|instance| instance.next_retry).min() {
            fact("next retry", &shown::until(retry))?;
        }
        if let Some(tools) = status.tools {
            fact("tools", &tools.to_string())?;
        }
    }
    if kind == "project" {
        fact("url", &format!("{url}/projects/{name}/mcp"))?;
    }
    let provenance = shown::provenance(item);
    let declared = if provenance.is_empty() {
        "in the store; its commit has not landed yet".to_owned()
    } else {
        plain(&provenance)
    };
    fact("declared", &declared)?;
    fact("revision", &item.revision.to_string())
}

fn section(terminal: &Terminal, heading: &str, lines: &[String]) -> Result<(), Failure> {
    terminal.line("")?;
    terminal.line(&terminal.styled(heading, Some(Style::Heading)))?;
    lines.iter().try_for_each(|line| terminal.line(&format!("  {line}")))
}
