//! Who hears what a server says beside its answers: where it said it, whose requests are under way, and whose were a moment
//! ago.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Calls, ECHO, MOST_GIVEN_UP, Pending};

/// A request that was given up and that the server may still be working on.
pub(super) struct GivenUp {
    owner: Arc<str>,
    until: Instant,
}

impl Calls {
    /// Who hears what names no request: the newest request, of those that hear anything, of the only owner that has any.
    /// Never a guess: what was given up a moment ago may still be what it is about.
    fn certain(&self) -> Hears<'_> {
        let now = Instant::now();
        if self.crowded.is_some_and(|until| now < until) {
            return Hears::Uncertain;
        }
        let given_up = self.given_up.values().filter(|given_up| now < given_up.until);
        let mut owner: Option<&Arc<str>> = None;
        let pending = self.pending.values().filter_map(|pending| pending.owner.as_ref());
        for of in pending.chain(given_up.map(|given_up| &given_up.owner)) {
            if *owner.get_or_insert(of) != of {
                return Hears::Uncertain;
            }
        }
        if owner.is_none() {
            return Hears::Uncertain;
        }
        let hearing = self
            .pending
            .iter()
            .filter(|(_, pending)| pending.owner.is_some() && pending.asides.is_some());
        hearing
            .max_by_key(|(id, _)| **id)
            .map_or(Hears::Nobody, |(_, to)| Hears::To(to))
    }

    /// Who hears what was said there.
    pub(super) fn hears(&self, on: On) -> Hears<'_> {
        match on {
            On::Call(id) => self
                .pending
                .get(&id)
                .filter(|pending| pending.asides.is_some())
                .map_or(Hears::Nobody, Hears::To),
            On::Pipe => self.certain(),
            On::Rejection | On::Nothing => Hears::Nobody,
        }
    }

    /// Notes a request that was given up: for a while nobody else hears what might be about it.
    pub(super) fn give_up(&mut self, id: u64, owner: Arc<str>) {
        let now = Instant::now();
        let until = now + ECHO;
        if self.given_up.len() >= MOST_GIVEN_UP {
            self.given_up.retain(|_, given_up| now < given_up.until);
        }
        if self.given_up.len() < MOST_GIVEN_UP {
            self.given_up.insert(id, GivenUp { owner, until });
        } else {
            self.crowded = Some(until);
        }
    }
}

/// Where a server said something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mcp) enum On {
    /// On the stream of the request with this id.
    Call(u64),
    /// On the one pipe or stream that all requests share.
    Pipe,
    /// In place of the answer to a request that was not taken as such.
    Rejection,
    /// On a stream that is not open.
    Nothing,
}

/// Who hears it.
pub(super) enum Hears<'a> {
    To(&'a Pending),
    /// It is certain whose it is, and that one hears nothing; or it is nobody's.
    Nobody,
    /// It may be one's or another's.
    Uncertain,
}
