//! Going back in time, as it crosses the wire.

use serde::{Deserialize, Serialize};

use crate::kit::time::Timestamp;

use super::plan::PlanBody;

/// What going back does, or did: the answer of `POST /api/v1/revisions/N/undo`, `GET /api/v1/restore/diff` and
/// `POST /api/v1/restore/to`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PastPlan {
    /// What changes.
    #[serde(flatten)]
    pub plan: PlanBody,
    /// Of a restore: the commit that is gone back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub point: Option<Point>,
    /// The secrets whose old values come back, as `secret/github`.
    #[serde(default)]
    pub revives: Vec<String>,
    /// The secrets of which today's values stay, or that stay away, though they were others then.
    #[serde(default)]
    pub kept: Vec<Kept>,
    /// Why a person has to say more first: `this would delete 4 of 6 resources`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guard: Option<String>,
    /// Of a restore that was made: the branch that keeps what was before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeline: Option<String>,
}

/// A secret that does not become what it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Which, as `secret/github`.
    pub resource: String,
    /// Why, in words that follow its name: `keeps today's values`.
    pub why: String,
}

/// A point in time that can be gone back to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Point {
    /// The commit.
    pub commit: String,
    /// When it was made.
    pub at: Timestamp,
    /// Who made it.
    pub author: String,
    /// Its first line.
    pub subject: String,
    /// The branch that keeps it, as `timeline/2026-11-20T10-00-00Z`: it is the state before a restore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
}

/// What is to go from the history: the body of `POST /api/v1/repo/scrub`.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ScrubOrder {
    /// Files, from the repository's root.
    pub paths: Vec<String>,
    /// Values, in the clear.
    pub values: Vec<String>,
}

impl std::fmt::Debug for ScrubOrder {
    /// Shows no value.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ScrubOrder({:?}, {} values)", self.paths, self.values.len())
    }
}

/// A history that was rewritten, or would be: the answer of `POST /api/v1/repo/scrub`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScrubBody {
    /// How many commits there are.
    pub commits: usize,
    /// How many of them become others.
    pub changed: usize,
    /// The branches and tags that move.
    pub moved: Vec<String>,
    /// Where it stands, or stood: `servers/github.yaml in 3fa2c1e`.
    pub places: Vec<String>,
    /// Where what was is kept, on mcpd's host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<String>,
    /// The head of main, where something was rewritten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<String>,
    /// The revisions of which mcpd's own records, which are never pushed, hold it still.
    #[serde(default)]
    pub records: Vec<u64>,
}
