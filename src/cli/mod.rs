//! `mcpctl`: words and flags. One command, one file; the doc comment of its arguments is its help.
//!
//! Nothing here decides: a command asks mcpd and shows the answer.

mod apply;
mod approve;
mod backup;
mod clash;
mod client;
mod completion;
mod conflicts;
mod create;
mod delete;
mod describe;
mod dev;
mod diff;
mod error;
mod fields;
mod files;
mod get;
mod help;
mod import;
mod init;
mod input;
mod logs;
mod noun;
mod past;
mod patch;
mod plan;
mod repo;
mod restore;
mod run;
mod sarif;
mod schema;
mod shown;
mod status;
mod sync;
mod table;
mod terminal;
mod tools;
mod undo;
mod validate;
mod version;
mod wait;
mod why;

use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use clap::{Args, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use futures_util::future::BoxFuture;

use crate::settings::{ClientFlags, ClientSettings, Complaint, Surroundings};
use crate::wire::ErrorBody;

pub use dev::DevOptions;
pub use error::Failure;

use client::Client;
use terminal::Terminal;

/// What the commands need of rooms that `cli` may not name; the bin hands it in.
#[derive(Debug, Clone, Copy)]
pub struct Doors {
    /// Runs the daemon over a folder until it is told to stop. It prints its own output.
    pub dev: fn(DevOptions) -> BoxFuture<'static, Result<(), ErrorBody>>,
}

/// GitOps for MCP servers.
///
/// mcpctl talks to mcpd, which runs MCP servers exactly as a repository of YAML files declares them.
/// "mcpctl dev DIR" is both in one command.
#[derive(Debug, Parser)]
#[command(
    name = "mcpctl",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = "Examples:
  mcpctl init fleet                    a first repository that runs
  mcpctl dev examples/repo             run the servers of a folder while you edit it
  mcpctl get servers                   what runs, and what does not
  mcpctl why server time               what keeps one from running
  mcpctl apply -f servers/ --dry-run   check declarations against mcpd
  mcpctl get server time -o yaml       the declaration, ready for apply

Exit codes: 0 done, 1 failed or refused, 2 usage, 3 accepted but not all is well yet, 255 a bug."
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

/// Flags that every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
struct Global {
    #[command(flatten)]
    client: ClientFlags,
    /// The form of the output
    #[arg(short, long, global = true, value_name = "FORM")]
    output: Option<Output>,
    /// No colours, also on a terminal [env: NO_COLOR]
    #[arg(long, global = true)]
    no_color: bool,
}

/// The form of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// Columns
    Table,
    /// More columns, nothing cut
    Wide,
    /// YAML; of declarations as apply takes it
    Yaml,
    /// JSON, errors too
    Json,
    /// KIND/NAME, a line each
    Name,
    /// SARIF 2.1.0, for code scanning
    Sarif,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Dev(dev::Dev),
    Get(get::Get),
    Describe(describe::Describe),
    Why(why::Why),
    Logs(logs::Logs),
    Create(create::Create),
    Apply(apply::Apply),
    Approve(approve::Approve),
    Diff(diff::Diff),
    Patch(patch::Patch),
    Delete(delete::Delete),
    Status(status::Status),
    Sync(sync::Sync),
    Conflicts(conflicts::Conflicts),
    Undo(undo::Undo),
    Backup(backup::Backup),
    Restore(restore::Restore),
    Repo(repo::Repo),
    Init(init::Init),
    Import(import::Import),
    Validate(validate::Validate),
    Schema(schema::Schema),
    Completion(completion::Completion),
    Version(version::Version),
}

/// How a command that did not fail ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// 0: done, all is well, nothing differs.
    Done,
    /// 1: the answer of `diff` is yes.
    Differs,
    /// 1: the answer of `why` is a link that does not hold, that of `validate` is no.
    Broken,
    /// 3: accepted, and something remains.
    Remains,
}

impl Outcome {
    const fn exit(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Differs | Self::Broken => 1,
            Self::Remains => 3,
        }
    }
}

/// What a command works with.
#[derive(Debug)]
struct Session {
    terminal: Terminal,
    around: Surroundings,
    global: Global,
}

impl Session {
    /// The connection to mcpd.
    fn client(&self) -> Result<Client, Failure> {
        let settings = ClientSettings::resolve(&self.global.client, &self.around)?;
        Client::new(settings, self.terminal.clone())
    }

    /// The form that was asked for, where the command knows it; the first is taken where none was.
    fn form(&self, known: &[Output]) -> Result<Output, Failure> {
        let first = known.first().copied().unwrap_or(Output::Table);
        let Some(asked) = self.global.output else {
            return Ok(first);
        };
        if known.contains(&asked) {
            return Ok(asked);
        }
        let words = |output: Output| output.to_possible_value().map(|v| v.get_name().to_owned());
        let known: Vec<String> = known.iter().copied().filter_map(words).collect();
        Err(Failure::usage(
            format!("this command has no -o {}", words(asked).unwrap_or_default()),
            format!("it has {}", known.join(", ")),
        ))
    }
}

/// Runs a command line and says how it ended.
pub fn run(
    arguments: impl IntoIterator<Item = OsString>,
    around: std::io::Result<Surroundings>,
    doors: Doors,
) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    std::panic::set_hook(Box::new(|panic| {
        Terminal::of_process(false).say(&format!(
            "error: bug: {}\nhint: this is a fault of mcpctl, not yours; please report it with the line above",
            crate::wire::words::plain(&panic.to_string())
        ));
    }));
    ExitCode::from(guarded(|| parsed(&arguments, around, doors)))
}

/// The exit code of some work, 255 where it panics.
fn guarded(work: impl FnOnce() -> u8) -> u8 {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(255)
}

fn parsed(arguments: &[OsString], around: std::io::Result<Surroundings>, doors: Doors) -> u8 {
    if let (Some(word), Ok(around)) = (arguments.get(1), &around)
        && word == completion::ASKED
    {
        return completion::answer(help::command::<Cli>(), &arguments[2..], around);
    }
    let matches = help::command::<Cli>().try_get_matches_from(arguments);
    match matches.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => match around {
            Ok(around) => executed(cli, around, doors),
            Err(cause) => report(
                &Terminal::of_process(false),
                &Failure::Start(cause),
                wants_json(arguments),
            ),
        },
        Err(error) => {
            if let Some(Complaint { problem, hint }) = Complaint::of(&error) {
                let colour = allows_colour(around.as_ref().ok()) && !arguments.iter().any(|word| word == "--no-color");
                let failure = Failure::usage(problem, hint);
                return report(&Terminal::of_process(colour), &failure, wants_json(arguments));
            }
            // A closed pipe is no fault here either.
            drop(error.print());
            u8::try_from(error.exit_code()).unwrap_or(2)
        }
    }
}

/// Whether a command line that can't be parsed asks for JSON.
fn wants_json(arguments: &[OsString]) -> bool {
    let words: Vec<&str> = arguments.iter().filter_map(|word| word.to_str()).collect();
    words
        .iter()
        .any(|word| matches!(*word, "-ojson" | "-o=json" | "--output=json"))
        || words.windows(2).any(|pair| matches!(pair, ["-o" | "--output", "json"]))
}

/// An environment variable that is set to something.
fn variable<'a>(around: &'a Surroundings, name: &str) -> Option<&'a OsString> {
    let found = around.environment.iter().find(|(key, _)| key == name);
    found.map(|(_, value)| value).filter(|value| !value.is_empty())
}

/// Whether the environment allows colours.
fn allows_colour(around: Option<&Surroundings>) -> bool {
    around.is_some_and(|around| {
        variable(around, "NO_COLOR").is_none() && variable(around, "TERM").is_none_or(|terminal| terminal != "dumb")
    })
}

fn executed(cli: Cli, around: Surroundings, doors: Doors) -> u8 {
    let colour = !cli.global.no_color && allows_colour(Some(&around));
    let terminal = Terminal::of_process(colour);
    let json = cli.global.output == Some(Output::Json);
    let session = Session {
        terminal: terminal.clone(),
        around,
        global: cli.global,
    };
    let differs = match &cli.verb {
        Verb::Diff(_) => true,
        Verb::Restore(verb) => verb.differs(),
        _ => false,
    };
    let work = async {
        match cli.verb {
            Verb::Dev(verb) => verb.run(&session, doors, colour).await,
            Verb::Get(verb) => verb.run(&session).await,
            Verb::Describe(verb) => verb.run(&session).await,
            Verb::Why(verb) => verb.run(&session).await,
            Verb::Logs(verb) => verb.run(&session).await,
            Verb::Create(verb) => verb.run(&session).await,
            Verb::Apply(verb) => verb.run(&session).await,
            Verb::Approve(verb) => verb.run(&session).await,
            Verb::Diff(verb) => verb.run(&session).await,
            Verb::Patch(verb) => verb.run(&session).await,
            Verb::Delete(verb) => verb.run(&session).await,
            Verb::Status(verb) => verb.run(&session).await,
            Verb::Sync(verb) => verb.run(&session).await,
            Verb::Conflicts(verb) => verb.run(&session).await,
            Verb::Undo(verb) => verb.run(&session).await,
            Verb::Backup(verb) => verb.run(&session).await,
            Verb::Restore(verb) => verb.run(&session).await,
            Verb::Init(verb) => verb.run(&session),
            Verb::Import(verb) => verb.run(&session).await,
            Verb::Validate(verb) => verb.run(&session),
            Verb::Schema(verb) => verb.run(&session),
            Verb::Repo(verb) => verb.run(&session).await,
            Verb::Completion(verb) => verb.run(&session),
            Verb::Version(verb) => verb.run(&session),
        }
    };
    let ended = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Failure::Start)
        .and_then(|runtime| runtime.block_on(work));
    match ended {
        Ok(outcome) => outcome.exit(),
        // `diff` says 1 for "differs", so its failures are 2.
        Err(failure) => report(&terminal, &failure, json).max(if differs { 2 } else { 0 }),
    }
}

/// Says what went wrong, and gives the exit code.
fn report(terminal: &Terminal, failure: &Failure, json: bool) -> u8 {
    if json {
        terminal.say(&shown::json_line(&failure.body()));
    } else {
        terminal.say_all(failure.lines());
    }
    failure.exit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_tree_is_sound() {
        help::command::<Cli>().debug_assert();
    }

    #[test]
    fn a_panic_is_a_bug() {
        assert_eq!(guarded(|| panic!("on purpose")), 255);
        assert_eq!(guarded(|| 3), 3);
    }

    #[test]
    fn outcomes_have_codes() {
        let codes = [Outcome::Done, Outcome::Differs, Outcome::Broken, Outcome::Remains].map(Outcome::exit);
        assert_eq!(codes, [0, 1, 1, 3]);
    }

    #[test]
    fn json_is_recognised_in_what_can_not_be_parsed() {
        for (line, want) in [
            ("mcpctl gett -o json", true),
            ("mcpctl -ojson gett", true),
            ("mcpctl gett --output=json", true),
            ("mcpctl gett -o yaml", false),
            ("mcpctl gett json", false),
        ] {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            assert_eq!(wants_json(&words), want, "{line}");
        }
    }
}
