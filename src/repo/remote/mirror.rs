//! The mirror of a remote in the data folder: its branch is what the remote's was at when it was heard of last. What is
//! read is read here, so that a remote that is away keeps nothing waiting.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use git2::{Repository, RepositoryInitOptions};

use crate::repo::BRANCH;
use crate::repo::bare::{commit_id, head};
use crate::repo::error::{RepoError, at, git};

/// Whose mirror it is.
const SOURCE: &str = "mcpd.source";
/// Whether the remote was heard of once.
const SEEN: &str = "mcpd.seen";

/// Opens the mirror of this remote, or makes an empty one: where there is none, where it is another remote's, and where it
/// can't be read. Gives whether the remote was heard of before.
pub(super) fn open(folder: &Path, identity: &str) -> Result<bool, RepoError> {
    remove_locks(folder);
    match sound(folder, identity) {
        Ok(Some(seen)) => return Ok(seen),
        Ok(None) => {}
        Err(error) => {
            tracing::warn!(%error, "the mirror of the remote can't be used and is made anew");
        }
    }
    put_aside(folder)?;
    let what = "making the mirror of the remote";
    let mut options = RepositoryInitOptions::new();
    options.bare(true).no_reinit(false).external_template(false);
    options.initial_head(BRANCH);
    let repository = Repository::init_opts(folder, &options).map_err(git(what))?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).map_err(at("made private", folder))?;
    let mut config = git2::Config::open(&repository.path().join("config")).map_err(git(what))?;
    for (name, value) in [
        ("core.fsyncObjectFiles", "true"),
        ("gc.auto", "0"),
        // Nothing that opens the remote goes to another host than the one that was named: this is for connecting, and
        // fetches and pushes say it themselves.
        ("http.followRedirects", "false"),
        // Last: it says that the mirror is whole.
        (SOURCE, identity),
    ] {
        config.set_str(name, value).map_err(git(what))?;
    }
    Ok(false)
}

/// Renames a mirror that is of no use any more: branches of restores may stand in it alone.
fn put_aside(folder: &Path) -> Result<(), RepoError> {
    if !folder.exists() {
        return Ok(());
    }
    let free = (1..1_000)
        .map(|n| folder.with_extension(format!("git.{n}")))
        .find(|path| !path.exists())
        .ok_or(RepoError::Locked)?;
    fs::rename(folder, &free).map_err(at("put aside", folder))?;
    tracing::info!("the mirror that was there is kept as {}", free.display());
    Ok(())
}

/// Whether the remote of a sound mirror was heard of; nothing where it is no mirror of this remote.
fn sound(folder: &Path, identity: &str) -> Result<Option<bool>, RepoError> {
    let what = "opening the mirror of the remote";
    if !folder.join("config").exists() {
        return Ok(None);
    }
    let repository = Repository::open_bare(folder).map_err(git(what))?;
    let config = repository
        .config()
        .and_then(|mut config| config.snapshot())
        .map_err(git(what))?;
    if config.get_str(SOURCE).ok() != Some(identity) {
        return Ok(None);
    }
    if let Some(head) = head(&repository)? {
        // After a power cut the branch may point at what is not there.
        repository
            .find_commit(head)
            .and_then(|commit| commit.tree())
            .map_err(git(what))?;
    }
    Ok(Some(config.get_bool(SEEN).unwrap_or(false)))
}

/// What the remote's branch is at: nothing where there is none. Whether that is news.
pub(super) fn follow(repository: &Repository, commit: Option<&str>) -> Result<bool, RepoError> {
    let what = "moving the mirror's branch";
    let known = head(repository)?;
    let Some(commit) = commit else {
        if known.is_some() {
            let mut branch = repository.find_reference(BRANCH).map_err(git(what))?;
            branch.delete().map_err(git(what))?;
        }
        return Ok(known.is_some());
    };
    let commit = commit_id(commit)?;
    if known != Some(commit) {
        repository
            .reference(BRANCH, commit, true, "fetched")
            .map_err(git(what))?;
    }
    Ok(known != Some(commit))
}

/// Notes that the remote was heard of.
pub(super) fn note_seen(repository: &Repository) -> Result<(), RepoError> {
    let what = "writing the mirror's settings";
    let mut config = git2::Config::open(&repository.path().join("config")).map_err(git(what))?;
    if config.get_bool(SEEN).unwrap_or(false) {
        return Ok(());
    }
    config.set_bool(SEEN, true).map_err(git(what))
}

/// More packs than this are made one: each look that brings something adds a pack.
const MOST_PACKS: usize = 50;

/// Removes what a fetch left that was given up, and says whether there are too many packs. Not while a fetch is under way.
pub(super) fn tidy(folder: &Path) -> bool {
    remove_locks(folder);
    let Ok(entries) = fs::read_dir(folder.join("objects/pack")) else {
        return false;
    };
    let mut packs = 0;
    for entry in entries.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        packs += usize::from(path.extension().is_some_and(|ending| ending == "pack"));
        if name.as_encoded_bytes().starts_with(b"pack_git2_") {
            let _ = fs::remove_file(path);
        }
    }
    packs > MOST_PACKS
}

/// Nobody else writes here, so every lock that is found is one that a crash left.
fn remove_locks(folder: &Path) {
    for name in [
        "config.lock",
        "refs/heads/main.lock",
        "refs/mcpd/outgoing.lock",
        "packed-refs.lock",
    ] {
        let _ = fs::remove_file(folder.join(name));
    }
}
