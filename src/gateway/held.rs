//! Calls that wait for their client: a legacy server asked something in the middle of a call of a modern client, which was
//! told so and comes back with the answer in a request of its own. Bounded in number, in bytes and in time; a restart of
//! mcpd ends them, and no call is made twice.
//!
//! A person may take long, and a modern client keeps no connection meanwhile, so that nobody can tell one who thinks from
//! one who is gone. One whose client was away for a while goes on waiting as long as that costs nobody anything: it gives
//! way once a question of its server could be put to nobody, which it is a reason for.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::{Instant, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::mcp::Question;
use crate::mcp::envelope::code;
use crate::mcp::locked;

use super::exchange::Exchange;
use super::seal::HOLDS_SECONDS;

/// Calls that are held at once, in all and of one caller.
const MOST: usize = 1_000;
const MOST_OF_ONE: usize = 100;
/// Bytes that they hold, in all and of one caller, in MiB.
const MOST_MIB: usize = 64;
const MOST_MIB_OF_ONE: usize = 16;
/// How often those that waited too long are looked for.
const LOOK: Duration = Duration::from_secs(5);
/// How long one is waited for, in all, for each of its questions.
const HOLDS: Duration = Duration::from_secs(HOLDS_SECONDS.unsigned_abs());
/// How long its client may be away where it stands in another's way.
const AWAY: Duration = Duration::from_mins(1);
/// How long a server that was told that nobody answers has to end its call, before that is cancelled.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// Why a call is not held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// Too many are.
    #[error("{MOST} calls wait for their clients already; try again later")]
    Calls,
    /// Too many of this caller are.
    #[error("{MOST_OF_ONE} calls of this caller wait for their answers already; answer one of them first")]
    CallsOfOne,
    /// They hold too much.
    #[error("the calls that wait for their clients hold {MOST_MIB} MiB already; try again later")]
    Bytes,
    /// Those of this caller hold too much.
    #[error(
        "the calls of this caller that wait for their answers would hold over {MOST_MIB_OF_ONE} MiB; answer one first"
    )]
    BytesOfOne,
    /// No number is to be had for it.
    #[error("no chance is to be had")]
    Chance,
}

/// A call that waits.
pub struct Held {
    /// The call.
    pub exchange: Exchange,
    /// What its server wants to know, by key.
    pub questions: BTreeMap<String, Question>,
    bytes: usize,
    /// Since when its questions wait, however often its client came back without an answer.
    since: Instant,
    /// When its client was heard of last.
    seen: Instant,
    /// How many questions of its server could be put to nobody until then.
    uncertain: u64,
}

impl Held {
    fn is_over(&self, away: Duration, holds: Duration) -> bool {
        let in_the_way = self.exchange.sent.call.uncertain() > self.uncertain;
        self.since.elapsed() > holds || (in_the_way && self.seen.elapsed() > away)
    }

    /// Ends it: its server is told that nobody answers, and may end the call by itself.
    async fn end(self) {
        let Self {
            exchange, questions, ..
        } = self;
        let sent = exchange.sent;
        tracing::info!(server = %sent.server, caller = &*exchange.who.caller, "a call was not waited for any longer: its client did not come back");
        for question in questions.into_values() {
            if question.method() == "elicitation/create" {
                question.answer(Ok(br#"{"action":"cancel"}"#));
            } else {
                question.refuse(code::SERVER, "the client did not come back with an answer");
            }
        }
        // One that does not end by itself is cancelled by being dropped.
        let _ = timeout(LAST_WORDS, sent.call.answer()).await;
    }
}

/// All calls that wait.
#[derive(Default)]
pub struct Waiting(Mutex<HashMap<String, Held>>);

impl Waiting {
    /// Holds a call; gives the number that it waits under.
    ///
    /// # Errors
    /// Too many wait, or too much. The call is cancelled.
    pub fn hold(&self, mut exchange: Exchange, questions: BTreeMap<String, Question>) -> Result<String, Full> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|_| Full::Chance)?;
        exchange.rests();
        let bytes = exchange.size() + questions.values().map(Question::size).sum::<usize>();
        let now = Instant::now();
        let held = Held {
            bytes,
            since: *exchange.held_since.get_or_insert(now),
            seen: now,
            uncertain: exchange.sent.call.uncertain(),
            exchange,
            questions,
        };
        let number = format!("{:032x}", u128::from_ne_bytes(random));
        let mut all = locked(&self.0);
        let full = full(&all, &held);
        if let Some(full) = full {
            drop(all);
            // Ended outside of the lock: ending a call tells its server.
            drop(held);
            return Err(full);
        }
        all.insert(number.clone(), held);
        Ok(number)
    }

    /// Takes one, once.
    pub fn take(&self, number: &str) -> Option<Held> {
        locked(&self.0).remove(number)
    }

    /// Ends those that wait for too long, until `stop`.
    pub async fn tidy(self: Arc<Self>, stop: CancellationToken) {
        let mut look = interval(LOOK);
        let mut ending = FuturesUnordered::new();
        loop {
            tokio::select! {
                _ = look.tick() => ending.extend(self.over(AWAY, HOLDS).into_iter().map(Held::end)),
                Some(()) = ending.next() => {}
                () = stop.cancelled() => {
                    drop(std::mem::take(&mut *locked(&self.0)));
                    return;
                }
            }
        }
    }

    /// Takes those that wait for longer than `holds`, or that stand in another's way with their client gone for `away`.
    fn over(&self, away: Duration, holds: Duration) -> Vec<Held> {
        let mut all = locked(&self.0);
        all.extract_if(|_, held| held.is_over(away, holds))
            .map(|(_, held)| held)
            .collect()
    }

    /// Ends those that wait for too long now, as `tidy` does; how many there were.
    #[cfg(test)]
    pub async fn end_over(&self, away: Duration, holds: Duration) -> usize {
        let over = self.over(away, holds);
        let many = over.len();
        futures_util::future::join_all(over.into_iter().map(Held::end)).await;
        many
    }
}

/// What is full for a further one.
fn full(all: &HashMap<String, Held>, further: &Held) -> Option<Full> {
    let caller = &further.exchange.who.caller;
    let of_one = all.values().filter(|held| held.exchange.who.caller == *caller);
    let (calls_of_one, bytes_of_one) = of_one.fold((0, 0), |(calls, bytes), held| (calls + 1, bytes + held.bytes));
    let bytes: usize = all.values().map(|held| held.bytes).sum();
    [
        (calls_of_one >= MOST_OF_ONE, Full::CallsOfOne),
        (bytes_of_one + further.bytes > MOST_MIB_OF_ONE << 20, Full::BytesOfOne),
        (all.len() >= MOST, Full::Calls),
        (bytes + further.bytes > MOST_MIB << 20, Full::Bytes),
    ]
    .into_iter()
    .find_map(|(is_full, full)| is_full.then_some(full))
}
