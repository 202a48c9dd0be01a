//! The first words with a server of the legacy era: `initialize`, `notifications/initialized`, and its lists.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use crate::record::{Capability, Greeting};

use super::connection::{Answer, CallError, Connection, Wish};
use super::envelope::{self, code};
use super::lists::{Gathered, Kind, List, Lists};
use super::{VERSIONS, one_line};

/// Pages of one list that are read.
const MOST_PAGES: usize = 1_000;
/// Entries of one list that are kept.
const MOST_ENTRIES: usize = 10_000;
/// Bytes of one server's list that are kept.
const MOST_BYTES: usize = 64 << 20;

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
    #[error("the server speaks MCP \"{0}\"; spoken here: {known}", known = VERSIONS.join(", "))]
    Version(String),
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

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Initialized {
    protocol_version: String,
    #[serde(default)]
    capabilities: serde_json::Value,
    server_info: Option<ServerInfo>,
}

#[derive(Deserialize)]
struct ServerInfo {
    #[serde(default)]
    name: String,
    #[serde(default)]
    version: String,
}

/// Initialises a fresh connection and reads the server's lists, all within one span of time.
pub async fn greet(connection: &Connection, within: Duration) -> Result<(Greeting, Lists), HandshakeError> {
    let mut asking = "initialize";
    let work = async {
        let greeting = initialize(connection).await?;
        let lists = every_list(connection, &greeting, &mut asking).await?;
        Ok((greeting, lists))
    };
    let answered = tokio::time::timeout(within, work).await;
    answered.unwrap_or_else(|_| Err(silent(connection, asking, within)))
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

async fn initialize(connection: &Connection) -> Result<Greeting, HandshakeError> {
    const METHOD: &str = "initialize";
    let params = serde_json::json!({
        "protocolVersion": VERSIONS[0],
        "capabilities": {},
        "clientInfo": {"name": "mcpctl", "version": env!("CARGO_PKG_VERSION")},
    });
    let mut call = connection
        .call(|id| envelope::request(id, METHOD, &params), Wish::default())
        .await?;
    call.never_cancel();
    let answer = call.answer().await?;
    let said: Initialized =
        serde_json::from_slice(result_of(METHOD, &answer)?).map_err(|error| nonsense(METHOD, &error))?;
    if !VERSIONS.contains(&said.protocol_version.as_str()) {
        return Err(HandshakeError::Version(one_line(&said.protocol_version, 40)));
    }
    connection.agree(&said.protocol_version);
    connection.announce(envelope::notification("notifications/initialized", None));
    let server = said.server_info.map_or_else(String::new, |info| {
        one_line(&format!("{} {}", info.name, info.version), 200)
    });
    let has = |pointer: &str| said.capabilities.pointer(pointer).is_some_and(|value| !value.is_null());
    let can = [
        (Capability::Tools, has("/tools")),
        (Capability::Resources, has("/resources")),
        (
            Capability::Subscribe,
            said.capabilities.pointer("/resources/subscribe") == Some(&true.into()),
        ),
        (Capability::Prompts, has("/prompts")),
        // The first version had completion without a word for it.
        (
            Capability::Completions,
            has("/completions") || said.protocol_version == VERSIONS[3],
        ),
    ];
    Ok(Greeting {
        protocol: said.protocol_version,
        server,
        can: can.into_iter().filter(|(_, can)| *can).map(|(what, _)| what).collect(),
    })
}

/// All pages of a list. A server that declares a capability and does not know the method of one of its lists has nothing
/// of that kind: templates above all are often left out. Tools are never left out.
async fn pages(connection: &Connection, kind: Kind) -> Result<List, HandshakeError> {
    let method = kind.method();
    let mut gathered = Gathered::new(kind);
    let mut params = serde_json::json!({});
    for _ in 0..MOST_PAGES {
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
            Some(cursor) => params = serde_json::json!({"cursor": cursor}),
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
