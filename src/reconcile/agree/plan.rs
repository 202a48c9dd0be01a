//! From what was seen to what is to be done: the table applied to every resource, references kept whole.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::kit::time::Timestamp;
use crate::record::{Actor, ById, Conflict, Event, Import, ImportChange, Rebase, Row, Settle, StoreView};
use crate::resource::{Document, FieldChange, Id, Tree, field_changes};

use super::guard::MassDelete;
use super::held::Holds;
use super::step::{Step, Views};
use super::{whole, write};

/// The repository and the store at one instant.
#[derive(Debug)]
pub struct Seen<'a> {
    /// What the repository declares at its head.
    pub tree: &'a Tree,
    /// The head: a commit id, or in a folder a digest.
    pub head: &'a str,
    /// The store.
    pub store: &'a StoreView,
    /// For each row of the outbox with a recorded attempt, by revision: whether that attempt is in the repository.
    pub landed: &'a BTreeMap<u64, bool>,
    /// The resources to look at, where all others are known to be as they were when a plan was empty: cost follows the
    /// change. Nothing looks at all of them. Where the tree has anything that can't be read all are looked at.
    pub only: Option<&'a BTreeSet<Id>>,
    /// Whether this very head waits for a person already: then it goes on waiting, whatever else is declared meanwhile.
    pub waits: bool,
    /// Whether a person allowed this head to delete most of what is declared.
    pub allow_mass_delete: bool,
    /// The time to write into records.
    pub now: Timestamp,
}

/// What became of an export that was under way when mcpd last looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovery {
    /// The row of the outbox.
    pub revision: u64,
    /// In the repository: settle it. Else the attempt is forgotten and made anew.
    pub landed: bool,
}

/// What one mutation is still to write into the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// The row of the outbox.
    pub revision: u64,
    /// The resources to write now; others of the same mutation may be held.
    pub ids: Vec<Id>,
}

/// What happens to a resource, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShownOp {
    /// It is new.
    Create,
    /// Its fields change.
    Change,
    /// It goes.
    Delete,
}

/// One resource that changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// What happens to it.
    pub op: ShownOp,
    /// Which resource.
    pub id: Id,
    /// What it was.
    pub from: Option<Arc<Document>>,
    /// What it will be.
    pub to: Option<Arc<Document>>,
    /// The file, line and head that it comes from; nothing where it goes from the store to the repository.
    pub source: Option<String>,
}

impl Shown {
    /// The fields that differ.
    #[must_use]
    pub fn fields(&self) -> Vec<FieldChange> {
        field_changes(self.from.as_deref(), self.to.as_deref())
    }
}

/// What is to be done so that both sides agree. Performing it is compare-and-set, step by step.
///
/// # Guarantees
/// The same `Seen` gives the same plan. A world in which a plan was performed gives an empty plan.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// Exports to settle or to forget first. Where there are any, nothing else is planned: look again.
    pub recover: Vec<Recovery>,
    /// Rows that the store takes.
    pub changes: Vec<ImportChange>,
    /// Ledger rows that move without a row.
    pub settle: Vec<Settle>,
    /// What lost against the store.
    pub conflicts: Vec<Conflict>,
    /// Changes of the outbox that are to be written on top of what the repository says now. Where there are any, look again
    /// before anything is exported.
    pub rebase: Vec<Rebase>,
    /// Resources that both sides changed and whose changes were brought together, each with what came from where.
    pub merged: BTreeMap<Id, String>,
    /// What the repository takes, in the order of the mutations.
    pub exports: Vec<Export>,
    /// Exports that need no commit any more, because the repository says the same or has the last word: part of the import.
    pub drops: Vec<Export>,
    /// Resources whose repository side can't be told, and why.
    pub held: BTreeMap<Id, String>,
    /// Set when deletions wait for a person; the whole import waits with them.
    pub guard: Option<MassDelete>,
    /// The store's revision at which its references were found whole, where the import depends on it.
    pub checked_at: Option<u64>,
    /// What changes in the store, then what changes in the repository.
    pub shown: Vec<Shown>,
    /// How many resources stay as they are.
    pub unchanged: usize,
}

impl Plan {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.recover.is_empty()
            && self.changes.is_empty()
            && self.settle.is_empty()
            && self.rebase.is_empty()
            && self.conflicts.is_empty()
            && self.exports.is_empty()
            && self.drops.is_empty()
    }

    /// The store's rows once the import has been performed: for the plan of what runs.
    #[must_use]
    pub fn outcome(&self, store: &StoreView) -> ById<Row> {
        let mut after = store.rows.clone();
        for change in &self.changes {
            let row = Row {
                document: change.after.clone(),
                revision: store.revision + 1,
            };
            after.insert(change.id.clone(), row);
        }
        after
    }

    /// Every resource that is not in agreement.
    #[must_use]
    pub fn ids(&self) -> BTreeSet<Id> {
        let exports = self.exports.iter().chain(&self.drops).flat_map(|export| &export.ids);
        let changes = self.changes.iter().map(|change| &change.id);
        let settle = self.settle.iter().map(|settle| &settle.id);
        let shown = self.shown.iter().map(|shown| &shown.id);
        let all = changes
            .chain(settle)
            .chain(shown)
            .chain(exports)
            .chain(self.held.keys());
        all.cloned().collect()
    }

    /// The import of this plan.
    #[must_use]
    pub fn import(&self, at: Timestamp, actor: Actor, message: String, commit: String, events: Vec<Event>) -> Import {
        Import {
            at,
            actor,
            message,
            commit,
            checked_at: self.checked_at,
            changes: self.changes.clone(),
            settle: self.settle.clone(),
            rebase: self.rebase.clone(),
            drops: self.drops.iter().map(|it| (it.revision, it.ids.clone())).collect(),
            conflicts: self.conflicts.clone(),
            events,
        }
    }
}

/// How the planner judges; only tests use anything but [`Rules::Sound`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rules {
    /// As it has to be.
    Sound,
    /// A planted fault: values, and not revisions, tell whether the store's side has moved.
    CompareValues,
    /// A planted fault: what can't be read is taken for an absence.
    UnreadableIsAbsent,
    /// A planted fault: what waits in the outbox is written as it was, and not on top of what was merged.
    RebaseNothing,
    /// A planted fault: what lost in a merge is not told.
    TellNothing,
    /// A planted fault: both sides are merged as if they had never agreed on anything.
    MergeWithoutBase,
}

/// The plan for what was seen.
#[must_use]
pub fn plan(seen: &Seen<'_>) -> Plan {
    plan_with(Rules::Sound, seen)
}

/// The plan by these rules.
pub fn plan_with(rules: Rules, seen: &Seen<'_>) -> Plan {
    let recover = recoveries(seen);
    if !recover.is_empty() {
        return Plan {
            recover,
            ..Plan::default()
        };
    }
    let holds = Holds::of(seen.tree, &seen.store.ledger);
    let mut steps = BTreeMap::new();
    let mut held = BTreeMap::new();
    let mut settle = vec![];
    let mut moving = 0;
    for id in ids(seen) {
        let views = Views::of(seen, id);
        let blind = rules == Rules::UnreadableIsAbsent;
        let path = views.ledger.map(|row| row.path.as_str());
        let why = if blind { None } else { holds.why(id, path) };
        match views.step(why.is_some(), rules) {
            Some(step) => {
                moving += usize::from(views.placed.is_some() && !matches!(step, Step::Settle));
                steps.insert(id.clone(), step);
            }
            None if why.is_some() => {
                moving += usize::from(views.placed.is_some());
                held.insert(id.clone(), why.unwrap_or_default());
            }
            None => settle.extend(views.elsewhere(seen.head, id)),
        }
    }
    whole::keep_references(seen, &mut steps, &mut held);
    let mut plan = write::out(seen, rules, &holds, steps, held);
    plan.settle.append(&mut settle);
    plan.unchanged = seen.tree.documents.len().saturating_sub(moving);
    plan
}

fn recoveries(seen: &Seen<'_>) -> Vec<Recovery> {
    let attempted = seen.store.outbox.iter().filter(|row| row.attempt.is_some());
    attempted
        .filter_map(|row| {
            seen.landed.get(&row.revision).map(|landed| Recovery {
                revision: row.revision,
                landed: *landed,
            })
        })
        .collect()
}

/// Every resource that a side, or what was agreed, knows of; or those that may have moved.
fn ids<'a>(seen: &'a Seen<'_>) -> BTreeSet<&'a Id> {
    let (tree, store) = (seen.tree, seen.store);
    if let Some(only) = seen.only.filter(|_| tree.unreadable.is_empty() && tree.held.is_empty()) {
        return only.iter().collect();
    }
    let named = tree.unreadable.iter().filter_map(|it| it.id.as_ref());
    tree.documents
        .keys()
        .chain(store.rows.keys())
        .chain(store.ledger.keys())
        .chain(named)
        .chain(&tree.held)
        .collect()
}
