//! The store as everybody else sees it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use crate::resource::Id;

use super::by_id::ById;
use super::mutation::{LedgerRow, PendingExport, Row};

/// For how many transactions it is remembered what each touched.
const REMEMBERED: usize = 256;

/// The store at one instant (one read transaction). A copy is cheap, whatever its size.
#[derive(Debug, Clone, Default)]
pub struct StoreView {
    /// The newest revision; it rises by one with every mutation.
    pub revision: u64,
    /// Every resource's row, tombstones included until the deletion is agreed.
    pub rows: ById<Row>,
    /// What was last agreed on.
    pub ledger: ById<LedgerRow>,
    /// Mutations that are not in the repository yet, oldest first.
    pub outbox: Vec<PendingExport>,
    /// How many transactions changed rows or the ledger since the store was opened.
    tick: u64,
    /// What the latest of them touched.
    touched: VecDeque<Arc<BTreeSet<Id>>>,
}

/// What is shown is compared, not how it came to be.
impl PartialEq for StoreView {
    fn eq(&self, other: &Self) -> bool {
        self.revision == other.revision
            && self.rows == other.rows
            && self.ledger == other.ledger
            && self.outbox == other.outbox
    }
}

impl Eq for StoreView {}

impl StoreView {
    /// How many transactions changed rows or the ledger since the store was opened.
    #[must_use]
    pub fn tick(&self) -> u64 {
        self.tick
    }

    /// Notes that a transaction changed the rows or ledger rows of these.
    pub fn touch(&mut self, ids: BTreeSet<Id>) {
        if self.touched.len() == REMEMBERED {
            self.touched.pop_front();
        }
        self.touched.push_back(Arc::new(ids));
        self.tick += 1;
    }

    /// Counts on from an earlier view of the same store, of which is not known what has been touched since: whoever asks
    /// by one of its ticks has to look at everything.
    pub fn follow(&mut self, earlier: &Self) {
        self.tick = earlier.tick + 1;
        self.touched.clear();
    }

    /// The resources whose rows or ledger rows have changed since a tick; nothing where that is not remembered any more.
    #[must_use]
    pub fn touched_since(&self, tick: u64) -> Option<BTreeSet<Id>> {
        let count = usize::try_from(self.tick.checked_sub(tick)?).ok()?;
        let first = self.touched.len().checked_sub(count)?;
        Some(
            self.touched
                .iter()
                .skip(first)
                .flat_map(|ids| ids.iter().cloned())
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_touched_is_remembered_for_a_while() {
        let mut view = StoreView::default();
        let id = |n: usize| -> Id { format!("server/s{n}").parse().unwrap() };
        for n in 0..REMEMBERED + 3 {
            assert_eq!(view.tick(), n as u64);
            view.touch([id(n), id(0)].into());
        }
        let now = view.tick();
        assert_eq!(view.touched_since(now), Some(BTreeSet::new()));
        assert_eq!(
            view.touched_since(now - 2),
            Some([id(0), id(REMEMBERED + 1), id(REMEMBERED + 2)].into())
        );
        assert!(view.touched_since(3).is_some_and(|ids| ids.len() == REMEMBERED + 1));
        assert_eq!(view.touched_since(2), None);
        assert_eq!(view.touched_since(now + 1), None, "of another store");
        let mut read_anew = StoreView::default();
        read_anew.follow(&view);
        assert_eq!(read_anew.touched_since(now), None, "nobody knows what was touched");
        assert_eq!(read_anew.touched_since(read_anew.tick()), Some(BTreeSet::new()));
    }
}
