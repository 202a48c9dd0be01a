//! A declared resource as it is shown: its document, how it stands, and where it comes from.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::engine::Report;
use crate::kit::Name;
use crate::record::StoreView;
use crate::resource::{Declared as _, Document, Id, Kind, Project, built_in};
use crate::wire::{Item, Standing};

use super::feed::Entries;
use super::{ApiError, App, records, standing, tools};

/// How many events an item shows.
const EVENTS: usize = 10;

/// Which resources a list is of: a kind's, all of them or those in one project.
#[derive(Debug, Clone)]
pub(super) struct Which {
    pub(super) kind: &'static Kind,
    pub(super) project: Option<Name>,
}

impl Which {
    fn holds(&self, id: &Id) -> bool {
        id.kind().name == self.kind.name
            && self
                .project
                .as_ref()
                .is_none_or(|project| id.project() == Some(project))
    }
}

pub(super) fn entries(app: &App, which: &Which) -> Entries {
    let (view, report) = (app.0.engine.store().view(), app.0.engine.report().borrow().clone());
    let entry = |(id, document, revision): (&Id, &Arc<Document>, u64)| {
        let item = item(app, document, revision, &view, &report);
        Some((id.to_string(), serde_json::to_value(item).ok()?))
    };
    listed(which, &view).into_iter().filter_map(entry).collect()
}

pub(super) fn items(app: &App, which: &Which, view: &StoreView, report: &Report) -> Vec<Item> {
    let listed = listed(which, view).into_iter();
    listed
        .map(|(_, document, revision)| item(app, document, revision, view, report))
        .collect()
}

/// What a list holds, in order of identity.
fn listed<'v>(which: &Which, view: &'v StoreView) -> Vec<(&'v Id, &'v Arc<Document>, u64)> {
    let ids: BTreeSet<&Id> = view
        .rows
        .keys()
        .chain(built_in().keys())
        .filter(|id| which.holds(id))
        .collect();
    let one = |id: &'v Id| in_force(id, view).map(|(document, revision)| (id, document, revision));
    ids.into_iter().filter_map(one).collect()
}

/// What holds under an identity, and its revision: a declaration, or at revision 0 what ships in the binary.
pub(super) fn in_force<'v>(id: &Id, view: &'v StoreView) -> Option<(&'v Arc<Document>, u64)> {
    let row = view.rows.get(id);
    let declared = row.and_then(|row| Some((row.document.as_ref()?, row.revision)));
    declared.or_else(|| Some((built_in().get(id)?, 0)))
}

pub(super) fn item(app: &App, document: &Arc<Document>, revision: u64, view: &StoreView, report: &Report) -> Item {
    let mut status = standing::status(document, view, report);
    tools::tokens(app, document, &mut status);
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
    let conflicts = store.conflicts_of(&document.id).await?;
    let upstreams = Arc::clone(&app.0.gateway.upstreams().borrow());
    let mut status = standing::status(document, &view, &report);
    tools::tokens(app, document, &mut status);
    let facts = standing::Facts {
        document,
        revision,
        status: &status,
        view: &view,
        report: &report,
        conflicts: &conflicts,
        upstreams: &upstreams,
    };
    // What ships in the binary is in no repository, and nothing waits for it.
    if status.origin.is_empty() {
        let (conditions, chain) = (facts.conditions(), facts.chain());
        status.conditions = conditions;
        status.chain = chain;
        if let Some(condition) = tools::condition(app, document) {
            let holds = status.chain.iter().all(|rung| rung.standing == Standing::Ok);
            if holds && document.id.kind().name == Project::NAME {
                status.chain.push(tools::rung(&condition));
            }
            status.conditions.push(condition);
        }
    }
    let about = document.id.to_string();
    status.events = records::events_about(app, Some(&about), EVENTS).await?;
    Ok(Item {
        resource: document.to_json(),
        status: serde_json::to_value(status).unwrap_or_default(),
        revision,
        text: document.text.clone(),
    })
}
