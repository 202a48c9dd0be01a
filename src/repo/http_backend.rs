//! Smart HTTP by git's own `http-backend`, as a CGI process that outlives the client that asked for it.

use std::fmt::Write as _;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;

use crate::access::Principal;

use super::bare::lock;
use super::body::{self, PATIENCE, Packing, Refusal};
use super::hook_program::{PUSH, SOCKET};
use super::hosted::{Hosted, Inner, UnderWay};
use super::hosted_setup;

/// Where the repository is served; requests may come with this prefix or stripped of it.
pub const GIT_PATH: &str = "/git/config.git";

/// The most that git's headers may be.
const LARGEST_HEADERS: usize = 16 << 10;
/// The most that a push may be, as it comes; git takes less, and says so: its own words are better than a status.
const LARGEST_PUSH: u64 = 256 << 20;
/// The most that the question of a fetch may be, unpacked: git itself keeps it in memory.
const LARGEST_QUESTION: u64 = 10 << 20;

/// What a client of the repository is about to do: fetching and pushing need different rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Reading.
    Fetch,
    /// Writing.
    Push,
}

/// One of the four requests of smart HTTP.
struct Asked {
    operation: Operation,
    /// Whether this is the list of branches that precedes the operation.
    advertisement: bool,
}

impl Operation {
    /// What a request is about; nothing where it is none of smart HTTP's.
    #[must_use]
    pub fn of(method: &Method, uri: &Uri) -> Option<Self> {
        Asked::of(method, uri).map(|asked| asked.operation)
    }

    /// The most that a request's body may be.
    const fn most(self) -> u64 {
        match self {
            Self::Fetch => LARGEST_QUESTION,
            Self::Push => LARGEST_PUSH,
        }
    }

    const fn service(self) -> &'static str {
        match self {
            Self::Fetch => "git-upload-pack",
            Self::Push => "git-receive-pack",
        }
    }
}

impl Asked {
    fn of(method: &Method, uri: &Uri) -> Option<Self> {
        let path = uri.path();
        let path = path.strip_prefix(GIT_PATH).unwrap_or(path);
        let (operation, advertisement) = match (method, path, uri.query().unwrap_or_default()) {
            (&Method::GET, "/info/refs", "service=git-upload-pack") => (Operation::Fetch, true),
            (&Method::GET, "/info/refs", "service=git-receive-pack") => (Operation::Push, true),
            (&Method::POST, "/git-upload-pack", "") => (Operation::Fetch, false),
            (&Method::POST, "/git-receive-pack", "") => (Operation::Push, false),
            _ => return None,
        };
        Some(Self {
            operation,
            advertisement,
        })
    }
}

/// A push that is known to the hooks while this lives.
struct Known {
    inner: Arc<Inner>,
    id: String,
}

impl Drop for Known {
    fn drop(&mut self) {
        lock(&self.inner.pushes).remove(&self.id);
        self.inner.bare.0.changed.send_modify(|count| *count += 1);
        let judge = lock(&self.inner.judge).clone();
        if let Some(judge) = judge {
            judge.ended(&self.id);
        }
    }
}

impl Hosted {
    /// Serves a request of smart HTTP for somebody whose right to it was checked; anything else is not found.
    ///
    /// # Guarantees
    /// A push goes on to its end when its client hangs up; then, and in every other case, the judge hears that it ended.
    pub async fn serve_http(&self, principal: &Principal, request: Request<Body>) -> Response {
        let Some(asked) = Asked::of(request.method(), request.uri()) else {
            return plain(StatusCode::NOT_FOUND, "only git's smart HTTP is served here\n");
        };
        let packing = match Packing::of(request.headers(), asked.operation.most()) {
            Ok(packing) => packing,
            Err(refusal) => return refused(refusal),
        };
        let permit = tokio::time::timeout(Duration::from_secs(10), Arc::clone(&self.0.processes).acquire_owned());
        let Ok(Ok(permit)) = permit.await else {
            let mut busy = plain(StatusCode::SERVICE_UNAVAILABLE, "too many git operations at once\n");
            busy.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
            return busy;
        };
        let mut permit = Some(permit);
        let known = if asked.operation == Operation::Push && !asked.advertisement {
            let mut random = [0; 16];
            if getrandom::fill(&mut random).is_err() {
                return plain(StatusCode::INTERNAL_SERVER_ERROR, "no random numbers\n");
            }
            let id = random.iter().fold(String::new(), |mut id, byte| {
                let _ = write!(id, "{byte:02x}");
                id
            });
            let under_way = UnderWay {
                principal: principal.clone(),
                permit: permit.take(),
            };
            lock(&self.0.pushes).insert(id.clone(), under_way);
            Some(Known {
                inner: Arc::clone(&self.0),
                id,
            })
        } else {
            None
        };
        let child = match self
            .0
            .command(&asked, principal, known.as_ref(), request.headers())
            .spawn()
        {
            Ok(child) => child,
            Err(error) => {
                tracing::error!(%error, "git could not be started");
                return plain(StatusCode::INTERNAL_SERVER_ERROR, "git could not be started\n");
            }
        };
        let (head, answered) = oneshot::channel();
        let (chunks, body) = mpsc::channel(16);
        let run = Run {
            child,
            head,
            chunks,
            known,
            _permit: permit,
        };
        let feed = Feed {
            body: request.into_body(),
            packing,
            most: asked.operation.most(),
        };
        // A task of its own: the request's future ends when the client hangs up, and the push must not.
        drop(tokio::spawn(run.finish(feed)));
        match answered.await {
            Ok(Err(refusal)) => refused(refusal),
            Ok(Ok((status, headers))) => {
                let mut response = Response::new(Body::from_stream(ReceiverStream::new(body)));
                *response.status_mut() = status;
                *response.headers_mut() = headers;
                response
            }
            Err(_) => plain(StatusCode::BAD_GATEWAY, "git gave no answer\n"),
        }
    }
}

fn refused((status, text): Refusal) -> Response {
    plain(status, text)
}

fn plain(status: StatusCode, text: impl Into<Body>) -> Response {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

impl Inner {
    /// git's environment is made anew, so that no setting of mcpd's user or host changes what a push does.
    fn command(&self, asked: &Asked, principal: &Principal, known: Option<&Known>, headers: &HeaderMap) -> Command {
        let mut command = Command::new("git");
        command.arg("http-backend").env_clear().current_dir(&self.data);
        let (method, path) = match (asked.advertisement, asked.operation) {
            (true, _) => ("GET", "/config.git/info/refs"),
            (false, Operation::Fetch) => ("POST", "/config.git/git-upload-pack"),
            (false, Operation::Push) => ("POST", "/config.git/git-receive-pack"),
        };
        command
            .env("PATH", &self.search_path)
            .env("LC_ALL", "C")
            .env("HOME", &self.data)
            .env("XDG_CONFIG_HOME", &self.data)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            // The data folder may belong to another user (a mounted volume), and mcpd vouches for it.
            .env("GIT_CONFIG_COUNT", "2")
            .env("GIT_CONFIG_KEY_0", "safe.directory")
            .env("GIT_CONFIG_VALUE_0", "*")
            .env("GIT_CONFIG_KEY_1", "core.hooksPath")
            .env("GIT_CONFIG_VALUE_1", self.bare.0.git_folder.join("hooks"))
            .env("GIT_PROJECT_ROOT", &self.data)
            .env("GIT_HTTP_EXPORT_ALL", "1")
            .env("REQUEST_METHOD", method)
            .env("PATH_INFO", path)
            .env("SERVER_PROTOCOL", "HTTP/1.1")
            .env("REMOTE_ADDR", "127.0.0.1")
            .env("REMOTE_USER", principal.to_string().replace(char::is_control, " "));
        if asked.advertisement {
            command.env("QUERY_STRING", format!("service={}", asked.operation.service()));
        }
        let mut pass = |variable: &str, header: &HeaderName| {
            let value = headers.get(header).and_then(|value| value.to_str().ok());
            if let Some(value) = value.filter(|value| value.len() <= 256) {
                command.env(variable, value);
            }
        };
        // Neither the encoding, which is gone by then, nor the length: told one, http-backend spins for ever when the body ends before it. The end of its input is
        // the end of the body.
        pass("CONTENT_TYPE", &CONTENT_TYPE);
        pass("GIT_PROTOCOL", &HeaderName::from_static("git-protocol"));
        if let Some(known) = known {
            command.env(SOCKET, &self.socket).env(PUSH, &known.id);
        }
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own: Ctrl-C on mcpd's terminal is not for a push that goes on.
            .process_group(0)
            .kill_on_drop(false);
        command
    }
}

type Head = (StatusCode, HeaderMap);

/// What a process is fed with.
struct Feed {
    body: Body,
    packing: Packing,
    most: u64,
}

/// A process from its start to its end.
struct Run {
    child: Child,
    head: oneshot::Sender<Result<Head, Refusal>>,
    chunks: mpsc::Sender<std::io::Result<Bytes>>,
    known: Option<Known>,
    /// A push's own is with what is known of it.
    _permit: Option<OwnedSemaphorePermit>,
}

impl Run {
    async fn finish(mut self, input: Feed) {
        let (stdin, stdout, stderr) = (
            self.child.stdin.take(),
            self.child.stdout.take(),
            self.child.stderr.take(),
        );
        let (refuse, refusal) = oneshot::channel();
        let feed = async {
            let Some(mut stdin) = stdin else { return };
            // However it ends, git's input ends, and git refuses what is incomplete. Why is known before it notices.
            if let Err(why) = body::hand_on(input.body, input.packing, input.most, &mut stdin).await {
                let _ = refuse.send(why);
            }
        };
        let complaints = async {
            let mut text = vec![];
            if let Some(mut stderr) = stderr {
                let _ = (&mut stderr).take(4096).read_to_end(&mut text).await;
                let _ = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
            }
            if !text.is_empty() {
                tracing::warn!(git = %String::from_utf8_lossy(&text).trim(), "git http-backend");
            }
        };
        let pushes = self.known.is_some();
        let (head, chunks, child) = (self.head, self.chunks, &mut self.child);
        let answer = async {
            let gone = match stdout {
                Some(stdout) => relay(stdout, refusal, head, chunks, pushes).await,
                None => true,
            };
            if gone && !pushes {
                // Nobody waits for what a fetch would still compute.
                let _ = child.start_kill();
            }
            if let Err(error) = child.wait().await {
                tracing::warn!(%error, "the end of a git process was missed");
            }
        };
        // What feeds the process must not hold up its end: a client may keep a body open for ever.
        tokio::pin!(feed, answer, complaints);
        let (mut all_fed, mut all_heard) = (false, false);
        loop {
            tokio::select! {
                () = &mut feed, if !all_fed => all_fed = true,
                () = &mut complaints, if !all_heard => all_heard = true,
                () = &mut answer => break,
            }
        }
        let inner = self.known.as_ref().map(|known| Arc::clone(&known.inner));
        drop(self.known);
        if !all_heard {
            let _ = tokio::time::timeout(Duration::from_secs(1), complaints).await;
        }
        if let Some(inner) = inner
            && lock(&inner.pushes).is_empty()
        {
            let sweep = tokio::task::spawn_blocking(move || hosted_setup::sweep(&inner.bare.0.git_folder));
            let _ = sweep.await;
        }
    }
}

/// Hands git's answer to the client; where the client is gone, takes what git still writes. Gives whether it is gone.
///
/// git sends its headers before it has read a byte, so they wait for its first word: until then a body may turn out to be
/// none that is taken.
async fn relay(
    stdout: ChildStdout,
    mut refusal: oneshot::Receiver<Refusal>,
    head: oneshot::Sender<Result<Head, Refusal>>,
    chunks: mpsc::Sender<std::io::Result<Bytes>>,
    pushes: bool,
) -> bool {
    let mut stdout = BufReader::with_capacity(32 << 10, stdout);
    let answer = async {
        let found = headers(&mut stdout).await;
        // The end of its output is a word too.
        let _ = stdout.fill_buf().await;
        found
    };
    let mut gone = tokio::select! {
        biased;
        Ok(why) = &mut refusal => {
            let _ = head.send(Err(why));
            true
        }
        found = answer => match found {
            Some(found) => head.send(Ok(found)).is_err(),
            None => true,
        },
    };
    let mut buffer = vec![0; 32 << 10];
    loop {
        if gone && !pushes {
            return true;
        }
        match stdout.read(&mut buffer).await {
            Ok(0) => return gone,
            Ok(count) if !gone => {
                let chunk = Bytes::copy_from_slice(&buffer[..count]);
                gone = !matches!(tokio::time::timeout(PATIENCE, chunks.send(Ok(chunk))).await, Ok(Ok(())));
            }
            Ok(_) => {}
            Err(error) => {
                let _ = chunks.try_send(Err(error));
                return gone;
            }
        }
    }
}

/// The head of a CGI answer; nothing where it is none.
async fn headers(stdout: &mut BufReader<ChildStdout>) -> Option<Head> {
    let (mut status, mut found) = (StatusCode::OK, HeaderMap::new());
    let mut limited = stdout.take(LARGEST_HEADERS as u64);
    loop {
        let mut line = vec![];
        limited.read_until(b'\n', &mut line).await.ok()?;
        if line.pop() != Some(b'\n') {
            return None;
        }
        let line = line.strip_suffix(b"\r").unwrap_or(&line);
        if line.is_empty() {
            return Some((status, found));
        }
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"status") {
            status = StatusCode::from_bytes(value.get(..3)?).ok()?;
        } else {
            found.append(HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?);
        }
    }
}
