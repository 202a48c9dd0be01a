//! `mcpctl init`: a first repository that runs.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::engine::judge;
use crate::kit::count;
use crate::repo;
use crate::resource::{Template, built_in};

use super::error::Failure;
use super::files::{NewFile, is_there, write_new, write_own};
use super::{Outcome, Session, help, schema, validate, variable};

/// Begin a repository of declarations
///
/// Writes one server, one project that shows it, .gitignore, and the JSON Schema that gives editors completion and checks
/// (.mcpctl/schema). Nothing that is there is written over but the schema; where DIR declares something already, no
/// example is added. Where git is there and DIR is in no repository, it becomes one.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  mcpctl init fleet && mcpctl dev fleet
  mcpctl init .                          in a folder that is there already")]
pub(super) struct Init {
    /// The folder; it is made where it is not there
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
}

/// What git must never get.
const IGNORE: &str = "# What mcpctl dev keeps is of one machine alone, keys among it.\n.mcpctl/local/\n";

const PROJECT: &str = "#
# A project is one MCP endpoint, /projects/demo/mcp, with the tools of its servers: time__get_current_time, …
# Point a client at it, and give each team or agent a project of its own.
kind: project
name: demo
description: What is shared by everybody here
servers:
  - time
";

impl Init {
    pub(super) fn run(self, session: &Session) -> Result<Outcome, Failure> {
        session.form(help::NEWS)?;
        let terminal = &session.terminal;
        let root: PathBuf = session.around.folder.join(&self.folder).components().collect();
        if is_there(&root) && !root.is_dir() {
            return Err(Failure::Given {
                message: format!("{} is no folder", self.folder.display()),
                hint: Some("give a folder, or a name that is free".to_owned()),
            });
        }
        let mut files = vec![NewFile {
            path: ".gitignore".to_owned(),
            text: IGNORE.to_owned(),
        }];
        let declared = declared(&root)?;
        if declared > 0 {
            terminal.line(&format!(
                "{} here already: no example is added",
                count(declared, "resource")
            ))?;
        } else {
            files.extend(examples());
        }
        for file in &files {
            if is_there(&root.join(&file.path)) {
                terminal.line(&format!("  {}: there already, left as it is", file.path))?;
            } else {
                write_new(&root, file)?;
                terminal.plan(&format!("+ {}", file.path))?;
            }
        }
        let schemas = schema::files();
        for file in &schemas {
            let path = format!("{}/{}", schema::PLACE, file.path);
            write_own(&root, &NewFile { path, ..file.clone() })?;
        }
        let schemas = count(schemas.len(), "file");
        terminal.plan(&format!(
            "+ {}/ ({schemas}; anew by \"mcpctl schema --dir\")",
            schema::PLACE
        ))?;
        Self::begin(session, &root)?;
        self.next(session)
    }

    /// Makes a git repository where there is none.
    fn begin(session: &Session, root: &Path) -> Result<(), Failure> {
        let root = root.canonicalize().unwrap_or_else(|_| root.to_owned());
        if repo::is_in_a_repository(&root) {
            return Ok(());
        }
        let paths = variable(&session.around, "PATH").cloned().unwrap_or_default();
        if !std::env::split_paths(&paths).any(|folder| folder.join("git").is_file()) {
            return session.terminal.line("git is not there: this is a plain folder");
        }
        repo::begin(&root).map_err(|error| Failure::Given {
            message: error.to_string(),
            hint: None,
        })?;
        session.terminal.line("git: a new repository, its branch is main")
    }

    fn next(&self, session: &Session) -> Result<Outcome, Failure> {
        let folder = self.folder.display().to_string();
        let (space, git) = match folder.as_str() {
            "." => (String::new(), "git".to_owned()),
            folder => (format!(" {folder}"), format!("git -C {folder}")),
        };
        let terminal = &session.terminal;
        terminal.line("next:")?;
        for (command, what) in [
            (format!("mcpctl dev{space}"), "run it while you edit it"),
            (format!("mcpctl validate{space}"), "judge it as a push would"),
            (
                format!("{git} push http://HOST:3100/git/config.git main"),
                "once it is committed: deploy it by mcpd",
            ),
        ] {
            terminal.line(&format!("  {command:<56}  {what}"))?;
        }
        Ok(Outcome::Done)
    }
}

/// How many resources a folder declares, valid or not.
fn declared(root: &Path) -> Result<usize, Failure> {
    if !root.is_dir() {
        return Ok(0);
    }
    let tree = judge(root, None).map_err(validate::failed)?.tree;
    Ok(tree.documents.len() + tree.unreadable.len())
}

/// A server, made from what ships in the binary, and a project that shows it.
fn examples() -> Vec<NewFile> {
    let template = "template/time"
        .parse()
        .ok()
        .and_then(|id| built_in().get(&id)?.typed::<Template>().ok());
    let package = template.and_then(|it| it.server.package_name).unwrap_or_default();
    let server = format!(
        "#
# A server: where it comes from, and how it runs. The line above lets editors complete, explain and check this file;
# \"mcpctl schema server\" prints all fields. Further servers are further files, in any folder:
#   mcpctl create server files --from-template filesystem --args /srv/files -o yaml > servers/files.yaml
#   mcpctl import ~/.cursor/mcp.json --dir .
kind: server
name: time
description: Tells the time and converts it between zones
# A package of PyPI, started by uvx; \"runtime: node\" (the default) is npm's, started by npx. Versions are pinned, so that
# the same starts tomorrow.
packageName: {package}
runtime: python
args: [\"--local-timezone\", \"Etc/UTC\"]
"
    );
    let file = |path: &str, text: &str| NewFile {
        path: path.to_owned(),
        text: format!("{}{text}", schema::header(path)),
    };
    vec![file("servers/time.yaml", &server), file("projects/demo.yaml", PROJECT)]
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::resource::{FileText, Tree, yaml};

    #[test]
    fn the_examples_are_valid() {
        let read = |file: NewFile| {
            Arc::new(yaml::read(&FileText {
                path: file.path,
                bytes: Ok(file.text.into_bytes()),
            }))
        };
        let tree = Tree::assemble(examples().into_iter().map(read));
        assert!(tree.is_sound(), "{:?}", tree.diagnostics);
        assert_eq!(tree.documents.len(), 2);
    }
}
