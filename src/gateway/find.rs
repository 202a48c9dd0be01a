//! The server and the life that answer a request, waited for where they are starting; the request handed over once.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::kit::Name;
use crate::mcp::level::Level;
use crate::mcp::meta::{self, CAPABILITIES, CLIENT, LEVEL, PROTOCOL};
use crate::mcp::{Call, CallError, Connection, MODERN, Wish};
use crate::record::{Era, Life};

use super::ask::Can;
use super::asked::{Ask, Asked, Crossing, Round};
use super::meter::{Outcome, Timed};
use super::route::{Candidate, Choice, Way, choose};
use super::session::Session;
use super::subscriptions::{Subscriptions, Who};
use super::view::{Callable, View};
use super::{Endpoint, Inner};

/// The longest that a call waits for a server that is starting.
const START: Duration = Duration::from_secs(10);
/// The longest that several servers may take, one after the other, to say that they do not have a resource.
const AROUND: Duration = Duration::from_mins(1);
/// What a server that completes nothing says.
const NO_COMPLETION: &[u8] = br#"{"completion":{"values":[],"total":0,"hasMore":false}}"#;

/// Who makes a request.
#[derive(Clone)]
pub struct Asker {
    /// The era that it speaks.
    pub era: Era,
    /// Whose questions reach whom: a session, or a caller with one client.
    pub owner: Arc<str>,
    /// The key of the authenticated caller.
    pub caller: Arc<str>,
    /// The session, in the legacy era.
    pub session: Option<Arc<Session>>,
    /// Whether it takes a stream as an answer.
    pub streams: bool,
    /// What it can be asked.
    pub can: Can,
    /// The least important log message that it wants; nothing where none was named.
    pub level: Option<Level>,
    /// What is counted of the request.
    pub timed: Arc<Timed>,
}

impl Asker {
    /// What is written anew of a request where the client's era is not the server's.
    fn crossing(&self, asked: &Asked, to: Era, round: Option<Round>) -> Crossing {
        match (self.era, to) {
            (Era::Legacy, Era::Legacy) => Crossing::default(),
            (Era::Modern, Era::Modern) => Crossing { meta: None, round },
            (Era::Modern, Era::Legacy) => Crossing {
                meta: asked.meta().and_then(|raw| meta::rewritten(Some(raw), &[]).ok()),
                round: asked.is_another_round().then(Round::default),
            },
            (Era::Legacy, Era::Modern) => Crossing {
                meta: Some(self.modern_meta(asked)),
                round,
            },
        }
    }

    fn modern_meta(&self, asked: &Asked) -> String {
        let about = self.session.as_ref().map(|session| &session.about);
        let info = about.and_then(|about| about.info.clone());
        let info = info.unwrap_or_else(|| meta::ourselves().to_string());
        // Who takes no stream can be asked nothing.
        let capabilities = about.and_then(|about| about.capabilities.as_deref());
        let capabilities = capabilities.filter(|_| self.streams).unwrap_or("{}");
        // In the legacy era whoever says nothing leaves it to the server; in the modern one that means nothing at all.
        let level = self.level.unwrap_or(Level::Info);
        let (protocol, level) = (format!("\"{MODERN}\""), format!("\"{}\"", level.word()));
        let mut add = vec![(PROTOCOL, &*protocol), (CLIENT, &*info), (CAPABILITIES, capabilities)];
        if self.streams {
            add.push((LEVEL, &level));
        }
        meta::rewritten(asked.meta(), &add).unwrap_or_default()
    }
}

/// Why there is no answer of a server.
#[derive(Debug)]
pub enum Failure {
    /// No server has it.
    Unknown,
    /// The server can't answer, in words for people.
    Server(Outcome, String),
    /// The server does not do that, in words for people.
    Unable(String),
    /// The session wants too much.
    TooMany,
}

/// A request that a server has.
pub struct Sent {
    /// What is heard of it.
    pub call: Call,
    /// The server.
    pub server: Name,
    /// Its life.
    pub life: Life,
    /// The era that is spoken with it.
    pub era: Era,
    /// The longest that it may take to answer.
    pub timeout: Duration,
    /// Until when it must have answered.
    pub deadline: Instant,
    /// The headers that repeated its arguments.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Which round of the request it is, where it is not the first.
    pub round: Option<Round>,
    /// The subscription that it makes.
    pub subscribing: Option<Subscribing>,
}

/// Where a request went.
pub enum Found {
    /// A server has it.
    Sent(Box<Sent>),
    /// These are to be asked, one after the other.
    Around(Vec<Name>),
    /// Nobody needs to be asked; the result is this.
    Answered(&'static [u8]),
}

/// Finds the life that answers, waiting for one that is starting, and hands the request over.
pub async fn find(
    inner: &Inner,
    endpoint: &Endpoint,
    who: &Asker,
    asked: &Asked,
    round: Option<&Round>,
) -> Result<Found, Failure> {
    let arrived = Instant::now();
    let mut view = inner.view.subscribe();
    let task = match asked.ask {
        Ask::Task => Some(inner.tasks.place(&who.caller, &asked.key).ok_or(Failure::Unknown)?),
        _ => None,
    };
    loop {
        let seen = Arc::clone(&view.borrow_and_update());
        let way = match &task {
            None => seen.way(endpoint, asked.ask, &asked.key),
            Some((server, _)) if seen.has(endpoint, server) => Way::To(server, None),
            Some(_) => Way::Nowhere,
        };
        let (server, own, known) = match way {
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
        let tool = (known && asked.ask == Ask::Tool).then_some(&*asked.key);
        who.timed.reaches(server, tool);
        if known && !callable.can(asked.ask.needs()) {
            return match asked.ask {
                Ask::CompletePrompt | Ask::CompleteResource => Ok(Found::Answered(NO_COMPLETION)),
                _ => Err(Failure::Unknown),
            };
        }
        let session = who.session.as_ref();
        // What a server tells of its resources is told of the shared instance.
        let own_instance = if callable.isolated && asked.ask != Ask::Subscribe {
            let busy = |index| callable.is_busy(index);
            let place = inner.sessions.places.of(server, &who.caller, &who.owner, busy);
            Some(place.ok_or_else(|| {
                let most = super::places::MOST;
                let message = format!(
                    "{most} sessions have an instance of server {server} of their own already, and none can be spared; end \
                     a session that is not needed, or try again later."
                );
                Failure::Server(Outcome::Unavailable, message)
            })?)
        } else {
            None
        };
        let of_session: Vec<Candidate>;
        let candidates = match own_instance {
            None if callable.isolated => {
                of_session = callable.shared().cloned().collect();
                &of_session
            }
            None => &callable.candidates,
            Some(index) => {
                of_session = callable
                    .candidates
                    .iter()
                    .filter(|c| c.index == index)
                    .cloned()
                    .collect();
                if of_session.is_empty() && callable.unavailable.is_none() {
                    wait(&mut view, arrived, server, callable).await?;
                    continue;
                }
                &of_session
            }
        };
        let several = candidates.len() > 1;
        let sticks_to = match &task {
            Some((_, life)) => Some(life.clone()),
            None => session.filter(|_| several).and_then(|session| session.life(server)),
        };
        match choose(candidates, sticks_to.as_ref(), callable.unavailable.as_deref()) {
            Choice::Go(life, connection) => {
                if !known {
                    return Err(Failure::Unknown);
                }
                if let Some(session) = session.filter(|_| several) {
                    session.stick(server, life);
                }
                let subscribing = match (asked.ask, session) {
                    (Ask::Subscribe, Some(session)) => Some(Subscribing::begin(
                        inner,
                        endpoint,
                        server,
                        life,
                        &asked.key,
                        session,
                        &who.caller,
                    )?),
                    _ => None,
                };
                if let Some(subscribing) = subscribing.as_ref().filter(|_| connection.era() == Era::Modern) {
                    // Its holder listens to what is wanted; there is no request for it.
                    let taken = subscribing.subscriptions.taken(server, &asked.key, life);
                    let deadline = arrived + callable.timeout;
                    return match timeout_at(deadline, taken).await {
                        Ok(()) => {
                            subscribing.stays();
                            Ok(Found::Answered(b"{}"))
                        }
                        Err(_) => Err(Failure::Server(Outcome::Timeout, too_slow(server, callable.timeout))),
                    };
                }
                let deadline = arrived + callable.timeout;
                let headers = match connection.era() {
                    Era::Modern if asked.ask == Ask::Tool => seen.headers(endpoint, asked),
                    _ => vec![],
                };
                match hand_over(connection, who, asked, own, round, headers.clone(), deadline).await {
                    Ok(Ok(call)) => {
                        return Ok(Found::Sent(Box::new(Sent {
                            call,
                            server: server.clone(),
                            life: life.clone(),
                            era: connection.era(),
                            timeout: callable.timeout,
                            deadline,
                            headers,
                            round: round.cloned(),
                            subscribing,
                        })));
                    }
                    // It ended before it had the call, which may therefore go to another.
                    Ok(Err(CallError::NotSent(_))) => {}
                    Ok(Err(error)) => {
                        let message = format!("server {server}: {error}.");
                        return Err(Failure::Server(Outcome::Unavailable, message));
                    }
                    Err(_) => return Err(Failure::Server(Outcome::Timeout, too_slow(server, callable.timeout))),
                }
            }
            Choice::Wait => wait(&mut view, arrived, server, callable).await?,
            Choice::Down(reason) => {
                let message = format!("server {server} is not available: {reason}.");
                return Err(Failure::Server(Outcome::Unavailable, message));
            }
        }
    }
}

async fn hand_over(
    connection: &Connection,
    who: &Asker,
    asked: &Asked,
    own: Option<&str>,
    round: Option<&Round>,
    headers: Vec<(HeaderName, HeaderValue)>,
    deadline: Instant,
) -> Result<Result<Call, CallError>, tokio::time::error::Elapsed> {
    let crossing = who.crossing(asked, connection.era(), round.cloned());
    let wish = Wish {
        asides: who.streams,
        owner: Some(Arc::clone(&who.owner)),
        share: Some(Arc::clone(&who.caller)),
        headers,
        ..Wish::default()
    };
    timeout_at(deadline, connection.call(|id| asked.line(id, own, &crossing), wish)).await
}

/// That a server took longer than it may.
#[must_use]
pub fn too_slow(server: &Name, timeout: Duration) -> String {
    let seconds = timeout.as_secs();
    format!("server {server} did not answer within {seconds} s (its timeoutSeconds); the call was cancelled.")
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
    let message = format!(
        "server {server} is still starting after {} s{why}; try again later.",
        patience.as_secs()
    );
    Err(Failure::Server(Outcome::Unavailable, message))
}

/// Asks servers for a resource that is in no list, one after the other, until one has it. Reading changes nothing, so
/// that asking one that does not have it does no harm. One that is not ready is not waited for. The error is the whole
/// answer where none has it.
pub async fn around(inner: &Inner, who: &Asker, asked: &Asked, servers: &[Name]) -> Result<Vec<u8>, Vec<u8>> {
    let last = Instant::now() + AROUND;
    let mut silent = vec![];
    for server in servers {
        let seen = Arc::clone(&inner.view.borrow());
        let Some(callable) = seen.server(server) else { continue };
        // No session's own instance answers for everybody.
        let shared: Vec<Candidate> = callable.shared().cloned().collect();
        let Choice::Go(_, connection) = choose(&shared, None, callable.unavailable.as_deref()) else {
            silent.push(server.as_str());
            continue;
        };
        let crossing = who.crossing(asked, connection.era(), None);
        let asking = async {
            let line = |id| asked.line(id, None, &crossing);
            let wish = Wish {
                owner: Some(Arc::clone(&who.owner)),
                share: Some(Arc::clone(&who.caller)),
                ..Wish::default()
            };
            let call = connection.call(line, wish).await?;
            call.answer().await
        };
        let deadline = last.min(Instant::now() + callable.timeout);
        match timeout_at(deadline, asking).await {
            // It wants to know something first, and one that may not even have it is not told.
            Ok(Ok(answer))
                if answer
                    .outcome()
                    .is_ok_and(|result| super::ask::required(result).is_some()) =>
            {
                silent.push(server.as_str());
            }
            Ok(Ok(answer)) if answer.outcome().is_ok() => {
                who.timed.reaches(server, None);
                return Ok(super::across::result(who.era, connection.era(), asked, &answer));
            }
            Ok(Ok(_)) => {}
            Ok(Err(_)) | Err(_) => silent.push(server.as_str()),
        }
    }
    if silent.is_empty() {
        return Err(asked.not_found(who.era, ""));
    }
    let silent = silent.join(", ");
    Err(asked.not_found(who.era, &format!(" (did not answer: {silent})")))
}

/// A session that is to hear of a resource once its server has agreed; where it does not, it is as if nobody had asked.
pub struct Subscribing {
    subscriptions: Arc<Subscriptions>,
    server: Name,
    life: Life,
    uri: String,
    session: Arc<str>,
    new: std::sync::atomic::AtomicBool,
}

impl Subscribing {
    /// It is added before the server is asked, so that not even the first message is missed.
    fn begin(
        inner: &Inner,
        endpoint: &Endpoint,
        server: &Name,
        life: &Life,
        uri: &str,
        session: &Session,
        caller: &str,
    ) -> Result<Self, Failure> {
        let subscriptions = &inner.sessions.subscriptions;
        let who = Who {
            session: &session.id,
            caller,
            endpoint,
        };
        let new = subscriptions
            .add(server, uri, who, &session.inbox)
            .ok_or(Failure::TooMany)?;
        if !inner.view.borrow().has(endpoint, server) {
            // It left meanwhile, and this was not there to be taken back when it did.
            subscriptions.remove(uri, &session.id);
            return Err(Failure::Unknown);
        }
        Ok(Self {
            subscriptions: Arc::clone(subscriptions),
            server: server.clone(),
            life: life.clone(),
            uri: uri.to_owned(),
            session: Arc::clone(&session.id),
            new: new.into(),
        })
    }

    fn stays(&self) {
        self.new.store(false, std::sync::atomic::Ordering::Relaxed);
    }

    /// The server agreed.
    pub fn keep(self) {
        self.stays();
        self.subscriptions.confirm(&self.server, &self.uri, &self.life);
    }
}

impl Drop for Subscribing {
    fn drop(&mut self) {
        if *self.new.get_mut() {
            self.subscriptions.remove(&self.uri, &self.session);
        }
    }
}
