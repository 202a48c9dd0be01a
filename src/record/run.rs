//! Runs: looks at both sides that somebody asked for or that moved something, and what they did.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::kit::count;
use crate::kit::time::Timestamp;

/// How many causes one run names; further ones are counted with [`Run::asks`] alone.
const CAUSES: usize = 16;
/// How many revisions one run names; further ones are counted alone.
const REVISIONS: usize = 100;

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// It was asked for, and the loop has not come to it yet.
    Queued,
    /// The loop looks.
    Running,
    /// Both sides were looked at, and what could be done was done.
    Done,
    /// It goes on once a person has said a word, or another write has ended.
    Waiting,
    /// It could not be done, or mcpd ended before it was.
    Failed,
}

impl fmt::Display for RunState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Waiting => "waiting",
            Self::Failed => "failed",
        })
    }
}

/// Why a run was made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cause {
    /// What: `webhook github`, `sync`; where nobody asked `push`, `edit`, `repository` (it moved by other ways), `start`.
    pub trigger: String,
    /// Who: an actor's name; of a webhook whom the git server names. Empty where that is not known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by: String,
}

impl Cause {
    /// A cause with who it was.
    #[must_use]
    pub fn new(trigger: impl Into<String>, by: impl Into<String>) -> Self {
        Self {
            trigger: trigger.into(),
            by: by.into(),
        }
    }
}

/// What a look moved.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Did {
    /// Resources that were taken over from the repository; deletions too.
    pub imported: usize,
    /// Mutations that were written into the repository.
    pub exported: usize,
    /// Conflicts that came of it.
    pub conflicts: usize,
    /// The store's revisions that were made by importing or were exported: the first 100.
    pub revisions: Vec<u64>,
}

impl Did {
    /// Whether anything moved.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.imported == 0 && self.exported == 0 && self.conflicts == 0
    }

    /// Notes a revision.
    pub fn at_revision(&mut self, revision: u64) {
        if self.revisions.len() < REVISIONS && self.revisions.last() != Some(&revision) {
            self.revisions.push(revision);
        }
    }
}

/// `imported 3, exported 1, 2 conflicts`; `nothing to do` where nothing moved.
impl fmt::Display for Did {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counted = [("imported", self.imported), ("exported", self.exported)];
        let counted = counted.into_iter().filter(|(_, n)| *n > 0);
        let mut parts: Vec<String> = counted.map(|(word, n)| format!("{word} {n}")).collect();
        if self.conflicts > 0 {
            parts.push(count(self.conflicts, "conflict"));
        }
        if parts.is_empty() {
            parts.push("nothing to do".to_owned());
        }
        f.write_str(&parts.join(", "))
    }
}

/// One look of the control loop that somebody asked for or that moved something. The newest 1,000 are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Rises by one with every run. Text in JSON: what a webhook is answered with.
    #[serde(serialize_with = "as_text", deserialize_with = "from_text")]
    pub id: u64,
    /// How far it is.
    pub state: RunState,
    /// Why it was made; of several the first is what made it, the others joined while it was queued.
    pub causes: Vec<Cause>,
    /// How often it was asked for; 0 where it was made because something moved.
    pub asks: u64,
    /// When it was asked for first, or began where nobody asked.
    pub asked: Timestamp,
    /// When the loop came to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began: Option<Timestamp>,
    /// When it ended; of one that was cut off, when that was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// The head that was agreed on before it, where one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// The head after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// What it moved.
    #[serde(flatten)]
    pub did: Did,
    /// Why it waits or failed; what is held after it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

impl Run {
    /// A run that somebody asks for.
    #[must_use]
    pub fn queued(id: u64, cause: Cause, asked: Timestamp) -> Self {
        Self {
            id,
            state: RunState::Queued,
            causes: vec![cause],
            asks: 1,
            asked,
            began: None,
            ended: None,
            before: None,
            after: None,
            did: Did::default(),
            reason: String::new(),
        }
    }

    /// Somebody else asks for what is queued already.
    pub fn join(&mut self, cause: Cause) {
        self.asks = self.asks.saturating_add(1);
        if self.causes.len() < CAUSES && !self.causes.contains(&cause) {
            self.causes.push(cause);
        }
    }

    /// Whether it is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        !matches!(self.state, RunState::Queued | RunState::Running)
    }

    /// What became of it, in a line: what it did, and why it waits or failed.
    #[must_use]
    pub fn outcome(&self) -> String {
        let did = match self.state {
            RunState::Queued | RunState::Running => String::new(),
            // That nothing moved needs no word where the reason says why.
            RunState::Waiting | RunState::Failed if self.did.is_nothing() && !self.reason.is_empty() => String::new(),
            _ => self.did.to_string(),
        };
        let parts = [did.as_str(), self.reason.as_str()];
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        parts.join("; ")
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands fields over so")]
fn as_text<S: Serializer>(id: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

fn from_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queued() -> Run {
        Run::queued(7, Cause::new("sync", "admin"), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn what_became_of_it_in_a_line() {
        let did = |imported, exported, conflicts| Did {
            imported,
            exported,
            conflicts,
            revisions: vec![],
        };
        for (state, did, reason, want) in [
            (RunState::Queued, did(0, 0, 0), "", ""),
            (RunState::Running, did(0, 0, 0), "", ""),
            (RunState::Done, did(0, 0, 0), "", "nothing to do"),
            (
                RunState::Done,
                did(0, 0, 0),
                "1 resource held",
                "nothing to do; 1 resource held",
            ),
            (RunState::Done, did(3, 1, 0), "", "imported 3, exported 1"),
            (RunState::Done, did(0, 0, 1), "", "1 conflict"),
            (RunState::Done, did(1, 0, 2), "", "imported 1, 2 conflicts"),
            (RunState::Waiting, did(0, 0, 0), "the guard", "the guard"),
            (RunState::Failed, did(0, 2, 0), "no disk", "exported 2; no disk"),
        ] {
            let run = Run {
                state,
                did,
                reason: reason.to_owned(),
                ..queued()
            };
            assert_eq!(run.outcome(), want);
        }
    }

    #[test]
    fn who_joins_is_named_once_and_within_bounds() {
        let mut run = queued();
        run.join(Cause::new("sync", "admin"));
        run.join(Cause::new("webhook github", "ada"));
        assert_eq!((run.asks, run.causes.len()), (3, 2));
        for n in 0..100 {
            run.join(Cause::new("webhook github", format!("user-{n}")));
        }
        assert_eq!((run.asks, run.causes.len()), (103, CAUSES));
        let mut did = Did::default();
        (0..1_000).for_each(|n| did.at_revision(n / 2));
        assert_eq!((did.revisions.len(), did.revisions[1]), (REVISIONS, 1));
    }

    #[test]
    fn an_id_is_text_in_json() {
        let run = queued();
        let json = serde_json::to_value(&run).unwrap();
        assert_eq!(json["id"], "7");
        assert_eq!(json["imported"], 0);
        assert_eq!(serde_json::from_value::<Run>(json).unwrap(), run);
    }
}
