//! The chain of schema versions: cut off anywhere it continues, a newer file is left alone.

use redb::backends::FileBackend;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};

use super::*;
use crate::store::migrate::{Step, migrate};
use crate::store::schema;

const NOTES: TableDefinition<'static, u64, &'static str> = TableDefinition::new("notes");

/// A step as they will come: it fills in what older files lack.
fn notes(transaction: &WriteTransaction) -> Result<(), StoreError> {
    let mut table = transaction.open_table(NOTES)?;
    if table.get(1)?.is_none() {
        table.insert(1, "first")?;
    }
    Ok(())
}

/// A step that builds on the one before.
fn more_notes(transaction: &WriteTransaction) -> Result<(), StoreError> {
    let mut table = transaction.open_table(NOTES)?;
    let first = table.get(1)?.map(|text| text.value().to_owned()).unwrap_or_default();
    table.insert(2, format!("after {first}").as_str())?;
    Ok(())
}

/// A step that writes and then fails.
fn cut_off(transaction: &WriteTransaction) -> Result<(), StoreError> {
    transaction.open_table(NOTES)?.insert(9, "torn")?;
    Err(StoreError::NoExport(0))
}

/// The newest version that this program knows.
const TODAY: u64 = CHAIN.len() as u64;

type Run = fn(&WriteTransaction) -> Result<(), StoreError>;

fn chain(later: &[Run]) -> Vec<Step> {
    let known = CHAIN.iter().map(|step| Step {
        to: step.to,
        run: step.run,
    });
    let later = later.iter().zip(TODAY + 1..).map(|(run, to)| Step { to, run: *run });
    known.chain(later).collect()
}

fn contents(database: &Database) -> (u64, Vec<String>) {
    let read = database.begin_read().unwrap();
    let version = read
        .open_table(schema::HEADER)
        .unwrap()
        .get(schema::SCHEMA)
        .unwrap()
        .unwrap()
        .value();
    let notes = match read.open_table(NOTES) {
        Ok(table) => table
            .iter()
            .unwrap()
            .map(|note| note.unwrap().1.value().to_owned())
            .collect(),
        Err(_) => vec![],
    };
    (version, notes)
}

#[test]
fn a_migration_that_is_cut_off_continues_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let database = Database::create(&path).unwrap();
    migrate(&database, CHAIN, &path).unwrap();
    assert_eq!(contents(&database).0, TODAY);
    assert!(migrate(&database, &chain(&[notes, cut_off]), &path).is_err());
    assert_eq!(
        contents(&database),
        (TODAY + 1, vec!["first".to_owned()]),
        "the whole step or none of it"
    );
    let whole = chain(&[notes, more_notes]);
    migrate(&database, &whole, &path).unwrap();
    let want = (TODAY + 2, vec!["first".to_owned(), "after first".to_owned()]);
    assert_eq!(contents(&database), want);
    migrate(&database, &whole, &path).unwrap();
    assert_eq!(contents(&database), want);

    // A file whose steps were done but not counted (restored from parts): the steps meet their own result.
    let write = database.begin_write().unwrap();
    write
        .open_table(schema::HEADER)
        .unwrap()
        .insert(schema::SCHEMA, 1)
        .unwrap();
    write.commit().unwrap();
    migrate(&database, &whole, &path).unwrap();
    assert_eq!(contents(&database), want);
}

#[test]
fn every_step_is_idempotent_and_counts_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let database = Database::create(&path).unwrap();
    for (step, to) in CHAIN.iter().zip(1..) {
        assert_eq!(step.to, to);
        let dump = || {
            let read = database.begin_read().unwrap();
            crate::store::read::facts(&read).unwrap()
        };
        let run = || {
            let write = database.begin_write().unwrap();
            (step.run)(&write).unwrap();
            write.commit().unwrap();
            dump()
        };
        assert_eq!(run(), run());
    }
}

#[tokio::test]
async fn a_newer_or_foreign_file_is_refused_and_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let file = || {
        std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .unwrap()
    };
    let newer = chain(&[notes]);
    drop(
        Door::with(
            once(FileBackend::new(file()).unwrap()),
            &path,
            &newer,
            Retention::default(),
        )
        .unwrap(),
    );
    let error = Store::open(&path).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "{} has schema version {}, and this mcpd knows versions up to {TODAY}",
            path.display(),
            TODAY + 1
        )
    );
    assert!(error.hint().unwrap().contains("newer mcpd"));
    let database = Database::create(&path).unwrap();
    assert_eq!(contents(&database), (TODAY + 1, vec!["first".to_owned()]));
    drop(database);

    for table in ["header", "other"] {
        let path = folder.path().join(table);
        let database = Database::create(&path).unwrap();
        let write = database.begin_write().unwrap();
        write.open_table(TableDefinition::<u64, u64>::new(table)).unwrap();
        write.commit().unwrap();
        drop(database);
        assert!(
            matches!(Store::open(&path).await, Err(StoreError::Foreign { .. })),
            "{table}"
        );
    }
}

#[tokio::test]
async fn a_value_that_does_not_decode_is_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    for (key, value, want) in [
        (
            "server/a",
            "{",
            "the store's table rows holds a value that can't be read at server/a",
        ),
        (
            "llm2/a",
            r#"{"document":null,"revision":1}"#,
            "the store's table rows holds a value that can't be read at llm2/a",
        ),
    ] {
        let path = folder.path().join(format!("{}.redb", key.replace('/', "-")));
        drop(Store::open(&path).await.unwrap());
        let database = Database::create(&path).unwrap();
        let write = database.begin_write().unwrap();
        write
            .open_table(schema::ROWS)
            .unwrap()
            .insert(key, value.as_bytes())
            .unwrap();
        write.commit().unwrap();
        drop(database);
        assert_eq!(Store::open(&path).await.unwrap_err().to_string(), want);
    }
}
