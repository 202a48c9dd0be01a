//! The one desk that turns errors into status codes and words.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::access::{Denied, HostRefused, Unauthenticated};
use crate::engine::EngineError;
use crate::kit::{Diagnostic, count};
use crate::repo::RepoError;
use crate::store::StoreError;
use crate::wire::ErrorBody;

/// An answer of 400 or more.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    body: Box<ErrorBody>,
    challenge: Option<&'static str>,
    retry_after: Option<u32>,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, error: &str, detail: impl Into<String>) -> Self {
        let body = ErrorBody {
            error: error.to_owned(),
            detail: detail.into(),
            ..ErrorBody::default()
        };
        Self {
            status,
            body: Box::new(body),
            challenge: None,
            retry_after: None,
        }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.body.hint = Some(hint.into());
        self
    }

    pub(super) fn not_found(what: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", what)
    }

    /// What may go well in a moment.
    pub(super) fn busy(detail: impl Into<String>) -> Self {
        let mut error = Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail);
        error.retry_after = Some(1);
        error
    }

    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", detail)
    }

    pub(super) fn invalid(diagnostics: Vec<Diagnostic>) -> Self {
        let detail = match diagnostics.as_slice() {
            [one] => format!("{}: {}", one.place(), one.message),
            many => count(many.len(), "error"),
        };
        let mut error = Self::new(StatusCode::BAD_REQUEST, "invalid", detail);
        error.body.hint = diagnostics
            .iter()
            .find_map(|diagnostic| diagnostic.hint.clone())
            .filter(|_| diagnostics.len() == 1);
        error.body.diagnostics = diagnostics;
        error
    }

    /// Nobody is known behind the request; git only sends its password when it is asked with `Basic`.
    pub(super) fn unauthenticated(why: Unauthenticated, git: bool) -> Self {
        let mut error = Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", why.to_string());
        error.body.hint = Some("mcpd wrote an admin token to admin.token in its data folder".to_owned());
        error.challenge = Some(if git {
            "Basic realm=\"mcpctl\", charset=\"UTF-8\""
        } else {
            "Bearer realm=\"mcpctl\""
        });
        error
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(*self.body)).into_response();
        if let Some(challenge) = self.challenge {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if let Some(seconds) = self.retry_after {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<Denied> for ApiError {
    fn from(denied: Denied) -> Self {
        Self::new(StatusCode::FORBIDDEN, "denied", denied.to_string())
    }
}

impl From<HostRefused> for ApiError {
    fn from(refused: HostRefused) -> Self {
        Self::new(StatusCode::FORBIDDEN, "host_refused", refused.to_string()).hint(refused.hint())
    }
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        let text = error.to_string();
        match error {
            EngineError::Invalid(diagnostics) => Self::invalid(diagnostics),
            EngineError::Exists(id) => Self::new(StatusCode::CONFLICT, "exists", text).hint(format!(
                "change it with PUT or PATCH, or: mcpctl patch {id} FIELD=VALUE"
            )),
            EngineError::BuiltIn(id) => {
                Self::new(StatusCode::CONFLICT, "builtin", text).hint(format!("a declaration of {id} takes its place"))
            }
            EngineError::NotFound(_) | EngineError::NoConflict(_) => Self::not_found(text),
            EngineError::Needed { .. } => {
                Self::new(StatusCode::CONFLICT, "needed", text).hint("change or delete first what needs it")
            }
            EngineError::Stale { .. } => {
                Self::new(StatusCode::PRECONDITION_FAILED, "stale", text).hint("read it again and repeat the change")
            }
            EngineError::Passed { .. } => {
                Self::new(StatusCode::PRECONDITION_FAILED, "stale", text).hint("look at the plan again, and repeat it")
            }
            EngineError::NoRevision(_) => Self::not_found(text)
                .hint("mcpctl get revisions lists them; mcpctl restore list has the commits, which are kept for good"),
            EngineError::NotUndone { because, .. } => {
                let mut error = Self::new(StatusCode::CONFLICT, "moved", text);
                error.body.diagnostics = because;
                error
            }
            EngineError::MassDelete(_) => {
                Self::new(StatusCode::CONFLICT, "mass_delete", text).hint("if this is meant: --allow-mass-delete")
            }
            EngineError::NotScrubbed(_) => Self::bad_request(text),
            EngineError::Repository(RepoError::Scrub(why)) => Self::new(StatusCode::CONFLICT, "not_scrubbed", why)
                .hint("mcpctl repo scrub --dry-run tells where it stands"),
            EngineError::NoHistory { hint, .. } => Self::new(StatusCode::CONFLICT, "no_history", text).hint(hint),
            EngineError::Closed(..) => Self::new(StatusCode::CONFLICT, "sealed", text)
                .hint("give mcpd an identity that opens it in MCPD_IDENTITY_FILE"),
            EngineError::NotApproved(_) => Self::new(StatusCode::CONFLICT, "not_approved", text),
            EngineError::Busy => Self::busy(text),
            EngineError::Stopping => Self::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", text),
            EngineError::Store(error) => error.into(),
            EngineError::Repository(RepoError::NoPoint(why)) => Self::new(StatusCode::NOT_FOUND, "no_point", why).hint(
                "mcpctl restore list has the commits; one is named by its id or the beginning of it, HEAD~3, \
                 timeline/…, or a time like 2026-11-20T10:00",
            ),
            EngineError::Repository(cause) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "repository",
                format!("{text}: {cause}"),
            ),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        tracing::error!(error = &error as &dyn std::error::Error, "the store failed");
        let mut told = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "store",
            format!("the store failed: {error}"),
        );
        told.body.hint = error.hint().map(str::to_owned);
        // The store looks at its disk again with every request.
        told.retry_after = error.may_pass().then_some(5);
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk that fails is no fault of the request: it is asked again later, and the hint says that this may go well.
    #[test]
    fn a_store_that_fails_is_asked_again() {
        let error = EngineError::Store(StoreError::Unsure(Box::new(redb::Error::PreviousIo)));
        let told = ApiError::from(error);
        assert!(told.body.hint.as_deref().is_some_and(|hint| hint.contains("by itself")));
        assert!(told.body.detail.contains("whether it was made"), "{}", told.body.detail);
        let response = told.into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[header::RETRY_AFTER], "5");
        let told = ApiError::from(StoreError::NoExport(1)).into_response();
        assert_eq!(told.headers().get(header::RETRY_AFTER), None);
    }
}
