//! `mcpctl patch`.

use clap::Args;
use reqwest::Method;
use serde_json::{Map, Value};

use crate::kit::nearest;
use crate::resource::yaml::inline;
use crate::resource::{Document, Id, Shape, field_changes};
use crate::wire::{Item, Op, Step};

use super::client::Sending;
use super::diff::set_named;
use super::error::Failure;
use super::noun;
use super::{Outcome, Output, Session, help, shown, wait};

/// Change fields of a resource
///
/// Each change is FIELD=VALUE. The field may be a dotted path; the value is read as the field's type says, lists as
/// [a, b], text as it stands or as a quoted string of YAML or JSON. A list is replaced as a whole, but for env, whose
/// variables are reached by name. null takes the field (or the variable) away; '"null"' is the text.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  mcpctl patch server git replicas=2
  mcpctl patch server time env.TZ=Europe/Vienna timeoutSeconds=null
  mcpctl patch project/demo 'servers=[time, git]'")]
pub(super) struct Patch {
    /// The kind, or KIND/NAME
    kind: String,
    /// The name (where KIND has none), then FIELD=VALUE, once or more
    #[arg(value_name = "NAME FIELD=VALUE", required = true)]
    words: Vec<String>,
    #[command(flatten)]
    within: noun::InProject,
}

impl Patch {
    pub(super) async fn run(self, session: &Session) -> Result<Outcome, Failure> {
        let form = session.form(help::CHANGE)?;
        let (name, words) = match self.words.split_first() {
            Some((name, words)) if !self.kind.contains('/') => (Some(name.as_str()), words),
            _ => (None, self.words.as_slice()),
        };
        let id = noun::resource(&self.kind, name, &self.within)?;
        if words.is_empty() {
            return Err(Failure::usage("nothing to change is given", "as replicas=2".to_owned()));
        }
        let client = session.client()?;
        let route = noun::path(&id);
        let before: Item = client.get(&route).await?;
        let old = shown::document(&before.resource)?;
        let merge = meant(&id, &old.spec, words)?;
        let sending = Sending {
            body: Some((wait::MERGE_PATCH, merge.to_string())),
            if_match: Some(before.revision),
            ..Sending::default()
        };
        let after: Item = client.call(Method::PATCH, &route, &sending).await?;
        let new = shown::document(&after.resource)?;
        match form {
            Output::Json => session.terminal.line(&shown::json(&after.resource))?,
            Output::Name => session.terminal.line(&id.to_string())?,
            _ => session.terminal.plan(&said(&old, &new))?,
        }
        Ok(Outcome::Done)
    }
}

/// The line that says what became of it.
fn said(old: &Document, new: &Document) -> String {
    let fields = field_changes(Some(old), Some(new));
    if fields.is_empty() {
        return format!("  {} is so already", new.id);
    }
    let step = Step {
        op: Op::Change,
        resource: new.id.to_string(),
        fields,
        source: String::new(),
    };
    step.to_string()
}

/// The JSON merge patch that the words mean.
pub(super) fn meant(id: &Id, spec: &Value, words: &[String]) -> Result<Value, Failure> {
    let mut merge = Value::Object(Map::new());
    for word in words {
        let (path, text) = word
            .split_once('=')
            .filter(|(path, _)| !path.is_empty())
            .ok_or_else(|| {
                Failure::usage(
                    format!("{word:?} is not of the form FIELD=VALUE"),
                    "as replicas=2".to_owned(),
                )
            })?;
        let shape: &Shape = id.kind().shape;
        // A list of {name, value} is entered by name; merge patches take lists whole.
        if let Some((list, name)) = path.split_once('.')
            && shape.field(&format!("{list}[0].value")).is_some()
        {
            let value = typed(shape, &format!("{list}[0].value"), path, text)?;
            let current = merge.get(list).or_else(|| spec.get(list)).cloned();
            merge[list] = set_named(current, name, &value);
            continue;
        }
        let value = typed(shape, path, path, text)?;
        let mut target = &mut merge;
        for key in path.split('.') {
            if !target.is_object() {
                *target = Value::Object(Map::new());
            }
            target = &mut target[key];
        }
        *target = value;
    }
    Ok(merge)
}

/// A word's value, read as the field's type says. `shown` is the path that the user wrote.
fn typed(shape: &Shape, path: &str, shown: &str, text: &str) -> Result<Value, Failure> {
    let field = shape.field(path).filter(|_| !path.contains('[') || path != shown);
    let Some(field) = field else {
        let known: Vec<&str> = shape.fields().map(|field| field.name.as_str()).collect();
        let hint = if path.contains('[') {
            "a list is given whole, as args=[a, b]".to_owned()
        } else {
            nearest(shown, known.iter().copied()).map_or_else(
                || format!("fields are {}", known.join(", ")),
                |near| format!("did you mean \"{near}\"?"),
            )
        };
        return Err(Failure::usage(format!("no such field: {shown:?}"), hint));
    };
    if text == "null" {
        return Ok(Value::Null);
    }
    let unquoted = matches!(field, Shape::Text { .. } | Shape::Words(_))
        .then(|| quoted(text))
        .flatten();
    field
        .parse_word(unquoted.as_deref().unwrap_or(text))
        .map_err(|problem| Failure::usage(format!("{shown}: {problem}"), None))
}

/// The string inside of quotes, where the whole is one quoted string.
fn quoted(text: &str) -> Option<String> {
    let mark = text.chars().next().filter(|mark| matches!(mark, '"' | '\''))?;
    if text.len() < 2 || !text.ends_with(mark) {
        return None;
    }
    match inline(text) {
        Ok(Value::String(inside)) => Some(inside),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn patch(spec: &Value, words: &[&str]) -> Result<Value, String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        meant(&"server/git".parse().unwrap(), spec, &words).map_err(|failure| failure.lines().join("\n"))
    }

    #[test]
    fn words_are_typed_by_their_fields() {
        let spec = json!({"env": [{"name": "A", "value": "1"}, {"name": "B.C", "value": "2"}]});
        for (words, want) in [
            (vec!["replicas=2"], json!({"replicas": 2})),
            (vec!["description=2"], json!({"description": "2"})),
            (vec!["description="], json!({"description": ""})),
            (vec!["description=a=b"], json!({"description": "a=b"})),
            (vec!["description=null"], json!({"description": null})),
            (vec!["description=\"null\""], json!({"description": "null"})),
            (vec!["description='it''s'"], json!({"description": "it's"})),
            (vec!["description=\"a\\nb\""], json!({"description": "a\nb"})),
            (
                vec!["description=\"a\" or \"b\""],
                json!({"description": "\"a\" or \"b\""}),
            ),
            (vec!["description=\""], json!({"description": "\""})),
            (vec!["description='\"x\"'"], json!({"description": "\"x\""})),
            (vec!["update=\"recreate\""], json!({"update": "recreate"})),
            (
                vec!["env.D=\"4\""],
                json!({"env": [{"name": "A", "value": "1"}, {"name": "B.C", "value": "2"}, {"name": "D", "value": "4"}]}),
            ),
            (
                vec!["update=recreate", "replicas=null"],
                json!({"update": "recreate", "replicas": null}),
            ),
            (vec!["args=[a, \"2\"]"], json!({"args": ["a", "2"]})),
            (
                vec!["env.A=null", "env.B.C=3", "env.D=4"],
                json!({"env": [{"name": "B.C", "value": "3"}, {"name": "D", "value": "4"}]}),
            ),
        ] {
            assert_eq!(patch(&spec, &words), Ok(want), "{words:?}");
        }
    }

    #[test]
    fn words_that_do_not_fit_are_usage_errors() {
        for (word, want) in [
            ("replicas", "error: \"replicas\" is not of the form FIELD=VALUE"),
            ("=2", "is not of the form"),
            ("replica=2", "hint: did you mean \"replicas\"?"),
            ("replicas=many", "replicas: "),
            ("args[0]=x", "hint: a list is given whole"),
            ("kind=project", "no such field"),
        ] {
            let failure = patch(&json!({}), &[word]).unwrap_err();
            assert!(failure.contains(want), "{word}: {failure}");
        }
    }
}
