//! Conflicts: told when they are found, ended by a person's word or when what lost is in force after all.

use std::sync::Arc;

use crate::kit::Diagnostic;
use crate::kit::time::Timestamp;
use crate::reconcile::agree::{self, Plan};
use crate::record::{Actor, Conflict, Event, Level, StoreView};
use crate::resource::{Document, Id};
use crate::wire::words;

use super::edit::{EditRequest, Edited, Only, Wanted};
use super::report::now;
use super::view::body;
use super::{Engine, EngineError, Inner};

/// What people are told of a plan's merges and conflicts.
pub(super) fn found(plan: &Plan, at: Timestamp) -> Vec<Event> {
    let event = |level, about: &Id, reason: &str, message: String| Event {
        sequence: 0,
        at,
        level,
        about: about.to_string(),
        reason: reason.to_owned(),
        message,
    };
    let merged = plan.merged.iter().map(|(id, origins)| {
        let message = format!("both sides changed it, and the changes were merged ({origins})");
        event(Level::Info, id, "Merged", message)
    });
    let lost = plan.conflicts.iter().map(|conflict| {
        let line = words::conflict(conflict);
        let line = line.trim_start_matches(&format!("! {}", conflict.id)).trim_start();
        let reason = conflict
            .reason
            .as_ref()
            .map_or_else(String::new, |why| format!("; {why}"));
        event(Level::Warning, &conflict.id, "Conflict", format!("{line}{reason}"))
    });
    merged.chain(lost).collect()
}

/// Whether what lost is in force: then there is nothing left to decide.
fn is_over(conflict: &Conflict, view: &StoreView) -> bool {
    let row = view.rows.get(&conflict.id).and_then(|row| row.document.as_ref());
    match (row, &conflict.repository) {
        (None, None) => true,
        (Some(row), Some(lost)) if conflict.fields.is_empty() => row == lost,
        (Some(row), Some(lost)) => agree::has(row, lost, &conflict.fields),
        _ => false,
    }
}

impl Inner {
    /// Ends the conflicts of which what lost is in force by now, however it came to be.
    pub(super) async fn end_conflicts(&self, view: &StoreView) -> Result<(), EngineError> {
        let store = &self.parts.store;
        // Who is just deciding one ends it, and wakes the loop again.
        let Ok(_alone) = self.deciding.try_lock() else {
            return Ok(());
        };
        if store.conflict_count().await? == 0 {
            return Ok(());
        }
        let over: Vec<Conflict> = store
            .conflicts()
            .await?
            .into_iter()
            .filter(|it| is_over(it, view))
            .collect();
        if over.is_empty() {
            return Ok(());
        }
        let events = over.iter().map(|it| ended(it, "what lost is in force now")).collect();
        store
            .end_conflicts(over.iter().map(|it| it.number).collect(), events)
            .await?;
        Ok(())
    }
}

fn ended(conflict: &Conflict, why: &str) -> Event {
    let short: String = conflict.commit.chars().take(7).collect();
    Event {
        sequence: 0,
        at: now(),
        level: Level::Info,
        about: conflict.id.to_string(),
        reason: "ConflictEnded".to_owned(),
        message: format!("the conflict with {short} is over: {why}"),
    }
}

impl Engine {
    /// The open conflicts of a resource.
    pub async fn conflicts_of(&self, id: &Id) -> Result<Vec<Conflict>, EngineError> {
        Ok(self.store().conflicts_of(id).await?)
    }

    /// Ends the conflicts of a resource: with what the repository said by one more change, or with what the store has.
    pub async fn accept(&self, id: &Id, repository: bool, actor: Actor) -> Result<Edited, EngineError> {
        let _alone = self.0.deciding.lock().await;
        let conflicts = self.store().conflicts_of(id).await?;
        if conflicts.is_empty() {
            return Err(EngineError::NoConflict(id.clone()));
        }
        let edited = if repository {
            let view = self.store().view();
            let row = view.rows.get(id);
            let after = accepted(id, row.and_then(|row| row.document.clone()), &conflicts)?;
            let creates = after.is_some();
            let wanted = Wanted {
                id: id.clone(),
                after,
                // What is decided here was decided on this row and no other.
                only: match row.filter(|row| row.document.is_some()) {
                    Some(row) => Only::IfAt(row.revision),
                    None if creates => Only::IfNew,
                    None => Only::Always,
                },
                source: None,
            };
            self.edit(EditRequest {
                actor,
                wanted: vec![wanted],
                dry_run: false,
            })
            .await?
        } else {
            Edited {
                plan: body(
                    &Plan::default(),
                    &crate::reconcile::converge::Plan::default(),
                    vec![],
                    self.store().view().revision,
                ),
                mutation: None,
            }
        };
        let why = if repository {
            "the repository's side was accepted"
        } else {
            "the store's side was accepted"
        };
        let events = conflicts.iter().map(|it| ended(it, why)).collect();
        let numbers = conflicts.iter().map(|it| it.number).collect();
        self.store().end_conflicts(numbers, events).await?;
        self.0.wake.notify_one();
        Ok(edited)
    }
}

/// What a resource becomes when everything that lost is taken, oldest first.
fn accepted(id: &Id, now: Option<Arc<Document>>, conflicts: &[Conflict]) -> Result<Option<Arc<Document>>, EngineError> {
    let mut after = now;
    for conflict in conflicts {
        after = match (&after, &conflict.repository) {
            (Some(now), Some(lost)) if !conflict.fields.is_empty() => {
                let taken = agree::adopt(now, lost, &conflict.fields).map_err(|problems| {
                    let told = |problem: &crate::resource::Problem| {
                        Diagnostic::of_file(id.to_string(), problem.to_string())
                            .hint("what lost does not fit what is declared now: change the resource by hand")
                    };
                    EngineError::Invalid(problems.iter().map(told).collect())
                })?;
                Some(Arc::new(taken))
            }
            (_, lost) => lost.clone(),
        };
    }
    Ok(after)
}
