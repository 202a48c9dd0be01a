//! The choke point: Host and Origin, who asks, one decision, and the audit of every refusal.

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::access::{Action, Principal, Unauthenticated, authenticate, decide, host_allowed};
use crate::record::{AuditEvent, Decision};
use crate::repo::GIT_PATH;

use super::need::{Need, need};
use super::{ApiError, App};

/// The actor of a refusal where nobody is known.
const ANONYMOUS: &str = "anonymous";

/// Lets a request through to its handler, with the principal behind it, or refuses it.
pub(super) async fn gate(State(app): State<App>, request: Request, next: Next) -> Response {
    let (mut head, body) = request.into_parts();
    match admit(&app, &head).await {
        Ok(principal) => {
            head.extensions.insert(principal);
            next.run(Request::from_parts(head, body)).await
        }
        Err(error) => error.into_response(),
    }
}

async fn admit(app: &App, request: &Parts) -> Result<Principal, ApiError> {
    let headers = &request.headers;
    // HTTP/2 has the host in the URI.
    let host = request.uri.authority().map(|authority| authority.as_str().to_owned());
    let host = match host {
        Some(host) => Some(host),
        None => single(headers, &header::HOST)?,
    };
    let origin = single(headers, &header::ORIGIN)?;
    host_allowed(host.as_deref(), origin.as_deref(), &app.0.allowed)?;
    let need = need(&request.method, &request.uri);
    if matches!(need, Some(Need::Open)) {
        return Ok(Principal::Anonymous);
    }
    let git = request.uri.path().starts_with(GIT_PATH);
    let authorization = text(headers, &header::AUTHORIZATION);
    // A header that is there and can't be read is a wrong credential, not a missing one.
    let principal = if headers.contains_key(header::AUTHORIZATION) && authorization.is_none() {
        Err(Unauthenticated::Malformed)
    } else {
        authenticate(authorization.as_deref(), &app.0.tokens)
    };
    let principal = match principal {
        Ok(principal) => principal,
        Err(why) => {
            // A missing credential is how git and browsers begin; a wrong one is worth a line in the audit.
            if why != Unauthenticated::Missing {
                app.audit_stranger(door(request.uri.path()), request.uri.path()).await;
            }
            return Err(ApiError::unauthenticated(why, git));
        }
    };
    match need {
        None => Err(ApiError::not_found(format!(
            "there is no {} {}",
            request.method,
            request.uri.path()
        ))),
        Some(Need::Right(action)) => {
            app.permit(&principal, &action, door(request.uri.path())).await?;
            Ok(principal)
        }
        Some(Need::Open | Need::ByBody) => Ok(principal),
    }
}

impl App {
    /// The one decision, with the audit of a refusal.
    pub(super) async fn permit(&self, principal: &Principal, action: &Action, door: &str) -> Result<(), ApiError> {
        match decide(principal, action) {
            Ok(()) => Ok(()),
            Err(denied) => {
                self.audit_refusal(&principal.to_string(), door, &action.to_string())
                    .await;
                Err(denied.into())
            }
        }
    }

    /// Writes the refusal of nobody in particular down.
    pub(super) async fn audit_stranger(&self, door: &str, action: &str) {
        self.audit_refusal(ANONYMOUS, door, action).await;
    }

    /// Writes a refusal down. Those of nobody in particular are cheap to cause: one a second is written, with the count of
    /// those that were passed over, so that they can't push the audit's history out or keep the store busy.
    async fn audit_refusal(&self, actor: &str, door: &str, action: &str) {
        let mut action: String = action.chars().take(200).collect();
        if actor == ANONYMOUS {
            let now = tokio::time::Instant::now();
            let mut last = self
                .0
                .refusals
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            match *last {
                Some((at, passed)) if now.duration_since(at) < std::time::Duration::from_secs(1) => {
                    *last = Some((at, passed + 1));
                    return;
                }
                Some((_, passed)) if passed > 0 => action = format!("{action} (and {passed} more)"),
                _ => {}
            }
            *last = Some((now, 0));
        }
        let event = AuditEvent {
            sequence: 0,
            at: crate::kit::time::now(),
            actor: actor.to_owned(),
            door: door.to_owned(),
            action,
            decision: Decision::Denied,
            revision: None,
        };
        if let Err(error) = self.0.engine.store().record(vec![], vec![event]).await {
            tracing::error!(%error, "a refusal could not be written down");
        }
    }
}

fn door(path: &str) -> &'static str {
    if path.starts_with(GIT_PATH) {
        "push"
    } else if path.ends_with("/mcp") {
        "mcp"
    } else {
        "api"
    }
}

/// A header that may stand once at most, and must be text: what can't be judged is not let in.
fn single(headers: &HeaderMap, name: &header::HeaderName) -> Result<Option<String>, ApiError> {
    let mut all = headers.get_all(name).iter();
    match (all.next(), all.next()) {
        (None, _) => Ok(None),
        (Some(value), None) if value.to_str().is_ok() => Ok(text(headers, name)),
        _ => Err(ApiError::bad_request(format!(
            "the header {name} must be one line of text"
        ))),
    }
}

fn text(headers: &HeaderMap, name: &header::HeaderName) -> Option<String> {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned)
}
