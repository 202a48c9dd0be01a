//! What an export changes in the texts of files, and how its commit is worded. Knows neither git nor folders.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::kit::Digest;
use crate::record::{Change, PendingExport};
use crate::resource::yaml::{self, EditError};
use crate::resource::{Document, FileText, Id, Placed, field_changes};
use crate::wire::{Op, Step};

use super::Snapshot;
use super::error::RepoError;
use super::read::LARGEST_FILE;

/// A file that changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileEdit {
    /// From the repository's root.
    pub path: String,
    /// Its text as the plan saw it; nothing where it does not exist.
    pub before: Option<String>,
    /// Its new text; nothing where it goes.
    pub after: Option<String>,
}

/// What stands at a path.
pub(super) enum Standing {
    /// Nothing.
    Nothing,
    /// A file.
    Text(String),
    /// Something that can't be edited, in words that follow the path: `is a folder`.
    Other(String),
}

/// What an export writes.
pub(super) struct Edits {
    /// The files that change, by path.
    pub files: Vec<FileEdit>,
    /// Where each resource stands then.
    pub written: Vec<(Id, Option<(Digest, String)>)>,
}

/// Turns changes of resources into changes of files: an edit goes into the file that owns the resource, a creation to
/// its canonical path.
pub(super) fn edits(
    seen: &Snapshot,
    export: &PendingExport,
    pending: &[Id],
    mut standing: impl FnMut(&str) -> Result<Standing, RepoError>,
) -> Result<Edits, RepoError> {
    let mut files: BTreeMap<String, FileEdit> = BTreeMap::new();
    let mut written = vec![];
    for change in export.changes.iter().filter(|change| pending.contains(&change.id)) {
        let id = &change.id;
        let owner = seen.tree.documents.get(id);
        let after = change.after.as_deref();
        // What becomes an encrypted secret leaves a file that it shares with others.
        let moves = after.is_some_and(|after| after.text.is_some()) && owner.is_some_and(|placed| shares(seen, placed));
        if let (true, Some(placed)) = (moves, owner) {
            take(&mut files, &mut standing, id, &placed.path, None)?;
        }
        let path = match (owner, after) {
            (Some(_), Some(_)) if moves => usual_path(seen, id),
            (Some(placed), _) => placed.path.clone(),
            (None, _) if held(seen, id) => {
                return Err(RepoError::InTheWay {
                    id: id.clone(),
                    path: unreadable_path(seen, id).unwrap_or_else(|| usual_path(seen, id)),
                    fault: "holds a document of that name which can't be used".into(),
                });
            }
            (None, Some(_)) => usual_path(seen, id),
            (None, None) => {
                written.push((id.clone(), None));
                continue;
            }
        };
        let place = after.map(|document| (document.digest(), path.clone()));
        let same = owner.map(|placed| placed.digest) == place.as_ref().map(|(digest, _)| *digest)
            && after.is_none_or(|after| owner.is_some_and(|placed| placed.document.text == after.text));
        if !same {
            take(&mut files, &mut standing, id, &path, after)?;
        }
        written.push((id.clone(), place));
    }
    files.retain(|_, file| file.before != file.after);
    Ok(Edits {
        files: files.into_values().collect(),
        written,
    })
}

/// Where a resource goes that no file holds yet.
fn usual_path(seen: &Snapshot, id: &Id) -> String {
    match &*seen.within {
        "" => id.canonical_path(),
        within => format!("{within}/{}", id.canonical_path()),
    }
}

/// Brings one resource's change into its file.
fn take(
    files: &mut BTreeMap<String, FileEdit>,
    standing: &mut impl FnMut(&str) -> Result<Standing, RepoError>,
    id: &Id,
    path: &str,
    after: Option<&Document>,
) -> Result<(), RepoError> {
    if !files.contains_key(path) {
        let before = match standing(path)? {
            Standing::Nothing => None,
            Standing::Text(text) => Some(text),
            Standing::Other(fault) => {
                return Err(RepoError::InTheWay {
                    id: id.clone(),
                    path: path.to_owned(),
                    fault,
                });
            }
        };
        let after = before.clone();
        files.insert(
            path.to_owned(),
            FileEdit {
                path: path.to_owned(),
                before,
                after,
            },
        );
    }
    if let Some(file) = files.get_mut(path) {
        file.after = edited(path, file.after.as_deref(), id, after)?;
    }
    Ok(())
}

/// Whether other documents stand in the file of a resource.
fn shares(seen: &Snapshot, placed: &Placed) -> bool {
    let mut there = seen.tree.documents.values().filter(|other| other.path == placed.path);
    there.nth(1).is_some() || seen.tree.unreadable.iter().any(|other| other.path == placed.path)
}

fn held(seen: &Snapshot, id: &Id) -> bool {
    seen.tree.held.contains(id) || unreadable_path(seen, id).is_some()
}

fn unreadable_path(seen: &Snapshot, id: &Id) -> Option<String> {
    let mut unreadable = seen.tree.unreadable.iter();
    unreadable.find(|u| u.id.as_ref() == Some(id)).map(|u| u.path.clone())
}

/// One document of one file replaced, added or removed; checked by reading the result.
fn edited(path: &str, text: Option<&str>, id: &Id, after: Option<&Document>) -> Result<Option<String>, RepoError> {
    let fault = |cause| RepoError::Edit {
        id: id.clone(),
        path: path.to_owned(),
        cause,
    };
    let result = match (text, after) {
        (None, None) => None,
        (None, Some(document)) => Some(yaml::print(document)),
        (Some(text), after) => yaml::put(path, text, id, after).map_err(fault)?,
    };
    let Some(result) = result else { return Ok(None) };
    if result.len() > LARGEST_FILE {
        return Err(RepoError::TooLarge {
            id: id.clone(),
            path: path.to_owned(),
        });
    }
    // An edit that does not read back as what was asked for must not reach the repository.
    let read = yaml::read(&FileText {
        path: path.to_owned(),
        bytes: Ok(result.clone().into_bytes()),
    });
    let mut found = read.documents.iter().filter(|parsed| parsed.placed.document.id == *id);
    let sound = match after {
        Some(document) => found
            .next()
            .is_some_and(|parsed| *parsed.placed.document == *document.written()),
        None => true,
    };
    if sound && found.next().is_none() {
        Ok(Some(result))
    } else {
        Err(fault(EditError::Unreadable))
    }
}

/// A text as one clean line of at most `most` characters.
fn line(text: &str, most: usize) -> String {
    let clean: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(most)
        .collect();
    clean.trim().to_owned()
}

/// The commit's author: the acting user's name, and an address that git accepts and that belongs to nobody.
pub(super) fn author(name: &str) -> (String, String) {
    let shown = line(&name.replace(['<', '>', '\\', '"'], ""), 100);
    let shown = if shown.is_empty() { "unknown".to_owned() } else { shown };
    let address: String = shown
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || "@.+-_".contains(*c))
        .collect();
    let (local, host) = address.split_once('@').unwrap_or((&address, "mcpctl.local"));
    let local = if local.is_empty() { "unknown" } else { local };
    let host = if host.is_empty() { "mcpctl.local" } else { host };
    (shown.clone(), format!("{local}@{host}"))
}

/// The trailer that names the mcpd that wrote a commit.
pub(super) const WRITER: &str = "Mcpctl-Writer";
/// How many resources and notes a commit's message lists.
const LISTED: usize = 100;

/// The commit's message: what was asked for, of several resources each, what it was kept over; then who and what wrote it
/// (for people; never believed).
pub(super) fn message(export: &PendingExport, pending: &[Id], writer: &str) -> String {
    let mut subject = line(&export.message, 400);
    if subject.is_empty() {
        subject = format!("revision {}", export.revision);
    }
    let mut text = format!("{subject}\n\n");
    let written = export.changes.iter().filter(|change| pending.contains(&change.id));
    let steps = written.filter_map(step);
    let mut body: Vec<String> = steps.map(|step| step.to_string()).collect();
    if body.len() == 1 {
        // The subject tells it.
        body.clear();
    }
    body.extend(export.notes.iter().cloned());
    let rest = body.len().saturating_sub(LISTED);
    for told in body.iter().take(LISTED) {
        let _ = writeln!(text, "{}", line(told, 400));
    }
    if rest > 0 {
        let _ = writeln!(text, "and {rest} more");
    }
    if !body.is_empty() {
        text.push('\n');
    }
    if export.revision > 0 {
        let _ = writeln!(text, "Mcpctl-Revision: {}", export.revision);
    }
    let _ = writeln!(text, "Mcpctl-User: {}", line(&export.actor.name, 100));
    let _ = writeln!(text, "{WRITER}: {}", line(writer, 100));
    text
}

/// A change as plans show it; nothing where nothing changes.
fn step(change: &Change) -> Option<Step> {
    let op = match (&change.before, &change.after) {
        (before, after) if before == after => return None,
        (None, _) => Op::Create,
        (Some(_), None) => Op::Delete,
        (Some(_), Some(_)) => Op::Change,
    };
    Some(Step {
        op,
        resource: change.id.to_string(),
        fields: field_changes(change.before.as_deref(), change.after.as_deref()),
        source: String::new(),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Change, Document, PendingExport, author, line, message};

    #[test]
    fn a_commit_tells_what_it_does() {
        let document = |name: &str, replicas: u32| {
            let spec = serde_json::json!({"command": ["x"], "replicas": replicas});
            Document::new(format!("server/{name}").parse().unwrap(), &spec)
                .ok()
                .map(Arc::new)
        };
        let change = |name: &str, before: Option<u32>, after: Option<u32>| Change {
            id: format!("server/{name}").parse().unwrap(),
            before: before.and_then(|replicas| document(name, replicas)),
            after: after.and_then(|replicas| document(name, replicas)),
        };
        let mut export = PendingExport {
            revision: 7,
            at: crate::kit::time::Timestamp::UNIX_EPOCH,
            actor: crate::record::Actor {
                name: "ann".to_owned(),
                door: "api".to_owned(),
            },
            message: "apply 3 resources: server/a, server/b, server/c".to_owned(),
            changes: vec![
                change("a", None, Some(1)),
                change("b", Some(1), Some(2)),
                change("c", Some(1), None),
                change("d", Some(1), Some(1)),
            ],
            notes: vec!["server/b: kept over 3fa2c1e: replicas\n\nMcpctl-User: eve".to_owned()],
            attempt: None,
        };
        let all = |export: &PendingExport| {
            export
                .changes
                .iter()
                .map(|change| change.id.clone())
                .collect::<Vec<_>>()
        };
        let trailers = "\nMcpctl-Revision: 7\nMcpctl-User: ann\nMcpctl-Writer: w\n";
        let want = "apply 3 resources: server/a, server/b, server/c\n\n\
            + server/a\n~ server/b  replicas 1 → 2\n- server/c\n\
            server/b: kept over 3fa2c1e: replicas  Mcpctl-User: eve\n";
        assert_eq!(message(&export, &all(&export), "w"), format!("{want}{trailers}"));
        export.changes.truncate(1);
        export.notes.clear();
        export.message = "create server/a".to_owned();
        assert_eq!(
            message(&export, &all(&export), "w"),
            format!("create server/a\n{trailers}")
        );
        export.changes = (0..150).map(|n| change(&format!("s{n}"), None, Some(1))).collect();
        let text = message(&export, &all(&export), "w");
        assert!(text.contains("\nand 50 more\n") && text.lines().count() < 110, "{text}");
    }

    #[test]
    fn authors_and_lines_are_clean() {
        for (name, shown, address) in [
            ("admin", "admin", "admin@mcpctl.local"),
            ("ann@example.com", "ann@example.com", "ann@example.com"),
            (
                "Ann Ü <x>\nMcpctl-Revision: 9",
                "Ann Ü x Mcpctl-Revision: 9",
                "AnnxMcpctl-Revision9@mcpctl.local",
            ),
            ("", "unknown", "unknown@mcpctl.local"),
            ("<>", "unknown", "unknown@mcpctl.local"),
            ("@", "@", "unknown@mcpctl.local"),
            ("é", "é", "unknown@mcpctl.local"),
        ] {
            assert_eq!(author(name), (shown.to_owned(), address.to_owned()), "{name:?}");
            assert!(
                git2::Signature::new(shown, address, &git2::Time::new(0, 0)).is_ok(),
                "{name:?}"
            );
        }
        assert_eq!(line(" a\r\n\tb\u{1b}[1m ", 400), "a   b [1m");
        assert_eq!(line(&"é".repeat(500), 400).chars().count(), 400);
    }
}
