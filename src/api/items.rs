//! A declared resource as it is shown: its document, how it stands, and where it comes from.

use std::sync::Arc;

use serde_json::Value;

use crate::engine::Report;
use crate::record::{InstanceStatus, State, StoreView};
use crate::resource::{Declared, Document, Id, Server};
use crate::wire::{Item, ServerStatus};

use super::App;
use super::feed::Entries;

pub(super) fn entries(app: &App, kind: &str) -> Entries {
    let (view, report) = (app.0.engine.store().view(), app.0.engine.report().borrow().clone());
    let items = items(kind, &view, &report);
    let key = |item: &Item| {
        item.resource
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    items
        .iter()
        .filter_map(|item| Some((key(item), serde_json::to_value(item).ok()?)))
        .collect()
}

pub(super) fn items(kind: &str, view: &StoreView, report: &Report) -> Vec<Item> {
    let of_kind = view.rows.iter().filter(|(id, _)| id.kind().name == kind);
    of_kind
        .filter_map(|(_, row)| Some(item(row.document.as_ref()?, row.revision, view, report)))
        .collect()
}

pub(super) fn item(document: &Arc<Document>, revision: u64, view: &StoreView, report: &Report) -> Item {
    Item {
        resource: document.to_json(),
        status: status(document, view, report),
        revision,
    }
}

fn status(document: &Arc<Document>, view: &StoreView, report: &Report) -> Value {
    let provenance = provenance(&document.id, view, report);
    let held = report
        .status
        .held
        .iter()
        .find(|held| held.resource == document.id.to_string());
    let held = held.map(|held| held.reason.clone());
    if document.id.kind().name != Server::NAME {
        let mut status = serde_json::json!({"provenance": provenance});
        if let Some(why) = held {
            status["held"] = why.into();
        }
        return status;
    }
    let wanted = document.typed::<Server>().map_or(0, |server| server.replicas);
    let of = |status: &&InstanceStatus| status.instance.server == document.id.name;
    let instances: Vec<InstanceStatus> = report.status.instances.iter().filter(of).cloned().collect();
    let running = instances.iter().filter(|status| status.state == State::Running).count();
    let worst = instances.iter().max_by_key(|status| status.state);
    let status = ServerStatus {
        state: match worst {
            Some(status) => status.state.to_string(),
            None if wanted == 0 => "STOPPED".to_owned(),
            None => State::Pending.to_string(),
        },
        ready: format!("{running}/{wanted}"),
        tools: instances.iter().find_map(|status| status.tools),
        reason: worst
            .map(|status| status.reason.clone())
            .filter(|reason| !reason.is_empty())
            .or(held)
            .unwrap_or_default(),
        instances,
        provenance,
    };
    serde_json::to_value(status).unwrap_or_default()
}

/// `servers/time.yaml:1@3fa2c1e`; empty until the repository has it.
fn provenance(id: &Id, view: &StoreView, report: &Report) -> String {
    let Some(row) = view.ledger.get(id) else {
        return String::new();
    };
    let commit: String = row.commit.chars().take(7).collect();
    match report.tree.documents.get(id) {
        Some(placed) => format!("{}:{}@{commit}", placed.path, placed.position.line),
        None => format!("{}@{commit}", row.path),
    }
}
