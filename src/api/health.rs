//! Whether mcpd is alive, and whether it is ready.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use crate::record::State as InstanceState;

use super::App;
use super::ask::Ask;

/// Alive: the process answers.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

#[derive(Deserialize)]
pub(super) struct Strict {
    strict: Option<String>,
}

/// Ready: the store is open, the source was read once and the runtime answered or was reported away. The body lists what
/// is not converged, by name and state alone because anybody may ask; with `?strict` that makes it 503 too.
pub(super) async fn readyz(State(app): State<App>, Ask(query): Ask<Strict>) -> Response {
    let report = app.0.engine.report().borrow().clone();
    let status = &report.status;
    let waiting: Vec<_> = status
        .instances
        .iter()
        .filter(|instance| instance.state != InstanceState::Running)
        .map(|instance| json!({"instance": instance.instance, "state": instance.state}))
        .collect();
    // A source that can't be read is reported, and what is in force goes on: that is ready too.
    let ready = report.read || status.source.last_error.is_some();
    let strict = query.strict.is_some_and(|word| word != "false");
    let code = if ready && (status.converged || !strict) {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = json!({
        "ready": ready,
        "converged": status.converged,
        "source": status.source.state,
        "notConverged": waiting,
        "held": status.held.iter().map(|held| held.resource.as_str()).collect::<Vec<_>>(),
        "pendingCount": status.source.pending_count,
    });
    (code, Json(body)).into_response()
}
