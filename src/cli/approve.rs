//! `mcpctl approve`.

use clap::Args;
use reqwest::Method;

use crate::kit::{Name, NotAName, count};
use crate::wire::words::plain;
use crate::wire::{ApproveBody, ApproveOrder, ToolAsSeen, ToolRow};

use super::client::Sending;
use super::error::Failure;
use super::noun::{self, InProject, Recorded};
use super::shown::{self, Recording as _};
use super::table::Table;
use super::{Outcome, Output, Session, help, tools, wait};

/// Accept what tools promise now
///
/// A tool is remembered by a digest of its name, description, schemas and annotations. Where a project has tools.lock: strict,
/// a tool that is new or has changed is neither listed nor called until it is approved; the approval is one commit, which
/// writes .mcpctl/tools.lock, and its author is you. Without a strict lock an approval ends the state "changed", in the
/// store alone. What is approved is what you were shown: a tool that changes meanwhile is refused.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  mcpctl get tools -p ops                     what waits for approval
  mcpctl describe tool time__now -p ops       what changed
  mcpctl approve tool time__now -p ops
  mcpctl approve tool -p ops --server time    all of one server that waits
  mcpctl approve tool -p ops --all --dry-run  what would be approved")]
pub(super) struct Approve {
    /// What is approved: tool
    kind: String,
    /// Tools, by the names that the project shows; without a project as SERVER/TOOL
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// The project whose names are meant, and whose tools wait
    #[arg(short, long, value_name = "PROJECT")]
    project: Option<String>,
    /// All tools of this server that wait; without a project all that it has
    #[arg(long, value_name = "SERVER", conflicts_with = "names")]
    server: Option<String>,
    /// All tools of the project that wait
    #[arg(long, conflicts_with_all = ["names", "server"], requires = "project")]
    all: bool,
    /// Show what would be approved, and approve nothing
    #[arg(long)]
    dry_run: bool,
}

impl Approve {
    pub(super) async fn run(self, session: &Session) -> Result<Outcome, Failure> {
        let form = session.form(help::CHANGE)?;
        let (word, rest) = self.kind.split_once('/').unwrap_or((&self.kind, ""));
        if noun::recorded(word) != Some(Recorded::Tools) {
            return Err(Failure::usage(
                format!("{:?} can't be approved", plain(word)),
                "as: mcpctl approve tool NAME".to_owned(),
            ));
        }
        let mut names = self.names.clone();
        if !rest.is_empty() {
            names.insert(0, rest.to_owned());
        }
        if names.is_empty() && self.server.is_none() && !self.all {
            return Err(Failure::usage(
                "which tools?".to_owned(),
                "give names, --server SERVER, or -p PROJECT --all".to_owned(),
            ));
        }
        let client = session.client()?;
        let within = InProject {
            project: self.project.clone(),
        };
        let rows = tools::rows(&client, &within, "").await?;
        let rows = if names.is_empty() {
            // Without a project nobody knows which of a server's tools a lock holds back.
            waiting(rows, self.server.as_deref(), self.project.is_some())?
        } else {
            named(&rows, &names)?
        };
        let terminal = &session.terminal;
        if rows.is_empty() {
            terminal.say("nothing waits for approval");
            return Ok(Outcome::Done);
        }
        let order = ApproveOrder {
            tools: rows
                .iter()
                .map(|row| ToolAsSeen {
                    server: row.server.clone(),
                    tool: row.tool.clone(),
                    digest: row.digest,
                })
                .collect(),
        };
        let commit = if self.dry_run {
            None
        } else {
            let text = serde_json::to_string(&order).map_err(|error| Failure::Output(error.into()))?;
            let sending = Sending {
                body: Some((wait::JSON, text)),
                ..Sending::default()
            };
            let answer: ApproveBody = client.call(Method::POST, "/tools/approve", &sending).await?;
            answer.commit
        };
        match form {
            Output::Json => terminal.line(&shown::json(&ApproveBody {
                tools: order.tools,
                commit,
            }))?,
            Output::Name => rows.iter().try_for_each(|row| terminal.line(&row.name()))?,
            _ => {
                let mut table = Table::new(ToolRow::HEADING.iter().copied(), false);
                table.fill(rows.iter().map(ToolRow::cells));
                table.print(terminal)?;
                let all = count(rows.len(), "tool");
                terminal.say(&match commit {
                    _ if self.dry_run => format!("{all} would be approved"),
                    Some(commit) => format!("{all} approved by commit {}", shown::short(&plain(&commit))),
                    None => format!("{all} approved; no project with a strict lock asks for a commit"),
                });
            }
        }
        Ok(Outcome::Done)
    }
}

/// What waits, of a server where one is told.
fn waiting(mut rows: Vec<ToolRow>, server: Option<&str>, in_project: bool) -> Result<Vec<ToolRow>, Failure> {
    if let Some(server) = server {
        let name: Name = server
            .parse()
            .map_err(|error: NotAName| Failure::usage(format!("--server: {error}"), None))?;
        if !rows.iter().any(|row| row.server == name) {
            return Err(Failure::Missing(format!("tools of server {name}")));
        }
        rows.retain(|row| row.server == name);
    }
    rows.retain(|row| !in_project || row.state.wants_approval());
    Ok(rows)
}

/// The tools that names mean; each has to mean one.
fn named(rows: &[ToolRow], names: &[String]) -> Result<Vec<ToolRow>, Failure> {
    let mut found: Vec<ToolRow> = vec![];
    for name in names {
        let own = |row: &&ToolRow| format!("{}/{}", row.server, row.tool) == *name;
        let mut meant: Vec<&ToolRow> = rows.iter().filter(own).collect();
        if meant.is_empty() {
            meant = rows.iter().filter(|row| row.name == *name).collect();
        }
        match meant[..] {
            [] => return Err(Failure::Missing(format!("tool {:?}", plain(name)))),
            [row] => {
                if !found.contains(row) {
                    found.push(row.clone());
                }
            }
            [first, ..] => {
                return Err(Failure::usage(
                    format!("{:?} is a tool of several servers", plain(name)),
                    format!("say which: {}/{}", first.server, plain(&first.tool)),
                ));
            }
        }
    }
    Ok(found)
}
