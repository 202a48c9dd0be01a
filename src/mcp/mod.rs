//! MCP as bytes: the JSON-RPC envelope, one connection to one server over pipes or HTTP, the handshake. Nothing here
//! knows of projects or containers, and nothing here owns a task: whoever opens a connection drives it (the HTTP client
//! alone drives its sockets itself).

mod connection;
pub mod definition;
mod discover;
pub mod envelope;
#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod fuzz_tests;
pub mod handshake;
pub mod headers;
mod http;
pub mod level;
pub mod lists;
pub mod meta;
mod stdio;
#[cfg(test)]
mod tests;

pub use connection::{ACKNOWLEDGED, Answer, Call, CallError, Connection, Heard, Notice, Progress, Question, Wish};
pub use http::{HttpClient, LOST};
pub use stdio::{CLOSED, Options};

pub use crate::record::MODERN;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The legacy protocol versions that are spoken on both edges, newest first.
pub const VERSIONS: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];

/// Locks a mutex whose holders never leave it half-written, so a panic elsewhere does not spread.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Foreign text made fit for one line of ours: no control characters, at most `longest` characters.
pub(crate) fn one_line(text: &str, longest: usize) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let mut line: String = text.trim().chars().take(longest).map(clean).collect();
    if text.trim().chars().nth(longest).is_some() {
        line.push('…');
    }
    line
}
