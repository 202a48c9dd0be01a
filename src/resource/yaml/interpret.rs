//! From trees to declarations: kind, name and scope are found, the fields are checked, every fault gets its place.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::kit::{Diagnostic, Name, Position, nearest};

use super::node::{Data, Found, Node, Tree};
use super::source::{Source, Span};
use super::{Clear, Parsed, ParsedFile};
use crate::resource::document::{Document, Problem};
use crate::resource::id::{Id, Scope};
use crate::resource::kind::{Declared as _, KINDS, Kind, Reference, kind_named};
use crate::resource::secret::{Opening, Secret};
use crate::resource::shape::{API_VERSION, article, cut, found};
use crate::resource::tree::{Placed, Unreadable};

/// Of very many faults of one file this many are told.
const MOST_DIAGNOSTICS: usize = 100;

/// Puts together what one file declares.
pub struct Interpreter<'s, 't> {
    source: &'s Source<'t>,
    bytes: &'s dyn Fn() -> Arc<[u8]>,
    clear: Clear,
    /// Whether the file holds one document.
    alone: bool,
    /// What has been found.
    pub file: ParsedFile,
}

/// A declaration in a document: a mapping of its own or an item of a group.
pub struct Item<'n, 't> {
    pub node: &'n Node<'t>,
    /// The group's kind.
    pub implied: Option<&'static Kind>,
}

/// Whether a document is of the grouped form: it names no kind, and some key is the plural of one.
pub fn is_grouped(root: &Node<'_>) -> bool {
    root.entry("kind").is_none()
        && root.entry("name").is_none()
        && root
            .entries()
            .iter()
            .any(|(key, _)| key.text().is_some_and(|key| group(key).is_some()))
}

/// The kind of which this is the plural.
pub fn group(key: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.plural == key)
}

impl<'s, 't> Interpreter<'s, 't> {
    pub fn new(source: &'s Source<'t>, bytes: &'s dyn Fn() -> Arc<[u8]>, clear: Clear, alone: bool) -> Self {
        let file = ParsedFile {
            path: source.path.to_owned(),
            ..ParsedFile::default()
        };
        Self {
            source,
            bytes,
            clear,
            alone,
            file,
        }
    }

    fn tell(&mut self, diagnostic: Diagnostic) {
        if self.file.diagnostics.len() < MOST_DIAGNOSTICS {
            self.file.diagnostics.push(diagnostic);
        }
    }

    fn fault(&mut self, span: Span, message: impl Into<String>) {
        let it = self.source.at(span, message);
        self.tell(it);
    }

    fn fault_with_hint(&mut self, span: Span, message: impl Into<String>, hint: impl Into<String>) {
        let it = self.source.at(span, message).hint(hint);
        self.tell(it);
    }

    fn unreadable(&mut self, id: Option<Id>) {
        self.file.unreadable.push(Unreadable {
            path: self.source.path.to_owned(),
            // Where the name could be told, nothing needs to be looked for.
            bytes: id.is_none().then(|| (self.bytes)()),
            id,
            whole_file: false,
        });
    }

    /// Takes one document.
    pub fn document(&mut self, tree: &Tree<'t>, value: Option<Value>) {
        for fault in &tree.faults {
            let mut it = self.source.at(fault.span, fault.message.as_str());
            it.hint.clone_from(&fault.hint);
            if let Some((first, words)) = fault.note {
                it.note = Some(format!("{}:{}:{}: {words}", self.source.path, first.line, first.column));
            }
            self.tell(it);
        }
        let root = &tree.root;
        let Some(value) = value else {
            return self.identify_faulty(root);
        };
        match value {
            Value::Null => {}
            Value::Object(map) if is_grouped(root) => self.grouped(root, map),
            Value::Object(map) => self.item(
                &Item {
                    node: root,
                    implied: None,
                },
                map,
            ),
            other => {
                let hint = match &other {
                    Value::String(text) if text.contains(':') => "put a space behind the colon: key: value".to_owned(),
                    Value::Array(_) => "separate documents with ---, or name the group: servers: [...]".to_owned(),
                    _ => "a document begins with kind and name".to_owned(),
                };
                let message = format!("a document is a mapping of fields, found {}", found(&other));
                self.fault_with_hint(root.span(), message, hint);
                self.unreadable(None);
            }
        }
    }

    /// A document with faults is not read further, but who is meant may be told.
    fn identify_faulty(&mut self, root: &Node<'_>) {
        if !is_grouped(root) {
            let id = identity(root, None);
            return self.unreadable(id);
        }
        for (key, list) in root.entries() {
            let kind = key.text().and_then(group);
            match (kind, list.data()) {
                (Some(kind), Data::List(items, _)) => {
                    for item in items {
                        let id = identity(item, Some(kind));
                        self.unreadable(id);
                    }
                }
                _ if key.text() == Some("apiVersion") => {}
                _ => self.unreadable(None),
            }
        }
    }

    fn grouped(&mut self, root: &Node<'t>, mut map: Map<String, Value>) {
        let version = self.version(root, &mut map);
        for (key, node) in root.entries() {
            let Some(text) = key.text() else { continue };
            let Some(value) = map.remove(text) else { continue };
            let Some(kind) = group(text) else {
                let plurals = || KINDS.iter().map(|kind| kind.plural);
                let hint = nearest(text, plurals()).map_or_else(
                    || format!("groups are {}", plurals().collect::<Vec<_>>().join(", ")),
                    |near| format!("did you mean \"{near}\"?"),
                );
                self.fault_with_hint(key.span(), format!("unknown group \"{}\"", cut(text)), hint);
                self.unreadable(None);
                continue;
            };
            let items = match (value, node.data()) {
                (Value::Null, _) => continue,
                (Value::Array(values), Data::List(nodes, _)) => nodes.iter().zip(values),
                (other, _) => {
                    let message = format!("{text}: expected a list of {}, found {}", kind.plural, found(&other));
                    self.fault(node.span(), message);
                    self.unreadable(None);
                    continue;
                }
            };
            for (node, value) in items {
                match value {
                    Value::Object(_) if !version => self.unreadable(identity(node, Some(kind))),
                    Value::Object(map) => self.item(
                        &Item {
                            node,
                            implied: Some(kind),
                        },
                        map,
                    ),
                    other => {
                        let message = format!(
                            "expected the fields of {} {}, found {}",
                            article(kind.name),
                            kind.name,
                            found(&other)
                        );
                        self.fault_with_hint(node.span(), message, "an entry begins with its name: - name: …");
                        self.unreadable(None);
                    }
                }
            }
        }
    }

    /// Takes `apiVersion` out: whether it is a known one.
    fn version(&mut self, node: &Node<'t>, map: &mut Map<String, Value>) -> bool {
        let Some(value) = map.remove("apiVersion") else {
            return true;
        };
        if value == API_VERSION || value.is_null() {
            return true;
        }
        let message = match &value {
            Value::String(text) => format!("unknown apiVersion \"{}\"", cut(text)),
            other => format!("apiVersion: expected text, found {}", found(other)),
        };
        let span = node.at("apiVersion").value.span();
        self.fault_with_hint(span, message, format!("known: {API_VERSION}"));
        false
    }

    /// Takes one declaration.
    fn item(&mut self, item: &Item<'_, 't>, mut map: Map<String, Value>) {
        let node = item.node;
        let before = self.file.diagnostics.len();
        let mut sound = self.version(node, &mut map);
        let kind = self.kind(item, &mut map);
        let name = self.name(node, &mut map, "name", kind.is_some());
        let scope = match kind {
            Some(kind) if kind.scoped => self.scope(node, &mut map),
            _ => Some(Scope::Global),
        };
        sound &= kind.is_some() && name.is_some() && scope.is_some();
        let id = match (kind, name, scope) {
            (Some(kind), Some(name), Some(scope)) => Some(Id::scoped(kind, scope, name)),
            _ => None,
        };
        let spec = Value::Object(map);
        match (&id, kind) {
            (Some(id), _) => match Document::with_references(id.clone(), spec) {
                Ok((document, references)) if sound => {
                    if let Some(document) = self.secret(item, document) {
                        return self.valid(node, document, references);
                    }
                }
                Ok(_) => {}
                Err(problems) => self.problems(node, problems),
            },
            // Without an identity the fields can be looked at all the same.
            (None, Some(kind)) => self.problems(node, kind.shape.check(&spec)),
            (None, None) => {}
        }
        let told = before.min(self.file.diagnostics.len());
        if kind.is_some_and(|kind| kind.name == Secret::NAME) {
            self.file.diagnostics[told..].iter_mut().for_each(withhold);
        }
        self.file.diagnostics[told..].sort_by_key(|it| (it.line, it.column));
        self.unreadable(id);
    }

    /// The rules of secrets in files: nothing in the clear, and what is encrypted is a file of its own.
    fn secret(&mut self, item: &Item<'_, 't>, document: Document) -> Option<Document> {
        let name = &document.id.name;
        match document.opening() {
            Opening::Sealed if self.alone && item.implied.is_none() => Some(document.with_text(self.source.text)),
            // What `get` printed of several comes back as one text.
            Opening::Sealed if self.clear == Clear::Taken && item.implied.is_none() => {
                let text = self.lines(item.node);
                Some(document.with_text(&text))
            }
            Opening::Sealed => {
                let hint = format!("move it into a file of its own, {}", document.id.canonical_path());
                self.fault_with_hint(
                    item.node.at("sops").value.span(),
                    "an encrypted secret beside other documents",
                    hint,
                );
                None
            }
            Opening::Clear if self.clear == Clear::Refused => {
                let hint = format!(
                    "encrypt it: mcpctl create secret {name} --data KEY=VALUE does and commits it; then take it out here"
                );
                let data = item.node.at("data");
                let span = data.key.map_or_else(|| data.value.span(), Node::span);
                self.fault_with_hint(span, format!("secret/{name} {IN_THE_CLEAR}"), hint);
                None
            }
            _ => Some(document),
        }
    }

    /// The lines of one document of several.
    fn lines(&self, node: &Node<'t>) -> String {
        let last = node.end.line - u32::from(node.end.column == 1);
        let lines = (node.start.line..=last).map(|line| self.source.line(line));
        let kept = lines.take_while(|line| *line != "---" && *line != "...");
        kept.flat_map(|line| [line, "\n"]).collect()
    }

    fn valid(&mut self, node: &Node<'t>, document: Document, references: Vec<Reference>) {
        let secret = document.id.kind().name == Secret::NAME;
        let locate = |path: &str| {
            let mut place = self.source.located(node.at(path).value.span());
            // The values of a secret may stand in the same line.
            if secret {
                place.line.clear();
            }
            place
        };
        let start = node.span();
        let references = references.into_iter().map(|it| {
            let at = locate(&it.path);
            (it, at)
        });
        let parsed = Parsed {
            name_at: locate("name"),
            references: references.collect(),
            placed: Arc::new(Placed {
                digest: document.digest(),
                document: Arc::new(document),
                path: self.source.path.to_owned(),
                position: Position {
                    line: start.line,
                    column: start.column,
                },
            }),
        };
        self.file.documents.push(parsed);
    }

    fn kind(&mut self, item: &Item<'_, 't>, map: &mut Map<String, Value>) -> Option<&'static Kind> {
        let node = item.node;
        let value = map.remove("kind");
        let names = || KINDS.iter().map(|kind| kind.name);
        let value = match (value, item.implied) {
            (None, Some(kind)) => return Some(kind),
            (None, None) => {
                let keys = || {
                    node.entries()
                        .iter()
                        .filter_map(|(key, _)| key.text().map(|text| (key, text)))
                };
                let near = |word: &str, of: &str| nearest(word, [of]).is_some();
                if let Some((key, text)) = keys().find(|(_, text)| near(text, "kind")) {
                    let message = format!("unknown field \"{}\"", cut(text));
                    self.fault_with_hint(key.span(), message, "did you mean \"kind\"?");
                } else if let Some(group) = keys().find_map(|(_, text)| kind_named(text))
                    && keys().next().is_some_and(|(_, text)| kind_named(text).is_some())
                {
                    let hint = format!("did you mean \"{}: [...]\" or \"kind: {}\"?", group.plural, group.name);
                    self.fault_with_hint(node.span(), "kind is missing", hint);
                } else {
                    let hint = format!(
                        "begin with \"kind: server\"; kinds are {}",
                        names().collect::<Vec<_>>().join(", ")
                    );
                    self.fault_with_hint(node.span(), "kind is missing", hint);
                }
                return None;
            }
            (Some(value), _) => value,
        };
        let span = node.at("kind").value.span();
        let Value::String(word) = value else {
            self.fault(span, format!("kind: expected text, found {}", found(&value)));
            return None;
        };
        match (KINDS.iter().find(|kind| kind.name == word), item.implied) {
            (Some(kind), Some(implied)) if kind.name != implied.name => {
                self.fault(span, format!("a {} in the group {}", kind.name, implied.plural));
                None
            }
            (Some(kind), _) => Some(kind),
            (None, _) => {
                let hint = kind_named(&word.to_ascii_lowercase())
                    .map(|kind| kind.name)
                    .or_else(|| nearest(&word, names()))
                    .map_or_else(
                        || format!("kinds are {}", names().collect::<Vec<_>>().join(", ")),
                        |near| format!("did you mean \"{near}\"?"),
                    );
                self.fault_with_hint(span, format!("unknown kind \"{}\"", cut(&word)), hint);
                None
            }
        }
    }

    /// Takes a name out of the fields.
    fn name(&mut self, node: &Node<'t>, map: &mut Map<String, Value>, field: &str, needed: bool) -> Option<Name> {
        let value = map.remove(field);
        let span = || match node.at(field) {
            Found {
                key: Some(key), value, ..
            } if value.is_null() => key.span(),
            found => found.value.span(),
        };
        match value {
            None => {
                // A misspelt name is told as an unknown field already.
                if needed && !map.keys().any(|key| nearest(key, [field]).is_some()) {
                    self.fault(node.span(), format!("{field} is missing"));
                }
                None
            }
            Some(Value::String(text)) => {
                let name = text.parse::<Name>().ok();
                if name.is_none() {
                    let message = format!("\"{}\" is not a name", cut(&text));
                    let hint = "use 1 to 63 of a-z, 0-9 and -, with a letter or digit at both ends";
                    self.fault_with_hint(span(), message, hint);
                }
                name
            }
            Some(value) => {
                let message = format!("{field}: expected text, found {}", found(&value));
                let written = node.at(field).value.text().unwrap_or_default().to_owned();
                if written.parse::<Name>().is_ok() {
                    self.fault_with_hint(span(), message, format!("quote it: \"{written}\""));
                } else {
                    self.fault(span(), message);
                }
                None
            }
        }
    }

    fn scope(&mut self, node: &Node<'t>, map: &mut Map<String, Value>) -> Option<Scope> {
        if map.get("project").is_some_and(|it| !it.is_null()) {
            return self.name(node, map, "project", false).map(Scope::Project);
        }
        map.remove("project");
        Some(Scope::Global)
    }

    /// Gives the faults of a declaration their places.
    fn problems(&mut self, node: &Node<'t>, problems: Vec<Problem>) {
        for problem in problems {
            let found = node.at(&problem.path);
            let span = match found.key {
                Some(key) if found.whole && (problem.key || found.value.is_null()) => key.span(),
                _ => found.value.span(),
            };
            let message = if problem.key || problem.path.is_empty() {
                problem.message.clone()
            } else {
                problem.to_string()
            };
            let mut it = self.source.at(span, message);
            it.hint = problem.hint;
            self.tell(it);
        }
    }
}

/// How a secret in the clear is told.
const IN_THE_CLEAR: &str = "stands in the clear";

/// Whether a diagnostic says that a secret stands in the clear.
#[must_use]
pub fn is_clear_secret(diagnostic: &Diagnostic) -> bool {
    diagnostic.message.ends_with(IN_THE_CLEAR)
}

/// Takes out of a diagnostic what may be a secret value: it goes to logs and to people who may not see it.
pub fn withhold(diagnostic: &mut Diagnostic) {
    diagnostic.excerpt = None;
    if let Some((expected, _)) = diagnostic.message.split_once(", found ") {
        diagnostic.message = format!("{expected}, found something else");
        diagnostic.hint = None;
    }
    // What was read as a tag or as a number may be a value that lacks its quotes.
    for text in [Some(&mut diagnostic.message), diagnostic.hint.as_mut()]
        .into_iter()
        .flatten()
    {
        for words in ["tags are not allowed", "quote it"] {
            if text.strip_prefix(words).is_some_and(|rest| rest.starts_with(": ")) {
                words.clone_into(text);
            }
        }
    }
}

/// Who a declaration is about, where that can be told without reading it.
fn identity(node: &Node<'_>, implied: Option<&'static Kind>) -> Option<Id> {
    let only = |key: &str| {
        let mut values = node.entries().iter().filter(|(k, _)| k.text() == Some(key));
        values
            .next()
            .filter(|_| values.next().is_none())
            .map(|(_, value)| value.text())
    };
    let kind = match (implied, only("kind")) {
        (Some(kind), None) => kind,
        (_, Some(Some(word))) => KINDS.iter().find(|kind| kind.name == word)?,
        _ => return None,
    };
    let name = only("name")??.parse().ok()?;
    let scope = match only("project").filter(|_| kind.scoped) {
        Some(project) => Scope::Project(project?.parse().ok()?),
        None => Scope::Global,
    };
    Some(Id::scoped(kind, scope, name))
}
