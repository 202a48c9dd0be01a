//! Backup and restore, as they cross the wire.

use serde::{Deserialize, Serialize};

use crate::kit::time::Timestamp;

/// How well what is declared is kept elsewhere: the answer of `GET /api/v1/backup/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupStatus {
    /// Whether what is declared is written into a repository.
    pub enabled: bool,
    /// Where that repository is: a path at this mcpd, or a folder.
    pub repo_url: String,
    /// Whether it could be read when it was looked at last.
    pub git_reachable: bool,
    /// When both sides were brought together last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_sync_at: Option<Timestamp>,
    /// When mcpd wrote into it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_push_at: Option<Timestamp>,
    /// What keeps it from working, where something does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// How many changes are not in it yet.
    pub pending_count: usize,
    /// For whom secrets are encrypted, as age and SSH keys; mcpd's own first.
    pub recipients: Vec<String>,
    /// The secrets that no identity of this host opens.
    pub sealed: Vec<String>,
    /// What would be lost with this host, and what to do.
    pub warnings: Vec<String>,
}

/// A commit of the repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupCommit {
    /// Its id.
    pub commit: String,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub author: String,
    /// Its first line.
    pub subject: String,
    /// Whether a person made it, and not mcpd for a change through the API.
    pub manual: bool,
}

/// A key, as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyBody {
    /// The key.
    pub key: String,
}

/// What is there after a restore: the answer of `GET /api/v1/restore/verify`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RestoreState {
    /// A digest of everything that is declared, the values of secrets with it. Equal digests, equal states.
    pub digest: String,
    /// How many resources are declared.
    pub resources: usize,
    /// How many of each kind, as `servers`.
    pub kinds: std::collections::BTreeMap<String, usize>,
    /// The head that was read last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<String>,
    /// The secrets that no identity of this host opens: the digest takes them as they stand.
    pub sealed: Vec<String>,
    /// Whether all that is declared is in the repository, and runs.
    pub converged: bool,
}
