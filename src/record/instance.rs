//! Instances: what is found running, and what is said of it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::kit::Name;
use crate::kit::time::Timestamp;

/// One replica of a server. Written `time/0`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InstanceName {
    /// The server.
    pub server: Name,
    /// The replica, from 0.
    pub index: u32,
}

impl fmt::Display for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.server, self.index)
    }
}

impl FromStr for InstanceName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fault = || {
            format!(
                "\"{}\" is not of the form server/0",
                text.chars().take(80).collect::<String>()
            )
        };
        let (server, index) = text.split_once('/').ok_or_else(fault)?;
        Ok(Self {
            server: server.parse().map_err(|_| fault())?,
            index: index.parse().map_err(|_| fault())?,
        })
    }
}

impl TryFrom<String> for InstanceName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<InstanceName> for String {
    fn from(name: InstanceName) -> Self {
        name.to_string()
    }
}

/// One start of one instance: a container id, or a process' own mark. No two starts share one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Life(pub String);

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How a life ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// The exit code, where it exited by itself.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Whether the kernel ended it for want of memory.
    pub out_of_memory: bool,
    /// The last line that it wrote to stderr, cut to 500 characters.
    pub last_line: Option<String>,
    /// When.
    pub at: Timestamp,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.out_of_memory, self.code, self.signal) {
            (true, ..) => f.write_str("ended for want of memory")?,
            (_, Some(code), _) => write!(f, "exited with code {code}")?,
            (_, None, Some(signal)) => write!(f, "ended by signal {signal}")?,
            (_, None, None) => f.write_str("ended")?,
        }
        match &self.last_line {
            Some(line) => write!(f, ": {line}"),
            None => Ok(()),
        }
    }
}

/// What a runtime finds by its labels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {
    /// Which instance it serves.
    pub instance: InstanceName,
    /// This start of it.
    pub life: Life,
    /// The spec that it was started with, as `SALT.DIGEST`.
    pub spec: String,
    /// Whether it runs.
    pub state: LiveState,
    /// When it was started.
    pub started: Timestamp,
}

/// Whether a life runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LiveState {
    /// The process runs (which does not yet mean that it answers).
    Running,
    /// It ended, and its remains are still there.
    Ended(Ending),
}

/// What is said of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum State {
    /// Wanted, not started yet.
    Pending,
    /// Started; the handshake has not been answered yet.
    Starting,
    /// The handshake and the lists were answered.
    Running,
    /// Being drained or stopped.
    Stopping,
    /// Not usable, for the reason given.
    Error,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pending => "PENDING",
            Self::Starting => "STARTING",
            Self::Running => "RUNNING",
            Self::Stopping => "STOPPING",
            Self::Error => "ERROR",
        })
    }
}

/// A link of the way from a declaration to tools that can be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChainLink {
    /// The declaration is in a commit (in a folder: in a file).
    Commit,
    /// What it says was taken over.
    Plan,
    /// A container or a process runs.
    Container,
    /// It answers the handshake.
    Handshake,
    /// It lists what it has.
    Tools,
}

impl fmt::Display for ChainLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Commit => "commit",
            Self::Plan => "plan",
            Self::Container => "container",
            Self::Handshake => "handshake",
            Self::Tools => "tools",
        })
    }
}

/// The status of one instance, as published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InstanceStatus {
    /// Which instance, as `time/0`.
    pub instance: InstanceName,
    /// Its state.
    pub state: State,
    /// Why it is in this state, in one line; empty where there is nothing to say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
    /// Failed starts in a row.
    pub failures: u32,
    /// The link that broke last, while there are failures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_at: Option<ChainLink>,
    /// When it will be tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_retry: Option<Timestamp>,
    /// The life behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub life: Option<Life>,
    /// The protocol version that was agreed on with it, as `2026-07-28`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// How many tools it lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<usize>,
    /// How many resources it lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<usize>,
    /// How many prompts it lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompts: Option<usize>,
}
