//! What is known to agree, so that the next plan looks only at what may have moved.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::record::StoreView;
use crate::resource::Id;

use super::plan::Plan;

/// What a repository's next state differs in from the one before: the head then, and the resources.
pub type Since = (String, Arc<BTreeSet<Id>>);

/// How things stood when both sides were last compared: all resources but some were found in agreement.
#[derive(Debug, Clone)]
pub struct Standing {
    head: String,
    tick: u64,
    /// With which identities secrets had been opened.
    generation: u64,
    open: BTreeSet<Id>,
}

impl Standing {
    /// How things stand after a plan was made for a head and a view; nothing where the plan only asks for a recovery.
    #[must_use]
    pub fn after(plan: &Plan, head: &str, view: &StoreView, generation: u64) -> Option<Self> {
        plan.recover.is_empty().then(|| Self {
            head: head.to_owned(),
            tick: view.tick(),
            generation,
            open: plan.ids(),
        })
    }

    /// The resources that may not agree now; nothing where all have to be looked at.
    #[must_use]
    pub fn only(&self, head: &str, since: Option<&Since>, view: &StoreView, generation: u64) -> Option<BTreeSet<Id>> {
        let mut only = self.open.clone();
        if generation != self.generation {
            return None;
        }
        if head != self.head {
            let (_, moved) = since.filter(|(before, _)| *before == self.head)?;
            only.extend(moved.iter().cloned());
        }
        only.extend(view.touched_since(self.tick)?);
        Some(only)
    }
}
