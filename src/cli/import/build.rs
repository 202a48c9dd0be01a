//! Declarations made of what was read: valid names, secrets beside servers, one project that shows them.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::kit::time::Timestamp;
use crate::kit::{Diagnostic, Name, Position, Redacted};
use crate::resource::{Declared as _, Document, Id, Project, Secret, Server, kind_named, yaml};
use crate::secret::sops::{self, SealError};
use crate::secret::{Recipient, scan};

use super::credentials::among;
use super::text::{fault, short};
use super::wanted::{Reader, Told, Variable, Wanted};

/// The longest name.
const LONGEST: usize = 63;

/// What is to be declared.
pub(super) struct Built {
    secrets: Vec<(Id, Redacted<Map<String, Value>>)>,
    /// Servers, and the project behind them.
    documents: Vec<Document>,
    pub notes: Vec<(Position, String)>,
    pub faults: Vec<Diagnostic>,
}

/// A declaration as it is written.
#[derive(Debug)]
pub(super) struct Piece {
    pub id: Id,
    pub text: String,
}

impl Built {
    /// Makes declarations of what was read.
    pub fn of(reader: Reader<'_>, project: Option<Name>) -> Self {
        let Reader {
            file,
            project: own,
            servers,
            notes,
            faults,
            ..
        } = reader;
        let mut built = Self {
            secrets: vec![],
            documents: vec![],
            notes,
            faults,
        };
        let mut taken = BTreeSet::new();
        for wanted in servers {
            let name = unique(&wanted.name, "server", &mut taken);
            if name.as_str() != wanted.name {
                let note = format!("{} is called {name} here", short(&wanted.name));
                built.notes.push((wanted.at, note));
            }
            built.server(file, name, wanted);
        }
        let project = project.unwrap_or_else(|| {
            let own = own.unwrap_or_else(|| "imported".to_owned());
            unique(&own, "imported", &mut BTreeSet::new())
        });
        let names: Vec<&str> = built.documents.iter().map(|it| it.id.name.as_str()).collect();
        if let Some(kind) = kind_named(Project::NAME).filter(|_| !names.is_empty()) {
            match Document::new(Id::new(kind, project), &json!({"servers": names})) {
                Ok(document) => built.documents.push(document),
                Err(problems) => {
                    let told = problems.iter().map(|it| Diagnostic::of_file(file, it.to_string()));
                    built.faults.extend(told);
                }
            }
        }
        built.notes.sort_by_key(|(at, _)| *at);
        built
    }

    fn server(&mut self, file: &str, name: Name, wanted: Wanted) {
        let shown = short(&wanted.name);
        let words = wanted.words.iter().map(|word| word.text.as_str());
        if let Some(word) = among(words).and_then(|at| wanted.words.get(at)) {
            let why = "a credential among its arguments would stand in the clear; give it by env";
            self.notes.push((word.at, format!("{shown} is left out: {why}")));
            return;
        }
        let (Some(server), Some(secret)) = (kind_named(Server::NAME), kind_named(Secret::NAME)) else {
            return;
        };
        let mut spec = wanted.fields;
        let mut values = Map::new();
        let mut env = vec![];
        for Variable { name: variable, value } in wanted.variables {
            let value = match value {
                Told::Plain(value) => {
                    env.push(json!({"name": variable, "value": value}));
                    continue;
                }
                Told::Secret(value) => Value::from(value.reveal().as_str()),
                Told::Elsewhere(from) => json!({"fromEnv": from}),
            };
            let key = key_of(&variable, &values);
            env.push(json!({"name": variable, "valueFrom": {"secretRef": {"name": name.as_str(), "key": key}}}));
            values.insert(key, value);
        }
        if !env.is_empty() {
            spec.insert("env".to_owned(), env.into());
        }
        let document = match Document::new(Id::new(server, name.clone()), &Value::Object(spec)) {
            Ok(document) => document,
            Err(problems) => {
                for problem in problems {
                    let told = problem.to_string();
                    let told = told.split_once(", found ").map_or(told.as_str(), |(told, _)| told);
                    let fault = fault(file, wanted.at, format!("{shown}: {told}"));
                    self.faults.push(match problem.hint {
                        Some(hint) => fault.hint(hint),
                        None => fault,
                    });
                }
                return;
            }
        };
        // Whatever way it took: nothing that the gate would stop is written.
        if let Some(found) = scan(&yaml::print(&document)).first() {
            let why = format!("{} would stand in the clear; give it by env", found.pattern.what);
            self.notes.push((wanted.at, format!("{shown} is left out: {why}")));
            return;
        }
        self.documents.push(document);
        if !values.is_empty() {
            self.secrets.push((Id::new(secret, name), Redacted::new(values)));
        }
    }

    /// Whether there is anything to declare.
    pub fn is_empty(&self) -> bool {
        self.documents.is_empty()
    }

    /// Whether something has to be encrypted.
    pub fn has_values(&self) -> bool {
        let values = self.secrets.iter().flat_map(|(_, values)| values.reveal().values());
        values.into_iter().any(Value::is_string)
    }

    /// Everything that is declared.
    pub fn ids(&self) -> impl Iterator<Item = &Id> {
        let secrets = self.secrets.iter().map(|(id, _)| id);
        secrets.chain(self.documents.iter().map(|document| &document.id))
    }

    /// The declarations as texts, secrets first.
    ///
    /// # Errors
    /// A value can't be encrypted.
    pub fn pieces(&self, recipients: &[Recipient], now: Timestamp) -> Result<Vec<Piece>, (Id, SealError)> {
        let mut out = vec![];
        for (id, values) in &self.secrets {
            let text = if values.reveal().values().any(Value::is_string) {
                let fields = [
                    ("kind".to_owned(), Value::from(Secret::NAME)),
                    ("name".to_owned(), Value::from(id.name.as_str())),
                ];
                let data = Redacted::new(Value::Object(values.reveal().clone()));
                sops::seal(&fields, &data, recipients, now).map_err(|error| (id.clone(), error))?
            } else {
                let spec = json!({"data": values.reveal()});
                Document::new(id.clone(), &spec).map_or_else(|_| String::new(), |it| yaml::print(&it))
            };
            out.push(Piece { id: id.clone(), text });
        }
        out.extend(self.documents.iter().map(|document| Piece {
            id: document.id.clone(),
            text: yaml::print(document),
        }));
        Ok(out)
    }
}

/// A valid name that is not taken yet, as near to the one that is wanted as can be.
fn unique(wanted: &str, otherwise: &str, taken: &mut BTreeSet<String>) -> Name {
    let mut base = String::new();
    for c in wanted.chars() {
        if c.is_ascii_alphanumeric() {
            base.push(c.to_ascii_lowercase());
        } else if !base.ends_with('-') && !base.is_empty() {
            base.push('-');
        }
        if base.len() == LONGEST {
            break;
        }
    }
    let base = match base.trim_matches('-') {
        "" => otherwise,
        base => base,
    };
    let mut number = 1;
    loop {
        let name = if number == 1 {
            base.to_owned()
        } else {
            let end = format!("-{number}");
            let room = LONGEST - end.len();
            format!(
                "{}{end}",
                base.get(..room.min(base.len())).unwrap_or(base).trim_end_matches('-')
            )
        };
        number += 1;
        if let Ok(valid) = name.parse::<Name>()
            && taken.insert(name)
        {
            return valid;
        }
    }
}

/// The key of a variable's value in its secret.
fn key_of(variable: &str, taken: &Map<String, Value>) -> String {
    let fits = |c: char| {
        if c.is_ascii_alphanumeric() || "._-".contains(c) {
            c
        } else {
            '_'
        }
    };
    let mut key: String = variable.chars().map(fits).take(200).collect();
    if key.is_empty() {
        key.push('_');
    }
    while taken.contains_key(&key) {
        key.push('_');
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_valid_and_unique() {
        let mut taken = BTreeSet::new();
        let long = "a".repeat(80);
        for (wanted, want) in [
            ("github", "github"),
            ("GitHub", "github-2"),
            ("My Server (new)!", "my-server-new"),
            ("größe", "gr-e"),
            ("日本", "server"),
            ("--", "server-2"),
            (long.as_str(), &"a".repeat(63)),
            (long.as_str(), &format!("{}-2", "a".repeat(61))),
        ] {
            assert_eq!(unique(wanted, "server", &mut taken).as_str(), want, "{wanted}");
        }
    }
}
