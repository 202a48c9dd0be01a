//! The legacy era (2024-11-05 to 2025-11-25): `initialize`, sessions, and what is said in them.

use std::sync::Arc;

use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::value::RawValue;

use crate::mcp::envelope::{Id, Message, Outcome, code, members, text_of};
use crate::mcp::level::Level;
use crate::mcp::lists::Kind;
use crate::mcp::{VERSIONS, meta};
use crate::record::Era;

use super::ask::Can;
use super::asked::Asked;
use super::find::Asker;
use super::meter::Timed;
use super::serve::{Refused, accepts, check_version, refusal};
use super::session::{About, Session};
use super::{Endpoint, Inner, answer, call, stream};

/// The longest that a client may say of itself, in bytes.
const LONGEST_ABOUT: usize = 16 << 10;

/// Opens the stream on which the client hears what changes.
pub fn get(inner: &Arc<Inner>, endpoint: &Endpoint, caller: &str, headers: &HeaderMap) -> Result<Response, Refused> {
    if !accepts(headers, "text/event-stream") {
        let message = "Not Acceptable: the client must accept text/event-stream";
        return Err(refusal(StatusCode::NOT_ACCEPTABLE, message));
    }
    check_version(headers)?;
    let session = session(inner, endpoint, caller, headers)?;
    Ok(stream::stream(inner, endpoint, &session))
}

/// Ends the session.
pub fn delete(inner: &Arc<Inner>, endpoint: &Endpoint, caller: &str, headers: &HeaderMap) -> Result<Response, Refused> {
    let session = session(inner, endpoint, caller, headers)?;
    inner.sessions.end(&session);
    Ok(answer::empty(StatusCode::NO_CONTENT))
}

/// Takes one message.
#[expect(clippy::too_many_arguments, reason = "what a request is made of, read once")]
pub async fn post(
    inner: &Arc<Inner>,
    endpoint: &Endpoint,
    caller: &str,
    headers: &HeaderMap,
    body: &Bytes,
    text: &str,
    message: Message<'_>,
    timed: &Arc<Timed>,
) -> Result<Response, Refused> {
    let (id, method, params) = match message {
        Message::Request { id, method, params } if method == "initialize" => {
            return Ok(initialize(inner, endpoint, caller, id, params));
        }
        // The modern era's first question without its words; the answer sends its clients to `initialize`.
        Message::Request { id, method, .. } if method == "server/discover" => return Ok(no_method(id, &method)),
        Message::Request { id, method, params } => (id, method, params),
        Message::Notification { method, params } => {
            let session = session(inner, endpoint, caller, headers)?;
            if method == "notifications/cancelled"
                && let Some(Ok([Some(id)])) = params.map(|params| members(params.get(), ["requestId"]))
            {
                session.cancel(id.get());
            }
            return Ok(answer::empty(StatusCode::ACCEPTED));
        }
        Message::Response { id, outcome } => {
            let session = session(inner, endpoint, caller, headers)?;
            if let Some(id) = id.and_then(Id::number) {
                // An answer that nobody waits for (any more) is no fault of the client's.
                session.reply(
                    id,
                    match outcome {
                        Outcome::Result(raw) => Ok(raw.get().to_owned()),
                        Outcome::Error(raw) => Err(raw.get().to_owned()),
                    },
                );
            }
            return Ok(answer::empty(StatusCode::ACCEPTED));
        }
    };
    let session = session(inner, endpoint, caller, headers)?;
    if method == "ping" {
        return Ok(answer::result(id.text(), b"{}"));
    }
    if method == "logging/setLevel" {
        return Ok(set_level(inner, &session, id, params));
    }
    if let Some(kind) = Kind::listed_by(&method) {
        return Ok(list(inner, endpoint, &session, kind, id, params));
    }
    match Asked::read(body, text, id, &method, params) {
        Some(Ok(asked)) => {
            let who = Asker {
                era: Era::Legacy,
                owner: Arc::clone(&session.id),
                caller: caller.into(),
                streams: accepts(headers, "text/event-stream"),
                can: session.about.can,
                level: session.level(),
                session: Some(session),
                timed: Arc::clone(timed),
            };
            Ok(call::call(inner, endpoint, who, asked).await)
        }
        Some(Err(wrong)) => Ok(answer::error(id.text(), code::INVALID_PARAMS, wrong)),
        None => Ok(no_method(id, &method)),
    }
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
    let names = ["protocolVersion", "capabilities", "clientInfo"];
    let said = params.and_then(|params| members(params.get(), names).ok());
    let [asked, capabilities, info] = said.unwrap_or_default();
    let Some(asked) = asked.and_then(text_of) else {
        let message = "initialize needs a protocolVersion";
        return answer::error(id.text(), code::INVALID_PARAMS, message);
    };
    // A version that is not spoken here is answered with the newest that is; the client decides.
    let version = VERSIONS
        .iter()
        .find(|version| **version == asked)
        .unwrap_or(&VERSIONS[0]);
    let short = |raw: &&RawValue| raw.get().starts_with('{') && raw.get().len() <= LONGEST_ABOUT;
    let about = About {
        info: info.filter(short).map(|raw| raw.get().to_owned()),
        capabilities: capabilities.filter(short).map(|raw| raw.get().to_owned()),
        can: Can::read(capabilities.filter(short)),
    };
    let full = |message: &str| answer::refused(StatusCode::SERVICE_UNAVAILABLE, code::SERVER, message);
    let session = match inner.sessions.mint(caller, endpoint, about) {
        Ok(session) => session,
        Err(no_room) => return full(&no_room.to_string()),
    };
    let Ok(header) = HeaderValue::from_str(&session.id) else {
        return full("the session's id is no header");
    };
    tracing::debug!(caller, ?endpoint, session = &session.id[..8], "a client initialised");
    let mut server = meta::ourselves();
    server["title"] = endpoint.title().as_str().into();
    let (can, instructions) = super::about(&inner.view.borrow(), endpoint, Era::Legacy);
    let mut result = serde_json::json!({
        "protocolVersion": version,
        "capabilities": can,
        "serverInfo": server,
    });
    if let Some(instructions) = instructions {
        result["instructions"] = instructions.into();
    }
    let mut response = answer::result(id.text(), result.to_string().as_bytes());
    response.headers_mut().insert(answer::SESSION, header);
    response
}

fn set_level(inner: &Inner, session: &Session, id: Id<'_>, params: Option<&RawValue>) -> Response {
    let level = params.and_then(|params| Level::read(members(params.get(), ["level"]).ok()?[0]?));
    let Some(level) = level else {
        let message =
            "logging/setLevel needs a level: debug, info, notice, warning, error, critical, alert or emergency";
        return answer::error(id.text(), code::INVALID_PARAMS, message);
    };
    session.set_level(level);
    inner.sessions.subscriptions.levels.set(&session.id, level);
    answer::result(id.text(), b"{}")
}

fn list(
    inner: &Inner,
    endpoint: &Endpoint,
    session: &Session,
    kind: Kind,
    id: Id<'_>,
    params: Option<&RawValue>,
) -> Response {
    let cursor = params.and_then(|params| members(params.get(), ["cursor"]).ok()?[0]);
    let cursor = match super::cursor(cursor) {
        Ok(cursor) => cursor,
        Err(wrong) => return answer::error(id.text(), code::INVALID_PARAMS, wrong),
    };
    let view = Arc::clone(&inner.view.borrow());
    match view.tables(endpoint) {
        Ok(tables) => {
            session.tell(kind, tables.of(kind).digest);
            match super::page::page(tables, kind, cursor.as_deref(), false) {
                Ok(result) => answer::result(id.text(), &result),
                Err(wrong) => answer::error(id.text(), code::INVALID_PARAMS, wrong),
            }
        }
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
