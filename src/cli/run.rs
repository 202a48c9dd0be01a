//! A run in words: the line of `mcpctl sync`, the page of `mcpctl describe run`.

use crate::kit::count;
use crate::record::Run;
use crate::wire::words::plain;

use super::error::Failure;
use super::shown::{self, Recording as _};
use super::terminal::{Style, Terminal};
use super::{Outcome, Output, Session};

/// What a look did, in the form of a line of the status.
pub(super) fn line(run: &Run) -> String {
    let outcome = plain(&run.outcome());
    let rest = if outcome.is_empty() {
        String::new()
    } else {
        format!(": {outcome}")
    };
    format!("run        {} {}{rest}", run.id, run.state)
}

/// Shows one run.
pub(super) async fn describe(session: &Session, form: Output, name: &str) -> Result<Outcome, Failure> {
    let missing = || Failure::Missing(format!("run/{name}"));
    let id: u64 = name.parse().map_err(|_| missing())?;
    let run: Run = session.client()?.get(&format!("/runs/{id}")).await?;
    if form == Output::Json {
        session.terminal.line(&shown::json(&run))?;
    } else {
        page(&session.terminal, &run)?;
    }
    Ok(Outcome::Done)
}

fn page(terminal: &Terminal, run: &Run) -> Result<(), Failure> {
    terminal.line(&terminal.styled(&run.name(), Some(Style::Heading)))?;
    let fact = |word: &str, text: &str| match text {
        "" => Ok(()),
        text => terminal.line(format!("  {word:<11} {}", plain(text)).trim_end()),
    };
    fact("state", &run.state.to_string())?;
    for (n, cause) in run.causes.iter().enumerate() {
        let by = match cause.by.as_str() {
            "" => String::new(),
            by => format!(" by {by}"),
        };
        fact(if n == 0 { "trigger" } else { "" }, &format!("{}{by}", cause.trigger))?;
    }
    let asked = format!("{} ago", shown::since(run.asked));
    match run.asks {
        0 => {}
        1 => fact("asked", &asked)?,
        asks => fact(
            "asked",
            &format!(
                "{asked}, {} in all",
                count(usize::try_from(asks).unwrap_or(usize::MAX), "time")
            ),
        )?,
    }
    if let Some(began) = run.began {
        fact("began", &format!("{} ago", shown::since(began)))?;
    }
    if let (Some(began), Some(ended)) = (run.began, run.ended) {
        fact(
            "took",
            &format!("{} ms", ended.duration_since(began).as_millis().max(0)),
        )?;
    }
    fact("head", &shown::heads(run))?;
    if run.is_over() {
        fact("did", &run.did.to_string())?;
    }
    let revisions: Vec<String> = run.did.revisions.iter().map(ToString::to_string).collect();
    fact("revisions", &revisions.join(", "))?;
    fact("reason", &run.reason)
}
