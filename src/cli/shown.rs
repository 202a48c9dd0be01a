//! Values as text: JSON and YAML for programs, rows for people.

use serde::Serialize;
use serde_json::Value;

use crate::kit::time::{Timestamp, age, now};
use crate::record::{Conflict, Event, InstanceStatus, Mutation, Run};
use crate::resource::{BUILT_IN, Declared as _, Document, Id, KINDS, Secret, yaml};
use crate::wire::{Item, ItemStatus, words};

use super::error::Failure;

/// JSON in one line, safe on a terminal too.
pub(super) fn json_line<T: Serialize>(value: &T) -> String {
    safe(serde_json::to_string(value).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}")))
}

/// JSON for reading, safe on a terminal too.
pub(super) fn json<T: Serialize>(value: &T) -> String {
    safe(serde_json::to_string_pretty(value).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}")))
}

/// JSON escapes the first 32 control characters by itself; terminals act on others as well.
fn safe(json: String) -> String {
    if !json.chars().any(|c| c.is_control() && c != '\n') {
        return json;
    }
    json.chars()
        .map(|c| {
            if c.is_control() && c != '\n' {
                format!("\\u{:04x}", u32::from(c))
            } else {
                c.to_string()
            }
        })
        .collect()
}

/// Documents as YAML, ready for `apply`.
pub(super) fn yaml_of<'a>(documents: impl IntoIterator<Item = &'a Document>) -> String {
    let texts: Vec<String> = documents
        .into_iter()
        .map(|document| {
            let text = yaml::print(document);
            if text.ends_with('\n') { text } else { text + "\n" }
        })
        .collect();
    texts.join("---\n")
}

/// A record as YAML, safe on a terminal: the writer escapes what is not for printing.
pub(super) fn yaml_record<T: Serialize>(record: &T) -> Result<String, Failure> {
    serde_yaml::to_string(record).map_err(|error| Failure::Output(std::io::Error::other(error)))
}

/// The document that mcpd's answer holds.
pub(super) fn document(value: &Value) -> Result<Document, Failure> {
    let unusable = |what: String| Failure::Given {
        message: format!("mcpd sent a resource that this mcpctl can't read: {what}"),
        hint: Some("mcpctl and mcpd may be of different versions: \"mcpctl version\", \"mcpctl status\"".to_owned()),
    };
    let text = |field: &str| value.get(field).and_then(Value::as_str);
    let kind = text("kind").unwrap_or_default();
    let name = text("name").unwrap_or_default();
    // A field called as the scope is belongs to scoped kinds only; the others may have one of their own.
    let scoped = KINDS.iter().any(|row| row.name == kind && row.scoped);
    let identity = match text("project").filter(|_| scoped) {
        Some(project) => format!("{kind}/{project}/{name}"),
        None => format!("{kind}/{name}"),
    };
    let id: Id = identity
        .parse()
        .map_err(|error: crate::resource::NotAnId| unusable(error.to_string()))?;
    let mut spec = value.as_object().cloned().unwrap_or_default();
    for field in ["apiVersion", "kind", "name"] {
        spec.remove(field);
    }
    if scoped {
        spec.remove("project");
    }
    Document::new(id, &Value::Object(spec)).map_err(|problems| {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        unusable(problems.join("; "))
    })
}

/// The document of an item as it stands in the repository.
pub(super) fn written(item: &Item) -> Result<Document, Failure> {
    let document = document(&item.resource)?;
    Ok(match &item.text {
        Some(text) => document.with_text(text),
        None => document,
    })
}

/// The document of an item for people: of a secret the keys, and no values.
pub(super) fn masked(item: &Item) -> Result<Document, Failure> {
    let document = document(&item.resource)?;
    if document.id.kind().name == Secret::NAME {
        return Ok(Document {
            spec: crate::resource::masked(&document.spec),
            ..document
        });
    }
    Ok(document)
}

/// `kind/name` of an item, also where the document can't be read.
pub(super) fn identity(item: &Item) -> String {
    document(&item.resource).map_or_else(
        |_| {
            let text = |field: &str| item.resource.get(field).and_then(Value::as_str).unwrap_or("?");
            format!("{}/{}", text("kind"), text("name"))
        },
        |document| document.id.to_string(),
    )
}

/// Whether an item is no declaration, but ships with mcpd.
pub(super) fn is_built_in(item: &Item) -> bool {
    item.status.get("origin").is_some_and(|origin| origin == BUILT_IN)
}

/// How an item stands, as far as it is there.
pub(super) fn status(item: &Item) -> ItemStatus {
    serde_json::from_value(item.status.clone()).unwrap_or_default()
}

/// "12s" since a time.
pub(super) fn since(then: Timestamp) -> String {
    age(then, now())
}

/// "in 12s", or "now" once it has come.
pub(super) fn until(then: Timestamp) -> String {
    let now = now();
    if then <= now {
        "now".to_owned()
    } else {
        format!("in {}", age(now, then))
    }
}

fn count(value: Option<usize>) -> String {
    value.map(|n| n.to_string()).unwrap_or_default()
}

fn text_of(item: &Item, field: &str) -> String {
    match item.resource.get(field) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) => {
            let words: Vec<String> = items
                .iter()
                .map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned))
                .collect();
            words.join(",")
        }
        Some(other) => other.to_string(),
    }
}

/// The heading of a declared kind.
pub(super) fn heading(kind: &str, wide: bool) -> Vec<&'static str> {
    let (mut heading, more): (Vec<_>, &[_]) = match kind {
        "server" => (
            vec!["NAME", "READY", "STATE", "TOOLS", "AGE", "REASON"],
            &["TOKENS", "REPLICAS", "SOURCE", "DECLARED"],
        ),
        "project" => (
            vec!["NAME", "SERVERS", "URL"],
            &["TOOLS", "TOKENS", "DESCRIPTION", "DECLARED"],
        ),
        "prompt" => (
            vec!["NAME", "PROJECT", "PRIORITY", "SUMMARY"],
            &["TAGS", "LINK", "DECLARED"],
        ),
        "template" => (
            vec!["NAME", "VERSION", "ORIGIN", "SOURCE"],
            &["DESCRIPTION", "DECLARED"],
        ),
        _ => (vec!["NAME"], &["DESCRIPTION", "DECLARED"]),
    };
    if wide {
        heading.extend(more);
    }
    heading
}

/// The cells of a declared resource, under [`heading`].
pub(super) fn cells(kind: &str, item: &Item, wide: bool, url: &str) -> Vec<String> {
    let name = text_of(item, "name");
    let status = status(item);
    let described = [text_of(item, "description"), status.provenance.to_string()];
    let (mut cells, more) = match kind {
        "server" => {
            let changed = status.instances.iter().map(|instance| instance.since).max();
            let replicas = or_default(item, kind, "replicas");
            (
                vec![
                    name,
                    status.ready,
                    status.state,
                    count(status.tools),
                    changed.map(since).unwrap_or_default(),
                    status.reason,
                ],
                vec![
                    count(status.schema_tokens),
                    replicas,
                    source(item),
                    status.provenance.to_string(),
                ],
            )
        }
        "project" => {
            let address = format!("{url}/projects/{name}/mcp");
            let [description, declared] = described;
            let more = vec![count(status.tools), count(status.schema_tokens), description, declared];
            (vec![name, text_of(item, "servers"), address], more)
        }
        "prompt" => (
            vec![
                name,
                text_of(item, "project"),
                or_default(item, kind, "priority"),
                text_of(item, "summary"),
            ],
            vec![
                text_of(item, "tags"),
                text_of(item, "link"),
                status.provenance.to_string(),
            ],
        ),
        "template" => {
            let origin = if is_built_in(item) { BUILT_IN } else { "declared" };
            (
                vec![name, text_of(item, "version"), origin.to_owned(), source(item)],
                described.to_vec(),
            )
        }
        _ => (vec![name], described.to_vec()),
    };
    if wide {
        cells.extend(more);
    }
    cells
}

/// Where a server or the servers of a template come from.
fn source(item: &Item) -> String {
    let fields = ["packageName", "dockerImage", "externalUrl"].iter();
    fields
        .map(|field| text_of(item, field))
        .find(|text| !text.is_empty())
        .unwrap_or_else(|| text_of(item, "command").replace(',', " "))
}

/// A field's value; where it is absent its default, which documents leave out and people want to see.
fn or_default(item: &Item, kind: &str, field: &str) -> String {
    let said = text_of(item, field);
    if !said.is_empty() {
        return said;
    }
    let fields = KINDS
        .iter()
        .filter(|row| row.name == kind)
        .flat_map(|row| row.shape.fields());
    let default = fields.filter(|it| it.name == field).find_map(|it| it.default.as_ref());
    default.map_or_else(String::new, ToString::to_string)
}

/// A record that can stand in a table.
pub(super) trait Recording: Serialize {
    /// The heading of its table.
    const HEADING: &'static [&'static str];
    /// Its row.
    fn cells(&self) -> Vec<String>;
    /// Its name, for `-o name`.
    fn name(&self) -> String;
    /// Whether `get KIND NAME` means it.
    fn answers_to(&self, name: &str) -> bool;
}

impl Recording for InstanceStatus {
    const HEADING: &'static [&'static str] = &["NAME", "STATE", "TOOLS", "AGE", "FAILURES", "RETRY", "REASON"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.instance.to_string(),
            self.state.to_string(),
            count(self.tools),
            since(self.since),
            self.failures.to_string(),
            self.next_retry.map(until).unwrap_or_default(),
            self.reason.clone(),
        ]
    }

    fn name(&self) -> String {
        format!("instance/{}", self.instance)
    }

    fn answers_to(&self, name: &str) -> bool {
        self.instance.to_string() == name || self.instance.server.as_str() == name
    }
}

impl Recording for Conflict {
    const HEADING: &'static [&'static str] = &["NUMBER", "RESOURCE", "LOST", "COMMIT", "PLACE", "AGE"];

    fn cells(&self) -> Vec<String> {
        let lost = match (&self.store, &self.repository) {
            (Some(_), Some(_)) => words::lost(self).join(","),
            (Some(_), None) => "its deletion".to_owned(),
            (None, _) => "all of it: deleted in the store".to_owned(),
        };
        let commit = self.commit.chars().take(7).collect();
        vec![
            self.number.to_string(),
            self.id.to_string(),
            lost,
            commit,
            self.place.clone().unwrap_or_default(),
            since(self.at),
        ]
    }

    fn name(&self) -> String {
        format!("conflict/{}", self.id)
    }

    fn answers_to(&self, name: &str) -> bool {
        name.parse::<Id>().map_or_else(
            |_| self.id.name.as_str() == name || self.number.to_string() == name,
            |id| id == self.id,
        )
    }
}

impl Recording for Event {
    const HEADING: &'static [&'static str] = &["AGE", "LEVEL", "ABOUT", "REASON", "MESSAGE"];

    fn cells(&self) -> Vec<String> {
        let level = match self.level {
            crate::record::Level::Info => "info",
            crate::record::Level::Warning => "warning",
        };
        vec![
            since(self.at),
            level.to_owned(),
            self.about.clone(),
            self.reason.clone(),
            self.message.clone(),
        ]
    }

    fn name(&self) -> String {
        format!("event/{}", self.sequence)
    }

    fn answers_to(&self, name: &str) -> bool {
        let of_resource = || name.parse::<Id>().is_ok_and(|id| self.is_about(&id.to_string()));
        self.is_about(name) || self.sequence.to_string() == name || of_resource()
    }
}

impl Recording for Mutation {
    const HEADING: &'static [&'static str] = &["REVISION", "AGE", "BY", "DOOR", "COMMIT", "MESSAGE"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.revision.to_string(),
            since(self.at),
            self.actor.name.clone(),
            self.actor.door.clone(),
            self.commit.iter().flat_map(|commit| commit.chars().take(7)).collect(),
            self.message.clone(),
        ]
    }

    fn name(&self) -> String {
        format!("revision/{}", self.revision)
    }

    fn answers_to(&self, name: &str) -> bool {
        self.revision.to_string() == name
    }
}

/// The beginning of a commit's id, or of a folder's digest.
pub(super) fn short(head: &str) -> String {
    head.chars().take(7).collect()
}

/// Words parted by commas, each once.
pub(super) fn each_once<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let mut all: Vec<&str> = vec![];
    for word in words.filter(|word| !word.is_empty()) {
        if !all.contains(&word) {
            all.push(word);
        }
    }
    all.join(", ")
}

/// `3fa2c1e → 9ab12cd`, or the head that stayed.
pub(super) fn heads(run: &Run) -> String {
    match (&run.before, &run.after) {
        (Some(before), Some(after)) if before != after => format!("{} → {}", short(before), short(after)),
        (_, Some(head)) | (Some(head), None) => short(head),
        (None, None) => String::new(),
    }
}

impl Recording for Run {
    const HEADING: &'static [&'static str] = &["ID", "STATE", "TRIGGER", "BY", "HEAD", "AGE", "OUTCOME"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.to_string(),
            self.state.to_string(),
            each_once(self.causes.iter().map(|cause| cause.trigger.as_str())),
            each_once(self.causes.iter().map(|cause| cause.by.as_str())),
            heads(self),
            since(self.asked),
            self.outcome(),
        ]
    }

    fn name(&self) -> String {
        format!("run/{}", self.id)
    }

    fn answers_to(&self, name: &str) -> bool {
        self.id.to_string() == name
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_stays_json_and_tames_terminals() {
        let value = json!({"a": "\u{1b}\u{9b}\u{7f}é\n"});
        for text in [json_line(&value), json(&value)] {
            assert!(text.chars().all(|c| !c.is_control() || c == '\n'), "{text:?}");
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
        }
    }

    #[test]
    fn a_resource_is_read_or_refused() {
        let value = json!({"kind": "server", "name": "time", "command": ["a"], "apiVersion": "mcpctl/v1"});
        let read = document(&value).unwrap();
        assert_eq!(
            (read.id.to_string(), read.spec),
            ("server/time".into(), json!({"command": ["a"]}))
        );
        for bad in [
            json!({}),
            json!({"kind": "server"}),
            json!({"kind": "x", "name": "y"}),
            json!(7),
        ] {
            assert!(document(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn rows_have_as_many_cells_as_their_headings() {
        let item = Item {
            resource: json!({"kind": "x", "name": "y"}),
            status: Value::Null,
            revision: 1,
            text: None,
        };
        for kind in KINDS.iter().map(|kind| kind.name).chain(["other"]) {
            for wide in [false, true] {
                assert_eq!(cells(kind, &item, wide, "").len(), heading(kind, wide).len(), "{kind}");
            }
        }
    }
}
