//! The sessions of clients (legacy era): minted at `initialize`, bound to their caller and endpoint, bounded in number
//! and age.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::kit::{Digest, Name};
use crate::mcp::level::Level;
use crate::mcp::lists::{Each, Kind};
use crate::mcp::locked;
use crate::record::Life;

use super::Endpoint;
use super::ask::Can;
use super::fair::gives_way;
use super::places::Places;
use super::subscriptions::{Inbox, Subscriptions};

/// Sessions that are kept, and bytes of what their clients said of themselves (in MiB); beyond, the caller with the most gives
/// up the one that was idle the longest.
const MOST: usize = 10_000;
const MOST_MIB: usize = 64;
/// How long a session without calls and streams is kept.
const IDLE: Duration = Duration::from_hours(12);
/// Calls of one session that may run at once.
const MOST_CALLS: usize = 1_000;
/// Questions to one client that may be open at once.
const MOST_QUESTIONS: usize = 100;

/// One client's session.
pub struct Session {
    /// What the client names it by.
    pub id: Arc<str>,
    caller: Arc<str>,
    endpoint: Endpoint,
    used: AtomicU64,
    calls: Mutex<HashMap<Box<str>, oneshot::Sender<()>>>,
    stream: Mutex<Option<CancellationToken>>,
    told: Mutex<Each<Option<Digest>>>,
    lives: Mutex<HashMap<Name, Life>>,
    /// What the client said of itself.
    pub about: About,
    level: Mutex<Option<Level>>,
    asked: AtomicU64,
    questions: Mutex<HashMap<u64, oneshot::Sender<Reply>>>,
    /// What waits to be told to the client.
    pub inbox: Arc<Inbox>,
    subscriptions: Arc<Subscriptions>,
    places: Arc<Places>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.places.forget_session(&self.id);
        self.subscriptions.forget_session(&self.id);
    }
}

/// What a client says of itself at `initialize`, as JSON texts.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// Who it is.
    pub info: Option<String>,
    /// What it can.
    pub capabilities: Option<String>,
    /// What it can be asked.
    pub can: Can,
}

impl About {
    /// How many bytes are kept of it.
    fn size(&self) -> usize {
        let texts = [&self.info, &self.capabilities];
        texts.into_iter().flatten().map(String::len).sum()
    }
}

/// A client's answer to a question: its `result`, or its `error`, as a JSON text.
pub type Reply = Result<String, String>;

/// A question that waits for its client; it is off the list when this is dropped.
pub struct Awaited {
    session: Arc<Session>,
    id: u64,
    reply: oneshot::Receiver<Reply>,
}

impl Awaited {
    /// The id that the client answers to.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Waits for the answer; nothing where there will be none.
    pub async fn reply(&mut self) -> Option<Reply> {
        (&mut self.reply).await.ok()
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        locked(&self.session.questions).remove(&self.id);
    }
}

/// Why a call is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// The id is that of a call which still runs.
    #[error("a request with this id is still running")]
    SameId,
    /// Too many calls run.
    #[error("{MOST_CALLS} calls of this session are running already")]
    TooMany,
}

/// A call that runs; it is off the list when this is dropped.
pub struct Running {
    session: Arc<Session>,
    id: Box<str>,
}

impl Drop for Running {
    fn drop(&mut self) {
        locked(&self.session.calls).remove(&self.id);
    }
}

impl Session {
    /// Lists a call under the client's id (a JSON text). The receiver answers, with an error or without, when the call is
    /// cancelled or the session ends.
    pub fn run(self: &Arc<Self>, id: &str) -> Result<(Running, oneshot::Receiver<()>), NotTaken> {
        let (cancel, cancelled) = oneshot::channel();
        let mut calls = locked(&self.calls);
        if calls.len() >= MOST_CALLS {
            return Err(NotTaken::TooMany);
        }
        if calls.contains_key(id) {
            return Err(NotTaken::SameId);
        }
        calls.insert(id.into(), cancel);
        let running = Running {
            session: Arc::clone(self),
            id: id.into(),
        };
        Ok((running, cancelled))
    }

    /// Cancels a call of this session, where it runs.
    pub fn cancel(&self, id: &str) {
        let call = locked(&self.calls).remove(id);
        drop(call);
    }

    /// Begins a question to the client; nothing where too many are open.
    #[must_use]
    pub fn ask(self: &Arc<Self>) -> Option<Awaited> {
        let id = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        let (answer, reply) = oneshot::channel();
        let mut questions = locked(&self.questions);
        if questions.len() >= MOST_QUESTIONS {
            return None;
        }
        questions.insert(id, answer);
        drop(questions);
        Some(Awaited {
            session: Arc::clone(self),
            id,
            reply,
        })
    }

    /// Takes a client's answer. False: nobody waits for it.
    pub fn reply(&self, id: u64, reply: Reply) -> bool {
        let question = locked(&self.questions).remove(&id);
        question.is_some_and(|question| question.send(reply).is_ok())
    }

    /// The least important log message that the client wants; nothing where it never said.
    #[must_use]
    pub fn level(&self) -> Option<Level> {
        *locked(&self.level)
    }

    /// Notes the least important log message that the client wants.
    pub fn set_level(&self, level: Level) {
        *locked(&self.level) = Some(level);
    }

    /// The token of a new stream to the client. It takes the place of an older one, which a lost network may have left.
    pub fn stream(&self) -> CancellationToken {
        let token = CancellationToken::new();
        if let Some(old) = locked(&self.stream).replace(token.clone()) {
            old.cancel();
        }
        token
    }

    /// Notes that the client knows of this list.
    pub fn tell(&self, kind: Kind, digest: Digest) {
        *locked(&self.told).of_mut(kind) = Some(digest);
    }

    /// The notification of a list that is not what the client was last told, where there is one; it is told by that. What
    /// the client was never told of counts as told.
    pub fn news(&self, shown: &Each<Digest>) -> Option<&'static str> {
        let mut told = locked(&self.told);
        let mut news = None;
        for kind in Kind::ALL {
            let now = *shown.of(kind);
            let told = told.of_mut(kind);
            if *told.get_or_insert(now) != now && *news.get_or_insert(kind.changed()) == kind.changed() {
                *told = Some(now);
            }
        }
        news
    }

    /// The life of a server that this session sticks to.
    pub fn life(&self, server: &Name) -> Option<Life> {
        locked(&self.lives).get(server).cloned()
    }

    /// Sticks to a life of a server.
    pub fn stick(&self, server: &Name, life: &Life) {
        let mut lives = locked(&self.lives);
        if lives.get(server) != Some(life) {
            lives.insert(server.clone(), life.clone());
        }
    }

    fn is_streaming(&self) -> bool {
        locked(&self.stream).as_ref().is_some_and(|token| !token.is_cancelled())
    }

    fn is_calling(&self) -> bool {
        !locked(&self.calls).is_empty()
    }

    fn is_idle(&self) -> bool {
        !self.is_streaming() && !self.is_calling()
    }

    fn end(&self) {
        locked(&self.calls).clear();
        locked(&self.questions).clear();
        if let Some(stream) = locked(&self.stream).take() {
            stream.cancel();
        }
    }
}

/// Why there is no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// Every session that could give way is in use.
    #[error(
        "there are {MOST} sessions already, or their clients said {MOST_MIB} MiB of themselves, and none that could give way is \
         idle; end one of yours with DELETE, or try again later"
    )]
    Busy,
    /// No id is to be had.
    #[error("no chance is to be had for a session's id; try again later")]
    Chance,
}

/// The sessions by their ids.
#[derive(Default)]
struct All {
    by_id: HashMap<Arc<str>, Arc<Session>>,
    /// Of what their clients said of themselves.
    bytes: usize,
}

impl All {
    fn insert(&mut self, session: &Arc<Session>) {
        self.bytes += session.about.size();
        self.by_id.insert(Arc::clone(&session.id), Arc::clone(session));
    }

    fn remove(&mut self, id: &str) -> Option<Arc<Session>> {
        let session = self.by_id.remove(id)?;
        self.bytes -= session.about.size();
        Some(session)
    }

    /// Whose session gives way to one more of `caller`, of so many bytes: the one that was not used for the longest, of the
    /// caller with the most where others have less, else of the caller itself. None that runs a call; and none of its own
    /// that listens.
    fn gives_way(&self, caller: &str, bytes: Option<usize>) -> Option<Arc<str>> {
        let share = |session: &Session| bytes.map_or(1, |_| session.about.size());
        // One that said nothing of itself makes no room.
        let counts = |session: &Session| share(session) > 0;
        let shares = self.by_id.values().map(|session| (&*session.caller, share(session)));
        let longest = |of: &str, is_free: fn(&Session) -> bool| {
            let of = self
                .by_id
                .values()
                .filter(|session| *session.caller == *of && counts(session) && is_free(session));
            of.min_by_key(|session| (session.is_streaming(), session.used.load(Ordering::Relaxed)))
        };
        let of_others = gives_way(shares, caller, bytes.unwrap_or(1));
        let of_others = of_others.and_then(|other| longest(other, |session| !session.is_calling()));
        let session = of_others.or_else(|| longest(caller, Session::is_idle))?;
        Some(Arc::clone(&session.id))
    }
}

/// All sessions.
pub struct Sessions {
    started: Instant,
    most: usize,
    most_bytes: usize,
    idle: Duration,
    /// What the sessions are subscribed to.
    pub subscriptions: Arc<Subscriptions>,
    /// The instances that they have of their own.
    pub places: Arc<Places>,
    all: Mutex<All>,
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            most: MOST,
            most_bytes: MOST_MIB << 20,
            idle: IDLE,
            subscriptions: Arc::default(),
            places: Arc::default(),
            all: Mutex::default(),
        }
    }
}

impl Sessions {
    /// Mints a session.
    ///
    /// # Errors
    /// There is no room, and every session that could give way is busy.
    pub fn mint(&self, caller: &str, endpoint: &Endpoint, about: About) -> Result<Arc<Session>, NoRoom> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|_| NoRoom::Chance)?;
        let id = format!("{:032x}", u128::from_ne_bytes(random));
        let now = self.now();
        let session = Arc::new(Session {
            id: id.as_str().into(),
            caller: caller.into(),
            endpoint: endpoint.clone(),
            used: AtomicU64::new(now),
            calls: Mutex::default(),
            stream: Mutex::default(),
            told: Mutex::default(),
            lives: Mutex::default(),
            about,
            level: Mutex::default(),
            asked: AtomicU64::new(0),
            questions: Mutex::default(),
            inbox: Arc::default(),
            subscriptions: Arc::clone(&self.subscriptions),
            places: Arc::clone(&self.places),
        });
        let size = session.about.size();
        let mut gone = vec![];
        let mut all = locked(&self.all);
        let is_full = |all: &All| all.by_id.len() >= self.most || all.bytes + size > self.most_bytes;
        if is_full(&all) {
            let stale = all.by_id.values().filter(|session| self.is_stale(session, now));
            let stale: Vec<Arc<str>> = stale.map(|session| Arc::clone(&session.id)).collect();
            gone.extend(stale.iter().filter_map(|id| all.remove(id)));
        }
        let mut minted = Ok(());
        while is_full(&all) {
            let bytes = (all.by_id.len() < self.most).then_some(size);
            let Some(first) = all.gives_way(caller, bytes) else {
                minted = Err(NoRoom::Busy);
                break;
            };
            gone.extend(all.remove(&first));
        }
        if minted.is_ok() {
            all.insert(&session);
        }
        drop(all);
        // Ended outside of the lock: the end of a session tells servers.
        for session in gone {
            session.end();
        }
        minted.map(|()| session)
    }

    /// The session of this caller at this endpoint; somebody else's is as unknown as one that never was.
    pub fn find(&self, id: &str, caller: &str, endpoint: &Endpoint) -> Option<Arc<Session>> {
        let now = self.now();
        let mut all = locked(&self.all);
        let session = Arc::clone(all.by_id.get(id)?);
        if *session.caller != *caller || session.endpoint != *endpoint {
            return None;
        }
        if self.is_stale(&session, now) {
            all.remove(id);
            return None;
        }
        session.used.store(now, Ordering::Relaxed);
        Some(session)
    }

    /// Ends a session with its calls and its stream.
    pub fn end(&self, session: &Session) {
        locked(&self.all).remove(&session.id);
        session.end();
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        locked(&self.all).by_id.len()
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn is_stale(&self, session: &Session, now: u64) -> bool {
        let idle = now.saturating_sub(session.used.load(Ordering::Relaxed));
        u128::from(idle) >= self.idle.as_millis() && session.is_idle()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(name: &str) -> Endpoint {
        Endpoint::Project(name.parse().unwrap())
    }

    #[test]
    fn a_session_is_its_callers_at_its_endpoint() {
        let sessions = Sessions::default();
        let session = sessions.mint("anna", &endpoint("demo"), About::default()).unwrap();
        assert!(sessions.find(&session.id, "anna", &endpoint("demo")).is_some());
        assert!(sessions.find(&session.id, "bert", &endpoint("demo")).is_none());
        assert!(sessions.find(&session.id, "anna", &endpoint("other")).is_none());
        assert!(sessions.find("", "anna", &endpoint("demo")).is_none());
        let (_running, mut cancelled) = session.run("1").unwrap();
        assert_eq!(session.run("1").err(), Some(NotTaken::SameId));
        sessions.end(&session);
        assert!(sessions.find(&session.id, "anna", &endpoint("demo")).is_none());
        assert_eq!(cancelled.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    }

    #[test]
    fn a_session_grows_stale_unless_it_is_busy() {
        let sessions = Sessions {
            idle: Duration::ZERO,
            ..Sessions::default()
        };
        let at = endpoint("demo");
        let session = sessions.mint("a", &at, About::default()).unwrap();
        let running = session.run("1").unwrap();
        assert!(sessions.find(&session.id, "a", &at).is_some());
        drop(running);
        let stream = session.stream();
        assert!(sessions.find(&session.id, "a", &at).is_some());
        stream.cancel();
        assert!(sessions.find(&session.id, "a", &at).is_none());
    }

    #[test]
    fn the_longest_idle_goes_and_busy_ones_stay() {
        let sessions = Sessions {
            most: 2,
            ..Sessions::default()
        };
        let at = endpoint("demo");
        let busy = sessions.mint("a", &at, About::default()).unwrap();
        let (running, _cancelled) = busy.run("1").unwrap();
        let idle = sessions.mint("a", &at, About::default()).unwrap();
        let next = sessions.mint("a", &at, About::default()).unwrap();
        assert!(sessions.find(&busy.id, "a", &at).is_some());
        assert!(sessions.find(&idle.id, "a", &at).is_none());
        let _stream = next.stream();
        let refused = sessions.mint("a", &at, About::default()).err();
        assert_eq!(refused, Some(NoRoom::Busy), "all are busy");
        drop(running);
        assert!(sessions.mint("a", &at, About::default()).is_ok());
        assert!(sessions.find(&busy.id, "a", &at).is_none());
    }

    /// A caller with many sessions costs others none: it gives up its own, and where another has need of one, even one that
    /// listens; never one that works.
    #[test]
    fn the_caller_with_the_most_gives_way() {
        let sessions = Sessions {
            most: 4,
            ..Sessions::default()
        };
        let at = endpoint("demo");
        let mint = |caller: &str| sessions.mint(caller, &at, About::default());
        let is_there = |session: &Session| locked(&sessions.all).by_id.contains_key(&session.id);
        let bert = mint("bert").unwrap();
        let annas = [(); 3].map(|()| mint("anna").unwrap());
        let more = mint("anna").unwrap();
        assert!(is_there(&bert), "the oldest, and not the flood's");
        assert_eq!(annas.iter().filter(|session| is_there(session)).count(), 2);
        let left: Vec<_> = annas.iter().filter(|session| is_there(session)).collect();
        let (_running, _cancelled) = left[0].run("1").unwrap();
        let streams = [left[1].stream(), more.stream()];
        assert!(mint("anna").is_err(), "its own are in use, and others have less");
        let carl = mint("carl").unwrap();
        assert_eq!(streams.iter().filter(|stream| stream.is_cancelled()).count(), 1);
        assert!(is_there(&bert) && is_there(&carl) && is_there(left[0]));
        mint("dora").unwrap();
        assert!(streams.iter().all(CancellationToken::is_cancelled), "she had two still");
        assert!(is_there(left[0]), "it works");
        assert_eq!(mint("emil").err(), Some(NoRoom::Busy), "all have their share");
    }

    /// What clients say of themselves fills no memory.
    #[test]
    fn what_clients_say_of_themselves_is_bounded() {
        const SAID: usize = 1_000;
        let sessions = Sessions {
            most_bytes: 10 * SAID,
            ..Sessions::default()
        };
        let at = endpoint("demo");
        let about = |bytes: usize| About {
            info: Some("x".repeat(bytes / 2)),
            capabilities: Some("x".repeat(bytes / 2)),
            ..About::default()
        };
        let bert = sessions.mint("bert", &at, about(SAID)).unwrap();
        for _ in 0..100 {
            sessions.mint("anna", &at, about(SAID)).unwrap();
            sessions.mint("anna", &at, About::default()).unwrap();
        }
        let all = locked(&sessions.all);
        assert_eq!(all.bytes, 10 * SAID);
        assert!(
            all.by_id.len() > 50,
            "those that say nothing of themselves cost nothing"
        );
        assert!(all.by_id.contains_key(&bert.id));
    }
}
