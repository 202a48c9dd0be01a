//! How much of what servers log the clients want to hear: the level of each session, and the lowest of them, which is the
//! one that a legacy server is asked for.

use std::collections::HashMap;
use std::sync::Mutex;

use tokio::sync::watch;

use crate::mcp::level::Level;
use crate::mcp::locked;

/// The place of requests of the modern era, which have no session.
const REQUESTS: &str = "requests by themselves";

/// The levels that sessions set.
#[derive(Default)]
pub struct Levels {
    by_session: Mutex<HashMap<String, Level>>,
    lowest: watch::Sender<Option<Level>>,
}

impl Levels {
    /// Notes what a session wants to hear.
    pub fn set(&self, session: &str, level: Level) {
        self.change(|by_session| {
            by_session.insert(session.to_owned(), level);
        });
    }

    /// Notes what a request by itself wants to hear: from then on servers are asked for as much.
    pub fn want(&self, level: Level) {
        self.change(|by_session| {
            let wanted = by_session.entry(REQUESTS.to_owned()).or_insert(level);
            *wanted = level.min(*wanted);
        });
    }

    /// A session is gone.
    pub fn forget_session(&self, session: &str) {
        self.change(|by_session| {
            by_session.remove(session);
        });
    }

    /// The lowest level that any session wants; nothing while none has said so.
    #[must_use]
    pub fn lowest(&self) -> watch::Receiver<Option<Level>> {
        self.lowest.subscribe()
    }

    fn change(&self, change: impl FnOnce(&mut HashMap<String, Level>)) {
        let mut by_session = locked(&self.by_session);
        change(&mut by_session);
        let lowest = by_session.values().min().copied();
        self.lowest.send_if_modified(|before| {
            let changed = *before != lowest;
            *before = lowest;
            changed
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_level_counts() {
        let levels = Levels::default();
        let lowest = levels.lowest();
        let seen = || *lowest.borrow();
        assert_eq!(seen(), None);
        levels.set("a", Level::Error);
        levels.set("b", Level::Info);
        assert_eq!(seen(), Some(Level::Info));
        levels.set("b", Level::Critical);
        assert_eq!(seen(), Some(Level::Error));
        levels.forget_session("a");
        assert_eq!(seen(), Some(Level::Critical));
        levels.forget_session("b");
        assert_eq!(seen(), None);
        levels.want(Level::Info);
        levels.want(Level::Error);
        assert_eq!(seen(), Some(Level::Info));
    }
}
