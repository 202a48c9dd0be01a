//! Who wants to hear that a resource changed: the sessions by server and URI, and the lives that were told so.
//!
//! What is wanted is kept here, and each life's holder makes it so ([`Subscriptions::due`]): a life that comes later is
//! subscribed to as well, and one subscription at a server serves every session. Asking twice does no harm.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::{Notify, watch};

use crate::kit::Name;
use crate::mcp::locked;
use crate::record::Life;

use super::levels::Levels;

/// Resources that one session may be subscribed to.
const MOST: usize = 1_000;

/// What waits to be told to one session: the newest message about each resource.
#[derive(Default)]
pub struct Inbox {
    messages: Mutex<BTreeMap<String, Bytes>>,
    came: Notify,
}

impl Inbox {
    fn put(&self, uri: &str, message: &Bytes) {
        let mut messages = locked(&self.messages);
        // A client that does not listen may miss which resource changed within one that it subscribed to, no more.
        if messages.len() < MOST || messages.contains_key(uri) {
            messages.insert(uri.to_owned(), message.clone());
        }
        drop(messages);
        self.came.notify_one();
    }

    /// Takes one message, where one waits.
    pub fn take(&self) -> Option<Bytes> {
        locked(&self.messages).pop_first().map(|(_, message)| message)
    }

    /// Waits until there may be one.
    pub async fn came(&self) {
        self.came.notified().await;
    }
}

#[derive(Default)]
struct Wanted {
    sessions: HashMap<String, Arc<Inbox>>,
    lives: BTreeSet<Life>,
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

/// All subscriptions, by server and URI.
#[derive(Default)]
pub struct Subscriptions {
    all: Mutex<BTreeMap<Name, BTreeMap<String, Wanted>>>,
    changed: watch::Sender<()>,
    /// How much of what servers log the sessions want to hear.
    pub levels: Levels,
    /// Wakes when a life tells of something else than before.
    came: watch::Sender<()>,
}

impl Subscriptions {
    /// Notes that a session wants to hear of a resource. Says whether that is new; nothing where it has too many.
    pub fn add(&self, server: &Name, uri: &str, session: &str, inbox: &Arc<Inbox>) -> Option<bool> {
        let mut all = locked(&self.all);
        let of_session = all.values().flat_map(BTreeMap::values);
        let many = of_session
            .filter(|wanted| wanted.sessions.contains_key(session))
            .count();
        let wanted = all
            .entry(server.clone())
            .or_default()
            .entry(uri.to_owned())
            .or_default();
        if wanted.sessions.contains_key(session) {
            return Some(false);
        }
        if many >= MOST {
            drop(all);
            self.tidy(|_, _| {});
            return None;
        }
        wanted.sessions.insert(session.to_owned(), Arc::clone(inbox));
        Some(true)
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
        self.tidy(|known, wanted| {
            if known == uri {
                wanted.sessions.remove(session);
            }
        });
        self.changed.send_replace(());
    }

    /// A session is gone.
    pub fn forget_session(&self, session: &str) {
        self.levels.forget_session(session);
        if locked(&self.all).is_empty() {
            return;
        }
        self.tidy(|_, wanted| drop(wanted.sessions.remove(session)));
        self.changed.send_replace(());
    }

    /// A life's conversation is over: what it was told is forgotten with it.
    pub fn forget_life(&self, life: &Life) {
        self.tidy(|_, wanted| {
            wanted.lives.remove(life);
        });
    }

    /// What is to be done at a life of a server next.
    #[must_use]
    pub fn due(&self, server: &Name, life: &Life) -> Option<(String, Due)> {
        let all = locked(&self.all);
        all.get(server)?.iter().find_map(|(uri, wanted)| {
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
        let mut all = locked(&self.all);
        if let Some(wanted) = all.get_mut(server).and_then(|uris| uris.get_mut(uri)) {
            match due {
                Due::Subscribe => wanted.lives.insert(life.clone()),
                Due::Unsubscribe => wanted.lives.remove(life),
            };
        }
        drop(all);
        self.tidy(|_, _| {});
        self.came.send_replace(());
    }

    /// Hands a server's message about a resource to every session that wants it.
    pub fn deliver(&self, server: &Name, uri: &str, message: &Bytes) {
        let all = locked(&self.all);
        for (subscribed, wanted) in all.get(server).into_iter().flatten() {
            if is_within(uri, subscribed) {
                for inbox in wanted.sessions.values() {
                    inbox.put(uri, message);
                }
            }
        }
    }

    /// The resources of a server that somebody wants to hear of.
    #[must_use]
    pub fn wanted(&self, server: &Name) -> BTreeSet<String> {
        let all = locked(&self.all);
        let wanted = all.get(server).into_iter().flatten();
        wanted
            .filter(|(_, wanted)| !wanted.sessions.is_empty())
            .map(|(uri, _)| uri.clone())
            .collect()
    }

    /// Notes all that a life tells of from now on.
    pub fn told(&self, server: &Name, life: &Life, uris: &BTreeSet<String>) {
        for (uri, wanted) in locked(&self.all).get_mut(server).into_iter().flatten() {
            if uris.contains(uri) {
                wanted.lives.insert(life.clone());
            } else {
                wanted.lives.remove(life);
            }
        }
        self.tidy(|_, _| {});
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
        let wanted = all.get(server).and_then(|uris| uris.get(uri));
        wanted.is_some_and(|wanted| are(&wanted.lives))
    }

    /// Wakes when there may be something due.
    pub fn changed(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    fn tidy(&self, mut change: impl FnMut(&str, &mut Wanted)) {
        locked(&self.all).retain(|_, uris| {
            uris.retain(|uri, wanted| {
                change(uri, wanted);
                !(wanted.sessions.is_empty() && wanted.lives.is_empty())
            });
            !uris.is_empty()
        });
    }
}

/// Whether a resource is the one that was subscribed to, or lies within it.
fn is_within(uri: &str, subscribed: &str) -> bool {
    uri.strip_prefix(subscribed)
        .is_some_and(|rest| rest.is_empty() || subscribed.ends_with('/') || rest.starts_with(['/', '?', '#']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_is_told_what_sessions_want_and_what_none_wants_any_more() {
        let (all, time, git) = (
            Subscriptions::default(),
            "time".parse().unwrap(),
            "git".parse().unwrap(),
        );
        let (a, b) = (Life("a".into()), Life("b".into()));
        let inbox = Arc::new(Inbox::default());
        assert_eq!(all.add(&time, "x:1", "s", &inbox), Some(true));
        assert_eq!(all.add(&time, "x:1", "s", &inbox), Some(false));
        assert_eq!(all.add(&time, "x:1", "t", &inbox), Some(true));
        assert_eq!(all.due(&git, &a), None);
        assert_eq!(all.due(&time, &a), Some(("x:1".into(), Due::Subscribe)));
        all.confirm(&time, "x:1", &a);
        assert_eq!(all.due(&time, &a), None);
        assert_eq!(
            all.due(&time, &b),
            Some(("x:1".into(), Due::Subscribe)),
            "a later life too"
        );
        all.remove("x:1", "s");
        assert_eq!(all.due(&time, &a), None, "another session wants it still");
        all.forget_session("t");
        assert_eq!(all.due(&time, &a), Some(("x:1".into(), Due::Unsubscribe)));
        all.done(&time, "x:1", &a, Due::Unsubscribe);
        assert!(locked(&all.all).is_empty(), "nothing stays behind");
        all.add(&time, "x:1", "s", &inbox);
        all.confirm(&time, "x:1", &a);
        all.forget_life(&a);
        assert_eq!(all.due(&time, &a), Some(("x:1".into(), Due::Subscribe)));
    }

    #[test]
    fn messages_reach_who_wants_them() {
        let (all, time, git) = (
            Subscriptions::default(),
            "time".parse().unwrap(),
            "git".parse().unwrap(),
        );
        let (one, two) = (Arc::new(Inbox::default()), Arc::new(Inbox::default()));
        all.add(&time, "x:/a", "1", &one);
        all.add(&time, "x:/b/", "2", &two);
        let message = Bytes::from_static(b"{}");
        for (server, uri, want) in [
            (&time, "x:/a", [true, false]),
            (&git, "x:/a", [false, false]),
            (&time, "x:/ab", [false, false]),
            (&time, "x:/a/c", [true, false]),
            (&time, "x:/b/c", [false, true]),
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
            assert_eq!(all.add(&time, &format!("x:{n}"), "s", &inbox), Some(true));
        }
        assert_eq!(all.add(&time, "x:more", "s", &inbox), None);
        assert_eq!(all.add(&time, "x:more", "t", &inbox), Some(true));
        for n in 0..2 * MOST {
            inbox.put(&format!("y:{n}"), &Bytes::new());
        }
        assert_eq!(locked(&inbox.messages).len(), MOST);
    }
}
