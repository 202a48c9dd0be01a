//! Streamable HTTP of the legacy era: what a request must look like, and which of our answers it gets.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::response::Response;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use serde_json::value::RawValue;

use crate::mcp::VERSIONS;
use crate::mcp::envelope::{self, Id, Message, code, members, text_of, too_deep};
use crate::mcp::lists::Kind;

use super::asked::Asked;
use super::page::page;
use super::session::Session;
use super::{Endpoint, Inner, answer, call, stream};

/// The largest request.
const LARGEST: usize = 4 << 20;
/// The longest that a request's body may take to arrive.
const SLOWEST: Duration = Duration::from_secs(30);

/// Answers one request.
pub async fn serve(inner: &Arc<Inner>, endpoint: &Endpoint, caller: &str, request: Request<Body>) -> Response {
    if inner.stop.is_cancelled() {
        return answer::refused(StatusCode::SERVICE_UNAVAILABLE, code::SERVER, "mcpd is stopping");
    }
    let known = inner.view.borrow().tables(endpoint).map(|_| ());
    if let Err(detail) = known {
        return answer::not_found(&detail);
    }
    let answered = match *request.method() {
        Method::POST => post(inner, endpoint, caller, request).await,
        Method::GET => get(inner, endpoint, caller, request.headers()),
        Method::DELETE => session(inner, endpoint, caller, request.headers()).map(|session| {
            inner.sessions.end(&session);
            answer::empty(StatusCode::NO_CONTENT)
        }),
        _ => Err(refusal(StatusCode::METHOD_NOT_ALLOWED, "use POST, GET or DELETE")),
    };
    answered.unwrap_or_else(|refused| *refused.0)
}

/// A refusal is a response too; boxed, for it is large and rare.
struct Refused(Box<Response>);

impl From<Response> for Refused {
    fn from(response: Response) -> Self {
        Self(Box::new(response))
    }
}

fn refusal(status: StatusCode, message: &str) -> Refused {
    answer::refused(status, code::SERVER, message).into()
}

fn get(inner: &Arc<Inner>, endpoint: &Endpoint, caller: &str, headers: &HeaderMap) -> Result<Response, Refused> {
    if !accepts(headers, "text/event-stream") {
        let message = "Not Acceptable: the client must accept text/event-stream";
        return Err(refusal(StatusCode::NOT_ACCEPTABLE, message));
    }
    check_version(headers)?;
    let session = session(inner, endpoint, caller, headers)?;
    Ok(stream::stream(inner, endpoint, &session))
}

async fn post(
    inner: &Arc<Inner>,
    endpoint: &Endpoint,
    caller: &str,
    request: Request<Body>,
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
    check_version(headers)?;
    let body = match tokio::time::timeout(SLOWEST, to_bytes(body, LARGEST)).await {
        Ok(Ok(body)) => body,
        Ok(Err(error)) if is_too_large(&error) => {
            let message = format!("a request may have {LARGEST} bytes at most");
            return Err(refusal(StatusCode::PAYLOAD_TOO_LARGE, &message));
        }
        Ok(Err(_)) => return Err(refusal(StatusCode::BAD_REQUEST, "the request's body can't be read")),
        Err(_) => return Err(refusal(StatusCode::REQUEST_TIMEOUT, "the request's body took too long")),
    };
    let bad = |code: i32, message: &str| Refused::from(answer::refused(StatusCode::BAD_REQUEST, code, message));
    let text = std::str::from_utf8(&body).map_err(|_| bad(code::PARSE, "not JSON: not UTF-8"))?;
    let message = Message::parse(text).map_err(|fault| bad(fault.code(), &fault.to_string()))?;
    if too_deep(text) {
        let fault = envelope::Fault::TooDeep;
        return Err(bad(fault.code(), &fault.to_string()));
    }
    match message {
        Message::Request { id, method, params } if method == "initialize" => {
            Ok(initialize(inner, endpoint, caller, id, params))
        }
        // The modern era's first question; the answer sends its clients to `initialize`.
        Message::Request { id, method, .. } if method == "server/discover" => Ok(no_method(id, &method)),
        Message::Request { id, method, params } => {
            let session = session(inner, endpoint, caller, headers)?;
            if method == "ping" {
                return Ok(answer::result(id.text(), b"{}"));
            }
            if let Some(kind) = Kind::listed_by(&method) {
                return Ok(list(inner, endpoint, &session, kind, id, params));
            }
            match Asked::read(text, id, &method, params) {
                Some(Ok(asked)) => {
                    let streams = accepts(headers, "text/event-stream");
                    Ok(call::call(inner, endpoint, &session, &asked, streams).await)
                }
                Some(Err(wrong)) => Ok(answer::error(id.text(), code::INVALID_PARAMS, wrong)),
                None => Ok(no_method(id, &method)),
            }
        }
        Message::Notification { method, params } => {
            let session = session(inner, endpoint, caller, headers)?;
            if method == "notifications/cancelled"
                && let Some(Ok([Some(id)])) = params.map(|params| members(params.get(), ["requestId"]))
            {
                session.cancel(id.get());
            }
            Ok(answer::empty(StatusCode::ACCEPTED))
        }
        Message::Response { .. } => {
            session(inner, endpoint, caller, headers)?;
            Ok(answer::empty(StatusCode::ACCEPTED))
        }
    }
}

fn is_too_large(error: &axum::Error) -> bool {
    let cause = error.source();
    cause.is_some_and(<dyn std::error::Error>::is::<http_body_util::LengthLimitError>)
}

fn no_method(id: Id<'_>, method: &str) -> Response {
    let method: String = method.chars().take(100).collect();
    answer::error(
        id.text(),
        code::METHOD_NOT_FOUND,
        &format!("Method not found: {method}"),
    )
}

fn initialize(inner: &Inner, endpoint: &Endpoint, caller: &str, id: Id<'_>, params: Option<&RawValue>) -> Response {
    let asked = params.and_then(|params| members(params.get(), ["protocolVersion"]).ok()?[0]);
    let Some(asked) = asked.and_then(text_of) else {
        let message = "initialize needs a protocolVersion";
        return answer::error(id.text(), code::INVALID_PARAMS, message);
    };
    // A version that is not spoken here is answered with the newest that is; the client decides.
    let version = VERSIONS
        .iter()
        .find(|version| **version == asked)
        .unwrap_or(&VERSIONS[0]);
    let minted = inner.sessions.mint(caller, endpoint);
    let Some((session, header)) = minted.and_then(|s| HeaderValue::from_str(&s.id).ok().map(|header| (s, header)))
    else {
        let message = "too many sessions are busy; try again later";
        return answer::refused(StatusCode::SERVICE_UNAVAILABLE, code::SERVER, message);
    };
    tracing::debug!(caller, ?endpoint, session = &session.id[..8], "a client initialised");
    let result = serde_json::json!({
        "protocolVersion": version,
        // Of the endpoint, not of the servers of this moment: they come and go. No logging: what a server logs is about
        // everybody's calls, so it is shown to nobody.
        "capabilities": {
            "completions": {},
            "prompts": {"listChanged": true},
            "resources": {"listChanged": true, "subscribe": true},
            "tools": {"listChanged": true},
        },
        "serverInfo": {"name": "mcpctl", "title": endpoint.title(), "version": env!("CARGO_PKG_VERSION")},
    });
    let mut response = answer::result(id.text(), result.to_string().as_bytes());
    response.headers_mut().insert(answer::SESSION, header);
    response
}

fn list(
    inner: &Inner,
    endpoint: &Endpoint,
    session: &Session,
    kind: Kind,
    id: Id<'_>,
    params: Option<&RawValue>,
) -> Response {
    let cursor = match params.map(|params| members(params.get(), ["cursor"])) {
        None | Some(Ok([None])) => None,
        Some(Ok([Some(cursor)])) if cursor.get() == "null" => None,
        Some(Ok([Some(cursor)])) => Some(text_of(cursor).unwrap_or_default()),
        Some(Err(_)) => return answer::error(id.text(), code::INVALID_PARAMS, "a cursor is given once"),
    };
    let view = Arc::clone(&inner.view.borrow());
    match view.tables(endpoint) {
        Ok(tables) => match page(tables, kind, cursor.as_deref(), false) {
            Ok(result) => {
                session.tell(kind, tables.of(kind).digest);
                answer::result(id.text(), &result)
            }
            Err(wrong) => answer::error(id.text(), code::INVALID_PARAMS, wrong),
        },
        Err(detail) => answer::not_found(&detail),
    }
}

/// The session that a request names: 400 without one, 404 where it is not the caller's, so that clients start anew.
fn session(inner: &Inner, endpoint: &Endpoint, caller: &str, headers: &HeaderMap) -> Result<Arc<Session>, Refused> {
    let Some(id) = headers.get(answer::SESSION) else {
        let message = "Bad Request: an Mcp-Session-Id header is needed; initialize gives one";
        return Err(refusal(StatusCode::BAD_REQUEST, message));
    };
    let found = id
        .to_str()
        .ok()
        .and_then(|id| inner.sessions.find(id, caller, endpoint));
    found.ok_or_else(|| {
        let message = "Session not found";
        answer::refused(StatusCode::NOT_FOUND, code::SESSION_NOT_FOUND, message).into()
    })
}

fn check_version(headers: &HeaderMap) -> Result<(), Refused> {
    match headers.get("mcp-protocol-version").map(HeaderValue::to_str) {
        None => Ok(()),
        Some(Ok(version)) if VERSIONS.contains(&version) => Ok(()),
        Some(_) => {
            let message = format!(
                "Bad Request: Unsupported protocol version (supported versions: {})",
                VERSIONS.join(", ")
            );
            Err(refusal(StatusCode::BAD_REQUEST, &message))
        }
    }
}

/// Whether a client takes a kind of answer; one that says nothing takes all.
fn accepts(headers: &HeaderMap, wanted: &str) -> bool {
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
