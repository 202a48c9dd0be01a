//! `mcpctl status`.

use clap::Args;
use serde_json::Value;

use crate::record::InstanceStatus;
use crate::resource::{Document, yaml};
use crate::wire::words::plain;
use crate::wire::{SourceState, StatusBody};

use super::error::Failure;
use super::shown::{self, Recording as _};
use super::table::Table;
use super::terminal::{Style, Terminal};
use super::{Outcome, Output, Session, wait};

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
        let form = session.form(&[Output::Table, Output::Json, Output::Yaml])?;
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
        Output::Yaml => terminal.data(&yaml_text(status)?),
        _ => page(terminal, status, url),
    }
}
