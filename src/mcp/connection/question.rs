//! A question of a server, on its way to whoever can answer it.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::Shared;
use crate::mcp::envelope::{self, code};
use crate::mcp::locked;

/// A request of the server's own, put to whoever made the call that it belongs to. Dropped without an answer, it is
/// answered with an error: a server never waits for ever.
pub struct Question {
    pub(super) shared: Arc<Shared>,
    pub(super) line: Bytes,
    pub(super) id: Range<usize>,
    pub(super) params: Option<Range<usize>>,
    pub(super) method: Box<str>,
    pub(super) withdrawn: CancellationToken,
    pub(super) answered: bool,
}

impl std::fmt::Debug for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Question")
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

impl Question {
    /// What is asked, as `elicitation/create`.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The JSON text of its parameters, where there are any.
    #[must_use]
    pub fn params(&self) -> Option<&str> {
        let params = self.line.get(self.params.clone()?)?;
        std::str::from_utf8(params).ok()
    }

    /// The whole message with another id (a JSON text).
    #[must_use]
    pub fn with_id(&self, id: &str) -> Vec<u8> {
        envelope::splice(&self.line, &[(self.id.clone(), id)], false)
    }

    /// Answers it: a `result`, or an `error`, as JSON texts.
    pub fn answer(mut self, outcome: Result<&[u8], &[u8]>) {
        self.answered = true;
        let (member, payload) = match outcome {
            Ok(result) => (&b"\"result\""[..], result),
            Err(error) => (&b"\"error\""[..], error),
        };
        let id = &self.line[self.id.clone()];
        let answer = [br#"{"jsonrpc":"2.0","id":"#, id, b",", member, b":", payload, b"}"].concat();
        self.shared.write_small(envelope::splice(&answer, &[], true));
    }

    /// Answers it with an error in words.
    pub fn refuse(self, code: i32, message: &str) {
        let error = serde_json::json!({"code": code, "message": message}).to_string();
        self.answer(Err(error.as_bytes()));
    }

    /// Cancelled when the server does not want to know any more.
    #[must_use]
    pub fn withdrawn(&self) -> CancellationToken {
        self.withdrawn.clone()
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        let id = self.line.slice(self.id.clone());
        locked(&self.shared.calls).questions.remove(&id);
        if !self.answered && !self.withdrawn.is_cancelled() {
            let id = String::from_utf8_lossy(&id).into_owned();
            let mut answer = envelope::error(&id, code::SERVER, "whoever was asked is gone");
            answer.push(b'\n');
            self.shared.write_small(answer);
        }
    }
}
