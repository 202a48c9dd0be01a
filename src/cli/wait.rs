//! Waiting until mcpd has done what was asked, with the states on stderr as they change.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::Method;

use crate::kit::count;
use crate::record::State;
use crate::wire::words::plain;
use crate::wire::{SourceState, StatusBody, SyncBody};

use super::client::{Client, Sending};
use super::error::Failure;
use super::terminal::Terminal;
use super::{Outcome, Session};

/// The content type of JSON.
pub(super) const JSON: &str = "application/json";

/// The content type of a JSON merge patch.
pub(super) const MERGE_PATCH: &str = "application/merge-patch+json";

/// The most that `--wait` takes: a day.
const LONGEST: u64 = 86_400;

/// Reads the seconds of `--wait`.
pub(super) fn seconds(text: &str) -> Result<u64, String> {
    match text.strip_suffix('s').unwrap_or(text).parse() {
        Ok(seconds @ 0..=LONGEST) => Ok(seconds),
        _ => Err(format!("a number of seconds from 0 to {LONGEST} is needed")),
    }
}

/// Asks mcpd to synchronise and to answer once all is well, or when the time is over.
///
/// `allow` lets the head that waits for a person's word delete most of what is declared.
pub(super) async fn sync(
    client: &Client,
    terminal: &Terminal,
    seconds: u64,
    words: impl IntoIterator<Item = &'static str>,
) -> Result<SyncBody, Failure> {
    let sending = Sending {
        wait: Duration::from_secs(seconds),
        ..Sending::default()
    };
    let mut path = format!("/sync?wait={seconds}");
    for word in words {
        path = format!("{path}&{word}=true");
    }
    let answer = client.call(Method::POST, &path, &sending);
    tokio::pin!(answer);
    let mut told = BTreeMap::new();
    let answered: SyncBody = loop {
        tokio::select! {
            answered = &mut answer => break answered?,
            () = tokio::time::sleep(Duration::from_secs(1)) => {
                // Progress is a courtesy: what goes wrong here shows in the answer.
                if let Ok(status) = client.get::<StatusBody>("/status").await {
                    tell(terminal, &status, &mut told);
                }
            }
        }
    };
    if seconds > 0 {
        tell(terminal, &answered.status, &mut told);
    }
    Ok(answered)
}

/// Waits after a change, where that was asked for, and says what remains.
pub(super) async fn afterwards(
    session: &Session,
    client: &Client,
    seconds: Option<u64>,
    outcome: Outcome,
) -> Result<Outcome, Failure> {
    let Some(seconds) = seconds else {
        return Ok(outcome);
    };
    let status = sync(client, &session.terminal, seconds, None).await?.status;
    let remaining = remaining(&status);
    session.terminal.say_all(&remaining);
    Ok(if remaining.is_empty() {
        outcome
    } else {
        Outcome::Remains
    })
}

/// Says the states that changed since the last time.
fn tell(terminal: &Terminal, status: &StatusBody, told: &mut BTreeMap<String, State>) {
    for instance in &status.instances {
        let name = instance.instance.to_string();
        if told.insert(name.clone(), instance.state) != Some(instance.state) {
            let reason = if instance.reason.is_empty() {
                String::new()
            } else {
                format!(": {}", plain(&instance.reason))
            };
            terminal.say(&format!("{} {name}{reason}", instance.state));
        }
    }
}

/// What is not well yet, a line each; nothing where all is.
pub(super) fn remaining(status: &StatusBody) -> Vec<String> {
    let mut lines = vec![];
    match status.source.state {
        SourceState::WaitingForApproval => lines.push("the source waits for a person's word".to_owned()),
        SourceState::Failing => lines.push("the source can't be read or written".to_owned()),
        SourceState::Pending => lines.push("the source has not been read yet".to_owned()),
        SourceState::Empty | SourceState::Synced | SourceState::Held => {}
    }
    if !status.runtime.available {
        lines.push(format!("the runtime {} is away", plain(&status.runtime.name)));
    }
    if status.conflicts > 0 {
        lines.push(format!("{} (mcpctl conflicts)", count(status.conflicts, "conflict")));
    }
    if !status.held.is_empty() {
        lines.push(format!("{} held", count(status.held.len(), "resource")));
    }
    if status.source.pending_count > 0 {
        let changes = count(status.source.pending_count, "change");
        lines.push(format!("{changes} not in the repository yet"));
    }
    let idle = status.instances.iter().filter(|i| i.state != State::Running).count();
    if idle > 0 {
        lines.push(format!("{} not RUNNING", count(idle, "instance")));
    }
    if lines.is_empty() && !status.converged {
        lines.push("what runs is not yet what is declared".to_owned());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_read() {
        for (text, want) in [
            ("0", Some(0)),
            ("30", Some(30)),
            ("30s", Some(30)),
            ("86400", Some(86_400)),
            ("86401", None),
            ("-1", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(seconds(text).ok(), want, "{text}");
        }
    }
}
