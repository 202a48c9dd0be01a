//! The two ends of a byte conversation, as `runtime` hands them to `mcp` (neither names the other).

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
