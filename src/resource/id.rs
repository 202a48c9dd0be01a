//! Identity: kind, scope and name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::kit::Name;

use super::kind::{KINDS, Kind, kind_named};

/// Where a name counts: everywhere, or in one project.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// No scope: one name space for the whole system.
    Global,
    /// Names within a project.
    Project(Name),
}

/// The identity of a resource. Written `server/time`, or `prompt/ops/old` in project ops.
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
    #[error("\"{0}\" is not of the form kind/name{scoped}", scoped = scoped_form())]
    Form(String),
    /// The kind's names count everywhere.
    #[error("\"{0}\" names a project, and {1} belong to none: write kind/name")]
    Unscoped(String, &'static str),
    /// A part is not a name.
    #[error(transparent)]
    Name(#[from] crate::kit::NotAName),
}

/// How a name within a project is written, with a kind that has such names.
fn scoped_form() -> String {
    let scoped = KINDS.iter().find(|kind| kind.scoped);
    scoped.map_or_else(String::new, |kind| {
        format!(" or, in a project, {}/project/name", kind.name)
    })
}

impl Id {
    /// The identity of a resource whose name counts everywhere.
    #[must_use]
    pub fn new(kind: &'static Kind, name: Name) -> Self {
        Self::scoped(kind, Scope::Global, name)
    }

    /// The identity of a resource. Only kinds that are `scoped` have names in a project.
    #[must_use]
    pub fn scoped(kind: &'static Kind, scope: Scope, name: Name) -> Self {
        debug_assert!(kind.scoped || scope == Scope::Global, "{kind:?} {scope:?} {name}");
        Self {
            kind: kind.place(),
            scope,
            name,
        }
    }

    /// The project in which the name counts.
    #[must_use]
    pub fn project(&self) -> Option<&Name> {
        match &self.scope {
            Scope::Global => None,
            Scope::Project(project) => Some(project),
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
        }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.scope {
            Scope::Global => write!(f, "{}/{}", self.kind().name, self.name),
            Scope::Project(project) => write!(f, "{}/{project}/{}", self.kind().name, self.name),
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
            [kind, name] => (kind, None, name),
            [kind, project, name] => (kind, Some(project), name),
            _ => return Err(form()),
        };
        let row = kind_named(kind).ok_or_else(|| NotAnId::Kind(kind.chars().take(80).collect()))?;
        let scope = match scope {
            None => Scope::Global,
            Some(project) if row.scoped => Scope::Project(project.parse()?),
            Some(_) => return Err(NotAnId::Unscoped(text.chars().take(200).collect(), row.plural)),
        };
        Ok(Self::scoped(row, scope, name.parse()?))
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
        for text in ["server/time", "project/demo", "prompt/old", "prompt/ops/old"] {
            assert_eq!(text.parse::<Id>().map(|id| id.to_string()).as_deref(), Ok(text));
        }
        let paths = ["prompt/old", "prompt/ops/old"].map(|text| text.parse::<Id>().map(|id| id.canonical_path()));
        assert_eq!(
            paths,
            [Ok("prompts/old.yaml".to_owned()), Ok("prompts/ops/old.yaml".to_owned())]
        );
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
            "prompt/@helper/old",
            "prompt/ops/old/er",
            "prompt//old",
            "",
        ] {
            assert!(bad.parse::<Id>().is_err(), "{bad}");
        }
    }
}
