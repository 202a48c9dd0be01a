//! Points in time of a repository with a history: commits by what people call them, and the branches that keep what was before
//! a restore.

use std::sync::Arc;

use git2::{ErrorCode, Oid, Repository};

use crate::kit::time::{self, Timestamp};

use super::BRANCH;
use super::bare::{Bare, BareInner, commit_id, head};
use super::bare_write::sync;
use super::blocking::blocking;
use super::error::{RepoError, git};
use super::history::{Logged, logged};

/// Below it are the branches that keep what was before a restore. Only mcpd makes them, and nobody moves them.
const TIMELINES: &str = "refs/heads/timeline";

/// The longest text that is read as a point in time, in bytes.
const LONGEST: usize = 200;
/// The fewest digits of a commit that are enough.
const SHORTEST: usize = 4;
/// The most commits that are walked to find one.
const MOST_COMMITS: usize = 1_000_000;
/// How often another name is tried for a branch whose name is taken.
const TRIES: usize = 1_000;

/// A branch that keeps what was before a restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeline {
    /// As `timeline/2026-11-20T10-00-00Z`.
    pub branch: String,
    /// What it is at.
    pub commit: Logged,
}

/// Whether a push must leave a branch alone: it keeps what was before a restore, or would stand in the way of those.
#[must_use]
pub fn is_kept(reference: &str) -> bool {
    reference
        .strip_prefix(TIMELINES)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What a text names.
#[derive(Debug, PartialEq, Eq)]
enum Named<'t> {
    /// A branch, and how many commits before its head.
    Branch(String, usize),
    /// The beginning of a commit's id, and how many commits before it.
    Commit(&'t str, usize),
    /// The last commit before that moment.
    Before(Timestamp),
}

impl Bare {
    /// The commit that a text names: an id or its beginning, `HEAD`, `main`, `timeline/…`, each with `~N` behind it, or a
    /// time, of which the last commit before it is meant.
    ///
    /// # Errors
    /// [`RepoError::NoPoint`]: it names none, or more than one, or one that is in no history of this repository's.
    pub async fn point(&self, text: &str) -> Result<Logged, RepoError> {
        let inner = Arc::clone(&self.0);
        let text = text.to_owned();
        blocking(move || inner.point(&text)).await
    }

    /// The branches that keep what was before a restore, the newest first.
    pub async fn timelines(&self) -> Result<Vec<Timeline>, RepoError> {
        let inner = Arc::clone(&self.0);
        blocking(move || {
            let repository = inner.repository(None)?;
            let mut found = vec![];
            for (name, id) in timelines(&repository)? {
                let commit = repository.find_commit(id).map_err(git("reading a branch"))?;
                found.push(Timeline {
                    branch: name,
                    commit: logged(&commit),
                });
            }
            found.reverse();
            Ok(found)
        })
        .await
    }

    /// Keeps a commit as the branch `timeline/TIME`, durably. Its name; where the commit is kept under this time already,
    /// that one.
    pub async fn keep(&self, commit: &str, at: Timestamp) -> Result<String, RepoError> {
        let inner = Arc::clone(&self.0);
        let commit = commit_id(commit)?;
        blocking(move || inner.keep(commit, at)).await
    }
}

impl BareInner {
    fn point(&self, text: &str) -> Result<Logged, RepoError> {
        let repository = self.repository(None)?;
        let no = |why: String| Err(RepoError::NoPoint(why));
        let shown: String = text.chars().take(80).collect();
        if head(&repository)?.is_none() {
            return no("the repository has no commit yet".to_owned());
        }
        let Some(named) = read(text, time::now()) else {
            return no(format!("\"{shown}\" is no commit, no branch and no time"));
        };
        let id = match named {
            Named::Branch(name, back) => {
                let found = repository.refname_to_id(&name);
                let Ok(id) = found else {
                    return no(format!("there is no branch {shown}"));
                };
                before(&repository, id, back)?
            }
            Named::Commit(digits, back) => match repository.find_commit_by_prefix(digits) {
                Ok(commit) => before(&repository, commit.id(), back)?,
                Err(error) if error.code() == ErrorCode::Ambiguous => {
                    return no(format!("{shown} is the beginning of more than one id: give more of it"));
                }
                Err(_) => return no(format!("{shown} is no commit of this repository")),
            },
            Named::Before(moment) => last_before(&repository, moment)?,
        };
        let Some(id) = id else {
            return no(format!("there is no commit as old as {shown}"));
        };
        if !is_history(&repository, id)? {
            return no(format!(
                "{shown} is neither in the history of main nor in that of a timeline"
            ));
        }
        let commit = repository.find_commit(id).map_err(git("reading a commit"))?;
        Ok(logged(&commit))
    }

    fn keep(&self, commit: Oid, at: Timestamp) -> Result<String, RepoError> {
        let repository = self.repository(None)?;
        // No colon may stand in a branch's name.
        let name = format!("timeline/{}", at.strftime("%Y-%m-%dT%H-%M-%SZ"));
        for n in 1..=TRIES {
            let name = if n == 1 { name.clone() } else { format!("{name}-{n}") };
            let full = format!("refs/heads/{name}");
            match repository.reference(&full, commit, false, "mcpctl") {
                Ok(_) => {}
                Err(error) if error.code() == ErrorCode::Exists => match repository.refname_to_id(&full) {
                    Ok(there) if there == commit => {}
                    // Another restore within the same second.
                    Ok(_) => continue,
                    Err(_) => return Err(RepoError::Git("keeping a branch", error)),
                },
                Err(error) => return Err(RepoError::Git("keeping a branch", error)),
            }
            sync(&self.git_folder.join(&full))?;
            sync(&self.git_folder.join(TIMELINES))?;
            sync(&self.git_folder.join("refs/heads"))?;
            return Ok(name);
        }
        Err(RepoError::Locked)
    }
}

/// What a text means; nothing where it is none of what people may say.
fn read(text: &str, now: Timestamp) -> Option<Named<'_>> {
    if text.is_empty() || text.len() > LONGEST {
        return None;
    }
    let (name, back) = match text.rsplit_once('~') {
        Some((name, "")) => (name, 1),
        Some((name, back)) if back.bytes().all(|b| b.is_ascii_digit()) => (name, back.parse().ok()?),
        Some(_) => return None,
        None => (text, 0),
    };
    let name = name.strip_prefix("refs/heads/").unwrap_or(name);
    if name == "HEAD" || name == "main" {
        return Some(Named::Branch(BRANCH.to_owned(), back));
    }
    if name.starts_with("timeline/") {
        let full = format!("refs/heads/{name}");
        return git2::Reference::is_valid_name(&full).then_some(Named::Branch(full, back));
    }
    let digits = name.bytes().all(|b| b.is_ascii_hexdigit());
    if digits && (SHORTEST..=40).contains(&name.len()) {
        return Some(Named::Commit(name, back));
    }
    // A time is one alone.
    (name.len() == text.len())
        .then(|| moment(text, now))
        .flatten()
        .map(Named::Before)
}

/// A time as people write it, in UTC where they don't say where.
fn moment(text: &str, now: Timestamp) -> Option<Timestamp> {
    if let Ok(moment) = time::moment(text, now) {
        return Some(moment);
    }
    let text = text.replacen(' ', "T", 1);
    let (day, hour) = text.split_once('T').unwrap_or((&text, "00:00"));
    // Not everything that a library takes for a date.
    let plain = |text: &str, by: &str| text.bytes().all(|b| b.is_ascii_digit() || by.contains(char::from(b)));
    if day.len() != 10 || !plain(day, "-") || !plain(hour, ":") || !(5..=8).contains(&hour.len()) {
        return None;
    }
    let whole = if hour.len() == 5 {
        format!("{hour}:00")
    } else {
        hour.to_owned()
    };
    format!("{day}T{whole}Z").parse().ok()
}

/// The commit that many before another one, always by the first parent.
fn before(repository: &Repository, from: Oid, back: usize) -> Result<Option<Oid>, RepoError> {
    let mut id = from;
    for _ in 0..back.min(MOST_COMMITS) {
        let commit = repository.find_commit(id).map_err(git("walking the history"))?;
        match commit.parent_id(0) {
            Ok(parent) => id = parent,
            Err(_) => return Ok(None),
        }
    }
    Ok(Some(id))
}

/// What main was at then: by the first parents, the first commit that is not younger.
fn last_before(repository: &Repository, moment: Timestamp) -> Result<Option<Oid>, RepoError> {
    let mut next = head(repository)?;
    for _ in 0..MOST_COMMITS {
        let Some(id) = next else { return Ok(None) };
        let commit = repository.find_commit(id).map_err(git("walking the history"))?;
        if commit.time().seconds() <= moment.as_second() {
            return Ok(Some(id));
        }
        next = commit.parent_id(0).ok();
    }
    Ok(None)
}

/// Whether a commit was applied once, as far as can be told: it is in main's history, or in that of a timeline.
fn is_history(repository: &Repository, id: Oid) -> Result<bool, RepoError> {
    let kept = timelines(repository)?.into_iter().map(|(_, tip)| tip);
    for tip in head(repository)?.into_iter().chain(kept) {
        if tip == id
            || repository
                .graph_descendant_of(tip, id)
                .map_err(git("walking the history"))?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The branches that keep something, by name: `timeline/…`.
fn timelines(repository: &Repository) -> Result<Vec<(String, Oid)>, RepoError> {
    let all = repository
        .references_glob(&format!("{TIMELINES}/*"))
        .map_err(git("reading the branches"))?;
    let mut found = vec![];
    for reference in all {
        let reference = reference.map_err(git("reading the branches"))?;
        let (Ok(name), Some(id)) = (reference.name(), reference.target()) else {
            continue;
        };
        found.push((name.trim_start_matches("refs/heads/").to_owned(), id));
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_in_time_are_read() {
        let now: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
        let at = |text: &str| Some(Named::Before(text.parse().unwrap()));
        let main = |back| Some(Named::Branch(BRANCH.to_owned(), back));
        for (text, want) in [
            ("HEAD", main(0)),
            ("HEAD~3", main(3)),
            ("main~", main(1)),
            ("3fa2c1e", Some(Named::Commit("3fa2c1e", 0))),
            ("3fa2c1e~2", Some(Named::Commit("3fa2c1e", 2))),
            (
                "timeline/2026-11-20T10-00-00Z",
                Some(Named::Branch("refs/heads/timeline/2026-11-20T10-00-00Z".to_owned(), 0)),
            ),
            ("2026-11-20T10:00", at("2026-11-20T10:00:00Z")),
            ("2026-11-20 10:00:30", at("2026-11-20T10:00:30Z")),
            ("2026-11-20", at("2026-11-20T00:00:00Z")),
            ("2026-11-20T10:00:00+02:00", at("2026-11-20T08:00:00Z")),
            ("2h", at("2026-11-24T10:00:00Z")),
            ("3fa", None),
            ("", None),
            ("HEAD^", None),
            ("HEAD~x", None),
            ("HEAD@{1}", None),
            (":/words", None),
            ("2h~1", None),
            ("timeline/../main", None),
            ("timeline/", None),
            ("other", None),
            ("2026-13-20", None),
            ("2026-11-20T1", None),
        ] {
            assert_eq!(read(text, now), want, "{text}");
        }
        assert_eq!(read(&"a".repeat(41), now), None);
        assert_eq!(read(&"timeline/a".repeat(50), now), None);
    }

    #[test]
    fn branches_that_keep_something_are_mcpds() {
        for (name, kept) in [
            ("refs/heads/timeline/x", true),
            ("refs/heads/timeline", true),
            ("refs/heads/timelines", false),
            ("refs/heads/main", false),
            ("refs/tags/timeline/x", false),
        ] {
            assert_eq!(is_kept(name), kept, "{name}");
        }
    }
}
