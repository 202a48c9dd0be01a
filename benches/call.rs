//! What a call through the gateway costs, against its floors in the same run: the same server over bare stdio (`stdio`), and
//! an HTTP echo on the same server stack (`http`). Added latency is gateway − (http + stdio).
//!
//! `cargo bench --bench call -- [--json] [--calls N] [--clients 1,8,32] [--rounds N] [--tool NAME] [--arguments JSON]
//! [COMMAND ARGUMENT…]`; without a command this program is its own echo server.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a program that measures and prints"
)]

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, Write};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::routing::post;
use axum::serve::ListenerExt;
use futures_util::future::{BoxFuture, try_join_all};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use mcpctl::gateway::{Attach, Endpoint, Gateway};
use mcpctl::kit::{Link, Pipes};
use mcpctl::record::{Fleet, FleetMember, Handshake, InstanceName, Life, Routes};
use mcpctl::resource::{Document, Id};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What is measured, in the order in which it is printed.
const TARGETS: [&str; 3] = ["stdio", "http", "gateway"];

struct Options {
    json: bool,
    calls: usize,
    rounds: usize,
    clients: Vec<usize>,
    tool: String,
    arguments: Value,
    command: Vec<String>,
}

impl Options {
    fn read() -> Result<Self> {
        let mut options = Self {
            json: false,
            calls: 2_000,
            rounds: 3,
            clients: vec![1, 8, 32],
            tool: "echo".to_owned(),
            arguments: json!({"message": "hello"}),
            command: vec![],
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} needs a value"));
            match &*word {
                // cargo says so itself.
                "--bench" => {}
                "--json" => options.json = true,
                "--calls" => options.calls = value()?.parse()?,
                "--rounds" => options.rounds = value()?.parse()?,
                "--clients" => options.clients = value()?.split(',').map(str::parse).collect::<Result<_, _>>()?,
                "--tool" => options.tool = value()?,
                "--arguments" => options.arguments = serde_json::from_str(&value()?)?,
                unknown if unknown.starts_with('-') => bail!("unknown option {unknown}"),
                _ => {
                    options.command.push(word);
                    options.command.extend(words.by_ref());
                }
            }
        }
        if options.command.is_empty() {
            let own = std::env::current_exe()?.to_string_lossy().into_owned();
            options.command = vec![own, "--echo-server".to_owned()];
        }
        Ok(options)
    }

    fn spawn(&self) -> Result<Child> {
        let (program, arguments) = self.command.split_first().context("no command")?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        command
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{program} can't be started"))
    }

    fn call(&self, id: usize, tool: &str) -> String {
        let params = json!({"name": tool, "arguments": self.arguments});
        json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}).to_string()
    }
}

fn main() -> Result<()> {
    if std::env::args().any(|word| word == "--echo-server") {
        return echo_server();
    }
    let options = Options::read()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure(&options))
}

/// The smallest server that can be measured: one thread, one tool.
fn echo_server() -> Result<()> {
    let (input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
    for line in input.lines() {
        let message: Value = serde_json::from_str(&line?)?;
        let result = match message["method"].as_str() {
            _ if message["id"].is_null() => continue,
            Some("initialize") => json!({
                "protocolVersion": message["params"]["protocolVersion"],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "echo", "version": "1"},
            }),
            Some("tools/list") => json!({"tools": [{"name": "echo", "inputSchema": {"type": "object"}}]}),
            _ => json!({"content": [{"type": "text", "text": message["params"]["arguments"]["message"]}]}),
        };
        let answer = json!({"jsonrpc": "2.0", "id": message["id"], "result": result});
        output.write_all(format!("{answer}\n").as_bytes())?;
        output.flush()?;
    }
    Ok(())
}

/// What one run of one target gave.
#[derive(Default)]
struct Samples {
    latencies: Vec<Duration>,
    took: Duration,
}

async fn measure(options: &Options) -> Result<()> {
    let mut stdio = Stdin::start(options).await?;
    let stop = CancellationToken::new();
    let (address, gateway) = serve(options, &stop).await?;
    let mut samples: BTreeMap<(usize, usize), Samples> = BTreeMap::new();
    // Interleaved, so that what else the machine does falls on all of them. The first round warms up.
    for round in 0..=options.rounds {
        for &clients in &options.clients {
            for (place, target) in TARGETS.iter().enumerate() {
                let run = match *target {
                    "stdio" => stdio.run(options, clients).await?,
                    "http" => http(options, address, "/echo", clients).await?,
                    _ => http(options, address, "/mcp", clients).await?,
                };
                if round > 0 {
                    let all = samples.entry((clients, place)).or_default();
                    all.latencies.extend(run.latencies);
                    all.took += run.took;
                }
            }
        }
    }
    stop.cancel();
    drop(gateway);
    print(options, samples)
}

fn print(options: &Options, samples: BTreeMap<(usize, usize), Samples>) -> Result<()> {
    let mut medians: HashMap<(usize, usize), f64> = HashMap::new();
    if !options.json {
        println!(
            "{:<8} {:>7} {:>10} {:>10} {:>10}",
            "target", "clients", "p50 µs", "p99 µs", "calls/s"
        );
    }
    for ((clients, place), mut run) in samples {
        run.latencies.sort_unstable();
        let at = |hundredths: usize| {
            let place = (run.latencies.len() * hundredths / 100).min(run.latencies.len() - 1);
            run.latencies[place].as_secs_f64() * 1e6
        };
        ensure!(
            !run.latencies.is_empty(),
            "nothing was measured: give --calls and --rounds of 1 at least"
        );
        let (p50, p99) = (at(50), at(99));
        let count = u32::try_from(run.latencies.len())?;
        let rate = f64::from(count) / run.took.as_secs_f64();
        medians.insert((clients, place), p50);
        let target = TARGETS[place];
        if options.json {
            let line = json!({"target": target, "clients": clients, "p50_us": p50, "p99_us": p99, "calls_per_s": rate});
            println!("{line}");
        } else {
            println!("{target:<8} {clients:>7} {p50:>10.1} {p99:>10.1} {rate:>10.0}");
        }
    }
    for clients in &options.clients {
        let of = |place: usize| medians.get(&(*clients, place)).copied().unwrap_or_default();
        let added = of(2) - (of(0) + of(1));
        if options.json {
            println!("{}", json!({"clients": clients, "added_p50_us": added}));
        } else {
            println!("added at {clients} clients: {added:.1} µs at p50");
        }
    }
    Ok(())
}

/// The server over bare pipes: nothing is done but what must be.
struct Stdin {
    lines: tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
    writer: tokio::process::ChildStdin,
    _child: Child,
}

impl Stdin {
    async fn start(options: &Options) -> Result<Self> {
        let mut child = options.spawn()?;
        let (reader, writer) = child.stdout.take().zip(child.stdin.take()).context("no pipes")?;
        let mut server = Self {
            lines: BufReader::new(reader).lines(),
            writer,
            _child: child,
        };
        let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}});
        let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
        server.write(&hello.to_string()).await?;
        server.answer().await?;
        server
            .write(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#)
            .await?;
        Ok(server)
    }

    async fn write(&mut self, line: &str) -> Result<()> {
        Ok(self.writer.write_all(format!("{line}\n").as_bytes()).await?)
    }

    /// The id of the next answer.
    async fn answer(&mut self) -> Result<usize> {
        #[derive(serde::Deserialize)]
        struct Head {
            id: Option<usize>,
            method: Option<String>,
        }
        loop {
            let line = self.lines.next_line().await?.context("the server ended")?;
            if let Ok(Head {
                id: Some(id),
                method: None,
            }) = serde_json::from_str(&line)
            {
                return Ok(id);
            }
        }
    }

    async fn run(&mut self, options: &Options, clients: usize) -> Result<Samples> {
        let mut started = vec![Instant::now(); options.calls];
        let mut latencies = Vec::with_capacity(options.calls);
        let begin = Instant::now();
        let mut next = 0;
        while latencies.len() < options.calls {
            while next < options.calls && next - latencies.len() < clients {
                started[next] = Instant::now();
                self.write(&options.call(next, &options.tool)).await?;
                next += 1;
            }
            let id = self.answer().await?;
            latencies.push(started.get(id).context("an unknown id")?.elapsed());
        }
        Ok(Samples {
            latencies,
            took: begin.elapsed(),
        })
    }
}

/// Calls over HTTP, each client on a connection of its own.
async fn http(options: &Options, address: std::net::SocketAddr, path: &str, clients: usize) -> Result<Samples> {
    let each = options.calls.div_ceil(clients);
    let connected = try_join_all((0..clients).map(|_| Http::connect(address, path))).await?;
    let begin = Instant::now();
    let running = connected.into_iter().map(|mut client| {
        let bodies: Vec<String> = (0..each)
            .map(|id| options.call(id, &format!("server__{}", options.tool)))
            .collect();
        tokio::spawn(async move {
            let mut latencies = Vec::with_capacity(bodies.len());
            for body in bodies {
                let start = Instant::now();
                let answer = client.send(body).await?;
                latencies.push(start.elapsed());
                ensure!(
                    memchr::memmem::find(&answer, b"\"content\"").is_some(),
                    "{}",
                    String::from_utf8_lossy(&answer)
                );
            }
            Ok(latencies)
        })
    });
    let mut latencies = vec![];
    for client in try_join_all(running).await? {
        latencies.extend(client?);
    }
    Ok(Samples {
        latencies,
        took: begin.elapsed(),
    })
}

struct Http {
    sender: http1::SendRequest<Full<bytes::Bytes>>,
    path: String,
    session: String,
}

impl Http {
    async fn connect(address: std::net::SocketAddr, path: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let mut client = Self {
            sender,
            path: path.to_owned(),
            session: "none".to_owned(),
        };
        let hello =
            json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": "2025-11-25"}});
        let (head, _) = client.exchange(hello.to_string()).await?;
        if let Some(session) = head.headers.get("mcp-session-id") {
            session.to_str()?.clone_into(&mut client.session);
        }
        Ok(client)
    }

    async fn exchange(&mut self, body: String) -> Result<(http::response::Parts, bytes::Bytes)> {
        let request = http::Request::post(&self.path)
            .header("host", "localhost")
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-session-id", &self.session)
            .body(Full::from(body))?;
        self.sender.ready().await?;
        let (head, body) = self.sender.send_request(request).await?.into_parts();
        Ok((head, body.collect().await?.to_bytes()))
    }

    async fn send(&mut self, body: String) -> Result<bytes::Bytes> {
        Ok(self.exchange(body).await?.1)
    }
}

/// The one life, handed out once.
struct Once {
    pipes: Mutex<Option<Pipes>>,
    _child: Child,
}

impl Attach for Once {
    fn attach<'a>(&'a self, _: &'a InstanceName, _: &'a Life) -> BoxFuture<'a, std::io::Result<Link>> {
        let pipes = self.pipes.lock().unwrap_or_else(PoisonError::into_inner).take();
        Box::pin(async {
            pipes
                .map(Link::Pipes)
                .ok_or_else(|| std::io::Error::other("attached already"))
        })
    }
}

/// Serves `/mcp` (a project of one server) and `/echo`.
async fn serve(options: &Options, stop: &CancellationToken) -> Result<(std::net::SocketAddr, Gateway)> {
    let mut child = options.spawn()?;
    let (reader, writer) = child.stdout.take().zip(child.stdin.take()).context("no pipes")?;
    let pipes = Pipes {
        reader: Box::new(reader),
        writer: Box::new(writer),
    };
    let life = Life("bench".to_owned());
    let member = FleetMember {
        instance: "server/0".parse().map_err(anyhow::Error::msg)?,
        serving: true,
        start_timeout_seconds: 60,
        fresh: true,
        remembered: None,
        era: None,
    };
    let fleet = Fleet {
        members: [(life.clone(), member)].into(),
    };
    let document = |id: &str, spec: Value| -> Result<Arc<Document>> {
        let id: Id = id.parse()?;
        let document = Document::new(id, &spec).map_err(|problems| anyhow::anyhow!("{problems:?}"))?;
        Ok(Arc::new(document))
    };
    let routes = Routes {
        servers: [(
            "server".parse()?,
            document("server/server", json!({"command": ["server"]}))?,
        )]
        .into(),
        projects: [(
            "bench".parse()?,
            document("project/bench", json!({"servers": ["server"]}))?,
        )]
        .into(),
        ..Routes::default()
    };
    let attach = Arc::new(Once {
        pipes: Mutex::new(Some(pipes)),
        _child: child,
    });
    let (fleet, routes) = (
        watch::Sender::new(Arc::new(fleet)),
        watch::Sender::new(Arc::new(routes)),
    );
    let gateway = Gateway::start(attach, fleet.subscribe(), routes.subscribe(), &[7; 32], stop.clone());
    let mut upstreams = gateway.upstreams();
    loop {
        let handshake = upstreams
            .borrow_and_update()
            .get(&life)
            .map(|upstream| upstream.handshake.clone());
        match handshake {
            Some(Handshake::Ready { .. }) => break,
            Some(Handshake::Failed { reason, .. }) => bail!("the server can't be used: {reason}"),
            _ => upstreams.changed().await?,
        }
    }
    let echo = async |body: bytes::Bytes| {
        let answer = r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"hello"}]}}"#;
        let _ = body;
        ([("content-type", "application/json")], answer)
    };
    let mcp = async |State(gateway): State<Gateway>, request: Request<Body>| match "bench".parse() {
        Ok(project) => gateway.handle(Endpoint::Project(project), "bench", request).await,
        Err(_) => axum::response::Response::default(),
    };
    let app = axum::Router::new()
        .route("/echo", post(echo))
        .route("/mcp", post(mcp))
        .with_state(gateway.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok((address, gateway))
}
