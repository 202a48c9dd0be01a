//! Declared resources, one by one: list, show, create, replace, merge, remove.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::Value;

use crate::access::{Action, Principal, naming};
use crate::engine::{EditRequest, Edited, Only, Wanted};
use crate::kit::{Name, NotAName};
use crate::resource::{Declared as _, Document, Id, Kind, Project, Scope};
use crate::wire::{Item, Listing, merge_patch};

use super::ask::Ask;
use super::body;
use super::feed;
use super::items;
use super::{ApiError, App};

/// The longest that `?wait=commit` waits.
const COMMIT: Duration = Duration::from_secs(30);

/// What a write may wait for.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WaitFor {
    Commit,
}

/// What a write may ask for.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Asked {
    /// Answer once the change is in the repository.
    wait: Option<WaitFor>,
    #[serde(default)]
    pub(super) dry_run: bool,
    #[serde(default)]
    watch: bool,
}

/// What a path names: a project, where names count in one, and a resource, where it is about one.
#[derive(Debug, Deserialize)]
pub(super) struct Place {
    project: Option<String>,
    name: Option<String>,
}

impl Place {
    fn project(&self) -> Result<Option<Name>, ApiError> {
        let no_name = |error: NotAName| ApiError::not_found(error.to_string());
        self.project.as_deref().map(str::parse).transpose().map_err(no_name)
    }

    fn identity(&self, kind: &'static Kind) -> Result<Id, ApiError> {
        let no_name = |error: NotAName| ApiError::not_found(error.to_string());
        let scope = self.project()?.map_or(Scope::Global, Scope::Project);
        let name = self.name.as_deref().unwrap_or_default().parse().map_err(no_name)?;
        Ok(Id::scoped(kind, scope, name))
    }
}

pub(super) fn list(kind: &'static Kind, app: App, place: &Place, asked: &Asked) -> Result<Response, ApiError> {
    let project = place.project()?;
    let (view, report) = (app.0.engine.store().view(), app.0.engine.report().borrow().clone());
    if let Some(project) = &project {
        let is = |id: &Id| id.kind().name == Project::NAME && id.name == *project;
        if !view.rows.iter().any(|(id, row)| row.document.is_some() && is(id)) {
            return Err(ApiError::not_found(format!(
                "{}/{project} is not declared",
                Project::NAME
            )));
        }
    }
    let which = items::Which { kind, project };
    if asked.watch {
        let which = Arc::new(which);
        return Ok(feed::watch(app, true, move |app| {
            let which = Arc::clone(&which);
            Box::pin(async move { items::entries(&app, &which) })
        }));
    }
    Ok(Json(Listing {
        items: items::items(&app, &which, &view, &report),
        unclaimed: vec![],
        revision: view.revision,
    })
    .into_response())
}

fn undeclared(id: &Id) -> ApiError {
    ApiError::not_found(format!("{id} is not declared"))
}

/// What a look at one resource may ask for.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Look {
    /// The values of a secret in the clear.
    #[serde(default)]
    reveal: bool,
}

pub(super) async fn show(
    kind: &'static Kind,
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Path(place): Path<Place>,
    Ask(look): Ask<Look>,
) -> Result<Response, ApiError> {
    let id = place.identity(kind)?;
    let view = app.0.engine.store().view();
    let Some((document, revision)) = items::in_force(&id, &view) else {
        let held = app.0.engine.report().borrow().status.held.clone();
        let held = held.into_iter().find(|held| held.resource == id.to_string());
        let error = undeclared(&id);
        return Err(match held {
            Some(held) => error.hint(format!("its declaration can't be used: {}", held.why())),
            None => error,
        });
    };
    let mut item = items::whole(&app, document, revision).await?;
    if look.reveal {
        reveal(&app, &principal, document, &mut item).await?;
    }
    let mut response = tagged(StatusCode::OK, item);
    if look.reveal {
        let never = HeaderValue::from_static("no-store");
        response.headers_mut().insert(header::CACHE_CONTROL, never);
    }
    Ok(response)
}

/// Puts the values of a secret in the clear into an answer; that they were shown is written down first. Who may ask for
/// this stands in `need`.
async fn reveal(app: &App, principal: &Principal, document: &Arc<Document>, item: &mut Item) -> Result<(), ApiError> {
    let engine = &app.0.engine;
    let spec = engine.clear_spec(document)?;
    let action = format!("reveal {}", document.id);
    engine.audit(&principal.actor("api"), action).await?;
    if let (Some(shown), Some(clear)) = (item.resource.as_object_mut(), spec.reveal().as_object()) {
        shown.remove("sops");
        shown.extend(clear.iter().map(|(key, value)| (key.clone(), value.clone())));
    }
    item.text = None;
    Ok(())
}

/// An answer about one resource, with its revision as the entity tag.
fn tagged(code: StatusCode, item: Item) -> Response {
    let tag = HeaderValue::from_str(&format!("\"{}\"", item.revision));
    let mut response = (code, Json(item)).into_response();
    if let Ok(tag) = tag {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

pub(super) async fn create(
    kind: &'static Kind,
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Path(place): Path<Place>,
    Ask(asked): Ask<Asked>,
    request: Request,
) -> Result<Response, ApiError> {
    let project = place.project()?;
    let wanted = body::one(&body::read(request.into_body()).await?, Only::IfNew)?;
    if wanted.id.kind().name != kind.name {
        return Err(ApiError::bad_request(format!("{} is no {}", wanted.id, kind.name)));
    }
    if wanted.id.project() != project.as_ref() {
        let to = wanted.id.project().map_or_else(
            || format!("/api/v1/{}", kind.plural),
            |project| format!("/api/v1/projects/{project}/{}", kind.plural),
        );
        let text = format!("the body declares {}, which the path is not for", wanted.id);
        return Err(ApiError::bad_request(text).hint(format!("send it to {to}")));
    }
    app.permit(&principal, &Action::Create(wanted.id.clone()), "api")
        .await?;
    perform(&app, &principal, wanted, &asked).await
}

pub(super) async fn replace(
    kind: &'static Kind,
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Path(place): Path<Place>,
    Ask(asked): Ask<Asked>,
    request: Request,
) -> Result<Response, ApiError> {
    let id = place.identity(kind)?;
    let only = only(request.headers(), Only::Always)?;
    let wanted = body::one(&body::read(request.into_body()).await?, only)?;
    if wanted.id != id {
        return Err(ApiError::bad_request(format!(
            "the body declares {}, the path names {id}",
            wanted.id
        )));
    }
    perform(&app, &principal, wanted, &asked).await
}

/// JSON Merge Patch (RFC 7396) over the fields in force.
pub(super) async fn merge(
    kind: &'static Kind,
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Path(place): Path<Place>,
    Ask(asked): Ask<Asked>,
    request: Request,
) -> Result<Response, ApiError> {
    let id = place.identity(kind)?;
    let only = only(request.headers(), Only::IfThere)?;
    let bytes = body::read(request.into_body()).await?;
    let mut patch: Value = serde_json::from_slice(&bytes)
        .map_err(|error| ApiError::bad_request(format!("the body is no JSON object: {error}")))?;
    let fields = patch
        .as_object_mut()
        .ok_or_else(|| ApiError::bad_request("a patch is a JSON object"))?;
    let project = id.project().map(Name::as_str);
    let called = [("kind", Some(id.kind().name)), ("name", Some(id.name.as_str()))];
    for (key, is) in called.into_iter().chain(kind.scoped.then_some(("project", project))) {
        match fields.remove(key) {
            Some(said) if said != serde_json::json!(is) => {
                return Err(ApiError::bad_request(format!(
                    "{key} can't be changed: it is what the resource is called by"
                )));
            }
            _ => {}
        }
    }
    // Each try is made on the row as it is then, and refused if another change comes between.
    let view = app.0.engine.store().view();
    let (document, revision) = items::in_force(&id, &view).ok_or_else(|| undeclared(&id))?;
    let mut spec = app.0.engine.clear_spec(document)?.reveal().clone();
    merge_patch(&mut spec, &patch);
    let document = Document::new(id.clone(), &spec)
        .map_err(|problems| ApiError::invalid(body::diagnostics(kind, &bytes, problems)))?;
    let only = if only == Only::IfThere {
        Only::IfAt(revision)
    } else {
        only
    };
    let wanted = Wanted {
        id,
        after: Some(Arc::new(document)),
        only,
        source: None,
    };
    perform(&app, &principal, wanted, &asked).await
}

pub(super) async fn remove(
    kind: &'static Kind,
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Path(place): Path<Place>,
    Ask(asked): Ask<Asked>,
    request: Request,
) -> Result<Response, ApiError> {
    let id = place.identity(kind)?;
    let only = only(request.headers(), Only::IfThere)?;
    perform(
        &app,
        &principal,
        Wanted {
            id,
            after: None,
            only,
            source: None,
        },
        &asked,
    )
    .await
}

/// `If-Match` names the revision that the caller saw.
fn only(headers: &HeaderMap, otherwise: Only) -> Result<Only, ApiError> {
    let Some(tag) = headers.get(header::IF_MATCH) else {
        return Ok(otherwise);
    };
    let tag = tag.to_str().unwrap_or_default().trim();
    if tag == "*" {
        return Ok(Only::IfThere);
    }
    let revision = tag.trim_start_matches("W/").trim_matches('"').parse();
    revision
        .map(Only::IfAt)
        .map_err(|_| ApiError::bad_request("If-Match takes one revision, as \"12\""))
}

async fn perform(app: &App, principal: &Principal, wanted: Wanted, asked: &Asked) -> Result<Response, ApiError> {
    let (id, deleted) = (wanted.id.clone(), wanted.after.is_none());
    // The change itself was decided with the route; what it names is known only now.
    for action in wanted.after.as_deref().map(naming).unwrap_or_default() {
        app.permit(principal, &action, "api").await?;
    }
    let was_there = app
        .0
        .engine
        .store()
        .view()
        .rows
        .get(&id)
        .is_some_and(|row| row.document.is_some());
    let request = EditRequest {
        actor: principal.actor("api"),
        wanted: vec![wanted],
        dry_run: asked.dry_run,
    };
    let edited = app.0.engine.edit(request).await?;
    committed(app, &edited, asked).await?;
    // What is so already, because it ships like that, needs no declaration.
    let code = if was_there || deleted || edited.plan.steps.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    if asked.dry_run || deleted {
        return Ok((code, Json(edited.plan)).into_response());
    }
    let view = app.0.engine.store().view();
    let report = app.0.engine.report().borrow().clone();
    // What was stored, and not what was sent: a secret came in the clear.
    let (document, revision) = items::in_force(&id, &view).ok_or_else(|| undeclared(&id))?;
    Ok(tagged(code, items::item(app, document, revision, &view, &report)))
}

/// With `?wait=commit`: answers once the change is in the repository.
pub(super) async fn committed(app: &App, edited: &Edited, asked: &Asked) -> Result<(), ApiError> {
    let (Some(WaitFor::Commit), Some(mutation)) = (asked.wait, &edited.mutation) else {
        return Ok(());
    };
    if app.0.engine.committed(mutation.revision, COMMIT).await {
        return Ok(());
    }
    let text = format!(
        "revision {} is in force, but its commit did not follow in time",
        mutation.revision
    );
    Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "not_committed", text)
        .hint("mcpctl status says what it waits for"))
}
