//! `mcpctl completion`: scripts for shells, and what they ask for while somebody types.
//!
//! The scripts know nothing: each TAB asks `mcpctl __complete`, which walks the command tree and asks mcpd for names. So a
//! script stays right when commands change, and may be loaded twice without doubling anything.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::time::Duration;

use clap::{Arg, Args, Command, ValueEnum};

use crate::resource::KINDS;
use crate::settings::{ClientFlags, ClientSettings, Surroundings};
use crate::wire::{Item, Listing};

use super::client::Client;
use super::error::Failure;
use super::noun::{self, Noun, Recorded};
use super::terminal::Terminal;
use super::{Outcome, Session, shown};

/// The hidden word with which the scripts ask.
pub(super) const ASKED: &str = "__complete";
/// The longest that a TAB waits for mcpd.
const PATIENCE: Duration = Duration::from_millis(900);
/// The most names that are offered.
const MOST: usize = 2_000;

/// Print a script that completes mcpctl's words in a shell
///
/// Commands and flags come from mcpctl itself, names of resources from the mcpd that it talks to. Where none answers within
/// a second, names are left out.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  source <(mcpctl completion bash)          in ~/.bashrc
  source <(mcpctl completion zsh)           in ~/.zshrc, after compinit
  mcpctl completion fish | source           in ~/.config/fish/config.fish")]
pub(super) struct Completion {
    /// Which shell
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Completion {
    pub(super) fn run(&self, session: &Session) -> Result<Outcome, Failure> {
        session.form(&[super::Output::Table])?;
        session.terminal.data(match self.shell {
            Shell::Bash => BASH,
            Shell::Zsh => ZSH,
            Shell::Fish => FISH,
        })?;
        Ok(Outcome::Done)
    }
}

const BASH: &str = r#"# Completion of mcpctl for bash.
_mcpctl() {
    local value rest
    COMPREPLY=()
    while IFS=$'\t' read -r value rest; do
        COMPREPLY+=("$value")
    done < <(mcpctl __complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -o default -F _mcpctl mcpctl
"#;

const ZSH: &str = r#"#compdef mcpctl
# Completion of mcpctl for zsh.
_mcpctl() {
    local value rest
    local -a found
    while IFS=$'\t' read -r value rest; do
        found+=("${value//:/\\:}:${rest}")
    done < <(mcpctl __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)
    if (( $#found )); then
        _describe -V mcpctl found
    else
        _files
    fi
}
compdef _mcpctl mcpctl
"#;

const FISH: &str = r"# Completion of mcpctl for fish.
complete -c mcpctl -e
complete -c mcpctl -f -a '(mcpctl __complete -- (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)'
complete -c mcpctl -n 'contains -- (commandline -opc)[-1] -f --filename --data-file --content-file --recipient --dir' -F
complete -c mcpctl -n '__fish_seen_subcommand_from dev import init validate' -F
";

/// A word that is offered, and what it means.
type Offer = (String, String);

/// Answers a script: an offer a line, value and meaning parted by a tab. It never fails and never complains.
pub(super) fn answer(tree: Command, words: &[OsString], around: &Surroundings) -> u8 {
    let words: Vec<String> = words
        .iter()
        .skip_while(|word| *word == "--")
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let offers = offers(tree, &words, |question| live(question, &words, around));
    let mut lines = String::new();
    for (value, meaning) in offers.into_iter().take(MOST) {
        lines.push_str(&crate::wire::words::plain(&value));
        lines.push('\t');
        lines.push_str(&crate::wire::words::plain(&meaning));
        lines.push('\n');
    }
    // A shell that no longer listens is no fault.
    let _ = Terminal::of_process(false).data(&lines);
    0
}

/// What only mcpd can tell.
#[derive(Debug, PartialEq, Eq)]
enum Question {
    /// The names of a kind, in a project where one is named.
    Names(String, Option<String>),
    /// Servers, and their instances.
    Instances,
    /// Commits and branches that can be gone back to.
    Points,
}

/// What may stand in place of the last word.
fn offers(mut tree: Command, words: &[String], ask: impl FnOnce(&Question) -> Vec<Offer>) -> Vec<Offer> {
    tree.build();
    let (last, before) = words
        .split_last()
        .map_or(("", &[][..]), |(last, before)| (last.as_str(), before));
    let mut command = &tree;
    let mut path: Vec<&str> = vec![];
    let mut given: Vec<&str> = vec![];
    let mut project = None;
    let mut open: Option<&Arg> = None;
    for word in before {
        if let Some(flag) = open.take() {
            if flag.get_long() == Some("project") {
                project = Some(word.clone());
            }
            continue;
        }
        if word.starts_with('-') && word.len() > 1 {
            open = flag(command, word).filter(|flag| flag.get_action().takes_values() && !word.contains('='));
        } else if let Some(below) = command.find_subcommand(word).filter(|_| given.is_empty()) {
            command = below;
            path.push(below.get_name());
        } else {
            given.push(word);
        }
    }
    let mut found = match open {
        Some(flag) => values(flag, ask),
        None if last.starts_with('-') => flags(command),
        None if command.has_subcommands() && given.is_empty() && subcommand_first(command) => subcommands(command),
        None => positional(command, &path, &given, project, ask),
    };
    found.retain(|(value, _)| value.starts_with(last));
    found
}

/// Whether a command's first word is one of its subcommands.
fn subcommand_first(command: &Command) -> bool {
    command.get_positionals().next().is_none()
}

fn flag<'a>(command: &'a Command, word: &str) -> Option<&'a Arg> {
    let long = word
        .strip_prefix("--")
        .map(|long| long.split('=').next().unwrap_or_default());
    command.get_arguments().find(|arg| match long {
        Some(long) => arg.get_long() == Some(long),
        None => arg.get_short() == word.chars().nth(1) && word.chars().count() == 2,
    })
}

fn first_line(text: Option<&clap::builder::StyledStr>) -> String {
    text.map(ToString::to_string)
        .unwrap_or_default()
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned()
}

fn flags(command: &Command) -> Vec<Offer> {
    let shown = command.get_arguments().filter(|arg| !arg.is_hide_set());
    shown
        .filter_map(|arg| Some((format!("--{}", arg.get_long()?), first_line(arg.get_help()))))
        .collect()
}

fn subcommands(command: &Command) -> Vec<Offer> {
    let shown = command.get_subcommands().filter(|below| !below.is_hide_set());
    shown
        .map(|below| (below.get_name().to_owned(), first_line(below.get_about())))
        .collect()
}

fn values(flag: &Arg, ask: impl FnOnce(&Question) -> Vec<Offer>) -> Vec<Offer> {
    let word = |value: &clap::builder::PossibleValue| (value.get_name().to_owned(), first_line(value.get_help()));
    let known: Vec<Offer> = flag.get_possible_values().iter().map(word).collect();
    let names = |kind: &str| Question::Names(kind.to_owned(), None);
    match flag.get_long().unwrap_or_default() {
        _ if !known.is_empty() => known,
        "project" | "clone" => ask(&names("project")),
        "from-template" => ask(&names("template")),
        "servers" | "server" => ask(&names("server")),
        _ => vec![],
    }
}

/// What a word that is no flag may be: a kind, then a name of that kind.
fn positional(
    command: &Command,
    path: &[&str],
    given: &[&str],
    project: Option<String>,
    ask: impl FnOnce(&Question) -> Vec<Offer>,
) -> Vec<Offer> {
    let possible = |at: usize| {
        let arg = command.get_positionals().nth(at);
        let values = arg.map(Arg::get_possible_values).unwrap_or_default();
        values
            .iter()
            .map(|value| (value.get_name().to_owned(), first_line(value.get_help())))
            .collect()
    };
    match (path, given) {
        (["get"], []) => kinds()
            .into_iter()
            .chain(recorded())
            .chain([("all".to_owned(), "every declaration".to_owned())])
            .collect(),
        (["describe"], []) => kinds()
            .into_iter()
            .chain(["conflict", "run", "tool"].map(|word| (word.to_owned(), String::new())))
            .collect(),
        (["delete" | "patch" | "why" | "schema"], []) => kinds(),
        (["get" | "describe" | "delete" | "patch" | "why"], [kind]) if !kind.contains('/') => {
            ask(&Question::Names((*kind).to_owned(), project))
        }
        (["approve"], []) => vec![("tool".to_owned(), "accept what it promises now".to_owned())],
        (["approve"], [_, ..]) => ask(&Question::Names("tools".to_owned(), project)),
        (["logs"], []) => ask(&Question::Instances),
        (["undo"], []) => ask(&Question::Names("revisions".to_owned(), None)),
        (["restore", "diff" | "to"], []) => ask(&Question::Points),
        (["conflicts", "accept"], []) => ask(&Question::Names("conflicts".to_owned(), None)),
        (_, given) => possible(given.len()),
    }
}

fn kinds() -> Vec<Offer> {
    KINDS
        .iter()
        .map(|kind| (kind.name.to_owned(), format!("or {}", kind.plural)))
        .collect()
}

fn recorded() -> Vec<Offer> {
    let all = [
        Recorded::Instances,
        Recorded::Conflicts,
        Recorded::Events,
        Recorded::Revisions,
        Recorded::Runs,
        Recorded::Tools,
    ];
    all.map(|it| (it.plural().to_owned(), String::new())).to_vec()
}

/// Asks mcpd. No answer, a slow one and a refusal are all nothing.
fn live(question: &Question, words: &[String], around: &Surroundings) -> Vec<Offer> {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return vec![];
    };
    let value = |name: &str| {
        let at = words.iter().position(|word| word == name)?;
        words.get(at + 1).cloned()
    };
    let flags = ClientFlags {
        url: value("--url"),
        context: value("--context"),
        ..ClientFlags::default()
    };
    let asked = async {
        let settings = ClientSettings::resolve(&flags, around).ok()?;
        let client = Client::new(settings, Terminal::of_process(false)).ok()?;
        names(&client, question).await.ok()
    };
    let answered = runtime.block_on(async { tokio::time::timeout(PATIENCE, asked).await });
    answered.ok().flatten().unwrap_or_default()
}

async fn names(client: &Client, question: &Question) -> Result<Vec<Offer>, Failure> {
    match question {
        Question::Instances => instances(client, true).await,
        Question::Names(word, project) => match noun::noun(word)? {
            Noun::Declared(kind) => {
                let listing: Listing<Item> = client.get(&format!("/{}", kind.plural)).await?;
                let named = listing.items.iter().filter_map(|item| {
                    let document = shown::document(&item.resource).ok()?;
                    let inside = document.id.project().map(ToString::to_string);
                    let status = shown::status(item);
                    match (inside, project) {
                        // A name in a project is written with it, unless the project is said.
                        (Some(inside), None) => Some((format!("{inside}/{}", document.id.name), status.state)),
                        (inside, Some(project)) if kind.scoped && inside.as_ref() != Some(project) => None,
                        _ => Some((document.id.name.to_string(), status.state)),
                    }
                });
                Ok(named.collect())
            }
            Noun::Recorded(Recorded::Instances) => instances(client, false).await,
            Noun::Recorded(Recorded::Tools) => {
                let within = project
                    .as_ref()
                    .map_or_else(String::new, |project| format!("?project={project}"));
                let listing: Listing<crate::wire::ToolRow> = client.get(&format!("/tools{within}")).await?;
                let rows = listing.items.into_iter();
                Ok(rows.map(|row| (row.name, row.state.word().to_owned())).collect())
            }
            Noun::Recorded(Recorded::Runs) => {
                let listing: Listing<crate::record::Run> = client.get("/runs").await?;
                let newest = listing.items.iter().rev();
                Ok(newest.map(|it| (it.id.to_string(), it.outcome())).collect())
            }
            Noun::Recorded(Recorded::Conflicts) => {
                let listing: Listing<crate::record::Conflict> = client.get("/conflicts").await?;
                Ok(listing
                    .items
                    .iter()
                    .map(|it| (it.id.to_string(), String::new()))
                    .collect())
            }
            Noun::Recorded(Recorded::Revisions) => {
                let listing: Listing<crate::record::Mutation> = client.get("/revisions").await?;
                let newest = listing.items.iter().rev();
                Ok(newest.map(|it| (it.revision.to_string(), it.message.clone())).collect())
            }
            _ => Ok(vec![]),
        },
        Question::Points => {
            let listing: Listing<crate::wire::Point> = client.get("/restore/list").await?;
            let named = |it: &crate::wire::Point| {
                let short: String = it.commit.chars().take(7).collect();
                (it.branch.clone().unwrap_or(short), it.subject.clone())
            };
            Ok(listing.items.iter().map(named).collect())
        }
    }
}

/// Instances, with the servers that they are of in front where these are meant too.
async fn instances(client: &Client, servers: bool) -> Result<Vec<Offer>, Failure> {
    let listing: Listing<crate::record::InstanceStatus> = client.get("/instances").await?;
    let mut found = BTreeMap::new();
    for it in &listing.items {
        if servers {
            found.insert(it.instance.server.to_string(), "all its instances".to_owned());
        }
        found.insert(it.instance.to_string(), it.state.to_string());
    }
    Ok(found.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, help};

    fn asked(line: &str) -> (Vec<String>, Option<String>) {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let mut question = None;
        let found = offers(help::command::<Cli>(), &words, |asked| {
            question = Some(format!("{asked:?}"));
            vec![
                ("time".to_owned(), "RUNNING".to_owned()),
                ("git".to_owned(), String::new()),
            ]
        });
        (found.into_iter().map(|(value, _)| value).collect(), question)
    }

    #[test]
    fn words_are_offered_where_they_may_stand() {
        for (line, some) in [
            ("", "get"),
            ("de", "describe"),
            ("get ", "servers"),
            ("get ", "instances"),
            ("get ", "runs"),
            ("describe ", "run"),
            ("describe ", "tool"),
            ("get ", "tools"),
            ("approve ", "tool"),
            ("approve tool --s", "--server"),
            ("get --", "--watch"),
            ("-o json get --pro", "--project"),
            ("get servers -o ", "yaml"),
            ("backup ", "identity"),
            ("create ", "server"),
            ("create server x --up", "--update"),
            ("completion ", "fish"),
            ("schema pro", "project"),
            ("validate -o ", "sarif"),
        ] {
            let (found, _) = asked(line);
            // Kinds are offered by their name, and both are understood.
            let some = if some == "servers" { "server" } else { some };
            assert!(found.iter().any(|word| word == some), "{line:?}: {found:?}");
        }
        assert!(asked("get xyz").0.is_empty());
        assert!(
            !asked("").0.iter().any(|word| word == ASKED),
            "hidden words stay hidden"
        );
    }

    #[test]
    fn names_are_asked_for_where_a_name_may_stand() {
        for (line, question) in [
            ("get server ", r#"Names("server", None)"#),
            ("describe srv t", r#"Names("srv", None)"#),
            ("get prompt -p ops ", r#"Names("prompt", Some("ops"))"#),
            ("describe tool -p ops ", r#"Names("tool", Some("ops"))"#),
            ("approve tool -p ops ", r#"Names("tools", Some("ops"))"#),
            ("approve tool -p ", r#"Names("project", None)"#),
            ("approve tool --server ", r#"Names("server", None)"#),
            ("logs ", "Instances"),
            ("logs -f ", "Instances"),
            ("get servers -p ", r#"Names("project", None)"#),
            ("create server x --from-template ", r#"Names("template", None)"#),
            ("conflicts accept ", r#"Names("conflicts", None)"#),
            ("undo ", r#"Names("revisions", None)"#),
            ("restore to ", "Points"),
            ("describe run ", r#"Names("run", None)"#),
        ] {
            assert_eq!(asked(line).1.as_deref(), Some(question), "{line:?}");
        }
        assert_eq!(asked("get server t").0, ["time"]);
        for line in ["get server time ", "apply -f ", "status ", "get "] {
            assert_eq!(asked(line).1, None, "{line:?}");
        }
    }
}
