//! A whole repository's declarations, put together from its files.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::kit::{Diagnostic, Digest, Position, nearest};

use super::builtin::built_in;
use super::document::Document;
use super::documents::Documents;
use super::id::Id;
use super::kind::Reference;
use super::shape::cut;
use super::yaml::{Located, Parsed, ParsedFile};

/// A file as it was found.
#[derive(Debug, Clone)]
pub struct FileText {
    /// From the repository's root, with `/`.
    pub path: String,
    /// Its bytes, or why they are not read (a symbolic link, too large).
    pub bytes: Result<Vec<u8>, Diagnostic>,
}

/// A valid document and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The declaration.
    pub document: Arc<Document>,
    /// Its digest.
    pub digest: Digest,
    /// The file.
    pub path: String,
    /// Where the document begins.
    pub position: Position,
}

/// A file, or a document in it, that can't be used. It is never taken for an absence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// The file.
    pub path: String,
    /// The resource that is meant, where it could be told.
    pub id: Option<Id>,
    /// Whether the whole file is unreadable.
    pub whole_file: bool,
    /// The bytes, to look for names in; nothing where they were not read.
    pub bytes: Option<Arc<[u8]>>,
}

/// What a repository declares at one instant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    /// Valid declarations, each declared once, its references met.
    pub documents: Documents,
    /// Held: declared twice, invalid, or with a missing reference.
    pub held: BTreeSet<Id>,
    /// What can't be used.
    pub unreadable: Vec<Unreadable>,
    /// Everything that is wrong, in order of file, line and column.
    pub diagnostics: Vec<Diagnostic>,
}

/// Of very many faults of a repository this many are told.
const MOST_DIAGNOSTICS: usize = 10_000;

/// Unreadable bytes that are searched for the names of missing resources, in all.
const MOST_SEARCHED: usize = 1 << 28;

impl Tree {
    /// Puts files together: duplicates, missing references.
    ///
    /// # Guarantees
    /// What can't be read is never an absence: a reference to something held, or to a name that stands in a file that
    /// can't be read, is not missing.
    #[must_use]
    pub fn assemble(files: impl IntoIterator<Item = Arc<ParsedFile>>) -> Self {
        let mut files: Vec<Arc<ParsedFile>> = files.into_iter().collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let mut tree = Self::default();
        let mut declared: Vec<&Parsed> = vec![];
        for file in &files {
            tree.diagnostics.extend(file.diagnostics.iter().cloned());
            tree.unreadable.extend(file.unreadable.iter().cloned());
            declared.extend(&file.documents);
        }
        tree.held = tree.unreadable.iter().filter_map(|it| it.id.clone()).collect();
        // Copies stay in the order of their files.
        declared.sort_by(|a, b| a.id().cmp(b.id()));
        let mut single = Vec::with_capacity(declared.len());
        for copies in declared.chunk_by(|a, b| a.id() == b.id()) {
            match *copies {
                [parsed] if !tree.held.contains(parsed.id()) => single.push(parsed),
                // The other copy is unreadable and has its diagnostic.
                [parsed] => tree.hold(parsed),
                _ => {
                    tree.duplicates(copies);
                    for parsed in copies {
                        tree.hold(parsed);
                    }
                }
            }
        }
        tree.references(&single);
        tree.diagnostics
            .sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
        tree.diagnostics.truncate(MOST_DIAGNOSTICS);
        tree
    }

    /// Whether there is nothing that can't be used, and nothing wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.held.is_empty() && self.unreadable.is_empty() && self.diagnostics.is_empty()
    }

    fn hold(&mut self, parsed: &Parsed) {
        let id = parsed.id().clone();
        self.held.insert(id.clone());
        self.unreadable.push(Unreadable {
            path: parsed.placed.path.clone(),
            id: Some(id),
            whole_file: false,
            bytes: None,
        });
    }

    fn duplicates(&mut self, copies: &[&Parsed]) {
        let Some((first, later)) = copies.split_first() else {
            return;
        };
        let first = first.name_at.diagnostic(&first.placed.path, "").place();
        for parsed in later {
            let id = &parsed.placed.document.id;
            let it = parsed
                .name_at
                .diagnostic(&parsed.placed.path, format!("{id} is declared twice"));
            self.diagnostics.push(Diagnostic {
                note: Some(format!("{first}: the first one")),
                ..it
            });
        }
    }

    /// Takes the documents whose references are met; the others are held. They are in order.
    fn references(&mut self, single: &[&Parsed]) {
        let known = |id: &Id| single.binary_search_by(|parsed| parsed.id().cmp(id)).is_ok();
        let mut budget = MOST_SEARCHED;
        for parsed in single {
            let mut met = true;
            for (reference, at) in &parsed.references {
                let target = reference.target();
                let exists = target.as_ref().is_some_and(|id| {
                    known(id) || self.held.contains(id) || built_in().contains_key(id) || self.may_hold(id, &mut budget)
                });
                if !exists {
                    met = false;
                    let names = single.iter().map(|parsed| parsed.id()).chain(&self.held);
                    let it = missing(reference, at, &parsed.placed.path, names);
                    self.diagnostics.push(it);
                }
            }
            if met {
                self.documents.insert(Arc::clone(&parsed.placed));
            } else {
                self.hold(parsed);
            }
        }
    }

    /// Whether this may stand in something that can't be read. What remains when the budget is used up may.
    fn may_hold(&self, id: &Id, budget: &mut usize) -> bool {
        self.unreadable
            .iter()
            .filter(|it| it.id.is_none())
            .filter_map(|it| it.bytes.as_ref())
            .any(|bytes| {
                let Some(left) = budget.checked_sub(bytes.len()) else {
                    return true;
                };
                *budget = left;
                memchr::memmem::find(bytes, id.name.as_str().as_bytes()).is_some()
            })
    }
}

fn missing<'a>(reference: &Reference, at: &Located, path: &str, known: impl Iterator<Item = &'a Id>) -> Diagnostic {
    let names = known
        .filter(|id| id.kind().name == reference.kind)
        .map(|id| id.name.as_str());
    let it = at.diagnostic(
        path,
        format!("no {} is called \"{}\"", reference.kind, cut(&reference.name)),
    );
    if let Some(near) = nearest(&reference.name, names) {
        it.hint(format!("did you mean \"{near}\"?"))
    } else if let Some(target) = reference.target() {
        it.hint(format!("declare it, in {} for example", target.canonical_path()))
    } else {
        it
    }
}

/// References that nothing meets: neither what `exists` nor what ships in the binary.
#[must_use]
pub fn broken_references<'a>(
    documents: impl IntoIterator<Item = &'a Document>,
    exists: impl Fn(&Id) -> bool,
) -> Vec<(Id, Reference)> {
    let mut broken = vec![];
    for document in documents {
        for reference in document.references() {
            let met = |id: Id| exists(&id) || built_in().contains_key(&id);
            if !reference.target().is_some_and(met) {
                broken.push((document.id.clone(), reference));
            }
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::yaml::read;

    fn assemble(files: &[(&str, &str)]) -> Tree {
        let file = |(path, text): &(&str, &str)| {
            Arc::new(read(&FileText {
                path: (*path).to_owned(),
                bytes: Ok(text.as_bytes().to_vec()),
            }))
        };
        Tree::assemble(files.iter().map(file))
    }

    fn ids<'a>(ids: impl IntoIterator<Item = &'a Id>) -> Vec<String> {
        ids.into_iter().map(ToString::to_string).collect()
    }

    fn told(tree: &Tree) -> Vec<String> {
        let one = |it: &Diagnostic| format!("{}: {}", it.place(), it.message);
        tree.diagnostics.iter().map(one).collect()
    }

    const A: (&str, &str) = ("a.yaml", "kind: server\nname: a\ncommand: [x]\n");
    const P: (&str, &str) = ("p.yaml", "kind: project\nname: p\nservers: [a]\n");

    #[test]
    fn documents_of_all_files_meet() {
        let tree = assemble(&[P, A]);
        assert_eq!(ids(tree.documents.keys()), ["server/a", "project/p"]);
        assert!(tree.held.is_empty() && tree.unreadable.is_empty() && tree.diagnostics.is_empty());
    }

    #[test]
    fn a_duplicate_is_held_in_every_place() {
        let tree = assemble(&[("z.yaml", A.1), A, P, ("b.yaml", A.1)]);
        assert_eq!(ids(tree.documents.keys()), ["project/p"]);
        assert_eq!(ids(&tree.held), ["server/a"]);
        assert_eq!(
            told(&tree),
            [
                "b.yaml:2:7: server/a is declared twice",
                "z.yaml:2:7: server/a is declared twice"
            ]
        );
        assert!(
            tree.diagnostics
                .iter()
                .all(|it| it.note.as_deref() == Some("a.yaml:2:7: the first one"))
        );
        let paths: Vec<_> = tree.unreadable.iter().map(|it| it.path.as_str()).collect();
        assert_eq!(paths, ["a.yaml", "b.yaml", "z.yaml"]);
    }

    #[test]
    fn a_missing_reference_holds_the_document() {
        let tree = assemble(&[P]);
        assert_eq!(told(&tree), ["p.yaml:3:11: no server is called \"a\""]);
        assert!(tree.documents.is_empty());
        assert_eq!(ids(&tree.held), ["project/p"]);
    }

    #[test]
    fn what_cannot_be_read_is_no_absence() {
        // The server is named by an invalid document, by a file that is no YAML, or by a document without a kind.
        for broken in [
            "kind: server\nname: a\nfoo: 1\n",
            "kind: server\nname: a\ncommand: [\n",
            "name: a\ncommand: [x]\n",
        ] {
            let tree = assemble(&[("a.yaml", broken), P]);
            assert_eq!(ids(tree.documents.keys()), ["project/p"], "{broken}");
            assert_eq!(tree.diagnostics.len(), 1, "{broken}");
        }
        // An invalid copy holds the valid one.
        let tree = assemble(&[
            A,
            (
                "b.yaml",
                "kind: server\nname: a\nfoo: 1\n---\nkind: server\nname: b\ncommand: [x]\n",
            ),
        ]);
        assert_eq!(ids(tree.documents.keys()), ["server/b"]);
        assert_eq!(ids(&tree.held), ["server/a"]);
    }

    #[test]
    fn broken_references_are_named() {
        let tree = assemble(&[P, A]);
        let documents = || tree.documents.values().map(|it| &*it.document);
        assert!(broken_references(documents(), |id| tree.documents.contains_key(id)).is_empty());
        let broken = broken_references(documents(), |_| false);
        assert_eq!(broken.len(), 1);
        assert_eq!(
            (broken[0].0.to_string().as_str(), broken[0].1.path.as_str()),
            ("project/p", "servers[0]")
        );
    }
}
