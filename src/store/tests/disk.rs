//! A disk that fails when it is told to, and that may then lose any part of what was not synced yet.

use std::io::{Error, ErrorKind, Result};
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

use crate::store::Store;
use crate::store::door::Door;
use crate::store::error::StoreError;
use crate::store::migrate::CHAIN;
use crate::store::opening::Opening;
use crate::store::schema::Retention;

/// The bytes of a disk that outlive the process, and what was written since the last sync.
#[derive(Debug, Default)]
struct Platter {
    synced: Vec<u8>,
    now: Vec<u8>,
    since: Vec<Write>,
    operations: usize,
    fails: Range<usize>,
    /// Whether an operation failed since the database was opened.
    failed: bool,
    /// How often the database was opened.
    openings: usize,
    seed: u64,
}

#[derive(Debug, Clone)]
enum Write {
    Bytes(usize, Vec<u8>),
    Length(usize),
}

fn perform(bytes: &mut Vec<u8>, write: &Write) {
    match write {
        Write::Length(length) => bytes.resize(*length, 0),
        Write::Bytes(offset, data) => {
            let end = offset + data.len();
            bytes.resize(bytes.len().max(end), 0);
            bytes[*offset..end].copy_from_slice(data);
        }
    }
}

/// The disk; clones are the same one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk(Arc<Mutex<Platter>>);

impl Disk {
    /// A disk that holds these bytes; the operations of that range fail, counted from 0.
    pub(crate) fn new(bytes: Vec<u8>, fails: Range<usize>) -> Self {
        let platter = Platter {
            now: bytes.clone(),
            synced: bytes,
            fails,
            ..Platter::default()
        };
        Self(Arc::new(Mutex::new(platter)))
    }

    fn platter(&self) -> MutexGuard<'_, Platter> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many operations there were.
    pub(crate) fn operations(&self) -> usize {
        self.platter().operations
    }

    /// How often the database was opened.
    pub(crate) fn openings(&self) -> usize {
        self.platter().openings
    }

    /// From here on that many operations fail.
    pub(crate) fn fail(&self, many: usize) {
        let mut platter = self.platter();
        platter.fails = platter.operations..platter.operations.saturating_add(many);
    }

    /// It answers again.
    pub(crate) fn answer(&self) {
        self.platter().fails = 0..0;
    }

    /// Other bytes are on it.
    pub(crate) fn replace(&self, bytes: Vec<u8>) {
        let mut platter = self.platter();
        platter.now.clone_from(&bytes);
        platter.synced = bytes;
        platter.since.clear();
        platter.failed = false;
    }

    /// What becomes of what was not synced when the database is opened after a failure: 0 nothing stays, 1 all, else any
    /// part.
    pub(crate) fn keep(&self, seed: u64) {
        self.platter().seed = seed;
    }

    /// A store on this disk, opened again and again.
    pub(crate) fn store(&self) -> std::result::Result<Store, StoreError> {
        let path = Path::new("test.redb");
        let disk = self.clone();
        let opening = Opening::of(move || Ok(disk.opened()), path);
        let door = Door::with(opening, path, CHAIN, Retention::default())?;
        Ok(Store { door: Arc::new(door) })
    }

    /// The storage as a database finds it that is opened now: what the kernel showed and the disk never got is gone.
    fn opened(&self) -> Self {
        let mut platter = self.platter();
        platter.openings += 1;
        if std::mem::take(&mut platter.failed) {
            let bytes = left(&platter, platter.seed);
            platter.synced.clone_from(&bytes);
            platter.now = bytes;
            platter.since.clear();
        }
        drop(platter);
        self.clone()
    }

    /// Counts an operation, which fails when its time has come.
    fn step(&self) -> Result<MutexGuard<'_, Platter>> {
        let mut platter = self.platter();
        let operation = platter.operations;
        platter.operations += 1;
        if platter.fails.contains(&operation) {
            platter.failed = true;
            return Err(Error::other("the disk is gone"));
        }
        Ok(platter)
    }

    fn write_down(&self, write: Write) -> Result<()> {
        match self.step() {
            Ok(mut platter) => {
                perform(&mut platter.now, &write);
                platter.since.push(write);
                Ok(())
            }
            Err(error) => {
                // What fails in the middle has done a part of it.
                if let Write::Bytes(offset, data) = write {
                    let half = Write::Bytes(offset, data[..data.len() / 2].to_vec());
                    let mut platter = self.platter();
                    perform(&mut platter.now, &half);
                    platter.since.push(half);
                }
                Err(error)
            }
        }
    }

    /// What a power cut may leave: all that was synced, and any part of what was not.
    pub(crate) fn after_power_cut(&self, seed: u64) -> Vec<u8> {
        left(&self.platter(), seed)
    }
}

fn left(platter: &Platter, seed: u64) -> Vec<u8> {
    let mut bytes = platter.synced.clone();
    let mut random = seed;
    for write in &platter.since {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let keep = match seed {
            0 => false,
            1 => true,
            _ => random >> 63 == 0,
        };
        // A file's length is kept in order; its bytes need not be.
        if keep || matches!(write, Write::Length(_)) {
            perform(&mut bytes, write);
        }
    }
    bytes
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64> {
        Ok(self.step()?.now.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let platter = self.step()?;
        let start = usize::try_from(offset).map_err(Error::other)?;
        let found = platter
            .now
            .get(start..start + out.len())
            .ok_or(ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.write_down(Write::Length(usize::try_from(len).map_err(Error::other)?))
    }

    fn sync_data(&self) -> Result<()> {
        let mut platter = self.step()?;
        platter.synced = platter.now.clone();
        platter.since.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        let offset = usize::try_from(offset).map_err(Error::other)?;
        self.write_down(Write::Bytes(offset, data.to_vec()))
    }
}
