//! Changes through other doors than the repository: checked, planned, one transaction, one commit soon after.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::kit::{Diagnostic, nearest};
use crate::reconcile::agree;
use crate::record::{Actor, ById, Edit, EditChange, Mutation, Row, StoreView};
use crate::resource::{Declared as _, Document, FieldChange, Id, Secret, Tree, broken_references, built_in};
use crate::store::StoreError;
use crate::wire::{PlanBody, Step, words};

use super::gate::in_the_clear;
use super::lock;
use super::report::now;
use super::view::{body, containers, step};
use super::{Engine, EngineError};

/// How often an edit is checked anew because others changed the same rows.
const TRIES: usize = 8;
/// How many resources a commit's subject names.
const NAMED: usize = 3;

/// What a caller wants of one resource.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Which resource.
    pub id: Id,
    /// What it shall be; nothing deletes it.
    pub after: Option<Arc<Document>>,
    /// What has to be the case first.
    pub only: Only,
    /// Where it was declared, for diagnostics.
    pub source: Option<Diagnostic>,
}

/// What has to be the case before a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Only {
    /// Nothing: create or change.
    Always,
    /// It must not exist yet.
    IfNew,
    /// It must exist.
    IfThere,
    /// It must exist at this revision.
    IfAt(u64),
}

/// What one request asks for.
#[derive(Debug, Clone)]
pub struct EditRequest {
    /// Who asks.
    pub actor: Actor,
    /// What for.
    pub wanted: Vec<Wanted>,
    /// Whether it is only planned.
    pub dry_run: bool,
}

/// What became of a request.
#[derive(Debug, Clone)]
pub struct Edited {
    /// What changes, or has changed.
    pub plan: PlanBody,
    /// The mutation, where something changed.
    pub mutation: Option<Mutation>,
}

/// What a change is to be, decided on the store as it is at that moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Intent {
    /// What is wanted of each resource that may change.
    pub wanted: Vec<Wanted>,
    /// How many resources were looked at besides and stay as they are.
    pub unchanged: usize,
    /// Whether what looks like a credential may stand in it in the clear.
    pub allow_clear: bool,
    /// How it is told.
    pub subject: Subject,
}

/// The line that tells of a change.
#[derive(Debug, Clone, Default)]
pub(super) enum Subject {
    /// What changes: `update server/time: replicas 1 → 2`.
    #[default]
    Steps,
    /// This, then what changes.
    Before(String),
    /// This.
    Whole(String),
}

impl Engine {
    /// Checks and makes a change. It is durable when this returns; its commit follows.
    pub async fn edit(&self, request: EditRequest) -> Result<Edited, EngineError> {
        let _one_at_a_time = self.0.editing.lock().await;
        let EditRequest { actor, wanted, dry_run } = request;
        let intent = Intent {
            wanted,
            ..Intent::default()
        };
        self.change(&actor, dry_run, |_| Ok(intent.clone())).await
    }

    /// Makes what `decide` wants of the store as it is, asked anew where others changed it meanwhile. The caller holds
    /// `editing`.
    pub(super) async fn change(
        &self,
        actor: &Actor,
        dry_run: bool,
        mut decide: impl FnMut(&StoreView) -> Result<Intent, EngineError> + Send,
    ) -> Result<Edited, EngineError> {
        let said = lock(&self.0.recipients).clone();
        let (recipients, faults) = self.0.parts.vault.recipients(said.as_deref());
        for _ in 0..TRIES {
            let view = self.store().view();
            let mut intent = decide(&view)?;
            let clear = in_the_clear(&intent.wanted, &view);
            if !clear.is_empty() && !intent.allow_clear {
                return Err(EngineError::Invalid(clear));
            }
            let secret = |wanted: &Wanted| wanted.id.kind().name == Secret::NAME && wanted.after.is_some();
            if !faults.is_empty() && intent.wanted.iter().any(secret) {
                // Somebody who is left out by a slip of the pen would notice it when it is too late.
                return Err(EngineError::Invalid(faults));
            }
            self.0.seal(&mut intent.wanted, &view, &recipients)?;
            let sealed = intent.wanted;
            let (steps, unchanged) = check(&sealed, &view)?;
            let after = outcome(&sealed, &view);
            let running = self.0.preview(&after).await;
            let mut plan = PlanBody {
                revision: view.revision,
                containers: containers(&running),
                steps,
                unchanged: unchanged + intent.unchanged,
                ..PlanBody::default()
            };
            if dry_run || plan.steps.is_empty() {
                return Ok(Edited { plan, mutation: None });
            }
            let refers = |document: &Arc<Document>| !document.references().is_empty();
            let depends = sealed.iter().any(|one| one.after.as_ref().is_none_or(refers));
            let wanted = sealed.iter().filter(|wanted| !is_so(wanted, &view));
            let changes = wanted.map(|wanted| EditChange {
                id: wanted.id.clone(),
                seen: view.rows.get(&wanted.id).map(|row| row.revision),
                after: wanted.after.clone(),
            });
            let edit = Edit {
                at: now(),
                actor: actor.clone(),
                message: match &intent.subject {
                    Subject::Steps => subject(&plan.steps),
                    Subject::Before(words) => format!("{words}: {}", subject(&plan.steps)),
                    Subject::Whole(words) => words.clone(),
                },
                changes: changes.collect(),
                checked_at: depends.then_some(view.revision),
            };
            match self.store().edit(edit).await {
                Ok(mutation) => {
                    plan.revision = mutation.as_ref().map_or(plan.revision, |mutation| mutation.revision);
                    return Ok(Edited { plan, mutation });
                }
                Err(StoreError::Stale { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(EngineError::Busy)
    }

    /// Waits until a mutation is in the repository, at most `longest`. Whether it is.
    pub async fn committed(&self, revision: u64, longest: Duration) -> bool {
        let mut changed = self.store().changed();
        let pending = || self.store().view().outbox.iter().any(|row| row.revision == revision);
        let wait = async {
            while pending() {
                if changed.changed().await.is_err() {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(longest, wait).await;
        !pending()
    }

    /// What the repository, the store and what runs would do to each other now.
    pub async fn diff(&self) -> Result<PlanBody, EngineError> {
        let snapshot = self.0.snapshot().await?;
        let view = match self.0.why_replaced(snapshot.head.as_deref()).await? {
            Some(_) => self.0.as_new_epoch(),
            None => self.store().view(),
        };
        let plan = self.0.plan_agree(&snapshot, &view, &BTreeMap::new(), true);
        let running = self.0.preview(&plan.outcome(&view)).await;
        let mut diagnostics = snapshot.tree.diagnostics.clone();
        diagnostics.extend(held_by_references(&plan, &snapshot.tree));
        Ok(body(&plan, &running, diagnostics, view.revision))
    }
}

/// What is held though its file is sound, each with its place where it has one and the way out.
pub(super) fn held_by_references(plan: &agree::Plan, tree: &Tree) -> Vec<Diagnostic> {
    let told = |id: &Id| tree.held.contains(id) || tree.unreadable.iter().any(|it| it.id.as_ref() == Some(id));
    let sound = plan.held.iter().filter(|(id, why)| {
        let by_file = tree.unreadable.iter().any(|it| why.starts_with(&it.path));
        !told(id) && !by_file
    });
    let diagnostic = |(id, why): (&Id, &String)| {
        let hint = "bring back what is missing, or take out what names it: on the side that this tells of";
        match tree.documents.get(id) {
            Some(placed) => Diagnostic {
                line: placed.position.line,
                column: placed.position.column,
                ..Diagnostic::of_file(&placed.path, format!("{id} is held: {why}"))
            },
            None => Diagnostic::of_file(id.to_string(), format!("it is held: {why}")),
        }
        .hint(hint)
    };
    sound.map(diagnostic).collect()
}

/// What would be declared afterwards.
fn outcome(wanted: &[Wanted], view: &StoreView) -> ById<Row> {
    let mut after = view.rows.clone();
    for one in wanted {
        let row = Row {
            document: one.after.clone(),
            revision: view.revision + 1,
        };
        after.insert(one.id.clone(), row);
    }
    after
}

/// Whether it ships in the binary.
fn ships(id: &Id) -> bool {
    built_in().contains_key(id)
}

/// Whether what is wanted is so without a declaration: what ships is shown, and sending that back changes nothing.
fn is_so(wanted: &Wanted, view: &StoreView) -> bool {
    let declared = view.rows.get(&wanted.id).is_some_and(|row| row.document.is_some());
    let ships = built_in().get(&wanted.id);
    !declared && wanted.only != Only::IfNew && ships.is_some() && ships == wanted.after.as_ref()
}

/// The steps of a request and how many of its resources stay as they are, or why it can't be done.
fn check(wanted: &[Wanted], view: &StoreView) -> Result<(Vec<Step>, usize), EngineError> {
    let mut steps = vec![];
    let mut unchanged = 0;
    for one in wanted {
        let row = view.rows.get(&one.id).filter(|row| row.document.is_some());
        match (one.only, row) {
            (Only::IfNew, Some(_)) => return Err(EngineError::Exists(one.id.clone())),
            (_, None) if ships(&one.id) && one.after.is_none() => return Err(EngineError::BuiltIn(one.id.clone())),
            // A change of what ships is a declaration that takes its place. It is shown at revision 0.
            (Only::IfThere | Only::IfAt(0), None) if ships(&one.id) => {}
            (Only::IfAt(_), None) if ships(&one.id) => {
                return Err(EngineError::Stale {
                    id: one.id.clone(),
                    now: 0,
                });
            }
            (Only::IfThere | Only::IfAt(_), None) => return Err(EngineError::NotFound(one.id.clone())),
            (Only::IfAt(revision), Some(row)) if row.revision != revision => {
                return Err(EngineError::Stale {
                    id: one.id.clone(),
                    now: row.revision,
                });
            }
            _ => {}
        }
        if is_so(one, view) {
            unchanged += 1;
            continue;
        }
        let source = one.source.as_ref().map_or_else(|| "api".to_owned(), Diagnostic::place);
        match step(
            &one.id,
            row.and_then(|row| row.document.as_ref()),
            one.after.as_ref(),
            &source,
        ) {
            Some(step) => steps.push(step),
            None => unchanged += 1,
        }
    }
    let after = outcome(wanted, view);
    let mut needed: BTreeMap<Id, BTreeSet<Id>> = BTreeMap::new();
    let mut missing = vec![];
    let there = |id: &Id| after.get(id).and_then(|row| row.document.as_deref());
    // Only where something goes can a document that stays lose what it names.
    let documents: Vec<&Document> = if wanted.iter().any(|one| one.after.is_none()) {
        after.values().filter_map(|row| row.document.as_deref()).collect()
    } else {
        wanted.iter().filter_map(|one| there(&one.id)).collect()
    };
    for (id, reference) in broken_references(documents, |id| there(id).is_some()) {
        let target = format!("{}/{}", reference.kind, reference.name);
        let deleted = wanted
            .iter()
            .find(|one| one.after.is_none() && one.id.to_string() == target);
        if let Some(deleted) = deleted {
            needed.entry(deleted.id.clone()).or_default().insert(id);
            continue;
        }
        let Some(one) = wanted.iter().find(|one| one.id == id) else {
            continue;
        };
        let text = format!(
            "{}: {} \"{}\" is not declared",
            reference.path, reference.kind, reference.name
        );
        let known: Vec<&str> = after
            .of_kind(reference.kind)
            .filter(|(_, row)| row.document.is_some())
            .map(|(id, _)| id.name.as_str())
            .collect();
        let mut diagnostic = one
            .source
            .clone()
            .unwrap_or_else(|| Diagnostic::of_file(id.to_string(), ""));
        diagnostic.message = text;
        if let Some(near) = nearest(&reference.name, known) {
            diagnostic = diagnostic.hint(format!("did you mean \"{near}\"?"));
        }
        missing.push(diagnostic);
    }
    if let Some((id, by)) = needed.into_iter().next() {
        return Err(EngineError::Needed {
            id,
            needed_by: by.into_iter().collect(),
        });
    }
    if missing.is_empty() {
        Ok((steps, unchanged))
    } else {
        Err(EngineError::Invalid(missing))
    }
}

/// `update server/time: replicas 1 → 2`, `create server/time`, `apply 4 resources: server/a, server/b, server/c and 1 more`.
fn subject(steps: &[Step]) -> String {
    use crate::wire::Op;
    match steps {
        [one] => match one.op {
            Op::Create => format!("create {}", one.resource),
            Op::Delete => format!("delete {}", one.resource),
            Op::Change => format!("update {}: {}", one.resource, fields(&one.resource, &one.fields)),
        },
        many => {
            let named: Vec<&str> = many.iter().take(NAMED).map(|step| step.resource.as_str()).collect();
            let rest = many.len().saturating_sub(NAMED);
            let and = if rest > 0 {
                format!(" and {rest} more")
            } else {
                String::new()
            };
            format!("apply {} resources: {}{and}", many.len(), named.join(", "))
        }
    }
}

fn fields(resource: &str, changes: &[FieldChange]) -> String {
    let kind = resource.parse::<Id>().ok().map(|id| id.kind());
    let shown: Vec<String> = changes
        .iter()
        .take(NAMED)
        .map(|change| words::field(kind, change))
        .collect();
    let rest = changes.len().saturating_sub(NAMED);
    let and = if rest > 0 {
        format!(" and {rest} more")
    } else {
        String::new()
    };
    format!("{}{and}", shown.join(", "))
}
