//! `mcpctl conflicts`.

use clap::{Args, Subcommand, ValueEnum};
use reqwest::Method;

use crate::record::Conflict;
use crate::wire::{Listing, PlanBody};

use super::client::Sending;
use super::error::Failure;
use super::noun;
use super::shown::{self, Recording};
use super::table::Table;
use super::wait;
use super::{Outcome, Output, Session, help, plan};

/// Show what lost against the store, or turn it round
///
/// Where the repository and the store changed the same field, the store's value is kept and the repository's is
/// remembered here ("mcpctl describe conflict KIND/NAME" has both diffs). "accept" decides all conflicts of a resource: what
/// lost comes back by one more commit, or the store's side stays for good. A conflict also ends when what lost is in force.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  mcpctl conflicts
  mcpctl conflicts accept server/web --from repo")]
pub(super) struct Conflicts {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Accept(Accept),
}

/// Decide a conflict
#[derive(Debug, Args)]
struct Accept {
    /// The resource, as KIND/NAME
    resource: String,
    /// Whose value shall stand
    #[arg(long, value_name = "SIDE")]
    from: Side,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Side {
    /// The repository's, which had lost
    Repo,
    /// The store's, which was kept
    Store,
}

impl Conflicts {
    pub(super) async fn run(self, session: &Session) -> Result<Outcome, Failure> {
        let form = session.form(help::CHANGE)?;
        match self.verb {
            None => list(session, form).await,
            Some(Verb::Accept(accept)) => accept.run(session, form).await,
        }
    }
}

async fn list(session: &Session, form: Output) -> Result<Outcome, Failure> {
    let listing: Listing<Conflict> = session.client()?.get("/conflicts").await?;
    let terminal = &session.terminal;
    match form {
        Output::Json => terminal.line(&shown::json(&listing.items))?,
        Output::Name => listing
            .items
            .iter()
            .try_for_each(|conflict| terminal.line(&conflict.name()))?,
        _ if listing.items.is_empty() => terminal.say("no conflicts"),
        _ => {
            let mut table = Table::new(Conflict::HEADING.iter().copied(), false);
            table.fill(listing.items.iter().map(Recording::cells));
            table.print(terminal)?;
            terminal.say("hint: mcpctl conflicts accept RESOURCE --from repo|store");
        }
    }
    Ok(Outcome::Done)
}

impl Accept {
    async fn run(self, session: &Session, form: Output) -> Result<Outcome, Failure> {
        let id = noun::resource(&self.resource, None, &noun::InProject::default())?;
        let from = match self.from {
            Side::Repo => "repo",
            Side::Store => "store",
        };
        let sending = Sending {
            body: Some((wait::JSON, serde_json::json!({"from": from}).to_string())),
            ..Sending::default()
        };
        let answer: PlanBody = session
            .client()?
            .call(Method::POST, &format!("/conflicts/{id}/accept"), &sending)
            .await?;
        plan::show(session, &answer, false, form)
    }
}
