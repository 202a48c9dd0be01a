//! Backup and restore: how things stand, the history, the keys, and a digest of everything.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;

use crate::access::Principal;
use crate::kit::time::Timestamp;
use crate::wire::{BackupCommit, BackupStatus, KeyBody, Listing, RestoreState, SourceState};

use super::ask::Ask;
use super::{ApiError, App};

/// How many commits the log has if it is not said.
const USUAL: usize = 50;
/// The most that one answer has.
const MOST: usize = 10_000;

#[derive(Deserialize)]
pub(super) struct Page {
    limit: Option<usize>,
}

pub(super) async fn status(State(app): State<App>) -> Result<Json<BackupStatus>, ApiError> {
    let report = app.0.engine.report().borrow().clone();
    let source = &report.status.source;
    let written = app.0.engine.store().mutations(MOST).await?;
    let own = |door: &str| !matches!(door, "push" | "folder" | "remote");
    let last_push_at = written
        .iter()
        .find(|mutation| mutation.commit.is_some() && own(&mutation.actor.door))
        .map(|mutation| mutation.at);
    Ok(Json(BackupStatus {
        enabled: true,
        repo_url: source.location.clone(),
        git_reachable: match app.0.source.remote() {
            Some(remote) => remote.standing().reachable,
            None => report.read && source.state != SourceState::Failing,
        },
        last_sync_at: source.last_sync_at,
        last_push_at,
        last_error: source.last_error.clone(),
        pending_count: source.pending_count,
        recipients: app.0.engine.recipients(),
        sealed: app.0.engine.sealed().iter().map(ToString::to_string).collect(),
        warnings: report.status.warnings.clone(),
    }))
}

pub(super) async fn log(State(app): State<App>, Ask(page): Ask<Page>) -> Result<Json<Listing<BackupCommit>>, ApiError> {
    let Some(bare) = app.0.source.bare() else {
        return Err(ApiError::not_found("a watched folder has no history of its own")
            .hint("where it is a git repository: git log"));
    };
    let logged = bare
        .log(page.limit.unwrap_or(USUAL).min(MOST))
        .await
        .map_err(crate::engine::EngineError::from)?;
    let commit = |it: crate::repo::Logged| BackupCommit {
        commit: it.commit,
        at: Timestamp::from_second(it.seconds).unwrap_or(Timestamp::UNIX_EPOCH),
        author: it.author,
        subject: it.subject,
        manual: it.manual,
    };
    Ok(Json(Listing {
        items: logged.into_iter().map(commit).collect(),
        revision: app.0.engine.store().view().revision,
        unclaimed: vec![],
    }))
}

/// The public half of the SSH key that mcpd shows to git servers.
pub(super) async fn key(State(app): State<App>) -> Json<KeyBody> {
    Json(KeyBody {
        key: app.0.deploy_key.clone(),
    })
}

/// The private half of the identity that opens the secrets. It is written down who got it.
pub(super) async fn identity(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
) -> Result<Response, ApiError> {
    let key = app.0.engine.export_identity(&principal.actor("api")).await?;
    let mut response = Json(KeyBody {
        key: key.reveal().clone(),
    })
    .into_response();
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

pub(super) async fn verify(State(app): State<App>) -> Json<RestoreState> {
    let engine = &app.0.engine;
    let report = engine.report().borrow().clone();
    let view = engine.store().view();
    let mut kinds = BTreeMap::new();
    let declared = view.rows.iter().filter(|(_, row)| row.document.is_some());
    for (id, _) in declared {
        *kinds.entry(id.kind().plural.to_owned()).or_default() += 1;
    }
    Json(RestoreState {
        digest: engine.state_digest().to_string(),
        resources: kinds.values().sum(),
        kinds,
        head: report.status.source.head.clone(),
        sealed: engine.sealed().iter().map(ToString::to_string).collect(),
        // A change that nobody has looked at since is neither in the repository nor does it run.
        converged: report.status.converged && view.outbox.is_empty() && report.status.revision == view.revision,
    })
}
