//! A conversation over HTTP: streamable HTTP, and the transport before it (2024-11-05). Only the host of the URL is ever
//! spoken to: no proxy is used, no redirect is followed.

mod events;
mod lines;
mod post;
mod sse;
mod streamable;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde_json::value::RawValue;
use tokio::time::timeout;

use crate::kit::HttpTransport;

use super::connection::{Connection, Ear};
use super::envelope::{Message, Outcome, members, text_of};
use super::headers::VERSION;
use super::{Options, one_line};

#[cfg(test)]
pub(super) use events::events_of;

/// What is said of a connection whose server does not know its session any more: a new one may be opened.
pub const LOST: &str = "the server ended the session";

/// The longest that opening a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// An idle connection is kept this long: less than the 5 s after which Node's servers close it, perhaps as we write.
const IDLE: Duration = Duration::from_secs(4);
/// Idle connections to one server that are kept.
const MOST_IDLE: usize = 32;
/// Bytes that the head of an answer may have, and headers in it.
const LONGEST_HEAD: usize = 64 << 10;
const MOST_HEADERS: usize = 100;
/// Bytes of an answer that is no answer which are read for its words.
const LONGEST_WORDS: usize = 16 << 10;
/// How soon a server that does not listen yet is tried again.
const AGAIN: Duration = Duration::from_millis(250);
/// An idle connection is asked for a sign of life this often: a stream may be silent for long.
const KEEP_ALIVE: Duration = Duration::from_mins(1);
/// The longest that ending a session may take.
const FAREWELL: Duration = Duration::from_secs(2);

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");
const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";
const BOTH: &str = "application/json, text/event-stream";

/// The client that all conversations over HTTP share. Cheap to clone.
#[derive(Debug, Clone)]
pub struct HttpClient(Client<HttpConnector, Full<Bytes>>);

impl Default for HttpClient {
    fn default() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_keepalive(Some(KEEP_ALIVE));
        connector.set_connect_timeout(Some(CONNECT));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(MOST_IDLE)
            .http1_max_buf_size(LONGEST_HEAD)
            .http1_max_headers(MOST_HEADERS)
            .build(connector);
        Self(client)
    }
}

impl Connection {
    /// Opens a conversation over HTTP. It lives while the returned driver is polled and the handle is kept; a server that
    /// does not listen yet is tried again for as long as somebody waits for `initialize`.
    pub fn open_http(
        client: &HttpClient,
        url: &str,
        transport: HttpTransport,
        options: Options,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let server = Arc::new(Server {
            client: client.clone(),
            url: url.parse().ok().filter(|url: &Uri| url.scheme_str() == Some("http")),
            transport,
            longest: options.longest_line,
            session: OnceLock::new(),
            over: AtomicBool::new(false),
        });
        let ending = Arc::clone(&server);
        let (connection, driver) = Self::over(move |wire| async move {
            let reason = match (&server.url, transport) {
                (None, _) => "the server's address is no http:// URL".to_owned(),
                (Some(url), HttpTransport::Streamable) => streamable::carry(wire, &server, url).await,
                (Some(url), HttpTransport::Sse) => sse::carry(wire, &server, url).await,
            };
            server.over.store(true, Ordering::Relaxed);
            reason
        });
        (connection, async move {
            driver.await;
            ending.farewell().await;
        })
    }
}

/// The server at the other end.
struct Server {
    client: HttpClient,
    url: Option<Uri>,
    transport: HttpTransport,
    /// The longest message or event.
    longest: usize,
    /// What the server calls the session.
    session: OnceLock<HeaderValue>,
    /// Whether the session ended at the server's side.
    over: AtomicBool,
}

/// Why an exchange with a server has no answer.
enum Fault {
    /// Nobody listens there.
    Unreachable(String),
    /// Anything else.
    Broken(String),
}

impl Server {
    /// One exchange, as far as the head of the answer.
    async fn exchange(
        &self,
        method: Method,
        url: &Uri,
        body: Vec<u8>,
        further: &[(HeaderName, HeaderValue)],
        ear: &Ear,
        last_event: Option<&str>,
    ) -> Result<Response<Incoming>, Fault> {
        let accept = if method == Method::POST { BOTH } else { EVENTS };
        let mut request = Request::builder().method(method).uri(url.clone());
        if let Some(headers) = request.headers_mut() {
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            if !body.is_empty() {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
            }
            if self.transport == HttpTransport::Streamable {
                let version = ear.protocol().and_then(|version| HeaderValue::from_str(version).ok());
                headers.extend(version.map(|version| (VERSION, version)));
                // A modern server has none.
                headers.extend(self.session.get().map(|session| (SESSION, session.clone())));
            }
            for (name, value) in further {
                headers.insert(name, value.clone());
            }
            let last_event = last_event.and_then(|id| HeaderValue::from_str(id).ok());
            headers.extend(last_event.map(|id| (LAST_EVENT, id)));
        }
        let request = request
            .body(Full::from(body))
            .map_err(|error| Fault::Broken(words(&error)))?;
        self.client.0.request(request).await.map_err(|error| {
            if error.is_connect() {
                Fault::Unreachable(words(&error))
            } else {
                Fault::Broken(words(&error))
            }
        })
    }

    /// Takes the session that an answer gives, where it gives the first one.
    fn take_session<T>(&self, answer: &Response<T>) {
        if let Some(session) = answer.headers().get(SESSION).filter(|session| session.len() <= 1_000) {
            let _ = self.session.set(session.clone());
        }
    }

    /// Whether an answer says that the session is not known any more.
    fn is_lost<T>(&self, answer: &Response<T>) -> bool {
        answer.status() == StatusCode::NOT_FOUND && self.session.get().is_some()
    }

    /// Ends the session, where it did not end by itself.
    async fn farewell(&self) {
        let (Some(url), Some(session)) = (&self.url, self.session.get()) else {
            return;
        };
        if self.over.load(Ordering::Relaxed) {
            return;
        }
        let request = Request::builder().method(Method::DELETE).uri(url.clone());
        if let Ok(request) = request.header(SESSION, session).body(Full::default()) {
            // Whatever it says: there is nothing left to do.
            let _ = timeout(FAREWELL, self.client.0.request(request)).await;
        }
    }
}

/// Whether an answer is of a kind.
fn is_of<T>(answer: &Response<T>, kind: &str) -> bool {
    let said = answer.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let said = said.map(|said| said.split(';').next().unwrap_or_default().trim());
    said.is_some_and(|said| said.eq_ignore_ascii_case(kind))
}

/// Whether a server, or what stands before it, says that it is not ready yet.
fn is_starting(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
    )
}

/// What went wrong, as the innermost cause says it.
fn words(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    one_line(&cause.to_string(), 200)
}

/// A status in words, with what the body says of it.
fn status_words(status: StatusCode, body: &[u8]) -> String {
    let mut text = format!("HTTP {}", status.as_u16());
    if let Some(reason) = status.canonical_reason() {
        text = format!("{text} {reason}");
    }
    if status.is_redirection() {
        return format!("{text}: redirects are not followed");
    }
    let said = std::str::from_utf8(body).unwrap_or_default().trim();
    let message = match Message::parse(said) {
        Ok(Message::Response {
            outcome: Outcome::Error(error),
            ..
        }) => message_of(error).unwrap_or_default(),
        // Pages are for browsers.
        _ if said.starts_with('<') => String::new(),
        _ => said.lines().next().unwrap_or_default().to_owned(),
    };
    if message.is_empty() {
        text
    } else {
        format!("{text}: {}", one_line(&message, 200))
    }
}

fn message_of(error: &RawValue) -> Option<String> {
    let [message] = members(error.get(), ["message"]).ok()?;
    text_of(message?).map(std::borrow::Cow::into_owned)
}

/// The first bytes of a body, as many as words need.
async fn some_of(body: Incoming) -> Bytes {
    let body = Limited::new(body, LONGEST_WORDS).collect();
    match timeout(CONNECT, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        _ => Bytes::new(),
    }
}
