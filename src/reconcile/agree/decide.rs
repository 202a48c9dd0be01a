//! The table: three views of one resource, one decision.

use crate::kit::Digest;

/// What both sides last agreed on (a ledger row).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Base {
    /// The digest of the document.
    pub digest: Digest,
    /// The revision of the store's row.
    pub revision: u64,
}

/// What the repository says at its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepositorySide {
    /// It declares nothing of that identity.
    Absent,
    /// It declares this.
    Present(Digest),
    /// It can't be told, and is never taken for an absence ("!" in the table).
    Held,
}

/// What the store says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreSide {
    /// There was never a row, or its deletion has been agreed on.
    Never,
    /// A tombstone: deleted by that revision.
    Deleted {
        /// The deleting revision.
        revision: u64,
    },
    /// A row.
    Present {
        /// The revision that wrote it.
        revision: u64,
        /// The digest of its document.
        digest: Digest,
    },
}

/// What is to be done about one resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Both sides are as they were agreed on, or there is nothing on either.
    Nothing,
    /// The store takes the repository's document.
    Import,
    /// The store deletes.
    ImportDeletion,
    /// A commit writes the store's document.
    Export,
    /// A commit deletes.
    ExportDeletion,
    /// Both say the same: the ledger moves, nothing else.
    Settle,
    /// Neither has it any more: the ledger row (or tombstone) goes.
    Forget,
    /// Both changed it: merged by field, and where both changed the same field the store's is kept.
    Merge,
    /// One side changed what the other deleted: the store's side is kept and exported, the repository's is recorded.
    Conflict,
    /// The repository's side can't be told: nothing moves.
    Held,
}

/// The decision for one resource.
///
/// The repository has moved when its digest differs from the base's; the store has moved when its revision does. Values
/// alone would not do: a value that comes back is a change too, and a ledger that is written after a crash would undo it.
#[must_use]
pub fn decide(base: Option<Base>, repository: RepositorySide, store: StoreSide) -> Decision {
    use {RepositorySide as R, StoreSide as S};
    if base.is_some() && repository == R::Absent && store == S::Never {
        return Decision::Forget;
    }
    // A ledger row without any row of the store means that the row was lost: nothing was agreed on with this store.
    let base = base.filter(|_| store != S::Never);
    let store_moved = |base: Base| match store {
        S::Never => false,
        S::Deleted { revision } | S::Present { revision, .. } => revision != base.revision,
    };
    match (base, repository, store) {
        (_, R::Held, _) => Decision::Held,
        (None, R::Absent, S::Never) => Decision::Nothing,
        (None, R::Absent, S::Present { .. }) => Decision::Export,
        (None, R::Present(_), S::Never | S::Deleted { .. }) => Decision::Import,
        (_, R::Present(theirs), S::Present { digest: ours, .. }) if theirs == ours => match base {
            Some(base) if base.digest == theirs && !store_moved(base) => Decision::Nothing,
            _ => Decision::Settle,
        },
        (None, R::Present(_), S::Present { .. }) => Decision::Merge,
        (_, R::Absent, S::Deleted { .. }) | (Some(_), R::Absent, S::Never) => Decision::Forget,
        (Some(base), R::Absent, S::Present { .. }) => {
            if store_moved(base) {
                Decision::Conflict
            } else {
                Decision::ImportDeletion
            }
        }
        (Some(base), R::Present(theirs), S::Deleted { .. } | S::Never) => {
            if theirs == base.digest {
                Decision::ExportDeletion
            } else {
                Decision::Conflict
            }
        }
        (Some(base), R::Present(theirs), S::Present { .. }) => match (theirs != base.digest, store_moved(base)) {
            (true, false) => Decision::Import,
            (true, true) => Decision::Merge,
            // Same base, same revision, other value means that somebody wrote past the ledger: the store is believed.
            (false, true | false) => Decision::Export,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The decision that a row of the document means, by the words with which it begins.
    const WORDS: [(&str, Decision); 10] = [
        ("nothing", Decision::Nothing),
        ("import the deletion", Decision::ImportDeletion),
        ("import", Decision::Import),
        ("export the deletion", Decision::ExportDeletion),
        ("export", Decision::Export),
        ("the ledger moves", Decision::Settle),
        ("the ledger row goes", Decision::Forget),
        ("merge", Decision::Merge),
        ("conflict", Decision::Conflict),
        ("held", Decision::Held),
    ];

    fn row([b, r, s]: [&str; 3]) -> Decision {
        let digest = |letter: &str| Digest::of(letter);
        let base = (b != "–").then(|| Base {
            digest: digest(b),
            revision: 1,
        });
        let repository = match r {
            "–" => RepositorySide::Absent,
            "!" => RepositorySide::Held,
            _ => RepositorySide::Present(digest(r)),
        };
        // The store's row: at the base's revision where it did not move, else at the next.
        let store = match (s, b) {
            ("–", "–") => StoreSide::Never,
            ("–", _) => StoreSide::Deleted { revision: 2 },
            (same, of) => StoreSide::Present {
                digest: digest(same),
                revision: if same == of { 1 } else { 2 },
            },
        };
        decide(base, repository, store)
    }

    /// The table is what docs/GITOPS.md says, row by row, and it has every row that three letters can make.
    #[test]
    fn the_table() {
        let document = include_str!("../../../docs/GITOPS.md");
        let mut rows = std::collections::BTreeMap::new();
        for line in document.lines().filter(|line| line.starts_with("| ")) {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let [b, r, s, done] = cells[..] else { continue };
            let one = |cell: &str| matches!(cell, "–" | "!" | "any" | "a" | "b" | "c");
            if [b, r, s].into_iter().all(one) {
                let word = WORDS.iter().find(|(words, _)| done.starts_with(words));
                let (_, decision) = word.unwrap_or_else(|| panic!("no decision begins so: {done}"));
                rows.insert((b, r, s), *decision);
            }
        }
        for ((b, r, s), want) in &rows {
            let every = |cell: &'static str, all: &[&'static str]| match cell {
                "any" => all.to_vec(),
                one => vec![one],
            };
            for b in every(b, &["–", "a"]) {
                for s in every(s, &["–", "a", "b"]) {
                    assert_eq!(row([b, r, s]), *want, "{b} | {r} | {s}");
                }
            }
        }
        // Letters are told apart by whether they are equal: these are all the cases that there are.
        for b in ["–", "a"] {
            for r in ["–", "a", "b"] {
                for s in ["–", "a", "b", "c"] {
                    let [r, s] = match b {
                        // Without a base the first letter that is met is "b", as in the document.
                        "–" => [r, s].map(|cell| if cell == "a" { "b" } else { cell }),
                        _ => [r, s],
                    };
                    let case = match (b, r, s) {
                        ("–", "–", "b") => ("–", "–", "c"),
                        ("a", "–", "b") => ("a", "–", "c"),
                        ("a", "a", "c") => ("a", "a", "b"),
                        case => case,
                    };
                    assert!(rows.contains_key(&case), "no row for {case:?}");
                }
            }
        }
        assert_eq!(rows.get(&("any", "!", "any")), Some(&Decision::Held));
    }

    /// Pitfall: values alone. A value that was changed and changed back is settled, and a lost row is no deletion.
    #[test]
    fn revisions_and_not_values_say_whether_the_store_moved() {
        let a = Digest::of("a");
        let base = Some(Base { digest: a, revision: 1 });
        let back = StoreSide::Present { digest: a, revision: 3 };
        assert_eq!(decide(base, RepositorySide::Present(a), back), Decision::Settle);
        assert_eq!(decide(base, RepositorySide::Absent, back), Decision::Conflict);
        assert_eq!(
            decide(base, RepositorySide::Present(a), StoreSide::Never),
            Decision::Import
        );
    }
}
