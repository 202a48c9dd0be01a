//! What a change writes, decided from the committed state alone: no database here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::kit::Digest;
use crate::kit::time::Timestamp;
use crate::record::{
    Actor, AuditEvent, Change, Decision, Edit, Import, ImportChange, LedgerRow, Mutation, PendingExport, Rebase, Row,
    StoreView,
};
use crate::resource::{Document, Id};

use super::batch::Batch;
use super::error::StoreError;

type Planned = Result<(Batch, Option<Mutation>), StoreError>;

/// A change through a door other than the repository: rows, and an outbox row that carries them there.
pub(super) fn edit(view: &StoreView, edit: Edit) -> Planned {
    let mut batch = Batch::default();
    check(view, edit.changes.iter().map(|change| (&change.id, change.seen)))?;
    unmoved(view, edit.checked_at, edit.changes.first().map(|change| &change.id))?;
    let revision = view.revision + 1;
    let mut changes = vec![];
    for change in edit.changes {
        let before = document(view, &change.id);
        if before != change.after {
            remember(&mut batch, view, &change.id, before.as_ref());
            // A tombstone stays until the repository has agreed to the deletion.
            let row = row(change.after.clone(), revision);
            batch.rows.insert(change.id.clone(), Some(row));
            changes.push(Change {
                id: change.id,
                before,
                after: change.after,
            });
        }
    }
    if changes.is_empty() {
        return Ok((Batch::default(), None));
    }
    batch.audit = audit(&changes, &edit.actor, edit.at, revision);
    let export = PendingExport {
        revision,
        at: edit.at,
        actor: edit.actor.clone(),
        message: edit.message.clone(),
        changes: changes.clone(),
        notes: vec![],
        attempt: None,
    };
    batch.outbox.insert(revision, Some(export));
    let mutation = Mutation {
        revision,
        at: edit.at,
        actor: edit.actor,
        message: edit.message,
        changes,
        commit: None,
    };
    batch.mutation = Some(mutation.clone());
    Ok((batch, Some(mutation)))
}

/// What the repository says: rows with their ledger rows, ledger rows alone, conflicts and events.
pub(super) fn import(view: &StoreView, import: Import) -> Planned {
    let from_repository = import.changes.iter().map(|change| (&change.id, change.seen));
    check(
        view,
        from_repository.chain(import.settle.iter().map(|settle| (&settle.id, settle.seen))),
    )?;
    unmoved(view, import.checked_at, import.changes.first().map(|change| &change.id))?;
    let mut batch = Batch::default();
    let revision = view.revision + 1;
    let mut changes = vec![];
    let mut left_to_write = vec![];
    for change in import.changes {
        let before = document(view, &change.id);
        let ImportChange {
            id,
            after,
            digest,
            path,
            merged_with,
            ..
        } = change;
        let ledger = |revision| LedgerRow {
            digest,
            commit: import.commit.clone(),
            revision,
            path: path.clone(),
            document: None,
        };
        match (&after, merged_with) {
            (Some(_), Some(theirs)) => {
                batch.rows.insert(id.clone(), Some(row(after.clone(), revision)));
                // Revision 0 is none of the store's: the row has moved, and what it became is still to be written.
                let seen = LedgerRow {
                    document: Some(Arc::clone(&theirs)),
                    ..ledger(0)
                };
                batch.ledger.insert(id.clone(), Some(seen));
                let waits = |export: &PendingExport| export.changes.iter().any(|waiting| waiting.id == id);
                if !view.outbox.iter().any(waits) {
                    left_to_write.push(Change {
                        id: id.clone(),
                        before: Some(theirs),
                        after: after.clone(),
                    });
                }
            }
            (Some(_), None) => {
                let row_revision = if before == after {
                    // It is so already: the row stays, and the ledger says since which commit both agree.
                    view.rows.get(&id).map_or(revision, |row| row.revision)
                } else {
                    batch.rows.insert(id.clone(), Some(row(after.clone(), revision)));
                    revision
                };
                batch.ledger.insert(id.clone(), Some(ledger(row_revision)));
            }
            (None, _) => {
                if view.rows.contains_key(&id) {
                    batch.rows.insert(id.clone(), None);
                }
                if view.ledger.contains_key(&id) {
                    batch.ledger.insert(id.clone(), None);
                }
            }
        }
        if before != after {
            changes.push(Change { id, before, after });
        }
    }
    for settle in import.settle {
        if settle.ledger.is_none() && view.rows.get(&settle.id).is_some_and(|row| row.document.is_none()) {
            batch.rows.insert(settle.id.clone(), None);
        }
        if settle.ledger.as_ref() != view.ledger.get(&settle.id) {
            batch.ledger.insert(settle.id, settle.ledger);
        }
    }
    rebase(&mut batch, view, import.rebase);
    for (revision, ids) in import.drops {
        if let Some(export) = pending(view, revision) {
            let moved = batch.outbox.get(&revision).cloned().flatten();
            leave(&mut batch, moved.as_ref().unwrap_or(export), &ids.into_iter().collect());
        }
    }
    batch.new_conflicts = import.conflicts;
    batch.events = import.events;
    if changes.is_empty() {
        return Ok((batch, None));
    }
    batch.audit = audit(&changes, &import.actor, import.at, revision);
    if !left_to_write.is_empty() {
        let export = PendingExport {
            revision,
            at: import.at,
            actor: import.actor.clone(),
            message: format!("merge {}", crate::kit::count(left_to_write.len(), "resource")),
            changes: left_to_write,
            notes: vec![],
            attempt: None,
        };
        batch.outbox.insert(revision, Some(export));
    }
    let mutation = Mutation {
        revision,
        at: import.at,
        actor: import.actor,
        message: import.message,
        changes,
        commit: Some(import.commit),
    };
    batch.mutation = Some(mutation.clone());
    Ok((batch, Some(mutation)))
}

/// A new source: nothing was agreed on with it, and everything in force is to be written into it by one mutation.
pub(super) fn new_epoch(view: &StoreView, actor: Actor, at: Timestamp) -> (Batch, Option<Mutation>) {
    let mut batch = Batch::default();
    let revision = view.revision + 1;
    // A deletion that is not written yet stays one: the row is a tombstone, and what it deleted is known.
    let waits = |id: &Id, row: &Row| row.document.is_none() && view.ledger.contains_key(id);
    for id in view.ledger.keys() {
        if !view.rows.get(id).is_some_and(|row| waits(id, row)) {
            batch.ledger.insert(id.clone(), None);
        }
    }
    // Older mutations are written by the new one: their commits belong to the repository that was left.
    for export in &view.outbox {
        batch.outbox.insert(export.revision, None);
    }
    let mut changes = vec![];
    for (id, now) in view.rows.iter() {
        if now.document.is_none() && !waits(id, now) {
            batch.rows.insert(id.clone(), None);
            continue;
        }
        batch.rows.insert(id.clone(), Some(row(now.document.clone(), revision)));
        let agreed = view.ledger.get(id).and_then(|ledger| ledger.document.clone());
        changes.push(Change {
            id: id.clone(),
            before: agreed.filter(|_| now.document.is_none()),
            after: now.document.clone(),
        });
    }
    if changes.is_empty() {
        return (batch, None);
    }
    let message = format!(
        "begin a new history: write {}",
        crate::kit::count(changes.len(), "resource")
    );
    let export = PendingExport {
        revision,
        at,
        actor: actor.clone(),
        message: message.clone(),
        changes: changes.clone(),
        notes: vec![],
        attempt: None,
    };
    batch.outbox.insert(revision, Some(export));
    let mutation = Mutation {
        revision,
        at,
        actor,
        message,
        changes,
        commit: None,
    };
    batch.mutation = Some(mutation.clone());
    (batch, Some(mutation))
}

/// The same values in another encryption.
pub(super) fn refresh(view: &StoreView, documents: Vec<(u64, Arc<Document>)>) -> Batch {
    let mut batch = Batch::default();
    for (revision, document) in documents {
        let same = |row: &Row| {
            row.revision == revision
                && row
                    .document
                    .as_ref()
                    .is_some_and(|now| now.spec == document.spec && now.text != document.text)
        };
        if view.rows.get(&document.id).is_some_and(same) {
            batch
                .rows
                .insert(document.id.clone(), Some(row(Some(document), revision)));
        }
    }
    batch
}

/// Commits that have other ids now, with small facts that are written with them.
pub(super) fn rename_commits(
    view: &StoreView,
    renamed: BTreeMap<String, String>,
    facts: BTreeMap<String, Option<String>>,
) -> Batch {
    let mut batch = Batch {
        facts,
        ..Batch::default()
    };
    for (id, ledger) in view.ledger.iter() {
        if let Some(new) = renamed.get(&ledger.commit) {
            let ledger = LedgerRow {
                commit: new.clone(),
                ..ledger.clone()
            };
            batch.ledger.insert(id.clone(), Some(ledger));
        }
    }
    for export in &view.outbox {
        if let Some(new) = export.attempt.as_ref().and_then(|attempt| renamed.get(attempt)) {
            let export = PendingExport {
                attempt: Some(new.clone()),
                ..export.clone()
            };
            batch.outbox.insert(export.revision, Some(export));
        }
    }
    batch.renamed = renamed;
    batch
}

/// Keeps what was agreed on while the row says something else: without it nobody could tell what each side changed.
fn remember(batch: &mut Batch, view: &StoreView, id: &Id, before: Option<&Arc<Document>>) {
    let Some(ledger) = view.ledger.get(id).filter(|ledger| ledger.document.is_none()) else {
        return;
    };
    if let Some(agreed) = before.filter(|before| before.digest() == ledger.digest) {
        let ledger = LedgerRow {
            document: Some(Arc::clone(agreed)),
            ..ledger.clone()
        };
        batch.ledger.insert(id.clone(), Some(ledger));
    }
}

/// Puts waiting changes on top of what the repository says now.
fn rebase(batch: &mut Batch, view: &StoreView, moved: Vec<Rebase>) {
    for Rebase { revision, change, note } in moved {
        let Some(export) = pending(view, revision) else {
            continue;
        };
        let export = batch.outbox.entry(revision).or_insert_with(|| Some(export.clone()));
        let Some(export) = export else { continue };
        if let Some(waiting) = export.changes.iter_mut().find(|waiting| waiting.id == change.id) {
            *waiting = change;
            export.notes.extend(note);
        }
    }
}

/// The mark of an export under way.
pub(super) fn record_attempt(view: &StoreView, revision: u64, attempt: Option<String>) -> Result<Batch, StoreError> {
    let export = pending(view, revision).ok_or(StoreError::NoExport(revision))?;
    let mut batch = Batch::default();
    if export.attempt != attempt {
        let export = PendingExport {
            attempt,
            ..export.clone()
        };
        batch.outbox.insert(revision, Some(export));
    }
    Ok(batch)
}

/// Changes of an export have landed.
pub(super) fn settle_export(
    view: &StoreView,
    revision: u64,
    written: Vec<(Id, Option<(Digest, String)>)>,
    commit: &str,
) -> Batch {
    let mut batch = Batch::default();
    let Some(export) = pending(view, revision) else {
        return batch;
    };
    let waiting: BTreeSet<&Id> = export.changes.iter().map(|change| &change.id).collect();
    let mut done = BTreeSet::new();
    for (id, landed) in written {
        if !waiting.contains(&id) {
            continue;
        }
        if let Some((digest, path)) = landed {
            let written = export.changes.iter().find(|change| change.id == id);
            let written = written.and_then(|change| change.after.clone());
            // The row may have moved on, or may have been written again with the same: a merge makes a revision.
            let row = view.rows.get(&id).filter(|row| row.document.is_some());
            let same = row.filter(|row| row.document == written).map(|row| row.revision);
            let ledger = LedgerRow {
                digest,
                commit: commit.to_owned(),
                revision: same.unwrap_or(revision),
                path,
                document: written.filter(|_| same.is_none()),
            };
            batch.ledger.insert(id.clone(), Some(ledger));
        } else {
            // The repository holds it no more, whatever the row has become since. A row that was written again
            // is newer than what was agreed and has an export of its own; only this deletion's tombstone goes.
            if view.ledger.contains_key(&id) {
                batch.ledger.insert(id.clone(), None);
            }
            let tombstone = |row: &Row| row.document.is_none() && row.revision == revision;
            if view.rows.get(&id).is_some_and(tombstone) {
                batch.rows.insert(id.clone(), None);
            }
        }
        done.insert(id);
    }
    if leave(&mut batch, export, &done) {
        batch.landed = Some((revision, commit.to_owned()));
    }
    batch
}

/// Takes changes out of an outbox row; whether none is left (then the row goes).
fn leave(batch: &mut Batch, export: &PendingExport, done: &BTreeSet<Id>) -> bool {
    let changes: Vec<Change> = export
        .changes
        .iter()
        .filter(|change| !done.contains(&change.id))
        .cloned()
        .collect();
    if changes.len() == export.changes.len() {
        return false;
    }
    let none_left = changes.is_empty();
    // What is left was not part of the attempt that landed.
    let rest = PendingExport {
        changes,
        attempt: None,
        ..export.clone()
    };
    batch.outbox.insert(export.revision, (!none_left).then_some(rest));
    none_left
}

fn pending(view: &StoreView, revision: u64) -> Option<&PendingExport> {
    let place = view.outbox.binary_search_by_key(&revision, |export| export.revision);
    place.ok().and_then(|place| view.outbox.get(place))
}

fn document(view: &StoreView, id: &Id) -> Option<Arc<Document>> {
    view.rows.get(id).and_then(|row| row.document.clone())
}

fn row(document: Option<Arc<Document>>, revision: u64) -> Row {
    Row { document, revision }
}

/// Each resource once, and each row as it was seen.
fn check<'a>(view: &StoreView, seen: impl Iterator<Item = (&'a Id, Option<u64>)>) -> Result<(), StoreError> {
    let mut met = BTreeSet::new();
    for (id, seen) in seen {
        let found = view.rows.get(id).map(|row| row.revision);
        if !met.insert(id) {
            return Err(StoreError::Twice(id.clone()));
        }
        if found != seen {
            return Err(StoreError::Stale {
                id: id.clone(),
                seen,
                found,
            });
        }
    }
    Ok(())
}

/// The store is as it was when references were found whole.
fn unmoved(view: &StoreView, checked_at: Option<u64>, id: Option<&Id>) -> Result<(), StoreError> {
    match (checked_at, id) {
        (Some(seen), Some(id)) if seen != view.revision => Err(StoreError::Stale {
            id: id.clone(),
            seen: Some(seen),
            found: Some(view.revision),
        }),
        _ => Ok(()),
    }
}

/// One audit event for each resource that changed.
fn audit(changes: &[Change], actor: &Actor, at: Timestamp, revision: u64) -> Vec<AuditEvent> {
    let event = |change: &Change| {
        let verb = match (&change.before, &change.after) {
            (None, _) => "create",
            (Some(_), Some(_)) => "edit",
            (Some(_), None) => "delete",
        };
        AuditEvent {
            sequence: 0,
            at,
            actor: actor.name.clone(),
            door: actor.door.clone(),
            action: format!("{verb} {}", change.id),
            decision: Decision::Allowed,
            revision: Some(revision),
        }
    };
    changes.iter().map(event).collect()
}
