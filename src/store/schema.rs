//! Tables and their encoding. Keys are texts or numbers; values are JSON, so a store can be read by hand and old fields
//! stay readable. A changed meaning of a table is a new schema version and a step in `migrate.rs`.
//!
//! Schema 2:
//!
//! | table | key | value |
//! |---|---|---|
//! | header | `schema`, `revision`, `conflict`, `commits` | number: the schema's version, the newest revision, the last conflict's, how many commits there were |
//! | facts | name | text: small facts, as `agreed`; `store` is the store's random id |
//! | rows | identity | `Row` |
//! | ledger | identity | `LedgerRow` |
//! | outbox | revision | `PendingExport` |
//! | mutations | revision | `Mutation`, the newest 10,000 |
//! | conflict_records | number | `Conflict`, the newest 10,000 |
//! | events | sequence | `Event`, the newest 10,000 |
//! | audit | sequence | `AuditEvent`, the newest 100,000 |
//! | runs | id | `Run`, the newest 1,000; made with the first one, so a store without it is of the same schema |
//!
//! In schema 1 a table `conflicts` held the latest conflict of each identity.

use redb::TableDefinition;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::StoreError;

/// A table of JSON values by text.
pub(super) type ByText = TableDefinition<'static, &'static str, &'static [u8]>;
/// A table of JSON values by number.
pub(super) type ByNumber = TableDefinition<'static, u64, &'static [u8]>;

pub(super) const HEADER: TableDefinition<'static, &'static str, u64> = TableDefinition::new("header");
pub(super) const FACTS: TableDefinition<'static, &'static str, &'static str> = TableDefinition::new("facts");
pub(super) const ROWS: ByText = TableDefinition::new("rows");
pub(super) const LEDGER: ByText = TableDefinition::new("ledger");
pub(super) const OUTBOX: ByNumber = TableDefinition::new("outbox");
pub(super) const MUTATIONS: ByNumber = TableDefinition::new("mutations");
pub(super) const CONFLICTS: ByNumber = TableDefinition::new("conflict_records");
/// Schema 1's table of conflicts.
pub(super) const CONFLICTS_1: ByText = TableDefinition::new("conflicts");
pub(super) const EVENTS: ByNumber = TableDefinition::new("events");
pub(super) const AUDIT: ByNumber = TableDefinition::new("audit");
pub(super) const RUNS: ByNumber = TableDefinition::new("runs");

/// The header's key of the schema version.
pub(super) const SCHEMA: &str = "schema";
/// The header's key of the newest revision.
pub(super) const REVISION: &str = "revision";
/// The header's key of the last number that a conflict was given.
pub(super) const CONFLICT: &str = "conflict";
/// The header's key of how many commits there were: it tells whether one that seemed to fail is there.
pub(super) const COMMITS: &str = "commits";
/// The fact that tells one store from another.
pub(super) const STORE: &str = "store";

/// How many entries of a journal are kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Retention {
    pub events: u64,
    pub audit: u64,
    pub mutations: u64,
    pub conflicts: u64,
    pub runs: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            events: 10_000,
            audit: 100_000,
            mutations: 10_000,
            conflicts: 10_000,
            runs: 1_000,
        }
    }
}

pub(super) fn encode(table: &str, value: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(value).map_err(|source| StoreError::Encode {
        table: table.to_owned(),
        source,
    })
}

pub(super) fn decode<T: DeserializeOwned>(table: &str, key: &impl ToString, bytes: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(bytes).map_err(|source| StoreError::Decode {
        table: table.to_owned(),
        key: key.to_string(),
        source,
    })
}
