//! `mcpctl sync`.

use clap::Args;

use crate::wire::SourceState;

use super::error::Failure;
use super::{Outcome, Output, Session, help, run, shown, status, wait};

/// Read the repository and make it so, now
///
/// mcpd does this by itself; this asks it not to wait for the next time. The look is a run: its id and what it did come
/// first ("mcpctl get runs" lists them), then how all of it stands. With --wait the answer comes once all is well, and
/// states are shown on stderr as they change.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  mcpctl sync
  mcpctl sync --wait 120
  mcpctl sync -o json | jq .look

Exit code 3, with --wait: in the end something is pending, held, in conflict, or not RUNNING.")]
pub(super) struct Sync {
    /// Wait until all is well, 60 seconds if no number is given
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "60", value_parser = wait::seconds)]
    wait: Option<u64>,
    /// Let the head that mcpd has read delete most of what is declared
    #[arg(long)]
    allow_mass_delete: bool,
    /// Let the head that mcpd has read begin a new history: what differs becomes a conflict, nothing is deleted
    #[arg(long)]
    new_epoch: bool,
    /// Write into the repository again although another mcpd did
    #[arg(long)]
    take_over: bool,
}

impl Sync {
    pub(super) async fn run(self, session: &Session) -> Result<Outcome, Failure> {
        let form = session.form(help::STATUS)?;
        let client = session.client()?;
        let words = [
            (self.allow_mass_delete, "allowMassDelete", "--allow-mass-delete"),
            (self.new_epoch, "newEpoch", "--new-epoch"),
            (self.take_over, "takeOver", "--take-over"),
        ];
        let said = words.into_iter().filter(|(said, ..)| *said).map(|(_, word, _)| word);
        let wait = self.wait.unwrap_or(0);
        let terminal = &session.terminal;
        let answered = wait::sync(&client, terminal, wait, said).await?;
        for word in &answered.passed_over {
            if let Some((.., flag)) = words.iter().find(|(_, known, _)| known == word) {
                terminal.say(&format!("note: nothing waits for {flag}: it was passed over"));
            }
        }
        match form {
            Output::Json => terminal.line(&shown::json(&answered))?,
            Output::Yaml => terminal.data(&shown::yaml_record(&answered)?)?,
            _ => {
                if let Some(look) = &answered.look {
                    terminal.line(&run::line(look))?;
                }
                status::show(terminal, &answered.status, form, client.url())?;
            }
        }
        let status = answered.status;
        if status.source.state == SourceState::Failing {
            let error = status.source.last_error.clone();
            return Err(Failure::Source(
                error.unwrap_or_else(|| "no reason is known".to_owned()),
            ));
        }
        let well = status.converged && wait::remaining(&status).is_empty();
        Ok(if self.wait.is_some() && !well {
            Outcome::Remains
        } else {
            Outcome::Done
        })
    }
}
