//! A conversation over a server's pipes: newline-delimited JSON-RPC.

use std::future::Future;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::kit::Pipes;

use super::connection::{Connection, Outgoing, Wire};

/// What is said of a connection that the server ended by closing its output.
pub const CLOSED: &str = "the server closed its output";
/// A buffer larger than this is given back once its line was read.
const KEPT: usize = 1 << 20;
/// How long the answers of a server that closed its input are still read.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How a connection is opened.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The longest line that is read; a longer one ends the connection.
    pub longest_line: usize,
    /// Whether a bare newline is written first: where a process already ran, a line may have been cut in the middle,
    /// and its rest would swallow our first message.
    pub newline_first: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            longest_line: 64 << 20,
            newline_first: false,
        }
    }
}

impl Connection {
    /// Opens a conversation over pipes. It lives while the returned driver is polled and the handle is kept.
    pub fn open(pipes: Pipes, options: Options) -> (Self, impl Future<Output = ()> + Send + 'static) {
        Self::over(move |wire| carry(wire, pipes, options))
    }
}

async fn carry(wire: Wire, pipes: Pipes, options: Options) -> String {
    let Pipes { reader, writer } = pipes;
    let (ear, queue) = wire.split();
    let reading = read(|line| ear.hear(line), reader, options.longest_line);
    let writing = async {
        let error = write(writer, queue, options.newline_first).await;
        // What it said before it stopped listening still counts.
        tokio::time::sleep(LAST_WORDS).await;
        format!("the server closed its input: {error}")
    };
    tokio::select! {
        reason = reading => reason,
        reason = writing => reason,
    }
}

/// Reads until the end, and says why that was.
async fn read(hear: impl Fn(Bytes), mut reader: Box<dyn AsyncRead + Send + Unpin>, longest: usize) -> String {
    let mut buffer = BytesMut::new();
    let mut searched = 0;
    loop {
        while let Some(end) = memchr::memchr(b'\n', &buffer[searched..]) {
            let line = buffer.split_to(searched + end + 1).freeze();
            searched = 0;
            if line.len() > KEPT {
                // The room that a long line took goes with it, and is not kept for the rest of this life.
                buffer = BytesMut::from(&buffer[..]);
            }
            hear(line.slice(..line.len() - 1));
        }
        searched = buffer.len();
        if searched > longest {
            return format!("the server wrote a line of more than {longest} bytes");
        }
        buffer.reserve(16 << 10);
        match reader.read_buf(&mut buffer).await {
            Ok(0) => {
                hear(buffer.freeze());
                return CLOSED.to_owned();
            }
            Ok(_) => {}
            Err(error) => return format!("the server's output can't be read: {error}"),
        }
    }
}

/// Writes until that fails, and says why.
async fn write(
    mut writer: Box<dyn AsyncWrite + Send + Unpin>,
    mut queue: mpsc::UnboundedReceiver<Outgoing>,
    newline_first: bool,
) -> std::io::Error {
    const AT_ONCE: usize = 64;
    let work = async {
        if newline_first {
            writer.write_all(b"\n").await?;
        }
        let mut batch = Vec::with_capacity(AT_ONCE);
        loop {
            queue.recv_many(&mut batch, AT_ONCE).await;
            match &batch[..] {
                [one] => writer.write_all(&one.line).await?,
                many => {
                    let lines: Vec<&[u8]> = many.iter().map(|message| &*message.line).collect();
                    writer.write_all(&lines.concat()).await?;
                }
            }
            writer.flush().await?;
            batch.clear();
        }
    };
    let ended: Result<std::convert::Infallible, std::io::Error> = work.await;
    let Err(error) = ended;
    error
}

/// The lines that are heard of a server whose output comes in these pieces.
#[cfg(test)]
pub(super) fn lines_of(pieces: &[&[u8]], longest: usize) -> Vec<Vec<u8>> {
    use futures_util::FutureExt as _;
    let pieces: Vec<std::io::Result<Bytes>> = pieces.iter().map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    let reader = tokio_util::io::StreamReader::new(futures_util::stream::iter(pieces));
    let lines = std::cell::RefCell::new(vec![]);
    let hear = |line: Bytes| lines.borrow_mut().push(line.to_vec());
    let reason = read(hear, Box::new(reader), longest).now_or_never();
    assert_eq!(reason.as_deref(), Some(CLOSED), "it is read to its end, at once");
    lines.into_inner()
}
