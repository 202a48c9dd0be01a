//! Going back in time: what `undo` and `restore` have in common. Declarations come back, values of secrets do not.
//!
//! # Guarantees
//! A value of an encrypted secret that was replaced or deleted since is in force again only where the request says so in
//! so many words ([`Terms::with_credentials`]); each one is named in the plan, and in the audit log.

use std::sync::Arc;

use crate::reconcile::agree::MassDelete;
use crate::record::{Actor, Mutation, StoreView};
use crate::resource::{Declared as _, Document, Id, Opening, Secret};
use crate::secret::Recipient;
use crate::wire::{Kept, PlanBody};

use super::edit::{Edited, Wanted};
use super::report::now;
use super::vault::Vault;
use super::{Engine, EngineError};

/// What a person says with going back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Terms {
    /// Old values of secrets come back too.
    pub with_credentials: bool,
    /// Most of what is declared may go.
    pub allow_mass_delete: bool,
    /// The store's revision of the plan that the person has seen: another one refuses.
    pub seen: Option<u64>,
    /// It is only planned.
    pub dry_run: bool,
}

/// What going back came to.
#[derive(Debug, Clone)]
pub struct GoneBack {
    /// What changes, or has changed.
    pub plan: PlanBody,
    /// The mutation, where something changed.
    pub mutation: Option<Mutation>,
    /// The secrets whose old values come back.
    pub revives: Vec<Id>,
    /// The secrets that do not become what they were, and why.
    pub kept: Vec<(Id, String)>,
    /// Set where so much goes that a person has to say so.
    pub guard: Option<MassDelete>,
}

impl GoneBack {
    /// What is told of the secrets that stay, on the wire.
    #[must_use]
    pub fn kept(&self) -> Vec<Kept> {
        let one = |(id, why): &(Id, String)| Kept {
            resource: id.to_string(),
            why: why.clone(),
        };
        self.kept.iter().map(one).collect()
    }
}

/// What is to become of the resources, and of the secrets among them.
#[derive(Debug, Clone, Default)]
pub(super) struct Return {
    pub wanted: Vec<Wanted>,
    pub unchanged: usize,
    pub revives: Vec<Id>,
    pub kept: Vec<(Id, String)>,
}

impl Return {
    /// The guard on what this deletes.
    pub fn guard(&self, view: &StoreView, to_nothing: bool) -> Option<MassDelete> {
        let declared = |id: &Id| view.rows.get(id).is_some_and(|row| row.document.is_some());
        let goes = |one: &&Wanted| one.after.is_none() && declared(&one.id);
        let all = view.rows.values().filter(|row| row.document.is_some()).count();
        MassDelete::check(self.wanted.iter().filter(goes).count(), all, to_nothing)
    }

    pub fn gone_back(self, edited: Edited, guard: Option<MassDelete>) -> GoneBack {
        GoneBack {
            plan: edited.plan,
            mutation: edited.mutation,
            revives: self.revives,
            kept: self.kept,
            guard,
        }
    }
}

/// Whether a document holds values that are encrypted.
pub(super) fn has_values(document: Option<&Arc<Document>>) -> bool {
    document.is_some_and(|document| document.id.kind().name == Secret::NAME && document.text.is_some())
}

/// Whether both say the same; of a secret, in whatever encryption.
pub(super) fn same(a: Option<&Arc<Document>>, b: Option<&Arc<Document>>) -> bool {
    a.map(|document| &document.spec) == b.map(|document| &document.spec)
}

/// What becomes of a secret with values, then or now.
pub(super) enum Comeback {
    /// It is as it was.
    Same,
    /// It stays as it is today, and why, in words that follow its name.
    Stays(&'static str),
    /// Its old values come back.
    Revives(Arc<Document>),
}

/// Decides about a secret that had values then, or has some now. `then` is as it was kept; it comes back encrypted for
/// those who are to read it today.
pub(super) fn come_back(
    vault: &Vault,
    then: &Arc<Document>,
    today: Option<&Arc<Document>>,
    recipients: &[Recipient],
    with_credentials: bool,
) -> Comeback {
    // What was open then may be sealed for today's identities, and the other way round.
    let then = vault.opened(then).unwrap_or_else(|_| Arc::clone(then));
    if same(Some(&then), today) {
        return Comeback::Same;
    }
    if !with_credentials {
        return Comeback::Stays(match today {
            Some(_) => "keeps today's values",
            None => "was deleted since, and stays away",
        });
    }
    match (then.opening(), today) {
        (Opening::Sealed, Some(_)) => {
            Comeback::Stays("keeps today's values: no identity of this host opens those of then")
        }
        (Opening::Opened, _) => {
            let anew = vault.rekey(&then, recipients, now()).ok().flatten();
            Comeback::Revives(anew.unwrap_or(then))
        }
        _ => Comeback::Revives(then),
    }
}

/// Goes on to its end also where its caller is gone: what is told of a change must not be lost with a connection.
pub(super) async fn to_its_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, EngineError>> + Send + 'static,
) -> Result<T, EngineError> {
    tokio::spawn(work).await.unwrap_or(Err(EngineError::Stopping))
}

impl Engine {
    /// Refuses a plan that was made on another revision than the present one.
    pub(super) fn as_seen(terms: Terms, view: &StoreView) -> Result<(), EngineError> {
        match terms.seen {
            Some(planned) if planned != view.revision => Err(EngineError::Passed {
                planned,
                now: view.revision,
            }),
            _ => Ok(()),
        }
    }

    /// Writes down whose old values are in force again.
    pub(super) async fn audit_revived(&self, gone: &GoneBack, actor: &Actor, words: &str) -> Result<(), EngineError> {
        if gone.mutation.is_none() || gone.revives.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = gone.revives.iter().map(ToString::to_string).collect();
        self.audit(actor, format!("{words} with credentials: {}", names.join(", ")))
            .await
    }
}
