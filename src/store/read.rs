//! Questions to the database.

use std::collections::BTreeMap;

use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata, TableError, TableHandle};
use serde::de::DeserializeOwned;

use crate::record::{ById, Mutation, Run, StoreView};
use crate::resource::Id;

use super::batch::Sequences;
use super::error::StoreError;
use super::schema::{self, ByNumber, ByText};

/// The whole state, decoded: once, at the start.
pub(super) fn view(transaction: &ReadTransaction) -> Result<StoreView, StoreError> {
    let header = transaction.open_table(schema::HEADER)?;
    let mut view = StoreView::default();
    view.revision = header.get(schema::REVISION)?.map_or(0, |revision| revision.value());
    view.rows = by_id(transaction, schema::ROWS)?;
    view.ledger = by_id(transaction, schema::LEDGER)?;
    view.outbox = after(transaction, schema::OUTBOX, 0, usize::MAX)?;
    Ok(view)
}

/// The last number of each journal, and of the commits.
pub(super) fn sequences(transaction: &ReadTransaction) -> Result<Sequences, StoreError> {
    let last = |definition: ByNumber| -> Result<u64, StoreError> {
        let table = transaction.open_table(definition)?;
        Ok(table.last()?.map_or(0, |(key, _)| key.value()))
    };
    let header = transaction.open_table(schema::HEADER)?;
    let conflict = header.get(schema::CONFLICT)?.map(|number| number.value());
    Ok(Sequences {
        event: last(schema::EVENTS)?,
        audit: last(schema::AUDIT)?,
        conflict: conflict.unwrap_or(0),
        // A store of before they were counted begins at nothing.
        commit: {
            let header = transaction.open_table(schema::HEADER)?;
            header.get(schema::COMMITS)?.map_or(0, |commits| commits.value())
        },
    })
}

/// Every small fact.
pub(super) fn facts(transaction: &ReadTransaction) -> Result<BTreeMap<String, String>, StoreError> {
    let table = transaction.open_table(schema::FACTS)?;
    let mut facts = BTreeMap::new();
    for entry in table.iter()? {
        let (key, value) = entry?;
        facts.insert(key.value().to_owned(), value.value().to_owned());
    }
    Ok(facts)
}

/// How many conflicts there are.
pub(super) fn conflict_count(transaction: &ReadTransaction) -> Result<u64, StoreError> {
    Ok(transaction.open_table(schema::CONFLICTS)?.len()?)
}

/// One mutation.
pub(super) fn mutation(transaction: &ReadTransaction, revision: u64) -> Result<Option<Mutation>, StoreError> {
    let table = transaction.open_table(schema::MUTATIONS)?;
    let bytes = table.get(revision)?;
    bytes
        .map(|bytes| schema::decode(schema::MUTATIONS.name(), &revision, bytes.value()))
        .transpose()
}

/// The newest runs up to an id, newest first; none where the store has no table of them yet.
pub(super) fn runs(transaction: &ReadTransaction, up_to: u64, limit: usize) -> Result<Vec<Run>, StoreError> {
    let table = match transaction.open_table(schema::RUNS) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(vec![]),
        table => table?,
    };
    let mut runs = vec![];
    for entry in table.range(..=up_to)?.rev().take(limit) {
        let (id, bytes) = entry?;
        runs.push(schema::decode(schema::RUNS.name(), &id.value(), bytes.value())?);
    }
    Ok(runs)
}

/// The first entries after a number, oldest first.
pub(super) fn after<T: DeserializeOwned>(
    transaction: &ReadTransaction,
    definition: ByNumber,
    since: u64,
    limit: usize,
) -> Result<Vec<T>, StoreError> {
    let table = transaction.open_table(definition)?;
    let mut entries = vec![];
    for entry in table.range(since.saturating_add(1)..)?.take(limit) {
        let (key, bytes) = entry?;
        entries.push(schema::decode(definition.name(), &key.value(), bytes.value())?);
    }
    Ok(entries)
}

/// The newest entries, newest first.
pub(super) fn newest<T: DeserializeOwned>(
    transaction: &ReadTransaction,
    definition: ByNumber,
    limit: usize,
) -> Result<Vec<T>, StoreError> {
    let table = transaction.open_table(definition)?;
    let mut entries = vec![];
    for entry in table.iter()?.rev().take(limit) {
        let (key, bytes) = entry?;
        entries.push(schema::decode(definition.name(), &key.value(), bytes.value())?);
    }
    Ok(entries)
}

fn by_id<T: DeserializeOwned + Clone>(
    transaction: &ReadTransaction,
    definition: ByText,
) -> Result<ById<T>, StoreError> {
    let table = transaction.open_table(definition)?;
    let mut values = ById::default();
    for entry in table.iter()? {
        let (key, bytes) = entry?;
        let id: Id = schema::decode(definition.name(), &key.value(), key_json(key.value()).as_bytes())?;
        values.insert(id, schema::decode(definition.name(), &key.value(), bytes.value())?);
    }
    Ok(values)
}

/// A key as JSON text, so that an identity that this program does not know is told like any other unreadable value.
fn key_json(key: &str) -> String {
    serde_json::Value::from(key).to_string()
}
