//! `mcpctl diff`.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value};
use similar::TextDiff;

use crate::kit::count;
use crate::resource::{Declared as _, Document, FieldChange, Id, Secret, masked};
use crate::wire::words::{conflict, containers, plain};
use crate::wire::{Item, Op, PlanBody, StatusBody, Step};

use super::client::Client;
use super::error::Failure;
use super::input::Input;
use super::terminal::diagnostic_lines;
use super::{Outcome, Output, Session, apply, help, noun, shown};

/// Show what differs
///
/// Without -f: the repository, the store and what runs. With -f: what "apply" would change. Each resource is a unified
/// diff of its YAML, then what happens to its instances.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  mcpctl diff
  mcpctl diff -f servers/

Exit codes: 0 nothing differs, 1 something does, 2 it could not be told.")]
pub(super) struct Diff {
    /// A file, a folder (read with its subfolders), or - for stdin; may be repeated
    #[arg(short, long = "file", value_name = "FILE|DIR|-")]
    files: Vec<PathBuf>,
}

impl Diff {
    pub(super) async fn run(self, session: &Session) -> Result<Outcome, Failure> {
        let form = session.form(help::CHANGE)?;
        let client_and_plan = if self.files.is_empty() {
            let client = session.client()?;
            let plan: PlanBody = client.get("/diff").await?;
            (client, plan)
        } else {
            let input = Input::read(&session.around.folder, &self.files)?;
            let client = session.client()?;
            let plan = apply::send(&client, &input, true).await?;
            (client, plan)
        };
        let (client, plan) = client_and_plan;
        let terminal = &session.terminal;
        match form {
            Output::Json => terminal.line(&shown::json(&plan))?,
            Output::Name => {
                for step in &plan.steps {
                    terminal.line(&plain(&step.resource))?;
                }
                terminal.diagnostics(&plan.diagnostics);
            }
            _ => {
                for step in &plan.steps {
                    terminal.diff(&of_step(&client, step).await?)?;
                }
                for lost in &plan.conflicts {
                    terminal.plan(&conflict(lost))?;
                }
                if let Some(line) = containers(&plan.containers) {
                    terminal.line(&line)?;
                }
                faults(session, &client, &plan, self.files.is_empty()).await?;
            }
        }
        let same = plan.steps.is_empty()
            && plan.containers.is_empty()
            && plan.conflicts.is_empty()
            && plan.diagnostics.is_empty();
        Ok(if same { Outcome::Done } else { Outcome::Differs })
    }
}

/// What is wrong, and what waits for it: with data, for it is what differs.
async fn faults(session: &Session, client: &Client, plan: &PlanBody, whole: bool) -> Result<(), Failure> {
    let terminal = &session.terminal;
    if plan.diagnostics.is_empty() {
        return Ok(());
    }
    for line in diagnostic_lines(&plan.diagnostics) {
        terminal.line(&line)?;
    }
    // The plan does not name what waits; that this can't be asked changes nothing of what differs.
    if whole && let Ok(status) = client.get::<StatusBody>("/status").await {
        for held in &status.held {
            terminal.line(&format!("held {}: {}", plain(&held.resource), plain(&held.reason)))?;
        }
    }
    let faults = count(plan.diagnostics.len(), "error");
    terminal.line(&format!(
        "differs: {faults} above; what is declared there waits until it is mended"
    ))
}

/// The diff of one resource. The store's document is asked for; the other side is that one with the step's fields.
pub(super) async fn of_step(client: &Client, step: &Step) -> Result<String, Failure> {
    let id: Id = step
        .resource
        .parse()
        .map_err(|_| client.foreign_event("a step names no resource"))?;
    let stored = match client.get::<Item>(&noun::path(&id)).await {
        Ok(item) => shown::document(&item.resource)?.spec,
        Err(Failure::Refused { status: 404, .. }) => Value::Null,
        Err(failure) => return Err(failure),
    };
    Ok(between(&id, step, &stored))
}

/// The unified diff of a step, `stored` being what the store says.
fn between(id: &Id, step: &Step, stored: &Value) -> String {
    // Where the repository is still to follow, the store holds the new side.
    let exported = step.source == "store";
    let forward = |base: &Value| {
        step.fields
            .iter()
            .fold(base.clone(), |spec, change| with(spec, change, false))
    };
    let backward = |base: &Value| {
        step.fields
            .iter()
            .fold(base.clone(), |spec, change| with(spec, change, true))
    };
    let absent = Value::Null;
    let known = |side: Value| if side.is_null() { stored.clone() } else { side };
    // Values of secrets come masked; so is what they are compared with.
    let hidden;
    let stored = if id.kind().name == Secret::NAME && !stored.is_null() {
        hidden = masked(stored);
        &hidden
    } else {
        stored
    };
    let (before, after) = match (step.op, exported) {
        (Op::Create, true) => (absent, known(forward(&Value::Null))),
        (Op::Create, false) => (absent, forward(&Value::Null)),
        (Op::Delete, _) => (known(backward(&Value::Null)), absent),
        (Op::Change, false) => (stored.clone(), forward(stored)),
        (Op::Change, true) => (backward(stored), stored.clone()),
    };
    let text = |spec: &Value| {
        if spec.is_null() && step.op != Op::Change {
            return None;
        }
        let spec = if spec.is_null() {
            Value::Object(Map::new())
        } else {
            spec.clone()
        };
        Some(shown::yaml_of([&Document {
            id: id.clone(),
            spec,
            text: None,
        }]))
    };
    let before = text(&before).filter(|_| step.op != Op::Create).unwrap_or_default();
    // A new resource without a field of its own still has a kind and a name.
    let after = match step.op {
        Op::Delete => String::new(),
        _ => text(&after).unwrap_or_else(|| text(&Value::Object(Map::new())).unwrap_or_default()),
    };
    let side = |label: &str| format!("{id} ({})", plain(label));
    let (old, new) = if exported {
        ("repository", "store")
    } else {
        ("store", step.source.as_str())
    };
    let old = side(if step.op == Op::Create { "absent" } else { old });
    let new = side(if step.op == Op::Delete { "absent" } else { new });
    let diff = TextDiff::from_lines(&before, &after);
    let text = diff.unified_diff().context_radius(3).header(&old, &new).to_string();
    text.lines().map(|line| plain(line) + "\n").collect()
}

/// `spec` with one field changed forward, or back.
fn with(spec: Value, change: &FieldChange, back: bool) -> Value {
    let value = if back { &change.from } else { &change.to };
    set(spec, &change.path, value)
}

/// Sets what stands at a path as [`crate::resource::changes`] writes it: maps are entered, lists of `{name, value}` too.
fn set(target: Value, path: &str, value: &Value) -> Value {
    let mut map = match target {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    if path.is_empty() {
        return value.clone();
    }
    let (key, rest) = match path.split_once('.') {
        Some((key, rest)) => (key, Some(rest)),
        None => (path, None),
    };
    let changed = match (rest, map.remove(key)) {
        (None, _) => value.clone(),
        (Some(rest), Some(inner @ Value::Object(_))) => set(inner, rest, value),
        // What is entered and is no map is a list by name, and the rest of the path is one name, dots and all.
        (Some(name), inner) => set_named(inner, name, value),
    };
    let nothing = changed.is_null() || changed.as_array().is_some_and(Vec::is_empty);
    if !nothing {
        map.insert(key.to_owned(), changed);
    }
    Value::Object(map)
}

/// Sets the value of one entry of a list of `{name, value}`; null removes it.
pub(super) fn set_named(list: Option<Value>, name: &str, value: &Value) -> Value {
    let mut entries = match list {
        Some(Value::Array(entries)) => entries,
        _ => vec![],
    };
    let place = entries
        .iter()
        .position(|entry| entry.get("name").and_then(Value::as_str) == Some(name));
    let entry = serde_json::json!({"name": name, "value": value});
    match (place, value.is_null()) {
        (Some(place), true) => drop(entries.remove(place)),
        (Some(place), false) => entries[place] = entry,
        (None, true) => {}
        (None, false) => entries.push(entry),
    }
    Value::Array(entries)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::resource::changes;

    use super::*;

    #[test]
    fn the_fields_of_a_step_give_the_other_side() {
        let cases = [
            (json!({}), json!({"command": ["a"], "replicas": 2})),
            (json!({"args": ["a"], "replicas": 2}), json!({"args": ["a", "b"]})),
            (
                json!({"env": [{"name": "A.B", "value": "1"}, {"name": "C", "value": "2"}]}),
                json!({"env": [{"name": "A.B", "value": "3"}]}),
            ),
            (json!({"env": [{"name": "A", "value": "1"}]}), json!({})),
            (json!({"a": {"b": {"c": 1}}, "d": 1}), json!({"a": {"b": {"c": 2}}})),
            (json!({"a": {"b": 1}}), json!({"a": [1]})),
        ];
        for (from, to) in cases {
            let fields = changes(&from, &to);
            let forward = fields.iter().fold(from.clone(), |spec, field| with(spec, field, false));
            assert_eq!(forward, to);
            let back = fields.iter().fold(to.clone(), |spec, field| with(spec, field, true));
            assert_eq!(back, from);
        }
    }

    fn step(op: Op, source: &str, from: &Value, to: &Value) -> Step {
        Step {
            op,
            resource: "server/git".into(),
            fields: changes(from, to),
            source: source.into(),
        }
    }

    #[test]
    fn every_step_has_two_sides() {
        let id: Id = "server/git".parse().unwrap();
        let (old, new) = (json!({"command": ["a"]}), json!({"command": ["b"]}));
        let file = "servers/git.yaml:1@3fa2c1e";
        let none = Value::Null;
        for (step, stored, heads) in [
            (
                step(Op::Create, file, &none, &new),
                &none,
                "(absent) (servers/git.yaml:1@3fa2c1e)",
            ),
            (step(Op::Create, "store", &none, &new), &new, "(absent) (store)"),
            (
                step(Op::Change, file, &old, &new),
                &old,
                "(store) (servers/git.yaml:1@3fa2c1e)",
            ),
            (step(Op::Change, "store", &old, &new), &new, "(repository) (store)"),
            (step(Op::Delete, file, &old, &none), &old, "(store) (absent)"),
            (step(Op::Delete, "store", &old, &none), &none, "(repository) (absent)"),
        ] {
            let text = between(&id, &step, stored);
            let mut lines = text.lines();
            let head = |line: Option<&str>| {
                line.unwrap()
                    .split_once(" (")
                    .map(|(_, label)| format!("({label}"))
                    .unwrap()
            };
            assert_eq!(
                format!("{} {}", head(lines.next()), head(lines.next())),
                heads,
                "{text}"
            );
            assert_eq!(text.contains("\n-"), step.op != Op::Create, "{text}");
            assert_eq!(
                text.lines().skip(2).any(|line| line.starts_with('+')),
                step.op != Op::Delete,
                "{text}"
            );
        }
    }
}
