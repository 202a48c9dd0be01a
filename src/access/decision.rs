//! Principals, actions, and the decision.

use std::fmt;
use std::sync::Arc;

use crate::record::Actor;
use crate::resource::{Id, Kind};

use super::binding::Binding;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Principal {
    /// Holds every right.
    Admin {
        /// The name that is shown.
        name: String,
    },
    /// Holds what its bindings say.
    Bound {
        /// The name that is shown.
        name: String,
        /// Its rights.
        bindings: Arc<[Binding]>,
    },
    /// Showed no credential.
    Anonymous,
}

impl Principal {
    /// A stable text that no two principals share: sessions are bound to it.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::Admin { name } => format!("admin:{name}"),
            Self::Bound { name, .. } => format!("bound:{name}"),
            Self::Anonymous => "anonymous".to_owned(),
        }
    }

    /// The author of what this principal does through a door: `api`, `push`, `folder`.
    #[must_use]
    pub fn actor(&self, door: &str) -> Actor {
        Actor {
            name: self.to_string(),
            door: door.to_owned(),
        }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Admin { name } | Self::Bound { name, .. } => f.write_str(name),
            Self::Anonymous => f.write_str("anonymous"),
        }
    }
}

/// What is asked for.
#[derive(Debug, Clone)]
pub enum Action {
    /// Read the declarations and the state of a kind.
    View(&'static Kind),
    /// Declare a resource that is not there.
    Create(Id),
    /// Change a resource.
    Edit(Id),
    /// Remove a resource.
    Delete(Id),
    /// Use a server's or a project's MCP endpoint.
    Run(Id),
    /// Read the repository.
    Fetch,
    /// Open a push to the repository. Each change in it is an action of its own.
    Push,
    /// Change what lies in the repository's `.mcpctl/`: who secrets are encrypted for.
    Configure,
    /// Start a sync, approve a mass deletion or a new epoch.
    Sync,
    /// Go back to an earlier commit.
    Restore,
    /// Rewrite the history.
    Rewrite,
    /// Read the state of the whole: status, instances, events, conflicts, revisions.
    ViewStatus,
    /// Read what servers wrote to stderr.
    ViewLogs,
    /// Read who did what.
    ViewAudit,
}

impl fmt::Display for Action {
    /// The right that it needs, as a binding would say it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::View(kind) => write!(f, "view {}", kind.plural),
            Self::Create(id) => write!(f, "create {}", Right(id)),
            Self::Edit(id) => write!(f, "edit {}", Right(id)),
            Self::Delete(id) => write!(f, "delete {}", Right(id)),
            Self::Run(id) => write!(f, "run {}", Right(id)),
            Self::Fetch | Self::ViewStatus => f.write_str("view *"),
            Self::Push => f.write_str("create, edit or delete"),
            Self::Sync => f.write_str("run sync"),
            Self::Restore => f.write_str("run restore"),
            Self::ViewLogs => f.write_str("run logs"),
            Self::ViewAudit | Self::Configure | Self::Rewrite => f.write_str("edit *"),
        }
    }
}

/// A resource as a binding names it: `servers/time`.
struct Right<'a>(&'a Id);

impl fmt::Display for Right<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.0.kind().plural, self.0.name)
    }
}

/// Refused, with the right that is missing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{principal} may not: this needs `{right}`")]
pub struct Denied {
    /// Who asked.
    pub principal: String,
    /// The missing right.
    pub right: String,
}

/// The one decision. What no rule allows is refused.
///
/// # Errors
/// The principal lacks the right.
pub fn decide(principal: &Principal, action: &Action) -> Result<(), Denied> {
    let may = match principal {
        Principal::Admin { .. } => true,
        Principal::Bound { bindings, .. } => bindings.iter().any(|binding| binding.allows(action)),
        Principal::Anonymous => false,
    };
    if may {
        return Ok(());
    }
    Err(Denied {
        principal: principal.to_string(),
        right: action.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Role;
    use crate::resource::KINDS;

    #[test]
    fn the_admin_may_and_nobody_without_a_right() {
        let id: Id = "server/time".parse().expect("an identity");
        let mut actions = vec![
            (Action::Create(id.clone()), "create servers/time".to_owned()),
            (Action::Edit(id.clone()), "edit servers/time".to_owned()),
            (Action::Delete(id.clone()), "delete servers/time".to_owned()),
            (Action::Run(id), "run servers/time".to_owned()),
            (Action::Fetch, "view *".to_owned()),
            (Action::Push, "create, edit or delete".to_owned()),
            (Action::Configure, "edit *".to_owned()),
            (Action::Sync, "run sync".to_owned()),
            (Action::Restore, "run restore".to_owned()),
            (Action::Rewrite, "edit *".to_owned()),
            (Action::ViewStatus, "view *".to_owned()),
            (Action::ViewLogs, "run logs".to_owned()),
            (Action::ViewAudit, "edit *".to_owned()),
        ];
        actions.extend(
            KINDS
                .iter()
                .map(|kind| (Action::View(kind), format!("view {}", kind.plural))),
        );
        let admin = Principal::Admin {
            name: "admin".to_owned(),
        };
        for (action, right) in actions {
            assert_eq!(decide(&admin, &action), Ok(()));
            let denied = decide(&Principal::Anonymous, &action).expect_err("anonymous has no right");
            assert_eq!(denied.to_string(), format!("anonymous may not: this needs `{right}`"));
            let bound = |bindings: &[Binding]| Principal::Bound {
                name: "ann".to_owned(),
                bindings: bindings.into(),
            };
            let denied = decide(&bound(&[]), &action).expect_err("no binding is no right");
            assert_eq!(denied.to_string(), format!("ann may not: this needs `{right}`"));
            // Any one of several is enough.
            let one = [Binding::on(Role::View, "nothing"), Binding::on(Role::Edit, "*")];
            assert_eq!(decide(&bound(&one), &action), Ok(()));
        }
    }

    #[test]
    fn keys_differ_even_where_names_do_not() {
        let named = Principal::Admin {
            name: "anonymous".to_owned(),
        };
        assert_ne!(named.key(), Principal::Anonymous.key());
        let bound = Principal::Bound {
            name: "anonymous".to_owned(),
            bindings: [].into(),
        };
        assert_ne!(bound.key(), named.key());
        assert_eq!(named.actor("push").door, "push");
    }
}
