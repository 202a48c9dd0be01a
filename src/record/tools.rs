//! Tools as they were first seen or approved: what a change is told by.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::kit::time::Timestamp;
use crate::kit::{Digest, Name};

/// The tools of each server, by the server's own names.
pub type ToolMemory = BTreeMap<Name, BTreeMap<String, Remembered>>;

/// A tool that is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// As it was first seen, or approved since.
    #[serde(flatten)]
    pub approved: Sight,
    /// As it was listed last, where that is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<Sight>,
}

impl Remembered {
    /// What was seen under this digest.
    #[must_use]
    pub fn sight(&self, digest: Digest) -> Option<&Sight> {
        std::iter::once(&self.approved)
            .chain(&self.now)
            .find(|sight| sight.digest == digest)
    }
}

/// A tool at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sight {
    /// The digest of what it promises.
    pub digest: Digest,
    /// Since when it does.
    pub at: Timestamp,
    /// What it promises, as JSON; nothing where that is too long to be kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<String>,
}
