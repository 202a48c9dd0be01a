//! `mcpctl create`: a command for each kind, with a flag for each of its fields.

use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches};
use reqwest::Method;
use serde_json::Value;

use crate::kit::Diagnostic;
use crate::resource::{Declared as _, Document, Id, KINDS, Kind, Project, Scope, Server, Template, kind_named};
use crate::wire::{Item, Listing, PlanBody};

use super::client::{Client, Sending};
use super::error::Failure;
use super::{Outcome, Output, Session, fields, help, noun, plan, shown, wait};

/// What is to be made, as it was said.
#[derive(Debug, Clone)]
pub(super) struct Create {
    kind: &'static Kind,
    said: ArgMatches,
}

const ABOUT: &str = "Create a resource

Each kind is a command with a flag for each of its fields, a field like timeoutSeconds as --timeout-seconds. A flag for a
list is repeated, one entry each time; a field of an object is reached by a dot. What is there already is not touched.

With -o yaml the declaration is printed and nothing is sent: it can be put into a repository, or given to apply.";

const EXAMPLES: &str = "Examples:
  mcpctl create server files --from-template filesystem --args /srv/files
  mcpctl create server time --package-name mcp-server-time --runtime python --wait
  mcpctl create project ops --servers files --servers time
  mcpctl create prompt runbook -p ops --content-file runbook.md -o yaml
  mcpctl create project staging --clone ops";

impl FromArgMatches for Create {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let missing = || clap::Error::new(clap::error::ErrorKind::MissingSubcommand);
        let (kind, said) = matches.subcommand().ok_or_else(missing)?;
        Ok(Self {
            kind: kind_named(kind).ok_or_else(missing)?,
            said: said.clone(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl clap::Args for Create {
    fn augment_args(command: Command) -> Command {
        let (about, more) = ABOUT.split_once("\n\n").unwrap_or((ABOUT, ""));
        command
            .about(about)
            .long_about(format!("{about}\n\n{more}"))
            .after_help(EXAMPLES)
            .subcommand_required(true)
            .arg_required_else_help(true)
            .disable_help_subcommand(true)
            .subcommand_value_name("KIND")
            .subcommand_help_heading("Kinds")
            .subcommands(KINDS.iter().map(of_kind))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// The command that makes a resource of a kind.
fn of_kind(kind: &'static Kind) -> Command {
    let schema = kind.schema();
    let about = schema["description"].as_str().unwrap_or_default();
    let line = about
        .lines()
        .next()
        .unwrap_or_default()
        .trim_end_matches('.')
        .to_owned();
    let mut command = Command::new(kind.name)
        .about(line)
        .long_about(about.to_owned())
        .visible_aliases([kind.plural].into_iter().chain(kind.aliases.iter().copied()))
        .arg(Arg::new("name").value_name("NAME").required(true).help("The name"));
    if kind.scoped {
        let project = Arg::new("project").short('p').long("project").value_name("PROJECT");
        command =
            command.arg(project.help("The project in which the name counts [default: none, it counts everywhere]"));
    }
    if kind.name == Server::NAME {
        let template = Arg::new("from-template").long("from-template").value_name("TEMPLATE");
        command = command.arg(template.help("The template to begin with; flags change what it says"));
    }
    if kind.name == Project::NAME {
        let clone = Arg::new("clone").long("clone").value_name("PROJECT");
        command = command.arg(clone.help("The project to begin with; its prompts are copied too"));
    }
    let dry_run = Arg::new("dry-run").long("dry-run").action(ArgAction::SetTrue);
    let wait = Arg::new("wait")
        .long("wait")
        .value_name("SECONDS")
        .num_args(0..=1)
        .default_missing_value("60")
        .value_parser(wait::seconds)
        .conflicts_with("dry-run");
    command
        .args(fields::arguments(kind))
        .arg(dry_run.help("Show what would happen, and change nothing"))
        .arg(wait.help("Wait until all is well, 60 seconds if no number is given"))
}

impl Create {
    fn text(&self, flag: &str) -> Option<&str> {
        self.said.try_get_one::<String>(flag).ok().flatten().map(String::as_str)
    }

    pub(super) async fn run(self, session: &Session) -> Result<Outcome, Failure> {
        let form = session.form(help::CREATION)?;
        let within = noun::InProject {
            project: self.text("project").map(str::to_owned),
        };
        let id = noun::resource(self.kind.name, self.text("name"), &within)?;
        if form == Output::Yaml && noun::is_confidential(self.kind) {
            return Err(Failure::usage(
                format!("the values of {} are never printed", self.kind.plural),
                "leave -o yaml out: mcpd encrypts what it is sent, and \"get\" shows that".to_owned(),
            ));
        }
        let mut documents = vec![];
        let document = match (self.text("from-template"), self.text("clone")) {
            (Some(template), _) => self.made_from(session, &id, template).await?,
            (_, Some(old)) => {
                let old = noun::resource(self.kind.name, Some(old), &noun::InProject::default())?;
                let (spec, copies) = copy(&session.client()?, &old, &id).await?;
                documents = copies;
                self.document(session, &id, spec)?
            }
            (None, None) => self.document(session, &id, Value::Null)?,
        };
        documents.insert(0, document);
        if form == Output::Yaml {
            session.terminal.data(&shown::yaml_of(&documents))?;
            return Ok(Outcome::Done);
        }
        self.send(session, &documents, form).await
    }

    /// The document that the flags say on top of some fields.
    fn document(&self, session: &Session, id: &Id, mut spec: Value) -> Result<Document, Failure> {
        self.put(session, id, &mut spec)?;
        self.checked(id, &spec)
    }

    fn put(&self, session: &Session, id: &Id, spec: &mut Value) -> Result<(), Failure> {
        if !spec.is_object() {
            *spec = Value::Object(serde_json::Map::new());
        }
        fields::put(id, &self.said, &session.around.folder, spec)
    }

    fn checked(&self, id: &Id, spec: &Value) -> Result<Document, Failure> {
        Document::new(id.clone(), spec).map_err(|problems| {
            let quiet = noun::is_confidential(self.kind);
            let told = |text: String| match text.split_once(", found ") {
                Some((expected, _)) if quiet => expected.to_owned(),
                _ => text,
            };
            let line = |problem: &crate::resource::Problem| {
                let flag = fields::flag_of(self.kind, &problem.path).filter(|_| !problem.path.contains(['.', '[']));
                told(match flag {
                    Some(flag) => format!("{flag}: {}", problem.message),
                    None => problem.to_string(),
                })
            };
            let lines: Vec<String> = problems.iter().map(line).collect();
            let hint = problems.iter().find_map(|problem| problem.hint.clone());
            Failure::usage(lines.join("; "), hint.filter(|_| !quiet))
        })
    }

    /// A server as a template says it, told what it asks for: nothing of the template stays but its values.
    async fn made_from(&self, session: &Session, id: &Id, name: &str) -> Result<Document, Failure> {
        let template = noun::resource(Template::NAME, Some(name), &noun::InProject::default())?;
        let item: Item = session.client()?.get(&noun::path(&template)).await?;
        let template: Template = shown::document(&item.resource)?
            .typed()
            .map_err(|problem| Failure::usage(problem.to_string(), None))?;
        let mut spec = serde_json::to_value(&template.server).unwrap_or_default();
        self.put(session, id, &mut spec)?;
        let missing = tell(&template, &mut spec);
        if missing.is_empty() {
            return self.checked(id, &spec);
        }
        let asked = missing.iter().map(|variable| match variable.description.as_str() {
            "" => variable.name.clone(),
            why => format!("{} ({why})", variable.name),
        });
        let words: Vec<String> = missing
            .iter()
            .map(|variable| format!("--env {}=…", variable.name))
            .collect();
        Err(Failure::usage(
            format!("template {name} asks for {}", asked.collect::<Vec<_>>().join(", ")),
            format!(
                "add {}; or --env-from NAME=SECRET/KEY, where it is a secret",
                words.join(" ")
            ),
        ))
    }

    async fn send(&self, session: &Session, documents: &[Document], form: Output) -> Result<Outcome, Failure> {
        let client = session.client()?;
        let dry_run = self.said.get_flag("dry-run");
        let seconds = self.said.get_one::<u64>("wait").copied();
        let sending = |body: Value| Sending {
            body: Some((wait::JSON, body.to_string())),
            if_new: documents.len() > 1,
            ..Sending::default()
        };
        let outcome = match documents {
            [one] if !dry_run => {
                let item: Item = client
                    .call(Method::POST, &noun::list_path(&one.id), &sending(one.to_json()))
                    .await
                    .map_err(|failure| named(documents, failure))?;
                let terminal = &session.terminal;
                match form {
                    Output::Json => terminal.line(&shown::json(&item.resource))?,
                    Output::Name => terminal.line(&one.id.to_string())?,
                    _ => terminal.plan(&format!("+ {}", one.id))?,
                }
                Outcome::Done
            }
            documents => {
                let (path, body) = match documents {
                    [one] => (noun::list_path(&one.id), one.to_json()),
                    many => ("/apply".to_owned(), many.iter().map(Document::to_json).collect()),
                };
                let path = format!("{path}?dryRun={dry_run}");
                let answer: PlanBody = client
                    .call(Method::POST, &path, &sending(body))
                    .await
                    .map_err(|failure| named(documents, failure))?;
                plan::show(session, &answer, dry_run, form)?
            }
        };
        wait::afterwards(session, &client, seconds, outcome).await
    }
}

/// A refusal that speaks of what was to be made: nobody has seen the request that mcpd points into.
fn named(documents: &[Document], mut failure: Failure) -> Failure {
    let Failure::Refused { body, .. } = &mut failure else {
        return failure;
    };
    for diagnostic in &mut body.diagnostics {
        let Some(place) = diagnostic.file.strip_prefix("<body>") else {
            continue;
        };
        let number = place.trim_matches(['[', ']']).parse().unwrap_or(0);
        let Some(document) = documents.get::<usize>(number) else {
            continue;
        };
        *diagnostic = Diagnostic {
            hint: diagnostic.hint.take(),
            ..Diagnostic::of_file(document.id.to_string(), std::mem::take(&mut diagnostic.message))
        };
    }
    if let [one] = &body.diagnostics[..] {
        body.detail = format!("{}: {}", one.place(), one.message);
    }
    failure
}

/// Gives a server the variables of its template, in the template's order; those that nobody said are handed back.
fn tell<'t>(template: &'t Template, spec: &mut Value) -> Vec<&'t crate::resource::TemplateVariable> {
    let mut said: Vec<Value> = spec["env"].as_array().cloned().unwrap_or_default();
    let mut env = vec![];
    let mut missing = vec![];
    for variable in &template.env {
        let at = said.iter().position(|it| it["name"] == variable.name.as_str());
        match (at, &variable.default_value) {
            (Some(at), _) => env.push(said.remove(at)),
            (None, Some(value)) => env.push(serde_json::json!({"name": variable.name, "value": value})),
            (None, None) if variable.required => missing.push(variable),
            (None, None) => {}
        }
    }
    env.append(&mut said);
    if !env.is_empty() {
        spec["env"] = Value::Array(env);
    }
    missing
}

/// The fields of a project, and what counts in it under the name of another.
async fn copy(client: &Client, old: &Id, new: &Id) -> Result<(Value, Vec<Document>), Failure> {
    let item: Item = client.get(&noun::path(old)).await?;
    let spec = shown::document(&item.resource)?.spec;
    let mut copies = vec![];
    for kind in KINDS.iter().filter(|kind| kind.scoped) {
        let list = format!("{}/{}", noun::path(old), kind.plural);
        let listing: Listing<Item> = client.get(&list).await?;
        for item in listing.items {
            let document = shown::document(&item.resource)?;
            copies.push(Document {
                id: Id::scoped(kind, Scope::Project(new.name.clone()), document.id.name.clone()),
                ..document
            });
        }
    }
    Ok((spec, copies))
}
