//! The two clients that measure: over pipes, and over HTTP with a connection for each client.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdin, ChildStdout};

use super::Samples;

/// The longest that one answer may take.
const LONGEST: Duration = Duration::from_secs(30);

/// A call of the echo server's one tool.
fn call(id: usize, tool: &str, meta: Option<&Value>) -> String {
    let mut params = json!({"name": tool, "arguments": {"message": "hello"}});
    if let Some(meta) = meta {
        params["_meta"] = meta.clone();
    }
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}).to_string()
}

fn hello() -> String {
    let params =
        json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}});
    json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}).to_string()
}

const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

/// The server over bare pipes: nothing is done but what must be.
pub struct Stdin {
    lines: tokio::io::Lines<BufReader<ChildStdout>>,
    writer: ChildStdin,
    _child: Child,
}

impl Stdin {
    /// Greets a server.
    pub async fn greet(mut child: Child) -> Result<Self> {
        let (reader, writer) = child.stdout.take().zip(child.stdin.take()).context("no pipes")?;
        let mut server = Self {
            lines: BufReader::new(reader).lines(),
            writer,
            _child: child,
        };
        server.write(&hello()).await?;
        server.answer().await?;
        server.write(INITIALIZED).await?;
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

    /// Some calls, of which as many are under way at once as there are clients.
    pub async fn run(&mut self, calls: usize, clients: usize) -> Result<Samples> {
        let mut started = vec![Instant::now(); calls];
        let mut latencies = Vec::with_capacity(calls);
        let begin = Instant::now();
        let mut next = 0;
        while latencies.len() < calls {
            while next < calls && next - latencies.len() < clients {
                started[next] = Instant::now();
                self.write(&call(next, "echo", None)).await?;
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

/// Where something is called over HTTP.
#[derive(Clone)]
pub struct Place {
    /// The address.
    pub address: SocketAddr,
    /// The path.
    pub path: String,
    /// The bearer.
    pub token: Option<String>,
    /// The name of the echo tool there.
    pub tool: &'static str,
    /// Whether it is spoken to in 2026-07-28.
    pub modern: bool,
}

/// Some calls, each client on a connection and in a session of its own.
pub async fn run(place: &Place, calls: usize, clients: usize) -> Result<Samples> {
    let each = calls.div_ceil(clients);
    let connected = try_join_all((0..clients).map(|_| Http::connect(place))).await?;
    let meta = place.modern.then(|| {
        json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {},
        })
    });
    let begin = Instant::now();
    let running = connected.into_iter().map(|mut client| {
        let bodies: Vec<String> = (1..=each)
            .map(|id| call(id, client.place.tool, meta.as_ref()))
            .collect();
        tokio::spawn(async move {
            let mut latencies = Vec::with_capacity(bodies.len());
            for body in bodies {
                let start = Instant::now();
                let (_, answer) = client.exchange(body).await?;
                latencies.push(start.elapsed());
                ensure!(
                    memchr::memmem::find(&answer, b"\"content\"").is_some(),
                    "{}",
                    String::from_utf8_lossy(&answer)
                );
            }
            Ok((latencies, client))
        })
    });
    let (mut latencies, mut done) = (vec![], vec![]);
    for client in try_join_all(running).await? {
        let (of_one, client) = client?;
        latencies.extend(of_one);
        done.push(client);
    }
    let took = begin.elapsed();
    for client in done {
        client.leave().await;
    }
    Ok(Samples { latencies, took })
}

struct Http {
    sender: http1::SendRequest<Full<bytes::Bytes>>,
    place: Place,
    session: Option<String>,
}

impl Http {
    async fn connect(place: &Place) -> Result<Self> {
        let stream = TcpStream::connect(place.address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let mut client = Self {
            sender,
            place: place.clone(),
            session: None,
        };
        if !place.modern {
            let (head, _) = client.exchange(hello()).await?;
            ensure!(head.status.is_success(), "initialize is answered with {}", head.status);
            let session = head
                .headers
                .get("mcp-session-id")
                .and_then(|session| session.to_str().ok());
            client.session = session.map(str::to_owned);
            client.exchange(INITIALIZED.to_owned()).await?;
        }
        Ok(client)
    }

    fn request(&self, method: http::Method) -> http::request::Builder {
        let mut request = http::Request::builder()
            .method(method)
            .uri(&self.place.path)
            .header("host", self.place.address.to_string())
            .header("accept", "application/json, text/event-stream");
        if let Some(token) = &self.place.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some(session) = &self.session {
            request = request.header("mcp-session-id", session);
        }
        if self.place.modern {
            request = request
                .header("mcp-protocol-version", "2026-07-28")
                .header("mcp-method", "tools/call")
                .header("mcp-name", self.place.tool);
        }
        request
    }

    async fn exchange(&mut self, body: String) -> Result<(http::response::Parts, bytes::Bytes)> {
        let request = self
            .request(http::Method::POST)
            .header("content-type", "application/json")
            .body(Full::from(body))?;
        self.sender.ready().await?;
        let answered = async {
            let (head, body) = self.sender.send_request(request).await?.into_parts();
            anyhow::Ok((head, body.collect().await?.to_bytes()))
        };
        tokio::time::timeout(LONGEST, answered)
            .await
            .context("no answer within 30 s")?
    }

    /// Ends its session, so that those of later rounds do not pile up.
    async fn leave(mut self) {
        if self.session.is_some()
            && let Ok(request) = self.request(http::Method::DELETE).body(Full::default())
            && self.sender.ready().await.is_ok()
        {
            let _ = tokio::time::timeout(LONGEST, self.sender.send_request(request)).await;
        }
    }
}
