//! What an engine does with a plan, effect by effect: the world may be edited and the process may die between any two.

use crate::kit::Digest;
use crate::kit::time::Timestamp;
use crate::reconcile::agree::Plan;
use crate::record::{Actor, PendingExport};
use crate::resource::Id;

use super::people::{Random, Side};
use super::specs::{KEYS, id, key_of, number};
use super::{Fault, World};

/// Why an engine's effect did not happen.
enum Stopped {
    Stale,
    Lost(String),
}

#[derive(Debug)]
enum Effect {
    Epoch,
    Recover(u64, bool),
    Import,
    Attempt(u64, String),
    Land(u64, Vec<Id>, String),
    Settle(u64, Vec<Id>, String),
}

fn actor() -> Actor {
    Actor {
        name: "mcpd".into(),
        door: "push".into(),
    }
}

impl World {
    /// One pass of the engine among people who go on editing.
    pub(super) fn round(&mut self, random: &mut Random, fault: Fault) -> Result<(), String> {
        if self.epoch {
            if random.one_in(4) {
                return Ok(());
            }
            self.begin_epoch(fault);
        }
        // What is planned on was read a moment ago.
        let (tree, head) = (self.tree(), self.head);
        self.people(random, 6);
        let plan = self.plan(&tree, head, fault)?;
        let mut failed = false;
        for effect in self.effects(&plan, fault) {
            self.people(random, 8);
            if random.one_in(12) {
                self.say(|| "crash".into());
                return Ok(());
            }
            if failed || random.one_in(12) {
                failed = true;
                continue;
            }
            self.say(|| format!("engine   {effect:?}"));
            match self.perform(&effect, &plan, head, fault) {
                Ok(()) => {}
                Err(Stopped::Stale) => failed = true,
                Err(Stopped::Lost(why)) => return Err(why),
            }
        }
        Ok(())
    }

    /// One pass while nobody does anything and nothing fails. The plan that was performed.
    pub(super) fn quiet_round(&mut self, fault: Fault) -> Result<Plan, String> {
        if self.epoch {
            self.begin_epoch(fault);
        }
        let (tree, head) = (self.tree(), self.head);
        let plan = self.plan(&tree, head, fault)?;
        for effect in self.effects(&plan, fault) {
            self.say(|| format!("engine   {effect:?}"));
            match self.perform(&effect, &plan, head, fault) {
                Ok(()) => {}
                Err(Stopped::Stale) => break,
                Err(Stopped::Lost(why)) => return Err(why),
            }
        }
        Ok(plan)
    }

    fn begin_epoch(&mut self, fault: Fault) {
        self.epoch = false;
        self.say(|| format!("engine   {:?}", Effect::Epoch));
        if fault != Fault::OldLedger {
            drop(self.store.new_epoch(actor(), Timestamp::UNIX_EPOCH));
        }
        self.wishes.new_epoch();
        for key in 0..KEYS {
            // A deletion that waits is of what was agreed on: what a history says just like that it does not say anew.
            if let Some(agreed) = self.known(key) {
                self.wishes.known(Side::Repository, key, Some(agreed), self.files[key]);
            }
        }
        (0..KEYS).for_each(|key| self.grant(key));
    }

    fn effects(&mut self, plan: &Plan, fault: Fault) -> Vec<Effect> {
        let recover = plan.recover.iter().map(|it| Effect::Recover(it.revision, it.landed));
        let mut effects: Vec<Effect> = recover.collect();
        if !plan.changes.is_empty() || !plan.settle.is_empty() || !plan.rebase.is_empty() || !plan.drops.is_empty() {
            effects.push(Effect::Import);
        }
        if !plan.rebase.is_empty() && fault != Fault::OldExports {
            return effects;
        }
        // One export a round: the next is made on top of the head that this one leaves.
        if let Some(export) = plan.exports.first() {
            self.commits += 1;
            let commit = format!("c{}", self.commits);
            let (revision, ids) = (export.revision, export.ids.clone());
            effects.push(Effect::Attempt(revision, commit.clone()));
            let land = Effect::Land(revision, ids.clone(), commit.clone());
            let settle = Effect::Settle(revision, ids, commit);
            effects.extend(if fault == Fault::LedgerFirst {
                [settle, land]
            } else {
                [land, settle]
            });
        }
        effects
    }

    fn perform(&mut self, effect: &Effect, plan: &Plan, head: u64, fault: Fault) -> Result<(), Stopped> {
        match effect {
            Effect::Epoch => {}
            Effect::Recover(revision, landed) => {
                let attempt = self.waiting(*revision).and_then(|row| row.attempt).unwrap_or_default();
                if *landed {
                    let ids = self.landed.get(&attempt).cloned().unwrap_or_default();
                    self.settle(*revision, &ids, &attempt);
                }
                drop(self.store.record_attempt(*revision, None));
            }
            Effect::Import => self.import(plan, head, fault)?,
            Effect::Attempt(revision, commit) => {
                let told = self.store.record_attempt(*revision, Some(commit.clone()));
                told.map_err(|_| Stopped::Stale)?;
            }
            Effect::Land(revision, ids, commit) => self.land(*revision, ids, commit, plan, head, fault)?,
            Effect::Settle(revision, ids, commit) => self.settle(*revision, ids, commit),
        }
        Ok(())
    }

    fn waiting(&self, revision: u64) -> Option<PendingExport> {
        self.store
            .view
            .outbox
            .iter()
            .find(|row| row.revision == revision)
            .cloned()
    }

    fn import(&mut self, plan: &Plan, head: u64, fault: Fault) -> Result<(), Stopped> {
        let mut import = plan.import(Timestamp::UNIX_EPOCH, actor(), String::new(), head.to_string(), vec![]);
        if fault == Fault::BlindWrites {
            for change in &mut import.changes {
                change.seen = self.revision(key_of(&change.id));
            }
            for settle in &mut import.settle {
                settle.seen = self.revision(key_of(&settle.id));
            }
        }
        self.store.import(import).map_err(|_| Stopped::Stale)?;
        if !self.is_whole() {
            return Err(Stopped::Lost("the store names what is not there".to_owned()));
        }
        self.told += plan.conflicts.len();
        plan.conflicts.iter().for_each(|conflict| self.wishes.told(conflict));
        for change in &plan.changes {
            let key = key_of(&change.id);
            let shown = plan.shown.iter().any(|it| it.id == change.id && it.source.is_some());
            if !shown {
                return Err(Stopped::Lost(format!("row {key} was changed, and no plan showed it")));
            }
            if let Some(lost) = self.wishes.lost(Side::Store, key, change.after.as_deref().map(number)) {
                return Err(Stopped::Lost(lost));
            }
        }
        (0..KEYS).for_each(|key| self.grant(key));
        Ok(())
    }

    /// Moves the ref: the commit was made on top of the head that was seen.
    fn land(
        &mut self,
        revision: u64,
        ids: &[Id],
        commit: &str,
        plan: &Plan,
        head: u64,
        fault: Fault,
    ) -> Result<(), Stopped> {
        if fault != Fault::BlindWrites && self.head != head {
            return Err(Stopped::Stale);
        }
        let planned = || self.planned.iter().find(|row| row.revision == revision).cloned();
        let row = self.waiting(revision);
        let row = if fault == Fault::OldExports {
            row.and_then(|_| planned())
        } else {
            row
        };
        // The planted fault "ledger first": the outbox row is gone, the value comes from the row.
        let value = |key: usize| match &row {
            Some(row) => {
                let change = row.changes.iter().find(|change| change.id == *id(key));
                change.map(|change| change.after.as_deref().map(number))
            }
            None if fault != Fault::LedgerFirst => None,
            None => Some(self.row(key)),
        };
        let writes: Vec<_> = ids
            .iter()
            .map(key_of)
            .filter_map(|key| Some((key, value(key)?)))
            .collect();
        let sound = self.tree().held.is_empty();
        self.head += 1;
        let ids = writes.iter().map(|(key, _)| id(*key).clone());
        self.landed.insert(commit.to_owned(), ids.collect());
        for (key, value) in writes {
            if self.files[key] == value {
                continue;
            }
            // A commit changes what it tells of, and takes nothing else back.
            let told = row
                .iter()
                .flat_map(|row| &row.changes)
                .find(|change| change.id == *id(key));
            let before = told.map(|change| change.before.as_deref().map(number));
            if before.is_some_and(|before| before != self.files[key]) {
                let found = self.files[key];
                return Err(Stopped::Lost(format!(
                    "a commit tells of {key} from {before:?}, and it was {found:?}"
                )));
            }
            if let Some(lost) = self.wishes.lost(Side::Repository, key, value) {
                return Err(Stopped::Lost(lost));
            }
            if self.broken[key] != 0 {
                return Err(Stopped::Lost(format!(
                    "{key} was written into a file that can't be read"
                )));
            }
            if !plan.shown.iter().any(|it| it.id == *id(key) && it.source.is_none()) {
                return Err(Stopped::Lost(format!("file {key} was changed, and no plan showed it")));
            }
            self.write_file(key, value);
            self.grant(key);
        }
        if sound && !self.tree().held.is_empty() {
            return Err(Stopped::Lost(
                "a commit left a tree that no push can build on".to_owned(),
            ));
        }
        self.remember();
        Ok(())
    }

    /// Tells the store that an export is in the repository.
    fn settle(&mut self, revision: u64, ids: &[Id], commit: &str) {
        let Some(row) = self.waiting(revision) else { return };
        let changes = row.changes.iter().filter(|change| ids.contains(&change.id));
        let written: Vec<(Id, Option<(Digest, String)>)> = changes
            .map(|change| {
                let place = |document: &crate::resource::Document| (document.digest(), self.path(key_of(&change.id)));
                (change.id.clone(), change.after.as_deref().map(place))
            })
            .collect();
        self.store.settle_export(revision, written, commit);
        (0..KEYS).for_each(|key| self.grant(key));
    }
}
