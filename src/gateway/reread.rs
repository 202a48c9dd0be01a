//! A server's lists, read again: when it says that one changed, and where it does not tell, after as long as it says that they
//! may be kept. Meanwhile what is known last is served.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use crate::mcp::Connection;
use crate::mcp::handshake::{Opening, read_list};
use crate::mcp::lists::{Each, Kind, List};
use crate::record::Era;

use super::hold::{ANSWER, FIRST_RETRY, GATHER, Holder, News, SLOWEST_RETRY, has_headers};

/// How soon and how late a list is read again that its server does not tell of.
const SOONEST: Duration = Duration::from_secs(5);
const LATEST: Duration = Duration::from_mins(10);
/// When it is where the server does not say how long it may be kept.
const UNSAID: Duration = Duration::from_mins(1);

/// After how long a list is read again that may be kept for so many milliseconds.
fn after(ttl_ms: u64) -> Duration {
    match ttl_ms {
        0 => UNSAID,
        ttl_ms => Duration::from_millis(ttl_ms).clamp(SOONEST, LATEST),
    }
}

impl Holder {
    /// Keeps a list as the server has it; `list` is what it said `first`, and `tells` which lists it tells of.
    pub(super) async fn reread(
        &self,
        connection: &Connection,
        opening: Opening,
        kind: Kind,
        first: Arc<List>,
        mut changed: watch::Receiver<Each<u64>>,
        tells: &watch::Sender<Each<bool>>,
    ) {
        let mut known = first;
        let mut seen = 0;
        // What a session's own instance lists is shown to nobody, and the legacy era has no word for how long a list may be
        // kept.
        let grows_old = connection.era() == Era::Modern && self.is_shared();
        loop {
            tokio::select! {
                changed = changed.wait_for(|times| *times.of(kind) != seen) => {
                    if changed.is_err() {
                        return;
                    }
                }
                () = sleep(after(known.freshness.ttl_ms)), if grows_old => {
                    if *tells.borrow().of(kind) {
                        continue;
                    }
                }
            }
            sleep(GATHER).await;
            seen = *changed.borrow().of(kind);
            let mut wait = FIRST_RETRY;
            let mut behind = false;
            let list = loop {
                match read_list(connection, kind, ANSWER).await {
                    Ok(list) => break list,
                    Err(error) => tracing::warn!(life = %self.life, %error, "a changed list can't be read"),
                }
                if !std::mem::replace(&mut behind, true) {
                    self.tell(News::Behind(kind)).await;
                }
                sleep(wait).await;
                wait = (wait * 2).min(SLOWEST_RETRY);
            };
            let mut list = Arc::new(list);
            if kind == Kind::Tools && has_headers(connection, opening) {
                list = self.offered(list);
            }
            if behind || list != known {
                self.tell(News::List(kind, Arc::clone(&list))).await;
                known = list;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_again_neither_all_the_time_nor_never() {
        for (ttl_ms, want) in [
            (0, UNSAID),
            (1, SOONEST),
            (5_000, SOONEST),
            (30_000, Duration::from_secs(30)),
            (86_400_000, LATEST),
            (u64::MAX, LATEST),
        ] {
            assert_eq!(after(ttl_ms), want, "{ttl_ms}");
        }
    }
}
