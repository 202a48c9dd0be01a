//! A seeded hostile world for `agree`: people push, ask and accept at any moment, histories go back, effects fail, files
//! break, move and heal, snapshots are old by the time that they are planned on, and the process dies between any two
//! effects. No edit may be lost in silence: it reaches the other side, is undone by a later edit of the same side, or is
//! told in a conflict.
//!
//! The planner is the real one, and so is every change of the store (`store::PureStore`); the repository is a few values.
//! What it does not model: more than one writer of the repository, and a loss of the store.

mod effects;
mod people;
mod specs;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::kit::Position;
use crate::kit::time::Timestamp;
use crate::reconcile::agree::{Plan, Rules, Seen, Standing, plan_with};
use crate::record::PendingExport;
use crate::resource::{Id, Placed, Tree, Unreadable};
use crate::store::PureStore;

use people::{Random, Wishes};
use specs::{KEYS, PROJECT, Spec, Value, digest, document, id, named, number};

const ROUNDS: usize = 24;
/// How many states of the repository a history can go back to.
const PAST: usize = 6;

/// What a mcpd may do wrong; each but [`Fault::None`] must be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// The planner judges by other rules.
    Planner(Rules),
    /// Effects are not compare-and-set.
    BlindWrites,
    /// The ledger of an export is written before the ref has moved.
    LedgerFirst,
    /// What became of an export that was under way is taken for granted.
    RecoverBlindly,
    /// What waits is written as it was when the plan was made.
    OldExports,
    /// Where little moved, only the repository is looked at for it.
    OneSide,
    /// A history that went back is compared with the ledger of the one before.
    OldLedger,
}

impl Fault {
    fn rules(self) -> Rules {
        match self {
            Self::Planner(rules) => rules,
            _ => Rules::Sound,
        }
    }
}

/// A state of the repository that its history can go back to.
#[derive(Clone)]
struct Past {
    head: u64,
    files: [Value; KEYS],
    landed: Landed,
}

/// Commits that mcpd made and that are in the history, with what each wrote.
type Landed = BTreeMap<String, Vec<Id>>;

#[derive(Default)]
struct World {
    files: [Value; KEYS],
    /// 0: fine; 1: unreadable; 2: unreadable, but names can be found in it.
    broken: [u8; KEYS],
    /// Whether the file stands in another folder.
    moved: [bool; KEYS],
    head: u64,
    past: Vec<Past>,
    landed: Landed,
    /// The history was replaced, and the engine has not taken that in yet.
    epoch: bool,
    store: PureStore,
    wishes: Wishes,
    commits: u64,
    /// What waited when the plan was made.
    planned: Vec<PendingExport>,
    /// What was found in agreement, and in which tree.
    standing: Option<(Standing, Tree, u64)>,
    told: usize,
    trace: Option<Vec<String>>,
}

impl World {
    fn say(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(line());
        }
    }

    fn path(&self, key: usize) -> String {
        if self.moved[key] {
            format!("moved/{key}.yaml")
        } else {
            id(key).canonical_path()
        }
    }

    /// Whether every reference of the store is met.
    fn is_whole(&self) -> bool {
        let project = self.row(PROJECT);
        project.is_none_or(|project| named(project).all(|server| self.row(server).is_some()))
    }

    fn row(&self, key: usize) -> Value {
        let row = self.store.view.rows.get(id(key))?;
        row.document.as_deref().map(number)
    }

    fn revision(&self, key: usize) -> Option<u64> {
        self.store.view.rows.get(id(key)).map(|row| row.revision)
    }

    fn write_file(&mut self, key: usize, value: Value) {
        self.files[key] = value;
        // A file that is gone stands nowhere: the next one is a new one.
        self.moved[key] &= value.is_some();
    }

    fn grant(&mut self, key: usize) {
        let both = [self.files[key], self.row(key)];
        self.wishes.grant(key, both);
        if self.known(key).is_none() {
            self.wishes.without_base(key);
        }
    }

    /// The present state joins those that the history can go back to.
    fn remember(&mut self) {
        if self.past.len() == PAST {
            self.past.remove(0);
        }
        self.past.push(Past {
            head: self.head,
            files: self.files,
            landed: self.landed.clone(),
        });
    }

    /// What the files say, as a reader puts it together.
    fn tree(&self) -> Tree {
        let mut tree = Tree::default();
        for key in 0..KEYS {
            if self.broken[key] > 0 {
                let text = if self.broken[key] == 1 {
                    "kind: ["
                } else {
                    "kind: [ k0 k1 k2 p"
                };
                tree.unreadable.push(Unreadable {
                    path: self.path(key),
                    id: None,
                    whole_file: true,
                    bytes: Some(Arc::from(text.as_bytes())),
                });
            } else if let Some(spec) = self.files[key] {
                let placed = Placed {
                    document: document(key, spec),
                    digest: digest(key, spec),
                    path: self.path(key),
                    position: Position { line: 1, column: 1 },
                };
                tree.documents.insert(placed);
            }
        }
        let unmet = self.files[PROJECT]
            .filter(|_| self.broken[PROJECT] == 0)
            .is_some_and(|project| {
                named(project).any(|server| !tree.documents.contains_key(id(server)) && !self.broken.contains(&2))
            });
        if unmet {
            tree.documents.remove(id(PROJECT));
            tree.held.insert(id(PROJECT).clone());
            tree.unreadable.push(Unreadable {
                path: self.path(PROJECT),
                id: Some(id(PROJECT).clone()),
                whole_file: false,
                bytes: None,
            });
        }
        tree
    }

    fn plan(&mut self, tree: &Tree, head: u64, fault: Fault) -> Result<Plan, String> {
        let landed: BTreeMap<u64, bool> = self
            .store
            .view
            .outbox
            .iter()
            .filter_map(|row| {
                let attempt = row.attempt.as_ref()?;
                Some((
                    row.revision,
                    fault != Fault::RecoverBlindly && self.landed.contains_key(attempt),
                ))
            })
            .collect();
        self.planned.clone_from(&self.store.view.outbox);
        let planned_head = head;
        let head = head.to_string();
        let only = self.only(tree, &head, fault);
        let seen = |only| Seen {
            tree,
            head: &head,
            store: &self.store.view,
            landed: &landed,
            only,
            waits: false,
            allow_mass_delete: true,
            now: Timestamp::UNIX_EPOCH,
        };
        let whole = plan_with(fault.rules(), &seen(None));
        // Cost follows the change, and the plan is the same.
        let plan = plan_with(fault.rules(), &seen(only.as_ref()));
        if plan != whole {
            return Err(format!("looking at {only:?} alone:\n{plan:?}\n{whole:?}"));
        }
        if let Some(standing) = Standing::after(&plan, &head, &self.store.view, 0) {
            self.standing = Some((standing, tree.clone(), planned_head));
        }
        Ok(plan)
    }

    /// The resources that may have moved since both sides were compared last.
    fn only(&self, tree: &Tree, head: &str, fault: Fault) -> Option<BTreeSet<Id>> {
        let (standing, old, then) = self.standing.as_ref()?;
        let all = (0..KEYS).map(|key| id(key).clone());
        let moved = all.filter(|id| {
            old.documents.get(id) != tree.documents.get(id) || old.held.contains(id) != tree.held.contains(id)
        });
        let moved: BTreeSet<Id> = moved.collect();
        if fault == Fault::OneSide {
            return Some(moved);
        }
        standing.only(head, Some(&(then.to_string(), Arc::new(moved))), &self.store.view, 0)
    }
}

/// A life of the world. How many conflicts were told, or what went wrong.
fn run(seed: u64, fault: Fault, traced: bool) -> Result<usize, String> {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut world = World {
        trace: traced.then(Vec::new),
        ..World::default()
    };
    let done = live(&mut world, &mut random, fault);
    match (done, world.trace) {
        (Ok(()), _) => Ok(world.told),
        (Err(why), None) => Err(why),
        (Err(why), Some(trace)) => {
            let last = trace.len().saturating_sub(60);
            Err(format!("{why}\n{}", trace[last..].join("\n")))
        }
    }
}

fn live(world: &mut World, random: &mut Random, fault: Fault) -> Result<(), String> {
    for _ in 0..ROUNDS {
        world.people(random, 2);
        // A hint that never came: nobody looks.
        if random.one_in(8) {
            continue;
        }
        world.round(random, fault)?;
    }
    // People stop, files are mended, nothing fails any more.
    world.broken = [0; KEYS];
    world.head += 1;
    (0..KEYS).for_each(|key| world.grant(key));
    for _ in 0..64 {
        let plan = world.quiet_round(fault)?;
        if !plan.is_empty() {
            continue;
        }
        if plan.held.is_empty() {
            return world.is_settled();
        }
        // What is held waits for a person: who takes the reference out, on the side that has it, lets everything go on.
        let without = |project: Spec| [0, project[1], project[2], project[3]];
        let named = |project: &Value| project.is_some_and(|project| project[0] != 0);
        if named(&world.files[PROJECT]) {
            world.head += 1;
            world.save(PROJECT, world.files[PROJECT].map(without));
        } else if named(&world.row(PROJECT)) {
            let project = world.row(PROJECT).map(without);
            world.request(&BTreeMap::from([(PROJECT, project)]), false);
        } else {
            return Err(format!("held without a reference: {:?}", plan.held));
        }
    }
    Err("never settles".to_owned())
}

impl World {
    fn is_settled(&self) -> Result<(), String> {
        for key in 0..KEYS {
            if self.files[key] != self.row(key) {
                return Err(format!(
                    "{key}: {:?} and {:?} in silence",
                    self.files[key],
                    self.row(key)
                ));
            }
            let row = self.store.view.rows.get(id(key));
            let ledger = self.store.view.ledger.get(id(key));
            let whole = match (row, ledger) {
                (None, None) => true,
                (Some(row), Some(ledger)) => ledger.revision == row.revision && ledger.document.is_none(),
                _ => false,
            };
            if !whole {
                return Err(format!("{key}: {row:?} with the ledger {ledger:?}"));
            }
        }
        if let Some(wish) = self.wishes.0.iter().next() {
            return Err(format!("forgotten: {wish:?}"));
        }
        if !self.store.view.outbox.is_empty() {
            return Err("an export is left behind".to_owned());
        }
        Ok(())
    }
}

fn first_failure(worlds: u64, fault: Fault) -> Option<String> {
    let failed = (0..worlds).find(|seed| run(*seed, fault, false).is_err())?;
    run(failed, fault, true)
        .err()
        .map(|why| format!("seed {failed}: {why}"))
}

/// Seeds that once found something, whatever the world has become since.
const FOUND: &[u64] = &[111, 174, 5032, 23_339, 81_361];

/// 2,000 worlds; a million with `MCPCTL_LONG`, which then writes its figures to docs/proof/.
#[test]
fn thousands_of_worlds_lose_nothing() {
    let long = std::env::var_os("MCPCTL_LONG").is_some();
    let worlds: u64 = if long { 1_000_000 } else { 2_000 };
    let begin = std::time::Instant::now();
    let mut conflicts = 0;
    for seed in FOUND.iter().copied().chain(0..worlds) {
        let Ok(told) = run(seed, Fault::None, false) else {
            let why = run(seed, Fault::None, true).expect_err("it failed before");
            panic!("seed {seed}: {why}");
        };
        conflicts += told;
    }
    // A world without conflicts would prove little.
    assert!(conflicts > 2_000, "{conflicts} conflicts: the world is too kind");
    if long {
        let figures = serde_json::json!({
            "seeds": [0, worlds - 1], "worlds": worlds,
            "rounds": ROUNDS, "conflicts": conflicts, "violations": 0, "seconds": begin.elapsed().as_secs(),
        });
        crate::kit::proof::write("agree_worlds", figures);
    }
}

/// Each planted fault must be found, or the world proves nothing.
#[test]
fn planted_faults_are_found() {
    for fault in [
        Fault::BlindWrites,
        Fault::LedgerFirst,
        Fault::RecoverBlindly,
        Fault::OldExports,
        Fault::OneSide,
        Fault::OldLedger,
        Fault::Planner(Rules::CompareValues),
        Fault::Planner(Rules::UnreadableIsAbsent),
        Fault::Planner(Rules::RebaseNothing),
        Fault::Planner(Rules::TellNothing),
        Fault::Planner(Rules::MergeWithoutBase),
    ] {
        assert!(
            first_failure(20_000, fault).is_some(),
            "{fault:?}: the world was too kind"
        );
    }
}
