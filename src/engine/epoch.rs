//! Heads that do not follow the one that was agreed last, and commits of another mcpd: what waits for a person's word.
//!
//! # Guarantees
//! What was agreed with one history says nothing about another one. A head that does not follow is imported and written
//! to only as a new epoch: the ledger is forgotten, so that what differs is a conflict and nothing is deleted. The word
//! for it stands in the store before the branch moves, is for that head alone, and is used up by it.

use std::sync::Arc;

use crate::record::{Actor, Event, Level, StoreView};
use crate::repo::{Snapshot, Source};

use super::report::now;
use super::{EngineError, Inner};

/// The fact that says which head was agreed last.
pub(super) const HEAD: &str = "head";
/// The fact that says which head may begin a new epoch.
pub(super) const EPOCH: &str = "epoch";
/// What stands there for a remote whose branch is gone.
const NO_BRANCH: &str = "none";
/// The fact that says which other mcpd writes, and where it was met.
pub(super) const WRITER: &str = "other-writer";

/// What a head is to the one that was agreed last.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lineage {
    /// It comes after it, or there was none.
    Follows,
    /// A new epoch has begun with it just now: look again.
    Begun,
    /// It does not come after it, and nobody said that this is meant.
    Replaced(String),
}

impl Inner {
    /// Compares the head that was read with the one that was agreed last, and begins a new epoch where that was allowed.
    pub(super) async fn lineage(&self, snapshot: &Snapshot) -> Result<Lineage, EngineError> {
        let store = &self.parts.store;
        let Some(bare) = self.parts.source.bare() else {
            return Ok(Lineage::Follows);
        };
        let Some(head) = &snapshot.head else {
            return self.without_branch().await;
        };
        if let Source::Hosted(hosted) = &self.parts.source {
            self.settle_scrub(hosted, head).await?;
        }
        if store.meta(EPOCH).as_ref() == Some(head) {
            self.begin_epoch(head).await?;
            return Ok(Lineage::Begun);
        }
        let Some(agreed) = store.meta(HEAD).filter(|agreed| agreed != head) else {
            return Ok(Lineage::Follows);
        };
        if !bare.follows(&agreed, head).await? {
            return Ok(Lineage::Replaced(replaced(&agreed, head)));
        }
        if store.meta(WRITER).is_none()
            && let Some(other) = bare.other_writer(&agreed, head).await?
        {
            let met = format!("{} in {}", other.writer, short(&other.commit));
            store.set_meta(WRITER, &met).await?;
        }
        Ok(Lineage::Follows)
    }

    /// A remote whose branch is gone (or that was made anew) says nothing about what is declared: it is not an empty tree.
    async fn without_branch(&self) -> Result<Lineage, EngineError> {
        let store = &self.parts.store;
        let (Some(remote), Some(agreed)) = (self.parts.source.remote(), store.meta(HEAD)) else {
            return Ok(Lineage::Follows);
        };
        if store.meta(EPOCH).as_deref() == Some(NO_BRANCH) {
            store.new_epoch(mcpd(), now()).await?;
            let facts = [(EPOCH.to_owned(), None), (HEAD.to_owned(), None)];
            store.set_metas(facts.into()).await?;
            store.record(vec![begun("nothing")], vec![]).await?;
            return Ok(Lineage::Begun);
        }
        Ok(Lineage::Replaced(format!(
            "the branch is gone at {}; it was at {}: nothing is taken over or written until a person says so (mcpctl sync \
             --new-epoch: everything is written there anew, nothing is deleted)",
            remote.location(),
            short(&agreed)
        )))
    }

    /// Why the head at present is none to build on, where it does not follow the one that was agreed last.
    pub(super) async fn why_replaced(&self, head: Option<&str>) -> Result<Option<String>, EngineError> {
        let (Some(bare), Some(head)) = (self.parts.source.bare(), head) else {
            return Ok(None);
        };
        let agreed = self.parts.store.meta(HEAD).filter(|agreed| agreed != head);
        match agreed {
            Some(agreed) if !bare.follows(&agreed, head).await? => Ok(Some(replaced(&agreed, head))),
            _ => Ok(None),
        }
    }

    /// Both sides agree on this head, as far as they do.
    pub(super) async fn note_head(&self, snapshot: &Snapshot) -> Result<(), EngineError> {
        if self.parts.source.bare().is_none() {
            return Ok(());
        }
        match &snapshot.head {
            Some(head) if self.parts.store.meta(HEAD).as_ref() != Some(head) => {
                Ok(self.parts.store.set_meta(HEAD, head).await?)
            }
            _ => Ok(()),
        }
    }

    /// Notes a person's word: this head may begin a new epoch. It outlives a crash.
    pub(super) async fn permit_epoch(&self, head: Option<&str>) -> Result<(), EngineError> {
        Ok(self.parts.store.set_meta(EPOCH, head.unwrap_or(NO_BRANCH)).await?)
    }

    /// Forgets what was agreed. Cut off in the middle it is done again: the word goes last.
    async fn begin_epoch(&self, head: &str) -> Result<(), EngineError> {
        let store = &self.parts.store;
        store.new_epoch(mcpd(), now()).await?;
        let facts = [(EPOCH.to_owned(), None), (HEAD.to_owned(), Some(head.to_owned()))];
        store.set_metas(facts.into()).await?;
        Ok(store.record(vec![begun(short(head))], vec![]).await?)
    }

    /// The store as it is for a history that begins anew.
    pub(super) fn as_new_epoch(&self) -> Arc<StoreView> {
        Arc::new(self.parts.store.as_new_epoch(mcpd(), now()))
    }

    /// Why nothing is written into the repository, where another mcpd's commits were met.
    pub(super) fn other_writer(&self) -> Option<String> {
        self.parts.store.meta(WRITER).map(|met| {
            format!(
                "another mcpd writes to this repository ({met}): nothing is written into it until a person says so \
                 (mcpctl sync --take-over)"
            )
        })
    }

    /// Notes a person's word: this mcpd writes, whoever else did. Whether anything waited for it.
    pub(super) async fn take_over(&self) -> Result<bool, EngineError> {
        let waited = self.parts.store.meta(WRITER).is_some();
        if waited {
            self.parts.store.set_metas([(WRITER.to_owned(), None)].into()).await?;
        }
        Ok(waited)
    }
}

fn begun(with: &str) -> Event {
    Event {
        sequence: 0,
        at: now(),
        level: Level::Info,
        about: "repository".to_owned(),
        reason: "NewEpoch".to_owned(),
        message: format!("a new history begins with {with}: what differs is a conflict, nothing is deleted"),
    }
}

fn replaced(agreed: &str, head: &str) -> String {
    format!(
        "the history was replaced: {} does not follow {}, which was agreed last: nothing is taken over or written until \
         a person says so (mcpctl sync --new-epoch: what differs becomes a conflict, nothing is deleted)",
        short(head),
        short(agreed)
    )
}

fn short(commit: &str) -> &str {
    commit.get(..7).unwrap_or(commit)
}

fn mcpd() -> Actor {
    Actor {
        name: "mcpd".to_owned(),
        door: "mcpd".to_owned(),
    }
}
