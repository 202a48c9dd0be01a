//! Nothing grows: sessions that are ended, dropped and left, calls that are answered, cut off and refused, and servers that
//! are replaced meanwhile leave mcpd's memory, tasks, descriptors and processes as they were.
//!
//! 1,000 sessions and 10,000 calls; a hundred times as many with `MCPCTL_LONG`, which then writes docs/proof/gateway_leaks.json.
#![cfg(unix)]
#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "a test that starts mcpd, asks /proc for what it takes, and writes its figures"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Clients at once.
const CLIENTS: u64 = 8;
/// Servers are replaced that often, once a round; the first two rounds warm up.
const ROUNDS: u64 = 12;
/// Sessions that mcpd keeps for clients that went without a word.
const KEPT: u64 = 10_000;
/// What one such session may take.
const SESSION_BYTES: u64 = 4 << 10;
/// By how much resident memory may differ from what it was after the warm-up: allocators keep what was used once.
const SLACK_BYTES: u64 = 24 << 20;
/// Tasks and descriptors that may differ: connections that are just being closed, a look at the repository.
const SLACK: u64 = 8;

/// What mcpd takes at a moment.
#[derive(Debug, Clone, Copy)]
struct Taken {
    resident: u64,
    tasks: u64,
    descriptors: u64,
    processes: u64,
    sessions: u64,
    streams: u64,
    in_flight: u64,
}

struct Mcpd {
    child: Child,
    url: String,
    token: String,
    client: reqwest::Client,
}

impl Drop for Mcpd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Mcpd {
    async fn start(folder: &Path, data: &Path) -> Self {
        let port = {
            let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
            free.local_addr().expect("its address").port()
        };
        let child = Command::new(env!("CARGO_BIN_EXE_mcpd"))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", data)
            .env("MCPD_LISTEN", format!("127.0.0.1:{port}"))
            .env("MCPD_DATA_DIR", data)
            .env("MCPD_WATCH", folder)
            .env("MCPD_RUNTIME", "process")
            .env("MCPD_LOG", "error")
            .stdin(Stdio::null())
            .spawn()
            .expect("mcpd");
        let mut mcpd = Self {
            child,
            url: format!("http://127.0.0.1:{port}"),
            token: String::new(),
            client: client(),
        };
        mcpd.until_ready().await;
        let token = std::fs::read_to_string(data.join("admin.token")).expect("a token");
        token.trim().clone_into(&mut mcpd.token);
        mcpd
    }

    /// Until everything that is declared runs.
    async fn until_ready(&self) {
        let url = format!("{}/readyz?strict", self.url);
        for _ in 0..1_200 {
            let answer = self.client.get(&url).send().await;
            if answer.is_ok_and(|answer| answer.status() == 200) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("it is never ready");
    }

    async fn taken(&self) -> Taken {
        let answer = self
            .client
            .get(format!("{}/metrics", self.url))
            .bearer_auth(&self.token)
            .send()
            .await;
        let text = answer.expect("an answer").text().await.expect("figures");
        let figure = |name: &str| -> u64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            let value = line.unwrap_or_else(|| panic!("no {name} in {text}"));
            value.parse().expect("a number")
        };
        Taken {
            resident: figure("process_resident_memory_bytes"),
            tasks: figure("mcpd_tasks"),
            descriptors: figure("process_open_fds"),
            processes: descendants(self.child.id()),
            sessions: figure("mcpd_mcp_sessions"),
            streams: figure("mcpd_mcp_streams"),
            in_flight: figure("mcpd_mcp_requests_in_flight"),
        }
    }
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().expect("a client")
}

/// How many processes a process started, directly or not.
fn descendants(root: u32) -> u64 {
    let mut parents = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        // The name may hold anything, brackets too.
        let parent = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        parents.extend(parent.map(|parent: u32| (id, parent)));
    }
    let below = |id: &u32| {
        let mut at = *id;
        while let Some(parent) = parents.get(&at) {
            if *parent == root {
                return true;
            }
            at = *parent;
        }
        false
    };
    parents.keys().filter(|id| below(id)).count() as u64
}

/// One client that comes and goes.
struct Visitor<'a> {
    mcpd: &'a Mcpd,
    session: String,
    next: u64,
}

impl<'a> Visitor<'a> {
    fn post(&self, http: &reqwest::Client, message: &Value) -> reqwest::RequestBuilder {
        http.post(format!("{}/projects/demo/mcp", self.mcpd.url))
            .bearer_auth(&self.mcpd.token)
            .header("accept", "application/json, text/event-stream")
            .header("mcp-session-id", &self.session)
            .json(message)
    }

    async fn come(mcpd: &'a Mcpd, http: &reqwest::Client) -> Self {
        let mut visitor = Self {
            mcpd,
            session: "none".to_owned(),
            next: 0,
        };
        let params =
            json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
        let message = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
        let answer = visitor.post(http, &message).send().await.expect("an answer");
        let session = answer.headers().get("mcp-session-id").expect("a session");
        session.to_str().expect("text").clone_into(&mut visitor.session);
        answer.bytes().await.expect("a body");
        visitor
    }

    fn call(&mut self, http: &reqwest::Client, tool: &str) -> reqwest::RequestBuilder {
        self.next += 1;
        let params = json!({"name": tool, "arguments": {"n": self.next}, "_meta": {"progressToken": self.next}});
        let message = json!({"jsonrpc": "2.0", "id": self.next, "method": "tools/call", "params": params});
        self.post(http, &message)
    }

    /// Some calls: most are answered, some are unknown, some are cut off by a client that hangs up.
    async fn calls(&mut self, http: &reqwest::Client, many: u64) {
        for n in 0..many {
            match n % 100 {
                50 => drop(
                    self.call(http, "no__such")
                        .send()
                        .await
                        .expect("an answer")
                        .bytes()
                        .await,
                ),
                // Its connection goes with it.
                75 => drop(
                    tokio::time::timeout(Duration::from_micros(300), self.call(&client(), "echo__echo").send()).await,
                ),
                _ => {
                    let answer = self.call(http, "echo__echo").send().await.expect("an answer");
                    let text = answer.text().await.expect("a body");
                    // While its server is replaced a call is told so, and that is an answer too.
                    assert!(text.contains("\"content\""), "{text}");
                }
            }
        }
    }

    /// It goes: with a word, without one, or in the middle of its stream.
    async fn go(self, http: &reqwest::Client, how: u64) {
        let at = |method: reqwest::Method, http: &reqwest::Client| {
            http.request(method, format!("{}/projects/demo/mcp", self.mcpd.url))
                .bearer_auth(&self.mcpd.token)
                .header("accept", "text/event-stream")
                .header("mcp-session-id", &self.session)
        };
        match how % 4 {
            0 => {}
            1 => {
                // The client's connections end when it is dropped, streams and all.
                let mut stream = at(reqwest::Method::GET, &client()).send().await.expect("a stream");
                stream.chunk().await.expect("the stream");
            }
            _ => {
                let answer = at(reqwest::Method::DELETE, http).send().await.expect("an answer");
                assert_eq!(answer.status(), 204);
            }
        }
    }
}

/// One server, declared anew for each round, so that its process is replaced.
fn declare(folder: &Path, round: u64) {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/echo_server.py");
    let env = json!([{"name": "ROUND", "value": round.to_string()}]);
    let server = json!({"kind": "server", "name": "echo", "command": ["python3", "-IS", program], "env": env});
    let text = format!(
        "{server}\n---\n{}\n",
        json!({"kind": "project", "name": "demo", "servers": ["echo"]})
    );
    let new = folder.join("all.yaml.new");
    std::fs::write(&new, text).expect("the declaration");
    std::fs::rename(new, folder.join("all.yaml")).expect("the declaration");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_grows_over_sessions_calls_and_restarts() {
    let long = std::env::var_os("MCPCTL_LONG").is_some();
    let times: u64 = if long { 100 } else { 1 };
    let (sessions, calls) = (1_000 * times, 10_000 * times);
    let begin = Instant::now();
    let place = tempfile::Builder::new().prefix("mcpctl-").tempdir().expect("a folder");
    let (folder, data) = (place.path().join("repo"), place.path().join("data"));
    std::fs::create_dir(&folder).expect("a folder");
    declare(&folder, 0);
    let mcpd = Mcpd::start(&folder, &data).await;
    let mut warm = None;
    let (per_round, each) = (sessions.div_ceil(ROUNDS), calls.div_ceil(sessions));
    let (mut visits, mut called) = (0, 0);
    for round in 0..ROUNDS {
        let visiting = (0..CLIENTS).map(|n| {
            let mcpd = &mcpd;
            async move {
                let http = client();
                let mut done = 0;
                for visit in (n..per_round).step_by(usize::try_from(CLIENTS).expect("few")) {
                    let mut visitor = Visitor::come(mcpd, &http).await;
                    visitor.calls(&http, each).await;
                    visitor.go(&http, visit).await;
                    done += 1;
                }
                done
            }
        });
        let done: u64 = futures_util::future::join_all(visiting).await.into_iter().sum();
        visits += done;
        called += done * each;
        declare(&folder, round + 1);
        mcpd.until_ready().await;
        if round == 1 {
            warm = Some(settled(&mcpd, None).await);
        }
    }
    let warm = warm.expect("a warm-up");
    let end = settled(&mcpd, Some(warm)).await;
    eprintln!("{visits} sessions, {called} calls\nwarm {warm:?}\nend  {end:?}");
    assert!(visits >= sessions && called >= calls);
    assert!(end.sessions <= KEPT, "{end:?}");
    assert_eq!((end.streams, end.in_flight), (0, 0), "{end:?}");
    assert_eq!(end.processes, warm.processes, "{warm:?} {end:?}");
    assert!(end.tasks <= warm.tasks + SLACK, "{warm:?} {end:?}");
    assert!(end.descriptors <= warm.descriptors + SLACK, "{warm:?} {end:?}");
    let kept = end.sessions.saturating_sub(warm.sessions) * SESSION_BYTES;
    assert!(end.resident <= warm.resident + SLACK_BYTES + kept, "{warm:?} {end:?}");
    if long {
        let figures = json!({
            "sessions": visits, "calls": called, "restarts": ROUNDS, "violations": 0, "seconds": begin.elapsed().as_secs(),
            "sessions kept": end.sessions,
            "memory KiB": {"warm": warm.resident >> 10, "end": end.resident >> 10},
            "tasks": {"warm": warm.tasks, "end": end.tasks},
            "descriptors": {"warm": warm.descriptors, "end": end.descriptors},
            "processes": {"warm": warm.processes, "end": end.processes},
        });
        write("gateway_leaks", figures);
    }
}

/// What mcpd takes once connections that were closed are gone: a while later, or as soon as it is no more than it was.
async fn settled(mcpd: &Mcpd, warm: Option<Taken>) -> Taken {
    let mut taken = mcpd.taken().await;
    for _ in 0..100 {
        let idle = taken.streams == 0 && taken.in_flight == 0;
        let same = warm.is_some_and(|warm| taken.tasks <= warm.tasks && taken.descriptors <= warm.descriptors);
        if idle && same {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        taken = mcpd.taken().await;
    }
    taken
}

/// Writes figures to docs/proof with the commit that they are of.
fn write(name: &str, mut figures: Value) {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let head = Command::new("git")
        .arg("-C")
        .arg(&root)
        .args(["rev-parse", "HEAD"])
        .output()
        .expect("git");
    figures["name"] = name.into();
    figures["commit"] = String::from_utf8_lossy(&head.stdout).trim().into();
    std::fs::write(root.join(format!("docs/proof/{name}.json")), format!("{figures}\n")).expect("the proof");
}
