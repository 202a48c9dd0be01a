//! What mcpd holds of a life while it runs: the stream of its stdin, stdout and stderr, or the log of one that speaks
//! HTTP. One task a life reads it to its end, so that stderr is kept from the first line to the last.
//!
//! # Guarantees
//! A stream that breaks while the container runs (the engine was away) is opened again, and whoever holds the pipes goes
//! on with them: the line that was cut is ended, both ways. Dropping the pipes leaves the server's stdin open.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bollard::container::{AttachContainerResults, LogOutput};
use bollard::query_parameters::{AttachContainerOptionsBuilder, LogsOptionsBuilder};
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::io::StreamReader;
use tokio_util::sync::CancellationToken;

use crate::kit::Pipes;
use crate::record::{InstanceName, Life};
use crate::runtime::{Logs, RuntimeError, Writer};

use super::client::Client;
use super::observe::{Found, inspect};

/// How many pieces of stdout (32 KiB at most, each) wait for who reads it; then the server waits.
const WAITING: usize = 16;
/// How much of stdin waits for the engine.
const STDIN: usize = 64 * 1024;
/// The pace at which a broken stream is opened again, at first and at most.
const AGAIN: Duration = Duration::from_millis(200);
const SELDOM: Duration = Duration::from_secs(5);

/// One life's stream.
pub(super) struct Session {
    pub instance: InstanceName,
    /// Not taken yet.
    pipes: Option<Pipes>,
    /// Alive while somebody holds the pipes.
    held: Weak<()>,
    stop: CancellationToken,
    ended: watch::Receiver<bool>,
    last_line: Arc<Mutex<Option<String>>>,
}

/// What its task works with.
struct Conversation {
    client: Arc<Client>,
    life: Life,
    log: Writer,
    last_line: Arc<Mutex<Option<String>>>,
    stop: CancellationToken,
}

impl Session {
    /// Opens the stream of a container's stdin, stdout and stderr. It may not run yet: then nothing of it is missed.
    pub async fn converse(
        client: &Arc<Client>,
        logs: &Logs,
        instance: &InstanceName,
        life: &Life,
    ) -> Result<Self, RuntimeError> {
        let attached = attach(client, life).await?;
        let (sender, receiver) = mpsc::channel(WAITING);
        let (writer, stdin) = tokio::io::duplex(STDIN);
        let held = Arc::new(());
        let pipes = Pipes {
            reader: Box::new(Held(
                StreamReader::new(ReceiverStream::new(receiver)),
                Arc::clone(&held),
            )),
            writer: Box::new(Held(writer, Arc::clone(&held))),
        };
        let weak = Arc::downgrade(&held);
        drop(held);
        let mut session = Self::begin(client, logs, instance, life, move |conversation| {
            conversation.speak(attached, stdin, sender)
        })
        .await;
        session.pipes = Some(pipes);
        session.held = weak;
        Ok(session)
    }

    /// Follows the log of a container that speaks HTTP: from its beginning, or from now on.
    pub async fn listen(
        client: &Arc<Client>,
        logs: &Logs,
        instance: &InstanceName,
        life: &Life,
        from_the_beginning: bool,
    ) -> Self {
        Self::begin(client, logs, instance, life, move |conversation| {
            conversation.follow(from_the_beginning)
        })
        .await
    }

    async fn begin<F>(
        client: &Arc<Client>,
        logs: &Logs,
        instance: &InstanceName,
        life: &Life,
        run: impl FnOnce(Conversation) -> F,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let last_line = Arc::new(Mutex::new(None));
        let stop = CancellationToken::new();
        let (over, ended) = watch::channel(false);
        let conversation = Conversation {
            client: Arc::clone(client),
            life: life.clone(),
            log: logs.begin(instance, life).await,
            last_line: Arc::clone(&last_line),
            stop: stop.clone(),
        };
        let running = run(conversation);
        tokio::spawn(async move {
            running.await;
            over.send_replace(true);
        });
        Self {
            instance: instance.clone(),
            pipes: None,
            held: Weak::new(),
            stop,
            ended,
            last_line,
        }
    }

    /// The pipes, where nobody has had them yet.
    pub fn take(&mut self) -> Option<Pipes> {
        self.pipes.take()
    }

    /// Whether somebody holds the pipes.
    pub fn is_held(&self) -> bool {
        self.held.strong_count() > 0
    }

    /// Whether the stream is over.
    pub fn is_over(&self) -> bool {
        *self.ended.borrow()
    }

    /// Becomes true when everything was read.
    pub fn ended(&self) -> watch::Receiver<bool> {
        self.ended.clone()
    }

    /// The last line on stderr.
    pub fn last_line(&self) -> Option<String> {
        self.last_line.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn attach(client: &Client, life: &Life) -> Result<AttachContainerResults, RuntimeError> {
    let docker = client.docker().await?;
    let options = AttachContainerOptionsBuilder::default()
        .stream(true)
        .stdin(true)
        .stdout(true)
        .stderr(true)
        .build();
    client.ask(docker.attach_container(&life.0, Some(options))).await
}

/// How far each direction is in a line.
struct Lines {
    /// The last byte that went to the reader, and to the server, ended a line.
    out_ended: bool,
    in_ended: bool,
}

impl Conversation {
    async fn speak(
        mut self,
        attached: AttachContainerResults,
        mut stdin: DuplexStream,
        stdout: mpsc::Sender<io::Result<Bytes>>,
    ) {
        let mut stdout = Some(stdout);
        let mut lines = Lines {
            out_ended: true,
            in_ended: true,
        };
        let mut attached = Some(attached);
        while let Some(AttachContainerResults { mut output, mut input }) = attached.take() {
            let stop = self.stop.clone();
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.hear(&mut output, &mut stdout, &mut lines.out_ended) => {}
                () = say(&mut stdin, &mut input, &mut lines.in_ended) => {}
            }
            drop((output, input));
            attached = self.again().await;
            let Some(new) = &mut attached else { break };
            tracing::info!(life = %self.life, "attached again");
            // A line that was cut must not swallow the next message.
            if new.input.write_all(b"\n").await.is_err() || new.input.flush().await.is_err() {
                continue;
            }
            if !lines.out_ended
                && let Some(reader) = &stdout
            {
                tokio::select! {
                    () = stop.cancelled() => break,
                    // Nobody waits for an answer that was cut: if it can't be ended, the reader is gone.
                    _ = reader.send(Ok(Bytes::from_static(b"\n"))) => lines.out_ended = true,
                }
            }
        }
        self.finish().await;
    }

    /// Takes the server's output until the stream ends.
    async fn hear(
        &mut self,
        output: &mut (impl futures_util::Stream<Item = Result<LogOutput, bollard::errors::Error>> + Unpin),
        stdout: &mut Option<mpsc::Sender<io::Result<Bytes>>>,
        line_ended: &mut bool,
    ) {
        while let Some(Ok(piece)) = output.next().await {
            match piece {
                LogOutput::StdErr { message } => self.keep(&message).await,
                LogOutput::StdOut { message } => {
                    if let Some(last) = message.last() {
                        *line_ended = *last == b'\n';
                    }
                    if let Some(reader) = stdout
                        && reader.send(Ok(message)).await.is_err()
                    {
                        // Nobody reads any more. The server must not wait for that, and its stderr is still worth keeping.
                        *stdout = None;
                    }
                }
                LogOutput::StdIn { .. } => {}
                // Bytes without a frame: what is left of one that was cut.
                LogOutput::Console { .. } => return,
            }
        }
    }

    async fn follow(mut self, from_the_beginning: bool) {
        let mut tail = if from_the_beginning { "all" } else { "0" };
        loop {
            let stop = self.stop.clone();
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.follow_once(tail) => {}
            }
            // What was written while the engine was away is lost to the log, not to the server.
            tail = "0";
            if !self.runs_on().await {
                break;
            }
        }
        self.finish().await;
    }

    async fn follow_once(&mut self, tail: &str) {
        let Ok(docker) = self.client.docker().await else { return };
        let options = LogsOptionsBuilder::default()
            .follow(true)
            .stdout(true)
            .stderr(true)
            .tail(tail)
            .build();
        let life = self.life.clone();
        let mut output = docker.logs(&life.0, Some(options));
        while let Some(Ok(piece)) = output.next().await {
            self.keep(piece.as_ref()).await;
        }
    }

    async fn keep(&mut self, bytes: &[u8]) {
        self.log.take(bytes).await;
        *self.last_line.lock().unwrap_or_else(PoisonError::into_inner) = self.log.last_line();
    }

    /// Opens a stream that broke again, as soon as the engine answers; nothing once the container does not run.
    async fn again(&mut self) -> Option<AttachContainerResults> {
        let mut first = true;
        loop {
            if !(first || self.pause(AGAIN).await) || !self.runs_on().await {
                return None;
            }
            first = false;
            let attached = match attach(&self.client, &self.life).await {
                Ok(attached) => attached,
                Err(error) => {
                    tracing::debug!(life = %self.life, %error, "can't attach again");
                    continue;
                }
            };
            // A container that ended meanwhile can be attached to, and would never say anything.
            if self.runs_on().await {
                return Some(attached);
            }
            return None;
        }
    }

    /// Whether the container runs; waits for the engine to say so.
    async fn runs_on(&self) -> bool {
        let mut wait = AGAIN;
        loop {
            match inspect(&self.client, &self.life).await {
                Ok(found) => return found.is_some_and(|found| found.is_running()),
                Err(error) => tracing::debug!(life = %self.life, %error, "can't tell whether it runs"),
            }
            if !self.pause(wait).await {
                return false;
            }
            wait = (wait * 2).min(SELDOM);
        }
    }

    /// Waits; false where mcpd lets go of the life.
    async fn pause(&self, wait: Duration) -> bool {
        tokio::select! {
            () = self.stop.cancelled() => false,
            () = tokio::time::sleep(wait) => true,
        }
    }

    /// Keeps the last words, and how the life ended where it did.
    async fn finish(mut self) {
        self.log.flush().await;
        *self.last_line.lock().unwrap_or_else(PoisonError::into_inner) = self.log.last_line();
        if self.stop.is_cancelled() {
            return;
        }
        let how = match inspect(&self.client, &self.life).await {
            Ok(Some(Found::Ended(ending))) => ending.to_string(),
            Ok(None) => "was removed".to_owned(),
            _ => return,
        };
        self.log.end(how).await;
    }
}

/// Passes on what the server is told, until the stream breaks. Whoever stops talking does not close the server's stdin.
async fn say(stdin: &mut DuplexStream, input: &mut (impl AsyncWrite + Unpin), line_ended: &mut bool) {
    let mut buffer = vec![0; 16 * 1024];
    // The rest of a line whose beginning is lost is no message.
    while !*line_ended {
        match stdin.read_u8().await {
            Ok(byte) => *line_ended = byte == b'\n',
            Err(_) => std::future::pending().await,
        }
    }
    loop {
        let count = match stdin.read(&mut buffer).await {
            Ok(count) if count > 0 => count,
            _ => std::future::pending().await,
        };
        *line_ended = buffer[count - 1] == b'\n';
        if input.write_all(&buffer[..count]).await.is_err() || input.flush().await.is_err() {
            return;
        }
    }
}

/// One end of a life's pipes, which says while it lives that they are held.
struct Held<T>(T, #[expect(dead_code, reason = "is counted")] Arc<()>);

impl<T: AsyncRead + Unpin> AsyncRead for Held<T> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, into)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Held<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
