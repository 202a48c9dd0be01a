//! One conversation with one server, whatever carries it: many requests in flight at once.
//!
//! Opening one gives a handle and a driver. Who opens it polls the driver (in a task of its own), which carries messages
//! until either side ends; dropping the handle ends it too. A transport ([`super::stdio`], [`super::http`]) is a future
//! that takes what is to be said from a [`Wire`], gives it what it hears, and ends with the reason why.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::envelope::{self, Message, Outcome, code, members, place_of, text_of};
use super::lists::{Each, Kind};
use super::locked;

/// Bytes that may wait to be written to a server; callers wait when it is full.
const QUEUED_BYTES: u32 = 16 << 20;
/// What the smallest message counts as, so that the number of messages that wait is bounded too.
const SMALLEST: usize = 1 << 10;
/// Requests that may be in flight at once.
const MOST_CALLS: usize = 10_000;
/// Progress notifications that may wait for a slow reader; further ones are dropped.
const QUEUED_PROGRESS: usize = 64;
/// Bytes of notifications about resources that may wait to be told; further ones are dropped.
const QUEUED_UPDATES: usize = 4 << 20;

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

/// An answer as it came, with the places that matter.
#[derive(Debug, Clone)]
pub struct Answer {
    line: Bytes,
    id: Range<usize>,
    payload: Range<usize>,
    failed: bool,
}

impl Answer {
    /// The whole message with the id that the other side knows; all else is byte for byte the server's.
    #[must_use]
    pub fn with_id(&self, id: &str) -> Vec<u8> {
        envelope::splice(&self.line, &[(self.id.clone(), id)], false)
    }

    /// The `result`, or as the error the `error`; both are JSON texts.
    pub fn outcome(&self) -> Result<&[u8], &[u8]> {
        let payload = &self.line[self.payload.clone()];
        if self.failed { Err(payload) } else { Ok(payload) }
    }
}

/// A progress notification as it came.
#[derive(Debug, Clone)]
pub struct Progress {
    line: Bytes,
    token: Range<usize>,
}

impl Progress {
    /// The whole message with the token that the other side knows.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Vec<u8> {
        envelope::splice(&self.line, &[(self.token.clone(), token)], false)
    }
}

/// What is heard of a request that is in flight.
#[derive(Debug)]
pub enum Heard {
    /// It goes on.
    Progress(Progress),
    /// It ended.
    Answer(Result<Answer, CallError>),
}

struct Pending {
    answer: oneshot::Sender<Result<Answer, CallError>>,
    progress: Option<mpsc::Sender<Progress>>,
}

#[derive(Default)]
struct Calls {
    pending: HashMap<u64, Pending>,
    closed: Option<Arc<str>>,
}

/// A message on its way to the server.
pub(super) struct Outgoing {
    pub(super) line: Vec<u8>,
    pub(super) role: Role,
    /// Given back when the message was handed over.
    _budget: Option<OwnedSemaphorePermit>,
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
    outgoing: mpsc::UnboundedSender<Outgoing>,
    budget: Arc<Semaphore>,
    changed: watch::Sender<Each<u64>>,
    updates: Mutex<Updates>,
    updated: Notify,
    protocol: OnceLock<String>,
    obstacle: Mutex<Option<Arc<str>>>,
    ended: CancellationToken,
    ignored: AtomicU64,
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
            outgoing,
            budget: Arc::new(Semaphore::new(QUEUED_BYTES as usize)),
            changed: watch::Sender::default(),
            updates: Mutex::default(),
            updated: Notify::new(),
            protocol: OnceLock::new(),
            obstacle: Mutex::default(),
            ended: CancellationToken::new(),
            ignored: AtomicU64::new(0),
        });
        let wire = Wire {
            ear: Ear(Arc::clone(&shared)),
            queue,
        };
        let driver = drive(Arc::clone(&shared), transport(wire), let_go.clone());
        (Self { shared, let_go }, driver)
    }

    /// Sends a request. `line` makes its text, one line with the id given to it, which is also the progress token where
    /// `progress` is wanted. Waits while too much waits to be written.
    ///
    /// The returned call is cancelled at the server when it is dropped before its answer came.
    pub async fn call(&self, line: impl FnOnce(u64) -> Vec<u8>, progress: bool) -> Result<Call, CallError> {
        let counted = Counted::new(&self.shared);
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
        let (progress, progressed) = progress.then(|| mpsc::channel(QUEUED_PROGRESS)).unzip();
        {
            let mut calls = locked(&self.shared.calls);
            if let Some(reason) = &calls.closed {
                return Err(CallError::NotSent(Arc::clone(reason)));
            }
            if calls.pending.len() >= MOST_CALLS {
                return Err(CallError::Busy);
            }
            calls.pending.insert(id, Pending { answer, progress });
        }
        self.shared.write(line, Role::Request(id), Some(budget));
        Ok(Call {
            id,
            counted,
            answered,
            stashed: None,
            progressed,
            cancel: true,
        })
    }

    /// Sends a notification; it is dropped where too much waits to be written already.
    pub fn notify(&self, line: Vec<u8>) {
        self.shared.write_small(line);
    }

    /// Sends a notification that the server must have before anything that is sent later.
    pub(super) fn announce(&self, line: Vec<u8>) {
        self.shared.write(line, Role::First, None);
    }

    /// Notes the protocol version that both sides speak from now on.
    pub(super) fn agree(&self, protocol: &str) {
        // It is agreed on once: a second handshake is a second connection.
        let _ = self.shared.protocol.set(protocol.to_owned());
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

/// Counts a request as in flight while it lives.
struct Counted(Arc<Shared>);

impl Counted {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(shared))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A request in flight.
pub struct Call {
    id: u64,
    counted: Counted,
    answered: oneshot::Receiver<Result<Answer, CallError>>,
    stashed: Option<Result<Answer, CallError>>,
    progressed: Option<mpsc::Receiver<Progress>>,
    cancel: bool,
}

impl Call {
    /// The next thing that is heard: progress in the order in which it came, then the answer, once.
    pub async fn heard(&mut self) -> Heard {
        if self.stashed.is_none() {
            let answer = match &mut self.progressed {
                None => (&mut self.answered).await,
                Some(progressed) => tokio::select! {
                    biased;
                    Some(progress) = progressed.recv() => return Heard::Progress(progress),
                    answer = &mut self.answered => answer,
                },
            };
            self.cancel = false;
            self.stashed = Some(answer.unwrap_or_else(|_| Err(CallError::Ended("the connection ended".into()))));
        }
        // What the server said before its answer is heard before it.
        if let Some(progress) = self.progressed.as_mut().and_then(|p| p.try_recv().ok()) {
            return Heard::Progress(progress);
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

    /// Lets the server go on when this is dropped (MCP forbids that `initialize` is cancelled).
    pub fn never_cancel(&mut self) {
        self.cancel = false;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let shared = &self.counted.0;
        let pending = locked(&shared.calls).pending.remove(&self.id).is_some();
        if pending && self.cancel {
            let params = serde_json::json!({"requestId": self.id, "reason": "the caller gave up"});
            // Never dropped: there are no more of these than there were calls, and those were paid for.
            let line = envelope::notification("notifications/cancelled", Some(params));
            shared.write(line, Role::Cancel(self.id), None);
        }
    }
}

impl Shared {
    fn write(&self, line: Vec<u8>, role: Role, budget: Option<OwnedSemaphorePermit>) {
        // A closed queue means that the conversation ended, which the caller learns by its answer.
        let _ = self.outgoing.send(Outgoing {
            line,
            role,
            _budget: budget,
        });
    }

    /// Writes what may be lost rather than waited for: a server that does not read can't make us hold its answers.
    fn write_small(&self, line: Vec<u8>) {
        let size = u32::try_from(line.len().max(SMALLEST))
            .unwrap_or(u32::MAX)
            .min(QUEUED_BYTES);
        match Arc::clone(&self.budget).try_acquire_many_owned(size) {
            Ok(budget) => self.write(line, Role::Other, Some(budget)),
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

    /// Takes one line that the server wrote.
    fn take(&self, line: Bytes) {
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
                }));
            }
            Ok(Message::Request { id, method, .. }) => {
                let mut answer = if method == "ping" {
                    envelope::result(id.text(), b"{}")
                } else {
                    let why = format!("{method} is not supported by this client");
                    envelope::error(id.text(), code::METHOD_NOT_FOUND, &super::one_line(&why, 200))
                };
                answer.push(b'\n');
                self.write_small(answer);
            }
            Ok(Message::Notification { method, params }) => match &*method {
                "notifications/progress" => self.take_progress(&line, text, params),
                "notifications/resources/updated" => self.take_update(text, params),
                _ => {
                    for kind in Kind::ALL.into_iter().filter(|kind| kind.changed() == method) {
                        self.changed.send_modify(|times| *times.of_mut(kind) += 1);
                    }
                }
            },
            Err(_) => self.ignore(),
        }
    }

    fn take_progress(&self, line: &Bytes, text: &str, params: Option<&RawValue>) {
        let token = params.and_then(|params| members(params.get(), ["progressToken"]).ok()?[0]);
        let sender = token
            .and_then(|token| token.get().parse().ok())
            .and_then(|id: u64| locked(&self.calls).pending.get(&id)?.progress.clone());
        match (sender, token) {
            (Some(sender), Some(token)) => {
                let token = place_of(text, token.get());
                // A reader that is too slow loses progress, never its answer.
                let _ = sender.try_send(Progress {
                    line: line.clone(),
                    token,
                });
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
        self.0.take(message);
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
