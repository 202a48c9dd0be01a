//! The store: what is declared, what was agreed, what is still to be exported, and what happened. One redb file.
//!
//! Every change is one durable transaction: rows, audit events, the outbox row, the ledger and the mutation's record stand
//! or fall together. redb blocks, so all of it runs behind the one door in `door.rs`. What the daemon asks for all the time
//! (rows, ledger, outbox) is also held in memory as a [`StoreView`] that moves with each commit.

mod batch;
mod change;
mod door;
mod error;
mod migrate;
mod opening;
#[cfg(test)]
mod pure;
mod read;
mod schema;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;

use crate::kit::Digest;
use crate::kit::time::Timestamp;
use crate::record::{Actor, AuditEvent, Conflict, Edit, Event, Import, Mutation, Run, StoreView};
use crate::resource::{Document, Id};

use batch::Batch;
use door::Door;

pub use error::StoreError;
#[cfg(test)]
pub use pure::PureStore;

/// A handle on the store; clones share it. The file is closed when the last one is dropped.
#[derive(Clone, Debug)]
pub struct Store {
    door: Arc<Door>,
}

impl Store {
    /// Opens the file, makes it where there is none (readable by its owner alone), and brings its schema up to date.
    ///
    /// # Errors
    /// Another process holds the file, a newer mcpd wrote it, or it can't be read as a store.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let path = path.to_owned();
        let door = door::blocking(move || Door::open(&path)).await?;
        Ok(Self { door: Arc::new(door) })
    }

    /// The committed state. It costs a reference count, whatever the size.
    #[must_use]
    pub fn view(&self) -> Arc<StoreView> {
        self.door.view()
    }

    /// Makes a change that people asked for, to be exported. Changes to what is so already are dropped; where nothing is
    /// left, nothing is written and there is no mutation.
    ///
    /// # Errors
    /// [`StoreError::Stale`] where a row is not the one that the caller saw; then nothing was changed.
    pub async fn edit(&self, edit: Edit) -> Result<Option<Mutation>, StoreError> {
        self.write(move |view| change::edit(view, edit)).await
    }

    /// Takes over what the repository says. There is a mutation where a row changed.
    ///
    /// # Errors
    /// [`StoreError::Stale`] where a row is not the one that the plan saw; then nothing was changed.
    pub async fn import(&self, import: Import) -> Result<Option<Mutation>, StoreError> {
        self.write(move |view| change::import(view, import)).await
    }

    /// Forgets what was agreed with the source so far; everything in force is to be written into the next one.
    ///
    /// # Errors
    /// The database failed.
    pub async fn new_epoch(&self, actor: Actor, at: Timestamp) -> Result<Option<Mutation>, StoreError> {
        self.write(move |view| Ok(change::new_epoch(view, actor, at))).await
    }

    /// The view as [`Store::new_epoch`] would leave it.
    #[must_use]
    pub fn as_new_epoch(&self, actor: Actor, at: Timestamp) -> StoreView {
        let mut view = StoreView::clone(&self.view());
        let (batch, _) = change::new_epoch(&view, actor, at);
        batch.apply(&mut view);
        view
    }

    /// Records the mark of an export under way, before anything outside is touched; nothing takes the mark away.
    ///
    /// # Errors
    /// [`StoreError::NoExport`] where that mutation is not in the outbox: its export must not go on.
    pub async fn record_attempt(&self, revision: u64, attempt: Option<String>) -> Result<(), StoreError> {
        self.write(move |view| Ok((change::record_attempt(view, revision, attempt)?, ())))
            .await
    }

    /// Changes of an export have landed in `commit`: each with its digest and file, or nothing where it was a deletion.
    ///
    /// What is not in the outbox (any more) is passed over, so that a recovery may say it again.
    ///
    /// # Errors
    /// The database failed.
    pub async fn settle_export(
        &self,
        revision: u64,
        written: Vec<(Id, Option<(Digest, String)>)>,
        commit: &str,
    ) -> Result<(), StoreError> {
        let commit = commit.to_owned();
        self.write(move |view| Ok((change::settle_export(view, revision, written, &commit), ())))
            .await
    }

    /// Writes down what happened and who asked for what. Their sequence numbers are given here.
    ///
    /// # Errors
    /// The database failed.
    pub async fn record(&self, events: Vec<Event>, audit: Vec<AuditEvent>) -> Result<(), StoreError> {
        self.write(move |_| {
            let batch = Batch {
                events,
                audit,
                ..Batch::default()
            };
            Ok((batch, ()))
        })
        .await
    }

    /// Forgets conflicts (a side was accepted, or what lost is in force) and tells why.
    ///
    /// # Errors
    /// The database failed.
    pub async fn end_conflicts(&self, numbers: Vec<u64>, events: Vec<Event>) -> Result<(), StoreError> {
        let batch = Batch {
            ended_conflicts: numbers,
            events,
            ..Batch::default()
        };
        self.write(move |_| Ok((batch, ()))).await
    }

    /// The conflicts that nobody has settled yet, oldest first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn conflicts(&self) -> Result<Vec<Conflict>, StoreError> {
        self.read(|transaction| read::after(transaction, schema::CONFLICTS, 0, usize::MAX))
            .await
    }

    /// How many conflicts nobody has settled yet.
    ///
    /// # Errors
    /// The database failed.
    pub async fn conflict_count(&self) -> Result<u64, StoreError> {
        self.read(read::conflict_count).await
    }

    /// The conflicts of one resource, oldest first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn conflicts_of(&self, id: &Id) -> Result<Vec<Conflict>, StoreError> {
        let mut conflicts = self.conflicts().await?;
        conflicts.retain(|conflict| conflict.id == *id);
        Ok(conflicts)
    }

    /// The first `limit` events after a sequence number, oldest first: for those who follow.
    ///
    /// # Errors
    /// The database failed.
    pub async fn events(&self, since: u64, limit: usize) -> Result<Vec<Event>, StoreError> {
        self.read(move |transaction| read::after(transaction, schema::EVENTS, since, limit))
            .await
    }

    /// The newest `limit` events, newest first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn recent_events(&self, limit: usize) -> Result<Vec<Event>, StoreError> {
        self.read(move |transaction| read::newest(transaction, schema::EVENTS, limit))
            .await
    }

    /// The first `limit` audit events after a sequence number, oldest first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn audit(&self, since: u64, limit: usize) -> Result<Vec<AuditEvent>, StoreError> {
        self.read(move |transaction| read::after(transaction, schema::AUDIT, since, limit))
            .await
    }

    /// The newest `limit` audit events, newest first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn recent_audit(&self, limit: usize) -> Result<Vec<AuditEvent>, StoreError> {
        self.read(move |transaction| read::newest(transaction, schema::AUDIT, limit))
            .await
    }

    /// The newest `limit` mutations, newest first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn mutations(&self, limit: usize) -> Result<Vec<Mutation>, StoreError> {
        self.read(move |transaction| read::newest(transaction, schema::MUTATIONS, limit))
            .await
    }

    /// The mutation that made a revision, where it is still kept.
    ///
    /// # Errors
    /// The database failed.
    pub async fn mutation(&self, revision: u64) -> Result<Option<Mutation>, StoreError> {
        self.read(move |transaction| read::mutation(transaction, revision))
            .await
    }

    /// Writes runs down, each in place of what was known of it.
    ///
    /// # Errors
    /// The database failed.
    pub async fn write_runs(&self, runs: Vec<Run>) -> Result<(), StoreError> {
        let batch = Batch {
            runs,
            ..Batch::default()
        };
        self.write(move |_| Ok((batch, ()))).await
    }

    /// The newest `limit` runs, newest first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn runs(&self, limit: usize) -> Result<Vec<Run>, StoreError> {
        self.read(move |transaction| read::runs(transaction, u64::MAX, limit))
            .await
    }

    /// One run, where it is still kept.
    ///
    /// # Errors
    /// The database failed.
    pub async fn run(&self, id: u64) -> Result<Option<Run>, StoreError> {
        let newest = self.read(move |transaction| read::runs(transaction, id, 1)).await?;
        Ok(newest.into_iter().find(|run| run.id == id))
    }

    /// Wakes after each commit that changed rows, ledger or outbox; the value is the revision (which only rows raise).
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.door.changed()
    }

    /// Wakes after each commit that wrote events; the value is the newest one's sequence number.
    #[must_use]
    pub fn events_changed(&self) -> watch::Receiver<u64> {
        self.door.events_changed()
    }

    /// A small fact by its name, as `agreed`; `store` is this store's own random id.
    #[must_use]
    pub fn meta(&self, key: &str) -> Option<String> {
        self.door.fact(key)
    }

    /// Writes a small fact down.
    ///
    /// # Errors
    /// The database failed.
    pub async fn set_meta(&self, key: &str, value: &str) -> Result<(), StoreError> {
        let batch = Batch {
            facts: [(key.to_owned(), Some(value.to_owned()))].into(),
            ..Batch::default()
        };
        self.write(move |_| Ok((batch, ()))).await
    }

    /// The small facts whose names begin so, by name.
    #[must_use]
    pub fn metas(&self, prefix: &str) -> BTreeMap<String, String> {
        self.door.facts(prefix)
    }

    /// Writes small facts down and forgets others (nothing as the value), all at once.
    ///
    /// # Errors
    /// The database failed.
    pub async fn set_metas(&self, facts: BTreeMap<String, Option<String>>) -> Result<(), StoreError> {
        let batch = Batch {
            facts,
            ..Batch::default()
        };
        self.write(move |_| Ok((batch, ()))).await
    }

    /// The same secrets in another encryption: rows get the text that stands in the repository now, and nothing else
    /// changes. A row that has moved on, or whose values differ, is passed over.
    ///
    /// # Errors
    /// The database failed.
    pub async fn refresh(&self, documents: Vec<(u64, Arc<Document>)>) -> Result<(), StoreError> {
        self.write(move |view| Ok((change::refresh(view, documents), ()))).await
    }

    /// Everything that names a commit names it by its new id from now on; small facts are written with that, as one
    /// transaction. May be done again.
    ///
    /// # Errors
    /// The store fails.
    pub async fn rename_commits(
        &self,
        renamed: BTreeMap<String, String>,
        facts: BTreeMap<String, Option<String>>,
    ) -> Result<(), StoreError> {
        self.write(move |view| Ok((change::rename_commits(view, renamed, facts), ())))
            .await
    }

    /// Runs a plan against the committed state and commits what it asks for. Writers queue in order of arrival; once
    /// begun, a write goes through even where its caller is gone.
    async fn write<T: Send + 'static>(
        &self,
        plan: impl FnOnce(&StoreView) -> Result<(Batch, T), StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let turn = self.door.turn().await;
        let door = Arc::clone(&self.door);
        door::blocking(move || door.commit(turn, plan)).await
    }

    async fn read<T: Send + 'static>(
        &self,
        question: impl FnOnce(&redb::ReadTransaction) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let turn = if self.door.has_failed() {
            Some(self.door.turn().await)
        } else {
            None
        };
        let door = Arc::clone(&self.door);
        door::blocking(move || door.ask(turn, question)).await
    }
}
