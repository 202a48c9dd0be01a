//! The modern era (2026-07-28): each request by itself, its headers checked against its body, and no session.

use std::borrow::Cow;
use std::sync::Arc;

use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode};
use serde_json::value::RawValue;

use crate::kit::Digest;
use crate::mcp::envelope::{self, Id, Message, code, members, text_of};
use crate::mcp::level::Level;
use crate::mcp::lists::Kind;
use crate::mcp::meta::{self, Meta, SERVER};
use crate::mcp::{MODERN, VERSIONS, headers as encoding};
use crate::record::Era;

use super::ask::Can;
use super::asked::{Ask, Asked};
use super::find::Asker;
use super::meter::{Outcome, Timed};
use super::serve::{Refused, VERSION, accepts, refusal};
use super::{Endpoint, Inner, answer, call, listen};

const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");
/// How long what a server says of itself may be kept, in milliseconds: who joins meanwhile changes little of it.
const DISCOVERED_MS: u64 = 60_000;

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
    meta: Result<Meta<'_>, &'static str>,
    timed: &Arc<Timed>,
) -> Result<Response, Refused> {
    let (id, method, params) = match message {
        Message::Request { id, method, params } => (id, method, params),
        // Closing a stream cancels; there is nothing else to notify of.
        Message::Notification { .. } => return Ok(answer::empty(StatusCode::ACCEPTED)),
        Message::Response { .. } => {
            let message = "Bad Request: 2026-07-28 has no responses of clients; answer with inputResponses";
            return Err(refusal(StatusCode::BAD_REQUEST, message));
        }
    };
    let meta = match check(headers, &method, meta) {
        Ok(meta) => meta,
        Err(fault) => return Ok(fault.answer(id)),
    };
    if let Err(fault) = check_name(headers, &method, params) {
        return Ok(fault.answer(id));
    }
    if method == "server/discover" {
        return Ok(answer::result(id.text(), discovered(inner, endpoint).as_bytes()));
    }
    if let Some(kind) = Kind::listed_by(&method) {
        return Ok(list(inner, endpoint, kind, id, params));
    }
    let streams = accepts(headers, "text/event-stream");
    if method == "subscriptions/listen" {
        if !streams {
            let message = "Not Acceptable: subscriptions/listen is answered with text/event-stream";
            return Err(refusal(StatusCode::NOT_ACCEPTABLE, message));
        }
        let response = listen::listen(inner, endpoint, caller, id, params);
        if response.status().is_success() && response.extensions().get::<answer::Refusal>().is_none() {
            // How long somebody listens says nothing of us: it is answered once it is open.
            timed.end(Outcome::Ok, "");
        }
        return Ok(response);
    }
    match Asked::read(body, text, id, &method, params) {
        Some(Ok(asked)) if !matches!(asked.ask, Ask::Subscribe | Ask::Unsubscribe) => {
            if let Err(fault) = check_arguments(inner, endpoint, headers, &asked) {
                return Ok(fault.answer(id));
            }
            let level = meta.level.and_then(Level::read);
            if let Some(level) = level {
                inner.sessions.subscriptions.levels.want(level);
            }
            let who = Asker {
                era: Era::Modern,
                owner: owner(caller, &meta),
                caller: caller.into(),
                session: None,
                timed: Arc::clone(timed),
                streams,
                can: Can::read(meta.capabilities),
                level,
            };
            Ok(call::call(inner, endpoint, who, asked).await)
        }
        Some(Err(wrong)) if !method.ends_with("subscribe") => Ok(answer::error(id.text(), code::INVALID_PARAMS, wrong)),
        _ => {
            let method: String = method.chars().take(100).collect();
            let message = format!("Method not found: {method}");
            let error = envelope::error(id.text(), code::METHOD_NOT_FOUND, &message);
            Ok(answer::json(StatusCode::NOT_FOUND, error))
        }
    }
}

/// Whose questions reach whom: two clients of one caller are two, as far as they can be told apart.
fn owner(caller: &str, meta: &Meta<'_>) -> Arc<str> {
    // As long as it likes to be, and kept for as long as the call is remembered.
    let client = Digest::of(meta.client.map_or("", RawValue::get));
    format!("{caller}\n{client}").into()
}

/// What is wrong with a request as such.
struct Fault {
    code: i32,
    message: Cow<'static, str>,
    data: Option<serde_json::Value>,
}

impl Fault {
    fn new(code: i32, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
            data: None,
        }
    }

    fn mismatch(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(code::HEADER_MISMATCH, message)
    }

    fn answer(self, id: Id<'_>) -> Response {
        let error = envelope::error_with(id.text(), self.code, &self.message, self.data);
        answer::json(StatusCode::BAD_REQUEST, error)
    }
}

/// Checks what every request says of itself, and that the headers say the same.
fn check<'a>(headers: &HeaderMap, method: &str, meta: Result<Meta<'a>, &'static str>) -> Result<Meta<'a>, Fault> {
    let meta = meta.map_err(|wrong| Fault::new(code::INVALID_PARAMS, wrong))?;
    let Some(version) = meta.version() else {
        let message = format!("_meta needs {}, a text", meta::PROTOCOL);
        return Err(Fault::new(code::INVALID_PARAMS, message));
    };
    if !meta.capabilities.is_some_and(|raw| raw.get().starts_with('{')) {
        let message = format!("_meta needs {}, an object", meta::CAPABILITIES);
        return Err(Fault::new(code::INVALID_PARAMS, message));
    }
    if meta.client.is_some_and(|raw| !raw.get().starts_with('{')) {
        let message = format!("{} must be an object", meta::CLIENT);
        return Err(Fault::new(code::INVALID_PARAMS, message));
    }
    if meta.level.is_some_and(|raw| Level::read(raw).is_none()) {
        let message = format!("{} must be one of MCP's log levels", meta::LEVEL);
        return Err(Fault::new(code::INVALID_PARAMS, message));
    }
    same(headers, &VERSION, "MCP-Protocol-Version", &version, false)?;
    if version != MODERN {
        let mut supported = vec![MODERN];
        supported.extend(VERSIONS);
        return Err(Fault {
            code: code::UNSUPPORTED_VERSION,
            message: "Unsupported protocol version".into(),
            data: Some(serde_json::json!({"supported": supported, "requested": version})),
        });
    }
    same(headers, &METHOD, "Mcp-Method", method, false)?;
    Ok(meta)
}

/// That the header which names what is asked for says the same as the body.
fn check_name(headers: &HeaderMap, method: &str, params: Option<&RawValue>) -> Result<(), Fault> {
    let key = match method {
        "tools/call" | "prompts/get" => "name",
        "resources/read" => "uri",
        _ => return Ok(()),
    };
    let named = params.and_then(|params| members(params.get(), [key]).ok()?[0]);
    // A body that names nothing is told so by whoever reads it.
    let Some(named) = named.and_then(text_of) else {
        return Ok(());
    };
    same(headers, &NAME, "Mcp-Name", &named, true)
}

/// That the headers which repeat a tool's arguments say the same.
fn check_arguments(inner: &Inner, endpoint: &Endpoint, headers: &HeaderMap, asked: &Asked) -> Result<(), Fault> {
    if asked.ask != Ask::Tool {
        return Ok(());
    }
    let view = Arc::clone(&inner.view.borrow());
    let tables = view.tables(endpoint).ok();
    match tables.and_then(|tables| tables.of(Kind::Tools).annotations(&asked.key)) {
        None => Ok(()),
        Some(annotations) => annotations
            .check(headers, asked.arguments())
            .map_err(|wrong| Fault::mismatch(format!("Header mismatch: {wrong}"))),
    }
}

/// That a header is there, once, and says what the body says.
fn same(headers: &HeaderMap, name: &HeaderName, shown: &str, body: &str, encoded: bool) -> Result<(), Fault> {
    let mut all = headers.get_all(name).iter();
    let (Some(value), None) = (all.next(), all.next()) else {
        return Err(Fault::mismatch(format!("Header mismatch: {shown} is needed, once")));
    };
    let plain = if encoded {
        encoding::decode(value).ok()
    } else {
        value.to_str().ok().map(Cow::Borrowed)
    };
    let value = plain.ok_or_else(|| {
        let message = format!("Header mismatch: {shown} holds characters that no header may, or no base64");
        Fault::mismatch(message)
    })?;
    if value != body {
        let short = |text: &str| text.chars().take(200).collect::<String>();
        return Err(Fault::mismatch(format!(
            "Header mismatch: {shown} header value '{}' does not match body value '{}'",
            short(&value),
            short(body)
        )));
    }
    Ok(())
}

/// What the endpoint says of itself.
fn discovered(inner: &Inner, endpoint: &Endpoint) -> String {
    let mut server = meta::ourselves();
    server["title"] = endpoint.title().as_str().into();
    let mut supported = vec![MODERN];
    supported.extend(VERSIONS);
    let (can, instructions) = super::about(&inner.view.borrow(), endpoint, Era::Modern);
    let mut result = serde_json::json!({
        "resultType": "complete",
        "supportedVersions": supported,
        "capabilities": can,
        "ttlMs": DISCOVERED_MS,
        "cacheScope": "private",
        "_meta": {SERVER: server},
    });
    if let Some(instructions) = instructions {
        result["instructions"] = instructions.into();
    }
    result.to_string()
}

fn list(inner: &Inner, endpoint: &Endpoint, kind: Kind, id: Id<'_>, params: Option<&RawValue>) -> Response {
    let cursor = params.and_then(|params| members(params.get(), ["cursor"]).ok()?[0]);
    let view = Arc::clone(&inner.view.borrow());
    let tables = match view.tables(endpoint) {
        Ok(tables) => tables,
        Err(detail) => return answer::not_found(&detail),
    };
    let result = super::cursor(cursor).and_then(|cursor| super::page::page(tables, kind, cursor.as_deref(), true));
    match result {
        Ok(result) => answer::result(id.text(), &result),
        Err(wrong) => answer::error(id.text(), code::INVALID_PARAMS, wrong),
    }
}
