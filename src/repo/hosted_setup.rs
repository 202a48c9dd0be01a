//! Making the hosted repository, or making it fit again: its settings, its hooks and their socket, at each start.

use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use git2::{Repository, RepositoryInitOptions};

use super::BRANCH;
use super::blocking::blocking;
use super::error::{RepoError, at, git};
use super::hosted::{Hosted, Inner};

/// The largest push, in bytes.
const LARGEST_PUSH: i64 = 128 << 20;
/// Locks older than this belong to a process that is gone: git holds one for milliseconds.
const STALE_LOCK: Duration = Duration::from_secs(5);
/// Objects in quarantine for longer than this, while no push is under way, belong to one that is over. A push of an mcpd
/// that died ends within moments: its input ends, and its hooks find nobody.
const STALE_QUARANTINE: Duration = Duration::from_mins(1);
/// What a socket's address has room for, with something to spare.
const SOCKET_PATH: usize = 100;

impl Hosted {
    /// Opens the repository in the data folder; makes it where there is none (it has no branch then). The hooks call
    /// `hook_program hook NAME`; `writer` is named in each commit. Hooks may connect from now on and wait for
    /// [`Hosted::serve_hooks`].
    ///
    /// # Assumptions
    /// No other mcpd uses the data folder (the store's lock sees to that).
    pub async fn open(data: &Path, hook_program: &Path, writer: &str) -> Result<Self, RepoError> {
        check_git().await?;
        let (data, hook_program, writer) = (data.to_owned(), hook_program.to_owned(), writer.to_owned());
        blocking(move || {
            fs::create_dir_all(&data).map_err(at("made", &data))?;
            let data = data.canonicalize().map_err(at("found", &data))?;
            let hook_program = hook_program.canonicalize().map_err(at("found", &hook_program))?;
            let git_folder = data.join("config.git");
            set_up(&git_folder)?;
            write_hooks(&git_folder, &hook_program)?;
            remove_remains(&git_folder);
            let listener = listen(&data.join("hook.sock"))?;
            Ok(Self(Arc::new(Inner::new(data, &writer, listener))))
        })
        .await
    }
}

/// git 2.31 brought the `GIT_CONFIG_COUNT` by which its settings are given without files.
async fn check_git() -> Result<(), RepoError> {
    let output = tokio::process::Command::new("git")
        .arg("--version")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("HOME", "/dev/null")
        .env("XDG_CONFIG_HOME", "/dev/null")
        .output()
        .await
        .map_err(RepoError::NoGit)?;
    let text = String::from_utf8_lossy(&output.stdout);
    if new_enough(&text) {
        Ok(())
    } else {
        Err(RepoError::OldGit(
            text.chars().take(80).collect::<String>().trim().to_owned(),
        ))
    }
}

fn new_enough(version: &str) -> bool {
    let numbers = version.strip_prefix("git version ").unwrap_or_default();
    let mut numbers = numbers.split('.').map(|part| part.trim().parse::<u32>().unwrap_or(0));
    let (major, minor) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    (major, minor) >= (2, 31)
}

fn set_up(git_folder: &Path) -> Result<(), RepoError> {
    if !git_folder.join("HEAD").exists() {
        let mut options = RepositoryInitOptions::new();
        options.bare(true).no_reinit(false).external_template(false);
        options.initial_head(BRANCH);
        Repository::init_opts(git_folder, &options).map_err(git("making the repository"))?;
    }
    let repository = Repository::open_bare(git_folder).map_err(git("opening the repository"))?;
    let mut config =
        git2::Config::open(&repository.path().join("config")).map_err(git("writing the repository's settings"))?;
    let texts = [
        ("receive.denyDeletes", "false"),
        // Whether a history may be replaced is for mcpd to judge: only with a person's word in the push.
        ("receive.denyNonFastForwards", "false"),
        ("receive.advertisePushOptions", "true"),
        ("receive.autogc", "false"),
        ("receive.keepAlive", "5"),
        ("transfer.fsckObjects", "true"),
        ("http.receivepack", "true"),
        ("http.uploadpack", "true"),
        ("gc.auto", "0"),
        ("core.fsync", "committed,reference"),
        ("core.logAllRefUpdates", "false"),
    ];
    for (name, value) in texts {
        config
            .set_str(name, value)
            .map_err(git("writing the repository's settings"))?;
    }
    config
        .set_i64("receive.maxInputSize", LARGEST_PUSH)
        .map_err(git("writing the repository's settings"))?;
    // Whatever was set by hand: the branch that is applied is the one that is cloned.
    if repository
        .find_reference("HEAD")
        .ok()
        .and_then(|head| head.symbolic_target().ok().flatten().map(str::to_owned))
        != Some(BRANCH.to_owned())
    {
        repository
            .set_head(BRANCH)
            .map_err(git("writing the repository's settings"))?;
    }
    Ok(())
}

/// Hooks hold the program's path, which changes with an upgrade: they are written at each start.
fn write_hooks(git_folder: &Path, program: &Path) -> Result<(), RepoError> {
    let folder = git_folder.join("hooks");
    fs::create_dir_all(&folder).map_err(at("made", &folder))?;
    for name in ["pre-receive", "post-receive"] {
        let mut script = b"#!/bin/sh\n# Written by mcpd at each start.\nexec '".to_vec();
        for byte in program.as_os_str().as_bytes() {
            match byte {
                b'\'' => script.extend(br"'\''"),
                other => script.push(*other),
            }
        }
        script.extend(b"' hook ");
        script.extend(name.as_bytes());
        script.push(b'\n');
        let (path, new) = (folder.join(name), folder.join(format!("{name}.new")));
        let write = || -> io::Result<()> {
            let mut file = fs::File::create(&new)?;
            file.write_all(&script)?;
            file.set_permissions(fs::Permissions::from_mode(0o755))?;
            file.sync_all()?;
            fs::rename(&new, &path)
        };
        write().map_err(at("written", &path))?;
    }
    Ok(())
}

/// A machine that went down while git moved the branch leaves a lock that would refuse every push, and what was being
/// pushed then stays in quarantine for ever.
fn remove_remains(git_folder: &Path) {
    let mut folders = vec![git_folder.to_owned(), git_folder.join("refs/heads")];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|ending| ending == "lock") && is_stale(&path) {
                tracing::warn!(lock = %path.display(), "removed a lock that a dead git process left behind");
                let _ = fs::remove_file(&path);
            } else if folder != git_folder && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
            }
        }
    }
    sweep(git_folder);
}

/// Removes what pushes that were cut off left in quarantine, up to 128 MiB each. Only while no push is under way.
pub(super) fn sweep(git_folder: &Path) {
    let Ok(entries) = fs::read_dir(git_folder.join("objects")) else {
        return;
    };
    for entry in entries.flatten() {
        let quarantine = entry.file_name().as_bytes().starts_with(b"tmp_objdir-");
        if quarantine && age(&entry.path()).is_some_and(|age| age > STALE_QUARANTINE) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Whether a lock file is too old to belong to a living process.
pub(super) fn is_stale(lock: &Path) -> bool {
    age(lock).is_some_and(|age| age > STALE_LOCK)
}

fn age(path: &Path) -> Option<Duration> {
    fs::metadata(path)
        .and_then(|about| about.modified())
        .ok()?
        .elapsed()
        .ok()
}

fn listen(socket: &Path) -> Result<UnixListener, RepoError> {
    let fault = |cause| RepoError::Socket(socket.to_owned(), cause);
    match fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fault(error)),
        _ => {}
    }
    let listener = if socket.as_os_str().len() <= SOCKET_PATH {
        UnixListener::bind(socket).map_err(fault)?
    } else {
        // A socket's address is short; a deep data folder is reached through the descriptor of the folder.
        let folder = fs::File::open(socket.parent().unwrap_or(Path::new("/"))).map_err(fault)?;
        UnixListener::bind(through_descriptor(&folder, socket)).map_err(fault)?
    };
    fs::set_permissions(socket, fs::Permissions::from_mode(0o600)).map_err(fault)?;
    listener.set_nonblocking(true).map_err(fault)?;
    Ok(listener)
}

/// A short path of a file in an open folder.
fn through_descriptor(folder: &fs::File, path: &Path) -> PathBuf {
    use std::os::fd::AsRawFd as _;
    let folders = if cfg!(target_os = "linux") {
        "/proc/self/fd"
    } else {
        "/dev/fd"
    };
    Path::new(folders)
        .join(folder.as_raw_fd().to_string())
        .join(path.file_name().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    #[test]
    fn versions_of_git() {
        for (text, enough) in [
            ("git version 2.31.0\n", true),
            ("git version 2.47.3", true),
            ("git version 3.0.rc1", true),
            ("git version 2.39.5 (Apple Git-154)", true),
            ("git version 2.30.9", false),
            ("git version 1.99", false),
            ("", false),
            ("hg 7", false),
        ] {
            assert_eq!(super::new_enough(text), enough, "{text}");
        }
    }
}
