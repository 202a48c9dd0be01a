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
            for target in targets {
                name(&mut named, target);
            }
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
            for target in targets(&file.documents) {
                unname(&mut named, &target);
            }
        }
        for file in new {
            for parsed in &file.documents {
                if documents.contains_key(parsed.id()) {
                    return None;
                }
                documents.insert(Arc::clone(&parsed.placed));
            }
            for target in targets(&file.documents) {
                name(&mut named, target);
            }
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::resource::FileText;
    use crate::resource::yaml::read;

    /// What a file may hold. Names meet, miss each other, and hide in what can't be read.
    const TEXTS: &[&str] = &[
        "",
        "kind: server\nname: a\ncommand: [x]\n",
        "kind: server\nname: a\ncommand: [y]\n",
        "# moved\nkind: server\nname: a\ncommand: [x]\n",
        "kind: server\nname: b\ncommand: [x]\n",
        "kind: server\nname: a\ncommand: [x]\n---\nkind: server\nname: b\ncommand: [x]\n",
        "kind: server\nname: a\ncommand: [x]\n---\nkind: server\nname: a\ncommand: [x]\n",
        "kind: server\nname: time\ncommand: [x]\n",
        "kind: project\nname: p\nservers: [a]\n",
        "kind: project\nname: p\nservers: [a, b]\n",
        "kind: project\nname: q\nservers: [b]\n---\nkind: prompt\nname: t\nproject: q\ncontent: x\n",
        "kind: prompt\nname: t\nproject: p\ncontent: x\n",
        "kind: server\nname: a\ncommand: [\n",
        "kind: server\nname: a\nfoo: 1\n",
        "name: b\ncommand: [x]\n",
        "kind: server\nname: b\ncommand: [x]\nenv: [{name: K, valueFrom: {secretRef: {name: s, key: k}}}]\n",
    ];

    /// The files as they stand, by path.
    type Files = BTreeMap<usize, Arc<ParsedFile>>;

    fn file(path: usize, text: usize) -> Arc<ParsedFile> {
        Arc::new(read(&FileText {
            path: format!("{path}.yaml"),
            bytes: Ok(TEXTS[text].as_bytes().to_vec()),
        }))
    }

    fn all(files: &Files) -> Vec<Arc<ParsedFile>> {
        files.values().cloned().collect()
    }

    /// Takes one step with both; whether the quick way was taken.
    fn step(assembly: &mut Assembly, files: &mut Files, changes: &[(usize, Option<usize>)]) -> bool {
        let before = files.clone();
        for (path, text) in changes {
            match text {
                Some(text) => drop(files.insert(*path, file(*path, *text))),
                None => drop(files.remove(path)),
            }
        }
        let unlike = |from: &Files, to: &Files| -> Vec<Arc<ParsedFile>> {
            let differs = |path, file: &Arc<ParsedFile>| to.get(path).is_none_or(|it| !Arc::ptr_eq(it, file));
            let files = from.iter().filter(|(path, file)| differs(*path, file));
            files.map(|(_, file)| Arc::clone(file)).collect()
        };
        let mut asked = false;
        let (next, ids) = assembly.updated(&unlike(&before, files), &unlike(files, &before), || {
            asked = true;
            all(files)
        });
        let whole = Assembly::of(all(files));
        assert_eq!(next.tree, whole.tree);
        let counts = |assembly: &Assembly| -> BTreeMap<Id, usize> {
            let named = assembly.named.iter().filter(|_| assembly.tree.is_sound());
            named.map(|(id, times)| (id.clone(), *times)).collect()
        };
        assert_eq!(counts(&next), counts(&whole));
        if let Some(ids) = ids {
            let differ = assembly.tree.documents.differences(&next.tree.documents);
            assert_eq!(ids, differ.into_iter().collect());
            assert_eq!(
                (&assembly.tree.held, &assembly.tree.unreadable),
                (&next.tree.held, &next.tree.unreadable)
            );
        }
        *assembly = next;
        !asked
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn following_changes_is_putting_everything_together(
            steps in prop::collection::vec(
                prop::collection::vec((0..6_usize, prop::option::weighted(0.8, 0..TEXTS.len())), 1..4),
                1..20,
            )
        ) {
            let (mut assembly, mut files) = (Assembly::default(), Files::new());
            for changes in &steps {
                step(&mut assembly, &mut files, changes);
            }
        }
    }

    /// What happens, the changes of files, and whether the quick way is taken.
    type Step<'s> = (&'s str, &'s [(usize, Option<usize>)], bool);

    /// What is sound before and after is not put together anew; what is not, is.
    #[test]
    fn sound_changes_take_the_quick_way() {
        let (mut assembly, mut files) = (Assembly::default(), Files::new());
        let steps: &[Step<'_>] = &[
            (
                "two servers and a project",
                &[(0, Some(1)), (1, Some(4)), (2, Some(9))],
                true,
            ),
            ("a server changes", &[(0, Some(2))], true),
            ("it moves to another file", &[(0, None), (3, Some(1))], true),
            ("a prompt in the project", &[(4, Some(11))], true),
            ("the project needs one less", &[(2, Some(8))], true),
            ("which can go now", &[(1, None)], true),
            ("what is needed goes", &[(3, None)], false),
            ("and comes back", &[(3, Some(1))], false),
            ("all is well again", &[(3, Some(2))], true),
            ("a second copy", &[(5, Some(1))], false),
            ("which goes", &[(5, None)], false),
            ("a broken file", &[(5, Some(12))], false),
        ];
        for (what, changes, quick) in steps {
            assert_eq!(step(&mut assembly, &mut files, changes), *quick, "{what}");
        }
    }
}
