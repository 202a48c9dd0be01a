//! The first words with a server: which era it speaks, what it is, and its lists.
//!
//! A modern server is asked with `server/discover`; a legacy one is initialised. Which of the two it is shows when it is
//! asked (`discover.rs` has the table). Over pipes the same process goes on, whatever it said to the question; one that the
//! question has upset is told by [`HandshakeError::Upset`].

use std::future::{Future, pending};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::record::{Era, Greeting};

use super::connection::{Answer, CallError, Connection, Wish};
use super::discover::{Said, initialized, judge};
use super::envelope::{self, code};
use super::lists::{Gathered, Kind, List, Lists};
use super::{MODERN, VERSIONS, meta, one_line};

/// Pages of one list that are read.
const MOST_PAGES: usize = 1_000;
/// Entries of one list that are kept.
const MOST_ENTRIES: usize = 10_000;
/// Bytes of one server's list that are kept.
const MOST_BYTES: usize = 64 << 20;

/// The question for the era.
pub(super) const DISCOVER: &str = "server/discover";
const INITIALIZE: &str = "initialize";

/// How the first words with a server begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// With the question for its era. Where it says nothing for this long `initialize` is said as well, and what it answers
    /// first decides: a process may start slowly, or leave unanswered what it does not know.
    Process(Duration),
    /// With the question for its era; a server that says nothing is none.
    Http,
    /// With `initialize`, because a life before was a legacy server; where that is refused, with the question.
    Remembered,
    /// With `initialize`, because its transport is older than the question.
    Legacy,
}

/// Why a server can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// The connection ended, or took no request.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A JSON-RPC error.
    #[error("the server refused {method}: {message}")]
    Refused {
        /// What was asked.
        method: &'static str,
        /// The error's message.
        message: String,
        /// Whether the server does not know the method at all.
        unknown: bool,
    },
    /// An answer that has not the form that MCP gives it.
    #[error("the server's answer to {method} makes no sense: {message}")]
    Nonsense {
        /// What was asked.
        method: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// A protocol version that is not spoken here.
    #[error("the server speaks MCP \"{0}\"; spoken here: {MODERN}, {known}", known = VERSIONS.join(", "))]
    Version(String),
    /// Whatever it is, the question for the era came before it, and not every server survives a first request that is no
    /// `initialize`: a fresh process which hears that first may do better.
    #[error(transparent)]
    Upset(Box<Self>),
    /// Lists without end.
    #[error("the server lists more than {MOST_ENTRIES} {} or {MOST_PAGES} pages", .0.field())]
    TooMany(Kind),
    /// No answer in time.
    #[error("the server did not answer {method} within {seconds} s{}", .why.as_ref().map(|why| format!(" ({why})")).unwrap_or_default())]
    Silent {
        /// What was asked.
        method: &'static str,
        /// The time it had.
        seconds: u64,
        /// What stood in the way, where that is known.
        why: Option<Arc<str>>,
    },
}

/// Speaks the first words on a fresh connection and reads the server's lists, all within one span of time.
pub async fn greet(
    connection: &Connection,
    opening: Opening,
    within: Duration,
) -> Result<(Greeting, Lists), HandshakeError> {
    let mut asking = INITIALIZE;
    let work = async {
        let greeting = match opening {
            Opening::Process(patience) => {
                asking = DISCOVER;
                probe(connection, sleep(patience), &mut asking)
                    .await
                    .map_err(HandshakeError::upset)?
            }
            Opening::Http => {
                asking = DISCOVER;
                probe(connection, pending(), &mut asking).await?
            }
            Opening::Legacy => initialize(connection).await?,
            Opening::Remembered => match initialize(connection).await {
                Err(refused @ HandshakeError::Refused { .. }) => match discover(connection).await {
                    Ok(Said::Modern(greeting)) => greeting,
                    _ => return Err(refused),
                },
                initialized => initialized?,
            },
        };
        connection.agree(&greeting.protocol);
        if greeting.era() == Era::Legacy {
            connection.announce(envelope::notification("notifications/initialized", None));
        }
        let lists = every_list(connection, &greeting, &mut asking).await?;
        Ok((greeting, lists))
    };
    let answered = tokio::time::timeout(within, work).await;
    answered.unwrap_or_else(|_| Err(silent(connection, asking, within)))
}

/// Asks for the era, and initialises a server of the legacy one; also one that has said nothing when `silence` is over.
async fn probe(
    connection: &Connection,
    silence: impl Future<Output = ()>,
    asking: &mut &'static str,
) -> Result<Greeting, HandshakeError> {
    let mut discovering = pin!(discover(connection));
    let said = tokio::select! {
        biased;
        said = &mut discovering => Some(modern(said?)?),
        () = silence => None,
    };
    *asking = INITIALIZE;
    match said {
        Some(Some(greeting)) => return Ok(greeting),
        Some(None) => return initialize(connection).await,
        None => {}
    }
    let mut initializing = pin!(initialize(connection));
    tokio::select! {
        biased;
        said = &mut discovering => match modern(said?)? {
            Some(greeting) => Ok(greeting),
            None => initializing.await,
        },
        initialized = &mut initializing => match initialized {
            // It may be a modern one that takes the messages in another order.
            Err(refused @ HandshakeError::Refused { .. }) => modern(discovering.await?)?.ok_or(refused),
            initialized => initialized,
        },
    }
}

/// The greeting of a modern server; nothing of one that is to be initialised.
fn modern(said: Said) -> Result<Option<Greeting>, HandshakeError> {
    match said {
        Said::Modern(greeting) => Ok(Some(greeting)),
        Said::Legacy => Ok(None),
        Said::Foreign(versions) => Err(HandshakeError::Version(versions)),
        Said::Refused(message) => Err(HandshakeError::Refused {
            method: DISCOVER,
            message,
            unknown: false,
        }),
    }
}

impl HandshakeError {
    /// The same, of a process that was asked for its era first.
    fn upset(self) -> Self {
        match self {
            // Only what the question may have brought about: a server that makes sense does so to any question.
            Self::Call(CallError::Ended(_) | CallError::NotSent(_)) | Self::Refused { method: INITIALIZE, .. } => {
                Self::Upset(Box::new(self))
            }
            _ => self,
        }
    }
}

/// Reads the lists of a server that was greeted before this connection was opened.
pub async fn read_lists(
    connection: &Connection,
    greeting: &Greeting,
    within: Duration,
) -> Result<Lists, HandshakeError> {
    connection.agree(&greeting.protocol);
    let mut asking = Kind::Tools.method();
    let answered = tokio::time::timeout(within, every_list(connection, greeting, &mut asking)).await;
    answered.unwrap_or_else(|_| Err(silent(connection, asking, within)))
}

/// Reads one list anew.
pub async fn read_list(connection: &Connection, kind: Kind, within: Duration) -> Result<List, HandshakeError> {
    let answered = tokio::time::timeout(within, pages(connection, kind)).await;
    answered.unwrap_or_else(|_| Err(silent(connection, kind.method(), within)))
}

fn silent(connection: &Connection, method: &'static str, within: Duration) -> HandshakeError {
    HandshakeError::Silent {
        method,
        seconds: seconds(within),
        why: connection.obstacle(),
    }
}

/// The list of each capability that was declared.
async fn every_list(
    connection: &Connection,
    greeting: &Greeting,
    asking: &mut &'static str,
) -> Result<Lists, HandshakeError> {
    let mut lists = Lists::default();
    for kind in Kind::ALL {
        if greeting.can.contains(&kind.capability()) {
            *asking = kind.method();
            *lists.of_mut(kind) = Arc::new(pages(connection, kind).await?);
        }
    }
    Ok(lists)
}

/// In whole seconds, rounded up: the rest of a time-out reads as the time-out.
fn seconds(within: Duration) -> u64 {
    within.as_secs() + u64::from(within.subsec_nanos() > 0)
}

/// Asks a server for its era. The question is not taken back: a legacy server may not know what that means.
async fn discover(connection: &Connection) -> Result<Said, HandshakeError> {
    let params = json!({"_meta": meta::own()});
    let mut call = connection
        .call(|id| envelope::request(id, DISCOVER, &params), Wish::default())
        .await?;
    call.never_cancel();
    Ok(judge(call.answer().await?.outcome()))
}

async fn initialize(connection: &Connection) -> Result<Greeting, HandshakeError> {
    let params = json!({
        "protocolVersion": VERSIONS[0],
        "capabilities": capabilities(),
        "clientInfo": meta::ourselves(),
    });
    let mut call = connection
        .call(|id| envelope::request(id, INITIALIZE, &params), Wish::default())
        .await?;
    call.never_cancel();
    let answer = call.answer().await?;
    let greeting = initialized(result_of(INITIALIZE, &answer)?).map_err(|error| nonsense(INITIALIZE, &error))?;
    if !VERSIONS.contains(&greeting.protocol.as_str()) {
        return Err(HandshakeError::Version(one_line(&greeting.protocol, 40)));
    }
    Ok(greeting)
}

/// What a legacy server is told that its client can. Its questions are put to whoever made the call that they belong to,
/// and that client may lack what is asked: then the server gets an error.
fn capabilities() -> Value {
    json!({
        "sampling": {},
        "roots": {},
        "elicitation": {"form": {}, "url": {}},
        "extensions": {"io.modelcontextprotocol/ui": {"mimeTypes": ["text/html;profile=mcp-app"]}},
    })
}

/// The parameters of a request of our own, as the era that was agreed on has them.
pub fn params(connection: &Connection, mut params: Value) -> Value {
    if connection.era() == Era::Modern {
        params["_meta"] = meta::own();
    }
    params
}

/// All pages of a list. A server that declares a capability and does not know the method of one of its lists has nothing
/// of that kind: templates above all are often left out. Tools are never left out.
async fn pages(connection: &Connection, kind: Kind) -> Result<List, HandshakeError> {
    let method = kind.method();
    let mut gathered = Gathered::new(kind);
    let mut asked = json!({});
    for _ in 0..MOST_PAGES {
        let params = params(connection, asked);
        let call = connection
            .call(|id| envelope::request(id, method, &params), Wish::default())
            .await?;
        let answer = call.answer().await?;
        let page = match result_of(method, &answer) {
            Err(HandshakeError::Refused { unknown: true, .. }) if kind != Kind::Tools => return Ok(List::default()),
            page => std::str::from_utf8(page?).map_err(|error| nonsense(method, &error))?,
        };
        let cursor = gathered.take(page).map_err(|fault| nonsense(method, &fault))?;
        if gathered.is_too_much(MOST_ENTRIES, MOST_BYTES) {
            break;
        }
        match cursor {
            Some(cursor) => asked = json!({"cursor": cursor}),
            None => return Ok(gathered.list),
        }
    }
    Err(HandshakeError::TooMany(kind))
}

fn result_of<'a>(method: &'static str, answer: &'a Answer) -> Result<&'a [u8], HandshakeError> {
    #[derive(Deserialize)]
    struct Error {
        code: Option<i32>,
        message: String,
    }
    answer.outcome().map_err(|error| {
        let said: Option<Error> = serde_json::from_slice(error).ok();
        HandshakeError::Refused {
            method,
            unknown: said.as_ref().and_then(|said| said.code) == Some(code::METHOD_NOT_FOUND),
            message: said.map_or_else(
                || "no reason was given".to_owned(),
                |error| one_line(&error.message, 300),
            ),
        }
    })
}

fn nonsense(method: &'static str, error: &impl ToString) -> HandshakeError {
    HandshakeError::Nonsense {
        method,
        message: one_line(&error.to_string(), 200),
    }
}
