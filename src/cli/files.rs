//! The files that a command writes into a repository: new ones, never over what is there; schemas are the exception.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::error::Failure;

/// A file to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NewFile {
    /// From the folder's root, with `/`.
    pub path: String,
    /// Its text.
    pub text: String,
}

fn failed(path: &Path) -> impl FnOnce(std::io::Error) -> Failure + '_ {
    |cause| Failure::Written {
        path: path.to_owned(),
        cause,
    }
}

/// Whether something stands at a path, be it a link that leads nowhere.
pub(super) fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Writes a file that is not there yet, and the folders above it.
///
/// # Errors
/// Something stands there, also where it came a moment ago.
pub(super) fn write_new(root: &Path, file: &NewFile) -> Result<(), Failure> {
    write(root, file, OpenOptions::new().write(true).create_new(true))
}

/// Writes a file that belongs to mcpctl, whatever stands there; of a link it writes where that leads.
pub(super) fn write_own(root: &Path, file: &NewFile) -> Result<(), Failure> {
    write(root, file, OpenOptions::new().write(true).create(true).truncate(true))
}

fn write(root: &Path, file: &NewFile, how: &OpenOptions) -> Result<(), Failure> {
    let path: PathBuf = root.join(&file.path);
    let below = path.ancestors().skip(1).take_while(|folder| *folder != root);
    for folder in below {
        if fs::symlink_metadata(folder).is_ok_and(|it| it.is_symlink()) {
            let cause = std::io::Error::other("it is a link, and leads elsewhere");
            return Err(failed(folder)(cause));
        }
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed(folder))?;
    }
    how.open(&path)
        .and_then(|mut to| to.write_all(file.text.as_bytes()))
        .map_err(failed(&path))
}
