//! Events (what happened) and audit events (who did or was refused what).

use serde::{Deserialize, Serialize};

use crate::kit::time::Timestamp;

/// How much an event matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Worth knowing.
    Info,
    /// Somebody should look.
    Warning,
}

/// Something happened to a resource, an instance or the repository. The newest 10,000 are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Rises by one with every event; 0 before it is stored.
    pub sequence: u64,
    /// When.
    pub at: Timestamp,
    /// How much it matters.
    pub level: Level,
    /// What it is about: `server/time`, `time/0`, `repository`.
    pub about: String,
    /// A word for machines, as `Started`, `Held`, `Conflict`, `Exited`.
    pub reason: String,
    /// A line for people.
    pub message: String,
}

impl Event {
    /// Whether it is about what a word names: `server/time` stands for its instances (`time/0`) too.
    #[must_use]
    pub fn is_about(&self, what: &str) -> bool {
        let of_server = || {
            let server = what.strip_prefix("server/")?;
            let index = self.about.strip_prefix(server)?.strip_prefix('/')?;
            Some(!index.is_empty() && index.bytes().all(|b| b.is_ascii_digit()))
        };
        self.about == what || of_server() == Some(true)
    }
}

/// Whether a request was let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// It was done.
    Allowed,
    /// It was refused.
    Denied,
}

/// A mutation or a refusal, and who asked for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEvent {
    /// Rises by one with every audit event; 0 before it is stored.
    pub sequence: u64,
    /// When.
    pub at: Timestamp,
    /// Who: an actor's name, or `anonymous`.
    pub actor: String,
    /// By which door: `api`, `push`, `folder`, `mcp`.
    pub door: String,
    /// What was asked for, as `edit server/time`.
    pub action: String,
    /// Whether it was let through.
    pub decision: Decision,
    /// The revision that it made, where it made one.
    pub revision: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_stands_for_its_instances() {
        for (about, what, want) in [
            ("server/time", "server/time", true),
            ("time/0", "server/time", true),
            ("time/0", "time/0", true),
            ("time-2/0", "server/time", false),
            ("time/0", "project/time", false),
            ("server/time", "time/0", false),
            ("project/0", "server/project", true),
            ("project/demo", "server/project", false),
            ("repository", "repository", true),
        ] {
            let event = Event {
                sequence: 1,
                at: Timestamp::UNIX_EPOCH,
                level: Level::Info,
                about: about.to_owned(),
                reason: String::new(),
                message: String::new(),
            };
            assert_eq!(event.is_about(what), want, "{about} and {what}");
        }
    }
}
