//! Identity: kind, scope and name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::kit::Name;

use super::kind::{KINDS, Kind, kind_named};

/// Where a name counts: everywhere, in one project or in one agent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// No scope: one name space for the whole system.
    Global,
    /// Names within a project.
    Project(Name),
    /// Names within an agent.
    Agent(Name),
}

/// The identity of a resource. Written `server/time`, `prompt/ops/old` (project) or `prompt/@helper/old` (agent).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Id {
    /// The kind's place in the table of kinds, so that identities sort in apply order.
    kind: u8,
    /// The scope of the name.
    pub scope: Scope,
    /// The name within the scope.
    pub name: Name,
}

/// Why a text can't be an identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAnId {
    /// The kind is not in the table.
    #[error("no such kind: \"{0}\"; kinds are {kinds}", kinds = KINDS.iter().map(|k| k.name).collect::<Vec<_>>().join(", "))]
    Kind(String),
    /// The text has not the form `kind/name`.
    #[error("\"{0}\" is not of the form kind/name, kind/project/name or kind/@agent/name")]
    Form(String),
    /// A part is not a name.
    #[error(transparent)]
    Name(#[from] crate::kit::NotAName),
}

impl Id {
    /// The identity of an unscoped resource.
    #[must_use]
    pub fn new(kind: &'static Kind, name: Name) -> Self {
        Self {
            kind: kind.place(),
            scope: Scope::Global,
            name,
        }
    }

    /// The row of the kind in the table.
    #[must_use]
    pub fn kind(&self) -> &'static Kind {
        &KINDS[usize::from(self.kind)]
    }

    /// Where mcpd writes a resource that no file holds yet: `<plural>/<name>.yaml`, with the scope between.
    #[must_use]
    pub fn canonical_path(&self) -> String {
        let plural = self.kind().plural;
        match &self.scope {
            Scope::Global => format!("{plural}/{}.yaml", self.name),
            Scope::Project(project) => format!("{plural}/{project}/{}.yaml", self.name),
            Scope::Agent(agent) => format!("{plural}/@{agent}/{}.yaml", self.name),
        }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.scope {
            Scope::Global => write!(f, "{}/{}", self.kind().name, self.name),
            Scope::Project(project) => write!(f, "{}/{project}/{}", self.kind().name, self.name),
            Scope::Agent(agent) => write!(f, "{}/@{agent}/{}", self.kind().name, self.name),
        }
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Id {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let form = || NotAnId::Form(text.chars().take(200).collect());
        let parts: Vec<&str> = text.split('/').collect();
        let (kind, scope, name) = match parts[..] {
            [kind, name] => (kind, Scope::Global, name),
            [kind, scope, name] => match scope.strip_prefix('@') {
                Some(agent) => (kind, Scope::Agent(agent.parse()?), name),
                None => (kind, Scope::Project(scope.parse()?), name),
            },
            _ => return Err(form()),
        };
        let row = kind_named(kind).ok_or_else(|| NotAnId::Kind(kind.chars().take(80).collect()))?;
        if scope != Scope::Global && !row.scoped {
            return Err(form());
        }
        Ok(Self {
            kind: row.place(),
            scope,
            name: name.parse()?,
        })
    }
}

impl TryFrom<String> for Id {
    type Error = NotAnId;

    fn try_from(text: String) -> Result<Self, NotAnId> {
        text.parse()
    }
}

impl From<Id> for String {
    fn from(id: Id) -> Self {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_read_back() {
        for text in ["server/time", "project/demo"] {
            assert_eq!(text.parse::<Id>().map(|id| id.to_string()).as_deref(), Ok(text));
        }
        assert_eq!(
            "srv/time".parse::<Id>().map(|id| id.to_string()).as_deref(),
            Ok("server/time")
        );
        for bad in [
            "server",
            "server/",
            "server/a/b",
            "server/a/b/c",
            "nope/a",
            "server/A",
            "",
        ] {
            assert!(bad.parse::<Id>().is_err(), "{bad}");
        }
    }
}
