//! `mcpctl why`.

use clap::Args;
use serde::Serialize;

use crate::record::{ChainLink, InstanceName, LogKind};
use crate::resource::{Declared as _, Id, Server};
use crate::wire::words::plain;
use crate::wire::{ErrorBody, Item, Rung, Standing, StatusBody};

use super::client::Client;
use super::error::Failure;
use super::terminal::{Style, Terminal};
use super::{Outcome, Output, Session, help, logs, noun, shown};

/// Show why a resource is not well
///
/// Walks from the commit to the plan, the container, the handshake and the tools, and stops at the first link that broke,
/// with its reason and the last lines on stderr. Of a project it walks on to each of its servers.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  mcpctl why server time
  mcpctl why project/demo
  mcpctl why server/time -o json

Marks: ok it holds, .. it is on its way, !! it broke. Exit code 1: a link does not hold.")]
pub(super) struct Why {
    /// The kind, or KIND/NAME
    kind: String,
    /// The name
    name: Option<String>,
    #[command(flatten)]
    within: noun::InProject,
}

/// How many lines of a log are shown below a broken link.
const LINES: usize = 3;

/// The chain of one resource.
#[derive(Debug, Serialize)]
struct Ladder {
    resource: String,
    /// Whether every link holds.
    well: bool,
    chain: Vec<Told>,
}

/// A link with the last lines of its instance, where it broke.
#[derive(Debug, Serialize)]
struct Told {
    #[serde(flatten)]
    rung: Rung,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    log: Vec<String>,
}

impl Why {
    pub(super) async fn run(self, session: &Session) -> Result<Outcome, Failure> {
        let form = session.form(help::PAGE)?;
        let id = noun::resource(&self.kind, self.name.as_deref(), &self.within)?;
        let client = session.client()?;
        let mut ladders = vec![];
        let members = match client.get::<Item>(&noun::path(&id)).await {
            Ok(item) => {
                let status = shown::status(&item);
                let members = status
                    .servers
                    .iter()
                    .map(|member| format!("{}/{}", Server::NAME, member.name));
                let members: Vec<Id> = members.filter_map(|name| name.parse().ok()).collect();
                ladders.push(ladder(&client, &id, status.chain).await);
                members
            }
            Err(failure) => {
                ladders.push(ladder(&client, &id, held(&client, &id, failure).await?).await);
                vec![]
            }
        };
        for member in members {
            let item: Item = client.get(&noun::path(&member)).await?;
            ladders.push(ladder(&client, &member, shown::status(&item).chain).await);
        }
        let well = ladders.iter().all(|ladder| ladder.well);
        match form {
            Output::Json => {
                let resource = id.to_string();
                let all = serde_json::json!({"resource": resource, "well": well, "ladders": ladders});
                session.terminal.line(&shown::json(&all))?;
            }
            _ => show(&session.terminal, &ladders)?,
        }
        Ok(if well { Outcome::Done } else { Outcome::Broken })
    }
}

async fn ladder(client: &Client, id: &Id, chain: Vec<Rung>) -> Ladder {
    let mut told = vec![];
    for rung in chain {
        let log = match &rung.instance {
            Some(instance) if rung.standing != Standing::Ok => last_lines(client, instance).await,
            _ => vec![],
        };
        told.push(Told { rung, log });
    }
    Ladder {
        resource: id.to_string(),
        well: told.iter().all(|told| told.rung.standing == Standing::Ok),
        chain: told,
    }
}

/// What the instance said last. A courtesy: who may not read logs, or where there are none, sees none.
async fn last_lines(client: &Client, instance: &InstanceName) -> Vec<String> {
    let lines = logs::read(client, instance, &format!("tail={LINES}")).await;
    let texts = lines.unwrap_or_default().into_iter();
    texts
        .filter(|line| line.kind == LogKind::Line)
        .map(|line| line.text)
        .collect()
}

/// The chain of something that is declared and of which nothing is in force, because its declaration can't be used.
async fn held(client: &Client, id: &Id, failure: Failure) -> Result<Vec<Rung>, Failure> {
    let Failure::Refused {
        status: 404,
        body,
        token,
    } = failure
    else {
        return Err(failure);
    };
    let status: StatusBody = client.get("/status").await?;
    let name = id.to_string();
    if let Some(held) = status.held.into_iter().find(|held| held.resource == name) {
        let why = held.why();
        let file = held.diagnostic.as_ref().map(|diagnostic| diagnostic.file.clone());
        let commit = status
            .source
            .head
            .unwrap_or_default()
            .chars()
            .take(7)
            .collect::<String>();
        let rung = |link, standing, message| Rung {
            link,
            instance: None,
            standing,
            message,
            next_retry: None,
            diagnostic: None,
        };
        let mut chain = vec![];
        if let Some(file) = file {
            chain.push(rung(ChainLink::Commit, Standing::Ok, format!("{file}@{commit}")));
        }
        chain.push(Rung {
            diagnostic: held.diagnostic,
            ..rung(
                ChainLink::Plan,
                Standing::Broken,
                format!("held, nothing is in force: {why}"),
            )
        });
        return Ok(chain);
    }
    // It may well stand in a file that nobody can read.
    let first = status.diagnostics.first();
    let hint = first.map(|it| format!("it may stand in what can't be read: {}: {}", it.place(), it.message));
    Err(Failure::Refused {
        status: 404,
        body: ErrorBody {
            hint: body.hint.or(hint),
            ..body
        },
        token,
    })
}

fn show(terminal: &Terminal, ladders: &[Ladder]) -> Result<(), Failure> {
    for (n, ladder) in ladders.iter().enumerate() {
        if n > 0 {
            terminal.line("")?;
        }
        terminal.line(&terminal.styled(&ladder.resource, Some(Style::Heading)))?;
        let mut instances: Vec<&InstanceName> = ladder
            .chain
            .iter()
            .filter_map(|told| told.rung.instance.as_ref())
            .collect();
        instances.dedup();
        for told in &ladder.chain {
            let rung = &told.rung;
            let (mark, style) = match rung.standing {
                Standing::Ok => ("ok", Style::Good),
                Standing::Waiting => ("..", Style::Middling),
                Standing::Broken => ("!!", Style::Bad),
            };
            let mark = terminal.styled(mark, Some(style));
            let of = match &rung.instance {
                Some(instance) if instances.len() > 1 => format!("{instance}  "),
                _ => String::new(),
            };
            let line = format!("  {mark}  {:<9}  {of}{}", rung.link, plain(&rung.message));
            terminal.line(line.trim_end())?;
            for line in below(told) {
                terminal.line(format!("{:17}{}", "", plain(&line)).trim_end())?;
            }
        }
    }
    Ok(())
}

/// What stands below a link: where and how the declaration is wrong, the next try, the last lines of the log.
fn below(told: &Told) -> Vec<String> {
    let mut lines = vec![];
    if let Some(diagnostic) = &told.rung.diagnostic {
        // Its first line is the message, which stands in the link's own.
        lines.extend(diagnostic.to_string().lines().skip(1).map(str::to_owned));
    }
    if let Some(retry) = told.rung.next_retry {
        lines.push(format!("next try {}", shown::until(retry)));
    }
    lines.extend(told.log.iter().map(|line| format!("| {line}")));
    lines
}
