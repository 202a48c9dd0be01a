//! Performing the plan of `agree`: recover, import, drop, export; each step compare-and-set, each crash recoverable.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::kit::Digest;
use crate::reconcile::agree::{self, Export, Plan, Recovery, Standing};
use crate::record::{Actor, PendingExport, StoreView};
use crate::repo::{Landing, Prepared, Snapshot, Source};
use crate::resource::{Document, Id, Tree};
use crate::store::StoreError;

use super::conflicts;
use super::epoch::{EPOCH, HEAD, Lineage, WRITER};
use super::report::{Happening, now};
use super::{ALLOWED, EngineError, Inner, lock};

/// What a pass over the plan came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pass {
    /// Something moved: look again.
    Again,
    /// What became of an export is not known before the remote was asked: what was known stays.
    Asks,
    /// Nothing is left that could be done now.
    Rest,
}

/// What one agree pass saw and planned.
pub(super) struct Agreed {
    pub(super) snapshot: Snapshot,
    pub(super) plan: Plan,
    /// Exports that a single resource keeps from landing, by resource.
    pub(super) stuck: BTreeMap<Id, String>,
    pub(super) pass: Pass,
    /// Why nothing of this head is taken over, where a person has to say so first.
    pub(super) replaced: Option<String>,
    /// Why nothing is written into the repository, where a person has to say so first.
    pub(super) other_writer: Option<String>,
    /// The store's revision that was seen.
    pub(super) revision: u64,
    /// The identities with which secrets were opened.
    pub(super) generation: u64,
}

impl Agreed {
    /// Whether looking again would find the same and do nothing: the same head, the same rows, nothing to export. The
    /// ledger is no part of this, because it only moves in a pass that does something.
    pub(super) fn still_holds(&self, snapshot: &Snapshot, view: &StoreView, generation: u64) -> bool {
        self.plan.is_empty()
            && self.replaced.is_none()
            && self.other_writer.is_none()
            && self.plan.held.is_empty()
            && self.snapshot.head == snapshot.head
            && self.generation == generation
            && self.revision == view.revision
            && view.outbox.is_empty()
    }
}

/// The name of the source that the ledger was written with.
const SOURCE: &str = "source";
/// The head whose deletions wait for a person.
pub(super) const GUARDED: &str = "mass-delete";

/// A ledger that was kept with another source (or with a repository that has gone) says nothing about this one: then
/// what differs is a conflict, never a deletion.
pub(super) async fn open_epoch(inner: &Inner) -> Result<(), EngineError> {
    let store = &inner.parts.store;
    let (name, gone) = match &inner.parts.source {
        Source::Hosted(_) => {
            let head = inner.parts.source.snapshot().await?.head;
            (
                inner.parts.identity.clone(),
                head.is_none() && !store.view().ledger.is_empty(),
            )
        }
        // What its branch says is compared when it has been heard of.
        Source::Remote(_) | Source::Folder(_) => (inner.parts.identity.clone(), false),
    };
    inner.go_on_scrubbing().await?;
    let known = store.meta(SOURCE);
    if known.as_deref() != Some(name.as_str()) || gone {
        if known.is_some() {
            // First, so that a head of the new one is never compared with one of the old.
            let words = [HEAD, EPOCH, WRITER, ALLOWED, GUARDED].map(|word| (word.to_owned(), None));
            store.set_metas(words.into()).await?;
            let actor = Actor {
                name: "mcpd".to_owned(),
                door: "mcpd".to_owned(),
            };
            store.new_epoch(actor, now()).await?;
        }
        store.set_meta(SOURCE, &name).await?;
    }
    Ok(())
}

impl Inner {
    /// The plan for a state of the repository, against the store as it is.
    pub(super) fn plan_agree(
        &self,
        snapshot: &Snapshot,
        view: &StoreView,
        landed: &BTreeMap<u64, bool>,
        allow_mass_delete: bool,
    ) -> Plan {
        let head = snapshot.head.as_deref().unwrap_or_default();
        // Cost follows the change: what was found in agreement and has not moved is not looked at again.
        let generation = self.parts.vault.generation();
        let standing = lock(&self.standing);
        let only = standing
            .as_ref()
            .and_then(|it| it.only(head, snapshot.since.as_ref(), view, generation));
        drop(standing);
        agree::plan(&agree::Seen {
            tree: &snapshot.tree,
            head,
            store: view,
            landed,
            only: only.as_ref(),
            waits: !head.is_empty() && self.parts.store.meta(GUARDED).as_deref() == Some(head),
            allow_mass_delete,
            now: now(),
        })
    }

    /// Looks at both sides once, plans, and performs the plan as far as it goes.
    pub(super) async fn agree_once(&self) -> Result<Agreed, EngineError> {
        let generation = self.parts.vault.generation();
        let snapshot = self.snapshot().await?;
        lock(&self.recipients).clone_from(&snapshot.recipients);
        let lineage = self.lineage(&snapshot).await?;
        let view = self.parts.store.view();
        if lineage != Lineage::Follows {
            return Ok(Agreed {
                plan: Plan::default(),
                stuck: BTreeMap::new(),
                pass: if lineage == Lineage::Begun {
                    Pass::Again
                } else {
                    Pass::Rest
                },
                replaced: match lineage {
                    Lineage::Replaced(why) => Some(why),
                    Lineage::Follows | Lineage::Begun => None,
                },
                other_writer: self.other_writer(),
                revision: view.revision,
                snapshot,
                generation,
            });
        }
        let mut landed = BTreeMap::new();
        for row in &view.outbox {
            if let Some(attempt) = &row.attempt {
                let Some(known) = self.parts.source.landed(attempt).await? else {
                    return Ok(Agreed {
                        plan: Plan::default(),
                        stuck: BTreeMap::new(),
                        pass: Pass::Asks,
                        replaced: None,
                        other_writer: self.other_writer(),
                        revision: view.revision,
                        snapshot,
                        generation,
                    });
                };
                landed.insert(row.revision, known);
            }
        }
        let head = snapshot.head.clone().unwrap_or_default();
        let allowed = self.is_allowed(&head);
        let plan = self.plan_agree(&snapshot, &view, &landed, allowed);
        if let Some(standing) = Standing::after(&plan, &head, &view, generation) {
            *lock(&self.standing) = Some(standing);
        }
        self.note_guarded(&plan, &head).await?;
        let mut stuck = BTreeMap::new();
        let pass = if plan.is_empty() || plan.guard.is_some() {
            Pass::Rest
        } else {
            self.announce(&plan, &snapshot, &view).await;
            match self.perform_agree(&plan, &snapshot, &view, &mut stuck).await {
                Ok(pass) => pass,
                // Somebody changed a row meanwhile: what was seen is old.
                Err(EngineError::Store(StoreError::Stale { .. })) => Pass::Again,
                Err(error) => return Err(error),
            }
        };
        let pass = if pass == Pass::Rest && plan.guard.is_none() {
            self.tend_secrets(&snapshot, &view).await?
        } else {
            pass
        };
        if pass == Pass::Rest && plan.guard.is_none() {
            self.note_head(&snapshot).await?;
            if !snapshot.tree.documents.is_empty() && !self.claimed() {
                self.parts.store.set_meta("agreed", "1").await?;
            }
        }
        Ok(Agreed {
            snapshot,
            plan,
            stuck,
            pass,
            replaced: None,
            other_writer: self.other_writer(),
            revision: view.revision,
            generation,
        })
    }

    /// Remembers the head whose deletions wait for a person: a change elsewhere must not let them through.
    async fn note_guarded(&self, plan: &Plan, head: &str) -> Result<(), EngineError> {
        let store = &self.parts.store;
        let known = store.meta(GUARDED);
        let now = match (&plan.guard, known.as_deref() == Some(head)) {
            (Some(_), _) => Some(head.to_owned()),
            (None, true) if !self.is_allowed(head) => known.clone(),
            _ => None,
        };
        if now != known {
            store.set_metas([(GUARDED.to_owned(), now)].into()).await?;
        }
        Ok(())
    }

    /// Tells those who watch what is about to be imported.
    async fn announce(&self, plan: &Plan, snapshot: &Snapshot, view: &StoreView) {
        if self.happenings.receiver_count() == 0 || plan.changes.is_empty() && plan.conflicts.is_empty() {
            return;
        }
        let running = self.preview(&plan.outcome(view)).await;
        let mut incoming = plan.clone();
        incoming.shown.retain(|shown| shown.source.is_some());
        let body = super::view::body(&incoming, &running, snapshot.tree.diagnostics.clone(), view.revision);
        let head = snapshot.head.clone().unwrap_or_default();
        let _ = self.happenings.send(Happening::Planned {
            head,
            plan: Arc::new(body),
        });
    }

    pub(super) async fn perform_agree(
        &self,
        plan: &Plan,
        snapshot: &Snapshot,
        view: &StoreView,
        stuck: &mut BTreeMap<Id, String>,
    ) -> Result<Pass, EngineError> {
        if !plan.recover.is_empty() {
            for recovery in &plan.recover {
                self.recover(recovery, view, snapshot).await?;
            }
            return Ok(Pass::Again);
        }
        self.import(plan, snapshot).await?;
        if !plan.changes.is_empty() {
            // A person's word for a mass deletion was for what has just been done.
            if self.is_allowed(snapshot.head.as_deref().unwrap_or_default()) {
                self.allow(None).await?;
            }
        }
        if !plan.rebase.is_empty() {
            // What waits has changed: its exports are planned on what it is now.
            return Ok(Pass::Again);
        }
        let imported = !plan.changes.is_empty() || !plan.settle.is_empty() || !plan.drops.is_empty();
        let exported = self.export(&plan.exports, snapshot, view, stuck).await?;
        Ok(if imported || exported { Pass::Again } else { Pass::Rest })
    }

    async fn import(&self, plan: &Plan, snapshot: &Snapshot) -> Result<(), EngineError> {
        let nothing = plan.changes.is_empty()
            && plan.settle.is_empty()
            && plan.conflicts.is_empty()
            && plan.rebase.is_empty()
            && plan.drops.is_empty();
        if nothing {
            return Ok(());
        }
        let head = snapshot.head.clone().unwrap_or_default();
        let door = match self.parts.source {
            Source::Hosted(_) => "push",
            Source::Remote(_) | Source::Folder(_) => self.parts.source.kind(),
        };
        let unknown = || Actor {
            name: door.to_owned(),
            door: door.to_owned(),
        };
        let actor = self.pusher(&head).unwrap_or_else(unknown);
        let message = match (&snapshot.message_author, &self.parts.source) {
            // Whoever may write to the remote can put down any author: the name is shown, and no more.
            (Some((author, subject)), Source::Remote(_)) => format!("{subject} (by {author}, as the commit says)"),
            (Some((_, subject)), _) => subject.clone(),
            (None, _) => "changed files".to_owned(),
        };
        let import = plan.import(
            now(),
            actor.clone(),
            message,
            head.clone(),
            conflicts::found(plan, now()),
        );
        let conflicts = import.conflicts.len();
        let mutation = self.parts.store.import(import).await?;
        let resources = mutation.as_ref().map_or(0, |mutation| mutation.changes.len());
        if resources + conflicts > 0 {
            let revision = mutation.as_ref().map(|mutation| mutation.revision);
            self.runs.imported(resources, conflicts, revision, &actor);
        }
        if let Some(mutation) = mutation {
            let _ = self.happenings.send(Happening::Applied {
                revision: mutation.revision,
            });
        }
        Ok(())
    }

    /// Settles an export whose landing was not written down before a crash, or forgets an attempt that did not land.
    async fn recover(&self, recovery: &Recovery, view: &StoreView, now: &Snapshot) -> Result<(), EngineError> {
        let Some(row) = view.outbox.iter().find(|row| row.revision == recovery.revision) else {
            return Ok(());
        };
        let store = &self.parts.store;
        if recovery.landed {
            let attempt = row.attempt.clone().unwrap_or_default();
            let (tree, commit) = match self.parts.source.bare() {
                Some(bare) => (self.opened(bare.snapshot_of(&attempt, None).await?).tree, attempt),
                None => (Arc::clone(&now.tree), now.head.clone().unwrap_or_default()),
            };
            store.settle_export(row.revision, written(row, &tree), &commit).await?;
            self.runs.exported(row.revision, &row.actor);
            let message = row.message.clone();
            let _ = self.happenings.send(Happening::Exported { message, commit });
        }
        match store.record_attempt(row.revision, None).await {
            // The export was settled whole and has left the outbox.
            Ok(()) | Err(StoreError::NoExport(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes mutations into the repository, one commit each, in their order. Whether anything moved.
    async fn export(
        &self,
        exports: &[Export],
        planned: &Snapshot,
        view: &StoreView,
        stuck: &mut BTreeMap<Id, String>,
    ) -> Result<bool, EngineError> {
        if exports.is_empty() || self.other_writer().is_some() || !self.takes_exports() {
            return Ok(false);
        }
        if !self.lease.try_take("export") {
            return Ok(false);
        }
        let done = self.export_leased(exports, planned, view, stuck).await;
        self.lease.release("export");
        done
    }

    /// Whether the repository can be written to now. Where it can't, exports wait without anybody asking again and again:
    /// the source says when that has changed.
    pub(super) fn takes_exports(&self) -> bool {
        let remote = self.parts.source.remote();
        remote.is_none_or(|remote| remote.standing().takes_pushes)
    }

    async fn export_leased(
        &self,
        exports: &[Export],
        planned: &Snapshot,
        view: &StoreView,
        stuck: &mut BTreeMap<Id, String>,
    ) -> Result<bool, EngineError> {
        let (source, store) = (&self.parts.source, &self.parts.store);
        let mut moved = false;
        let mut head = planned.head.clone();
        // Commits for a remote, each on top of the one before: they travel as one push.
        let mut chain_of: Option<Prepared> = None;
        let mut chained = 0;
        for export in exports {
            let Some(row) = view.outbox.iter().find(|row| row.revision == export.revision) else {
                continue;
            };
            let snapshot = match (&chain_of, source.bare()) {
                (Some(tip), Some(bare)) => self.opened(bare.snapshot_of(&tip.commit, None).await?),
                _ => self.snapshot().await?,
            };
            // The plan speaks of the head that it saw: what came since has to be planned, or it would be written over.
            if chain_of.is_none() && snapshot.head != head {
                return Ok(true);
            }
            let mut ids: Vec<Id> = export.ids.clone();
            let prepared = loop {
                // What waits keeps later mutations of the same resource waiting too: commits tell the order of changes.
                ids.retain(|id| !stuck.contains_key(id));
                if ids.is_empty() {
                    break None;
                }
                match source.prepare(&snapshot, row, &ids).await {
                    Ok(prepared) => break Some(prepared),
                    // It alone has to wait; the rest of its mutation does not.
                    Err(error) => match error.resource() {
                        Some(id) if ids.contains(id) => drop(stuck.insert(id.clone(), chain(&error))),
                        _ => return Err(error.into()),
                    },
                }
            };
            let Some(prepared) = prepared else { continue };
            if prepared.changes || chain_of.is_some() {
                // In a chain, what needs no commit of its own stands or falls with the commit that says the same.
                store
                    .record_attempt(row.revision, Some(prepared.attempt.clone()))
                    .await?;
                if source.remote().is_some() {
                    chain_of = Some(match chain_of {
                        Some(before) => prepared.after(before),
                        None => prepared,
                    });
                    chained += 1;
                    if chained == MOST_CHAINED {
                        break;
                    }
                    continue;
                }
                match source.land(&prepared).await? {
                    Landing::Landed => {}
                    Landing::Moved | Landing::Underway => {
                        store.record_attempt(row.revision, None).await?;
                        return Ok(true);
                    }
                }
                head = Some(prepared.commit.clone());
                let _ = self.happenings.send(Happening::Exported {
                    message: row.message.clone(),
                    commit: prepared.commit.clone(),
                });
            }
            store
                .settle_export(row.revision, prepared.written.clone(), &prepared.commit)
                .await?;
            if prepared.changes {
                self.runs.exported(row.revision, &row.actor);
            }
            moved = true;
        }
        if let Some(whole) = &chain_of {
            // What became of it is asked for as after a crash, so the loop goes on meanwhile.
            source.land(whole).await?;
        }
        Ok(moved)
    }
}

/// The most commits that travel as one push.
const MOST_CHAINED: usize = 256;

/// Which changes of an export stand in a tree, and where.
fn written(row: &PendingExport, tree: &Tree) -> Vec<(Id, Option<(Digest, String)>)> {
    let stands = |id: &Id, after: Option<&Arc<Document>>| match (after, tree.documents.get(id)) {
        (Some(after), Some(placed)) if placed.digest == after.digest() => {
            Some((id.clone(), Some((placed.digest, placed.path.clone()))))
        }
        (None, None) if !tree.held.contains(id) && tree.unreadable.is_empty() => Some((id.clone(), None)),
        _ => None,
    };
    row.changes
        .iter()
        .filter_map(|change| stands(&change.id, change.after.as_ref()))
        .collect()
}

/// Why the repository can't be used, in one line with its causes.
pub(super) fn describe(error: &EngineError) -> String {
    chain(error)
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
