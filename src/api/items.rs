//! A declared resource as it is shown: its document, how it stands, and where it comes from.

use std::sync::Arc;

use serde_json::Value;

use crate::engine::Report;
use crate::record::StoreView;
use crate::resource::Document;
use crate::wire::Item;

use super::feed::Entries;
use super::{ApiError, App, records, standing};

/// How many events an item shows.
const EVENTS: usize = 10;

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
    let status = standing::status(document, view, report);
    Item {
        resource: document.to_json(),
        status: serde_json::to_value(status).unwrap_or_default(),
        revision,
        text: document.text.clone(),
    }
}

/// An item with everything that is known of it.
pub(super) async fn whole(app: &App, document: &Arc<Document>, revision: u64) -> Result<Item, ApiError> {
    let store = app.0.engine.store();
    let (view, report) = (store.view(), app.0.engine.report().borrow().clone());
    let conflict = store.conflict(&document.id).await?;
    let upstreams = Arc::clone(&app.0.gateway.upstreams().borrow());
    let mut status = standing::status(document, &view, &report);
    let facts = standing::Facts {
        document,
        revision,
        status: &status,
        view: &view,
        report: &report,
        conflict: conflict.as_ref(),
        upstreams: &upstreams,
    };
    let (conditions, chain) = (facts.conditions(), facts.chain());
    status.conditions = conditions;
    status.chain = chain;
    let about = document.id.to_string();
    status.events = records::events_about(app, Some(&about), EVENTS).await?;
    Ok(Item {
        resource: document.to_json(),
        status: serde_json::to_value(status).unwrap_or_default(),
        revision,
        text: document.text.clone(),
    })
}
