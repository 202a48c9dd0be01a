//! Following a tree of git from the one before is reading it whole.

use std::collections::BTreeMap;

use git2::{Oid, Repository};
use proptest::prelude::*;

use crate::repo::error::RepoError;
use crate::repo::reading::{Place, Reading};

/// Paths that get in each other's way: files and folders of one name, hidden ones, names that sort unlike their folders.
const PATHS: &[&[u8]] = &[
    b"a.yaml",
    b"a.yaml/b.yaml",
    b"a/b.yaml",
    b"a/b/c.yaml",
    b"a-b.yaml",
    b"a/link",
    b"a/link.yaml",
    b"link",
    b"notes.txt",
    b".hidden/a.yaml",
    b"a/.hidden.yaml",
    b"\xff.yaml",
    b"\xff/a.yaml",
    b"module",
];

/// What may stand at a path.
#[derive(Debug, Clone, Copy)]
enum Thing {
    Text(&'static str),
    Link(&'static str),
    Module,
    /// Folders within each other, deeper than is looked.
    Deep,
}

const THINGS: &[Thing] = &[
    Thing::Text("kind: server\nname: a\ncommand: [x]\n"),
    Thing::Text("kind: server\nname: a\ncommand: [y]\n"),
    Thing::Text("kind: server\nname: b\ncommand: [x]\n"),
    Thing::Text("kind: project\nname: p\nservers: [a]\n"),
    Thing::Text("kind: project\nname: p\nservers: [b]\n"),
    Thing::Text("kind: server\nname: c\ncommand: [\n"),
    Thing::Text("# nothing\n"),
    Thing::Link("notes.txt"),
    Thing::Link("../notes.txt"),
    Thing::Link("a"),
    Thing::Module,
    Thing::Deep,
];

type Files = BTreeMap<Vec<u8>, Thing>;

fn put(files: &mut Files, path: &[u8], thing: Option<Thing>) {
    let below = |of: &[u8], path: &[u8]| path.strip_prefix(of).is_some_and(|rest| rest.first() == Some(&b'/'));
    files.retain(|other, _| other != path && !(thing.is_some() && (below(other, path) || below(path, other))));
    if let Some(thing) = thing {
        files.insert(path.to_vec(), thing);
    }
}

fn write(repository: &Repository, files: &Files) -> Oid {
    let mut builder = repository.treebuilder(None).unwrap();
    let mut folders: BTreeMap<&[u8], Files> = BTreeMap::new();
    for (path, thing) in files {
        if let Some(at) = path.iter().position(|b| *b == b'/') {
            let folder = folders.entry(&path[..at]).or_default();
            folder.insert(path[at + 1..].to_vec(), *thing);
            continue;
        }
        let blob = |text: &str| repository.blob(text.as_bytes()).unwrap();
        let (id, mode) = match thing {
            Thing::Text(text) => (blob(text), 0o100_644),
            Thing::Link(target) => (blob(target), 0o120_000),
            Thing::Module => (Oid::from_bytes(&[1; 20]).unwrap(), 0o160_000),
            Thing::Deep => (deep(repository), 0o040_000),
        };
        builder.insert(&path[..], id, mode).unwrap();
    }
    for (name, below) in folders {
        builder.insert(name, write(repository, &below), 0o040_000).unwrap();
    }
    builder.write().unwrap()
}

fn deep(repository: &Repository) -> Oid {
    let text = repository.blob(b"kind: server\nname: deep\ncommand: [x]\n").unwrap();
    let mut below = repository.treebuilder(None).unwrap();
    below.insert("x.yaml", text, 0o100_644).unwrap();
    let mut id = below.write().unwrap();
    for _ in 0..66 {
        let mut above = repository.treebuilder(None).unwrap();
        above.insert("d", id, 0o040_000).unwrap();
        id = above.write().unwrap();
    }
    id
}

fn next(reading: &Reading, repository: &Repository, tree: Oid) -> Reading {
    let open = || -> Result<Repository, RepoError> { unreachable!("so few files need no second thread") };
    let tree = repository.find_tree(tree).unwrap();
    let place = Place { top: &tree, within: "" };
    let (next, ids) = reading
        .next(repository, &place, &tree, &Reading::default(), &open)
        .unwrap();
    let (before, after) = (reading.assembly.tree(), next.assembly.tree());
    if let Some(ids) = ids {
        assert_eq!((&before.held, &before.unreadable), (&after.held, &after.unreadable));
        for id in before.documents.keys().chain(after.documents.keys()) {
            let same = before.documents.get(id) == after.documents.get(id);
            assert_eq!(ids.contains(id), !same, "{id}");
        }
    }
    next
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn following_is_reading_whole(
        steps in prop::collection::vec(
            prop::collection::vec((0..PATHS.len(), prop::option::weighted(0.8, 0..THINGS.len())), 1..4),
            1..12,
        )
    ) {
        let folder = tempfile::tempdir().unwrap();
        let repository = Repository::init_bare(folder.path()).unwrap();
        // Objects stay in memory: nothing is asked of the disk here.
        let objects = repository.odb().unwrap();
        objects.add_new_mempack_backend(1000).unwrap();
        let (mut followed, mut files) = (Reading::default(), Files::new());
        for changes in &steps {
            for (path, thing) in changes {
                put(&mut files, PATHS[*path], thing.map(|thing| THINGS[thing]));
            }
            let tree = write(&repository, &files);
            followed = next(&followed, &repository, tree);
            let whole = next(&Reading::default(), &repository, tree);
            prop_assert_eq!(followed.told(), whole.told());
            prop_assert_eq!(followed.assembly.tree(), whole.assembly.tree());
        }
    }
}

/// What was read before is gone: a push that was refused takes its objects with it.
#[test]
fn a_tree_that_is_gone_is_no_obstacle() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [one, other] = folders
        .each_ref()
        .map(|folder| Repository::init_bare(folder.path()).unwrap());
    let mut files = Files::new();
    put(&mut files, b"a/b.yaml", Some(THINGS[0]));
    let first = next(&Reading::default(), &one, write(&one, &files));
    put(&mut files, b"a.yaml", Some(THINGS[2]));
    let second = write(&other, &files);
    let second = next(&first, &other, second);
    assert_eq!(second.assembly.tree().documents.len(), 2);
}
