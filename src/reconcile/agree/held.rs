//! "!" of the table: a file that cannot be read is never an absence.

use std::collections::BTreeSet;

use crate::record::{ById, LedgerRow};
use crate::resource::{Id, Tree};

/// What can't be read in a tree, asked resource by resource.
#[derive(Debug)]
pub(super) struct Holds<'a> {
    tree: &'a Tree,
    /// The files that held something when both sides last agreed.
    known: BTreeSet<&'a str>,
}

impl<'a> Holds<'a> {
    pub(super) fn of(tree: &'a Tree, ledger: &'a ById<LedgerRow>) -> Self {
        let known = if tree.unreadable.is_empty() {
            BTreeSet::new()
        } else {
            ledger.values().map(|row| row.path.as_str()).collect()
        };
        Self { tree, known }
    }

    /// Why the repository's side of a resource can't be told, where it can't.
    ///
    /// A resource is held when the tree says so itself; and, where the tree has no valid document of it, when something
    /// unreadable stands in the file where it was last seen, or where it may have moved to: a file that bears its name,
    /// that could not even be searched for names, or that nobody has read before.
    pub(super) fn why(&self, id: &Id, last_path: Option<&str>) -> Option<String> {
        let unreadable = &self.tree.unreadable;
        if let Some(named) = unreadable.iter().find(|it| it.id.as_ref() == Some(id)) {
            return Some(format!("{} can't be used", named.path));
        }
        if self.tree.held.contains(id) {
            return Some("its declaration can't be used".to_owned());
        }
        if self.tree.documents.contains_key(id) || last_path.is_none() {
            return None;
        }
        unreadable
            .iter()
            .filter(|it| it.whole_file || it.id.is_none())
            .find(|it| {
                Some(it.path.as_str()) == last_path
                    || it.bytes.as_ref().is_none_or(|bytes| names(bytes, id.name.as_str()))
                    || it.whole_file && !self.known.contains(it.path.as_str())
            })
            .map(|it| match &it.bytes {
                Some(bytes) if bytes.is_empty() => format!("{} is empty: write it, or remove the file", it.path),
                _ => format!("{} can't be read", it.path),
            })
    }

    /// Whether a file can't be read as a whole, so that nothing may be written into it.
    pub(super) fn file(&self, path: &str) -> bool {
        self.tree.unreadable.iter().any(|it| it.path == path && it.whole_file)
    }
}

/// Whether a text bears a name as a word of its own.
fn names(text: &[u8], name: &str) -> bool {
    let part = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'-');
    memchr::memmem::find_iter(text, name.as_bytes()).any(|at| {
        let before = at.checked_sub(1).and_then(|n| text.get(n));
        !part(before) && !part(text.get(at + name.len()))
    })
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn a_name_is_a_word() {
        assert!(names(b"kind: server\nname: time\nx: [", "time"));
        assert!(names(b"time", "time"));
        assert!(!names(b"name: time-2\n", "time"));
        assert!(!names(b"runtime: node\n", "time"));
    }
}
