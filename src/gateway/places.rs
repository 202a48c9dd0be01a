//! Instances of their own: where a server is declared with `isolation: session`, each session has one, asked of the engine
//! and given back with the session. Nobody else's calls reach it, so whatever it asks is certain to be this session's.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::kit::Name;
use crate::mcp::locked;
use crate::record::{Demand, FIRST_OF_SESSIONS};

use super::fair::gives_way;

/// Instances that the sessions of one server may have at once; beyond, the caller with the most gives up the one that was not
/// used for the longest.
pub const MOST: usize = 64;
/// How long an instance is kept that nobody calls: a modern client has no session that ends, and a legacy one may forget
/// to end it.
const LAPSE: Duration = Duration::from_mins(10);
/// How often those are looked for.
const LOOK: Duration = Duration::from_secs(15);

struct Place {
    index: u32,
    caller: Arc<str>,
    used: Instant,
}

/// Who has which instance.
pub struct Places {
    all: Mutex<HashMap<(Name, Arc<str>), Place>>,
    next: AtomicU32,
    demand: watch::Sender<Arc<Demand>>,
}

impl Default for Places {
    fn default() -> Self {
        // Begun anywhere, so that no instance of an mcpd before this one is taken for somebody's.
        let anywhere = getrandom::u32().unwrap_or(0) % (1 << 30);
        Self {
            all: Mutex::default(),
            next: AtomicU32::new(FIRST_OF_SESSIONS + anywhere),
            demand: watch::Sender::default(),
        }
    }
}

impl Places {
    /// The instance of a caller's session at a server; it is asked for where the session has none yet. Nothing where there are
    /// too many and nobody has one to spare: one that is not `busy`, of a caller with more.
    pub fn of(&self, server: &Name, caller: &Arc<str>, session: &Arc<str>, busy: impl Fn(u32) -> bool) -> Option<u32> {
        let mut all = locked(&self.all);
        let key = (server.clone(), Arc::clone(session));
        if let Some(place) = all.get_mut(&key) {
            place.used = Instant::now();
            return Some(place.index);
        }
        let here = || all.iter().filter(|((at, _), _)| at == server);
        if here().count() >= MOST {
            let most = gives_way(here().map(|(_, place)| (&*place.caller, 1)), caller, 1)?;
            let spare = here().filter(|(_, place)| *place.caller == *most && !busy(place.index));
            let longest = spare.min_by_key(|(_, place)| place.used)?.0.clone();
            all.remove(&longest);
        }
        // Never one that was somebody's: its process may remember them.
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        let used = Instant::now();
        let caller = Arc::clone(caller);
        all.insert(key, Place { index, caller, used });
        self.publish(&all);
        Some(index)
    }

    /// A session is gone, and with it its instances.
    pub fn forget_session(&self, session: &str) {
        self.retain(|(_, of), _| &**of != session);
    }

    /// What is asked of the engine.
    pub fn demand(&self) -> watch::Receiver<Arc<Demand>> {
        self.demand.subscribe()
    }

    /// Gives back what nobody has used for long, until `stop`. `busy` says whether a session's instance is answering.
    pub async fn tidy(self: Arc<Self>, busy: impl Fn(&Name, u32) -> bool + Send, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = sleep(LOOK) => {}
                () = stop.cancelled() => return,
            }
            self.give_back(&busy, LAPSE);
        }
    }

    fn give_back(&self, busy: impl Fn(&Name, u32) -> bool, lapse: Duration) {
        self.retain(|(server, _), place| {
            if busy(server, place.index) {
                place.used = Instant::now();
                return true;
            }
            place.used.elapsed() < lapse
        });
    }

    fn retain(&self, mut stays: impl FnMut(&(Name, Arc<str>), &mut Place) -> bool) {
        let mut all = locked(&self.all);
        let before = all.len();
        all.retain(|key, place| stays(key, place));
        if all.len() != before {
            self.publish(&all);
        }
    }

    fn publish(&self, all: &HashMap<(Name, Arc<str>), Place>) {
        let mut demand = Demand::new();
        for ((server, _), place) in all {
            demand.entry(server.clone()).or_default().insert(place.index);
        }
        self.demand.send_replace(Arc::new(demand));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_session_has_a_place_of_its_own() {
        let places = Places::default();
        let demand = places.demand();
        let (time, git): (Name, Name) = ("time".parse().unwrap(), "git".parse().unwrap());
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let anna: Arc<str> = "anna".into();
        let get = |server: &Name, session: &Arc<str>| places.of(server, &anna, session, |_| false);
        let at = |server: &Name, session: &Arc<str>| get(server, session).unwrap();
        let (annas, berts) = (at(&time, &a), at(&time, &b));
        assert!(annas >= FIRST_OF_SESSIONS && annas != berts);
        assert_eq!(at(&time, &a), annas, "it stays");
        assert!(![annas, berts].contains(&at(&git, &b)));
        let asked = || demand.borrow()[&time].clone();
        assert_eq!(asked(), [annas, berts].into());
        places.forget_session("a");
        assert_eq!(asked(), [berts].into());
        assert!(
            ![annas, berts].contains(&at(&time, &"c".into())),
            "nobody gets what was another's"
        );
        for n in 0..MOST {
            get(&time, &format!("s{n}").into());
        }
        assert_eq!(get(&time, &"late".into()), None);
        assert_eq!(demand.borrow()[&time].len(), MOST);
    }

    /// A caller whose sessions have every instance leaves others their share: it gives up what it does not use now.
    #[test]
    fn the_caller_with_the_most_gives_way() {
        let places = Places::default();
        let time: Name = "time".parse().unwrap();
        let get = |caller: &str, session: &str, busy: &[u32]| {
            places.of(&time, &caller.into(), &session.into(), |index| busy.contains(&index))
        };
        let annas: Vec<u32> = (0..MOST).filter_map(|n| get("anna", &format!("a{n}"), &[])).collect();
        assert_eq!(annas.len(), MOST);
        assert_eq!(get("anna", "one more", &[]), None, "nobody has more than she");
        assert_eq!(get("bert", "b", &annas), None, "all work");
        let berts = get("bert", "b", &annas[..1]).unwrap();
        let demand = places.demand().borrow()[&time].clone();
        assert!(demand.contains(&berts) && demand.contains(&annas[0]) && demand.len() == MOST);
        assert!(!annas.contains(&berts), "nobody gets what was another's");
    }

    #[test]
    fn what_nobody_uses_is_given_back() {
        let places = Places::default();
        let time: Name = "time".parse().unwrap();
        let get = |session: &str| places.of(&time, &"anna".into(), &session.into(), |_| false);
        get("idle");
        let busy = get("busy").unwrap();
        places.give_back(|_, _| false, LAPSE);
        assert_eq!(places.demand().borrow()[&time].len(), 2, "not yet");
        places.give_back(|_, index| index == busy, Duration::ZERO);
        assert_eq!(places.demand().borrow()[&time].iter().collect::<Vec<_>>(), [&busy]);
    }
}
