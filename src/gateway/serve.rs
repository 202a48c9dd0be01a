//! The HTTP of an endpoint: what a request must look like, and which era it speaks.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody as _, to_bytes};
use axum::response::Response;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};

use crate::mcp::envelope::{self, Message, code, too_deep};
use crate::mcp::meta::Meta;
use crate::mcp::{MODERN, VERSIONS};
use crate::record::Era;

use super::correlation::{CORRELATION, Correlation};
use super::meter::{Outcome, Timed};
use super::{Endpoint, Inner, answer, legacy, modern};

/// The largest request.
const LARGEST: usize = 4 << 20;
/// The longest that a request's body may take to arrive.
const SLOWEST: Duration = Duration::from_secs(30);
/// The header that names the protocol version.
pub const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");

/// Answers one request. Every answer names the id under which the log knows it.
pub async fn serve(inner: &Arc<Inner>, endpoint: &Endpoint, caller: &str, request: Request<Body>) -> Response {
    let correlation = Correlation::of(request.headers());
    let header = correlation.header();
    let mut response = served(inner, endpoint, caller, request, correlation).await;
    response.headers_mut().insert(CORRELATION, header);
    response
}

async fn served(
    inner: &Arc<Inner>,
    endpoint: &Endpoint,
    caller: &str,
    request: Request<Body>,
    correlation: Correlation,
) -> Response {
    if inner.stop.is_cancelled() {
        return answer::refused(StatusCode::SERVICE_UNAVAILABLE, code::SERVER, "mcpd is stopping");
    }
    let known = inner.view.borrow().tables(endpoint).map(|_| ());
    if let Err(detail) = known {
        return answer::not_found(&detail);
    }
    let says_modern = says(request.headers()) == Some(MODERN);
    let answered = match *request.method() {
        Method::POST => {
            let timed = inner.meter.begin(endpoint, caller, correlation);
            let response = post(inner, endpoint, caller, request, &timed).await;
            let response = response.unwrap_or_else(|refused| *refused.0);
            count(inner, &timed, &response);
            Ok(response)
        }
        // The modern era has neither.
        Method::GET | Method::DELETE if says_modern => Err(refusal(
            StatusCode::METHOD_NOT_ALLOWED,
            "use POST: 2026-07-28 has no sessions and no GET stream",
        )),
        Method::GET => legacy::get(inner, endpoint, caller, request.headers()),
        Method::DELETE => legacy::delete(inner, endpoint, caller, request.headers()),
        _ => Err(refusal(StatusCode::METHOD_NOT_ALLOWED, "use POST, GET or DELETE")),
    };
    answered.unwrap_or_else(|refused| *refused.0)
}

/// Ends what nobody else ended: what was answered without a server, or refused.
fn count(inner: &Inner, timed: &Timed, response: &Response) {
    if response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind == "text/event-stream")
    {
        // It counts its own bytes, and its request ends with it.
        return;
    }
    let bytes = response.body().size_hint().exact().unwrap_or_default();
    inner.meter.sent(usize::try_from(bytes).unwrap_or(usize::MAX));
    match response.extensions().get::<answer::Refusal>() {
        Some(refusal) => {
            let outcome = match refusal.code {
                code::METHOD_NOT_FOUND | code::RESOURCE_NOT_FOUND => Outcome::Unknown,
                code::CANCELLED => Outcome::Cancelled,
                _ => Outcome::Refused,
            };
            timed.end(outcome, &refusal.message);
        }
        None if response.status().is_success() => timed.end(Outcome::Ok, ""),
        None => timed.end(
            Outcome::Refused,
            response.status().canonical_reason().unwrap_or_default(),
        ),
    }
}

/// A refusal is a response too; boxed, for it is large and rare.
pub struct Refused(Box<Response>);

impl From<Response> for Refused {
    fn from(response: Response) -> Self {
        Self(Box::new(response))
    }
}

/// A refusal without an id.
pub fn refusal(status: StatusCode, message: &str) -> Refused {
    answer::refused(status, code::SERVER, message).into()
}

async fn post(
    inner: &Arc<Inner>,
    endpoint: &Endpoint,
    caller: &str,
    request: Request<Body>,
    timed: &Arc<Timed>,
) -> Result<Response, Refused> {
    let (head, body) = request.into_parts();
    let headers = &head.headers;
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    if !kind.is_some_and(|kind| media_type(kind).eq_ignore_ascii_case("application/json")) {
        let message = "Unsupported Media Type: Content-Type must be application/json";
        return Err(refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    if !accepts(headers, "application/json") {
        let message = "Not Acceptable: the client must accept application/json and text/event-stream";
        return Err(refusal(StatusCode::NOT_ACCEPTABLE, message));
    }
    let body = read(body).await?;
    let bad = |code: i32, message: &str| Refused::from(answer::refused(StatusCode::BAD_REQUEST, code, message));
    let text = std::str::from_utf8(&body).map_err(|_| bad(code::PARSE, "not JSON: not UTF-8"))?;
    let message = Message::parse(text).map_err(|fault| bad(fault.code(), &fault.to_string()))?;
    if too_deep(text) {
        let fault = envelope::Fault::TooDeep;
        return Err(bad(fault.code(), &fault.to_string()));
    }
    inner.meter.received(body.len());
    let params = match &message {
        Message::Request { params, .. } | Message::Notification { params, .. } => *params,
        Message::Response { .. } => None,
    };
    let meta = Meta::read(params);
    let is_modern = says(headers) == Some(MODERN) || meta.is_ok_and(|meta| meta.version.is_some());
    match &message {
        Message::Request { method, .. } => timed.asks(method, if is_modern { Era::Modern } else { Era::Legacy }),
        Message::Notification { .. } | Message::Response { .. } => timed.forget(),
    }
    if is_modern {
        return modern::post(inner, endpoint, caller, headers, &body, text, message, meta, timed).await;
    }
    check_version(headers)?;
    legacy::post(inner, endpoint, caller, headers, &body, text, message, timed).await
}

async fn read(body: Body) -> Result<Bytes, Refused> {
    match tokio::time::timeout(SLOWEST, to_bytes(body, LARGEST)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(error)) if is_too_large(&error) => {
            let message = format!("a request may have {LARGEST} bytes at most");
            Err(refusal(StatusCode::PAYLOAD_TOO_LARGE, &message))
        }
        Ok(Err(_)) => Err(refusal(StatusCode::BAD_REQUEST, "the request's body can't be read")),
        Err(_) => Err(refusal(StatusCode::REQUEST_TIMEOUT, "the request's body took too long")),
    }
}

fn is_too_large(error: &axum::Error) -> bool {
    let cause = error.source();
    cause.is_some_and(<dyn std::error::Error>::is::<http_body_util::LengthLimitError>)
}

/// The version that the headers name.
pub fn says(headers: &HeaderMap) -> Option<&str> {
    headers.get(VERSION).and_then(|version| version.to_str().ok())
}

/// That the headers of a legacy request name a legacy version, or none.
pub fn check_version(headers: &HeaderMap) -> Result<(), Refused> {
    match headers.get(VERSION).map(HeaderValue::to_str) {
        None => Ok(()),
        Some(Ok(version)) if VERSIONS.contains(&version) => Ok(()),
        Some(_) => {
            let message = format!(
                "Bad Request: Unsupported protocol version (supported versions: {MODERN}, {})",
                VERSIONS.join(", ")
            );
            Err(refusal(StatusCode::BAD_REQUEST, &message))
        }
    }
}

/// Whether a client takes a kind of answer; one that says nothing takes all.
pub fn accepts(headers: &HeaderMap, wanted: &str) -> bool {
    let mut said = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .peekable();
    let group = wanted.split_once('/').map_or("", |(group, _)| group);
    said.peek().is_none()
        || said
            .flat_map(|value| value.split(','))
            .map(media_type)
            .any(|kind| kind == "*/*" || kind.eq_ignore_ascii_case(wanted) || kind.strip_suffix("/*") == Some(group))
}

fn media_type(value: &str) -> &str {
    value.split(';').next().unwrap_or_default().trim()
}
