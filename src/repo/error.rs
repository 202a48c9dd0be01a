//! What can go wrong with a repository.

use std::io;
use std::path::{Path, PathBuf};

use crate::resource::Id;
use crate::resource::yaml::EditError;

/// What can go wrong with a repository.
#[derive(Debug, thiserror::Error)]
pub enum RepoError {
    /// At start: git can't be run.
    #[error("git could not be run; mcpd needs git 2.31 or newer on PATH")]
    NoGit(#[source] io::Error),
    /// At start: git is too old, or does not say its version.
    #[error("git 2.31 or newer is needed, and `git --version` says: {0}")]
    OldGit(String),
    /// At start: the hooks' socket can't be made.
    #[error("the hooks' socket {0} could not be made")]
    Socket(PathBuf, #[source] io::Error),
    /// libgit2 refuses or fails.
    #[error("{0} failed")]
    Git(&'static str, #[source] git2::Error),
    /// A file or folder can't be read or written.
    #[error("{0}")]
    Io(String, #[source] io::Error),
    /// The repository holds more files than are read.
    #[error("the repository holds more than {0} YAML files or folders")]
    TooManyFiles(usize),
    /// A push nests folders too deep to be looked into.
    #[error("the push nests folders too deep: {0}")]
    TooDeep(String),
    /// A push brings more commits than are looked into.
    #[error("the push brings more than {0} commits: push them in parts")]
    TooManyCommits(usize),
    /// A folder holds more than can be looked at as one commit.
    #[error("the folder holds more than {0} MiB that git would push; say in .gitignore what is not part of it")]
    TooMuch(u64),
    /// The watched folder is not there (or is no folder): nothing is known of its files.
    #[error("the watched folder {0} is not there")]
    NoFolder(PathBuf),
    /// The watched folder kept changing while it was read.
    #[error("the watched folder {0} changes faster than it can be read")]
    Unsettled(PathBuf),
    /// A remote has not answered yet, so nothing is known of what it declares.
    #[error("{0} has not answered yet")]
    NotSeen(String),
    /// What was set as the folder of the declarations is something else.
    #[error("{0} is no folder of the repository (MCPD_REPO_PATH)")]
    NotAFolder(String),
    /// A text is no commit of this repository.
    #[error("{0} is no commit of this repository")]
    NoCommit(String),
    /// The history can't be rewritten as it was asked for.
    #[error("{0}")]
    Scrub(String),
    /// A text names no commit that can be gone back to.
    #[error("{0}")]
    NoPoint(String),
    /// An export of this resource can't be written into the file that holds (or would hold) it.
    #[error("{id} could not be written to {path}")]
    Edit {
        /// The resource.
        id: Id,
        /// The file.
        path: String,
        /// Why.
        #[source]
        cause: EditError,
    },
    /// An export of this resource can't be written: something that is no readable file stands at the path.
    #[error("{id} could not be written: {path} {fault}")]
    InTheWay {
        /// The resource.
        id: Id,
        /// The path.
        path: String,
        /// What stands there.
        fault: String,
    },
    /// An export would make a file too large to be read again.
    #[error("{id} could not be written: {path} would be over 1 MiB")]
    TooLarge {
        /// The resource.
        id: Id,
        /// The file.
        path: String,
    },
    /// Another process holds the lock of the branch.
    #[error("the branch is locked by another git process")]
    Locked,
    /// An export made ready for one repository was to land in another kind of repository.
    #[error("the export was made for another repository")]
    OtherSource,
    /// mcpd is stopping.
    #[error("mcpd is stopping")]
    Stopped,
}

impl RepoError {
    /// The resource that can't be exported, where one resource is the trouble: it alone has to wait.
    #[must_use]
    pub fn resource(&self) -> Option<&Id> {
        match self {
            Self::Edit { id, .. } | Self::InTheWay { id, .. } | Self::TooLarge { id, .. } => Some(id),
            _ => None,
        }
    }
}

/// Names what was being done with a file when it failed.
pub(super) fn at<'a>(what: &'a str, path: &'a Path) -> impl FnOnce(io::Error) -> RepoError + 'a {
    move |cause| RepoError::Io(format!("{} could not be {what}", path.display()), cause)
}

/// Names what was being done with the repository when libgit2 failed.
pub(super) fn git(what: &'static str) -> impl FnOnce(git2::Error) -> RepoError {
    move |cause| RepoError::Git(what, cause)
}
