//! What lies between two heads of a bare repository: whether one follows the other, and who else wrote there.

use std::sync::Arc;

use git2::{Oid, Repository};

use super::bare::{Bare, commit_id};
use super::blocking::blocking;
use super::error::{RepoError, git};
use super::export::WRITER;

/// The most commits between two heads that are looked into.
const MOST_COMMITS: usize = 10_000;
/// The longest name of a writer that is told, in characters.
const LONGEST_NAME: usize = 64;

/// A commit that another mcpd says it made. It is for people and for stopping: nothing is agreed by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherWriter {
    /// Who, as the commit says.
    pub writer: String,
    /// The commit.
    pub commit: String,
}

impl Bare {
    /// Whether `new` is `old` or comes after it. A commit that is not here any more is followed by none.
    pub async fn follows(&self, old: &str, new: &str) -> Result<bool, RepoError> {
        let inner = Arc::clone(&self.0);
        let (old, new) = (commit_id(old)?, commit_id(new)?);
        blocking(move || {
            let repository = inner.repository(None)?;
            if old == new {
                return Ok(true);
            }
            if repository.find_commit(old).is_err() {
                return Ok(false);
            }
            repository
                .graph_descendant_of(new, old)
                .map_err(git("walking the history"))
        })
        .await
    }

    /// The newest commit after `old` up to `new` that names another writer than this mcpd.
    pub async fn other_writer(&self, old: &str, new: &str) -> Result<Option<OtherWriter>, RepoError> {
        let inner = Arc::clone(&self.0);
        let (old, new) = (commit_id(old)?, commit_id(new)?);
        blocking(move || {
            let repository = inner.repository(None)?;
            let mut walk = repository.revwalk().map_err(git("walking the history"))?;
            walk.push(new).map_err(git("walking the history"))?;
            walk.hide(old).map_err(git("walking the history"))?;
            for id in walk.take(MOST_COMMITS) {
                let id = id.map_err(git("walking the history"))?;
                if let Some(writer) = writer(&repository, id)?.filter(|writer| *writer != inner.writer) {
                    let commit = id.to_string();
                    return Ok(Some(OtherWriter { writer, commit }));
                }
            }
            Ok(None)
        })
        .await
    }
}

/// The writer that a commit's message names among its trailers, its last paragraph.
fn writer(repository: &Repository, id: Oid) -> Result<Option<String>, RepoError> {
    let commit = repository.find_commit(id).map_err(git("walking the history"))?;
    let text = String::from_utf8_lossy(commit.message_bytes()).into_owned();
    Ok(named(&text))
}

fn named(message: &str) -> Option<String> {
    let trailers = git2::message_trailers_strs(message).ok()?;
    let named = trailers.iter().find(|(key, _)| *key == WRITER);
    named.map(|(_, writer)| writer.trim().chars().take(LONGEST_NAME).collect())
}

#[cfg(test)]
mod tests {
    use super::named;

    #[test]
    fn a_writer_is_named_by_a_trailer_and_nowhere_else() {
        for (message, want) in [
            (
                "x\n\nMcpctl-Revision: 3\nMcpctl-User: ann\nMcpctl-Writer: abc\n",
                Some("abc"),
            ),
            ("x\n\nMcpctl-Writer: abc\nSigned-off-by: Ann <a@b>\n", Some("abc")),
            ("x\n\nMcpctl-Writer: abc\n\nand more words\n", None),
            ("Mcpctl-Writer: abc\n", None),
            ("x\n\nsee Mcpctl-Writer: abc\n", None),
            ("x\n\nMcpctl-Writers: abc\n", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(named(message).as_deref(), want, "{message:?}");
        }
    }
}
