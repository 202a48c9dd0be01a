//! How much of what servers log the clients want to hear: the level of each session, and the lowest of them, which is the
//! one that a legacy server is asked for.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::mcp::level::Level;
use crate::mcp::locked;

/// The levels that are wanted.
#[derive(Default)]
pub struct Levels {
    wanted: Mutex<Wanted>,
    lowest: watch::Sender<Option<Level>>,
}

#[derive(Default)]
struct Wanted {
    by_session: HashMap<String, Level>,
    /// How many sessions want each.
    sessions: BTreeMap<Level, usize>,
    /// When a request by itself (modern era) wanted it last: those have no session that ends.
    requests: BTreeMap<Level, Instant>,
}

impl Wanted {
    fn set(&mut self, session: &str, level: Option<Level>) {
        let before = match level {
            Some(level) => {
                *self.sessions.entry(level).or_default() += 1;
                self.by_session.insert(session.to_owned(), level)
            }
            None => self.by_session.remove(session),
        };
        if let Some(before) = before
            && let Some(many) = self.sessions.get_mut(&before)
        {
            *many -= 1;
            if *many == 0 {
                self.sessions.remove(&before);
            }
        }
    }

    fn lowest(&self) -> Option<Level> {
        self.sessions.keys().chain(self.requests.keys()).min().copied()
    }
}

impl Levels {
    /// Notes what a session wants to hear.
    pub fn set(&self, session: &str, level: Level) {
        self.change(|wanted| wanted.set(session, Some(level)));
    }

    /// Notes what a request by itself wants to hear: from then on servers are asked for as much, until nobody wanted it for a
    /// while ([`Levels::forget_requests`]).
    pub fn want(&self, level: Level) {
        self.change(|wanted| _ = wanted.requests.insert(level, Instant::now()));
    }

    /// Forgets what no request wanted for so long.
    pub fn forget_requests(&self, lapse: Duration) {
        self.change(|wanted| wanted.requests.retain(|_, last| last.elapsed() < lapse));
    }

    /// A session is gone.
    pub fn forget_session(&self, session: &str) {
        self.change(|wanted| wanted.set(session, None));
    }

    /// The lowest level that is wanted; nothing while nobody has said so.
    #[must_use]
    pub fn lowest(&self) -> watch::Receiver<Option<Level>> {
        self.lowest.subscribe()
    }

    fn change(&self, change: impl FnOnce(&mut Wanted)) {
        let mut wanted = locked(&self.wanted);
        change(&mut wanted);
        let lowest = wanted.lowest();
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
        levels.forget_requests(Duration::from_hours(1));
        assert_eq!(seen(), Some(Level::Info), "not yet");
        levels.forget_requests(Duration::ZERO);
        assert_eq!(seen(), None, "no request is for ever");
    }
}
