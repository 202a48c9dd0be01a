//! The servers of a foreign file, whatever its form: what is declared of them, and what is said of the rest.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::kit::{Diagnostic, Position, Redacted};

use super::credentials::{Stands, is_confidential, is_credential, stands_for};
use super::text::{Entry, Is, Node, fault, short};
use super::words::Word;

/// A server as it is to be declared.
pub(super) struct Wanted {
    /// As it is called there.
    pub name: String,
    pub at: Position,
    /// The fields of the declaration, but for `env`.
    pub fields: Map<String, Value>,
    /// Words that its program gets, to be looked into for credentials.
    pub words: Vec<Word>,
    pub variables: Vec<Variable>,
}

/// An environment variable of a server.
pub(super) struct Variable {
    pub name: String,
    pub value: Told,
}

/// Where a variable's value comes from.
pub(super) enum Told {
    /// It stands in the declaration.
    Plain(String),
    /// It is encrypted.
    Secret(Redacted<String>),
    /// mcpd reads it from its own environment.
    Elsewhere(String),
}

/// What an editor asks for.
#[derive(Default)]
pub(super) struct Asked {
    pub description: String,
    pub default: Option<String>,
    pub password: bool,
}

/// What a foreign file says.
pub(super) struct Reader<'f> {
    pub file: &'f str,
    /// What the file says of itself that is a good name for the project.
    pub project: Option<String>,
    pub servers: Vec<Wanted>,
    pub asked: BTreeMap<String, Asked>,
    /// What is not carried over, or in another way than one may think.
    pub notes: Vec<(Position, String)>,
    pub faults: Vec<Diagnostic>,
}

impl<'f> Reader<'f> {
    pub fn new(file: &'f str) -> Self {
        Self {
            file,
            project: None,
            servers: vec![],
            asked: BTreeMap::new(),
            notes: vec![],
            faults: vec![],
        }
    }

    pub fn note(&mut self, at: Position, note: impl Into<String>) {
        self.notes.push((at, note.into()));
    }

    /// Says that a value is not of the type that it must have.
    pub fn wrong(&mut self, entry: &Entry, expected: &str) {
        let message = format!(
            "{}: expected {expected}, found {}",
            short(&entry.key),
            entry.value.is.called()
        );
        self.faults.push(fault(self.file, entry.value.at, message));
    }

    pub fn text(&mut self, entry: &Entry) -> Option<String> {
        let text = entry.value.text().map(str::to_owned);
        if text.is_none() {
            self.wrong(entry, "text");
        }
        text
    }

    /// A list of texts; numbers and truth values are the texts that a program would get.
    pub fn words(&mut self, entry: &Entry) -> Vec<Word> {
        let Is::List(items) = &entry.value.is else {
            self.wrong(entry, "a list");
            return vec![];
        };
        let mut words = vec![];
        for item in items {
            if let Some(text) = item.word() {
                words.push(Word { text, at: item.at });
            } else {
                let message = format!("{}: expected text, found {}", short(&entry.key), item.is.called());
                self.faults.push(fault(self.file, item.at, message));
            }
        }
        words
    }

    /// A mapping of variables to what they are; nothing where a value is left to the surroundings.
    pub fn variables(&mut self, entry: &Entry) -> Vec<(String, Option<String>, Position)> {
        let mut out = vec![];
        match &entry.value.is {
            Is::Map(entries) => {
                for variable in entries {
                    match (&variable.value.is, variable.value.word()) {
                        (_, Some(value)) => out.push((variable.key.clone(), Some(value), variable.at)),
                        (Is::Null, _) => out.push((variable.key.clone(), None, variable.at)),
                        _ => self.wrong(variable, "text"),
                    }
                }
            }
            Is::List(_) => {
                for word in self.words(entry) {
                    match word.text.split_once('=') {
                        Some((name, value)) => out.push((name.to_owned(), Some(value.to_owned()), word.at)),
                        None => out.push((word.text, None, word.at)),
                    }
                }
            }
            Is::Null => {}
            _ => self.wrong(entry, "a mapping"),
        }
        out
    }

    /// What becomes of a variable.
    pub fn variable(&mut self, name: String, value: Option<&str>, at: Position) -> Variable {
        let Some(value) = value else {
            self.note(at, format!("{} is read from mcpd's environment", short(&name)));
            let value = Told::Elsewhere(name.clone());
            return Variable { name, value };
        };
        let confidential = is_confidential(&name) || is_credential(value);
        let kept = |value: &str| {
            if confidential && !value.is_empty() {
                Told::Secret(Redacted::new(value.to_owned()))
            } else {
                Told::Plain(value.to_owned())
            }
        };
        let value = match stands_for(value) {
            Stands::Literal => kept(value),
            Stands::Mixed => {
                let why = "only a whole value can come from elsewhere: the text is taken as it stands";
                self.note(at, format!("{}: {why}", short(&name)));
                kept(value)
            }
            Stands::Variable(from, default) => {
                let default = default
                    .filter(|it| !it.is_empty())
                    .map_or("", |_| "; its default is not carried over");
                self.note(
                    at,
                    format!("{} is read from {from} of mcpd's environment{default}", short(&name)),
                );
                Told::Elsewhere(from)
            }
            Stands::Input(id) => {
                let asked = self.asked.get(&id);
                let open = asked.filter(|asked| !asked.password && !confidential);
                if let Some(default) = open.and_then(|asked| asked.default.clone()) {
                    self.note(at, format!("{} is asked for there: its default is taken", short(&name)));
                    if is_credential(&default) {
                        Told::Secret(Redacted::new(default))
                    } else {
                        Told::Plain(default)
                    }
                } else {
                    let what = asked.map(|asked| short(&asked.description)).filter(|it| !it.is_empty());
                    let what = what.map_or_else(String::new, |what| format!(" ({what})"));
                    let why = format!(
                        "{} is asked for there{what}: set it in mcpd's environment",
                        short(&name)
                    );
                    self.note(at, format!("{why}, or put it into the secret"));
                    Told::Elsewhere(variable_name(&name))
                }
            }
        };
        Variable { name, value }
    }

    /// Takes the variables of a container: those that its command line names, from what the client has.
    pub fn passed(
        &mut self,
        named: Vec<(String, Option<String>, Position)>,
        mut given: Vec<(String, Option<String>, Position)>,
    ) -> Vec<Variable> {
        let mut out = vec![];
        for (name, value, at) in named {
            let own = given
                .iter()
                .position(|(given, _, _)| *given == name)
                .map(|at| given.swap_remove(at));
            let value = value.or_else(|| own.and_then(|(_, value, _)| value));
            out.push(self.variable(name, value.as_deref(), at));
        }
        given.sort_by_key(|(_, _, at)| *at);
        for (name, _, at) in given {
            let why = "is not passed on by the command, and not carried over";
            self.note(at, format!("{} {why}", short(&name)));
        }
        out
    }

    /// Says of each key that nobody knows what becomes of it: nothing.
    pub fn unknown(&mut self, entry: &Entry) {
        self.note(entry.at, format!("{} is not carried over", short(&entry.key)));
    }
}

/// A name that an environment takes.
fn variable_name(name: &str) -> String {
    let fits = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_uppercase()
        } else {
            '_'
        }
    };
    name.chars().map(fits).collect()
}

/// Whether a value says yes.
pub(super) fn is_true(node: &Node) -> bool {
    node.is == Is::Bool(true)
}
