//! `mcpctl schema`: the form of documents, for editors and other tools.

use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use crate::resource::{KINDS, any_document_schema};

use super::error::Failure;
use super::files::{NewFile, write_own};
use super::noun::{self, Noun};
use super::{Outcome, Output, Session, help, shown};

/// Where schemas stand in a repository: in a folder that mcpd does not read declarations from.
pub(super) const PLACE: &str = ".mcpctl/schema";
/// The schema of any document.
const ANY: &str = "mcpctl.json";

/// Print the JSON Schema of declarations
///
/// With KIND of its documents, else of any document. With --dir all of them are written into a folder: mcpctl.json for any
/// document, KIND.json for each kind; do so again after an update of mcpctl. A file that begins with
///   # yaml-language-server: $schema=../.mcpctl/schema/mcpctl.json
/// (a path from that file) is then completed, explained and checked in editors that have the YAML language server.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  mcpctl schema server
  mcpctl schema --dir .mcpctl/schema   what \"mcpctl init\" writes, anew
  mcpctl schema -o yaml")]
pub(super) struct Schema {
    /// A kind, as server
    #[arg(value_name = "KIND", conflicts_with = "folder")]
    kind: Option<String>,
    /// Write all schemas into a folder
    #[arg(long = "dir", value_name = "DIR")]
    folder: Option<PathBuf>,
}

impl Schema {
    pub(super) fn run(self, session: &Session) -> Result<Outcome, Failure> {
        let form = session.form(help::SCHEMA)?;
        let terminal = &session.terminal;
        if let Some(folder) = &self.folder {
            if session.global.output.is_some() {
                return Err(Failure::usage(
                    "--dir writes JSON, and -o is of what is printed",
                    "leave -o out".to_owned(),
                ));
            }
            let root = session.around.folder.join(folder);
            for file in files() {
                write_own(&root, &file)?;
                terminal.line(&folder.join(&file.path).display().to_string())?;
            }
            return Ok(Outcome::Done);
        }
        let schema = match &self.kind {
            None => any_document_schema(),
            Some(word) => match noun::noun(word)? {
                Noun::Declared(kind) => kind.document_schema(),
                Noun::Recorded(_) | Noun::All => {
                    return Err(Failure::usage(
                        format!("{word} are not declared: there is no schema of them"),
                        None,
                    ));
                }
            },
        };
        match form {
            Output::Yaml => terminal.data(&serde_yaml::to_string(&schema).unwrap_or_default())?,
            _ => terminal.line(&shown::json(&schema))?,
        }
        Ok(Outcome::Done)
    }
}

/// All schemas as files.
pub(super) fn files() -> Vec<NewFile> {
    let file = |path: String, schema: &Value| NewFile {
        path,
        text: format!("{}\n", shown::json(schema)),
    };
    let of_kinds = KINDS
        .iter()
        .map(|kind| file(format!("{}.json", kind.name), &kind.document_schema()));
    std::iter::once(file(ANY.to_owned(), &any_document_schema()))
        .chain(of_kinds)
        .collect()
}

/// The comment that leads an editor from a file to its schema.
pub(super) fn header(path: &str) -> String {
    let up = "../".repeat(path.matches('/').count());
    format!("# yaml-language-server: $schema={up}{PLACE}/{ANY}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_leads_to_the_schema() {
        for (path, want) in [
            ("a.yaml", "# yaml-language-server: $schema=.mcpctl/schema/mcpctl.json\n"),
            (
                "servers/a.yaml",
                "# yaml-language-server: $schema=../.mcpctl/schema/mcpctl.json\n",
            ),
            (
                "prompts/p/a.yaml",
                "# yaml-language-server: $schema=../../.mcpctl/schema/mcpctl.json\n",
            ),
        ] {
            assert_eq!(header(path), want);
        }
        assert_eq!(files().len(), KINDS.len() + 1);
    }
}
