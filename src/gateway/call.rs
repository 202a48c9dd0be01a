//! One request that a server answers: the server found, the request handed to one of its lives, answered once. A call is
//! never run twice.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::kit::Name;
use crate::mcp::envelope::{self, code};
use crate::mcp::{Answer, Call, CallError, Heard, Wish};
use crate::record::Life;

use super::asked::{Ask, Asked, failed};
use super::route::{Choice, Way, choose};
use super::session::{Running, Session};
use super::subscriptions::Subscriptions;
use super::view::{Callable, View};
use super::{Endpoint, Inner, answer};

/// The longest that a call waits for a server that is starting.
const START: Duration = Duration::from_secs(10);
/// The longest that several servers may take, one after the other, to say that they do not have a resource.
const AROUND: Duration = Duration::from_mins(1);
/// What a server that completes nothing says.
const NO_COMPLETION: &[u8] = br#"{"completion":{"values":[],"total":0,"hasMore":false}}"#;

/// Why there is no answer of a server.
enum Failure {
    /// No server has it.
    Unknown,
    /// The server can't answer, in words for people.
    Server(String),
    /// The server does not do that, in words for people.
    Unable(String),
    /// The session wants too much.
    TooMany,
}

/// What became of a request.
enum Outcome {
    /// A server has it, and this was heard of it first, where anything was in time.
    Sent(Box<Sent>, Option<Heard>),
    /// The whole answer.
    Answered(Vec<u8>),
}

/// Runs a request.
pub async fn call(
    inner: &Inner,
    endpoint: &Endpoint,
    session: &Arc<Session>,
    asked: &Asked<'_>,
    streams: bool,
) -> Response {
    let id = asked.id;
    let (running, mut cancelled) = match session.run(id) {
        Ok(listed) => listed,
        Err(error) => return answer::error(id, code::INVALID_REQUEST, &error.to_string()),
    };
    if asked.ask == Ask::Unsubscribe {
        // The server is told in the background, once nobody wants to hear of it any more.
        inner.sessions.subscriptions.remove(&asked.key, &session.id);
        return answer::result(id, b"{}");
    }
    let work = async {
        match find(inner, endpoint, session, asked, streams).await? {
            Found::Sent(mut sent) => {
                let deadline = sent.deadline;
                let heard = timeout_at(deadline, sent.call.heard()).await;
                Ok(Outcome::Sent(sent, heard.ok()))
            }
            Found::Around(servers) => Ok(Outcome::Answered(around(inner, asked, &servers).await)),
            Found::Answered(result) => Ok(Outcome::Answered(envelope::result(id, result))),
        }
    };
    let worked = tokio::select! {
        worked = work => worked,
        // A client that cancelled does not wait; whatever reads this is told why there is nothing.
        _ = &mut cancelled => return answer::error(id, code::CANCELLED, "the request was cancelled"),
    };
    let whole = match worked {
        Ok(Outcome::Sent(sent, Some(Heard::Progress(progress)))) => {
            let token = asked.token.unwrap_or_default().to_owned();
            let first = answer::event(&progress.with_token(&token));
            return events(Streaming {
                sent,
                id: id.to_owned(),
                token,
                first: Some(first),
                cancelled,
                ended: false,
                _running: running,
            });
        }
        Ok(Outcome::Sent(mut sent, Some(Heard::Answer(answered)))) => sent.finish(id, answered),
        Ok(Outcome::Sent(sent, _)) => sent.late(id),
        Ok(Outcome::Answered(whole)) => whole,
        Err(Failure::Unknown) => asked.unknown(),
        Err(Failure::Server(message)) => failed(asked.ask, id, &message),
        Err(Failure::Unable(message)) => envelope::error(id, code::METHOD_NOT_FOUND, &message),
        Err(Failure::TooMany) => {
            let message = "this session is subscribed to as many resources as one may be";
            envelope::error(id, code::INVALID_REQUEST, message)
        }
    };
    answer::json(StatusCode::OK, whole)
}

/// A request that a server has.
struct Sent {
    call: Call,
    ask: Ask,
    server: Name,
    timeout: Duration,
    deadline: Instant,
    subscribing: Option<Subscribing>,
}

impl Sent {
    fn finish(&mut self, id: &str, answered: Result<Answer, CallError>) -> Vec<u8> {
        let server = &self.server;
        match answered {
            Ok(answer) => {
                if let Some(subscribing) = self.subscribing.take().filter(|_| answer.outcome().is_ok()) {
                    subscribing.keep();
                }
                answer.with_id(id)
            }
            Err(CallError::Failed(why)) => {
                let message =
                    format!("server {server} did not answer: {why}. The call may have run; it was not repeated.");
                failed(self.ask, id, &message)
            }
            Err(error) => {
                let message = format!(
                    "server {server} was lost during the call ({error}). The call may have run; it was not repeated."
                );
                failed(self.ask, id, &message)
            }
        }
    }

    fn late(&self, id: &str) -> Vec<u8> {
        failed(self.ask, id, &too_slow(&self.server, self.timeout))
    }
}

/// A session that is to hear of a resource once its server has agreed; where it does not, it is as if nobody had asked.
struct Subscribing {
    subscriptions: Arc<Subscriptions>,
    server: Name,
    life: Life,
    uri: String,
    session: String,
    new: bool,
}

impl Subscribing {
    /// It is added before the server is asked, so that not even the first message is missed.
    fn begin(inner: &Inner, server: &Name, life: &Life, uri: &str, session: &Session) -> Result<Self, Failure> {
        let subscriptions = &inner.sessions.subscriptions;
        let new = subscriptions
            .add(server, uri, &session.id, &session.inbox)
            .ok_or(Failure::TooMany)?;
        Ok(Self {
            subscriptions: Arc::clone(subscriptions),
            server: server.clone(),
            life: life.clone(),
            uri: uri.to_owned(),
            session: session.id.clone(),
            new,
        })
    }

    fn keep(mut self) {
        self.new = false;
        self.subscriptions.confirm(&self.server, &self.uri, &self.life);
    }
}

impl Drop for Subscribing {
    fn drop(&mut self) {
        if self.new {
            self.subscriptions.remove(&self.uri, &self.session);
        }
    }
}

fn too_slow(server: &Name, timeout: Duration) -> String {
    let seconds = timeout.as_secs();
    format!("server {server} did not answer within {seconds} s (its timeoutSeconds); the call was cancelled.")
}

/// Where a request went.
enum Found {
    /// A server has it.
    Sent(Box<Sent>),
    /// These are to be asked, one after the other.
    Around(Vec<Name>),
    /// Nobody needs to be asked; the result is this.
    Answered(&'static [u8]),
}

/// Finds the life that answers, waiting for one that is starting, and hands the request over.
async fn find(
    inner: &Inner,
    endpoint: &Endpoint,
    session: &Session,
    asked: &Asked<'_>,
    streams: bool,
) -> Result<Found, Failure> {
    let arrived = Instant::now();
    let mut view = inner.view.subscribe();
    loop {
        let seen = Arc::clone(&view.borrow_and_update());
        let (server, own, known) = match seen.way(endpoint, asked.ask, &asked.key) {
            Way::To(server, own) => (server, own, true),
            Way::Later(server) => (server, None, false),
            Way::Perhaps(servers) => return Ok(Found::Around(servers.into_iter().cloned().collect())),
            Way::Never(server) => {
                let message = format!("server {server} does not tell when its resources change");
                return Err(Failure::Unable(message));
            }
            Way::Nowhere => return Err(Failure::Unknown),
        };
        let callable = seen.server(server).ok_or(Failure::Unknown)?;
        if known && !callable.can(asked.ask.needs()) {
            return match asked.ask {
                Ask::CompletePrompt | Ask::CompleteResource => Ok(Found::Answered(NO_COMPLETION)),
                _ => Err(Failure::Unknown),
            };
        }
        let several = callable.candidates.len() > 1;
        let sticks_to = several.then(|| session.life(server)).flatten();
        match choose(
            &callable.candidates,
            sticks_to.as_ref(),
            callable.unavailable.as_deref(),
        ) {
            Choice::Go(life, connection) => {
                if !known {
                    return Err(Failure::Unknown);
                }
                if several {
                    session.stick(server, life);
                }
                let subscribing = match asked.ask {
                    Ask::Subscribe => Some(Subscribing::begin(inner, server, life, &asked.key, session)?),
                    _ => None,
                };
                let deadline = arrived + callable.timeout;
                let text = |id: u64| asked.line(id, own);
                let wish = Wish {
                    asides: streams && asked.token.is_some(),
                    ..Wish::default()
                };
                let late = || Failure::Server(too_slow(server, callable.timeout));
                match timeout_at(deadline, connection.call(text, wish))
                    .await
                    .map_err(|_| late())?
                {
                    Ok(call) => {
                        return Ok(Found::Sent(Box::new(Sent {
                            call,
                            ask: asked.ask,
                            server: server.clone(),
                            timeout: callable.timeout,
                            deadline,
                            subscribing,
                        })));
                    }
                    // It ended before it had the call, which may therefore go to another.
                    Err(CallError::NotSent(_)) => {}
                    Err(error) => return Err(Failure::Server(format!("server {server}: {error}."))),
                }
            }
            Choice::Wait => wait(&mut view, arrived, server, callable).await?,
            Choice::Down(reason) => {
                return Err(Failure::Server(format!("server {server} is not available: {reason}.")));
            }
        }
    }
}

/// Waits for a change of what a starting server is, as long as it is worth it.
async fn wait(
    view: &mut watch::Receiver<Arc<View>>,
    arrived: Instant,
    server: &Name,
    callable: &Callable,
) -> Result<(), Failure> {
    let patience = callable.timeout.min(START);
    let changed = timeout_at(arrived + patience, view.changed()).await;
    if matches!(changed, Ok(Ok(()))) {
        return Ok(());
    }
    let why = callable
        .unavailable
        .as_ref()
        .map_or(String::new(), |why| format!(" ({why})"));
    Err(Failure::Server(format!(
        "server {server} is still starting after {} s{why}; try again later.",
        patience.as_secs()
    )))
}

/// Asks servers for a resource that is in no list, one after the other, until one has it. Reading changes nothing, so
/// that asking one that does not have it does no harm. One that is not ready is not waited for.
async fn around(inner: &Inner, asked: &Asked<'_>, servers: &[Name]) -> Vec<u8> {
    let last = Instant::now() + AROUND;
    let mut silent = vec![];
    for server in servers {
        let seen = Arc::clone(&inner.view.borrow());
        let Some(callable) = seen.server(server) else { continue };
        let Choice::Go(_, connection) = choose(&callable.candidates, None, callable.unavailable.as_deref()) else {
            silent.push(server.as_str());
            continue;
        };
        let asking = async {
            let call = connection.call(|id| asked.line(id, None), Wish::default()).await?;
            call.answer().await
        };
        let deadline = last.min(Instant::now() + callable.timeout);
        match timeout_at(deadline, asking).await {
            Ok(Ok(answer)) if answer.outcome().is_ok() => return answer.with_id(asked.id),
            Ok(Ok(_)) => {}
            Ok(Err(_)) | Err(_) => silent.push(server.as_str()),
        }
    }
    if silent.is_empty() {
        return asked.not_found("");
    }
    asked.not_found(&format!(" (did not answer: {})", silent.join(", ")))
}

/// A call whose progress is told as it comes.
struct Streaming {
    sent: Box<Sent>,
    id: String,
    token: String,
    first: Option<Vec<u8>>,
    cancelled: oneshot::Receiver<()>,
    ended: bool,
    _running: Running,
}

fn events(streaming: Streaming) -> Response {
    let events = futures_util::stream::unfold(streaming, |mut streaming| async {
        let event = streaming.next().await?;
        Some((Ok::<_, Infallible>(event), streaming))
    });
    answer::stream(Body::from_stream(events))
}

impl Streaming {
    async fn next(&mut self) -> Option<Vec<u8>> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        if self.ended {
            return None;
        }
        let last = tokio::select! {
            heard = self.sent.call.heard() => match heard {
                Heard::Progress(progress) => return Some(answer::event(&progress.with_token(&self.token))),
                Heard::Answer(answered) => self.sent.finish(&self.id, answered),
                Heard::Notice(_) | Heard::Question(_) => return Some(b": aside\n\n".to_vec()),
            },
            _ = &mut self.cancelled => envelope::error(&self.id, code::CANCELLED, "the request was cancelled"),
            () = sleep_until(self.sent.deadline) => self.sent.late(&self.id),
        };
        self.ended = true;
        Some(answer::event(&last))
    }
}
