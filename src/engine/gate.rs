//! The gate before the history: nothing that looks like a credential, and no secret in the clear, becomes part of it.
//! A history is copied to every clone and is hard to take back, so every commit of a push counts, not the last alone.

use std::sync::{Arc, Mutex};

use crate::kit::Diagnostic;
use crate::record::{Actor, AuditEvent, Decision, StoreView};
use crate::repo::{Hosted, NewFile, Quarantine};
use crate::resource::yaml::{self, is_declaration};
use crate::resource::{Declared as _, Document, FileText, Secret, Tree};
use crate::secret::{Found, scan};

use super::edit::Wanted;
use super::report::now;
use super::{EngineError, Inner, lock};

/// Of very many findings this many are told.
const MOST: usize = 200;

/// What the gate found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// What refuses the push.
    pub faults: Vec<Diagnostic>,
    /// What a comment let through: the place and the reason given.
    pub allowed: Vec<(String, String)>,
}

impl Findings {
    /// Everything that refuses a push whose tip is this tree, in the order in which it is told.
    pub fn with(&self, tree: &Tree) -> Vec<Diagnostic> {
        self.faults.iter().chain(&tree.diagnostics).cloned().collect()
    }

    /// Looks into one file.
    pub fn file(&mut self, file: &NewFile, tip: &str) {
        let Some(bytes) = &file.bytes else { return };
        let text = String::from_utf8_lossy(bytes);
        for found in scan(&text) {
            let place = format!("{}:{}:{}", file.path, found.line, found.column);
            match &found.allowed {
                Some(reason) if self.allowed.len() < MOST => self.allowed.push((place, reason.clone())),
                Some(_) => {}
                None => self.fault(fault(&file.path, &found), file, tip),
            }
        }
        // The tip's own files are read with the rest of its tree.
        if file.commit != tip && is_declaration(&file.path) && !is_hidden(&file.path) {
            let read = yaml::read(&FileText {
                path: file.path.clone(),
                bytes: Ok(bytes.clone()),
            });
            for clear in read.diagnostics.into_iter().filter(yaml::is_clear_secret) {
                self.fault(clear, file, tip);
            }
        }
    }

    fn fault(&mut self, fault: Diagnostic, file: &NewFile, tip: &str) {
        if self.faults.len() >= MOST {
            return;
        }
        let note = (file.commit != tip).then(|| {
            let commit: String = file.commit.chars().take(7).collect();
            format!("it is in commit {commit} of this push: take it out of that commit too (git rebase -i)")
        });
        self.faults.push(Diagnostic { note, ..fault });
    }
}

/// Whether a file stands where declarations are not looked for.
fn is_hidden(path: &str) -> bool {
    path.split('/').any(|part| part.starts_with('.'))
}

fn fault(path: &str, found: &Found) -> Diagnostic {
    Diagnostic {
        line: found.line,
        column: found.column,
        width: found.width,
        ..Diagnostic::of_file(path, format!("this looks like {}", found.pattern.what))
    }
    .hint("keep it in a secret: mcpctl create secret NAME --data KEY=VALUE; or say on the line: # mcpctl:allow-secret REASON")
}

/// Looks into everything that a push brings.
pub(super) async fn look(hosted: &Hosted, new: &str, quarantine: Option<&Quarantine>) -> Result<Findings, EngineError> {
    let findings = Arc::new(Mutex::new(Findings::default()));
    let (into, tip) = (Arc::clone(&findings), new.to_owned());
    hosted
        .new_files(new, quarantine, move |file| lock(&into).file(&file, &tip))
        .await?;
    Ok(std::mem::take(&mut *lock(&findings)))
}

/// What looks like a credential in a change through the API: mcpd would write it into the history itself.
pub(super) fn in_the_clear(wanted: &[Wanted], view: &StoreView) -> Vec<Diagnostic> {
    let mut faults = vec![];
    for one in wanted {
        let Some(after) = one
            .after
            .as_deref()
            .filter(|after| after.id.kind().name != Secret::NAME)
        else {
            continue;
        };
        // What is there already, let through by a push, is no news.
        let there = view.rows.get(&one.id).and_then(|row| row.document.as_deref());
        let mut known = there.map(in_document).unwrap_or_default();
        let new = in_document(after).into_iter().filter(|found| {
            let same = known.iter().position(|known| known.pattern.name == found.pattern.name);
            same.map(|at| known.swap_remove(at)).is_none()
        });
        faults.extend(new.map(|found| {
            let place = one.source.clone();
            let at = place.unwrap_or_else(|| Diagnostic::of_file(one.id.to_string(), ""));
            Diagnostic {
                message: format!("a value of {} looks like {}", one.id, found.pattern.what),
                excerpt: None,
                ..at
            }
            .hint("keep it in a secret: mcpctl create secret NAME --data KEY=VALUE, and name it by valueFrom")
        }));
    }
    faults.truncate(MOST);
    faults
}

fn in_document(document: &Document) -> Vec<Found> {
    // No comment survives here, so none lets anything through.
    scan(&yaml::print(document))
}

impl Inner {
    /// Writes down what was let through.
    pub(super) async fn audit_allowed(&self, allowed: &[(String, String)], actor: &Actor) -> Result<(), EngineError> {
        let event = |(place, reason): &(String, String)| AuditEvent {
            sequence: 0,
            at: now(),
            actor: actor.name.clone(),
            door: actor.door.clone(),
            action: format!("allow-secret {place}: {reason}"),
            decision: Decision::Allowed,
            revision: None,
        };
        let events: Vec<AuditEvent> = allowed.iter().map(event).collect();
        if !events.is_empty() {
            self.parts.store.record(vec![], events).await?;
        }
        Ok(())
    }
}
