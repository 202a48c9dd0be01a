//! `mcpctl get`.

use clap::Args;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::record::{Conflict, Event, InstanceStatus, Mutation};
use crate::resource::{KINDS, Kind};
use crate::wire::words::plain;
use crate::wire::{Item, Listing, Unclaimed};

use super::client::{Client, SentEvent};
use super::error::Failure;
use super::noun::{self, Noun, Recorded};
use super::shown::{self, Recording};
use super::status::unclaimed;
use super::table::Table;
use super::{Outcome, Output, Session};

/// Show resources, one or all of a kind
///
/// KIND is a declared kind (server, project; plurals and short names too), a recorded kind (instances, conflicts, events,
/// revisions) or "all". With -o yaml the output holds declarations alone, ready for apply: no status, no defaults.
///
/// A recorded kind takes a NAME too: instances SERVER or SERVER/N, conflicts and events KIND/NAME (a server's with those of
/// its instances; SERVER/N is one instance's), revisions a number. Of events and revisions the newest 200 are listed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  mcpctl get servers                   a table; -o wide shows more
  mcpctl get server time -o yaml       one declaration
  mcpctl get all -o yaml > all.yaml    every declaration, in apply order
  mcpctl get instances -w              states as they change
  mcpctl get events server/time        what happened to one resource")]
pub(super) struct Get {
    /// The kind, or KIND/NAME
    kind: String,
    /// The name
    name: Option<String>,
    /// Stay, and print a line per change
    #[arg(short, long)]
    watch: bool,
}

/// The heading of what happened, as wide as its longest word.
const CHANGE: &str = "CHANGE ";

const FORMS: &[Output] = &[Output::Table, Output::Wide, Output::Yaml, Output::Json, Output::Name];
const RECORD_FORMS: &[Output] = &[Output::Table, Output::Wide, Output::Json, Output::Name];

impl Get {
    pub(super) async fn run(self, session: &Session) -> Result<Outcome, Failure> {
        // `get server/time` as well as `get server time`.
        let (word, name) = match (self.kind.split_once('/'), self.name) {
            (Some((word, name)), None) => (word.to_owned(), Some(name.to_owned())),
            (_, name) => (self.kind, name),
        };
        let name = name.as_deref();
        match noun::noun(&word)? {
            Noun::All if name.is_some() || self.watch => Err(Failure::usage(
                "\"all\" goes with neither a name nor --watch",
                "name a kind".to_owned(),
            )),
            Noun::All => all(session).await,
            Noun::Declared(kind) => {
                let form = session.form(FORMS)?;
                let id = name.map(|name| noun::resource(kind.name, Some(name))).transpose()?;
                let client = session.client()?;
                if self.watch {
                    let name = id.map(|id| id.name.to_string());
                    return watch_items(session, &client, kind, name.as_deref(), form).await;
                }
                match id {
                    Some(id) => {
                        let item: Item = client.get(&noun::path(&id)).await?;
                        show_one(session, kind, &item, form, client.url())?;
                    }
                    None => show(session, &[(kind, list(&client, kind).await?)], form, client.url())?,
                }
                Ok(Outcome::Done)
            }
            Noun::Recorded(Recorded::Revisions) if self.watch => Err(Failure::usage(
                "revisions can't be watched",
                "\"mcpctl get events -w\" shows what happens".to_owned(),
            )),
            Noun::Recorded(recorded) => match recorded {
                Recorded::Instances => records::<InstanceStatus>(session, recorded, name, self.watch).await,
                Recorded::Conflicts => records::<Conflict>(session, recorded, name, self.watch).await,
                Recorded::Events => records::<Event>(session, recorded, name, self.watch).await,
                Recorded::Revisions => records::<Mutation>(session, recorded, name, self.watch).await,
            },
        }
    }
}

async fn list(client: &Client, kind: &Kind) -> Result<Vec<Item>, Failure> {
    let listing: Listing<Item> = client.get(&format!("/{}", kind.plural)).await?;
    Ok(listing.items)
}

async fn all(session: &Session) -> Result<Outcome, Failure> {
    let form = session.form(FORMS)?;
    let client = session.client()?;
    let mut groups = vec![];
    for kind in KINDS {
        groups.push((kind, list(&client, kind).await?));
    }
    show(session, &groups, form, client.url())?;
    Ok(Outcome::Done)
}

/// One resource: as data a document, not a list of one.
fn show_one(session: &Session, kind: &'static Kind, item: &Item, form: Output, url: &str) -> Result<(), Failure> {
    if form == Output::Json {
        return session.terminal.line(&shown::json(&item.resource));
    }
    show(session, &[(kind, vec![item.clone()])], form, url)
}

fn show(session: &Session, groups: &[(&'static Kind, Vec<Item>)], form: Output, url: &str) -> Result<(), Failure> {
    let terminal = &session.terminal;
    let items = || groups.iter().flat_map(|(_, items)| items);
    match form {
        Output::Yaml => {
            let documents = items().map(shown::written).collect::<Result<Vec<_>, _>>()?;
            terminal.data(&shown::yaml_of(&documents))
        }
        Output::Json => terminal.line(&shown::json(&items().map(|item| &item.resource).collect::<Vec<_>>())),
        Output::Name => items().try_for_each(|item| terminal.line(&plain(&shown::identity(item)))),
        Output::Table | Output::Wide => {
            let wide = form == Output::Wide;
            let mut first = true;
            for (kind, items) in groups {
                if items.is_empty() {
                    if groups.len() == 1 {
                        terminal.say(&format!("no {}", kind.plural));
                    }
                    continue;
                }
                if !std::mem::take(&mut first) {
                    terminal.line("")?;
                }
                if groups.len() > 1 {
                    terminal.line(&terminal.styled(kind.plural, Some(super::terminal::Style::Heading)))?;
                }
                let mut table = Table::new(shown::heading(kind.name, wide), wide);
                table.fill(items.iter().map(|item| shown::cells(kind.name, item, wide, url)));
                table.print(terminal)?;
            }
            if first && groups.len() > 1 {
                terminal.say("nothing is declared");
            }
            Ok(())
        }
    }
}

async fn records<R: Recording + DeserializeOwned>(
    session: &Session,
    recorded: Recorded,
    name: Option<&str>,
    watch: bool,
) -> Result<Outcome, Failure> {
    let form = session.form(RECORD_FORMS)?;
    let client = session.client()?;
    let terminal = &session.terminal;
    let plural = recorded.plural();
    let wanted = |record: &R| name.is_none_or(|name| record.answers_to(name));
    // Of very many records mcpd looks for the ones that are meant.
    let more = name.map(|name| recorded.query(name)).unwrap_or_default();
    let mut table = Table::new(R::HEADING.iter().copied(), form == Output::Wide);
    if watch {
        let mut heading = vec![CHANGE];
        heading.extend(R::HEADING);
        let mut table = Table::new(heading, form == Output::Wide);
        let mut events = client.stream(&format!("/{plural}?watch=true{more}")).await?;
        while !terminal.closed() {
            let event = events.next().await?;
            let record: R = decoded(&client, &event)?;
            if !wanted(&record) {
                continue;
            }
            match form {
                Output::Json => terminal.line(&shown::json_line(&changed(&event, &record)))?,
                Output::Name => terminal.line(&record.name())?,
                _ => {
                    let mut cells = vec![event.name.to_uppercase()];
                    cells.extend(record.cells());
                    table.push(cells);
                    table.print(terminal)?;
                }
            }
        }
        return Ok(Outcome::Done);
    }
    let mark = if more.is_empty() { "" } else { "?" };
    let listing: Listing<R> = client
        .get(&format!("/{plural}{mark}{}", more.trim_start_matches('&')))
        .await?;
    let left_alone: Vec<Unclaimed> = listing
        .unclaimed
        .into_iter()
        .filter(|it| name.is_none_or(|name| it.instance.to_string() == name || it.instance.server.as_str() == name))
        .collect();
    let records: Vec<R> = listing.items.into_iter().filter(wanted).collect();
    // That nothing happened is an answer; every other name is that of something.
    let nothing = records.is_empty() && left_alone.is_empty();
    if let (Some(name), true, false) = (name, nothing, recorded == Recorded::Events) {
        let singular = plural.trim_end_matches('s');
        return Err(Failure::Missing(format!("{singular} {name:?}")));
    }
    match form {
        Output::Json => terminal.line(&shown::json(&records))?,
        Output::Name => records.iter().try_for_each(|record| terminal.line(&record.name()))?,
        _ if nothing => {
            let about = name.map_or(String::new(), |name| format!(" about {}", plain(name)));
            terminal.say(&format!("no {plural}{about}"));
        }
        _ => {
            if !records.is_empty() {
                table.fill(records.iter().map(Recording::cells));
                table.print(terminal)?;
            }
            terminal.say_all(unclaimed(&left_alone));
        }
    }
    Ok(Outcome::Done)
}

async fn watch_items(
    session: &Session,
    client: &Client,
    kind: &'static Kind,
    name: Option<&str>,
    form: Output,
) -> Result<Outcome, Failure> {
    let terminal = &session.terminal;
    let wide = form == Output::Wide;
    let mut heading = vec![CHANGE];
    heading.extend(shown::heading(kind.name, wide));
    let mut table = Table::new(heading, wide);
    let mut events = client.stream(&format!("/{}?watch=true", kind.plural)).await?;
    while !terminal.closed() {
        let event = events.next().await?;
        let item: Item = decoded(client, &event)?;
        if name.is_some_and(|name| item.resource.get("name").and_then(Value::as_str) != Some(name)) {
            continue;
        }
        match form {
            Output::Json => terminal.line(&shown::json_line(&changed(&event, &item)))?,
            Output::Name => terminal.line(&plain(&shown::identity(&item)))?,
            Output::Yaml => {
                let text = shown::yaml_of([&shown::written(&item)?]);
                let event = plain(&event.name);
                terminal.data(&format!("--- # {event}\n{text}"))?;
            }
            Output::Table | Output::Wide => {
                let mut cells = vec![event.name.to_uppercase()];
                cells.extend(shown::cells(kind.name, &item, wide, client.url()));
                table.push(cells);
                table.print(terminal)?;
            }
        }
    }
    Ok(Outcome::Done)
}

fn changed(event: &SentEvent, record: &impl serde::Serialize) -> Value {
    serde_json::json!({"change": event.name, "item": record})
}

fn decoded<T: DeserializeOwned>(client: &Client, event: &SentEvent) -> Result<T, Failure> {
    serde_json::from_str(&event.data).map_err(|cause| client.foreign_event(&cause.to_string()))
}
