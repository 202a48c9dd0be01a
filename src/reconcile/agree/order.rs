//! What waits in the outbox, in the order in which it is written: no commit leaves a tree that no push can build on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::record::{Change, Rebase};
use crate::resource::{Document, Id, Reference, Tree, broken_references};

use super::plan::{Export, Seen};

/// What the repository will say, as far as it differs from what it says.
type Written<'a> = BTreeMap<&'a Id, Option<&'a Arc<Document>>>;

/// What may be written, and in which order.
#[derive(Default)]
pub(super) struct Ordered {
    /// The exports, each with what may be written then.
    pub(super) exports: Vec<Export>,
    /// Changes that can't be written and that a later one of the same resource takes the place of.
    pub(super) skipped: Vec<Rebase>,
}

/// The exports of these resources. What would leave a reference unmet is passed over where a later change of the same
/// resource waits, else it is held, and later changes with it: commits tell the order of changes.
pub(super) fn exports(seen: &Seen<'_>, exported: &BTreeSet<Id>, held: &mut BTreeMap<Id, String>) -> Ordered {
    let mut out = Ordered::default();
    let mut written = Written::new();
    let mut blocked: BTreeSet<Id> = BTreeSet::new();
    for (at, row) in seen.store.outbox.iter().enumerate() {
        let writes = |change: &&Change| exported.contains(&change.id) && !blocked.contains(&change.id);
        let mut changes: BTreeMap<&Id, &Change> = row
            .changes
            .iter()
            .filter(writes)
            .map(|change| (&change.id, change))
            .collect();
        loop {
            let back = unmet(seen.tree, &changes, &written);
            if back.is_empty() {
                break;
            }
            for (id, why) in back {
                let Some(change) = changes.remove(&id) else { continue };
                let later = seen.store.outbox.iter().skip(at + 1);
                let mut later = later.flat_map(|row| row.changes.iter().map(|change| (row.revision, change)));
                match later.find(|(_, change)| change.id == id) {
                    Some(next) => out.skipped.extend(skip((row.revision, change), next)),
                    None => drop(held.insert(id.clone(), why)),
                }
                blocked.insert(id);
            }
        }
        written.extend(changes.iter().map(|(id, change)| (*id, change.after.as_ref())));
        if !changes.is_empty() {
            let ids = row
                .changes
                .iter()
                .map(|change| &change.id)
                .filter(|id| changes.contains_key(id));
            out.exports.push(Export {
                revision: row.revision,
                ids: ids.cloned().collect(),
            });
        }
    }
    out
}

/// A change that changes nothing, and the next one in its place.
fn skip((revision, change): (u64, &Change), (later, next): (u64, &Change)) -> [Rebase; 2] {
    let moved = |revision, after: &Option<Arc<Document>>| Rebase {
        revision,
        change: Change {
            id: change.id.clone(),
            before: change.before.clone(),
            after: after.clone(),
        },
        note: None,
    };
    [moved(revision, &change.before), moved(later, &next.after)]
}

/// The changes of one commit, on top of what was written before it, after which something would name what is not there.
fn unmet(tree: &Tree, changes: &BTreeMap<&Id, &Change>, before: &Written<'_>) -> Vec<(Id, String)> {
    let resulting = |id: &Id| match (changes.get(id), before.get(id)) {
        (Some(change), _) => change.after.as_ref(),
        (None, Some(document)) => *document,
        (None, None) => tree.documents.get(id).map(|placed| &placed.document),
    };
    // What can't be told is not missing, by the rule by which a tree is put together.
    let bears = |bytes: &Arc<[u8]>, id: &Id| memchr::memmem::find(bytes, id.name.as_str().as_bytes()).is_some();
    let unknown = |id: &Id| {
        let mut unreadable = tree.unreadable.iter().filter(|it| it.id.is_none());
        tree.held.contains(id) || unreadable.any(|it| it.bytes.as_ref().is_some_and(|bytes| bears(bytes, id)))
    };
    // What stays as it is was not met before either.
    let moving = changes.values().filter(|change| change.before != change.after);
    let coming = moving.filter_map(|change| change.after.as_deref());
    let broken = broken_references(coming, |target| resulting(target).is_some() || unknown(target));
    let mut back: Vec<(Id, String)> = broken
        .into_iter()
        .map(|(id, reference)| {
            (
                id,
                format!("{} {} is not in the repository", reference.kind, reference.name),
            )
        })
        .collect();
    let gone: BTreeSet<&Id> = changes
        .values()
        .filter(|change| change.after.is_none())
        .map(|change| &change.id)
        .collect();
    // Only where something goes can a document that stays lose what it names.
    if !gone.is_empty() {
        let ids: BTreeSet<&Id> = tree
            .documents
            .keys()
            .chain(before.keys().copied())
            .chain(changes.keys().copied())
            .collect();
        for (id, document) in ids.into_iter().filter_map(|id| Some((id, resulting(id)?))) {
            let targets = document.references();
            let lost = targets
                .iter()
                .filter_map(Reference::target)
                .filter(|target| gone.contains(target));
            back.extend(lost.map(|target| (target, format!("{id} in the repository needs it"))));
        }
    }
    back
}
