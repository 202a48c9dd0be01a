//! `mcpctl repo`: the repository as a whole.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use reqwest::Method;

use crate::kit::count;
use crate::wire::words::plain;
use crate::wire::{ScrubBody, ScrubOrder};

use super::client::{Client, Sending};
use super::error::Failure;
use super::{Outcome, Output, Session, past, shown, wait};

/// The longest value, in bytes.
const LONGEST: u64 = 64 << 10;
/// How long a large history may take.
const PATIENCE: Duration = Duration::from_mins(10);

/// Look after the repository that mcpd hosts
#[derive(Debug, Args)]
pub(super) struct Repo {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Scrub(Scrub),
}

/// Take what leaked out of the whole history
///
/// Every commit of every branch and tag that holds it is written anew without it, and so is every commit after. What is
/// declared stays as it is: what still stands in the newest state of main has to be taken out there first. What was is kept
/// as a bundle in mcpd's data folder. Clones have to follow: a push that would bring it back is refused, and told how.
///
/// Nothing here makes a credential good again: replace it first, where it was issued.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  mcpctl repo scrub --path servers/github.yaml --dry-run
  mcpctl repo scrub --value-file leaked.txt
  pass show leaked | mcpctl repo scrub --value-file - --yes")]
struct Scrub {
    /// A file that goes, from the repository's root; may be repeated
    #[arg(long = "path", value_name = "FILE", required_unless_present = "value_file")]
    paths: Vec<String>,
    /// A file with a value that goes wherever it stands, or - for stdin; never give a value as an argument
    #[arg(long, value_name = "FILE|-")]
    value_file: Option<PathBuf>,
    /// Tell what would be rewritten, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Don't ask; needed where nobody can be asked
    #[arg(long, short)]
    yes: bool,
}

impl Repo {
    pub(super) async fn run(self, session: &Session) -> Result<Outcome, Failure> {
        match self.verb {
            Verb::Scrub(scrub) => scrub.run(session).await,
        }
    }
}

impl Scrub {
    async fn run(self, session: &Session) -> Result<Outcome, Failure> {
        let form = session.form(&[Output::Table, Output::Json])?;
        let value = self.value_file.as_deref();
        let value = value.map(|file| read(&session.around.folder, file)).transpose()?;
        let order = ScrubOrder {
            paths: self.paths,
            values: value.into_iter().collect(),
        };
        let client = session.client()?;
        let planned = send(&client, &order, true).await?;
        if form != Output::Json {
            plan(session, &planned)?;
        }
        if self.dry_run || planned.moved.is_empty() {
            match form {
                Output::Json => session.terminal.line(&shown::json(&planned))?,
                _ if self.dry_run => session.terminal.line("dry run: nothing was changed")?,
                _ => {}
            }
            return Ok(Outcome::Done);
        }
        past::agree(session, self.yes, "rewrite the history?")?;
        let done = send(&client, &order, false).await?;
        if form == Output::Json {
            session.terminal.line(&shown::json(&done))?;
        } else {
            finish(session, &done)?;
        }
        Ok(Outcome::Done)
    }
}

async fn send(client: &Client, order: &ScrubOrder, dry_run: bool) -> Result<ScrubBody, Failure> {
    let sending = Sending {
        body: Some((wait::JSON, serde_json::to_string(order).unwrap_or_default())),
        wait: PATIENCE,
        ..Sending::default()
    };
    client
        .call(Method::POST, &format!("/repo/scrub?dryRun={dry_run}"), &sending)
        .await
}

/// A value, without the line end behind it.
fn read(folder: &Path, file: &Path) -> Result<String, Failure> {
    let shown = file.display().to_string();
    let fault = |cause| Failure::File {
        path: shown.clone().into(),
        cause,
    };
    let mut text = String::new();
    let read = if file == Path::new("-") {
        std::io::stdin().take(LONGEST + 1).read_to_string(&mut text)
    } else {
        std::fs::File::open(folder.join(file)).and_then(|file| file.take(LONGEST + 1).read_to_string(&mut text))
    };
    read.map_err(fault)?;
    if text.len() as u64 > LONGEST {
        return Err(Failure::Given {
            message: format!("{shown} is longer than 64 KiB"),
            hint: None,
        });
    }
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

fn plan(session: &Session, planned: &ScrubBody) -> Result<(), Failure> {
    let terminal = &session.terminal;
    if planned.moved.is_empty() {
        return terminal.line(&format!("nothing of it stands in {}", count(planned.commits, "commit")));
    }
    for place in &planned.places {
        terminal.line(&plain(place))?;
    }
    terminal.line(&format!(
        "rewrites {} of {}: {}",
        planned.changed,
        count(planned.commits, "commit"),
        plain(&planned.moved.join(", "))
    ))
}

fn finish(session: &Session, done: &ScrubBody) -> Result<(), Failure> {
    let terminal = &session.terminal;
    let head: String = done.head.iter().flat_map(|head| head.chars().take(7)).collect();
    terminal.line(&format!("scrubbed: main is at {}", plain(&head)))?;
    if let Some(bundle) = &done.bundle {
        terminal.line(&format!("what was is kept in {}", plain(bundle)))?;
        terminal
            .say("hint: delete that bundle once you are sure that nothing else of it is needed: it holds what leaked");
    }
    if !done.records.is_empty() {
        let revisions: Vec<String> = done.records.iter().map(ToString::to_string).collect();
        terminal.say(&format!(
            "note: mcpd's own records of what revision {} did hold it still; they are never pushed",
            revisions.join(", ")
        ));
    }
    terminal
        .say("hint: replace the credential where it was issued: who had a clone, or has an old fetch, has it still");
    terminal.say("hint: clones follow by git fetch; a push that would bring it back is refused, and told how to go on");
    Ok(())
}
