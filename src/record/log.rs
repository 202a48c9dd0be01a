//! What a server wrote to stderr, line by line, with the lives that wrote it.

use serde::{Deserialize, Serialize};

use crate::kit::time::Timestamp;

/// One line of an instance's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When it was read; nothing for lines that an older mcpd kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// The life that it belongs to: the beginning of its name, as `docker ps` shows ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub life: Option<String>,
    /// What it is.
    pub kind: LogKind,
    /// The line, without control characters and with secret values masked; of an ending, how it ended.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
}

/// What a line of a log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogKind {
    /// The server wrote it.
    Line,
    /// A life begins here.
    Began,
    /// A life ended here, and the text says how.
    Ended,
    /// The stream of a follower ends here, and the text says why; never in a file.
    Dropped,
}
