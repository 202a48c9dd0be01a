//! The messages that wait to go to a server, in a line for each whose they are: who has the fewest under way goes first, and
//! who has many leaves some room to who has few. Pure.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::mcp::connection::{Outgoing, Role};

/// Whose share it is; nobody's is mcpd's own.
pub(super) type Share = Option<Arc<str>>;

/// Who has fewer than this under way goes where there is room for those alone.
const FEW: usize = 8;

/// Lines of messages.
pub(super) struct Lines {
    /// How many may be under way at once.
    most: usize,
    /// How many more, of those who have few.
    further: usize,
    waiting: HashMap<Share, VecDeque<(u64, Outgoing)>>,
    under_way: HashMap<Share, usize>,
    next: u64,
}

impl Lines {
    pub(super) fn new(most: usize, further: usize) -> Self {
        Self {
            most,
            further,
            waiting: HashMap::new(),
            under_way: HashMap::new(),
            next: 0,
        }
    }

    /// Takes one more.
    pub(super) fn push(&mut self, message: Outgoing) {
        self.next += 1;
        let line = self.waiting.entry(message.share.clone()).or_default();
        line.push_back((self.next, message));
    }

    /// The next that may go; it is under way then.
    pub(super) fn next(&mut self) -> Option<Outgoing> {
        let all: usize = self.under_way.values().sum();
        let has = |share: &Share| self.under_way.get(share).copied().unwrap_or_default();
        let first = |(share, line): &(&Share, &VecDeque<(u64, Outgoing)>)| {
            let since = line.front().map_or(u64::MAX, |(since, _)| *since);
            (has(share), since)
        };
        let share = self.waiting.iter().min_by_key(first)?.0.clone();
        let room = self.most + if has(&share) < FEW { self.further } else { 0 };
        if all >= room {
            return None;
        }
        let line = self.waiting.get_mut(&share)?;
        let message = line.pop_front().map(|(_, message)| message);
        if line.is_empty() {
            self.waiting.remove(&share);
        }
        *self.under_way.entry(share).or_default() += usize::from(message.is_some());
        message
    }

    /// One of them is done with.
    pub(super) fn done(&mut self, share: &Share) {
        if let Some(many) = self.under_way.get_mut(share) {
            *many = many.saturating_sub(1);
            if *many == 0 {
                self.under_way.remove(share);
            }
        }
    }

    /// Takes a request that waits out of its line; whether it was there.
    pub(super) fn remove(&mut self, id: u64) -> bool {
        let is_it = |(_, message): &(u64, Outgoing)| message.role == Role::Request(id);
        let mut found = false;
        self.waiting.retain(|_, line| {
            if let Some(at) = line.iter().position(is_it).filter(|_| !found) {
                line.remove(at);
                found = true;
            }
            !line.is_empty()
        });
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: u64, whose: &str) -> Outgoing {
        let share = (!whose.is_empty()).then(|| whose.into());
        Outgoing::for_tests(Role::Request(id), share)
    }

    #[test]
    fn who_has_few_is_not_kept_waiting() {
        let mut lines = Lines::new(20, 4);
        for id in 0..100 {
            lines.push(message(id, "anna"));
        }
        let gone = |lines: &mut Lines| std::iter::from_fn(|| lines.next()).map(|m| m.role).collect::<Vec<_>>();
        assert_eq!(gone(&mut lines).len(), 20);
        for (id, whose) in [(100, "bert"), (101, "bert"), (102, ""), (103, "carl"), (104, "carl")] {
            lines.push(message(id, whose));
        }
        let few: Vec<Role> = [100, 102, 103, 101].map(Role::Request).into();
        assert_eq!(
            gone(&mut lines),
            few,
            "one of each first, and as many as there is room for"
        );
        lines.done(&Some("anna".into()));
        assert_eq!(gone(&mut lines), [Role::Request(104)]);
        for _ in 0..4 {
            lines.done(&Some("anna".into()));
        }
        assert_eq!(gone(&mut lines), [], "those over the bound count too");
        lines.done(&Some("anna".into()));
        assert_eq!(gone(&mut lines), [Role::Request(20)], "in its order");
        assert!(lines.remove(50) && !lines.remove(50) && !lines.remove(20));
        assert_eq!(lines.waiting.values().map(VecDeque::len).sum::<usize>(), 78);
    }
}
