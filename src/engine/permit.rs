//! Whether a pusher may do what a push does. Each resource that it changes passes the one decision, as it would through any
//! other door; one denial refuses the whole.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::access::{self, Action, Denied, Principal, decide};
use crate::kit::Diagnostic;
use crate::reconcile::agree;
use crate::record::StoreView;
use crate::repo::{Hosted, Push, Snapshot};
use crate::resource::{Document, Id, Placed, Tree};

use super::{EngineError, Inner};

/// Where settings of the repository lie that are no declarations.
const SETTINGS: &str = ".mcpctl";
/// Of the files in it that a push changes this many are told.
const MOST: usize = 20;

/// What a push is compared with.
pub(super) struct Before<'a> {
    /// The branch's head as it is, secrets not opened: what is written differs where its bytes do.
    pub(super) head: &'a Snapshot,
    /// The store that the plan was made on.
    pub(super) view: &'a StoreView,
}

impl Inner {
    /// What of a push its pusher may not do, in the order of files. `pushed` is the commit's tree as it was read.
    pub(super) async fn denied(
        &self,
        hosted: &Hosted,
        push: &Push,
        before: Before<'_>,
        pushed: &Snapshot,
        plan: &agree::Plan,
    ) -> Result<Vec<Diagnostic>, EngineError> {
        let who = &push.principal;
        let mut faults = changes(&before, pushed, plan)
            .into_iter()
            .flat_map(|(id, change)| change.denied(&id, who, &before))
            .collect::<Vec<_>>();
        let new = pushed.head.as_deref().unwrap_or_default();
        if let Err(denied) = decide(who, &Action::Configure) {
            let between = (before.head.head.as_deref(), new);
            let quarantine = push.quarantine.as_ref();
            let files = hosted.differing_below(SETTINGS, between, quarantine, MOST).await?;
            faults.extend(
                files
                    .iter()
                    .map(|file| told(Diagnostic::of_file(file, ""), "change this file", &denied)),
            );
        }
        faults.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
        Ok(faults)
    }
}

/// What becomes of one resource.
#[derive(Default)]
struct Change<'a> {
    /// Where the push declares it.
    pushed: Option<&'a Placed>,
    /// What the store would take: a merge may join what was pushed with what only the store said.
    taken: Option<&'a Arc<Document>>,
}

/// What a push changes: in the repository, and in the store. The one alone would not do. What loses against the store, or
/// is held, changes nothing there now, and may later; and with a person's word a push carries out what waited before it.
fn changes<'a>(before: &Before<'_>, pushed: &'a Snapshot, plan: &'a agree::Plan) -> BTreeMap<Id, Change<'a>> {
    let written: BTreeSet<Id> = match &pushed.since {
        Some((head, ids)) if Some(head) == before.head.head.as_ref() => (**ids).clone(),
        _ => differences(&before.head.tree, &pushed.tree),
    };
    let lost = plan.conflicts.iter().map(|conflict| &conflict.id);
    let taken = plan.changes.iter().map(|change| &change.id);
    let ids = written.iter().chain(lost).chain(taken);
    let mut changes: BTreeMap<Id, Change<'a>> = BTreeMap::new();
    for id in ids {
        let change = changes.entry(id.clone()).or_default();
        change.pushed = pushed.tree.documents.get(id);
    }
    for change in &plan.changes {
        if let Some(known) = changes.get_mut(&change.id) {
            known.taken = change.after.as_ref();
        }
    }
    changes
}

fn differences(before: &Tree, after: &Tree) -> BTreeSet<Id> {
    let held = before.held.iter().chain(&after.held).cloned();
    before
        .documents
        .differences(&after.documents)
        .into_iter()
        .chain(held)
        .collect()
}

impl Change<'_> {
    fn denied(&self, id: &Id, who: &Principal, before: &Before<'_>) -> Vec<Diagnostic> {
        let row = before.view.rows.get(id);
        let there = before.head.tree.documents.contains_key(id)
            || before.head.tree.held.contains(id)
            || row.is_some_and(|row| row.document.is_some());
        let pushed = self.pushed.map(|placed| &placed.document);
        // The same in another file is no change of it.
        let moved_only = pushed.is_some_and(|document| {
            let was = before.head.tree.documents.get(id).map(|placed| &placed.document);
            was == Some(document) && self.taken.is_none()
        });
        if moved_only {
            return vec![];
        }
        let mut needs: BTreeMap<String, Action> = BTreeMap::new();
        for after in [pushed, self.taken] {
            // One of the two says what the resource becomes; it goes where neither does.
            let after = after.or(pushed).or(self.taken).map(AsRef::as_ref);
            for action in access::change(id, there, after) {
                needs.insert(action.to_string(), action);
            }
        }
        let denied = needs
            .into_values()
            .filter_map(|action| Some((decide(who, &action).err()?, action)));
        denied
            .map(|(denied, action)| {
                let what = match action {
                    Action::Create(_) => format!("create {id}"),
                    Action::Delete(_) => format!("delete {id}"),
                    Action::Run(secret) => format!("name {secret} in {id}"),
                    _ => format!("change {id}"),
                };
                told(self.place(id, before), &what, &denied)
            })
            .collect()
    }

    /// Where the push says it; for a deletion, where it stood.
    fn place(&self, id: &Id, before: &Before<'_>) -> Diagnostic {
        let at = |placed: &Placed| Diagnostic {
            line: placed.position.line,
            column: placed.position.column,
            ..Diagnostic::of_file(&placed.path, "")
        };
        if let Some(placed) = self.pushed {
            return at(placed);
        }
        let was = before.head.tree.documents.get(id).map(at);
        let was = was.or_else(|| Some(Diagnostic::of_file(&before.view.ledger.get(id)?.path, "")));
        match (was, &before.head.head) {
            (Some(was), Some(head)) => Diagnostic {
                note: Some(format!("the place is that of {}", head.get(..7).unwrap_or(head))),
                ..was
            },
            (was, _) => was.unwrap_or_else(|| Diagnostic::of_file(id.to_string(), "")),
        }
    }
}

fn told(at: Diagnostic, what: &str, denied: &Denied) -> Diagnostic {
    Diagnostic {
        message: format!("{} may not {what}: this needs `{}`", denied.principal, denied.right),
        ..at
    }
    .hint("leave it out of the push, or have somebody push it who has that right")
}
