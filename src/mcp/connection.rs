//! One conversation with one server, whatever carries it: many requests in flight at once.
//!
//! Opening one gives a handle and a driver. Who opens it polls the driver (in a task of its own), which carries messages
//! until either side ends; dropping the handle ends it too. A transport ([`super::stdio`], [`super::http`]) is a future
//! that takes what is to be said from a [`Wire`], gives it what it hears, and ends with the reason why.

mod asides;
mod heard;
mod hears;
mod question;

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use serde_json::value::RawValue;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::envelope::{self, Message, Outcome, members, place_of, text_of};
use super::lists::{Each, Kind};
use super::{MODERN, locked};
use crate::record::Era;

use asides::{Listener, Teller, asides, kept};
pub use heard::{Answer, Heard, Notice, Progress};
use hears::{GivenUp, Hears, On};
pub use question::Question;

/// Bytes that may wait to be written to a server; callers wait when it is full.
const QUEUED_BYTES: u32 = 16 << 20;
/// What the smallest message counts as, so that the number of messages that wait is bounded too.
const SMALLEST: usize = 1 << 10;
/// Requests that may be in flight at once.
const MOST_CALLS: usize = 10_000;
/// How long a server may still be speaking of a request that was given up.
const ECHO: Duration = Duration::from_mins(1);
/// Requests given up that are remembered.
const MOST_GIVEN_UP: usize = 10_000;
/// Questions of a server that may be open at once.
const MOST_QUESTIONS: usize = 1_000;
/// Bytes of notifications about resources that may wait to be told; further ones are dropped.
const QUEUED_UPDATES: usize = 4 << 20;
/// What a server says first on a stream of notifications.
pub const ACKNOWLEDGED: &str = "notifications/subscriptions/acknowledged";

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The connection had ended before the request was handed over: it provably did not run.
    #[error("{0}")]
    NotSent(Arc<str>),
    /// The connection ended while the request was in flight: it may have run.
    #[error("{0}")]
    Ended(Arc<str>),
    /// This request alone failed, and the connection goes on: it may have run.
    #[error("{0}")]
    Failed(Arc<str>),
    /// Too many requests are in flight.
    #[error("{MOST_CALLS} calls are in flight already")]
    Busy,
}

/// How a request is sent, and what its sender wants to hear.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    /// Whether more than the answer is wanted: progress, notices and questions.
    pub asides: bool,
    /// Who asks: questions and notices that name no request reach the one owner that has requests in flight, where there
    /// is exactly one. What mcpd asks for itself has none.
    pub owner: Option<Arc<str>>,
    /// Whose share of the room it takes, where the transport has little: the caller. mcpd itself has one too.
    pub share: Option<Arc<str>>,
    /// What goes along where the transport has headers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Whether it is open for as long as the server has something to say, as `subscriptions/listen` is: it is not counted
    /// as in flight, and the server may take it back.
    pub standing: bool,
}

struct Pending {
    answer: oneshot::Sender<Result<Answer, CallError>>,
    asides: Option<Teller>,
    owner: Option<Arc<str>>,
    share: Option<Arc<str>>,
    standing: bool,
}

#[derive(Default)]
struct Calls {
    pending: HashMap<u64, Pending>,
    /// Questions that are open, by the JSON text of their id.
    questions: HashMap<Bytes, CancellationToken>,
    /// Requests that were given up a moment ago.
    given_up: HashMap<u64, GivenUp>,
    /// Until when there are too many of those to tell anything.
    crowded: Option<Instant>,
    closed: Option<Arc<str>>,
}

/// A message on its way to the server.
pub(super) struct Outgoing {
    pub(super) line: Vec<u8>,
    pub(super) role: Role,
    /// Whose share of the room it takes.
    pub(super) share: Option<Arc<str>>,
    /// What goes along where the transport has headers.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// Given back when the message was handed over.
    _budget: Option<OwnedSemaphorePermit>,
}

#[cfg(test)]
impl Outgoing {
    /// One that says nothing.
    pub(super) fn for_tests(role: Role, share: Option<Arc<str>>) -> Self {
        Self {
            line: vec![],
            role,
            share,
            headers: vec![],
            _budget: None,
        }
    }
}

/// What a message is to a transport that carries each by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The request with this id.
    Request(u64),
    /// It cancels the request with this id.
    Cancel(u64),
    /// What comes after it waits until the server has it.
    First,
    /// Anything else.
    Other,
}

/// Notifications that a resource changed, the newest of each.
#[derive(Default)]
struct Updates {
    lines: BTreeMap<String, Bytes>,
    bytes: usize,
}

struct Shared {
    calls: Mutex<Calls>,
    next: AtomicU64,
    in_flight: AtomicUsize,
    /// Bytes of what was said beside answers and is not taken yet.
    aside: Arc<AtomicUsize>,
    outgoing: mpsc::UnboundedSender<Outgoing>,
    budget: Arc<Semaphore>,
    changed: watch::Sender<Each<u64>>,
    updates: Mutex<Updates>,
    updated: Notify,
    protocol: OnceLock<String>,
    obstacle: Mutex<Option<Arc<str>>>,
    ended: CancellationToken,
    ignored: AtomicU64,
    uncertain: watch::Sender<u64>,
}

/// A handle on one conversation.
pub struct Connection {
    shared: Arc<Shared>,
    let_go: CancellationToken,
}

impl Connection {
    /// Opens a conversation that `transport` carries. It lives while the returned driver is polled and the handle is kept.
    ///
    /// # Guarantees
    /// When the driver returns every request in flight has been answered with an error, and no further one is taken.
    pub(super) fn over<F: Future<Output = String> + Send + 'static>(
        transport: impl FnOnce(Wire) -> F,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (outgoing, queue) = mpsc::unbounded_channel();
        let let_go = CancellationToken::new();
        let shared = Arc::new(Shared {
            calls: Mutex::default(),
            // Starting anywhere keeps answers to another life's ids from meeting ours; small enough for JavaScript.
            next: AtomicU64::new(u64::from(getrandom::u32().unwrap_or(0)) + 1),
            in_flight: AtomicUsize::new(0),
            aside: Arc::default(),
            outgoing,
            budget: Arc::new(Semaphore::new(QUEUED_BYTES as usize)),
            changed: watch::Sender::default(),
            updates: Mutex::default(),
            updated: Notify::new(),
            protocol: OnceLock::new(),
            obstacle: Mutex::default(),
            ended: CancellationToken::new(),
            ignored: AtomicU64::new(0),
            uncertain: watch::Sender::default(),
        });
        let wire = Wire {
            ear: Ear(Arc::clone(&shared)),
            queue,
        };
        let driver = drive(Arc::clone(&shared), transport(wire), let_go.clone());
        (Self { shared, let_go }, driver)
    }

    /// Sends a request. `line` makes its text, one line with the id given to it, which is also the progress token where
    /// there is one. Waits while too much waits to be written.
    ///
    /// The returned call is cancelled at the server when it is dropped before its answer came.
    pub async fn call(&self, line: impl FnOnce(u64) -> Vec<u8>, wish: Wish) -> Result<Call, CallError> {
        let counted = Counted::new(&self.shared, !wish.standing);
        let id = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let line = line(id);
        let size = u32::try_from(line.len().max(SMALLEST))
            .unwrap_or(u32::MAX)
            .min(QUEUED_BYTES);
        let budget = Arc::clone(&self.shared.budget)
            .acquire_many_owned(size)
            .await
            .map_err(|_| CallError::NotSent(self.shared.reason()))?;
        let (answer, answered) = oneshot::channel();
        let (asides, aside) = wish.asides.then(|| asides(&self.shared.aside)).unzip();
        {
            let mut calls = locked(&self.shared.calls);
            if let Some(reason) = &calls.closed {
                return Err(CallError::NotSent(Arc::clone(reason)));
            }
            if calls.pending.len() >= MOST_CALLS {
                return Err(CallError::Busy);
            }
            let pending = Pending {
                answer,
                asides,
                owner: wish.owner,
                share: wish.share.clone(),
                standing: wish.standing,
            };
            calls.pending.insert(id, pending);
        }
        self.shared.send(Outgoing {
            line,
            role: Role::Request(id),
            share: wish.share,
            headers: wish.headers,
            _budget: Some(budget),
        });
        Ok(Call {
            id,
            counted,
            answered,
            stashed: None,
            aside,
            cancel: true,
        })
    }

    /// Sends a notification; it is dropped where too much waits to be written already.
    pub fn notify(&self, line: Vec<u8>) {
        self.shared.write_small(line, None);
    }

    /// Sends a notification that the server must have before anything that is sent later.
    pub(super) fn announce(&self, line: Vec<u8>) {
        self.shared.write(line, Role::First, None, None);
    }

    /// Takes every list for changed: the server may have said so while nobody heard it.
    pub fn suspect(&self) {
        self.shared
            .changed
            .send_modify(|times| *times = Each::new(|kind| times.of(kind) + 1));
    }

    /// Takes one list for changed.
    pub fn suspect_one(&self, kind: Kind) {
        self.shared.changed.send_modify(|times| *times.of_mut(kind) += 1);
    }

    /// Notes the protocol version that both sides speak from now on.
    pub(super) fn agree(&self, protocol: &str) {
        // It is agreed on once: a second handshake is a second connection.
        let _ = self.shared.protocol.set(protocol.to_owned());
    }

    /// The era that was agreed on; legacy until then.
    #[must_use]
    pub fn era(&self) -> Era {
        match self.shared.protocol.get() {
            Some(protocol) if protocol == MODERN => Era::Modern,
            _ => Era::Legacy,
        }
    }

    /// How many questions the server asked that could not be put to anybody, because whose call they belong to was not
    /// certain.
    #[must_use]
    pub fn uncertain(&self) -> watch::Receiver<u64> {
        self.shared.uncertain.subscribe()
    }

    /// What stands between us and the server at the moment, where that is known.
    pub(super) fn obstacle(&self) -> Option<Arc<str>> {
        locked(&self.shared.obstacle).clone()
    }

    /// How many requests are in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.shared.in_flight.load(Ordering::Relaxed)
    }

    /// Whether requests are taken.
    #[must_use]
    pub fn is_open(&self) -> bool {
        locked(&self.shared.calls).closed.is_none()
    }

    /// Waits for the end, and says why.
    pub async fn closed(&self) -> Arc<str> {
        self.shared.ended.cancelled().await;
        self.shared.reason()
    }

    /// Ends the conversation, whoever else holds the handle.
    pub fn let_go(&self) {
        self.let_go.cancel();
    }

    /// A number by list, which rises whenever the server says that this list changed.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<Each<u64>> {
        self.shared.changed.subscribe()
    }

    /// Waits for notifications that a resource changed, and takes them: URI and message, the newest of each URI.
    pub async fn updated(&self) -> BTreeMap<String, Bytes> {
        loop {
            let updates = std::mem::take(&mut *locked(&self.shared.updates));
            if !updates.lines.is_empty() {
                return updates.lines;
            }
            self.shared.updated.notified().await;
        }
    }

    /// How many lines were no message, and how many messages nobody waited for.
    #[must_use]
    pub fn ignored(&self) -> u64 {
        self.shared.ignored.load(Ordering::Relaxed)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// Counts a request as in flight while it lives, where it is one that ends.
struct Counted(Arc<Shared>, bool);

impl Counted {
    fn new(shared: &Arc<Shared>, counts: bool) -> Self {
        shared.in_flight.fetch_add(usize::from(counts), Ordering::Relaxed);
        Self(Arc::clone(shared), counts)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(usize::from(self.1), Ordering::Relaxed);
    }
}

/// A request in flight.
pub struct Call {
    id: u64,
    counted: Counted,
    answered: oneshot::Receiver<Result<Answer, CallError>>,
    stashed: Option<Result<Answer, CallError>>,
    aside: Option<Listener>,
    cancel: bool,
}

impl Call {
    /// The next thing that is heard: what is said aside in the order in which it came, then the answer, once.
    pub async fn heard(&mut self) -> Heard {
        if self.stashed.is_none() {
            let answer = match &mut self.aside {
                None => (&mut self.answered).await,
                Some(aside) => tokio::select! {
                    biased;
                    Some(heard) = aside.next() => return heard,
                    answer = &mut self.answered => answer,
                },
            };
            self.cancel = false;
            self.stashed = Some(answer.unwrap_or_else(|_| Err(CallError::Ended("the connection ended".into()))));
        }
        // What the server said before its answer is heard before it.
        if let Some(heard) = self.aside.as_mut().and_then(Listener::at_hand) {
            return heard;
        }
        let gone = || Err(CallError::Ended("the answer was taken already".into()));
        Heard::Answer(self.stashed.take().unwrap_or_else(gone))
    }

    /// The answer.
    pub async fn answer(mut self) -> Result<Answer, CallError> {
        loop {
            if let Heard::Answer(answer) = self.heard().await {
                return answer;
            }
        }
    }

    /// How many questions of the server could be put to nobody, as [`Connection::uncertain`] has it.
    #[must_use]
    pub fn uncertain(&self) -> u64 {
        *self.counted.0.uncertain.borrow()
    }

    /// Lets the server go on when this is dropped (MCP forbids that `initialize` is cancelled).
    pub fn never_cancel(&mut self) {
        self.cancel = false;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let shared = &self.counted.0;
        let share = {
            let mut calls = locked(&shared.calls);
            let pending = calls.pending.remove(&self.id);
            let share = pending.as_ref().map(|pending| pending.share.clone());
            if let Some(owner) = pending.and_then(|pending| pending.owner) {
                calls.give_up(self.id, owner);
            }
            share
        };
        if let Some(share) = share.filter(|_| self.cancel) {
            let params = serde_json::json!({"requestId": self.id, "reason": "the caller gave up"});
            // Never dropped: there are no more of these than there were calls, and those were paid for.
            let line = envelope::notification("notifications/cancelled", Some(params));
            shared.write(line, Role::Cancel(self.id), share, None);
        }
    }
}

impl Shared {
    fn write(&self, line: Vec<u8>, role: Role, share: Option<Arc<str>>, budget: Option<OwnedSemaphorePermit>) {
        self.send(Outgoing {
            line,
            role,
            share,
            headers: vec![],
            _budget: budget,
        });
    }

    fn send(&self, message: Outgoing) {
        // A closed queue means that the conversation ended, which the caller learns by its answer.
        let _ = self.outgoing.send(message);
    }

    /// Writes what may be lost rather than waited for: a server that does not read can't make us hold its answers.
    fn write_small(&self, line: Vec<u8>, share: Option<Arc<str>>) {
        let size = u32::try_from(line.len().max(SMALLEST))
            .unwrap_or(u32::MAX)
            .min(QUEUED_BYTES);
        match Arc::clone(&self.budget).try_acquire_many_owned(size) {
            Ok(budget) => self.write(line, Role::Other, share, Some(budget)),
            Err(_) => self.ignore(),
        }
    }

    fn reason(&self) -> Arc<str> {
        let reason = locked(&self.calls).closed.clone();
        reason.unwrap_or_else(|| "the connection ended".into())
    }

    fn ignore(&self) {
        self.ignored.fetch_add(1, Ordering::Relaxed);
    }

    fn close(&self, reason: &str) {
        let reason: Arc<str> = reason.into();
        let pending = {
            let mut calls = locked(&self.calls);
            calls.closed.get_or_insert_with(|| Arc::clone(&reason));
            std::mem::take(&mut calls.pending)
        };
        self.budget.close();
        for call in pending.into_values() {
            let _ = call.answer.send(Err(CallError::Ended(Arc::clone(&reason))));
        }
        self.ended.cancel();
    }

    /// Takes one message that the server said; `on` is the request on whose own stream it was said, where there is one.
    fn take(self: &Arc<Self>, line: Bytes, on: On) {
        let Ok(text) = std::str::from_utf8(&line) else {
            return self.ignore();
        };
        if text.trim_ascii().is_empty() {
            return;
        }
        match Message::parse(text) {
            Ok(Message::Response { id, outcome }) => {
                let pending = id
                    .and_then(envelope::Id::number)
                    .and_then(|id| locked(&self.calls).pending.remove(&id));
                if pending.is_none()
                    && let Some(id) = id.and_then(envelope::Id::number)
                {
                    // Whatever it still had to say about that request was said.
                    locked(&self.calls).given_up.remove(&id);
                }
                let (Some(pending), Some(id)) = (pending, id) else {
                    return self.ignore();
                };
                let (raw, failed) = match outcome {
                    Outcome::Result(raw) => (raw, false),
                    Outcome::Error(raw) => (raw, true),
                };
                let (id, payload) = (place_of(text, id.text()), place_of(text, raw.get()));
                let _ = pending.answer.send(Ok(Answer {
                    line,
                    id,
                    payload,
                    failed,
                    rejected: on == On::Rejection,
                }));
            }
            Ok(Message::Request { id, method, .. }) if method == "ping" => {
                let mut answer = envelope::result(id.text(), b"{}");
                answer.push(b'\n');
                self.write_small(answer, None);
            }
            Ok(Message::Request { id, method, params }) => {
                let question = Question {
                    id: place_of(text, id.text()),
                    params: params.map(|params| place_of(text, params.get())),
                    method: method.into(),
                    shared: Arc::clone(self),
                    withdrawn: CancellationToken::new(),
                    answered: false,
                    listed: false,
                    charge: None,
                    share: None,
                    line: kept(line),
                };
                self.take_question(question, on);
            }
            // What belongs to a stream that nobody listens on any more is for nobody.
            Ok(Message::Notification { params, .. }) if self.is_strayed(params) => self.ignore(),
            Ok(Message::Notification { method, params }) => match &*method {
                ACKNOWLEDGED => {
                    let on = subscription(params).and_then(number).map_or(On::Nothing, On::Call);
                    let method = method.into();
                    self.take_notice(
                        Notice {
                            line: kept(line),
                            method,
                        },
                        on,
                    );
                }
                "notifications/progress" => self.take_progress(&line, text, params),
                "notifications/resources/updated" => self.take_update(text, params),
                "notifications/cancelled" => self.take_withdrawal(params),
                _ if Kind::ALL.into_iter().any(|kind| kind.changed() == method) => {
                    for kind in Kind::ALL.into_iter().filter(|kind| kind.changed() == method) {
                        self.changed.send_modify(|times| *times.of_mut(kind) += 1);
                    }
                }
                _ => {
                    let method = method.into();
                    self.take_notice(
                        Notice {
                            line: kept(line),
                            method,
                        },
                        on,
                    );
                }
            },
            Err(_) => self.ignore(),
        }
    }

    fn take_progress(&self, line: &Bytes, text: &str, params: Option<&RawValue>) {
        let token = params.and_then(|params| members(params.get(), ["progressToken"]).ok()?[0]);
        let sender = token
            .and_then(|token| token.get().parse().ok())
            .and_then(|id: u64| locked(&self.calls).pending.get(&id)?.asides.clone());
        match (sender, token) {
            (Some(sender), Some(token)) => {
                let token = place_of(text, token.get());
                // A reader that is too slow loses progress, never its answer.
                let bytes = line.len();
                let line = kept(line.clone());
                sender.tell(Heard::Progress(Progress { line, token }), bytes);
            }
            _ => self.ignore(),
        }
    }

    fn take_update(&self, text: &str, params: Option<&RawValue>) {
        let uri = params.and_then(|params| text_of(members(params.get(), ["uri"]).ok()?[0]?));
        let Some(uri) = uri else { return self.ignore() };
        let mut updates = locked(&self.updates);
        if updates.bytes + text.len() > QUEUED_UPDATES {
            return self.ignore();
        }
        updates.bytes += text.len();
        // A copy: what waits must not keep the whole buffer that it was read from.
        let line = Bytes::copy_from_slice(text.as_bytes());
        updates.lines.insert(uri.into_owned(), line);
        drop(updates);
        self.updated.notify_one();
    }
}

/// The stream that a notification says it belongs to.
fn subscription(params: Option<&RawValue>) -> Option<&RawValue> {
    let [meta] = members(params?.get(), ["_meta"]).ok()?;
    members(meta?.get(), [super::meta::SUBSCRIPTION]).ok()?[0]
}

fn number(id: &RawValue) -> Option<u64> {
    id.get().parse().ok()
}

/// What a transport works with: what is to be said, in order, and who hears what the server says.
pub(super) struct Wire {
    ear: Ear,
    queue: mpsc::UnboundedReceiver<Outgoing>,
}

impl Wire {
    pub(super) fn split(self) -> (Ear, mpsc::UnboundedReceiver<Outgoing>) {
        (self.ear, self.queue)
    }
}

/// Who hears what the server says.
#[derive(Clone)]
pub(super) struct Ear(Arc<Shared>);

impl Ear {
    /// Takes one message that the server said.
    pub(super) fn hear(&self, message: Bytes) {
        self.0.take(message, On::Pipe);
    }

    /// Takes one message that the server said on the stream of one request.
    pub(super) fn hear_on(&self, id: u64, message: Bytes) {
        self.0.take(message, On::Call(id));
    }

    /// Takes the answer to a request that was not taken as such.
    pub(super) fn hear_rejection(&self, message: Bytes) {
        self.0.take(message, On::Rejection);
    }

    /// Ends one request without an answer of the server.
    pub(super) fn fail(&self, id: u64, error: CallError) {
        if let Some(pending) = locked(&self.0.calls).pending.remove(&id) {
            let _ = pending.answer.send(Err(error));
        }
    }

    /// Whether a request still waits for its answer.
    pub(super) fn awaits(&self, id: u64) -> bool {
        locked(&self.0.calls).pending.contains_key(&id)
    }

    /// The protocol version, once it was agreed on.
    pub(super) fn protocol(&self) -> Option<&str> {
        self.0.protocol.get().map(String::as_str)
    }

    /// Notes what stands between us and the server.
    pub(super) fn note(&self, obstacle: Option<&str>) {
        *locked(&self.0.obstacle) = obstacle.map(Into::into);
    }
}

/// Nobody waits for ever, even where the driver is dropped half-way.
struct Closes<'a>(&'a Shared);

impl Drop for Closes<'_> {
    fn drop(&mut self) {
        self.0.close("the connection was dropped");
    }
}

async fn drive(shared: Arc<Shared>, transport: impl Future<Output = String>, let_go: CancellationToken) {
    let _closes = Closes(&shared);
    let reason = tokio::select! {
        reason = transport => reason,
        () = let_go.cancelled() => "the connection was let go of".to_owned(),
    };
    shared.close(&reason);
}
