//! The HTTP answers of an endpoint.

use axum::body::Body;
use axum::response::Response;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, StatusCode};

use crate::mcp::envelope;

/// The header that names a session.
pub const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");

/// Stands in the extensions of a response that refuses: what it says, for the log and the counters.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// The JSON-RPC error code.
    pub code: i32,
    /// The message.
    pub message: Box<str>,
}

/// A JSON body.
pub fn json(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// A result; `id` and `result` are JSON texts.
pub fn result(id: &str, result: &[u8]) -> Response {
    json(StatusCode::OK, envelope::result(id, result))
}

/// A JSON-RPC error as the answer to a request.
pub fn error(id: &str, code: i32, message: &str) -> Response {
    noted(json(StatusCode::OK, envelope::error(id, code, message)), code, message)
}

fn noted(mut response: Response, code: i32, message: &str) -> Response {
    let message = message.into();
    response.extensions_mut().insert(Refusal { code, message });
    response
}

/// A request that is refused as such, before it has an id.
pub fn refused(status: StatusCode, code: i32, message: &str) -> Response {
    let mut response = noted(json(status, envelope::error("null", code, message)), code, message);
    if status == StatusCode::METHOD_NOT_ALLOWED {
        let methods = HeaderValue::from_static("GET, POST, DELETE");
        response.headers_mut().insert(ALLOW, methods);
    }
    response
}

/// There is no such endpoint.
pub fn not_found(detail: &str) -> Response {
    let body = serde_json::json!({"error": "not_found", "detail": detail});
    json(StatusCode::NOT_FOUND, body.to_string().into_bytes())
}

/// Nothing but a status.
pub fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// A stream of server-sent events.
pub fn stream(body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Proxies in front (nginx) would hold events back.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// A message as a server-sent event. A message from a server is one line; a carriage return would end it early.
pub fn event(message: &[u8]) -> Vec<u8> {
    let mut event = [b"event: message\ndata: ", message, b"\n\n"].concat();
    let end = event.len() - 2;
    for byte in event[21..end].iter_mut().filter(|b| matches!(b, b'\r' | b'\n')) {
        *byte = b' ';
    }
    event
}

/// What a tool's answer is when its server can't give one: a result that is an error.
///
/// Hosts show such a text to the model, which can tell its person which server is away and why; a JSON-RPC error ends as
/// an exception in most of them, its message in a log.
pub fn tool_failed(message: &str) -> Vec<u8> {
    let content = serde_json::json!({"content": [{"type": "text", "text": message}], "isError": true});
    content.to_string().into_bytes()
}
