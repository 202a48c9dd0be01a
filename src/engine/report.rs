//! How things stand after a round, and what happened on the way.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::kit::Diagnostic;
use crate::kit::time::Timestamp;
use crate::record::{InstanceStatus, Live, State};
use crate::resource::{Id, Tree};
use crate::wire::{HeldResource, PlanBody, RuntimeStatus, SourceState, SourceStatus, StatusBody, Unclaimed};

use super::Parts;

/// How things stand.
#[derive(Debug, Clone)]
pub struct Report {
    /// The answer of `GET /api/v1/status`.
    pub status: StatusBody,
    /// What the repository declared when it was read last.
    pub tree: Arc<Tree>,
    /// The newest request for a round that this report answers.
    pub served: u64,
    /// Whether the repository has been read once.
    pub read: bool,
    /// Whether the head that was read does not follow the one that was agreed last.
    pub replaced: bool,
}

/// Something that those who watch are told at once.
#[derive(Debug, Clone)]
pub enum Happening {
    /// The repository moved, and this is what follows from it.
    Planned {
        /// The head that was read.
        head: String,
        /// What follows.
        plan: Arc<PlanBody>,
    },
    /// What the repository declares was taken over.
    Applied {
        /// The store's revision.
        revision: u64,
    },
    /// A mutation was written into the repository.
    Exported {
        /// The mutation.
        message: String,
        /// The commit, or in a folder a digest.
        commit: String,
    },
    /// An instance changed its state.
    Instance(InstanceStatus),
    /// Something went wrong that a person should know of; told once until it changes.
    Trouble(String),
}

impl Report {
    pub(super) fn first(parts: &Parts) -> Self {
        let status = StatusBody {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cluster: parts.cluster.clone(),
            runtime: RuntimeStatus {
                name: parts.runtime_name.to_owned(),
                available: true,
                reason: String::new(),
            },
            source: SourceStatus {
                kind: parts.source.kind().to_owned(),
                location: parts.location.clone(),
                head: None,
                state: SourceState::Pending,
                last_sync_at: None,
                last_error: None,
                pending_count: 0,
            },
            revision: parts.store.view().revision,
            resources: 0,
            conflicts: 0,
            held: vec![],
            diagnostics: vec![],
            instances: vec![],
            unclaimed: vec![],
            warnings: vec![],
            converged: false,
        };
        Self {
            status,
            tree: Arc::default(),
            served: 0,
            read: false,
            replaced: false,
        }
    }

    /// Whether nothing changes any more without time or people: both sides agree, and each instance runs or has failed.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let resting = |status: &InstanceStatus| matches!(status.state, State::Running | State::Error);
        self.read && self.status.source.pending_count == 0 && self.status.instances.iter().all(resting)
    }

    /// Works out `converged` from everything else.
    pub(super) fn conclude(&mut self) {
        let status = &mut self.status;
        let agreed = matches!(status.source.state, SourceState::Synced | SourceState::Empty);
        status.converged = agreed
            && status.source.pending_count == 0
            && status.held.is_empty()
            && status.conflicts == 0
            && status.instances.iter().all(|instance| instance.state == State::Running);
    }
}

/// What is held, for the status, each with what is wrong in its file.
pub(super) fn held(held: &BTreeMap<Id, String>, tree: &Tree) -> Vec<HeldResource> {
    held.iter()
        .map(|(id, why)| HeldResource {
            resource: id.to_string(),
            reason: why.clone(),
            diagnostic: cause(id, why, tree).cloned(),
        })
        .collect()
}

/// What is wrong in the file that holds a resource up: where its own document is wrong that, else the file's first fault.
fn cause<'a>(id: &Id, why: &str, tree: &'a Tree) -> Option<&'a Diagnostic> {
    let own = tree.unreadable.iter().filter(|it| it.id.as_ref() == Some(id));
    let mut files: Vec<&str> = own.map(|it| it.path.as_str()).collect();
    if files.is_empty() {
        let others = tree.unreadable.iter().filter(|it| it.id.is_none());
        let named = others.filter(|it| why.starts_with(&it.path));
        files.extend(named.map(|it| it.path.as_str()).max_by_key(|path| path.len()));
    }
    let of_file = || {
        let all = tree.diagnostics.iter();
        all.filter(|it| files.contains(&it.file.as_str()))
    };
    let name = id.to_string();
    of_file()
        .find(|it| it.message.contains(&name))
        .or_else(|| of_file().next())
}

/// What is left alone, for the status.
pub(super) fn unclaimed(lives: Vec<Live>) -> Vec<Unclaimed> {
    let one = |live: Live| Unclaimed {
        instance: live.instance,
        life: live.life,
        started: live.started,
    };
    lives.into_iter().map(one).collect()
}

/// Now, for fields of the report.
pub(super) fn now() -> Timestamp {
    crate::kit::time::now()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::{FileText, yaml};

    /// Whose declaration can't be used is told where it is wrong, and not where its neighbour is.
    #[test]
    fn what_is_held_has_its_place() {
        let files = [
            ("a.yaml", "kind: server\nname: a\ncommand: [x]\nreplica: 2\n"),
            (
                "b.yaml",
                "kind: server\nname: b\ncommand: [x]\n---\nkind: server\nname: c\ncommand: [x]\n",
            ),
            ("c.yaml", "kind: server\nname: c\ncommand: [x]\n"),
            ("d.yaml", "kind: server\nname: d\nargs: [\n"),
            ("p.yaml", "kind: project\nname: p\nservers: [nobody]\n"),
        ];
        let tree = Tree::assemble(files.map(|(path, text)| {
            Arc::new(yaml::read(&FileText {
                path: path.to_owned(),
                bytes: Ok(text.as_bytes().to_vec()),
            }))
        }));
        for (id, why, want) in [
            ("server/a", "a.yaml can't be used", Some("a.yaml:4:1")),
            ("server/c", "b.yaml can't be used", Some("c.yaml:2:")),
            ("server/d", "d.yaml can't be read", Some("d.yaml:")),
            ("server/moved", "d.yaml can't be read", Some("d.yaml:")),
            ("project/p", "p.yaml can't be used", Some("p.yaml:3:")),
            ("server/b", "project/p still needs it", None),
        ] {
            let all = BTreeMap::from([(id.parse().unwrap(), why.to_owned())]);
            let told = held(&all, &tree)[0].diagnostic.as_ref().map(Diagnostic::place);
            let begins = |place: &str| want.is_some_and(|want| place.starts_with(want));
            assert!(told.as_deref().map_or(want.is_none(), begins), "{id}: {told:?}");
        }
    }
}
