//! The stream that a session's GET opens: it tells which lists changed, and which resources.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::kit::Digest;
use crate::mcp::lists::Each;

use super::meter::CountedStream;
use super::session::Session;
use super::view::View;
use super::{Endpoint, Inner, answer};

/// How long changes are gathered before they are told.
const GATHER: Duration = Duration::from_millis(50);
/// How often something is written, so that proxies and clients keep the stream.
const ALIVE: Duration = Duration::from_secs(15);

struct Stream {
    view: watch::Receiver<Arc<View>>,
    endpoint: Endpoint,
    session: Arc<Session>,
    stop: CancellationToken,
    ended: CancellationToken,
    alive: Instant,
    greeted: bool,
    counted: CountedStream,
    _closes: DropGuard,
}

/// Opens the stream.
pub fn stream(inner: &Inner, endpoint: &Endpoint, session: &Arc<Session>) -> Response {
    let ended = session.stream();
    let stream = Stream {
        view: inner.view.subscribe(),
        endpoint: endpoint.clone(),
        session: Arc::clone(session),
        stop: inner.stop.clone(),
        _closes: ended.clone().drop_guard(),
        ended,
        alive: Instant::now() + ALIVE,
        greeted: false,
        counted: inner.meter.stream(),
    };
    let events = futures_util::stream::unfold(stream, |mut stream| async {
        let event = stream.next().await?;
        Some((Ok::<_, Infallible>(event), stream))
    });
    answer::stream(Body::from_stream(events))
}

impl Stream {
    async fn next(&mut self) -> Option<Vec<u8>> {
        if !self.greeted {
            self.greeted = true;
            // Something to read at once: some clients wait for the first byte before they believe the stream.
            return Some(b": open\n\n".to_vec());
        }
        loop {
            // What changed since the client last listed is told even where that was before the stream was opened.
            let shown = self.shown()?;
            if let Some(method) = self.session.news(&shown) {
                return Some(self.event(format!(r#"{{"jsonrpc":"2.0","method":"{method}"}}"#).as_bytes()));
            }
            if let Some(message) = self.session.inbox.take() {
                return Some(self.event(&message));
            }
            tokio::select! {
                () = self.stop.cancelled() => return None,
                () = self.ended.cancelled() => return None,
                changed = self.view.changed() => {
                    changed.ok()?;
                    sleep(GATHER).await;
                }
                () = self.session.inbox.came() => {}
                () = sleep_until(self.alive) => {
                    self.alive = Instant::now() + ALIVE;
                    return Some(b": alive\n\n".to_vec());
                }
            }
        }
    }

    fn event(&mut self, message: &[u8]) -> Vec<u8> {
        self.alive = Instant::now() + ALIVE;
        self.counted.sent(message.len());
        answer::event(message)
    }

    /// The digests of what the endpoint shows; nothing where it is gone, which ends the stream.
    fn shown(&mut self) -> Option<Each<Digest>> {
        let view = Arc::clone(&self.view.borrow_and_update());
        let tables = view.tables(&self.endpoint).ok()?;
        Some(Each::new(|kind| tables.of(kind).digest))
    }
}
