//! What is heard of a request: as the server said it, with the places that change on the way.

use std::ops::Range;

use bytes::Bytes;

use super::{CallError, Question};
use crate::mcp::envelope;

/// An answer as it came, with the places that matter.
#[derive(Debug, Clone)]
pub struct Answer {
    pub(super) line: Bytes,
    pub(super) id: Range<usize>,
    pub(super) payload: Range<usize>,
    pub(super) failed: bool,
    pub(super) rejected: bool,
}

impl Answer {
    /// The whole message with the id that the other side knows; all else is byte for byte the server's.
    #[must_use]
    pub fn with_id(&self, id: &str) -> Vec<u8> {
        envelope::splice(&self.line, &[(self.id.clone(), id)], false)
    }

    /// The same with members put before those of its payload, each followed by a comma.
    #[must_use]
    pub fn with_id_and(&self, id: &str, members: &str) -> Vec<u8> {
        let payload = &self.line[self.payload.clone()];
        if payload.first() != Some(&b'{') {
            return self.with_id(id);
        }
        let is_empty = payload[1..].trim_ascii_start().starts_with(b"}");
        let members = if is_empty {
            members.trim_end_matches(',')
        } else {
            members
        };
        let place = self.payload.start + 1..self.payload.start + 1;
        let mut edits = [(self.id.clone(), id), (place, members)];
        edits.sort_by_key(|(place, _)| place.start);
        envelope::splice(&self.line, &edits, false)
    }

    /// Whether its transport says that the request was not taken as such (over HTTP, 400).
    #[must_use]
    pub fn is_rejection(&self) -> bool {
        self.rejected
    }

    /// The `result`, or as the error the `error`; both are JSON texts.
    pub fn outcome(&self) -> Result<&[u8], &[u8]> {
        let payload = &self.line[self.payload.clone()];
        if self.failed { Err(payload) } else { Ok(payload) }
    }
}

/// A progress notification as it came.
#[derive(Debug, Clone)]
pub struct Progress {
    pub(super) line: Bytes,
    pub(super) token: Range<usize>,
}

impl Progress {
    /// The whole message with the token that the other side knows.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Vec<u8> {
        envelope::splice(&self.line, &[(self.token.clone(), token)], false)
    }
}

/// A notification that is about a request: a log message, above all.
#[derive(Debug, Clone)]
pub struct Notice {
    /// The whole message as it came.
    pub line: Bytes,
    /// Its method.
    pub method: Box<str>,
}

/// What is heard of a request that is in flight.
#[derive(Debug)]
pub enum Heard {
    /// It goes on.
    Progress(Progress),
    /// Something is said about it.
    Notice(Notice),
    /// The server wants to know something first.
    Question(Box<Question>),
    /// It ended.
    Answer(Result<Answer, CallError>),
}
