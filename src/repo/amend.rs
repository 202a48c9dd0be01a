//! One file of the repository's settings replaced by one commit of its own, on top of what was seen.

use std::sync::Arc;

use crate::kit::time::Timestamp;
use crate::record::{Actor, PendingExport};

use super::blocking::blocking;
use super::error::RepoError;
use super::export::{Edits, FileEdit};
use super::{Prepared, Snapshot, Source};

/// What becomes of a file, by whom.
#[derive(Debug, Clone)]
pub struct Amendment {
    /// From the root of the declarations.
    pub path: &'static str,
    /// Its text as it was seen; nothing where there was none.
    pub before: Option<String>,
    /// Its new text.
    pub after: String,
    /// Who wants it.
    pub actor: Actor,
    /// When.
    pub at: Timestamp,
    /// The commit's subject.
    pub message: String,
}

impl Source {
    /// Makes ready to write an amendment on top of what was seen; [`Source::land`] writes it, if the repository still is what
    /// was seen. Nothing is visible yet.
    pub async fn amend(&self, seen: &Snapshot, amendment: Amendment) -> Result<Prepared, RepoError> {
        let path = match &*seen.within {
            "" => amendment.path.to_owned(),
            within => format!("{within}/{}", amendment.path),
        };
        let edits = Edits {
            files: vec![FileEdit {
                path,
                before: amendment.before,
                after: Some(amendment.after),
            }],
            written: vec![],
        };
        // A commit of no revision: no declaration changes.
        let export = PendingExport {
            revision: 0,
            at: amendment.at,
            actor: amendment.actor,
            message: amendment.message,
            changes: vec![],
            notes: vec![],
            attempt: None,
        };
        let seen = seen.clone();
        match self {
            Self::Hosted(_) | Self::Remote(_) => {
                let bare = self.bare().ok_or(RepoError::OtherSource)?;
                let inner = Arc::clone(&bare.0);
                blocking(move || inner.ready(&seen, &export, &[], |_, _| Ok(edits))).await
            }
            Self::Folder(folder) => folder.ready(&seen, edits).await,
        }
    }
}
