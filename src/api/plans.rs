//! Whole plans: apply, diff, sync, and the settling of conflicts.

use std::time::Duration;

use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::{Extension, Json};
use serde::Deserialize;

use crate::access::{Action, Principal, change, decide, naming};
use crate::engine::{EditRequest, Only, Words};
use crate::record::Cause;
use crate::resource::Id;
use crate::wire::{PlanBody, SyncBody};

use super::ask::Ask;
use super::body::{self, documents};
use super::resources::{Asked, committed};
use super::{ApiError, App, tools};

/// The longest that `sync` waits, in seconds.
const LONGEST: u64 = 3600;

/// Declares the documents of the body: one request, one transaction, one commit.
pub(super) async fn apply(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Ask(asked): Ask<Asked>,
    request: Request,
) -> Result<Json<PlanBody>, ApiError> {
    let only = new_or_always(request.headers())?;
    let mut wanted = documents(&body::read(request.into_body()).await?, only)?;
    let view = app.0.engine.store().view();
    for one in &mut wanted {
        let there = view.rows.get(&one.id).is_some_and(|row| row.document.is_some());
        if !there && decide(&principal, &Action::Edit(one.id.clone())).is_err() {
            // Who may only create must not change what somebody else creates meanwhile.
            one.only = Only::IfNew;
        }
        for action in change(&one.id, there && only != Only::IfNew, one.after.as_deref()) {
            app.permit(&principal, &action, "api").await?;
        }
    }
    let request = EditRequest {
        actor: principal.actor("api"),
        wanted,
        dry_run: asked.dry_run,
    };
    let edited = app.0.engine.edit(request).await?;
    committed(&app, &edited, &asked).await?;
    Ok(Json(edited.plan))
}

/// `If-None-Match: *` (RFC 9110, 13.1.2) says that nothing of it may be there already.
fn new_or_always(headers: &HeaderMap) -> Result<Only, ApiError> {
    match headers.get(header::IF_NONE_MATCH).map(HeaderValue::as_bytes) {
        None => Ok(Only::Always),
        Some(b"*") => Ok(Only::IfNew),
        Some(_) => Err(ApiError::bad_request("If-None-Match takes * alone")),
    }
}

/// What the repository, the store and what runs would do to each other now.
pub(super) async fn diff(State(app): State<App>) -> Result<Json<PlanBody>, ApiError> {
    Ok(Json(app.0.engine.diff().await?))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SyncAsked {
    wait: Option<u64>,
    #[serde(default)]
    allow_mass_delete: bool,
    #[serde(default)]
    new_epoch: bool,
    #[serde(default)]
    take_over: bool,
}

/// Looks now; with `wait=SECONDS` answers once everything has settled, or the time is over.
pub(super) async fn sync(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Ask(asked): Ask<SyncAsked>,
) -> Result<Json<SyncBody>, ApiError> {
    let words = Words {
        allow_mass_delete: asked.allow_mass_delete,
        new_epoch: asked.new_epoch,
        take_over: asked.take_over,
    };
    let cause = Cause::new("sync", principal.actor("api").name);
    let synced = app.0.engine.sync_as(words, cause).await?;
    let mut report = synced.report;
    if let Some(seconds) = asked.wait.filter(|seconds| *seconds > 0) {
        report = app.0.engine.settled(Duration::from_secs(seconds.min(LONGEST))).await;
    }
    let mut status = report.status.clone();
    status.warnings.extend(tools::warnings(&app));
    Ok(Json(SyncBody {
        status,
        run: Some(synced.run.id.to_string()),
        look: Some(synced.run),
        passed_over: synced.passed_over.into_iter().map(str::to_owned).collect(),
    }))
}

#[derive(Debug, Deserialize)]
struct Accept {
    from: String,
}

/// Ends a conflict with one side: `{"from": "repo"}` or `{"from": "store"}`.
pub(super) async fn accept(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Path(path): Path<String>,
    request: Request,
) -> Result<Json<PlanBody>, ApiError> {
    let id = path.strip_suffix("/accept").and_then(|id| id.parse::<Id>().ok());
    let id = id.ok_or_else(|| ApiError::not_found(format!("there is no conflict {path}")))?;
    let bytes = body::read(request.into_body()).await?;
    let accept: Accept = serde_json::from_slice(&bytes).map_err(|error| {
        ApiError::bad_request(format!(
            "send {{\"from\": \"repo\"}} or {{\"from\": \"store\"}}: {error}"
        ))
    })?;
    let repository = match accept.from.as_str() {
        "repo" => true,
        "store" => false,
        _ => return Err(ApiError::bad_request("from is repo or store")),
    };
    if repository {
        // What lost may name a secret, and may change what is done with one that is named now.
        let view = app.0.engine.store().view();
        let row = view.rows.get(&id).and_then(|row| row.document.clone());
        let conflicts = app.0.engine.conflicts_of(&id).await?;
        let lost = conflicts.into_iter().filter_map(|conflict| conflict.repository);
        for action in row.into_iter().chain(lost).flat_map(|document| naming(&document)) {
            app.permit(&principal, &action, "api").await?;
        }
    }
    Ok(Json(
        app.0.engine.accept(&id, repository, principal.actor("api")).await?.plan,
    ))
}
