//! The steps written out: rows, ledger rows, records, exports, and what people are shown of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::kit::Digest;
use crate::record::{Change, Conflict, FieldPath, ImportChange, LedgerRow, PendingExport, Rebase, Settle};
use crate::resource::{Document, Id, Placed, field_changes};

use super::guard::MassDelete;
use super::held::Holds;
use super::merge::{Ancestor, merge};
use super::order;
use super::plan::{Export, Plan, Rules, Seen, Shown, ShownOp};
use super::step::{Lost, Step, Views};

/// The plan of these steps.
pub(super) fn out(
    seen: &Seen<'_>,
    rules: Rules,
    holds: &Holds<'_>,
    steps: BTreeMap<Id, Step>,
    mut held: BTreeMap<Id, String>,
) -> Plan {
    let mut plan = Plan::default();
    let mut exported = BTreeSet::new();
    let mut deletions = vec![];
    let mut outgoing = vec![];
    for (id, step) in steps {
        let one = One {
            seen,
            id: &id,
            views: Views::of(seen, &id),
        };
        match &step {
            Step::Import => {
                plan.changes
                    .push(one.change(one.views.placed.map(|placed| &placed.document), false));
                plan.shown
                    .push(one.incoming(one.views.placed.map(|placed| &placed.document)));
            }
            Step::ImportDeletion => deletions.push((one.change(None, false), one.incoming(None))),
            Step::Settle => {
                let agreed = one.views.placed.zip(one.views.row);
                let ledger = agreed.map(|(placed, row)| one.ledger(placed, row.revision));
                plan.settle.push(one.settle(ledger));
            }
            Step::Forget => plan.settle.push(one.settle(None)),
            Step::Export | Step::ExportDeletion => {}
            Step::Merge(merged) => {
                plan.changes.push(one.change(Some(&merged.document), true));
                plan.shown.push(one.incoming(Some(&merged.document)));
                let lost = (!merged.lost.is_empty()).then(|| Lost {
                    fields: merged.lost.clone(),
                    reason: None,
                });
                let conflict = lost.map(|lost| one.conflict(lost));
                if rules != Rules::RebaseNothing {
                    plan.rebase
                        .extend(one.rebase(Some(&merged.document), conflict.as_ref()));
                }
                plan.merged.insert(id.clone(), one.origins(&merged.document));
                plan.conflicts.extend(conflict);
            }
            Step::Keep(lost) => {
                // The repository's side is marked as seen (its digest, no revision of the store's), in the same
                // transaction as the record of what lost; what is left is then a plain export.
                let ledger = one.views.placed.map(|placed| LedgerRow {
                    document: Some(Arc::clone(&placed.document)),
                    ..one.ledger(placed, 0)
                });
                plan.settle.push(one.settle(ledger));
                let conflict = lost.clone().map(|lost| one.conflict(lost));
                if rules != Rules::RebaseNothing {
                    plan.rebase.extend(one.rebase(one.views.declared(), conflict.as_ref()));
                }
                plan.conflicts.extend(conflict);
            }
        }
        let after = match &step {
            Step::Export | Step::ExportDeletion | Step::Keep(_) => one.views.declared(),
            Step::Merge(merged) => Some(&merged.document),
            _ => continue,
        };
        let path = one
            .views
            .placed
            .map_or_else(|| id.canonical_path(), |placed| placed.path.clone());
        if holds.file(&path) {
            let why = format!("{path} can't be read, so nothing is written into it");
            held.insert(id.clone(), why);
            continue;
        }
        outgoing.push(one.outgoing(after));
        exported.insert(id.clone());
    }
    if rules == Rules::TellNothing {
        plan.conflicts.clear();
    }
    // What is named goes after what names it.
    for (change, shown) in deletions.into_iter().rev() {
        plan.changes.push(change);
        plan.shown.push(shown);
    }
    plan.shown.extend(outgoing);
    // A reference that came to be after this plan would lose its target by a deletion, and a document one that went.
    let depends = |change: &ImportChange| change.after.as_ref().is_none_or(|after| !after.references().is_empty());
    plan.checked_at = plan.changes.iter().any(depends).then_some(seen.store.revision);
    plan.guard = guard(seen, &plan.changes);
    let ordered = order::exports(seen, &exported, &mut held);
    plan.exports = ordered.exports;
    if rules != Rules::RebaseNothing && plan.rebase.is_empty() {
        plan.rebase = ordered.skipped;
    }
    // What waits in the outbox is written, waits on, or is not needed any more.
    plan.drops = parts(seen, |id| !exported.contains(id) && !held.contains_key(id));
    plan.held = held;
    plan
}

fn guard(seen: &Seen<'_>, changes: &[ImportChange]) -> Option<MassDelete> {
    let gone = changes.iter().filter(|change| change.after.is_none()).count();
    if gone == 0 || seen.allow_mass_delete {
        return None;
    }
    let declared = seen.store.rows.values().filter(|row| row.document.is_some()).count();
    let empty = seen.tree.documents.is_empty() && seen.tree.unreadable.is_empty();
    let waits = seen.waits.then_some(MassDelete {
        deletions: gone,
        declared,
    });
    MassDelete::check(gone, declared, empty).or(waits)
}

/// The part of each outbox row whose resources fulfil something.
fn parts(seen: &Seen<'_>, of: impl Fn(&Id) -> bool) -> Vec<Export> {
    let part = |row: &PendingExport| Export {
        revision: row.revision,
        ids: row
            .changes
            .iter()
            .map(|change| change.id.clone())
            .filter(|id| of(id))
            .collect(),
    };
    let outbox = seen.store.outbox.iter();
    outbox.map(part).filter(|export| !export.ids.is_empty()).collect()
}

/// One resource with its three views.
struct One<'a> {
    seen: &'a Seen<'a>,
    id: &'a Id,
    views: Views<'a>,
}

impl One<'_> {
    fn revision(&self) -> Option<u64> {
        self.views.row.map(|row| row.revision)
    }

    /// The row becomes this: what the repository says, or what both sides come to.
    fn change(&self, after: Option<&Arc<Document>>, merged: bool) -> ImportChange {
        let placed = self.views.placed;
        ImportChange {
            id: self.id.clone(),
            seen: self.revision(),
            after: after.map(Arc::clone),
            digest: placed.map_or_else(|| Digest::of(""), |placed| placed.digest),
            path: placed
                .filter(|_| after.is_some())
                .map_or_else(String::new, |placed| placed.path.clone()),
            merged_with: placed.filter(|_| merged).map(|placed| Arc::clone(&placed.document)),
        }
    }

    fn settle(&self, ledger: Option<LedgerRow>) -> Settle {
        Settle {
            id: self.id.clone(),
            seen: self.revision(),
            ledger,
        }
    }

    fn ledger(&self, placed: &Placed, revision: u64) -> LedgerRow {
        LedgerRow {
            digest: placed.digest,
            commit: self.seen.head.to_owned(),
            revision,
            path: placed.path.clone(),
            document: None,
        }
    }

    fn conflict(&self, lost: Lost) -> Conflict {
        let placed = self.views.placed;
        Conflict {
            number: 0,
            id: self.id.clone(),
            base: self.views.agreed().cloned(),
            repository: placed.map(|placed| Arc::clone(&placed.document)),
            store: self.views.declared().cloned(),
            fields: lost.fields,
            reason: lost.reason,
            commit: self.seen.head.to_owned(),
            place: placed.map(|placed| format!("{}:{}", placed.path, placed.position.line)),
            at: self.seen.now,
            revision: self.seen.store.revision,
        }
    }

    /// The waiting changes of this resource, each with what it does on top of what the repository says now: a commit must
    /// not take back what it does not tell of. The last one writes what both sides come to.
    fn rebase(&self, last: Option<&Arc<Document>>, conflict: Option<&Conflict>) -> Vec<Rebase> {
        let waiting: Vec<(u64, &Change)> = self
            .seen
            .store
            .outbox
            .iter()
            .flat_map(|row| row.changes.iter().map(|change| (row.revision, change)))
            .filter(|(_, change)| change.id == *self.id)
            .collect();
        let mut now = self.views.placed.map(|placed| Arc::clone(&placed.document));
        let mut out = vec![];
        for (n, (revision, change)) in waiting.iter().enumerate() {
            let is_last = n + 1 == waiting.len();
            let after = match (is_last, &now, &change.after) {
                (true, _, _) => last.map(Arc::clone),
                (_, Some(now), Some(after)) => {
                    let ancestor = change.before.as_deref().map_or(Ancestor::Nothing, Ancestor::Known);
                    Some(merge(ancestor, now, after).map_or_else(|_| Arc::clone(now), |merged| merged.document))
                }
                (_, None, after) => after.clone(),
                // Deleted and made again: the last change says what remains.
                (_, now, None) => now.clone(),
            };
            let change = Change {
                id: self.id.clone(),
                before: now,
                after: after.clone(),
            };
            let note = conflict.filter(|_| is_last).map(note);
            out.push(Rebase {
                revision: *revision,
                change,
                note,
            });
            now = after;
        }
        out
    }

    /// What came from which side.
    fn origins(&self, merged: &Document) -> String {
        let from = |side: Option<&Arc<Document>>| {
            let changed = field_changes(self.views.agreed().map(AsRef::as_ref), side.map(AsRef::as_ref));
            let result = field_changes(side.map(AsRef::as_ref), Some(merged));
            let kept = changed
                .iter()
                .filter(|change| !result.iter().any(|lost| lost.path == change.path));
            let names: Vec<&str> = kept.map(|change| change.path.as_str()).take(8).collect();
            names.join(", ")
        };
        let repository = self.views.placed.map(|placed| &placed.document);
        format!(
            "from the repository: {}; from the store: {}",
            from(repository),
            from(self.views.declared())
        )
    }

    fn incoming(&self, to: Option<&Arc<Document>>) -> Shown {
        let short: String = self.seen.head.chars().take(7).collect();
        let place = self.views.placed.filter(|_| to.is_some());
        let source = match place {
            Some(placed) => format!("{}:{}@{short}", placed.path, placed.position.line),
            None => short,
        };
        Shown {
            source: Some(source),
            ..self.shown(self.views.declared(), to)
        }
    }

    fn outgoing(&self, to: Option<&Arc<Document>>) -> Shown {
        self.shown(self.views.placed.map(|placed| &placed.document), to)
    }

    fn shown(&self, from: Option<&Arc<Document>>, to: Option<&Arc<Document>>) -> Shown {
        let op = match (from, to) {
            (None, _) => ShownOp::Create,
            (_, None) => ShownOp::Delete,
            _ => ShownOp::Change,
        };
        Shown {
            op,
            id: self.id.clone(),
            from: from.cloned(),
            to: to.cloned(),
            source: None,
        }
    }
}

/// What a commit tells of the edits that it was kept over.
fn note(conflict: &Conflict) -> String {
    let short: String = conflict.commit.chars().take(7).collect();
    let fields: Vec<String> = conflict.fields.iter().map(|path: &FieldPath| path.join(".")).collect();
    let what = match (&conflict.repository, fields.is_empty()) {
        (None, _) => "its deletion".to_owned(),
        (_, true) => "all of it".to_owned(),
        (_, false) => fields.join(", "),
    };
    format!("{}: kept over {short}: {what}", conflict.id)
}
