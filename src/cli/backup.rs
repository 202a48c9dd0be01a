//! `mcpctl backup`: how well things are kept, the history, and the two keys.

use clap::{Args, Subcommand};

use crate::wire::words::plain;
use crate::wire::{BackupCommit, BackupStatus, KeyBody, Listing};

use super::client::Sending;
use super::error::Failure;
use super::table::Table;
use super::{Outcome, Output, Session, shown};

/// How well what is declared is kept elsewhere, and what a new host needs
///
/// Everything that is declared stands in the repository. Secrets are encrypted there: what opens them is the identity in
/// mcpd's data folder, or another recipient. Without either, they are lost with this host.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  mcpctl backup
  mcpctl backup log
  mcpctl backup identity > identity.txt   keep this file safe, and apart from the repository
  mcpctl backup key                       what a git server is to be told")]
pub(super) struct Backup {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Where things are kept, what is still to be written, and what would be lost with this host
    Status,
    /// The commits of the repository, the newest first; "manual" ones were made by people
    Log {
        /// How many
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: usize,
    },
    /// The public half of the SSH key with which mcpd talks to git servers; it opens no secret
    Key,
    /// The private half of the identity that opens the secrets, for safe-keeping; that you got it is written down
    Identity,
}

impl Backup {
    pub(super) async fn run(self, session: &Session) -> Result<Outcome, Failure> {
        let terminal = &session.terminal;
        match self.what.unwrap_or(What::Status) {
            What::Status => {
                let form = session.form(&[Output::Table, Output::Json])?;
                let status: BackupStatus = session.client()?.get("/backup/status").await?;
                if form == Output::Json {
                    terminal.line(&shown::json(&status))?;
                } else {
                    for (name, value) in lines(&status) {
                        terminal.line(&format!("{name:<16}{}", plain(&value)))?;
                    }
                    for warning in &status.warnings {
                        terminal.say(&format!("warning: {}", plain(warning)));
                    }
                }
            }
            What::Log { limit } => {
                let form = session.form(&[Output::Table, Output::Json])?;
                let route = format!("/backup/log?limit={limit}");
                let log: Listing<BackupCommit> = session.client()?.get(&route).await?;
                if form == Output::Json {
                    terminal.line(&shown::json(&log.items))?;
                } else {
                    let mut table = Table::new(["COMMIT", "AT", "BY", "MANUAL", "SUBJECT"], true);
                    for it in &log.items {
                        let manual = if it.manual { "yes" } else { "no" };
                        let commit: String = it.commit.chars().take(7).collect();
                        table.push(vec![
                            commit,
                            it.at.to_string(),
                            it.author.clone(),
                            manual.to_owned(),
                            it.subject.clone(),
                        ]);
                    }
                    table.print(terminal)?;
                }
            }
            What::Key => {
                session.form(&[Output::Table])?;
                let body: KeyBody = session.client()?.get("/backup/key").await?;
                terminal.line(&plain(&body.key))?;
            }
            What::Identity => {
                session.form(&[Output::Table])?;
                let client = session.client()?;
                let body: KeyBody = client
                    .call(reqwest::Method::POST, "/backup/identity", &Sending::default())
                    .await?;
                terminal.data(&body.key)?;
                terminal.say("keep this safe and apart from the repository: with it, a new host opens every secret (MCPD_IDENTITY_FILE)");
            }
        }
        Ok(Outcome::Done)
    }
}

fn lines(status: &BackupStatus) -> Vec<(&'static str, String)> {
    let time = |at: Option<crate::kit::time::Timestamp>| at.map_or_else(|| "never".to_owned(), |at| at.to_string());
    let yes = |it: bool| if it { "yes" } else { "no" }.to_owned();
    let mut out = vec![
        ("enabled", yes(status.enabled)),
        ("repoUrl", status.repo_url.clone()),
        ("gitReachable", yes(status.git_reachable)),
        ("lastSyncAt", time(status.last_sync_at)),
        ("lastPushAt", time(status.last_push_at)),
        (
            "lastError",
            status.last_error.clone().unwrap_or_else(|| "none".to_owned()),
        ),
        ("pendingCount", status.pending_count.to_string()),
        ("recipients", status.recipients.join(", ")),
    ];
    if !status.sealed.is_empty() {
        out.push(("sealed", status.sealed.join(", ")));
    }
    out
}
