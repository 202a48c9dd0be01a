//! `mcpctl dev`: the words of it. The daemon behind it belongs to a room that `cli` may not name.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use crate::settings::parse_address;

use super::error::Failure;
use super::{Doors, Outcome, Session, help};

/// Run the servers of a folder while you edit it
///
/// mcpd in the same process: it watches DIR, shows each plan as files are saved, starts the servers that the files declare
/// and prints the MCP URL of every project with a snippet for your client. What it keeps stands in DIR/.mcpctl/local/.
/// Other commands, started in DIR or below, find it by themselves. Ctrl-C stops it and every server that it started.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  mcpctl dev                           the current folder
  mcpctl dev examples/repo             another folder
  mcpctl dev --listen 127.0.0.1:4000   another port")]
pub(super) struct Dev {
    /// The folder with the declarations
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
    /// Where the API and the MCP endpoints listen: loopback only
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:3100", value_parser = parse_address)]
    listen: SocketAddr,
}

/// What `mcpctl dev` was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DevOptions {
    /// The folder to watch.
    pub folder: PathBuf,
    /// Where to listen.
    pub listen: SocketAddr,
    /// Whether colours are allowed where the output is a terminal.
    pub colour: bool,
}

impl Dev {
    pub(super) async fn run(self, session: &Session, doors: Doors, colour: bool) -> Result<Outcome, Failure> {
        session.form(help::NEWS)?;
        if !self.listen.ip().is_loopback() {
            return Err(Failure::usage(
                format!("--listen: {} is reachable by others", self.listen),
                "mcpctl dev listens on loopback only, as 127.0.0.1:3100; mcpd can do more".to_owned(),
            ));
        }
        let options = DevOptions {
            // `.` is the folder itself, without a dot at the end of its path.
            folder: session.around.folder.join(self.folder).components().collect(),
            listen: self.listen,
            colour,
        };
        (doors.dev)(options).await.map_err(Failure::Elsewhere)?;
        Ok(Outcome::Done)
    }
}
