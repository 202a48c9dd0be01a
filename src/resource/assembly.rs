//! A tree that is brought along when files change, so that the cost follows the change.

use std::collections::BTreeSet;
use std::sync::Arc;

use rpds::RedBlackTreeMapSync;

use super::builtin::built_in;
use super::id::Id;
use super::tree::Tree;
use super::yaml::{Parsed, ParsedFile};

/// A tree with what is needed to bring it along.
#[derive(Debug, Clone, Default)]
pub struct Assembly {
    tree: Arc<Tree>,
    /// How many references name a resource; kept only while the tree is sound.
    named: RedBlackTreeMapSync<Id, usize>,
}

impl Assembly {
    /// Puts files together, see [`Tree::assemble`].
    #[must_use]
    pub fn of(files: Vec<Arc<ParsedFile>>) -> Self {
        let mut named = RedBlackTreeMapSync::default();
        let targets: Vec<Id> = files.iter().flat_map(|file| targets(&file.documents)).collect();
        let tree = Tree::assemble(files);
        if tree.is_sound() {
            targets.into_iter().for_each(|target| name(&mut named, target));
        }
        Self {
            tree: Arc::new(tree),
            named,
        }
    }

    /// What the files declare.
    #[must_use]
    pub fn tree(&self) -> &Arc<Tree> {
        &self.tree
    }

    /// The same after files went and others came: exactly what [`Assembly::of`] makes of `all` of them, which is asked for
    /// only where something is wrong before or after. A changed file went and came.
    ///
    /// Beside it, the resources whose declarations differ; nothing where what can't be used differs, so that any resource
    /// may be held or be free now.
    #[must_use]
    pub fn updated(
        &self,
        gone: &[Arc<ParsedFile>],
        new: &[Arc<ParsedFile>],
        all: impl FnOnce() -> Vec<Arc<ParsedFile>>,
    ) -> (Self, Option<BTreeSet<Id>>) {
        if let Some((next, ids)) = self.sound_update(gone, new) {
            return (next, Some(ids));
        }
        let next = Self::of(all());
        let (before, after) = (&self.tree, &next.tree);
        let same = before.held == after.held && before.unreadable == after.unreadable;
        let ids = same.then(|| before.documents.differences(&after.documents).into_iter().collect());
        (next, ids)
    }

    /// The update from a sound tree to a sound tree; nothing where the next one is not sound.
    fn sound_update(&self, gone: &[Arc<ParsedFile>], new: &[Arc<ParsedFile>]) -> Option<(Self, BTreeSet<Id>)> {
        let sound = |file: &Arc<ParsedFile>| file.unreadable.is_empty() && file.diagnostics.is_empty();
        if !self.tree.is_sound() || !new.iter().all(sound) {
            return None;
        }
        let before = &self.tree.documents;
        let (mut documents, mut named) = (before.clone(), self.named.clone());
        for file in gone {
            for parsed in &file.documents {
                documents.remove(parsed.id());
            }
            targets(&file.documents).for_each(|target| unname(&mut named, &target));
        }
        for file in new {
            for parsed in &file.documents {
                if documents.contains_key(parsed.id()) {
                    return None;
                }
                documents.insert(Arc::clone(&parsed.placed));
            }
            targets(&file.documents).for_each(|target| name(&mut named, target));
        }
        let exists = |id: &Id| documents.contains_key(id) || built_in().contains_key(id);
        let references = declared(new).flat_map(|parsed| &parsed.references);
        let met = references
            .map(|(reference, _)| reference.target())
            .all(|target| target.is_some_and(|target| exists(&target)));
        let needed = |parsed: &Parsed| named.contains_key(parsed.id()) && !exists(parsed.id());
        if !met || declared(gone).any(needed) {
            return None;
        }
        let ids = declared(gone).chain(declared(new)).map(Parsed::id);
        let ids = ids.filter(|id| before.get(id) != documents.get(id)).cloned().collect();
        let tree = Tree {
            documents,
            ..Tree::default()
        };
        let tree = Arc::new(tree);
        Some((Self { tree, named }, ids))
    }
}

fn declared(files: &[Arc<ParsedFile>]) -> impl Iterator<Item = &Parsed> {
    files.iter().flat_map(|file| &file.documents)
}

/// The resources that documents name, as often as they name them.
fn targets(documents: &[Parsed]) -> impl Iterator<Item = Id> {
    let references = documents.iter().flat_map(|parsed| &parsed.references);
    references.filter_map(|(reference, _)| reference.target())
}

fn name(named: &mut RedBlackTreeMapSync<Id, usize>, target: Id) {
    let times = named.get(&target).copied().unwrap_or_default();
    named.insert_mut(target, times + 1);
}

fn unname(named: &mut RedBlackTreeMapSync<Id, usize>, target: &Id) {
    match named.get(target).copied() {
        Some(times) if times > 1 => named.insert_mut(target.clone(), times - 1),
        _ => drop(named.remove_mut(target)),
    }
}
