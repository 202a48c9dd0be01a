//! The repository's write lease: between a push's pre-receive and the move of the ref nothing else may write.
//!
//! # Guarantees
//! At most one holder. A push that forgets to give it back loses it after 30 seconds; what protects the repository then
//! is the ref's compare-and-set, which the late push loses.

use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::lock;

/// The longest that exports wait for a push.
const LONGEST: Duration = Duration::from_secs(30);

/// Who may write into the repository at present.
#[derive(Debug)]
pub(super) struct Lease {
    longest: Duration,
    holder: Mutex<Option<(String, Instant)>>,
    free: Notify,
}

impl Default for Lease {
    fn default() -> Self {
        Self::new(LONGEST)
    }
}

impl Lease {
    fn new(longest: Duration) -> Self {
        Self {
            longest,
            holder: Mutex::default(),
            free: Notify::new(),
        }
    }

    /// Takes the lease if nobody holds it (or its holder has had it too long).
    pub(super) fn try_take(&self, who: &str) -> bool {
        let mut holder = lock(&self.holder);
        let taken = holder.as_ref().is_some_and(|(_, since)| since.elapsed() < self.longest);
        if !taken {
            *holder = Some((who.to_owned(), Instant::now()));
        }
        !taken
    }

    /// Takes the lease, waiting for its holder: 30 seconds at most, by which time it has lapsed.
    pub(super) async fn take(&self, who: &str) {
        loop {
            let freed = self.free.notified();
            if self.try_take(who) {
                return;
            }
            // Waiting for the next full second as well bounds the wait where the holder never gives it back.
            let _ = tokio::time::timeout(Duration::from_secs(1), freed).await;
        }
    }

    /// Gives the lease back, if `who` holds it. Whether it did.
    pub(super) fn release(&self, who: &str) -> bool {
        let mut holder = lock(&self.holder);
        let held = holder.as_ref().is_some_and(|(name, _)| name == who);
        if held {
            *holder = None;
            self.free.notify_waiters();
        }
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_holder_and_a_lapse() {
        let lease = Lease::default();
        assert_eq!(lease.longest, LONGEST);
        assert!(lease.try_take("push"));
        assert!(!lease.try_take("export"));
        assert!(!lease.release("export"));
        assert!(lease.release("push"));
        assert!(lease.try_take("export"));
        // A holder that never gives it back delays the next one until its time is over, not for ever.
        let lease = Lease::new(Duration::from_millis(1));
        assert!(lease.try_take("push"));
        lease.take("export").await;
        assert!(lease.release("export"));
    }
}
