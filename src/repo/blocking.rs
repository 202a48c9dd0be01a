//! The one door to work that blocks: libgit2, and reading and writing files.

use super::error::RepoError;

/// Runs `work` on a thread that may block. It runs to its end even where nobody waits for it any more.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RepoError> + Send + 'static,
) -> Result<T, RepoError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(RepoError::Stopped),
    }
}
