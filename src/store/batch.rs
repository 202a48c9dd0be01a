//! What one transaction writes: the same value goes into the database and into the view, so the two can't part.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::thread;

use redb::{ReadableTable, ReadableTableMetadata, TableHandle, WriteTransaction};
use serde::Serialize;

use crate::record::{AuditEvent, ById, Conflict, Event, LedgerRow, Mutation, PendingExport, Row, Run, StoreView};
use crate::resource::Id;

use super::error::StoreError;
use super::schema::{self, ByNumber, ByText, Retention};

/// So many changes are encoded by a thread of their own.
const WORTH_A_THREAD: usize = 256;

/// Encoded entries of a journal by their numbers.
type Entries = Vec<(u64, Vec<u8>)>;

/// The new entries of the journals that grow with each resource.
struct Journals {
    mutations: Entries,
    audit: Entries,
}

/// Everything that one transaction writes; nothing in a map takes the entry away.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub rows: BTreeMap<Id, Option<Row>>,
    pub ledger: BTreeMap<Id, Option<LedgerRow>>,
    pub outbox: BTreeMap<u64, Option<PendingExport>>,
    /// A new mutation; its revision becomes the store's.
    pub mutation: Option<Mutation>,
    /// A mutation's export is complete: its record gets the commit.
    pub landed: Option<(u64, String)>,
    /// Commits that have other ids now: the records of mutations, runs and conflicts follow.
    pub renamed: BTreeMap<String, String>,
    /// Conflicts that are new; their numbers are given with the transaction.
    pub new_conflicts: Vec<Conflict>,
    /// The numbers of those that are over.
    pub ended_conflicts: Vec<u64>,
    pub events: Vec<Event>,
    pub audit: Vec<AuditEvent>,
    /// Runs that are new or have moved on; their ids are given by who makes them.
    pub runs: Vec<Run>,
    pub facts: BTreeMap<String, Option<String>>,
}

/// The newest number given to an entry of each journal, and to a commit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sequences {
    pub event: u64,
    pub audit: u64,
    pub conflict: u64,
    pub commit: u64,
}

impl Batch {
    /// Whether it changes what a [`StoreView`] shows.
    pub(super) fn changes_view(&self) -> bool {
        !(self.rows.is_empty() && self.ledger.is_empty() && self.outbox.is_empty()) || self.mutation.is_some()
    }

    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        !self.changes_view()
            && self.landed.is_none()
            && self.renamed.is_empty()
            && self.new_conflicts.is_empty()
            && self.ended_conflicts.is_empty()
            && self.events.is_empty()
            && self.audit.is_empty()
            && self.runs.is_empty()
            && self.facts.is_empty()
    }

    /// Numbers events, audit events and the commit on from `last`; the new last numbers.
    pub(super) fn number(&mut self, last: Sequences) -> Sequences {
        let mut next = Sequences {
            commit: last.commit + 1,
            ..last
        };
        for event in &mut self.events {
            next.event += 1;
            event.sequence = next.event;
        }
        for event in &mut self.audit {
            next.audit += 1;
            event.sequence = next.audit;
        }
        for conflict in &mut self.new_conflicts {
            next.conflict += 1;
            conflict.number = next.conflict;
        }
        next
    }

    /// Writes all of it into a transaction, the commit of that number. What goes into the journals of a large one is encoded
    /// meanwhile. (Tables written by two threads were measured too, and are slower.)
    pub(super) fn write(&self, transaction: &WriteTransaction, keep: Retention, commit: u64) -> Result<(), StoreError> {
        let large = self.audit.len() > WORTH_A_THREAD;
        thread::scope(|scope| {
            let journals = large.then(|| scope.spawn(|| self.journals()));
            write_by_text(transaction, schema::ROWS, &self.rows)?;
            write_by_text(transaction, schema::LEDGER, &self.ledger)?;
            let journals = match journals {
                Some(journals) => journals.join().unwrap_or_else(|panic| resume_unwind(panic)),
                None => self.journals(),
            };
            self.write_rest(transaction, journals?, keep, commit)
        })
    }

    /// The new entries of the journals that grow with each resource, encoded.
    fn journals(&self) -> Result<Journals, StoreError> {
        Ok(Journals {
            mutations: entries(schema::MUTATIONS, self.mutation.iter().map(|it| (it.revision, it)))?,
            audit: entries(schema::AUDIT, self.audit.iter().map(|it| (it.sequence, it)))?,
        })
    }

    fn write_rest(
        &self,
        transaction: &WriteTransaction,
        journals: Journals,
        keep: Retention,
        commit: u64,
    ) -> Result<(), StoreError> {
        self.write_conflicts(transaction, keep.conflicts)?;
        if !self.outbox.is_empty() {
            let mut table = transaction.open_table(schema::OUTBOX)?;
            for (revision, export) in &self.outbox {
                match export {
                    Some(export) => drop(table.insert(*revision, encoded(schema::OUTBOX, export)?.as_slice())?),
                    None => drop(table.remove(*revision)?),
                }
            }
        }
        append(transaction, schema::MUTATIONS, journals.mutations, keep.mutations)?;
        let mut header = transaction.open_table(schema::HEADER)?;
        header.insert(schema::COMMITS, commit)?;
        if let Some(mutation) = &self.mutation {
            header.insert(schema::REVISION, mutation.revision)?;
        }
        drop(header);
        if let Some((revision, commit)) = &self.landed {
            land(transaction, *revision, commit)?;
        }
        let runs = self.runs.iter().map(|it| (it.id, it));
        append(transaction, schema::RUNS, entries(schema::RUNS, runs)?, keep.runs)?;
        let events = self.events.iter().map(|it| (it.sequence, it));
        append(
            transaction,
            schema::EVENTS,
            entries(schema::EVENTS, events)?,
            keep.events,
        )?;
        append(transaction, schema::AUDIT, journals.audit, keep.audit)?;
        rename(transaction, &self.renamed)?;
        if !self.facts.is_empty() {
            let mut table = transaction.open_table(schema::FACTS)?;
            for (key, value) in &self.facts {
                match value {
                    Some(value) => drop(table.insert(key.as_str(), value.as_str())?),
                    None => drop(table.remove(key.as_str())?),
                }
            }
        }
        Ok(())
    }

    fn write_conflicts(&self, transaction: &WriteTransaction, keep: u64) -> Result<(), StoreError> {
        if !self.ended_conflicts.is_empty() {
            let mut table = transaction.open_table(schema::CONFLICTS)?;
            for number in &self.ended_conflicts {
                table.remove(*number)?;
            }
        }
        let new = self.new_conflicts.iter().map(|it| (it.number, it));
        append(transaction, schema::CONFLICTS, entries(schema::CONFLICTS, new)?, keep)?;
        // A number is given once, also where the conflict that had it is gone.
        if let Some(last) = self.new_conflicts.last() {
            transaction
                .open_table(schema::HEADER)?
                .insert(schema::CONFLICT, last.number)?;
        }
        Ok(())
    }

    /// Brings a view along. It can't fail: it runs after the commit.
    pub(super) fn apply(self, view: &mut StoreView) {
        if let Some(mutation) = self.mutation {
            view.revision = mutation.revision;
        }
        if !(self.rows.is_empty() && self.ledger.is_empty()) {
            view.touch(self.rows.keys().chain(self.ledger.keys()).cloned().collect());
        }
        put(&mut view.rows, self.rows);
        put(&mut view.ledger, self.ledger);
        for (revision, export) in self.outbox {
            let place = view.outbox.binary_search_by_key(&revision, |export| export.revision);
            match (place, export) {
                (Ok(place), Some(export)) => view.outbox[place] = export,
                (Err(place), Some(export)) => view.outbox.insert(place, export),
                (Ok(place), None) => drop(view.outbox.remove(place)),
                (Err(_), None) => {}
            }
        }
    }
}

fn put<V: Clone>(map: &mut ById<V>, changes: BTreeMap<Id, Option<V>>) {
    for (id, value) in changes {
        match value {
            Some(value) => map.insert(id, value),
            None => drop(map.remove(&id)),
        }
    }
}

fn encoded(table: ByNumber, value: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    schema::encode(table.name(), value)
}

fn write_by_text(
    transaction: &WriteTransaction,
    definition: ByText,
    changes: &BTreeMap<Id, Option<impl Serialize>>,
) -> Result<(), StoreError> {
    if changes.is_empty() {
        return Ok(());
    }
    let mut table = transaction.open_table(definition)?;
    for (id, value) in changes {
        let key = id.to_string();
        match value {
            Some(value) => {
                let bytes = schema::encode(definition.name(), value)?;
                table.insert(key.as_str(), bytes.as_slice())?;
            }
            None => drop(table.remove(key.as_str())?),
        }
    }
    Ok(())
}

/// Entries of a journal, encoded.
fn entries<'a, T: Serialize + 'a>(
    table: ByNumber,
    entries: impl Iterator<Item = (u64, &'a T)>,
) -> Result<Entries, StoreError> {
    entries.map(|(key, value)| Ok((key, encoded(table, value)?))).collect()
}

/// Adds entries to a journal and lets go of the oldest beyond `keep`.
fn append(transaction: &WriteTransaction, definition: ByNumber, entries: Entries, keep: u64) -> Result<(), StoreError> {
    if entries.is_empty() {
        return Ok(());
    }
    let mut table = transaction.open_table(definition)?;
    for (key, value) in entries {
        table.insert(key, value.as_slice())?;
    }
    while table.len()? > keep {
        table.pop_first()?;
    }
    Ok(())
}

/// The records of mutations, runs and conflicts name commits by their new ids.
fn rename(transaction: &WriteTransaction, renamed: &BTreeMap<String, String>) -> Result<(), StoreError> {
    if renamed.is_empty() {
        return Ok(());
    }
    rename_in(transaction, schema::MUTATIONS, |mutation: &mut Mutation| {
        let new = mutation.commit.as_ref().and_then(|old| renamed.get(old));
        new.map(|new| mutation.commit = Some(new.clone())).is_some()
    })?;
    rename_in(transaction, schema::RUNS, |run: &mut Run| {
        let mut follows = false;
        for head in [&mut run.before, &mut run.after].into_iter().flatten() {
            if let Some(new) = renamed.get(head) {
                head.clone_from(new);
                follows = true;
            }
        }
        follows
    })?;
    rename_in(transaction, schema::CONFLICTS, |conflict: &mut Conflict| {
        let new = renamed.get(&conflict.commit);
        new.map(|new| conflict.commit.clone_from(new)).is_some()
    })
}

fn rename_in<T: Serialize + serde::de::DeserializeOwned>(
    transaction: &WriteTransaction,
    definition: ByNumber,
    mut change: impl FnMut(&mut T) -> bool,
) -> Result<(), StoreError> {
    let mut table = transaction.open_table(definition)?;
    let mut changed = vec![];
    for entry in table.iter()? {
        let (key, bytes) = entry?;
        let mut record: T = schema::decode(definition.name(), &key.value(), bytes.value())?;
        if change(&mut record) {
            changed.push((key.value(), encoded(definition, &record)?));
        }
    }
    for (key, bytes) in changed {
        table.insert(key, bytes.as_slice())?;
    }
    Ok(())
}

/// Writes the commit into a mutation's record, where the record is still kept.
fn land(transaction: &WriteTransaction, revision: u64, commit: &str) -> Result<(), StoreError> {
    let mut table = transaction.open_table(schema::MUTATIONS)?;
    let record: Option<Mutation> = table
        .get(revision)?
        .map(|bytes| schema::decode(schema::MUTATIONS.name(), &revision, bytes.value()))
        .transpose()?;
    if let Some(mut mutation) = record {
        mutation.commit = Some(commit.to_owned());
        table.insert(revision, encoded(schema::MUTATIONS, &mutation)?.as_slice())?;
    }
    Ok(())
}
