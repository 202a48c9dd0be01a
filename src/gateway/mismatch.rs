//! A modern server over HTTP that refuses a call because the headers which repeat its arguments are not those that it wants:
//! its tool may have changed. Its tools are read again then, and the call goes once more where other headers are wanted: it was
//! refused before it ran (2026-07-28, Custom Headers from Tool Parameters).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::mcp::Answer;
use crate::mcp::envelope::code;
use crate::mcp::handshake::read_list;
use crate::mcp::lists::Kind;
use crate::record::Era;

use super::asked::{Ask, Asked};
use super::find::Sent;
use super::route::{Stage, Way};
use super::view::{Callable, View};
use super::{Endpoint, Inner, across};

/// The longest that reading the tools again may take, and that they may take to be what endpoints show.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether an answer refuses a call for its headers, so that it provably did not run.
#[must_use]
pub fn is_refusal(asked: &Asked, sent: &Sent, answer: &Answer) -> bool {
    let error = answer.outcome().err();
    asked.ask == Ask::Tool
        && sent.era == Era::Modern
        && answer.is_rejection()
        && error.and_then(across::code_of) == Some(i64::from(code::HEADER_MISMATCH))
}

/// Reads the tools of the server again; whether the call would go with other headers now, or not at all.
pub async fn is_another_call_now(inner: &Inner, endpoint: &Endpoint, asked: &Asked, sent: &Sent) -> bool {
    let mut view = inner.view.subscribe();
    let seen = Arc::clone(&view.borrow_and_update());
    let (Some(connection), Some(own)) = (seen.connections.get(&sent.life), own_name(&seen, endpoint, asked)) else {
        return true;
    };
    let Ok(list) = read_list(connection, Kind::Tools, PATIENCE).await else {
        return false;
    };
    let wanted = list.iter().find(|entry| entry.key == own).map(|entry| {
        let annotations = entry.annotations().ok().flatten();
        annotations.map_or_else(Vec::new, |annotations| annotations.headers(asked.arguments()))
    });
    if wanted.is_some_and(|wanted| wanted == sent.headers) {
        return false;
    }
    // What endpoints show is what counts: a rule or a lock may hide what the tool is now.
    for candidate in seen.server(&sent.server).into_iter().flat_map(Callable::shared) {
        if let Stage::Ready(connection) = &candidate.stage {
            connection.suspect_one(Kind::Tools);
        }
    }
    let is_another =
        |view: &Arc<View>| own_name(view, endpoint, asked).is_none() || view.headers(endpoint, asked) != sent.headers;
    matches!(timeout(PATIENCE, view.wait_for(is_another)).await, Ok(Ok(_)))
}

/// The server's own name of a tool that is shown.
fn own_name(view: &View, endpoint: &Endpoint, asked: &Asked) -> Option<String> {
    match view.way(endpoint, Ask::Tool, &asked.key) {
        Way::To(_, Some(own)) => serde_json::from_str(own).ok(),
        Way::To(_, None) => Some(asked.key.clone()),
        _ => None,
    }
}
