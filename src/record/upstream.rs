//! What `engine` and `gateway` tell each other through watch channels; neither names the other.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::kit::Name;
use crate::kit::time::Timestamp;
use crate::resource::Document;

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
}

/// gateway → engine: the connections by life.
pub type Upstreams = BTreeMap<Life, Upstream>;

/// The state of one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// The instance behind it.
    pub instance: InstanceName,
    /// How far the conversation is.
    pub handshake: Handshake,
    /// Since when.
    pub since: Timestamp,
}

/// How far the conversation with a life is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handshake {
    /// The first answers are awaited.
    Connecting,
    /// The handshake and the list of each declared capability were answered.
    Ready {
        /// The protocol version agreed on, as `2025-11-25`.
        protocol: String,
        /// The server's own name and version.
        server: String,
        /// How many tools it lists.
        tools: usize,
    },
    /// It did not answer in time, answered nonsense, or closed its output.
    Failed {
        /// Why, in one line.
        reason: String,
        /// Whether the server closed its output by itself: then its exit says more than this.
        closed: bool,
    },
}
