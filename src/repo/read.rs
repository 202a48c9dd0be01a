//! The rules for what is read of a repository.
//!
//! Read are files whose names end in `.yaml`, `.yml` or `.json`, at any depth, outside hidden folders. Refused with a
//! diagnostic, so that they are never an absence: such names that are no plain file of at most 1 MiB, names that are not
//! clean UTF-8 or hold a backslash, submodules, folders nested too deep, and symbolic links that are (or may be) links to
//! folders. A link with another name to a file within the repository is passed over, as any file that is no YAML.

use std::sync::Arc;

use git2::{ObjectType, Oid, Repository};

use crate::kit::Diagnostic;
use crate::resource::FileText;
use crate::resource::yaml::{self, ParsedFile};

use super::error::{RepoError, git};

/// The largest file that is read.
pub(super) const LARGEST_FILE: usize = 1 << 20;
/// The most files and folders that are looked at.
pub(super) const MOST_ENTRIES: usize = 200_000;
/// The deepest nesting of folders.
pub(super) const DEEPEST: usize = 64;

/// Whether a name is passed over, whatever it is.
pub(super) fn hidden(name: &[u8]) -> bool {
    name.first() == Some(&b'.')
}

/// Whether a name says that the file holds declarations.
pub(super) fn is_yaml(name: &[u8]) -> bool {
    [&b".yaml"[..], b".yml", b".json"]
        .iter()
        .any(|ending| name.ends_with(ending))
}

/// The path of an entry, or its refusal where it can't be used.
pub(super) fn path_of(folder: &str, name: &[u8]) -> Result<String, Arc<ParsedFile>> {
    let join = |name: &str| {
        if folder.is_empty() {
            name.to_owned()
        } else {
            format!("{folder}/{name}")
        }
    };
    match std::str::from_utf8(name) {
        // Another system would take it for a path of folders.
        Ok(text) if text.contains('\\') => Err(refused_name(join(text), "the name holds a backslash")),
        Ok(text) if !text.chars().any(char::is_control) => Ok(join(text)),
        _ => {
            let shown = String::from_utf8_lossy(name).escape_debug().to_string();
            Err(refused_name(join(&shown), "the name is not clean UTF-8"))
        }
    }
}

/// An entry that is refused.
pub(super) fn refused(path: String, message: impl Into<String>, hint: &str) -> Arc<ParsedFile> {
    let fault = Diagnostic::of_file(&path, message).hint(hint);
    Arc::new(yaml::read(&FileText {
        path,
        bytes: Err(fault),
    }))
}

fn refused_name(path: String, message: &str) -> Arc<ParsedFile> {
    refused(path, message, "rename the file: letters, digits, - and _ are safe")
}

pub(super) fn refused_size(path: String) -> Arc<ParsedFile> {
    refused(path, "the file is over 1 MiB", "split it, one resource a file")
}

pub(super) fn refused_link(path: String) -> Arc<ParsedFile> {
    refused(
        path,
        "symbolic links are not followed",
        "put the file or folder itself into the repository",
    )
}

pub(super) fn refused_depth(path: String) -> Arc<ParsedFile> {
    refused(
        path,
        format!("folders are nested over {DEEPEST} deep"),
        "move the files up",
    )
}

/// The text of one small file of a tree by its path; nothing where there is none, [`super::UNREADABLE`] where it is no plain
/// file or too large.
pub(super) fn small_file(
    repository: &Repository,
    tree: &git2::Tree<'_>,
    path: &str,
    most: usize,
) -> Result<Option<Arc<str>>, RepoError> {
    let Ok(entry) = tree.get_path(std::path::Path::new(path)) else {
        return Ok(None);
    };
    let odb = repository.odb().map_err(git("reading a file of the repository"))?;
    let (size, kind) = odb
        .read_header(entry.id())
        .map_err(git("reading a file of the repository"))?;
    if size > most || kind != ObjectType::Blob || entry.filemode() & 0o170_000 != 0o100_000 {
        return Ok(Some(super::UNREADABLE.into()));
    }
    let object = odb.read(entry.id()).map_err(git("reading a file of the repository"))?;
    Ok(Some(String::from_utf8_lossy(object.data()).into()))
}

/// Whether a link's target, followed by its words alone, is a plain file of the same tree.
pub(super) fn links_to_a_file(
    repository: &Repository,
    root: &git2::Tree<'_>,
    path: &[u8],
    link: Oid,
) -> Result<bool, RepoError> {
    let odb = repository.odb().map_err(git("reading a link of the repository"))?;
    if odb
        .read_header(link)
        .map_err(git("reading a link of the repository"))?
        .0
        > 4096
    {
        return Ok(false);
    }
    let object = odb.read(link).map_err(git("reading a link of the repository"))?;
    let Ok(target) = std::str::from_utf8(object.data()) else {
        return Ok(false);
    };
    let Ok(path) = std::str::from_utf8(path) else {
        return Ok(false);
    };
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            "" if parts.is_empty() || target.starts_with('/') => return Ok(false),
            "" | "." => {}
            ".." => {
                if parts.pop().is_none() {
                    return Ok(false);
                }
            }
            name => parts.push(name),
        }
    }
    let found = root.get_path(std::path::Path::new(&parts.join("/")));
    Ok(found.is_ok_and(|entry| entry.filemode() & 0o170_000 == 0o100_000))
}
