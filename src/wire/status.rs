//! Answers that describe how things stand.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::kit::Diagnostic;
use crate::kit::time::Timestamp;
use crate::record::InstanceStatus;

/// A list: `GET /api/v1/PLURAL` (of [`Item`]), `/instances`, `/conflicts`, `/events`, `/revisions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing<T> {
    /// What the caller may see, in order of name (events and revisions: newest last).
    pub items: Vec<T>,
    /// The store's revision.
    pub revision: u64,
}

/// One declared resource: `GET /api/v1/PLURAL/NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// The flat document: `kind`, `name`, fields. No defaults, no status.
    pub resource: Value,
    /// How it stands: for a server a [`ServerStatus`], else an object with `provenance`.
    pub status: Value,
    /// The revision of its row (also the `ETag`).
    pub revision: u64,
}

/// How a server stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServerStatus {
    /// The worst state of its instances, as `RUNNING`; `STOPPED` with no replicas.
    pub state: String,
    /// How many instances are RUNNING, as `1/2`.
    pub ready: String,
    /// How many tools it lists, where that is known.
    pub tools: Option<usize>,
    /// Why it is not RUNNING.
    pub reason: String,
    /// Its instances.
    pub instances: Vec<InstanceStatus>,
    /// Where it stands: `servers/time.yaml:1@3fa2c1e`; empty until its commit has landed.
    pub provenance: String,
}

/// How the whole stands: `GET /api/v1/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusBody {
    /// mcpd's version.
    pub version: String,
    /// The cluster's id: 8 hex digits, or what was set.
    pub cluster: String,
    /// Where servers run.
    pub runtime: RuntimeStatus,
    /// Where declarations come from.
    pub source: SourceStatus,
    /// The store's revision.
    pub revision: u64,
    /// How many resources are declared.
    pub resources: usize,
    /// How many conflicts are open.
    pub conflicts: usize,
    /// Resources whose declaration can't be used at present; what is in force stays so.
    pub held: Vec<HeldResource>,
    /// Everything that is wrong in the repository.
    pub diagnostics: Vec<Diagnostic>,
    /// Every instance.
    pub instances: Vec<InstanceStatus>,
    /// What a person should see to, a line each; it keeps nothing from being well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Whether nothing is left to do: no pending export, nothing held, no open conflict, every instance RUNNING.
    pub converged: bool,
}

/// Where servers run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeStatus {
    /// `process`.
    pub name: String,
    /// Whether it answers.
    pub available: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// How far the repository and the store agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SourceState {
    /// Nothing has been read yet.
    Pending,
    /// The repository has no commit (the folder no file) yet.
    Empty,
    /// Both agree.
    Synced,
    /// A part is held; everything else agrees.
    Held,
    /// Waits for a person's word (the mass-delete guard).
    WaitingForApproval,
    /// It can't be read or written at present.
    Failing,
}

/// Where declarations come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceStatus {
    /// `hosted` or `folder`.
    pub kind: String,
    /// The folder, or the clone URL's path.
    pub location: String,
    /// The head that was read last: a commit id, or a digest of the folder.
    pub head: Option<String>,
    /// How far both sides agree.
    pub state: SourceState,
    /// When it was read last.
    pub last_sync_at: Option<Timestamp>,
    /// What went wrong last; nothing where the last attempt went well.
    pub last_error: Option<String>,
    /// Mutations that are not in the repository yet.
    pub pending_count: usize,
}

/// A resource whose declaration can't be used at present.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldResource {
    /// Which one.
    pub resource: String,
    /// Why, in one line.
    pub reason: String,
}
