//! What people do to both sides, and what they may expect of it.

use std::collections::BTreeMap;

use crate::kit::time::Timestamp;
use crate::reconcile::agree;
use crate::record::{Actor, Conflict, Edit, EditChange};
use crate::resource::Document;

use super::World;
use super::specs::{KEYS, PARTS, PROJECT, Spec, VALUES, Value, document, id, key_of, named, number, part_of, spec_of};

/// xorshift64*: small, seeded, the same everywhere.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33).unwrap_or(0) % n
    }

    pub(super) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn value(&mut self) -> u8 {
        u8::try_from(self.below(usize::from(VALUES))).unwrap_or(0)
    }
}

/// Which side a person edited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    Repository,
    Store,
}

/// The part that stands for whether there is a document at all: 1 or 0.
pub(super) const EXISTENCE: usize = PARTS;

/// Edits that have not reached the other side yet: what a part shall be. Each is granted once both sides hold it, undone by
/// a later edit of the same side, or told in a conflict.
#[derive(Debug, Default)]
pub(super) struct Wishes(pub(super) BTreeMap<(Side, usize, usize), u8>);

/// Whether a part that is so is not there.
fn is_absence(key: usize, part: usize, value: u8) -> bool {
    value == 0 && (part > 0 || key == PROJECT)
}

/// Whether a value is what a wish wants.
fn fulfils(value: Value, part: usize, wanted: u8) -> bool {
    match value {
        None => part == EXISTENCE && wanted == 0,
        Some(spec) if part < PARTS => spec[part] == wanted,
        Some(_) => wanted == 1,
    }
}

impl Wishes {
    fn edit(&mut self, side: Side, key: usize, from: Value, to: Value) {
        match (from, to) {
            (_, None) => {
                self.forget(side, key);
                self.0.insert((side, key, EXISTENCE), 0);
            }
            (None, Some(spec)) => {
                self.forget(side, key);
                self.0.insert((side, key, EXISTENCE), 1);
                for (part, value) in spec.into_iter().enumerate() {
                    self.0.insert((side, key, part), value);
                }
            }
            (Some(from), Some(to)) => {
                for part in (0..PARTS).filter(|part| from[*part] != to[*part]) {
                    self.0.insert((side, key, part), to[part]);
                }
            }
        }
    }

    /// What is as it was last agreed on is no wish: neither going back, nor what was never there for the other side.
    pub(super) fn known(&mut self, side: Side, key: usize, base: Value, now: Value) {
        self.0.retain(|(s, k, part), wanted| {
            let agreed = match base {
                Some(base) => *part < PARTS && base[*part] == *wanted,
                None => *part < PARTS && is_absence(key, *part, *wanted),
            };
            (*s, *k) != (side, key) || now.is_none() || !agreed
        });
        if base.is_some() == now.is_some() {
            self.0.remove(&(side, key, EXISTENCE));
        }
    }

    pub(super) fn forget(&mut self, side: Side, key: usize) {
        self.0.retain(|(s, k, _), _| (*s, *k) != (side, key));
    }

    /// What an engine's write of one side would take away without a word.
    pub(super) fn lost(&self, side: Side, key: usize, value: Value) -> Option<String> {
        let mut of = self.0.iter().filter(|((s, k, _), _)| (*s, *k) == (side, key));
        let lost = of.find(|((_, _, part), wanted)| !fulfils(value, *part, **wanted))?;
        let ((_, _, part), wanted) = lost;
        Some(format!(
            "{side:?} {key}: part {part} = {wanted} was overwritten with {value:?}"
        ))
    }

    pub(super) fn grant(&mut self, key: usize, both: [Value; 2]) {
        self.0
            .retain(|(_, k, part), wanted| *k != key || !both.iter().all(|value| fulfils(*value, *part, *wanted)));
    }

    /// What lost is told: it is no wish any more, if it is what is told.
    pub(super) fn told(&mut self, conflict: &Conflict) {
        let key = key_of(&conflict.id);
        let lost = conflict.repository.as_deref().map(number);
        let parts: Vec<usize> = conflict.fields.iter().map(part_of).collect();
        self.0.retain(|(side, k, part), wanted| {
            let meant = *side == Side::Repository && *k == key && (parts.is_empty() || parts.contains(part));
            !(meant && fulfils(lost, *part, *wanted))
        });
    }

    /// Where nothing was agreed on, that a part is not there tells nothing.
    pub(super) fn without_base(&mut self, key: usize) {
        self.0
            .retain(|(_, k, part), wanted| *k != key || *part == EXISTENCE || !is_absence(key, *part, *wanted));
    }

    /// A new epoch has no base: an absence is nothing that it could know of; but a deletion that waits it knows.
    pub(super) fn new_epoch(&mut self) {
        self.0.retain(|(side, key, part), wanted| {
            let deletion = *side == Side::Store && *part == EXISTENCE;
            deletion || !is_absence(*key, *part, *wanted)
        });
    }
}

impl World {
    pub(super) fn people(&mut self, random: &mut Random, one_in: usize) {
        if !random.one_in(one_in) {
            return;
        }
        match random.below(12) {
            0..5 => self.push(random),
            5..10 => self.ask(random),
            10 => self.accept(random),
            _ => self.rewind(random),
        }
    }

    /// A commit or a save: one or two resources, or a file that breaks or is mended.
    fn push(&mut self, random: &mut Random) {
        let key = random.below(KEYS);
        self.head += 1;
        if random.one_in(6) {
            self.break_or_move(key, random);
            return;
        }
        self.edit_file(key, random);
        if random.one_in(3) {
            self.edit_file(random.below(KEYS), random);
        }
        self.remember();
    }

    fn break_or_move(&mut self, key: usize, random: &mut Random) {
        // What can't be read in another folder, and never was agreed on, can't be known: an export then makes a second
        // file, and nothing is lost. This world has one file a resource, so it stays at its place.
        let known = self.known(key).is_some();
        if self.files[key].is_some() && (known || self.broken[key] == 0) && random.one_in(2) {
            // A file that moves and breaks at once is the worst: nothing tells what it held.
            self.moved[key] = !self.moved[key];
            self.say(|| format!("people   move {key}"));
            if random.one_in(2) {
                return;
            }
        }
        if self.moved[key] && self.broken[key] == 0 && !known {
            return;
        }
        self.broken[key] = if self.broken[key] == 0 {
            1 + u8::from(random.one_in(2))
        } else {
            0
        };
        let broken = self.broken[key];
        self.say(|| format!("people   break or mend {key}: {broken}"));
    }

    fn edit_file(&mut self, key: usize, random: &mut Random) {
        if self.broken[key] == 0 {
            let value = Self::edited(key, self.files[key], random);
            self.save(key, value);
        }
    }

    /// A person writes a file.
    pub(super) fn save(&mut self, key: usize, value: Value) {
        let before = self.files[key];
        if before == value {
            return;
        }
        self.say(|| format!("people   file {key} = {value:?}"));
        self.write_file(key, value);
        self.wish(Side::Repository, key, before, value);
    }

    fn edited(key: usize, now: Value, random: &mut Random) -> Value {
        let mut spec = match now {
            Some(_) if random.one_in(7) => return None,
            Some(spec) => spec,
            None => Spec::default(),
        };
        let parts = if key == PROJECT { 2 } else { PARTS };
        for _ in 0..=random.below(2) {
            spec[random.below(parts)] = random.value();
        }
        Some(spec)
    }

    /// A request: one or two resources, one transaction. What would leave a reference unmet is refused, as mcpd does.
    fn ask(&mut self, random: &mut Random) {
        let mut after: BTreeMap<usize, Value> = BTreeMap::new();
        for _ in 0..=usize::from(random.one_in(3)) {
            let key = random.below(KEYS);
            after.insert(key, Self::edited(key, self.row(key), random));
        }
        // A client that looked a while ago is refused.
        let stale = random.one_in(10);
        self.request(&after, stale);
    }

    pub(super) fn request(&mut self, after: &BTreeMap<usize, Value>, stale: bool) -> bool {
        let resulting = |key: usize| after.get(&key).copied().unwrap_or_else(|| self.row(key));
        let met = resulting(PROJECT).is_none_or(|project| named(project).all(|server| resulting(server).is_some()));
        if !met {
            return false;
        }
        let changes = after.iter().map(|(key, value)| EditChange {
            id: id(*key).clone(),
            seen: self
                .revision(*key)
                .map(|revision| revision - u64::from(stale && revision > 0)),
            after: value.map(|spec| document(*key, spec)),
        });
        let edit = Edit {
            at: Timestamp::UNIX_EPOCH,
            actor: Actor {
                name: "a".into(),
                door: "api".into(),
            },
            message: String::new(),
            changes: changes.collect(),
            checked_at: None,
        };
        let before: BTreeMap<usize, Value> = after.keys().map(|key| (*key, self.row(*key))).collect();
        if self.store.edit(edit).is_err() {
            return false;
        }
        for (key, value) in after {
            if before[key] != *value {
                let revision = self.store.view.revision;
                self.say(|| format!("people   row {key} = {value:?} (revision {revision})"));
                self.wish(Side::Store, *key, before[key], *value);
            }
        }
        true
    }

    /// Somebody takes what lost after all.
    fn accept(&mut self, random: &mut Random) {
        if self.store.conflicts.is_empty() {
            return;
        }
        let at = random.below(self.store.conflicts.len());
        let conflict = self.store.conflicts[at].clone();
        let key = key_of(&conflict.id);
        let row = self
            .store
            .view
            .rows
            .get(&conflict.id)
            .and_then(|row| row.document.clone());
        let after: Value = match (&row, &conflict.repository) {
            (Some(now), Some(lost)) if !conflict.fields.is_empty() => {
                let Ok(taken): Result<Document, _> = agree::adopt(now, lost, &conflict.fields) else {
                    return;
                };
                Some(number(&taken))
            }
            (_, lost) => lost.as_deref().map(number),
        };
        if self.request(&BTreeMap::from([(key, after)]), false) {
            self.store.conflicts.remove(at);
        }
    }

    /// A history that goes back: a checkout in a watched folder, or a forced push, which begins a new epoch.
    fn rewind(&mut self, random: &mut Random) {
        if self.past.is_empty() || !random.one_in(3) {
            return;
        }
        let then = self.past[random.below(self.past.len())].clone();
        let epoch = random.one_in(2);
        self.say(|| format!("people   rewind to {:?}, a new epoch: {epoch}", then.files));
        self.head += 1;
        self.landed = then.landed;
        self.epoch |= epoch;
        for key in 0..KEYS {
            if epoch {
                self.broken[key] = 0;
                self.moved[key] = false;
                self.wishes.forget(Side::Repository, key);
                self.write_file(key, then.files[key]);
                self.wish(Side::Repository, key, None, then.files[key]);
            } else if self.broken[key] == 0 {
                self.save(key, then.files[key]);
            }
        }
        // What only a commit that is gone had told is not known any more, on either side.
        for key in 0..KEYS {
            let (base, row) = (self.known(key), self.row(key));
            self.wishes.known(Side::Repository, key, base, self.files[key]);
            self.wishes.known(Side::Store, key, base, row);
        }
        self.past.retain(|past| past.head <= then.head);
    }

    fn wish(&mut self, side: Side, key: usize, from: Value, to: Value) {
        self.wishes.edit(side, key, from, to);
        let base = self.known(key);
        self.wishes.known(side, key, base, to);
        self.grant(key);
    }

    /// What both sides know that they agreed on: what an export wrote that is in the history and not settled yet, or what
    /// the ledger says.
    pub(super) fn known(&self, key: usize) -> Value {
        if self.epoch {
            return None;
        }
        let view = &self.store.view;
        let landed = view.outbox.iter().rev().find_map(|row| {
            let written = self.landed.get(row.attempt.as_ref()?)?;
            let mut changes = row.changes.iter();
            changes.find(|change| change.id == *id(key) && written.contains(&change.id))
        });
        match landed {
            Some(change) => change.after.as_deref().map(number),
            None => view.ledger.get(id(key)).map(|row| spec_of(row.digest)),
        }
    }
}
