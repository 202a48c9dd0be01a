//! Tools as `GET /api/v1/tools` lists them, and their approval.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::kit::time::Timestamp;
use crate::kit::{Digest, Name};

/// A tool of a server, as a project shows it or would.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolRow {
    /// The name that the project shows; of no project the server's own.
    pub name: String,
    /// Its server.
    pub server: Name,
    /// The server's own name for it.
    pub tool: String,
    /// How it stands.
    pub state: ToolState,
    /// About how many tokens a model pays for its definition.
    pub schema_tokens: usize,
    /// The digest of what it promises now.
    pub digest: Digest,
    /// Since when it promises that, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// What it promises: name, description, schemas, annotations. Only where it is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<Value>,
    /// The digest that was approved (without a strict lock: that was seen first), where that is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved: Option<Digest>,
    /// What was promised under that digest, where it is kept and asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_definition: Option<Value>,
}

/// How a tool stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToolState {
    /// It is shown, and as it was approved or first seen.
    #[serde(rename = "ok")]
    Ok,
    /// It is shown as it was known last; its server can't be asked now.
    #[serde(rename = "stale")]
    Stale,
    /// It is shown, and not as it was first seen.
    #[serde(rename = "changed")]
    Changed,
    /// It waits for approval: it was never approved.
    #[serde(rename = "held: new")]
    HeldNew,
    /// It waits for approval: it is not as it was approved.
    #[serde(rename = "held: changed")]
    HeldChanged,
    /// A rule hides it.
    #[serde(rename = "hidden by rule")]
    Hidden,
    /// Another server of the project has a tool of this name.
    #[serde(rename = "clash")]
    Clash,
}

impl ToolState {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Stale => "stale",
            Self::Changed => "changed",
            Self::HeldNew => "held: new",
            Self::HeldChanged => "held: changed",
            Self::Hidden => "hidden by rule",
            Self::Clash => "clash",
        }
    }

    /// Whether an approval would change it.
    #[must_use]
    pub fn wants_approval(self) -> bool {
        matches!(self, Self::Changed | Self::HeldNew | Self::HeldChanged)
    }
}

/// What is approved: `POST /api/v1/tools/approve`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApproveOrder {
    /// The tools, each as it was looked at.
    pub tools: Vec<ToolAsSeen>,
}

/// A tool as somebody looked at it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolAsSeen {
    /// Its server.
    pub server: Name,
    /// The server's own name for it.
    pub tool: String,
    /// The digest of what it promised then; where it promises something else by now nothing is approved.
    pub digest: Digest,
}

/// What became of an approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApproveBody {
    /// What was approved.
    pub tools: Vec<ToolAsSeen>,
    /// The commit (in a folder: its digest) that says so; nothing where no project of the servers has a strict lock, and where
    /// it stood there already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}
