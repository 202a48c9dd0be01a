//! Answers that describe how things stand.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::kit::Diagnostic;
use crate::kit::time::Timestamp;
use crate::record::{ChainLink, Event, InstanceName, InstanceStatus, Life, Run};

/// A list: `GET /api/v1/PLURAL` (of [`Item`]), `/instances`, `/conflicts`, `/events`, `/revisions`, `/runs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing<T> {
    /// What the caller may see, in order of name (events, revisions and runs: newest last).
    pub items: Vec<T>,
    /// Of instances: lives that are listed and left alone.
    #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
    pub unclaimed: Vec<Unclaimed>,
    /// The store's revision.
    pub revision: u64,
}

/// One declared resource: `GET /api/v1/PLURAL/NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// The flat document: `kind`, `name`, fields. No defaults, no status.
    pub resource: Value,
    /// How it stands: an [`ItemStatus`]; in a list without conditions, chain and events.
    pub status: Value,
    /// The revision of its row (also the `ETag`).
    pub revision: u64,
    /// Of an encrypted secret: the text of its file, whose order counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Arc<str>>,
}

/// How a declared resource stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ItemStatus {
    /// Of a server: the worst state of its instances, as `RUNNING`; `STOPPED` with no replicas.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub state: String,
    /// Of a server: how many instances are RUNNING, as `1/2`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ready: String,
    /// How many tools a server lists, where that is known, and a project shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<usize>,
    /// About how many tokens a model pays for the definitions of these tools.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema_tokens: Option<usize>,
    /// Why it is not well.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Of a server: its instances.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub instances: Vec<InstanceStatus>,
    /// Of a project: the path of its MCP endpoint.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub endpoint: String,
    /// Of a project: how each of its servers stands.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<MemberStatus>,
    /// `builtin` where it is no declaration, but ships with mcpd.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub origin: String,
    /// Where it is declared.
    pub provenance: Provenance,
    /// What holds and what does not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The way from its commit to its tools, each link once an instance; after a link that broke nothing follows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<Rung>,
    /// What happened to it lately, newest last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Event>,
}

/// A server of a project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberStatus {
    /// The server's name.
    pub name: String,
    /// As [`ItemStatus::state`].
    pub state: String,
    /// As [`ItemStatus::ready`].
    pub ready: String,
    /// Why it is not well.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// Where a resource is declared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Provenance {
    /// The file, from the repository's root; empty until its first commit has landed.
    pub file: String,
    /// The line in it; nothing where the file can't be read at present.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// The commit (in a folder: its digest) in which both sides last agreed on it.
    pub commit: String,
    /// Whether a change of it is not in the repository yet.
    pub pending: bool,
}

/// `servers/time.yaml:1@3fa2c1e`; empty until its first commit has landed.
impl fmt::Display for Provenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        let commit: String = self.commit.chars().take(7).collect();
        if commit.is_empty() {
            Ok(())
        } else {
            write!(f, "@{commit}")
        }
    }
}

/// Something that holds or not, as Kubernetes writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// `Synced`, `Held`, `Conflicted`, `Ready`, `Tools`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it holds.
    pub status: Truth,
    /// Why, in a word for machines.
    pub reason: String,
    /// Why, in a line for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Since when, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Truth {
    /// It does.
    True,
    /// It does not.
    False,
    /// It can't be told yet.
    Unknown,
}

/// One link of the way from a commit to tools, and how it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rung {
    /// Which link.
    pub link: ChainLink,
    /// The instance, from `container` on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceName>,
    /// How it stands.
    pub standing: Standing,
    /// What there is, or what is missing, in a line.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// When it will be tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_retry: Option<Timestamp>,
    /// What is wrong with the declaration, and where, where that is what broke it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diagnostic: Option<Diagnostic>,
}

/// How a link stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// It holds.
    Ok,
    /// It is on its way.
    Waiting,
    /// It broke.
    Broken,
}

/// A life that was found with our labels before the store had agreed with a source: it is left alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unclaimed {
    /// Which instance it serves.
    pub instance: InstanceName,
    /// This start of it.
    pub life: Life,
    /// When it was started.
    pub started: Timestamp,
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
    /// Lives that were found before the first agreement with a source: listed and left alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unclaimed: Vec<Unclaimed>,
    /// What a person should see to, a line each; it keeps nothing from being well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Whether nothing is left to do: no pending export, nothing held, no open conflict, every instance RUNNING.
    pub converged: bool,
}

/// How the whole stands after a look that was asked for: `POST /api/v1/sync`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SyncBody {
    /// As in [`StatusBody`], beside the fields below.
    #[serde(flatten)]
    pub status: StatusBody,
    /// The run's id; nothing from an mcpd that knows no runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// What the look did: the run as in `GET /api/v1/runs/ID`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub look: Option<Run>,
    /// The words that nothing waited for, as they stand in the query: `allowMassDelete`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passed_over: Vec<String>,
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
    /// `hosted`, `remote` or `folder`.
    pub kind: String,
    /// The folder, the remote's URL without credentials, or the path of the hosted one's clone URL.
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
    /// What is wrong with its declaration, and where, where something is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diagnostic: Option<Diagnostic>,
}

impl HeldResource {
    /// Why, in one line, with the place where there is one: `servers/time.yaml:3:1: unknown field "replica"`.
    #[must_use]
    pub fn why(&self) -> String {
        match &self.diagnostic {
            Some(diagnostic) => format!("{}: {}", diagnostic.place(), diagnostic.message),
            None => self.reason.clone(),
        }
    }
}
