//! A seeded hostile world for `agree`: people edit both sides at any moment, effects fail, files break and heal, and the
//! process dies between any two effects. No edit may be lost in silence: it reaches the other side, is undone by a later
//! edit of the same side, or stands in a conflict record.
//!
//! The world holds three resources in one file each. What it does not model: more than one writer of the repository, and
//! a loss of the store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use crate::kit::Digest;
use crate::kit::Position;
use crate::kit::time::Timestamp;
use crate::record::{Actor, Change, Conflict, LedgerRow, PendingExport, Row, StoreView};
use crate::resource::{Document, Id, Placed, Tree, Unreadable};

use super::plan::{Plan, Rules, SOUND, Seen, plan_with};

const KEYS: usize = 3;
const VALUES: usize = 64;
const ROUNDS: usize = 24;

/// xorshift64*: small, seeded, the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33).unwrap_or(0) % n
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// What a mcpd may do wrong; each but [`Faults::NONE`] must be found.
#[derive(Clone, Copy)]
struct Faults {
    planner: Rules,
    /// Effects are compare-and-set.
    compare_and_set: bool,
    /// The ledger of an export is written after the ref has moved.
    ledger_last: bool,
    /// What became of an export that was under way is asked before anything else.
    recover: bool,
}

impl Faults {
    const NONE: Self = Self {
        planner: SOUND,
        compare_and_set: true,
        ledger_last: true,
        recover: true,
    };
}

/// A document and its digest, made once for all worlds.
type Known = (Arc<Document>, Digest);

static DOCUMENTS: LazyLock<Vec<Vec<Known>>> = LazyLock::new(|| {
    let document = |key: usize, value: usize| {
        let id: Id = format!("server/k{key}").parse().expect("an identity");
        let spec = serde_json::json!({"command": [format!("v{value}")]});
        let document = Document::new(id, &spec).expect("valid");
        let digest = document.digest();
        (Arc::new(document), digest)
    };
    (0..KEYS)
        .map(|key| (0..VALUES).map(|value| document(key, value)).collect())
        .collect()
});

fn id(key: usize) -> &'static Id {
    &DOCUMENTS[key][0].0.id
}

fn path(key: usize, moved: bool) -> String {
    if moved {
        format!("moved/k{key}.yaml")
    } else {
        id(key).canonical_path()
    }
}

type Value = Option<usize>;

#[derive(Default)]
struct World {
    files: [Value; KEYS],
    broken: [bool; KEYS],
    /// Whether the file stands in another folder.
    moved: [bool; KEYS],
    head: u64,
    /// Commits that mcpd made and that are in the history.
    landed: BTreeSet<String>,
    store: StoreView,
    /// What each key's row holds, as numbers.
    rows: [Value; KEYS],
    conflicts: Vec<Conflict>,
    /// Edits that have not reached the other side yet: (0 repository, 1 store; key) → value.
    wishes: BTreeMap<(usize, usize), Value>,
    next_value: usize,
    commits: u64,
    trace: Vec<String>,
}

impl World {
    fn head(&self) -> String {
        self.head.to_string()
    }

    fn tree(&self) -> Tree {
        let mut tree = Tree::default();
        for key in 0..KEYS {
            if self.broken[key] {
                tree.unreadable.push(Unreadable {
                    path: path(key, self.moved[key]),
                    id: None,
                    whole_file: true,
                    bytes: Some(Arc::from(&b"kind: ["[..])),
                });
            } else if let Some(value) = self.files[key] {
                let (document, digest) = DOCUMENTS[key][value].clone();
                let position = Position { line: 1, column: 1 };
                tree.documents.insert(Placed {
                    document,
                    digest,
                    path: path(key, self.moved[key]),
                    position,
                });
            }
        }
        tree
    }

    fn edit_repository(&mut self, random: &mut Random) {
        let key = random.below(KEYS);
        self.head += 1;
        if random.one_in(6) {
            // What can't be read in another folder, and never was agreed on, can't be known: an export then makes a
            // second file, and nothing is lost. This world has one file a resource, so it stays at its place.
            let known = self.seen(key);
            // A file that moves and breaks at once is the worst: nothing tells what it held.
            if self.files[key].is_some() && (known || !self.broken[key]) && random.one_in(2) {
                self.moved[key] = !self.moved[key];
                self.trace.push(format!("people   move k{key}: {}", self.moved[key]));
                if random.one_in(2) {
                    return;
                }
            }
            if self.moved[key] && !self.broken[key] && !known {
                return;
            }
            self.broken[key] = !self.broken[key];
            self.trace
                .push(format!("people   break or mend k{key}: {}", self.broken[key]));
            return;
        }
        if self.broken[key] {
            return;
        }
        let value = self.new_value(random);
        if self.files[key] == value {
            return;
        }
        self.trace.push(format!("people   repository k{key} = {value:?}"));
        self.write_file(key, value);
        self.wish(0, key, value);
        // Going back to what the repository was last known to hold is no wish.
        let ledger = self.store.ledger.get(id(key)).map(|row| row.digest);
        let known = match self.landed_export(key) {
            Some(change) => change.after.as_ref().map(|document| document.digest()),
            None => ledger,
        };
        if known == value.map(|v| DOCUMENTS[key][v].1) {
            self.wishes.remove(&(0, key));
        }
    }

    /// What an export wrote that is in the history and that the ledger does not know of yet.
    fn landed_export(&self, key: usize) -> Option<&Change> {
        let landed = |row: &&PendingExport| {
            row.attempt
                .as_ref()
                .is_some_and(|attempt| self.landed.contains(attempt))
        };
        let row = self.store.outbox.iter().rev().find(landed)?;
        row.changes.iter().find(|change| change.id == *id(key))
    }

    /// Whether both sides have held it since it was last gone from both.
    fn seen(&self, key: usize) -> bool {
        match self.landed_export(key) {
            Some(change) => change.after.is_some(),
            None => self.store.ledger.contains_key(id(key)),
        }
    }

    fn edit_store(&mut self, random: &mut Random) {
        let key = random.below(KEYS);
        let value = self.new_value(random);
        if self.rows[key] == value {
            return;
        }
        let before = self.rows[key].map(|v| DOCUMENTS[key][v].0.clone());
        let after = value.map(|v| DOCUMENTS[key][v].0.clone());
        self.write_row(key, value);
        let revision = self.store.revision;
        self.trace
            .push(format!("people   store k{key} = {value:?} (revision {revision})"));
        self.store.outbox.push(PendingExport {
            revision,
            at: Timestamp::UNIX_EPOCH,
            actor: Actor {
                name: "a".into(),
                door: "api".into(),
            },
            message: String::new(),
            changes: vec![Change {
                id: id(key).clone(),
                before,
                after,
            }],
            attempt: None,
        });
        self.wish(1, key, value);
        // Creating and deleting again before anybody else saw it is no wish (what a landed export wrote has
        // been seen, and what it deleted has not).
        if value.is_none() && !self.seen(key) {
            self.wishes.remove(&(1, key));
        }
    }

    fn new_value(&mut self, random: &mut Random) -> Value {
        // Old values come back now and then: values alone must not decide.
        if random.one_in(4) {
            return None;
        }
        if random.one_in(5) {
            return Some(random.below(self.next_value + 1));
        }
        self.next_value = (self.next_value + 1) % VALUES;
        Some(self.next_value)
    }

    fn wish(&mut self, side: usize, key: usize, value: Value) {
        self.wishes.insert((side, key), value);
        self.grant(key);
    }

    /// A wish is granted once both sides hold it.
    fn grant(&mut self, key: usize) {
        if self.files[key] == self.rows[key] {
            self.wishes.remove(&(0, key));
            self.wishes.remove(&(1, key));
        }
    }

    fn write_file(&mut self, key: usize, value: Value) {
        self.files[key] = value;
        // A file that is gone stands nowhere: the next one is a new one.
        self.moved[key] &= value.is_some();
    }

    fn write_row(&mut self, key: usize, value: Value) {
        self.store.revision += 1;
        let document = value.map(|v| DOCUMENTS[key][v].0.clone());
        self.store.rows.insert(
            id(key).clone(),
            Row {
                document,
                revision: self.store.revision,
            },
        );
        self.rows[key] = value;
    }

    fn key_of(wanted: &Id) -> usize {
        (0..KEYS).find(|key| id(*key) == wanted).expect("a key of this world")
    }

    fn number(document: Option<&Arc<Document>>) -> Value {
        let document = document?;
        let key = Self::key_of(&document.id);
        (0..VALUES).find(|v| DOCUMENTS[key][*v].0 == *document)
    }

    fn revision_of(&self, id: &Id) -> Option<u64> {
        self.store.rows.get(id).map(|row| row.revision)
    }
}

/// Why an engine's effect did not happen.
enum Stopped {
    Stale,
    Lost(String),
}

/// What an engine does with a plan, effect by effect; `World` may be edited and the process may die between any two.
enum Effect {
    Recover {
        revision: u64,
        landed: bool,
    },
    Import,
    Drop {
        revision: u64,
        ids: Vec<Id>,
    },
    Attempt {
        revision: u64,
        commit: String,
    },
    Land {
        revision: u64,
        ids: Vec<Id>,
        commit: String,
    },
    Settle {
        revision: u64,
        ids: Vec<Id>,
        commit: String,
    },
}

impl World {
    fn import(&mut self, plan: &Plan, faults: Faults) -> Result<(), Stopped> {
        let seen = plan
            .changes
            .iter()
            .map(|c| (&c.id, c.seen))
            .chain(plan.settle.iter().map(|s| (&s.id, s.seen)));
        if faults.compare_and_set && seen.into_iter().any(|(id, seen)| self.revision_of(id) != seen) {
            return Err(Stopped::Stale);
        }
        self.conflicts.extend(plan.conflicts.iter().cloned());
        for conflict in &plan.conflicts {
            let key = Self::key_of(&conflict.id);
            let lost = Self::number(conflict.repository.as_ref());
            if self.wishes.get(&(0, key)) == Some(&lost) {
                self.wishes.remove(&(0, key));
            }
        }
        for change in &plan.changes {
            let key = Self::key_of(&change.id);
            if let Some(wish) = self.wishes.get(&(1, key)) {
                return Err(Stopped::Lost(format!("the store's k{key} = {wish:?} was overwritten")));
            }
            let value = Self::number(change.after.as_ref());
            self.write_row(key, value);
            if let Some(document) = &change.after {
                let row = LedgerRow {
                    digest: document.digest(),
                    commit: String::new(),
                    revision: self.store.revision,
                    path: change.path.clone(),
                };
                self.store.ledger.insert(change.id.clone(), row);
            } else {
                self.store.ledger.remove(&change.id);
                self.store.rows.remove(&change.id);
            }
            self.grant(key);
        }
        for settle in &plan.settle {
            let key = Self::key_of(&settle.id);
            if let Some(row) = &settle.ledger {
                self.store.ledger.insert(settle.id.clone(), row.clone());
            } else {
                self.store.ledger.remove(&settle.id);
                if self.rows[key].is_none() {
                    self.store.rows.remove(&settle.id);
                }
            }
            self.grant(key);
        }
        Ok(())
    }

    /// Moves the ref: the commit was made on top of `seen_head`.
    fn land(&mut self, revision: u64, ids: &[Id], commit: &str, seen_head: u64, faults: Faults) -> Result<(), Stopped> {
        if faults.compare_and_set && self.head != seen_head {
            return Err(Stopped::Stale);
        }
        let Some(row) = self.store.outbox.iter().find(|row| row.revision == revision).cloned() else {
            return Err(Stopped::Stale);
        };
        self.head += 1;
        self.landed.insert(commit.to_owned());
        for change in row.changes.iter().filter(|change| ids.contains(&change.id)) {
            let key = Self::key_of(&change.id);
            let value = Self::number(change.after.as_ref());
            if let Some(wish) = self.wishes.get(&(0, key)).filter(|wish| **wish != value) {
                return Err(Stopped::Lost(format!(
                    "the repository's k{key} = {wish:?} was overwritten with {value:?}"
                )));
            }
            if self.broken[key] {
                return Err(Stopped::Lost(format!(
                    "k{key} was written into a file that can't be read"
                )));
            }
            self.write_file(key, value);
            self.grant(key);
        }
        Ok(())
    }

    /// Tells the store that an export is in the repository.
    fn settle(&mut self, revision: u64, ids: Option<&[Id]>, commit: &str) {
        let Some(at) = self.store.outbox.iter().position(|row| row.revision == revision) else {
            return;
        };
        let row = &mut self.store.outbox[at];
        row.attempt = None;
        let (done, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut row.changes)
            .into_iter()
            .partition(|c| ids.is_none_or(|ids| ids.contains(&c.id)));
        row.changes = rest;
        if row.changes.is_empty() {
            self.store.outbox.remove(at);
        }
        for change in done {
            let key = Self::key_of(&change.id);
            if let Some(document) = &change.after {
                let digest = document.digest();
                let row = LedgerRow {
                    digest,
                    commit: commit.to_owned(),
                    revision,
                    path: path(key, self.moved[key]),
                };
                self.store.ledger.insert(change.id.clone(), row);
            } else {
                self.store.ledger.remove(&change.id);
                if self.revision_of(&change.id) == Some(revision) {
                    self.store.rows.remove(&change.id);
                }
            }
            self.grant(key);
        }
    }

    fn plan(&self, faults: Faults) -> Plan {
        let landed = self
            .store
            .outbox
            .iter()
            .filter_map(|row| {
                let attempt = row.attempt.as_ref()?;
                Some((row.revision, faults.recover && self.landed.contains(attempt)))
            })
            .collect();
        let (tree, head) = (self.tree(), self.head());
        plan_with(
            faults.planner,
            &Seen {
                tree: &tree,
                head: &head,
                store: &self.store,
                landed: &landed,
                allow_mass_delete: true,
                now: Timestamp::UNIX_EPOCH,
            },
        )
    }

    fn effects(&mut self, plan: &Plan, faults: Faults) -> Vec<Effect> {
        let mut effects: Vec<Effect> = plan
            .recover
            .iter()
            .map(|it| Effect::Recover {
                revision: it.revision,
                landed: it.landed,
            })
            .collect();
        if !plan.changes.is_empty() || !plan.settle.is_empty() {
            effects.push(Effect::Import);
        }
        effects.extend(plan.drops.iter().map(|it| Effect::Drop {
            revision: it.revision,
            ids: it.ids.clone(),
        }));
        // One export a round: the next is made on top of the head that this one leaves.
        if let Some(export) = plan.exports.first() {
            self.commits += 1;
            let commit = format!("c{}", self.commits);
            let (revision, ids) = (export.revision, export.ids.clone());
            effects.push(Effect::Attempt {
                revision,
                commit: commit.clone(),
            });
            let land = Effect::Land {
                revision,
                ids: ids.clone(),
                commit: commit.clone(),
            };
            let settle = Effect::Settle { revision, ids, commit };
            effects.extend(if faults.ledger_last {
                [land, settle]
            } else {
                [settle, land]
            });
        }
        effects
    }

    fn perform(&mut self, effect: &Effect, plan: &Plan, seen_head: u64, faults: Faults) -> Result<(), Stopped> {
        match effect {
            Effect::Recover { revision, landed } => {
                let row = self.store.outbox.iter_mut().find(|row| row.revision == *revision);
                let attempt = row.and_then(|row| row.attempt.take());
                if *landed {
                    self.settle(
                        *revision,
                        self.written(*revision).as_deref(),
                        &attempt.unwrap_or_default(),
                    );
                }
                Ok(())
            }
            Effect::Import => self.import(plan, faults),
            Effect::Drop { revision, ids } => {
                if let Some(at) = self.store.outbox.iter().position(|row| row.revision == *revision) {
                    self.store.outbox[at].changes.retain(|change| !ids.contains(&change.id));
                    if self.store.outbox[at].changes.is_empty() {
                        self.store.outbox.remove(at);
                    }
                }
                Ok(())
            }
            Effect::Attempt { revision, commit, .. } => {
                if let Some(row) = self.store.outbox.iter_mut().find(|row| row.revision == *revision) {
                    row.attempt = Some(commit.clone());
                }
                Ok(())
            }
            Effect::Land { revision, ids, commit } => {
                if faults.ledger_last {
                    self.land(*revision, ids, commit, seen_head, faults)
                } else {
                    self.land_after_settling(*revision, ids, commit, seen_head, faults)
                }
            }
            Effect::Settle { revision, ids, commit } => {
                self.settle(*revision, Some(ids), commit);
                Ok(())
            }
        }
    }

    /// In this world an export writes all that its mutation still holds: one resource each.
    fn written(&self, revision: u64) -> Option<Vec<Id>> {
        let row = self.store.outbox.iter().find(|row| row.revision == revision)?;
        Some(row.changes.iter().map(|change| change.id.clone()).collect())
    }

    /// The planted fault "ledger first": the outbox row is gone, the value comes from the row.
    fn land_after_settling(
        &mut self,
        revision: u64,
        ids: &[Id],
        commit: &str,
        seen_head: u64,
        faults: Faults,
    ) -> Result<(), Stopped> {
        let changes = ids
            .iter()
            .map(|id| Change {
                id: id.clone(),
                before: None,
                after: self.store.rows.get(id).and_then(|r| r.document.clone()),
            })
            .collect();
        self.store.outbox.push(PendingExport {
            revision,
            at: Timestamp::UNIX_EPOCH,
            actor: Actor {
                name: "a".into(),
                door: "api".into(),
            },
            message: String::new(),
            changes,
            attempt: None,
        });
        let done = self.land(revision, ids, commit, seen_head, faults);
        self.store.outbox.pop();
        done
    }
}

fn run(seed: u64, faults: Faults) -> Result<usize, String> {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut world = World::default();
    let fail = |world: &World, why: &str| {
        let last: Vec<_> = world.trace.iter().rev().take(60).rev().cloned().collect();
        Err(format!("{why}\n{}", last.join("\n")))
    };
    for _ in 0..ROUNDS {
        edits(&mut world, &mut random, 2);
        let (plan, seen_head) = (world.plan(faults), world.head);
        let mut failed = false;
        for effect in world.effects(&plan, faults) {
            edits(&mut world, &mut random, 8);
            if random.one_in(12) {
                world.trace.push("crash".into());
                break;
            }
            if failed || random.one_in(12) {
                failed = true;
                continue;
            }
            world.trace.push(format!("engine   {}", name(&effect)));
            match world.perform(&effect, &plan, seen_head, faults) {
                Ok(()) => {}
                Err(Stopped::Stale) => failed = true,
                Err(Stopped::Lost(why)) => return fail(&world, &why),
            }
        }
    }
    // People stop, files are mended, nothing fails any more.
    world.broken = [false; KEYS];
    world.head += 1;
    for key in 0..KEYS {
        world.grant(key);
    }
    for _ in 0..64 {
        let (plan, seen_head) = (world.plan(faults), world.head);
        if plan.is_empty() {
            break;
        }
        for effect in world.effects(&plan, faults) {
            match world.perform(&effect, &plan, seen_head, faults) {
                Ok(()) => {}
                Err(Stopped::Stale) => break,
                Err(Stopped::Lost(why)) => return fail(&world, &why),
            }
        }
    }
    let last = world.plan(faults);
    if !last.is_empty() {
        return fail(&world, &format!("never settles: {last:?}"));
    }
    for key in 0..KEYS {
        if world.files[key] != world.rows[key] {
            return fail(
                &world,
                &format!("k{key}: {:?} and {:?} in silence", world.files[key], world.rows[key]),
            );
        }
    }
    if let Some(wish) = world.wishes.iter().next() {
        return fail(&world, &format!("forgotten: {wish:?}"));
    }
    if !world.store.outbox.is_empty() {
        return fail(&world, "an export is left behind");
    }
    Ok(world.conflicts.len())
}

fn edits(world: &mut World, random: &mut Random, one_in: usize) {
    if random.one_in(one_in) {
        if random.one_in(2) {
            world.edit_repository(random);
        } else {
            world.edit_store(random);
        }
    }
}

fn name(effect: &Effect) -> String {
    match effect {
        Effect::Recover { revision, landed } => format!("recover {revision} landed {landed}"),
        Effect::Import => "import".into(),
        Effect::Drop { revision, .. } => format!("drop {revision}"),
        Effect::Attempt { revision, commit, .. } => format!("attempt {revision} {commit}"),
        Effect::Land { revision, .. } => format!("land {revision}"),
        Effect::Settle { revision, .. } => format!("settle {revision}"),
    }
}

fn first_failure(worlds: u64, faults: Faults) -> Option<String> {
    (0..worlds).find_map(|seed| run(seed, faults).err().map(|why| format!("seed {seed}: {why}")))
}

/// 100,000 worlds; a million with `MCPCTL_LONG`, which then writes its figures to docs/proof/.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a test reads its environment, the clock, and writes its proof"
)]
fn a_hundred_thousand_worlds_lose_nothing() {
    let long = std::env::var_os("MCPCTL_LONG").is_some();
    let worlds: u64 = if long { 1_000_000 } else { 100_000 };
    let begin = std::time::Instant::now();
    let mut conflicts = 0;
    for seed in 0..worlds {
        match run(seed, Faults::NONE) {
            Ok(n) => conflicts += n,
            Err(why) => panic!("seed {seed}: {why}"),
        }
    }
    // A world without conflicts would prove little.
    assert!(conflicts > 10_000, "{conflicts} conflicts: the world is too kind");
    if long {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let head = std::process::Command::new("git")
            .arg("-C")
            .arg(root)
            .args(["rev-parse", "HEAD"])
            .output();
        let commit = String::from_utf8_lossy(&head.expect("git").stdout).trim().to_owned();
        let proof = serde_json::json!({
            "name": "agree_worlds", "commit": commit, "seeds": [0, worlds - 1], "worlds": worlds,
            "rounds": ROUNDS, "conflicts": conflicts, "violations": 0, "seconds": begin.elapsed().as_secs(),
        });
        std::fs::create_dir_all(root.join("docs/proof")).expect("docs/proof");
        std::fs::write(root.join("docs/proof/agree_worlds.json"), format!("{proof}\n")).expect("the proof");
    }
}

#[test]
fn the_same_world_gives_the_same_plan_and_a_settled_one_none() {
    let mut world = World::default();
    let mut random = Random(7);
    for _ in 0..8 {
        world.edit_repository(&mut random);
        world.edit_store(&mut random);
        assert_eq!(world.plan(Faults::NONE), world.plan(Faults::NONE));
    }
    assert!(World::default().plan(Faults::NONE).is_empty());
}

/// Each planted fault must be found, or the world proves nothing.
fn must_be_found(faults: Faults) {
    assert!(first_failure(20_000, faults).is_some(), "the world was too kind");
}

#[test]
fn planted_blind_writes_are_found() {
    must_be_found(Faults {
        compare_and_set: false,
        ..Faults::NONE
    });
}

#[test]
fn planted_comparison_of_values_is_found() {
    must_be_found(Faults {
        planner: Rules {
            revisions: false,
            ..SOUND
        },
        ..Faults::NONE
    });
}

#[test]
fn planted_ledger_first_is_found() {
    must_be_found(Faults {
        ledger_last: false,
        ..Faults::NONE
    });
}

#[test]
fn planted_unreadable_taken_for_absent_is_found() {
    must_be_found(Faults {
        planner: Rules {
            hold_unreadable: false,
            ..SOUND
        },
        ..Faults::NONE
    });
}

#[test]
fn planted_recovery_without_asking_is_found() {
    must_be_found(Faults {
        recover: false,
        ..Faults::NONE
    });
}
