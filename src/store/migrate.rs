//! The schema's steps, from nothing to today's.
//!
//! # Guarantees
//! Each step and its version number are one transaction, so a migration that is cut off continues where it was. A step
//! may also meet its own result (it is idempotent). A file with a newer version is not touched.

use std::path::Path;

use redb::{Database, ReadableDatabase, ReadableTable, TableError, TableHandle, WriteTransaction};

use crate::record::{Conflict, LedgerRow, PendingExport};

use super::error::StoreError;
use super::schema;

/// One step of the chain.
pub(super) struct Step {
    /// The version that it makes, one more than the step before.
    pub to: u64,
    /// What it does. It must be harmless to run it again.
    pub run: fn(&WriteTransaction) -> Result<(), StoreError>,
}

/// Every step there ever was: a store of any age can be opened.
pub(super) static CHAIN: &[Step] = &[Step { to: 1, run: first }, Step { to: 2, run: second }];

/// Schema 1: the tables, and the store's own id.
fn first(transaction: &WriteTransaction) -> Result<(), StoreError> {
    for table in [schema::ROWS, schema::LEDGER, schema::CONFLICTS_1] {
        transaction.open_table(table)?;
    }
    for table in [schema::OUTBOX, schema::MUTATIONS, schema::EVENTS, schema::AUDIT] {
        transaction.open_table(table)?;
    }
    let mut facts = transaction.open_table(schema::FACTS)?;
    if facts.get(schema::STORE)?.is_none() {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|error| StoreError::Random(error.to_string()))?;
        let id = format!("{:032x}", u128::from_be_bytes(random));
        facts.insert(schema::STORE, id.as_str())?;
    }
    let mut header = transaction.open_table(schema::HEADER)?;
    if header.get(schema::REVISION)?.is_none() {
        header.insert(schema::REVISION, 0)?;
    }
    Ok(())
}

/// Schema 2: conflicts have numbers, so that a second one of a resource does not take the place of the first; and the
/// ledger knows what was agreed on where a row has moved since, so that changes can be merged by field.
fn second(transaction: &WriteTransaction) -> Result<(), StoreError> {
    let old = schema::CONFLICTS_1.name();
    let there = transaction.list_tables()?.any(|table| table.name() == old);
    let mut conflicts = transaction.open_table(schema::CONFLICTS)?;
    if there {
        let table = transaction.open_table(schema::CONFLICTS_1)?;
        let mut last = conflicts.last()?.map_or(0, |(number, _)| number.value());
        for entry in table.iter()? {
            let (key, bytes) = entry?;
            let mut conflict: Conflict = schema::decode(old, &key.value(), bytes.value())?;
            last += 1;
            conflict.number = last;
            conflicts.insert(last, schema::encode(old, &conflict)?.as_slice())?;
        }
        transaction.open_table(schema::HEADER)?.insert(schema::CONFLICT, last)?;
        drop(table);
        transaction.delete_table(schema::CONFLICTS_1)?;
    }
    let mut ledger = transaction.open_table(schema::LEDGER)?;
    for entry in transaction.open_table(schema::OUTBOX)?.iter()? {
        let (revision, bytes) = entry?;
        let export: PendingExport = schema::decode(schema::OUTBOX.name(), &revision.value(), bytes.value())?;
        for change in export.changes {
            let (key, name) = (change.id.to_string(), schema::LEDGER.name());
            let row = ledger
                .get(key.as_str())?
                .map(|bytes| schema::decode(name, &key, bytes.value()));
            let Some(row) = row.transpose()? else { continue };
            let row: LedgerRow = row;
            if row.document.is_none()
                && change
                    .before
                    .as_ref()
                    .is_some_and(|before| before.digest() == row.digest)
            {
                let row = LedgerRow {
                    document: change.before,
                    ..row
                };
                ledger.insert(key.as_str(), schema::encode(name, &row)?.as_slice())?;
            }
        }
    }
    Ok(())
}

/// Brings a file to the end of the chain.
pub(super) fn migrate(database: &Database, chain: &[Step], path: &Path) -> Result<(), StoreError> {
    let found = version(database, path)?;
    let known = chain.last().map_or(0, |step| step.to);
    if found > known {
        return Err(StoreError::Newer {
            path: path.to_owned(),
            found,
            known,
        });
    }
    for step in chain.iter().filter(|step| step.to > found) {
        let transaction = database.begin_write()?;
        (step.run)(&transaction)?;
        transaction
            .open_table(schema::HEADER)?
            .insert(schema::SCHEMA, step.to)?;
        transaction.commit()?;
    }
    Ok(())
}

/// The version of a file; 0 where it is empty.
fn version(database: &Database, path: &Path) -> Result<u64, StoreError> {
    let foreign = || StoreError::Foreign { path: path.to_owned() };
    let transaction = database.begin_read()?;
    match transaction.open_table(schema::HEADER) {
        Ok(header) => Ok(header.get(schema::SCHEMA)?.ok_or_else(foreign)?.value()),
        Err(TableError::TableDoesNotExist(_)) => {
            let tables: Vec<String> = transaction
                .list_tables()?
                .map(|table| table.name().to_owned())
                .collect();
            if tables.is_empty() { Ok(0) } else { Err(foreign()) }
        }
        Err(TableError::TableTypeMismatch { .. }) => Err(foreign()),
        Err(error) => Err(error.into()),
    }
}
