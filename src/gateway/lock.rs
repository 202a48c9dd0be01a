//! Which tools a project lets through, by its rules and by what was approved. Pure, and the one place that decides it: what
//! is not let through is in no list and leads nowhere.

use std::sync::Arc;

use crate::kit::Name;
use crate::mcp::lists::Entry;
use crate::resource::{Project, ToolLock, ToolPrefix, ToolRules, ToolsLock};

use super::names::Naming;

/// What becomes of an entry of a server's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is shown.
    Shown,
    /// A rule hides it.
    ByRule,
    /// Two servers have a tool or prompt of this name, and neither is shown.
    Clash,
    /// It waits for approval: it was never approved.
    Unapproved,
    /// It waits for approval: it is not what was approved.
    Changed,
    /// The same URI is shown already, of an earlier server.
    Taken,
}

/// What a project lets through.
#[derive(Debug, Clone)]
pub struct Rules {
    /// By name.
    pub tools: ToolRules,
    /// How the project names tools, which the patterns speak of.
    prefix: ToolPrefix,
    /// What was approved.
    lock: Arc<ToolsLock>,
}

impl Rules {
    /// Those of a project; nothing where it lets everything through.
    #[must_use]
    pub fn of(project: &Project, lock: &Arc<ToolsLock>) -> Option<Arc<Self>> {
        project.tools.shape().then(|| {
            Arc::new(Self {
                tools: project.tools.clone(),
                prefix: project.tool_prefix,
                lock: Arc::clone(lock),
            })
        })
    }

    /// Whether the patterns let a server's tool through, by the server's own name for it.
    #[must_use]
    pub fn let_through(&self, server: &Name, own: &str) -> bool {
        self.tools.let_through(&naming(self.prefix).of(server, own))
    }

    /// What becomes of a server's tool.
    #[must_use]
    pub fn verdict(&self, server: &Name, entry: &Entry) -> Verdict {
        if !self.let_through(server, &entry.key) {
            return Verdict::ByRule;
        }
        if self.tools.lock == ToolLock::Off {
            return Verdict::Shown;
        }
        let digest = entry.definition.as_ref().map(|definition| definition.digest);
        match self.lock.approved(server, &entry.key) {
            None => Verdict::Unapproved,
            approved if approved == digest => Verdict::Shown,
            Some(_) => Verdict::Changed,
        }
    }

    /// Whether both decide alike for the tools of these servers.
    pub fn agrees<'a>(&self, other: &Self, servers: impl IntoIterator<Item = &'a Name>) -> bool {
        self.tools == other.tools
            && self.prefix == other.prefix
            && (self.tools.lock == ToolLock::Off || self.lock.agrees(&other.lock, servers))
    }
}

/// How a project shows names.
#[must_use]
pub fn naming(prefix: ToolPrefix) -> Naming {
    match prefix {
        ToolPrefix::Server => Naming::Prefixed,
        ToolPrefix::None => Naming::Plain,
    }
}
