//! The first words with a server of the legacy era: `initialize`, `notifications/initialized`, `tools/list`.

use std::collections::HashSet;
use std::ops::Range;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::connection::{Answer, CallError, Connection};
use super::envelope::{self, members, place_of, text_of};
use super::{VERSIONS, one_line};

/// Pages of one list that are read.
const MOST_PAGES: usize = 1_000;
/// Tools of one server that are kept.
const MOST_TOOLS: usize = 10_000;
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
    #[error("the server lists more than {MOST_TOOLS} tools or {MOST_PAGES} pages")]
    TooMany,
    /// No answer in time.
    #[error("the server did not answer {method} within {seconds} s")]
    Silent {
        /// What was asked.
        method: &'static str,
        /// The time it had.
        seconds: u64,
    },
}

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    /// The protocol version agreed on.
    pub protocol: String,
    /// Its name and version.
    pub server: String,
    /// Whether it has tools.
    pub tools: bool,
}

/// A tool as the server lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// The JSON text of its entry.
    pub entry: String,
    /// Where in `entry` the name's JSON text stands.
    pub name_at: Range<usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Initialized {
    protocol_version: String,
    #[serde(default)]
    capabilities: serde_json::Map<String, serde_json::Value>,
    server_info: Option<ServerInfo>,
}

#[derive(Deserialize)]
struct ServerInfo {
    #[serde(default)]
    name: String,
    #[serde(default)]
    version: String,
}

/// Initialises a fresh connection and reads its first list, all within one span of time.
pub async fn greet(connection: &Connection, within: Duration) -> Result<(Greeting, Vec<Tool>), HandshakeError> {
    let mut asking = "initialize";
    let work = async {
        let greeting = initialize(connection).await?;
        asking = "tools/list";
        let tools = if greeting.tools {
            pages(connection).await?
        } else {
            vec![]
        };
        Ok((greeting, tools))
    };
    let answered = tokio::time::timeout(within, work).await;
    answered.unwrap_or(Err(HandshakeError::Silent {
        method: asking,
        seconds: seconds(within),
    }))
}

/// Reads the list of tools anew.
pub async fn list_tools(connection: &Connection, within: Duration) -> Result<Vec<Tool>, HandshakeError> {
    let answered = tokio::time::timeout(within, pages(connection)).await;
    answered.unwrap_or(Err(HandshakeError::Silent {
        method: "tools/list",
        seconds: seconds(within),
    }))
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
        .call(|id| envelope::request(id, METHOD, &params), false)
        .await?;
    call.never_cancel();
    let answer = call.answer().await?;
    let said: Initialized =
        serde_json::from_slice(result_of(METHOD, &answer)?).map_err(|error| nonsense(METHOD, &error))?;
    if !VERSIONS.contains(&said.protocol_version.as_str()) {
        return Err(HandshakeError::Version(one_line(&said.protocol_version, 40)));
    }
    connection.notify(envelope::notification("notifications/initialized", None));
    let server = said.server_info.map_or_else(String::new, |info| {
        one_line(&format!("{} {}", info.name, info.version), 200)
    });
    Ok(Greeting {
        protocol: said.protocol_version,
        server,
        tools: said.capabilities.get("tools").is_some_and(|tools| !tools.is_null()),
    })
}

/// All pages of `tools/list`. An entry without a name is left out: one bad tool costs the server no other.
async fn pages(connection: &Connection) -> Result<Vec<Tool>, HandshakeError> {
    const METHOD: &str = "tools/list";
    let mut tools = vec![];
    let mut names = HashSet::new();
    let mut bytes = 0;
    let mut params = serde_json::json!({});
    for _ in 0..MOST_PAGES {
        let call = connection
            .call(|id| envelope::request(id, METHOD, &params), false)
            .await?;
        let answer = call.answer().await?;
        let text = std::str::from_utf8(result_of(METHOD, &answer)?).map_err(|error| nonsense(METHOD, &error))?;
        let [entries, cursor] = members(text, ["tools", "nextCursor"]).map_err(|fault| nonsense(METHOD, &fault))?;
        let entries = entries.ok_or_else(|| nonsense(METHOD, &"\"tools\" is missing"))?;
        let entries: Vec<&RawValue> = serde_json::from_str(entries.get()).map_err(|error| nonsense(METHOD, &error))?;
        for entry in entries {
            let entry = entry.get();
            bytes += entry.len();
            let Some(name) = members(entry, ["name"]).ok().and_then(|[name]| name) else {
                continue;
            };
            let name_at = place_of(entry, name.get());
            match text_of(name) {
                Some(name) if !name.is_empty() && names.insert(name.to_string()) => tools.push(Tool {
                    name: name.into_owned(),
                    entry: entry.to_owned(),
                    name_at,
                }),
                _ => {}
            }
        }
        if tools.len() > MOST_TOOLS || bytes > MOST_BYTES {
            return Err(HandshakeError::TooMany);
        }
        match cursor.and_then(text_of) {
            Some(cursor) => params = serde_json::json!({"cursor": cursor}),
            None => return Ok(tools),
        }
    }
    Err(HandshakeError::TooMany)
}

fn result_of<'a>(method: &'static str, answer: &'a Answer) -> Result<&'a [u8], HandshakeError> {
    #[derive(Deserialize)]
    struct Error {
        message: String,
    }
    answer.outcome().map_err(|error| {
        let said: Result<Error, _> = serde_json::from_slice(error);
        HandshakeError::Refused {
            method,
            message: said.map_or_else(
                |_| "no reason was given".to_owned(),
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
