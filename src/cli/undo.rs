//! `mcpctl undo`.

use clap::Args;
use reqwest::Method;

use crate::wire::PastPlan;

use super::client::Sending;
use super::error::Failure;
use super::past::{self, Going};
use super::{Outcome, Session, help, wait};

/// Take back what one revision did
///
/// What it changed becomes what it was, by one more revision and one more commit; the plan is shown first. Where other
/// fields of a resource were changed since, they stay. Where the same ones were, nothing is done, and the answer names
/// who changed them. Values of secrets do not come back unless you say so.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  mcpctl get revisions                 what was done, by whom
  mcpctl undo 17 --dry-run             what taking it back would change
  mcpctl undo 17
  mcpctl undo 17 --yes --wait 120

Exit code 3, with --wait: it was undone, but not all is well in the end.")]
pub(super) struct Undo {
    /// The revision, a number
    #[arg(value_name = "REVISION")]
    revision: u64,
    #[command(flatten)]
    going: Going,
    /// Wait until all is well, 60 seconds if no number is given
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "60", value_parser = wait::seconds)]
    #[arg(conflicts_with = "dry_run")]
    wait: Option<u64>,
}

impl Undo {
    pub(super) async fn run(self, session: &Session) -> Result<Outcome, Failure> {
        let form = session.form(help::CHANGE)?;
        let client = session.client()?;
        let path = format!("/revisions/{}/undo", self.revision);
        let plan = async |said: String| -> Result<PastPlan, Failure> {
            client
                .call(Method::POST, &format!("{path}?{said}"), &Sending::default())
                .await
        };
        let question = format!("undo revision {}?", self.revision);
        let outcome = past::go(session, &self.going, form, &question, plan, async |_| Ok(())).await?;
        wait::afterwards(session, &client, self.wait.filter(|_| outcome.1), outcome.0).await
    }
}
