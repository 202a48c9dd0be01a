//! `mcpctl delete`.

use clap::Args;
use reqwest::Method;

use super::client::Sending;
use super::error::Failure;
use super::noun;
use super::{Outcome, Output, Session, help, shown};

/// Delete a resource
///
/// Its declaration leaves the repository by a commit of its own, and what ran because of it stops. What something else
/// needs is not deleted; the answer names what needs it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  mcpctl delete server time
  mcpctl delete prompt old -p ops
  mcpctl delete project/demo")]
pub(super) struct Delete {
    /// The kind, or KIND/NAME
    kind: String,
    /// The name
    name: Option<String>,
    #[command(flatten)]
    within: noun::InProject,
}

impl Delete {
    pub(super) async fn run(self, session: &Session) -> Result<Outcome, Failure> {
        let form = session.form(help::CHANGE)?;
        let id = noun::resource(&self.kind, self.name.as_deref(), &self.within)?;
        let answer: serde_json::Value = session
            .client()?
            .call(Method::DELETE, &noun::path(&id), &Sending::default())
            .await?;
        match form {
            Output::Json => session.terminal.line(&shown::json(&answer))?,
            Output::Name => session.terminal.line(&id.to_string())?,
            _ => session.terminal.plan(&format!("- {id}"))?,
        }
        Ok(Outcome::Done)
    }
}
