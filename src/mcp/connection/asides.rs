//! What a server says beside its answers, on its way to whoever follows the request: bounded in number and in bytes, so
//! that a client which does not read costs a bounded amount.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::Heard;

/// What may wait for the reader of one request; further notifications are dropped, and further questions refused.
const QUEUED: usize = 64;
/// Bytes of one request's, and of all requests of a connection. A question counts until it is answered.
pub(in crate::mcp) const MOST_BYTES: usize = 4 << 20;
const MOST_BYTES_IN_ALL: usize = 64 << 20;
/// What is shorter than this is copied: it must not keep the whole buffer that it was read from.
const COPIED: usize = 64 << 10;

/// Bytes that are taken of a bound while this lives.
pub(super) struct Charge {
    bytes: usize,
    counts: [Arc<AtomicUsize>; 2],
}

impl Charge {
    fn new(bytes: usize, counts: [Arc<AtomicUsize>; 2]) -> Option<Self> {
        for count in &counts {
            count.fetch_add(bytes, Ordering::Relaxed);
        }
        // Given back at once where that was too much.
        let charge = Self { bytes, counts };
        let fits = charge
            .counts
            .iter()
            .zip([MOST_BYTES, MOST_BYTES_IN_ALL])
            .all(|(count, most)| count.load(Ordering::Relaxed) <= most);
        fits.then_some(charge)
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        for count in &self.counts {
            count.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}

/// Where what is said beside the answer to one request goes.
#[derive(Clone)]
pub(super) struct Teller {
    to: mpsc::Sender<(Heard, Option<Charge>)>,
    counts: [Arc<AtomicUsize>; 2],
}

/// Where it is heard.
pub(super) struct Listener(mpsc::Receiver<(Heard, Option<Charge>)>);

/// Both ends, for one request; `in_all` counts for its connection.
pub(super) fn asides(in_all: &Arc<AtomicUsize>) -> (Teller, Listener) {
    let (to, from) = mpsc::channel(QUEUED);
    let counts = [Arc::default(), Arc::clone(in_all)];
    (Teller { to, counts }, Listener(from))
}

impl Teller {
    /// Tells what came as `bytes` bytes. False: there is no room, or nobody listens; a question is refused by that.
    pub(super) fn tell(&self, heard: Heard, bytes: usize) -> bool {
        let Some(charge) = Charge::new(bytes, self.counts.clone()) else {
            return false;
        };
        let told = match heard {
            Heard::Question(mut question) => {
                question.charge = Some(charge);
                (Heard::Question(question), None)
            }
            heard => (heard, Some(charge)),
        };
        self.to.try_send(told).is_ok()
    }
}

impl Listener {
    /// The next; nothing when there will be none.
    pub(super) async fn next(&mut self) -> Option<Heard> {
        self.0.recv().await.map(|(heard, _)| heard)
    }

    /// The next, where it is there.
    pub(super) fn at_hand(&mut self) -> Option<Heard> {
        self.0.try_recv().ok().map(|(heard, _)| heard)
    }
}

/// A line that may wait for long.
pub(super) fn kept(line: Bytes) -> Bytes {
    if line.len() < COPIED {
        Bytes::copy_from_slice(&line)
    } else {
        line
    }
}
