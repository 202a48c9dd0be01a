//! Declared resources, one by one: list, show, create, replace, merge, remove.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::access::{Action, Principal};
use crate::engine::{EditRequest, Edited, Only, Report, Wanted};
use crate::kit::{Diagnostic, Name, Position};
use crate::record::{InstanceStatus, State as InstanceState, StoreView};
use crate::resource::{Declared, Document, FileText, Id, Kind, Problem, Server, yaml};
use crate::wire::{Item, Listing, ServerStatus};

use super::ask::Ask;
use super::feed;
use super::{ApiError, App, LARGEST_BODY};

/// The name that diagnostics give to a body.
pub(super) const REQUEST: &str = "<body>";
/// The longest that a body may take to arrive.
const SLOWEST: Duration = Duration::from_mins(1);
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

/// The body of a request, bounded.
pub(super) async fn body(request: Body) -> Result<Vec<u8>, ApiError> {
    let read = tokio::time::timeout(SLOWEST, to_bytes(request, LARGEST_BODY)).await;
    match read.map_err(|_| {
        ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            "too_slow",
            "the body did not arrive in time",
        )
    })? {
        Ok(bytes) => Ok(bytes.into()),
        Err(error) => {
            let too_large = std::error::Error::source(&error)
                .is_some_and(<dyn std::error::Error>::is::<http_body_util::LengthLimitError>);
            Err(if too_large {
                let text = format!("the body has more than {} MiB", LARGEST_BODY >> 20);
                ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", text)
            } else {
                ApiError::bad_request("the body did not arrive whole")
            })
        }
    }
}

pub(super) fn list(kind: &'static Kind, app: App, asked: &Asked) -> Response {
    if asked.watch {
        return feed::watch(app, true, move |app| Box::pin(async move { of_kind(&app, kind.name) }));
    }
    let (view, report) = (app.0.engine.store().view(), app.0.engine.report().borrow().clone());
    Json(Listing {
        items: items(kind.name, &view, &report),
        revision: view.revision,
    })
    .into_response()
}

fn of_kind(app: &App, kind: &str) -> feed::Entries {
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

fn items(kind: &str, view: &StoreView, report: &Report) -> Vec<Item> {
    let of_kind = view.rows.iter().filter(|(id, _)| id.kind().name == kind);
    of_kind
        .filter_map(|(_, row)| Some(item(row.document.as_ref()?, row.revision, view, report)))
        .collect()
}

fn item(document: &Arc<Document>, revision: u64, view: &StoreView, report: &Report) -> Item {
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
    let running = instances
        .iter()
        .filter(|status| status.state == InstanceState::Running)
        .count();
    let worst = instances.iter().max_by_key(|status| status.state);
    let status = ServerStatus {
        state: match worst {
            Some(status) => status.state.to_string(),
            None if wanted == 0 => "STOPPED".to_owned(),
            None => InstanceState::Pending.to_string(),
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

fn identity(kind: &'static Kind, name: &str) -> Result<Id, ApiError> {
    let name: Name = name
        .parse()
        .map_err(|_| ApiError::not_found(format!("{}/{name} is not declared", kind.name)))?;
    Ok(Id::new(kind, name))
}

pub(super) fn show(kind: &'static Kind, app: &App, name: &str) -> Result<Response, ApiError> {
    let id = identity(kind, name)?;
    let view = app.0.engine.store().view();
    let missing = || ApiError::not_found(format!("{id} is not declared"));
    let row = view.rows.get(&id).ok_or_else(missing)?;
    let document = row.document.as_ref().ok_or_else(missing)?;
    let report = app.0.engine.report().borrow().clone();
    Ok(tagged(StatusCode::OK, item(document, row.revision, &view, &report)))
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
    Ask(asked): Ask<Asked>,
    request: Request,
) -> Result<Response, ApiError> {
    let wanted = one(&body(request.into_body()).await?, Only::IfNew)?;
    if wanted.id.kind().name != kind.name {
        return Err(ApiError::bad_request(format!("{} is no {}", wanted.id, kind.name)));
    }
    app.permit(&principal, &Action::Create(wanted.id.clone()), "api")
        .await?;
    perform(&app, &principal, wanted, &asked).await
}

pub(super) async fn replace(
    kind: &'static Kind,
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Path(name): Path<String>,
    Ask(asked): Ask<Asked>,
    request: Request,
) -> Result<Response, ApiError> {
    let id = identity(kind, &name)?;
    let only = only(request.headers(), Only::Always)?;
    let wanted = one(&body(request.into_body()).await?, only)?;
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
    Path(name): Path<String>,
    Ask(asked): Ask<Asked>,
    request: Request,
) -> Result<Response, ApiError> {
    let id = identity(kind, &name)?;
    let only = only(request.headers(), Only::IfThere)?;
    let bytes = body(request.into_body()).await?;
    let mut patch: Value = serde_json::from_slice(&bytes)
        .map_err(|error| ApiError::bad_request(format!("the body is no JSON object: {error}")))?;
    let fields = patch
        .as_object_mut()
        .ok_or_else(|| ApiError::bad_request("a patch is a JSON object"))?;
    for (key, is) in [("kind", id.kind().name), ("name", id.name.as_str())] {
        match fields.remove(key) {
            Some(said) if said != is => {
                return Err(ApiError::bad_request(format!(
                    "{key} can't be changed: it is what the resource is called by"
                )));
            }
            _ => {}
        }
    }
    // Each try is made on the row as it is then, and refused if another change comes between.
    let view = app.0.engine.store().view();
    let row = view.rows.get(&id).filter(|row| row.document.is_some());
    let row = row.ok_or_else(|| ApiError::not_found(format!("{id} is not declared")))?;
    let mut spec = row
        .document
        .as_ref()
        .map(|document| document.spec.clone())
        .unwrap_or_default();
    apply_patch(&mut spec, &patch);
    let document =
        Document::new(id.clone(), &spec).map_err(|problems| ApiError::invalid(diagnostics(&bytes, problems)))?;
    let only = if only == Only::IfThere {
        Only::IfAt(row.revision)
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
    Path(name): Path<String>,
    Ask(asked): Ask<Asked>,
    request: Request,
) -> Result<Response, ApiError> {
    let id = identity(kind, &name)?;
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
    let was_there = app
        .0
        .engine
        .store()
        .view()
        .rows
        .get(&id)
        .is_some_and(|row| row.document.is_some());
    let document = wanted.after.clone();
    let request = EditRequest {
        actor: principal.actor("api"),
        wanted: vec![wanted],
        dry_run: asked.dry_run,
    };
    let edited = app.0.engine.edit(request).await?;
    committed(app, &edited, asked).await?;
    let code = if was_there || deleted {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    if asked.dry_run || deleted {
        return Ok((code, Json(edited.plan)).into_response());
    }
    let view = app.0.engine.store().view();
    let report = app.0.engine.report().borrow().clone();
    let document = document.ok_or_else(|| ApiError::not_found(format!("{id} is not declared")))?;
    let revision = view.rows.get(&id).map_or(edited.plan.revision, |row| row.revision);
    Ok(tagged(code, item(&document, revision, &view, &report)))
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

/// The one document of a body.
fn one(bytes: &[u8], only: Only) -> Result<Wanted, ApiError> {
    let mut all = documents(bytes, only)?;
    match all.len() {
        1 => Ok(all.remove(0)),
        n => Err(
            ApiError::bad_request(format!("one document is expected, and there are {n}"))
                .hint("send several to /api/v1/apply"),
        ),
    }
}

/// The documents of a body (YAML, JSON, or a JSON array of documents), each with its place in it.
pub(super) fn documents(bytes: &[u8], only: Only) -> Result<Vec<Wanted>, ApiError> {
    let mut files = vec![];
    if bytes.trim_ascii_start().starts_with(b"[") {
        let items: Vec<&RawValue> = serde_json::from_slice(bytes)
            .map_err(|error| ApiError::bad_request(format!("the body is no JSON array: {error}")))?;
        for (n, item) in items.iter().enumerate() {
            files.push(FileText {
                path: format!("<body>[{n}]"),
                bytes: Ok(item.get().as_bytes().to_vec()),
            });
        }
    } else {
        files.push(FileText {
            path: REQUEST.to_owned(),
            bytes: Ok(bytes.to_vec()),
        });
    }
    let mut all: BTreeMap<Id, Wanted> = BTreeMap::new();
    let mut faults = vec![];
    for file in &files {
        let parsed = yaml::read_up_to(file, LARGEST_BODY);
        faults.extend(parsed.diagnostics);
        for parsed in parsed.documents {
            let id = parsed.placed.document.id.clone();
            let source = parsed.name_at.diagnostic(&file.path, "");
            match all.entry(id.clone()) {
                Entry::Vacant(place) => {
                    let after = Some(parsed.placed.document);
                    place.insert(Wanted {
                        id,
                        after,
                        only,
                        source: Some(source),
                    });
                }
                Entry::Occupied(first) => {
                    let note = first
                        .get()
                        .source
                        .as_ref()
                        .map(|first| format!("{}: the other place", first.place()));
                    faults.push(Diagnostic {
                        message: format!("{id} is declared twice"),
                        note,
                        ..source
                    });
                }
            }
        }
    }
    // Identities sort in apply order.
    if faults.is_empty() {
        Ok(all.into_values().collect())
    } else {
        Err(ApiError::invalid(faults))
    }
}

/// The problems of a patched document, each at the patch's own key where the patch names the field.
fn diagnostics(patch: &[u8], problems: Vec<Problem>) -> Vec<Diagnostic> {
    let text = String::from_utf8_lossy(patch);
    let one = |problem: Problem| {
        let field = problem.path.split(['.', '[']).next().unwrap_or_default().to_owned();
        let key = format!("\"{field}\"");
        let diagnostic = match text.find(&key).filter(|_| !field.is_empty()) {
            Some(at) => {
                let before = &text[..at];
                let line = u32::try_from(before.matches('\n').count() + 1).unwrap_or(u32::MAX);
                let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
                let position = Position {
                    line,
                    column: u32::try_from(column).unwrap_or(u32::MAX),
                };
                Diagnostic::at(REQUEST, &text, position, key.chars().count(), problem.message)
            }
            None => Diagnostic {
                line: 1,
                column: 1,
                ..Diagnostic::of_file(REQUEST, problem.message)
            },
        };
        match problem.hint {
            Some(hint) => diagnostic.hint(hint),
            None => diagnostic,
        }
    };
    problems.into_iter().map(one).collect()
}

/// RFC 7396, section 2. The depth of both is bounded by the JSON parser.
fn apply_patch(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Value::Object(map) = target else { return };
    for (key, value) in fields {
        if value.is_null() {
            map.remove(key);
        } else {
            apply_patch(map.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The examples of RFC 7396, appendix A.
    #[test]
    fn merge_patch_is_the_rfcs() {
        for (target, patch, want) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (
                json!({"a": {"b": "c"}}),
                json!({"a": {"b": "d", "c": null}}),
                json!({"a": {"b": "d"}}),
            ),
            (json!({"a": [1]}), json!({"a": [2, 3]}), json!({"a": [2, 3]})),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ] {
            let mut out = target.clone();
            apply_patch(&mut out, &patch);
            assert_eq!(out, want, "{target} and {patch}");
        }
    }
}
