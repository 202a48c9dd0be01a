//! Undoing a mutation: what it changed becomes what it was, as one more mutation, unless somebody changed it since.
//!
//! Where only other fields of a resource changed since, they stay: a merge whose base is what the mutation made, and whose
//! sides are what is declared now and what was before. Nothing is undone in part.

use std::sync::Arc;

use crate::kit::Diagnostic;
use crate::reconcile::agree::{Ancestor, merge};
use crate::record::{Actor, Change, FieldPath, Mutation, StoreView};
use crate::resource::{Document, Id, field_changes};
use crate::secret::Recipient;

use super::edit::{Edited, Intent, Only, Subject, Wanted};
use super::lock;
use super::past::{Comeback, GoneBack, Return, Terms, come_back, has_values, same, to_its_end};
use super::vault::Vault;
use super::{Engine, EngineError};

/// The way to the values of secrets.
const CREDENTIALS: &str = "if their old values shall be in force again: --with-credentials";
/// The most resources of which is told why they can't be taken back.
const SHOWN: usize = 100;

/// What becomes of one change.
#[derive(Debug)]
enum Back {
    /// It is as it was before the mutation.
    Already,
    /// It becomes this.
    To(Option<Arc<Document>>),
    /// It becomes this: values of a secret that were replaced come back.
    Revives(Arc<Document>),
    /// A secret that stays as it is.
    Stays(&'static str),
    /// Somebody changed it since: these fields, or all of it.
    Moved(Vec<FieldPath>, String),
}

impl Engine {
    /// What a revision changed, for whoever decides who may undo it.
    ///
    /// # Errors
    /// There is no record of it.
    pub async fn changed_by(&self, revision: u64) -> Result<Vec<Change>, EngineError> {
        Ok(self.recorded(revision).await?.changes)
    }

    /// Takes back what one revision did. It is durable when this returns; its commit follows.
    ///
    /// # Errors
    /// [`EngineError::NoRevision`], [`EngineError::NotUndone`], [`EngineError::MassDelete`], and those of an edit.
    pub async fn undo(&self, revision: u64, terms: Terms, actor: &Actor) -> Result<GoneBack, EngineError> {
        let (engine, actor) = (self.clone(), actor.clone());
        to_its_end(async move { engine.undo_whole(revision, terms, &actor).await }).await
    }

    async fn undo_whole(&self, revision: u64, terms: Terms, actor: &Actor) -> Result<GoneBack, EngineError> {
        let _one_at_a_time = self.0.editing.lock().await;
        let mutation = self.recorded(revision).await?;
        if mutation.actor.door == "mcpd" {
            let why = Diagnostic::of_file(
                format!("revision {revision}"),
                "mcpd made it by itself, and it changed nothing that is declared",
            );
            return Err(EngineError::NotUndone {
                revision,
                because: vec![why],
            });
        }
        if self.0.held_what_was_scrubbed(revision) {
            let why = Diagnostic::of_file(
                format!("revision {revision}"),
                "it holds what was scrubbed from the repository, and would bring it back",
            );
            return Err(EngineError::NotUndone {
                revision,
                because: vec![why.hint("change by hand what shall be as it was")],
            });
        }
        let said = lock(&self.0.recipients).clone();
        let (recipients, _) = self.0.parts.vault.recipients(said.as_deref());
        let since = self.since(revision).await?;
        let mut back = Return::default();
        let mut guard = None;
        let edited = self
            .change(actor, terms.dry_run, |view| {
                Self::as_seen(terms, view)?;
                back = take_back(&self.0.parts.vault, &mutation, view, &since, &recipients, terms)?;
                guard = back.guard(view, false);
                match guard.filter(|_| !terms.allow_mass_delete && !terms.dry_run) {
                    Some(guard) => Err(EngineError::MassDelete(guard)),
                    None => Ok(Intent {
                        wanted: back.wanted.clone(),
                        unchanged: back.unchanged,
                        allow_clear: terms.with_credentials,
                        subject: Subject::Whole(format!("undo {revision}: {}", mutation.message)),
                    }),
                }
            })
            .await;
        let edited: Edited = edited.map_err(|error| explained(error, &back))?;
        let gone = back.gone_back(edited, guard);
        self.audit_revived(&gone, actor, &format!("undo {revision}")).await?;
        Ok(gone)
    }

    async fn recorded(&self, revision: u64) -> Result<Mutation, EngineError> {
        if let Some(mutation) = self.store().mutation(revision).await? {
            return Ok(mutation);
        }
        let newest = self.store().view().revision;
        Err(EngineError::NoRevision(if revision == 0 || revision > newest {
            format!("revision {revision} is not there: the newest is {newest}")
        } else {
            format!("revision {revision} is not recorded any more")
        }))
    }

    /// What came after a revision, the newest first.
    async fn since(&self, revision: u64) -> Result<Vec<Mutation>, EngineError> {
        let count = self.store().view().revision.saturating_sub(revision);
        let mut since = self
            .store()
            .mutations(usize::try_from(count).unwrap_or(usize::MAX))
            .await?;
        since.retain(|later| later.revision > revision);
        Ok(since)
    }
}

/// Where a secret that stays away is what something else would need, the hint says how it comes back.
pub(super) fn explained(error: EngineError, back: &Return) -> EngineError {
    match error {
        EngineError::Invalid(mut faults) if !back.kept.is_empty() => {
            for fault in &mut faults {
                let away = |(id, _): &(Id, String)| fault.message.contains(&format!("secret \"{}\" is not", id.name));
                if back.kept.iter().any(away) {
                    fault.hint = Some(format!("it was deleted since; {CREDENTIALS}, or make it anew first"));
                }
            }
            EngineError::Invalid(faults)
        }
        other => other,
    }
}

/// What undoing comes to on the store as it is.
fn take_back(
    vault: &Vault,
    mutation: &Mutation,
    view: &StoreView,
    since: &[Mutation],
    recipients: &[Recipient],
    terms: Terms,
) -> Result<Return, EngineError> {
    let mut back = Return::default();
    let mut because = vec![];
    let place = |id: &Id| Diagnostic::of_file(format!("{id} before revision {}", mutation.revision), "");
    for change in &mutation.changes {
        let id = &change.id;
        let row = view.rows.get(id);
        let today = row.and_then(|row| row.document.as_ref());
        let wanted = |after| Wanted {
            id: id.clone(),
            after,
            only: Only::Always,
            source: Some(place(id)),
        };
        match one(vault, change, today, recipients, terms.with_credentials) {
            Back::Already => back.unchanged += 1,
            Back::To(after) => back.wanted.push(wanted(after)),
            Back::Revives(after) => {
                back.revives.push(id.clone());
                back.wanted.push(wanted(Some(after)));
            }
            Back::Stays(why) => back.kept.push((id.clone(), why.to_owned())),
            Back::Moved(fields, what) if because.len() < SHOWN => because.push(moved(id, &fields, &what, since)),
            Back::Moved(..) => {}
        }
    }
    if because.is_empty() && back.wanted.is_empty() {
        because.extend(back.kept.iter().map(|(id, why)| {
            Diagnostic::of_file(id.to_string(), format!("it changed values of a secret, which {why}")).hint(CREDENTIALS)
        }));
    }
    if because.is_empty() {
        return Ok(back);
    }
    Err(EngineError::NotUndone {
        revision: mutation.revision,
        because,
    })
}

/// What becomes of one change, of which `today` is what is declared now.
fn one(
    vault: &Vault,
    change: &Change,
    today: Option<&Arc<Document>>,
    recipients: &[Recipient],
    with_credentials: bool,
) -> Back {
    let (before, after) = (change.before.as_ref(), change.after.as_ref());
    if same(today, before) || same(before, after) {
        return Back::Already;
    }
    let secret = has_values(before) || has_values(after) || has_values(today);
    if let (true, Some(before)) = (has_values(before), before) {
        return match come_back(vault, before, today, recipients, with_credentials) {
            Comeback::Same => Back::Already,
            Comeback::Stays(why) => Back::Stays(why),
            Comeback::Revives(_) if !same(today, after) => Back::Moved(vec![], "its values were changed".to_owned()),
            Comeback::Revives(document) => Back::Revives(document),
        };
    }
    if same(today, after) {
        return Back::To(before.cloned());
    }
    match (before, after, today) {
        (_, _, None) => Back::Moved(vec![], "it was deleted".to_owned()),
        (_, None, Some(_)) => Back::Moved(vec![], "it was declared again".to_owned()),
        (None, Some(_), Some(_)) => Back::Moved(vec![], "it was changed".to_owned()),
        (Some(_), Some(_), Some(_)) if secret => Back::Moved(vec![], "its values were changed".to_owned()),
        // What was before stands where the repository stands in a merge: where both changed a field, today's is kept, and
        // then it is not an undo.
        (Some(before), Some(after), Some(today)) => match merge(Ancestor::Known(after), before, today) {
            Ok(merged) if merged.lost.is_empty() && same(Some(&merged.document), Some(today)) => Back::Already,
            Ok(merged) if merged.lost.is_empty() => Back::To(Some(merged.document)),
            Ok(merged) => {
                let fields: Vec<String> = merged.lost.iter().take(3).map(|path| path.join(".")).collect();
                let what = format!(
                    "{} {} changed",
                    fields.join(", "),
                    if fields.len() == 1 { "was" } else { "were" }
                );
                Back::Moved(merged.lost, what)
            }
            Err(why) => Back::Moved(vec![], format!("it was changed, and {why}")),
        },
    }
}

/// What keeps a change from being taken back, and who made it.
fn moved(id: &Id, fields: &[FieldPath], what: &str, since: &[Mutation]) -> Diagnostic {
    let names: Vec<String> = fields.iter().map(|path| path.join(".")).collect();
    let touches = |change: &&Change| {
        let changed = field_changes(change.before.as_deref(), change.after.as_deref());
        let overlaps = |name: &String| {
            let within = |a: &str, b: &str| a == b || a.strip_prefix(b).is_some_and(|rest| rest.starts_with('.'));
            changed
                .iter()
                .any(|it| within(&it.path, name) || within(name, &it.path))
        };
        change.id == *id && (names.is_empty() || names.iter().any(overlaps))
    };
    let by = since.iter().find(|later| later.changes.iter().any(|it| touches(&it)));
    let (who, hint) = match by {
        Some(by) => (
            format!(" by revision {} ({}: {})", by.revision, by.actor, by.message),
            format!("mcpctl undo {} first, or change it by hand", by.revision),
        ),
        None => (String::new(), "change it by hand".to_owned()),
    };
    Diagnostic::of_file(id.to_string(), format!("{what} since{who}")).hint(hint)
}
