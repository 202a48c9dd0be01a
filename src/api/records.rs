//! What the system writes down, as lists: status, instances, conflicts, events, revisions, runs, audit.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use crate::engine::MOST_RUNS;
use crate::record::{AuditEvent, Event, InstanceStatus, Mutation, Run};
use crate::store::StoreError;
use crate::wire::{Listing, StatusBody};

use super::ask::Ask;
use super::feed::{self, Entries};
use super::{ApiError, App, tools};

/// How many records a list has if it is not said.
const USUAL: usize = 200;
/// The most that one answer lists.
const MOST: usize = 10_000;

#[derive(Deserialize)]
pub(super) struct Page {
    limit: Option<usize>,
    #[serde(default)]
    watch: bool,
    /// Of events: only those about this, as `server/time` (its instances too), `time/0` or `repository`.
    about: Option<String>,
}

impl Page {
    fn limit(&self) -> usize {
        self.limit.unwrap_or(USUAL).min(MOST)
    }
}

pub(super) async fn status(State(app): State<App>) -> Json<StatusBody> {
    let mut status = app.0.engine.report().borrow().status.clone();
    // A change that was accepted a moment ago is told, though nobody has looked at both sides since.
    let view = app.0.engine.store().view();
    status.source.pending_count = view.outbox.len();
    status.converged &= view.outbox.is_empty() && status.revision == view.revision;
    status.revision = view.revision;
    status.warnings.extend(tools::warnings(&app));
    Json(status)
}

fn listing<T: serde::Serialize>(app: &App, items: Vec<T>) -> Response {
    Json(Listing {
        items,
        unclaimed: vec![],
        revision: app.0.engine.store().view().revision,
    })
    .into_response()
}

pub(super) async fn instances(State(app): State<App>, Ask(page): Ask<Page>) -> Response {
    if page.watch {
        return feed::watch(app, true, |app| {
            Box::pin(async move {
                let report = app.0.engine.report().borrow().clone();
                entries(&report.status.instances, |it: &InstanceStatus| it.instance.to_string())
            })
        });
    }
    let report = app.0.engine.report().borrow().clone();
    Json(Listing {
        items: report.status.instances.clone(),
        unclaimed: report.status.unclaimed.clone(),
        revision: report.status.revision,
    })
    .into_response()
}

fn entries<T: serde::Serialize>(items: &[T], key: impl Fn(&T) -> String) -> Entries {
    items
        .iter()
        .filter_map(|item| Some((key(item), serde_json::to_value(item).ok()?)))
        .collect()
}

pub(super) async fn conflicts(State(app): State<App>, Ask(page): Ask<Page>) -> Result<Response, ApiError> {
    if page.watch {
        return Ok(feed::watch(app, true, |app| {
            Box::pin(async move {
                let conflicts = app.0.engine.store().conflicts().await.unwrap_or_default();
                entries(&conflicts, |it| format!("{:020}", it.number))
            })
        }));
    }
    let conflicts = app.0.engine.store().conflicts().await?;
    Ok(listing(&app, conflicts))
}

pub(super) async fn events(State(app): State<App>, Ask(page): Ask<Page>) -> Result<Response, ApiError> {
    if page.watch {
        let about = page.about;
        return Ok(feed::watch(app, false, move |app| {
            let about = about.clone();
            Box::pin(async move {
                let events = events_about(&app, about.as_deref(), USUAL).await.unwrap_or_default();
                // Keys sort as text, and events go out in their order.
                entries(&events, |it| format!("{:020}", it.sequence))
            })
        }));
    }
    let events = events_about(&app, page.about.as_deref(), page.limit()).await?;
    Ok(listing(&app, events))
}

/// The newest events, of everything or of what is asked about, newest last.
pub(super) async fn events_about(app: &App, about: Option<&str>, limit: usize) -> Result<Vec<Event>, StoreError> {
    let Some(about) = about else {
        let mut newest = app.0.engine.store().recent_events(limit).await?;
        newest.reverse();
        return Ok(newest);
    };
    // All that are kept are looked through: the last of a resource may be long ago.
    let mut newest = app.0.engine.store().recent_events(MOST).await?;
    newest.retain(|event| event.is_about(about));
    newest.truncate(limit);
    newest.reverse();
    Ok(newest)
}

pub(super) async fn revisions(State(app): State<App>, Ask(page): Ask<Page>) -> Result<Response, ApiError> {
    let mut newest: Vec<Mutation> = app.0.engine.store().mutations(page.limit()).await?;
    newest.reverse();
    Ok(listing(&app, newest))
}

pub(super) async fn runs(State(app): State<App>, Ask(page): Ask<Page>) -> Result<Response, ApiError> {
    if page.watch {
        return Ok(feed::watch(app, false, |app| {
            Box::pin(async move {
                let runs = app.0.engine.runs(USUAL).await.unwrap_or_default();
                entries(&runs, |it| format!("{:020}", it.id))
            })
        }));
    }
    let mut newest = app.0.engine.runs(page.limit().min(MOST_RUNS)).await?;
    newest.reverse();
    Ok(listing(&app, newest))
}

pub(super) async fn run(State(app): State<App>, Path(id): Path<String>) -> Result<Json<Run>, ApiError> {
    let run = match id.parse() {
        Ok(id) => app.0.engine.run(id).await?,
        Err(_) => None,
    };
    run.map(Json)
        .ok_or_else(|| ApiError::not_found(format!("run {id} is not known (any more)")))
}

pub(super) async fn audit(State(app): State<App>, Ask(page): Ask<Page>) -> Result<Response, ApiError> {
    let mut newest: Vec<AuditEvent> = app.0.engine.store().recent_audit(page.limit()).await?;
    newest.reverse();
    Ok(listing(&app, newest))
}
