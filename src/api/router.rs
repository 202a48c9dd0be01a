//! Routes to handlers. What a route needs stands in `need`; a test compares both.

use axum::Extension;
use axum::Router;
use axum::extract::{Path, Request, State};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, delete, get, patch, post, put};

use crate::access::Principal;
use crate::gateway::Endpoint;
use crate::kit::Name;
use crate::repo::{GIT_PATH, Source};
use crate::resource::{KINDS, Kind};

use super::ask::Ask;
use super::{ApiError, App, backup, gate, health, logs, metrics, past, plans, records, resources, tools, webhook};

pub(super) fn router(app: App) -> Router {
    let mut api = Router::new()
        .route("/status", get(records::status))
        .route("/instances", get(records::instances))
        .route("/instances/{server}/{index}/logs", get(logs::logs))
        .route("/conflicts", get(records::conflicts))
        .route("/conflicts/{*id}", post(plans::accept))
        .route("/events", get(records::events))
        .route("/revisions", get(records::revisions))
        .route("/revisions/{revision}/undo", post(past::undo))
        .route("/tools", get(tools::list))
        .route("/tools/approve", post(tools::approve))
        .route("/runs", get(records::runs))
        .route("/runs/{id}", get(records::run))
        .route("/audit/events", get(records::audit))
        .route("/diff", get(plans::diff))
        .route("/apply", post(plans::apply))
        .route("/sync", post(plans::sync))
        .route("/backup/status", get(backup::status))
        .route("/backup/log", get(backup::log))
        .route("/backup/key", get(backup::key))
        .route("/backup/identity", post(backup::identity))
        .route("/restore/verify", get(backup::verify))
        .route("/repo/scrub", post(past::scrub))
        .route("/restore/list", get(past::list))
        .route("/restore/diff", get(past::diff))
        .route("/restore/to", post(past::to));
    for kind in KINDS {
        let list = format!("/{}", kind.plural);
        let below_project = kind.scoped.then(|| format!("/projects/{{project}}/{}", kind.plural));
        for list in [Some(list), below_project].into_iter().flatten() {
            api = below(api, &list, kind);
        }
    }
    Router::new()
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(metrics::metrics))
        .route("/projects/{project}/mcp", any(project))
        .route("/projects/{project}/servers/{server}/mcp", any(server_of_project))
        .route("/servers/{server}/mcp", any(server))
        .route(&format!("{GIT_PATH}/{{*rest}}"), any(git))
        .route(webhook::PATH, post(webhook::webhook))
        .nest("/api/v1", api)
        .fallback(|request: Request| async move {
            ApiError::not_found(format!("there is no {} {}", request.method(), request.uri().path()))
        })
        .layer(middleware::from_fn_with_state(app.clone(), gate::gate))
        .with_state(app)
}

/// The routes of a kind: its list, and one resource below it.
fn below(api: Router<App>, list: &str, kind: &'static Kind) -> Router<App> {
    let one = format!("{list}/{{name}}");
    api.route(
        list,
        get(move |State(app), Path(place), Ask(asked)| async move { resources::list(kind, app, &place, &asked) }),
    )
    .route(list, post(move |a, p, n, q, b| resources::create(kind, a, p, n, q, b)))
    .route(&one, get(move |a, p, n, q| resources::show(kind, a, p, n, q)))
    .route(&one, put(move |a, p, n, q, r| resources::replace(kind, a, p, n, q, r)))
    .route(&one, patch(move |a, p, n, q, r| resources::merge(kind, a, p, n, q, r)))
    .route(
        &one,
        delete(move |a, p, n, q, r| resources::remove(kind, a, p, n, q, r)),
    )
}

async fn project(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Path(project): Path<String>,
    request: Request,
) -> Response {
    match project.parse::<Name>() {
        Ok(project) => mcp(&app, Endpoint::Project(project), &principal, request).await,
        Err(error) => ApiError::not_found(error.to_string()).into_response(),
    }
}

async fn server_of_project(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Path((project, server)): Path<(String, String)>,
    request: Request,
) -> Response {
    match (project.parse::<Name>(), server.parse::<Name>()) {
        (Ok(project), Ok(server)) => mcp(&app, Endpoint::ProjectServer(project, server), &principal, request).await,
        (Err(error), _) | (_, Err(error)) => ApiError::not_found(error.to_string()).into_response(),
    }
}

async fn server(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Path(server): Path<String>,
    request: Request,
) -> Response {
    match server.parse::<Name>() {
        Ok(server) => mcp(&app, Endpoint::Server(server), &principal, request).await,
        Err(error) => ApiError::not_found(error.to_string()).into_response(),
    }
}

async fn mcp(app: &App, endpoint: Endpoint, principal: &Principal, request: Request) -> Response {
    app.0.gateway.handle(endpoint, &principal.key(), request).await
}

async fn git(State(app): State<App>, Extension(principal): Extension<Principal>, request: Request) -> Response {
    match &app.0.source {
        Source::Hosted(hosted) => hosted.serve_http(&principal, request).await,
        Source::Remote(remote) => ApiError::not_found("this mcpd hosts no repository: it keeps up with a remote one")
            .hint(format!("clone and push there: {}", remote.location()))
            .into_response(),
        Source::Folder(_) => ApiError::not_found("this mcpd watches a folder and hosts no repository").into_response(),
    }
}
