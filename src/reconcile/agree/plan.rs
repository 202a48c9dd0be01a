//! From what was seen to what is to be done: the table applied to every resource, references kept whole.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::kit::time::Timestamp;
use crate::record::{Conflict, ImportChange, LedgerRow, PendingExport, Row, Settle, StoreView};
use crate::resource::{Document, FieldChange, Id, Placed, Reference, Tree, broken_references, field_changes};

use super::decide::{Base, Decision, RepositorySide, StoreSide, decide};
use super::guard::MassDelete;
use super::held::Holds;

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
    /// The fields that differ.
    pub fields: Vec<FieldChange>,
    /// The file, line and head that it comes from; nothing where it goes from the store to the repository.
    pub source: Option<String>,
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
    /// What the repository takes, in the order of the mutations.
    pub exports: Vec<Export>,
    /// Exports that need no commit any more, because the repository says the same or has the last word. To be performed
    /// after the import.
    pub drops: Vec<Export>,
    /// Resources whose repository side can't be told, and why.
    pub held: BTreeMap<Id, String>,
    /// Set when deletions wait for a person; the whole import waits with them.
    pub guard: Option<MassDelete>,
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
            && self.conflicts.is_empty()
            && self.exports.is_empty()
            && self.drops.is_empty()
    }

    /// What would be declared once the import has been performed: for the plan of what runs.
    #[must_use]
    pub fn outcome(&self, store: &StoreView) -> BTreeMap<Id, Arc<Document>> {
        let mut after: BTreeMap<Id, Arc<Document>> = store
            .rows
            .iter()
            .filter_map(|(id, row)| Some((id.clone(), row.document.clone()?)))
            .collect();
        for change in &self.changes {
            match &change.after {
                Some(document) => drop(after.insert(change.id.clone(), document.clone())),
                None => drop(after.remove(&change.id)),
            }
        }
        after
    }
}

/// How the planner judges; only tests use anything but [`SOUND`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// Whether the store's side has moved is told by its revision (sound) or by comparing values (a planted fault).
    pub(super) revisions: bool,
    /// Whether what can't be read is held (sound) or taken for an absence (a planted fault).
    pub(super) hold_unreadable: bool,
}

pub(super) const SOUND: Rules = Rules {
    revisions: true,
    hold_unreadable: true,
};

/// The plan for what was seen.
#[must_use]
pub fn plan(seen: &Seen<'_>) -> Plan {
    plan_with(SOUND, seen)
}

pub(super) fn plan_with(rules: Rules, seen: &Seen<'_>) -> Plan {
    let recover: Vec<Recovery> = seen
        .store
        .outbox
        .iter()
        .filter(|row| row.attempt.is_some())
        .filter_map(|row| {
            seen.landed.get(&row.revision).map(|landed| Recovery {
                revision: row.revision,
                landed: *landed,
            })
        })
        .collect();
    if !recover.is_empty() {
        return Plan {
            recover,
            ..Plan::default()
        };
    }
    let holds = Holds::of(seen.tree, &seen.store.ledger);
    let mut decisions = BTreeMap::new();
    let mut held = BTreeMap::new();
    let (tree, store) = (&seen.tree.documents, seen.store);
    let named = seen
        .tree
        .unreadable
        .iter()
        .filter_map(|it| it.id.as_ref())
        .chain(&seen.tree.held);
    let ids: BTreeSet<&Id> = tree
        .keys()
        .chain(store.rows.keys())
        .chain(store.ledger.keys())
        .chain(named)
        .collect();
    let mut unchanged = 0;
    let mut elsewhere = vec![];
    for id in ids {
        let ledger = store.ledger.get(id);
        let why = if rules.hold_unreadable {
            holds.why(id, ledger.map(|row| row.path.as_str()))
        } else {
            None
        };
        let repository = match (&why, tree.get(id)) {
            (Some(_), _) => RepositorySide::Held,
            (None, Some(placed)) => RepositorySide::Present(placed.digest),
            (None, None) => RepositorySide::Absent,
        };
        let decision = decide(
            base(ledger, rules, store.rows.get(id)),
            repository,
            side(store.rows.get(id)),
        );
        let decision = match decision {
            Decision::Settle if encrypted_anew(ledger, tree.get(id), store.rows.get(id)) => Decision::Export,
            other => other,
        };
        match decision {
            Decision::Nothing => {
                unchanged += usize::from(tree.contains_key(id));
                // The same document in another file: the ledger must know where it stands now.
                let moved = ledger
                    .zip(tree.get(id))
                    .filter(|(ledger, placed)| ledger.path != placed.path);
                if let Some((ledger, placed)) = moved {
                    let (commit, path) = (seen.head.to_owned(), placed.path.clone());
                    let ledger = Some(LedgerRow {
                        commit,
                        path,
                        ..ledger.clone()
                    });
                    elsewhere.push(Settle {
                        id: id.clone(),
                        seen: store.rows.get(id).map(|row| row.revision),
                        ledger,
                    });
                }
            }
            Decision::Held => drop(held.insert(id.clone(), why.unwrap_or_default())),
            _ => drop(decisions.insert(id.clone(), decision)),
        }
    }
    keep_references_whole(seen, &mut decisions, &mut held);
    keep_the_repository_whole(seen, &mut decisions, &mut held);
    let mut plan = write_out(seen, &holds, decisions, held, unchanged);
    plan.settle.append(&mut elsewhere);
    plan
}

/// Whether the store has the agreed values of a secret in a newer encryption than the repository: that is to be written,
/// though the values are the same.
fn encrypted_anew(ledger: Option<&LedgerRow>, placed: Option<&Placed>, row: Option<&Row>) -> bool {
    let (Some(ledger), Some(placed), Some(row)) = (ledger, placed, row) else {
        return false;
    };
    let ours = row.document.as_ref().and_then(|document| document.text.as_ref());
    ledger.digest == placed.digest
        && ledger.revision != row.revision
        && ours.is_some_and(|ours| placed.document.text.as_ref() != Some(ours))
}

fn base(ledger: Option<&LedgerRow>, rules: Rules, row: Option<&Row>) -> Option<Base> {
    let ledger = ledger?;
    let unmoved = row
        .and_then(|row| row.document.as_ref())
        .is_some_and(|d| d.digest() == ledger.digest);
    let revision = match row {
        Some(row) if !rules.revisions && unmoved => row.revision,
        _ => ledger.revision,
    };
    Some(Base {
        digest: ledger.digest,
        revision,
    })
}

fn side(row: Option<&Row>) -> StoreSide {
    match row {
        None => StoreSide::Never,
        Some(Row {
            document: None,
            revision,
        }) => StoreSide::Deleted { revision: *revision },
        Some(Row {
            document: Some(document),
            revision,
        }) => StoreSide::Present {
            revision: *revision,
            digest: document.digest(),
        },
    }
}

/// Holds every import that would leave a reference unmet in the store: the document that names, or the deletion of what
/// is named. One hold may cause another, so this goes on until nothing changes (each round holds at least one more).
fn keep_references_whole(seen: &Seen<'_>, decisions: &mut BTreeMap<Id, Decision>, held: &mut BTreeMap<Id, String>) {
    let moves = |d: &Decision| matches!(d, Decision::Import | Decision::ImportDeletion);
    while decisions.values().any(moves) {
        let resulting = |id: &Id| -> Option<&Arc<Document>> {
            match decisions.get(id) {
                Some(Decision::Import) => seen.tree.documents.get(id).map(|placed| &placed.document),
                Some(Decision::ImportDeletion) => None,
                _ => seen.store.rows.get(id)?.document.as_ref(),
            }
        };
        let ids: BTreeSet<&Id> = seen.store.rows.keys().chain(decisions.keys()).collect();
        let documents = ids.into_iter().filter_map(resulting).map(AsRef::as_ref);
        let mut newly = vec![];
        for (id, reference) in broken_references(documents, |target| resulting(target).is_some()) {
            let target: Option<Id> = format!("{}/{}", reference.kind, reference.name).parse().ok();
            let deleted = target.filter(|target| decisions.get(target) == Some(&Decision::ImportDeletion));
            if decisions.get(&id) == Some(&Decision::Import) {
                newly.push((id, format!("{} {} is not declared", reference.kind, reference.name)));
            } else if let Some(target) = deleted {
                newly.push((target, format!("{id} needs it")));
            }
        }
        if newly.is_empty() {
            return;
        }
        for (id, why) in newly {
            decisions.remove(&id);
            held.insert(id, why);
        }
    }
}

/// Holds the deletion of what a document of the repository names that stays as it is: the commit would leave a tree that
/// no push can build on.
fn keep_the_repository_whole(seen: &Seen<'_>, decisions: &mut BTreeMap<Id, Decision>, held: &mut BTreeMap<Id, String>) {
    use Decision::{Conflict, Export, ExportDeletion, ImportDeletion};
    if !decisions.values().any(|decision| *decision == ExportDeletion) {
        return;
    }
    let rewritten = |id: &Id| {
        matches!(
            decisions.get(id),
            Some(Export | ExportDeletion | Conflict | ImportDeletion)
        )
    };
    let mut needed = vec![];
    for (id, placed) in seen.tree.documents.iter().filter(|(id, _)| !rewritten(id)) {
        for target in placed.document.references().iter().filter_map(Reference::target) {
            if decisions.get(&target) == Some(&ExportDeletion) {
                needed.push((target, format!("{id} in the repository needs it")));
            }
        }
    }
    for (target, why) in needed {
        decisions.remove(&target);
        held.insert(target, why);
    }
}

fn write_out(
    seen: &Seen<'_>,
    holds: &Holds<'_>,
    decisions: BTreeMap<Id, Decision>,
    mut held: BTreeMap<Id, String>,
    mut unchanged: usize,
) -> Plan {
    let mut plan = Plan::default();
    let mut exported = BTreeSet::new();
    let mut deletions = vec![];
    let mut outgoing = vec![];
    for (id, decision) in decisions {
        let placed = seen.tree.documents.get(&id);
        let row = seen.store.rows.get(&id);
        let declared = row.and_then(|row| row.document.clone());
        let revision = row.map(|row| row.revision);
        let import = |after: Option<&Placed>| ImportChange {
            id: id.clone(),
            seen: revision,
            after: after.map(|placed| placed.document.clone()),
            path: after.map_or_else(String::new, |placed| placed.path.clone()),
        };
        let settle = |ledger: Option<LedgerRow>| Settle {
            id: id.clone(),
            seen: revision,
            ledger,
        };
        let ledger_of = |placed: &Placed, revision: u64| LedgerRow {
            digest: placed.digest,
            commit: seen.head.to_owned(),
            revision,
            path: placed.path.clone(),
        };
        match decision {
            Decision::Nothing | Decision::Held => {}
            Decision::Import => {
                plan.changes.push(import(placed));
                plan.shown.push(show(
                    &id,
                    declared.as_deref(),
                    placed.map(|p| p.document.as_ref()),
                    placed,
                    seen.head,
                ));
            }
            Decision::ImportDeletion => {
                deletions.push((import(None), show(&id, declared.as_deref(), None, None, seen.head)));
            }
            Decision::Settle => {
                plan.settle.push(settle(
                    placed
                        .zip(revision)
                        .map(|(placed, revision)| ledger_of(placed, revision)),
                ));
                unchanged += 1;
            }
            Decision::Forget => {
                plan.settle.push(settle(None));
            }
            Decision::Export | Decision::ExportDeletion | Decision::Conflict => {
                if decision == Decision::Conflict {
                    // The repository's side is marked as seen (its digest, no revision of the store's), in the same
                    // transaction as the record of what lost; what is left is then a plain export.
                    plan.settle.push(settle(placed.map(|placed| ledger_of(placed, 0))));
                    plan.conflicts.push(Conflict {
                        id: id.clone(),
                        base: None,
                        repository: placed.map(|placed| placed.document.clone()),
                        store: declared.clone(),
                        commit: seen.head.to_owned(),
                        place: placed.map(|placed| format!("{}:{}", placed.path, placed.position.line)),
                        at: seen.now,
                        revision: seen.store.revision,
                    });
                }
                let path = placed.map_or_else(|| id.canonical_path(), |placed| placed.path.clone());
                if holds.file(&path) {
                    held.insert(
                        id.clone(),
                        format!("{path} can't be read, so nothing is written into it"),
                    );
                    continue;
                }
                let theirs = placed.map(|placed| placed.document.as_ref());
                outgoing.push(Shown {
                    source: None,
                    ..show(&id, theirs, declared.as_deref(), None, seen.head)
                });
                exported.insert(id.clone());
            }
        }
    }
    // What is named goes after what names it.
    for (change, shown) in deletions.into_iter().rev() {
        plan.changes.push(change);
        plan.shown.push(shown);
    }
    plan.shown.extend(outgoing);
    let gone = plan.changes.iter().filter(|change| change.after.is_none()).count();
    let declared = seen.store.rows.values().filter(|row| row.document.is_some()).count();
    let empty = seen.tree.documents.is_empty() && seen.tree.unreadable.is_empty();
    if !seen.allow_mass_delete {
        plan.guard = MassDelete::check(gone, declared, empty);
    }
    // What waits in the outbox is written, waits on, or is not needed any more. The last is told from the state alone, so
    // that a crash between the import that made it needless and its removal leaves nothing behind.
    let parts = |of: &dyn Fn(&Id) -> bool| -> Vec<Export> {
        let part = |row: &PendingExport| Export {
            revision: row.revision,
            ids: row
                .changes
                .iter()
                .map(|change| change.id.clone())
                .filter(|id| of(id))
                .collect(),
        };
        seen.store
            .outbox
            .iter()
            .map(part)
            .filter(|export| !export.ids.is_empty())
            .collect()
    };
    plan.exports = parts(&|id| exported.contains(id));
    plan.drops = parts(&|id| !exported.contains(id) && !held.contains_key(id));
    plan.held = held;
    plan.unchanged = unchanged;
    plan
}

fn show(id: &Id, from: Option<&Document>, to: Option<&Document>, placed: Option<&Placed>, head: &str) -> Shown {
    let op = match (from, to) {
        (None, _) => ShownOp::Create,
        (_, None) => ShownOp::Delete,
        _ => ShownOp::Change,
    };
    let short: String = head.chars().take(7).collect();
    let source = match placed {
        Some(placed) => format!("{}:{}@{short}", placed.path, placed.position.line),
        None => short,
    };
    Shown {
        op,
        id: id.clone(),
        fields: field_changes(from, to),
        source: Some(source),
    }
}
