//! Calls that wait for their client: a legacy server asked something in the middle of a call of a modern client, which was
//! told so and comes back with the answer in a request of its own. Bounded in number and in time; a restart of mcpd ends
//! them, and no call is made twice.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::mcp::Question;
use crate::mcp::locked;

use super::exchange::Exchange;
use super::seal::HOLDS_SECONDS;

/// Calls that are held at once, in all and of one caller.
const MOST: usize = 1_000;
const MOST_OF_ONE: usize = 100;
/// How often those that waited too long are looked for.
const LOOK: Duration = Duration::from_secs(5);

/// A call that waits.
pub struct Held {
    /// The call.
    pub exchange: Exchange,
    /// What its server wants to know, by key.
    pub questions: BTreeMap<String, Question>,
    since: Instant,
}

/// All calls that wait.
#[derive(Default)]
pub struct Waiting(Mutex<HashMap<String, Held>>);

impl Waiting {
    /// Holds a call; gives the number that it waits under, or the call back where there are too many.
    pub fn hold(&self, exchange: Exchange, questions: BTreeMap<String, Question>) -> Result<String, Box<Exchange>> {
        let mut random = [0; 16];
        let mut all = locked(&self.0);
        let of_one = || {
            all.values()
                .filter(|held| held.exchange.who.caller == exchange.who.caller)
                .count()
        };
        if getrandom::fill(&mut random).is_err() || all.len() >= MOST || of_one() >= MOST_OF_ONE {
            drop(all);
            return Err(Box::new(exchange));
        }
        let number = format!("{:032x}", u128::from_ne_bytes(random));
        let held = Held {
            exchange,
            questions,
            since: Instant::now(),
        };
        all.insert(number.clone(), held);
        Ok(number)
    }

    /// Takes one, once.
    pub fn take(&self, number: &str) -> Option<Held> {
        locked(&self.0).remove(number)
    }

    /// Ends those that wait for too long, until `stop`.
    pub async fn tidy(self: Arc<Self>, stop: CancellationToken) {
        let holds = Duration::from_secs(HOLDS_SECONDS.unsigned_abs());
        loop {
            tokio::select! {
                () = sleep(LOOK) => {}
                () = stop.cancelled() => {
                    drop(std::mem::take(&mut *locked(&self.0)));
                    return;
                }
            }
            let mut over = vec![];
            let mut all = locked(&self.0);
            let late: Vec<String> = all
                .iter()
                .filter(|(_, held)| held.since.elapsed() > holds)
                .map(|(number, _)| number.clone())
                .collect();
            over.extend(late.iter().filter_map(|number| all.remove(number)));
            drop(all);
            // Ended outside of the lock: ending a call tells its server.
            drop(over);
        }
    }
}
