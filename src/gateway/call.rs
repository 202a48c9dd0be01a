//! One `tools/call`: found in the table, sent to a life, answered once. A call is never run twice.

use std::convert::Infallible;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use serde_json::value::RawValue;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::kit::Name;
use crate::mcp::envelope::{self, Id, code, members, place_of, splice, text_of};
use crate::mcp::{Answer, Call, CallError, Heard};

use super::route::{Choice, choose};
use super::session::{Running, Session};
use super::view::View;
use super::{Endpoint, Inner, answer};

/// The longest that a call waits for a server that is starting.
const START: Duration = Duration::from_secs(10);

/// What a client asks for, with the places that change on the way.
struct Asked<'a> {
    text: &'a str,
    id: &'a str,
    name: &'a str,
    tool: &'a str,
    token: Option<&'a str>,
}

/// Why there is no answer of a server.
enum Failure {
    /// No server has this tool.
    UnknownTool,
    /// The server can't answer, in words for people.
    Server(String),
}

/// Runs a call. `text` is the whole request, `streams` whether the client takes an event stream.
pub async fn call(
    inner: &Inner,
    endpoint: &Endpoint,
    session: &Arc<Session>,
    text: &str,
    id: Id<'_>,
    params: Option<&RawValue>,
    streams: bool,
) -> Response {
    let id = id.text();
    let invalid = |message: &str| answer::error(id, code::INVALID_PARAMS, message);
    let Some(Ok([name, meta])) = params.map(|params| members(params.get(), ["name", "_meta"])) else {
        return invalid("tools/call needs an object with a name, given once");
    };
    let Some((name, tool)) = name.and_then(|name| Some((name.get(), text_of(name)?))) else {
        return invalid("tools/call needs the name of a tool");
    };
    let token = match meta
        .filter(|meta| meta.get() != "null")
        .map(|meta| members(meta.get(), ["progressToken"]))
    {
        None => None,
        Some(Ok([token])) => token.map(RawValue::get),
        Some(Err(_)) => return invalid("_meta must be an object with one progressToken at most"),
    };
    let asked = Asked {
        text,
        id,
        name,
        tool: &tool,
        token,
    };
    let (running, mut cancelled) = match session.run(id) {
        Ok(listed) => listed,
        Err(error) => return answer::error(id, code::INVALID_REQUEST, &error.to_string()),
    };
    let mut view = inner.view.subscribe();
    let work = async {
        let mut sent = send(&mut view, endpoint, session, &asked, streams).await?;
        let deadline = sent.deadline;
        let heard = timeout_at(deadline, sent.call.heard()).await;
        Ok((sent, heard.ok()))
    };
    let worked = tokio::select! {
        worked = work => worked,
        // A client that cancelled does not wait; whatever reads this is told why there is nothing.
        _ = &mut cancelled => return answer::error(id, code::CANCELLED, "the request was cancelled"),
    };
    match worked {
        Err(Failure::UnknownTool) => {
            let shown: String = tool.chars().take(200).collect();
            invalid(&format!("Unknown tool: {shown}"))
        }
        Err(Failure::Server(message)) => answer::result(id, &answer::tool_failed(&message)),
        Ok((sent, Some(Heard::Progress(progress)))) => {
            let token = token.unwrap_or_default().to_owned();
            let first = answer::event(&progress.with_token(&token));
            events(Streaming {
                sent,
                id: id.to_owned(),
                token,
                first: Some(first),
                cancelled,
                ended: false,
                _running: running,
            })
        }
        Ok((sent, Some(Heard::Answer(answered)))) => answer::json(http::StatusCode::OK, sent.finish(id, answered)),
        Ok((sent, None)) => answer::json(http::StatusCode::OK, sent.late(id)),
    }
}

/// A call that a server has.
struct Sent {
    call: Call,
    server: Name,
    timeout: Duration,
    deadline: Instant,
}

impl Sent {
    fn finish(&self, id: &str, answered: Result<Answer, CallError>) -> Vec<u8> {
        match answered {
            Ok(answer) => answer.with_id(id),
            Err(error) => {
                let message = format!(
                    "server {} was lost during the call ({error}). The call may have run; it was not repeated.",
                    self.server
                );
                envelope::result(id, &answer::tool_failed(&message))
            }
        }
    }

    fn late(&self, id: &str) -> Vec<u8> {
        envelope::result(id, &answer::tool_failed(&too_slow(&self.server, self.timeout)))
    }
}

fn too_slow(server: &Name, timeout: Duration) -> String {
    let seconds = timeout.as_secs();
    format!("server {server} did not answer within {seconds} s (its timeoutSeconds); the call was cancelled.")
}

/// Finds the life that answers, waiting for one that is starting, and hands the call over.
async fn send(
    view: &mut watch::Receiver<Arc<View>>,
    endpoint: &Endpoint,
    session: &Session,
    asked: &Asked<'_>,
    streams: bool,
) -> Result<Sent, Failure> {
    let arrived = Instant::now();
    loop {
        let seen = Arc::clone(&view.borrow_and_update());
        let table = seen.table(endpoint).map_err(|_| Failure::UnknownTool)?;
        let target = table.target(asked.tool);
        let owner = target
            .map(|target| &target.server)
            .or_else(|| table.owner_to_be(asked.tool));
        let (server, callable) = owner
            .and_then(|server| Some((server, seen.server(server)?)))
            .ok_or(Failure::UnknownTool)?;
        let several = callable.candidates.len() > 1;
        let sticks_to = several.then(|| session.life(server)).flatten();
        match choose(
            &callable.candidates,
            sticks_to.as_ref(),
            callable.unavailable.as_deref(),
        ) {
            Choice::Go(life, connection) => {
                let target = target.ok_or(Failure::UnknownTool)?;
                if several {
                    session.stick(server, life);
                }
                let deadline = arrived + callable.timeout;
                let text = |id: u64| asked.line(id, &target.name);
                let progress = streams && asked.token.is_some();
                let late = || Failure::Server(too_slow(server, callable.timeout));
                match timeout_at(deadline, connection.call(text, progress))
                    .await
                    .map_err(|_| late())?
                {
                    Ok(call) => {
                        return Ok(Sent {
                            call,
                            server: server.clone(),
                            timeout: callable.timeout,
                            deadline,
                        });
                    }
                    // It ended before it had the call, which may therefore go to another.
                    Err(CallError::NotSent(_)) => {}
                    Err(error) => return Err(Failure::Server(format!("server {server}: {error}."))),
                }
            }
            Choice::Wait => {
                let patience = callable.timeout.min(START);
                let changed = timeout_at(arrived + patience, view.changed()).await;
                if !matches!(changed, Ok(Ok(()))) {
                    let why = callable
                        .unavailable
                        .as_ref()
                        .map_or(String::new(), |why| format!(" ({why})"));
                    return Err(Failure::Server(format!(
                        "server {server} is still starting after {} s{why}; try again later.",
                        patience.as_secs()
                    )));
                }
            }
            Choice::Down(reason) => {
                return Err(Failure::Server(format!("server {server} is not available: {reason}.")));
            }
        }
    }
}

impl Asked<'_> {
    /// The request as the server gets it: our id, its own name of the tool, our progress token; the rest byte for byte.
    fn line(&self, id: u64, name: &str) -> Vec<u8> {
        let number = id.to_string();
        let place = |part: &str| place_of(self.text, part);
        let mut edits: Vec<(Range<usize>, &str)> = vec![(place(self.id), &number), (place(self.name), name)];
        edits.extend(self.token.map(|token| (place(token), &*number)));
        edits.sort_by_key(|(place, _)| place.start);
        splice(self.text.as_bytes(), &edits, true)
    }
}

/// A call whose progress is told as it comes.
struct Streaming {
    sent: Sent,
    id: String,
    token: String,
    first: Option<Vec<u8>>,
    cancelled: oneshot::Receiver<()>,
    ended: bool,
    _running: Running,
}

fn events(streaming: Streaming) -> Response {
    let events = futures_util::stream::unfold(streaming, |mut streaming| async {
        let event = streaming.next().await?;
        Some((Ok::<_, Infallible>(event), streaming))
    });
    answer::stream(Body::from_stream(events))
}

impl Streaming {
    async fn next(&mut self) -> Option<Vec<u8>> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        if self.ended {
            return None;
        }
        let last = tokio::select! {
            heard = self.sent.call.heard() => match heard {
                Heard::Progress(progress) => return Some(answer::event(&progress.with_token(&self.token))),
                Heard::Answer(answered) => self.sent.finish(&self.id, answered),
            },
            _ = &mut self.cancelled => envelope::error(&self.id, code::CANCELLED, "the request was cancelled"),
            () = sleep_until(self.sent.deadline) => self.sent.late(&self.id),
        };
        self.ended = true;
        Some(answer::event(&last))
    }
}
