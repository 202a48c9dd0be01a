//! The store against a model, against broken storage, and against its own old files.

pub(crate) mod disk;
mod door;
#[expect(clippy::disallowed_methods, reason = "readers are tasks of their own")]
mod faults;
#[expect(clippy::disallowed_methods, reason = "it reads and writes the committed fixtures")]
mod fixture;
mod migration;
mod model;

use std::path::Path;
use std::sync::{Arc, Mutex};

use redb::StorageBackend;
use serde_json::json;

use super::door::Door;
use super::migrate::CHAIN;
use super::opening::Opening;
use super::schema::Retention;
use super::{Store, StoreError};
use crate::kit::Digest;
use crate::kit::time::Timestamp;
use crate::record::{Actor, Edit, EditChange, Event, Import, ImportChange, LedgerRow, Level, Settle, StoreView};
use crate::resource::{Document, Id};

pub(super) fn id(name: &str) -> Id {
    format!("server/{name}").parse().expect("an identity")
}

pub(super) fn document(name: &str, replicas: u32) -> Arc<Document> {
    let spec = json!({"command": ["serve", name], "replicas": replicas});
    Arc::new(Document::new(id(name), &spec).expect("a document"))
}

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).expect("a time")
}

pub(super) fn actor(door: &str) -> Actor {
    Actor {
        name: "admin".to_owned(),
        door: door.to_owned(),
    }
}

pub(super) fn seen(view: &StoreView, id: &Id) -> Option<u64> {
    view.rows.get(id).map(|row| row.revision)
}

/// An edit of what the view shows.
pub(super) fn edit(view: &StoreView, changes: &[(&str, Option<u32>)]) -> Edit {
    Edit {
        at: at(1),
        checked_at: None,
        actor: actor("api"),
        message: "an edit".to_owned(),
        changes: changes
            .iter()
            .map(|(name, replicas)| EditChange {
                id: id(name),
                seen: seen(view, &id(name)),
                after: replicas.map(|replicas| document(name, replicas)),
            })
            .collect(),
    }
}

/// An import into what the view shows.
pub(super) fn import(view: &StoreView, commit: &str, changes: &[(&str, Option<u32>)]) -> Import {
    Import {
        at: at(2),
        checked_at: None,
        actor: actor("push"),
        message: "an import".to_owned(),
        commit: commit.to_owned(),
        changes: changes
            .iter()
            .map(|(name, replicas)| ImportChange {
                id: id(name),
                seen: seen(view, &id(name)),
                after: replicas.map(|replicas| document(name, replicas)),
                digest: replicas.map_or_else(|| Digest::of(""), |replicas| document(name, replicas).digest()),
                path: id(name).canonical_path(),
                merged_with: None,
            })
            .collect(),
        settle: vec![],
        rebase: vec![],
        drops: vec![],
        conflicts: vec![],
        events: vec![],
    }
}

pub(super) fn settle(view: &StoreView, name: &str, ledger: Option<LedgerRow>) -> Settle {
    Settle {
        id: id(name),
        seen: seen(view, &id(name)),
        ledger,
    }
}

pub(super) fn event(message: &str) -> Event {
    Event {
        sequence: 0,
        at: at(3),
        level: Level::Info,
        about: "repository".to_owned(),
        reason: "Tested".to_owned(),
        message: message.to_owned(),
    }
}

/// A store on any storage, which can be opened once.
pub(super) fn on(backend: impl StorageBackend, keep: Retention) -> Result<Store, StoreError> {
    let door = Door::with(once(backend), Path::new("test.redb"), CHAIN, keep)?;
    Ok(Store { door: Arc::new(door) })
}

/// Storage that can be opened once.
pub(super) fn once(backend: impl StorageBackend) -> Opening {
    let path = Path::new("test.redb");
    let backend = Mutex::new(Some(backend));
    let opened = move || {
        let backend = backend.lock().unwrap().take();
        backend.ok_or_else(|| StoreError::Foreign { path: path.to_owned() })
    };
    Opening::of(opened, path)
}
