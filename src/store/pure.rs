//! The store's decisions without its database: a simulated world changes its rows by the very rules of the real one.

use crate::kit::Digest;
use crate::kit::time::Timestamp;
use crate::record::{Actor, Conflict, Edit, Import, Mutation, StoreView};
use crate::resource::Id;

use super::StoreError;
use super::batch::Batch;
use super::change;

/// A store in memory: what is shown, and the conflicts.
#[derive(Debug, Clone, Default)]
pub struct PureStore {
    /// What a real store shows.
    pub view: StoreView,
    /// What lost and is not decided.
    pub conflicts: Vec<Conflict>,
}

impl PureStore {
    fn commit<T>(&mut self, planned: Result<(Batch, T), StoreError>) -> Result<T, StoreError> {
        let (batch, answer) = planned?;
        self.conflicts.extend(batch.new_conflicts.iter().cloned());
        batch.apply(&mut self.view);
        Ok(answer)
    }

    /// See [`super::Store::edit`].
    pub fn edit(&mut self, edit: Edit) -> Result<Option<Mutation>, StoreError> {
        self.commit(change::edit(&self.view, edit))
    }

    /// See [`super::Store::import`].
    pub fn import(&mut self, import: Import) -> Result<Option<Mutation>, StoreError> {
        self.commit(change::import(&self.view, import))
    }

    /// See [`super::Store::new_epoch`].
    pub fn new_epoch(&mut self, actor: Actor, at: Timestamp) -> Result<Option<Mutation>, StoreError> {
        self.commit(Ok(change::new_epoch(&self.view, actor, at)))
    }

    /// See [`super::Store::record_attempt`].
    pub fn record_attempt(&mut self, revision: u64, attempt: Option<String>) -> Result<(), StoreError> {
        self.commit(change::record_attempt(&self.view, revision, attempt).map(|batch| (batch, ())))
    }

    /// See [`super::Store::settle_export`].
    pub fn settle_export(&mut self, revision: u64, written: Vec<(Id, Option<(Digest, String)>)>, commit: &str) {
        drop(self.commit(Ok((change::settle_export(&self.view, revision, written, commit), ()))));
    }
}
