//! What is measured, and how each of it is started: every one is a process of its own over an echo server of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::Samples;
use super::client::{self, Place, Stdin};

/// All of them, in the order in which they are measured.
pub const NAMES: [&str; 9] = [
    "stdio",
    "http",
    "mcpd",
    "modern",
    "rmcp",
    "mcp-proxy (py)",
    "mcp-proxy (js)",
    "supergateway",
    "fastmcp",
];

/// Something that is measured.
pub struct Target {
    /// Its name.
    pub name: &'static str,
    way: Way,
    _child: Option<Child>,
}

enum Way {
    Pipes(Box<Stdin>),
    Http(Place),
}

impl Target {
    /// Starts it, ready to be called when this returns. `place` is a folder for what it needs.
    pub async fn start(name: &'static str, place: &Path) -> Result<Self> {
        if name == "stdio" {
            let child = spawn(own("--echo-server")?.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
            let stdin = Stdin::greet(child).await?;
            return Ok(Self {
                name,
                way: Way::Pipes(Box::new(stdin)),
                _child: None,
            });
        }
        let port = {
            let free = std::net::TcpListener::bind("127.0.0.1:0")?;
            free.local_addr()?.port()
        };
        let mut at = Place {
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            path: "/mcp".to_owned(),
            token: None,
            tool: "echo",
            modern: false,
        };
        let port = port.to_string();
        let echo = std::env::current_exe()?.to_string_lossy().into_owned();
        let mut command = match name {
            "http" => own_with("--http-echo", &port)?,
            "rmcp" => own_with("--forwarder", &port)?,
            "mcpd" | "modern" => {
                "/projects/bench/mcp".clone_into(&mut at.path);
                at.tool = "server__echo";
                at.modern = name == "modern";
                mcpd(&place.join(name), &port, &echo)?
            }
            "mcp-proxy (py)" => {
                let mut command = peer("mcp-proxy/bin/mcp-proxy")?;
                command.args(["--port", &port, "--", &echo, "--echo-server"]);
                "/mcp/".clone_into(&mut at.path);
                command
            }
            "mcp-proxy (js)" => {
                let mut command = peer("npm/node_modules/.bin/mcp-proxy")?;
                command.args(["--port", &port, "--server", "stream", "--", &echo, "--echo-server"]);
                command
            }
            "supergateway" => {
                let mut command = peer("npm/node_modules/.bin/supergateway")?;
                let echo = format!("{echo} --echo-server");
                command.args([
                    "--stdio",
                    &echo,
                    "--outputTransport",
                    "streamableHttp",
                    "--stateful",
                    "--port",
                    &port,
                ]);
                command
            }
            _ => {
                let mut command = peer("fastmcp/bin/python")?;
                command.args(["-c", FASTMCP, &port, &echo]);
                command
            }
        };
        let log = std::fs::File::create(place.join(format!("{}.log", name.replace(' ', "_"))))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut child = spawn(&mut command)?;
        until_listening(&mut child, at.address).await?;
        if at.path.starts_with("/projects") {
            let token = std::fs::read_to_string(place.join(name).join("data/admin.token"))?;
            at.token = Some(token.trim().to_owned());
        }
        // What it is over may still be starting.
        let mut last = Ok(());
        for _ in 0..120 {
            match client::run(&at, 1, 1).await {
                Ok(_) => {
                    return Ok(Self {
                        name,
                        way: Way::Http(at),
                        _child: Some(child),
                    });
                }
                Err(error) => last = Err(error),
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        last.context("it never answers a call")
            .and_then(|()| bail!("it never answers a call"))
    }

    /// Some calls by some clients.
    pub async fn run(&mut self, calls: usize, clients: usize) -> Result<Samples> {
        match &mut self.way {
            Way::Pipes(stdin) => stdin.run(calls, clients).await,
            Way::Http(place) => client::run(place, calls, clients).await,
        }
    }
}

/// A proxy as fastmcp's own documents make one.
const FASTMCP: &str = r#"
import sys
from fastmcp import FastMCP
try:
    from fastmcp.server import create_proxy
except ImportError:
    create_proxy = FastMCP.as_proxy
config = {"mcpServers": {"default": {"command": sys.argv[2], "args": ["--echo-server"]}}}
create_proxy(config).run(transport="http", host="127.0.0.1", port=int(sys.argv[1]), path="/mcp", log_level="error", show_banner=False)
"#;

fn spawn(command: &mut Command) -> Result<Child> {
    command
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("{command:?} can't be started"))
}

fn own(word: &str) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(word);
    Ok(command)
}

fn own_with(word: &str, value: &str) -> Result<Command> {
    let mut command = own(word)?;
    command.arg(value);
    Ok(command)
}

/// A program that `benches/peers.sh` installed.
fn peer(program: &str) -> Result<Command> {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("target/tools/peers")
        .join(program);
    if !path.exists() {
        bail!("it is not installed: run benches/peers.sh");
    }
    Ok(Command::new(path))
}

/// The built mcpd over a folder with one server and one project, whose rules let the tool through by a pattern.
fn mcpd(place: &Path, port: &str, echo: &str) -> Result<Command> {
    let folder = place.join("repo");
    std::fs::create_dir_all(&folder)?;
    let server = json!({"kind": "server", "name": "server", "command": [echo, "--echo-server"]});
    let rules = json!({"allow": ["server__*"], "deny": ["server__delete*"]});
    let project = json!({"kind": "project", "name": "bench", "servers": ["server"], "tools": rules});
    std::fs::write(folder.join("all.yaml"), format!("{server}\n---\n{project}\n"))?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcpd"));
    command
        .env("MCPD_LISTEN", format!("127.0.0.1:{port}"))
        .env("MCPD_DATA_DIR", place.join("data"))
        .env("MCPD_WATCH", folder)
        .env("MCPD_RUNTIME", "process");
    Ok(command)
}

async fn until_listening(child: &mut Child, address: SocketAddr) -> Result<()> {
    for _ in 0..600 {
        if TcpStream::connect(address).await.is_ok() {
            return Ok(());
        }
        if let Some(status) = child.try_wait()? {
            bail!("it ended with {status}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("it never listens")
}
