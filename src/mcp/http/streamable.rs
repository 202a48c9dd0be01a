//! Streamable HTTP: a POST for each message, and a GET for what the server says by itself.

use http::{Method, StatusCode, Uri};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::events::Events;
use super::post::{Posts, retry};
use super::{EVENTS, Fault, LOST, Server, is_of};
use crate::mcp::connection::{Ear, Wire};

/// The longest wait before the server's own stream is opened again, as a multiple of the first.
const MOST_PATIENCE: u32 = 30;

/// Carries a conversation until it is over, and says why it is.
pub(super) async fn carry(wire: Wire, server: &Server, url: &Uri) -> String {
    let (ear, queue) = wire.split();
    let posts = Posts::new(server, url.clone(), ear.clone(), queue);
    let initialized = posts.initialized();
    tokio::select! {
        reason = posts.run() => reason,
        reason = listen(server, url, &ear, initialized) => reason,
    }
}

/// Hears what the server says by itself, where it does. Returns only when the conversation is over.
async fn listen(server: &Server, url: &Uri, ear: &Ear, initialized: CancellationToken) -> String {
    initialized.cancelled().await;
    let mut before: Option<Events> = None;
    let mut patience = 1;
    loop {
        let last = before.as_ref().and_then(Events::last_id);
        match server.exchange(Method::GET, url, vec![], &[], ear, last).await {
            Ok(answer) if server.is_lost(&answer) => return LOST.to_owned(),
            Ok(answer) if answer.status() == StatusCode::OK && is_of(&answer, EVENTS) => {
                let mut events = match before.take() {
                    Some(before) => Events::again(answer.into_body(), before),
                    None => Events::new(answer.into_body(), server.longest),
                };
                while let Ok(Some(event)) = events.next().await {
                    patience = 1;
                    if !event.data.is_empty() {
                        // Servers of the official SDKs put what they ask here too, so it is taken as what comes over a pipe is:
                        // for the one whose calls are under way, where there is exactly one.
                        ear.hear(event.data.into());
                    }
                }
                before = Some(events);
            }
            // Most say 405: they have nothing to say by themselves.
            Ok(answer) if answer.status().is_client_error() => {
                tracing::debug!(status = %answer.status(), "a server offers no stream of its own");
                return std::future::pending().await;
            }
            Err(Fault::Unreachable(why)) => return format!("the server can't be reached any more: {why}"),
            Ok(_) | Err(Fault::Broken(_)) => {}
        }
        sleep(retry(before.as_ref().and_then(Events::retry)) * patience).await;
        patience = (patience * 2).min(MOST_PATIENCE);
    }
}
