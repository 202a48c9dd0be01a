//! How a running server is spoken to, as `runtime` hands it to `gateway` (neither names the other).

use std::fmt;

use tokio::io::{AsyncRead, AsyncWrite};

/// What a server says and where it listens: its stdout and its stdin.
pub struct Pipes {
    /// What the server writes.
    pub reader: Box<dyn AsyncRead + Send + Unpin>,
    /// What the server reads.
    pub writer: Box<dyn AsyncWrite + Send + Unpin>,
}

impl fmt::Debug for Pipes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pipes")
    }
}

/// The way to a server.
#[derive(Debug)]
pub enum Link {
    /// Over its stdin and stdout.
    Pipes(Pipes),
    /// By HTTP, at a URL that only this machine reaches.
    Http {
        /// The endpoint, as `http://127.0.0.1:49153/mcp`.
        url: String,
        /// Which of the two HTTP transports it speaks.
        transport: HttpTransport,
    },
}

/// The transports of MCP over HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpTransport {
    /// Streamable HTTP: one endpoint for everything.
    Streamable,
    /// The one before (2024-11-05): a stream of events, and an endpoint to post to that its first event names.
    Sse,
}
