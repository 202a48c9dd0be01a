//! mcpd's end of the hooks: a push is handed to a judge, and what the judge says is shown to the pusher.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::access::Principal;
use crate::record::Actor;

use super::bare::lock;
use super::hosted::{Hosted, Inner};

/// The longest message from a hook, in bytes: 1,000 branches fit in.
pub(super) const LONGEST_MESSAGE: u64 = 1 << 20;
/// How many lines may wait for a pusher who does not read; further ones are dropped.
const WAITING_LINES: usize = 1024;

/// How many hooks are answered at once; further ones wait to be let in.
const MOST_HOOKS: usize = 512;

/// Decides about pushes. The engine implements it.
pub trait PushJudge: Send + Sync + 'static {
    /// Before anything moves: true accepts the push.
    fn judge(&self, push: Push, out: Lines) -> BoxFuture<'_, bool>;
    /// After the branch moved: tells the pusher what becomes of it. Nothing hangs on it.
    fn watch(&self, push: Push, out: Lines) -> BoxFuture<'_, ()>;
    /// The push is over, however it ended: nothing of it will move a branch any more. Called once for each push that
    /// came in, also where it was never judged.
    fn ended(&self, push_id: &str);
}

/// A push under way.
#[derive(Debug, Clone)]
pub struct Push {
    /// Its own id, the same in all calls.
    pub id: String,
    /// Who pushes, as authenticated; never the commits' author.
    pub principal: Principal,
    /// What is to move.
    pub updates: Vec<RefUpdate>,
    /// What was given with `git push -o`.
    pub options: Vec<String>,
    /// Where its objects are until it is accepted.
    pub quarantine: Option<Quarantine>,
}

impl Push {
    /// Whose doing it is.
    #[must_use]
    pub fn actor(&self) -> Actor {
        self.principal.actor("push")
    }
}

/// A branch or tag that a push moves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefUpdate {
    /// The commit that it is at; nothing where it is new.
    pub old: Option<String>,
    /// The commit that it goes to; nothing where it is deleted.
    pub new: Option<String>,
    /// Its full name, as `refs/heads/main`.
    pub name: String,
}

/// The folder with the objects of a push that is not accepted yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantine(pub(super) PathBuf);

/// Where lines for the pusher go. A pusher who is gone, or does not read, loses lines and nothing else.
#[derive(Debug, Clone)]
pub struct Lines(mpsc::Sender<String>);

impl Lines {
    /// Lines and where they come out, for tests of judges.
    #[must_use]
    pub fn channel() -> (Self, mpsc::Receiver<String>) {
        let (sender, receiver) = mpsc::channel(WAITING_LINES);
        (Self(sender), receiver)
    }

    /// Shows a line (or several, parted by line ends).
    pub fn send(&self, line: impl Into<String>) {
        // Never an error: see the type.
        let _ = self.0.try_send(line.into());
    }
}

/// What a hook sends, as one line of JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    pub hook: String,
    pub push: String,
    pub quarantine: Option<PathBuf>,
    pub options: Vec<String>,
    pub updates: Vec<RefUpdate>,
}

/// What a hook gets back, a line of JSON each; the last one is the verdict.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Answer {
    Line(String),
    Exit(u8),
}

impl Hosted {
    /// Answers the hooks until `stop`; pushes that are not decided by then are refused. Call it once.
    pub async fn serve_hooks(&self, judge: Arc<dyn PushJudge>, stop: CancellationToken) {
        let Some(listener) = lock(&self.0.listener).take() else {
            return;
        };
        let listener = match tokio::net::UnixListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(%error, "the hooks' socket can't be listened on: pushes will be refused");
                return;
            }
        };
        *lock(&self.0.judge) = Some(Arc::clone(&judge));
        // Dropping the set ends what is under way: its hooks see the socket close without a verdict.
        let mut hooks = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(_) = hooks.join_next() => {}
                accepted = listener.accept(), if hooks.len() < MOST_HOOKS => match accepted {
                    Ok((stream, _)) => drop(hooks.spawn(answer(Arc::clone(&self.0), Arc::clone(&judge), stream))),
                    Err(error) => {
                        tracing::warn!(%error, "a hook could not connect");
                        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                    }
                },
            }
        }
    }
}

async fn answer(inner: Arc<Inner>, judge: Arc<dyn PushJudge>, stream: UnixStream) {
    let (reader, mut writer) = stream.into_split();
    let mut message = String::new();
    let mut reader = BufReader::new(reader.take(LONGEST_MESSAGE));
    let read = reader.read_line(&mut message);
    let Ok(Ok(_)) = tokio::time::timeout(std::time::Duration::from_secs(30), read).await else {
        return;
    };
    let Ok(request) = serde_json::from_str::<Request>(&message) else {
        tracing::warn!("a hook sent what can't be read");
        return;
    };
    let principal = lock(&inner.pushes)
        .get(&request.push)
        .map(|push| push.principal.clone());
    let (lines, mut shown) = Lines::channel();
    let (Some(principal), Ok(quarantine)) = (
        principal,
        request.quarantine.map(|path| inner.quarantine(&path)).transpose(),
    ) else {
        let _ = write(
            &mut writer,
            &Answer::Line("error: this push did not come through mcpd".into()),
        )
        .await;
        let _ = write(&mut writer, &Answer::Exit(1)).await;
        return;
    };
    let push = Push {
        id: request.push,
        principal,
        updates: request.updates,
        options: request.options,
        quarantine,
    };
    let before = request.hook == "pre-receive";
    let mut verdict: BoxFuture<'_, bool> = if before {
        judge.judge(push, lines)
    } else {
        inner.bare.0.changed.send_modify(|count| *count += 1);
        inner.only_watches(&push.id);
        let watch = judge.watch(push, lines);
        Box::pin(async move {
            watch.await;
            true
        })
    };
    // The judge is heard to its end even where the hook is gone; only then is the push's outcome known to it.
    let accepted = loop {
        tokio::select! {
            biased;
            Some(line) = shown.recv() => drop(write(&mut writer, &Answer::Line(line)).await),
            accepted = &mut verdict => break accepted,
        }
    };
    while let Ok(line) = shown.try_recv() {
        let _ = write(&mut writer, &Answer::Line(line)).await;
    }
    let _ = write(&mut writer, &Answer::Exit(u8::from(!accepted))).await;
}

async fn write(writer: &mut (impl tokio::io::AsyncWrite + Unpin), answer: &Answer) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    // A hook that does not read is as good as gone.
    let written = tokio::time::timeout(std::time::Duration::from_mins(1), writer.write_all(&line)).await;
    written.map_err(|_| std::io::ErrorKind::TimedOut)?
}

impl Inner {
    /// A quarantine folder lies among the repository's own objects, and nowhere else is read.
    fn quarantine(&self, path: &Path) -> std::io::Result<Quarantine> {
        let path = path.canonicalize()?;
        if path.starts_with(self.bare.0.git_folder.join("objects")) {
            Ok(Quarantine(path))
        } else {
            Err(std::io::ErrorKind::InvalidInput.into())
        }
    }
}
