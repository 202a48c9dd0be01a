//! The command tree with help that shows, for each command, the flags and forms that it has.

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Arg, Command, CommandFactory, ValueEnum as _};

use super::Output;

/// The forms of what changes something.
pub(super) const CHANGE: &[Output] = &[Output::Table, Output::Json, Output::Name];
/// The forms of what makes something: YAML is shown in place of being sent.
pub(super) const CREATION: &[Output] = &[Output::Table, Output::Json, Output::Name, Output::Yaml];
/// The forms of how all of it stands.
pub(super) const STATUS: &[Output] = &[Output::Table, Output::Json, Output::Yaml];
/// The forms of a page about one thing.
pub(super) const PAGE: &[Output] = &[Output::Table, Output::Json];
/// The forms of a judgement.
pub(super) const VERDICT: &[Output] = &[Output::Table, Output::Json, Output::Sarif];
/// The forms of a schema.
pub(super) const SCHEMA: &[Output] = &[Output::Json, Output::Yaml];
/// The forms of declarations.
const ALL: &[Output] = &[Output::Table, Output::Wide, Output::Yaml, Output::Json, Output::Name];
/// The forms of logs.
pub(super) const LOGS: &[Output] = &[Output::Table, Output::Wide, Output::Json];
/// The form of what talks by itself.
pub(super) const NEWS: &[Output] = &[Output::Table];

/// The forms of a command that has not all of them.
fn forms_of(command: &str) -> Option<&'static [Output]> {
    Some(match command {
        "apply" | "approve" | "diff" | "patch" | "delete" | "conflicts" | "undo" => CHANGE,
        "create" => CREATION,
        "get" => ALL,
        "validate" => VERDICT,
        "schema" => SCHEMA,
        "status" | "sync" => STATUS,
        "describe" | "version" | "why" | "backup" | "restore" | "repo" => PAGE,
        "logs" => LOGS,
        "dev" | "init" | "import" | "completion" => NEWS,
        _ => return None,
    })
}

/// The command tree.
pub(super) fn command<C: CommandFactory>() -> Command {
    let root = C::command();
    let flags: Vec<Arg> = root
        .get_arguments()
        .filter(|flag| flag.is_global_set())
        .cloned()
        .collect();
    root.mut_subcommands(|command| {
        let name = command.get_name().to_owned();
        match forms_of(&name) {
            // A flag that a command has by itself is not handed down to it.
            Some(forms) => command.args(flags.iter().map(|flag| own(&name, forms, flag))),
            None => command,
        }
    })
}

/// A flag as one command shows and takes it.
fn own(command: &str, forms: &[Output], flag: &Arg) -> Arg {
    let output = flag.get_id() == "output";
    // These talk to no mcpd, and dev, init and import have one form of output.
    let idle = match command {
        "dev" | "init" => true,
        "version" => !output,
        "import" => output,
        "validate" | "schema" => !output && flag.get_id() != "no_color",
        _ => false,
    };
    let flag = flag.clone().hide(idle);
    if !output {
        return flag;
    }
    let known = forms.iter().filter_map(Output::to_possible_value);
    let reading = PossibleValuesParser::new(known).try_map(|word| <Output as clap::ValueEnum>::from_str(&word, false));
    flag.value_parser(reading)
}
