//! Merging by field: two sides changed one resource since they last agreed.
//!
//! A field that one side changed is taken from that side; one that both changed differently is the store's, and what the
//! repository said of it is told. Mappings are entered, `env` is entered by name, any other list is one field: the rule of
//! docs/GITOPS.md.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::record::FieldPath;
use crate::resource::{Document, Problem};

/// The field whose entries are told apart by name. Any other list has an order that means something.
const BY_NAME: &str = "env";

/// What both sides last agreed on, as far as it is known.
#[derive(Debug, Clone, Copy)]
pub enum Ancestor<'a> {
    /// They never agreed on this resource: every field was added, by one side or by both.
    Nothing,
    /// They did, and nobody knows on what.
    Forgotten,
    /// This.
    Known(&'a Document),
}

/// What a merge comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// What is to be in force on both sides.
    pub document: Arc<Document>,
    /// The fields of the repository that lost against the store's.
    pub lost: Vec<FieldPath>,
}

/// Merges by field.
///
/// # Errors
/// Why it can't be merged, for people: then the store's is kept whole.
pub fn merge(ancestor: Ancestor<'_>, repository: &Arc<Document>, store: &Arc<Document>) -> Result<Merged, String> {
    let empty = Value::Object(Map::new());
    let base = match ancestor {
        Ancestor::Nothing => &empty,
        Ancestor::Forgotten => return Err("what both sides last agreed on is not known".to_owned()),
        Ancestor::Known(document) => &document.spec,
    };
    if repository.text.is_some() || store.text.is_some() {
        return Err("an encrypted secret is one field".to_owned());
    }
    let mut lost = vec![];
    let spec = value(
        &mut vec![],
        Some(base),
        Some(&repository.spec),
        Some(&store.spec),
        &mut lost,
    );
    let spec = spec.unwrap_or(empty);
    let document = if spec == store.spec {
        Arc::clone(store)
    } else if spec == repository.spec {
        Arc::clone(repository)
    } else {
        let merged = Document::new(store.id.clone(), &spec).map_err(|problems| {
            let first = problems.first().map_or_else(String::new, ToString::to_string);
            format!("together the changes of both sides are not valid ({first})")
        })?;
        Arc::new(merged)
    };
    Ok(Merged { document, lost })
}

/// One document with some fields as another one has them: what accepting the side that lost comes to.
///
/// # Errors
/// What the result breaks.
pub fn adopt(into: &Document, from: &Document, fields: &[FieldPath]) -> Result<Document, Vec<Problem>> {
    let mut spec = into.spec.clone();
    for path in fields {
        set(&mut spec, path, get(&from.spec, path));
    }
    Document::new(into.id.clone(), &spec)
}

/// Whether a document has some fields as another one has them.
#[must_use]
pub fn has(document: &Document, as_in: &Document, fields: &[FieldPath]) -> bool {
    fields
        .iter()
        .all(|path| get(&document.spec, path) == get(&as_in.spec, path))
}

/// The merged value of one place. Documents leave defaults out, so an absence is a value like any other.
fn value(
    path: &mut FieldPath,
    base: Option<&Value>,
    repository: Option<&Value>,
    store: Option<&Value>,
    lost: &mut Vec<FieldPath>,
) -> Option<Value> {
    if repository == store || repository == base {
        return store.cloned();
    }
    if store == base {
        return repository.cloned();
    }
    // A variable is one field, whatever it is made of.
    let enter = path.len() != 2 || path[0] != BY_NAME;
    let none = Map::new();
    // A mapping that is left out has nothing in it.
    if let (true, Some(theirs), Some(ours)) = (enter, mapping(repository, &none), mapping(store, &none)) {
        let base = base.and_then(Value::as_object).unwrap_or(&none);
        let merged = entries(path, base, theirs, ours, lost);
        let left_out = merged.is_empty() && (repository.is_none() || store.is_none());
        return (!left_out).then_some(Value::Object(merged));
    }
    if *path == [BY_NAME]
        && let (Some(theirs), Some(ours)) = (Named::of(repository), Named::of(store))
    {
        let base = Named::of(base).unwrap_or_default();
        let mut items = entries(path, &base.items, &theirs.items, &ours.items, lost);
        let names = Named::order(&base, &theirs, &ours);
        let sorted: Vec<Value> = names.into_iter().filter_map(|name| items.remove(name)).collect();
        return (!sorted.is_empty()).then_some(Value::Array(sorted));
    }
    lost.push(path.clone());
    store.cloned()
}

fn entries(
    path: &mut FieldPath,
    base: &Map<String, Value>,
    repository: &Map<String, Value>,
    store: &Map<String, Value>,
    lost: &mut Vec<FieldPath>,
) -> Map<String, Value> {
    let mut out = Map::new();
    let keys: BTreeSet<&String> = repository.keys().chain(store.keys()).chain(base.keys()).collect();
    for key in keys {
        path.push(key.clone());
        let merged = value(path, base.get(key), repository.get(key), store.get(key), lost);
        path.pop();
        out.extend(merged.map(|merged| (key.clone(), merged)));
    }
    out
}

fn mapping<'v>(value: Option<&'v Value>, none: &'v Map<String, Value>) -> Option<&'v Map<String, Value>> {
    value.map_or(Some(none), Value::as_object)
}

/// A list whose entries have names.
#[derive(Default)]
struct Named {
    names: Vec<String>,
    items: Map<String, Value>,
}

impl Named {
    /// Nothing where it is another list. No list is an empty one.
    fn of(list: Option<&Value>) -> Option<Self> {
        let mut out = Self::default();
        for item in list.map_or(Some(&vec![]), Value::as_array)? {
            let name = item.get("name")?.as_str()?;
            if out.items.insert(name.to_owned(), item.clone()).is_some() {
                return None;
            }
            out.names.push(name.to_owned());
        }
        Some(out)
    }

    /// The names of both sides in one order: the store's, or the repository's where the store left the order alone. What
    /// only the other side has stands behind what it follows there.
    fn order<'n>(base: &Self, repository: &'n Self, store: &'n Self) -> Vec<&'n str> {
        let common = |of: &Self, with: &Self| -> Vec<String> {
            let names = of.names.iter().filter(|name| with.items.contains_key(*name));
            names.cloned().collect()
        };
        let moved = common(store, base) != common(base, store);
        let (first, second) = if moved {
            (store, repository)
        } else {
            (repository, store)
        };
        let mut names: Vec<&str> = first.names.iter().map(String::as_str).collect();
        let mut before: Option<&str> = None;
        for name in &second.names {
            if !first.items.contains_key(name) {
                let at = before.and_then(|it| names.iter().position(|name| *name == it));
                names.insert(at.map_or(0, |at| at + 1), name);
            }
            before = Some(name);
        }
        names
    }
}

/// What stands at a path.
fn get<'v>(spec: &'v Value, path: &[String]) -> Option<&'v Value> {
    let mut here = spec;
    for (depth, key) in path.iter().enumerate() {
        here = match here {
            Value::Object(map) => map.get(key)?,
            Value::Array(items) if depth == 1 && path[0] == BY_NAME => {
                items.iter().find(|item| is_called(item, key))?
            }
            _ => return None,
        };
    }
    Some(here)
}

/// Puts a value (or nothing) at a path.
fn set(here: &mut Value, path: &[String], to: Option<&Value>) {
    let Some((key, rest)) = path.split_first() else {
        return;
    };
    if !here.is_object() {
        *here = Value::Object(Map::new());
    }
    let Some(map) = here.as_object_mut() else { return };
    match (rest, to) {
        ([], None) => drop(map.remove(key)),
        ([], Some(to)) => drop(map.insert(key.clone(), to.clone())),
        ([name], _) if key == BY_NAME => {
            let list = map.entry(key.clone()).or_insert_with(|| Value::Array(vec![]));
            let Some(list) = list.as_array_mut() else { return };
            match (list.iter().position(|item| is_called(item, name)), to) {
                (Some(at), Some(to)) => list[at] = to.clone(),
                (Some(at), None) => drop(list.remove(at)),
                (None, Some(to)) => list.push(to.clone()),
                (None, None) => {}
            }
        }
        (_, None) if !map.contains_key(key) => {}
        _ => set(map.entry(key.clone()).or_insert(Value::Null), rest, to),
    }
}

fn is_called(item: &Value, name: &str) -> bool {
    item.get("name").and_then(Value::as_str) == Some(name)
}
