//! `mcpctl import`: what MCP clients and compose keep becomes declarations, and their credentials encrypted secrets.
//!
//! # Guarantees
//! No value that is taken for a credential reaches an output, a file or a message in the clear. All of the files are
//! written, or none where something is in the way.

mod build;
mod clients;
mod compose;
mod credentials;
mod text;
mod wanted;
mod words;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::engine::judge;
use crate::kit::{Diagnostic, Name, Position, count, time};
use crate::repo::{RECIPIENTS, root_above};
use crate::resource::Id;
use crate::secret::{Recipient, Recipients};
use crate::settings::{ClientSettings, Surroundings};
use crate::wire::BackupStatus;
use crate::wire::words::plain;

use super::client::Client;
use super::error::Failure;
use super::files::{NewFile, is_there, write_new};
use super::{Outcome, Session, help, input, schema, validate};

use build::{Built, Piece};
use text::{Entry, Node};
use wanted::Reader;

/// How long mcpd is asked for its key.
const PATIENCE: Duration = Duration::from_secs(5);

/// Turn a client's or a compose file into declarations
///
/// Read are .mcp.json, Claude Desktop's, Cursor's and VS Code's files, with comments, and compose files. Each server
/// becomes a server (npx and uvx packages as packageName, docker run as dockerImage, other programs as command), all of
/// them one project. What looks like a credential by its name or its form becomes an encrypted secret beside its server;
/// ${VARIABLE} becomes a secret that mcpd reads from its environment. What is not carried over is told, each with its
/// place.
///
/// Printed is what "mcpctl apply -f -" takes; with --dir, files of a repository are written, and none over what is there.
///
/// Secrets are encrypted for --recipient; where none is given, for who stands in .mcpctl/recipients of the repository and
/// for mcpd where one answers.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  mcpctl import .mcp.json                            print declarations
  mcpctl import ~/.cursor/mcp.json --dir . --project tools
  mcpctl import .vscode/mcp.json --dir . --recipient ~/.ssh/id_ed25519.pub
  mcpctl import compose.yaml | mcpctl apply -f -")]
pub(super) struct Import {
    /// The file, or - for stdin
    #[arg(value_name = "FILE|-")]
    file: PathBuf,
    /// Write the files of a repository into a folder
    #[arg(long = "dir", value_name = "DIR")]
    folder: Option<PathBuf>,
    /// The project that shows the servers [default: what the file is called by itself, else imported]
    #[arg(long, value_name = "NAME")]
    project: Option<Name>,
    /// What FILE is, where that can't be told
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// For whom secrets are encrypted: age1…, "ssh-ed25519 …" or a file of such keys; may be repeated
    #[arg(long = "recipient", value_name = "KEY|FILE")]
    recipients: Vec<String>,
}

/// What a file may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// .mcp.json of Claude Code
    Claude,
    /// claude_desktop_config.json
    ClaudeDesktop,
    /// mcp.json of Cursor
    Cursor,
    /// .vscode/mcp.json, or settings.json
    Vscode,
    /// compose.yaml
    Compose,
}

impl Import {
    pub(super) async fn run(self, session: &Session) -> Result<Outcome, Failure> {
        session.form(help::NEWS)?;
        let here = &session.around.folder;
        let (name, bytes) = if self.file.as_os_str() == "-" {
            ("<stdin>".to_owned(), input::read_stdin(crate::resource::yaml::LARGEST)?)
        } else {
            let bytes = input::read_file(&here.join(&self.file), &self.file)?;
            (self.file.display().to_string(), bytes)
        };
        let root: PathBuf = match &self.folder {
            Some(folder) => here.join(folder).components().collect(),
            None => root_above(here).unwrap_or_else(|| here.clone()),
        };
        let built = read(&name, &bytes, self.format, self.project.clone())?;
        Self::tell(session, &name, &built.notes);
        if !built.faults.is_empty() {
            return Err(Failure::Invalid(built.faults));
        }
        if built.is_empty() {
            return Err(Failure::Given {
                message: format!("no server of {name} can be carried over"),
                hint: None,
            });
        }
        if self.folder.is_some() {
            free(&root, &built)?;
        }
        let recipients = if built.has_values() {
            self.recipients(session, &root, &name).await?
        } else {
            vec![]
        };
        let pieces = built
            .pieces(&recipients, time::now())
            .map_err(|(id, error)| Failure::Given {
                message: format!("{id} can't be encrypted: {error}"),
                hint: None,
            })?;
        let terminal = &session.terminal;
        if self.folder.is_none() {
            let texts: Vec<&str> = pieces.iter().map(|piece| piece.text.as_str()).collect();
            terminal.data(&texts.join("---\n"))?;
            return Ok(Outcome::Done);
        }
        let editors = is_there(&root.join(schema::PLACE));
        for file in files(pieces, editors) {
            write_new(&root, &file)?;
            terminal.plan(&format!("+ {}", file.path))?;
        }
        Ok(Outcome::Done)
    }

    fn tell(session: &Session, file: &str, notes: &[(Position, String)]) {
        for (at, note) in notes {
            let line = format!("note: {file}:{}:{}: {note}", at.line, at.column);
            session.terminal.say(&plain(&line));
        }
    }

    /// For whom secrets are encrypted.
    async fn recipients(&self, session: &Session, root: &Path, file: &str) -> Result<Vec<Recipient>, Failure> {
        if !self.recipients.is_empty() {
            return said(&session.around.folder, &self.recipients);
        }
        let list = root.join(RECIPIENTS);
        let mut recipients = if is_there(&list) {
            list_of(&list, Path::new(RECIPIENTS))?
        } else {
            vec![]
        };
        match mcpds(session, root).await {
            Some(keys) => {
                let own = keys.iter().filter_map(|key| key.parse::<Recipient>().ok());
                for key in own {
                    if !recipients.contains(&key) {
                        recipients.push(key);
                    }
                }
            }
            None if !recipients.is_empty() => session.terminal.say(
                "note: no mcpd answers, so its key is no recipient: these secrets stay sealed there until it has a key of one \
                 who is in .mcpctl/recipients",
            ),
            None => {}
        }
        if recipients.is_empty() {
            return Err(Failure::Given {
                message: format!("there are credentials in {file}, and nobody to encrypt them for"),
                hint: Some(
                    "give --recipient age1… (or an ssh-ed25519 key, or a file of keys), or start mcpd, as by \"mcpctl dev DIR\": \
                     its key is taken then"
                        .to_owned(),
                ),
            });
        }
        Ok(recipients)
    }
}

/// Makes declarations of a file's bytes.
fn read(name: &str, bytes: &[u8], format: Option<Format>, project: Option<Name>) -> Result<Built, Failure> {
    let root = text::read(name, bytes).map_err(Failure::Invalid)?;
    let mut reader = Reader::new(name);
    match recognised(&root, format) {
        Some((list, false)) => clients::read(&mut reader, list, &root),
        Some((list, true)) => compose::read(&mut reader, list, &root),
        None => {
            let looked = match format {
                Some(Format::Compose) => "services",
                Some(Format::Vscode) => "servers",
                Some(_) => "mcpServers",
                None => "mcpServers, servers or services",
            };
            let fault = text::fault(name, root.at, format!("there is no {looked} here"));
            let hint = "files of Claude, Cursor and VS Code and compose files are read; --format says which it is";
            return Err(Failure::Invalid(vec![fault.hint(hint)]));
        }
    }
    Ok(Built::of(reader, project))
}

/// The list of servers, and whether they are services of compose.
fn recognised(root: &Node, format: Option<Format>) -> Option<(&Entry, bool)> {
    let entry = |node: &'_ Node, key: &str| -> Option<usize> { node.entries().iter().position(|it| it.key == key) };
    let clients = || entry(root, "mcpServers").map(|at| (&root.entries()[at], false));
    let code = || {
        let own = entry(root, "servers").map(|at| (&root.entries()[at], false));
        own.or_else(|| {
            // settings.json of VS Code.
            let below = root.get("mcp")?;
            entry(below, "servers").map(|at| (&below.entries()[at], false))
        })
    };
    let services = || entry(root, "services").map(|at| (&root.entries()[at], true));
    match format {
        Some(Format::Claude | Format::ClaudeDesktop | Format::Cursor) => clients(),
        Some(Format::Vscode) => code(),
        Some(Format::Compose) => services(),
        None => clients().or_else(code).or_else(services),
    }
}

/// The files that the declarations are written to, led to their schema where there is one.
fn files(pieces: Vec<Piece>, editors: bool) -> Vec<NewFile> {
    let file = |piece: Piece| {
        let path = piece.id.canonical_path();
        // Nothing is put into what SOPS wrote.
        let header = if editors && !piece.text.contains("\nsops:") {
            schema::header(&path)
        } else {
            String::new()
        };
        NewFile {
            text: format!("{header}{}", piece.text),
            path,
        }
    };
    pieces.into_iter().map(file).collect()
}

/// Refuses what would be written over, or declared twice.
fn free(root: &Path, built: &Built) -> Result<(), Failure> {
    let mut faults: Vec<Diagnostic> = vec![];
    let tree = if root.is_dir() {
        Some(judge(root, None).map_err(validate::failed)?.tree)
    } else {
        None
    };
    let held = |id: &Id| tree.as_ref().is_some_and(|tree| tree.held.contains(id));
    for id in built.ids() {
        let path = id.canonical_path();
        let there = tree.as_ref().and_then(|tree| tree.documents.get(id));
        if let Some(placed) = there {
            faults.push(Diagnostic::of_file(&placed.path, format!("{id} is declared already")));
        } else if held(id) || is_there(&root.join(&path)) {
            faults.push(Diagnostic::of_file(&path, format!("{id} is there already")));
        }
    }
    if faults.is_empty() {
        return Ok(());
    }
    let many = count(faults.len(), "resource");
    if let Some(last) = faults.pop() {
        let hint =
            format!("nothing was written: take {many} out of the one or the other, or give --project another name");
        faults.push(last.hint(hint));
    }
    Err(Failure::Invalid(faults))
}

/// Recipients as they were said: keys, or files of keys.
fn said(here: &Path, words: &[String]) -> Result<Vec<Recipient>, Failure> {
    let mut out = vec![];
    for word in words {
        let path = here.join(word);
        if !word.starts_with("age1") && !word.starts_with("ssh-") && path.is_file() {
            out.extend(list_of(&path, Path::new(word))?);
            continue;
        }
        match word.parse::<Recipient>() {
            Ok(key) => out.push(key),
            Err(error) => {
                let hint = "give age1…, \"ssh-ed25519 …\" or a file of such public keys".to_owned();
                return Err(Failure::usage(format!("--recipient: {error}"), hint));
            }
        }
    }
    Ok(out)
}

/// The recipients of a file, none of which may be wrong.
fn list_of(path: &Path, shown: &Path) -> Result<Vec<Recipient>, Failure> {
    let bytes = input::read_file(path, shown)?;
    let read = Recipients::parse(&shown.display().to_string(), &String::from_utf8_lossy(&bytes));
    if read.diagnostics.is_empty() {
        Ok(read.known)
    } else {
        Err(Failure::Invalid(read.diagnostics))
    }
}

/// The recipients of a running mcpd; nothing where none answers.
async fn mcpds(session: &Session, root: &Path) -> Option<Vec<String>> {
    let around = Surroundings {
        folder: root.to_owned(),
        ..session.around.clone()
    };
    let settings = ClientSettings::resolve(&session.global.client, &around).ok()?;
    let client = Client::new(settings, session.terminal.clone()).ok()?;
    let asked = tokio::time::timeout(PATIENCE, client.get::<BackupStatus>("/backup/status")).await;
    asked.ok()?.ok().map(|status| status.recipients)
}
