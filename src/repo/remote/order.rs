//! What crosses the pipes between mcpd and the process that talks to a remote: one order in, lines out, the last of them
//! the answer.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What is asked of the process. It holds the token, so it is never shown.
#[derive(Serialize, Deserialize)]
pub(super) struct Order {
    /// The mirror.
    pub mirror: PathBuf,
    /// Where the remote is, without a password.
    pub address: String,
    /// The host and how `known_hosts` calls it; both are empty for a folder.
    pub host: String,
    pub host_name: String,
    /// The branch, as `refs/heads/main`.
    pub reference: String,
    /// Who logs in.
    pub user: String,
    /// The token or password for https.
    pub token: Option<String>,
    /// mcpd's private SSH key.
    pub key: PathBuf,
    /// The pinned host keys.
    pub known_hosts: PathBuf,
    /// The most bytes that are fetched.
    pub most_bytes: usize,
    /// What to do.
    pub work: Work,
}

#[derive(Serialize, Deserialize)]
pub(super) enum Work {
    /// Bring what the branch is at into the mirror.
    Fetch,
    /// Move the branch from the one commit (nothing: there is no branch) to the other, which the mirror holds.
    Push { from: Option<String>, to: String },
}

/// A line of the process.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Told {
    /// It goes on: objects that came or went, of how many, and bytes.
    Progress { objects: usize, of: usize, bytes: usize },
    /// It is done.
    Done(Answer),
}

/// What came of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Answer {
    /// The branch is at this commit, which is in the mirror now; nothing: there is no such branch.
    At(Option<String>),
    /// The branch moved.
    Pushed,
    /// The branch is not at the commit that the push was made for: nothing was pushed.
    Elsewhere,
    /// The remote refuses the push, and says this.
    Refused(String),
    /// It failed; of a push nobody knows whether it landed.
    Failed(String),
}

/// A text of somebody else's as one clean line.
pub(super) fn clean(text: &str) -> String {
    let flat: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(500)
        .collect();
    flat.split_whitespace().collect::<Vec<_>>().join(" ")
}
