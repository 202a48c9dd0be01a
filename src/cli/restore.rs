//! `mcpctl restore`: going back to an earlier commit, and whether what is there is what was there.

use clap::{Args, Subcommand};
use reqwest::Method;

use crate::wire::words::{containers, plain};
use crate::wire::{Listing, PastPlan, Point, RestoreState};

use super::client::{Client, Sending};
use super::error::Failure;
use super::past::{self, Going};
use super::table::Table;
use super::{Outcome, Output, Session, diff, shown, wait};

/// Go back to an earlier state, or check what came back
///
/// What is declared becomes what a commit declared, by one more commit on top: history is never rewritten, and what was
/// before stays as a branch timeline/…, so that going back can be gone back on. Declarations come back; values of secrets
/// stay today's unless you say so.
///
/// COMMIT is an id or the beginning of one, HEAD~3, timeline/…, or a time (2026-11-20T10:00 in UTC, or 2h for two hours
/// ago), which means the last commit before it.
///
/// With --verify: a wiped host is restored by giving mcpd the identity (MCPD_IDENTITY_FILE) and pushing a clone of the
/// repository. The digest is over everything that is declared, the values of secrets with it: it is the same as before the
/// wipe exactly where the same is declared and every secret can be opened.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "Examples:
  mcpctl restore list
  mcpctl restore diff HEAD~3
  mcpctl restore to 3fa2c1e
  mcpctl restore to 2026-11-20T10:00 --yes --wait 120
  mcpctl restore to timeline/2026-11-21T08-30-00Z
  mcpctl restore --verify

Exit codes: diff has 0 for nothing differs, 1 for something does, 2 for it could not be told. The others have 3 where, with
--wait or --verify, something is pending, held, sealed, or not RUNNING.")]
pub(super) struct Restore {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// Print a digest of the state, and what is missing of it
    #[arg(long)]
    verify: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// The points in time: what was before restores, and the newest commits
    List {
        /// How many commits
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: usize,
    },
    /// What going back would change, as unified diffs
    Diff {
        /// What to go back to
        commit: String,
        /// Count old values of secrets in
        #[arg(long)]
        with_credentials: bool,
    },
    /// Go back
    To {
        /// What to go back to
        commit: String,
        #[command(flatten)]
        going: Going,
        /// Wait until all is well, 60 seconds if no number is given
        #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "60", value_parser = wait::seconds)]
        #[arg(conflicts_with = "dry_run")]
        wait: Option<u64>,
    },
}

impl Restore {
    /// Whether its answer is whether something differs.
    pub(super) fn differs(&self) -> bool {
        matches!(self.verb, Some(Verb::Diff { .. }))
    }

    pub(super) async fn run(self, session: &Session) -> Result<Outcome, Failure> {
        let form = session.form(&[Output::Table, Output::Json])?;
        match self.verb {
            Some(Verb::List { limit }) => list(session, form, limit).await,
            Some(Verb::Diff {
                commit,
                with_credentials,
            }) => differing(session, form, &commit, with_credentials).await,
            Some(Verb::To { commit, going, wait }) => to(session, form, &commit, &going, wait).await,
            None if self.verify => verify(session, form).await,
            None => Err(Failure::usage(
                "restore to what?",
                "mcpctl restore list shows the points in time; mcpctl restore to COMMIT goes back; --verify checks"
                    .to_owned(),
            )),
        }
    }
}

async fn list(session: &Session, form: Output, limit: usize) -> Result<Outcome, Failure> {
    let points: Listing<Point> = session.client()?.get(&format!("/restore/list?limit={limit}")).await?;
    let terminal = &session.terminal;
    match form {
        Output::Json => terminal.line(&shown::json(&points.items))?,
        _ if points.items.is_empty() => terminal.say("there is no commit yet: the first push or change makes one"),
        _ => {
            let mut table = Table::new(["COMMIT", "AT", "BY", "BRANCH", "SUBJECT"], true);
            for it in &points.items {
                table.push(vec![
                    short(&it.commit),
                    it.at.to_string(),
                    it.author.clone(),
                    it.branch.clone().unwrap_or_default(),
                    it.subject.clone(),
                ]);
            }
            table.print(terminal)?;
        }
    }
    Ok(Outcome::Done)
}

async fn differing(session: &Session, form: Output, commit: &str, with_credentials: bool) -> Result<Outcome, Failure> {
    let client = session.client()?;
    let path = format!(
        "/restore/diff?commit={}&withCredentials={with_credentials}",
        escaped(commit)
    );
    let planned: PastPlan = client.get(&path).await?;
    let terminal = &session.terminal;
    if form == Output::Json {
        terminal.line(&shown::json(&planned))?;
    } else {
        whither(session, &planned);
        diffs(session, &client, &planned).await?;
        if let Some(line) = containers(&planned.plan.containers) {
            terminal.line(&line)?;
        }
        let going = Going {
            dry_run: true,
            yes: false,
            with_credentials,
            allow_mass_delete: false,
        };
        past::credentials(session, &planned, &going);
    }
    Ok(if planned.plan.steps.is_empty() {
        Outcome::Done
    } else {
        Outcome::Differs
    })
}

async fn diffs(session: &Session, client: &Client, planned: &PastPlan) -> Result<(), Failure> {
    for step in &planned.plan.steps {
        session.terminal.diff(&diff::of_step(client, step).await?)?;
    }
    Ok(())
}

async fn to(
    session: &Session,
    form: Output,
    commit: &str,
    going: &Going,
    seconds: Option<u64>,
) -> Result<Outcome, Failure> {
    let client = session.client()?;
    let path = format!("/restore/to?commit={}", escaped(commit));
    let ask = async |said: String| -> Result<PastPlan, Failure> {
        client
            .call(Method::POST, &format!("{path}&{said}"), &Sending::default())
            .await
    };
    let question = format!("go back to {}?", plain(commit));
    let (outcome, changed) = past::go(session, going, form, &question, ask, async |planned| {
        whither(session, planned);
        Ok(())
    })
    .await?;
    wait::afterwards(session, &client, seconds.filter(|_| changed), outcome).await
}

/// Says which commit is meant: a time, or the beginning of an id, tells it to nobody.
fn whither(session: &Session, planned: &PastPlan) {
    if let Some(point) = &planned.point {
        session.terminal.say(&format!(
            "to {} of {} by {}: {}",
            short(&point.commit),
            point.at,
            plain(&point.author),
            plain(&point.subject)
        ));
    }
}

fn short(commit: &str) -> String {
    commit.chars().take(7).collect()
}

/// A text as it stands in a query.
fn escaped(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

async fn verify(session: &Session, form: Output) -> Result<Outcome, Failure> {
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
