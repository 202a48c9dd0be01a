//! `mcpctl restore --verify`: whether what is there is what was there.

use clap::Args;

use crate::wire::RestoreState;
use crate::wire::words::plain;

use super::error::Failure;
use super::{Outcome, Output, Session, shown};

/// Check what a restore brought back
///
/// A wiped host is restored by giving mcpd the identity (MCPD_IDENTITY_FILE) and pushing a clone of the repository. The
/// digest is over everything that is declared, the values of secrets with it: it is the same as before the wipe exactly
/// where the same is declared and every secret can be opened.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  mcpctl restore --verify
  mcpctl restore --verify -o json

Exit code 3: something is pending, held, sealed, or not RUNNING.")]
pub(super) struct Restore {
    /// Print a digest of the state, and what is missing of it
    #[arg(long, required = true)]
    verify: bool,
}

impl Restore {
    pub(super) async fn run(self, session: &Session) -> Result<Outcome, Failure> {
        let form = session.form(&[Output::Table, Output::Json])?;
        let state: RestoreState = session.client()?.get("/restore/verify").await?;
        let terminal = &session.terminal;
        let well = state.converged && state.sealed.is_empty();
        if form == Output::Json {
            terminal.line(&shown::json(&state))?;
        } else {
            let kinds: Vec<String> = state
                .kinds
                .iter()
                .map(|(kind, count)| crate::kit::count(*count, kind.trim_end_matches('s')))
                .collect();
            terminal.line(&format!("digest     {}", plain(&state.digest)))?;
            terminal.line(&format!(
                "declared   {} ({})",
                state.resources,
                plain(&kinds.join(", "))
            ))?;
            terminal.line(&format!(
                "head       {}",
                plain(state.head.as_deref().unwrap_or("none"))
            ))?;
            if !state.sealed.is_empty() {
                terminal.line(&format!("sealed     {}", plain(&state.sealed.join(", "))))?;
                terminal.say("hint: give mcpd the identity that opens them (MCPD_IDENTITY_FILE)");
            }
            if !state.converged {
                terminal.say("hint: not everything runs yet: mcpctl status tells what is missing");
            }
        }
        Ok(if well { Outcome::Done } else { Outcome::Remains })
    }
}
