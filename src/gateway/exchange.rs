//! One request while it runs: what its server says passed on to its client, the server's questions put to the client, and
//! what the client answers passed back, in the words of each side's era. A call is never run twice.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use http::StatusCode;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::mcp::envelope::{self, code, members};
use crate::mcp::level::Level;
use crate::mcp::{Answer, CallError, Heard, Notice, Question};
use crate::record::Era;

use super::ask::{Required, Wanted, input_required, required, with_state};
use super::asked::{Ask, Asked, Round, failed};
use super::find::{Asker, Failure, Found, Sent, find, too_slow};
use super::meter::Outcome;
use super::seal::{Bound, State};
use super::session::{Awaited, Reply, Running, Session};
use super::{Endpoint, Inner, across, mismatch};

/// How long a question may wait for a person.
const PERSON: Duration = Duration::from_mins(10);
/// What a legacy server asks within this time after a first question is put to a modern client together with it.
const TOGETHER: Duration = Duration::from_millis(50);
/// What is said while questions are gathered and is told with the answer, in messages and bytes; more is dropped.
const MOST_EVENTS: usize = 64;
const MOST_EVENT_BYTES: usize = 1 << 20;
/// About what a call takes that says nothing, in bytes.
const SIZE: usize = 4 << 10;
/// Rounds of one request.
const MOST_ROUNDS: usize = 16;

/// A whole answer.
pub struct Whole {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The status with which it goes, where it goes by itself.
    pub status: StatusCode,
}

impl From<Vec<u8>> for Whole {
    fn from(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            status: StatusCode::OK,
        }
    }
}

/// What comes next for the client.
pub enum Step {
    /// A message before the answer.
    Event(Vec<u8>),
    /// The answer.
    Last(Whole),
    /// The server wants to know this first, and the client answers with a request of its own.
    Hold(BTreeMap<String, Question>),
}

/// What a client's answer is for.
enum Slot {
    /// A question of a legacy server.
    Question(Question),
    /// What a modern server's answer asked for, by its key.
    Input(String),
}

type Replied = (u64, Option<Reply>, bool);

/// What a modern server's answer asked for, until all of it is there.
#[derive(Default)]
struct Gathering {
    state: Option<String>,
    there: BTreeMap<String, String>,
    missing: usize,
}

/// A request that a server has.
pub struct Exchange {
    pub(super) inner: Arc<Inner>,
    pub(super) endpoint: Endpoint,
    pub(super) who: Asker,
    pub(super) asked: Asked,
    pub(super) sent: Box<Sent>,
    deadline: Instant,
    events: VecDeque<Vec<u8>>,
    slots: HashMap<u64, Slot>,
    replies: Option<FuturesUnordered<BoxFuture<'static, Replied>>>,
    gathering: Option<Gathering>,
    rounds: usize,
    keys: usize,
    lacked: Option<Value>,
    /// Whether it was refused for its headers once.
    mismatched: bool,
    cancelled: Option<oneshot::Receiver<()>>,
    /// Since when its client was not heard to answer what it was told to come back with.
    pub(super) held_since: Option<Instant>,
    _running: Option<Running>,
}

impl Exchange {
    /// Follows a request that was handed over.
    pub fn new(
        inner: Arc<Inner>,
        endpoint: Endpoint,
        who: Asker,
        asked: Asked,
        sent: Box<Sent>,
        listed: Option<(Running, oneshot::Receiver<()>)>,
    ) -> Self {
        let (running, cancelled) = listed.unzip();
        Self {
            inner,
            endpoint,
            who,
            asked,
            deadline: sent.deadline,
            sent,
            events: VecDeque::new(),
            slots: HashMap::new(),
            replies: None,
            gathering: None,
            rounds: 0,
            keys: 0,
            lacked: None,
            mismatched: false,
            cancelled,
            held_since: None,
            _running: running,
        }
    }

    /// Goes on with a request that was held, as the client asks it now.
    pub fn resume(&mut self, asked: Asked, who: Asker) {
        who.timed
            .reaches(&self.sent.server, (asked.ask == Ask::Tool).then_some(&*asked.key));
        self.asked = asked;
        self.who = who;
        self.deadline = Instant::now() + self.sent.timeout;
    }

    /// Lets go of what it does not need while it waits for its client, which asks it anew.
    pub fn rests(&mut self) {
        self.asked.forget_body();
    }

    /// About how many bytes it keeps.
    pub fn size(&self) -> usize {
        let events: usize = self.events.iter().map(Vec::len).sum();
        SIZE + self.asked.key.len() + events
    }

    /// What comes next.
    pub async fn next(&mut self) -> Step {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Step::Event(event);
            }
            let waiting = self.gathering.is_some();
            let step = tokio::select! {
                heard = self.sent.call.heard(), if !waiting => self.take(heard).await,
                Some(replied) = replied(&mut self.replies) => self.take_reply(replied).await,
                () = cancelled(&mut self.cancelled) => {
                    let message = "the request was cancelled";
                    self.who.timed.end(Outcome::Cancelled, message);
                    Some(Step::Last(envelope::error(self.asked.id(), code::CANCELLED, message).into()))
                }
                () = sleep_until(self.deadline) => Some(self.late()),
            };
            if let Some(step) = step {
                return step;
            }
        }
    }

    /// It failed, in words for people.
    fn fails(&self, outcome: Outcome, message: &str) -> Step {
        let message = self.who.timed.fails(outcome, message);
        Step::Last(failed(self.asked.ask, self.asked.id(), &message).into())
    }

    fn late(&self) -> Step {
        let server = &self.sent.server;
        if self.slots.is_empty() {
            return self.fails(Outcome::Timeout, &too_slow(server, self.sent.timeout));
        }
        let minutes = PERSON.as_secs() / 60;
        let message = format!(
            "server {server} asked something, and nobody answered within {minutes} minutes; the call was cancelled."
        );
        self.fails(Outcome::Timeout, &message)
    }

    async fn take(&mut self, heard: Heard) -> Option<Step> {
        match heard {
            Heard::Progress(progress) => {
                let token = self.asked.token().filter(|_| self.who.streams)?;
                Some(Step::Event(progress.with_token(token)))
            }
            Heard::Notice(notice) => self.wants(&notice).then(|| Step::Event(notice.line.to_vec())),
            Heard::Question(question) => self.put(*question).await,
            Heard::Answer(answered) => self.finish(answered).await,
        }
    }

    /// Whether the client wants a notification: log messages as important as it said, others in the legacy era alone.
    fn wants(&self, notice: &Notice) -> bool {
        if !self.who.streams {
            return false;
        }
        if &*notice.method != "notifications/message" {
            return self.who.era == Era::Legacy && self.sent.era == Era::Legacy;
        }
        let level = || -> Option<Level> {
            let [params] = members(std::str::from_utf8(&notice.line).ok()?, ["params"]).ok()?;
            let [level] = members(params?.get(), ["level"]).ok()?;
            Level::read(level?)
        };
        match (self.who.level, self.who.era) {
            (Some(wanted), _) => level().is_some_and(|level| level >= wanted),
            // Who never said leaves it to the server; in the modern era that means nothing at all.
            (None, era) => era == Era::Legacy,
        }
    }

    /// Puts a legacy server's question to the client.
    async fn put(&mut self, question: Question) -> Option<Step> {
        if self.who.era == Era::Modern && !matches!(self.asked.ask, Ask::Tool | Ask::Prompt | Ask::Read) {
            // No other request may be answered with a question (2026-07-28, Supported Requests).
            question.refuse(code::SERVER, "nobody can be asked during this request");
            return None;
        }
        if let Some(lacked) = self.who.can.lacks(question.method(), question.params()) {
            self.lacked = Some(lacked);
            let message = format!("the client does not support {}", question.method());
            question.refuse(code::METHOD_NOT_FOUND, &message);
            return None;
        }
        if self.who.era == Era::Modern {
            return self.hold(question).await;
        }
        let awaited = self.who.session.as_ref().filter(|_| self.who.streams);
        let Some(awaited) = awaited.and_then(Session::ask) else {
            let message = "the client takes no stream on which it could be asked, or has too many questions open";
            question.refuse(code::SERVER, message);
            return None;
        };
        let message = question.with_id(&awaited.id().to_string());
        let withdrawn = question.withdrawn();
        self.inner.meter.asked();
        self.wait_for(awaited, Slot::Question(question), Some(withdrawn));
        Some(Step::Event(message))
    }

    /// The key of the next question: never one that was used before in this call, whose answer may come again.
    fn key(&mut self) -> String {
        self.keys += 1;
        format!("q{}", self.keys - 1)
    }

    /// This question and those that come with it: a server that asks several things writes them one after the other, and the
    /// client shall see them at once. What comes later it sees when it has answered these.
    async fn hold(&mut self, question: Question) -> Option<Step> {
        let mut questions = BTreeMap::from([(self.key(), question)]);
        let over = Instant::now() + TOGETHER;
        loop {
            match timeout_at(over, self.sent.call.heard()).await {
                Err(_) => return Some(Step::Hold(questions)),
                Ok(Heard::Question(question)) if self.who.can.lacks(question.method(), question.params()).is_none() => {
                    let key = self.key();
                    questions.insert(key, *question);
                }
                // Refused by being dropped.
                Ok(Heard::Question(_)) => {}
                Ok(Heard::Progress(progress)) => {
                    let token = self.asked.token().filter(|_| self.who.streams);
                    let line = token.map(|token| progress.with_token(token));
                    self.keep(line);
                }
                Ok(Heard::Notice(notice)) => {
                    let line = self.wants(&notice).then(|| notice.line.to_vec());
                    self.keep(line);
                }
                // A server that did not wait to be told.
                Ok(Heard::Answer(answered)) => return self.finish(answered).await,
            }
        }
    }

    /// Keeps what is said while questions are gathered, as far as there is room.
    fn keep(&mut self, line: Option<Vec<u8>>) {
        let Some(line) = line else { return };
        if self.events.len() < MOST_EVENTS && self.size() + line.len() <= MOST_EVENT_BYTES {
            self.events.push_back(line);
        }
    }

    fn wait_for(&mut self, mut awaited: Awaited, slot: Slot, withdrawn: Option<tokio_util::sync::CancellationToken>) {
        let id = awaited.id();
        self.slots.insert(id, slot);
        self.deadline = Instant::now() + PERSON;
        let waiting = async move {
            match withdrawn {
                None => (id, awaited.reply().await, false),
                Some(withdrawn) => tokio::select! {
                    reply = awaited.reply() => (id, reply, false),
                    () = withdrawn.cancelled() => (id, None, true),
                },
            }
        };
        self.replies.get_or_insert_default().push(waiting.boxed());
    }

    /// Takes what became of a question to a legacy client.
    async fn take_reply(&mut self, (id, reply, withdrawn): Replied) -> Option<Step> {
        let slot = self.slots.remove(&id)?;
        if self.slots.is_empty() {
            self.deadline = Instant::now() + self.sent.timeout;
        }
        match (slot, reply) {
            (Slot::Question(question), Some(reply)) => {
                question.answer(reply.as_deref().map(str::as_bytes).map_err(String::as_bytes));
                None
            }
            (Slot::Question(_), None) => withdrawn.then(|| {
                let params =
                    serde_json::json!({"requestId": id, "reason": "the server does not want to know any more"});
                let mut line = envelope::notification("notifications/cancelled", Some(params));
                line.pop();
                Step::Event(line)
            }),
            (Slot::Input(_), None) => {
                let message = "whoever was asked is gone; the call was given up.";
                Some(self.fails(Outcome::Cancelled, message))
            }
            (Slot::Input(key), Some(reply)) => self.gathered(key, reply).await,
        }
    }

    /// One more of what a modern server's answer asked for is there.
    async fn gathered(&mut self, key: String, reply: Reply) -> Option<Step> {
        let text = match reply {
            Ok(text) => text,
            // There is no place for an error; that nobody answers is what it comes to.
            Err(_) if key.starts_with(ELICITATION) => r#"{"action":"cancel"}"#.to_owned(),
            Err(error) => {
                let said: Option<Value> = serde_json::from_str(&error).ok();
                let said = said
                    .as_ref()
                    .and_then(|said| said["message"].as_str())
                    .unwrap_or("no reason was given");
                let message = format!("the client did not give what the server asked for: {said}");
                return Some(self.fails(Outcome::Refused, &message));
            }
        };
        let gathering = self.gathering.as_mut()?;
        let key = key.get(1..).unwrap_or_default().to_owned();
        gathering.there.insert(key, text);
        gathering.missing -= 1;
        if gathering.missing > 0 {
            return None;
        }
        let gathering = self.gathering.take()?;
        let there = gathering.there.iter().map(|(key, text)| (&**key, &**text));
        let round = Round {
            state: gathering.state.map(json_text),
            responses: Some(crate::mcp::meta::written(there)),
        };
        self.again(Some(&round)).await
    }

    /// Asks the server once more, with what it wanted to know.
    async fn again(&mut self, round: Option<&Round>) -> Option<Step> {
        self.rounds += 1;
        if self.rounds > MOST_ROUNDS {
            let message = format!(
                "server {} asked {MOST_ROUNDS} times; the call was given up.",
                self.sent.server
            );
            return Some(self.fails(Outcome::Error, &message));
        }
        match find(&self.inner, &self.endpoint, &self.who, &self.asked, round).await {
            Ok(Found::Sent(sent)) => {
                self.deadline = sent.deadline;
                self.sent = sent;
                None
            }
            Ok(Found::Around(_) | Found::Answered(_)) | Err(Failure::Unknown) => {
                self.who.timed.end(Outcome::Unknown, "no server has what was asked for");
                Some(Step::Last(self.asked.unknown(self.who.era).into()))
            }
            Err(Failure::Server(outcome, message)) => Some(self.fails(outcome, &message)),
            Err(Failure::Unable(message)) => Some(self.fails(Outcome::Refused, &message)),
            Err(Failure::TooMany) => None,
        }
    }

    async fn finish(&mut self, answered: Result<Answer, CallError>) -> Option<Step> {
        let server = &self.sent.server;
        let answer = match answered {
            Ok(answer) => answer,
            Err(CallError::Failed(why)) => {
                let message =
                    format!("server {server} did not answer: {why}. The call may have run; it was not repeated.");
                return Some(self.fails(Outcome::Unavailable, &message));
            }
            Err(error) => {
                let message = format!(
                    "server {server} was lost during the call ({error}). The call may have run; it was not repeated."
                );
                return Some(self.fails(Outcome::Unavailable, &message));
            }
        };
        if !self.mismatched && mismatch::is_refusal(&self.asked, &self.sent, &answer) {
            self.mismatched = true;
            let another = mismatch::is_another_call_now(&self.inner, &self.endpoint, &self.asked, &self.sent);
            if matches!(timeout_at(self.deadline, another).await, Ok(true)) {
                let round = self.sent.round.take();
                return Box::pin(self.again(round.as_ref())).await;
            }
        }
        if let Some(subscribing) = self.sent.subscribing.take().filter(|_| answer.outcome().is_ok()) {
            subscribing.keep();
        }
        if self.asked.ask == Ask::Tool
            && let Ok(result) = answer.outcome()
        {
            let Sent { server, life, .. } = &*self.sent;
            self.inner.tasks.note(&self.who.caller, server, life, result);
        }
        if self.sent.era == Era::Modern
            && let Some(asks) = answer.outcome().ok().and_then(required)
        {
            return match asks {
                Ok(_) if self.who.era == Era::Modern => Some(self.pass_on(&answer)),
                Ok(asks) => self.ask_for(asks).await,
                Err(wrong) => {
                    let message = format!("server {server} wants something, but {wrong}.");
                    Some(self.fails(Outcome::Error, &message))
                }
            };
        }
        if self.who.era == Era::Modern && self.sent.era == Era::Legacy {
            let urls = answer.outcome().err().and_then(across::urls_first);
            if let Some(urls) = urls {
                return Some(self.visit(&urls));
            }
            if let Some(lacked) = self.lacked.take().filter(|_| across::is_failure(&answer)) {
                return Some(self.lacks(&lacked));
            }
        }
        self.count(&answer);
        let bytes = across::result(self.who.era, self.sent.era, &self.asked, &answer);
        let status = match answer.outcome().err().filter(|_| self.who.era == Era::Modern) {
            Some(error) => across::code_of(error).map_or(StatusCode::OK, across::status_of),
            None => StatusCode::OK,
        };
        Some(Step::Last(Whole { bytes, status }))
    }

    /// Counts a server's own answer by what it says.
    fn count(&self, answer: &Answer) {
        match answer.outcome() {
            Ok(result) if says_error(result) => {
                self.who
                    .timed
                    .end(Outcome::ToolError, "the tool's result says that it is an error");
            }
            Ok(_) => self.who.timed.end(Outcome::Ok, ""),
            Err(error) => {
                let said: Option<Value> = serde_json::from_slice(error).ok();
                let (code, message) = said.as_ref().map_or((&Value::Null, ""), |said| {
                    (&said["code"], said["message"].as_str().unwrap_or_default())
                });
                self.who.timed.end(Outcome::Error, &format!("{message} (code {code})"));
            }
        }
    }

    /// That the client did not declare what the call turned out to need.
    fn lacks(&self, lacked: &Value) -> Step {
        let message = "the client did not declare a capability that this request needs";
        self.who.timed.end(Outcome::Refused, message);
        let data = serde_json::json!({"requiredCapabilities": lacked});
        let id = self.asked.id();
        Step::Last(Whole {
            bytes: envelope::error_with(id, code::MISSING_CAPABILITY, message, Some(data)),
            status: StatusCode::BAD_REQUEST,
        })
    }

    /// A modern server asks a modern client: its state is sealed on the way.
    fn pass_on(&self, answer: &Answer) -> Step {
        let result = std::str::from_utf8(answer.outcome().unwrap_or_default()).unwrap_or_default();
        let state = required(result.as_bytes()).and_then(|asks| asks.ok()?.state);
        let Some(state) = state else {
            self.who.timed.end(Outcome::Ok, "");
            return Step::Last(answer.with_id(self.asked.id()).into());
        };
        let sealed = self.seal(State::Server(state));
        if let Some(result) = sealed.and_then(|sealed| with_state(result, &sealed)) {
            self.who.timed.end(Outcome::Ok, "");
            Step::Last(envelope::result(self.asked.id(), result.as_bytes()).into())
        } else {
            let message = format!("server {} sent a requestState that is too long.", self.sent.server);
            self.fails(Outcome::Error, &message)
        }
    }

    /// A modern server asks a legacy client: by requests of the gateway's own.
    async fn ask_for(&mut self, asks: Required) -> Option<Step> {
        let mut gathering = Gathering {
            state: asks.state,
            ..Gathering::default()
        };
        for (key, wanted) in asks.questions {
            let Wanted { method, params } = &wanted;
            let lacks = self.who.can.lacks(method, params.as_deref()).is_some();
            let session = self.who.session.as_ref().filter(|_| self.who.streams && !lacks);
            let Some(awaited) = session.and_then(Session::ask) else {
                let message = format!(
                    "server {} needs {method}, which this client can't do.",
                    self.sent.server
                );
                return Some(self.fails(Outcome::Refused, &message));
            };
            self.events.push_back(wanted.request(awaited.id()));
            self.inner.meter.asked();
            let mark = if method == "elicitation/create" {
                ELICITATION
            } else {
                OTHER
            };
            self.wait_for(awaited, Slot::Input(format!("{mark}{key}")), None);
            gathering.missing += 1;
        }
        if gathering.missing == 0 {
            // It wants to be asked again, no more.
            return self
                .again(Some(&Round {
                    state: gathering.state.map(json_text),
                    responses: None,
                }))
                .await;
        }
        self.gathering = Some(gathering);
        None
    }

    /// A legacy server wants URLs to be visited before it is asked again.
    fn visit(&self, urls: &[std::borrow::Cow<'_, str>]) -> Step {
        const METHOD: &str = "elicitation/create";
        if let Some(lacked) = self.who.can.lacks(METHOD, urls.first().map(|url| &**url)) {
            return self.lacks(&lacked);
        }
        let questions = urls
            .iter()
            .enumerate()
            .map(|(at, url)| (format!("q{at}"), METHOD, Some(&**url)));
        let result = input_required(questions, self.seal(State::Anew).as_deref());
        self.who.timed.end(Outcome::Ok, "");
        Step::Last(envelope::result(self.asked.id(), result.as_bytes()).into())
    }

    /// What a state of this request is bound to.
    pub fn binding(&self) -> Binding {
        Binding {
            caller: Arc::clone(&self.who.caller),
            endpoint: self.endpoint.to_string(),
            subject: self.asked.subject(),
        }
    }

    fn seal(&self, state: State) -> Option<String> {
        self.binding().seal(&self.inner, state)
    }
}

/// What a state is bound to.
pub struct Binding {
    caller: Arc<str>,
    endpoint: String,
    subject: String,
}

impl Binding {
    /// Seals a state.
    pub fn seal(&self, inner: &Inner, state: State) -> Option<String> {
        let bound = Bound {
            caller: &self.caller,
            endpoint: &self.endpoint,
            subject: &self.subject,
        };
        inner.seal.seal(state, &bound, crate::kit::time::now())
    }
}

/// Whether a tool's result says that it is an error. Few do, and the whole is only read where the word is there at all.
fn says_error(result: &[u8]) -> bool {
    memchr::memmem::find(result, b"\"isError\"").is_some()
        && std::str::from_utf8(result)
            .ok()
            .and_then(|text| members(text, ["isError"]).ok()?[0])
            .is_some_and(|said| said.get() == "true")
}

/// A JSON text of a text.
fn json_text(plain: String) -> String {
    Value::from(plain).to_string()
}

/// Marks of what was asked for, before its key.
const ELICITATION: char = 'e';
const OTHER: char = 'o';

async fn replied(replies: &mut Option<FuturesUnordered<BoxFuture<'static, Replied>>>) -> Option<Replied> {
    replies.as_mut()?.next().await
}

async fn cancelled(cancelled: &mut Option<oneshot::Receiver<()>>) {
    match cancelled {
        // Answered or closed, it is over.
        Some(cancelled) => drop(cancelled.await),
        None => std::future::pending().await,
    }
}
