//! `mcpctl status`.

use crate::kit::count;
use crate::record::InstanceStatus;
use crate::wire::words::plain;
use crate::wire::{SourceState, StatusBody, Unclaimed};
use clap::Args;

use super::error::Failure;
use super::shown::{self, Recording};
use super::table::Table;
use super::terminal::{Style, Terminal};
use super::{Outcome, Output, Session, help, wait};

/// Show how all of it stands
///
/// mcpd, its runtime, the repository it follows, what waits or went wrong, and every instance.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  mcpctl status
  mcpctl status --check && echo all is well

Exit code 3, with --check: something is pending, held, in conflict, or not RUNNING.")]
pub(super) struct Status {
    /// Exit with 3 unless all is well
    #[arg(long)]
    check: bool,
}

impl Status {
    pub(super) async fn run(self, session: &Session) -> Result<Outcome, Failure> {
        let form = session.form(help::STATUS)?;
        let client = session.client()?;
        let status: StatusBody = client.get("/status").await?;
        show(&session.terminal, &status, form, client.url())?;
        Ok(if self.check && !status.converged {
            Outcome::Remains
        } else {
            Outcome::Done
        })
    }
}

/// Shows the status in a form.
pub(super) fn show(terminal: &Terminal, status: &StatusBody, form: Output, url: &str) -> Result<(), Failure> {
    match form {
        Output::Json => terminal.line(&shown::json(status)),
        Output::Yaml => terminal.data(&shown::yaml_record(status)?),
        _ => page(terminal, status, url),
    }
}

/// What runs and is left alone until the store has agreed with a source, a line each.
pub(super) fn unclaimed(lives: &[Unclaimed]) -> Vec<String> {
    let one = |it: &Unclaimed| {
        let life: String = it.life.0.chars().take(12).collect();
        let (life, since) = (plain(&life), shown::since(it.started));
        format!(
            "unclaimed  {} runs as {life} for {since}: left alone until the first sync",
            it.instance
        )
    };
    lives.iter().map(one).collect()
}

fn page(terminal: &Terminal, status: &StatusBody, url: &str) -> Result<(), Failure> {
    let fact = |word: &str, text: &str| terminal.line(&format!("{word:<10} {}", plain(text)));
    fact(
        "mcpd",
        &format!("{} at {url}, cluster {}", status.version, status.cluster),
    )?;
    let runtime = &status.runtime;
    fact(
        "runtime",
        &match (runtime.available, runtime.reason.is_empty()) {
            (true, true) => runtime.name.clone(),
            (true, false) => format!("{} ({})", runtime.name, runtime.reason),
            (false, _) => format!("{} does not answer: {}", runtime.name, runtime.reason),
        },
    )?;
    let source = &status.source;
    let state = match source.state {
        SourceState::Pending => "not read yet",
        SourceState::Empty => "empty",
        SourceState::Synced => "synced",
        SourceState::Held => "a part is held",
        SourceState::WaitingForApproval => "waiting for approval",
        SourceState::Failing => "failing",
    };
    let head = source
        .head
        .iter()
        .map(|head| format!(" at {}", head.chars().take(7).collect::<String>()));
    let read = source
        .last_sync_at
        .iter()
        .map(|at| format!(", read {} ago", shown::since(*at)));
    let more: String = head.chain(read).collect();
    fact("source", &format!("{} {}: {state}{more}", source.kind, source.location))?;
    if let Some(error) = &source.last_error {
        fact("", error)?;
    }
    let pending = match source.pending_count {
        0 => String::new(),
        n => format!(", {} not in the repository yet", count(n, "change")),
    };
    let resources = count(status.resources, "resource");
    fact("store", &format!("revision {}, {resources}{pending}", status.revision))?;
    if status.conflicts > 0 {
        fact("conflicts", &format!("{} (mcpctl conflicts)", status.conflicts))?;
    }
    for held in &status.held {
        fact("held", &format!("{}: {}", held.resource, held.why()))?;
    }
    if !status.instances.is_empty() {
        terminal.line("")?;
        let mut table = Table::new(InstanceStatus::HEADING.iter().copied(), false);
        table.fill(status.instances.iter().map(Recording::cells));
        table.print(terminal)?;
    }
    if !status.unclaimed.is_empty() {
        terminal.line("")?;
        for line in unclaimed(&status.unclaimed) {
            terminal.line(&line)?;
        }
    }
    terminal.diagnostics(&status.diagnostics);
    terminal.say_all(
        status
            .warnings
            .iter()
            .map(|warning| format!("warning: {}", plain(warning))),
    );
    terminal.line("")?;
    let remaining = wait::remaining(status);
    if remaining.is_empty() {
        return terminal.line(&terminal.styled("all is well", Some(Style::Good)));
    }
    let line = format!("not yet: {}", remaining.join(", "));
    terminal.line(&terminal.styled(&line, Some(Style::Middling)))
}
