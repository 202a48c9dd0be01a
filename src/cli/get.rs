//! `mcpctl get`.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::record::{Conflict, Event, InstanceStatus, Mutation, Run};
use crate::resource::{Declared as _, Document, Id, KINDS, Kind, Project, Secret};
use crate::wire::words::plain;
use crate::wire::{Item, Listing, Unclaimed};

use super::client::{Client, SentEvent};
use super::error::Failure;
use super::noun::{self, Noun, Recorded};
use super::shown::{self, Recording};
use super::status::unclaimed;
use super::table::Table;
use super::tools;
use super::{Outcome, Output, Session};

/// Show resources, one or all of a kind
///
/// KIND is a declared kind (server, project, prompt, template, secret; plurals and short names too), a recorded kind
/// (instances, conflicts, events, revisions, runs, tools) or "all". With -o yaml the output holds declarations alone, ready for
/// apply: no status, no defaults. What ships with mcpd (templates) is no declaration, and "all" leaves it out.
///
/// With -p only what is in a project: itself, the servers that it lists, its prompts. "all -p" adds what these need, so
/// that the output can be applied elsewhere.
///
/// A recorded kind takes a NAME too: instances SERVER or SERVER/N, conflicts and events KIND/NAME (a server's with those of
/// its instances; SERVER/N is one instance's), revisions and runs a number. Of events, revisions and runs the newest 200 are
/// listed. tools are those of all servers or, with -p, what the project shows and hides, and why. A run is a look at the repository that somebody asked for (a sync, a webhook) or that moved something.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  mcpctl get servers                   a table; -o wide shows more
  mcpctl get server time -o yaml       one declaration
  mcpctl get all -o yaml > all.yaml    every declaration, in apply order
  mcpctl get prompts -p ops            the prompts of one project
  mcpctl get secret keys --reveal -o yaml   its values in the clear
  mcpctl get instances -w              states as they change
  mcpctl get events server/time        what happened to one resource
  mcpctl get tools -p ops              what a project shows, hides and holds back
  mcpctl get runs                      what looks were asked for, and what they did")]
pub(super) struct Get {
    /// The kind, or KIND/NAME
    kind: String,
    /// The name
    name: Option<String>,
    #[command(flatten)]
    within: noun::InProject,
    /// Show the values of one secret in the clear; it takes the right to edit it, and is written down
    #[arg(long)]
    reveal: bool,
    /// Stay, and print a line per change
    #[arg(short, long)]
    watch: bool,
}

/// The heading of what happened, as wide as its longest word.
pub(super) const CHANGE: &str = "CHANGE ";

const FORMS: &[Output] = &[Output::Table, Output::Wide, Output::Yaml, Output::Json, Output::Name];

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
            Noun::All => all(session, &self.within).await,
            Noun::Declared(kind) => {
                let form = session.form(FORMS)?;
                let named = |name| noun::resource(kind.name, Some(name), &self.within);
                let id = name.map(named).transpose()?;
                if self.reveal && (self.watch || id.as_ref().is_none_or(|id| id.kind().name != Secret::NAME)) {
                    let hint = "as: mcpctl get secret NAME --reveal".to_owned();
                    return Err(Failure::usage("--reveal goes with one secret", hint));
                }
                // A table has no place for values.
                let form = if self.reveal && form != Output::Json {
                    Output::Yaml
                } else {
                    form
                };
                let client = session.client()?;
                if self.watch {
                    let list = watched(kind, id.as_ref(), &self.within)?;
                    return watch_items(session, &client, kind, &list, id.as_ref(), form).await;
                }
                match id {
                    Some(id) => {
                        let reveal = if self.reveal { "?reveal=true" } else { "" };
                        let item: Item = client.get(&format!("{}{reveal}", noun::path(&id))).await?;
                        show_one(session, kind, &item, form, client.url())?;
                    }
                    None => show(
                        session,
                        &[(kind, list(&client, kind, &self.within).await?)],
                        form,
                        client.url(),
                    )?,
                }
                Ok(Outcome::Done)
            }
            Noun::Recorded(Recorded::Tools) => tools::list(session, name, &self.within, self.watch).await,
            Noun::Recorded(recorded) if self.within.project.is_some() => Err(Failure::usage(
                format!("{} are not told apart by project", recorded.plural()),
                "leave --project out".to_owned(),
            )),
            Noun::Recorded(Recorded::Revisions) if self.watch => Err(Failure::usage(
                "revisions can't be watched",
                "\"mcpctl get events -w\" shows what happens".to_owned(),
            )),
            Noun::Recorded(recorded) => match recorded {
                Recorded::Instances => records::<InstanceStatus>(session, recorded, name, self.watch).await,
                Recorded::Conflicts => records::<Conflict>(session, recorded, name, self.watch).await,
                Recorded::Events => records::<Event>(session, recorded, name, self.watch).await,
                Recorded::Revisions => records::<Mutation>(session, recorded, name, self.watch).await,
                Recorded::Runs => records::<Run>(session, recorded, name, self.watch).await,
                Recorded::Tools => Ok(Outcome::Done),
            },
        }
    }
}

/// What there is of a kind, in a project where one is named.
async fn list(client: &Client, kind: &'static Kind, within: &noun::InProject) -> Result<Vec<Item>, Failure> {
    let of = async |path: &str| Ok::<_, Failure>(client.get::<Listing<Item>>(path).await?.items);
    let Some(project) = &within.project else {
        return of(&format!("/{}", kind.plural)).await;
    };
    let project = project_id(project)?;
    if kind.scoped {
        return of(&format!("{}/{}", noun::path(&project), kind.plural)).await;
    }
    let item: Item = client.get(&noun::path(&project)).await?;
    let mut members = shown::document(&item.resource)?.needs();
    members.insert(project);
    let mut items = of(&format!("/{}", kind.plural)).await?;
    items.retain(|item| shown::document(&item.resource).is_ok_and(|document| members.contains(&document.id)));
    Ok(items)
}

fn project_id(word: &str) -> Result<Id, Failure> {
    noun::resource(Project::NAME, Some(word), &noun::InProject::default())
}

/// The list that is watched: of a kind, or of what is in a project.
fn watched(kind: &Kind, id: Option<&Id>, within: &noun::InProject) -> Result<String, Failure> {
    let project = match id {
        Some(id) => id.project().cloned(),
        None => within.project.as_deref().map(noun::project_named).transpose()?,
    };
    match project {
        Some(project) if kind.scoped => Ok(format!("/projects/{project}/{}", kind.plural)),
        Some(_) => Err(Failure::usage(
            format!("{} of a project can't be watched", kind.plural),
            "leave --project out".to_owned(),
        )),
        None => Ok(format!("/{}", kind.plural)),
    }
}

async fn all(session: &Session, within: &noun::InProject) -> Result<Outcome, Failure> {
    let form = session.form(FORMS)?;
    let client = session.client()?;
    let mut groups = vec![];
    for kind in KINDS {
        let mut items = list(&client, kind, &noun::InProject::default()).await?;
        items.retain(|item| !shown::is_built_in(item));
        groups.push((kind, items));
    }
    if let Some(project) = &within.project {
        let project = project_id(project)?;
        let documents = groups.iter().flat_map(|(_, items)| items);
        let documents = documents.map(|item| shown::document(&item.resource));
        let documents: Vec<Document> = documents.collect::<Result<_, _>>()?;
        let members = closure(&project, &documents).ok_or_else(|| Failure::Missing(project.to_string()))?;
        for (_, items) in &mut groups {
            items.retain(|item| shown::document(&item.resource).is_ok_and(|document| members.contains(&document.id)));
        }
    }
    show(session, &groups, form, client.url())?;
    Ok(Outcome::Done)
}

/// A project, what is in it, and all that these need; nothing where there is no such project.
fn closure(project: &Id, documents: &[Document]) -> Option<BTreeSet<Id>> {
    let by_id: BTreeMap<&Id, &Document> = documents.iter().map(|document| (&document.id, document)).collect();
    by_id.get(project)?;
    let within = |id: &&Id| id.project() == Some(&project.name);
    let mut next: Vec<Id> = by_id.keys().copied().filter(within).cloned().collect();
    next.push(project.clone());
    let mut members = BTreeSet::new();
    while let Some(id) = next.pop() {
        if let Some(document) = by_id.get(&id)
            && members.insert(id)
        {
            next.extend(document.needs());
        }
    }
    Some(members)
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
        Output::Table | Output::Wide | Output::Sarif => {
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
    let form = session.form(FORMS)?;
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
                Output::Yaml => {
                    let event = plain(&event.name);
                    terminal.data(&format!("--- # {event}\n{}", shown::yaml_record(&record)?))?;
                }
                Output::Table | Output::Wide | Output::Sarif => {
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
        Output::Yaml => {
            let texts: Result<Vec<String>, Failure> = records.iter().map(shown::yaml_record).collect();
            terminal.data(&texts?.join("---\n"))?;
        }
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
    list: &str,
    id: Option<&Id>,
    form: Output,
) -> Result<Outcome, Failure> {
    let terminal = &session.terminal;
    let wide = form == Output::Wide;
    let mut heading = vec![CHANGE];
    heading.extend(shown::heading(kind.name, wide));
    let mut table = Table::new(heading, wide);
    let mut events = client.stream(&format!("{list}?watch=true")).await?;
    while !terminal.closed() {
        let event = events.next().await?;
        let item: Item = decoded(client, &event)?;
        if id.is_some_and(|id| shown::identity(&item) != id.to_string()) {
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
            Output::Table | Output::Wide | Output::Sarif => {
                let mut cells = vec![event.name.to_uppercase()];
                cells.extend(shown::cells(kind.name, &item, wide, client.url()));
                table.push(cells);
                table.print(terminal)?;
            }
        }
    }
    Ok(Outcome::Done)
}

pub(super) fn changed(event: &SentEvent, record: &impl serde::Serialize) -> Value {
    serde_json::json!({"change": event.name, "item": record})
}

pub(super) fn decoded<T: DeserializeOwned>(client: &Client, event: &SentEvent) -> Result<T, Failure> {
    serde_json::from_str(&event.data).map_err(|cause| client.foreign_event(&cause.to_string()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_a_project_needs_comes_with_it() {
        let document = |id: &str, spec: &Value| Document::new(id.parse().unwrap(), spec).unwrap();
        let secret_ref = json!({"secretRef": {"name": "key", "key": "k"}});
        let documents = [
            document("secret/key", &json!({})),
            document("secret/other", &json!({})),
            document(
                "server/a",
                &json!({"command": ["a"], "env": [{"name": "K", "valueFrom": secret_ref}]}),
            ),
            document("server/b", &json!({"command": ["b"]})),
            document("server/c", &json!({"command": ["c"]})),
            document("project/ops", &json!({"servers": ["a"]})),
            document("project/dev", &json!({"servers": ["b"]})),
            document("prompt/old", &json!({"content": "x"})),
            document("prompt/ops/old", &json!({"link": "dev/b:x"})),
            document("prompt/dev/old", &json!({"content": "x"})),
        ];
        let members = closure(&"project/ops".parse().unwrap(), &documents).unwrap();
        let names: Vec<String> = members.iter().map(ToString::to_string).collect();
        assert_eq!(
            names,
            [
                "secret/key",
                "server/a",
                "server/b",
                "project/dev",
                "project/ops",
                "prompt/ops/old"
            ]
        );
        assert_eq!(closure(&"project/nope".parse().unwrap(), &documents), None);
    }
}
