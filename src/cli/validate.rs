//! `mcpctl validate`: what a push would be refused for, without mcpd.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use crate::engine::{EngineError, Judged, counted, first_errors, judge};
use crate::kit::{Diagnostic, count};
use crate::repo::root_above;
use crate::resource::yaml::{LARGEST, is_declaration};
use crate::resource::{FileText, Placed};
use crate::wire::words::plain;

use super::error::Failure;
use super::{Outcome, Output, Session, help, input, sarif, shown};

/// Judge declarations as a push would, without mcpd
///
/// A folder is judged as the whole of a repository, as if all of it were pushed to an empty mcpd: the same errors at the
/// same places in the same words, secrets in the clear and credentials too. What git would not push (.git, what
/// .gitignore names) is not looked at. A file is judged as a part of the repository that it stands in (the nearest folder
/// above it with .mcpctl or .git in it), and only its own errors are told; - is a further file of the repository that you
/// are in, and takes the place of what is declared there under the same name.
///
/// Places are from the root of the repository, as a push tells them. What only mcpd knows is not judged: what is deployed
/// already, and what is in encrypted secrets.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  mcpctl validate                          the current folder
  mcpctl validate servers/time.yaml        one file, with its references into the others
  mcpctl create server x --command y -o yaml | mcpctl validate -
  mcpctl validate -o sarif > mcpctl.sarif  for code scanning

Exit codes: 0 valid, 1 not valid, 2 usage.")]
pub(super) struct Validate {
    /// A folder, a file, or - for stdin
    #[arg(value_name = "DIR|FILE|-", default_value = ".")]
    places: Vec<PathBuf>,
}

/// What was asked for, put together by repository.
#[derive(Debug, Default)]
struct Asked {
    /// Whole folders, as they were said.
    folders: BTreeMap<PathBuf, PathBuf>,
    /// Files, from the root of their repository.
    files: BTreeMap<PathBuf, BTreeSet<String>>,
    stdin: bool,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// What a push would be refused for.
    pub faults: Vec<Diagnostic>,
    /// The same in the order above: the file as code scanning knows it.
    pub uris: Vec<String>,
    pub resources: usize,
    pub files: BTreeSet<String>,
}

impl Validate {
    pub(super) fn run(self, session: &Session) -> Result<Outcome, Failure> {
        let form = session.form(help::VERDICT)?;
        let here = &session.around.folder;
        let asked = Asked::read(here, &self.places)?;
        let mut found = Found::default();
        let several = asked.folders.len() + asked.files.len() > 1;
        for (root, said) in &asked.folders {
            let judged = judge(root, None).map_err(failed)?;
            // Of several folders each is named.
            let prefix = if several { slashed(said) } else { String::new() };
            found.take(judged, &prefix, |_| true);
        }
        for (root, files) in &asked.files {
            let judged = judge(root, None).map_err(failed)?;
            let passed_over = |file: &&String| is_declaration(file) && !judged.files.contains(*file);
            if let Some(file) = files.iter().find(passed_over) {
                return Err(Failure::Given {
                    message: format!("{file} is no part of the repository {}", root.display()),
                    hint: Some("git ignores it, or it is in a hidden folder: a push would not bring it".to_owned()),
                });
            }
            found.take(judged, "", |file| files.contains(file));
        }
        if asked.stdin {
            let text = FileText {
                path: STDIN.to_owned(),
                bytes: Ok(input::read_stdin(LARGEST)?),
            };
            let root = root_above(here).unwrap_or_else(|| here.clone());
            found.take(judge(&root, Some(&text)).map_err(failed)?, "", |file| file == STDIN);
        }
        show(session, form, &found)
    }
}

/// What stdin is called.
const STDIN: &str = "<stdin>";

impl Asked {
    fn read(here: &Path, places: &[PathBuf]) -> Result<Self, Failure> {
        let mut asked = Self::default();
        for place in places {
            if place.as_os_str() == "-" {
                asked.stdin = true;
                continue;
            }
            let path = here.join(place);
            let path = path.canonicalize().map_err(|cause| Failure::File {
                path: place.clone(),
                cause,
            })?;
            if path.is_dir() {
                asked.folders.insert(path, place.clone());
                continue;
            }
            let folder = path.parent().unwrap_or(here).to_owned();
            let above = || here.canonicalize().ok().filter(|here| folder.starts_with(here));
            let root = root_above(&folder).or_else(above).unwrap_or_else(|| folder.clone());
            let inside = path.strip_prefix(&root).unwrap_or(&path).display().to_string();
            asked.files.entry(root).or_default().insert(inside);
        }
        Ok(asked)
    }
}

impl Found {
    fn take(&mut self, judged: Judged, prefix: &str, wanted: impl Fn(&str) -> bool) {
        for placed in judged.tree.documents.values().filter(|placed| wanted(&placed.path)) {
            self.resources += 1;
            self.files.insert(format!("{prefix}{}", place(placed)));
        }
        for mut fault in judged.faults.into_iter().filter(|fault| wanted(&fault.file)) {
            self.uris.push(format!("{}{}", judged.below, fault.file));
            fault.file = format!("{prefix}{}", fault.file);
            if let Some(note) = fault.note.as_mut().filter(|_| !prefix.is_empty()) {
                *note = format!("{prefix}{note}");
            }
            self.faults.push(fault);
        }
    }
}

fn place(placed: &Placed) -> &str {
    &placed.path
}

/// A folder's words before a path in it.
fn slashed(folder: &Path) -> String {
    match folder.display().to_string() {
        here if here == "." => String::new(),
        folder => format!("{}/", folder.trim_end_matches('/')),
    }
}

/// Why a folder can't be judged.
pub(super) fn failed(error: EngineError) -> Failure {
    let cause = match error {
        EngineError::Repository(cause) => cause.to_string(),
        other => other.to_string(),
    };
    Failure::Given {
        message: cause,
        hint: None,
    }
}

fn show(session: &Session, form: Output, found: &Found) -> Result<Outcome, Failure> {
    let terminal = &session.terminal;
    let valid = found.faults.is_empty();
    match form {
        Output::Json => terminal.line(&shown::json_line(&json!({
            "valid": valid,
            "resources": found.resources,
            "files": found.files.len(),
            "diagnostics": found.faults,
        })))?,
        Output::Sarif => terminal.line(&shown::json(&sarif::log(found)))?,
        _ => {
            for text in first_errors(&found.faults) {
                for line in text.lines() {
                    terminal.verdict(&plain(line))?;
                }
            }
            terminal.verdict(&if valid {
                let (resources, files) = (count(found.resources, "resource"), count(found.files.len(), "file"));
                format!("valid: {resources} in {files}")
            } else {
                format!("invalid: {}", counted(&found.faults))
            })?;
        }
    }
    Ok(if valid { Outcome::Done } else { Outcome::Broken })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_named_where_there_are_several() {
        for (folder, want) in [(".", ""), ("a", "a/"), ("a/", "a/"), ("../b", "../b/")] {
            assert_eq!(slashed(Path::new(folder)), want);
        }
    }
}
