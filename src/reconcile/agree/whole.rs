//! No reference without its target: what would leave one is held, or is not merged.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::resource::{Document, Id, broken_references};

use super::plan::Seen;
use super::step::Step;

/// Holds every import that would leave a reference unmet in the store: the document that names, or the deletion of what
/// is named; and merges nothing that would. One hold may cause another, so this goes on until nothing changes (each round
/// takes at least one step back).
pub(super) fn keep_references(seen: &Seen<'_>, steps: &mut BTreeMap<Id, Step>, held: &mut BTreeMap<Id, String>) {
    loop {
        let resulting = |id: &Id| -> Option<&Arc<Document>> {
            match steps.get(id) {
                Some(Step::Import) => seen.tree.documents.get(id).map(|placed| &placed.document),
                Some(Step::ImportDeletion) => None,
                Some(Step::Merge(merged)) => Some(&merged.document),
                _ => seen.store.rows.get(id)?.document.as_ref(),
            }
        };
        let comes = |step: &Step| matches!(step, Step::Import | Step::Merge(_));
        let mut ids: BTreeSet<&Id> = steps.iter().filter(|(_, step)| comes(step)).map(|(id, _)| id).collect();
        // Only where something goes can a document that stays lose what it names.
        if steps.values().any(|step| *step == Step::ImportDeletion) {
            ids.extend(seen.store.rows.keys());
        }
        let documents = ids.into_iter().filter_map(resulting).map(AsRef::as_ref);
        let mut back = vec![];
        for (id, reference) in broken_references(documents, |target| resulting(target).is_some()) {
            let deleted = reference
                .target()
                .filter(|target| steps.get(target) == Some(&Step::ImportDeletion));
            let missing = || format!("{} {} is not declared", reference.kind, reference.name);
            match steps.get(&id) {
                Some(Step::Import) => back.push((id, None, missing())),
                Some(Step::Merge(_)) => back.push((id, Some(()), missing())),
                _ => back.extend(deleted.map(|target| (target, None, format!("{id} needs it")))),
            }
        }
        if back.is_empty() {
            return;
        }
        for (id, merged, why) in back {
            if merged.is_some() {
                steps.insert(
                    id,
                    Step::keep_whole(Some(format!(
                        "together the changes of both sides are not valid ({why})"
                    ))),
                );
            } else {
                steps.remove(&id);
                held.insert(id, why);
            }
        }
    }
}
