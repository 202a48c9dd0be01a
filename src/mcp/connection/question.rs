//! A question of a server, on its way to whoever can answer it.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;

use super::asides::Charge;
use super::{CallError, Heard, Hears, MOST_QUESTIONS, Notice, On, Shared, number, subscription};
use crate::mcp::envelope::{self, code, members};
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
    /// Whether it is in the list of those that are open.
    pub(super) listed: bool,
    /// Its bytes, which count until it is answered.
    pub(super) charge: Option<Charge>,
    /// Whose share of the room its answer takes.
    pub(super) share: Option<Arc<str>>,
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

    /// How many bytes it has.
    #[must_use]
    pub fn size(&self) -> usize {
        self.line.len()
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
        let share = self.share.clone();
        self.shared.write_small(envelope::splice(&answer, &[], true), share);
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
        if self.listed {
            locked(&self.shared.calls).questions.remove(&id);
        }
        if !self.answered && !self.withdrawn.is_cancelled() {
            let id = String::from_utf8_lossy(&id).into_owned();
            let mut answer = envelope::error(&id, code::SERVER, "whoever was asked is gone, or has too much to read");
            answer.push(b'\n');
            self.shared.write_small(answer, self.share.clone());
        }
    }
}

impl Shared {
    /// Puts a question to whoever made the call that it belongs to, or refuses it where that is not certain.
    pub(super) fn take_question(&self, mut question: Question, on: On) {
        const ASKED: [&str; 3] = ["sampling/createMessage", "elicitation/create", "roots/list"];
        if !ASKED.contains(&&*question.method) {
            let why = format!("{} is not supported by this client", question.method);
            return question.refuse(code::METHOD_NOT_FOUND, &crate::mcp::one_line(&why, 200));
        }
        let id = question.line.slice(question.id.clone());
        let sender = {
            let mut calls = locked(&self.calls);
            if calls.questions.len() >= MOST_QUESTIONS || calls.questions.contains_key(&id) {
                drop(calls);
                return question.refuse(
                    code::INVALID_REQUEST,
                    "too many requests are open, or one with this id is",
                );
            }
            match calls.hears(on) {
                Hears::To(hearing) => {
                    question.share.clone_from(&hearing.share);
                    let sender = hearing.asides.clone();
                    calls.questions.insert(id, question.withdrawn.clone());
                    question.listed = true;
                    Ok(sender)
                }
                Hears::Nobody => Err(false),
                Hears::Uncertain => Err(true),
            }
        };
        let sender = match sender {
            Ok(sender) => sender,
            Err(uncertain) => {
                // Many ask for the roots as soon as they are initialised, when nobody has called anything yet: that is no
                // sign of a server which needs to know who calls.
                if uncertain && (&*question.method != "roots/list" || self.is_called()) {
                    self.uncertain.send_modify(|times| *times += 1);
                }
                let why = if uncertain {
                    "nobody can be asked: it is not certain whose call this belongs to"
                } else {
                    "nobody can be asked: whoever called takes no questions, or this is about no call"
                };
                return question.refuse(code::SERVER, why);
            }
        };
        // A reader that is too slow, or gone, costs the question its answer, and nobody else anything.
        let bytes = question.line.len();
        if let Some(sender) = sender {
            sender.tell(Heard::Question(Box::new(question)), bytes);
        }
    }

    /// Whether a call of somebody's is in flight.
    fn is_called(&self) -> bool {
        locked(&self.calls)
            .pending
            .values()
            .any(|pending| pending.owner.is_some())
    }

    /// Tells the one whom it is certainly about; else nobody.
    pub(super) fn take_notice(&self, notice: Notice, on: On) {
        let sender = match locked(&self.calls).hears(on) {
            Hears::To(hearing) => hearing.asides.clone(),
            Hears::Nobody | Hears::Uncertain => None,
        };
        let bytes = notice.line.len();
        if !sender.is_some_and(|sender| sender.tell(Heard::Notice(notice), bytes)) {
            self.ignore();
        }
    }

    /// Whether a notification names a stream that is not open.
    pub(super) fn is_strayed(&self, params: Option<&RawValue>) -> bool {
        let Some(subscription) = subscription(params) else {
            return false;
        };
        !number(subscription).is_some_and(|id| self.is_standing(id))
    }

    pub(super) fn is_standing(&self, id: u64) -> bool {
        locked(&self.calls)
            .pending
            .get(&id)
            .is_some_and(|pending| pending.standing)
    }

    /// The server does not want to know any more, or ends a stream that it was asked for.
    pub(super) fn take_withdrawal(&self, params: Option<&RawValue>) {
        let id = params.and_then(|params| members(params.get(), ["requestId"]).ok()?[0]);
        if let Some(id) = id.and_then(number).filter(|id| self.is_standing(*id)) {
            if let Some(pending) = locked(&self.calls).pending.remove(&id) {
                let _ = pending
                    .answer
                    .send(Err(CallError::Failed("the server ended it".into())));
            }
            return;
        }
        let withdrawn = id.and_then(|id| locked(&self.calls).questions.remove(id.get().as_bytes()));
        match withdrawn {
            Some(withdrawn) => withdrawn.cancel(),
            None => self.ignore(),
        }
    }
}
