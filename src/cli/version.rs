//! `mcpctl version`.

use clap::Args;

use super::error::Failure;
use super::{Outcome, Output, Session, help, shown};

/// Print mcpctl's version
///
/// mcpd's version is in "mcpctl status".
#[derive(Debug, Args)]
pub(super) struct Version {}

impl Version {
    pub(super) fn run(self, session: &Session) -> Result<Outcome, Failure> {
        let Self {} = self;
        let version = env!("CARGO_PKG_VERSION");
        let text = match session.form(help::PAGE)? {
            Output::Json => shown::json_line(&serde_json::json!({"mcpctl": version})),
            _ => format!("mcpctl {version}"),
        };
        session.terminal.line(&text)?;
        Ok(Outcome::Done)
    }
}
