//! Reading many objects on all cores. What comes of it does not depend on their number.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use git2::Repository;

use super::error::RepoError;

/// Fewer items than this are not worth a thread.
const SHARE: usize = 64;
/// The most threads.
const MOST_THREADS: usize = 8;

/// What `work` makes of each item, in their order; of several errors the first item's. `open` gives each further thread a
/// handle of its own.
pub(super) fn map<T: Sync, Made: Send>(
    items: &[T],
    repository: &Repository,
    open: &(dyn Fn() -> Result<Repository, RepoError> + Sync),
    work: impl Fn(&Repository, &T) -> Result<Made, RepoError> + Sync,
) -> Result<Vec<Made>, RepoError> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let threads = cores.min(MOST_THREADS).min(items.len() / SHARE).max(1);
    if threads == 1 {
        return items.iter().map(|item| work(repository, item)).collect();
    }
    // Chunks are handed out as threads get to them: files differ in what they cost.
    let chunks: Vec<&[T]> = items.chunks(SHARE).collect();
    let next = AtomicUsize::new(0);
    let run = |repository: &Repository| {
        let mut done = vec![];
        while let Some((number, chunk)) = take(&chunks, &next) {
            let made: Result<Vec<Made>, RepoError> = chunk.iter().map(|item| work(repository, item)).collect();
            done.push((number, made));
        }
        done
    };
    let mut done = thread::scope(|scope| {
        let others: Vec<_> = (1..threads)
            .map(|_| scope.spawn(|| open().map_or_else(|_| vec![], |repository| run(&repository))))
            .collect();
        // A thread that could not open the repository leaves its share to this one.
        let mut done = run(repository);
        for other in others {
            done.extend(other.join().map_err(|_| RepoError::Stopped)?);
        }
        Ok::<_, RepoError>(done)
    })?;
    done.sort_by_key(|(number, _)| *number);
    let mut all = Vec::with_capacity(items.len());
    for (_, made) in done {
        all.append(&mut made?);
    }
    Ok(all)
}

fn take<'i, T>(chunks: &[&'i [T]], next: &AtomicUsize) -> Option<(usize, &'i [T])> {
    let number = next.fetch_add(1, Ordering::Relaxed);
    chunks.get(number).map(|chunk| (number, *chunk))
}
