//! Who wants to hear that a resource changed: the sessions by server and URI, and the lives that were told so.
//!
//! What is wanted is kept here, and each life's holder makes it so ([`Subscriptions::due`]): a life that comes later is
//! subscribed to as well, and one subscription at a server serves every session. Asking twice does no harm.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::kit::Name;
use crate::mcp::locked;
use crate::record::Life;

use super::Endpoint;
use super::levels::Levels;

/// Resources that one session may be subscribed to, and bytes of their URIs.
const MOST: usize = 1_000;
const MOST_BYTES: usize = 256 << 10;
/// Bytes of the URIs of one caller's sessions, and of all.
const MOST_BYTES_OF_CALLER: usize = 8 << 20;
const MOST_BYTES_IN_ALL: usize = 64 << 20;
/// Bytes of messages that may wait for one session.
const MOST_WAITING: usize = 1 << 20;
/// How often log levels that nobody asked for lately are forgotten, and when that is.
const LOOK: Duration = Duration::from_secs(15);
const LAPSE: Duration = Duration::from_mins(10);

/// What waits to be told to one session: the newest message about each resource.
#[derive(Default)]
pub struct Inbox {
    messages: Mutex<Messages>,
    came: Notify,
}

#[derive(Default)]
struct Messages {
    by_uri: BTreeMap<String, Bytes>,
    bytes: usize,
}

impl Inbox {
    fn put(&self, uri: &str, message: &Bytes) {
        let mut messages = locked(&self.messages);
        let before = messages.by_uri.get(uri);
        let bytes = messages.bytes + message.len() - before.map_or(0, Bytes::len);
        // A client that does not listen may miss which resource changed within one that it subscribed to, no more.
        if bytes <= MOST_WAITING && (before.is_some() || messages.by_uri.len() < MOST) {
            messages.bytes = bytes;
            messages.by_uri.insert(uri.to_owned(), message.clone());
        }
        drop(messages);
        self.came.notify_one();
    }

    /// Takes one message, where one waits.
    pub fn take(&self) -> Option<Bytes> {
        let mut messages = locked(&self.messages);
        let (_, message) = messages.by_uri.pop_first()?;
        messages.bytes -= message.len();
        Some(message)
    }

    /// Waits until there may be one.
    pub async fn came(&self) {
        self.came.notified().await;
    }
}

/// Who wants to hear of resources: a session, or a stream that stands for one.
#[derive(Debug, Clone, Copy)]
pub struct Who<'a> {
    /// Its name.
    pub session: &'a str,
    /// Whose it is.
    pub caller: &'a str,
    /// Where it is: it hears of what is there, and no longer than that.
    pub endpoint: &'a Endpoint,
}

#[derive(Default)]
struct Wanted {
    sessions: HashMap<Arc<str>, Arc<Inbox>>,
    lives: BTreeSet<Life>,
}

impl Wanted {
    fn is_forgotten(&self) -> bool {
        self.sessions.is_empty() && self.lives.is_empty()
    }
}

/// What one session wants to hear of.
struct Subscriber {
    caller: Arc<str>,
    endpoint: Endpoint,
    wants: BTreeSet<(Name, String)>,
    bytes: usize,
}

/// All that is wanted: by server and URI, and by session.
#[derive(Default)]
struct All {
    servers: BTreeMap<Name, BTreeMap<String, Wanted>>,
    subscribers: HashMap<Arc<str>, Subscriber>,
    of_callers: HashMap<Arc<str>, usize>,
    bytes: usize,
}

impl All {
    fn add(&mut self, server: &Name, uri: &str, who: Who<'_>, inbox: &Arc<Inbox>) -> Option<bool> {
        let want = (server.clone(), uri.to_owned());
        let of_caller = self.of_callers.get(who.caller).copied().unwrap_or_default();
        if let Some(subscriber) = self.subscribers.get(who.session) {
            if subscriber.wants.contains(&want) {
                return Some(false);
            }
            if subscriber.wants.len() >= MOST || subscriber.bytes + uri.len() > MOST_BYTES {
                return None;
            }
        }
        if of_caller + uri.len() > MOST_BYTES_OF_CALLER || self.bytes + uri.len() > MOST_BYTES_IN_ALL {
            return None;
        }
        let name: Arc<str> = who.session.into();
        let new = || Subscriber {
            caller: who.caller.into(),
            endpoint: who.endpoint.clone(),
            wants: BTreeSet::new(),
            bytes: 0,
        };
        let subscriber = self.subscribers.entry(Arc::clone(&name)).or_insert_with(new);
        subscriber.wants.insert(want);
        subscriber.bytes += uri.len();
        *self.of_callers.entry(Arc::clone(&subscriber.caller)).or_default() += uri.len();
        self.bytes += uri.len();
        let uris = self.servers.entry(server.clone()).or_default();
        let wanted = uris.entry(uri.to_owned()).or_default();
        wanted.sessions.insert(name, Arc::clone(inbox));
        Some(true)
    }

    /// Takes back what a session wants, as far as it is `over`; whether there was anything.
    fn take_back(&mut self, session: &str, over: impl Fn(&Name, &str) -> bool) -> bool {
        let Some(subscriber) = self.subscribers.get_mut(session) else {
            return false;
        };
        let over: Vec<_> = subscriber
            .wants
            .extract_if(.., |(server, uri)| over(server, uri))
            .collect();
        let bytes: usize = over.iter().map(|(_, uri)| uri.len()).sum();
        subscriber.bytes -= bytes;
        self.bytes -= bytes;
        if let Some(of_caller) = self.of_callers.get_mut(&subscriber.caller) {
            *of_caller -= bytes;
            if *of_caller == 0 {
                self.of_callers.remove(&subscriber.caller);
            }
        }
        if subscriber.wants.is_empty() {
            self.subscribers.remove(session);
        }
        for (server, uri) in &over {
            self.change(server, uri, |wanted| drop(wanted.sessions.remove(session)));
        }
        !over.is_empty()
    }

    /// Changes what is known of a resource, and forgets it where nobody has anything to do with it any more.
    fn change(&mut self, server: &Name, uri: &str, change: impl FnOnce(&mut Wanted)) {
        let Some(uris) = self.servers.get_mut(server) else {
            return;
        };
        let Some(wanted) = uris.get_mut(uri) else { return };
        change(wanted);
        if wanted.is_forgotten() {
            uris.remove(uri);
        }
        if uris.is_empty() {
            self.servers.remove(server);
        }
    }
}

/// What is to be done at a life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Somebody wants to hear of it.
    Subscribe,
    /// Nobody does any more.
    Unsubscribe,
}

impl Due {
    /// The method that does it.
    #[must_use]
    pub fn method(self) -> &'static str {
        match self {
            Self::Subscribe => "resources/subscribe",
            Self::Unsubscribe => "resources/unsubscribe",
        }
    }
}

/// All subscriptions.
#[derive(Default)]
pub struct Subscriptions {
    all: Mutex<All>,
    changed: watch::Sender<()>,
    /// How much of what servers log the sessions want to hear.
    pub levels: Levels,
    /// Wakes when a life tells of something else than before.
    came: watch::Sender<()>,
}

impl Subscriptions {
    /// Notes that a session wants to hear of a resource. Says whether that is new; nothing where it, or its caller, has too
    /// many.
    pub fn add(&self, server: &Name, uri: &str, who: Who<'_>, inbox: &Arc<Inbox>) -> Option<bool> {
        locked(&self.all).add(server, uri, who, inbox)
    }

    /// Takes back what was wanted of servers that are not `shown` where it was wanted (any more).
    pub fn keep(&self, shown: impl Fn(&Endpoint, &Name) -> bool) {
        let mut all = locked(&self.all);
        let gone = |(_, subscriber): &(&Arc<str>, &Subscriber)| {
            let mut servers = subscriber.wants.iter().map(|(server, _)| server);
            servers.any(|server| !shown(&subscriber.endpoint, server))
        };
        let gone: Vec<(Arc<str>, Endpoint)> = all
            .subscribers
            .iter()
            .filter(gone)
            .map(|(session, subscriber)| (Arc::clone(session), subscriber.endpoint.clone()))
            .collect();
        for (session, endpoint) in &gone {
            all.take_back(session, |server, _| !shown(endpoint, server));
        }
        drop(all);
        if !gone.is_empty() {
            self.changed.send_replace(());
        }
    }

    /// Forgets what requests by themselves wanted to hear of logs a while ago, until `stop`.
    pub async fn tidy(self: Arc<Self>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = sleep(LOOK) => self.levels.forget_requests(LAPSE),
                () = stop.cancelled() => return,
            }
        }
    }

    /// Lets the holders see to what is wanted.
    pub fn announce(&self) {
        self.changed.send_replace(());
    }

    /// Notes that a life was told, and lets the holders of the others see to theirs.
    pub fn confirm(&self, server: &Name, uri: &str, life: &Life) {
        self.done(server, uri, life, Due::Subscribe);
        self.changed.send_replace(());
    }

    /// A session does not want to hear of a resource any more.
    pub fn remove(&self, uri: &str, session: &str) {
        if locked(&self.all).take_back(session, |_, known| known == uri) {
            self.changed.send_replace(());
        }
    }

    /// A session is gone.
    pub fn forget_session(&self, session: &str) {
        self.levels.forget_session(session);
        if locked(&self.all).take_back(session, |_, _| true) {
            self.changed.send_replace(());
        }
    }

    /// A life's conversation is over: what it was told is forgotten with it.
    pub fn forget_life(&self, life: &Life) {
        locked(&self.all).servers.retain(|_, uris| {
            uris.retain(|_, wanted| {
                wanted.lives.remove(life);
                !wanted.is_forgotten()
            });
            !uris.is_empty()
        });
    }

    /// What is to be done at a life of a server next, of what comes after a URI.
    #[must_use]
    pub fn due(&self, server: &Name, life: &Life, after: Option<&str>) -> Option<(String, Due)> {
        let all = locked(&self.all);
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = all.servers.get(server)?.range::<str, _>((after, Bound::Unbounded));
        rest.find_map(|(uri, wanted)| {
            let due = match (wanted.sessions.is_empty(), wanted.lives.contains(life)) {
                (false, false) => Due::Subscribe,
                (true, true) => Due::Unsubscribe,
                _ => return None,
            };
            Some((uri.clone(), due))
        })
    }

    /// Notes that it was done, or that trying it again is of no use.
    pub fn done(&self, server: &Name, uri: &str, life: &Life, due: Due) {
        locked(&self.all).change(server, uri, |wanted| {
            match due {
                Due::Subscribe => wanted.lives.insert(life.clone()),
                Due::Unsubscribe => wanted.lives.remove(life),
            };
        });
        self.came.send_replace(());
    }

    /// Hands a server's message about a resource to every session that wants it, or what it lies within.
    pub fn deliver(&self, server: &Name, uri: &str, message: &Bytes) {
        let all = locked(&self.all);
        let Some(uris) = all.servers.get(server) else { return };
        for wanted in around(uri).filter_map(|around| uris.get(around)) {
            for inbox in wanted.sessions.values() {
                inbox.put(uri, message);
            }
        }
    }

    /// The resources of a server that somebody wants to hear of.
    #[must_use]
    pub fn wanted(&self, server: &Name) -> BTreeSet<String> {
        let all = locked(&self.all);
        let wanted = all.servers.get(server).into_iter().flatten();
        wanted
            .filter(|(_, wanted)| !wanted.sessions.is_empty())
            .map(|(uri, _)| uri.clone())
            .collect()
    }

    /// Notes all that a life tells of from now on.
    pub fn told(&self, server: &Name, life: &Life, uris: &BTreeSet<String>) {
        let mut all = locked(&self.all);
        if let Some(known) = all.servers.get_mut(server) {
            known.retain(|uri, wanted| {
                if uris.contains(uri) {
                    wanted.lives.insert(life.clone());
                } else {
                    wanted.lives.remove(life);
                }
                !wanted.is_forgotten()
            });
            if known.is_empty() {
                all.servers.remove(server);
            }
        }
        drop(all);
        self.came.send_replace(());
    }

    /// Lets the holders see to what was added, and waits until this life tells of it.
    pub async fn taken(&self, server: &Name, uri: &str, life: &Life) {
        let mut came = self.came.subscribe();
        self.changed.send_replace(());
        while !self.lives(server, uri, |lives| lives.contains(life)) {
            if came.changed().await.is_err() {
                return;
            }
        }
    }

    /// Waits until of each of these resources some life of its server tells, or was asked in vain.
    pub async fn all_taken(&self, wanted: &[(Name, String)]) {
        let mut came = self.came.subscribe();
        for (server, uri) in wanted {
            while !self.lives(server, uri, |lives| !lives.is_empty()) {
                if came.changed().await.is_err() {
                    return;
                }
            }
        }
    }

    fn lives(&self, server: &Name, uri: &str, are: impl Fn(&BTreeSet<Life>) -> bool) -> bool {
        let all = locked(&self.all);
        let wanted = all.servers.get(server).and_then(|uris| uris.get(uri));
        wanted.is_some_and(|wanted| are(&wanted.lives))
    }

    /// Wakes when there may be something due.
    pub fn changed(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}

/// A resource, and all that it lies within.
fn around(uri: &str) -> impl Iterator<Item = &str> {
    let ends = uri.char_indices().flat_map(|(at, c)| match c {
        '/' => [Some(at), Some(at + 1)],
        '?' | '#' => [Some(at), None],
        _ => [None; 2],
    });
    // Two slashes in a row end the same one twice.
    let mut last = 0;
    let mut ends = ends
        .flatten()
        .filter(move |end| std::mem::replace(&mut last, *end) != *end);
    let mut whole = Some(uri);
    std::iter::from_fn(move || match ends.find(|end| *end < uri.len()) {
        Some(end) => uri.get(..end),
        None => whole.take(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint() -> Endpoint {
        Endpoint::Project("demo".parse().unwrap())
    }

    fn who(session: &str) -> Who<'_> {
        static DEMO: std::sync::LazyLock<Endpoint> = std::sync::LazyLock::new(endpoint);
        Who {
            session,
            caller: "anna",
            endpoint: &DEMO,
        }
    }

    fn is_empty(all: &Subscriptions) -> bool {
        let all = locked(&all.all);
        all.servers.is_empty() && all.subscribers.is_empty() && all.of_callers.is_empty() && all.bytes == 0
    }

    #[test]
    fn a_life_is_told_what_sessions_want_and_what_none_wants_any_more() {
        let (all, time, git) = (
            Subscriptions::default(),
            "time".parse().unwrap(),
            "git".parse().unwrap(),
        );
        let (a, b) = (Life("a".into()), Life("b".into()));
        let inbox = Arc::new(Inbox::default());
        let add = |uri: &str, session: &str| all.add(&time, uri, who(session), &inbox);
        assert_eq!(add("x:1", "s"), Some(true));
        assert_eq!(add("x:1", "s"), Some(false));
        assert_eq!(add("x:1", "t"), Some(true));
        assert_eq!(all.due(&git, &a, None), None);
        assert_eq!(all.due(&time, &a, None), Some(("x:1".into(), Due::Subscribe)));
        all.confirm(&time, "x:1", &a);
        assert_eq!(all.due(&time, &a, None), None);
        assert_eq!(
            all.due(&time, &b, None),
            Some(("x:1".into(), Due::Subscribe)),
            "a later life too"
        );
        all.remove("x:1", "s");
        assert_eq!(all.due(&time, &a, None), None, "another session wants it still");
        all.forget_session("t");
        assert_eq!(all.due(&time, &a, None), Some(("x:1".into(), Due::Unsubscribe)));
        all.done(&time, "x:1", &a, Due::Unsubscribe);
        assert!(is_empty(&all), "nothing stays behind");
        add("x:1", "s");
        all.confirm(&time, "x:1", &a);
        all.forget_life(&a);
        assert_eq!(all.due(&time, &a, None), Some(("x:1".into(), Due::Subscribe)));
    }

    #[test]
    fn messages_reach_who_wants_them() {
        let (all, time, git) = (
            Subscriptions::default(),
            "time".parse().unwrap(),
            "git".parse().unwrap(),
        );
        let (one, two) = (Arc::new(Inbox::default()), Arc::new(Inbox::default()));
        all.add(&time, "x:/a", who("1"), &one);
        all.add(&time, "x:/b/", who("2"), &two);
        let message = Bytes::from_static(b"{}");
        for (server, uri, want) in [
            (&time, "x:/a", [true, false]),
            (&git, "x:/a", [false, false]),
            (&time, "x:/ab", [false, false]),
            (&time, "x:/a/c", [true, false]),
            (&time, "x:/b/c", [false, true]),
            (&time, "x:/b/", [false, true]),
            (&time, "x:/b", [false, false]),
            (&time, "x:/a?b", [true, false]),
            (&time, "x:/a#b/c", [true, false]),
            (&time, "x:/b//c", [false, true]),
        ] {
            all.deliver(server, uri, &message);
            all.deliver(server, uri, &message);
            assert_eq!([one.take().is_some(), two.take().is_some()], want, "{uri}");
            assert_eq!((one.take(), two.take()), (None, None), "each is told once");
        }
    }

    #[test]
    fn a_session_has_so_many_and_no_more() {
        let (all, time) = (Subscriptions::default(), "time".parse().unwrap());
        let inbox = Arc::new(Inbox::default());
        for n in 0..MOST {
            assert_eq!(all.add(&time, &format!("x:{n}"), who("s"), &inbox), Some(true));
        }
        assert_eq!(all.add(&time, "x:more", who("s"), &inbox), None);
        assert_eq!(all.add(&time, "x:more", who("t"), &inbox), Some(true));
        for n in 0..2 * MOST {
            inbox.put(&format!("y:{n}"), &Bytes::new());
        }
        assert_eq!(locked(&inbox.messages).by_uri.len(), MOST);
    }

    /// Long URIs and long messages are bounded too, and what is given back makes room.
    #[test]
    fn bytes_are_bounded() {
        let (all, time) = (Subscriptions::default(), "time".parse().unwrap());
        let inbox = Arc::new(Inbox::default());
        let long = |n: usize| format!("x:{n:08}").repeat(800);
        let fill = |caller: &str, session: &str| {
            let endpoint = endpoint();
            let who = Who {
                session,
                caller,
                endpoint: &endpoint,
            };
            (0..MOST)
                .take_while(|n| all.add(&time, &long(*n), who, &inbox) == Some(true))
                .count()
        };
        assert_eq!(fill("anna", "first"), MOST_BYTES / long(0).len());
        let sessions = (0..100).filter(|n| fill("anna", &format!("s{n}")) > 0).count();
        assert!((30..33).contains(&sessions), "{sessions} of one caller");
        assert!(fill("bert", "b") > 0, "another has room");
        all.forget_session("first");
        assert!(fill("anna", "later") > 0);
        for n in 0..100 {
            inbox.put(&long(n), &Bytes::from(vec![b'x'; 100 << 10]));
            inbox.put(&long(n), &Bytes::from(vec![b'x'; 101 << 10]));
        }
        assert_eq!(locked(&inbox.messages).by_uri.len(), 10);
        while inbox.take().is_some() {}
        assert_eq!(locked(&inbox.messages).bytes, 0);
        for n in 0..100 {
            all.forget_session(&format!("s{n}"));
        }
        for last in ["b", "later"] {
            all.forget_session(last);
        }
        assert!(is_empty(&all), "nothing stays behind");
    }

    /// No time is asserted; where each looked at all the others this would take the better part of an hour.
    #[test]
    fn subscribing_does_not_look_at_everybody_elses() {
        let (all, time) = (Subscriptions::default(), "time".parse().unwrap());
        let inbox = Arc::new(Inbox::default());
        for session in 0..1_000 {
            for n in 0..200 {
                let session = format!("s{session}");
                assert_eq!(
                    all.add(&time, &format!("x:{n}:{session}"), who(&session), &inbox),
                    Some(true)
                );
            }
        }
        for session in 0..1_000 {
            all.remove("x:1", &format!("s{session}"));
            all.forget_session(&format!("s{session}"));
        }
        assert!(is_empty(&all));
    }

    #[test]
    fn what_is_not_shown_any_more_is_taken_back() {
        let (all, time, git): (_, Name, Name) = (
            Subscriptions::default(),
            "time".parse().unwrap(),
            "git".parse().unwrap(),
        );
        let inbox = Arc::new(Inbox::default());
        let own = Endpoint::Server(time.clone());
        let alone = Who {
            session: "alone",
            caller: "anna",
            endpoint: &own,
        };
        let life = Life("a".into());
        for (server, uri, who) in [
            (&time, "x:1", who("s")),
            (&git, "x:1", who("s")),
            (&time, "x:2", who("s")),
            (&time, "x:1", alone),
        ] {
            all.add(server, uri, who, &inbox);
            all.confirm(server, uri, &life);
        }
        let mut changed = all.changed();
        changed.mark_unchanged();
        all.keep(|_, _| true);
        assert!(!changed.has_changed().unwrap());
        all.keep(|endpoint, server| *endpoint == own || *server == git);
        assert!(changed.has_changed().unwrap());
        assert_eq!(
            all.wanted(&time),
            ["x:1".to_owned()].into(),
            "by the server's own endpoint"
        );
        assert_eq!(all.wanted(&git), ["x:1".to_owned()].into());
        assert_eq!(all.due(&time, &life, None), Some(("x:2".into(), Due::Unsubscribe)));
    }
}
