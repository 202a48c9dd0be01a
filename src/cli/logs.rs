//! `mcpctl logs`.

use clap::Args;
use futures_util::{StreamExt as _, stream};

use crate::kit::time::{Timestamp, moment, now};
use crate::record::{InstanceName, InstanceStatus, LogKind, LogLine};
use crate::resource::kind_named;
use crate::wire::words::plain;
use crate::wire::{ErrorBody, Listing};

use super::client::Client;
use super::error::Failure;
use super::terminal::{Style, Terminal};
use super::{Outcome, Output, Session, help, shown};

/// Show what a server wrote to stderr
///
/// Over all lives that are still kept (1 MiB an instance), with a line where a life begins and where it ends. Without /N
/// it is every replica's, each line with its instance in front where there are several. Values of secrets are masked.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  mcpctl logs time                     all that is kept
  mcpctl logs time/1 --tail 20         one replica's last 20 lines
  mcpctl logs time -f --since 10m      stay, and show what comes, over restarts too
  mcpctl logs time --previous          of the life before this one: why it crashed
  mcpctl logs time -o wide             each line with its time and life")]
pub(super) struct Logs {
    /// The server, or one of its replicas, from 0
    #[arg(value_name = "SERVER[/N]")]
    server: String,
    /// Stay, and show what comes
    #[arg(short, long)]
    follow: bool,
    /// Only the life before the newest one
    #[arg(long, conflicts_with = "follow")]
    previous: bool,
    /// Only what was written after this: 10m, 1h30m, 2d ago, or at 2026-11-24T06:00:00Z
    #[arg(long, value_name = "DURATION|TIME")]
    since: Option<String>,
    /// Only the last so many lines (of each replica)
    #[arg(long, value_name = "N")]
    tail: Option<usize>,
}

impl Logs {
    pub(super) async fn run(self, session: &Session) -> Result<Outcome, Failure> {
        let form = session.form(help::LOGS)?;
        let query = self.query()?;
        let (server, index) = named(&self.server)?;
        let client = session.client()?;
        let names = match index {
            Some(index) => vec![InstanceName { server, index }],
            None => replicas(&client, server).await?,
        };
        let several = names.len() > 1;
        let page = Page {
            terminal: session.terminal.clone(),
            form,
            width: several.then(|| names.iter().map(|name| name.to_string().len()).max().unwrap_or(0)),
        };
        if self.follow {
            follow(&client, &names, &query, &page).await?;
            return Ok(Outcome::Done);
        }
        let mut all: Vec<(InstanceName, LogLine)> = vec![];
        for name in names {
            let lines = read(&client, &name, &query).await?;
            if lines.is_empty() {
                let such = if query.is_empty() { "nothing" } else { "no such lines" };
                session.terminal.say(&format!("{name} has written {such}"));
            }
            all.extend(lines.into_iter().map(|line| (name.clone(), line)));
        }
        // Each log is in its own order already; a line without a time is older than all that have one.
        all.sort_by_key(|(_, line)| line.at);
        all.iter().try_for_each(|(name, line)| page.show(name, line))?;
        Ok(Outcome::Done)
    }

    /// What is asked of each log, as the end of a path.
    fn query(&self) -> Result<String, Failure> {
        let mut query = vec![];
        if self.previous {
            query.push("previous=true".to_owned());
        }
        if let Some(tail) = self.tail {
            query.push(format!("tail={tail}"));
        }
        if let Some(since) = &self.since {
            let wrong = |needed| Failure::usage(format!("--since: {:?} can't be read", plain(since)), Some(needed));
            let at = moment(since, now()).map_err(wrong)?;
            // A duration is for mcpd's clock, which the lines have their times from; a time goes in its plainest form.
            let text = since
                .parse::<Timestamp>()
                .map_or_else(|_| since.clone(), |_| at.to_string());
            query.push(format!("since={text}"));
        }
        Ok(query.join("&"))
    }
}

/// `time`, `time/1`, and what other commands take: `server/time`.
fn named(text: &str) -> Result<(crate::kit::Name, Option<u32>), Failure> {
    let is_server = |word: &str| kind_named(word).is_some_and(|kind| kind.name == "server");
    let text = match text.split_once('/') {
        Some((word, rest)) if is_server(word) && rest.parse::<u32>().is_err() => rest,
        _ => text,
    };
    let (server, index) = match text.split_once('/') {
        Some((server, index)) => (server, Some(index)),
        None => (text, None),
    };
    let wrong = || {
        let text: String = text.chars().take(80).collect();
        Failure::usage(
            format!("no instance is called {text:?}"),
            "give SERVER or SERVER/N, as time/0".to_owned(),
        )
    };
    let index = index.map(str::parse).transpose().map_err(|_| wrong())?;
    Ok((server.parse().map_err(|_| wrong())?, index))
}

/// The instances of a server. Where there is none the first is asked for: it may have left a log.
async fn replicas(client: &Client, server: crate::kit::Name) -> Result<Vec<InstanceName>, Failure> {
    let listing: Listing<InstanceStatus> = client.get("/instances").await?;
    let all = listing.items.into_iter().map(|status| status.instance);
    let names: Vec<InstanceName> = all.filter(|name| name.server == server).collect();
    Ok(if names.is_empty() {
        vec![InstanceName { server, index: 0 }]
    } else {
        names
    })
}

/// The log of one instance, as far as it is kept and asked for.
pub(super) async fn read(client: &Client, name: &InstanceName, query: &str) -> Result<Vec<LogLine>, Failure> {
    let path = path(name, query);
    let listing: Listing<LogLine> = client.get(&path).await?;
    Ok(listing.items)
}

fn path(name: &InstanceName, query: &str) -> String {
    let mark = if query.is_empty() { "" } else { "?" };
    format!("/instances/{name}/logs{mark}{query}")
}

async fn follow(client: &Client, names: &[InstanceName], query: &str, page: &Page) -> Result<(), Failure> {
    let query = if query.is_empty() {
        "follow=true".to_owned()
    } else {
        format!("follow=true&{query}")
    };
    let mut streams = vec![];
    for name in names {
        let events = client.stream(&path(name, &query)).await?;
        streams.push(Box::pin(stream::unfold(Some(events), move |events| async move {
            let mut events = events?;
            match events.next().await {
                Ok(event) => Some(((name, Ok(event)), Some(events))),
                Err(failure) => Some(((name, Err(failure)), None)),
            }
        })));
    }
    let mut all = stream::select_all(streams);
    while let Some((name, event)) = all.next().await {
        let event = event?;
        let line: LogLine =
            serde_json::from_str(&event.data).map_err(|cause| client.foreign_event(&cause.to_string()))?;
        if line.kind == LogKind::Dropped {
            return Err(Failure::Elsewhere(ErrorBody {
                error: "dropped".to_owned(),
                detail: format!("{name}: {}", line.text),
                hint: Some("--tail 0 begins with what is new".to_owned()),
                ..ErrorBody::default()
            }));
        }
        page.show(name, &line)?;
        if page.terminal.closed() {
            break;
        }
    }
    Ok(())
}

/// How lines are shown.
struct Page {
    terminal: Terminal,
    form: Output,
    /// How wide the instance in front of each line is, where there are several.
    width: Option<usize>,
}

impl Page {
    fn show(&self, name: &InstanceName, line: &LogLine) -> Result<(), Failure> {
        if self.form == Output::Json {
            let mut value = serde_json::json!({"instance": name});
            if let (Some(all), Ok(serde_json::Value::Object(fields))) =
                (value.as_object_mut(), serde_json::to_value(line))
            {
                all.extend(fields);
            }
            return self.terminal.line(&shown::json_line(&value));
        }
        let wide = self.form == Output::Wide;
        let front = match self.width {
            Some(width) => format!("{:<width$} | ", name.to_string()),
            None => String::new(),
        };
        let at = line.at.map(|at| format!("{at:.0}"));
        let about = match (&at, &line.life) {
            (Some(at), Some(whose)) if wide => format!("{at} {} ", plain(whose)),
            (Some(at), None) if wide => format!("{at} "),
            _ => String::new(),
        };
        let Some(mark) = mark(name, line, at.filter(|_| !wide)) else {
            return self
                .terminal
                .line(format!("{front}{about}{}", plain(&line.text)).trim_end());
        };
        let style = (line.kind == LogKind::Ended).then_some(Style::Middling);
        let mark = self.terminal.styled(&mark, style.or(Some(Style::Heading)));
        self.terminal.line(&format!("{front}{about}{mark}"))
    }
}

/// The line that marks where a life begins or ends; nothing for what a server wrote.
fn mark(name: &InstanceName, line: &LogLine, at: Option<String>) -> Option<String> {
    let at = at.map(|at| format!(" at {at}")).unwrap_or_default();
    Some(match line.kind {
        LogKind::Began => format!("--- {name} begins{at} ---"),
        LogKind::Ended => format!("--- {name} {}{at} ---", plain(&line.text)),
        LogKind::Line | LogKind::Dropped => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_named_in_the_ways_of_a_server() {
        for (text, want) in [
            ("time", Some("time")),
            ("time/1", Some("time/1")),
            ("server/time", Some("time")),
            ("srv/time/2", Some("time/2")),
            // A server may be called so.
            ("server", Some("server")),
            ("server/0", Some("server/0")),
            ("project/demo", None),
            ("time/x", None),
            ("time/-1", None),
            ("Time", None),
            ("", None),
        ] {
            let read = named(text).ok().map(|(server, index)| match index {
                Some(index) => format!("{server}/{index}"),
                None => server.to_string(),
            });
            assert_eq!(read.as_deref(), want, "{text}");
        }
    }
}
