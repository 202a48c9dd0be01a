//! What is to be done about one resource: the table's decision, with what a merge comes to.

use std::sync::Arc;

use crate::record::{FieldPath, LedgerRow, Row, Settle};
use crate::resource::{Document, Id, Placed};

use super::decide::{Base, Decision, RepositorySide, StoreSide, decide};
use super::merge::{Ancestor, Merged, merge};
use super::plan::{Rules, Seen};

/// What is to be done about one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// The store takes the repository's document.
    Import,
    /// The store deletes.
    ImportDeletion,
    /// A commit writes the store's document.
    Export,
    /// A commit deletes.
    ExportDeletion,
    /// Both say the same: the ledger moves.
    Settle,
    /// Neither has it any more.
    Forget,
    /// Both sides take this.
    Merge(Merged),
    /// The store's side is kept and exported; what lost, where something did.
    Keep(Option<Lost>),
}

/// What lost against the store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Lost {
    /// The fields; none stands for all that the repository said.
    pub(super) fields: Vec<FieldPath>,
    /// Why they were not merged one by one.
    pub(super) reason: Option<String>,
}

impl Step {
    /// All that the repository said lost, for a reason.
    pub(super) fn keep_whole(reason: Option<String>) -> Self {
        Self::Keep(Some(Lost { fields: vec![], reason }))
    }
}

/// The three views of one resource.
pub(super) struct Views<'a> {
    pub(super) ledger: Option<&'a LedgerRow>,
    pub(super) placed: Option<&'a Placed>,
    pub(super) row: Option<&'a Row>,
}

impl<'a> Views<'a> {
    pub(super) fn of(seen: &Seen<'a>, id: &Id) -> Self {
        Self {
            ledger: seen.store.ledger.get(id),
            placed: seen.tree.documents.get(id),
            row: seen.store.rows.get(id),
        }
    }

    /// What the store declares.
    pub(super) fn declared(&self) -> Option<&'a Arc<Document>> {
        self.row?.document.as_ref()
    }

    /// What both sides last agreed on, where it is known.
    pub(super) fn agreed(&self) -> Option<&'a Arc<Document>> {
        let ledger = self.ledger?;
        let unmoved = || {
            self.declared()
                .filter(|_| self.row.is_some_and(|row| row.revision == ledger.revision))
        };
        ledger.document.as_ref().or_else(unmoved)
    }

    /// What is to be done; nothing where both are as agreed, and where the repository's side can't be told.
    pub(super) fn step(&self, held: bool, rules: Rules) -> Option<Step> {
        let repository = match (held, self.placed) {
            (true, _) => RepositorySide::Held,
            (false, Some(placed)) => RepositorySide::Present(placed.digest),
            (false, None) => RepositorySide::Absent,
        };
        Some(match decide(self.base(rules), repository, self.side()) {
            Decision::Nothing | Decision::Held => return None,
            Decision::Settle if self.encrypted_anew() => Step::Export,
            Decision::Settle => Step::Settle,
            Decision::Import => Step::Import,
            Decision::ImportDeletion => Step::ImportDeletion,
            Decision::Export => Step::Export,
            Decision::ExportDeletion => Step::ExportDeletion,
            Decision::Forget => Step::Forget,
            Decision::Conflict => Step::keep_whole(None),
            Decision::Merge => self.merge(rules),
        })
    }

    fn merge(&self, rules: Rules) -> Step {
        let (Some(placed), Some(ours)) = (self.placed, self.declared()) else {
            return Step::keep_whole(None);
        };
        let ancestor = match (self.ledger, self.agreed()) {
            _ if rules == Rules::MergeWithoutBase => Ancestor::Nothing,
            (None, _) => Ancestor::Nothing,
            (Some(_), None) => Ancestor::Forgotten,
            (Some(_), Some(agreed)) => Ancestor::Known(agreed),
        };
        match merge(ancestor, &placed.document, ours) {
            Err(reason) => Step::keep_whole(Some(reason)),
            Ok(merged) if merged.document == placed.document => Step::Import,
            Ok(merged) if merged.document == *ours => Step::Keep((!merged.lost.is_empty()).then_some(Lost {
                fields: merged.lost,
                reason: None,
            })),
            Ok(merged) => Step::Merge(merged),
        }
    }

    fn base(&self, rules: Rules) -> Option<Base> {
        let ledger = self.ledger?;
        let unmoved = |document: &Arc<Document>| document.digest() == ledger.digest;
        let revision = match self.row {
            Some(row) if rules == Rules::CompareValues && self.declared().is_some_and(unmoved) => row.revision,
            _ => ledger.revision,
        };
        Some(Base {
            digest: ledger.digest,
            revision,
        })
    }

    fn side(&self) -> StoreSide {
        match self.row {
            None => StoreSide::Never,
            Some(Row {
                document: None,
                revision,
            }) => StoreSide::Deleted { revision: *revision },
            Some(Row {
                document: Some(document),
                revision,
            }) => StoreSide::Present {
                revision: *revision,
                // A row that has not moved is what was agreed on: hashing every row would cost more than all else.
                digest: match self.ledger {
                    Some(ledger) if ledger.revision == *revision => ledger.digest,
                    _ => document.digest(),
                },
            },
        }
    }

    /// Whether the store has the agreed values of a secret in a newer encryption than the repository: that is to be
    /// written, though the values are the same.
    fn encrypted_anew(&self) -> bool {
        let (Some(ledger), Some(placed), Some(row)) = (self.ledger, self.placed, self.row) else {
            return false;
        };
        let ours = row.document.as_ref().and_then(|document| document.text.as_ref());
        ledger.digest == placed.digest
            && ledger.revision != row.revision
            && ours.is_some_and(|ours| placed.document.text.as_ref() != Some(ours))
    }

    /// The same document in another file: the ledger must know where it stands now.
    pub(super) fn elsewhere(&self, head: &str, id: &Id) -> Option<Settle> {
        let (ledger, placed) = self
            .ledger
            .zip(self.placed)
            .filter(|(ledger, placed)| ledger.path != placed.path)?;
        Some(Settle {
            id: id.clone(),
            seen: self.row.map(|row| row.revision),
            ledger: Some(LedgerRow {
                commit: head.to_owned(),
                path: placed.path.clone(),
                ..ledger.clone()
            }),
        })
    }
}
