//! What `engine` and `gateway` tell each other through watch channels; neither names the other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::kit::time::Timestamp;
use crate::kit::{Digest, Name};
use crate::resource::{Document, ToolsLock};

use super::instance::{InstanceName, Life};

/// engine → gateway: the lives to hold a connection to. A life that leaves the fleet is let go of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fleet {
    /// Every life that runs and is ours.
    pub members: BTreeMap<Life, FleetMember>,
}

/// One life of the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetMember {
    /// The instance that it serves.
    pub instance: InstanceName,
    /// Whether new calls go to it: false while a newer life is not ready yet, and while it drains.
    pub serving: bool,
    /// The longest that the handshake and the first lists may take, in seconds.
    pub start_timeout_seconds: u32,
    /// Whether this mcpd started it: then nobody has spoken to it before.
    pub fresh: bool,
    /// What it said at its handshake with an mcpd before this one, where that is remembered.
    pub remembered: Option<Greeting>,
    /// The era that a life of the same spec turned out to speak, where one did: what it is asked first.
    pub era: Option<Era>,
}

/// The protocol version of the modern era.
pub const MODERN: &str = "2026-07-28";

/// One of the two ways in which MCP is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Era {
    /// 2024-11-05 to 2025-11-25: `initialize`, then a session.
    Legacy,
    /// 2026-07-28: each request by itself.
    Modern,
}

/// What a server says of itself at the handshake. It holds for one life.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Greeting {
    /// The protocol version agreed on, as `2025-11-25`.
    pub protocol: String,
    /// The server's own name and version.
    pub server: String,
    /// What it can, as far as that matters here.
    pub can: BTreeSet<Capability>,
    /// What it tells models about itself, at most 16 KiB of it.
    pub instructions: Option<String>,
    /// The extensions of the protocol that it declares, each with its settings; none where they are larger than 16 KiB.
    pub extensions: Map<String, Value>,
}

impl Greeting {
    /// The era of the protocol version that was agreed on.
    #[must_use]
    pub fn era(&self) -> Era {
        if self.protocol == MODERN {
            Era::Modern
        } else {
            Era::Legacy
        }
    }
}

/// Something that a server says it can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Capability {
    /// It has tools.
    Tools,
    /// It has resources, or templates of them.
    Resources,
    /// It tells when a resource that somebody subscribed to changes.
    Subscribe,
    /// It has prompts.
    Prompts,
    /// It completes arguments.
    Completions,
    /// It sends log messages.
    Logging,
    /// It runs requests as tasks.
    Tasks,
    /// It says when its tools change.
    ToolsChanged,
    /// It says when its prompts change.
    PromptsChanged,
    /// It says when the list of its resources changes.
    ResourcesChanged,
}

/// engine → gateway: what the endpoints show. Published when what is declared changes.
#[derive(Debug, Clone, Default)]
pub struct Routes {
    /// Projects by name; the document is of kind project.
    pub projects: BTreeMap<Name, Arc<Document>>,
    /// Servers by name; the document is of kind server.
    pub servers: BTreeMap<Name, Arc<Document>>,
    /// Why a server can't be called, where it can't (its ERROR's reason), for clear errors.
    pub unavailable: BTreeMap<Name, String>,
    /// The tools that were approved, for projects whose lock is strict.
    pub lock: Arc<ToolsLock>,
}

/// gateway → engine: the instances that sessions need, by server, beside its replicas (`isolation: session`).
pub type Demand = BTreeMap<Name, BTreeSet<u32>>;

/// The first index of an instance that is a session's own: far above any replica's.
pub const FIRST_OF_SESSIONS: u32 = 1000;

/// gateway → engine: the connections by life.
pub type Upstreams = BTreeMap<Life, Upstream>;

/// The state of one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// The instance behind it.
    pub instance: InstanceName,
    /// How far the conversation is.
    pub handshake: Handshake,
    /// The tools that it lists, where it answered.
    pub tools: Arc<Vec<ToolSeen>>,
    /// Since when.
    pub since: Timestamp,
    /// How many questions the server asked that could be put to nobody, because whose call they belong to was not certain.
    pub uncertain: u64,
}

/// A tool as a server lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolSeen {
    /// The server's own name for it.
    pub name: String,
    /// The digest of what it promises.
    pub digest: Digest,
    /// What it promises: a JSON object with its name, description, schemas and annotations.
    pub definition: Arc<str>,
    /// About how many tokens a model pays for it ([`tokens_of`]) under its own name.
    pub tokens: usize,
}

/// About how many tokens a model pays for a tool that is listed with so many bytes: a quarter, rounded up. An estimate, the
/// same everywhere: each model's own tokenizer counts a little otherwise.
#[must_use]
pub fn tokens_of(bytes: usize) -> usize {
    bytes.div_ceil(4)
}

/// How far the conversation with a life is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handshake {
    /// The first answers are awaited.
    Connecting,
    /// The handshake and the list of each declared capability were answered.
    Ready {
        /// What it said of itself.
        greeting: Greeting,
        /// How much it lists.
        counts: Counts,
    },
    /// It did not answer in time, answered nonsense, or closed its output.
    Failed {
        /// Why, in one line.
        reason: String,
        /// Whether the server closed its output by itself: then its exit says more than this.
        closed: bool,
        /// What that says of the server's era.
        verdict: Verdict,
    },
}

/// What a conversation that failed says of the era that its server speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    #[default]
    None,
    /// It is a legacy server that the question for its era has upset. That was our doing and is no failure of the server:
    /// a fresh process, which hears `initialize` first, takes its place.
    Upset,
    /// The handshake failed although it was the one that a life before had answered: what is remembered is forgotten.
    Doubtful,
}

/// How much a server lists.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Its tools.
    pub tools: usize,
    /// Its resources, without what its templates make.
    pub resources: usize,
    /// Its prompts.
    pub prompts: usize,
}
