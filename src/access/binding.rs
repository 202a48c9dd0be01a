//! What a principal who is not the admin may do: a list of bindings, each `{role, resource, name?}` or
//! `{role: run, action}`. What no binding allows is refused.

use crate::resource::{Id, Kind};

use super::decision::Action;

/// What a binding allows to do with what it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// To read.
    View,
    /// To change; to read, create and delete too, but not to run.
    Edit,
    /// To declare what is not there.
    Create,
    /// To remove.
    Delete,
    /// To use: call a server's tools, have a secret's values given to a server.
    Run,
}

/// One right.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Binding {
    /// For the resources of a kind, or of all.
    Resource {
        /// What is allowed.
        role: Role,
        /// The plural of the kind; `*` is every one.
        resource: String,
        /// Which of them: `*` in it stands for any characters, `?` for one. Nothing is all, also those to come.
        name: Option<String>,
    },
    /// To do something that is no resource: `logs`, `sync`.
    Action {
        /// What.
        action: String,
    },
}

/// Every kind.
const ALL: &str = "*";

impl Binding {
    /// A role for all resources of a kind, by its plural, or of all kinds (`*`).
    #[must_use]
    pub fn on(role: Role, resource: &str) -> Self {
        Self::Resource {
            role,
            resource: resource.to_owned(),
            name: None,
        }
    }

    /// A role for the resources of a kind whose names are like this.
    #[must_use]
    pub fn named(role: Role, resource: &str, name: &str) -> Self {
        Self::Resource {
            role,
            resource: resource.to_owned(),
            name: Some(name.to_owned()),
        }
    }

    /// The right to do something that is no resource.
    #[must_use]
    pub fn to(action: &str) -> Self {
        Self::Action {
            action: action.to_owned(),
        }
    }

    /// Whether this right is enough for an action.
    pub(super) fn allows(&self, action: &Action) -> bool {
        let Self::Resource { role, resource, name } = self else {
            return match action {
                Action::Sync => self.is_to("sync"),
                Action::ViewLogs => self.is_to("logs"),
                Action::Restore => self.is_to("restore"),
                _ => false,
            };
        };
        if *role == Role::Edit && resource == ALL && name.is_none() {
            // `edit *` is admin and includes run.
            return true;
        }
        let for_one = |needed, id: &Id| role.includes(needed) && self.covers(id.kind(), Some(id.name.as_str()));
        match action {
            Action::View(kind) => role.includes(Role::View) && self.covers(kind, None),
            Action::Create(id) => for_one(Role::Create, id),
            Action::Edit(id) => for_one(Role::Edit, id),
            Action::Delete(id) => for_one(Role::Delete, id),
            Action::Run(id) => for_one(Role::Run, id),
            Action::Fetch | Action::ViewStatus => role.includes(Role::View) && resource == ALL && name.is_none(),
            // What is in the push decides; this only opens the door to those who may change anything at all.
            Action::Push => matches!(role, Role::Edit | Role::Create | Role::Delete),
            Action::Configure
            | Action::ViewAudit
            | Action::Rewrite
            | Action::Sync
            | Action::ViewLogs
            | Action::Restore => false,
        }
    }

    fn is_to(&self, what: &str) -> bool {
        matches!(self, Self::Action { action } if action == what)
    }

    /// Whether it is about a resource of this kind and name; without a name, whether about all of the kind.
    fn covers(&self, kind: &Kind, asked: Option<&str>) -> bool {
        let Self::Resource { resource, name, .. } = self else {
            return false;
        };
        let of_kind = resource == ALL || resource == kind.plural;
        of_kind
            && match (name, asked) {
                (None, _) => true,
                (Some(_), None) => false,
                (Some(pattern), Some(asked)) => is_like(asked.as_bytes(), pattern.as_bytes()),
            }
    }
}

impl Role {
    fn includes(self, needed: Self) -> bool {
        self == needed || self == Self::Edit && needed != Self::Run
    }
}

/// Whether a name is like a pattern. Linear in practice and never worse than the product of the lengths: a mismatch goes
/// back to the last `*` alone.
fn is_like(name: &[u8], pattern: &[u8]) -> bool {
    let (mut at, mut in_pattern) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while at < name.len() {
        match pattern.get(in_pattern) {
            Some(b'*') => {
                star = Some((at, in_pattern));
                in_pattern += 1;
            }
            Some(byte) if *byte == b'?' || *byte == name[at] => {
                at += 1;
                in_pattern += 1;
            }
            _ => match &mut star {
                Some((from, star_at)) => {
                    *from += 1;
                    at = *from;
                    in_pattern = *star_at + 1;
                }
                None => return false,
            },
        }
    }
    pattern[in_pattern..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::KINDS;

    #[test]
    fn patterns() {
        for (pattern, name, like) in [
            ("time", "time", true),
            ("time", "time-2", false),
            ("team-*", "team-a", true),
            ("team-*", "team-", true),
            ("team-*", "steam-a", false),
            ("*-prod", "a-prod", true),
            ("*-prod", "a-prod-b", false),
            ("a*b*c", "axxbyybzzc", true),
            ("a*b*c", "axxbyyb", false),
            ("t?me", "time", true),
            ("t?me", "tme", false),
            ("*", "", true),
            ("?", "", false),
            ("", "", true),
            ("", "a", false),
            ("**a", "bba", true),
        ] {
            assert_eq!(is_like(name.as_bytes(), pattern.as_bytes()), like, "{pattern} {name}");
        }
    }

    /// Every kind × what is done × the role that is held: a role is for what it says, and edit for all but run.
    #[test]
    fn kinds_and_operations_and_rights() {
        use Role::{Create, Delete, Edit, Run, View};
        for kind in KINDS {
            let id = Id::new(kind, "one".parse().expect("a name"));
            let other = Id::new(kind, "two".parse().expect("a name"));
            let actions = |id: &Id| {
                let id = || id.clone();
                [
                    (View, Action::View(kind)),
                    (Create, Action::Create(id())),
                    (Edit, Action::Edit(id())),
                    (Delete, Action::Delete(id())),
                    (Run, Action::Run(id())),
                ]
            };
            for role in [View, Edit, Create, Delete, Run] {
                for (needed, action) in actions(&id) {
                    let may = match role {
                        Edit => needed != Run,
                        other => other == needed,
                    };
                    let shown = format!("{role:?} {} for {action}", kind.plural);
                    assert_eq!(Binding::on(role, kind.plural).allows(&action), may, "{shown}");
                    // All kinds: the same, and edit is admin.
                    assert_eq!(Binding::on(role, "*").allows(&action), may || role == Edit, "* {shown}");
                    // For one name: not for the whole kind, which is what reading asks for.
                    let named = Binding::named(role, kind.plural, "o*");
                    assert_eq!(named.allows(&action), may && needed != View, "named {shown}");
                    assert!(!Binding::named(role, kind.plural, "x").allows(&action), "{shown}");
                    for elsewhere in KINDS.iter().filter(|it| it.plural != kind.plural) {
                        assert!(!Binding::on(role, elsewhere.plural).allows(&action), "{shown}");
                    }
                    assert!(
                        !Binding::on(role, kind.name).allows(&action),
                        "the plural is meant: {shown}"
                    );
                }
                for (_, action) in actions(&other).into_iter().skip(1) {
                    assert!(!Binding::named(role, kind.plural, "one").allows(&action));
                    // A name narrows `*` too: such an edit is not admin.
                    assert!(!Binding::named(role, "*", "one").allows(&action));
                }
            }
        }
    }

    #[test]
    fn what_is_no_resource() {
        let everything = Binding::on(Role::Edit, "*");
        let reading = Binding::on(Role::View, "*");
        let all_but_one = Binding::named(Role::Edit, "*", "*");
        let actions = [
            (Action::Fetch, true),
            (Action::ViewStatus, true),
            (Action::Push, false),
            (Action::Sync, false),
            (Action::ViewLogs, false),
            (Action::Restore, false),
            (Action::ViewAudit, false),
            (Action::Configure, false),
        ];
        for (action, reader) in actions {
            assert!(everything.allows(&action), "{action}");
            assert_eq!(reading.allows(&action), reader, "{action}");
            // A pattern that happens to be like every name is no word about the whole.
            assert_eq!(all_but_one.allows(&action), matches!(action, Action::Push), "{action}");
            assert_eq!(
                Binding::to("sync").allows(&action),
                matches!(action, Action::Sync),
                "{action}"
            );
            assert_eq!(
                Binding::to("logs").allows(&action),
                matches!(action, Action::ViewLogs),
                "{action}"
            );
            assert_eq!(
                Binding::to("restore").allows(&action),
                matches!(action, Action::Restore),
                "{action}"
            );
            assert!(!Binding::to("*").allows(&action), "{action}");
            assert!(!Binding::on(Role::Run, "*").allows(&action), "{action}");
        }
        for (role, pushes) in [
            (Role::Create, true),
            (Role::Delete, true),
            (Role::Edit, true),
            (Role::View, false),
            (Role::Run, false),
        ] {
            assert_eq!(Binding::on(role, "servers").allows(&Action::Push), pushes);
        }
    }
}
