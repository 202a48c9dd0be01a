//! What is said to a server over HTTP: a POST for each message, many at once.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::kit::HttpTransport;

use super::events::Events;
use super::lines::{Lines, Share};
use super::{AGAIN, EVENTS, Fault, JSON, LOST, Server, is_of, is_starting, some_of, status_words};
use crate::mcp::connection::{Ear, Outgoing, Role};
use crate::mcp::discover::is_modern;
use crate::mcp::envelope::{self, Message, Outcome, code, members, text_of};
use crate::mcp::handshake::DISCOVER;
use crate::mcp::{CallError, MODERN, headers};

/// POSTs of requests that are open at once; further messages wait.
const MOST_POSTS: usize = 256;
/// Those of what is no request: what ends a request, or answers what its server asks, never waits for a request to end.
const ROOM: usize = 64;
/// Further ones of each, of those who have few open.
const FURTHER_POSTS: usize = 64;
const FURTHER_ROOM: usize = 16;
/// The longest that a server may take to take a notification.
const NOTIFY: Duration = Duration::from_secs(30);
/// How long the end of a stream is awaited once its answer was read, so that its connection can be used again.
const TAIL: Duration = Duration::from_secs(1);
/// The longest and shortest waits before a stream is opened again.
const SLOWEST_RETRY: u64 = 30_000;
const SOONEST_RETRY: u64 = 100;

/// What became of a message.
enum Posted {
    /// It is done with; the conversation goes on.
    Done,
    /// The conversation is over, for the reason given.
    Over(String),
}

/// The messages on their way to a server.
pub(super) struct Posts<'a> {
    server: &'a Server,
    /// Where they go.
    url: Uri,
    ear: Ear,
    queue: mpsc::UnboundedReceiver<Outgoing>,
    requests: Lines,
    others: Lines,
    /// The message that those after it wait for.
    announced: Option<Outgoing>,
    open: HashMap<u64, CancellationToken>,
    under_way: FuturesUnordered<BoxFuture<'a, (Role, Share, Posted)>>,
    /// A message is under way that the others wait for.
    first: bool,
    /// Cancelled once the server is initialised.
    initialized: CancellationToken,
}

impl<'a> Posts<'a> {
    pub(super) fn new(server: &'a Server, url: Uri, ear: Ear, queue: mpsc::UnboundedReceiver<Outgoing>) -> Self {
        Self {
            server,
            url,
            ear,
            queue,
            requests: Lines::new(MOST_POSTS, FURTHER_POSTS),
            others: Lines::new(ROOM, FURTHER_ROOM),
            announced: None,
            open: HashMap::new(),
            under_way: FuturesUnordered::new(),
            first: false,
            initialized: CancellationToken::new(),
        }
    }

    /// Cancelled once the server is initialised.
    pub(super) fn initialized(&self) -> CancellationToken {
        self.initialized.clone()
    }

    /// Sends messages until the conversation is over, and says why it is.
    pub(super) async fn run(mut self) -> String {
        loop {
            while let Some(message) = self.next() {
                self.start(message);
            }
            tokio::select! {
                // What is given up is heard of before its place is given to something that was given up too.
                biased;
                Some(message) = self.queue.recv() => self.take(message),
                Some((role, share, posted)) = self.under_way.next() => {
                    if let Posted::Over(reason) = posted {
                        return reason;
                    }
                    match role {
                        Role::Request(id) => {
                            self.requests.done(&share);
                            self.open.remove(&id);
                        }
                        Role::First => {
                            self.first = false;
                            self.initialized.cancel();
                        }
                        Role::Cancel(_) | Role::Other => self.others.done(&share),
                    }
                }
            }
        }
    }

    /// The next message that may go.
    fn next(&mut self) -> Option<Outgoing> {
        if self.first {
            return None;
        }
        let announced = self.announced.take();
        announced
            .or_else(|| self.others.next())
            .or_else(|| self.requests.next())
    }

    fn take(&mut self, message: Outgoing) {
        if let Role::Cancel(id) = message.role {
            if self.requests.remove(id) {
                // The server never heard of it.
                return;
            }
            if let Some(open) = self.open.remove(&id) {
                open.cancel();
            }
            // A modern server takes the end of the stream for it, and knows no other word.
            if is_in_modern(&self.ear) {
                return;
            }
        }
        match message.role {
            Role::First => self.announced = Some(message),
            Role::Request(_) => self.requests.push(message),
            Role::Cancel(_) | Role::Other => self.others.push(message),
        }
    }

    fn start(&mut self, message: Outgoing) {
        let (role, share) = (message.role, message.share.clone());
        let post = post(self.server, self.url.clone(), self.ear.clone(), message);
        self.first = role == Role::First;
        if let Role::Request(id) = role {
            let cancelled = CancellationToken::new();
            self.open.insert(id, cancelled.clone());
            self.under_way.push(Box::pin(async move {
                let posted = tokio::select! {
                    posted = post => posted,
                    () = cancelled.cancelled() => Posted::Done,
                };
                (role, share, posted)
            }));
        } else {
            self.under_way.push(Box::pin(async move {
                let posted = timeout(NOTIFY, post).await.unwrap_or(Posted::Done);
                (role, share, posted)
            }));
        }
    }
}

fn is_in_modern(ear: &Ear) -> bool {
    ear.protocol() == Some(MODERN)
}

/// What a message is in the modern era: the headers that repeat what it says. `None`: it is for no modern server.
fn modern_headers(line: &[u8]) -> Option<Vec<(HeaderName, HeaderValue)>> {
    let text = std::str::from_utf8(line).ok()?;
    let (method, params) = match Message::parse(text).ok()? {
        Message::Request { method, params, .. } | Message::Notification { method, params } => (method, params),
        // Nothing is asked by a modern server, so nothing is answered to it.
        Message::Response { .. } => return None,
    };
    let mut all = vec![
        (headers::VERSION, HeaderValue::from_static(MODERN)),
        (headers::METHOD, headers::encode(&method)),
    ];
    if let Some(member) = headers::named_by(&method) {
        let [name] = members(params?.get(), [member]).ok()?;
        all.push((headers::NAME, headers::encode(&text_of(name?)?)));
    }
    Some(all)
}

/// Sends one message, and hears what the answer to it is.
async fn post(server: &Server, url: Uri, ear: Ear, mut message: Outgoing) -> Posted {
    let request = match message.role {
        Role::Request(id) => Some(id),
        _ => None,
    };
    let fail = |why: String| {
        if let Some(id) = request {
            ear.fail(id, CallError::Failed(why.into()));
        }
        Posted::Done
    };
    let streamable = server.transport == HttpTransport::Streamable;
    let probes = streamable && request.is_some() && ear.protocol().is_none() && is_probe(&message.line);
    if probes || (streamable && is_in_modern(&ear)) {
        match modern_headers(&message.line) {
            Some(headers) => message.headers.extend(headers),
            None => return fail("it is no message for a modern server".to_owned()),
        }
    }
    loop {
        let sent = server
            .exchange(Method::POST, &url, message.line.clone(), &message.headers, &ear, None)
            .await;
        // Before the handshake nothing can be lost by asking again: the server is starting.
        let starting = request.is_some() && ear.protocol().is_none();
        let answer = match sent {
            Ok(answer) if starting && is_starting(answer.status()) => {
                ear.note(Some(&status_words(answer.status(), b"")));
                sleep(AGAIN).await;
                continue;
            }
            Ok(answer) => answer,
            Err(Fault::Unreachable(why) | Fault::Broken(why)) if starting => {
                ear.note(Some(&why));
                sleep(AGAIN).await;
                continue;
            }
            Err(Fault::Unreachable(why)) => {
                return Posted::Over(format!("the server can't be reached any more: {why}"));
            }
            Err(Fault::Broken(why)) => return fail(why),
        };
        ear.note(None);
        if !probes && !is_in_modern(&ear) {
            server.take_session(&answer);
        }
        if server.is_lost(&answer) {
            return Posted::Over(LOST.to_owned());
        }
        return match request {
            Some(id) if probes => {
                probed(server, &url, &ear, answer, id).await;
                Posted::Done
            }
            Some(id) if answer.status().is_success() && server.transport == HttpTransport::Streamable => {
                read(server, &url, &ear, answer, id).await
            }
            _ if answer.status().is_success() => {
                // Read, so that the connection can be used again.
                some_of(answer.into_body()).await;
                Posted::Done
            }
            _ => {
                let status = answer.status();
                let body = some_of(answer.into_body()).await;
                if request.is_some_and(|id| is_answer(&body, id)) {
                    if status == StatusCode::BAD_REQUEST {
                        ear.hear_rejection(body);
                    } else {
                        ear.hear(body);
                    }
                    return Posted::Done;
                }
                let words = status_words(status, &body);
                tracing::debug!(%words, "a server did not take a message");
                fail(words)
            }
        };
    }
}

fn is_probe(line: &[u8]) -> bool {
    let message = std::str::from_utf8(line).map(Message::parse);
    matches!(message, Ok(Ok(Message::Request { method, .. })) if method == DISCOVER)
}

/// Hears what a server makes of the question for its era. Every answer but that of a modern server makes it a legacy one:
/// it is heard as not knowing the method. What says nothing of the server (it is not ready, or wants to know who asks)
/// fails the question instead.
async fn probed(server: &Server, url: &Uri, ear: &Ear, answer: Response<Incoming>, id: u64) {
    let status = answer.status();
    let says_nothing = status.is_server_error()
        || status.is_redirection()
        || matches!(
            status,
            StatusCode::UNAUTHORIZED
                | StatusCode::FORBIDDEN
                | StatusCode::PROXY_AUTHENTICATION_REQUIRED
                | StatusCode::REQUEST_TIMEOUT
                | StatusCode::TOO_MANY_REQUESTS
        );
    if status == StatusCode::OK && is_of(&answer, EVENTS) {
        read(server, url, ear, answer, id).await;
        return;
    }
    let body = if status == StatusCode::OK && is_of(&answer, JSON) {
        match Limited::new(answer.into_body(), server.longest).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => return ear.fail(id, CallError::Failed(super::words(&*error).into())),
        }
    } else {
        some_of(answer.into_body()).await
    };
    if is_answer(&body, id) {
        return ear.hear_on(id, body);
    }
    let text = std::str::from_utf8(&body).unwrap_or_default();
    let error = match Message::parse(text) {
        // What can't be read has no id; its error has a meaning all the same.
        Ok(Message::Response {
            outcome: Outcome::Error(error),
            ..
        }) if is_modern(error.get()) => Some(error.get()),
        _ => None,
    };
    match error {
        Some(error) => {
            let answer = format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#);
            ear.hear_on(id, answer.into());
        }
        None if says_nothing => ear.fail(id, CallError::Failed(status_words(status, &body).into())),
        None => {
            let answer = envelope::error(&id.to_string(), code::METHOD_NOT_FOUND, &status_words(status, &body));
            ear.hear_on(id, answer.into());
        }
    }
}

/// Whether a body is the answer to a request, whatever the status says.
fn is_answer(body: &[u8], id: u64) -> bool {
    let message = std::str::from_utf8(body).map(Message::parse);
    matches!(
        message,
        Ok(Ok(Message::Response { id: Some(said), outcome: Outcome::Error(_) | Outcome::Result(_) })) if said.number() == Some(id)
    )
}

/// Reads the answer to a request: one message, or a stream that ends with it.
async fn read(server: &Server, url: &Uri, ear: &Ear, answer: Response<Incoming>, id: u64) -> Posted {
    let fail = |why: String| {
        ear.fail(id, CallError::Failed(why.into()));
        Posted::Done
    };
    if is_of(&answer, EVENTS) {
        return match follow(server, url, ear, answer, id).await {
            Ok(posted) => posted,
            Err(why) => fail(why),
        };
    }
    if answer.status() == StatusCode::OK && is_of(&answer, JSON) {
        return match Limited::new(answer.into_body(), server.longest).collect().await {
            Ok(body) => {
                ear.hear_on(id, body.to_bytes());
                fail("the server answered with something that is no answer to the request".to_owned())
            }
            Err(error) => fail(super::words(&*error)),
        };
    }
    fail(format!("{} instead of an answer", status_words(answer.status(), b"")))
}

/// Hears the events of an answer until the request is answered. A stream that ends before that is opened again where the
/// server gave its events ids; the error says why there is no answer.
async fn follow(server: &Server, url: &Uri, ear: &Ear, answer: Response<Incoming>, id: u64) -> Result<Posted, String> {
    let mut events = Events::new(answer.into_body(), server.longest);
    loop {
        let ended = loop {
            match events.next().await {
                Ok(Some(event)) if event.data.is_empty() => {}
                Ok(Some(event)) => ear.hear_on(id, event.data.into()),
                Ok(None) => break "the server's stream ended before its answer".to_owned(),
                Err(why) => break why,
            }
            if !ear.awaits(id) {
                let rest = async { while let Ok(Some(_)) = events.next().await {} };
                let _ = timeout(TAIL, rest).await;
                return Ok(Posted::Done);
            }
        };
        // No stream of the modern era is gone on with.
        let last = events.last_id().filter(|_| !is_in_modern(ear));
        let last = last.map(str::to_owned).ok_or(ended)?;
        sleep(retry(events.retry())).await;
        let again = server.exchange(Method::GET, url, vec![], &[], ear, Some(&last)).await;
        let again = match again {
            Ok(again) => again,
            Err(Fault::Unreachable(why)) => {
                return Ok(Posted::Over(format!("the server can't be reached any more: {why}")));
            }
            Err(Fault::Broken(why)) => return Err(why),
        };
        if server.is_lost(&again) {
            return Ok(Posted::Over(LOST.to_owned()));
        }
        if !again.status().is_success() || !is_of(&again, EVENTS) {
            return Err(format!(
                "the stream can't be opened again: {}",
                status_words(again.status(), b"")
            ));
        }
        events = Events::again(again.into_body(), events);
    }
}

/// How long to wait before a stream is opened again.
pub(super) fn retry(said: Option<u64>) -> Duration {
    Duration::from_millis(said.unwrap_or(1_000).clamp(SOONEST_RETRY, SLOWEST_RETRY))
}
