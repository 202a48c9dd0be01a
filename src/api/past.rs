//! Going back in time: undoing a revision, points in time, and restoring one.

use std::time::Duration;

use axum::extract::{Path, Request, State};
use axum::{Extension, Json};
use serde::Deserialize;

use crate::access::{Action, Principal, naming};
use crate::engine::{GoneBack, Restored, Terms};
use crate::kit::Redacted;
use crate::wire::{Listing, PastPlan, Point, ScrubBody, ScrubOrder};

use super::ask::Ask;
use super::body::read;
use super::{ApiError, App};

/// How long an answer waits for the commit, so that it can be looked at in the repository.
const COMMIT: Duration = Duration::from_secs(5);

/// How many commits are listed if it is not said.
const USUAL: usize = 50;
/// The most that one answer lists.
const MOST: usize = 10_000;

/// What may be said with going back.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Said {
    dry_run: bool,
    with_credentials: bool,
    allow_mass_delete: bool,
    /// The revision of the plan that was seen.
    revision: Option<u64>,
}

impl Said {
    fn terms(&self) -> Terms {
        Terms {
            with_credentials: self.with_credentials,
            allow_mass_delete: self.allow_mass_delete,
            seen: self.revision,
            dry_run: self.dry_run,
        }
    }
}

fn body(gone: &GoneBack) -> PastPlan {
    PastPlan {
        plan: gone.plan.clone(),
        revives: gone.revives.iter().map(ToString::to_string).collect(),
        kept: gone.kept(),
        guard: gone.guard.map(|guard| guard.to_string()),
        ..PastPlan::default()
    }
}

/// Takes back what a revision did: who may change each of its resources may, and use the secrets that they named.
pub(super) async fn undo(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Path(revision): Path<u64>,
    Ask(said): Ask<Said>,
) -> Result<Json<PastPlan>, ApiError> {
    for change in app.0.engine.changed_by(revision).await? {
        let names = change.before.iter().flat_map(|document| naming(document));
        let needs: Vec<Action> = std::iter::once(Action::Edit(change.id.clone())).chain(names).collect();
        for need in needs {
            app.permit(&principal, &need, "api").await?;
        }
    }
    let gone = app
        .0
        .engine
        .undo(revision, said.terms(), &principal.actor("api"))
        .await?;
    wait_for_commit(&app, &gone).await;
    Ok(Json(body(&gone)))
}

/// The commit follows within a second; that it does not is told by `status`.
async fn wait_for_commit(app: &App, gone: &GoneBack) {
    if let Some(mutation) = &gone.mutation {
        app.0.engine.committed(mutation.revision, COMMIT).await;
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Page {
    limit: Option<usize>,
}

/// The points in time that can be gone back to.
pub(super) async fn list(State(app): State<App>, Ask(page): Ask<Page>) -> Result<Json<Listing<Point>>, ApiError> {
    let limit = page.limit.unwrap_or(USUAL).min(MOST);
    Ok(Json(Listing {
        items: app.0.engine.points(limit).await?,
        unclaimed: vec![],
        revision: app.0.engine.store().view().revision,
    }))
}

/// What a restore asks for.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct To {
    /// The commit, as people call it.
    commit: String,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    with_credentials: bool,
    #[serde(default)]
    allow_mass_delete: bool,
    revision: Option<u64>,
}

impl To {
    fn said(&self, dry_run: bool) -> Said {
        Said {
            dry_run: self.dry_run || dry_run,
            with_credentials: self.with_credentials,
            allow_mass_delete: self.allow_mass_delete,
            revision: self.revision,
        }
    }
}

fn restored(restored: &Restored) -> Json<PastPlan> {
    Json(PastPlan {
        point: Some(restored.point.clone()),
        timeline: restored.timeline.clone(),
        ..body(&restored.gone)
    })
}

/// What restoring a commit would change.
pub(super) async fn diff(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Ask(to): Ask<To>,
) -> Result<Json<PastPlan>, ApiError> {
    let terms = to.said(true).terms();
    let planned = app.0.engine.restore(&to.commit, terms, &principal.actor("api")).await?;
    Ok(restored(&planned))
}

/// Restores a commit.
pub(super) async fn to(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Ask(to): Ask<To>,
) -> Result<Json<PastPlan>, ApiError> {
    let terms = to.said(false).terms();
    let done = app.0.engine.restore(&to.commit, terms, &principal.actor("api")).await?;
    wait_for_commit(&app, &done.gone).await;
    Ok(restored(&done))
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Dry {
    dry_run: bool,
}

/// Rewrites the history without what leaked.
pub(super) async fn scrub(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Ask(dry): Ask<Dry>,
    request: Request,
) -> Result<Json<ScrubBody>, ApiError> {
    let bytes = read(request.into_body()).await?;
    // What is wrong with it is told without a word of what stands in it.
    let order: ScrubOrder = serde_json::from_slice(&bytes)
        .map_err(|_| ApiError::bad_request("send {\"paths\": [\"…\"], \"values\": [\"…\"]}"))?;
    let values = order.values.into_iter().map(Redacted::new).collect();
    let done = app
        .0
        .engine
        .scrub(order.paths, values, dry.dry_run, &principal.actor("api"))
        .await?;
    Ok(Json(ScrubBody {
        commits: done.commits,
        changed: done.changed,
        moved: done.moved,
        places: done.places,
        bundle: done.bundle,
        head: done.head,
        records: done.records,
    }))
}
