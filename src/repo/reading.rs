//! A tree of the repository as it was read, and the reading of the next one by what differs: only changed folders are
//! looked into, only changed files are parsed.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use git2::{ObjectType, Oid, Repository, Tree, TreeEntry};
use rpds::RedBlackTreeMapSync;

use crate::resource::yaml::{self, ParsedFile};
use crate::resource::{Assembly, FileText, Id};

use super::error::{RepoError, git};
use super::parallel;
use super::read::{self, DEEPEST, LARGEST_FILE, MOST_ENTRIES};

/// The bits of a mode that tell what an entry is; the others are permissions.
const KIND: i32 = 0o170_000;
const FOLDER: i32 = 0o040_000;
const FILE: i32 = 0o100_000;
const LINK: i32 = 0o120_000;

/// Where a tree stands.
pub(super) struct Place<'r> {
    /// The commit's whole tree: links may lead anywhere in it.
    pub top: &'r Tree<'r>,
    /// The tree's path in it; empty where it is the same.
    pub within: &'r str,
}

/// What a tree of the repository consists of. A copy shares everything with the one that it was made from.
#[derive(Clone, Default)]
pub(super) struct Reading {
    /// The tree; nothing before the first one.
    root: Option<Oid>,
    /// What was taken of it, by path. A path is bytes here: what is refused need not be UTF-8.
    files: RedBlackTreeMapSync<Path, Taken>,
    /// Links that may be passed over: that depends on where they lead.
    links: Arc<BTreeMap<Path, Oid>>,
    /// The files and folders that were looked at.
    entries: usize,
    pub assembly: Assembly,
}

type Path = Box<[u8]>;

#[derive(Clone)]
struct Taken {
    /// The object; nothing where it was refused unread.
    content: Option<Oid>,
    parsed: Arc<ParsedFile>,
}

/// What is new in a tree.
enum Found {
    File(Oid),
    Refused(Arc<ParsedFile>),
    Link(Oid),
}

impl Reading {
    /// The files that are held.
    #[cfg(test)]
    pub fn files(&self) -> usize {
        self.files.size()
    }

    /// Everything that is remembered, for tests.
    #[cfg(test)]
    pub fn told(&self) -> String {
        let files: Vec<_> = self
            .files
            .iter()
            .map(|(path, taken)| (path.escape_ascii().to_string(), taken.content, &taken.parsed))
            .collect();
        format!("{:?} {} {:?} {files:#?}", self.root, self.entries, self.links)
    }

    /// Reads a tree of which this one is an earlier one or a sibling; files that `other` holds are not parsed again.
    /// Beside it, the resources whose declarations may differ; nothing where that is not known.
    ///
    /// `open` gives a further handle on the repository, for a further thread.
    pub fn next(
        &self,
        repository: &Repository,
        place: &Place<'_>,
        tree: &Tree<'_>,
        other: &Self,
        open: &(dyn Fn() -> Result<Repository, RepoError> + Sync),
    ) -> Result<(Self, Option<BTreeSet<Id>>), RepoError> {
        // What was read before may be gone since: objects of a push that was refused, or another repository's.
        let before = self.root.and_then(|root| repository.find_tree(root).ok());
        if let Some(before) = before {
            match self.follow(repository, place, Some(&before), tree, [self, other], open) {
                Err(RepoError::Git(..)) => {}
                done => return done,
            }
        }
        let nothing = Self::default();
        let (next, _) = nothing.follow(repository, place, None, tree, [self, other], open)?;
        Ok((next, None))
    }

    fn follow(
        &self,
        repository: &Repository,
        place: &Place<'_>,
        before: Option<&Tree<'_>>,
        tree: &Tree<'_>,
        known: [&Self; 2],
        open: &(dyn Fn() -> Result<Repository, RepoError> + Sync),
    ) -> Result<(Self, Option<BTreeSet<Id>>), RepoError> {
        let mut walk = Walk::new(repository);
        walk.folders(before, Some(tree), place.within, 0)?;
        let entries = (self.entries + walk.entered).saturating_sub(walk.left);
        if entries > MOST_ENTRIES {
            return Err(RepoError::TooManyFiles(MOST_ENTRIES));
        }
        let mut next = Self {
            root: Some(tree.id()),
            entries,
            ..self.clone()
        };
        let mut gone: Vec<Arc<ParsedFile>> = vec![];
        let mut links = BTreeMap::clone(&self.links);
        for path in &walk.gone {
            links.remove(path);
            gone.extend(next.take_out(path));
        }
        let mut new = vec![];
        let mut unread = vec![];
        for (path, found) in walk.new {
            match found {
                Found::File(id) => match known.iter().find_map(|reading| reading.known(&path, id)) {
                    Some(known) => new.push((path, known.clone())),
                    None => unread.push((path, id)),
                },
                Found::Refused(parsed) => new.push((path, Taken { content: None, parsed })),
                Found::Link(id) => drop(links.insert(path, id)),
            }
        }
        let parsed = parallel::map(&unread, repository, open, |repository, (path, id)| {
            parse(repository, path, *id)
        })?;
        new.extend(unread.into_iter().map(|(path, _)| path).zip(parsed));
        for (path, link) in &links {
            let there = next.files.get(path);
            match (there, read::links_to_a_file(repository, place.top, path, *link)?) {
                (Some(_), true) => gone.extend(next.take_out(path)),
                (None, false) => {
                    let parsed = read::refused_link(String::from_utf8_lossy(path).into_owned());
                    new.push((path.clone(), Taken { content: None, parsed }));
                }
                _ => {}
            }
        }
        next.links = Arc::new(links);
        let mut came = Vec::with_capacity(new.len());
        for (path, taken) in new {
            came.push(Arc::clone(&taken.parsed));
            next.files.insert_mut(path, taken);
        }
        let all = || next.files.values().map(|taken| Arc::clone(&taken.parsed)).collect();
        let (assembly, ids) = match before {
            Some(_) => self.assembly.updated(&gone, &came, all),
            None => (Assembly::of(all()), None),
        };
        next.assembly = assembly;
        Ok((next, ids))
    }

    /// What was read, file by file in order of path.
    pub fn parsed(&self) -> Vec<Arc<ParsedFile>> {
        self.files.values().map(|taken| Arc::clone(&taken.parsed)).collect()
    }

    fn known(&self, path: &[u8], content: Oid) -> Option<&Taken> {
        self.files.get(path).filter(|taken| taken.content == Some(content))
    }

    fn take_out(&mut self, path: &[u8]) -> Option<Arc<ParsedFile>> {
        let taken = self.files.get(path)?;
        let parsed = Arc::clone(&taken.parsed);
        self.files.remove_mut(path);
        Some(parsed)
    }
}

fn parse(repository: &Repository, path: &[u8], id: Oid) -> Result<Taken, RepoError> {
    let path = String::from_utf8_lossy(path).into_owned();
    let odb = repository.odb().map_err(git("reading a file of the repository"))?;
    // The header comes first: an object may unpack to any size.
    let (size, kind) = odb.read_header(id).map_err(git("reading a file of the repository"))?;
    if size > LARGEST_FILE || kind != ObjectType::Blob {
        return Ok(Taken {
            content: None,
            parsed: read::refused_size(path),
        });
    }
    let object = odb.read(id).map_err(git("reading a file of the repository"))?;
    let bytes = Ok(object.data().to_vec());
    Ok(Taken {
        content: Some(id),
        parsed: Arc::new(yaml::read(&FileText { path, bytes })),
    })
}

/// The walk of two trees at once: what went and what came.
struct Walk<'r> {
    repository: &'r Repository,
    gone: Vec<Path>,
    new: Vec<(Path, Found)>,
    left: usize,
    entered: usize,
}

impl<'r> Walk<'r> {
    fn new(repository: &'r Repository) -> Self {
        Self {
            repository,
            gone: vec![],
            new: vec![],
            left: 0,
            entered: 0,
        }
    }

    fn folders(
        &mut self,
        before: Option<&Tree<'_>>,
        after: Option<&Tree<'_>>,
        folder: &str,
        depth: usize,
    ) -> Result<(), RepoError> {
        let mut before = before.into_iter().flatten().peekable();
        let mut after = after.into_iter().flatten().peekable();
        loop {
            let order = match (before.peek(), after.peek()) {
                (None, None) => return Ok(()),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(old), Some(new)) => order(old, new),
            };
            let old = before.next_if(|_| order.is_le());
            let new = after.next_if(|_| order.is_ge());
            let same = |(old, new): (&TreeEntry<'_>, &TreeEntry<'_>)| old.id() == new.id() && kind(old) == kind(new);
            if !old.as_ref().zip(new.as_ref()).is_some_and(same) {
                self.entries(old.as_ref(), new.as_ref(), folder, depth)?;
            }
        }
    }

    /// Takes what stands in the same place of both trees and differs.
    fn entries(
        &mut self,
        old: Option<&TreeEntry<'_>>,
        new: Option<&TreeEntry<'_>>,
        folder: &str,
        depth: usize,
    ) -> Result<(), RepoError> {
        let (old, new) = (old.filter(|it| relevant(it)), new.filter(|it| relevant(it)));
        self.left += usize::from(old.is_some());
        self.entered += usize::from(new.is_some());
        if self.entered > MOST_ENTRIES {
            return Err(RepoError::TooManyFiles(MOST_ENTRIES));
        }
        let Some(name) = old.or(new).map(TreeEntry::name_bytes) else {
            return Ok(());
        };
        let path = read::path_of(folder, name);
        let enters = |entry: &&TreeEntry<'_>| kind(entry) == FOLDER && depth < DEEPEST && path.is_ok();
        let below = |entry: Option<&TreeEntry<'_>>| {
            let below = entry
                .filter(enters)
                .map(|entry| self.repository.find_tree(entry.id()))
                .transpose();
            below.map_err(git("reading a folder of the repository"))
        };
        let (old_below, new_below) = (below(old)?, below(new)?);
        if let Ok(path) = &path
            && (old_below.is_some() || new_below.is_some())
        {
            self.folders(old_below.as_ref(), new_below.as_ref(), path, depth + 1)?;
        }
        let place = || -> Path {
            let slash: &[u8] = if folder.is_empty() { b"" } else { b"/" };
            [folder.as_bytes(), slash, name].concat().into()
        };
        if old.is_some() && old_below.is_none() {
            self.gone.push(place());
        }
        if let Some(new) = new
            && new_below.is_none()
        {
            let found = match path {
                Ok(path) => found(new, path),
                Err(refused) => Found::Refused(refused),
            };
            self.new.push((place(), found));
        }
        Ok(())
    }
}

fn found(entry: &TreeEntry<'_>, path: String) -> Found {
    match kind(entry) {
        FOLDER => Found::Refused(read::refused_depth(path)),
        FILE => Found::File(entry.id()),
        LINK if read::is_yaml(entry.name_bytes()) => Found::Refused(read::refused_link(path)),
        LINK => Found::Link(entry.id()),
        _ => Found::Refused(read::refused(
            path,
            "submodules are not read",
            "put the files themselves into the repository",
        )),
    }
}

fn kind(entry: &TreeEntry<'_>) -> i32 {
    entry.filemode() & KIND
}

fn relevant(entry: &TreeEntry<'_>) -> bool {
    let name = entry.name_bytes();
    !read::hidden(name) && (read::is_yaml(name) || kind(entry) != FILE)
}

/// git's order of the entries of a tree: by name, a folder's with a slash behind it.
fn order(a: &TreeEntry<'_>, b: &TreeEntry<'_>) -> Ordering {
    let slash = |entry: &TreeEntry<'_>| (kind(entry) == FOLDER).then_some(b'/');
    let bytes = |entry| TreeEntry::name_bytes(entry).iter().copied().chain(slash(entry));
    bytes(a).cmp(bytes(b))
}
